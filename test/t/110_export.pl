# The journal of a ledger of 50,000 entries is read by hledger and beancount,
# which know nothing of payledger: they accept it, and their balances are ours,
# to the last minor unit, for every account, now and at the end of every month.
# PAYLEDGER_SEED repeats a ledger, PAYLEDGER_EXPORT_ENTRIES says how large it is.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

for my $program (qw(hledger bean-check))
{
	IPC::Run::run([ $program, '--version' ], '>', \my $out, '2>', \my $err) or BAIL_OUT("no $program: see test/install-dependencies");
}
$ENV{LC_ALL} = 'C.UTF-8';

my $seed = $ENV{PAYLEDGER_SEED} // int(rand(1_000_000_000));
my $entries = $ENV{PAYLEDGER_EXPORT_ENTRIES} // 50_000;
my $node = new_node('export', 'payledger.databases' => '', 'synchronous_commit' => 'off');
my $dir = PostgreSQL::Test::Utils::tempdir('export');

note("PAYLEDGER_SEED=$seed");

# ---- a ledger in another time zone, three currencies, sub-accounts ----

sql($node, <<~'SQL');
	SELECT payledger.add_ledger('EXPORT', 'a "branch"; \in [2026-13-45]', 'America/New_York');
	SELECT count(*) FROM unnest('{EUR, JPY, BHD}'::text[]) c,
		(VALUES ('PLATFORM_CASH', 'US'), ('PSP_RECEIVABLES', 'US'), ('PLATFORM_COMMISSION_REVENUE', 'US'), ('PSP_FEE_EXPENSE', 'US'),
				('RETAINED_EARNINGS', 'US'), ('MERCHANT_PAYABLE', 'EU'), ('MERCHANT_PAYABLE', 'EU.DE'), ('MERCHANT_PAYABLE', 'seller_1'),
				('MERCHANT_PAYABLE', 'Seller:1'), ('MERCHANT_PAYABLE', 'Seller-1'), ('MERCHANT_PAYABLE', 'EU.DE.1:a_b')) a(t, e)
	 CROSS JOIN LATERAL payledger.open_account(t, e, c, 'EXPORT');
	SELECT count(*) FROM unnest('{EUR, JPY, BHD}'::text[]) c, generate_series(1, 100) n
	 CROSS JOIN LATERAL payledger.open_account('MERCHANT_PAYABLE', 'EU.DE.S-' || n, c, 'EXPORT');
	SELECT payledger.open_account(t, 'ELSEWHERE', 'EUR') FROM unnest('{PLATFORM_CASH, BANK_FEES}'::text[]) t;

	CREATE FUNCTION account_of(entity int, currency text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
		SELECT 'MERCHANT_PAYABLE.' || CASE entity WHEN 0 THEN 'EU' WHEN 1 THEN 'EU.DE' WHEN 2 THEN 'seller_1' WHEN 3 THEN 'Seller:1'
									  WHEN 4 THEN 'Seller-1' WHEN 5 THEN 'EU.DE.1:a_b' ELSE 'EU.DE.S-' || entity - 5 END || '.' || currency
	$$;
	CREATE FUNCTION leg(account text, amount bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$ SELECT jsonb_build_object('account', account, 'amount', amount) $$;

	-- captures, commissions, settlements and payouts; two thirds are dated, one in fifty is in two ledgers
	CREATE FUNCTION random_entries(first int, last int) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
		SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
			'entry_type', (ARRAY['CAPTURED', 'COMMISSION', 'SETTLED', 'PAID_OUT'])[1 + r.kind],
			'reference', CASE WHEN r.n % 3 = 0 THEN r.n || ';, date:2026-13-45 [2026-13-45] "\|(§)' END,
			'metadata', CASE WHEN r.n % 7 = 0 THEN jsonb_build_object('date', '2026-13-45', 'a;b, "c', E'\\ [2026-99-99]\ndate:x ; * !', 'type', 'Z') END,
			'effective_at', CASE WHEN r.n % 3 > 0 THEN '2025-01-01'::timestamptz + r.day * interval '1 day' END,
			'postings', CASE r.kind
				WHEN 0 THEN jsonb_build_array(leg('PSP_RECEIVABLES.US.' || c, r.amount), leg(s, -r.amount))
				WHEN 1 THEN jsonb_build_array(leg(s, r.amount / 10 + 1), leg('PLATFORM_COMMISSION_REVENUE.US.' || c, -r.amount / 10 - 1))
				WHEN 2 THEN jsonb_build_array(leg('PLATFORM_CASH.US.' || c, r.amount), leg('PSP_FEE_EXPENSE.US.' || c, r.amount / 50 + 1),
											  leg('PSP_RECEIVABLES.US.' || c, -r.amount - r.amount / 50 - 1))
				ELSE jsonb_build_array(leg(s, r.amount), leg('PLATFORM_CASH.US.' || c, -r.amount)) END
				|| CASE WHEN r.n % 50 = 0 THEN jsonb_build_array(leg('PLATFORM_CASH.ELSEWHERE.EUR', -7), leg('BANK_FEES.ELSEWHERE.EUR', 7))
						ELSE '[]' END)) ORDER BY r.n)
		  FROM (SELECT n, floor(random() * 4)::int AS kind, floor(random() * 106)::int AS entity, (1 + random() ^ 8 * 1e12)::bigint AS amount,
					   (ARRAY['EUR', 'JPY', 'BHD'])[1 + floor(random() * 3)::int] AS c, random() * 665 AS day
				  FROM generate_series(first, last) n) r
		 CROSS JOIN LATERAL account_of(r.entity, r.c) s
	$$;
	SQL

# several folds, so that past balances begin at different ones; the last is left out
for my $part (0 .. 9)
{
	sql($node, "SELECT payledger.fold_postings(); SELECT setseed(" . (($seed + $part) % 1_000_000) / 1_000_000 . ");"
		  . " SELECT count(*) FROM payledger.post_entries(random_entries(" . (int($part * $entries / 10) + 1) . ", " . int(($part + 1) * $entries / 10) . "))");
}
sql($node, <<~'SQL');
	SELECT count(payledger.reverse_entry(journal_entry_id, 'a "mistake" in [2026-13-45]', effective_at => effective_at + interval '40 days'))
	  FROM (SELECT * FROM payledger.journal_entries ORDER BY journal_entry_id LIMIT 2000) j;
	SELECT payledger.post_entry('YEAR_END', jsonb_build_array(leg(account_code, balance::bigint), leg('RETAINED_EARNINGS.US.' || currency, -balance::bigint)),
								effective_at => '2026-01-01 00:00-05')
	  FROM payledger.account_balances_at(effective_at => payledger.month_end('2025-12-01', 'EXPORT'), for_ledger => 'EXPORT')
	 WHERE account_type = 'PLATFORM_COMMISSION_REVENUE';
	ANALYZE;
	SQL
is(sql($node, 'SELECT count(*) FROM payledger.journal_entries'), $entries + 2003, 'the ledger is filled');

# ---- what the others say ----

# Writes the export to a file and returns its path.
sub export
{
	my ($file, @arguments) = @_;
	my $path = "$dir/$file";
	my $started = time();

	IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('payledger'), '-o', $path, '-c',
			'SELECT payledger.export_journal(' . join(', ', @arguments) . ')' ]) or die "the export failed\n";
	note(sprintf('%s: %d kB in %.1f s', $file, (-s $path) / 1024, time() - $started));
	return $path;
}

# Runs a program: whether it succeeded, and what it wrote.
sub run_program
{
	my (@command) = @_;
	my $started = time();
	my $ok = IPC::Run::run(\@command, '<', \undef, '>', \my $out, '2>', \my $err);

	note(sprintf('%s: %.1f s', join(' ', @command), time() - $started));
	return ($ok, $out, $err);
}

# hledger's balances: what => "account currency date" => amount.  Zeroes are left out.
sub hledger_balances
{
	my ($path, @options) = @_;
	my ($ok, $out, $err) = run_program('hledger', '-f', $path, 'balance', '--flat', '--no-total', '--layout=bare', '-O', 'csv', @options);
	my ($header, @lines) = split /\n/, $out;
	# of a month, some versions give the last day
	my @titles = map { s/^(\d{4}-\d\d)-\d\d$/$1/r } split /,/, $header =~ tr/"//dr;
	my %balances;

	die "hledger failed: $err\n" unless $ok;
	for (@lines)
	{
		my ($account, $currency, @amounts) = split /,/, tr/"//dr;
		for my $i (0 .. $#amounts)
		{
			$balances{"$account $currency $titles[$i + 2]"} = $amounts[$i] if $amounts[$i] =~ /[1-9]/;
		}
	}
	return \%balances;
}

# Ours, in the same words: a query of name, currency, title and amount.
sub our_balances
{
	my ($query) = @_;

	return { map { /^(.*)\|(.*)$/ } split /\n/, sql($node, <<~"SQL") };
		SELECT q.name || ' ' || q.currency || ' ' || q.title, payledger.format_total(q.amount, q.currency)
		  FROM ($query) q WHERE q.amount <> 0
		SQL
}

# The same for every account, and not for none.
sub is_same
{
	my ($theirs, $ours, $at_least, $name) = @_;
	my @wrong = map { "$_: theirs is " . ($theirs->{$_} // 0) . ', ours ' . ($ours->{$_} // 0) }
	  grep { ($theirs->{$_} // '') ne ($ours->{$_} // '') } sort keys %{ { %$theirs, %$ours } };

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join("\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]), '', "$name (seed $seed)");
	cmp_ok(scalar keys %$ours, '>=', $at_least, "$name: at least $at_least of them");
	return;
}

# The amount of the first line like this is changed by one minor unit.
sub refuses_a_change
{
	my ($path, $pattern, $name, @command) = @_;
	my @lines = split /^/, slurp_file($path);
	my ($line) = grep { $lines[$_] =~ $pattern } 0 .. $#lines;

	die "nothing to change in $path\n" unless defined $line;
	$lines[$line] =~ s/$pattern/$1 . ($2 == 9 ? 8 : $2 + 1) . $3/e;
	append_to_file("$path.changed", join '', @lines);
	my ($ok, $out, $err) = run_program(@command, "$path.changed");
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(!$ok, $name);
	like("$out$err", qr/balance/i, "$name: says so");
	return;
}

my $names = q(payledger.export_names('hledger', 'EXPORT') n ON n.account_code = b.account_code);
my @summer = map { "payledger.month_start('$_', 'EXPORT')" } '2025-06-01', '2025-09-01';
my $debit = q(CASE b.normal_side WHEN 'DEBIT' THEN b.balance ELSE -b.balance END);

subtest 'hledger, all of it' => sub {
	my $path = export('all.journal', q('hledger'), q(for_ledger => 'EXPORT'));
	my ($ok, $out, $err) = run_program('hledger', '-f', $path, 'check', '--strict');

	ok($ok, 'accepted, every account and currency declared, every balance asserted') or diag($err);
	is_same(hledger_balances($path), our_balances(<<~"SQL"), 300, 'balances');
		SELECT n.name, b.currency, 'balance' AS title, $debit AS amount
		  FROM payledger.account_balances b JOIN $names
		SQL
	is_same(hledger_balances($path, '--monthly', '--historical', '-b', '2025-01-01', '-e', '2026-11-01'), our_balances(<<~"SQL"), 3000, 'balances of every month');
		SELECT n.name, b.currency, to_char(m, 'YYYY-MM') AS title, $debit AS amount
		  FROM generate_series('2025-01-01'::timestamp, '2026-10-01', '1 month') m
		 CROSS JOIN LATERAL payledger.account_balances_at(effective_at => payledger.month_end(m::date, 'EXPORT'), for_ledger => 'EXPORT') b
		  JOIN $names
		SQL
	is_same(hledger_balances($path, '--monthly', '-b', '2025-01-01', '-e', '2026-11-01', '--depth=2', '^Income', '^Expenses', 'not:desc:YEAR_END'),
		our_balances(<<~'SQL'), 100, 'income of every month');
		SELECT CASE i.category WHEN 'REVENUE' THEN 'Income:' ELSE 'Expenses:' END || i.account_type AS name, i.currency,
			   to_char(m, 'YYYY-MM') AS title, CASE i.category WHEN 'REVENUE' THEN -i.amount ELSE i.amount END AS amount
		  FROM generate_series('2025-01-01'::timestamp, '2026-10-01', '1 month') m
		 CROSS JOIN LATERAL payledger.income_statement(payledger.month_start(m::date, 'EXPORT'),
				payledger.month_start((m + interval '1 month')::date, 'EXPORT'), for_ledger => 'EXPORT') i
		SQL
	refuses_a_change($path, qr/^(    Liabilities:\S+  0 EUR = -?[\d.]*)(\d)( EUR)$/, 'a wrong balance is refused', 'hledger', 'check', '-f');
};

subtest 'hledger, some months' => sub {
	my $path = export('months.journal', q('hledger'), @summer, q('EXPORT'));
	my ($ok, $out, $err) = run_program('hledger', '-f', $path, 'check', '--strict');

	ok($ok, 'accepted') or diag($err);
	is_same(hledger_balances($path), our_balances(<<~"SQL"), 300, 'balances at the end');
		SELECT n.name, b.currency, 'balance' AS title, $debit AS amount
		  FROM payledger.account_balances_at(effective_at => payledger.month_end('2025-08-01', 'EXPORT'), for_ledger => 'EXPORT') b JOIN $names
		SQL
};

subtest 'beancount' => sub {
	my $path = export('all.beancount', q('beancount'), q(for_ledger => 'EXPORT'));
	my ($ok, $out, $err) = run_program('bean-check', '--no-cache', $path);

	ok($ok, 'accepted, the balance of every account asserted without tolerance') or diag($err);
	is(scalar(grep { /^\S+ balance / } split /^/, slurp_file($path)), sql($node, q(SELECT count(*) FROM payledger.accounts WHERE ledger = 'EXPORT')),
		'of every account');
	$path = export('months.beancount', q('beancount'), @summer, q('EXPORT'));
	($ok, $out, $err) = run_program('bean-check', '--no-cache', $path);
	ok($ok, 'some months are accepted') or diag($err);
	refuses_a_change($path, qr/^(\S+ balance Liabilities:\S+  -?[\d.]*)(\d)( ~ 0 EUR)$/, 'a wrong balance is refused', 'bean-check', '--no-cache');
};

# ---- statements of single accounts, which are read in another way, agree ----

is(sql($node, <<~'SQL'), '', 'account statements are the lines of the general ledger');
	SELECT a.account_code, p."from", p."to", r.as_of, s.lines, g.lines
	  FROM payledger.accounts a
	 CROSS JOIN (VALUES (NULL::timestamptz, NULL::timestamptz), ('2025-03-09 07:00+00', '2025-03-10 04:00+00'), ('2026-11-01', NULL),
						(NULL, '2025-02-01'), ('2025-05-01', '2025-05-01'), ('2026-01-01', '2026-12-31')) p("from", "to")
	 CROSS JOIN (SELECT NULL::timestamptz UNION ALL
				 (SELECT recorded_at FROM payledger.journal_entries ORDER BY journal_entry_id OFFSET 34567 LIMIT 1)) r(as_of)
	 CROSS JOIN LATERAL (SELECT count(*) AS lines, md5(string_agg(concat_ws(',', s.line, s.kind, s.journal_entry_id, s.debit, s.credit,
																			s.balance, s.counterparts, s.effective_at), ';' ORDER BY s.line)) AS digest
						   FROM payledger.account_statement(a.account_code, p."from", p."to", r.as_of) s) s
	 CROSS JOIN LATERAL (SELECT count(*) AS lines, md5(string_agg(concat_ws(',', g.line, g.kind, g.journal_entry_id, g.debit, g.credit,
																			g.balance, g.counterparts, g.effective_at), ';' ORDER BY g.line)) AS digest
						   FROM payledger.general_ledger(p."from", p."to", a.account_code, r.as_of) g) g
	 WHERE a.account_code ~ '^(MERCHANT_PAYABLE.EU.DE.S-1|PLATFORM_CASH.US|RETAINED_EARNINGS.US)\.'
	   AND s.digest IS DISTINCT FROM g.digest AND (s.lines > 2 OR g.lines > 0)
	SQL
check_ledger($node, 'at the end');
$node->stop;
done_testing();
