/* src/refund/functions.sql: part of the install script */

CREATE FUNCTION refund(payment_order_id bigint, amount bigint DEFAULT NULL, reason text DEFAULT NULL,
					   idempotency_key text DEFAULT NULL)
	RETURNS TABLE (refund_id bigint, payment_order_id bigint, payment_id bigint, seller_id text, amount bigint,
				   currency text, status text, reason text, created_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_refund'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION refund(bigint, bigint, text, text) FROM PUBLIC;
COMMENT ON FUNCTION refund(bigint, bigint, text, text) IS
'Asks the gateway to give amount (minor units, null for all that is left) of a captured payment order back to the shopper; may be partial and repeated, never above what was captured less what is refunded, asked to be refunded or disputed. The seller''s funds are reserved at once and given back if it fails, however late. The worker does it after this transaction commits. Errors: 22023 amount not greater than zero, PL001 nothing of the order is captured, PL005 amount above what is left, PL006 key reused with another request, PL007 no such order, PL011 card data in reason. Example: SELECT payledger.refund(payment_order_id, 450, ''damaged'') FROM payledger.payment_orders WHERE seller_id = ''SELLER-222'';';

CREATE FUNCTION refund_payment(payment_id bigint, amount bigint DEFAULT NULL, reason text DEFAULT NULL,
							   idempotency_key text DEFAULT NULL)
	RETURNS TABLE (payment_id bigint, currency text, amount bigint, refund_ids bigint[])
	AS 'MODULE_PATHNAME', 'pl_sql_refund_payment'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION refund_payment(bigint, bigint, text, text) FROM PUBLIC;
COMMENT ON FUNCTION refund_payment(bigint, bigint, text, text) IS
'refund() for a whole payment: amount (minor units, null for all that is left) is shared out over its orders in proportion to what is left of each, exactly (largest remainder), one refund for each. Errors: as refund(), naming the payment. Example: SELECT * FROM payledger.refund_payment(payment_id) FROM payledger.payments WHERE order_id = ''ORDER-1'';';
