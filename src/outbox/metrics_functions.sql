/* src/outbox/metrics_functions.sql: part of the install script */

/* stat_outbox is there from setup() on, so the body is looked at when it runs. */
CREATE FUNCTION outbox_metrics() RETURNS SETOF text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 50
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	WITH labels AS (
		SELECT format('database="%s"', replace(replace(replace(current_database(), E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n')) AS of_database),
	samples AS MATERIALIZED (
		SELECT m.place, m.name, m.type, m.help, o.shard, m.value, m.by_shard
		  FROM payledger.stat_outbox o
		 CROSS JOIN LATERAL (VALUES
			(1, 'payledger_outbox_waiting_events', 'gauge', 'Committed events that Kafka has not acknowledged.', o.waiting_events::numeric, true),
			(2, 'payledger_outbox_waiting_bytes', 'gauge', 'Stored size of their payloads.', o.waiting_bytes, true),
			(3, 'payledger_outbox_oldest_waiting_seconds', 'gauge', 'Age of the oldest of them; 0 if there is none.', o.oldest_waiting_seconds, true),
			(4, 'payledger_outbox_published_events_total', 'counter', 'Events that Kafka has acknowledged since setup.', o.published_events, true),
			(5, 'payledger_outbox_last_published_timestamp_seconds', 'gauge', 'When it last did.', extract(epoch FROM o.last_published_at), true),
			(6, 'payledger_outbox_batches_total', 'counter', 'Batches of events published since the relay started.', o.batches, true),
			(7, 'payledger_outbox_last_batch_events', 'gauge', 'Events of the last of them.', o.last_batch_events, true),
			(8, 'payledger_outbox_dead_letters', 'gauge', 'Events that Kafka refused, or that wait behind one, and nobody decided.', o.dead_letters, true),
			(9, 'payledger_outbox_partitions', 'gauge', 'Partitions of the outbox, the default one too.', CASE WHEN o.shard = 0 THEN o.partitions END, false),
			(10, 'payledger_outbox_limit_used_ratio', 'gauge', 'Share of payledger.outbox_limit that is taken.', CASE WHEN o.shard = 0 THEN o.limit_used END, false),
			(11, 'payledger_relay_up', 'gauge', '1 if the relay''s process runs.',
				CASE WHEN o.relay_state IS NULL OR o.relay_state = 'not running' THEN 0 ELSE 1 END, true),
			(12, 'payledger_relay_failing', 'gauge', '1 if nothing has succeeded since its last error.', o.relay_failing::int, true),
			(13, 'payledger_relay_errors_total', 'counter', 'Errors since the server started, those of Kafka too.', o.errors, true))
			AS m(place, name, type, help, value, by_shard)
		 WHERE m.value IS NOT NULL),
	lines AS (
		SELECT DISTINCT s.place, 0 AS line, -1 AS shard, format('# HELP %s %s', s.name, s.help) AS text FROM samples s
		 UNION ALL
		SELECT DISTINCT s.place, 1, -1, format('# TYPE %s %s', s.name, s.type) FROM samples s
		 UNION ALL
		SELECT s.place, 2, s.shard, format('%s{%s%s} %s', s.name, l.of_database,
										   CASE WHEN s.by_shard THEN format(',shard="%s"', s.shard) ELSE '' END, s.value)
		  FROM samples s CROSS JOIN labels l)
	SELECT l.text FROM lines l ORDER BY l.place, l.line, l.shard;
END $$;
REVOKE ALL ON FUNCTION outbox_metrics() FROM PUBLIC;
COMMENT ON FUNCTION outbox_metrics() IS
'payledger.stat_outbox in Prometheus'' text format, a line a row: for a textfile collector, or an exporter that passes it on. Times in seconds, sizes in bytes, labels database and shard. Errors: 42P01 before setup(). Example: psql -XAtc ''SELECT payledger.outbox_metrics()'' > payledger.prom';
