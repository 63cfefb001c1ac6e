# TCP servers where a PSP should be: one that answers each request by a script
# of the test, as no PSP would, and one that only counts who calls.
package PayledgerImpostor;

use strict;
use warnings FATAL => 'all';

use Fcntl qw(:flock O_APPEND O_CREAT O_WRONLY);
use IO::Socket::INET;
use JSON::PP;
use PayledgerHosts;
use POSIX ();
use PostgreSQL::Test::Utils ();

# answer gets the socket and a request (a hash with head, path, body, and key,
# the idempotency key) and writes what it likes; the connection goes on when it
# returns true.  It runs in a process for each connection.
sub new
{
	my ($class, $answer) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 128, ReuseAddr => 1)
	  or die "could not listen: $!\n";
	my $self = bless {
		port => PayledgerHosts::add($listener->sockport),
		log => PostgreSQL::Test::Utils::tempdir('impostor') . '/requests',
	}, $class;

	$self->{pid} = fork() // die "could not fork: $!\n";
	return $self if $self->{pid};

	# exit() would run the END blocks, which stop the servers
	eval { $self->_accept($listener, $answer) };
	POSIX::_exit(1);
}

sub url
{
	my ($self) = @_;
	return "http://127.0.0.1:$self->{port}";
}

# Everything that it was asked: a list of the requests as answer got them.
sub requests
{
	my ($self) = @_;

	return -e $self->{log} ? map { decode_json($_) } split /\n/, PostgreSQL::Test::Utils::slurp_file($self->{log}) : ();
}

# One reply of the PSP to a request as it came: head and body.
sub true_reply
{
	my ($psp, $request) = @_;
	my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $psp->{port}) or return;
	my $reply = '';

	print $server $request->{head} =~ s/\r\n\r\n\z/\r\nConnection: close\r\n\r\n/r, $request->{body};
	$server->flush;
	1 while sysread($server, $reply, 65536, length $reply);
	return split /(?<=\r\n\r\n)/, $reply, 2;
}

sub _accept
{
	my ($self, $listener, $answer) = @_;

	$SIG{CHLD} = 'IGNORE';
	# so that one signal to the group ends the connections, too
	setpgrp;
	while (1)
	{
		my $socket = $listener->accept // next;
		my $pid = fork() // die "could not fork: $!\n";

		if ($pid)
		{
			close $socket;
			next;
		}
		close $listener;
		eval { $self->_serve($socket, $answer) };
		POSIX::_exit(0);
	}
	return;
}

sub _serve
{
	my ($self, $socket, $answer) = @_;
	my $text = '';

	local $SIG{PIPE} = 'IGNORE';
	while (1)
	{
		my $head;

		until (defined($head = _head($text)) && length($text) >= length($head) + _body_length($head))
		{
			sysread($socket, $text, 65536, length $text) or return;
		}
		my ($path) = $head =~ /\A\S+ (\S+)/;
		my ($key) = $head =~ /^Idempotency-Key: (\S+)/mi;
		my $request = {
			head => $head,
			path => $path,
			key => $key,
			body => substr($text, length $head, _body_length($head)) };

		$text = substr($text, length($head) + _body_length($head));
		$self->_note($request);
		$answer->($socket, $request) or return;
	}
	return;
}

# The header lines that a text begins with, if they are all there.
sub _head
{
	my ($text) = @_;

	return $text =~ /\A(.*?\r\n\r\n)/s ? $1 : undef;
}

sub _body_length
{
	my ($head) = @_;

	return $head =~ /^Content-Length: (\d+)/mi ? $1 : 0;
}

sub _note
{
	my ($self, $request) = @_;

	# one write to a file that is opened for appending is not parted
	sysopen(my $file, $self->{log}, O_WRONLY | O_APPEND | O_CREAT, 0600) or die "could not write $self->{log}: $!\n";
	syswrite($file, encode_json($request) . "\n");
	close $file;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!);
	my $pid = delete $self->{pid} // return;

	kill('KILL', -$pid) or kill('KILL', $pid);
	waitpid($pid, 0);
	return;
}

# A whole reply with a JSON body.
sub reply
{
	my ($status, $body, @headers) = @_;

	return join("\r\n", "HTTP/1.1 $status X", 'Content-Type: application/json', 'Content-Length: ' . length($body), @headers)
	  . "\r\n\r\n$body";
}

package PayledgerCanary;

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;

# Listens at all addresses of this machine; the kernel accepts for it, so that
# whoever connects is seen later.
sub new
{
	my ($class) = @_;
	my @listeners = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 128, ReuseAddr => 1, Blocking => 0)
	  // die "could not listen: $!\n";
	my $port = $listeners[0]->sockport;

	# where there is IPv6
	eval {
		require IO::Socket::IP;
		my $v6 = IO::Socket::IP->new(LocalAddr => '::', LocalPort => $port, Listen => 128, ReuseAddr => 1, V6Only => 1, Blocking => 0);
		push @listeners, $v6 if $v6;
	};
	return bless { listeners => \@listeners, port => $port, visits => 0 }, $class;
}

# How many have connected.
sub visits
{
	my ($self) = @_;

	for my $listener (@{ $self->{listeners} })
	{
		while (my $visitor = $listener->accept)
		{
			$self->{visits}++;
			close $visitor;
		}
	}
	return $self->{visits};
}

1;
