# A payment from checkout to Kafka: with the sandbox, and with a PSP server and
# a real broker.  States, journal, balances and events are those of the worked
# example below.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerPsp;
use PayledgerTest;
use Test::More;

my $psp = PayledgerPsp->new;
my $kafka = PayledgerKafka->new;
my $node = new_node(
	'happy',
	'payledger.databases' => 'payledger, shop',
	'payledger.kafka_brokers' => $kafka->address);

# Of a payment: its status, then each order with its status.
sub states
{
	my ($id, $database) = @_;

	return $node->safe_psql($database // 'payledger', <<~"SQL");
		SELECT concat_ws(' ', i.status, p.status) FROM payledger.payment_intents i
		  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id WHERE i.payment_intent_id = $id;
		SELECT seller_id || ' ' || captured_amount || '/' || amount || ' ' || status FROM payledger.payment_orders
		 WHERE payment_id = $id ORDER BY seller_id;
		SQL
}

sub journal
{
	my ($id, $database) = @_;

	return $node->safe_psql($database // 'payledger', <<~"SQL");
		SELECT entry_type || ' ' || CASE WHEN debit > 0 THEN 'debit ' ELSE 'credit ' END || account_code || ' ' || debit + credit
		  FROM payledger.journal WHERE payment_id = $id
		 ORDER BY entry_type, reference, debit = 0, account_code
		SQL
}

# The worked example: 14.50 EUR of each seller, 10 % commission for one.
sub worked_example_ok
{
	my ($id, $name, $database) = @_;

	is(states($id, $database), <<~'END' =~ s/\n\z//r, "$name: states");
		AUTHORIZED CAPTURED
		SELLER-111 1450/1450 CAPTURED
		SELLER-222 1450/1450 CAPTURED
		END
	is(join("\n", sort split /\n/, journal($id, $database)), join("\n", sort split /\n/, <<~'END'), "$name: journal");
		AUTH_HOLD debit AUTH_RECEIVABLE.GLOBAL.EUR 2900
		AUTH_HOLD credit AUTH_LIABILITY.GLOBAL.EUR 2900
		CAPTURE debit AUTH_LIABILITY.GLOBAL.EUR 1450
		CAPTURE debit PSP_RECEIVABLES.GLOBAL.EUR 1450
		CAPTURE credit AUTH_RECEIVABLE.GLOBAL.EUR 1450
		CAPTURE credit MERCHANT_PAYABLE.SELLER-111.EUR 1450
		CAPTURE debit AUTH_LIABILITY.GLOBAL.EUR 1450
		CAPTURE debit PSP_RECEIVABLES.GLOBAL.EUR 1450
		CAPTURE credit AUTH_RECEIVABLE.GLOBAL.EUR 1450
		CAPTURE credit MERCHANT_PAYABLE.SELLER-222.EUR 1450
		COMMISSION_FEE debit MERCHANT_PAYABLE.SELLER-111.EUR 145
		COMMISSION_FEE credit PLATFORM_COMMISSION_REVENUE.GLOBAL.EUR 145
		END
	return;
}

subtest 'a first session, with the sandbox' => sub {
	my $out = $node->safe_psql('shop', <<~'SQL');
		CREATE EXTENSION payledger;
		SELECT 'layout', payledger.setup() > 0;
		SELECT 'gateway', gateway FROM payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
		SELECT 'seller', seller_id FROM payledger.register_seller('SELLER-111', 'EUR', commission_bps => 1000);
		SELECT 'seller', seller_id FROM payledger.register_seller('SELLER-222', 'EUR');
		SELECT payment_intent_id, status, total_amount
		  FROM payledger.create_payment_intent('ORDER-1', 'BUYER-1', 'EUR',
			   '[{"seller_id":"SELLER-111","amount":1450},{"seller_id":"SELLER-222","amount":1450}]',
			   idempotency_key => 'checkout-1') \gset
		SELECT 'intent', :'status', :total_amount;
		CALL payledger.authorize(:payment_intent_id, 'pm_ok');
		CALL payledger.wait_until_idle('60 s');
		SELECT 'payment', status, captured_amount FROM payledger.payments;
		SELECT 'net', sum(debit) - sum(credit) FROM payledger.trial_balance;
		SELECT seller_id, balance FROM payledger.seller_balances ORDER BY seller_id;
		SELECT 'failed checks', count(*) FROM payledger.verify() WHERE NOT ok;
		SQL
	is($out, <<~'END' =~ s/\n\z//r, 'it works as written');
		layout|t
		gateway|sandbox
		seller|SELLER-111
		seller|SELLER-222
		intent|CREATED|2900
		AUTHORIZED
		payment|CAPTURED|2900
		net|0
		SELLER-111|1305
		SELLER-222|1450
		failed checks|0
		END
	my $id = $node->safe_psql('shop', 'SELECT payment_id FROM payledger.payments');
	worked_example_ok($id, 'sandbox', 'shop');
	is($node->safe_psql('shop', 'SELECT count(*) FROM payledger.unpublished_events'),
		0, 'idle means that every event is published');
};

add_stripe($node, $psp);

my $id;
subtest 'the worked example over HTTP' => sub {
	my $trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

	$id = sql($node, <<~"SQL");
		SET payledger.traceparent = '$trace';
		SELECT payment_intent_id
		  FROM payledger.create_payment_intent('ORDER-2900', 'BUYER-1', 'EUR',
			   '[{"seller_id":"SELLER-111","amount":1450},{"seller_id":"SELLER-222","amount":1450}]',
			   idempotency_key => 'checkout-2900')
		SQL
	is(sql($node, "CALL payledger.authorize($id, 'pm_card_visa')"), 'AUTHORIZED', 'authorize returns the answer');
	sql($node, "CALL payledger.wait_until_idle('60 s')");
	worked_example_ok($id, 'stripe');
	is(sql($node, 'SELECT seller_id, balance FROM payledger.seller_balances ORDER BY seller_id'),
		"SELLER-111|1305\nSELLER-222|1450", 'seller balances');
	is(sql($node, <<~"SQL"), <<~'END' =~ s/\n\z//r, 'every state it went through');
		SELECT machine, coalesce(from_status, '-'), to_status, count(*) FROM payledger.state_history
		 WHERE payment_id = $id AND machine <> 'psp_request'
		 GROUP BY 1, 2, 3 ORDER BY machine, min(history_id)
		SQL
		payment|-|NOT_CAPTURED|1
		payment|NOT_CAPTURED|PARTIALLY_CAPTURED|1
		payment|PARTIALLY_CAPTURED|CAPTURED|1
		payment_intent|-|CREATED|1
		payment_intent|CREATED|PENDING_AUTH|1
		payment_intent|PENDING_AUTH|AUTHORIZED|1
		payment_order|-|INITIATED_PENDING|2
		payment_order|INITIATED_PENDING|CAPTURE_REQUESTED|2
		payment_order|CAPTURE_REQUESTED|CAPTURED|2
		END

	my ($truth) = $psp->all_truth;
	is("$truth->{status} $truth->{amount} $truth->{amount_received}", 'succeeded 2900 2900', 'at the PSP all is captured');
	is($truth->{metadata}{payment_id}, $id, 'and can be found by our id');
};

# Kafka's partitioner for keys (murmur2), as Java clients have it.
sub partition_of
{
	my ($key, $partitions) = @_;
	my ($m, $mask) = (0x5bd1e995, 0xffffffff);
	my $h = (0x9747b28c ^ length $key) & $mask;
	my @words = unpack 'V*', $key;

	for my $k (@words)
	{
		$k = ($k * $m) & $mask;
		$k ^= $k >> 24;
		$k = ($k * $m) & $mask;
		$h = (($h * $m) & $mask) ^ $k;
	}
	my @rest = unpack 'C*', substr($key, 4 * @words);
	if (@rest)
	{
		$h ^= $rest[$_] << (8 * $_) for 0 .. $#rest;
		$h = ($h * $m) & $mask;
	}
	$h ^= $h >> 13;
	$h = ($h * $m) & $mask;
	$h ^= $h >> 15;
	return ($h & 0x7fffffff) % $partitions;
}

subtest 'its events on Kafka' => sub {
	my @messages = $kafka->messages;
	my @payment = grep { $_->{topic} eq 'payledger.payment' && $_->{key} eq $id } @messages;

	is_deeply([ map { "$_->{value}{version} $_->{value}{eventType}" } @payment ],
		[
			'1 payment_intent_created',
			'2 payment_intent_authorized',
			'3 payment_authorized',
			'4 payment_order_created',
			'5 payment_order_created',
			'6 payment_order_capture_requested',
			'7 payment_order_capture_requested',
			'8 payment_order_psp_result_updated',
			'9 payment_order_finalized',
			'10 payment_order_psp_result_updated',
			'11 payment_order_finalized' ],
		'its life, each event once, in the order of versions');
	is_deeply([ map { $_->{partition} } @payment ], [ (partition_of($id, 4)) x 11 ], 'where a Java client would put it');

	my $parent = $payment[0]{value}{eventId};
	for my $message (@payment)
	{
		my ($value, $headers) = @$message{qw(value headers)};

		is_deeply(
			$headers,
			{
				ce_id => $value->{eventId},
				ce_type => $value->{eventType},
				ce_source => '/payledger/0/payledger',
				ce_specversion => '1.0',
				ce_time => $value->{timestamp},
				ce_subject => $id,
				ce_sequence => $value->{version},
				'content-type' => 'application/json',
				traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
			"version $value->{version}: CloudEvents headers");
		like($value->{timestamp}, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/, 'a time as RFC 3339 wants it');
		is("$value->{aggregateId} $value->{traceId}", "$id 4bf92f3577b34da6a3ce929d0e0e4736", 'about the payment, in its trace');
		is($value->{parentEventId}, $parent, 'the parent is the event before');
		$parent = $value->{eventId};
	}

	my @ledger = grep { $_->{topic} eq 'payledger.ledger' && $_->{headers}{ce_source} eq '/payledger/0/payledger' } @messages;
	is_deeply(
		[ sort map { "$_->{key} $_->{value}{eventType} $_->{value}{version}" } @ledger ],
		[
			'GLOBAL ledger_entries_recorded 1',
			('SELLER-111 ledger_entries_recorded 1') x 2,
			'SELLER-222 ledger_entries_recorded 1' ],
		'one ledger event an entry, keyed by the seller where there is one');
	is_deeply(
		[ sort map { $_->{headers}{ce_subject} } @ledger ],
		[ split /\n/, sql($node, "SELECT journal_entry_id FROM payledger.journal_entries ORDER BY journal_entry_id::text") ],
		'about these entries');
	is(scalar(grep { ($_->{headers}{ce_source} // '') !~ m{^/payledger/0/(payledger|shop)$} } @messages), 0, 'every event says where it is from');
};

subtest 'manual capture, in parts' => sub {
	my $manual = create_authorized($node, 'pm_card_visa', [ 2000, 1000 ], capture_method => 'manual');
	my %order = map { $_->{seller_id} => $_->{id} } rows($node,
		"SELECT seller_id, payment_order_id::text AS id FROM payledger.payment_orders WHERE payment_id = $manual");

	is(states($manual), "AUTHORIZED NOT_CAPTURED\nSELLER-111 0/2000 INITIATED_PENDING\nSELLER-222 0/1000 INITIATED_PENDING",
		'authorized, and nothing else happens');
	sql($node, "SELECT payledger.capture($order{'SELLER-111'}, 1500, 'part')");
	settle($node);
	is(states($manual), "AUTHORIZED PARTIALLY_CAPTURED\nSELLER-111 1500/2000 CAPTURED\nSELLER-222 0/1000 INITIATED_PENDING",
		'a part of one order');
	is(sql($node, <<~"SQL"), '1500|500', 'the rest is given back');
		SELECT captured_amount, voided_amount FROM payledger.payments WHERE payment_id = $manual
		SQL
	sql($node, "SELECT payledger.capture($order{'SELLER-222'})");
	settle($node);
	is(states($manual), "AUTHORIZED PARTIALLY_CAPTURED\nSELLER-111 1500/2000 CAPTURED\nSELLER-222 1000/1000 CAPTURED",
		'all of the other');

	my $single = create_authorized($node, 'pm_card_visa', [700], capture_method => 'manual');
	sql($node, "SELECT payledger.capture(payment_order_id, 300) FROM payledger.payment_orders WHERE payment_id = $single");
	settle($node);
	my ($truth) = grep { $_->{metadata}{payment_id} eq $single } $psp->all_truth;
	is("$truth->{status} $truth->{amount_received} $truth->{amount_capturable}", 'succeeded 300 0',
		'the only capture is the final one: the PSP gives the rest back');

	my $void = create_authorized($node, 'pm_card_visa', [ 400, 500 ], capture_method => 'manual');
	is(sql($node, "SELECT payledger.void_payment($void)"), 'VOIDED', 'void');
	settle($node);
	($truth) = grep { $_->{metadata}{payment_id} eq $void } $psp->all_truth;
	is("$truth->{status} $truth->{amount_received}", 'canceled 0', 'the PSP is told');
	is(states($void), "AUTHORIZED VOIDED\nSELLER-111 0/400 CANCELLED\nSELLER-222 0/500 CANCELLED", 'its orders are cancelled');
};

subtest 'the shopper has to act' => sub {
	my @ids = map { create_authorized($node, 'pm_card_threeDSecureRequired', [ 1000 + $_ ]) } 1 .. 3;

	for my $id (@ids)
	{
		is(states($id), 'REQUIRES_ACTION', "$id waits for the shopper");
		like(sql($node, "SELECT next_action FROM payledger.payment_intents WHERE payment_intent_id = $id"),
			qr/"type"/, 'and says what to do');
	}
	my @references = map { sql($node, "SELECT psp_reference FROM payledger.payment_intents WHERE payment_intent_id = $_") } @ids;
	$psp->control('POST', "/_test/intents/$references[0]/complete_action", { outcome => 'succeed' });
	$psp->control('POST', "/_test/intents/$references[1]/complete_action", { outcome => 'fail' });
	sql($node, "SELECT payledger.request_authorization($_, NULL)") for @ids[ 0, 1 ];
	sql($node, "SELECT payledger.cancel_payment_intent($ids[2])");
	settle($node);
	is(states($ids[0]), "AUTHORIZED CAPTURED\nSELLER-111 1001/1001 CAPTURED", 'done: paid');
	is(states($ids[1]), 'DECLINED', 'failed: declined');
	is(states($ids[2]), 'CANCELLED', 'given up: cancelled');
	my ($truth) = grep { $_->{id} eq $references[2] } $psp->all_truth;
	is($truth->{status}, 'canceled', 'also at the PSP');
};

subtest 'declines' => sub {
	my %code = (
		pm_card_chargeDeclined => 'generic_decline',
		pm_card_chargeDeclinedInsufficientFunds => 'insufficient_funds',
		pm_card_chargeDeclinedExpiredCard => 'expired_card');

	for my $method (sort keys %code)
	{
		my $id = create_intent($node, [100]);

		is(sql($node, "CALL payledger.authorize($id, '$method')"), 'DECLINED', "$method is declined");
		is(sql($node, "SELECT decline_code FROM payledger.payment_intents WHERE payment_intent_id = $id"),
			$code{$method}, 'with its reason');
		is(journal($id), '', 'and nothing is booked');
	}
};

settle($node);
check_psp($node, $psp, 'stripe and Kafka');
check_ledger($node, 'stripe and Kafka');

subtest 'every payment method of the sandbox' => sub {
	my %end = (
		pm_ok => "AUTHORIZED CAPTURED\nSELLER-111 1000/1000 CAPTURED\nSELLER-222 500/500 CAPTURED",
		pm_declined => 'DECLINED',
		pm_insufficient_funds => 'DECLINED',
		pm_expired => 'DECLINED',
		pm_requires_action => 'REQUIRES_ACTION',
		pm_timeout => "AUTHORIZED CAPTURED\nSELLER-111 1000/1000 CAPTURED\nSELLER-222 500/500 CAPTURED",
		pm_lost_reply => "AUTHORIZED CAPTURED\nSELLER-111 1000/1000 CAPTURED\nSELLER-222 500/500 CAPTURED",
		pm_capture_fails => "AUTHORIZED VOIDED\nSELLER-111 0/1000 CAPTURE_FAILED\nSELLER-222 0/500 CAPTURE_FAILED",
		pm_refund_fails => "AUTHORIZED CAPTURED\nSELLER-111 1000/1000 CAPTURED\nSELLER-222 500/500 CAPTURED",
		pm_capture_reversed => "AUTHORIZED VOIDED\nSELLER-111 0/1000 CAPTURE_FAILED\nSELLER-222 0/500 CAPTURE_FAILED",
		pm_nonsense => 'DECLINED');

	sql($node, <<~'SQL');
		SELECT payledger.add_gateway('sandbox', 'sandbox',
			options => '{"timeout_ms": 100, "retry_base_ms": 50, "retry_max_ms": 200, "reversal_ms": 200}')
		SQL
	my %id = map { $_ => pay($node, $_, [ 1000, 500 ], gateway => 'sandbox') } sort keys %end;
	settle($node);
	is(states($id{$_}), $end{$_}, $_) for sort keys %end;

	is(sql($node, "SELECT payledger.request_authorization($id{pm_requires_action}, NULL)"), 'PENDING_AUTH', 'the shopper acts');
	settle($node);
	is(states($id{pm_requires_action}), $end{pm_ok}, 'pm_requires_action: then it goes on');

	is(sql($node, <<~"SQL"), '1|UNKNOWN', 'a lost answer was unknown, not a failure');
		SELECT count(*), min(to_status) FROM payledger.state_history
		 WHERE payment_id = $id{pm_lost_reply} AND machine = 'psp_request' AND to_status = 'UNKNOWN'
		SQL
	is(sql($node, <<~"SQL"), <<~'END' =~ s/\n\z//r, 'a reversed capture is booked back with its commission');
		SELECT entry_type, count(*) FROM payledger.journal_entries WHERE payment_id = $id{pm_capture_reversed}
		 GROUP BY 1 ORDER BY 1
		SQL
		AUTH_HOLD|1
		AUTH_RELEASE|2
		CAPTURE|2
		CAPTURE_REVERSAL|2
		COMMISSION_FEE|1
		COMMISSION_FEE_REVERSAL|1
		END
	is(sql($node, <<~"SQL"), '0', 'so that it leaves nothing on any account');
		SELECT count(*) FROM (SELECT account_id FROM payledger.postings JOIN payledger.journal_entries USING (journal_entry_id)
							   WHERE payment_id = $id{pm_capture_reversed} GROUP BY 1 HAVING sum(amount) <> 0) a
		SQL
};

check_books($node, 'the books', psp => $psp);

subtest 'everything on Kafka once and in order' => sub {
	my $summary = $kafka->summary;
	my $events = sql($node, 'SELECT count(*) FROM payledger.outbox_events')
	  + $node->safe_psql('shop', 'SELECT count(*) FROM payledger.outbox_events');

	is("$summary->{distinct} $summary->{messages}", "$events $events", 'each event once: nothing was killed');
	is($summary->{$_}, 0, "no $_") for qw(missing gaps reorders conflicts moves incomplete duplicates);
};

is(join("\n", grep { /\b(ERROR|FATAL|PANIC|WARNING):/ && !/terminating|does not exist/ } split /\n/,
		PostgreSQL::Test::Utils::slurp_file($node->logfile)), '', 'the server logged no trouble');
$node->stop;
is($psp->stop, 0, 'the PSP server ends cleanly');
done_testing();
