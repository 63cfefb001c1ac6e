/* src/worker/views.sql: made anew by every payledger.setup() */

CREATE OR REPLACE VIEW payledger.stat_worker AS
	SELECT role, pid, state, started_at, last_activity, processed, failing, last_error, last_error_at
	  FROM payledger.worker_statistics()
	 WHERE database = pg_catalog.current_database();
COMMENT ON VIEW payledger.stat_worker IS
'The background workers of this database: gateway (requests to PSPs), relay (events to Kafka), keeper (leases, folding, partitions). No row: the database is not in payledger.databases. state is what the worker does now or waits for; last_activity its last transaction; processed counts requests, events or kept objects since started_at; failing is true when nothing has succeeded since last_error.';
