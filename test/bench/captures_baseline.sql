/*
 * The hand-written side: tables with the same columns, rows, primary keys,
 * indexes, fillfactor and partitions as payledger's, without triggers and
 * constraints, and a function that writes what one capture writes.
 */
CREATE SCHEMA baseline;
CREATE SEQUENCE baseline.outbox_seq;
CREATE SEQUENCE baseline.ids;

DO $$
DECLARE
	source record;
	options text;
BEGIN
	FOR source IN
		SELECT c.oid, c.relname, c.reloptions, c.relkind, pg_get_partkeydef(c.oid) AS partition_key,
			   (SELECT inhparent::regclass::name FROM pg_inherits WHERE inhrelid = c.oid) AS parent,
			   pg_get_expr(c.relpartbound, c.oid) AS bound
		  FROM pg_class c
		 WHERE c.relnamespace = 'payledger'::regnamespace AND c.relkind IN ('r', 'p')
		   AND (c.relname IN ('commission_rules', 'payments', 'payment_orders', 'psp_requests', 'state_history', 'accounts',
							  'journal_entries', 'postings', 'settlement_items') OR c.relname LIKE 'outbox\_events%')
		 ORDER BY c.relispartition, c.relname
	LOOP
		options := ' WITH (' || array_to_string(source.reloptions, ', ') || ')';
		IF source.parent IS NOT NULL THEN
			EXECUTE format('CREATE TABLE baseline.%I PARTITION OF baseline.outbox_events %s%s',
						   source.relname, source.bound, options);
		ELSE
			EXECUTE format('CREATE TABLE baseline.%I (LIKE payledger.%1$I INCLUDING DEFAULTS INCLUDING INDEXES INCLUDING STORAGE)%s%s',
						   source.relname, ' PARTITION BY ' || source.partition_key, options);
		END IF;
	END LOOP;
	ALTER TABLE baseline.outbox_events ALTER seq SET DEFAULT nextval('baseline.outbox_seq');
	FOR source IN
		SELECT relname FROM pg_class WHERE relnamespace = 'baseline'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
	LOOP
		EXECUTE format('INSERT INTO baseline.%I SELECT * FROM payledger.%1$I', source.relname);
	END LOOP;
	PERFORM setval('baseline.outbox_seq', (SELECT last_value FROM payledger.outbox_seq));
	PERFORM setval('baseline.ids', payledger.next_id());
END
$$;

CREATE FUNCTION baseline.capture(request bigint, note text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	r record;
	o record;
	p record;
	fee bigint;
	rule bigint;
	hold_id bigint;
	held_id bigint;
	psp_id bigint;
	revenue_id bigint;
	payable_id bigint;
	capture_id bigint := nextval('baseline.ids');
	fee_id bigint := nextval('baseline.ids');
	xid bigint := pg_current_xact_id()::text::bigint;
	utc timestamp := now() AT TIME ZONE 'UTC';
	time text := to_char(utc, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
	cause text := format('CAPTURE psp_request %s SUCCEEDED resolved', request);
	event uuid[] := ARRAY[gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid()];
	parent uuid := gen_random_uuid();
BEGIN
	UPDATE baseline.psp_requests
	   SET status = 'SUCCEEDED', reply_code = 'resolved', reply_message = note, updated_at = now()
	 WHERE psp_request_id = request AND status = 'UNKNOWN'
	RETURNING payment_id, target, amount, currency, attempt, gateway, psp_reference INTO r;

	SELECT seller_id INTO o FROM baseline.payment_orders WHERE payment_id = r.payment_id AND payment_order_id = r.target;
	SELECT round(r.amount * commission_bps / 10000.0)::bigint + commission_fixed, commission_rule_id INTO fee, rule
	  FROM baseline.commission_rules WHERE seller_id = o.seller_id AND currency = r.currency AND valid_from <= now()
	 ORDER BY valid_from DESC LIMIT 1;

	UPDATE baseline.payment_orders
	   SET status = 'CAPTURED', captured_amount = r.amount, capture_pending_amount = 0, commission_amount = fee,
		   commission_rule_id = rule, updated_at = now()
	 WHERE payment_id = r.payment_id AND payment_order_id = r.target;

	UPDATE baseline.payments
	   SET captured_amount = captured_amount + r.amount, event_version = event_version + 2, updated_at = now(),
		   status = CASE WHEN captured_amount + r.amount = total_amount THEN 'CAPTURED'::payledger.payment_status
						 ELSE 'PARTIALLY_CAPTURED' END
	 WHERE payment_id = r.payment_id
	RETURNING captured_amount = r.amount AS first, status, event_version INTO p;

	INSERT INTO baseline.state_history (history_id, payment_id, machine, object_id, from_status, to_status, at, actor, cause)
	VALUES (nextval('baseline.ids'), r.payment_id, 'payment', r.payment_id,
			CASE WHEN p.first THEN 'NOT_CAPTURED' ELSE 'PARTIALLY_CAPTURED' END, p.status, now(), session_user, cause),
		   (nextval('baseline.ids'), r.payment_id, 'payment_order', r.target, 'CAPTURE_REQUESTED', 'CAPTURED',
			now(), session_user, cause),
		   (nextval('baseline.ids'), r.payment_id, 'psp_request', request, 'UNKNOWN', 'SUCCEEDED',
			now(), session_user, 'resolve_request: ' || note);

	INSERT INTO baseline.journal_entries (journal_entry_id, entry_type, payment_id, reference, recorded_at, effective_at, metadata)
	VALUES (capture_id, 'CAPTURE', r.payment_id, format('CAPTURE:%s:%s', request, r.target), now(), now(), NULL),
		   (fee_id, 'COMMISSION_FEE', r.payment_id, format('COMMISSION_FEE:%s:%s', request, r.target), now(), now(),
			jsonb_build_object('commission_rule_id', rule::text));
	INSERT INTO baseline.settlement_items (settlement_item_id, payment_id, payment_order_id, object_id, kind, gateway,
										   psp_reference, seller_id, currency, amount, occurred_at)
	VALUES (nextval('baseline.ids'), r.payment_id, r.target, request, 'CAPTURE', r.gateway, r.psp_reference, o.seller_id,
			r.currency, r.amount, now());

	/* single look-ups: joined to the six legs, the planner would read the whole table */
	SELECT account_id INTO STRICT hold_id FROM baseline.accounts WHERE account_code = 'AUTH_LIABILITY.GLOBAL.' || r.currency;
	SELECT account_id INTO STRICT held_id FROM baseline.accounts WHERE account_code = 'AUTH_RECEIVABLE.GLOBAL.' || r.currency;
	SELECT account_id INTO STRICT psp_id FROM baseline.accounts WHERE account_code = 'PSP_RECEIVABLES.GLOBAL.' || r.currency;
	SELECT account_id INTO STRICT revenue_id FROM baseline.accounts WHERE account_code = 'PLATFORM_COMMISSION_REVENUE.GLOBAL.' || r.currency;
	SELECT account_id INTO STRICT payable_id FROM baseline.accounts WHERE account_code = 'MERCHANT_PAYABLE.' || o.seller_id || '.' || r.currency;

	INSERT INTO baseline.postings (journal_entry_id, leg, account_id, amount, transaction_no)
	VALUES (capture_id, 1, hold_id, r.amount, xid),
		   (capture_id, 2, psp_id, r.amount, xid),
		   (capture_id, 3, held_id, -r.amount, xid),
		   (capture_id, 4, payable_id, -r.amount, xid),
		   (fee_id, 1, payable_id, fee, xid),
		   (fee_id, 2, revenue_id, -fee, xid);

	INSERT INTO baseline.outbox_events
		(id, aggregatetype, aggregateid, type, payload, "timestamp", version, event_key, ce_source, ce_time, ce_subject, transaction_no)
	VALUES
		(event[1], 'payment', r.payment_id, 'payment_order_psp_result_updated',
		 format('{"eventId":"%s","eventType":"payment_order_psp_result_updated","aggregateId":"%s","data":{"paymentOrderId":"%s","sellerId":"%s","currency":"%s","amount":%s,"outcome":"SUCCEEDED","code":"resolved","attempt":%s},"timestamp":"%s","traceId":null,"parentEventId":"%s","version":%s}',
				event[1], r.payment_id, r.target, o.seller_id, r.currency, r.amount, r.attempt, time, parent, p.event_version - 1)::json,
		 utc, p.event_version - 1, r.payment_id, '/payledger/0/payledger', time, r.payment_id, xid),
		(event[2], 'payment', r.payment_id, 'payment_order_finalized',
		 format('{"eventId":"%s","eventType":"payment_order_finalized","aggregateId":"%s","data":{"paymentOrderId":"%s","sellerId":"%s","currency":"%s","amount":%s,"status":"CAPTURED"},"timestamp":"%s","traceId":null,"parentEventId":"%s","version":%s}',
				event[2], r.payment_id, r.target, o.seller_id, r.currency, r.amount, time, event[1], p.event_version)::json,
		 utc, p.event_version, r.payment_id, '/payledger/0/payledger', time, r.payment_id, xid),
		(event[3], 'ledger', capture_id, 'ledger_entries_recorded',
		 format('{"eventId":"%s","eventType":"ledger_entries_recorded","aggregateId":"%s","data":{"journalEntryId":"%s","entryType":"CAPTURE","paymentId":"%s","reference":"CAPTURE:%s:%s","postings":[{"account":"AUTH_LIABILITY.GLOBAL.%s","amount":%s},{"account":"PSP_RECEIVABLES.GLOBAL.%s","amount":%s},{"account":"AUTH_RECEIVABLE.GLOBAL.%s","amount":%s},{"account":"MERCHANT_PAYABLE.%s.%s","amount":%s}]},"timestamp":"%s","traceId":null,"parentEventId":"%s","version":1}',
				event[3], capture_id, capture_id, r.payment_id, request, r.target, r.currency, r.amount, r.currency, r.amount,
				r.currency, -r.amount, o.seller_id, r.currency, -r.amount, time, event[3])::json,
		 utc, 1, o.seller_id, '/payledger/0/payledger', time, capture_id, xid),
		(event[4], 'ledger', fee_id, 'ledger_entries_recorded',
		 format('{"eventId":"%s","eventType":"ledger_entries_recorded","aggregateId":"%s","data":{"journalEntryId":"%s","entryType":"COMMISSION_FEE","paymentId":"%s","reference":"COMMISSION_FEE:%s:%s","postings":[{"account":"MERCHANT_PAYABLE.%s.%s","amount":%s},{"account":"PLATFORM_COMMISSION_REVENUE.GLOBAL.%s","amount":%s}]},"timestamp":"%s","traceId":null,"parentEventId":"%s","version":1}',
				event[4], fee_id, fee_id, r.payment_id, request, r.target, o.seller_id, r.currency, fee, r.currency, -fee, time, event[4])::json,
		 utc, 1, o.seller_id, '/payledger/0/payledger', time, fee_id, xid);
END
$$;

/* both sides start with packed tables and fresh statistics */
VACUUM (FULL, ANALYZE);
