# Events that Kafka refuses for what they are: they are parked with the reason,
# others go on, those of the same key wait or go on as the setting says, and
# an operator sends them again or gives them up.  In both modes of delivery.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = PayledgerKafka->new(settings => ['max.message.bytes=30000']);
my $properties = PostgreSQL::Test::Utils::tempdir('properties') . '/kafka';
my $node;

# The file with Kafka's properties, as the relay takes it.
sub write_properties
{
	my (@lines) = @_;
	my $before = umask 0077;

	open(my $file, '>', $properties) or die "could not write $properties: $!\n";
	print $file map { "$_\n" } @lines;
	close($file);
	umask $before;
	return;
}

sub reload
{
	my (%settings) = @_;

	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") for sort keys %settings;
	$node->reload;
	return;
}

write_properties();
$node = with_stop_points(
	sub {
		new_node('letters', 'payledger.kafka_brokers' => $kafka->address, 'payledger.kafka_config_file' => $properties);
	});
prepare_load($node);

# Events of one transaction each: key, and bytes of padding.
sub append
{
	my (@events) = @_;

	sql($node, join '', map { "SELECT public.append_events($_->[0], $_->[0], " . ($_->[1] // 0) . ');' } @events);
	# nothing but a command of the library wakes the relay
	sql($node, "SELECT count(*) FROM payledger.create_payment_intent('WAKE', 'BUYER-1', 'EUR', '[{\"seller_id\":\"SELLER-111\",\"amount\":1}]')");
	published($node, 'appended');
	return;
}

# Dead letters of a key: "version status attempts ...".
sub letters
{
	my ($key) = @_;

	return sql($node, "SELECT string_agg(version || ' ' || status || ' ' || attempts, ', ' ORDER BY seq) FROM payledger.dead_letters WHERE event_key = '$key'");
}

# Versions of a key on Kafka, in order.
sub on_kafka
{
	my ($key) = @_;

	return join ' ', map { $_->{value}{version} } grep { $_->{key} eq $key } $kafka->messages;
}

sub letter_id
{
	my ($key, $version) = @_;

	return sql($node, "SELECT dead_letter_id FROM payledger.dead_letters WHERE event_key = '$key' AND version = $version");
}

my $key = 0;
for my $mode (qw(at_least_once exactly_once))
{
	subtest $mode => sub {
		reload('payledger.delivery' => $mode, 'payledger.after_dead_letter' => 'hold');
		wait_sql($node, "SELECT delivery = '$mode' FROM payledger.relay_cursors", "delivery is $mode");

		my $bad = ++$key;
		my $undecided = sql($node, "SELECT count(*) FROM payledger.dead_letters WHERE status = 'PARKED'");
		my @good = map { ++$key } 1 .. 5;
		append([$bad], (map { [$_] } @good), [ $bad, 100000 ], [$bad], (map { [$_] } @good), [$bad]);
		is(letters($bad), '2 PARKED 1, 3 HELD 0, 4 HELD 0', 'the event too large is parked, those of its key wait');
		is(on_kafka($bad), '1', 'what came before it is on Kafka');
		is(join(', ', map { on_kafka($_) } @good), join(', ', ('1 2') x 5), 'other keys go on');
		like(sql($node, "SELECT reason FROM payledger.dead_letters WHERE event_key = '$bad' AND version = 2"),
			qr/^event \S+ was not taken by topic payledger\.payment: .*(too large|MessageSizeTooLarge)/, 'the reason is told');
		is(sql($node, 'SELECT relay_failing, dead_letters FROM payledger.stat_outbox'), 'f|' . (3 + $undecided), 'stat_outbox counts them');

		append([$bad]);
		is(letters($bad), '2 PARKED 1, 3 HELD 0, 4 HELD 0, 5 HELD 0', 'later ones wait, too');

		my $id = letter_id($bad, 2);
		is(sql($node, "SELECT payledger.retry_dead_letter($id)"), 'READY', 'retry');
		wait_sql($node, "SELECT status = 'PARKED' FROM payledger.dead_letters WHERE dead_letter_id = $id", 'it is refused again');
		is(letters($bad), '2 PARKED 2, 3 HELD 0, 4 HELD 0, 5 HELD 0', 'and parked again');
		sql_fails($node, 'SELECT payledger.retry_dead_letter(' . letter_id($bad, 3) . ')', 'PL001', 'from HELD to READY', 'one that waits');
		sql_fails($node, 'SELECT payledger.retry_dead_letter(1)', 'PL007', 'does not exist', 'no dead letter');
		sql_fails($node, "SELECT payledger.skip_dead_letter($id, '')", '22023', 'note', 'no note');

		is(sql($node, "SELECT payledger.skip_dead_letter($id, 'told by hand')"), 'SKIPPED', 'skip');
		wait_sql($node, "SELECT count(*) = 0 FROM payledger.dead_letters WHERE status = 'HELD'", 'what waited behind it is published');
		is(letters($bad), '2 SKIPPED 2, 3 PUBLISHED 0, 4 PUBLISHED 0, 5 PUBLISHED 0', 'in the table');
		is(on_kafka($bad), '1 3 4 5', 'and on Kafka, in order');
		is(sql($node, "SELECT note FROM payledger.dead_letters WHERE dead_letter_id = $id"), 'told by hand', 'with the note');
		is(sql($node, "SELECT string_agg(concat_ws(' ', to_status, cause), ', ' ORDER BY history_id) FROM payledger.state_history WHERE object_id = $id"),
			'PARKED relay, READY retry_dead_letter, PARKED relay, SKIPPED skip_dead_letter', 'and its history');
		append([$bad]);
		is(on_kafka($bad), '1 3 4 5 6', 'then the key goes on');

		# ---- put right, and sent again ----
		my $fixed = ++$key;
		write_properties('message.max.bytes=20000');
		reload();
		append([$fixed], [ $fixed, 25000 ], [$fixed], [ $fixed, 25000 ], [$fixed]);
		is(letters($fixed), '2 PARKED 1, 3 HELD 0, 4 HELD 0, 5 HELD 0', 'too large for the producer');
		my $epoch = sql($node, 'SELECT epoch FROM payledger.relay_cursors');
		write_properties();
		reload();
		wait_sql($node, "SELECT epoch > $epoch AND relay_state = 'idle' FROM payledger.relay_cursors, payledger.stat_outbox", 'a new session')
		  if $mode eq 'exactly_once';
		# killed when Kafka has it and the database does not know
		stop_at([ 'kill', 'after', 'commit', 1 ]) if $mode eq 'exactly_once';
		# it may take the session with it
		try_sql($node, 'SELECT payledger.retry_dead_letter(' . letter_id($fixed, 2) . ')');
		wait_for(\&stop_point_reached, 'the relay is killed', $node) if $mode eq 'exactly_once';
		wait_sql($node, "SELECT count(*) = 4 FROM payledger.dead_letters WHERE event_key = '$fixed' AND status = 'PUBLISHED'",
			'all are published');
		is(on_kafka($fixed), '1 2 3 4 5', 'each once, in order');

		# ---- the key goes on ----
		my $passed = ++$key;
		reload('payledger.after_dead_letter' => 'pass');
		append([$passed], [ $passed, 100000 ], [$passed], [$passed]);
		is(letters($passed), '2 PARKED 1', 'only the event too large is parked');
		is(on_kafka($passed), '1 3 4', 'those of its key go on');

		# many of them, in one window
		my @many = map { ++$key } 1 .. 60;
		sql($node, 'BEGIN;' . join('', map { "SELECT public.append_events($_, $_, " . ($_ % 20 == 0 ? 100000 : 0) . ');' } @many) . 'COMMIT');
		append([ ++$key ]);
		is(sql($node, "SELECT count(*) FROM payledger.dead_letters WHERE event_key IN (" . join(',', map { "'$_'" } @many) . ')'),
			scalar(grep { $_ % 20 == 0 } @many), 'each of them is found');
		my %letter = map { $_ => 1 } split /\n/, sql($node, "SELECT id FROM payledger.dead_letters WHERE status IN ('PARKED', 'SKIPPED')");
		my %on_kafka;
		$on_kafka{$_}++ for $kafka->ids;
		my @missing = grep { !$letter{$_} && !$on_kafka{$_} } split /\n/, sql($node, 'SELECT id FROM payledger.outbox_events');
		is(scalar(@missing), 0, 'every event is published, or a dead letter');
		is(scalar(grep { $on_kafka{$_} > 1 } keys %on_kafka), 0, 'none twice') if $mode eq 'exactly_once';
		is(scalar(grep { $letter{$_} } keys %on_kafka), 0, 'no dead letter is on Kafka');
	};
}

is(sql($node, "SELECT string_agg(check_name, ', ') FROM payledger.verify() WHERE NOT ok AND check_name LIKE 'dead%'"), '', 'verify()');
$node->stop;
done_testing();
