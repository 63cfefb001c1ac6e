/* src/outbox/phantom_functions.sql: part of the install script */

CREATE FUNCTION retract_phantoms(note text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_retract_phantoms'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION retract_phantoms(text) FROM PUBLIC;
COMMENT ON FUNCTION retract_phantoms(text) IS
'Has every phantom that is FOUND retracted: for each, an event <aggregatetype>_event_retracted goes to the same topic with the same key, before any other event, and says which event at which offset is void; then the relay goes on. Returns how many there were. The note is in each retraction; who called is in payledger.state_history. Errors: 22004 no note, 22023 an empty one. Example: SELECT payledger.retract_phantoms(''failover of 26 November: orders of the last second were placed again'');';
