# Whose a key is, and where it goes, says the secrets file alone: not another
# database, not another gateway, not who may change a gateway's options.  And a
# file that cannot be read takes no key away.
#
# A thief listens; nobody may ever ask it anything.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP;
use PayledgerImpostor;
use PayledgerPsp;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use POSIX qw(mkfifo);
use Test::More;

my $OTHER = 'odd/na "me';
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $dir = PostgreSQL::Test::Utils::tempdir('secrets');
my $psp = PayledgerPsp->new;
my $own = "127.0.0.1:$psp->{port}";
my $thief = PayledgerImpostor->new(sub { syswrite($_[0], PayledgerImpostor::reply(200, '{}')); return 1 });
my $node = new_node('secrets', 'payledger.databases' => 'payledger, "odd/na ""me"');
my $file = $node->basedir . '/secrets';
my %secret = (stripe => 'whsec_of_payledger', other => 'whsec_of_other');
my $section = "[payledger/stripe]\nhost = $own\napi_key = ${\$psp->key}\nwebhook_secret = $secret{stripe}\n";

# The other tenant: a role that may do with gateways of its database what it likes.
sub other
{
	my ($sql) = @_;

	return $node->safe_psql($OTHER, $sql, connstr => "host='${\$node->host}' port='${\$node->port}' dbname='$OTHER'");
}

sub write_file
{
	my ($text, $mode) = @_;

	unlink $file;
	append_to_file($file, $text);
	chmod($mode // 0600, $file);
	return;
}

my $reloads = 0;

# Reloads the configuration; returns when this database's gateway worker has read
# the secrets, with where the log ended before.
sub reload
{
	my $log = -s $node->logfile;

	$node->append_conf('postgresql.conf', 'payledger.gateway_concurrency = ' . (256 + ++$reloads));
	$node->reload;
	wait_sql($node, "SELECT current_setting('payledger.gateway_concurrency') = '${\(256 + $reloads)}'", 'the configuration is loaded');
	# it was signalled before this session began, and looks at signals between turns: one
	# leases the request, a later one stores its outcome
	create_authorized($node, 'pm_ok', [1], gateway => 'sandbox');
	return $log;
}

# Waits until stat_gateway says this of a gateway, '' for nothing.
sub says
{
	my ($gateway, $pattern, $name) = @_;
	my $condition = $pattern eq '' ? 'problem IS NULL' : "problem ~ '$pattern'";

	wait_sql($node, "SELECT $condition FROM payledger.stat_gateway WHERE gateway = '$gateway'", $name);
	pass($name);
	return;
}

# A webhook of Stripe's as SQL, signed with this secret.
my $events = 0;

sub webhook
{
	my ($secret) = @_;
	my $body = $json->encode({ id => 'evt_' . ++$events, object => 'event', type => 'balance.available', created => time(), data => { object => {} } });
	my $at = time();
	my $headers = $json->encode({ 'Stripe-Signature' => "t=$at,v1=" . hmac_sha256_hex("$at.$body", $secret) });

	return "SELECT payledger.receive_webhook('stripe', '$headers', '$body')";
}

# What a statement of the other tenant fails with; '' if it does not.
sub other_error
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', "host='${\$node->host}' port='${\$node->port}' dbname='$OTHER'", '-c', $sql ],
		'<', \undef, '>', \$out, '2>', \$err);
	return $err =~ /ERROR:\s+(\S+)/ ? $1 : '';
}

my %fast = (timeout_ms => 1000, connect_timeout_ms => 1000, lease_seconds => 6, retry_base_ms => 20, retry_max_ms => 100,
	rate_per_second => 0, endpoint_rate_per_second => 0, circuit_failures => 0, backfill_seconds => 0);

sub add
{
	my ($name, $url, %more) = @_;

	return "SELECT payledger.add_gateway('$name', 'stripe', '" . $json->encode({ %fast, base_url => $url, %more }) . "')";
}

sub alter
{
	my ($url, %more) = @_;

	return "SELECT payledger.alter_gateway('stripe', '" . $json->encode({ base_url => $url, %more }) . "')";
}

sub move
{
	my ($url, %more) = @_;

	sql($node, alter($url, %more));
	return;
}

write_file($section);
$node->append_conf('postgresql.conf', "payledger.gateway_secrets_file = '$file'");
sql($node, "SELECT payledger.add_gateway('sandbox', 'sandbox')");
reload();
sql($node, add('stripe', $psp->url('')));
says('stripe', '', 'with its key the gateway is ready');
settle($node);

subtest 'a gateway that is led elsewhere' => sub {
	for my $url ($thief->url, "http://localhost:$psp->{port}", "http://127.0.0.2:$psp->{port}", 'https://api.stripe.com')
	{
		my ($host) = $url =~ m{//(.*)};

		$host .= ':443' unless $host =~ /:/;
		my $asked = $psp->stats->{requests};
		move($url);
		says('stripe', qq{gateway "stripe" is at $host, which is no host of its section .payledger/stripe.}, "$url: it says so");
		my $id = pay($node, 'pm_card_visa', [500], gateway => 'stripe');
		# another gateway is served in the same turns
		create_authorized($node, 'pm_ok', [500], gateway => 'sandbox');
		is(sql($node, "SELECT status, attempt FROM payledger.psp_requests WHERE payment_id = $id"), 'READY|0', 'nothing is sent');
		is($psp->stats->{requests} - $asked, 0, 'nor to the PSP by another name');
	}
	# one that starts asks for the list of events at once
	move($thief->url, backfill_seconds => 1);
	my $former = signal_worker($node, 'gateway', 'TERM');
	wait_for(sub { my $now = worker_pid($node, 'gateway'); $now && $now != $former }, 'there is another worker', $node);
	says('stripe', 'is no host', 'another worker says so, too');
	create_authorized($node, 'pm_ok', [500], gateway => 'sandbox');
	like(sql($node, q{SELECT last_error FROM payledger.stat_worker WHERE role = 'gateway' AND failing}), qr/it gets no key/, 'it is failing');
	move($psp->url(''), backfill_seconds => 0);
	settle($node);
	is(sql($node, "SELECT count(*) FROM payledger.payments p JOIN payledger.payment_intents i ON i.payment_intent_id = p.payment_id"
			  . " WHERE i.gateway = 'stripe' AND p.status = 'CAPTURED'"), 4, 'led back, it is asked for all that waited');
	check_psp($node, $psp, 'after that');
};

subtest 'another gateway of the database' => sub {
	for my $url ($thief->url, $psp->url(''))
	{
		sql($node, add('second', $url));
		says('second', 'is no host of its section', "$url: no key");
		sql($node, q{DELETE FROM payledger.gateways WHERE gateway = 'second'});
	}
	sql($node, add('second', 'https://api.stripe.com'));
	says('second', 'no api_key for gateway "second" in section .payledger/second.', 'nor at the adapter\'s own host');
};

subtest 'another database' => sub {
	other('CREATE EXTENSION payledger; SELECT payledger.setup();');
	other(add('stripe', $thief->url, backfill_seconds => 1));
	my $condition = q{SELECT problem LIKE '%is no host of its section ["odd/na ""me"/stripe]%' FROM payledger.stat_gateway WHERE gateway = 'stripe'};

	wait_for(sub { other($condition) eq 't' }, 'it says why', $node);
	other(q{SELECT payledger.register_seller('S', 'EUR')});
	other(q{SELECT payledger.request_authorization(payment_intent_id, 'pm_card_visa') FROM payledger.create_payment_intent('O', 'B', 'EUR',
			'[{"seller_id": "S", "amount": 5}]', gateway => 'stripe')});
	other(alter($psp->url('')));
	wait_for(sub { other($condition =~ s/is no host/is at $own, which is no host/r) eq 't' }, 'nor at that PSP', $node);
	is(other('SELECT status, attempt FROM payledger.psp_requests'), 'READY|0', 'its gateway of the same name gets no key');
	is(other_error(webhook($secret{stripe})), '55000', 'nor is a webhook of that gateway known by it');

	write_file("$section\n[\"odd/na \"\"me\" / stripe ]\nhost = $own\napi_key = sk_of_other\nwebhook_secret = $secret{other}\n");
	reload();
	wait_for(sub { other_error(webhook($secret{other})) eq '' }, 'its own key proves a webhook', $node);
	is(other_error(webhook($secret{stripe})), 'PL012', 'another database\'s does not');
	sql_fails($node, webhook($secret{other}), 'PL012', 'refused', 'nor its own one there');
	sql($node, webhook($secret{stripe}));
	other(alter('https://api.stripe.com'));
	wait_for(sub { other($condition =~ s/is no host/is at api.stripe.com:443, which is no host/r) eq 't' }, 'the adapter\'s host is none once others are given', $node);
};

# How often a text is in the memory of a gateway worker that is its own.
sub in_memory
{
	my ($database, $text) = @_;
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'payledger gateway' AND datname = '$database'");
	my $n = 0;

	open(my $memory, '<:raw', "/proc/$pid/mem") or die "could not open its memory: $!\n";
	for my $map (grep { / rw-p / } split /\n/, slurp_file("/proc/$pid/maps"))
	{
		no warnings 'portable';
		my ($from, $to) = map { hex } $map =~ /^(\w+)-(\w+)/;
		my $bytes = '';

		next if $to - $from > 1 << 30;	# AddressSanitizer's marks: address space that no memory could fill
		sysseek($memory, $from, 0) && sysread($memory, $bytes, $to - $from);
		$n += () = $bytes =~ /\Q$text\E/g;
	}
	close $memory;
	return $n;
}

subtest 'what a worker keeps' => sub {
	my $key = 'sk_kept_nowhere_else';

	write_file("$section\n[payledger/unused]\napi_key = $key\n");
	reload();
	is(in_memory('payledger', $key), 1, 'the key of its own database, once');
	is(in_memory($OTHER =~ s/'/''/gr, $key), 0, 'not that of another');
	write_file($section);
	reload();
	is(in_memory('payledger', $key), 0, 'none that is gone');
};

# How often this database's worker complained about the file since a position of the log.
sub complaints
{
	my ($log) = @_;

	return scalar(() = substr(slurp_file($node->logfile), $log) =~
		  /WARNING:  payledger gateway: gateway secrets file.*\n.*CONTEXT:  payledger gateway of database payledger$/mg);
}

subtest 'a file that cannot be read' => sub {
	my $fifo = "$dir/fifo";
	my %wrong = (
		'a section without an end' => [ sub { write_file("$section\n[payledger/adyen\napi_key = x\n") }, 'line 6 is no section; one is .database.gateway.' ],
		'a section without a database' => [ sub { write_file("$section\n[adyen]\napi_key = x\n") }, 'line 6 names no database; a section is .database.gateway.' ],
		'a section twice' => [ sub { write_file("$section\n$section") }, 'line 6 begins a section that was there already' ],
		'a line that is none' => [ sub { write_file("$section\nsk_live_oops\n") }, 'line 6 is neither a section nor' ],
		'a name that is none' => [ sub { write_file("$section\napi_kye = x\n") }, 'line 6 has a name that is none of' ],
		'a key twice' => [ sub { write_file("${section}api_key = x\n") }, 'line 5 gives api_key a second time' ],
		'a key with a blank' => [ sub { write_file("[payledger/x]\napi_key = a b\n$section") }, 'line 2 gives api_key a value that is not one word' ],
		'a URL for a host' => [ sub { write_file("$section\nhost = https://api.stripe.com/\n") }, 'line 6 gives no host' ],
		'a port that is none' => [ sub { write_file("$section\nhost = x:99999\n") }, 'line 6 gives no host' ],
		'no file of authorities' => [ sub { write_file("$section\n[payledger/x]\nca_file = /nowhere\n") }, 'section .payledger/x.: ca_file "/nowhere" cannot be opened: No such file' ],
		'a FIFO of authorities' => [ sub { write_file("$section\n[payledger/x]\nca_file = $fifo\n") }, 'section .payledger/x.: ca_file ".*" is not a regular file' ],
		'mode 0640' => [ sub { write_file($section, 0640) }, 'may be read or written by others' ],
		'no file' => [ sub { unlink $file }, 'cannot be opened: No such file' ],
		'a folder' => [ sub { unlink $file; mkdir $file }, 'is not a regular file' ],
		'a FIFO' => [ sub { unlink $file; mkfifo($file, 0600) }, 'is not a regular file' ],
		'a device' => [ sub { unlink $file; symlink '/dev/zero', $file }, 'is not a regular file' ],
		'a file of 65 kB' => [ sub { write_file($section . '#' x 66_000 . "\n") }, 'is larger than 64 kB' ],
		'NUL' => [ sub { write_file("$section\0\n") }, 'cannot be read as text' ]);

	mkfifo($fifo, 0600) or die "no FIFO: $!\n";
	for my $name (sort keys %wrong)
	{
		my ($spoil, $pattern) = @{ $wrong{$name} };

		rmdir $file;
		$spoil->();
		my $log = reload();
		says('stripe', "secrets file \".*\" $pattern.*; what was read before still counts", "$name: it says so");
		is(complaints($log), 1, 'the log, too');
		is(complaints(reload()), 1, 'again with each reload');
		like(sql($node, q{SELECT last_error FROM payledger.stat_worker WHERE role = 'gateway' AND failing}), qr/what was read before still counts/, 'it is failing');
	}
	my $id = create_authorized($node, 'pm_card_visa', [500], gateway => 'stripe');
	settle($node);
	is(sql($node, "SELECT status FROM payledger.payments WHERE payment_id = $id"), 'CAPTURED', 'the keys that were read before go on');
	like(sql($node, webhook($secret{stripe})), qr/evt_/, 'those of webhooks, too');
	is(sql($node, q{SELECT failing FROM payledger.stat_worker WHERE role = 'gateway'}), 't', 'success with a request mends no file');

	# a worker that starts takes what is right
	write_file("$section\n[payledger/second\napi_key = x\n\n[payledger/third]\napi_key = y\nhost = *\n");
	my $former = signal_worker($node, 'gateway', 'TERM');
	wait_for(sub { my $now = worker_pid($node, 'gateway'); $now && $now != $former }, 'there is another worker', $node);
	says('stripe', 'line 6 is no section.*; its sections that are right count', 'a worker that starts says so');
	says('second', 'line 6 is no section', 'for a gateway without its key it is the reason');
	$id = create_authorized($node, 'pm_card_visa', [500], gateway => 'stripe');
	settle($node);
	is(sql($node, "SELECT status FROM payledger.payments WHERE payment_id = $id"), 'CAPTURED', 'and takes the sections that are right');
	like(sql($node, webhook($secret{stripe})), qr/evt_/, 'with webhooks');

	write_file($section);
	is(complaints(reload()), 0, 'a file that is right');
	says('stripe', '', 'all is well again');
	sql($node, q{DELETE FROM payledger.gateways WHERE gateway = 'second'});
	wait_sql($node, q{SELECT NOT failing FROM payledger.stat_worker WHERE role = 'gateway'}, 'the worker is no longer failing');
	write_file('');
	reload();
	says('stripe', 'is no host of its section', 'an empty file takes the keys away');
	sql_fails($node, webhook($secret{stripe}), '55000', 'section .payledger/stripe.', 'those of webhooks, too');
};

subtest 'a key that was changed' => sub {
	my @keys = map { "sk_former_number_$_" } 0 .. 9;
	# a PSP that knows them all, and says so
	my $parrot = PayledgerImpostor->new(
		sub {
			my ($socket, $request) = @_;
			my ($id) = "$request->{path} $request->{body}" =~ s/%../ /gr =~ /(\d{15,})/;
			my ($key) = "$request->{path} $request->{body}" =~ /(pl_\d+_[0-9a-f]{8})/;

			syswrite($socket, $request->{body} =~ /payment_method=pm_decline/
				? PayledgerImpostor::reply(402, $json->encode({ error => { type => 'card_error', code => 'x', message => "@keys" } }))
				: PayledgerImpostor::reply(200, $json->encode({ id => "pi_$keys[1]", object => 'payment_intent', status => 'requires_capture', amount => 500,
						amount_capturable => 500, currency => 'eur', metadata => { payment_id => $id, request => $key } })));
			return 1;
		});
	my ($host) = $parrot->url =~ m{//(.*)};

	for my $key (@keys)
	{
		write_file("$section\n[payledger/parrot]\nhost = $host\napi_key = $key\n");
		reload();
	}
	is(in_memory('payledger', $keys[8]), 0, 'it is not kept');
	sql($node, add('parrot', $parrot->url));
	my $id = create_authorized($node, 'pm_decline', [500], gateway => 'parrot');
	is(sql($node, "SELECT reply_message FROM payledger.psp_requests WHERE payment_id = $id"), join(' ', $keys[0], ('*' x length $keys[0]) x 9),
		'and hidden nevertheless, the last eight of them');
	$id = pay($node, 'pm_reference', [500], gateway => 'parrot');
	wait_sql($node, "SELECT attempt > 2 FROM payledger.psp_requests WHERE payment_id = $id", 'it was tried');
	# while an attempt is under way the row still says what came of the last one
	is(sql($node, "SELECT reply_code, psp_reference IS NULL FROM payledger.psp_requests WHERE payment_id = $id"), 'reference_refused|t', 'it is no reference of a payment');
};

# A PSP sends the shopper to a page, and its address or what goes with it repeats
# the key, written as encoders of JSON do or may.
subtest 'a key in what the shopper has to do' => sub {
	my $secret = 'sk/with"what\\JSON/escapes';
	my $magpie = PayledgerImpostor->new(
		sub {
			my ($socket, $request) = @_;
			my ($id) = $request->{body} =~ s/%../ /gr =~ /(\d{15,})/;
			my ($key) = $request->{body} =~ /(pl_\d+_[0-9a-f]{8})/;
			my $plain = $secret =~ s/(["\\])/\\$1/gr;
			my $slashes = $plain =~ s{/}{\\/}gr;
			my $codes = join '', map { sprintf '\\u%04X', ord } split //, $secret;

			syswrite($socket, PayledgerImpostor::reply(200, qq({"id":"pi_$key","object":"payment_intent","status":"requires_action","amount":500,"currency":"eur",)
					  . qq("metadata":{"payment_id":"$id","request":"$key"},"next_action":{"plain":"$plain","slashes":"$slashes","codes":"$codes"}})));
			return 1;
		});
	my ($host) = $magpie->url =~ m{//(.*)};

	write_file("$section\n[payledger/magpie]\nhost = $host\napi_key = $secret\n");
	reload();
	sql($node, add('magpie', $magpie->url));
	my $id = pay($node, 'pm_card_visa', [500], gateway => 'magpie');
	wait_sql($node, "SELECT status = 'REQUIRES_ACTION' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'the shopper has to act');
	is(sql($node, "SELECT string_agg(key || ' ' || rtrim(value, '*'), ', ' ORDER BY key) FROM payledger.payment_intents, jsonb_each_text(next_action) WHERE payment_intent_id = $id"),
		'codes , plain , slashes ', 'each is asterisks only');
	sql($node, "SELECT payledger.cancel_payment_intent($id)");

	write_file("$section\n[payledger/magpie]\nhost = $host\napi_key = sk_that_came_after\n");
	reload();
	$id = pay($node, 'pm_card_visa', [500], gateway => 'magpie');
	wait_sql($node, "SELECT status = 'REQUIRES_ACTION' FROM payledger.payment_intents WHERE payment_intent_id = $id", 'the shopper has to act again');
	is(sql($node, "SELECT string_agg(key || ' ' || rtrim(value, '*'), ', ' ORDER BY key) FROM payledger.payment_intents, jsonb_each_text(next_action) WHERE payment_intent_id = $id"),
		'codes , plain , slashes ', 'a key that was changed meanwhile is, too');
	sql($node, "SELECT payledger.cancel_payment_intent($id)");
};

is(join("\n", map { $_->{head} } $thief->requests), '', 'nobody ever asked the thief');
my $log = slurp_file($node->logfile);
unlike($log, qr/\Q$_\E/, 'the log holds no secret') for $psp->key, values %secret, 'sk_of_other', 'sk_live_oops';

done_testing();
