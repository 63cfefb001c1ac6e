/* src/worker/views.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE VIEW payledger.stat_worker AS
	SELECT role, shard, pid, state, started_at, last_activity, processed, batches, last_batch,
		   per_second::numeric(20, 1) AS per_second, errors, failing, last_error, last_error_at,
		   failed_attempts, next_attempt_at, restarts
	  FROM payledger.worker_statistics()
	 WHERE database = pg_catalog.current_database();
COMMENT ON VIEW payledger.stat_worker IS
'The background workers of this database: gateway (requests to PSPs), relay (events to Kafka), keeper (leases, folding, partitions). No row: the database is not in payledger.databases. shard tells the relays apart, of which there are payledger.relay_shards. state is what the worker does now or waits for; last_activity its last transaction; processed counts requests, events or kept objects since started_at, in so many batches; per_second is their rate over the last 9 seconds; errors counts since the server started; failing is true when nothing has succeeded since last_error, when the trouble that it names lasts (a PSP that does not answer, requests or webhooks that wait for an operator, a clock that was stepped), and when there is no process although this is no standby; restarts counts its ends since the server started; failed_attempts counts the pauses since then, the last of which ends at next_attempt_at (they grow from 1 s to a minute; a reload of the configuration ends one).';
