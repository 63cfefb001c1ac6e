# Attacks on the books, on functions, on settings and on the server that no
# other test tries, each by who would try it.  docs/security.md has the table
# of all attacks, with their numbers and where each is tried; that it names
# what there is, is tested last.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('attacks', wal_level => 'replica', max_wal_senders => 5, hot_standby => 'on', synchronous_commit => 'off', max_prepared_transactions => 2);

# app has what README grants to a checkout, greedy the right to call everything,
# insider acts as the owner of it all
sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', 'sandbox', '{"latency_ms": 1}', is_default => true);
	CREATE ROLE app LOGIN;
	CREATE ROLE other LOGIN;
	CREATE ROLE greedy LOGIN;
	CREATE ROLE insider LOGIN;
	GRANT USAGE ON SCHEMA payledger TO app, other, greedy, insider;
	GRANT EXECUTE ON FUNCTION payledger.create_payment_intent, payledger.request_authorization TO app;
	GRANT EXECUTE ON ALL ROUTINES IN SCHEMA payledger TO greedy;
	SQL
my $paid = create_authorized($node, 'pm_ok', [ 500, 700 ]);
sql($node, q{CALL payledger.wait_until_idle('60 s')});

# What each of these statements answers, the statements of a role in one
# session: a SQLSTATE, or 00000.
sub answers
{
	my ($role, @statements) = @_;
	my $script = "\\set VERBOSITY sqlstate\n\\o /dev/null\nSET statement_timeout = '10s';\n";
	my (%at, %said);

	for my $i (0 .. $#statements)
	{
		$script .= "$statements[$i];\n";
		$at{ $script =~ tr/\n// } = $i;
	}
	my ($code, $out, $err) = $node->psql('payledger', $script, on_error_stop => 0, extra_params => [ '-U', $role ]);
	my @answers = ('00000') x @statements;
	while ($err =~ /^psql:<stdin>:(\d+): (?:ERROR|FATAL):  (\w{5})/mg) { push @{ $said{$1} }, $2 }
	$answers[ $at{$_} ] = $said{$_}[0] for grep { defined $at{$_} } keys %said;
	return @answers;
}

# Each of these statements of a role is refused with this SQLSTATE.
sub all_refused
{
	my ($role, $sqlstate, $name, @statements) = @_;
	my @answers = answers($role, @statements);
	my @wrong = grep { $answers[$_] !~ /^(?:$sqlstate)$/ } 0 .. $#statements;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(join("\n", map { "$answers[$_]: $statements[$_]" } @wrong), '', "$name: all " . @statements . " are refused with $sqlstate");
}

my @relations = split /\n/, sql($node, <<~'SQL');
	SELECT relname FROM pg_class WHERE relnamespace = 'payledger'::regnamespace AND relkind IN ('r', 'p', 'v') ORDER BY 1
	SQL
my @tables = split /\n/, sql($node, <<~'SQL');
	SELECT relname FROM pg_class WHERE relnamespace = 'payledger'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1
	SQL
cmp_ok(scalar @tables, '>', 45, scalar(@tables) . ' tables');
my %column = map { $_->{table} => $_->{column} } rows($node, <<~'SQL');
	SELECT attrelid::regclass::text AS table, min(attname) AS column FROM pg_attribute
	 WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'payledger'::regnamespace) AND attnum > 0 AND NOT attisdropped
	 GROUP BY 1
	SQL

sub update_of { return "UPDATE payledger.$_[0] SET $column{\"payledger.$_[0]\"} = NULL" }

# ---- the books ----

subtest 'attack 1: an application reads or changes tables' => sub {
	all_refused('app', '42501', 'tables and views', (map { "SELECT * FROM payledger.$_" } @relations),
		map { (update_of($_), "DELETE FROM payledger.$_", "INSERT INTO payledger.$_ DEFAULT VALUES") } @tables);
};

subtest 'attack 2: an application empties or drops tables' => sub {
	all_refused('app', '42501', 'tables', map { ("TRUNCATE payledger.$_ CASCADE", "DROP TABLE payledger.$_ CASCADE", "BEGIN; LOCK TABLE payledger.$_; COMMIT") } @tables);
	all_refused('app', '42501', 'sequences', map { ("SELECT nextval('$_')", "SELECT setval('$_', 1)") }
		split /\n/, sql($node, "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'payledger'::regnamespace AND relkind = 'S'"));
	all_refused('app', '42501', 'all', 'DROP EXTENSION payledger CASCADE', 'DROP SCHEMA payledger CASCADE', 'DROP OWNED BY payledger_owner',
		'REASSIGN OWNED BY payledger_owner TO app');
};

# What is written once and never changed.
my @written_once = qw(journal_entries postings state_history outbox_events seals folds effective_shifts balance_checkpoints period_events);

subtest 'attack 3: whoever acts as the owner changes what is written' => sub {
	# it cannot be had without a superuser, or CREATEROLE before PostgreSQL 16
	all_refused('app', '42501', 'the role', 'SET ROLE payledger_owner', 'GRANT payledger_owner TO app', 'SET SESSION AUTHORIZATION payledger_owner');
	sql($node, 'GRANT payledger_owner TO insider');
	my @guarded = grep { sql($node, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'payledger.$_'::regclass AND tgname = 'refuse_change'") } @written_once;
	is("@guarded", "@written_once", 'each of them has its guard');
	all_refused('insider', 'PL003', 'as the owner', map { (update_of($_), "DELETE FROM payledger.$_", "TRUNCATE payledger.$_ CASCADE") } @written_once);
	is((answers('insider', 'SET session_replication_role = replica'))[0], '42501', 'nor may it disable triggers for a session');
	sql($node, 'REVOKE payledger_owner FROM insider');
};

subtest 'attack 4: a superuser switches triggers off' => sub {
	my $superuser = sql($node, 'SELECT current_user');

	all_refused($superuser, 'PL003|00000', 'session_replication_role', 'SET session_replication_role = replica',
		map { (update_of($_), "DELETE FROM payledger.$_", "TRUNCATE payledger.$_ CASCADE") } @written_once);
	is((answers($superuser, 'SET session_replication_role = replica', 'TRUNCATE payledger.postings'))[1], 'PL003', 'in which the guards still fire');
	like(sql($node, <<~'SQL'), qr/entries_balance: .*ledger_is_guarded: /s, 'disabled one by one, verify() reports it, and what was done');
		BEGIN;
		ALTER TABLE payledger.postings DISABLE TRIGGER ALL;
		UPDATE payledger.postings SET amount = amount + 1 WHERE (journal_entry_id, leg) = (SELECT journal_entry_id, leg FROM payledger.postings LIMIT 1);
		SELECT string_agg(check_name || ': ' || detail, E'\n' ORDER BY check_name) FROM payledger.verify() WHERE NOT ok;
		ROLLBACK;
		SQL
};

subtest 'attack 5: an application switches triggers off' => sub {
	all_refused('app', '42501', 'triggers', 'SET session_replication_role = replica', 'ALTER ROLE app SET session_replication_role = replica',
		'ALTER DATABASE payledger SET session_replication_role = replica',
		map { ("ALTER TABLE payledger.$_ DISABLE TRIGGER ALL", "CREATE TRIGGER t AFTER INSERT ON payledger.$_ EXECUTE FUNCTION payledger.refuse_change()") } @tables);
};

subtest 'attack 6: entries past the functions' => sub {
	my $entry = q{INSERT INTO payledger.journal_entries (journal_entry_id, recorded_at, effective_at, entry_type) VALUES (42, now(), now(), 'ADJUSTMENT')};
	my $leg = sub { "INSERT INTO payledger.postings (journal_entry_id, leg, account_id, amount, transaction_no) SELECT 42, $_[0], min(account_id), $_[1], 1 FROM payledger.accounts" };

	all_refused('app', '42501', 'an application', $entry, $leg->(1, 5), 'COPY payledger.postings FROM STDIN WITH (FORMAT csv)');
	sql($node, 'GRANT payledger_owner TO insider');
	all_refused('insider', 'PL00[23]', 'the owner, an entry of one leg and one without balance', $entry, $leg->(1, 5),
		"BEGIN ISOLATION LEVEL READ COMMITTED; $entry; " . $leg->(1, 5) . '; COMMIT');
	sql($node, 'REVOKE payledger_owner FROM insider');
	is(sql($node, 'SELECT count(*) FROM payledger.journal_entries WHERE journal_entry_id = 42'), 0, 'nothing was written');
};

# ---- other roles' rights ----

subtest 'attack 12: a seller reads or pays another' => sub {
	# a role of a seller's has no rights of its own; who has those of the functions is trusted with every seller
	sql($node, 'CREATE ROLE seller LOGIN; GRANT USAGE ON SCHEMA payledger TO seller');
	all_refused('seller', '42501', 'a seller\'s role', "SELECT payledger.request_payout('SELLER-222', 'EUR', 1)", "SELECT payledger.set_payout_terms('SELLER-222', 'EUR', beneficiary => 'acct_1')",
		'SELECT * FROM payledger.seller_balances', "SELECT * FROM payledger.seller_statement('SELLER-222', 'EUR', '2026-01-01')");
};

subtest 'attack 13: a leaky function in a condition on a view' => sub {
	$node->safe_psql('payledger', <<~'SQL');
		CREATE ROLE viewer LOGIN;
		GRANT USAGE ON SCHEMA payledger TO viewer;
		GRANT SELECT ON payledger.payment_overview TO viewer;
		CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
			BEGIN
				RAISE NOTICE 'leaked % to %', $1, current_user;
				RETURN EXISTS (SELECT FROM payledger.payments);
			EXCEPTION WHEN insufficient_privilege THEN
				RETURN true;
			END$$;
		SQL
	my ($code, $out, $err) = $node->psql('payledger', 'SELECT count(*) FROM payledger.payment_overview WHERE public.leak(order_id)', extra_params => [ '-U', 'viewer' ]);
	my %as = map { $_ => 1 } $err =~ /leaked .* to (\w+)/g;

	is(join(' ', keys %as), 'viewer', 'it runs with the rights of who calls it');
	cmp_ok($out, '>', 0, 'and not with those of the view, which reads the tables');
	$node->safe_psql('payledger', 'DROP FUNCTION public.leak; DROP OWNED BY viewer; DROP ROLE viewer');
};

subtest 'attack 14: a statement prepared with more rights' => sub {
	my ($code, $out, $err) = $node->psql('payledger', <<~'SQL', on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
		PREPARE read AS SELECT count(*) FROM payledger.payments;
		PREPARE act AS SELECT payledger.register_seller('STOLEN', 'EUR');
		EXECUTE read;
		DECLARE c CURSOR WITH HOLD FOR SELECT * FROM payledger.payments;
		SET ROLE app;
		EXECUTE read;
		EXECUTE act;
		SQL
	is(join(' ', $err =~ /ERROR:  (\w{5})/g), '42501 42501', 'run by another role it has that role\'s rights');
	is(sql($node, "SELECT count(*) FROM payledger.sellers WHERE seller_id = 'STOLEN'"), 0, 'nothing was done');
};

subtest 'attack 15: row_security = off' => sub {
	all_refused('app', '42501', 'an application', 'SELECT set_config($$row_security$$, $$off$$, false) FROM payledger.payments', 'ALTER TABLE payledger.payments DISABLE ROW LEVEL SECURITY');
	# where an administrator has put a policy on a table
	sql($node, <<~'SQL');
		GRANT SELECT ON payledger.payments TO other;
		ALTER TABLE payledger.payments ENABLE ROW LEVEL SECURITY;
		CREATE POLICY nothing ON payledger.payments FOR SELECT TO other USING (false);
		SQL
	is(sql($node, 'SET ROLE other; SELECT count(*) FROM payledger.payments'), 0, 'the policy hides all');
	is(join(' ', answers('other', 'SET row_security = off', 'SELECT * FROM payledger.payments')), '00000 42501', 'and is not to be switched off');
	sql($node, <<~'SQL');
		DROP POLICY nothing ON payledger.payments;
		ALTER TABLE payledger.payments DISABLE ROW LEVEL SECURITY;
		REVOKE SELECT ON payledger.payments FROM other;
		SQL
};

# ---- names that mean something else ----

# The functions of the extension, and arguments for each: of its argument's
# name where there is such a thing, else of its type.
my @routines = rows($node, <<~'SQL');
	SELECT p.proname AS name, p.prokind AS kind, p.prosecdef AS is_definer, p.provolatile = 'v' AS writes, p.oid::regprocedure::text AS signature, p.provariadic <> 0 AS is_variadic,
		   has_function_privilege('app', p.oid, 'EXECUTE') AS is_apps,
		   coalesce(p.proargnames[1:p.pronargs], '{}') AS names, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n) ORDER BY n) AS types
	  FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'payledger'
	 WHERE p.prokind IN ('f', 'p') AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype) AND NOT 'internal'::regtype = ANY (p.proargtypes)
	 ORDER BY p.proname
	SQL
my ($order) = split /\n/, sql($node, "SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = $paid ORDER BY 1");
my $lines = '[{"seller_id": "SELLER-111", "amount": 500}]';
my $postings = '[{"account": "MERCHANT_PAYABLE.SELLER-111.EUR", "amount": -5}, {"account": "PLATFORM_COMMISSION_REVENUE.GLOBAL.EUR", "amount": 5}]';
my %known = (
	payment_intent_id => $paid, payment_id => $paid, payment_order_id => $order, seller_id => 'SELLER-111', currency => 'EUR', gateway => 'sandbox', adapter => 'sandbox',
	account_code => 'MERCHANT_PAYABLE.SELLER-111.EUR', account => 'MERCHANT_PAYABLE.SELLER-111.EUR', account_type => 'MERCHANT_PAYABLE', entity_id => 'SELLER-111', lines => $lines,
	postings => $postings, entry_type => 'ADJUSTMENT', machine => 'payment', event_type => 'payment_voided', format => 'hledger', ledger => 'default', amount => 5,
	timeout => '10 ms', capture_method => 'manual', payment_method => 'pm_ok', deep => 'true', outcome => 'REFUSED', shards => 1);
my %of_type = (
	bigint => 1, integer => 1, smallint => 1, boolean => 'false', numeric => 1, 'double precision' => 1, text => 'x', interval => '1 s', uuid => '00000000-0000-0000-0000-000000000001',
	'timestamp with time zone' => '2026-01-01', date => '2026-01-01', jsonb => '{}', json => '{}', bytea => 'x', 'text[]' => '{x}', 'bigint[]' => '{1}', pg_lsn => '0/1');

sub call
{
	my ($routine, $value) = @_;
	my @types = @{ $routine->{types} };
	my @arguments = map { my $given = $value->($routine->{names}[$_] // '', $types[$_]); defined $given ? "'" . $given =~ s/'/''/gr . "'::$types[$_]" : "NULL::$types[$_]" } 0 .. $#types;

	$arguments[-1] = "VARIADIC $arguments[-1]" if $routine->{is_variadic};
	return ($routine->{kind} eq 'p' ? 'CALL' : 'SELECT * FROM') . " payledger.$routine->{name}(" . join(', ', @arguments) . ')';
}

sub likely { my ($name, $type) = @_; return $known{$name} // $of_type{$type} }

subtest 'attack 16: functions, operators and relations in front of others' => sub {
	# everything that pg_catalog has, once more, where it is found first; and in
	# pg_temp whatever relation there is.  A sequence counts, for it is not
	# rolled back, and a warning says what it was.
	sql($node, <<~'SQL');
		CREATE SCHEMA trap AUTHORIZATION greedy;
		SET ROLE greedy;
		SET check_function_bodies = off;
		GRANT USAGE ON SCHEMA trap TO PUBLIC;
		CREATE SEQUENCE trap.canary;
		GRANT USAGE ON SEQUENCE trap.canary TO PUBLIC;
		CREATE FUNCTION trap.sing(what text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
		BEGIN
			PERFORM nextval('trap.canary');
			RAISE WARNING 'canary: % as %', what, current_user;
			RETURN what;
		END $$;
		DO $$
		DECLARE
			one record;
		BEGIN
			FOR one IN SELECT p.proname, p.oid::regprocedure AS signature, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) AS types, r.typtype, format_type(r.oid, NULL) AS result
						 FROM pg_proc p JOIN pg_type r ON r.oid = p.prorettype
						WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a', 'w')
						  AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p') LOOP
				EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', one.proname, array_to_string(one.types, ', '),
							   CASE WHEN one.typtype = 'p' THEN 'text' ELSE one.result END, format('BEGIN PERFORM trap.sing(%L); RETURN NULL; END', one.signature));
			END LOOP;
			FOR one IN SELECT o.oprname, o.oid::regoperator AS signature, CASE WHEN o.oprleft <> 0 THEN format_type(o.oprleft, NULL) END AS lft, format_type(o.oprright, NULL) AS rgt, p.proname
						 FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
						 LEFT JOIN pg_type l ON l.oid = o.oprleft JOIN pg_type r ON r.oid = o.oprright
						WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND l.typtype IS DISTINCT FROM 'p' AND r.typtype <> 'p' LOOP
				EXECUTE format('CREATE OPERATOR trap.%s (FUNCTION = trap.%I%s, RIGHTARG = %s)', one.oprname, one.proname, ', LEFTARG = ' || one.lft, one.rgt);
			END LOOP;
		END $$;
		SQL
	cmp_ok(sql($node, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'trap'::regnamespace"), '>', 2000, 'many functions');
	cmp_ok(sql($node, "SELECT count(*) FROM pg_operator WHERE oprnamespace = 'trap'::regnamespace"), '>', 500, 'many operators');

	my $traps = <<~'SQL';
		DO $$
		DECLARE
			one record;
		BEGIN
			FOR one IN SELECT c.relname, string_agg(format('NULL::%s AS %I', CASE WHEN t.typtype = 'p' THEN 'text' ELSE format_type(a.atttypid, a.atttypmod) END, a.attname), ', ') AS columns
						 FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
						WHERE c.relnamespace IN ('payledger'::regnamespace, 'pg_catalog'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
						  AND c.relname !~ '^pg_statistic' GROUP BY c.relname LOOP
				EXECUTE format('CREATE TEMP VIEW %I AS SELECT %s FROM trap.sing(%L) AS s WHERE s IS NOT NULL', one.relname, one.columns, 'relation ' || one.relname);
			END LOOP;
		END $$;
		SET search_path = trap, pg_temp, pg_catalog, payledger;
		SQL
	# both who set the trap and a superuser who steps into it
	for my $role ('greedy', sql($node, 'SELECT current_user'))
	{
		my $run = sub {
			my ($code, $out, $err) = $node->psql('payledger', "SET client_min_messages = warning;\n$traps\nSET statement_timeout = '5s';\n\\o /dev/null\n" . join('', map { "$_;\n" } @_),
				on_error_stop => 0, extra_params => [ '-U', $role ]);
			return $err;
		};
		my $control = $run->('SELECT 1 = 1', 'SELECT * FROM payments', 'SELECT * FROM pg_class');

		like($control, qr/canary: $_ as $role/, "$role: the trap works") for qr/=\(integer,integer\)|int4eq\(integer,integer\)/, 'relation payments', 'relation pg_class';

		my @definers = grep { $_->{is_definer} } @routines;
		my $before = sql($node, 'SELECT last_value FROM trap.canary');
		my $err = $run->((map { my $routine = $_; (call($routine, \&likely), call($routine, sub { undef })) } @definers),
			"SELECT payledger.create_payment_intent('TRAP-$role', 'B', 'EUR', '$lines', 'manual', idempotency_key => 'trap')",
			"SELECT payledger.capture($order, 1)", "SELECT payledger.refund($order, 1, 'r', 'trap-$role')", "SELECT payledger.refund_payment($paid, 2)",
			"SELECT payledger.register_seller('TRAP-$role', 'EUR', 100)", "SELECT payledger.post_entry('ADJUSTMENT', '$postings', 'trap-$role')",
			"SELECT payledger.request_payout('SELLER-111', 'EUR', 1)", 'SELECT count(*) FROM payledger.verify(true)', 'SELECT payledger.setup()');
		cmp_ok(scalar @definers, '>', 90, "$role: " . @definers . ' SECURITY DEFINER functions called');
		is(join("\n", $err =~ /(canary: .*)/g), '', "$role: no function, operator or relation of an attacker was used");
		is(sql($node, 'SELECT last_value FROM trap.canary'), $before, "$role: nor in what was rolled back");
		is(sql($node, "SELECT count(*) FROM payledger.payment_intents WHERE order_id = 'TRAP-$role'"), 1, "$role: what was right has been done");
	}
	sql($node, 'SET client_min_messages = warning; DROP SCHEMA trap CASCADE');
};

subtest 'attack 18: a schema whose name is code' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE named');
	my @names = (q{x"; DROP ROLE app; --}, q{$$; SELECT 1; $$}, q{a'b}, '@extschema@', q{%s"\\});

	for my $name (@names)
	{
		my $quoted = '"' . $name =~ s/"/""/gr . '"';

		for my $before ('', "CREATE SCHEMA $quoted;")
		{
			my ($code, $out, $err) = $node->psql('named', "$before CREATE EXTENSION payledger SCHEMA $quoted", extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
			like($err, qr/ERROR:  (0A000|3F000)/, ($before ? 'existing' : 'missing') . " schema $name: refused");
		}
	}
	is($node->safe_psql('named', "SELECT count(*) FROM pg_extension WHERE extname = 'payledger'"), 0, 'it was not installed');
	$node->safe_psql('postgres', 'DROP DATABASE named');
};

# ---- secrets, settings, the server ----

subtest 'attack 27: what others run' => sub {
	my $session = $node->background_psql('payledger', on_error_stop => 0);

	$session->query_safe(q{SELECT 'token pm_of_somebody'});
	is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pm_of_[s]omebody'}), 1, 'a superuser sees it');
	is($node->safe_psql('payledger', q{SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pm_of_[s]omebody'}, extra_params => [ '-U', 'app' ]), 0, 'an application does not');
	is($node->safe_psql('payledger', q{SELECT count(*) FROM pg_db_role_setting WHERE setconfig::text ~ 'payledger'}, extra_params => [ '-U', 'app' ]), 0, 'no secret is a setting of a role');
	$session->quit;
};

subtest 'attack 32: an application calls what workers and operators call' => sub {
	my @others = grep { $_->{writes} && !$_->{is_apps} } @routines;

	cmp_ok(scalar @others, '>', 80, scalar(@others) . ' functions');
	all_refused('app', '42501', 'functions', map { my $routine = $_; (call($routine, \&likely), call($routine, sub { undef })) } @others);
	all_refused('app', '42501', 'their tables', 'UPDATE payledger.relay_cursors SET published_seq = 0', 'DELETE FROM payledger.dead_letters', 'INSERT INTO payledger.replays DEFAULT VALUES',
		map { 'SELECT pg_terminate_backend(' . worker_pid($node, $_) . ')' } qw(gateway relay keeper));
};

subtest 'attack 52: PREPARE TRANSACTION with an idempotency key' => sub {
	my $create = q{SELECT payledger.create_payment_intent('PREPARED', 'B', 'EUR', '[{"seller_id": "SELLER-111", "amount": 1}]', idempotency_key => '%s')};
	my @answers = answers('app', 'BEGIN', sprintf($create, 'prepared'), q{PREPARE TRANSACTION 'held'});

	is("@answers", '00000 00000 00000', 'a key is held by a prepared transaction');
	@answers = answers('app', q{SET lock_timeout = '200ms'}, sprintf($create, 'prepared'), sprintf($create, 'another'));
	is("@answers", '00000 55P03 00000', 'who uses the key waits no longer than lock_timeout, others do not wait');
	is(sql($node, 'SELECT payledger.next_id() > 0'), 't', 'nor does anything else');
	$node->safe_psql('payledger', q{ROLLBACK PREPARED 'held'});
	@answers = answers('app', sprintf($create, 'prepared'));
	is("@answers", '00000', 'rolled back, it is free');
};

subtest 'attack 33: events that are not published are removed' => sub {
	my $partitions = sql($node, "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY 1) FROM pg_inherits WHERE inhparent = 'payledger.outbox_events'::regclass");
	my $unpublished = sql($node, 'SELECT count(*) FROM payledger.unpublished_events');
	my @partitions = split / /, $partitions;

	cmp_ok($unpublished, '>', 0, 'some wait');
	all_refused('app', '42501', 'an application', map { ("DELETE FROM $_", "TRUNCATE $_", "DROP TABLE $_", "ALTER TABLE payledger.outbox_events DETACH PARTITION $_") } @partitions);
	sql($node, 'GRANT payledger_owner TO insider');
	all_refused('insider', 'PL003', 'the owner', (map { "DELETE FROM $_" } 'payledger.outbox_events', grep { sql($node, "SELECT count(*) FROM $_") } @partitions),
		map { "TRUNCATE $_" } 'payledger.outbox_events', @partitions);
	sql($node, 'REVOKE payledger_owner FROM insider');
	is(sql($node, 'SELECT count(*) FROM payledger.unpublished_events'), $unpublished, 'all are there');
};

subtest 'attack 35: events and topics that are none' => sub {
	my $long = 'x' x 250;
	my $superuser = sql($node, 'SELECT current_user');

	all_refused($superuser, '22023', 'routes', "SELECT payledger.route_event('nothing_happened', 't')", "SELECT payledger.route_event('payment_voided', '../x')",
		"SELECT payledger.route_event('payment_voided', '$long')", "SELECT payledger.route_event('payment_voided', '..')", "SELECT payledger.route_event('payment_voided', '')",
		"SELECT payledger.replay_events('2020-01-01', topic => '../x')", "ALTER SYSTEM SET payledger.topic_prefix = '../x'", "ALTER SYSTEM SET payledger.topic_prefix = '$long'");
	all_refused('app', '55P02|42501', 'of an application', "SET payledger.topic_prefix = 'x'", "ALTER SYSTEM SET payledger.topic_prefix = 'x'",
		"INSERT INTO payledger.outbox_events (type) VALUES ('nothing_happened')");
};

subtest 'attack 37: an application reaches for the server' => sub {
	all_refused('app', '42501', 'the server', q{COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'}, q{COPY (SELECT 1) TO '/tmp/x'}, q{CREATE TEMP TABLE t (x text); COPY t FROM '/etc/passwd'},
		q{CREATE TEMP TABLE u (x text); COPY u FROM PROGRAM 'id'}, q{LOAD 'payledger'}, q{LOAD '/tmp/x.so'}, q{ALTER SYSTEM SET log_statement = 'all'}, 'SELECT pg_reload_conf()',
		'SELECT pg_rotate_logfile()', q{SELECT pg_read_file('postgresql.conf')}, q{SELECT pg_ls_dir('.')}, q{SELECT lo_export(lo_create(0), '/tmp/x')},
		q{CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS '$libdir/payledger', 'pl_sql_setup'}, q{CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE internal AS 'pg_postmaster_start_time'},
		'CREATE TABLE payledger.mine (x int)', 'CREATE FUNCTION payledger.mine() RETURNS int LANGUAGE sql AS $$SELECT 1$$', 'ALTER EXTENSION payledger UPDATE', 'CREATE EXTENSION pg_stat_statements',
		'ALTER ROLE app SUPERUSER', 'CREATE ROLE mine', 'GRANT pg_read_server_files TO app', 'GRANT SELECT ON payledger.payments TO PUBLIC WITH GRANT OPTION',
		'CREATE TRIGGER t BEFORE INSERT ON payledger.sellers EXECUTE FUNCTION payledger.refuse_change()', 'CREATE RULE r AS ON INSERT TO payledger.sellers DO ALSO SELECT 1');
};

# ---- texts that are code ----

subtest 'attack 38: SQL in every text' => sub {
	sql($node, <<~'SQL');
		CREATE SEQUENCE public.injections;
		CREATE FUNCTION public.injected() RETURNS text LANGUAGE sql AS $$SELECT 'was run ' || nextval('public.injections')$$;
		CREATE TABLE public.canary AS SELECT 1 AS x;
		SQL
	my @codes = (
		q{'; DROP TABLE public.canary; --}, q{'||public.injected()||'}, q{" OR public.injected() = "}, q{x') UNION SELECT public.injected() --}, q{\'; SELECT public.injected(); --},
		q{$$ || public.injected() || $$}, q{$1; SELECT public.injected()}, q{1 OR public.injected() IS NOT NULL}, q{EUR"; SELECT public.injected(); --},
		q{(SELECT public.injected())}, q{/* */ ; SELECT public.injected(); /*}, q{%I%L%s'; SELECT public.injected(); --}, q{x := public.injected()});
	my $superuser = sql($node, 'SELECT current_user');
	my @texts = grep { my $routine = $_; grep { /^text|^jsonb?$/ } @{ $routine->{types} } } @routines;
	my $relations = "SELECT count(*) || ' ' || (SELECT count(*) FROM pg_roles) FROM pg_class WHERE relname !~ '^outbox_events_p'";
	my $before = sql($node, $relations);
	my @calls;

	for my $routine (@texts)
	{
		my @places = grep { $routine->{types}[$_] =~ /^text|^jsonb?$/ } 0 .. $#{ $routine->{types} };

		# each argument by itself, so that the others are not what is refused
		for my $place (@places)
		{
			for my $code (@codes)
			{
				my $n = 0;
				push @calls, call($routine, sub {
						return likely(@_) if $n++ != $place;
						return $_[1] eq 'text' ? $code : $_[1] eq 'text[]' ? '{"' . $code =~ s/(["\\])/\\$1/gr . '"}' : '{"' . $code =~ s/(["\\])/\\$1/gr . '": "' . $code =~ s/(["\\])/\\$1/gr . '"}';
					});
			}
		}
	}
	my %got;
	$got{$_}++ for answers($superuser, @calls);
	note(scalar(@calls) . ' calls: ' . join ', ', map { "$_ $got{$_}" } sort keys %got);
	cmp_ok(scalar @calls, '>', 1500, scalar(@calls) . ' calls of ' . @texts . ' functions');
	is(join(' ', grep { /^XX|^42601|^42703|^57/ } sort keys %got), '', 'no text became part of a statement');
	is(sql($node, 'SELECT is_called FROM public.injections'), 'f', 'no text was run');
	is(sql($node, 'SELECT x FROM public.canary'), 1, 'no table is gone');
	is(sql($node, $relations), $before, 'no relation and no role has come or gone');

	# what is taken is stored as it is
	for my $i (0 .. $#codes)
	{
		my $quoted = $codes[$i] =~ s/'/''/gr;

		my $id = sql($node, "SELECT payment_intent_id FROM payledger.create_payment_intent('$quoted', '$quoted', 'EUR', '$lines')");
		is(sql($node, "SELECT order_id = '$quoted' AND buyer_id = '$quoted' FROM payledger.payment_intents WHERE payment_intent_id = $id"), 't', "$codes[$i]: stored verbatim");
		is(sql($node, "SELECT count(*) > 0 FROM payledger.outbox_events o, jsonb_path_query(o.payload::jsonb, '\$.data.*') AS v WHERE o.aggregateid = '$id' AND v = to_jsonb('$quoted'::text)"),
			't', "$codes[$i]: and in its event");
	}
};

# ---- a standby ----

subtest 'attack 59: locks that take no privilege on a table' => sub {
	sql($node, 'CREATE ROLE stranger LOGIN; GRANT TEMPORARY ON DATABASE payledger TO stranger');
	all_refused('stranger', '42501', 'on every table',
		map { ("PREPARE p AS DELETE FROM payledger.$_", "CREATE TEMP TABLE t (a bigint REFERENCES payledger.$_)", "CREATE TEMP TABLE t (a payledger.$_)", "CREATE TEMP VIEW v AS SELECT FROM payledger.$_") } @tables);
};

subtest 'attack 34: writing on a standby' => sub {
	my @writes = ("SELECT payledger.create_payment_intent('O', 'B', 'EUR', '$lines')", "SELECT payledger.post_entry('ADJUSTMENT', '$postings')", "SELECT payledger.register_seller('S', 'EUR')",
		"SELECT payledger.refund($order, 1)", "SELECT payledger.add_gateway('g', 'sandbox')", 'SELECT payledger.setup()');

	for my $write (@writes)
	{
		sql_fails($node, "BEGIN READ ONLY; $write", '25006', 'read-only', $write);
	}
	my $standby = PostgreSQL::Test::Cluster->new('attacks_standby');
	$node->backup('attacks');
	$standby->init_from_backup($node, 'attacks', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby);
	for my $write (@writes)
	{
		my ($code, $out, $err) = $standby->psql('payledger', $write, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		like($err, qr/ERROR:  25006: /, "standby: $write");
	}
	$standby->stop('immediate');
};

# ---- the table of attacks ----

subtest 'the table in docs/security.md' => sub {
	my $root = "$PayledgerTest::TEST_DIR/..";
	my @table = grep { /^\| \d+ \|/ } split /\n/, slurp_file("$root/docs/security.md");
	my (@numbers, %here, @wrong);

	for my $row (@table)
	{
		# number, attack, mechanism, what the attacker gets, tests
		my (undef, $number, undef, undef, undef, $tests) = split / *(?<!\\)\| */, $row;
		my @files = $tests =~ /`([^`]+)`/g;

		push @numbers, $number;
		push @wrong, "$number names no test" if !@files && $tests !~ /^none/;
		push @wrong, map { "$number: no file $_" } grep { !-f "$root/$_" } @files;
		# each file is followed by the names in it, in quotes
		while ($tests =~ /`([^`]+)`((?:[^`"]*"[^"]*")*)/g)
		{
			my ($file, $names) = ($1, $2);
			my $text = -f "$root/$file" ? slurp_file("$root/$file") : '';

			push @wrong, map { "$number: no \"$_\" in $file" } grep { index($text, $_) < 0 } $names =~ /"([^"]*)"/g;
			$here{$_} = 1 for $file =~ /405_attacks/ ? $names =~ /"attack (\d+): /g : ();
		}
	}
	is(join("\n", @wrong), '', 'names files and tests that there are');
	is("@numbers", join(' ', 1 .. @numbers), 'in order');
	cmp_ok(scalar @numbers, '>=', 55, 'all of them');
	my @tried = slurp_file(__FILE__) =~ /^subtest 'attack (\d+): /mg;
	is(join(' ', sort { $a <=> $b } keys %here), join(' ', sort { $a <=> $b } @tried), 'and each that is tried here');
};

is(sql($node, q{SELECT string_agg(check_name || ': ' || detail, E'\n') FROM payledger.verify() WHERE NOT ok AND check_name !~ 'matches_nothing'}), '', 'verify() finds nothing');
$node->stop;
done_testing();
