# Payments through a Stripe and an Adyen gateway while everything goes wrong at
# once: 5 % of all requests get a fault, of whatever kind; webhooks come out of
# order, late and several times, or not at all; banks and shoppers change their
# minds.  When it is over, the books are what the PSPs' truth says.
#
# PSP_PAYMENTS says how many payments (400), PSP_SEED which ones; the seed of a
# run is printed.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $CLIENTS = 2;
my $PAGE = 1000;
my $payments = $ENV{PSP_PAYMENTS} // 400;
my $seed = $ENV{PSP_SEED} // time() * 1000 % 1_000_000_000;
my $is_long = $payments > 1000;
my $patience = 60 + $payments / 10;    # seconds
my $started = time();

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $dir = PostgreSQL::Test::Utils::tempdir('chaos');
my $psp = PayledgerPsp->new;
my $node = new_node(
	'chaos',
	log_line_prefix => '%m %b %e ',
	'payledger.gateway_secrets_file' => '/nowhere');
my ($session, @clients);

note("PSP_PAYMENTS=$payments PSP_SEED=$seed");

# ---- the world ----

sub elapsed
{
	return sprintf '%.1f s', time() - $started;
}

# The result of a statement in the session that the test keeps open, which
# would else tell of each.
sub ask
{
	my ($sql) = @_;

	no warnings 'redefine';
	local *PostgreSQL::Test::BackgroundPsql::note = sub { };
	return $session->query_safe($sql);
}

# What the PSP server says, into a file that the database server can read.
sub save
{
	my ($path) = @_;
	my $reply = $psp->{http}->get($psp->url($path));

	die "the PSP server answers $path with $reply->{status}\n" unless $reply->{success};
	open(my $file, '>:raw', "$dir/page") or die "could not write $dir/page: $!\n";
	print $file $reply->{content};
	close($file);
	return "$dir/page";
}

sub add_gateways
{
	my %options = (
		timeout_ms => 1000,
		connect_timeout_ms => 1000,
		retry_base_ms => 50,
		retry_max_ms => 400,
		unknown_max_ms => 1000,
		max_attempts => 10,
		lease_seconds => 6,
		rate_per_second => 0,
		endpoint_rate_per_second => 0,
		circuit_open_ms => 200);
	my %own = (
		stripe => { backfill_seconds => $is_long ? 5 : 2 },
		adyen => { merchant_account => 'Marketplace', return_url => 'https://shop.example/back' });

	my $secrets = write_secrets($node,
		map { ($_ => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret($_) ]) } keys %own);
	$node->append_conf('postgresql.conf', "payledger.gateway_secrets_file = '$secrets'");
	$node->reload;
	for my $gateway (sort keys %own)
	{
		my $all = $json->encode({ %options, base_url => $psp->base_url($gateway), %{ $own{$gateway} } });

		sql($node, "SELECT payledger.add_gateway('$gateway', '$gateway', '$all')");
	}
	wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateways are ready');
	return;
}

# Every fault, all of them together 5 % of the requests.
sub add_faults
{
	my @faults = (
		{ fault => 'delay', ms => 200 },
		{ fault => 'delay', ms => 1500 },
		{ fault => 'drop_before' },
		{ fault => 'drop_after' },
		{ fault => 'drop_after', ms => 100 },
		{ fault => 'reset_before' },
		{ fault => 'reset_after' },
		{ fault => 'error_500' },
		{ fault => 'error_500', execute => JSON::PP::true },
		{ fault => 'error_500_stored', execute => JSON::PP::true },
		{ fault => 'error_500_stored' },
		{ fault => 'error_503' },
		{ fault => 'error_503', execute => JSON::PP::true },
		{ fault => 'conflict_409' },
		{ fault => 'rate_limit_429' },
		{ fault => 'rate_limit_429', retry_after => 1 },
		{ fault => 'garbage' },
		{ fault => 'truncated' },
		{ fault => 'oversized', bytes => 2_000_000 },
		{ fault => 'slow_loris', ms => 100 });

	$psp->fault(%{ $faults[$_] }, times => -1, probability => 0.05 / @faults, seed => ($seed + $_) % 1_000_000_000) for 0 .. $#faults;
	return;
}

# Sellers, and the plan of all payments.
sub make_world
{
	sql($node, slurp_file("$PayledgerTest::TEST_DIR/$_")) for qw(psp_chaos.sql psp_chaos_checks.sql);
	my $open = $is_long ? 1000 : 100;
	my $late = $is_long ? 30 : 8;
	sql($node, <<~"SQL");
		SELECT payledger.register_seller('SELLER-' || n, 'EUR', commission_bps => 100 * n, commission_fixed => n) FROM generate_series(1, 5) AS n;
		INSERT INTO chaos.settings VALUES ('$seed', $payments, $open, $late);
		SELECT chaos.make_plan();
		ANALYZE chaos.plan;
		SELECT payledger.set_payout_terms('SELLER-111', 'EUR', beneficiary => 'acct_111', gateway => 'stripe');
		SELECT payledger.open_account('PLATFORM_CASH', 'GLOBAL', 'EUR');
		SELECT payledger.post_entry('ADJUSTMENT', '[{"account": "PLATFORM_CASH.GLOBAL.EUR", "amount": 100000000},
													 {"account": "MERCHANT_PAYABLE.SELLER-111.EUR", "amount": -100000000}]');
		SQL
	return;
}

# A client that runs a procedure until the world is closed.
sub start_client
{
	my ($call) = @_;
	my %client = (call => $call, out => '', err => '');

	$client{process} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('payledger'), '-c', "CALL $call" ],
		'<', \undef, '>', \$client{out}, '2>', \$client{err});
	return \%client;
}

sub finish_client
{
	my ($client) = @_;

	$client->{process}->finish;
	is($client->{err}, '', "$client->{call} has had no error");
	return;
}

# ---- the course of things ----

my $last_webhook = 0;

# New webhooks are on their way.
sub collect
{
	my $more = 1;

	while ($more)
	{
		my $last = ask("SELECT chaos.collect('" . save("/_test/webhooks?after=$last_webhook&limit=$PAGE") . "')");

		$more = $last ne '' && $last - $last_webhook >= $PAGE;
		$last_webhook = $last if $last ne '';
	}
	return;
}

# Shoppers and banks act; the PSP may say that it is too late for that.
sub control
{
	my $due = $json->decode(ask(q{SELECT coalesce(json_agg(d), '[]') FROM (SELECT * FROM chaos.controls_due LIMIT 1000) d}));
	my @said;

	for my $control (@$due)
	{
		my $reply = $psp->control('POST', "/_test/$control->{path}", $control->{body});

		push @said, { kind => $control->{kind}, object => $control->{object}, reply => $reply->{json} };
	}
	return unless @said;
	my $said = $json->encode(\@said);
	$said =~ s/'/''/g;
	ask("INSERT INTO chaos.controls SELECT * FROM json_populate_recordset(NULL::chaos.controls, '$said') ON CONFLICT DO NOTHING");
	return;
}

# Lets the world go on until a condition holds, and does something else
# meanwhile.
sub live_until
{
	my ($condition, $what, $meanwhile) = @_;
	my $end = time() + $patience;

	while (1)
	{
		collect();
		control();
		$meanwhile->() if $meanwhile;
		last if ask("SELECT $condition") eq 't';
		for my $client (@clients)
		{
			$client->{process}->pump_nb if $client->{process}->pumpable;
			die "$client->{call} ended: $client->{err}\n" unless $client->{process}->pumpable;
		}
		if (time() > $end)
		{
			diag(ask('SELECT step, gateway, count(*), min(payment_id) FROM chaos.plan GROUP BY 1, 2'));
			diag(ask('SELECT * FROM chaos.refusals ORDER BY n DESC LIMIT 5'));
			PayledgerTest::_explain($node);
			die "waited $patience s in vain until $what\n";
		}
		sleep($is_long ? 0.5 : 0.1);
	}
	note(elapsed() . ": $what");
	return;
}

# What waits for long is done at once, as an operator may ask for.
sub hurry
{
	ask(<<~'SQL');
		SELECT payledger.retry_webhook(gateway, event_id) FROM payledger.webhooks
		 WHERE status = 'PARKED' AND next_attempt_at > now() + interval '1 s'
		SQL
	ask(<<~'SQL');
		UPDATE payledger.psp_requests SET next_attempt_at = now()
		 WHERE status = 'READY' AND operation = 'RETRIEVE' AND next_attempt_at > now() + interval '2 s'
		SQL
	return;
}

add_gateways();
make_world();
$session = $node->background_psql('payledger', on_error_stop => 1, timeout => 2 * $patience);
add_faults();
@clients = map { start_client($_) } (map { "chaos.shop($_, $CLIENTS)" } 0 .. $CLIENTS - 1), 'chaos.courier(0)', 'chaos.courier(1)';
my $worker = PayledgerTest::worker_pid($node, 'gateway');

ask("SELECT count(*) FROM generate_series(1, $payments / 20) AS n, payledger.request_payout('SELLER-111', 'EUR', 100 + n, 'payout-' || n)");

# most payments are through: now what Adyen has not delivered for so long comes, too
live_until(q{count(*) FILTER (WHERE step <> 'done') <= count(*) * 0.15 FROM chaos.plan}, 'most payments are through');
ask(q{UPDATE chaos.settings SET is_closing = true, late = 1});
ask(q{UPDATE chaos.deliveries SET due = clock_timestamp() WHERE due = 'infinity'});
live_until(<<~'SQL', 'no payment waits for anything but a request whose end is unknown', \&hurry);
	NOT EXISTS (SELECT FROM chaos.plan p WHERE step <> 'done'
				   AND NOT EXISTS (SELECT FROM payledger.psp_requests r
									WHERE r.payment_id = p.payment_id AND r.status IN ('UNKNOWN', 'IN_FLIGHT') AND r.attempt > 5))
	SQL

# the same errors again, and nothing else: the circuits would open
my $faults = $psp->stats;
$psp->clear_faults;
ask(q{SELECT payledger.alter_gateway(gateway, '{"circuit_failures": 0}') FROM payledger.gateways});
ask(q{INSERT INTO chaos.unknown SELECT psp_request_id, attempt FROM payledger.psp_requests WHERE status IN ('UNKNOWN', 'IN_FLIGHT')});
live_until(<<~'SQL', 'what is unknown was tried twice more', \&hurry);
	NOT EXISTS (SELECT FROM payledger.psp_requests r JOIN chaos.unknown u USING (psp_request_id)
				 WHERE r.status IN ('UNKNOWN', 'IN_FLIGHT') AND r.attempt < u.attempt + 2)
	SQL

# the PSP says the same error each time: an operator looks at what was executed
my $resolved = 0;
ask("SELECT chaos.load_truth('" . save('/_test/truth') . "')");
live_until('NOT EXISTS (SELECT FROM chaos.unresolved)', 'an operator resolved the others',
	sub { $resolved += ask('SELECT chaos.operate()'); });

my $quiet = <<~'SQL';
	NOT EXISTS (SELECT FROM chaos.plan WHERE step <> 'done')
	AND NOT EXISTS (SELECT FROM chaos.deliveries)
	AND NOT EXISTS (SELECT FROM chaos.controls_due)
	AND NOT EXISTS (SELECT FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED'))
	AND NOT EXISTS (SELECT FROM payledger.webhooks WHERE status IN ('RECEIVED', 'PARKED'))
	SQL
live_until($quiet, 'every payment is through, and every webhook delivered and applied', \&hurry);
my $at = ask('SELECT clock_timestamp()');
live_until("$quiet AND (SELECT complete_until > '$at' FROM payledger.webhook_backfills WHERE gateway = 'stripe')",
	"Stripe's list of events was read to its end", \&hurry);
ask('UPDATE chaos.settings SET is_closed = true');
finish_client($_) for @clients;

# ---- what must hold ----

ask("SELECT chaos.load_truth('" . save('/_test/truth') . "')");
ask('ANALYZE');
my %counted = map { split /\|/ } split /\n/, ask(<<~'SQL');
	SELECT 'webhooks', count(*) FROM chaos.webhooks
	 UNION ALL SELECT 'lost', count(*) FILTER (WHERE is_lost) FROM chaos.webhooks
	 UNION ALL SELECT 'repeated', count(*) FILTER (WHERE copies > 1 AND (psp = 'adyen' OR NOT is_lost)) FROM chaos.webhooks
	 UNION ALL SELECT 'deliveries', sum(copies) FILTER (WHERE psp = 'adyen' OR NOT is_lost) FROM chaos.webhooks
	 UNION ALL SELECT 'backfilled', count(*) FILTER (WHERE backfilled) FROM payledger.webhooks
	 UNION ALL SELECT 'captures', count(*) FROM chaos.moves WHERE operation = 'CAPTURE'
	 UNION ALL SELECT 'refunds', count(*) FROM chaos.moves WHERE operation = 'REFUND'
	 UNION ALL SELECT 'cancellations', count(*) FROM chaos.moves WHERE operation = 'CANCEL'
	 UNION ALL SELECT 'disputes', count(*) FROM chaos.their_disputes
	 UNION ALL SELECT 'transfers', count(*) FROM chaos.transfers
	 UNION ALL SELECT 'refused commands', count(*) FROM chaos.refusals
	SQL
my $fired = 0;
$fired += $_ for values %{ $faults->{faults} };
note(elapsed() . ": PSP_PAYMENTS=$payments PSP_SEED=$seed; $faults->{requests} requests to the PSPs, $fired with a fault: ",
	join ', ', map { "$_ $faults->{faults}{$_}" } sort keys %{ $faults->{faults} });
note(join ', ', map { "$counted{$_} $_" } sort keys %counted);
note("an operator resolved $resolved requests");

cmp_ok($fired, '>', 0.03 * $faults->{requests}, 'faults happened');
cmp_ok($counted{lost}, '>', 0.2 * $counted{webhooks}, 'webhooks got lost');
cmp_ok($resolved, '<=', $faults->{faults}{error_500_stored}, 'an operator was needed for nothing but errors that are stored');

my %wrong;
push @{ $wrong{ $_->{check_name} } }, "$_->{object}: we say [" . ($_->{ours} // '') . '], true is [' . ($_->{theirs} // '') . ']'
  for rows($node, 'SELECT * FROM chaos.disagreements');
for my $check (split /\n/, ask('SELECT check_name FROM chaos.checks()'))
{
	my @rows = @{ delete $wrong{$check} // [] };

	is(join("\n", @rows[ 0 .. ($#rows < 9 ? $#rows : 9) ]), '', $check);
}
is(join(' ', sort keys %wrong), '', 'each check has a name');

check_books($node, 'the books');

is(join("\n", grep { /^\S+ \S+ \S+ (?:client backend|payledger [a-z]+|background worker) (?:XX|40P01|23514)|PANIC|TRAP:/ }
			split /\n/, slurp_file($node->logfile)), '', 'the log has no internal error, no deadlock and no broken rule');
is(PayledgerTest::worker_pid($node, 'gateway'), $worker, 'the worker is the one that began');
my ($memory) = slurp_file("/proc/$worker/status") =~ /^RssAnon:\s+(\d+) kB/m;
note("memory of the gateway worker: $memory kB");
memory_below($memory, 64 * 1024, 'its memory is bounded');

$session->quit;
done_testing();
