# docs/finance.md shows what its queries return.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PayledgerTest;
use Test::More;

my $output;
my $ok = IPC::Run::run([ "$PayledgerTest::TEST_DIR/finance", '--check' ], '<', \undef, '>&', \$output);

ok($ok, 'every query of docs/finance.md returns what is shown below it') or diag($output);
done_testing();
