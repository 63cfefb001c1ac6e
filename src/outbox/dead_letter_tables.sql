/* src/outbox/dead_letter_tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.dead_letter_status AS ENUM ('PARKED', 'HELD', 'READY', 'PUBLISHED', 'SKIPPED');

/* A copy of the event: its partition of the outbox may be dropped meanwhile. */
CREATE TABLE payledger.dead_letters (
	dead_letter_id	bigint PRIMARY KEY,
	status			payledger.dead_letter_status NOT NULL,
	reason			text NOT NULL,
	attempts		int NOT NULL DEFAULT 0,
	note			text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	seq				bigint NOT NULL UNIQUE,
	id				uuid NOT NULL,
	aggregatetype	varchar(255) NOT NULL,
	aggregateid		varchar(255) NOT NULL,
	type			varchar(255) NOT NULL,
	payload			json,
	"timestamp"		timestamp NOT NULL,
	version			bigint NOT NULL,
	event_key		varchar(255) NOT NULL,
	ce_specversion	varchar(16) NOT NULL,
	ce_source		varchar(255) NOT NULL,
	ce_time			varchar(64) NOT NULL,
	ce_subject		varchar(255) NOT NULL,
	content_type	varchar(64) NOT NULL,
	traceparent		varchar(64)
) WITH (fillfactor = 80);
CREATE INDEX dead_letters_open ON payledger.dead_letters (aggregatetype, event_key, dead_letter_id)
	WHERE status IN ('PARKED', 'HELD', 'READY');
COMMENT ON TABLE payledger.dead_letters IS
'Events that Kafka refused for what they are, and those of the same key that wait behind one (payledger.after_dead_letter). The relay goes on with all others. payledger.retry_dead_letter() sends one again, payledger.skip_dead_letter() gives it up; those HELD behind it follow by themselves, in order.';
COMMENT ON COLUMN payledger.dead_letters.status IS 'PARKED: Kafka refused it; HELD: waits behind an earlier one of its aggregatetype and event_key; READY: to be sent again; PUBLISHED, SKIPPED: decided';
COMMENT ON COLUMN payledger.dead_letters.reason IS 'what Kafka said last, or behind which event it waits, or that the relay died twice while it sent it';
COMMENT ON COLUMN payledger.dead_letters.attempts IS 'how often Kafka refused it';
COMMENT ON COLUMN payledger.dead_letters.note IS 'why it was skipped; who and when are in state_history';
COMMENT ON COLUMN payledger.dead_letters.seq IS 'of the event in outbox_events, as are this and the following columns';
