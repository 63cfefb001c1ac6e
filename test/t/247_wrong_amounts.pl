# A PSP whose replies name the right object and other money: nothing is booked
# by such a reply, and what it really did is booked once it says so.

use strict;
use warnings FATAL => 'all';

use PayledgerImpostor;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('amounts');
my $psp = PayledgerPsp->new;
my $node = new_node('amounts');

# ---- a line on which the replies to one path are changed ----

# An error that shows an intent that was cancelled, with what it says of its id.
sub cancelled_error
{
	my ($id) = @_;

	return (qq({"error":{"type":"invalid_request_error","code":"payment_intent_unexpected_state","payment_intent":{$id"object":"payment_intent","status":"canceled"}}}), 400);
}

# Each gets the body of a reply, and returns another, and a status if that is
# another, too.  The amounts of the payments are 1500 and 1000.
my %lies = (
	authorize => {
		path => qr{^/v1/payment_intents},
		'another amount' => sub { $_[0] =~ s/"amount": ?\K1500\b/1/r },
		'a negative amount' => sub { $_[0] =~ s/"amount": ?\K1500\b/-1500/r },
		'a text for an amount' => sub { $_[0] =~ s/"amount": ?\K1500\b/"1500"/r },
		'an amount that no number holds' => sub { $_[0] =~ s/"amount": ?\K1500\b/1e999/r },
		'another currency' => sub { $_[0] =~ s/"currency": ?"\Keur"/usd"/r },
		'no currency' => sub { $_[0] =~ s/"currency": ?"eur",?//r },
		'the reference of another payment' => sub { my $taken = slurp_file("$dir/taken"); $_[0] =~ s/"id": ?"\Kpi_\w+/$taken/r },
		'part of the amount' => sub { $_[0] =~ s/"amount_capturable": ?\K1500\b/1499/r },
	},
	capture => {
		path => qr{^/v1/payment_intents/},
		'nothing received' => sub { $_[0] =~ s/"amount_received": ?\K\d+/0/r },
		'less received' => sub { $_[0] =~ s/"amount_received": ?\K\d+/1499/r },
		'more received than there was' => sub { $_[0] =~ s/"amount_received": ?\K\d+/9223372036854775807/r },
		'a negative amount received' => sub { $_[0] =~ s/"amount_received": ?\K\d+/-1500/r },
		'our mark with another amount' => sub { $_[0] =~ s/"capture_\d+": ?"\K1500"/1499"/r },
		'another currency' => sub { $_[0] =~ s/"currency": ?"\Keur"/jpy"/r },
	},
	cancel => {
		path => qr{^/v1/payment_intents/},
		'an error about another intent' => sub { cancelled_error('"id":"pi_of_another",') },
		'an error about an intent without an id' => sub { cancelled_error('') },
		'an error about an intent whose id is no text' => sub { cancelled_error('"id":["pi_of_another"],') },
	},
	refund => {
		path => qr{^/v1/refunds},
		'a hundred times as much' => sub { $_[0] =~ s/"amount": ?\K100\b/10000/r },
		'less than nothing' => sub { $_[0] =~ s/"amount": ?\K100\b/-100/r },
		'another currency' => sub { $_[0] =~ s/"currency": ?"\Keur"/usd"/r },
		'another payment' => sub { $_[0] =~ s/"payment_intent": ?"\Kpi_\w+/pi_of_another/r },
	},
	question => {
		path => qr{^/v1/refunds/},
		'another refund of ours' => sub { $_[0] =~ s/"id": ?"\Kre_\w+/re_of_another/r },
		'no refund that has an id' => sub { $_[0] =~ s/"id": ?"re_\w+",?//r },
		'more' => sub { $_[0] =~ s/"amount": ?\K100\b/101/r },
	},
	payout => {
		path => qr{^/v1/transfers},
		'less' => sub { $_[0] =~ s/"amount": ?\K700\b/699/r },
		'another currency' => sub { $_[0] =~ s/"currency": ?"\Keur"/usd"/r },
		'another account' => sub { $_[0] =~ s/"destination": ?"\Kacct_\w+/acct_thief/r },
	});

# What the file says is done to replies: "authorize/another amount", or nothing.
sub lie
{
	my ($what) = @_;

	PostgreSQL::Test::Utils::append_to_file("$dir/lie.new", $what);
	rename "$dir/lie.new", "$dir/lie" or die "could not rename: $!\n";
	return;
}

my $line = PayledgerImpostor->new(sub {
	my ($socket, $request) = @_;
	my ($head, $body) = PayledgerImpostor::true_reply($psp, $request);
	my ($operation, $name) = split m{/}, slurp_file("$dir/lie");

	return 0 unless defined $body;
	if (defined $name && $request->{path} =~ $lies{$operation}{path})
	{
		($body, my $status) = $lies{$operation}{$name}->($body);
		$head =~ s{^HTTP/1\.1 \K\d+}{$status} if $status;
		$head =~ s/^(Content-Length): \d+/"$1: " . length $body/mie;
	}
	syswrite($socket, $head . $body);
	return 0;
});

lie('');
add_stripe($node, $psp, base_url => $line->url, unknown_max_ms => 300, max_attempts => 100, backfill_seconds => 0, retry_base_ms => 50, retry_max_ms => 200,
	circuit_failures => 0);
sql($node, q{SELECT payledger.set_payout_terms('SELLER-111', 'EUR', beneficiary => 'acct_seller111', available_from => 'capture')});

# ---- each lie ----

my %begin = (
	authorize => sub {
		my $intent = create_intent($node, [1500], capture_method => 'manual');
		sql($node, "SELECT payledger.request_authorization($intent, 'pm_card_visa')");
		return $intent;
	},
	capture => sub {
		return captured_order(0);
	},
	cancel => sub {
		my $intent = create_authorized($node, 'pm_card_visa', [1500], capture_method => 'manual');
		sql($node, "SELECT payledger.cancel_payment_order(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $intent");
		return $intent;
	},
	refund => sub {
		my $order = captured_order(1);
		return sql($node, "SELECT refund_id FROM payledger.refund($order, 100)");
	},
	question => sub {
		my $told = slurp_file("$dir/lie");
		my $order = captured_order(1, 'pm_card_pendingRefund');

		lie('');
		my $refund = sql($node, "SELECT refund_id FROM payledger.refund($order, 100)");
		wait_sql($node, "SELECT count(*) = 1 FROM payledger.psp_requests WHERE operation = 'RETRIEVE' AND status = 'READY' AND target = $refund",
			'it is to be asked about');
		$psp->control('POST', '/_test/refunds/' . sql($node, "SELECT psp_reference FROM payledger.psp_requests WHERE operation = 'REFUND' AND target = $refund")
			  . '/complete', { outcome => 'succeed' });
		lie($told);
		# the gateways are read again, and what is due is looked for
		sql($node, join ';', 'BEGIN', "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE operation = 'RETRIEVE' AND target = $refund",
			q{SELECT payledger.alter_gateway('stripe', '{"retry_base_ms": 50}')}, 'COMMIT');
		return $refund;
	},
	payout => sub {
		captured_order(1);
		return sql($node, q{SELECT payout_id FROM payledger.request_payout('SELLER-111', 'EUR', 700)});
	});
my %operation = (authorize => 'AUTHORIZE', capture => 'CAPTURE', cancel => 'CANCEL', refund => 'REFUND', question => 'RETRIEVE', payout => 'PAYOUT');

# What is true of it as long as nothing is booked.
my %undone = (
	authorize => "SELECT status = 'PENDING_AUTH' FROM payledger.payment_intents WHERE payment_intent_id = %d",
	capture => "SELECT captured_amount = 0 FROM payledger.payment_orders WHERE payment_order_id = %d",
	cancel => "SELECT status <> 'SUCCEEDED' FROM payledger.psp_requests WHERE payment_id = %d AND operation = 'CANCEL'",
	refund => "SELECT status = 'PENDING' FROM payledger.refunds WHERE refund_id = %d",
	question => "SELECT status = 'PENDING' FROM payledger.refunds WHERE refund_id = %d",
	payout => "SELECT status <> 'PAID' FROM payledger.payouts WHERE payout_id = %d");

# A payment order of 1500 whose capture is asked for, and done if asked to wait.
sub captured_order
{
	my ($wait, $method) = @_;
	my $told = slurp_file("$dir/lie");

	lie('');
	my $intent = create_intent($node, [1500], capture_method => 'manual');
	sql($node, "SELECT payledger.request_authorization($intent, '" . ($method // 'pm_card_visa') . "')");
	wait_sql($node, "SELECT status = 'AUTHORIZED' FROM payledger.payment_intents WHERE payment_intent_id = $intent", 'it is authorized');
	my $order = sql($node, "SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = $intent");
	lie($told) if !$wait;
	sql($node, "SELECT payledger.capture($order)");
	wait_sql($node, "SELECT status = 'CAPTURED' FROM payledger.payment_orders WHERE payment_order_id = $order", 'it is captured') if $wait;
	lie($told);
	return $order;
}

my $taken = captured_order(1);
PostgreSQL::Test::Utils::append_to_file("$dir/taken",
	sql($node, "SELECT p.psp_reference FROM payledger.payments p JOIN payledger.payment_orders o USING (payment_id) WHERE o.payment_order_id = $taken"));

for my $operation (qw(authorize capture cancel refund question payout))
{
	for my $name (sort grep { $_ ne 'path' } keys %{ $lies{$operation} })
	{
		lie("$operation/$name");
		my $id = $begin{$operation}->();
		my $request = sql($node, "SELECT max(psp_request_id) FROM payledger.psp_requests WHERE operation = '$operation{$operation}'");

		wait_sql($node, "SELECT status = 'UNKNOWN' AND attempt > 1 AND reply_code IN ('unexpected_amount', 'another_object', 'reply_not_understood')"
			  . " FROM payledger.psp_requests WHERE psp_request_id = $request", "$operation, $name: it is asked again");
		is(sql($node, sprintf($undone{$operation}, $id)), 't', "$operation, $name: nothing is booked by it");
		lie('');
		wait_sql($node, "SELECT status = 'SUCCEEDED' FROM payledger.psp_requests WHERE psp_request_id = $request", 'the truth is believed');
	}
}
settle($node);
check_books($node, 'in the end', psp => $psp);
$node->stop;
done_testing();
