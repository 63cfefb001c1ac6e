# What a PSP says that is less than was asked for, or against what it said
# before, or too late: booked as what it is, or parked with the reason, and
# never booked as something else.  And what the gateway worker must not do
# when its lease, its attempts or the key are over.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use PayledgerImpostor;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->utf8->canonical;
my $dir = PostgreSQL::Test::Utils::tempdir('requests');
my $psp = PayledgerPsp->new('--log', "$dir/log");
my $node = new_node('contradictions', 'fsync' => 'off', 'payledger.idempotency_retention' => '3600s');
my $events = 0;
my %fast = (timeout_ms => 1000, lease_seconds => 6, retry_base_ms => 50, retry_max_ms => 400, unknown_max_ms => 400, backfill_seconds => 0);

add_stripe($node, $psp, %fast);
write_secrets($node,
	stripe => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('stripe') ],
	adyen => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('adyen') ]);
$node->reload;
delete $fast{backfill_seconds};
sql($node, "SELECT payledger.add_gateway('adyen', 'adyen', '"
	  . $json->encode({ %fast, base_url => $psp->base_url('adyen'), merchant_account => 'Shop', return_url => 'https://shop.example/' }) . "')");
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateways are ready');

# ---- helpers ----

# Delivers an item of Adyen and returns what became of it.
sub adyen
{
	my ($code, $reference, %more) = @_;
	my $item = { eventCode => $code, success => 'true', pspReference => 'REF' . ++$events, merchantAccountCode => 'Shop', merchantReference => $reference,
		amount => { currency => 'EUR', value => 800 }, eventDate => '2026-01-31T10:15:30+01:00', reason => 'because', %more };
	my @fields = (@$item{qw(pspReference originalReference merchantAccountCode merchantReference)}, @{ $item->{amount} }{qw(value currency)}, @$item{qw(eventCode success)});
	my $id = "$code:$item->{pspReference}:$item->{success}";

	$item->{additionalData}{hmacSignature} = encode_base64(hmac_sha256(join(':', map { $_ // '' } @fields), pack('H*', $psp->webhook_secret('adyen'))), '');
	sql($node, "SELECT payledger.receive_webhook('adyen', '{}', \$w\$" . $json->encode({ notificationItems => [ { NotificationRequestItem => $item } ] }) . '$w$)');
	wait_sql($node, "SELECT status <> 'RECEIVED' FROM payledger.webhooks WHERE event_id = '$id'", "$id was looked at");
	return sql($node, "SELECT status || coalesce(': ' || problem, '') FROM payledger.webhooks WHERE event_id = '$id'");
}

sub request
{
	my ($id, $operation, $columns) = @_;

	return sql($node, "SELECT $columns FROM payledger.psp_requests WHERE payment_id = $id AND operation = '$operation' ORDER BY psp_request_id DESC LIMIT 1");
}

sub wait_request
{
	my ($id, $operation, $condition, $what) = @_;

	wait_sql($node, "SELECT $condition FROM payledger.psp_requests WHERE payment_id = $id AND operation = '$operation' ORDER BY psp_request_id DESC LIMIT 1", $what);
	return;
}

sub payment
{
	my ($id, $columns) = @_;

	return sql($node, "SELECT $columns FROM payledger.payments WHERE payment_id = $id");
}

# ---- less than was asked for ----

subtest 'an authorization of less' => sub {
	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(authorize);
	my $id = pay($node, 'authorised', [800], gateway => 'adyen', capture_method => 'manual');
	my $request = request($id, 'AUTHORIZE', 'psp_request_id');

	wait_request($id, 'AUTHORIZE', "attempt > 0 AND status <> 'IN_FLIGHT'", 'it was tried');
	like(adyen('AUTHORISATION', "pl_${id}_$request", amount => { currency => 'EUR', value => 799 }), qr/^PARKED: .*asked for 800 EUR and 799 EUR is reported done/, 'is parked');
	isnt(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'AUTHORIZED', 'and not booked as the whole');
	is(payment($id, 'count(*)'), 0, 'there is no payment of it');
	$psp->clear_faults;
};

subtest 'a capture of less' => sub {
	my $id = create_authorized($node, 'waits', [800], gateway => 'adyen');

	wait_request($id, 'CAPTURE', "status = 'PENDING'", 'the capture is accepted');
	adyen('CAPTURE', "pl_${id}_" . request($id, 'CAPTURE', 'psp_request_id'), originalReference => payment($id, 'psp_reference'), pspReference => request($id, 'CAPTURE', 'psp_reference'), amount => { currency => 'EUR', value => 450 });
	is(payment($id, 'captured_amount'), 450, 'books what was captured');
	is(sql($node, "SELECT sum(credit) FROM payledger.journal WHERE payment_id = $id AND entry_type = 'CAPTURE' AND account_code LIKE 'MERCHANT_PAYABLE.SELLER-111.%'"), 450, 'for the seller, too');
	is(sql($node, "SELECT amount FROM payledger.settlement_items WHERE payment_id = $id"), 450, 'and as an open item');
};

# ---- against what was said before ----

subtest 'a capture that succeeded and is then refused' => sub {
	my $id = create_authorized($node, 'waits', [800], gateway => 'adyen');
	my $reference = payment($id, 'psp_reference');

	wait_request($id, 'CAPTURE', "status = 'PENDING'", 'the capture is accepted');
	my $request = request($id, 'CAPTURE', 'psp_request_id');
	adyen('CAPTURE', "pl_${id}_$request", originalReference => $reference, pspReference => request($id, 'CAPTURE', 'psp_reference'));
	is(payment($id, 'captured_amount'), 800, 'captured');
	like(adyen('CAPTURE', "pl_${id}_$request", originalReference => $reference, pspReference => request($id, 'CAPTURE', 'psp_reference'), success => 'false'), qr/^PARKED: .*is SUCCEEDED and now reported REFUSED/, 'the refusal is parked');
	is(payment($id, 'captured_amount'), 800, 'and takes nothing back');
};

subtest 'a refund that failed and then succeeds' => sub {
	my $id = create_authorized($node, 'waits', [800], gateway => 'adyen');
	my $reference = payment($id, 'psp_reference');

	wait_request($id, 'CAPTURE', "status = 'PENDING'", 'the capture is accepted');
	adyen('CAPTURE', "pl_${id}_" . request($id, 'CAPTURE', 'psp_request_id'), originalReference => $reference, pspReference => request($id, 'CAPTURE', 'psp_reference'));
	my $refund = sql($node, "SELECT r.refund_id FROM payledger.payment_orders o, LATERAL payledger.refund(o.payment_order_id, 300) r WHERE o.payment_id = $id");
	wait_request($id, 'REFUND', "status = 'PENDING'", 'the refund is accepted');
	my $request = request($id, 'REFUND', 'psp_request_id');
	adyen('REFUND', "pl_${id}_$request", originalReference => $reference, pspReference => request($id, 'REFUND', 'psp_reference'), success => 'false', amount => { currency => 'EUR', value => 300 });
	is(sql($node, "SELECT status FROM payledger.refunds WHERE refund_id = $refund"), 'FAILED', 'it failed');
	like(adyen('REFUND', "pl_${id}_$request", originalReference => $reference, pspReference => request($id, 'REFUND', 'psp_reference'), amount => { currency => 'EUR', value => 300 }), qr/^PARKED: .*REFUSED.*SUCCEEDED|^PARKED: .*FAILED.*SUCCEEDED/, 'its success is parked: somebody has to see it');
	is(payment($id, 'refunded_amount'), 0, 'and not swallowed as booked');
};

subtest 'a refund under way when a dispute opens' => sub {
	my $id = create_authorized($node, 'pm_card_visa', [800]);
	wait_sql($node, "SELECT captured_amount = 800 FROM payledger.payments WHERE payment_id = $id", 'captured');

	# the first try is executed, or not: nobody knows
	$psp->fault(fault => 'drop_after', times => 1, ms => 20, match => { operation => 'refund' });
	$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(refund retrieve);
	sql($node, "SELECT payledger.refund(payment_order_id, 300) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_request($id, 'REFUND', 'first_sent_at IS NOT NULL AND attempt > 1', 'the refund was sent');
	sql($node, "SELECT payledger.open_dispute(payment_order_id, 800, 'dp_$id') FROM payledger.payment_orders WHERE payment_id = $id");
	isnt(request($id, 'REFUND', 'status'), 'REFUSED', 'it is not withdrawn: the PSP may have executed it');
	$psp->clear_faults;
	wait_request($id, 'REFUND', "status = 'SUCCEEDED'", 'it is told in the end');
	is(payment($id, 'refunded_amount'), 300, 'and booked');

	# READY again, because nothing was executed, but sent it was
	$id = create_authorized($node, 'pm_card_visa', [800]);
	wait_sql($node, "SELECT captured_amount = 800 FROM payledger.payments WHERE payment_id = $id", 'captured');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 60000, "retry_max_ms": 60000}')});
	$psp->fault(fault => 'rate_limit_429', times => 1, match => { operation => 'refund' });
	sql($node, "SELECT payledger.refund(payment_order_id, 300) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_request($id, 'REFUND', "status = 'READY' AND first_sent_at IS NOT NULL", 'it waits to be sent again');
	sql($node, "SELECT payledger.open_dispute(payment_order_id, 800, 'dp_$id') FROM payledger.payment_orders WHERE payment_id = $id");
	is(request($id, 'REFUND', 'status'), 'READY', 'what was sent once is not withdrawn');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 50, "retry_max_ms": 400}')});
	sql($node, "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE payment_id = $id AND operation = 'REFUND'");
	wait_request($id, 'REFUND', "status = 'SUCCEEDED'", 'it is sent');
};

# ---- attempts, leases and keys that are over ----

subtest 'a PSP that is gone after an attempt whose end nobody knows' => sub {
	# it takes the request and says nothing, then there is nobody
	my $gone = PayledgerImpostor->new(sub { return 0 });

	write_secrets($node, gone => 'sk_test_gone', stripe => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('stripe') ],
		adyen => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('adyen') ]);
	$node->reload;
	sql($node, "SELECT payledger.add_gateway('gone', 'stripe', '"
		  . $json->encode({ %fast, backfill_seconds => 0, base_url => $gone->url, failover_after_ms => 1000, max_attempts => 3 }) . "')");
	sql($node, q{SELECT payledger.add_routing_rule('gone', seller_id => 'SELLER-222', failover_gateways => '{stripe}')});
	my $id = sql($node, <<~'SQL');
		SELECT i.payment_intent_id FROM payledger.create_payment_intent('GONE', 'BUYER-1', 'EUR', '[{"seller_id":"SELLER-222","amount":800}]', capture_method => 'manual') i,
			LATERAL (SELECT payledger.request_authorization(i.payment_intent_id, 'pm_card_visa', alternatives => '{"stripe":"pm_card_visa"}')) a
		SQL

	wait_request($id, 'AUTHORIZE', "status = 'UNKNOWN'", 'nobody knows');
	undef $gone;
	wait_request($id, 'AUTHORIZE', "attempt > 5 AND psp_request_id < payledger.next_id() - (3000::bigint << 22)", 'it was tried for long, and often');
	is(sql($node, "SELECT gateway FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'gone', 'it does not go to another PSP: the first may have executed it');
	like(request($id, 'AUTHORIZE', 'status'), qr/^(?:UNKNOWN|IN_FLIGHT)$/, 'and is not refused');
	is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE payment_id = $id"), 1, 'there is one request');
	wait_request($id, 'AUTHORIZE', "status = 'UNKNOWN'", 'between two attempts');
	sql($node, 'SELECT payledger.resolve_request(' . request($id, 'AUTHORIZE', 'psp_request_id') . q{, 'REFUSED', 'the PSP has no trace of it')});
};

subtest 'a lease that another worker has' => sub {
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 20000, "lease_seconds": 30}')});
	$psp->pause;
	my $id = pay($node, 'pm_card_visa', [800], capture_method => 'manual');

	wait_request($id, 'AUTHORIZE', "status = 'IN_FLIGHT'", 'it is under way');
	# as if this worker had been thought dead, and another one sent it
	sql($node, "UPDATE payledger.psp_requests SET lease_token = lease_token + 1 WHERE payment_id = $id AND status = 'IN_FLIGHT'");
	is(request($id, 'AUTHORIZE', 'status'), 'IN_FLIGHT', 'another worker has it');
	$psp->resume;
	wait_for(sub { grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth }, 'the PSP has executed it', $node);
	create_authorized($node, 'pm_card_visa', [ 900 + $_ ], capture_method => 'manual') for 1 .. 2;
	is(request($id, 'AUTHORIZE', 'status'), 'IN_FLIGHT', 'the answer to the first worker is not stored over the second one\'s lease');

	# the second worker never comes back: the lease expires, and the request goes on
	sql($node, "UPDATE payledger.psp_requests SET lease_expires_at = now() - interval '1 second' WHERE payment_id = $id");
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'a lease that expired is taken over');
	is(sql($node, "SELECT count(*) FROM payledger.state_history WHERE payment_id = $id AND machine = 'psp_request' AND to_status = 'UNKNOWN'"), 1, 'as one of unknown outcome');
	is(scalar(grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth), 1, 'one payment at the PSP');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 1000, "lease_seconds": 6}')});
};

subtest 'a key that the PSP has forgotten' => sub {
	# a gateway that cannot be asked about its requests
	$psp->fault(fault => 'error_500', times => -1, match => { operation => 'authorize' });
	my $id = pay($node, 'authorised', [700], gateway => 'adyen', capture_method => 'manual');

	wait_request($id, 'AUTHORIZE', "status = 'UNKNOWN'", 'nobody knows');
	# found by a lease, not by the decision after an attempt: the clock passes while it waits
	sql($node, "UPDATE payledger.psp_requests SET first_sent_at = now() - interval '60 days' WHERE payment_id = $id AND operation = 'AUTHORIZE'");
	wait_request($id, 'AUTHORIZE', "status = 'PARKED'", 'it is parked');
	$psp->clear_faults;
	my $sent = () = grep { /$id/ } split /\n/, slurp_file("$dir/log");
	sql_fails($node, 'SELECT payledger.retry_request(' . request($id, 'AUTHORIZE', 'psp_request_id') . ')', '55000', 'forgotten|kept|key', 'an operator cannot have it sent either');
	is(scalar(() = grep { /$id/ } split /\n/, slurp_file("$dir/log")), $sent, 'nothing was sent again');
};

# ---- keys of callers ----

subtest 'idempotency keys are kept for as long as the setting says' => sub {
	create_intent($node, [100], idempotency_key => 'young');
	my $old = create_intent($node, [100], idempotency_key => 'old');

	sql($node, q{UPDATE payledger.idempotency_keys SET created_at = created_at - interval '3601 seconds' WHERE idempotency_key = 'old'});
	sql($node, q{UPDATE payledger.idempotency_keys SET created_at = created_at - interval '3500 seconds' WHERE idempotency_key = 'young'});
	kill9_worker($node, 'keeper');
	wait_for_workers($node);
	wait_sql($node, q{SELECT count(*) = 0 FROM payledger.idempotency_keys WHERE idempotency_key = 'old'}, 'the old one is gone');
	is(sql($node, q{SELECT count(*) FROM payledger.idempotency_keys WHERE idempotency_key = 'young'}), 1, 'the young one is kept');
};

settle($node);
check_ledger($node, 'the ledger');
$node->stop;
done_testing();
