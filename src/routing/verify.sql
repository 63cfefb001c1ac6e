/* src/routing/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION routing_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('intents_keep_to_rules', false, 'every intent that a routing rule chose for is at one of the rule''s gateways', $q$
	SELECT format('intent %s is at gateway %s by rule %s, which %s', i.payment_intent_id, i.gateway, i.routing_rule_id,
				  CASE WHEN r.routing_rule_id IS NULL THEN 'does not exist' ELSE 'does not name it' END)
	  FROM payledger.payment_intents i
	  LEFT JOIN payledger.routing_rules r ON r.routing_rule_id = i.routing_rule_id
	 WHERE i.routing_rule_id IS NOT NULL
	   AND (r.routing_rule_id IS NULL OR i.gateway <> ALL (r.gateway || r.failover_gateways))
	$q$),
	('intents_are_at_one_gateway', false, 'whatever another gateway than its intent''s was asked to authorize was not executed there', $q$
	SELECT format('intent %s is at gateway %s, request %s to gateway %s is %s', i.payment_intent_id, i.gateway,
				  r.psp_request_id, r.gateway, r.status)
	  FROM payledger.psp_requests r
	  JOIN payledger.payment_intents i ON i.payment_intent_id = r.payment_id
	 WHERE r.operation IN ('AUTHORIZE', 'CONFIRM') AND r.gateway <> i.gateway
	   AND NOT (r.status = 'REFUSED' AND r.reply_code = 'failed_over')
	$q$),
	('routing_is_guarded', false, 'the triggers that keep routing rules as they are are in force', $q$
	SELECT payledger.missing_guards('{{routing_rules, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
									  {routing_rules, refuse_identity_change, AFTER UPDATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION routing_checks() IS
'The checks of payment routing for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.routing_checks();';
