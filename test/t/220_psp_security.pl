# What an attacker, a PSP gone mad or a careless operator can try by way of
# gateways: addresses, names, certificates, redirects, bodies, header values,
# card data and secrets.  A canary listens at every address of this machine,
# and nobody may ever call it.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use IO::Compress::Gzip qw(gzip);
use JSON::PP;
use PayledgerImpostor;
use PayledgerPsp;
use PayledgerTest;
use PayledgerTls;
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $dir = PostgreSQL::Test::Utils::tempdir('security');
my $psp = PayledgerPsp->new;
my $tls = PayledgerTls->new;
my $canary = PayledgerCanary->new;
my $port = $canary->{port};
my $node;

{
	# the environment must not send the worker anywhere either
	local @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY)} = ("http://127.0.0.1:$port") x 5;
	$node = new_node(
		'security',
		shared_preload_libraries => 'pg_stat_statements, payledger',
		'payledger.gateway_secrets_file' => '/nowhere');
}
sql($node, 'CREATE EXTENSION pg_stat_statements');
my $log_start = -s $node->logfile;
my %key = (stripe => [ api_key => $psp->key, webhook_secret => $PayledgerTest::WEBHOOK_SECRET ]);
add_stripe($node, $psp);

# Allows gateways to be in these networks, and returns when the gateway worker knows.
sub allow_networks
{
	my ($networks) = @_;

	sql($node, "ALTER SYSTEM SET payledger.private_gateway_addresses = $networks");
	$node->reload;
	# the gateway "stripe" is at 127.0.0.1
	wait_sql($node, "SELECT problem IS " . ($networks =~ /127/ ? '' : 'NOT ') . "NULL FROM payledger.stat_gateway WHERE gateway = 'stripe'",
		"the networks are $networks");
	return;
}

# Writes the secrets: a section allows the gateway's host, and those of all servers of the test.
my %host;

sub share_secrets
{
	my @servers = PayledgerHosts::all();

	write_secrets($node, map { my $gateway = $_; $gateway => [ @{ $key{$gateway} }, map { (host => $_) } $host{$gateway} // (), @servers ] } keys %key);
	$node->reload;
	return;
}

# Adds a Stripe gateway with retries fast enough for a test.
sub add
{
	my ($name, $url, %options) = @_;
	my $ca_file = delete $options{ca_file};

	($host{$name}) = $url =~ m{^https?://([^/]+)};
	$key{$name} //= [ api_key => $psp->key, $ca_file ? (ca_file => $ca_file) : () ];
	share_secrets();
	my %all = (
		base_url => $url,
		timeout_ms => 1000,
		connect_timeout_ms => 1000,
		lease_seconds => 6,
		retry_base_ms => 20,
		retry_max_ms => 100,
		rate_per_second => 0,
		endpoint_rate_per_second => 0,
		circuit_failures => 0,
		%options);
	sql($node, "SELECT payledger.add_gateway('$name', 'stripe', '" . $json->encode(\%all) . "')");
	return;
}

# Waits until the authorizations of payments were tried n times, and returns
# what is known of one: what we believe, and the last fault.
sub tried
{
	my ($n, @ids) = @_;
	my $ids = join ',', @ids;

	wait_sql($node, <<~"SQL", "each was tried $n times, or decided");
		SELECT bool_and(attempt > $n OR status NOT IN ('READY', 'UNKNOWN', 'IN_FLIGHT')) FROM payledger.psp_requests
		 WHERE payment_id IN ($ids) AND operation = 'AUTHORIZE'
		SQL
	return;
}

sub fault_of
{
	my ($id) = @_;

	# while an attempt is under way the row still says what came of the last one
	return sql($node, <<~"SQL");
		SELECT i.status, r.reply_code FROM payledger.payment_intents i
		  JOIN payledger.psp_requests r ON r.payment_id = i.payment_intent_id AND r.operation = 'AUTHORIZE'
		 WHERE i.payment_intent_id = $id
		SQL
}

# Gives gateways the right address, so that what waits for them ends.
sub lead_to_psp
{
	my (@gateways) = @_;

	sql($node, "SELECT payledger.alter_gateway('$_', '{\"base_url\": \"${\$psp->url('')}\"}')") for @gateways;
	# long pauses have grown between the attempts at some
	sql($node, "UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE status IN ('READY', 'UNKNOWN')");
	$node->reload;
	settle($node);
	return;
}

# ---- addresses ----

subtest 'addresses that an operator may not give' => sub {
	my %refused = (
		22023 => [
			'http://api.stripe.com', 'http://10.0.0.1', 'http://psp.localhost', 'file:///etc/passwd',
			'gopher://127.0.0.1:6379/_x', 'ftp://127.0.0.1', 'dict://127.0.0.1:11211/stats', 'ldap://127.0.0.1',
			'smb://127.0.0.1/x', 'telnet://127.0.0.1', 'javascript:alert(1)', '//127.0.0.1', '127.0.0.1:443', '', 'https://',
			'https://user:password@api.stripe.com', 'https://api.stripe.com@127.0.0.1', 'https://api.stripe.com/?x=1',
			'https://api.stripe.com/#x', 'https://api.stripe.com\\@127.0.0.1', 'https://[::1', 'https://127.0.0.1%00.x',
			"https://api.stripe.com\r\nHost: x", "https://api.stripe.com\nX: y", 'https://api.stripe.com x', ],
		42501 => [
			'https://10.0.0.1', 'https://172.16.0.1', 'https://172.31.255.255', 'https://192.168.1.1',
			'https://169.254.169.254', 'https://100.64.0.1', 'https://0.0.0.0', 'https://255.255.255.255',
			'https://224.0.0.1', 'https://198.18.0.1', 'https://192.0.0.1', 'https://203.0.113.1', 'https://10.0.0.1:443/v1',
			'https://[::]', 'https://[::ffff:10.0.0.1]', 'https://[::ffff:169.254.169.254]', 'https://[::ffff:a00:1]',
			'https://[0:0:0:0:0:ffff:a9fe:a9fe]', 'https://[::a00:1]', 'https://[64:ff9b::a00:1]', 'https://[64:ff9b:1::1]',
			'https://[2002:a00:1::]', 'https://[2001::1]', 'https://[2001:db8::1]', 'https://[3fff::1]', 'https://[fe80::1]',
			'https://[fe80::1%25lo]', 'https://[fc00::1]', 'https://[fd00:ec2::254]', 'https://[fec0::1]', 'https://[ff02::1]',
			'https://[100::1]', 'https://[5f00::1]', 'https://10.0.0.1.',
			'https://2130706433', 'https://0x7f000001', 'https://0x7f.1', 'https://0177.0.0.1', 'https://127.1',
			'https://2852039166', 'https://0xa9fea9fe', 'https://0251.0376.0251.0376', 'https://10.1', 'http://2130706433', ]);
	my ($code, @wrong);

	for my $sqlstate (sort keys %refused)
	{
		for my $url (@{ $refused{$sqlstate} })
		{
			my ($rc, $out, $err) = $node->psql('payledger',
				"SELECT payledger.add_gateway('bad', 'stripe', '" . $json->encode({ base_url => $url }) . "')",
				extra_params => [ '-v', 'VERBOSITY=verbose' ]);

			push @wrong, "$url: " . (split /\n/, $err || "accepted")[0] unless $err =~ /ERROR:  $sqlstate: option "base_url"/;
		}
	}
	is(join("\n", @wrong), '', 'each of ' . (map { @$_ } values %refused) . ' is refused');
	sql($node, q{SELECT payledger.add_gateway('good', 'stripe', '{"base_url": "https://api.stripe.com"}')});
	sql_fails($node, q{SELECT payledger.alter_gateway('good', '{"base_url": "https://10.0.0.1"}')},
		'42501', 'private address', 'nor by a change');
	sql_fails($node, q{UPDATE payledger.gateways SET options = '{"base_url": "https://10.0.0.1"}' WHERE gateway = 'good'},
		'42501', 'private address', 'nor past the functions');
	is(sql($node, "SELECT count(*) FROM payledger.gateways WHERE gateway = 'bad'"), 0, 'none is there');

	# this machine is no exception, but where a superuser says so
	my @inner = ('https://127.0.0.1', 'https://127.9.9.9', 'https://localhost', 'https://[::1]', 'http://127.0.0.1:8080',
		'http://localhost', 'http://[::1]:1', 'https://[::ffff:127.0.0.1]', 'https://[64:ff9b::7f00:1]', 'https://[2002:7f00:1::]');
	my $alter = sub { q{SELECT payledger.alter_gateway('good', '} . $json->encode({ base_url => $_[0] }) . q{')} };

	allow_networks(q{'10.1.2.0/24', 'fd00::/64'});
	sql_fails($node, $alter->($_), '42501', '(loopback|private) address', $_) for @inner, 'https://10.1.3.1', 'https://[fd00:0:0:1::1]';
	sql_fails($node, $alter->('http://10.1.2.3'), '22023', 'https URL', 'nor without TLS beyond this machine');
	sql_fails($node, $alter->("http://$_"), '22023', 'https URL', "nor to $_") for '[64:ff9b::7f00:1]', '[2002:7f00:1::]';
	for my $url ('https://10.1.2.255', 'https://[fd00::ffff:1]', 'https://[64:ff9b::808:808]', 'https://[::ffff:8.8.8.8]')
	{
		like(sql($node, $alter->($url)), qr/good/, "$url is allowed");
	}
	for my $wrong ('10.1.2.3/24', '10.1.2.0/33', 'localhost', '127.0.0.1/', '::1/129', 'x', '1.2.3/8', join(', ', ('10.0.0.1') x 65))
	{
		my ($code, $out, $err) = $node->psql('payledger', "ALTER SYSTEM SET payledger.private_gateway_addresses = '$wrong'");

		like($err, qr/invalid value for parameter/, "$wrong is no list of networks");
	}
	sql($node, $alter->('https://api.stripe.com'));
	allow_networks(q{'127.0.0.0/8', '::1/128'});
};

subtest 'names that lead to this machine or its network' => sub {
	# a name ending in .localhost is one for libcurl, whatever the machine's resolver says
	my %name = (loopback => 'psp.localhost');
	my $hostname = lc qx(uname -n) =~ s/\s//gr;

	for my $try ([ hostname => $hostname ], [ ip6 => 'ip6-localhost' ], [ dot => 'localhost.' ], [ domain => 'localhost.localdomain' ])
	{
		# what its resolver knows besides is tried, too
		$name{ $try->[0] } = $try->[1] if $try->[1] =~ /^[a-z0-9][a-z0-9.-]*$/ && system("getent ahosts $try->[1] >/dev/null") == 0;
	}
	note('names: ', join ' ', map { "$_=$name{$_}" } sort keys %name);
	# 'localhost.' is one for libcurl as well
	allow_networks(q{''});
	add($_, "https://$name{$_}:$port") for sort keys %name;
	my %id = map { $_ => pay($node, 'pm_card_visa', [500], gateway => $_) } sort keys %name;

	tried(5, values %id);
	is(fault_of($id{$_}), 'PENDING_AUTH|address_refused', "$name{$_}: refused once its address is known") for sort keys %name;
	is($canary->visits, 0, 'nobody called');
	# away from the canary before they may be at this machine
	for my $gateway (sort keys %name)
	{
		sql($node, "SELECT payledger.alter_gateway('$gateway', '{\"base_url\": \"https://api.stripe.com\"}')");
		wait_sql($node, "SELECT problem ~ 'is at api.stripe.com:443, which is no host' FROM payledger.stat_gateway WHERE gateway = '$gateway'",
			"$gateway is nowhere");
	}
	allow_networks(q{'127.0.0.0/8', '::1/128'});
	lead_to_psp(sort keys %name);
};

# ---- TLS ----

# Servers of openssl's: nothing above TLS 1.1; keys agreed in finite fields only, which may cost half a second each.
my %openssl = (
	old => [ '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0' ],
	finite_12 => [ '-tls1_2', '-cipher', 'kDHE' ],
	finite_13 => [ '-tls1_3', '-groups', 'ffdhe8192' ]);
my (%old, %old_out, %old_port);
for my $name (sort keys %openssl)
{
	my ($cert, $key) = $tls->certificate($name, names => 'IP:127.0.0.1', rsa => 1);

	$old_port{$name} = PostgreSQL::Test::Cluster::get_free_port();
	$old_out{$name} = '';
	$old{$name} = IPC::Run::start([ 'openssl', 's_server', '-accept', "127.0.0.1:$old_port{$name}", '-cert', $cert, '-key', $key, @{ $openssl{$name} } ],
		'<', \undef, '>&', \$old_out{$name});
}
END
{
	my $code = $?;

	$_->kill_kill(grace => 2) for values %old;
	$? = $code;
}

subtest 'TLS' => sub {
	my %bad = (
		self_signed => [ names => 'IP:127.0.0.1', self_signed => 1 ],
		wrong_host => [ names => 'IP:127.0.0.2,DNS:api.stripe.com' ],
		expired => [ names => 'IP:127.0.0.1', from_day => -60, to_day => -30 ],
		not_yet_valid => [ names => 'IP:127.0.0.1', from_day => 30, to_day => 60 ]);
	my %server = map { $_ => PayledgerPsp->new_tls($tls->certificate($_, @{ $bad{$_} })) } sort keys %bad;
	my $plain = PayledgerPsp->new;
	my %options = (ca_file => $tls->{ca_file});

	for my $name (sort keys %old)
	{
		wait_for(sub { $old{$name}->pump_nb; $old_out{$name} =~ /ACCEPT/ }, "server $name listens", $node);
	}
	add($_, $server{$_}->url(''), %options) for sort keys %server;
	add($_, "https://127.0.0.1:$old_port{$_}", %options) for sort keys %old;
	add('plain', $plain->url('') =~ s/^http/https/r, %options);
	my %id = map { $_ => pay($node, 'pm_card_visa', [500], gateway => $_) } keys %bad, keys %old, 'plain';

	tried(3, values %id);
	for my $name (sort keys %id)
	{
		my $fault = $bad{$name} ? 'certificate_refused' : 'tls_failed';

		is(fault_of($id{$name}), "PENDING_AUTH|$fault", "$name: the payment stays pending, and its request says why");
	}
	is(join(' ', map { $tls->requests_at($server{$_}) } sort keys %server), '0 0 0 0', 'none of them was sent a request');
	is($plain->stats->{requests}, 0, 'nor was a server without TLS');
	for my $name (sort keys %old)
	{
		$old{$name}->pump_nb;
		unlike($old_out{$name}, qr/POST|Bearer/, "nor was $name");
	}

	# the same with a good certificate, so that the others fail for no other reason
	my $good = PayledgerPsp->new_tls($tls->certificate('good', names => 'IP:127.0.0.1'));
	share_secrets();
	sql($node, "SELECT payledger.alter_gateway('$_', '{\"base_url\": \"${\$good->url('')}\"}')") for sort keys %id;
	settle($node);
	is(sql($node, "SELECT count(*) FROM payledger.payments WHERE payment_id IN (${\join ',', values %id}) AND status = 'CAPTURED'"),
		8, 'all are paid once the server is a good one');
	is(scalar(grep { @{ $_->{operations} } == 3 } $good->all_truth), 8, 'once');
};

subtest 'a connection that is kept' => sub {
	# names are looked up and addresses checked for a connection; one that was
	# allowed must not serve when it is not allowed any more
	my $named = PayledgerPsp->new_tls($tls->certificate('named', names => 'DNS:psp.localhost'));
	my $url = $named->url('') =~ s/127\.0\.0\.1/psp.localhost/r;

	add('allowed', $url, ca_file => $tls->{ca_file});
	my $first = pay($node, 'pm_card_visa', [500], gateway => 'allowed');
	settle($node);
	is(sql($node, "SELECT status FROM payledger.payments WHERE payment_id = $first"), 'CAPTURED', 'where it is allowed it is paid');
	my $asked = $tls->requests_at($named);

	allow_networks(q{'::1/128'});
	my $id = pay($node, 'pm_card_visa', [500], gateway => 'allowed');
	tried(3, $id);
	is(fault_of($id), 'PENDING_AUTH|address_refused', 'allowed no more: refused');
	is($tls->requests_at($named), $asked, 'not a request more was sent');
	like(sql($node, "SELECT problem FROM payledger.stat_gateway WHERE gateway = 'stripe'"),
		qr/base_url of gateway "stripe" is a loopback address that payledger.private_gateway_addresses does not list/,
		'and a gateway whose address says so itself is not asked');
	allow_networks(q{'127.0.0.0/8', '::1/128'});
	settle($node);
};

# ---- what a server may answer ----

# What the impostor says to the payment method pm_NAME: bytes, or a sub that
# writes to the socket.  A question about a payment is answered likewise.
my %script;

{
	my $inner = "http://127.0.0.1:$port/inner";
	my $n = 0;

	for my $status (300 .. 303, 305, 307, 308)
	{
		$script{"redirect_$status"} = PayledgerImpostor::reply($status, '{}', "Location: $inner");
	}
	$script{ 'redirect_to_' . $n++ } = PayledgerImpostor::reply(302, '{}', "Location: $_")
	  for "https://psp.localhost:$port/", "https://127.0.0.1:$port/", "//127.0.0.1:$port/", "http://[::1]:$port/",
	  "http://2130706433:$port/", 'file:///etc/passwd', "gopher://127.0.0.1:$port/_x", 'http://169.254.169.254/latest/meta-data/';
	$script{redirect_proxy} = PayledgerImpostor::reply(407, '{}', 'Proxy-Authenticate: Basic', "Location: $inner");
	$script{redirect_login} = PayledgerImpostor::reply(200, '{}', "Refresh: 0; url=$inner", "Location: $inner",
		qq(Alt-Svc: h2="127.0.0.1:$port"; ma=3600), 'Strict-Transport-Security: max-age=9');
}

# Writes pieces until n bytes are written, undef for ever, or nobody listens.
sub pour
{
	my ($socket, $n, $piece) = @_;

	for (my $written = 0; !defined $n || $written < $n; $written += length $piece)
	{
		syswrite($socket, $piece) or last;
	}
	return 0;
}

{
	my $megabyte = 1024 * 1024;
	my $head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
	my $zeros = 'x' x (200 * $megabyte);
	my $bomb = '';

	gzip(\$zeros, \$bomb) or BAIL_OUT('no bomb');
	undef $zeros;
	$script{body_hundred_mb} = sub {
		syswrite($_[0], "${head}Content-Length: 104857600\r\n\r\n{\"id\": \"");
		return pour($_[0], 100 * $megabyte, 'x' x 65536);
	};
	# max_reply_bytes, and one more
	$script{"body_$_->[0]"} = PayledgerImpostor::reply(200, '{"more": "' . 'x' x ($_->[1] - 12) . '"}') for [ fits => $megabyte ], [ one_byte_more => $megabyte + 1 ];
	$script{body_endless} = sub {
		syswrite($_[0], "${head}Transfer-Encoding: chunked\r\n\r\n");
		return pour($_[0], undef, "1000\r\n" . 'x' x 4096 . "\r\n");
	};
	$script{body_trickle} = sub {
		syswrite($_[0], "${head}\r\n{\"id\": \"");
		while (syswrite($_[0], 'x')) { select(undef, undef, undef, 0.05) }
		return 0;
	};
	$script{body_header_flood} = sub {
		syswrite($_[0], $head);
		return pour($_[0], undef, join '', map { "X-$_: " . 'x' x 100 . "\r\n" } 1 .. 500);
	};
	$script{body_long_header} = sub {
		syswrite($_[0], "${head}X-Long: ");
		return pour($_[0], undef, 'x' x 65536);
	};
	$script{body_interim_flood} = sub { return pour($_[0], undef, "HTTP/1.1 100 Continue\r\n\r\n" x 1000) };
	$script{body_gzip} = "${head}Content-Encoding: gzip\r\nContent-Length: " . length($bomb) . "\r\n\r\n$bomb";
	$script{body_transfer_gzip} = sub {
		syswrite($_[0], "${head}Transfer-Encoding: gzip, chunked\r\n\r\n" . sprintf("%x\r\n", length $bomb) . "$bomb\r\n0\r\n\r\n");
		return 0;
	};
	$script{body_huge_chunk} = sub {
		syswrite($_[0], "${head}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n");
		return pour($_[0], $megabyte, 'x' x 65536);
	};
	$script{body_negative_length} = sub {
		syswrite($_[0], "${head}Content-Length: -1\r\n\r\n");
		return pour($_[0], $megabyte, 'x' x 65536);
	};
	# head lines that go on where none began, on the first line and behind interim replies
	my $later = '{"error": {"type": "api_error", "message": "later"}}';
	my $rest = "Content-Type: application/json\r\nContent-Length: " . length($later) . "\r\n\r\n$later";

	$script{head_blank_first} = "HTTP/1.1 503 X\r\n x: " . 'f' x 100 . "\r\n$rest";
	$script{head_tab_first} = "HTTP/1.1 503 X\r\n\tx: " . 'f' x 3000 . "\r\n$rest";
	$script{head_blank_alone} = "HTTP/1.1 503 X\r\n \r\n$rest";
	$script{head_blank_after_interim} = "HTTP/1.1 100 X\r\nA: b\r\n\r\nHTTP/1.1 503 X\r\n x: " . 'f' x 40 . "\r\n$rest";
	$script{head_folds} = "HTTP/1.1 503 X\r\nA: b\r\n" . " x: f\r\n\tg\r\n" x 1000 . $rest;
	$script{head_nul} = "HTTP/1.1 503 X\r\nA: b\0c\r\n$rest";
	$script{head_trailers} = "HTTP/1.1 503 X\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n" .
	  sprintf("%x\r\n%s\r\n0\r\n", length $later, $later) . " A: b\r\nA: b\r\n\tc\r\n\r\n";
	# JSON that is small and costs much: a long name repeated in the path of every member, depth, members
	$script{body_json_paths} = PayledgerImpostor::reply(200, '{"' . 'x' x 800_000 . '": {' . join(',', ('"a":1') x 9_000) . '}}');
	$script{body_json_deep} = PayledgerImpostor::reply(200, '[' x 500_000 . ']' x 500_000);
	$script{body_json_members} = PayledgerImpostor::reply(200, '[' . join(',', (1) x 500_000) . ']');
	$script{body_json_escapes} = PayledgerImpostor::reply(200, '{"id": "' . '\u0041' x 170_000 . '"}');
	$script{body_json_number} = PayledgerImpostor::reply(200, '{"id": ' . '9' x 1_000_000 . '}');
}

# A PSP that repeats what it should not: card numbers and the API key.
my $pan = '4242424242424242';
my $spaced = '4000 0566 5566 5556';
my $amex = '378282246310005';
my @cards = ($pan, $spaced, $amex, '5555-5555-5555-4444');
{
	my $action = { type => 'redirect_to_url', redirect_to_url => { url => "https://bank.example/?card=$pan&key=" . $psp->key } };
	# a PaymentIntent that is the asked payment's, as far as that goes
	my $says = sub {
		my ($status, $wrap, %more) = @_;

		return sub {
			my ($socket, $id, $key) = @_;
			my $intent = { id => 'pi_1', object => 'payment_intent', status => 'requires_capture', amount => 500, amount_capturable => 500, currency => 'eur', metadata => { payment_id => "$id", request => $key }, %more };

			syswrite($socket, PayledgerImpostor::reply($status, $json->encode($wrap ? { error => { %$wrap, payment_intent => $intent } } : $intent)));
			return 1;
		};
	};

	$script{said_declined} = PayledgerImpostor::reply(402, $json->encode({ error => {
				type => 'card_error', code => "card $pan", decline_code => $amex, param => $pan,
				message => "Your card $spaced, number $pan, was declined, not $amex." } }));
	$script{said_action} = $says->(200, undef, status => 'requires_action', next_action => $action);
	$script{said_reference} = $says->(200, undef, id => $pan);
	$script{said_reference_key} = $says->(200, undef, id => 'pi_' . $psp->key);
	$script{said_status} = $says->(200, undef, status => "requires $pan");
	$script{said_key} = $says->(401, {
			type => $psp->key, code => 'key ' . $psp->key,
			message => 'Invalid API Key provided: ' . 'x' x 265 . $psp->key . ' ' . $psp->key }, id => $psp->key);
}

my $impostor = PayledgerImpostor->new(
	sub {
		my ($socket, $request) = @_;
		my ($id) = "$request->{path} $request->{body}" =~ s/%../ /gr =~ /(\d{15,})/;
		my ($key) = "$request->{path} $request->{body}" =~ /(pl_\d+_[0-9a-f]{8})/;
		my ($name) = $request->{body} =~ /payment_method=pm_(\w+)/;

		if ($request->{path} =~ m{^/v1/events})
		{
			# a list of more events than anybody has, small ones
			syswrite($socket, PayledgerImpostor::reply(200, '{"object": "list", "data": [' . join(',', ('{}') x 340_000) . ']}'));
			return 1;
		}
		if (defined $name) { symlink $name, "$dir/script-$id" }
		else { $name = readlink "$dir/script-$id" }
		return $script{$name}->($socket, $id, $key) if ref $script{$name};
		syswrite($socket, $script{$name});
		return 1;
	});

# Waits until the payments of the scripts were tried n times; returns what is
# known of each, by name.
sub ask
{
	my ($gateway, $n, @names) = @_;
	my %id = map { $_ => pay($node, "pm_$_", [500], gateway => $gateway) } @names;

	tried($n, values %id);
	return \%id;
}

subtest 'redirects' => sub {
	my @names = sort grep { /^redirect_/ } keys %script;

	add('impostor', $impostor->url);
	my $id = ask('impostor', 1, @names);
	for my $name (@names)
	{
		my ($status) = $script{$name} =~ m{^HTTP/1.1 (\d+)};

		is(fault_of($id->{$name}), 'PENDING_AUTH|' . ($status == 200 ? 'unexpected_reply' : "http_$status"), "$name: a failed attempt");
	}
	is($canary->visits, 0, 'none was followed');
	is(join(' ', grep { $_->{path} !~ m{^/v1/payment_intents} } $impostor->requests), '', 'nor led to another path');
	lead_to_psp('impostor');
};

# ---- bodies ----

subtest 'head lines that make no sense' => sub {
	my @names = sort grep { /^head_/ } keys %script;
	my $pid = worker_pid($node, 'gateway');

	sql($node, "SELECT payledger.alter_gateway('impostor', '{\"base_url\": \"${\$impostor->url}\"}')");
	# each after others on the same connections
	my $id = ask('impostor', 5, @names);
	for my $name (@names)
	{
		like(fault_of($id->{$name}), qr/^PENDING_AUTH\|(garbage_reply|transfer_failed|http_503|api_error)$/, "$name: a failed attempt");
	}
	is(worker_pid($node, 'gateway'), $pid, 'the worker lives');
	lead_to_psp('impostor');
};

# Peak memory of the gateway worker since the last call, kB above what it has now.
sub memory
{
	my ($what) = @_;
	my $pid = worker_pid($node, 'gateway');
	my ($value) = slurp_file("/proc/$pid/status") =~ /^$what:\s+(\d+) kB/m;

	return $value;
}

sub forget_peak
{
	my $pid = worker_pid($node, 'gateway');

	open(my $file, '>', "/proc/$pid/clear_refs") or die "could not forget the peak: $!\n";
	print $file "5\n";
	close $file or die "could not forget the peak: $!\n";
	return;
}

subtest 'bodies without end and bombs' => sub {
	my %fault = (
		fits => 'unexpected_reply', one_byte_more => 'reply_too_large', hundred_mb => 'reply_too_large', endless => 'reply_too_large', header_flood => 'reply_too_large',
		interim_flood => 'reply_too_large', long_header => 'reply_too_large', trickle => 'timeout', gzip => 'reply_encoded',
		transfer_gzip => undef, huge_chunk => undef, negative_length => undef, json_paths => 'unexpected_reply',
		json_deep => 'garbage_reply', json_members => 'garbage_reply', json_escapes => 'reference_refused', json_number => 'reference_refused');
	my $pid = worker_pid($node, 'gateway');

	sql($node, "SELECT payledger.alter_gateway('impostor', '{\"base_url\": \"${\$impostor->url}\"}')");
	forget_peak();
	my $before = memory('VmRSS');
	my $id = ask('impostor', 2, map { "body_$_" } sort keys %fault);

	for my $name (sort keys %fault)
	{
		like(fault_of($id->{"body_$name"}), qr/^PENDING_AUTH\|${\($fault{$name} \/\/ '\w+')}$/, "$name: failed");
	}
	my $grown = memory('VmHWM') - $before;
	note("the worker has grown by $grown kB at most");
	memory_below($grown, 16 * 1024, 'the worker grew by less than 16 MB');
	is(worker_pid($node, 'gateway'), $pid, 'and lives');
	is(scalar(grep { $_->{head} =~ /^(Accept-Encoding|TE):/mi } $impostor->requests), 0, 'nobody was asked for compressed bodies');
	lead_to_psp('impostor');
};

subtest 'a list of events without end' => sub {
	# a worker that starts asks every PSP for them at once
	# whose page takes a while to be written
	add('events', $impostor->url, timeout_ms => 10_000, lease_seconds => 20);
	my $former = signal_worker($node, 'gateway', 'TERM');

	wait_sql($node, "SELECT problem IS NOT NULL FROM payledger.webhook_backfills WHERE gateway = 'events'", 'it was asked for');
	is(sql($node, "SELECT problem FROM payledger.webhook_backfills WHERE gateway = 'events'"),
		'the list of events is too many members', 'it is not read');
	isnt(worker_pid($node, 'gateway'), $former, 'by another worker');
	memory_below(memory('VmHWM') - memory('VmRSS'), 16 * 1024, 'which grew by less than 16 MB');
};

# ---- texts of callers ----

# Every text that a caller can hand over, where ? stands; what it is about exists.
my $target = create_authorized($node, 'pm_card_visa', [ 1000, 1000 ], capture_method => 'manual');
my $paid = create_authorized($node, 'pm_card_visa', [ 1000, 1000 ]);
my $intent = create_intent($node, [500]);
settle($node);
my $order = sql($node, "SELECT min(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $target");
my $captured = sql($node, "SELECT min(payment_order_id) FROM payledger.payment_orders WHERE payment_id = $paid");
my $entry = sql($node, q{SELECT journal_entry_id FROM payledger.post_entry('ADJUSTMENT',
	'[{"account": "PLATFORM_COMMISSION_REVENUE.GLOBAL.EUR", "amount": 5}, {"account": "MERCHANT_PAYABLE.SELLER-111.EUR", "amount": -5}]')});
my $lines = '[{"seller_id": "SELLER-111", "amount": 500}]';
my $postings = '[{"account": "PLATFORM_COMMISSION_REVENUE.GLOBAL.EUR", "amount": 1}, {"account": "MERCHANT_PAYABLE.SELLER-111.EUR", "amount": -1}]';
my %text = (
	'order id' => "create_payment_intent('?', 'B', 'EUR', '$lines')",
	'buyer id' => "create_payment_intent('O', '?', 'EUR', '$lines')",
	'seller of a line' => q{create_payment_intent('O', 'B', 'EUR', '[{"seller_id": "?", "amount": 1}]')},
	'gateway' => "create_payment_intent('O', 'B', 'EUR', '$lines', gateway => '?')",
	'idempotency key' => "create_payment_intent('O', 'B', 'EUR', '$lines', idempotency_key => '?')",
	'metadata' => qq{create_payment_intent('O', 'B', 'EUR', '$lines', metadata => '{"note": "?"}')},
	'name in metadata' => qq{create_payment_intent('O', 'B', 'EUR', '$lines', metadata => '{"?": 1}')},
	'payment method' => "request_authorization($intent, '?')",
	'key of a capture' => "capture($order, 1, '?')",
	'key of a payment\'s capture' => "capture_payment($target, 1, '?')",
	'reason of a refund' => "refund($captured, 1, '?')",
	'key of a refund' => "refund($captured, 1, 'r', '?')",
	'reason of a payment\'s refund' => "refund_payment($paid, 1, '?')",
	'seller' => "register_seller('?', 'EUR')",
	'payout beneficiary' => "set_payout_terms('SELLER-111', 'EUR', beneficiary => '?')",
	'key of a payout' => "request_payout('SELLER-111', 'EUR', 1, '?')",
	'reference of an entry' => "post_entry('ADJUSTMENT', '$postings', '?')",
	'metadata of an entry' => qq{post_entry('ADJUSTMENT', '$postings', metadata => '{"a": {"b": ["?"]}}')},
	'reference in a batch' => qq{post_entries('[{"entry_type": "ADJUSTMENT", "postings": $postings, "reference": "?"}]')},
	'entry type' => "post_entry('?', '$postings')",
	'account of a posting' => q{post_entry('ADJUSTMENT', '[{"account": "?", "amount": 1}, {"account": "PLATFORM_COMMISSION_REVENUE.GLOBAL.EUR", "amount": -1}]')},
	'reason of a reversal' => "reverse_entry($entry, '?')",
	'entity of an account' => "open_account('MERCHANT_PAYABLE', '?', 'EUR')",
	'metadata of an account' => q{set_account_metadata('PLATFORM_COMMISSION_REVENUE.GLOBAL.EUR', '{"x": "?"}')},
	'PSP reference of a dispute' => "open_dispute($captured, 1, '?')",
	'reason of a dispute' => "open_dispute($captured, 1, 'dp_1', '?')",
	'settlement report' => q{import_settlement('stripe', '?', '[]')},
	'gateway name' => "add_gateway('?', 'sandbox')",
	'gateway option' => q{add_gateway('x', 'stripe', '{"stripe_account": "?"}')},
	'operator\'s note' => "resolve_request(1, 'REFUSED', '?')",
	'operator\'s reference' => "resolve_request(1, 'SUCCEEDED', 'seen', '?')");

# Statements that payledger does not refuse so, all in one session; value is as
# it stands in SQL.
sub not_refused
{
	my ($pattern, $value, $which) = @_;
	my @names = sort grep { !$which || $which->($text{$_}) } keys %text;
	my ($script, %at, %said) = ('');

	for my $name (@names)
	{
		$script .= 'SELECT payledger.' . $text{$name} =~ s/\?/$value/r . ";\n";
		$at{ $script =~ tr/\n// } = $name;
	}
	my ($code, $out, $err) = $node->psql('payledger', $script, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	while ($err =~ /^psql:<stdin>:(\d+): ERROR:  (.*)$/mg) { $said{ $at{$1} } = $2 }
	return join "\n", map { "$_: " . ($said{$_} // 'accepted') } grep { ($said{$_} // '') !~ /^$pattern: / } @names;
}

subtest 'card data' => sub {
	# what has to have a form of its own is refused for that
	my $formed = sub { $_[0] =~ /post_entry\('\?'|"account": "\?"|open_account|add_gateway\('\?'/ };

	is(not_refused('PL011', $_, sub { !$formed->(@_) }), '', "$_: refused as a text") for @cards;
	is(not_refused('(PL011|22023)', $_, $formed), '', "$_: refused as a name") for @cards;
	sql_fails($node, qq{SELECT payledger.create_payment_intent('O', 'B', 'EUR', '$lines', metadata => '{"card": {"$_": "123"}}')},
		'PL011', 'has a member', "$_ in metadata")
	  for qw(cvv CVC cvv2 card_number security_code track_data);
	# not every number is a card
	for my $number ('4242424242424241', '251471825958076416', '352847182595807641', 'DE12 5001 0517 0648 4898 90', '2026-11-25 1234567890')
	{
		like(sql($node, "SELECT payledger.create_payment_intent('$number', 'B', 'EUR', '$lines')"), qr/CREATED/, "$number is none");
	}
	sql_fails($node, "SELECT payledger.create_payment_intent('$_', 'B', 'EUR', '$lines')", 'PL011', 'card number', "it is seen in $_")
	  for "2026-11-25 $pan", "12 $spaced 7", "no. $amex.";
};

subtest 'line ends' => sub {
	my $in_json = sub { $_[0] =~ /"\?"/ };
	my $in_text = sub { $_[0] !~ /"\?"/ };
	# where JSON goes into no header and no reference it may hold them
	my $checked = sub { $in_json->(@_) && $_[0] !~ /metadata/ };

	is(not_refused('22023', "a\r\nX-Evil: b", $in_text), '', 'CR and LF');
	is(not_refused('22023', "a\nb", $in_text), '', 'LF');
	is(not_refused('22023', 'a\r\nX-Evil: b', $checked), '', 'CR and LF in JSON');
	is(not_refused('22P05', 'a\u0000b', $in_json), '', 'NUL in JSON');
	# no text of PostgreSQL holds it
	is(not_refused('(54000|22021)', "a' || chr(0) || '", $in_text), '', 'NUL');
};

# ---- webhooks ----

# Their signatures are the subject of another test.
sub signed
{
	my ($body) = @_;
	my $at = time();
	my $signature = hmac_sha256_hex("$at.$body", $PayledgerTest::WEBHOOK_SECRET);
	my $headers = $json->encode({ 'Stripe-Signature' => "t=$at,v1=$signature" });

	return "'$headers', '" . $body =~ s/'/''/gr . "'";
}

subtest 'webhooks' => sub {
	my $event = sub { return $json->encode({ id => $_[0], object => 'event', type => 'payment_intent.succeeded', created => time(), data => { object => $_[1] } }) };
	my %intent = (id => 'pi_1', object => 'payment_intent', status => 'succeeded', currency => 'eur', amount_received => 500);
	my $long = 'x' x 5000;

	like(sql($node, "SELECT payledger.receive_webhook('stripe', " . signed($event->('evt_card', {
					%intent, description => "card $pan", metadata => { payment_id => $target, note => "$spaced, $amex" } })) . ')'),
		qr/evt_card,payment_intent.succeeded,t/, 'one with card numbers in it is taken');
	like(sql($node, "SELECT body FROM payledger.webhooks WHERE event_id = 'evt_card'"),
		qr/"card \*{12}4242".*"\*{4} \*{4} \*{4} 5556, \*{11}0005"/, 'and masked');
	unlike(sql($node, "SELECT payledger.receive_webhook('stripe', " . signed($event->("evt_$amex", \%intent)) . ')'), qr/$amex/, 'none is one\'s id');
	is(sql($node, "SELECT count(*) FILTER (WHERE w::text LIKE '%$amex%'), count(*) FILTER (WHERE status = 'PARKED' AND problem LIKE '%event id%')"
		  . q{ FROM payledger.webhooks w WHERE gateway = 'stripe'}), '0|1', 'it is stored without, and given up');
	# names that nobody asks for
	like(sql($node, "SELECT payledger.receive_webhook('stripe', " . signed($event->('evt_long', {
					%intent, $long => { a => 1, b => 2 }, metadata => { payment_id => $target, $long => 1, "b$long" => { c => 3 } } })) . ')'),
		qr/evt_long/, 'long names are no trouble');
	wait_sql($node, "SELECT bool_and(status <> 'RECEIVED') FROM payledger.webhooks WHERE gateway = 'stripe'", 'they were looked at');
};

# ---- what a PSP repeats, and who may see what ----

# Statements that fail as the role "app" with these SQLSTATEs.
sub app_fails
{
	my ($sql, $sqlstate, $name) = @_;
	my ($code, $out, $err) = $node->psql('payledger', $sql, extra_params => [ '-U', 'app', '-v', 'VERBOSITY=verbose' ]);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($err, qr/ERROR:  $sqlstate: /, $name) or diag($out);
	return;
}

subtest 'what a PSP repeats' => sub {
	# with everything logged that can be
	my %verbose = (log_min_messages => 'debug5', log_statement => 'all', log_error_verbosity => 'verbose',
		log_min_duration_statement => 0, log_duration => 'on');

	sql($node, "ALTER SYSTEM SET $_ = '$verbose{$_}'") for sort keys %verbose;
	$node->reload;
	sql($node, "SELECT payledger.alter_gateway('impostor', '{\"base_url\": \"${\$impostor->url}\"}')");
	my $id = ask('impostor', 2, grep { /^said_/ } sort keys %script);

	is(fault_of($id->{said_declined}), 'DECLINED|***********0005', 'a decline, its code masked');
	is(sql($node, "SELECT reply_message FROM payledger.psp_requests WHERE payment_id = $id->{said_declined}"),
		'Your card **** **** **** 5556, number ************4242, was declined, not ***********0005.', 'its message, too');
	is(sql($node, "SELECT next_action->'redirect_to_url'->>'url' FROM payledger.payment_intents WHERE payment_intent_id = $id->{said_action}"),
		'https://bank.example/?card=************4242&key=' . '*' x length $psp->key, 'the shopper\'s action, masked');
	like(fault_of($id->{$_}), qr/^PENDING_AUTH\|/, "$_: not decided") for qw(said_reference said_reference_key said_key said_status);
	is(sql($node, "SELECT count(*) FROM payledger.psp_requests WHERE payment_id IN ($id->{said_reference}, $id->{said_reference_key}) AND psp_reference IS NOT NULL"),
		0, 'no card number and no key is taken for a reference');
	like(sql($node, "SELECT reply_message FROM payledger.psp_requests WHERE payment_id = $id->{said_key}"),
		qr/^Invalid API Key provided: x+\*+$/, 'the key, cut off at the end of a message, is hidden whole');
	sql($node, "SELECT payledger.cancel_payment_intent($id->{said_action})");
	sql($node, 'ALTER SYSTEM RESET ALL');
	$node->reload;
};

subtest 'secrets' => sub {
	my $file = $node->basedir . '/secrets';

	sql($node, <<~'SQL');
		CREATE ROLE app LOGIN;
		GRANT USAGE ON SCHEMA payledger TO app;
		GRANT EXECUTE ON FUNCTION payledger.create_payment_intent(text, text, text, jsonb, text, text, text, jsonb) TO app;
		SQL
	app_fails('SHOW payledger.gateway_secrets_file', '42501', 'the path of the file');
	app_fails("SELECT current_setting('payledger.gateway_secrets_file')", '42501', 'by a function');
	is($node->safe_psql('payledger', "SELECT count(*) FROM pg_settings WHERE name = 'payledger.gateway_secrets_file'", extra_params => [ '-U', 'app' ]),
		0, 'nor among the settings');
	app_fails("SELECT pg_read_file('$file')", '42501', 'the file');
	app_fails("SELECT pg_read_binary_file('$file')", '42501', 'its bytes');
	app_fails("SELECT pg_stat_file('$file')", '42501', 'its length');
	app_fails("CREATE TABLE pg_temp.t (x text); COPY pg_temp.t FROM '$file'", '42501', 'by COPY');
	app_fails("COPY (SELECT 1) TO PROGRAM 'cat $file'", '42501', 'by a program');
	app_fails("SELECT lo_import('$file')", '42501', 'as a large object');
	app_fails('SELECT * FROM payledger.gateways', '42501', 'the gateways');
	app_fails("SELECT payledger.add_gateway('x', 'sandbox')", '42501', 'a gateway of its own');
	app_fails('LOAD $$payledger$$', '42501', 'the library');

	for my $setting ('gateway_secrets_file', 'private_gateway_addresses', 'kafka_config_file', 'kafka_brokers', 'delivery', 'databases', 'gateway_concurrency')
	{
		app_fails("SET payledger.$setting = '1'", '55P02', "SET payledger.$setting");
		app_fails("SELECT set_config('payledger.$setting', '1', true)", '55P02', "set_config, payledger.$setting");
		app_fails("ALTER ROLE app SET payledger.$setting = '1'", '55P02', "for its role, payledger.$setting");
		app_fails("ALTER SYSTEM SET payledger.$setting = '1'", '42501', "for all, payledger.$setting");
	}
	# a name that payledger does not have cannot be prepared for a later version
	app_fails('SET payledger.base_url = $$https://evil.example$$', '42602', 'no placeholder');
	app_fails('ALTER ROLE app SET payledger.base_url = $$x$$', '42602', 'none for later');
	my ($code, $out, $err) = $node->psql('payledger', 'SELECT 1', connstr => $node->connstr('payledger') . " user=app options='-c payledger.gateway_secrets_file=/x'");
	like($err, qr/"payledger.gateway_secrets_file" cannot be changed now/, 'nor with the connection');
	is(sql($node, "SELECT count(*) FROM pg_settings WHERE name LIKE 'payledger.%' AND setting ~* '(sk|rk|whsec)_'"), 0, 'no setting holds one');
	is(sql($node, 'SELECT count(*) FROM pg_db_role_setting'), 0, 'nor is there one of a role or database');
	sql_fails($node, qq(SELECT payledger.add_gateway('x', 'stripe', '{"api_key": "sk_live_x"}')), '22023', 'must not hold a secret', 'nor an option');
};

subtest 'where they must not be' => sub {
	# they were logged, and asked for, in every way above
	my %sought = (
		'API key' => $psp->key, 'webhook key' => $PayledgerTest::WEBHOOK_SECRET, 'card number' => $pan, 'card number in groups' => $spaced,
		'card number of 15 digits' => $amex, 'card number with hyphens' => $cards[3]);
	my $log = substr(slurp_file($node->logfile), $log_start);
	my $activity = sql($node, "SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
	my $statements = sql($node, "SELECT string_agg(query, ' ') FROM pg_stat_statements");
	my ($dump, $worker) = ('', '');

	like($log, qr/DEBUG:/, 'the log was a loud one');
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr('payledger') ], '>', \$dump) or BAIL_OUT('pg_dump failed');
	for my $what (sort keys %sought)
	{
		my $found = qr/\Q$sought{$what}\E/;

		unlike($dump, $found, "$what: in no table");
		unlike($activity, $found, "$what: not in pg_stat_activity");
		unlike($statements, $found, "$what: not in pg_stat_statements") unless $what =~ /card/;
		my @lines = grep { /$found/ } split /\n/, $log;
		is(scalar @lines, 0, "$what: not in the log") or diag(join "\n", @lines[ 0 .. ($#lines < 4 ? $#lines : 4) ]);
	}
};

done_testing();
