# Adyen's own client against the server: see adyen_client/flow.js. It speaks
# https only.
use strict;
use warnings;

use File::Temp;
use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $client = "$PspServer::HOME/adyen_client";

plan skip_all => 'adyen_client/node_modules is missing: run make client'
  unless -d "$client/node_modules/\@adyen/api-library";

my $dir = File::Temp->newdir();
my ($cert, $key) = PspServer->certificate($dir);
my $hmac_key = '44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056';
my $psp = PspServer->new('--tls-cert', $cert, '--tls-key', $key, '--adyen-hmac-key', $hmac_key);

$psp->run_client({ NODE_EXTRA_CA_CERTS => $cert }, "$client/flow.js", "https://127.0.0.1:$psp->{port}",
	$PspServer::KEY, $hmac_key);

# the example that Adyen publishes
my $text = '7914073381342284::TestMerchant:TestPayment-1407325143704:1130:EUR:AUTHORISATION:true';
my $out = '';
IPC::Run::run([ 'node', "$client/sign.js", '--text', $hmac_key ], '<', \$text, '>', \$out);
is($out, "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=\n", 'the published example');

# what the library signs is what the server signs
my $plain = PspServer->new('--adyen-hmac-key', 'AA' x 32, '--adyen-hmac-key', $hmac_key);
$plain->adyen('/payments',
	{
		amount => { currency => 'EUR', value => 2900 },
		merchantAccount => 'Marketplace',
		paymentMethod => { type => 'scheme', storedPaymentMethodId => 'authorised' },
		reference => 'R',
		returnUrl => 'https://shop.example/back'
	});
for my $case ([ 0, 'AA' x 32 ], [ 1, $hmac_key ])
{
	my ($place, $hex) = @$case;
	my ($webhook) = $plain->webhooks(0, adyen_key => $place);

	IPC::Run::run([ 'node', "$client/sign.js", $hex ], '<', \$webhook->{body}, '>', \$out);
	is(signature($out), signature($webhook->{body}), "key $place");
}
is($psp->stop, 0, 'the server ends cleanly');
done_testing();

# The signature in a webhook.
sub signature
{
	my ($body) = @_;
	return JSON::PP::decode_json($body)->{notificationItems}[0]{NotificationRequestItem}{additionalData}{hmacSignature};
}
