# 100,000 transfers in one call of post_entries(), and how far a call is, as
# another session sees it.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('bulk', 'payledger.databases' => '', 'synchronous_commit' => 'off');

# n transfers between 1,000 sellers; the one numbered dated took effect at
# another time than it is recorded.
sql($node, <<~'SQL');
	SELECT count(*) FROM generate_series(0, 999) n, LATERAL payledger.open_account('MERCHANT_PAYABLE', 'BULK-' || n, 'EUR');
	CREATE FUNCTION transfers(n int, dated int) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(jsonb_build_object('entry_type', 'TRANSFER', 'reference', 'BULK:' || 100000 + i,
					'postings', jsonb_build_array(
						jsonb_build_object('account', 'MERCHANT_PAYABLE.BULK-' || i % 1000 || '.EUR', 'amount', i),
						jsonb_build_object('account', 'MERCHANT_PAYABLE.BULK-' || (i + 1 + i / 1000) % 1000 || '.EUR', 'amount', -i)))
				|| CASE WHEN i = dated THEN '{"effective_at": "2025-06-01T00:00:00Z"}' ELSE '{}' END::jsonb ORDER BY i)
		  FROM generate_series(1, n) i $$;
	SQL

# ---- how far it is ----

sub progress
{
	return sql($node, <<~'SQL');
		SELECT concat_ws(' ', p.phase, p.entries_processed, 'of', p.entries_total, 'in', p.datname) || CASE WHEN a.wait_event_type = 'Lock' THEN ', waits' ELSE '' END
		  FROM payledger.stat_progress_post_entries p JOIN pg_stat_activity a ON a.pid = p.pid AND a.application_name = 'bulk'
		SQL
}

# The tables that a call locks in turn, and how far it is then.  5,000 entries
# are written by one statement; only that with the dated one writes shifts.
my @gates = (
	[ 'payledger.journal_entries', 'checking 0 of 20000 in payledger, waits' ],
	[ 'payledger.postings', 'writing 0 of 20000 in payledger, waits' ],
	[ 'payledger.effective_shifts', 'writing 10000 of 20000 in payledger, waits' ]);

# Calls post_entries() while other sessions have locked those tables, which let
# it go on one by one; the last does so after $end.  Returns the calling
# session.
sub post_behind_gates
{
	my ($name, $end) = @_;
	my $bulk = $node->background_psql('payledger', on_error_stop => 0);
	my @keepers;

	for my $gate (@gates)
	{
		my $keeper = $node->background_psql('payledger');

		$keeper->query_safe("BEGIN; LOCK TABLE $gate->[0] IN SHARE MODE");
		push @keepers, $keeper;
	}
	$bulk->query_safe(q{SET application_name = 'bulk'});
	$bulk->query_until(qr/called/, "\\echo called\nSELECT count(*), min(verdict) FROM payledger.post_entries(transfers(20000, 12345));\n");
	for my $i (0 .. $#gates)
	{
		my $expected = $gates[$i][1];

		wait_for(sub { progress() eq $expected }, "$name: $expected", $node);
		$end->() if $i == $#gates;
		$keepers[$i]->query_safe('COMMIT');
		$keepers[$i]->quit;
	}
	return $bulk;
}

sub signal_bulk
{
	my ($function) = @_;

	sql($node, "SELECT $function(pid) FROM pg_stat_activity WHERE application_name = 'bulk'");
	return;
}

my $bulk = post_behind_gates('cancelled', sub { signal_bulk('pg_cancel_backend') });
wait_sql($node, q{SELECT state = 'idle' FROM pg_stat_activity WHERE application_name = 'bulk'}, 'the cancelled call has ended');
is(progress(), '', 'and is not shown any more');
$bulk->quit;

$bulk = post_behind_gates('terminated', sub { signal_bulk('pg_terminate_backend') });
wait_sql($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'bulk'}, 'the terminated session has ended');
is(sql($node, 'SELECT * FROM payledger.stat_progress_post_entries'), '', 'and is not shown any more');
eval { $bulk->quit };
is(sql($node, 'SELECT count(*) FROM payledger.journal_entries'), 0, 'neither has left anything');

$bulk = post_behind_gates('left alone', sub { });
wait_sql($node, q{SELECT state = 'idle' FROM pg_stat_activity WHERE application_name = 'bulk'}, 'the call has ended');
is(progress(), '', 'and is not shown any more');
is(sql($node, 'SELECT count(*) FROM payledger.journal_entries'), 20000, 'all is posted');
$bulk->quit;

# ---- 100,000 ----

is(sql($node, <<~'SQL'), <<~'END' =~ s/\n\z//r, '100,000 in one call, of which some were posted before');
	SELECT verdict, sqlstate, count(*), count(journal_entry_id), count(DISTINCT n), min(n), max(n)
	  FROM payledger.post_entries(transfers(100000, 0), false) GROUP BY 1, 2 ORDER BY 1
	SQL
	DENIED|PL006|1|0|1|12345|12345
	POSTED||80000|80000|80000|20001|100000
	REPLAYED||19999|19999|19999|1|20000
	END
is(sql($node, 'SELECT count(*), count(DISTINCT reference) FROM payledger.journal_entries'), '100000|100000', 'each is there once');
is(sql($node, <<~'SQL'), '100000|POSTED', '100,000 without references, all or none');
	SELECT count(*), string_agg(DISTINCT verdict, ' ')
	  FROM payledger.post_entries((SELECT jsonb_agg(e - 'reference') FROM jsonb_array_elements(transfers(100000, 77)) e))
	SQL
sql($node, 'SELECT payledger.fold_postings()');
check_ledger($node, 'in the end');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|server process .* exited/, 'the server stayed up');
$node->stop;
done_testing();
