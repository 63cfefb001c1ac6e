-- What a gateway has captured, refunded and lost, and the report that its PSP
-- sends of it with discrepancies of every kind; for the settlement's test and
-- its benchmark.  Written as sets past the payment flow, so for throw-away
-- databases only.
--
--   SELECT load_settlement('psp', payments => 1000, seed => 1, share => 0.01, named => false);
--
-- makes operations of 1000 payments: open items, and what the flow would have
-- posted for them.  psp_report is the report, injected what is wrong with it:
-- of each kind in that share of the payments, in at most one operation of a
-- payment.  Everything follows from the seed.

CREATE TABLE psp_operations (
	gateway text, n int, op int, kind payledger.settlement_item_kind, payment_id bigint, object_id bigint,
	psp_reference text, amount bigint, sellers int, fee bigint, occurred_at timestamptz, flaw text);
CREATE TABLE psp_report (LIKE payledger.settlement_lines);
CREATE TABLE injected (
	gateway text, category text, line_type text, psp_reference text, expected bigint, actual bigint, currency text);

-- a number from 0 to below, from the seed
CREATE FUNCTION draw(n bigint, what int, seed int, below int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (hashint8extended(n * 16 + what, seed) & 9223372036854775807) % below $$;

CREATE FUNCTION load_settlement(gateway text, payments int, seed int, share numeric, named boolean) RETURNS int
	LANGUAGE plpgsql SET work_mem = '256MB' AS $$
DECLARE
	flaws CONSTANT text[] := '{MISSING_AT_PSP,MISSING_HERE,OVER,UNDER,DUPLICATE,CURRENCY,FEE_DIFFERENCE}';
	base CONSTANT bigint := payledger.next_id();
	now CONSTANT timestamptz := date_trunc('second', now());
	total bigint;
	entry bigint;
BEGIN
	PERFORM FROM payledger.gateways g WHERE g.gateway = load_settlement.gateway;
	IF NOT FOUND THEN
		PERFORM payledger.add_gateway(gateway, adapter => 'sandbox', options => '{"fee_bps": 150, "fee_fixed": 25}');
	END IF;

	/* each payment has a capture, which may serve two sellers; some have another of perhaps the same amount, a refund, a chargeback */
	INSERT INTO psp_operations
		SELECT load_settlement.gateway, n, op, kind, base + n, base + payments + n * 8 + op, 'pi_' || substr(md5(gateway || n), 1, 24),
			   amount, CASE WHEN op = 1 AND draw(n, 2, seed, 20) = 0 THEN 2 ELSE 1 END,
			   CASE kind WHEN 'CAPTURE' THEN (amount * 150 + 5000) / 10000 + 25 WHEN 'CHARGEBACK' THEN 1500 ELSE 0 END,
			   now - interval '1 day' + n * interval '10 ms' + op * interval '1 ms',
			   CASE WHEN op = 1 THEN flaws[1 + floor(draw(n, 3, seed, 1000000) / 1000000.0 / share)::int] END
		  FROM generate_series(1, payments) AS n,
			   LATERAL (SELECT 1000 + draw(n, 1, seed, 50000) AS a) AS a,
			   LATERAL (VALUES (1, 'CAPTURE'::payledger.settlement_item_kind, a, true),
							   (2, 'CAPTURE', a - draw(n, 5, seed, 2) * 7, draw(n, 4, seed, 25) = 0),
							   (3, 'REFUND', -(a / 2), draw(n, 6, seed, 12) = 0),
							   (4, 'REFUND', -(a / 4), draw(n, 7, seed, 50) = 0),
							   (5, 'REFUND_REVERSAL', a / 4, draw(n, 7, seed, 200) = 0),
							   (6, 'CHARGEBACK', -a, draw(n, 8, seed, 100) = 0)) AS o(op, kind, amount, happens)
		 WHERE happens;
	/* what is reversed is the same refund */
	UPDATE psp_operations o SET object_id = o.object_id - 1 WHERE o.gateway = load_settlement.gateway AND o.kind = 'REFUND_REVERSAL';

	INSERT INTO payledger.settlement_items
		(settlement_item_id, payment_id, payment_order_id, object_id, kind, gateway, psp_reference, seller_id, currency, amount, occurred_at)
		SELECT base + o.n * 64 + o.op * 8 + i.part, o.payment_id, o.payment_id + i.part, o.object_id, i.kind, o.gateway, o.psp_reference,
			   'SELLER-' || (o.n + i.part) % 1000, 'EUR', i.amount, o.occurred_at
		  FROM psp_operations o,
			   LATERAL (SELECT 1 AS part, o.kind AS kind, CASE WHEN o.sellers = 2 THEN o.amount / 3 ELSE o.amount END AS amount
						 UNION ALL SELECT 2, o.kind, o.amount - o.amount / 3 WHERE o.sellers = 2
						 UNION ALL SELECT 3, 'CHARGEBACK_FEE', -1500 WHERE o.kind = 'CHARGEBACK') i
		 WHERE o.gateway = load_settlement.gateway
		 ORDER BY o.n, o.op;
	IF named THEN
		ALTER TABLE payledger.psp_requests DISABLE TRIGGER ALL;
		INSERT INTO payledger.psp_requests
			(psp_request_id, payment_id, gateway, operation, target, currency, idempotency_key, status, next_attempt_at, created_at, updated_at)
			SELECT o.object_id, o.payment_id, o.gateway, 'REFUND', o.object_id, 'EUR', 'pl_' || o.object_id, 'SUCCEEDED', now, now, now
			  FROM psp_operations o WHERE o.gateway = load_settlement.gateway AND o.kind = 'REFUND';
		INSERT INTO payledger.state_history (history_id, payment_id, machine, object_id, from_status, to_status, at, actor, cause)
			SELECT o.object_id * 8 + s.step, o.payment_id, 'psp_request', o.object_id, s.from_status, s.to_status, now, current_user, 'load'
			  FROM psp_operations o, (VALUES (1, NULL, 'READY'), (2, 'READY', 'IN_FLIGHT'), (3, 'IN_FLIGHT', 'SUCCEEDED')) AS s(step, from_status, to_status)
			 WHERE o.gateway = load_settlement.gateway AND o.kind = 'REFUND';
		ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER enforce_transition, ENABLE ALWAYS TRIGGER totals_agree,
			ENABLE ALWAYS TRIGGER refuse_delete;
	END IF;

	/* the entries of all that in one, under a reference of the payment flow */
	SELECT sum(amount) INTO total FROM payledger.settlement_items i WHERE i.gateway = load_settlement.gateway;
	PERFORM payledger.open_account(t, 'GLOBAL', 'EUR') FROM unnest('{PSP_RECEIVABLES, SETTLEMENT_SUSPENSE}'::text[]) t;
	ALTER TABLE payledger.journal_entries DISABLE TRIGGER check_journal_entries;
	ALTER TABLE payledger.postings DISABLE TRIGGER check_postings;
	entry := payledger.next_id();
	INSERT INTO payledger.journal_entries (journal_entry_id, recorded_at, effective_at, entry_type, reference)
		VALUES (entry, payledger.id_timestamp(entry), payledger.id_timestamp(entry), 'CAPTURE', 'CAPTURE:' || base);
	INSERT INTO payledger.postings (journal_entry_id, account_id, amount, transaction_no, leg)
		SELECT entry, a.account_id, CASE a.account_type WHEN 'PSP_RECEIVABLES' THEN total ELSE -total END,
			   (SELECT max(incarnation) FROM payledger.incarnations) * (1::bigint << 48) + pg_current_xact_id()::text::bigint,
			   row_number() OVER (ORDER BY a.account_type)
		  FROM payledger.accounts a WHERE a.account_code IN ('PSP_RECEIVABLES.GLOBAL.EUR', 'SETTLEMENT_SUSPENSE.GLOBAL.EUR');
	ALTER TABLE payledger.journal_entries ENABLE ALWAYS TRIGGER check_journal_entries;
	ALTER TABLE payledger.postings ENABLE ALWAYS TRIGGER check_postings;

	/* the report, in an order of the PSP's own */
	INSERT INTO psp_report
		SELECT load_settlement.gateway, 'R-' || load_settlement.gateway, row_number() OVER (ORDER BY hashint8extended(o.object_id * 8 + copy, seed)),
			   lower(o.kind::text)::payledger.settlement_line_type,
			   CASE WHEN is_stranger THEN 'pi_stranger_' || o.n ELSE o.psp_reference END,
			   CASE WHEN named AND NOT is_stranger AND o.kind <> 'CHARGEBACK' THEN 'pl_' || o.object_id END,
			   CASE WHEN o.flaw = 'CURRENCY' THEN 'USD' ELSE 'EUR' END, g.gross, f.fee, g.gross - f.fee, o.occurred_at
		  FROM psp_operations o
		 CROSS JOIN generate_series(1, 2) AS copy,
			   LATERAL (SELECT o.amount + CASE o.flaw WHEN 'OVER' THEN 1 + draw(o.n, 9, seed, 99) WHEN 'UNDER' THEN -1 - draw(o.n, 9, seed, 99) ELSE 0 END AS gross,
							   o.flaw IS NOT DISTINCT FROM 'MISSING_HERE' AND copy = 2 AS is_stranger) g,
			   LATERAL (SELECT CASE WHEN o.kind = 'CAPTURE' THEN (gross * 150 + 5000) / 10000 + 25 + CASE WHEN o.flaw = 'FEE_DIFFERENCE' THEN 3 ELSE 0 END
									ELSE o.fee END AS fee) f
		 WHERE o.gateway = load_settlement.gateway
		   AND CASE copy WHEN 1 THEN o.flaw IS DISTINCT FROM 'MISSING_AT_PSP' ELSE o.flaw IN ('DUPLICATE', 'MISSING_HERE') END;
	INSERT INTO injected
		SELECT o.gateway, o.flaw, lower(o.kind::text), CASE WHEN o.flaw = 'MISSING_HERE' THEN 'pi_stranger_' || o.n ELSE o.psp_reference END,
			   CASE WHEN o.flaw = 'FEE_DIFFERENCE' THEN o.fee WHEN o.flaw NOT IN ('MISSING_HERE', 'DUPLICATE') THEN o.amount END,
			   CASE o.flaw WHEN 'FEE_DIFFERENCE' THEN o.fee + 3 WHEN 'MISSING_AT_PSP' THEN NULL
						   WHEN 'OVER' THEN o.amount + 1 + draw(o.n, 9, seed, 99) WHEN 'UNDER' THEN o.amount - 1 - draw(o.n, 9, seed, 99) ELSE o.amount END,
			   CASE WHEN o.flaw = 'CURRENCY' THEN 'USD' WHEN o.flaw <> 'MISSING_AT_PSP' THEN 'EUR' END
		  FROM psp_operations o WHERE o.gateway = load_settlement.gateway AND o.flaw IS NOT NULL;
	/* the PSP paid out ten units less than it says */
	INSERT INTO injected SELECT load_settlement.gateway, 'CASH_DIFFERENCE', NULL, NULL, sum(net), sum(net) - 10, 'EUR'
		FROM psp_report r WHERE r.gateway = load_settlement.gateway AND r.currency = 'EUR';
	INSERT INTO psp_report SELECT load_settlement.gateway, 'R-' || load_settlement.gateway, max(line_no) + 1, 'payout', NULL, NULL, 'EUR',
		-(sum(net) FILTER (WHERE currency = 'EUR') - 10), 0, -(sum(net) FILTER (WHERE currency = 'EUR') - 10), now
		FROM psp_report r WHERE r.gateway = load_settlement.gateway;
	RETURN (SELECT count(*) FROM psp_report r WHERE r.gateway = load_settlement.gateway);
END
$$;

-- what was found and what was injected, with how often
CREATE FUNCTION settlement_differences(gateway text) RETURNS TABLE (what text, category text, line_type text, psp_reference text,
		expected bigint, actual bigint, currency text, n bigint) LANGUAGE sql AS $$
	WITH found AS (
		SELECT e.category::text, e.line_type::text, coalesce(l.psp_reference, o.psp_reference) AS psp_reference, e.expected_amount AS expected,
			   e.actual_amount AS actual, e.actual_currency AS currency, count(*) AS n
		  FROM payledger.settlement_exceptions e
		  JOIN payledger.settlement_reports r ON r.settlement_report_id = e.settlement_report_id
		  LEFT JOIN payledger.settlement_lines l ON l.gateway = r.gateway AND l.report_id = r.report_id AND l.line_no = e.line_no
		  LEFT JOIN psp_operations o ON e.category = 'MISSING_AT_PSP' AND o.gateway = r.gateway AND o.payment_id = e.payment_id AND o.object_id = e.object_id
		   AND o.occurred_at = e.occurred_at
		 WHERE r.gateway = settlement_differences.gateway GROUP BY 1, 2, 3, 4, 5, 6),
	wanted AS (
		SELECT i.category, i.line_type, i.psp_reference, i.expected, i.actual, i.currency, count(*) AS n
		  FROM injected i WHERE i.gateway = settlement_differences.gateway GROUP BY 1, 2, 3, 4, 5, 6)
	SELECT 'invented', f.* FROM (SELECT * FROM found EXCEPT SELECT * FROM wanted) f
	 UNION ALL
	SELECT 'not found', w.* FROM (SELECT * FROM wanted EXCEPT SELECT * FROM found) w $$;
