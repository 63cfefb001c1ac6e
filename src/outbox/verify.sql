/* src/outbox/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION outbox_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('event_versions_are_contiguous', false, 'the versions of every aggregate follow each other by one, in the order of seq', $q$
	SELECT format('aggregate %s %s: version %s follows %s', aggregatetype, aggregateid, version, previous)
	  FROM (SELECT aggregatetype, aggregateid, version,
				   lag(version) OVER (PARTITION BY aggregatetype, aggregateid ORDER BY seq) AS previous
			  FROM payledger.outbox_events) AS e
	 WHERE version <> previous + 1
	$q$),
	('event_types_are_known', false, 'every event is of a type that payledger.event_types lists', $q$
	SELECT format('event %s is a %s of %s', e.id, e.type, e.aggregatetype)
	  FROM payledger.outbox_events e
	 WHERE NOT EXISTS (SELECT FROM payledger.event_catalogue() c
						WHERE c.event_type = e.type AND c.aggregatetype = e.aggregatetype)
	$q$),
	('event_ids_are_unique', true, 'no two events have the same id', $q$
	SELECT format('%s events have the id %s', count(*), id)
	  FROM payledger.outbox_events GROUP BY id HAVING count(*) > 1
	$q$),
	('event_payloads_agree', true, 'the payload of every event says the same as its columns', $q$
	SELECT format('event %s: the payload is about %s, version %s of %s', id,
				  payload ->> 'eventId', payload ->> 'version', payload ->> 'aggregateId')
	  FROM payledger.outbox_events
	 WHERE payload IS NOT NULL AND (payload ->> 'eventId', payload ->> 'eventType', payload ->> 'aggregateId', payload ->> 'version')
		   IS DISTINCT FROM (id::text, type::text, aggregateid::text, version::text)
	$q$),
	('only_tombstones_are_empty', false, 'an event has a payload unless it is a tombstone, which has none', $q$
	SELECT format('event %s is a %s', id, type)
	  FROM payledger.outbox_events WHERE (payload IS NULL) <> (type LIKE '%\_tombstone')
	$q$),
	('event_data_has_its_members', true, 'the data of every event has the members that payledger.event_members() lists, and no other', $q$
	WITH listed AS MATERIALIZED (SELECT * FROM payledger.event_members()),
	found AS (
		SELECT e.id, e.type, d.key AS member, json_typeof(d.value) AS json_type
		  FROM payledger.outbox_events e, json_each(e.payload -> 'data') d WHERE e.payload IS NOT NULL)
	SELECT format('event %s, a %s: %s is %s', f.id, f.type, f.member, CASE WHEN l.member IS NULL THEN 'not a member' ELSE 'a ' || f.json_type END)
	  FROM found f LEFT JOIN listed l ON l.event_type = f.type AND l.member = f.member
	 WHERE l.member IS NULL
		OR NOT (l.may_be_null AND f.json_type = 'null')
		   AND f.json_type <> CASE l.kind WHEN 'amount' THEN 'number' WHEN 'object' THEN 'object'
										  WHEN 'lines' THEN 'array' WHEN 'postings' THEN 'array' ELSE 'string' END
	 UNION ALL
	SELECT format('event %s, a %s: %s is missing', e.id, e.type, l.member)
	  FROM payledger.outbox_events e JOIN listed l ON l.event_type = e.type AND NOT l.may_be_absent
	 WHERE e.payload #> ARRAY['data', l.member] IS NULL
	$q$),
	('outbox_is_guarded', false, 'the outbox and each of its partitions refuse UPDATE, DELETE and TRUNCATE', $q$
	SELECT payledger.missing_guards('{
		{outbox_events, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{outbox_events, refuse_row_change, BEFORE DELETE OR UPDATE, refuse_change}}')
	 UNION ALL
	SELECT payledger.missing_guards(ARRAY[
			ARRAY[c.relname::text, 'refuse_row_change', 'BEFORE DELETE OR UPDATE', 'refuse_change'],
			ARRAY[c.relname::text, 'refuse_truncate', 'BEFORE TRUNCATE', 'refuse_change']])
	  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
	 WHERE i.inhparent = 'payledger.outbox_events'::regclass
	$q$)
$$;
COMMENT ON FUNCTION outbox_checks() IS
'The outbox''s checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.outbox_checks();';
