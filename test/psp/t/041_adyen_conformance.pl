# The checks against Adyen's descriptions find what is wrong; with a small
# description, because the real one is only at hand in "make conformance".
use strict;
use warnings;

use File::Temp;
use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use PspServer;
use Test::More;

my $dir = File::Temp->newdir();
my $json = JSON::PP->new->utf8;
my $amount = {
	type => 'object',
	additionalProperties => JSON::PP::false,
	required => [qw(currency value)],
	properties => {
		currency => { type => 'string', minLength => 3, maxLength => 3 },
		value => { type => 'integer', format => 'int64' } } };
my $payment = {
	type => 'object',
	additionalProperties => JSON::PP::false,
	required => [qw(amount paymentMethod reference)],
	properties => {
		amount => { '$ref' => '#/components/schemas/Amount' },
		channel => { type => 'string', enum => [qw(Web iOS)] },
		reference => { type => 'string' },
		paymentMethod => { oneOf => [ method('scheme', 'storedPaymentMethodId'), method('ideal', 'issuer') ] } } };

# The schema of a payment method of a type, with one more field.
sub method
{
	my ($type, $field) = @_;

	return {
		type => 'object',
		additionalProperties => JSON::PP::false,
		required => ['type'],
		properties => { type => { type => 'string', enum => [$type] }, $field => { type => 'string' } } };
}

write_file('spec',
	{
		paths => {
			'/payments' => {
				post => {
					requestBody => { content => { 'application/json' => { schema => $payment } } },
					responses => {} } } },
		components => { schemas => { Amount => $amount } } });

my %headers = ('X-API-Key' => '***', 'Content-Type' => 'application/json', 'Idempotency-Key' => 'k');
my %good = (
	amount => { currency => 'EUR', value => 1 },
	reference => 'R',
	paymentMethod => { type => 'scheme', storedPaymentMethodId => 'x' });

my ($status, $out) = check({ %good, channel => 'Web' });
is($status, 0, 'a good request passes');
is($out, "1 passed, 0 failed\n", 'it was checked');

my %wrong = (
	'body.amount: required property is missing' => [ { map { $_ => $good{$_} } qw(reference paymentMethod) } ],
	'body.amount.value: is no integer' => [ { %good, amount => { currency => 'EUR', value => '1' } } ],
	'body.amount.currency: shorter than 3' => [ { %good, amount => { currency => 'EU', value => 1 } } ],
	'body.amount.currency: longer than 3' => [ { %good, amount => { currency => 'EURO', value => 1 } } ],
	'body.amount.unit: property is not described' => [ { %good, amount => { currency => 'EUR', value => 1, unit => 1 } } ],
	'body.colour: property is not described' => [ { %good, colour => 'red' } ],
	'body.channel: is none of' => [ { %good, channel => 'Fax' } ],
	'body.channel: is null' => [ { %good, channel => undef } ],
	'body.paymentMethod.issuer: property is not described' => [ { %good, paymentMethod => { type => 'scheme', issuer => 'x' } } ],
	'body.paymentMethod.type: is none of' => [ { %good, paymentMethod => { type => 'cash' } } ],
	'body: is no object' => [ [] ],
	'body: Expecting' => ['{'],
	'X-API-Key: no API key' => [ \%good, headers => { 'X-API-Key' => '' } ],
	'Idempotency-Key: longer than 64' => [ \%good, headers => { 'Idempotency-Key' => 'k' x 65 } ],
	"Content-Type: 'text/plain' is not" => [ \%good, headers => { 'Content-Type' => 'text/plain' } ],
	'no such operation' => [ \%good, path => '/v71/paymentz' ],
	'not below /v71' => [ \%good, path => '/payments' ],
);
for my $problem (sort keys %wrong)
{
	($status, $out) = check(@{ $wrong{$problem} });
	is($status, 1, "refused: $problem");
	like($out, qr/^    .*\Q$problem\E/m, 'says why') or diag $out;
	like($out, qr/^0 passed, 1 failed$/m, 'counts it');
}
done_testing();

# Writes a value to a file as JSON, a line.
sub write_file
{
	my ($name, $value) = @_;

	open(my $file, '>', "$dir/$name") or die "no file: $!\n";
	print $file $json->encode($value), "\n";
	close($file) or die "no file: $!\n";
	return;
}

# Checks a request; returns the exit status and what was printed.
sub check
{
	my ($body, %more) = @_;
	my $printed = '';

	write_file('requests',
		{
			method => 'POST',
			path => $more{path} // '/v71/payments',
			headers => { %headers, %{ $more{headers} // {} } },
			body => ref $body ? $json->encode($body) : $body });
	IPC::Run::run([ 'python3', '-B', "$PspServer::HOME/adyen_conformance.py", '--spec', "$dir/spec", "$dir/requests" ],
		'<', \undef, '>&', \$printed);
	return ($? >> 8, $printed);
}
