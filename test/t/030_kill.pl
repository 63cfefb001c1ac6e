# kill -9 of each worker at five points while payments run.  After each, every
# payment is in its right end state, was captured exactly once at the PSP, and
# every event is on Kafka in order.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerPsp;
use PayledgerTest;
use Test::More;

my $psp = PayledgerPsp->new;
my $kafka = PayledgerKafka->new;
my $node = new_node(
	'kill',
	'fsync' => 'on',
	'payledger.kafka_brokers' => $kafka->address);

add_stripe($node, $psp);

# How many payments each load asks for, and of them every tenth is declined.
my $size = 20;
my $loads = 0;

# Kills a worker under load.  Named arguments: before (of the load), until (a
# condition, SQL or code, that says that the point is reached), after (of the
# kill).
sub kill_at
{
	my ($role, $name, %point) = @_;
	my $tag = 'load' . ++$loads;

	$name = "$role, $name";
	$point{before}->() if $point{before};
	my $load = start_load($node, $tag, $size);
	ref $point{until} ? wait_for($point{until}, $name, $node) : wait_sql($node, $point{until}, $name);
	kill9_worker($node, $role);
	$point{after}->() if $point{after};
	finish_load($load, $name);
	settle($node);

	is(sql($node, <<~"SQL"), 'AUTHORIZED CAPTURED|' . $size * 9 / 10 . "\nDECLINED|" . $size / 10, "$name: end states");
		SELECT concat_ws(' ', i.status, p.status), count(*) FROM payledger.payment_intents i
		  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
		 WHERE i.order_id LIKE '$tag-%' GROUP BY 1 ORDER BY 1
		SQL
	check_books($node, "$name: books", psp => $psp, kafka => $kafka);
	return;
}

# A session that holds a lock, so that a worker stops at a known place.
my $holder;

sub hold
{
	my ($lock) = @_;

	$holder = $node->background_psql('payledger', on_error_die => 1);
	$holder->query_safe("BEGIN; $lock");
	return;
}

# The crash has ended the holder's session.
sub forget_holder
{
	$holder->{run}->kill_kill;
	undef $holder;
	return;
}

# ---- gateway ----

my $stopped;
kill_at(
	'gateway', 'with requests READY and none leased',
	before => sub { $stopped = signal_worker($node, 'gateway', 'STOP') },
	until => "SELECT count(*) >= 8 AND bool_and(status = 'READY') FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED')");

kill_at(
	'gateway', 'with requests IN_FLIGHT that the PSP has not executed',
	before => sub { $psp->fault(fault => 'delay', ms => 800, times => -1, match => { operation => 'create' }) },
	until => sub {
		$psp->fired('delay') >= 4
		  && sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE status = 'IN_FLIGHT'") >= 4;
	},
	after => sub { $psp->clear_faults });

my $captured;
kill_at(
	'gateway', 'with captures executed whose answers are lost',
	before => sub {
		$captured = $psp->truth->{captures}{count};
		$psp->fault(fault => 'drop_after', times => -1, match => { operation => 'capture' });
	},
	until => sub {
		$psp->truth->{captures}{count} >= $captured + 4
		  && sql($node, "SELECT count(*) FROM payledger.payment_orders WHERE status = 'CAPTURE_REQUESTED'") >= 4;
	},
	after => sub { $psp->clear_faults });

kill_at(
	'gateway', 'with requests UNKNOWN that wait for their replay',
	before => sub {
		sql($node, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 2000, "retry_max_ms": 2000}')});
		$psp->fault(fault => 'error_500', times => 8);
	},
	until => "SELECT count(*) >= 4 FROM payledger.psp_requests WHERE status = 'UNKNOWN' AND next_attempt_at > now()",
	after => sub {
		$psp->clear_faults;
		sql($node, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 50, "retry_max_ms": 400}')});
	});

kill_at(
	'gateway', 'in the middle of storing a batch of outcomes',
	before => sub { hold('LOCK TABLE payledger.postings IN SHARE MODE') },
	until => worker_is_blocked('gateway'),
	after => \&forget_holder);

# ---- relay ----

kill_at(
	'relay', 'with a window open of which nothing can be sent, as Kafka is down',
	before => sub { $kafka->kill9 },
	until => "SELECT state IN ('publishing', 'waiting for Kafka') FROM payledger.stat_worker WHERE role = 'relay'",
	after => sub { $kafka->up });

kill_at(
	'relay', 'waiting for a Kafka that hangs',
	before => sub { $kafka->pause },
	until => "SELECT state IN ('publishing', 'waiting for Kafka') FROM payledger.stat_worker WHERE role = 'relay'",
	after => sub { $kafka->resume });

my $before;
kill_at(
	'relay', 'right after Kafka has the events and before the cursor says so',
	before => sub {
		$before = $kafka->summary;
		hold('SELECT FROM payledger.relay_cursors FOR UPDATE');
	},
	until => sub {
		$node->safe_psql('payledger', worker_is_blocked('relay')) eq 't' && $kafka->summary->{messages} > $before->{messages};
	},
	after => \&forget_holder);
cmp_ok($kafka->summary->{duplicates}, '>', $before->{duplicates}, 'these came twice, and could be told by their ids');

kill_at(
	'relay', 'while the broker is killed, too',
	before => sub { hold('SELECT FROM payledger.relay_cursors FOR UPDATE') },
	until => sub {
		return 0 unless sql($node, "SELECT published_events > 0 AND waiting_events > 0 FROM payledger.stat_outbox") eq 't';
		$kafka->kill9;
		return 1;
	},
	after => sub {
		forget_holder();
		$kafka->up;
	});

kill_at('relay', 'in the middle of its work',
	until => "SELECT count(*) > 0 FROM payledger.payments p JOIN payledger.payment_intents i ON i.payment_intent_id = p.payment_id"
	  . " WHERE i.order_id LIKE 'load10-%'");

# ---- keeper ----

# Makes the keeper start anew, so that each of its duties is due at once.
sub restart_keeper
{
	my $pid = signal_worker($node, 'keeper', 'TERM');

	wait_for(sub { my $new = worker_pid($node, 'keeper'); return $new && $new != $pid }, 'there is a new keeper', $node);
	return;
}

kill_at(
	'keeper', 'before it adds the postings of a fold to the balances',
	before => sub { hold('LOCK TABLE payledger.balance_snapshots IN SHARE MODE') },
	until => worker_is_blocked('keeper'),
	after => \&forget_holder);

kill_at(
	'keeper', 'in the middle of a fold: the balances are changed, the fold is not noted',
	before => sub { hold('LOCK TABLE payledger.effective_shift_totals IN SHARE MODE') },
	until => worker_is_blocked('keeper'),
	after => \&forget_holder);

kill_at(
	'keeper', 'while it takes leases away from a gateway that hangs',
	before => sub {
		$psp->fault(fault => 'delay', ms => 500, times => -1, match => { operation => 'create' });
		pay_many($node, 'hung', 10);
		wait_sql($node, "SELECT count(*) >= 4 FROM payledger.psp_requests WHERE status = 'IN_FLIGHT'", 'requests are in flight');
		$stopped = signal_worker($node, 'gateway', 'STOP');
		# whatever it was storing is not held by it for ever
		hold(q{SELECT FROM payledger.psp_requests WHERE status = 'IN_FLIGHT' ORDER BY psp_request_id LIMIT 1 FOR UPDATE});
	},
	until => worker_is_blocked('keeper'),
	after => sub {
		$psp->clear_faults;
		forget_holder();
	});

kill_at(
	'keeper', 'while it deletes old idempotency keys',
	before => sub {
		hold('LOCK TABLE payledger.idempotency_keys IN SHARE ROW EXCLUSIVE MODE');
		restart_keeper();
	},
	until => worker_is_blocked('keeper'),
	after => \&forget_holder);

kill_at('keeper', 'idle',
	until => "SELECT state = 'idle' FROM payledger.stat_worker WHERE role = 'keeper'");

# ---- Kafka down and up, nobody killed ----

subtest 'Kafka is down for a while' => sub {
	$kafka->kill9;
	pay_many($node, 'down', 50);
	wait_sql($node, "SELECT NOT EXISTS (SELECT FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED'))",
		'payments go on without it');
	wait_sql($node, 'SELECT relay_failing FROM payledger.stat_outbox', 'the relay says that something is wrong');
	cmp_ok(sql($node, 'SELECT waiting_events FROM payledger.stat_outbox'), '>=', 300, 'events wait');
	like(sql($node, 'SELECT last_error FROM payledger.stat_outbox'), qr/[Cc]onnect|brokers|Kafka/, 'and stat_outbox says why');
	$kafka->up;
	settle($node);
};
check_books($node, 'after Kafka was down', psp => $psp, kafka => $kafka);

$node->stop;
done_testing();
