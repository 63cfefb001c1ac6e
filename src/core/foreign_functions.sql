/*
 * src/core/foreign_functions.sql: part of the install script
 *
 * What others have hung on payledger's tables.  It runs with the rights of
 * payledger_owner, or of a superuser who writes to a table by hand.
 */

/* every trigger that setup() makes; those of the outbox's partitions are not named */
CREATE FUNCTION known_triggers() RETURNS TABLE (table_name text, trigger_name text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
@known_triggers@
$$;
COMMENT ON FUNCTION known_triggers() IS
'The triggers that payledger.setup() makes, but for those of single partitions of the outbox. Example: SELECT * FROM payledger.known_triggers();';

CREATE FUNCTION foreign_hooks() RETURNS SETOF text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH own AS MATERIALIZED (
		SELECT c.oid, c.relname, c.relkind, c.relrowsecurity FROM pg_class c WHERE c.relnamespace = to_regnamespace('payledger')),
	/* whatever runs, or is looked up, when a relation is used */
	parts AS (
		SELECT 'pg_class'::regclass AS classid, o.oid FROM own o
		 UNION ALL SELECT 'pg_constraint'::regclass, x.oid FROM pg_constraint x
					WHERE x.connamespace = to_regnamespace('payledger') OR x.conrelid IN (SELECT o.oid FROM own o)
		 UNION ALL SELECT 'pg_attrdef'::regclass, x.oid FROM pg_attrdef x JOIN own o ON o.oid = x.adrelid
		 UNION ALL SELECT 'pg_trigger'::regclass, x.oid FROM pg_trigger x JOIN own o ON o.oid = x.tgrelid
		 UNION ALL SELECT 'pg_rewrite'::regclass, x.oid FROM pg_rewrite x JOIN own o ON o.oid = x.ev_class
		 UNION ALL SELECT 'pg_policy'::regclass, x.oid FROM pg_policy x JOIN own o ON o.oid = x.polrelid
		 UNION ALL SELECT 'pg_statistic_ext'::regclass, x.oid FROM pg_statistic_ext x JOIN own o ON o.oid = x.stxrelid
		 UNION ALL SELECT 'pg_type'::regclass, x.oid FROM pg_type x WHERE x.typnamespace = to_regnamespace('payledger'))
	SELECT format('trigger %s of table %s is none of payledger''s', quote_ident(t.tgname), quote_ident(o.relname))
	  FROM pg_trigger t JOIN own o ON o.oid = t.tgrelid
	 WHERE NOT t.tgisinternal AND t.tgparentid = 0
	   AND NOT EXISTS (SELECT FROM payledger.known_triggers() k WHERE k.table_name = o.relname AND k.trigger_name = t.tgname)
	   AND NOT (t.tgname = 'refuse_truncate'
				AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = o.oid AND i.inhparent = to_regclass('payledger.outbox_events')))
	 UNION ALL
	SELECT format('rule %s of %s', quote_ident(r.rulename), quote_ident(o.relname))
	  FROM pg_rewrite r JOIN own o ON o.oid = r.ev_class
	 WHERE o.relkind NOT IN ('v', 'm') OR r.rulename <> '_RETURN'
	 UNION ALL
	SELECT format('policy %s of table %s', quote_ident(p.polname), quote_ident(o.relname))
	  FROM pg_policy p JOIN own o ON o.oid = p.polrelid
	 UNION ALL
	SELECT format('row security of table %s', quote_ident(o.relname)) FROM own o WHERE o.relrowsecurity
	 UNION ALL
	SELECT format('%s references table %s', pg_describe_object('pg_constraint'::regclass, c.oid, 0), quote_ident(o.relname))
	  FROM pg_constraint c JOIN own o ON o.oid = c.confrelid
	 WHERE c.contype = 'f' AND c.conrelid NOT IN (SELECT n.oid FROM own n)
	 UNION ALL
	SELECT format('%s inherits from table %s', pg_describe_object('pg_class'::regclass, i.inhrelid, 0), quote_ident(o.relname))
	  FROM pg_inherits i JOIN own o ON o.oid = i.inhparent
	 WHERE i.inhrelid NOT IN (SELECT n.oid FROM own n)
	 UNION ALL
	/* partitions are dropped: of these alone it matters who uses them or their row types */
	SELECT DISTINCT format('%s keeps partition %s from being dropped', pg_describe_object(d.classid, d.objid, d.objsubid), quote_ident(o.relname))
	  FROM own o JOIN pg_inherits i ON i.inhrelid = o.oid AND i.inhparent = to_regclass('payledger.outbox_events')
	  JOIN pg_type t ON t.typrelid = o.oid
	  JOIN pg_depend d ON d.deptype = 'n' AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid
											   OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
	 WHERE d.classid <> 'pg_constraint'::regclass
	 UNION ALL
	/* nothing of PostgreSQL's own is noted in pg_depend */
	SELECT DISTINCT format('%s uses %s', pg_describe_object(p.classid, p.oid, 0), pg_describe_object(d.refclassid, d.refobjid, 0))
	  FROM parts p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.oid
	 WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass,
							'pg_collation'::regclass, 'pg_ts_config'::regclass, 'pg_class'::regclass, 'pg_am'::regclass, 'pg_foreign_server'::regclass)
	   AND NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT o.oid FROM own o))
	   AND NOT (d.refclassid = 'pg_type'::regclass
				AND EXISTS (SELECT FROM pg_type t WHERE t.oid = d.refobjid AND t.typnamespace = to_regnamespace('payledger')))
	   AND NOT (d.refclassid = 'pg_proc'::regclass
				AND EXISTS (SELECT FROM pg_depend m JOIN pg_extension e ON e.oid = m.refobjid AND e.extname = 'payledger'
							 WHERE m.classid = d.refclassid AND m.objid = d.refobjid AND m.refclassid = 'pg_extension'::regclass
							   AND m.deptype = 'e')
				AND EXISTS (SELECT FROM pg_proc f WHERE f.oid = d.refobjid AND f.proowner = to_regrole('payledger_owner')))
$$;
REVOKE ALL ON FUNCTION foreign_hooks() FROM PUBLIC;
COMMENT ON FUNCTION foreign_hooks() IS
'What is attached to tables and views of payledger and is none of its own: triggers, rules, policies, foreign keys and children of other tables, functions, operators, types or tables of others that a constraint, default, index, view or statistics object uses, and what of others keeps a partition of the outbox from being dropped. Nothing when all is well. Example: SELECT payledger.foreign_hooks();';

CREATE FUNCTION risky_grants() RETURNS SETOF text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('role %s has %s on %s', coalesce(quote_ident(r.rolname), 'PUBLIC'), g.privilege, g.object)
	  FROM (SELECT quote_ident(c.relname) AS object, a.grantee, a.privilege_type AS privilege
			  FROM pg_class c CROSS JOIN aclexplode(c.relacl) AS a
			 WHERE c.relnamespace = to_regnamespace('payledger')
			 UNION ALL
			SELECT format('column %s of %s', quote_ident(t.attname), quote_ident(c.relname)), a.grantee, a.privilege_type
			  FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN aclexplode(t.attacl) AS a
			 WHERE c.relnamespace = to_regnamespace('payledger')
			 UNION ALL
			SELECT 'what payledger_owner will create', a.grantee, a.privilege_type
			  FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) AS a
			 WHERE d.defaclrole = to_regrole('payledger_owner')) AS g
	  LEFT JOIN pg_roles r ON r.oid = g.grantee
	 WHERE g.privilege IN ('TRIGGER', 'REFERENCES', 'TRUNCATE')
	   AND r.rolsuper IS NOT TRUE AND r.rolname IS DISTINCT FROM 'payledger_owner'
$$;
REVOKE ALL ON FUNCTION risky_grants() FROM PUBLIC;
COMMENT ON FUNCTION risky_grants() IS
'Privileges on tables of payledger with which a role could hang its own code on them or empty them: TRIGGER, REFERENCES and TRUNCATE, which GRANT ALL includes. Nothing when all is well. Example: SELECT payledger.risky_grants();';
