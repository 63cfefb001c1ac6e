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

my $kafka = PayledgerKafka->new;
my $old = new_node(
	'old',
	'wal_level' => 'replica',
	'max_wal_senders' => 5,
	'hot_standby' => 'on',
	'fsync' => 'on',
	'payledger.kafka_brokers' => $kafka->address,
	'payledger.delivery' => 'exactly_once',
	'payledger.relay_batch' => 100);

prepare_load($old);

my $tps = $ENV{TORTURE_TPS} // 250;
my $rounds = $ENV{TORTURE_PROMOTIONS} // 1;
for my $round (1 .. $rounds)
{
	my $new = PostgreSQL::Test::Cluster->new("new$round");

	$old->backup("backup$round");
	$new->init_from_backup($old, "backup$round", has_streaming => 1);
	$new->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$new->start;
	$old->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
	$old->reload;
	wait_sql($old, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'", 'there is a synchronous standby');

	start_events($old, $tps);
	wait_sql($old, 'SELECT published_events > 500 * ' . $round . ' FROM payledger.stat_outbox', 'events are published');
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
	check_exactly_once($new, $kafka, "round $round");
	$old = $new;
}
check_cursor_chain($kafka, 'in the end');
$old->stop;
done_testing();
