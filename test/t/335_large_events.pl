# A chunk ends when its messages have 8 MB, of new events and of those that are
# published again: nothing is left out where it ends, and nothing comes twice.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use Test::More;

my $kafka = PayledgerKafka->new;
$kafka->topic('replayed', 4);
my $node = new_node('large', 'payledger.kafka_brokers' => $kafka->address, 'payledger.delivery' => 'exactly_once');
prepare_load($node);

# 40 events of 400 kB and a bit, 17 MB, which one chunk could have by number
sql($node, 'SELECT count(public.append_events(k, k, 400000)) FROM generate_series(1, 40) AS k');
check_exactly_once($node, $kafka, 'new events');

my $id = sql($node, q{SELECT payledger.replay_events('-infinity', now(), 'replayed')});
wait_sql($node, "SELECT status = 'DONE' FROM payledger.replays WHERE replay_id = $id", 'the replay is done');
is(join(' ', sort map { $_->{headers}{ce_id} } $kafka->messages('replayed')),
	sql($node, q{SELECT string_agg(id::text, ' ' ORDER BY id::text COLLATE "C") FROM payledger.outbox_events}), 'all are published again, each once');

my %sizes;
$kafka->each_cursor(
	sub {
		my ($message) = @_;
		my $record = JSON::PP->new->decode($message->{value});

		push @{ $sizes{new} }, $record->{events} if $record->{events};
		push @{ $sizes{again} }, $record->{replayed} if $record->{replayed};
	});
for my $kind (qw(new again))
{
	cmp_ok(scalar(@{ $sizes{$kind} }), '>=', 2, "more than one chunk, $kind: @{ $sizes{$kind} }");
	is(scalar(grep { $_ > 21 } @{ $sizes{$kind} }), 0, "none of more than 8 MB and an event, $kind");
}

$node->stop;
done_testing();
