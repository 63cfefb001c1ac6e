-- What the catalogue must say of every object: a comment, a pinned path, no
-- privilege that PUBLIC should not have.
BEGIN;
SELECT plan(15);

CREATE TEMP VIEW our_functions AS
	SELECT p.*, p.oid::regprocedure::text AS signature FROM pg_proc p
	 WHERE p.pronamespace = 'payledger'::regnamespace;
CREATE TEMP VIEW our_relations AS
	SELECT c.* FROM pg_class c WHERE c.relnamespace = 'payledger'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
	   AND c.relname !~ '^outbox_events_p\d+$';

SELECT is_empty($$SELECT signature FROM our_functions WHERE obj_description(oid, 'pg_proc') IS NULL$$,
	'every function has a comment');
SELECT is_empty($$SELECT relname FROM our_relations WHERE obj_description(oid, 'pg_class') IS NULL$$,
	'every table, view and sequence has a comment');
SELECT is_empty($$SELECT signature FROM our_functions
	WHERE prorettype <> 'trigger'::regtype AND obj_description(oid, 'pg_proc') !~ 'Example: '$$,
	'every function''s comment has an example');
SELECT is_empty($$SELECT signature FROM our_functions
	WHERE obj_description(oid, 'pg_proc') !~ '\.$|;$|\)$|[a-z0-9]$'$$, 'comments are sentences');
SELECT is_empty($$SELECT relname FROM our_relations WHERE relkind IN ('r', 'p', 'v') AND NOT EXISTS (
	SELECT FROM pg_attribute a WHERE a.attrelid = our_relations.oid AND a.attnum > 0)$$, 'every table has columns');

SELECT is_empty($$SELECT signature FROM our_functions WHERE prosecdef
	AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))$$,
	'every SECURITY DEFINER function pins its path: pg_catalog, then pg_temp, and no other schema');

SELECT is_empty($$SELECT signature FROM our_functions
	WHERE provolatile = 'v' AND has_function_privilege('public', oid, 'EXECUTE')$$,
	'PUBLIC executes nothing that may write');
SELECT is_empty($$SELECT signature FROM our_functions
	WHERE prosecdef AND has_function_privilege('public', oid, 'EXECUTE') AND proname NOT IN ('version')$$,
	'PUBLIC executes nothing as the owner but version()');
SELECT is_empty($$SELECT relname FROM our_relations, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
	WHERE relkind <> 'S' AND has_table_privilege('public', our_relations.oid, privilege)$$,
	'PUBLIC has no privilege on any table or view');
SELECT is_empty($$SELECT relname FROM our_relations WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege('public', oid, 'USAGE') END$$,
	'nor on any sequence');
SELECT ok(NOT has_schema_privilege('public', 'payledger', 'CREATE'), 'PUBLIC creates nothing in the schema');
SELECT ok(NOT has_schema_privilege('public', 'payledger', 'USAGE'), 'nor uses it: that is enough to lock its tables');

SELECT is_empty($$SELECT t.tgrelid::regclass, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'payledger'::regnamespace AND NOT t.tgisinternal AND t.tgenabled <> 'A'$$,
	'every trigger also fires in replica sessions');
SELECT is_empty($$SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN our_relations c ON c.oid = a.attrelid
	JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = a.atttypid AND d.deptype = 'e'
	WHERE c.relkind IN ('r', 'p')$$, 'no column has a type that DROP EXTENSION would take away');

SELECT is_empty($$SELECT pg_describe_object(classid, objid, 0) FROM payledger.schema_objects() WHERE owner <> 'payledger_owner'::regrole$$,
	'everything belongs to payledger_owner');
SELECT * FROM finish();
ROLLBACK;
