# One idempotency key: one effect and one reply, however many sessions use it at
# once, and whatever happens to the first of them.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $psp = PayledgerPsp->new;
my $node = new_node('idempotency');

add_stripe($node, $psp);

my $sessions = 32;
my $dir = PostgreSQL::Test::Utils::tempdir('scripts');
my $scripts = 0;

# Starts psql with a script; returns what it takes to see its end.
sub start_psql
{
	my ($script) = @_;
	my %psql = (out => '', err => '');
	my $file = "$dir/" . ++$scripts . '.sql';

	# a file, because a pipe would be filled only while we wait for the end
	append_to_file($file, $script);
	$psql{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('payledger'), '-f', $file ],
		'<', \undef, '>', \$psql{out}, '2>', \$psql{err});
	return \%psql;
}

# Runs a statement in many sessions, which begin it at the same moment.  The
# statement may depend on the number of the session.  Returns a list of replies
# and one of errors.
sub at_once
{
	my ($statement) = @_;
	my $gate = $node->background_psql('payledger', on_error_die => 1);

	$gate->query_safe('SELECT pg_advisory_lock(4711)');
	my @psql = map { start_psql("SELECT FROM pg_advisory_lock_shared(4711);\n" . $statement->($_) . "\n") } 1 .. $sessions;
	wait_sql($node, <<~"SQL", 'all sessions stand at the gate');
		SELECT count(*) = $sessions FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted
		SQL
	$gate->query_safe('SELECT pg_advisory_unlock(4711)');
	$_->{run}->finish for @psql;
	$gate->quit;
	# a SELECT without columns shows an empty line
	return ([ map { $_->{out} =~ s/\A\n+|\n\z//gr } @psql ], [ map { $_->{err} } @psql ]);
}

sub distinct
{
	my %seen = map { $_ => 1 } @_;
	return keys %seen;
}

sub create_sql
{
	my ($order, $key, $amount) = @_;
	$amount //= 1450;

	return "SELECT row_to_json(r) FROM payledger.create_payment_intent('$order', 'BUYER-1', 'EUR',"
	  . qq~ '[{"seller_id": "SELLER-111", "amount": $amount}]', capture_method => 'manual', idempotency_key => '$key') r;~;
}

# Objects of an order and what came with them.
sub traces
{
	my ($order) = @_;

	return sql($node, <<~"SQL");
		SELECT count(*), (SELECT count(*) FROM payledger.outbox_events e WHERE e.payload -> 'data' ->> 'orderId' = '$order'),
			   (SELECT count(*) FROM payledger.state_history h WHERE h.payment_id = ANY (array_agg(i.payment_intent_id)))
		  FROM payledger.payment_intents i WHERE order_id = '$order'
		SQL
}

subtest "create_payment_intent, $sessions times at once" => sub {
	my ($replies, $errors) = at_once(sub { create_sql('SAME', 'same') });

	is(join('', @$errors), '', 'no error');
	is(scalar(distinct(@$replies)), 1, 'equal replies');
	is(decode_json($replies->[0])->{total_amount}, 1450, 'with the intent');
	is(traces('SAME'), '1|1|1', 'one intent, one event, one state');
	is(sql($node, create_sql('SAME', 'same')), $replies->[0], 'the same reply later');
	sql_fails($node, create_sql('SAME', 'same', 1451), 'PL006', 'was used with a different request', 'the key with another amount');
};

my $id = decode_json(sql($node, create_sql('SAME', 'same')))->{payment_intent_id};
is(sql($node, "CALL payledger.authorize($id, 'pm_card_visa')"), 'AUTHORIZED', 'it can be paid');
my $order = sql($node, "SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = $id");

subtest "capture, $sessions times at once" => sub {
	my $capture = "SELECT row_to_json(r) FROM payledger.capture($order, 1000, 'capture') r;";
	my ($replies, $errors) = at_once(sub { $capture });

	is(join('', @$errors), '', 'no error');
	is(scalar(distinct(@$replies)), 1, 'equal replies');
	is(decode_json($replies->[0])->{status}, 'CAPTURE_REQUESTED', 'as of the first');
	settle($node);
	is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE operation = 'CAPTURE'"), 1, 'one request');
	is(sql($node, "SELECT status, captured_amount FROM payledger.payment_orders"), 'CAPTURED|1000', 'captured');
	is($psp->truth->{captures}{count} . ' ' . $psp->truth->{captures}{amount}, '1 1000', 'once at the PSP');
	is(sql($node, $capture), $replies->[0], 'later still the reply of the first');
};

subtest "two requests with one key, $sessions times at once" => sub {
	my ($replies, $errors) = at_once(sub { create_sql('EITHER', 'either', 100 + $_[0] % 2) });

	is(scalar(grep { $_ ne '' } distinct(@$replies)), 1, 'one of them is done');
	is(scalar(grep { $_ ne '' } @$replies), $sessions / 2, 'and answered to all who asked for that');
	is(scalar(grep { /ERROR:\s+PL006/ } @$errors), $sessions / 2, 'the others hear PL006');
	is(traces('EITHER'), '1|1|1', 'one effect');
};

subtest "a key for each, $sessions at once" => sub {
	my ($replies, $errors) = at_once(sub { create_sql("OWN-$_[0]", "own-$_[0]") });

	is(join('', @$errors), '', 'no error');
	is(scalar(distinct(@$replies)), $sessions, 'as many intents');
};

# A session, and its process id.
sub session
{
	my $session = $node->background_psql('payledger', on_error_stop => 0);

	$session->query_safe('\set VERBOSITY verbose');
	return ($session, $session->query_safe('SELECT pg_backend_pid()'));
}

# The session's reply, or its SQLSTATE.
sub reply_or_code
{
	my ($session, $sql) = @_;

	$session->{stderr} = '';
	my ($out) = $session->query($sql);
	my ($code) = $session->{stderr} =~ /ERROR:\s+(\w{5}):/;
	$session->{stderr} = '';
	return $code // $out;
}

for my $end ('is terminated', 'rolls back', 'fails')
{
	subtest "the first session $end" => sub {
		my $name = $end =~ s/ /-/r;
		my ($first, $first_pid) = session();

		$first->query_safe('BEGIN; ' . create_sql("FREE-$name", "free-$name"));
		my $second = start_psql('SET application_name = second; ' . create_sql("FREE-$name", "free-$name") . "\n");
		wait_sql($node, <<~'SQL', 'the second waits');
			SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock')
			SQL
		if ($end eq 'is terminated')
		{
			is(sql($node, "SELECT pg_terminate_backend($first_pid)"), 't', 'terminated');
		}
		else
		{
			$first->query($end eq 'fails' ? 'SELECT 1 / 0; COMMIT' : 'ROLLBACK');
		}
		$second->{run}->finish;
		is($second->{err}, '', 'the second has no error');
		is(decode_json($second->{out})->{status}, 'CREATED', 'it is the first now');
		is(traces("FREE-$name"), '1|1|1', 'one effect');
		is(sql($node, create_sql("FREE-$name", "free-$name")), $second->{out} =~ s/\n\z//r, 'its reply is the one that stays');
		$first->{stderr} = '';
		eval { $first->quit } or $first->{run}->kill_kill;
	};
}

subtest 'the first session commits' => sub {
	my ($first) = session();
	my $reply = $first->query_safe('BEGIN; ' . create_sql('COMMIT', 'commit'));
	my $second = start_psql('SET application_name = second; ' . create_sql('COMMIT', 'commit') . "\n");

	wait_sql($node, <<~'SQL', 'the second waits');
		SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock')
		SQL
	$first->query_safe('COMMIT');
	$second->{run}->finish;
	is($second->{out}, "$reply\n", 'the second has its reply');
	is(traces('COMMIT'), '1|1|1', 'one effect');
	$first->quit;
};

# A snapshot from before the first one's commit cannot show its reply: either
# it does all the same, or the transaction is to be repeated.
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	subtest $level => sub {
		my $name = lc($level) =~ s/ /-/r;
		my ($old) = session();

		$old->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM payledger.payment_intents");
		my $reply = sql($node, create_sql("OLD-$name", "old-$name"));
		my $result = reply_or_code($old, create_sql("OLD-$name", "old-$name"));
		ok($result eq $reply || $result eq '40001', 'after the commit: the reply or 40001') or diag("it was: $result");
		$old->query('ROLLBACK');
		is(reply_or_code($old, "BEGIN ISOLATION LEVEL $level; " . create_sql("OLD-$name", "old-$name")), $reply, 'repeated: the reply');
		$old->query_safe('COMMIT');
		is(traces("OLD-$name"), '1|1|1', 'one effect');

		# the same, waiting for it
		my ($first) = session();
		$reply = $first->query_safe('BEGIN; ' . create_sql("WAIT-$name", "wait-$name"));
		my $waiter = start_psql("SET application_name = waiter; BEGIN ISOLATION LEVEL $level;"
			  . ' SELECT FROM payledger.payment_intents LIMIT 0; ' . create_sql("WAIT-$name", "wait-$name") . " COMMIT;\n");
		wait_sql($node, <<~'SQL', 'the other one waits');
			SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Lock')
			SQL
		$first->query_safe('COMMIT');
		$waiter->{run}->finish;
		ok($waiter->{err} =~ /ERROR:\s+40001/ || $waiter->{out} =~ /\Q$reply\E/, 'while it waits: the reply or 40001')
		  or diag($waiter->{out}, $waiter->{err});
		is(traces("WAIT-$name"), '1|1|1', 'one effect');
		$_->quit for $old, $first;
	};
}

subtest 'keys belong to who uses them' => sub {
	sql($node, <<~'SQL');
		CREATE ROLE shop LOGIN;
		GRANT USAGE ON SCHEMA payledger TO shop;
		GRANT EXECUTE ON FUNCTION payledger.create_payment_intent(text, text, text, jsonb, text, text, text, jsonb) TO shop;
		SQL
	my $ours = sql($node, create_sql('OURS', 'shared'));
	my $theirs = sql($node, 'SET ROLE shop; ' . create_sql('THEIRS', 'shared'));
	isnt(decode_json($ours)->{payment_intent_id}, decode_json($theirs)->{payment_intent_id}, 'another role, another key');
	is(sql($node, 'SET ROLE shop; ' . create_sql('THEIRS', 'shared')), $theirs, 'with a reply of its own');
};

settle($node);
check_books($node, 'in the end', psp => $psp);
is(sql($node, <<~'SQL'), '', 'no lock is left');
	SELECT locktype, objid FROM pg_locks WHERE locktype = 'advisory' AND objsubid NOT IN (1, 2) AND pid NOT IN
		(SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'payledger %')
	SQL
$node->stop;
done_testing();
