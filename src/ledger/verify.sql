/* src/ledger/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION ledger_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('entries_are_whole', false, 'every entry has two or more postings, its legs numbered from 1 without a gap', $q$
	SELECT format('entry %s has %s postings, the highest leg is %s', j.journal_entry_id, count(p.leg), max(p.leg))
	  FROM payledger.journal_entries j
	  LEFT JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
	 GROUP BY j.journal_entry_id HAVING count(p.leg) < 2 OR max(p.leg) <> count(p.leg)
	$q$),
	('entries_balance', false, 'the postings of every entry net to zero in every currency', $q$
	SELECT format('entry %s is off by %s %s', p.journal_entry_id, payledger.format_total(sum(p.amount), a.currency), a.currency)
	  FROM payledger.postings p
	  JOIN payledger.accounts a ON a.account_id = p.account_id
	 GROUP BY p.journal_entry_id, a.currency HAVING sum(p.amount) <> 0
	$q$),
	('postings_have_entries', false, 'every posting belongs to an entry and carries its transaction number', $q$
	SELECT CASE WHEN j.journal_entry_id IS NULL THEN format('posting %s/%s has no entry', p.journal_entry_id, p.leg)
				ELSE format('posting %s/%s has transaction number %s, its entry %s', p.journal_entry_id, p.leg,
							p.transaction_no, j.transaction_no) END
	  FROM payledger.postings p
	  LEFT JOIN payledger.journal_entries j ON j.journal_entry_id = p.journal_entry_id
	 WHERE j.transaction_no IS DISTINCT FROM p.transaction_no
	$q$),
	('postings_have_accounts', false, 'every posting is on an account that exists', $q$
	SELECT format('posting %s/%s is on account %s, which does not exist', p.journal_entry_id, p.leg, p.account_id)
	  FROM payledger.postings p
	 WHERE NOT EXISTS (SELECT FROM payledger.accounts a WHERE a.account_id = p.account_id)
	$q$),
	('reversals_mirror', false, 'every reversal is the exact mirror of an entry that exists', $q$
	SELECT format('entry %s is not the mirror of entry %s', j.journal_entry_id, j.reverses)
	  FROM payledger.journal_entries j
	 WHERE j.reverses IS NOT NULL
	   AND EXISTS (SELECT FROM payledger.postings p
					WHERE p.journal_entry_id IN (j.journal_entry_id, j.reverses)
					GROUP BY p.account_id HAVING sum(p.amount) <> 0)
	$q$),
	('balances_match_postings', false, 'the folded balance of every account is the sum of the postings that the fold saw', $q$
	SELECT format('account %s: the folded balance is %s, its postings are %s', coalesce(a.account_code, account_id::text),
				  coalesce(s.balance, 0), coalesce(p.balance, 0))
	  FROM payledger.balance_snapshots s
	  FULL JOIN (SELECT p.account_id, sum(p.amount) AS balance
				   FROM payledger.postings p,
						(SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f
				  WHERE p.transaction_no < f.snapshot_xmax AND p.transaction_no <> ALL (f.snapshot_xip)
				  GROUP BY p.account_id) p USING (account_id)
	  LEFT JOIN payledger.accounts a USING (account_id)
	 WHERE coalesce(s.balance, 0) <> coalesce(p.balance, 0)
	$q$),
	('trial_balance_nets_to_zero', false, 'in every currency debits equal credits', $q$
	SELECT format('%s: debits are %s, credits %s', currency, sum(debit), sum(credit))
	  FROM payledger.trial_balance GROUP BY currency HAVING sum(debit) <> sum(credit)
	$q$),
	('folds_are_one', false, 'there is one newest fold', $q$
	SELECT format('there are %s folds', count(*)) FROM payledger.folds HAVING count(*) <> 1
	$q$),
	('ledger_is_guarded', false, 'the triggers that keep the ledger balanced and append-only are in force', $q$
	SELECT payledger.missing_guards('{
		{postings, check_postings, AFTER INSERT, check_postings},
		{postings, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{journal_entries, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{accounts, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{accounts, refuse_identity_change, AFTER UPDATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION ledger_checks() IS
'The ledger''s checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.ledger_checks();';
