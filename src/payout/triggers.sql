/* src/payout/triggers.sql: run by payledger.setup() when it finds others */

/* a payout has states; it stays what was asked for and is never taken away */
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.payouts FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('payout', 'payout_id', 'payout_id');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.payouts FOR EACH ROW
	WHEN ((OLD.seller_id, OLD.currency, OLD.amount, OLD.gateway, OLD.beneficiary, OLD.scheduled_for, OLD.created_at)
		  IS DISTINCT FROM
		  (NEW.seller_id, NEW.currency, NEW.amount, NEW.gateway, NEW.beneficiary, NEW.scheduled_for, NEW.created_at))
	EXECUTE FUNCTION payledger.refuse_change('Request another payout.');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.payouts FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.payouts ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.payouts ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.payouts ENABLE ALWAYS TRIGGER refuse_delete;
