/*
 * test/random_walk_commands.sql
 *		How the sessions of test/t/160_random_walk.pl choose their commands.
 *
 * random() is seeded for each operation from the test's seed, the session and
 * the operation's number; what it is about depends on what is there by then.
 */

CREATE FUNCTION walk.pick(n int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(random() * n)::int';

/* Sessions that wait for the same twentieth of a second meet on one payment. */
CREATE FUNCTION walk.tick() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT floor(extract(epoch FROM clock_timestamp()) * 20)::bigint';

/* ---- what a command is about ---- */

CREATE FUNCTION walk.method() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN random() < 0.4 THEN 'pm_ok' ELSE
		('{pm_declined,pm_insufficient_funds,pm_expired,pm_requires_action,pm_requires_action,pm_timeout,pm_lost_reply,pm_capture_fails,
		   pm_refund_fails,pm_refund_fails,pm_capture_reversed,pm_capture_reversed,pm_partial_capture,pm_partial_capture,pm_refund_pending,
		   pm_refund_pending,pm_refund_reversed,pm_refund_reversed}'::text[])[1 + walk.pick(18)] END
$$;

/* Where in walk.intents to look: among the newest, or anywhere. */
CREATE FUNCTION walk.place() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	newest bigint := coalesce((SELECT max(no) FROM walk.intents), 0);
BEGIN
	RETURN CASE WHEN random() < 0.5 THEN newest - walk.pick(200) ELSE floor(random() * newest) END;
END $$;

CREATE FUNCTION walk.intent(wanted payledger.payment_intent_status[]) RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT i.payment_intent_id
	  FROM (SELECT walk.place() AS place OFFSET 0) p
	 CROSS JOIN LATERAL (SELECT * FROM walk.intents n WHERE n.no > p.place ORDER BY n.no LIMIT 40) i
	 CROSS JOIN LATERAL (SELECT s.status FROM payledger.payment_intents s WHERE s.payment_intent_id = i.payment_intent_id) s
	 WHERE s.status = ANY (wanted)
	 ORDER BY random() LIMIT 1
$$;

/* The payment on which sessions meet that wait for the same tick. */
CREATE FUNCTION walk.meeting() RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT i.payment_intent_id
	  FROM (SELECT coalesce(max(no), 0) / 16 * 16 AS newest FROM walk.intents) m
	 CROSS JOIN LATERAL (SELECT * FROM walk.intents n WHERE n.no > m.newest - 100 - walk.tick() % 7 * 16 ORDER BY n.no LIMIT 16) i
	  JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
	 ORDER BY i.no LIMIT 1
$$;

/* An order of which something is open, captured, or any; or one of that payment. */
CREATE FUNCTION walk.order_for(wanted text, payment bigint DEFAULT NULL) RETURNS SETOF payledger.payment_orders LANGUAGE sql VOLATILE AS $$
	SELECT o.*
	  FROM (SELECT walk.place() AS place OFFSET 0) p
	 CROSS JOIN LATERAL (
			SELECT payment AS payment_id WHERE payment IS NOT NULL
			 UNION ALL
			(SELECT n.payment_intent_id FROM walk.intents n WHERE payment IS NULL AND n.no > p.place ORDER BY n.no LIMIT 40)) i
	 CROSS JOIN LATERAL (SELECT * FROM payledger.payment_orders s WHERE s.payment_id = i.payment_id) o
	 WHERE payment IS NOT NULL
		OR CASE wanted WHEN 'open' THEN o.amount > o.captured_amount + o.capture_pending_amount + o.voided_amount
					   WHEN 'captured' THEN o.captured_amount > o.refunded_amount + o.refund_pending_amount
					   ELSE true END
	 ORDER BY random() LIMIT 1
$$;

CREATE FUNCTION walk.dispute(wanted payledger.dispute_status[]) RETURNS SETOF payledger.disputes LANGUAGE sql VOLATILE AS $$
	SELECT d.*
	  FROM (SELECT min(dispute_id) + (random() * (max(dispute_id) - min(dispute_id)))::bigint AS place FROM payledger.disputes OFFSET 0) p
	 CROSS JOIN LATERAL (SELECT * FROM payledger.disputes n WHERE n.dispute_id >= p.place ORDER BY n.dispute_id LIMIT 30) d
	 WHERE d.status = ANY (wanted)
	 ORDER BY random() LIMIT 1
$$;

CREATE FUNCTION walk.seller() RETURNS walk.sellers LANGUAGE sql VOLATILE AS
'SELECT s FROM walk.sellers s WHERE seller_no = (SELECT 1 + walk.pick(12) OFFSET 0)';

/* Less than n, n or, with amount_above, more. */
CREATE FUNCTION walk.part(n bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
'SELECT greatest(CASE WHEN random() < 0.2 THEN n ELSE ceil(random() * n)::bigint END, 1)';

CREATE FUNCTION walk.request(kind text, command text, allowed text[] DEFAULT '{}', required text[] DEFAULT NULL,
							 other text DEFAULT NULL, reply jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('kind', kind, 'command', command, 'allowed', to_jsonb(allowed),
												'required', to_jsonb(required), 'other', other))
		   || CASE WHEN reply IS NULL THEN '{}' ELSE jsonb_build_object('reply', reply) END
$$;

/* ---- intents ---- */

CREATE FUNCTION walk.prepare_create(name text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	cur text := (ARRAY['EUR', 'EUR', 'EUR', 'EUR', 'EUR', 'EUR', 'USD', 'JPY'])[1 + walk.pick(8)];
	gateway text := (ARRAY[NULL, NULL, 'once', 'frees', 'once_frees'])[1 + walk.pick(5)];
	most int := (ARRAY[3, 500, 20000])[1 + least(walk.pick(10), 2)];
	lines jsonb := (SELECT jsonb_agg(jsonb_build_object('seller_id', l.seller_id, 'amount', 1 + walk.pick(most)))
					  FROM (SELECT s.seller_id FROM walk.sellers s WHERE s.currency = cur
							 ORDER BY random() LIMIT 1 + walk.pick(4)) l);
	key text := CASE WHEN random() < 0.4 THEN name END;
	template text := format('SELECT * FROM payledger.create_payment_intent(%L, ''BUYER'', %L, %%L, %L, %L, %L)', name, cur,
							CASE WHEN random() < 0.5 THEN 'manual' ELSE 'automatic' END, gateway, key);
	requests jsonb := jsonb_build_array(walk.request('create', format(template, lines), '{PL008}',
		other => CASE WHEN key IS NOT NULL THEN format(template, jsonb_set(lines, '{0,amount}', '30000')) END));
BEGIN
	IF random() < 0.9 THEN
		requests := requests || walk.request('authorize', format(
			'SELECT payledger.request_authorization(payment_intent_id, %L) FROM payledger.payment_intents WHERE order_id = %L',
			walk.method(), name), '{PL001}');
	END IF;
	RETURN requests;
END $$;

/* The same intent that all sessions create at about this time. */
CREATE FUNCTION walk.prepare_shared(operation int) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('shared', format('SELECT * FROM payledger.create_payment_intent(%L, ''BUYER'', ''EUR'', '
		'''[{"seller_id": "WALK-1", "amount": 700}, {"seller_id": "WALK-4", "amount": 300}]'', idempotency_key => %1$L)',
		'shared-' || operation / 30), '{PL008}')
$$;

CREATE FUNCTION walk.prepare_authorize() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	id bigint := walk.intent('{CREATED,REQUIRES_ACTION}');
BEGIN
	id := coalesce(CASE WHEN random() < 0.9 THEN id END, walk.intent(enum_range(NULL::payledger.payment_intent_status)));
	RETURN CASE WHEN id IS NOT NULL THEN
		walk.request('authorize', format('SELECT payledger.request_authorization(%s, %L)', id, walk.method()), '{PL001}') END;
END $$;

CREATE FUNCTION walk.prepare_cancel_intent() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('cancel_intent', format('SELECT payledger.cancel_payment_intent(%s)', id), '{PL001}')
	  FROM (SELECT coalesce(CASE WHEN random() < 0.9 THEN walk.intent('{CREATED,REQUIRES_ACTION}') END,
							walk.intent(enum_range(NULL::payledger.payment_intent_status))) AS id OFFSET 0) i
	 WHERE id IS NOT NULL
$$;

/* ---- captures and what is given back uncaptured ---- */

CREATE FUNCTION walk.prepare_capture(name text, payment bigint) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	o record;
	key text := CASE WHEN random() < 0.3 THEN name END;
	template text;
	amount bigint;
BEGIN
	SELECT * INTO o FROM walk.order_for(CASE WHEN random() < 0.85 THEN 'open' END, payment);
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	template := format('SELECT * FROM payledger.capture(%s, %%L, idempotency_key => %L, final => %L)', o.payment_order_id, key, random() < 0.6);
	amount := walk.part(o.amount - o.captured_amount - o.capture_pending_amount - o.voided_amount);
	IF random() < 0.08 THEN
		RETURN walk.request('capture too much', format(template, o.amount + amount), required => '{PL001,PL005,0A000}');
	ELSIF random() < 0.03 THEN
		RETURN walk.request('capture nothing', format(template, -amount), required => '{PL001,22023}');
	END IF;
	RETURN walk.request('capture', format(template, CASE WHEN random() < 0.6 THEN amount END), '{PL001,PL005,0A000}',
						other => CASE WHEN key IS NOT NULL THEN format(template, o.amount + 1) END);
END $$;

CREATE FUNCTION walk.prepare_capture_payment(name text, payment bigint) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	p record;
	key text := CASE WHEN random() < 0.3 THEN name END;
	template text;
BEGIN
	SELECT * INTO p FROM payledger.payments
	 WHERE payment_id = coalesce(payment, (SELECT payment_id FROM walk.order_for('open')));
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	template := format('SELECT * FROM payledger.capture_payment(%s, %%L, %L)', p.payment_id, key);
	IF random() < 0.1 THEN
		RETURN walk.request('capture too much', format(template, p.total_amount + 1), required => '{PL001,PL005}');
	END IF;
	RETURN walk.request('capture_payment',
						format(template, CASE WHEN random() < 0.6 THEN walk.part(p.total_amount - p.captured_amount - p.voided_amount) END),
						'{PL001,PL005}', other => CASE WHEN key IS NOT NULL THEN format(template, p.total_amount + 1) END);
END $$;

CREATE FUNCTION walk.prepare_cancel_order(payment bigint) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('cancel_order', format('SELECT payledger.cancel_payment_order(%s)', payment_order_id), '{PL001}')
	  FROM walk.order_for(CASE WHEN random() < 0.9 THEN 'open' END, payment)
$$;

CREATE FUNCTION walk.prepare_void(payment bigint) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('void', format('SELECT payledger.void_payment(%s)', payment_id), '{PL001}') FROM walk.order_for('open', payment)
$$;

/* Time passes. */
CREATE FUNCTION walk.let_expire(payment bigint) RETURNS int LANGUAGE sql VOLATILE AS $$
	UPDATE payledger.payments SET authorization_expires_at = now()
	 WHERE payment_id = payment AND authorization_expires_at IS NOT NULL;
	SELECT payledger.expire_authorizations();
$$;

CREATE FUNCTION walk.prepare_expiry(payment bigint) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('expire', format('SELECT walk.let_expire(%s)', payment_id)) FROM walk.order_for('open', payment)
$$;

/* ---- refunds ---- */

CREATE FUNCTION walk.prepare_refund(name text, payment bigint) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	o record;
	key text := CASE WHEN random() < 0.3 THEN name END;
	template text;
	amount bigint;
BEGIN
	SELECT * INTO o FROM walk.order_for(CASE WHEN random() < 0.9 THEN 'captured' END, payment);
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	template := format('SELECT * FROM payledger.refund(%s, %%L, ''walk'', %L)', o.payment_order_id, key);
	amount := walk.part(o.captured_amount - o.refunded_amount - o.refund_pending_amount);
	IF random() < 0.1 THEN
		RETURN walk.request('refund too much', format(template, o.amount + amount), required => '{PL001,PL005}');
	ELSIF random() < 0.03 THEN
		RETURN walk.request('refund nothing', format(template, -amount), required => '{PL001,22023}');
	END IF;
	RETURN walk.request('refund', format(template, CASE WHEN random() < 0.7 THEN amount END), '{PL001,PL005}',
						other => CASE WHEN key IS NOT NULL THEN format(template, o.amount + 1) END);
END $$;

CREATE FUNCTION walk.prepare_refund_payment(name text, payment bigint) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	p record;
	key text := CASE WHEN random() < 0.3 THEN name END;
	template text;
BEGIN
	SELECT * INTO p FROM payledger.payments
	 WHERE payment_id = coalesce(payment, (SELECT payment_id FROM walk.order_for('captured')));
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	template := format('SELECT * FROM payledger.refund_payment(%s, %%L, ''walk'', %L)', p.payment_id, key);
	IF random() < 0.15 THEN
		RETURN walk.request('refund too much', format(template, p.total_amount + 1), required => '{PL001,PL005}');
	END IF;
	RETURN walk.request('refund_payment', format(template, CASE WHEN random() < 0.6 THEN walk.part(p.captured_amount) END), '{PL001,PL005}',
						other => CASE WHEN key IS NOT NULL THEN format(template, p.total_amount + 1) END);
END $$;

/* ---- disputes ---- */

CREATE FUNCTION walk.prepare_open_dispute(name text, payment bigint) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	o record;
	/* the issuer converts at its own rate; now and then the PSP takes so much that the seller owes the platform */
	above numeric := CASE WHEN random() < 0.2 THEN 1.3 WHEN random() < 0.05 THEN 50 ELSE 1 END;
	fee bigint := 500 * walk.pick(3);
	amount bigint;
BEGIN
	SELECT * INTO o FROM walk.order_for(CASE WHEN random() < 0.9 THEN 'captured' END, payment);
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	IF random() < 0.3 THEN
		amount := (SELECT ceil(above * walk.part(greatest(captured_amount, 1))) FROM payledger.payments WHERE payment_id = o.payment_id);
		RETURN walk.request('open_payment_dispute', format(
			'SELECT * FROM payledger.open_payment_dispute(%s, %s, %L, ''walk'', fee => %s, borne_by_seller => %L)', o.payment_id,
			amount, 'du-' || name, fee, random() < 0.85), '{PL001}') || jsonb_build_object('charges', jsonb_build_object('amount', amount, 'fee', fee));
	END IF;
	amount := ceil(above * walk.part(greatest(o.captured_amount, 1)));
	RETURN walk.request('open_dispute', format(
		'SELECT * FROM payledger.open_dispute(%s, %s, %L, ''walk'', fee => %s, evidence_due_at => now() + interval ''1 hour'', borne_by_seller => %L)',
		o.payment_order_id, amount, 'du-' || name, fee, random() < 0.85), '{PL001}')
		|| jsonb_build_object('charges', jsonb_build_object('amount', amount, 'fee', fee));
END $$;

/* The PSP reports it again, or what it says contradicts what it said. */
CREATE FUNCTION walk.prepare_dispute_again() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	d record;
	other boolean := random() < 0.3;
BEGIN
	SELECT * INTO d FROM walk.dispute(enum_range(NULL::payledger.dispute_status));
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	RETURN walk.request(CASE WHEN other THEN 'dispute of another amount' ELSE 'dispute again' END,
		format('SELECT dispute_id FROM payledger.open_dispute(%s, %s, %L, fee => %s)', d.payment_order_id,
			   d.amount + CASE WHEN other THEN 1 ELSE 0 END, d.psp_reference, d.fee),
		required => CASE WHEN other THEN '{PL006}'::text[] END,
		reply => CASE WHEN NOT other THEN jsonb_build_array(jsonb_build_object('dispute_id', d.dispute_id)) END);
END $$;

CREATE FUNCTION walk.prepare_evidence() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('submit_evidence', format('SELECT * FROM payledger.submit_evidence(%s, ''{"tracking_number": "W1"}'')', dispute_id), '{PL001}')
	  FROM walk.dispute(CASE WHEN random() < 0.9 THEN '{NEEDS_RESPONSE}' ELSE enum_range(NULL::payledger.dispute_status) END)
$$;

CREATE FUNCTION walk.prepare_close() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('close_dispute', format('SELECT * FROM payledger.close_dispute(%s, %L, %L)', d.dispute_id, d.outcome, d.fee_returned),
						'{PL001,22023}') || jsonb_build_object('decides', to_jsonb(d))
	  FROM (SELECT dispute_id, CASE WHEN random() < 0.5 THEN 'WON' ELSE 'LOST' END AS outcome, random() < 0.2 AS fee_returned
			  FROM walk.dispute(CASE WHEN random() < 0.7 THEN '{NEEDS_RESPONSE,UNDER_REVIEW}' ELSE enum_range(NULL::payledger.dispute_status) END)
			OFFSET 0) d
$$;

/* ---- payouts and terms ---- */

CREATE FUNCTION walk.prepare_payout(name text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	s walk.sellers := walk.seller();
	key text := CASE WHEN random() < 0.3 THEN name END;
	template text := format('SELECT * FROM payledger.request_payout(%L, %L, %%L, %L)', s.seller_id, s.currency, key);
	available bigint := (SELECT b.available FROM payledger.seller_balances b WHERE b.seller_id = s.seller_id AND b.currency = s.currency);
BEGIN
	IF random() < 0.1 THEN
		RETURN walk.request('payout too much', format(template, 1000000000000), required => '{PL004,PL008,55000}');
	END IF;
	RETURN walk.request('payout', format(template, CASE WHEN random() < 0.6 THEN walk.part(available / 2) END), '{PL004,PL008,55000}',
						other => CASE WHEN key IS NOT NULL THEN format(template, 1000000000001) END);
END $$;

/* Some cut-off in the next weeks has come. */
CREATE FUNCTION walk.prepare_run_payouts() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('run_payouts', format('SELECT * FROM payledger.run_payouts(now() + %s * interval ''1 day'')', walk.pick(40)))
$$;

CREATE FUNCTION walk.let_reserves_fall_due(seller text) RETURNS int LANGUAGE sql VOLATILE AS $$
	UPDATE payledger.reserves SET release_at = now()
	 WHERE (payment_id, psp_request_id, payment_order_id) = (
			SELECT payment_id, psp_request_id, payment_order_id FROM payledger.reserves
			 WHERE seller_id = seller AND released_amount < amount ORDER BY random() LIMIT 1);
	SELECT payledger.release_due_reserves();
$$;

CREATE FUNCTION walk.prepare_terms() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	s walk.sellers := walk.seller();
	who text := format('%L, %L', s.seller_id, s.currency);
	/* one who owes the platform, if there is any */
	debtor text := coalesce((SELECT format('%L, %L', seller_id, currency) FROM payledger.seller_balances WHERE balance < 0
							  ORDER BY random() LIMIT 1), who);
BEGIN
	CASE walk.pick(8)
		WHEN 0 THEN RETURN walk.request('update_seller', format('SELECT * FROM payledger.update_seller(%s, commission_bps => %s)',
															   who, walk.pick(1200)), '{23505}');
		WHEN 1 THEN RETURN walk.request('add_rule', format(
			'SELECT * FROM payledger.add_commission_rule(%s, %s, %s, minimum => %s, refund_policy => %L, seller_pays_psp_fee => %L)', who,
			walk.pick(1500), walk.pick(30), walk.pick(60), (ARRAY['none', 'pro_rata', 'all'])[1 + walk.pick(3)], random() < 0.5), '{23505}');
		WHEN 2 THEN RETURN walk.request('reserve_terms', format(
			'SELECT * FROM payledger.set_reserve_terms(%s, %s, %s, %L)', who, walk.pick(3000), 1 + walk.pick(90),
			(ARRAY['recoup', 'reserve', 'write_off'])[1 + walk.pick(3)]));
		WHEN 3 THEN RETURN walk.request('payout_terms', format(
			'SELECT * FROM payledger.set_payout_terms(%s, schedule => %L, payout_day => 2, minimum => %s)',
			/* seller 12 stays without an account */
			CASE WHEN s.seller_no = 12 THEN '''WALK-11'', ''JPY''' ELSE who END,
			(ARRAY['weekly', 'monthly'])[1 + walk.pick(2)], walk.pick(2000)));
		WHEN 4 THEN RETURN jsonb_build_array(
			walk.request('suspend', format('SELECT * FROM payledger.update_seller(%s, status => ''SUSPENDED'')', who)),
			walk.request('payout', format('SELECT * FROM payledger.request_payout(%s)', who), '{PL004,PL008,55000}'),
			walk.request('suspend', format('SELECT * FROM payledger.update_seller(%s, status => ''ACTIVE'')', who)));
		WHEN 5 THEN RETURN walk.request('cover_all', 'SELECT payledger.cover_negative_balances()');
		WHEN 6 THEN RETURN walk.request('cover', format('SELECT * FROM payledger.cover_negative_balance(%s, ''walk'', write_off => %L)', debtor, random() < 0.3));
		ELSE RETURN walk.request('release_reserves', format('SELECT walk.let_reserves_fall_due(%L)', s.seller_id));
	END CASE;
END $$;

/* ---- settlement ---- */

/*
 * What the PSP has not reported yet, by walk.at_psp, and its payout: of what we
 * have on record only which operations are settled is looked at.  Fees are the
 * agreed ones, or 2 %.
 */
CREATE FUNCTION walk.settlement(gateway text) RETURNS jsonb LANGUAGE sql STABLE AS $$
	WITH lines AS (
		SELECT lower(o.kind) AS line_type, 'sbx_' || o.payment_id AS psp_reference, o.reference, o.currency, o.amount AS gross,
			   CASE o.kind WHEN 'CAPTURE' THEN round(o.amount * coalesce(g.fee_bps, 200) / 10000.0)::bigint + coalesce(g.fee_fixed, 0)
						   ELSE 0 END AS fee, o.updated_at
		  FROM walk.at_psp o JOIN payledger.gateways g USING (gateway)
		 WHERE o.gateway = settlement.gateway
		   AND o.n > (SELECT count(DISTINCT i.occurred_at) FROM payledger.settlement_items i
					   WHERE i.payment_id = o.payment_id AND i.kind::text = o.kind AND i.object_id = o.object_id
						 AND i.settlement_report_id IS NOT NULL)
	)
	SELECT coalesce(jsonb_agg(line ORDER BY is_payout, updated_at, line ->> 'psp_reference'), '[]')
	  FROM (SELECT false AS is_payout, updated_at, jsonb_strip_nulls(jsonb_build_object('line_type', line_type, 'psp_reference', psp_reference,
				   'reference', reference, 'currency', currency, 'gross', gross, 'fee', fee, 'net', gross - fee)) AS line
			  FROM lines
			 UNION ALL
			SELECT true, NULL, jsonb_build_object('line_type', 'payout', 'currency', currency, 'gross', -sum(gross - fee), 'fee', 0,
				   'net', -sum(gross - fee))
			  FROM lines GROUP BY currency) l
$$;

/*
 * What the PSP reports now, with a fee for no payment at all.  Of a wrong
 * report every tenth line is left out, comes twice, or says something else.
 */
CREATE FUNCTION walk.report(gateway text, wrong boolean) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_agg(c.line || CASE
				WHEN NOT wrong OR l.line ->> 'line_type' = 'payout' THEN '{}'
				WHEN l.dice BETWEEN 0.02 AND 0.04 THEN
					jsonb_build_object('gross', (l.line ->> 'gross')::bigint + 1, 'net', (l.line ->> 'net')::bigint + 1)
				WHEN l.dice BETWEEN 0.04 AND 0.06 AND abs((l.line ->> 'gross')::bigint) > 1 THEN
					jsonb_build_object('gross', (l.line ->> 'gross')::bigint - 1, 'net', (l.line ->> 'net')::bigint - 1)
				WHEN l.dice BETWEEN 0.06 AND 0.08 THEN
					jsonb_build_object('fee', (l.line ->> 'fee')::bigint + 1, 'net', (l.line ->> 'net')::bigint - 1)
				WHEN l.dice BETWEEN 0.08 AND 0.085 THEN '{"currency": "GBP"}'
				WHEN l.dice BETWEEN 0.085 AND 0.09 THEN '{"psp_reference": "sbx_0"}'
				ELSE '{}' END)
	  FROM (SELECT line, random() AS dice
			  FROM jsonb_array_elements(walk.settlement(gateway)
										|| '[{"line_type": "fee", "currency": "EUR", "gross": 0, "fee": 25, "net": -25},
											 {"line_type": "payout", "currency": "EUR", "gross": 25, "fee": 0, "net": 25}]') line OFFSET 0) l
	 CROSS JOIN LATERAL (SELECT l.line FROM generate_series(1, CASE WHEN NOT wrong OR l.dice > 0.09 + 0.02 THEN 1
																	WHEN l.dice > 0.09 THEN 2 WHEN l.dice < 0.02 THEN 0 ELSE 1 END)) c
$$;

CREATE FUNCTION walk.prepare_settlement(name text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	gateway text := (ARRAY['several', 'once', 'frees', 'once_frees'])[1 + walk.pick(4)];
BEGIN
	/* PL007: the import was rolled back */
	RETURN jsonb_build_array(
		walk.request('import', format('SELECT * FROM payledger.import_settlement(%L, %L, walk.report(%1$L, %3$L), settled_through => now())',
									  gateway, name, random() < 0.7)),
		walk.request('reconcile', format('SELECT * FROM payledger.reconcile_settlement(%L)', name), '{PL007}'));
END $$;

CREATE FUNCTION walk.prepare_exception() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	id bigint;
BEGIN
	/* some categories are rare */
	SELECT e.settlement_exception_id INTO id
	  FROM (SELECT c.all[1 + walk.pick(cardinality(c.all))] AS category
			  FROM (SELECT enum_range(NULL::payledger.settlement_exception_category) AS all) c OFFSET 0) p
	  JOIN payledger.settlement_exceptions e USING (category)
	 WHERE e.status = 'OPEN' OR random() < 0.02
	 ORDER BY random() LIMIT 1;
	RETURN CASE WHEN id IS NOT NULL THEN
		walk.request('resolve_exception', format('SELECT * FROM payledger.resolve_exception(%s, %L, ''walk'')', id,
												 CASE WHEN random() < 0.6 THEN 'ACCEPTED' ELSE 'DISMISSED' END), '{PL001,22023}') END;
END $$;

/* ---- operators ---- */

CREATE FUNCTION walk.prepare_resolve() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	id bigint;
	payment bigint;
BEGIN
	SELECT psp_request_id, payment_id INTO id, payment
	  FROM (SELECT psp_request_id, payment_id FROM payledger.psp_requests WHERE status IN ('UNKNOWN', 'PARKED') LIMIT 20) r
	 ORDER BY random() LIMIT 1;
	RETURN CASE WHEN id IS NOT NULL THEN
		walk.request('resolve', format('SELECT * FROM payledger.resolve_request(%s, %L, ''walk'', ''sbx_%s'')', id,
									   CASE WHEN random() < 0.7 THEN 'SUCCEEDED' ELSE 'REFUSED' END, payment), '{PL001}') END;
END $$;

/* What succeeded is reported failed late. */
CREATE FUNCTION walk.prepare_reversal(payment bigint) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT walk.request('reverse', format('SELECT * FROM payledger.resolve_request(%s, ''REVERSED'', ''walk'')', r.psp_request_id), '{PL001}')
	  FROM payledger.psp_requests r
	 WHERE r.payment_id = CASE WHEN payment IS NULL AND random() < 0.2
							   THEN (SELECT payout_id FROM payledger.payouts ORDER BY payout_id DESC OFFSET walk.pick(20) LIMIT 1)
							   ELSE (SELECT payment_id FROM walk.order_for('captured', payment)) END
	   AND r.status = 'SUCCEEDED' AND r.operation IN ('CAPTURE', 'REFUND', 'PAYOUT')
	 ORDER BY random() LIMIT 1
$$;

/* ---- idempotency keys ---- */

CREATE FUNCTION walk.prepare_key() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	newest bigint := (SELECT max(no) FROM walk.keyed);
	k record;
BEGIN
	SELECT * INTO k FROM walk.keyed WHERE no >= CASE WHEN random() < 0.7 THEN newest - walk.pick(40) ELSE walk.pick(newest::int) END ORDER BY no LIMIT 1;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	IF random() < 0.3 THEN
		RETURN walk.request('key reused', k.other, required => '{PL006}');
	END IF;
	RETURN walk.request('replay', k.command, reply => k.reply);
END $$;

/* ---- all ---- */

/* What a session does next: one request, or several that follow each other. */
CREATE FUNCTION walk.prepare(session int, operation int, may_create boolean) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	name text := session || '-' || operation;
	dice float8 := random() * 1000;
	payment bigint;
	request jsonb;
BEGIN
	IF dice < 250 AND may_create THEN
		RETURN walk.prepare_create('W-' || name);
	END IF;
	IF random() < 0.04 THEN
		payment := walk.meeting();
	END IF;
	dice := random() * 1000;
	request := CASE
		WHEN dice < 60 THEN walk.prepare_authorize()
		WHEN dice < 80 THEN walk.prepare_cancel_intent()
		WHEN dice < 260 THEN walk.prepare_capture(name, payment)
		WHEN dice < 310 THEN walk.prepare_capture_payment(name, payment)
		WHEN dice < 345 THEN walk.prepare_cancel_order(payment)
		WHEN dice < 365 THEN walk.prepare_void(payment)
		WHEN dice < 375 THEN walk.prepare_expiry(payment)
		WHEN dice < 535 THEN walk.prepare_refund(name, payment)
		WHEN dice < 590 THEN walk.prepare_refund_payment(name, payment)
		WHEN dice < 660 THEN walk.prepare_open_dispute(name, payment)
		WHEN dice < 675 THEN walk.prepare_dispute_again()
		WHEN dice < 715 THEN walk.prepare_evidence()
		WHEN dice < 785 THEN walk.prepare_close()
		WHEN dice < 830 THEN walk.prepare_payout(name)
		WHEN dice < 835 THEN walk.prepare_run_payouts()
		WHEN dice < 865 THEN walk.prepare_terms()
		WHEN dice < 875 THEN walk.prepare_resolve()
		WHEN dice < 900 THEN walk.prepare_reversal(payment)
		WHEN dice < 945 THEN walk.prepare_key()
		WHEN dice < 960 THEN walk.prepare_shared(operation)
		WHEN dice < 966 THEN walk.prepare_settlement(name)
		WHEN dice < 990 THEN walk.prepare_exception()
		ELSE walk.request('fold', 'SELECT payledger.fold_postings()') END;
	/* nothing there yet for it to be about */
	IF request IS NULL THEN
		RETURN jsonb_build_array(walk.request('idle', 'SELECT pg_sleep(0.005)::text'));
	END IF;
	IF payment IS NOT NULL AND jsonb_typeof(request) = 'object' THEN
		request := request || '{"at_once": true}';
	END IF;
	RETURN CASE jsonb_typeof(request) WHEN 'array' THEN request ELSE jsonb_build_array(request) END;
END $$;

/* In the end an operator decides what is parked, in the way that does not contradict what was decided. */
CREATE FUNCTION walk.decide_parked() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	r record;
	outcome text;
BEGIN
	FOR r IN SELECT psp_request_id, payment_id FROM payledger.psp_requests WHERE status = 'PARKED' ORDER BY 1 LOOP
		FOREACH outcome IN ARRAY '{REFUSED,SUCCEEDED}'::text[] LOOP
			BEGIN
				PERFORM payledger.resolve_request(r.psp_request_id, outcome, 'the end of the walk', 'sbx_' || r.payment_id);
				EXIT;
			EXCEPTION WHEN SQLSTATE 'PL001' THEN
				IF outcome = 'SUCCEEDED' THEN
					RAISE;
				END IF;
			END;
		END LOOP;
	END LOOP;
END $$;
