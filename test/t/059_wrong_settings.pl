# A server does not start with a wrong value of a setting in its files, or with a
# name that there is none of: with the default in its place it would be another
# server than was meant.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('settings', 'payledger.databases' => '');
my @settings = rows($node, <<~'SQL');
	SELECT name, vartype, coalesce(max_val, '') AS max_val FROM pg_settings WHERE name LIKE 'payledger.%' ORDER BY 1
	SQL

$node->stop;

# This setting is known only when the libraries have been loaded.
sub load_with
{
	my ($setting) = @_;

	return [ 'postgres', '-D', $node->data_dir, '-C', 'shared_memory_size', '-c', $setting ];
}

my %wrong = (
	'payledger.databases' => 'shop shop2',
	'payledger.private_gateway_addresses' => '10.0.0.0/99',
	'payledger.topic_prefix' => 'a topic',
	'payledger.traceparent' => 'no');
for my $setting (@settings)
{
	my ($name, $type) = @$setting{qw(name vartype)};

	$wrong{$name} = 'none' if $type eq 'integer' || $type eq 'enum';
}
for my $name (sort keys %wrong)
{
	$node->command_fails_like(load_with("$name=$wrong{$name}"), qr/FATAL:  .*\Q$name\E/, "$name: $wrong{$name}");
}
$node->command_fails_like(load_with('payledger.node_id=5000'), qr/FATAL:  5000 is outside the valid range for parameter "payledger.node_id" \(0 \.\. 1023\)/,
	'a node id that is too large');
$node->command_ok(load_with('payledger.node_id=1023'), 'one that is not');
is(scalar(grep { $wrong{ $_->{name} } } @settings), scalar(keys %wrong), 'there are no other settings by these names');

$node->command_fails_like(load_with('payledger.node_idd=7'), qr/FATAL:  unrecognized configuration parameter "payledger.node_idd"/, 'a misspelt name');
$node->command_ok(load_with($_), $_) for ('payledger.node_id= 0x10 ', 'PayLedger.Node_ID=7', 'payledger.max_clock_step=1 min', 'payledger.delivery=EXACTLY_ONCE');

# of several lines the last counts
$node->append_conf('postgresql.conf', "payledger.relay_batch = nonsense\npayledger.relay_batch = 7");
$node->start;
is(sql($node, 'SHOW payledger.relay_batch'), '7', 'the last line counts');

# a reload leaves what was, as with PostgreSQL's own settings
$node->append_conf('postgresql.conf', 'payledger.relay_batch = 0');
my $before = -s $node->logfile;
$node->reload;
wait_for(sub { substr(slurp_file($node->logfile), $before) =~ /contains errors/ }, 'the reload is over', $node);
is(sql($node, 'SHOW payledger.relay_batch'), '7', 'an invalid value at a reload is not taken');
is(sql($node, 'SHOW payledger.node_id'), '0', 'the server starts');
$node->stop;
done_testing();
