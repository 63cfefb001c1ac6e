# Idempotency keys.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $psp = PspServer->new;
my @manual = (amount => 2900, currency => 'eur', confirm => 'true',
	capture_method => 'manual', payment_method => 'pm_card_visa');

sub create
{
	my ($key, @pairs) = @_;
	return $psp->api('POST', '/v1/payment_intents', \@pairs, key => $key);
}

# A replay.
my $first = create('one', @manual);
is($first->{headers}{'idempotency-key'}, 'one', 'the key comes back');
is($first->{headers}{'original-request'}, $first->{headers}{'request-id'},
	'first: is its own original');
is($first->{headers}{'idempotent-replayed'}, undef, 'first: no replay');
my $second = create('one', @manual);
is($second->{content}, $first->{content}, 'replay: same bytes');
is($second->{status}, 200, 'replay: same status');
is($second->{headers}{'idempotent-replayed'}, 'true', 'replay: marked');
is($second->{headers}{'original-request'}, $first->{headers}{'request-id'},
	'replay: names the original');
isnt($second->{headers}{'request-id'}, $first->{headers}{'request-id'},
	'replay: a request id of its own');
is($psp->truth->{intents}{count}, 1, 'the truth: one intent');
is(create('one', reverse_pairs(@manual))->{headers}{'idempotent-replayed'},
	'true', 'the order of the parameters does not matter');

# The stored reply does not follow the object.
my $id = $first->{json}{id};
my $capture = $psp->api('POST', "/v1/payment_intents/$id/capture", [],
	key => 'two');
is($capture->{json}{status}, 'succeeded', 'captured');
is(create('one', @manual)->{json}{status}, 'requires_capture',
	'the replay shows the reply of then');
is($psp->api('POST', "/v1/payment_intents/$id/capture", [],
		key => 'two')->{content},
	$capture->{content}, 'a capture replayed');
is($psp->truth->{captures}{count}, 1, 'the truth: one capture');

# The same key for something else.
my $other = create('one', @manual, amount => 3000);
is($other->{status}, 400, 'other parameters: 400');
is($other->{json}{error}{type}, 'idempotency_error', 'other parameters: type');
like($other->{json}{error}{message}, qr/same parameters/,
	'other parameters: message');
$other = $psp->api('POST', "/v1/payment_intents/$id/cancel", [], key => 'one');
is($other->{json}{error}{type}, 'idempotency_error', 'other endpoint: type');
like($other->{json}{error}{message}, qr/same endpoint/,
	'other endpoint: message');
is($psp->stats->{mismatches}, 2, 'both are counted');

# Keys belong to an account.
my $account = $psp->api('POST', '/v1/payment_intents', \@manual,
	key => 'one', headers => { 'stripe-account' => 'acct_1' });
isnt($account->{json}{id}, $id, 'another account, another intent');

# What is stored: declines and wrong states.
my @declined = (@manual, payment_method => 'pm_card_chargeDeclined');
$first = create('declined', @declined);
is($first->{status}, 402, 'declined');
$second = create('declined', @declined);
is($second->{status}, 402, 'declined again');
is($second->{content}, $first->{content}, 'declined: replayed');
is($second->{headers}{'idempotent-replayed'}, 'true', 'declined: marked');
$first = $psp->api('POST', "/v1/payment_intents/$id/capture", [],
	key => 'late');
is($first->{status}, 400, 'wrong state');
$second = $psp->api('POST', "/v1/payment_intents/$id/capture", [],
	key => 'late');
is($second->{headers}{'idempotent-replayed'}, 'true', 'wrong state: stored');

# What is not: validation and missing API keys.
is(create('invalid', @manual, amount => 'x')->{status}, 400, 'invalid');
$second = create('invalid', @manual);
is($second->{status}, 200, 'invalid: the key is still free');
is($second->{headers}{'idempotent-replayed'}, undef, 'invalid: not stored');
is($psp->api('POST', '/v1/payment_intents', \@manual, key => 'nobody',
		headers => { authorization => 'Bearer x' })->{status},
	401, 'no API key');
is(create('nobody', @manual)->{status}, 200, '401: not stored');

# Two at once: while the first is under way the key is in use.
$psp->fault(match => { idempotency_key => 'busy' }, fault => 'delay',
	ms => 3_600_000);
my $waiting = $psp->send_request($psp->socket, 'POST', '/v1/payment_intents',
	\@manual, 'busy');
$psp->wait_for(sub { ($psp->stats->{faults}{delay} // 0) == 1 },
	'the first request is delayed');
$second = create('busy', @manual);
is($second->{status}, 409, 'in use: 409');
is($second->{json}{error}{code}, 'idempotency_key_in_use', 'in use: code');
is($second->{headers}{'stripe-should-retry'}, 'true', 'in use: try again');
is($psp->stats->{conflicts}, 1, 'in use: counted');
is(create('busy', @manual, amount => 3000)->{json}{error}{type},
	'idempotency_error', 'in use, and other parameters');
close($waiting);

# A short delay: executed once, and the conflict was not stored.
$psp->fault(match => { idempotency_key => 'soon' }, fault => 'delay',
	ms => 50);
$first = create('soon', @manual);
is($first->{status}, 200, 'delayed: executed');
$second = create('soon', @manual);
is($second->{content}, $first->{content}, 'delayed: replayed');

# Keys are forgotten in the end.
my $before = $psp->truth->{intents}{count};
$psp->control('DELETE', '/_test/keys');
isnt(create('soon', @manual)->{json}{id}, $first->{json}{id},
	'a forgotten key makes a new intent');
is($psp->truth->{intents}{count}, $before + 1, 'the truth: one more');

# GET knows no keys; a key has a greatest length.
is($psp->api('GET', '/v1/payment_intents', undef, key => 'one')->{status},
	200, 'GET ignores the key');
is(create('k' x 255, @manual)->{status}, 200, 'a key of 255 characters');
is(create('k' x 256, @manual)->{status}, 400, 'a key of 256 characters');

is($psp->stop, 0, 'the server ends cleanly, with a request under way');
done_testing();

# Reverses the order of the pairs.
sub reverse_pairs
{
	my (@pairs) = @_;
	my @reversed;

	unshift @reversed, splice(@pairs, 0, 2) while @pairs;
	return @reversed;
}
