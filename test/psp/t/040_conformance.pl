# Stripe's own description of its API, and stripe-mock, as judges.
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Temp;
use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use PspServer;
use Test::More;

my $cache = $ENV{PAYLEDGER_CACHE} || dirname($PspServer::HOME) . '/.cache';
my ($spec) = glob("$cache/stripe-mock-*/spec3.json");

plan skip_all => 'stripe-mock is missing: run make mock' unless $spec;

my $dir = File::Temp->newdir();
my @conformance =
  ('python3', '-B', "$PspServer::HOME/conformance.py", '--spec', $spec);
my $json = JSON::PP->new->utf8;

# Runs conformance.py; returns its exit status and what it printed.
sub conformance
{
	my (@options) = @_;
	my $out;

	IPC::Run::run([ @conformance, @options ], '<', \undef, '>&', \$out);
	return ($? >> 8, $out);
}

# Starts stripe-mock on a port of its choice.
sub start_mock
{
	my $out = '';
	my $mock = IPC::Run::start(
		[ dirname($spec) . '/stripe-mock', '-http-addr', '127.0.0.1:0' ],
		'<', \undef, '>&', \$out);
	my $listening = qr/Listening for HTTP at address: (127\.0\.0\.1:\d+)/;
	my $end = time() + $PspServer::TIMEOUT;

	until ($out =~ $listening)
	{
		die "stripe-mock does not listen: $out\n" if time() > $end;
		$mock->pump;
	}
	my ($address) = $out =~ $listening;
	return ($mock, "http://$address");
}

my ($mock, $mock_url) = start_mock();
my $psp = PspServer->new('--log', "$dir/log");

# The server's replies.
my ($status, $out) = conformance('--server', $psp->url(''), '--strict');
is($status, 0, 'the replies of the server are as described');
like($out, qr/^([4-9]\d|\d{3,}) passed, 0 failed$/m, 'all of them') or diag $out;

# Requests that are right, as the log of the server records them.
my $path = '/v1/payment_intents';
truncate("$dir/log", 0);
my $intent = $psp->api('POST', $path,
	[
		amount => 2900,
		currency => 'eur',
		capture_method => 'manual',
		confirm => 'true',
		payment_method => 'pm_card_visa',
		'payment_method_types[]' => 'card',
		'payment_method_options[card][request_multicapture]' => 'if_available',
		'metadata[order]' => 'ORDER-1',
		'expand[0]' => 'latest_charge',
		off_session => 'false',
		return_url => 'https://shop.example/back?a=b&c=d',
	],
	key => 'create')->{json};
$psp->api('POST', "$path/$intent->{id}/capture",
	[ amount_to_capture => 1450, final_capture => 'false' ]);
$psp->api('POST', "$path/$intent->{id}/cancel");
$psp->api('POST', '/v1/refunds',
	[ payment_intent => $intent->{id}, amount => 100 ]);
$psp->api('GET', "$path/$intent->{id}");
$psp->api('GET', $path, [ limit => 3, 'created[gte]' => 1 ]);
$psp->stats;
($status, $out) = conformance("$dir/log", '--mock', $mock_url);
is($status, 0, 'good requests pass, and stripe-mock takes them');
like($out, qr/^6 passed, 0 failed$/m, 'all of them') or diag $out;

# Requests that are wrong, and what must be said about them.
my $form = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my @good = ('amount=1', 'currency=eur');
my %wrong = (
	'amount: required parameter is missing' => ['currency=eur'],
	'amount: is no integer' => [ 'amount=1.5', 'currency=eur' ],
	'confirm: is no boolean' => [ @good, 'confirm=yes' ],
	'capture_method: is none of' => [ @good, 'capture_method=later' ],
	'colour: unknown parameter' => [ @good, 'colour=red' ],
	'payment_method_options[card][speed]: unknown parameter' =>
	  [ @good, 'payment_method_options[card][speed]=1' ],
	'payment_method_options[card][request_multicapture]: is none of' =>
	  [ @good, 'payment_method_options[card][request_multicapture]=yes' ],
	'metadata[a]: is no string' => [ @good, 'metadata[a][b]=1' ],
	'payment_method_types: is no array' => [ @good, 'payment_method_types=card' ],
	'payment_method_types[x]: is no index' =>
	  [ @good, 'payment_method_types[x]=card' ],
	'amount: is given twice' => [ @good, 'amount=2' ],
	'metadata[a]: is both a value and an object' =>
	  [ @good, 'metadata=1', 'metadata[a]=1' ],
	'transfer_data[destination]: required parameter is missing' =>
	  [ @good, 'transfer_data[amount]=1' ],
	'statement_descriptor_suffix: longer than 22' =>
	  [ @good, 'statement_descriptor_suffix=' . 'x' x 23 ],
);
for my $problem (sort keys %wrong)
{
	expect_problem($problem,
		{ method => 'POST', path => $path, body => join('&', @{ $wrong{$problem} }) });
}
expect_problem('no such operation', { method => 'POST', path => '/v1/payments' });
expect_problem('no such operation',
	{ method => 'DELETE', path => "$path/pi_1" });
expect_problem('limit: is no integer',
	{ method => 'GET', path => "$path?limit=all" });
expect_problem('Authorization: no API key',
	{ method => 'GET', path => $path, headers => { Authorization => 'x' } });
expect_problem('Idempotency-Key: longer than 255',
	{
		method => 'GET',
		path => $path,
		headers => { 'Idempotency-Key' => 'k' x 256 }
	});
expect_problem('Content-Type: ',
	{
		method => 'POST',
		path => $path,
		headers => { 'Content-Type' => 'application/json' },
		body => join('&', @good)
	});

# A file without requests proves nothing.
write_requests();
($status, $out) = conformance("$dir/requests");
is($status, 1, 'nothing checked is no success');
is($out, "0 passed, 0 failed\n", 'nothing checked');

$mock->signal('TERM');
$mock->finish;
is($psp->stop, 0, 'the server ends cleanly');
done_testing();

# Writes requests to a file, a line each.
sub write_requests
{
	my (@requests) = @_;

	open(my $file, '>', "$dir/requests") or die "no file: $!\n";
	print $file $json->encode($_), "\n" for @requests;
	close($file) or die "no file: $!\n";
	return;
}

# Checks that a request is refused, and why.
sub expect_problem
{
	my ($problem, $request) = @_;
	my %headers = (
		%$form,
		'Authorization' => 'Bearer sk_test_1',
		%{ $request->{headers} || {} });

	write_requests({ %$request, headers => \%headers });
	my ($status, $out) = conformance("$dir/requests");
	is($status, 1, "refused: $problem");
	like($out, qr/^    .*\Q$problem\E/m, 'says why') or diag $out;
	like($out, qr/^0 passed, 1 failed$/m, 'counts it');
	return;
}
