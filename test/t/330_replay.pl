# Events published again, routed elsewhere, tombstones, and what happens when
# the outbox fills up.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = PayledgerKafka->new;
$kafka->topic('replayed', 4);
$kafka->topic('treasury.voids', 4);
my $node = with_stop_points(
	sub {
		new_node(
			'replay',
			'payledger.kafka_brokers' => $kafka->address,
			'payledger.delivery' => 'exactly_once',
			'payledger.relay_batch' => 20);
	});
prepare_load($node);

sub append
{
	my (@keys) = @_;

	sql($node, join '', map { "SELECT public.append_events($_, $_);" } @keys);
	return wake();
}

sub wake
{
	sql($node, "SELECT count(*) FROM payledger.create_payment_intent('WAKE', 'BUYER-1', 'EUR', '[{\"seller_id\":\"SELLER-111\",\"amount\":1}]')");
	published($node, 'appended');
	return;
}

# "key:version key:version ..." of a topic, in the order of each partition
sub versions
{
	my ($topic, $only) = @_;

	return join ' ', map { "$_->{key}:" . ($_->{value} ? $_->{value}{version} : 'none') }
	  grep { !$only || $_->{key} eq $only } $kafka->messages($topic);
}

sub wait_replay
{
	my ($id) = @_;

	wait_sql($node, "SELECT status = 'DONE' FROM payledger.replays WHERE replay_id = $id", 'the replay is done');
	return;
}

append((1 .. 30) x 3);
my $from = sql($node, 'SELECT now()');
append((1 .. 30) x 2);
my $to = sql($node, 'SELECT now()');
append(1 .. 30);

subtest 'replay to another topic' => sub {
	my $id = sql($node, "SELECT payledger.replay_events('$from', '$to', 'replayed')");

	wait_replay($id);
	is(versions('replayed', $_), "$_:4 $_:5", "key $_: what was appended in that time, in order") for 1, 30;
	my @wakes = grep { $_->{key} !~ /^\d{1,2}$/ } $kafka->messages('replayed');
	is(sql($node, "SELECT events, refused FROM payledger.replays WHERE replay_id = $id"), (60 + @wakes) . '|0', 'the row counts them');
	my ($again) = grep { $_->{key} eq '1' } $kafka->messages('replayed');
	my ($first) = grep { $_->{headers}{ce_id} eq $again->{headers}{ce_id} } $kafka->messages;
	is(delete $again->{headers}{ce_replayid}, $id, 'its header tells that it is one');
	is_deeply([ @$again{qw(key value headers)} ], [ @$first{qw(key value headers)} ], 'all else is as it was');
	is(sql($node, "SELECT count(*) FROM payledger.state_history WHERE object_id = $id"), 2, 'and its history');
};

subtest 'replay by id, to where they went, with a crash' => sub {
	my $before = $kafka->summary;
	my ($first, $last) = split /\n/, sql($node, "SELECT id FROM payledger.outbox_events WHERE seq IN (11, 60) ORDER BY seq");

	stop_at([ 'kill', 'after', 'commit', 2 ]);
	try_sql($node, "SELECT payledger.replay_events_by_id('$first', '$last')");
	wait_for(\&stop_point_reached, 'the relay is killed after its second chunk', $node);
	wait_sql($node, "SELECT status = 'DONE' FROM payledger.replays ORDER BY replay_id DESC LIMIT 1", 'the replay is done');
	is($kafka->summary->{messages}, $before->{messages} + 50, 'each of them once more, and only once');
	is(sql($node, 'SELECT events, position FROM payledger.replays ORDER BY replay_id DESC LIMIT 1'), '50|60', 'the row knows');
};

subtest 'what cannot be replayed' => sub {
	sql_fails($node, "SELECT payledger.replay_events('$to'::timestamptz, '$from')", '22023', 'after its beginning', 'the other way round');
	sql_fails($node, 'SELECT payledger.replay_events_by_id(gen_random_uuid())', 'PL007', 'not in the outbox', 'no such event');
	sql_fails($node, 'SELECT payledger.replay_events(NULL)', '22004', 'from must not be null', 'from nothing');
	sql_fails($node, "SELECT payledger.replay_events('$from', topic => 'a b')", '22023', 'cannot exist', 'no topic');
	sql_fails($node, 'SELECT payledger.cancel_replay(1)', 'PL007', 'does not exist', 'no replay');
	# a topic that is missing ends it
	my $id = sql($node, "SELECT payledger.replay_events('$from', topic => 'nowhere')");
	wait_sql($node, "SELECT status = 'CANCELLED' FROM payledger.replays WHERE replay_id = $id", 'the replay is cancelled');
	like(sql($node, "SELECT last_refusal FROM payledger.replays WHERE replay_id = $id"), qr/topic nowhere/, 'and says why');
	sql_fails($node, "SELECT payledger.cancel_replay($id)", 'PL001', 'from CANCELLED', 'cancelled again');
	append(31);
	is(versions('payledger.payment', 31), '31:1', 'then others go on');
};

subtest 'routes' => sub {
	sql($node, "SELECT payledger.route_event('payment_voided', 'treasury.voids')");
	is(sql($node, "SELECT topic, message_key FROM payledger.event_types WHERE event_type = 'payment_voided'"),
		'treasury.voids|event_key', 'event_types shows the route');
	append(32, 32);
	is(versions('treasury.voids'), '32:1 32:2', 'events go there');
	is(versions('payledger.payment', 32), '', 'and nowhere else');
	sql($node, "SELECT payledger.route_event('payment_intent_created', NULL, 'aggregateid')");
	sql($node, "SELECT payledger.route_event('payment_voided')");
	append(32);
	is(versions('payledger.payment', 32), '32:3', 'back to the default');
	is(sql($node, "SELECT count(*) FROM payledger.event_types WHERE topic <> 'payledger.' || aggregatetype"), 0, 'for all');
	sql_fails($node, "SELECT payledger.route_event('nothing_happened', 't')", '22023', 'event type "nothing_happened" does not exist', 'no such type');
	sql_fails($node, "SELECT payledger.route_event('payment_voided', 'a/b')", '22023', 'cannot exist', 'no such topic');
	sql_fails($node, "SELECT payledger.route_event('payment_voided', 't', 'seq')", '22023', 'message key "seq"', 'no such key');
};

subtest 'tombstones' => sub {
	my $id = sql($node, "SELECT payledger.publish_tombstone('payment', '32')");

	wake();
	my ($tombstone) = grep { $_->{headers}{ce_id} eq $id } $kafka->messages;
	is($tombstone->{value}, undef, 'no value');
	is("$tombstone->{topic} $tombstone->{key} $tombstone->{headers}{ce_type}", 'payledger.payment 32 payment_tombstone', 'for the key');
	is(versions('payledger.payment', 32), '32:3 32:none', 'after what went before');
	sql_fails($node, "SELECT payledger.publish_tombstone('order', '1')", '22023', 'aggregate type "order"', 'no such aggregate');
	sql_fails($node, "SELECT payledger.publish_tombstone('payment', '')", '22023', 'event_key', 'no key');
};

# Events of many transactions: what a long one appends is not counted as long
# as the cursor's snapshot has it running.
sub append_many
{
	my ($n) = @_;

	sql($node, <<~"SQL");
		DO \$\$
		BEGIN
			FOR n IN 1 .. $n LOOP
				PERFORM public.append_events(40 + n % 100, 40 + n % 100);
				IF n % 50 = 0 THEN
					COMMIT;
				END IF;
			END LOOP;
		END \$\$
		SQL
	return;
}

subtest 'the outbox fills up' => sub {
	$kafka->kill9;
	$node->append_conf('postgresql.conf', 'payledger.outbox_limit = 5000');
	$node->reload;
	my $log = -s $node->logfile;
	my $wake = "SELECT count(*) FROM payledger.create_payment_intent('WAKE', 'BUYER-1', 'EUR', '[{\"seller_id\":\"SELLER-111\",\"amount\":1}]')";

	append_many(4300);
	is(sql($node, $wake), 1, 'below the limit');
	wait_for(sub { slurp_file($node->logfile, $log) =~ /the outbox is 8\d % full/ }, 'the keeper gives an alert', $node);
	append_many(1000);
	sql_fails($node, $wake, '53400', 'the outbox is full', 'beyond the limit');
	cmp_ok(sql($node, 'SELECT limit_used FROM payledger.stat_outbox'), '>', 1, 'stat_outbox tells');
	$kafka->up;
	published($node, 'Kafka is back');
	is(sql($node, $wake), 1, 'and commands go on');
	wait_for(sub { slurp_file($node->logfile, $log) =~ /the outbox is \d+ % full again/ }, 'the alert is over', $node);
};

is(sql($node, "SELECT string_agg(check_name || ': ' || detail, ', ') FROM payledger.verify() WHERE NOT ok AND (check_name ~ 'replay|route|guarded')"), '', 'verify()');
$node->stop;
done_testing();
