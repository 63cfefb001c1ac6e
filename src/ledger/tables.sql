/* src/ledger/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.account_category AS ENUM ('ASSET', 'LIABILITY', 'EQUITY', 'REVENUE', 'EXPENSE');
CREATE TYPE payledger.normal_side AS ENUM ('DEBIT', 'CREDIT');
CREATE TYPE payledger.account_status AS ENUM ('ACTIVE', 'SUSPENDED', 'CLOSED');

CREATE TABLE payledger.account_types (
	account_type	text PRIMARY KEY CHECK (account_type ~ '^[A-Z][A-Z0-9_]{0,62}$'),
	category		payledger.account_category NOT NULL,
	normal_side		payledger.normal_side NOT NULL,
	description		text NOT NULL
);
COMMENT ON TABLE payledger.account_types IS
'The chart of account types: category and normal side of the accounts of each type.';

INSERT INTO payledger.account_types VALUES
	('PLATFORM_CASH', 'ASSET', 'DEBIT', 'cash of the platform at its bank'),
	('PSP_RECEIVABLES', 'ASSET', 'DEBIT', 'captured, not yet settled by the PSP'),
	('AUTH_RECEIVABLE', 'ASSET', 'DEBIT', 'authorized, not yet captured'),
	('FX_CLEARING', 'ASSET', 'DEBIT', 'open legs of currency conversions'),
	('AUTH_LIABILITY', 'LIABILITY', 'CREDIT', 'counterpart of AUTH_RECEIVABLE'),
	('MERCHANT_PAYABLE', 'LIABILITY', 'CREDIT', 'owed to a seller'),
	('MERCHANT_RESERVE', 'LIABILITY', 'CREDIT', 'withheld from a seller'),
	('REFUND_CLEARING', 'LIABILITY', 'CREDIT', 'refunds under way'),
	('PAYOUT_CLEARING', 'LIABILITY', 'CREDIT', 'payouts under way'),
	('PLATFORM_COMMISSION_REVENUE', 'REVENUE', 'CREDIT', 'commission earned from sellers'),
	('PSP_FEE_EXPENSE', 'EXPENSE', 'DEBIT', 'fees of PSPs'),
	('INTERCHANGE_FEES', 'EXPENSE', 'DEBIT', 'interchange'),
	('SCHEME_FEES', 'EXPENSE', 'DEBIT', 'card scheme fees'),
	('BANK_FEES', 'EXPENSE', 'DEBIT', 'bank fees'),
	('WRITE_OFF_EXPENSE', 'EXPENSE', 'DEBIT', 'balances given up');

CREATE TABLE payledger.accounts (
	account_id		bigint PRIMARY KEY,
	account_code	text NOT NULL UNIQUE,
	account_type	text NOT NULL REFERENCES payledger.account_types,
	entity_id		text NOT NULL,
	currency		text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
	status			payledger.account_status NOT NULL DEFAULT 'ACTIVE',
	opened_at		timestamptz NOT NULL DEFAULT now(),
	CHECK (account_code = account_type || '.' || entity_id || '.' || currency)
);
/* asked for every posting, so it should stay small */
CREATE INDEX accounts_inactive ON payledger.accounts (account_id) WHERE status <> 'ACTIVE';
COMMENT ON TABLE payledger.accounts IS
'One account of one type, entity and currency. Never deleted; type, entity and currency never change.';

CREATE TABLE payledger.journal_entries (
	journal_entry_id bigint PRIMARY KEY,
	entry_type		text NOT NULL,
	payment_id		bigint,
	reference		text,
	reverses		bigint,
	recorded_at		timestamptz NOT NULL,
	effective_at	timestamptz NOT NULL,
	metadata		jsonb,
	transaction_no	bigint NOT NULL
);
/* partial, because most entries of an own ledger have neither */
CREATE UNIQUE INDEX journal_entries_reference ON payledger.journal_entries (reference) WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX journal_entries_reverses ON payledger.journal_entries (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX journal_entries_payment ON payledger.journal_entries (payment_id) WHERE payment_id IS NOT NULL;
/* finds the entries of a snapshot window, and through the key their postings */
CREATE INDEX journal_entries_transaction ON payledger.journal_entries (transaction_no);
COMMENT ON TABLE payledger.journal_entries IS
'Append-only: one row for each balanced entry. Its postings net to zero in every currency. A correction is a new entry that names the one it reverses.';
COMMENT ON COLUMN payledger.journal_entries.reference IS 'makes a post idempotent: unique over the ledger';
COMMENT ON COLUMN payledger.journal_entries.reverses IS 'the entry of which this is the mirror; unique, so nothing is reversed twice';
COMMENT ON COLUMN payledger.journal_entries.recorded_at IS 'when the entry was written (transaction time)';
COMMENT ON COLUMN payledger.journal_entries.effective_at IS 'when it took effect for the books';
COMMENT ON COLUMN payledger.journal_entries.transaction_no IS 'incarnation * 2^48 + transaction id: places the row in a snapshot window';

/*
 * No foreign key to accounts: it would take a share lock on the account row
 * that every payment touches.  The posting function resolves the account, the
 * statement trigger resolves it again, verify() checks it.
 */
CREATE TABLE payledger.postings (
	journal_entry_id bigint NOT NULL,
	leg				smallint NOT NULL CHECK (leg > 0),
	account_id		bigint NOT NULL,
	amount			bigint NOT NULL CHECK (amount <> 0),
	transaction_no	bigint NOT NULL,
	PRIMARY KEY (journal_entry_id, leg)
);
CREATE INDEX postings_account ON payledger.postings (account_id, transaction_no);
COMMENT ON TABLE payledger.postings IS
'Append-only: the legs of the entries. amount is in minor units of the account''s currency, debit positive, credit negative.';

/*
 * balance = folded balance + the postings that the fold's snapshot did not
 * see.  Written by the keeper alone; a reader takes both tables in one
 * snapshot and so is exact without a lock.  numeric, so that no sum of bigint
 * amounts can stop the folding of all other accounts.
 */
CREATE TABLE payledger.balance_snapshots (
	account_id	bigint PRIMARY KEY,
	balance		numeric NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE payledger.balance_snapshots IS
'Sum of the postings of each account that the newest fold has seen; minor units, debit positive. Use payledger.balance() or payledger.account_balances, which add the postings since.';

CREATE TABLE payledger.folds (
	fold_no		bigint PRIMARY KEY,
	folded_at	timestamptz NOT NULL DEFAULT now(),
	snapshot_xmax bigint NOT NULL,
	snapshot_xip bigint[] NOT NULL,
	postings	bigint NOT NULL
);
COMMENT ON TABLE payledger.folds IS
'One row for each fold of postings into balance_snapshots. A posting is folded if its transaction_no is below snapshot_xmax and not in snapshot_xip of the newest fold.';
COMMENT ON COLUMN payledger.folds.postings IS 'postings that this fold added; 0 for the empty one that setup() begins with';

/* The whole past is empty, so an empty snapshot starts the first window. */
INSERT INTO payledger.folds (fold_no, snapshot_xmax, snapshot_xip, postings) VALUES (0, 0, '{}', 0);
