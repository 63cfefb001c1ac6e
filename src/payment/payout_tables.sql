/* src/payment/payout_tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.payout_status AS ENUM ('REQUESTED', 'IN_TRANSIT', 'PAID', 'FAILED', 'RETURNED');
CREATE TYPE payledger.payout_schedule AS ENUM ('manual', 'daily', 'weekly', 'monthly');
CREATE TYPE payledger.funds_availability AS ENUM ('settlement', 'capture');
CREATE TYPE payledger.negative_balance_policy AS ENUM ('recoup', 'reserve', 'write_off');

CREATE TABLE payledger.payout_terms (
	seller_id		text NOT NULL,
	currency		text NOT NULL,
	gateway			text,
	beneficiary		text,
	available_from	payledger.funds_availability NOT NULL DEFAULT 'settlement',
	schedule		payledger.payout_schedule NOT NULL DEFAULT 'manual',
	payout_day		int CHECK (payout_day BETWEEN 1 AND 31),
	cut_off			time NOT NULL DEFAULT '00:00',
	minimum			bigint NOT NULL DEFAULT 0 CHECK (minimum >= 0),
	next_payout_at	timestamptz,
	problem			text,
	updated_at		timestamptz NOT NULL,
	updated_by		text NOT NULL,
	PRIMARY KEY (seller_id, currency),
	CHECK (schedule = 'manual' OR beneficiary IS NOT NULL),
	CHECK ((schedule = 'manual') = (next_payout_at IS NULL)),
	CHECK (CASE schedule WHEN 'weekly' THEN payout_day IS NOT NULL AND payout_day <= 7
						 WHEN 'monthly' THEN payout_day IS NOT NULL ELSE payout_day IS NULL END)
);
CREATE INDEX payout_terms_due ON payledger.payout_terms (next_payout_at) WHERE next_payout_at IS NOT NULL;
COMMENT ON TABLE payledger.payout_terms IS
'How each seller is paid out. Change it with payledger.set_payout_terms().';
COMMENT ON COLUMN payledger.payout_terms.gateway IS 'null: the default gateway';
COMMENT ON COLUMN payledger.payout_terms.beneficiary IS 'the PSP''s token of the seller''s account; never account data';
COMMENT ON COLUMN payledger.payout_terms.available_from IS 'settlement: what is captured can be paid out once a settlement report has cleared it; capture: at once, the platform fronts it';
COMMENT ON COLUMN payledger.payout_terms.payout_day IS 'weekly: ISO day of the week, 1 is Monday; monthly: day of the month, the last one if it is shorter; else null';
COMMENT ON COLUMN payledger.payout_terms.cut_off IS 'time of day, in the time zone of ledger MAIN, from which the available balance is paid out';
COMMENT ON COLUMN payledger.payout_terms.minimum IS 'less than this is not paid out by schedule; minor units';
COMMENT ON COLUMN payledger.payout_terms.next_payout_at IS 'the cut-off at which the keeper pays out next; null: never by itself';
COMMENT ON COLUMN payledger.payout_terms.problem IS 'why the last scheduled payout could not be made; null: nothing was in its way';
COMMENT ON COLUMN payledger.payout_terms.updated_by IS 'who changed the terms last; the keeper''s runs change next_payout_at and problem only';

CREATE TABLE payledger.reserve_terms (
	seller_id		text NOT NULL,
	currency		text NOT NULL,
	reserve_bps		int NOT NULL DEFAULT 0 CHECK (reserve_bps BETWEEN 0 AND 10000),
	reserve_days	int NOT NULL DEFAULT 0 CHECK (reserve_days BETWEEN 0 AND 3650),
	negative_balance payledger.negative_balance_policy NOT NULL DEFAULT 'recoup',
	updated_at		timestamptz NOT NULL,
	updated_by		text NOT NULL,
	PRIMARY KEY (seller_id, currency),
	CHECK (reserve_bps = 0 OR reserve_days > 0)
);
CREATE INDEX reserve_terms_covered ON payledger.reserve_terms (seller_id, currency) WHERE negative_balance <> 'recoup';
COMMENT ON TABLE payledger.reserve_terms IS
'What is withheld from a seller and what happens when its balance is negative. Change it with payledger.set_reserve_terms().';
COMMENT ON COLUMN payledger.reserve_terms.reserve_bps IS 'of each capture this share is withheld, hundredths of a per cent, rounded half up';
COMMENT ON COLUMN payledger.reserve_terms.reserve_days IS 'days of 24 hours after which it is released';
COMMENT ON COLUMN payledger.reserve_terms.negative_balance IS 'recoup: later credits make it up; reserve: it is covered from the reserve first; write_off: what the reserve does not cover is written off';

CREATE TABLE payledger.reserves (
	payment_id		bigint NOT NULL,
	psp_request_id	bigint NOT NULL,
	payment_order_id bigint NOT NULL,
	seller_id		text NOT NULL,
	currency		text NOT NULL,
	amount			bigint NOT NULL CHECK (amount > 0),
	released_amount	bigint NOT NULL DEFAULT 0 CHECK (released_amount BETWEEN 0 AND amount),
	release_at		timestamptz NOT NULL,
	created_at		timestamptz NOT NULL,
	PRIMARY KEY (payment_id, psp_request_id, payment_order_id)
);
CREATE INDEX reserves_held ON payledger.reserves (seller_id, currency, release_at) WHERE released_amount < amount;
CREATE INDEX reserves_due ON payledger.reserves (release_at) WHERE released_amount < amount;
COMMENT ON TABLE payledger.reserves IS
'Rolling reserves: what was withheld of a capture (psp_request_id) for its seller, minor units, and how much of it is released.';

CREATE TABLE payledger.payouts (
	payout_id		bigint PRIMARY KEY,
	seller_id		text NOT NULL,
	currency		text NOT NULL,
	amount			bigint NOT NULL CHECK (amount > 0),
	gateway			text NOT NULL,
	beneficiary		text NOT NULL,
	status			payledger.payout_status NOT NULL,
	reason			text,
	psp_reference	text,
	scheduled_for	timestamptz,
	event_version	bigint NOT NULL,
	traceparent		text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL
);
CREATE INDEX payouts_seller ON payledger.payouts (seller_id, currency, payout_id);
CREATE INDEX payouts_open ON payledger.payouts (seller_id, currency) WHERE status IN ('REQUESTED', 'IN_TRANSIT');
/* no cut-off is paid out twice */
CREATE UNIQUE INDEX payouts_scheduled ON payledger.payouts (seller_id, currency, scheduled_for) WHERE scheduled_for IS NOT NULL;
COMMENT ON TABLE payledger.payouts IS
'Money sent to sellers, minor units. The funds are in PAYOUT_CLEARING from the request until the PSP says what became of it.';
COMMENT ON COLUMN payledger.payouts.reason IS 'why it failed or was returned: the PSP''s code';
COMMENT ON COLUMN payledger.payouts.psp_reference IS 'the PSP''s id of the payout';
COMMENT ON COLUMN payledger.payouts.scheduled_for IS 'the cut-off that it was made for; null: on request';

/* a seller's balances are found by its id */
CREATE INDEX accounts_payable ON payledger.accounts (entity_id, currency) WHERE account_type = 'MERCHANT_PAYABLE';
