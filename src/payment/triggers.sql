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

ALTER TABLE payledger.payment_intents ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER enforce_transition;

/* what must hold within a row */
CREATE OR REPLACE TRIGGER totals_agree
	AFTER INSERT OR UPDATE ON payledger.payments FOR EACH ROW
	EXECUTE FUNCTION payledger.check_totals('payment');
CREATE OR REPLACE TRIGGER totals_agree
	AFTER INSERT OR UPDATE ON payledger.payment_orders FOR EACH ROW
	EXECUTE FUNCTION payledger.check_totals('payment_order');

ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER totals_agree;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER totals_agree;

/* an object that moved money is never taken away; that an order stays what it is for totals_agree sees to, for its cost */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.payment_intents FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.payments FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.payment_orders FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();

ALTER TABLE payledger.payment_intents ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.payments ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.payment_orders ENABLE ALWAYS TRIGGER refuse_delete;

/* what is withheld is released, never withheld again */
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.reserves FOR EACH ROW
	WHEN ((OLD.payment_id, OLD.psp_request_id, OLD.payment_order_id, OLD.seller_id, OLD.currency, OLD.amount, OLD.created_at)
		  IS DISTINCT FROM
		  (NEW.payment_id, NEW.psp_request_id, NEW.payment_order_id, NEW.seller_id, NEW.currency, NEW.amount, NEW.created_at)
		  OR NEW.released_amount < OLD.released_amount)
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.reserves FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.reserves ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.reserves ENABLE ALWAYS TRIGGER refuse_delete;
