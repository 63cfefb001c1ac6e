/*
 * test/ledger_property_checks.sql
 *		What must hold while the sessions of test/ledger_property.sql are at
 *		work, and balances rebuilt from the postings at the end.
 */

/* ---- what must hold at any moment ---- */

/* Offences in the snapshot of the calling statement. */
CREATE FUNCTION property.offences() RETURNS SETOF text LANGUAGE sql STABLE AS $$
	WITH balances AS MATERIALIZED (
		SELECT b.*, a.floor, a.ceiling FROM payledger.account_balances b JOIN payledger.accounts a USING (account_code))
	SELECT format('%s accounts in %s add up to %s', ledger, currency, sum(CASE normal_side WHEN 'DEBIT' THEN balance ELSE -balance END))
	  FROM balances GROUP BY ledger, currency HAVING sum(CASE normal_side WHEN 'DEBIT' THEN balance ELSE -balance END) <> 0
	 UNION ALL
	SELECT format('%s: balance %s, held %s, floor %s, ceiling %s', account_code, balance, held, floor, ceiling)
	  FROM balances WHERE balance - held < floor OR balance > ceiling
	 UNION ALL
	SELECT format('%s: held %s, its holds %s', account_code, b.held, h.held)
	  FROM balances b
	  LEFT JOIN (SELECT account_id, sum(amount - committed_amount) AS held FROM payledger.holds WHERE status = 'ACTIVE' GROUP BY 1) h
			 USING (account_id)
	 WHERE b.held <> coalesce(h.held, 0)
$$;

/* What balances were in some snapshots. */
CREATE TABLE property.samples (
	sampled_at	timestamptz,
	snapshot	pg_snapshot,
	account_code text,
	as_of		timestamptz,
	effective_at timestamptz,
	balance		numeric
);

/*
 * One moment: what is wrong in it, and what some balances are, to be compared
 * at the end with the postings that its snapshot saw.
 */
CREATE FUNCTION property.sample() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	moment pg_snapshot := pg_current_snapshot();
	/* for some seconds after a restart ids, and so recorded_at, may be ahead of the clock */
	first timestamptz := (SELECT least(min(recorded_at), clock_timestamp()) FROM payledger.journal_entries);
BEGIN
	INSERT INTO property.failures (kind, message) SELECT 'sample', o FROM property.offences() o;
	INSERT INTO property.samples
	SELECT clock_timestamp(), moment, account_code, NULL, NULL, balance
	  FROM (SELECT account_code, balance FROM payledger.account_balances ORDER BY random() LIMIT 2) b;
	INSERT INTO property.samples
	SELECT clock_timestamp(), moment, account_code, as_of, effective_at, payledger.balance(account_code, as_of, effective_at)
	  FROM (SELECT account_code,
				   CASE WHEN n % 4 IN (1, 3) THEN first + random() * (clock_timestamp() - first) END AS as_of,
				   CASE WHEN n % 4 IN (2, 3) THEN now() + interval '45 days' - random() * interval '290 days' END AS effective_at
			  FROM (SELECT account_code, row_number() OVER (ORDER BY random()) AS n FROM property.chart ORDER BY random() LIMIT 4) c
			OFFSET 0) s;
END $$;

/* Samples until no session of drive() is left. */
CREATE PROCEDURE property.monitor(seed bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(hashint8extended(0, seed) / 9223372036854775808.0);
	PERFORM set_config('default_transaction_isolation', 'repeatable read', false);
	LOOP
		COMMIT;
		PERFORM property.sample();
		COMMIT;
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL property.drive%' AND state <> 'idle');
		PERFORM pg_sleep(0.2);
	END LOOP;
END $$;

/* ---- rebuilding, at the end ---- */

/* The postings with their times and transactions, amounts on the normal side. */
CREATE TABLE property.legs (account_code text, recorded_at timestamptz, effective_at timestamptz, xid bigint, amount bigint);
/* a question to payledger.balance(), and what the legs answer */
CREATE TABLE property.probes (n int, account_code text, as_of timestamptz, effective_at timestamptz, expected numeric);

/* Random times, every tenth that of a leg, and the balance of every account at each: one ordered pass over the legs. */
CREATE FUNCTION property.ask(times int, by_effective boolean) RETURNS void LANGUAGE sql AS $$
	WITH legs AS MATERIALIZED (
		SELECT account_code, CASE WHEN by_effective THEN effective_at ELSE recorded_at END AS at, amount FROM property.legs),
	bounds AS MATERIALIZED (
		SELECT min(at) AS first, max(at) AS last FROM legs),
	asked AS MATERIALIZED (
		SELECT first + random() * (last - first) AS at FROM bounds, generate_series(1, times - times / 10)
		 UNION ALL
		(SELECT at FROM legs ORDER BY random() LIMIT times / 10)),
	events AS (
		SELECT account_code, at, amount, false AS is_question FROM legs
		 UNION ALL
		SELECT account_code, at, 0, true FROM asked, (SELECT DISTINCT account_code FROM property.legs) a)
	INSERT INTO property.probes (account_code, as_of, effective_at, expected)
	SELECT account_code, CASE WHEN NOT by_effective THEN at END, CASE WHEN by_effective THEN at END, balance
	  FROM (SELECT account_code, at, is_question, sum(amount) OVER (PARTITION BY account_code ORDER BY at) AS balance FROM events) e
	 WHERE is_question
$$;

/* Fills legs and probes: times of each kind, and a fifth as many pairs of both, of three accounts each. */
CREATE FUNCTION property.rebuild(seed bigint, times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(hashint8extended(1, seed) / 9223372036854775808.0);
	INSERT INTO property.legs
	SELECT a.account_code, e.recorded_at, e.effective_at, p.transaction_no & ((1::bigint << 48) - 1),
		   p.amount * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END
	  FROM payledger.postings p
	  JOIN payledger.journal_entries e USING (journal_entry_id)
	  JOIN payledger.accounts a USING (account_id)
	  JOIN payledger.account_types t USING (account_type)
	 ORDER BY a.account_code;
	CREATE INDEX ON property.legs (account_code);
	ANALYZE property.legs;
	PERFORM property.ask(times, false), property.ask(times, true);
	WITH asked AS MATERIALIZED (
		SELECT c.account_code, r.at AS as_of, e.at AS effective_at
		  FROM (SELECT as_of AS at, row_number() OVER (ORDER BY random()) AS n FROM property.probes WHERE as_of IS NOT NULL LIMIT times / 5 * 3) r
		  JOIN (SELECT effective_at AS at, row_number() OVER (ORDER BY random()) AS n FROM property.probes
				 WHERE effective_at IS NOT NULL LIMIT times / 5 * 3) e USING (n)
		  JOIN (SELECT account_code, row_number() OVER () AS i FROM property.chart) c ON c.i = 1 + n % 56)
	INSERT INTO property.probes (account_code, as_of, effective_at, expected)
	SELECT a.*, (SELECT coalesce(sum(l.amount), 0) FROM property.legs l
				  WHERE l.account_code = a.account_code AND l.recorded_at <= a.as_of AND l.effective_at <= a.effective_at)
	  FROM asked a;
END $$;

/* Of one of n parts of the probes: which balance() answers otherwise. */
CREATE FUNCTION property.check_probes(part int, parts int) RETURNS TABLE (n bigint, wrong bigint, first text) LANGUAGE sql STABLE AS $$
	SELECT count(*), count(*) FILTER (WHERE balance IS DISTINCT FROM expected),
		   min(format('balance(%L, %L, %L) is %s, not %s', account_code, as_of, effective_at, balance, expected))
		   FILTER (WHERE balance IS DISTINCT FROM expected)
	  FROM (SELECT *, payledger.balance(account_code, as_of, effective_at) AS balance
			  FROM (SELECT *, row_number() OVER () AS i FROM property.probes OFFSET 0) p
			 WHERE i % parts = part) p
$$;

/* Samples that the postings which their snapshots saw do not explain. */
CREATE FUNCTION property.wrong_samples() RETURNS SETOF text LANGUAGE sql STABLE AS $$
	SELECT format('%s at %s: balance(%L, %L, %L) was %s, not %s', snapshot, sampled_at, account_code, as_of, effective_at, balance, expected)
	  FROM (SELECT s.*, (SELECT coalesce(sum(l.amount), 0) FROM property.legs l
						  WHERE l.account_code = s.account_code
							AND l.recorded_at <= coalesce(s.as_of, 'infinity') AND l.effective_at <= coalesce(s.effective_at, 'infinity')
							AND CASE WHEN l.xid < s.xmin THEN true WHEN l.xid >= s.xmax THEN false
									 ELSE pg_visible_in_snapshot(l.xid::text::xid8, s.snapshot) END) AS expected
			  FROM (SELECT *, pg_snapshot_xmin(snapshot)::text::bigint AS xmin, pg_snapshot_xmax(snapshot)::text::bigint AS xmax
					  FROM property.samples) s) s
	 WHERE balance <> expected
$$;
