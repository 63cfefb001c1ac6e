/* src/webhook/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.webhook_status AS ENUM ('RECEIVED', 'PARKED', 'APPLIED', 'IGNORED');

CREATE TABLE payledger.webhooks (
	gateway			text NOT NULL,
	event_id		text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 255),
	webhook_id		bigint NOT NULL,
	event_type		text NOT NULL,
	occurred_at		timestamptz,
	body			text NOT NULL,
	backfilled		boolean NOT NULL,
	status			payledger.webhook_status NOT NULL,
	attempt			int NOT NULL DEFAULT 0,
	next_attempt_at	timestamptz,
	payment_id		bigint,
	problem			text,
	worker_deaths	smallint NOT NULL DEFAULT 0,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	PRIMARY KEY (gateway, event_id)
) WITH (fillfactor = 80);
CREATE INDEX webhooks_due ON payledger.webhooks (next_attempt_at) WHERE status IN ('RECEIVED', 'PARKED');
CREATE INDEX webhooks_created ON payledger.webhooks USING brin (created_at);
COMMENT ON TABLE payledger.webhooks IS
'Every event that a PSP sent about a gateway, once: received by payledger.receive_webhook(), or fetched by the gateway worker because its webhook got lost (backfilled). The gateway worker applies them; one whose payment is not there yet, or that contradicts what is known, is PARKED and tried again after growing pauses. Applied ones are kept for payledger.webhook_retention.';
COMMENT ON COLUMN payledger.webhooks.event_id IS 'the PSP''s id of the event, or what tells it from all others of the gateway';
COMMENT ON COLUMN payledger.webhooks.body IS 'the event as the PSP sent it, what looks like a card number masked';
COMMENT ON COLUMN payledger.webhooks.next_attempt_at IS 'when it is applied again; null: decided, or given up to an operator';
COMMENT ON COLUMN payledger.webhooks.payment_id IS 'the payment it was about, or the payout; null: not known, or none of ours';
COMMENT ON COLUMN payledger.webhooks.problem IS 'why it is PARKED or IGNORED';
COMMENT ON COLUMN payledger.webhooks.worker_deaths IS 'how many gateway workers died while they applied it; after the second it is given up';

CREATE TABLE payledger.webhook_backfills (
	gateway			text PRIMARY KEY,
	complete_until	timestamptz NOT NULL,
	scan_started_at	timestamptz,
	page_before		text,
	next_at			timestamptz NOT NULL,
	problem			text,
	worker_deaths	smallint NOT NULL DEFAULT 0,
	updated_at		timestamptz NOT NULL
);
COMMENT ON TABLE payledger.webhook_backfills IS
'How far the gateway worker has read a PSP''s own list of events, which heals webhooks that got lost. A row for each gateway whose PSP keeps such a list.';
COMMENT ON COLUMN payledger.webhook_backfills.complete_until IS 'every event before that is in payledger.webhooks';
COMMENT ON COLUMN payledger.webhook_backfills.scan_started_at IS 'when the reading under way began; null: none is';
COMMENT ON COLUMN payledger.webhook_backfills.page_before IS 'the PSP''s id of the event that the next page ends before; null: the newest page is next';
COMMENT ON COLUMN payledger.webhook_backfills.worker_deaths IS 'how many gateway workers died while they read or stored the page that is next; after the second it is not read until retry_backfill()';
COMMENT ON COLUMN payledger.webhook_backfills.problem IS 'why the last page could not be read; null: it could';
