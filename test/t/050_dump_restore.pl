# The money outlives the server: a dump with payments in every stage, restored
# ten times by four processes at once into another cluster, whose transaction
# ids are smaller.  In the last one the workers, which were there before the
# data, carry on with what was waiting.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerKafka;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $psp = PayledgerPsp->new;
my $kafka = PayledgerKafka->new;
my $source = new_node('source', 'payledger.kafka_brokers' => $kafka->address);

add_stripe($source, $psp);
sql($source, q{SELECT payledger.add_routing_rule('stripe', 'EUR')});

sub psql_value
{
	my ($node, $database, $sql) = @_;
	return $node->safe_psql($database, $sql);
}

# One line for each table: rows and a checksum.  The sequence is there as well.
sub checksums
{
	my ($node, $database) = @_;
	my @tables = split /\n/, psql_value($node, $database, <<~'SQL');
		SELECT relname FROM pg_class WHERE relnamespace = 'payledger'::regnamespace AND relkind = 'r' ORDER BY 1
		SQL

	return psql_value($node, $database, join ' UNION ALL ',
		(map { "SELECT '$_' AS t, count(*), md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), '')) FROM payledger.$_ r" } @tables),
		"SELECT 'outbox_seq', last_value, is_called::text FROM payledger.outbox_seq");
}

sub trial_balance
{
	my ($node, $database) = @_;

	return psql_value($node, $database,
		'SELECT account_code, debit, credit, debit_formatted, credit_formatted FROM payledger.trial_balance ORDER BY 1');
}

sub failed_checks
{
	my ($node, $database) = @_;

	return psql_value($node, $database, 'SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok');
}

# ---- every stage ----

# Ids are taken from the clock, and this server's was an hour ahead: payledger
# remembers over a restart how far it has come.
$source->stop;
my $limit = $source->data_dir . '/payledger.id_limit';
my $ahead = slurp_file($limit) + 3600 * 1000 * 4096;
open(my $file, '>', $limit) or BAIL_OUT("could not write $limit: $!");
print $file "$ahead\n";
close($file);
$source->start;

# ids that no fresh cluster reaches
sql($source, <<~'SQL');
	CREATE PROCEDURE burn(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM pg_current_xact_id();
			COMMIT;
		END LOOP;
	END $$;
	CALL burn(50000);
	DROP PROCEDURE burn;
	SQL

pay_many($source, 'done', 30);
my $action = create_authorized($source, 'pm_card_threeDSecureRequired', [600]);
my $cancelled = create_intent($source, [610]);
my $created = create_intent($source, [620]);
my $void = create_authorized($source, 'pm_card_visa', [ 630, 640 ], capture_method => 'manual');
my $manual = create_authorized($source, 'pm_card_visa', [ 650, 660 ], capture_method => 'manual');
my $partly = create_authorized($source, 'pm_card_visa', [ 670, 680 ], capture_method => 'manual');
sql($source, <<~"SQL");
	SELECT payledger.cancel_payment_intent($cancelled);
	SELECT payledger.void_payment($void);
	SELECT payledger.capture(payment_order_id, 500) FROM payledger.payment_orders
	 WHERE payment_id = $partly AND seller_id = 'SELLER-111';
	SQL
settle($source);
sql($source, 'SELECT payledger.fold_postings()');
my $published = sql($source, 'SELECT published_events FROM payledger.stat_outbox');
cmp_ok($published, '>', 200, 'events were published');

# from here on nothing is published and balances are not folded
$source->append_conf('postgresql.conf', "payledger.kafka_brokers = ''");
$source->reload;
wait_sql($source, "SELECT state = 'no brokers in payledger.kafka_brokers' FROM payledger.stat_worker WHERE role = 'relay'",
	'the relay rests');
my @stopped = signal_worker($source, 'keeper', 'STOP');
pay_many($source, 'later', 10);
settle_requests($source);

# executed, and the error is all that we heard
sql($source, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 60000, "retry_max_ms": 60000}')});
$psp->fault(fault => 'error_500', execute => JSON::PP::true, times => 5);
pay_many($source, 'unknown', 5);
wait_sql($source, "SELECT count(*) = 5 FROM payledger.psp_requests WHERE status = 'UNKNOWN'", 'five are unknown');
# executed, and the answer never comes
$psp->fault(fault => 'drop_after', times => -1);
pay_many($source, 'flight', 5);
wait_for(sub { $psp->fired('drop_after') >= 5 }, 'five are in flight', $source);
push @stopped, signal_worker($source, 'gateway', 'STOP');
# not even asked for
pay_many($source, 'ready', 12);
sql($source, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $manual AND seller_id = 'SELLER-111'");

is(sql($source, 'SELECT status, count(*) FROM payledger.psp_requests WHERE status NOT IN (\'SUCCEEDED\', \'REFUSED\') GROUP BY 1 ORDER BY 1'),
	"READY|13\nIN_FLIGHT|5\nUNKNOWN|5", 'requests in every stage');
cmp_ok(sql($source, 'SELECT count(*) FROM payledger.unpublished_events'), '>', 80, 'unpublished events');
cmp_ok(sql($source, 'SELECT (SELECT count(*) FROM payledger.postings) - (SELECT sum(postings) FROM payledger.folds)'), '>', 3, 'balances not folded');

sub settle_requests
{
	my ($node) = @_;

	wait_sql($node, "SELECT NOT EXISTS (SELECT FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED'))",
		'all requests are decided');
	return;
}

# ---- the dump, and what it must bring back ----

my $dump = PostgreSQL::Test::Utils::tempdir('dump') . '/dump';
$source->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $source->connstr('payledger') ], 'pg_dump');
my $sums = checksums($source, 'payledger');
my $trial_balance = trial_balance($source, 'payledger');
my $newest_id = sql($source, 'SELECT max(history_id) FROM payledger.state_history');
my $next_xid = sql($source, 'SELECT pg_current_xact_id()');
check_ledger($source, 'the source');
# what stands still stays so
$source->kill9;
kill('KILL', @stopped);
$psp->clear_faults;

# its workers run in an empty database, into which the last restore goes
my $target = PostgreSQL::Test::Cluster->new('target');
$target->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$target->append_conf('postgresql.conf', <<~"CONF");
	shared_preload_libraries = 'payledger'
	log_statement = none
	timezone = 'UTC'
	max_wal_size = 4GB
	payledger.kafka_brokers = '${\$kafka->address}'
	payledger.private_gateway_addresses = '127.0.0.0/8'
	payledger.gateway_secrets_file = '${\write_secrets($target, stripe => $psp->key)}'
	CONF
$target->start;
$target->safe_psql('postgres', 'CREATE DATABASE payledger');
$target->append_conf('postgresql.conf', "payledger.databases = 'payledger'");
$target->restart;

# pg_restore with four processes
sub restore_ok
{
	my ($database, @sections) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err);
	my $good = IPC::Run::run([ 'pg_restore', '-j4', (map { "--section=$_" } @sections), '-d', $target->connstr($database), $dump ], '>', \$out, '2>', \$err);
	ok($good && $err eq '', "$database: pg_restore -j4") or diag($err);
	return;
}

for my $n (1 .. 9)
{
	$target->safe_psql('postgres', "CREATE DATABASE restored_$n");
	restore_ok("restored_$n");
	is(checksums($target, "restored_$n"), $sums, "restored_$n: every row of every table");
	is(trial_balance($target, "restored_$n"), $trial_balance, "restored_$n: the same trial balance");
	is(failed_checks($target, "restored_$n"), '', "restored_$n: verify() finds nothing");
}

subtest 'a restore that broke off' => sub {
	$target->safe_psql('postgres', 'CREATE DATABASE broken_off');
	restore_ok('broken_off', 'pre-data', 'data');
	like(($target->psql('broken_off', 'SELECT payledger.setup()', extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2],
		qr/ERROR:  PL010: the tables in schema payledger are not whole\nDETAIL:  table payledger\.\w+ has no primary key; .*\nHINT:  Restore the rest of the dump/, 'setup() refuses');
	like($target->safe_psql('broken_off', q{SELECT string_agg(detail, '; ') FROM payledger.verify() WHERE check_name = 'keys_are_whole' AND NOT ok}),
		qr/^\d+ offences, the first: table payledger\.layout has no primary key; /, 'verify() says so');
	restore_ok('broken_off', 'post-data');
	is(checksums($target, 'broken_off'), $sums, 'the rest brings nothing else');
	is(failed_checks($target, 'broken_off'), '', 'and verify() finds nothing');
	$target->safe_psql('broken_off', 'SELECT payledger.setup()');
};

subtest 'a restored database without workers' => sub {
	$target->safe_psql('restored_1', 'SELECT payledger.setup()');
	is($target->safe_psql('restored_1', 'SELECT count(*) FROM payledger.incarnations'), 2, 'a new incarnation begins');
	$target->safe_psql('restored_1', 'SELECT payledger.fold_postings()');
	is(trial_balance($target, 'restored_1'), $trial_balance, 'folding changes no balance');
	is(failed_checks($target, 'restored_1'), '', 'verify() finds nothing');
};

# ---- carrying on ----

restore_ok('payledger');
cmp_ok(sql($target, 'SELECT pg_current_xact_id()'), '<', $next_xid, 'transaction ids went back');
sql($target, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 50, "retry_max_ms": 400}')});
# those that were unknown would wait for their minute
sql($target, "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE status = 'UNKNOWN'");
wait_for_workers($target);
settle($target);

is(sql($target, <<~'SQL'), <<~'END' =~ s/\n\z//r, 'what was waiting is done');
	SELECT split_part(i.order_id, '-', 1), concat_ws(' ', i.status, p.status), count(*) FROM payledger.payment_intents i
	  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
	 WHERE i.order_id NOT LIKE 'ORDER-%' GROUP BY 1, 2 ORDER BY 1, 2
	SQL
	done|AUTHORIZED CAPTURED|27
	done|DECLINED|3
	flight|AUTHORIZED CAPTURED|5
	later|AUTHORIZED CAPTURED|9
	later|DECLINED|1
	ready|AUTHORIZED CAPTURED|11
	ready|DECLINED|1
	unknown|AUTHORIZED CAPTURED|5
	END
is(sql($target, "SELECT status, captured_amount FROM payledger.payments WHERE payment_id = $manual"),
	'PARTIALLY_CAPTURED|650', 'the capture that was asked for');
check_books($target, 'after what was waiting', psp => $psp, kafka => $kafka);

my $folds = sql($target, 'SELECT max(fold_no) FROM payledger.folds');
pay_many($target, 'new', 40);
$psp->control('POST', '/_test/intents/' . sql($target, "SELECT psp_reference FROM payledger.payment_intents WHERE payment_intent_id = $action")
	  . '/complete_action', { outcome => 'succeed' });
sql($target, <<~"SQL");
	SELECT payledger.request_authorization($action, NULL);
	SELECT payledger.request_authorization($created, 'pm_card_visa');
	SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders
	 WHERE payment_id IN ($manual, $partly) AND status = 'INITIATED_PENDING';
	SQL
settle($target);
check_books($target, 'after new payments', psp => $psp, kafka => $kafka);
is(sql($target, <<~"SQL"), "CAPTURED|620\nCAPTURED|600\nCAPTURED|1310\nPARTIALLY_CAPTURED|1180", 'payments begun there and ended here');
	SELECT status, captured_amount FROM payledger.payments
	 WHERE payment_id IN ($action, $created, $manual, $partly)
	 ORDER BY array_position(ARRAY[$created, $action, $manual, $partly], payment_id)
	SQL
wait_sql($target, "SELECT max(fold_no) > $folds FROM payledger.folds", 'the keeper has folded');
check_ledger($target, 'after folding');
cmp_ok(sql($target, 'SELECT min(history_id) FROM payledger.state_history h JOIN payledger.payment_intents i ON i.payment_intent_id = h.payment_id'
		  . " WHERE i.order_id LIKE 'new-%'"), '>', $newest_id, 'ids go on from where they were');

$target->stop;
done_testing();
