/* src/ledger/triggers.sql: run by payledger.setup() when it finds others */

/* double entry, whoever inserts */
CREATE OR REPLACE TRIGGER check_postings
	AFTER INSERT ON payledger.postings REFERENCING NEW TABLE AS new_postings FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.check_postings();
ALTER TABLE payledger.postings ENABLE ALWAYS TRIGGER check_postings;

CREATE OR REPLACE TRIGGER check_journal_entries
	BEFORE INSERT ON payledger.journal_entries FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.check_journal_entries();
ALTER TABLE payledger.journal_entries ENABLE ALWAYS TRIGGER check_journal_entries;

/* the journal is append-only */
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.postings FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Correct an entry by posting its reversal.');
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.journal_entries FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Correct an entry by posting its reversal.');
ALTER TABLE payledger.postings ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE payledger.journal_entries ENABLE ALWAYS TRIGGER refuse_change;

/* and so is what is derived from it */
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.effective_shifts FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Correct an entry by posting its reversal.');
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.folds FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.balance_checkpoints FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.seals FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.effective_shifts ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE payledger.folds ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE payledger.balance_checkpoints ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE payledger.seals ENABLE ALWAYS TRIGGER refuse_change;

/* an account may be suspended or closed, but not become another one: backends remember them */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.accounts FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Set its status to CLOSED.');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.accounts FOR EACH ROW
	WHEN ((OLD.account_id, OLD.account_code, OLD.account_type, OLD.entity_id, OLD.currency, OLD.ledger)
		  IS DISTINCT FROM (NEW.account_id, NEW.account_code, NEW.account_type, NEW.entity_id, NEW.currency, NEW.ledger))
	EXECUTE FUNCTION payledger.refuse_change('Open another account and post what moves to it.');
ALTER TABLE payledger.accounts ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.accounts ENABLE ALWAYS TRIGGER refuse_identity_change;

/*
 * What restricts posts more than before waits for those under way; that
 * backends look again matters where they remember what it was.
 */
CREATE OR REPLACE TRIGGER announce_restriction
	AFTER UPDATE ON payledger.accounts FOR EACH ROW
	WHEN (NEW.status <> 'ACTIVE' AND OLD.status <> NEW.status
		  OR OLD.floor IS NULL AND NEW.floor IS NOT NULL OR OLD.ceiling IS NULL AND NEW.ceiling IS NOT NULL)
	EXECUTE FUNCTION payledger.announce_restriction('wait');
CREATE OR REPLACE TRIGGER announce_closing
	AFTER UPDATE ON payledger.ledgers FOR EACH ROW
	WHEN (NEW.closed_before > coalesce(OLD.closed_before, '-infinity'))
	EXECUTE FUNCTION payledger.announce_restriction('wait');
CREATE OR REPLACE TRIGGER announce_reopening
	AFTER UPDATE ON payledger.ledgers FOR EACH ROW
	WHEN (OLD.closed_before > coalesce(NEW.closed_before, '-infinity'))
	EXECUTE FUNCTION payledger.announce_restriction();
ALTER TABLE payledger.accounts ENABLE ALWAYS TRIGGER announce_restriction;
ALTER TABLE payledger.ledgers ENABLE ALWAYS TRIGGER announce_closing;
ALTER TABLE payledger.ledgers ENABLE ALWAYS TRIGGER announce_reopening;

/* a hold has states; it stays what was asked for and is never taken away */
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.holds FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('hold', 'hold_id', 'account_id');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.holds FOR EACH ROW
	WHEN ((OLD.amount, OLD.reference, OLD.created_at) IS DISTINCT FROM (NEW.amount, NEW.reference, NEW.created_at)
		  OR NEW.committed_amount < OLD.committed_amount
		  OR OLD.status <> 'ACTIVE' AND NEW.committed_amount <> OLD.committed_amount)
	EXECUTE FUNCTION payledger.refuse_change('Release the hold and place another one.');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.holds FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Release the hold.');
ALTER TABLE payledger.holds ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.holds ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.holds ENABLE ALWAYS TRIGGER refuse_delete;

/* what accounts and closed months rest on */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.account_types FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('A type of accounts stays in the chart.');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.account_types FOR EACH ROW
	WHEN ((OLD.account_type, OLD.category, OLD.normal_side) IS DISTINCT FROM (NEW.account_type, NEW.category, NEW.normal_side))
	EXECUTE FUNCTION payledger.refuse_change('Add another account type: backends remember the side of their accounts.');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.ledgers FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('A ledger is kept for good.');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.ledgers FOR EACH ROW
	WHEN (OLD.ledger IS DISTINCT FROM NEW.ledger
		  OR OLD.time_zone IS DISTINCT FROM NEW.time_zone AND OLD.closed_before IS NOT NULL)
	EXECUTE FUNCTION payledger.refuse_change('Reopen its months before its time zone is changed; add another ledger instead of renaming it.');
ALTER TABLE payledger.account_types ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.account_types ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.ledgers ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.ledgers ENABLE ALWAYS TRIGGER refuse_identity_change;

/* closed months keep their balances and their history */
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.periods FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Reopen the month with payledger.reopen_period().');
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.period_events FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER check_insert
	AFTER INSERT ON payledger.closing_balances REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.check_closing_balances();
CREATE OR REPLACE TRIGGER check_delete
	AFTER DELETE ON payledger.closing_balances REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.check_closing_balances();
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR TRUNCATE ON payledger.closing_balances FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Reopen the month with payledger.reopen_period() and close it again.');
ALTER TABLE payledger.periods ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.period_events ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE payledger.closing_balances ENABLE ALWAYS TRIGGER check_insert;
ALTER TABLE payledger.closing_balances ENABLE ALWAYS TRIGGER check_delete;
ALTER TABLE payledger.closing_balances ENABLE ALWAYS TRIGGER refuse_change;

CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.conversions FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Reverse its entry with payledger.reverse_entry().');
ALTER TABLE payledger.conversions ENABLE ALWAYS TRIGGER refuse_change;
