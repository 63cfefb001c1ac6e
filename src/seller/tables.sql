/* src/seller/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.seller_status AS ENUM ('ACTIVE', 'SUSPENDED', 'CLOSED');
CREATE TYPE payledger.commission_refund AS ENUM ('none', 'pro_rata', 'all');
CREATE TYPE payledger.payout_schedule AS ENUM ('manual', 'daily', 'weekly', 'monthly');
CREATE TYPE payledger.funds_availability AS ENUM ('settlement', 'capture');
CREATE TYPE payledger.negative_balance_policy AS ENUM ('recoup', 'reserve', 'write_off');

CREATE TABLE payledger.sellers (
	seller_id			text NOT NULL CHECK (seller_id ~ '^[A-Za-z0-9][A-Za-z0-9_:-]{0,63}$'),
	currency			text NOT NULL,
	status				payledger.seller_status NOT NULL DEFAULT 'ACTIVE',
	created_at			timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (seller_id, currency)
);
COMMENT ON TABLE payledger.sellers IS
'A seller sells in one or more currencies, one row for each. What the platform keeps is in payledger.commission_rules, how it is paid out in payledger.payout_terms, what is withheld in payledger.reserve_terms.';

CREATE TABLE payledger.commission_rules (
	commission_rule_id	bigint PRIMARY KEY,
	seller_id			text NOT NULL,
	currency			text NOT NULL,
	valid_from			timestamptz NOT NULL,
	commission_bps		int NOT NULL DEFAULT 0 CHECK (commission_bps BETWEEN 0 AND 10000),
	commission_fixed	bigint NOT NULL DEFAULT 0 CHECK (commission_fixed >= 0),
	minimum				bigint NOT NULL DEFAULT 0 CHECK (minimum >= 0),
	maximum				bigint CHECK (maximum >= minimum),
	tiers				jsonb,
	refund_policy		payledger.commission_refund NOT NULL DEFAULT 'pro_rata',
	seller_pays_psp_fee	boolean NOT NULL DEFAULT false,
	created_at			timestamptz NOT NULL DEFAULT now(),
	UNIQUE (seller_id, currency, valid_from)
);
COMMENT ON TABLE payledger.commission_rules IS
'Append-only: what the platform keeps of a seller''s captures from valid_from on, until the next rule: commission_bps hundredths of a per cent, rounded half up, plus commission_fixed, at least minimum, at most maximum, never more than the capture; minor units. The COMMISSION_FEE entry names the rule it used. Add one with payledger.add_commission_rule().';
COMMENT ON COLUMN payledger.commission_rules.tiers IS 'array of {"from_volume": minor units, "bps": n}, ascending: bps that replaces commission_bps once the seller has captured as much in the month (of ledger MAIN''s time zone) before; null: none';
COMMENT ON COLUMN payledger.commission_rules.refund_policy IS 'what a refund gives back of the commission: none of it, its share, or all of it with the first refund';
COMMENT ON COLUMN payledger.commission_rules.seller_pays_psp_fee IS 'the PSP''s fee for a capture is charged to the seller when it is settled; otherwise the platform bears it';

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
