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
my $seconds = $ENV{PAYLEDGER_FOLDING_SECONDS} // 20;
my $node = new_node('folding', 'synchronous_commit' => 'off', 'max_prepared_transactions' => 40);

sql($node, <<~'SQL');
	SELECT payledger.open_account('PLATFORM_CASH', 'FOLDING', 'SEK');
	CREATE TABLE samples (folds bigint, accounts bigint);

	-- an entry of two legs between the platform and an account that may be new
	CREATE FUNCTION post(entity int, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		entry bigint := payledger.next_id();
		transaction_no bigint := (SELECT max(incarnation)::bigint << 48 FROM payledger.incarnations)
								 + pg_current_xact_id()::text::bigint;
		seller bigint := (SELECT account_id FROM payledger.open_account('MERCHANT_PAYABLE', 'FOLDING-' || entity, 'SEK'));
	BEGIN
		INSERT INTO payledger.journal_entries (journal_entry_id, entry_type, recorded_at, effective_at, transaction_no)
		VALUES (entry, 'ADJUSTMENT', now(), now(), transaction_no);
		INSERT INTO payledger.postings (journal_entry_id, leg, account_id, amount, transaction_no)
		SELECT entry, 1, account_id, amount, transaction_no
		  FROM payledger.accounts WHERE account_code = 'PLATFORM_CASH.FOLDING.SEK'
		 UNION ALL SELECT entry, 2, seller, -amount, transaction_no;
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
			  LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM payledger.postings GROUP BY 1) s USING (account_id)
		LOOP
			n := n + 1;
			IF account.balance <> account.truth OR account.alone <> account.truth THEN
				RAISE EXCEPTION 'wrong balance: %', account;
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
is(sql($node, 'SELECT count(*) FROM payledger.unfolded_balances'), 0, 'nothing is left to fold');
$node->stop;
done_testing();
