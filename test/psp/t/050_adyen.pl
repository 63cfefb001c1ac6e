# Adyen's API: payments, modifications, errors, keys, and what webhooks tell.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $psp = PspServer->new;
my $n = 0;

# The fields of a payment with one of the test payment methods.
sub payment
{
	my ($method, %more) = @_;

	$n++;
	return {
		amount => { currency => 'EUR', value => 2900 },
		merchantAccount => 'Marketplace',
		paymentMethod => { type => 'scheme', storedPaymentMethodId => $method },
		reference => "pl_${n}_$n",
		returnUrl => 'https://shop.example/back',
		%more
	};
}

# Pays; returns the reply.
sub pay
{
	return $psp->adyen('/payments', payment(@_))->{json};
}

# Modifies a payment; returns the reply.
sub modify
{
	my ($psp_reference, $what, $value, $reference) = @_;

	return $psp->adyen("/payments/$psp_reference/$what",
		{
			merchantAccount => 'Marketplace',
			reference => $reference // "$what-$psp_reference",
			defined $value ? (amount => { currency => 'EUR', value => $value }) : ()
		});
}

# The notification items that came since the last call: "CODE success reason".
my $seen = 0;
sub news
{
	my @webhooks = $psp->webhooks($seen, psp => 'adyen');

	$seen = $webhooks[-1]{seq} if @webhooks;
	return map { $_->{notificationItems}[0]{NotificationRequestItem} }
	  map { JSON::PP::decode_json($_->{body}) } @webhooks;
}

# The same, in short.
sub codes
{
	return join ' ', map { "$_->{eventCode}=$_->{success}" } news();
}

# Sends a control request about something at Adyen.
sub control
{
	my ($id, $what, $body) = @_;
	return $psp->control('POST', "/_test/adyen/$id/$what", $body // {});
}

subtest 'a payment from authorization to refund' => sub {
	my $fields = payment('authorised', metadata => { payment_id => '7' });
	my $reply = $psp->adyen('/payments', $fields, key => 'pay')->{json};
	my $id = $reply->{pspReference};

	like($id, qr/^[0-9A-Z]{16}$/, 'pspReference');
	is($reply->{resultCode}, 'Authorised', 'resultCode');
	is($reply->{merchantReference}, $fields->{reference}, 'merchantReference');
	my ($item) = news();
	is_deeply(
		{ map { $_ => $item->{$_} } qw(eventCode success pspReference merchantReference merchantAccountCode amount) },
		{
			eventCode => 'AUTHORISATION',
			success => 'true',
			pspReference => $id,
			merchantReference => $fields->{reference},
			merchantAccountCode => 'Marketplace',
			amount => { currency => 'EUR', value => 2900 } },
		'AUTHORISATION');
	like($item->{eventDate}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$/, 'eventDate');

	my $capture = modify($id, 'captures', 1000, 'first');
	is($capture->{status}, 201, 'a capture: 201');
	is($capture->{json}{status}, 'received', 'received');
	is($capture->{json}{paymentPspReference}, $id, 'names the payment');
	is($capture->{json}{reference}, 'first', 'and our reference');
	modify($id, 'captures', 1500);
	my @items = news();
	is_deeply([ map { "$_->{eventCode} $_->{success} $_->{amount}{value}" } @items ],
		[ 'CAPTURE true 1000', 'CAPTURE true 1500' ], 'two captures');
	is($items[0]{pspReference}, $capture->{json}{pspReference}, 'its own pspReference');
	is($items[0]{originalReference}, $id, 'originalReference');
	is($items[0]{merchantReference}, 'first', 'reference of the modification');
	modify($id, 'captures', 401);
	($item) = news();
	is("$item->{eventCode} $item->{success}", 'CAPTURE false', 'more than is left');
	is($item->{reason}, 'Insufficient balance on payment', 'why');

	modify($id, 'refunds', 700);
	modify($id, 'refunds', 1801);
	is(codes(), 'REFUND=true REFUND=false', 'refunds');
	my $truth = $psp->truth($id);
	is_deeply(
		[ map { "$_->{operation} $_->{amount} $_->{outcome}" } @{ $truth->{operations} } ],
		[ 'authorize 2900 ok', 'capture 1000 ok', 'capture 1500 ok', 'capture 401 failed', 'refund 700 ok',
			'refund 1801 failed' ], 'operations');
	is($truth->{psp}, 'adyen', 'the truth: whose');
	is($truth->{operations}[0]{idempotency_key}, 'pay', 'the key');
	is($truth->{operations}[1]{reference}, 'first', 'the reference');
	is($truth->{operations}[1]{object}, $capture->{json}{pspReference}, 'the pspReference');
	is_deeply([ @{$truth}{qw(amount_received amount_refunded amount_capturable)} ], [ 2500, 700, 400 ], 'amounts');
	is_deeply($truth->{metadata}, { payment_id => '7' }, 'metadata');
	is_deeply($psp->truth($fields->{reference}), $truth, 'by reference');
};

subtest 'cancellations' => sub {
	my $id = pay('authorised')->{pspReference};

	is(modify($id, 'cancels')->{status}, 201, 'cancel');
	modify($id, 'cancels');
	modify($id, 'captures', 100);
	is(codes(), 'AUTHORISATION=true CANCELLATION=true CANCELLATION=false CAPTURE=false', 'once; nothing after it');

	my $fields = payment('authorised');
	$id = $psp->adyen('/payments', $fields)->{json}{pspReference};
	my $reply = $psp->adyen('/cancels',
		{ merchantAccount => 'Marketplace', paymentReference => $fields->{reference}, reference => 'gone' });
	is($reply->{status}, 201, 'by reference');
	is($reply->{json}{paymentReference}, $fields->{reference}, 'which one');
	$psp->adyen('/cancels', { merchantAccount => 'Marketplace', paymentReference => 'nobody' });
	is(codes(), 'AUTHORISATION=true TECHNICAL_CANCEL=true TECHNICAL_CANCEL=false', 'known and unknown');
	is($psp->truth($id)->{status}, 'cancelled', 'the payment');

	$id = pay('authorised')->{pspReference};
	modify($id, 'reversals');
	my $other = pay('authorised')->{pspReference};
	modify($other, 'captures', 2900);
	modify($other, 'reversals');
	is_deeply(
		[ map { $_->{additionalData}{'modification.action'} // $_->{eventCode} } news() ],
		[ qw(AUTHORISATION cancel AUTHORISATION CAPTURE refund) ], 'reversals');
	is($psp->truth($other)->{amount_refunded}, 2900, 'all of it');
};

subtest 'results' => sub {
	my $reply = pay('refused_balance');
	is_deeply([ @{$reply}{qw(resultCode refusalReason refusalReasonCode)} ], [ 'Refused', 'Not enough balance', '12' ],
		'refused');
	is(pay('error')->{resultCode}, 'Error', 'error');
	is(codes(), 'AUTHORISATION=false AUTHORISATION=false', 'both told');
	for my $case ([ 'pending', 'Pending', 'succeed', 'true' ], [ 'received', 'Received', 'fail', 'false' ])
	{
		my ($method, $result, $outcome, $success) = @$case;
		$reply = pay($method);
		is($reply->{resultCode}, $result, $method);
		is(codes(), '', 'nothing is told');
		is(control($reply->{pspReference}, 'complete', { outcome => $outcome })->{status}, 200, $outcome);
		is(codes(), "AUTHORISATION=$success", 'now it is');
		is(control($reply->{pspReference}, 'complete', { outcome => $outcome })->{status}, 409, 'only once');
	}
};

subtest 'the shopper has to do something' => sub {
	for my $case ([ 'redirect', 'succeed', 'Authorised' ], [ 'redirect', 'fail', 'Refused' ],
		[ 'redirect_refused', undef, 'Refused' ], [ 'redirect_cancelled', undef, 'Cancelled' ],
		[ 'redirect_pending', undef, 'Pending' ], [ 'challenge', undef, 'Authorised' ])
	{
		my ($method, $outcome, $result) = @$case;
		my $fields = payment($method);
		my $reply = $psp->adyen('/payments', $fields)->{json};

		is($reply->{pspReference}, undef, "$method: no pspReference yet");
		like($reply->{resultCode}, qr/^(Redirect|Challenge)Shopper$/, $reply->{resultCode});
		my $token = $reply->{action}{paymentData} // ($reply->{action}{url} =~ /redirectData=(\w+)/)[0];
		is(control($fields->{reference}, 'complete', { outcome => $outcome })->{json}{redirectResult}, $token,
			'the shopper acts') if $outcome;
		my %details = (details => { $method eq 'challenge' ? 'threeDSResult' : 'redirectResult', $token });
		my $final = $psp->adyen('/payments/details', \%details)->{json};
		is($final->{resultCode}, $result, "details: $result");
		like($final->{pspReference}, qr/^\w{16}$/, 'pspReference');
		is_deeply($psp->adyen('/payments/details', \%details)->{json}{resultCode}, $result, 'the same again');
	}
	is(codes(), 'AUTHORISATION=true AUTHORISATION=false AUTHORISATION=false AUTHORISATION=false AUTHORISATION=true',
		'told once each');
	my $reply = pay('identify');
	is($reply->{resultCode}, 'IdentifyShopper', 'identify');
	is($reply->{action}{subtype}, 'fingerprint', 'a fingerprint first');
	my %details = (details => { threeDSResult => $reply->{action}{paymentData} });
	is($psp->adyen('/payments/details', \%details)->{json}{action}{subtype}, 'challenge', 'then a challenge');
	is($psp->adyen('/payments/details', \%details)->{json}{resultCode}, 'Authorised', 'then authorised');
	is($psp->adyen('/payments/details', { details => { redirectResult => 'x' } })->{json}{errorCode}, '14_018',
		'a result that is none');
	news();
};

subtest 'modifications that fail' => sub {
	my %expected = (
		capture_fails => 'CAPTURE=false',
		capture_fails_later => 'CAPTURE=true CAPTURE_FAILED=true',
		cancel_fails => 'CANCELLATION=false',
		refund_fails => 'CAPTURE=true REFUND=false',
		refund_fails_later => 'CAPTURE=true REFUND=true REFUND_FAILED=true',
		refund_reversed => 'CAPTURE=true REFUND=true REFUNDED_REVERSED=true');
	for my $method (sort keys %expected)
	{
		my $id = pay($method)->{pspReference};

		modify($id, 'captures', 1000) unless $method eq 'cancel_fails';
		modify($id, 'cancels') if $method eq 'cancel_fails';
		modify($id, 'refunds', 1000) if $method =~ /^refund/;
		is(codes(), "AUTHORISATION=true $expected{$method}", $method);
		my $truth = $psp->truth($id);
		is($truth->{amount_received}, $method =~ /^refund/ ? 1000 : 0, 'received');
		is($truth->{amount_refunded}, 0, 'nothing refunded');
	}

	my $id = pay('waits')->{pspReference};
	my $capture = modify($id, 'captures', 2900)->{json}{pspReference};
	is(codes(), 'AUTHORISATION=true', 'nothing yet');
	is($psp->truth($id)->{amount_received}, 0, 'nothing captured');
	is($psp->truth($id)->{operations}[1]{outcome}, 'received', 'only received');
	is(control($capture, 'fail')->{status}, 409, 'cannot fail before it is done');
	control($capture, 'complete', { outcome => 'succeed' });
	control($capture, 'fail', { reason => 'Bank says no' });
	my @items = news();
	is_deeply([ map { "$_->{eventCode} $_->{reason}" } @items ], [ 'CAPTURE ', 'CAPTURE_FAILED Bank says no' ],
		'decided, undone');
	is($items[1]{pspReference}, $capture, 'of the same modification');
	is($psp->truth($id)->{operations}[1]{outcome}, 'undone', 'the truth');
	my $cancel = modify($id, 'cancels')->{json}{pspReference};
	control($cancel, 'complete', { outcome => 'fail', reason => 'no' });
	is(codes(), 'CANCELLATION=false', 'a cancellation decided');
};

subtest 'disputes, expiry, reports' => sub {
	my $id = pay('authorised')->{pspReference};

	modify($id, 'captures', 2000);
	control($id, 'chargeback', { amount => 1500, reason => 'Fraud' });
	control($id, 'reverse');
	control($id, 'second');
	my @items = news();
	is_deeply([ map { "$_->{eventCode} $_->{amount}{value}" } @items[ 2 .. 5 ] ],
		[ 'NOTIFICATION_OF_CHARGEBACK 1500', 'CHARGEBACK 1500', 'CHARGEBACK_REVERSED 1500', 'SECOND_CHARGEBACK 1500' ],
		'a dispute');
	my %references = map { $_->{pspReference} => 1 } @items[ 2 .. 5 ];
	is(scalar(keys %references), 1, 'all of one pspReference');
	is($items[3]{originalReference}, $id, 'of the payment');
	is($items[3]{reason}, 'Fraud', 'the reason');
	ok($items[3]{additionalData}{defensePeriodEndsAt}, 'how long it can be defended');
	is($psp->truth($id)->{amount_charged_back}, 1500, 'the truth');
	is(control($id, 'chargeback')->{status}, 409, 'not twice');

	control($id, 'expire');
	$psp->control('POST', '/_test/adyen/report', { name => 'batch_7.csv', url => 'https://x/batch_7.csv' });
	@items = news();
	is_deeply([ map { "$_->{eventCode} $_->{amount}{value}" } @items ], [ 'EXPIRE 900', 'REPORT_AVAILABLE 0' ],
		'expiry and a report');
	is("$items[1]{pspReference} $items[1]{reason}", 'batch_7.csv https://x/batch_7.csv', 'where the report is');
};

subtest 'errors' => sub {
	my $fields = payment('authorised');
	my $id = pay('authorised')->{pspReference};
	my @cases = (
		[ 401, '000', '/payments', $fields, headers => { 'x-api-key' => 'wrong' } ],
		[ 403, '901', '/payments', { %$fields, merchantAccount => 'Unknown' } ],
		[ 400, '702', '/payments', '{' ],
		[ 400, '702', '/payments', '[]' ],
		[ 400, '702', '/payments', { %$fields, colour => 'red' } ],
		[ 400, '702', '/payments', { %$fields, reference => 7 } ],
		[ 400, '702', '/payments', { %$fields, amount => 7 } ],
		[ 400, '702', '/payments', { %$fields, amount => { currency => 'EUR', value => '7' } } ],
		[ 400, '702', '/payments', { %$fields, amount => { currency => 'EUR', value => 7, x => 1 } } ],
		[ 400, '702', '/payments', { %$fields, channel => 'Fax' } ],
		[ 400, '702', '/payments', { %$fields, metadata => { a => {} } } ],
		[ 400, '702', '/payments', $fields, key => 'k' x 65 ],
		[ 415, '702', '/payments', $fields, headers => { 'content-type' => 'text/plain' } ],
		[ 422, '702', '/payments', { %$fields, reference => 'r' x 81 } ],
		[ 422, '702', '/payments', { %$fields, shopperReference => 'ab' } ],
		[ 422, '177', '/payments', { %$fields, metadata => { map { $_ => 'x' } 1 .. 21 } } ],
		[ 422, '177', '/payments', { %$fields, metadata => { 'k' x 21, 'x' } } ],
		[ 422, '177', '/payments', { %$fields, metadata => { k => 'v' x 81 } } ],
		[ 422, '100', '/payments', { map { $_ => $fields->{$_} } grep { $_ ne 'amount' } keys %$fields } ],
		[ 422, '137', '/payments', { %$fields, amount => { currency => 'EUR', value => -1 } } ],
		[ 422, '138', '/payments', { %$fields, amount => { currency => 'XXX', value => 7 } } ],
		[ 422, '130', '/payments', { %$fields, reference => '' } ],
		[ 422, '14_030', '/payments', { map { $_ => $fields->{$_} } grep { $_ ne 'returnUrl' } keys %$fields } ],
		[ 422, '803', '/payments', { %$fields, paymentMethod => { type => 'scheme', storedPaymentMethodId => 'x' } } ],
		[ 422, '14_025', '/payments', { %$fields, splits => [ { type => 'Remainder', amount => { value => 1 } } ] } ],
		[ 422, '167', '/payments/NOBODY/captures', { merchantAccount => 'Marketplace', amount => $fields->{amount} } ],
		[ 422, '137', "/payments/$id/captures", { merchantAccount => 'Marketplace', amount => { currency => 'EUR', value => 0 } } ],
		[ 422, '139', "/payments/$id/captures", { merchantAccount => 'Marketplace', amount => { currency => 'USD', value => 1 } } ],
		[ 400, '702', "/payments/$id/cancels", { merchantAccount => 'Marketplace', amount => $fields->{amount} } ],
		[ 404, '000', '/paymentz', {} ]);

	news();
	for my $case (@cases)
	{
		my ($status, $code, $path, $body, %more) = @$case;
		my $reply = $psp->adyen($path, $body, %more);

		is("$reply->{status} $reply->{json}{errorCode}", "$status $code", "$status $code: $reply->{json}{message}");
		is_deeply([ sort keys %{ $reply->{json} } ], [qw(errorCode errorType message pspReference status)], 'members');
	}
	is(codes(), '', 'nothing happened');
};

subtest 'idempotency keys' => sub {
	my $fields = payment('authorised');
	my $first = $psp->adyen('/payments', $fields, key => 'once');
	my $second = $psp->adyen('/payments', $fields, key => 'once');

	is($second->{content}, $first->{content}, 'the first reply again');
	is($second->{headers}{'idempotency-key'}, 'once', 'the key comes back');
	my $other = $psp->adyen('/payments', payment('authorised'), key => 'once');
	is("$other->{status} $other->{json}{errorCode}", '422 704', 'another request with the key');
	is($psp->stats->{mismatches}, 1, 'is counted');

	$psp->fault(fault => 'delay', ms => 3_600_000, match => { operation => 'authorize' });
	my $socket = $psp->socket;
	my $body = JSON::PP::encode_json($fields = payment('authorised'));
	$socket->print("POST /v71/payments HTTP/1.1\r\nHost: x\r\nX-API-Key: $PspServer::KEY\r\nIdempotency-Key: slow\r\n"
		  . "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
	$socket->flush;
	$psp->wait_for(sub { ($psp->stats->{faults}{delay} // 0) == 1 }, 'the first waits');
	my $busy = $psp->adyen('/payments', $body, key => 'slow');
	is("$busy->{status} $busy->{json}{errorCode} $busy->{headers}{'transient-error'}", '422 704 true', 'in progress');

	for my $case ([ 'conflict_409', 409, '704', 'true' ], [ 'rate_limit_429', 429, '00_500', 'true' ],
		[ 'error_503', 503, '703', 'true' ], [ 'error_500', 500, '905', 'true' ],
		[ 'error_500_stored', 500, '905', 'false' ])
	{
		my ($fault, $status, $code, $transient) = @$case;
		$psp->fault(fault => $fault, match => { operation => 'authorize' });
		my $reply = $psp->adyen('/payments', payment('authorised'), key => $fault);
		is("$reply->{status} $reply->{json}{errorCode} $reply->{headers}{'transient-error'}",
			"$status $code $transient", $fault);
	}
	$psp->control('DELETE', '/_test/state');
};

subtest 'lost replies' => sub {
	my $id = pay('authorised')->{pspReference};
	my %capture = (merchantAccount => 'Marketplace', amount => { currency => 'EUR', value => 100 });

	for my $fault (qw(drop_before drop_after reset_before reset_after))
	{
		$psp->fault(fault => $fault, ms => 1, match => { operation => 'capture' });
		is($psp->adyen("/payments/$id/captures", \%capture, key => $fault)->{status}, 599, "$fault: no reply");
		my $executed = $fault =~ /after/ ? 1 : 0;
		my @captures = grep { ($_->{idempotency_key} // '') eq $fault } @{ $psp->truth($id)->{operations} };
		is(scalar @captures, $executed, $executed ? 'but executed' : 'not executed');
		is($psp->adyen("/payments/$id/captures", \%capture, key => $fault)->{status}, 201, 'again with the key');
		@captures = grep { ($_->{idempotency_key} // '') eq $fault } @{ $psp->truth($id)->{operations} };
		is(scalar @captures, 1, 'executed once');
	}
	is($psp->truth->{captures}{amount}, 400, 'in all');
	is($psp->control('GET', '/_test/truth?summary=1&psp=stripe')->{json}{captures}{count}, 0, 'none at Stripe');
	is(scalar @{ $psp->control('GET', '/_test/truth?psp=adyen')->{json}{intents} }, 1, 'one payment');
	is(scalar @{ $psp->control('GET', '/_test/truth?psp=stripe')->{json}{intents} }, 0, 'none at Stripe');
	is($psp->stats->{operations}{capture}, 8, 'stats');
	news();
};

subtest 'keys end with their window' => sub {
	my $short = PspServer->new('--key-window', '0.05');
	my $fields = payment('authorised');
	my $first = $short->adyen('/payments', $fields, key => 'k')->{json}{pspReference};

	$short->wait_for(
		sub { $short->adyen('/payments', $fields, key => 'k')->{json}{pspReference} ne $first }, 'a second payment');
	is($short->truth->{intents}{count}, 2, 'the key was forgotten');
};

is($psp->stop, 0, 'the server ends cleanly');
done_testing();
