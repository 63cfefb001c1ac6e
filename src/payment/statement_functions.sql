/*
 * src/payment/statement_functions.sql: part of the install script
 *
 * What a seller and an operator ask for: the statement of a seller's account
 * over a period, the life of one payment.
 */

/*
 * Built like payledger.account_statement(), from the postings of two accounts:
 * an entry that moves money between them, a reserve say, is one line.
 */
CREATE FUNCTION seller_statement(seller_id text, currency text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
								 as_of timestamptz DEFAULT NULL)
	RETURNS TABLE (line bigint, kind text, effective_at timestamptz, entry_type text, order_id text,
				   debit numeric, credit numeric, balance numeric, reserve_change numeric, reserve numeric,
				   debit_formatted text, credit_formatted text, balance_formatted text,
				   reserve_change_formatted text, reserve_formatted text,
				   payment_id bigint, payment_order_id bigint, payout_id bigint, reference text,
				   journal_entry_id bigint, recorded_at timestamptz)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	seller CONSTANT text := seller_statement.seller_id;
	cur CONSTANT text := seller_statement.currency;
	payable_id bigint;
	reserve_id bigint;
	opening numeric := 0;
	opening_reserve numeric := 0;
BEGIN
	PERFORM payledger.check_ledger(NULL), payledger.check_period("from", "to");
	IF seller IS NULL OR cur IS NULL THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN seller IS NULL THEN 'seller_id' ELSE 'currency' END
			USING ERRCODE = '22004';
	END IF;
	IF NOT EXISTS (SELECT FROM payledger.sellers s WHERE s.seller_id = seller AND s.currency = cur) THEN
		RAISE EXCEPTION 'seller % is not registered in %', seller, cur
			USING ERRCODE = 'PL007', HINT = 'payledger.sellers lists them.';
	END IF;
	/* a seller has an account once something was posted to it, the payable one from the beginning */
	SELECT a.account_id INTO payable_id FROM payledger.accounts a
	 WHERE a.account_code = 'MERCHANT_PAYABLE.' || seller || '.' || cur;
	SELECT a.account_id INTO reserve_id FROM payledger.accounts a
	 WHERE a.account_code = 'MERCHANT_RESERVE.' || seller || '.' || cur;
	IF "from" IS NOT NULL THEN
		SELECT coalesce(sum(b.balance) FILTER (WHERE a.account_id = payable_id), 0),
			   coalesce(sum(b.balance) FILTER (WHERE a.account_id = reserve_id), 0)
		  INTO opening, opening_reserve
		  FROM payledger.accounts a
		 CROSS JOIN LATERAL (
				SELECT payledger.balance(a.account_code, as_of, "from" - interval '1 microsecond')::numeric AS balance
				OFFSET 0) b
		 WHERE a.account_id IN (payable_id, reserve_id);
	END IF;

	RETURN QUERY
	WITH moved AS MATERIALIZED (
		SELECT m.journal_entry_id, min(m.effective_at) AS effective_at, min(m.recorded_at) AS recorded_at,
			   min(m.entry_type) AS entry_type, min(m.reference) AS reference,
			   coalesce(sum(greatest(m.amount, 0)) FILTER (WHERE m.account_id = payable_id), 0) AS debit,
			   coalesce(sum(greatest(-m.amount::numeric, 0)) FILTER (WHERE m.account_id = payable_id), 0) AS credit,
			   coalesce(-sum(m.amount) FILTER (WHERE m.account_id = reserve_id), 0) AS reserve_change
		  FROM (SELECT payable_id AS account_id, p.* FROM payledger.postings_in_effect(payable_id, "from", "to", as_of) p
				 UNION ALL
				SELECT reserve_id, p.* FROM payledger.postings_in_effect(reserve_id, "from", "to", as_of) p) m
		 GROUP BY m.journal_entry_id),
	lines AS (
		SELECT 1 AS part, 'OPENING' AS kind, "from" AS effective_at, NULL::bigint AS journal_entry_id,
			   NULL::numeric AS debit, NULL::numeric AS credit, opening AS balance,
			   NULL::numeric AS reserve_change, opening_reserve AS reserve
		 UNION ALL
		SELECT 2, 'ENTRY', m.effective_at, m.journal_entry_id, m.debit, m.credit,
			   opening + sum(m.credit - m.debit) OVER in_order, m.reserve_change,
			   opening_reserve + sum(m.reserve_change) OVER in_order
		  FROM moved m
		WINDOW in_order AS (ORDER BY m.effective_at, m.journal_entry_id ROWS UNBOUNDED PRECEDING)
		 UNION ALL
		SELECT 3, 'CLOSING', "to", NULL, coalesce(sum(m.debit), 0), coalesce(sum(m.credit), 0),
			   opening + coalesce(sum(m.credit - m.debit), 0), coalesce(sum(m.reserve_change), 0),
			   opening_reserve + coalesce(sum(m.reserve_change), 0)
		  FROM moved m)
	SELECT row_number() OVER (ORDER BY l.part, l.effective_at, l.journal_entry_id), l.kind, l.effective_at, m.entry_type, p.order_id,
		   l.debit, l.credit, l.balance, l.reserve_change, l.reserve,
		   CASE WHEN l.debit <> 0 OR l.part = 3 THEN payledger.format_total(l.debit, cur) ELSE '' END,
		   CASE WHEN l.credit <> 0 OR l.part = 3 THEN payledger.format_total(l.credit, cur) ELSE '' END,
		   payledger.format_total(l.balance, cur),
		   CASE WHEN l.reserve_change <> 0 OR l.part = 3 THEN payledger.format_total(l.reserve_change, cur) ELSE '' END,
		   payledger.format_total(l.reserve, cur),
		   j.payment_id, o.payment_order_id,
		   substring(m.reference from '^PAYOUT_(?:REQUESTED|PAID)(?:_REVERSAL)?:([0-8]?[0-9]{1,18})$')::bigint,
		   m.reference, l.journal_entry_id, m.recorded_at
	  FROM lines l
	  LEFT JOIN moved m ON m.journal_entry_id = l.journal_entry_id
	  LEFT JOIN payledger.journal_entries j ON j.journal_entry_id = l.journal_entry_id
	  LEFT JOIN payledger.payments p ON p.payment_id = j.payment_id
	  /* a seller has one order of a payment */
	  LEFT JOIN payledger.payment_orders o ON o.payment_id = j.payment_id AND o.seller_id = seller
	 ORDER BY 1;
END
$$;
REVOKE ALL ON FUNCTION seller_statement(text, text, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION seller_statement(text, text, timestamptz, timestamptz, timestamptz) IS
'The statement of a seller in a currency: what the platform owed it, each entry that took effect from the first time up to but not including the second, with the balance after it, and the closing balance with the totals; of the entries recorded until as_of; null: no bound. kind is OPENING, ENTRY or CLOSING; debit, credit and balance are of MERCHANT_PAYABLE, negative when the seller owes; reserve_change and reserve of MERCHANT_RESERVE, what is withheld. Minor units, and formatted; with the payment or payout each entry is about. Errors: 22003 a balance passes a bigint, 22004 argument missing, 22023 the period ends before it begins, PL007 no such seller, PL010 not set up. Example: SELECT line, effective_at, entry_type, order_id, debit_formatted, credit_formatted, balance_formatted, reserve_formatted FROM payledger.seller_statement(''SELLER-111'', ''EUR'', payledger.month_start(''2026-01-01''), payledger.month_start(''2026-02-01''));';

/*
 * Rows of the history and entries have ids of one counter, so their ids give
 * the order in which they were written; the time of a transaction, which is
 * that of its beginning, does not if it waited for the payment's lock.  So at
 * is the time of a row, but never before that of the row before it.  Events
 * are written last in their transaction and carry the time of it.
 */
CREATE FUNCTION payment_timeline(payment_id bigint)
	RETURNS TABLE (at timestamptz, source text, what text, detail text, object_id bigint)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	payment CONSTANT bigint := payment_timeline.payment_id;
	cur text;
	event_ids text[];
BEGIN
	PERFORM payledger.check_ledger(NULL);
	IF payment IS NULL THEN
		RAISE EXCEPTION 'payment_id must not be null' USING ERRCODE = '22004';
	END IF;
	SELECT i.currency INTO cur FROM payledger.payment_intents i WHERE i.payment_intent_id = payment;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'payment % does not exist', payment
			USING ERRCODE = 'PL007', HINT = 'payledger.payment_overview lists them.';
	END IF;
	/* the first and the last id that an event of this payment can have: src/outbox/events.c */
	SELECT ARRAY[b.id || to_hex(128 + 4 * (payment & 15)) || repeat('0', 14),
				 b.id || to_hex(131 + 4 * (payment & 15)) || repeat('f', 14)]
	  INTO event_ids
	  FROM (SELECT overlay(lpad(to_hex(payment >> 4), 15, '0') placing '8' from 13 for 0) AS id) b;

	RETURN QUERY
	WITH objects (machine, object_id, description) AS (
		SELECT 'payment_intent', i.payment_intent_id, payledger.format_amount(i.total_amount, cur) || ' ' || cur || ' of order ' || i.order_id
		  FROM payledger.payment_intents i WHERE i.payment_intent_id = payment
		 UNION ALL
		SELECT 'payment', p.payment_id, payledger.format_amount(p.total_amount, cur) || ' ' || cur
		  FROM payledger.payments p WHERE p.payment_id = payment
		 UNION ALL
		SELECT 'payment_order', o.payment_order_id, o.seller_id || ' ' || payledger.format_amount(o.amount, cur) || ' ' || cur
		  FROM payledger.payment_orders o WHERE o.payment_id = payment
		 UNION ALL
		SELECT 'refund', r.refund_id, r.seller_id || ' ' || payledger.format_amount(r.amount, cur) || ' ' || cur
									  || coalesce(' (' || r.reason || ')', '')
		  FROM payledger.refunds r WHERE r.payment_id = payment
		 UNION ALL
		SELECT 'dispute', d.dispute_id, d.seller_id || ' ' || payledger.format_amount(d.amount, cur) || ' ' || cur
										|| coalesce(' (' || d.reason || ')', '')
		  FROM payledger.disputes d WHERE d.payment_id = payment
		 UNION ALL
		SELECT 'psp_request', q.psp_request_id, concat_ws(' ', payledger.format_amount(q.amount, cur), cur, 'at', q.gateway)
		  FROM payledger.psp_requests q WHERE q.payment_id = payment),
	written AS (
		SELECT h.history_id AS id, h.at, h.machine AS source,
			   concat_ws(' ', q.operation, concat_ws(' -> ', h.from_status, h.to_status)) AS what,
			   concat_ws('; ', CASE WHEN h.from_status IS NULL THEN o.description END,
							   CASE WHEN h.history_id = max(h.history_id) OVER (PARTITION BY h.machine, h.object_id)
									THEN nullif(concat_ws(' ', 'attempt ' || nullif(q.attempt, 0), 'HTTP ' || q.reply_status,
														  q.reply_code, '(' || q.reply_message || ')'), '') END,
							   h.cause || ' by ' || h.actor) AS detail,
			   h.object_id
		  FROM payledger.state_history h
		  LEFT JOIN objects o ON o.machine = h.machine AND o.object_id = h.object_id
		  LEFT JOIN payledger.psp_requests q ON h.machine = 'psp_request' AND q.payment_id = payment AND q.psp_request_id = h.object_id
		 WHERE h.payment_id = payment
		 UNION ALL
		SELECT j.journal_entry_id, j.recorded_at, 'journal_entry', j.entry_type, l.legs, j.journal_entry_id
		  FROM payledger.journal_entries j
		 CROSS JOIN LATERAL (
				SELECT string_agg(CASE WHEN p.amount > 0 THEN 'debit ' ELSE 'credit ' END
								  || payledger.format_total(abs(p.amount::numeric), a.currency) || ' ' || a.account_code, ', ' ORDER BY p.leg) AS legs
				  FROM payledger.postings p JOIN payledger.accounts a ON a.account_id = p.account_id
				 WHERE p.journal_entry_id = j.journal_entry_id) l
		 WHERE j.payment_id = payment)
	SELECT t.at, t.source, t.what, t.detail, t.object_id
	  FROM (SELECT max(w.at) OVER (ORDER BY w.id ROWS UNBOUNDED PRECEDING) AS at, 1 AS part, w.id, w.source, w.what, w.detail, w.object_id
			  FROM written w
			 UNION ALL
			SELECT e."timestamp" AT TIME ZONE 'UTC', 2, e.version, 'event', e.type, 'version ' || e.version, e.seq
			  FROM payledger.outbox_events e
			 WHERE e.id BETWEEN event_ids[1]::uuid AND event_ids[2]::uuid
			   AND e.aggregatetype = 'payment' AND e.aggregateid = payment::text
			 UNION ALL
			/* the time within the report's id: milliseconds since 2025-01-01 in the upper bits */
			SELECT timestamptz '2025-01-01 00:00+00' + (s.settlement_report_id >> 22) * interval '1 millisecond', 3,
				   s.settlement_item_id, 'settlement', s.kind || ' settled',
				   concat_ws(' ', s.seller_id, payledger.format_total(s.amount, s.currency), s.currency, 'in line', s.line_no),
				   s.settlement_report_id
			  FROM payledger.settlement_items s
			 WHERE s.payment_id = payment AND s.settlement_report_id IS NOT NULL) t
	 ORDER BY t.at, t.part, t.id;
END
$$;
REVOKE ALL ON FUNCTION payment_timeline(bigint) FROM PUBLIC;
COMMENT ON FUNCTION payment_timeline(bigint) IS
'The life of one payment, from its intent on, in order. source is the machine of a state change (what: from -> to, detail: what the object is when it begins, command or answer, and role), psp_request (created, sent and answered: operation and status, attempt and last reply), journal_entry (what: entry type, detail: its legs), event (what: type, detail: version; as long as the outbox keeps it), or settlement (what: item, object_id: the report). Errors: 22004 no id, PL007 no such payment, PL010 not set up. Example: SELECT t.* FROM payledger.payments p, payledger.payment_timeline(p.payment_id) t WHERE p.order_id = ''ORDER-1'';';
