# Any order of a payment's webhooks ends in the same rows: every permutation of
# up to six events, random ones of more, each event once more somewhere behind.
#
# A scenario makes as many equal payments as there are orders to try and lets
# the PSP tell each of them in another one.  What is compared has no ids and no
# times: states, amounts, entries, open items.
#
# PERMUTATIONS is how many orders of each scenario are tried, all or 1,000
# for "all"; PERMUTATION_SEED repeats a run.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use List::Util qw(min shuffle);
use PayledgerPsp;
use PayledgerTest;
use Test::More;

my $MOST_RANDOM = 1000;
my $MOST_EVENTS_OF_ALL = 6;

my $seed = $ENV{PERMUTATION_SEED} // int(rand(2**31));
my $tries = $ENV{PERMUTATIONS} // 40;
srand($seed);
note("PERMUTATION_SEED=$seed PERMUTATIONS=$tries");

my $json = JSON::PP->new->utf8->canonical;
my @told;						# payments that were told everything
my $psp = PayledgerPsp->new;
my $node = new_node('permutations', max_connections => 20, max_files_per_process => 2000,
	'payledger.gateway_concurrency' => 400);
my %options = (
	timeout_ms => 3000, lease_seconds => 9, retry_base_ms => 600000, retry_max_ms => 3600000,
	rate_per_second => 0, endpoint_rate_per_second => 0, circuit_failures => 0);

add_stripe($node, $psp, %options, backfill_seconds => 0);
write_secrets($node, map { $_ => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret($_) ] } qw(stripe adyen));
sql($node, "SELECT payledger.add_gateway('adyen', 'adyen', '"
	  . $json->encode({ %options, base_url => $psp->base_url('adyen'), merchant_account => 'Shop', return_url => 'https://shop.example/back',
		multicapture => JSON::PP::true, keeps_remainder => JSON::PP::true }) . "'); SELECT pg_reload_conf()");
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateways are ready');

# ---- orders ----

sub permutations
{
	my (@items) = @_;

	return [] unless @items;
	return map {
		my ($i, $first) = ($_, $items[$_]);
		map { [ $first, @$_ ] } permutations(@items[ grep { $_ != $i } 0 .. $#items ]);
	} 0 .. $#items;
}

# The orders of n events that are tried: lists of positions, each with some
# told twice.
sub orders
{
	my ($n) = @_;
	my @orders = $n <= $MOST_EVENTS_OF_ALL ? permutations(0 .. $n - 1) : map { [ shuffle 0 .. $n - 1 ] } 1 .. $MOST_RANDOM;

	@orders = (shuffle @orders)[ 0 .. min($tries, scalar @orders) - 1 ] if $tries ne 'all';
	push @$_, $_->[ int(rand(@$_)) ], $_->[0] for @orders;
	return @orders;
}

# How many orders there are, before the events are known.
sub most_orders
{
	return $tries eq 'all' ? $MOST_RANDOM : min($tries, $MOST_RANDOM);
}

# ---- payments ----

# Equal payments at a gateway, asked to be authorized.
sub pay_equal
{
	my ($gateway, $method, $n) = @_;

	return split /\n/, sql($node, <<~"SQL");
		WITH made AS MATERIALIZED (
			SELECT i.payment_intent_id FROM generate_series(1, $n) n,
				   payledger.create_payment_intent('ORDER-' || n, 'BUYER-1', 'EUR', '[{"seller_id": "SELLER-111", "amount": 5000}]',
												   capture_method => 'manual', gateway => '$gateway') i)
		SELECT payment_intent_id FROM made WHERE payledger.request_authorization(payment_intent_id, '$method') IS NOT NULL
		SQL
}

# Runs a command on the order of each payment.
sub each_order
{
	my ($command, @ids) = @_;
	my $ids = join(',', @ids);

	sql($node, "SELECT count(c) FROM payledger.payment_orders o, LATERAL payledger.$command c WHERE o.payment_id IN ($ids)");
	return;
}

# Waits until no request of the payments is with the PSP.
sub wait_for_requests
{
	my (@ids) = @_;
	my $ids = join(',', @ids);

	wait_sql($node, "SELECT NOT EXISTS (SELECT FROM payledger.psp_requests WHERE payment_id IN ($ids) AND status IN ('READY', 'IN_FLIGHT'))",
		'every request was sent');
	return;
}

# From now on executed requests of that operation get no answer.
sub lose_replies
{
	my ($operation) = @_;

	$psp->fault(fault => 'drop_after', match => { operation => $operation }, times => -1, ms => 1);
	return;
}

# The PSP's own objects, by our payment.
sub truth_of
{
	my %ids = map { $_ => 1 } @_;

	return map { $_->{metadata}{payment_id} => $_ } grep { $ids{ $_->{metadata}{payment_id} // '' } } $psp->all_truth;
}

# ---- telling ----

# The webhooks about each payment after a number, in the PSP's order.
sub webhooks_of
{
	my ($after, @ids) = @_;
	my %by = map { $_ => [] } @ids;

	for my $webhook ($psp->webhooks($after))
	{
		my ($id) = ($webhook->{payment} // '') =~ /(\d{15,})/;

		push @{ $by{$id} }, $webhook if $id && $by{$id};
	}
	return \%by;
}

# Delivers webhooks in one transaction.
sub deliver
{
	my ($gateway, @webhooks) = @_;
	my $values = join ",\n", map {
		my ($headers, $body) = ($json->encode($_->{headers}), $_->{body});
		s/'/''/g for $headers, $body;
		"('$headers', '$body')";
	} @webhooks;

	sql($node, "SELECT count(*) FROM (VALUES $values) w(headers, body), LATERAL payledger.receive_webhook('$gateway', headers::jsonb, body)");
	wait_sql($node, q{SELECT NOT EXISTS (SELECT FROM payledger.webhooks WHERE status = 'RECEIVED')}, 'the worker has looked at them');
	return;
}

# What a payment came to, without ids and times.
sub outcomes
{
	my (@ids) = @_;
	my $ids = join(',', @ids);

	return map { $_->{id} => $_->{outcome} } rows($node, <<~"SQL");
		SELECT i.payment_intent_id::text AS id, concat_ws(E'\\n',
			i.status || ' ' || coalesce(i.decline_code, ''),
			(SELECT concat_ws(' ', 'payment', p.status, p.captured_amount, p.refunded_amount, p.voided_amount)
			   FROM payledger.payments p WHERE p.payment_id = i.payment_intent_id),
			(SELECT string_agg(concat_ws(' ', 'order', seller_id, status, captured_amount, refunded_amount, capture_pending_amount, voided_amount,
										 refund_pending_amount, disputed_amount, commission_amount, commission_refunded_amount), E'\\n' ORDER BY seller_id)
			   FROM payledger.payment_orders WHERE payment_id = i.payment_intent_id),
			(SELECT string_agg(concat_ws(' ', 'refund', amount, status, failure_code, commission_amount), E'\\n' ORDER BY amount)
			   FROM payledger.refunds WHERE payment_id = i.payment_intent_id),
			(SELECT string_agg(concat_ws(' ', 'dispute', amount, fee, status, round), E'\\n' ORDER BY amount)
			   FROM payledger.disputes WHERE payment_id = i.payment_intent_id),
			(SELECT string_agg(concat_ws(' ', 'request', operation, amount, status), E'\\n' ORDER BY operation, amount)
			   FROM payledger.psp_requests WHERE payment_id = i.payment_intent_id),
			(SELECT string_agg(line, E'\\n' ORDER BY line)
			   FROM (SELECT concat_ws(' ', e.entry_type, a.account_code, p.amount, count(*)) AS line
					   FROM payledger.journal_entries e JOIN payledger.postings p USING (journal_entry_id) JOIN payledger.accounts a USING (account_id)
					  WHERE e.payment_id = i.payment_intent_id GROUP BY e.entry_type, a.account_code, p.amount) l),
			(SELECT string_agg(line, E'\\n' ORDER BY line)
			   FROM (SELECT concat_ws(' ', 'item', kind, amount, count(*)) AS line FROM payledger.settlement_items
					  WHERE payment_id = i.payment_intent_id GROUP BY kind, amount) l)) AS outcome
		  FROM payledger.payment_intents i WHERE i.payment_intent_id IN ($ids)
		SQL
}

# Tells each payment in an order of its own; all must come to the same, which
# is returned.
sub tell_and_compare
{
	my ($gateway, $name, $after, @ids) = @_;
	my $by = webhooks_of($after, @ids);
	my @types = map { $_->{type} } @{ $by->{ $ids[0] } };
	my $n = @types;
	my @orders = orders($n);
	my @unlike = grep { join(' ', map { $_->{type} } @{ $by->{$_} }) ne "@types" } @ids;

	note("$name: $n events: @types");
	is(scalar @unlike, 0, "$name: the PSP tells the same of every payment");
	cmp_ok($n, '>=', 2, "$name: there is an order");
	@ids = @ids[ 0 .. min(scalar @ids, scalar @orders) - 1 ];
	for my $step (0 .. $n + 1)
	{
		deliver($gateway, map { $by->{ $ids[$_] }[ $orders[$_][$step] ] } 0 .. $#ids);
	}
	wait_sql($node, <<~'SQL', 'nothing is parked');
		SELECT count(payledger.retry_webhook(gateway, event_id)) = 0 FROM payledger.webhooks WHERE status = 'PARKED'
		SQL
	my %outcome = outcomes(@ids);
	my %orders_of;

	push @{ $orders_of{ $outcome{ $ids[$_] } } }, join(' ', map { $types[$_] } @{ $orders[$_] }) for 0 .. $#ids;
	is(scalar keys %orders_of, 1, "$name: " . @ids . " orders of $n events come to the same")
	  or diag(map { "---- after $orders_of{$_}[0] (" . @{ $orders_of{$_} } . " orders):\n$_\n" } keys %orders_of);
	wait_for_requests(@ids);
	push @told, @ids;
	return (values %outcome)[0];
}

sub newest_webhook
{
	my @all = $psp->webhooks(0);

	return @all ? $all[-1]{seq} : 0;
}

# ---- scenarios ----

subtest 'Stripe: an authorization with 3-D Secure whose reply got lost' => sub {
	my $after = newest_webhook();
	lose_replies('create');
	my @ids = pay_equal('stripe', 'pm_card_authenticationRequired', most_orders());
	wait_for_requests(@ids);
	$psp->clear_faults;
	my %truth = truth_of(@ids);
	$psp->control('POST', "/_test/intents/$_->{id}/complete_action", { outcome => 'succeed' }) for values %truth;

	like(tell_and_compare('stripe', '3-D Secure', $after, @ids), qr/^AUTHORIZED \npayment NOT_CAPTURED 0 0 0\n/, 'it is authorized');
};

subtest 'Stripe: an authorization that fails' => sub {
	my $after = newest_webhook();
	lose_replies('create');
	my @ids = pay_equal('stripe', 'pm_card_authenticationRequired', most_orders());
	wait_for_requests(@ids);
	$psp->clear_faults;
	my %truth = truth_of(@ids);
	$psp->control('POST', "/_test/intents/$_->{id}/complete_action", { outcome => 'fail' }) for values %truth;

	like(tell_and_compare('stripe', 'failed', $after, @ids), qr/^DECLINED /, 'it is declined');
};

subtest 'Stripe: an authorization with 3-D Secure that expires' => sub {
	my $after = newest_webhook();
	lose_replies('create');
	my @ids = pay_equal('stripe', 'pm_card_authenticationRequired', most_orders());
	wait_for_requests(@ids);
	$psp->clear_faults;
	my %truth = truth_of(@ids);
	for my $intent (values %truth)
	{
		$psp->control('POST', "/_test/intents/$intent->{id}/complete_action", { outcome => 'succeed' });
		$psp->control('POST', "/_test/intents/$intent->{id}/expire", {});
	}

	like(tell_and_compare('stripe', 'expired', $after, @ids), qr/^AUTHORIZED \npayment VOIDED 0 0 5000\n/, 'it was authorized and is void');
};

subtest 'Stripe: a refund whose reply got lost, and that fails later' => sub {
	my @ids = pay_equal('stripe', 'pm_card_visa', most_orders());
	wait_for_requests(@ids);
	each_order('capture(o.payment_order_id, 5000)', @ids);
	wait_for_requests(@ids);
	my $after = newest_webhook();
	lose_replies('refund');
	each_order('refund(o.payment_order_id, 500)', @ids);
	wait_for_requests(@ids);
	$psp->clear_faults;
	my %truth = truth_of(@ids);
	for my $intent (values %truth)
	{
		my ($refund) = @{ $psp->api('GET', "/v1/refunds?payment_intent=$intent->{id}")->{json}{data} };

		$psp->control('POST', "/_test/refunds/$refund->{id}/complete", { outcome => 'fail' });
	}
	my $outcome = tell_and_compare('stripe', 'a refund', $after, @ids);
	like($outcome, qr/^order SELLER-111 CAPTURED 5000 0 0 0 0 0 /m, 'nothing is refunded');
	like($outcome, qr/^refund 500 FAILED /m, 'the refund failed');
};

subtest 'Stripe: captures and refunds whose replies got lost, a refund that fails later, a dispute' => sub {
	my @ids = pay_equal('stripe', 'pm_card_visa', most_orders());
	wait_for_requests(@ids);
	my $after = newest_webhook();
	each_order('capture(o.payment_order_id, 2000, final => false)', @ids);
	wait_for_requests(@ids);
	lose_replies('capture');
	each_order('capture(o.payment_order_id, 3000)', @ids);
	wait_for_requests(@ids);
	each_order('refund(o.payment_order_id, 300)', @ids);
	wait_for_requests(@ids);
	lose_replies('refund');
	each_order('refund(o.payment_order_id, 500)', @ids);
	wait_for_requests(@ids);
	$psp->clear_faults;
	my %truth = truth_of(@ids);
	for my $intent (values %truth)
	{
		my ($refund) = grep { $_->{amount} == 300 } @{ $psp->api('GET', "/v1/refunds?payment_intent=$intent->{id}")->{json}{data} };
		my $dispute = $psp->control('POST', "/_test/intents/$intent->{id}/dispute", { amount => 5000, fee => 1500, reason => 'fraudulent' })->{json};

		$psp->control('POST', "/_test/refunds/$refund->{id}/complete", { outcome => 'fail' });
		$psp->control('POST', "/_test/disputes/$dispute->{id}/complete", { status => 'under_review' });
		$psp->control('POST', "/_test/disputes/$dispute->{id}/complete", { status => 'won' });
	}
	my $outcome = tell_and_compare('stripe', 'after the capture', $after, @ids);
	like($outcome, qr/^order SELLER-111 PARTIALLY_REFUNDED 5000 500 0 0 0 0 /m, 'captured, one refund stays');
	like($outcome, qr/^refund 300 FAILED .*\nrefund 500 SUCCEEDED/m, 'one refund failed');
	like($outcome, qr/^dispute 5000 1500 WON 1$/m, 'the dispute is won');
};

subtest 'Adyen: captures, a capture that fails later, refunds, a chargeback in two rounds' => sub {
	my $after = newest_webhook();
	my @ids = pay_equal('adyen', 'authorised', most_orders());
	wait_for_requests(@ids);
	each_order('capture(o.payment_order_id, 2000, final => false)', @ids);
	wait_for_requests(@ids);
	my $by = webhooks_of($after, @ids);
	deliver('adyen', map { grep { $_->{type} eq 'CAPTURE' } @{ $by->{$_} } } @ids);
	each_order('capture(o.payment_order_id, 3000)', @ids);
	each_order('refund(o.payment_order_id, 300)', @ids);
	each_order('refund(o.payment_order_id, 500)', @ids);
	wait_for_requests(@ids);
	my %truth = truth_of(@ids);
	for my $payment (values %truth)
	{
		my ($capture) = grep { $_->{operation} eq 'capture' && $_->{amount} == 3000 } @{ $payment->{operations} };
		my ($refund) = grep { $_->{operation} eq 'refund' && $_->{amount} == 300 } @{ $payment->{operations} };

		$psp->adyen_control($capture->{object}, 'fail');
		$psp->adyen_control($refund->{refund}, 'fail', { reversed => JSON::PP::true });
		$psp->adyen_control($payment->{id}, 'chargeback', { amount => 2000, reason => 'fraud' });
		$psp->adyen_control($payment->{id}, 'reverse');
		$psp->adyen_control($payment->{id}, 'second');
	}
	my $outcome = tell_and_compare('adyen', 'after the capture', $after, @ids);
	like($outcome, qr/^order SELLER-111 PARTIALLY_REFUNDED 2000 500 0 3000 0 2000 /m, 'one capture and one refund stay');
	like($outcome, qr/^dispute 2000 0 LOST 2$/m, 'the chargeback is lost in the second round');
};

subtest 'Adyen: an authorization after a redirect whose reply got lost, and that expires' => sub {
	my $after = newest_webhook();
	my @ids = pay_equal('adyen', 'redirect', most_orders());
	wait_for_requests(@ids);
	my %truth = truth_of(@ids);
	my @details = map {
		my $result = $psp->adyen_control($_->{reference}, 'complete', { outcome => 'succeed' })->{redirectResult};
		"($_->{metadata}{payment_id}, '$result')"
	} values %truth;
	lose_replies('details');
	sql($node, 'SELECT count(payledger.confirm_authorization(id, jsonb_build_object($$redirectResult$$, result))) FROM (VALUES '
		  . join(', ', @details) . ') v(id, result)');
	wait_for_requests(@ids);
	$psp->clear_faults;
	%truth = truth_of(@ids);
	$psp->adyen_control($_->{id}, 'expire') for values %truth;

	like(tell_and_compare('adyen', 'redirected', $after, @ids), qr/^AUTHORIZED \npayment VOIDED 0 0 5000\n/, 'it was authorized and expired');
};

check_ledger($node, 'in the end');
is(sql($node, "SELECT gateway, operation, status, reply_code, count(*) FROM payledger.psp_requests"
	  . " WHERE status NOT IN ('SUCCEEDED', 'REFUSED') AND payment_id IN (" . join(',', @told) . ') GROUP BY 1, 2, 3, 4'), '', 'nothing that was told is undecided');

done_testing();
