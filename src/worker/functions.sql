/* src/worker/functions.sql: part of the install script */

CREATE FUNCTION worker_statistics() RETURNS TABLE (database text, role text, shard int, pid int, state text,
		started_at timestamptz, last_activity timestamptz, processed bigint, batches bigint, last_batch bigint,
		per_second double precision, errors bigint, failing boolean, last_error text, last_error_at timestamptz,
		failed_attempts bigint, next_attempt_at timestamptz, restarts bigint)
	AS 'MODULE_PATHNAME', 'pl_sql_worker_statistics'
	LANGUAGE C VOLATILE PARALLEL SAFE ROWS 3;
REVOKE ALL ON FUNCTION worker_statistics() FROM PUBLIC;
COMMENT ON FUNCTION worker_statistics() IS
'One row for each worker of every database in payledger.databases; pid is null, state "not running" and failing true while there is no process. payledger.stat_worker shows those of this database. Errors: 55000 if the library is not in shared_preload_libraries. Example: SELECT * FROM payledger.worker_statistics() WHERE failing;';

CREATE FUNCTION unfinished_work(before timestamptz DEFAULT NULL) RETURNS TABLE (requests bigint, events bigint)
	AS 'MODULE_PATHNAME', 'pl_sql_unfinished_work'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION unfinished_work(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION unfinished_work(timestamptz) IS
'How many requests are with a PSP or due before the given time (default: now), and how many committed events are not published, 10,000 at most; 0 events while payledger.kafka_brokers is empty. Errors: PL010 before setup(). Example: SELECT * FROM payledger.unfinished_work();';

CREATE PROCEDURE wait_until_idle(timeout interval DEFAULT '10 s')
	AS 'MODULE_PATHNAME', 'pl_sql_wait_until_idle'
	LANGUAGE C;
REVOKE ALL ON PROCEDURE wait_until_idle(interval) FROM PUBLIC;
COMMENT ON PROCEDURE wait_until_idle(interval) IS
'Returns when no request to a gateway is under way or due before the timeout, and, if payledger.kafka_brokers is set, every committed event is published. Needs EXECUTE on unfinished_work. Errors: 57014 not idle in time, with the numbers of what waits; 25001 inside a transaction block or a function. Example: CALL payledger.wait_until_idle(''10 s'');';
