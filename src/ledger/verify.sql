/* src/ledger/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION ledger_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES

	/* ---- the journal ---- */

	('entries_are_whole', false, 'every entry has two or more postings of one transaction, its legs numbered from 1 without a gap', $q$
	SELECT CASE WHEN min(p.transaction_no) <> max(p.transaction_no) THEN
					 format('the postings of entry %s are of several transactions', j.journal_entry_id)
				ELSE format('entry %s has %s postings, the highest leg is %s', j.journal_entry_id, count(p.leg), max(p.leg)) END
	  FROM payledger.journal_entries j
	  LEFT JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
	 GROUP BY j.journal_entry_id
	HAVING count(p.leg) < 2 OR max(p.leg) <> count(p.leg) OR min(p.transaction_no) <> max(p.transaction_no)
	$q$),
	('entries_balance', false, 'the postings of every entry net to zero in every ledger and currency', $q$
	SELECT format('entry %s is off by %s %s in ledger %s', p.journal_entry_id,
				  payledger.format_total(sum(p.amount), a.currency), a.currency, a.ledger)
	  FROM payledger.postings p
	  JOIN payledger.accounts a ON a.account_id = p.account_id
	 GROUP BY p.journal_entry_id, a.ledger, a.currency HAVING sum(p.amount) <> 0
	$q$),
	('postings_have_entries', false, 'every posting belongs to an entry', $q$
	SELECT format('posting %s/%s has no entry', p.journal_entry_id, p.leg)
	  FROM payledger.postings p
	 WHERE NOT EXISTS (SELECT FROM payledger.journal_entries j WHERE j.journal_entry_id = p.journal_entry_id)
	$q$),
	('postings_have_accounts', false, 'every posting is on an account that exists', $q$
	SELECT format('posting %s/%s is on account %s, which does not exist', p.journal_entry_id, p.leg, p.account_id)
	  FROM payledger.postings p
	 WHERE NOT EXISTS (SELECT FROM payledger.accounts a WHERE a.account_id = p.account_id)
	$q$),
	('recorded_at_is_in_the_id', false, 'every entry was recorded at the time within its id', $q$
	SELECT format('entry %s was recorded at %s', journal_entry_id, recorded_at)
	  FROM payledger.journal_entries
	 WHERE CASE WHEN journal_entry_id < 0 THEN true
				ELSE recorded_at <> payledger.id_timestamp(journal_entry_id) END
	$q$),
	('reversals_mirror', false, 'the reversals of an entry together take back no more than it posted, account by account; none reverses a reversal', $q$
	WITH legs AS (
		SELECT j.reverses, j.journal_entry_id, p.account_id, sum(p.amount) AS amount
		  FROM payledger.journal_entries j
		  JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
		 WHERE j.reverses IS NOT NULL
		 GROUP BY 1, 2, 3),
	taken AS (
		SELECT reverses, account_id, coalesce(sum(amount) FILTER (WHERE amount > 0), 0) AS debited,
			   coalesce(-sum(amount) FILTER (WHERE amount < 0), 0) AS credited
		  FROM legs GROUP BY 1, 2)
	SELECT format('entry %s posted %s on account %s, its reversals debited %s and credited %s', t.reverses, o.amount,
				  coalesce(a.account_code, t.account_id::text), t.debited, t.credited)
	  FROM taken t
	 CROSS JOIN LATERAL (
			/* an entry has few legs, an account many */
			SELECT coalesce(sum(p.amount) FILTER (WHERE p.account_id = t.account_id), 0) AS amount
			  FROM payledger.postings p WHERE p.journal_entry_id = t.reverses) o
	  LEFT JOIN payledger.accounts a ON a.account_id = t.account_id
	 WHERE t.credited > greatest(o.amount, 0) OR t.debited > greatest(-o.amount, 0)
	 UNION ALL
	SELECT CASE WHEN o.journal_entry_id IS NULL THEN
					 format('entry %s reverses entry %s, which does not exist', j.journal_entry_id, j.reverses)
				ELSE format('entry %s reverses entry %s, which is a reversal itself', j.journal_entry_id, j.reverses) END
	  FROM payledger.journal_entries j
	  LEFT JOIN payledger.journal_entries o ON o.journal_entry_id = j.reverses
	 WHERE j.reverses IS NOT NULL AND (o.journal_entry_id IS NULL OR o.reverses IS NOT NULL)
	$q$),
	('effective_shifts_match', false, 'every posting of an entry that took effect at another time than it was recorded, and no other, has its two shifts', $q$
	SELECT CASE WHEN f.journal_entry_id IS NULL THEN
					 format('posting %s/%s has no shift of %s at %s', journal_entry_id, leg, e.amount, at)
				WHEN e.journal_entry_id IS NULL THEN
					 format('the shift of %s at %s does not follow from posting %s/%s', f.amount, at, journal_entry_id, leg)
				ELSE format('posting %s/%s is %s on account %s in transaction %s, its shift at %s is %s on account %s in %s',
							journal_entry_id, leg, e.amount, e.account_id, e.transaction_no, at, f.amount, f.account_id, f.transaction_no) END
	  FROM (SELECT j.journal_entry_id, p.leg, s.at, s.amount, p.account_id, p.transaction_no
			  FROM payledger.journal_entries j
			  JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
			 CROSS JOIN LATERAL (VALUES (j.effective_at, p.amount), (j.recorded_at, -p.amount)) AS s(at, amount)
			 WHERE j.effective_at <> j.recorded_at) e
	  FULL JOIN payledger.effective_shifts f USING (journal_entry_id, leg, at)
	 WHERE (e.amount, e.account_id, e.transaction_no) IS DISTINCT FROM (f.amount, f.account_id, f.transaction_no)
	$q$),

	/* ---- balances ---- */

	('balances_match_postings', false, 'the folded balance of every account is the sum of the postings that the newest fold saw, and their number', $q$
	SELECT format('account %s: the folded balance is %s of %s postings, its postings are %s in %s',
				  coalesce(a.account_code, account_id::text), coalesce(s.balance, 0), coalesce(s.postings, 0),
				  coalesce(p.balance, 0), coalesce(p.postings, 0))
	  FROM payledger.balance_snapshots s
	  FULL JOIN (SELECT p.account_id, sum(p.amount) AS balance, count(*) AS postings
				   FROM payledger.postings p,
						(SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f
				  WHERE p.transaction_no < f.snapshot_xmax AND p.transaction_no <> ALL (f.snapshot_xip)
				  GROUP BY p.account_id) p USING (account_id)
	  LEFT JOIN payledger.accounts a USING (account_id)
	 WHERE (coalesce(s.balance, 0), coalesce(s.postings, 0)) <> (coalesce(p.balance, 0), coalesce(p.postings, 0))
	$q$),
	('trial_balance_nets_to_zero', false, 'in every ledger and currency debits equal credits', $q$
	SELECT format('%s in ledger %s: debits are %s, credits %s', currency, ledger, sum(debit), sum(credit))
	  FROM payledger.trial_balance GROUP BY ledger, currency HAVING sum(debit) <> sum(credit)
	$q$),
	('folds_follow_each_other', false, 'every fold goes on where the one before it ended', $q$
	SELECT format('fold %s does not follow fold %s', fold_no, coalesce(previous::text, 'at the beginning'))
	  FROM (SELECT f.*, lag(fold_no) OVER w AS previous, lag(snapshot_xmax) OVER w AS previous_xmax,
				   lag(xmax_after) OVER w AS previous_after, lag(newest_id) OVER w AS previous_id
			  FROM payledger.folds f WINDOW w AS (ORDER BY fold_no)) f
	 WHERE fold_no <> coalesce(previous + 1, 0)
		OR snapshot_xmax < previous_xmax OR xmax_after < previous_after OR newest_id < previous_id
		OR cardinality(xip_after) <> cardinality(snapshot_xip)
		OR unseen_after <> least(xmax_after, (SELECT min(x) FROM unnest(xip_after) x))
	$q$),
	('limits_hold', false, 'no account is beyond its floor or ceiling but for what the payment flow reported as having happened', $q$
	SELECT format('account %s: the balance is %s, held %s, the floor %s, the ceiling %s', b.account_code, b.balance,
				  a.held, coalesce(a.floor::text, 'none'), coalesce(a.ceiling::text, 'none'))
	  FROM payledger.account_balances b
	  JOIN payledger.accounts a ON a.account_id = b.account_id
	 WHERE (b.balance - a.held < a.floor OR b.balance > a.ceiling)
	   AND NOT EXISTS (SELECT FROM payledger.postings p
						 JOIN payledger.journal_entries j ON j.journal_entry_id = p.journal_entry_id
						WHERE p.account_id = a.account_id AND j.payment_id IS NOT NULL)
	$q$),
	('checkpoints_match_postings', true, 'every checkpoint of a balance is the sum of the postings folded until then', $q$
	WITH folded AS (
		SELECT p.account_id, s.fold_no, sum(p.amount) AS amount, count(*) AS postings
		  FROM payledger.seals s
		 CROSS JOIN LATERAL payledger.sealed_digests(s.digests) x
		  JOIN payledger.postings p ON p.journal_entry_id = x.id
		 WHERE p.account_id IN (SELECT c.account_id FROM payledger.balance_checkpoints c)
		 GROUP BY 1, 2),
	sums AS (
		SELECT account_id, fold_no, checkpoint, sum(amount) OVER w AS balance, sum(postings) OVER w AS postings,
			   lead(fold_no) OVER (PARTITION BY account_id, checkpoint IS NULL ORDER BY fold_no) IS NULL AS is_newest
		  FROM (SELECT account_id, fold_no, amount, postings, NULL AS checkpoint FROM folded
				 UNION ALL
				SELECT account_id, fold_no, 0, 0, balance FROM payledger.balance_checkpoints) u
		WINDOW w AS (PARTITION BY account_id ORDER BY fold_no))
	SELECT format('account %s: the checkpoint of fold %s is %s, its postings are %s', account_id, fold_no, checkpoint, balance)
	  FROM sums WHERE checkpoint <> balance
	 UNION ALL
	SELECT format('account %s: the newest checkpoint counts %s postings, they are %s', account_id, b.checkpointed, coalesce(s.postings, 0))
	  FROM payledger.balance_snapshots b
	  LEFT JOIN (SELECT * FROM sums WHERE checkpoint IS NOT NULL AND is_newest) s USING (account_id)
	 WHERE b.checkpointed <> coalesce(s.postings, 0)
	$q$),
	/* blocks of 2^26, 2^33 and 2^40 microseconds since 2000: PL_SHIFT_BITS() */
	('effective_shift_totals_match', true, 'the totals of effective shifts over blocks of time are the sums of those that the newest fold saw', $q$
	SELECT format('account %s, level %s, block %s: the total is %s, its shifts are %s', account_id, level, block,
				  coalesce(t.amount, 0), coalesce(s.amount, 0))
	  FROM payledger.effective_shift_totals t
	  FULL JOIN (SELECT s.account_id, l.level::smallint AS level,
						((extract(epoch FROM s.at) - 946684800) * 1000000)::bigint >> 26 + 7 * l.level AS block,
						sum(s.amount) AS amount
				   FROM payledger.effective_shifts s CROSS JOIN generate_series(0, 2) AS l(level),
						(SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f
				  WHERE s.transaction_no < f.snapshot_xmax AND s.transaction_no <> ALL (f.snapshot_xip)
				  GROUP BY 1, 2, 3) s USING (account_id, level, block)
	 WHERE coalesce(t.amount, 0) <> coalesce(s.amount, 0)
	$q$),

	/* ---- seals ---- */

	('seals_are_chained', true, 'every seal follows from the one before it', $q$
	SELECT offence FROM payledger.broken_seals()
	$q$),
	('entries_match_seals', true, 'every entry that a fold saw is sealed and has not changed since, and no sealed entry is missing', $q$
	SELECT offence FROM payledger.tampered_entries()
	$q$),
	('accounts_match_seals', true, 'every account with a folded posting is sealed and is the same since', $q$
	SELECT offence FROM payledger.tampered_accounts()
	$q$),
	('entries_are_sealed_once', true, 'no entry is in two seals', $q$
	SELECT format('entry %s is in seals %s and %s', x.id, min(s.seal_no), max(s.seal_no))
	  FROM payledger.seals s CROSS JOIN LATERAL payledger.sealed_digests(s.digests) x
	 GROUP BY x.id HAVING count(*) > 1
	$q$),
	('seals_match_folds', true, 'the sealed entries of every fold have as many postings as it folded', $q$
	SELECT format('fold %s folded %s postings, its sealed entries have %s', fold_no, coalesce(f.postings, 0), coalesce(s.postings, 0))
	  FROM payledger.folds f
	  FULL JOIN (SELECT s.fold_no, count(*) AS postings
				   FROM payledger.seals s
				  CROSS JOIN LATERAL payledger.sealed_digests(s.digests) x
				   JOIN payledger.postings p ON p.journal_entry_id = x.id
				  GROUP BY s.fold_no) s USING (fold_no)
	 WHERE coalesce(f.postings, 0) <> coalesce(s.postings, 0)
	$q$),

	/* ---- holds ---- */

	('accounts_held_match', false, 'what is held of every account is the rest of its active holds', $q$
	SELECT format('account %s: %s are held, its active holds reserve %s', a.account_code, a.held, coalesce(h.rest, 0))
	  FROM payledger.accounts a
	  LEFT JOIN (SELECT account_id, sum(amount - committed_amount) AS rest
				   FROM payledger.holds WHERE status = 'ACTIVE' GROUP BY account_id) h USING (account_id)
	 WHERE a.held <> coalesce(h.rest, 0)
	 UNION ALL
	SELECT format('hold %s is on account %s, which does not exist', h.hold_id, h.account_id)
	  FROM payledger.holds h
	 WHERE NOT EXISTS (SELECT FROM payledger.accounts a WHERE a.account_id = h.account_id)
	$q$),
	('hold_status_matches_amounts', false, 'the status of every hold is what its amounts say', $q$
	SELECT format('hold %s is %s with %s of %s committed', hold_id, status, committed_amount, amount)
	  FROM payledger.holds
	 WHERE CASE status WHEN 'COMMITTED' THEN committed_amount = 0 ELSE committed_amount = amount END
	$q$),
	('hold_status_matches_history', false, 'the newest status in the history of every hold is the one it has', $q$
	SELECT format('hold %s is %s, its history says %s', h.hold_id, h.status, coalesce(s.to_status, 'nothing'))
	  FROM payledger.holds h
	  LEFT JOIN (SELECT DISTINCT ON (object_id) object_id, to_status FROM payledger.state_history
				  WHERE machine = 'hold' ORDER BY object_id, history_id DESC) s ON s.object_id = h.hold_id
	 WHERE h.status::text IS DISTINCT FROM s.to_status
	$q$),

	/* ---- periods ---- */

	('ledgers_match_periods', false, 'every ledger is closed before the end of its last closed month, and the months are what their events say', $q$
	SELECT format('ledger %s is closed before %s, its last closed month ends at %s', l.ledger,
				  coalesce(l.closed_before::text, 'nothing'), coalesce(p.ends_at::text, 'nothing'))
	  FROM payledger.ledgers l
	  LEFT JOIN (SELECT ledger, max(ends_at) AS ends_at FROM payledger.periods WHERE is_closed GROUP BY ledger) p USING (ledger)
	 WHERE l.closed_before IS DISTINCT FROM p.ends_at
	 UNION ALL
	SELECT format('month %s of ledger %s is %s, its newest event is %s', p.month, p.ledger,
				  CASE WHEN p.is_closed THEN 'closed' ELSE 'open' END, coalesce(e.event, 'missing'))
	  FROM payledger.periods p
	  LEFT JOIN (SELECT DISTINCT ON (ledger, month) ledger, month, event FROM payledger.period_events
				  ORDER BY ledger, month, period_event_id DESC) e ON e.ledger = p.ledger AND e.month = p.month
	 WHERE p.is_closed IS DISTINCT FROM (e.event = 'CLOSED')
	$q$),
	/* ids ascend over all sessions, and closing waits for the posts under way */
	('closed_months_are_left_alone', false, 'no entry that takes effect in a closed month was recorded after its close', $q$
	WITH closed AS (
		SELECT p.ledger, array_agg(p.ends_at ORDER BY p.ends_at) AS ends,
			   array_agg(p.closed_by ORDER BY p.ends_at) AS closed_by
		  FROM (SELECT p.ledger, p.ends_at,
					   min(e.period_event_id) OVER (PARTITION BY p.ledger ORDER BY p.ends_at
													ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS closed_by
				  FROM payledger.periods p
				 CROSS JOIN LATERAL (
						SELECT max(e.period_event_id) AS period_event_id FROM payledger.period_events e
						 WHERE e.ledger = p.ledger AND e.month = p.month AND e.event = 'CLOSED') e
				 WHERE p.is_closed) p
		 GROUP BY p.ledger),
	late AS (
		SELECT j.journal_entry_id, j.effective_at
		  FROM payledger.journal_entries j,
			   (SELECT min(closed_by[1]) AS first_id, max(ends[cardinality(ends)]) AS before FROM closed) c
		 WHERE j.journal_entry_id > c.first_id AND j.effective_at < c.before)
	SELECT format('entry %s was recorded after ledger %s was closed for %s', l.journal_entry_id, c.ledger, l.effective_at)
	  FROM late l
	 CROSS JOIN LATERAL (
			SELECT DISTINCT a.ledger FROM payledger.postings p JOIN payledger.accounts a ON a.account_id = p.account_id
			 WHERE p.journal_entry_id = l.journal_entry_id) a
	  JOIN closed c ON c.ledger = a.ledger
	 WHERE l.journal_entry_id > c.closed_by[width_bucket(l.effective_at, c.ends) + 1]
	$q$),
	/* the differences between months telescope, so each posting is looked at once */
	('closing_balances_match', true, 'the closing balances of every closed month are the sums of the postings effective until its end', $q$
	WITH months AS (
		SELECT ledger, array_agg(ends_at ORDER BY ends_at) AS ends, array_agg(month ORDER BY ends_at) AS months
		  FROM payledger.periods WHERE is_closed AND has_balances GROUP BY ledger),
	changes AS (
		SELECT m.ledger, p.account_id, width_bucket(j.effective_at, m.ends) + 1 AS n, -sum(p.amount) AS amount
		  FROM payledger.postings p
		  JOIN payledger.journal_entries j ON j.journal_entry_id = p.journal_entry_id
		  JOIN payledger.accounts a ON a.account_id = p.account_id
		  JOIN months m ON m.ledger = a.ledger
		 WHERE j.effective_at < m.ends[cardinality(m.ends)]
		 GROUP BY 1, 2, 3
		 UNION ALL
		SELECT m.ledger, b.account_id, k.n, CASE WHEN k.n = array_position(m.months, b.month) THEN b.balance ELSE -b.balance END
		  FROM payledger.closing_balances b
		  JOIN months m ON m.ledger = b.ledger
		 CROSS JOIN LATERAL generate_series(array_position(m.months, b.month),
				least(array_position(m.months, b.month) + 1, cardinality(m.months))) AS k(n))
	SELECT format('account %s: the closing balance of %s is off by %s', coalesce(a.account_code, o.account_id::text),
				  to_char(m.months[o.n], 'YYYY-MM'), o.amount)
	  FROM (SELECT ledger, account_id, n, sum(sum(amount)) OVER (PARTITION BY ledger, account_id ORDER BY n) AS amount
			  FROM changes GROUP BY ledger, account_id, n) o
	  JOIN months m ON m.ledger = o.ledger
	  LEFT JOIN payledger.accounts a ON a.account_id = o.account_id
	 WHERE o.amount <> 0
	 UNION ALL
	SELECT format('month %s of ledger %s has no closing balances', month, ledger)
	  FROM payledger.periods WHERE is_closed AND NOT has_balances
	$q$),

	/* ---- conversions ---- */

	('conversions_match_entries', false, 'every conversion says what its entry posted, at a rate that gives these amounts', $q$
	SELECT format('conversion %s of %s %s to %s %s: its entry debited %s and credited %s', c.journal_entry_id,
				  c.debit_amount, c.debit_currency, c.credit_amount, c.credit_currency,
				  coalesce(e.debited::text, 'nothing'), coalesce(e.credited::text, 'nothing'))
	  FROM payledger.conversions c
	  LEFT JOIN payledger.journal_entries j ON j.journal_entry_id = c.journal_entry_id
	 CROSS JOIN LATERAL (
			SELECT sum(p.amount) FILTER (WHERE p.amount > 0 AND a.currency = c.debit_currency) AS debited,
				   -sum(p.amount) FILTER (WHERE p.amount < 0 AND a.currency = c.credit_currency) AS credited
			  FROM payledger.postings p JOIN payledger.accounts a ON a.account_id = p.account_id
			 WHERE p.journal_entry_id = j.journal_entry_id) e
	 WHERE (e.debited, e.credited) IS DISTINCT FROM (c.debit_amount::numeric, c.credit_amount::numeric)
	 UNION ALL
	SELECT format('conversion %s of %s %s to %s %s has the rate %s', c.journal_entry_id,
				  payledger.format_amount(c.debit_amount, c.debit_currency), c.debit_currency,
				  payledger.format_amount(c.credit_amount, c.credit_currency), c.credit_currency, c.rate)
	  FROM payledger.conversions c
	  JOIN payledger.currencies() d ON d.currency = c.debit_currency
	  JOIN payledger.currencies() k ON k.currency = c.credit_currency
	 WHERE abs(round(c.debit_amount * power(10::numeric, k.exponent - d.exponent), 10) * c.rate - c.credit_amount) > 0.5
	$q$),

	('holds_match_entries', false, 'what was committed of every hold is what the entries that name it took', $q$
	SELECT format('hold %s has %s committed, its entries took %s', h.hold_id, h.committed_amount, coalesce(-e.amount * s.sign, 0))
	  FROM payledger.holds h
	  JOIN payledger.accounts a ON a.account_id = h.account_id
	  JOIN payledger.account_types t ON t.account_type = a.account_type
	 CROSS JOIN LATERAL (SELECT CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS sign) s
	  LEFT JOIN (SELECT j.metadata ->> 'hold_id' AS hold_id, p.account_id, sum(p.amount) AS amount
				   FROM payledger.journal_entries j JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
				  WHERE j.metadata ? 'hold_id' GROUP BY 1, 2) e ON e.hold_id = h.hold_id::text AND e.account_id = h.account_id
	 WHERE h.committed_amount <> coalesce(-e.amount * s.sign, 0)
	$q$),
	('ledger_is_guarded', false, 'the triggers that keep the ledger balanced and append-only are in force', $q$
	SELECT payledger.missing_guards('{
		{postings, check_postings, AFTER INSERT, check_postings},
		{postings, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{journal_entries, check_journal_entries, BEFORE INSERT, check_journal_entries},
		{journal_entries, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{effective_shifts, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{folds, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{balance_checkpoints, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{seals, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{accounts, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{accounts, refuse_identity_change, AFTER UPDATE, refuse_change},
		{accounts, announce_restriction, AFTER UPDATE, announce_restriction},
		{account_types, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{account_types, refuse_identity_change, AFTER UPDATE, refuse_change},
		{ledgers, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{ledgers, refuse_identity_change, AFTER UPDATE, refuse_change},
		{ledgers, announce_closing, AFTER UPDATE, announce_restriction},
		{ledgers, announce_reopening, AFTER UPDATE, announce_restriction},
		{holds, enforce_transition, AFTER INSERT OR UPDATE, enforce_transition},
		{holds, refuse_identity_change, AFTER UPDATE, refuse_change},
		{holds, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{periods, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{period_events, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change},
		{closing_balances, check_insert, AFTER INSERT, check_closing_balances},
		{closing_balances, check_delete, AFTER DELETE, check_closing_balances},
		{closing_balances, refuse_change, BEFORE UPDATE OR TRUNCATE, refuse_change},
		{conversions, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION ledger_checks() IS
'The ledger''s checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.ledger_checks();';
