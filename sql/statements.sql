-- Statements of sellers and the life of a payment.  outcome() and answer()
-- come from 010_setup.
\set VERBOSITY terse
\pset null '-'
SET timezone = 'UTC';
SELECT FROM payledger.register_seller('STATE-1', 'EUR', commission_bps => 1000);
SELECT FROM payledger.register_seller('STATE-2', 'EUR');
SELECT FROM payledger.register_seller('STATE-1', 'JPY');

-- one payment with everything: captured, refunded, disputed, won
SELECT payment_intent_id AS p FROM payledger.create_payment_intent('S-1', 'BUYER-S', 'EUR',
	'[{"seller_id":"STATE-1","amount":10000},{"seller_id":"STATE-2","amount":500}]') \gset
SELECT payledger.request_authorization(:p, 'pm_ok');
SELECT answer(:p, 'SUCCEEDED');
SELECT min(payment_order_id) AS o, max(payment_order_id) AS o2 FROM payledger.payment_orders WHERE payment_id = :p \gset
SELECT answer(:o, 'SUCCEEDED');
SELECT answer(:o2, 'SUCCEEDED');
SELECT amount FROM payledger.refund(:o, 2500, 'damaged');
SELECT answer(refund_id, 'SUCCEEDED') FROM payledger.refunds WHERE payment_id = :p;
SELECT dispute_id AS d FROM payledger.open_dispute(:o, 7600, 'du_state', 'fraudulent', 1500) \gset
SELECT status FROM payledger.submit_evidence(:d, '{"tracking_number": "JJD0099"}');

---- the overview: one row a payment ----

SELECT order_id, buyer_id, currency, total, intent_status, payment_status, captured, refunded, voided, orders, gateway
  FROM payledger.payment_overview WHERE payment_id = :p;
SELECT refund_pending, disputed, commission, settled, unsettled, refunds, disputes, undecided_requests
  FROM payledger.payment_overview WHERE payment_id = :p;
SELECT order_id, disputed FROM payledger.payment_overview WHERE order_id = 'S-1';
SELECT status FROM payledger.close_dispute(:d, 'WON', true);
SELECT disputed, unsettled, disputes FROM payledger.payment_overview WHERE payment_id = :p;
-- settled by a report
BEGIN;
ALTER TABLE payledger.settlement_items DISABLE TRIGGER ALL;
UPDATE payledger.settlement_items SET settlement_report_id = payledger.next_id(), line_no = 1
 WHERE payment_id = :p AND kind IN ('CAPTURE', 'REFUND');
SELECT settled, unsettled FROM payledger.payment_overview WHERE payment_id = :p;
SELECT what, detail FROM payledger.payment_timeline(:p) WHERE source = 'settlement';
ROLLBACK;
-- intents that came to nothing have a row as well; one that nobody knows the outcome of shows it
SELECT payment_intent_id AS q FROM payledger.create_payment_intent('S-2', 'BUYER-S', 'JPY', '[{"seller_id":"STATE-1","amount":700}]') \gset
SELECT payledger.request_authorization(:q, 'pm_timeout');
UPDATE payledger.psp_requests SET status = 'IN_FLIGHT', lease_token = 1, attempt = 1, first_sent_at = now() WHERE target = :q;
UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL WHERE target = :q;
SELECT total, intent_status, payment_status, captured, orders, refund_pending, disputed, commission, settled, refunds, disputes, undecided_requests
  FROM payledger.payment_overview WHERE payment_id = :q;
-- a condition on the payment or the order reaches the indexes of every table beneath
CREATE FUNCTION scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ 'Scan' AND line !~ 'Subquery Scan' THEN RETURN NEXT regexp_replace(line, '^[ >-]*', ''); END IF;
	END LOOP;
END
$$;
SET enable_seqscan = off;
SELECT scans('SELECT * FROM payledger.payment_overview WHERE payment_id = 1') ~ 'Index|Bitmap' AS uses_index, count(*) > 5 AS several GROUP BY 1;
SELECT scans('SELECT * FROM payledger.payment_overview WHERE order_id = ''S-1''') ~ 'Index|Bitmap' AS uses_index, count(*) > 5 AS several GROUP BY 1;
RESET enable_seqscan;

---- the life of a payment ----

SELECT source, what, regexp_replace(replace(detail, current_user, '<me>'), '\d{15,}', '<id>', 'g') AS detail
  FROM payledger.payment_timeline(:p);
-- in order, nothing left out and nothing twice
SELECT bool_and(at >= before) AS in_order FROM (SELECT at, lag(at, 1, at) OVER () AS before FROM payledger.payment_timeline(:p)) t;
SELECT count(*) - count(DISTINCT (source, what, object_id)) AS twice,
	   count(*) = (SELECT count(*) FROM payledger.state_history WHERE payment_id = :p)
				  + (SELECT count(*) FROM payledger.journal_entries WHERE payment_id = :p)
				  + (SELECT count(*) FROM payledger.outbox_events WHERE aggregatetype = 'payment' AND aggregateid = :'p')
				  + (SELECT count(*) FROM payledger.settlement_items WHERE payment_id = :p AND settlement_report_id IS NOT NULL) AS complete
  FROM payledger.payment_timeline(:p);
-- the bounds of the ids of its events, for ids that differ in their last bits: the first id of a millisecond ends in zeros
DO $$
DECLARE
	seen bigint[] := '{}';
	id bigint;
BEGIN
	FOR n IN 1 .. 10000 LOOP
		BEGIN
			PERFORM payledger.next_id() FROM generate_series(1, n % 16);
			SELECT payment_intent_id INTO id FROM payledger.create_payment_intent('BITS-' || n, 'B-1', 'EUR',
				'[{"seller_id":"STATE-1","amount":100}]');
			IF id & 15 = ANY (seen) THEN
				RAISE EXCEPTION 'another like it' USING ERRCODE = 'PL999';
			END IF;
			seen := seen || (id & 15);
		EXCEPTION WHEN SQLSTATE 'PL999' THEN
			CONTINUE;
		END;
		EXIT WHEN cardinality(seen) > 4;
	END LOOP;
END
$$;
SELECT count(DISTINCT i.payment_intent_id & 15) > 4 AS various, bool_and(t.events = i.event_version) AS all_found
  FROM (SELECT payment_intent_id, coalesce(p.event_version, i.event_version) AS event_version FROM payledger.payment_intents i
		  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id ORDER BY 1 DESC LIMIT 20) i
 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE source = 'event') AS events FROM payledger.payment_timeline(i.payment_intent_id)) t;
SELECT outcome('SELECT payledger.payment_timeline(17)');
SELECT outcome('SELECT payledger.payment_timeline(NULL)');

---- the statement of a seller ----

SELECT line, kind, entry_type, order_id, debit, credit, balance, reserve_change, reserve FROM payledger.seller_statement('STATE-1', 'EUR');
SELECT line, entry_type, debit_formatted, credit_formatted, balance_formatted, reserve_change_formatted, reserve_formatted
  FROM payledger.seller_statement('STATE-1', 'EUR');
SELECT bool_and(payment_id = :p AND payment_order_id = :o) AS of_the_payment, bool_and(effective_at = recorded_at) AS took_effect_at_once
  FROM payledger.seller_statement('STATE-1', 'EUR') WHERE kind = 'ENTRY';
-- withheld and released: one line each, though both accounts move; own entries, dated back, count from when they took effect
SELECT FROM payledger.open_account('MERCHANT_RESERVE', 'STATE-1', 'EUR');
SELECT FROM payledger.post_entry('RESERVE', '[{"account":"MERCHANT_PAYABLE.STATE-1.EUR","amount":1000},{"account":"MERCHANT_RESERVE.STATE-1.EUR","amount":-1000}]',
	effective_at => '2026-02-10 12:00+00');
SELECT FROM payledger.post_entry('RESERVE', '[{"account":"MERCHANT_RESERVE.STATE-1.EUR","amount":400},{"account":"MERCHANT_PAYABLE.STATE-1.EUR","amount":-400}]',
	effective_at => '2026-03-10 12:00+00');
-- on the reserve alone, and twice on the payable
SELECT FROM payledger.post_entry('ADJUSTMENT', '[{"account":"MERCHANT_RESERVE.STATE-1.EUR","amount":-50},{"account":"PSP_FEE_EXPENSE.GLOBAL.EUR","amount":50}]',
	effective_at => '2026-03-11 12:00+00');
SELECT FROM payledger.post_entry('ADJUSTMENT', '[{"account":"MERCHANT_PAYABLE.STATE-1.EUR","amount":70},{"account":"MERCHANT_PAYABLE.STATE-1.EUR","amount":-30},{"account":"PSP_FEE_EXPENSE.GLOBAL.EUR","amount":-40}]',
	effective_at => '2026-03-12 12:00+00');
SELECT line, kind, effective_at, entry_type, debit, credit, balance, reserve_change, reserve
  FROM payledger.seller_statement('STATE-1', 'EUR', '2026-02-01', '2026-04-01');
SELECT line, kind, effective_at, entry_type, debit, credit, balance, reserve_change, reserve
  FROM payledger.seller_statement('STATE-1', 'EUR', '2026-03-01', '2026-03-11 12:00+00');
-- what takes effect at the beginning is in the period, and not in what it opens with
SELECT line, kind, effective_at, entry_type, debit, credit, balance, reserve_change, reserve
  FROM payledger.seller_statement('STATE-1', 'EUR', '2026-03-10 12:00+00', '2026-03-11');
-- what was known before they were posted
SELECT line, kind, debit, credit, balance, reserve FROM payledger.seller_statement('STATE-1', 'EUR', '2026-02-01', '2026-04-01', '2026-01-01');
-- its last line is the balance
SELECT s.balance = payledger.balance('MERCHANT_PAYABLE.STATE-1.EUR') AS payable, s.reserve = payledger.balance('MERCHANT_RESERVE.STATE-1.EUR') AS reserve
  FROM payledger.seller_statement('STATE-1', 'EUR') s WHERE kind = 'CLOSING';
SELECT line, kind, debit, credit, balance_formatted, reserve_formatted FROM payledger.seller_statement('STATE-1', 'JPY');
SELECT outcome('SELECT payledger.seller_statement(''NOBODY'', ''EUR'')');
SELECT outcome('SELECT payledger.seller_statement(''STATE-2'', ''JPY'')');
SELECT outcome('SELECT payledger.seller_statement(NULL, ''EUR'')');
SELECT outcome('SELECT payledger.seller_statement(''STATE-1'', NULL)');
SELECT outcome('SELECT payledger.seller_statement(''STATE-1'', ''EUR'', ''2026-02-01'', ''2026-01-01'')');
CREATE ROLE statement_nobody;
GRANT USAGE ON SCHEMA payledger TO statement_nobody;
SET ROLE statement_nobody;
SELECT outcome('SELECT payledger.payment_timeline(1)');
SELECT outcome('SELECT payledger.seller_statement(''STATE-1'', ''EUR'')');
RESET ROLE;
REVOKE USAGE ON SCHEMA payledger FROM statement_nobody;
DROP ROLE statement_nobody;
DROP FUNCTION scans;
