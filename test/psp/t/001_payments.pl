# Payments from beginning to end.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $psp = PspServer->new;
my @card = (amount => 2900, currency => 'eur', confirm => 'true',
	payment_method => 'pm_card_visa');
my @manual = (@card, capture_method => 'manual');
my @multi = (@manual,
	'payment_method_options[card][request_multicapture]' => 'if_available');

sub create
{
	return $psp->api('POST', '/v1/payment_intents', [@_])->{json};
}

sub act
{
	my ($intent, $action, @pairs) = @_;
	return $psp->api('POST', "/v1/payment_intents/$intent->{id}/$action",
		\@pairs);
}

sub operations
{
	my ($intent) = @_;
	return [ map { "$_->{operation} $_->{outcome} $_->{amount}" }
		  @{ $psp->truth($intent->{id})->{operations} } ];
}

# An automatic capture.
my $intent = create(@card, 'metadata[order]' => 'ORDER-1',
	transfer_group => 'GROUP-1', description => "caf\xe9 \"x\"\n");
is($intent->{status}, 'succeeded', 'automatic: succeeded at once');
is($intent->{amount_received}, 2900, 'automatic: all received');
is($intent->{amount_capturable}, 0, 'automatic: nothing to capture');
is($intent->{metadata}{order}, 'ORDER-1', 'metadata comes back');
is($intent->{transfer_group}, 'GROUP-1', 'transfer group comes back');
is($intent->{description}, "caf\xe9 \"x\"\n", 'text comes back unharmed');
like($intent->{id}, qr/^pi_3\w{23}$/, 'id of an intent');
like($intent->{client_secret}, qr/^$intent->{id}_secret_\w+$/, 'secret');
like($intent->{latest_charge}, qr/^ch_\w+$/, 'a charge');
like($intent->{payment_method}, qr/^pm_\w+$/, 'a payment method of its own');
is_deeply(operations($intent),
	[ 'create ok 2900', 'confirm ok 2900', 'capture ok 2900' ],
	'the truth: one capture');

# One capture of a part releases the rest.
$intent = create(@manual);
is($intent->{status}, 'requires_capture', 'manual: requires capture');
is($intent->{amount_capturable}, 2900, 'manual: all capturable');
my $reply = act($intent, 'capture', amount_to_capture => 1000,
	'metadata[part]' => '1');
is($reply->{json}{status}, 'succeeded', 'partial capture ends the payment');
is($reply->{json}{amount_received}, 1000, 'partial capture: received');
is($reply->{json}{amount_capturable}, 0, 'partial capture: rest released');
is($reply->{json}{metadata}{part}, '1', 'capture adds metadata');
$reply = act($intent, 'capture');
is($reply->{status}, 400, 'no second capture');
is($reply->{json}{error}{code}, 'payment_intent_unexpected_state',
	'no second capture: code');
is($reply->{json}{error}{payment_intent}{id}, $intent->{id},
	'no second capture: the intent is inside');

# A capture without amount takes all.
$intent = create(@manual);
$reply = act($intent, 'capture');
is($reply->{json}{amount_received}, 2900, 'capture of all');

# Several captures.
$intent = create(@multi);
is($intent->{payment_method_options}{card}{request_multicapture},
	'if_available', 'multicapture was asked for');
$reply = act($intent, 'capture', amount_to_capture => 1000,
	final_capture => 'false');
is($reply->{json}{status}, 'requires_capture', 'multicapture: still open');
is($reply->{json}{amount_capturable}, 1900, 'multicapture: rest capturable');
is($reply->{json}{amount_received}, 1000, 'multicapture: received so far');
$reply = act($intent, 'capture', amount_to_capture => 2000,
	final_capture => 'false');
is($reply->{json}{error}{code}, 'amount_too_large', 'multicapture: too much');
$reply = act($intent, 'capture', amount_to_capture => 400);
is($reply->{json}{status}, 'succeeded', 'multicapture: final capture ends');
is($reply->{json}{amount_received}, 1400, 'multicapture: sum of captures');
is_deeply(operations($intent),
	[ 'create ok 2900', 'confirm ok 2900', 'capture ok 1000',
		'capture ok 400' ],
	'the truth: two captures');

# Captures that take everything end the payment by themselves.
$intent = create(@multi);
act($intent, 'capture', amount_to_capture => 1450, final_capture => 'false');
$reply = act($intent, 'capture', amount_to_capture => 1450,
	final_capture => 'false');
is($reply->{json}{status}, 'succeeded', 'multicapture: all is captured');

# A final capture of nothing releases the rest.
$intent = create(@multi);
act($intent, 'capture', amount_to_capture => 900, final_capture => 'false');
$reply = act($intent, 'capture', amount_to_capture => 0);
is($reply->{json}{status}, 'succeeded', 'multicapture: rest released');
is($reply->{json}{amount_received}, 900, 'multicapture: only the first part');

# It has to be asked for, and ends after 50 captures.
$intent = create(@manual);
$reply = act($intent, 'capture', amount_to_capture => 1,
	final_capture => 'false');
is($reply->{json}{error}{param}, 'final_capture',
	'multicapture has to be asked for');
$intent = create(@multi);
act($intent, 'capture', amount_to_capture => 1, final_capture => 'false')
  for 1 .. 50;
$reply = act($intent, 'capture', amount_to_capture => 1);
is($reply->{status}, 400, 'no 51st capture');

# Cancel.
$intent = create(@manual);
$reply = act($intent, 'cancel', cancellation_reason => 'requested_by_customer');
is($reply->{json}{status}, 'canceled', 'cancelled');
is($reply->{json}{amount_capturable}, 0, 'cancelled: released');
is($reply->{json}{cancellation_reason}, 'requested_by_customer', 'reason');
ok($reply->{json}{canceled_at} >= $intent->{created}, 'time of cancellation');
is(act($intent, 'cancel')->{json}{error}{code},
	'payment_intent_unexpected_state', 'no second cancel');
is(act($intent, 'capture')->{json}{error}{code},
	'payment_intent_unexpected_state', 'no capture after cancel');
is(act($intent, 'confirm')->{json}{error}{code},
	'payment_intent_unexpected_state', 'no confirm after cancel');
is_deeply(operations($intent)->[2], 'cancel ok 2900', 'the truth: released');

# Created first, confirmed later.
$intent = create(amount => 2900, currency => 'eur');
is($intent->{status}, 'requires_payment_method', 'no payment method yet');
is(act($intent, 'confirm')->{json}{error}{code},
	'payment_intent_unexpected_state', 'cannot confirm without one');
$reply = act($intent, 'confirm', payment_method => 'pm_card_visa',
	capture_method => 'manual');
is($reply->{json}{status}, 'requires_capture', 'confirmed later');
$intent = create(amount => 2900, currency => 'eur',
	payment_method => 'pm_card_visa');
is($intent->{status}, 'requires_confirmation', 'waits for confirmation');

# Declined cards.
my %declines = (
	pm_card_chargeDeclined => [ 'card_declined', 'generic_decline' ],
	pm_card_visa_chargeDeclined => [ 'card_declined', 'generic_decline' ],
	pm_card_chargeDeclinedInsufficientFunds =>
	  [ 'card_declined', 'insufficient_funds' ],
	pm_card_chargeDeclinedExpiredCard => [ 'expired_card', 'expired_card' ],
);
for my $card (sort keys %declines)
{
	$reply = $psp->api('POST', '/v1/payment_intents',
		[ @manual, payment_method => $card ]);
	is($reply->{status}, 402, "$card: 402");
	my $error = $reply->{json}{error};
	is($error->{type}, 'card_error', "$card: type");
	is_deeply([ @$error{qw(code decline_code)} ], $declines{$card},
		"$card: code and decline code");
	is($error->{payment_intent}{status}, 'requires_payment_method',
		"$card: needs another card");
	is($error->{payment_intent}{last_payment_error}{code}, $error->{code},
		"$card: last_payment_error");
	is($error->{charge}, $error->{payment_intent}{latest_charge},
		"$card: a failed charge");
}
$intent = $reply->{json}{error}{payment_intent};
$reply = act($intent, 'confirm', payment_method => 'pm_card_visa');
is($reply->{json}{status}, 'requires_capture', 'another card works');
is($reply->{json}{last_payment_error}, undef, 'the error is gone');

# The customer has to act.
my @three_d = (@manual, payment_method => 'pm_card_threeDSecure2Required');
$intent = create(@three_d, return_url => 'https://shop.example/back');
is($intent->{status}, 'requires_action', '3DS: requires action');
is($intent->{next_action}{type}, 'redirect_to_url', '3DS: redirect');
is($intent->{next_action}{redirect_to_url}{return_url},
	'https://shop.example/back', '3DS: return address');
$reply = $psp->control('POST', "/_test/intents/$intent->{id}/complete_action",
	{ outcome => 'succeed' });
is($reply->{json}{status}, 'requires_capture', '3DS: done');
is($reply->{json}{next_action}, undef, '3DS: nothing more to do');
$reply = $psp->control('POST', "/_test/intents/$intent->{id}/complete_action",
	{ outcome => 'succeed' });
is($reply->{status}, 409, '3DS: only once');

$intent = create(@three_d);
is($intent->{next_action}{type}, 'use_stripe_sdk', '3DS without return_url');
$reply = $psp->control('POST', "/_test/intents/$intent->{id}/complete_action",
	{ outcome => 'fail' });
is($reply->{json}{status}, 'requires_payment_method', '3DS failed');
is($reply->{json}{last_payment_error}{code},
	'payment_intent_authentication_failure', '3DS failed: code');

$intent = create(@three_d, confirmation_method => 'manual');
$reply = $psp->control('POST', "/_test/intents/$intent->{id}/complete_action",
	{ outcome => 'succeed' });
is($reply->{json}{status}, 'requires_confirmation', '3DS, manual confirmation');
is(act($intent, 'confirm')->{json}{status}, 'requires_capture',
	'3DS, confirmed by the shop');

for my $how ([ error_on_requires_action => 'true' ], [ off_session => 'true' ],
	[ off_session => 'recurring' ])
{
	$reply = $psp->api('POST', '/v1/payment_intents', [ @three_d, @$how ]);
	is($reply->{status}, 402, "3DS with $how->[0]=$how->[1]: 402");
	is($reply->{json}{error}{code}, 'authentication_required',
		"3DS with $how->[0]=$how->[1]: code");
}

# Refunds.
$intent = create(@card);
$reply = $psp->api('POST', '/v1/refunds',
	[ payment_intent => $intent->{id}, amount => 900,
		reason => 'requested_by_customer', 'metadata[why]' => 'late' ]);
is($reply->{json}{status}, 'succeeded', 'refund');
is($reply->{json}{amount}, 900, 'refund: amount');
is($reply->{json}{charge}, $intent->{latest_charge}, 'refund: charge');
is($reply->{json}{metadata}{why}, 'late', 'refund: metadata');
my $refund = $reply->{json};
is_deeply($psp->api('GET', "/v1/refunds/$refund->{id}")->{json}, $refund,
	'refund retrieved');
$reply = $psp->api('POST', '/v1/refunds',
	[ payment_intent => $intent->{id}, amount => 2001 ]);
is($reply->{json}{error}{param}, 'amount', 'no refund above the rest');
$reply = $psp->api('POST', '/v1/refunds', [ charge => $intent->{latest_charge} ]);
is($reply->{json}{amount}, 2000, 'refund of the rest, by charge');
$reply = $psp->api('POST', '/v1/refunds', [ payment_intent => $intent->{id} ]);
is($reply->{json}{error}{code}, 'charge_already_refunded', 'all refunded');
$intent = create(@manual);
$reply = $psp->api('POST', '/v1/refunds', [ payment_intent => $intent->{id} ]);
like($reply->{json}{error}{message}, qr/does not have a successful charge/,
	'no refund before capture');

# A pending refund, and one that fails after it succeeded.
$intent = create(@card, payment_method => 'pm_card_pendingRefund');
$refund = $psp->api('POST', '/v1/refunds',
	[ payment_intent => $intent->{id} ])->{json};
is($refund->{status}, 'pending', 'refund is pending');
$reply = $psp->control('POST', "/_test/refunds/$refund->{id}/complete",
	{ outcome => 'succeed' });
is($reply->{json}{status}, 'succeeded', 'refund succeeded later');
is($psp->truth($intent->{id})->{amount_refunded}, 2900, 'refunded');
$reply = $psp->control('POST', "/_test/refunds/$refund->{id}/complete",
	{ outcome => 'fail' });
is($reply->{json}{status}, 'failed', 'refund failed after success');
is($psp->truth($intent->{id})->{amount_refunded}, 0, 'not refunded');
$reply = $psp->control('POST', "/_test/refunds/$refund->{id}/complete",
	{ outcome => 'succeed' });
is($reply->{status}, 409, 'a failed refund stays failed');

# Retrieve.
$reply = $psp->api('GET', "/v1/payment_intents/$intent->{id}",
	[ 'expand[]' => 'latest_charge' ]);
is($reply->{json}{latest_charge}{object}, 'charge', 'charge expanded');
is($reply->{json}{latest_charge}{amount_captured}, 2900, 'charge: captured');

is($psp->stop, 0, 'the server ends cleanly');
done_testing();
