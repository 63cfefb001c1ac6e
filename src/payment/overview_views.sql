/*
 * src/payment/overview_views.sql: run by payledger.setup() when it finds others
 *
 * Each part of a payment is looked up by payment_id, which leads the keys of
 * its tables; a condition on payment_id or order_id reaches their indexes.
 */

CREATE OR REPLACE VIEW payledger.payment_overview AS
	SELECT i.payment_intent_id AS payment_id, i.order_id, i.buyer_id, i.currency,
		   payledger.format_amount(i.total_amount, i.currency) AS total,
		   i.status::text AS intent_status, p.status::text AS payment_status,
		   payledger.format_amount(coalesce(p.captured_amount, 0), i.currency) AS captured,
		   payledger.format_amount(coalesce(p.refunded_amount, 0), i.currency) AS refunded,
		   payledger.format_amount(coalesce(p.voided_amount, 0), i.currency) AS voided,
		   o.orders, i.gateway, i.psp_reference, i.decline_code, i.created_at,
		   greatest(i.updated_at, p.updated_at) AS updated_at,
		   payledger.format_total(coalesce(o.refund_pending, 0), i.currency) AS refund_pending,
		   payledger.format_total(coalesce(o.disputed, 0), i.currency) AS disputed,
		   payledger.format_total(coalesce(o.commission, 0), i.currency) AS commission,
		   payledger.format_total(coalesce(s.settled, 0), i.currency) AS settled,
		   payledger.format_total(coalesce(s.unsettled, 0), i.currency) AS unsettled,
		   r.refunds, d.disputes, q.undecided_requests
	  FROM payledger.payment_intents i
	  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
	  LEFT JOIN LATERAL (
			SELECT string_agg(po.seller_id || ' ' || payledger.format_amount(po.amount, po.currency)
							  || ' ' || po.status, ', ' ORDER BY po.payment_order_id) AS orders,
				   sum(po.refund_pending_amount) AS refund_pending, sum(po.disputed_amount) AS disputed,
				   sum(po.commission_amount - po.commission_refunded_amount) AS commission
			  FROM payledger.payment_orders po WHERE po.payment_id = i.payment_intent_id) o ON true
	  LEFT JOIN LATERAL (
			SELECT sum(si.amount) FILTER (WHERE si.settlement_report_id IS NOT NULL) AS settled,
				   sum(si.amount) FILTER (WHERE si.settlement_report_id IS NULL) AS unsettled
			  FROM payledger.settlement_items si WHERE si.payment_id = i.payment_intent_id) s ON true
	  LEFT JOIN LATERAL (
			SELECT string_agg(rf.seller_id || ' ' || payledger.format_amount(rf.amount, rf.currency)
							  || ' ' || rf.status, ', ' ORDER BY rf.refund_id) AS refunds
			  FROM payledger.refunds rf WHERE rf.payment_id = i.payment_intent_id) r ON true
	  LEFT JOIN LATERAL (
			SELECT string_agg(di.seller_id || ' ' || payledger.format_amount(di.amount, di.currency)
							  || ' ' || di.status, ', ' ORDER BY di.dispute_id) AS disputes
			  FROM payledger.disputes di WHERE di.payment_id = i.payment_intent_id) d ON true
	  LEFT JOIN LATERAL (
			/* a condition on status would tempt the planner to the index of all requests that are open */
			SELECT count(*) FILTER (WHERE pr.status IN ('UNKNOWN', 'PARKED')) AS undecided_requests
			  FROM payledger.psp_requests pr WHERE pr.payment_id = i.payment_intent_id) q ON true;
COMMENT ON VIEW payledger.payment_overview IS
'One row for each payment intent with everything that became of it; amounts with the decimal point of their currency; orders, refunds and disputes as seller, amount and status. disputed is charged back and not won; commission is less what refunds gave back; settled and unsettled is what the PSP has paid, and owes, for it: captures less refunds and chargebacks. undecided_requests: requests of unknown outcome, and those that wait for an operator. Everything in order: payledger.payment_timeline(payment_id).';
