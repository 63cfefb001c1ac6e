/* src/payout/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION payout_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('payouts_are_posted', false, 'every payout has exactly the entries that its status says, of its amount and for its seller', $q$
	WITH expected AS (
		SELECT p.payout_id, p.status, e.entry_type, e.entry_type || ':' || p.payout_id AS reference,
			   CASE WHEN right(e.entry_type, 9) = '_REVERSAL' THEN replace(e.entry_type, '_REVERSAL', ':') || p.payout_id END AS reverses,
			   format('%s.%s %s, %s.%s -%s', e.debit, p.currency, p.amount, e.credit, p.currency, p.amount) AS legs
		  FROM payledger.payouts p
		 CROSS JOIN LATERAL (VALUES
				('PAYOUT_REQUESTED', 'MERCHANT_PAYABLE.' || p.seller_id, 'PAYOUT_CLEARING.GLOBAL', true),
				('PAYOUT_PAID', 'PAYOUT_CLEARING.GLOBAL', 'PLATFORM_CASH.GLOBAL', p.status IN ('PAID', 'RETURNED')),
				('PAYOUT_PAID_REVERSAL', 'PLATFORM_CASH.GLOBAL', 'PAYOUT_CLEARING.GLOBAL', p.status = 'RETURNED'),
				('PAYOUT_REQUESTED_REVERSAL', 'PAYOUT_CLEARING.GLOBAL', 'MERCHANT_PAYABLE.' || p.seller_id,
				 p.status IN ('FAILED', 'RETURNED'))) AS e(entry_type, debit, credit, is_due)
		 WHERE e.is_due),
	posted AS (
		SELECT j.journal_entry_id, j.entry_type, j.reference, o.reference AS reverses,
			   (SELECT string_agg(a.account_code || ' ' || s.amount, ', ' ORDER BY s.leg)
				  FROM payledger.postings s JOIN payledger.accounts a ON a.account_id = s.account_id
				 WHERE s.journal_entry_id = j.journal_entry_id) AS legs
		  FROM payledger.journal_entries j
		  LEFT JOIN payledger.journal_entries o ON o.journal_entry_id = j.reverses
		 WHERE j.entry_type IN ('PAYOUT_REQUESTED', 'PAYOUT_PAID', 'PAYOUT_PAID_REVERSAL', 'PAYOUT_REQUESTED_REVERSAL')
		   AND j.reference ~ '^PAYOUT_(REQUESTED|PAID)(_REVERSAL)?:[0-9]+$')
	SELECT CASE WHEN e.reference IS NULL THEN
					 format('entry %s, a %s with reference %s, belongs to no payout in such a state', j.journal_entry_id, j.entry_type, reference)
				WHEN j.reference IS NULL THEN format('payout %s is %s and has no %s', e.payout_id, e.status, e.entry_type)
				ELSE format('payout %s: its %s should be %s reversing %s, posted is %s reversing %s', e.payout_id, e.entry_type,
							e.legs, coalesce(e.reverses, 'nothing'), j.legs, coalesce(j.reverses, 'nothing')) END
	  FROM expected e
	  FULL JOIN posted j USING (reference)
	 WHERE (e.entry_type, e.legs, e.reverses) IS DISTINCT FROM (j.entry_type, j.legs, j.reverses)
	$q$),
	('payout_clearing_is_explained', false, 'PAYOUT_CLEARING holds what is on its way to sellers, and nothing else', $q$
	SELECT format('PAYOUT_CLEARING.GLOBAL.%s is %s, payouts under way are %s', currency, coalesce(b.balance, 0), coalesce(p.amount, 0))
	  FROM (SELECT currency, sum(balance) AS balance FROM payledger.account_balances
			 WHERE account_type = 'PAYOUT_CLEARING' AND entity_id = 'GLOBAL' GROUP BY currency) b
	  FULL JOIN (SELECT currency, sum(amount) AS amount FROM payledger.payouts
				  WHERE status IN ('REQUESTED', 'IN_TRANSIT') GROUP BY currency) p USING (currency)
	 WHERE coalesce(b.balance, 0) <> coalesce(p.amount, 0)
	$q$),
	('waiting_payouts_have_requests', false, 'every payout under way has a request that is not decided', $q$
	SELECT format('payout %s is %s and nothing asks the PSP', p.payout_id, p.status)
	  FROM payledger.payouts p
	 WHERE p.status IN ('REQUESTED', 'IN_TRANSIT')
	   AND NOT EXISTS (SELECT FROM payledger.psp_requests r
						WHERE r.payment_id = p.payout_id AND r.target = p.payout_id
						  AND r.operation IN ('PAYOUT', 'RETRIEVE') AND r.status NOT IN ('SUCCEEDED', 'REFUSED'))
	 UNION ALL
	SELECT format('payout %s has %s requests to pay', p.payout_id, count(*))
	  FROM payledger.payouts p
	  JOIN payledger.psp_requests r ON r.payment_id = p.payout_id AND r.operation = 'PAYOUT'
	 GROUP BY p.payout_id HAVING count(*) > 1
	$q$),
	('reserves_are_posted', false, 'every reserve was withheld and released by entries of its amounts for its seller', $q$
	SELECT format('reserve of request %s for order %s: withheld %s, released %s of seller %s %s, posted are %s and %s of %s %s',
				  psp_request_id, payment_order_id, coalesce(r.amount, 0), coalesce(r.released_amount, 0), coalesce(r.seller_id, 'none'), r.currency,
				  coalesce(e.withheld, 0), coalesce(e.released, 0), coalesce(e.seller_id, 'none'), e.currency)
	  FROM payledger.reserves r
	  FULL JOIN (SELECT split_part(j.reference, ':', 2)::bigint AS psp_request_id, split_part(j.reference, ':', 3)::bigint AS payment_order_id,
						j.payment_id, a.entity_id AS seller_id, a.currency,
						coalesce(-sum(p.amount) FILTER (WHERE j.entry_type = 'RESERVE_HOLD'), 0) AS withheld,
						coalesce(sum(p.amount) FILTER (WHERE j.entry_type = 'RESERVE_RELEASE'), 0) AS released
				   FROM payledger.journal_entries j
				   JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
				   JOIN payledger.accounts a ON a.account_id = p.account_id AND a.account_type = 'MERCHANT_RESERVE'
				  WHERE j.entry_type IN ('RESERVE_HOLD', 'RESERVE_RELEASE')
					AND j.reference ~ '^RESERVE_(HOLD|RELEASE):[0-8]?[0-9]{1,18}:[0-8]?[0-9]{1,18}(:|$)'
				  GROUP BY 1, 2, 3, 4, 5) e USING (psp_request_id, payment_order_id)
	 WHERE (r.amount::numeric, r.released_amount::numeric, r.seller_id, r.currency, r.payment_id)
		   IS DISTINCT FROM (e.withheld, e.released, e.seller_id, e.currency, e.payment_id)
	$q$),
	('events_follow_payouts', true, 'the events of every payout begin with version 1, unless that was dropped with its partition, and end with its event_version', $q$
	SELECT format('payout %s is at event version %s, its events are %s to %s', payout_id, p.event_version, e.first, e.last)
	  FROM payledger.payouts p
	  LEFT JOIN (SELECT aggregateid::bigint AS payout_id, min(version) AS first, max(version) AS last, count(*) AS events
				   FROM payledger.outbox_events WHERE aggregatetype = 'payout' GROUP BY 1) e USING (payout_id)
	 CROSS JOIN (SELECT min(seq) AS seq, min("timestamp") AT TIME ZONE 'UTC' AS at FROM payledger.outbox_events) oldest
	 WHERE e.last <> p.event_version OR e.events <> e.last - e.first + 1
		OR e.first IS DISTINCT FROM 1
		   /* a partition holds far more than this; its neighbours overlap in time, but not that much */
		   AND (oldest.seq <= 1000 OR p.created_at > oldest.at + interval '1 minute')
	$q$),
	('payouts_are_guarded', false, 'the triggers that hold payouts and reserves to what was asked for are in force', $q$
	SELECT payledger.missing_guards('{
		{payouts, enforce_transition, AFTER INSERT OR UPDATE, enforce_transition},
		{payouts, refuse_identity_change, AFTER UPDATE, refuse_change},
		{payouts, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change},
		{reserves, refuse_identity_change, AFTER UPDATE, refuse_change},
		{reserves, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION payout_checks() IS
'The checks of payouts and reserves for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.payout_checks();';
