/* The install script of payledger: the functions.  Data tables are made by payledger.setup(). */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION payledger" to load this file. \quit

/*
 * The schema is no member of the extension, so that the money outlives it.
 * One that another role could drop or fill beforehand is refused.
 */
DO $$
DECLARE
	owner text;
BEGIN
	SELECT r.rolname INTO owner
	  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
	 WHERE n.nspname OPERATOR(pg_catalog.=) 'payledger'
	   AND NOT r.rolsuper AND r.rolname OPERATOR(pg_catalog.<>) current_user;
	IF FOUND THEN
		RAISE EXCEPTION 'schema payledger is owned by role %', owner
			USING ERRCODE = 'insufficient_privilege',
				  HINT = 'Drop or rename that schema, or give it to the role that installs payledger.';
	END IF;
	EXECUTE 'REVOKE ALL ON SCHEMA payledger FROM PUBLIC';
	EXECUTE 'GRANT USAGE ON SCHEMA payledger TO PUBLIC';
END
$$;

/* SQL functions read tables that setup() makes later */
SET LOCAL check_function_bodies = false;
