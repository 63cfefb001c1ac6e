# A TLS server that sends what is no data, and no end of it, keeps the gateway
# worker from nothing: other gateways are served, times are kept, and the worker
# ends when it is told to.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerHosts;
use PayledgerPsp;
use PayledgerTest;
use PayledgerTls;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $json = JSON::PP->new->canonical;
my $psp = PayledgerPsp->new;
my $tls = PayledgerTls->new;
my ($cert, $key) = $tls->certificate('psp', names => 'IP:127.0.0.1');
my %fault = (hello => 'READY', tickets => 'UNKNOWN', updates => 'UNKNOWN');
my (%server, %out, %port);

END
{
	my $code = $?;

	$_->kill_kill(grace => 2) for values %server;
	$? = $code;
}

for my $kind (sort keys %fault)
{
	$out{$kind} = '';
	$server{$kind} = IPC::Run::start([ "$PayledgerTest::TEST_DIR/psp/tls-flood", $kind, $cert, $key ], '<', \undef, '>', \$out{$kind});
	wait_for(sub { $server{$kind}->pump_nb; $out{$kind} =~ /\n/ }, "a server of $kind listens");
	$port{$kind} = PayledgerHosts::add($out{$kind} =~ /^(\d+)$/m);
}

# How many connections a server has flooded.
sub floods
{
	my ($kind) = @_;

	$server{$kind}->pump_nb;
	return scalar(() = $out{$kind} =~ /^flooding$/mg);
}

my $node = new_node('floods');
my %options = (timeout_ms => 1000, connect_timeout_ms => 1000, lease_seconds => 6, retry_base_ms => 20, retry_max_ms => 100, rate_per_second => 0,
	endpoint_rate_per_second => 0, circuit_failures => 0, backfill_seconds => 0);

sql($node, "SELECT payledger.add_gateway('sandbox', 'sandbox')");
add_stripe($node, $psp);
write_secrets($node, map { $_ => [ api_key => $psp->key, ca_file => $tls->{ca_file} ] } 'stripe', keys %fault);
$node->reload;
for my $kind (sort keys %fault)
{
	sql($node, "SELECT payledger.add_gateway('$kind', 'stripe', '" . $json->encode({ %options, base_url => "https://127.0.0.1:$port{$kind}" }) . "')");
}

for my $kind (sort keys %fault)
{
	subtest $kind => sub {
		my $pid = worker_pid($node, 'gateway');
		my $started = time();
		my $id = pay($node, 'pm_card_visa', [500], gateway => $kind);

		wait_for(sub { floods($kind) > 0 }, 'the worker is flooded', $node);
		create_authorized($node, 'pm_ok', [1], gateway => 'sandbox');
		my $took = time() - $started;
		cmp_ok($took, '<', 10 * ($ENV{PAYLEDGER_SLOWNESS} // 1), "another gateway is served, after $took s");

		wait_sql($node, "SELECT attempt > 2 FROM payledger.psp_requests WHERE payment_id = $id", 'it was tried again');
		# while an attempt is under way the row still says what came of the last one
		wait_sql($node, "SELECT status = '$fault{$kind}' FROM payledger.psp_requests WHERE payment_id = $id", "it is $fault{$kind}");
		is(sql($node, "SELECT i.status, r.reply_code, r.reply_message FROM payledger.payment_intents i JOIN payledger.psp_requests r ON r.payment_id = i.payment_intent_id"
				  . " WHERE i.payment_intent_id = $id"),
			'PENDING_AUTH|tls_failed|the PSP\'s TLS server sends messages without data, and no end of them', 'what is known of it');
		is(worker_pid($node, 'gateway'), $pid, 'the worker lives');

		# while it is flooded again and again
		$started = time();
		signal_worker($node, 'gateway', 'TERM');
		wait_for(sub { my $now = worker_pid($node, 'gateway'); $now && $now != $pid }, 'there is another worker', $node);
		$took = time() - $started;
		cmp_ok($took, '<', 10 * ($ENV{PAYLEDGER_SLOWNESS} // 1), "it ended when it was told to, after $took s");

		sql($node, "SELECT payledger.alter_gateway('$kind', '{\"base_url\": \"${\$psp->url('')}\"}')");
		sql($node, "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE status IN ('READY', 'UNKNOWN')");
		settle($node);
		is(sql($node, "SELECT status FROM payledger.payments WHERE payment_id = $id"), 'CAPTURED', 'led elsewhere, it is paid');
	};
}

check_books($node, 'in the end');
$node->stop;
done_testing();
