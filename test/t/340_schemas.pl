# Every event that is published fits the JSON Schema and the AsyncAPI document
# that are generated from the catalogue, checked by somebody else's validator.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerKafka;
use PayledgerTest;
use Test::More;

my $kafka = PayledgerKafka->new;
my $node = new_node('schemas', 'payledger.kafka_brokers' => $kafka->address);

sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
	SELECT payledger.set_payout_terms('SELLER-111', 'EUR', 'ba_ok', available_from => 'capture');
	SQL

# ---- one of everything ----

my $paid = create_authorized($node, 'pm_ok', [ 10000, 5000 ]);
create_authorized($node, 'pm_declined', [1000]);
sql($node, 'SELECT payledger.cancel_payment_intent(' . create_intent($node, [1000]) . ')');
my $void = create_authorized($node, 'pm_ok', [700], capture_method => 'manual');
sql($node, "SELECT payledger.void_payment($void)");
my $refund_fails = create_authorized($node, 'pm_refund_fails', [2000]);
my $capture_fails = create_authorized($node, 'pm_capture_fails', [2000]);
settle($node);

# "Mit Ümlauten \"…\"": what needs escaping
sql($node, <<~"SQL");
	SET payledger.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
	SELECT payledger.refund(payment_order_id, 450, E'Mit \\u00dcmlauten und "\\\\"')
	  FROM payledger.payment_orders WHERE payment_id = $paid AND seller_id = 'SELLER-222';
	SELECT payledger.refund(payment_order_id, 100) FROM payledger.payment_orders WHERE payment_id = $refund_fails;
	SELECT payledger.open_dispute(payment_order_id, 1000, 'du_1', fee => 1500)
	  FROM payledger.payment_orders WHERE payment_id = $paid AND seller_id = 'SELLER-111';
	SELECT payledger.close_dispute(dispute_id, 'LOST') FROM payledger.disputes;
	SELECT payledger.request_payout('SELLER-111', 'EUR', 100);
	SELECT payledger.import_settlement('sandbox', 'R-1', '[{"line_type": "capture", "psp_reference": "unknown", "gross": 100, "fee": 0, "net": 100, "currency": "EUR"}]');
	SELECT payledger.reconcile_settlement('R-1');
	SELECT payledger.publish_tombstone('payment', '1');
	SQL
settle($node);

# ---- what was published, by an independent validator ----

my $document = sql($node, 'SELECT payledger.asyncapi()');
my ($counts, @offences) = $kafka->validate($document);
is(join("\n", @offences), '', 'every message fits');
is_deeply(
	[ grep { !$counts->{$_} } split /\n/, sql($node, 'SELECT event_type FROM payledger.event_types ORDER BY event_type') ],
	[qw(ledger_event_retracted ledger_tombstone payment_event_retracted payment_intent_rerouted payout_event_retracted payout_tombstone)],
	'messages of every type but those that another test has') or diag(JSON::PP->new->canonical->encode($counts));

subtest 'the validator sees what is wrong' => sub {
	my $strict = JSON::PP->new->decode($document);
	my $schemas = $strict->{components}{schemas};

	delete $schemas->{payout_requested}{properties}{data}{properties}{sellerId};
	$schemas->{payment_voided}{properties}{version}{minimum} = 1000;
	delete $strict->{channels}{'payledger.payment'}{messages}{refund_finalized};
	my ($same, @found) = $kafka->validate(JSON::PP->new->encode($strict));
	is_deeply($same, $counts, 'the same messages');
	ok((grep { /payledger\.payout .*value \$\.data\.sellerId: is not described/ } @found), 'an unknown member');
	ok((grep { /value \$\.version: \d+ is less than the minimum/ } @found), 'a wrong value');
	ok((grep { /is a refund_finalized, which the document does not list/ } @found), 'an unknown type');
};

# ---- the document ----

my $api = JSON::PP->new->decode($document);
is($api->{asyncapi}, '3.0.0', 'AsyncAPI 3');
is_deeply([ sort keys %{ $api->{channels} } ], [qw(payledger.ledger payledger.payment payledger.payout)], 'a channel a topic');
sql($node, "SELECT payledger.route_event('payout_finalized', 'treasury')");
$api = JSON::PP->new->decode(sql($node, 'SELECT payledger.asyncapi()'));
is_deeply([ keys %{ $api->{channels}{treasury}{messages} } ], ['payout_finalized'], 'routes are in it');
sql_fails($node, "SELECT payledger.event_schema('nothing')", '22023', 'event type "nothing" does not exist', 'no such type');

is(sql($node, "SELECT detail FROM payledger.verify(true) WHERE check_name = 'event_data_has_its_members' AND NOT ok"), '',
	'verify() agrees');
$node->stop;
done_testing();
