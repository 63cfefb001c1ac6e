# What users of other payment platforms complain about, replayed against the
# workers and a PSP: each part names the reports and would fail if payledger did
# what they describe.  Those of disputes are in sql/disputes.sql, those of
# payouts in 180_payouts.pl.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $psp = PayledgerPsp->new;
my $node = new_node('peers');

add_stripe($node, $psp, timeout_ms => 400);

# Runs a statement in n sessions that begin at the same moment, on a payment:
# they wait for its row, which a prepared transaction holds until all are
# there.  Returns how often each of their outputs came.
sub at_once
{
	my ($n, $payment, $sql, $table) = @_;
	my ($relation, $key) = $table ? @$table : ('payments', 'payment_id');
	my @sessions;
	my %outputs;

	sql($node, "BEGIN; SELECT FROM payledger.$relation WHERE $key = $payment FOR NO KEY UPDATE; PREPARE TRANSACTION 'barrier'");
	for (1 .. $n)
	{
		my %session = (output => '');

		$session{run} = IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('payledger'), '-c', "/* at once */ $sql" ],
			'<', \undef, '>', \$session{output}, '2>&1');
		push @sessions, \%session;
	}
	wait_sql($node, "SELECT count(*) = $n FROM pg_stat_activity WHERE query LIKE '/* at once */%' AND wait_event_type = 'Lock'",
		"$n sessions wait for the same payment");
	sql($node, "COMMIT PREPARED 'barrier'");
	for my $session (@sessions)
	{
		$session->{run}->finish;
		chomp $session->{output};
		$outputs{ $session->{output} }++;
	}
	return \%outputs;
}

# What the PSP did for a payment: each operation with its amount.
sub executed
{
	my ($id) = @_;

	return join ' ', map { map { $_->{operation} . ($_->{operation} =~ /capture|refund/ ? "=$_->{amount}" : '') } @{ $_->{operations} } }
	  grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth;
}

# A payment of SELLER-222, who pays no commission, captured.
sub captured
{
	my ($amount, %arguments) = @_;
	my $seller = 'PEER-' . (sql($node, 'SELECT count(*) FROM payledger.sellers') + 1);
	my $id = sql($node, <<~"SQL");
		WITH s AS MATERIALIZED (SELECT seller_id FROM payledger.register_seller('$seller', 'EUR'))
		SELECT i.payment_intent_id FROM s, LATERAL payledger.create_payment_intent('$seller', 'BUYER', 'EUR',
			jsonb_build_array(jsonb_build_object('seller_id', s.seller_id, 'amount', $amount)),
			gateway => '${\($arguments{gateway} // 'stripe')}', capture_method => '${\($arguments{capture_method} // 'automatic')}') i
		SQL
	sql($node, "SELECT payledger.request_authorization($id, '${\($arguments{payment_method} // 'pm_card_visa')}')");
	settle($node);
	return ($id, sql($node, "SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = $id"), $seller);
}

sub owed
{
	my ($seller) = @_;

	return sql($node, "SELECT payledger.balance('MERCHANT_PAYABLE.$seller.EUR')");
}

# Refunds of a payment and what its totals say of them.
sub refunds
{
	my ($id) = @_;

	return sql($node, <<~"SQL");
		SELECT (SELECT string_agg(r.amount || ' ' || r.status, ', ' ORDER BY refund_id) FROM payledger.refunds r WHERE r.payment_id = $id),
			   refunded_amount, refund_pending_amount FROM payledger.payment_orders WHERE payment_id = $id
		SQL
}

subtest 'more is refunded than was captured (hyperswitch #13182, #11491, #3120)' => sub {
	my ($id, $order, $seller) = captured(10000);

	is_deeply(at_once(64, $id, "SELECT status FROM payledger.refund($order, 6000)"), { 'REQUESTED' => 1, 'ERROR:  PL005' => 63 },
		'of 64 refunds of 60 at once, one goes');
	is(owed($seller), 4000, 'and takes its funds at once');
	is_deeply(at_once(16, $id, "SELECT amount FROM payledger.refund_payment($id)"), { 4000 => 1, 'ERROR:  PL005' => 15 },
		'of 16 that refund what is left, one goes');
	settle($node);
	is(refunds($id), '6000 SUCCEEDED, 4000 SUCCEEDED|10000|0', 'all of it is refunded, nothing twice');
	is(executed($id), 'create confirm capture=10000 refund=6000 refund=4000', 'so says the PSP');
	is(owed($seller), 0, 'the seller paid what the shopper got');

	my ($other, $other_order) = captured(1000);

	# the pull request that fixed the race let these pass
	sql_fails($node, "SELECT payledger.refund($other_order, -600)", '22023', 'not greater than zero', 'a negative refund');
	sql_fails($node, "SELECT payledger.refund($other_order, 0)", '22023', 'not greater than zero', 'a refund of nothing');
	sql_fails($node, "SELECT payledger.refund_payment($other, -600)", '22023', 'not greater than zero', 'a negative refund of the payment');
	is(refunds($other), '|0|0', 'none is there');
};

subtest 'a refund without an answer is taken for a failure, or done twice (pay-connector #5912, #5570; killbill #643, #639)' => sub {
	for my $fault ('drop_after', 'drop_before', 'error_500')
	{
		my ($id, $order, $seller) = captured(10000);

		$psp->fault(fault => $fault, times => -1, match => { operation => 'refund' });
		sql($node, "SELECT payledger.refund($order, 6000)");
		wait_sql($node, <<~"SQL", "$fault: it was asked for again and again in vain");
			SELECT attempt >= 3 AND status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND'
			SQL
		is(refunds($id), '6000 PENDING|0|6000', "$fault: it is pending, not failed");
		is(owed($seller), 4000, "$fault: its funds stay reserved");
		sql_fails($node, "SELECT payledger.refund($order, 6000)", 'PL005', 'above what is left', "$fault: another one meanwhile");
		check_ledger($node, "$fault: while nobody knows");

		$psp->clear_faults;
		settle($node);
		is(refunds($id), '6000 SUCCEEDED|6000|0', "$fault: it ends when the PSP answers");
		is(executed($id), 'create confirm capture=10000 refund=6000', "$fault: the PSP did it once");
		is(sql($node, "SELECT count(*) FROM payledger.journal_entries WHERE payment_id = $id AND entry_type LIKE 'REFUND%'"), 2,
			"$fault: and it was booked once");
	}
};

subtest 'charged or captured twice (medusa #13301; akash console #3449; saleor #14926)' => sub {
	my ($id, $order) = captured(10000, capture_method => 'manual');

	is_deeply(at_once(16, $id, "SELECT status FROM payledger.capture($order)"), { 'CAPTURE_REQUESTED' => 1, 'ERROR:  PL001' => 15 },
		'of 16 captures at once, one goes');
	settle($node);
	is(executed($id), 'create confirm capture=10000', 'the PSP was asked once');

	($id, $order) = captured(10000, capture_method => 'manual');
	is_deeply(at_once(16, $id, "SELECT status FROM payledger.capture($order, idempotency_key => 'capture-$id')"), { 'CAPTURE_REQUESTED' => 16 },
		'the same command 16 times has one reply');
	settle($node);
	is(executed($id), 'create confirm capture=10000', 'and the PSP was asked once');

	my $intent = create_intent($node, [500]);

	is_deeply(
		at_once(16, $intent, "SELECT payledger.request_authorization($intent, 'pm_card_visa')", [ 'payment_intents', 'payment_intent_id' ]),
		{ 'PENDING_AUTH' => 1, 'ERROR:  PL001' => 15 }, 'of 16 authorizations at once, one goes');
	settle($node);
	is(executed($intent), 'create confirm capture=500', 'the shopper was charged once');
};

subtest 'what a partial capture leaves stays held (hyperswitch #2036, #13151)' => sub {
	my ($id, $order, $seller) = captured(10000, capture_method => 'manual');

	sql($node, "SELECT payledger.capture($order, 6000)");
	settle($node);
	is(owed($seller), 6000, 'the seller gets what was captured');
	is(sql($node, "SELECT sum(debit) FROM payledger.journal WHERE payment_id = $id AND entry_type = 'AUTH_RELEASE'"
			. " AND account_code = 'AUTH_LIABILITY.GLOBAL.EUR'"), 4000, 'the rest is given back here');
	my ($truth) = grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth;
	is("$truth->{amount_received} $truth->{amount_capturable}", '6000 0', 'and at the PSP');

	# of two sellers, one is captured and one is not
	my $two = create_authorized($node, 'pm_card_visa', [ 1000, 500 ], capture_method => 'manual');

	sql($node, "SELECT payledger.capture(payment_order_id, 700) FROM payledger.payment_orders WHERE payment_id = $two AND seller_id = 'SELLER-111'");
	settle($node);
	($truth) = grep { ($_->{metadata}{payment_id} // '') eq $two } $psp->all_truth;
	is("$truth->{amount_received} $truth->{amount_capturable}", '700 800', 'the rest is kept as long as one may be captured');
	sql($node, "SELECT payledger.cancel_payment_order(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $two AND seller_id = 'SELLER-222'");
	settle($node);
	($truth) = grep { ($_->{metadata}{payment_id} // '') eq $two } $psp->all_truth;
	is("$truth->{amount_received} $truth->{amount_capturable}", '700 0', 'and freed with the last one');
	is(sql($node, "SELECT sum(balance) FROM payledger.account_balances WHERE account_type LIKE 'AUTH%'"), 0, 'nothing is held any more');
};

# A PSP's answer cannot come before what it is about: the PSP is asked by the
# worker, and the worker sees what is committed.  What could still come
# between is a crash; then the answer is asked for again.
subtest 'the answer comes before the record, or after a crash (polar #10728; woocommerce-payments #3118)' => sub {
	my $intent = create_intent($node, [700]);

	sql($node, "BEGIN; SELECT payledger.request_authorization($intent, 'pm_card_visa'); PREPARE TRANSACTION 'undecided'");
	my ($id, $order) = captured(10000);
	is(executed($intent), '', 'while it is not committed the PSP hears nothing, though others are served');
	sql($node, "COMMIT PREPARED 'undecided'");
	# the worker has just looked, and by itself looks again after a minute only
	my $seconds = 20 * ($ENV{PAYLEDGER_SLOWNESS} // 1);
	is(try_sql($node, "CALL payledger.wait_until_idle('$seconds s')"), '', 'the commit wakes the worker');
	settle($node);
	is(executed($intent), 'create confirm capture=700', 'after the commit it does');

	my $asked = $psp->stats->{requests};
	sql($node, "BEGIN; SELECT payledger.refund($order, 6000); ROLLBACK");
	captured(100);
	is(executed($id), 'create confirm capture=10000', 'what was rolled back never reaches it');

	# the PSP has executed it and is about to answer
	$psp->fault(fault => 'drop_after', match => { operation => 'refund' });
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 30000, "lease_seconds": 36}')});
	my $fired = $psp->fired('drop_after');
	sql($node, "SELECT payledger.refund($order, 6000)");
	wait_for(sub { $psp->fired('drop_after') > $fired }, 'the PSP has done it', $node);
	is(refunds($id), '6000 REQUESTED|0|6000', 'we do not know it yet');
	kill9_worker($node, 'gateway');
	settle($node);
	is(refunds($id), '6000 SUCCEEDED|6000|0', 'after the crash we do');
	is(executed($id), 'create confirm capture=10000 refund=6000', 'and it was done once');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 400, "lease_seconds": 6}')});
};
check_books($node, 'so far', psp => $psp);

subtest 'a late answer overwrites what was decided (hyperswitch #10340; mirakl-hyperwallet-connector #35)' => sub {
	# The worker waits for its answer when somebody else decides: the lease is
	# taken over, as the keeper does when it is over, and an operator says what
	# became of the refund.  A moment later the PSP's answer comes.
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 30000, "lease_seconds": 36}')});
	for my $case ([ 'REFUSED', 'FAILED|0', 10000, qr/refund \d+ must not go from FAILED to SUCCEEDED/ ],
		[ 'SUCCEEDED', 'SUCCEEDED|6000', 4000, qr/is no longer leased to this gateway worker/ ])
	{
		my ($decision, $refund, $owed, $complaint) = @$case;
		my ($id, $order, $seller) = captured(10000);
		my $request = "FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND'";
		my $log = -s $node->logfile;

		$psp->fault(fault => 'delay', ms => 1500, match => { operation => 'refund' });
		sql($node, "SELECT payledger.refund($order, 6000)");
		wait_sql($node, "SELECT status = 'IN_FLIGHT' $request", 'the refund is under way');
		sql($node, <<~"SQL");
			UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL, lease_expires_at = NULL, next_attempt_at = 'infinity'
			 WHERE payment_id = $id AND operation = 'REFUND';
			SELECT payledger.resolve_request(psp_request_id, '$decision', 'the PSP says so') $request;
			SQL
		is(refunds($id), "6000 $refund|0", "$decision: an operator ends it");
		wait_for(sub { slurp_file($node->logfile, $log) =~ $complaint }, 'the answer has come', $node);
		is(refunds($id), "6000 $refund|0", "$decision: the answer changes nothing");
		is(owed($seller), $owed, "$decision: the funds are where they were");
		is(sql($node, "SELECT status, reply_code $request"), "$decision|resolved", "$decision: the request is as it was decided");
	}

	# a question is answered in a way that contradicts what was decided: for a human to look at
	sql($node, q{SELECT payledger.add_gateway('sandbox', 'sandbox', '{"payout_ms": 800}')});
	my ($id, $order, $seller) = captured(10000, gateway => 'sandbox', payment_method => 'pm_refund_pending');
	sql($node, "SELECT payledger.refund($order, 6000)");
	wait_sql($node, "SELECT status = 'PENDING' FROM payledger.refunds WHERE payment_id = $id", 'the PSP has the refund');
	sql($node, <<~"SQL");
		SELECT payledger.resolve_request(psp_request_id, 'REFUSED', 'the bank says so') FROM payledger.psp_requests
		 WHERE payment_id = $id AND operation = 'REFUND'
		SQL
	is(refunds($id), '6000 FAILED|0|0', 'it failed, says the bank');
	wait_sql($node, "SELECT status = 'PARKED' FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'RETRIEVE'",
		'the PSP says that it was paid');
	is(refunds($id), '6000 FAILED|0|0', 'a program does not choose between them');
	like(sql($node, "SELECT reply_message FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'RETRIEVE'"),
		qr/is REFUSED and now reported SUCCEEDED/, 'it says why');
	sql($node, "SELECT payledger.resolve_request(psp_request_id, 'REFUSED', 'the PSP was wrong') FROM payledger.psp_requests WHERE status = 'PARKED'");
	is(owed($seller), 10000, 'the funds are with the seller');
};

subtest 'the rest of a conversion is taken from sellers (gumroad #6848)' => sub {
	# three goods are paid in dollars, the seller keeps its books in euros
	sql($node, <<~'SQL');
		SELECT payledger.register_seller('PEER-FX', c, commission_bps => 1000) FROM unnest('{EUR,USD}'::text[]) c;
		SELECT payledger.set_payout_terms('PEER-FX', 'EUR', 'ba_ok', gateway => 'sandbox', available_from => 'capture');
		SQL
	for my $n (1 .. 3)
	{
		sql($node, <<~"SQL");
			SELECT payledger.request_authorization(payment_intent_id, 'pm_ok')
			  FROM payledger.create_payment_intent('FX-$n', 'BUYER', 'USD', '[{"seller_id": "PEER-FX", "amount": 3333}]', gateway => 'sandbox')
			SQL
	}
	settle($node);
	is(sql($node, "SELECT payledger.balance('MERCHANT_PAYABLE.PEER-FX.USD')"), 3 * (3333 - 333), 'what the seller earned');

	# each is converted at the rate of its moment, and bought back at another one
	my %euros = (0.92137 => 2764, 0.9219 => 2766, 0.92083 => 2762);
	for my $rate (sort keys %euros)
	{
		sql($node, "SELECT payledger.convert_currency('MERCHANT_PAYABLE.PEER-FX.USD', 3000, 'MERCHANT_PAYABLE.PEER-FX.EUR', $euros{$rate}, $rate)");
	}
	sql($node, "SELECT payledger.open_account('PLATFORM_CASH', 'GLOBAL', c) FROM unnest('{EUR,USD}'::text[]) c");
	sql($node, "SELECT payledger.convert_currency('PLATFORM_CASH.GLOBAL.EUR', 8290, 'PLATFORM_CASH.GLOBAL.USD', 9000)");
	is(sql($node, "SELECT payledger.balance('MERCHANT_PAYABLE.PEER-FX.USD')"), 0, 'nothing is left in dollars');
	is(sql($node, "SELECT payledger.balance('MERCHANT_PAYABLE.PEER-FX.EUR')"), 2764 + 2766 + 2762, 'the seller has every converted cent');
	is(sql($node, "SELECT residue FROM payledger.fx_residue('EUR') LIMIT 1") + 0, 2, 'what the platform lost on them is its own, and shown');
	sql($node, "SELECT payledger.request_payout('PEER-FX', 'EUR')");
	settle($node);
	is(sql($node, "SELECT amount, status FROM payledger.payouts WHERE seller_id = 'PEER-FX'"), '8292|PAID', 'and all of it is paid out');
	is(sql($node, 'SELECT currency FROM payledger.trial_balance GROUP BY currency HAVING sum(debit) <> sum(credit)'), '',
		'the books balance in each currency');
};

check_ledger($node, 'in the end');
$node->stop;
done_testing();
