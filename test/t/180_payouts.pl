# Payouts with the workers and the sandbox: by schedule and on request, what
# becomes of them at the PSP, and what peers got wrong: an ambiguous payout that
# frees its funds, nobody who runs the schedule, a payout that bounces after it
# was paid, a crash between two steps.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('payouts');

sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true,
		options => '{"payout_ms": 50, "timeout_ms": 100, "retry_base_ms": 50, "retry_max_ms": 200}');
	SELECT payledger.add_gateway('silent', adapter => 'sandbox',
		options => '{"payout_ms": 50, "timeout_ms": 100, "retry_base_ms": 600000, "retry_max_ms": 600000}');
	/* a seller who is paid as soon as something is captured, with that much */
	CREATE FUNCTION seller(id text, amount bigint, token text DEFAULT 'ba_ok', gateway text DEFAULT 'sandbox') RETURNS void
	LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM payledger.register_seller(id, 'EUR');
		PERFORM payledger.set_payout_terms(id, 'EUR', token, gateway => seller.gateway, available_from => 'capture');
		IF amount > 0 THEN
			PERFORM payledger.request_authorization(payment_intent_id, 'pm_ok')
			   FROM payledger.create_payment_intent('FOR-' || id, 'BUYER', 'EUR',
					jsonb_build_array(jsonb_build_object('seller_id', id, 'amount', amount)), gateway => 'sandbox');
		END IF;
	END $$;
	/* its cut-off has come */
	CREATE FUNCTION make_due(id text) RETURNS timestamptz LANGUAGE sql AS $$
		SELECT payledger.set_payout_terms(id, 'EUR', schedule => 'daily');
		UPDATE payledger.payout_terms SET next_payout_at = now() WHERE seller_id = id RETURNING next_payout_at $$;
	CREATE VIEW funds AS
		SELECT seller_id, balance, available, reserved, in_payout, negative FROM payledger.seller_balances WHERE currency = 'EUR';
	SQL

# What became of the payouts of a seller, with the states of each.
sub payouts_of
{
	my ($seller) = @_;

	return sql($node, <<~"SQL");
		SELECT p.amount, p.status, p.reason,
			   (SELECT string_agg(h.to_status, ' ' ORDER BY h.history_id) FROM payledger.state_history h
				 WHERE h.machine = 'payout' AND h.object_id = p.payout_id)
		  FROM payledger.payouts p WHERE p.seller_id = '$seller' ORDER BY payout_id
		SQL
}

sub funds_of
{
	my ($seller) = @_;

	return sql($node, "SELECT balance, available, in_payout FROM funds WHERE seller_id = '$seller'");
}

# ---- on request: what each beneficiary does ----

my %paid = (
	ok => '6000|PAID||REQUESTED IN_TRANSIT PAID',
	timeout => '6000|PAID||REQUESTED IN_TRANSIT PAID',
	lost_reply => '6000|PAID||REQUESTED IN_TRANSIT PAID',
	declined => '6000|FAILED|account_closed|REQUESTED FAILED',
	fails => '6000|FAILED|payout_failed|REQUESTED IN_TRANSIT FAILED',
	returned => '6000|RETURNED|payout_returned|REQUESTED IN_TRANSIT PAID RETURNED');

sql($node, "SELECT seller('A-$_', 10000, 'ba_$_')") for sort keys %paid;
settle($node);
is(sql($node, q{SELECT DISTINCT status FROM payledger.payments}), 'CAPTURED', 'the sellers have something');
sql($node, 'SELECT ' . join(', ', map { "payledger.request_payout('A-$_', 'EUR', 6000, 'first-$_')" } sort keys %paid));
settle($node);
for my $token (sort keys %paid)
{
	is(payouts_of("A-$token"), $paid{$token}, "ba_$token: its states");
	is(funds_of("A-$token"), $paid{$token} =~ /PAID$/ ? '4000|4000|0' : '10000|10000|0', "ba_$token: what the seller has");
	is(sql($node, "SELECT string_agg(version || ' ' || type, ', ' ORDER BY version) FROM payledger.outbox_events"
			  . " WHERE aggregatetype = 'payout' AND event_key = 'A-$token'"),
		'1 payout_requested, 2 payout_finalized' . ($token eq 'returned' ? ', 3 payout_finalized' : ''), "ba_$token: its events");
}
is(sql($node, q{SELECT attempt, idempotency_key ~ ('^pl_' || psp_request_id || '_[0-9a-f]{8}$') FROM payledger.psp_requests
	WHERE operation = 'PAYOUT' AND payment_method IN ('ba_timeout', 'ba_lost_reply')}), "2|t\n2|t", 'a lost answer: asked again with the same key');
is(sql($node, "SELECT payledger.balance('PAYOUT_CLEARING.GLOBAL.EUR')"), 0, 'nothing is on its way');
is(sql($node, q{SELECT count(*), count(DISTINCT payout_id) FROM (SELECT (payledger.request_payout('A-' || t, 'EUR', 6000, 'first-' || t)).payout_id
	FROM unnest('{ok, fails, returned}'::text[]) t) r}), '3|3', 'the same request again is answered');
is(sql($node, q{SELECT count(*) FROM payledger.payouts}), 6, 'and pays nobody twice');
check_books($node, 'beneficiaries');

# ---- by schedule: nobody has to ask ----

sql($node, "SELECT seller('B-$_', 5000)") for 1 .. 4;
sql($node, q{SELECT payledger.register_seller('B-5', 'EUR'), seller('B-6', 0)});
settle($node);
sql($node, <<~'SQL');
	SELECT payledger.set_payout_terms('B-2', 'EUR', minimum => 5001);
	SELECT payledger.update_seller('B-3', 'EUR', status => 'SUSPENDED');
	SELECT make_due('B-' || n) FROM unnest('{1, 2, 3, 4, 6}'::int[]) n;
	SQL
wait_sql($node, q{SELECT count(*) = 2 AND bool_and(status = 'PAID') FROM payledger.payouts WHERE seller_id LIKE 'B-%'}, 'the keeper paid out');
wait_sql($node, q{SELECT bool_and(next_payout_at > now()) FROM payledger.payout_terms WHERE seller_id LIKE 'B-%' AND schedule = 'daily'},
	'every cut-off was dealt with');
is(sql($node, q{SELECT seller_id, amount, scheduled_for IS NOT NULL FROM payledger.payouts WHERE seller_id LIKE 'B-%' ORDER BY seller_id}),
	"B-1|5000|t\nB-4|5000|t", 'those with enough, and nobody else');
is(sql($node, q{SELECT seller_id, problem FROM payledger.payout_terms WHERE problem IS NOT NULL}), 'B-3|seller B-3 is SUSPENDED in EUR', 'who was skipped, and why');
like(slurp_file($node->logfile), qr/WARNING:\s+seller B-3 was not paid out in EUR/, 'the log says so');
is(sql($node, q{SELECT h.actor, h.cause FROM payledger.state_history h JOIN payledger.payouts p ON p.payout_id = h.object_id
	WHERE p.seller_id = 'B-1' AND h.from_status IS NULL}), sql($node, 'SELECT current_user') . '|run_payouts', 'the history says who');

# ---- the keeper does not wait for a seller whose account a session keeps locked ----

sql($node, "SELECT seller('C-$_', 700)") for 1, 2;
settle($node);
my $session = $node->background_psql('payledger');
$session->query_safe(q{BEGIN; SELECT payledger.place_hold('MERCHANT_PAYABLE.C-1.EUR', 200)});
sql($node, q{SELECT make_due('C-1'), make_due('C-2')});
wait_sql($node, q{SELECT status = 'PAID' FROM payledger.payouts WHERE seller_id = 'C-2'}, 'the other seller is paid out');
is(payouts_of('C-1'), '', 'the locked one is not');
is(sql($node, q{SELECT next_payout_at <= now() FROM payledger.payout_terms WHERE seller_id = 'C-1'}), 't', 'and still due');
$session->query_safe('COMMIT');
$session->quit;
wait_sql($node, q{SELECT status = 'PAID' FROM payledger.payouts WHERE seller_id = 'C-1'}, 'it is paid out after that');
is(payouts_of('C-1'), '500|PAID||REQUESTED IN_TRANSIT PAID', 'but for what is held');

# ---- an unknown outcome keeps the funds ----

sql($node, q{SELECT seller('D-1', 1000, 'ba_timeout', 'silent'), seller('D-2', 1000, 'ba_lost_reply', 'silent')});
settle($node);
sql($node, q{SELECT payledger.request_payout(s, 'EUR') FROM unnest('{D-1, D-2}'::text[]) s});
my $unknown = q{SELECT count(*) = 2 AND bool_and(status = 'UNKNOWN') FROM payledger.psp_requests WHERE operation = 'PAYOUT' AND gateway = 'silent'};
my $locked = sub {
	my ($name) = @_;

	for my $seller (qw(D-1 D-2))
	{
		is(payouts_of($seller), '1000|REQUESTED||REQUESTED', "$name, $seller: nothing is decided");
		is(funds_of($seller), '0|0|1000', "$name, $seller: the funds are locked");
	}
	sql_fails($node, q{SELECT payledger.request_payout('D-1', 'EUR')}, 'PL004', 'nothing available', "$name, a second payout");
	return;
};

wait_sql($node, $unknown, 'their answers are lost');
$locked->('lost');
sql($node, q{SELECT make_due('D-1'), make_due('D-2')});
wait_sql($node, q{SELECT bool_and(next_payout_at > now()) FROM payledger.payout_terms WHERE seller_id LIKE 'D-%'}, 'a cut-off passed');
$locked->('cut-off');
kill9_worker($node, 'gateway');
$locked->('gateway killed');
kill9_worker($node, 'keeper');
$locked->('keeper killed');
is(sql($node, $unknown), 't', 'they are unknown still');

# an operator looked one up; the other is asked for again, with the same key
sql($node, q{SELECT payledger.resolve_request(psp_request_id, 'SUCCEEDED', 'seen at the bank') FROM payledger.psp_requests
	WHERE operation = 'PAYOUT' AND gateway = 'silent' AND payment_method = 'ba_timeout'});
is(payouts_of('D-1'), '1000|PAID||REQUESTED PAID', 'an operator decided');
sql($node, q{UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE status = 'UNKNOWN'});
kill9_worker($node, 'gateway');
wait_sql($node, q{SELECT status = 'PAID' FROM payledger.payouts WHERE seller_id = 'D-2'}, 'the PSP answered after all');
is(payouts_of('D-2'), '1000|PAID||REQUESTED IN_TRANSIT PAID', 'the second answer decided');
is(sql($node, q{SELECT count(*), max(attempt), count(DISTINCT idempotency_key) FROM payledger.psp_requests
	WHERE operation = 'PAYOUT' AND payment_method = 'ba_lost_reply' AND gateway = 'silent'}), '1|2|1', 'it was one request');
settle($node);
is(sql($node, "SELECT payledger.balance('PAYOUT_CLEARING.GLOBAL.EUR')"), 0, 'nothing is on its way');

# ---- kill -9 while they are made and sent ----

my @tokens = qw(ok timeout lost_reply fails returned);
sql($node, "SELECT seller('E-$_', 1000 + $_, 'ba_$tokens[$_ % @tokens]')") for 1 .. 40;
settle($node);
sql($node, q{SELECT make_due('E-' || n) FROM generate_series(1, 20) n});
kill9_worker($node, 'keeper');
sql($node, q{SELECT make_due('E-' || n) FROM generate_series(21, 40) n});
kill9_worker($node, 'gateway');
wait_sql($node, q{SELECT bool_and(next_payout_at > now()) FROM payledger.payout_terms WHERE seller_id LIKE 'E-%'}, 'every cut-off was dealt with');
settle($node);
is(sql($node, <<~'SQL'), '', 'each seller was paid out once, all it had, and got back what did not arrive');
	SELECT t.seller_id, t.beneficiary, p.n, p.amount, p.status, f.balance
	  FROM payledger.payout_terms t
	  JOIN funds f USING (seller_id)
	  LEFT JOIN (SELECT seller_id, count(*) AS n, sum(amount) AS amount, min(status) AS status FROM payledger.payouts GROUP BY 1) p USING (seller_id)
	 WHERE t.seller_id LIKE 'E-%'
	   AND (p.n, p.amount, p.status::text, f.balance) IS DISTINCT FROM
		   (1, 1000 + substr(t.seller_id, 3)::int,
			CASE t.beneficiary WHEN 'ba_fails' THEN 'FAILED' WHEN 'ba_returned' THEN 'RETURNED' ELSE 'PAID' END,
			CASE WHEN t.beneficiary IN ('ba_fails', 'ba_returned') THEN 1000 + substr(t.seller_id, 3)::int ELSE 0 END)
	SQL
is(sql($node, q{SELECT count(*) FROM payledger.payouts WHERE seller_id LIKE 'E-%'}), 40, 'all of them');

# ---- more is asked for than there is, by many at once ----

sql($node, q{SELECT seller('F-1', 1000)});
settle($node);
my @clients;

for my $n (1 .. 16)
{
	my $out = '';

	push @clients, { out => \$out, run => IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('payledger'), '-c', <<~'SQL' ], '<', \undef, '>', \$out, '2>', \$out) };
		DO $$ BEGIN FOR n IN 1 .. 4 LOOP
			BEGIN PERFORM payledger.request_payout('F-1', 'EUR', 100); EXCEPTION WHEN SQLSTATE 'PL004' THEN NULL; END;
			COMMIT;
		END LOOP; END $$
		SQL
}
$_->{run}->finish for @clients;
is(join('', map { ${ $_->{out} } } @clients), '', 'every refusal was PL004');
settle($node);
is(sql($node, q{SELECT count(*), sum(amount), bool_and(status = 'PAID') FROM payledger.payouts WHERE seller_id = 'F-1'}), '10|1000|t',
	'64 asked for 100 of 1000: ten got it');
is(funds_of('F-1'), '0|0|0', 'and nothing is left or owed');

# ---- reserves and debts ----

sql($node, q{SELECT seller('G-1', 0), seller('G-2', 0), payledger.set_reserve_terms('G-1', 'EUR', 1000, 10),
	payledger.set_reserve_terms('G-2', 'EUR', 1000, 10, 'write_off')});
sql($node, q{SELECT seller('G-1', 5000), seller('G-2', 5000)});
settle($node);
is(sql($node, q{SELECT seller_id, balance, reserved FROM funds WHERE seller_id LIKE 'G-%' ORDER BY 1}), "G-1|4500|500\nG-2|4500|500", 'a tenth is withheld');
sql($node, q{UPDATE payledger.reserves SET release_at = now() WHERE seller_id = 'G-1'});
wait_sql($node, q{SELECT balance = 5000 AND reserved = 0 FROM funds WHERE seller_id = 'G-1'}, 'the keeper released what was due');
sql($node, q{SELECT payledger.request_payout('G-2', 'EUR', 4400); SELECT payledger.refund(payment_order_id, 1000) FROM payledger.payment_orders WHERE seller_id = 'G-2'});
wait_sql($node, q{SELECT balance = 0 AND reserved = 0 AND negative = 0 FROM funds WHERE seller_id = 'G-2'}, 'the keeper covered the debt');
is(sql($node, q{SELECT entry_type, debit, credit FROM payledger.journal WHERE account_code = 'MERCHANT_PAYABLE.G-2.EUR'
	AND entry_type IN ('RESERVE_RELEASE', 'WRITE_OFF') ORDER BY journal_entry_id}), "RESERVE_RELEASE|0|500\nWRITE_OFF|0|400", 'from the reserve, and the rest is written off');
settle($node);
check_books($node, 'in the end');
is(sql($node, "SELECT payledger.balance('PAYOUT_CLEARING.GLOBAL.EUR')"), 0, 'nothing is on its way');
$node->stop;
done_testing();
