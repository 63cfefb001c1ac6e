# A synchronous standby takes over while the old primary is still alive and
# has clients: the events of both are on Kafka once and in order, and the old
# primary publishes nothing that the new one does not have.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# an hour must not end for a busy machine
$PayledgerTest::TIMEOUT = 400 if $ENV{TORTURE_PROMOTIONS};

my $kafka = PayledgerKafka->new;
my $old = with_stop_points(
	sub {
		new_node(
			'old',
			'wal_level' => 'replica',
			'max_wal_senders' => 5,
			'hot_standby' => 'on',
			%relay_settings,
			'payledger.kafka_brokers' => $kafka->address,
			'payledger.delivery' => 'exactly_once',
			'payledger.relay_batch' => 100);
	});

prepare_load($old);
wait_sql($old, "SELECT state = 'idle' FROM payledger.stat_worker WHERE role = 'relay'", 'the relay has begun');

# A synchronous standby of the server, running.
sub standby_of
{
	my ($primary, $name) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup("backup_$name");
	$standby->init_from_backup($primary, "backup_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$standby->start;
	$primary->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
	$primary->reload;
	wait_sql($primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'", 'there is a synchronous standby');
	return $standby;
}

# ---- the last thing that the standby has is the last that was published ----

{
	my $new = standby_of($old, 'last');

	stop_at([ 'stop', 'after', 'commit', 1 ]);
	sql($old, 'SELECT public.append_events(1, 2)');
	wait_for(\&stop_point_reached, 'the events are published, the row of the cursor is not moved', $old);
	$new->promote;
	wait_sql($new, "SELECT state = 'idle' AND last_error IS NULL FROM payledger.stat_worker WHERE role = 'relay'",
		"the standby's relay has begun");
	sql($new, 'SELECT public.append_events(1, 2)');
	kill('CONT', worker_pid($old, 'relay'));
	$old->stop('immediate');
	is(check_exactly_once($new, $kafka, 'at the end of the timeline'), 4, 'all of them');
	$old = $new;
}

my $tps = $ENV{TORTURE_TPS} // 250;
my $rounds = $ENV{TORTURE_PROMOTIONS} // 1;
my $events = 0;
for my $round (1 .. $rounds)
{
	my $new = standby_of($old, "new$round");

	start_events($old, $tps);
	my $published = sql($old, 'SELECT published_events FROM payledger.stat_outbox');
	wait_sql($old, "SELECT published_events > $published + 500 FROM payledger.stat_outbox", 'events are published');
	$new->promote;
	wait_sql($new, "SELECT state IN ('idle', 'publishing') FROM payledger.stat_worker WHERE role = 'relay'",
		"the standby's relay has begun");
	start_events($new, $tps);

	# the old primary waits for a standby that is none any more, and publishes nothing
	wait_sql($old, "SELECT state = 'waiting for a synchronous standby' FROM payledger.stat_worker WHERE role = 'relay'",
		'the old relay waits');
	# then somebody makes it go on
	$old->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$old->reload;
	wait_sql($old, "SELECT last_error LIKE 'a server on timeline % publishes%' FROM payledger.stat_worker WHERE role = 'relay'",
		'the old relay knows that it is demoted');
	ok(1, "round $round: the old primary stopped to publish");

	stop_events($old, cut_off => 1);
	$old->stop('immediate');
	stop_events($new);
	$events = check_exactly_once($new, $kafka, "round $round");
	$old = $new;
}
check_cursor_chain($kafka, 'in the end');
diag('torture: ' . (Test::More->builder->is_passing ? 'survived' : 'DID NOT SURVIVE')
	  . " $rounds promotions of a synchronous standby with the old primary alive; $events events") if $ENV{TORTURE_PROMOTIONS};
$old->stop;
done_testing();
