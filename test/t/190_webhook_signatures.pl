# Whose webhooks are taken: signed by one of the gateway's keys over exactly
# these bytes, of late, and making sense.  The PSPs' own libraries sign; the
# time that a refusal takes tells nothing about the right signature.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256 hmac_sha256_hex);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use PayledgerPsp;
use PayledgerTest;
use Test::More;

my @stripe_keys = ('whsec_old_key', 'whsec_new_key');
my @adyen_keys = ('44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056', '00' x 31 . 'ff');
my $json = JSON::PP->new->canonical->utf8;
my $node = new_node('signatures');
my $now = time();

sub set_keys
{
	my ($stripe, $adyen) = @_;

	write_secrets($node,
		stripe => [ api_key => 'sk_test_1', host => '127.0.0.1:1', map { ; webhook_secret => $_ } @$stripe ],
		adyen => [ api_key => 'AQE1', host => '127.0.0.1:1', map { ; webhook_secret => $_ } @$adyen ]);
	$node->reload;
	return;
}

$node->append_conf('postgresql.conf', "payledger.gateway_secrets_file = '" . $node->basedir . "/secrets'");
set_keys([], []);
sql($node, <<~'SQL');
	SELECT payledger.add_gateway('stripe', 'stripe', '{"base_url": "http://127.0.0.1:1", "backfill_seconds": 0}');
	SELECT payledger.add_gateway('adyen', 'adyen', '{"base_url": "http://127.0.0.1:1", "merchant_account": "Shop", "return_url": "https://shop.example/"}');
	SELECT payledger.add_gateway('sandbox', 'sandbox');
	SQL

# ---- helpers ----

sub stripe_header
{
	my ($body, $time, @keys) = @_;

	return join(',', "t=$time", map { 'v1=' . hmac_sha256_hex("$time.$body", $_) } @keys);
}

sub adyen_signature
{
	my ($item, $key) = @_;
	my @fields = (
		@$item{qw(pspReference originalReference merchantAccountCode merchantReference)},
		@{ $item->{amount} // {} }{qw(value currency)},
		@$item{qw(eventCode success)});

	my $text = join(':', map { $_ // '' } @fields);

	utf8::encode($text);
	return encode_base64(hmac_sha256($text, pack('H*', $key)), '');
}

sub receive
{
	my ($gateway, $headers, $body) = @_;

	return 'SELECT event_id, is_new FROM payledger.receive_webhook(' . join(', ', map { "\$webhook\$$_\$webhook\$" } $gateway, $json->encode($headers), $body) . ')';
}

sub takes
{
	my ($gateway, $headers, $body, $expected, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($node, receive($gateway, $headers, $body)), $expected, $name);
	return;
}

sub refuses
{
	my ($gateway, $headers, $body, $sqlstate, $pattern, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sql_fails($node, receive($gateway, $headers, $body), $sqlstate, $pattern, $name);
	return;
}

my $events = 0;

sub event
{
	my (%more) = @_;

	return $json->encode({ id => 'evt_' . ++$events, object => 'event', type => 'customer.created', created => $now, data => { object => {} }, %more });
}

sub notification
{
	my (%more) = @_;

	return { eventCode => 'REPORT_AVAILABLE', success => 'true', pspReference => 'PSP' . ++$events, originalReference => '',
		merchantAccountCode => 'Shop', merchantReference => 'REF-1', amount => { currency => 'EUR', value => 0 },
		eventDate => '2026-01-31T10:15:30+01:00', %more };
}

# A webhook of Adyen with these items, each signed with the key.
sub signed
{
	my ($key, @items) = @_;

	return $json->encode({ live => 'false', notificationItems => [
			map { { NotificationRequestItem => { %$_, additionalData => { %{ $_->{additionalData} // {} }, hmacSignature => adyen_signature($_, $key) } } } } @items ] });
}

# ---- keys ----

wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateway worker has read the secrets');
my $body = event();
refuses('stripe', { 'Stripe-Signature' => stripe_header($body, $now, $stripe_keys[0]) }, $body, '55000', 'no key', 'no key is known');
refuses('nobody', {}, $body, 'PL007', 'does not exist', 'no such gateway');
refuses('sandbox', {}, $body, '0A000', 'no webhooks', 'a PSP that sends none');
set_keys([ @stripe_keys ], [ @adyen_keys ]);
wait_for(sub {
		my $try = event();
		my ($code) = $node->psql('payledger', receive('stripe', { 'Stripe-Signature' => stripe_header($try, $now, $stripe_keys[1]) }, $try));
		return $code == 0;
	}, 'the keys are known', $node);

# ---- Stripe ----

subtest 'Stripe: what is taken' => sub {
	my $body = event(id => 'evt_first');

	takes('stripe', { 'Stripe-Signature' => stripe_header($body, $now, $stripe_keys[0]) }, $body, 'evt_first|t', 'one key of two');
	takes('stripe', { 'sTRIPE-sIGNATURE' => stripe_header($body, $now, $stripe_keys[1]) }, $body, 'evt_first|f', 'the other, header in any case, the same event again');
	takes('stripe', { 'Stripe-Signature' => stripe_header($body, $now, 'whsec_foreign', $stripe_keys[1]) }, $body, 'evt_first|f', 'several signatures, one is right');
	takes('stripe', { 'Stripe-Signature' => stripe_header($body, $now, @stripe_keys) . ',v0=' . '0' x 64 }, $body, 'evt_first|f', 'an old scheme beside it');
	takes('stripe', { 'Stripe-Signature' => stripe_header($body, $now - 290, $stripe_keys[0]) }, $body, 'evt_first|f', 'nearly too old');
	takes('stripe', { 'Stripe-Signature' => uc(stripe_header($body, $now, $stripe_keys[0])) =~ s/^T=/t=/r =~ s/V1=/v1=/r }, $body, 'evt_first|f', 'digits in upper case');
	takes('stripe', { S => '', Stripe => 't=1,v1=00', 'Stripe-Signature' => stripe_header($body, $now, $stripe_keys[0]) }, $body, 'evt_first|f',
		'headers that begin like it beside it');
	my $odd = event(id => 'evt_odd', text => "\x{e4}\x{20ac} \"\\/ \n");
	takes('stripe', { 'Stripe-Signature' => stripe_header($odd, $now, $stripe_keys[0]) }, $odd, 'evt_odd|t', 'bytes as they are');
};

subtest 'Stripe: what is refused' => sub {
	my $body = event();
	my $right = stripe_header($body, $now, $stripe_keys[0]);
	my $changed = $right =~ s/(.)$/$1 eq '0' ? '1' : '0'/er;

	my @cases = (
		[ 'no header', undef, 'there is no Stripe-Signature' ],
		[ 'an empty header', '', 'malformed' ],
		[ 'the last digit differs', $changed, 'no key' ],
		[ 'a truncated signature', substr($right, 0, -1), 'malformed' ],
		[ 'half a signature', substr($right, 0, -32), 'malformed' ],
		[ 'no hexadecimal digits', $right =~ s/v1=../v1=zz/r, 'malformed' ],
		[ 'another key', stripe_header($body, $now, 'whsec_foreign'), 'no key' ],
		[ 'a key that is part of one', stripe_header($body, $now, substr($stripe_keys[0], 0, -1)), 'no key' ],
		[ 'an empty key', stripe_header($body, $now, ''), 'no key' ],
		[ 'only the old scheme', $right =~ s/v1=/v0=/r, 'no signature of version 1' ],
		[ 'no time', $right =~ s/^t=\d+,//r, 'names no time' ],
		[ 'two times', "t=$now,$right", 'malformed' ],
		[ 'a time that is no number', $right =~ s/^t=\d+/t=now/r, 'names no time' ],
		[ 'a negative time', $right =~ s/^t=/t=-/r, 'names no time' ],
		[ 'a huge time', $right =~ s/^t=\d+/t=99999999999999999999/r, 'malformed' ],
		[ 'a changed time', $right =~ s/^t=\d+/"t=" . ($now - 1)/er, 'no key' ],
		[ 'too old', stripe_header($body, $now - 330, $stripe_keys[0]), 'too old' ],
		[ 'of the future', stripe_header($body, $now + 330, $stripe_keys[0]), 'of the future' ],
		[ 'of the year 9999', stripe_header($body, 253402300799, $stripe_keys[0]), 'of the future' ],
		[ 'too many signatures', stripe_header($body, $now, ('whsec_foreign') x 17), 'too many' ],
		[ 'words', 'sha256=abc', 'names no time' ]);
	for my $case (@cases)
	{
		my ($name, $header, $why) = @$case;

		refuses('stripe', defined $header ? { 'Stripe-Signature' => $header } : {}, $body, 'PL012', $why, $name);
	}
	refuses('stripe', { 'Stripe-Signature' => $right }, "$body ", 'PL012', 'no key', 'a blank more in the body');
	refuses('stripe', { 'Stripe-Signature' => $right }, $body =~ s/created/Created/r, 'PL012', 'no key', 'a letter of the body differs');
	refuses('stripe', { 'Stripe-Signature' => [$right] }, $body, 'PL012', 'there is no', 'a header that is a list');
	refuses('stripe', { 'Stripe-Sig' => $right, 'Stripe-Signature-2' => $right }, $body, 'PL012', 'there is no', 'a name that is part of it, or more');
};

# ---- Adyen ----

subtest 'Adyen: what is taken' => sub {
	my $published = { pspReference => '7914073381342284', merchantAccountCode => 'TestMerchant', merchantReference => 'TestPayment-1407325143704',
		amount => { currency => 'EUR', value => 1130 }, eventCode => 'AUTHORISATION', eventDate => '2019-05-06T17:15:34.121+02:00', success => 'true',
		additionalData => { hmacSignature => 'coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=' } };

	takes('adyen', {}, $json->encode({ notificationItems => [ { NotificationRequestItem => $published } ] }), 'AUTHORISATION:7914073381342284:true|t', 'the published example');
	for my $n (0, 1)
	{
		my $item = notification();

		takes('adyen', {}, signed($adyen_keys[$n], $item), "REPORT_AVAILABLE:$item->{pspReference}:true|t", "key $n of two");
		takes('adyen', {}, signed($adyen_keys[1 - $n], $item), "REPORT_AVAILABLE:$item->{pspReference}:true|f", 'again, with the other');
	}
	my @items = (notification(), notification(success => 'false', originalReference => undef, reason => 'a:b'));
	takes('adyen', {}, signed($adyen_keys[0], @items),
		"REPORT_AVAILABLE:$items[0]{pspReference}:true|t\nREPORT_AVAILABLE:$items[1]{pspReference}:false|t", 'two items, null as nothing');
	my $colons = notification(merchantReference => 'a:b\\c:', merchantAccountCode => "M\x{fc}ller");
	takes('adyen', {}, signed($adyen_keys[0], $colons), "REPORT_AVAILABLE:$colons->{pspReference}:true|t", 'nothing is escaped');
};

subtest 'Adyen: what is refused' => sub {
	my $item = notification();
	my $right = signed($adyen_keys[0], $item);
	my ($signature) = $right =~ /"hmacSignature":"([^"]+)"/;
	my $other = substr($adyen_keys[0], 0, -2) . '11';

	my @cases = (
		[ 'another key', signed($other, $item), 'no key' ],
		[ 'a truncated signature', $right =~ s/\Q$signature\E/substr($signature, 0, -1)/er, 'no HMAC signature' ],
		[ 'half a signature', $right =~ s/\Q$signature\E/substr($signature, 0, 22)/er, 'no HMAC signature' ],
		[ 'no signature', $right =~ s/"hmacSignature"/"other"/r, 'no HMAC signature' ],
		[ 'an empty signature', $right =~ s/\Q$signature\E//r, 'no HMAC signature' ],
		[ 'the first letter differs', $right =~ s/"hmacSignature":"(.)/'"hmacSignature":"' . ($1 eq 'A' ? 'B' : 'A')/er, 'no key' ],
		[ 'no items', '{"live": "true", "notificationItems": []}', 'no notification items' ],
		[ 'nothing of Adyen', '{}', 'no notification items' ],
		(map { [ "a changed $_->[0]", $right =~ s/$_->[1]/$_->[2]/r, 'no key' ] }
			  [ 'reference', 'REF-1', 'REF-2' ], [ 'amount', '"value":0', '"value":1' ], [ 'currency', 'EUR', 'USD' ], [ 'account', '"Shop"', '"Shop2"' ],
			[ 'event', 'REPORT_AVAILABLE', 'AUTHORISATION' ], [ 'success', '"true"', '"false"' ]));
	for my $case (@cases)
	{
		refuses('adyen', {}, $case->[1], 'PL012', $case->[2], $case->[0]);
	}
	for my $forged (0 .. 2)
	{
		my @items = map { @{ decode_json(signed($_ == $forged ? $other : $adyen_keys[$_ % 2], notification()))->{notificationItems} } } 0 .. 2;

		refuses('adyen', {}, $json->encode({ notificationItems => \@items }), 'PL012', 'no key', "item $forged of three is not authentic");
		is(sql($node, 'SELECT count(*) FROM payledger.webhooks WHERE event_id ~ ' . "'" . join('|', map { $_->{NotificationRequestItem}{pspReference} } @items) . "'"),
			0, 'none of the three is stored');
	}
};

# ---- the PSPs' own libraries ----

sub client
{
	my ($psp, $input, @arguments) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'node', "$PspServer::HOME/${psp}_client/sign.js", @arguments ], '<', \$input, '>', \$out, '2>', \$err)
	  or BAIL_OUT("${psp}_client cannot sign: $err; run make -C $PspServer::HOME client");
	chomp $out;
	return $out;
}

subtest 'signed by the official libraries' => sub {
	for my $n (0, 1)
	{
		my $body = event(id => "evt_official_$n", text => "\x{e4}");
		my $header = client('stripe', $body, $stripe_keys[$n], $now);

		is($header, stripe_header($body, $now, $stripe_keys[$n]), "Stripe, key $n: as we sign");
		takes('stripe', { 'Stripe-Signature' => $header }, $body, "evt_official_$n|t", 'and taken');
		refuses('stripe', { 'Stripe-Signature' => client('stripe', $body, 'whsec_foreign', $now) }, $body, 'PL012', 'no key', 'but not with another key');

		my $item = notification(additionalData => { 'metadata.x' => 'y' }, originalReference => $n ? 'ORIGINAL' : undef);
		my $signed = client('adyen', $json->encode({ live => 'false', notificationItems => [ { NotificationRequestItem => $item } ] }), $adyen_keys[$n]);
		is(decode_json($signed)->{notificationItems}[0]{NotificationRequestItem}{additionalData}{hmacSignature}, adyen_signature($item, $adyen_keys[$n]), "Adyen, key $n: as we sign");
		takes('adyen', {}, $signed, "REPORT_AVAILABLE:$item->{pspReference}:true|t", 'and taken');
	}
};

# ---- rotation ----

set_keys([ $stripe_keys[1] ], [ $adyen_keys[1] ]);
wait_for(sub {
		my $try = event();
		my ($code) = $node->psql('payledger', receive('stripe', { 'Stripe-Signature' => stripe_header($try, $now, $stripe_keys[0]) }, $try));
		return $code != 0;
	}, 'the old key is gone', $node);
my $after = event(id => 'evt_after');
takes('stripe', { 'Stripe-Signature' => stripe_header($after, $now, @stripe_keys) }, $after, 'evt_after|t', 'signed with both keys during the rotation');
refuses('adyen', {}, signed($adyen_keys[0], notification()), 'PL012', 'no key', 'an old key does not count any more');

# ---- bodies that make no sense ----

# An authentic webhook that cannot be read is kept for an operator, with the reason.
sub keeps
{
	my ($gateway, $headers, $text, $pattern, $name) = @_;
	my ($id, $is_new) = sql($node, receive($gateway, $headers, $text)) =~ /\A(.*)\|(.)\z/s;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($is_new, 't', "$name: taken");
	like(sql($node, "SELECT status, next_attempt_at IS NULL, problem FROM payledger.webhooks WHERE gateway = '$gateway' AND event_id = '$id'"),
		qr/^PARKED\|t\|.*$pattern/, "$name: given up at once");
	return $id;
}

# The same of Stripe, with this text.
sub stripe_body
{
	my ($text, $pattern, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return keeps('stripe', { 'Stripe-Signature' => stripe_header($text, $now, $stripe_keys[1]) }, $text, $pattern, $name);
}

subtest 'authentic bodies that make no sense' => sub {
	my $intents = 0;
	my $intent = sub {
		my ($amount, $currency) = @_;
		return qq({"id":"evt_x) . ++$intents . qq(","type":"payment_intent.succeeded","created":$now,"data":{"object":{"id":"pi_1","status":"succeeded",)
		  . qq("amount_received":$amount,"currency":"$currency","metadata":{"payment_id":"42","capture_43":"100"}}}});
	};

	stripe_body('', '', 'nothing');
	stripe_body('[]', 'not a JSON object', 'a list');
	stripe_body('42', 'not a JSON object', 'a number');
	stripe_body('{"id": "evt_1"', 'not JSON', 'half an object');
	stripe_body('{"id": "evt_1"} x', 'not JSON', 'more than an object');
	for my $broken ('\u0000', '\ud800', '\uDFFF', '\ud800\ud800')
	{
		my $id = stripe_body(qq({"id":"evt_$broken","type":"a","created":$now}), 'no character', "$broken in an id");

		like($id, qr/^unreadable:[0-9a-f]{64}$/, 'it does not name the event');
	}
	stripe_body(qq({"id":"evt_1","type":"a","created":$now,"id":"evt_2"}), 'two members of one name', 'a name twice');
	stripe_body(qq({"id":"evt_1","type":"a","created":$now,"data":{"object":{"a":1,"b":{},"a":2}}}), 'two members', 'a name twice, further in');
	stripe_body('{"a":' x 100_000 . '1' . '}' x 100_000, 'nested too deeply', 'depth 100,000');
	stripe_body('[' x 100_000, 'nested too deeply', 'depth 100,000 without end');
	stripe_body('{' . join(',', map { qq("m$_":1) } 1 .. 20_001) . '}', 'too many members', 'many members');
	stripe_body(qq({"type":"a","created":$now}), 'no "id"', 'no id');
	stripe_body(qq({"id":null,"type":"a","created":$now}), 'no "id"', 'null as id');
	stripe_body(qq({"id":7,"type":"a","created":$now}), 'must be a string', 'a number as id');
	stripe_body(qq({"id":"evt_1","created":$now}), 'no "type"', 'no type');
	stripe_body('{"id":"evt_1","type":"a"}', 'no "created"', 'no time');
	stripe_body('{"id":"evt_1","type":"a","created":-1}', 'out of range', 'a time before 1970');
	stripe_body('{"id":"evt_1","type":"a","created":1e300}', 'out of range', 'a time beyond all calendars');
	stripe_body('{"id":"evt_1","type":"a","created":1700000000.5}', 'whole number', 'half a second');
	stripe_body('{"id":"' . 'x' x 300 . qq(","type":"a","created":$now}), 'longer than', 'a long id');
	stripe_body($intent->('1e309', 'eur'), 'out of range', 'an amount of 1e309');
	stripe_body($intent->('9223372036854775808', 'eur'), 'out of range', 'an amount beyond a bigint');
	stripe_body($intent->('1e2', 'eur'), 'whole number', 'an amount with an exponent');
	stripe_body($intent->('100.5', 'eur'), 'whole number', 'half a cent');
	stripe_body($intent->('"100"', 'eur'), 'must be a number', 'an amount as text');
	stripe_body($intent->('null', 'eur'), 'no "data.object.amount_received"', 'no amount');
	stripe_body($intent->('100', 'xyz'), 'does not exist', 'an unknown currency');
	stripe_body($intent->('100', "e'ur"), 'does not exist', 'a currency with a quote');

	my $item = sub {
		my ($value, $currency) = @_;
		my $text = signed($adyen_keys[1], notification(eventCode => 'CAPTURE', merchantReference => 'pl_42_43', amount => { value => $value, currency => $currency }));
		# written as text by JSON::PP: a number is wanted
		return $text =~ s/"value":"([^"]*)"/"value":$1/r;
	};
	for my $case ([ '1e309', 'EUR', 'out of range' ], [ '9223372036854775808', 'EUR', 'out of range' ], [ '10.5', 'EUR', 'whole number' ],
		[ '-100', 'EUR', 'not above zero' ], [ '0', 'EUR', 'not above zero' ], [ '100', 'XYZ', 'does not exist' ], [ '10', 'CLP', 'no whole number' ])
	{
		my ($value, $currency, $pattern) = @$case;

		keeps('adyen', {}, $item->($value, $currency), $pattern, "Adyen: $value $currency");
	}
	refuses('adyen', {}, '{"":' x 100_000, '54001', 'nested too deeply', 'Adyen: depth 100,000');
	refuses('adyen', {}, '{"notificationItems": [{"other": {}}]}', '22023', 'has no "NotificationRequestItem"', 'Adyen: no item in an item');
	refuses('adyen', {}, 'notification', '22P02', 'not JSON', 'Adyen: no JSON');
	my $twice = signed($adyen_keys[1], notification()) =~ s/"success":"true"/"success":"true","success":"false"/r;
	refuses('adyen', {}, $twice, '22P02', 'two members', 'Adyen: a name twice');
	keeps('adyen', {}, signed($adyen_keys[1], notification(success => 'maybe')), 'no "success"', 'Adyen: neither true nor false');
	keeps('adyen', {}, signed($adyen_keys[1], notification(eventDate => '2026-02-30T10:00:00Z')), 'not a time', 'Adyen: the 30th of February');
	keeps('adyen', {}, signed($adyen_keys[1], notification(eventDate => 'infinity')), 'not a time', 'Adyen: the end of time');
	is(sql($node, q{SELECT count(*) FROM payledger.webhooks WHERE event_id = 'evt_1'}), 0, 'none of it passes for an event with that id');
	is(sql($node, q{SELECT sum(given_up) = (SELECT count(*) FROM payledger.webhooks WHERE status = 'PARKED') FROM payledger.stat_webhooks}), 't', 'stat_webhooks counts them');
	is(sql($node, q{SELECT payledger.ignore_webhook(gateway, event_id, 'of no use') FROM payledger.webhooks WHERE event_id LIKE 'unreadable:%' LIMIT 1}), 'IGNORED', 'an operator may let go of one');
};

# ---- the time that a refusal takes ----

# Two kinds of refusal in turns of random order, in one session; ten calls are
# one measurement, because the clock counts microseconds.  The difference for one
# call and its standard error, of the middle 80 % of the measurements, in
# microseconds.
sub time_difference
{
	my ($gateway, $calls, @kinds) = @_;
	my @arguments = map { my ($headers, $body) = @$_; "\$w\$$gateway\$w\$, \$w\$" . $json->encode($headers) . "\$w\$, \$w\$$body\$w\$" } @kinds;
	my $measurements = $calls / 10;

	return split /\|/, sql($node, <<~"SQL");
		CREATE TEMP TABLE took (kind int, us float8);
		DO \$do\$
		DECLARE
			first boolean;
			begun timestamptz;
		BEGIN
			PERFORM setseed(0.5);
			FOR i IN 1 .. $measurements LOOP
				first := random() < 0.5;
				begun := clock_timestamp();
				FOR j IN 1 .. 10 LOOP
					BEGIN
						IF first THEN
							PERFORM payledger.receive_webhook($arguments[0]);
						ELSE
							PERFORM payledger.receive_webhook($arguments[1]);
						END IF;
					EXCEPTION WHEN SQLSTATE 'PL012' THEN
						NULL;
					END;
				END LOOP;
				INSERT INTO took VALUES (first::int, extract(epoch FROM clock_timestamp() - begun) * 1e5);
			END LOOP;
		END
		\$do\$;
		WITH ranked AS (
			SELECT kind, us, row_number() OVER (PARTITION BY kind ORDER BY us)::float8 / count(*) OVER (PARTITION BY kind) AS place FROM took
		), kinds AS (
			SELECT kind, avg(us) AS mean, var_samp(us) / count(*) AS error FROM ranked WHERE place > 0.1 AND place <= 0.9 GROUP BY kind
		)
		SELECT round((max(mean) FILTER (WHERE kind = 1) - max(mean) FILTER (WHERE kind = 0))::numeric, 3), round(sqrt(sum(error))::numeric, 3) FROM kinds;
		SQL
}

# More than a microsecond, and more than chance makes of it.
sub differs
{
	my ($difference, $error) = @_;

	return abs($difference) > 1 + 3 * $error;
}

subtest 'a refusal takes the same time, whatever is wrong' => sub {
	my $body = event();
	my $right = hmac_sha256_hex("$now.$body", $stripe_keys[1]);
	my $wrong = sub {
		my ($at) = @_;
		my $signature = $right;

		substr($signature, $at, 1) = substr($right, $at, 1) eq '0' ? '1' : '0';
		return [ { 'Stripe-Signature' => "t=$now,v1=$signature" }, $body ];
	};
	# the age of the time is looked at last, so it has to be refused for the signature
	my @stripe = time_difference('stripe', 100_000, $wrong->(0), $wrong->(63));
	ok(!differs(@stripe), "Stripe: the first or the last digit, 10^5 calls: $stripe[0] us, standard error $stripe[1]");

	my $item = notification();
	my $signature = adyen_signature($item, $adyen_keys[1]);
	my $text = sub {
		my ($at) = @_;
		my $changed = $signature;

		substr($changed, $at, 1) = substr($signature, $at, 1) eq 'A' ? 'B' : 'A';
		return [ {}, signed($adyen_keys[1], $item) =~ s/\Q$signature\E/$changed/r ];
	};
	my @adyen = time_difference('adyen', 100_000, $text->(0), $text->(42));
	ok(!differs(@adyen), "Adyen: the first or the last letter, 10^5 calls: $adyen[0] us, standard error $adyen[1]");

	# that the measurement sees one: a body that takes some microseconds longer to sign
	my $longer = [ $wrong->(0)[0], $body . ' ' x 8192 ];
	my @seen = time_difference('stripe', 10_000, $longer, $wrong->(0));
	ok(differs(@seen), "8 kB more to sign are seen: $seen[0] us, standard error $seen[1]");
};

done_testing();
