# Runs every command of docs/tour.md, in one psql session.
use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

open(my $page, '<', "$PayledgerTest::TEST_DIR/../docs/tour.md") or BAIL_OUT("no docs/tour.md: $!");
my $text = do { local $/; <$page> };
close($page);

my @blocks = $text =~ /^```sql\n(.*?)^```$/msg;
cmp_ok(scalar @blocks, '>=', 5, 'there is a tour');

my $node = new_node('readme', 'payledger.databases' => 'payledger, tour');
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
