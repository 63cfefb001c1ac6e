# After a failure the relay sends half as many events at once: a broker that
# could not take a chunk in the time of a transaction would get it again and
# again.  When that goes well, it sends more.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use Test::More;

my $kafka = PayledgerKafka->new;
my $node = with_stop_points(
	sub {
		new_node(
			'chunk',
			%relay_settings,
			'payledger.kafka_brokers' => $kafka->address,
			'payledger.delivery' => 'exactly_once',
			'payledger.relay_batch' => 400);
	});

prepare_load($node);
wait_sql($node, "SELECT delivery = 'exactly_once' FROM payledger.relay_cursors", 'delivery is exactly_once');
my $transactional_id = sql($node, q{SELECT format('payledger.%s.%s.0', system_identifier, oid)
									  FROM pg_control_system(), pg_database WHERE datname = 'payledger'});

sub append_400
{
	sql($node, 'SELECT count(public.append_events(k, k)) FROM generate_series(1, 400) AS k');
	return;
}

# its commit is refused
stop_at([ 'stop', 'before', 'commit', 1 ]);
append_400();
wait_for(\&stop_point_reached, 'the relay stands before its commit', $node);
$kafka->fence($transactional_id);
signal_worker($node, 'relay', 'CONT');
published($node, 'after the failure');
append_400();

check_exactly_once($node, $kafka, 'in the end');
my @sizes;
$kafka->each_cursor(
	sub {
		my ($message) = @_;
		my $events = JSON::PP->new->decode($message->{value})->{events};

		push @sizes, $events if $events;
	});
is("@sizes", '200 200 400', 'events in each transaction');

$node->stop;
done_testing();
