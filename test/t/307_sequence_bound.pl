# How far a sequence is, read while others draw from it.  The relay takes it as
# a bound: whoever draws later gets a higher value.  SELECT last_value is none:
# now and then it shows the value that nextval() logs ahead, and the relay lost
# events by it.  What the relay asks is.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('bound', 'payledger.databases' => '');

sql($node, <<~'SQL');
	CREATE SEQUENCE public.drawn;
	-- how often a value drawn after the look is not above what was seen
	CREATE FUNCTION public.wrong_bounds(query text, enough int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		bound bigint;
		wrong bigint := 0;
		stop timestamptz := clock_timestamp() + interval '20 s';
	BEGIN
		FOR i IN 1 .. 200000 LOOP
			EXECUTE query INTO bound;
			wrong := wrong + (nextval('public.drawn') <= bound)::int;
			EXIT WHEN wrong >= enough OR i % 1000 = 0 AND clock_timestamp() > stop;
		END LOOP;
		RETURN wrong;
	END $$;
	SQL

# Clients that draw all the time.
my $script = PostgreSQL::Test::Utils::tempdir('drawn') . '/draw.pgbench';
append_to_file($script, "SELECT count(nextval('public.drawn')) FROM generate_series(1, 1000);\n");
my $pid = fork() // die "could not fork: $!\n";
if ($pid == 0)
{
	open(STDOUT, '>', '/dev/null');
	open(STDERR, '>', '/dev/null');
	exec('pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 4, '-T', 120, '-f', $script, 'payledger');
}
wait_sql($node, 'SELECT last_value > 10000 FROM public.drawn', 'clients draw');

# what relay/window.c asks, of this sequence
my ($query) = slurp_file("$PayledgerTest::TEST_DIR/../src/relay/window.c") =~ /PlQuery sequence_value = \{\s*"(.*?)"/
  or die "relay/window.c has no query for the sequence's value\n";
like($query, qr/outbox_seq/, 'the relay asks about its sequence');
$query =~ s/payledger\.outbox_seq/public.drawn/;

cmp_ok(sql($node, q{SELECT public.wrong_bounds('SELECT last_value FROM public.drawn', 1)}), '>', 0, 'SELECT last_value is no bound');
is(sql($node, "SELECT public.wrong_bounds(\$q\$$query\$q\$, 1)"), 0, 'what the relay asks is one');

kill('TERM', $pid);
waitpid($pid, 0);
$node->stop;
done_testing();
