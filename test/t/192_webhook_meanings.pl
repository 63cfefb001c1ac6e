# What the events of the PSPs say, and what they do not: each is read as its
# snapshot proves it, whoever asked for what it tells.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256 hmac_sha256_hex);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use PayledgerPsp;
use PayledgerTest;
use Test::More;

my $json = JSON::PP->new->utf8->canonical;
my $psp = PayledgerPsp->new;
my $node = new_node('meanings');
my $events = 0;

add_stripe($node, $psp, backfill_seconds => 0);
write_secrets($node,
	stripe => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('stripe') ],
	adyen => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('adyen') ]);
$node->reload;
sql($node, "SELECT payledger.add_gateway('adyen', 'adyen', '"
	  . $json->encode({ base_url => $psp->base_url('adyen'), merchant_account => 'Shop', return_url => 'https://shop.example/', timeout_ms => 1000, lease_seconds => 6, retry_base_ms => 50, retry_max_ms => 400 }) . "')");
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateways are ready');

# ---- helpers ----

# What became of an event: its status, and its problem.
sub verdict
{
	my ($id) = @_;

	wait_sql($node, "SELECT status <> 'RECEIVED' FROM payledger.webhooks WHERE event_id = '$id'", "$id was looked at");
	return sql($node, "SELECT status || coalesce(': ' || problem, '') FROM payledger.webhooks WHERE event_id = '$id'");
}

# Delivers an event of Stripe and returns what became of it.
sub stripe
{
	my ($type, $object) = @_;
	my $id = 'evt_' . ++$events;
	my $body = $json->encode({ id => $id, object => 'event', type => $type, created => time(), data => { object => $object } });
	my $at = time();

	sql($node, "SELECT payledger.receive_webhook('stripe', '" . $json->encode({ 'Stripe-Signature' => "t=$at,v1=" . hmac_sha256_hex("$at.$body", $psp->webhook_secret('stripe')) })
		  . "', \$w\$$body\$w\$)");
	return verdict($id);
}

# The same of Adyen.
sub adyen
{
	my ($code, $reference, %more) = @_;
	my $item = { eventCode => $code, success => 'true', pspReference => 'REF' . ++$events, merchantAccountCode => 'Shop', merchantReference => $reference,
		amount => { currency => 'EUR', value => 800 }, eventDate => '2026-01-31T10:15:30+01:00', reason => 'because', %more };
	my @fields = (@$item{qw(pspReference originalReference merchantAccountCode merchantReference)}, @{ $item->{amount} }{qw(value currency)}, @$item{qw(eventCode success)});

	$item->{additionalData}{hmacSignature} = encode_base64(hmac_sha256(join(':', map { $_ // '' } @fields), pack('H*', $psp->webhook_secret('adyen'))), '');
	sql($node, "SELECT payledger.receive_webhook('adyen', '{}', \$w\$" . $json->encode({ notificationItems => [ { NotificationRequestItem => $item } ] }) . '$w$)');
	return verdict("$code:$item->{pspReference}:$item->{success}");
}

sub intent_status
{
	my ($id) = @_;

	return sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id");
}

sub payment
{
	my ($id, $columns) = @_;

	return sql($node, "SELECT $columns FROM payledger.payments WHERE payment_id = $id");
}

sub request_id
{
	my ($id, $operation) = @_;

	return sql($node, "SELECT max(psp_request_id) FROM payledger.psp_requests WHERE payment_id = $id AND operation = '$operation'");
}

# What a reply told of the PSP's object that the request made.
sub object_of
{
	my ($id, $operation) = @_;

	return sql($node, "SELECT psp_reference FROM payledger.psp_requests WHERE payment_id = $id AND operation = '$operation' ORDER BY psp_request_id DESC LIMIT 1");
}

# A PaymentIntent as an event shows it.
sub intent
{
	my ($id, $status, %more) = @_;
	my %metadata = (payment_id => "$id", %{ delete $more{metadata} // {} });

	$more{amount_capturable} //= 800 if $status eq 'requires_capture';
	return { id => "pi_of_$id", object => 'payment_intent', status => $status, amount => 800, amount_received => 0, currency => 'eur', latest_charge => undef,
		last_payment_error => undef, metadata => \%metadata, %more };
}

# ---- Stripe ----

subtest 'Stripe: PaymentIntents' => sub {
	my $id = create_intent($node, [800], capture_method => 'manual');

	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(create retrieve);
	sql($node, "SELECT payledger.request_authorization($id, 'pm_card_visa')");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id", 'nobody knows');
	is(stripe('payment_intent.created', intent($id, 'requires_payment_method')), 'IGNORED', 'one that was only made');
	is(stripe('payment_intent.amount_capturable_updated', intent($id, 'requires_payment_method')), 'IGNORED', 'no attempt to pay yet');
	is(stripe('payment_intent.succeeded', intent($id, 'succeeded', metadata => { payment_id => 'other' })), 'IGNORED', 'an id that is none of ours');
	is(stripe('payment_intent.succeeded', { %{ intent($id, 'succeeded') }, metadata => {} }), 'IGNORED', 'no id');
	is(stripe('customer.created', { id => 'cus_1' }), 'IGNORED', 'something else');
	is(intent_status($id), 'PENDING_AUTH', 'none of it has decided anything');
	is(stripe('payment_intent.requires_action', intent($id, 'requires_action', next_action => { type => 'redirect_to_url' })) =~ /^(APPLIED|PARKED)/ ? 1 : 0, 1, 'the shopper has to act');
	wait_sql($node, "SELECT status = 'REQUIRES_ACTION' AND next_action->>'type' = 'redirect_to_url' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'and can');
	stripe('payment_intent.payment_failed', intent($id, 'requires_payment_method', latest_charge => 'ch_1', last_payment_error => { code => 'card_declined', decline_code => 'do_not_honor' }));
	wait_sql($node, "SELECT status = 'DECLINED' AND decline_code = 'do_not_honor' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'the attempt failed');
	like(stripe('payment_intent.canceled', intent($id, 'canceled', latest_charge => 'ch_1', last_payment_error => { code => 'card_declined' })), qr/^(APPLIED|IGNORED)/, 'cancelled after that: nothing new');
	is(payment($id, 'count(*)'), 0, 'there never was a payment');

	my $left = create_intent($node, [800], capture_method => 'manual');
	sql($node, "SELECT payledger.request_authorization($left, 'pm_card_visa')");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $left", 'nobody knows');
	stripe('payment_intent.canceled', intent($left, 'canceled', cancellation_reason => 'abandoned'));
	wait_sql($node, "SELECT status = 'DECLINED' FROM payledger.payment_intents WHERE payment_intent_id = $left", 'cancelled without a charge: never authorized');

	my $expired = create_intent($node, [800], capture_method => 'manual');
	sql($node, "SELECT payledger.request_authorization($expired, 'pm_card_visa')");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $expired", 'nobody knows');
	stripe('payment_intent.canceled', intent($expired, 'canceled', latest_charge => 'ch_2', cancellation_reason => 'automatic'));
	wait_sql($node, "SELECT status = 'VOIDED' FROM payledger.payments WHERE payment_id = $expired", 'cancelled with one: authorized before, then over');
	$psp->clear_faults;
	settle($node);
};

subtest 'Stripe: marks of captures' => sub {
	my $id = create_authorized($node, 'pm_card_visa', [800], capture_method => 'manual');
	my $reference = payment($id, 'psp_reference');

	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(capture retrieve);
	sql($node, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'CAPTURE'", 'nobody knows');
	my %mark = ('capture_' . request_id($id, 'CAPTURE') => '800');
	stripe('payment_intent.amount_capturable_updated', intent($id, 'requires_capture', id => $reference, metadata => \%mark));
	is(payment($id, 'captured_amount'), 0, 'a mark without money proves nothing');
	stripe('payment_intent.succeeded', intent($id, 'succeeded', id => $reference, amount_received => 799, metadata => \%mark));
	is(payment($id, 'captured_amount'), 0, 'nor with less money than marks');
	stripe('payment_intent.succeeded', intent($id, 'succeeded', id => $reference, amount_received => 800, metadata => \%mark));
	wait_sql($node, "SELECT captured_amount = 800 FROM payledger.payments WHERE payment_id = $id", 'with it, it was captured');
	$psp->fault(fault => 'error_503', times => -1, match => { operation => 'refund' });
	my $refund = sql($node, "SELECT refund_id FROM payledger.payment_orders o, LATERAL payledger.refund(o.payment_order_id, 300) WHERE o.payment_id = $id");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND'", 'nobody knows');
	my %refund = (id => 're_1', object => 'refund', amount => 300, currency => 'eur', payment_intent => $reference);
	is(stripe('refund.created', { %refund, status => 'succeeded', metadata => {} }), 'IGNORED', 'a refund that is none of ours');
	stripe('refund.failed', { %refund, status => 'failed', failure_reason => 'lost_or_stolen_card', failure_balance_transaction => 'txn_1',
			metadata => { payment_id => "$id", refund_id => "$refund" } });
	wait_sql($node, "SELECT status = 'FAILED' FROM payledger.refunds WHERE refund_id = $refund", 'a refund that came back');
	is(sql($node, "SELECT string_agg(kind::text, ' ' ORDER BY settlement_item_id) FROM payledger.settlement_items WHERE payment_id = $id AND object_id = $refund"),
		'REFUND REFUND_REVERSAL', 'its money moved twice');
	stripe('refund.updated', { %refund, status => 'succeeded', metadata => { payment_id => "$id", refund_id => "$refund" } });
	is(sql($node, "SELECT status FROM payledger.refunds WHERE refund_id = $refund"), 'FAILED', 'older news changes nothing');
	$psp->clear_faults;
	settle($node);

	for my $case ([ 'warning_needs_response', 'IGNORED' ], [ 'warning_closed', 'IGNORED' ])
	{
		is(stripe('charge.dispute.updated', { id => 'dp_1', status => $case->[0], payment_intent => $reference, amount => 100, currency => 'eur' }), $case->[1], "an inquiry moves nothing: $case->[0]");
	}
	stripe('charge.dispute.created', { id => 'dp_2', status => 'needs_response', payment_intent => $reference, amount => 100, currency => 'eur', reason => 'fraudulent',
			evidence_details => { due_by => 1800000000 },
			balance_transactions => [ { id => 'txn_2', fee => 1500, currency => 'eur' }, { id => 'txn_3', fee => 99, currency => 'usd' } ] });
	is(sql($node, "SELECT status, amount, fee, reason, extract(epoch FROM evidence_due_at)::bigint FROM payledger.disputes WHERE payment_id = $id"), 'NEEDS_RESPONSE|100|1500|fraudulent|1800000000', 'a dispute, with its fee');
};

subtest 'Stripe: the reference of another payment' => sub {
	my $first = create_authorized($node, 'pm_card_visa', [800], capture_method => 'manual');
	my $id = create_intent($node, [800], capture_method => 'manual');

	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(create retrieve);
	sql($node, "SELECT payledger.request_authorization($id, 'pm_card_visa')");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id", 'nobody knows');
	my %taken = (id => payment($first, 'psp_reference'), amount_capturable => 800);
	like(stripe('payment_intent.amount_capturable_updated', intent($id, 'requires_capture', %taken)), qr/^PARKED: .*psp_reference "$taken{id}" of gateway stripe belongs to payment $first, not to $id/, 'its authorization is parked');
	like(stripe('payment_intent.requires_action', intent($id, 'requires_action', %taken, next_action => { type => 'redirect_to_url' })), qr/^PARKED: .*belongs to payment $first/, 'so is an action of the shopper');
	is(intent_status($id), 'PENDING_AUTH', 'neither decided anything');
	my ($code, $out, $err) = $node->psql('payledger', "\\set VERBOSITY verbose\nSELECT payledger.resolve_request(" . request_id($id, 'AUTHORIZE') . ", 'SUCCEEDED', 'seen', '$taken{id}')");
	like($err, qr/PL006.*belongs to payment $first/, 'nor may an operator say so');
	$psp->clear_faults;
	settle($node);
	is(intent_status($id), 'AUTHORIZED', 'it gets its own');
};

# Made by our request, as its key says, and yet not what the reply told of: the
# PSP did it twice, and money is held in both.
subtest 'Stripe: a second object of one payment' => sub {
	my $id = create_authorized($node, 'pm_card_visa', [800], capture_method => 'manual');
	my $reference = payment($id, 'psp_reference');
	my $key = sql($node, "SELECT idempotency_key FROM payledger.psp_requests WHERE payment_id = $id");
	my %second = (id => "pi_second_of_$id", latest_charge => 'ch_3', amount_capturable => 800, metadata => { request => $key });
	my $parked = qr/^PARKED: .*is about "pi_second_of_$id", while payment $id is "$reference"/;

	is(stripe('payment_intent.canceled', intent($id, 'canceled', %second, latest_charge => undef)), 'APPLIED', 'one that came to nothing is no news');
	like(stripe('payment_intent.amount_capturable_updated', intent($id, 'requires_capture', %second)), $parked, 'one that succeeded is parked');
	like(stripe('payment_intent.canceled', intent($id, 'canceled', %second)), $parked, 'so is its end');
	like(stripe('charge.dispute.created', { id => 'dp_second', object => 'dispute', status => 'needs_response', amount => 100, currency => 'eur', payment_intent => $second{id} }),
		qr/^PARKED: what it is about is not there/, 'and a dispute of it');
	is(sql($node, q{SELECT count(*) FROM payledger.webhooks WHERE body LIKE '%"pi_second_of_%' AND status = 'PARKED' AND next_attempt_at IS NULL}), 2, 'they are not tried again: no time changes them');
	is(payment($id, 'status'), 'NOT_CAPTURED', 'nothing of it ends the payment');
	sql($node, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT captured_amount = 800 FROM payledger.payments WHERE payment_id = $id", 'which is captured');
	$psp->fault(fault => 'error_503', times => -1, match => { operation => 'refund' });
	my $refund = sql($node, "SELECT refund_id FROM payledger.payment_orders o, LATERAL payledger.refund(o.payment_order_id, 300) WHERE o.payment_id = $id");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND'", 'a refund of it is under way');
	like(stripe('refund.created', { id => 're_second', object => 'refund', amount => 300, currency => 'eur', status => 'succeeded', payment_intent => $second{id},
				metadata => { payment_id => "$id", refund_id => "$refund", request => sql($node, "SELECT idempotency_key FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND'") } }),
		$parked, 'a refund of the second is parked');
	$psp->clear_faults;
	settle($node);
};

subtest 'Stripe: a second refund of one request' => sub {
	my $id = create_authorized($node, 'pm_card_visa', [800]);

	wait_sql($node, "SELECT captured_amount = 800 FROM payledger.payments WHERE payment_id = $id", 'captured');
	my $done = sql($node, "SELECT refund_id FROM payledger.payment_orders o, LATERAL payledger.refund(o.payment_order_id, 200) WHERE o.payment_id = $id");
	settle($node);
	my %own = (object => 'refund', currency => 'eur', payment_intent => payment($id, 'psp_reference'), id => object_of($id, 'REFUND'), amount => 200, metadata => { payment_id => "$id", refund_id => "$done",
			request => sql($node, "SELECT idempotency_key FROM payledger.psp_requests WHERE payment_id = $id AND target = $done") });
	for my $case ([ 'refund.failed', status => 'failed', failure_balance_transaction => 'txn_2' ], [ 'refund.failed', status => 'failed' ], [ 'refund.updated', status => 'succeeded' ])
	{
		my ($type, %more) = @$case;

		like(stripe($type, { %own, id => 're_second', %more }), qr/^PARKED: .*is about "re_second", while psp_request \d+ made "$own{id}"/, "news of a second refund is parked: $more{status}");
	}
	is(sql($node, "SELECT status FROM payledger.refunds WHERE refund_id = $done"), 'SUCCEEDED', 'the refund stays');
	is(stripe('refund.failed', { %own, status => 'failed', failure_balance_transaction => 'txn_3' }), 'APPLIED', 'its own failure');
	is(sql($node, "SELECT status FROM payledger.refunds WHERE refund_id = $done"), 'FAILED', 'reverses it');
};

subtest 'Stripe: transfers' => sub {
	sql($node, <<~'SQL');
		SELECT payledger.open_account('PLATFORM_CASH', 'GLOBAL', 'EUR');
		SELECT payledger.post_entry('ADJUSTMENT', '[{"account": "PLATFORM_CASH.GLOBAL.EUR", "amount": 1000},
			{"account": "MERCHANT_PAYABLE.SELLER-222.EUR", "amount": -1000}]', 'opening balance');
		SELECT payledger.set_payout_terms('SELLER-222', 'EUR', beneficiary => 'acct_222');
		SQL
	my $payout = sql($node, "SELECT payout_id FROM payledger.request_payout('SELLER-222', 'EUR', 600)");
	settle($node);
	is(sql($node, "SELECT status FROM payledger.payouts WHERE payout_id = $payout"), 'PAID', 'paid');
	my %transfer = (id => object_of($payout, 'PAYOUT'), object => 'transfer', amount => 600, currency => 'eur', destination => 'acct_222', metadata => { payout_id => "$payout" });
	is(stripe('transfer.updated', { %transfer, amount_reversed => 0, reversed => JSON::PP::false, metadata => {} }), 'IGNORED', 'a transfer that is none of ours');
	like(stripe('transfer.reversed', { %transfer, amount_reversed => 100, reversed => JSON::PP::false }), qr/^PARKED: .*transfer $transfer{id} was reversed in part/, 'one that was reversed in part is nobody\'s guess');
	my %back = (amount_reversed => 600, reversed => JSON::PP::true);
	like(stripe('transfer.reversed', { %transfer, %back, id => 'tr_second' }), qr/^PARKED: .*is about "tr_second", while psp_request \d+ made "$transfer{id}"/, 'the reversal of a second one is parked');
	like(stripe('transfer.reversed', { %transfer, %back, destination => 'acct_thief' }), qr/^PARKED: .*money for "acct_thief", while psp_request \d+ was to pay "acct_222"/, 'so is one to another account');
	like(stripe('transfer.reversed', { map { $_ => ({ %transfer, %back })->{$_} } grep { $_ ne 'destination' } keys %transfer, keys %back }), qr/^PARKED: .*no "data\.object\.destination"/, 'and one to nobody');
	is(sql($node, "SELECT status FROM payledger.payouts WHERE payout_id = $payout"), 'PAID', 'none of them returns it');
	is(sql($node, qq{SELECT count(*) FROM payledger.webhooks WHERE body LIKE '%"payout_id":"$payout"%' AND problem ~ 'while' AND next_attempt_at IS NULL}), 2, 'no time changes them');
	stripe('transfer.reversed', { %transfer, %back });
	is(sql($node, "SELECT status FROM payledger.payouts WHERE payout_id = $payout"), 'RETURNED', 'one that was reversed was returned');

	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(transfer retrieve);
	my $open = sql($node, "SELECT payout_id FROM payledger.request_payout('SELLER-222', 'EUR', 300)");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $open", 'nobody knows what became of another');
	like(stripe('transfer.created', { %transfer, id => 'tr_thief', amount => 300, destination => 'acct_thief', amount_reversed => 0, metadata => { payout_id => "$open" } }),
		qr/^PARKED: .*money for "acct_thief"/, 'a transfer to another account is parked');
	is(sql($node, "SELECT status <> 'PAID' FROM payledger.payouts WHERE payout_id = $open"), 't', 'the seller is not paid by it');
	$psp->clear_faults;
	settle($node);
	is(sql($node, "SELECT status FROM payledger.payouts WHERE payout_id = $open"), 'PAID', 'but by the true one');
};

# What the reply refuses, the webhook must not bring in.
subtest 'Stripe: authorizations of a part' => sub {
	my $id = create_intent($node, [800], capture_method => 'manual');

	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(create retrieve);
	sql($node, "SELECT payledger.request_authorization($id, 'pm_card_visa')");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id", 'nobody knows');
	for my $case ([ 799, 0 ], [ 0, 0 ], [ 801, 0 ], [ 900, -100 ], [ -100, 900 ])
	{
		my ($capturable, $received) = @$case;

		like(stripe('payment_intent.amount_capturable_updated', intent($id, 'requires_capture', amount_capturable => $capturable, amount_received => $received)),
			qr/^PARKED: .*about 800, of which $capturable can be captured and $received were/, "one of which $capturable can be captured, and $received were, is parked");
	}
	my $silent = intent($id, 'requires_capture');
	delete $silent->{amount_capturable};
	like(stripe('payment_intent.amount_capturable_updated', $silent), qr/^PARKED: .*no "data\.object\.amount_capturable"/, 'so is one that does not say');
	is(intent_status($id), 'PENDING_AUTH', 'none of them authorizes');
	is(stripe('payment_intent.amount_capturable_updated', intent($id, 'requires_capture', amount_capturable => 300, amount_received => 500)), 'APPLIED', 'what was captured by then counts');
	is(intent_status($id), 'AUTHORIZED', 'authorized');
	$psp->clear_faults;
	settle($node);
};

# The PSP's word about money is a fact, up to what can be one.
subtest 'Stripe: disputes of absurd amounts' => sub {
	my $id = create_authorized($node, 'pm_card_visa', [ 1000, 500 ]);
	wait_sql($node, "SELECT captured_amount = 1500 FROM payledger.payments WHERE payment_id = $id", 'captured');
	my %dispute = (object => 'dispute', status => 'needs_response', payment_intent => payment($id, 'psp_reference'), currency => 'eur', reason => 'fraudulent');
	my $disputes = "SELECT string_agg(psp_reference || ' ' || amount || ' ' || fee, ', ' ORDER BY dispute_id) FROM payledger.disputes WHERE payment_id = $id";

	like(stripe('charge.dispute.created', { %dispute, id => 'dp_huge', amount => 10**12 }),
		qr/^PARKED: .*dispute "dp_huge" of payment $id is about 10000000000\.00 EUR, while 15\.00 were captured/, 'a dispute of 10^12 cents is parked');
	like(stripe('charge.dispute.created', { %dispute, id => 'dp_max', amount => 9223372036854775807 }), qr/^PARKED: .*dp_max/, 'so is the largest number');
	like(stripe('charge.dispute.created', { %dispute, id => 'dp_above', amount => 3001 }), qr/^PARKED: .*dp_above/, 'and a cent above twice what was captured');
	like(stripe('charge.dispute.created', { %dispute, id => 'dp_fee', amount => 10, balance_transactions => [ { id => 'txn_f', fee => 100001, currency => 'eur' } ] }),
		qr/^PARKED: .*dispute "dp_fee" of payment $id has a fee of 1000\.01 EUR/, 'and one whose fee is');
	for my $amount (0, -1)
	{
		like(stripe('charge.dispute.created', { %dispute, id => "dp_$amount", amount => $amount }), qr/^PARKED: .*amount $amount .*not above zero/, "and one of $amount");
	}
	like(stripe('charge.dispute.created', { %dispute, id => 'dp_usd', amount => 1500, currency => 'usd' }),
		qr/^PARKED: .*dispute "dp_usd" of payment $id is in USD, the payment in EUR/, 'and one in another currency than the payment');
	is(sql($node, $disputes), '', 'nothing was charged to anybody');

	is(stripe('charge.dispute.created', { %dispute, id => 'dp_rate', amount => 1600 }), 'APPLIED', 'the issuer converts');
	is(stripe('charge.dispute.created', { %dispute, id => 'dp_again', amount => 1400 }), 'APPLIED', 'a second one, up to twice the amount');
	like(stripe('charge.dispute.created', { %dispute, id => 'dp_third', amount => 1 }), qr/^PARKED: .*dp_third.* and 30\.00 are disputed already/, 'and no more');
	like(stripe('charge.dispute.updated', { %dispute, id => 'dp_rate', amount => 1600, balance_transactions => [ { id => 'txn_g', fee => 10**12, currency => 'eur' } ] }),
		qr/^PARKED: .*has a fee of/, 'a fee that is told later is looked at, too');
	is(sql($node, $disputes), 'dp_rate 1067 0, dp_rate 533 0, dp_again 933 0, dp_again 467 0', 'what can be is charged');

	# somebody has looked
	sql($node, "SELECT payledger.open_payment_dispute($id, 5000, 'dp_above')");
	sql($node, q{SELECT payledger.retry_webhook(gateway, event_id) FROM payledger.webhooks WHERE body LIKE '%"dp_above"%'});
	wait_sql($node, q{SELECT status = 'APPLIED' FROM payledger.webhooks WHERE body LIKE '%"dp_above"%'}, 'once an operator opened it, its news is applied');
};

# A zero is an amount, not the lack of one.
subtest 'Stripe: amounts of nothing' => sub {
	my $id = create_intent($node, [800], capture_method => 'manual');

	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(create retrieve);
	sql($node, "SELECT payledger.request_authorization($id, 'pm_card_visa')");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id", 'nobody knows');
	for my $amount (0, -800)
	{
		like(stripe('payment_intent.amount_capturable_updated', intent($id, 'requires_capture', amount => $amount)), qr/^PARKED: .*amount $amount .*not above zero/, "an authorization of $amount is parked");
	}
	is(intent_status($id), 'PENDING_AUTH', 'and decides nothing');
	$psp->clear_faults;
	settle($node);
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'it is authorized by the truth');
	sql($node, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT captured_amount = 800 FROM payledger.payments WHERE payment_id = $id", 'captured');
	$psp->fault(fault => 'error_503', times => -1, match => { operation => 'refund' });
	my $refund = sql($node, "SELECT refund_id FROM payledger.payment_orders o, LATERAL payledger.refund(o.payment_order_id, 300) WHERE o.payment_id = $id");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND'", 'a refund of unknown end');
	like(stripe('refund.created', { id => 're_0', object => 'refund', amount => 0, currency => 'eur', status => 'succeeded', payment_intent => payment($id, 'psp_reference'),
				metadata => { payment_id => "$id", refund_id => "$refund" } }), qr/^PARKED: .*amount 0 .*not above zero/, 'a refund of 0 is parked');
	is(sql($node, "SELECT status FROM payledger.refunds WHERE refund_id = $refund"), 'PENDING', 'and decides nothing');
	$psp->clear_faults;
	settle($node);
};

# ---- Adyen ----

# Who signs for one gateway says nothing about the payments of another.
subtest 'Adyen: about what was asked of Stripe' => sub {
	my $id = create_authorized($node, 'pm_card_visa', [800], capture_method => 'manual');

	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(capture retrieve);
	sql($node, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'CAPTURE'", 'a capture of unknown end');
	like(adyen('CAPTURE', "pl_${id}_" . request_id($id, 'CAPTURE')), qr/^PARKED: what it is about is not there/, 'its success is parked');
	is(payment($id, 'captured_amount'), 0, 'and not booked');
	$psp->clear_faults;
	settle($node);
	wait_sql($node, "SELECT captured_amount = 800 FROM payledger.payments WHERE payment_id = $id", 'Stripe says so');
	like(adyen('CHARGEBACK', "pl_${id}_" . request_id($id, 'AUTHORIZE'), pspReference => 'FOREIGN'), qr/^PARKED: .*of gateway "adyen" is about a dispute of payment $id, which is at gateway "stripe"/, 'a chargeback is parked');
	is(sql($node, "SELECT count(*) FROM payledger.disputes WHERE payment_id = $id"), 0, 'and charged to nobody');
};

subtest 'Adyen' => sub {
	my $id = create_authorized($node, 'waits', [800], gateway => 'adyen', capture_method => 'manual');
	my $authorize = request_id($id, 'AUTHORIZE');
	my $reference = payment($id, 'psp_reference');

	for my $case ([ 'RECURRING_CONTRACT' ], [ 'REQUEST_FOR_INFORMATION' ], [ 'NOTIFICATION_OF_CHARGEBACK' ], [ 'REPORT_AVAILABLE' ], [ 'INFORMATION_SUPPLIED' ], [ 'PAYOUT_EXPIRE' ],
		[ 'SOMETHING_NEW' ], [ 'CHARGEBACK', success => 'false' ], [ 'DISPUTE_DEFENSE_PERIOD_ENDED' ], [ 'CANCEL_OR_REFUND' ])
	{
		my ($code, %more) = @$case;

		is(adyen($code, "pl_${id}_$authorize", originalReference => $reference, %more), 'IGNORED', "$code says nothing about money");
	}
	for my $foreign ('ORDER-1', 'pl_1', 'pl_1_', 'pl_1_x', 'pl_0_1', 'pl_-1_2', "pl_${id}_99999999999999999999", "xpl_${id}_$authorize")
	{
		is(adyen('AUTHORISATION', $foreign), 'IGNORED', "$foreign is no reference of ours");
	}
	sql($node, "SELECT payledger.capture(payment_order_id, 500) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT status = 'PENDING' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'CAPTURE'", 'a capture is accepted');
	adyen('CAPTURE_FAILED', "pl_${id}_" . request_id($id, 'CAPTURE'), originalReference => $reference);
	is(payment($id, 'captured_amount'), 0, 'a capture that failed later, told first');
	adyen('CAPTURE', "pl_${id}_" . request_id($id, 'CAPTURE'), originalReference => $reference, pspReference => object_of($id, 'CAPTURE'), amount => { currency => 'EUR', value => 500 });
	is(payment($id, 'captured_amount'), 0, 'its success, told last, changes nothing');

	$id = create_authorized($node, 'authorised', [800], gateway => 'adyen');
	$reference = payment($id, 'psp_reference');
	wait_sql($node, "SELECT status = 'PENDING' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'CAPTURE'", 'a capture is accepted');
	adyen('CAPTURE', "pl_${id}_" . request_id($id, 'CAPTURE'), originalReference => $reference, pspReference => object_of($id, 'CAPTURE'), amount => { currency => 'EUR', value => 800 });
	is(payment($id, 'captured_amount'), 800, 'captured');
	adyen('CHARGEBACK', 'ORDER-1', originalReference => $reference, pspReference => 'DISPUTE1', additionalData => { defensePeriodEndsAt => '2027-01-15T10:00:00+02:00' });
	is(sql($node, "SELECT status, amount, reason, extract(epoch FROM evidence_due_at)::bigint FROM payledger.disputes WHERE payment_id = $id"),
		'NEEDS_RESPONSE|800|because|1800000000', 'a chargeback is known by the payment\'s reference');
	adyen('SECOND_CHARGEBACK', "pl_${id}_1", pspReference => 'DISPUTE1');
	is(sql($node, "SELECT status FROM payledger.disputes WHERE payment_id = $id"), 'LOST', 'lost in a second round that came without the first');
	adyen('CHARGEBACK_REVERSED', "pl_${id}_1", pspReference => 'DISPUTE1');
	is(sql($node, "SELECT status FROM payledger.disputes WHERE payment_id = $id"), 'LOST', 'the first one, told last, changes nothing');

	$id = create_authorized($node, 'authorised', [800], gateway => 'adyen', capture_method => 'manual');
	adyen('EXPIRE', "pl_${id}_" . request_id($id, 'AUTHORIZE'), originalReference => payment($id, 'psp_reference'));
	is(payment($id, 'status'), 'VOIDED', 'an authorization that expired');
	$id = create_authorized($node, 'authorised', [800], gateway => 'adyen', capture_method => 'manual');
	adyen('CANCELLATION', "pl_${id}_" . request_id($id, 'AUTHORIZE'), originalReference => payment($id, 'psp_reference'));
	is(payment($id, 'status'), 'VOIDED', 'one that somebody cancelled at Adyen');
	$id = create_authorized($node, 'redirect', [800], gateway => 'adyen');
	adyen('OFFER_CLOSED', "pl_${id}_" . request_id($id, 'AUTHORIZE'));
	is(intent_status($id), 'DECLINED', 'a shopper who never came back');
};

subtest 'Adyen: a second object of one payment, and amounts of nothing' => sub {
	my $id = create_authorized($node, 'authorised', [800], gateway => 'adyen', capture_method => 'manual');
	my $reference = payment($id, 'psp_reference');
	my $ours = sub { my ($operation) = @_; return "pl_${id}_" . sql($node, "SELECT substr(idempotency_key, 4) FROM payledger.psp_requests WHERE payment_id = $id AND operation = '$operation'") };
	my $parked = qr/^PARKED: .*is about "SECOND", while payment $id is "$reference"/;

	is(adyen('AUTHORISATION', $ours->('AUTHORIZE'), pspReference => 'SECOND', success => 'false'), 'APPLIED', 'an attempt that failed is no news');
	like(adyen('AUTHORISATION', $ours->('AUTHORIZE'), pspReference => 'SECOND'), $parked, 'one that succeeded is parked');
	for my $code (qw(EXPIRE CANCELLATION TECHNICAL_CANCEL CHARGEBACK))
	{
		like(adyen($code, $ours->('AUTHORIZE'), originalReference => 'SECOND'), $parked, "so is $code of it");
	}
	is(payment($id, 'status'), 'NOT_CAPTURED', 'nothing of it ends the payment');
	sql($node, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT status = 'PENDING' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'CAPTURE'", 'a capture is accepted');
	like(adyen('CAPTURE', $ours->('CAPTURE'), originalReference => 'SECOND'), $parked, 'a capture of it is parked');
	like(adyen('CAPTURE', $ours->('CAPTURE'), originalReference => $reference, amount => { currency => 'EUR', value => 0 }), qr/^PARKED: .*amount 0 .*not above zero/, 'a capture of 0 is parked');
	my $capture = object_of($id, 'CAPTURE');
	for my $success (qw(true false))
	{
		like(adyen('CAPTURE', $ours->('CAPTURE'), originalReference => $reference, pspReference => "SECOND$success", success => $success),
			qr/^PARKED: .*is about "SECOND$success", while psp_request \d+ made "$capture"/, "the result of a second capture is parked: $success");
	}
	is(payment($id, 'captured_amount'), 0, 'none of them is booked');
	is(adyen('CAPTURE', $ours->('CAPTURE'), originalReference => $reference, pspReference => $capture), 'APPLIED', 'the payment\'s own is');
	is(payment($id, 'captured_amount'), 800, 'for its amount');
	sql($node, "SELECT payledger.refund(payment_order_id, 300) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT status = 'PENDING' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND'", 'a refund is accepted');
	my $refund = object_of($id, 'REFUND');
	my %refund = (originalReference => $reference, amount => { currency => 'EUR', value => 300 });
	like(adyen('REFUND', $ours->('REFUND'), %refund, pspReference => 'SECONDREFUND'), qr/^PARKED: .*is about "SECONDREFUND", while psp_request \d+ made "$refund"/, 'so is that of a second refund');
	is(payment($id, 'refunded_amount'), 0, 'and not booked');
	is(adyen('REFUND', $ours->('REFUND'), %refund, pspReference => $refund), 'APPLIED', 'its own is');
	is(payment($id, 'refunded_amount'), 300, 'for its amount');
};

check_ledger($node, 'the ledger');
done_testing();
