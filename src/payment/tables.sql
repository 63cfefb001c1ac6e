/*
 * src/payment/tables.sql: created once by payledger.setup()
 *
 * The tables of the hot path carry no CHECK constraints: the trigger
 * check_totals holds their rules at a fraction of the cost.
 */

CREATE TYPE payledger.capture_method AS ENUM ('automatic', 'manual');
CREATE TYPE payledger.payment_intent_status AS ENUM
	('CREATED_PENDING', 'CREATED', 'PENDING_AUTH', 'REQUIRES_ACTION', 'AUTHORIZED', 'DECLINED', 'CANCELLED');
CREATE TYPE payledger.payment_status AS ENUM
	('NOT_CAPTURED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED', 'VOIDED');
CREATE TYPE payledger.payment_order_status AS ENUM
	('INITIATED_PENDING', 'CAPTURE_REQUESTED', 'PENDING_CAPTURE', 'CAPTURED', 'CAPTURE_FAILED',
	 'PARTIALLY_REFUNDED', 'REFUNDED', 'CANCELLED');

CREATE TABLE payledger.payment_intents (
	payment_intent_id bigint PRIMARY KEY,
	order_id		text NOT NULL,
	buyer_id		text NOT NULL,
	currency		text NOT NULL,
	total_amount	bigint NOT NULL,
	lines			jsonb NOT NULL,
	status			payledger.payment_intent_status NOT NULL,
	capture_method	payledger.capture_method NOT NULL,
	gateway			text NOT NULL,
	routing_rule_id	bigint,
	psp_reference	text,
	next_action		jsonb,
	decline_code	text,
	metadata		jsonb NOT NULL DEFAULT '{}',
	event_version	bigint NOT NULL,
	traceparent		text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX payment_intents_order ON payledger.payment_intents (order_id);
COMMENT ON TABLE payledger.payment_intents IS
'What a shopper means to pay: one intent for goods of one or more sellers. Amounts in minor units of currency.';
COMMENT ON COLUMN payledger.payment_intents.lines IS 'one element a seller: {"seller_id": ..., "amount": minor units}';
COMMENT ON COLUMN payledger.payment_intents.gateway IS 'where it is authorized; another one once that failed over';
COMMENT ON COLUMN payledger.payment_intents.routing_rule_id IS 'rule of payledger.routing_rules that chose the gateway; null: its caller named one, or it is the default';
COMMENT ON COLUMN payledger.payment_intents.next_action IS 'what the shopper has to do while REQUIRES_ACTION, as the PSP said it';
COMMENT ON COLUMN payledger.payment_intents.event_version IS 'version of the newest event of this intent; the payment goes on counting';

CREATE TABLE payledger.payments (
	payment_id		bigint PRIMARY KEY,
	order_id		text NOT NULL,
	buyer_id		text NOT NULL,
	currency		text NOT NULL,
	total_amount	bigint NOT NULL,
	captured_amount	bigint NOT NULL DEFAULT 0,
	refunded_amount	bigint NOT NULL DEFAULT 0,
	voided_amount	bigint NOT NULL DEFAULT 0,
	status			payledger.payment_status NOT NULL DEFAULT 'NOT_CAPTURED',
	gateway			text NOT NULL,
	psp_reference	text,
	authorization_expires_at timestamptz,
	event_version	bigint NOT NULL,
	traceparent		text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX payments_expiring ON payledger.payments (authorization_expires_at) WHERE authorization_expires_at IS NOT NULL;
CREATE INDEX payments_order ON payledger.payments (order_id);
CREATE INDEX payments_psp_reference ON payledger.payments USING hash (psp_reference);
COMMENT ON TABLE payledger.payments IS
'An authorized intent. payment_id is the intent''s id. status is always what the totals say.';
COMMENT ON COLUMN payledger.payments.voided_amount IS 'part of total_amount that was given back to the shopper uncaptured, minor units';
COMMENT ON COLUMN payledger.payments.authorization_expires_at IS 'when the PSP lets the authorization expire; null unless captures are asked for by hand, and once that was dealt with';

CREATE TABLE payledger.payment_orders (
	payment_order_id bigint NOT NULL,
	payment_id		bigint NOT NULL,
	seller_id		text NOT NULL,
	currency		text NOT NULL,
	amount			bigint NOT NULL,
	captured_amount	bigint NOT NULL DEFAULT 0,
	refunded_amount	bigint NOT NULL DEFAULT 0,
	capture_pending_amount bigint NOT NULL DEFAULT 0,
	voided_amount	bigint NOT NULL DEFAULT 0,
	refund_pending_amount bigint NOT NULL DEFAULT 0,
	disputed_amount	bigint NOT NULL DEFAULT 0,
	commission_amount bigint NOT NULL DEFAULT 0,
	commission_refunded_amount bigint NOT NULL DEFAULT 0,
	commission_rule_id bigint,
	status			payledger.payment_order_status NOT NULL,
	retry_count		int NOT NULL DEFAULT 0,
	failure_code	text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	PRIMARY KEY (payment_id, payment_order_id)
) WITH (fillfactor = 60);
CREATE INDEX payment_orders_id ON payledger.payment_orders (payment_order_id);
CREATE INDEX payment_orders_seller ON payledger.payment_orders (seller_id, payment_order_id);
COMMENT ON TABLE payledger.payment_orders IS
'The part of a payment that belongs to one seller. Amounts in minor units.';
COMMENT ON COLUMN payledger.payment_orders.capture_pending_amount IS 'asked to be captured, not decided yet';
COMMENT ON COLUMN payledger.payment_orders.voided_amount IS 'given back to the shopper uncaptured; amount less this, what is captured and what is pending can still be captured';
COMMENT ON COLUMN payledger.payment_orders.refund_pending_amount IS 'asked to be refunded, not decided yet';
COMMENT ON COLUMN payledger.payment_orders.disputed_amount IS 'charged back by disputes that are not WON; may be above what was captured';
COMMENT ON COLUMN payledger.payment_orders.commission_amount IS 'commission taken for what is captured';
COMMENT ON COLUMN payledger.payment_orders.commission_refunded_amount IS 'part of it that refunds gave back';
COMMENT ON COLUMN payledger.payment_orders.commission_rule_id IS 'rule of payledger.commission_rules that its newest capture used';

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
