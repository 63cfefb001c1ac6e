/*
 * src/ledger/views.sql: run by payledger.setup() when it finds others
 *
 * Views run with the rights of their owner, so that a role needs no more than
 * SELECT on the view; security_invoker would ask for the tables beneath.  None
 * hides rows from anybody who may read it, so none is a security_barrier, and
 * conditions reach the tables' indexes.  A view that shows a seller only its
 * own rows must be a barrier over these.
 *
 * The same statements at a given time are functions: report_functions.sql.
 */

/*
 * The postings that the newest fold did not see are all but none, but the
 * planner has no way to know: for all it knows a third of the account's may be
 * among them.  A range closed at both ends is taken for a two-hundredth, and
 * read by the index.
 */
CREATE OR REPLACE VIEW payledger.account_balances AS
	SELECT a.account_code, a.account_type, a.entity_id, a.currency, t.category::text AS category,
		   b.balance, payledger.format_total(b.balance, a.currency) AS formatted,
		   a.ledger, t.normal_side::text AS normal_side, a.status::text AS status, a.held,
		   b.balance - a.held AS available, payledger.format_total(b.balance - a.held, a.currency) AS available_formatted,
		   a.account_id
	  FROM payledger.accounts a
	  JOIN payledger.account_types t ON t.account_type = a.account_type
	  LEFT JOIN payledger.balance_snapshots s ON s.account_id = a.account_id
	 CROSS JOIN (SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f
	 CROSS JOIN LATERAL (
			SELECT (coalesce(s.balance, 0)
					+ coalesce((SELECT sum(p.amount) FROM payledger.postings p
								 WHERE p.account_id = a.account_id AND p.transaction_no >= f.snapshot_xmax
								   AND p.transaction_no < 9223372036854775807), 0)
					+ coalesce((SELECT sum(p.amount) FROM payledger.postings p
								 WHERE p.account_id = a.account_id AND p.transaction_no = ANY (f.snapshot_xip)
								   AND p.transaction_no >= 0 AND p.transaction_no < f.snapshot_xmax), 0))
				   * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS balance
			OFFSET 0) b;
COMMENT ON VIEW payledger.account_balances IS
'One row for each account with its balance in minor units, positive on the account''s normal side, and formatted with the decimal point of its currency. available is the balance less what active holds reserve. For a single account payledger.balance(account_code) is faster; for a past time see payledger.account_balances_at().';

CREATE OR REPLACE VIEW payledger.trial_balance AS
	SELECT b.account_code, b.account_type, b.category, b.currency,
		   greatest(d.balance, 0) AS debit, greatest(-d.balance, 0) AS credit,
		   CASE WHEN d.balance > 0 THEN payledger.format_total(d.balance, b.currency) ELSE '' END AS debit_formatted,
		   CASE WHEN d.balance < 0 THEN payledger.format_total(-d.balance, b.currency) ELSE '' END AS credit_formatted,
		   b.ledger
	  FROM payledger.account_balances b
	 CROSS JOIN LATERAL (SELECT CASE b.normal_side WHEN 'DEBIT' THEN b.balance ELSE -b.balance END AS balance) d
	 ORDER BY b.ledger, b.currency, b.category::payledger.account_category, b.account_code COLLATE "C";
COMMENT ON VIEW payledger.trial_balance IS
'One row for each account with its balance as a debit or a credit, in minor units and formatted; assets first, expenses last. In every ledger and currency the debits equal the credits: SELECT ledger, currency, sum(debit), sum(credit) FROM payledger.trial_balance GROUP BY ledger, currency. By type: GROUP BY account_type, currency. At a date: payledger.trial_balance_at().';

CREATE OR REPLACE VIEW payledger.journal AS
	SELECT j.recorded_at, j.journal_entry_id, j.entry_type, j.reference, j.payment_id,
		   p.leg, a.account_code, a.currency,
		   greatest(p.amount, 0) AS debit, greatest(-p.amount, 0) AS credit,
		   CASE WHEN p.amount > 0 THEN payledger.format_amount(p.amount, a.currency) ELSE '' END AS debit_formatted,
		   CASE WHEN p.amount < 0 THEN payledger.format_total(-p.amount::numeric, a.currency) ELSE '' END AS credit_formatted,
		   j.effective_at, j.reverses, a.ledger, j.metadata
	  FROM payledger.journal_entries j
	  JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
	  JOIN payledger.accounts a ON a.account_id = p.account_id;
COMMENT ON VIEW payledger.journal IS
'One row for each posting: what was debited or credited, in minor units of currency and formatted. Order by journal_entry_id, leg for the order of booking. Balances with every row: payledger.general_ledger(), payledger.account_statement().';

/* ---- statements ---- */

/*
 * Amounts are shown on their category's side, so that an account type of the
 * other normal side (accumulated depreciation among the assets) is subtracted.
 */
CREATE OR REPLACE VIEW payledger.balance_sheet AS
	SELECT l.ledger, l.currency, l.category, l.account_type,
		   l.balance, payledger.format_total(l.balance, l.currency) AS formatted,
		   l.category_total, payledger.format_total(l.category_total, l.currency) AS category_total_formatted
	  FROM (SELECT s.*, sum(s.balance) OVER (PARTITION BY s.ledger, s.currency, s.category) AS category_total
			  FROM (SELECT b.ledger, b.currency,
						   CASE WHEN b.category IN ('REVENUE', 'EXPENSE') THEN 'EQUITY' ELSE b.category END AS category,
						   CASE WHEN b.category IN ('REVENUE', 'EXPENSE') THEN 'CURRENT_EARNINGS' ELSE b.account_type END AS account_type,
						   sum(CASE WHEN (b.category = 'ASSET') = (b.normal_side = 'DEBIT') THEN b.balance ELSE -b.balance END) AS balance
					  FROM payledger.account_balances b
					 GROUP BY 1, 2, 3, 4) s) l
	 ORDER BY l.ledger, l.currency, l.category::payledger.account_category,
			  l.account_type = 'CURRENT_EARNINGS', l.account_type COLLATE "C";
COMMENT ON VIEW payledger.balance_sheet IS
'What is owned, owed and left at this moment: one row for each ledger, currency and account type, in minor units and formatted; assets as debits, liabilities and equity as credits. CURRENT_EARNINGS is revenue less expenses not yet carried to RETAINED_EARNINGS. category_total is the sum of the rows of that category: that of ASSET equals those of LIABILITY and EQUITY together. At a date: payledger.balance_sheet_at().';

/*
 * An entry that carries a year's earnings to RETAINED_EARNINGS takes them off
 * the revenue and expense accounts; nothing was earned or spent by it.
 */
CREATE OR REPLACE VIEW payledger.earnings_transfers AS
	SELECT p.journal_entry_id, j.effective_at, p.account_id, p.amount, j.recorded_at
	  FROM (SELECT DISTINCT r.journal_entry_id
			  FROM payledger.accounts a
			  JOIN payledger.postings r ON r.account_id = a.account_id
			 WHERE a.account_type = 'RETAINED_EARNINGS') e
	  JOIN payledger.journal_entries j ON j.journal_entry_id = e.journal_entry_id
	  JOIN payledger.postings p ON p.journal_entry_id = e.journal_entry_id
	  JOIN payledger.accounts b ON b.account_id = p.account_id
	  JOIN payledger.account_types t ON t.account_type = b.account_type
	 WHERE t.category IN ('REVENUE', 'EXPENSE');
COMMENT ON VIEW payledger.earnings_transfers IS
'The postings on revenue and expense accounts of entries that also post to RETAINED_EARNINGS: earnings carried over, which the income statement leaves out. Minor units, debit positive.';

CREATE OR REPLACE VIEW payledger.income_statement AS
	SELECT l.ledger, l.currency, l.category, l.account_type,
		   l.amount, payledger.format_total(l.amount, l.currency) AS formatted,
		   l.net_income, payledger.format_total(l.net_income, l.currency) AS net_income_formatted
	  FROM (SELECT s.*, sum(CASE s.category WHEN 'REVENUE' THEN s.amount ELSE -s.amount END)
							OVER (PARTITION BY s.ledger, s.currency) AS net_income
			  FROM (SELECT b.ledger, b.currency, b.category, b.account_type,
						   sum(CASE WHEN (b.category = 'EXPENSE') = (b.normal_side = 'DEBIT') THEN b.balance ELSE -b.balance END
							   - CASE b.category WHEN 'EXPENSE' THEN 1 ELSE -1 END * coalesce(x.amount, 0)) AS amount
					  FROM payledger.account_balances b
					  LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM payledger.earnings_transfers
								  GROUP BY account_id) x ON x.account_id = b.account_id
					 WHERE b.category IN ('REVENUE', 'EXPENSE')
					 GROUP BY 1, 2, 3, 4) s) l
	 ORDER BY l.ledger, l.currency, l.category::payledger.account_category, l.account_type COLLATE "C";
COMMENT ON VIEW payledger.income_statement IS
'What was ever earned and spent: one row for each ledger, currency and account type, in minor units and formatted, revenue as credits, expenses as debits; net_income is revenue less expenses of that ledger and currency. Entries that carry earnings to RETAINED_EARNINGS are left out. Of a period: payledger.income_statement(from, to).';

CREATE OR REPLACE VIEW payledger.account_rollup AS
	SELECT s.ledger, s.currency, s.category, s.path, s.depth, s.accounts,
		   s.balance, payledger.format_total(s.balance, s.currency) AS formatted
	  FROM (SELECT b.ledger, b.currency, b.category,
				   array_to_string(b.account_type || e.parts[1:n.depth], '.') AS path, n.depth,
				   count(*) AS accounts, sum(b.balance) AS balance
			  FROM payledger.account_balances b
			 CROSS JOIN LATERAL (SELECT string_to_array(b.entity_id, '.') AS parts) e
			 CROSS JOIN LATERAL generate_series(0, cardinality(e.parts)) AS n(depth)
			 GROUP BY 1, 2, 3, 4, 5) s
	 ORDER BY s.ledger, s.currency, s.category::payledger.account_category, s.path COLLATE "C";
COMMENT ON VIEW payledger.account_rollup IS
'Balances added up along the dotted account code: one row for each ledger, currency and beginning of a code, in minor units on the normal side and formatted. path MERCHANT_PAYABLE (depth 0) has all accounts of the type, MERCHANT_PAYABLE.EU (depth 1) the account of entity EU and of every entity below it, MERCHANT_PAYABLE.EU.DE (depth 2) those of EU.DE; accounts is their number. Rows of one depth do not overlap; those of different depths do. At a date: payledger.account_rollup_at().';

CREATE OR REPLACE VIEW payledger.stat_progress_post_entries AS
	SELECT s.pid, s.datid, d.datname, s.phase, s.entries_total, s.entries_processed
	  FROM payledger.stat_progress_post_entries() s
	  LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid;
COMMENT ON VIEW payledger.stat_progress_post_entries IS
'One row for each call of payledger.post_entries() under way in the cluster: phase is parsing, checking or writing, entries_processed are written but not yet committed.';
