# README's tour returns what README shows; every command of docs/tour.md runs, each
# page in one psql session.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PayledgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The code blocks of a page that are in that language.
sub blocks
{
	my ($page, $language) = @_;

	return slurp_file("$PayledgerTest::TEST_DIR/../$page") =~ /^```$language\n(.*?)^```$/msg;
}

my $node = new_node('readme', 'payledger.databases' => 'payledger, short, tour');

my ($commands) = blocks('README.md', 'sql');
my ($shown) = blocks('README.md', 'text');
# as a terminal shows it: with titles, without the counts of rows
my $short = IPC::Run::run([ 'psql', '-Xq', '-P', 'footer=off', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('short') ],
	'<', \$commands, '>', \my $returned, '2>&1');

ok($short, "every command of README's tour runs");
$returned =~ s/[ ]+$//mg;
$returned =~ s/\n+\z/\n/;
is(substr($returned, -length $shown), $shown, 'and returns what README shows') or diag($returned);

my @blocks = blocks('docs/tour.md', 'sql');
cmp_ok(scalar @blocks, '>=', 5, 'there is a tour');

my ($stdout, $stderr) = ('', '');
my $result = $node->psql('tour', join("\n", @blocks), on_error_stop => 1,
	stdout => \$stdout, stderr => \$stderr);

is($result, 0, 'every command of the tour runs');
is($stderr, '', 'without an error or a warning');
like($stdout, qr/^AUTHORIZED$/m, 'CALL authorize returns AUTHORIZED');
is($node->safe_psql('tour', 'SELECT status, captured_amount FROM payledger.payments ORDER BY payment_id LIMIT 1'),
	'CAPTURED|2900', 'the first payment of the tour is captured');
is($node->safe_psql('tour', 'SELECT count(*) FROM orders'), '1', q(the application's own row is there));
$node->safe_psql('tour', q(CALL payledger.wait_until_idle('10 s')));
is($node->safe_psql('tour', q(SELECT status FROM payledger.payment_orders WHERE captured_amount = 4000)),
	'PARTIALLY_REFUNDED', 'the partial capture went through');
is($node->safe_psql('tour', 'SELECT status, amount FROM payledger.refunds'), 'SUCCEEDED|450', 'the refund is done');
is($node->safe_psql('tour', 'SELECT status FROM payledger.disputes'), 'WON', 'the dispute is decided');
is($node->safe_psql('tour', 'SELECT count(*) FROM payledger.settlement_items WHERE settlement_report_id IS NULL'), '0',
	'the PSP has settled everything');
is($node->safe_psql('tour', 'SELECT status FROM payledger.payouts'), 'PAID', 'the payout is paid');
is($node->safe_psql('tour', 'SELECT check_name FROM payledger.verify(true) WHERE NOT ok'), '', 'and the books agree');
$node->stop;
done_testing();
