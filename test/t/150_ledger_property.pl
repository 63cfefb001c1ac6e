# Eight sessions do what can be done with a ledger, at random: posts of every
# form, holds, reversals, changes of limits and states, closings of months,
# folds, repetitions, bad requests.  Sampled moments meanwhile, and everything
# in the end, must be what the postings say.  test/ledger_property.sql is what
# the sessions do, ledger_property_requests.sql how they choose it, and
# ledger_property_checks.sql how balances are rebuilt.
#
# PAYLEDGER_SEED repeats a run's choices, though not how its sessions
# interleave.  PROPERTY_POSTINGS is how many legs they post together,
# PROPERTY_TIMES for how many times balances are rebuilt.  The defaults keep
# make test short; the whole of it is PROPERTY_POSTINGS=1000000
# PROPERTY_TIMES=1000.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{PAYLEDGER_SEED} // int(rand(2**31));
my $postings = $ENV{PROPERTY_POSTINGS} // 500_000;
my $times = $ENV{PROPERTY_TIMES} // 500;
my $sessions = 8;
my $again = "PAYLEDGER_SEED=$seed PROPERTY_POSTINGS=$postings";
note($again);

# statements wait for nothing but each other, so the disk may be left out
my $node = new_node('property', 'fsync' => 'off', 'shared_buffers' => '512MB', 'max_wal_size' => '4GB', 'work_mem' => '64MB');

# A psql of its own; finish() waits for it, and gives what it said.
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
	chomp $client->{out};
	return $client->{out};
}

my $clock = time();

# How long the part of the test since the last call took.
sub lap
{
	my ($what) = @_;

	note(sprintf('%.1f s: %s', time() - $clock, $what));
	$clock = time();
	return;
}

# Nothing comes out of a query that finds offences; the first few are shown.
sub finds_nothing
{
	my ($query, $name) = @_;
	my @found = split /\n/, sql($node, $query);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join("\n", @found[ 0 .. ($#found < 4 ? $#found : 4) ]), '', "$name ($again)")
	  or diag(scalar @found, ' lines');
	return;
}

sql($node, slurp_file("$PayledgerTest::TEST_DIR/$_.sql")) for qw(ledger_property ledger_property_requests ledger_property_checks);
lap('set up');

# ---- the load ----

my @clients = map { start("CALL property.drive($_, $seed, " . int($postings / $sessions) . ')') } 1 .. $sessions;
wait_sql($node, "SELECT count(*) = $sessions FROM property.sessions", 'all sessions are at work');
my $monitor = start("CALL property.monitor($seed)");
finish($_) for @clients;
lap("$postings legs");
finish($monitor);

my ($load) = rows($node, 'SELECT sum(operations) AS operations, sum(legs) AS legs FROM property.sessions');
cmp_ok($load->{legs}, '>=', $postings, "$load->{legs} legs by $load->{operations} operations");
my %answers = map { ("$_->{kind} $_->{answer}" => $_->{n}) }
  rows($node, 'SELECT kind, answer, sum(n) AS n FROM property.outcomes GROUP BY 1, 2');
note(join ', ', map { "$_: $answers{$_}" } sort keys %answers);
finds_nothing(<<~'SQL', 'every answer is one that the call may have, and every sampled moment adds up');
	SELECT format('session %s, operation %s, %s, %s: %s %s %s', session, operation, kind, isolation, answer, message, left(request::text, 1500))
	  FROM property.failures ORDER BY session, operation
	SQL
is(join(' ', grep { /(?:40P01|XX\d\d\d)$/ } keys %answers), '', 'no deadlock and no internal error');
cmp_ok(sql($node, 'SELECT count(*) FROM payledger.folds'), '>=', 10, 'between many folds');

# a short run does not come by everything
if ($postings >= 500_000)
{
	cmp_ok($answers{$_} // 0, '>', 0, "it happened: $_") for (
		'bulk 00000', 'few 00000', 'single 00000', 'drain 00000', 'net 00000', 'shared 00000', 'retry 00000', 'replay 00000',
		'reversal 00000', 'hold 00000', 'commit 00000', 'release 00000', 'limits 00000', 'status 00000', 'life 00000',
		'conversion 00000', 'fold 00000', 'close 00000', 'reopen 00000',
		'verdict POSTED', 'verdict REPLAYED', 'verdict PL002', 'verdict PL004', 'verdict PL007', 'verdict PL008', 'verdict PL009',
		'verdict PL011', 'verdict 22003', 'verdict 22023',
		'bad PL002', 'bad PL007', 'bad PL009', 'bad PL011', 'bad 22003', 'bad 22023',
		'reuse PL006', 'drain PL004', 'single PL009', 'suspended PL008', 'closed PL008', 'commit PL001', 'commit PL005',
		'release PL001', 'hold PL004', 'reversal PL005', 'reversal 22023', 'conversion 22023');
	cmp_ok(scalar(grep { /40001$/ } keys %answers), '>', 0, 'it happened: REPEATABLE READ came too late');
	cmp_ok(sql($node, 'SELECT count(DISTINCT sampled_at) FROM property.samples'), '>=', 20, 'many moments were sampled');
}

# ---- the end ----

# whatever the last session to close or reopen did, each ledger ends with a closed month that has entries
for my $next (rows($node, <<~'SQL'))
	SELECT ledger, (max(month) + interval '1 month')::date AS month FROM payledger.periods WHERE is_closed
	 GROUP BY ledger HAVING max(month) < now() - interval '70 days'
	SQL
{
	sql($node, "CALL payledger.close_period('$next->{ledger}', '$next->{month}')");
}
wait_sql($node, "SELECT NOT EXISTS (SELECT FROM payledger.holds WHERE status = 'ACTIVE' AND expires_at <= now())",
	'the keeper has expired what is overdue');
cmp_ok(sql($node, "SELECT count(*) FROM payledger.holds WHERE status = 'EXPIRED'"), '>', 0, 'some holds expired');
wait_sql($node, 'SELECT max(recorded_at) < clock_timestamp() FROM payledger.journal_entries', 'all that was recorded is past');
# how long the rest takes should not hang on when autovacuum came by
sql($node, 'ANALYZE');
sql($node, "SELECT property.rebuild($seed, $times)");
lap('rebuilt');
my @probes = map { start("SELECT property.check_probes($_, 2)") } 0, 1;
for (@probes)
{
	my ($n, $wrong, $first) = finish($_) =~ /^\((\d+),(\d+),(.*)\)$/;

	cmp_ok($n, '>=', 56 * $times, 'every account was asked about');
	is($wrong, 0, "$n past and effective balances are what their legs add up to ($again)") or diag($first);
}
lap('asked for past balances');
finds_nothing('SELECT property.wrong_samples()', 'every sampled balance is what its snapshot saw');
lap('compared the samples');

finds_nothing('SELECT property.offences()', 'the sums are zero, the limits kept, held is what the holds hold');
finds_nothing(<<~'SQL', 'account_balances is what the legs add up to');
	SELECT account_code, b.balance, l.balance FROM payledger.account_balances b
	  FULL JOIN (SELECT account_code, sum(amount) AS balance FROM property.legs GROUP BY 1) l USING (account_code)
	 WHERE b.balance IS DISTINCT FROM coalesce(l.balance, 0)
	SQL
is(sql($node, 'SELECT count(*) FROM payledger.postings'), $load->{legs}, 'as many postings as were accepted');
finds_nothing(<<~'SQL', 'every accepted reference was posted once, and replays gave that entry');
	SELECT reference, count(DISTINCT p.journal_entry_id), count(*) FILTER (WHERE verdict = 'POSTED'), count(DISTINCT e.journal_entry_id)
	  FROM property.posted p
	  LEFT JOIN payledger.journal_entries e USING (reference)
	 GROUP BY reference
	HAVING count(DISTINCT p.journal_entry_id) <> 1 OR count(*) FILTER (WHERE verdict = 'POSTED') <> 1
		OR min(p.journal_entry_id) IS DISTINCT FROM min(e.journal_entry_id)
	SQL
finds_nothing(<<~'SQL', 'no entry has a reference that was not accepted');
	SELECT e.reference FROM payledger.journal_entries e
	 WHERE e.entry_type IN ('PROPERTY_TRANSFER', 'PROPERTY_OTHER', 'PROPERTY_DRAIN', 'PROPERTY_SHARED') AND e.reference IS NOT NULL
	   AND NOT EXISTS (SELECT FROM property.posted p WHERE p.reference = e.reference)
	SQL
finds_nothing(<<~'SQL', 'what was committed of each hold is what its entries took');
	SELECT h.hold_id, h.status, h.amount, h.committed_amount, c.amount, -c.taken
	  FROM payledger.holds h
	  LEFT JOIN (SELECT c.hold_id, sum(c.amount) AS amount,
						sum((SELECT sum(p.amount * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END)
									FILTER (WHERE p.account_id = h.account_id)
							   FROM payledger.postings p
							   JOIN payledger.accounts a USING (account_id)
							   JOIN payledger.account_types t USING (account_type)
							  WHERE p.journal_entry_id = c.journal_entry_id)) AS taken
			   FROM property.commits c JOIN payledger.holds h USING (hold_id) GROUP BY 1) c USING (hold_id)
	 WHERE h.committed_amount <> coalesce(c.amount, 0) OR h.committed_amount <> coalesce(-c.taken, 0)
		OR (h.status = 'COMMITTED' AND h.committed_amount = 0)
		OR (h.status = 'EXPIRED' AND h.expires_at IS NULL)
	SQL
finds_nothing('SELECT r.journal_entry_id FROM payledger.journal_entries r JOIN payledger.journal_entries o'
	  . ' ON o.journal_entry_id = r.reverses WHERE o.reverses IS NOT NULL', 'no reversal was reversed');
finds_nothing(<<~'SQL', 'no entry was reversed by more than it was');
	SELECT r.reverses, r.account_id, o.amount, r.amount
	  FROM (SELECT e.reverses, p.account_id, sum(p.amount) AS amount
			  FROM payledger.journal_entries e JOIN payledger.postings p USING (journal_entry_id)
			 WHERE e.reverses IS NOT NULL GROUP BY 1, 2) r
	 CROSS JOIN LATERAL (SELECT sum(p.amount) FILTER (WHERE p.account_id = r.account_id) AS amount FROM payledger.postings p
						  WHERE p.journal_entry_id = r.reverses) o
	 WHERE o.amount IS NULL OR sign(o.amount) = sign(r.amount) OR abs(r.amount) > abs(o.amount)
	SQL
is(sql($node, 'SELECT count(DISTINCT ledger) FROM payledger.closing_balances'), 3, 'each ledger has closing balances');
finds_nothing(<<~'SQL', 'closing balances are what the postings until the end of the month add up to');
	SELECT ledger, month, account_id, c.balance, p.balance
	  FROM (SELECT c.* FROM payledger.closing_balances c JOIN payledger.periods USING (ledger, month) WHERE is_closed AND has_balances) c
	  FULL JOIN (SELECT d.ledger, d.month, p.account_id, sum(p.amount) AS balance
				   FROM payledger.periods d
				   JOIN payledger.accounts a ON a.ledger = d.ledger
				   JOIN payledger.postings p ON p.account_id = a.account_id
				   JOIN payledger.journal_entries e ON e.journal_entry_id = p.journal_entry_id AND e.effective_at < d.ends_at
				  WHERE d.is_closed AND d.has_balances
				  GROUP BY 1, 2, 3 HAVING sum(p.amount) <> 0) p USING (ledger, month, account_id)
	 WHERE c.balance IS DISTINCT FROM p.balance
	SQL
finds_nothing(<<~'SQL', 'nothing was posted into a month while it was closed');
	SELECT DISTINCT d.ledger, d.month, e.journal_entry_id, e.recorded_at, e.effective_at
	  FROM payledger.periods d
	  JOIN payledger.journal_entries e ON e.effective_at >= d.starts_at AND e.effective_at < d.ends_at
	  JOIN payledger.postings p USING (journal_entry_id)
	  JOIN payledger.accounts a ON a.account_id = p.account_id AND a.ledger = d.ledger
	  CROSS JOIN LATERAL (
			SELECT event FROM payledger.period_events v
			 WHERE v.ledger = d.ledger AND v.month = d.month AND v.period_event_id < e.journal_entry_id
			 ORDER BY v.period_event_id DESC LIMIT 1) v
	 WHERE v.event = 'CLOSED'
	   /* a post has its id before it looks whether the month is open */
	   AND NOT EXISTS (SELECT FROM payledger.period_events o
						WHERE o.ledger = d.ledger AND o.month = d.month AND o.event = 'REOPENED'
						  AND o.period_event_id > e.journal_entry_id AND o.period_event_id < e.journal_entry_id + (1000::bigint << 22))
	SQL
lap('looked at everything else');
check_ledger($node, 'in the end');
lap('verified');
is(join("\n", grep { /\b(?:ERROR|PANIC):|was terminated by signal/ } split /\n/, slurp_file($node->logfile)), '', 'no worker saw an error');
$node->stop;
done_testing();
