# TLS, client certificates, SASL and permissions with a real broker: what works,
# and what the relay says and does when something is wrong with it; compression,
# as it is on the broker's disk.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PayledgerTls;
use PayledgerTrouble;
use PostgreSQL::Test::Utils;
use Test::More;

my $tls = PayledgerTls->new;
my $kafka = PayledgerKafka->new(tls => $tls);
my ($certificate, $key, $ca) = $tls->certificate('relay', names => 'DNS:relay');
my $other_ca = PayledgerTls->new->{ca_file};
my $locked_key = "$key.locked";

system_or_bail('openssl', 'pkcs8', '-topk8', '-in', $key, '-out', $locked_key, '-passout', 'pass:key-sesame');

my @tls = ('security.protocol=ssl', "ssl.ca.location=$ca");
my @mtls = (@tls, "ssl.certificate.location=$certificate", "ssl.key.location=$key");
my @sasl_ssl = ('security.protocol=sasl_ssl', "ssl.ca.location=$ca", 'sasl.username=relay');
my @plain = (@sasl_ssl, 'sasl.mechanism=PLAIN', 'sasl.password=open-sesame');

sub scram { return (@sasl_ssl, "sasl.mechanism=SCRAM-SHA-$_[0]", 'sasl.password=' . ($_[1] // 'open-sesame')) }

sub replace
{
	my ($path, $text) = @_;

	unlink $path;
	append_to_file($path, $text);
	return;
}

# Permissions of the relay's user.
sub allow { $kafka->acl('allow', 'relay', @$_) for @_; return }
sub revoke { $kafka->acl('revoke', 'relay', @$_) for @_; return }

my $write_events = [ 'topic', 'payledger.*', 'WRITE' ];
my $read_cursor = [ 'topic', 'payledger.cursor', 'READ' ];
my $transact = [ 'transactional_id', 'payledger.*', 'WRITE', 'DESCRIBE' ];

# What the relay is told to use: a listener, with these properties.
sub use_listener
{
	my ($listener, @properties) = @_;

	# a topic that is missing is so at once
	write_properties('topic.metadata.propagation.max.ms=500', @properties);
	return ('payledger.kafka_brokers' => $kafka->address($listener));
}

sub works
{
	my ($name, $listener, @properties) = @_;

	connect_anew(use_listener($listener, @properties));
	events();
	goes_on($name);
	return;
}

# Wrong properties, and how they are put right.
sub is_wrong
{
	my ($name, $listener, $properties, $pattern, $hint, $good) = @_;

	set(use_listener($listener, @$properties));
	complains($pattern, $hint, $name, $pattern =~ /closed it/);
	works("$name: corrected", @$good);
	return;
}

write_properties(@plain);
my $node = trouble_node('secured', $kafka, 'payledger.kafka_brokers' => $kafka->address('SASL_SSL'));

subtest 'permissions, at least once' => sub {
	complains('no permission for topic payledger.payment', 'WRITE and DESCRIBE on it: kafka-acls.sh --add --topic payledger.payment', 'none at all');
	allow([ 'topic', 'payledger.*', 'DESCRIBE' ]);
	complains('no permission to publish with an idempotent producer', 'IDEMPOTENT_WRITE on the cluster', 'not in this cluster');
	allow($write_events);
	goes_on('may write');
	revoke([ 'topic', 'payledger.*', 'DESCRIBE' ]);

	revoke($write_events);
	allow([ 'topic', 'payledger.payout', 'WRITE' ]);
	complains('no permission for topic payledger.payment', 'WRITE and DESCRIBE on it: kafka-acls.sh --add --topic payledger.payment', 'not this topic');
	pauses(2, 'not this topic');
	allow($write_events);
	goes_on('may write again');
};

my $repeated;
subtest 'TLS and SASL, at least once' => sub {
	my $good_plain = [ 'SASL_SSL', @plain ];
	my $good_mtls = [ 'SSL', @mtls ];

	works('a client certificate', @$good_mtls);
	works('a client certificate whose key is encrypted', 'SSL',
		@tls, "ssl.certificate.location=$certificate", "ssl.key.location=$locked_key", 'ssl.key.password=key-sesame');
	# the same names, another certificate in the file
	my $good_certificate = slurp_file($certificate);
	my ($foreign) = PayledgerTls->new->certificate('relay', names => 'DNS:relay');
	works('a certificate that will be replaced', @$good_mtls);
	replace($certificate, slurp_file($foreign));
	set();
	complains('could not create a Kafka producer: ', 'Correct payledger.kafka_config_file', 'a certificate that does not fit its key');
	replace($certificate, $good_certificate);
	set();
	goes_on('the right one');
	is_wrong('the wrong password of a key', 'SSL',
		[ @tls, "ssl.certificate.location=$certificate", "ssl.key.location=$locked_key", 'ssl.key.password=wrong-sesame' ],
		'could not create a Kafka producer: ', 'Correct payledger.kafka_config_file', $good_mtls);
	is_wrong('no client certificate', 'SSL', [@tls],
		'no connection to Kafka: the broker refused the TLS connection', 'ssl.certificate.location', $good_mtls);
	is_wrong('a wrong authority', 'SASL_SSL', [ @plain, "ssl.ca.location=$other_ca" ],
		q(no connection to Kafka: the broker's certificate could not be verified), 'signed by an authority in ssl.ca.location', $good_plain);
	is_wrong('a certificate of another host', 'OTHER', [@tls],
		q(no connection to Kafka: the broker's certificate could not be verified), 'name the host', $good_plain);
	is_wrong('an authority that is not there', 'SASL_SSL', [ @plain, 'ssl.ca.location=/no/such/ca' ],
		'could not read file "/no/such/ca" of Kafka property "ssl.ca.location": No such file', 'readable', $good_plain);
	chmod 0, $other_ca;
	is_wrong('an authority that may not be read', 'SASL_SSL', [ @plain, "ssl.ca.location=$other_ca" ],
		'could not read file ".*ca.crt" of Kafka property "ssl.ca.location": Permission denied', 'readable', $good_plain);
	chmod 0600, $other_ca;
	is_wrong('no TLS where there is', 'SSL', [],
		'no connection to Kafka: the broker closed it without an answer', 'Does the listener expect TLS', $good_plain);
	is_wrong('TLS where there is none', 'PLAINTEXT', [@tls],
		'no connection to Kafka: the TLS handshake failed', 'Is it a listener with TLS', $good_plain);
	is_wrong('no SASL where there is', 'SASL_SSL', [@tls],
		'no connection to Kafka: the broker closed it at once', 'Does the listener expect SASL', $good_plain);
	is_wrong('a wrong password', 'SASL_SSL', [ @sasl_ssl, 'sasl.mechanism=PLAIN', 'sasl.password=wrong-sesame' ],
		'no connection to Kafka: authentication failed', 'See sasl.mechanism, sasl.username and sasl.password', $good_plain);
};

subtest 'with nothing to publish' => sub {
	set(use_listener('SASL_SSL', @sasl_ssl, 'sasl.mechanism=PLAIN', 'sasl.password=idle-wrong-sesame'));
	wait_sql($node, q(SELECT waiting_events = 0 AND relay_failing AND last_error = 'no connection to Kafka: authentication failed' FROM payledger.stat_outbox),
		'it says what is wrong before there is an event');
	connect_anew(use_listener('SASL_SSL', @plain));
	wait_sql($node, 'SELECT waiting_events = 0 AND NOT relay_failing FROM payledger.stat_outbox', 'and that it is over');
	pass('without events');
};

subtest 'compression' => sub {
	my %known = map { $_->[0] => 1 } $kafka->batches('payledger.payment');

	for my $codec (qw(zstd lz4 gzip snappy none))
	{
		connect_anew(use_listener('SASL_SSL', @plain, "compression.codec=$codec"));
		sql($node, 'SELECT public.append_events(k, k, 300) FROM generate_series(10, 30) k');
		events();
		goes_on($codec);
		my @new = grep { !$known{ $_->[0] }++ } $kafka->batches('payledger.payment');
		cmp_ok(scalar(@new), '>', 0, "$codec: there are new batches");
		is(join(' ', grep { $_ ne $codec } map { $_->[1] } @new), '', "$codec: every batch is compressed so");
	}
	# what was under way when the settings changed may be sent again
	$repeated = $kafka->summary->{duplicates};
	check_exactly_once($node, $kafka, 'at least once', $repeated);
};

subtest 'exactly once' => sub {
	revoke($write_events);
	set(use_listener('SASL_SSL', @plain), 'payledger.delivery' => 'exactly_once');
	allow([ 'topic', $_, 'WRITE' ]) for qw(payledger.ledger payledger.payout payledger.cursor);
	complains('no permission for topic payledger.cursor', 'READ, WRITE and DESCRIBE on it', 'may not read the cursor');
	allow($read_cursor);
	# not to wait for the end of a pause
	set();
	complains(q(no permission for the relay's transactional id), 'WRITE and DESCRIBE on transactional ids', 'no transactional id');
	allow($transact);
	set();
	complains('no permission for topic payledger.payment', 'WRITE and DESCRIBE on it', 'not this topic');
	allow([ 'topic', 'payledger.payment', 'WRITE' ]);
	set();
	goes_on('may write again');

	is_wrong('a wrong password', 'SASL_SSL', [ @sasl_ssl, 'sasl.mechanism=PLAIN', 'sasl.password=other-wrong-sesame' ],
		'no connection to Kafka: authentication failed', 'See sasl.mechanism', [ 'SASL_SSL', @plain ]);
	is_wrong('a wrong authority', 'SSL', [ @mtls, "ssl.ca.location=$other_ca" ],
		q(no connection to Kafka: the broker's certificate could not be verified), 'ssl.ca.location', [ 'SSL', @mtls ]);

	my %known = map { $_->[0] => 1 } $kafka->batches('payledger.payment');
	works('zstd', 'SSL', @mtls, 'compression.codec=zstd');
	is(join(' ', sort map { $_->[1] } grep { !$known{ $_->[0] } } $kafka->batches('payledger.payment')) =~ s/zstd\K( zstd)*//r, 'zstd',
		'transactions are compressed, too');
	check_exactly_once($node, $kafka, 'exactly once', $repeated);
	check_cursor_chain($kafka, 'exactly once');
};

subtest 'SCRAM' => sub {
	my ($version) = qx(kcat -V) =~ /librdkafka (\d+\.\d+\.\d+)/;
	my ($major, $minor, $patch) = split /\./, $version;
	my $is_old = sprintf('%d%03d%03d', $major, $minor, $patch) < 2006001;

	if ($is_old)
	{
		set(use_listener('SASL_SSL', scram(256)));
		complains('no connection to Kafka: authentication with SCRAM failed', "SCRAM as librdkafka \Q$version\E speaks it", "librdkafka $version");
		my $newer = qx($PayledgerTest::TEST_DIR/kafka/newer-librdkafka);
		chomp $newer;
		$node->stop;
		local $ENV{LD_PRELOAD} = $newer;
		$node->start;
	}
	works('SCRAM-SHA-256', 'SASL_SSL', scram(256));
	is_wrong('a wrong password, SCRAM-SHA-256', 'SASL_SSL', [ scram(256, 'third-wrong-sesame') ],
		'no connection to Kafka: authentication with SCRAM failed', 'See sasl.mechanism', [ 'SASL_SSL', scram(512) ]);
	is_wrong('a wrong password, SCRAM-SHA-512', 'SASL_SSL', [ scram(512, 'fourth-wrong-sesame') ],
		'no connection to Kafka: authentication with SCRAM failed', 'See sasl.mechanism', [ 'SASL_SSL', scram(512) ]);
	check_exactly_once($node, $kafka, 'SCRAM', $repeated);
};

keeps_secrets();
$node->stop;
done_testing();
