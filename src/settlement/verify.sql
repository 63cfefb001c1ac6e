/* src/settlement/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION settlement_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('open_items_match_receivables', false, 'what the payment flow posted to PSP_RECEIVABLES is what the open items add up to', $q$
	SELECT format('PSP_RECEIVABLES in %s are %s, open items %s', coalesce(p.currency, i.currency), coalesce(p.amount, 0),
				  coalesce(i.amount, 0))
	  FROM (SELECT a.currency, sum(s.amount) AS amount
			  FROM payledger.accounts a
			  JOIN payledger.postings s ON s.account_id = a.account_id
			  JOIN payledger.journal_entries j ON j.journal_entry_id = s.journal_entry_id
			 WHERE a.account_code = 'PSP_RECEIVABLES.GLOBAL.' || a.currency
			   /* nobody else may post under such a reference */
			   AND j.reference ~ '^[A-Z_]+:[0-9]+(:|$)'
			   AND split_part(j.reference, ':', 1) IN (SELECT t.entry_type FROM payledger.posting_templates() t)
			 GROUP BY a.currency) p
	  FULL JOIN (SELECT currency, sum(amount) AS amount FROM payledger.settlement_items
				  WHERE settlement_report_id IS NULL GROUP BY currency) i ON i.currency = p.currency
	 WHERE coalesce(p.amount, 0) <> coalesce(i.amount, 0)
	$q$),
	('items_name_their_line', false, 'every settled item names a line of a reconciled report, or a MISSING_AT_PSP that was accepted', $q$
	/* added up rather than joined: without statistics a join of so many may take for ever */
	SELECT format('%s items name line %s of report %s, which does not exist', sum(items), line_no, settlement_report_id)
	  FROM (SELECT r.settlement_report_id, l.line_no, 1 AS lines, 0 AS items
			  FROM payledger.settlement_reports r
			  JOIN payledger.settlement_lines l ON l.gateway = r.gateway AND l.report_id = r.report_id
			 WHERE r.status = 'RECONCILED'
			 UNION ALL
			SELECT settlement_report_id, line_no, 0, 1
			  FROM payledger.settlement_items WHERE settlement_report_id IS NOT NULL AND line_no IS NOT NULL) f
	 GROUP BY settlement_report_id, line_no HAVING sum(lines) = 0
	 UNION ALL
	SELECT format('%s items of gateway %s are settled by report %s of %s', i.n, i.gateway, i.settlement_report_id,
				  coalesce(r.gateway, 'none'))
	  FROM (SELECT settlement_report_id, gateway, count(*) AS n
			  FROM payledger.settlement_items WHERE settlement_report_id IS NOT NULL GROUP BY 1, 2) i
	  LEFT JOIN payledger.settlement_reports r ON r.settlement_report_id = i.settlement_report_id
	 WHERE r.gateway IS DISTINCT FROM i.gateway
	 UNION ALL
	SELECT format('item %s of payment %s is settled by report %s and no line', i.settlement_item_id, i.payment_id,
				  i.settlement_report_id)
	  FROM payledger.settlement_items i
	 WHERE i.settlement_report_id IS NOT NULL AND i.line_no IS NULL
	   AND NOT EXISTS (SELECT FROM payledger.settlement_exceptions e
						WHERE e.settlement_report_id = i.settlement_report_id AND e.line_no IS NULL
						  AND e.category = 'MISSING_AT_PSP' AND e.status = 'ACCEPTED' AND e.payment_id = i.payment_id
						  AND e.object_id = i.object_id AND e.occurred_at = i.occurred_at
						  AND upper(e.line_type::text) = i.kind::text)
	 UNION ALL
	SELECT format('item %s of payment %s names a line and no report', settlement_item_id, payment_id)
	  FROM payledger.settlement_items WHERE settlement_report_id IS NULL AND line_no IS NOT NULL
	$q$),
	('settlements_are_posted', false, 'the entries of every reconciled report, and of what was accepted of its exceptions, are what its lines and items come to', $q$
	WITH posted AS (
		/* SETTLEMENT:<report or exception>:<currency> and the write-offs and suspense of exceptions */
		SELECT coalesce(r.settlement_report_id, e.settlement_report_id) AS settlement_report_id, a.currency,
			   coalesce(sum(s.amount) FILTER (WHERE a.account_type = 'PLATFORM_CASH'), 0) AS cash,
			   coalesce(sum(s.amount) FILTER (WHERE a.account_type = 'PSP_RECEIVABLES'), 0) AS receivable
		  FROM payledger.journal_entries j
		  JOIN payledger.postings s ON s.journal_entry_id = j.journal_entry_id
		  JOIN payledger.accounts a ON a.account_id = s.account_id
		  LEFT JOIN payledger.settlement_reports r ON r.settlement_report_id = split_part(j.reference, ':', 2)::bigint
		  LEFT JOIN payledger.settlement_exceptions e ON e.settlement_exception_id = split_part(j.reference, ':', 2)::bigint
		 WHERE j.reference ~ '^(SETTLEMENT|SETTLEMENT_SUSPENSE|SETTLEMENT_WRITE_OFF):[0-8]?[0-9]{1,18}(:|$)'
		 GROUP BY 1, 2),
	items AS (
		SELECT settlement_report_id, currency, sum(amount) AS amount
		  FROM payledger.settlement_items WHERE settlement_report_id IS NOT NULL GROUP BY 1, 2),
	/* lines whose exception is not accepted bring no cash */
	lines AS (
		SELECT r.settlement_report_id, l.currency, sum(l.net) AS net
		  FROM payledger.settlement_reports r
		  JOIN payledger.settlement_lines l ON l.gateway = r.gateway AND l.report_id = r.report_id
		  LEFT JOIN payledger.settlement_exceptions e
			ON e.settlement_report_id = r.settlement_report_id AND e.line_no = l.line_no
		 WHERE r.status = 'RECONCILED' AND l.line_type <> 'payout' AND (e.status IS NULL OR e.status = 'ACCEPTED')
		 GROUP BY 1, 2),
	keys AS (
		SELECT settlement_report_id, currency FROM posted
		 UNION SELECT settlement_report_id, currency FROM items
		 UNION SELECT settlement_report_id, currency FROM lines)
	SELECT format('report %s in %s: posted are %s cash and %s of PSP_RECEIVABLES, its lines come to %s, its items to %s',
				  k.settlement_report_id, k.currency, coalesce(p.cash, 0), -coalesce(p.receivable, 0),
				  coalesce(l.net, 0), coalesce(i.amount, 0))
	  FROM keys k
	  LEFT JOIN posted p ON p.settlement_report_id = k.settlement_report_id AND p.currency = k.currency
	  LEFT JOIN items i ON i.settlement_report_id = k.settlement_report_id AND i.currency = k.currency
	  LEFT JOIN lines l ON l.settlement_report_id = k.settlement_report_id AND l.currency = k.currency
	 WHERE coalesce(p.cash, 0) <> coalesce(l.net, 0) OR -coalesce(p.receivable, 0) <> coalesce(i.amount, 0)
		OR k.settlement_report_id IS NULL
	$q$),
	('lines_have_one_outcome', true, 'every line of a reconciled report settled items, or has one exception, and its counts are right', $q$
	WITH facts AS (
		/* added up rather than joined: without statistics a join of so many may take for ever */
		SELECT r.settlement_report_id, l.line_no, 1 AS lines, (l.line_type NOT IN ('fee', 'payout'))::int AS operations,
			   0 AS items, 0 AS exceptions, 0 AS accepted
		  FROM payledger.settlement_reports r
		  JOIN payledger.settlement_lines l ON l.gateway = r.gateway AND l.report_id = r.report_id
		 WHERE r.status = 'RECONCILED'
		 UNION ALL
		SELECT settlement_report_id, line_no, 0, 0, 1, 0, 0
		  FROM payledger.settlement_items WHERE settlement_report_id IS NOT NULL AND line_no IS NOT NULL
		 UNION ALL
		SELECT settlement_report_id, line_no, 0, 0, 0, 1, (status = 'ACCEPTED')::int
		  FROM payledger.settlement_exceptions WHERE line_no IS NOT NULL),
	outcomes AS MATERIALIZED (
		SELECT settlement_report_id, line_no, sum(lines) AS lines, sum(operations) > 0 AS is_operation, sum(items) AS items,
			   sum(exceptions) AS exceptions, sum(accepted) AS accepted
		  FROM facts GROUP BY 1, 2)
	SELECT format('line %s of report %s settled %s items and has %s exceptions', line_no, settlement_report_id, items, exceptions)
	  FROM outcomes
	 WHERE lines <> 1
		OR CASE WHEN NOT is_operation THEN items > 0 OR exceptions > 0
				WHEN exceptions = 0 THEN items = 0
				ELSE exceptions > 1 OR items > 0 AND accepted = 0 END
	 UNION ALL
	SELECT format('report %s says %s lines, %s matched, %s exceptions: it has %s, %s, %s', r.settlement_report_id,
				  r.lines, r.matched, r.exceptions, coalesce(o.lines, 0), coalesce(o.matched, 0), coalesce(e.n, 0))
	  FROM payledger.settlement_reports r
	  LEFT JOIN (SELECT settlement_report_id, count(*) AS lines, count(*) FILTER (WHERE exceptions = 0) AS matched
				   FROM outcomes WHERE lines > 0 GROUP BY 1) o ON o.settlement_report_id = r.settlement_report_id
	  LEFT JOIN (SELECT settlement_report_id, count(*) AS n FROM payledger.settlement_exceptions GROUP BY 1) e
		ON e.settlement_report_id = r.settlement_report_id
	 WHERE r.status = 'RECONCILED'
	   AND (r.lines, r.matched, r.exceptions)
		   IS DISTINCT FROM (coalesce(o.lines, 0), coalesce(o.matched, 0), coalesce(e.n, 0))
	$q$),
	('settlement_history_explains_states', false, 'the history of every report and exception ends in its status', $q$
	SELECT format('%s %s is %s, its history says %s', o.machine, o.object_id, o.status, coalesce(h.to_status, 'nothing'))
	  FROM (SELECT 'settlement_report' AS machine, settlement_report_id AS object_id, status::text FROM payledger.settlement_reports
			 UNION ALL
			SELECT 'settlement_exception', settlement_exception_id, status::text FROM payledger.settlement_exceptions) o
	  LEFT JOIN (SELECT DISTINCT ON (machine, object_id) machine, object_id, to_status
				   FROM payledger.state_history WHERE machine IN ('settlement_report', 'settlement_exception')
				  ORDER BY machine, object_id, history_id DESC) h ON h.machine = o.machine AND h.object_id = o.object_id
	 WHERE h.to_status IS DISTINCT FROM o.status
	$q$),
	('reconciliations_are_told', true, 'every reconciled report has its event', $q$
	SELECT format('report %s has no event', r.settlement_report_id)
	  FROM payledger.settlement_reports r
	 CROSS JOIN (SELECT min(seq) AS seq, min("timestamp") AT TIME ZONE 'UTC' AS at FROM payledger.outbox_events) oldest
	 WHERE r.status = 'RECONCILED'
	   AND (oldest.seq <= 1000 OR r.reconciled_at > oldest.at + interval '1 minute')
	   AND NOT EXISTS (SELECT FROM payledger.outbox_events e
						WHERE e.aggregatetype = 'ledger' AND e.aggregateid = r.settlement_report_id::text
						  AND e.type = 'settlement_reconciled')
	$q$),
	('settlement_is_guarded', false, 'the triggers that keep reports, lines, exceptions and items are in force', $q$
	SELECT payledger.missing_guards(ARRAY[
			ARRAY[t, 'enforce_transition', 'AFTER INSERT OR UPDATE', 'enforce_transition'],
			ARRAY[t, 'refuse_delete', 'BEFORE DELETE OR TRUNCATE', 'refuse_change'],
			ARRAY[t, 'refuse_identity_change', 'AFTER UPDATE', 'refuse_change']])
	  FROM unnest('{settlement_reports, settlement_exceptions}'::text[]) AS t
	 UNION ALL
	SELECT payledger.missing_guards('{{settlement_items, refuse_identity_change, AFTER UPDATE, refuse_change},
									  {settlement_lines, register_report, AFTER INSERT, register_settlement_lines},
									  {settlement_lines, refuse_change, BEFORE DELETE OR UPDATE OR TRUNCATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION settlement_checks() IS
'The settlement''s checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.settlement_checks();';
