/* src/outbox/dead_letter_verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION dead_letter_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('dead_letters_are_events', false, 'every dead letter says the same as the event it is a copy of', $q$
	SELECT format('dead letter %s is not event %s of seq %s', d.dead_letter_id, d.id, d.seq)
	  FROM payledger.dead_letters d JOIN payledger.outbox_events e ON e.seq = d.seq
	 WHERE (d.id, d.aggregatetype, d.aggregateid, d.type, d.payload::text, d.version, d.event_key)
		   IS DISTINCT FROM (e.id, e.aggregatetype, e.aggregateid, e.type, e.payload::text, e.version, e.event_key)
	$q$),
	('dead_letters_are_guarded', false, 'the triggers that hold dead letters to their machine and keep what they are about are in force', $q$
	SELECT payledger.missing_guards('{
		{dead_letters, enforce_transition, AFTER INSERT OR UPDATE, enforce_transition},
		{dead_letters, refuse_identity_change, AFTER UPDATE, refuse_change},
		{dead_letters, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION dead_letter_checks() IS
'The dead letters'' checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.dead_letter_checks();';
