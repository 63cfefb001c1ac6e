# A new connection to a PSP resumes a TLS session of a former one, although each
# request has a libcurl handle of its own; and no session gets a gateway past
# the checks of certificates.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use PayledgerTls;
use PostgreSQL::Test::Utils;
use Test::More;

my $psp = PayledgerPsp->new;
my ($tls, $other) = map { PayledgerTls->new } 1 .. 2;
my ($cert, $key) = $tls->certificate('psp', names => 'IP:127.0.0.1');
my $out = '';
my $proxy = IPC::Run::start([ 'python3', '-B', "$PayledgerTest::TEST_DIR/tls_proxy.py", $cert, $key, $psp->{port} ], '<', \undef, '>', \$out);

END
{
	my $code = $?;

	$proxy->kill_kill(grace => 2) if $proxy;
	$? = $code;
}

my $node = new_node('sessions');

wait_for(sub { $proxy->pump_nb; $out =~ /\n/ }, 'the proxy listens', $node);
my ($port) = $out =~ /^(\d+)$/m;
my %options = (base_url => "https://127.0.0.1:" . PayledgerHosts::add($port), concurrency => 1, backfill_seconds => 0);

# Makes gateways trust authorities, and returns when the worker knows.
sub trust
{
	my (%authority) = @_;

	write_secrets($node, map { $_ => [ api_key => $psp->key, ca_file => $authority{$_}{ca_file} ] } keys %authority);
	$node->reload;
	# the session that asks was begun after the worker was signalled; one turn leases, a later one stores
	create_authorized($node, 'pm_ok', [1], gateway => 'sandbox');
	return;
}

# How the connections since the last call began, in words.
sub handshakes
{
	$proxy->pump_nb;
	my @words = $out =~ /^(full|resumed|refused)$/mg;

	$out = '';
	return @words;
}

# Pays at a gateway, one payment after the other, and waits.
sub pay_at
{
	my ($gateway, $n) = @_;

	for (1 .. $n)
	{
		pay($node, 'pm_card_visa', [500], gateway => $gateway);
		settle($node);
	}
	return;
}

add_stripe($node, $psp, %options);
sql($node, "SELECT payledger.add_gateway('sandbox', 'sandbox')");
trust(stripe => $tls);
handshakes();
pay_at('stripe', 5);
my @first = handshakes();
note("@first");
is(scalar @first, 10, 'each request had a connection of its own');
is($first[0], 'full', 'the first began with a whole handshake');
is(scalar(grep { $_ ne 'resumed' } @first[ 1 .. $#first ]), 0, 'all others resumed its session');

# the same server and another authority: whoever does not trust it must not get there by a session
my $json = JSON::PP->new->canonical;
trust(stripe => $tls, stranger => $other);
sql($node, "SELECT payledger.add_gateway('stranger', 'stripe', '" . $json->encode({ %options, retry_base_ms => 50, retry_max_ms => 100 }) . "')");
my $id = pay($node, 'pm_card_visa', [500], gateway => 'stranger');
wait_sql($node, "SELECT attempt > 2 FROM payledger.psp_requests WHERE payment_id = $id", 'it was tried');
is(sql($node, "SELECT reply_code FROM payledger.psp_requests WHERE payment_id = $id"), 'certificate_refused', 'who trusts another authority is refused');
is(join(' ', grep { $_ ne 'refused' } handshakes()), '', 'at each attempt, before a request was sent');

# nor does a gateway that trusted it before
trust(stripe => $other, stranger => $other);
$id = pay($node, 'pm_card_visa', [500]);
wait_sql($node, "SELECT attempt > 2 FROM payledger.psp_requests WHERE payment_id = $id", 'it was tried');
is(sql($node, "SELECT reply_code FROM payledger.psp_requests WHERE payment_id = $id"), 'certificate_refused', 'who trusts it no more is refused');
is(join(' ', grep { $_ ne 'refused' } handshakes()), '', 'at each attempt');

# two gateways that trust it have sessions of their own
trust(stripe => $tls, stranger => $tls, friend => $tls);
sql($node, "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE status = 'READY'");
$node->reload;
settle($node);
handshakes();
sql($node, "SELECT payledger.add_gateway('friend', 'stripe', '" . $json->encode(\%options) . "')");
pay_at('friend', 2);
is(join(' ', handshakes()), 'full resumed resumed resumed', 'another gateway resumes no session but its own');
check_books($node, 'in the end');
$node->stop;
done_testing();
