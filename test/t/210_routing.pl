# An authorization that a gateway did not execute goes to another one, and only
# such a one: what may have been executed never does.  What the PSP servers
# executed is the judge.

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use JSON::PP;
use PayledgerFront;
use PayledgerPsp;
use PayledgerTest;
use Test::More;

my $first = PayledgerPsp->new;
my $second = PayledgerPsp->new;
my $third = PayledgerPsp->new;
my $front = PayledgerFront->new($first->{port});
my $node = new_node('routing');

add_stripe($node, $first, base_url => $front->url, failover_after_ms => 600_000, max_attempts => 3, circuit_failures => 0);
for my $gateway ([ 'second', $second ], [ 'third', $third ])
{
	add_secrets($node, $gateway->[0] => $first->key);
	sql($node, "SELECT payledger.add_gateway('$gateway->[0]', 'stripe', '"
		  . encode_json({ base_url => $gateway->[1]->url(''), timeout_ms => 1000, retry_base_ms => 50, retry_max_ms => 400,
				lease_seconds => 6, max_attempts => 2, failover_after_ms => 600_000, rate_per_second => 0, endpoint_rate_per_second => 0 })
		  . "')");
}
$node->reload;
sql($node, "SELECT payledger.add_routing_rule('stripe', 'EUR', failover_gateways => '{second,third}')");

my $both = '{"second": "pm_card_visa", "third": "pm_card_mastercard"}';

# Creates an intent and asks for its authorization with these alternatives.
sub pay_with
{
	my ($alternatives, %arguments) = @_;

	return sql($node, <<~"SQL");
		SELECT i.payment_intent_id
		  FROM payledger.create_payment_intent('ROUTED', 'BUYER-1', 'EUR', '[{"seller_id": "SELLER-111", "amount": 1450}]') i,
		  LATERAL (SELECT payledger.request_authorization(i.payment_intent_id, 'pm_card_visa', @{[ $alternatives ? "'$alternatives'" : 'NULL' ]})) a
		SQL
}

sub alter
{
	my ($options) = @_;

	sql($node, "SELECT payledger.alter_gateway('stripe', '$options')");
	return;
}

# Where an intent is, how far, and its authorizations one after the other.
sub story
{
	my ($id) = @_;

	return sql($node, <<~"SQL");
		SELECT concat_ws(' ', i.gateway, i.status, p.gateway, p.status) || ': ' ||
			   (SELECT string_agg(concat_ws(' ', r.gateway, r.status, CASE WHEN r.status = 'REFUSED' THEN r.reply_code END),
								  ', ' ORDER BY r.psp_request_id)
				  FROM payledger.psp_requests r WHERE r.payment_id = i.payment_intent_id AND r.operation = 'AUTHORIZE')
		  FROM payledger.payment_intents i LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
		 WHERE i.payment_intent_id = $id
		SQL
}

# How often each of the servers authorized a payment.
sub authorized
{
	my ($id) = @_;

	return join ' ', map
	{
		my $psp = $_;
		scalar(() = grep { ($_->{metadata}{payment_id} // '') eq $id && $_->{authorized} } $psp->all_truth)
	} $first, $second, $third;
}

subtest 'documented as not executed, until the attempts are used up' => sub {
	$first->fault(fault => 'rate_limit_429', times => -1, match => { operation => 'create' });
	my $id = pay_with($both);
	settle($node);
	is(story($id), 'second AUTHORIZED second CAPTURED: stripe REFUSED failed_over, second SUCCEEDED', 'the second gateway took over');
	is(authorized($id), '0 1 0', 'it alone authorized');
	is(sql($node, "SELECT payload::jsonb #- '{data,paymentIntentId}' -> 'data' FROM payledger.outbox_events"
			  . " WHERE aggregateid = '$id' AND type = 'payment_intent_rerouted'"),
		'{"reason": "rate_limit", "gateway": "second", "orderId": "ROUTED", "formerGateway": "stripe"}', 'an event says so');
	is(sql($node, <<~"SQL"), 'failed over to another gateway|rate_limit', 'history and request say why');
		SELECT h.cause, r.reply_message FROM payledger.state_history h
		  JOIN payledger.psp_requests r ON r.payment_id = h.payment_id AND r.psp_request_id = h.object_id
		 WHERE h.payment_id = $id AND h.to_status = 'REFUSED'
		SQL
	is(sql($node, "SELECT routing_rule_id IS NOT NULL FROM payledger.payment_intents WHERE payment_intent_id = $id"), 't', 'by its rule');

	my $alone = pay_with(undef);
	settle($node);
	is(story($alone), 'stripe DECLINED: stripe REFUSED attempts_exhausted', 'without another payment method it ends there');

	my $last = pay_with('{"third": "pm_card_visa"}');
	settle($node);
	is(story($last), 'third AUTHORIZED third CAPTURED: stripe REFUSED failed_over, third SUCCEEDED',
		'a gateway without a payment method is passed over');

	$second->fault(fault => 'rate_limit_429', times => -1, match => { operation => 'create' });
	my $chain = pay_with($both);
	settle($node);
	is(story($chain), 'third AUTHORIZED third CAPTURED: stripe REFUSED failed_over, second REFUSED failed_over, third SUCCEEDED',
		'from one to the next');
	is(authorized($chain), '0 0 1', 'the last one authorized');

	$third->fault(fault => 'rate_limit_429', times => -1, match => { operation => 'create' });
	my $end = pay_with('{"third": "pm_card_visa"}');
	settle($node);
	is(story($end), 'third DECLINED: stripe REFUSED failed_over, third REFUSED attempts_exhausted', 'after the last one it is declined');
	$_->clear_faults for $first, $second, $third;
};

subtest 'a decline is the shopper\'s' => sub {
	my $id = sql($node, <<~"SQL");
		SELECT i.payment_intent_id
		  FROM payledger.create_payment_intent('ROUTED', 'BUYER-1', 'EUR', '[{"seller_id": "SELLER-111", "amount": 1450}]') i,
		  LATERAL (SELECT payledger.request_authorization(i.payment_intent_id, 'pm_card_chargeDeclined', '$both')) a
		SQL
	settle($node);
	is(story($id), 'stripe DECLINED: stripe REFUSED generic_decline', 'no other gateway is asked');
};

# name, fault: each of these may have been executed
for my $case (
	[ 'no answer, and not executed', { fault => 'drop_before' } ],
	[ 'no answer after execution', { fault => 'drop_after' } ],
	[ 'status 500', { fault => 'error_500' } ],
	[ 'status 503 after execution', { fault => 'error_503', execute => JSON::PP::true } ],
	[ 'a truncated answer', { fault => 'truncated', bytes => 100 } ])
{
	my ($name, $fault) = @$case;

	subtest "never after $name" => sub {
		alter('{"failover_after_ms": 0, "timeout_ms": 300}');
		$first->fault(%$fault, times => 4, match => { operation => 'create' });
		my $id = pay_with($both);
		settle($node);
		is(story($id), 'stripe AUTHORIZED stripe CAPTURED: stripe SUCCEEDED', 'it waited for the PSP it had asked');
		is(authorized($id), '1 0 0', 'which authorized once');
		$first->clear_faults;
	};
}

subtest 'unknown first, then not executed' => sub {
	# the second attempt proves nothing about the first
	alter('{"failover_after_ms": 0, "timeout_ms": 300}');
	$first->fault(fault => 'drop_after', times => 1, match => { operation => 'create' });
	$first->fault(fault => 'rate_limit_429', times => 5, match => { operation => 'create' });
	my $id = pay_with($both);
	settle($node);
	is(story($id), 'stripe AUTHORIZED stripe CAPTURED: stripe SUCCEEDED', 'it waited for the PSP it had asked');
	is(authorized($id), '1 0 0', 'which authorized once');
	$first->clear_faults;
};

subtest 'a gateway that cannot be reached' => sub {
	alter('{"failover_after_ms": 600000, "timeout_ms": 1000}');
	$front->down;
	my $patient = pay_with($both);
	wait_sql($node, "SELECT attempt >= 5 FROM payledger.psp_requests WHERE payment_id = $patient", 'it was tried often');
	like(story($patient), qr/^stripe PENDING_AUTH: stripe (READY|IN_FLIGHT)$/, 'before failover_after_ms it waits');
	alter('{"failover_after_ms": 100}');
	settle($node);
	is(story($patient), 'second AUTHORIZED second CAPTURED: stripe REFUSED failed_over, second SUCCEEDED', 'then another takes over');

	my $without = pay_with(undef);
	my $id = pay_with($both);
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'it is authorized');
	like(story($id), qr/^second /, 'by another gateway');
	like(story($without), qr/^stripe PENDING_AUTH: stripe (READY|IN_FLIGHT)$/, 'what has no alternative waits');
	$front->up;
	settle($node);
	is(story($without), 'stripe AUTHORIZED stripe CAPTURED: stripe SUCCEEDED', 'and goes on');
	is(authorized($id), '0 1 0', 'the other stays where it is');
};

subtest 'an open circuit' => sub {
	alter('{"failover_after_ms": 300, "circuit_failures": 1, "circuit_open_ms": 60000}');
	$front->down;
	my $opens = pay_with(undef);
	wait_sql($node, q{SELECT circuit = 'OPEN' FROM payledger.stat_gateway WHERE gateway = 'stripe'}, 'the circuit is open');
	my $id = create_intent($node, [1450]);
	is(sql($node, "CALL payledger.authorize($id, 'pm_card_visa', alternatives => '$both')"), 'AUTHORIZED', 'authorize() has its answer');
	is(sql($node, "SELECT attempt FROM payledger.psp_requests WHERE payment_id = $id AND gateway = 'stripe'"), 0, 'it was never sent');
	like(story($opens), qr/^stripe PENDING_AUTH: stripe (READY|IN_FLIGHT)$/, 'what has no alternative waits');
	$front->up;
	alter('{"circuit_failures": 0}');
	settle($node);
	like(story($id), qr/^second AUTHORIZED second CAPTURED: stripe REFUSED failed_over, second SUCCEEDED$/, 'captured where it was authorized');
};

subtest 'what a session holds fails over later' => sub {
	alter('{"failover_after_ms": 300}');
	$front->down;
	my $id = pay_with($both);
	my $session = $node->background_psql('payledger');
	$session->query_safe("BEGIN; SELECT FROM payledger.payment_intents WHERE payment_intent_id = $id FOR UPDATE");
	my $beside = pay_with($both);
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $beside", 'another one fails over');
	like(story($id), qr/^stripe PENDING_AUTH: stripe (READY|IN_FLIGHT)$/, 'this one does not while it is held');
	$session->query_safe('COMMIT');
	$session->quit;
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'now it is');
	$front->up;
	settle($node);
};

check_books($node, 'in the end', psp => $first);
check_psp($node, $second, 'second', 'second');
check_psp($node, $third, 'third', 'third');

done_testing();
