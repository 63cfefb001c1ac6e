# Two servers share a PSP account, have one payledger.node_id and so draw the
# same ids.  Each authorizes, captures, refunds and pays out what is its own,
# finds its own object when a reply was lost and nobody else's, and takes no
# webhook of the other's: those wait for an operator and say why.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use Test::More;
use Time::HiRes ();

my $json = JSON::PP->new->canonical;
my $psp = PayledgerPsp->new;
my @nodes = map { new_node($_) } qw(one two);
my ($one, $two) = @nodes;

# ---- two servers that draw the same ids ----

# further ahead than any clock will be in this test, each time more
my $ahead = (int(Time::HiRes::time() * 1000) - 1735689600000) << 12;

sub set_up
{
	my ($node) = @_;
	my %adyen = (base_url => $psp->base_url('adyen'), merchant_account => 'Shop', return_url => 'https://shop.example/', timeout_ms => 1000,
		lease_seconds => 6, retry_base_ms => 50, retry_max_ms => 400);

	add_stripe($node, $psp, backfill_seconds => 0, unknown_max_ms => 400);
	add_secrets($node, adyen => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('adyen') ]);
	$node->reload;
	sql($node, "SELECT payledger.add_gateway('adyen', 'adyen', '" . $json->encode(\%adyen) . "')");
	sql($node, "SELECT payledger.set_payout_terms('$_', 'EUR', 'acct_' || right('$_', 3), gateway => 'stripe', available_from => 'capture')")
	  for qw(SELLER-111 SELLER-222);
	return;
}

# Has both servers run SQL, without workers that would draw ids as well. Returns
# the rows that it gave, the same from both.
sub same_ids
{
	my ($what, $query) = @_;
	my @results;

	$ahead += 600_000 << 12;
	for my $node (@nodes)
	{
		$node->append_conf('postgresql.conf', "payledger.databases = ''");
		$node->stop;
		open(my $file, '>', $node->data_dir . '/payledger.id_limit') or die "could not write: $!\n";
		print $file "$ahead\n";
		close($file);
		$node->start;
		push @results, sql($node, $query);
	}
	is($results[1], $results[0], "$what: the same ids");
	isnt($results[0], '', "$what: some");
	return split /\n/, $results[0];
}

# Lets its workers do what there is to do.
sub start_workers
{
	my ($node) = @_;

	$node->append_conf('postgresql.conf', "payledger.databases = 'payledger'");
	$node->restart;
	wait_for_workers($node);
	return;
}

# ---- what there is ----

sub one_value
{
	my ($node, $query) = @_;

	return sql($node, "SELECT $query");
}

sub key_of
{
	my ($node, $target, $operation) = @_;

	return one_value($node, "idempotency_key FROM payledger.psp_requests WHERE target = $target AND operation = '$operation'");
}

sub intent
{
	my ($node, $id) = @_;

	return one_value($node, "status FROM payledger.payment_intents WHERE payment_intent_id = $id");
}

sub psp_reference
{
	my ($node, $id) = @_;

	return one_value($node, "psp_reference FROM payledger.payments WHERE payment_id = $id");
}

# The payments at the PSP that say that they are this one of ours.
sub at_psp
{
	my ($id) = @_;

	return grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth;
}

# The PSP, which is asked again and again, has nothing of this server.
sub finds_nothing
{
	my ($node, $target, $operation) = @_;
	my $request = "payledger.psp_requests WHERE target = $target AND operation = '$operation'";
	my $attempts = one_value($node, "attempt FROM $request");

	wait_sql($node, "SELECT attempt > $attempts + 3 AND reply_code = 'not_found_yet' OR status NOT IN ('READY', 'IN_FLIGHT', 'UNKNOWN') FROM $request",
		"the PSP has answered about the $operation");
	like(one_value($node, "status FROM $request"), qr/^(?:UNKNOWN|IN_FLIGHT)$/, "$operation that was not executed: the other's is not taken for it");
	return;
}

# Hands webhooks to both servers, whosever they are, and waits until they were looked at.
my $seen = 0;

sub deliver_to_both
{
	my @webhooks = $psp->webhooks($seen);

	for my $webhook (@webhooks)
	{
		my $headers = $json->encode($webhook->{headers});

		$seen = $webhook->{seq};
		sql($_, "SELECT payledger.receive_webhook('$webhook->{psp}', \$w\$$headers\$w\$, \$w\$$webhook->{body}\$w\$)") for @nodes;
	}
	wait_sql($_, q{SELECT NOT EXISTS (SELECT FROM payledger.webhooks WHERE status = 'RECEIVED' OR next_attempt_at < now())}, 'the webhooks were looked at') for @nodes;
	return @webhooks;
}

sub states
{
	my ($node, $id) = @_;

	return one_value($node, "concat_ws(' ', p.status, p.captured_amount, p.refunded_amount, p.voided_amount) FROM payledger.payments p WHERE payment_id = $id");
}

set_up($_) for @nodes;

# ---- authorizations ----

my @cases = map { [ 'stripe', $_, 'pm_card_visa' ] } qw(paid lost never void);

push @cases, map { [ 'adyen', "adyen_$_", 'authorised' ] } qw(paid void);
my %id;

@id{ map { $_->[1] } @cases } = same_ids('payments', join '', map { <<~"SQL" } @cases);
	SELECT payment_intent_id FROM payledger.create_payment_intent('$_->[1]', 'BUYER-1', 'EUR',
		'[{"seller_id": "SELLER-111", "amount": 1450}, {"seller_id": "SELLER-222", "amount": 1450}]', 'manual', '$_->[0]') \\gset
	SELECT payledger.request_authorization(:payment_intent_id, '$_->[2]') \\gset
	SELECT :payment_intent_id;
	SQL
is(one_value($two, q{string_agg(psp_request_id::text, ' ' ORDER BY psp_request_id) FROM payledger.psp_requests}),
	one_value($one, q{string_agg(psp_request_id::text, ' ' ORDER BY psp_request_id) FROM payledger.psp_requests}), 'and requests');
start_workers($one);
settle($one);
is(intent($one, $id{$_}), 'AUTHORIZED', "$_: the one has authorized it") for sort keys %id;

my %key = map { $_ => key_of($two, $id{$_}, 'AUTHORIZE') } keys %id;

$psp->fault(fault => 'drop_after', times => 1, ms => 20, match => { idempotency_key => $key{lost} });
$psp->fault(fault => 'error_503', times => -1, match => { idempotency_key => $key{$_} }) for qw(lost never);
start_workers($two);
for my $case (qw(paid void adyen_paid adyen_void))
{
	wait_sql($two, "SELECT status <> 'PENDING_AUTH' FROM payledger.payment_intents WHERE payment_intent_id = $id{$case}", "$case is decided");
	is(intent($two, $id{$case}), 'AUTHORIZED', "$case: the other too");
	is(scalar(at_psp($id{$case})), 2, "$case: the PSP has two payments");
	isnt(psp_reference($two, $id{$case}), psp_reference($one, $id{$case}), "$case: each server its own");
}
wait_sql($two, "SELECT status <> 'PENDING_AUTH' FROM payledger.payment_intents WHERE payment_intent_id = $id{lost}", 'the lost one is decided');
is(scalar(at_psp($id{lost})), 2, 'the PSP has two of the lost one');
isnt(psp_reference($two, $id{lost}), psp_reference($one, $id{lost}), 'and it was found');
finds_nothing($two, $id{never}, 'AUTHORIZE');

# ---- captures ----

deliver_to_both();
finds_nothing($two, $id{never}, 'AUTHORIZE');
same_ids('captures', join '', map { "SELECT payment_id FROM payledger.capture_payment($id{$_});" } qw(paid adyen_paid));
for my $node (@nodes)
{
	start_workers($node);
	wait_sql($node, q{SELECT bool_and(status IN ('SUCCEEDED', 'PENDING')) FROM payledger.psp_requests WHERE operation = 'CAPTURE'}, 'the PSP has captured');
}
deliver_to_both();
for my $node (@nodes)
{
	wait_sql($node, q{SELECT bool_and(status = 'SUCCEEDED') FROM payledger.psp_requests WHERE operation = 'CAPTURE'}, 'the captures are done');
	is(states($node, $id{$_}), 'CAPTURED 2900 0 0', $node->name . ", $_: captured") for qw(paid adyen_paid);
}
for my $case (qw(paid adyen_paid))
{
	is(join(' ', map { $_->{amount_received} } at_psp($id{$case})), '2900 2900', "$case: the PSP has captured the sum of both");
}

# ---- refunds and payouts ----

same_ids('refunds and payouts', <<~"SQL");
	SELECT refund_ids FROM payledger.refund_payment($id{paid}, 300);
	SELECT refund_ids FROM payledger.refund_payment($id{adyen_paid}, 300);
	SELECT payout_id FROM payledger.request_payout('SELLER-111', 'EUR', 500);
	SELECT payout_id FROM payledger.request_payout('SELLER-222', 'EUR', 500);
	SQL
my %payout = map { $_->{seller} => $_->{id} } rows($two, 'SELECT payout_id::text AS id, seller_id AS seller FROM payledger.payouts');

start_workers($one);
wait_sql($one, q{SELECT bool_and(status = 'PAID') FROM payledger.payouts}, 'the one has paid out');
$psp->fault(fault => 'error_503', times => -1, match => { idempotency_key => key_of($two, $payout{'SELLER-222'}, 'PAYOUT') });
start_workers($two);
wait_sql($two, "SELECT status = 'PAID' FROM payledger.payouts WHERE payout_id = $payout{'SELLER-111'}", 'the other too');
finds_nothing($two, $payout{'SELLER-222'}, 'PAYOUT');
is(join(' ', sort map { "$_->{metadata}{payout_id} $_->{amount}" } $psp->all_transfers),
	join(' ', sort map { "$payout{$_} 500" } qw(SELLER-111 SELLER-111 SELLER-222)), 'three transfers, each once');
wait_sql($_, q{SELECT bool_and(status IN ('SUCCEEDED', 'PENDING')) FROM payledger.psp_requests WHERE operation = 'REFUND'}, 'refunded') for @nodes;

# ---- webhooks ----

sql($one, "SELECT payledger.void_payment($id{$_})") for qw(void adyen_void);
wait_sql($one, q{SELECT bool_and(status IN ('SUCCEEDED', 'PENDING')) FROM payledger.psp_requests WHERE operation = 'CANCEL'}, 'voided');
cmp_ok(scalar(deliver_to_both()), '>', 10, 'webhooks of each to both');
for my $node (@nodes)
{
	is(states($node, $id{$_}), 'PARTIALLY_REFUNDED 2900 300 0', $node->name . ", $_: refunded") for qw(paid adyen_paid);
	is(states($node, $id{$_}), $node == $one ? 'VOIDED 0 0 2900' : 'NOT_CAPTURED 0 0 0', $node->name . ", $_: what only the one voided") for qw(void adyen_void);
	is(sql($node, q{SELECT problem FROM payledger.webhooks WHERE status NOT IN ('APPLIED', 'IGNORED')
		AND problem !~ '^event "\S+" of gateway "\w+" is not about \d+ of this server but of another one with payledger.node_id 0$'}), '', 'what is not applied is the other\'s');
	for my $gateway (qw(stripe adyen))
	{
		cmp_ok(sql($node, "SELECT count(*) FROM payledger.webhooks WHERE gateway = '$gateway' AND status = 'PARKED' AND next_attempt_at IS NULL"), '>', 3,
			$node->name . ", $gateway: an operator has to look at those");
	}
	is(sql($node, q{SELECT count(*) FROM payledger.webhooks WHERE event_type ~ 'dispute'}), 0, 'none about a dispute');
	wait_sql($node, q{SELECT failing AND last_error ~ 'webhooks of gateway "(stripe|adyen)" were given up' FROM payledger.stat_worker WHERE role = 'gateway'}, 'the worker says so');
}
finds_nothing($two, $id{never}, 'AUTHORIZE');
finds_nothing($two, $payout{'SELLER-222'}, 'PAYOUT');

# Adyen tells of a chargeback by the payment's reference
$psp->adyen_control(psp_reference($one, $id{adyen_paid}), 'chargeback', {});
deliver_to_both();
is(sql($_, 'SELECT count(*) > 0 FROM payledger.disputes'), $_ == $one ? 't' : 'f', $_->name . ': a dispute of the one') for @nodes;

# ---- settlement: a report of the account has the lines of both ----

my @lines = map { { line_type => 'capture', psp_reference => psp_reference($_, $id{paid}), currency => 'EUR', gross => 2900, fee => 0, net => 2900 } } @nodes;

sql($two, "SELECT payledger.import_settlement('stripe', 'both', '" . $json->encode(\@lines) . "')");
sql($two, q{SELECT payledger.reconcile_settlement('both')});
is(sql($two, q{SELECT category, line_no FROM payledger.reconciliation_exceptions WHERE category <> 'MISSING_AT_PSP'}), 'MISSING_HERE|1', 'the line of the other is missing here');
is(sql($two, q{SELECT lines, matched FROM payledger.settlement_reports WHERE report_id = 'both'}), '2|1', 'its own is settled');

# ---- in the end ----

# while they go on failing; where the worker is faster, it is refused and asked again
try_sql($two, q{SELECT payledger.resolve_request(psp_request_id, 'REFUSED', 'not in the dashboard') FROM payledger.psp_requests WHERE status IN ('UNKNOWN', 'PARKED')})
  while sql($two, q{SELECT count(*) FROM payledger.psp_requests WHERE status IN ('UNKNOWN', 'PARKED', 'IN_FLIGHT')});
$psp->clear_faults;
check_ledger($_, $_->name) for @nodes;

done_testing();
