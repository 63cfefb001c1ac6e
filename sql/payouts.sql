-- Payouts: what a seller has, gets on request and by schedule, and what becomes
-- of it.  The gateway's part is played by an operator.
\set VERBOSITY terse
SELECT ((now() AT TIME ZONE 'UTC') + interval '12 hours')::time(0) AS time_of_day \gset
SELECT seller_id FROM payledger.register_seller('PAY-1', 'NOK', commission_bps => 400);
SELECT seller_id FROM payledger.register_seller('PAY-2', 'NOK');
SELECT count(*) FROM unnest('{PLATFORM_CASH, PSP_FEE_EXPENSE}'::text[]) AS t, payledger.open_account(t, 'GLOBAL', 'NOK');

-- one order of a seller, captured; its id
CREATE FUNCTION sell(seller_id text, amount bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	intent bigint;
	ordr bigint;
BEGIN
	SELECT payment_intent_id INTO intent FROM payledger.create_payment_intent('PAYOUTS', 'B', 'NOK',
		jsonb_build_array(jsonb_build_object('seller_id', sell.seller_id, 'amount', sell.amount)));
	PERFORM payledger.request_authorization(intent, 'pm_ok');
	PERFORM answer(intent, 'SUCCEEDED');
	UPDATE payledger.payments SET psp_reference = 'sbx_' || payment_id WHERE payment_id = intent;
	SELECT payment_order_id INTO ordr FROM payledger.payment_orders WHERE payment_id = intent;
	PERFORM answer(ordr, 'SUCCEEDED');
	RETURN ordr;
END
$$;
-- the PSP settles what is open of an order, less its fee
CREATE FUNCTION settle(ordr bigint, fee bigint DEFAULT 0) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	lines jsonb;
BEGIN
	SELECT jsonb_agg(l || jsonb_build_object('fee', settle.fee, 'net', (l->>'gross')::bigint - settle.fee)) INTO lines
	  FROM payledger.payment_orders o, jsonb_array_elements(payledger.sandbox_settlement('sandbox', 0)) l
	 WHERE o.payment_order_id = ordr AND l->>'psp_reference' = 'sbx_' || o.payment_id;
	PERFORM payledger.reconcile_settlement(r.report_id, 'sandbox') FROM payledger.import_settlement('sandbox', 'PAYOUTS-' || payledger.next_id(), lines) r;
	RETURN (SELECT sum((l->>'gross')::bigint) FROM jsonb_array_elements(lines) l);
END
$$;
CREATE VIEW balances AS
	SELECT seller_id, balance, pending, held, available, reserved, in_payout, negative
	  FROM payledger.seller_balances WHERE currency = 'NOK' AND seller_id LIKE 'PAY-%' ORDER BY seller_id;

-- terms: nulls keep what is there
SELECT *, next_payout_at IS NULL AS never FROM payledger.set_payout_terms('PAY-1', 'NOK');
SELECT beneficiary, gateway, available_from, schedule, payout_day, cut_off, minimum, next_payout_at > now() AS later,
	   extract(isodow FROM next_payout_at AT TIME ZONE 'UTC') AS day
  FROM payledger.set_payout_terms('PAY-1', 'NOK', 'ba_ok', 'weekly', 5, '06:30', 1000);
SELECT beneficiary, gateway, available_from, schedule, payout_day, cut_off, minimum, next_payout_at > now() AS later
  FROM payledger.set_payout_terms('PAY-1', 'NOK', minimum => 0, gateway => 'sandbox');
SELECT schedule, payout_day, next_payout_at FROM payledger.set_payout_terms('PAY-1', 'NOK', schedule => 'manual');
SELECT updated_by = current_user AS by_me FROM payledger.payout_terms WHERE seller_id = 'PAY-1' AND currency = 'NOK';

CREATE FUNCTION terms(arguments text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.set_payout_terms(''PAY-2'', ''NOK'', %s)', arguments)) $$;
SELECT outcome($$SELECT payledger.set_payout_terms(NULL, 'NOK')$$);
SELECT outcome($$SELECT payledger.set_payout_terms('PAY-2', NULL)$$);
SELECT outcome($$SELECT payledger.set_payout_terms('PAY-2', 'nok')$$);
SELECT outcome($$SELECT payledger.set_payout_terms('NOBODY', 'NOK', 'ba_ok')$$);
SELECT outcome($$SELECT payledger.set_payout_terms('PAY-2', 'EUR', 'ba_ok')$$);
SELECT terms($$beneficiary => ''$$);
SELECT terms($$beneficiary => '4242 4242 4242 4242'$$);
SELECT terms($$beneficiary => 'NO93 8601 1117 947'$$);
SELECT terms($$beneficiary => 'de89370400440532013000'$$);
SELECT terms($$beneficiary => repeat('x', 256)$$);
SELECT terms($$beneficiary => E'ba\t1'$$);
SELECT terms($$schedule => 'daily'$$);
SELECT terms($$beneficiary => 'ba_ok', schedule => 'hourly'$$);
SELECT terms($$beneficiary => 'ba_ok', schedule => 'weekly'$$);
SELECT terms($$beneficiary => 'ba_ok', schedule => 'weekly', payout_day => 8$$);
SELECT terms($$beneficiary => 'ba_ok', schedule => 'monthly', payout_day => 32$$);
SELECT terms($$beneficiary => 'ba_ok', schedule => 'monthly', payout_day => 0$$);
SELECT terms($$beneficiary => 'ba_ok', schedule => 'daily', payout_day => 1$$);
SELECT terms($$payout_day => 1$$);
SELECT terms($$minimum => -1$$);
SELECT terms($$cut_off => '24:00'$$);
SELECT terms($$gateway => 'nowhere'$$);
SELECT gateway FROM payledger.add_gateway('payouts-adyen', adapter => 'adyen', options => '{"merchant_account": "Shop", "return_url": "https://shop.example/"}');
SELECT terms($$gateway => 'payouts-adyen'$$);
SELECT terms($$available_from => 'yesterday'$$);
SELECT count(*) FROM payledger.payout_terms WHERE seller_id IN ('PAY-2', 'NOBODY');
-- tokens that look a little like account data
SELECT beneficiary FROM payledger.set_payout_terms('PAY-1', 'NOK', 'SE322KH223222F5GXZFNM3BGP');
SELECT beneficiary FROM payledger.set_payout_terms('PAY-1', 'NOK', '13967081');
SELECT beneficiary FROM payledger.set_payout_terms('PAY-1', 'NOK', 'ba_ok');

-- what cannot be asked for
CREATE FUNCTION pay_out(arguments text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.request_payout(%s)', arguments)) $$;
SELECT pay_out($$NULL, 'NOK'$$);
SELECT pay_out($$'PAY-1', NULL$$);
SELECT pay_out($$'PAY-1', 'kroner'$$);
SELECT pay_out($$'NOBODY', 'NOK'$$);
SELECT pay_out($$'PAY-1', 'EUR'$$);
SELECT pay_out($$'PAY-1', 'NOK', 0$$);
SELECT pay_out($$'PAY-1', 'NOK', -1$$);
SELECT pay_out($$'PAY-1', 'NOK', 1, ''$$);
SELECT pay_out($$'PAY-2', 'NOK', 1$$);
SELECT pay_out($$'PAY-1', 'NOK'$$);
SELECT pay_out($$'PAY-1', 'NOK', 1$$);
SELECT pay_out($$'PAY-1', 'NOK', 9223372036854775807$$);
-- the terms name a gateway that does not pay out, as it turns out
BEGIN;
UPDATE payledger.payout_terms SET gateway = 'payouts-adyen' WHERE seller_id = 'PAY-1' AND currency = 'NOK';
SELECT pay_out($$'PAY-1', 'NOK', 1$$);
UPDATE payledger.payout_terms SET gateway = NULL WHERE seller_id = 'PAY-1' AND currency = 'NOK';
UPDATE payledger.gateways SET is_default = false;
SELECT pay_out($$'PAY-1', 'NOK', 1$$);
ROLLBACK;
SELECT count(*) FROM payledger.payouts;

-- the worked example: 10000 captured, 400 of it commission, settled less a fee of 200
SELECT sell('PAY-1', 10000) AS example \gset
SELECT * FROM balances;
SELECT unsettled, net, pending FROM payledger.unsettled_orders WHERE currency = 'NOK';
SELECT pay_out($$'PAY-1', 'NOK'$$);
SELECT pay_out($$'PAY-1', 'NOK', 1$$);
SELECT settle(:example, 200);
SELECT * FROM balances;
SELECT pay_out($$'PAY-1', 'NOK', 9601$$);
SELECT payout_id AS payout, seller_id, currency, amount, status, gateway, scheduled_for
  FROM payledger.request_payout('PAY-1', 'NOK') \gset
SELECT :'seller_id' AS seller_id, :amount AS amount, :'status' AS status, :'gateway' AS gateway;
SELECT * FROM balances;
SELECT operation, payment_id = target AS itself, amount, currency, payment_method, status FROM payledger.psp_requests WHERE target = :payout;
SELECT pay_out($$'PAY-1', 'NOK'$$);
SELECT answer(:payout, 'SUCCEEDED');
SELECT * FROM balances;
SELECT status, reason, event_version FROM payledger.payouts WHERE payout_id = :payout;
SELECT entry_type, account_code, debit, credit FROM payledger.journal
 WHERE reference LIKE '%:' || :payout ORDER BY journal_entry_id, leg;
SELECT machine, from_status, to_status, regexp_replace(cause, '\d{15,}', '<id>') AS cause
  FROM payledger.state_history WHERE object_id = :payout ORDER BY history_id;
SELECT version, type, event_key, payload->'data'->>'status' AS status, payload->'data'->>'amount' AS amount,
	   payload->'data'->>'payoutId' = :'payout' AS itself
  FROM payledger.outbox_events WHERE aggregatetype = 'payout' AND aggregateid = :'payout' ORDER BY version;
SELECT account_code, debit, credit FROM payledger.trial_balance
 WHERE currency = 'NOK' AND account_code ~ 'GLOBAL|PAY-1' ORDER BY account_code COLLATE "C";

-- what is pending: what the PSP still owes, but no more than the order brings its seller
SELECT sell('PAY-1', 10000) AS first, sell('PAY-1', 5000) AS second \gset
SELECT * FROM balances;
SELECT status FROM payledger.refund(:first, 4000);
SELECT payment_order_id = :first AS first, unsettled, net, pending FROM payledger.unsettled_orders WHERE currency = 'NOK' ORDER BY 2 DESC;
SELECT * FROM balances;
SELECT settle(:second);
SELECT * FROM balances;
-- a refund of what was settled long ago is paid by what is available
SELECT status FROM payledger.refund(:second, 1000);
SELECT * FROM balances;
-- refunded, the PSP takes it back with its next report; of the first order, 6000 are to come
SELECT answer(refund_id, 'SUCCEEDED') FROM payledger.refunds WHERE payment_order_id IN (:first, :second) ORDER BY refund_id;
SELECT payment_order_id = :first AS first, unsettled, net, pending FROM payledger.unsettled_orders WHERE currency = 'NOK' ORDER BY 2 DESC;
SELECT * FROM balances;
SELECT settle(:first), settle(:second);
SELECT * FROM balances;
-- a refund that is taken back after it was settled comes with the next report as well
SELECT resolve_request.status FROM payledger.psp_requests r, payledger.resolve_request(r.psp_request_id, 'REVERSED', 'test')
 WHERE r.operation = 'REFUND' AND r.target = (SELECT refund_id FROM payledger.refunds WHERE payment_order_id = :second);
SELECT payment_order_id = :first AS first, unsettled, net, pending FROM payledger.unsettled_orders WHERE currency = 'NOK';
SELECT * FROM balances;
SELECT settle(:second);
-- a capture that failed after all: nothing of it is pending, and the debt is taken from what is available
SELECT sell('PAY-1', 700) AS failing \gset
SELECT * FROM balances;
SELECT resolve_request.status FROM payledger.psp_requests r, payledger.resolve_request(r.psp_request_id, 'REVERSED', 'test')
 WHERE r.operation = 'CAPTURE' AND r.target = :failing;
SELECT * FROM balances;
SELECT unsettled, net, pending FROM payledger.unsettled_orders WHERE currency = 'NOK';

-- chargebacks: what the seller bears is neither its own nor pending; what the
-- platform bears is the seller's still, once the capture is settled
SELECT seller_id FROM payledger.register_seller('DIS-1', 'NOK', commission_bps => 400);
CREATE VIEW disputed AS
	SELECT b.balance, b.pending AS pending_all, b.available, u.unsettled, u.net, u.pending
	  FROM payledger.seller_balances b LEFT JOIN payledger.unsettled_orders u USING (seller_id, currency) WHERE b.seller_id = 'DIS-1';
SELECT sell('DIS-1', 2000) AS disputed \gset
SELECT dispute_id AS borne FROM payledger.open_dispute(:disputed, 500, 'pay_dp_1', borne_by_seller => true) \gset
SELECT * FROM disputed;
SELECT status FROM payledger.open_dispute(:disputed, 300, 'pay_dp_2', borne_by_seller => false);
SELECT * FROM disputed;
SELECT settle(:disputed);
SELECT * FROM disputed;
-- won: the PSP gives it back with its next report
SELECT status FROM payledger.close_dispute(:borne, 'WON');
SELECT * FROM disputed;
SELECT settle(:disputed);
SELECT * FROM disputed;
-- lost after all, and more than there is
SELECT status FROM payledger.close_dispute(:borne, 'LOST');
SELECT status FROM payledger.open_dispute(:disputed, 1700, 'pay_dp_3');
SELECT balance, pending, available, negative FROM payledger.seller_balances WHERE seller_id = 'DIS-1';
SELECT status FROM payledger.set_payout_terms('DIS-1', 'NOK', 'ba_ok'), payledger.update_seller('DIS-1', 'NOK');
SELECT pay_out($$'DIS-1', 'NOK'$$);

-- a hold and a floor are not available
SELECT hold_id AS hold FROM payledger.place_hold('MERCHANT_PAYABLE.PAY-1.NOK', 3000) \gset
SELECT count(*) FROM payledger.set_account_limits('MERCHANT_PAYABLE.PAY-1.NOK', 2000, NULL);
SELECT * FROM balances;
SELECT pay_out($$'PAY-1', 'NOK', 5561$$);
SELECT count(*) FROM payledger.set_account_limits('MERCHANT_PAYABLE.PAY-1.NOK', NULL, NULL);
SELECT status FROM payledger.release_hold(:hold);

-- the same request twice, and another with its key
SELECT payout_id AS keyed, amount, status FROM payledger.request_payout('PAY-1', 'NOK', 1000, 'pay-key') \gset
SELECT payout_id = :keyed AS same, amount, status, scheduled_for FROM payledger.request_payout('PAY-1', 'NOK', 1000, 'pay-key');
SELECT pay_out($$'PAY-1', 'NOK', 1001, 'pay-key'$$);
SELECT pay_out($$'PAY-1', 'NOK', NULL, 'pay-key'$$);
SELECT pay_out($$'PAY-1', 'DKK', 1000, 'pay-key'$$);
SELECT outcome(format('SELECT payledger.capture(%s, NULL, ''pay-key'')', :first));
SELECT count(*) FROM payledger.payouts WHERE seller_id = 'PAY-1';
-- what was refused leaves its key free
SELECT pay_out($$'PAY-1', 'NOK', 100000, 'pay-key-2'$$);
SELECT status FROM payledger.request_payout('PAY-1', 'NOK', 100, 'pay-key-2');

-- an unknown outcome keeps the funds, whatever time passes
UPDATE payledger.psp_requests SET status = 'IN_FLIGHT', lease_token = 1, attempt = 1, first_sent_at = now() WHERE target = :keyed;
UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL WHERE target = :keyed;
UPDATE payledger.psp_requests SET status = 'PARKED' WHERE target = :keyed;
SELECT status FROM payledger.payouts WHERE payout_id = :keyed;
SELECT * FROM balances;
SELECT pay_out($$'PAY-1', 'NOK', 9561$$);
-- the operator found that it was paid; said once more, nothing changes
SELECT r.status FROM payledger.psp_requests q, payledger.resolve_request(q.psp_request_id, 'SUCCEEDED', 'seen at the bank') r WHERE q.target = :keyed;
SELECT status FROM payledger.payouts WHERE payout_id = :keyed;
SELECT outcome(format('SELECT payledger.resolve_request(%s, ''REFUSED'', ''no'')', psp_request_id)) FROM payledger.psp_requests WHERE target = :keyed;

-- the bank sends it back: the funds return, once
SELECT r.status FROM payledger.psp_requests q, payledger.resolve_request(q.psp_request_id, 'REVERSED', 'account closed') r WHERE q.target = :keyed;
SELECT r.status FROM payledger.psp_requests q, payledger.resolve_request(q.psp_request_id, 'REVERSED', 'account closed') r WHERE q.target = :keyed;
SELECT status, reason, event_version FROM payledger.payouts WHERE payout_id = :keyed;
SELECT * FROM balances;
SELECT j.entry_type, o.entry_type AS reverses, j.account_code, j.debit, j.credit
  FROM payledger.journal j LEFT JOIN payledger.journal_entries o ON o.journal_entry_id = j.reverses
 WHERE j.reference LIKE '%:' || :keyed ORDER BY j.journal_entry_id, j.leg;
SELECT version, type, payload->'data'->>'status' AS status, payload->'data'->>'reason' AS reason
  FROM payledger.outbox_events WHERE aggregatetype = 'payout' AND aggregateid = :'keyed' ORDER BY version;

-- refused: the funds return
SELECT payout_id AS refused FROM payledger.payouts WHERE amount = 100 AND seller_id = 'PAY-1' \gset
SELECT answer(:refused, 'REFUSED');
SELECT status, reason FROM payledger.payouts WHERE payout_id = :refused;
SELECT * FROM balances;
SELECT from_status, to_status FROM payledger.state_history WHERE machine = 'payout' AND object_id IN (:keyed, :refused) ORDER BY history_id;

-- on its way, and the bank sends it back before anybody heard that it was paid
SELECT payout_id AS transit FROM payledger.request_payout('PAY-1', 'NOK', 300) \gset
UPDATE payledger.psp_requests SET status = 'IN_FLIGHT', lease_token = 1, attempt = 1, first_sent_at = now() WHERE target = :transit;
UPDATE payledger.psp_requests SET status = 'SUCCEEDED', lease_token = NULL WHERE target = :transit;
UPDATE payledger.payouts SET status = 'IN_TRANSIT' WHERE payout_id = :transit;
SELECT * FROM balances;
SELECT r.status FROM payledger.psp_requests q, payledger.resolve_request(q.psp_request_id, 'REVERSED', 'bounced') r WHERE q.target = :transit;
SELECT status FROM payledger.payouts WHERE payout_id = :transit;
SELECT * FROM balances;

-- answers that contradict what was decided are for an operator, and change nothing
SELECT payout_id AS contradicted FROM payledger.request_payout('PAY-1', 'NOK', 400) \gset
BEGIN;
UPDATE payledger.payouts SET status = 'PAID' WHERE payout_id = :contradicted;
SELECT outcome(format('SELECT answer(%s, ''REFUSED'')', :contradicted));
SELECT outcome(format('SELECT answer(%s, ''SUCCEEDED'')', :contradicted));
SELECT event_version FROM payledger.payouts WHERE payout_id = :contradicted;
ROLLBACK;
BEGIN;
UPDATE payledger.payouts SET status = 'FAILED' WHERE payout_id = :contradicted;
SELECT outcome(format('SELECT answer(%s, ''SUCCEEDED'')', :contradicted));
ROLLBACK;
SELECT answer(:contradicted, 'REFUSED');

-- not while the seller, or its account, is suspended
SELECT status FROM payledger.update_seller('PAY-1', 'NOK', status => 'SUSPENDED');
SELECT pay_out($$'PAY-1', 'NOK', 1$$);
SELECT status FROM payledger.update_seller('PAY-1', 'NOK', status => 'CLOSED');
SELECT pay_out($$'PAY-1', 'NOK', 1$$);
SELECT status FROM payledger.update_seller('PAY-1', 'NOK', status => 'ACTIVE');
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.PAY-1.NOK', 'SUSPENDED');
SELECT pay_out($$'PAY-1', 'NOK', 1$$);
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.PAY-1.NOK', 'ACTIVE');

-- a platform that does not wait for the PSP
SELECT sell('PAY-2', 1500) AS fronted \gset
SELECT available_from FROM payledger.set_payout_terms('PAY-2', 'NOK', 'ba_ok', available_from => 'capture');
SELECT * FROM balances;
SELECT amount FROM payledger.request_payout('PAY-2', 'NOK', 1400);
SELECT available_from FROM payledger.set_payout_terms('PAY-2', 'NOK', available_from => 'settlement');
SELECT * FROM balances;

-- ---- by schedule ----

CREATE FUNCTION next_of(schedule text, day int, cut_off time, after timestamptz, time_zone text DEFAULT 'Europe/Berlin', n int DEFAULT 4)
	RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		after := payledger.next_payout_at(schedule, day, cut_off, after, time_zone);
		RETURN NEXT to_char(after AT TIME ZONE time_zone, 'Dy YYYY-MM-DD HH24:MI') || ' local, ' || to_char(after AT TIME ZONE 'UTC', 'HH24:MI') || ' UTC';
	END LOOP;
END
$$;
-- the hour that summer time leaves out, and the one that comes twice
SELECT next_of('daily', NULL, '02:30', '2026-03-28 00:00+01');
SELECT next_of('daily', NULL, '02:30', '2026-10-24 00:00+02');
SELECT next_of('daily', NULL, '00:00', '2026-03-28 23:00+00', n => 2);
SELECT next_of('daily', NULL, '23:59', '2026-12-31 12:00+13', 'Pacific/Auckland', 2);
-- the cut-off itself is over
SELECT next_of('weekly', 1, '06:00', '2026-03-23 06:00+01');
SELECT next_of('weekly', 7, '06:00', '2026-03-23 06:00+01', n => 1);
SELECT next_of('weekly', 1, '06:00', '2026-03-23 05:59+01', n => 1);
-- the last day of a shorter month
SELECT next_of('monthly', 31, '06:00', '2027-12-31 06:00+01');
SELECT next_of('monthly', 1, '06:00', '2026-03-01 05:59+01', n => 2);
SELECT next_of('monthly', 30, '00:00', '2027-01-30 00:00+01', 'UTC', 2);
SELECT next_of('manual', NULL, '06:00', '2026-03-23 06:00+01', n => 1);

-- the sellers of the run: one is paid, one has less than its minimum, one is
-- suspended, one has nothing, one has a debt; one's account is suspended
SELECT count(*) FROM (VALUES ('RUN-1'), ('RUN-2'), ('RUN-3'), ('RUN-4'), ('RUN-5'), ('RUN-6')) s(id), payledger.register_seller(id, 'NOK');
SELECT settle(sell('RUN-1', 1000)), settle(sell('RUN-2', 2000)), settle(sell('RUN-3', 3000)), settle(sell('RUN-6', 6000));
SELECT count(*) FROM (VALUES ('RUN-1', 1000), ('RUN-2', 2001), ('RUN-3', 0), ('RUN-4', 0), ('RUN-5', 0), ('RUN-6', 0)) s(id, minimum),
	payledger.set_payout_terms(id, 'NOK', 'ba_ok', 'daily', cut_off => :'time_of_day', minimum => minimum);
SELECT count(*) FROM payledger.post_entry('ADJUSTMENT', '[{"account":"MERCHANT_PAYABLE.RUN-5.NOK","amount":50},{"account":"PLATFORM_CASH.GLOBAL.NOK","amount":-50}]');
SELECT status FROM payledger.update_seller('RUN-3', 'NOK', status => 'SUSPENDED');
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.RUN-6.NOK', 'SUSPENDED');
-- nothing is due yet
SELECT * FROM payledger.run_payouts();
SELECT outcome('SELECT payledger.run_payouts(NULL)');
SELECT outcome('SELECT payledger.run_payouts(''infinity'')');
SELECT next_payout_at AS cut_off FROM payledger.payout_terms WHERE seller_id = 'RUN-1' \gset
SELECT seller_id, amount, status, scheduled_for = :'cut_off' AS at_cut_off FROM payledger.run_payouts(:'cut_off');
SELECT * FROM payledger.run_payouts(:'cut_off');
SELECT seller_id, next_payout_at = :'cut_off'::timestamptz + interval '24 hours' AS next_day, problem FROM payledger.payout_terms
 WHERE seller_id LIKE 'RUN-%' ORDER BY seller_id;
-- the keeper was away for three days: one payout, and the next cut-off is to come
SELECT settle(sell('RUN-1', 111));
SELECT status FROM payledger.update_seller('RUN-3', 'NOK', status => 'ACTIVE');
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.RUN-6.NOK', 'ACTIVE');
SELECT seller_id, amount, scheduled_for = :'cut_off'::timestamptz + interval '24 hours' AS next_day
  FROM payledger.run_payouts(:'cut_off'::timestamptz + interval '73 hours') ORDER BY seller_id;
SELECT seller_id FROM payledger.set_payout_terms('RUN-1', 'NOK', minimum => 0);
SELECT seller_id, amount FROM payledger.run_payouts(:'cut_off'::timestamptz + interval '96 hours') ORDER BY seller_id;
SELECT seller_id, next_payout_at = :'cut_off'::timestamptz + interval '120 hours' AS ahead, problem FROM payledger.payout_terms
 WHERE seller_id LIKE 'RUN-%' ORDER BY seller_id;
-- a new schedule does not come back to a cut-off that was paid out
SELECT schedule FROM payledger.set_payout_terms('RUN-1', 'NOK', schedule => 'manual');
SELECT next_payout_at > (SELECT max(scheduled_for) FROM payledger.payouts WHERE seller_id = 'RUN-1') AS after_the_last
  FROM payledger.set_payout_terms('RUN-1', 'NOK', schedule => 'daily');
SELECT regexp_replace(outcome($$INSERT INTO payledger.payouts (payout_id, seller_id, currency, amount, gateway, beneficiary, status, scheduled_for, event_version, created_at, updated_at)
	SELECT 17, seller_id, currency, amount, gateway, beneficiary, 'REQUESTED', scheduled_for, 1, now(), now() FROM payledger.payouts WHERE scheduled_for IS NOT NULL AND seller_id = 'RUN-1' LIMIT 1$$), 'NOK, .*', '...');

-- hand-written changes are held to the same rules
SELECT outcome(format('UPDATE payledger.payouts SET status = ''REQUESTED'' WHERE payout_id = %s', :payout));
SELECT outcome(format('UPDATE payledger.payouts SET status = ''PAID'' WHERE payout_id = %s', :refused));
SELECT outcome(format('UPDATE payledger.payouts SET status = ''IN_TRANSIT'' WHERE payout_id = %s', :keyed));
SELECT outcome(format('UPDATE payledger.payouts SET amount = 1 WHERE payout_id = %s', :payout));
SELECT outcome(format('UPDATE payledger.payouts SET beneficiary = ''mine'' WHERE payout_id = %s', :payout));
SELECT outcome(format('UPDATE payledger.payouts SET payout_id = 1 WHERE payout_id = %s', :payout));
SELECT outcome('DELETE FROM payledger.payouts');
SELECT outcome('TRUNCATE payledger.payouts');

-- an application's row and the payout live or die together
BEGIN;
SELECT amount FROM payledger.request_payout('PAY-1', 'NOK', 5);
ROLLBACK;
SELECT count(*) FROM payledger.payouts WHERE amount = 5;
SELECT count(*) FROM payledger.psp_requests WHERE operation = 'PAYOUT' AND amount = 5;

-- everything agrees, and what does not is found
SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
CREATE FUNCTION finds(table_name text, damage text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	found json;
BEGIN
	EXECUTE format('ALTER TABLE payledger.%I DISABLE TRIGGER USER', table_name);
	EXECUTE damage;
	SELECT json_agg(check_name || ': ' || offence ORDER BY check_name, offence COLLATE "C") INTO found
	  FROM payledger.verify(true), regexp_split_to_table(regexp_replace(detail, '\d{15,}', '<id>', 'g'), '; ') offence
	 WHERE NOT ok AND check_name !~ 'guarded';
	RAISE EXCEPTION USING ERRCODE = 'UNDO1', MESSAGE = coalesce(found::text, '["nothing"]');
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
	RETURN QUERY SELECT json_array_elements_text(SQLERRM::json);
END
$$;
SELECT finds('payouts', format('UPDATE payledger.payouts SET status = ''FAILED'' WHERE payout_id = %s', :payout));
SELECT finds('payouts', format('UPDATE payledger.payouts SET amount = 9601 WHERE payout_id = %s', :payout));
SELECT finds('payouts', format('UPDATE payledger.payouts SET seller_id = ''PAY-2'' WHERE payout_id = %s', :payout));
SELECT finds('payouts', format('UPDATE payledger.payouts SET event_version = 3 WHERE payout_id = %s', :payout));
SELECT finds('payouts', format('DELETE FROM payledger.payouts WHERE payout_id = %s', :payout));
SELECT finds('psp_requests', $$UPDATE payledger.psp_requests SET status = 'REFUSED' WHERE operation = 'PAYOUT' AND amount = 1400$$);
SELECT finds('psp_requests', $$INSERT INTO payledger.psp_requests SELECT (r).* FROM (SELECT jsonb_populate_record(q, '{"psp_request_id": 17}') AS r
	FROM payledger.psp_requests q WHERE q.operation = 'PAYOUT' AND q.amount = 1400) n$$);
SELECT finds('outbox_events', format('DELETE FROM payledger.outbox_events WHERE aggregateid = %L AND version = 2', :'keyed'));
SELECT finds('payouts', $$SELECT payledger.post_entry('ADJUSTMENT', '[{"account":"PAYOUT_CLEARING.GLOBAL.NOK","amount":5},{"account":"PLATFORM_CASH.GLOBAL.NOK","amount":-5}]')$$);
BEGIN;
DROP TRIGGER refuse_identity_change ON payledger.payouts;
ALTER TABLE payledger.reserves DISABLE TRIGGER refuse_delete;
SELECT detail FROM payledger.verify() WHERE check_name = 'payouts_are_guarded';
ROLLBACK;
SELECT count(*) FROM payledger.verify(true) WHERE NOT ok;
DROP VIEW balances, disputed;
DROP FUNCTION sell, settle, terms, pay_out, next_of, finds;
