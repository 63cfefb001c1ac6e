# post_entries(), post_entry() and reverse_entry() given nonsense: documents of
# random values, sound ones with something exchanged, texts with characters
# lost or doubled, numbers and lengths at and beyond every limit.
#
# A call raises one of the errors of may_raise() or posts exactly what the
# document says, and whatever happened the ledger balances.
#
# PAYLEDGER_SEED repeats the documents of a run, PAYLEDGER_FUZZ_CALLS sets how
# many calls each of the two sessions makes.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PAYLEDGER_SEED} // int(rand(2**31));
my $calls = $ENV{PAYLEDGER_FUZZ_CALLS} // 5000;
note("PAYLEDGER_SEED=$seed");

my $node = new_node('fuzz', 'payledger.databases' => '', 'synchronous_commit' => 'off');

sql($node, <<~'SQL');
	SELECT payledger.open_account('MERCHANT_PAYABLE', 'FUZZ', 'EUR'), payledger.open_account('PLATFORM_CASH', 'FUZZ', 'EUR'),
		   payledger.open_account('MERCHANT_PAYABLE', 'FUZZ', 'JPY'), payledger.open_account('PLATFORM_CASH', 'FUZZ', 'JPY'),
		   payledger.open_account('MERCHANT_PAYABLE', 'FUZZ.FLOOR', 'EUR', floor => 0, ceiling => 20000),
		   payledger.open_account('MERCHANT_PAYABLE', 'FUZZ.OFF', 'EUR');
	SELECT payledger.set_account_status('MERCHANT_PAYABLE.FUZZ.OFF.EUR', 'SUSPENDED');
	SELECT payledger.add_ledger('FUZZ_BOOKS', 'another company'), payledger.open_account('PLATFORM_CASH', 'FUZZ.BOOKS', 'EUR', 'FUZZ_BOOKS'),
		   payledger.open_account('MERCHANT_PAYABLE', 'FUZZ.BOOKS', 'EUR', 'FUZZ_BOOKS');
	CALL payledger.close_period('FUZZ_BOOKS', '2025-06-01');

	CREATE TABLE outcomes (call text, outcome text, n bigint, PRIMARY KEY (call, outcome));
	CREATE TABLE surprises (call text, seed bigint, i int, what text, document jsonb);

	-- ---- generating ----

	CREATE FUNCTION pick(choices text[]) RETURNS text LANGUAGE sql AS
	$$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;

	CREATE FUNCTION a_number() RETURNS text LANGUAGE sql AS
	$$ SELECT pick(ARRAY['0', '-0', '1', '-1', '100', '100.00', '1e2', '0.5', '-14.5', '1e-20', '9223372036854775807', '-9223372036854775807',
		'-9223372036854775808', '9223372036854775808', '9223372036854775806.99', '4611686018427387904', '1e18', '1e19', '1e30', '-1e308', '1e131071', '1e-16000',
		'123456789012345678901234567890.123456789', floor(random() * 1000)::text, repeat('9', 1 + floor(random() * 40)::int)]) $$;

	CREATE FUNCTION an_account() RETURNS text LANGUAGE sql AS
	$$ SELECT pick(ARRAY['MERCHANT_PAYABLE.FUZZ.EUR', 'PLATFORM_CASH.FUZZ.EUR', 'MERCHANT_PAYABLE.FUZZ.EUR', 'PLATFORM_CASH.FUZZ.EUR',
		'MERCHANT_PAYABLE.FUZZ.JPY', 'PLATFORM_CASH.FUZZ.JPY', 'MERCHANT_PAYABLE.FUZZ.FLOOR.EUR', 'MERCHANT_PAYABLE.FUZZ.OFF.EUR',
		'PLATFORM_CASH.FUZZ.BOOKS.EUR', 'MERCHANT_PAYABLE.FUZZ.BOOKS.EUR', 'PLATFORM_CASH.NOBODY.EUR', 'NO_SUCH_TYPE.FUZZ.EUR']) $$;

	CREATE FUNCTION a_string() RETURNS text LANGUAGE sql AS
	$$ SELECT CASE floor(random() * 12)::int
		WHEN 0 THEN an_account() WHEN 1 THEN a_number()
		WHEN 2 THEN repeat(pick(ARRAY['x', 'ü', '€', '😀', '.', '4', 'A.', '%s', ' ']), floor(10 ^ (random() * 4.5))::int)
		WHEN 3 THEN pick(ARRAY['2025-06-15T00:00:00Z', '2025-07-15T12:00:00.123456+05:30', '294276-12-31T23:59:59Z', '294277-01-01T00:00:00Z',
			'0001-01-01T00:00:00Z', '-4713-01-01T00:00:00Z', '2025-02-30T00:00:00Z', '2025-06-15T24:00:00+99:99', '2025-06-15T00:00', 'infinity', 'now', 'epoch',
			'99999999999-01-01 00:00Z', '2025-06-15T00:00:00.0000000000000000000001Z', '2025T+'])
		WHEN 4 THEN array_to_string(ARRAY(SELECT chr(1 + floor(random() * 255)::int) FROM generate_series(1, floor(random() * 30)::int)), '')
		ELSE pick(ARRAY['', ' ', 'ADJUSTMENT', 'FEE', 'lower', 'A-B', repeat('T', 63), repeat('T', 64), '4111111111111111', 'ref 4111-1111-1111-1111', 'NaN',
			'Infinity', 'null', '{}', '[]', E'\t', E'a\nb', '''; DROP TABLE payledger.postings; --', E'\\', '"', '$', 'ref-1', 'ref-2', 'ref-3',
			'ref-' || floor(random() * 100000)]) END $$;

	CREATE FUNCTION a_value(depth int DEFAULT 0) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RETURN CASE floor(random() * CASE WHEN depth > 3 THEN 6 ELSE 10 END)::int
			WHEN 0 THEN 'null'::jsonb
			WHEN 1 THEN to_jsonb(random() < 0.5)
			WHEN 2 THEN a_number()::jsonb
			WHEN 3 THEN a_number()::jsonb
			WHEN 4 THEN to_jsonb(a_string())
			WHEN 5 THEN pick(ARRAY['{}', '[]', '[[]]', '[{}]', '{"":{}}', '[null]'])::jsonb
			WHEN 6 THEN an_entry()
			WHEN 7 THEN (SELECT coalesce(jsonb_agg(a_value(depth + 1)), '[]') FROM generate_series(1, floor(random() * 5)::int))
			WHEN 8 THEN (SELECT coalesce(jsonb_object_agg(pick(ARRAY['account', 'amount', 'entry_type', 'postings', 'reference', 'effective_at', 'metadata',
								'Amount', '', 'x', a_string()]), a_value(depth + 1)), '{}') FROM generate_series(1, floor(random() * 6)::int))
			ELSE (repeat('[', 200) || repeat(']', 200))::jsonb END;
	END $$;

	-- a sound entry of a few accounts, which may break a limit or a period
	CREATE FUNCTION an_entry() RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		entity text := pick(ARRAY['FUZZ', 'FUZZ', 'FUZZ', 'FUZZ.FLOOR', 'FUZZ.BOOKS', 'FUZZ.OFF']) || pick(ARRAY['.EUR', '.EUR', '.JPY']);
		cash text := replace(replace(entity, '.FLOOR', ''), '.OFF', '');
		amount numeric := pick(ARRAY['1', '100', '250.00', '1e3', CASE WHEN entity ~ 'FLOOR' THEN '5' ELSE '9223372036854775807' END, floor(1 + random() * 10000)::text])::numeric;
		entry jsonb;
	BEGIN
		IF random() < 0.5 THEN
			amount := -amount;
		END IF;
		entry := jsonb_build_object('entry_type', pick(ARRAY['ADJUSTMENT', 'FEE', 'TRANSFER_2']), 'postings', jsonb_build_array(
			jsonb_build_object('account', 'MERCHANT_PAYABLE.' || entity, 'amount', amount), jsonb_build_object('account', 'PLATFORM_CASH.' || cash, 'amount', -amount)));
		IF random() < 0.3 THEN
			entry := entry || jsonb_build_object('reference', 'ref-' || floor(random() * 3000));
		END IF;
		IF random() < 0.2 THEN
			entry := entry || jsonb_build_object('effective_at', pick(ARRAY['2025-06-15T00:00:00Z', '2025-07-01T00:00:00Z', '2025-06-30T23:59:59.999999+00']));
		END IF;
		IF random() < 0.2 THEN
			entry := entry || jsonb_build_object('metadata', jsonb_build_object('note', a_string()));
		END IF;
		IF random() < 0.1 THEN
			entry := jsonb_set(entry, '{postings}', (entry -> 'postings') || (an_entry() -> 'postings'));
		END IF;
		RETURN entry;
	END $$;

	-- the document with something exchanged, added or lost at a random place
	CREATE FUNCTION mutated(document jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		key text;
		place int;
	BEGIN
		IF random() < 0.15 OR jsonb_typeof(document) NOT IN ('array', 'object') OR document IN ('[]', '{}') THEN
			RETURN CASE WHEN jsonb_typeof(document) = 'string' AND random() < 0.7 THEN to_jsonb(a_string())
						WHEN jsonb_typeof(document) = 'number' AND random() < 0.7 THEN a_number()::jsonb
						ELSE a_value() END;
		ELSIF jsonb_typeof(document) = 'array' THEN
			place := floor(random() * jsonb_array_length(document));
			RETURN CASE floor(random() * 6)::int WHEN 0 THEN document - place WHEN 1 THEN document || jsonb_build_array(a_value())
						WHEN 2 THEN document || jsonb_build_array(document -> place)
						ELSE jsonb_set(document, ARRAY[place::text], mutated(document -> place)) END;
		ELSE
			key := pick(ARRAY(SELECT jsonb_object_keys(document)));
			RETURN CASE floor(random() * 8)::int WHEN 0 THEN document - key WHEN 1 THEN document || jsonb_build_object(a_string(), a_value())
						WHEN 2 THEN (document - key) || jsonb_build_object(upper(key), document -> key)
						ELSE jsonb_set(document, ARRAY[key], mutated(document -> key)) END;
		END IF;
	END $$;

	-- the text with a few characters lost, doubled or exchanged, if it is JSON still
	CREATE FUNCTION garbled(document jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		garbage text;
		place int;
	BEGIN
		FOR attempt IN 1 .. 20 LOOP
			garbage := document::text;
			FOR i IN 1 .. 1 + floor(random() * 3)::int LOOP
				place := 1 + floor(random() * length(garbage))::int;
				garbage := overlay(garbage PLACING pick(ARRAY['', '', substr(garbage, place, 2), pick(ARRAY['"', '{', '[', ',', ':', '0', '9', '.', 'e', '-', '\u0041', ' '])])
								   FROM place FOR floor(random() * 2)::int);
			END LOOP;
			BEGIN
				RETURN garbage::jsonb;
			EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
				NULL;	-- try again
			END;
		END LOOP;
		RETURN NULL;
	END $$;

	-- what is large rather than wrong
	CREATE FUNCTION a_large_document() RETURNS jsonb LANGUAGE sql AS $$
		SELECT CASE floor(random() * 6)::int
			WHEN 0 THEN (SELECT jsonb_agg(n % 3) FROM generate_series(1, 2000) n)
			WHEN 1 THEN jsonb_build_array(jsonb_build_object('entry_type', 'MANY', 'postings', (
				SELECT jsonb_agg(jsonb_build_object('account', 'PLATFORM_CASH.FUZZ.EUR', 'amount', 1 - n % 2 * 2)) FROM generate_series(1, (32760 + floor(random() * 16))::int) n)))
			WHEN 2 THEN jsonb_build_array(an_entry() || jsonb_build_object('metadata', jsonb_build_object('deep', (repeat('[', 2000) || repeat(']', 2000))::jsonb)))
			WHEN 3 THEN jsonb_build_array(an_entry() || jsonb_build_object('metadata', jsonb_build_object('long', repeat('x', 1000000))))
			WHEN 4 THEN jsonb_build_array(an_entry() || (SELECT jsonb_object_agg('k' || n, n) FROM generate_series(1, 5000) n))
			ELSE (SELECT jsonb_agg(an_entry()) FROM generate_series(1, 200)) END $$;

	CREATE FUNCTION a_document() RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		sound jsonb := (SELECT jsonb_agg(an_entry()) FROM generate_series(1, 1 + floor(random() ^ 3 * 8)::int));
	BEGIN
		RETURN CASE floor(random() * 100)::int
			WHEN 0 THEN a_large_document()
			WHEN 1 THEN a_value()
			WHEN 2 THEN jsonb_build_array(a_value(), a_value())
			ELSE CASE floor(random() * 5)::int WHEN 0 THEN sound WHEN 1 THEN garbled(sound) WHEN 2 THEN mutated(mutated(sound)) ELSE mutated(sound) END END;
	END $$;

	-- ---- calling ----

	CREATE FUNCTION may_raise(state text) RETURNS boolean LANGUAGE sql AS
	$$ SELECT state IN ('PL002', 'PL004', 'PL006', 'PL007', 'PL008', 'PL009', 'PL011', '22003', '22004', '22007', '22008', '22009', '22023', '54000') $$;

	CREATE FUNCTION count_outcome(call text, outcome text) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO outcomes AS o VALUES (call, outcome, 1) ON CONFLICT ON CONSTRAINT outcomes_pkey DO UPDATE SET n = o.n + 1 $$;

	-- what is wrong with the entry that a document's entry became; null: nothing
	CREATE FUNCTION difference(entry jsonb, id bigint) RETURNS text LANGUAGE sql AS $$
		SELECT CASE WHEN j.entry_type IS DISTINCT FROM entry ->> 'entry_type' THEN 'another entry type'
					WHEN j.reference IS DISTINCT FROM entry ->> 'reference' THEN 'another reference'
					WHEN coalesce(j.metadata, 'null') <> coalesce(entry -> 'metadata', 'null') THEN 'another metadata'
					WHEN j.effective_at <> coalesce((entry ->> 'effective_at')::timestamptz, j.recorded_at) THEN 'another time'
					WHEN entry -> 'postings' <> (SELECT jsonb_agg(jsonb_build_object('account', a.account_code, 'amount', p.amount) ORDER BY p.leg)
												   FROM payledger.postings p JOIN payledger.accounts a USING (account_id)
												  WHERE p.journal_entry_id = id) THEN 'other legs' END
		  FROM (SELECT id) i LEFT JOIN payledger.journal_entries j ON j.journal_entry_id = i.id $$;

	-- one call; returns what is wrong with its result
	CREATE FUNCTION call_post_entries(document jsonb, atomic boolean, publish boolean) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		rows int := 0;
		wrong text;
		entry record;
	BEGIN
		FOR entry IN SELECT p.*, document -> p.n - 1 AS given FROM payledger.post_entries(document, atomic, publish) p LOOP
			rows := rows + 1;
			PERFORM count_outcome('post_entries', concat_ws(' ', entry.verdict, entry.sqlstate));
			IF entry.verdict = 'DENIED' THEN
				IF atomic OR NOT may_raise(entry.sqlstate) OR entry.message = '' OR entry.journal_entry_id IS NOT NULL THEN
					wrong := format('entry %s: %s %s', entry.n, entry.sqlstate, entry.message);
				END IF;
			ELSIF entry.sqlstate IS NOT NULL OR entry.message IS NOT NULL OR entry.n <> rows OR entry.verdict NOT IN ('POSTED', 'REPLAYED') THEN
				wrong := format('entry %s: %s', entry.n, entry);
			ELSE
				wrong := coalesce(wrong, difference(entry.given, entry.journal_entry_id));
			END IF;
		END LOOP;
		IF rows <> jsonb_array_length(document) THEN
			wrong := format('%s rows for %s entries', rows, jsonb_array_length(document));
		END IF;
		RETURN wrong;
	END $$;

	CREATE FUNCTION call_post_entry(document jsonb) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		given jsonb := CASE WHEN jsonb_typeof(document) = 'array' THEN document -> 0 ELSE document END;
		entry record;
	BEGIN
		entry := payledger.post_entry(given ->> 'entry_type', given -> 'postings', given ->> 'reference', NULL,
									  CASE WHEN given -> 'metadata' <> 'null' THEN given -> 'metadata' END, random() < 0.1);
		PERFORM count_outcome('post_entry', CASE WHEN entry.replayed THEN 'REPLAYED' ELSE 'POSTED' END);
		RETURN difference(given - 'effective_at', entry.journal_entry_id);
	END $$;

	CREATE FUNCTION call_reverse_entry(document jsonb) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		original bigint := CASE WHEN random() < 0.9 THEN (SELECT j.journal_entry_id FROM payledger.journal_entries j
			WHERE j.journal_entry_id >= (SELECT payledger.next_id() - (random() * 5e10)::bigint) ORDER BY 1 LIMIT 1) ELSE (random() * 1e18)::bigint END;
		entry record;
	BEGIN
		entry := payledger.reverse_entry(original, a_string(), CASE WHEN random() < 0.5 THEN document #> '{0,postings}' END);
		PERFORM count_outcome('reverse_entry', 'POSTED');
		RETURN (SELECT 'takes back the wrong entry' FROM payledger.journal_entries j WHERE j.journal_entry_id = entry.journal_entry_id AND j.reverses <> original);
	END $$;

	CREATE PROCEDURE fuzz(seed bigint, calls int) LANGUAGE plpgsql AS $$
	DECLARE
		call text;
		document jsonb;
		wrong text;
	BEGIN
		PERFORM setseed(seed % 1000000 / 1000000.0);
		FOR i IN 1 .. calls LOOP
			document := a_document();
			call := CASE floor(random() * 10)::int WHEN 0 THEN 'post_entry' WHEN 1 THEN 'reverse_entry' ELSE 'post_entries' END;
			wrong := NULL;
			BEGIN
				wrong := CASE call WHEN 'post_entry' THEN call_post_entry(document) WHEN 'reverse_entry' THEN call_reverse_entry(document)
					ELSE call_post_entries(document, random() < 0.5, random() < 0.1) END;
			EXCEPTION WHEN OTHERS THEN
				PERFORM count_outcome(call, SQLSTATE);
				IF NOT (may_raise(SQLSTATE) OR (SQLSTATE = 'PL005' AND call = 'reverse_entry')) THEN
					wrong := SQLSTATE || ' ' || SQLERRM;
				END IF;
			END;
			IF wrong IS NOT NULL THEN
				INSERT INTO surprises VALUES (call, seed, i, wrong, document);
			END IF;
			COMMIT;
		END LOOP;
	END $$;
	SQL

my $started = sql($node, 'SELECT pg_postmaster_start_time()');
my @sessions;
for my $session (0 .. 1)
{
	my $own_seed = $seed + $session;
	my ($in, $out, $err) = ("CALL fuzz($own_seed, $calls);\n", '', '');

	push @sessions, { err => \$err, run => IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('payledger'), '-v', 'ON_ERROR_STOP=1' ],
			'<', \$in, '>', \$out, '2>', \$err) };
}
for my $session (@sessions)
{
	ok($session->{run}->finish, "a session made its $calls calls (seed $seed)") or diag(${ $session->{err} });
}

my @surprises = rows($node, 'SELECT call, seed, i, what, left(document::text, 1000) AS document FROM surprises ORDER BY length(document::text) LIMIT 5');
is(scalar(@surprises), 0, "every call raised what it may raise, or posted what was asked (seed $seed)")
  or diag(map { "$_->{call} of seed $_->{seed}, call $_->{i}: $_->{what}\n  $_->{document}\n" } @surprises);

my %count;
$count{ $_->{call} }{ $_->{outcome} } = $_->{n} for rows($node, 'SELECT * FROM outcomes ORDER BY 1, 2');
for my $call (sort keys %count)
{
	note("$call: " . join(', ', map { "$_ $count{$call}{$_}" } sort keys %{ $count{$call} }));
}
is(join(' ', grep { !$count{post_entries}{$_} && !$count{post_entries}{"DENIED $_"} }
	qw(POSTED REPLAYED PL002 PL004 PL006 PL007 PL008 PL009 PL011 22003 22023)), '', 'the documents were various enough for every outcome');

is(sql($node, 'SELECT pg_postmaster_start_time()'), $started, 'the server was not started anew');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|server process .* exited|TRAP:/, 'no process crashed');
for my $folded ('', ', folded')
{
	is(sql($node, <<~'SQL'), '', "the sum over all accounts is zero in every ledger and currency$folded");
		SELECT a.ledger, a.currency, sum(p.amount) FROM payledger.postings p JOIN payledger.accounts a USING (account_id)
		 GROUP BY 1, 2 HAVING sum(p.amount) <> 0
		SQL
	is(sql($node, 'SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok'), '', "verify() finds nothing$folded");
	sql($node, 'SELECT payledger.fold_postings()');
}
is(sql($node, "SELECT balance BETWEEN 0 AND 20000 FROM payledger.account_balances WHERE account_code = 'MERCHANT_PAYABLE.FUZZ.FLOOR.EUR'"), 't',
	'neither floor nor ceiling was broken');
is(sql($node, <<~'SQL'), 0, 'nothing was posted into a closed period or on a suspended account');
	SELECT count(*) FROM payledger.postings p JOIN payledger.accounts a USING (account_id) JOIN payledger.journal_entries j USING (journal_entry_id)
	 WHERE a.status <> 'ACTIVE' OR (a.ledger = 'FUZZ_BOOKS' AND j.effective_at < '2025-07-01')
	SQL
is(sql($node, 'SELECT * FROM payledger.stat_progress_post_entries'), '', 'no call is shown as under way');
$node->stop;
done_testing();
