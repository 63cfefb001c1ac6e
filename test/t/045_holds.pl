# The keeper expires holds: in time, a wave of them, and beside a session that
# keeps an account locked, which delays the holds of that account only.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('holds', 'synchronous_commit' => 'off');

sql($node, <<~'SQL');
	SELECT payledger.open_account('MERCHANT_PAYABLE', n, 'EUR', floor => 0) FROM unnest('{A,B,C}'::text[]) n;
	SELECT payledger.open_account('PLATFORM_CASH', 'GLOBAL', 'EUR');
	SELECT payledger.post_entry('TOP_UP', jsonb_build_array(
		jsonb_build_object('account', code, 'amount', -10000), jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.EUR', 'amount', 10000)))
	  FROM unnest('{MERCHANT_PAYABLE.A.EUR,MERCHANT_PAYABLE.B.EUR,MERCHANT_PAYABLE.C.EUR}'::text[]) code;
	CREATE FUNCTION held(entity text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT held FROM payledger.accounts WHERE account_code = 'MERCHANT_PAYABLE.' || entity || '.EUR' $$;
	SQL

sub place
{
	my ($entity, $amount, $seconds) = @_;

	# in the future still when a slow server comes to it
	$seconds *= $ENV{PAYLEDGER_SLOWNESS} // 1;
	return sql($node, "SELECT hold_id FROM payledger.place_hold('MERCHANT_PAYABLE.$entity.EUR', $amount,
		clock_timestamp() + $seconds * interval '1 s')");
}

# in time
my $soon = place('A', 100, 0.3);
my $later = place('A', 10, 3600);
wait_sql($node, "SELECT held('A') = 10", 'the hold has expired');
is(sql($node, "SELECT status FROM payledger.holds WHERE hold_id = $soon"), 'EXPIRED', 'the overdue one is EXPIRED');
is(sql($node, "SELECT status FROM payledger.holds WHERE hold_id = $later"), 'ACTIVE', 'the other one is not');
is(sql($node, "SELECT cause FROM payledger.state_history WHERE object_id = $soon AND to_status = 'EXPIRED'"),
	'expire_holds', 'which is on record');

# a wave
sql($node, <<~'SQL');
	SELECT count(*) FROM generate_series(1, 3500) n,
		payledger.place_hold('MERCHANT_PAYABLE.' || chr(65 + n % 3) || '.EUR', 1, now() + n * interval '1 h');
	UPDATE payledger.holds SET expires_at = now() WHERE amount = 1;
	SQL
wait_sql($node, q{SELECT held('A') = 10 AND held('B') = 0 AND held('C') = 0}, 'the wave has expired');
is(sql($node, q{SELECT count(*) FROM payledger.holds WHERE amount = 1 AND status = 'EXPIRED'}), 3500, 'all of it');

# a session that keeps A locked, and another hold of B and C
my $session = $node->background_psql('payledger', on_error_die => 1);
$session->query_safe(q{BEGIN; SELECT payledger.place_hold('MERCHANT_PAYABLE.A.EUR', 5)});
sql($node, qq{UPDATE payledger.holds SET expires_at = now() WHERE hold_id = $later});
place('B', 20, 0.1);
wait_sql($node, "SELECT held('B') = 0", 'the hold of B has expired');
is(sql($node, "SELECT held('A')"), 10, 'that of A has not');
wait_sql($node, q{SELECT failing FROM payledger.stat_worker WHERE role = 'keeper'}, 'the keeper cannot lock A');
like(sql($node, q{SELECT last_error FROM payledger.stat_worker WHERE role = 'keeper'}),
	qr/^account \d+ is locked, its overdue holds cannot expire/, 'it says which account is locked');
place('C', 30, 0.1);
wait_sql($node, "SELECT held('C') = 0", 'the hold of C has expired meanwhile');
$session->query_safe('COMMIT');
wait_sql($node, "SELECT held('A') = 5", 'the hold of A has expired');
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'keeper'}, 'the keeper is well again');
$session->quit;

check_ledger($node, 'holds');
done_testing();
