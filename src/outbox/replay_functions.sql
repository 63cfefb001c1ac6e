/* src/outbox/replay_functions.sql: part of the install script */

CREATE FUNCTION route_event(event_type text, topic text DEFAULT NULL, message_key text DEFAULT 'event_key') RETURNS void
	AS 'MODULE_PATHNAME', 'pl_sql_route_event'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION route_event(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION route_event(text, text, text) IS
'Sends events of a type to another topic (its whole name; null: the default, payledger.topic_prefix, a dot and the aggregatetype), keyed by event_key or aggregateid. Holds for events that are not published yet; the topic has to exist. Order is per key of one topic. Errors: 22023 no such event type, topic or key. Example: SELECT payledger.route_event(''payout_finalized'', ''treasury.payouts'');';

CREATE FUNCTION replay_events("from" timestamptz, "to" timestamptz DEFAULT NULL, topic text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_replay_events'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION replay_events(timestamptz, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION replay_events(timestamptz, timestamptz, text) IS
'Has the relay publish again what was appended from a time on, before another (null: all that there is now), to the topics where they went or to the one named: same keys, values and ids, in order per key, with the header ce_replayid. Only events still in the outbox (payledger.outbox_retention), and only those published already. Returns the replay_id; payledger.replays shows how far it is; where the topic is missing it is CANCELLED and says so. Errors: 22004 no from, 22023 to is not after from, or no topic of that name can be. Example: SELECT payledger.replay_events(now() - interval ''1 hour'', topic => ''payledger.replayed'');';

CREATE FUNCTION replay_events_by_id(from_id uuid, to_id uuid DEFAULT NULL, topic text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_replay_events_by_id'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION replay_events_by_id(uuid, uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION replay_events_by_id(uuid, uuid, text) IS
'Like payledger.replay_events(), for the events from one id to another, both included, by seq; null for to_id: all from the first on. Errors: 22004 no from_id, PL007 no such event in the outbox, 22023 to_id comes before from_id, or no topic of that name can be. Example: SELECT payledger.replay_events_by_id(''6f3c1c8e-0000-8000-8000-000000000001'');';

CREATE FUNCTION cancel_replay(replay_id bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_cancel_replay'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION cancel_replay(bigint) FROM PUBLIC;
COMMENT ON FUNCTION cancel_replay(bigint) IS
'Stops a replay; what is under way may still arrive. Returns its status, CANCELLED. Errors: PL007 no such replay, PL001 it is not RUNNING. Example: SELECT payledger.cancel_replay(replay_id) FROM payledger.replays WHERE status = ''RUNNING'';';

CREATE FUNCTION publish_tombstone(aggregatetype text, event_key text) RETURNS uuid
	AS 'MODULE_PATHNAME', 'pl_sql_publish_tombstone'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION publish_tombstone(text, text) FROM PUBLIC;
COMMENT ON FUNCTION publish_tombstone(text, text) IS
'Appends an event without a value, of the type <aggregatetype>_tombstone: on a compacted topic it takes away what went before with that key. It comes after every event of the key that was committed before the call. Returns its id. Errors: 22023 no such aggregatetype, or no key. Example: SELECT payledger.publish_tombstone(''payment'', ''7316412345678901'');';
