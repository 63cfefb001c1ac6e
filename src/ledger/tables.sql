/* src/ledger/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.account_category AS ENUM ('ASSET', 'LIABILITY', 'EQUITY', 'REVENUE', 'EXPENSE');
CREATE TYPE payledger.normal_side AS ENUM ('DEBIT', 'CREDIT');
CREATE TYPE payledger.account_status AS ENUM ('ACTIVE', 'SUSPENDED', 'CLOSED');
CREATE TYPE payledger.hold_status AS ENUM ('ACTIVE', 'COMMITTED', 'RELEASED', 'EXPIRED');

/* ---- the chart of accounts ---- */

CREATE TABLE payledger.account_types (
	account_type	text PRIMARY KEY CHECK (account_type ~ '^[A-Z][A-Z0-9_]{0,62}$'),
	category		payledger.account_category NOT NULL,
	normal_side		payledger.normal_side NOT NULL,
	description		text NOT NULL
);
COMMENT ON TABLE payledger.account_types IS
'The chart of account types: category and normal side of the accounts of each type. Extend it with payledger.add_account_type().';

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
	('SETTLEMENT_SUSPENSE', 'LIABILITY', 'CREDIT', 'settled by a PSP and not explained yet'),
	('RETAINED_EARNINGS', 'EQUITY', 'CREDIT', 'earnings of closed years'),
	('PLATFORM_COMMISSION_REVENUE', 'REVENUE', 'CREDIT', 'commission earned from sellers'),
	('FX_GAIN_LOSS', 'REVENUE', 'CREDIT', 'gains and losses of currency conversions'),
	('PSP_FEE_EXPENSE', 'EXPENSE', 'DEBIT', 'fees of PSPs'),
	('INTERCHANGE_FEES', 'EXPENSE', 'DEBIT', 'interchange'),
	('SCHEME_FEES', 'EXPENSE', 'DEBIT', 'card scheme fees'),
	('BANK_FEES', 'EXPENSE', 'DEBIT', 'bank fees'),
	('CHARGEBACK_EXPENSE', 'EXPENSE', 'DEBIT', 'chargebacks that the platform bears'),
	('WRITE_OFF_EXPENSE', 'EXPENSE', 'DEBIT', 'balances given up');

CREATE TABLE payledger.ledgers (
	ledger			text PRIMARY KEY CHECK (ledger ~ '^[A-Z][A-Z0-9_]{0,62}$'),
	description		text NOT NULL,
	time_zone		text NOT NULL DEFAULT 'UTC',
	closed_before	timestamptz
);
COMMENT ON TABLE payledger.ledgers IS
'The books of one legal entity each. Every account belongs to one, every entry nets to zero in each, and their months are closed one by one. Accounts of the payment flow are in MAIN. Add one with payledger.add_ledger().';
COMMENT ON COLUMN payledger.ledgers.time_zone IS 'in which its months begin and end';
COMMENT ON COLUMN payledger.ledgers.closed_before IS 'no entry may take effect before this; null: no month is closed. Set by payledger.close_period() and reopen_period()';

INSERT INTO payledger.ledgers (ledger, description) VALUES ('MAIN', 'the marketplace');

/* held changes with every hold, so HOT updates need room */
CREATE TABLE payledger.accounts (
	account_id		bigint PRIMARY KEY,
	account_code	text NOT NULL UNIQUE,
	account_type	text NOT NULL REFERENCES payledger.account_types,
	entity_id		text NOT NULL,
	currency		text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
	ledger			text NOT NULL DEFAULT 'MAIN' REFERENCES payledger.ledgers,
	status			payledger.account_status NOT NULL DEFAULT 'ACTIVE',
	floor			bigint,
	ceiling			bigint,
	held			bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
	metadata		jsonb,
	opened_at		timestamptz NOT NULL DEFAULT now(),
	CHECK (account_code = account_type || '.' || entity_id || '.' || currency),
	CHECK (floor <= ceiling)
) WITH (fillfactor = 80);
/* asked for every batch of entries, so it should stay small */
CREATE INDEX accounts_restricted ON payledger.accounts (account_id)
	WHERE status <> 'ACTIVE' OR floor IS NOT NULL OR ceiling IS NOT NULL;
COMMENT ON TABLE payledger.accounts IS
'One account of one type, entity and currency. Never deleted; type, entity, currency and ledger never change. Dots in entity_id make sub-accounts.';
COMMENT ON COLUMN payledger.accounts.floor IS 'the balance less what is held may not go below it by a post or a hold; minor units, on the account''s normal side; null: no limit';
COMMENT ON COLUMN payledger.accounts.ceiling IS 'the balance may not go above it by a post; minor units, on the account''s normal side; null: no limit';
COMMENT ON COLUMN payledger.accounts.held IS 'sum of what its ACTIVE holds still reserve; minor units';

/* ---- the journal ---- */

CREATE TABLE payledger.journal_entries (
	journal_entry_id bigint PRIMARY KEY,
	recorded_at		timestamptz NOT NULL,
	effective_at	timestamptz NOT NULL,
	payment_id		bigint,
	reverses		bigint,
	entry_type		text NOT NULL,
	reference		text,
	metadata		jsonb
);
/* partial, because most entries of an own ledger have none of them */
CREATE UNIQUE INDEX journal_entries_reference ON payledger.journal_entries (reference) WHERE reference IS NOT NULL;
CREATE INDEX journal_entries_reverses ON payledger.journal_entries (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX journal_entries_payment ON payledger.journal_entries (payment_id) WHERE payment_id IS NOT NULL;
COMMENT ON TABLE payledger.journal_entries IS
'Append-only: one row for each balanced entry. Its postings net to zero in every ledger and currency. A correction is a new entry that names the one it reverses.';
COMMENT ON COLUMN payledger.journal_entries.reference IS 'makes a post idempotent: unique over all ledgers';
COMMENT ON COLUMN payledger.journal_entries.reverses IS 'the entry of which this takes back the whole or a part';
COMMENT ON COLUMN payledger.journal_entries.recorded_at IS 'when the entry was written: the time within journal_entry_id, in milliseconds';
COMMENT ON COLUMN payledger.journal_entries.effective_at IS 'when it took effect for the books; recorded_at unless the caller said otherwise';

/*
 * No foreign key to accounts: it would take a share lock on the account row
 * that every payment touches.  The posting function resolves the account, the
 * statement trigger resolves it again, verify() checks it.  The wide columns
 * come first: a padded row would be 8 bytes longer.  No CHECK constraints
 * either, which are parsed for every statement: the trigger knows.
 */
CREATE TABLE payledger.postings (
	journal_entry_id bigint NOT NULL,
	account_id		bigint NOT NULL,
	amount			bigint NOT NULL,
	transaction_no	bigint NOT NULL,
	leg				smallint NOT NULL,
	PRIMARY KEY (journal_entry_id, leg)
);
CREATE INDEX postings_account ON payledger.postings (account_id, transaction_no);
COMMENT ON TABLE payledger.postings IS
'Append-only: the legs of the entries. amount is in minor units of the account''s currency, debit positive, credit negative.';
COMMENT ON COLUMN payledger.postings.transaction_no IS 'incarnation * 2^48 + transaction id: places the row in a snapshot window. Assigned before journal_entry_id is drawn';

/*
 * Balances by effective time are balances by recorded time, but for the
 * entries whose two times differ.  For each posting of such an entry there are
 * two shifts: its amount at the effective time, its opposite at the recorded.
 */
CREATE TABLE payledger.effective_shifts (
	account_id		bigint NOT NULL,
	at				timestamptz NOT NULL,
	amount			bigint NOT NULL,
	transaction_no	bigint NOT NULL,
	journal_entry_id bigint NOT NULL,
	leg				smallint NOT NULL,
	PRIMARY KEY (journal_entry_id, leg, at)
);
CREATE INDEX effective_shifts_at ON payledger.effective_shifts (account_id, at);
CREATE INDEX effective_shifts_transaction ON payledger.effective_shifts (account_id, transaction_no);
COMMENT ON TABLE payledger.effective_shifts IS
'Append-only: what has to be added to the balance by recorded time to give the balance by effective time: sum(amount) of the account''s rows with at <= the effective time asked for. Minor units, debit positive.';

/* ---- what the keeper derives ---- */

/*
 * balance = folded balance + the postings that the newest fold did not see.
 * Written by folding alone; a reader takes both tables in one snapshot and so
 * is exact without a lock.  numeric, so that no sum of bigint amounts can stop
 * the folding of all other accounts.
 */
CREATE TABLE payledger.balance_snapshots (
	account_id	bigint PRIMARY KEY,
	balance		numeric NOT NULL,
	postings	bigint NOT NULL,
	checkpointed bigint NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE payledger.balance_snapshots IS
'Sum of the postings of each account that the newest fold has seen; minor units, debit positive. Use payledger.balance() or payledger.account_balances, which add the postings since.';
COMMENT ON COLUMN payledger.balance_snapshots.postings IS 'number of postings in the balance';
COMMENT ON COLUMN payledger.balance_snapshots.checkpointed IS 'of which the newest row of balance_checkpoints has as many';

CREATE TABLE payledger.balance_checkpoints (
	account_id	bigint NOT NULL,
	fold_no		bigint NOT NULL,
	balance		numeric NOT NULL,
	PRIMARY KEY (account_id, fold_no)
);
COMMENT ON TABLE payledger.balance_checkpoints IS
'Balance of an account as a fold left it, kept each time some thousand postings were added, so that a past balance is found without reading the account''s history; minor units, debit positive.';

CREATE TABLE payledger.effective_shift_totals (
	account_id	bigint NOT NULL,
	level		smallint NOT NULL,
	block		bigint NOT NULL,
	amount		numeric NOT NULL,
	PRIMARY KEY (account_id, level, block)
) WITH (fillfactor = 70);
COMMENT ON TABLE payledger.effective_shift_totals IS
'Folded sums of effective_shifts over blocks of time, finest at level 0; minor units, debit positive.';

CREATE TABLE payledger.folds (
	fold_no		bigint PRIMARY KEY,
	folded_at	timestamptz NOT NULL DEFAULT now(),
	snapshot_xmax bigint NOT NULL,
	snapshot_xip bigint[] NOT NULL,
	xip_after	bigint[] NOT NULL,
	xmax_after	bigint NOT NULL,
	unseen_after bigint NOT NULL,
	newest_id	bigint NOT NULL,
	postings	bigint NOT NULL
);
CREATE INDEX folds_xmax_after ON payledger.folds (xmax_after, fold_no);
CREATE INDEX folds_newest_id ON payledger.folds (newest_id, fold_no);
COMMENT ON TABLE payledger.folds IS
'Append-only: one row for each fold of postings into balance_snapshots. A posting is folded if its transaction_no is below snapshot_xmax and not in snapshot_xip of the newest fold.';
COMMENT ON COLUMN payledger.folds.xmax_after IS 'entries of transactions with a number of snapshot_xmax or above have a higher id';
COMMENT ON COLUMN payledger.folds.xip_after IS 'entries of the transaction at the same place of snapshot_xip have a higher id';
COMMENT ON COLUMN payledger.folds.unseen_after IS 'the lowest of xmax_after and xip_after';
COMMENT ON COLUMN payledger.folds.newest_id IS 'no folded entry has a higher id';
COMMENT ON COLUMN payledger.folds.postings IS 'postings that this fold added; 0 for the empty one that setup() begins with';

/* The whole past is empty, so an empty snapshot starts the first window. */
INSERT INTO payledger.folds (fold_no, snapshot_xmax, snapshot_xip, xip_after, xmax_after, unseen_after, newest_id, postings)
VALUES (0, 0, '{}', '{}', 0, 0, 0, 0);

CREATE TABLE payledger.seals (
	seal_no		bigint PRIMARY KEY,
	fold_no		bigint NOT NULL,
	sealed_at	timestamptz NOT NULL,
	entries		int NOT NULL CHECK (entries > 0),
	digests		bytea NOT NULL CHECK (length(digests) = entries * 24),
	accounts	bytea NOT NULL CHECK (length(accounts) % 24 = 0),
	sha256		bytea NOT NULL CHECK (length(sha256) = 32)
);
/* digests do not compress */
ALTER TABLE payledger.seals ALTER COLUMN digests SET STORAGE EXTERNAL, ALTER COLUMN accounts SET STORAGE EXTERNAL;
CREATE INDEX seals_fold ON payledger.seals (fold_no, seal_no);
COMMENT ON TABLE payledger.seals IS
'Append-only: the entries of each folded window with a digest each, and a SHA-256 over them chained to the previous seal. payledger.verify(deep => true) compares them with the journal. A copy of the newest sha256 kept elsewhere proves all before it.';
COMMENT ON COLUMN payledger.seals.digests IS 'for each entry, in the order of their ids: journal_entry_id in 8 bytes, big-endian, and the first 16 bytes of the SHA-256 over the entry and its postings';
COMMENT ON COLUMN payledger.seals.accounts IS 'for each account that got its first posting, likewise: account_id and the first 16 bytes of the SHA-256 over what of it never changes; see payledger.account_digests()';
COMMENT ON COLUMN payledger.seals.sha256 IS 'SHA-256 over the previous seal''s sha256 (nothing for the first), seal_no, fold_no and sealed_at (microseconds since 2000-01-01 UTC) in 8 bytes each, entries in 4, big-endian, digests and accounts';

/* ---- holds ---- */

CREATE TABLE payledger.holds (
	hold_id		bigint PRIMARY KEY,
	account_id	bigint NOT NULL,
	amount		bigint NOT NULL CHECK (amount > 0),
	committed_amount bigint NOT NULL DEFAULT 0 CHECK (committed_amount BETWEEN 0 AND amount),
	status		payledger.hold_status NOT NULL DEFAULT 'ACTIVE',
	expires_at	timestamptz,
	reference	text UNIQUE,
	metadata	jsonb,
	created_at	timestamptz NOT NULL,
	updated_at	timestamptz NOT NULL
);
CREATE INDEX holds_active ON payledger.holds (account_id) WHERE status = 'ACTIVE';
CREATE INDEX holds_expiring ON payledger.holds (expires_at) WHERE status = 'ACTIVE' AND expires_at IS NOT NULL;
COMMENT ON TABLE payledger.holds IS
'Funds of an account reserved for a later entry: amount less committed_amount is not available while the hold is ACTIVE. Minor units of the account''s currency.';

/* ---- periods ---- */

CREATE TABLE payledger.periods (
	ledger		text NOT NULL REFERENCES payledger.ledgers,
	month		date NOT NULL CHECK (extract(day FROM month) = 1),
	starts_at	timestamptz NOT NULL,
	ends_at		timestamptz NOT NULL,
	is_closed	boolean NOT NULL,
	has_balances boolean NOT NULL DEFAULT false,
	PRIMARY KEY (ledger, month)
);
COMMENT ON TABLE payledger.periods IS
'The months of a ledger that have ever been closed, from starts_at up to but not including ends_at in the ledger''s time zone.';

CREATE TABLE payledger.period_events (
	period_event_id bigint PRIMARY KEY,
	ledger		text NOT NULL,
	month		date NOT NULL,
	event		text NOT NULL CHECK (event IN ('CLOSED', 'REOPENED')),
	at			timestamptz NOT NULL,
	actor		text NOT NULL,
	reason		text
);
COMMENT ON TABLE payledger.period_events IS
'Append-only: who closed and reopened which month, when and why.';

CREATE TABLE payledger.closing_balances (
	ledger		text NOT NULL,
	month		date NOT NULL,
	account_id	bigint NOT NULL,
	balance		numeric NOT NULL,
	PRIMARY KEY (ledger, month, account_id),
	FOREIGN KEY (ledger, month) REFERENCES payledger.periods
);
COMMENT ON TABLE payledger.closing_balances IS
'Balance of each account of a closed month at its end, by effective time; minor units, debit positive. Accounts with a balance of zero are left out.';

/* ---- currency conversions ---- */

CREATE TABLE payledger.conversions (
	journal_entry_id bigint PRIMARY KEY,
	debit_currency	text NOT NULL,
	debit_amount	bigint NOT NULL CHECK (debit_amount > 0),
	credit_currency	text NOT NULL,
	credit_amount	bigint NOT NULL CHECK (credit_amount > 0),
	rate			numeric NOT NULL CHECK (rate > 0)
);
COMMENT ON TABLE payledger.conversions IS
'Append-only: the rate of each FX_CONVERSION entry. rate is the price of one unit of debit_currency in units of credit_currency; amounts are minor units.';
