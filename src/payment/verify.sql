/* src/payment/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION payment_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('intents_have_payments', false, 'an intent is AUTHORIZED exactly when its payment exists, for the same total', $q$
	SELECT format('intent %s is %s %s %s, its payment %s %s', coalesce(i.payment_intent_id, p.payment_id),
				  coalesce(i.status::text, 'missing'), i.total_amount, i.currency,
				  coalesce(p.total_amount::text, 'missing'), p.currency)
	  FROM payledger.payment_intents i
	  FULL JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
	 WHERE (i.status = 'AUTHORIZED') IS DISTINCT FROM (p.payment_id IS NOT NULL)
		OR p.payment_id IS NOT NULL
		   AND (i.total_amount, i.currency, i.order_id) IS DISTINCT FROM (p.total_amount, p.currency, p.order_id)
	$q$),
	('orders_match_lines', false, 'the orders of a payment are the lines of its intent', $q$
	SELECT format('payment %s has %s orders for the %s lines of its intent, of which %s agree', i.payment_intent_id,
				  o.orders, jsonb_array_length(i.lines), o.agreeing)
	  FROM payledger.payment_intents i
	 CROSS JOIN LATERAL (
			SELECT count(*) AS orders,
				   count(*) FILTER (WHERE i.lines @> jsonb_build_array(
						jsonb_build_object('seller_id', po.seller_id, 'amount', po.amount))) AS agreeing
			  FROM payledger.payment_orders po WHERE po.payment_id = i.payment_intent_id) o
	 WHERE i.status = 'AUTHORIZED'
	   AND (o.orders <> jsonb_array_length(i.lines) OR o.agreeing <> o.orders)
	$q$),
	('totals_match_orders', false, 'the totals of every payment are the sums over its orders', $q$
	SELECT format('payment %s: total %s, captured %s, refunded %s, voided %s; its orders %s, %s, %s, %s', p.payment_id,
				  p.total_amount, p.captured_amount, p.refunded_amount, p.voided_amount,
				  o.amount, o.captured, o.refunded, o.voided)
	  FROM payledger.payments p
	  LEFT JOIN (SELECT payment_id, sum(amount) AS amount, sum(captured_amount) AS captured,
						sum(refunded_amount) AS refunded, sum(voided_amount) AS voided
				   FROM payledger.payment_orders GROUP BY payment_id) o USING (payment_id)
	 WHERE (p.total_amount, p.captured_amount, p.refunded_amount, p.voided_amount)
		   IS DISTINCT FROM (o.amount, o.captured, o.refunded, o.voided)
	 UNION ALL
	SELECT format('order %s belongs to payment %s, which does not exist', o.payment_order_id, o.payment_id)
	  FROM payledger.payment_orders o
	 WHERE NOT EXISTS (SELECT FROM payledger.payments p WHERE p.payment_id = o.payment_id)
	$q$),
	('orders_are_decided', false, 'an order that is over has nothing open: all of it is captured or given back', $q$
	SELECT format('order %s is %s: of %s, %s are captured, %s pending, %s given back', payment_order_id, status, amount,
				  captured_amount, capture_pending_amount, voided_amount)
	  FROM payledger.payment_orders
	 WHERE status IN ('CANCELLED', 'CAPTURE_FAILED') AND voided_amount <> amount
		OR status = 'INITIATED_PENDING' AND (capture_pending_amount <> 0 OR voided_amount <> 0)
		OR status IN ('CAPTURE_REQUESTED', 'PENDING_CAPTURE') AND capture_pending_amount = 0
	$q$),
	('status_matches_totals', false, 'the status of every payment is what its totals say', $q$
	SELECT format('payment %s is %s: of %s it captured %s, refunded %s, voided %s', payment_id, status,
				  total_amount, captured_amount, refunded_amount, voided_amount)
	  FROM payledger.payments
	 WHERE status::text <> CASE
			WHEN refunded_amount > 0 AND refunded_amount = captured_amount THEN 'REFUNDED'
			WHEN refunded_amount > 0 THEN 'PARTIALLY_REFUNDED'
			WHEN captured_amount = total_amount THEN 'CAPTURED'
			WHEN captured_amount > 0 THEN 'PARTIALLY_CAPTURED'
			WHEN voided_amount = total_amount THEN 'VOIDED'
			ELSE 'NOT_CAPTURED' END
	$q$),
	('captures_are_posted', false, 'what is captured of every order, and the commission of it, is what its entries posted for its seller', $q$
	WITH posted AS (
		SELECT j.payment_id, split_part(j.reference, ':', 3) AS payment_order_id, a.entity_id AS seller_id, a.currency,
			   coalesce(-sum(p.amount) FILTER (WHERE j.entry_type LIKE 'CAPTURE%'), 0) AS captured,
			   coalesce(sum(p.amount) FILTER (WHERE j.entry_type LIKE 'COMMISSION%'), 0) AS commission
		  FROM payledger.journal_entries j
		  JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
		  JOIN payledger.accounts a ON a.account_id = p.account_id AND a.account_type = 'MERCHANT_PAYABLE'
		 WHERE j.entry_type IN ('CAPTURE', 'CAPTURE_REVERSAL', 'COMMISSION_FEE', 'COMMISSION_FEE_REVERSAL')
		   AND j.payment_id IS NOT NULL
		 GROUP BY 1, 2, 3, 4)
	SELECT format('order %s is %s with %s captured, %s commission: posted are %s and %s',
				  coalesce(o.payment_order_id::text, e.payment_order_id), coalesce(o.status::text, 'missing'),
				  coalesce(o.captured_amount, 0), coalesce(o.commission_amount, 0),
				  coalesce(e.captured, 0), coalesce(e.commission, 0))
	  FROM payledger.payment_orders o
	  FULL JOIN posted e
		ON e.payment_id = o.payment_id AND e.payment_order_id = o.payment_order_id::text
	   AND e.seller_id = o.seller_id AND e.currency = o.currency
	 WHERE (coalesce(o.captured_amount, 0), coalesce(o.commission_amount, 0))
		   <> (coalesce(e.captured, 0), coalesce(e.commission, 0))
	$q$),
	('captures_are_asked', false, 'what is asked to be captured of every payment is what its undecided requests ask for, or planned', $q$
	SELECT format('payment %s waits for %s to be captured, its requests ask for %s', p.payment_id, o.pending, coalesce(r.asked, 0))
	  FROM payledger.payments p
	  JOIN (SELECT payment_id, sum(capture_pending_amount) AS pending,
				   bool_or(amount - captured_amount - capture_pending_amount - voided_amount > 0) AS is_open
			  FROM payledger.payment_orders GROUP BY payment_id) o ON o.payment_id = p.payment_id
	  LEFT JOIN payledger.gateways g ON g.gateway = p.gateway
	  LEFT JOIN (SELECT payment_id, sum(amount) AS asked FROM payledger.psp_requests
				  WHERE operation = 'CAPTURE' AND status NOT IN ('SUCCEEDED', 'REFUSED')
				  GROUP BY payment_id) r ON r.payment_id = p.payment_id
	 WHERE o.pending <> coalesce(r.asked, 0)
	   AND NOT (NOT g.multicapture AND o.is_open AND r.asked IS NULL)
	$q$),
	('refunds_are_posted', false, 'every refund has the entries that its status says', $q$
	SELECT format('refund %s is %s of %s with %s commission: posted are %s asked, %s done, %s commission', r.refund_id,
				  r.status, r.amount, r.commission_amount, coalesce(e.asked, 0), coalesce(e.done, 0), coalesce(e.commission, 0))
	  FROM payledger.refunds r
	  LEFT JOIN (SELECT j.payment_id, split_part(j.reference, ':', 2) AS refund_id,
						coalesce(-sum(p.amount) FILTER (WHERE a.account_type = 'REFUND_CLEARING'
															  AND j.entry_type LIKE 'REFUND_REQUESTED%'), 0) AS asked,
						coalesce(sum(p.amount) FILTER (WHERE a.account_type = 'REFUND_CLEARING'
															 AND j.entry_type LIKE 'REFUND_DONE%'), 0) AS done,
						coalesce(-sum(p.amount) FILTER (WHERE a.account_type = 'MERCHANT_PAYABLE'
															  AND j.entry_type LIKE 'COMMISSION_REFUND%'), 0) AS commission
				   FROM payledger.journal_entries j
				   JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
				   JOIN payledger.accounts a ON a.account_id = p.account_id
				  WHERE j.payment_id IS NOT NULL
					AND j.entry_type IN ('REFUND_REQUESTED', 'REFUND_REQUESTED_REVERSAL', 'REFUND_DONE',
										 'REFUND_DONE_REVERSAL', 'COMMISSION_REFUND', 'COMMISSION_REFUND_REVERSAL')
				  GROUP BY 1, 2) e ON e.payment_id = r.payment_id AND e.refund_id = r.refund_id::text
	 WHERE (coalesce(e.asked, 0), coalesce(e.done, 0), coalesce(e.commission, 0))
		   <> (CASE WHEN r.status = 'FAILED' THEN 0 ELSE r.amount END,
			   CASE WHEN r.status = 'SUCCEEDED' THEN r.amount ELSE 0 END, r.commission_amount)
	$q$),
	('orders_match_refunds', false, 'what is refunded and asked to be refunded of every order is the sum of its refunds', $q$
	SELECT format('order %s: refunded %s, pending %s, commission %s; its refunds %s, %s, %s', o.payment_order_id,
				  o.refunded_amount, o.refund_pending_amount, o.commission_refunded_amount,
				  coalesce(r.refunded, 0), coalesce(r.pending, 0), coalesce(r.commission, 0))
	  FROM payledger.payment_orders o
	  LEFT JOIN (SELECT payment_id, payment_order_id, seller_id, currency,
						coalesce(sum(amount) FILTER (WHERE status = 'SUCCEEDED'), 0) AS refunded,
						coalesce(sum(amount) FILTER (WHERE status IN ('REQUESTED', 'PENDING')), 0) AS pending,
						sum(commission_amount) AS commission
				   FROM payledger.refunds GROUP BY 1, 2, 3, 4) r
		ON r.payment_id = o.payment_id AND r.payment_order_id = o.payment_order_id
	   AND r.seller_id = o.seller_id AND r.currency = o.currency
	 WHERE (o.refunded_amount, o.refund_pending_amount, o.commission_refunded_amount)
		   <> (coalesce(r.refunded, 0), coalesce(r.pending, 0), coalesce(r.commission, 0))
	 UNION ALL
	SELECT format('refund %s is for order %s of payment %s, which does not exist', r.refund_id, r.payment_order_id, r.payment_id)
	  FROM payledger.refunds r
	 WHERE NOT EXISTS (SELECT FROM payledger.payment_orders o
						WHERE o.payment_id = r.payment_id AND o.payment_order_id = r.payment_order_id)
	$q$),
	('holds_match_payments', false, 'what is held of every authorization is what is neither captured nor given back', $q$
	SELECT format('payment %s holds %s, its totals leave %s', coalesce(p.payment_id, h.payment_id), coalesce(h.held, 0),
				  coalesce(p.total_amount - p.captured_amount - p.voided_amount, 0))
	  FROM payledger.payments p
	  FULL JOIN (SELECT j.payment_id, sum(s.amount) AS held
				   FROM payledger.journal_entries j
				   JOIN payledger.postings s ON s.journal_entry_id = j.journal_entry_id
				   JOIN payledger.accounts a ON a.account_id = s.account_id AND a.account_type = 'AUTH_RECEIVABLE'
				  WHERE j.payment_id IS NOT NULL
				  GROUP BY j.payment_id) h ON h.payment_id = p.payment_id
	 WHERE coalesce(h.held, 0) <> coalesce(p.total_amount - p.captured_amount - p.voided_amount, 0)
	 UNION ALL
	SELECT format('payment %s has no AUTH_HOLD of %s', p.payment_id, p.total_amount)
	  FROM payledger.payments p
	 WHERE NOT EXISTS (SELECT FROM payledger.journal_entries j
						 JOIN payledger.postings s ON s.journal_entry_id = j.journal_entry_id
						WHERE j.reference = 'AUTH_HOLD:' || p.payment_id AND j.payment_id = p.payment_id
						  AND j.entry_type = 'AUTH_HOLD' AND s.amount = p.total_amount)
	$q$),
	('clearing_is_explained', false, 'the authorization and refund clearing accounts hold what open payments and refunds account for, and nothing else', $q$
	SELECT format('%s is %s, open payments explain %s', b.account_code, b.balance, coalesce(o.open, 0))
	  FROM payledger.account_balances b
	  LEFT JOIN (SELECT currency, sum(total_amount - captured_amount - voided_amount) AS open
				   FROM payledger.payments GROUP BY currency) o USING (currency)
	 WHERE b.account_type IN ('AUTH_RECEIVABLE', 'AUTH_LIABILITY') AND b.balance <> coalesce(o.open, 0)
	 UNION ALL
	SELECT format('%s is %s, open refunds explain %s', b.account_code, b.balance, coalesce(r.open, 0))
	  FROM payledger.account_balances b
	  LEFT JOIN (SELECT currency, sum(amount) AS open
				   FROM payledger.refunds WHERE status IN ('REQUESTED', 'PENDING') GROUP BY currency) r USING (currency)
	 WHERE b.account_type = 'REFUND_CLEARING' AND b.balance <> coalesce(r.open, 0)
	$q$),
	('history_explains_states', false, 'the history of every object is a chain without a gap that ends in its status', $q$
	WITH objects(machine, object_id, status) AS (
		SELECT 'payment_intent', payment_intent_id, status::text FROM payledger.payment_intents
		 UNION ALL SELECT 'payment', payment_id, status::text FROM payledger.payments
		 UNION ALL SELECT 'payment_order', payment_order_id, status::text FROM payledger.payment_orders
		 UNION ALL SELECT 'refund', refund_id, status::text FROM payledger.refunds
		 UNION ALL SELECT 'dispute', dispute_id, status::text FROM payledger.disputes
		 UNION ALL SELECT 'psp_request', psp_request_id, status::text FROM payledger.psp_requests
		 UNION ALL SELECT 'payout', payout_id, status::text FROM payledger.payouts),
	/* only what ends a history or breaks it; ids first, as they tell more apart than the names of machines */
	steps AS MATERIALIZED (
		SELECT * FROM (
			SELECT machine, object_id, from_status, to_status, lag(to_status) OVER w AS previous,
				   lead(true, 1, false) OVER w AS has_next
			  FROM payledger.state_history
			WINDOW w AS (PARTITION BY object_id, machine ORDER BY history_id)) h
		 WHERE NOT has_next OR from_status IS DISTINCT FROM previous)
	SELECT format('%s %s went from %s to %s, but was %s', machine, object_id, coalesce(from_status, 'nothing'), to_status,
				  coalesce(previous, 'nothing'))
	  FROM steps WHERE from_status IS DISTINCT FROM previous
	 UNION ALL
	SELECT format('%s %s is %s, its history says %s', coalesce(o.machine, s.machine), coalesce(o.object_id, s.object_id),
				  coalesce(o.status, 'missing'), coalesce(s.to_status, 'nothing'))
	  FROM objects o
	  FULL JOIN (SELECT * FROM steps WHERE NOT has_next) s ON s.object_id = o.object_id AND s.machine = o.machine
	 WHERE (s.machine IS NULL OR s.machine IN (SELECT machine FROM objects))
	   AND o.status IS DISTINCT FROM s.to_status
	$q$),
	('history_keeps_to_edges', true, 'every step in the history is one that payledger.transitions lists', $q$
	SELECT format('%s %s went from %s to %s', h.machine, h.object_id, coalesce(h.from_status, 'nothing'), h.to_status)
	  FROM payledger.state_history h
	 WHERE NOT EXISTS (SELECT FROM payledger.transition_table() t
						WHERE t.machine = h.machine AND t.to_status = h.to_status
						  AND t.from_status IS NOT DISTINCT FROM h.from_status)
	$q$),
	('waiting_work_has_requests', false, 'whatever waits for a PSP has a request that is not decided', $q$
	SELECT format('intent %s is PENDING_AUTH and nothing asks the PSP', i.payment_intent_id)
	  FROM payledger.payment_intents i
	 WHERE i.status = 'PENDING_AUTH'
	   AND NOT EXISTS (SELECT FROM payledger.psp_requests r
						WHERE r.payment_id = i.payment_intent_id
						  AND r.operation IN ('AUTHORIZE', 'CONFIRM', 'RETRIEVE', 'CANCEL')
						  AND r.status NOT IN ('SUCCEEDED', 'REFUSED'))
	 UNION ALL
	SELECT format('refund %s is %s and nothing asks the PSP', f.refund_id, f.status)
	  FROM payledger.refunds f
	 WHERE f.status IN ('REQUESTED', 'PENDING')
	   AND NOT EXISTS (SELECT FROM payledger.psp_requests r
						WHERE r.payment_id = f.payment_id AND r.target = f.refund_id
						  AND r.operation IN ('REFUND', 'RETRIEVE') AND r.status NOT IN ('SUCCEEDED', 'REFUSED'))
	$q$),
	('ids_are_unique', false, 'no two payment orders, refunds, requests or history rows have the same id', $q$
	SELECT format('%s payment orders have the id %s', count(*), payment_order_id)
	  FROM payledger.payment_orders GROUP BY payment_order_id HAVING count(*) > 1
	 UNION ALL
	SELECT format('%s refunds have the id %s', count(*), refund_id)
	  FROM payledger.refunds GROUP BY refund_id HAVING count(*) > 1
	 UNION ALL
	SELECT format('%s requests have the id %s', count(*), psp_request_id)
	  FROM payledger.psp_requests GROUP BY psp_request_id HAVING count(*) > 1
	 UNION ALL
	SELECT format('%s history rows have the id %s', count(*), history_id)
	  FROM payledger.state_history GROUP BY history_id HAVING count(*) > 1
	$q$),
	('references_are_unique', true, 'no two payments, intents or payouts of a gateway have the same psp_reference', $q$
	SELECT format('%s %ss of gateway %s have the reference %s: %s and %s', r.n, r.kind, r.gateway, r.psp_reference, r.first, r.last)
	  FROM (SELECT 'payment' AS kind, gateway, psp_reference, count(*) AS n, min(payment_id) AS first, max(payment_id) AS last
			  FROM payledger.payments WHERE psp_reference IS NOT NULL GROUP BY 2, 3 HAVING count(*) > 1
			 UNION ALL
			SELECT 'intent', gateway, psp_reference, count(*), min(payment_intent_id), max(payment_intent_id)
			  FROM payledger.payment_intents WHERE psp_reference IS NOT NULL GROUP BY 2, 3 HAVING count(*) > 1
			 UNION ALL
			SELECT 'payout', gateway, psp_reference, count(*), min(payout_id), max(payout_id)
			  FROM payledger.payouts WHERE psp_reference IS NOT NULL GROUP BY 2, 3 HAVING count(*) > 1) r
	$q$),
	('events_follow_payments', true, 'the events of every payment begin with version 1, unless that was dropped with its partition, and end with its event_version', $q$
	SELECT format('payment %s is at event version %s, its events are %s to %s', v.payment_id, v.event_version, e.first, e.last)
	  FROM (SELECT i.payment_intent_id AS payment_id, coalesce(p.event_version, i.event_version) AS event_version, i.created_at
			  FROM payledger.payment_intents i
			  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id) v
	  LEFT JOIN (SELECT aggregateid::bigint AS payment_id, min(version) AS first, max(version) AS last
				   FROM payledger.outbox_events WHERE aggregatetype = 'payment' GROUP BY 1) e USING (payment_id)
	 CROSS JOIN (SELECT min(seq) AS seq, min("timestamp") AT TIME ZONE 'UTC' AS at FROM payledger.outbox_events) oldest
	 WHERE e.last <> v.event_version
		OR e.first IS DISTINCT FROM 1
		   /* a partition holds far more than this; its neighbours overlap in time, but not that much */
		   AND (oldest.seq <= 1000 OR v.created_at > oldest.at + interval '1 minute')
	$q$),
	/* an id is below 9 * 10^18, here and in other checks: what is above may not fit a bigint */
	('events_follow_entries', true, 'every entry of a payment has its event, which says what was posted', $q$
	SELECT format('entry %s has no event', j.journal_entry_id)
	  FROM payledger.journal_entries j
	 CROSS JOIN (SELECT min(seq) AS seq, min("timestamp") AT TIME ZONE 'UTC' AS at FROM payledger.outbox_events) oldest
	 WHERE j.payment_id IS NOT NULL
	   AND (oldest.seq <= 1000 OR j.recorded_at > oldest.at + interval '1 minute')
	   AND NOT EXISTS (SELECT FROM payledger.outbox_events e
						WHERE e.aggregatetype = 'ledger' AND e.aggregateid = j.journal_entry_id::text)
	 UNION ALL
	SELECT format('event %s does not say what entry %s posted', e.id, e.aggregateid)
	  FROM payledger.outbox_events e
	 CROSS JOIN LATERAL (
			SELECT jsonb_agg(jsonb_build_object('account', a.account_code, 'amount', p.amount) ORDER BY p.leg) AS postings
			  FROM payledger.postings p JOIN payledger.accounts a ON a.account_id = p.account_id
			 WHERE p.journal_entry_id = CASE WHEN e.aggregateid ~ '^[0-8]?[0-9]{1,18}$' THEN e.aggregateid::bigint END) p
	 WHERE e.aggregatetype = 'ledger' AND p.postings IS DISTINCT FROM e.payload::jsonb #> '{data,postings}'
	$q$),
	('payments_are_guarded', false, 'the triggers that hold states to their machines are in force', $q$
	SELECT payledger.missing_guards(ARRAY[
			ARRAY[t, 'enforce_transition', 'AFTER INSERT OR UPDATE', 'enforce_transition'],
			ARRAY[t, 'refuse_delete', 'BEFORE DELETE OR TRUNCATE', 'refuse_change']])
	  FROM unnest('{payment_intents, payments, payment_orders, refunds, psp_requests}'::text[]) AS t
	 UNION ALL
	SELECT payledger.missing_guards('{{refunds, refuse_identity_change, AFTER UPDATE, refuse_change},
									  {settlement_items, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
									  {commission_rules, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change}}')
	 UNION ALL
	SELECT payledger.missing_guards(ARRAY[ARRAY[t, 'totals_agree', 'AFTER INSERT OR UPDATE', 'check_totals']])
	  FROM unnest('{payments, payment_orders, psp_requests}'::text[]) AS t
	$q$)
$$;
COMMENT ON FUNCTION payment_checks() IS
'The payments'' checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.payment_checks();';
