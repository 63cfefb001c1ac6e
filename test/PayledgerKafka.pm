# A real Kafka broker with payledger's topics, and what is on them.
package PayledgerKafka;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils ();
use Test::More;

my $home = dirname(abs_path(__FILE__)) . '/kafka';
my @topics = map { "payledger.$_" } qw(payment ledger payout);
my @brokers;

-x "$home/$_" or BAIL_OUT("no $home/$_, run make -C $home first") for qw(consume create-topic delete-topic fence stop-point.so);

# Runs a program; returns its exit code and what it wrote.
sub _run
{
	my (@command) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $out, $err);
}

sub new
{
	my ($class, %options) = @_;
	my $self = bless { dir => PostgreSQL::Test::Utils::tempdir('kafka'), topics => [@topics] }, $class;

	push @brokers, $self;
	my ($port, $proxy_port) = _free_ports(2);
	$self->_broker('start', $port, $options{proxy} ? "advertised.listeners=PLAINTEXT://127.0.0.1:$proxy_port" : (),
		# of clients whose clock is years ahead, too
		$options{any_time} ? 'log.message.timestamp.after.max.ms=9223372036854775807' : (),
		$options{tls} ? $self->_secured($port, $options{tls}) : ());
	if ($options{proxy})
	{
		$self->{cut_file} = "$self->{dir}/cut";
		my $out = '';
		$self->{proxy} = IPC::Run::start([ "$home/proxy", $proxy_port, $port, $self->{cut_file} ], '>', \$out);
		IPC::Run::pump($self->{proxy}) until $out =~ /ready/;
	}
	_slurp("$self->{dir}/bootstrap") =~ /^(127\.0\.0\.1:\d+)$/m or BAIL_OUT('the Kafka broker says no address');
	$self->{address} = $1;
	$self->_broker('topic', $_, $options{partitions} // 4, @{ $options{settings} // [] }) for @topics;
	$self->_broker('topic', 'payledger.cursor', $options{cursor_partitions} // 1, 'cleanup.policy=compact') unless $options{without_cursor};
	return $self;
}

# What makes a broker that also has listeners with TLS, and asks who may do what;
# nobody but clients without TLS may do anything.  SSL wants a certificate of its
# clients, SASL_SSL knows "relay" with the password "open-sesame", OTHER has the
# certificate of another host.
sub _secured
{
	my ($self, $port, $tls) = @_;
	my %ports = (PLAINTEXT => $port);
	my $jaas = 'org.apache.kafka.common.security';

	@ports{qw(CONTROLLER SSL SASL_SSL OTHER)} = _free_ports(4);
	$self->{addresses} = { map { $_ => "127.0.0.1:$ports{$_}" } keys %ports };
	my %listeners = map { $_ => "$_://127.0.0.1:$ports{$_}" } keys %ports;
	my ($keys, $other_keys) = map { $self->_pem($tls->certificate($_->[0], names => $_->[1])) }
	  [ 'broker', 'IP:127.0.0.1,DNS:127.0.0.1' ], [ 'other', 'DNS:other.example' ];
	return (
		'listeners=' . join(',', values %listeners),
		'advertised.listeners=' . join(',', map { $listeners{$_} } grep { $_ ne 'CONTROLLER' } keys %listeners),
		"controller.quorum.voters=1\@127.0.0.1:$ports{CONTROLLER}",
		'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,OTHER:SSL',
		'ssl.keystore.type=PEM',
		"ssl.keystore.location=$keys",
		'ssl.truststore.type=PEM',
		"ssl.truststore.location=$tls->{ca_file}",
		'ssl.principal.mapping.rules=RULE:^CN=([^,]+)$/$1/',
		'listener.name.ssl.ssl.client.auth=required',
		'listener.name.other.ssl.keystore.type=PEM',
		"listener.name.other.ssl.keystore.location=$other_keys",
		'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
		"listener.name.sasl_ssl.plain.sasl.jaas.config=$jaas.plain.PlainLoginModule required user_relay=\"open-sesame\";",
		map({ "listener.name.sasl_ssl.$_.sasl.jaas.config=$jaas.scram.ScramLoginModule required;" } qw(scram-sha-256 scram-sha-512)),
		'user:relay=open-sesame',
		'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'super.users=User:ANONYMOUS');
}

# A certificate and its key in one file, as Kafka likes it.
sub _pem
{
	my ($self, $certificate, $key) = @_;
	my $file = "$certificate.pem";

	PostgreSQL::Test::Utils::append_to_file($file, _slurp($key) . _slurp($certificate));
	return $file;
}

# Ports that nobody listens on, below those that clients get.
sub _free_ports
{
	my ($n) = @_;
	my @held;

	while (@held < $n)
	{
		my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 20000 + int(rand(10000))) // next;
		push @held, $socket;
	}
	return map { $_->sockport } @held;
}

sub _slurp
{
	return PostgreSQL::Test::Utils::slurp_file(@_);
}

# A command of test/kafka/broker.  Without a broker there is nothing to test.
sub _broker
{
	my ($self, $command, @arguments) = @_;
	my ($code, $out, $err) = _run("$home/broker", $command, $self->{dir}, @arguments);

	BAIL_OUT("broker $command: $out$err") unless $code == 0;
	return;
}

# host:port, for payledger.kafka_brokers; of a listener of new(tls => ...), or the one without TLS
sub address
{
	my ($self, $listener) = @_;
	return defined $listener ? $self->{addresses}{$listener} : $self->{address};
}

sub up { my ($self) = @_; $self->_broker('start'); return }
sub kill9 { my ($self) = @_; $self->_broker('kill'); return }
sub pause { my ($self) = @_; $self->_broker('pause'); return }
# Cuts and mends the network between the broker and everybody else; needs new(proxy => 1).
sub cut { my ($self) = @_; PostgreSQL::Test::Utils::append_to_file($self->{cut_file}, ''); return }
sub mend { my ($self) = @_; unlink $self->{cut_file}; return }
sub resume { my ($self) = @_; $self->_broker('resume'); return }

# Makes a topic; more arguments are its settings, name=value.
sub topic
{
	my ($self, @arguments) = @_;
	$self->_broker('topic', @arguments);
	return;
}

sub delete_topic
{
	my ($self, $topic) = @_;
	my ($code, $out, $err) = _run("$home/delete-topic", $self->{address}, $topic);

	die "could not delete $topic: $err\n" if $code != 0;
	return;
}

# Writes a message, of any bytes, as anybody could: to a partition, with a key
# and headers, name=value.  An undefined value is a tombstone.
sub write_message
{
	my ($self, $topic, $partition, $key, $value, @headers) = @_;
	my @command = ('kcat', '-P', '-b', $self->{address}, '-t', $topic, '-p', $partition, '-X', 'message.max.bytes=16000000',
		map { ('-H', $_) } @headers);
	my ($in, $out, $err) = ('', '', '');

	if (defined $value && $value ne '')
	{
		my $file = "$self->{dir}/message";
		unlink $file;
		PostgreSQL::Test::Utils::append_to_file($file, $value);
		push @command, defined $key ? ('-k', $key) : (), $file;
	}
	else
	{
		$in = "$key|\n";
		push @command, '-K', '|', defined $value ? () : '-Z';
	}
	IPC::Run::run(\@command, '<', \$in, '>', \$out, '2>', \$err) or die "could not write to $topic: $err\n";
	return;
}

# Reads that topic, too, where none is named.
sub read_also
{
	my ($self, $topic) = @_;
	push @{ $self->{topics} }, $topic;
	return;
}

# allow or revoke, principal, resource, name, operations: test/kafka/acl
sub acl
{
	my ($self, @arguments) = @_;
	my ($code, $out, $err) = _run("$home/acl", $self->{address}, @arguments);

	die "acl @arguments: $err\n" if $code != 0;
	return;
}

# How the batches of a topic are compressed, as they are on the broker's disk:
# each the place in its partition and the codec.
sub batches
{
	my ($self, $topic) = @_;
	my @codecs = qw(none gzip snappy lz4 zstd);
	my @batches;

	for my $file (sort glob "$self->{dir}/data/$topic-*/*.log")
	{
		my ($partition) = $file =~ /-(\d+)\/\d+\.log\z/;
		my $log = _slurp($file);

		# https://kafka.apache.org/documentation/#recordbatch
		while (length($log) >= 61)
		{
			my ($offset, $length, $epoch, $magic, $crc, $attributes) = unpack('q>l>l>cNn', $log);

			last if $length <= 0;
			# not the markers of transactions
			push @batches, [ "$partition/$offset", $codecs[ $attributes & 7 ] ] unless $attributes & 0x20;
			$log = substr($log, 12 + $length);
		}
	}
	return @batches;
}

# Takes a transactional id over, as another relay would.
sub fence
{
	my ($self, $id) = @_;
	my ($code, $out, $err) = _run("$home/fence", $self->{address}, $id);

	die "could not fence $id: $err\n" if $code != 0;
	return;
}

# Reads all topics, or those named, from the beginning to the end.
sub _consume_command
{
	my ($self, $format, @names) = @_;

	return ("$home/consume", '--brokers', $self->{address}, '--topics', join(',', @names ? @names : @{ $self->{topics} }),
		'--from-beginning', '--to-end', '--timeout', 600, '--format', $format);
}

sub _consume
{
	my ($self, $format, @names) = @_;
	my ($code, $out, $err) = _run($self->_consume_command($format, @names));

	die "could not read from Kafka: $err\n" if $code > 1;
	return $out;
}

# Counts of events, duplicates, gaps, reorders...: test/kafka/README.md
sub summary
{
	my ($self) = @_;
	return JSON::PP->new->decode($self->_consume('summary'));
}

# The messages of all topics, or those named, each a hash with topic, partition, offset, key, value (decoded) and headers.
sub messages
{
	my ($self, @names) = @_;
	my @messages = map { JSON::PP->new->decode($_) } split /\n/, $self->_consume('json', @names);

	$_->{value} = JSON::PP->new->decode($_->{value}) for grep { defined $_->{value} } @messages;
	return @messages;
}

# Validates every message against an AsyncAPI document.  Returns what is wrong,
# and how many messages of each type there are.
sub validate
{
	my ($self, $document) = @_;
	my $file = "$self->{dir}/asyncapi.json";
	my $messages = $self->_consume('json');
	my ($out, $err) = ('', '');

	unlink $file;
	PostgreSQL::Test::Utils::append_to_file($file, $document);
	IPC::Run::run([ "$home/validate_events", $file ], '<', \$messages, '>', \$out, '2>', \$err);
	my @lines = split /\n/, $out;
	my $counts = pop @lines // die "could not validate: $err\n";
	return (JSON::PP->new->decode($counts), @lines);
}

# A line for each message of the topics with all there is to it, see test/kafka/print_bytes.c.
sub bytes
{
	my ($self, @names) = @_;
	return split /\n/, $self->_consume('bytes', @names);
}

# The ce_id of every message.
sub ids
{
	my ($self) = @_;
	return split /\n/, $self->_consume('ids');
}

# A shell command that writes them, for when they are millions; by kcat, as
# somebody else sees them who reads what is committed.
sub ids_command
{
	my ($self) = @_;

	return '{ '
	  . join(' && ', map { "kcat -C -q -e -b $self->{address} -t $_ -o beginning -X isolation.level=read_committed -f '%h\\n'" } @{ $self->{topics} })
	  . '; } | sed \'s/^ce_id=\([^,]*\),.*/\1/\'';
}

# Calls back for each record of the relay's cursor; their values are not decoded.
sub each_cursor
{
	my ($self, $take) = @_;

	open(my $records, '-|', $self->_consume_command('json', 'payledger.cursor')) or die "could not read the cursor: $!\n";
	while (my $line = <$records>)
	{
		$take->(JSON::PP->new->decode($line));
	}
	close($records) or die "could not read the cursor\n";
	return;
}

# A broker has a session of its own and would outlive the test.
END
{
	my $code = $?;

	for my $broker (grep { -e "$_->{dir}/pid" } @brokers)
	{
		_run("$home/broker", 'kill', $broker->{dir});
		$broker->{proxy}->kill_kill if $broker->{proxy};
	}
	$? = $code;
}

1;
