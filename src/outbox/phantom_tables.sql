/* src/outbox/phantom_tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.phantom_status AS ENUM ('FOUND', 'READY', 'RETRACTED');

CREATE TABLE payledger.phantoms (
	phantom_id		bigint PRIMARY KEY,
	status			payledger.phantom_status NOT NULL,
	event_id		uuid NOT NULL,
	ce_time			varchar(64) NOT NULL,
	event_type		text NOT NULL,
	aggregateid		text NOT NULL,
	version			bigint NOT NULL,
	topic			text NOT NULL,
	partition		int NOT NULL,
	record_offset	bigint NOT NULL,
	message_key		text NOT NULL,
	retraction_id	uuid,
	retraction_seq	bigint UNIQUE,
	note			text,
	created_at		timestamptz NOT NULL,
	updated_at		timestamptz NOT NULL,
	UNIQUE (topic, partition, record_offset),
	CHECK ((status = 'FOUND') = (retraction_seq IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX phantoms_open ON payledger.phantoms (phantom_id) WHERE status IN ('FOUND', 'READY');
COMMENT ON TABLE payledger.phantoms IS
'Events on Kafka of transactions that this server does not have: an asynchronous standby was promoted, or a backup restored, after they had been published. While one is FOUND nothing is published; payledger.retract_phantoms() has them retracted. A synchronous standby that is promoted has none.';
COMMENT ON COLUMN payledger.phantoms.status IS 'FOUND: nobody has decided; READY: its retraction is to be published; RETRACTED: it was';
COMMENT ON COLUMN payledger.phantoms.event_id IS 'ce_id; the event that came instead, with the same version of the aggregate, may have the same';
COMMENT ON COLUMN payledger.phantoms.ce_time IS 'tells the two apart';
COMMENT ON COLUMN payledger.phantoms.aggregateid IS 'ce_subject';
COMMENT ON COLUMN payledger.phantoms.version IS 'ce_sequence';
COMMENT ON COLUMN payledger.phantoms.record_offset IS 'where it is in the partition';
COMMENT ON COLUMN payledger.phantoms.retraction_id IS 'id of the event that retracts it';

/* Events that the relay passes without sending them. */
CREATE TABLE payledger.published_ahead (
	seq				bigint PRIMARY KEY
);
COMMENT ON TABLE payledger.published_ahead IS
'Events, by seq, that Kafka has though the cursor had not passed them: after a failover, those that a lost record of the cursor covered, and retractions, which go first.';
