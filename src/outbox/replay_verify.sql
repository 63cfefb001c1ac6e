/* src/outbox/replay_verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION replay_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('event_routes_are_known', false, 'every route is of a type that payledger.event_types lists', $q$
	SELECT format('there is a route for %s', r.event_type)
	  FROM payledger.event_routes r
	 WHERE NOT EXISTS (SELECT FROM payledger.event_catalogue() c WHERE c.event_type = r.event_type)
	$q$),
	('replays_are_guarded', false, 'the triggers that hold replays to their machine and keep what was asked for are in force', $q$
	SELECT payledger.missing_guards('{
		{replays, enforce_transition, AFTER INSERT OR UPDATE, enforce_transition},
		{replays, refuse_identity_change, AFTER UPDATE, refuse_change},
		{replays, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION replay_checks() IS
'The checks of routes and replays for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.replay_checks();';
