# How much gateways are asked: rates, pauses that the PSP asks for, the circuit
# breaker, shares of what all gateways use, and bounded memory.  What is said
# about rates and counts is what the PSP server saw.

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $log = PostgreSQL::Test::Utils::tempdir('psp') . '/requests';
my $psp = PayledgerPsp->new('--log', $log);
my $other = PayledgerPsp->new;

# a third of the descriptors is for transfers, less 16
system('prlimit', "--pid=$$", '--nofile=4096:') == 0 or die "could not raise the limit of open files\n";
my $node = new_node('limits', max_files_per_process => 1500);

# a page of events would be a request, too
add_stripe($node, $psp, backfill_seconds => 0);
add_stripe_too($node, 'other', $other);

# Another gateway of the adapter stripe.
sub add_stripe_too
{
	my ($node, $name, $server, %options) = @_;
	my %all = (
		base_url => ref $server ? $server->url('') : $server,
		timeout_ms => 1000,
		retry_base_ms => 50,
		retry_max_ms => 400,
		lease_seconds => 6,
		rate_per_second => 0,
		endpoint_rate_per_second => 0,
		circuit_failures => 0,
		backfill_seconds => 0,
		%options);

	add_secrets($node, $name => $psp->key);
	$node->reload;
	sql($node, "SELECT payledger.add_gateway('$name', 'stripe', '" . encode_json(\%all) . "')");
	return;
}

sub alter
{
	my ($options, $gateway) = @_;
	$gateway //= 'stripe';

	sql($node, "SELECT payledger.alter_gateway('$gateway', '$options')");
	return;
}

# A column of stat_gateway.
sub status
{
	my ($column, $gateway) = @_;
	$gateway //= 'stripe';

	return sql($node, "SELECT $column FROM payledger.stat_gateway WHERE gateway = '$gateway'");
}

sub wait_status
{
	my ($condition, $what, $gateway) = @_;
	$gateway //= 'stripe';

	wait_sql($node, "SELECT $condition FROM payledger.stat_gateway WHERE gateway = '$gateway'", $what);
	return;
}

# What the PSP server logged since the call before: requests of an operation, or of all.
my $read = 0;

sub arrived
{
	my ($operation) = @_;
	my @lines = map { decode_json($_) } split /\n/, slurp_file($log, $read);

	return sort { $a->{arrived_ms} <=> $b->{arrived_ms} } grep { !$operation || ($_->{operation} // '') eq $operation } @lines;
}

sub forget_log
{
	$read = -s $log;
	return;
}

# Seconds between the first and the last, and the most within a second.
sub pace
{
	my @at = map { $_->{arrived_ms} } @_;
	my ($most, $from) = (0, 0);

	for my $to (0 .. $#at)
	{
		$from++ while $at[$to] - $at[$from] >= 1000;
		$most = $to - $from + 1 if $to - $from + 1 > $most;
	}
	return (($at[-1] - $at[0]) / 1000, $most);
}

subtest 'options' => sub {
	is(sql($node, <<~'SQL'), <<~'DEFAULTS' =~ s/\n\z//r, 'defaults');
		SELECT adapter, option, default_value FROM payledger.gateway_options()
		 WHERE adapter IN ('sandbox', 'stripe') AND option ~ 'rate_per_second|^circuit|burst|concurrency'
		 ORDER BY adapter, option
		SQL
		sandbox|burst|0
		sandbox|concurrency|0
		sandbox|endpoint_concurrency|0
		sandbox|endpoint_rate_per_second|0
		sandbox|rate_per_second|0
		stripe|burst|0
		stripe|circuit_failures|10
		stripe|circuit_open_ms|1000
		stripe|concurrency|0
		stripe|endpoint_concurrency|0
		stripe|endpoint_rate_per_second|25
		stripe|rate_per_second|100
		DEFAULTS
	sql_fails($node, q{SELECT payledger.alter_gateway('stripe', '{"rate_per_second": -1}')}, '22023',
		'option "rate_per_second" of gateway "stripe" must be a number from 0 to 10000', 'a rate below zero');
	sql_fails($node, q{SELECT payledger.alter_gateway('stripe', '{"circuit_open_ms": 60001}')}, '22023',
		'option "circuit_open_ms" of gateway "stripe" must be a whole number from 50 to 60000', 'a pause above a minute');
};

subtest 'rate of a gateway' => sub {
	alter('{"rate_per_second": 40, "burst": 5}');
	pay_many($node, 'rate', 60);
	settle($node);
	my @requests = arrived();
	my ($seconds, $most) = pace(@requests);

	cmp_ok(scalar(@requests), '>=', 140, 'enough to see a rate: ' . @requests . " requests in $seconds s, $most in one");
	# the first one's way to the server is not counted
	cmp_ok($seconds, '>=', (@requests - 6) / 40 - 0.5, 'not faster than 40 a second');
	cmp_ok($seconds, '<=', (@requests - 6) / 40 * 2 + 2, 'nor much slower');
	cmp_ok($most, '<=', 60, 'at no time much faster');
	forget_log();
	alter('{"rate_per_second": 0, "burst": null}');
};

subtest 'rate of an endpoint' => sub {
	alter('{"endpoint_rate_per_second": 20}');
	pay_many($node, 'endpoint', 60);
	settle($node);
	for my $operation ('create', 'capture')
	{
		my @requests = arrived($operation);
		my ($seconds, $most) = pace(@requests);

		cmp_ok($seconds, '>=', (@requests - 3) / 20 - 0.5, "$operation: " . @requests . " in $seconds s, not faster than 20 a second");
		cmp_ok($most, '<=', 30, "$operation: $most within a second");
	}
	my @creates = arrived('create');
	my @captures = arrived('capture');
	cmp_ok($captures[0]{arrived_ms}, '<', $creates[-1]{arrived_ms}, 'one endpoint does not wait for the other');
	forget_log();
	alter('{"endpoint_rate_per_second": 0}');
};

subtest 'concurrency of an endpoint' => sub {
	my @manual = map { create_authorized($node, 'pm_card_visa', [500], capture_method => 'manual') } 1 .. 5;

	alter('{"endpoint_concurrency": 2, "timeout_ms": 20000, "lease_seconds": 30}');
	$psp->fault(fault => 'drop_before', ms => 5000, times => 2, match => { operation => 'create' });
	pay_many($node, 'narrow', 10);
	wait_status('in_flight = 2 AND due = 8', 'two authorizations hang, and no more');
	sql($node, 'SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id IN ('
		  . join(',', @manual) . ')');
	wait_sql($node, 'SELECT bool_and(status = \'CAPTURED\') FROM payledger.payments WHERE payment_id IN ('
		  . join(',', @manual) . ')', 'captures go on');
	is(status('in_flight || \' \' || due'), '2 8', 'the authorizations still hang');
	settle($node);
	alter('{"endpoint_concurrency": null, "timeout_ms": 1000, "lease_seconds": 6}');
	forget_log();
};

subtest 'Retry-After' => sub {
	my $authorized = create_authorized($node, 'pm_card_visa', [500], capture_method => 'manual');

	forget_log();
	$psp->fault(fault => 'rate_limit_429', retry_after => 5, match => { operation => 'create' });
	$psp->fault(fault => 'delay', ms => 300, match => { operation => 'create' });
	pay($node, 'pm_card_visa', [500]);
	wait_status('throttled_until > clock_timestamp()', 'the endpoint is paused');
	pay_many($node, 'patient', 5);
	sql($node, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $authorized");
	my $elsewhere = pay($node, 'pm_card_visa', [500], gateway => 'other');
	wait_sql($node, "SELECT count(*) = 2 FROM payledger.payments WHERE payment_id IN ($authorized, $elsewhere) AND status = 'CAPTURED'",
		'its other endpoints, and the other gateway, go on');
	is(status('throttled_until > clock_timestamp()'), 't', 'meanwhile');
	is(status('circuit'), 'CLOSED', 'that is no fault of the PSP');
	is(scalar(() = arrived('create')), 1, 'no authorization was sent');
	settle($node);
	my ($refused, @later) = arrived('create');

	is($refused->{status}, 429, 'the first one was too many');
	cmp_ok($later[0]{arrived_ms}, '>=', $refused->{arrived_ms} + 5000, 'the others came when the PSP wanted them');
	is(scalar(@later), 6, 'each once');
	cmp_ok($later[1]{arrived_ms}, '>=', $later[0]{arrived_ms} + 300, 'the first of them alone, until it was not too many');
	forget_log();
};
check_books($node, 'after rates and pauses', psp => $psp);

subtest 'a circuit opens, is probed and closes' => sub {
	alter('{"circuit_failures": 5, "circuit_open_ms": 200, "max_attempts": 100}');
	$psp->fault(fault => 'error_503', times => -1);
	pay_many($node, 'circuit', 30);
	wait_status('circuit = \'OPEN\' AND in_flight = 0', 'the circuit is open');
	my $tried = status('replies');
	wait_status("replies >= $tried + 4", 'it was probed');
	is(status('last_fault_http_status'), 503, 'stat_gateway says why');
	is(sql($node, q{SELECT count(*) FROM payledger.payment_intents WHERE order_id LIKE 'circuit-%' AND status = 'PENDING_AUTH'}),
		30, 'nothing is given up');

	# the probe is held
	$psp->clear_faults;
	$psp->fault(fault => 'delay', ms => 900);
	wait_status('circuit = \'HALF_OPEN\' AND in_flight = 1', 'one request finds out');
	my @probes = arrived();
	settle($node);
	is(status('circuit'), 'CLOSED', 'an answer closes it');

	# the last four of those that failed were alone, each after twice the pause
	my @failed = grep { $_->{status} == 503 } arrived();
	my @gaps = map { $failed[$_]{arrived_ms} - $failed[ $_ - 1 ]{arrived_ms} } $#failed - 2 .. $#failed;
	ok($gaps[0] >= 200 && $gaps[1] >= 400 && $gaps[1] >= $gaps[0] * 1.5 && $gaps[2] >= $gaps[1] * 1.5, "the pause doubles: @gaps ms");
	is(sql($node, q{SELECT sum(attempt) FROM payledger.psp_requests r JOIN payledger.payment_intents i ON i.payment_intent_id = r.payment_id
		WHERE i.order_id LIKE 'circuit-%'}), scalar(() = arrived()), 'who waited used up no attempt');
	forget_log();
};

subtest 'a PSP that hangs and comes back' => sub {
	alter('{"timeout_ms": 300}');
	$psp->pause;
	pay_many($node, 'hang', 40);
	wait_status('circuit = \'OPEN\' AND in_flight = 0', 'the circuit is open');
	my $attempts = sql($node, 'SELECT sum(attempt) FROM payledger.psp_requests');
	my $replies = status('replies');
	wait_status("replies = $replies + 2 AND circuit = 'OPEN'", 'it was probed');
	is(sql($node, 'SELECT sum(attempt) FROM payledger.psp_requests'), $attempts + 2, 'once each time');
	cmp_ok(status('EXTRACT(epoch FROM next_probe_at - circuit_since)'), '>=', 0.79, 'stat_gateway says when it is probed next');
	$psp->resume;
	settle($node);
	is(status('circuit'), 'CLOSED', 'an answer closes it');
	is(sql($node, q{SELECT count(*) FROM payledger.payment_intents WHERE order_id LIKE 'hang-%' AND status = 'PENDING_AUTH'}), 0,
		'all is decided');
};
check_books($node, 'after open circuits', psp => $psp);

subtest 'an error that is stored opens no circuit' => sub {
	my $options = encode_json({ base_url => $other->url('/v71'), merchant_account => 'Shop', return_url => 'https://shop.example/back',
		circuit_failures => 5, retry_base_ms => 20, retry_max_ms => 50, unknown_max_ms => 50 });

	add_secrets($node, adyen => $psp->key);
	$node->reload;
	sql($node, "SELECT payledger.add_gateway('adyen', 'adyen', '$options')");
	$other->fault(fault => 'error_500_stored', match => { operation => 'authorize' });
	my $id = pay($node, 'authorised', [500], gateway => 'adyen');
	my $request = "FROM payledger.psp_requests WHERE payment_id = $id";

	wait_sql($node, "SELECT attempt > 12 $request", 'the same answer came again and again');
	is(sql($node, q{SELECT circuit, circuit_since IS NULL FROM payledger.stat_gateway WHERE gateway = 'adyen'}), 'CLOSED|t', 'it never opened');
	alter('{"retry_base_ms": 60000, "retry_max_ms": 60000}', 'adyen');
	wait_sql($node, "SELECT status = 'UNKNOWN' AND next_attempt_at > now() + interval '10 s' $request", 'it waits for an operator');
	sql($node, "SELECT payledger.resolve_request(psp_request_id, 'REFUSED', 'not executed') $request");
};

subtest 'a gateway that is altered is probed at once' => sub {
	alter('{"circuit_failures": 1, "circuit_open_ms": 60000}');
	$psp->fault(fault => 'error_503', times => 1);
	my $id = pay($node, 'pm_card_visa', [500]);
	wait_status('circuit = \'OPEN\'', 'the circuit is open');
	is(status('next_probe_at > clock_timestamp() + interval \'30 s\''), 't', 'for long');
	alter('{"timeout_ms": 1000}');
	settle($node);
	is(sql($node, "SELECT status FROM payledger.payments WHERE payment_id = $id"), 'CAPTURED', 'nobody had to wait for it');
	alter('{"circuit_failures": 0, "circuit_open_ms": 200}');
};

# Asks for n authorizations through a gateway in one transaction.
sub pay_many_at
{
	my ($gateway, $tag, $n) = @_;

	sql($node, <<~"SQL");
		SELECT count(payledger.request_authorization(i.payment_intent_id, 'pm_card_visa')) FROM generate_series(1, $n) k,
		  LATERAL payledger.create_payment_intent('$tag-' || k, 'BUYER-1', 'EUR', '[{"seller_id": "SELLER-222", "amount": 500}]',
												  'manual', '$gateway') i
		SQL
	return;
}

# Megabytes of its own that the gateway worker has in memory.
sub memory
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 / 1024 : die "no RssAnon of $pid\n";
}

for my $case ([ 'of 100 MB', 100 << 20 ], [ 'without an end', 1 << 40 ], [ 'as large as just allowed', (1 << 20) - 1000 ])
{
	my ($name, $bytes) = @$case;

	subtest "64 replies at once $name" => sub {
		alter('{"concurrency": 64, "timeout_ms": 5000, "lease_seconds": 12}');
		pay_many_at('stripe', "small$bytes", 128);
		settle($node);
		my $pid = worker_pid($node, 'gateway');
		my ($before, $most) = (memory($pid), 0);
		my $fired = $psp->fired('oversized');

		$psp->fault(fault => 'oversized', bytes => $bytes, times => 192, match => { operation => 'create' });
		pay_many_at('stripe', "large$bytes", 64);
		wait_for(
			sub {
				my $now = memory($pid);

				$most = $now if $now > $most;
				# of those that are just allowed some get through
				return $psp->fired('oversized') >= $fired + 192 || status('ready + in_flight + unknown') == 0;
			},
			'all were sent', $node);
		memory_below($most, $before + 16, sprintf('the worker grew from %.1f to %.1f MB', $before, $most));
		settle($node);
		is(worker_pid($node, 'gateway'), $pid, 'it lives');
		is(sql($node, "SELECT count(*) FROM payledger.payments WHERE order_id LIKE 'large$bytes-%'"), 64, 'all are authorized in the end');
	};
}
check_books($node, 'after large replies', psp => $psp);

# Milliseconds that each of n authorizations through the other gateway took.
sub latencies
{
	my ($n) = @_;
	my @ms;

	for (1 .. $n)
	{
		my $id = create_intent($node, [500], gateway => 'other', capture_method => 'manual');
		my $began = time();

		is(sql($node, "CALL payledger.authorize($id, 'pm_card_visa')"), 'AUTHORIZED', 'authorized') if $_ == 1;
		sql($node, "CALL payledger.authorize($id, 'pm_card_visa')") if $_ > 1;
		push @ms, (time() - $began) * 1000;
	}
	return sort { $a <=> $b } @ms;
}

subtest 'a gateway that hangs takes nothing from another' => sub {
	alter('{"concurrency": 1000, "timeout_ms": 60000, "lease_seconds": 90}');
	create_authorized($node, 'pm_card_visa', [500]);
	settle($node);
	my @before = latencies(20);

	$psp->pause;
	pay_many($node, 'stuck', 600);
	# 484 transfers; a quarter is kept for the other gateway
	wait_status('in_flight > 256', 'hundreds hang');
	my @hanging = latencies(20);

	cmp_ok($hanging[-1], '<', $before[-1] + 1000, sprintf('the slowest of 20 took %.0f ms, before %.0f', $hanging[-1], $before[-1]));
	cmp_ok($hanging[9], '<', $before[9] * 3 + 20, sprintf('the median took %.0f ms, before %.0f', $hanging[9], $before[9]));
	pay_many_at('other', 'beside', 100);
	wait_sql($node, q{SELECT count(*) = 100 FROM payledger.payment_intents WHERE order_id LIKE 'beside-%' AND status <> 'PENDING_AUTH'},
		'a hundred at once are done beside it');
	my $in_flight = status('in_flight');

	cmp_ok($in_flight, '>', 256, "$in_flight still hang");
	cmp_ok($in_flight, '<=', 484 - 121, 'and left the other its share');
	$psp->resume;
	settle($node);
	alter('{"concurrency": null, "timeout_ms": 1000, "lease_seconds": 6}');
};
check_books($node, 'after a gateway that hung', psp => $psp);

# A server that gives every request this reply, in a process of its own.
sub start_replying
{
	my ($reply) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8) or die "could not listen: $!\n";
	my $pid = fork() // die "could not fork: $!\n";

	return ('http://127.0.0.1:' . PayledgerHosts::add($listener->sockport), $pid) if $pid;
	while (my $client = $listener->accept)
	{
		sysread($client, my $request, 65536);
		syswrite($client, $reply);
		close($client);
	}
	POSIX::_exit(0);
}

my $n = 0;

for my $case (
	[ 'a compressed reply', 'reply_encoded', "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00" ],
	[ 'headers without an end', 'reply_too_large', "HTTP/1.1 200 OK\r\n" . "X-More: of this\r\n" x 10_000 ],
	[ 'interim replies without an end', 'reply_too_large', "HTTP/1.1 103 Early Hints\r\nX-More: of this\r\n\r\n" x 5_000 ],
	[ 'a header line without an end', 'reply_too_large', "HTTP/1.1 200 OK\r\nX-Long: " . 'x' x 1_000_000 ])
{
	my ($name, $code, $reply) = @$case;
	my ($url, $pid) = start_replying($reply);
	my $gateway = 'raw' . ++$n;

	subtest $name => sub {
		add_stripe_too($node, $gateway, $url);
		my $id = pay($node, 'pm_card_visa', [500], gateway => $gateway);
		wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id", 'it is unknown');
		is(status('last_fault_code', $gateway), $code, 'stat_gateway says why');
	};
	kill('KILL', $pid);
	waitpid($pid, 0);
}

done_testing();
