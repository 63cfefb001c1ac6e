/* src/core/header.sql: the install script of payledger: the functions.  Data tables are made by payledger.setup(). */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION payledger" to load this file. \quit

/* JSON, what is hashed and signed, and what goes to PSPs and Kafka are UTF-8 */
DO $$
BEGIN
	IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
		RAISE EXCEPTION 'payledger needs a database whose encoding is UTF8, not %', pg_catalog.getdatabaseencoding()
			USING ERRCODE = 'feature_not_supported',
				  HINT = 'Create the database with CREATE DATABASE ... TEMPLATE template0 ENCODING ''UTF8''.';
	END IF;
END
$$;

/*
 * Everything belongs to a role that nobody can log in as and that has no power
 * beyond its objects: what runs with its rights can harm the books, but
 * neither other data nor the server.  One role for all databases of a cluster.
 */
DO $$
BEGIN
	CREATE ROLE payledger_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
	COMMENT ON ROLE payledger_owner IS
		'Owns the objects of the extension payledger. Nobody logs in as it, and nobody should be a member of it.';
EXCEPTION WHEN duplicate_object OR unique_violation THEN
	NULL;						/* refuse_takeover() looks at what it is */
END
$$;

/*
 * The schema is no member of the extension, so that the money outlives it.  It
 * stays the installing superuser's, so that a dump can make it before the role
 * exists; whether another role could have filled it, footer.sql looks.
 */
REVOKE ALL ON SCHEMA payledger FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA payledger TO payledger_owner;

/* SQL functions read tables that setup() makes later */
SET LOCAL check_function_bodies = false;
