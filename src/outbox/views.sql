/* src/outbox/views.sql: run by payledger.setup() when it finds others */

/*
 * What the cursor's snapshot does not see, but for what is published of an
 * open window.  The four branches look where such rows can be (see
 * src/relay/window.c), so a LIMIT stops early on a long backlog.
 */
CREATE OR REPLACE VIEW payledger.unpublished_events AS
	SELECT e.seq, e.id AS event_id, e.type AS event_type, e.aggregatetype, e.aggregateid, e.event_key,
		   e.version, e."timestamp" AT TIME ZONE 'UTC' AS created_at,
		   coalesce(pg_catalog.pg_column_size(e.payload), 0) AS payload_bytes, c.shard
	  FROM payledger.relay_cursors c
	 CROSS JOIN LATERAL (
		/* begun after the cursor's snapshot */
		SELECT o.* FROM payledger.outbox_events o
		 WHERE o.seq > greatest(c.window_start, c.published_seq) AND o.transaction_no + 0 >= c.snapshot_xmax
		   AND (c.shards = 1 OR payledger.event_shard(o.event_key, c.shards) = c.shard)
		UNION ALL
		/* running at the cursor's snapshot */
		SELECT o.* FROM payledger.outbox_events o
		 WHERE o.transaction_no = ANY (c.snapshot_xip) AND o.seq > c.published_seq
		   AND (c.shards = 1 OR payledger.event_shard(o.event_key, c.shards) = c.shard)
		UNION ALL
		/* begun after the open window's snapshot, and overtaken by its position */
		SELECT o.* FROM payledger.outbox_events o
		 WHERE o.seq > c.next_window_start AND o.seq <= c.published_seq AND o.transaction_no + 0 >= c.next_xmax
		   AND (c.shards = 1 OR payledger.event_shard(o.event_key, c.shards) = c.shard)
		UNION ALL
		/* running at the open window's snapshot, and overtaken */
		SELECT o.* FROM payledger.outbox_events o
		 WHERE o.transaction_no = ANY (c.next_xip) AND o.seq <= c.published_seq
		   AND (c.shards = 1 OR payledger.event_shard(o.event_key, c.shards) = c.shard)) e;
COMMENT ON VIEW payledger.unpublished_events IS
'Events that have been committed and that Kafka has not acknowledged yet. created_at is when the event was appended; payload_bytes is its stored, perhaps compressed size. Not in order; put a LIMIT on it when a long backlog is possible.';

CREATE OR REPLACE VIEW payledger.stat_outbox AS
	SELECT c.shard,
		   CASE WHEN b.events <= 10000 THEN b.events ELSE greatest(b.events, d.seqs) END AS waiting_events,
		   CASE WHEN b.events <= 10000 THEN b.bytes
				ELSE (b.bytes / b.events * greatest(b.events, d.seqs))::bigint END AS waiting_bytes,
		   b.events > 10000 AS is_estimate,
		   coalesce(extract(epoch FROM payledger.trusted_now() - b.oldest), 0)::numeric(20, 3) AS oldest_waiting_seconds,
		   c.published AS published_events,
		   CASE WHEN c.published > 0 THEN c.updated_at END AS last_published_at,
		   w.per_second::numeric(20, 1) AS events_per_second,
		   w.batches,
		   (w.processed::numeric / nullif(w.batches, 0))::numeric(20, 1) AS events_per_batch,
		   w.last_batch AS last_batch_events,
		   c.delivery,
		   w.state AS relay_state,
		   w.failing AS relay_failing,
		   w.errors,
		   w.last_error,
		   w.last_error_at,
		   (SELECT pg_catalog.count(*) FROM payledger.dead_letters l
			 WHERE l.status IN ('PARKED', 'HELD', 'READY')
			   AND (c.shards = 1 OR payledger.event_shard(l.event_key, c.shards) = c.shard)) AS dead_letters,
		   (SELECT pg_catalog.count(*) FROM pg_catalog.pg_inherits i
			 WHERE i.inhparent = 'payledger.outbox_events'::pg_catalog.regclass) AS partitions,
		   (pg_catalog.max(s.last_value - greatest(c.window_start, c.published_seq)) OVER ()::numeric
			/ nullif(pg_catalog.current_setting('payledger.outbox_limit', true)::bigint, 0))::numeric(20, 3) AS limit_used
	  FROM payledger.relay_cursors c
	 CROSS JOIN payledger.outbox_seq s
	 CROSS JOIN LATERAL (SELECT (s.last_value - greatest(c.window_start, c.published_seq)) / c.shards AS seqs) d
	 CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS events, coalesce(pg_catalog.sum(u.payload_bytes), 0)::bigint AS bytes,
								pg_catalog.min(u.created_at) AS oldest
						   FROM (SELECT payload_bytes, created_at FROM payledger.unpublished_events
								  WHERE shard = c.shard LIMIT 10001) u) b
	  LEFT JOIN payledger.worker_statistics() w
		ON w.database = pg_catalog.current_database() AND w.role = 'relay' AND w.shard = c.shard;
COMMENT ON VIEW payledger.stat_outbox IS
'The way of the events to Kafka, one row for each relay (payledger.relay_shards): how many wait and for how long, how many were published and how fast, and what the relay says. waiting_events and waiting_bytes (stored size of the payloads) are exact up to 10,000 events; above that is_estimate is true, they are computed from the sequence, and the oldest is that of the first 10,001 found. published_events counts since setup; an event sent again after a crash may count twice; shard 0 goes on with the count of all when the number of shards changes. events_per_second is the rate over the last 9 seconds, batches and events_per_batch count since the relay started, errors since the server did. relay_failing is true when nothing has succeeded since last_error. dead_letters counts those not decided. limit_used is the share of payledger.outbox_limit that is taken, null without a limit. payledger.outbox_metrics() has the same for Prometheus.';

CREATE OR REPLACE VIEW payledger.event_types AS
	SELECT c.event_type, c.aggregatetype, c.description,
		   coalesce(r.topic, coalesce(pg_catalog.current_setting('payledger.topic_prefix', true), 'payledger') || '.' || c.aggregatetype) AS topic,
		   coalesce(r.message_key, 'event_key') AS message_key
	  FROM payledger.event_catalogue() c LEFT JOIN payledger.event_routes r USING (event_type);
COMMENT ON VIEW payledger.event_types IS
'The types of event that may be appended to the outbox, with the topic they go to and the column that is their Kafka key: payledger.route_event() changes them. An event of another type is an error.';
