/*
 * src/core/key_functions.sql: part of the install script
 *
 * What keeps rows unique and right is restored last from a dump.  Where that
 * broke off, a payment could be booked twice; so setup() and verify() look.
 */

/*
 * By the names in the catalogue, which no setting writes otherwise.  NOT NULL is part of a column; as a constraint it is listed by
 * some versions of PostgreSQL only.
 */
CREATE FUNCTION layout_keys() RETURNS text[]
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(k.name ORDER BY k.name COLLATE "C")
	  FROM (SELECT format('constraint %s of table payledger.%s', c.conname, t.name)
			  FROM unnest(payledger.layout_tables()) AS t(name)
			  JOIN pg_constraint c ON c.conrelid = to_regclass('payledger.' || t.name)
			 WHERE c.contype IN ('p', 'u', 'x', 'f', 'c') AND c.convalidated
			   AND (c.conindid = 0 OR c.contype = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.conindid AND i.indisvalid))
			 UNION ALL
			SELECT format('index %s of table payledger.%s', c.relname, t.name)
			  FROM unnest(payledger.layout_tables()) AS t(name)
			  JOIN pg_index i ON i.indrelid = to_regclass('payledger.' || t.name)
			  JOIN pg_class c ON c.oid = i.indexrelid
			 WHERE i.indisvalid AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype <> 'f')) AS k(name)
$$;
REVOKE ALL ON FUNCTION layout_keys() FROM PUBLIC;
COMMENT ON FUNCTION layout_keys() IS
'For payledger.setup(): the constraints and indexes that the tables have, those that are not valid left out; payledger.layout keeps what setup() made. Example: SELECT unnest(payledger.layout_keys());';

CREATE FUNCTION missing_keys() RETURNS SETOF text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('table payledger.%s has no primary key', t.name)
	  FROM unnest(payledger.layout_tables()) AS t(name)
	 WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass('payledger.' || t.name) AND i.indisprimary AND i.indisvalid)
	 UNION ALL
	SELECT k.name || ' is missing or not valid'
	  FROM (SELECT unnest(l.keys) FROM payledger.layout l WHERE l.version = (SELECT max(version) FROM payledger.layout)) AS k(name)
	 WHERE k.name <> ALL (payledger.layout_keys())
$$;
REVOKE ALL ON FUNCTION missing_keys() FROM PUBLIC;
COMMENT ON FUNCTION missing_keys() IS
'The primary keys, unique and foreign keys, checks and indexes that the tables should have and do not, as after a restore that broke off. Nothing when all is well. Example: SELECT payledger.missing_keys();';
