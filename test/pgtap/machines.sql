-- Every pair of states of every machine: the edge is listed and the change
-- goes through with its history row, or it is refused with PL001.
BEGIN;
\set ON_ERROR_STOP 1

-- what else a row must look like in each state
CREATE TEMP TABLE shape (machine text, state text, sets text, PRIMARY KEY (machine, state));
INSERT INTO shape
	SELECT 'payment_intent', unnest(enum_range(NULL::payledger.payment_intent_status))::text, '';
INSERT INTO shape VALUES
	('payment', 'NOT_CAPTURED', 'captured_amount = 0, refunded_amount = 0, voided_amount = 0'),
	('payment', 'PARTIALLY_CAPTURED', 'captured_amount = 50, refunded_amount = 0, voided_amount = 0'),
	('payment', 'CAPTURED', 'captured_amount = 100, refunded_amount = 0, voided_amount = 0'),
	('payment', 'PARTIALLY_REFUNDED', 'captured_amount = 100, refunded_amount = 50, voided_amount = 0'),
	('payment', 'REFUNDED', 'captured_amount = 100, refunded_amount = 100, voided_amount = 0'),
	('payment', 'VOIDED', 'captured_amount = 0, refunded_amount = 0, voided_amount = 100');
INSERT INTO shape
	SELECT 'payment_order', s, format('captured_amount = %s, capture_pending_amount = %s, refunded_amount = %s, voided_amount = %s',
		CASE WHEN s IN ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED') THEN 100 ELSE 0 END,
		CASE WHEN s IN ('CAPTURE_REQUESTED', 'PENDING_CAPTURE') THEN 100 ELSE 0 END,
		CASE s WHEN 'PARTIALLY_REFUNDED' THEN 50 WHEN 'REFUNDED' THEN 100 ELSE 0 END,
		CASE WHEN s IN ('CAPTURE_FAILED', 'CANCELLED') THEN 100 ELSE 0 END)
	  FROM unnest(enum_range(NULL::payledger.payment_order_status)::text[]) s;
INSERT INTO shape
	SELECT 'refund', unnest(enum_range(NULL::payledger.refund_status))::text, ''
	UNION ALL SELECT 'dispute', unnest(enum_range(NULL::payledger.dispute_status))::text, ''
	UNION ALL SELECT 'payout', unnest(enum_range(NULL::payledger.payout_status))::text, ''
	UNION ALL SELECT 'settlement_report', unnest(enum_range(NULL::payledger.settlement_report_status))::text, ''
	UNION ALL SELECT 'settlement_exception', unnest(enum_range(NULL::payledger.settlement_exception_status))::text, '';
INSERT INTO shape
	SELECT 'dead_letter', unnest(enum_range(NULL::payledger.dead_letter_status))::text, ''
	UNION ALL SELECT 'replay', unnest(enum_range(NULL::payledger.replay_status))::text, ''
	UNION ALL SELECT 'phantom', s, CASE s WHEN 'FOUND' THEN 'retraction_seq = NULL' ELSE 'retraction_seq = phantom_id' END
	  FROM unnest(enum_range(NULL::payledger.phantom_status)::text[]) s;
INSERT INTO shape
	SELECT 'psp_request', s, CASE s WHEN 'IN_FLIGHT' THEN 'lease_token = 1' ELSE 'lease_token = NULL' END
	  FROM unnest(enum_range(NULL::payledger.psp_request_status)::text[]) s;
INSERT INTO shape
	SELECT 'hold', s, CASE s WHEN 'COMMITTED' THEN 'committed_amount = 100' ELSE '' END
	  FROM unnest(enum_range(NULL::payledger.hold_status)::text[]) s;

CREATE TEMP TABLE place (machine text PRIMARY KEY, relation text, key text, makes text);
INSERT INTO place VALUES
	('payment_intent', 'payledger.payment_intents', 'payment_intent_id',
	 $$INSERT INTO payledger.payment_intents (payment_intent_id, order_id, buyer_id, currency, total_amount, lines,
		status, capture_method, gateway, event_version, created_at, updated_at)
	   VALUES ($1, 'O', 'B', 'EUR', 100, '[]', $2::payledger.payment_intent_status, 'manual', 'g', 1, now(), now())$$),
	('payment', 'payledger.payments', 'payment_id',
	 $$INSERT INTO payledger.payments (payment_id, order_id, buyer_id, currency, total_amount, status, gateway,
		event_version, created_at, updated_at)
	   VALUES ($1, 'O', 'B', 'EUR', 100, $2::payledger.payment_status, 'g', 1, now(), now())$$),
	('payment_order', 'payledger.payment_orders', 'payment_order_id',
	 $$INSERT INTO payledger.payment_orders (payment_order_id, payment_id, seller_id, currency, amount, status,
		created_at, updated_at)
	   VALUES ($1, $1, 'S', 'EUR', 100, $2::payledger.payment_order_status, now(), now())$$),
	('psp_request', 'payledger.psp_requests', 'psp_request_id',
	 $$INSERT INTO payledger.psp_requests (psp_request_id, payment_id, gateway, operation, target, currency,
		idempotency_key, status, next_attempt_at, created_at, updated_at)
	   VALUES ($1, $1, 'g', 'CANCEL', 1, 'EUR', 'k' || $1, $2::payledger.psp_request_status, 'infinity', now(), now())$$),
	('refund', 'payledger.refunds', 'refund_id',
	 $$INSERT INTO payledger.refunds (refund_id, payment_id, payment_order_id, seller_id, amount, currency, status,
		created_at, updated_at)
	   VALUES ($1, $1, $1, 'S', 100, 'EUR', $2::payledger.refund_status, now(), now())$$),
	('dispute', 'payledger.disputes', 'dispute_id',
	 $$INSERT INTO payledger.disputes (dispute_id, payment_id, payment_order_id, seller_id, gateway, psp_reference,
		amount, currency, status, created_at, updated_at)
	   VALUES ($1, $1, $1, 'S', 'g', 'd' || $1, 100, 'EUR', $2::payledger.dispute_status, now(), now())$$),
	('payout', 'payledger.payouts', 'payout_id',
	 $$INSERT INTO payledger.payouts (payout_id, seller_id, currency, amount, gateway, beneficiary, status,
		event_version, created_at, updated_at)
	   VALUES ($1, 'S', 'EUR', 100, 'g', 'b', $2::payledger.payout_status, 1, now(), now())$$),
	('settlement_report', 'payledger.settlement_reports', 'settlement_report_id',
	 $$INSERT INTO payledger.settlement_reports (settlement_report_id, gateway, report_id, status, imported_at, imported_by)
	   VALUES ($1, 'g', 'r' || $1, $2::payledger.settlement_report_status, now(), 'i')$$),
	('settlement_exception', 'payledger.settlement_exceptions', 'settlement_exception_id',
	 $$INSERT INTO payledger.settlement_exceptions (settlement_exception_id, settlement_report_id, category, status, created_at)
	   VALUES ($1, $1, 'OVER', $2::payledger.settlement_exception_status, now())$$),
	('dead_letter', 'payledger.dead_letters', 'dead_letter_id',
	 $$INSERT INTO payledger.dead_letters (dead_letter_id, status, reason, created_at, updated_at, seq, id, aggregatetype,
		aggregateid, type, "timestamp", version, event_key, ce_specversion, ce_source, ce_time, ce_subject, content_type)
	   VALUES ($1, $2::payledger.dead_letter_status, 'r', now(), now(), $1, gen_random_uuid(), 'payment', 'a', 'payment_voided',
		now(), 1, 'k', '1.0', 's', 't', 'u', 'application/json')$$),
	('phantom', 'payledger.phantoms', 'phantom_id',
	 $$INSERT INTO payledger.phantoms (phantom_id, status, event_id, ce_time, event_type, aggregateid, version, topic, partition,
		record_offset, message_key, retraction_seq, created_at, updated_at)
	   VALUES ($1, $2::payledger.phantom_status, gen_random_uuid(), 'now', 'payment_voided', 'a', 1, 't', 0, $1, 'k',
		CASE WHEN $2 = 'FOUND' THEN NULL ELSE $1 END, now(), now())$$),
	('replay', 'payledger.replays', 'replay_id',
	 $$INSERT INTO payledger.replays (replay_id, status, from_seq, to_seq, position, requested_by, created_at, updated_at)
	   VALUES ($1, $2::payledger.replay_status, 1, 2, 0, 'r', now(), now())$$),
	('hold', 'payledger.holds', 'hold_id',
	 $$INSERT INTO payledger.holds (hold_id, account_id, amount, status, created_at, updated_at)
	   VALUES ($1, $1, 100, $2::payledger.hold_status, now(), now())$$);

CREATE FUNCTION pg_temp.move(m text, id bigint, target text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	p place; s shape;
BEGIN
	SELECT * INTO STRICT p FROM place WHERE machine = m;
	SELECT * INTO STRICT s FROM shape WHERE machine = m AND state = target;
	EXECUTE format('UPDATE %s SET status = %L%s WHERE %I = %s', p.relation, target,
				   CASE WHEN s.sets = '' THEN '' ELSE ', ' || s.sets END, p.key, id);
END
$$;

-- a new object, led along listed edges to the state
CREATE FUNCTION pg_temp.object_in(m text, state text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint := payledger.next_id(); path text[]; step text;
BEGIN
	WITH RECURSIVE walk(at, path) AS (
		SELECT to_status, ARRAY[to_status] FROM payledger.transitions WHERE machine = m AND from_status IS NULL
		UNION ALL
		SELECT t.to_status, w.path || t.to_status FROM walk w
		  JOIN payledger.transitions t ON t.machine = m AND t.from_status = w.at AND NOT t.to_status = ANY (w.path))
	SELECT w.path INTO STRICT path FROM walk w WHERE w.at = state ORDER BY cardinality(w.path) LIMIT 1;
	EXECUTE (SELECT makes FROM place WHERE machine = m) USING id, path[1];
	FOREACH step IN ARRAY path[2:] LOOP
		PERFORM pg_temp.move(m, id, step);
	END LOOP;
	RETURN id;
END
$$;

-- the SQLSTATE of the change, 00000 if it went through with exactly its history row
CREATE FUNCTION pg_temp.try(m text, a text, b text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	id bigint; before bigint; written bigint; undo CONSTANT text := 'ZZ000';
BEGIN
	id := pg_temp.object_in(m, a);
	SELECT count(*) INTO before FROM payledger.state_history WHERE object_id = id AND machine = m;
	PERFORM pg_temp.move(m, id, b);
	SELECT count(*) INTO written FROM payledger.state_history h
	 WHERE h.object_id = id AND h.machine = m AND h.from_status = a AND h.to_status = b
	   AND h.history_id = (SELECT max(history_id) FROM payledger.state_history WHERE object_id = id AND machine = m);
	RETURN CASE WHEN written = 1 THEN '00000' ELSE 'no history' END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;

CREATE FUNCTION pg_temp.try_beginning(m text, b text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p place; s shape; id bigint := payledger.next_id();
BEGIN
	SELECT * INTO STRICT p FROM place WHERE machine = m;
	EXECUTE p.makes USING id, b;
	RETURN '00000';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;

CREATE TEMP TABLE tried AS
	SELECT a.machine, a.state AS a, b.state AS b, pg_temp.try(a.machine, a.state, b.state) AS got,
		   EXISTS (SELECT FROM payledger.transitions t
					WHERE t.machine = a.machine AND t.from_status = a.state AND t.to_status = b.state) AS listed
	  FROM shape a JOIN shape b ON b.machine = a.machine AND b.state <> a.state
	UNION ALL
	SELECT b.machine, NULL, b.state, pg_temp.try_beginning(b.machine, b.state),
		   EXISTS (SELECT FROM payledger.transitions t
					WHERE t.machine = b.machine AND t.from_status IS NULL AND t.to_status = b.state)
	  FROM shape b;

SELECT plan((SELECT count(*) FROM tried)::int + (SELECT count(*) FROM place)::int + 1);
-- an account's status has no guard but set_account_status(), which sql/accounts.sql leads along every edge
SELECT set_eq('SELECT machine FROM place', $$SELECT machine FROM payledger.transitions WHERE machine <> 'account'$$,
			  'every machine is tried');
SELECT is(got, CASE WHEN listed THEN '00000' ELSE 'PL001' END,
		  format('%s %s -> %s %s', machine, coalesce(a, '(new)'), b, CASE WHEN listed THEN 'goes' ELSE 'is refused' END))
  FROM tried ORDER BY machine, a NULLS FIRST, b;

-- the machines know the states of the columns, all of them and no other
SELECT set_eq(format('SELECT state FROM shape WHERE machine = %L', machine),
			  format('SELECT to_status FROM payledger.transitions WHERE machine = %L', machine),
			  machine || ': every state can be reached')
  FROM place;

SELECT * FROM finish();
ROLLBACK;
