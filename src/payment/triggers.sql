/* src/payment/triggers.sql: made anew by every payledger.setup() */

/*
 * AFTER triggers run in the order of their names: the machine speaks first.
 * A BEFORE trigger would lock and log each row once more.
 */
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.payment_intents FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('payment_intent', 'payment_intent_id', 'payment_intent_id');
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.payments FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('payment', 'payment_id', 'payment_id');
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.payment_orders FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('payment_order', 'payment_order_id', 'payment_id');
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.psp_requests FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('psp_request', 'psp_request_id', 'payment_id');

ALTER TABLE payledger.payment_intents ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER enforce_transition;

/* what must hold within a row */
CREATE OR REPLACE TRIGGER totals_agree
	AFTER INSERT OR UPDATE ON payledger.payments FOR EACH ROW
	EXECUTE FUNCTION payledger.check_totals('payment');
CREATE OR REPLACE TRIGGER totals_agree
	AFTER INSERT OR UPDATE ON payledger.payment_orders FOR EACH ROW
	EXECUTE FUNCTION payledger.check_totals('payment_order');
CREATE OR REPLACE TRIGGER totals_agree
	AFTER INSERT OR UPDATE ON payledger.psp_requests FOR EACH ROW
	EXECUTE FUNCTION payledger.check_totals('psp_request');

ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER totals_agree;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER totals_agree;
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER totals_agree;

/* an object that moved money is never taken away */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.payment_intents FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.payments FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.payment_orders FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.psp_requests FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();

ALTER TABLE payledger.payment_intents ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER refuse_delete;
