/*
 * test/random_walk.sql
 *		What the sessions of test/t/160_random_walk.pl do: random commands on
 *		payments, refunds, disputes, payouts and sellers' terms.
 *
 * A "request" is a jsonb: the command as SQL, and which answers it may have;
 * one that ends as it should not is kept whole in walk.failures.
 * random_walk_commands.sql prepares them, random_walk_checks.sql is what must
 * hold at any moment.
 */
CREATE SCHEMA walk;

/* ---- gateways and sellers ---- */

CREATE FUNCTION walk.set_up(seed int, fault_rate numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	common jsonb := jsonb_build_object('fault_rate', fault_rate, 'latency_max_ms', 15, 'timeout_ms', 50, 'reversal_ms', 150,
									   'payout_ms', 100, 'retry_base_ms', 10, 'retry_max_ms', 200, 'concurrency', 200);
BEGIN
	PERFORM payledger.add_gateway('several', 'sandbox', common || jsonb_build_object('seed', seed, 'fee_bps', 150, 'fee_fixed', 10),
								 is_default => true);
	PERFORM payledger.add_gateway('once', 'sandbox', common || jsonb_build_object('seed', seed + 1, 'multicapture', false));
	PERFORM payledger.add_gateway('frees', 'sandbox', common || jsonb_build_object('seed', seed + 2, 'keeps_remainder', false));
	PERFORM payledger.add_gateway('once_frees', 'sandbox',
		common || jsonb_build_object('seed', seed + 3, 'multicapture', false, 'keeps_remainder', false));
END $$;

CREATE TABLE walk.sellers (seller_no int PRIMARY KEY, seller_id text NOT NULL, currency text NOT NULL);
INSERT INTO walk.sellers
SELECT n, 'WALK-' || n, CASE WHEN n <= 8 THEN 'EUR' WHEN n <= 10 THEN 'USD' ELSE 'JPY' END FROM generate_series(1, 12) n;

SELECT count(*) FROM walk.sellers, LATERAL payledger.register_seller(seller_id, currency, commission_bps => 250 * (seller_no % 5));
SELECT count(*) FROM (VALUES
	(1, 1000, 0, 50, NULL::bigint, NULL::jsonb, 'pro_rata', false),
	(2, 300, 25, 0, 400, NULL, 'none', true),
	(3, 1500, 0, 0, NULL, '[{"from_volume": 100000, "bps": 800}, {"from_volume": 1000000, "bps": 333}]', 'all', false),
	(9, 275, 30, 100, 2000, NULL, 'all', true),
	(11, 999, 0, 0, NULL, NULL, 'pro_rata', true)) AS r(seller_no, bps, fixed, minimum, maximum, tiers, policy, pays)
  JOIN walk.sellers USING (seller_no),
	LATERAL payledger.add_commission_rule(seller_id, currency, bps, fixed, minimum, maximum, tiers, policy, pays);
/* the last two are paid out what a settlement has cleared only; seller 12 has no account */
SELECT count(*) FROM unnest('{ba_ok,ba_ok,ba_ok,ba_declined,ba_fails,ba_returned,ba_timeout,ba_lost_reply,ba_ok,ba_returned,ba_ok}'::text[])
		WITH ORDINALITY AS b(beneficiary, n)
  JOIN walk.sellers ON seller_no = n,
	LATERAL payledger.set_payout_terms(seller_id, currency, beneficiary => beneficiary,
		schedule => (ARRAY['manual', 'daily', 'weekly', 'monthly'])[1 + seller_no % 4],
		payout_day => CASE WHEN seller_no % 4 >= 2 THEN 1 + seller_no % 7 END,
		minimum => 100 * (seller_no % 3), available_from => CASE WHEN seller_no IN (2, 10, 11) THEN 'settlement' ELSE 'capture' END);
SELECT count(*) FROM walk.sellers,
	LATERAL payledger.set_reserve_terms(seller_id, currency, reserve_bps => 500, reserve_days => 30,
		negative_balance => (ARRAY['recoup', 'reserve', 'write_off'])[1 + seller_no % 3])
 WHERE seller_no % 2 = 0 OR seller_no = 5;

/* ---- what the sessions write down ---- */

CREATE TABLE walk.sessions (session int PRIMARY KEY, operations int NOT NULL DEFAULT 0);
CREATE TABLE walk.intents (no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment_intent_id bigint NOT NULL UNIQUE);
/* commands with an idempotency key that succeeded, each with one that uses the key for something else */
CREATE TABLE walk.keyed (
	no			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	command		text NOT NULL,
	other		text NOT NULL,
	reply		jsonb NOT NULL
);
/* what the PSP took and gave back for chargebacks, as it told in commands that succeeded */
CREATE TABLE walk.chargebacks (
	step		bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	dispute_id	bigint NOT NULL,
	payment_id	bigint NOT NULL,
	kind		text NOT NULL,
	amount		bigint NOT NULL
);
CREATE INDEX ON walk.chargebacks (dispute_id);
/* how often each kind of command had which answer */
CREATE TABLE walk.outcomes (session int, kind text, answer text, n bigint, PRIMARY KEY (session, kind, answer));
CREATE TABLE walk.failures (
	session		int,
	operation	int,
	mode		text,
	answer		text,
	message		text,
	context		text,
	request		jsonb
);
/* how far each session may go before each monitor has looked at its next moment */
CREATE TABLE walk.pace (monitor int PRIMARY KEY, intents int NOT NULL, operations int NOT NULL, is_over boolean NOT NULL);

/* ---- what the PSPs did ---- */

/*
 * The PSP took "amount" from the payment's orders, and its "fee" once; of the
 * reply only how that is shared is believed.
 */
CREATE FUNCTION walk.charge_back(told jsonb, reply jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT (sum((d ->> 'amount')::bigint), sum((d ->> 'fee')::bigint)) <> ((told ->> 'amount')::bigint, (told ->> 'fee')::bigint)
		  FROM jsonb_array_elements(reply) d) THEN
		RAISE EXCEPTION 'of the chargeback %, % is known', told, reply USING ERRCODE = 'WALK1';
	END IF;
	INSERT INTO walk.chargebacks (dispute_id, payment_id, kind, amount)
	SELECT (d ->> 'dispute_id')::bigint, (d ->> 'payment_id')::bigint, k.kind, -k.amount
	  FROM jsonb_array_elements(reply) WITH ORDINALITY AS r(d, n),
		   LATERAL (VALUES ('CHARGEBACK', (d ->> 'amount')::bigint),
						   ('CHARGEBACK_FEE', CASE WHEN n = 1 THEN (told ->> 'fee')::bigint ELSE 0 END)) AS k(kind, amount)
	 WHERE k.amount <> 0;
END $$;

/* The PSP's decision: a win brings back what it took, a loss after that takes it again. */
CREATE FUNCTION walk.decide_chargeback(told jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO walk.chargebacks (dispute_id, payment_id, kind, amount)
	SELECT c.dispute_id, c.payment_id, k.kind, -c.amount
	  FROM (SELECT DISTINCT ON (starts_with(kind, 'CHARGEBACK_FEE')) * FROM walk.chargebacks
			 WHERE dispute_id = (told ->> 'dispute_id')::bigint
			 ORDER BY starts_with(kind, 'CHARGEBACK_FEE'), step DESC) c
	  JOIN (VALUES ('CHARGEBACK', 'WON', 'CHARGEBACK_REVERSAL'), ('CHARGEBACK_REVERSAL', 'LOST', 'CHARGEBACK'),
				   ('CHARGEBACK_FEE', 'returned', 'CHARGEBACK_FEE_REVERSAL')) AS k(was, outcome, kind) ON k.was = c.kind
	 WHERE k.outcome = told ->> 'outcome' OR k.outcome = 'returned' AND (told ->> 'fee_returned')::boolean
$$;

/*
 * Everything that the PSPs paid and took, by what they were asked and answered
 * or told themselves, never by the books; but that a capture or a refund
 * failed after it had succeeded is taken from the journal, not how much of it.
 * The sandbox's PSP captures half where the payment method says so; what an
 * operator stated was all that was asked for.
 */
CREATE VIEW walk.at_psp AS
	WITH done AS (
		SELECT gateway, payment_id, operation::text AS kind, CASE operation WHEN 'CAPTURE' THEN psp_request_id ELSE target END AS object_id,
			   currency, idempotency_key AS reference, updated_at,
			   CASE WHEN operation = 'REFUND' THEN -amount
					WHEN payment_method = 'pm_partial_capture' AND reply_code IS DISTINCT FROM 'resolved' THEN greatest(amount / 2, 1)
					ELSE amount END AS amount
		  FROM payledger.psp_requests WHERE operation IN ('CAPTURE', 'REFUND') AND status = 'SUCCEEDED'
	), undone AS (
		SELECT DISTINCT payment_id, CASE entry_type WHEN 'CAPTURE_REVERSAL' THEN 'CAPTURE' ELSE 'REFUND' END AS kind,
			   split_part(reference, ':', 2)::bigint AS object_id
		  FROM payledger.journal_entries WHERE entry_type IN ('CAPTURE_REVERSAL', 'REFUND_DONE_REVERSAL')
	)
	SELECT gateway, payment_id, kind, object_id, currency, amount, reference, updated_at, 1 AS n FROM done
	 UNION ALL
	SELECT gateway, payment_id, kind || '_REVERSAL', object_id, currency, -amount, reference, updated_at, 1
	  FROM done JOIN undone USING (payment_id, kind, object_id)
	 UNION ALL
	SELECT p.gateway, c.payment_id, c.kind, c.dispute_id, p.currency, c.amount, NULL, p.updated_at,
		   row_number() OVER (PARTITION BY c.dispute_id, c.kind ORDER BY c.step)
	  FROM walk.chargebacks c JOIN payledger.payments p USING (payment_id);

/* ---- one command ---- */

/* The answer is {"answer": SQLSTATE, "message", "context"}. */
CREATE FUNCTION walk.perform(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	reply jsonb;
	answer text;
	problem text;
	problem_detail text;
	problem_context text;
BEGIN
	EXECUTE format('SELECT jsonb_agg(to_jsonb(r)) FROM (%s) AS r', request ->> 'command') INTO reply;
	IF request ? 'reply' AND reply <> request -> 'reply' THEN
		RAISE EXCEPTION 'replied %', reply USING ERRCODE = 'WALK1';
	END IF;
	IF reply #> '{0,payment_intent_id}' IS NOT NULL THEN
		INSERT INTO walk.intents (payment_intent_id) VALUES ((reply #>> '{0,payment_intent_id}')::bigint) ON CONFLICT DO NOTHING;
	END IF;
	IF request ? 'other' THEN
		INSERT INTO walk.keyed (command, other, reply) VALUES (request ->> 'command', request ->> 'other', reply);
	END IF;
	IF request ? 'charges' THEN
		PERFORM walk.charge_back(request -> 'charges', reply);
	ELSIF request ? 'decides' THEN
		PERFORM walk.decide_chargeback(request -> 'decides');
	END IF;
	RETURN jsonb_build_object('answer', '00000');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS answer = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, problem_detail = PG_EXCEPTION_DETAIL,
		problem_context = PG_EXCEPTION_CONTEXT;
	RETURN jsonb_build_object('answer', answer, 'message', concat_ws('; ', problem, nullif(problem_detail, '')), 'context', problem_context);
END $$;

/* Writes the answer down: with "required" it must be one of those, otherwise success or one that is allowed. */
CREATE FUNCTION walk.note(session int, operation int, mode text, request jsonb, answer jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	state text := answer ->> 'answer';
BEGIN
	INSERT INTO walk.outcomes AS o VALUES (session, request ->> 'kind', state, 1)
	ON CONFLICT ON CONSTRAINT outcomes_pkey DO UPDATE SET n = o.n + 1;
	IF state = '40001' AND mode LIKE 'repeatable read%' THEN
		RETURN;
	END IF;
	IF (CASE WHEN request ? 'required' THEN NOT request -> 'required' ? state
			 ELSE state <> '00000' AND NOT coalesce(request -> 'allowed', '[]') ? state END) THEN
		INSERT INTO walk.failures VALUES (session, operation, mode, state, answer ->> 'message', answer ->> 'context', request);
	END IF;
END $$;

/* ---- a session ---- */

/*
 * Until the monitor says that it is over.  An operation is one command or
 * several that follow each other, each in a transaction of its own, or all in
 * one that commits or rolls back.
 */
CREATE PROCEDURE walk.drive(session int, seed bigint) LANGUAGE plpgsql AS $$
DECLARE
	operation int := 0;
	created int := 0;
	mode text;
	requests jsonb;
	answers jsonb[];
	pace record;
BEGIN
	INSERT INTO walk.sessions VALUES (session);
	COMMIT;
	LOOP
		SELECT min(intents) AS intents, min(operations) AS operations, bool_or(is_over) AS is_over INTO pace FROM walk.pace;
		EXIT WHEN pace.is_over;
		IF operation >= pace.operations THEN
			COMMIT;
			PERFORM pg_sleep(0.01);
			CONTINUE;
		END IF;
		operation := operation + 1;
		PERFORM setseed(hashint8extended(operation::bigint * 64 + session, seed) / 9223372036854775808.0);
		requests := walk.prepare(session, operation, created < pace.intents);
		IF requests #>> '{0,kind}' = 'create' THEN
			created := created + 1;
		END IF;
		mode := CASE WHEN random() < 0.1 THEN 'repeatable read' ELSE 'read committed' END
			|| CASE WHEN random() < 0.15 AND NOT requests @> '[{"at_once": true}]' THEN ', one transaction' ELSE '' END
			|| CASE WHEN random() < 0.04 THEN ', rolled back' ELSE '' END;
		IF requests @> '[{"at_once": true}]' THEN
			PERFORM pg_sleep((walk.tick() + 1) / 20.0 - extract(epoch FROM clock_timestamp()));
		END IF;
		/* how the next transaction begins */
		PERFORM set_config('default_transaction_isolation', split_part(mode, ',', 1), false);
		COMMIT;
		answers := '{}';
		FOR i IN 0 .. jsonb_array_length(requests) - 1 LOOP
			answers[i] := walk.perform(requests -> i);
			IF mode LIKE '%rolled back' AND (i = jsonb_array_length(requests) - 1 OR mode NOT LIKE '%one transaction%') THEN
				ROLLBACK;
			ELSIF mode NOT LIKE '%one transaction%' THEN
				COMMIT;
			END IF;
		END LOOP;
		PERFORM set_config('default_transaction_isolation', 'read committed', false);
		COMMIT;
		FOR i IN 0 .. jsonb_array_length(requests) - 1 LOOP
			PERFORM walk.note(session, operation, mode, requests -> i, answers[i]);
		END LOOP;
		UPDATE walk.sessions s SET operations = operation WHERE s.session = drive.session;
		COMMIT;
		EXIT WHEN (SELECT count(*) FROM walk.failures) > 50;
	END LOOP;
END $$;

/* ---- the monitors ---- */

CREATE TABLE walk.samples (
	moment		int PRIMARY KEY,
	payments	bigint,			/* authorized by then */
	offences	text[] NOT NULL,
	seconds		numeric,
	verify_seconds numeric
);

/*
 * Looks at every second of so many moments, which are evenly spread over the
 * load, and ends it with the last one.  The sessions may get ahead of it by
 * three moments, and take about five operations for each payment.
 */
CREATE PROCEDURE walk.monitor(which int, wanted int, moments int, sessions int) LANGUAGE plpgsql AS $$
DECLARE
	seen bigint;
	found text[];
	verified text[];
	began timestamptz;
	began_verify timestamptz;
BEGIN
	FOR k IN 1 .. moments + 1 LOOP
		CONTINUE WHEN k % 2 <> which;
		/* a third of the intents may come to nothing, and more operations follow if there were few payments */
		UPDATE walk.pace SET intents = ceil(1.5 * wanted * (k + 3) / (moments + 1) / sessions),
							 operations = ceil(5.0 * wanted * (k + 3) / (moments + 1) / sessions)
		 WHERE monitor = which;
		LOOP
			COMMIT;
			SELECT count(*) INTO seen FROM payledger.payments;
			EXIT WHEN seen >= wanted::bigint * k / (moments + 1) OR (SELECT bool_or(is_over) FROM walk.pace);
			IF NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL walk.drive%' AND state <> 'idle') THEN
				RAISE EXCEPTION 'the sessions are gone after % payments', seen;
			END IF;
			UPDATE walk.pace SET operations = operations + 1 WHERE monitor = which;
			PERFORM pg_sleep(0.02);
		END LOOP;
		EXIT WHEN k > moments;
		COMMIT;
		SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
		began := clock_timestamp();
		found := walk.offences();
		began_verify := clock_timestamp();
		SELECT coalesce(array_agg(check_name || ': ' || detail), '{}') INTO verified FROM payledger.verify() WHERE NOT ok;
		COMMIT;
		INSERT INTO walk.samples VALUES (k, seen, found || verified, extract(epoch FROM clock_timestamp() - began),
										 extract(epoch FROM clock_timestamp() - began_verify));
		EXIT WHEN cardinality(found || verified) > 0;
		UPDATE walk.pace SET intents = 2 * wanted, operations = 100 * wanted WHERE monitor = which AND k + 2 > moments + 1;
	END LOOP;
	/* the last moment, or one that did not add up */
	IF cardinality(found || verified) > 0 OR (moments + 1) % 2 = which THEN
		UPDATE walk.pace SET is_over = true;
	END IF;
END $$;
