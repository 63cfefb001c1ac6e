# Stripe's own client against the server: see stripe_client/flow.js.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $client = "$PspServer::HOME/stripe_client";

plan skip_all => 'stripe_client/node_modules is missing: run make client'
  unless -d "$client/node_modules/stripe";

my $secret = 'whsec_test';
my $psp = PspServer->new('--stripe-webhook-secret', 'whsec_old', '--stripe-webhook-secret', $secret);

$psp->run_client({}, "$client/flow.js", $psp->url(''), $PspServer::KEY, $secret);
is($psp->stop, 0, 'the server ends cleanly');
done_testing();
