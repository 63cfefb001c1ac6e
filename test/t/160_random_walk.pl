# Eight sessions walk at random over every command on payments, refunds,
# disputes, payouts, settlements and sellers' terms, while three workers work off what they
# ask of PSPs that do everything a PSP can do, now and then with answers lost.
# Moments meanwhile, and the end, must add up.
#
# test/random_walk.sql is what the sessions do, random_walk_commands.sql how
# they choose it, random_walk_checks.sql what must hold.  WALK_SEED repeats a
# run's choices, though not how its sessions and workers interleave;
# WALK_PAYMENTS is how many payments are authorized, WALK_SESSIONS by how many,
# WALK_MOMENTS at how many moments all of it is looked at.
# The default keeps make test short, and has to come by what it comes by more
# than ten times on average; the whole walk, WALK_PAYMENTS=10000
# WALK_MOMENTS=100, by everything there is.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{WALK_SEED} // int(rand(2**31));
my $payments = $ENV{WALK_PAYMENTS} // 4_000;
my $sessions = $ENV{WALK_SESSIONS} // 8;
my $moments = $ENV{WALK_MOMENTS} // 40;
my $again = "WALK_SEED=$seed WALK_PAYMENTS=$payments WALK_SESSIONS=$sessions WALK_MOMENTS=$moments";
diag($again);

# SQLSTATEs in the log tell which errors of the workers belong to the walk
my $node = new_node('walk',
	'fsync' => 'off', 'shared_buffers' => '256MB', 'max_wal_size' => '4GB', 'work_mem' => '32MB',
	'autovacuum_naptime' => '5s', 'max_parallel_workers_per_gather' => 0,
	'log_line_prefix' => '%m [%p] %b %e ');
# to get here it was restarted, perhaps before a session was gone
my $log_start = -s $node->logfile;

my $clock = time();

# How long the part of the test since the last call took.
sub lap
{
	my ($what) = @_;

	diag(sprintf('%.1f s: %s', time() - $clock, $what));
	$clock = time();
	return;
}

# A psql of its own; finish() waits for it.
sub start
{
	my ($sql) = @_;
	my %client = (out => '', err => '', sql => $sql);

	$client{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('payledger'), '-c', $sql ],
		'<', \undef, '>', \$client{out}, '2>', \$client{err});
	return \%client;
}

sub finish
{
	my ($client) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($client->{run}->finish, "$client->{sql}: ran to its end ($again)") or diag($client->{err});
	return;
}

# What is counted by a query of two columns.
sub counts
{
	my ($query) = @_;

	return map { ("$_->{what}" => $_->{n}) } rows($node, $query);
}

sub list
{
	my (%counts) = @_;

	return join ', ', map { "$_ $counts{$_}" } sort keys %counts;
}

sql($node, slurp_file("$PayledgerTest::TEST_DIR/$_.sql")) for qw(random_walk random_walk_commands random_walk_checks);
sql($node, "SELECT walk.set_up(@{[ $seed % 1_000_000 ]}, 0.1); INSERT INTO walk.pace VALUES (0, 0, 0, false), (1, 0, 0, false)");
lap('set up');

# ---- the walk ----

my @clients = map { start("CALL walk.drive($_, $seed)") } 1 .. $sessions;
wait_sql($node, "SELECT count(*) = $sessions FROM walk.sessions", 'all sessions are at work');
# two, so that two moments may be looked at meanwhile
my @monitors = map { start("CALL walk.monitor($_, $payments, $moments, $sessions)") } 0, 1;
finish($_) for @monitors, @clients;
lap("$payments payments");

my ($load) = rows($node, <<~'SQL');
	SELECT (SELECT sum(operations) FROM walk.sessions) AS operations, (SELECT sum(n) FROM walk.outcomes) AS commands,
		   (SELECT count(*) FROM walk.samples) AS samples, (SELECT round(avg(seconds), 2) FROM walk.samples) AS seconds,
		   (SELECT round(avg(verify_seconds), 2) FROM walk.samples) AS verify_seconds,
		   (SELECT round(max(seconds), 2) FROM walk.samples) AS most_seconds
	SQL
diag("$load->{commands} commands; $load->{samples} samples of $load->{seconds} s ($load->{most_seconds} s at most), "
	  . "$load->{verify_seconds} s of it verify()");
my %answers = counts(q{SELECT kind || ' ' || answer AS what, sum(n) AS n FROM walk.outcomes GROUP BY 1});
diag('answers: ', list(%answers));
is(sql($node, <<~'SQL'), '', "every answer is one that the command may have ($again)");
	SELECT format('session %s, operation %s, %s: %s %s %s', session, operation, mode, answer, message, left(request::text, 1000))
	  FROM walk.failures ORDER BY session, operation LIMIT 10
	SQL
is(sql($node, 'SELECT moment, payments, unnest(offences) FROM walk.samples ORDER BY 1'), '', "every moment adds up ($again)");
is($load->{samples}, $moments, "$moments moments were looked at");

# ---- the end ----

# Whatever an operator can decide is decided.
sub decide
{
	my $waiting = "SELECT count(*) FROM payledger.psp_requests WHERE status IN ('READY', 'IN_FLIGHT', 'UNKNOWN', 'PARKED')";

	settle($node);
	while (sql($node, $waiting) > 0)
	{
		sql($node, 'SELECT walk.decide_parked()');
		settle($node);
	}
	return;
}

decide();
# what nobody captured expires; what is planned is sent
sql($node, 'UPDATE payledger.payments SET authorization_expires_at = now() WHERE authorization_expires_at IS NOT NULL');
1 while sql($node, 'SELECT payledger.expire_authorizations()') > 0;
wait_sql($node, 'SELECT NOT EXISTS (SELECT FROM payledger.payments WHERE authorization_expires_at IS NOT NULL)', 'all that expires has expired');
decide();
# and the PSPs settle all of it
sql($node, "SELECT payledger.import_settlement(gateway, 'the end', walk.report(gateway, false)) FROM payledger.gateways ORDER BY gateway");
sql($node, "SELECT payledger.reconcile_settlement('the end', gateway) FROM payledger.gateways ORDER BY gateway");
is(sql($node, "SELECT gateway, exceptions FROM payledger.settlement_reports WHERE report_id = 'the end' AND exceptions > 0"), '',
	'what is settled in the end agrees');
lap('everything is decided and settled');

is(sql($node, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT unnest(walk.offences()); COMMIT'), '', "the end adds up ($again)");
check_books($node, 'the books in the end');
is(sql($node, <<~'SQL'), '', 'nothing is under way, and no clearing account holds anything');
	SELECT account_type, entity_id, currency, sum(amount) FROM payledger.postings JOIN payledger.accounts USING (account_id)
	 WHERE account_type IN ('AUTH_RECEIVABLE', 'AUTH_LIABILITY', 'REFUND_CLEARING', 'PAYOUT_CLEARING', 'FX_CLEARING', 'PSP_RECEIVABLES')
	 GROUP BY 1, 2, 3 HAVING sum(amount) <> 0
	SQL
lap('verified');

# ---- was all of it walked? ----

my %ends;
for my $of ('payment_intent payment_intents', 'payment payments', 'payment_order payment_orders', 'refund refunds', 'dispute disputes',
	'payout payouts', 'psp_request psp_requests', 'report settlement_reports')
{
	my ($machine, $table) = split / /, $of;
	my %states = counts("SELECT '$machine ' || status AS what, count(*) AS n FROM payledger.$table GROUP BY 1");

	diag(list(%states));
	%ends = (%ends, %states);
}
my %exceptions = counts(q{SELECT category || ' ' || status AS what, count(*) AS n FROM payledger.settlement_exceptions GROUP BY 1});
diag('exceptions: ', list(%exceptions));
my %entries = counts('SELECT entry_type AS what, count(*) AS n FROM payledger.journal_entries GROUP BY 1');
diag('entries: ', list(%entries));
my %edges = counts(q{SELECT machine || ' ' || coalesce(from_status, '') || '>' || to_status AS what, count(*) AS n FROM payledger.state_history GROUP BY 1});
my @unwalked = grep { !$edges{$_} }
  map { $_->{what} } rows($node, q{SELECT machine || ' ' || coalesce(from_status, '') || '>' || to_status AS what FROM payledger.transitions});
diag('edges that were not walked: ', join ', ', sort @unwalked);
diag('rare edges: ', join ', ', map { "$_ $edges{$_}" } grep { $edges{$_} < 10 } sort keys %edges);

is(join(' ', grep { /(?:40P01|XX\d\d\d|23514)$/ } sort keys %answers), '', 'no deadlock, no internal error, no trigger had to help');
# errors of the workers are answers that an operator's decision contradicts; those requests were parked
is(join("\n", grep { /\b(?:ERROR|FATAL|PANIC):|was terminated by signal/ && !/ payledger gateway PL001 ERROR:/ } split /\n/, slurp_file($node->logfile, $log_start)),
	'', 'no worker saw another error');

# what a walk of the default size comes by a few times, now and then never
my %rare = map { $_ => 1 } (
	'create PL008', 'payment REFUNDED>PARTIALLY_CAPTURED', 'payment_order REFUNDED>PARTIALLY_REFUNDED', 'psp_request READY>REFUSED',
	'psp_request UNKNOWN>REFUSED', 'WRITE_OFF', 'CURRENCY ACCEPTED', 'CURRENCY DISMISSED',
	'FEE_DIFFERENCE ACCEPTED', 'MISSING_HERE ACCEPTED', 'MISSING_HERE DISMISSED', 'OVER ACCEPTED', 'UNDER ACCEPTED');

sub demanded
{
	return grep { $payments >= 5000 || !$rare{$_} } @_;
}

# a short walk does not come by everything
if ($payments >= 4000)
{
	cmp_ok($answers{$_} // 0, '>', 0, "it happened: $_") for demanded(
		(map { "$_ 00000" } qw(create shared authorize cancel_intent capture capture_payment cancel_order void expire refund refund_payment
			open_dispute open_payment_dispute submit_evidence close_dispute payout run_payouts update_seller add_rule reserve_terms
			payout_terms suspend cover cover_all release_reserves resolve reverse replay fold import reconcile resolve_exception), 'dispute again'),
		'create PL008', 'capture PL001', 'capture 0A000', 'capture too much PL005', 'capture nothing 22023', 'refund PL005',
		'refund too much PL005', 'refund nothing 22023', 'dispute of another amount PL006', 'close_dispute PL001', 'close_dispute 22023',
		'payout PL004', 'payout PL008', 'payout 55000', 'payout too much PL004', 'reverse PL001', 'key reused PL006', 'void PL001',
		'cancel_order PL001', 'authorize PL001', 'cancel_intent PL001', 'resolve_exception PL001', 'resolve_exception 22023');
	cmp_ok(scalar(grep { /40001$/ } keys %answers), '>', 0, 'it happened: REPEATABLE READ came too late');
	# of the others some are no business of the walk, and some the sandbox's PSP never takes
	is(join(', ', demanded(grep { !/^(?:account|hold|dead_letter|phantom|replay)[ ]|CREATED_PENDING|PENDING_AUTH>CANCELLED|PENDING_CAPTURE>CAPTURE_REQUESTED
			|payout[ ]REQUESTED>PAID|PARKED|SUCCEEDED>REFUSED|UNKNOWN>PENDING/x } @unwalked)),
		'', 'every other edge of every machine was walked');
	cmp_ok($ends{$_} // 0, '>', 0, "$_ exists in the end") for (
		(map { "payment_intent $_" } qw(CREATED REQUIRES_ACTION AUTHORIZED DECLINED CANCELLED)),
		(map { "payment $_" } qw(PARTIALLY_CAPTURED CAPTURED PARTIALLY_REFUNDED REFUNDED VOIDED)),
		(map { "payment_order $_" } qw(CAPTURED CAPTURE_FAILED PARTIALLY_REFUNDED REFUNDED CANCELLED)),
		(map { "refund $_" } qw(SUCCEEDED FAILED)), (map { "dispute $_" } qw(NEEDS_RESPONSE UNDER_REVIEW WON LOST)),
		(map { "payout $_" } qw(PAID FAILED RETURNED)), (map { "psp_request $_" } qw(SUCCEEDED REFUSED)));
	cmp_ok($exceptions{$_} // 0, '>', 0, "there was an exception $_") for demanded(
		(map { ("$_ ACCEPTED", "$_ DISMISSED") } qw(MISSING_AT_PSP MISSING_HERE OVER UNDER DUPLICATE CURRENCY FEE_DIFFERENCE)),
		'CASH_DIFFERENCE DISMISSED');
	cmp_ok($entries{$_} // 0, '>', 0, "$_ was posted") for demanded(qw(AUTH_HOLD AUTH_RELEASE CAPTURE CAPTURE_REVERSAL COMMISSION_FEE
	  COMMISSION_FEE_REVERSAL COMMISSION_REFUND COMMISSION_REFUND_REVERSAL REFUND_REQUESTED REFUND_REQUESTED_REVERSAL REFUND_DONE
	  REFUND_DONE_REVERSAL CHARGEBACK CHARGEBACK_REVERSAL CHARGEBACK_BORNE CHARGEBACK_BORNE_REVERSAL CHARGEBACK_FEE
	  CHARGEBACK_FEE_REVERSAL PAYOUT_REQUESTED PAYOUT_REQUESTED_REVERSAL PAYOUT_PAID PAYOUT_PAID_REVERSAL RESERVE_HOLD RESERVE_RELEASE
	  WRITE_OFF SETTLEMENT SETTLEMENT_SUSPENSE SETTLEMENT_WRITE_OFF PSP_FEE_RECHARGE));
}
$node->stop;
done_testing();
