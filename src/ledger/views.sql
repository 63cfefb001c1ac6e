/*
 * src/ledger/views.sql: made anew by every payledger.setup()
 *
 * Views run with the rights of their owner, so that a role needs no more than
 * SELECT on the view; security_invoker would ask for the tables beneath.  None
 * hides rows from anybody who may read it, so none is a security_barrier, and
 * conditions reach the tables' indexes.  A view that shows a seller only its
 * own rows must be a barrier over these.
 */

/*
 * The window is all but empty, but the planner has no way to know: for all it
 * knows most of the journal may be in it.  Collecting the entries in an array
 * gives it a small number to plan with, and OFFSET 0 one index scan of postings
 * for each.
 */
CREATE OR REPLACE VIEW payledger.unfolded_balances AS
	SELECT p.account_id, sum(p.amount) AS balance
	  FROM (SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f
	 CROSS JOIN LATERAL unnest(ARRAY(
			SELECT j.journal_entry_id FROM payledger.journal_entries j
			 WHERE j.transaction_no >= f.snapshot_xmax AND j.transaction_no < 9223372036854775807
			 UNION ALL
			SELECT j.journal_entry_id FROM payledger.journal_entries j
			 WHERE j.transaction_no = ANY (f.snapshot_xip))) AS e(journal_entry_id)
	 CROSS JOIN LATERAL (
			SELECT account_id, amount FROM payledger.postings
			 WHERE journal_entry_id = e.journal_entry_id
			OFFSET 0) p
	 GROUP BY p.account_id;
COMMENT ON VIEW payledger.unfolded_balances IS
'What the postings that the newest fold did not see add to each account; minor units, debit positive. payledger.account_balances includes it.';

CREATE OR REPLACE VIEW payledger.account_balances AS
	SELECT a.account_code, a.account_type, a.entity_id, a.currency, t.category::text AS category,
		   b.balance, payledger.format_total(b.balance, a.currency) AS formatted
	  FROM payledger.accounts a
	  JOIN payledger.account_types t ON t.account_type = a.account_type
	  LEFT JOIN payledger.balance_snapshots s ON s.account_id = a.account_id
	  LEFT JOIN payledger.unfolded_balances u ON u.account_id = a.account_id
	 CROSS JOIN LATERAL (
			SELECT (coalesce(s.balance, 0) + coalesce(u.balance, 0))
				   * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS balance) b;
COMMENT ON VIEW payledger.account_balances IS
'One row for each account with its balance in minor units, positive on the account''s normal side, and formatted with the decimal point of its currency. For a single account payledger.balance(account_code) is faster.';

CREATE OR REPLACE VIEW payledger.trial_balance AS
	SELECT a.account_code, a.account_type, t.category::text AS category, a.currency,
		   greatest(b.balance, 0) AS debit, greatest(-b.balance, 0) AS credit,
		   CASE WHEN b.balance > 0 THEN payledger.format_total(b.balance, a.currency) ELSE '' END AS debit_formatted,
		   CASE WHEN b.balance < 0 THEN payledger.format_total(-b.balance, a.currency) ELSE '' END AS credit_formatted
	  FROM payledger.accounts a
	  JOIN payledger.account_types t ON t.account_type = a.account_type
	  LEFT JOIN payledger.balance_snapshots s ON s.account_id = a.account_id
	  LEFT JOIN payledger.unfolded_balances u ON u.account_id = a.account_id
	 CROSS JOIN LATERAL (SELECT coalesce(s.balance, 0) + coalesce(u.balance, 0) AS balance) b
	 ORDER BY a.currency, t.category, a.account_code COLLATE "C";
COMMENT ON VIEW payledger.trial_balance IS
'One row for each account with its balance as a debit or a credit, in minor units and formatted; assets first, expenses last. In every currency the debits equal the credits: SELECT currency, sum(debit), sum(credit) FROM payledger.trial_balance GROUP BY currency. By type: GROUP BY account_type, currency.';

CREATE OR REPLACE VIEW payledger.journal AS
	SELECT j.recorded_at, j.journal_entry_id, j.entry_type, j.reference, j.payment_id,
		   p.leg, a.account_code, a.currency,
		   greatest(p.amount, 0) AS debit, greatest(-p.amount, 0) AS credit
	  FROM payledger.journal_entries j
	  JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
	  JOIN payledger.accounts a ON a.account_id = p.account_id;
COMMENT ON VIEW payledger.journal IS
'One row for each posting: what was debited or credited, in minor units of currency. Order by journal_entry_id, leg for the order of booking.';

CREATE OR REPLACE VIEW payledger.seller_balances AS
	SELECT b.entity_id AS seller_id, b.currency, b.balance, b.formatted
	  FROM payledger.account_balances b
	 WHERE b.account_type = 'MERCHANT_PAYABLE';
COMMENT ON VIEW payledger.seller_balances IS
'What the platform owes each seller, in minor units of currency and formatted; negative when the seller owes the platform.';
