/*
 * test/psp_chaos.sql: a shop, its shoppers, their banks and the PSPs' couriers
 *
 * What each payment is meant to go through follows from the seed and its
 * number alone.  The procedures run as clients until they are told to end; the
 * table controls_due says what the test has to have the PSP server do.
 */
CREATE SCHEMA chaos;

CREATE TABLE chaos.settings (
	seed		text NOT NULL,
	payments	int NOT NULL,
	open_at_once int NOT NULL,
	late		float8 NOT NULL,				/* seconds after which a PSP repeats, at most */
	is_closing	boolean NOT NULL DEFAULT false,	/* what is repeated is repeated now */
	is_closed	boolean NOT NULL DEFAULT false	/* the clients end */
);

/* ---- dice ---- */

/* from 0 to below 1 */
CREATE FUNCTION chaos.dice(what text, n text) RETURNS float8
	LANGUAGE sql STABLE AS
$$SELECT ('x' || left(md5(seed || ' ' || what || ' ' || n), 8))::bit(32)::bigint / 4294967296.0 FROM chaos.settings$$;

CREATE TABLE chaos.choices (what text, choice text, weight int, PRIMARY KEY (what, choice));
INSERT INTO chaos.choices VALUES
	('gateway', 'stripe', 1), ('gateway', 'adyen', 1),
	('stripe', 'pm_card_visa', 58), ('stripe', 'pm_card_mastercard', 16), ('stripe', 'pm_card_chargeDeclined', 3),
	('stripe', 'pm_card_chargeDeclinedInsufficientFunds', 2), ('stripe', 'pm_card_visa_chargeDeclinedExpiredCard', 1),
	('stripe', 'pm_card_threeDSecure2Required', 6), ('stripe', 'pm_card_authenticationRequired', 3),
	('stripe', 'pm_card_processing', 3), ('stripe', 'pm_card_pendingRefund', 8),
	('adyen', 'authorised', 56), ('adyen', 'authorised_visa', 10), ('adyen', 'refused', 2), ('adyen', 'refused_balance', 2),
	('adyen', 'error', 1), ('adyen', 'redirect', 4), ('adyen', 'challenge', 2), ('adyen', 'identify', 1),
	('adyen', 'redirect_refused', 1), ('adyen', 'redirect_cancelled', 1), ('adyen', 'redirect_pending', 1),
	('adyen', 'pending', 1), ('adyen', 'received', 1), ('adyen', 'capture_fails', 2), ('adyen', 'capture_fails_later', 2),
	('adyen', 'capture_waits', 2), ('adyen', 'cancel_fails', 1), ('adyen', 'cancel_waits', 1), ('adyen', 'refund_fails', 3),
	('adyen', 'refund_fails_later', 3), ('adyen', 'refund_reversed', 2), ('adyen', 'refund_waits', 3), ('adyen', 'waits', 1),
	('capture_method', 'automatic', 55), ('capture_method', 'manual', 45),
	('goal', 'capture all', 30), ('goal', 'capture a part', 20), ('goal', 'capture twice', 15),
	('goal', 'capture the first', 10), ('goal', 'capture payment', 10), ('goal', 'void', 10), ('goal', 'expire', 5),
	('shopper', 'succeed', 70), ('shopper', 'fail', 15), ('shopper', 'leave', 15),
	('bank', 'succeed', 70), ('bank', 'fail', 30),
	('dispute', 'none', 90), ('dispute', 'open', 3), ('dispute', 'won', 3), ('dispute', 'lost', 4);

CREATE FUNCTION chaos.pick(what text, n text) RETURNS text
	LANGUAGE sql STABLE AS
$$
	SELECT choice FROM (SELECT choice, sum(weight) OVER (ORDER BY choice) AS upto, sum(weight) OVER () AS whole
						  FROM chaos.choices c WHERE c.what = pick.what) AS c
	 WHERE chaos.dice(what, n) * whole < upto ORDER BY upto LIMIT 1
$$;

/* from 1 to most */
CREATE FUNCTION chaos.part(what text, n text, most bigint) RETURNS bigint
	LANGUAGE sql STABLE AS
$$SELECT 1 + floor(chaos.dice(what, n) * most)::bigint$$;

/* ---- the shop ---- */

CREATE TABLE chaos.plan (
	n			int PRIMARY KEY,
	gateway		text NOT NULL,
	method		text NOT NULL,
	capture_method text NOT NULL,
	goal		text NOT NULL,			/* of a manual one that is authorized */
	refunds		int NOT NULL,			/* rounds of them */
	refund_fails boolean NOT NULL,		/* after it succeeded, at Stripe */
	dispute		text NOT NULL,
	is_reviewed	boolean NOT NULL,		/* the dispute */
	shopper		text NOT NULL,			/* what he does when he has to act */
	returns		boolean NOT NULL,		/* his browser does */
	bank		text NOT NULL,			/* what it decides if it is slow */
	lines		jsonb NOT NULL,
	payment_id	bigint,
	step		text NOT NULL DEFAULT 'new'
);
CREATE INDEX ON chaos.plan (step);
CREATE INDEX ON chaos.plan (payment_id);

/* commands that came too late, for the worker was quicker */
CREATE TABLE chaos.refusals (n int, step text, sqlstate text, message text);

CREATE FUNCTION chaos.make_plan() RETURNS void
	LANGUAGE sql AS
$$
	INSERT INTO chaos.plan (n, gateway, method, capture_method, goal, refunds, refund_fails, dispute, is_reviewed, shopper, returns,
							bank, lines)
	SELECT n, gateway, chaos.pick(gateway, n::text), chaos.pick('capture_method', n::text), chaos.pick('goal', n::text),
		   greatest(0, floor(chaos.dice('refunds', n::text) * 5) - 2), chaos.dice('refund fails', n::text) < 0.1,
		   chaos.pick('dispute', n::text), chaos.dice('review', n::text) < 0.5, chaos.pick('shopper', n::text),
		   gateway = 'adyen' OR chaos.dice('returns', n::text) < 0.7, chaos.pick('bank', n::text),
		   (SELECT jsonb_agg(jsonb_build_object('seller_id', 'SELLER-' || 1 + (n + s) % 5,
												'amount', 1 + chaos.part('amount', n || ' ' || s, 5000)))
			  FROM generate_series(1, chaos.part('sellers', n::text, 3)) AS s)
	  FROM chaos.settings, generate_series(1, payments) AS n, chaos.pick('gateway', n::text) AS gateway
$$;

/* What the PSP server has to be told, and what it said. */
CREATE TABLE chaos.controls (kind text, object text, reply jsonb, PRIMARY KEY (kind, object));

CREATE FUNCTION chaos.pay(p chaos.plan) RETURNS text
	LANGUAGE plpgsql AS
$$
DECLARE
	id bigint;
BEGIN
	SELECT payment_intent_id INTO id
	  FROM payledger.create_payment_intent('ORDER-' || p.n, 'BUYER-' || p.n % 100, 'EUR', p.lines, p.capture_method,
										   p.gateway, idempotency_key => 'pay-' || p.n);
	PERFORM payledger.request_authorization(id, p.method);
	UPDATE chaos.plan SET payment_id = id WHERE n = p.n;
	RETURN 'authorize';
END
$$;

/* The shopper is back, or gone for good. */
CREATE FUNCTION chaos.go_on(p chaos.plan) RETURNS text
	LANGUAGE plpgsql AS
$$
DECLARE
	request bigint;
	said jsonb;
BEGIN
	IF p.shopper = 'leave' THEN
		PERFORM payledger.cancel_payment_intent(p.payment_id);
		RETURN 'done';
	END IF;
	SELECT max(psp_request_id) INTO request FROM payledger.psp_requests
	 WHERE payment_id = p.payment_id AND operation IN ('AUTHORIZE', 'CONFIRM');
	SELECT reply INTO said FROM chaos.controls WHERE kind = 'action' AND object = request::text;
	IF NOT FOUND THEN
		RETURN p.step;
	END IF;
	IF p.gateway = 'adyen' THEN
		PERFORM payledger.confirm_authorization(p.payment_id, said);
	ELSIF p.returns THEN
		PERFORM payledger.request_authorization(p.payment_id, NULL);
	END IF;
	RETURN p.step;
END
$$;

/* What is done with an authorization by hand. */
CREATE FUNCTION chaos.use_authorization(p chaos.plan) RETURNS text
	LANGUAGE plpgsql AS
$$
DECLARE
	o record;
	first bigint := (SELECT min(payment_order_id) FROM payledger.payment_orders WHERE payment_id = p.payment_id);
	part bigint;
BEGIN
	IF p.goal = 'expire' THEN
		RETURN 'capture';
	ELSIF p.goal = 'void' THEN
		PERFORM payledger.void_payment(p.payment_id);
		RETURN 'capture';
	ELSIF p.goal = 'capture payment' THEN
		PERFORM payledger.capture_payment(p.payment_id, chaos.part('share', p.n::text, total_amount))
		   FROM payledger.payments WHERE payment_id = p.payment_id;
		RETURN 'capture';
	END IF;
	FOR o IN SELECT payment_order_id, amount FROM payledger.payment_orders
			  WHERE payment_id = p.payment_id ORDER BY payment_order_id LOOP
		part := chaos.part('part', p.n || ' ' || o.payment_order_id - first, o.amount);
		IF p.goal = 'capture the first' AND o.payment_order_id > first THEN
			PERFORM payledger.cancel_payment_order(o.payment_order_id);
		ELSIF p.goal = 'capture twice' AND p.gateway = 'stripe' THEN
			PERFORM payledger.capture(o.payment_order_id, part, final => false);
		ELSIF p.goal IN ('capture a part', 'capture twice') THEN
			PERFORM payledger.capture(o.payment_order_id, part);
		ELSE
			PERFORM payledger.capture(o.payment_order_id);
		END IF;
	END LOOP;
	RETURN CASE WHEN p.goal = 'capture twice' AND p.gateway = 'stripe' THEN 'capture the rest' ELSE 'capture' END;
END
$$;

CREATE FUNCTION chaos.captures_are_open(id bigint) RETURNS boolean
	LANGUAGE sql AS
$$
	SELECT EXISTS (SELECT FROM payledger.payment_orders
					WHERE payment_id = id AND (capture_pending_amount > 0 OR status IN ('INITIATED_PENDING', 'CAPTURE_REQUESTED')))
$$;

CREATE FUNCTION chaos.capture_rest(p chaos.plan) RETURNS text
	LANGUAGE plpgsql AS
$$
BEGIN
	IF chaos.captures_are_open(p.payment_id) THEN
		RETURN p.step;
	END IF;
	PERFORM payledger.capture(payment_order_id)
	   FROM (SELECT payment_order_id FROM payledger.payment_orders
			  WHERE payment_id = p.payment_id AND amount > captured_amount + capture_pending_amount + voided_amount
			  ORDER BY payment_order_id) AS o;
	RETURN 'capture';
END
$$;

/* Refunds of parts of orders, the last one of all that is left of the payment. */
CREATE FUNCTION chaos.give_back(p chaos.plan) RETURNS text
	LANGUAGE plpgsql AS
$$
DECLARE
	o record;
BEGIN
	IF chaos.captures_are_open(p.payment_id) THEN
		RETURN p.step;
	END IF;
	FOR o IN SELECT payment_order_id, captured_amount - refunded_amount - refund_pending_amount - disputed_amount AS rest
			   FROM payledger.payment_orders WHERE payment_id = p.payment_id AND status NOT IN ('CAPTURE_FAILED', 'CANCELLED')
			  ORDER BY payment_order_id LOOP
		IF p.refunds > 0 AND o.rest > 0 THEN
			PERFORM payledger.refund(o.payment_order_id, chaos.part('refund', p.n || ' ' || o.rest, o.rest));
		END IF;
	END LOOP;
	RETURN CASE WHEN p.refunds > 1 THEN 'refund the rest' ELSE 'done' END;
END
$$;

CREATE FUNCTION chaos.give_rest_back(p chaos.plan) RETURNS text
	LANGUAGE plpgsql AS
$$
BEGIN
	IF EXISTS (SELECT FROM payledger.refunds WHERE payment_id = p.payment_id AND status IN ('REQUESTED', 'PENDING')) THEN
		RETURN p.step;
	END IF;
	PERFORM payledger.refund_payment(p.payment_id)
	   FROM (SELECT FROM payledger.payment_orders WHERE payment_id = p.payment_id AND captured_amount > refunded_amount + disputed_amount
			  LIMIT 1) AS o;
	RETURN 'done';
END
$$;

/* The next step of a payment, if it can be made yet. */
CREATE FUNCTION chaos.step(p chaos.plan) RETURNS text
	LANGUAGE plpgsql AS
$$
DECLARE
	status text := (SELECT i.status FROM payledger.payment_intents i WHERE payment_intent_id = p.payment_id);
BEGIN
	RETURN CASE p.step
		WHEN 'new' THEN chaos.pay(p)
		WHEN 'authorize' THEN
			CASE WHEN status IN ('DECLINED', 'CANCELLED') THEN 'done'
				 WHEN status = 'REQUIRES_ACTION' THEN chaos.go_on(p)
				 WHEN status <> 'AUTHORIZED' THEN p.step
				 WHEN p.capture_method = 'automatic' THEN 'capture'
				 ELSE chaos.use_authorization(p) END
		WHEN 'capture the rest' THEN chaos.capture_rest(p)
		WHEN 'capture' THEN chaos.give_back(p)
		WHEN 'refund the rest' THEN chaos.give_rest_back(p) END;
EXCEPTION WHEN SQLSTATE 'PL001' OR SQLSTATE 'PL005' THEN
	INSERT INTO chaos.refusals VALUES (p.n, p.step, SQLSTATE, SQLERRM);
	RETURN p.step;
END
$$;

/* A client of the shop: one of n that share the work. */
CREATE PROCEDURE chaos.shop(client int, clients int)
	LANGUAGE plpgsql AS
$$
DECLARE
	p chaos.plan;
	next text;
	moved int;
	newcomers int;
BEGIN
	WHILE NOT (SELECT is_closed FROM chaos.settings) LOOP
		moved := 0;
		newcomers := (SELECT open_at_once FROM chaos.settings)
			- (SELECT count(*) FROM chaos.plan WHERE step NOT IN ('new', 'done') AND n % clients = client);
		FOR p IN SELECT * FROM chaos.plan WHERE step NOT IN ('new', 'done') AND n % clients = client
				  UNION ALL
				 (SELECT * FROM chaos.plan WHERE step = 'new' AND n % clients = client ORDER BY n LIMIT greatest(newcomers, 0)) LOOP
			next := chaos.step(p);
			IF next <> p.step THEN
				UPDATE chaos.plan SET step = next WHERE n = p.n;
				moved := moved + 1;
			END IF;
			COMMIT;
		END LOOP;
		COMMIT;
		PERFORM pg_sleep(CASE WHEN moved = 0 THEN 0.05 ELSE 0 END);
	END LOOP;
END
$$;

/* ---- webhooks ---- */

CREATE TABLE chaos.webhooks (
	seq			bigint PRIMARY KEY,
	psp			text NOT NULL,
	event_type	text NOT NULL,
	event_id	text NOT NULL,
	headers		jsonb NOT NULL,
	body		text NOT NULL,
	is_lost		boolean NOT NULL,		/* the first time */
	copies		int NOT NULL
);

CREATE TABLE chaos.deliveries (
	due			timestamptz NOT NULL,
	seq			bigint NOT NULL,
	copy		int NOT NULL
);
CREATE INDEX ON chaos.deliveries (due);

/*
 * Takes a page of webhooks from a file, decides how each fares, and returns
 * the number of the last one; null for an empty page.  What Stripe loses never
 * comes; Adyen repeats what it could not deliver, some of it not before
 * everything else is over.
 */
CREATE FUNCTION chaos.collect(file text) RETURNS bigint
	LANGUAGE sql AS
$$
	WITH page AS (
		INSERT INTO chaos.webhooks
		SELECT seq, w->>'psp', w->>'type', w->>'event_id', (w->'headers')::jsonb, w->>'body',
			   chaos.dice('lost', seq::text) < 0.3,
			   1 + (chaos.dice('twice', seq::text) < 0.2)::int + (chaos.dice('thrice', seq::text) < 0.07)::int
		  FROM json_array_elements(pg_read_file(file)::json) AS w, CAST(w->>'seq' AS bigint) AS seq
		RETURNING *),
	 deliveries AS (
		INSERT INTO chaos.deliveries
		SELECT CASE WHEN NOT is_lost THEN clock_timestamp() + chaos.dice('when', seq || ' ' || copy) * interval '2 s'
					WHEN is_closing OR chaos.dice('very late', seq::text) < 0.7
					THEN clock_timestamp() + (0.3 + 0.7 * chaos.dice('late', seq || ' ' || copy)) * late * interval '1 s'
					ELSE 'infinity' END,
			   seq, copy
		  FROM page, chaos.settings, generate_series(1, copies) AS copy
		 WHERE psp = 'adyen' OR NOT is_lost)
	SELECT max(seq) FROM page
$$;

/* Delivers what is due, each webhook in a transaction of its own; the other courier may have a copy of it right now. */
CREATE PROCEDURE chaos.courier(courier int)
	LANGUAGE plpgsql AS
$$
DECLARE
	d record;
	delivered bigint;
BEGIN
	WHILE NOT (SELECT is_closed FROM chaos.settings) LOOP
		delivered := 0;
		FOR d IN SELECT w.*, l.due, l.copy FROM chaos.deliveries l JOIN chaos.webhooks w USING (seq)
				  WHERE l.due <= clock_timestamp() AND l.copy % 2 = courier ORDER BY l.due LIMIT 200 LOOP
			PERFORM payledger.receive_webhook(d.psp, d.headers, d.body);
			DELETE FROM chaos.deliveries WHERE due = d.due AND seq = d.seq AND copy = d.copy;
			delivered := delivered + 1;
			COMMIT;
		END LOOP;
		COMMIT;
		PERFORM pg_sleep(CASE WHEN delivered = 0 THEN 0.02 ELSE 0 END);
	END LOOP;
END
$$;

/* ---- the PSP server's truth ---- */

CREATE TABLE chaos.truth (
	psp			text NOT NULL,
	id			text NOT NULL,
	payment_id	bigint,
	status		text NOT NULL,
	is_authorized boolean NOT NULL,
	amount		bigint NOT NULL,
	capturable	bigint NOT NULL,
	captured	bigint NOT NULL,
	refunded	bigint NOT NULL
);
CREATE TABLE chaos.executions (
	psp			text NOT NULL,
	id			text NOT NULL,
	payment_id	bigint,
	ordinal		bigint NOT NULL,
	operation	text NOT NULL,
	outcome		text NOT NULL,
	amount		bigint NOT NULL,
	object		text,
	idempotency_key text
);
CREATE INDEX ON chaos.executions (idempotency_key);
CREATE INDEX ON chaos.executions (id);
CREATE TABLE chaos.transfers (payout_id bigint, amount bigint NOT NULL, reversed bigint NOT NULL);

/* Takes what GET /_test/truth says from a file. */
CREATE FUNCTION chaos.load_truth(file text) RETURNS void
	LANGUAGE sql AS
$$
	TRUNCATE chaos.truth, chaos.executions, chaos.transfers;
	WITH said AS MATERIALIZED (SELECT pg_read_file(file)::jsonb AS whole),
	 payment AS MATERIALIZED (
		SELECT p, coalesce(p->'metadata'->>'payment_id', substring(p->>'reference' FROM '^pl_(\d+)_'))::bigint AS payment_id
		  FROM said, jsonb_array_elements(whole->'intents') AS p),
	 truth AS (
		INSERT INTO chaos.truth
		SELECT p->>'psp', p->>'id', payment_id, p->>'status', (p->>'authorized')::boolean, (p->>'amount')::bigint,
			   (p->>'amount_capturable')::bigint, (p->>'amount_received')::bigint, (p->>'amount_refunded')::bigint
		  FROM payment),
	 executions AS (
		INSERT INTO chaos.executions
		SELECT p->>'psp', p->>'id', payment_id, ordinal, o->>'operation', o->>'outcome', (o->>'amount')::bigint,
			   coalesce(o->>'refund', o->>'object'), o->>'idempotency_key'
		  FROM payment, jsonb_array_elements(p->'operations') WITH ORDINALITY AS e(o, ordinal))
	INSERT INTO chaos.transfers
	SELECT (t->'metadata'->>'payout_id')::bigint, (t->>'amount')::bigint, coalesce((t->>'amount_reversed')::bigint, 0)
	  FROM said, jsonb_array_elements(whole->'transfers') AS t;
	ANALYZE chaos.truth, chaos.executions;
$$;

/* ---- what the PSP server has to be told ---- */

CREATE VIEW chaos.controls_due AS
WITH request AS (
	SELECT p.*, r.psp_request_id, r.operation::text, r.status::text, r.psp_reference,
		   CASE p.gateway WHEN 'stripe' THEN 'intents/' || r.psp_reference || '/complete_action'
			ELSE 'adyen/pl_' || p.payment_id || substr(first_value(r.idempotency_key) OVER (PARTITION BY r.payment_id ORDER BY r.psp_request_id), 3) || '/complete' END AS complete
	  FROM chaos.plan p JOIN payledger.psp_requests r USING (payment_id)),
 paid AS (
	SELECT p.*, y.psp_reference, y.captured_amount FROM chaos.plan p JOIN payledger.payments y USING (payment_id)),
 disputed AS (
	SELECT p.*, c.object, c.reply->>'id' AS id
	  FROM chaos.controls c JOIN chaos.plan p ON p.payment_id::text = c.object WHERE c.kind = 'dispute' AND c.reply ? 'id'),
 due (kind, object, path, body) AS (
	/* the shopper authenticates */
	SELECT 'action', r.psp_request_id::text, r.complete, jsonb_build_object('outcome', r.shopper)
	  FROM request r JOIN payledger.payment_intents i ON i.payment_intent_id = r.payment_id
	 WHERE r.operation IN ('AUTHORIZE', 'CONFIRM') AND i.status = 'REQUIRES_ACTION' AND r.shopper <> 'leave'
	   AND r.psp_request_id = (SELECT max(psp_request_id) FROM payledger.psp_requests q
								WHERE q.payment_id = r.payment_id AND q.operation IN ('AUTHORIZE', 'CONFIRM'))
	 UNION ALL
	/* the bank takes its time to authorize */
	SELECT 'bank', r.payment_id::text, r.complete, jsonb_build_object('outcome', r.bank)
	  FROM request r WHERE r.operation IN ('AUTHORIZE', 'CONFIRM') AND r.status = 'PENDING'
	 UNION ALL
	/* or to capture, cancel or refund */
	SELECT 'decision', r.psp_reference, CASE r.gateway WHEN 'stripe' THEN 'refunds/' ELSE 'adyen/' END || r.psp_reference || '/complete',
		   jsonb_build_object('outcome', r.bank)
	  FROM request r
	 WHERE r.operation IN ('CAPTURE', 'CANCEL', 'REFUND') AND r.status = 'PENDING'
	   AND r.method IN ('capture_waits', 'cancel_waits', 'refund_waits', 'waits', 'pm_card_pendingRefund')
	 UNION ALL
	/* a refund fails after all */
	SELECT 'refund', r.psp_reference, 'refunds/' || r.psp_reference || '/complete', '{"outcome": "fail"}'
	  FROM request r WHERE r.operation = 'REFUND' AND r.status = 'SUCCEEDED' AND r.gateway = 'stripe' AND r.refund_fails
	 UNION ALL
	SELECT 'expire', p.payment_id::text, CASE p.gateway WHEN 'stripe' THEN 'intents/' ELSE 'adyen/' END || p.psp_reference || '/expire', '{}'
	  FROM paid p WHERE p.step = 'capture' AND p.capture_method = 'manual' AND p.goal = 'expire'
	 UNION ALL
	/* disputes of a part or all, when nothing else is asked for */
	SELECT 'dispute', p.payment_id::text, CASE p.gateway WHEN 'stripe' THEN 'intents/' || p.psp_reference || '/dispute'
			ELSE 'adyen/' || p.psp_reference || '/chargeback' END,
		   jsonb_build_object('amount', chaos.part('disputed', p.n::text, p.captured_amount))
	  FROM paid p WHERE p.step = 'done' AND p.dispute <> 'none' AND p.captured_amount > 0 AND p.method <> 'capture_fails_later'
	 UNION ALL
	SELECT 'review', d.object, 'disputes/' || d.id || '/complete', '{"status": "under_review"}'
	  FROM disputed d WHERE d.gateway = 'stripe' AND d.is_reviewed
	 UNION ALL
	SELECT 'verdict', d.object, CASE d.gateway WHEN 'stripe' THEN 'disputes/' || d.id || '/complete' ELSE 'adyen/' || d.id || '/reverse' END,
		   jsonb_build_object('status', d.dispute)
	  FROM disputed d
	 WHERE d.dispute <> 'open'
	   AND (d.gateway = 'adyen' OR NOT d.is_reviewed OR EXISTS (SELECT FROM chaos.controls v WHERE v.kind = 'review' AND v.object = d.object))
	 UNION ALL
	/* Adyen: the bank does not accept the defence */
	SELECT 'second', d.object, 'adyen/' || d.id || '/second', '{}'
	  FROM disputed d JOIN chaos.controls v ON v.kind = 'verdict' AND v.object = d.object
	 WHERE d.gateway = 'adyen' AND d.dispute = 'lost'
	 UNION ALL
	/* what waits at a PSP that told nobody but by a lost reply */
	SELECT 'bank', t.payment_id::text, 'adyen/' || t.id || '/complete', jsonb_build_object('outcome', p.bank)
	  FROM chaos.truth t JOIN chaos.plan p USING (payment_id) WHERE t.psp = 'adyen' AND t.status = 'pending'
	 UNION ALL
	SELECT 'decision', e.object, 'adyen/' || e.object || '/complete', jsonb_build_object('outcome', p.bank)
	  FROM chaos.executions e JOIN chaos.plan p USING (payment_id) WHERE e.psp = 'adyen' AND e.outcome = 'received')
SELECT due.* FROM due
 WHERE path IS NOT NULL AND NOT EXISTS (SELECT FROM chaos.controls c WHERE c.kind = due.kind AND c.object = due.object);
