# A load of events on a server, ways to end its relay at a named point, and the
# proof that Kafka has what was committed: P1 to P6 of
# docs/decisions/relay-properties.md.
package PayledgerRelay;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Digest::SHA qw(sha256_hex);
use Encode qw(encode_utf8);
use Exporter qw(import);
use File::Basename qw(dirname);
use JSON::PP;
use List::Util qw(max);
use PayledgerTest;
use POSIX ();
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time sleep);

our @EXPORT = qw(%relay_settings prepare_load start_events stop_events load_rate with_stop_points stop_at stop_point_reached
  check_exactly_once check_cursor_chain published);

# What a server under this load needs.
our %relay_settings = (
	'fsync' => 'on',
	'recovery_init_sync_method' => 'syncfs',
	'max_prepared_transactions' => 100,
	'log_line_prefix' => '%m [%p] ');

my $home = dirname(abs_path(__FILE__));
my ($dir, $point_file);

# Where temporary files go is known when the test runs.
INIT
{
	$dir = PostgreSQL::Test::Utils::tempdir('relay');
	$point_file = "$dir/point";
}

# ---- load ----

# Aggregates whose events have versions, appended as the library appends them:
# under the row's lock, the transaction's id taken before the sequence.
sub prepare_load
{
	my ($node) = @_;

	sql($node, <<~'SQL');
		SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
		CREATE TABLE public.relay_load (id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
		INSERT INTO public.relay_load SELECT generate_series(1, 400);
		-- padding is bytes that no compression makes fewer
		CREATE FUNCTION public.append_events(first bigint, second bigint, padding int DEFAULT 0) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE
			k bigint;
			v bigint;
			event_id uuid;
		BEGIN
			FOREACH k IN ARRAY CASE WHEN first = second THEN ARRAY[first] ELSE ARRAY[least(first, second), greatest(first, second)] END LOOP
				UPDATE public.relay_load SET version = version + 1 WHERE id = k RETURNING version INTO v;
				event_id := gen_random_uuid();
				INSERT INTO payledger.outbox_events (id, aggregatetype, aggregateid, type, payload, "timestamp", version, event_key,
					ce_source, ce_time, ce_subject, transaction_no)
				VALUES (event_id, 'payment', k, 'payment_voided',
					json_build_object('eventId', event_id, 'eventType', 'payment_voided', 'aggregateId', k::text, 'version', v,
						'data', json_build_object('padding', (SELECT string_agg(encode(sha256(random()::text::bytea), 'base64'), '')
							FROM generate_series(1, padding / 44)))),
					clock_timestamp() AT TIME ZONE 'UTC', v, k, '/payledger/' || current_setting('payledger.node_id') || '/payledger', 'now', k,
					(SELECT max(incarnation) FROM payledger.incarnations)::bigint << 48 | pg_current_xact_id()::text::bigint);
			END LOOP;
		END $$;
		SQL
	return;
}

my %scripts = (
	plain => <<~'END',
		\set a random(1, 400)
		\set b random(1, 400)
		SELECT public.append_events(:a, :b);
		END
	unflushed => <<~'END',
		\set a random(1, 400)
		BEGIN;
		SET LOCAL synchronous_commit = off;
		SELECT public.append_events(:a, :a);
		COMMIT;
		END
	slow => <<~'END',
		\set a random(1, 400)
		\set ms random(20, 400)
		BEGIN;
		SELECT public.append_events(:a, :a);
		\sleep :ms ms
		COMMIT;
		END
	aborted => <<~'END',
		\set a random(1, 400)
		BEGIN;
		SELECT public.append_events(:a, :a);
		ROLLBACK;
		END
	prepared => <<~'END',
		\set a random(1, 400)
		\set n random(1, 1000000000)
		BEGIN;
		SELECT public.append_events(:a, :a);
		PREPARE TRANSACTION 'load:n';
		COMMIT PREPARED 'load:n';
		END
	intent => <<~'END',
		\set n random(1, 1000000000)
		SELECT count(*) FROM payledger.create_payment_intent('LOAD-' || :n, 'BUYER-1', 'EUR', '[{"seller_id":"SELLER-111","amount":1450}]');
		END
);
my %weights = (plain => 20, unflushed => 8, slow => 1, aborted => 2, prepared => 6, intent => 8);

my %loads;
my (%started, %ended, %log_size);

# Ends what a crash, or a client that was ended, has left prepared: it holds
# the locks of its rows.  False if the server is not there.
sub _end_prepared
{
	my ($node) = @_;
	my $gids = try_sql($node, q{SELECT string_agg(gid, ' ') FROM pg_prepared_xacts WHERE gid LIKE 'load%'}) // return 0;

	defined try_sql($node, "COMMIT PREPARED '$_'") or return 0 for split / /, $gids;
	return 1;
}

# Clients that go on, whatever happens to the server, until stop_events(), with
# that many transactions a second while the server is up.
sub start_events
{
	my ($node, $tps) = @_;
	# some of them sleep in a transaction
	my $clients = max(4, int($tps / 40));
	my @arguments;

	for my $name (sort keys %scripts)
	{
		PostgreSQL::Test::Utils::append_to_file("$dir/$name.pgbench", $scripts{$name}) unless -e "$dir/$name.pgbench";
		push @arguments, '-f', "$dir/$name.pgbench\@$weights{$name}";
	}
	my $stop = "$dir/stop-" . $node->name;
	unlink $stop;
	$started{ $node->name } = time();
	$log_size{ $node->name } = -s $node->logfile;
	my $parent = $$;
	my $pid = fork() // die "could not fork: $!\n";
	if ($pid)
	{
		$loads{ $node->name } = $pid;
		return;
	}
	$ENV{PGAPPNAME} = 'relay_load';
	open(STDOUT, '>', "$dir/pgbench.log");
	open(STDERR, '>&', \*STDOUT);
	# nor do they outlive a test that was killed
	until (-e $stop || getppid() != $parent)
	{
		_end_prepared($node)
		  and system('timeout', 10, 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', $clients, '-T', 3600,
			'-R', $tps, @arguments, 'payledger');
		sleep(0.05);
	}
	POSIX::_exit(0);
}

# Ends the clients, and what they left prepared, unless the server cannot
# commit any more.
sub stop_events
{
	my ($node, %options) = @_;
	my $pid = delete $loads{ $node->name };

	PostgreSQL::Test::Utils::append_to_file("$dir/stop-" . $node->name, '');
	wait_for(
		sub {
			try_sql($node, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'relay_load'");
			return waitpid($pid, POSIX::WNOHANG()) == $pid;
		},
		'the load has ended');
	$ended{ $node->name } = time();
	_end_prepared($node) unless $options{cut_off};
	return;
}

# How many transactions with events a server has committed, in how many seconds
# from start_events() to stop_events(), and for how many of these it was down.
sub load_rate
{
	my ($node) = @_;
	my $s = $ended{ $node->name } - $started{ $node->name };
	my $transactions = sql($node, 'SELECT count(DISTINCT transaction_no) FROM payledger.outbox_events');
	my ($down_s, $down_since) = (0);

	open(my $log, '<', $node->logfile) or die "could not read the log: $!\n";
	seek($log, $log_size{ $node->name }, 0);
	while (<$log>)
	{
		my ($h, $m, $second) = /^\S+ (\d+):(\d+):([\d.]+) / or next;
		my $now = $h * 3600 + $m * 60 + $second;

		$down_since //= $now if /was terminated by signal 9|received immediate shutdown request/;
		next unless defined $down_since && /database system is ready to accept connections/;
		$down_s += $now - $down_since + ($now < $down_since ? 86400 : 0);
		$down_since = undef;
	}
	return ($transactions, $s, $down_s);
}

END
{
	my $code = $?;

	for my $name (keys %loads)
	{
		PostgreSQL::Test::Utils::append_to_file("$dir/stop-$name", '');
		kill('TERM', $loads{$name});
		waitpid($loads{$name}, 0);
	}
	$? = $code;
}

# ---- points ----

# Runs code that starts servers, whose relays then obey stop_at().
sub with_stop_points
{
	my ($code) = @_;

	local $ENV{LD_PRELOAD} = "$home/kafka/stop-point.so";
	local $ENV{PAYLEDGER_STOP_POINT} = $point_file;
	return $code->();
}

# The Nth time that a relay comes to the point it is killed, or stopped; then
# the next one at the next point.  Each is [ action, when, point, N ]; see
# test/kafka/stop_point.c.
sub stop_at
{
	my (@points) = @_;

	PostgreSQL::Test::Utils::append_to_file("$point_file.new", join('', map { "@$_\n" } @points));
	rename "$point_file.new", $point_file or die "could not rename: $!\n";
	return;
}

sub stop_point_reached
{
	return !-e $point_file;
}

# ---- what must hold ----

# The lines that a shell command writes, sorted into a file.
sub _sorted
{
	my ($name, $command) = @_;

	system('bash', '-c', "set -o pipefail; $command | LC_ALL=C sort >'$dir/$name'") == 0 or die "could not run $command\n";
	return "$dir/$name";
}

sub _count
{
	my ($command) = @_;
	my $out = qx{$command};

	$? == 0 or die "could not run $command\n";
	return $out + 0;
}

# Everything is published.
sub published
{
	my ($node, $name) = @_;

	wait_sql($node, 'SELECT NOT EXISTS (SELECT FROM payledger.unpublished_events)', "$name: everything is published");
	return;
}

# P1 to P4: what is committed is on Kafka once, by version in the order of its
# aggregate, and nothing else is; but for so many repetitions.
sub check_exactly_once
{
	my ($node, $kafka, $name, $repeated) = @_;

	# kills may hit twice while the same event is sent alone: then an operator has to send it
	sql($node, q{SELECT payledger.retry_dead_letter(dead_letter_id) FROM payledger.dead_letters WHERE status = 'PARKED' AND reason ~ 'died twice'});
	wait_sql($node, q{SELECT NOT EXISTS (SELECT FROM payledger.dead_letters WHERE status = 'READY' OR status = 'HELD')}, "$name: no dead letter waits");
	published($node, $name);
	my $summary = $kafka->summary;
	$repeated //= 0;
	my $committed = _sorted('committed', "psql -XAtq -d '" . $node->connstr('payledger') . "' -c 'COPY (SELECT id FROM payledger.outbox_events) TO STDOUT'");
	my $on_kafka = _sorted('on_kafka', $kafka->ids_command);
	my ($lost, $phantoms, $n) = map { _count($_) } "LC_ALL=C comm -23 '$committed' '$on_kafka' | wc -l",
	  "LC_ALL=C comm -13 '$committed' '$on_kafka' | wc -l", "wc -l <'$committed'";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join(' ', map { "$_ $summary->{$_}" } qw(duplicates missing gaps reorders conflicts moves incomplete)),
		"duplicates $repeated missing 0 gaps 0 reorders 0 conflicts 0 moves 0 incomplete 0",
		"$name: once, and in order") or diag(JSON::PP->new->encode($summary->{first}));
	is("$summary->{messages} messages, $lost lost", "@{[ $n + $repeated ]} messages, 0 lost", "$name: as many as committed");
	is($phantoms, $repeated, "$name: none that was not committed");
	note("$summary->{messages} events of $summary->{aggregates} aggregates");
	return $summary->{messages};
}

# P5 and P6: each record of the cursor names the one before by its hash, and no
# epoch comes back after a later one.  With the number of shards the keys change,
# and other chains begin.
sub check_cursor_chain
{
	my ($kafka, $name, $chains) = @_;
	my $records = 0;
	my (%last, @wrong);

	$kafka->each_cursor(
		sub {
			my ($message) = @_;
			my $record = JSON::PP->new->decode($message->{value});
			my ($key, $is_claim) = $message->{key} =~ m{^([^/]+)(/claim/)?};
			my $last = $last{$key} //= { hash => '', epoch => 0, batch => 0 };
			my $place = "partition $message->{partition}, offset $message->{offset}";

			push @wrong, "$place: epoch $record->{epoch} after $last->{epoch}" if $record->{epoch} < $last->{epoch};
			$last->{epoch} = $record->{epoch};
			return if $is_claim;
			push @wrong, "$place: not the successor" if ($record->{previous} // '') ne $last->{hash};
			push @wrong, "$place: batch $record->{batch} after $last->{batch}" if $record->{batch} <= $last->{batch};
			$last->{hash} = sha256_hex(encode_utf8($message->{value}));
			$last->{batch} = $record->{batch};
			$records++;
		});
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok($records, '>', 0, "$name: the cursor is on Kafka");
	is(scalar(keys %last), $chains // 1, "$name: of the right keys");
	is(join("\n", @wrong), '', "$name: its records are a chain, by one relay after the other");
	return;
}

1;
