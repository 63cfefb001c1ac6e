/* src/outbox/damage_functions.sql: part of the install script */

CREATE FUNCTION event_damage(payload json, traceparent text, headers text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_event_damage'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION event_damage(json, text, text) IS
'For payledger.verify(): what is wrong with an event of the outbox, null if nothing is: its payload is no text of the database''s encoding, no JSON, or lacks a member of the envelope or has a wrong one; its traceparent is none; its other headers, joined in one text, are no text of the encoding. Does not look into the payload''s data. Example: SELECT seq, payledger.event_damage(payload, traceparent, ce_source) FROM payledger.outbox_events;';

CREATE FUNCTION repair_events() RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_repair_events'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION repair_events() FROM PUBLIC;
COMMENT ON FUNCTION repair_events() IS
'Mends the events, and their copies in payledger.dead_letters, whose traceId or traceparent is none: earlier builds wrote arbitrary bytes into the traceId of payout events, and pg_restore refuses a table with one of them. traceId becomes that of the traceparent, or null; nothing else changes, the id and seq least of all. What has been published stays as it was sent: payledger.replay_events() sends it again. Locks each row that it mends. Returns how many events it has mended; payledger.verify() names what else is wrong. Example: SELECT payledger.repair_events();';
