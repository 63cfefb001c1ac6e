/* src/core/setup.sql: part of the install script; the Makefile puts the rooms' SQL in the place of the @...@ lines */

CREATE FUNCTION layout_tables() RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN '{@table_names@}'::text[];
COMMENT ON FUNCTION layout_tables() IS
'The tables that payledger.setup() makes, by their names in schema payledger; without the partitions of outbox_events. Other tables in that schema are not payledger''s. Example: SELECT unnest(payledger.layout_tables());';

/*
 * A dump without data has brought the tables: all of them, of this layout, and
 * empty?  Which layout they are of is in the comment of payledger.layout.
 */
CREATE FUNCTION check_bare_layout(layout_version int) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	layout_comment text := obj_description(to_regclass('payledger.layout'), 'pg_class');
	missing text;
	name text;
	has_rows boolean;
BEGIN
	SELECT string_agg(t, ', ') INTO missing FROM unnest(payledger.layout_tables()) t WHERE to_regclass('payledger.' || t) IS NULL;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION 'tables are missing in schema payledger: %', missing
			USING ERRCODE = 'PL010', HINT = 'Restore them from the dump that the others are from, or drop the others and run payledger.setup() again.';
	END IF;
	IF right(layout_comment, length(layout_version::text) + 8) IS DISTINCT FROM format('layout %s.', layout_version) THEN
		RAISE EXCEPTION 'the tables in schema payledger are not of layout %', layout_version
			USING ERRCODE = 'PL010', DETAIL = format('The comment of payledger.layout is: %s', coalesce(layout_comment, '(none)')),
				  HINT = 'Restore the schema, with its comments, from a database of this version of payledger.';
	END IF;
	FOREACH name IN ARRAY payledger.layout_tables() LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM payledger.%I)', name) INTO has_rows;
		IF has_rows THEN
			RAISE EXCEPTION 'table payledger.% has rows, but payledger.layout has none', name
				USING ERRCODE = 'PL010', HINT = 'Restore all data; payledger.layout is part of it.';
		END IF;
	END LOOP;
END
$$;
REVOKE ALL ON FUNCTION check_bare_layout(int) FROM PUBLIC;
COMMENT ON FUNCTION check_bare_layout(int) IS
'For payledger.setup(): raises PL010 unless the tables that a dump without data (pg_dump -s) has brought are all there, empty, and of that layout. Example: SELECT payledger.check_bare_layout(@layout_version@);';

CREATE FUNCTION setup() RETURNS int
	LANGUAGE plpgsql VOLATILE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET client_min_messages = warning
	SET default_tablespace = '' SET default_table_access_method = 'heap'
AS $setup$
DECLARE
	layout_version CONSTANT int := @layout_version@;
	found_version int;
	foreign_table text;
	made text;
	offence text;
BEGIN
	PERFORM payledger.require_preload();
	IF getdatabaseencoding() <> 'UTF8' THEN
		RAISE EXCEPTION 'payledger needs a database whose encoding is UTF8, not %', getdatabaseencoding()
			USING ERRCODE = '0A000', HINT = 'Create the database with CREATE DATABASE ... TEMPLATE template0 ENCODING ''UTF8''.';
	END IF;
	/* two sessions must not build the layout at once */
	PERFORM payledger.lock_setup();

	/* nothing of another role's is run or read */
	PERFORM payledger.refuse_takeover();
	SELECT format('%s belongs to role %s, not to payledger_owner', pg_describe_object('pg_class'::regclass, c.oid, 0), c.relowner::regrole)
	  INTO foreign_table
	  FROM pg_class c
	 WHERE (c.oid = to_regclass('payledger.layout')
			OR c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = to_regclass('payledger.outbox_events')))
	   AND (c.relowner <> 'payledger_owner'::regrole OR c.relkind <> 'r')
	 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '%', foreign_table
			USING ERRCODE = '42501', HINT = 'SELECT payledger.adopt_tables() takes over what a superuser has made, or restored without its owner.';
	END IF;

	IF to_regclass('payledger.layout') IS NOT NULL THEN
		EXECUTE 'SELECT max(version) FROM payledger.layout' INTO found_version;
	END IF;
	IF found_version > layout_version THEN
		RAISE EXCEPTION 'the layout of this database is version %, newer than this extension''s %', found_version, layout_version
			USING ERRCODE = 'PL010', HINT = 'Run ALTER EXTENSION payledger UPDATE.';
	END IF;

	IF found_version < layout_version THEN
		RAISE EXCEPTION 'the layout of this database is version %, which was never released and cannot be brought to version %', found_version, layout_version
			USING ERRCODE = 'PL010', HINT = 'Export what is needed and set up an empty database.';
	END IF;

	IF found_version IS NULL THEN
		IF to_regclass('payledger.layout') IS NULL THEN
@tables@
		ELSE
			PERFORM payledger.check_bare_layout(layout_version);
		END IF;
@seeds@
		EXECUTE 'INSERT INTO payledger.layout (version, extension_version, keys) VALUES ($1, $2, $3)'
			USING layout_version, '@extension_version@', payledger.layout_keys();
		EXECUTE format('COMMENT ON TABLE payledger.layout IS %L',
					   format('Layout versions that payledger.setup() has applied to this database, newest last. The tables are of layout %s.', layout_version));
	END IF;

	SELECT string_agg(k.offence, '; ') INTO offence FROM (SELECT payledger.missing_keys() LIMIT 5) AS k(offence);
	IF offence IS NOT NULL THEN
		RAISE EXCEPTION 'the tables in schema payledger are not whole'
			USING ERRCODE = 'PL010', DETAIL = offence || '.',
				  HINT = 'Restore the rest of the dump (pg_restore --section=post-data), or make what is missing again; payledger.missing_keys() lists all of it.';
	END IF;

	/* what is right already is neither made again nor locked: this may run beside payments */
	SELECT substring(col_description(a.attrelid, a.attnum) FROM '[0-9a-f]{64}$') INTO made
	  FROM pg_attribute a WHERE a.attrelid = to_regclass('payledger.layout') AND a.attname = 'extension_version';
	IF made IS DISTINCT FROM payledger.made_digest() THEN
		PERFORM payledger.make_triggers_and_views();
		EXECUTE format('COMMENT ON COLUMN payledger.layout.extension_version IS %L',
					   format('Extension that set this layout up. SHA-256 of the triggers and views that it made last: %s', payledger.made_digest()));
	END IF;
	IF EXISTS (SELECT FROM pg_class c CROSS JOIN aclexplode(c.relacl) AS g
				WHERE c.relnamespace = to_regnamespace('payledger') AND c.relkind <> 'S' AND g.grantee = 0)
		OR EXISTS (SELECT FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN aclexplode(a.attacl) AS g
					WHERE c.relnamespace = to_regnamespace('payledger') AND g.grantee = 0) THEN
		EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA payledger FROM PUBLIC';
	END IF;
	PERFORM payledger.begin_incarnation();
	PERFORM payledger.maintain_outbox_partitions();

	/* some of it may be wanted; so it is said, and verify() says it again */
	FOR offence IN SELECT h FROM payledger.foreign_hooks() AS h UNION ALL SELECT g FROM payledger.risky_grants() AS g LIMIT 10 LOOP
		RAISE WARNING '%', offence
			USING HINT = 'What is not payledger''s own runs with the rights of payledger_owner, or of whoever writes to the table.';
	END LOOP;
	RETURN layout_version;
END
$setup$;
REVOKE ALL ON FUNCTION setup() FROM PUBLIC;
COMMENT ON FUNCTION setup() IS
'Creates the data tables, their types, triggers and views in this database, or completes them after DROP EXTENSION CASCADE and CREATE EXTENSION, or after a dump without data was restored; may be run again at any time: what is right already is not locked, and where something has to be made it gives way to open transactions. They are no members of the extension, so that the money outlives it. Returns the layout version. Errors: 0A000 the database is not in UTF8, 42501 another role owns or could make objects in the schema, 55000 the library is not preloaded, 55P03 something has to be made and open transactions use the tables, PL010 the layout is newer than the extension, or tables of a dump are missing, of another layout or without their keys. Example: SELECT payledger.setup();';

CREATE FUNCTION version() RETURNS TABLE (extension_version text, layout_version int)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	extension_version := '@extension_version@';
	IF to_regclass('payledger.layout') IS NOT NULL THEN
		EXECUTE 'SELECT max(version) FROM payledger.layout' INTO layout_version;
	END IF;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION payledger.version() IS
'Version of the extension and of this database''s layout; the latter is null before setup(). Example: SELECT * FROM payledger.version();';
