/* src/psp/functions.sql: part of the install script */

/* ---- gateways ---- */

CREATE FUNCTION add_gateway(name text, adapter text, options jsonb DEFAULT '{}', is_default boolean DEFAULT false)
	RETURNS TABLE (gateway text, adapter text, options jsonb, is_default boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_add_gateway'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION add_gateway(text, text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION add_gateway(text, text, jsonb, boolean) IS
'Adds an account at a payment service provider; payment intents that name no gateway go to the default one. payledger.gateway_options() lists the options of each adapter with units and defaults. Secrets are no options: they belong into the file that payledger.gateway_secrets_file names, section [database/name], and are sent only to the hosts that it gives, by default the adapter''s own. Errors: 22023 unknown adapter or option, or a value out of range; 42501 a loopback or private address that payledger.private_gateway_addresses does not list; 42710 the gateway exists (see alter_gateway). Example: SELECT * FROM payledger.add_gateway(''sandbox'', adapter => ''sandbox'', is_default => true);';

CREATE FUNCTION alter_gateway(name text, options jsonb DEFAULT NULL, is_default boolean DEFAULT NULL)
	RETURNS TABLE (gateway text, adapter text, options jsonb, is_default boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_alter_gateway'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION alter_gateway(text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION alter_gateway(text, jsonb, boolean) IS
'Changes options of a gateway, those given only: null takes one back to its default. The gateway worker follows at once; requests under way end as they began. A base_url that is no host of the gateway''s section in the secrets file gets no key and no request (stat_gateway.problem). Errors: 22023 and 42501 as add_gateway, PL007 no such gateway. Example: SELECT * FROM payledger.alter_gateway(''stripe'', ''{"timeout_ms": 20000, "return_url": null}'');';

CREATE FUNCTION gateway_options()
	RETURNS TABLE (adapter text, option text, type text, minimum double precision, maximum double precision,
				   choices text, default_value text, description text)
	AS 'MODULE_PATHNAME', 'pl_sql_gateway_options'
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 30;
COMMENT ON FUNCTION gateway_options() IS
'The options that add_gateway accepts for each adapter, with type, bounds, default, and a description that names the unit. Example: SELECT option, default_value, description FROM payledger.gateway_options() WHERE adapter = ''stripe'';';

CREATE FUNCTION gateway_statistics()
	RETURNS TABLE (gateway text, circuit text, circuit_since timestamptz, next_probe_at timestamptz,
				   throttled_until timestamptz, replies bigint, faults bigint, problem text)
	AS 'MODULE_PATHNAME', 'pl_sql_gateway_statistics'
	LANGUAGE C VOLATILE PARALLEL SAFE ROWS 5;
REVOKE ALL ON FUNCTION gateway_statistics() FROM PUBLIC;
COMMENT ON FUNCTION gateway_statistics() IS
'What the gateway worker of this database knows of each gateway: the state of its circuit breaker, since when and when it is probed next, how long the PSP wants no more requests of some kind, how many replies there were and how many of them were none or of status 5xx since the worker started, and why it is not asked at all, for want of an API key say (problem; null: it is). No row: no worker has seen it. payledger.stat_gateway shows it beside what waits. Errors: 55000 if the library is not in shared_preload_libraries. Example: SELECT gateway, next_probe_at FROM payledger.gateway_statistics() WHERE circuit = ''OPEN'';';

CREATE FUNCTION psp_adapters()
	RETURNS TABLE (adapter text, api_version text, key_window interval, can_be_asked boolean, pays_out boolean,
				   sends_webhooks boolean, lists_events boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_psp_adapters'
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 5;
COMMENT ON FUNCTION psp_adapters() IS
'The kinds of gateways: the version of the PSP''s API that each one speaks (null: none), how long the PSP surely keeps an idempotency key, whether it can be asked what became of a request, whether it makes payouts, sends webhooks, and lists the events whose webhook got lost. Example: SELECT * FROM payledger.psp_adapters();';

CREATE FUNCTION psp_error_classes()
	RETURNS TABLE (adapter text, api_version text, http_status int, error_type text, error_code text, outcome text,
				   in_doubt_outcome text, note text)
	AS 'MODULE_PATHNAME', 'pl_sql_psp_error_classes'
	LANGUAGE C STABLE PARALLEL SAFE ROWS 80;
COMMENT ON FUNCTION psp_error_classes() IS
'What the errors of each PSP mean, and the states of objects in its replies and events (http_status null), as documented for api_version; null matches any, the most specific row counts (code before type before status). SUCCEEDED, PENDING (decided later), ACTION_REQUIRED and REVERSED speak for themselves. REFUSED: documented as not executed. RETRY: not executed either, sent again with the same key. UNKNOWN: anything else; it is asked for again, never taken for a failure. in_doubt_outcome holds when an earlier attempt of the same request may have been executed. Example: SELECT * FROM payledger.psp_error_classes() WHERE outcome = ''RETRY'';';

CREATE FUNCTION check_gateway() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_check_gateway'
	LANGUAGE C;
REVOKE ALL ON FUNCTION check_gateway() FROM PUBLIC;
COMMENT ON FUNCTION check_gateway() IS
'BEFORE INSERT OR UPDATE row trigger of payledger.gateways: checks adapter and options on every path. Errors: 22023 unknown adapter or option, 42501 a private address, PL003 changed name or adapter. Example: UPDATE payledger.gateways SET adapter = ''sandbox'' raises PL003.';

CREATE FUNCTION gateways_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_gateways_changed'
	LANGUAGE C;
REVOKE ALL ON FUNCTION gateways_changed() FROM PUBLIC;
COMMENT ON FUNCTION gateways_changed() IS
'AFTER statement trigger of payledger.gateways: the gateway worker reads them again after the commit. Example: any UPDATE of payledger.gateways.';

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
