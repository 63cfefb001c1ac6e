# Whatever goes wrong between us and the PSP, one fault at a time: in the end
# every payment is what the PSP made of it, and the PSP did everything once.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerFront;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $log = PostgreSQL::Test::Utils::tempdir('psp') . '/requests';
my $psp = PayledgerPsp->new('--log', $log);
my $front = PayledgerFront->new($psp->{port});
my $node = new_node('faults');

add_stripe($node, $psp, base_url => $front->url, timeout_ms => 700);

# Every state that the request of an operation of a payment went through.
sub path
{
	my ($id, $operation) = @_;

	return sql($node, <<~"SQL");
		SELECT string_agg(h.to_status, ' ' ORDER BY h.history_id)
		  FROM payledger.psp_requests r
		  JOIN payledger.state_history h ON h.payment_id = r.payment_id AND h.object_id = r.psp_request_id
										 AND h.machine = 'psp_request'
		 WHERE r.payment_id = $id AND r.operation = '$operation'
		SQL
}

sub states
{
	my ($id) = @_;

	return sql($node, <<~"SQL");
		SELECT concat_ws(' ', i.status, p.status, o.status) FROM payledger.payment_intents i
		  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
		  LEFT JOIN payledger.payment_orders o ON o.payment_id = i.payment_intent_id
		 WHERE i.payment_intent_id = $id
		SQL
}

# The operations that the PSP really executed for a payment.
sub executed
{
	my ($id) = @_;

	return join ' ', map { map { "$_->{operation} $_->{outcome}" } @{ $_->{operations} } }
	  grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth;
}

my $unknown = qr/^READY (IN_FLIGHT UNKNOWN )+IN_FLIGHT SUCCEEDED$/;
my $retried = qr/^READY (IN_FLIGHT READY )+IN_FLIGHT SUCCEEDED$/;
my $straight = qr/^READY IN_FLIGHT SUCCEEDED$/;

# name, fault, the way of the request.  Only what the PSP documents as not
# executed is READY again; all else is UNKNOWN until the PSP's word.  libcurl
# itself sends a request again, as it is, when a connection that it kept ends
# before the answer's first byte; so a reset has to happen twice to be seen.
my @faults = (
	[ 'a delay', { fault => 'delay', ms => 100 }, $straight ],
	[ 'a delay longer than we wait', { fault => 'delay', ms => 1200 }, $unknown ],
	[ 'no answer and no execution', { fault => 'drop_before' }, $unknown ],
	[ 'no answer after execution', { fault => 'drop_after' }, $unknown ],
	[ 'a reset before execution', { fault => 'reset_before', times => 2 }, $unknown ],
	[ 'a reset after execution', { fault => 'reset_after', times => 2 }, $unknown ],
	[ 'status 500', { fault => 'error_500' }, $unknown ],
	[ 'status 500 after execution', { fault => 'error_500', execute => JSON::PP::true }, $unknown ],
	[ 'status 500 after execution, stored under the key', { fault => 'error_500_stored', execute => JSON::PP::true }, $unknown ],
	[ 'status 503', { fault => 'error_503' }, $unknown ],
	[ 'status 409, in progress', { fault => 'conflict_409' }, $unknown ],
	[ 'status 429', { fault => 'rate_limit_429', retry_after => 1 }, $retried ],
	[ 'garbage', { fault => 'garbage' }, $unknown ],
	[ 'a truncated answer', { fault => 'truncated', bytes => 100 }, $unknown ],
	[ 'an oversized answer', { fault => 'oversized', bytes => 3_000_000 }, $unknown ],
	[ 'a slow-loris answer', { fault => 'slow_loris', ms => 20 }, $unknown ]);

for my $operation ([ 'create', 'AUTHORIZE' ], [ 'capture', 'CAPTURE' ])
{
	for my $case (@faults)
	{
		my ($name, $fault, $way) = @$case;

		$psp->clear_faults;
		my $fired = $psp->fired($fault->{fault});
		$psp->fault(%$fault, match => { operation => $operation->[0] });
		my $id = pay($node, 'pm_card_visa', [1450]);
		settle($node);

		$name = "$operation->[0] with $name";
		is($psp->fired($fault->{fault}), $fired + ($fault->{times} // 1), "$name: it happened");
		is(states($id), 'AUTHORIZED CAPTURED CAPTURED', "$name: paid in the end");
		like(path($id, $operation->[1]), $way, "$name: the way there");
		is(executed($id), 'create ok confirm ok capture ok', "$name: the PSP did each once");

		next unless $fault->{retry_after};
		is(sql($node, <<~"SQL"), 't', "$name: not before the second that the PSP asked for");
			SELECT min(h.at) FILTER (WHERE h.to_status = 'IN_FLIGHT' AND h.from_status = 'READY' AND h.at > f.at) - f.at >= '1 s'
			  FROM payledger.psp_requests r
			  JOIN payledger.state_history h ON h.payment_id = r.payment_id AND h.object_id = r.psp_request_id
			 CROSS JOIN LATERAL (
					SELECT min(at) AS at FROM payledger.state_history
					 WHERE payment_id = r.payment_id AND object_id = r.psp_request_id AND from_status = 'IN_FLIGHT') f
			 WHERE r.payment_id = $id AND r.operation = '$operation->[1]' GROUP BY f.at
			SQL
	}
}
$psp->clear_faults;
check_books($node, 'after every fault', psp => $psp);

subtest 'a decline whose answer got lost' => sub {
	$psp->fault(fault => 'drop_after', match => { operation => 'create' });
	my $id = pay($node, 'pm_card_chargeDeclined', [500]);
	settle($node);
	is(states($id), 'DECLINED', 'declined');
	is(executed($id), 'create ok confirm declined', 'asked once');
	is(sql($node, "SELECT count(*) FROM payledger.journal_entries WHERE payment_id = $id"), 0, 'nothing booked');
};

subtest 'status 500 without execution, stored under the key' => sub {
	# each replay brings the 500 back, and no question can prove that nothing
	# was done: only a human can end this
	$psp->fault(fault => 'error_500_stored', match => { operation => 'create' });
	my $authorization = pay($node, 'pm_card_visa', [500]);
	wait_sql($node, <<~"SQL", 'it was replayed and asked for');
		SELECT status = 'UNKNOWN' AND attempt >= 3 FROM payledger.psp_requests WHERE payment_id = $authorization
		SQL
	$psp->fault(fault => 'error_500_stored', match => { operation => 'capture' });
	my $capture = pay($node, 'pm_card_visa', [500]);
	wait_sql($node, <<~"SQL", 'so was the capture');
		SELECT status = 'UNKNOWN' AND attempt >= 3 FROM payledger.psp_requests
		 WHERE payment_id = $capture AND operation = 'CAPTURE'
		SQL
	is(states($authorization), 'PENDING_AUTH', 'no failure is invented');
	is(states($capture), 'AUTHORIZED NOT_CAPTURED PENDING_CAPTURE', 'nor for the capture');
	is(executed($authorization), '', 'the PSP did not authorize');
	is(executed($capture), 'create ok confirm ok', 'nor capture');
	# one may be on its way at this moment
	wait_sql($node, "SELECT unknown = 2 FROM payledger.stat_gateway WHERE gateway = 'stripe'", 'stat_gateway counts them');

	sql($node, <<~"SQL");
		SELECT payledger.resolve_request(psp_request_id, 'REFUSED', 'the PSP says so on the phone')
		  FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED')
		SQL
	settle($node);
	is(states($authorization), 'DECLINED', 'an operator ends it');
	is(states($capture), 'AUTHORIZED VOIDED CAPTURE_FAILED', 'both');
	is(executed($capture), 'create ok confirm ok cancel ok', 'what was held is given back');
};

subtest "the PSP's own word on retries" => sub {
	$psp->fault(fault => 'rate_limit_429', should_retry => JSON::PP::false, match => { operation => 'create' });
	my $refused = pay($node, 'pm_card_visa', [500]);
	settle($node);
	is(states($refused), 'DECLINED', '429 and not to be retried: refused');
	is(executed($refused), '', 'never executed');

	$psp->fault(fault => 'error_500', should_retry => JSON::PP::false, execute => JSON::PP::true, match => { operation => 'create' });
	my $unknown = pay($node, 'pm_card_visa', [500]);
	settle($node);
	is(states($unknown), 'AUTHORIZED CAPTURED CAPTURED', '500 and not to be retried: still not known, so asked for');
};

subtest 'too many transient answers' => sub {
	$psp->fault(fault => 'rate_limit_429', times => -1, match => { operation => 'create' });
	my $authorization = pay($node, 'pm_card_visa', [500]);
	settle($node);
	is(states($authorization), 'DECLINED', 'an authorization is given up');
	is(sql($node, "SELECT attempt FROM payledger.psp_requests WHERE payment_id = $authorization"), 5, 'after 5 attempts');
	is(executed($authorization), '', 'and was never executed');

	$psp->clear_faults;
	$psp->fault(fault => 'rate_limit_429', times => -1, match => { operation => 'capture' });
	my $capture = pay($node, 'pm_card_visa', [500]);
	settle($node);
	is(states($capture), 'AUTHORIZED VOIDED CAPTURE_FAILED', 'a capture is given up');
	is(executed($capture), 'create ok confirm ok cancel ok', 'and what it held is given back');
	$psp->clear_faults;
};

check_books($node, 'after refusals', psp => $psp);

subtest 'a slow request delays no other' => sub {
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 5000, "lease_seconds": 11}')});
	$psp->fault(fault => 'drop_before', match => { operation => 'create' });
	my $slow = pay($node, 'pm_card_visa', [500]);
	wait_for(sub { $psp->fired('drop_before') > 2 }, 'the slow one hangs', $node);
	pay_many($node, 'quick', 50);
	wait_sql($node, <<~'SQL', 'all others are decided');
		SELECT NOT EXISTS (SELECT FROM payledger.psp_requests r JOIN payledger.payment_intents i ON i.payment_intent_id = r.payment_id
							WHERE i.order_id LIKE 'quick-%' AND r.status NOT IN ('SUCCEEDED', 'REFUSED'))
		SQL
	is(path($slow, 'AUTHORIZE'), 'READY IN_FLIGHT', 'while it still waits for its answer');
	is(sql($node, "SELECT in_flight FROM payledger.stat_gateway WHERE gateway = 'stripe'"), 1, 'stat_gateway shows it');
	settle($node);
	is(states($slow), 'AUTHORIZED CAPTURED CAPTURED', 'and is paid in the end');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 700, "lease_seconds": 6}')});
};

subtest 'more work than may be in flight' => sub {
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"concurrency": 3}')});
	pay_many($node, 'queue', 40);
	# a gateway that is full goes on as soon as one call is over
	settle($node);
	cmp_ok(sql($node, <<~'SQL'), '<', 20, 'it never stood still');
		SELECT extract(epoch FROM max(h.at) - min(h.at)) FROM payledger.state_history h
		  JOIN payledger.payment_intents i ON i.payment_intent_id = h.payment_id WHERE i.order_id LIKE 'queue-%'
		SQL
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"concurrency": null}')});
};

subtest 'a PSP that hangs' => sub {
	$psp->pause;
	pay_many($node, 'hang', 20);
	wait_sql($node, <<~'SQL', 'all are unknown');
		SELECT count(*) = 20 FROM payledger.psp_requests r JOIN payledger.payment_intents i ON i.payment_intent_id = r.payment_id
		 WHERE i.order_id LIKE 'hang-%' AND r.attempt >= 1 AND r.status IN ('UNKNOWN', 'IN_FLIGHT')
		   AND EXISTS (SELECT FROM payledger.state_history h WHERE h.payment_id = r.payment_id AND h.to_status = 'UNKNOWN')
		SQL
	is(sql($node, "SELECT last_fault_code FROM payledger.stat_gateway WHERE gateway = 'stripe'"),
		'timeout', 'stat_gateway says why they wait');
	$psp->resume;
	settle($node);
};
check_books($node, 'after a PSP that hung', psp => $psp);

# Payments of a tag and their states.
sub states_of
{
	my ($tag) = @_;

	return sql($node, <<~"SQL");
		SELECT concat_ws(' ', i.status, p.status), count(*) FROM payledger.payment_intents i
		  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
		 WHERE i.order_id LIKE '$tag-%' GROUP BY 1 ORDER BY 1
		SQL
}

subtest 'a PSP that is down' => sub {
	my @manual = map { create_authorized($node, 'pm_card_visa', [500], capture_method => 'manual') } 1 .. 3;
	my $executed = $psp->stats->{requests};

	# with a circuit breaker most would not even be tried
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"circuit_failures": 0}')});
	$front->down;
	sql($node, "SELECT payledger.capture(payment_order_id) FROM payledger.payment_orders WHERE payment_id = ANY ('{"
		  . join(',', @manual) . "}')");
	pay_many($node, 'down', 20);
	pass('commits go on');
	wait_sql($node, <<~'SQL', 'all were tried more often than answers are retried, or decided');
		SELECT count(*) = 23 AND bool_and(r.attempt > 6 OR r.status NOT IN ('READY', 'IN_FLIGHT'))
		  FROM payledger.psp_requests r JOIN payledger.payment_intents i ON i.payment_intent_id = r.payment_id
		 WHERE i.order_id LIKE 'down-%' OR r.operation = 'CAPTURE' AND r.status NOT IN ('SUCCEEDED', 'REFUSED')
		SQL
	is(states_of('down'), 'PENDING_AUTH|20', 'authorizations wait: not to be reached is no answer');
	is(join(' ', map { states($_) } @manual), join(' ', ('AUTHORIZED NOT_CAPTURED PENDING_CAPTURE') x 3), 'captures wait');
	is(sql($node, "SELECT ready + in_flight, last_fault_code FROM payledger.stat_gateway WHERE gateway = 'stripe'"),
		'23|connect_failed', 'stat_gateway says what waits and why');
	is($psp->stats->{requests}, $executed, 'the PSP has heard nothing');

	$front->up;
	settle($node);
	is(states_of('down'), "AUTHORIZED CAPTURED|18\nDECLINED|2", 'it all goes on by itself');
	is(join(' ', map { states($_) } @manual), join(' ', ('AUTHORIZED CAPTURED CAPTURED') x 3), 'the captures too');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"circuit_failures": null}')});
};
check_books($node, 'after a PSP that was down', psp => $psp);

# Reads the secrets again, and returns when the gateway worker has found fault with them.
sub reload_and_fail
{
	$node->reload;
	wait_sql($node, "SELECT failing FROM payledger.stat_worker WHERE role = 'gateway'", 'the gateway worker complains');
	return;
}

subtest 'a wrong API key' => sub {
	# meanwhile the gateway has no key at all, so that the wrong one is the next
	write_secrets($node, nobody => 'sk_test_of_nobody');
	reload_and_fail();
	my $executed = () = $psp->all_truth;
	my $id = pay($node, 'pm_card_visa', [500]);
	write_secrets($node, stripe => 'sk_test_wrong_key_1234567890');
	$node->reload;
	wait_sql($node, "SELECT attempt > 6 OR status NOT IN ('READY', 'IN_FLIGHT') FROM payledger.psp_requests WHERE payment_id = $id",
		'it was refused often enough');
	is(states($id), 'PENDING_AUTH', 'it waits');
	like(sql($node, "SELECT last_fault_http_status, last_fault_message FROM payledger.stat_gateway WHERE gateway = 'stripe'"),
		qr/^401\|.*API [Kk]ey/, 'stat_gateway says why');
	write_secrets($node, stripe => $psp->key);
	$node->reload;
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'with the right key it goes on');
	is(scalar(() = $psp->all_truth), $executed + 1, 'once');
};

subtest 'a secrets file that others can read' => sub {
	my $why = qr/secrets file ".*" may be read or written by others; set its mode to 0600/;

	chmod 0644, $node->basedir . '/secrets';
	reload_and_fail();
	like(sql($node, "SELECT last_error FROM payledger.stat_worker WHERE role = 'gateway'"), $why, 'and says why');
	is(states(create_authorized($node, 'pm_card_visa', [500])) =~ /^AUTHORIZED/, 1, 'what was read before still counts');
	settle($node);
	like(sql($node, "SELECT last_error FROM payledger.stat_worker WHERE role = 'gateway' AND failing"), $why, 'it goes on to say so');

	# one that starts has nothing that was read before
	my $former = signal_worker($node, 'gateway', 'TERM');
	wait_for(sub { my $now = worker_pid($node, 'gateway'); $now && $now != $former }, 'there is another worker', $node);
	wait_sql($node, "SELECT problem LIKE 'gateway secrets file%' FROM payledger.stat_gateway WHERE gateway = 'stripe'", 'stat_gateway says why');
	my $asked = $psp->stats->{requests};
	my $id = pay($node, 'pm_card_visa', [500]);
	# a gateway of the sandbox is served in the same turns, and later asked for
	sql($node, "SELECT payledger.add_gateway('sandbox', 'sandbox')");
	my $other = create_authorized($node, 'pm_ok', [500], gateway => 'sandbox');
	is(states($id), 'PENDING_AUTH', 'its payments wait');
	is(path($id, 'AUTHORIZE'), 'READY', 'without an attempt');
	is($psp->stats->{requests}, $asked, 'the PSP hears nothing');
	chmod 0600, $node->basedir . '/secrets';
	$node->reload;
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'with mode 0600 they go on');
};

# What an impostor was asked, over a connection that does not look at its name.
sub impostor_stats
{
	my ($impostor) = @_;
	my $out = '';

	IPC::Run::run([ 'curl', '-sk', $impostor->url('/_test/stats') ], '>', \$out) or die "no answer\n";
	return decode_json($out);
}

subtest 'TLS' => sub {
	my $dir = PostgreSQL::Test::Utils::tempdir('tls');

	for my $name ('127.0.0.1', '127.0.0.2')
	{
		system_or_bail('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
			'-days', 2, '-subj', '/CN=psp.invalid', '-addext', "subjectAltName=IP:$name",
			'-keyout', "$dir/$name.key", '-out', "$dir/$name.crt");
	}
	my $tls = PayledgerPsp->new_tls("$dir/127.0.0.1.crt", "$dir/127.0.0.1.key", "$dir/127.0.0.1.crt");
	my $impostor = PayledgerPsp->new_tls("$dir/127.0.0.2.crt", "$dir/127.0.0.2.key", "$dir/127.0.0.2.crt");

	my %key = (stripe => $psp->key, impostor => [ api_key => $psp->key, ca_file => "$dir/127.0.0.2.crt" ]);
	write_secrets($node, %key, tls => $psp->key);
	$node->reload;
	for my $gateway ([ 'tls', $tls ], [ 'impostor', $impostor ])
	{
		sql($node, qq(SELECT payledger.add_gateway('$gateway->[0]', 'stripe', '{"base_url": "${\$gateway->[1]->url('')}",
			"timeout_ms": 1000, "lease_seconds": 6, "retry_base_ms": 50, "retry_max_ms": 400}')));
	}
	my $untrusted = pay($node, 'pm_card_visa', [500], gateway => 'tls');
	my $misnamed = pay($node, 'pm_card_visa', [500], gateway => 'impostor');
	wait_sql($node, <<~"SQL", 'both were tried more often than answers are retried, or decided');
		SELECT bool_and(attempt > 6 OR status NOT IN ('READY', 'IN_FLIGHT')) FROM payledger.psp_requests
		 WHERE payment_id IN ($untrusted, $misnamed)
		SQL
	is(states($untrusted), 'PENDING_AUTH', 'a certificate that nobody vouches for: the payment stays pending');
	is(states($misnamed), 'PENDING_AUTH', 'a certificate for another name, too');
	is(sql($node, "SELECT last_fault_code FROM payledger.stat_gateway WHERE gateway IN ('tls', 'impostor')"),
		"certificate_refused\ncertificate_refused", 'stat_gateway says why');
	is($tls->stats->{requests}, 0, 'not a byte of a request was sent');
	is(impostor_stats($impostor)->{requests}, 0, 'to neither');

	write_secrets($node, %key, tls => [ api_key => $psp->key, ca_file => "$dir/127.0.0.1.crt" ]);
	$node->reload;
	wait_sql($node, "SELECT bool_and(status = 'SUCCEEDED') AND count(*) = 2 FROM payledger.psp_requests WHERE payment_id = $untrusted",
		'the trusted one goes on');
	is(states($untrusted), 'AUTHORIZED CAPTURED CAPTURED', 'with its authority trusted it is paid');
	check_psp($node, $tls, 'over TLS', 'tls');

	is(states($misnamed), 'PENDING_AUTH', 'the other one waits still');
	sql($node, <<~"SQL");
		SELECT payledger.alter_gateway('impostor', '{"base_url": "${\$psp->url('')}"}')
		SQL
	settle($node);
	is(states($misnamed), 'AUTHORIZED CAPTURED CAPTURED', 'until it is put right');
};

subtest 'addresses' => sub {
	my $add = sub { "SELECT payledger.add_gateway('bad', 'stripe', '{\"base_url\": \"$_[0]\"}')" };

	sql_fails($node, $add->('http://api.stripe.com'), '22023', 'must be an https URL', 'plain http to the internet');
	sql_fails($node, $add->('http://192.168.1.1'), '22023', 'must be an https URL', 'plain http to a neighbour');
	sql_fails($node, $add->('https://10.0.0.1'), '42501', 'private address', 'https to a private address');
	sql_fails($node, $add->('https://169.254.169.254'), '42501', 'private address', 'https to a metadata service');
	sql_fails($node, $add->('file:///etc/passwd'), '22023', 'URL', 'another protocol');
	is(sql($node, "SELECT count(*) FROM payledger.gateways WHERE gateway = 'bad'"), 0, 'none is there');
};

subtest 'replays' => sub {
	my (%requests, %times);

	for my $line (split /\n/, slurp_file($log))
	{
		my $request = decode_json($line);
		my %headers = map { lc($_) => $request->{headers}{$_} } keys %{ $request->{headers} };
		my $key = $headers{'idempotency-key'} // next;

		$requests{$key}{"$request->{method} $request->{path} $request->{body}"}++;
		$times{$key}++;
	}
	cmp_ok(scalar(grep { $_ > 1 } values %times), '>=', 20, 'many requests were sent more than once');
	is(join(' ', grep { keys %{ $requests{$_} } != 1 } sort keys %requests), '', 'each time the same bytes under the same key');
};

check_ledger($node, 'in the end');
is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE encode(request_bytes, 'escape') LIKE '%sk_test%'"),
	0, 'no key in a stored request');
unlike(slurp_file($node->logfile), qr/sk_test_/, 'nor in the server log');
$node->stop;
done_testing();
