/* src/outbox/dead_letter_functions.sql: part of the install script */

CREATE FUNCTION retry_dead_letter(dead_letter_id bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_retry_dead_letter'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION retry_dead_letter(bigint) FROM PUBLIC;
COMMENT ON FUNCTION retry_dead_letter(bigint) IS
'Has the relay send a PARKED event again, after what stood in its way was put right (the topic''s max.message.bytes, say). Earlier ones of the same key go first; those HELD behind it follow by themselves. Refused again, it is PARKED again. Returns its status, READY. Errors: PL007 no such dead letter, PL001 it is not PARKED. Example: SELECT payledger.retry_dead_letter(dead_letter_id) FROM payledger.dead_letters WHERE status = ''PARKED'';';

CREATE FUNCTION skip_dead_letter(dead_letter_id bigint, note text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_skip_dead_letter'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION skip_dead_letter(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION skip_dead_letter(bigint, text) IS
'Decides that an event is not published: its consumers will see a version missing. It stays in payledger.dead_letters with the note, and who decided in payledger.state_history; those HELD behind it are published. Returns its status, SKIPPED. Errors: 22023 no note, PL007 no such dead letter, PL001 it is PUBLISHED or SKIPPED already. Example: SELECT payledger.skip_dead_letter(7316412345678901, ''told the consumers by hand'');';
