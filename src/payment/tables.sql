/*
 * src/payment/tables.sql: created once by payledger.setup()
 *
 * The tables of the hot path carry no CHECK constraints: the trigger
 * check_totals holds their rules at a fraction of the cost.
 */

CREATE TYPE payledger.seller_status AS ENUM ('ACTIVE', 'SUSPENDED', 'CLOSED');
CREATE TYPE payledger.capture_method AS ENUM ('automatic', 'manual');
CREATE TYPE payledger.payment_intent_status AS ENUM
	('CREATED_PENDING', 'CREATED', 'PENDING_AUTH', 'REQUIRES_ACTION', 'AUTHORIZED', 'DECLINED', 'CANCELLED');
CREATE TYPE payledger.payment_status AS ENUM
	('NOT_CAPTURED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED', 'VOIDED');
CREATE TYPE payledger.payment_order_status AS ENUM
	('INITIATED_PENDING', 'CAPTURE_REQUESTED', 'PENDING_CAPTURE', 'CAPTURED', 'CAPTURE_FAILED',
	 'PARTIALLY_REFUNDED', 'REFUNDED', 'CANCELLED');
CREATE TYPE payledger.psp_request_status AS ENUM
	('READY', 'IN_FLIGHT', 'UNKNOWN', 'SUCCEEDED', 'REFUSED', 'PARKED');
CREATE TYPE payledger.psp_operation AS ENUM ('AUTHORIZE', 'CONFIRM', 'CAPTURE', 'CANCEL', 'RETRIEVE');

CREATE TABLE payledger.gateways (
	gateway		text PRIMARY KEY CHECK (gateway ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$'),
	adapter		text NOT NULL,
	options		jsonb NOT NULL DEFAULT '{}',
	is_default	boolean NOT NULL DEFAULT false,
	created_at	timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX gateways_default ON payledger.gateways (is_default) WHERE is_default;
COMMENT ON TABLE payledger.gateways IS
'Accounts at payment service providers. options never hold a secret: those are in the file payledger.gateway_secrets_file names.';

CREATE TABLE payledger.sellers (
	seller_id			text NOT NULL CHECK (seller_id ~ '^[A-Za-z0-9][A-Za-z0-9_:-]{0,63}$'),
	currency			text NOT NULL,
	status				payledger.seller_status NOT NULL DEFAULT 'ACTIVE',
	commission_bps		int NOT NULL DEFAULT 0 CHECK (commission_bps BETWEEN 0 AND 10000),
	commission_fixed	bigint NOT NULL DEFAULT 0 CHECK (commission_fixed >= 0),
	created_at			timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (seller_id, currency)
);
COMMENT ON TABLE payledger.sellers IS
'A seller sells in one or more currencies, one row for each, with the commission that the platform keeps of every capture: commission_bps hundredths of a per cent, rounded half up, plus commission_fixed minor units.';

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
	event_version	bigint NOT NULL,
	traceparent		text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX payments_order ON payledger.payments (order_id);
COMMENT ON TABLE payledger.payments IS
'An authorized intent. payment_id is the intent''s id. status is always what the totals say.';
COMMENT ON COLUMN payledger.payments.voided_amount IS 'part of total_amount that was given back to the shopper uncaptured, minor units';

CREATE TABLE payledger.payment_orders (
	payment_order_id bigint NOT NULL,
	payment_id		bigint NOT NULL,
	seller_id		text NOT NULL,
	currency		text NOT NULL,
	amount			bigint NOT NULL,
	captured_amount	bigint NOT NULL DEFAULT 0,
	refunded_amount	bigint NOT NULL DEFAULT 0,
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

CREATE TABLE payledger.psp_requests (
	psp_request_id	bigint NOT NULL,
	payment_id		bigint NOT NULL,
	gateway			text NOT NULL,
	operation		payledger.psp_operation NOT NULL,
	target			bigint NOT NULL,
	amount			bigint,
	currency		text NOT NULL,
	payment_method	text,
	parameters		jsonb NOT NULL DEFAULT '{}',
	idempotency_key	text NOT NULL,
	status			payledger.psp_request_status NOT NULL,
	attempt			int NOT NULL DEFAULT 0,
	next_attempt_at	timestamptz NOT NULL,
	first_sent_at	timestamptz,
	lease_token		bigint,
	lease_expires_at timestamptz,
	psp_reference	text,
	request_bytes	bytea,
	reply_status	int,
	reply_code		text,
	reply_message	text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	PRIMARY KEY (payment_id, psp_request_id)
) WITH (fillfactor = 60);
CREATE INDEX psp_requests_due ON payledger.psp_requests (gateway, next_attempt_at) WHERE status IN ('READY', 'UNKNOWN');
CREATE INDEX psp_requests_open ON payledger.psp_requests (psp_request_id) WHERE status IN ('IN_FLIGHT', 'UNKNOWN', 'PARKED');
COMMENT ON TABLE payledger.psp_requests IS
'What a gateway was asked to do. The row is written in the commit of the transition that causes it; the gateway worker leases it, commits the exact bytes and the idempotency key, and only then sends.';
COMMENT ON COLUMN payledger.psp_requests.target IS 'the payment intent (AUTHORIZE, CONFIRM, CANCEL, RETRIEVE) or payment order (CAPTURE) it is for';
COMMENT ON COLUMN payledger.psp_requests.amount IS 'minor units of currency';
COMMENT ON COLUMN payledger.psp_requests.psp_reference IS 'the PSP''s id of the payment';
COMMENT ON COLUMN payledger.psp_requests.request_bytes IS 'method, path and body as sent, without secrets; replayed verbatim';
COMMENT ON COLUMN payledger.psp_requests.lease_token IS 'the gateway worker that has it IN_FLIGHT';

CREATE TABLE payledger.idempotency_keys (
	caller			text NOT NULL,
	idempotency_key	text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
	command			text NOT NULL,
	request_hash	bytea NOT NULL,
	reply			jsonb NOT NULL,
	created_at		timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (caller, idempotency_key)
);
CREATE INDEX idempotency_keys_created ON payledger.idempotency_keys USING brin (created_at);
COMMENT ON TABLE payledger.idempotency_keys IS
'The reply to each command that carried an idempotency key, for each calling role. Written in the commit of the command, so that an aborted command leaves no trace of its key.';
