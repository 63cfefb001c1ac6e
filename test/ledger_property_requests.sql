/*
 * test/ledger_property_requests.sql
 *		Random requests for the sessions of test/ledger_property.sql.
 *
 * A request is prepared in one transaction and made in the next; by then it may
 * have become wrong.  "allowed" are the SQLSTATEs that are an answer to it
 * beside success, "required" is the only right one.  Of a post, "denials" are
 * the entries that must be denied and how, "replays" whether one may be a
 * replay, "keeps" whether its entries are used again by later requests.
 * random() is seeded for each operation from the test's seed, the session and
 * the number of the operation.
 */

CREATE FUNCTION property.pick(n int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(random() * n)::int';

/*
 * The present twentieth of a second.  Requests of one moment that say "at_once"
 * are about the same thing and are made when it is over, all at the same time.
 */
CREATE FUNCTION property.moment() RETURNS bigint LANGUAGE sql VOLATILE
AS 'SELECT floor(extract(epoch FROM clock_timestamp()) * 20)::bigint';

/*
 * Entries over random pools.  Debits go to the places 0 to 4 and credits to 0
 * to 6, which takes no account towards a limit, but for a share of "unsafe"
 * ones.  Some are dated, not before "since"; every third has a reference.
 */
CREATE FUNCTION property.random_entries(n int, prefix text, since timestamptz, unsafe float8) RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	codes text[] := (SELECT array_agg(account_code ORDER BY pool, place) FROM property.chart);
BEGIN
	RETURN (
		WITH drawn AS (
			SELECT i, property.pick(7) * 8 AS pool, property.pick(7) * 8 AS other_pool,
				   CASE WHEN random() < unsafe THEN 5 + property.pick(3) ELSE property.pick(5) END AS debit,
				   property.pick(7) AS credit, property.pick(5) AS second_credit,
				   2 + floor(10 ^ (5 * random()))::bigint AS amount, 1 + floor(10 ^ (4 * random()))::bigint AS other_amount,
				   random() AS shape, random() AS dated, random() AS at, property.pick(20) AS note
			  FROM generate_series(1, n) i),
		placed AS (
			SELECT *, codes[pool + debit + 1] AS d, codes[pool + CASE WHEN credit = debit THEN (credit + 1) % 5 ELSE credit END + 1] AS c,
				   codes[pool + second_credit + 1] AS c2,
				   codes[other_pool + second_credit + 1] AS od, codes[other_pool + (second_credit + 1) % 5 + 1] AS oc
			  FROM drawn)
		SELECT jsonb_agg(
			jsonb_build_object('entry_type', 'PROPERTY_' || CASE WHEN shape < 0.5 THEN 'TRANSFER' ELSE 'OTHER' END, 'postings',
				CASE WHEN shape < 0.6 OR (shape < 0.8 AND c2 = d) THEN
					jsonb_build_array(jsonb_build_object('account', d, 'amount', amount),
									  jsonb_build_object('account', c, 'amount', -amount))
				WHEN shape < 0.8 THEN
					jsonb_build_array(jsonb_build_object('account', c2, 'amount', -1),
									  jsonb_build_object('account', d, 'amount', amount),
									  jsonb_build_object('account', c, 'amount', 1 - amount))
				/* often of another ledger or currency, sometimes the same accounts again */
				ELSE
					jsonb_build_array(jsonb_build_object('account', d, 'amount', amount),
									  jsonb_build_object('account', od, 'amount', other_amount),
									  jsonb_build_object('account', c, 'amount', -amount),
									  jsonb_build_object('account', oc, 'amount', -other_amount)) END)
			|| CASE WHEN i % 3 = 1 THEN jsonb_build_object('reference', prefix || '-' || i) ELSE '{}' END
			|| CASE WHEN note = 0 THEN jsonb_build_object('metadata', jsonb_build_object('n', i)) ELSE '{}' END
			|| CASE WHEN dated < 0.12 THEN jsonb_build_object('effective_at', since + at * (now() - since))
					/* to the second, so that several fall on one time, or the beginning of a month */
					WHEN dated < 0.13 THEN jsonb_build_object('effective_at', date_trunc('second', now()))
					WHEN dated < 0.14 THEN jsonb_build_object('effective_at', greatest(since, date_trunc('month', since + at * (now() - since))))
					WHEN dated < 0.16 THEN jsonb_build_object('effective_at', now() + at * interval '40 days')
					ELSE '{}' END)
		  FROM placed);
END $$;

/* Random entries as one request; a few of those with verdicts are bad. */
CREATE FUNCTION property.prepare_posts(kind text, n int, prefix text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	form text := CASE WHEN kind = 'single' THEN 'single' WHEN random() < 0.5 THEN 'atomic' ELSE 'verdicts' END;
	open_since timestamptz := (SELECT coalesce(max(closed_before), now() - interval '240 days') FROM payledger.ledgers);
	entries jsonb;
	denials jsonb := '{}';
	at int;
	bad record;
BEGIN
	/* what is true of one of many denies them all, so the large ones keep to what is open */
	entries := property.random_entries(n, prefix,
		CASE WHEN n > 10 AND form = 'atomic' OR random() < 0.7 THEN open_since ELSE now() - interval '240 days' END,
		CASE WHEN n > 10 AND form = 'atomic' THEN 0 ELSE 0.05 END);
	IF form = 'verdicts' AND random() < 0.3 THEN
		at := property.pick(n);
		SELECT answer, entry INTO bad FROM property.bad_entries ORDER BY bad_no
		OFFSET property.pick((SELECT count(*)::int FROM property.bad_entries)) LIMIT 1;
		entries := jsonb_set(entries, ARRAY[at::text], bad.entry);
		denials := jsonb_build_object(at + 1, bad.answer);
	END IF;
	RETURN jsonb_build_object('kind', kind, 'call', 'post', 'form', form, 'entries', entries, 'denials', denials,
		'publish', random() < 0.02, 'keeps', n <= 10, 'allowed', '["PL004", "PL008", "PL009"]'::jsonb);
END $$;

/* One or a few that take accounts to the edge of a limit or beyond. */
CREATE FUNCTION property.prepare_drain(prefix text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	entries jsonb := '[]';
	at_once boolean := random() < 0.15;
	n int := CASE WHEN at_once OR random() < 0.6 THEN 1 ELSE 2 + property.pick(6) END;
	guarded record;
	amount bigint;
BEGIN
	FOR i IN 1 .. n LOOP
		SELECT c.*, payledger.available_balance(c.account_code) - a.floor AS above_floor,
			   a.ceiling - payledger.balance(c.account_code) AS below_ceiling
		  INTO guarded
		  FROM (SELECT CASE WHEN at_once THEN property.moment() % 7 ELSE property.pick(7) END AS pool,
					   5 + CASE WHEN at_once THEN property.moment() % 3 ELSE property.pick(3) END AS place OFFSET 0) p
		  JOIN property.chart c USING (pool, place)
		  JOIN payledger.accounts a USING (account_code);
		/* on the account's normal side */
		amount := CASE WHEN guarded.place = 5 OR (guarded.place = 7 AND random() < 0.5)
					   THEN -1 - floor(random() * 1.3 * greatest(guarded.above_floor, 0))
					   ELSE 1 + floor(random() * 1.3 * greatest(guarded.below_ceiling, 0)) END;
		entries := entries || jsonb_build_array(jsonb_build_object('entry_type', 'PROPERTY_DRAIN', 'reference', prefix || '-' || i,
			'postings', jsonb_build_array(
				jsonb_build_object('account', guarded.account_code, 'amount', amount * guarded.sign),
				jsonb_build_object('account', property.code(guarded.pool, property.pick(4)), 'amount', -amount * guarded.sign))));
	END LOOP;
	RETURN jsonb_build_object('kind', 'drain', 'call', 'post', 'entries', entries, 'keeps', true, 'allowed', '["PL004"]'::jsonb,
		'at_once', at_once,
		'form', CASE WHEN n = 1 THEN 'single' WHEN random() < 0.3 THEN 'atomic' ELSE 'verdicts' END);
END $$;

/* A batch far beyond a limit halfway, and back: its net changes nothing. */
CREATE FUNCTION property.prepare_net() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	pool int := property.pick(7);
	guarded text := property.code(pool, 5 + property.pick(3));
	amount bigint := 1000000000 * (1 - 2 * property.pick(2));
BEGIN
	RETURN jsonb_build_object('kind', 'net', 'call', 'post', 'form', 'atomic', 'allowed', '[]'::jsonb, 'entries', jsonb_build_array(
		jsonb_build_object('entry_type', 'PROPERTY_NET', 'postings', jsonb_build_array(
			jsonb_build_object('account', guarded, 'amount', amount),
			jsonb_build_object('account', property.code(pool, 0), 'amount', -amount))),
		jsonb_build_object('entry_type', 'PROPERTY_NET', 'postings', jsonb_build_array(
			jsonb_build_object('account', property.code(pool, 1), 'amount', amount),
			jsonb_build_object('account', guarded, 'amount', -amount)))));
END $$;

/* The same entry that all sessions post, of which a few are current. */
CREATE FUNCTION property.prepare_shared(operation int) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	entries jsonb := '[]';
	k int;
BEGIN
	FOR i IN 0 .. property.pick(4) LOOP
		k := operation / 20 * 8 + property.pick(8);
		entries := entries || jsonb_build_array(jsonb_build_object('entry_type', 'PROPERTY_SHARED', 'reference', 'SHARED-' || k,
			'postings', jsonb_build_array(jsonb_build_object('account', property.code(k % 7, k % 4), 'amount', 1 + k),
										  jsonb_build_object('account', property.code(k % 7, (k + 1) % 4), 'amount', -1 - k))));
	END LOOP;
	RETURN jsonb_build_object('kind', 'shared', 'call', 'post', 'entries', entries, 'allowed', '[]'::jsonb, 'replays', true,
		'form', CASE WHEN random() < 0.5 THEN 'atomic' ELSE 'verdicts' END);
END $$;

/* What was posted before again, with the same content or with another; or what was denied, now right. */
CREATE FUNCTION property.prepare_replay(session int, prefix text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	old jsonb;
	fresh jsonb := property.random_entries(2, prefix, now(), 0);
	reference text;
	what int := property.pick(4);
BEGIN
	SELECT p.entry INTO old FROM property.posted p
	 WHERE p.entry IS NOT NULL AND p.posted_no >= property.pick((SELECT max(posted_no)::int FROM property.posted))
	 ORDER BY posted_no LIMIT 1;
	IF what = 0 OR old IS NULL THEN
		DELETE FROM property.denied d WHERE d.denied_no = (SELECT min(denied_no) FROM property.denied m WHERE m.session = $1)
		RETURNING d.reference INTO reference;
		RETURN jsonb_build_object('kind', 'retry', 'call', 'post', 'form', 'single', 'allowed', '["PL008"]'::jsonb, 'keeps', true,
			'entries', jsonb_build_array(fresh -> 0 || jsonb_build_object('reference', coalesce(reference, prefix))));
	ELSIF what = 1 THEN
		RETURN jsonb_build_object('kind', 'replay', 'call', 'post', 'allowed', '[]'::jsonb, 'replays', true, 'must_replay', true,
			'form', CASE WHEN random() < 0.5 THEN 'single' ELSE 'atomic' END, 'entries', jsonb_build_array(old));
	ELSIF what = 2 THEN
		RETURN jsonb_build_object('kind', 'replay', 'call', 'post', 'allowed', '["PL008"]'::jsonb, 'form', 'verdicts',
			'replays', true, 'entries', jsonb_build_array(fresh -> 0, old, fresh -> 1, old));
	END IF;
	RETURN jsonb_build_object('kind', 'reuse', 'call', 'post', 'required', 'PL006', 'form', 'single',
		'entries', jsonb_build_array(CASE property.pick(3)
			WHEN 0 THEN old || '{"metadata": {"reused": true}}'
			WHEN 1 THEN old || '{"entry_type": "PROPERTY_REUSED"}'
			ELSE old || jsonb_build_object('postings', fresh -> 0 -> 'postings') END));
END $$;

CREATE FUNCTION property.prepare_bad() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_build_object('kind', 'bad', 'call', 'post', 'form', CASE WHEN random() < 0.5 THEN 'single' ELSE 'atomic' END,
							  'entries', jsonb_build_array(entry), 'required', answer)
	  FROM property.bad_entries ORDER BY bad_no OFFSET property.pick((SELECT count(*)::int FROM property.bad_entries)) LIMIT 1
$$;

/* Of any entry, or of one that others reverse too; the whole, a part, or more than there is. */
CREATE FUNCTION property.prepare_reversal() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	at_once boolean := random() < 0.3;
	first bigint;
	last bigint;
	target record;
	debit text;
	credit text;
	amount bigint;
BEGIN
	SELECT min(journal_entry_id), max(journal_entry_id) INTO first, last FROM payledger.journal_entries;
	IF random() < 0.05 THEN
		SELECT e.journal_entry_id, e.reverses INTO target FROM payledger.journal_entries e
		 WHERE e.reverses >= first + (random() * (last - first))::bigint ORDER BY e.reverses LIMIT 1;
	ELSE
		SELECT e.journal_entry_id, e.reverses INTO target FROM payledger.journal_entries e
		/* the first one of about this moment */
		 WHERE e.journal_entry_id >= CASE WHEN at_once THEN last >> 28 << 28 ELSE first + (random() * (last - first))::bigint END
		 ORDER BY e.journal_entry_id LIMIT 1;
	END IF;
	IF target IS NULL THEN
		RETURN property.prepare_net();
	END IF;
	IF random() < 0.6 THEN
		SELECT d.account_code, c.account_code, 1 + floor(random() * (ARRAY[0.2, 1.1])[1 + property.pick(2)] * least(dp.amount, -cp.amount))
		  INTO debit, credit, amount
		  FROM payledger.postings dp
		  JOIN property.chart d ON d.account_code = (SELECT account_code FROM payledger.accounts a WHERE a.account_id = dp.account_id)
		  JOIN payledger.postings cp ON cp.journal_entry_id = dp.journal_entry_id AND cp.amount < 0
		  JOIN property.chart c ON c.account_code = (SELECT account_code FROM payledger.accounts a WHERE a.account_id = cp.account_id)
							   AND c.pool = d.pool
		 WHERE dp.journal_entry_id = target.journal_entry_id AND dp.amount > 0
		 ORDER BY dp.leg, cp.leg LIMIT 1;
	END IF;
	RETURN jsonb_build_object('kind', 'reversal', 'call', 'reverse', 'journal_entry_id', target.journal_entry_id, 'at_once', at_once,
		'postings', CASE WHEN amount IS NOT NULL THEN jsonb_build_array(
			jsonb_build_object('account', debit, 'amount', -amount),
			jsonb_build_object('account', credit, 'amount', amount)) END,
		'effective_at', CASE WHEN random() < 0.1 THEN now() - random() * interval '200 days' END,
		'allowed', '["PL004", "PL005", "PL008", "PL009"]'::jsonb || CASE WHEN target.reverses IS NULL THEN '[]' ELSE '["22023"]' END::jsonb);
END $$;

CREATE FUNCTION property.prepare_hold(prefix text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	account record;
	amount bigint;
	request jsonb;
BEGIN
	SELECT c.account_code, c.place, greatest(payledger.available_balance(c.account_code) - a.floor, 0) AS above_floor INTO account
	  FROM (SELECT property.pick(7) AS pool, (ARRAY[0, 2, 5, 5, 5, 7, 7, 7])[1 + property.pick(8)] AS place OFFSET 0) p
	  JOIN property.chart c USING (pool, place)
	  JOIN payledger.accounts a USING (account_code);
	amount := 1 + floor(random() * coalesce(account.above_floor, 1000) * CASE WHEN random() < 0.15 THEN 1.3 ELSE 0.2 END);
	/* the time may have come before the call; with a reference the same call may come twice */
	request := jsonb_build_object('kind', 'hold', 'call', 'place_hold', 'account', account.account_code, 'amount', amount,
		'expires_at', CASE WHEN random() < 0.4 THEN now() + random() * interval '400 ms'
						   WHEN random() < 0.5 THEN now() + interval '1 hour' END,
		'reference', CASE WHEN random() < 0.5 THEN 'HOLD-' || prefix END,
		'allowed', '["PL004", "22023"]'::jsonb);
	RETURN CASE WHEN random() < 0.3 AND request -> 'reference' <> 'null' THEN jsonb_build_array(request, request) ELSE request END;
END $$;

/* Commits or releases one of the newest holds. */
CREATE FUNCTION property.prepare_end_of_hold(prefix text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	at_once boolean := random() < 0.3;
	hold record;
	amount bigint;
BEGIN
	SELECT h.hold_id, h.amount - h.committed_amount AS rest, c.* INTO hold
	  FROM payledger.holds h JOIN payledger.accounts a USING (account_id) JOIN property.chart c USING (account_code)
	 WHERE h.status = 'ACTIVE' OR random() < 0.1
	 ORDER BY h.hold_id DESC OFFSET CASE WHEN at_once THEN 0 ELSE property.pick(12) END LIMIT 1;
	IF hold IS NULL THEN
		RETURN property.prepare_hold(prefix);
	END IF;
	IF random() < 0.3 THEN
		RETURN jsonb_build_object('kind', 'release', 'call', 'release_hold', 'hold_id', hold.hold_id, 'at_once', at_once,
			'allowed', '["PL001"]'::jsonb);
	END IF;
	amount := CASE WHEN random() < 0.3 THEN hold.rest WHEN random() < 0.15 THEN hold.rest + 1 + property.pick(100)
				   ELSE 1 + floor(random() * hold.rest) END;
	amount := greatest(amount, 1);
	RETURN jsonb_build_object('kind', 'commit', 'call', 'commit_hold', 'hold_id', hold.hold_id, 'amount', amount,
		'postings', jsonb_build_array(
			jsonb_build_object('account', hold.account_code, 'amount', -amount * hold.sign),
			jsonb_build_object('account', property.code(hold.pool, 1 + 2 * property.pick(2)), 'amount', amount * hold.sign)),
		'reference', CASE WHEN random() < 0.5 THEN 'COMMIT-' || prefix END,
		'effective_at', CASE WHEN random() < 0.1 THEN now() - random() * interval '200 days' END,
		'keep_rest', random() < 0.5, 'at_once', at_once, 'allowed', '["PL001", "PL005", "PL009"]'::jsonb);
END $$;

/* New limits that the account keeps at this moment, or would not. */
CREATE FUNCTION property.prepare_limits() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_build_object('kind', 'limits', 'call', 'set_account_limits', 'account', account_code,
		'floor', CASE WHEN place IN (5, 7) THEN floor(least(available - random() * 2000, 50000)) END,
		'ceiling', CASE WHEN place IN (6, 7) THEN ceil(greatest(balance + random() * 2000, 100000)) END,
		'allowed', '["PL004"]'::jsonb)
	  FROM (SELECT c.account_code, c.place, payledger.available_balance(c.account_code) AS available,
				   payledger.balance(c.account_code) AS balance
			  FROM (SELECT property.pick(7) AS pool, 5 + property.pick(3) AS place OFFSET 0) p
			  JOIN property.chart c USING (pool, place)) a
$$;

/* Two transfers between the accounts of a pair, one right and one not. */
CREATE FUNCTION property.two_legs(debit text, credit text, amount bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_array(jsonb_build_object('entry_type', 'PROPERTY_TRANSFER', 'postings', jsonb_build_array(
		jsonb_build_object('account', debit, 'amount', amount), jsonb_build_object('account', credit, 'amount', -amount))))
$$;

/* An account is suspended, refuses a post, and is active again. */
CREATE FUNCTION property.prepare_suspension() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	pool int := property.pick(7);
	account text := property.code(pool, 4);
BEGIN
	RETURN jsonb_build_array(
		jsonb_build_object('kind', 'status', 'call', 'set_account_status', 'account', account, 'status', 'SUSPENDED',
						   'allowed', '[]'::jsonb),
		/* another session may have made it active again */
		jsonb_build_object('kind', 'suspended', 'call', 'post', 'form', 'single', 'allowed', '["PL008"]'::jsonb,
						   'entries', property.two_legs(account, property.code(pool, 0), 1)),
		jsonb_build_object('kind', 'status', 'call', 'set_account_status', 'account', account, 'status', 'ACTIVE',
						   'allowed', '[]'::jsonb));
END $$;

/* An account from its opening to its end. */
CREATE FUNCTION property.prepare_life(prefix text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	account text := 'WRITE_OFF_EXPENSE.LIFE-' || prefix || '.EUR';
	cash text := property.code(0, 0);
BEGIN
	RETURN jsonb_build_array(
		jsonb_build_object('kind', 'open', 'call', 'open_account', 'entity', 'LIFE-' || prefix, 'allowed', '[]'::jsonb),
		jsonb_build_object('kind', 'life', 'call', 'post', 'form', 'single', 'allowed', '[]'::jsonb,
						   'entries', property.two_legs(account, cash, 100)),
		jsonb_build_object('kind', 'life', 'call', 'post', 'form', 'single', 'allowed', '[]'::jsonb,
						   'entries', property.two_legs(cash, account, 100)),
		jsonb_build_object('kind', 'status', 'call', 'set_account_status', 'account', account, 'status', 'CLOSED', 'allowed', '[]'::jsonb),
		jsonb_build_object('kind', 'closed', 'call', 'post', 'form', 'single', 'required', 'PL008',
						   'entries', property.two_legs(cash, account, 100)));
END $$;

/* Between two currencies of one ledger, at a rate that is given, left out, or wrong. */
CREATE FUNCTION property.prepare_conversion(prefix text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	pools int[] := CASE property.pick(3) WHEN 0 THEN '{0, 1}' WHEN 1 THEN '{3, 4}' ELSE '{5, 6}' END;
	exponents int[] := (SELECT array_agg(y.exponent ORDER BY c.pool) FROM property.chart c JOIN payledger.currencies() y USING (currency)
						 WHERE c.pool = ANY (pools) AND c.place = 0);
	amount bigint := 10 + property.pick(100000);
	rate numeric := round((0.5 + random())::numeric, 6);
	which int := property.pick(10);
BEGIN
	RETURN jsonb_build_object('kind', 'conversion', 'call', 'convert_currency',
		'debit_account', property.code(pools[1], property.pick(4)), 'debit_amount', amount,
		'credit_account', property.code(pools[2], property.pick(4)),
		'credit_amount', greatest(round(amount * rate * 10.0 ^ (exponents[2] - exponents[1])), 1),
		'rate', CASE WHEN which = 0 THEN rate * 2 WHEN which < 6 THEN rate END,
		'reference', CASE WHEN random() < 0.5 THEN 'CONVERSION-' || prefix END,
		'required', CASE WHEN which = 0 THEN '22023' END, 'allowed', '[]'::jsonb);
END $$;

/* The owner of a ledger closes its oldest open month that is over, or opens the newest closed one. */
CREATE FUNCTION property.prepare_period(ledger text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	newest date := (SELECT max(month) FROM payledger.periods p WHERE p.ledger = $1 AND p.is_closed);
BEGIN
	IF newest > property.first_month() AND (random() < 0.4 OR newest >= now() - interval '70 days') THEN
		RETURN jsonb_build_object('kind', 'reopen', 'call', 'reopen_period', 'ledger', ledger, 'month', newest, 'allowed', '[]'::jsonb);
	END IF;
	RETURN jsonb_build_object('kind', 'close', 'call', 'close_period', 'ledger', ledger, 'month', (newest + interval '1 month')::date);
END $$;

/* What a session does next: one request, or several that follow each other. */
CREATE FUNCTION property.prepare(session int, operation int) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	prefix text := session || '-' || operation;
	owned text := ('{MAIN,NORTH,EAST}'::text[])[session];
	dice float8 := random() * 1000;
	request jsonb;
BEGIN
	request := CASE
		WHEN dice < 5 AND owned IS NOT NULL THEN property.prepare_period(owned)
		WHEN dice < 80 THEN property.prepare_posts('bulk', 1 + property.pick(200), prefix)
		WHEN dice < 300 THEN property.prepare_posts('few', 1 + property.pick(10), prefix)
		WHEN dice < 450 THEN property.prepare_posts('single', 1, prefix)
		WHEN dice < 550 THEN property.prepare_drain(prefix)
		WHEN dice < 570 THEN property.prepare_net()
		WHEN dice < 610 THEN property.prepare_shared(operation)
		WHEN dice < 680 THEN property.prepare_replay(session, prefix)
		WHEN dice < 720 THEN property.prepare_bad()
		WHEN dice < 820 THEN property.prepare_reversal()
		WHEN dice < 880 THEN property.prepare_hold(prefix)
		WHEN dice < 940 THEN property.prepare_end_of_hold(prefix)
		WHEN dice < 960 THEN property.prepare_limits()
		WHEN dice < 970 THEN property.prepare_suspension()
		WHEN dice < 970.3 THEN property.prepare_life(prefix)
		WHEN dice < 990 THEN property.prepare_conversion(prefix)
		ELSE jsonb_build_object('kind', 'fold', 'call', 'fold', 'allowed', '[]'::jsonb) END;
	RETURN CASE jsonb_typeof(request) WHEN 'array' THEN request ELSE jsonb_build_array(request) END;
END $$;
