# Each fault: what the client sees, and what is true afterwards.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IO::Select;
use PspServer;
use Test::More;
use Time::HiRes qw(time);

my $psp = PspServer->new;
my @manual = (amount => 2900, currency => 'eur', confirm => 'true',
	capture_method => 'manual', payment_method => 'pm_card_visa');
my $path = '/v1/payment_intents';

# Sends a create on a connection of its own.
sub start_create
{
	my ($key) = @_;
	return $psp->send_request($psp->socket, 'POST', $path, \@manual, $key);
}

# Sends a create and reads until the connection ends.
sub raw_create
{
	my ($key) = @_;
	return $psp->read_all(start_create($key));
}

# Sends a create with a client that reads the whole reply.
sub create
{
	my ($key) = @_;
	return $psp->api('POST', $path, \@manual, key => $key);
}

sub intents
{
	return $psp->truth->{intents}{count};
}

# How often a fault was fired.
sub fired
{
	my ($fault) = @_;
	return $psp->stats->{faults}{$fault} // 0;
}

# A request that was executed although its reply was lost is replayed.
sub replayed_ok
{
	my ($key, $name) = @_;
	my $reply = create($key);

	is(intents(), 1, "$name: executed once");
	is($reply->{status}, 200, "$name: the replay succeeds");
	is($reply->{headers}{'idempotent-replayed'}, 'true',
		"$name: the replay is one");
	return;
}

# A request that was not executed is executed when it is sent again.
sub executed_later_ok
{
	my ($key, $name) = @_;

	is(intents(), 0, "$name: not executed");
	my $reply = create($key);
	is($reply->{status}, 200, "$name: the next attempt succeeds");
	is($reply->{headers}{'idempotent-replayed'}, undef,
		"$name: the next attempt is the first");
	is(intents(), 1, "$name: executed once in the end");
	return;
}

subtest 'delay' => sub {
	$psp->reset;
	$psp->fault(fault => 'delay', ms => 200);
	my $begin = time();
	my $reply = create('k');
	my $took = time() - $begin;
	is($reply->{status}, 200, 'answered');
	cmp_ok($took, '>=', 0.2, 'not before the delay is over');
	replayed_ok('k', 'delay');
};

subtest 'delay, client gone' => sub {
	$psp->reset;
	$psp->fault(fault => 'delay', ms => 1500);
	my $socket = start_create('k');
	$psp->wait_for(sub { fired('delay') == 1 }, 'the request is delayed');
	is(intents(), 0, 'not executed while it waits');
	close($socket);
	$psp->wait_for(sub { intents() == 1 }, 'the request is executed');
	replayed_ok('k', 'delay');
};

subtest 'drop_before' => sub {
	$psp->reset;
	$psp->fault(fault => 'drop_before');
	my $socket = start_create('k');
	$psp->wait_for(sub { fired('drop_before') == 1 }, 'the fault fires');
	ok(!$psp->readable($socket), 'no reply and no end');
	close($socket);
	$psp->wait_for(sub { ($psp->stats->{statuses}{none} // 0) == 1 },
		'the server lets the request go');
	executed_later_ok('k', 'drop_before');
};

subtest 'drop_before, closed after ms' => sub {
	$psp->reset;
	$psp->fault(fault => 'drop_before', ms => 50);
	my ($text, $error) = raw_create('k');
	is($text, '', 'no reply');
	is($error, '', 'an orderly end');
	executed_later_ok('k', 'drop_before');
};

subtest 'drop_after' => sub {
	$psp->reset;
	$psp->fault(fault => 'drop_after');
	my $socket = start_create('k');
	$psp->wait_for(sub { intents() == 1 }, 'the request is executed');
	ok(!$psp->readable($socket), 'no reply and no end');
	replayed_ok('k', 'drop_after');
	ok(!$psp->readable($socket), 'still no reply and no end');
	close($socket);
	$psp->wait_for(sub { ($psp->stats->{statuses}{none} // 0) == 1 },
		'the server lets the request go');
};

subtest 'drop_after, closed after ms' => sub {
	$psp->reset;
	$psp->fault(fault => 'drop_after', ms => 50);
	my ($text, $error) = raw_create('k');
	is("$text$error", '', 'no reply and an orderly end');
	replayed_ok('k', 'drop_after');
};

subtest 'reset_before' => sub {
	$psp->reset;
	$psp->fault(fault => 'reset_before');
	my ($text, $error) = raw_create('k');
	is($text, '', 'no reply');
	like($error, qr/reset/, 'connection reset');
	executed_later_ok('k', 'reset_before');
};

subtest 'reset_after' => sub {
	$psp->reset;
	$psp->fault(fault => 'reset_after');
	my ($text, $error) = raw_create('k');
	is($text, '', 'no reply');
	like($error, qr/reset/, 'connection reset');
	replayed_ok('k', 'reset_after');
};

for my $case ([ error_500 => 500, 'api_error' ],
	[ error_503 => 503, 'api_error' ],
	[ conflict_409 => 409, 'invalid_request_error' ],
	[ rate_limit_429 => 429, 'invalid_request_error' ])
{
	my ($fault, $status, $type) = @$case;

	subtest $fault => sub {
		$psp->reset;
		$psp->fault(fault => $fault, retry_after => 3);
		my $reply = create('k');
		is($reply->{status}, $status, 'status');
		is($reply->{json}{error}{type}, $type, 'type');
		is($reply->{headers}{'retry-after'}, 3, 'Retry-After');
		is($reply->{headers}{'idempotent-replayed'}, undef, 'not replayed');
		executed_later_ok('k', $fault);
	};
}

subtest 'conflict_409 and rate_limit_429 in Stripe\'s words' => sub {
	$psp->reset;
	$psp->fault(fault => 'conflict_409');
	my $reply = create('k');
	is($reply->{json}{error}{code}, 'idempotency_key_in_use', '409: code');
	is($reply->{headers}{'stripe-should-retry'}, 'true', '409: try again');
	$psp->fault(fault => 'rate_limit_429', should_retry => JSON::PP::false);
	$reply = create('k');
	is($reply->{json}{error}{code}, 'rate_limit', '429: code');
	is($reply->{headers}{'retry-after'}, undef, '429: no Retry-After');
	is($reply->{headers}{'stripe-should-retry'}, 'false', '429: as told');
	ok($reply->{headers}{'stripe-rate-limited-reason'}, '429: reason');
};

for my $fault (qw(error_500 error_503))
{
	subtest "$fault, executed all the same" => sub {
		$psp->reset;
		$psp->fault(fault => $fault, execute => JSON::PP::true);
		is(create('k')->{status}, substr($fault, -3), 'status');
		replayed_ok('k', $fault);
	};
}

subtest 'error_500_stored' => sub {
	for my $execute (0, 1)
	{
		$psp->reset;
		$psp->fault(fault => 'error_500_stored',
			execute => $execute ? JSON::PP::true : JSON::PP::false);
		my $first = create('k');
		is($first->{status}, 500, 'status');
		my $second = create('k');
		is($second->{status}, 500, 'the key keeps the error');
		is($second->{headers}{'idempotent-replayed'}, 'true', 'replayed');
		is($second->{content}, $first->{content}, 'the same bytes');
		is(intents(), $execute, $execute ? 'executed' : 'not executed');
	}
};

subtest 'garbage' => sub {
	$psp->reset;
	$psp->fault(fault => 'garbage', bytes => 100);
	my $reply = create('k');
	is($reply->{status}, 200, 'status');
	is(length($reply->{content}), 100, 'as many bytes as wanted');
	is($reply->{json}, undef, 'not JSON');
	replayed_ok('k', 'garbage');
};

subtest 'truncated' => sub {
	$psp->reset;
	$psp->fault(fault => 'truncated', bytes => 100);
	my ($text, $error) = raw_create('k');
	my ($head, $body) = split /\r\n\r\n/, $text, 2;
	my ($promised) = $head =~ /^content-length: (\d+)/mi;
	cmp_ok($promised, '>', 1000, 'the whole length was promised');
	is(length($body), 100, 'only a part came');
	replayed_ok('k', 'truncated');
};

subtest 'oversized' => sub {
	$psp->reset;
	$psp->fault(fault => 'oversized', bytes => 3_000_000);
	my $reply = create('k');
	is(length($reply->{content}), 3_000_000, 'as many bytes as wanted');
	is($reply->{headers}{'content-length'}, undef, 'no length is promised');
	is($reply->{json}{object}, 'payment_intent', 'valid JSON');
	replayed_ok('k', 'oversized');
};

subtest 'oversized takes no memory' => sub {
	$psp->reset;
	my $before = peak_memory();
	$psp->fault(fault => 'oversized', bytes => 200_000_000);
	my $got = 0;
	$psp->{http}->request('POST', $psp->url($path),
		{
			headers => {
				'authorization' => "Bearer $PspServer::KEY",
				'content-type' => 'application/x-www-form-urlencoded'
			},
			content => $psp->form(@manual),
			data_callback => sub { $got += length($_[0]) }
		});
	is($got, 200_000_000, '200 MB came');
	cmp_ok(peak_memory() - $before, '<', 20_000, 'less than 20 MB used');
};

subtest 'slow_loris' => sub {
	$psp->reset;
	$psp->fault(fault => 'slow_loris', ms => 1);
	my $begin = time();
	my $reply = create('k');
	my $took = time() - $begin;
	is($reply->{json}{status}, 'requires_capture', 'the reply comes in the end');
	cmp_ok($took, '>=', length($reply->{content}) / 1000, 'but not soon');
	replayed_ok('k', 'slow_loris');
};

subtest 'slow_loris, client gone' => sub {
	$psp->reset;
	$psp->fault(fault => 'slow_loris', ms => 5);
	my $socket = start_create('k');
	sysread($socket, my $piece, 65536);
	close($socket);
	$psp->wait_for(
		sub {
			my $statuses = $psp->stats->{statuses};
			return ($statuses->{200} // 0) == 1;
		},
		'the server notices');
	replayed_ok('k', 'slow_loris');
};

subtest 'matching' => sub {
	$psp->reset;
	$psp->fault(match => { operation => 'capture' }, fault => 'error_500');
	$psp->fault(match => { method => 'GET' }, fault => 'error_503');
	$psp->fault(match => { idempotency_key => 'unlucky' },
		fault => 'rate_limit_429');
	my $intent = create('lucky')->{json};
	is($intent->{status}, 'requires_capture', 'create: no rule');
	my $capture = "$path/$intent->{id}/capture";
	is($psp->api('POST', $capture)->{status}, 500, 'capture: by operation');
	is($psp->api('GET', $path)->{status}, 503, 'GET: by method');
	is(create('unlucky')->{status}, 429, 'key: by key');
	is($psp->api('POST', $capture)->{status}, 200, 'capture: only once');
	is($psp->api('GET', $path)->{status}, 200, 'GET: only once');
	is(create('unlucky')->{status}, 200, 'key: only once');
	my $rules = $psp->control('GET', '/_test/faults')->{json}{faults};
	is_deeply([ map { "$_->{fault} $_->{remaining} $_->{fired}" } @$rules ],
		[ 'error_500 0 1', 'error_503 0 1', 'rate_limit_429 0 1' ],
		'the rules are used up');
};

subtest 'skip and times' => sub {
	$psp->reset;
	$psp->fault(fault => 'error_503', skip => 2, times => 2);
	is_deeply([ map { create("k$_")->{status} } 1 .. 6 ],
		[ 200, 200, 503, 503, 200, 200 ], 'two pass, two fail');
	$psp->fault(fault => 'error_503', times => -1);
	is_deeply([ map { create("k$_")->{status} } 1 .. 3 ],
		[ 503, 503, 503 ], 'without end');
	$psp->control('DELETE', '/_test/faults');
	is(create('k1')->{status}, 200, 'until the rules are removed');
};

subtest 'probability' => sub {
	my @runs;
	for my $seed (7, 7, 8)
	{
		$psp->reset;
		$psp->fault(fault => 'error_503', probability => 0.3, seed => $seed,
			times => -1);
		push @runs, join ' ', map { $psp->api('GET', $path)->{status} } 1 .. 200;
	}
	is($runs[0], $runs[1], 'the same seed gives the same faults');
	isnt($runs[0], $runs[2], 'another seed gives others');
	my $faults = () = $runs[0] =~ /503/g;
	cmp_ok(abs($faults - 60), '<', 25, "about 30 % ($faults of 200)");
};

subtest 'many at once' => sub {
	$psp->reset;
	$psp->fault(fault => 'delay', ms => 100, times => -1);
	my $select = IO::Select->new;
	my $begin = time();
	$select->add(start_create("k$_")) for 1 .. 200;
	my $answers = 0;
	while ($select->count > 0)
	{
		for my $socket ($select->can_read($PspServer::TIMEOUT))
		{
			sysread($socket, my $text, 65536);
			$answers++ if $text =~ m{^HTTP/1.1 200};
			$select->remove($socket);
		}
	}
	is($answers, 200, 'all are answered');
	is(intents(), 200, 'all are executed');
	cmp_ok(time() - $begin, '<', 200 * 0.1, 'they wait side by side');
};

subtest 'rules that make no sense' => sub {
	for my $rule (
		'', 'nonsense', '[]', '{"fault":"none"}', '{"fault":"fire"}',
		'{"fault":"delay"}', '{"fault":"delay","ms":-5}',
		'{"fault":"garbage","times":0}', '{"fault":"garbage","skip":-1}',
		'{"fault":"garbage","probability":0}',
		'{"fault":"garbage","probability":1.5}', '{"fault":"garbage","x":1}',
		'{"fault":"garbage","match":{"operation":"pay"}}',
		'{"fault":"garbage","match":{"path":"x"}}')
	{
		my $reply = $psp->control('POST', '/_test/faults', $rule);
		is($reply->{status}, 400, "refused: $rule");
		ok($reply->{json}{error}, "says why: $reply->{json}{error}");
	}
};

is($psp->stop, 0, 'the server ends cleanly');
done_testing();

# Most memory the server ever had, in kB.
sub peak_memory
{
	my $pid = $psp->{process}{KIDS}[0]{PID};

	open(my $status, '<', "/proc/$pid/status") or die "no status: $!\n";
	my ($peak) = map { /^VmHWM:\s+(\d+)/ ? $1 : () } <$status>;
	return $peak;
}
