/* src/worker/functions.sql: part of the install script */

CREATE FUNCTION worker_statistics() RETURNS TABLE (database text, role text, pid int, state text,
		started_at timestamptz, last_activity timestamptz, processed bigint, failing boolean,
		last_error text, last_error_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_worker_statistics'
	LANGUAGE C VOLATILE PARALLEL SAFE ROWS 3;
REVOKE ALL ON FUNCTION worker_statistics() FROM PUBLIC;
COMMENT ON FUNCTION worker_statistics() IS
'One row for each worker of every database in payledger.databases; pid is null and state "not running" while there is no process. payledger.stat_worker shows those of this database. Errors: 55000 if the library is not in shared_preload_libraries. Example: SELECT * FROM payledger.worker_statistics() WHERE failing;';
