-- Refunds: whole, partial, repeated, failing, late; commission by dated rules, given back by policy.
\set VERBOSITY terse
SELECT seller_id FROM payledger.register_seller('REF-1', 'EUR', commission_bps => 1000, commission_fixed => 25);
SELECT seller_id FROM payledger.register_seller('REF-2', 'EUR', commission_bps => 333);
CREATE FUNCTION captured(order_id text, amounts bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	po bigint;
BEGIN
	SELECT payment_intent_id INTO id FROM payledger.create_payment_intent(order_id, 'BUYER', 'EUR',
		(SELECT jsonb_agg(jsonb_build_object('seller_id', 'REF-' || n, 'amount', a)) FROM unnest(amounts) WITH ORDINALITY AS u(a, n)));
	PERFORM payledger.request_authorization(id, 'pm_ok');
	PERFORM answer(id, 'SUCCEEDED');
	FOR po IN SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = id ORDER BY 1 LOOP
		PERFORM answer(po, 'SUCCEEDED');
	END LOOP;
	RETURN id;
END $$;
CREATE FUNCTION po(payment bigint, n int) RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = payment AND seller_id = 'REF-' || n $$;
CREATE FUNCTION newest_refund(payment bigint) RETURNS bigint LANGUAGE sql AS
$$ SELECT max(refund_id) FROM payledger.refunds WHERE payment_id = payment $$;
CREATE FUNCTION state_of(payment bigint) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('payment %s: captured %s, refunded %s', status, captured_amount, refunded_amount)
	  FROM payledger.payments WHERE payment_id = payment
	 UNION ALL
	SELECT * FROM (SELECT format('%s %s: captured %s, refunded %s, pending %s, commission %s of which %s back', seller_id, status,
								 captured_amount, refunded_amount, refund_pending_amount, commission_amount, commission_refunded_amount)
					 FROM payledger.payment_orders WHERE payment_id = payment ORDER BY payment_order_id) o
	 UNION ALL
	SELECT * FROM (SELECT format('refund %s %s %s %s', amount, status, commission_amount, coalesce(failure_code, '-'))
					 FROM payledger.refunds WHERE payment_id = payment ORDER BY refund_id) r $$;

-- one order of two, in parts; the commission goes back in proportion
SELECT captured('PARTS', '{1000,500}') AS parts \gset
SELECT seller_id, amount, currency, status, reason FROM payledger.refund(po(:parts, 1), 450, 'damaged', 'refund-1');
SELECT seller_id, amount, currency, status, reason FROM payledger.refund(po(:parts, 1), 450, 'damaged', 'refund-1');
SELECT outcome(format('SELECT payledger.refund(%s, 451, ''damaged'', ''refund-1'')', po(:parts, 1)));
SELECT * FROM state_of(:parts);
SELECT answer(newest_refund(:parts), 'SUCCEEDED');
SELECT outcome(format('SELECT payledger.refund(%s, 551)', po(:parts, 1)));
SELECT amount, status FROM payledger.refund(po(:parts, 1), 333);
SELECT answer(newest_refund(:parts), 'SUCCEEDED');
SELECT amount, status FROM payledger.refund(po(:parts, 1));
SELECT outcome(format('SELECT payledger.refund(%s, 1)', po(:parts, 1)));
SELECT answer(newest_refund(:parts), 'SUCCEEDED');
SELECT * FROM state_of(:parts);
SELECT entry_type, account_code, debit, credit FROM payledger.journal
 WHERE payment_id = :parts AND entry_type ~ 'REFUND' ORDER BY journal_entry_id, leg;
SELECT kind, amount FROM payledger.settlement_items WHERE payment_id = :parts ORDER BY settlement_item_id;
SELECT type, version, payload::jsonb #>> '{data,status}' AS status, payload::jsonb #>> '{data,amount}' AS amount
  FROM payledger.outbox_events WHERE aggregateid = :'parts' AND type ~ 'refund' ORDER BY version;
SELECT outcome(format('SELECT payledger.refund(%s)', po(:parts, 1)));

-- refused: the funds come back
SELECT amount, status FROM payledger.refund(po(:parts, 2), 100);
SELECT payledger.balance('MERCHANT_PAYABLE.REF-2.EUR'), payledger.balance('REFUND_CLEARING.GLOBAL.EUR');
SELECT answer(newest_refund(:parts), 'REFUSED');
SELECT payledger.balance('MERCHANT_PAYABLE.REF-2.EUR'), payledger.balance('REFUND_CLEARING.GLOBAL.EUR');
SELECT * FROM state_of(:parts);

-- reported paid, and come back later: all of it is taken back, and may be refunded again
SELECT amount, status FROM payledger.refund(po(:parts, 2));
SELECT answer(newest_refund(:parts), 'SUCCEEDED');
SELECT * FROM state_of(:parts);
SELECT psp_request_id AS request FROM payledger.psp_requests WHERE payment_id = :parts AND target = newest_refund(:parts) \gset
SELECT status FROM payledger.resolve_request(:request, 'REVERSED', 'returned by the bank');
SELECT status FROM payledger.resolve_request(:request, 'REVERSED', 'returned by the bank');
SELECT * FROM state_of(:parts);
SELECT amount, status FROM payledger.refund(po(:parts, 2), 500);
SELECT answer(newest_refund(:parts), 'SUCCEEDED');
SELECT * FROM state_of(:parts);

-- a whole payment, by largest remainder
SELECT captured('WHOLE', '{1000,500}') AS whole \gset
SELECT currency, amount, cardinality(refund_ids) FROM payledger.refund_payment(:whole, 100, 'goodwill', 'whole-refund');
SELECT currency, amount, cardinality(refund_ids) FROM payledger.refund_payment(:whole, 100, 'goodwill', 'whole-refund');
SELECT seller_id, amount FROM payledger.refunds WHERE payment_id = :whole ORDER BY refund_id;
SELECT outcome(format('SELECT payledger.refund_payment(%s, 1401)', :whole));
SELECT amount FROM payledger.refund_payment(:whole);
SELECT outcome(format('SELECT payledger.refund_payment(%s)', :whole));

-- every wrong argument
SELECT outcome('SELECT payledger.refund(17)');
SELECT outcome('SELECT payledger.refund(NULL)');
SELECT outcome('SELECT payledger.refund_payment(17)');
SELECT captured('WRONG', '{1000}') AS wrong \gset
SELECT outcome(format('SELECT payledger.refund(%s, 0)', po(:wrong, 1)));
SELECT outcome(format('SELECT payledger.refund(%s, -1)', po(:wrong, 1)));
SELECT outcome(format('SELECT payledger.refund(%s, 1, ''card 4242424242424242'')', po(:wrong, 1)));
SELECT outcome(format('SELECT payledger.refund(%s, 1, '''')', po(:wrong, 1)));
SELECT payment_intent_id AS uncaptured FROM payledger.create_payment_intent('UNCAPTURED', 'B', 'EUR', '[{"seller_id":"REF-1","amount":10}]', capture_method => 'manual') \gset
SELECT payledger.request_authorization(:uncaptured, 'pm_ok');
SELECT answer(:uncaptured, 'SUCCEEDED');
SELECT outcome(format('SELECT payledger.refund(%s, 1)', po(:uncaptured, 1)));
SELECT outcome(format('SELECT payledger.refund_payment(%s, 1)', :uncaptured));
SELECT outcome(format('UPDATE payledger.refunds SET amount = 1 WHERE payment_id = %s', :parts));
SELECT outcome('DELETE FROM payledger.refunds');
SELECT outcome(format('UPDATE payledger.payment_orders SET seller_id = ''REF-2'' WHERE payment_id = %s', :wrong));
SELECT outcome(format('UPDATE payledger.payment_orders SET refund_pending_amount = 1001 WHERE payment_id = %s', :wrong));

-- rules: minimum, maximum, tiers by volume, what a refund gives back; the entry names its rule
SELECT outcome($$SELECT payledger.add_commission_rule('NOBODY', 'EUR')$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', 10001)$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', commission_fixed => -1)$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', minimum => -1)$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', minimum => 5, maximum => 4)$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', refund_policy => 'half')$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', tiers => '{}')$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', tiers => '[5]')$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', tiers => '[{"from_volume": 5}]')$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', tiers => '[{"from_volume": 5, "bps": 1.5}]')$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', tiers => '[{"from_volume": 5, "bps": 1}, {"from_volume": 5, "bps": 2}]')$$);
SELECT outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', valid_from => '2020-01-01 00:00+00')$$);
SELECT outcome($$UPDATE payledger.commission_rules SET commission_bps = 0$$);
CREATE FUNCTION commission_of(seller text, amount bigint, currency text DEFAULT 'EUR') RETURNS TABLE (commission bigint, by_newest_rule boolean) LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	SELECT payment_intent_id INTO id FROM payledger.create_payment_intent('COMMISSION', 'BUYER', commission_of.currency,
		jsonb_build_array(jsonb_build_object('seller_id', seller, 'amount', amount)));
	PERFORM payledger.request_authorization(id, 'pm_ok');
	PERFORM answer(id, 'SUCCEEDED');
	PERFORM answer((SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = id), 'SUCCEEDED');
	RETURN QUERY
	SELECT o.commission_amount,
		   o.commission_rule_id = (SELECT r.commission_rule_id FROM payledger.commission_rules r
									WHERE r.seller_id = seller AND r.currency = commission_of.currency ORDER BY r.valid_from DESC LIMIT 1)
		   AND (o.commission_amount = 0 OR EXISTS (SELECT FROM payledger.journal_entries j WHERE j.payment_id = id
				AND j.entry_type = 'COMMISSION_FEE' AND j.metadata ->> 'commission_rule_id' = o.commission_rule_id::text))
	  FROM payledger.payment_orders o WHERE o.payment_id = id;
END $$;
SELECT seller_id FROM payledger.register_seller('RULE-1', 'EUR', commission_bps => 1000);
SELECT * FROM commission_of('RULE-1', 1000);
SELECT minimum, maximum FROM payledger.add_commission_rule('RULE-1', 'EUR', 1000, minimum => 50, maximum => 80);
SELECT * FROM commission_of('RULE-1', 100);
SELECT * FROM commission_of('RULE-1', 30);
SELECT * FROM commission_of('RULE-1', 700);
SELECT * FROM commission_of('RULE-1', 1000);
-- by now 2830 were captured in the month
SELECT tiers FROM payledger.add_commission_rule('RULE-1', 'EUR', 1000, tiers => '[{"from_volume": 2830, "bps": 500}, {"from_volume": 4000, "bps": 100}]');
SELECT * FROM commission_of('RULE-1', 1169);
SELECT * FROM commission_of('RULE-1', 1);
SELECT * FROM commission_of('RULE-1', 1000);
-- a rule for later counts from then on
SELECT commission_bps FROM payledger.add_commission_rule('RULE-1', 'EUR', 0, valid_from => now() + interval '1 day');
SELECT * FROM commission_of('RULE-1', 1000);
-- but not a rule for before: 10 % of 1000 and 25 are taken, not all of it
SELECT regexp_replace(outcome, '\d{4}-.* is', '<time> is') AS outcome
  FROM outcome($$SELECT payledger.add_commission_rule('REF-1', 'EUR', 10000, valid_from => now() - interval '1 second')$$);
SELECT * FROM commission_of('REF-1', 1000);
-- half a minor unit is rounded up, less is not: 10 % of 1004 and of 1005
SELECT seller_id FROM payledger.register_seller('RULE-2', 'EUR', commission_bps => 1000);
SELECT * FROM commission_of('RULE-2', 1004);
SELECT * FROM commission_of('RULE-2', 1005);
-- what was captured in another currency counts towards no tier: of EUR 2009 were
SELECT seller_id FROM payledger.register_seller('RULE-2', 'USD');
SELECT * FROM commission_of('RULE-2', 5000, 'USD');
SELECT tiers FROM payledger.add_commission_rule('RULE-2', 'EUR', 1000, tiers => '[{"from_volume": 2010, "bps": 100}]');
SELECT * FROM commission_of('RULE-2', 1000);
SELECT * FROM commission_of('RULE-2', 1000);
-- update_seller keeps what it is not told
SELECT commission_bps, commission_fixed FROM payledger.update_seller('REF-1', 'EUR', commission_fixed => 30);
SELECT commission_bps, commission_fixed FROM payledger.update_seller('REF-1', 'EUR', commission_bps => 900);
-- 9 % and 30 are more than 20
SELECT * FROM commission_of('REF-1', 20);
SELECT seller_id FROM payledger.register_seller('RULE-3', 'EUR');
SELECT commission_bps FROM payledger.add_commission_rule('RULE-3', 'EUR', 1000, minimum => 50, maximum => 80,
	tiers => '[{"from_volume": 1000, "bps": 9000}]', refund_policy => 'all', seller_pays_psp_fee => true);
SELECT commission_bps, commission_fixed FROM payledger.update_seller('RULE-3', 'EUR', commission_fixed => 5);
SELECT commission_bps, commission_fixed, minimum, maximum, tiers, refund_policy, seller_pays_psp_fee FROM payledger.commission_rules
 WHERE seller_id = 'RULE-3' ORDER BY valid_from DESC LIMIT 1;
-- 10 % of 400 and 5 are below the minimum; of 600 they are 65; of 800, more than the maximum
SELECT * FROM commission_of('RULE-3', 400);
SELECT * FROM commission_of('RULE-3', 600);
SELECT * FROM commission_of('RULE-3', 800);
-- what a refund gives back: nothing, all with the first one
SELECT refund_policy FROM payledger.add_commission_rule('REF-1', 'EUR', 1000, refund_policy => 'none');
SELECT captured('NONE', '{1000}') AS none \gset
SELECT amount FROM payledger.refund(po(:none, 1));
SELECT answer(newest_refund(:none), 'SUCCEEDED');
SELECT * FROM state_of(:none);
SELECT refund_policy FROM payledger.add_commission_rule('REF-1', 'EUR', 1000, refund_policy => 'all');
SELECT captured('ALL', '{1000}') AS all \gset
SELECT amount FROM payledger.refund(po(:all, 1), 10);
SELECT answer(newest_refund(:all), 'SUCCEEDED');
SELECT amount FROM payledger.refund(po(:all, 1), 10);
SELECT answer(newest_refund(:all), 'SUCCEEDED');
SELECT * FROM state_of(:all);

SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
DROP FUNCTION captured, po, newest_refund, state_of, commission_of;
