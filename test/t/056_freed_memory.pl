# What a function returns is not in memory that it gave back before.  malloc()
# overwrites what is freed here, and a payment of many orders needs blocks that
# are freed at once.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use Test::More;

my $orders = 1000;

# see mallopt(3), M_PERTURB
local $ENV{MALLOC_PERTURB_} = 165;
my $node = new_node('freed');

sql($node, <<~"SQL");
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true, options => '{"latency_ms": 0}');
	SELECT count(*) FROM generate_series(1, $orders) n, LATERAL payledger.register_seller('S' || n, 'EUR');
	SQL
my $payment = sql($node, <<~"SQL");
	SELECT i.payment_intent_id
	  FROM (SELECT jsonb_agg(jsonb_build_object('seller_id', 'S' || n, 'amount', 1000)) AS lines FROM generate_series(1, $orders) n) l,
		   payledger.create_payment_intent('O', 'B', 'EUR', l.lines, 'manual') i,
		   LATERAL (SELECT payledger.request_authorization(i.payment_intent_id, 'pm_ok')) a
	SQL
settle($node);

# the last one is in the newest block; the second call has other memory than the first
my $cancel = "SELECT payledger.cancel_payment_order(payment_order_id) FROM payledger.payment_orders WHERE status = 'INITIATED_PENDING' ORDER BY payment_order_id DESC LIMIT 1";
is(sql($node, join '; ', ($cancel) x 3), "CANCELLED\nCANCELLED\nCANCELLED", 'cancel_payment_order()');
is(sql($node, "SELECT payledger.void_payment($payment)"), 'VOIDED', 'void_payment()');
settle($node);
check_ledger($node, 'then');

$node->stop;
done_testing();
