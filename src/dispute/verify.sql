/* src/dispute/verify.sql: part of the install script; see src/core/verify.sql */

CREATE FUNCTION dispute_checks() RETURNS TABLE (check_name text, is_deep boolean, description text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ VALUES
	('disputed_amounts_are_sums', false, 'what is disputed of every order is the sum of its disputes that are not WON', $q$
	SELECT format('order %s has %s disputed, its disputes make it %s', o.payment_order_id, o.disputed_amount, coalesce(d.amount, 0))
	  FROM payledger.payment_orders o
	  LEFT JOIN (SELECT payment_id, payment_order_id, sum(amount) AS amount
				   FROM payledger.disputes WHERE status <> 'WON' GROUP BY payment_id, payment_order_id) d
		ON d.payment_id = o.payment_id AND d.payment_order_id = o.payment_order_id
	 WHERE o.disputed_amount <> coalesce(d.amount, 0)
	$q$),
	('disputes_belong_to_orders', false, 'every dispute is of the order, seller, currency and gateway of its payment, and its reference of no other payment', $q$
	SELECT format('dispute %s is not of its payment_order %s', d.dispute_id, d.payment_order_id)
	  FROM payledger.disputes d
	  LEFT JOIN payledger.payment_orders o ON o.payment_id = d.payment_id AND o.payment_order_id = d.payment_order_id
	  LEFT JOIN payledger.payments p ON p.payment_id = d.payment_id
	 WHERE (o.seller_id, o.currency, p.gateway) IS DISTINCT FROM (d.seller_id, d.currency, d.gateway)
	 UNION ALL
	SELECT format('dispute "%s" of gateway %s was opened for %s payments', psp_reference, gateway, count(DISTINCT payment_id))
	  FROM payledger.disputes GROUP BY gateway, psp_reference HAVING count(DISTINCT payment_id) > 1
	 UNION ALL
	SELECT format('%s disputes have the id %s', count(*), dispute_id)
	  FROM payledger.disputes GROUP BY dispute_id HAVING count(*) > 1
	$q$),
	/*
	 * One entry for the opening, one for a first decision that was a win, one
	 * for each decision overturned.
	 */
	('disputes_are_posted', false, 'every dispute has the entries that its status and round say, for its amount and at the cost of whom it says', $q$
	WITH posted AS (
		SELECT split_part(j.reference, ':', 2)::bigint AS dispute_id, j.payment_id, j.journal_entry_id,
			   a.account_type, a.entity_id, a.currency, p.amount
		  FROM payledger.journal_entries j
		  JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
		  JOIN payledger.accounts a ON a.account_id = p.account_id
		 WHERE j.payment_id IS NOT NULL AND j.reference ~ '^CHARGEBACK(_REVERSAL)?:[0-8]?[0-9]{1,18}:[0-9]+$'),
	sums AS (
		SELECT d.dispute_id, d.payment_id, d.seller_id, d.amount, d.status, d.round, d.borne_by_seller,
			   count(DISTINCT p.journal_entry_id) AS entries,
			   coalesce(sum(p.amount) FILTER (WHERE p.account_type = 'PSP_RECEIVABLES' AND p.entity_id = 'GLOBAL'), 0) AS psp,
			   coalesce(sum(p.amount) FILTER (WHERE p.account_type = 'MERCHANT_PAYABLE' AND p.entity_id = d.seller_id), 0) AS seller,
			   coalesce(sum(p.amount) FILTER (WHERE p.account_type = 'CHARGEBACK_EXPENSE' AND p.entity_id = 'GLOBAL'), 0) AS platform,
			   coalesce(sum(p.amount) FILTER (WHERE p.account_type = 'SETTLEMENT_SUSPENSE' AND p.entity_id = d.seller_id), 0) AS suspense,
			   count(*) FILTER (WHERE p.currency <> d.currency) AS foreign_postings
		  FROM payledger.disputes d
		  LEFT JOIN posted p ON p.dispute_id = d.dispute_id AND p.payment_id = d.payment_id
		 GROUP BY d.payment_id, d.dispute_id)
	SELECT format('dispute %s of %s is %s in round %s: its %s entries took %s from seller %s, %s from the platform, %s from suspense, gave %s to the PSP',
				  dispute_id, amount, status, round, entries, seller, seller_id, platform, suspense, -psp)
	  FROM sums
	 WHERE foreign_postings > 0
		OR entries <> round + CASE WHEN (status = 'WON') = (round % 2 = 1) THEN 1 ELSE 0 END
		OR CASE WHEN status <> 'WON' AND borne_by_seller THEN (psp, seller, platform, suspense) <> (-amount, amount, 0, 0)
				WHEN status <> 'WON' THEN (psp, seller, platform, suspense) <> (-amount, 0, amount, 0)
				ELSE (psp, seller, platform, suspense) NOT IN ((0, 0, 0, 0), (0, amount, 0, -amount)) END
	 UNION ALL
	SELECT format('entry %s belongs to dispute %s, which does not exist', p.journal_entry_id, p.dispute_id)
	  FROM (SELECT DISTINCT journal_entry_id, dispute_id, payment_id FROM posted) p
	 WHERE NOT EXISTS (SELECT FROM payledger.disputes d WHERE d.payment_id = p.payment_id AND d.dispute_id = p.dispute_id)
	$q$),
	('dispute_fees_are_posted', false, 'the fee of every dispute is posted, and taken back if it was returned', $q$
	SELECT format('dispute %s has a fee of %s%s: posted are %s', d.dispute_id, d.fee,
				  CASE WHEN d.fee_returned THEN ', returned' ELSE '' END, coalesce(f.amount, 0))
	  FROM payledger.disputes d
	  LEFT JOIN (SELECT split_part(j.reference, ':', 2)::bigint AS dispute_id, j.payment_id, a.currency, sum(p.amount) AS amount
				   FROM payledger.journal_entries j
				   JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id
				   JOIN payledger.accounts a ON a.account_id = p.account_id AND a.account_type = 'PSP_FEE_EXPENSE'
				  WHERE j.payment_id IS NOT NULL AND j.reference ~ '^CHARGEBACK_FEE(_REVERSAL)?:[0-8]?[0-9]{1,18}$'
				  GROUP BY 1, 2, 3) f ON f.dispute_id = d.dispute_id AND f.payment_id = d.payment_id AND f.currency = d.currency
	 WHERE coalesce(f.amount, 0) <> CASE WHEN d.fee_returned THEN 0 ELSE d.fee END
		OR d.fee > 0 AND f.dispute_id IS NULL
	$q$),
	('disputes_are_open_items', false, 'what the PSP took and gave back for every dispute is among the items that its settlements clear', $q$
	SELECT format('dispute %s took %s and a fee of %s from the PSP''s account, its items are %s and %s', d.dispute_id,
				  CASE WHEN d.status = 'WON' THEN 0 ELSE d.amount END, CASE WHEN d.fee_returned THEN 0 ELSE d.fee END,
				  -coalesce(i.amount, 0), -coalesce(i.fee, 0))
	  FROM payledger.disputes d
	  LEFT JOIN (SELECT payment_id, object_id,
						coalesce(sum(amount) FILTER (WHERE kind IN ('CHARGEBACK', 'CHARGEBACK_REVERSAL')), 0) AS amount,
						coalesce(sum(amount) FILTER (WHERE kind IN ('CHARGEBACK_FEE', 'CHARGEBACK_FEE_REVERSAL')), 0) AS fee
				   FROM payledger.settlement_items GROUP BY payment_id, object_id) i
		ON i.payment_id = d.payment_id AND i.object_id = d.dispute_id
	 WHERE -coalesce(i.amount, 0) <> CASE WHEN d.status = 'WON' THEN 0 ELSE d.amount END
		OR -coalesce(i.fee, 0) <> CASE WHEN d.fee_returned THEN 0 ELSE d.fee END
	$q$),
	('disputes_are_guarded', false, 'the triggers that hold disputes to their machine and keep what they are about are in force', $q$
	SELECT payledger.missing_guards('{
		{disputes, enforce_transition, AFTER INSERT OR UPDATE, enforce_transition},
		{disputes, refuse_identity_change, AFTER UPDATE, refuse_change},
		{disputes, refuse_delete, BEFORE DELETE OR TRUNCATE, refuse_change}}')
	$q$)
$$;
COMMENT ON FUNCTION dispute_checks() IS
'The disputes'' checks for payledger.verify(): each query returns a text for each offence. Example: SELECT * FROM payledger.dispute_checks();';
