/*
 * src/ledger/report_functions.sql: part of the install script
 *
 * Statements at a given time or over a period.  The same at this moment, where
 * it makes sense, are views: views.sql.
 *
 * Two times bound every one of them.  effective_at: entries that took effect
 * until then.  as_of: entries recorded until then, which is what was known at
 * that moment; a report with as_of given stays the same for ever.  Periods are
 * half open: from the first time up to but not including the second.
 *
 * The larger queries are planned for the values of each call: whether an
 * account has ten postings or ten million, and a period a day or ten years,
 * makes all the difference.
 */

/* ---- what they are made of ---- */

CREATE FUNCTION check_ledger(ledger text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regclass('payledger.ledgers') IS NULL THEN
		RAISE EXCEPTION 'payledger is not set up in this database'
			USING ERRCODE = 'PL010', HINT = 'Run SELECT payledger.setup().';
	END IF;
	IF ledger IS NOT NULL AND NOT EXISTS (SELECT FROM payledger.ledgers l WHERE l.ledger = check_ledger.ledger) THEN
		RAISE EXCEPTION 'ledger "%" does not exist', ledger
			USING ERRCODE = 'PL007', HINT = 'payledger.ledgers lists them, payledger.add_ledger() adds one.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION check_ledger(text) FROM PUBLIC;
COMMENT ON FUNCTION check_ledger(text) IS
'Raises an error unless there is such a ledger; null stands for all ledgers. Errors: PL007 no such ledger, PL010 not set up. Example: SELECT payledger.check_ledger(''MAIN'');';

CREATE FUNCTION check_period("from" timestamptz, "to" timestamptz) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF "to" < "from" THEN
		RAISE EXCEPTION 'the period ends before it begins'
			USING ERRCODE = '22023', DETAIL = format('It is from %s to %s.', "from", "to");
	END IF;
END
$$;
REVOKE ALL ON FUNCTION check_period(timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION check_period(timestamptz, timestamptz) IS
'Raises an error if a period ends before it begins; null stands for no bound. Errors: 22023. Example: SELECT payledger.check_period(''2026-01-01'', ''2026-02-01'');';

/* Milliseconds since 2025-01-01 in the upper bits: src/core/ids.c */
CREATE FUNCTION first_id_at(at timestamptz) RETURNS bigint
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN at >= '2094-01-01 00:00+00' THEN 9223372036854775807
				WHEN at <= '2025-01-01 00:00+00' THEN 0
				ELSE (ceil(extract(epoch FROM at) * 1000)::bigint - 1735689600000) << 22 END;
COMMENT ON FUNCTION first_id_at(timestamptz) IS
'The lowest id that can have been given out at that time or later: ids recorded before it are lower. Example: SELECT count(*) FROM payledger.journal_entries WHERE journal_entry_id >= payledger.first_id_at(now() - interval ''1 day'');';

/*
 * Entries that took effect when they were recorded come by their ids, the
 * others by effective_shifts.  No SECURITY DEFINER and no SET, so that it
 * becomes a part of the caller's query; so every operator is qualified.
 */
CREATE FUNCTION entries_in_effect("from" timestamptz, "to" timestamptz, as_of timestamptz)
	RETURNS TABLE (journal_entry_id bigint, recorded_at timestamptz, effective_at timestamptz, entry_type text,
				   payment_id bigint, reverses bigint, reference text, metadata jsonb)
	LANGUAGE sql STABLE PARALLEL SAFE
AS $$
	SELECT j.journal_entry_id, j.recorded_at, j.effective_at, j.entry_type, j.payment_id, j.reverses, j.reference, j.metadata
	  FROM payledger.journal_entries j
	 WHERE j.journal_entry_id OPERATOR(pg_catalog.>=) payledger.first_id_at(coalesce($1, '-infinity'))
	   AND j.journal_entry_id OPERATOR(pg_catalog.<) payledger.first_id_at(coalesce($2, 'infinity'))
	   AND j.effective_at OPERATOR(pg_catalog.>=) coalesce($1, '-infinity') AND j.effective_at OPERATOR(pg_catalog.<) coalesce($2, 'infinity')
	   AND j.recorded_at OPERATOR(pg_catalog.<=) coalesce($3, 'infinity')
	 UNION ALL
	SELECT j.journal_entry_id, j.recorded_at, j.effective_at, j.entry_type, j.payment_id, j.reverses, j.reference, j.metadata
	  FROM (SELECT DISTINCT s.journal_entry_id FROM payledger.effective_shifts s
			 WHERE s.at OPERATOR(pg_catalog.>=) coalesce($1, '-infinity') AND s.at OPERATOR(pg_catalog.<) coalesce($2, 'infinity')
			   AND (s.journal_entry_id OPERATOR(pg_catalog.<) payledger.first_id_at(coalesce($1, '-infinity'))
					OR s.journal_entry_id OPERATOR(pg_catalog.>=) payledger.first_id_at(coalesce($2, 'infinity')))) d
	  JOIN payledger.journal_entries j ON j.journal_entry_id OPERATOR(pg_catalog.=) d.journal_entry_id
	 WHERE j.effective_at OPERATOR(pg_catalog.>=) coalesce($1, '-infinity') AND j.effective_at OPERATOR(pg_catalog.<) coalesce($2, 'infinity')
	   AND j.recorded_at OPERATOR(pg_catalog.<=) coalesce($3, 'infinity')
$$;
REVOKE ALL ON FUNCTION entries_in_effect(timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION entries_in_effect(timestamptz, timestamptz, timestamptz) IS
'The entries that took effect from the first time up to but not including the second, of those recorded until as_of; null: no bound. Runs with the rights of the caller. Example: SELECT entry_type, count(*) FROM payledger.entries_in_effect(''2026-01-01'', ''2026-02-01'', NULL) GROUP BY entry_type;';

/*
 * The postings of one account without reading those before and after the
 * period: its index is by transaction, and the folds tell which transactions
 * wrote which ids.
 */
CREATE FUNCTION postings_in_effect(account_id bigint, "from" timestamptz, "to" timestamptz, as_of timestamptz)
	RETURNS TABLE (journal_entry_id bigint, leg smallint, amount bigint, recorded_at timestamptz, effective_at timestamptz,
				   entry_type text, reference text, metadata jsonb)
	LANGUAGE sql STABLE PARALLEL SAFE
AS $$
	WITH bounds AS MATERIALIZED (
		SELECT b.from_id, b.to_id, coalesce(f.snapshot_xmax, 0) AS from_no, coalesce(f.snapshot_xip, '{}') AS open_nos,
			   coalesce((SELECT t.snapshot_xmax FROM payledger.folds t WHERE t.xmax_after OPERATOR(pg_catalog.>=) (b.to_id OPERATOR(pg_catalog.-) 1)
						  ORDER BY t.xmax_after LIMIT 1), 9223372036854775807) AS to_no
		  FROM (SELECT payledger.first_id_at(coalesce($2, '-infinity')) AS from_id,
					   payledger.first_id_at(coalesce($3, 'infinity')) AS to_id) b
		  LEFT JOIN LATERAL (SELECT snapshot_xmax, snapshot_xip FROM payledger.folds
							  WHERE newest_id OPERATOR(pg_catalog.<) b.from_id ORDER BY newest_id DESC LIMIT 1) f ON true),
	found AS (
		SELECT p.journal_entry_id, p.leg, p.amount
		  FROM bounds b JOIN payledger.postings p ON p.account_id OPERATOR(pg_catalog.=) $1 AND p.transaction_no OPERATOR(pg_catalog.>=) b.from_no AND p.transaction_no OPERATOR(pg_catalog.<) b.to_no
		 WHERE p.journal_entry_id OPERATOR(pg_catalog.>=) b.from_id AND p.journal_entry_id OPERATOR(pg_catalog.<) b.to_id
		 UNION ALL
		SELECT p.journal_entry_id, p.leg, p.amount
		  FROM bounds b JOIN payledger.postings p ON p.account_id OPERATOR(pg_catalog.=) $1 AND p.transaction_no OPERATOR(pg_catalog.=) ANY (b.open_nos)
		 WHERE p.journal_entry_id OPERATOR(pg_catalog.>=) b.from_id AND p.journal_entry_id OPERATOR(pg_catalog.<) b.to_id
		 UNION ALL
		SELECT p.journal_entry_id, p.leg, p.amount
		  FROM (SELECT DISTINCT s.journal_entry_id FROM payledger.effective_shifts s, bounds b
				 WHERE s.account_id OPERATOR(pg_catalog.=) $1 AND s.at OPERATOR(pg_catalog.>=) coalesce($2, '-infinity') AND s.at OPERATOR(pg_catalog.<) coalesce($3, 'infinity')
				   AND (s.journal_entry_id OPERATOR(pg_catalog.<) b.from_id OR s.journal_entry_id OPERATOR(pg_catalog.>=) b.to_id)) d
		  JOIN payledger.postings p ON p.journal_entry_id OPERATOR(pg_catalog.=) d.journal_entry_id AND p.account_id OPERATOR(pg_catalog.=) $1)
	SELECT f.journal_entry_id, f.leg, f.amount, j.recorded_at, j.effective_at, j.entry_type, j.reference, j.metadata
	  FROM found f
	  JOIN payledger.journal_entries j ON j.journal_entry_id OPERATOR(pg_catalog.=) f.journal_entry_id
	 WHERE j.effective_at OPERATOR(pg_catalog.>=) coalesce($2, '-infinity') AND j.effective_at OPERATOR(pg_catalog.<) coalesce($3, 'infinity')
	   AND j.recorded_at OPERATOR(pg_catalog.<=) coalesce($4, 'infinity')
$$;
REVOKE ALL ON FUNCTION postings_in_effect(bigint, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION postings_in_effect(bigint, timestamptz, timestamptz, timestamptz) IS
'The postings of one account that took effect from the first time up to but not including the second, of those recorded until as_of; null: no bound. Minor units, debit positive. Runs with the rights of the caller. Example: SELECT p.* FROM payledger.accounts a, payledger.postings_in_effect(a.account_id, ''2026-01-01'', ''2026-02-01'', NULL) p WHERE a.account_code = ''PLATFORM_CASH.GLOBAL.EUR'';';

CREATE FUNCTION counterparts(journal_entry_id bigint, account_id bigint) RETURNS TABLE (counterparts text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $$
	SELECT pg_catalog.string_agg(CASE WHEN c.n OPERATOR(pg_catalog.>) 3 THEN '...' ELSE c.account_code END, ', ' ORDER BY c.n)
	  FROM (SELECT a.account_code, pg_catalog.row_number() OVER (ORDER BY p.leg) AS n
			  FROM (SELECT leg, account_id FROM payledger.postings
					 WHERE journal_entry_id OPERATOR(pg_catalog.=) $1 AND account_id OPERATOR(pg_catalog.<>) $2 ORDER BY leg LIMIT 4) p
			  JOIN payledger.accounts a ON a.account_id OPERATOR(pg_catalog.=) p.account_id) c
$$;
REVOKE ALL ON FUNCTION counterparts(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION counterparts(bigint, bigint) IS
'The other accounts of an entry, three at most, then dots. Runs with the rights of the caller. Example: SELECT p.journal_entry_id, c.counterparts FROM payledger.postings p, payledger.counterparts(p.journal_entry_id, p.account_id) c;';

/* ---- a ledger's calendar ---- */

CREATE FUNCTION month_start(month date, for_ledger text DEFAULT 'MAIN') RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM payledger.check_ledger(for_ledger);
	RETURN (SELECT date_trunc('month', month::timestamp) AT TIME ZONE l.time_zone
			  FROM payledger.ledgers l WHERE l.ledger = for_ledger);
END
$$;
REVOKE ALL ON FUNCTION month_start(date, text) FROM PUBLIC;
COMMENT ON FUNCTION month_start(date, text) IS
'When the month of that day begins in the ledger''s time zone. Errors: PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.income_statement(payledger.month_start(''2026-01-01''), payledger.month_start(''2026-02-01''));';

CREATE FUNCTION month_end(month date, for_ledger text DEFAULT 'MAIN') RETURNS timestamptz
	LANGUAGE sql STABLE PARALLEL SAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
	SELECT payledger.month_start((month + interval '1 month')::date, for_ledger) - interval '1 microsecond'
$$;
REVOKE ALL ON FUNCTION month_end(date, text) FROM PUBLIC;
COMMENT ON FUNCTION month_end(date, text) IS
'The last moment, to the microsecond, of the month of that day in the ledger''s time zone: for reports at a time, which include what took effect at that time. Errors: PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.trial_balance_at(payledger.month_end(''2026-01-01''));';

/* ---- at a time ---- */

CREATE FUNCTION account_balances_at(as_of timestamptz DEFAULT NULL, effective_at timestamptz DEFAULT NULL, for_ledger text DEFAULT NULL)
	RETURNS TABLE (account_id bigint, account_code text, account_type text, entity_id text, currency text, category text,
				   balance numeric, formatted text, ledger text, normal_side text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payledger.check_ledger(for_ledger);
	IF as_of IS NULL AND effective_at IS NULL THEN
		RETURN QUERY
		SELECT b.account_id, b.account_code, b.account_type, b.entity_id, b.currency, b.category, b.balance, b.formatted,
			   b.ledger, b.normal_side
		  FROM payledger.account_balances b
		 WHERE for_ledger IS NULL OR b.ledger = for_ledger;
		RETURN;
	END IF;

	/* an account opened later is shown only if something was posted to it before; ids are in milliseconds */
	RETURN QUERY
	SELECT a.account_id, a.account_code, a.account_type, a.entity_id, a.currency, t.category::text, b.balance,
		   payledger.format_total(b.balance, a.currency), a.ledger, t.normal_side::text
	  FROM payledger.accounts a
	  JOIN payledger.account_types t ON t.account_type = a.account_type
	 CROSS JOIN LATERAL (SELECT payledger.balance(a.account_code, as_of, effective_at)::numeric AS balance OFFSET 0) b
	 WHERE (for_ledger IS NULL OR a.ledger = for_ledger)
	   AND (as_of IS NULL OR date_trunc('milliseconds', a.opened_at) <= as_of OR b.balance <> 0);
END
$$;
REVOKE ALL ON FUNCTION account_balances_at(timestamptz, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION account_balances_at(timestamptz, timestamptz, text) IS
'One row for each account with its balance, as payledger.balance(account_code, as_of, effective_at) returns it: of the entries recorded until as_of that took effect until effective_at; null: no bound. In minor units on the account''s normal side, and formatted. for_ledger: of that ledger only. Errors: 22003 a balance passes a bigint, PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.account_balances_at(effective_at => payledger.month_end(''2026-01-01''));';

CREATE FUNCTION trial_balance_at(effective_at timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL, for_ledger text DEFAULT NULL)
	RETURNS TABLE (account_code text, account_type text, category text, currency text, debit numeric, credit numeric,
				   debit_formatted text, credit_formatted text, ledger text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payledger.check_ledger(for_ledger);
	RETURN QUERY
	SELECT b.account_code, b.account_type, b.category, b.currency, greatest(d.balance, 0), greatest(-d.balance, 0),
		   CASE WHEN d.balance > 0 THEN payledger.format_total(d.balance, b.currency) ELSE '' END,
		   CASE WHEN d.balance < 0 THEN payledger.format_total(-d.balance, b.currency) ELSE '' END,
		   b.ledger
	  FROM payledger.account_balances_at(as_of, effective_at, for_ledger) b
	 CROSS JOIN LATERAL (SELECT CASE b.normal_side WHEN 'DEBIT' THEN b.balance ELSE -b.balance END AS balance) d
	 ORDER BY b.ledger, b.currency, b.category::payledger.account_category, b.account_code COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION trial_balance_at(timestamptz, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION trial_balance_at(timestamptz, timestamptz, text) IS
'payledger.trial_balance of what took effect until effective_at, of the entries recorded until as_of; null: no bound. In every ledger and currency the debits equal the credits. Minor units, and formatted. Errors: 22003 a balance passes a bigint, PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.trial_balance_at(payledger.month_end(''2026-01-01''), for_ledger => ''MAIN'');';

CREATE FUNCTION balance_sheet_at(effective_at timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL, for_ledger text DEFAULT NULL)
	RETURNS TABLE (ledger text, currency text, category text, account_type text, balance numeric, formatted text,
				   category_total numeric, category_total_formatted text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payledger.check_ledger(for_ledger);
	RETURN QUERY
	SELECT l.ledger, l.currency, l.category, l.account_type, l.balance, payledger.format_total(l.balance, l.currency),
		   l.category_total, payledger.format_total(l.category_total, l.currency)
	  FROM (SELECT s.*, sum(s.balance) OVER (PARTITION BY s.ledger, s.currency, s.category) AS category_total
			  FROM (SELECT b.ledger, b.currency,
						   CASE WHEN b.category IN ('REVENUE', 'EXPENSE') THEN 'EQUITY' ELSE b.category END AS category,
						   CASE WHEN b.category IN ('REVENUE', 'EXPENSE') THEN 'CURRENT_EARNINGS' ELSE b.account_type END AS account_type,
						   sum(CASE WHEN (b.category = 'ASSET') = (b.normal_side = 'DEBIT') THEN b.balance ELSE -b.balance END) AS balance
					  FROM payledger.account_balances_at(as_of, effective_at, for_ledger) b
					 GROUP BY 1, 2, 3, 4) s) l
	 ORDER BY l.ledger, l.currency, l.category::payledger.account_category,
			  l.account_type = 'CURRENT_EARNINGS', l.account_type COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION balance_sheet_at(timestamptz, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION balance_sheet_at(timestamptz, timestamptz, text) IS
'payledger.balance_sheet of what took effect until effective_at, of the entries recorded until as_of; null: no bound. Minor units, and formatted. Errors: 22003 a balance passes a bigint, PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.balance_sheet_at(payledger.month_end(''2026-01-01''));';

CREATE FUNCTION account_rollup_at(level int DEFAULT NULL, effective_at timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL,
								  for_ledger text DEFAULT NULL)
	RETURNS TABLE (ledger text, currency text, category text, path text, depth int, accounts bigint, balance numeric, formatted text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payledger.check_ledger(for_ledger);
	IF level < 0 THEN
		RAISE EXCEPTION 'level must not be negative' USING ERRCODE = '22023';
	END IF;
	RETURN QUERY
	SELECT s.ledger, s.currency, s.category, s.path, s.depth, s.accounts, s.balance, payledger.format_total(s.balance, s.currency)
	  FROM (SELECT b.ledger, b.currency, b.category,
				   array_to_string(b.account_type || e.parts[1:n.depth], '.') AS path, n.depth,
				   count(*) AS accounts, sum(b.balance) AS balance
			  FROM payledger.account_balances_at(as_of, effective_at, for_ledger) b
			 CROSS JOIN LATERAL (SELECT string_to_array(b.entity_id, '.') AS parts) e
			 CROSS JOIN LATERAL generate_series(least(coalesce(level, 0), cardinality(e.parts)),
												least(level, cardinality(e.parts))) AS n(depth)
			 GROUP BY 1, 2, 3, 4, 5) s
	 ORDER BY s.ledger, s.currency, s.category::payledger.account_category, s.path COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION account_rollup_at(int, timestamptz, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION account_rollup_at(int, timestamptz, timestamptz, text) IS
'Balances added up by the beginnings of account codes, with level dotted parts of the entity at most: every account counts in one row, so that the rows add up to the whole; null: all levels, as payledger.account_rollup shows them. Of what took effect until effective_at, of the entries recorded until as_of; null: no bound. Minor units on the normal side, and formatted. Errors: 22003 a balance passes a bigint, 22023 negative level, PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.account_rollup_at(1) WHERE path LIKE ''MERCHANT_PAYABLE.%'';';

/*
 * First in, first out: of the items that made the balance what it is, credits
 * if a payable is owed, the newest are the ones still open.  So most accounts
 * need only the items of the last 92 days.
 */
CREATE FUNCTION aged_payables(effective_at timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL, for_ledger text DEFAULT NULL,
							  account_type text DEFAULT 'MERCHANT_PAYABLE')
	RETURNS TABLE (seller_id text, currency text, ledger text, oldest_at timestamptz, balance numeric,
				   days_0_7 numeric, days_8_30 numeric, days_31_60 numeric, days_61_90 numeric, days_over_90 numeric,
				   balance_formatted text, days_0_7_formatted text, days_8_30_formatted text, days_31_60_formatted text,
				   days_61_90_formatted text, days_over_90_formatted text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	until CONSTANT timestamptz := coalesce(effective_at, as_of, now());
	recently CONSTANT timestamptz := until - interval '92 days';
BEGIN
	PERFORM payledger.check_ledger(for_ledger);
	IF NOT isfinite(until) THEN
		RAISE EXCEPTION 'effective_at must be finite'
			USING ERRCODE = '22023', DETAIL = 'It is ' || until || '; ages are counted from it.', HINT = 'Left out, it is as_of, or now.';
	END IF;
	IF NOT EXISTS (SELECT FROM payledger.account_types t WHERE t.account_type = aged_payables.account_type) THEN
		RAISE EXCEPTION 'account type "%" does not exist', aged_payables.account_type
			USING ERRCODE = 'PL007', HINT = 'payledger.account_types lists the types, payledger.add_account_type() adds one.';
	END IF;
	RETURN QUERY
	WITH owed AS MATERIALIZED (
		SELECT a.account_id, a.entity_id, a.currency, a.ledger, l.time_zone, b.balance,
			   CASE WHEN (t.normal_side = 'DEBIT') = (b.balance > 0) THEN 1 ELSE -1 END AS side
		  FROM payledger.accounts a
		  JOIN payledger.account_types t ON t.account_type = a.account_type
		  JOIN payledger.ledgers l ON l.ledger = a.ledger
		 CROSS JOIN LATERAL (SELECT payledger.balance(a.account_code, as_of, until)::numeric AS balance OFFSET 0) b
		 WHERE a.account_type = aged_payables.account_type
		   AND (for_ledger IS NULL OR a.ledger = for_ledger)
		   AND b.balance <> 0),
	recent AS MATERIALIZED (
		SELECT o.account_id, e.effective_at, e.journal_entry_id, p.leg, abs(p.amount::numeric) AS amount
		  FROM payledger.entries_in_effect(recently, until + interval '1 microsecond', as_of) e
		  JOIN payledger.postings p ON p.journal_entry_id = e.journal_entry_id
		  JOIN owed o ON o.account_id = p.account_id AND o.side = sign(p.amount)),
	items AS (
		SELECT * FROM recent
		 UNION ALL
		SELECT o.account_id, p.effective_at, p.journal_entry_id, p.leg, abs(p.amount::numeric)
		  FROM owed o
		  LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM recent GROUP BY account_id) r ON r.account_id = o.account_id
		 CROSS JOIN LATERAL payledger.postings_in_effect(o.account_id, NULL, recently, as_of) p
		 WHERE abs(o.balance) > coalesce(r.amount, 0) AND sign(p.amount) = o.side),
	open_items AS (
		SELECT o.account_id, i.effective_at,
			   (until AT TIME ZONE o.time_zone)::date - (i.effective_at AT TIME ZONE o.time_zone)::date AS days,
			   sign(o.balance) * least(i.amount, abs(o.balance) - i.newer) AS amount
		  FROM owed o
		  JOIN (SELECT *, sum(amount) OVER (PARTITION BY account_id ORDER BY effective_at DESC, journal_entry_id DESC, leg DESC
											ROWS UNBOUNDED PRECEDING) - amount AS newer
				  FROM items) i ON i.account_id = o.account_id AND i.newer < abs(o.balance)),
	aged AS (
		SELECT account_id, min(effective_at) AS oldest_at,
			   coalesce(sum(amount) FILTER (WHERE days <= 7), 0) AS d7,
			   coalesce(sum(amount) FILTER (WHERE days BETWEEN 8 AND 30), 0) AS d30,
			   coalesce(sum(amount) FILTER (WHERE days BETWEEN 31 AND 60), 0) AS d60,
			   coalesce(sum(amount) FILTER (WHERE days BETWEEN 61 AND 90), 0) AS d90,
			   coalesce(sum(amount) FILTER (WHERE days > 90), 0) AS older
		  FROM open_items GROUP BY account_id)
	SELECT o.entity_id, o.currency, o.ledger, a.oldest_at, o.balance, a.d7, a.d30, a.d60, a.d90, a.older,
		   payledger.format_total(o.balance, o.currency), payledger.format_total(a.d7, o.currency),
		   payledger.format_total(a.d30, o.currency), payledger.format_total(a.d60, o.currency),
		   payledger.format_total(a.d90, o.currency), payledger.format_total(a.older, o.currency)
	  FROM owed o
	  JOIN aged a ON a.account_id = o.account_id
	 ORDER BY o.ledger, o.currency, o.entity_id COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION aged_payables(timestamptz, timestamptz, text, text) FROM PUBLIC;
COMMENT ON FUNCTION aged_payables(timestamptz, timestamptz, text, text) IS
'What is owed to each seller by age in days of the ledger''s time zone, at effective_at (default: as_of, else now) as known at as_of: a debit pays the oldest credits first, oldest_at is when the oldest credit still open took effect. A seller who owes the platform has negative amounts, aged by the debits. Settled accounts are left out. Minor units, and formatted. account_type: another type to age, for example PSP_RECEIVABLES. Errors: 22003 a balance passes a bigint, 22023 a time that is infinite, PL007 no such ledger or account type, PL010 not set up. Example: SELECT * FROM payledger.aged_payables() WHERE days_over_90 > 0;';

/* ---- over a period ---- */

CREATE FUNCTION income_statement("from" timestamptz, "to" timestamptz, as_of timestamptz DEFAULT NULL, for_ledger text DEFAULT NULL)
	RETURNS TABLE (ledger text, currency text, category text, account_type text, amount numeric, formatted text,
				   net_income numeric, net_income_formatted text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payledger.check_ledger(for_ledger), payledger.check_period("from", "to");
	RETURN QUERY
	SELECT l.ledger, l.currency, l.category, l.account_type, l.amount, payledger.format_total(l.amount, l.currency),
		   l.net_income, payledger.format_total(l.net_income, l.currency)
	  FROM (SELECT s.*, sum(CASE s.category WHEN 'REVENUE' THEN s.amount ELSE -s.amount END)
							OVER (PARTITION BY s.ledger, s.currency) AS net_income
			  FROM (SELECT a.ledger, a.currency, t.category::text AS category, a.account_type,
						   sum(CASE WHEN (t.category = 'EXPENSE') = (t.normal_side = 'DEBIT') THEN b.balance ELSE -b.balance END
							   - CASE t.category WHEN 'EXPENSE' THEN 1 ELSE -1 END * coalesce(x.amount, 0)) AS amount
					  FROM payledger.accounts a
					  JOIN payledger.account_types t ON t.account_type = a.account_type
					 CROSS JOIN LATERAL (
							SELECT payledger.balance(a.account_code, as_of, "to" - interval '1 microsecond')::numeric
								   - CASE WHEN "from" IS NULL THEN 0
										  ELSE payledger.balance(a.account_code, as_of, "from" - interval '1 microsecond')::numeric
									 END AS balance
							OFFSET 0) b
					  LEFT JOIN (SELECT e.account_id, sum(e.amount) AS amount
								   FROM payledger.earnings_transfers e
								  WHERE e.effective_at >= coalesce("from", '-infinity') AND e.effective_at < coalesce("to", 'infinity')
									AND (as_of IS NULL OR e.recorded_at <= as_of)
								  GROUP BY e.account_id) x ON x.account_id = a.account_id
					 WHERE t.category IN ('REVENUE', 'EXPENSE') AND (for_ledger IS NULL OR a.ledger = for_ledger)
					 GROUP BY 1, 2, 3, 4) s) l
	 ORDER BY l.ledger, l.currency, l.category::payledger.account_category, l.account_type COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION income_statement(timestamptz, timestamptz, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION income_statement(timestamptz, timestamptz, timestamptz, text) IS
'payledger.income_statement of what took effect from the first time up to but not including the second, of the entries recorded until as_of; null: no bound. Minor units, and formatted. Errors: 22003 a balance passes a bigint, 22023 the period ends before it begins, PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.income_statement(payledger.month_start(''2026-01-01''), payledger.month_start(''2026-02-01''));';

CREATE FUNCTION account_statement(account_code text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
								  as_of timestamptz DEFAULT NULL)
	RETURNS TABLE (line bigint, kind text, effective_at timestamptz, entry_type text, reference text, counterparts text,
				   debit numeric, credit numeric, balance numeric,
				   debit_formatted text, credit_formatted text, balance_formatted text,
				   journal_entry_id bigint, recorded_at timestamptz, metadata jsonb)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	account record;
	opening numeric := 0;
BEGIN
	PERFORM payledger.check_ledger(NULL), payledger.check_period("from", "to");
	IF account_statement.account_code IS NULL THEN
		RAISE EXCEPTION 'account_code must not be null' USING ERRCODE = '22004';
	END IF;
	SELECT a.account_id, a.currency, CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS sign INTO account
	  FROM payledger.accounts a JOIN payledger.account_types t ON t.account_type = a.account_type
	 WHERE a.account_code = account_statement.account_code;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'account "%" does not exist', account_statement.account_code
			USING ERRCODE = 'PL007', HINT = 'An account code is TYPE.ENTITY.CURRENCY; payledger.accounts lists them.';
	END IF;
	IF "from" IS NOT NULL THEN
		opening := payledger.balance(account_statement.account_code, as_of, "from" - interval '1 microsecond');
	END IF;

	RETURN QUERY
	WITH moved AS MATERIALIZED (
		SELECT * FROM payledger.postings_in_effect(account.account_id, "from", "to", as_of)),
	lines AS (
		SELECT 1 AS part, 'OPENING' AS kind, "from" AS effective_at, NULL AS entry_type, NULL AS reference, NULL AS counterparts,
			   NULL::numeric AS debit, NULL::numeric AS credit, opening AS balance,
			   NULL::bigint AS journal_entry_id, NULL::smallint AS leg, NULL::timestamptz AS recorded_at, NULL::jsonb AS metadata
		 UNION ALL
		SELECT 2, 'POSTING', m.effective_at, m.entry_type, m.reference,
			   c.counterparts,
			   greatest(m.amount, 0)::numeric, greatest(-m.amount::numeric, 0),
			   opening + account.sign * sum(m.amount) OVER (ORDER BY m.effective_at, m.journal_entry_id, m.leg ROWS UNBOUNDED PRECEDING),
			   m.journal_entry_id, m.leg, m.recorded_at, m.metadata
		  FROM moved m
		 CROSS JOIN LATERAL payledger.counterparts(m.journal_entry_id, account.account_id) c
		 UNION ALL
		SELECT 3, 'CLOSING', "to", NULL, NULL, NULL,
			   coalesce(sum(greatest(m.amount, 0)), 0), coalesce(sum(greatest(-m.amount::numeric, 0)), 0),
			   opening + account.sign * coalesce(sum(m.amount), 0), NULL, NULL, NULL, NULL
		  FROM moved m)
	SELECT row_number() OVER (ORDER BY l.part, l.effective_at, l.journal_entry_id, l.leg), l.kind, l.effective_at, l.entry_type,
		   l.reference, l.counterparts, l.debit, l.credit, l.balance,
		   CASE WHEN l.debit <> 0 OR l.part = 3 THEN payledger.format_total(l.debit, account.currency) ELSE '' END,
		   CASE WHEN l.credit <> 0 OR l.part = 3 THEN payledger.format_total(l.credit, account.currency) ELSE '' END,
		   payledger.format_total(l.balance, account.currency),
		   l.journal_entry_id, l.recorded_at, l.metadata
	  FROM lines l
	 ORDER BY 1;
END
$$;
REVOKE ALL ON FUNCTION account_statement(text, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION account_statement(text, timestamptz, timestamptz, timestamptz) IS
'The statement of one account: its opening balance, each posting that took effect from the first time up to but not including the second with the balance after it, and the closing balance with the totals of debits and credits; of the entries recorded until as_of; null: no bound. kind is OPENING, POSTING or CLOSING. Minor units, balances on the account''s normal side, and formatted; counterparts are the other accounts of the entry. Errors: 22003 a balance passes a bigint, 22004 no account code, 22023 the period ends before it begins, PL007 no such account, PL010 not set up. Example: SELECT line, kind, effective_at, entry_type, debit_formatted, credit_formatted, balance_formatted FROM payledger.account_statement(''PLATFORM_CASH.GLOBAL.EUR'', ''2026-01-01'', ''2026-02-01'');';

CREATE FUNCTION general_ledger("from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, path text DEFAULT NULL,
							   as_of timestamptz DEFAULT NULL, for_ledger text DEFAULT NULL)
	RETURNS TABLE (account_code text, line bigint, kind text, effective_at timestamptz, entry_type text, reference text,
				   counterparts text, debit numeric, credit numeric, balance numeric,
				   debit_formatted text, credit_formatted text, balance_formatted text,
				   journal_entry_id bigint, recorded_at timestamptz, currency text, ledger text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payledger.check_ledger(for_ledger), payledger.check_period("from", "to");
	RETURN QUERY
	WITH accounts AS MATERIALIZED (
		SELECT a.account_id, a.account_code, a.currency, a.ledger, b.balance AS opening,
			   CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS sign
		  FROM payledger.accounts a
		  JOIN payledger.account_types t ON t.account_type = a.account_type
		 CROSS JOIN LATERAL (
				SELECT CASE WHEN "from" IS NULL THEN 0
							ELSE payledger.balance(a.account_code, as_of, "from" - interval '1 microsecond')::numeric END AS balance
				OFFSET 0) b
		 WHERE (for_ledger IS NULL OR a.ledger = for_ledger)
		   AND (path IS NULL OR a.account_code = path OR starts_with(a.account_code, path || '.'))),
	moved AS MATERIALIZED (
		SELECT p.account_id, p.leg, p.amount, e.journal_entry_id, e.effective_at, e.recorded_at, e.entry_type, e.reference
		  FROM payledger.entries_in_effect("from", "to", as_of) e
		  JOIN payledger.postings p ON p.journal_entry_id = e.journal_entry_id
		  JOIN accounts a ON a.account_id = p.account_id),
	totals AS (
		SELECT account_id, sum(greatest(amount, 0)) AS debit, sum(greatest(-amount::numeric, 0)) AS credit
		  FROM moved GROUP BY account_id),
	lines AS (
		SELECT m.account_id, 2 AS part, 'POSTING' AS kind, m.effective_at, m.entry_type, m.reference, c.counterparts,
			   greatest(m.amount, 0)::numeric AS debit, greatest(-m.amount::numeric, 0) AS credit,
			   sum(m.amount) OVER (PARTITION BY m.account_id ORDER BY m.effective_at, m.journal_entry_id, m.leg
								   ROWS UNBOUNDED PRECEDING) AS moved,
			   m.journal_entry_id, m.leg, m.recorded_at
		  FROM moved m
		 CROSS JOIN LATERAL payledger.counterparts(m.journal_entry_id, m.account_id) c
		 UNION ALL
		SELECT a.account_id, b.part, b.kind, b.effective_at, NULL, NULL, NULL, b.debit, b.credit, b.debit - b.credit, NULL, NULL, NULL
		  FROM accounts a
		  LEFT JOIN totals t ON t.account_id = a.account_id
		 CROSS JOIN LATERAL (VALUES (1, 'OPENING', "from", 0, 0),
									(3, 'CLOSING', "to", coalesce(t.debit, 0), coalesce(t.credit, 0))) AS b(part, kind, effective_at, debit, credit)
		 WHERE a.opening <> 0 OR t.account_id IS NOT NULL)
	SELECT a.account_code,
		   row_number() OVER (PARTITION BY a.ledger, a.account_code ORDER BY l.part, l.effective_at, l.journal_entry_id, l.leg),
		   l.kind, l.effective_at, l.entry_type, l.reference, l.counterparts,
		   CASE WHEN l.part > 1 THEN l.debit END, CASE WHEN l.part > 1 THEN l.credit END, a.opening + a.sign * l.moved,
		   CASE WHEN l.debit <> 0 OR l.part = 3 THEN payledger.format_total(l.debit, a.currency) ELSE '' END,
		   CASE WHEN l.credit <> 0 OR l.part = 3 THEN payledger.format_total(l.credit, a.currency) ELSE '' END,
		   payledger.format_total(a.opening + a.sign * l.moved, a.currency),
		   l.journal_entry_id, l.recorded_at, a.currency, a.ledger
	  FROM lines l
	  JOIN accounts a ON a.account_id = l.account_id
	 ORDER BY a.ledger, a.account_code COLLATE "C", 2;
END
$$;
REVOKE ALL ON FUNCTION general_ledger(timestamptz, timestamptz, text, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION general_ledger(timestamptz, timestamptz, text, timestamptz, text) IS
'The statements of all accounts that have a balance or were posted to, one below the other; columns and times as in payledger.account_statement(). path: only accounts whose code begins with these dotted parts. Minor units, balances on the account''s normal side, and formatted. Errors: 22003 a balance passes a bigint, 22023 the period ends before it begins, PL007 no such ledger, PL010 not set up. Example: SELECT account_code, line, effective_at, entry_type, debit_formatted, credit_formatted, balance_formatted FROM payledger.general_ledger(''2026-01-01'', ''2026-02-01'', path => ''PSP_RECEIVABLES'');';
