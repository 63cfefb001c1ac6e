# The requests that the Stripe adapter sends, byte by byte: recorded, judged by
# Stripe's own stripe-mock and its description of the API, and looked through
# for what must not be there.
#
# RECORD_REQUESTS names a file for them: JSON lines with method, path, headers
# and body.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('requests');
my $recorded = $ENV{RECORD_REQUESTS} || "$dir/requests.jsonl";
my $psp = PayledgerPsp->new('--log', "$dir/log");
my $node = new_node('requests');

add_stripe($node, $psp);

# ---- a bit of everything ----

sql($node, <<~"SQL");
	SELECT payledger.add_gateway('marketplace', 'stripe', '{"base_url": "${\$psp->url('')}", "stripe_account": "acct_1234567890",
		"return_url": "https://shop.example/back?a=b&c=d", "payment_method_types": "card, link", "multicapture": false,
		"timeout_ms": 1000, "lease_seconds": 6, "retry_base_ms": 50, "retry_max_ms": 400}');
	SELECT payledger.register_seller('SELLER-111', c) FROM unnest('{JPY,ISK,KWD,UGX}'::text[]) c;
	SQL
write_secrets($node, stripe => $psp->key, marketplace => $psp->key);
$node->reload;

my %id;
$id{automatic} = pay($node, 'pm_card_visa', [ 1450, 1450 ]);
$id{single} = pay($node, 'pm_card_visa', [900]);
$id{declined} = pay($node, 'pm_card_chargeDeclined', [100]);
$id{void} = create_authorized($node, 'pm_card_visa', [ 300, 400 ], capture_method => 'manual');
$id{manual} = create_authorized($node, 'pm_card_visa', [ 2000, 1000 ], capture_method => 'manual');
$id{last} = create_authorized($node, 'pm_card_visa', [700], capture_method => 'manual');
$id{action} = create_authorized($node, 'pm_card_threeDSecureRequired', [1100]);
$id{given_up} = create_authorized($node, 'pm_card_threeDSecureRequired', [1200]);
# other text than letters must arrive as it is
my $order = "Bestellung \x{e4}\x{20ac} & 100% = [\"a\"]+b";
utf8::encode($order);
$id{escaped} = pay($node, 'pm_card_visa', [500], gateway => 'marketplace', order_id => $order);
my %currency = (JPY => [ 500, 500 ], ISK => [ 500, 50_000 ], KWD => [ 1230, 1230 ], UGX => [ 500, 50_000 ]);
for my $currency (sort keys %currency)
{
	$id{$currency} = sql($node, <<~"SQL");
		SELECT payment_intent_id FROM payledger.create_payment_intent('ORDER-$currency', 'BUYER-1', '$currency',
			'[{"seller_id": "SELLER-111", "amount": $currency{$currency}[0]}]')
		SQL
	sql($node, "SELECT payledger.request_authorization($id{$currency}, 'pm_card_visa')");
}
sql($node, <<~"SQL");
	SELECT payledger.void_payment($id{void});
	SELECT payledger.capture(payment_order_id, amount / 2) FROM payledger.payment_orders WHERE payment_id IN ($id{manual}, $id{last});
	SELECT payledger.cancel_payment_intent($id{given_up});
	SQL
$psp->control('POST', '/_test/intents/' . sql($node, "SELECT psp_reference FROM payledger.payment_intents WHERE payment_intent_id = $id{action}")
	  . '/complete_action', { outcome => 'succeed' });
sql($node, "SELECT payledger.request_authorization($id{action}, NULL)");
settle($node);

# refunds, one of which is asked about while it is pending
sql($node, "SELECT payledger.refund(payment_order_id, amount / 3) FROM payledger.payment_orders WHERE payment_id = $id{automatic}");
settle($node);

# a payout to the seller's connected account, and one whose reply says nothing
sql($node, <<~"SQL");
	SELECT payledger.open_account('PLATFORM_CASH', 'GLOBAL', 'EUR');
	SELECT payledger.post_entry('ADJUSTMENT', '[{"account": "PLATFORM_CASH.GLOBAL.EUR", "amount": 1000},
		{"account": "MERCHANT_PAYABLE.SELLER-222.EUR", "amount": -1000}]', 'opening balance');
	SELECT payledger.set_payout_terms('SELLER-222', 'EUR', beneficiary => 'acct_222');
	SQL
my ($payout) = rows($node, "SELECT payout_id::text AS id FROM payledger.request_payout('SELLER-222', 'EUR', 600)");
settle($node);
$psp->fault(fault => 'error_500_stored', execute => JSON::PP::true, times => 1, match => { operation => 'transfer' });
my ($asked_payout) = rows($node, "SELECT payout_id::text AS id FROM payledger.request_payout('SELLER-222', 'EUR', 400)");
settle($node);

# errors that bring questions by id and by mark
$psp->fault(fault => 'error_500_stored', execute => JSON::PP::true, times => 1, match => { operation => 'refund' });
sql($node, "SELECT payledger.refund_payment($id{single})");
settle($node);
for my $operation (qw(create capture))
{
	$psp->fault(fault => 'error_500_stored', execute => JSON::PP::true, times => 1, match => { operation => $operation });
	$id{"asked_$operation"} = pay($node, 'pm_card_visa', [800]);
	settle($node);
}
check_books($node, 'all is paid');
is($psp->truth->{captures}{count}, sql($node, 'SELECT count(*) FROM payledger.payment_orders WHERE captured_amount > 0'),
	'as many captures at the PSP');

# ---- what was sent ----

my %count;
my @requests = map { decode_json($_) } split /\n/, slurp_file("$dir/log");
open(my $file, '>', $recorded) or BAIL_OUT("could not write $recorded: $!");
for my $request (@requests)
{
	print $file JSON::PP->new->canonical->utf8->encode({ map { $_ => $request->{$_} } qw(method path headers body) }), "\n";
	$count{ $request->{path} =~ m{/search\?} ? 'search' : $request->{operation} }++;
}
close($file);
cmp_ok($count{$_} // 0, '>=', 1, "there is a request: $_") for qw(create capture cancel refund retrieve search);

sub headers_of
{
	my ($request) = @_;
	return { map { lc($_) => $request->{headers}{$_} } keys %{ $request->{headers} } };
}

subtest 'headers' => sub {
	my %known = map { $_->{key} => 1 } rows($node, 'SELECT idempotency_key AS key FROM payledger.psp_requests');
	my @wrong;

	for my $request (@requests)
	{
		my $headers = headers_of($request);
		my $key = $headers->{'idempotency-key'};

		push @wrong, "$request->{method} $request->{path}: $_" for (
			$headers->{authorization} eq 'Bearer ***' ? () : 'no API key',
			($headers->{'stripe-version'} // '') =~ /^20\d\d-\d\d-\d\d(\.\w+)?$/ ? () : 'no version of the API',
			$request->{method} eq 'GET' ? (defined $key ? 'a key on a question' : ()) : !$known{ $key // '' } ? 'no key of ours' : (),
			$request->{method} eq 'GET' ? () : $headers->{'content-type'} eq 'application/x-www-form-urlencoded' ? () : 'no form',
			exists $headers->{expect} ? 'waits for 100 Continue' : ());
	}
	is(join("\n", @wrong), '', 'each of ' . @requests . ' requests has those it needs');
	my %versions = map { headers_of($_)->{'stripe-version'} => 1 } @requests;
	is(scalar(keys %versions), 1, 'all of one version of the API');
	is(join(' ', map { headers_of($_)->{'stripe-account'} // '-' } grep { $_->{body} =~ /Bestellung/ } @requests),
		'acct_1234567890', 'the connected account');
};

# The form of a request.
sub decoded
{
	my ($request) = @_;

	return { map { s/%([0-9A-Fa-f]{2})/chr(hex($1))/egr } map { split /=/, $_, 2 } split /&/, $request->{body} };
}

# The first request of an operation for a payment, its form decoded.
sub form_of
{
	my ($id, $operation, $n) = @_;
	my $reference = sql($node, "SELECT psp_reference FROM payledger.payment_intents WHERE payment_intent_id = $id");
	my ($request) = (grep { $_->{operation} && $_->{operation} eq $operation
		  && ($operation eq 'create' ? $_->{body} =~ /payment_id\]=$id\b/ : $_->{path} =~ /\Q$reference\E/) } @requests)[ $n // 0 ];

	return decoded($request);
}

# The idempotency key of the request of that operation for an intent, a refund or a payout.
sub key_of
{
	my ($target, $operation) = @_;

	return sql($node, "SELECT idempotency_key FROM payledger.psp_requests WHERE target = $target AND operation = '$operation'");
}

subtest 'forms' => sub {
	is_deeply(
		form_of($id{automatic}, 'create'),
		{
			amount => 2900,
			currency => 'eur',
			capture_method => 'manual',
			confirm => 'true',
			payment_method => 'pm_card_visa',
			'payment_method_types[]' => 'card',
			'payment_method_options[card][request_multicapture]' => 'if_available',
			'metadata[payment_id]' => $id{automatic},
			'metadata[request]' => key_of($id{automatic}, 'AUTHORIZE'),
			'metadata[order_id]' => sql($node, "SELECT order_id FROM payledger.payment_intents WHERE payment_intent_id = $id{automatic}") },
		'an authorization');
	my %orders = map { $_->{id} => $_->{amount} } rows($node,
		"SELECT payment_order_id::text AS id, amount FROM payledger.payment_orders WHERE payment_id = $id{automatic}");
	for my $n (0, 1)
	{
		my $form = form_of($id{automatic}, 'capture', $n);
		my ($mark) = grep { /^metadata/ } keys %$form;
		my ($request_id) = $mark =~ /^metadata\[capture_(\d+)\]$/;
		my $order_id = sql($node, "SELECT target FROM payledger.psp_requests WHERE psp_request_id = $request_id");

		is_deeply($form, { amount_to_capture => 1450, final_capture => 'false', $mark => 1450 }, "capture $n of two");
		is(delete $orders{$order_id}, 1450, "is marked as one of its own order");
	}
	is(form_of($id{single}, 'capture')->{final_capture}, 'true', 'the only capture is final');
	is(form_of($id{last}, 'capture')->{amount_to_capture}, 350, 'a partial one says how much');
	is_deeply(form_of($id{void}, 'cancel'), { cancellation_reason => 'requested_by_customer' }, 'a cancellation of what was authorized');
	is_deeply(form_of($id{given_up}, 'cancel'), { cancellation_reason => 'abandoned' }, 'and of what the shopper left');
	for my $refund (rows($node, "SELECT refund_id::text AS id, amount, status FROM payledger.refunds WHERE payment_id = $id{automatic}"))
	{
		my ($form) = grep { $_->{'metadata[refund_id]'} eq $refund->{id} } map { decoded($_) }
		  grep { $_->{operation} && $_->{operation} eq 'refund' && $_->{method} eq 'POST' } @requests;

		is($refund->{status}, 'SUCCEEDED', 'a refund is done');
		is_deeply($form, {
				payment_intent => sql($node, "SELECT psp_reference FROM payledger.payments WHERE payment_id = $id{automatic}"),
				amount => $refund->{amount},
				'metadata[payment_id]' => $id{automatic},
				'metadata[refund_id]' => $refund->{id},
				'metadata[request]' => key_of($refund->{id}, 'REFUND') }, 'it names the payment, the amount and itself');
	}

	my ($transfer) = map { decoded($_) } grep { $_->{path} eq '/v1/transfers' && $_->{body} =~ /$payout->{id}/ } @requests;
	is_deeply($transfer, {
			amount => 600,
			currency => 'eur',
			destination => 'acct_222',
			transfer_group => "pl_$payout->{id}",
			'metadata[payout_id]' => $payout->{id},
			'metadata[request]' => key_of($payout->{id}, 'PAYOUT') }, 'a payout is a transfer');
	is(sql($node, "SELECT string_agg(status::text, ' ') FROM payledger.payouts WHERE payout_id IN ($payout->{id}, $asked_payout->{id})"),
		'PAID PAID', 'both payouts are paid');
	is(scalar(grep { $_->{method} eq 'GET' && $_->{path} =~ m{^/v1/transfers\?transfer_group=pl_$asked_payout->{id}\b} } @requests), 1,
		'the one without a good reply was asked for');
	is($psp->truth->{transfers}{count} // 2, 2, 'and each made once');

	my $escaped = form_of($id{escaped}, 'create');
	is($escaped->{'metadata[order_id]'}, $order, 'text comes through as it is');
	is($escaped->{return_url}, 'https://shop.example/back?a=b&c=d', 'return_url');
	ok(!exists $escaped->{'payment_method_options[card][request_multicapture]'}, 'no multicapture where it is not wanted');
	ok(!exists form_of($id{escaped}, 'capture')->{final_capture}, 'nor its parameter');
	for my $currency (sort keys %currency)
	{
		is(form_of($id{$currency}, 'create')->{amount}, $currency{$currency}[1], "$currency in the unit that Stripe counts in");
		is(form_of($id{$currency}, 'capture')->{amount_to_capture}, $currency{$currency}[1], "$currency, capture");
	}
};

# ---- what Stripe says to it ----

my $tools = "$PspServer::HOME/stripe_mock.sh";
chomp(my $spec = qx("$tools" spec));
BAIL_OUT('stripe-mock cannot be installed') unless $? == 0 && -f $spec;
my $mock_port = PostgreSQL::Test::Cluster::get_free_port();
my $mock_out = '';
my $mock = IPC::Run::start([ $tools, 'run', $mock_port ], '<', \undef, '>&', \$mock_out);
END
{
	my $code = $?;

	$mock->kill_kill(grace => 5) if $mock;
	$? = $code;
}
wait_for(sub { $mock->pump_nb; $mock_out =~ /Listening for HTTP/ }, 'stripe-mock listens');

my $verdict = '';
my $accepted = IPC::Run::run([ 'python3', '-B', "$PspServer::HOME/conformance.py", '--spec', $spec,
		'--mock', "http://127.0.0.1:$mock_port", $recorded ], '>&', \$verdict);
ok($accepted, 'stripe-mock and the description of the API accept every request') or diag($verdict);
like($verdict, qr/^${\scalar @requests} passed, 0 failed$/m, 'all ' . @requests);

# ---- secrets ----

subtest 'the API key is nowhere' => sub {
	my $key = $psp->key;

	is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE encode(request_bytes, 'escape') ~* 'authorization|bearer|$key'"),
		0, 'not in stored requests');
	my $dump = '';
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr('payledger') ], '>', \$dump) or BAIL_OUT('pg_dump failed');
	unlike($dump, qr/\Q$key\E/, 'not in any table');
	unlike(slurp_file($node->logfile), qr/\Q$key\E/, 'not in the server log');
	is(sql($node, "SELECT count(*) FROM pg_settings WHERE setting LIKE '%$key%'"), 0, 'not in a setting');
	# written out, so that a search of the files sees what the buffers hold
	$node->stop;
	my $found = '';
	IPC::Run::run([ 'grep', '-rlaF', $key, $node->data_dir ], '>', \$found);
	is($found, '', 'not in any file of the server, its WAL included');
};

done_testing();
