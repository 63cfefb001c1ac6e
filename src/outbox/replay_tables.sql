/* src/outbox/replay_tables.sql: created once by payledger.setup() */

CREATE TABLE payledger.event_routes (
	event_type		text PRIMARY KEY,
	topic			text CHECK (topic ~ '^[A-Za-z0-9._-]{1,249}$'),
	message_key		text NOT NULL DEFAULT 'event_key' CHECK (message_key IN ('event_key', 'aggregateid'))
);
COMMENT ON TABLE payledger.event_routes IS
'Where events of a type go when not to the default, payledger.topic_prefix, a dot and their aggregatetype, keyed by event_key; payledger.event_types shows what holds. payledger.route_event() writes it.';
COMMENT ON COLUMN payledger.event_routes.topic IS 'the whole name; null: the default';
COMMENT ON COLUMN payledger.event_routes.message_key IS 'the column of outbox_events that is the Kafka key';

CREATE TYPE payledger.replay_status AS ENUM ('RUNNING', 'DONE', 'CANCELLED');

CREATE TABLE payledger.replays (
	replay_id		bigint PRIMARY KEY,
	status			payledger.replay_status NOT NULL,
	from_seq		bigint NOT NULL,
	to_seq			bigint NOT NULL,
	from_time		timestamptz,
	to_time			timestamptz,
	topic			text CHECK (topic ~ '^[A-Za-z0-9._-]{1,249}$'),
	position		bigint NOT NULL,
	events			bigint NOT NULL DEFAULT 0,
	refused			bigint NOT NULL DEFAULT 0,
	last_refusal	text,
	requested_by	text NOT NULL,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX replays_running ON payledger.replays (replay_id) WHERE status = 'RUNNING';
COMMENT ON TABLE payledger.replays IS
'Events published again on request, by payledger.replay_events(); the relay works them off one after the other, between new events.';
COMMENT ON COLUMN payledger.replays.from_time IS 'only events appended at or after it; null: all from from_seq on';
COMMENT ON COLUMN payledger.replays.to_time IS 'only events appended before it; null: all up to to_seq';
COMMENT ON COLUMN payledger.replays.topic IS 'where they go; null: where each went at first';
COMMENT ON COLUMN payledger.replays.position IS 'up to this seq they are published';
COMMENT ON COLUMN payledger.replays.events IS 'how many were';
COMMENT ON COLUMN payledger.replays.refused IS 'how many Kafka refused for what they are; they are left out';
