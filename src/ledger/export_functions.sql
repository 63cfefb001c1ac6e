/*
 * src/ledger/export_functions.sql: part of the install script
 *
 * The journal as plain text accounting, so that a program that knows nothing of
 * payledger can check the books: it adds up the entries itself and compares
 * with the balances at the end of the file, which come from payledger.
 */

/*
 * Assets:PLATFORM_CASH:GLOBAL of type, entity and category.  A dotted part of
 * the entity becomes a level, so that their balances roll up there too.
 * Beancount wants levels of letters, digits and hyphens that do not begin with
 * a lower case letter.  If that makes one name of two, the one opened later
 * gets its id appended.
 */
CREATE FUNCTION export_names(format text, for_ledger text)
	RETURNS TABLE (account_id bigint, name text, currency text, opened_at timestamptz, account_code text, description text)
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH named AS (
		SELECT a.account_id, a.currency, a.opened_at, a.account_code, t.description, a.account_type, a.entity_id,
			   min(a.account_id) OVER (PARTITION BY a.account_type, a.entity_id) AS first_id,
			   CASE t.category WHEN 'ASSET' THEN 'Assets' WHEN 'LIABILITY' THEN 'Liabilities' WHEN 'EQUITY' THEN 'Equity'
							   WHEN 'REVENUE' THEN 'Income' ELSE 'Expenses' END || ':' ||
			   CASE WHEN $1 = 'hledger' THEN a.account_type || ':' || translate(a.entity_id, ':.', '-:')
					ELSE translate(a.account_type, '_', '-') || ':' ||
						 CASE WHEN a.entity_id COLLATE "C" ~ '(^|[.])[a-z]'
							  THEN (SELECT string_agg(upper(left(part, 1)) || translate(substr(part, 2), '_:', '--'), ':' ORDER BY n)
									  FROM string_to_table(a.entity_id, '.') WITH ORDINALITY AS e(part, n))
							  ELSE translate(a.entity_id, '_:.', '--:') END
			   END AS name
		  FROM payledger.accounts a
		  JOIN payledger.account_types t ON t.account_type = a.account_type
		 WHERE a.ledger = $2)
	SELECT n.account_id, n.name || CASE WHEN n.first_id = min(n.first_id) OVER (PARTITION BY n.name) THEN '' ELSE '-' || n.first_id END,
		   n.currency, n.opened_at, n.account_code, n.description
	  FROM named n
$$;
REVOKE ALL ON FUNCTION export_names(text, text) FROM PUBLIC;
COMMENT ON FUNCTION export_names(text, text) IS
'What payledger.export_journal() calls the accounts of a ledger, in the format hledger or beancount. Accounts of one type and entity in several currencies have one name. Runs with the rights of the caller. Example: SELECT account_code, name FROM payledger.export_names(''hledger'', ''MAIN'');';

CREATE FUNCTION export_quoted(value text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN '"' || replace(replace(value, E'\\', E'\\\\'), '"', E'\\"') || '"';
COMMENT ON FUNCTION export_quoted(text) IS
'A text as a string of beancount. Example: SELECT payledger.export_quoted(''6" pipe'');';

CREATE FUNCTION export_time(at timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
COMMENT ON FUNCTION export_time(timestamptz) IS
'A time in ISO 8601, UTC. Example: SELECT payledger.export_time(now());';

/*
 * One query, in parts: 1 what the file is about, 2 the accounts, 3 the balances
 * before the period, 4 the entries, 5 the balances after it.
 */
CREATE FUNCTION export_journal(format text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
							   for_ledger text DEFAULT 'MAIN')
	RETURNS SETOF text
	LANGUAGE plpgsql STABLE ROWS 100000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan SET jit = off
	SET datestyle = 'ISO, YMD'
AS $$
DECLARE
	is_hledger CONSTANT boolean := format = 'hledger';
	books record;
	from_day date;
	last_day date;
BEGIN
	PERFORM payledger.check_ledger(for_ledger), payledger.check_period("from", "to");
	IF format IS NULL OR for_ledger IS NULL THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN format IS NULL THEN 'format' ELSE 'for_ledger' END USING ERRCODE = '22004';
	END IF;
	IF format NOT IN ('hledger', 'beancount') THEN
		RAISE EXCEPTION 'format "%" does not exist', format
			USING ERRCODE = '22023', HINT = 'The formats are hledger and beancount.';
	END IF;
	SELECT l.ledger, l.description, l.time_zone AS zone INTO books FROM payledger.ledgers l WHERE l.ledger = for_ledger;
	from_day := ("from" AT TIME ZONE books.zone)::date;
	last_day := (("to" - interval '1 microsecond') AT TIME ZONE books.zone)::date;

	RETURN QUERY
	WITH names AS MATERIALIZED (
		SELECT n.*, (n.opened_at AT TIME ZONE books.zone)::date AS opened_on FROM payledger.export_names(format, for_ledger) n),
	entries AS MATERIALIZED (
		SELECT e.*, (e.effective_at AT TIME ZONE books.zone)::date AS day FROM payledger.entries_in_effect("from", "to", NULL) e),
	legs AS MATERIALIZED (
		SELECT e.journal_entry_id, e.day, p.leg, p.account_id,
			   '    ' || n.name || '  ' || payledger.format_amount(p.amount, n.currency) || ' ' || n.currency AS line
		  FROM entries e
		  JOIN payledger.postings p ON p.journal_entry_id = e.journal_entry_id
		  JOIN names n ON n.account_id = p.account_id),
	opening AS MATERIALIZED (
		SELECT b.account_id, CASE b.normal_side WHEN 'DEBIT' THEN b.balance ELSE -b.balance END AS balance
		  FROM payledger.account_balances_at(effective_at => "from" - interval '1 microsecond', for_ledger => for_ledger) b
		 WHERE "from" IS NOT NULL AND b.balance <> 0),
	/* an account is older than itself if an entry was dated back; one opened after the period is left out */
	opened AS MATERIALIZED (
		SELECT n.account_id, n.name, n.currency, n.account_code,
			   least(n.opened_on, l.day, CASE WHEN o.account_id IS NOT NULL THEN from_day - 1 END) AS day
		  FROM names n
		  LEFT JOIN (SELECT account_id, min(day) AS day FROM legs GROUP BY account_id) l ON l.account_id = n.account_id
		  LEFT JOIN opening o ON o.account_id = n.account_id
		 WHERE last_day IS NULL OR n.opened_on <= last_day OR l.account_id IS NOT NULL OR o.account_id IS NOT NULL),
	closing AS MATERIALIZED (
		SELECT n.name, n.currency, CASE b.normal_side WHEN 'DEBIT' THEN b.balance ELSE -b.balance END AS balance
		  FROM payledger.account_balances_at(effective_at => "to" - interval '1 microsecond', for_ledger => for_ledger) b
		  JOIN opened n ON n.account_id = b.account_id),
	/* beancount asserts an account together with those below it */
	asserted AS (
		SELECT c.name, c.currency, c.balance FROM closing c WHERE is_hledger
		 UNION ALL
		SELECT c.name, c.currency, u.balance
		  FROM closing c
		  JOIN (SELECT array_to_string(p.parts[1:n], ':') AS name, b.currency, sum(b.balance) AS balance
				  FROM closing b
				 CROSS JOIN LATERAL (SELECT string_to_array(b.name, ':') AS parts) p
				 CROSS JOIN LATERAL generate_series(3, cardinality(p.parts)) n
				 GROUP BY 1, 2) u ON u.name = c.name AND u.currency = c.currency
		 WHERE NOT is_hledger),
	last AS (
		SELECT coalesce(last_day, greatest((SELECT max(day) FROM legs), (SELECT max(day) FROM opened), from_day)) AS day),
	parts AS (
		SELECT 1 AS part, NULL::timestamptz AS at, NULL::bigint AS id, NULL AS name,
			   CASE WHEN is_hledger
					THEN ARRAY['; ledger ' || books.ledger || ': ' || translate(books.description, E'\n\r', '  '),
							   '; days are those of ' || books.zone, '']
					ELSE ARRAY['option "title" ' || payledger.export_quoted('ledger ' || books.ledger || ': ' || books.description),
							   '; days are those of ' || books.zone] END
			   || ARRAY(SELECT CASE WHEN is_hledger
									THEN 'commodity 1000.' || repeat('0', c.exponent) || ' ' || c.currency
									ELSE 'option "operating_currency" "' || c.currency || '"' END
						  FROM payledger.currencies() c
						 WHERE c.currency IN (SELECT o.currency FROM opened o) ORDER BY c.currency)
			   || ''::text AS lines
		 UNION ALL
		SELECT 2, NULL, NULL, o.name,
			   CASE WHEN is_hledger
					THEN ARRAY['account ' || o.name || '  ; ' || string_agg(o.account_code, ' ' ORDER BY o.currency)]
					ELSE ARRAY[min(o.day) || ' open ' || o.name || '  ' || string_agg(o.currency, ',' ORDER BY o.currency),
							   '  codes: "' || string_agg(o.account_code, ' ' ORDER BY o.currency) || '"'] END
		  FROM opened o GROUP BY o.name
		 UNION ALL
		SELECT 3, NULL, NULL, NULL,
			   ARRAY['', CASE WHEN is_hledger THEN from_day - 1 || ' * opening balances'
							  ELSE from_day - 1 || ' * "opening balances"' END]
			   || array_agg('    ' || n.name || '  ' || payledger.format_total(o.balance, n.currency) || ' ' || n.currency
							ORDER BY n.name COLLATE "C", n.currency)
		  FROM opening o JOIN names n ON n.account_id = o.account_id
		HAVING count(*) > 0
		 UNION ALL
		SELECT 4, e.effective_at, e.journal_entry_id, NULL,
			   CASE WHEN is_hledger
					THEN array_remove(ARRAY['', e.day || ' * (' || e.journal_entry_id || ') ' || e.entry_type,
								'    ; effective:' || payledger.export_time(e.effective_at)
								|| ', recorded:' || payledger.export_time(e.recorded_at)
								|| coalesce(', payment:' || e.payment_id, '') || coalesce(', reverses:' || e.reverses, ''),
								'    ; reference:' || e.reference,
								'    ; metadata:' || e.metadata::text], NULL)
					ELSE array_remove(ARRAY['', e.day || ' * ' || payledger.export_quoted(e.entry_type),
								'    entry: "' || e.journal_entry_id || '"',
								'    effective: "' || payledger.export_time(e.effective_at) || '"',
								'    recorded: "' || payledger.export_time(e.recorded_at) || '"',
								'    payment: "' || e.payment_id || '"',
								'    reverses: "' || e.reverses || '"',
								'    reference: ' || payledger.export_quoted(e.reference),
								'    metadata: ' || payledger.export_quoted(e.metadata::text)], NULL)
			   END || l.lines
		  FROM entries e
		  JOIN (SELECT journal_entry_id, array_agg(line ORDER BY leg) AS lines FROM legs GROUP BY journal_entry_id) l
			ON l.journal_entry_id = e.journal_entry_id
		 UNION ALL
		SELECT 5, NULL, NULL, NULL,
			   CASE WHEN is_hledger
					THEN ARRAY['', last.day || ' * closing balances']
						 || array_agg('    ' || a.name || '  0 ' || a.currency || ' = ' || payledger.format_total(a.balance, a.currency)
									  || ' ' || a.currency ORDER BY a.name COLLATE "C", a.currency)
					ELSE ARRAY['']
						 || array_agg(last.day + 1 || ' balance ' || a.name || '  ' || payledger.format_total(a.balance, a.currency)
									  || ' ~ 0 ' || a.currency ORDER BY a.name COLLATE "C", a.currency) END
		  FROM asserted a CROSS JOIN last
		 GROUP BY last.day)
	SELECT unnest(p.lines) FROM parts p ORDER BY p.part, p.at, p.id, p.name COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION export_journal(text, timestamptz, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION export_journal(text, timestamptz, timestamptz, text) IS
'The journal of a ledger as plain text accounting, a line a row, in the format hledger or beancount: the accounts, the entries that took effect from the first time up to but not including the second (null: no bound) under their days in the ledger''s time zone, the balances before them, and at the end the balance of every account as payledger knows it, which the program that reads the file compares with its own. Legs of an entry in other ledgers are left out. Errors: 22003 a balance passes a bigint, 22004 no format or ledger, 22023 no such format or the period ends before it begins, PL007 no such ledger, PL010 not set up. Example: psql -XAtqc "SELECT payledger.export_journal(''hledger'')" -o books.journal && hledger -f books.journal check --strict';
