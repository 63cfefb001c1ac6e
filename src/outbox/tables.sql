/* src/outbox/tables.sql: created once by payledger.setup() */

/* CACHE 1 is required: within one snapshot window order by seq is the order per aggregate. */
CREATE SEQUENCE payledger.outbox_seq CACHE 1;
COMMENT ON SEQUENCE payledger.outbox_seq IS 'order of outbox_events within a snapshot window';

CREATE TABLE payledger.outbox_events (
	seq				bigint NOT NULL DEFAULT nextval('payledger.outbox_seq'),
	id				uuid NOT NULL,
	aggregatetype	varchar(255) NOT NULL,
	aggregateid		varchar(255) NOT NULL,
	type			varchar(255) NOT NULL,
	payload			json,
	"timestamp"		timestamp NOT NULL,
	version			bigint NOT NULL,
	event_key		varchar(255) NOT NULL,
	ce_specversion	varchar(16) NOT NULL DEFAULT '1.0',
	ce_source		varchar(255) NOT NULL,
	ce_time			varchar(64) NOT NULL,
	ce_subject		varchar(255) NOT NULL,
	content_type	varchar(64) NOT NULL DEFAULT 'application/json',
	traceparent		varchar(64),
	transaction_no	bigint NOT NULL,
	PRIMARY KEY (seq)
) PARTITION BY RANGE (seq);
CREATE INDEX outbox_events_transaction ON payledger.outbox_events (transaction_no, seq);
/* the ids of an aggregate's events are a range, and grow with time: its pages are written once */
CREATE INDEX outbox_events_id ON payledger.outbox_events (id);
COMMENT ON TABLE payledger.outbox_events IS
'Transactional outbox: append-only, one row for each event, in the columns of Debezium''s Event Router (route by aggregatetype, key from event_key, payload as is). Partitions are dropped whole once published and older than payledger.outbox_retention.';
COMMENT ON COLUMN payledger.outbox_events.aggregatetype IS 'payment, ledger or payout: the topic is payledger.topic_prefix, a dot and this';
COMMENT ON COLUMN payledger.outbox_events.payload IS 'the value; null: a tombstone';
COMMENT ON COLUMN payledger.outbox_events.event_key IS 'Kafka message key';
COMMENT ON COLUMN payledger.outbox_events.version IS 'contiguous from 1 for each aggregate; the ce_sequence header';
COMMENT ON COLUMN payledger.outbox_events."timestamp" IS 'UTC';
COMMENT ON COLUMN payledger.outbox_events.ce_source IS '/payledger/NODE/DATABASE: payledger.node_id and the database''s name';
COMMENT ON COLUMN payledger.outbox_events.transaction_no IS 'incarnation * 2^48 + transaction id: places the row in a snapshot window';

/* Catches what no partition covers, so that a stopped keeper never stops a commit. */
CREATE TABLE payledger.outbox_events_default PARTITION OF payledger.outbox_events DEFAULT;
COMMENT ON TABLE payledger.outbox_events_default IS 'Events written while the keeper had not yet made the partition for them.';

/* src/relay/window.c explains the algorithm. */
CREATE TABLE payledger.relay_cursors (
	shard			int PRIMARY KEY,
	shards			int NOT NULL DEFAULT 1,
	snapshot_xmax	bigint NOT NULL,
	window_start	bigint NOT NULL,
	snapshot_xip	bigint[] NOT NULL,
	snapshot_xip_start bigint[] NOT NULL,
	next_xmax		bigint,
	next_window_start bigint,
	next_xip		bigint[],
	next_xip_start	bigint[],
	published_seq	bigint NOT NULL,
	published		bigint NOT NULL DEFAULT 0,
	last_event_id	uuid,
	updated_at		timestamptz NOT NULL DEFAULT now(),
	delivery		text NOT NULL DEFAULT 'at_least_once' CHECK (delivery IN ('at_least_once', 'exactly_once')),
	cursor_id		uuid NOT NULL DEFAULT gen_random_uuid(),
	epoch			int NOT NULL DEFAULT 0,
	batch			bigint NOT NULL DEFAULT 0,
	record_key		text,
	record_offset	bigint,
	record_hash		text,
	CHECK (shard BETWEEN 0 AND shards - 1),
	CHECK (cardinality(snapshot_xip) = cardinality(snapshot_xip_start)),
	CHECK (cardinality(next_xip) = cardinality(next_xip_start)),
	CHECK (num_nulls(next_xmax, next_window_start, next_xip, next_xip_start) IN (0, 4))
) WITH (fillfactor = 50);
COMMENT ON TABLE payledger.relay_cursors IS
'How far each relay has published of the events that are its (event_shard(event_key, shards) = shard): every event visible in the snapshot (snapshot_xmax, snapshot_xip), and of the window between that and the snapshot (next_xmax, next_xip), if one is open, those up to published_seq.';
COMMENT ON COLUMN payledger.relay_cursors.shards IS 'how many rows there are; relay 0 follows payledger.relay_shards, see src/relay/shards.c';
COMMENT ON COLUMN payledger.relay_cursors.window_start IS 'every event of a transaction with a number of snapshot_xmax or above has a higher seq';
COMMENT ON COLUMN payledger.relay_cursors.snapshot_xip_start IS 'every event of the transaction at the same place of snapshot_xip has a higher seq';
COMMENT ON COLUMN payledger.relay_cursors.published_seq IS 'position in the open window; 0 if none is open';
COMMENT ON COLUMN payledger.relay_cursors.published IS 'events acknowledged by Kafka since setup; at least once, one sent again after a crash may count twice';
COMMENT ON COLUMN payledger.relay_cursors.last_event_id IS 'the event published last';
COMMENT ON COLUMN payledger.relay_cursors.delivery IS 'exactly_once: the newest record in the topic payledger.topic_prefix.cursor is authoritative and this row follows it';
COMMENT ON COLUMN payledger.relay_cursors.cursor_id IS 'part of the key of these records';
COMMENT ON COLUMN payledger.relay_cursors.epoch IS 'counts the sessions of exactly-once delivery';
COMMENT ON COLUMN payledger.relay_cursors.batch IS 'chunks published since setup, in either mode';
COMMENT ON COLUMN payledger.relay_cursors.record_key IS 'key of the records, by payledger.node_id, cluster and database: in a copy of the database it is another, and this row is authoritative';
COMMENT ON COLUMN payledger.relay_cursors.record_offset IS 'place of the record in its topic, whose partition is the shard: where a new session begins to read; at least once, place of the claim to this node id';
COMMENT ON COLUMN payledger.relay_cursors.record_hash IS 'SHA-256 of the record''s value, which the next one names as "previous"';
COMMENT ON COLUMN payledger.relay_cursors.updated_at IS 'when events were last published';

/* The whole past is empty, so an empty snapshot starts the first window. */
INSERT INTO payledger.relay_cursors (shard, snapshot_xmax, window_start, snapshot_xip, snapshot_xip_start, published_seq)
VALUES (0, 0, 0, '{}', '{}', 0);
