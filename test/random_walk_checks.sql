/*
 * test/random_walk_checks.sql
 *		What must hold at any moment of test/t/160_random_walk.pl, reckoned
 *		from the rows themselves: nothing here calls payledger.verify() or
 *		reads a balance that payledger keeps.
 *
 * Each query returns a text for each offence.
 */

CREATE TABLE walk.checks (name text PRIMARY KEY, query text NOT NULL);

INSERT INTO walk.checks VALUES
	('orders keep to their amounts', $q$
	SELECT format('order %s of %s is %s: captured %s, asked %s, given back %s, refunded %s, asked %s', payment_order_id, amount, status,
				  captured_amount, capture_pending_amount, voided_amount, refunded_amount, refund_pending_amount)
	  FROM payledger.payment_orders
	 WHERE captured_amount < 0 OR capture_pending_amount < 0 OR voided_amount < 0 OR refunded_amount < 0 OR refund_pending_amount < 0
		OR captured_amount + capture_pending_amount + voided_amount > amount
		OR refunded_amount + refund_pending_amount > captured_amount
		OR commission_amount NOT BETWEEN 0 AND captured_amount OR commission_refunded_amount NOT BETWEEN 0 AND commission_amount
		OR status::text <> CASE
			WHEN captured_amount > 0 AND refunded_amount = captured_amount THEN 'REFUNDED'
			WHEN captured_amount > 0 AND refunded_amount > 0 THEN 'PARTIALLY_REFUNDED'
			WHEN captured_amount > 0 THEN 'CAPTURED'
			WHEN capture_pending_amount > 0 THEN CASE WHEN status = 'PENDING_CAPTURE' THEN 'PENDING_CAPTURE' ELSE 'CAPTURE_REQUESTED' END
			WHEN voided_amount = amount THEN CASE WHEN status = 'CAPTURE_FAILED' THEN 'CAPTURE_FAILED' ELSE 'CANCELLED' END
			ELSE 'INITIATED_PENDING' END
	$q$),
	/* the sandbox has no webhooks */
	('what is decided later is asked for', $q$
	SELECT format('%s psp_request %s of %s is PENDING, and no question follows it', operation, psp_request_id, payment_id)
	  FROM payledger.psp_requests p
	 WHERE status = 'PENDING' AND NOT EXISTS (SELECT FROM payledger.psp_requests q
											   WHERE q.payment_id = p.payment_id AND q.follows = p.psp_request_id
												 AND q.status IN ('READY', 'IN_FLIGHT', 'UNKNOWN', 'PARKED'))
	$q$),
	('payments keep to their amounts', $q$
	SELECT format('payment %s of %s is %s: captured %s, given back %s, refunded %s; its orders captured %s, gave back %s, refunded %s', payment_id,
				  total_amount, status, captured_amount, voided_amount, refunded_amount, captured, voided, refunded)
	  FROM payledger.payments
	  JOIN (SELECT payment_id, sum(amount) AS total, sum(captured_amount) AS captured, sum(voided_amount) AS voided,
				   sum(refunded_amount) AS refunded, sum(refund_pending_amount) AS asked
			  FROM payledger.payment_orders GROUP BY payment_id) o USING (payment_id)
	 WHERE captured + voided > total_amount OR refunded + asked > captured
		OR (total_amount, captured_amount, voided_amount, refunded_amount) <> (total, captured, voided, refunded)
	$q$),
	('the journal captured and refunded what the payments say', $q$
	SELECT format('payment %s captured %s, refunded %s: the PSP owes for it %s and took back %s', p.payment_id, p.captured_amount, p.refunded_amount,
				  coalesce(j.captured, 0), coalesce(j.refunded, 0))
	  FROM payledger.payments p
	  LEFT JOIN (SELECT payment_id, sum(amount) FILTER (WHERE entry_type LIKE 'CAPTURE%') AS captured,
						-coalesce(sum(amount) FILTER (WHERE entry_type LIKE 'REFUND_DONE%'), 0) AS refunded
				   FROM payledger.postings
				   JOIN payledger.journal_entries USING (journal_entry_id)
				   JOIN payledger.accounts USING (account_id)
				  WHERE account_type = 'PSP_RECEIVABLES' AND payment_id IS NOT NULL
				  GROUP BY payment_id) j ON j.payment_id = p.payment_id
	 WHERE (p.captured_amount, p.refunded_amount) <> (coalesce(j.captured, 0), coalesce(j.refunded, 0))
	$q$),
	('refunds are never above what was captured', $q$
	SELECT format('order %s captured %s and has refunds of %s', payment_order_id, o.captured_amount, r.amount)
	  FROM payledger.payment_orders o
	  JOIN (SELECT payment_id, payment_order_id, sum(amount) AS amount FROM payledger.refunds
			 WHERE status <> 'FAILED' GROUP BY 1, 2) r USING (payment_id, payment_order_id)
	 WHERE r.amount > o.captured_amount
	$q$),
	/* ids tell which came first: a refund's and a dispute's are drawn under the payment's lock, those of steps when they are taken */
	('what a dispute took is not sent back to the shopper', $q$
	SELECT format('refund %s of order %s was sent, though dispute %s had come after it', r.refund_id, r.payment_order_id, d.dispute_id)
	  FROM payledger.disputes d
	  JOIN payledger.state_history o ON o.payment_id = d.payment_id AND o.object_id = d.dispute_id AND o.from_status IS NULL
	  JOIN payledger.refunds r ON r.payment_id = d.payment_id AND r.payment_order_id = d.payment_order_id AND r.refund_id < d.dispute_id
	  JOIN payledger.psp_requests q ON q.payment_id = r.payment_id AND q.target = r.refund_id AND q.operation = 'REFUND'
	 WHERE o.history_id < (SELECT min(h.history_id) FROM payledger.state_history h
							WHERE h.payment_id = q.payment_id AND h.object_id = q.psp_request_id AND h.to_status = 'IN_FLIGHT')
	$q$),
	('clearing accounts hold what is under way', $q$
	SELECT format('%s %s is %s, under way are %s', coalesce(b.account_type, u.account_type), coalesce(b.currency, u.currency),
				  coalesce(b.amount, 0), coalesce(u.amount, 0))
	  FROM (SELECT account_type, currency, sum(amount) AS amount FROM sums
			 WHERE account_type IN ('AUTH_RECEIVABLE', 'AUTH_LIABILITY', 'REFUND_CLEARING', 'PAYOUT_CLEARING', 'PSP_RECEIVABLES')
			 GROUP BY 1, 2) b
	  FULL JOIN (
			SELECT v.account_type, p.currency, v.sign * sum(p.total_amount - p.captured_amount - p.voided_amount) AS amount
			  FROM payledger.payments p, (VALUES ('AUTH_RECEIVABLE', 1), ('AUTH_LIABILITY', -1)) AS v(account_type, sign) GROUP BY 1, 2, v.sign
			 UNION ALL
			SELECT 'REFUND_CLEARING', currency, -sum(amount) FROM payledger.refunds WHERE status IN ('REQUESTED', 'PENDING') GROUP BY 2
			 UNION ALL
			SELECT 'PAYOUT_CLEARING', currency, -sum(amount) FROM payledger.payouts WHERE status IN ('REQUESTED', 'IN_TRANSIT') GROUP BY 2
			 UNION ALL
			SELECT 'PSP_RECEIVABLES', currency, sum(amount) FROM payledger.settlement_items WHERE settlement_report_id IS NULL GROUP BY 2) u
		ON u.account_type = b.account_type AND u.currency = b.currency
	 WHERE coalesce(b.amount, 0) <> coalesce(u.amount, 0)
	$q$),
	('sellers are owed what happened to their orders', $q$
	SELECT format('seller %s is owed %s %s, its orders and payouts make it %s', coalesce(b.seller_id, d.seller_id),
				  coalesce(b.amount, 0), coalesce(b.currency, d.currency), coalesce(d.amount, 0))
	  FROM (SELECT entity_id AS seller_id, currency, -sum(amount) AS amount FROM sums
			 WHERE account_type = 'MERCHANT_PAYABLE' GROUP BY 1, 2) b
	  FULL JOIN (
			SELECT seller_id, currency, sum(amount) AS amount
			  FROM (SELECT seller_id, currency, captured_amount - refunded_amount - refund_pending_amount
						   - commission_amount + commission_refunded_amount AS amount
					  FROM payledger.payment_orders
					 UNION ALL
					SELECT seller_id, currency, -amount FROM payledger.disputes WHERE borne_by_seller AND status <> 'WON'
					 UNION ALL
					SELECT seller_id, currency, released_amount - amount FROM payledger.reserves
					 UNION ALL
					SELECT seller_id, currency, -amount FROM payledger.payouts WHERE status IN ('REQUESTED', 'IN_TRANSIT', 'PAID')
					 UNION ALL
					/* these are rows of the journal alone */
					SELECT entity_id, currency, -amount FROM sums
					 WHERE account_type = 'MERCHANT_PAYABLE' AND entry_type IN ('WRITE_OFF', 'PSP_FEE_RECHARGE', 'PSP_FEE_RECHARGE_REVERSAL')) o
			 GROUP BY seller_id, currency) d USING (seller_id, currency)
	 WHERE coalesce(b.amount, 0) <> coalesce(d.amount, 0)
	$q$),
	('seller_balances is what the journal says', $q$
	SELECT format('seller %s %s: balance %s, reserved %s, in payout %s; the journal says %s, %s, %s', v.seller_id, v.currency,
				  v.balance, v.reserved, v.in_payout, coalesce(j.owed, 0), coalesce(j.reserved, 0), coalesce(j.in_payout, 0))
	  FROM payledger.seller_balances v
	  LEFT JOIN (SELECT entity_id AS seller_id, currency,
						-coalesce(sum(amount) FILTER (WHERE account_type = 'MERCHANT_PAYABLE'), 0) AS owed,
						-coalesce(sum(amount) FILTER (WHERE account_type = 'MERCHANT_RESERVE'), 0) AS reserved,
						coalesce(sum(amount) FILTER (WHERE account_type = 'MERCHANT_PAYABLE' AND entry_type LIKE 'PAYOUT_REQUESTED%'), 0)
						AS requested
				   FROM sums WHERE account_type IN ('MERCHANT_PAYABLE', 'MERCHANT_RESERVE') GROUP BY 1, 2) l USING (seller_id, currency)
	  LEFT JOIN (SELECT seller_id, currency, sum(amount) AS paid FROM payledger.payouts WHERE status = 'PAID' GROUP BY 1, 2) p USING (seller_id, currency)
	 CROSS JOIN LATERAL (SELECT l.owed, l.reserved, l.requested - coalesce(p.paid, 0) AS in_payout) j
	 WHERE (v.balance, v.reserved, v.in_payout) <> (coalesce(j.owed, 0), coalesce(j.reserved, 0), coalesce(j.in_payout, 0))
	$q$),
	('the platform earned its commissions and paid what was paid', $q$
	SELECT format('%s %s is %s, should be %s', coalesce(b.account_type, u.account_type), currency, coalesce(b.amount, 0), coalesce(u.amount, 0))
	  FROM (SELECT account_type, currency, sum(amount) AS amount FROM sums
			 WHERE account_type = 'PLATFORM_COMMISSION_REVENUE' OR account_type = 'PLATFORM_CASH' AND entry_type NOT LIKE 'SETTLEMENT%'
			 GROUP BY 1, 2) b
	  FULL JOIN (
			SELECT 'PLATFORM_COMMISSION_REVENUE' AS account_type, currency, -sum(commission_amount - commission_refunded_amount) AS amount
			  FROM payledger.payment_orders GROUP BY 2
			 UNION ALL
			SELECT 'PLATFORM_CASH', currency, -sum(amount) FROM payledger.payouts WHERE status = 'PAID' GROUP BY 2) u USING (account_type, currency)
	 WHERE coalesce(b.amount, 0) <> coalesce(u.amount, 0)
	$q$),
	/* as sets: a capture that serves several sellers has an item for each */
	('the PSPs owe what they did', $q$
	SELECT format('%s %s of payment %s: items of %s %s at %s, the PSP did %s %s at %s', kind, object_id, payment_id, i.amount, i.currency, i.gateway,
				  o.amount, o.currency, o.gateway)
	  FROM (SELECT gateway, payment_id, kind::text, object_id, currency, sum(amount) AS amount, count(DISTINCT occurred_at) AS n
			  FROM payledger.settlement_items GROUP BY 1, 2, 3, 4, 5) i
	  FULL JOIN (SELECT gateway, payment_id, kind, object_id, currency, sum(amount) AS amount, max(n) AS n
				   FROM walk.at_psp GROUP BY 1, 2, 3, 4, 5) o USING (payment_id, kind, object_id)
	 WHERE (i.gateway, i.currency, i.amount, i.n) IS DISTINCT FROM (o.gateway, o.currency, o.amount, o.n)
	$q$),
	('the trial balance nets to zero', $q$
	SELECT format('debits %s, credits %s %s', sum(debit), sum(credit), currency) FROM payledger.trial_balance
	 GROUP BY currency HAVING sum(debit) <> sum(credit)
	 UNION ALL
	SELECT format('%s %s in all', sum(amount), currency) FROM sums GROUP BY currency HAVING sum(amount) <> 0
	$q$),
	('every step of the history is an edge', $q$
	SELECT format('%s went from %s to %s, %s times', h.machine, coalesce(h.from_status, 'nothing'), h.to_status, h.n)
	  FROM (SELECT machine, from_status, to_status, count(*) AS n FROM payledger.state_history GROUP BY 1, 2, 3) h
	 WHERE NOT EXISTS (SELECT FROM payledger.transitions t
						WHERE t.machine = h.machine AND t.to_status = h.to_status AND t.from_status IS NOT DISTINCT FROM h.from_status)
	$q$),
	('events count their payment''s life', $q$
	SELECT format('payment %s is at version %s, of its events the last is %s of %s', p.payment_id, p.event_version, e.last, e.n)
	  FROM payledger.payments p
	  LEFT JOIN (SELECT aggregateid::bigint AS payment_id, max(version) AS last, count(*) AS n
				   FROM payledger.outbox_events WHERE aggregatetype = 'payment' GROUP BY 1) e USING (payment_id)
	 WHERE (p.event_version, p.event_version) IS DISTINCT FROM (e.last, e.n)
	$q$),
	('nothing happened twice', $q$
	SELECT format('%s entries have the reference %s', count(*), reference) FROM payledger.journal_entries
	 WHERE reference IS NOT NULL GROUP BY reference HAVING count(*) > 1
	 UNION ALL
	SELECT format('%s intents have the order %s', count(*), order_id) FROM payledger.payment_intents GROUP BY order_id HAVING count(*) > 1
	$q$);

/* What is wrong in the snapshot of a REPEATABLE READ transaction. */
CREATE FUNCTION walk.offences() RETURNS text[] LANGUAGE plpgsql VOLATILE
	SET jit = off SET client_min_messages = warning AS $$
DECLARE
	todo record;
	n bigint;
	first text;
	found text[] := '{}';
BEGIN
	/* what was posted to each account by each type of entry, debit positive */
	CREATE TEMP TABLE IF NOT EXISTS sums (entry_type text, account_type text, entity_id text, currency text, amount numeric)
		ON COMMIT DELETE ROWS;
	INSERT INTO sums
	SELECT e.entry_type, a.account_type, a.entity_id, a.currency, sum(e.amount)
	  FROM (SELECT j.entry_type, p.account_id, sum(p.amount) AS amount
			  FROM payledger.postings p JOIN payledger.journal_entries j USING (journal_entry_id) GROUP BY 1, 2) e
	  JOIN payledger.accounts a USING (account_id)
	 GROUP BY 1, 2, 3, 4;
	FOR todo IN SELECT * FROM walk.checks ORDER BY name LOOP
		EXECUTE format('SELECT count(*), min(offence) FROM (%s) AS q(offence)', todo.query) INTO n, first;
		IF n > 0 THEN
			found := found || format('%s: %s, such as: %s', todo.name, n, first);
		END IF;
	END LOOP;
	RETURN found;
END $$;
