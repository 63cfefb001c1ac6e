# The Kafka side of the tests does what the tests believe it does: the broker
# keeps what it acknowledged, hangs and comes back on request, has real
# transactions; the consumer sees every fault it claims to see.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IPC::Run qw(run start);
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time sleep);

my $here = dirname(dirname(abs_path(__FILE__)));
my $tmp = tempdir(CLEANUP => 1);
my $dir = "$tmp/broker";

-x "$here/$_" or BAIL_OUT("no $here/$_, run make -C $here first")
  for qw(consume create-topic mock-broker);

# A broker left behind would outlive the test: it has a session of its own.
$SIG{INT} = $SIG{TERM} = sub { exit 1 };
END
{
	if (defined $dir && -e "$dir/pid")
	{
		my $code = $?;
		system("$here/broker", 'kill', $dir);
		$? = $code;
	}
}

# -------------------------------------------------------------------- tools

# Runs a command to its end and returns exit code, output and errors.
sub command
{
	my ($command, $input) = @_;
	my ($out, $err) = ('', '');

	$input //= '';
	run($command, '<', \$input, '>', \$out, '2>', \$err);
	return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $out, $err);
}

sub command_ok
{
	my ($command, $name) = @_;
	my ($code, $out, $err) = command($command);

	is($code, 0, $name) or diag($out, $err);
	return $out;
}

sub broker
{
	my ($command, @args) = @_;

	return command_ok([ "$here/broker", $command, $dir, @args ], "broker $command @args");
}

sub slurp
{
	my ($path) = @_;

	open(my $file, '<', $path) or return '';
	local $/;
	my $text = <$file> // '';
	return $text =~ s/\n\z//r;
}

sub wait_for
{
	my ($condition, $name) = @_;
	my $deadline = time + 60;

	until ($condition->())
	{
		return fail("timed out: $name") if time > $deadline;
		sleep 0.02;
	}
	return pass($name);
}

sub produce
{
	my ($brokers, $topic, $input, @options) = @_;

	my ($code, $out, $err) =
	  command([ 'kcat', '-b', $brokers, '-P', '-t', $topic, @options ], $input);
	is($code, 0, "produced to $topic") or diag($err);
	return;
}

# Reads topics from the beginning to the end; exit code and lines of output.
sub consume
{
	my ($brokers, $topics, @options) = @_;

	my ($code, $out, $err) = command(
		[   "$here/consume", '--brokers', $brokers, '--topics', $topics,
			'--from-beginning', '--timeout', 60, @options ]);
	diag($err) if $code == 2 || $code == 3;
	return ($code, split /\n/, $out);
}

sub values_of
{
	my ($code, @lines) = consume(@_, '--to-end', '--format', 'json');

	return map { decode_json($_)->{value} } @lines;
}

# ---------------------------------------------------------- install and start

command_ok([ "$here/broker", 'install' ], 'install');

mkdir "$tmp/bin";
symlink('/bin/false', "$tmp/bin/mvn");
{
	local $ENV{PATH} = "$tmp/bin:$ENV{PATH}";
	command_ok([ "$here/broker", 'install' ], 'a second install does not ask maven');
}

my ($code, $out, $err) = command([ "$here/broker", 'status', $dir ]);
is("$code $out", "3 stopped\n", 'not running yet');

like(broker('start'), qr/^listening on 127\.0\.0\.1:\d+$/, 'it says where');
my $brokers = slurp("$dir/bootstrap");
my $pid = slurp("$dir/pid");
like(broker('status'), qr/^running pid=$pid bootstrap=$brokers rss_kb=\d+$/, 'status');
like(broker('start'), qr/^already running/, 'starting twice does nothing');
is(slurp("$dir/pid"), $pid, 'the same process');

# ------------------------------------------------------------------- topics

($code) = command([ 'kcat', '-b', $brokers, '-P', '-t', 'typo', '-X', 'message.timeout.ms=2000' ], 'x');
isnt($code, 0, 'no topic is created by using it');

broker('topic', 'orders', 3, 'retention.ms=-1');
$out = command_ok([ 'kcat', '-b', $brokers, '-L', '-t', 'orders' ], 'metadata');
like($out, qr/topic "orders" with 3 partitions/, 'as many partitions as asked for');
($code, $out, $err) = command([ "$here/broker", 'topic', $dir, 'orders', 3 ]);
isnt($code, 0, 'a topic is not created twice');
like($err, qr/already exists/, 'and it is said why');
($code) = command([ "$here/broker", 'topic', $dir, 'other', 1, 'no.such.setting=1' ]);
isnt($code, 0, 'an unknown setting is refused');

# ------------------------------------------------------- produce and consume

produce($brokers, 'orders', "first\nsecond", '-p', 1, '-k', 'k1',
	'-H', 'zeta=1', '-H', 'alpha=two "quoted"', '-H', 'mid=');
produce($brokers, 'orders', "tab\there|\n", '-p', 2, '-K', '|', '-Z');
produce($brokers, 'orders', "\x{c3}\x{a9}\x{ff}", '-p', 0);

($code, my @lines) = consume($brokers, 'orders', '--until', 4, '--format', 'json');
is($code, 0, 'read until four');
is(scalar @lines, 4, 'four lines');
my %by_place = map { my $m = decode_json($_); ("$m->{partition}/$m->{offset}" => $m) } @lines;
is($by_place{'1/0'}{value}, 'first', 'value');
is($by_place{'1/1'}{value}, 'second', 'next offset');
is($by_place{'1/0'}{key}, 'k1', 'key');
is($by_place{'1/0'}{topic}, 'orders', 'topic');
cmp_ok(abs($by_place{'1/0'}{timestamp} / 1000 - time), '<', 600, 'time stamp in milliseconds');
is($by_place{'2/0'}{value}, undef, 'a tombstone has no value');
is($by_place{'2/0'}{key}, "tab\there", 'control characters are escaped');
is($by_place{'0/0'}{key}, undef, 'no key');
is($by_place{'0/0'}{value}, "\x{e9}\x{fffd}", 'UTF-8 is kept, other bytes are replaced');
ok((grep { /"headers":\{"zeta":"1","alpha":"two \\"quoted\\"","mid":(?:""|null)\}/ } @lines) == 2,
	'headers in their order');

($code) = command([ "$here/consume", '--brokers', $brokers, '--topics', 'orders',
		'--from-beginning', '--until', 5, '--timeout', 1, '--format', 'json' ]);
is($code, 3, 'waiting in vain for a fifth is an error');
($code) = consume($brokers, 'orders', '--idle-ms', 200, '--format', 'json');
is($code, 0, 'an idle topic is an end');

# Without --from-beginning: only what comes after it is ready.
{
	my ($out, $err) = ('', '');
	my $reader = start([ "$here/consume", '--brokers', $brokers, '--topics', 'orders',
			'--until', 1, '--timeout', 60, '--format', 'json' ], '>', \$out, '2>', \$err);

	wait_for(sub { $reader->pump_nb; $err =~ /reading 3 partitions/ }, 'the reader is ready');
	produce($brokers, 'orders', 'late', '-p', 2);
	ok($reader->finish, 'the reader ends');
	is(decode_json($out)->{value}, 'late', 'it read only the new message');
}

# -------------------------------------------------------------- transactions

broker('topic', 'txn', 1);
produce($brokers, 'txn', "a\nb\n", '-X', 'transactional.id=t1');
{
	# kcat sends no line before its input buffer is full
	my ($in, $sink) = ("open\n" x 10000, '');
	my $open = start([ 'kcat', '-b', $brokers, '-P', '-t', 'txn', '-X', 'transactional.id=t1' ],
		'<', \$in, '>&', \$sink);

	wait_for(
		sub {
			$open->pump_nb;
			values_of($brokers, 'txn', '--properties', 'isolation.level=read_uncommitted') > 2;
		},
		'an open transaction is in the log');
	is_deeply([ values_of($brokers, 'txn') ], [ 'a', 'b' ], 'and not shown');
	$open->kill_kill(grace => 0);
}
produce($brokers, 'txn', "e\n", '-X', 'transactional.id=t1');
is_deeply([ values_of($brokers, 'txn') ], [ 'a', 'b', 'e' ],
	'the next producer of that id aborts what the killed one left open');

# ------------------------------------------------------------ kill and pause

broker('topic', 'kept', 3);
my @sent = map { "message $_" } 1 .. 3000;
produce($brokers, 'kept', join("\n", @sent), '-X', 'acks=all');
my ($read, $read_err) = ('', '');
my $reader = start([ "$here/consume", '--brokers', $brokers, '--topics', 'kept', '--from-beginning',
		'--until', 3001, '--timeout', 120, '--format', 'json' ], '>', \$read, '2>', \$read_err);
wait_for(sub { $reader->pump_nb; $read =~ tr/\n// == 3000 }, 'a reader waits for one more');

broker('kill');
($code, $out) = command([ "$here/broker", 'status', $dir ]);
is("$code $out", "3 stopped\n", 'killed');
($code) = command([ 'kcat', '-b', $brokers, '-L', '-m', 1 ]);
isnt($code, 0, 'a killed broker does not answer');

is(broker('start'), "listening on $brokers\n", 'the same address');
isnt(slurp("$dir/pid"), $pid, 'a new process');
is_deeply([ sort(values_of($brokers, 'kept')) ], [ sort @sent ],
	'whatever was acknowledged before kill -9 is there');
is_deeply([ values_of($brokers, 'txn') ], [ 'a', 'b', 'e' ], 'transactions too');
produce($brokers, 'kept', 'after');
is(scalar(values_of($brokers, 'kept')), 3001, 'and it takes more');
ok($reader->finish, 'the reader goes on over the kill') or diag($read_err);
like($read, qr/"value":"after"\}\n\z/, 'and reads what came after');

broker('pause');
like(broker('status'), qr/^paused /, 'paused');
($code) = command([ 'kcat', '-b', $brokers, '-L', '-m', 1 ]);
isnt($code, 0, 'a paused broker does not answer');
{
	my ($in, $err) = ("held\n", '');
	my $producer = start([ 'kcat', '-b', $brokers, '-P', '-t', 'kept', '-d', 'broker' ],
		'<', \$in, '2>', \$err);

	wait_for(sub { $producer->pump_nb; $err =~ /Connected to/ }, 'the kernel still accepts');
	broker('resume');
	ok($producer->finish, 'what was sent to a paused broker arrives when it goes on') or diag($err);
}
like(broker('status'), qr/^running /, 'running again');
is(scalar(grep { $_ eq 'held' } values_of($brokers, 'kept')), 1, 'once');

# ------------------------------------------------------------------ summary

# Appends events to partition 0, or the one given: [subject, version, id].
sub publish_to
{
	my ($brokers, $topic, @events) = @_;

	foreach my $event (@events)
	{
		my ($subject, $version, $id, $partition) = @$event;
		my @headers = map { ('-H', $_) } "ce_id=$id", "ce_subject=$subject",
		  (defined $version ? "ce_sequence=$version" : ());

		produce($brokers, $topic, 'x', '-k', $subject, '-p', $partition // 0, @headers);
	}
	return;
}

sub summary
{
	my ($topic) = @_;
	my ($code, $line) = consume($brokers, $topic, '--to-end', '--format', 'summary');
	my $summary = decode_json($line);

	return ($code, $summary, delete $summary->{first});
}

# Compares all the counts, so that a fault is not seen where there is none.
sub counts_are
{
	my ($summary, $name, %expected) = @_;
	my %all = map { ($_ => 0) }
	  qw(missing duplicates gaps reorders conflicts moves incomplete);

	is_deeply($summary, { %all, %expected }, $name);
	return;
}

my ($summary, $first);

broker('topic', 'whole', 2);
publish_to($brokers, 'whole', [ 'A', 1, 'a1' ], [ 'B', 1, 'b1', 1 ], [ 'A', 2, 'a2' ], [ 'A', 3, 'a3' ]);
($code, $summary, $first) = summary('whole');
is($code, 0, 'a whole log is good');
counts_are($summary, 'nothing to report', messages => 4, distinct => 4, aggregates => 2);

publish_to($brokers, 'whole', [ 'A', 2, 'a2' ], [ 'A', 3, 'a3' ], [ 'A', 4, 'a4' ]);
($code, $summary, $first) = summary('whole');
is($code, 0, 'events delivered again are allowed');
counts_are($summary, 'and counted', messages => 7, distinct => 5, aggregates => 2, duplicates => 2);
is_deeply(
	$first->{duplicates}[0],
	{   topic => 'whole', partition => 0, offset => 3, subject => 'A', id => 'a2',
		sequence => '2', expected => 4 },
	'and named');

broker('topic', 'gap', 1);
publish_to($brokers, 'gap', [ 'A', 1, 'a1' ], [ 'A', 4, 'a4' ], [ 'A', 5, 'a5' ], [ 'B', 2, 'b2' ]);
($code, $summary, $first) = summary('gap');
is($code, 1, 'a gap is a fault');
counts_are($summary, 'three versions are missing in two gaps',
	messages => 4, distinct => 4, aggregates => 2, gaps => 2, missing => 3);
is_deeply([ map { "$_->{subject} $_->{sequence} $_->{expected}" } @{ $first->{gaps} } ],
	[ 'A 4 2', 'B 2 1' ], 'and named');

broker('topic', 'reorder', 1);
publish_to($brokers, 'reorder', [ 'A', 1, 'a1' ], [ 'A', 3, 'a3' ], [ 'A', 2, 'a2' ], [ 'A', 4, 'a4' ]);
($code, $summary, $first) = summary('reorder');
is($code, 1, 'a version after a higher one is a fault');
counts_are($summary, 'nothing is missing in the end',
	messages => 4, distinct => 4, aggregates => 1, gaps => 1, reorders => 1);
is($first->{reorders}[0]{offset}, 2, 'and named');

broker('topic', 'conflict', 2);
publish_to($brokers, 'conflict', [ 'A', 1, 'a1' ], [ 'A', 1, 'other' ], [ 'A', 2, 'a2', 1 ], [ 'A', undef, 'a3' ]);
($code, $summary, $first) = summary('conflict');
is($code, 1, 'two events with one version are a fault');
is_deeply([ @$summary{qw(conflicts moves incomplete)} ],
	[ 1, 1, 1 ], 'and so are a second partition and an event without a version');

($code, $summary) = summary('whole,gap,reorder');
is($summary->{aggregates}, 5, 'the same subject in another topic is another aggregate');

# ------------------------------------------------------------------ latency

sub rfc3339
{
	my ($when) = @_;
	my @utc = gmtime(int $when);

	return sprintf('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', $utc[5] + 1900, $utc[4] + 1,
		@utc[ 3, 2, 1, 0 ], ($when - int $when) * 1e6);
}

broker('topic', 'stamped', 1, 'message.timestamp.type=LogAppendTime');
my $before = time;
foreach my $age (10, 20, 30)
{
	produce($brokers, 'stamped', 'x', '-H', 'ce_time=' . rfc3339($before - $age));
}
my $slack = (time - $before) * 1e6 + 1000;
my ($at_append, $line) = consume($brokers, 'stamped', '--to-end', '--format', 'latency',
	'--clock', 'append');
my $append = decode_json($line);
is($append->{samples}, 3, 'three samples');
cmp_ok($append->{p50_us}, '>=', 20e6 - 1000, 'the middle one is 20 s old at the append');
cmp_ok($append->{p50_us}, '<=', 20e6 + $slack, 'and not much more');
is($append->{p99_us}, $append->{max_us}, 'the largest of three is the 99th percentile');
($code, $line) = consume($brokers, 'stamped', '--to-end', '--format', 'latency');
my $receive = decode_json($line);
is($receive->{clock}, 'receive', 'arrival is the default');
cmp_ok($receive->{min_us}, '>=', $append->{min_us}, 'arrival is later than the append');

broker('topic', 'unstamped', 1);
produce($brokers, 'unstamped', 'x', '-H', 'ce_time=' . rfc3339(time));
($code, $out, $err) = command([ "$here/consume", '--brokers', $brokers, '--topics', 'unstamped',
		'--from-beginning', '--to-end', '--format', 'latency', '--clock', 'append' ]);
is($code, 2, "the producer's time is not taken for the broker's");
like($err, qr/keeps no append time/, 'and it is said why');

broker('stop');
($code, $out) = command([ "$here/broker", 'status', $dir ]);
is("$code $out", "3 stopped\n", 'stopped');

# -------------------------------------------------------------- mock broker

{
	my ($out, $err) = ('', '');
	my $mock = start([ "$here/mock-broker", '--topics', 'demo.a,demo.b', '--partitions', 6,
			'--port-file', "$tmp/mock" ], '>', \$out, '2>', \$err);

	wait_for(sub { $mock->pump_nb; -e "$tmp/mock" && $out =~ /\n/ }, 'the mock broker is up');
	my $mock_brokers = slurp("$tmp/mock");
	is($out, "listening on $mock_brokers\n", 'it says where');
	like(scalar command_ok([ 'kcat', '-b', $mock_brokers, '-L', '-t', 'demo.b' ], 'its metadata'),
		qr/topic "demo.b" with 6 partitions/, 'as many partitions as asked for');

	produce($mock_brokers, 'demo.a', "v1\nv2", '-k', 'K', '-H', 'ce_id=1', '-H', 'ce_type=x');
	($code, my @lines) = consume($mock_brokers, 'demo.a', '--until', 2, '--format', 'json');
	is($code, 0, 'another process reads from it');
	is_deeply([ map { my $m = decode_json($_); "$m->{key}=$m->{value}" } @lines ],
		[ 'K=v1', 'K=v2' ], 'keys and values in order');
	like($lines[0], qr/"headers":\{"ce_id":"1","ce_type":"x"\}/, 'headers');

	produce($mock_brokers, 'demo.new', 'v3');
	is_deeply([ values_of($mock_brokers, 'demo.new') ], ['v3'], 'a topic is created by using it');

	publish_to($mock_brokers, 'demo.b', [ 'A', 1, 'a1' ], [ 'A', 3, 'a3' ]);
	($code) = consume($mock_brokers, 'demo.b', '--to-end', '--format', 'summary');
	is($code, 1, 'its logs are checked as well');

	$mock->signal('TERM');
	ok($mock->finish, 'it ends on SIGTERM');
}
{
	my $mock = start([ 'sh', '-c',
			'"$1" --exit-with-parent --port-file "$2" >/dev/null & echo $! >"$3"; read line; exit 0',
			'sh', "$here/mock-broker", "$tmp/mock2", "$tmp/mock2.pid" ], '<', \my $in);

	wait_for(sub { -e "$tmp/mock2" && slurp("$tmp/mock2.pid") }, 'a mock broker under a shell');
	my $orphan = slurp("$tmp/mock2.pid");
	ok(kill(0, $orphan), 'is there');
	$mock->finish;
	wait_for(sub { slurp("/proc/$orphan/cmdline") eq '' }, 'ends with its parent');
}

done_testing();
