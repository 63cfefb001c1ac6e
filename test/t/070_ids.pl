# Ids are unique over all sessions and never go back: not within a session, not
# over a restart or a crash, and not when the clock is set back.  The time that
# they are drawn by is what the last server left, if that is later than the clock.

use strict;
use warnings FATAL => 'all';

use PayledgerClock;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('ids', 'payledger.databases' => '', 'payledger.node_id' => 517);

sql($node, 'CREATE TABLE drawn (session int, n bigserial, id bigint)');

# The parts of an id: milliseconds since 1970, node, sequence.
sub parts
{
	my ($id) = @_;
	return (($id >> 22) + 1735689600000, ($id >> 12) & 1023, $id & 4095);
}

subtest 'what an id is made of' => sub {
	my ($before, $id, $after) = split /\|/, sql($node, <<~'SQL');
		SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, payledger.next_id(),
			   (extract(epoch FROM clock_timestamp()) * 1000)::bigint
		SQL
	my ($ms, $server, $sequence) = parts($id);

	# after a restart ids go on from what the server before had promised
	cmp_ok($ms, '>=', $before - 1, 'not before now');
	cmp_ok($ms, '<=', $after + 10_000, 'nor far ahead');
	is($server, 517, "the server's number");
};

subtest 'sixteen sessions at once' => sub {
	my $script = PostgreSQL::Test::Utils::tempdir('ids') . '/draw.sql';

	append_to_file($script, <<~'SQL');
		INSERT INTO drawn (session, id) SELECT :client_id, payledger.next_id() FROM generate_series(1, 2000);
		SQL
	$node->command_ok([ 'pgbench', '-n', '-c', 16, '-j', 2, '-t', 5, '-f', $script, '-d', $node->connstr('payledger') ],
		'pgbench draws');
	is(sql($node, 'SELECT count(*), count(DISTINCT id) FROM drawn'), '160000|160000', 'all are different');
	is(sql($node, <<~'SQL'), 0, 'none is below the one before it in its session');
		SELECT count(*) FROM (SELECT id, lag(id) OVER (PARTITION BY session ORDER BY n) AS previous FROM drawn) d WHERE id <= previous
		SQL
	is(sql($node, 'SELECT count(DISTINCT (id >> 12) & 1023) FROM drawn'), 1, 'all of one server');
};

# The newest id there is, then the next one.
sub next_is_above
{
	my ($newest, $name) = @_;
	my $next = sql($node, 'SELECT payledger.next_id()');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok($next, '>', $newest, $name);
	return $next;
}

my $newest = sql($node, 'SELECT max(id) FROM drawn');
$node->restart;
$newest = next_is_above($newest, 'a restart');

# Runs the server with a clock that is so many seconds off.
sub restart_at
{
	my ($offset, $mode) = @_;

	$node->stop($mode);
	step_clock(ids => $offset);
	with_clock(ids => sub { $node->start });
	return;
}

# by less than payledger.max_clock_step, which is believed
restart_at(-50, 'fast');
cmp_ok(sql($node, 'SELECT extract(epoch FROM payledger.trusted_now())'), '<', time() - 40, 'the clock was set back by 50 s and is believed');
$newest = next_is_above($newest, '50 s back');

for my $mode ('fast', 'immediate')
{
	restart_at(-7200, $mode);
	cmp_ok(sql($node, 'SELECT extract(epoch FROM clock_timestamp())'), '<', time() - 7000, "$mode stop: the clock was set back");
	$newest = next_is_above($newest, "$mode stop: two hours back");
	my @ids = split /\n/, sql($node, 'SELECT payledger.next_id() FROM generate_series(1, 20000)');
	is(scalar(grep { $ids[$_] <= $ids[ $_ - 1 ] } 1 .. $#ids), 0, "$mode stop: still growing");
	cmp_ok($ids[0], '>', $newest, "$mode stop: from there on");
	$newest = $ids[-1];
}

restart_at(0, 'fast');
$newest = next_is_above($newest, 'the clock is right again');

subtest 'the clock goes back in the middle of a session' => sub {
	my $session = $node->background_psql('payledger', on_error_die => 1);
	my ($before, $first) = split /\|/, $session->query_safe('SELECT extract(epoch FROM clock_timestamp()), payledger.next_id()');
	step_clock(ids => -3600);
	my ($after, $second) = split /\|/, $session->query_safe('SELECT extract(epoch FROM clock_timestamp()), payledger.next_id()');
	cmp_ok($after, '<', $before - 3000, 'an hour back');
	cmp_ok($second, '>', $first, 'the id is above the one before');
	cmp_ok(sql($node, 'SELECT payledger.next_id()'), '>', $second, 'in another session too');
	$session->quit;
};

# A payment's parts are in the order of their ids, and so is its history, which
# nothing but the ids tells.
is(sql($node, <<~'SQL'), 't', 'ids of objects come from there');
	SELECT payledger.add_gateway('sandbox', 'sandbox', is_default => true) IS NOT NULL;
	SQL
my $intent = create_intent($node, [100]);
cmp_ok($intent, '>', $newest, 'an intent has the next id');

$node->stop;
$node->append_conf('postgresql.conf', 'payledger.node_id = 518');
$node->start;
my ($ms, $server) = parts(next_is_above($newest, 'another number of the server'));
is($server, 518, 'shows in its ids');

# Starts the server as if on another machine, with what the clock of the one
# before said when that was shut down: so many seconds from now.
sub restart_elsewhere
{
	my ($seconds, $stepped) = @_;
	my $path = $node->data_dir . '/payledger.clock';

	$node->stop;
	open(my $file, '>', $path) or die "could not open $path: $!\n";
	# in microseconds since 2000
	printf $file "boot elsewhere\ncounter 1\ntime %d\nstepped %d\nconfirmed 0\nforward 0\n", (time() - 946684800 + $seconds) * 1_000_000, $stepped;
	close($file) or die "could not write $path: $!\n";
	$node->start;
	return;
}

subtest 'the clock as another server left it' => sub {
	my $state = 'SELECT extract(epoch FROM payledger.trusted_now() - clock_timestamp())::int / 60, at_start FROM payledger.stat_clock';

	restart_elsewhere(-3601, 0);
	is(sql($node, $state), '0|f', 'an hour later, by a clock that was right: the wall clock is believed');
	restart_elsewhere(-3601, 1);
	is(sql($node, $state), '-60|t', 'by one that had been stepped: it is not');
	restart_elsewhere(359, 0);
	is(sql($node, $state), '5|t', 'five minutes earlier: it is not');
	my $id = create_intent($node, [100]);
	is(sql($node, "SELECT extract(epoch FROM created_at - clock_timestamp())::int / 60 FROM payledger.payment_intents WHERE payment_intent_id = $id"),
		5, 'and what is stored is dated by the time that is');
};

$node->stop;
done_testing();
