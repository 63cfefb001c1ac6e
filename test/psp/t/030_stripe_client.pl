# Stripe's own client against the server: see stripe_client/flow.js.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use PspServer;
use Test::More;

my $client = "$PspServer::HOME/stripe_client";

plan skip_all => 'stripe_client/node_modules is missing: run make client'
  unless -d "$client/node_modules/stripe";

my $psp = PspServer->new;
my ($out, $err);

IPC::Run::run(
	[ 'node', "$client/flow.js", $psp->url(''), $PspServer::KEY ],
	'<', \undef, '>', \$out, '2>', \$err);
is($? >> 8, 0, 'exit status') or diag $err;
for my $line (split /\n/, $out)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/)
	{
		ok(!$1, $2);
	}
	elsif ($line =~ /^1\.\.(\d+)/)
	{
		is(Test::More->builder->current_test - 1, $1, 'all of them ran');
	}
	elsif ($line =~ /^# (.*)/)
	{
		diag $1;
	}
}
is($psp->stop, 0, 'the server ends cleanly');
done_testing();
