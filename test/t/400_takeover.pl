# No privilege short of superuser leads to superuser or to the operating system,
# and no role without privileges stops a worker.
#
# Whatever a role can get to run with the rights of payledger is a trojan here:
# it notes as whom it ran, and tries to become a superuser, to become somebody
# else and to run a program.  It must have run, and must not have got there.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('takeover');
my $superusers = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper";
my $one_superuser = sql($node, $superusers);
my $pwned = $node->data_dir . '/pwned';

sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', 'sandbox', '{"latency_ms": 1}', is_default => true);
	CREATE ROLE app LOGIN;
	CREATE ROLE nobody LOGIN;
	GRANT USAGE ON SCHEMA payledger TO nobody;
	CREATE ROLE dbo LOGIN;
	SQL

# What app tries wherever it gets to run something.
sub make_trojan
{
	my ($database) = @_;

	$node->safe_psql($database, <<~'SQL');
		CREATE SCHEMA app AUTHORIZATION app;
		SET ROLE app;
		GRANT USAGE ON SCHEMA app TO PUBLIC;
		CREATE TABLE app.ran (at timestamptz DEFAULT clock_timestamp(), who text, what text);
		GRANT INSERT ON app.ran TO PUBLIC;
		CREATE FUNCTION app.attack(what text) RETURNS int LANGUAGE plpgsql AS $$
		DECLARE
			attempt text;
		BEGIN
			FOREACH attempt IN ARRAY ARRAY['ALTER ROLE app SUPERUSER', 'CREATE ROLE app_super SUPERUSER', 'SET ROLE postgres',
				'SET SESSION AUTHORIZATION postgres', 'SET SESSION AUTHORIZATION DEFAULT; ALTER ROLE app SUPERUSER', 'RESET ROLE; ALTER ROLE app SUPERUSER',
				'COPY (SELECT 1) TO PROGRAM ''touch pwned''', 'COPY (SELECT 1) TO ''pwned''', 'SET session_replication_role = replica',
				'SELECT lo_export(lo_from_bytea(0, ''x''), ''pwned'')', 'GRANT pg_execute_server_program TO app', 'LOAD ''plperl''',
				'SET search_path = app, pg_catalog'] LOOP
				BEGIN
					EXECUTE attempt;
				EXCEPTION WHEN OTHERS THEN
					NULL;
				END;
			END LOOP;
			INSERT INTO app.ran (who, what) VALUES (current_user, attack.what);
			RETURN 1;
		END $$;
		CREATE FUNCTION app.trojan() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM app.attack(TG_NAME);
			RETURN COALESCE(NEW, OLD);
		END $$;
		SQL
	return;
}

sub nobody_got_there
{
	my ($name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($node, $superusers), $one_superuser, "$name: nobody became a superuser");
	ok(!-e $pwned, "$name: no program was run, no file written");
	return;
}

# The failed checks of verify() in a database are these, and their details say so.
sub verify_says
{
	my ($name, %expected) = @_;
	my $got = sql($node, <<~'SQL');
		SELECT string_agg(check_name || ': ' || detail, E'\n') FROM payledger.verify() WHERE NOT ok
		SQL

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($got, qr/^\Q$_\E: .*$expected{$_}/m, "$name: verify() reports it in $_") for sort keys %expected;
	return;
}

sub setup_warns
{
	my ($pattern, $name) = @_;
	my ($code, $out, $err) = $node->psql('payledger', 'SELECT payledger.setup()');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($code, 0, "$name: setup() goes on");
	like($err, qr/WARNING:  .*$pattern/, "$name: setup() warns");
	return;
}

sub all_is_well
{
	my ($name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($node, 'SELECT check_name, detail FROM payledger.verify() WHERE NOT ok'), '', "$name: verify() is content again");
	return;
}

sub wait_ran
{
	my ($what) = @_;

	wait_sql($node, "SELECT count(*) > 0 FROM app.ran WHERE what = '$what'", "$what has run");
	return;
}

make_trojan('payledger');
all_is_well('at first');
my $paid = create_authorized($node, 'pm_ok', [500]);

subtest 'everything belongs to a role without power' => sub {
	is(sql($node, <<~'SQL'), '0', 'every object');
		SELECT count(*) FROM payledger.schema_objects() WHERE owner <> 'payledger_owner'::regrole
		SQL
	is(sql($node, <<~'SQL'), 'f|f|f|f|f|f', 'the role can do nothing else');
		SELECT rolsuper, rolcanlogin, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = 'payledger_owner'
		SQL
};

subtest 'TRIGGER, by GRANT ALL' => sub {
	sql($node, <<~'SQL');
		GRANT USAGE ON SCHEMA payledger TO app;
		GRANT ALL ON ALL TABLES IN SCHEMA payledger TO app;
		SET ROLE app;
		CREATE TRIGGER zz_requests AFTER INSERT OR UPDATE ON payledger.psp_requests FOR EACH ROW EXECUTE FUNCTION app.trojan();
		CREATE TRIGGER zz_entries AFTER INSERT ON payledger.journal_entries FOR EACH STATEMENT EXECUTE FUNCTION app.trojan();
		CREATE TRIGGER zz_folds AFTER INSERT OR UPDATE OR DELETE ON payledger.folds FOR EACH STATEMENT EXECUTE FUNCTION app.trojan();
		SQL
	create_authorized($node, 'pm_ok', [600]);
	wait_ran($_) for 'zz_requests', 'zz_entries', 'zz_folds';
	is(sql($node, "SELECT string_agg(DISTINCT who, ' ') FROM app.ran"), 'payledger_owner', 'it ran as payledger_owner only');
	nobody_got_there('in commands and workers');
	verify_says('TRIGGER', nothing_foreign_is_attached => qr/trigger zz_requests of table psp_requests/,
		grants_attach_nothing => qr/role app has TRIGGER on/);
	setup_warns(qr/trigger zz_\w+ of table \w+ is none of payledger's/, 'TRIGGER');
	create_authorized($node, 'pm_ok', [610]);
	nobody_got_there('after what it left behind in the session');
	sql($node, <<~'SQL');
		DROP TRIGGER zz_requests ON payledger.psp_requests;
		DROP TRIGGER zz_entries ON payledger.journal_entries;
		DROP TRIGGER zz_folds ON payledger.folds;
		SQL
};

subtest 'what is put off to the end of the transaction' => sub {
	sql($node, <<~'SQL');
		DELETE FROM app.ran;
		SET ROLE app;
		CREATE CONSTRAINT TRIGGER zz_deferred AFTER UPDATE ON payledger.psp_requests DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION app.trojan();
		SQL
	my $id = pay($node, 'pm_ok', [700]);
	wait_sql($node, "SELECT failing AND last_error LIKE '%deferred trigger%' FROM payledger.stat_worker WHERE role = 'gateway'",
		'the gateway refuses it and says so');
	nobody_got_there('at the end of a transaction');
	verify_says('deferred', nothing_foreign_is_attached => qr/zz_deferred/);
	sql($node, 'DROP TRIGGER zz_deferred ON payledger.psp_requests; SELECT pg_reload_conf()');
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'it goes on without it');
};

subtest 'REFERENCES on a table the keeper deletes from' => sub {
	create_intent($node, [100], idempotency_key => 'old');
	sql($node, <<~'SQL');
		SET ROLE app;
		CREATE TABLE app.t (caller text, k text, FOREIGN KEY (caller, k) REFERENCES payledger.idempotency_keys ON DELETE CASCADE);
		CREATE TRIGGER zz_cascade BEFORE DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.trojan();
		RESET ROLE;
		INSERT INTO app.t SELECT caller, idempotency_key FROM payledger.idempotency_keys WHERE idempotency_key = 'old';
		UPDATE payledger.idempotency_keys SET created_at = now() - interval '40 days' WHERE idempotency_key = 'old';
		SELECT pg_terminate_backend(pid) FROM payledger.stat_worker WHERE role = 'keeper';
		SQL
	wait_ran('zz_cascade');
	is(sql($node, "SELECT string_agg(DISTINCT who, ' ') FROM app.ran WHERE what = 'zz_cascade'"), 'app', 'it ran as its owner');
	nobody_got_there('in a cascade');
	verify_says('REFERENCES', nothing_foreign_is_attached => qr/on table app\.t references table idempotency_keys/,
		grants_attach_nothing => qr/5 offences|\d+ offences|REFERENCES/);

	# the trigger's table queues a trigger for the end of the transaction
	create_intent($node, [100], idempotency_key => 'older');
	sql($node, <<~'SQL');
		SET ROLE app;
		CREATE TABLE app.u (x int);
		CREATE CONSTRAINT TRIGGER zz_stage_2 AFTER INSERT ON app.u DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.trojan();
		CREATE FUNCTION app.stage_1() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO app.u VALUES (1); RETURN OLD; END$$;
		CREATE TRIGGER zz_stage_1 BEFORE DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.stage_1();
		RESET ROLE;
		INSERT INTO app.t SELECT caller, idempotency_key FROM payledger.idempotency_keys WHERE idempotency_key = 'older';
		UPDATE payledger.idempotency_keys SET created_at = now() - interval '40 days' WHERE idempotency_key = 'older';
		SELECT pg_terminate_backend(pid) FROM payledger.stat_worker WHERE role = 'keeper';
		SQL
	wait_sql($node, "SELECT failing AND last_error LIKE '%deferred trigger%' FROM payledger.stat_worker WHERE role = 'keeper'",
		'the keeper refuses it and says so');
	nobody_got_there('at the end of a cascade');
	sql($node, <<~'SQL');
		DROP TABLE app.t, app.u;
		REVOKE ALL ON ALL TABLES IN SCHEMA payledger FROM app;
		SELECT pg_reload_conf();
		SQL
	wait_sql($node, "SELECT NOT failing FROM payledger.stat_worker WHERE role = 'keeper'", 'the keeper goes on');
	all_is_well('without them');
};

# What a former owner of a table, or a careless superuser, could have left.
my @hooks = (
	[ 'a rule', 'CREATE RULE zz AS ON INSERT TO payledger.webhooks DO ALSO SELECT app.attack(\'rule\')', 'DROP RULE zz ON payledger.webhooks',
		nothing_foreign_is_attached => qr/rule zz of webhooks/ ],
	[ 'a policy', 'CREATE POLICY zz ON payledger.sellers USING (app.attack(\'policy\') = 1)', 'DROP POLICY zz ON payledger.sellers',
		nothing_foreign_is_attached => qr/policy zz of table sellers/ ],
	[ 'row security', 'ALTER TABLE payledger.sellers ENABLE ROW LEVEL SECURITY', 'ALTER TABLE payledger.sellers DISABLE ROW LEVEL SECURITY',
		nothing_foreign_is_attached => qr/row security of table sellers/ ],
	[ 'an index', 'CREATE INDEX zz ON payledger.sellers (app.pure(seller_id))', 'DROP INDEX payledger.zz',
		nothing_foreign_is_attached => qr/index payledger\.zz uses function app\.pure/ ],
	[ 'a statistics object', 'CREATE STATISTICS app.zz ON app.pure(seller_id), currency FROM payledger.sellers', 'DROP STATISTICS app.zz',
		nothing_foreign_is_attached => qr/statistics object app\.zz uses function app\.pure/ ],
	[ 'a check', 'ALTER TABLE payledger.sellers ADD CONSTRAINT zz CHECK (app.pure(seller_id) IS NOT NULL)',
		'ALTER TABLE payledger.sellers DROP CONSTRAINT zz', nothing_foreign_is_attached => qr/constraint zz .*uses function app\.pure/ ],
	[ 'a default', 'ALTER TABLE payledger.webhooks ALTER problem SET DEFAULT app.pure(\'x\')', 'ALTER TABLE payledger.webhooks ALTER problem DROP DEFAULT',
		nothing_foreign_is_attached => qr/default value .*uses function app\.pure/ ],
	[ 'a generated column', 'ALTER TABLE payledger.sellers ADD zz text GENERATED ALWAYS AS (app.pure(seller_id)) STORED',
		'ALTER TABLE payledger.sellers DROP zz', nothing_foreign_is_attached => qr/zz of table payledger\.sellers uses function app\.pure/ ],
	[ 'a column of a foreign domain', 'ALTER TABLE payledger.sellers ADD zz app.checked', 'ALTER TABLE payledger.sellers DROP zz',
		nothing_foreign_is_attached => qr/uses type app\.checked/ ],
	[ 'a child', 'CREATE TABLE app.child () INHERITS (payledger.sellers)', 'DROP TABLE app.child',
		nothing_foreign_is_attached => qr/table app\.child inherits from table sellers/ ],
	[ 'another view', 'CREATE OR REPLACE VIEW payledger.trial_balance AS SELECT account_code, account_type, category, currency, debit, credit,'
		  . ' debit_formatted, app.pure(credit_formatted) AS credit_formatted, ledger FROM payledger.trial_balance_at()',
		'SELECT payledger.setup()', nothing_foreign_is_attached => qr/trial_balance uses function app\.pure/ ],
	[ 'a known trigger with a foreign function',
		'CREATE OR REPLACE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.postings FOR EACH STATEMENT EXECUTE FUNCTION app.trojan()',
		'SELECT payledger.setup()', nothing_foreign_is_attached => qr/refuse_change on table payledger\.postings uses function app\.trojan/ ],
	[ 'a column privilege', 'GRANT REFERENCES (seller_id) ON payledger.sellers TO app', 'REVOKE REFERENCES (seller_id) ON payledger.sellers FROM app',
		grants_attach_nothing => qr/role app has REFERENCES on column seller_id of sellers/ ],
	[ 'a default privilege', 'ALTER DEFAULT PRIVILEGES FOR ROLE payledger_owner GRANT TRIGGER ON TABLES TO app',
		'ALTER DEFAULT PRIVILEGES FOR ROLE payledger_owner REVOKE TRIGGER ON TABLES FROM app', grants_attach_nothing => qr/role app has TRIGGER on what/ ],
	[ 'a privilege of everybody', 'GRANT TRIGGER ON payledger.sellers TO PUBLIC', 'REVOKE TRIGGER ON payledger.sellers FROM PUBLIC',
		grants_attach_nothing => qr/role PUBLIC has TRIGGER on sellers/ ],
	[ 'an operator in the schema', 'CREATE OPERATOR payledger.=== (FUNCTION = app.same, LEFTARG = text, RIGHTARG = text)',
		'DROP OPERATOR payledger.=== (text, text)', functions_are_the_extensions => qr/operator payledger\.===/, objects_belong_to_owner => qr/===/ ],
	[ 'a function in the schema', 'CREATE FUNCTION payledger.balance(text) RETURNS bigint LANGUAGE sql AS \'SELECT app.attack($1)::bigint\'',
		'DROP FUNCTION payledger.balance(text)', functions_are_the_extensions => qr/function payledger\.balance\(text\)/ ],
	[ 'a table of another owner', 'ALTER TABLE payledger.webhooks OWNER TO app', 'ALTER TABLE payledger.webhooks OWNER TO payledger_owner',
		objects_belong_to_owner => qr/table payledger\.webhooks belongs to role app/, schema_is_closed => qr/table payledger\.webhooks belongs to role app/ ],
	[ 'a member', 'GRANT payledger_owner TO app', 'REVOKE payledger_owner FROM app',
		owner_is_powerless => qr/role app is a member of payledger_owner/ ],
	[ 'the owner as a member', 'GRANT pg_execute_server_program TO payledger_owner', 'REVOKE pg_execute_server_program FROM payledger_owner',
		owner_is_powerless => qr/payledger_owner is a member of pg_execute_server_program/ ],
	[ 'an owner that logs in', 'ALTER ROLE payledger_owner LOGIN CREATEROLE', 'ALTER ROLE payledger_owner NOLOGIN NOCREATEROLE',
		owner_is_powerless => qr/payledger_owner is LOGIN, CREATEROLE/ ],
	[ 'a foreign owner of the schema', 'ALTER SCHEMA payledger OWNER TO dbo', 'ALTER SCHEMA payledger OWNER TO postgres',
		schema_is_closed => qr/schema payledger belongs to role dbo/ ],
	[ 'CREATE on the schema', 'GRANT CREATE ON SCHEMA payledger TO app', 'REVOKE CREATE ON SCHEMA payledger FROM app',
		schema_is_closed => qr/role app may create objects in schema payledger/ ]);

subtest 'what else can hang on tables is reported' => sub {
	sql($node, <<~'SQL');
		CREATE FUNCTION app.pure(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
		CREATE FUNCTION app.same(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
		CREATE DOMAIN app.checked AS text CHECK (app.pure(VALUE) IS DISTINCT FROM '');
		SQL
	for my $hook (@hooks)
	{
		my ($name, $attach, $detach, %expected) = @$hook;

		sql($node, $attach);
		verify_says($name, %expected);
		sql_fails($node, 'SELECT payledger.setup()', '42501', qr/belongs to role|may create|is a member|is LOGIN/, $name)
		  if $expected{schema_is_closed} || $expected{owner_is_powerless};
		sql($node, $detach);
	}
	all_is_well('without all that');
	is(sql($node, "SELECT count(*) FROM app.ran WHERE what IN ('rule', 'policy')"), '0', 'and verify() ran none of it');
};

subtest 'CREATE on the schema after setup()' => sub {
	sql($node, <<~'SQL');
		GRANT CREATE ON SCHEMA payledger TO app;
		SET ROLE app;
		CREATE FUNCTION payledger.zz_checks() RETURNS TABLE (check_name text, is_deep bool, description text, query text)
			LANGUAGE sql AS $$SELECT 'zz', false, 'zz', 'SELECT app.attack(''zz_checks'')::text'$$;
		CREATE FUNCTION payledger.format_total(bigint, text) RETURNS text LANGUAGE sql AS $$SELECT app.attack('format_total')::text$$;
		SQL
	verify_says('zz_checks()', schema_is_closed => qr/zz_checks\(\) belongs to role app/,
		functions_are_the_extensions => qr/zz_checks/);
	is(sql($node, "SELECT count(*) FROM app.ran WHERE what = 'zz_checks'"), '0', 'verify() did not find it by its name');
	sql_fails($node, 'SELECT payledger.setup()', '42501', qr/role app/, 'setup()');
	nobody_got_there('by functions in the schema');
	sql($node, <<~'SQL');
		DROP FUNCTION payledger.zz_checks(), payledger.format_total(bigint, text);
		REVOKE CREATE ON SCHEMA payledger FROM app;
		SQL
	all_is_well('without them');
};

subtest 'a schema that was there before' => sub {
	my @prepared = (
		[ 'owned by another role', 'CREATE SCHEMA payledger AUTHORIZATION app', qr/schema payledger belongs to role app/ ],
		[ 'with CREATE for another role', 'CREATE SCHEMA payledger; GRANT CREATE ON SCHEMA payledger TO app', qr/role app may create/ ],
		[ 'with CREATE by way of another role', 'CREATE SCHEMA payledger; GRANT ALL ON SCHEMA payledger TO dbo', qr/role dbo may create/ ],
		[ 'with a view "layout" in it', <<~'SQL', qr/view payledger\.layout belongs to role app/ ],
			CREATE SCHEMA payledger;
			GRANT USAGE, CREATE ON SCHEMA payledger TO app;
			SET ROLE app;
			CREATE VIEW payledger.layout AS SELECT app.attack('layout') AS version, ''::text AS extension_version;
			RESET ROLE;
			REVOKE ALL ON SCHEMA payledger FROM app;
			SQL
		[ 'with tables of the layout in it', <<~'SQL', qr/table payledger\.layout belongs to role app/ ]);
			CREATE SCHEMA payledger;
			GRANT USAGE, CREATE ON SCHEMA payledger TO app;
			SET ROLE app;
			CREATE TABLE payledger.layout (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now(), extension_version text NOT NULL);
			INSERT INTO payledger.layout VALUES (5, now(), '0.1');
			RESET ROLE;
			REVOKE ALL ON SCHEMA payledger FROM app;
			SQL

	$node->safe_psql('postgres', 'CREATE DATABASE prepared');
	make_trojan('prepared');
	for my $case (@prepared)
	{
		my ($name, $sql, $pattern) = @$case;

		$node->safe_psql('prepared', $sql);
		my ($code, $out, $err) = $node->psql('prepared', 'CREATE EXTENSION payledger', extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		isnt($code, 0, "$name: CREATE EXTENSION is refused");
		like($err, qr/42501: $pattern/, "$name: says why");
		$node->safe_psql('prepared', 'DROP SCHEMA payledger CASCADE');
	}
	nobody_got_there('by a prepared schema');
	is($node->safe_psql('prepared', 'SELECT count(*) FROM app.ran'), '0', 'nothing in it was run');

	# the role itself, prepared
	for my $case ([ 'GRANT payledger_owner TO app', 'REVOKE payledger_owner FROM app', qr/role app is a member of payledger_owner/ ],
		[ 'ALTER ROLE payledger_owner LOGIN', 'ALTER ROLE payledger_owner NOLOGIN', qr/role payledger_owner is LOGIN/ ])
	{
		my ($before, $after, $pattern) = @$case;

		$node->safe_psql('postgres', $before);
		my ($code, $out, $err) = $node->psql('prepared', 'CREATE EXTENSION payledger');
		like($err, $pattern, "$before: CREATE EXTENSION is refused");
		$node->safe_psql('postgres', $after);
	}
};

subtest 'tables that belong to others' => sub {
	my $requests = 'SELECT count(*) FROM app.ran';
	my $before = sql($node, $requests);

	# its functions need to find the tables
	sql($node, 'GRANT USAGE ON SCHEMA payledger TO dbo; REASSIGN OWNED BY payledger_owner TO dbo');
	wait_sql($node, "SELECT bool_and(failing) FROM payledger.stat_worker WHERE role <> 'relay'", 'the workers stop and say so');
	verify_says('REASSIGN OWNED', objects_belong_to_owner => qr/offences/, schema_is_closed => qr/belongs to role dbo/);
	sql_fails($node, 'SELECT payledger.setup()', '42501', qr/belongs to role dbo/, 'setup()');
	sql($node, 'REASSIGN OWNED BY dbo TO payledger_owner; SELECT pg_reload_conf()');
	create_authorized($node, 'pm_ok', [705]);
	wait_sql($node, 'SELECT NOT bool_or(failing) FROM payledger.stat_worker', 'they go on');

	sql($node, 'ALTER ROLE payledger_owner SUPERUSER; SELECT pg_reload_conf()');
	wait_sql($node, "SELECT bool_and(failing AND last_error = 'role \"payledger_owner\" is a superuser') FROM payledger.stat_worker WHERE role <> 'relay'",
		'no worker acts as a superuser');
	verify_says('a superuser', owner_is_powerless => qr/payledger_owner is SUPERUSER/);
	sql($node, 'ALTER ROLE payledger_owner NOSUPERUSER; SELECT pg_reload_conf()');
	create_authorized($node, 'pm_ok', [710]);
	wait_sql($node, 'SELECT NOT bool_or(failing) FROM payledger.stat_worker', 'they go on');
	all_is_well('again');
};

subtest 'a dump restored without owners' => sub {
	my $dump = PostgreSQL::Test::Utils::tempdir('dump') . '/dump.sql';

	$node->command_ok([ 'pg_dump', '-O', '-x', '-n', 'payledger', '-e', 'payledger', '-f', $dump, '-d', $node->connstr('payledger') ], 'pg_dump -O');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restored');
	my ($code, $out, $err) = $node->psql('restored', 'SELECT payledger.setup()');
	like($err, qr/table payledger\.\w+ belongs to role postgres.*adopt_tables/s, 'setup() says what helps');
	cmp_ok($node->safe_psql('restored', 'SELECT payledger.adopt_tables()'), '>', 50, 'a superuser has the tables taken over');
	is($node->safe_psql('restored', 'SELECT payledger.setup() > 0'), 't', 'then it goes on');
	is($node->safe_psql('restored', 'SELECT check_name, detail FROM payledger.verify() WHERE NOT ok'), '', 'and all is well');
	($code, $out, $err) = $node->psql('restored', 'GRANT USAGE ON SCHEMA payledger TO app; GRANT EXECUTE ON FUNCTION payledger.adopt_tables() TO app; SET ROLE app; SELECT payledger.adopt_tables()');
	like($err, qr/permission denied to give objects to payledger_owner/, 'nobody else may call it');
};

subtest 'locks that anybody can take' => sub {
	my $session = $node->background_psql('payledger', on_error_stop => 0, extra_params => [ '-U', 'nobody' ]);

	$session->query_safe(<<~'SQL');
		SELECT pg_advisory_lock(hashtextextended('payledger.setup', 0)), pg_advisory_lock(hashtextextended('payledger.relay', 0));
		SQL
	is(sql($node, "SET lock_timeout = '10s'; SELECT payledger.setup() > 0"), 't', 'setup() does not wait for them');
	sql($node, "SELECT pg_terminate_backend(pid) FROM payledger.stat_worker WHERE role = 'relay'");
	wait_sql($node, "SELECT pid IS NOT NULL AND state LIKE 'no brokers%' FROM payledger.stat_worker WHERE role = 'relay'", 'nor does the relay');

	# no privilege on the extension is needed for this
	$session->query_safe(<<~'SQL');
		CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
		BEGIN;
		ALTER FUNCTION pg_temp.mine() DEPENDS ON EXTENSION payledger;
		SQL
	create_authorized($node, 'pm_ok', [720]);
	pass('nor do the workers for a lock on the extension');
	$session->query_safe('COMMIT');

	# nor is one on the table to prepare this, which locks it ROW EXCLUSIVE
	$node->safe_psql('postgres', 'CREATE DATABASE original');
	$node->safe_psql('original', 'CREATE EXTENSION payledger; SELECT payledger.setup(); GRANT USAGE ON SCHEMA payledger TO nobody');
	$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE original');
	my $of_copy = $node->background_psql('copied', on_error_stop => 0, extra_params => [ '-U', 'nobody' ]);
	$_->query_safe('BEGIN; PREPARE a AS DELETE FROM payledger.folds; PREPARE b AS DELETE FROM payledger.incarnations') for $session, $of_copy;
	my $held = q{SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' AND granted AND relation::regclass::text IN ('payledger.folds', 'payledger.incarnations')};
	is(sql($node, $held), '2', 'a role without privileges on tables has locks on them');
	my $folds = sql($node, 'SELECT max(fold_no) FROM payledger.folds');
	create_authorized($node, 'pm_ok', [730]);
	wait_sql($node, "SELECT max(fold_no) > $folds FROM payledger.folds", 'the keeper folds');
	is($node->safe_psql('copied', "SET lock_timeout = '10s'; SELECT payledger.begin_incarnation()"), '2', 'a copy begins its incarnation');
	$_->quit for $session, $of_copy;
};

subtest 'settings of a database and of a role' => sub {
	my %settings = (
		role => 'nobody', session_authorization => 'nobody', exit_on_error => 'on', search_path => 'app, pg_catalog',
		standard_conforming_strings => 'off', synchronous_commit => 'off', row_security => 'off', default_tablespace => 'closed',
		temp_tablespaces => 'closed', default_table_access_method => 'hostile', default_transaction_read_only => 'on',
		default_transaction_isolation => 'serializable', default_transaction_deferrable => 'on', session_replication_role => 'replica',
		statement_timeout => '2s', lock_timeout => '1ms', idle_in_transaction_session_timeout => '1ms', array_nulls => 'off', transform_null_equals => 'on',
		quote_all_identifiers => 'on', xmloption => 'document', bytea_output => 'escape', DateStyle => 'SQL, DMY',
		IntervalStyle => 'sql_standard', TimeZone => 'Asia/Kathmandu', extra_float_digits => '-15', check_function_bodies => 'off',
		client_min_messages => 'error', force_parallel_mode => 'regress', work_mem => '64kB', lc_messages => 'C');
	delete $settings{force_parallel_mode} if sql($node, "SELECT count(*) FROM pg_settings WHERE name = 'force_parallel_mode'") eq '0';

	my $location = PostgreSQL::Test::Utils::tempdir('closed');
	$node->safe_psql('postgres', "CREATE TABLESPACE closed LOCATION '$location'");
	sql($node, 'CREATE ACCESS METHOD hostile TYPE TABLE HANDLER heap_tableam_handler');
	my $id = create_intent($node, [800]);
	my $pids = sql($node, 'SELECT string_agg(pid::text, \',\') FROM payledger.stat_worker');
	$node->safe_psql('postgres', join ';', (map { "ALTER DATABASE payledger SET $_ = " . ($_ =~ /path|spaces/ ? $settings{$_} : "'$settings{$_}'") } sort keys %settings),
		"ALTER ROLE $one_superuser SET exit_on_error = on", "ALTER ROLE $one_superuser IN DATABASE payledger SET role = 'nobody'",
		"ALTER ROLE $one_superuser IN DATABASE payledger SET lock_timeout = '1ms'");

	# the test's own sessions are to be ordinary ones
	local $ENV{PGOPTIONS} = '-c statement_timeout=0 -c lock_timeout=0 -c exit_on_error=off -c default_transaction_read_only=off'
	  . ' -c default_transaction_isolation=read\ committed -c default_transaction_deferrable=off -c session_replication_role=origin'
	  . ' -c role=none -c row_security=on -c search_path=public -c client_min_messages=notice -c idle_in_transaction_session_timeout=0'
	  . " -c session_authorization=$one_superuser";
	is(sql($node, 'SELECT current_user'), $one_superuser, 'the test is the superuser still');
	sql($node, "SELECT pg_terminate_backend(pid) FROM unnest('{$pids}'::int[]) AS pid");
	wait_sql($node, "SELECT count(*) = 3 AND bool_and(pid <> ALL ('{$pids}'::int[])) FROM payledger.stat_worker", 'all workers are new');
	sql($node, "SELECT payledger.request_authorization($id, 'pm_ok')");
	wait_sql($node, "SELECT status = 'CAPTURED' FROM payledger.payments WHERE payment_id = $id", 'the payment is captured');
	is(sql($node, 'SELECT coalesce(string_agg(last_error, E\'\n\'), \'\') FROM payledger.stat_worker WHERE failing'), '', 'no worker fails');

	# a partition is made there, too
	sql($node, 'SELECT setval(\'payledger.outbox_seq\', (SELECT last_value FROM payledger.outbox_seq) + 1000000)');
	my $partitions = sql($node, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'payledger.outbox_events'::regclass");
	wait_sql($node, "SELECT count(*) > $partitions FROM pg_inherits WHERE inhparent = 'payledger.outbox_events'::regclass", 'the keeper makes partitions');
	is(sql($node, 'SELECT payledger.setup() > 0'), 't', 'setup() is content');
	all_is_well('under these settings');
	$node->safe_psql('postgres', "ALTER DATABASE payledger RESET ALL; ALTER ROLE $one_superuser RESET ALL; ALTER ROLE $one_superuser IN DATABASE payledger RESET ALL");
};

subtest 'operators in a schema that a superuser searches first' => sub {
	sql($node, <<~'SQL');
		CREATE SCHEMA trap AUTHORIZATION app;
		SET ROLE app;
		GRANT USAGE ON SCHEMA trap TO PUBLIC;
		DELETE FROM app.ran;
		CREATE FUNCTION trap.eq8(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM app.attack('eq8'); RETURN $1 OPERATOR(pg_catalog.=) $2; END$$;
		CREATE FUNCTION trap.ge8(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM app.attack('ge8'); RETURN $1 OPERATOR(pg_catalog.>=) $2; END$$;
		CREATE FUNCTION trap.eqt(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM app.attack('eqt'); RETURN $1 OPERATOR(pg_catalog.=) $2; END$$;
		CREATE FUNCTION trap.cat(text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM app.attack('cat'); RETURN pg_catalog.textcat($1, $2); END$$;
		CREATE FUNCTION trap.get(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM app.attack('get'); RETURN $1 OPERATOR(pg_catalog.>=) $2; END$$;
		CREATE FUNCTION trap.sum(bigint) RETURNS numeric LANGUAGE plpgsql AS $$BEGIN PERFORM app.attack('sum'); RETURN $1; END$$;
		CREATE FUNCTION trap.replace(text, text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM app.attack('replace'); RETURN $1; END$$;
		CREATE OPERATOR trap.= (FUNCTION = trap.eq8, LEFTARG = bigint, RIGHTARG = bigint);
		CREATE OPERATOR trap.>= (FUNCTION = trap.ge8, LEFTARG = bigint, RIGHTARG = bigint);
		CREATE OPERATOR trap.= (FUNCTION = trap.eqt, LEFTARG = text, RIGHTARG = text);
		CREATE OPERATOR trap.|| (FUNCTION = trap.cat, LEFTARG = text, RIGHTARG = text);
		CREATE OPERATOR trap.>= (FUNCTION = trap.get, LEFTARG = timestamptz, RIGHTARG = timestamptz);
		SQL
	sql($node, <<~"SQL");
		SET search_path = trap, pg_catalog;
		SELECT payledger.counterparts(p.journal_entry_id, p.account_id) FROM payledger.postings p;
		SELECT * FROM payledger.postings_in_effect(1, NULL, NULL, NULL);
		SELECT * FROM payledger.entries_in_effect(NULL, NULL, NULL);
		SELECT * FROM payledger.export_names('hledger', 'MAIN');
		SELECT payledger.export_quoted('x'), payledger.export_time(now()), payledger.event_shard('x', 4), payledger.first_id_at(now());
		SELECT payledger.export_journal('beancount');
		SELECT payledger.stat_progress_post_entries();
		SELECT * FROM payledger.trial_balance;
		SELECT * FROM payledger.seller_balances;
		SELECT * FROM payledger.stat_worker;
		UPDATE payledger.sellers SET status = status;
		UPDATE payledger.payment_orders SET retry_count = retry_count;
		CALL payledger.wait_until_idle('30 s');
		SELECT payment_intent_id FROM payledger.create_payment_intent('TRAP', 'B', 'EUR', '[{"seller_id":"SELLER-111","amount":100}]') \\gset
		CALL payledger.authorize(:payment_intent_id, 'pm_ok');
		SELECT * FROM payledger.verify();
		SQL
	is(sql($node, "SELECT string_agg(DISTINCT what || ' as ' || who, ', ') FROM app.ran"), '', 'no operator or function of an attacker was run');
	nobody_got_there('by the search path');
};

subtest 'other encodings' => sub {
	for my $encoding ('LATIN1', 'SQL_ASCII')
	{
		$node->safe_psql('postgres', "CREATE DATABASE e TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
		my ($code, $out, $err) = $node->psql('e', 'CREATE EXTENSION payledger', extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		isnt($code, 0, "$encoding: CREATE EXTENSION is refused");
		like($err, qr/0A000: payledger needs a database whose encoding is UTF8, not $encoding\n.*HINT:  .*ENCODING 'UTF8'/s, "$encoding: says what helps");
		$node->safe_psql('postgres', 'DROP DATABASE e');
	}
};

check_books($node, 'after all of it');
nobody_got_there('after all of it');
$node->stop;
done_testing();
