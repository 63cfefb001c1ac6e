/* src/routing/functions.sql: part of the install script */

CREATE FUNCTION add_routing_rule(gateway text, currency text DEFAULT NULL, seller_id text DEFAULT NULL,
								 minimum_amount bigint DEFAULT NULL, maximum_amount bigint DEFAULT NULL,
								 failover_gateways text[] DEFAULT '{}', priority int DEFAULT 100)
	RETURNS TABLE (routing_rule_id bigint, priority int, currency text, seller_id text, minimum_amount bigint,
				   maximum_amount bigint, gateway text, failover_gateways text[], created_at timestamptz,
				   retired_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_add_routing_rule'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION add_routing_rule(text, text, text, bigint, bigint, text[], int) FROM PUBLIC;
COMMENT ON FUNCTION add_routing_rule(text, text, text, bigint, bigint, text[], int) IS
'Sends payment intents whose caller names no gateway to this one, from now on: those in currency, whose lines are all of seller_id, and whose total is from minimum_amount to maximum_amount (minor units of currency, which they need); what is null is not asked for. The rule with the smallest priority number counts, of the same the oldest; without one the default gateway. failover_gateways take over an authorization, in this order, that the gateway before documented as not executed or was not sent to for its option failover_after_ms, if the caller gave payledger.request_authorization() a payment method for them; never one of unknown outcome. Errors: 22023 bad argument, PL007 no such gateway or seller. Example: SELECT routing_rule_id FROM payledger.add_routing_rule(''adyen'', currency => ''EUR'', maximum_amount => 50000, failover_gateways => ''{stripe}'');';

CREATE FUNCTION retire_routing_rule(routing_rule_id bigint)
	RETURNS TABLE (routing_rule_id bigint, priority int, currency text, seller_id text, minimum_amount bigint,
				   maximum_amount bigint, gateway text, failover_gateways text[], created_at timestamptz,
				   retired_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_retire_routing_rule'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION retire_routing_rule(bigint) FROM PUBLIC;
COMMENT ON FUNCTION retire_routing_rule(bigint) IS
'A rule chooses for no further intent. Intents that it chose for go on as they began. A rule that is retired already stays as it is. Errors: PL007 no such rule. Example: SELECT retired_at FROM payledger.retire_routing_rule(4711);';

CREATE FUNCTION route_payment(currency text, lines jsonb)
	RETURNS TABLE (gateway text, routing_rule_id bigint, failover_gateways text[])
	AS 'MODULE_PATHNAME', 'pl_sql_route_payment'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION route_payment(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION route_payment(text, jsonb) IS
'Where a payment intent with these lines would go if its caller named no gateway, by which rule (null: it is the default gateway), and what may take over. A front end asks it to know of which PSPs it needs payment methods. Errors: 22023 bad argument, PL007 no rule holds and there is no default gateway. Example: SELECT * FROM payledger.route_payment(''EUR'', ''[{"seller_id":"SELLER-111","amount":1450}]'');';
