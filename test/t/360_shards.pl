# Several relays of one database, each with the keys of its shard: events of a
# key stay in order, each arrives once, whatever relay is killed, and also when
# the number of relays changes, and when the server stops in the middle of that.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = PayledgerKafka->new(cursor_partitions => 4);
my $node = with_stop_points(
	sub {
		new_node(
			'shards',
			'payledger.kafka_brokers' => $kafka->address,
			'payledger.delivery' => 'exactly_once',
			'payledger.relay_batch' => 100);
	});

sub relays_go_on
{
	my ($shards, $name) = @_;
	my %before;

	wait_for(
		sub {
			my @rows = split /\n/, try_sql($node, 'SELECT shard, published_events FROM payledger.stat_outbox') // '';
			my %now = map { split /\|/ } @rows;

			return 0 unless keys(%now) == $shards;
			$before{$_} //= $now{$_} for keys %now;
			return !grep { $now{$_} <= $before{$_} } keys %now;
		},
		"$name: events of $shards shards arrive", $node);
	return;
}

sub restart_with
{
	my ($shards, @point) = @_;

	$node->append_conf('postgresql.conf', "payledger.relay_shards = $shards");
	$node->stop('immediate');
	stop_at([ 'kill', @point ]) if @point;
	with_stop_points(sub { $node->start });
	return;
}

sub worker_pids
{
	return split /\n/, sql($node, q{SELECT pid FROM payledger.stat_worker WHERE role = 'relay' AND pid IS NOT NULL ORDER BY shard});
}

prepare_load($node);
start_events($node, 250);
relays_go_on(1, 'at first');

# ---- the number changes under load, with whatever is under way ----

restart_with(3);
relays_go_on(3, 'from 1 to 3');
is(sql($node, 'SELECT string_agg(format(\'%s of %s\', shard, shards), \', \' ORDER BY shard) FROM payledger.relay_cursors'),
	'0 of 3, 1 of 3, 2 of 3', 'each has its cursor');
is(scalar(worker_pids()), 3, 'and its process');
is(sql($node, 'SELECT count(DISTINCT (aggregatetype, event_key)) = count(DISTINCT (aggregatetype, event_key, payledger.event_shard(event_key, 3)))'
	  . ' AND count(DISTINCT payledger.event_shard(event_key, 3)) = 3 FROM payledger.outbox_events'),
	't', 'a key is one relay\'s');

for my $relay (0 .. 2)
{
	kill('KILL', (worker_pids())[$relay]);
	wait_for(sub { defined try_sql($node, 'SELECT 1') }, 'the server is back', $node);
	relays_go_on(3, "relay $relay was killed");
}

# the server ends while relay 0 is at any point of the change
for my $point ([ before => 'begin', 1 ], [ before => 26, 2 ], [ after => 'commit', 2 ], [ after => 'init', 2 ])
{
	my $shards = sql($node, 'SELECT count(*) FROM payledger.relay_cursors') == 3 ? 2 : 3;

	restart_with($shards, @$point);
	wait_for(\&stop_point_reached, "relay 0 is killed on the way to $shards shards", $node);
	relays_go_on($shards, "to $shards shards, killed $point->[0] $point->[1]");
}

restart_with(1);
relays_go_on(1, 'back to one');

# ---- what must hold ----

stop_events($node);
cmp_ok(check_exactly_once($node, $kafka, 'in the end'), '>', 1000, 'there were many events');
is(sql($node, 'SELECT sum(published_events) = (SELECT count(*) FROM payledger.outbox_events) FROM payledger.stat_outbox'), 't',
	'the count goes on');

# ---- what is told ----

restart_with(4);
wait_sql($node, q{SELECT count(*) = 4 AND bool_and(relay_state = 'idle') FROM payledger.stat_outbox}, 'four relays wait for events');
sql($node, 'SELECT public.append_events(k, k) FROM generate_series(1, 400) AS k');
published($node, 'four relays');
is(sql($node, 'SELECT count(*) FROM payledger.stat_outbox WHERE waiting_events = 0 AND batches > 0 AND last_batch_events > 0 AND events_per_batch > 0 AND NOT relay_failing AND errors >= 0'),
	4, 'stat_outbox: each has published');
wait_sql($node, 'SELECT sum(events_per_second) > 0 FROM payledger.stat_outbox', 'at some rate');

# nor does a relay that has no events hold up the others' partitions
sql($node, 'SELECT public.append_events(id, id) FROM public.relay_load, generate_series(1, 40) WHERE payledger.event_shard(id::text, 4) = 0');
wait_sql($node, <<~'SQL', 'the cursors without events follow');
	SELECT min(window_start) > (SELECT last_value - 2500 FROM payledger.outbox_seq) AND sum(waiting_events) = 0
	  FROM payledger.relay_cursors JOIN payledger.stat_outbox USING (shard)
	SQL

# a dead letter is a matter of its shard
my $key = sql($node, 'SELECT min(id) FROM public.relay_load WHERE payledger.event_shard(id::text, 4) = 2');
sql($node, "SELECT public.append_events($key, $key, 1500000); SELECT public.append_events(k, k) FROM generate_series(1, 400) AS k");
wait_sql($node, 'SELECT sum(waiting_events) = 0 AND sum(dead_letters) = 2 FROM payledger.stat_outbox', 'one is refused, one waits behind it');
is(sql($node, 'SELECT string_agg(dead_letters::text, \' \' ORDER BY shard) FROM payledger.stat_outbox'), '0 0 2 0', 'in its shard');
sql($node, q{SELECT payledger.skip_dead_letter(dead_letter_id, 'too large') FROM payledger.dead_letters WHERE status = 'PARKED'});
wait_sql($node, 'SELECT sum(dead_letters) = 0 FROM payledger.stat_outbox', 'and goes on');

# what is published again is that of all
$kafka->topic('copy', 4);
sql($node, "SELECT payledger.replay_events('-infinity', 'infinity', 'copy')");
wait_sql($node, q{SELECT bool_and(status = 'DONE') FROM payledger.replays}, 'all is published again');
my %copies;
$copies{ $_->{headers}{ce_id} }++ for $kafka->messages('copy');
is(sql($node, 'SELECT count(*) FROM payledger.outbox_events') - 1, keys %copies, 'whoever published it before');
is(scalar(grep { $_ > 1 } values %copies), 0, 'once');

my $metrics = sql($node, 'SELECT payledger.outbox_metrics()') . "\n";
my ($parsed, $error) = ('', '');
IPC::Run::run([ 'python3', '-c', <<~'PYTHON' ], '<', \$metrics, '>', \$parsed, '2>', \$error);
	import sys
	from prometheus_client.parser import text_string_to_metric_families
	for family in text_string_to_metric_families(sys.stdin.read()):
		for sample in family.samples:
			print(family.type, sample.name, sorted(sample.labels.items()), sample.value)
	PYTHON
is($error, '', 'Prometheus\' own parser reads outbox_metrics()');
for my $shard (0 .. 3)
{
	like($parsed, qr/^gauge payledger_outbox_waiting_events \[\('database', 'payledger'\), \('shard', '$shard'\)\] 0\.0$/m, "shard $shard: nothing waits");
	like($parsed, qr/^gauge payledger_relay_up \[\('database', 'payledger'\), \('shard', '$shard'\)\] 1\.0$/m, "shard $shard: the relay runs");
}
my $total = 0;
$total += $1 while $parsed =~ /^counter payledger_outbox_published_events_total \[.*\] (\d+)\.0$/mg;
is($total, sql($node, 'SELECT count(*) - 1 FROM payledger.outbox_events'), 'the counters add up');
is(() = $parsed =~ /^gauge payledger_outbox_partitions \[\('database', 'payledger'\)\] /mg, 1, 'what is the whole outbox\'s is told once');

$node->stop;
done_testing();
