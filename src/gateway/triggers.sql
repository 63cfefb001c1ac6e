/* src/gateway/triggers.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE TRIGGER check_gateway BEFORE INSERT OR UPDATE ON payledger.gateways
	FOR EACH ROW EXECUTE FUNCTION payledger.check_gateway();
ALTER TABLE payledger.gateways ENABLE ALWAYS TRIGGER check_gateway;

CREATE OR REPLACE TRIGGER gateways_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payledger.gateways
	FOR EACH STATEMENT EXECUTE FUNCTION payledger.gateways_changed();
ALTER TABLE payledger.gateways ENABLE ALWAYS TRIGGER gateways_changed;
