/* src/seller/triggers.sql: run by payledger.setup() when it finds others */

/* what was posted names its rule */
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.commission_rules FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Add a rule that begins later.');
ALTER TABLE payledger.commission_rules ENABLE ALWAYS TRIGGER refuse_change;
