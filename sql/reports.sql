-- Statements of a ledger of its own, at a time and over a period, and its
-- journal as plain text.  outcome() comes from 010_setup.
\set VERBOSITY terse
\pset null '-'
SET timezone = 'UTC';

SELECT * FROM payledger.add_ledger('REPORTS', 'a "Nordic" branch', 'Europe/Stockholm');
SELECT count(*) FROM (VALUES ('PLATFORM_CASH', 'REPORTS', 'SEK'), ('PSP_RECEIVABLES', 'REPORTS', 'SEK'),
		('PSP_RECEIVABLES', 'REPORTS', 'JPY'), ('MERCHANT_PAYABLE', 'REPORTS.EU.DE.BERLIN', 'SEK'),
		('MERCHANT_PAYABLE', 'REPORTS.EU.DE', 'SEK'), ('MERCHANT_PAYABLE', 'REPORTS.EU.FR', 'SEK'),
		('MERCHANT_PAYABLE', 'REPORTS.EU.FR', 'JPY'), ('MERCHANT_PAYABLE', 'REPORTS.us_1', 'SEK'),
		('MERCHANT_PAYABLE', 'REPORTS.US:1', 'SEK'), ('MERCHANT_PAYABLE', 'REPORTS.US-1', 'SEK'), ('PLATFORM_COMMISSION_REVENUE', 'REPORTS', 'SEK'),
		('PSP_FEE_EXPENSE', 'REPORTS', 'SEK'), ('RETAINED_EARNINGS', 'REPORTS', 'SEK')) AS v(t, e, c)
 CROSS JOIN LATERAL payledger.open_account(t, e, c, 'REPORTS');

-- the accounts' codes without what they have in common, and amounts: {PSP_RECEIVABLES.SEK, MERCHANT_PAYABLE.EU.FR.SEK}
CREATE FUNCTION reports_post(reference text, effective_at timestamptz, entry_type text, codes text[], amounts bigint[],
							 metadata jsonb DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT p.effective_at || ' ' || p.replayed
	  FROM payledger.post_entry(entry_type,
			(SELECT jsonb_agg(jsonb_build_object('account', regexp_replace(c, '^([A-Z_]+)', '\1.REPORTS'), 'amount', a) ORDER BY n)
			   FROM unnest(codes, amounts) WITH ORDINALITY AS l(c, a, n)),
			'REPORTS:' || reference, effective_at, metadata) p
$$;
SELECT reports_post('1', '2025-10-05 10:00', 'CAPTURED', '{PSP_RECEIVABLES.SEK, MERCHANT_PAYABLE.EU.FR.SEK}', '{5000, -5000}');
SELECT reports_post('2', '2026-01-05 10:00', 'CAPTURED', '{PSP_RECEIVABLES.SEK, MERCHANT_PAYABLE.EU.DE.BERLIN.SEK}', '{10000, -10000}',
					'{"order": "O-7", "note": "6\" pipe, C:\\temp"}');
SELECT reports_post('3', '2026-01-05 10:00', 'COMMISSION', '{MERCHANT_PAYABLE.EU.DE.BERLIN.SEK, PLATFORM_COMMISSION_REVENUE.SEK}', '{1000, -1000}');
SELECT reports_post('4', '2026-01-10 10:00', 'CAPTURED', '{PSP_RECEIVABLES.JPY, MERCHANT_PAYABLE.EU.FR.JPY, PSP_RECEIVABLES.SEK, MERCHANT_PAYABLE.EU.DE.SEK}',
					'{700, -700, 30, -30}');
-- the last half hour of January, but February in Stockholm
SELECT reports_post('5', '2026-01-31 23:30', 'SETTLED', '{PLATFORM_CASH.SEK, PSP_FEE_EXPENSE.SEK, PSP_RECEIVABLES.SEK}', '{9800, 200, -10000}');
-- a year is closed: earnings are carried over
SELECT reports_post('6', '2026-02-05 10:00', 'YEAR_END', '{PLATFORM_COMMISSION_REVENUE.SEK, RETAINED_EARNINGS.SEK}', '{600, -600}');
-- more was paid than was owed
SELECT reports_post('7', '2026-02-10 10:00', 'PAID_OUT', '{MERCHANT_PAYABLE.EU.FR.SEK, PLATFORM_CASH.SEK}', '{5200, -5200}');

-- now
SELECT * FROM payledger.trial_balance WHERE ledger = 'REPORTS';
SELECT ledger, currency, sum(debit) AS debit, sum(credit) AS credit FROM payledger.trial_balance
 WHERE ledger = 'REPORTS' GROUP BY ledger, currency ORDER BY currency;
SELECT * FROM payledger.balance_sheet WHERE ledger = 'REPORTS';
SELECT * FROM payledger.income_statement WHERE ledger = 'REPORTS';
SELECT * FROM payledger.account_rollup WHERE ledger = 'REPORTS';
SELECT * FROM payledger.account_rollup_at(2, for_ledger => 'REPORTS') WHERE category = 'LIABILITY';
SELECT * FROM payledger.account_rollup EXCEPT ALL SELECT * FROM payledger.account_rollup_at();

-- at the end of January, in Stockholm
SELECT payledger.month_start('2026-01-17', 'REPORTS'), payledger.month_end('2026-01-17', 'REPORTS'), payledger.month_end('2026-01-17');
SELECT * FROM payledger.trial_balance_at(payledger.month_end('2026-01-01', 'REPORTS'), for_ledger => 'REPORTS') WHERE debit + credit <> 0;
SELECT category, account_type, formatted, category_total_formatted
  FROM payledger.balance_sheet_at(payledger.month_end('2026-01-01', 'REPORTS'), for_ledger => 'REPORTS') WHERE currency = 'SEK';

-- income of a month; nothing was earned or lost by the transfer in February
SELECT currency, account_type, amount, formatted, net_income_formatted
  FROM payledger.income_statement(payledger.month_start('2026-01-01', 'REPORTS'), payledger.month_start('2026-02-01', 'REPORTS'), for_ledger => 'REPORTS');
SELECT currency, account_type, amount, formatted, net_income_formatted
  FROM payledger.income_statement(payledger.month_start('2026-02-01', 'REPORTS'), NULL, for_ledger => 'REPORTS');
SELECT * FROM payledger.income_statement EXCEPT ALL SELECT * FROM payledger.income_statement(NULL, NULL);
-- what takes effect at its end is not in it
SELECT "to", (SELECT sum(i.amount) FROM payledger.income_statement('2026-01-01', "to", for_ledger => 'REPORTS') i WHERE account_type = 'PLATFORM_COMMISSION_REVENUE')
  FROM unnest('{2026-01-05 10:00, 2026-01-05 10:00:00.000001}'::timestamptz[]) AS "to";

-- statements
SELECT line, kind, effective_at, entry_type, reference, counterparts, debit, credit, balance,
	   debit_formatted, credit_formatted, balance_formatted, metadata
  FROM payledger.account_statement('PSP_RECEIVABLES.REPORTS.SEK', '2026-01-01', '2026-02-01');
SELECT line, kind, effective_at, debit, credit, balance FROM payledger.account_statement('MERCHANT_PAYABLE.REPORTS.EU.FR.SEK');
SELECT line, kind, effective_at, debit, credit, balance FROM payledger.account_statement('MERCHANT_PAYABLE.REPORTS.EU.FR.SEK', '2027-01-01');
SELECT account_code, line, kind, effective_at, entry_type, debit_formatted, credit_formatted, balance_formatted
  FROM payledger.general_ledger('2026-01-05 10:00', '2026-01-31 23:30', for_ledger => 'REPORTS');
SELECT account_code, line, kind, debit, credit, balance FROM payledger.general_ledger(path => 'MERCHANT_PAYABLE.REPORTS.EU.DE');
SELECT DISTINCT account_code FROM payledger.general_ledger(path => 'MERCHANT_PAYABLE.REPORTS.EU.DE.SEK');
-- whole parts of a code
SELECT count(*) FROM payledger.general_ledger(path => 'MERCHANT_PAYABLE.REPORTS.EU.D');

-- aged payables: the oldest credits are paid first; who owes has it aged too
SELECT seller_id, oldest_at, balance, days_0_7, days_8_30, days_31_60, days_61_90, days_over_90, balance_formatted, days_8_30_formatted
  FROM payledger.aged_payables('2026-01-20', for_ledger => 'REPORTS');
SELECT seller_id, currency, oldest_at, balance, days_0_7, days_8_30, days_31_60, days_61_90, days_over_90
  FROM payledger.aged_payables('2026-04-11', for_ledger => 'REPORTS');
SELECT seller_id, currency, oldest_at, balance, days_0_7, days_8_30, days_31_60, days_61_90, days_over_90
  FROM payledger.aged_payables('2026-02-01', for_ledger => 'REPORTS', account_type => 'PSP_RECEIVABLES');
SELECT count(*) FROM payledger.aged_payables('infinity');
SELECT count(*) FROM payledger.aged_payables(as_of => '-infinity');
-- an age is a number of days in Stockholm: 23 hours are one
BEGIN;
SELECT count(reports_post('DAYS:' || n, '2026-03-01 22:59:59.999999'::timestamptz - n * interval '1 day', 'CAPTURED',
						  '{PSP_RECEIVABLES.SEK, MERCHANT_PAYABLE.us_1.SEK}', ARRAY[1000 + n, -1000 - n]))
  FROM unnest('{0, 7, 8, 30, 31, 60, 61, 90, 91, 400}'::int[]) n;
SELECT at, days_0_7, days_8_30, days_31_60, days_61_90, days_over_90, oldest_at
  FROM unnest('{2026-03-01 22:59:59.999999, 2026-03-01 23:00, 2026-03-02 22:59:59.999999, 2026-03-02 23:00}'::timestamptz[]) AS at,
	   payledger.aged_payables(at, for_ledger => 'REPORTS') WHERE seller_id = 'REPORTS.us_1';
-- all but the last two and a half credits are paid
SELECT reports_post('DAYS:PAID', '2026-03-01 22:59:59.999999', 'PAID_OUT', '{MERCHANT_PAYABLE.us_1.SEK, PLATFORM_CASH.SEK}', '{8271, -8271}');
SELECT days_0_7, days_8_30, days_31_60, days_61_90, days_over_90, oldest_at
  FROM payledger.aged_payables('2026-03-01 22:59:59.999999', for_ledger => 'REPORTS') WHERE seller_id = 'REPORTS.us_1';
ROLLBACK;

-- what was known then: a correction dated back into January
SELECT max(recorded_at) AS known FROM payledger.journal_entries WHERE reference LIKE 'REPORTS:%' \gset
DO $$
BEGIN
	/* entries to come are recorded later, by a millisecond at least */
	WHILE payledger.id_timestamp(payledger.next_id()) <= (SELECT max(recorded_at) FROM payledger.journal_entries) LOOP END LOOP;
END
$$;
SELECT reverse_entry IS NOT NULL AS reversed FROM payledger.journal_entries j,
	   payledger.reverse_entry(j.journal_entry_id, 'wrong rate', '[{"account":"PLATFORM_COMMISSION_REVENUE.REPORTS.SEK","amount":250},
			{"account":"MERCHANT_PAYABLE.REPORTS.EU.DE.BERLIN.SEK","amount":-250}]', effective_at => '2026-01-20')
 WHERE j.reference = 'REPORTS:3';
SELECT v.who, i.account_type, i.formatted
  FROM (VALUES (1, 'in January', payledger.month_end('2026-01-01', 'REPORTS'), NULL), (2, 'and known then', payledger.month_end('2026-01-01', 'REPORTS'), :'known'::timestamptz)) v(n, who, at, as_of)
 CROSS JOIN LATERAL payledger.income_statement('2025-12-31 23:00', v.at + interval '1 microsecond', v.as_of, 'REPORTS') i
 WHERE i.account_type = 'PLATFORM_COMMISSION_REVENUE' ORDER BY v.n;
SELECT line, kind, effective_at, entry_type, debit, credit, balance
  FROM payledger.account_statement('MERCHANT_PAYABLE.REPORTS.EU.DE.BERLIN.SEK', '2026-01-01', '2026-02-01');
SELECT line, kind, effective_at, entry_type, debit, credit, balance
  FROM payledger.account_statement('MERCHANT_PAYABLE.REPORTS.EU.DE.BERLIN.SEK', '2026-01-01', '2026-02-01', :'known');
SELECT account_code, line, kind, debit, credit, balance
  FROM payledger.general_ledger('2026-01-01', '2026-02-01', 'MERCHANT_PAYABLE.REPORTS.EU.DE.BERLIN', :'known');
SELECT seller_id, oldest_at, days_8_30 FROM payledger.aged_payables('2026-02-01', :'known', 'REPORTS') WHERE currency = 'SEK';
SELECT seller_id, oldest_at, days_8_30 FROM payledger.aged_payables('2026-02-01', for_ledger => 'REPORTS') WHERE currency = 'SEK';
SELECT account_code, debit, credit FROM payledger.trial_balance_at('2026-02-01', :'known', 'REPORTS')
EXCEPT SELECT account_code, debit, credit FROM payledger.trial_balance_at('2026-02-01', for_ledger => 'REPORTS') ORDER BY 1;
-- accounts opened later are not in it
SELECT count(*) FROM payledger.open_account('MERCHANT_PAYABLE', 'REPORTS.LATE', 'SEK', 'REPORTS');
SELECT (SELECT count(*) FROM payledger.trial_balance_at(as_of => :'known', for_ledger => 'REPORTS')) AS then,
	   (SELECT count(*) FROM payledger.trial_balance_at(for_ledger => 'REPORTS')) AS now;

-- holds
BEGIN;
SELECT count(*) FROM payledger.place_hold('MERCHANT_PAYABLE.REPORTS.EU.DE.BERLIN.SEK', 4000);
SELECT balance, held, available, available_formatted, ledger, normal_side, status FROM payledger.account_balances
 WHERE account_code = 'MERCHANT_PAYABLE.REPORTS.EU.DE.BERLIN.SEK';
SELECT * FROM payledger.seller_balances WHERE seller_id = 'REPORTS.EU.DE.BERLIN';
ROLLBACK;

-- an account on the other side of its category is subtracted there
BEGIN;
SELECT * FROM payledger.add_account_type('REPORTS_ALLOWANCE', 'ASSET', 'CREDIT', 'receivables that may not come in');
SELECT count(*) FROM payledger.open_account('REPORTS_ALLOWANCE', 'REPORTS', 'SEK', 'REPORTS');
SELECT reports_post('10', '2026-02-20', 'ALLOWED_FOR', '{PSP_FEE_EXPENSE.SEK, REPORTS_ALLOWANCE.SEK}', '{50, -50}');
SELECT category, account_type, balance, category_total FROM payledger.balance_sheet WHERE ledger = 'REPORTS' AND currency = 'SEK';
SELECT sum(balance) FILTER (WHERE category = 'ASSET') - sum(balance) FILTER (WHERE category <> 'ASSET') AS off
  FROM payledger.balance_sheet_at('2026-03-01', for_ledger => 'REPORTS');
ROLLBACK;

-- every report agrees with the postings themselves, before a fold and after it
CREATE FUNCTION reports_disagreements() RETURNS TABLE (what text, account_code text, at timestamptz, as_of timestamptz) LANGUAGE sql AS $$
	WITH truth AS (
		SELECT a.account_id, a.account_code, p.amount * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS amount,
			   j.effective_at, j.recorded_at, a.ledger
		  FROM payledger.accounts a JOIN payledger.account_types t USING (account_type)
		  JOIN payledger.postings p USING (account_id) JOIN payledger.journal_entries j USING (journal_entry_id)
		 WHERE a.ledger = 'REPORTS'),
	times AS (
		SELECT e.at + d.by AS at, r.at AS as_of
		  FROM (SELECT DISTINCT effective_at FROM truth UNION SELECT now()) e(at),
			   (VALUES (interval '0'), (interval '-1 microsecond')) d(by),
			   ((SELECT recorded_at FROM truth ORDER BY recorded_at OFFSET 8 LIMIT 1) UNION ALL SELECT NULL) r(at))
	SELECT 'balance', b.account_code, t.at, t.as_of
	  FROM times t CROSS JOIN LATERAL payledger.account_balances_at(t.as_of, t.at, 'REPORTS') b
	 WHERE b.balance <> coalesce((SELECT sum(x.amount) FROM truth x WHERE x.account_id = b.account_id AND x.effective_at <= t.at
									 AND (t.as_of IS NULL OR x.recorded_at <= t.as_of)), 0)
	 UNION ALL
	SELECT 'statement', a.account_code, t.at, t.as_of
	  FROM times t CROSS JOIN payledger.accounts a
	 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE s.kind = 'POSTING') AS postings, max(s.balance) FILTER (WHERE s.kind = 'CLOSING') AS closing
						   FROM payledger.account_statement(a.account_code, t.at, t.at + interval '30 days', t.as_of) s) s
	 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.effective_at >= t.at) AS postings, coalesce(sum(x.amount), 0) AS closing
						   FROM truth x WHERE x.account_id = a.account_id AND x.effective_at < t.at + interval '30 days'
							AND (t.as_of IS NULL OR x.recorded_at <= t.as_of)) x
	 WHERE a.ledger = 'REPORTS' AND (s.postings, s.closing) IS DISTINCT FROM (x.postings, x.closing)
	 UNION ALL
	SELECT 'aged', p.seller_id, t.at, t.as_of
	  FROM times t CROSS JOIN LATERAL payledger.aged_payables(t.at, t.as_of, 'REPORTS') p
	 WHERE p.balance <> p.days_0_7 + p.days_8_30 + p.days_31_60 + p.days_61_90 + p.days_over_90
	 UNION ALL
	SELECT 'balance sheet', b.currency, t.at, t.as_of
	  FROM times t CROSS JOIN LATERAL payledger.balance_sheet_at(t.at, t.as_of, 'REPORTS') b
	 GROUP BY b.currency, t.at, t.as_of
	HAVING sum(b.balance) FILTER (WHERE b.category = 'ASSET') <> sum(b.balance) FILTER (WHERE b.category <> 'ASSET')
$$;
SELECT * FROM reports_disagreements();
SELECT payledger.fold_postings() > 0 AS folded;
SELECT * FROM reports_disagreements();

-- as plain text: names are legal in each format, no two accounts share one
SELECT h.account_code, regexp_replace(h.name, '\d{15,}', '<id>') AS hledger, regexp_replace(b.name, '\d{15,}', '<id>') AS beancount
  FROM payledger.export_names('hledger', 'REPORTS') h
  JOIN payledger.export_names('beancount', 'REPORTS') b USING (account_code)
 WHERE h.account_code ~ 'us_|US|\.FR\.|CASH' ORDER BY h.account_code COLLATE "C";
\t on
\pset format unaligned
SELECT regexp_replace(regexp_replace(l, '\d{15,}', '<id>'), 'recorded:[^,]*', 'recorded:<time>')
  FROM payledger.export_journal('hledger', '2026-01-01', '2026-02-01', 'REPORTS') l;
SELECT regexp_replace(regexp_replace(l, '\d{15,}', '<id>'), 'recorded: ".*"', 'recorded: <time>')
  FROM payledger.export_journal('beancount', '2026-01-10', '2026-02-06', 'REPORTS') l;
\pset format aligned
\t off

-- bad input
SELECT outcome('SELECT * FROM payledger.trial_balance_at(for_ledger => ''NOWHERE'')');
SELECT outcome('SELECT * FROM payledger.balance_sheet_at(for_ledger => ''NOWHERE'')');
SELECT outcome('SELECT * FROM payledger.account_rollup_at(-1)');
SELECT outcome('SELECT * FROM payledger.income_statement(''2026-02-01'', ''2026-01-01'')');
SELECT outcome('SELECT * FROM payledger.general_ledger(''2026-02-01'', ''2026-01-01'')');
SELECT outcome('SELECT * FROM payledger.account_statement(''2026-02-01'', ''2026-01-01'')');
SELECT outcome('SELECT * FROM payledger.account_statement(''PLATFORM_CASH.REPORTS.SEK'', ''2026-02-01'', ''2026-01-01'')');
SELECT outcome('SELECT * FROM payledger.account_statement(NULL)');
SELECT outcome('SELECT * FROM payledger.aged_payables(account_type => ''NO_SUCH_TYPE'')');
SELECT outcome('SELECT * FROM payledger.month_start(''2026-02-01'', ''NOWHERE'')');
SELECT outcome('SELECT * FROM payledger.export_journal(''csv'')');
SELECT outcome('SELECT * FROM payledger.export_journal(NULL)');
SELECT outcome('SELECT * FROM payledger.export_journal(''hledger'', for_ledger => NULL)');
SELECT outcome('SELECT * FROM payledger.export_journal(''hledger'', for_ledger => ''NOWHERE'')');
BEGIN;
ALTER TABLE payledger.ledgers RENAME TO elsewhere;
SELECT f, outcome('SELECT * FROM payledger.' || f)
  FROM unnest('{account_balances_at(), trial_balance_at(), balance_sheet_at(), account_rollup_at(), aged_payables(),
				"income_statement(NULL, NULL)", "account_statement(''X'')", general_ledger(), "export_journal(''hledger'')",
				"month_start(''2026-01-01'')", "month_end(''2026-01-01'')"}'::text[]) f;
ROLLBACK;
DROP FUNCTION reports_disagreements();
DROP FUNCTION reports_post(text, timestamptz, text, text[], bigint[], jsonb);
