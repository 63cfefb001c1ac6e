/* src/payment/triggers.sql: run by payledger.setup() when it finds others */

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

CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.refunds FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('refund', 'refund_id', 'payment_id');

ALTER TABLE payledger.payment_intents ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.refunds ENABLE ALWAYS TRIGGER enforce_transition;

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

CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.refunds FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.settlement_items FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('A settlement report closes it.');

ALTER TABLE payledger.payment_intents ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.psp_requests ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.refunds ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.settlement_items ENABLE ALWAYS TRIGGER refuse_delete;

/* a refund stays what it is for; of an order totals_agree sees to it, for its cost */
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.refunds FOR EACH ROW
	WHEN ((OLD.payment_order_id, OLD.seller_id, OLD.amount, OLD.currency)
		  IS DISTINCT FROM (NEW.payment_order_id, NEW.seller_id, NEW.amount, NEW.currency))
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.refunds ENABLE ALWAYS TRIGGER refuse_identity_change;

/* what was posted names its rule */
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.commission_rules FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Add a rule that begins later.');
ALTER TABLE payledger.commission_rules ENABLE ALWAYS TRIGGER refuse_change;
