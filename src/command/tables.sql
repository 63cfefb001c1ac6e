/*
 * src/command/tables.sql: created once by payledger.setup()
 *
 * The tables of the hot path carry no CHECK constraints: the trigger
 * check_totals holds their rules at a fraction of the cost.
 */

CREATE TYPE payledger.psp_request_status AS ENUM
	('READY', 'IN_FLIGHT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'REFUSED', 'PARKED');
CREATE TYPE payledger.psp_operation AS ENUM
	('AUTHORIZE', 'CONFIRM', 'CAPTURE', 'CANCEL', 'RETRIEVE', 'REFUND', 'PAYOUT');
CREATE TYPE payledger.settlement_item_kind AS ENUM
	('CAPTURE', 'CAPTURE_REVERSAL', 'REFUND', 'REFUND_REVERSAL',
	 'CHARGEBACK', 'CHARGEBACK_REVERSAL', 'CHARGEBACK_FEE', 'CHARGEBACK_FEE_REVERSAL');

CREATE TABLE payledger.psp_requests (
	psp_request_id	bigint NOT NULL,
	payment_id		bigint NOT NULL,
	gateway			text NOT NULL,
	operation		payledger.psp_operation NOT NULL,
	target			bigint NOT NULL,
	follows			bigint,
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
	alternatives	jsonb,
	reply_status	int,
	reply_code		text,
	reply_message	text,
	worker_deaths	smallint NOT NULL DEFAULT 0,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	PRIMARY KEY (payment_id, psp_request_id)
) WITH (fillfactor = 60);
CREATE INDEX psp_requests_due ON payledger.psp_requests (gateway, operation, next_attempt_at) WHERE status IN ('READY', 'UNKNOWN');
CREATE INDEX psp_requests_failover ON payledger.psp_requests (gateway, psp_request_id) WHERE status = 'READY' AND alternatives IS NOT NULL;
CREATE INDEX psp_requests_open ON payledger.psp_requests (psp_request_id) WHERE status IN ('IN_FLIGHT', 'PENDING', 'UNKNOWN', 'PARKED');
CREATE INDEX psp_requests_suspect ON payledger.psp_requests (psp_request_id) WHERE worker_deaths > 0;
COMMENT ON TABLE payledger.psp_requests IS
'What a gateway was asked to do. The row is written in the commit of the transition that causes it; the gateway worker leases it, commits the exact bytes and the idempotency key, and only then sends.';
COMMENT ON COLUMN payledger.psp_requests.target IS 'what it is for: the payment intent (AUTHORIZE, CONFIRM), payment (CANCEL, and CAPTURE where one serves all sellers), payment order (CAPTURE), refund or payout; RETRIEVE has the target of the request that it follows';
COMMENT ON COLUMN payledger.psp_requests.payment_id IS 'the payment, or the payout';
COMMENT ON COLUMN payledger.psp_requests.follows IS 'RETRIEVE: the request whose result it asks for';
COMMENT ON COLUMN payledger.psp_requests.payment_method IS 'the PSP''s token of the shopper''s payment method, or of the seller''s account for a PAYOUT';
COMMENT ON COLUMN payledger.psp_requests.amount IS 'minor units of currency';
COMMENT ON COLUMN payledger.psp_requests.psp_reference IS 'the PSP''s id of the payment';
COMMENT ON COLUMN payledger.psp_requests.request_bytes IS 'method, path and body as sent, without secrets; replayed verbatim';
COMMENT ON COLUMN payledger.psp_requests.alternatives IS 'AUTHORIZE: where it goes if the gateway does not execute it, [{"gateway": ..., "payment_method": ...}], the next one first; null: nowhere';
COMMENT ON COLUMN payledger.psp_requests.lease_token IS 'the gateway worker that has it IN_FLIGHT';
COMMENT ON COLUMN payledger.psp_requests.worker_deaths IS 'how many gateway workers died with it in flight or in hand since it was last tried alone without harm';

/* one row for each posting to PSP_RECEIVABLES that a settlement has to clear */
CREATE TABLE payledger.settlement_items (
	settlement_item_id bigint NOT NULL,
	payment_id		bigint NOT NULL,
	payment_order_id bigint NOT NULL,
	object_id		bigint NOT NULL,
	kind			payledger.settlement_item_kind NOT NULL,
	gateway			text NOT NULL,
	psp_reference	text,
	seller_id		text NOT NULL,
	currency		text NOT NULL,
	amount			bigint NOT NULL CHECK (amount <> 0),
	occurred_at		timestamptz NOT NULL,
	settlement_report_id bigint,
	line_no			int,
	PRIMARY KEY (payment_id, settlement_item_id)
) WITH (fillfactor = 80);
CREATE INDEX settlement_items_open ON payledger.settlement_items (seller_id, currency) WHERE settlement_report_id IS NULL;
CREATE INDEX settlement_items_settled ON payledger.settlement_items USING hash (psp_reference) WHERE settlement_report_id IS NOT NULL;
COMMENT ON TABLE payledger.settlement_items IS
'Open items of the accounts PSP_RECEIVABLES: what the PSP owes us (amount > 0) or takes back (< 0), minor units, one row for each CAPTURE, REFUND_DONE, CHARGEBACK, CHARGEBACK_FEE and their reversals, written with the entry. A settlement report closes it.';
COMMENT ON COLUMN payledger.settlement_items.object_id IS 'psp_request of a capture, refund, or dispute';
COMMENT ON COLUMN payledger.settlement_items.psp_reference IS 'the PSP''s id of the payment';
COMMENT ON COLUMN payledger.settlement_items.settlement_report_id IS 'report that settled it, with the line; null: open';

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
