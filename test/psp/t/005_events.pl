# Stripe's events and webhooks, transfers, disputes and expiry.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $psp = PspServer->new('--stripe-webhook-secret', 'whsec_1', '--stripe-webhook-secret', 'whsec_2');
my $path = '/v1/payment_intents';
my $seen = 0;

# The events that came since the last call.
sub events
{
	my @webhooks = $psp->webhooks($seen, psp => 'stripe');

	$seen = $webhooks[-1]{seq} if @webhooks;
	return map { JSON::PP::decode_json($_->{body}) } @webhooks;
}

# The same, only their types.
sub types
{
	return join ' ', map { $_->{type} } events();
}

# Creates and confirms an intent; returns it.
sub pay
{
	my ($method, @more) = @_;
	my $reply = $psp->api('POST', $path,
		[ amount => 2900, currency => 'eur', confirm => 'true', payment_method => "pm_card_$method",
			'metadata[payment_id]' => 7, @more ], key => rand)->{json};

	return $reply->{error} ? $reply->{error}{payment_intent} : $reply;
}

my @manual = (capture_method => 'manual', 'payment_method_options[card][request_multicapture]' => 'if_available');

subtest 'payments' => sub {
	my $intent = pay('visa', @manual);
	my @events = events();

	is_deeply([ map { $_->{type} } @events ],
		[qw(payment_intent.created charge.succeeded payment_intent.amount_capturable_updated)], 'authorized');
	is_deeply([ map { $_->{data}{object}{status} } @events ], [qw(requires_confirmation succeeded requires_capture)],
		'snapshots of the time');
	is($events[2]{data}{object}{amount_capturable}, 2900, 'all of the object');
	is_deeply([ sort keys %{ $events[0] } ],
		[qw(api_version created data id livemode object pending_webhooks request type)], 'members');
	like($events[0]{request}{id}, qr/^req_/, 'the request');
	$psp->api('POST', "$path/$intent->{id}/capture", [ amount_to_capture => 900, final_capture => 'false' ]);
	is(types(), 'charge.captured payment_intent.amount_capturable_updated', 'captured in part');
	$psp->api('POST', "$path/$intent->{id}/capture");
	is(types(), 'charge.captured payment_intent.succeeded', 'captured');
	$psp->api('POST', '/v1/refunds', [ payment_intent => $intent->{id}, amount => 900 ]);
	@events = events();
	is_deeply([ map { $_->{type} } @events ], [qw(refund.created charge.refunded)], 'refunded');
	is_deeply($events[1]{data}{previous_attributes}, { amount_refunded => 0, refunded => JSON::PP::false }, 'before');
	is($events[1]{data}{object}{amount_refunded}, 900, 'after');

	pay('chargeDeclined');
	is(types(), 'payment_intent.created charge.failed payment_intent.payment_failed', 'declined');
	$intent = pay('visa', @manual);
	events();
	$psp->api('POST', "$path/$intent->{id}/cancel");
	is(types(), 'charge.refunded payment_intent.canceled', 'cancelled: the charge counts as refunded');
	$intent = pay('threeDSecureRequired');
	is(types(), 'payment_intent.created payment_intent.requires_action', 'requires an action');
	$psp->control('POST', "/_test/intents/$intent->{id}/complete_action", { outcome => 'succeed' });
	@events = events();
	is_deeply([ map { $_->{type} } @events ], [qw(charge.succeeded payment_intent.succeeded)], 'done');
	is($events[0]{request}{id}, undef, 'by no request');
	for my $case ([ 'succeed', 'charge.succeeded payment_intent.succeeded' ],
		[ 'fail', 'charge.failed payment_intent.payment_failed' ])
	{
		$intent = pay('processing');
		is($intent->{status}, 'processing', 'processing');
		is(types(), 'payment_intent.created payment_intent.processing', 'told');
		$psp->control('POST', "/_test/intents/$intent->{id}/complete_action", { outcome => $case->[0] });
		is(types(), $case->[1], $case->[0]);
	}
};

subtest 'refunds that end later' => sub {
	my $intent = pay('pendingRefund');
	my $refund = $psp->api('POST', '/v1/refunds', [ payment_intent => $intent->{id} ])->{json};

	events();
	$psp->control('POST', "/_test/refunds/$refund->{id}/complete", { outcome => 'succeed' });
	my @events = events();
	is_deeply([ map { $_->{type} } @events ], [qw(charge.refund.updated refund.updated)], 'succeeded');
	is_deeply($events[1]{data}{previous_attributes}, { status => 'pending' }, 'it was pending');
	$psp->control('POST', "/_test/refunds/$refund->{id}/complete", { outcome => 'fail' });
	@events = events();
	is_deeply([ map { $_->{type} } @events ], [qw(charge.refund.updated refund.updated refund.failed)], 'failed');
	like($events[2]{data}{object}{failure_balance_transaction}, qr/^txn_/, 'the money came back');
	$intent = pay('pendingRefund');
	$refund = $psp->api('POST', '/v1/refunds', [ payment_intent => $intent->{id} ])->{json};
	$psp->control('POST', "/_test/refunds/$refund->{id}/complete", { outcome => 'fail' });
	is((events())[-1]{data}{object}{failure_balance_transaction}, undef, 'it had never gone');
};

subtest 'disputes and expiry' => sub {
	my $intent = pay('visa');
	events();
	my $dispute = $psp->control('POST', "/_test/intents/$intent->{id}/dispute",
		{ amount => 1000, fee => 2000, reason => 'duplicate' })->{json};
	my @events = events();
	is_deeply([ map { $_->{type} } @events ],
		[qw(charge.updated charge.dispute.created charge.dispute.funds_withdrawn)], 'opened');
	is(scalar @{ $events[1]{data}{object}{balance_transactions} }, 0, 'first without the money');
	my ($transaction) = @{ $events[2]{data}{object}{balance_transactions} };
	is_deeply([ @{$transaction}{qw(amount fee net)} ], [ -1000, 2000, -3000 ], 'then with it, and the fee');
	is($events[2]{data}{object}{reason}, 'duplicate', 'reason');
	is($psp->control('POST', "/_test/intents/$intent->{id}/dispute")->{status}, 409, 'not twice');
	for my $case ([ under_review => 'charge.dispute.updated' ],
		[ won => 'charge.dispute.closed charge.dispute.funds_reinstated' ])
	{
		$psp->control('POST', "/_test/disputes/$dispute->{id}/complete", { status => $case->[0] });
		is(types(), $case->[1], $case->[0]);
	}
	is($psp->control('POST', "/_test/disputes/$dispute->{id}/complete", { status => 'lost' })->{status}, 409, 'it has ended');
	$intent = pay('visa');
	$dispute = $psp->control('POST', "/_test/intents/$intent->{id}/dispute", {})->{json};
	is($dispute->{amount}, 2900, 'all of it');
	events();
	$psp->control('POST', "/_test/disputes/$dispute->{id}/complete", { status => 'lost' });
	is(types(), 'charge.dispute.closed', 'lost');

	$intent = pay('visa', @manual);
	events();
	is($psp->control('POST', "/_test/intents/$intent->{id}/expire")->{json}{cancellation_reason}, 'automatic', 'expired');
	is(types(), 'charge.expired payment_intent.canceled', 'told');
	is($psp->control('POST', "/_test/intents/$intent->{id}/expire")->{status}, 409, 'only once');
};

subtest 'transfers' => sub {
	my @transfer = (amount => 1000, currency => 'eur', destination => 'acct_7', transfer_group => 'pl_9',
		'metadata[payout_id]' => 9);
	my $first = $psp->api('POST', '/v1/transfers', \@transfer, key => 'transfer');
	my $again = $psp->api('POST', '/v1/transfers', \@transfer, key => 'transfer');

	is($again->{content}, $first->{content}, 'once per key');
	my $transfer = $first->{json};
	is($psp->api('GET', "/v1/transfers/$transfer->{id}")->{json}{metadata}{payout_id}, 9, 'retrieved');
	is($psp->api('GET', '/v1/transfers', [ transfer_group => 'pl_9' ])->{json}{data}[0]{id}, $transfer->{id}, 'listed');
	is(scalar @{ $psp->api('GET', '/v1/transfers', [ transfer_group => 'pl_8' ])->{json}{data} }, 0, 'no other group');
	my $reverse = "/v1/transfers/$transfer->{id}/reversals";
	is($psp->api('POST', $reverse, [ amount => 400 ])->{json}{amount}, 400, 'reversed in part');
	is($psp->api('POST', $reverse, [ amount => 601 ])->{status}, 400, 'not more than there is');
	is($psp->api('POST', $reverse)->{json}{amount}, 600, 'the rest');
	my @events = events();
	is_deeply([ map { $_->{type} } @events ], [qw(transfer.created transfer.reversed transfer.reversed)], 'told');
	is_deeply([ map { $_->{data}{object}{amount_reversed} } @events ], [ 0, 400, 1000 ], 'snapshots');
	for my $case ([ destination => 'acct_none', 'resource_missing' ], [ destination => 'acct_short', 'balance_insufficient' ],
		[ amount => 0, 'parameter_invalid_integer' ])
	{
		my ($name, $value, $code) = @$case;
		is($psp->api('POST', '/v1/transfers', [ @transfer, $name => $value ])->{json}{error}{code}, $code, $code);
	}
	$psp->fault(fault => 'error_500', match => { operation => 'transfer' });
	is($psp->api('POST', '/v1/transfers', \@transfer, key => 'other')->{status}, 500, 'faults');
	my $truth = $psp->control('GET', '/_test/truth')->{json}{transfers};
	is_deeply([ map { "$_->{amount} $_->{amount_reversed} $_->{metadata}{payout_id} $_->{idempotency_key}" } @$truth ],
		['1000 1000 9 transfer'], 'the truth');
	is_deeply([ @{ $psp->truth }{qw(transfers reversals)} ], [ { count => 1, amount => 1000 }, { count => 2, amount => 1000 } ],
		'in sums');
};

subtest 'signatures' => sub {
	my ($webhook) = $psp->webhooks(0, limit => 1, now => 1234);

	is($webhook->{headers}{'Stripe-Signature'},
		't=1234,' . join(',', map { 'v1=' . hmac_sha256_hex("1234.$webhook->{body}", $_) } qw(whsec_1 whsec_2)),
		'both secrets, at the given time');
	is($webhook->{payment}, 7, 'our payment');
	is($webhook->{type}, 'payment_intent.created', 'the type');
	my $event = JSON::PP::decode_json($webhook->{body});
	is($webhook->{event_id}, $event->{id}, 'the id');
};

subtest 'the list of events' => sub {
	my @all = $psp->webhooks(0, psp => 'stripe');
	my $list = sub { return $psp->api('GET', '/v1/events', \@_)->{json} };
	my $page = $list->(limit => 3);

	is_deeply([ map { $_->{id} } @{ $page->{data} } ], [ map { $_->{event_id} } reverse @all[ -3 .. -1 ] ], 'newest first');
	ok($page->{has_more}, 'has more');
	is_deeply([ map { $_->{id} } @{ $list->(limit => 2, starting_after => $all[-2]{event_id})->{data} } ],
		[ map { $_->{event_id} } reverse @all[ -4 .. -3 ] ], 'older');
	is_deeply([ map { $_->{id} } @{ $list->(limit => 2, ending_before => $all[-4]{event_id})->{data} } ],
		[ map { $_->{event_id} } reverse @all[ -3 .. -2 ] ], 'newer');
	ok(!$list->(limit => 2, starting_after => $all[1]{event_id})->{has_more}, 'the oldest: no more');
	is_deeply([ map { $_->{type} } @{ $list->(type => 'transfer.*', limit => 9)->{data} } ],
		[qw(transfer.reversed transfer.reversed transfer.created)], 'by type');
	is_deeply([ map { $_->{type} } @{ $list->('types[]' => 'charge.expired', 'types[]' => 'transfer.created')->{data} } ],
		[qw(transfer.created charge.expired)], 'by types');
	is(scalar @{ $list->('created[gte]' => time + 3600)->{data} }, 0, 'by time: none is so new');
	is($list->('created[gte]' => time - 3600)->{data}[0]{id}, $all[-1]{event_id}, 'by time');
	$psp->control('POST', '/_test/webhooks/delivered', { upto => $all[-2]{seq} });
	is_deeply([ map { $_->{id} } @{ $list->(delivery_success => 'false')->{data} } ], [ $all[-1]{event_id} ],
		'not delivered');
	is($list->(delivery_success => 'true', limit => 1)->{data}[0]{id}, $all[-2]{event_id}, 'delivered');
	is_deeply($psp->api('GET', "/v1/events/$all[5]{event_id}")->{json}, JSON::PP::decode_json($all[5]{body}), 'one');
	is($psp->api('GET', '/v1/events/evt_none')->{status}, 404, 'none');
	is($psp->api('GET', '/v1/events', [ delivery_success => 'maybe' ])->{status}, 400, 'validation');
};

subtest 'few are kept' => sub {
	my $small = PspServer->new('--keep-events', '5');
	my $none = PspServer->new('--keep-events', '0');

	for my $server ($small, $none)
	{
		$server->api('POST', $path, [ amount => $_ * 100, currency => 'eur' ]) for 1 .. 300;
	}
	my @webhooks = $small->webhooks(0);
	is_deeply([ map { $_->{seq} } @webhooks ], [ 296 .. 300 ], 'the newest five');
	is_deeply([ map { $_->{seq} } $small->webhooks(297) ], [ 298 .. 300 ], 'after one of them');
	is_deeply([ $small->webhooks(300) ], [], 'after the last');
	is(scalar @{ $small->api('GET', '/v1/events')->{json}{data} }, 5, 'listed');
	is($small->api('GET', "/v1/events/$webhooks[0]{event_id}")->{status}, 200, 'found');
	is_deeply([ $none->webhooks(0) ], [], 'none');
	is($_->stop, 0, 'the server ends cleanly') for $small, $none;
};

is($psp->stop, 0, 'the server ends cleanly');
done_testing();
