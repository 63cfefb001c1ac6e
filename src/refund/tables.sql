/* src/refund/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.refund_status AS ENUM ('REQUESTED', 'PENDING', 'SUCCEEDED', 'FAILED');

CREATE TABLE payledger.refunds (
	refund_id		bigint NOT NULL,
	payment_id		bigint NOT NULL,
	payment_order_id bigint NOT NULL,
	seller_id		text NOT NULL,
	amount			bigint NOT NULL CHECK (amount > 0),
	currency		text NOT NULL,
	commission_amount bigint NOT NULL DEFAULT 0 CHECK (commission_amount >= 0),
	reason			text,
	status			payledger.refund_status NOT NULL,
	failure_code	text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	PRIMARY KEY (payment_id, refund_id)
);
CREATE INDEX refunds_id ON payledger.refunds (refund_id);
COMMENT ON TABLE payledger.refunds IS
'Money given back to the shopper after the capture, for one payment order; minor units. The funds are reserved in REFUND_CLEARING from the request on.';
COMMENT ON COLUMN payledger.refunds.commission_amount IS 'commission that was given back to the seller with it';
COMMENT ON COLUMN payledger.refunds.failure_code IS 'why it failed: the PSP''s code, or disputed if a dispute withdrew it before it was sent';
