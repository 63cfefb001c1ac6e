# What an operator has to know is shown and logged: workers that do not run, a
# PSP that does not answer, requests and webhooks that wait for a hand; the
# change of a gateway is heard at once; verify() on a hot standby never ends the
# session.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub log_has
{
	my ($node, $pattern) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

sub wait_for_trouble
{
	my ($node, $role, $pattern) = @_;

	wait_sql($node, "SELECT failing AND last_error ~ '$pattern' FROM payledger.stat_worker WHERE role = '$role'",
		"the $role says: $pattern");
	return;
}

sub wait_for_peace
{
	my ($node, $role) = @_;

	wait_sql($node, "SELECT NOT failing FROM payledger.stat_worker WHERE role = '$role'", "the $role is content");
	return;
}

my $node = new_node('main', 'wal_level' => 'replica', 'max_wal_senders' => 5);

# ---- workers that do not run ----

my $pid = worker_pid($node, 'keeper');
is(sql($node, 'SELECT sum(restarts) FROM payledger.stat_worker'), 0, 'no worker has been started again');
signal_worker($node, 'keeper', 'TERM');
wait_sql($node, "SELECT restarts = 1 AND pid <> $pid FROM payledger.stat_worker WHERE role = 'keeper'", 'a restart is counted');

$node->append_conf('postgresql.conf', "max_worker_processes = 4\npayledger.databases = 'payledger, nowhere'");
$node->restart;
like(slurp_file($node->logfile),
	qr/WARNING:  max_worker_processes is 4, too small for the workers of payledger.databases.*HINT:  Set max_worker_processes to 8 /s,
	'the log says at the start that there are too few places');
is(sql($node, q{SELECT failing, state, last_error ~ 'max_worker_processes' FROM payledger.stat_worker WHERE role = 'keeper'}),
	't|not running|t', 'a worker that was never started fails');

$node->append_conf('postgresql.conf', 'max_worker_processes = 20');
$node->restart;
wait_for_workers($node);
wait_sql($node, q{SELECT bool_and(failing AND restarts > 0 AND last_error ~ 'could not connect') FROM payledger.worker_statistics()
	WHERE database = 'nowhere'}, 'workers of a database that does not exist fail');

# they wait for it without a word, and are nobody in it
my $waiting = q{FROM pg_stat_activity WHERE backend_type IN ('payledger gateway', 'payledger relay', 'payledger keeper') AND datid IS NULL};
wait_sql($node, "SELECT count(*) = 3 AND bool_and(wait_event = 'PayledgerWorker' OR wait_event = 'Extension') $waiting", 'they wait for it');
is(log_has($node, 'FATAL:  database "nowhere" does not exist'), 3, 'each has said so once');
new_database($node, 'nowhere');
$node->reload;
wait_sql($node, <<~'SQL', 'they run once it is there, and none is failing', 'nowhere');
	SELECT bool_and(pid IS NOT NULL AND NOT failing AND state !~ '^(starting|waiting)') FROM payledger.stat_worker
	SQL
$node->safe_psql('postgres', q{ALTER DATABASE nowhere ALLOW_CONNECTIONS false});
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'nowhere'});
wait_sql($node, "SELECT count(*) = 3 $waiting", 'they wait while it takes no connections');
is(($node->psql('postgres', 'CREATE DATABASE copied TEMPLATE nowhere'))[2], '', 'and it can be a template');
is(log_has($node, 'FATAL:  database "nowhere" is not currently accepting connections'), 3, 'and each has said so once');
$node->safe_psql('postgres', q{ALTER DATABASE nowhere ALLOW_CONNECTIONS true});
$node->reload;
wait_sql($node, 'SELECT bool_and(pid IS NOT NULL AND NOT failing) FROM payledger.stat_worker', 'then they go on', 'nowhere');
$node->append_conf('postgresql.conf', "payledger.databases = 'payledger'");
$node->restart;
wait_for_workers($node);
is(sql($node, 'SELECT bool_or(failing) FROM payledger.stat_worker'), 'f', 'nothing fails');

# ---- a PSP that does not answer ----

my $psp = PayledgerPsp->new;
add_stripe($node, $psp, circuit_failures => 3);
settle($node);
$psp->fault(fault => 'reset_before', times => 100000);
pay($node, 'pm_card_visa', [1000]) for 1 .. 5;
wait_for_trouble($node, 'gateway', 'gateway "stripe" does not answer');
wait_sql($node, q{SELECT circuit <> 'CLOSED' FROM payledger.stat_gateway WHERE gateway = 'stripe'}, 'its circuit is open');
wait_sql($node, q{SELECT faults > 5 FROM payledger.stat_gateway WHERE gateway = 'stripe'}, 'it has been tried several times');
is(log_has($node, 'WARNING:  payledger gateway: gateway "stripe" does not answer'), 1, 'the log has it once');
$psp->clear_faults;
settle($node);
wait_for_peace($node, 'gateway');

# ---- what waits for an operator ----

sql($node, q{SELECT payledger.add_gateway('sandbox', adapter => 'sandbox')});
sql($node, q{
	BEGIN;
	SELECT payment_intent_id AS id FROM payledger.create_payment_intent('PARKED', 'B', 'EUR',
		'[{"seller_id": "SELLER-111", "amount": 7}]', gateway => 'sandbox') \gset
	SELECT payledger.request_authorization(:id, 'pm_ok');
	UPDATE payledger.psp_requests SET status = 'PARKED' WHERE payment_id = :id;
	COMMIT;});
# the worker has nothing to do and looks when it is time to
wait_for_trouble($node, 'gateway', 'requests to gateway "sandbox" are PARKED');
is(log_has($node, 'WARNING:  payledger gateway: requests to gateway "sandbox" are PARKED'), 1, 'the log has it');

sql($node, q{INSERT INTO payledger.webhooks (gateway, event_id, webhook_id, event_type, body, backfilled, status, created_at, updated_at)
	VALUES ('sandbox', 'evt_1', 1, 'none', '{}', false, 'PARKED', now(), now())});
wait_for_trouble($node, 'gateway', 'webhooks of gateway "sandbox" were given up');
# one is over, the other is shown again
sql($node, q{SELECT payledger.ignore_webhook('sandbox', 'evt_1', 'test')});
wait_for_trouble($node, 'gateway', 'requests to gateway "sandbox" are PARKED');
sql($node, q{SELECT payledger.resolve_request(psp_request_id, 'REFUSED', 'test') FROM payledger.psp_requests WHERE status = 'PARKED'});
wait_for_peace($node, 'gateway');

# ---- a changed gateway ----

my $slowest = 0;
for my $round (1 .. 10)
{
	sql($node, q{SELECT payledger.alter_gateway('sandbox', options => '{"rate_per_second": 0.0001, "burst": 1}')});
	pay($node, 'pm_ok', [10], gateway => 'sandbox') for 1 .. 2;
	my $start = time();
	sql($node, q{SELECT payledger.alter_gateway('sandbox', options => '{"rate_per_second": 0}')});
	settle($node);
	$slowest = time() - $start if time() - $start > $slowest;
}
ok($slowest < 25, 'the gateway worker hears of a change before it looks by itself') or diag("$slowest s");

# ---- verify() on a hot standby ----

{
	my $standby = PostgreSQL::Test::Cluster->new('standby');

	sql($node, 'CREATE TABLE public.scratch AS SELECT generate_series(1, 1000) AS n');
	$node->backup('visible');
	$standby->init_from_backup($node, 'visible', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\nhot_standby_feedback = off");
	$standby->start;
	$node->wait_for_catchup($standby);
	is($standby->safe_psql($PayledgerTest::DATABASE, 'SELECT count(*) FROM payledger.verify() WHERE NOT ok'), 0, 'verify() runs on a standby');
	is($standby->safe_psql($PayledgerTest::DATABASE, q{SELECT DISTINCT state, failing FROM payledger.stat_worker}),
		'waiting for the end of recovery|f', 'workers that are not to run do not fail');

	# a check waits for a lock of the primary, and a conflict comes meanwhile
	my ($in, $locked, $err) = ('', '', '');
	my $locker = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($PayledgerTest::DATABASE) ], '<', \$in, '>', \$locked, '2>', \$err);
	$in .= "BEGIN; LOCK TABLE payledger.postings IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n";
	$locker->pump until $locked =~ /locked/;
	sql($node, 'CREATE TABLE public.flushed ()');
	$node->wait_for_catchup($standby);
	my ($out, $said) = ('', '');
	my $reader = IPC::Run::start([ 'psql', '-XAtq', '-d', $standby->connstr($PayledgerTest::DATABASE),
			'-c', 'BEGIN', '-c', 'SELECT count(*) FROM public.scratch', '-c', 'SELECT count(*) FROM payledger.verify()',
			'-c', 'ROLLBACK', '-c', q{SELECT 'the session lives'} ],
		'<', \undef, '>', \$out, '2>', \$said, IPC::Run::timeout($PayledgerTest::TIMEOUT));
	wait_for(sub { $standby->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted}) > 0 },
		'verify() waits for the lock', $standby);
	$in .= "LOCK TABLE public.scratch IN ACCESS EXCLUSIVE MODE; SELECT 'both';\n";
	$locker->pump until $locked =~ /both/;
	sql($node, 'CREATE TABLE public.flushed_too ()');
	$reader->finish;
	like($said, qr/ERROR:  canceling statement due to conflict with recovery/, 'a conflict is an error');
	like($out, qr/the session lives/, 'and the session goes on');
	$in .= "ROLLBACK;\n\\q\n";
	$locker->finish;
	$standby->stop;
}

done_testing();
