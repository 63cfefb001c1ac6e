/* src/payment/views.sql: made anew by every payledger.setup() */

CREATE OR REPLACE VIEW payledger.payment_overview AS
	SELECT i.payment_intent_id AS payment_id, i.order_id, i.buyer_id, i.currency,
		   payledger.format_amount(i.total_amount, i.currency) AS total,
		   i.status::text AS intent_status, p.status::text AS payment_status,
		   payledger.format_amount(coalesce(p.captured_amount, 0), i.currency) AS captured,
		   payledger.format_amount(coalesce(p.refunded_amount, 0), i.currency) AS refunded,
		   payledger.format_amount(coalesce(p.voided_amount, 0), i.currency) AS voided,
		   o.orders, i.gateway, i.psp_reference, i.decline_code, i.created_at,
		   greatest(i.updated_at, p.updated_at) AS updated_at
	  FROM payledger.payment_intents i
	  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
	  LEFT JOIN LATERAL (
			SELECT string_agg(po.seller_id || ' ' || payledger.format_amount(po.amount, po.currency)
							  || ' ' || po.status, ', ' ORDER BY po.payment_order_id) AS orders
			  FROM payledger.payment_orders po WHERE po.payment_id = i.payment_intent_id) o ON true;
COMMENT ON VIEW payledger.payment_overview IS
'One row for each payment intent with everything that became of it; amounts with the decimal point of their currency, orders as seller, amount and status.';
