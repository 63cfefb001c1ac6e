# Settlement: what the workers captured and refunded is settled by the
# sandbox's report to the cent; a report with discrepancies of every kind gives
# exactly those; a reconciliation that is interrupted leaves nothing.

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run ();
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('settlement', 'synchronous_commit' => 'off', 'max_wal_size' => '2GB');

# the settlement's checks that find something
sub offences
{
	return sql($node, <<~'SQL');
		SELECT string_agg(check_name || ': ' || detail, '; ') FROM payledger.verify(true) WHERE NOT ok
		SQL
}

sub balance
{
	my ($account) = @_;

	return sql($node, "SELECT payledger.balance('$account.GLOBAL.EUR')");
}

subtest 'what the workers did is settled to the cent' => sub {
	sql($node, q{SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true)});
	sql($node, <<~'SQL');
		SELECT count(payledger.request_authorization(i.payment_intent_id, m))
		  FROM generate_series(1, 60) AS n,
			   LATERAL (SELECT CASE n % 6 WHEN 0 THEN 'pm_capture_reversed' WHEN 1 THEN 'pm_capture_fails' ELSE 'pm_ok' END AS m) AS p,
			   LATERAL payledger.create_payment_intent('ORDER-' || n, 'BUYER-' || n, 'EUR', jsonb_build_array(
					jsonb_build_object('seller_id', 'SELLER-111', 'amount', 1000 + n),
					jsonb_build_object('seller_id', 'SELLER-222', 'amount', 500 + n))) AS i
		SQL
	settle($node);
	sql($node, <<~'SQL');
		SELECT count(*) FROM payledger.payment_orders o, LATERAL payledger.refund(o.payment_order_id, o.amount / 2) r
		 WHERE o.captured_amount = o.amount AND o.payment_order_id % 3 = 0
		SQL
	settle($node);
	cmp_ok(sql($node, q{SELECT count(DISTINCT kind) FROM payledger.settlement_items}), '>=', 2, 'there are open items of several kinds');
	isnt(balance('PSP_RECEIVABLES'), 0, 'the PSP owes us something');

	my $gross = balance('PSP_RECEIVABLES');
	my $cash = sql($node, <<~'SQL');
		SELECT -sum((l ->> 'net')::bigint) FROM jsonb_array_elements(payledger.sandbox_settlement('sandbox')) l WHERE l ->> 'line_type' = 'payout'
		SQL
	sql($node, q{SELECT payledger.import_settlement('sandbox', 'day 1', payledger.sandbox_settlement('sandbox'), settled_through => now())});
	is(sql($node, q{SELECT lines - matched, exceptions FROM payledger.reconcile_settlement('day 1')}), '0|0', 'every line is matched');
	is(balance('PSP_RECEIVABLES'), 0, 'the PSP owes nothing any more');
	is(balance('PLATFORM_CASH'), $cash, 'what it paid out is cash');
	is(balance('PSP_FEE_EXPENSE'), $gross - $cash, 'the rest are fees');
	is(sql($node, q{SELECT count(*) FROM payledger.settlement_items WHERE settlement_report_id IS NULL}), 0, 'no item is open');
	is(offences(), '', 'verify() finds nothing');
};

subtest 'discrepancies of every kind' => sub {
	my $seed = $ENV{SETTLEMENT_SEED} // int(rand(1_000_000));

	diag("SETTLEMENT_SEED=$seed");
	sql($node, slurp_file("$FindBin::RealBin/../settlement_load.sql"));
	for my $mode ([ 'by_payment', 'false' ], [ 'by_reference', 'true' ])
	{
		my ($gateway, $named) = @$mode;
		my $file = $node->basedir . "/$gateway.csv";
		my $lines = sql($node, "SELECT load_settlement('$gateway', 8600, $seed, 0.01, $named)");
		my $kinds = sql($node, "SELECT count(DISTINCT category) FROM injected WHERE gateway = '$gateway'");

		sql($node, "COPY (SELECT * FROM psp_report WHERE gateway = '$gateway') TO '$file' CSV");
		sql($node, "COPY payledger.settlement_lines FROM '$file' CSV");
		is($kinds, 8, "$gateway: $lines lines have all eight kinds of discrepancies");
		is(sql($node, "SELECT lines FROM payledger.reconcile_settlement('R-$gateway', settled_through => now())"), $lines,
			"$gateway: reconciled");
		is(sql($node, "SELECT * FROM settlement_differences('$gateway') LIMIT 5"), '', "$gateway: all found, none invented");
		is(sql($node, <<~"SQL"), $lines, "$gateway: every line has one outcome");
			SELECT count(*) FROM (SELECT line_no FROM payledger.settlement_outcomes WHERE gateway = '$gateway'
								   GROUP BY line_no HAVING count(*) = 1) o
			SQL
		is(offences(), '', "$gateway: verify() finds nothing");

		my $before = sql($node, 'SELECT count(*) FROM payledger.journal_entries');
		sql($node, "SELECT payledger.reconcile_settlement('R-$gateway')");
		my ($code, $out, $err) = $node->psql('payledger', "COPY payledger.settlement_lines FROM '$file' CSV");
		like($err, qr/duplicate key value|is reconciled/, "$gateway: a second COPY is refused");
		is(sql($node, 'SELECT count(*) FROM payledger.journal_entries'), $before, "$gateway: again changes nothing");
	}
};

subtest 'an operator accepts everything' => sub {
	sql($node, <<~'SQL');
		SELECT count(*) FROM payledger.reconciliation_exceptions e,
			   LATERAL payledger.resolve_exception(e.settlement_exception_id,
					CASE WHEN e.category = 'CASH_DIFFERENCE' THEN 'DISMISSED' ELSE 'ACCEPTED' END, 'test') r
		 WHERE e.gateway = 'by_payment'
		SQL
	is(sql($node, <<~'SQL'), 0, 'nothing is open but what came in another currency');
		SELECT count(*) FROM payledger.settlement_items i
		 WHERE gateway = 'by_payment' AND settlement_report_id IS NULL AND kind NOT IN ('REFUND', 'REFUND_REVERSAL')
		   AND psp_reference NOT IN (SELECT psp_reference FROM injected WHERE category = 'CURRENCY')
		SQL
	is(sql($node, <<~'SQL'), 't', 'all cash of the lines is posted');
		SELECT sum(l.net) = (SELECT sum(s.amount) FROM payledger.postings s
							   JOIN payledger.accounts a ON a.account_id = s.account_id AND a.account_type = 'PLATFORM_CASH'
							   JOIN payledger.journal_entries j ON j.journal_entry_id = s.journal_entry_id
							  WHERE split_part(j.reference, ':', 2) IN (
									SELECT settlement_report_id::text FROM payledger.settlement_reports WHERE gateway = 'by_payment'
									 UNION ALL
									SELECT settlement_exception_id::text FROM payledger.settlement_exceptions e
									  JOIN payledger.settlement_reports r USING (settlement_report_id) WHERE r.gateway = 'by_payment'))
		  FROM payledger.settlement_lines l WHERE l.gateway = 'by_payment' AND l.line_type <> 'payout'
		SQL
	is(offences(), '', 'verify() finds nothing');
};

subtest 'interrupted' => sub {
	sql($node, q{SELECT load_settlement('interrupted', 500, 7, 0.01, false)});
	sql($node, q{INSERT INTO payledger.settlement_lines SELECT * FROM psp_report WHERE gateway = 'interrupted'});

	# the items are settled when the exceptions wait for this lock
	my $blocker = $node->background_psql('payledger', on_error_die => 1);
	$blocker->query_safe('BEGIN; LOCK TABLE payledger.settlement_exceptions IN SHARE MODE');
	my ($out, $err) = ('', '');
	my $reconciler = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('payledger'), '-c', q{SELECT payledger.reconcile_settlement('R-interrupted')} ],
		'<', \undef, '>', \$out, '2>', \$err);
	my $waiting = q{FROM pg_stat_activity WHERE query LIKE '%R-interrupted%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()};
	wait_sql($node, "SELECT count(*) = 1 $waiting", 'the reconciliation is under way');
	is(sql($node, "SELECT count(pg_terminate_backend(pid)) $waiting"), 1, 'its backend is terminated');
	$reconciler->finish;
	$blocker->query_safe('COMMIT');
	$blocker->quit;
	like($err, qr/terminat/, 'it was interrupted');

	is(sql($node, q{SELECT count(*) FROM payledger.settlement_items WHERE gateway = 'interrupted' AND settlement_report_id IS NOT NULL}),
		0, 'nothing is settled');
	is(sql($node, q{SELECT status FROM payledger.settlement_reports WHERE gateway = 'interrupted'}), 'IMPORTED', 'nor reconciled');
	is(offences(), '', 'verify() finds nothing');
	sql($node, q{SELECT payledger.reconcile_settlement('R-interrupted', settled_through => now())});
	is(sql($node, q{SELECT * FROM settlement_differences('interrupted')}), '', 'again it finds everything');
};

subtest 'killed' => sub {
	sql($node, q{SELECT load_settlement('killed', 500, 8, 0.01, false)});
	sql($node, q{INSERT INTO payledger.settlement_lines SELECT * FROM psp_report WHERE gateway = 'killed'});
	sql($node, q{SELECT payledger.reconcile_settlement('R-killed', settled_through => now())});
	$node->stop('immediate');
	$node->start;
	wait_for_workers($node);
	# without synchronous_commit the last transactions may be gone, but never in part
	sql($node, q{SELECT payledger.reconcile_settlement('R-killed', settled_through => now())});
	is(sql($node, q{SELECT * FROM settlement_differences('killed')}), '', 'settled once, and everything found');
	is(offences(), '', 'verify() finds nothing');
};

done_testing();
