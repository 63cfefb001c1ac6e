/*
 * src/payout/views.sql: run by payledger.setup() when it finds others
 *
 * Conditions on seller_id and currency reach the indexes of every table, so
 * one seller's row costs as much as its unsettled orders.
 */

/*
 * What the PSP has not settled yet is reckoned kind by kind: a refund it still
 * has to take back must not make an unsettled capture look smaller than it is.
 */
CREATE OR REPLACE VIEW payledger.unsettled_orders AS
	SELECT i.seller_id, i.currency, i.payment_id, i.payment_order_id, i.unsettled, n.net,
		   greatest(least(i.unsettled, n.net), 0) AS pending
	  FROM (SELECT s.seller_id, s.currency, s.payment_id, s.payment_order_id,
				   greatest(sum(s.amount) FILTER (WHERE s.kind IN ('CAPTURE', 'CAPTURE_REVERSAL')), 0)
				   + greatest(sum(s.amount) FILTER (WHERE s.kind IN ('REFUND', 'REFUND_REVERSAL')), 0)
				   + greatest(sum(s.amount) FILTER (WHERE s.kind IN ('CHARGEBACK', 'CHARGEBACK_REVERSAL')), 0) AS unsettled
			  FROM payledger.settlement_items s
			 WHERE s.settlement_report_id IS NULL
			 GROUP BY s.seller_id, s.currency, s.payment_id, s.payment_order_id) i
	  JOIN payledger.payment_orders o ON o.payment_id = i.payment_id AND o.payment_order_id = i.payment_order_id
	 CROSS JOIN LATERAL (
			SELECT o.captured_amount - o.refunded_amount - o.refund_pending_amount
				   - (o.commission_amount - o.commission_refunded_amount)
				   - CASE WHEN o.disputed_amount = 0 THEN 0 ELSE coalesce(
						(SELECT sum(d.amount) FROM payledger.disputes d
						  WHERE d.payment_id = o.payment_id AND d.payment_order_id = o.payment_order_id
							AND d.borne_by_seller AND d.status <> 'WON'), 0) END
				   - coalesce((SELECT sum(r.amount - r.released_amount) FROM payledger.reserves r
								WHERE r.payment_id = o.payment_id AND r.payment_order_id = o.payment_order_id), 0) AS net) n;
COMMENT ON VIEW payledger.unsettled_orders IS
'One row for each payment order of which a settlement report has not cleared everything, minor units: unsettled is what the PSP still owes for it, net what the order brings its seller after commission, refunds, chargebacks the seller bears, and reserve, and pending what of that the seller has to wait for. Their sum is pending of payledger.seller_balances.';

CREATE OR REPLACE VIEW payledger.seller_balances AS
	SELECT b.entity_id AS seller_id, b.currency, b.balance, b.formatted, b.held,
		   a.available, payledger.format_total(a.available, b.currency) AS available_formatted,
		   p.pending, payledger.format_total(p.pending, b.currency) AS pending_formatted,
		   p.reserved, payledger.format_total(p.reserved, b.currency) AS reserved_formatted,
		   p.in_payout, payledger.format_total(p.in_payout, b.currency) AS in_payout_formatted,
		   greatest(-b.balance, 0) AS negative, payledger.format_total(greatest(-b.balance, 0), b.currency) AS negative_formatted
	  FROM payledger.account_balances b
	 CROSS JOIN LATERAL (
			SELECT coalesce((SELECT sum(u.pending) FROM payledger.unsettled_orders u
							  WHERE u.seller_id = b.entity_id AND u.currency = b.currency), 0) AS pending,
				   coalesce((SELECT r.balance FROM payledger.account_balances r
							  WHERE r.account_code = 'MERCHANT_RESERVE.' || b.entity_id || '.' || b.currency), 0) AS reserved,
				   coalesce((SELECT sum(o.amount) FROM payledger.payouts o
							  WHERE o.seller_id = b.entity_id AND o.currency = b.currency
								AND o.status IN ('REQUESTED', 'IN_TRANSIT')), 0) AS in_payout,
				   (SELECT t.available_from = 'capture' FROM payledger.payout_terms t
					 WHERE t.seller_id = b.entity_id AND t.currency = b.currency) AS is_fronted,
				   coalesce((SELECT greatest(c.floor, 0) FROM payledger.accounts c WHERE c.account_id = b.account_id), 0) AS floor
			OFFSET 0) p
	 CROSS JOIN LATERAL (
			SELECT b.balance - b.held - p.floor - CASE WHEN p.is_fronted THEN 0 ELSE p.pending END AS available) a
	 WHERE b.account_type = 'MERCHANT_PAYABLE';
COMMENT ON VIEW payledger.seller_balances IS
'What the platform owes each seller, in minor units of currency and formatted; the balance is negative when the seller owes the platform. available can be paid out now: the balance less what holds reserve, less what is pending (captured, not settled by the PSP yet, see payledger.unsettled_orders; not subtracted where payledger.payout_terms says available_from capture), less a floor of the account above zero. Besides the balance: reserved is withheld (payledger.reserves), in_payout is on its way to the seller (payledger.payouts); negative is how much the seller owes. Since when: payledger.aged_payables().';
