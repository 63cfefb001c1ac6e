# A PSP that does what it is asked, behind a line on which most replies are
# garbled, cut off or another's: the worker lives, and in the end it believes
# what is true.
#
# How a reply is garbled follows from the seed and the request: FUZZ_SEED
# repeats a run, FUZZ_PAYMENTS is how many payments there are.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerImpostor;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;

my $seed = $ENV{FUZZ_SEED} // int(rand(2**31));
my $payments = $ENV{FUZZ_PAYMENTS} // 40;
my $dir = PostgreSQL::Test::Utils::tempdir('fuzz');
my $psp = PayledgerPsp->new;
my $node = new_node('fuzz');

note("FUZZ_SEED=$seed FUZZ_PAYMENTS=$payments");
mkdir "$dir/asked";

# Ways to garble a reply: each gets head and body, and returns what is sent.
my @garble = (
	sub { return substr("$_[0]$_[1]", 0, rand length "$_[0]$_[1]") },
	sub { return $_[0] . substr($_[1], 0, rand length $_[1]) },
	sub { return '' },
	sub { return $_[1] },
	sub { return $_[0] =~ s/^Content-Length: (\d+)/'Content-Length: ' . int(rand(2 * $1))/mier . $_[1] },
	sub { return $_[0] =~ s/^(Content-Length): \d+/"$1: " . ('-1', 'x', '9' x 20, '0x10', '1,2', ' ')[ rand 6 ]/mier . $_[1] },
	sub { return $_[0] =~ s/^(Content-Length: )(\d+)/"$1$2\r\n$1" . int(rand(2 * $2))/mier . $_[1] },
	sub { return $_[0] =~ s/^Content-Length: \d+/Transfer-Encoding: chunked/mir . $_[1] },
	sub { return $_[0] =~ s/^Content-Length: \d+/Transfer-Encoding: chunked/mir . sprintf("%x\r\n", rand 4096) . $_[1] },
	sub { return $_[0] =~ s/^Content-Length: \d+/Transfer-Encoding: chunked/mir . sprintf("%x\r\n%s\r\n", length $_[1], $_[1]) },
	sub { my ($head, $body) = @_; substr($body, rand length $body, 1) = ("\0", "\1", "\xff", "\n")[ rand 4 ] for 1 .. 1 + rand 8; return $head . $body },
	sub { my ($head, $body) = @_; substr($head, rand length $head, 1) = ("\0", "\xff", "\r", "\n", ':')[ rand 5 ] for 1 .. 1 + rand 4; return $head . $body },
	sub { return $_[0] =~ s/\r\n\r\n\z/"\r\nX-Huge: " . 'x' x (1000 + rand 200_000) . "\r\n\r\n"/er . $_[1] },
	sub { return $_[0] =~ s/\r\n\r\n\z/"\r\n" . join('', map { "X-$_: y\r\n" } 1 .. rand 9000) . "\r\n"/er . $_[1] },
	sub { return ("HTTP/1.1 " . (100, 102, 103)[ rand 3 ] . " Wait\r\n\r\n") x (1 + rand 5000) . "$_[0]$_[1]" },
	sub { return $_[0] =~ s{\A\S+ \d+}{('HTTP/9.9 200', 'HTTP/1.1 99999', 'HTTP/1.1 -1', 'HTTP/1.1', 'ICY 200', 'HTTP/2 200', '')[ rand 7 ]}er . $_[1] },
	# statuses that stand for another answer; those that mean "not executed" would be a lie
	sub { return $_[0] =~ s/\A(\S+) \d+/"$1 " . (204, 206, 301, 304, 500, 502, 503, 504, 599, 999)[ rand 10 ]/er . $_[1] },
	sub { my $page = '<html>Bad gateway</html>'; return $_[0] =~ s/\A(\S+) \d+/"$1 " . (200, 400, 402, 404, 409, 502)[ rand 6 ]/er =~ s/^(Content-Length): \d+/"$1: " . length $page/mier . $page },
	sub { return "$_[0]$_[1]" x 2 },
	sub { return "$_[0]$_[1]" . 'x' x rand 5000 },
	sub { return $_[0] =~ s/^(Content-Length): (\d+)/"$1: " . ($2 + 3)/mier . "\xef\xbb\xbf$_[1]" },
	sub { return $_[0] =~ s/\r\n\r\n\z/"\r\nContent-Encoding: " . (qw(gzip deflate br zstd))[ rand 4 ] . "\r\n\r\n"/er . $_[1] },
	sub { return $_[0] =~ s/\r\n\r\n\z/"\r\nRetry-After: " . ('-1', '1e9', 'x', '', 'Thu, 01 Jan 1970 00:00:00 GMT')[ rand 5 ] . "\r\n\r\n"/er . $_[1] },
	# lines that go on where none began, or without end
	sub { return $_[0] =~ s/\r\n/"\r\n" . (' ', "\t", ' x: ' . 'f' x rand 4000, "\t:")[ rand 4 ]/er . $_[1] },
	sub { return $_[0] =~ s/\r\n/"\r\n" . (' ', "\t")[ rand 2 ] . ('x: y', 'y', '')[ rand 3 ] . "\r\n"/er . $_[1] },
	sub { my @line = split /(?<=\r\n)/, $_[0]; $_ = (' ', "\t", '')[ rand 3 ] . $_ for @line[ 1 .. $#line - 1 ]; return join('', @line) . $_[1] },
	sub { return $_[0] =~ s/\r\n\r\n\z/"\r\nX: a" . "\r\n y" x rand 20_000 . "\r\n\r\n"/er . $_[1] },
	sub { return ("HTTP/1.1 " . (100, 103, 199)[ rand 3 ] . " X\r\n" . (' a: b', "\tc", 'X: y', '')[ rand 4 ] . "\r\n\r\n") x (1 + rand 3) . "$_[0]$_[1]" },
	# numbers at their ends
	sub { return $_[0] =~ s/^(Content-Length): \d+/"$1: " . ('9223372036854775807', '9223372036854775808', '-9223372036854775808', '18446744073709551615', '2147483648', '+5', '00', "\0")[ rand 8 ]/mier . $_[1] },
	sub { return $_[0] =~ s/^Content-Length: \d+/Transfer-Encoding: chunked/mir . (qw(7fffffffffffffff ffffffffffffffff -1 0x5 g), '0' x 50, "5;\0", ' 5')[ rand 8 ] . "\r\n" . $_[1] },
	# trailers, true and false
	sub { return $_[0] =~ s/^Content-Length: \d+/Transfer-Encoding: chunked/mir . sprintf("%x;x=%s\r\n%s\r\n0\r\n", length $_[1], 'y' x rand 100, $_[1])
		  . (' a: b', "\tc", 'X: y', 'Content-Length: 1', 'x' x rand 200_000, "\0", '')[ rand 7 ] . "\r\n" x (1 + rand 2) },
	# what is odd and right
	sub { return $_[0] =~ s/^([\w-]+):/lc($1) . ':'/mger . $_[1] },
	sub { return $_[0] =~ s/\r\n\r\n\z/\r\nX-Folded: a\r\n  b\r\n\r\n/r . $_[1] });

# Answers a request through the line.
sub answer
{
	my ($socket, $request) = @_;
	my $what = ($request->{key} // $request->{path}) =~ s/\W/_/gr;
	my ($head, $body) = PayledgerImpostor::true_reply($psp, $request);

	return 0 unless defined $body;
	# how often this was asked before is how long its file is
	open(my $asked, '>>', "$dir/asked/" . substr($what, -100)) or return 0;
	srand($seed ^ (unpack('%32C*', $what) * 7919 + (-s $asked) * 104729));
	syswrite($asked, '.');
	$head =~ s/^Connection: close\r\n//mi;
	my $said = rand() < 0.75 ? $garble[ rand @garble ]->($head, $body) : "$head$body";

	# another's reply, as when two are mixed up on a connection
	if (rand() < 0.1 && -e "$dir/former" && open(my $former, '<', "$dir/former"))
	{
		local $/;
		$said = <$former>;
	}
	if (open(my $former, '>', "$dir/former.$$")) { print $former "$head$body"; close $former; rename "$dir/former.$$", "$dir/former" }
	for (my $at = 0; $at < length $said;)
	{
		$at += syswrite($socket, $said, rand() < 0.1 ? 1 + rand 100 : 65536, $at) || last;
	}
	# a reset in place of an end
	setsockopt($socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)) if rand() < 0.1;
	return $said eq "$head$body" && rand() < 0.8;
}

my $line = PayledgerImpostor->new(\&answer);

add_stripe($node, $psp, base_url => $line->url, unknown_max_ms => 200, max_attempts => 100, backfill_seconds => 0, timeout_ms => 3000, connect_timeout_ms => 3000,
	lease_seconds => 9, retry_base_ms => 50, retry_max_ms => 200, circuit_failures => 0, concurrency => 12);
my $pid = worker_pid($node, 'gateway');

sql($node, <<~"SQL");
	SELECT payledger.request_authorization(i.payment_intent_id, CASE WHEN n % 10 = 0 THEN 'pm_card_chargeDeclined' ELSE 'pm_card_visa' END)
	  FROM generate_series(1, $payments) n,
		   payledger.create_payment_intent('fuzz-' || n, 'BUYER-1', 'EUR', jsonb_build_array(
				jsonb_build_object('seller_id', 'SELLER-111', 'amount', 1000 + n),
				jsonb_build_object('seller_id', 'SELLER-222', 'amount', 500 + n))) i
	SQL
settle($node);
sql($node, "SELECT payledger.refund(payment_order_id, 100) FROM payledger.payment_orders WHERE status = 'CAPTURED'");
settle($node);

is(worker_pid($node, 'gateway'), $pid, 'the worker lives');
is(sql($node, <<~"SQL"), 't', 'all are decided, though most replies were lost');
	SELECT count(*) > 4 * $payments AND avg(attempt) > 1.5 AND bool_and(status IN ('SUCCEEDED', 'REFUSED')) FROM payledger.psp_requests
	SQL
check_books($node, 'through the line', psp => $psp);
is(sql($node, "SELECT count(*), sum(amount) FROM payledger.refunds WHERE status = 'SUCCEEDED'"),
	join('|', @{ $psp->truth->{refunds} }{qw(count amount)}), 'as much was refunded as we believe');
$node->stop;
done_testing();
