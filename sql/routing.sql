-- Routing: which gateway an intent goes to by rules, and what may take over.
-- There is no worker here; test/t/210_routing.pl fails over.
\set VERBOSITY terse
SELECT g.gateway FROM unnest('{route-a,route-b,route-c}'::text[]) AS name, LATERAL payledger.add_gateway(name, 'sandbox') g;
SELECT s.seller_id, s.currency FROM (VALUES ('ROUTE-1', 'EUR'), ('ROUTE-2', 'EUR'), ('ROUTE-1', 'USD')) AS v(seller, currency),
	LATERAL payledger.register_seller(v.seller, v.currency) s;

-- the default gateway while there is no rule
SELECT * FROM payledger.route_payment('EUR', '[{"seller_id":"ROUTE-1","amount":1000}]');

-- what rules must not say
SELECT payledger.add_routing_rule(NULL);
SELECT payledger.add_routing_rule('nowhere');
SELECT payledger.add_routing_rule('route-a', currency => 'EURO');
SELECT payledger.add_routing_rule('route-a', seller_id => 'NOBODY');
SELECT payledger.add_routing_rule('route-a', seller_id => 'ROUTE-2', currency => 'USD');
SELECT payledger.add_routing_rule('route-a', maximum_amount => 1000);
SELECT payledger.add_routing_rule('route-a', currency => 'EUR', minimum_amount => 0);
SELECT payledger.add_routing_rule('route-a', currency => 'EUR', maximum_amount => -1);
SELECT payledger.add_routing_rule('route-a', currency => 'EUR', minimum_amount => 1001, maximum_amount => 1000);
SELECT payledger.add_routing_rule('route-a', failover_gateways => '{nowhere}');
SELECT payledger.add_routing_rule('route-a', failover_gateways => '{route-b,route-a}');
SELECT payledger.add_routing_rule('route-a', failover_gateways => '{route-b,route-c,route-b}');
SELECT payledger.add_routing_rule('route-a', failover_gateways => '{NULL}');
SELECT payledger.add_routing_rule('route-a', failover_gateways => NULL);
SELECT payledger.add_routing_rule('route-a', priority => NULL);

-- rules; the smallest priority first, of the same the oldest
SELECT routing_rule_id AS small FROM payledger.add_routing_rule('route-a', 'EUR', maximum_amount => 5000, failover_gateways => '{route-c,route-b}') \gset
SELECT routing_rule_id AS seller FROM payledger.add_routing_rule('route-b', seller_id => 'ROUTE-2', priority => 10) \gset
SELECT routing_rule_id AS dollars FROM payledger.add_routing_rule('route-c', 'USD', minimum_amount => 100) \gset
SELECT routing_rule_id AS younger FROM payledger.add_routing_rule('route-b', 'EUR') \gset
SELECT priority, currency, seller_id, minimum_amount, maximum_amount, gateway, failover_gateways, retired_at
  FROM payledger.routing_rules ORDER BY priority, routing_rule_id;

CREATE FUNCTION chosen(currency text, lines jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', r.gateway, 'priority ' || u.priority, r.failover_gateways)
	  FROM payledger.route_payment(currency, lines) r LEFT JOIN payledger.routing_rules u USING (routing_rule_id)
$$;
SELECT chosen('EUR', '[{"seller_id":"ROUTE-1","amount":5000}]');
SELECT chosen('EUR', '[{"seller_id":"ROUTE-1","amount":5001}]');
SELECT chosen('EUR', '[{"seller_id":"ROUTE-2","amount":5000}]');
SELECT chosen('USD', '[{"seller_id":"ROUTE-1","amount":100}]');
SELECT chosen('USD', '[{"seller_id":"ROUTE-1","amount":99}]');
-- a seller's rule holds for intents of that seller alone
SELECT chosen('EUR', '[{"seller_id":"ROUTE-1","amount":2000},{"seller_id":"ROUTE-2","amount":2000}]');
-- the amount is that of all lines
SELECT chosen('EUR', '[{"seller_id":"ROUTE-1","amount":3000},{"seller_id":"ROUTE-2","amount":3000}]');
SELECT payledger.route_payment('EUR', '[]');
SELECT payledger.route_payment('EUR', NULL);
SELECT payledger.route_payment('XXQ', '[{"seller_id":"ROUTE-1","amount":99}]');

-- intents follow them, and name their rule
SELECT gateway FROM payledger.create_payment_intent('ROUTE', 'B', 'EUR', '[{"seller_id":"ROUTE-1","amount":1000}]');
SELECT gateway, routing_rule_id = :small AS by_small FROM payledger.payment_intents WHERE order_id = 'ROUTE';
SELECT gateway FROM payledger.create_payment_intent('ROUTE-NAMED', 'B', 'EUR', '[{"seller_id":"ROUTE-1","amount":1000}]', gateway => 'route-b');
SELECT gateway, routing_rule_id FROM payledger.payment_intents WHERE order_id = 'ROUTE-NAMED';
SELECT gateway FROM payledger.create_payment_intent('ROUTE-NOWHERE', 'B', 'EUR', '[{"seller_id":"ROUTE-1","amount":1000}]', gateway => 'nowhere');

-- a key replays what was chosen then, whatever the rules say now
SELECT gateway FROM payledger.create_payment_intent('ROUTE-KEY', 'B', 'EUR', '[{"seller_id":"ROUTE-1","amount":1000}]', idempotency_key => 'route');
SELECT gateway, retired_at = now() AS retired FROM payledger.retire_routing_rule(:small);
SELECT gateway FROM payledger.create_payment_intent('ROUTE-KEY', 'B', 'EUR', '[{"seller_id":"ROUTE-1","amount":1000}]', idempotency_key => 'route');
SELECT chosen('EUR', '[{"seller_id":"ROUTE-1","amount":5000}]');
-- retired twice is retired once
SELECT retired_at < now() AS as_it_was FROM payledger.retire_routing_rule(:small);
SELECT payledger.retire_routing_rule(4711);
SELECT payledger.retire_routing_rule(NULL);

-- rules stay what they are
UPDATE payledger.routing_rules SET gateway = 'route-c' WHERE routing_rule_id = :younger;
UPDATE payledger.routing_rules SET retired_at = NULL WHERE routing_rule_id = :small;
UPDATE payledger.routing_rules SET retired_at = retired_at + interval '1 s' WHERE routing_rule_id = :small;
DELETE FROM payledger.routing_rules WHERE routing_rule_id = :younger;
TRUNCATE payledger.routing_rules;

-- alternatives: those that the rule lists, in its order
SELECT payment_intent_id AS id FROM payledger.payment_intents WHERE order_id = 'ROUTE' \gset
SELECT payledger.request_authorization(:id, 'pm_ok', '[]');
SELECT payledger.request_authorization(:id, 'pm_ok', '{"nowhere": "pm_ok"}');
SELECT payledger.request_authorization(:id, 'pm_ok', '{"route-b": 4}');
SELECT payledger.request_authorization(:id, 'pm_ok', '{"route-b": "4111111111111111"}');
SELECT payledger.request_authorization(:id, 'pm_ok', '{"route-b": ""}');
-- not the one that is asked first, should somebody have moved the intent there
BEGIN;
UPDATE payledger.payment_intents SET gateway = 'route-c' WHERE payment_intent_id = :id;
SELECT payledger.request_authorization(:id, 'pm_ok', '{"route-b": "pm_b", "route-c": "pm_c"}');
SELECT gateway, payment_method, alternatives FROM payledger.psp_requests WHERE payment_id = :id;
ROLLBACK;
SELECT payledger.request_authorization(:id, 'pm_ok', '{"route-b": "pm_b", "sandbox": "pm_s", "route-c": "pm_c", "route-a": "pm_a"}');
SELECT gateway, payment_method, alternatives FROM payledger.psp_requests WHERE payment_id = :id;
-- none without a rule
SELECT payment_intent_id AS named FROM payledger.payment_intents WHERE order_id = 'ROUTE-NAMED' \gset
SELECT payledger.request_authorization(:named, 'pm_ok', '{"route-c": "pm_c"}');
SELECT gateway, payment_method, alternatives FROM payledger.psp_requests WHERE payment_id = :named;

-- what another gateway than the intent's says about it decides nothing
BEGIN;
UPDATE payledger.payment_intents SET gateway = 'route-c' WHERE payment_intent_id = :named;
SAVEPOINT at_another;
SELECT answer(:named, 'SUCCEEDED');
SELECT status, gateway FROM payledger.payment_intents WHERE payment_intent_id = :named;
SELECT count(*) FROM payledger.payments WHERE payment_id = :named;
ROLLBACK TO at_another;
SELECT answer(:named, 'REFUSED');
SELECT status, gateway FROM payledger.payment_intents WHERE payment_intent_id = :named;
ROLLBACK;

-- verify() notices an intent that is not where its rule or its requests say
SELECT check_name, ok FROM payledger.verify() WHERE check_name IN ('intents_keep_to_rules', 'intents_are_at_one_gateway', 'routing_is_guarded');
BEGIN;
UPDATE payledger.payment_intents SET gateway = 'sandbox' WHERE payment_intent_id = :id;
SELECT check_name, regexp_replace(detail, '\d{10,}', 'N', 'g') FROM payledger.verify()
 WHERE check_name IN ('intents_keep_to_rules', 'intents_are_at_one_gateway') AND NOT ok;
ROLLBACK;

-- the rules of this file choose for no other
SELECT count(*) FROM (SELECT routing_rule_id FROM payledger.routing_rules WHERE retired_at IS NULL) r, LATERAL payledger.retire_routing_rule(r.routing_rule_id) t;
SELECT * FROM payledger.route_payment('EUR', '[{"seller_id":"ROUTE-1","amount":1000}]');
DROP FUNCTION chosen(text, jsonb);
