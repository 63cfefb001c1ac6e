# Servers with payledger for the tests in test/t, and what must hold of their
# books whatever happened.
#
# Nothing here waits for a time: it waits for a condition, and dies with what
# the server says when the condition does not come true.
package PayledgerTest;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path getcwd);
use Exporter qw(import);
use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP;
use PayledgerHosts;
use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);

our ($TEST_DIR, $DATABASE, $TIMEOUT);

BEGIN
{
	$TEST_DIR = dirname(abs_path(__FILE__));
	$DATABASE = 'payledger';
	# a server that a tool instruments is slower
	$TIMEOUT = 90 * ($ENV{PAYLEDGER_SLOWNESS} // 1);

	# what make would set for a test below the PostgreSQL tree
	my $pgxs = qx(pg_config --pgxs);
	BAIL_OUT('no pg_config in PATH') if $? != 0;
	$ENV{PG_REGRESS} //= dirname(dirname($pgxs)) . '/test/regress/pg_regress';
	$ENV{TESTDIR} //= getcwd();
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(
  new_node new_database sql try_sql sql_fails rows wait_for wait_sql settle wait_for_workers add_stripe write_secrets add_secrets
  create_intent create_authorized pay pay_many start_load finish_load
  worker_pid kill9_worker signal_worker worker_is_blocked
  check_ledger check_psp check_kafka check_books check_text_is_valid memory_below
);

# What the PSP test server signs Stripe's webhooks with.
our $WEBHOOK_SECRET = 'whsec_payledger';

my $json = JSON::PP->new->utf8->canonical->allow_nonref;

# ---- servers ----

# A running server whose database "payledger" is set up and has two sellers,
# SELLER-111 with 10 % commission and SELLER-222.  Settings are lines of
# postgresql.conf that come last.  Other databases that payledger.databases
# names are made and left empty; where it is empty, no worker runs.
sub new_node
{
	my ($name, %settings) = @_;
	my $databases = delete $settings{'payledger.databases'} // $DATABASE;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', <<~'CONF');
		shared_preload_libraries = 'payledger'
		restart_after_crash = on
		log_statement = none
		max_connections = 80
		max_worker_processes = 20
		max_prepared_transactions = 10
		timezone = 'UTC'
		payledger.private_gateway_addresses = '127.0.0.0/8, ::1/128'
		CONF
	$node->append_conf('postgresql.conf', join '', map { "$_ = '$settings{$_}'\n" } sort keys %settings);
	$node->start;
	new_database($node, $DATABASE);
	$node->safe_psql('postgres', "CREATE DATABASE $_") for grep { $_ ne $DATABASE } split /, */, $databases;

	# a worker whose database is not there yet would try again after 5 s only
	$node->append_conf('postgresql.conf', "payledger.databases = '$databases'");
	$node->restart;
	wait_for_workers($node) if $databases ne '';
	return $node;
}

# A database with the extension, its tables and two sellers.
sub new_database
{
	my ($node, $database) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<~'SQL');
		CREATE EXTENSION payledger;
		SELECT payledger.setup();
		SELECT payledger.register_seller('SELLER-111', 'EUR', commission_bps => 1000);
		SELECT payledger.register_seller('SELLER-222', 'EUR');
		SQL
	return;
}

# All workers run, and none waits for something to appear.
sub wait_for_workers
{
	my ($node) = @_;

	wait_sql($node, <<~'SQL', 'the workers run');
		SELECT bool_and(pid IS NOT NULL) AND bool_and(state NOT IN ('starting', 'not running', 'waiting for CREATE EXTENSION payledger',
														 'waiting for payledger.setup()')
										   AND state NOT LIKE 'waiting for restore%' AND state NOT LIKE 'waiting for another%')
		  FROM payledger.stat_worker
		SQL
	return;
}

# Writes the file with secrets, and returns its path.  Pairs are gateways of the
# database "payledger" and either their API key or a list of names and values;
# one that names no host is allowed all that PayledgerHosts knows.
sub write_secrets
{
	my ($node, %secrets) = @_;

	return _write_sections($node, '>', %secrets);
}

# The same, behind what is in the file.
sub add_secrets
{
	my ($node, %secrets) = @_;

	return _write_sections($node, '>>', %secrets);
}

sub _write_sections
{
	my ($node, $mode, %secrets) = @_;
	my $path = $node->basedir . '/secrets';

	# never readable by others, not even before the chmod
	my $before = umask 0077;
	open(my $file, $mode, $path) or die "could not write $path: $!\n";
	for my $gateway (sort keys %secrets)
	{
		my @pairs = ref $secrets{$gateway} ? @{ $secrets{$gateway} } : (api_key => $secrets{$gateway});

		push @pairs, map { (host => $_) } PayledgerHosts::all() unless grep { $_ eq 'host' } @pairs;
		print $file "[$DATABASE/$gateway]\n";
		print $file shift(@pairs) . ' = ' . shift(@pairs) . "\n" while @pairs;
	}
	close($file);
	umask $before;
	chmod 0600, $path;
	return $path;
}

# Makes a PSP server the node's default gateway "stripe", with retries fast
# enough for a test and no limit to rates.  Options replace those.
sub add_stripe
{
	my ($node, $psp, %options) = @_;
	my %all = (
		base_url => $psp->url(''),
		timeout_ms => 1000,
		connect_timeout_ms => 1000,
		retry_base_ms => 50,
		retry_max_ms => 400,
		lease_seconds => 6,
		rate_per_second => 0,
		endpoint_rate_per_second => 0,
		circuit_open_ms => 200,
		%options);

	$node->append_conf('postgresql.conf',
		"payledger.gateway_secrets_file = '"
		  . write_secrets($node, stripe => [ api_key => $psp->key, webhook_secret => $WEBHOOK_SECRET ]) . "'");
	$node->reload;
	sql($node, "SELECT payledger.add_gateway('stripe', adapter => 'stripe', options => '"
		  . $json->encode(\%all) . "', is_default => true)");
	wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateway is ready');
	return;
}

# ---- SQL ----

# The result of statements in the database "payledger"; dies if one fails.
sub sql
{
	my ($node, $sql) = @_;

	return $node->safe_psql($DATABASE, $sql);
}

# A statement fails with this SQLSTATE and a message like this.
sub sql_fails
{
	my ($node, $sql, $sqlstate, $pattern, $name) = @_;
	my ($code, $out, $err) = $node->psql($DATABASE, $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	isnt($code, 0, "$name: refused");
	like($err, qr/ERROR:\s+$sqlstate: .*$pattern/s, "$name: says why");
	return;
}

# The rows of a query, each a hash; all values but numbers, booleans and null are text.
sub rows
{
	my ($node, $query) = @_;

	return @{ $json->decode(sql($node, "SELECT coalesce(json_agg(r), '[]') FROM ($query) r")) };
}

# What the workers say about themselves, for a test that waited in vain.
sub _explain
{
	my ($node) = @_;

	for my $view (qw(stat_worker stat_gateway stat_outbox))
	{
		my ($code, $out) = $node->psql($DATABASE, "SELECT row_to_json(v) FROM payledger.$view v");
		diag("$view: $out") if $code == 0;
	}
	my ($code, $open) = $node->psql($DATABASE, <<~'SQL');
		SELECT operation, status, attempt, next_attempt_at - now() AS due_in, reply_code, reply_message, count(*)
		  FROM payledger.psp_requests WHERE status NOT IN ('SUCCEEDED', 'REFUSED') GROUP BY 1, 2, 3, 4, 5, 6 LIMIT 10
		SQL
	diag("open requests:\n$open") if $code == 0;
	($code, $open) = $node->psql($DATABASE, <<~'SQL');
		SELECT gateway, event_id, event_type, status, attempt, payment_id, problem FROM payledger.webhooks
		 WHERE status IN ('RECEIVED', 'PARKED') LIMIT 10
		SQL
	diag("waiting webhooks:\n$open") if $code == 0 && $open ne '';
	diag("end of the server's log:\n", map { "$_\n" } (split /\n/, slurp_file($node->logfile))[ -15 .. -1 ])
	  if -s $node->logfile;
	return;
}

# Waits for a condition in Perl.
sub wait_for
{
	my ($condition, $what, $node) = @_;
	my $end = time() + $TIMEOUT;

	until ($condition->())
	{
		if (time() > $end)
		{
			_explain($node) if $node;
			die "waited $TIMEOUT s in vain until $what\n";
		}
		sleep(0.02);
	}
	note("now $what");
	return;
}

# The result of a query, or undef when there is none: the server may be
# restarting.  Not by way of psql's standard input, which may be gone by then.
sub try_sql
{
	my ($node, $query, $database) = @_;
	my ($out, $err) = ('', '');

	return IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr($database // $DATABASE), '-c', $query ],
		'<', \undef, '>', \$out, '2>', \$err) ? $out =~ s/\n\z//r : undef;
}

# Waits for a query to return true.  A server that is restarting is waited for too.
sub wait_sql
{
	my ($node, $query, $what, $database) = @_;

	wait_for(sub { (try_sql($node, $query, $database) // '') eq 't' }, $what, $node);
	return;
}

# Waits until no request to a PSP is open, and, if anything is published, every event is.
sub settle
{
	my ($node) = @_;

	wait_sql($node, <<~'SQL', 'everything is decided and published');
		SELECT NOT EXISTS (SELECT FROM payledger.psp_requests WHERE status IN ('READY', 'IN_FLIGHT', 'UNKNOWN'))
		   AND (current_setting('payledger.kafka_brokers') = '' OR
				NOT EXISTS (SELECT FROM payledger.unpublished_events))
		SQL
	return;
}

# ---- payments ----

my $orders = 0;
my %clients;

sub _lines
{
	my (@amounts) = @_;
	my @sellers = ('SELLER-111', 'SELLER-222');

	return $json->encode([ map { { seller_id => $sellers[$_], amount => $amounts[$_] } } 0 .. $#amounts ]);
}

# Creates an intent over these amounts, the first for SELLER-111, the second
# for SELLER-222; more are arguments of create_payment_intent.
sub create_intent
{
	my ($node, $amounts, %arguments) = @_;
	my $order = delete $arguments{order_id} // 'ORDER-' . ++$orders;

	return sql($node,
		"SELECT payment_intent_id FROM payledger.create_payment_intent('$order', 'BUYER-1', 'EUR', '"
		  . _lines(@$amounts) . "'"
		  . join('', map { ", $_ => '$arguments{$_}'" } sort keys %arguments) . ')');
}

# Creates an intent and asks for its authorization in one transaction.
sub pay
{
	my ($node, $method, $amounts, %arguments) = @_;
	my $order = delete $arguments{order_id} // 'ORDER-' . ++$orders;

	return sql($node,
		"SELECT i.payment_intent_id FROM payledger.create_payment_intent('$order', 'BUYER-1', 'EUR', '"
		  . _lines(@$amounts) . "'"
		  . join('', map { ", $_ => '$arguments{$_}'" } sort keys %arguments)
		  . ") i, LATERAL (SELECT payledger.request_authorization(i.payment_intent_id, '$method')) a");
}

# Like pay, and waits for the PSP's answer.
sub create_authorized
{
	my ($node, $method, $amounts, %arguments) = @_;
	my $id = pay($node, $method, $amounts, %arguments);

	wait_sql($node,
		"SELECT status <> 'PENDING_AUTH' FROM payledger.payment_intents WHERE payment_intent_id = $id",
		"intent $id is decided");
	return $id;
}

# Payments from .. to of a load: amounts and methods follow from the number,
# so that a repeated call asks for the same.  Every tenth card is declined,
# every third payment has one seller only.  The key makes a repetition of what
# a crash has interrupted harmless.
sub _load_sql
{
	my ($tag, $from, $to) = @_;

	return <<~SQL;
		DO \$\$
		DECLARE
			id bigint;
		BEGIN
			FOR n IN $from .. $to LOOP
				SELECT payment_intent_id INTO id FROM payledger.create_payment_intent('$tag-' || n, 'BUYER-' || n % 7, 'EUR',
					CASE WHEN n % 3 = 0 THEN jsonb_build_array(jsonb_build_object('seller_id', 'SELLER-111', 'amount', 1000 + n))
						 ELSE jsonb_build_array(jsonb_build_object('seller_id', 'SELLER-111', 'amount', 1000 + n),
												jsonb_build_object('seller_id', 'SELLER-222', 'amount', 500 + n)) END,
					idempotency_key => '$tag-' || n);
				IF EXISTS (SELECT FROM payledger.payment_intents WHERE payment_intent_id = id AND status = 'CREATED') THEN
					PERFORM payledger.request_authorization(id,
						CASE WHEN n % 10 = 0 THEN 'pm_card_chargeDeclined' ELSE 'pm_card_visa' END);
				END IF;
			END LOOP;
		END \$\$
		SQL
}

# Asks for n payments in one transaction.
sub pay_many
{
	my ($node, $tag, $n) = @_;

	sql($node, _load_sql($tag, 1, $n));
	return;
}

# A client process that asks for n payments, a few at a time, and repeats what
# fails until it succeeds, as a shop would over a crash of its database.
sub start_load
{
	my ($node, $tag, $n) = @_;
	my $pid = fork() // die "could not fork: $!\n";

	if ($pid)
	{
		$clients{$pid} = 1;
		return $pid;
	}

	my $end = time() + 2 * $TIMEOUT;
	for (my $from = 1; $from <= $n; $from += 4)
	{
		my $to = $from + 3 < $n ? $from + 3 : $n;
		my $connection = $node->connstr($DATABASE);

		while (system('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $connection, '-c', _load_sql($tag, $from, $to),
				'-o', '/dev/null') != 0)
		{
			POSIX::_exit(1) if time() > $end;
			sleep(0.1);
		}
	}
	# exit() would run the END blocks, which stop the servers
	POSIX::_exit(0);
}

sub finish_load
{
	my ($pid, $name) = @_;

	waitpid($pid, 0);
	delete $clients{$pid};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($?, 0, "$name: every command was committed in the end");
	return;
}

# Clients that are still at work when the test ends, for it failed.
END
{
	my $code = $?;

	if (%clients)
	{
		kill('TERM', keys %clients);
		waitpid($_, 0) for keys %clients;
	}
	$? = $code;
}

# ---- workers ----

# Process id of a worker; 0 if it does not run.
sub worker_pid
{
	my ($node, $role) = @_;

	return try_sql($node,
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'payledger $role' AND datname = '$DATABASE'", 'postgres') || 0;
}

sub signal_worker
{
	my ($node, $role, $signal) = @_;
	my $pid;

	wait_for(sub { $pid = worker_pid($node, $role) }, "there is a $role", $node);
	kill($signal, $pid) == 1 or die "could not send $signal to $role: $!\n";
	return $pid;
}

# A query that is true while the worker waits for a lock.
sub worker_is_blocked
{
	my ($role) = @_;

	return "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'payledger $role'"
	  . " AND datname = '$DATABASE' AND wait_event_type = 'Lock')";
}

# kill -9: the postmaster restarts everything.  Returns when all workers are back.
sub kill9_worker
{
	my ($node, $role) = @_;
	my $pid = signal_worker($node, $role, 'KILL');
	my $new;

	wait_for(sub { $new = worker_pid($node, $role); return $new && $new != $pid }, "there is another $role", $node);
	wait_for_workers($node);
	return;
}

# ---- what must hold ----

# What a process takes is less than this.  Nothing can be said of that where
# AddressSanitizer or valgrind holds freed memory back.
sub memory_below
{
	my ($value, $limit, $name) = @_;

	return note("not under $ENV{PAYLEDGER_SANITIZE}: $name") if $ENV{PAYLEDGER_SANITIZE};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return cmp_ok($value, '<', $limit, $name);
}

# The journal balances, the balances are its sums, verify() finds nothing, and
# every payment's journal says what its totals say.
sub check_ledger
{
	my ($node, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($node, <<~'SQL'), '', "$name: the trial balance nets to zero");
		SELECT currency, sum(debit), sum(credit) FROM payledger.trial_balance
		 GROUP BY currency HAVING sum(debit) <> sum(credit)
		SQL
	is(sql($node, <<~'SQL'), '', "$name: every entry nets to zero");
		SELECT journal_entry_id, sum(amount) FROM payledger.postings GROUP BY 1 HAVING sum(amount) <> 0
		SQL
	is(sql($node, <<~'SQL'), '', "$name: every balance is the sum of its postings");
		SELECT a.account_code, payledger.balance(a.account_code), s.amount
		  FROM payledger.accounts a
		  JOIN payledger.account_types t USING (account_type)
		  LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM payledger.postings GROUP BY 1) s USING (account_id)
		 WHERE payledger.balance(a.account_code) <>
			   coalesce(s.amount, 0) * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END
		SQL
	is(sql($node, <<~'SQL'), '', "$name: captured totals are what the journal booked to the PSP");
		SELECT p.payment_id, p.captured_amount, j.captured
		  FROM payledger.payments p
		  LEFT JOIN (SELECT e.payment_id, sum(s.amount) AS captured
					   FROM payledger.journal_entries e
					   JOIN payledger.postings s USING (journal_entry_id)
					   JOIN payledger.accounts a ON a.account_id = s.account_id AND a.account_type = 'PSP_RECEIVABLES'
					  WHERE e.entry_type IN ('CAPTURE', 'CAPTURE_REVERSAL')
					  GROUP BY 1) j USING (payment_id)
		 WHERE p.captured_amount <> coalesce(j.captured, 0)
		SQL
	my @checks = rows($node, 'SELECT check_name, ok, detail FROM payledger.verify(true)');
	cmp_ok(scalar @checks, '>=', 20, "$name: verify() ran its checks");
	is(join("\n", map { "$_->{check_name}: $_->{detail}" } grep { !$_->{ok} } @checks),
		'', "$name: verify() finds nothing");
	return;
}

# Every text that is stored is valid, those in bytes too: the server itself
# decodes them all.
sub check_text_is_valid
{
	my ($node, $name, $database) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($database // $DATABASE, <<~'SQL'), '', "$name: every stored text is valid");
		CREATE FUNCTION pg_temp.broken_texts() RETURNS SETOF text LANGUAGE plpgsql AS $$
		DECLARE
			one record;
		BEGIN
			FOR one IN
				SELECT a.attrelid::regclass AS table_name, a.attname,
					   CASE WHEN a.atttypid = 'bytea'::regtype THEN format('%I', a.attname)
							ELSE format('convert_to(%I::text, ''UTF8'')', a.attname) END AS bytes
				  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
				 WHERE c.relnamespace = 'payledger'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
				   AND (a.atttypid::regtype::text IN ('text', 'text[]', 'jsonb', 'json') OR
						a.atttypid = 'bytea'::regtype AND a.attname IN ('payload', 'request_bytes'))
			LOOP
				BEGIN
					EXECUTE format('SELECT count(upper(convert_from(%s, ''UTF8''))) FROM %s', one.bytes, one.table_name);
				EXCEPTION WHEN OTHERS THEN
					RETURN NEXT format('%s.%s: %s', one.table_name, one.attname, SQLERRM);
				END;
			END LOOP;
		END
		$$;
		SELECT * FROM pg_temp.broken_texts();
		SQL
	return;
}

# What payledger believes about each payment at a Stripe gateway: one line a payment.
sub _beliefs
{
	my ($node, $gateway) = @_;
	my %line;

	for my $payment (rows($node, <<~"SQL"))
		SELECT i.payment_intent_id::text AS id, i.status, i.total_amount, coalesce(p.captured_amount, 0) AS captured,
			   (SELECT string_agg(r.idempotency_key || '=' || o.captured_amount, ' ' ORDER BY r.idempotency_key)
				  FROM payledger.payment_orders o
				  JOIN payledger.psp_requests r ON r.payment_id = o.payment_id AND r.target = o.payment_order_id
												AND r.operation = 'CAPTURE' AND r.status = 'SUCCEEDED'
				 WHERE o.payment_id = i.payment_intent_id AND o.captured_amount > 0) AS captures,
			   (SELECT count(*) FROM payledger.payment_orders o
				 WHERE o.payment_id = i.payment_intent_id AND o.captured_amount > 0) AS orders,
			   EXISTS (SELECT FROM payledger.psp_requests r
						WHERE r.payment_id = i.payment_intent_id AND r.operation = 'CANCEL' AND r.status = 'SUCCEEDED') AS cancelled
		  FROM payledger.payment_intents i LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
		 WHERE i.gateway = '$gateway'
		SQL
	{
		next unless $payment->{status} eq 'AUTHORIZED';
		my @captures = split / /, $payment->{captures} // '';

		push @captures, 'an order without its request' if @captures != $payment->{orders};
		$line{ $payment->{id} } = join ' ', "authorized $payment->{total_amount} once,", "captured $payment->{captured}:", @captures,
		  $payment->{cancelled} && $payment->{captured} == 0 ? 'cancelled' : ();
	}
	return \%line;
}

# What really happened at the PSP, in the same words.
sub _truths
{
	my (@intents) = @_;
	my (%line, %authorized);

	for my $intent (@intents)
	{
		next unless $intent->{authorized};
		my $id = $intent->{metadata}{payment_id} // $intent->{id};
		my @captures = grep { $_->{operation} eq 'capture' && $_->{outcome} eq 'ok' && $_->{amount} > 0 } @{ $intent->{operations} };
		my $times = ++$authorized{$id} == 1 ? 'once' : "$authorized{$id} times";

		$line{$id} = join ' ', "authorized $intent->{amount} $times,", "captured $intent->{amount_received}:",
		  (sort map { ($_->{idempotency_key} // 'no key') . "=$_->{amount}" } @captures),
		  $intent->{status} =~ /^cancell?ed$/ && $intent->{amount_received} == 0 ? 'cancelled' : ();
	}
	return \%line;
}

# Payment by payment the PSP did what payledger believes: authorized each
# AUTHORIZED payment once and no other, and captured each CAPTURED order once,
# under its own key, for its amount.
sub check_psp
{
	my ($node, $psp, $name, $gateway) = @_;
	my $beliefs = _beliefs($node, $gateway // 'stripe');
	my $truths = _truths($psp->all_truth);
	my @wrong = map { "payment $_: we believe [" . ($beliefs->{$_} // 'not authorized') . '], true is ['
		  . ($truths->{$_} // 'not authorized') . ']' }
	  grep { ($beliefs->{$_} // '') ne ($truths->{$_} // '') }
	  sort keys %{ { %$beliefs, %$truths } };

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join("\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]),
		'', "$name: the PSP authorized and captured each of " . keys(%$beliefs) . ' payments exactly once');
	return;
}

# Every event is on Kafka at least once, per key in the order of versions.
# Returns the consumer's summary.
sub check_kafka
{
	my ($node, $kafka, $name) = @_;
	my $summary = $kafka->summary;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join(' ', map { "$_ $summary->{$_}" } qw(missing gaps reorders conflicts moves incomplete)),
		'missing 0 gaps 0 reorders 0 conflicts 0 moves 0 incomplete 0', "$name: Kafka has every version in order")
	  or diag($json->encode($summary->{first}));
	is($summary->{distinct}, sql($node, 'SELECT count(*) FROM payledger.outbox_events'),
		"$name: as many events on Kafka as committed");
	return $summary;
}

# All of these, and no payment is stuck halfway.
sub check_books
{
	my ($node, $name, %others) = @_;

	subtest $name => sub {
		is(sql($node, <<~'SQL'), '', 'nothing waits');
			SELECT 'request', psp_request_id::text, status::text FROM payledger.psp_requests
			 WHERE status NOT IN ('SUCCEEDED', 'REFUSED')
			 UNION ALL
			SELECT 'intent', payment_intent_id::text, status::text FROM payledger.payment_intents WHERE status = 'PENDING_AUTH'
			 UNION ALL
			SELECT 'order', payment_order_id::text, status::text FROM payledger.payment_orders
			 WHERE status IN ('CAPTURE_REQUESTED', 'PENDING_CAPTURE')
			SQL
		check_ledger($node, 'ledger');
		check_psp($node, $others{psp}, 'PSP') if $others{psp};
		check_kafka($node, $others{kafka}, 'Kafka') if $others{kafka};
	};
	return;
}

1;
