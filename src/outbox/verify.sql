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
	('events_are_well_formed', false, 'every event is valid text and JSON with the members of the envelope, as payledger.event_damage() sees it', $q$
	SELECT format('event %s of seq %s: %s', d.id, d.seq, d.damage)
	  FROM (SELECT id, seq, payledger.event_damage(payload, traceparent, concat_ws(' ', aggregatetype, aggregateid, type, event_key,
						ce_specversion, ce_source, ce_time, ce_subject, content_type)) AS damage
			  FROM payledger.outbox_events) AS d
	 WHERE d.damage IS NOT NULL
	$q$),
	('event_ids_are_unique', true, 'no two events have the same id', $q$
	SELECT format('%s events have the id %s', count(*), id)
	  FROM payledger.outbox_events GROUP BY id HAVING count(*) > 1
	$q$),
	('event_payloads_agree', true, 'the payload of every event says the same as its columns', $q$
	SELECT format('event %s: the payload is about %s, version %s of %s', id,
				  payload ->> 'eventId', payload ->> 'version', payload ->> 'aggregateId')
	  FROM payledger.outbox_events
	 WHERE CASE WHEN payload IS NOT NULL AND payledger.event_damage(payload, NULL, NULL) IS NULL
				THEN (payload ->> 'eventId', payload ->> 'eventType', payload ->> 'aggregateId', payload ->> 'version')
					 IS DISTINCT FROM (id::text, type::text, aggregateid::text, version::text) END
	$q$),
	('event_traces_agree', true, 'the traceId of every event is that of its traceparent', $q$
	SELECT format('event %s: traceId is %s, traceparent %s', id, coalesce(payload ->> 'traceId', 'null'), coalesce(traceparent, 'null'))
	  FROM payledger.outbox_events
	 WHERE CASE WHEN payload IS NOT NULL AND payledger.event_damage(payload, traceparent, NULL) IS NULL
				THEN payload ->> 'traceId' IS DISTINCT FROM split_part(traceparent, '-', 2) END
	$q$),
	('only_tombstones_are_empty', false, 'an event has a payload unless it is a tombstone, which has none', $q$
	SELECT format('event %s is a %s', id, type)
	  FROM payledger.outbox_events WHERE (payload IS NULL) <> (right(type, 10) = '_tombstone')
	$q$),
	('event_data_has_its_members', true, 'the data of every event has the members that payledger.event_members() lists, of their kinds, and no other', $q$
	WITH listed AS MATERIALIZED (SELECT * FROM payledger.event_members()),
	found AS (
		SELECT e.id, e.type, d.key AS member, d.value, json_typeof(d.value) AS json_type
		  FROM payledger.outbox_events e,
			   json_each(CASE WHEN payledger.event_damage(e.payload, NULL, NULL) IS NULL THEN e.payload -> 'data' END) d),
	parts AS (
		SELECT 'lines' AS kind, 'seller_id' AS name, 'string' AS json_type UNION ALL SELECT 'lines', 'amount', 'number'
		 UNION ALL SELECT 'postings', 'account', 'string' UNION ALL SELECT 'postings', 'amount', 'number')
	SELECT format('event %s, a %s: %s is %s', f.id, f.type, f.member,
				  CASE WHEN l.member IS NULL THEN 'not a member' ELSE format('a %s and no %s', f.json_type, l.kind) END)
	  FROM found f LEFT JOIN listed l ON l.event_type = f.type AND l.member = f.member
	 WHERE l.member IS NULL
		OR NOT (l.may_be_null AND f.json_type = 'null')
		   AND NOT CASE l.kind
				WHEN 'id' THEN f.json_type = 'string' AND f.value #>> '{}' ~ '^[0-9]{1,19}$'
				WHEN 'text' THEN f.json_type = 'string'
				WHEN 'currency' THEN f.json_type = 'string' AND f.value #>> '{}' ~ '^[A-Z]{3}$'
				WHEN 'amount' THEN f.json_type = 'number' AND f.value #>> '{}' ~ '^-?[0-9]+$'
				WHEN 'object' THEN f.json_type = 'object'
				ELSE f.json_type = 'array'
					AND json_array_length(CASE WHEN f.json_type = 'array' THEN f.value ELSE '[]' END) >= CASE l.kind WHEN 'postings' THEN 2 ELSE 1 END
					AND NOT EXISTS (SELECT FROM json_array_elements(CASE WHEN f.json_type = 'array' THEN f.value ELSE '[]' END) AS i(item), parts p
									 WHERE p.kind = l.kind
									   AND (json_typeof(item -> p.name) IS DISTINCT FROM p.json_type
											OR p.json_type = 'number' AND item ->> p.name !~ '^-?[0-9]+$'))
				END
	 UNION ALL
	SELECT format('event %s, a %s: %s is missing', e.id, e.type, l.member)
	  FROM payledger.outbox_events e JOIN listed l ON l.event_type = e.type AND NOT l.may_be_absent
	 WHERE CASE WHEN e.payload IS NOT NULL AND payledger.event_damage(e.payload, NULL, NULL) IS NULL
				THEN e.payload #> ARRAY['data', l.member] IS NULL END
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
