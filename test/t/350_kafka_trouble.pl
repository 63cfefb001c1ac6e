# What is wrong with Kafka or its settings: the relay keeps running, says once
# what it is, tries again, and goes on by itself when it is put right.  In
# both modes of delivery.

use strict;
use warnings FATAL => 'all';

use PayledgerKafka;
use PayledgerRelay;
use PayledgerTest;
use PayledgerTrouble;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = PayledgerKafka->new(without_cursor => 1);
my $file = properties_file();
# a topic that is missing is so at once
my @good = ('topic.metadata.propagation.max.ms=500');

write_properties(@good);
my $node = trouble_node('trouble', $kafka, 'payledger.kafka_brokers' => $kafka->address);

# One after the other, each put right before the next.
sub file_is
{
	my ($name, $make, $pattern, $hint) = @_;

	$make->();
	set();
	complains($pattern, $hint, $name);
	set('payledger.kafka_config_file' => $file);
	unlink($file) || rmdir($file);
	write_properties(@good);
	set();
	goes_on($name);
	return;
}

my $bad_file = 'It must be a regular file of the user that runs the server, with mode 0600';

subtest 'the file of properties' => sub {
	events();
	goes_on('at first');

	file_is('an unknown property', sub { write_properties('no.such.property=1') },
		'Kafka property "no.such.property" may not be set in payledger.kafka_config_file', 'These may: batch.num.messages');
	file_is('a dangerous property', sub { write_properties('plugin.library.paths=/tmp/evil') },
		'Kafka property "plugin.library.paths" may not be set in payledger.kafka_config_file', 'These may: batch.num.messages');
	file_is('a property that delivery rests on', sub { write_properties('acks=0') },
		'Kafka property "acks" may not be set in payledger.kafka_config_file', 'These may: batch.num.messages');
	file_is('a value that makes no sense', sub { write_properties('socket.timeout.ms=none') },
		'invalid Kafka property "socket.timeout.ms"', 'Correct it in payledger.kafka_config_file');
	file_is('a line of another form', sub { write_properties('sasl.password: sesame==open') },
		'line 1 of payledger.kafka_config_file ".*" is not of the form name=value', 'comment');
	file_is('a file that is missing', sub { unlink $file },
		'could not open payledger.kafka_config_file ".*": No such file', $bad_file);
	file_is('a file that others can read', sub { chmod 0640, $file },
		'payledger.kafka_config_file ".*" is open to others', $bad_file);
	file_is("somebody else's file", sub { set('payledger.kafka_config_file' => '/etc/passwd') },
		'payledger.kafka_config_file "/etc/passwd" is not owned by the user that runs the server', $bad_file);
	file_is('a directory', sub { unlink $file; mkdir $file, 0700 },
		'payledger.kafka_config_file ".*" is not a regular file', $bad_file);
	file_is('a FIFO', sub { unlink $file; POSIX::mkfifo($file, 0600) },
		'payledger.kafka_config_file ".*" is not a regular file', $bad_file);
	file_is('bytes that are no text', sub { write_properties("client.id=\xff\xfe") },
		'payledger.kafka_config_file ".*" could not be read as text', $bad_file);
	POSIX::mkfifo("$file.fifo", 0600) or die "could not make a FIFO: $!\n";
	file_is('a certificate that is a FIFO', sub { write_properties("ssl.certificate.location=$file.fifo") },
		'invalid Kafka property "ssl.certificate.location"', 'Correct it in payledger.kafka_config_file');
	file_is('a link to a file that others can read',
		sub { write_properties(@good); rename $file, "$file.open"; chmod 0644, "$file.open"; symlink "$file.open", $file },
		'payledger.kafka_config_file ".*" is open to others', $bad_file);

	# as Kubernetes mounts secrets
	write_properties(@good);
	rename $file, "$file.real";
	symlink "$file.real", $file;
	connect_anew();
	events();
	goes_on('a link to a good file');

	write_properties('enable.idempotence=false');
	set();
	complains('Kafka property "enable.idempotence" may not be set', 'These may', 'as long as it is wrong');
	pauses(2, 'as long as it is wrong');
	write_properties(@good);
	goes_on('corrected without a reload');
};

my $repeated;
for my $mode (qw(at_least_once exactly_once))
{
	subtest $mode => sub {
		set('payledger.delivery' => $mode);
		if ($mode eq 'exactly_once')
		{
			complains('topic payledger.cursor does not exist',
				'Create it with a partition for each relay and cleanup.policy=compact: kafka-topics.sh --create --topic payledger.cursor --partitions 1 --config cleanup.policy=compact',
				'no topic for the cursor');
			$kafka->topic('payledger.cursor', 1, 'cleanup.policy=compact');
			goes_on('with the topic');
		}
		events();
		goes_on('at first');

		set('payledger.kafka_brokers' => '127.0.0.1:1');
		complains('no connection to Kafka: connection refused', 'Are the brokers running', 'nobody listens', 'may wait');
		set('payledger.kafka_brokers' => 'no-such-host.invalid:9092');
		complains('no connection to Kafka: the name of a broker could not be resolved', 'See payledger.kafka_brokers', 'no such host', 'may wait');
		set('payledger.kafka_brokers' => $kafka->address);
		goes_on('the broker');

		sql($node, "SELECT payledger.route_event('payment_intent_created', topic => 'extra.$mode')");
		complains("topic extra.$mode does not exist", "kafka-topics.sh --create --topic extra.$mode", 'a topic that is missing');
		pauses(2, 'a topic that is missing') if $mode eq 'at_least_once';
		$kafka->topic("extra.$mode", 1);
		$kafka->read_also("extra.$mode");
		goes_on('with the topic');
		is(scalar(my @there = $kafka->messages("extra.$mode")), 1, 'what waited for the topic is there, once');
		sql($node, "SELECT payledger.route_event('payment_intent_created')");

		set('payledger.topic_prefix' => "other.$mode");
		complains("topic other.$mode." . ($mode eq 'exactly_once' ? 'cursor' : 'payment') . ' does not exist', 'Create it', 'another prefix');
		set('payledger.topic_prefix' => 'payledger');
		goes_on('the prefix');

		if ($mode eq 'exactly_once')
		{
			$kafka->kill9;
			write_properties(@good, 'linger.ms=2');
			set();
			complains('no connection to Kafka: connection refused', 'Are the brokers running', 'a broker that is down', 'may wait');
			$kafka->up;
			goes_on('with the broker');
		}
		# at least once, what was under way when the settings changed may be sent again
		$repeated = $kafka->summary->{duplicates} if $mode eq 'at_least_once';
		check_exactly_once($node, $kafka, $mode, $repeated);
	};
}

subtest 'a relay without a partition for its cursor' => sub {
	$node->append_conf('postgresql.conf', 'payledger.relay_shards = 2');
	$node->restart;
	wait_sql($node, <<~'SQL', 'the second relay says what is wrong');
		SELECT failing AND last_error = 'topic payledger.cursor has fewer partitions (1) than there are relays (2)'
		  FROM payledger.stat_worker WHERE role = 'relay' AND shard = 1
		SQL
	like(slurp_file($node->logfile), qr/HINT:  .*kafka-topics.sh --alter --topic payledger.cursor --partitions 2/, 'with a hint');
};

keeps_secrets();
$node->stop;
done_testing();
