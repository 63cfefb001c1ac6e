/* src/dispute/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.dispute_status AS ENUM ('NEEDS_RESPONSE', 'UNDER_REVIEW', 'WON', 'LOST');

CREATE TABLE payledger.disputes (
	dispute_id		bigint NOT NULL,
	payment_id		bigint NOT NULL,
	payment_order_id bigint NOT NULL,
	seller_id		text NOT NULL,
	gateway			text NOT NULL,
	psp_reference	text NOT NULL,
	amount			bigint NOT NULL CHECK (amount > 0),
	currency		text NOT NULL,
	fee				bigint NOT NULL DEFAULT 0 CHECK (fee >= 0),
	fee_returned	boolean NOT NULL DEFAULT false,
	borne_by_seller	boolean NOT NULL DEFAULT true,
	reason			text,
	status			payledger.dispute_status NOT NULL,
	round			int NOT NULL DEFAULT 1 CHECK (round > 0),
	evidence		jsonb,
	evidence_due_at	timestamptz,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	PRIMARY KEY (payment_id, dispute_id),
	UNIQUE (gateway, psp_reference, payment_order_id)
);
CREATE INDEX disputes_id ON payledger.disputes (dispute_id);
CREATE INDEX disputes_due ON payledger.disputes (evidence_due_at) WHERE status = 'NEEDS_RESPONSE';
COMMENT ON TABLE payledger.disputes IS
'Chargebacks: the PSP took amount back for one payment order, minor units of the payment''s currency. The amount may be above what was captured (the issuer converts). While it is not WON, what it took cannot be refunded as well.';
COMMENT ON COLUMN payledger.disputes.psp_reference IS 'the PSP''s id of the dispute; one that concerns several sellers is a row for each';
COMMENT ON COLUMN payledger.disputes.fee IS 'the PSP''s fee for the dispute, PSP_FEE_EXPENSE of the platform';
COMMENT ON COLUMN payledger.disputes.fee_returned IS 'whether the PSP gave the fee back when the dispute was WON';
COMMENT ON COLUMN payledger.disputes.borne_by_seller IS 'whether the seller bears the loss; otherwise the platform, also if the seller''s account was CLOSED when it was charged back';
COMMENT ON COLUMN payledger.disputes.round IS 'grows each time a decision is overturned';
COMMENT ON COLUMN payledger.disputes.evidence IS 'what was submitted: references and texts, never card data';
