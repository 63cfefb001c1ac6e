# Requests whose outcome nobody knows: sent again with the same key while the
# PSP keeps it, then only asked for, then an operator's.  Nothing is executed
# twice, and no time that passes turns one into a failure.

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('requests');
my $psp = PayledgerPsp->new('--log', "$dir/log");
my $node = new_node('unknown');
my $json = JSON::PP->new->canonical;

# a Stripe that has no more than the PaymentIntents which a test gives it
my $fake = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or BAIL_OUT("no socket: $!");

add_stripe($node, $psp, unknown_max_ms => 400, backfill_seconds => 0);
my %fast = (timeout_ms => 1000, lease_seconds => 6, retry_base_ms => 50, retry_max_ms => 400, unknown_max_ms => 400);
my %gateways = (
	adyen => [ 'adyen', { %fast, base_url => $psp->base_url('adyen'), merchant_account => 'Shop', return_url => 'https://shop.example/' } ],
	fake => [ 'stripe', { %fast, base_url => 'http://127.0.0.1:' . PayledgerHosts::add($fake->sockport), backfill_seconds => 0 } ]);
write_secrets($node, stripe => $psp->key, adyen => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('adyen') ], fake => 'sk_test_fake');
$node->reload;
sql($node, "SELECT payledger.add_gateway('$_', '$gateways{$_}[0]', '" . $json->encode($gateways{$_}[1]) . "')") for sort keys %gateways;
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateways are ready');

# ---- helpers ----

# The one request of an operation for a payment.
sub request_of
{
	my ($id, $operation) = @_;
	my ($request) = rows($node, "SELECT psp_request_id::text AS id, status, attempt, reply_code AS code, reply_message AS message FROM payledger.psp_requests"
		  . " WHERE payment_id = $id AND operation = '$operation'");

	return $request;
}

sub wait_status
{
	my ($id, $operation, $status) = @_;

	wait_sql($node, "SELECT bool_and(status = '$status') FROM payledger.psp_requests WHERE payment_id = $id AND operation = '$operation'",
		"the $operation of $id is $status");
	return request_of($id, $operation);
}

# As if the request had been sent that long ago; with the worker stopped, so
# that it finds it so.
sub sent_ago
{
	my ($id, $operation, $interval) = @_;

	sql($node, "UPDATE payledger.psp_requests SET first_sent_at = now() - interval '$interval' WHERE payment_id = $id AND operation = '$operation'");
	return;
}

# What was sent to the test server for a payment, by method.
sub sent
{
	my ($id, $method) = @_;

	return grep { $_->{method} eq $method && ("$_->{path} $_->{body}" =~ /$id/) } map { decode_json($_) } split /\n/, slurp_file("$dir/log");
}

sub payments_at_psp
{
	my ($id) = @_;

	return scalar(grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth);
}

# ---- inside the window: the same bytes with the same key ----

$psp->fault(fault => 'drop_after', times => 3, ms => 20, match => { operation => 'create' });
my $id = create_authorized($node, 'pm_card_visa', [900], capture_method => 'manual');
is(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'AUTHORIZED', 'three lost replies, then the fourth');
is(payments_at_psp($id), 1, 'one payment at the PSP');
is(request_of($id, 'AUTHORIZE')->{attempt}, 4, 'four attempts');
$psp->clear_faults;

# ---- after it: questions only, while the PSP can be asked ----

# the authorization was executed, its reply lost, and the PSP answers no question
$psp->fault(fault => 'drop_after', times => 1, ms => 20, match => { operation => 'create' });
$psp->fault(fault => 'error_503', times => -1, match => { operation => $_ }) for qw(create retrieve);
$id = pay($node, 'pm_card_visa', [700], capture_method => 'manual');
wait_status($id, 'AUTHORIZE', 'UNKNOWN');
sent_ago($id, 'AUTHORIZE', '2 days');
wait_sql($node, "SELECT attempt >= 2 AND first_sent_at < now() - interval '1 day' FROM payledger.psp_requests WHERE payment_id = $id", 'it was tried again');
my $posts = () = sent($id, 'POST');
wait_for(sub { my $n = () = sent($id, 'GET'); $n >= 3 }, 'it is asked for', $node);
is(scalar(() = sent($id, 'POST')), $posts, 'and not sent any more');
is(request_of($id, 'AUTHORIZE')->{status} =~ /^(?:UNKNOWN|IN_FLIGHT)$/ ? 1 : 0, 1, 'that the PSP does not answer decides nothing');
my ($row) = rows($node, "SELECT status, attempts, can_be_asked, key_kept_until < now() AS forgotten, last_http_status AS http, sent FROM payledger.undecided_requests WHERE payment_id = $id");
is_deeply([ @$row{qw(can_be_asked forgotten http sent)} ], [ JSON::PP::true, JSON::PP::true, 503, 'POST /v1/payment_intents' ], 'undecided_requests tells what is known');
$psp->clear_faults;
wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'an answer decides it');
is(payments_at_psp($id), 1, 'one payment at the PSP, nothing twice');

# a worker that was away for longer than the window does not send it either
$psp->fault(fault => 'error_503', times => -1, match => { operation => 'create' });
$id = pay($node, 'pm_card_visa', [500], capture_method => 'manual');
wait_status($id, 'AUTHORIZE', 'UNKNOWN');
sql($node, "SELECT payledger.alter_gateway('stripe', '{\"unknown_days\": 1}')");
sent_ago($id, 'AUTHORIZE', '25 hours');
my $parked = wait_status($id, 'AUTHORIZE', 'PARKED');
$psp->clear_faults;
is(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'PENDING_AUTH', 'after unknown_days an operator decides, no timer');
is(payments_at_psp($id), 0, 'nothing was executed');
is_deeply([ rows($node, "SELECT * FROM payledger.retry_request($parked->{id})") ], [ { psp_request_id => $parked->{id} + 0, status => 'UNKNOWN' } ], 'retry_request: asked for once more');
wait_status($id, 'AUTHORIZE', 'PARKED');
is(payments_at_psp($id), 0, 'asked, not sent');
sql($node, "SELECT payledger.resolve_request($parked->{id}, 'REFUSED', 'not in the dashboard')");
is(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'DECLINED', 'resolve_request');
is(sql($node, "SELECT string_agg(to_status || ' ' || cause || ' ' || actor, ', ' ORDER BY history_id) FROM payledger.state_history WHERE machine = 'psp_request' AND object_id = $parked->{id} AND to_status IN ('REFUSED', 'UNKNOWN') AND from_status = 'PARKED'"),
	'UNKNOWN retry_request postgres, REFUSED resolve_request: not in the dashboard postgres', 'both leave a trace: who and why');
sql($node, "SELECT payledger.alter_gateway('stripe', '{\"unknown_days\": null}')");

# ---- a PSP that cannot be asked ----

$psp->fault(fault => 'error_500', times => -1, match => { operation => 'authorize' });
$id = pay($node, 'authorised', [600], gateway => 'adyen', capture_method => 'manual');
wait_status($id, 'AUTHORIZE', 'UNKNOWN');
sent_ago($id, 'AUTHORIZE', '7 days');
$parked = wait_status($id, 'AUTHORIZE', 'PARKED');
$psp->clear_faults;
sql_fails($node, "SELECT payledger.retry_request($parked->{id})", '55000', 'must not be sent again', 'retry_request after the window');
is(sql($node, "SELECT can_be_asked FROM payledger.undecided_requests WHERE psp_request_id = $parked->{id}"), 'f', 'undecided_requests says that it cannot be asked');
sent_ago($id, 'AUTHORIZE', '6 days');
is(sql($node, "SELECT status FROM payledger.retry_request($parked->{id})"), 'UNKNOWN', 'within the window it can be sent again');
wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'and is');
is(payments_at_psp($id), 1, 'once');
sql_fails($node, "SELECT payledger.retry_request($parked->{id})", 'PL001', 'is SUCCEEDED, not PARKED', 'one that is decided');
sql_fails($node, 'SELECT payledger.retry_request(1)', 'PL007', 'does not exist', 'one that there is not');
sql_fails($node, 'SELECT payledger.retry_request(NULL)', '22004', 'must not be null', 'null');

# a webhook decides what is parked
$psp->fault(fault => 'drop_after', times => 1, ms => 20, match => { operation => 'authorize' });
$psp->fault(fault => 'error_500', times => -1, match => { operation => 'authorize' });
$id = pay($node, 'authorised', [650], gateway => 'adyen', capture_method => 'manual');
wait_status($id, 'AUTHORIZE', 'UNKNOWN');
sent_ago($id, 'AUTHORIZE', '7 days');
wait_status($id, 'AUTHORIZE', 'PARKED');
for my $webhook (grep { ($_->{payment} // '') =~ /^pl_${id}_/ } $psp->webhooks(0, psp => 'adyen'))
{
	sql($node, "SELECT payledger.receive_webhook('adyen', '{}', \$w\$$webhook->{body}\$w\$)");
}
wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'a webhook decides what is parked');
$psp->clear_faults;

# what is PENDING waits for a webhook, or for an operator
$id = create_authorized($node, 'capture_waits', [750], gateway => 'adyen');
my $pending = wait_status($id, 'CAPTURE', 'PENDING');
is(sql($node, "SELECT status || ' ' || last_code FROM payledger.undecided_requests WHERE psp_request_id = $pending->{id}"), 'PENDING received', 'a capture that was only accepted');
sql($node, "SELECT payledger.resolve_request($pending->{id}, 'SUCCEEDED', 'in the settlement report')");
is(sql($node, "SELECT captured_amount FROM payledger.payments WHERE payment_id = $id"), 750, 'an operator decides it');
is(sql($node, "SELECT cause || ' ' || actor FROM payledger.state_history WHERE machine = 'psp_request' AND object_id = $pending->{id} AND to_status = 'SUCCEEDED'"),
	'resolve_request: in the settlement report postgres', 'which leaves a trace');

# bytes that cannot be built: never sent, so it can be retried at any time
$id = create_intent($node, [100], gateway => 'adyen');
sql($node, "SELECT payledger.request_authorization($id, 'redirect')");
wait_sql($node, "SELECT status = 'REQUIRES_ACTION' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'the shopper has to act');
sql_fails($node, "SELECT payledger.request_authorization($id, NULL)", '22023', "has no details of the shopper's action", 'what no request can be built of');
# as if it could be built when it was asked for, and no more when it is sent
sql($node, <<~"SQL");
	BEGIN;
	SELECT payledger.confirm_authorization($id, '{"redirectResult": "X"}');
	UPDATE payledger.psp_requests SET parameters = parameters - 'details' WHERE payment_id = $id AND operation = 'CONFIRM';
	COMMIT;
	SQL
$parked = wait_status($id, 'CONFIRM', 'PARKED');
like($parked->{message}, qr/has no details of the shopper's action/, 'a confirmation without what the front end brought');
is(sql($node, "SELECT status FROM payledger.retry_request($parked->{id})"), 'READY', 'it was never sent');
wait_status($id, 'CONFIRM', 'PARKED');
sql($node, "SELECT payledger.resolve_request($parked->{id}, 'REFUSED', 'the shopper left')");

# ---- no timer makes a failure of a refund or payout ----

$id = create_authorized($node, 'pm_card_visa', [1000]);
settle($node);
# a number of attempts may, but not before we have looked
sql($node, q{SELECT payledger.alter_gateway('stripe', '{"max_attempts": 100}')});
for my $fault (qw(rate_limit_429 error_503))
{
	$psp->fault(fault => $fault, times => -1, match => { operation => 'refund' });
	sql($node, "SELECT payledger.refund(payment_order_id, 100) FROM payledger.payment_orders WHERE payment_id = $id");
	wait_sql($node, "SELECT bool_or(attempt >= 3) FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'REFUND' AND status <> 'SUCCEEDED'", "$fault: several attempts");
	is(sql($node, "SELECT count(*) FROM payledger.refunds WHERE payment_id = $id AND status IN ('REQUESTED', 'PENDING')"), 1, "$fault: a refund is not given up");
	$psp->clear_faults;
	settle($node);
}
is(sql($node, "SELECT count(*) FROM payledger.refunds WHERE payment_id = $id AND status = 'SUCCEEDED'"), 2, 'both are done in the end');
sql($node, q{SELECT payledger.alter_gateway('stripe', '{"max_attempts": null}')});

# ---- an intent that waits for us to confirm it ----

# Waits for the next request, or the next with that first line; returns its
# connection and its first line.
sub receive
{
	my ($wanted) = @_;
	my $client = $fake->accept or die "nobody came: $!";
	my ($request, $length) = ('', 0);

	while (my $line = <$client>)
	{
		$request .= $line;
		$length = $1 if $line =~ /^Content-Length: (\d+)/i;
		last if $line =~ /^\r?\n$/;
	}
	read($client, my $form, $length) if $length;
	my $first = $request =~ /^(\S+ \S+)/ ? $1 : '';
	return defined($wanted) && $first ne $wanted ? receive($wanted) : ($client, $first);
}

sub reply
{
	my ($client, $status, $object, @headers) = @_;
	my $body = $json->encode($object);

	print $client join("\r\n", "HTTP/1.1 $status X", 'Content-Type: application/json', 'Content-Length: ' . length($body), 'Connection: close', @headers) . "\r\n\r\n$body";
	close($client);
	return;
}

# Answers the next request with this object; returns its first line.
sub answer
{
	my ($status, $object, @headers) = @_;
	my ($client, $line) = receive();

	reply($client, $status, $object, @headers);
	return $line;
}
$fake->timeout(60);

sub fake_intent
{
	my ($status, %more) = @_;
	my $key = sql($node, "SELECT idempotency_key FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'AUTHORIZE'");

	return { id => 'pi_fake', object => 'payment_intent', status => $status, amount => 300, amount_capturable => 300, currency => 'eur', metadata => { payment_id => $id, request => $key }, %more };
}

$id = pay($node, 'pm_card_visa', [300], gateway => 'fake', capture_method => 'manual');
is(answer(200, fake_intent('requires_action', next_action => { type => 'use_stripe_sdk' })), 'POST /v1/payment_intents', 'created and confirmed');
wait_sql($node, "SELECT status = 'REQUIRES_ACTION' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'the shopper has to act');
sql($node, "SELECT payledger.confirm_authorization($id)");
is(answer(429, { error => { type => 'invalid_request_error', message => 'slow down' } }), 'GET /v1/payment_intents/pi_fake', 'asked for after the action') for 1 .. 6;
is(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'PENDING_AUTH', 'a question that is refused six times decides nothing');
is(answer(404, { error => { type => 'invalid_request_error', message => 'no such intent' } }), 'GET /v1/payment_intents/pi_fake', 'nor does');
is(answer(200, fake_intent('requires_confirmation')), 'GET /v1/payment_intents/pi_fake', 'it waits for us');
is(answer(500, { error => { type => 'api_error' } }), 'POST /v1/payment_intents/pi_fake/confirm', 'so it is confirmed');
is(answer(200, fake_intent('requires_capture')), 'POST /v1/payment_intents/pi_fake/confirm', 'again with the same key after an error');
wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'then it is authorized');

$id = pay($node, 'pm_card_visa', [300], gateway => 'fake', capture_method => 'manual');
answer(200, fake_intent('processing', id => 'pi_fake_2'));
wait_status($id, 'AUTHORIZE', 'PENDING');
is(sql($node, "SELECT questions FROM payledger.undecided_requests WHERE payment_id = $id AND operation = 'AUTHORIZE'"), 1, 'what is being processed is asked for later');

# a question that was answered is over, whatever the answer, and the next one is another
sub ask_now
{
	# the gateways are read again, and what is due is looked for
	sql($node, join ';', 'BEGIN', "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE payment_id = $id AND operation = 'RETRIEVE' AND status = 'READY'",
		q{SELECT payledger.alter_gateway('fake', '{"retry_base_ms": 50}')}, 'COMMIT');
	return;
}
ask_now();
answer(200, fake_intent('processing', id => 'pi_fake_2'));
wait_sql($node, "SELECT count(*) = 2 FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'RETRIEVE'", 'it is asked for again');
is(sql($node, "SELECT string_agg(operation || ' ' || status, ', ' ORDER BY psp_request_id) FROM payledger.psp_requests WHERE payment_id = $id"),
	'AUTHORIZE PENDING, RETRIEVE SUCCEEDED, RETRIEVE READY', 'and the question before is not open');

# an operator's word on a question is one on the request that it asks about
ask_now();
answer(500, { error => { type => 'api_error' } });
wait_sql($node, <<~"SQL", 'it is not answered, and not asked again');
	WITH asked AS (UPDATE payledger.psp_requests SET next_attempt_at = 'infinity'
					WHERE payment_id = $id AND operation = 'RETRIEVE' AND status = 'UNKNOWN' RETURNING 1)
	SELECT count(*) = 1 FROM asked
	SQL
my $question = sql($node, "SELECT max(psp_request_id) FROM payledger.psp_requests WHERE payment_id = $id AND operation = 'RETRIEVE'");
sql($node, "SELECT payledger.resolve_request($question, 'REFUSED', 'the shopper gave up')");
is(request_of($id, 'AUTHORIZE')->{status}, 'REFUSED', 'the request asked about does not wait for ever');
is(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'DECLINED', 'nor does its intent');

# ---- an answer to an attempt whose lease ran out ----

# the same worker has sent the request again meanwhile: only the answer to that counts
sql($node, q{SELECT payledger.alter_gateway('fake', '{"timeout_ms": 60000, "lease_seconds": 66}')});
$id = pay($node, 'pm_card_visa', [300], gateway => 'fake', capture_method => 'manual');
my ($first) = receive('POST /v1/payment_intents');
my $log = -s $node->logfile;
sql($node, "UPDATE payledger.psp_requests SET lease_expires_at = now() - interval '1 second' WHERE payment_id = $id AND status = 'IN_FLIGHT'");
my ($second) = receive('POST /v1/payment_intents');
my $state = "SELECT (SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id), status, attempt FROM payledger.psp_requests WHERE payment_id = $id";
wait_sql($node, "SELECT status = 'IN_FLIGHT' AND attempt = 2 FROM payledger.psp_requests WHERE payment_id = $id", 'it is sent again');
reply($first, 402, { error => { type => 'card_error', code => 'card_declined', message => 'declined' } });
wait_for(sub { slurp_file($node->logfile, $log) =~ /is no longer leased to this gateway worker/ || sql($node, $state) !~ /IN_FLIGHT/ }, 'the first answer has come', $node);
is(sql($node, $state), 'PENDING_AUTH|IN_FLIGHT|2', 'it decides nothing');
reply($second, 200, fake_intent('requires_capture', id => 'pi_fake_3'));
wait_sql($node, "SELECT status <> 'IN_FLIGHT' FROM payledger.psp_requests WHERE payment_id = $id", 'the second has come');
is(sql($node, $state), 'AUTHORIZED|SUCCEEDED|2', 'which does');
is(sql($node, "SELECT total_amount, psp_reference FROM payledger.payments WHERE payment_id = $id"), '300|pi_fake_3', 'for the money that the PSP holds');

# ---- answers that say nothing about what was asked ----

$id = pay($node, 'pm_card_visa', [300], gateway => 'fake', capture_method => 'manual');
my %ours = %{ fake_intent('requires_capture', id => 'pi_fake_4') };
answer(200, { %ours, metadata => { %{ $ours{metadata} }, payment_id => "${id}0" } });
wait_sql($node, "SELECT reply_status = 200 FROM payledger.psp_requests WHERE payment_id = $id", 'an intent with our key and the mark of another payment');
is(request_of($id, 'AUTHORIZE')->{code}, 'another_object', 'is another');
# this attempt was refused, and the one before may have been executed
is(answer(429, { error => { type => 'invalid_request_error' } }, 'Stripe-Should-Retry: false'), 'POST /v1/payment_intents', 'it is sent again');
wait_sql($node, "SELECT reply_status = 429 FROM payledger.psp_requests WHERE payment_id = $id", 'that it is not to be sent again');
is(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'PENDING_AUTH', 'refuses nothing');
like(answer(200, { object => 'search_result', data => [ \%ours ] }), qr{^GET /v1/payment_intents/search}, 'it is asked for');
wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'what the PSP has is ours');
is(sql($node, "SELECT total_amount, psp_reference FROM payledger.payments WHERE payment_id = $id"), '300|pi_fake_4', 'and of that sum');

done_testing();
