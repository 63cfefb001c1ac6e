# The PSP test server, as a test of the workers needs it.
package PayledgerPsp;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP;
use Test::More;

use lib dirname(abs_path(__FILE__)) . '/psp/t';
use parent 'PspServer';

-x "$PspServer::HOME/psp-server" or BAIL_OUT("no $PspServer::HOME/psp-server, run make -C $PspServer::HOME first");

# A server with this certificate and key, both PEM files; ca is what signed it.
sub new_tls
{
	my ($class, $cert, $key, $ca) = @_;
	my $self = $class->new('--tls-cert', $cert, '--tls-key', $key);

	$self->{ca} = $ca;
	return $self;
}

sub url
{
	my ($self, $path) = @_;
	my $url = $self->SUPER::url($path);

	$url =~ s/^http:/https:/ if $self->{ca};
	return $url;
}

# Sends a control request; over TLS with curl, because HTTP::Tiny alone cannot.
sub control
{
	my ($self, $method, $path, $body) = @_;

	return $self->SUPER::control($method, $path, $body) unless $self->{ca};
	my $out = '';
	IPC::Run::run([ 'curl', '-s', '--cacert', $self->{ca}, '-X', $method, $self->url($path) ], '>', \$out)
	  or die "curl cannot talk to the PSP server\n";
	return { json => decode_json($out) };
}

# The API key it accepts.
sub key
{
	return $PspServer::KEY;
}

# Everything that it ever executed: a list of intents with their operations.
sub all_truth
{
	my ($self) = @_;

	return @{ $self->control('GET', '/_test/truth')->{json}{intents} };
}

# How often a fault was fired.
sub fired
{
	my ($self, $fault) = @_;

	return $self->stats->{faults}{$fault} // 0;
}

sub clear_faults
{
	my ($self) = @_;

	$self->control('DELETE', '/_test/faults');
	return;
}

# Stops it in its tracks; connections are accepted by the kernel and hang.
sub pause
{
	my ($self) = @_;

	$self->{process}->signal('STOP');
	$self->{paused} = 1;
	return;
}

sub resume
{
	my ($self) = @_;

	$self->{process}->signal('CONT') if delete $self->{paused};
	return;
}

sub DESTROY
{
	my ($self) = @_;

	$self->resume if $self->{process};
	return $self->SUPER::DESTROY;
}

1;
