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
CREATE TYPE payledger.refund_status AS ENUM ('REQUESTED', 'PENDING', 'SUCCEEDED', 'FAILED');
CREATE TYPE payledger.commission_refund AS ENUM ('none', 'pro_rata', 'all');
CREATE TYPE payledger.psp_request_status AS ENUM
	('READY', 'IN_FLIGHT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'REFUSED', 'PARKED');
CREATE TYPE payledger.psp_operation AS ENUM
	('AUTHORIZE', 'CONFIRM', 'CAPTURE', 'CANCEL', 'RETRIEVE', 'REFUND', 'PAYOUT');
CREATE TYPE payledger.settlement_item_kind AS ENUM
	('CAPTURE', 'CAPTURE_REVERSAL', 'REFUND', 'REFUND_REVERSAL',
	 'CHARGEBACK', 'CHARGEBACK_REVERSAL', 'CHARGEBACK_FEE', 'CHARGEBACK_FEE_REVERSAL');

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
