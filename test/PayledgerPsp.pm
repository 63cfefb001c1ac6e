# The PSP test server, as a test of the workers needs it.
package PayledgerPsp;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP;
use PayledgerHosts;
use Test::More;

use lib dirname(abs_path(__FILE__)) . '/psp/t';
use parent 'PspServer';

-x "$PspServer::HOME/psp-server" or BAIL_OUT("no $PspServer::HOME/psp-server, run make -C $PspServer::HOME first");

sub new
{
	my ($class, @options) = @_;
	my $self = $class->SUPER::new(@options);

	PayledgerHosts::add($self->{port});
	return $self;
}

# A server with this certificate and key, both PEM files; ca is what signed it.
sub new_tls
{
	my ($class, $cert, $key, $ca, @options) = @_;
	my $self = $class->new('--tls-cert', $cert, '--tls-key', $key, @options);

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
	my @body = defined $body ? ('--data', ref $body ? encode_json($body) : $body) : ();
	IPC::Run::run([ 'curl', '-s', '--cacert', $self->{ca}, '-X', $method, @body, $self->url($path) ], '>', \$out)
	  or die "curl cannot talk to the PSP server\n";
	return { json => decode_json($out) };
}

# The API key it accepts.
sub key
{
	return $PspServer::KEY;
}

# What a gateway's base_url is: Stripe's API, or Adyen's.
sub base_url
{
	my ($self, $adapter) = @_;

	return $self->url($adapter eq 'adyen' ? '/v71' : '');
}

# What it signs webhooks with unless its options say otherwise: Stripe's
# secret, and Adyen's hexadecimal key.
sub webhook_secret
{
	my ($self, $adapter) = @_;

	return $adapter eq 'adyen' ? '44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056' : 'whsec_payledger';
}

# Everything that it ever executed: a list of payments with their operations,
# Stripe's first. Our payment_id is in the metadata of each: Adyen is told it
# in the reference.
sub all_truth
{
	my ($self) = @_;
	my @payments = @{ $self->control('GET', '/_test/truth')->{json}{intents} };

	for my $payment (grep { $_->{psp} eq 'adyen' } @payments)
	{
		$payment->{metadata}{payment_id} //= $1 if $payment->{reference} =~ /^pl_(\d+)_/;
	}
	return @payments;
}

# The transfers to connected accounts.
sub all_transfers
{
	my ($self) = @_;

	return @{ $self->control('GET', '/_test/truth')->{json}{transfers} };
}

# All webhooks after a number, oldest first: hashes of seq, psp, type,
# event_id, payment, headers and body (the raw text). More options go to the
# server: psp, now (seconds since 1970 that Stripe signs), adyen_key (which
# --adyen-hmac-key signs, from 0).
sub webhooks
{
	my ($self, $after, %options) = @_;
	my @webhooks;

	while (my @more = $self->SUPER::webhooks($after, limit => 1000, %options))
	{
		push @webhooks, @more;
		$after = $more[-1]{seq};
	}
	return @webhooks;
}

# What the shopper, the banks or Adyen do: complete, fail, expire, chargeback,
# reverse, second; of a pspReference or a payment's reference.
sub adyen_control
{
	my ($self, $id, $what, $body) = @_;
	my $reply = $self->control('POST', "/_test/adyen/$id/$what", $body // {});

	die "the PSP server refuses $what: $reply->{json}{error}\n" if $reply->{json}{error};
	return $reply->{json};
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
