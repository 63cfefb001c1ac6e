/*
 * test/ledger_property.sql
 *		What the sessions of test/t/150_ledger_property.pl do: random calls of
 *		the ledger.
 *
 * A call is a jsonb "request", so that one that ends as it should not is kept
 * whole in property.failures.  test/ledger_property_requests.sql prepares them.
 */
CREATE SCHEMA property;

/* ---- the accounts: 7 pools of one ledger and currency, 8 places in each ---- */

SELECT payledger.add_ledger('NORTH', 'of the property test', 'Europe/Berlin');
SELECT payledger.add_ledger('EAST', 'of the property test', 'Asia/Tokyo');
SELECT payledger.add_account_type('GIFT_CARDS', 'LIABILITY', 'CREDIT', 'of the property test');
SELECT payledger.add_account_type('ADVANCES', 'ASSET', 'DEBIT', 'of the property test');

CREATE TABLE property.chart (
	pool		int,
	place		int,		/* 0 to 3: no restriction, 4: suspended at times, 5: floor, 6: ceiling, 7: both */
	account_code text UNIQUE,
	ledger		text,
	currency	text,
	sign		int,		/* 1: the normal side is debit */
	PRIMARY KEY (pool, place)
);
INSERT INTO property.chart
SELECT pool, place, account_type || '.SHOP-' || pool || '.' || currency, ledger, currency, sign
  FROM (VALUES (0, 'MAIN', 'EUR'), (1, 'MAIN', 'USD'), (2, 'MAIN', 'JPY'), (3, 'NORTH', 'EUR'), (4, 'NORTH', 'KWD'),
			   (5, 'EAST', 'JPY'), (6, 'EAST', 'USD')) AS p(pool, ledger, currency),
	   (VALUES (0, 'PLATFORM_CASH', 1), (1, 'PSP_RECEIVABLES', 1), (2, 'MERCHANT_PAYABLE', -1),
			   (3, 'PLATFORM_COMMISSION_REVENUE', -1), (4, 'BANK_FEES', 1), (5, 'MERCHANT_RESERVE', -1),
			   (6, 'ADVANCES', 1), (7, 'GIFT_CARDS', -1)) AS t(place, account_type, sign);

SELECT count(*) FROM property.chart c,
	LATERAL payledger.open_account(split_part(account_code, '.', 1), split_part(account_code, '.', 2), currency, ledger,
		floor => CASE WHEN place IN (5, 7) THEN 0 END, ceiling => CASE WHEN place IN (6, 7) THEN 100000 END);

/* The one month of each ledger that is closed all the time. */
CREATE FUNCTION property.first_month() RETURNS date LANGUAGE sql STABLE AS $$ SELECT date_trunc('month', now() - interval '240 days')::date $$;

CALL payledger.close_period('MAIN', property.first_month());
CALL payledger.close_period('NORTH', property.first_month());
CALL payledger.close_period('EAST', property.first_month());

CREATE FUNCTION property.code(pool int, place int) RETURNS text LANGUAGE sql STABLE
AS 'SELECT account_code FROM property.chart c WHERE c.pool = $1 AND c.place = $2';

/* ---- entries that must be denied, and how ---- */

CREATE TABLE property.bad_entries (bad_no serial PRIMARY KEY, answer text, entry jsonb);
INSERT INTO property.bad_entries (answer, entry)
SELECT answer, jsonb_build_object('entry_type', 'PROPERTY_BAD', 'postings', jsonb_build_array(
			jsonb_build_object('account', property.code(0, 0), 'amount', 100),
			jsonb_build_object('account', property.code(0, 1), 'amount', -100))) || entry
  FROM (VALUES
	('PL002', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 100),
		jsonb_build_object('account', property.code(0, 1), 'amount', -99)))),
	/* nets to zero, but not in each currency, nor in each ledger */
	('PL002', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 100),
		jsonb_build_object('account', property.code(1, 1), 'amount', -100)))),
	('PL002', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 100),
		jsonb_build_object('account', property.code(3, 1), 'amount', -100)))),
	('PL002', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 100)))),
	('PL007', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', 'BANK_FEES.NOBODY.EUR', 'amount', 100),
		jsonb_build_object('account', property.code(0, 1), 'amount', -100)))),
	('PL009', jsonb_build_object('effective_at', '2001-02-03 04:05:06+00')),
	('22023', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 0),
		jsonb_build_object('account', property.code(0, 1), 'amount', 0)))),
	('22023', jsonb_build_object('postings', 'none'::text)),
	('22023', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 1.5),
		jsonb_build_object('account', property.code(0, 1), 'amount', -1.5)))),
	('22023', jsonb_build_object('entry_type', 'not a type')),
	('22003', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 1e30),
		jsonb_build_object('account', property.code(0, 1), 'amount', -1e30)))),
	('22003', jsonb_build_object('postings', jsonb_build_array(
		jsonb_build_object('account', property.code(0, 0), 'amount', 9223372036854775807),
		jsonb_build_object('account', property.code(0, 1), 'amount', 9223372036854775807),
		jsonb_build_object('account', property.code(0, 2), 'amount', -9223372036854775807)))),
	('PL011', jsonb_build_object('metadata', jsonb_build_object('card', '4111111111111111')))) AS b(answer, entry);

/* ---- what the sessions write down ---- */

CREATE TABLE property.sessions (session int PRIMARY KEY, operations int NOT NULL DEFAULT 0, legs bigint NOT NULL DEFAULT 0);
/* how often each kind of call had which answer; of a batch also each verdict */
CREATE TABLE property.outcomes (session int, kind text, answer text, n bigint, PRIMARY KEY (session, kind, answer));
CREATE TABLE property.failures (
	session		int,
	operation	int,
	kind		text,
	isolation	text,
	answer		text,
	message		text,
	context		text,
	request		jsonb
);
/* every post with a reference that was accepted; entry only of the small ones */
CREATE TABLE property.posted (
	posted_no	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	reference	text NOT NULL,
	journal_entry_id bigint NOT NULL,
	verdict		text NOT NULL,
	entry		jsonb
);
CREATE TABLE property.denied (denied_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session int, reference text);
CREATE INDEX ON property.denied (session);
CREATE TABLE property.commits (hold_id bigint, journal_entry_id bigint, amount bigint);

/* ---- making requests ---- */

CREATE FUNCTION property.count_outcome(session int, kind text, answer text, n bigint) RETURNS void LANGUAGE sql AS $$
	INSERT INTO property.outcomes AS o VALUES ($1, $2, $3, $4)
	ON CONFLICT ON CONSTRAINT outcomes_pkey DO UPDATE SET n = o.n + excluded.n
$$;

/* Which entries of a request, denied as a whole, keep their references for a later retry. */
CREATE FUNCTION property.remember_denied(session int, request jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO property.denied (session, reference)
	SELECT $1, e ->> 'reference' FROM jsonb_array_elements($2 -> 'entries') e
	 WHERE ($2 ->> 'keeps')::boolean AND e ->> 'reference' LIKE $1 || '-%'
$$;

/* Posts the entries of a request, looks at each verdict, and returns the number of new legs. */
CREATE FUNCTION property.post(session int, request jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	entries jsonb := request -> 'entries';
	entry jsonb := entries -> 0;
	publish boolean := coalesce((request ->> 'publish')::boolean, false);
	ids bigint[];
	verdicts text[];
	answers text[];
	legs bigint;
	wrong text;
BEGIN
	IF request ->> 'form' = 'single' THEN
		SELECT ARRAY[p.journal_entry_id], ARRAY[CASE WHEN p.replayed THEN 'REPLAYED' ELSE 'POSTED' END], ARRAY[NULL]
		  INTO ids, verdicts, answers
		  FROM payledger.post_entry(entry ->> 'entry_type', entry -> 'postings', reference => entry ->> 'reference',
			effective_at => (entry ->> 'effective_at')::timestamptz, metadata => entry -> 'metadata', publish => publish) p;
	ELSE
		SELECT array_agg(p.journal_entry_id ORDER BY p.n), array_agg(p.verdict ORDER BY p.n), array_agg(p.sqlstate ORDER BY p.n)
		  INTO ids, verdicts, answers
		  FROM payledger.post_entries(entries, atomic => request ->> 'form' = 'atomic', publish => publish) p;
	END IF;

	WITH result AS MATERIALIZED (
		SELECT r.*, CASE
				WHEN request -> 'denials' ? n::text THEN (verdict, answer) IS DISTINCT FROM ('DENIED', request -> 'denials' ->> n::text)
				WHEN verdict = 'DENIED' THEN NOT request -> 'allowed' ? answer
				WHEN verdict = 'REPLAYED' THEN NOT coalesce((request ->> 'replays')::boolean, false)
				ELSE verdict IS DISTINCT FROM 'POSTED' OR coalesce((request ->> 'must_replay')::boolean, false) END AS is_wrong
		  FROM ROWS FROM (unnest(ids), unnest(verdicts), unnest(answers), jsonb_array_elements(entries))
				WITH ORDINALITY AS r(id, verdict, answer, entry, n)),
	accepted AS (
		INSERT INTO property.posted (reference, journal_entry_id, verdict, entry)
		SELECT r.entry ->> 'reference', r.id, r.verdict, CASE WHEN (request ->> 'keeps')::boolean THEN r.entry END
		  FROM result r WHERE r.verdict <> 'DENIED' AND r.entry ? 'reference'),
	denied AS (
		INSERT INTO property.denied (session, reference)
		SELECT $1, r.entry ->> 'reference' FROM result r
		 WHERE r.verdict = 'DENIED' AND r.entry ->> 'reference' LIKE $1 || '-%' AND (request ->> 'keeps')::boolean),
	counted AS (
		INSERT INTO property.outcomes AS o
		SELECT $1, 'verdict', coalesce(answer, verdict), count(*) FROM result GROUP BY 3
		ON CONFLICT ON CONSTRAINT outcomes_pkey DO UPDATE SET n = o.n + excluded.n)
	SELECT sum(jsonb_array_length(r.entry -> 'postings')) FILTER (WHERE r.verdict = 'POSTED'),
		   string_agg(format('entry %s became %s', r.n, concat_ws(' ', r.verdict, r.answer)), ', ') FILTER (WHERE r.is_wrong)
	  INTO legs, wrong FROM result r;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'wrong verdicts: %', wrong USING ERRCODE = 'PROP1';
	END IF;
	RETURN coalesce(legs, 0);
END $$;

CREATE FUNCTION property.legs_of(journal_entry_id bigint) RETURNS bigint LANGUAGE sql STABLE
AS 'SELECT count(*) FROM payledger.postings p WHERE p.journal_entry_id = $1';

/* The closing balances of a month are the balances at its end still. */
CREATE FUNCTION property.check_closing(closed_ledger text, closed_month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	wrong text;
BEGIN
	SELECT string_agg(format('%s was %s and is %s', a.account_code, coalesce(c.balance, 0), b.balance), ', ') INTO wrong
	  FROM payledger.periods p
	  JOIN payledger.accounts a ON a.ledger = p.ledger
	  JOIN payledger.account_types t ON t.account_type = a.account_type
	  LEFT JOIN payledger.closing_balances c ON c.ledger = p.ledger AND c.month = p.month AND c.account_id = a.account_id
	 CROSS JOIN LATERAL (SELECT payledger.balance(a.account_code, NULL, p.ends_at - interval '1 us')
								* CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS balance) b
	 WHERE p.ledger = closed_ledger AND p.month = closed_month AND p.has_balances AND b.balance <> coalesce(c.balance, 0);
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'wrong closing balances: %', wrong USING ERRCODE = 'PROP2';
	END IF;
END $$;

/* Makes one call and returns the number of new legs. */
CREATE FUNCTION property.make_call(session int, request jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	call text := request ->> 'call';
	account text := request ->> 'account';
	id bigint;
BEGIN
	IF call = 'post' THEN
		RETURN property.post(session, request);
	ELSIF call = 'reverse' THEN
		SELECT r.journal_entry_id INTO STRICT id
		  FROM payledger.reverse_entry((request ->> 'journal_entry_id')::bigint, 'a property', postings => nullif(request -> 'postings', 'null'),
			effective_at => (request ->> 'effective_at')::timestamptz) r;
		RETURN property.legs_of(id);
	ELSIF call = 'place_hold' THEN
		PERFORM payledger.place_hold(account, (request ->> 'amount')::bigint, expires_at => (request ->> 'expires_at')::timestamptz,
			reference => request ->> 'reference');
	ELSIF call = 'commit_hold' THEN
		SELECT c.journal_entry_id INTO STRICT id
		  FROM payledger.commit_hold((request ->> 'hold_id')::bigint, 'PROPERTY_COMMIT', request -> 'postings',
			reference => request ->> 'reference', effective_at => (request ->> 'effective_at')::timestamptz,
			keep_rest => (request ->> 'keep_rest')::boolean) c;
		INSERT INTO property.commits VALUES ((request ->> 'hold_id')::bigint, id, (request ->> 'amount')::bigint);
		RETURN property.legs_of(id);
	ELSIF call = 'release_hold' THEN
		PERFORM payledger.release_hold((request ->> 'hold_id')::bigint);
	ELSIF call = 'set_account_limits' THEN
		PERFORM payledger.set_account_limits(account, floor => (request ->> 'floor')::bigint, ceiling => (request ->> 'ceiling')::bigint);
	ELSIF call = 'set_account_status' THEN
		PERFORM payledger.set_account_status(account, request ->> 'status');
	ELSIF call = 'open_account' THEN
		PERFORM payledger.open_account('WRITE_OFF_EXPENSE', request ->> 'entity', 'EUR');
	ELSIF call = 'convert_currency' THEN
		SELECT c.journal_entry_id INTO STRICT id
		  FROM payledger.convert_currency(request ->> 'debit_account', (request ->> 'debit_amount')::bigint, request ->> 'credit_account',
			(request ->> 'credit_amount')::bigint, (request ->> 'rate')::numeric, reference => request ->> 'reference') c;
		RETURN property.legs_of(id);
	ELSIF call = 'reopen_period' THEN
		PERFORM property.check_closing(request ->> 'ledger', (request ->> 'month')::date);
		PERFORM payledger.reopen_period(request ->> 'ledger', (request ->> 'month')::date, 'a property');
	ELSIF call = 'fold' THEN
		PERFORM payledger.fold_postings();
	ELSE
		RAISE EXCEPTION 'no such call: %', call;
	END IF;
	RETURN 0;
END $$;

CREATE FUNCTION property.fail(session int, operation int, request jsonb, answer text, message text, context text) RETURNS void
LANGUAGE sql AS $$
	INSERT INTO property.failures
	VALUES ($1, $2, $3 ->> 'kind', current_setting('transaction_isolation'), $4, $5, $6, $3)
$$;

/* One request in the current transaction, with its answer written down; returns the number of new legs. */
CREATE FUNCTION property.perform(session int, operation int, request jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	answer text := '00000';
	problem text := '';
	problem_context text := '';
	legs bigint := 0;
BEGIN
	BEGIN
		legs := property.make_call(session, request);
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS answer = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, problem_context = PG_EXCEPTION_CONTEXT;
		PERFORM property.remember_denied(session, request);
	END;
	PERFORM property.count_outcome(session, request ->> 'kind', answer, 1);
	IF answer = '40001' THEN
		IF current_setting('transaction_isolation') = 'read committed' THEN
			PERFORM property.fail(session, operation, request, answer, problem, problem_context);
		END IF;
	ELSIF request ->> 'required' <> answer OR (request ->> 'required' IS NULL AND answer <> '00000'
											   AND NOT request -> 'allowed' ? answer) THEN
		PERFORM property.fail(session, operation, request, answer, problem, problem_context);
	END IF;
	RETURN legs;
END $$;

/* The whole life of a session: until it has posted so many legs. */
CREATE PROCEDURE property.drive(session int, seed bigint, quota bigint) LANGUAGE plpgsql AS $$
DECLARE
	operation int := 0;
	posted bigint := 0;
	requests jsonb;
	request jsonb;
BEGIN
	INSERT INTO property.sessions VALUES (session);
	COMMIT;
	WHILE posted < quota LOOP
		operation := operation + 1;
		PERFORM setseed(hashint8extended(operation::bigint * 64 + session, seed) / 9223372036854775808.0);
		requests := property.prepare(session, operation);
		FOR i IN 0 .. jsonb_array_length(requests) - 1 LOOP
			request := requests -> i;
			IF (request ->> 'at_once')::boolean THEN
				PERFORM pg_sleep((property.moment() + 1) / 20.0 - extract(epoch FROM clock_timestamp()));
			END IF;
			/* how the next transaction begins */
			PERFORM set_config('default_transaction_isolation',
				CASE WHEN operation % 10 = 0 AND request ->> 'call' NOT LIKE '%_period' THEN 'repeatable read' ELSE 'read committed' END, false);
			COMMIT;
			/* these commit and so cannot be in a block that catches errors */
			IF request ->> 'call' = 'close_period' THEN
				CALL payledger.close_period(request ->> 'ledger', (request ->> 'month')::date);
				PERFORM property.count_outcome(session, 'close', '00000', 1);
			ELSE
				posted := posted + property.perform(session, operation, request);
			END IF;
		END LOOP;
		UPDATE property.sessions s SET operations = operation, legs = posted WHERE s.session = drive.session;
		COMMIT;
		IF (SELECT count(*) FROM property.failures) > 50 THEN
			EXIT;
		END IF;
	END LOOP;
END $$;
