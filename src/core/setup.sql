/* src/core/setup.sql: part of the install script; the Makefile puts the rooms' SQL in the place of the @...@ lines */

CREATE FUNCTION setup() RETURNS int
	LANGUAGE plpgsql VOLATILE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET client_min_messages = warning
AS $setup$
DECLARE
	layout_version CONSTANT int := @layout_version@;
	found_version int;
BEGIN
	/* two sessions must not build the layout at once */
	PERFORM pg_advisory_xact_lock(hashtextextended('payledger.setup', 0));

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
@tables@
		EXECUTE 'INSERT INTO payledger.layout (version, extension_version) VALUES ($1, $2)'
			USING layout_version, '@extension_version@';
	END IF;

	/* triggers and views hold no data: made anew each time */
@triggers@
@views@
	EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA payledger FROM PUBLIC';
	PERFORM payledger.begin_incarnation();
	PERFORM payledger.maintain_outbox_partitions();
	RETURN layout_version;
END
$setup$;
REVOKE ALL ON FUNCTION setup() FROM PUBLIC;
COMMENT ON FUNCTION setup() IS
'Creates the data tables, their types, triggers and views in this database, or completes them after DROP EXTENSION CASCADE and CREATE EXTENSION; may be run again at any time. They are no members of the extension, so that the money outlives it. Returns the layout version. Errors: PL010 the layout is newer than the extension. Example: SELECT payledger.setup();';

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
