# No id is ever drawn beyond the 63 bits of ids that there are, or by a clock
# that shows a time which cannot be: not at a first start, not by an operator's
# word, not at the end of the counter.

use strict;
use warnings FATAL => 'all';

use PayledgerClock;
use PayledgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $DATABASE = $PayledgerTest::DATABASE;
my $YEAR = 365 * 24 * 3600;
my $COUNTER_END = 1 << 53;

# The next ids, which must be positive and rise.
sub ids_are_sound
{
	my ($node, $name) = @_;

	is(sql($node, <<~'SQL'), 't', $name);
		SELECT bool_and(id > coalesce(previous, 0))
		  FROM (SELECT id, lag(id) OVER (ORDER BY n) AS previous FROM (SELECT n, payledger.next_id() AS id FROM generate_series(1, 10) n) d) d
		SQL
	cmp_ok(abs(sql($node, 'SELECT extract(epoch FROM payledger.id_timestamp(payledger.next_id()))') - time()), '<', 300, "$name: of the present");
	return;
}

# ---- a first start with a clock that cannot be right ----

for my $years (70, 150, -5)
{
	subtest "a first start $years years off" => sub {
		my $node = PostgreSQL::Test::Cluster->new("first$years");

		$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
		$node->append_conf('postgresql.conf', <<~"CONF");
			shared_preload_libraries = 'payledger'
			payledger.databases = '$DATABASE'
			timezone = 'UTC'
			CONF
		step_clock("first$years" => $years * $YEAR);
		with_clock("first$years" => sub { $node->start });
		$node->safe_psql('postgres', "CREATE DATABASE $DATABASE");
		sql($node, 'CREATE EXTENSION payledger');
		sql_fails($node, 'SELECT payledger.next_id()', '55000', 'no id can be drawn while the clock shows', 'no id');
		wait_for(sub { slurp_file($node->logfile) =~ /WARNING:  the clock shows [-0-9]+ .*, a time that ids cannot hold/ }, 'the log says so', $node);
		ok(!-e $node->data_dir . '/payledger.id_limit', 'no limit is promised');
		sql_fails($node, 'SELECT payledger.confirm_clock()', '22008', 'a time that ids cannot hold', 'nobody can confirm it');

		# the clock is set right: that is enough, though the server runs and has another one behind it
		step_clock("first$years" => 0);
		ids_are_sound($node, 'ids at once');
		is(sql($node, 'SELECT payledger.confirm_clock()'), 'f', 'there is nothing to confirm');
		wait_for(sub { slurp_file($node->logfile) =~ /agree again/ }, 'the log says so', $node);
		sql($node, q{SELECT payledger.setup(); SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
			SELECT payledger.register_seller('SELLER-111', 'EUR')});
		# what is counted began anew with the right clock
		step_clock("first$years" => $years * $YEAR);
		wait_for_clock($node, 'false');
		ids_are_sound($node, 'wrong once more');
		step_clock("first$years" => 0);
		wait_for_clock($node, 'true');

		# PostgreSQL itself starts no worker again before the time at which it ended
		with_clock("first$years" => sub { $node->restart });
		wait_for_workers($node);
		wait_for_clock($node, 'true');
		create_authorized($node, 'pm_ok', [100]);
		settle($node);
		check_ledger($node, 'paid');
		$node->stop;
	};
}

# ---- a wrong clock while the server runs ----

my $node = with_clock(bounds => sub { new_node('bounds') });
my $limit_file = $node->data_dir . '/payledger.id_limit';

sub limit { return slurp_file($limit_file) + 0 }

sub restart_with_limit
{
	my ($limit) = @_;

	$node->stop;
	unlink($limit_file) or die "unlink: $!\n";
	append_to_file($limit_file, "$limit\n") if defined $limit;
	with_clock(bounds => sub { $node->start });
	return;
}

sql($node, q{SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true)});
for my $years (70, 100, -5)
{
	step_clock(bounds => $years * $YEAR);
	wait_for_clock($node, 'false');
	sql_fails($node, 'SELECT payledger.confirm_clock()', '22008', 'a time that ids cannot hold', "$years years");
	ids_are_sound($node, "$years years");
	step_clock(bounds => 0);
	wait_for_clock($node, 'true');
}
create_authorized($node, 'pm_ok', [100]);
settle($node);
check_ledger($node, 'after wrong clocks');

# ---- the end of the counter ----

# the workers would draw some
$node->append_conf('postgresql.conf', "payledger.databases = ''");
restart_with_limit($COUNTER_END - 6);
my @ids = split /\n/, sql($node, 'SELECT payledger.next_id() FROM generate_series(1, 5)');
is(scalar(grep { $_ <= 0 } @ids), 0, 'the last ids are positive');
is($ids[-1] >> 22, (1 << 41) - 1, 'and of the last millisecond');
is($ids[-1] & 4095, 4095, 'up to the last number of it');
is(join(' ', sort { $a <=> $b } @ids), join(' ', @ids), 'they rise');
cmp_ok(limit(), '<=', $COUNTER_END, 'the file promises nothing beyond');
for my $when ('at the end', 'after a restart')
{
	sql_fails($node, 'SELECT payledger.next_id()', '55000', 'all ids have been drawn', $when);
	sql_fails($node, "SELECT payledger.register_seller('LATE', 'EUR')", '55000', 'all ids have been drawn', "$when: a command");
	cmp_ok(limit(), '<=', $COUNTER_END, "$when: the file promises nothing beyond");
	with_clock(bounds => sub { $node->restart });
}
for my $limit ($COUNTER_END + 1, '18446744073709551615', '-7')
{
	restart_with_limit($limit);
	sql_fails($node, 'SELECT payledger.next_id()', 'XX001', 'holds a number beyond all ids', "a limit of $limit");
}

# the way out
$node->append_conf('postgresql.conf', "payledger.databases = '$DATABASE'");
restart_with_limit(undef);
ids_are_sound($node, 'the file removed');
wait_for_workers($node);
create_authorized($node, 'pm_ok', [100]);
settle($node);

$node->stop;
done_testing();
