/* src/payment/functions.sql: part of the install script */

CREATE FUNCTION create_payment_intent(order_id text, buyer_id text, currency text, lines jsonb,
									  capture_method text DEFAULT 'automatic', gateway text DEFAULT NULL,
									  idempotency_key text DEFAULT NULL, metadata jsonb DEFAULT '{}')
	RETURNS TABLE (payment_intent_id bigint, order_id text, buyer_id text, currency text,
				   total_amount bigint, status text, capture_method text, gateway text,
				   next_action jsonb, metadata jsonb, created_at timestamptz, updated_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_create_payment_intent'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION create_payment_intent(text, text, text, jsonb, text, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION create_payment_intent(text, text, text, jsonb, text, text, text, jsonb) IS
'Creates a payment intent for the goods of one or more sellers; lines is an array of {"seller_id", "amount"} with amounts in minor units. capture_method automatic captures as soon as authorized, manual waits for capture(). The same idempotency_key with the same request returns the first reply. Errors: 22023 bad argument (naming the path), 22003 a total above 10^15, the most that one payment may be, PL006 key reused with another request, PL007 unknown seller or gateway, PL008 seller not active, PL010 not set up, PL011 card data. Example: SELECT payment_intent_id, status FROM payledger.create_payment_intent(''ORDER-1'', ''BUYER-1'', ''EUR'', ''[{"seller_id":"SELLER-111","amount":1450}]'', idempotency_key => ''checkout-1'');';

CREATE FUNCTION request_authorization(payment_intent_id bigint, payment_method text, alternatives jsonb DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_request_authorization'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION request_authorization(bigint, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION request_authorization(bigint, text, jsonb) IS
'Asks the gateway to authorize the intent with a payment method, without waiting: the worker does it after this transaction commits. payment_method is the PSP''s token, or for Adyen the JSON object that its component made in the front end (card data encrypted; the payment method alone or the component''s whole state data). After the shopper''s action (REQUIRES_ACTION) call it again to go on, or confirm_authorization() where the front end brought something back; the method may then be null. alternatives are payment methods for other gateways, such as {"adyen": "8416038790273850"}: where the routing rule of the intent lists them as failover_gateways, they take over when the gateway documented that it did not execute the authorization, or it could not be sent for the gateway''s failover_after_ms; never when the outcome is unknown. Returns the new status PENDING_AUTH. Errors: 22023 malformed alternatives, PL001 not CREATED or REQUIRES_ACTION, PL007 no such intent or gateway, PL011 a card number where a token belongs, 22P02 no JSON, 22023 empty, too long, too large or not what the adapter needs, 54001 nested too deeply, 22003 an amount that the PSP does not have. Example: SELECT payledger.request_authorization(payment_intent_id, ''pm_ok'') FROM payledger.payment_intents WHERE order_id = ''ORDER-1'';';

CREATE FUNCTION confirm_authorization(payment_intent_id bigint, details jsonb DEFAULT '{}')
	RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_confirm_authorization'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION confirm_authorization(bigint, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION confirm_authorization(bigint, jsonb) IS
'Goes on with an intent that waits for the shopper (REQUIRES_ACTION) after the action that its next_action asked for. details is what the front end brought back, an object of at most 16 kB: for Adyen redirectResult, threeDSResult or whatever its component names, alone or as {"details", "paymentData"}; Stripe needs none. Returns the new status PENDING_AUTH; the worker asks the gateway after this transaction commits. Errors: PL001 not REQUIRES_ACTION, PL007 no such intent, PL011 card data in details, 22023 no object or too large. Example: SELECT payledger.confirm_authorization(42, ''{"redirectResult": "X6XtfGC3!Y..."}'');';

CREATE FUNCTION cancel_payment_intent(payment_intent_id bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_cancel_payment_intent'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION cancel_payment_intent(bigint) FROM PUBLIC;
COMMENT ON FUNCTION cancel_payment_intent(bigint) IS
'Cancels an intent that is not being authorized; one that waits for the shopper is also cancelled at the PSP. Returns CANCELLED. Errors: PL001 it is being authorized or decided, PL007 no such intent. Example: SELECT payledger.cancel_payment_intent(payment_intent_id) FROM payledger.payment_intents WHERE order_id = ''ORDER-1'';';

CREATE FUNCTION capture(payment_order_id bigint, amount bigint DEFAULT NULL, idempotency_key text DEFAULT NULL,
						final boolean DEFAULT true)
	RETURNS TABLE (payment_order_id bigint, payment_id bigint, seller_id text, currency text, amount bigint,
				   captured_amount bigint, refunded_amount bigint, status text, retry_count int)
	AS 'MODULE_PATHNAME', 'pl_sql_capture'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION capture(bigint, bigint, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION capture(bigint, bigint, text, boolean) IS
'Asks the gateway to capture a payment order of an intent with capture_method manual: amount minor units, null for all that is left. The rest is given back at once, unless final is false: then more may be captured later. Where the gateway has no multicapture, what is asked for is planned until no order of the payment is open, and captured by one request. The worker does it after this transaction commits. Errors: 22023 amount not greater than zero, 0A000 not final and the gateway captures once, PL001 nothing of the order can be captured, PL005 amount above what was authorized and is left, PL006 key reused with another request, PL007 no such order. Example: SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE seller_id = ''SELLER-111'' AND status = ''INITIATED_PENDING'';';

CREATE FUNCTION capture_payment(payment_id bigint, amount bigint DEFAULT NULL, idempotency_key text DEFAULT NULL)
	RETURNS TABLE (payment_id bigint, currency text, requested_amount bigint, captured_amount bigint, voided_amount bigint,
				   status text)
	AS 'MODULE_PATHNAME', 'pl_sql_capture_payment'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION capture_payment(bigint, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION capture_payment(bigint, bigint, text) IS
'Asks the gateway to capture a whole payment: amount minor units, null for all that is left, shared out over its open orders in proportion to what is left of each, exactly (largest remainder); the rest is given back. Errors: 22023 amount not greater than zero, PL001 nothing of it can be captured, PL005 amount above what is left, PL006 key reused with another request, PL007 no such payment. Example: SELECT * FROM payledger.capture_payment(payment_id, 2000) FROM payledger.payments WHERE order_id = ''ORDER-2'';';

CREATE FUNCTION cancel_payment_order(payment_order_id bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_cancel_payment_order'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION cancel_payment_order(bigint) FROM PUBLIC;
COMMENT ON FUNCTION cancel_payment_order(bigint) IS
'Gives what is neither captured nor asked to be captured of a payment order back. When nothing of the payment was captured and this was the last one open, the payment is VOIDED and cancelled at the PSP. Returns the order''s status, CANCELLED if nothing of it was captured. Errors: PL001 nothing of the order is open, PL007 no such order. Example: SELECT payledger.cancel_payment_order(payment_order_id) FROM payledger.payment_orders WHERE seller_id = ''SELLER-222'';';

CREATE FUNCTION check_totals() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_check_totals'
	LANGUAGE C;
REVOKE ALL ON FUNCTION check_totals() FROM PUBLIC;
COMMENT ON FUNCTION check_totals() IS
'AFTER INSERT OR UPDATE row trigger of payments, payment_orders and psp_requests: what a row''s totals, status and lease must agree on. Argument: payment, payment_order or psp_request. Errors: 23514. Example: UPDATE payledger.payments SET captured_amount = total_amount + 1 raises 23514.';

CREATE FUNCTION void_payment(payment_id bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_void_payment'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION void_payment(bigint) FROM PUBLIC;
COMMENT ON FUNCTION void_payment(bigint) IS
'Gives a whole payment back uncaptured and cancels it at the PSP. Returns VOIDED. Errors: PL001 something of it is captured or asked to be captured, PL007 no such payment. Example: SELECT payledger.void_payment(payment_id) FROM payledger.payments WHERE order_id = ''ORDER-1'';';

CREATE FUNCTION expire_authorizations() RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_expire_authorizations'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION expire_authorizations() FROM PUBLIC;
COMMENT ON FUNCTION expire_authorizations() IS
'Gives back what nobody captured of authorizations that expire within the hour, at most 100 of them, and sends what is planned onto them. Returns their number. The keeper does this every minute. Errors: PL010 not set up. Example: SELECT payledger.expire_authorizations();';

CREATE FUNCTION release_due_reserves() RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_release_due_reserves'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION release_due_reserves() FROM PUBLIC;
COMMENT ON FUNCTION release_due_reserves() IS
'Releases the reserves whose release_at has come, at most 500, and returns their number. The keeper does this every few seconds. Rows that another session releases are left to it, as are those of closed accounts. Errors: PL010 not set up. Example: SELECT payledger.release_due_reserves();';
