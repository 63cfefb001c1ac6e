/*
 * src/core/owner_functions.sql: part of the install script
 *
 * Whose the objects are.  What another role owns, or could make, in the schema
 * would run with the rights of whoever uses payledger.
 */

CREATE FUNCTION schema_objects() RETURNS TABLE (classid oid, objid oid, owner oid)
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT o.classid::oid, o.oid, o.owner
	  FROM (SELECT 'pg_class'::regclass AS classid, oid, relowner AS owner, relnamespace AS namespace
			  FROM pg_class WHERE relkind NOT IN ('i', 'I', 't')
			 UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, pronamespace FROM pg_proc
			/* not those that come with a table or as the array of another */
			 UNION ALL SELECT 'pg_type'::regclass, oid, typowner, typnamespace FROM pg_type t
						WHERE typrelid = 0 AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
			 UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner, oprnamespace FROM pg_operator
			 UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner, opcnamespace FROM pg_opclass
			 UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner, opfnamespace FROM pg_opfamily
			 UNION ALL SELECT 'pg_collation'::regclass, oid, collowner, collnamespace FROM pg_collation
			 UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner, connamespace FROM pg_conversion
			 UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner, stxnamespace FROM pg_statistic_ext
			 UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner, cfgnamespace FROM pg_ts_config
			 UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner, dictnamespace FROM pg_ts_dict) AS o
	 WHERE o.namespace = to_regnamespace('payledger')
$$;
REVOKE ALL ON FUNCTION schema_objects() FROM PUBLIC;
COMMENT ON FUNCTION schema_objects() IS
'Everything in the schema payledger that has an owner, whoever made it, with that owner. Example: SELECT pg_describe_object(classid, objid, 0), owner::regrole FROM payledger.schema_objects();';

CREATE FUNCTION owner_role_risks() RETURNS SETOF text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'role payledger_owner does not exist' WHERE to_regrole('payledger_owner') IS NULL
	 UNION ALL
	SELECT format('role payledger_owner is %s',
				  array_to_string(array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcanlogin THEN 'LOGIN' END,
													 CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
													 CASE WHEN r.rolreplication THEN 'REPLICATION' END,
													 CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL), ', '))
	  FROM pg_roles r
	 WHERE r.rolname = 'payledger_owner'
	   AND (r.rolsuper OR r.rolcanlogin OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls)
	 UNION ALL
	/* a member can act as the owner, and the owner as what it is a member of */
	SELECT format('role %s is a member of payledger_owner', quote_ident(m.rolname))
	  FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
	 WHERE a.roleid = to_regrole('payledger_owner') AND NOT m.rolsuper
	 UNION ALL
	SELECT format('role payledger_owner is a member of %s', quote_ident(g.rolname))
	  FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid
	 WHERE a.member = to_regrole('payledger_owner')
$$;
REVOKE ALL ON FUNCTION owner_role_risks() FROM PUBLIC;
COMMENT ON FUNCTION owner_role_risks() IS
'What makes the role payledger_owner more than the owner of payledger''s objects, or another role the same. Nothing when all is well. Example: SELECT payledger.owner_role_risks();';

CREATE FUNCTION schema_risks() RETURNS SETOF text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('schema payledger belongs to role %s', quote_ident(r.rolname))
	  FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
	 WHERE n.nspname = 'payledger' AND NOT r.rolsuper AND r.rolname <> 'payledger_owner'
	 UNION ALL
	SELECT format('role %s may create objects in schema payledger', coalesce(quote_ident(r.rolname), 'PUBLIC'))
	  FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) AS a LEFT JOIN pg_roles r ON r.oid = a.grantee
	 WHERE n.nspname = 'payledger' AND a.privilege_type = 'CREATE'
	   AND r.rolsuper IS NOT TRUE AND r.rolname IS DISTINCT FROM 'payledger_owner'
	 UNION ALL
	SELECT format('extension payledger belongs to role %s', quote_ident(r.rolname))
	  FROM pg_extension e JOIN pg_roles r ON r.oid = e.extowner
	 WHERE e.extname = 'payledger' AND NOT r.rolsuper
	 UNION ALL
	SELECT format('%s belongs to role %s', pg_describe_object(o.classid, o.objid, 0), quote_ident(r.rolname))
	  FROM payledger.schema_objects() o JOIN pg_roles r ON r.oid = o.owner
	 WHERE NOT r.rolsuper AND r.rolname <> 'payledger_owner'
$$;
REVOKE ALL ON FUNCTION schema_risks() FROM PUBLIC;
COMMENT ON FUNCTION schema_risks() IS
'What another role than a superuser and payledger_owner owns or may create in the schema payledger. Nothing when all is well. Example: SELECT payledger.schema_risks();';

CREATE FUNCTION refuse_takeover() RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	risk text;
BEGIN
	SELECT r INTO risk FROM payledger.owner_role_risks() AS r LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '%', risk
			USING ERRCODE = 'insufficient_privilege',
				  HINT = 'payledger_owner must be NOLOGIN without any other power, be a member of no role and have none as a member.';
	END IF;
	SELECT r INTO risk FROM payledger.schema_risks() AS r LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '%', risk
			USING ERRCODE = 'insufficient_privilege',
				  HINT = 'Find out how it came there, then drop it, revoke it, or have a superuser give it to payledger_owner.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION refuse_takeover() FROM PUBLIC;
COMMENT ON FUNCTION refuse_takeover() IS
'Raises an error if another role owns something in the schema payledger, may create something there, or can act as payledger_owner: CREATE EXTENSION and payledger.setup() go no further then. Errors: 42501. Example: SELECT payledger.refuse_takeover();';

CREATE FUNCTION adopt_tables() RETURNS int
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n int := 0;
	found record;
BEGIN
	IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
		RAISE EXCEPTION 'permission denied to give objects to payledger_owner'
			USING ERRCODE = 'insufficient_privilege', HINT = 'Only a superuser may call this function.';
	END IF;
	FOR found IN
		SELECT CASE o.classid WHEN 'pg_type'::regclass THEN format('ALTER TYPE %s', o.objid::regtype)
				ELSE format('ALTER %s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
							o.objid::regclass) END AS command
		  FROM payledger.schema_objects() o
		  JOIN pg_roles r ON r.oid = o.owner AND r.rolsuper
		  LEFT JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
		 WHERE (c.relkind IN ('r', 'p', 'v')
				/* one that belongs to a column goes with its table */
				OR c.relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid
													  AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass)
				OR o.classid = 'pg_type'::regclass)
		   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e')
	LOOP
		EXECUTE found.command || ' OWNER TO payledger_owner';
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;
REVOKE ALL ON FUNCTION adopt_tables() FROM PUBLIC;
COMMENT ON FUNCTION adopt_tables() IS
'For a superuser: gives the tables, views, sequences and types in the schema payledger that belong to superusers to payledger_owner, as after pg_restore --no-owner, and returns their number. Errors: 42501 not a superuser. Example: SELECT payledger.adopt_tables();';

CREATE FUNCTION lock_setup() RETURNS void
	AS 'MODULE_PATHNAME', 'pl_sql_lock_setup'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION lock_setup() FROM PUBLIC;
COMMENT ON FUNCTION lock_setup() IS
'For payledger.setup(): waits until no other session builds the layout of this database, and keeps others from it until the transaction ends, by a lock that no other function takes. Example: SELECT payledger.lock_setup();';
