/* src/outbox/functions.sql: part of the install script */

CREATE FUNCTION event_catalogue() RETURNS TABLE (event_type text, aggregatetype text, description text, members text)
	AS 'MODULE_PATHNAME', 'pl_sql_event_catalogue'
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 20;
COMMENT ON FUNCTION event_catalogue() IS
'The types of event that may be appended to the outbox, the aggregate each is about, and the members of its data: name:kind, the name with ? if it may be absent, the kind with ? if it may be null. payledger.event_types shows where they go, payledger.event_schema() the JSON Schema. Example: SELECT * FROM payledger.event_catalogue();';

CREATE FUNCTION event_shard(event_key text, shards int) RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_event_shard'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION event_shard(text, int) IS
'Which of so many relays publishes the events with that key; from 0. Errors: 22023 shards is not 1 or more. Example: SELECT payledger.event_shard(''42'', 4);';

CREATE FUNCTION maintain_outbox_partitions() RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_maintain_outbox_partitions'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION maintain_outbox_partitions() FROM PUBLIC;
COMMENT ON FUNCTION maintain_outbox_partitions() IS
'Makes the partition of outbox_events that the present seq falls into and the next one, unless they exist or the default partition already has rows in their range. Returns how many it made. setup() and the keeper call it; the keeper alone also drops partitions that are published and older than payledger.outbox_retention. Example: SELECT payledger.maintain_outbox_partitions();';
