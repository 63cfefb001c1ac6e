/* src/psp/functions.sql: part of the install script */

/* ---- authorizing and waiting ---- */

CREATE FUNCTION payment_intent_status(payment_intent_id bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_payment_intent_status'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION payment_intent_status(bigint) FROM PUBLIC;
COMMENT ON FUNCTION payment_intent_status(bigint) IS
'The status of a payment intent as committed now, for roles that may not read payledger.payment_intents. Errors: PL007 no such intent. Example: SELECT payledger.payment_intent_status(42);';

/* No SECURITY DEFINER and no SET: with either it could not commit. */
CREATE PROCEDURE authorize(payment_intent_id bigint, payment_method text, INOUT status text DEFAULT NULL,
						   alternatives jsonb DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'pl_sql_authorize'
	LANGUAGE C;
REVOKE ALL ON PROCEDURE authorize(bigint, text, text, jsonb) FROM PUBLIC;
COMMENT ON PROCEDURE authorize(bigint, text, text, jsonb) IS
'Asks the gateway to authorize a payment intent, commits, waits for the answer and returns the intent''s status: AUTHORIZED, DECLINED, REQUIRES_ACTION (see its next_action), or PENDING_AUTH with a warning if there is none within payledger.authorize_timeout; the authorization then goes on. payment_method is the PSP''s token; alternatives are those for other gateways, see request_authorization. Needs EXECUTE on request_authorization and payment_intent_status. Errors: 25001 inside a transaction block or a function (use request_authorization there), otherwise those of request_authorization. Example: CALL payledger.authorize(42, ''pm_ok'');';

/* ---- operators ---- */

CREATE FUNCTION resolve_request(psp_request_id bigint, outcome text, note text, psp_reference text DEFAULT NULL)
	RETURNS TABLE (psp_request_id bigint, status text)
	AS 'MODULE_PATHNAME', 'pl_sql_resolve_request'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION resolve_request(bigint, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION resolve_request(bigint, text, text, text) IS
'An operator''s decision, after a look at the PSP, on a request that is UNKNOWN, PENDING or PARKED: outcome SUCCEEDED or REFUSED, with all that follows for the payment; REVERSED on a capture, refund or payout that SUCCEEDED and that the PSP took back later. The note stays in payledger.state_history. psp_reference is the PSP''s id of the payment, needed when an authorization succeeded and no reply named it. Errors: 22023 another outcome, no note or no psp_reference; PL007 no such request; PL001 the request does not wait for an operator. Example: SELECT * FROM payledger.resolve_request(4711, ''SUCCEEDED'', ''seen in the dashboard'', ''pi_3N'');';

CREATE FUNCTION retry_request(psp_request_id bigint)
	RETURNS TABLE (psp_request_id bigint, status text)
	AS 'MODULE_PATHNAME', 'pl_sql_retry_request'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION retry_request(bigint) FROM PUBLIC;
COMMENT ON FUNCTION retry_request(bigint) IS
'Has the gateway worker go on with a PARKED request, after what stood in its way was put right: one that was never sent is sent (READY), another one is sent again with its idempotency key while the PSP keeps it, and afterwards only asked for where the PSP can be asked (UNKNOWN). Errors: 55000 it might be executed a second time (use resolve_request), or its gateway is gone; PL001 it is not PARKED; PL007 no such request. Example: SELECT * FROM payledger.retry_request(4711);';
