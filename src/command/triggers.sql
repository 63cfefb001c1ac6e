/* src/command/triggers.sql: run by payledger.setup() when it finds others */

/* the machine speaks first; what must hold within a row; what was asked for is never taken away */
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.psp_requests FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('psp_request', 'psp_request_id', 'payment_id');
CREATE OR REPLACE TRIGGER totals_agree
	AFTER INSERT OR UPDATE ON payledger.psp_requests FOR EACH ROW
	EXECUTE FUNCTION payledger.check_totals('psp_request');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.psp_requests FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER totals_agree;
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER refuse_delete;

/* an item is closed, never taken away */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.settlement_items FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('A settlement report closes it.');
ALTER TABLE payledger.settlement_items ENABLE ALWAYS TRIGGER refuse_delete;
