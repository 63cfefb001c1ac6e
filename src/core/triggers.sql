/* src/core/triggers.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.state_history FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.state_history ENABLE ALWAYS TRIGGER refuse_change;
