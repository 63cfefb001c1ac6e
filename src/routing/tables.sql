/* src/routing/tables.sql: created once by payledger.setup() */

CREATE TABLE payledger.routing_rules (
	routing_rule_id	bigint PRIMARY KEY,
	priority		int NOT NULL,
	currency		text,
	seller_id		text,
	minimum_amount	bigint CHECK (minimum_amount > 0),
	maximum_amount	bigint CHECK (maximum_amount > 0 AND maximum_amount >= coalesce(minimum_amount, 0)),
	gateway			text NOT NULL,
	failover_gateways text[] NOT NULL CHECK (array_position(failover_gateways, gateway) IS NULL),
	created_at		timestamptz NOT NULL,
	retired_at		timestamptz,
	CHECK (currency IS NOT NULL OR minimum_amount IS NULL AND maximum_amount IS NULL)
);
CREATE INDEX routing_rules_active ON payledger.routing_rules (priority, routing_rule_id) WHERE retired_at IS NULL;
COMMENT ON TABLE payledger.routing_rules IS
'Which gateway a payment intent goes to whose caller names none: the first active rule, by priority and then by age, of which everything that it names holds; without one the default gateway. Rules are added (payledger.add_routing_rule) and retired (payledger.retire_routing_rule), never changed, so that payment_intents.routing_rule_id says for good why an intent went where it did.';
COMMENT ON COLUMN payledger.routing_rules.priority IS 'smaller numbers first; of the same priority the older rule';
COMMENT ON COLUMN payledger.routing_rules.seller_id IS 'only intents all of whose lines are of this seller; null: any';
COMMENT ON COLUMN payledger.routing_rules.minimum_amount IS 'only intents whose total is at least this, minor units of currency; null: any';
COMMENT ON COLUMN payledger.routing_rules.maximum_amount IS 'only intents whose total is at most this, minor units of currency; null: any';
COMMENT ON COLUMN payledger.routing_rules.failover_gateways IS 'where an authorization goes next, in this order, that the gateway before did not execute; only those for which its caller gave a payment method';
COMMENT ON COLUMN payledger.routing_rules.retired_at IS 'since when it chooses for nobody; null: active';
