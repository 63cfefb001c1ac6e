/* src/core/owner_verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION owner_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('owner_is_powerless', false, 'payledger_owner has no power beyond its objects, and no role can act as it', $q$
	SELECT payledger.owner_role_risks()
	$q$),
	('schema_is_closed', false, 'no other role owns or may create objects in the schema', $q$
	SELECT payledger.schema_risks()
	$q$),
	('objects_belong_to_owner', false, 'every object in the schema belongs to payledger_owner', $q$
	SELECT format('%s belongs to role %s', pg_describe_object(o.classid, o.objid, 0), o.owner::regrole)
	  FROM payledger.schema_objects() o WHERE o.owner IS DISTINCT FROM to_regrole('payledger_owner')
	$q$),
	('functions_are_the_extensions', false, 'the schema has no function or operator but the extension''s', $q$
	SELECT pg_describe_object(o.classid, o.objid, 0)
	  FROM payledger.schema_objects() o
	 WHERE o.classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_statistic_ext'::regclass)
	   AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'payledger'
						WHERE d.classid = o.classid AND d.objid = o.objid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
	$q$),
	('keys_are_whole', false, 'every key, check and index that setup() made is there and valid', $q$
	SELECT payledger.missing_keys()
	$q$),
	('tables_are_kept', false, 'no table or sequence is emptied by a crash or left out by pg_dump', $q$
	SELECT format('%s is unlogged, so a crash empties it', pg_describe_object('pg_class'::regclass, c.oid, 0))
	  FROM pg_class c
	 WHERE c.relnamespace = to_regnamespace('payledger') AND c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 'p'
	 UNION ALL
	SELECT format('%s is a member of extension %I, so pg_dump leaves its rows out and DROP EXTENSION drops it',
				  pg_describe_object('pg_class'::regclass, c.oid, 0), e.extname)
	  FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		   JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
	 WHERE c.relnamespace = to_regnamespace('payledger') AND c.relkind IN ('r', 'p', 'S')
	$q$),
	('nothing_foreign_is_attached', false, 'tables and views have only payledger''s triggers, rules, constraints, defaults and indexes', $q$
	SELECT payledger.foreign_hooks()
	$q$),
	('grants_attach_nothing', false, 'no role has TRIGGER, REFERENCES or TRUNCATE on a table', $q$
	SELECT payledger.risky_grants()
	$q$)
$$;
COMMENT ON FUNCTION owner_checks() IS
'The checks of ownership for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.owner_checks();';
