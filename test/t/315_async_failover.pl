# An asynchronous standby takes over that does not have the last transactions,
# though their events have been published: the new primary's relay lists them,
# publishes nothing until somebody has them retracted, and then goes on.  All
# else is on Kafka once and in order, for a consumer that heeds retractions.
# Another server's events in the same topics stay as they are, and damaged ones
# are taken for nobody's.  With one relay, and with two.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($kafka, $old, $new);

sub relay_is
{
	my ($node, $state) = @_;

	wait_sql($node, "SELECT bool_and(state = '$state') FROM payledger.stat_worker WHERE role = 'relay'", 'every relay of ' . $node->name . " is $state");
	return;
}

# What is on Kafka of this server, without dead weight.
sub on_kafka
{
	return map { { %$_, id => $_->{headers}{ce_id}, subject => $_->{headers}{ce_subject}, version => $_->{headers}{ce_sequence} } }
	  grep { $_->{headers}{ce_source} eq '/payledger/0/payledger' && $_->{headers}{ce_sequence} =~ /^[1-9]\d{0,17}\z/ } $kafka->messages;
}

# Another server with the same topics, which lives.
sub start_other
{
	my $other = new_node('other', %relay_settings, 'payledger.kafka_brokers' => $kafka->address, 'payledger.node_id' => 7);

	prepare_load($other);
	return $other;
}

# What says that it is an event of this server, and is none that a relay has written.
sub write_damaged
{
	my %event = (id => '11111111-1111-8111-8111-111111111111', type => 'payment_voided', source => '/payledger/0/payledger',
		time => 'now', subject => '1', sequence => '0');

	for my $damage (
		{ }, { sequence => '-1' }, { sequence => '99999999999999999999' }, { sequence => '1x' }, { sequence => '0', id => 'nobody' },
		{ sequence => '0', time => 'x' x 65 }, { sequence => '0', subject => 'x' x 300 }, { sequence => '0', type => "\xff" })
	{
		my %all = (%event, %$damage);

		$kafka->write_message('payledger.payment', 0, '1', '{}', map { "ce_$_=$all{$_}" } sort keys %all);
	}
	return;
}

sub place
{
	my ($message) = @_;
	return join '/', @$message{qw(topic partition offset)};
}

sub signal_relays
{
	my ($signal) = @_;
	my @pids = split /\n/, sql($old, q{SELECT pid FROM payledger.stat_worker WHERE role = 'relay'});

	kill($signal, @pids) == @pids or die "could not send $signal to the relays: $!\n";
	return;
}

# Of 20 aggregates, so of every shard.
sub append_some
{
	sql($old, 'SELECT count(public.append_events(k, k)) FROM generate_series(1, 20) AS k');
	return;
}

sub test_failover
{
	my ($shards) = @_;

	$kafka = PayledgerKafka->new(cursor_partitions => $shards);
	# With those that others of its chunk have already sent away.
	with_stop_points(
		sub {
			$old = new_node(
				"old$shards",
				'wal_level' => 'replica',
				'max_wal_senders' => 5,
				'hot_standby' => 'on',
				%relay_settings,
				'payledger.kafka_brokers' => $kafka->address,
				'payledger.delivery' => 'exactly_once',
				'payledger.relay_shards' => $shards,
				'payledger.relay_batch' => 50);
			prepare_load($old);
			$old->backup('backup');
			$new = PostgreSQL::Test::Cluster->new("new$shards");
			$new->init_from_backup($old, 'backup', has_streaming => 1);
			$new->start;
		});

	# ---- what the standby has, and what it has not ----

	start_events($old, 250);
	wait_sql($old, 'SELECT sum(published_events) > 300 FROM payledger.stat_outbox', 'events are published');
	stop_events($old);
	published($old, 'before the cut');

	# a chunk of each relay with events that the standby has and some that it has not
	signal_relays('STOP');
	append_some();
	$old->wait_for_catchup($new, 'replay', $old->lsn('insert'));
	$new->append_conf('postgresql.conf', "primary_conninfo = ''");
	$new->reload;
	wait_sql($new, 'SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)', 'the standby is cut off');
	append_some();
	my $other = $shards == 1 ? start_other() : undef;
	signal_relays('CONT');
	published($old, 'the chunk');
	start_events($old, 250);
	my $before = sql($old, 'SELECT sum(published_events) FROM payledger.stat_outbox');
	wait_sql($old, "SELECT sum(published_events) > $before + 300 FROM payledger.stat_outbox", 'events are published that will be lost');
	stop_events($old);
	published($old, 'before the failover');
	if ($other)
	{
		sql($other, 'SELECT count(public.append_events(k, k)) FROM generate_series(1, 32) AS k');
		published($other, 'the other server');
	}
	write_damaged();

	# ---- the failover ----

	$new->promote;
	relay_is($new, 'stopped at phantoms');
	my @messages = on_kafka();
	my %known = map { $_ => 1 } split /\n/, sql($new, 'SELECT id FROM payledger.outbox_events');
	my @lost = grep { !$known{ $_->{id} } } @messages;
	cmp_ok(scalar(@lost), '>', 300, 'Kafka has events that the new primary has lost');
	is( sql($new, q{SELECT string_agg(concat_ws(' ', topic || '/' || partition || '/' || record_offset, event_id, event_type, message_key, aggregateid, version), E'\n'
									  ORDER BY topic, partition, record_offset) FROM payledger.phantoms WHERE status = 'FOUND'}),
		join("\n", map { join ' ', place($_), $_->{id}, $_->{headers}{ce_type}, $_->{key}, $_->{subject}, $_->{version} }
			  sort { $a->{topic} cmp $b->{topic} || $a->{partition} <=> $b->{partition} || $a->{offset} <=> $b->{offset} } @lost),
		'each of them is listed');
	like(sql($new, q{SELECT string_agg(last_error, ' ') FROM payledger.stat_outbox}), qr/Kafka has \d+ events of transactions that this server has lost/, 'the relay says so');
	like(slurp_file($new->logfile), qr/8 messages in Kafka say that they are from \/payledger\/0\/payledger and are damaged/, 'damaged ones are not phantoms');
	is(sql($new, "SELECT count(DISTINCT payledger.event_shard(event_key, $shards)) FROM payledger.published_ahead JOIN payledger.outbox_events USING (seq)"),
		$shards, 'what it has of the lost chunks is known');

	# commits go on, and the old primary finds out
	start_events($new, 250);
	wait_sql($new, 'SELECT sum(waiting_events) > 200 FROM payledger.stat_outbox', 'events wait');
	append_some();
	wait_sql($old, "SELECT bool_and(last_error LIKE 'a server on timeline % publishes%') FROM payledger.stat_worker WHERE role = 'relay'",
		'every old relay knows that it is demoted');
	$old->stop('immediate');
	is(scalar(on_kafka()), scalar(@messages), 'nothing is published meanwhile');
	sql_fails($new, q{SELECT payledger.retract_phantoms('')}, '22023', 'note', 'no note');
	sql_fails($new, 'DELETE FROM payledger.phantoms', 'PL003', 'phantoms', 'phantoms are kept');

	# ---- the retraction, with crashes before and after its commit ----

	stop_at([ 'kill', 'before', 26, 1 ], [ 'kill', 'after', 'commit', 2 ]);
	is(sql($new, q{SELECT payledger.retract_phantoms('failover: the orders of the last second are void')}), scalar(@lost), 'retract_phantoms()');
	wait_for(\&stop_point_reached, 'the relay is killed twice', $new);
	wait_sql($new, "SELECT bool_and(status = 'RETRACTED') FROM payledger.phantoms", 'all are retracted');
	wait_sql($new, 'SELECT sum(waiting_events) < 200 FROM payledger.stat_outbox', 'events are published again');
	stop_events($new);
	published($new, 'in the end');

	# ---- what must hold ----

	my %phantom = map { place($_) => $_ } @lost;
	my %times;
	my (%versions, %retracted, @wrong);
	for my $message (sort { $a->{offset} <=> $b->{offset} } on_kafka())
	{
		my $lives = $versions{"$message->{topic}/$message->{subject}"} //= [];

		$times{ $message->{id} }++ unless $phantom{ place($message) };
		if ($message->{headers}{ce_type} =~ /_event_retracted$/)
		{
			my $data = $message->{value}{data};
			my $void = delete $phantom{ place($data) };

			push @wrong, 'retracts what is no phantom, or again: ' . place($data) unless $void;
			push @wrong, place($message) . ' is not where what it retracts is'
			  if $void && ($void->{key} ne $message->{key} || $void->{partition} != $message->{partition} || $void->{id} ne $data->{retractedEventId});
			my $of = $versions{"$message->{topic}/$data->{retractedAggregateId}"};
			@$of = grep { $_->{offset} != $data->{offset} } @$of;
			$retracted{ place($data) } = 1;
		}
		my $last = @$lives ? $lives->[-1]{version} : 0;
		push @wrong, place($message) . ": version $message->{version} of $message->{subject} follows $last" if $message->{version} != $last + 1;
		push @$lives, $message;
	}
	is(join("\n", @wrong), '', 'in order, for who heeds retractions');
	is(scalar(keys %phantom), 0, 'each phantom is retracted');
	delete $times{ $_->{id} } for grep { $retracted{ place($_) } } @lost;
	my @committed = split /\n/, sql($new, 'SELECT id FROM payledger.outbox_events');
	is(scalar(grep { ($times{$_} // 0) != 1 } @committed), 0, 'every event is on Kafka once');
	is(scalar(keys %times), scalar(@committed), 'and no other');
	# that of the one relay before there were two, and theirs
	check_cursor_chain($kafka, 'in the end', $shards == 1 ? 2 : 3);
	is(sql($new, q{SELECT string_agg(check_name || ': ' || detail, E'\n') FROM payledger.verify(true) WHERE NOT ok AND check_name NOT IN ('event_data_has_its_members', 'events_are_well_formed')}),
		'', 'verify() agrees, but for what the load makes up');
	is(sql($new, q{SELECT DISTINCT json_object_keys(payload -> 'data') AS k FROM payledger.outbox_events WHERE type LIKE '%_retracted' ORDER BY k}),
		sql($new, q{SELECT member FROM payledger.event_members() WHERE event_type = 'payment_event_retracted' ORDER BY member}), 'retractions fit their schema');
	is(sql($new, q{SELECT count(*) FROM payledger.state_history WHERE machine = 'phantom' AND to_status = 'READY' AND cause = 'retract_phantoms'}),
		scalar(@lost), 'who decided is known');

	if ($other)
	{
		is(sql($other, 'SELECT count(public.append_events(k, k)) FROM generate_series(1, 3) AS k'), 3, 'the other server goes on');
		published($other, 'the other server in the end');
		is(scalar(grep { $_->{headers}{ce_source} eq '/payledger/7/payledger' } $kafka->messages), 35, 'each of its events once, and none retracted');
		$other->stop;
	}
	$new->stop;
	return;
}

test_failover($_) for 1, 2;
done_testing();
