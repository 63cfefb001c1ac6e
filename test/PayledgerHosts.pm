# The hosts that this test's PSP servers, and what stands before them, listen
# at: those that sections of a secrets file allow unless they say otherwise.
package PayledgerHosts;

use strict;
use warnings FATAL => 'all';

my @hosts;

# Adds a port of 127.0.0.1, and returns it.
sub add
{
	my ($port) = @_;

	push @hosts, "127.0.0.1:$port";
	return $port;
}

sub all
{
	return @hosts;
}

1;
