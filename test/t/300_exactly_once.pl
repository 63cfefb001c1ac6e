# Delivery exactly once, with a real broker and a consumer that reads what is
# committed: the relay is killed at every point of a transaction, the server
# stops at once, the broker is killed and hangs, the network is cut, an old
# relay is fenced, and the mode changes, all of it under load.  Then every
# committed event is on Kafka once, in order, and no other.
#
# How often is up to the environment: "make torture" does all of it for hours.

use strict;
use warnings FATAL => 'all';

use List::Util qw(max);
use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $tps = $ENV{TORTURE_TPS} // 250;
my %times = (
	kills => $ENV{TORTURE_KILLS} // 14,
	stops => $ENV{TORTURE_STOPS} // 2,
	broker_kills => $ENV{TORTURE_BROKER_KILLS} // 1,
	hangs => $ENV{TORTURE_HANGS} // 1,
	cuts => $ENV{TORTURE_CUTS} // 1,
	changes => $ENV{TORTURE_CHANGES} // 4,
	fencings => $ENV{TORTURE_FENCINGS} // 1);
# a relay is killed when it comes to its point the Nth time, N up to this
my $span = $ENV{TORTURE_SPAN} // 5;
# a hang or cut this long outlasts every time limit; a short one none
my $longest_s = $ENV{TORTURE_LONGEST_S} // 1;

# an hour must not end for a busy machine
$PayledgerTest::TIMEOUT = 400 if $ENV{TORTURE_KILLS};

my $kafka = PayledgerKafka->new(proxy => 1);
my $node = with_stop_points(
	sub {
		new_node(
			'exactly',
			%relay_settings,
			'payledger.kafka_brokers' => $kafka->address,
			'payledger.delivery' => 'exactly_once',
			'payledger.relay_batch' => max(100, $tps));
	});

# New events arrive.
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

sub events_wait
{
	wait_sql($node, 'SELECT waiting_events > 100 FROM payledger.stat_outbox', 'events wait');
	return;
}

sub set_delivery
{
	my ($mode) = @_;

	$node->append_conf('postgresql.conf', "payledger.delivery = '$mode'");
	$node->reload;
	return;
}

prepare_load($node);
start_events($node, $tps);
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
my @points_of_beginning = (
	[ before => 22 ],    # InitProducerId
	[ after => 22 ],
	[ after => 'init' ],
	[ after => 'commit' ]);

# A beginning follows a kill; the first of a process's transactions is its claim.
my ($kills, $round) = (0, 0);
while ($kills < $times{kills})
{
	my $i = $round % (@points + @points_of_beginning);
	my $n = 2 + $round * 7 % $span;
	my @kills = $i < @points ? [ 'kill', @{ $points[$i] }, $n ] : ([ 'kill', 'before', 'begin', $n ], [ 'kill', @{ $points_of_beginning[ $i - @points ] }, 1 ]);

	stop_at(@kills);
	wait_for(\&stop_point_reached, "the relay is killed " . join(', then ', map { "$_->[1] $_->[2]" } @kills), $node);
	$kills += @kills;
	next if ++$round % 50;
	relay_goes_on("$kills kills");
	wait_sql($node, 'SELECT waiting_events < 10000 FROM payledger.stat_outbox', 'the relay has caught up');
}
relay_goes_on("$kills kills");
$times{kills} = $kills;

# ---- the server, the broker and the network ----

for my $n (1 .. $times{stops})
{
	$node->stop('immediate');
	with_stop_points(sub { $node->start });
	relay_goes_on("immediate stop $n");
}

for my $n (1 .. $times{broker_kills})
{
	$kafka->kill9;
	events_wait();
	$kafka->up;
	relay_goes_on("broker killed $n");
}

for my $n (1 .. $times{hangs})
{
	$kafka->pause;
	events_wait();
	# how long is what is tested here
	sleep($longest_s * $n / $times{hangs});
	$kafka->resume;
	relay_goes_on("broker hung $n");
}

for my $n (1 .. $times{cuts})
{
	$kafka->cut;
	events_wait();
	sleep($longest_s * $n / $times{cuts});
	$kafka->mend;
	relay_goes_on("network cut $n");
}

# ---- an old incarnation ----

my $transactional_id = 'payledger.'
  . sql($node, 'SELECT system_identifier FROM pg_control_system()') . '.'
  . sql($node, "SELECT oid FROM pg_database WHERE datname = 'payledger'") . '.0';
for my $n (1 .. $times{fencings})
{
	my $log = -s $node->logfile;

	# all of its messages are written, and nothing but the commit is left to do
	stop_at([ 'stop', 'before', 'commit', 3 ]);
	wait_for(\&stop_point_reached, 'the relay stands before its commit', $node);
	$kafka->fence($transactional_id);
	kill('CONT', worker_pid($node, 'relay'));
	wait_for(sub { try_sql($node, "SELECT last_error FROM payledger.stat_outbox") =~ /same identity/ }, 'it was refused', $node);
	relay_goes_on("fenced $n");
	like(slurp_file($node->logfile), qr/committing a Kafka transaction failed: .*(fenced|newer producer)/i, 'an old relay cannot commit') if $n == 1;
}

# ---- the mode changes ----

for my $n (1 .. $times{changes})
{
	my $mode = $n % 2 ? 'at_least_once' : 'exactly_once';

	set_delivery($mode);
	wait_sql($node, "SELECT delivery = '$mode' FROM payledger.relay_cursors", "delivery is $mode");
	relay_goes_on("change $n to $mode");
}

# a crash in the middle of a change
set_delivery('at_least_once');
wait_sql($node, "SELECT delivery = 'at_least_once' FROM payledger.relay_cursors", 'delivery is at_least_once');
stop_at([ 'kill', 'before', 26, 2 ]);
set_delivery('exactly_once');
wait_for(\&stop_point_reached, 'the relay is killed before it commits the first cursor', $node);
relay_goes_on('killed while it changed');

# ---- what must hold ----

stop_events($node);
my $events = check_exactly_once($node, $kafka, 'in the end');
cmp_ok($events, '>', 1000, 'there were many events');
check_cursor_chain($kafka, 'in the end');
is(sql($node, 'SELECT delivery FROM payledger.relay_cursors'), 'exactly_once', 'the row says who has the cursor');
if ($ENV{TORTURE_KILLS})
{
	my ($transactions, $s, $down_s) = load_rate($node);

	diag(sprintf('torture: %s %s; %d business transactions in %d s, %.0f/s, or %.0f/s of the %d s that PostgreSQL was up; %d events',
			Test::More->builder->is_passing ? 'survived' : 'DID NOT SURVIVE',
			join(', ', map { "$times{$_} $_" } sort keys %times),
			$transactions, $s, $transactions / $s, $transactions / ($s - $down_s), $s - $down_s, $events));
}

$node->stop;
done_testing();
