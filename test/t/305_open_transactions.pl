# P7 of docs/decisions/relay-properties.md: how long does a dead relay keep
# consumers of committed messages waiting?
# Others write to the topics, too; what they write behind the relay's open
# transaction is not to be read before that is decided.  The next relay decides
# it when it begins, and where none begins the broker does, when the
# transaction has been open for 15 s (it looks every 10 s).

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use Test::More;
use Time::HiRes qw(time sleep);

my $partitions = 2;
my $kafka = PayledgerKafka->new(partitions => $partitions);
my $node = with_stop_points(
	sub { new_node('open', %relay_settings, 'payledger.kafka_brokers' => $kafka->address, 'payledger.delivery' => 'exactly_once') });

prepare_load($node);
sql($node, 'SELECT public.append_events(1, 2)');
published($node, 'at first');

# Another producer writes to each partition.
sub probe
{
	my ($name) = @_;

	for my $partition (0 .. $partitions - 1)
	{
		open(my $kcat, '|-', 'kcat', '-P', '-b', $kafka->address, '-t', 'payledger.payment', '-p', $partition, '-k', $name)
		  or die "could not run kcat: $!\n";
		print $kcat "{}\n";
		close($kcat) or die "kcat failed\n";
	}
	return;
}

sub probes_read
{
	my ($name) = @_;
	return scalar grep { $_->{key} eq $name } $kafka->messages('payledger.payment');
}

# Seconds until the probe can be read.
sub blocked_for
{
	my ($name) = @_;
	my $begin = time();

	probe($name);
	my $at_once = probes_read($name);
	wait_for(sub { probes_read($name) == $partitions }, "$name can be read", $node);
	my $s = time() - $begin;
	note(sprintf('readers waited for %.1f s: %s', $s, $name));
	return ($at_once, $s);
}

# ---- the relay dies and begins again ----

stop_at([ 'stop', 'before', 'commit', 1 ]);
sql($node, 'SELECT public.append_events(1, 2)');
wait_for(\&stop_point_reached, 'the relay stands before its commit', $node);
probe('stopped');
cmp_ok(probes_read('stopped'), '<', $partitions, 'an open transaction keeps readers waiting');
signal_worker($node, 'relay', 'KILL');
my ($at_once, $s) = blocked_for('killed');
cmp_ok($s, '<', 15, 'a relay that begins again ends it');
published($node, 'killed');

# ---- it does not begin again ----

stop_at([ 'stop', 'before', 'commit', 1 ]);
sql($node, 'SELECT public.append_events(1, 2)');
wait_for(\&stop_point_reached, 'the relay stands before its commit', $node);
$node->stop('immediate');
($at_once, $s) = blocked_for('down');
cmp_ok($at_once, '<', $partitions, 'readers wait');
cmp_ok($s, '<', 15 + 10 + 2, 'not longer than the transaction may be open, and until the broker looks');

# ---- and nothing is lost ----

with_stop_points(sub { $node->start });
published($node, 'up again');
my %times;
$times{ $_->{headers}{ce_id} }++ for grep { $_->{headers}{ce_id} } $kafka->messages('payledger.payment');
is(join(' ', sort { $a cmp $b } map { "$_ $times{$_}" } keys %times),
	sql($node, q{SELECT string_agg(id || ' 1', ' ' ORDER BY id) FROM payledger.outbox_events WHERE aggregatetype = 'payment'}),
	'every event is there once');

$node->stop;
done_testing();
