/* src/dispute/triggers.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.disputes FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('dispute', 'dispute_id', 'payment_id');
ALTER TABLE payledger.disputes ENABLE ALWAYS TRIGGER enforce_transition;

/* a dispute is decided and decided again; what the PSP took stays what it was */
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.disputes FOR EACH ROW
	WHEN ((OLD.payment_order_id, OLD.seller_id, OLD.gateway, OLD.psp_reference, OLD.amount, OLD.currency, OLD.created_at)
		  IS DISTINCT FROM
		  (NEW.payment_order_id, NEW.seller_id, NEW.gateway, NEW.psp_reference, NEW.amount, NEW.currency, NEW.created_at)
		  OR OLD.fee <> 0 AND NEW.fee <> OLD.fee
		  OR NEW.round < OLD.round OR OLD.fee_returned AND NOT NEW.fee_returned)
	EXECUTE FUNCTION payledger.refuse_change('Close it with payledger.close_dispute(); what else the PSP took is another dispute.');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.disputes FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Close it with payledger.close_dispute().');
ALTER TABLE payledger.disputes ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.disputes ENABLE ALWAYS TRIGGER refuse_delete;
