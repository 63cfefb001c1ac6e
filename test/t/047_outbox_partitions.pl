# A partition of the outbox is dropped when all that is in it is published, and
# not before: an event whose transaction took longer than those that came after
# it is not, although the relay has been beyond it.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use Test::More;

my $kafka = PayledgerKafka->new(partitions => 1);
my $node = new_node('partitions', 'payledger.kafka_brokers' => $kafka->address, 'payledger.outbox_retention' => 0);

prepare_load($node);

# Whatever the keeper does at long intervals it does first of all.
sub let_the_keeper_do_everything
{
	my $pid = worker_pid($node, 'keeper');

	signal_worker($node, 'keeper', 'TERM');
	wait_sql($node, "SELECT pid <> $pid AND state = 'idle' FROM payledger.stat_worker WHERE role = 'keeper'",
		'another keeper has been through its duties');
	return;
}

sub set_brokers
{
	my ($brokers) = @_;

	$node->append_conf('postgresql.conf', "payledger.kafka_brokers = '$brokers'");
	$node->reload;
	return;
}

my $long = $node->background_psql('payledger', on_error_die => 1);

$long->query_safe('BEGIN; SELECT public.append_events(1, 1)');
sql($node, 'SELECT public.append_events(2, 2)');
my $long_no = $long->query_safe('SELECT (SELECT max(incarnation) FROM payledger.incarnations)::bigint << 48 | pg_current_xact_id()::text::bigint');
wait_sql($node, "SELECT $long_no = ANY (snapshot_xip) AND snapshot_xmax > (SELECT max(transaction_no) FROM payledger.outbox_events)
	FROM payledger.relay_cursors", 'the relay is beyond what came later, and waits for the long one');
published($node, 'what came later');

set_brokers('');
wait_sql($node, q{SELECT state LIKE 'no brokers%' FROM payledger.stat_worker WHERE role = 'relay'}, 'the relay rests');
$long->query_safe('COMMIT');
$long->quit;
sql($node, q{SELECT setval('payledger.outbox_seq', 1000000)});
let_the_keeper_do_everything();
is(sql($node, q{SELECT to_regclass('payledger.outbox_events_p2000000')}), 'payledger.outbox_events_p2000000', 'the keeper has looked after partitions');
is(sql($node, q{SELECT to_regclass('payledger.outbox_events_p0')}), 'payledger.outbox_events_p0', 'and kept the one with what is not published');

set_brokers($kafka->address);
wait_for(sub { grep { $_->{key} eq '1' } $kafka->messages('payledger.payment') }, 'Kafka gets it', $node);
published($node, 'all');
let_the_keeper_do_everything();
wait_sql($node, q{SELECT to_regclass('payledger.outbox_events_p0') IS NULL}, 'then the partition is dropped');

# ---- what others hang on a partition, for which they need no privilege but USAGE ----

sql($node, 'CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA payledger TO nobody');
my $nobody = $node->background_psql('payledger', on_error_die => 1, extra_params => [ '-U', 'nobody' ]);

$nobody->query_safe(<<~'SQL');
	CREATE TEMP TABLE leech (e payledger.outbox_events_p1000000[]);
	CREATE TEMP VIEW seen AS SELECT seq FROM payledger.outbox_events_p1000000;
	SQL
sql($node, q{SELECT setval('payledger.outbox_seq', 2000000)});
wait_sql($node, q{SELECT failing AND last_error LIKE 'cannot drop table payledger.outbox_events_p1000000%' FROM payledger.stat_worker WHERE role = 'keeper'},
	'what depends on a partition keeps it from being dropped');
wait_sql($node, q{SELECT to_regclass('payledger.outbox_events_p3000000') IS NOT NULL}, 'others are made nevertheless');
my $offences = sql($node, q{SELECT detail FROM payledger.verify() WHERE check_name = 'nothing_foreign_is_attached' AND NOT ok});
like($offences, qr/column e of table \S+\.leech keeps partition outbox_events_p1000000 from being dropped/, 'verify() reports a column');
like($offences, qr/view \S+\.seen keeps partition outbox_events_p1000000 from being dropped/, 'and a view');
$nobody->query_safe('DROP TABLE leech; DROP VIEW seen');
wait_sql($node, q{SELECT to_regclass('payledger.outbox_events_p1000000') IS NULL}, 'without them it is dropped');
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'keeper'}, 'and the keeper is well');
is(sql($node, q{SELECT count(*) FROM payledger.foreign_hooks()}), '0', 'nothing else is attached');
$nobody->quit;

$node->stop;
done_testing();
