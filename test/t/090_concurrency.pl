# Sixteen sessions do what shops do, at random, while the sandbox's PSP is slow
# and loses answers.  At any moment, in one snapshot, all books agree; in the
# end nothing is stuck and every payment is what its payment method makes of it.
#
# PAYLEDGER_SEED repeats a run's load, though not how its sessions interleave.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PAYLEDGER_SEED} // int(rand(2**31));
note("PAYLEDGER_SEED=$seed");

my $node = new_node('concurrency');

sql($node, <<~"SQL");
	SELECT payledger.register_seller('SELLER-' || n, 'EUR', commission_bps => n * 37, commission_fixed => n % 3)
	  FROM generate_series(1, 8) n;
	SELECT payledger.register_seller('SELLER-' || n, 'JPY', commission_bps => 250) FROM generate_series(1, 8) n;
	SELECT payledger.add_gateway('sandbox', 'sandbox', is_default => true, options => '{"seed": $seed, "fault_rate": 0.25,
		"latency_ms": 1, "latency_max_ms": 60, "timeout_ms": 100, "retry_base_ms": 20, "retry_max_ms": 100, "reversal_ms": 60,
		"lease_seconds": 6}');
	SQL

# What sessions do; each is a transaction, and :r its random number.  What the
# state of an object forbids is an answer like any other.  Everything else that
# goes wrong, a deadlock for one, ends the run.
my $methods = q{(ARRAY['pm_ok', 'pm_ok', 'pm_ok', 'pm_timeout', 'pm_lost_reply', 'pm_declined', 'pm_insufficient_funds',
	'pm_requires_action', 'pm_capture_fails', 'pm_capture_reversed'])};
my %scripts = (
	pay => [ 10, <<~"SQL" ],
		SELECT payledger.request_authorization(i.payment_intent_id, i.metadata ->> 'method')
		  FROM payledger.create_payment_intent('ORDER-' || :r, 'BUYER-' || :r % 50, CASE WHEN :r % 5 = 0 THEN 'JPY' ELSE 'EUR' END,
			(SELECT jsonb_agg(jsonb_build_object('seller_id', 'SELLER-' || 1 + (:r + n * 3) % 8, 'amount', 1 + :r % 9973 + n))
			   FROM generate_series(0, :r % 3) n),
			capture_method => CASE WHEN :r % 7 < 4 THEN 'automatic' ELSE 'manual' END,
			metadata => jsonb_build_object('method', $methods\[1 + :r / 7 % 10])) i;
		SQL
	create => [ 2, <<~"SQL" ],
		SELECT payledger.create_payment_intent('ORDER-' || :r, 'BUYER-1', 'EUR',
			jsonb_build_array(jsonb_build_object('seller_id', 'SELLER-' || 1 + :r % 8, 'amount', 1 + :r % 997)),
			metadata => '{"method": "pm_ok"}');
		SQL
	capture => [ 8, _allow(<<~'SQL') ],
		PERFORM payledger.capture(o.payment_order_id, 1 + :r % o.amount)
		   FROM (SELECT payment_order_id, amount FROM payledger.payment_orders WHERE status = 'INITIATED_PENDING'
				  ORDER BY hashint8(payment_order_id + :r) LIMIT 1) o;
		SQL
	cancel_order => [ 3, _allow(<<~'SQL') ],
		PERFORM payledger.cancel_payment_order(o.payment_order_id)
		   FROM (SELECT payment_order_id FROM payledger.payment_orders WHERE status = 'INITIATED_PENDING'
				  ORDER BY hashint8(payment_order_id + :r) LIMIT 1) o;
		SQL
	void => [ 2, _allow(<<~'SQL') ],
		PERFORM payledger.void_payment(p.payment_id)
		   FROM (SELECT payment_id FROM payledger.payments WHERE status = 'NOT_CAPTURED'
				  ORDER BY hashint8(payment_id + :r) LIMIT 1) p;
		SQL
	cancel => [ 1, _allow(<<~'SQL') ],
		PERFORM payledger.cancel_payment_intent(i.payment_intent_id)
		   FROM (SELECT payment_intent_id FROM payledger.payment_intents WHERE status IN ('CREATED', 'REQUIRES_ACTION', 'PENDING_AUTH')
				  ORDER BY hashint8(payment_intent_id + :r) LIMIT 1) i;
		SQL
	go_on => [ 3, _allow(<<~'SQL') ],
		PERFORM payledger.request_authorization(i.payment_intent_id, CASE WHEN i.status = 'CREATED' THEN 'pm_ok' END)
		   FROM (SELECT payment_intent_id, status FROM payledger.payment_intents WHERE status IN ('CREATED', 'REQUIRES_ACTION')
				  ORDER BY hashint8(payment_intent_id + :r) LIMIT 1) i;
		SQL
	fold => [ 1, 'SELECT payledger.fold_postings();' ],
	balances => [ 2, _snapshot_check() ]);

# A statement that may hear that it comes too late.
sub _allow
{
	my ($statement) = @_;
	return "DO \$\$ BEGIN $statement EXCEPTION WHEN SQLSTATE 'PL001' OR SQLSTATE 'PL005' THEN NULL; END \$\$;";
}

# In one snapshot: each balance, read in three ways, is the sum of its postings.
sub _snapshot_check
{
	return <<~'SQL';
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		DO $$
		DECLARE
			wrong text;
		BEGIN
			SELECT string_agg(format('%s: view %s, function %s, postings %s', b.account_code, b.balance,
									 payledger.balance(b.account_code), s.amount), '; ') INTO wrong
			  FROM payledger.account_balances b
			  JOIN payledger.accounts a USING (account_code)
			  JOIN payledger.account_types t ON t.account_type = a.account_type
			  LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM payledger.postings GROUP BY 1) s ON s.account_id = a.account_id
			 WHERE b.balance <> coalesce(s.amount, 0) * CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END
				OR b.balance <> payledger.balance(b.account_code);
			IF wrong IS NOT NULL THEN
				RAISE EXCEPTION 'balances are wrong: %', wrong;
			END IF;
			SELECT string_agg(format('%s: debit %s, credit %s', currency, debit, credit), '; ') INTO wrong
			  FROM (SELECT currency, sum(debit) AS debit, sum(credit) AS credit FROM payledger.trial_balance GROUP BY 1) t
			 WHERE debit <> credit;
			IF wrong IS NOT NULL THEN
				RAISE EXCEPTION 'the trial balance is off: %', wrong;
			END IF;
		END $$;
		COMMIT;
		SQL
}

my $dir = PostgreSQL::Test::Utils::tempdir('load');
my @files;
for my $name (sort keys %scripts)
{
	my ($weight, $script) = @{ $scripts{$name} };

	append_to_file("$dir/$name.sql", "\\set r random(1, 1000000000)\n$script");
	push @files, '-f', "$dir/$name.sql\@$weight";
}

my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 16, '-j', 2, '-t', 70, "--random-seed=$seed", @files, '-d',
		$node->connstr('payledger') ], '<', \undef, '>', \$out, '2>', \$err);

# Meanwhile everything that verify() knows, in one snapshot.
my ($moments, @wrong) = (0);
while (1)
{
	$load->pump_nb;
	last unless $load->pumpable;
	my $found = sql($node, <<~'SQL');
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
		COMMIT;
		SQL
	$moments++;
	push @wrong, $found if $found ne '';
}
ok($load->finish, "the load of seed $seed") or diag($err);
cmp_ok($moments, '>=', 5, 'looked at several moments');
is(join("\n", @wrong), '', 'verify() found nothing at any of them');
is(join("\n", grep { /\b(ERROR|PANIC|FATAL):/ } split /\n/, slurp_file($node->logfile)), '', 'no session saw an error');

settle($node);
check_books($node, 'in the end');

my $payments = sql($node, 'SELECT count(*) FROM payledger.payments');
cmp_ok($payments, '>=', 200, "$payments payments");
is(sql($node, <<~'SQL'), '', 'every payment is what its method makes of it');
	SELECT i.payment_intent_id, i.metadata ->> 'method' AS method, i.capture_method, i.status, p.status, o.statuses
	  FROM payledger.payment_intents i
	  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
	  LEFT JOIN LATERAL (
			SELECT coalesce(array_agg(DISTINCT o.status::text), '{}') AS statuses FROM payledger.payment_orders o
			 WHERE o.payment_id = i.payment_intent_id) o ON true
	 WHERE NOT CASE
		/* nobody went on with it, or somebody gave it up */
		WHEN i.status IN ('CREATED', 'REQUIRES_ACTION', 'CANCELLED') THEN
			p.payment_id IS NULL AND (i.status <> 'REQUIRES_ACTION' OR i.metadata ->> 'method' = 'pm_requires_action')
		WHEN i.metadata ->> 'method' IN ('pm_declined', 'pm_insufficient_funds') THEN i.status = 'DECLINED'
		WHEN i.status <> 'AUTHORIZED' THEN false
		WHEN i.capture_method = 'manual' THEN
			o.statuses <@ CASE WHEN i.metadata ->> 'method' IN ('pm_capture_fails', 'pm_capture_reversed')
							   THEN '{INITIATED_PENDING,CANCELLED,CAPTURE_FAILED}'::text[]
							   ELSE '{INITIATED_PENDING,CANCELLED,CAPTURED}' END
		WHEN i.metadata ->> 'method' IN ('pm_capture_fails', 'pm_capture_reversed') THEN
			p.status = 'VOIDED' AND o.statuses = '{CAPTURE_FAILED}'
		ELSE p.status = 'CAPTURED' AND p.captured_amount = p.total_amount END
	SQL
is(sql($node, <<~'SQL'), '', 'the histories keep to the edges');
	SELECT h.machine, h.from_status, h.to_status, count(*) FROM payledger.state_history h
	 WHERE NOT EXISTS (SELECT FROM payledger.transitions t WHERE t.machine = h.machine AND t.to_status = h.to_status
														   AND t.from_status IS NOT DISTINCT FROM h.from_status)
	 GROUP BY 1, 2, 3
	SQL
is(sql($node, <<~'SQL'), '', 'versions run from 1 without a gap');
	SELECT aggregatetype, aggregateid, array_agg(version ORDER BY seq) FROM payledger.outbox_events
	 GROUP BY 1, 2 HAVING min(version) <> 1 OR max(version) <> count(*)
					   OR array_agg(version ORDER BY seq) <> array_agg(version ORDER BY version)
	SQL
is(sql($node, <<~'SQL'), '', 'every state after the first that a payment entered has its event');
	SELECT i.payment_intent_id, i.status FROM payledger.payment_intents i
	 WHERE NOT EXISTS (SELECT FROM payledger.outbox_events e
						WHERE e.aggregatetype = 'payment' AND e.aggregateid = i.payment_intent_id::text
						  AND e.type = CASE i.status WHEN 'AUTHORIZED' THEN 'payment_authorized'
								WHEN 'DECLINED' THEN 'payment_intent_declined'
								WHEN 'CANCELLED' THEN 'payment_intent_cancelled' ELSE 'payment_intent_created' END)
	SQL
cmp_ok(sql($node, 'SELECT count(*) FROM payledger.journal_entries WHERE reverses IS NOT NULL'), '>', 0, 'some captures were reversed');
cmp_ok(sql($node, "SELECT count(*) FROM payledger.state_history WHERE machine = 'psp_request' AND to_status = 'UNKNOWN'"),
	'>', 50, 'many answers were lost');
is(sql($node, 'SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = \'Lock\''), 0, 'nobody waits for a lock');
$node->stop;
done_testing();
