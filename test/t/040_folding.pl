# Balances beside everything that can happen to a transaction: posters that
# commit, abort, roll back to savepoints, stay open, overflow the snapshot with
# subtransactions or are prepared, and several that fold at once.  Readers in
# REPEATABLE READ add up the postings that they see and compare.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PAYLEDGER_SEED} // int(rand(1_000_000_000));
my $seconds = $ENV{PAYLEDGER_FOLDING_SECONDS} // 20 * ($ENV{PAYLEDGER_SLOWNESS} // 1);
my $node = new_node('folding', 'synchronous_commit' => 'off', 'max_prepared_transactions' => 40);

sql($node, <<~'SQL');
	SELECT payledger.open_account('PLATFORM_CASH', 'FOLDING', 'SEK');
	CREATE TABLE samples (folds bigint, accounts bigint);

	-- an entry of two legs between the platform and an account that may be new, some dated back
	CREATE FUNCTION post(entity int, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		code text := (SELECT account_code FROM payledger.open_account('MERCHANT_PAYABLE', 'FOLDING-' || entity, 'SEK'));
	BEGIN
		PERFORM payledger.post_entry('ADJUSTMENT', jsonb_build_array(
			jsonb_build_object('account', 'PLATFORM_CASH.FOLDING.SEK', 'amount', amount),
			jsonb_build_object('account', code, 'amount', -amount)),
			effective_at => CASE WHEN random() < 0.2 THEN clock_timestamp() - random() * interval '1 hour' END);
	END $$;

	-- more subtransactions than a snapshot holds, a third of them and of the whole undone
	CREATE FUNCTION post_in_subtransactions() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 100 LOOP
			BEGIN
				PERFORM post(i, i);
				IF random() < 0.3 THEN RAISE EXCEPTION 'undone'; END IF;
			EXCEPTION WHEN raise_exception THEN
			END;
		END LOOP;
		PERFORM pg_sleep(random() * 0.2);
		IF random() < 0.3 THEN RAISE EXCEPTION 'all undone' USING ERRCODE = 'no_data_found'; END IF;
	EXCEPTION WHEN no_data_found THEN
	END $$;

	-- the same three ways to a balance
	CREATE FUNCTION sample() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		account record;
		n bigint := 0;
	BEGIN
		FOR account IN
			SELECT b.account_code, b.balance, payledger.balance(b.account_code) AS alone,
				   coalesce(s.amount, 0) * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS truth
			  FROM payledger.account_balances b
			  JOIN payledger.accounts a USING (account_code)
			  JOIN payledger.account_types t ON t.account_type = a.account_type
			  LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM payledger.postings GROUP BY 1) s ON s.account_id = a.account_id
		LOOP
			n := n + 1;
			IF account.balance <> account.truth OR account.alone <> account.truth THEN
				RAISE EXCEPTION 'wrong balance: %', account;
			END IF;
		END LOOP;
		-- as of past times, recorded and effective, and both
		FOR account IN
			SELECT c.account_code, t.at, t.effective,
				   payledger.balance(c.account_code, t.at) AS recorded,
				   payledger.balance(c.account_code, effective_at => t.effective) AS effective_balance,
				   payledger.balance(c.account_code, t.at, t.effective) AS both,
				   r.recorded AS true_recorded, r.effective AS true_effective, r.both AS true_both
			  FROM (SELECT account_id, account_code, account_type FROM payledger.accounts WHERE currency = 'SEK'
					 ORDER BY account_type = 'PLATFORM_CASH' DESC, random() LIMIT 20) c
			 CROSS JOIN LATERAL (SELECT clock_timestamp() - random() * interval '20 s' AS at,
										clock_timestamp() - random() * CASE WHEN random() < 0.5 THEN interval '20 s' ELSE interval '1 hour' END
										+ interval '0 s' * c.account_id AS effective) t
			 CROSS JOIN LATERAL (
				SELECT coalesce(sum(p.amount) FILTER (WHERE j.recorded_at <= t.at), 0) * s.sign AS recorded,
					   coalesce(sum(p.amount) FILTER (WHERE j.effective_at <= t.effective), 0) * s.sign AS effective,
					   coalesce(sum(p.amount) FILTER (WHERE j.recorded_at <= t.at AND j.effective_at <= t.effective), 0) * s.sign AS both
				  FROM (SELECT CASE c.account_type WHEN 'PLATFORM_CASH' THEN 1 ELSE -1 END AS sign) s
				  LEFT JOIN payledger.postings p ON p.account_id = c.account_id
				  LEFT JOIN payledger.journal_entries j ON j.journal_entry_id = p.journal_entry_id
				 GROUP BY s.sign) r
		LOOP
			IF (account.recorded, account.effective_balance, account.both)
			   <> (account.true_recorded, account.true_effective, account.true_both) THEN
				RAISE EXCEPTION 'wrong past balance: %', account;
			END IF;
		END LOOP;
		INSERT INTO samples SELECT max(fold_no), n FROM payledger.folds;
	END $$;
	SQL

my %scripts = (
	'mixed@8' => <<~'PGBENCH',
		\set e random(1, 2000)
		\set a random(1, 100000)
		\set k random(1, 8)
		BEGIN;
		SELECT post(:e, :a);
		SAVEPOINT s;
		SELECT post(:e + :a, :a);
		\if :k < 4
		ROLLBACK TO s;
		\elif :k = 4
		RELEASE s;
		\endif
		SELECT post(:e + :a, :a);
		\if :k = 8
		ROLLBACK;
		\else
		COMMIT;
		\endif
		PGBENCH
	'long@2' => <<~'PGBENCH',
		\set a random(1, 100000)
		\set ms random(1, 1500)
		\set k random(1, 3)
		BEGIN;
		SELECT post(1, :a);
		\sleep :ms ms
		SELECT post(2, :a);
		\if :k = 3
		ROLLBACK;
		\else
		COMMIT;
		\endif
		PGBENCH
	'subtransactions@1' => "SELECT post_in_subtransactions();\n",
	'prepared@2' => <<~'PGBENCH',
		\set a random(1, 1000000000)
		\set ms random(1, 400)
		\set k random(1, 2)
		BEGIN;
		SELECT post(:a % 100, :a);
		PREPARE TRANSACTION 'p:client_id';
		\sleep :ms ms
		\if :k = 1
		COMMIT PREPARED 'p:client_id';
		\else
		ROLLBACK PREPARED 'p:client_id';
		\endif
		PGBENCH
	'fold@3' => "\\set ms random(1, 40)\nSELECT payledger.fold_postings();\n\\sleep :ms ms\n",
	'fold_within@1' => <<~'PGBENCH',
		\set a random(1, 1000)
		\set ms random(1, 50)
		BEGIN;
		SELECT post(1, :a);
		SELECT payledger.fold_postings();
		\sleep :ms ms
		SELECT post(2, :a);
		SELECT payledger.fold_postings();
		COMMIT;
		PGBENCH
	'sample@2' => <<~'PGBENCH',
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT sample();
		\sleep 100 ms
		SELECT sample();
		COMMIT;
		PGBENCH
);

my @files;
for my $name (sort keys %scripts)
{
	my ($base, $weight) = split /@/, $name;
	my $path = $node->basedir . "/$base.sql";

	append_to_file($path, $scripts{$name});
	push @files, '-f', "$path\@$weight";
}

note("PAYLEDGER_SEED=$seed");
my ($out, $err);
my $ok = IPC::Run::run([ 'pgbench', '-n', '-c', 16, '-j', 2, '-T', $seconds, '--max-tries=10', "--random-seed=$seed", @files,
		$node->connstr('payledger') ], '>', \$out, '2>', \$err);

ok($ok, "every sample of every snapshot is exact (seed $seed)") or diag($err =~ s/^pgbench: pghost.*\n//mr);
my ($sample) = rows($node, 'SELECT count(*) AS n, count(DISTINCT folds) AS folds, max(accounts) AS accounts FROM samples');
cmp_ok($sample->{n}, '>=', 10, 'there were samples');
cmp_ok($sample->{folds}, '>=', 5, 'between different folds');
cmp_ok($sample->{accounts}, '>=', 1000, 'of many accounts');
is(sql($node, 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'no prepared transaction is left');
check_ledger($node, 'at the end');
sql($node, 'SELECT payledger.fold_postings()');
check_ledger($node, 'all folded');
is(sql($node, 'SELECT (SELECT count(*) FROM payledger.postings) - (SELECT sum(postings) FROM payledger.folds)'), 0, 'nothing is left to fold');
$node->stop;
done_testing();
