# From 2032-07-22 on ids have 19 digits.  Payments, refunds, disputes, payouts,
# settlements, statements, events and verify() do not care.

use strict;
use warnings FATAL => 'all';

use PayledgerClock;
use PayledgerKafka;
use PayledgerTest;
use Test::More;

step_clock(later => 8 * 365 * 24 * 3600);
my $kafka = PayledgerKafka->new(any_time => 1);
my $node = with_clock(later => sub { new_node('later', 'payledger.kafka_brokers' => $kafka->address) });

is(sql($node, 'SELECT length(payledger.next_id()::text)'), 19, 'ids have 19 digits');
sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
	SELECT payledger.set_reserve_terms('SELLER-222', 'EUR', 1000, 30);
	CREATE FUNCTION order_of(order_id text, seller text DEFAULT 'SELLER-111') RETURNS bigint LANGUAGE sql STABLE AS
	$$ SELECT o.payment_order_id FROM payledger.payment_orders o JOIN payledger.payments p USING (payment_id)
		WHERE p.order_id = order_of.order_id AND o.seller_id = seller $$;
	SQL

create_authorized($node, 'pm_ok', [ 10000, 4000 ], order_id => 'PAID');
create_authorized($node, 'pm_ok', [ 3000, 700 ], order_id => 'MANUAL', capture_method => 'manual');
create_authorized($node, 'pm_ok', [ 2000, 2500 ], order_id => 'DISPUTED');
create_authorized($node, 'pm_declined', [500], order_id => 'DECLINED');
settle($node);
sql($node, <<~'SQL');
	SELECT payledger.refund(order_of('PAID'), 1000, 'damaged');
	SELECT payledger.capture(order_of('MANUAL'), 1200, final => false);
	SELECT payledger.open_dispute(order_of('DISPUTED'), 2000, 'dp_won', fee => 1500);
	SELECT payledger.open_dispute(order_of('DISPUTED', 'SELLER-222'), 2500, 'dp_open', fee => 700);
	SQL
settle($node);
sql($node, <<~'SQL');
	SELECT payledger.close_dispute((SELECT dispute_id FROM payledger.disputes WHERE psp_reference = 'dp_won'), 'WON');
	SELECT payledger.import_settlement('sandbox', 'REPORT', payledger.sandbox_settlement('sandbox', fee_bps => 200));
	SELECT payledger.reconcile_settlement('REPORT');
	SELECT payledger.set_payout_terms('SELLER-111', 'EUR', gateway => 'sandbox', beneficiary => 'ba_1', available_from => 'capture');
	SELECT payledger.request_payout('SELLER-111', 'EUR', amount => 2000);
	SELECT payledger.place_hold('MERCHANT_PAYABLE.SELLER-111.EUR', 10);
	SELECT payledger.post_entry('ADJUSTMENT', '[{"account": "PLATFORM_CASH.GLOBAL.EUR", "amount": 9}, {"account": "MERCHANT_PAYABLE.SELLER-111.EUR", "amount": -9}]');
	SQL
settle($node);
sql($node, 'SELECT payledger.fold_postings()');

is(sql($node, 'SELECT status FROM payledger.payouts'), 'PAID', 'the payout is paid');
is(sql($node, 'SELECT count(*) > 0 FROM payledger.settlement_items WHERE settlement_report_id IS NOT NULL'), 't', 'items are settled');
is(sql($node, 'SELECT count(DISTINCT length(journal_entry_id::text)) = 1 AND min(length(journal_entry_id::text)) = 19 FROM payledger.journal_entries'),
	't', 'every entry has such an id');
# a statement names the payout of its lines
is(sql($node, <<~'SQL'), 't', 'a statement names its payout');
	SELECT count(*) > 0 AND count(*) = count(s.payout_id) AND bool_and(s.payout_id = (SELECT payout_id FROM payledger.payouts))
	  FROM payledger.seller_statement('SELLER-111', 'EUR') s WHERE s.entry_type LIKE 'PAYOUT%'
	SQL
check_ledger($node, 'with ids of 19 digits');
check_kafka($node, $kafka, 'events');

# what leaves such entries out would miss an edit; no worker may be in its way
$node->append_conf('postgresql.conf', "payledger.databases = ''");
with_clock(later => sub { $node->restart });
my %edits = (
	disputes_are_posted => q{UPDATE payledger.disputes SET amount = amount + 1 WHERE psp_reference = 'dp_open'},
	dispute_fees_are_posted => q{UPDATE payledger.disputes SET fee = fee + 1 WHERE psp_reference = 'dp_open'},
	settlements_are_posted => q{UPDATE payledger.settlement_lines SET gross = gross + 1, net = net + 1 WHERE line_type = 'capture'},
	reserves_are_posted => q{UPDATE payledger.reserves SET amount = amount + 1},
	events_follow_entries => q{UPDATE payledger.outbox_events SET aggregateid = '1' || aggregateid WHERE aggregatetype = 'ledger'});
for my $check (sort keys %edits)
{
	is(sql($node, <<~"SQL") =~ s/^.*\n//gr, $check, "$check finds an edit");
		BEGIN;
		SELECT format('ALTER TABLE %s DISABLE TRIGGER ALL', oid::regclass) FROM pg_class
		 WHERE relnamespace = 'payledger'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname \\gexec
		$edits{$check};
		SELECT string_agg(check_name, ' ') FROM payledger.verify(true) WHERE NOT ok AND check_name = '$check';
		ROLLBACK;
		SQL
}

$node->stop;
done_testing();
