# A request, an event or a page of events that kills the gateway worker kills it
# twice at most, then it is set aside and shown, and all others go on.  Ends by order, and
# deaths of other processes, make nothing suspect.  And requests that an earlier
# version would have died of: stored bytes that are damaged.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use IO::Socket::INET;
use JSON::PP;
use PayledgerImpostor;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('deaths');
my $psp = PayledgerPsp->new;
my $node = new_node('deaths');
my $log_start = -s $node->logfile;

# The PSP's reply to a request, as it came.
sub true_reply
{
	my ($request) = @_;
	my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $psp->{port}) or return '';
	my $reply = '';

	print $server $request->{head} =~ s/\r\n\r\n\z/\r\nConnection: close\r\n\r\n/r, $request->{body};
	$server->flush;
	1 while sysread($server, $reply, 65536, length $reply);
	return $reply;
}

# What the PSP does to requests that name a payment: a file of its id says it.
my $line = PayledgerImpostor->new(
	sub {
		my ($socket, $request) = @_;
		my ($id) = "$request->{path} $request->{body}" =~ s/%../ /gr =~ /(\d{15,})/;
		my $what = defined $id && -e "$dir/$id" ? slurp_file("$dir/$id") : 'answer';

		if ($what eq 'kill')
		{
			# its exit status is asked for
			local $SIG{CHLD} = 'DEFAULT';
			my $pid = worker_pid($node, 'gateway') or return 0;

			append_to_file("$dir/kills", '.');
			kill('KILL', $pid);
			return 0;
		}
		if ($what eq 'fail')
		{
			syswrite($socket, PayledgerImpostor::reply(500, '{"error": {"type": "api_error"}}'));
			return 1;
		}
		if ($what eq 'hang')
		{
			1 while sysread($socket, my $nothing, 100);
			return 0;
		}
		syswrite($socket, true_reply($request));
		return 0;
	});

# Tells the PSP what to do to a payment; undef: what it is asked.
sub order_psp
{
	my ($id, $what) = @_;

	unlink "$dir/$id";
	append_to_file("$dir/$id", $what) if defined $what;
	return;
}

sub request_of
{
	my ($id, $columns) = @_;

	return sql($node, "SELECT $columns FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'AUTHORIZE'");
}

add_stripe($node, $psp, base_url => $line->url, timeout_ms => 5000, lease_seconds => 30, circuit_failures => 0, backfill_seconds => 0);

subtest 'a request that kills the worker' => sub {
	my @ids = map { create_intent($node, [500]) } 1 .. 8;
	my $killer = $ids[4];

	order_psp($killer, 'kill');
	sql($node, "SELECT payledger.request_authorization(id, 'pm_card_visa') FROM unnest('{" . join(',', @ids) . "}'::bigint[]) id");
	wait_sql($node, "SELECT status = 'PARKED' FROM payledger.psp_requests WHERE payment_id = $killer", 'it is parked');
	settle($node);
	is(-s "$dir/kills", 2, 'it killed two workers, and no third');
	is(request_of($killer, 'status, reply_code, worker_deaths'), 'PARKED|worker_died|2', 'its row says why');
	is(sql($node, 'SELECT payment_id, last_code, worker_deaths FROM payledger.undecided_requests'), "$killer|worker_died|2",
		'undecided_requests shows it and nothing else');
	is(sql($node, q{SELECT parked FROM payledger.stat_gateway WHERE gateway = 'stripe'}), 1, 'stat_gateway counts it');
	like(slurp_file($node->logfile, $log_start), qr/psp_request \d+ of gateway "stripe" is parked: the gateway worker died twice/, 'the log says so');
	is(sql($node, "SELECT count(*) FROM payledger.payments WHERE payment_id <> $killer AND status = 'CAPTURED'"), 7, 'all others are paid');
	is(sql($node, 'SELECT count(*) FROM payledger.psp_requests WHERE worker_deaths > 0'), 1, 'and suspected no more');

	order_psp($killer);
	sql($node, "SELECT payledger.retry_request(psp_request_id) FROM payledger.undecided_requests");
	settle($node);
	check_books($node, 'once the PSP is tame', psp => $psp);
};

# From now on who inserts such a row gets SIGKILL; kills() counts.  Where the
# batch shall fail first, the first attempt is an error.
sub kill_at
{
	my ($table, $condition, $batch_fails) = @_;
	my $kill = "printf . >>$dir/inserted; kill -KILL \$PPID";

	$kill = "if test -e $dir/failed; then $kill; else touch $dir/failed; exit 1; fi" if $batch_fails;
	sql($node, <<~"SQL");
		CREATE FUNCTION public.kill_me() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \$\$
		BEGIN
			COPY (SELECT 1) TO PROGRAM '$kill';
			RETURN NEW;
		END \$\$;
		CREATE TRIGGER kill_me BEFORE INSERT ON payledger.$table FOR EACH ROW WHEN ($condition) EXECUTE FUNCTION public.kill_me();
		SQL
	return;
}

sub kills
{
	return -s "$dir/inserted" // 0;
}

sub tame
{
	unlink "$dir/inserted", "$dir/failed";
	sql($node, 'DROP FUNCTION public.kill_me() CASCADE');
	return;
}

# What cannot be tried is sent with the others later, and found by what was in
# hand: what a worker may have died of is stored alone.
for my $batch_fails (0, 1)
{
	my $how = $batch_fails ? 'alone, once its batch failed,' : 'with its batch';

	subtest "a request that kills the worker $how and cannot be tried" => sub {
		my @ids = map { create_intent($node, [500]) } 1 .. 4;
		my $id = $ids[2];
		my $secrets = $node->basedir . '/secrets';
		my $statuses = "SELECT status, count(*) FROM payledger.psp_requests WHERE payment_id IN (${\join ',', @ids}) AND operation = 'AUTHORIZE' GROUP BY 1 ORDER BY 1";

		kill_at('payments', "NEW.payment_id = $id", $batch_fails);
		# the next worker does not know how to talk to the PSP
		rename($secrets, "$secrets.away") or die "could not move $secrets: $!\n";
		# the death may come before the end of the session
		try_sql($node, "SELECT payledger.request_authorization(id, 'pm_card_visa') FROM unnest('{${\join ',', @ids}}'::bigint[]) id");
		wait_sql($node, q{SELECT problem IS NOT NULL FROM payledger.stat_gateway WHERE gateway = 'stripe'}, 'the gateway cannot be used');
		is(request_of($id, 'worker_deaths'), 1, 'one death is noted');
		is(kills(), 1, 'it killed a worker');
		rename("$secrets.away", $secrets) or die "could not move $secrets back: $!\n";
		$node->reload;
		wait_sql($node, "SELECT status = 'PARKED' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'AUTHORIZE'", 'it is parked');
		settle($node);
		is(kills(), 2, 'it killed another, and no third');
		is(request_of($id, 'reply_code, worker_deaths'), 'worker_died|2', 'its row says why');
		is(sql($node, $statuses), "SUCCEEDED|3\nPARKED|1", 'all others are paid');

		tame();
		sql($node, "SELECT payledger.retry_request(psp_request_id) FROM payledger.undecided_requests WHERE payment_id = $id");
		settle($node);
		is(sql($node, "SELECT captured_amount FROM payledger.payments WHERE payment_id = $id"), 500, 'once nothing kills, it is paid');
		check_books($node, 'of that', psp => $psp);
	};
}

subtest 'an event that kills the worker' => sub {
	my $id = pay($node, 'pm_card_visa', [500]);
	wait_sql($node, "SELECT status = 'CAPTURED' FROM payledger.payments WHERE payment_id = $id", 'it is paid');
	my $object = { id => 'du_killer', object => 'dispute', amount => 500, currency => 'eur', status => 'needs_response', reason => 'fraudulent',
		payment_intent => sql($node, "SELECT psp_reference FROM payledger.payments WHERE payment_id = $id"), charge => 'ch_1',
		balance_transactions => [] };
	my $body = JSON::PP->new->canonical->encode({ id => 'evt_killer', object => 'event', type => 'charge.dispute.created', created => time(),
			data => { object => $object } });
	my $at = time();
	my $signature = hmac_sha256_hex("$at.$body", $PayledgerTest::WEBHOOK_SECRET);
	my $event = "FROM payledger.webhooks WHERE event_id = 'evt_killer'";

	kill_at('disputes', "NEW.psp_reference = 'du_killer'");
	# the death may come before the end of the session
	try_sql($node, qq{SELECT payledger.receive_webhook('stripe', '{"Stripe-Signature": "t=$at,v1=$signature"}', '$body')});
	wait_sql($node, "SELECT worker_deaths = 2 $event", 'a second death is noted');
	my $other = pay($node, 'pm_card_visa', [500]);
	wait_sql($node, "SELECT status = 'CAPTURED' FROM payledger.payments WHERE payment_id = $other", 'others are paid');
	is(kills(), 2, 'it killed two workers, and no third');
	is(sql($node, "SELECT status, next_attempt_at IS NULL, problem $event"), 'PARKED|t|the gateway worker died while it was applied', 'it is given up');
	is(sql($node, q{SELECT given_up FROM payledger.stat_webhooks WHERE gateway = 'stripe'}), 1, 'stat_webhooks counts it');
	is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE worker_deaths > 0 AND payment_id IN ($id, $other)"), 0, 'no request is suspected');

	tame();
	is(sql($node, "SELECT payledger.retry_webhook('stripe', 'evt_killer')"), 'PARKED', 'an operator has it applied again');
	wait_sql($node, "SELECT status = 'APPLIED' $event", 'it is');
	is(sql($node, "SELECT status FROM payledger.disputes WHERE psp_reference = 'du_killer'"), 'NEEDS_RESPONSE', 'what it says is there');
};

subtest 'a page of events that kills the worker' => sub {
	my $list = "FROM payledger.webhook_backfills WHERE gateway = 'stripe'";
	my $shown = q{SELECT backfill_suspended, backfill_problem FROM payledger.stat_webhooks WHERE gateway = 'stripe'};

	sql_fails($node, "SELECT payledger.retry_backfill('stripe')", 'PL007', qr/no list of events of gateway "stripe" was ever read/, 'nothing was read yet');
	kill_at('webhooks', 'NEW.backfilled');
	try_sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 1}')});
	wait_sql($node, "SELECT worker_deaths = 2 $list", 'a second death is noted');
	my $other = pay($node, 'pm_card_visa', [500]);
	wait_sql($node, "SELECT status = 'CAPTURED' FROM payledger.payments WHERE payment_id = $other", 'others are paid');
	is(kills(), 2, 'it killed two workers, and no third');
	is(sql($node, $shown), 't|the gateway worker died while it read this page', 'stat_webhooks shows it');
	wait_sql($node, q{SELECT failing AND last_error LIKE 'the list of events of gateway "stripe" is not read%' FROM payledger.stat_worker
		WHERE role = 'gateway'}, 'and whoever is to be woken');

	try_sql($node, "SELECT payledger.retry_backfill('stripe')");
	wait_sql($node, "SELECT worker_deaths = 3 $list", 'an operator has it read again, and it kills another');
	wait_sql($node, q{SELECT backfill_suspended FROM payledger.stat_webhooks WHERE gateway = 'stripe'}, 'and is given up again');
	tame();
	my $again = sql($node, "SELECT payledger.retry_backfill('stripe')");
	wait_sql($node, "SELECT worker_deaths = 0 AND complete_until > '$again' $list", 'when it is tame all of it is read');
	is(sql($node, $shown), 'f|', 'stat_webhooks shows no trouble');
	sql_fails($node, "SELECT payledger.retry_backfill('stripe')", 'PL001', qr/is not given up/, 'there is nothing more to be said');
	wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the worker is content');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 0}')});
};

subtest 'ends by order' => sub {
	my $id = create_intent($node, [500]);

	order_psp($id, 'hang');
	sql($node, "SELECT payledger.request_authorization($id, 'pm_card_visa')");
	for my $mode (qw(immediate immediate fast immediate))
	{
		wait_sql($node, "SELECT status = 'IN_FLIGHT' FROM payledger.psp_requests WHERE payment_id = $id", 'it is in flight');
		$node->stop($mode);
		$node->start;
	}
	for (1 .. 3)
	{
		wait_sql($node, "SELECT status = 'IN_FLIGHT' FROM payledger.psp_requests WHERE payment_id = $id", 'it is in flight');
		my $pid = worker_pid($node, 'gateway');
		# another process dies, and the postmaster ends all
		kill('KILL', worker_pid($node, 'keeper'));
		wait_for(sub { my $new = worker_pid($node, 'gateway'); return $new && $new != $pid }, 'there is another worker', $node);
	}
	wait_sql($node, "SELECT status = 'IN_FLIGHT' FROM payledger.psp_requests WHERE payment_id = $id", 'it is in flight');
	is(request_of($id, 'worker_deaths'), 0, 'it is not suspected');
	order_psp($id);
	signal_worker($node, 'gateway', 'TERM');
	settle($node);
	is(request_of($id, 'status, worker_deaths'), 'SUCCEEDED|0', 'nor parked');
};

subtest 'stored bytes that are damaged' => sub {
	my %bytes = (
		'nothing' => '', 'no path' => "POST\n\n", 'no end' => "POST /v1/payment_intents", 'no body' => "POST /v1/payment_intents\n\n",
		'no content type' => "POST /v1/payment_intents\n\namount=1", 'no method' => "PATCH /v1/x\n\n", 'a NUL' => "GET /v1/\0x\n\n",
		'another host' => "GET .evil.example/\n\n", 'a header' => "GET /v1/x\nX: y\n\n", 'a line end' => "GET /v1/x\r\n\n",
		'zeros' => "\0" x 100);
	my %id = map { $_ => create_intent($node, [500]) } sort keys %bytes, 'delete';
	my $pid = worker_pid($node, 'gateway');

	order_psp($_, 'fail') for values %id;
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 600000, "retry_max_ms": 600000, "unknown_max_ms": 600000}')});
	sql($node, "SELECT payledger.request_authorization(id, 'pm_card_visa') FROM unnest('{" . join(',', values %id) . "}'::bigint[]) id");
	wait_sql($node, "SELECT bool_and(status = 'UNKNOWN') FROM payledger.psp_requests WHERE payment_id IN (${\join ',', values %id})", 'all wait');
	# no reply, so that each is sent again, and not asked for
	sql($node, "UPDATE payledger.psp_requests SET reply_status = NULL, next_attempt_at = now(), request_bytes = '\\x"
		  . unpack('H*', $bytes{$_} // "DELETE /v1/deleted\n\n") . "' WHERE payment_id = $id{$_}")
	  for sort keys %id;
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 50, "retry_max_ms": 400, "unknown_max_ms": 400}')});
	wait_sql($node, "SELECT bool_and(status = 'PARKED') FROM payledger.psp_requests WHERE payment_id IN (${\join ',', map { $id{$_} } keys %bytes})",
		'all that are damaged are parked');
	for my $name (sort keys %bytes)
	{
		like(request_of($id{$name}, 'reply_code, reply_message'), qr/^build_failed\|stored bytes of a gateway request are damaged: /, "$name: says so");
	}
	wait_for(sub { grep { $_->{head} =~ m{^DELETE /v1/deleted HTTP/1.1\r\n} } $line->requests }, 'a DELETE is sent as one', $node);
	is(scalar(grep { $_->{path} =~ /deleted/ && $_->{head} !~ /^DELETE/ } $line->requests), 0, 'and as nothing else');
	is(worker_pid($node, 'gateway'), $pid, 'the worker lives');
};

$node->stop;
done_testing();
