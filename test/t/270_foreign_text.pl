# Texts from outside: whatever PSPs say, and whoever signs webhooks, what is
# stored is valid, whole and harmless; a dump of it restores.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP;
use PayledgerImpostor;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->utf8->canonical;
my $node = new_node('foreign_text');

# ---- a PSP that answers as no PSP would ----

# Replies by payment method: a status, and a body in which ID stands for the payment and KEY for its request.
my $intent = '"id":"pi_ID","object":"payment_intent","status":"requires_capture","amount":500,"amount_capturable":500,"currency":"eur","metadata":{"payment_id":"ID","request":"KEY"}';
my %script = (
	long_code => [ 402, '{"error":{"type":"card_error","code":"' . 'c' x 99 . "\xc3\xa9" . 'd' x 50 . '","message":"' . 'm' x 299 . "\xe2\x82\xac" . '"}}' ],
	nul_escape => [ 200, qq({$intent,"shipping":{"name":"nul\\u0000x"}}) ],
	half_pair => [ 200, qq({$intent,"shipping":{"name":"half\\ud83d","line1":"\\udE00\\ud83d\\ud83d\\ude00"}}) ],
	nul_name => [ 200, qq({$intent,"shipping":{"na\\u0000me":1}}) ],
	no_utf8 => [ 200, qq({$intent,"shipping":{"name":"\xc3"}}) ],
	unread_twice => [ 200, qq({$intent,"shipping":{"name":"a","name":"b"}}) ],
	status_twice => [ 200, qq({$intent,"status":"canceled"}) ],
	metadata_twice => [ 200, qq({$intent,"metadata":{"order_id":"x"}}) ],
	no_json => [ 200, qq({$intent,"shipping":"\x00"}) ],
	points => [ 200, $intent =~ s/pi_ID/../r =~ s/(.*)/{$1}/r ],
	nul_id => [ 200, $intent =~ s/pi_ID/pi\\u0000/r =~ s/(.*)/{$1}/r ],
	action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/{$1,"next_action":{"type":"x\\u0000\\ud800","number":4111111111111111,"text":"4111111111111111"}}/r ],
	escaped_action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/{$1,"next_action":{"type":"x","text":"\\u0034111111111111111","more":"411111111\\u003111111\\u0031 \\u0022\\\\\\\/"}}/r ],
	control_action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/{$1,"next_action":{"type":"x","text":"\\n4111111111111111","more":"\\u00014111111111111111\\t"}}/r ],
	power_action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/{$1,"next_action":{"number":4.111111111111111e15}}/r ],
	large_action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/'{' . $1 . ',"next_action":{"numbers":[' . join(',', ('1e99999') x 1500) . ']}}'/er ],
	tiny_action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/{$1,"next_action":{"number":1e-16000}}/r ],
	double_action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/{$1,"next_action":{"numbers":[1.7976931348623157e308,-5e-324,0e9]}}/r ],
	huge_action => [ 200, $intent =~ s/requires_capture/requires_action/r =~ s/(.*)/{$1,"next_action":{"number":1e999999}}/r ],
	message => [ 402, '{"error":{"type":"card_error","code":"card_declined","message":"payment ID of card 4111 1111 1111 1111\u202e was\u2028not\u0085paid"}}' ],
	numbers => [ 402, '{"error":{"type":"card_error","code":"card_declined","message":"1 2 3 4111 1111 1111 1111 5 6 7 and 6222021234567890128, mistyped 6222021234567890127"}}' ],
);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $psp = PayledgerImpostor->new(
	sub {
		my ($socket, $request) = @_;
		my ($id) = $request->{body} =~ /metadata\[payment_id\]=(\d+)/;
		my ($name) = $request->{body} =~ /payment_method=pm_(\w+)/;

		# what is asked about later is known by the payment, which is in the path or the search
		($id) = $request->{path} =~ /(\d{15,})/ unless defined $id;
		if (defined $name)
		{
			symlink $name, "$dir/$id";
			symlink $request->{key}, "$dir/key-$id";
		}
		my ($status, $body) = @{ $script{ readlink "$dir/$id" } };
		my $asked = readlink "$dir/key-$id";
		syswrite($socket, PayledgerImpostor::reply($status, $body =~ s/ID/$id/gr =~ s/KEY/$asked/gr));
		return 1;
	});
my $key = 'whsec_foreign_text';

$node->append_conf('postgresql.conf', "payledger.gateway_secrets_file = '"
	  . write_secrets($node, map { $_ => [ api_key => 'sk_test_foreign', webhook_secret => $key ] } qw(stripe list)) . "'");
$node->reload;
sql($node, "SELECT payledger.add_gateway('stripe', 'stripe', '"
	  . $json->encode({ base_url => $psp->url, backfill_seconds => 0, rate_per_second => 0, endpoint_rate_per_second => 0, max_attempts => 1,
			retry_base_ms => 60000, retry_max_ms => 60000, unknown_max_ms => 60000, circuit_failures => 1000 }) . "', true)");
wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the gateway is ready');

my %payment = map { $_ => pay($node, "pm_$_", [500], capture_method => 'manual') } sort keys %script;

sub known
{
	my ($name, $columns) = @_;

	wait_sql($node, "SELECT status NOT IN ('READY', 'IN_FLIGHT') FROM payledger.psp_requests WHERE payment_id = $payment{$name} AND operation = 'AUTHORIZE'",
		"$name is answered");
	return sql($node, <<~"SQL");
		SELECT $columns FROM payledger.payment_intents i JOIN payledger.psp_requests r ON r.payment_id = i.payment_intent_id AND r.operation = 'AUTHORIZE'
		 WHERE i.payment_intent_id = $payment{$name}
		SQL
}

subtest 'what a PSP says is cut between characters' => sub {
	is(known('long_code', 'i.status, r.reply_code, i.decline_code, r.reply_message'),
		join('|', 'DECLINED', ('c' x 99) x 2, 'm' x 299), 'a code and a message that end within a character');
	check_text_is_valid($node, 'a long code');
};

subtest 'what no text can hold, in members that nobody reads' => sub {
	for my $name (qw(nul_escape half_pair nul_name no_utf8 unread_twice))
	{
		is(known($name, 'i.status, r.status'), 'AUTHORIZED|SUCCEEDED', "$name: the reply is understood");
	}
};

subtest 'replies that could mean two things' => sub {
	for my $name (qw(status_twice metadata_twice))
	{
		is(known($name, 'i.status, r.status, r.reply_code'), 'PENDING_AUTH|UNKNOWN|reply_not_understood', "$name: nothing is decided");
	}
	is(known('no_json', 'i.status, r.reply_code'), 'PENDING_AUTH|garbage_reply', 'a zero byte is in no JSON');
	for my $name (qw(points nul_id))
	{
		is(known($name, 'i.status, r.reply_code, r.psp_reference IS NULL'), 'PENDING_AUTH|reference_refused|t', "$name: no identifier");
	}
};

subtest 'what the shopper has to do' => sub {
	is(known('action', q{i.status, i.next_action->>'type', i.next_action->>'text', i.next_action->>'number'}),
		"REQUIRES_ACTION|x\xef\xbf\xbd\xef\xbf\xbd|************1111|9999999999991111", 'is kept as jsonb, without card data');
	is(known('escaped_action', q{i.status, i.next_action->>'text', i.next_action->>'more'}),
		'REQUIRES_ACTION|************1111|************1111 "\\/', 'nor written with escapes, which jsonb undoes');
	is(known('control_action', q{i.status, i.next_action->>'text', i.next_action->>'more'}),
		"REQUIRES_ACTION|\n************1111|\x01************1111\t", 'nor behind such as have to be escaped');
	for my $name (qw(huge_action large_action tiny_action power_action))
	{
		is(known($name, 'i.status, i.next_action IS NULL, r.reply_message'),
			'REQUIRES_ACTION|t|the next action cannot be kept as jsonb', "or left out where jsonb cannot hold it, or nobody can read it: $name");
	}
	is(known('double_action', q{i.status, i.next_action = '{"numbers": [1.7976931348623157e308, -5e-324, 0]}', length(i.next_action::text) < 1000}), 'REQUIRES_ACTION|t|t', 'any double can be kept');
};

subtest 'messages' => sub {
	is(known('message', 'r.reply_message'), "payment $payment{message} of card **** **** **** 1111  was not paid",
		'our ids can be read, card numbers cannot, and nothing turns the line around');
	like(known('numbers', 'r.reply_message'), qr/^1 2 3 \*{4} \*{4} \*{4} 1111 5 6 7 and \*{15}0128, mistyped \*{15}0127$/,
		'a card number within other numbers, and those of 19 digits, whatever the last one is');
};

# ---- webhooks ----

my $now = time();
my $events = 0;

sub signature
{
	my ($body) = @_;
	return $json->encode({ 'Stripe-Signature' => "t=$now,v1=" . hmac_sha256_hex("$now.$body", $key) });
}

# Delivers a body; event id, and whether it was new.
sub deliver
{
	my ($body) = @_;

	return split /\|/, sql($node, 'SET statement_timeout = 10000; SELECT event_id, is_new FROM payledger.receive_webhook_bytes(' . "'stripe', '"
		  . signature($body) . "', '\\x" . unpack('H*', $body) . "')");
}

sub event_text
{
	my ($object, $id) = @_;

	$id //= 'evt_text_' . ++$events;
	return qq({"id":"$id","object":"event","type":"customer.created","created":$now,"data":{"object":$object}});
}

sub body
{
	my ($id) = @_;
	return sql($node, "SELECT body FROM payledger.webhooks WHERE event_id = '$id'");
}

subtest 'client secrets are not kept' => sub {
	my %objects = (
		plain => [ '{"client_secret":"pi_secret_1"}', '{"client_secret":"***********"}' ],
		asterisk => [ '{"client_secret":"*"}', '{"client_secret":"*"}' ],
		asterisks => [ '{"client_secret":"***","a":"***"}', '{"client_secret":"***","a":"***"}' ],
		empty => [ '{"client_secret":""}', '{"client_secret":""}' ],
		absent => [ '{"client_secret":null}', '{"client_secret":null}' ],
		escape => [ '{"client_secret":"pi_secret_\u0061"}', '{"client_secret":"****************"}' ],
		name_escape => [ '{"client\u005fsecret":"pi_secret_2"}', '{"client\u005fsecret":"***********"}' ],
		quote => [ '{"client_secret":"pi_\"secret\\\\"}', '{"client_secret":"*************"}' ],
		nested => [ '{"a":[{"client_secret":"pi_secret_3"}]}', '{"a":[{"client_secret":"***********"}]}' ],
		within => [ '{"client_secret":{"a":["pi_secret_4",{"b":"pi_secret_5"}],"n":-12.5},"c":"d"}',
			'{"client_secret":{"a":["***********",{"b":"***********"}],"n":-99.9},"c":"d"}' ],
		blanks => [ qq({"client_secret" \n:\t"pi_secret_6"}), qq({"client_secret" \n:\t"***********"}) ],
		elsewhere => [ '{"a":"client_secret","b":"\"client_secret\":\"x\""}', '{"a":"client_secret","b":"\"client_secret\":\"x\""}' ],
		long => [ '{"client_secret":"' . 's' x 200_000 . '"}', '{"client_secret":"' . '*' x 200_000 . '"}' ]);
	for my $name (sort keys %objects)
	{
		my ($given, $kept) = @{ $objects{$name} };
		my ($id, $is_new) = deliver(event_text($given));

		is($is_new, 't', "$name: taken");
		ok(index(body($id), qq("object":$kept})) > 0, "$name: hidden, and nothing else") or diag(substr(body($id), 0, 300));
		is((deliver(body($id)))[1], 'f', "$name: as it is stored it can be sent again");
	}
	my ($id) = deliver('{"client_secret":"pi_secret_7", "id": ');
	is(body($id), '{"client_secret":"***********", "id": ', 'nor of what is no JSON');
	is(sql($node, q{SELECT count(*) FROM payledger.webhooks WHERE body LIKE '%pi_secret_%'}), 0, 'none is stored');
};

# What an application passes as JSON is looked at as jsonb has it.
subtest 'JSON of an application' => sub {
	my $create = sub { my ($metadata) = @_; return "SELECT payledger.create_payment_intent('order', 'buyer', 'EUR', '[{\"seller_id\": \"SELLER-111\", \"amount\": 500}]', metadata => \$m\$$metadata\$m\$)" };
	my $id = create_intent($node, [500]);
	my %card = (
		'escapes' => '{"number":"\u0034111111111111111"}',
		'a name' => '{"4111\u003111111111111":1}',
		'a line break before it' => '{"note":"\n4111111111111111"}',
		'a tab behind it' => '{"note":"4111111111111111\t"}',
		'a control character before it' => '{"note":"\u00014111111111111111"}',
		'a power of ten' => '{"number":[4.111111111111111e15]}');
	my %large = (
		'numbers that print with 100,000 digits' => '{"n":[' . join(',', ('1e99999') x 1000) . ']}',
		'the same behind the point' => '{"n":{"m":-1e-16000}}');

	for my $name (sort keys %card)
	{
		sql_fails($node, $create->($card{$name}), 'PL011', 'metadata holds what looks like a card number', "metadata: $name");
		sql_fails($node, "SELECT payledger.request_authorization($id, \$m\$$card{$name}\$m\$)", 'PL011', 'payment_method holds', "a payment method: $name");
		sql_fails($node, "SELECT payledger.request_authorization($id, 'pm_card_visa', jsonb_build_object('stripe', \$m\$$card{$name}\$m\$::text))", 'PL011', 'payment method for gateway stripe holds', "an alternative: $name");
	}
	for my $name (sort keys %large)
	{
		sql_fails($node, $create->($large{$name}), '22023', 'must not hold a number of more than 400 digits', "metadata: $name");
		sql_fails($node, "SELECT payledger.request_authorization($id, \$m\$$large{$name}\$m\$)", '22023', 'more than 400 digits', "a payment method: $name");
	}
	for my $number ('1e99999', '-1e-16000', '1.' . '0' x 401)
	{
		my $name = 'a number such as ' . substr($number, 0, 10);
		my $long = 'must not hold a number of more than 400 digits';
		my %refused = (
			qq{option "fee_bps" of gateway "long"} => qq{SELECT payledger.add_gateway('long', 'sandbox', '{"fee_bps": $number}')},
			'option "fee_bps" of gateway "stripe"' => qq{SELECT payledger.alter_gateway('stripe', '{"fee_bps": $number}')},
			'lines[0].amount' => qq{SELECT payledger.create_payment_intent('order', 'buyer', 'EUR', '[{"seller_id": "SELLER-111", "amount": $number}]')},
			'postings[1].amount' => q{SELECT payledger.post_entry('FEE', '[{"account": "PLATFORM_CASH.GLOBAL.EUR", "amount": 1}, }
			  . qq{{"account": "BANK_FEES.GLOBAL.EUR", "amount": $number}]')},
			'tiers[0].from_volume' => qq{SELECT payledger.add_commission_rule('SELLER-111', 'EUR', tiers => '[{"from_volume": $number, "bps": 1}]')},
			'tiers[0].bps' => qq{SELECT payledger.add_commission_rule('SELLER-111', 'EUR', tiers => '[{"from_volume": 1, "bps": $number}]')});

		sql_fails($node, $refused{$_}, '22023', "\Q$_\E $long", "$_: $name") for sort keys %refused;
	}
	sql_fails($node, "SELECT payledger.request_authorization($id, 'pm_card_visa', '{\"stripe\": \"{\"}')", '22P02', 'invalid input syntax', 'an alternative that only begins as JSON');
	sql($node, "SELECT payledger.cancel_payment_intent($id)");
};

subtest 'bodies that are no text' => sub {
	my %broken = (
		'a NUL escape' => '\u0000', 'half a pair' => '\ud83d', 'another half' => '\uDE00x', 'a cut character' => "\xe2\x82", 'no UTF-8' => "\xff\xfe",
		'a zero byte' => "\x00", 'an encoded surrogate' => "\xed\xa0\x80", 'an overlong slash' => "\xc0\xaf");
	for my $name (sort keys %broken)
	{
		my ($id, $is_new) = deliver(event_text(qq({"name":"<$broken{$name}>"})));

		is($id, "evt_text_$events", "$name: the event is known by its id");
		like(sql($node, "SELECT (body::jsonb)#>>'{data,object,name}' FROM payledger.webhooks WHERE event_id = '$id'"), qr/^<(\xef\xbf\xbd)+x?>$/, "$name: stored as U+FFFD");
		wait_sql($node, "SELECT status = 'IGNORED' FROM payledger.webhooks WHERE event_id = '$id'", 'it is understood');
	}
	my ($id) = deliver("\x00" . event_text('{}'));
	like($id, qr/^unreadable:/, 'what is no JSON does not say what it is');
	is(sql($node, "SELECT status, problem FROM payledger.webhooks WHERE event_id = '$id'"), 'PARKED|a stripe event is not JSON', 'and is an operator\'s');
	is(sql($node, "SELECT payledger.retry_webhook('stripe', '$id')"), 'PARKED', 'who may try');
	wait_sql($node, "SELECT attempt >= 1 AND status = 'PARKED' AND problem ~ 'does not say what it is' FROM payledger.webhooks WHERE event_id = '$id'", 'it stays so');
	is(sql($node, "SELECT payledger.ignore_webhook('stripe', '$id', 'no JSON')"), 'IGNORED', 'or let go of it');

	my $card = event_text('{"number":4111111111111111,"text":"4111111111111111"}');
	($id) = deliver($card);
	is(sql($node, "SELECT (body::jsonb)#>>'{data,object}' FROM payledger.webhooks WHERE event_id = '$id'"),
		'{"text": "************1111", "number": 9999999999991111}', 'what is masked is JSON as before');
	($id) = deliver(event_text('{"text":"\n4111111111111111","more":"\u00014111111111111111"}'));
	is(sql($node, "SELECT (body::jsonb)#>>'{data,object}' FROM payledger.webhooks WHERE event_id = '$id'"),
		'{"more": "\u0001************1111", "text": "\n************1111"}', 'what stands behind an escape is found');
	($id) = deliver(event_text('{"text":"\u0034111111\u003111111111 \u0022\/"}'));
	is(sql($node, "SELECT (body::jsonb)#>>'{data,object,text}' FROM payledger.webhooks WHERE event_id = '$id'"),
		'************1111 "/', 'what is written with escapes, too');
};

subtest 'what an event says goes into rows as a reply does' => sub {
	my $id = pay($node, 'pm_status_twice', [500], capture_method => 'manual');
	wait_sql($node, "SELECT status = 'UNKNOWN' FROM payledger.psp_requests WHERE payment_id = $id", 'its outcome is not known');
	my $failed = qq({"id":"pi_$id","status":"requires_payment_method","metadata":{"payment_id":"$id"},"last_payment_error":)
	  . '{"code":"' . 'c' x 99 . "\xc3\xa9" . '","message":"4111 1111 1111 1111' . 'm' x 1000 . '"}}';
	my ($event) = deliver(event_text($failed) =~ s/customer.created/payment_intent.payment_failed/r);

	wait_sql($node, "SELECT status = 'APPLIED' FROM payledger.webhooks WHERE event_id = '$event'", 'the webhook is applied');
	is(sql($node, "SELECT i.decline_code, left(r.reply_message, 21), length(r.reply_message) FROM payledger.payment_intents i, payledger.psp_requests r
		 WHERE i.payment_intent_id = $id AND r.payment_id = $id"), join('|', 'c' x 99, '**** **** **** 1111mm', 300), 'clipped and masked');
	($event) = deliver(event_text(qq({"id":"pi \xc3\xa9","status":"canceled","metadata":{"payment_id":"$id"}})) =~ s/customer.created/payment_intent.canceled/r);
	wait_sql($node, "SELECT status = 'PARKED' AND problem ~ 'identifier that cannot be kept' FROM payledger.webhooks WHERE event_id = '$event'",
		'an identifier that is none is not');
};

# ---- a PSP's list of events ----

subtest 'lists of events' => sub {
	my $calls = "$dir/calls";
	my $mode = "$dir/mode";
	my $list = PayledgerImpostor->new(
		sub {
			my ($socket, $request) = @_;
			my $n = () = slurp_file($calls) =~ /^./mg;
			my $now = time();
			my $event = sub { my ($name, $at) = @_; event_text('{"client_secret":"*"}', $name) =~ s/"created":\d+/"created":$at/r };
			my @page =
			    readlink($mode) eq 'odd' ? ($event->('evt_odd_1', $now), 'null', '7', '"x"', '[]', '{"id":"evt_odd_2"}', $event->('evt_odd_3', $now))
			  : readlink($mode) eq 'same' ? $event->('evt_same', $now)
			  : readlink($mode) eq 'nameless' ? ('{}')
			  : readlink($mode) eq 'newer' ? $event->("evt_newer_$n", $now + $n)
			  : $event->("evt_older_$n", $now - 1_000_000 * $n);

			append_to_file($calls, "$request->{path}\n");
			syswrite($socket, PayledgerImpostor::reply(200, '{"object":"list","has_more":' . (readlink($mode) eq 'odd' ? 'false' : 'true')
				  . ',"data":[' . join(',', @page) . ']}'));
			return 1;
		});

	my $be = sub {
		my ($name) = @_;

		unlink $mode;
		symlink $name, $mode;
		append_to_file($calls, '');
	};
	$be->('odd');
	# its host is known by now
	write_secrets($node, map { $_ => [ api_key => 'sk_test_foreign', webhook_secret => $key ] } qw(stripe list));
	$node->reload;
	sql($node, "SELECT payledger.add_gateway('list', 'stripe', '"
		  . $json->encode({ base_url => $list->url, backfill_seconds => 1, rate_per_second => 0, endpoint_rate_per_second => 0 }) . "')");
	wait_sql($node, q{SELECT count(*) = 7 FROM payledger.webhooks WHERE gateway = 'list'}, 'the whole page is stored');
	is(sql($node, q{SELECT count(*) FILTER (WHERE status = 'PARKED' AND next_attempt_at IS NULL), count(*) FILTER (WHERE event_id LIKE 'evt_odd_%')
		FROM payledger.webhooks WHERE gateway = 'list'}), '5|2', 'five events that say nothing, and those around them');

	for my $case ([ 'same', 'ends with the event that it was to end before' ], [ 'nameless', 'no event of the page names itself' ], [ 'newer', 'newer than the one before' ])
	{
		my ($name, $problem) = @$case;

		$be->($name);
		wait_sql($node, "SELECT backfill_problem ~ '$problem' FROM payledger.stat_webhooks WHERE gateway = 'list'", "$name: the list does not go on");
		is(sql($node, q{SELECT page_before IS NULL AND scan_started_at IS NULL FROM payledger.webhook_backfills WHERE gateway = 'list'}), 't', "$name: the scan is over");
		$be->('odd');
		wait_sql($node, q{SELECT backfill_problem IS NULL AND complete_until > now() - interval '1 minute' FROM payledger.stat_webhooks WHERE gateway = 'list'},
			"$name: the next one goes through");
	}
	$be->('older');
	wait_sql($node, q{SELECT EXISTS (SELECT FROM payledger.webhooks WHERE gateway = 'list' AND occurred_at < now() - interval '10 days')},
		'a page goes further back than was asked for');
	wait_sql($node, q{SELECT page_before IS NULL AND problem IS NULL AND scan_started_at IS NULL FROM payledger.webhook_backfills WHERE gateway = 'list'},
		'that is the end of the list');
	is(sql($node, "SELECT count(*) FROM payledger.webhooks WHERE gateway = 'list' AND body !~ '\"client_secret\":\"\\*\"' AND event_id ~ 'evt_(older|newer|same)'"),
		0, 'and none of it took for ever');
	sql($node, q{SELECT payledger.alter_gateway('list', '{"backfill_seconds": 0}')});
};

# ---- what callers pass ----

subtest 'names that hide what they say' => sub {
	for my $character ('\u202e', '\u202a', '\u2066', '\u2069', '\u200f', '\u061c', '\u0085', '\u009f', '\u2028', '\u2029', '\ufeff', '\u007f', '\u0001')
	{
		my $code = substr($character, 2);

		sql_fails($node, "SELECT payledger.create_payment_intent(U&'A!${code}B' UESCAPE '!', 'B', 'EUR', '[]')",
			'22023', 'control characters', "order_id with $character");
	}
	is(create_intent($node, [100], order_id => "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb \xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae \xc3\xa9") > 0, 1, 'joiners are part of words and emoji');
};

subtest 'payment methods that an adapter makes nothing of' => sub {
	sql($node, q{SELECT payledger.add_gateway('adyen', 'adyen', '{"base_url": "http://127.0.0.1:1", "merchant_account": "Shop", "return_url": "https://shop.example/"}')});
	my $id = create_intent($node, [500], gateway => 'adyen');
	my $ask = sub { my ($method) = @_; "SELECT payledger.request_authorization($id, '$method')" };

	sql_fails($node, $ask->('{"paymentMethod":' x 33 . '1' . '}' x 33), '54001', 'payment method is nested too deeply', 'nested too deeply');
	sql_fails($node, $ask->('{"a": [' . join(',', ('{}') x 5000) . ']}'), '22023', 'larger than', 'too large');
	is(sql($node, "SELECT status FROM payledger.payment_intents WHERE payment_intent_id = $id"), 'CREATED', 'the intent is as it was');
	is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE payment_id = $id"), 0, 'and nothing waits for an operator');
	is(sql($node, $ask->('{"paymentMethod":{"type":"scheme","encryptedCardNumber":"x"}}')), 'PENDING_AUTH', 'what can be built is taken');
};

# ---- all of it ----

# no worker goes on meanwhile
$node->append_conf('postgresql.conf', "payledger.databases = ''");
$node->restart;
check_text_is_valid($node, 'in the end');
is(sql($node, q{SELECT string_agg(detail, '; ') FROM payledger.verify() WHERE NOT ok}), '', 'verify() finds nothing');

subtest 'the dump restores' => sub {
	my $dump = $node->basedir . '/dump.sql';

	$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('payledger') ], 'dumped');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-X', '-q', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restored');
	for my $table (qw(payment_intents psp_requests webhooks state_history outbox_events))
	{
		is($node->safe_psql('restored', "SELECT count(*) FROM payledger.$table"), sql($node, "SELECT count(*) FROM payledger.$table"), "every row of $table");
	}
	check_text_is_valid($node, 'restored', 'restored');
};

subtest 'verify() finds a text that is not valid' => sub {
	is(sql($node, <<~'SQL'), 'f|webhooks.problem', 'and says where');
		SET client_min_messages = error;
		BEGIN;
		CREATE CAST (bytea AS text) WITHOUT FUNCTION;
		UPDATE payledger.webhooks SET problem = '\x61c3'::bytea::text WHERE event_id = 'evt_odd_1';
		SELECT ok, substring(detail FROM 'webhooks.problem') FROM payledger.verify() WHERE check_name = 'texts_are_valid';
		ROLLBACK;
		SQL
	is(sql($node, q{SELECT payledger.is_valid_text('é'), payledger.is_valid_text(NULL) IS NULL}), 't|t', 'a text that is');
};

done_testing();
