/*
 * src/core/made_functions.sql: part of the install script
 *
 * Triggers and views, which setup() makes, and makes again when they are not
 * what it made last.
 */

CREATE FUNCTION layout_views() RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN '{@view_names@}'::text[];
COMMENT ON FUNCTION layout_views() IS
'The views that payledger.setup() makes, by their names in schema payledger. Example: SELECT unnest(payledger.layout_views());';

CREATE FUNCTION lock_for_setup(names text[]) RETURNS void
	AS 'MODULE_PATHNAME', 'pl_sql_lock_for_setup'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION lock_for_setup(text[]) FROM PUBLIC;
COMMENT ON FUNCTION lock_for_setup(text[]) IS
'For payledger.setup(): locks these tables and views of schema payledger, in the order given, against writers and readers, and gives up before anybody who waits for it could be the victim of a deadlock. Errors: 55P03 others use one of them for too long. Example: SELECT payledger.lock_for_setup(''{payments}'');';

/*
 * Views first: who reads them may be a long report, and nothing that payments
 * need is held while it is waited for.  Then what payments seldom write, and
 * the other tables in the order in which they are written; each of those that
 * write more than one gets the first before the second.
 */
CREATE FUNCTION make_triggers_and_views() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $make$
BEGIN
	PERFORM payledger.lock_for_setup(payledger.layout_views()
		|| ARRAY(SELECT k.table_name FROM payledger.known_triggers() k GROUP BY k.table_name
				  ORDER BY array_position('{payment_intents,refunds,payments,payment_orders,psp_requests,state_history,accounts,journal_entries,postings,settlement_items,outbox_events}',
										  k.table_name) NULLS FIRST, k.table_name)
		|| ARRAY(SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
				  WHERE i.inhparent = to_regclass('payledger.outbox_events') ORDER BY c.oid));
@triggers@
@views@
END
$make$;
REVOKE ALL ON FUNCTION make_triggers_and_views() FROM PUBLIC;
COMMENT ON FUNCTION make_triggers_and_views() IS
'For payledger.setup(): makes all triggers and views again. Errors: 55P03 open transactions use the tables. Example: SELECT payledger.make_triggers_and_views();';

/* as the catalogue has it, which takes no lock and depends on no setting */
CREATE FUNCTION made_digest() RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT encode(sha256(convert_to(string_agg(m.line, E'\n' ORDER BY m.line COLLATE "C"), 'UTF8')), 'hex')
	  FROM (SELECT p.prosrc AS line FROM pg_proc p WHERE p.oid = to_regprocedure('payledger.make_triggers_and_views()')
			 UNION ALL
			SELECT format('trigger %s of %s: %s', k.trigger_name, k.table_name,
						  (t.tgenabled, t.tgtype, t.tgfoid, encode(t.tgargs, 'hex'), t.tgattr, t.tgqual, t.tgoldtable, t.tgnewtable, t.tgconstraint))
			  FROM payledger.known_triggers() k
			  LEFT JOIN pg_trigger t ON t.tgrelid = to_regclass('payledger.' || k.table_name) AND t.tgname = k.trigger_name
			 UNION ALL
			/* partitions come and go, so only what is wrong with one counts; 34 is BEFORE TRUNCATE, for each statement */
			SELECT format('partition %s', i.inhrelid)
			  FROM pg_inherits i
			 WHERE i.inhparent = to_regclass('payledger.outbox_events')
			   AND (EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = i.inhrelid AND t.tgparentid <> 0 AND t.tgenabled <> 'A')
					OR NOT EXISTS (SELECT FROM pg_trigger t
									WHERE t.tgrelid = i.inhrelid AND t.tgname = 'refuse_truncate' AND t.tgenabled = 'A' AND t.tgtype = 34
									  AND t.tgfoid = to_regprocedure('payledger.refuse_change()') AND t.tgqual IS NULL))
			 UNION ALL
			SELECT format('view %s: %s', v.name,
						  (c.reloptions, r.ev_action, obj_description(c.oid, 'pg_class'),
						   ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum)))
			  FROM unnest(payledger.layout_views()) AS v(name)
			  LEFT JOIN pg_class c ON c.oid = to_regclass('payledger.' || v.name) AND c.relkind = 'v'
			  LEFT JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN') AS m
$$;
REVOKE ALL ON FUNCTION made_digest() FROM PUBLIC;
COMMENT ON FUNCTION made_digest() IS
'For payledger.setup(): SHA-256 of the triggers and views as they are and of the statements that make them. Example: SELECT payledger.made_digest();';
