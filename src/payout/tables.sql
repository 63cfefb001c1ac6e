/* src/payout/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.payout_status AS ENUM ('REQUESTED', 'IN_TRANSIT', 'PAID', 'FAILED', 'RETURNED');

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
