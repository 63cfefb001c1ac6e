# A relay in trouble with Kafka: what it says of it, where, how often, and that
# it goes on by itself when things are put right.
package PayledgerTrouble;

use strict;
use warnings FATAL => 'all';

use Exporter qw(import);
use PayledgerRelay;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(trouble_node properties_file write_properties set connect_anew events complains pauses goes_on keeps_secrets);

my ($node, $kafka, $file);
my (@secrets, %said);
my ($wakes, $files) = (0, 0);

INIT { $file = PostgreSQL::Test::Utils::tempdir('properties') . '/kafka' }

# A server that publishes to the broker, with the file of properties; see new_node().
sub trouble_node
{
	my ($name, $broker, %settings) = @_;

	$kafka = $broker;
	write_properties() unless -e $file;
	$node = new_node($name, 'payledger.kafka_config_file' => $file, log_min_messages => 'debug1', %settings);
	prepare_load($node);
	return $node;
}

sub properties_file { return $file }

# Replaces the file payledger.kafka_config_file, for the server's user only.
sub write_properties
{
	my (@lines) = @_;
	my $before = umask 0077;

	unlink $file;
	# never the same text, so that a reload makes another producer
	append_to_file($file, join '', map { "$_\n" } @lines, '# ' . ++$files);
	umask $before;
	push @secrets, map { /password\s*[=:]\s*(\S+)/ ? $1 : () } @lines;
	return;
}

# Changes settings of the server, if any are given, and has it read all files again.
sub set
{
	my (%settings) = @_;

	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") for sort keys %settings;
	$node->reload;
	return;
}

# The same, and waits until the relay has connected with them.
sub connect_anew
{
	my (%settings) = @_;
	my $log = -s $node->logfile;

	set(%settings);
	wait_for(sub { slurp_file($node->logfile, $log) =~ /DEBUG:  payledger relay: Kafka answers/ }, 'the relay has connected anew', $node);
	return;
}

# Events whose order can be checked, and one of the library, which wakes the relay.
sub events
{
	$wakes++;
	sql($node, <<~"SQL");
		SELECT public.append_events(1, 2); SELECT public.append_events(1, 2);
		SELECT count(*) FROM payledger.create_payment_intent('WAKE-$wakes', 'BUYER-1', 'EUR', '[{"seller_id":"SELLER-111","amount":1}]');
		SQL
	return;
}

# What the log says in that way, each with its hint.
sub _said
{
	my ($pattern) = @_;
	my @entries = split /\n(?=\d{4}-\d\d-\d\d )/, slurp_file($node->logfile);
	my @said;

	for my $i (0 .. $#entries)
	{
		next unless $entries[$i] =~ /(?:WARNING|ERROR):  (?:payledger relay: )?$pattern/;
		my ($hint) = map { /HINT:  (.*)/ ? $1 : () } @entries[ $i + 1 .. ($i + 3 > $#entries ? $#entries : $i + 3) ];
		push @said, $hint // '';
	}
	return @said;
}

# With events waiting, the relay says what is wrong where operators look, in the
# log once, with a hint; tries again; and is the same process.
sub complains
{
	my ($pattern, $hint, $name, $may_wait) = @_;
	my $pid = worker_pid($node, 'relay');

	my $sql = $pattern =~ s/'/''/gr;
	# what was changed may take effect a moment later
	wait_for(
		sub {
			events() if sql($node, 'SELECT NOT EXISTS (SELECT FROM payledger.unpublished_events)') eq 't';
			return sql($node, "SELECT relay_failing AND last_error ~ '^$sql' FROM payledger.stat_outbox") eq 't';
		},
		"$name: it says what is wrong",
		$node);
	# where a broker may come back any moment, it waits for 10 s before it pauses
	wait_sql($node, "SELECT failing AND failed_attempts > 0 AND next_attempt_at > last_error_at AND last_error ~ '^$sql'
		FROM payledger.stat_worker WHERE role = 'relay'", "$name: it will try again")
	  unless $may_wait;

	my @said = _said($pattern);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	if (defined $said{$pattern})
	{
		cmp_ok(@said - $said{$pattern}, '<=', 1, "$name: it does not say so again and again");
	}
	else
	{
		is(scalar(@said), 1, "$name: in the log it says so once") or diag(join "\n", grep { /relay/ } split /\n/, slurp_file($node->logfile));
		like($said[0] // '', qr/$hint/, "$name: with a hint");
	}
	$said{$pattern} = @said;
	is(worker_pid($node, 'relay'), $pid, "$name: it is the same process");
	return;
}

# The pauses that it makes while nothing changes double: by what it records, until the nth.
sub pauses
{
	my ($n, $name) = @_;
	my %pause;

	wait_for(
		sub {
			# after a failure, and before its pause begins, there is none to see
			my ($attempt, $seconds) = split /\|/, sql($node, <<~'SQL');
				SELECT failed_attempts, extract(epoch FROM next_attempt_at - last_error_at)::numeric(9, 2)
				  FROM payledger.stat_worker WHERE role = 'relay' AND next_attempt_at > last_error_at
				SQL
			$pause{$attempt} = $seconds if $attempt;
			return $attempt && $attempt >= $n;
		},
		"$name: it has tried $n times",
		$node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($pause{$_} >= 2**($_ - 1) && $pause{$_} < 2**$_, "$name: pause $_ is $pause{$_} s") for sort keys %pause;
	return;
}

# What was put right is enough: everything is published, and no error is left.
sub goes_on
{
	my ($name) = @_;

	wait_sql($node, 'SELECT NOT EXISTS (SELECT FROM payledger.unpublished_events) AND NOT relay_failing FROM payledger.stat_outbox',
		"$name: it goes on by itself");
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(1, "$name: it goes on by itself");
	return;
}

# No password is in the log, in what statistics show, or in a setting.
sub keeps_secrets
{
	my $seen = slurp_file($node->logfile)
	  . sql($node, 'SELECT json_agg(w) FROM payledger.stat_worker w')
	  . sql($node, 'SELECT json_agg(o) FROM payledger.stat_outbox o')
	  . sql($node, 'SELECT json_agg(a) FROM pg_stat_activity a')
	  . sql($node, 'SELECT json_agg(s) FROM pg_settings s');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(scalar(@secrets), '>', 0, 'there were secrets');
	is(join(' ', grep { index($seen, $_) >= 0 } @secrets), '', 'nothing shows one');
	# nothing of the library's goes past the server's log
	unlike($seen, qr/^%\d\|/m, 'nothing of the library is in the log as it is');
	return;
}

1;
