/*
 * src/core/verify.sql: part of the install script
 *
 * A check is a query for what is wrong: one text for each offence, nothing
 * when all is well.  A room lists its checks in functions <name>_checks() of its
 * verify files, from which setup.awk writes verify()'s list.
 */

CREATE FUNCTION missing_guards(guards text[]) RETURNS SETOF text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('trigger %s of %s is %s', g.trigger_name, g.table_name,
				  CASE WHEN t.oid IS NULL THEN 'missing'
					   WHEN t.tgenabled <> 'A' THEN 'not ENABLE ALWAYS'
					   ELSE 'another one' END)
	  FROM (SELECT guards[i][1] AS table_name, guards[i][2] AS trigger_name, guards[i][3] AS event,
				   guards[i][4] AS function_name
			  FROM generate_subscripts(guards, 1) AS i) AS g
	  LEFT JOIN pg_trigger t
		ON t.tgrelid = to_regclass('payledger.' || g.table_name) AND t.tgname = g.trigger_name
	 WHERE t.oid IS NULL OR t.tgenabled <> 'A'
		OR t.tgfoid IS DISTINCT FROM to_regprocedure('payledger.' || g.function_name || '()')
		OR strpos(pg_get_triggerdef(t.oid), ' ' || g.event || ' ON ') = 0
$$;
COMMENT ON FUNCTION missing_guards(text[]) IS
'For payledger.verify(): of the triggers given as an array of {table, trigger, event, function} those that are missing, not ENABLE ALWAYS, or not what they were. Example: SELECT payledger.missing_guards(''{{postings, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change}}'');';

CREATE FUNCTION invalid_texts(but_for text[]) RETURNS SETOF text
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	one record;
BEGIN
	FOR one IN
		SELECT c.oid::regclass AS table_name,
			   string_agg(format('(%L, t.%I::text)', a.attname, a.attname), ', ' ORDER BY a.attnum) AS texts
		  FROM pg_class c
		  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		 WHERE c.relnamespace = 'payledger'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		   AND c.relname <> ALL (but_for)
		   AND a.atttypid IN ('text'::regtype, 'text[]'::regtype, 'jsonb'::regtype, 'json'::regtype)
		 GROUP BY c.oid ORDER BY 1
	LOOP
		RETURN QUERY EXECUTE format(
			'SELECT format(''%%s.%%s has %%s texts that are not valid, the first in the row at %%s'', %L, c.name, count(*), min(t.ctid))'
			'  FROM %s t, LATERAL (VALUES %s) AS c(name, value) WHERE NOT payledger.is_valid_text(c.value) GROUP BY c.name',
			one.table_name, one.table_name, one.texts);
	END LOOP;
END
$$;
COMMENT ON FUNCTION invalid_texts(text[]) IS
'For payledger.verify(): the columns of the data tables, but for the tables given, that hold texts which are not valid UTF-8, with their number and where the first of them is (ctid). Reads whole tables. Errors: 42501 for a table that the caller may not read. Example: SELECT payledger.invalid_texts(''{}'');';

CREATE FUNCTION core_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('history_is_guarded', false, 'state_history refuses UPDATE, DELETE and TRUNCATE', $q$
	SELECT payledger.missing_guards('{{state_history, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change}}')
	$q$),
	('texts_are_valid', false, 'every text of the tables, but for events, is valid UTF-8 and restores from a dump', $q$
	SELECT payledger.invalid_texts('{outbox_events}')
	$q$)
$$;
COMMENT ON FUNCTION core_checks() IS
'The core''s checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.core_checks();';

CREATE FUNCTION verify(deep boolean DEFAULT false)
	RETURNS TABLE (check_name text, ok boolean, detail text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	todo record;
	check_query text;
	offences bigint;
	examples text;
BEGIN
	PERFORM payledger.require_preload();
	IF to_regclass('payledger.layout') IS NULL THEN
		RAISE EXCEPTION 'payledger is not set up in this database'
			USING ERRCODE = 'PL010', HINT = 'Run SELECT payledger.setup().';
	END IF;

	/* a fixed list: whoever could make a function of such a name must not get it run */
	FOR todo IN
@checks@
	LOOP
		CONTINUE WHEN todo.is_deep AND NOT deep;
		check_name := todo.check_name;
		check_query := format(
			'SELECT count(*), string_agg(offence, ''; '') FILTER (WHERE n <= 5)'
			' FROM (SELECT offence, row_number() OVER () FROM (%s) AS q(offence)) AS o(offence, n)',
			todo.query);
		detail := NULL;
		IF pg_is_in_recovery() THEN
			/* not in a subtransaction: there, a conflict with recovery would end the session */
			EXECUTE check_query INTO offences, examples;
		ELSE
			BEGIN
				EXECUTE check_query INTO offences, examples;
			EXCEPTION WHEN OTHERS THEN
				/* a check that cannot run has not passed */
				detail := format('could not check: %s', SQLERRM);
			END;
		END IF;
		ok := detail IS NULL AND offences = 0;
		detail := coalesce(detail, CASE WHEN offences = 0 THEN todo.description
										WHEN offences <= 5 THEN examples
										ELSE format('%s offences, the first: %s', offences, examples) END);
		RETURN NEXT;
	END LOOP;
END
$$;
REVOKE ALL ON FUNCTION verify(boolean) FROM PUBLIC;
COMMENT ON FUNCTION verify(boolean) IS
'Recomputes everything that must agree (entries, balances, totals, states, histories, events, guards) in one snapshot: one row for each check, detail says what holds or what does not, naming the rows. Takes no locks; reads whole tables. deep adds the checks that take longest. On a hot standby a check that conflicts with recovery ends it with 40001: call it again, or with max_standby_streaming_delay raised. Errors: PL010 not set up, 40001 on a standby. Example: SELECT * FROM payledger.verify() WHERE NOT ok;';
