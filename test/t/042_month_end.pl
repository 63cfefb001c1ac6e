# A month ends, and is closed, while a post of that month waits for the close of
# the month before: the post is recorded when it goes on, in the new month.

use strict;
use warnings FATAL => 'all';

use PayledgerClock;
use PayledgerTest;
use POSIX ();
use Test::More;
use Time::Local qw(timegm);

my $ahead = 1800;

# The server's clock is that long before the end of the month.
my ($month, $year) = (gmtime)[ 4, 5 ];
my $ends = timegm(0, 0, 0, 1, ($month + 1) % 12, $year + ($month == 11));
step_clock(server => $ends - $ahead - time());
my $node = with_clock(server => sub { new_node('month_end', 'payledger.databases' => '', 'payledger.max_clock_step' => '3h') });
my ($last, $this) = map { POSIX::strftime('%Y-%m-01', 0, 0, 0, 1, $month + $_, $year) } -1, 0;

sql($node, q{SELECT payledger.open_account(type, 'E', 'EUR') FROM unnest('{PLATFORM_CASH,BANK_FEES}'::text[]) type});
my $post = q{SELECT payledger.post_entry('ADJUSTMENT', '[{"account": "PLATFORM_CASH.E.EUR", "amount": 100},
	{"account": "BANK_FEES.E.EUR", "amount": -100}]')};
my $ledger = sql($node, q{SELECT ledger FROM payledger.accounts WHERE account_code = 'PLATFORM_CASH.E.EUR'});

sub mark
{
	my ($first_day) = @_;
	return "SELECT payledger.mark_period_closed('$ledger', '$first_day')";
}

my $closer = $node->background_psql('payledger', on_error_die => 1);
my $poster = $node->background_psql('payledger', on_error_stop => 0);

$closer->query_safe('BEGIN');
is($closer->query_safe(mark($last)), 't', 'the month before is closed, and the lock kept');
$poster->query_until(qr/asked/, "\\echo asked\n$post;\n");
wait_sql($node, q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'payledger.journal_entries'::regclass}, 'a post waits for it');

step_clock(server => $ends + $ahead - time());
is($closer->query_safe(mark($this)), 't', 'its month is over and closed meanwhile');
$closer->query_safe('COMMIT');
$closer->quit;

is($poster->query('SELECT 1') =~ s/\A.*\n//sr, 1, 'the post goes on');
is($poster->{stderr}, '', 'and is not refused');
$poster->quit;
is(sql($node, "SELECT effective_at = recorded_at AND recorded_at >= to_timestamp($ends) AND recorded_at < to_timestamp($ends + 2 * $ahead)
	FROM payledger.journal_entries WHERE entry_type = 'ADJUSTMENT'"), 't', 'it belongs to the new month');
sql($node, "SELECT payledger.store_closing_balances('$ledger', '$_')") for $last, $this;
is(sql($node, 'SELECT count(*) FROM payledger.verify() WHERE NOT ok'), 0, 'the books are right');

$node->stop;
done_testing();
