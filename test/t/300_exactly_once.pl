# Delivery exactly once, with a real broker and a consumer that reads what is
# committed: the relay is killed at every point of a transaction, the server
# stops at once, the broker is killed and hangs, an old relay is fenced, and
# the mode changes, all of it under load.  Then every committed event is on
# Kafka once, in order, and no other.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $kafka = PayledgerKafka->new;
my $node = with_stop_points(
	sub {
		new_node(
			'exactly',
			'fsync' => 'on',
			'payledger.kafka_brokers' => $kafka->address,
			'payledger.delivery' => 'exactly_once',
			'payledger.relay_batch' => 100);
	});

# The session is one of exactly-once delivery, and new events arrive.
sub relay_goes_on
{
	my ($name) = @_;
	my $before;

	wait_for(
		sub {
			my $out = try_sql($node, 'SELECT published_events FROM payledger.stat_outbox');

			return 0 unless $out;
			$before //= $out;
			return $out > $before;
		},
		"$name: events arrive again", $node);
	return;
}

prepare_load($node);
start_events($node, 250);
relay_goes_on('at first');

# ---- the relay, at every point of its work ----

my @points = (
	[ before => 'begin' ],
	[ after => 'begin' ],
	[ before => 24 ],    # AddPartitionsToTxn
	[ after => 24 ],
	[ before => 0 ],     # Produce
	[ after => 0 ],
	[ before => 'commit' ],
	[ before => 26 ],    # EndTxn
	[ after => 26 ],
	[ after => 'commit' ]);

for my $point (@points)
{
	stop_at('kill', @$point, 3);
	wait_for(\&stop_point_reached, "the relay is killed $point->[0] $point->[1]", $node);
	relay_goes_on("killed $point->[0] $point->[1]");
}

# while it begins its session: the first kill makes it do so
for my $point ([ before => 22 ], [ after => 22 ], [ after => 'init' ], [ after => 'commit' ])
{
	my $pid = signal_worker($node, 'relay', 'TERM');

	stop_at('kill', @$point, 1);
	wait_for(\&stop_point_reached, "the relay is killed $point->[0] $point->[1] of its beginning", $node);
	relay_goes_on("killed $point->[0] $point->[1]");
}

# ---- the server and the broker ----

for my $time (1 .. 2)
{
	$node->stop('immediate');
	with_stop_points(sub { $node->start });
	relay_goes_on("immediate stop $time");
}

$kafka->kill9;
wait_sql($node, "SELECT waiting_events > 100 FROM payledger.stat_outbox", 'events wait');
$kafka->up;
relay_goes_on('broker killed');

$kafka->pause;
wait_sql($node, "SELECT waiting_events > 100 FROM payledger.stat_outbox", 'events wait');
$kafka->resume;
relay_goes_on('broker hung');

# ---- an old incarnation ----

subtest 'an old relay cannot commit' => sub {
	my $id = 'payledger.'
	  . sql($node, 'SELECT system_identifier FROM pg_control_system()') . '.'
	  . sql($node, "SELECT oid FROM pg_database WHERE datname = 'payledger'") . '.0';
	my $log = -s $node->logfile;

	# all of its messages are written, and nothing but the commit is left to do
	stop_at('stop', 'before', 'commit', 3);
	wait_for(\&stop_point_reached, 'the relay stands before its commit', $node);
	$kafka->fence($id);
	kill('CONT', worker_pid($node, 'relay'));
	relay_goes_on('fenced');
	wait_for(sub { slurp_file($node->logfile, $log) =~ /fenced|newer producer/i }, 'it was told so', $node);
	pass('it was refused, and began anew');
};

# ---- the mode changes under load ----

for my $mode (qw(at_least_once exactly_once at_least_once exactly_once))
{
	$node->append_conf('postgresql.conf', "payledger.delivery = '$mode'");
	$node->reload;
	wait_sql($node, "SELECT delivery = '$mode' FROM payledger.relay_cursors", "delivery is $mode");
	relay_goes_on($mode);
}

# a crash in the middle of a change
$node->append_conf('postgresql.conf', "payledger.delivery = 'at_least_once'");
$node->reload;
wait_sql($node, "SELECT delivery = 'at_least_once' FROM payledger.relay_cursors", 'delivery is at_least_once');
stop_at('kill', 'before', 26, 2);
$node->append_conf('postgresql.conf', "payledger.delivery = 'exactly_once'");
$node->reload;
wait_for(\&stop_point_reached, 'the relay is killed before it commits the first cursor', $node);
relay_goes_on('killed while it changed');

# ---- what must hold ----

stop_events($node);
cmp_ok(check_exactly_once($node, $kafka, 'in the end'), '>', 1000, 'there were many events');
check_cursor_chain($kafka, 'in the end');
is(sql($node, 'SELECT delivery FROM payledger.relay_cursors'), 'exactly_once', 'the row says who has the cursor');

$node->stop;
done_testing();
