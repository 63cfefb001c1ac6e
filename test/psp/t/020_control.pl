# The control API, the options of the server and its end.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use FindBin;
use lib $FindBin::Bin;
use File::Temp;
use IPC::Run;
use PspServer;
use Test::More;

my $dir = File::Temp->newdir();
my $json = JSON::PP->new->utf8;
my @manual = (amount => 2900, currency => 'eur', confirm => 'true',
	capture_method => 'manual', payment_method => 'pm_card_visa');

# Returns the contents of a file.
sub slurp
{
	my ($file) = @_;

	open(my $handle, '<', $file) or die "could not open $file: $!\n";
	local $/;
	return <$handle>;
}

# Runs a program; returns its exit status, standard output and error.
sub run
{
	my (@command) = @_;
	my ($out, $err);

	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

subtest 'truth' => sub {
	my $psp = PspServer->new;

	is_deeply($psp->control('GET', '/_test/truth')->{json}, { intents => [], transfers => [] },
		'nothing yet');
	my @ids = map {
		$psp->api('POST', '/v1/payment_intents',
			[ @manual, 'metadata[order]' => $_ ], key => "create-$_")->{json}{id}
	} 1 .. 300;
	my $path = "/v1/payment_intents/$ids[0]";
	$psp->api('POST', "$path/capture", [ amount_to_capture => 1000 ],
		key => 'capture-1');
	$psp->api('POST', '/v1/refunds',
		[ payment_intent => $ids[0], amount => 300 ], key => 'refund-1');
	$psp->api('POST', "/v1/payment_intents/$ids[1]/cancel", [],
		key => 'cancel-2');

	my $all = $psp->control('GET', '/_test/truth')->{json}{intents};
	is_deeply([ map { $_->{id} } @$all ], \@ids, 'all, oldest first');
	is_deeply($all->[0], $psp->truth($ids[0]), 'one alone is the same');
	is($all->[7]{metadata}{order}, 8, 'metadata');
	is_deeply(
		[ map { "$_->{operation} $_->{amount} $_->{idempotency_key}" }
			  @{ $all->[0]{operations} } ],
		[ 'create 2900 create-1', 'confirm 2900 create-1',
			'capture 1000 capture-1', 'refund 300 refund-1' ],
		'operations with amounts and keys');
	is($all->[0]{amount_refunded}, 300, 'refunded');

	my $sums = $psp->truth;
	is_deeply($sums->{intents}, { count => 300, amount => 870000 }, 'intents');
	is_deeply($sums->{authorized}, { count => 300, amount => 870000 },
		'authorized');
	is_deeply($sums->{captures}, { count => 1, amount => 1000 }, 'captures');
	is_deeply($sums->{refunds}, { count => 1, amount => 300 }, 'refunds');
	is_deeply($sums->{cancelled}, { count => 1, amount => 2900 }, 'cancelled');
	is_deeply([ @{ $sums->{statuses} }{qw(succeeded canceled requires_capture)} ],
		[ 1, 1, 298 ], 'statuses');
	is($psp->control('GET', '/_test/truth?summary=1&currency=usd')
		  ->{json}{intents}{count}, 0, 'sums of another currency');
	is($psp->control('GET', '/_test/truth?intent=pi_none')->{status}, 404,
		'no such intent');

	is($psp->stats->{operations}{create}, 300, 'requests are counted');
	$psp->control('DELETE', '/_test/state');
	is_deeply($psp->control('GET', '/_test/truth')->{json}, { intents => [], transfers => [] },
		'reset: no intents');
	is($psp->stats->{requests}, 0, 'reset: no requests');
	is($psp->api('POST', '/v1/payment_intents', \@manual, key => 'create-1')
		  ->{headers}{'idempotent-replayed'}, undef, 'reset: no keys');
	is($psp->stop, 0, 'the server ends cleanly');
};

subtest 'what the control API refuses' => sub {
	my $psp = PspServer->new;
	my $intent = $psp->api('POST', '/v1/payment_intents', \@manual)->{json};
	my $action = "/_test/intents/$intent->{id}/complete_action";

	is($psp->control('POST', $action, { outcome => 'succeed' })->{status}, 409,
		'an action nobody asked for');
	is($psp->control('POST', $action, $_)->{status}, 400, "outcome: $_")
	  for '', '{}', '{"outcome":"maybe"}', 'nonsense';
	is($psp->control('POST', '/_test/intents/pi_none/complete_action',
			{ outcome => 'fail' })->{status}, 404, 'an unknown intent');
	is($psp->control('POST', '/_test/refunds/re_none/complete',
			{ outcome => 'fail' })->{status}, 404, 'an unknown refund');
	is($psp->control('GET', '/_test/nothing')->{status}, 404,
		'an unknown control');
	is($psp->stop, 0, 'the server ends cleanly');
};

subtest 'log' => sub {
	my $psp = PspServer->new('--log', "$dir/log");

	$psp->api('POST', '/v1/payment_intents', \@manual, key => 'k');
	$psp->api('POST', '/v1/payment_intents', \@manual, key => 'k');
	$psp->fault(fault => 'reset_after');
	$psp->read_all(
		$psp->send_request($psp->socket, 'GET', '/v1/payment_intents?limit=1'));
	$psp->stats;
	is($psp->stop, 0, 'the server ends cleanly');

	my @lines = map { $json->decode($_) } split /\n/, slurp("$dir/log");
	is(scalar @lines, 3, 'a line for each API request');
	is_deeply([ map { $_->{method} } @lines ], [qw(POST POST GET)], 'method');
	is($lines[2]{path}, '/v1/payment_intents?limit=1', 'path with query');
	like($lines[0]{body}, qr/^amount=2900&currency=eur&/, 'body');
	my %headers = map { lc($_) => $lines[0]{headers}{$_} }
	  keys %{ $lines[0]{headers} };
	is($headers{'idempotency-key'}, 'k', 'headers');
	is($headers{'authorization'}, 'Bearer ***', 'no secret');
	is_deeply([ map { $_->{status} } @lines ], [ 200, 200, 0 ], 'status');
	is_deeply([ map { $_->{replayed} ? 1 : 0 } @lines ], [ 0, 1, 0 ],
		'replayed');
	ok(!(grep { $_->{ended_ms} < $_->{arrived_ms} } @lines), 'times');
	is_deeply([ map { $_->{fault} } @lines ], [ undef, undef, 'reset_after' ],
		'fault');
};

subtest 'TLS' => sub {
	my ($status) = run('openssl', 'req', '-x509', '-newkey', 'rsa:2048',
		'-nodes', '-keyout', "$dir/key", '-out', "$dir/cert", '-days', '2',
		'-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1');
	is($status, 0, 'a certificate');
	my $psp = PspServer->new('--tls-cert', "$dir/cert", '--tls-key',
		"$dir/key");
	my @curl = ('curl', '-sS', '--cacert', "$dir/cert", '-H',
		"Authorization: Bearer $PspServer::KEY");
	my $url = "https://127.0.0.1:$psp->{port}";
	my $out;

	($status, $out) = run(@curl, '-d', $psp->form(@manual),
		"$url/v1/payment_intents");
	is($status, 0, 'https');
	is($json->decode($out)->{status}, 'requires_capture', 'a payment');

	# faults below TLS
	for my $case ([ drop_after => 52 ], [ reset_before => 35, 52, 56 ],
		[ truncated => 18, 56 ])
	{
		my ($fault, @expected) = @$case;
		run('curl', '-sS', '--cacert', "$dir/cert", '-d',
			qq({"fault":"$fault","ms":1}), "$url/_test/faults");
		($status) = run(@curl, '-d', $psp->form(@manual),
			"$url/v1/payment_intents");
		ok((grep { $_ == $status } @expected), "$fault: curl says $status");
	}
	is($psp->stop, 0, 'the server ends cleanly');
};

subtest 'options' => sub {
	my $server = "$PspServer::HOME/psp-server";
	my ($status, $out, $err) = run($server, '--help');

	is($status, 0, '--help');
	like($out, qr/--port-file FILE/, 'shows the options');
	for my $wrong ([ '--port', 'x' ], [ '--port', '70000' ], ['--color'],
		['extra'], [ '--tls-cert', '/nowhere' ],
		[ '--log', '/nowhere/log' ],
		[ '--key-window', 'x' ], [ '--keep-events', '-1' ], [ '--adyen-hmac-key', 'xyz' ],
		[ '--tls-cert', '/nowhere', '--tls-key', '/nowhere' ])
	{
		($status, $out, $err) = run($server, @$wrong);
		is($status, 1, "refused: @$wrong");
		ok($err, 'says why');
	}

	my $psp = PspServer->new;
	is(slurp("$psp->{dir}/port"), "$psp->{port}\n", 'the port is in the file');
	($status, $out, $err) = run($server, '--port', $psp->{port});
	is($status, 1, 'a port that is taken');
	my $listening = slurp('/proc/net/tcp');
	my $port = sprintf('%04X', $psp->{port});
	like($listening, qr/\b0100007F:$port 00000000:0000 0A/,
		'listens on the loopback interface only');
	is($psp->stop, 0, 'the server ends cleanly');
};

subtest 'ends cleanly with requests held, delayed and dribbling' => sub {
	my $psp = PspServer->new;
	my @sockets;

	for my $fault (qw(drop_before drop_after delay slow_loris))
	{
		$psp->fault(fault => $fault, $fault eq 'delay' ||
			  $fault eq 'slow_loris' ? (ms => 3_600_000) : ());
		push @sockets, $psp->send_request($psp->socket, 'POST',
			'/v1/payment_intents', \@manual);
		$psp->wait_for(sub { ($psp->stats->{faults}{$fault} // 0) == 1 },
			"$fault fires");
	}
	is($psp->stop, 0, 'exit status');
};

done_testing();
