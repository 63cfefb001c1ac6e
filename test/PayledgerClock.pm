# Servers whose wall clock a test steps, by a library that is loaded into them;
# see test/clock/step_clock.c.
package PayledgerClock;

use strict;
use warnings FATAL => 'all';

use Exporter qw(import);
use PayledgerTest;

our @EXPORT = qw(step_clock with_clock wait_for_clock);

my %offsets;

# Steps the wall clock of a server, running or not, to so many seconds off.
# Returns the file that says so.
sub step_clock
{
	my ($name, $seconds) = @_;

	$offsets{$name} = $seconds;
	my $path = "$ENV{TESTDIR}/clock_offset_$name";
	open(my $file, -e $path ? '+<' : '+>', $path) or die "could not open $path: $!\n";
	syswrite($file, pack('q', $seconds)) == 8 or die "could not write $path: $!\n";
	close($file) or die "could not write $path: $!\n";
	return $path;
}

# Runs code with an environment in which a server starts with the clock of that name.
sub with_clock
{
	my ($name, $code) = @_;

	local $ENV{CLOCK_OFFSET_FILE} = step_clock($name, $offsets{$name} // 0);
	local $ENV{LD_PRELOAD} = "$PayledgerTest::TEST_DIR/clock/step-clock.so";
	return $code->();
}

sub wait_for_clock
{
	my ($node, $agrees) = @_;

	wait_sql($node, "SELECT agrees = $agrees AND (since IS NULL) = $agrees FROM payledger.stat_clock",
		$agrees eq 'true' ? 'the clocks agree' : 'the clock is found stepped');
	return;
}

1;
