# A stock Debezium connector, configured as docs/debezium.md says, publishes
# the same messages as the relay, byte for byte.

use strict;
use warnings FATAL => 'all';
use utf8;

use Encode qw(encode_utf8);
use PayledgerKafka;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $engine = "$PayledgerTest::TEST_DIR/debezium/engine";
my $engine_dir = PostgreSQL::Test::Utils::tempdir('debezium') . '/engine';
my %manual = _blocks("$PayledgerTest::TEST_DIR/../docs/debezium.md");

system($engine, 'install') == 0 or BAIL_OUT('no Debezium');
my $kafka = PayledgerKafka->new;
my @aggregates = qw(payment ledger payout);
$kafka->topic("debezium.$_", 4) for @aggregates;

# no brokers at first: the relay has nothing to do
my $node = new_node(
	'debezium',
	'listen_addresses' => '127.0.0.1',
	'wal_level' => 'logical',
	'max_wal_senders' => 4,
	'max_replication_slots' => 4,
	'payledger.delivery' => 'exactly_once');

# The text of the last code block in each language.
sub _blocks
{
	my ($file) = @_;
	return slurp_file($file) =~ /^```(\w+)\n(.*?)^```$/msg;
}

sub start_debezium
{
	my %mine = (
		'database.port' => $node->port,
		'database.password' => 'none',
		'database.dbname' => $PayledgerTest::DATABASE,
		'transforms.outbox.route.topic.replacement' => 'debezium.${routedByValue}',
		'offset.storage' => 'org.apache.kafka.connect.storage.FileOffsetBackingStore',
		'offset.storage.file.filename' => "$engine_dir.offsets");
	my $file = "$engine_dir.properties";

	unlink $file;
	append_to_file($file, $manual{properties} . join '', map { "$_=$mine{$_}\n" } sort keys %mine);
	system($engine, 'start', $engine_dir, $file, $kafka->address) == 0 or die "could not start Debezium\n";
	return;
}

sub stop_debezium
{
	return system($engine, 'stop', $engine_dir);
}

END
{
	my $code = $?;

	stop_debezium() if defined $engine_dir && -e "$engine_dir/pid";
	$? = $code;
}

sub debezium_has_all
{
	my $n = sql($node, 'SELECT count(*) FROM payledger.outbox_events');
	my $seen = 0;

	wait_for(
		sub {
			$seen = () = $kafka->bytes(map { "debezium.$_" } @aggregates);
			die slurp_file("$engine_dir/engine.log") if slurp_file("$engine_dir/engine.log") =~ /^ended/m;
			return $seen >= $n;
		},
		"Debezium has published $n events", $node);
	return;
}

# "topic key subject" => the messages of that aggregate, in order, as if the
# topics had the relay's names.  A seller's ledger entries have one key, but are
# aggregates of their own: if their transactions overlap, neither is first.
sub by_aggregate
{
	my ($prefix) = @_;
	my %messages;

	for my $line ($kafka->bytes(map { "$prefix.$_" } @aggregates))
	{
		my ($topic, $rest) = $line =~ /^$prefix\.(\w+) (.*)$/;
		my $key = (split / /, $rest)[2];
		my ($subject) = $rest =~ / ce_subject=(\w+)/ or die "no subject: $rest\n";
		push @{ $messages{"$topic $key $subject"} }, $rest;
	}
	return \%messages;
}

# ---- one of everything ----

my $odd = encode_utf8('Ünï☃😀 "\\" \\u00e4 -');

sub events
{
	my ($n) = @_;
	my $order = "$odd$n";

	my $paid = do {
		local $ENV{PGOPTIONS} = '-c payledger.traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
		create_authorized($node, 'pm_ok', [ 10000, 5000 ], order_id => "$order-1");
	};
	create_authorized($node, 'pm_declined', [1000]);
	sql($node, 'SELECT payledger.cancel_payment_intent(' . create_intent($node, [1000]) . ')');
	my $void = create_authorized($node, 'pm_ok', [700], capture_method => 'manual');
	sql($node, "SELECT payledger.void_payment($void)");
	my $refund_fails = create_authorized($node, 'pm_refund_fails', [2000]);
	create_authorized($node, 'pm_capture_fails', [2000]);
	settle($node);
	sql($node, <<~"SQL");
		SELECT payledger.refund(payment_order_id, 450, '$odd')
		  FROM payledger.payment_orders WHERE payment_id = $paid AND seller_id = 'SELLER-222';
		SELECT payledger.refund(payment_order_id, 100) FROM payledger.payment_orders WHERE payment_id = $refund_fails;
		SELECT payledger.open_dispute(payment_order_id, 1000, 'du_$n', fee => 1500)
		  FROM payledger.payment_orders WHERE payment_id = $paid AND seller_id = 'SELLER-111';
		SELECT payledger.close_dispute(dispute_id, 'LOST') FROM payledger.disputes WHERE status = 'NEEDS_RESPONSE';
		SELECT payledger.request_payout('SELLER-111', 'EUR', 100);
		SELECT payledger.import_settlement('sandbox', 'R-$n', '[{"line_type": "capture", "psp_reference": "unknown", "gross": 100, "fee": 0, "net": 100, "currency": "EUR"}]');
		SELECT payledger.reconcile_settlement('R-$n');
		SELECT payledger.publish_tombstone('payment', '$paid'), payledger.publish_tombstone('ledger', 'SELLER-111'),
			   payledger.publish_tombstone('payout', 'SELLER-111');
		SQL
	settle($node);
	return;
}

sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
	SELECT payledger.set_payout_terms('SELLER-111', 'EUR', 'ba_ok', available_from => 'capture');
	SQL
sql($node, $manual{sql} =~ s/PASSWORD '\.\.\.'/PASSWORD 'none'/r);

# what Debezium finds in the table, what it gets as it is committed, and what
# was committed while it was away
events(1);
start_debezium();
debezium_has_all();
events(2);
debezium_has_all();
is(stop_debezium(), 0, 'Debezium stops');
events(3);
start_debezium();
debezium_has_all();
stop_debezium();

$node->append_conf('postgresql.conf', "payledger.kafka_brokers = '" . $kafka->address . "'");
$node->reload;
settle($node);

# ---- the comparison ----

my ($relay, $debezium) = (by_aggregate('payledger'), by_aggregate('debezium'));
my @relay = map { @$_ } values %$relay;
my %types = map { pack('H*', /ce_type=(\w+)/ ? $1 : '') => 1 } @relay;

is(scalar(@relay), sql($node, 'SELECT count(*) FROM payledger.outbox_events'), 'the relay has published all');
is_deeply([ grep { !$types{$_} } split /\n/, sql($node, 'SELECT event_type FROM payledger.event_types ORDER BY event_type') ],
	[qw(ledger_event_retracted payment_event_retracted payment_intent_rerouted payout_event_retracted)],
	'events of every type but those of a failover');
cmp_ok(scalar(grep { index($_, unpack('H*', encode_utf8('Ünï☃😀'))) >= 0 } @relay), '>', 3, 'some have text beyond ASCII');
is(scalar(grep { (split)[3] eq '-' } @relay), 9, 'tombstones are among them');

# Debezium's router has no way to leave a header out
my $nulls = 0;
for my $messages (values %$debezium)
{
	$nulls += s/ traceparent=-$// for @$messages;
}
is($nulls, scalar(grep { !/ traceparent=/ } @relay), 'where the relay sends no traceparent, Debezium sends a null');
cmp_ok(scalar(grep { / traceparent=\w/ } @relay), '>=', 30, 'others have one');

is_deeply([ sort keys %$debezium ], [ sort keys %$relay ], 'the same topics, keys and aggregates');
my @different;
for my $aggregate (sort keys %$relay)
{
	my ($ours, $theirs) = ($relay->{$aggregate}, $debezium->{$aggregate} // []);

	push @different, map { "relay:    " . ($ours->[$_] // 'nothing') . "\nDebezium: " . ($theirs->[$_] // 'nothing') }
	  grep { ($ours->[$_] // '') ne ($theirs->[$_] // '') } 0 .. (@$ours > @$theirs ? $#$ours : $#$theirs);
}
is(scalar(@different), 0, 'of each aggregate the same partition, times, values and headers in the same order') or diag($different[0]);

$node->stop;
done_testing();
