-- Rolling reserves and negative balances.  The gateway's part is played by an
-- operator.
\set VERBOSITY terse
SELECT seller_id FROM payledger.register_seller('KEEP-1', 'ISK', commission_bps => 1000);
SELECT seller_id FROM payledger.register_seller('KEEP-2', 'ISK');
SELECT count(*) FROM unnest('{PLATFORM_CASH}'::text[]) AS t, payledger.open_account(t, 'GLOBAL', 'ISK');

-- an intent over these sellers and amounts, authorized; captured unless by hand
CREATE FUNCTION sell(lines jsonb, capture_method text DEFAULT 'automatic') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	intent bigint;
BEGIN
	SELECT payment_intent_id INTO intent FROM payledger.create_payment_intent('RESERVES', 'B', 'ISK',
		(SELECT jsonb_agg(jsonb_build_object('seller_id', key, 'amount', value::bigint)) FROM jsonb_each_text(lines)),
		capture_method => sell.capture_method);
	PERFORM payledger.request_authorization(intent, 'pm_ok');
	PERFORM answer(intent, 'SUCCEEDED');
	IF capture_method = 'automatic' THEN
		PERFORM answer(payment_order_id, 'SUCCEEDED') FROM payledger.payment_orders WHERE payment_id = intent ORDER BY seller_id;
	END IF;
	RETURN intent;
END
$$;
CREATE FUNCTION kept_order(payment bigint, seller text DEFAULT 'KEEP-1') RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = payment AND seller_id = seller $$;
CREATE FUNCTION refunded(ordr bigint, amount bigint) RETURNS text LANGUAGE sql AS
$$ SELECT answer(refund_id, 'SUCCEEDED') FROM payledger.refund(ordr, amount) $$;
-- the last capture of the order is reported failed
CREATE FUNCTION reverse_capture(ordr bigint) RETURNS text LANGUAGE sql AS
$$ SELECT r.status FROM (SELECT psp_request_id FROM payledger.psp_requests WHERE operation = 'CAPTURE' AND target = ordr
						  ORDER BY psp_request_id DESC LIMIT 1) q, payledger.resolve_request(q.psp_request_id, 'REVERSED', 'test') r $$;
CREATE VIEW balances AS
	SELECT seller_id, balance, pending, available, reserved, in_payout, negative
	  FROM payledger.seller_balances WHERE currency = 'ISK' AND seller_id LIKE 'KEEP-%' ORDER BY seller_id;
CREATE VIEW kept AS
	SELECT seller_id, amount, released_amount, date_trunc('day', release_at - created_at) AS held_for
	  FROM payledger.reserves WHERE currency = 'ISK' ORDER BY payment_id, psp_request_id, payment_order_id;
-- what an entry of these types says, but for ids
CREATE VIEW entries AS
	SELECT journal_entry_id, entry_type, account_code, debit, credit, metadata->>'note' AS note, payment_id IS NOT NULL AS of_payment
	  FROM payledger.journal WHERE currency = 'ISK' AND entry_type ~ 'RESERVE|WRITE_OFF' ORDER BY journal_entry_id, leg;

-- terms: nulls keep what is there
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK');
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', reserve_bps => 1000, reserve_days => 90);
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', negative_balance => 'reserve');
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', negative_balance => 'recoup', reserve_days => 30);
SELECT updated_by = current_user AS by_me FROM payledger.reserve_terms WHERE seller_id = 'KEEP-1' AND currency = 'ISK';
CREATE FUNCTION terms(arguments text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.set_reserve_terms(''KEEP-2'', ''ISK'', %s)', arguments)) $$;
SELECT outcome($$SELECT payledger.set_reserve_terms(NULL, 'ISK')$$);
SELECT outcome($$SELECT payledger.set_reserve_terms('KEEP-2', NULL)$$);
SELECT outcome($$SELECT payledger.set_reserve_terms('KEEP-2', 'isk')$$);
SELECT outcome($$SELECT payledger.set_reserve_terms('NOBODY', 'ISK', 100, 10)$$);
SELECT outcome($$SELECT payledger.set_reserve_terms('KEEP-2', 'EUR', 100, 10)$$);
SELECT terms('reserve_bps => 100');
SELECT terms('reserve_bps => -1, reserve_days => 1');
SELECT terms('reserve_bps => 10001, reserve_days => 1');
SELECT terms('reserve_bps => 1, reserve_days => -1');
SELECT terms('reserve_bps => 1, reserve_days => 3651');
SELECT terms($$negative_balance => 'forget'$$);
SELECT count(*) FROM payledger.reserve_terms WHERE seller_id = 'KEEP-2';

-- a tenth of each capture is withheld, rounded half up; only of the seller with terms
SELECT sell('{"KEEP-1": 995, "KEEP-2": 995}') AS first \gset
SELECT * FROM kept;
SELECT entry_type, account_code, debit, credit, of_payment FROM entries;
SELECT * FROM balances;
SELECT unsettled, net, pending FROM payledger.unsettled_orders WHERE currency = 'ISK' ORDER BY net;
SELECT sell('{"KEEP-1": 994}') AS second \gset
-- too little to withhold anything
SELECT sell('{"KEEP-1": 4}') AS third \gset
SELECT * FROM kept;
-- never more than the order brings
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', reserve_bps => 10000);
SELECT sell('{"KEEP-1": 500}') AS fourth \gset
SELECT * FROM kept;
-- captured in three parts, a reserve for each; what was refunded meanwhile cannot be withheld
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', reserve_bps => 5000);
SELECT sell('{"KEEP-1": 1000}', 'manual') AS parts \gset
SELECT status FROM payledger.capture(kept_order(:parts), 600, final => false);
SELECT answer(kept_order(:parts), 'SUCCEEDED');
SELECT status FROM payledger.capture(kept_order(:parts), 100, final => false);
SELECT status FROM payledger.capture(kept_order(:parts), 100, final => false);
SELECT refunded(kept_order(:parts), 330);
SELECT answer(kept_order(:parts), 'SUCCEEDED');
SELECT answer(kept_order(:parts), 'SUCCEEDED');
SELECT amount, released_amount FROM payledger.reserves WHERE payment_id = :parts ORDER BY psp_request_id;
SELECT net FROM payledger.unsettled_orders WHERE payment_order_id = kept_order(:parts);
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', reserve_bps => 1000);
SELECT * FROM balances;

-- released when due, once; what is not due stays
SELECT payledger.release_due_reserves();
UPDATE payledger.reserves SET release_at = now() WHERE payment_id IN (:first, :second);
SELECT payledger.release_due_reserves();
SELECT payledger.release_due_reserves();
SELECT * FROM kept;
SELECT * FROM balances;
SELECT entry_type, account_code, debit, credit, of_payment FROM entries WHERE entry_type = 'RESERVE_RELEASE';
SELECT outcome('UPDATE payledger.reserves SET released_amount = 0 WHERE released_amount > 0');
SELECT outcome('UPDATE payledger.reserves SET released_amount = amount + 1');
SELECT outcome('UPDATE payledger.reserves SET amount = amount + 1');
SELECT outcome('DELETE FROM payledger.reserves');
SELECT outcome('TRUNCATE payledger.reserves');

-- a capture that failed after all: what is still withheld of it goes with it
SELECT sell('{"KEEP-1": 2000}') AS failing \gset
SELECT * FROM balances;
SELECT reverse_capture(kept_order(:failing));
SELECT amount, released_amount FROM payledger.reserves WHERE payment_id = :failing;
SELECT * FROM balances;
-- also when a part was released before
SELECT sell('{"KEEP-2": 1}') AS other \gset
SELECT * FROM payledger.set_reserve_terms('KEEP-2', 'ISK', 2500, 7);
SELECT sell('{"KEEP-2": 4000}') AS failing \gset
SELECT refunded(kept_order(:first, 'KEEP-2'), 995), refunded(kept_order(:other, 'KEEP-2'), 1);
SELECT status FROM payledger.set_payout_terms('KEEP-2', 'ISK', 'ba_ok', available_from => 'capture'), payledger.request_payout('KEEP-2', 'ISK');
SELECT sell('{"KEEP-2": 100}') AS small \gset
SELECT refunded(kept_order(:small, 'KEEP-2'), 100);
SELECT * FROM balances;
SELECT * FROM payledger.cover_negative_balance('KEEP-2', 'ISK', 'test');
SELECT amount, released_amount FROM payledger.reserves WHERE payment_id = :failing;
SELECT reverse_capture(kept_order(:failing, 'KEEP-2'));
SELECT amount, released_amount FROM payledger.reserves WHERE payment_id = :failing;
SELECT count(DISTINCT journal_entry_id), sum(debit) FROM entries WHERE entry_type = 'RESERVE_RELEASE' AND account_code ~ 'KEEP-2';
-- it was paid out, so the seller owes it
SELECT * FROM balances;

-- recoup: nothing is done but to wait, and nothing is paid out meanwhile
SELECT payledger.cover_negative_balances();
SELECT outcome($$SELECT payledger.request_payout('KEEP-2', 'ISK')$$);
SELECT outcome($$SELECT payledger.request_payout('KEEP-2', 'ISK', 1)$$);
SELECT sell('{"KEEP-2": 4400}') AS credit \gset
SELECT * FROM balances;
SELECT amount FROM payledger.request_payout('KEEP-2', 'ISK');

-- reserve: the oldest first, no more than is owed
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', negative_balance => 'reserve');
SELECT payledger.cover_negative_balances();
CREATE FUNCTION owe(seller text, amount bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM payledger.seller_balances b, payledger.post_entry('ADJUSTMENT', jsonb_build_array(
		jsonb_build_object('account', 'MERCHANT_PAYABLE.' || seller || '.ISK', 'amount', b.balance::bigint + owe.amount),
		jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.ISK', 'amount', -b.balance::bigint - owe.amount)))
	 WHERE b.seller_id = seller AND b.currency = 'ISK' $$;
SELECT owe('KEEP-1', 460);
UPDATE payledger.reserves SET release_at = now() + interval '1 hour' WHERE payment_id = :parts;
SELECT amount, released_amount, payment_id = :parts AS parts FROM payledger.reserves
 WHERE seller_id = 'KEEP-1' AND currency = 'ISK' AND released_amount < amount ORDER BY release_at, psp_request_id;
SELECT payledger.cover_negative_balances();
SELECT payledger.cover_negative_balances();
SELECT amount, released_amount, payment_id = :parts AS parts FROM payledger.reserves
 WHERE payment_id IN (:parts, :fourth) ORDER BY release_at, psp_request_id;
SELECT * FROM balances;
SELECT entry_type, account_code, debit, credit, note, of_payment FROM entries WHERE note = 'policy reserve';
-- more than is withheld: the rest is owed still
SELECT owe('KEEP-1', 1000);
SELECT payledger.cover_negative_balances();
SELECT payledger.cover_negative_balances();
SELECT * FROM balances;

-- write_off: the platform bears what the reserve does not cover
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', negative_balance => 'write_off');
SELECT sell('{"KEEP-1": 100}') AS covering \gset
SELECT payledger.cover_negative_balances();
SELECT payledger.cover_negative_balances();
SELECT * FROM balances;
SELECT entry_type, account_code, debit, credit, note, of_payment FROM entries WHERE note = 'policy write_off';

-- an operator does it now, whatever the terms say, and writes off only if asked to
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', negative_balance => 'recoup');
SELECT * FROM payledger.cover_negative_balance('KEEP-1', 'ISK', 'nothing to do', write_off => true);
SELECT sell('{"KEEP-1": 1000}') AS covering \gset
SELECT owe('KEEP-1', 250);
SELECT * FROM payledger.cover_negative_balance('KEEP-1', 'ISK', 'as agreed on the phone');
SELECT * FROM payledger.cover_negative_balance('KEEP-1', 'ISK', 'as agreed on the phone');
SELECT * FROM payledger.cover_negative_balance('KEEP-1', 'ISK', 'gone out of business', write_off => true);
SELECT * FROM payledger.cover_negative_balance('KEEP-1', 'ISK', 'gone out of business', write_off => true);
SELECT entry_type, account_code, debit, credit, note FROM entries WHERE note IN ('as agreed on the phone', 'gone out of business');
CREATE FUNCTION cover(arguments text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.cover_negative_balance(%s)', arguments)) $$;
SELECT cover($$NULL, 'ISK', 'x'$$);
SELECT cover($$'KEEP-1', NULL, 'x'$$);
SELECT cover($$'KEEP-1', 'ISK', NULL$$);
SELECT cover($$'KEEP-1', 'ISK', ''$$);
SELECT cover($$'KEEP-1', 'ISK', repeat('x', 501)$$);
SELECT cover($$'KEEP-1', 'ISK', 'card 4242 4242 4242 4242'$$);
SELECT cover($$'KEEP-1', 'kronur', 'x'$$);
SELECT cover($$'NOBODY', 'ISK', 'x'$$);
SELECT cover($$'KEEP-1', 'EUR', 'x'$$);

-- more rows than are read at once
SELECT * FROM payledger.set_reserve_terms('KEEP-1', 'ISK', 10000, 30, 'reserve');
SELECT count(sell('{"KEEP-1": 10}')) FROM generate_series(1, 120);
SELECT owe('KEEP-1', 1000);
SELECT payledger.cover_negative_balances();
SELECT * FROM balances;
SELECT count(*) FILTER (WHERE released_amount = amount) AS used, count(*) FILTER (WHERE released_amount = 0) AS left,
	   count(*) FILTER (WHERE released_amount BETWEEN 1 AND amount - 1) AS in_part
  FROM payledger.reserves WHERE seller_id = 'KEEP-1' AND amount = 9;

-- a closed account keeps its own reserve only
SELECT payledger.cover_negative_balances();
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.KEEP-1.ISK', 'CLOSED');
UPDATE payledger.reserves SET release_at = now() WHERE currency = 'ISK' AND released_amount < amount;
SELECT payledger.release_due_reserves();
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.KEEP-1.ISK', 'ACTIVE');
SELECT payledger.release_due_reserves();
SELECT * FROM balances;

-- everything agrees, and what does not is found
SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
SELECT account_code, debit, credit FROM payledger.trial_balance
 WHERE currency = 'ISK' AND account_code ~ 'CLEARING|RESERVE|WRITE_OFF' ORDER BY account_code COLLATE "C";
CREATE FUNCTION finds(damage text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	found json;
BEGIN
	ALTER TABLE payledger.reserves DISABLE TRIGGER USER;
	EXECUTE damage;
	SELECT json_agg(check_name || ': ' || offence ORDER BY check_name, offence COLLATE "C") INTO found
	  FROM payledger.verify(true), regexp_split_to_table(regexp_replace(detail, '\d{15,}', '<id>', 'g'), '; ') offence
	 WHERE NOT ok AND check_name !~ 'guarded';
	RAISE EXCEPTION USING ERRCODE = 'UNDO1', MESSAGE = coalesce(found::text, '["nothing"]');
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
	RETURN QUERY SELECT json_array_elements_text(SQLERRM::json);
END
$$;
SELECT finds(format('UPDATE payledger.reserves SET released_amount = 0 WHERE payment_id = %s', :first));
SELECT finds(format('UPDATE payledger.reserves SET seller_id = ''KEEP-2'' WHERE payment_id = %s', :first));
SELECT finds(format('DELETE FROM payledger.reserves WHERE payment_id = %s', :first));
-- entries of one's own may adjust a reserve
SELECT finds($$SELECT payledger.post_entry('ADJUSTMENT', '[{"account":"MERCHANT_RESERVE.KEEP-1.ISK","amount":-5},{"account":"PLATFORM_CASH.GLOBAL.ISK","amount":5}]')$$);
DROP VIEW balances, kept, entries;
DROP FUNCTION sell, kept_order, refunded, reverse_capture, terms, owe, cover, finds;
