# setup() beside open payments: where nothing is to be made it locks nothing;
# where something is, it is setup() that gives way.  What was tampered with is
# made again, and only once.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('traffic');
my $lines = '[{"seller_id": "SELLER-111", "amount": 1450}]';
my $create = "SELECT payment_intent_id FROM payledger.create_payment_intent('O', 'B', 'EUR', '$lines')";

sql($node, q{SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true)});

# What a setup() locks until its transaction ends, beyond what reading and writing do.
sub strong_locks
{
	return sql($node, <<~'SQL');
		BEGIN;
		SELECT FROM payledger.setup();
		SELECT string_agg(format('%s of %s', mode, relation::regclass), ', ' ORDER BY 1)
		  FROM pg_locks JOIN pg_class c ON c.oid = relation
		 WHERE pid = pg_backend_pid() AND c.relnamespace = 'payledger'::regnamespace
		   AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock');
		COMMIT;
		SQL
}

# An open transaction that has written a payment, and the payment's id.
sub open_payment
{
	my $payment = $node->background_psql('payledger', on_error_stop => 0);

	$payment->query_safe('BEGIN');
	return ($payment, $payment->query_safe($create));
}

subtest 'nothing is to be made' => sub {
	my ($payment, $id) = open_payment();

	is(sql($node, "SET lock_timeout = '1ms'; SELECT payledger.setup() > 0"), 't', 'setup() waits for no payment');
	is(strong_locks(), '', 'and has no lock that one would wait for');
	$payment->query_safe("SELECT payledger.request_authorization($id, 'pm_ok'); COMMIT");
	ok($payment->quit, 'the payment goes on');
};

# Each is right again after one setup(), and the next has nothing to do.
subtest 'what was tampered with' => sub {
	my $partition = sql($node, "SELECT min(inhrelid)::regclass FROM pg_inherits WHERE inhparent = 'payledger.outbox_events'::regclass");
	my $trigger = q{SELECT tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = '%s'::regclass ORDER BY tgname};
	my $view = q{SELECT pg_get_viewdef(c.oid), obj_description(c.oid), reloptions FROM pg_class c WHERE oid = to_regclass('payledger.stat_worker')};

	for my $case (
		[ 'a trigger is disabled', 'ALTER TABLE payledger.payments DISABLE TRIGGER totals_agree', sprintf($trigger, 'payledger.payments') ],
		[ 'one is no longer ENABLE ALWAYS', 'ALTER TABLE payledger.payments ENABLE TRIGGER totals_agree', sprintf($trigger, 'payledger.payments') ],
		[ 'one is dropped', 'DROP TRIGGER refuse_change ON payledger.postings', sprintf($trigger, 'payledger.postings') ],
		[ 'another event', 'CREATE OR REPLACE TRIGGER refuse_change BEFORE DELETE ON payledger.postings FOR EACH STATEMENT EXECUTE FUNCTION payledger.refuse_change()',
			sprintf($trigger, 'payledger.postings') ],
		[ 'another condition', 'CREATE OR REPLACE TRIGGER refuse_identity_change AFTER UPDATE ON payledger.refunds FOR EACH ROW WHEN (OLD.amount < 0) EXECUTE FUNCTION payledger.refuse_change()',
			sprintf($trigger, 'payledger.refunds') ],
		[ 'other arguments', q{CREATE OR REPLACE TRIGGER totals_agree AFTER INSERT OR UPDATE ON payledger.payments FOR EACH ROW EXECUTE FUNCTION payledger.check_totals('psp_request')},
			sprintf($trigger, 'payledger.payments') ],
		[ 'another function', q{CREATE OR REPLACE TRIGGER totals_agree AFTER INSERT OR UPDATE ON payledger.payments FOR EACH ROW EXECUTE FUNCTION payledger.announce_restriction('payment')},
			sprintf($trigger, 'payledger.payments') ],
		[ 'a guard of a partition is dropped', "DROP TRIGGER refuse_truncate ON $partition", sprintf($trigger, $partition) ],
		[ 'a guard of a partition is disabled', "ALTER TABLE $partition DISABLE TRIGGER refuse_truncate", sprintf($trigger, $partition) ],
		[ 'what a partition has from its parent is disabled', "ALTER TABLE $partition DISABLE TRIGGER refuse_row_change",
			"SELECT tgenabled FROM pg_trigger WHERE tgname = 'refuse_row_change' AND tgrelid = '$partition'::regclass" ],
		[ 'another view', q{CREATE OR REPLACE VIEW payledger.transitions AS SELECT machine, to_status AS from_status, from_status AS to_status FROM payledger.transition_table()},
			q{SELECT pg_get_viewdef('payledger.transitions'::regclass)} ],
		[ 'a view is dropped', 'DROP VIEW payledger.stat_worker', $view ],
		[ 'an option of a view', 'ALTER VIEW payledger.stat_worker SET (security_invoker = true)', $view ],
		[ 'the comment of a view', 'COMMENT ON VIEW payledger.stat_worker IS NULL', $view ],
		[ 'a privilege of everybody', 'GRANT SELECT ON payledger.payments TO PUBLIC',
			q{SELECT has_table_privilege('pg_monitor', 'payledger.payments', 'SELECT')} ],
		[ 'a column privilege of everybody', 'GRANT SELECT (order_id) ON payledger.payments TO PUBLIC',
			q{SELECT has_column_privilege('pg_monitor', 'payledger.payments', 'order_id', 'SELECT')} ])
	{
		my ($name, $tamper, $look) = @$case;
		my $before = sql($node, $look);

		sql($node, $tamper);
		isnt(sql($node, $look), $before, "$name: it is seen");
		sql($node, 'SELECT payledger.setup()');
		is(sql($node, $look), $before, "$name: setup() mends it");
		is(strong_locks(), '', "$name: once");
	}
	is(sql($node, 'SELECT check_name, detail FROM payledger.verify() WHERE NOT ok'), '', 'all is well');
};

subtest 'something is to be made' => sub {
	my ($payment, $id) = open_payment();
	my $setup = $node->background_psql('payledger', on_error_stop => 0);

	sql($node, 'ALTER TABLE payledger.gateways DISABLE TRIGGER check_gateway');
	sql_fails($node, 'SELECT payledger.setup()', '55P03', qr/payledger\.setup\(\) gives way to transactions that use payledger\.payment_intents\n.*HINT:  Nothing has been changed/s,
		'an open payment is in the way');

	# it waits for the payment's table, and the payment for one that it has
	$setup->query_until(qr/begun/, "\\echo begun\nSELECT payledger.setup();\n");
	$payment->query_safe("SELECT payledger.request_authorization($id, 'pm_ok'); UPDATE payledger.gateways SET is_default = true; COMMIT");
	ok($payment->quit, 'the payment is done');
	$setup->quit;
	sql($node, 'SELECT payledger.setup()');
	is(sql($node, q{SELECT tgenabled FROM pg_trigger WHERE tgname = 'check_gateway' AND tgrelid = 'payledger.gateways'::regclass}), 'A', 'then setup() makes it');
	is(strong_locks(), '', 'once');
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'the payment is authorized');
};

# Every other setup() has something to make.
subtest 'a load of payments' => sub {
	my $script = PostgreSQL::Test::Utils::tempdir('load') . '/load.sql';
	my ($out, $err) = ('', '');
	my %ended;

	append_to_file($script, <<~"SQL");
		$create \\gset
		SELECT payledger.request_authorization(:payment_intent_id, 'pm_ok');
		BEGIN;
		$create \\gset
		SELECT payledger.request_authorization(:payment_intent_id, 'pm_ok');
		COMMIT;
		SQL
	my $load = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-t', '100', '-f', $script, $node->connstr('payledger') ], '>', \$out, '2>', \$err);
	for (my $n = 0; $load->pumpable; $n++)
	{
		$load->pump_nb;
		sql($node, 'ALTER TABLE payledger.gateways DISABLE TRIGGER check_gateway') if $n % 2;
		my ($code, $said, $error) = $node->psql('payledger', 'SELECT payledger.setup()', extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		$ended{ $error =~ /ERROR:  (\w+)/ ? $1 : 'done' }++;
	}
	$load->finish;
	like($out, qr{transactions actually processed: 400/400}, 'every payment is made') or diag($err);
	is(join(' ', grep { !/^(?:done|55P03)$/ } sort keys %ended), '', 'setup() is done, or gives way');
	unlike(slurp_file($node->logfile), qr/deadlock detected/, 'there was no deadlock');
	sql($node, 'SELECT payledger.setup()');
	is(sql($node, 'SELECT check_name, detail FROM payledger.verify() WHERE NOT ok'), '', 'all is well');
};

$node->stop;
done_testing();
