/* src/ledger/triggers.sql: made anew by every payledger.setup() */

/* double entry, whoever inserts */
CREATE OR REPLACE TRIGGER check_postings
	AFTER INSERT ON payledger.postings REFERENCING NEW TABLE AS new_postings FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.check_postings();
ALTER TABLE payledger.postings ENABLE ALWAYS TRIGGER check_postings;

/* the journal is append-only */
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.postings FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Correct an entry by posting its reversal.');
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.journal_entries FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Correct an entry by posting its reversal.');
ALTER TABLE payledger.postings ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE payledger.journal_entries ENABLE ALWAYS TRIGGER refuse_change;

/* an account may be suspended or closed, but not become another one: backends remember them */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.accounts FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Set its status to CLOSED.');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.accounts FOR EACH ROW
	WHEN ((OLD.account_id, OLD.account_code, OLD.account_type, OLD.entity_id, OLD.currency)
		  IS DISTINCT FROM (NEW.account_id, NEW.account_code, NEW.account_type, NEW.entity_id, NEW.currency))
	EXECUTE FUNCTION payledger.refuse_change('Open another account and post what moves to it.');
ALTER TABLE payledger.accounts ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.accounts ENABLE ALWAYS TRIGGER refuse_identity_change;
