/* src/refund/triggers.sql: run by payledger.setup() when it finds others */

/* a refund has states, stays what it is for and is never taken away */
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.refunds FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('refund', 'refund_id', 'payment_id');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.refunds FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.refunds FOR EACH ROW
	WHEN ((OLD.payment_order_id, OLD.seller_id, OLD.amount, OLD.currency)
		  IS DISTINCT FROM (NEW.payment_order_id, NEW.seller_id, NEW.amount, NEW.currency))
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.refunds ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.refunds ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.refunds ENABLE ALWAYS TRIGGER refuse_identity_change;
