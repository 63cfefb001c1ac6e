/* src/outbox/phantom_verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION phantom_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('phantoms_are_not_events', false, 'no phantom is an event of the outbox', $q$
	SELECT format('phantom %s is event %s of seq %s', p.phantom_id, e.id, e.seq)
	  FROM payledger.phantoms p JOIN payledger.outbox_events e ON e.id = p.event_id AND e.ce_time = p.ce_time
	$q$),
	('retractions_name_their_phantoms', false, 'the event that retracts a phantom says so, and is published by way of it only', $q$
	SELECT format('event %s does not retract phantom %s', e.id, p.phantom_id)
	  FROM payledger.phantoms p JOIN payledger.outbox_events e ON e.seq = p.retraction_seq
	 WHERE (e.id, e.payload #>> '{data,retractedEventId}', e.payload #>> '{data,offset}')
		   IS DISTINCT FROM (p.retraction_id, p.event_id::text, p.record_offset::text)
		OR NOT EXISTS (SELECT FROM payledger.published_ahead a WHERE a.seq = e.seq)
	$q$),
	('phantoms_are_guarded', false, 'the triggers that hold phantoms to their machine and keep what they are are in force', $q$
	SELECT payledger.missing_guards('{
		{phantoms, enforce_transition, AFTER INSERT OR UPDATE, enforce_transition},
		{phantoms, refuse_identity_change, AFTER UPDATE, refuse_change},
		{phantoms, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{published_ahead, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION phantom_checks() IS
'The phantoms'' checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.phantom_checks();';
