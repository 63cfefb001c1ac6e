# Requests that are refused.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $psp = PspServer->new;
my @good = (amount => 2900, currency => 'eur');

# Checks the status and the members of an error.
sub refused
{
	my ($reply, $status, $error, $name) = @_;
	my %got = map { $_ => $reply->{json}{error}{$_} } keys %$error;

	is($reply->{status}, $status, "$name: $status");
	is_deeply(\%got, $error, "$name: error") or diag $reply->{content};
	like($reply->{headers}{'request-id'}, qr/^req_\w{14}$/,
		"$name: request id");
	return;
}

sub create
{
	return $psp->api('POST', '/v1/payment_intents', [@_]);
}

my $invalid = { type => 'invalid_request_error' };

refused(create(currency => 'eur'), 400,
	{ %$invalid, code => 'parameter_missing', param => 'amount' },
	'no amount');
refused(create(amount => 100), 400,
	{ %$invalid, code => 'parameter_missing', param => 'currency' },
	'no currency');
for my $amount ('abc', '1.5', '1e3', ' 100', '99999999999999999999')
{
	refused(create(@good, amount => $amount), 400,
		{ %$invalid, code => 'parameter_invalid_integer', param => 'amount' },
		"amount $amount");
}
refused(create(@good, amount => ''), 400,
	{ %$invalid, code => 'parameter_invalid_empty', param => 'amount' },
	'empty amount');
refused(create(@good, amount => $_), 400,
	{ %$invalid, code => 'parameter_invalid_integer', param => 'amount' },
	"amount $_")
  for 0, -5;
refused(create(@good, amount => 49), 400,
	{ %$invalid, code => 'amount_too_small' }, 'amount too small');
refused(create(@good, amount => 100000000), 400,
	{ %$invalid, code => 'amount_too_large' }, 'amount too large');
refused(create(amount => 100, currency => 'xxx'), 400,
	{ %$invalid, param => 'currency' }, 'unknown currency');
refused(create(@good, colour => 'red'), 400,
	{ %$invalid, code => 'parameter_unknown', param => 'colour' },
	'unknown parameter');
refused(create(@good, confirm => 'yes'), 400,
	{ %$invalid, param => 'confirm' }, 'not a boolean');
refused(create(@good, capture_method => 'later'), 400,
	{ %$invalid, param => 'capture_method' }, 'not a capture method');
refused(create(@good, payment_method => 'pm_unknown'), 400,
	{ %$invalid, code => 'resource_missing', param => 'payment_method' },
	'unknown payment method');
refused(create(@good, return_url => 'https://shop.example'), 400,
	{ %$invalid, param => 'return_url' }, 'return_url without confirm');
refused(create(@good, 'metadata[' . 'k' x 41 . ']' => 1), 400,
	{ %$invalid, param => 'metadata' }, 'metadata: long key');
refused(create(@good, 'metadata[k]' => 'v' x 501), 400,
	{ %$invalid, param => 'metadata[k]' }, 'metadata: long value');
refused(create(@good, map { ("metadata[k$_]" => 1) } 1 .. 51), 400,
	{ %$invalid, param => 'metadata' }, 'metadata: too many keys');
is(create(amount => 100, currency => 'EUR')->{json}{currency}, 'eur',
	'the currency may be in upper case');

# Objects that are not there.
for my $path ('/v1/payment_intents/pi_none', '/v1/refunds/re_none')
{
	refused($psp->api('GET', $path), 404,
		{ %$invalid, code => 'resource_missing' }, $path);
}
refused($psp->api('POST', "/v1/payment_intents/pi_none/$_"), 404,
	{ %$invalid, code => 'resource_missing', param => 'intent' }, "$_ nothing")
  for qw(confirm capture cancel);
refused($psp->api('POST', '/v1/refunds', [ payment_intent => 'pi_none' ]),
	404, { %$invalid, code => 'resource_missing', param => 'payment_intent' },
	'refund nothing');
refused($psp->api('POST', '/v1/refunds'), 400,
	{ %$invalid, code => 'parameter_missing' }, 'refund what?');

# Amounts of captures and refunds.
my $intent = create(@good, confirm => 'true', capture_method => 'manual',
	payment_method => 'pm_card_visa')->{json};
my $capture = "/v1/payment_intents/$intent->{id}/capture";
refused($psp->api('POST', $capture, [ amount_to_capture => 2901 ]), 400,
	{ %$invalid, code => 'amount_too_large' }, 'capture too much');
refused($psp->api('POST', $capture, [ amount_to_capture => 0 ]), 400,
	{ %$invalid, code => 'parameter_invalid_integer' }, 'capture nothing');
refused($psp->api('POST', $capture, [ amount_to_capture => -1 ]), 400,
	{ %$invalid, param => 'amount_to_capture' }, 'capture less than nothing');
refused($psp->api('POST', $capture, [ amount_to_capture => 'x' ]), 400,
	{ %$invalid, code => 'parameter_invalid_integer' }, 'capture x');
refused(
	$psp->api('POST', "/v1/payment_intents/$intent->{id}/cancel",
		[ cancellation_reason => 'bored' ]),
	400, { %$invalid, param => 'cancellation_reason' }, 'reason of a cancel');
is($psp->truth($intent->{id})->{amount_capturable}, 2900,
	'nothing of this was executed');

# Requests that are none of the API.
refused($psp->api('POST', '/v1/payouts'), 404, $invalid, 'unknown endpoint');
refused($psp->api('DELETE', "/v1/payment_intents/$intent->{id}"), 404,
	$invalid, 'unknown method');
refused($psp->api('GET', "/v1/payment_intents/$intent->{id}/events"), 404,
	$invalid, 'unknown sub-resource');
my $json = $psp->{http}->post($psp->url('/v1/payment_intents'),
	{
		headers => {
			'authorization' => "Bearer $PspServer::KEY",
			'content-type' => 'application/json'
		},
		content => '{"amount":2900,"currency":"eur"}'
	});
refused(PspServer::decoded($json), 400, $invalid, 'JSON instead of a form');
my $broken = $psp->{http}->post($psp->url('/v1/payment_intents'),
	{
		headers => {
			'authorization' => "Bearer $PspServer::KEY",
			'content-type' => 'application/x-www-form-urlencoded'
		},
		content => 'amount=%zz'
	});
refused(PspServer::decoded($broken), 400, $invalid, 'broken encoding');
refused(create(@good, description => 'x' x (1024 * 1024)), 413, $invalid,
	'more than 1 MiB');

# API keys.
for my $case ([ 'no API key', '' ], [ 'an empty API key', 'Bearer ' ],
	[ 'a wrong API key', 'Bearer sk_test_somebody_else' ],
	[ 'Basic', 'Basic c2tfdGVzdF9wYXlsZWRnZXI6' ])
{
	my $reply = $psp->api('GET', '/v1/payment_intents', undef,
		headers => { authorization => $case->[1] });
	refused($reply, 401, $invalid, $case->[0]);
	unlike($reply->{content}, qr/somebody_else/, "$case->[0]: key masked");
}

is($psp->stop, 0, 'the server ends cleanly');
done_testing();
