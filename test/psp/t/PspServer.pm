# Starts the PSP test server and talks to it.
package PspServer;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp;
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More ();
use Time::HiRes qw(time sleep);

our $HOME = dirname(dirname(abs_path(__FILE__)));
our $KEY = 'sk_test_payledger';
our $TIMEOUT = 30;

my %running;

my $json = JSON::PP->new->utf8->canonical;

# Starts a server on a port of its choice; more options may be given.
sub new
{
	my ($class, @options) = @_;
	my $self = bless {
		dir => File::Temp->newdir(),
		out => '',
		err => '',
	}, $class;

	$self->{process} = IPC::Run::start(
		[
			"$HOME/psp-server", '--port', '0', '--port-file',
			"$self->{dir}/port", '--api-key', $KEY, @options
		],
		'<', \undef, '>', \$self->{out}, '2>', \$self->{err});
	$running{ $self->{process} } = $self->{process};
	$self->wait_for(
		sub {
			$self->{process}->pump_nb;
			return $self->{out} =~ /^listening on 127\.0\.0\.1:(\d+)$/m;
		},
		'the server listens');
	($self->{port}) = $self->{out} =~ /:(\d+)/;
	$self->{http} = HTTP::Tiny->new(timeout => $TIMEOUT);
	return $self;
}

# Waits for a condition; dies when it does not come true.
sub wait_for
{
	my ($self, $condition, $what) = @_;
	my $end = time() + $TIMEOUT;

	until ($condition->())
	{
		die "timed out waiting until $what\n" if time() > $end;
		sleep(0.01);
	}
	return 1;
}

# The address of a path.
sub url
{
	my ($self, $path) = @_;
	return "http://127.0.0.1:$self->{port}$path";
}

# Encodes pairs as a form.
sub form
{
	my ($self, @pairs) = @_;
	return $self->{http}->www_form_urlencode(\@pairs);
}

# Adds the decoded body to a response.
sub decoded
{
	my ($response) = @_;
	$response->{json} = eval { $json->decode($response->{content}) };
	return $response;
}

# Sends a request. HTTP::Tiny writes headers and body apart, which costs 40 ms
# each time unless its connection is told not to wait.
sub request
{
	my ($self, @request) = @_;
	my $response = decoded($self->{http}->request(@request));
	my $handle = $self->{http}{handle};

	setsockopt($handle->{fh}, IPPROTO_TCP, TCP_NODELAY, 1)
	  if $handle && $handle->{fh};
	return $response;
}

# Sends an API request: method, path, pairs of the form, key and headers.
sub api
{
	my ($self, $method, $path, $pairs, %more) = @_;
	my %headers = ('authorization' => "Bearer $KEY", %{ $more{headers} || {} });
	my %request = (headers => \%headers);

	$headers{'idempotency-key'} = $more{key} if defined $more{key};
	if ($method eq 'POST')
	{
		$headers{'content-type'} = 'application/x-www-form-urlencoded';
		$request{content} = $self->form(@{ $pairs || [] });
	}
	elsif ($pairs)
	{
		$path .= '?' . $self->form(@$pairs);
	}
	return $self->request($method, $self->url($path), \%request);
}

# Sends a request to Adyen's API: path below /v71, fields, key and headers.
sub adyen
{
	my ($self, $path, $fields, %more) = @_;
	my %headers = (
		'x-api-key' => $KEY,
		'content-type' => 'application/json',
		%{ $more{headers} || {} });

	$headers{'idempotency-key'} = $more{key} if defined $more{key};
	return $self->request('POST', $self->url("/v71$path"),
		{
			headers => \%headers,
			content => ref $fields ? $json->encode($fields) : $fields });
}

# The webhooks after a number, as the PSPs would deliver them; options go to
# the server: psp, limit, now, adyen_key.
sub webhooks
{
	my ($self, $after, %options) = @_;
	my $query = $self->form(after => $after // 0, %options);

	return @{ $self->control('GET', "/_test/webhooks?$query")->{json} };
}

# Sends a control request with a JSON body.
sub control
{
	my ($self, $method, $path, $body) = @_;
	my %request;

	$request{content} = ref $body ? $json->encode($body) : $body
	  if defined $body;
	return $self->request($method, $self->url($path), \%request);
}

# Adds a fault.
sub fault
{
	my ($self, %rule) = @_;
	my $response = $self->control('POST', '/_test/faults', \%rule);

	die "no fault: $response->{content}\n" unless $response->{status} == 200;
	return $response->{json};
}

# Removes all faults and all state.
sub reset
{
	my ($self) = @_;
	$self->control('DELETE', '/_test/faults');
	$self->control('DELETE', '/_test/state');
	return;
}

# What is true about one intent, or in sums.
sub truth
{
	my ($self, $intent) = @_;
	return $self->control('GET', "/_test/truth?intent=$intent")->{json}
	  if defined $intent;
	return $self->control('GET', '/_test/truth?summary=1')->{json};
}

# The counters.
sub stats
{
	my ($self) = @_;
	return $self->control('GET', '/_test/stats')->{json};
}

# Opens a connection of one's own.
sub socket
{
	my ($self) = @_;
	return IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $self->{port},
		Timeout => $TIMEOUT) // die "no connection: $!\n";
}

# Writes a request to such a connection.
sub send_request
{
	my ($self, $socket, $method, $path, $pairs, $key) = @_;
	my $body = $self->form(@{ $pairs || [] });
	my $request = "$method $path HTTP/1.1\r\nHost: localhost\r\n"
	  . "Authorization: Bearer $KEY\r\n";

	$request .= "Idempotency-Key: $key\r\n" if defined $key;
	$request .= "Content-Type: application/x-www-form-urlencoded\r\n"
	  . 'Content-Length: ' . length($body) . "\r\n"
	  if $method eq 'POST';
	$request .= "\r\n";
	$request .= $body if $method eq 'POST';
	$socket->print($request) or die "could not send: $!\n";
	$socket->flush;
	return $socket;
}

# Reads until the connection ends; returns what came, and the error or ''.
sub read_all
{
	my ($self, $socket) = @_;
	my $text = '';

	while (1)
	{
		my $got = sysread($socket, my $piece, 65536);

		return ($text, "$!") unless defined $got;
		return ($text, '') if $got == 0;
		$text .= $piece;
	}
}

# Is there something to read from a connection, or its end, right now?
sub readable
{
	my ($self, $socket) = @_;
	my $set = '';

	vec($set, fileno($socket), 1) = 1;
	return select($set, undef, undef, 0) > 0;
}

# Runs a program of node that prints TAP, with some environment, as tests.
sub run_client
{
	my ($self, $environment, @command) = @_;
	my ($out, $err);
	my $before = Test::More->builder->current_test;

	{
		local @ENV{ keys %$environment } = values %$environment;
		IPC::Run::run([ 'node', @command ], '<', \undef, '>', \$out, '2>', \$err);
	}
	Test::More::is($? >> 8, 0, 'exit status') or Test::More::diag($err);
	for my $line (split /\n/, $out)
	{
		if ($line =~ /^(not )?ok \d+ - (.*)/)
		{
			Test::More::ok(!$1, $2);
		}
		elsif ($line =~ /^1\.\.(\d+)/)
		{
			Test::More::is(Test::More->builder->current_test - $before - 1, $1, 'all of them ran');
		}
		elsif ($line =~ /^# (.*)/)
		{
			Test::More::diag($1);
		}
	}
	return;
}

# A certificate for 127.0.0.1 and its key: names of files in a folder.
sub certificate
{
	my ($class, $dir) = @_;
	my $out = '';

	IPC::Run::run([ 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', "$dir/key", '-out',
			"$dir/cert", '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1' ],
		'>&', \$out) or die "no certificate: $out\n";
	return ("$dir/cert", "$dir/key");
}

# Ends the server; returns its exit status.
sub stop
{
	my ($self) = @_;
	my $process = delete $self->{process} or return;

	delete $running{$process} or return;
	$process->signal('TERM');
	$process->finish;
	return $process->full_result(0);
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@);
	$self->stop;
	return;
}

# No server outlives a test that died.
END
{
	local $?;
	$_->kill_kill(grace => 2) for values %running;
	%running = ();
}

1;
