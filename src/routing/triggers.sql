/* src/routing/triggers.sql: run by payledger.setup() when it finds others */

/* an intent names the rule that chose its gateway */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.routing_rules FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Retire it with payledger.retire_routing_rule.');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.routing_rules FOR EACH ROW
	WHEN ((OLD.routing_rule_id, OLD.priority, OLD.currency, OLD.seller_id, OLD.minimum_amount, OLD.maximum_amount,
		   OLD.gateway, OLD.failover_gateways, OLD.created_at, coalesce(OLD.retired_at, NEW.retired_at))
		  IS DISTINCT FROM
		  (NEW.routing_rule_id, NEW.priority, NEW.currency, NEW.seller_id, NEW.minimum_amount, NEW.maximum_amount,
		   NEW.gateway, NEW.failover_gateways, NEW.created_at, NEW.retired_at))
	EXECUTE FUNCTION payledger.refuse_change('Retire it with payledger.retire_routing_rule, and add another.');

ALTER TABLE payledger.routing_rules ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.routing_rules ENABLE ALWAYS TRIGGER refuse_identity_change;
