# Servers and databases that are not set up as payledger's own tests are: no
# preload line, settings at database level, a dump without data, a foreign
# table in the schema, trigger functions on foreign tables.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('environments', 'payledger.databases' => '');

# A payment, a payout, a fold, and what verify() says of them, without workers.
my $work = <<~'SQL';
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
	SELECT payledger.register_seller('S1', 'EUR', commission_bps => 1000);
	SELECT payledger.set_payout_terms('S1', 'EUR', 'ba_ok', available_from => 'capture');
	SELECT payledger.request_authorization(i.payment_intent_id, 'pm_ok')
	  FROM payledger.create_payment_intent('O-1', 'B-1', 'EUR', '[{"seller_id": "S1", "amount": 1450}]', metadata => E'{"a": "\\\\\\\\"}') i;
	SELECT payledger.open_account('BANK_FEES', 'GLOBAL', 'EUR');
	SELECT payledger.open_account('PLATFORM_CASH', 'GLOBAL', 'EUR');
	SELECT payledger.post_entry('BANK_FEE', '[{"account": "BANK_FEES.GLOBAL.EUR", "amount": 350}, {"account": "PLATFORM_CASH.GLOBAL.EUR", "amount": -350}]',
								reference => E'r\\\\1', metadata => '{"b": [null]}');
	SELECT payledger.post_entry('GIFT', '[{"account": "PLATFORM_CASH.GLOBAL.EUR", "amount": 900}, {"account": "MERCHANT_PAYABLE.S1.EUR", "amount": -900}]');
	SELECT payledger.request_payout('S1', 'EUR', 100);
	SELECT payledger.import_settlement('sandbox', 'R-1', '[{"line_type": "fee", "gross": 0, "fee": 3, "net": -3, "currency": "EUR", "occurred_at": "2025-01-02 03:04:05"}]');
	SELECT payledger.reconcile_settlement('R-1');
	SELECT payledger.fold_postings();
	SELECT count(*) > 0 FROM payledger.export_journal('beancount');
	SELECT count(*) > 0 FROM payledger.export_journal('hledger');
	SELECT payledger.asyncapi() IS NULL;
	SELECT count(*) > 0 FROM payledger.outbox_metrics();
	SQL

# Does the work in a database; what verify() does not find in order.
sub failed_after_work
{
	my ($database) = @_;
	my ($code, $out, $err) = $node->psql($database, "$work SELECT 'verify', check_name, detail FROM payledger.verify(true) WHERE NOT ok");

	return $code ? $err : join "\n", grep { /^verify/ } split /\n/, $out;
}

subtest 'settings at database level' => sub {
	my %groups = (
		backslashes => q{standard_conforming_strings = off; escape_string_warning = off; backslash_quote = off},
		forms => q{"DateStyle" = 'SQL, DMY'; "IntervalStyle" = 'sql_standard'; bytea_output = 'escape'; "TimeZone" = 'Asia/Kathmandu'; extra_float_digits = -15; xmloption = 'document'},
		words => q{quote_all_identifiers = on; array_nulls = off; check_function_bodies = on; row_security = off; transform_null_equals = on; lc_messages = 'C'},
		places => q{default_tablespace = 'elsewhere'; temp_tablespaces = 'elsewhere'; default_table_access_method = 'heap'; search_path = ''; default_toast_compression = 'pglz'},
		transactions => q{default_transaction_isolation = 'serializable'; default_transaction_deferrable = on; session_replication_role = 'replica'; synchronous_commit = off},
		plans => q{plan_cache_mode = 'force_custom_plan'; enable_indexscan = off; enable_bitmapscan = off; jit_above_cost = 0; work_mem = '64kB'; from_collapse_limit = 1});

	my $elsewhere = PostgreSQL::Test::Utils::tempdir('elsewhere');
	$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$elsewhere'");
	for my $group (sort keys %groups)
	{
		$node->safe_psql('postgres', join ';', "CREATE DATABASE $group", map { "ALTER DATABASE $group SET $_" } split /; */, $groups{$group});
		is(($node->psql($group, 'CREATE EXTENSION payledger; SELECT payledger.setup()'))[2], '', "$group: install");
		is(failed_after_work($group), '', "$group: a whole day");
	}
};

subtest 'a role of the database' => sub {
	$node->safe_psql('postgres', 'CREATE ROLE owner NOLOGIN; CREATE DATABASE with_role');
	$node->safe_psql('with_role', 'CREATE EXTENSION payledger; SELECT payledger.setup(); GRANT USAGE ON SCHEMA payledger TO owner');
	$node->safe_psql('postgres', 'ALTER DATABASE with_role SET role = owner');
	like(($node->psql('with_role', 'SELECT payledger.setup()'))[2], qr/permission denied for function setup/, 'calls are made as that role');
	is(($node->psql('with_role', 'RESET role; SET ROLE NONE; SELECT payledger.setup()'))[2], '', 'setup() as the owner');
};

subtest 'a dump without data' => sub {
	my $dump = PostgreSQL::Test::Utils::tempdir('bare') . '/bare.sql';

	$node->command_ok([ 'pg_dump', '-s', '-f', $dump, '-d', $node->connstr($PayledgerTest::DATABASE) ], 'pg_dump -s');
	$node->safe_psql('postgres', 'CREATE DATABASE bare');
	IPC::Run::run([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('bare'), '-f', $dump ], '>', '/dev/null', '2>', \my $said);
	is($said, '', 'psql takes it');
	$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE bare") for qw(other_layout incomplete with_rows without_keys);
	my $version = sql($node, 'SELECT layout_version FROM payledger.version()');
	is($node->safe_psql('bare', 'SELECT payledger.setup()'), $version, 'setup() completes it');
	is(failed_after_work('bare'), '', 'a whole day');
	is($node->safe_psql('bare', 'SELECT payledger.setup()'), $version, 'setup() again');

	my %broken = (
		other_layout => [ q{COMMENT ON TABLE payledger.layout IS 'The tables are of layout 1.'}, qr/the tables in schema payledger are not of layout $version/ ],
		incomplete => [ 'DROP TABLE payledger.seals', qr/tables are missing in schema payledger: seals/ ],
		with_rows => [ q{INSERT INTO payledger.ledgers (ledger, description) VALUES ('MAIN', '')}, qr/table payledger\.ledgers has rows, but payledger\.layout has none/ ],
		without_keys => [ 'ALTER TABLE payledger.idempotency_keys DROP CONSTRAINT idempotency_keys_pkey CASCADE', qr/the tables in schema payledger are not whole\nDETAIL:  table payledger\.idempotency_keys has no primary key\./ ]);
	for my $database (sort keys %broken)
	{
		my ($statement, $pattern) = @{ $broken{$database} };

		$node->safe_psql($database, $statement);
		like(($node->psql($database, 'SELECT payledger.setup()', extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2],
			qr/ERROR:  PL010: $pattern/, "$database: refused");
	}
};

subtest 'trigger functions on foreign tables' => sub {
	# columns of every type where others belong, and none
	my @tables = ('(id text, payment_id text, status text, gateway int, adapter int, options text, a int, b int)', '(x int)', '()',
		'(payment_id int, total_amount text, captured_amount text, refunded_amount text, voided_amount text, status int, payment_order_id text, amount text, psp_request_id text, lease_token int)',
		'(payment_id bigint, total_amount bigint, status text, payment_order_id bigint, amount bigint, psp_request_id bigint, gateway text, adapter text, options jsonb)');
	my @triggers = (
		(map { my $when = $_; map { "AFTER $when ON %s FOR EACH ROW EXECUTE FUNCTION payledger.$_" }
			("enforce_transition('payout', 'payment_id', 'payment_id')", "enforce_transition('payout', 'ctid', 'nothing')",
				"check_totals('payment')", "check_totals('payment_order')", "check_totals('psp_request')", 'announce_restriction()', 'refuse_change()') }
			('INSERT', 'UPDATE', 'DELETE')),
		'BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION payledger.check_gateway()',
		'BEFORE INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION payledger.check_journal_entries()',
		map { "AFTER INSERT ON %s REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION payledger.$_()" }
			qw(check_postings register_settlement_lines));
	my $started = sql($node, 'SELECT pg_postmaster_start_time()');
	my $script = '';
	my $tried = 0;

	for my $table (@tables)
	{
		for my $trigger (@triggers)
		{
			$tried++;
			$script .= sprintf(<<~'SQL', $table, sprintf($trigger, 'foreign_table'));
				BEGIN;
				CREATE TABLE foreign_table %s;
				INSERT INTO foreign_table DEFAULT VALUES;
				INSERT INTO foreign_table SELECT (jsonb_populate_record(NULL::foreign_table, jsonb_object_agg(attname, '1'))).*
				  FROM pg_attribute WHERE attrelid = 'foreign_table'::regclass AND attnum > 0 HAVING count(*) > 0;
				CREATE TRIGGER t %s;
				SAVEPOINT s;
				INSERT INTO foreign_table SELECT * FROM foreign_table;
				ROLLBACK TO s;
				ROLLBACK;
				SQL
		}
	}
	my $said = ($node->psql($PayledgerTest::DATABASE, $script, on_error_stop => 0))[2];
	unlike($said, qr/server closed the connection|terminat/, "none of $tried crashes");
	like($said, qr/trigger "t" cannot be on table "foreign_table"/, 'and they say why not');
	is(sql($node, 'SELECT pg_postmaster_start_time()'), $started, 'the server is the same');
};

subtest 'rows of settlement_columns' => sub {
	my $import = sub {
		my ($line) = @_;
		return ($node->psql($PayledgerTest::DATABASE, "BEGIN; SELECT payledger.import_settlement('sandbox', 'M-1', '[$line]', 'mine'); ROLLBACK",
				extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2];
	};

	sql($node, <<~'SQL');
		SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
		INSERT INTO payledger.settlement_formats VALUES ('mine', false, 'mine');
		INSERT INTO payledger.settlement_columns SELECT 'mine', line_column, choice, part, source, reading, is_subtracted
		  FROM payledger.settlement_columns WHERE format = 'generic';
		INSERT INTO payledger.settlement_line_types SELECT 'mine', source_type, line_type, is_part FROM payledger.settlement_line_types WHERE format = 'generic';
		SQL
	for my $wrong ([ line_no => 'decimal' ], [ line_no => 'text' ], [ gross => 'seconds' ], [ currency => 'whole' ], [ occurred_at => 'decimal' ], [ reference => 'time' ])
	{
		my ($column, $reading) = @$wrong;

		sql_fails($node, "UPDATE payledger.settlement_columns SET reading = '$reading' WHERE format = 'mine' AND line_column = '$column'",
			'23514', 'settlement_columns_reading', "$column as $reading");
	}
	sql($node, q{ALTER TABLE payledger.settlement_columns DROP CONSTRAINT settlement_columns_reading;
		UPDATE payledger.settlement_columns SET reading = 'decimal' WHERE format = 'mine' AND line_column = 'line_no'});
	like($import->('{"line_no": 1, "line_type": "fee", "currency": "EUR", "gross": 0, "fee": 1, "net": -1}'),
		qr/ERROR:  22023: settlement format "mine" reads line_no as decimal/, 'without the constraint it is refused when it is used');
	sql($node, q{UPDATE payledger.settlement_columns SET reading = 'whole' WHERE format = 'mine' AND line_column = 'line_no'});
	for my $amount ('"12,00"', '"12.00"', '12.00', '"1e2"', '"1 2"', '"0x10"', '"NaN"')
	{
		like($import->(qq({"line_type": "fee", "currency": "EUR", "gross": 0, "fee": $amount})), qr/ERROR:  22023: lines\[0\]\.fee must be a/, "a fee of $amount is refused");
	}
	sql($node, q{UPDATE payledger.settlement_columns SET source = 'ocurred_at' WHERE format = 'mine' AND line_column = 'occurred_at'});
	like($import->('{"line_type": "fee", "currency": "EUR", "gross": 0, "fee": 1, "reference": "", "occurred_at": "2025-01-02 03:04:05"}'),
		qr/WARNING:  01000: no line of the report has ocurred_at\n.*(?!WARNING)/, 'a misspelt source does not go unnoticed');
	unlike($import->('{"line_type": "fee", "currency": "EUR", "gross": 0, "fee": 1, "reference": "", "ocurred_at": ""}'), qr/WARNING/, 'an empty member is one');
};

sql_fails($node, "SELECT payledger.event_shard('x', $_)", '22023', 'shards must be 1 or more', "event_shard() of $_ shards") for (0, -1);
is(sql($node, q{SELECT string_agg(payledger.event_shard(k, 4)::text, '') = string_agg(((hashtextextended(k, 0) & 2147483647) % 4)::text, '')
	FROM (SELECT n::text AS k FROM generate_series(1, 100) n) keys}), 't', 'event_shard() is by the hash of PostgreSQL');

# ---- a foreign table, and one of ours that is incomplete ----

sql($node, 'CREATE TABLE payledger.payments_backup AS TABLE payledger.payments');
$node->append_conf('postgresql.conf', "payledger.databases = 'payledger, bare'");
$node->safe_psql('bare', 'ALTER TABLE payledger.seals DROP CONSTRAINT seals_pkey');
$node->restart;
wait_for_workers_of($PayledgerTest::DATABASE);
pass('a foreign table without primary key stops no worker');
wait_sql($node, <<~'SQL', 'the workers fail that wait for a primary key', 'bare');
	SELECT count(*) = 2 AND bool_and(failing) AND bool_and(last_error LIKE 'table payledger.seals has no primary key%')
	  FROM payledger.stat_worker WHERE role IN ('gateway', 'keeper')
	SQL
like(slurp_file($node->logfile), qr/WARNING:  .*table payledger\.seals has no primary key/, 'and say so in the log');
$node->safe_psql('bare', 'ALTER TABLE payledger.seals ADD PRIMARY KEY (seal_no)');
wait_for_workers_of('bare');
wait_sql($node, "SELECT NOT bool_or(failing) FROM payledger.stat_worker", 'they run once it is there', 'bare');

sub wait_for_workers_of
{
	my ($database) = @_;

	wait_sql($node, q{SELECT bool_and(pid IS NOT NULL AND state !~ '^(starting|not running|waiting for)') FROM payledger.stat_worker},
		"the workers of $database run", $database);
	return;
}

# ---- the preload line is missing ----

subtest 'without the preload line' => sub {
	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
	$node->adjust_conf('postgresql.conf', 'payledger.databases', "''");
	$node->restart;
	$node->safe_psql('postgres', 'CREATE DATABASE fresh');
	my $refused = qr/ERROR:  55000: payledger is not loaded in shared memory\nHINT:  Put shared_preload_libraries = 'payledger' into postgresql\.conf/;
	like(($node->psql('fresh', 'CREATE EXTENSION payledger', extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2], $refused, 'CREATE EXTENSION');

	# each function with a value for each of its arguments
	sql($node, <<~'SQL');
		CREATE FUNCTION what_becomes_of(call text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			hint text;
		BEGIN
			EXECUTE call;
			RETURN 'no error';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
			RETURN format(E'ERROR:  %s: %s\nHINT:  %s', SQLSTATE, SQLERRM, hint);
		END $$;
		SQL
	my %wrong;
	my @calls = rows($node, <<~'SQL');
		SELECT language, call, what_becomes_of(call) AS result FROM (
			SELECT l.lanname AS language,
				   format('%s payledger.%I(%s)', CASE WHEN p.prokind = 'p' THEN 'CALL' ELSE 'SELECT' END, p.proname,
						  (SELECT string_agg(format('%s::%s', CASE WHEN v.value IS NULL THEN 'NULL' ELSE quote_literal(v.value) END, format_type(t, NULL)), ', ' ORDER BY n)
							 FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a(t, n)
							 LEFT JOIN (VALUES ('bigint', '1'), ('integer', '1'), ('smallint', '1'), ('numeric', '1'), ('oid', '1'), ('text', 'EUR'),
								('boolean', 'true'), ('jsonb', '[{"seller_id": "S1", "amount": 100}]'), ('json', '{}'), ('timestamp with time zone', '2025-01-02'),
								('date', '2025-01-02'), ('interval', '1 s'), ('bytea', ''), ('uuid', '00000000-0000-8000-8000-000000000000'),
								('text[]', '{}'), ('bigint[]', '{}'), ('json[]', '{}')) AS v(type, value) ON v.type = format_type(a.t, NULL))) AS call
			  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
			 WHERE p.pronamespace = 'payledger'::regnamespace AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
			OFFSET 0) c
		SQL
	cmp_ok(scalar @calls, '>', 100, 'there are functions');
	for my $call (@calls)
	{
		# what is not written in C may be pure, or read tables only, and miss what the arguments name
		next if $call->{result} =~ $refused;
		next if $call->{language} ne 'c' && $call->{result} =~ /^(?:no error|ERROR:  (?:PL007|PL010|22023):)/;
		$wrong{ $call->{call} } = $call->{result};
	}
	is_deeply(\%wrong, {}, 'every function says so');
	for my $function ('setup()', 'verify()', 'asyncapi()', 'outbox_metrics()')
	{
		like(($node->psql($PayledgerTest::DATABASE, "SELECT payledger.$function", extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2], $refused, $function);
	}
	like(($node->psql($PayledgerTest::DATABASE, "UPDATE payledger.gateways SET is_default = true", extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2],
		$refused, 'and every trigger');
	is($node->safe_psql('postgres', 'SELECT 1'), '1', 'nothing has crashed');
	unlike(slurp_file($node->logfile), qr/terminated by signal/, 'nor has the log anything of it');
};

$node->stop;
done_testing();
