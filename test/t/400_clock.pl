# The wall clock is stepped, by an hour, 40 days and 19.6 years, forward and
# back, of a server that runs, that is started again, on the same machine and
# after a reboot, and of a standby that is promoted: nothing is voided, expired,
# forgotten, paid out or dropped by it, ids stay near the true time, the workers
# go on, and an operator's word lets a step that is right take effect.

use strict;
use warnings FATAL => 'all';

use PayledgerClock;
use PayledgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $DAY = 24 * 3600;
my $ROLLOVER = 1024 * 7 * $DAY;    # of GPS weeks: 19.6 years
my @steps = map { ($_, -$_) } 3600, 40 * $DAY, $ROLLOVER;

# ---- a clock that can be stepped ----

my $starts = 0;    # each puts ids ahead by the 10 s that the server before it had promised

sub start_with_clock
{
	my ($name, $code) = @_;

	$starts++;
	return with_clock($name, $code);
}

# Makes a stopped server's file one of another boot of the machine.
sub reboot
{
	my ($node) = @_;
	my $path = $node->data_dir . '/payledger.clock';
	my $content = slurp_file($path);

	$content =~ s/^boot \S+/boot 00000000-0000-0000-0000-000000000000/m or die "no boot in $path\n";
	open(my $file, '>', $path) or die "could not open $path: $!\n";
	print $file $content;
	close($file) or die "could not write $path: $!\n";
	return;
}

# ---- what must not happen ----

my ($manual, $kept_hold);
my $keys = 0;

# Whatever the keeper does at long intervals it does first of all.
sub let_the_keeper_do_everything
{
	my ($node) = @_;
	my $pid = worker_pid($node, 'keeper');

	signal_worker($node, 'keeper', 'TERM');
	wait_sql($node, "SELECT pid <> $pid AND processed >= 0 AND state = 'idle' FROM payledger.stat_worker WHERE role = 'keeper'",
		'another keeper has been through its duties');
	return;
}

sub nothing_is_harmed
{
	my ($node, $what, $keeper_is_new) = @_;
	my $now = time();

	subtest $what => sub {
		# new work is done, at the right time
		my $key = 'key-' . ++$keys;
		my $intent = pay($node, 'pm_ok', [1000], idempotency_key => $key);
		wait_sql($node, "SELECT captured_amount = 1000 FROM payledger.payments WHERE order_id =
			(SELECT order_id FROM payledger.payment_intents WHERE payment_intent_id = $intent)", 'a payment is captured');
		wait_sql($node, 'SELECT (SELECT count(*) FROM payledger.postings) = (SELECT sum(postings) FROM payledger.folds)',
			'all postings are folded');
		my $second = sql($node, "SELECT extract(epoch FROM payledger.id_timestamp(payledger.next_id()))");
		ok($second > $now - 60 && $second < time() + 60 + 10 * $starts, 'ids are near the true time') or diag("$second, not $now");

		let_the_keeper_do_everything($node) if !$keeper_is_new;
		is(sql($node, "SELECT status FROM payledger.payments WHERE order_id = 'MANUAL'"), 'NOT_CAPTURED', 'the authorization stands');
		is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE operation IN ('CANCEL', 'PAYOUT')"),
			0, 'nothing is voided or paid out');
		is(create_intent($node, [500], order_id => 'MANUAL', capture_method => 'manual', idempotency_key => 'manual'),
			$manual, 'the old idempotency key is known');
		is(sql($node, "SELECT payment_intent_id FROM payledger.create_payment_intent('K', 'B', 'EUR',
				'[{\"seller_id\": \"SELLER-111\", \"amount\": 1}]', idempotency_key => 'always')"),
			sql($node, "SELECT reply->>'payment_intent_id' FROM payledger.idempotency_keys WHERE idempotency_key = 'always'"),
			'and so is that of a command made again and again');
		is(sql($node, "SELECT count(*) FROM payledger.idempotency_keys WHERE idempotency_key LIKE 'key-%'"), $keys,
			'no newer key is forgotten');
		is(sql($node, "SELECT status FROM payledger.holds WHERE hold_id = $kept_hold"), 'ACTIVE', 'the hold stands');
		is(sql($node, 'SELECT count(*) FROM payledger.reserves WHERE released_amount > 0'), 0, 'no reserve is released');
		is(sql($node, "SELECT count(*) FROM payledger.webhooks WHERE event_id = 'evt_old'"), 1, 'the webhook is kept');
		is(sql($node, "SELECT to_regclass('payledger.outbox_events_p0') IS NOT NULL"), 't', 'the partition is kept');
		is(sql($node, 'SELECT count(*) FROM payledger.verify() WHERE NOT ok'), 0, 'the books are right');
	};
	return;
}

sub step_is_shown
{
	my ($node, $seconds) = @_;

	is(sql($node, "SELECT abs(extract(epoch FROM step) - $seconds) < 60 FROM payledger.stat_clock"), 't', 'the step is shown');
	wait_sql($node, q{SELECT failing AND last_error LIKE 'the wall clock is %' FROM payledger.stat_worker WHERE role = 'keeper'},
		'the keeper says so');
	return;
}

# ---- the server ----

my $node = start_with_clock(
	primary => sub {
		new_node(
			'primary',
			'wal_level' => 'replica',
			'max_wal_senders' => 5,
			'payledger.max_clock_gap' => '30min',
			'payledger.idempotency_retention' => '1h',
			'payledger.outbox_retention' => '50min');
	});

sql($node, q{SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true)});
sql($node, q{SELECT payledger.set_reserve_terms('SELLER-222', 'EUR', reserve_bps => 5000, reserve_days => 1)});
create_authorized($node, 'pm_ok', [ 10000, 10000 ]);
$manual = create_authorized($node, 'pm_ok', [500], order_id => 'MANUAL', capture_method => 'manual', idempotency_key => 'manual');
sql($node, q{UPDATE payledger.payments SET authorization_expires_at = now() + interval '110 minutes' WHERE order_id = 'MANUAL'});
create_intent($node, [1], order_id => 'K', idempotency_key => 'unused');
sql($node, q{SELECT payment_intent_id FROM payledger.create_payment_intent('K', 'B', 'EUR',
	'[{"seller_id": "SELLER-111", "amount": 1}]', idempotency_key => 'always')});
settle($node);
$kept_hold = sql($node, q{SELECT hold_id FROM payledger.place_hold('MERCHANT_PAYABLE.SELLER-111.EUR', 100, now() + interval '50 minutes')});
sql($node, q{SELECT payledger.set_payout_terms('SELLER-111', 'EUR', beneficiary => 'ba_ok', available_from => 'capture', schedule => 'daily', cut_off => '00:00', minimum => 1)});
sql($node, q{UPDATE payledger.payout_terms SET next_payout_at = now() + interval '50 minutes' WHERE seller_id = 'SELLER-111'});
sql($node, q{INSERT INTO payledger.webhooks (gateway, event_id, webhook_id, event_type, body, backfilled, status, created_at, updated_at)
	VALUES ('sandbox', 'evt_old', 1, 'none', '{}', false, 'IGNORED', now(), now())});
# all is published, as far as the outbox knows, and its first partition is full
sql($node, q{SELECT setval('payledger.outbox_seq', 1000000)});
sql($node, q{UPDATE payledger.relay_cursors SET snapshot_xmax = 9000000000000000000});

nothing_is_harmed($node, 'before', 1);

# ---- while it runs ----

for my $step (@steps)
{
	step_clock(primary => $step);
	wait_for_clock($node, 'false');
	step_is_shown($node, $step);
	nothing_is_harmed($node, "stepped by $step s");
	step_clock(primary => 0);
	wait_for_clock($node, 'true');
}
nothing_is_harmed($node, 'with the clock right again');
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /WARNING:  the wall clock has been stepped/g), scalar @steps, 'each step is logged once');
is(scalar(() = $log =~ /agree again/g), scalar @steps, 'and its end');
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'keeper'}, 'the keeper is content again');

# ---- between two starts ----

for my $step (@steps)
{
	for my $reboots (0, 1)
	{
		my $how = $reboots ? 'after a reboot' : 'at a restart';

		$node->stop;
		reboot($node) if $reboots;
		step_clock(primary => $step);
		start_with_clock(primary => sub { $node->start });
		wait_for_workers($node);
		wait_for_clock($node, 'false');
		is(sql($node, 'SELECT at_start FROM payledger.stat_clock'), 't', 'it was so at the start');
		step_is_shown($node, $step);
		nothing_is_harmed($node, "$step s off $how", 1);
		step_clock(primary => 0);
		wait_for_clock($node, 'true');
	}
}

# a clock that is believed stays so, and an outage is none of its faults
$node->stop;
reboot($node);
start_with_clock(primary => sub { $node->start });
wait_for_workers($node);
wait_for_clock($node, 'true');
nothing_is_harmed($node, 'after a reboot with the clock right', 1);

# ---- a standby is promoted ----

for my $step (@steps)
{
	my $standby = PostgreSQL::Test::Cluster->new("standby$step");

	$node->backup("clock$step");
	$standby->init_from_backup($node, "clock$step", has_streaming => 1);
	reboot($standby);
	step_clock(standby => $step);
	start_with_clock(standby => sub { $standby->start });
	wait_for_clock($standby, 'false');
	$node->wait_for_catchup($standby);
	$standby->promote;
	wait_for_workers($standby);
	step_is_shown($standby, $step);
	nothing_is_harmed($standby, "a standby with its clock $step s off, promoted", 1);
	$keys--;
	$standby->stop;
}

# ---- a step that is right ----

step_clock(primary => 40 * $DAY);
wait_for_clock($node, 'false');
nothing_is_harmed($node, 'before the step is confirmed', 1);
is(sql($node, 'SELECT payledger.confirm_clock()'), 't', 'it is confirmed');
is(sql($node, 'SELECT payledger.confirm_clock()'), 'f', 'there is nothing more to confirm');
wait_for_clock($node, 'true');
is(sql($node, q{SELECT confirmed_by = session_user AND confirmed_step > interval '39 days' FROM payledger.stat_clock}),
	't', 'it is shown who confirmed which step');
like(slurp_file($node->logfile), qr/LOG:  the wall clock was confirmed by/, 'and logged');
let_the_keeper_do_everything($node);
wait_sql($node, q{SELECT status = 'VOIDED' FROM payledger.payments WHERE order_id = 'MANUAL'}, 'the authorization is given back');
wait_sql($node, "SELECT status = 'EXPIRED' FROM payledger.holds WHERE hold_id = $kept_hold", 'the hold is expired');
wait_sql($node, q{SELECT count(*) = 1 FROM payledger.payouts WHERE status = 'PAID'}, 'the seller is paid out');
wait_sql($node, q{SELECT count(*) > 0 FROM payledger.reserves WHERE released_amount > 0}, 'reserves are released');
is(sql($node, "SELECT count(*) FROM payledger.idempotency_keys WHERE idempotency_key LIKE 'key-%'"), $keys,
	'keys are kept as long as they would have been, by the clock that counted');
ok(sql($node, 'SELECT extract(epoch FROM payledger.id_timestamp(payledger.next_id()))') > time() + 39 * $DAY,
	'ids are drawn from it');

# and back: what was to wait by the clock confirmed before does not wait 40 days
my $waiting = sql($node, q{
	BEGIN;
	SELECT payment_intent_id AS id FROM payledger.create_payment_intent('WAITING', 'B', 'EUR',
		'[{"seller_id": "SELLER-111", "amount": 7}]') \gset
	SELECT payledger.request_authorization(:id, 'pm_ok') \gset
	UPDATE payledger.psp_requests SET next_attempt_at = next_attempt_at + interval '5 minutes' WHERE payment_id = :id;
	COMMIT;
	SELECT :id;});
step_clock(primary => 0);
wait_for_clock($node, 'false');
is(sql($node, 'SELECT payledger.confirm_clock()'), 't', 'the step back is confirmed');
wait_sql($node, q{SELECT captured_amount = 7 FROM payledger.payments WHERE order_id = 'WAITING'}, 'what waited is done');
let_the_keeper_do_everything($node);
is(sql($node, "SELECT count(*) FROM payledger.idempotency_keys WHERE idempotency_key LIKE 'key-%'"), $keys, 'no key is forgotten');
wait_sql($node, q{SELECT NOT bool_or(failing) FROM payledger.stat_worker}, 'no worker is in trouble');
is(sql($node, 'SELECT count(*) FROM payledger.verify() WHERE NOT ok'), 0, 'the books are right');

done_testing();
