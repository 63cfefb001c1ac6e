# What others write to Kafka, and what kills the relay: records of the cursor's
# topic that no relay has written, another server with the same node id, a topic
# that is deleted, an event that kills, a lock that anybody may take.  The relay
# neither dies of it again and again nor believes it; it says what is wrong, and
# the way out that it names leads out.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->canonical;
my $kafka = PayledgerKafka->new(partitions => 1);
my $node = with_stop_points(
	sub {
		new_node(
			'hostile', %relay_settings,
			'payledger.kafka_brokers' => $kafka->address,
			'payledger.delivery' => 'exactly_once');
	});

my $reloads = 0;

# Changes settings; the relay begins another session in any case.
sub anew
{
	my ($server, %settings) = @_;
	# the order of the brokers means nothing, but the relay does not know that
	my $brokers = join ',', ($kafka->address) x (1 + ++$reloads % 2);

	$server->append_conf('postgresql.conf', "$_ = '$settings{$_}'") for sort keys %settings;
	$server->append_conf('postgresql.conf', "payledger.kafka_brokers = '$brokers'");
	$server->reload;
	return;
}

sub goes_on
{
	my ($server, $name) = @_;

	sql($server, 'SELECT public.append_events(1, 2)');
	wait_sql($server, 'SELECT NOT EXISTS (SELECT FROM payledger.unpublished_events) AND NOT relay_failing FROM payledger.stat_outbox',
		"$name: it goes on");
	pass("$name: it goes on");
	return;
}

prepare_load($node);
goes_on($node, 'at first');

# ---- records that no relay has written ----

subtest 'damaged records' => sub {
	my ($key, $good);
	$kafka->each_cursor(sub { my ($message) = @_; ($key, $good) = @$message{qw(key value)} unless $message->{key} =~ /claim/ });

	# the good one with another member; undef takes it away
	my $with = sub {
		my ($member, $value) = @_;
		my $record = $json->decode($good);

		defined $value ? ($record->{$member} = ref $value eq 'SCALAR' ? $$value : $value) : delete $record->{$member};
		return $json->encode($record);
	};
	my $batch = $json->decode($good)->{batch};
	my $ahead = sub {
		my %members = @_;
		my $record = $json->decode($good);

		@$record{ keys %members, 'batch' } = (values %members, $batch + 7);
		return $json->encode($record);
	};
	my @damaged = (
		'no JSON' => 'nonsense',
		'cut off' => substr($good, 0, length($good) / 2),
		'empty' => '',
		'no object' => '[1,2,3]',
		'a scalar' => '17',
		'a zero byte' => "$good\0",
		'not UTF-8' => $good =~ s/"payledger\./"\xff\xfe/r,
		'nested deeply' => $with->('more', undef) =~ s/\}\z/',"more":' . '[' x 100000 . ']' x 100000 . '}'/er,
		'large' => $good =~ s/\}\z/',"more":"' . 'x' x 900000 . '"}'/er . "\0",
		'no batch' => $with->('batch', undef),
		'batch of another type' => $with->('batch', 'many'),
		'negative batch' => $with->('batch', -1),
		'large batch' => $with->('batch', '9223372036854775807'),
		'largest epoch' => $with->('epoch', 2147483647),
		'negative epoch' => $with->('epoch', -2),
		'no timeline' => $with->('timeline', 0),
		'no position in the WAL' => $with->('lsn', 'nowhere'),
		'another hash' => $with->('previous', 'abc'),
		'negative partition' => $with->('positions', { 't' => { -1 => 1 } }),
		'large partition' => $with->('positions', { 't' => { 200000000 => 1 } }),
		'largest partition' => $with->('positions', { 't' => { 2147483647 => 1 } }),
		'no partition' => $with->('positions', { 't' => { 'x' => 1 } }),
		'negative offset' => $with->('positions', { 't' => { 0 => -1 } }),
		'large offset' => $with->('positions', { 't' => { 0 => '92233720368547758070' } }),
		'no topic' => $with->('positions', { q(t"x) => { 0 => 1 } }),
		'long topic' => $with->('positions', { 'x' x 250 => { 0 => 1 } }),
		'topics in a list' => $with->('positions', [ 1, 2 ]),
		'many topics' => $with->('positions', { map { ("t$_" => {}) } 1 .. 5000 }),
		'a snapshot without bounds' => $with->('snapshot_xip', [ 3, 4 ]),
		'a snapshot of another type' => $with->('snapshot_xip', { 3 => 4 }),
		'a snapshot of nulls' => $with->('snapshot_xip_start', [undef]),
		'a snapshot to come' => $ahead->(snapshot_xmax => 1 << 60),
		'events to come' => $ahead->(window_start => 1 << 40),
		'half a window' => $with->('next_xmax', 1 << 50),
		'dead letters of another type' => $ahead->(dead_letters => { 1 => 2 }));

	while (my ($name, $value) = splice @damaged, 0, 2)
	{
		my $before = sql($node, q{SELECT coalesce(last_error, '') FROM payledger.stat_worker WHERE role = 'relay'});

		$kafka->write_message('payledger.cursor', 0, $key, $value);
		anew($node);
		wait_sql($node, "SELECT state = 'stopped' AND last_error <> '$before' AND last_error LIKE 'the record at offset % of topic payledger.cursor is damaged'"
			  . q{ FROM payledger.stat_worker WHERE role = 'relay'}, "$name: the relay says that it is damaged");
		pass("$name: damaged");
	}
	is(sql($node, q{SELECT failing AND errors >= 10 FROM payledger.stat_worker WHERE role = 'relay'}), 't', 'it is visible');
	like(slurp_file($node->logfile), qr/HINT:  Set payledger.delivery = at_least_once: the relay goes on from payledger.relay_cursors/, 'the way out is named');
	unlike(slurp_file($node->logfile), qr/terminated by signal|invalid memory alloc|out of range/, 'nothing died of it');

	# others' keys mean nothing; without any a topic that is compacted takes none
	$kafka->write_message('payledger.cursor', 0, $_, '{"epoch":2147483647}') for "$key.x", 'x' x 5000, '0.0.0.0.0', '1.2', "0.18446744073709551616.1.0.$key";
	$kafka->write_message('payledger.cursor', 0, "$key/claim/99999999999", '{"timeline":1,"epoch":1}');

	# the way out, and the way back
	anew($node, 'payledger.delivery' => 'at_least_once');
	goes_on($node, 'at least once');
	anew($node, 'payledger.delivery' => 'exactly_once');
	goes_on($node, 'exactly once again');
	is(sql($node, 'SELECT delivery FROM payledger.relay_cursors'), 'exactly_once', 'the record counts again');

	# a claim by nobody is taken back with a message without a value
	$kafka->write_message('payledger.cursor', 0, "$key/claim/7", '{"timeline":7,"epoch":1}');
	anew($node);
	wait_sql($node, q{SELECT last_error LIKE 'a server on timeline 7 publishes%' FROM payledger.stat_worker WHERE role = 'relay'}, 'a claim is heeded');
	like(slurp_file($node->logfile), qr/send a message without a value with the key \Q$key\E\/claim\/7 to partition 0 of topic payledger.cursor/, 'the hint');
	$kafka->write_message('payledger.cursor', 0, "$key/claim/7", undef);
	anew($node);
	goes_on($node, 'taken back');
};

# ---- two servers with one node id ----

subtest 'another server' => sub {
	my $other = new_node('other', 'payledger.kafka_brokers' => $kafka->address, 'payledger.delivery' => 'at_least_once');
	my $refused = sub {
		my ($name) = @_;

		wait_sql($other, q{SELECT last_error = 'another server publishes with payledger.node_id 0' AND failing FROM payledger.stat_worker WHERE role = 'relay'},
			"$name: it stops");
		is(scalar(grep { $_->{headers}{ce_source} ne '/payledger/0/payledger' || $_->{key} eq '777' } $kafka->messages), 0, "$name: nothing of it is sent");
		return;
	};

	prepare_load($other);
	sql($other, q{INSERT INTO public.relay_load VALUES (777); SELECT public.append_events(777, 777)});
	$refused->('at least once');
	anew($other, 'payledger.delivery' => 'exactly_once');
	wait_sql($other, q{SELECT state LIKE 'stopped%' FROM payledger.stat_worker WHERE role = 'relay'}, 'it stops again');
	$refused->('exactly once');
	like(slurp_file($other->logfile), qr/HINT:  Set payledger.node_id to a number that no other server with these topics has, and restart/, 'the hint');
	anew($node);
	goes_on($node, 'the first');

	$other->append_conf('postgresql.conf', 'payledger.node_id = 1');
	$other->restart;
	sql($other, 'SELECT public.append_events(777, 777)');
	goes_on($other, 'with an id of its own');
	is(join(' ', map { $_->{headers}{ce_source} } grep { $_->{key} eq '777' } $kafka->messages), '/payledger/0/payledger /payledger/1/payledger', 'its events say which server');

	# what was published under the former id is known under the next
	$other->append_conf('postgresql.conf', 'payledger.node_id = 2');
	$other->restart;
	goes_on($other, 'with another id');
	anew($node);
	goes_on($node, 'the first again');
	is(scalar(grep { $_->{key} eq '777' } $kafka->messages), 2, 'nothing is repeated');
	$other->stop;
};

# ---- a topic is deleted ----

subtest 'a topic is deleted' => sub {
	$kafka->topic('payledger.gone', 1);
	sql($node, q{SELECT payledger.route_event('payment_intent_created', topic => 'payledger.gone')});
	create_intent($node, [1450]);
	goes_on($node, 'with its topic');
	$kafka->delete_topic('payledger.gone');
	create_intent($node, [1450]);
	wait_sql($node, q{SELECT last_error = 'topic payledger.gone does not exist' FROM payledger.stat_worker WHERE role = 'relay'}, 'the right topic is named');
	unlike(slurp_file($node->logfile), qr/payledger\.cursor takes no events/, 'and no other');
	$kafka->topic('payledger.gone', 1);
	anew($node);
	goes_on($node, 'with its topic again');
};

# ---- an event that kills ----

subtest 'an event that kills' => sub {
	my $restarts = sub { return scalar(() = slurp_file($node->logfile) =~ /terminated by signal 9/g) };

	# in a chunk with others, then alone: an accident
	stop_at(([ 'kill', 'before', 'key:78', 1 ]) x 2);
	sql($node, 'SELECT count(public.append_events(k, k)) FROM generate_series(71, 80) AS k');
	wait_for(\&stop_point_reached, 'the relay was killed twice', $node);
	published($node, 'after two accidents');
	is(sql($node, 'SELECT count(*) FROM payledger.dead_letters'), 0, 'no dead letter');

	# and alone again
	my $before = $restarts->();
	stop_at(([ 'kill', 'before', 'key:77', 1 ]) x 3);
	sql($node, 'SELECT count(public.append_events(k, k)) FROM generate_series(71, 80) AS k');
	wait_for(\&stop_point_reached, 'the relay was killed three times', $node);
	published($node, 'after three deaths');
	is($restarts->() - $before, 3, 'it died three times');
	is(sql($node, q{SELECT string_agg(concat_ws(' ', status, event_key, reason), E'\n') FROM payledger.dead_letters}),
		'PARKED 77 the relay died twice while it sent this event alone', 'the event is a dead letter, and no other');
	sql($node, 'SELECT payledger.retry_dead_letter(dead_letter_id) FROM payledger.dead_letters');
	wait_sql($node, q{SELECT bool_and(status = 'PUBLISHED') FROM payledger.dead_letters}, 'it is sent again when somebody says so');

	$node->restart;
	wait_for(sub { my ($file) = glob($node->data_dir . '/payledger.relay_*'); $file && -s $file }, 'the relay has begun', $node);
	is(join(' ', glob($node->data_dir . '/payledger.relay_*')) =~ s/.*\///r, sql($node, q{SELECT 'payledger.relay_' || oid || '_0' FROM pg_database WHERE datname = 'payledger'}),
		'a file says what is sent');
	is(slurp_file(glob($node->data_dir . '/payledger.relay_*')) =~ /^S/, '', 'nothing is under way');
};

# ---- a lock that anybody may take ----

subtest 'a lock' => sub {
	sql($node, 'CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA payledger TO nobody');
	my $pid = fork() // die "could not fork: $!\n";

	if (!$pid)
	{
		exec('psql', '-Xqt', '-U', 'nobody', '-d', $node->connstr('payledger'), '-o', '/dev/null', '-c',
			q{SELECT pg_advisory_lock(hashtextextended('payledger.relay', 0)), pg_advisory_lock(x'706c6472'::int, 0),
				pg_advisory_lock((x'706c6472'::bigint << 32)), pg_sleep(600)});
	}
	wait_sql($node, q{SELECT count(*) = 3 FROM pg_locks WHERE locktype = 'advisory' AND objsubid IN (1, 2)}, 'somebody has locks');
	my $old = signal_worker($node, 'relay', 'TERM');
	wait_for(sub { my $new = worker_pid($node, 'relay'); return $new && $new != $old }, 'there is another relay', $node);
	goes_on($node, 'with locks of others');
	kill('TERM', $pid);
	waitpid($pid, 0);
};

$node->stop;
done_testing();
