-- Settlement: reports read by column maps and by COPY, matched by sets, posted,
-- and what does not match.  outcome() and answer() come from 010_setup.
\set VERBOSITY terse
\pset null '-'
SET timezone = 'UTC';
SELECT gateway FROM payledger.add_gateway('desk', adapter => 'sandbox');
SELECT gateway FROM payledger.add_gateway('agreed', adapter => 'sandbox', options => '{"fee_bps": 150, "fee_fixed": 25}');
SELECT gateway FROM payledger.add_gateway('once_desk', adapter => 'sandbox', options => '{"multicapture": false}');
SELECT r.* FROM generate_series(1, 3) AS n, payledger.register_seller('SETTLE-' || n, 'DKK') r;
SELECT r.* FROM payledger.register_seller('SETTLE-1', 'ISK') r;

-- a payment of that order, captured for each of the sellers; the PSP calls it pi_<order>
CREATE FUNCTION sold(order_id text, gateway text, currency text, VARIADIC amounts bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	open bigint;
BEGIN
	SELECT payment_intent_id INTO id FROM payledger.create_payment_intent(sold.order_id, 'BUYER-S', sold.currency,
		(SELECT jsonb_agg(jsonb_build_object('seller_id', 'SETTLE-' || n, 'amount', a) ORDER BY n)
		   FROM unnest(amounts) WITH ORDINALITY AS u(a, n)), gateway => sold.gateway);
	PERFORM payledger.request_authorization(id, 'pm_ok');
	PERFORM answer(id, 'SUCCEEDED');
	UPDATE payledger.payments SET psp_reference = 'pi_' || sold.order_id WHERE payment_id = id;
	FOR open IN SELECT DISTINCT r.target FROM payledger.psp_requests r
				 WHERE r.payment_id = id AND r.operation = 'CAPTURE' AND r.status = 'READY' ORDER BY 1 LOOP
		PERFORM answer(open, 'SUCCEEDED');
	END LOOP;
	RETURN id;
END
$$;
CREATE FUNCTION order_sold(payment bigint, seller text DEFAULT 'SETTLE-1') RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = payment AND seller_id = seller $$;
CREATE FUNCTION refunded(payment bigint, amount bigint) RETURNS text LANGUAGE sql AS
$$ SELECT answer(refund_id, 'SUCCEEDED') FROM payledger.refund(order_sold(payment), refunded.amount) $$;
-- a line of format generic
CREATE FUNCTION line(line_type text, order_id text, gross bigint, fee bigint DEFAULT 0, currency text DEFAULT 'DKK',
					 reference text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('line_type', line_type, 'psp_reference', 'pi_' || order_id, 'gross', gross,
		'fee', fee, 'net', gross - fee, 'currency', currency, 'reference', reference)) $$;
CREATE FUNCTION reference_of(payment bigint, operation text, seller text DEFAULT 'SETTLE-1') RETURNS text LANGUAGE sql AS $$
	SELECT 'pl_' || max(r.psp_request_id) FROM payledger.psp_requests r
	 WHERE r.payment_id = payment AND r.operation::text = reference_of.operation
	   AND (r.operation <> 'CAPTURE' OR r.target IN (payment, order_sold(payment, seller))) $$;
CREATE VIEW entries AS
	SELECT split_part(reference, ':', 1) AS entry, regexp_replace(reference, '\d{15,}', '<id>') AS reference,
		   account_code AS account, debit, credit, metadata
	  FROM payledger.journal WHERE entry_type LIKE 'SETTLEMENT%' OR entry_type LIKE 'PSP_FEE%';
CREATE FUNCTION posted(report text) RETURNS TABLE (reference text, account text, debit numeric, credit numeric)
	LANGUAGE sql AS $$
	SELECT regexp_replace(j.reference, '\d{15,}', '<id>'), j.account_code, j.debit, j.credit FROM payledger.journal j
	 WHERE split_part(j.reference, ':', 2) IN (
			SELECT r.settlement_report_id::text FROM payledger.settlement_reports r WHERE r.report_id = report
			 UNION ALL
			SELECT e.settlement_exception_id::text FROM payledger.settlement_exceptions e
			  JOIN payledger.settlement_reports r USING (settlement_report_id) WHERE r.report_id = report)
	 ORDER BY j.journal_entry_id, j.leg $$;
CREATE FUNCTION found_in(report text) RETURNS TABLE (line int, category text, line_type text, order_id text, sellers text,
		expected text, actual text, status text, note text) LANGUAGE sql AS $$
	SELECT e.line_no, e.category, e.line_type, e.order_id, e.sellers, e.expected, e.actual, e.status,
		   regexp_replace(e.note, '\d{15,}', '<id>')
	  FROM payledger.reconciliation_exceptions e WHERE e.report_id = report ORDER BY e.line_no, e.settlement_exception_id $$;
CREATE FUNCTION exception_of(report text, category text) RETURNS bigint LANGUAGE sql AS $$
	SELECT min(settlement_exception_id) FROM payledger.reconciliation_exceptions e
	 WHERE e.report_id = report AND e.category = exception_of.category AND status = 'OPEN' $$;
CREATE FUNCTION open_items(gateway text) RETURNS TABLE (order_id text, kind text, amount numeric) LANGUAGE sql AS $$
	SELECT p.order_id, i.kind::text, sum(i.amount) FROM payledger.settlement_items i JOIN payledger.payments p USING (payment_id)
	 WHERE i.gateway = open_items.gateway AND i.settlement_report_id IS NULL
	 GROUP BY 1, 2, i.object_id, i.occurred_at ORDER BY i.occurred_at, i.object_id, 2 $$;

-- the worked example: 10000 captured, settled 9800 with a fee of 200
SELECT sold('EX', 'desk', 'DKK', 10000) AS ex \gset
SELECT gateway, report_id, status, lines, matched, exceptions, totals
  FROM payledger.import_settlement('desk', 'EX', jsonb_build_array(line('capture', 'EX', 10000, 200)), payout_amount => 9800);
SELECT * FROM payledger.settlement_outcomes WHERE report_id = 'EX' \gx
SELECT status, lines, matched, exceptions, totals FROM payledger.reconcile_settlement('EX');
SELECT * FROM posted('EX');
SELECT metadata FROM entries WHERE reference LIKE 'SETTLEMENT:%' AND metadata ->> 'report_id' = 'EX' LIMIT 1;
SELECT line_type, gross, fee, net, outcome FROM payledger.settlement_outcomes WHERE report_id = 'EX';
SELECT * FROM open_items('desk');
-- again: the same, and nothing else
SELECT status, lines, matched, exceptions, totals FROM payledger.reconcile_settlement('EX', 'desk');
SELECT status, lines, matched FROM payledger.import_settlement('desk', 'EX', jsonb_build_array(line('capture', 'EX', 10000, 200)), payout_amount => 9800);
SELECT count(*) FROM posted('EX');
-- its event and history
SELECT type, version, event_key, (payload::jsonb -> 'data') - 'settlementReportId'::text AS data FROM payledger.outbox_events
 WHERE type = 'settlement_reconciled' AND event_key = 'desk';
SELECT h.from_status, h.to_status, h.cause
  FROM payledger.state_history h JOIN payledger.settlement_reports r ON r.settlement_report_id = h.object_id
 WHERE h.machine = 'settlement_report' AND r.gateway = 'desk' ORDER BY h.history_id;

-- every kind of line, by the payment and by our reference; one operation of several sellers
SELECT sold('K1', 'desk', 'DKK', 1000, 2000, 3000) AS k1, sold('K2', 'desk', 'DKK', 500) AS k2,
	   sold('K3', 'desk', 'ISK', 700) AS k3, sold('K4', 'once_desk', 'DKK', 1000, 2000) AS k4 \gset
SELECT refunded(:k1, 100), refunded(:k1, 100), refunded(:k1, 50);
SELECT dispute_id AS d2 FROM payledger.open_dispute(order_sold(:k2), 500, 'du_K2', 'fraudulent', 1500) \gset
SELECT * FROM open_items('desk');
SELECT * FROM open_items('once_desk');
SELECT status FROM payledger.import_settlement('desk', 'KINDS', jsonb_build_array(
	line('capture', 'K1', 2000, 29), line('capture', 'K1', 1000, 20), line('capture', 'K1', 3000, 30),
	line('refund', 'K1', -100), line('refund', 'K1', -50, reference => reference_of(:k1, 'REFUND')),
	line('capture', 'K2', 500, 10, reference => reference_of(:k2, 'CAPTURE')),
	line('chargeback', 'K2', -500, 1500), line('capture', 'K3', 700, 7, 'ISK'),
	'{"line_type":"fee","gross":0,"fee":300,"net":-300,"currency":"DKK"}'::jsonb,
	'{"line_type":"fee","gross":-40,"fee":0,"net":-40,"currency":"ISK"}'::jsonb,
	'{"line_type":"payout","gross":-3961,"fee":0,"net":-3961,"currency":"DKK"}'::jsonb,
	'{"line_type":"payout","gross":-653,"fee":0,"net":-653,"currency":"ISK"}'::jsonb));
SELECT lines, matched, exceptions, totals FROM payledger.reconcile_settlement('KINDS');
SELECT * FROM found_in('KINDS');
SELECT line_no, line_type, outcome FROM payledger.settlement_outcomes WHERE report_id = 'KINDS' ORDER BY line_no;
SELECT * FROM posted('KINDS');
SELECT * FROM open_items('desk');
-- a capture that serves two sellers is one line
SELECT status FROM payledger.import_settlement('once_desk', 'ONCE', jsonb_build_array(line('capture', 'K4', 3000, 60)));
SELECT lines, matched, exceptions, totals FROM payledger.reconcile_settlement('ONCE');
SELECT seller_id, amount, line_no FROM payledger.settlement_items WHERE gateway = 'once_desk' ORDER BY seller_id;
-- a line with our reference is compared with what it names, not with the other refund of 100
SELECT refunded(:k1, 60);
SELECT status FROM payledger.import_settlement('desk', 'NAMED', jsonb_build_array(
	line('refund', 'K1', -100, reference => reference_of(:k1, 'REFUND'))));
SELECT matched, exceptions FROM payledger.reconcile_settlement('NAMED');
SELECT * FROM found_in('NAMED');
SELECT status FROM payledger.resolve_exception(exception_of('NAMED', 'UNDER'), 'DISMISSED', 'they named the wrong refund');
SELECT * FROM open_items('desk');

-- what another gateway is to pay is not settled by this one's report, whoever names it
SELECT sold('K5', 'once_desk', 'DKK', 900) AS k5, sold('K6', 'once_desk', 'DKK', 800) AS k6 \gset
SELECT status FROM payledger.import_settlement('desk', 'OTHER', jsonb_build_array(
	line('capture', 'K5', 900, 18), line('capture', 'K6', 800, 16, reference => reference_of(:k6, 'CAPTURE'))));
SELECT lines, matched, exceptions, totals FROM payledger.reconcile_settlement('OTHER');
SELECT * FROM found_in('OTHER');
SELECT * FROM open_items('once_desk');

-- every discrepancy
SELECT sold('D' || n, 'desk', 'DKK', 1000) > 0 FROM generate_series(1, 9) n;
SELECT status FROM payledger.import_settlement('desk', 'WRONG', jsonb_build_array(
	line('refund', 'K1', -100), line('refund', 'K1', -100),
	line('capture', 'D1', 1000, 20), line('capture', 'D1', 1000, 20),
	line('capture', 'D2', 1010, 20), line('capture', 'D3', 990, 20),
	line('capture', 'D4', 1000, 20, 'ZAR'), line('capture', 'NOBODY', 1000, 20),
	line('refund', 'D5', -10), line('capture', 'EX', 10000, 200), line('capture', 'D7', 1000, 20)),
	payout_amount => NULL, settled_through => now() + interval '1 h');
SELECT lines, matched, exceptions, totals FROM payledger.reconcile_settlement('WRONG');
SELECT * FROM found_in('WRONG');
SELECT count(*) FILTER (WHERE n > 1) AS lines_with_two FROM (
	SELECT count(*) AS n FROM payledger.settlement_outcomes WHERE report_id = 'WRONG' GROUP BY line_no) o;
SELECT * FROM posted('WRONG');
SELECT * FROM open_items('desk');

-- what is missing already is not missed twice; what comes late is no longer missing
SELECT status FROM payledger.import_settlement('desk', 'LATE', jsonb_build_array(line('capture', 'D5', 1000, 20)),
	payout_amount => 970, settled_through => now() + interval '1 h');
SELECT lines, matched, exceptions, totals FROM payledger.reconcile_settlement('LATE');
SELECT * FROM found_in('LATE');
SELECT line, category, order_id, status, note FROM found_in('WRONG') WHERE category = 'MISSING_AT_PSP';

-- an operation that was reversed before it was settled is not missing, nor is what happened later
SELECT sold('R1', 'desk', 'DKK', 800) AS r1 \gset
SELECT refunded(:r1, 300);
SELECT payledger.resolve_request(r.psp_request_id, 'REVERSED', 'test') IS NOT NULL FROM payledger.psp_requests r
 WHERE r.payment_id = :r1 AND r.operation = 'REFUND';
SELECT * FROM open_items('desk') WHERE order_id = 'R1';
SELECT sold('R2', 'desk', 'DKK', 900) AS r2 \gset
SELECT status FROM payledger.import_settlement('desk', 'NETS', jsonb_build_array(line('capture', 'R1', 800, 16)), settled_through => now() - interval '1 h');
SELECT exceptions, totals FROM payledger.reconcile_settlement('NETS');
SELECT status FROM payledger.import_settlement('desk', 'NETS-2', jsonb_build_array(line('capture', 'R2', 900, 18)), settled_through => now());
SELECT exceptions, totals FROM payledger.reconcile_settlement('NETS-2');

-- agreed fees: 1.5 % and 25
SELECT sold('A' || n, 'agreed', 'DKK', amount) > 0 FROM unnest('{1000, 1033, 1034, 1000}'::bigint[]) WITH ORDINALITY AS u(amount, n);
SELECT status FROM payledger.import_settlement('agreed', 'FEES', jsonb_build_array(
	line('capture', 'A1', 1000, 40), line('capture', 'A2', 1033, 40), line('capture', 'A3', 1034, 41), line('capture', 'A4', 1000, 41)));
SELECT matched, exceptions, totals FROM payledger.reconcile_settlement('FEES');
SELECT * FROM found_in('FEES');

-- fees that cannot be right: somebody decides; up to 1000 they may be above a tiny amount
SELECT sold('F' || n, 'desk', 'DKK', amount) > 0
  FROM unnest('{100000, 100000, 100000, 20, 20, 20, 100000}'::bigint[]) WITH ORDINALITY AS u(amount, n);
SELECT sold('F8', 'desk', 'DKK', 3000, 2000) AS f8, sold('F9', 'agreed', 'DKK', 20) AS f9 \gset
SELECT refunded(p.payment_id, 500) FROM payledger.payments p WHERE p.order_id IN ('F1', 'F2', 'F3') ORDER BY p.order_id;
SELECT status FROM payledger.import_settlement('desk', 'ABSURD', jsonb_build_array(
	line('capture', 'F1', 100000, -1), line('capture', 'F2', 100000, 100000), line('capture', 'F3', 100000, 100001),
	line('capture', 'F4', 20, 30), line('capture', 'F5', 20, 1000), line('capture', 'F6', 20, 1001),
	line('capture', 'F7', 100000, 9999999999900000), line('capture', 'F8', 5000, 5001),
	line('refund', 'F1', -500, -1000), line('refund', 'F2', -500, -1001), line('refund', 'F3', -500, 1001)));
SELECT lines, matched, exceptions, totals FROM payledger.reconcile_settlement('ABSURD');
SELECT * FROM found_in('ABSURD');
SELECT * FROM posted('ABSURD');
SELECT * FROM open_items('desk') WHERE order_id ~ '^F';
SELECT status FROM payledger.import_settlement('agreed', 'TINY', jsonb_build_array(line('capture', 'F9', 20, 25)));
SELECT matched, exceptions FROM payledger.reconcile_settlement('TINY');
-- what was mistaken comes again, and what is accepted is booked
SELECT count(*) FROM payledger.reconciliation_exceptions e, payledger.resolve_exception(e.settlement_exception_id, 'DISMISSED', 'wrong units')
 WHERE e.report_id = 'ABSURD' AND e.line_no IN (3, 7);
SELECT status FROM payledger.import_settlement('desk', 'SANE', jsonb_build_array(
	line('capture', 'F3', 100000, 1000), line('capture', 'F7', 100000, 1000)));
SELECT matched, exceptions FROM payledger.reconcile_settlement('SANE');
SELECT count(*) FROM payledger.reconciliation_exceptions e, payledger.resolve_exception(e.settlement_exception_id, 'ACCEPTED', 'so it is')
 WHERE e.report_id = 'ABSURD' AND e.status = 'OPEN';
SELECT * FROM posted('ABSURD') OFFSET 3;
SELECT * FROM open_items('desk') WHERE order_id ~ '^F';

-- fees that sellers pay, one line for two of them, shared exactly
SELECT count(*) FROM payledger.add_commission_rule('SETTLE-1', 'DKK', seller_pays_psp_fee => true);
SELECT count(*) FROM payledger.add_commission_rule('SETTLE-2', 'DKK', seller_pays_psp_fee => true);
SELECT sold('P1', 'once_desk', 'DKK', 1000, 1000, 1000) AS p1, sold('P2', 'once_desk', 'DKK', 500) AS p2,
	   sold('P3', 'once_desk', 'DKK', 600) AS p3, sold('P4', 'once_desk', 'DKK', 100) AS p4 \gset
SELECT status FROM payledger.import_settlement('once_desk', 'PAYERS', jsonb_build_array(
	line('capture', 'P1', 3000, 100), line('capture', 'P2', 500, 10), line('capture', 'P3', 600, 12),
	line('capture', 'P4', 99, 1)));
SELECT matched, exceptions, totals FROM payledger.reconcile_settlement('PAYERS');
SELECT * FROM posted('PAYERS');
SELECT payledger.resolve_exception(exception_of('PAYERS', 'UNDER'), 'ACCEPTED', 'a cent') IS NOT NULL;
SELECT * FROM posted('PAYERS') OFFSET 7;

-- resolving: what the PSP said is accepted
SELECT category, status, note, resolved_by = current_user AS by_me, resolved_at IS NOT NULL AS at
  FROM payledger.resolve_exception(exception_of('WRONG', 'OVER'), 'ACCEPTED', 'a tip');
SELECT category, status FROM payledger.resolve_exception(exception_of('WRONG', 'UNDER'), 'ACCEPTED', 'a cent');
SELECT category, status FROM payledger.resolve_exception(exception_of('FEES', 'FEE_DIFFERENCE'), 'ACCEPTED', 'they charge more');
SELECT category, status FROM payledger.resolve_exception(exception_of('WRONG', 'DUPLICATE'), 'ACCEPTED', 'they will take it back');
SELECT category, status FROM payledger.resolve_exception(exception_of('WRONG', 'CURRENCY'), 'ACCEPTED', 'to be converted');
SELECT category, status FROM payledger.resolve_exception(exception_of('WRONG', 'MISSING_HERE'), 'ACCEPTED', 'who is it');
SELECT category, status FROM payledger.resolve_exception(exception_of('WRONG', 'MISSING_AT_PSP'), 'ACCEPTED', 'lost');
SELECT category, status FROM payledger.resolve_exception(exception_of('LATE', 'CASH_DIFFERENCE'), 'DISMISSED', 'ten short, the bank''s');
SELECT * FROM posted('WRONG') OFFSET 3;
SELECT * FROM posted('FEES') OFFSET 3;
SELECT line, category, status, note FROM found_in('WRONG');
SELECT outcome, exception_status, count(*) FROM payledger.settlement_outcomes WHERE report_id = 'WRONG' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM open_items('desk');
SELECT machine, from_status, to_status, cause, count(*) FROM payledger.state_history
 WHERE machine = 'settlement_exception' GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 4;

-- what is settled meanwhile cannot be accepted any more
SELECT sold('M1', 'desk', 'DKK', 400) AS m1 \gset
SELECT status FROM payledger.import_settlement('desk', 'MEAN-1', jsonb_build_array(line('capture', 'M1', 399, 8)));
SELECT exceptions FROM payledger.reconcile_settlement('MEAN-1');
SELECT status FROM payledger.import_settlement('desk', 'MEAN-2', jsonb_build_array(line('capture', 'M1', 400, 8)));
SELECT exceptions FROM payledger.reconcile_settlement('MEAN-2');
SELECT outcome(format('SELECT payledger.resolve_exception(%s, ''ACCEPTED'', ''too late'')', exception_of('MEAN-1', 'UNDER')));
SELECT status FROM payledger.resolve_exception(exception_of('MEAN-1', 'UNDER'), 'DISMISSED', 'corrected by MEAN-2');

-- a wrong line that comes twice in a report: the operation is on record once
SELECT sold('M2', 'desk', 'DKK', 700) AS m2 \gset
SELECT status FROM payledger.import_settlement('desk', 'MEAN-3', jsonb_build_array(
	line('capture', 'M2', 699, 14), line('capture', 'M2', 699, 14)));
SELECT matched, exceptions FROM payledger.reconcile_settlement('MEAN-3');
SELECT * FROM found_in('MEAN-3');
SELECT count(*) FROM payledger.reconciliation_exceptions e, payledger.resolve_exception(e.settlement_exception_id, 'DISMISSED', 'corrected by MEAN-4')
 WHERE e.report_id = 'MEAN-3';
SELECT status FROM payledger.import_settlement('desk', 'MEAN-4', jsonb_build_array(line('capture', 'M2', 700, 14)));
SELECT matched, exceptions FROM payledger.reconcile_settlement('MEAN-4');

-- a chargeback won: its line, and the fee given back; one line for the disputes of several sellers
SELECT status FROM payledger.close_dispute(:d2, 'WON', true);
SELECT sold('C1', 'desk', 'DKK', 1000, 500) AS c1 \gset
SELECT count(*) FROM unnest('{SETTLE-1, SETTLE-2}'::text[], '{1000, 500}'::bigint[]) AS u(seller, amount),
	LATERAL payledger.open_dispute(order_sold(:c1, seller), amount, 'du_C1', 'fraudulent', 0) d;
SELECT status FROM payledger.import_settlement('desk', 'DISPUTES', jsonb_build_array(
	line('chargeback_reversal', 'K2', 500, -1500), line('chargeback', 'C1', -1500),
	line('capture', 'C1', 1500, 30), line('chargeback', 'D1', -1000, 1500)));
SELECT matched, exceptions, totals FROM payledger.reconcile_settlement('DISPUTES');
SELECT * FROM found_in('DISPUTES');

-- the sandbox sends a report of its own
SELECT sold('S1', 'agreed', 'DKK', 2000) AS s1, sold('S2', 'agreed', 'ISK', 150) AS s2 \gset
SELECT refunded(:s1, 500);
SELECT l - 'reference' - 'occurred_at' AS line, l ->> 'reference' ~ '^pl_\d+$' AS named
  FROM jsonb_array_elements(payledger.sandbox_settlement('agreed')) AS l;
SELECT lines FROM payledger.import_settlement('agreed', 'SBX', payledger.sandbox_settlement('agreed'), settled_through => now());
SELECT matched, exceptions, totals FROM payledger.reconcile_settlement('SBX');
SELECT payledger.sandbox_settlement('agreed');
SELECT l ->> 'fee' FROM jsonb_array_elements(payledger.sandbox_settlement('desk', 300, 5)) AS l ORDER BY 1;

-- Stripe's balance transactions
SELECT sold('ST' || n, 'desk', 'DKK', 1000) > 0 FROM generate_series(1, 2) n;
SELECT sold('ST3', 'desk', 'ISK', 1000) > 0;
\set stripe '[{"id":"txn_1","object":"balance_transaction","type":"charge","reporting_category":"charge","amount":1000,"fee":44,"net":956,"currency":"dkk","created":1735689600,"source":{"id":"ch_1","object":"charge","payment_intent":"pi_ST1"}},{"id":"txn_2","type":"payment","amount":1500,"fee":44,"net":1456,"currency":"dkk","created":1735689600,"payment_intent":"pi_ST2"},{"id":"txn_3","type":"refund","reporting_category":"partial_capture_reversal","amount":-500,"fee":0,"net":-500,"currency":"dkk","created":1735689600,"source":{"payment_intent":"pi_ST2"}},{"id":"txn_4","type":"charge","amount":1000,"fee":36,"net":964,"currency":"isk","created":1735689600,"payment_intent":"pi_ST3","source":"ch_3"},{"id":"txn_5","type":"stripe_fee","reporting_category":"fee","amount":-20,"fee":0,"net":-20,"currency":"dkk","created":1735689600,"source":null},{"id":"txn_6","type":"payout","reporting_category":"payout","amount":-1892,"fee":0,"net":-1892,"currency":"dkk","created":1735689600,"source":"po_1"}]'
SELECT lines FROM payledger.import_settlement('desk', 'po_1', :'stripe', 'stripe');
SELECT lines FROM payledger.import_settlement('desk', 'po_1', :'stripe', 'stripe');
SELECT line_no, line_type, psp_reference, reference, currency, gross, fee, net, occurred_at FROM payledger.settlement_lines WHERE report_id = 'po_1' ORDER BY line_no;
SELECT matched, exceptions, totals FROM payledger.reconcile_settlement('po_1');
-- the itemized report: major units, text
SELECT lines FROM payledger.import_settlement('desk', 'po_2', '[{"balance_transaction_id":"txn_7","created_utc":"2025-01-31 10:30:00","currency":"dkk","gross":"10.00","fee":"0.44","net":"9.56","reporting_category":"charge","payment_intent_id":"pi_ST4"},{"created_utc":"2025-01-31 10:30:00","currency":"isk","gross":"-1000","fee":"0","net":"-1000","reporting_category":"dispute","payment_intent_id":"pi_ST3"}]', 'stripe_report');
SELECT line_no, line_type, psp_reference, currency, gross, fee, net, occurred_at FROM payledger.settlement_lines WHERE report_id = 'po_2' ORDER BY line_no;
-- Adyen's settlement details
SELECT sold('AD1', 'desk', 'DKK', 1000) AS ad1, sold('AD2', 'desk', 'DKK', 2000) AS ad2 \gset
SELECT lines FROM payledger.import_settlement('desk', 'batch-7', jsonb_build_array(
	jsonb_build_object('Company Account', 'C', 'Psp Reference', 'pi_AD1', 'Merchant Reference', 'AD1', 'Type', 'Settled', 'Creation Date', '2025-01-31 10:30:00',
		'TimeZone', 'CET', 'Modification Merchant Reference', reference_of(:ad1, 'CAPTURE'), 'Gross Currency', 'DKK', 'Gross Debit (GC)', '',
		'Gross Credit (GC)', '10.00', 'Net Currency', 'DKK', 'Net Debit (NC)', '', 'Net Credit (NC)', '9.71', 'Commission (NC)', '',
		'Markup (NC)', '0.06', 'Scheme Fees (NC)', '0.03', 'Interchange (NC)', '0.20', 'Batch Number', '7'),
	jsonb_build_object('Psp Reference', 'pi_AD2', 'Type', 'Settled', 'Creation Date', '2025-01-31 10:30:00', 'TimeZone', 'CET',
		'Net Currency', 'ZAR', 'Net Debit (NC)', '', 'Net Credit (NC)', '21.60', 'Commission (NC)', '0.40'),
	jsonb_build_object('Psp Reference', 'pi_AD1', 'Type', 'Refunded', 'Net Currency', 'DKK', 'Net Debit (NC)', '1.25', 'Commission (NC)', ''),
	jsonb_build_object('Type', 'Fee', 'Net Currency', 'DKK', 'Net Debit (NC)', '0.10', 'Markup (NC)', '0.10'),
	jsonb_build_object('Type', 'MerchantPayout', 'Net Currency', 'DKK', 'Net Debit (NC)', '8.36', 'Net Credit (NC)', '', 'Commission (NC)', '')),
	'adyen');
SELECT line_no, line_type, psp_reference, reference ~ '^pl_\d+$' AS named, currency, gross, fee, net, occurred_at FROM payledger.settlement_lines WHERE report_id = 'batch-7' ORDER BY line_no;
SELECT matched, exceptions, totals FROM payledger.reconcile_settlement('batch-7');
SELECT * FROM found_in('batch-7');
-- an own format: amounts as the bank writes them, a type that is left out
INSERT INTO payledger.settlement_formats VALUES ('bank', false, 'our bank');
INSERT INTO payledger.settlement_columns (format, line_column, choice, part, source, reading, is_subtracted) VALUES
	('bank', 'line_type', 1, 1, 'what.kind', 'text', false), ('bank', 'line_type', 1, 2, 'what.sort', 'text', false),
	('bank', 'psp_reference', 1, 1, 'id', 'text', false), ('bank', 'currency', 1, 1, 'cur', 'text', false),
	('bank', 'gross', 1, 1, 'in', 'decimal', false), ('bank', 'gross', 1, 2, 'out', 'decimal', true),
	('bank', 'fee', 1, 1, 'cost', 'decimal', false);
INSERT INTO payledger.settlement_line_types (format, source_type, line_type) VALUES
	('bank', 'sale card', 'capture'), ('bank', 'note', NULL);
SELECT sold('B1', 'desk', 'DKK', 1234) > 0;
SELECT lines FROM payledger.import_settlement('desk', 'bank-1', '[{"what":{"kind":"note"}},{"what":{"kind":"sale","sort":"card"},"id":"pi_B1","cur":"DKK","in":12.34,"out":"","cost":"+.34"}]', 'bank');
SELECT line_no, line_type, gross, fee, net FROM payledger.settlement_lines WHERE report_id = 'bank-1';
SELECT matched, exceptions FROM payledger.reconcile_settlement('bank-1');

-- COPY, into a report that nobody announced; it takes lines until it is reconciled
SELECT sold('CP1', 'desk', 'DKK', 100) AS cp1, sold('CP2', 'desk', 'DKK', 200) AS cp2 \gset
COPY payledger.settlement_lines FROM STDIN CSV;
desk,copied,1,capture,pi_CP1,,DKK,100,2,98,2025-01-31 10:30:00+00
desk,copied,2,capture,pi_CP2,,DKK,200,4,196,
\.
SELECT gateway, report_id, status, lines FROM payledger.settlement_reports WHERE report_id = 'copied';
SELECT status, lines FROM payledger.import_settlement('desk', 'copied', '[{"line_type":"capture","psp_reference":"pi_CP1","currency":"DKK","gross":100,"fee":2,"net":98,"occurred_at":"2025-01-31T10:30:00Z"},{"line_type":"capture","psp_reference":"pi_CP2","currency":"DKK","gross":200,"fee":4,"net":196}]');
-- again with other times: another report
SELECT outcome($$SELECT payledger.import_settlement('desk', 'copied', '[{"line_type":"capture","psp_reference":"pi_CP1","currency":"DKK","gross":100,"fee":2,"net":98,"occurred_at":"2025-01-31T10:30:01Z"},{"line_type":"capture","psp_reference":"pi_CP2","currency":"DKK","gross":200,"fee":4,"net":196}]')$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'copied', '[{"line_type":"capture","psp_reference":"pi_CP1","currency":"DKK","gross":100,"fee":2,"net":98},{"line_type":"capture","psp_reference":"pi_CP2","currency":"DKK","gross":200,"fee":4,"net":196}]')$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'copied', '[{"line_type":"capture","psp_reference":"pi_CP1","currency":"DKK","gross":100,"fee":2,"net":98,"occurred_at":"2025-01-31T10:30:00Z"},{"line_type":"capture","psp_reference":"pi_CP2","currency":"DKK","gross":200,"fee":4,"net":196,"occurred_at":"2025-01-31T10:30:00Z"}]')$$);
SELECT matched, exceptions, totals FROM payledger.reconcile_settlement('copied', payout_amount => 294, settled_through => '2025-01-31 12:00:00Z');
SELECT payout_amount, currency, settled_through, lines FROM payledger.settlement_reports WHERE report_id = 'copied';
SELECT status FROM payledger.reconcile_settlement('copied', payout_amount => 294, settled_through => '2025-01-31 12:00:00Z');
COPY payledger.settlement_lines FROM STDIN CSV;
desk,copied,1,capture,pi_CP1,,DKK,100,2,98,2025-01-31 10:30:00+00
\.
COPY payledger.settlement_lines FROM STDIN CSV;
desk,copied,3,capture,pi_CP1,,DKK,100,2,98,2025-01-31 10:30:00+00
\.

---- every bad input ----

SELECT outcome($$SELECT payledger.reconcile_settlement('nothing')$$);
SELECT outcome($$SELECT payledger.reconcile_settlement('EX', 'agreed')$$);
SELECT outcome($$SELECT payledger.reconcile_settlement('EX', 'nowhere')$$);
SELECT outcome($$SELECT payledger.reconcile_settlement(NULL)$$);
SELECT outcome($$SELECT payledger.reconcile_settlement('EX', payout_amount => 9801)$$);
SELECT outcome($$SELECT payledger.reconcile_settlement('KINDS', settled_through => now())$$);
SELECT outcome($$SELECT payledger.reconcile_settlement('po_2', settled_through => 'infinity')$$);
SELECT outcome($$SELECT payledger.reconcile_settlement('po_2', payout_amount => 1)$$);
SELECT lines FROM payledger.import_settlement('agreed', 'EX', '[]');
SELECT outcome($$SELECT payledger.reconcile_settlement('EX')$$);
SELECT outcome($$SELECT payledger.reconcile_settlement('EX', 'agreed', payout_amount => 1)$$);
SELECT status, lines, matched, exceptions, totals FROM payledger.reconcile_settlement('EX', 'agreed', settled_through => now());

CREATE FUNCTION importing(lines text, format text DEFAULT 'generic', more text DEFAULT '') RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.import_settlement(''desk'', ''bad'', %L, %L%s)', lines, format, more)) $$;
SELECT importing('[]', 'excel');
SELECT importing('{}');
SELECT importing('"x"');
SELECT importing('not json');
SELECT importing('[1]');
SELECT importing('[[]]');
SELECT importing('[{}]');
SELECT importing('[{"line_type":"sale"}]');
SELECT importing('[{"line_type":7}]');
SELECT importing('[{"line_type":"capture"}]');
SELECT importing('[{"line_type":"capture","currency":"DKKO"}]');
SELECT importing('[{"line_type":"capture","currency":["DKK"]}]');
SELECT importing('[{"line_type":"capture","currency":"DKK"}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":10}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":10,"fee":1}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":10,"fee":1,"psp_reference":""}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":"ten","fee":1}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":true,"fee":1}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":1.5,"fee":1}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":1e30,"fee":1}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":"99999999999999999999","fee":1}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","net":9223372036854775807,"fee":1}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"net":10}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"amount":10}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"line_no":0}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"line_no":3000000000}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"line_no":2},{"line_type":"fee","currency":"DKK","gross":10,"fee":1}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"yesterday"}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-02-30 00:00:00"}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":20250131}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"1999-12-31 23:59:59"}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"9999-01-01 00:00:00"}]');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":0,"fee":10000000000000001}]');
SELECT importing('[{"line_type":"payout","currency":"DKK","gross":-10000000000000001,"fee":0}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":10,"fee":1,"psp_reference":"4242 4242 4242 4242"}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":10,"fee":1,"psp_reference":4242424242424242}]');
SELECT importing('[{"line_type":"capture","currency":"DKK","gross":10,"fee":1,"psp_reference":"a\tb"}]');
SELECT importing(format('[{"line_type":"capture","currency":"DKK","gross":10,"fee":1,"psp_reference":"%s"}]', repeat('x', 256)));
SELECT importing('[{"type":"charge","amount":1000,"net":900,"currency":"dkk","source":{"id":"ch_1"}}]', 'stripe');
SELECT importing('[{"type":"transfer","amount":1000,"net":900,"currency":"dkk"}]', 'stripe');
SELECT importing('[{"type":"payout","amount":1000,"net":900,"currency":"dkk","created":-1}]', 'stripe');
SELECT importing('[{"reporting_category":"fee","gross":"1.234","net":"0.1","currency":"dkk"}]', 'stripe_report');
SELECT importing('[{"Type":"Fee","Net Currency":"DKK","Net Debit (NC)":"0,10"}]', 'adyen');
SELECT importing('[{"Type":"Settled","Net Currency":"DKK","Commission (NC)":"0.10"}]', 'adyen');
SELECT importing('[]', more => ', payout_amount => 1');
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1},{"line_type":"fee","currency":"ZAR","gross":10,"fee":1}]', more => ', payout_amount => 1');
SELECT importing('[]', more => ', settled_through => ''-infinity''');
SELECT outcome($$SELECT payledger.import_settlement('nowhere', 'bad', '[]')$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', '', '[]')$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', '4242424242424242', '[]')$$);
SELECT outcome($$SELECT payledger.import_settlement(NULL, 'bad', '[]')$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'bad', NULL)$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'bad', '[]', NULL)$$);
-- imported before, with another content
SELECT outcome($$SELECT payledger.import_settlement('desk', 'EX', jsonb_build_array(line('capture', 'EX', 10000, 201)), payout_amount => 9800)$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'EX', '[]', payout_amount => 9800)$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'EX', jsonb_build_array(line('capture', 'EX', 10000, 200), line('capture', 'EX', 10000, 200)), payout_amount => 9800)$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'EX', jsonb_build_array(line('capture', 'EX', 10000, 200)))$$);
SELECT outcome($$SELECT payledger.import_settlement('desk', 'EX', jsonb_build_array(line('capture', 'EX', 10000, 200)), payout_amount => 9800, settled_through => now())$$);
-- a refused import leaves nothing
SELECT count(*) FROM payledger.settlement_reports WHERE report_id = 'bad';

SELECT outcome($$SELECT payledger.resolve_exception(17, 'ACCEPTED', 'x')$$);
SELECT outcome($$SELECT payledger.resolve_exception(NULL, 'ACCEPTED', 'x')$$);
SELECT outcome(format('SELECT payledger.resolve_exception(%s, ''PAID'', ''x'')', exception_of('WRONG', 'MISSING_HERE')));
SELECT outcome(format('SELECT payledger.resolve_exception(%s, ''ACCEPTED'', NULL)', exception_of('WRONG', 'MISSING_HERE')));
SELECT outcome(format('SELECT payledger.resolve_exception(%s, ''ACCEPTED'', '''')', exception_of('WRONG', 'MISSING_HERE')));
SELECT outcome(format('SELECT payledger.resolve_exception(%s, ''ACCEPTED'', ''card 4242424242424242'')', exception_of('WRONG', 'MISSING_HERE')));
SELECT settlement_exception_id AS done FROM payledger.reconciliation_exceptions WHERE report_id = 'WRONG' AND category = 'OVER' \gset
SELECT outcome(format('SELECT payledger.resolve_exception(%s, ''DISMISSED'', ''again'')', :done));
SELECT lines FROM payledger.import_settlement('desk', 'CASH', jsonb_build_array(line('capture', 'C2', 10, 0)), payout_amount => 9);
SELECT exceptions FROM payledger.reconcile_settlement('CASH');
SELECT outcome(format('SELECT payledger.resolve_exception(%s, ''ACCEPTED'', ''x'')', exception_of('CASH', 'CASH_DIFFERENCE')));

SELECT outcome($$SELECT payledger.sandbox_settlement('nowhere')$$);
SELECT outcome($$SELECT payledger.sandbox_settlement(NULL)$$);
SELECT outcome($$SELECT payledger.sandbox_settlement('desk', -1)$$);
SELECT gateway FROM payledger.add_gateway('real', adapter => 'stripe');
SELECT outcome($$SELECT payledger.sandbox_settlement('real')$$);

-- lines by hand
CREATE FUNCTION copying(line text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('INSERT INTO payledger.settlement_lines VALUES (%s)', line)) $$;
SELECT copying($$'desk', 'hand', 1, 'capture', 'pi_X', NULL, 'DKK', 100, 2, 99$$);
SELECT copying($$'desk', 'hand', 0, 'capture', 'pi_X', NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 1, 'sale', 'pi_X', NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 1, 'capture', NULL, NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 1, 'capture', 'pi_X', NULL, 'dkk', 100, 2, 98$$);
SELECT copying($$'nowhere', 'hand', 1, 'capture', 'pi_X', NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', '', 1, 'capture', 'pi_X', NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'EX', 2, 'capture', 'pi_X', NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 1, 'fee', NULL, NULL, 'DKK', -9223372036854775808, 1, 98$$);
SELECT copying($$'desk', 'hand', 1, 'capture', '4242424242424242', NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 1, 'capture', repeat('æ', 300), NULL, 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 1, 'capture', 'pi_X', repeat('x', 2000), 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 1, 'capture', 'pi_X', NULL, 'DKK', 100, 2, 98, 'infinity'$$);
SELECT copying($$'desk', 'hand', 1, 'capture', 'pi_X', NULL, 'DKK', 100, 2, 98, '0001-01-01'$$);
SELECT copying($$'desk', 'hand', 1, 'capture', 'pi_X', NULL, 'DKK', 10000000000000001, 2, 9999999999999999$$);
-- an id of ours that looks like a card number
SELECT copying($$'desk', 'hand', 1, 'capture', 'pi_X', 'pl_3530111333300000', 'DKK', 100, 2, 98$$);
-- and what is no id
SELECT copying($$'desk', 'hand', 2, 'capture', 'pi_X', 'pl_' || repeat('1', 300), 'DKK', 100, 2, 98$$);
SELECT copying($$'desk', 'hand', 2, 'capture', 'pl_' || repeat('1', 3000), NULL, 'DKK', 100, 2, 98$$);
-- a time that names no zone is in UTC, whatever the session's is
BEGIN;
SET LOCAL timezone = 'Asia/Tokyo';
SELECT lines FROM payledger.import_settlement('desk', 'clock', '[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-01-31"},
	{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-01-31T10:30:00.5"},
	{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-01-31 10:30:00 PM"},
	{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-01-31 10:30 AD"},
	{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-01-31 10:30 Fri"},
	{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-01-31 10:30:00+09"},
	{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-01-31 10:30:00 Europe/Copenhagen"}]');
SHOW timezone;
SELECT '2025-01-31 10:30'::timestamptz;
SELECT importing('[{"line_type":"fee","currency":"DKK","gross":10,"fee":1,"occurred_at":"2025-02-30 00:00:00"}]');
SELECT '2025-01-31 10:30'::timestamptz;
SET LOCAL timezone = 'UTC';
SELECT line_no, occurred_at FROM payledger.settlement_lines WHERE report_id = 'clock' ORDER BY line_no;
ROLLBACK;
-- many reports in one statement, and what one of them may not take
SELECT outcome($$INSERT INTO payledger.settlement_lines (gateway, report_id, line_no, line_type, psp_reference, currency, gross, net)
	SELECT g, r, n, 'capture', 'pi_X', 'DKK', 5, 5 FROM unnest('{desk,agreed}'::text[]) g, unnest('{m1,m2,m3}'::text[]) r, generate_series(1, 3) n ORDER BY n, g, r$$);
SELECT gateway, count(*) FROM payledger.settlement_reports WHERE report_id ~ '^m\d' GROUP BY 1 ORDER BY 1;
SELECT outcome($$INSERT INTO payledger.settlement_lines (gateway, report_id, line_no, line_type, psp_reference, currency, gross, net)
	SELECT 'desk', r, 9, 'capture', 'pi_X', 'DKK', 5, 5 FROM unnest('{m1,EX,m2}'::text[]) r$$);
SELECT count(*) FROM payledger.settlement_lines WHERE report_id = 'm1' AND gateway = 'desk';

-- what was imported, found and settled stays
SELECT outcome('UPDATE payledger.settlement_lines SET gross = 1');
SELECT outcome('DELETE FROM payledger.settlement_lines');
SELECT outcome('TRUNCATE payledger.settlement_lines');
SELECT outcome('DELETE FROM payledger.settlement_reports');
SELECT outcome('UPDATE payledger.settlement_reports SET status = ''IMPORTED'' WHERE report_id = ''KINDS''');
SELECT outcome('UPDATE payledger.settlement_reports SET matched = 5 WHERE report_id = ''KINDS''');
SELECT outcome('UPDATE payledger.settlement_reports SET gateway = ''agreed'' WHERE report_id = ''m1''');
SELECT outcome('TRUNCATE payledger.settlement_exceptions');
SELECT outcome('UPDATE payledger.settlement_exceptions SET actual_amount = 5 WHERE status = ''OPEN''');
SELECT outcome('UPDATE payledger.settlement_exceptions SET note = ''x'' WHERE status = ''ACCEPTED''');
SELECT outcome('UPDATE payledger.settlement_exceptions SET status = ''OPEN'' WHERE status = ''ACCEPTED''');
SELECT outcome('UPDATE payledger.settlement_items SET settlement_report_id = NULL WHERE settlement_report_id IS NOT NULL');
SELECT outcome('UPDATE payledger.settlement_items SET amount = amount * 2');

---- verify() finds what does not agree ----

SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
CREATE FUNCTION broken_by(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	todo record;
	offence text;
BEGIN
	ALTER TABLE payledger.settlement_items DISABLE TRIGGER ALL;
	ALTER TABLE payledger.settlement_exceptions DISABLE TRIGGER ALL;
	ALTER TABLE payledger.settlement_reports DISABLE TRIGGER ALL;
	ALTER TABLE payledger.settlement_lines DISABLE TRIGGER ALL;
	EXECUTE statement;
	FOR todo IN SELECT * FROM payledger.settlement_checks() WHERE check_name <> 'settlement_is_guarded' LOOP
		FOR offence IN EXECUTE todo.query LOOP
			RETURN NEXT todo.check_name || ': ' || regexp_replace(offence, '\d{15,}', '<id>', 'g');
		END LOOP;
	END LOOP;
	RAISE EXCEPTION USING ERRCODE = 'XX999';
EXCEPTION WHEN SQLSTATE 'XX999' THEN
	RETURN;
END $$;
SELECT * FROM broken_by($$UPDATE payledger.settlement_items SET amount = amount + 1 WHERE settlement_report_id IS NULL AND payment_id = (SELECT payment_id FROM payledger.payments WHERE order_id = 'D9')$$) ORDER BY 1;
SELECT * FROM broken_by($$UPDATE payledger.settlement_items SET settlement_report_id = NULL, line_no = NULL WHERE payment_id = (SELECT payment_id FROM payledger.payments WHERE order_id = 'EX')$$) ORDER BY 1;
SELECT * FROM broken_by($$UPDATE payledger.settlement_items SET line_no = 99 WHERE payment_id = (SELECT payment_id FROM payledger.payments WHERE order_id = 'EX')$$) ORDER BY 1;
SELECT * FROM broken_by($$DELETE FROM payledger.settlement_exceptions WHERE category = 'CURRENCY' AND settlement_report_id = (SELECT settlement_report_id FROM payledger.settlement_reports WHERE report_id = 'WRONG')$$) ORDER BY 1;
SELECT * FROM broken_by($$UPDATE payledger.settlement_exceptions SET status = 'OPEN' WHERE category = 'MISSING_HERE' AND status = 'ACCEPTED'$$) ORDER BY 1;
SELECT * FROM broken_by($$UPDATE payledger.settlement_lines SET gross = gross + 1, net = net + 1 WHERE report_id = 'EX'$$);
SELECT * FROM broken_by($$UPDATE payledger.settlement_reports SET matched = 0 WHERE report_id = 'EX' AND gateway = 'desk'$$);
-- a line that settles an item and is an open exception as well
SELECT * FROM broken_by($$UPDATE payledger.settlement_items i SET settlement_report_id = r.settlement_report_id, line_no = 1
	FROM payledger.settlement_reports r WHERE r.report_id = 'OTHER' AND i.payment_id = (SELECT payment_id FROM payledger.payments WHERE order_id = 'K5')$$) ORDER BY 1;
BEGIN;
ALTER TABLE payledger.settlement_lines DISABLE TRIGGER register_report;
DROP TRIGGER refuse_identity_change ON payledger.settlement_items;
SELECT check_name, detail FROM payledger.verify() WHERE NOT ok;
ROLLBACK;
SELECT account_code, debit, credit FROM payledger.trial_balance WHERE account_code ~ '(DKK|ZAR)$' ORDER BY 1;
DROP VIEW entries CASCADE;
