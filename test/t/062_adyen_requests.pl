# The requests that the Adyen adapter sends, byte by byte, and what it makes of
# the answers: recorded, and looked through for what must not be there.
#
# RECORD_REQUESTS names a file for them: JSON lines with method, path,
# headers and body; RECORD_ERROR_CLASSES one for the error classes of all
# adapters.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PayledgerImpostor;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('requests');
my $recorded = $ENV{RECORD_REQUESTS} || "$dir/requests.jsonl";
my $psp = PayledgerPsp->new('--log', "$dir/log");
my $node = new_node('adyen');
my $json = JSON::PP->new->canonical;

# A server that answers each payment with an error, or with one that was authorized, by its token.
my %error = (key_in_use => [ 422, '704' ], transient => [ 422, '14_030', 'Transient-Error: true' ], refusal => [ 422, '14_030', 'Transient-Error: false' ]);
my %amount = (
	as_asked => '{"currency":"EUR","value":600}',
	none => undef,
	null => 'null',
	no_currency => '{"value":600}',
	no_value => '{"currency":"EUR"}',
	currency_null => '{"currency":null,"value":600}',
	other_currency => '{"currency":"USD","value":600}',
	other_value => '{"currency":"EUR","value":601}',
	number => '600',
	empty => '{}');
my $odd = PayledgerImpostor->new(
	sub {
		my ($socket, $request) = @_;
		my ($token) = $request->{body} =~ /"storedPaymentMethodId":"(\w+)"/;

		if (exists $amount{$token})
		{
			my $amount = defined $amount{$token} ? qq(,"amount":$amount{$token}) : '';

			syswrite($socket, PayledgerImpostor::reply(200, qq({"pspReference":"PSP\U$token\E","resultCode":"Authorised"$amount})));
			return 1;
		}
		my ($status, $code, @headers) = @{ $error{$token} };
		syswrite($socket, PayledgerImpostor::reply($status, qq({"status":$status,"errorCode":"$code","message":"m","errorType":"validation"}), @headers));
		return 1;
	});

$node->append_conf('postgresql.conf', "payledger.gateway_secrets_file = '"
	  . write_secrets($node, map { $_ => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret('adyen') ] } qw(adyen several odd)) . "'");
$node->reload;

# ---- gateways ----

sql_fails($node, q{SELECT payledger.add_gateway('adyen', 'adyen', '{"return_url": "https://shop.example/"}')},
	'22023', 'needs the option "merchant_account"', 'no merchant account');
sql_fails($node, q{SELECT payledger.add_gateway('adyen', 'adyen', '{"merchant_account": "Shop"}')},
	'22023', 'needs the option "return_url"', 'no return URL');

my %options = (
	base_url => $psp->base_url('adyen'),
	merchant_account => 'ShopCOM',
	return_url => 'https://shop.example/back?a=b&c=d',
	timeout_ms => 1000,
	lease_seconds => 6,
	retry_base_ms => 50,
	retry_max_ms => 400);
for my $gateway (qw(adyen several))
{
	my $more = $gateway eq 'several' ? { multicapture => JSON::PP::true, keeps_remainder => JSON::PP::true } : {};

	sql($node, "SELECT payledger.add_gateway('$gateway', 'adyen', '" . $json->encode({ %options, %$more })
		  . "', is_default => " . ($gateway eq 'adyen' ? 'true' : 'false') . ')');
}
sql($node, "SELECT payledger.register_seller('SELLER-111', c) FROM unnest('{CLP,ISK,IDR,KWD,JPY}'::text[]) c");
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateways are ready');

# ---- helpers ----

my $seen = 0;

# Hands the webhooks that are new to the gateway of their payment, and waits
# until they are applied.
sub deliver
{
	for my $webhook ($psp->webhooks($seen, psp => 'adyen'))
	{
		my ($id) = $webhook->{payment} =~ /^pl_(\d+)_/;
		my $gateway = intent($id, 'gateway');

		$seen = $webhook->{seq};
		sql($node, "SELECT payledger.receive_webhook('$gateway', '{}', \$webhook\$$webhook->{body}\$webhook\$)");
	}
	wait_sql($node, q{SELECT count(*) = 0 FROM payledger.webhooks WHERE status = 'RECEIVED'}, 'the webhooks are applied');
	return;
}

sub intent
{
	my ($id, $column) = @_;

	return sql($node, "SELECT $column FROM payledger.payment_intents WHERE payment_intent_id = $id");
}

# Requests of an operation for a payment: status and code.
sub outcomes
{
	my ($id, $operation) = @_;

	return sql($node, "SELECT string_agg(status || coalesce(' ' || reply_code, ''), ', ' ORDER BY psp_request_id) FROM payledger.psp_requests"
		  . " WHERE payment_id = $id AND operation = '$operation'");
}

# Our reference of the payment's first request of an operation.
sub reference
{
	my ($id, $operation) = @_;

	return sql($node, "SELECT 'pl_' || payment_id || substr(idempotency_key, 3) FROM payledger.psp_requests"
		  . " WHERE payment_id = $id AND operation = '$operation' ORDER BY psp_request_id LIMIT 1");
}

# All that is not waiting for a webhook is decided.
sub quiet
{
	settle($node);
	return;
}

# ---- authorizing ----

my %id;
$id{token} = create_authorized($node, 'authorised', [900]);
is(intent($id{token}, 'status'), 'AUTHORIZED', 'a stored token');
quiet();
is(outcomes($id{token}, 'CAPTURE'), 'PENDING received', 'a capture is only accepted');
deliver();
is(outcomes($id{token}, 'CAPTURE'), 'SUCCEEDED', 'until its webhook comes');
is(sql($node, "SELECT status, captured_amount FROM payledger.payments WHERE payment_id = $id{token}"), 'CAPTURED|900', 'it is captured');

my $component = {
	riskData => { clientData => 'eyJ2ZXJzaW9uIjoi' },
	paymentMethod => {
		type => 'scheme', holderName => "J. M\x{fc}ller",
		map { $_ => 'authorised' } qw(encryptedCardNumber encryptedExpiryMonth encryptedExpiryYear encryptedSecurityCode) },
	browserInfo => {
		acceptHeader => '*/*', colorDepth => 24, language => 'de-AT', javaEnabled => JSON::PP::false, screenHeight => 1080,
		screenWidth => 1920, timeZoneOffset => -60, userAgent => 'Mozilla/5.0 "x"' },
	storePaymentMethod => JSON::PP::true,
	clientStateDataIndicator => JSON::PP::true };
my $state = JSON::PP->new->utf8->canonical->encode($component);
$id{front_end} = create_authorized($node, $state, [ 1450, 1450 ]);
is(intent($id{front_end}, 'status'), 'AUTHORIZED', 'what a component of the front end made');
is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE payment_id = $id{front_end} AND operation = 'CAPTURE' AND payment_method IS NULL"),
	1, 'two sellers, one capture, which does not carry it on');
$id{method_only} = create_authorized($node, $json->encode({ type => 'scheme', encryptedCard => 'authorised' }), [700]);
is(intent($id{method_only}, 'status'), 'AUTHORIZED', 'a payment method alone');
$id{several} = create_authorized($node, 'authorised', [ 300, 400 ], gateway => 'several');
quiet();
is(outcomes($id{several}, 'CAPTURE'), 'PENDING received, PENDING received', 'several captures where the account has them');

for my $case (
	[ 'refused', 'DECLINED', '2' ],
	[ 'refused_balance', 'DECLINED', '12' ],
	[ 'pending', 'PENDING_AUTH', undef ],
	[ 'received', 'PENDING_AUTH', undef ])
{
	my ($method, $status, $code) = @$case;

	$id{$method} = pay($node, $method, [100]);
	quiet();
	is(intent($id{$method}, 'status'), $status, "$method: $status");
	is(intent($id{$method}, 'decline_code'), $code, "$method: the reason's code") if $code;
}
is(outcomes($id{pending}, 'AUTHORIZE'), 'PENDING Pending', 'what Adyen decides later is PENDING');
for my $method (qw(pending received))
{
	my $reference = reference($id{$method}, 'AUTHORIZE');

	is($psp->control('POST', "/_test/adyen/$reference/complete", { outcome => $method eq 'pending' ? 'succeed' : 'fail' })->{status}, 200, "$method: the bank decides");
}
deliver();
is(intent($id{pending}, 'status'), 'AUTHORIZED', 'pending, then authorized');
is(intent($id{received}, 'status'), 'DECLINED', 'received, then refused');

# resultCode Error: unknown, the same bytes again; only the webhook tells
$id{error} = pay($node, 'error', [100]);
wait_sql($node, "SELECT attempt > 1 FROM payledger.psp_requests WHERE payment_id = $id{error}", 'an error is asked for again');
is(outcomes($id{error}, 'AUTHORIZE') =~ /SUCCEEDED|REFUSED|PARKED/ ? 1 : 0, 0, 'an error decides nothing');
deliver();
wait_sql($node, "SELECT status = 'DECLINED' FROM payledger.payment_intents WHERE payment_intent_id = $id{error}", 'its webhook does');

# ---- the shopper acts ----

sub action_of
{
	my ($id) = @_;

	return $psp->control('POST', '/_test/adyen/' . reference($id, 'AUTHORIZE') . '/complete', { outcome => 'succeed' })->{json};
}

sub confirm
{
	my ($id, $details) = @_;

	sql($node, "SELECT payledger.confirm_authorization($id, '" . $json->encode($details) . "')");
	wait_sql($node, "SELECT status <> 'PENDING_AUTH' FROM payledger.payment_intents WHERE payment_intent_id = $id", "intent $id is decided");
	return;
}

$id{redirect} = create_authorized($node, 'redirect', [1100]);
is(intent($id{redirect}, 'status'), 'REQUIRES_ACTION', 'a redirect');
is(intent($id{redirect}, "next_action->>'type'"), 'redirect', 'its action is for the front end');
my $result = action_of($id{redirect});
sql_fails($node, "SELECT payledger.confirm_authorization($id{redirect}, '{\"number\": \"4111 1111 1111 1111\"}')", 'PL011', 'card number', 'card data');
sql_fails($node, "SELECT payledger.confirm_authorization($id{redirect}, '[]')", '22023', 'object', 'no object');
sql_fails($node, "SELECT payledger.confirm_authorization($id{redirect}, NULL)", '22004', 'details', 'null');
sql_fails($node, "SELECT payledger.confirm_authorization($id{token}, '{}')", 'PL001', 'payment_intent', 'nothing to confirm');
sql_fails($node, "SELECT payledger.confirm_authorization(1, '{}')", 'PL007', 'does not exist', 'no such intent');
confirm($id{redirect}, { redirectResult => 'garbage' });
is(intent($id{redirect}, 'status'), 'REQUIRES_ACTION', 'details that Adyen does not know decide nothing');
is(intent($id{redirect}, "next_action->>'type'"), 'redirect', 'and leave the action');
confirm($id{redirect}, { redirectResult => $result->{redirectResult} });
is(intent($id{redirect}, 'status'), 'AUTHORIZED', 'the right ones authorize');

$id{identify} = create_authorized($node, 'identify', [1200]);
is(intent($id{identify}, "next_action->>'subtype'"), 'fingerprint', 'native 3D Secure: the fingerprint');
confirm($id{identify}, { details => { threeDSResult => action_of($id{identify})->{threeDSResult} }, paymentData => 'Ab02b4c0' });
is(intent($id{identify}, "status || ' ' || (next_action->>'subtype')"), 'REQUIRES_ACTION challenge', 'then the challenge');
confirm($id{identify}, { details => { threeDSResult => action_of($id{identify})->{threeDSResult} } });
is(intent($id{identify}, 'status'), 'AUTHORIZED', 'then it is authorized');

$id{given_up} = create_authorized($node, 'redirect', [1300]);
sql($node, "SELECT payledger.cancel_payment_intent($id{given_up})");
quiet();
like(outcomes($id{given_up}, 'CANCEL'), qr/^PENDING/, 'what the shopper left is cancelled by our own reference');

# ---- captures, cancellations, refunds ----

$id{void} = create_authorized($node, 'authorised', [ 300, 400 ], capture_method => 'manual');
$id{part} = create_authorized($node, 'authorised', [ 2000, 1000 ], capture_method => 'manual', gateway => 'several');
sql($node, <<~"SQL");
	SELECT payledger.void_payment($id{void});
	SELECT payledger.capture(payment_order_id, amount / 2) FROM payledger.payment_orders WHERE payment_id = $id{part};
	SQL
quiet();
deliver();
is(outcomes($id{void}, 'CANCEL'), 'SUCCEEDED', 'a cancellation');
is(sql($node, "SELECT captured_amount FROM payledger.payments WHERE payment_id = $id{part}"), 1500, 'parts');
sql($node, "SELECT payledger.refund(payment_order_id, 400) FROM payledger.payment_orders WHERE payment_id = $id{token}");
quiet();
is(outcomes($id{token}, 'REFUND'), 'PENDING received', 'a refund is only accepted');
deliver();
is(sql($node, "SELECT status FROM payledger.refunds WHERE payment_id = $id{token}"), 'SUCCEEDED', 'until its webhook comes');

for my $method (qw(capture_fails capture_fails_later refund_fails refund_fails_later refund_reversed))
{
	$id{$method} = create_authorized($node, $method, [800]);
	quiet();
	deliver();
	next if $method =~ /^capture/;
	sql($node, "SELECT payledger.refund(payment_order_id, 300) FROM payledger.payment_orders WHERE payment_id = $id{$method}");
	quiet();
	deliver();
}
is(sql($node, "SELECT string_agg(status::text, ' ') FROM payledger.payment_orders WHERE payment_id IN ($id{capture_fails}, $id{capture_fails_later})"),
	'CAPTURE_FAILED CAPTURE_FAILED', 'captures that fail, at once or later');
is(sql($node, "SELECT string_agg(status::text, ' ') FROM payledger.refunds WHERE payment_id IN ($id{refund_fails}, $id{refund_fails_later}, $id{refund_reversed})"),
	'FAILED FAILED FAILED', 'refunds that fail, at once or later, or come back');

# ---- currencies ----

my %currency = (CLP => [ 500, 50_000 ], ISK => [ 500, 50_000 ], IDR => [ 500_000, 5000 ], KWD => [ 1230, 1230 ], JPY => [ 500, 500 ]);
for my $currency (sort keys %currency)
{
	$id{$currency} = sql($node, <<~"SQL");
		SELECT payment_intent_id FROM payledger.create_payment_intent('ORDER-$currency', 'BUYER-1', '$currency',
			'[{"seller_id": "SELLER-111", "amount": $currency{$currency}[0]}]')
		SQL
	sql($node, "SELECT payledger.request_authorization($id{$currency}, 'authorised')");
}
quiet();
deliver();
for my $currency (sort keys %currency)
{
	is(sql($node, "SELECT captured_amount FROM payledger.payments WHERE payment_id = $id{$currency}"), $currency{$currency}[0],
		"$currency comes back in our units");
}

# ---- faults ----

for my $fault (qw(drop_after reset_after error_500 error_503 conflict_409 rate_limit_429 garbage truncated))
{
	for my $operation (qw(authorize capture))
	{
		$psp->fault(fault => $fault, times => 1, match => { operation => $operation }, $fault eq 'drop_after' ? (ms => 100) : ());
		$id{"$fault $operation"} = pay($node, 'authorised', [600]);
		quiet();
		$psp->clear_faults;
	}
}
deliver();
is(sql($node, 'SELECT count(*) FROM payledger.payments WHERE captured_amount = 600'), 16, 'each fault is overcome');
check_books($node, 'all is paid');

# An error is no refusal if the request may be under way, or may succeed later.
subtest 'errors that are no refusals' => sub {
	sql($node, "SELECT payledger.add_gateway('odd', 'adyen', '" . $json->encode({ %options, base_url => $odd->url, retry_base_ms => 60000, retry_max_ms => 60000 }) . "')");

	for my $case ([ key_in_use => 'PENDING_AUTH|UNKNOWN|704' ], [ transient => 'PENDING_AUTH|UNKNOWN|14_030' ], [ refusal => 'DECLINED|REFUSED|14_030' ])
	{
		my ($method, $expected) = @$case;
		my $id = pay($node, $method, [600], gateway => 'odd');

		wait_sql($node, "SELECT reply_code IS NOT NULL FROM payledger.psp_requests WHERE payment_id = $id", "$method is answered");
		is(sql($node, "SELECT i.status, r.status, r.reply_code FROM payledger.payment_intents i JOIN payledger.psp_requests r ON r.payment_id = i.payment_intent_id WHERE i.payment_intent_id = $id"),
			$expected, $method);
	}
};

# An amount that is told has to be the one that was asked for.
subtest 'amounts of replies' => sub {
	for my $name (sort keys %amount)
	{
		my $id = pay($node, $name, [600], gateway => 'odd', capture_method => 'manual');

		wait_sql($node, "SELECT reply_code IS NOT NULL FROM payledger.psp_requests WHERE payment_id = $id", "$name is answered");
		is(sql($node, "SELECT i.status, r.status, r.reply_code FROM payledger.payment_intents i JOIN payledger.psp_requests r ON r.payment_id = i.payment_intent_id WHERE i.payment_intent_id = $id"),
			$name =~ /^(as_asked|none|null)$/ ? 'AUTHORIZED|SUCCEEDED|Authorised' : 'PENDING_AUTH|UNKNOWN|unexpected_reply', $name);
	}
};

# ---- what was sent ----

my @requests = map { decode_json($_) } split /\n/, slurp_file("$dir/log");
open(my $file, '>', $recorded) or BAIL_OUT("could not write $recorded: $!");
for my $request (@requests)
{
	print $file JSON::PP->new->canonical->utf8->encode({ map { $_ => $request->{$_} } qw(method path headers body) }), "\n";
}
close($file);

sub body_of
{
	my ($id, $path, $n) = @_;
	my ($request) = (grep { $_->{path} =~ m{$path} && $_->{body} =~ /"pl_${id}_/ } @requests)[ $n // 0 ];

	return $json->decode($request->{body});
}

subtest 'headers' => sub {
	my %known = map { $_->{key} => 1 } rows($node, 'SELECT idempotency_key AS key FROM payledger.psp_requests');
	my @wrong;

	for my $request (@requests)
	{
		my $headers = { map { lc($_) => $request->{headers}{$_} } keys %{ $request->{headers} } };

		push @wrong, "$request->{method} $request->{path}: $_" for (
			$request->{method} eq 'POST' ? () : 'no POST',
			($headers->{'x-api-key'} // '') eq '***' ? () : 'no API key',
			$known{ $headers->{'idempotency-key'} // '' } ? () : 'no key of ours',
			($headers->{'content-type'} // '') eq 'application/json' ? () : 'no JSON',
			exists $headers->{expect} ? 'waits for 100 Continue' : ());
	}
	is(join("\n", @wrong), '', 'each of ' . @requests . ' requests has those it needs');
};

subtest 'bodies' => sub {
	is_deeply(body_of($id{token}, '/payments$'), {
			merchantAccount => 'ShopCOM',
			reference => reference($id{token}, 'AUTHORIZE'),
			amount => { currency => 'EUR', value => 900 },
			paymentMethod => { type => 'scheme', storedPaymentMethodId => 'authorised' },
			returnUrl => 'https://shop.example/back?a=b&c=d',
			additionalData => { manualCapture => 'true' },
			shopperInteraction => 'ContAuth',
			recurringProcessingModel => 'CardOnFile',
			shopperReference => 'BUYER-1',
			merchantOrderReference => sql($node, "SELECT order_id FROM payledger.payment_intents WHERE payment_intent_id = $id{token}") },
		'a stored token');
	my $sent = body_of($id{front_end}, '/payments$');
	is_deeply($sent->{$_}, $component->{$_}, "of the component: $_") for qw(paymentMethod riskData browserInfo storePaymentMethod);
	is($sent->{shopperInteraction}, 'Ecommerce', 'the shopper is there');
	ok(!exists $sent->{clientStateDataIndicator}, 'nothing that Adyen does not know');
	is_deeply(body_of($id{method_only}, '/payments$')->{paymentMethod}, { type => 'scheme', encryptedCard => 'authorised' }, 'a method alone');

	my $paid = sql($node, "SELECT psp_reference FROM payledger.payments WHERE payment_id = $id{token}");
	is_deeply(body_of($id{token}, "/payments/$paid/captures"), {
			merchantAccount => 'ShopCOM',
			reference => reference($id{token}, 'CAPTURE'),
			amount => { currency => 'EUR', value => 900 } }, 'a capture');
	is_deeply(body_of($id{token}, "/payments/$paid/refunds")->{amount}, { currency => 'EUR', value => 400 }, 'a refund');
	is(join(' ', sort map { body_of($id{part}, '/captures$', $_)->{amount}{value} } 0, 1), '1000 500', 'parts');
	is(body_of($id{front_end}, '/captures$')->{amount}{value}, 2900, 'the sum of all sellers where there is one capture');
	is(join(' ', sort keys %{ body_of($id{void}, '/cancels$') }), 'merchantAccount reference', 'a cancellation');
	is(body_of($id{given_up}, '/v71/cancels$')->{paymentReference}, reference($id{given_up}, 'AUTHORIZE'), 'by our own reference');

	my @details = map { $json->decode($_->{body}) } grep { $_->{path} =~ m{/payments/details$} } @requests;
	is_deeply($details[1], { details => { redirectResult => $result->{redirectResult} } }, 'the details alone');
	is(join(' ', sort keys %{ $details[2] }), 'details paymentData', 'and with the payment data');
	is(body_of($id{$_}, '/payments$')->{amount}{value}, $currency{$_}[1], "$_ in Adyen's units") for sort keys %currency;
};

if (my $classes = $ENV{RECORD_ERROR_CLASSES})
{
	open(my $out, '>', $classes) or BAIL_OUT("could not write $classes: $!");
	print $out sql($node, 'SELECT json_agg(c) FROM payledger.psp_error_classes() c');
	close($out);
}

subtest 'replays' => sub {
	my %bodies;

	push @{ $bodies{ $_->{headers}{'Idempotency-Key'} } }, "$_->{path} $_->{body}" for @requests;
	my @repeated = grep { @{ $bodies{$_} } > 1 } keys %bodies;
	cmp_ok(scalar(@repeated), '>=', 12, 'requests were sent again');
	is(scalar(grep { my %different = map { $_ => 1 } @{ $bodies{$_} }; keys %different > 1 } @repeated), 0, 'each time the same bytes');
};

subtest 'the API key is nowhere' => sub {
	my $key = $psp->key;
	my $dump = '';

	IPC::Run::run([ 'pg_dump', '-d', $node->connstr('payledger') ], '>', \$dump) or BAIL_OUT('pg_dump failed');
	unlike($dump, qr/\Q$key\E/, 'not in any table');
	unlike(slurp_file($node->logfile), qr/\Q$key\E/, 'not in the server log');
};

done_testing();
