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

-x "$home/$_" or BAIL_OUT("no $home/$_, run make -C $home first") for qw(consume create-topic fence stop-point.so);

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
	my $self = bless { dir => PostgreSQL::Test::Utils::tempdir('kafka') }, $class;

	push @brokers, $self;
	my ($port, $proxy_port) = _free_ports(2);
	$self->_broker('start', $port, $options{proxy} ? "advertised.listeners=PLAINTEXT://127.0.0.1:$proxy_port" : ());
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

# host:port, for payledger.kafka_brokers
sub address
{
	my ($self) = @_;
	return $self->{address};
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

	return ("$home/consume", '--brokers', $self->{address}, '--topics', join(',', @names ? @names : @topics),
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
	  . join(' && ', map { "kcat -C -q -e -b $self->{address} -t $_ -o beginning -X isolation.level=read_committed -f '%h\\n'" } @topics)
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
