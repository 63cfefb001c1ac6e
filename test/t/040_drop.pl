# Databases and the extension are dropped under the workers: nothing hangs,
# nothing is lost, and the log stays readable.

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

# A port that accepts connections and never says a word: a relay that has
# events waits for it for ever.
my $silent = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1') or BAIL_OUT("no socket: $!");
my $psp = PayledgerPsp->new;
my $node = new_node(
	'drop',
	'payledger.databases' => 'payledger, plain, doomed',
	'payledger.kafka_brokers' => '127.0.0.1:' . $silent->sockport);

add_stripe($node, $psp, timeout_ms => 20_000, lease_seconds => 30);
new_tables('doomed');

sub new_tables
{
	my ($database) = @_;

	$node->safe_psql($database, <<~'SQL');
		CREATE EXTENSION payledger;
		SELECT payledger.setup();
		SELECT payledger.register_seller('SELLER-111', 'EUR');
		SQL
	return;
}

# A command ends, successfully, in bounded time.
sub ends_ok
{
	my ($database, $sql, $name) = @_;
	my ($code, $out, $err) = $node->psql($database, $sql, extra_params => [ '-v', 'ON_ERROR_STOP=1' ], timeout => 60,
		timed_out => \my $timed_out);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(!$timed_out && $code == 0, "$name ends") or diag($err);
	return;
}

# Lines that a process of these wrote to the log.
sub lines_of
{
	my ($from, @pids) = @_;
	my $log = substr(slurp_file($node->logfile), $from);

	return map { my $pid = $_; grep { /\[$pid\]/ } split /\n/, $log } @pids;
}

sub log_size { return -s $node->logfile }

sub pids_of
{
	my ($database) = @_;

	return split /\n/, $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'payledger %' AND datname = '$database'");
}

# Rows and a checksum of every table, as one query.  Where a keeper or a relay
# is at work, what they note for themselves differs.
sub checksum_query
{
	my @tables = split /\n/, sql($node, <<~'SQL');
		SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'payledger'::regnamespace AND c.relkind IN ('r', 'p')
		   AND NOT c.relispartition AND c.relname NOT IN ('folds', 'balance_snapshots', 'relay_cursors') ORDER BY 1
		SQL
	return join ' UNION ALL ',
	  map { "SELECT '$_' AS t, count(*), md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), '')) FROM payledger.$_ r" } @tables;
}

# ---- databases ----

my $log_begin = log_size();
my @plain = pids_of('plain');
is(scalar @plain, 3, 'there are workers in a database without the extension');
is(scalar(() = pids_of('doomed')), 3, 'and in another one with it');
wait_sql($node, <<~'SQL', 'they wait for it');
	SELECT count(*) = 3 AND bool_and(state = 'waiting for CREATE EXTENSION payledger')
	  FROM payledger.worker_statistics() WHERE database = 'plain'
	SQL

# every worker waits at its own place: for a PSP, for Kafka, for time
$psp->fault(fault => 'drop_before', times => -1, match => { operation => 'capture' });
pay_many($node, 'busy', 20);
wait_sql($node, <<~'SQL', 'captures hang');
	SELECT count(*) >= 10 FROM payledger.psp_requests WHERE operation = 'CAPTURE' AND status = 'IN_FLIGHT'
	SQL
wait_sql($node, "SELECT state IN ('publishing', 'waiting for Kafka', 'connecting to Kafka') FROM payledger.stat_worker WHERE role = 'relay'",
	'the relay waits for Kafka');
$node->safe_psql('postgres', 'CREATE DATABASE other');
ends_ok('postgres', 'DROP DATABASE other', 'DROP DATABASE of a database without workers');
is(sql($node, "SELECT count(*) > 0 FROM payledger.psp_requests WHERE status = 'IN_FLIGHT'"), 't', 'while captures still hang');

$node->safe_psql('doomed', <<~"SQL");
	SELECT payledger.add_gateway('sandbox', 'sandbox', '{"latency_ms": 60000, "timeout_ms": 100000}', true);
	SELECT payledger.request_authorization(payment_intent_id, 'pm_ok')
	  FROM payledger.create_payment_intent('ORDER-1', 'BUYER-1', 'EUR', '[{"seller_id": "SELLER-111", "amount": 100}]');
	SQL
wait_sql($node, "SELECT status = 'IN_FLIGHT' FROM payledger.psp_requests", 'its gateway is busy', 'doomed');
my ($code, $out, $err) = $node->psql('postgres', 'DROP DATABASE doomed');
isnt($code, 0, 'a database is not dropped under its workers');
like($err, qr/being accessed by other users/, 'by mistake');
ends_ok('postgres', 'DROP DATABASE doomed WITH (FORCE)', 'DROP DATABASE WITH (FORCE)');
is(scalar(() = pids_of('doomed')), 0, 'its workers are gone');
is(scalar(() = pids_of('payledger')), 3, 'those of the others are not');

# ---- the extension ----

($code, $out, $err) = $node->psql('payledger', 'DROP EXTENSION payledger');
isnt($code, 0, 'DROP EXTENSION is refused while there is data');
like($err, qr/cannot drop extension payledger because other objects depend on it/, 'for what depends on it');

# Besides what hangs: a request whose answer comes while the extension is gone,
# one that is unknown and one that is not yet due.
$psp->fault(fault => 'delay', ms => 3000, match => { operation => 'create' });
my $answered = pay($node, 'pm_card_visa', [700]);
wait_sql($node, "SELECT status = 'IN_FLIGHT' FROM payledger.psp_requests WHERE payment_id = $answered", 'one is being authorized');
my $waiting = create_intent($node, [800]);
my $before = sql($node, checksum_query());
my $log_drop = log_size();
my @workers = pids_of('payledger');
my $relay = worker_pid($node, 'relay');

ends_ok('payledger', 'DROP EXTENSION payledger CASCADE', 'DROP EXTENSION CASCADE');
is(sql($node, checksum_query()), $before, 'every row is still there');
is(sql($node, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'payledger'::regnamespace"), 0, 'and no function');

# turns of a worker show in pg_stat_activity
my %changes;
wait_for(
	sub {
		$changes{ (split /\|/)[0] }{$_} = 1 for split /\n/, $node->safe_psql('postgres', <<~'SQL');
			SELECT backend_type, state_change FROM pg_stat_activity WHERE datname = 'payledger' AND backend_type LIKE 'payledger %'
			SQL
		return keys %{ $changes{'payledger gateway'} } >= 6 && keys %{ $changes{'payledger keeper'} } >= 6;
	},
	'gateway and keeper have looked for the extension several times', $node);
is(join(' ', sort { $a <=> $b } pids_of('payledger')), join(' ', sort { $a <=> $b } @workers), 'the same processes');
is(join("\n", lines_of($log_drop, grep { $_ != $relay } @workers)), '', 'they wait quietly, but for what the relay says of Kafka');
is(sql($node, checksum_query()), $before, 'and touch nothing');

# in one transaction, in which no worker can have a hand
is(sql($node, 'BEGIN; CREATE EXTENSION payledger; SELECT payledger.setup() > 0;' . checksum_query() . '; COMMIT'),
	"t\n$before", 'CREATE EXTENSION and setup() take it all up again');
check_ledger($node, 'at once');

$psp->clear_faults;
wait_for_workers($node);
is(sql($node, "SELECT payledger.request_authorization($waiting, 'pm_card_visa')"), 'PENDING_AUTH', 'what was begun before goes on');
# captures that hang are asked for anew once their lease is over
wait_sql($node, "SELECT NOT EXISTS (SELECT FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED'))",
	'all requests are decided');
is(sql($node, <<~"SQL"), "AUTHORIZED CAPTURED|20\nDECLINED|2", 'every payment is in its end state');
	SELECT concat_ws(' ', i.status, p.status), count(*) FROM payledger.payment_intents i
	  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id GROUP BY 1 ORDER BY 1
	SQL
pay_many($node, 'new', 10);
wait_sql($node, "SELECT NOT EXISTS (SELECT FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED'))",
	'new payments work');
check_books($node, 'after CREATE EXTENSION', psp => $psp);
is(sql($node, 'SELECT count(*) FROM payledger.unpublished_events'), sql($node, 'SELECT count(*) FROM payledger.outbox_events'),
	'no event is forgotten');

is(join("\n", lines_of($log_begin, @plain)), '', 'workers in a database without the extension never wrote a line');
$node->stop;
done_testing();
