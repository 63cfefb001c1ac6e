/* src/dispute/views.sql: run by payledger.setup() when it finds others */

/*
 * What the shopper got back twice is what refunds and chargebacks together are
 * above what was captured, but no more than was refunded: the rest is the
 * issuer's conversion.
 */
CREATE OR REPLACE VIEW payledger.dispute_overview AS
	SELECT d.dispute_id, d.payment_id, d.payment_order_id, p.order_id, d.seller_id, p.buyer_id, d.currency,
		   payledger.format_amount(d.amount, d.currency) AS amount,
		   payledger.format_amount(d.fee, d.currency) AS fee,
		   d.status::text AS status, d.round, CASE WHEN d.borne_by_seller THEN 'seller' ELSE 'platform' END AS borne_by,
		   d.reason, d.evidence_due_at,
		   d.status = 'NEEDS_RESPONSE' AND coalesce(d.evidence_due_at < now(), false) AS is_overdue,
		   payledger.format_amount(o.captured_amount, d.currency) AS captured,
		   payledger.format_total(coalesce(r.before, 0), d.currency) AS refunded_before,
		   payledger.format_total(greatest(0, least(d.amount, o.refunded_amount,
				o.disputed_amount::numeric + o.refunded_amount - o.captured_amount)), d.currency) AS paid_back_twice,
		   r.refunds, d.gateway, d.psp_reference, d.evidence, d.created_at, d.updated_at
	  FROM payledger.disputes d
	  JOIN payledger.payments p ON p.payment_id = d.payment_id
	  JOIN payledger.payment_orders o ON o.payment_id = d.payment_id AND o.payment_order_id = d.payment_order_id
	 CROSS JOIN LATERAL (
			SELECT sum(rf.amount) FILTER (WHERE rf.status = 'SUCCEEDED' AND rf.refund_id < d.dispute_id) AS before,
				   string_agg(payledger.format_amount(rf.amount, rf.currency) || ' ' || rf.status || ' ' || rf.refund_id,
							  ', ' ORDER BY rf.refund_id) AS refunds
			  FROM payledger.refunds rf
			 WHERE rf.payment_id = d.payment_id AND rf.payment_order_id = d.payment_order_id) r;
COMMENT ON VIEW payledger.dispute_overview IS
'One row for each dispute with what answering it takes; amounts with the decimal point of their currency. is_overdue: evidence was due and is not submitted. refunded_before is what had been refunded of the order when the dispute was opened, refunds lists all of its refunds with amount, status and id; paid_back_twice is what of the disputed amount the shopper got by refunds as well. What is due next: SELECT * FROM payledger.dispute_overview WHERE status = ''NEEDS_RESPONSE'' ORDER BY evidence_due_at.';
