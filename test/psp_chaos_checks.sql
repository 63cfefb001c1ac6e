/*
 * test/psp_chaos_checks.sql: what payledger believes, held against the truth
 * of the PSP server, which chaos.load_truth() has read.  Each row of
 * chaos.disagreements is something that must not be.
 */

/* Captures, refunds and cancellations that were executed, with their final outcomes. */
CREATE VIEW chaos.moves AS
SELECT e.psp, e.id, e.payment_id, upper(e.operation) AS operation, e.amount, e.object, e.idempotency_key,
	   coalesce((SELECT c.outcome FROM chaos.executions c
				  WHERE c.psp = e.psp AND c.id = e.id AND c.operation = 'refund_completed' AND c.object = e.object
				  ORDER BY c.ordinal DESC LIMIT 1), e.outcome) AS outcome
  FROM chaos.executions e
 WHERE e.operation IN ('capture', 'refund', 'cancel') AND e.idempotency_key IS NOT NULL;

/* ---- the operator ---- */

/* what nobody knew the end of when the faults were over, and how often it had been tried */
CREATE TABLE chaos.unknown (psp_request_id bigint, attempt int);

/* Those that no webhook will decide, and what the truth is. */
CREATE VIEW chaos.unresolved AS
SELECT r.psp_request_id, t.id AS psp_reference,
	   CASE WHEN r.operation IN ('AUTHORIZE', 'CONFIRM') THEN coalesce(t.is_authorized, false)
			WHEN r.operation = 'PAYOUT' THEN EXISTS (SELECT FROM chaos.transfers x WHERE x.payout_id = r.payment_id)
			ELSE coalesce(m.outcome IN ('ok', 'succeeded', 'undone'), false) END AS is_done
  FROM chaos.unknown u
  JOIN payledger.psp_requests r USING (psp_request_id)
  LEFT JOIN chaos.truth t USING (payment_id)
  LEFT JOIN chaos.moves m USING (payment_id, idempotency_key)
 WHERE r.status IN ('UNKNOWN', 'IN_FLIGHT') AND coalesce(t.status, '') <> 'pending' AND coalesce(m.outcome, '') <> 'received';

/* Resolves those that are not on their way right now; returns how many. */
CREATE FUNCTION chaos.operate() RETURNS int
	LANGUAGE plpgsql AS
$$
DECLARE
	u record;
	n int := 0;
BEGIN
	FOR u IN SELECT * FROM chaos.unresolved LOOP
		BEGIN
			PERFORM payledger.resolve_request(u.psp_request_id, CASE WHEN u.is_done THEN 'SUCCEEDED' ELSE 'REFUSED' END, 'seen at the PSP',
											  CASE WHEN u.is_done THEN u.psp_reference END);
			n := n + 1;
		EXCEPTION WHEN SQLSTATE 'PL001' THEN
			NULL;
		END;
	END LOOP;
	RETURN n;
END
$$;

/* ---- what must hold ---- */

/* What payledger believes of each payment. */
CREATE VIEW chaos.beliefs AS
SELECT i.payment_intent_id AS payment_id, i.gateway, i.status::text AS intent, p.status::text AS payment, i.total_amount,
	   coalesce(p.captured_amount, 0) AS captured, coalesce(p.refunded_amount, 0) AS refunded,
	   coalesce(p.total_amount - p.captured_amount - p.voided_amount, 0) AS capturable,
	   EXISTS (SELECT FROM payledger.psp_requests r WHERE r.payment_id = i.payment_intent_id
				  AND r.operation = 'CANCEL' AND r.status = 'REFUSED') AS cancel_was_refused,
	   EXISTS (SELECT FROM payledger.payment_orders o WHERE o.payment_id = i.payment_intent_id
				  AND o.status = 'CAPTURE_FAILED') AS capture_failed
  FROM payledger.payment_intents i LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id;

/* Journal postings of a kind of entry and its reversals to the PSP's account. */
CREATE VIEW chaos.journal AS
SELECT y.gateway, e.payment_id, replace(e.entry_type, '_REVERSAL', '') AS kind, sum(s.amount) AS amount
  FROM payledger.journal_entries e
  JOIN payledger.payments y USING (payment_id)
  JOIN payledger.postings s USING (journal_entry_id)
  JOIN payledger.accounts a ON a.account_id = s.account_id AND a.account_type = 'PSP_RECEIVABLES'
 GROUP BY 1, 2, 3;

/* The newest step of each dispute at a PSP, in our words. */
CREATE VIEW chaos.their_disputes AS
SELECT psp, payment_id, max(amount) FILTER (WHERE operation IN ('dispute', 'chargeback')) AS amount,
	   (array_agg(CASE operation WHEN 'dispute_won' THEN 'WON' WHEN 'chargeback_reversed' THEN 'WON' WHEN 'dispute_lost' THEN 'LOST'
				  WHEN 'second_chargeback' THEN 'LOST' ELSE 'open' END ORDER BY ordinal DESC))[1] AS status
  FROM chaos.executions
 WHERE operation IN ('dispute', 'dispute_won', 'dispute_lost', 'chargeback', 'chargeback_reversed', 'second_chargeback')
 GROUP BY 1, 2;
CREATE VIEW chaos.our_disputes AS
SELECT gateway AS psp, payment_id, sum(amount) AS amount,
	   string_agg(DISTINCT CASE WHEN status IN ('WON', 'LOST') THEN status::text ELSE 'open' END, ', ') AS status
  FROM payledger.disputes GROUP BY 1, 2;

CREATE VIEW chaos.disagreements (check_name, object, ours, theirs) AS
SELECT 'nothing was executed twice', payment_id::text, idempotency_key, operation || ' ' || count(*) || ' times'
  FROM chaos.executions WHERE idempotency_key IS NOT NULL
 GROUP BY payment_id, psp, idempotency_key, operation HAVING count(*) > 1
 UNION ALL
SELECT 'a payment is one payment at the PSP', payment_id::text, 'one', count(*) || ': ' || string_agg(id, ', ')
  FROM chaos.truth GROUP BY payment_id HAVING payment_id IS NULL OR count(*) > 1
 UNION ALL
SELECT 'what was executed is what we asked for, and we know its outcome', m.payment_id::text,
	   concat_ws(' ', r.psp_request_id, r.gateway, r.operation, r.amount, r.status),
	   concat_ws(' ', m.idempotency_key, m.psp, m.operation, m.amount, m.outcome)
  FROM chaos.moves m LEFT JOIN payledger.psp_requests r ON r.payment_id = m.payment_id AND r.idempotency_key = m.idempotency_key
 WHERE r.psp_request_id IS NULL OR r.gateway <> m.psp OR r.operation::text <> m.operation OR
	   (r.amount <> m.amount AND r.operation <> 'CANCEL') OR
	   NOT CASE r.status WHEN 'SUCCEEDED' THEN m.outcome IN ('ok', 'succeeded', 'undone') OR (m.outcome = 'failed' AND r.operation = 'REFUND')
		   WHEN 'REFUSED' THEN m.outcome = 'failed' ELSE false END
 UNION ALL
SELECT 'what we believe done was executed', r.payment_id::text, concat_ws(' ', r.idempotency_key, r.operation, r.amount, r.reply_code), 'not'
  FROM payledger.psp_requests r LEFT JOIN chaos.moves m USING (payment_id, idempotency_key)
 WHERE r.operation IN ('CAPTURE', 'REFUND') AND r.status = 'SUCCEEDED' AND m.operation IS NULL
 UNION ALL
SELECT 'a refund is what became of it', m.payment_id::text, concat_ws(' ', f.refund_id, f.amount, f.status),
	   concat_ws(' ', m.object, m.amount, m.outcome)
  FROM chaos.moves m
  JOIN payledger.psp_requests r ON r.payment_id = m.payment_id AND r.idempotency_key = m.idempotency_key
  JOIN payledger.refunds f ON f.payment_id = r.payment_id AND f.refund_id = r.target
 WHERE m.operation = 'REFUND' AND (f.status = 'SUCCEEDED') <> (m.outcome IN ('ok', 'succeeded'))
 UNION ALL
SELECT 'authorized, captured and refunded are what the PSP says', b.payment_id::text,
	   concat_ws(' ', b.intent, b.payment, b.total_amount, b.captured, b.refunded),
	   concat_ws(' ', t.id, t.status, t.is_authorized, t.amount, t.captured, t.refunded)
  FROM chaos.beliefs b FULL JOIN chaos.truth t USING (payment_id)
 WHERE b.payment_id IS NULL OR coalesce(t.psp, b.gateway) <> b.gateway OR coalesce(t.amount, b.total_amount) <> b.total_amount OR
	   CASE b.intent WHEN 'AUTHORIZED' THEN t.is_authorized IS NOT TRUE
		WHEN 'DECLINED' THEN coalesce(t.is_authorized, false)
		WHEN 'CANCELLED' THEN t.status NOT IN ('canceled', 'cancelled') AND NOT b.cancel_was_refused
		ELSE true END OR
	   b.captured <> coalesce(t.captured, 0) OR b.refunded <> coalesce(t.refunded, 0)
 UNION ALL
/* an Adyen payment keeps what a capture leaves, here, though nobody may capture it any more */
SELECT 'what is held is what the PSP holds', b.payment_id::text, concat_ws(' ', b.intent, b.payment, b.captured, b.capturable),
	   concat_ws(' ', t.id, t.status, t.captured, t.capturable)
  FROM chaos.beliefs b JOIN chaos.truth t USING (payment_id)
 WHERE NOT b.cancel_was_refused AND b.intent = 'AUTHORIZED' AND
	   CASE WHEN t.psp = 'stripe' OR (b.captured = 0 AND NOT b.capture_failed) THEN b.capturable <> t.capturable
		ELSE b.capturable > t.capturable END
 UNION ALL
SELECT 'no authorization is left', payment_id::text, intent || ' ' || capturable, NULL
  FROM chaos.beliefs WHERE intent NOT IN ('AUTHORIZED', 'DECLINED', 'CANCELLED') OR capturable <> 0
 UNION ALL
SELECT 'disputes', coalesce(o.payment_id, t.payment_id)::text, o.psp || ' ' || o.amount || ' ' || o.status, t.psp || ' ' || t.amount || ' ' || t.status
  FROM chaos.our_disputes o FULL JOIN chaos.their_disputes t USING (payment_id)
 WHERE o.psp IS DISTINCT FROM t.psp OR o.amount IS DISTINCT FROM t.amount OR o.status IS DISTINCT FROM t.status
 UNION ALL
SELECT 'payouts are transfers', coalesce(p.payout_id, t.payout_id)::text, p.amount || ' ' || p.status, t.sent || ' in ' || t.n
  FROM payledger.payouts p
  FULL JOIN (SELECT payout_id, count(*) AS n, sum(amount - reversed) AS sent FROM chaos.transfers GROUP BY 1) t USING (payout_id)
 WHERE CASE p.status WHEN 'PAID' THEN t.n IS DISTINCT FROM 1 OR t.sent IS DISTINCT FROM p.amount
	   WHEN 'FAILED' THEN t.n IS NOT NULL ELSE true END
 UNION ALL
SELECT 'the journal has what the PSP moved', t.psp || ' ' || k.kind, coalesce(j.amount, 0)::text, k.amount::text
  FROM (SELECT psp, sum(captured) AS captured, sum(refunded) AS refunded FROM chaos.truth GROUP BY psp) t
 CROSS JOIN LATERAL (
		VALUES ('CAPTURE', t.captured), ('REFUND_DONE', - t.refunded),
			   ('CHARGEBACK', (SELECT - coalesce(sum(amount) FILTER (WHERE status <> 'WON'), 0) FROM chaos.their_disputes d WHERE d.psp = t.psp)))
	   AS k(kind, amount)
  LEFT JOIN (SELECT gateway, kind, sum(amount) AS amount FROM chaos.journal GROUP BY 1, 2) j ON j.gateway = t.psp AND j.kind = k.kind
 WHERE coalesce(j.amount, 0) <> k.amount
 UNION ALL
SELECT 'clearing accounts are empty', account_code, payledger.balance(account_code)::text, '0'
  FROM payledger.accounts
 WHERE account_type IN ('AUTH_RECEIVABLE', 'AUTH_LIABILITY', 'REFUND_CLEARING', 'PAYOUT_CLEARING') AND payledger.balance(account_code) <> 0
 UNION ALL
SELECT 'every lost webhook of Stripe was read from its list', w.event_id, w.event_type, w.seq::text
  FROM chaos.webhooks w LEFT JOIN payledger.webhooks o ON o.gateway = w.psp AND o.event_id = w.event_id
 WHERE w.psp = 'stripe' AND w.is_lost AND o.event_id IS NULL
   AND w.event_type IN (SELECT event_type FROM payledger.webhooks WHERE backfilled)
 UNION ALL
SELECT 'every other webhook was taken', w.event_id, w.event_type, w.seq::text
  FROM chaos.webhooks w LEFT JOIN payledger.webhooks o ON o.gateway = w.psp AND o.event_id = w.event_id
 WHERE o.event_id IS NULL AND NOT (w.psp = 'stripe' AND w.is_lost);

/* The names of all checks, so that one that finds nothing is seen to have run. */
CREATE FUNCTION chaos.checks() RETURNS TABLE (check_name text)
	LANGUAGE sql AS
$$
	SELECT DISTINCT m[1] FROM regexp_matches(pg_get_viewdef('chaos.disagreements'), 'SELECT ''([^'']+)''::text', 'g') AS m
$$;
