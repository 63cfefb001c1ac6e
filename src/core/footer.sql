/* src/core/footer.sql: the end of the install script */

/*
 * A schema that another role could fill is refused; what superusers have in it,
 * such as tables restored with --no-owner, is taken over.
 */
DO $$
BEGIN
	PERFORM payledger.refuse_takeover();
	PERFORM payledger.adopt_tables();
END
$$;

/*
 * The extension's functions.  Making one in C takes a superuser; owning it does
 * not.  The GRANT changes nothing, but has the privileges under the new owner
 * noted as those the extension came with, so that a dump need not repeat them.
 */
DO $$
DECLARE
	member record;
BEGIN
	FOR member IN
		SELECT d.classid, d.objid, d.objid::pg_catalog.regprocedure AS signature
		  FROM pg_catalog.pg_depend d
		 WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
		   AND d.refobjid OPERATOR(pg_catalog.=)
			   (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'payledger')
		   AND d.deptype OPERATOR(pg_catalog.=) 'e'
	LOOP
		IF member.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_proc'::pg_catalog.regclass THEN
			RAISE EXCEPTION 'a member of the extension is no function: %',
				pg_catalog.pg_describe_object(member.classid, member.objid, 0);
		END IF;
		EXECUTE pg_catalog.format('ALTER ROUTINE %s OWNER TO payledger_owner', member.signature);
		EXECUTE pg_catalog.format('GRANT ALL ON ROUTINE %s TO payledger_owner', member.signature);
	END LOOP;
END
$$;
