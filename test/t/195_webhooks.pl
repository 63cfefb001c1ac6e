# What webhooks tell: stored once, applied in any order, parked while it is too
# early, and never undoing what is true.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use Test::More;

my $json = JSON::PP->new->utf8->canonical;
my $psp = PayledgerPsp->new;
my $node = new_node('webhooks');
my $events = 0;

add_stripe($node, $psp, timeout_ms => 300, retry_base_ms => 60000, retry_max_ms => 60000, backfill_seconds => 0);

# An object as Stripe has it now.
sub object
{
	my ($path) = @_;

	return $psp->api('GET', $path)->{json};
}

# The event that tells of an object: headers and body, each as SQL literal.
sub event
{
	my ($type, $object, %more) = @_;
	my $body = $json->encode({
		id => $more{id} // 'evt_' . ++$events,
		object => 'event',
		type => $type,
		created => time(),
		data => { object => $object, ($more{previous} ? (previous_attributes => $more{previous}) : ()) } });
	my $at = time();
	my $signature = hmac_sha256_hex("$at.$body", $PayledgerTest::WEBHOOK_SECRET);
	my $headers = $json->encode({ 'Content-Type' => 'application/json', 'stripe-signature' => "t=$at,v1=$signature" });

	s/'/''/g for $body, $headers;
	return "'$headers', '$body'";
}

# Delivers an event; whether it was new.
sub deliver
{
	return sql($node, "SELECT is_new FROM payledger.receive_webhook('stripe', " . event(@_) . ')');
}

# The PaymentIntent of a payment of ours.
sub intent_of
{
	my ($id) = @_;
	my ($truth) = grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth;

	return object("/v1/payment_intents/$truth->{id}");
}

sub states
{
	my ($id) = @_;

	return sql($node, <<~"SQL");
		SELECT concat_ws(' ', i.status, p.status, o.status) FROM payledger.payment_intents i
		  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
		  LEFT JOIN payledger.payment_orders o ON o.payment_id = i.payment_intent_id
		 WHERE i.payment_intent_id = $id
		SQL
}

sub webhook
{
	my ($event, $columns) = @_;

	return sql($node, "SELECT $columns FROM payledger.webhooks WHERE event_id = '$event'");
}

sub applied
{
	my ($event) = @_;

	wait_sql($node, "SELECT status IN ('APPLIED', 'IGNORED') FROM payledger.webhooks WHERE event_id = '$event'", "$event is applied");
	return webhook($event, 'status');
}

# A payment whose request of that operation was executed, and whose reply was lost.
sub with_lost_reply
{
	my ($operation, $request) = @_;

	$psp->fault(fault => 'drop_after', match => { operation => $operation });
	my $id = pay($node, 'pm_card_visa', [1450]);
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id AND operation = '$request'",
		"nobody knows what became of $request");
	return $id;
}

subtest 'the answer to a request whose reply got lost' => sub {
	my $id = with_lost_reply('create', 'AUTHORIZE');

	is(states($id), 'PENDING_AUTH', 'not known');
	is(deliver('payment_intent.amount_capturable_updated', intent_of($id)), 't', 'new');
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'the webhook told');

	$id = with_lost_reply('capture', 'CAPTURE');
	is(states($id), 'AUTHORIZED NOT_CAPTURED PENDING_CAPTURE', 'the capture is not known');
	my $before = event('payment_intent.succeeded', intent_of($id));
	is(sql($node, "SELECT is_new FROM payledger.receive_webhook('stripe', $before)"), 't', 'new');
	is(sql($node, "SELECT is_new FROM payledger.receive_webhook('stripe', $before)"), 'f', 'and known when it is repeated');
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'the webhook told');
	is(sql($node, "SELECT count(*) FROM payledger.webhooks WHERE event_id = 'evt_$events'"), 1, 'it is stored once');
	is(webhook("evt_$events", "payment_id = $id AND status = 'APPLIED' AND attempt = 1 AND NOT backfilled"), 't', 'with its payment');
	like(sql($node, <<~"SQL"), qr/^SUCCEEDED\|CAPTURE psp_request \d+ SUCCEEDED, said webhook evt_$events$/, 'history names it');
		SELECT h.to_status, h.cause FROM payledger.state_history h JOIN payledger.psp_requests r ON r.psp_request_id = h.object_id
		 WHERE r.payment_id = $id AND r.operation = 'CAPTURE' AND h.machine = 'psp_request' ORDER BY h.history_id DESC LIMIT 1
		SQL
};

subtest 'before its time' => sub {
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 20000, "lease_seconds": 30}')});
	$psp->fault(fault => 'drop_after', ms => 2000, match => { operation => 'create' });
	my $id = pay($node, 'pm_card_visa', [1450]);

	wait_for(sub { grep { ($_->{metadata}{payment_id} // '') eq $id } $psp->all_truth }, 'the PSP executed it', $node);
	deliver('payment_intent.amount_capturable_updated', intent_of($id), id => 'evt_early');
	wait_sql($node, "SELECT status = 'PARKED' AND attempt > 1 FROM payledger.webhooks WHERE event_id = 'evt_early'",
		'it is parked and tried again');
	like(webhook('evt_early', 'problem'), qr/is with the PSP/, 'it says why');
	is(states($id), 'PENDING_AUTH', 'the reply is waited for');
	is(applied('evt_early'), 'APPLIED', 'when that is over, it is applied');
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'paid');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"timeout_ms": 300, "lease_seconds": 6}')});

	deliver('payment_intent.succeeded', { %{ intent_of($id) }, metadata => { payment_id => '4711' } }, id => 'evt_nowhere');
	wait_sql($node, "SELECT status = 'PARKED' AND next_attempt_at > updated_at FROM payledger.webhooks WHERE event_id = 'evt_nowhere'",
		'one about a payment that is not there is parked');
	deliver('payment_intent.succeeded', { %{ intent_of($id) }, metadata => {} }, id => 'evt_foreign');
	is(applied('evt_foreign'), 'IGNORED', 'one about somebody else is ignored');
	my $attempt = webhook('evt_nowhere', 'attempt');
	sql($node, q{UPDATE payledger.webhooks SET next_attempt_at = NULL WHERE event_id = 'evt_nowhere'; SELECT payledger.retry_webhook('stripe', 'evt_nowhere')});
	wait_sql($node, "SELECT attempt > $attempt FROM payledger.webhooks WHERE event_id = 'evt_nowhere'", 'an operator has it tried again');
	is(sql($node, q{SELECT payledger.ignore_webhook('stripe', 'evt_nowhere', 'of the old shop')}), 'IGNORED', 'so is one at an operator\'s word');
	is(webhook('evt_nowhere', 'problem'), 'ignored by ' . sql($node, 'SELECT session_user') . ': of the old shop', 'with a trace');
	sql_fails($node, q{SELECT payledger.ignore_webhook('stripe', 'evt_nowhere', 'again')}, 'PL001', qr/is IGNORED/, 'once');
	sql_fails($node, q{SELECT payledger.retry_webhook('stripe', 'evt_none')}, 'PL007', qr/was never received/, 'what never came');
};

subtest 'a payment that a session holds' => sub {
	my $id = with_lost_reply('capture', 'CAPTURE');
	my $other = with_lost_reply('capture', 'CAPTURE');
	my $session = $node->background_psql('payledger', on_error_stop => 1);

	$session->query_safe("BEGIN; SELECT FROM payledger.payments WHERE payment_id = $id FOR UPDATE");
	deliver('payment_intent.succeeded', intent_of($id), id => 'evt_held');
	deliver('payment_intent.succeeded', intent_of($other), id => 'evt_free');
	is(applied('evt_free'), 'APPLIED', 'another goes on');
	is(webhook('evt_held', 'status, attempt'), 'RECEIVED|0', 'it waits, and that is no attempt');
	$session->query_safe('COMMIT');
	$session->quit;
	is(applied('evt_held'), 'APPLIED', 'until the session is through');
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'captured');
};

# The worker takes what is due and free, and waits for no session.
subtest 'a request that a session holds' => sub {
	my $id = with_lost_reply('capture', 'CAPTURE');
	my $request = "psp_requests WHERE payment_id = $id AND operation = 'CAPTURE'";
	my $session = $node->background_psql('payledger', on_error_stop => 1);

	signal_worker($node, 'gateway', 'STOP');
	sql($node, "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE payment_id = $id AND operation = 'CAPTURE'");
	$session->query_safe("BEGIN; SELECT FROM payledger.$request FOR UPDATE");
	signal_worker($node, 'gateway', 'CONT');
	my $other = pay($node, 'pm_card_visa', [1450]);
	wait_sql($node, "SELECT status = 'CAPTURED' FROM payledger.payments WHERE payment_id = $other", 'another goes on');
	is(sql($node, "SELECT status, attempt FROM payledger.$request"), 'UNKNOWN|1', 'it waits');
	$session->query_safe('COMMIT');
	$session->quit;
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'until the session is through');
	is(sql($node, "SELECT captured_amount FROM payledger.payments WHERE payment_id = $id"), 1450, 'and the sum is captured once');
};

subtest 'money held for nobody' => sub {
	my $id = pay($node, 'pm_card_chargeDeclined', [1450]);
	settle($node);
	my $intent = intent_of($id);

	is(states($id), 'DECLINED', 'declined');
	deliver('payment_intent.payment_failed', $intent, id => 'evt_declined');
	is(applied('evt_declined'), 'APPLIED', 'which is no news');
	deliver('payment_intent.amount_capturable_updated', { %$intent, status => 'requires_capture', amount_capturable => $intent->{amount}, latest_charge => 'ch_1' }, id => 'evt_contradicts');
	wait_sql($node, q{SELECT status = 'PARKED' FROM payledger.webhooks WHERE event_id = 'evt_contradicts'}, 'the contrary is parked');
	like(webhook('evt_contradicts', 'problem'), qr/is REFUSED and now reported SUCCEEDED/, 'it says why');
	is(states($id), 'DECLINED', 'and changes nothing');
	sql($node, q{SELECT payledger.ignore_webhook('stripe', 'evt_contradicts', 'cancelled at the PSP')});
};

# A dispute of the payment, as Stripe tells of it.
sub dispute
{
	my ($intent, $status, @transactions) = @_;

	return {
		id => "dp_$intent->{id}", object => 'dispute', amount => 1450, currency => 'eur', status => $status,
		reason => 'fraudulent', payment_intent => $intent->{id}, charge => $intent->{latest_charge},
		evidence_details => { due_by => time() + 86400 },
		balance_transactions => [ map { { amount => -1450, fee => $_, net => -1450 - $_, currency => 'eur' } } @transactions ] };
}

subtest 'disputes' => sub {
	my $id = pay($node, 'pm_card_visa', [1450]);
	settle($node);
	my $intent = intent_of($id);
	my $state = "SELECT status, round, amount, fee FROM payledger.disputes WHERE payment_id = $id";

	deliver('charge.dispute.created', dispute($intent, 'needs_response'), id => 'evt_opened');
	applied('evt_opened');
	is(sql($node, $state), 'NEEDS_RESPONSE|1|1450|0', 'opened');
	deliver('charge.dispute.funds_withdrawn', dispute($intent, 'needs_response', 1500), id => 'evt_withdrawn');
	applied('evt_withdrawn');
	is(sql($node, $state), 'NEEDS_RESPONSE|1|1450|1500', 'the fee was told later');
	deliver('charge.dispute.closed', dispute($intent, 'won', 1500), id => 'evt_won');
	applied('evt_won');
	is(sql($node, $state), 'WON|1|1450|1500', 'won');
	deliver('charge.dispute.updated', dispute($intent, 'under_review', 1500), id => 'evt_review');
	applied('evt_review');
	is(sql($node, $state), 'WON|1|1450|1500', 'what is told late undoes nothing');
	deliver('charge.dispute.closed', dispute($intent, 'lost', 1500), id => 'evt_lost');
	wait_sql($node, q{SELECT status = 'PARKED' FROM payledger.webhooks WHERE event_id = 'evt_lost'}, 'what contradicts is parked');
	like(webhook('evt_lost', 'problem'), qr/is WON and now reported LOST/, 'it says why');
	is(sql($node, $state), 'WON|1|1450|1500', 'and changes nothing');
	sql($node, qq{SELECT payledger.close_dispute(dispute_id, 'LOST') FROM payledger.disputes WHERE payment_id = $id});
	is(applied('evt_lost'), 'APPLIED', 'until an operator agrees');
	is(sql($node, $state), 'LOST|2|1450|1500', 'once');

	# the last word first
	my $second = pay($node, 'pm_card_visa', [1450]);
	settle($node);
	deliver('charge.dispute.closed', dispute(intent_of($second), 'won', 1500), id => 'evt_only_won');
	applied('evt_only_won');
	is(sql($node, "SELECT status, round, fee FROM payledger.disputes WHERE payment_id = $second"), 'WON|1|1500', 'a win opens what it decides');
};

subtest 'refunds' => sub {
	my $id = pay($node, 'pm_card_visa', [1450]);
	settle($node);
	my $refund = sql($node, "SELECT r.refund_id FROM payledger.payment_orders o, payledger.refund(o.payment_order_id, 450) r WHERE o.payment_id = $id");
	settle($node);
	my ($at_psp) = @{ object('/v1/refunds?payment_intent=' . intent_of($id)->{id})->{data} };
	my $failed = { %$at_psp, status => 'failed', failure_reason => 'lost_or_stolen_card', failure_balance_transaction => 'txn_1' };

	is($at_psp->{metadata}{refund_id}, $refund, 'the PSP has our refund');
	deliver('refund.failed', $failed, id => 'evt_refund_failed');
	applied('evt_refund_failed');
	is(sql($node, "SELECT status, failure_code FROM payledger.refunds WHERE refund_id = $refund"), 'FAILED|lost_or_stolen_card', 'it came back');
	deliver('refund.created', $at_psp, id => 'evt_refund_created');
	deliver('refund.updated', $failed, id => 'evt_refund_updated');
	applied('evt_refund_created');
	applied('evt_refund_updated');
	is(sql($node, "SELECT status FROM payledger.refunds WHERE refund_id = $refund"), 'FAILED', 'what is told late or twice undoes nothing');
	is(sql($node, "SELECT refunded_amount, refund_pending_amount FROM payledger.payment_orders WHERE payment_id = $id"), '0|0', 'nothing is refunded');
};

subtest 'what is refused' => sub {
	my $good = event('payment_intent.succeeded', { id => 'pi_1', object => 'payment_intent', status => 'succeeded', metadata => {} });
	(my $altered = $good) =~ s/pi_1/pi_2/;

	sql_fails($node, "SELECT payledger.receive_webhook('stripe', $altered)", 'PL012', qr/webhook of gateway "stripe" refused/, 'an altered body');
	sql_fails($node, "SELECT payledger.receive_webhook('nobody', $good)", 'PL007', qr/does not exist/, 'no such gateway');
	sql($node, q{SELECT payledger.add_gateway('sandbox', 'sandbox'); SELECT payledger.add_gateway('second', 'stripe')});
	sql_fails($node, "SELECT payledger.receive_webhook('sandbox', $good)", '0A000', qr/gets no webhooks/, 'a gateway without webhooks');
	sql_fails($node, "SELECT payledger.receive_webhook('second', $good)", '55000', qr/no key for the webhooks of gateway "second"/, 'no key');
	sql_fails($node, "SELECT payledger.receive_webhook('stripe', '[]', '')", '22023', qr/must be a JSON object/, 'headers that are none');
	sql_fails($node, "SELECT payledger.receive_webhook('stripe', '{}', repeat('x', 1048577))", '54000', qr/larger than/, 'a large body');
	sql_fails($node, "CREATE ROLE nobody_special; GRANT USAGE ON SCHEMA payledger TO nobody_special; SET ROLE nobody_special; SELECT payledger.receive_webhook('stripe', $good)", '42501', qr/permission denied/, 'without the privilege');
	is(sql($node, "SELECT count(*) FROM payledger.webhooks WHERE body ~ 'pi_[12]\"'"), 0, 'nothing of it is stored');

	my ($card, $id) = ('4111111111111111', 'evt_card');
	deliver('charge.updated', { id => 'ch_1', note => $card }, id => $id);
	is(applied($id), 'IGNORED', 'an event that concerns nobody');
	is(webhook($id, "body ~ '$card'"), 'f', 'a card number in it is masked');
};

subtest 'lost webhooks' => sub {
	my @lost = map { with_lost_reply('capture', 'CAPTURE') } 1 .. 3;

	# more events than one page holds
	pay_many($node, 'lost', 40);
	wait_sql($node, q{SELECT NOT EXISTS (SELECT FROM payledger.psp_requests WHERE status IN ('READY', 'IN_FLIGHT'))}, 'the others are decided');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 1}')});
	settle($node);
	is(states($_), 'AUTHORIZED CAPTURED CAPTURED', "the PSP's list told") for @lost;

	my $scanned = sql($node, 'SELECT clock_timestamp()');
	wait_sql($node, "SELECT complete_until > '$scanned' FROM payledger.webhook_backfills", 'all of it was read');
	my ($more, $after, %listed) = (1, '');
	while ($more)
	{
		my $page = object("/v1/events?limit=100$after");

		$listed{ $_->{id} } = 1 for grep { $_->{type} =~ /^(payment_intent\.(amount_capturable_updated|succeeded|payment_failed)|refund\.created)$/ } @{ $page->{data} };
		$after = "&starting_after=$page->{data}[-1]{id}";
		$more = $page->{has_more};
	}
	cmp_ok(scalar keys %listed, '>', 100, 'there are several pages');
	is(sql($node, q{SELECT count(*) FROM payledger.webhooks WHERE backfilled AND event_id IN ('} . join("', '", keys %listed) . q{')}),
		scalar keys %listed, 'every event is here once');

	$psp->pause;
	wait_sql($node, q{SELECT problem IS NOT NULL FROM payledger.webhook_backfills}, 'a PSP that hangs is a problem');
	$psp->resume;
	sql($node, q{UPDATE payledger.webhook_backfills SET next_at = now()});
	$node->restart;
	wait_sql($node, q{SELECT problem IS NULL FROM payledger.webhook_backfills}, 'until it answers again');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 0}')});
	is(sql($node, q{SELECT backfilled_last_day >= 100 AND complete_until IS NOT NULL FROM payledger.stat_webhooks WHERE gateway = 'stripe'}), 't',
		'stat_webhooks tells');
};

subtest 'an event that a session is storing' => sub {
	my $id = pay($node, 'pm_card_visa', [1450]);
	settle($node);
	my ($newest) = @{ object('/v1/events?limit=1&type=payment_intent.succeeded')->{data} };
	my $known = event($newest->{type}, $newest->{data}{object}, id => $newest->{id});
	my $session = $node->background_psql('payledger', on_error_stop => 1);

	$session->query_safe("BEGIN; SELECT is_new FROM payledger.receive_webhook('stripe', $known)");
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 1}')});
	wait_sql($node, q{SELECT problem ~ 'session' FROM payledger.webhook_backfills}, 'the list cannot be read to its end');
	my $other = pay($node, 'pm_card_visa', [1450]);
	settle($node);
	is(states($other), 'AUTHORIZED CAPTURED CAPTURED', 'nothing else waits for it');
	$session->query_safe('COMMIT');
	$session->quit;
	my $stored = sql($node, 'SELECT clock_timestamp()');
	wait_sql($node, "SELECT complete_until > '$stored' AND problem IS NULL FROM payledger.webhook_backfills", 'then it can');
	is(webhook($newest->{id}, 'backfilled'), 'f', 'it is the session that stored it');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 0}')});
};

subtest 'pages of events leave room for payments' => sub {
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 1, "concurrency": 2}')});
	for my $scan (1 .. 3)
	{
		my $now = sql($node, 'SELECT clock_timestamp()');
		wait_sql($node, "SELECT complete_until > '$now' FROM payledger.webhook_backfills", "scan $scan is over");
	}
	my $id = pay($node, 'pm_card_visa', [1450]);
	settle($node);
	is(states($id), 'AUTHORIZED CAPTURED CAPTURED', 'each gave back what it took of the limits');
	sql($node, q{SELECT payledger.alter_gateway('stripe', '{"backfill_seconds": 0, "concurrency": null}')});
};

subtest 'the end of old ones' => sub {
	my $kept = sql($node, q{SELECT count(*) FROM payledger.webhooks WHERE event_id <> 'evt_card'});

	sql($node, q{UPDATE payledger.webhooks SET created_at = now() - interval '31 days' WHERE event_id = 'evt_card'});
	$node->restart;
	wait_sql($node, q{SELECT NOT EXISTS (SELECT FROM payledger.webhooks WHERE event_id = 'evt_card')}, 'it is forgotten');
	is(sql($node, 'SELECT count(*) FROM payledger.webhooks'), $kept, 'no other');
};

is(sql($node, q{SELECT string_agg(event_id || ' ' || status || ' ' || coalesce(problem, ''), ', ') FROM payledger.webhooks
	 WHERE status IN ('RECEIVED', 'PARKED')}), '', 'no event waits');
check_books($node, 'in the end', psp => $psp);

done_testing();
