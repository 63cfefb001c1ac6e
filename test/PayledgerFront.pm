# A TCP forwarder before the PSP server: while it is down nobody listens at its
# address, and the PSP itself loses nothing.
package PayledgerFront;

use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::INET;
use PayledgerHosts;
use POSIX ();

# target is a port of 127.0.0.1
sub new
{
	my ($class, $target) = @_;
	my $self = bless { target => $target, port => 0 }, $class;

	$self->up;
	PayledgerHosts::add($self->{port});
	return $self;
}

sub url
{
	my ($self) = @_;
	return "http://127.0.0.1:$self->{port}";
}

sub up
{
	my ($self) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Listen => 128, ReuseAddr => 1)
	  or die "could not listen: $!\n";

	$self->{port} = $listener->sockport;
	$self->{pid} = fork() // die "could not fork: $!\n";
	return if $self->{pid};

	# exit() would run the END blocks, which stop the servers
	eval { _forward($listener, $self->{target}) };
	POSIX::_exit(1);
}

# Ends it and all connections.
sub down
{
	my ($self) = @_;
	my $pid = delete $self->{pid} // return;

	kill('KILL', $pid);
	waitpid($pid, 0);
	return;
}

sub _forward
{
	my ($listener, $target) = @_;
	my $select = IO::Select->new($listener);
	my %peer;

	local $SIG{PIPE} = 'IGNORE';
	while (1)
	{
		for my $from ($select->can_read)
		{
			if ($from == $listener)
			{
				my $client = $listener->accept // next;
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $target) // next;

				@peer{ $client, $server } = ($server, $client);
				$select->add($client, $server);
				next;
			}
			# its peer may have ended in this very round
			my $to = $peer{$from} // next;
			my $got = sysread($from, my $piece, 65536);

			next if $got && syswrite($to, $piece);
			$select->remove($from, $to);
			delete @peer{ $from, $to };
			close($_) for $from, $to;
		}
	}
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!);

	$self->down;
	return;
}

1;
