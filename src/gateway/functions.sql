/* src/gateway/functions.sql: part of the install script */

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
