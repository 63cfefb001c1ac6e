# Every function and procedure of the extension called at random with values at
# the edges of their types, with ids, codes and documents that exist, and with
# NULL: by a superuser, and at the same time by a role without any privileges.
#
# Whatever is called, the server lives, nothing raises an internal error, a role
# without privileges gets 42501 for all that is not granted to PUBLIC, and the
# books are right afterwards.
#
# PAYLEDGER_SEED repeats a run's calls, PAYLEDGER_CALLS sets how many each of
# the two roles makes.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use JSON::PP;
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PAYLEDGER_SEED} // int(rand(2**31));
my $calls = $ENV{PAYLEDGER_CALLS} // 2000;
my $batch = 250;
note("PAYLEDGER_SEED=$seed");
srand($seed);

my $node = new_node('sql_calls', 'synchronous_commit' => 'off');

sql($node, 'CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA payledger TO nobody');

# something of most kinds that calls can be about
sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
	SELECT payledger.open_account('PLATFORM_CASH', 'CALLS', 'EUR'), payledger.open_account('MERCHANT_PAYABLE', 'CALLS', 'EUR', floor => 0);
	SELECT payledger.post_entry('ADJUSTMENT', '[{"account": "PLATFORM_CASH.CALLS.EUR", "amount": 5000},
		{"account": "MERCHANT_PAYABLE.CALLS.EUR", "amount": -5000}]', reference => 'calls-1');
	SELECT payledger.request_authorization(i.payment_intent_id, 'pm_ok') FROM generate_series(1, 4) g,
		LATERAL payledger.create_payment_intent('calls-' || g, 'BUYER-1', 'EUR',
			'[{"seller_id": "SELLER-111", "amount": 1000}, {"seller_id": "SELLER-222", "amount": 500}]', 'manual') i;
	SQL
settle($node);

# ---- what can be called ----

my @functions = rows($node, <<~'SQL');
	SELECT p.oid::text AS oid, p.proname AS name, p.prokind AS kind, p.pronargdefaults AS defaults, p.provariadic <> 0 AS is_variadic, p.proisstrict AS is_strict,
		   coalesce(p.proargnames[1:p.pronargs], '{}') AS names, p.proacl IS NULL OR has_function_privilege('nobody', p.oid, 'EXECUTE') AS is_public,
		   ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n) ORDER BY n) AS types,
		   p.oid::regprocedure::text AS signature
	  FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'payledger'
	 WHERE p.prokind IN ('f', 'p') AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
	   AND NOT 'internal'::regtype = ANY (p.proargtypes)
	 ORDER BY p.oid::regprocedure::text
	SQL
cmp_ok(scalar @functions, '>', 100, scalar(@functions) . ' functions and procedures');
my %function = map { $_->{oid} => $_ } @functions;

# ---- values ----

my %edges = (
	bigint => [ 0, 1, -1, 2, 42, 1000, '9223372036854775807', '-9223372036854775808', '4611686018427387904' ],
	integer => [ 0, 1, -1, 2, 16, 100, 10000, 10001, 2147483647, -2147483648 ],
	smallint => [ 0, 1, -1, 32767, -32768 ],
	boolean => [ 'true', 'false' ],
	numeric => [ 0, 1, -1, '0.5', 'NaN', 'Infinity', '-Infinity', '1e400', '-1e-400', '9223372036854775808' ],
	'double precision' => [ 0, 'NaN', 'Infinity', '1e308' ],
	text => [
		'', ' ', 'x', 'EUR', 'eur', 'SELLER-111', 'sandbox', 'default', 'ADJUSTMENT', 'PLATFORM_CASH', "\x{1F600}\x{FC}\x{20AC}", 'x' x 10000, "\x{FC}" x 300,
		"a\nb", "\t", "'", '"', '\\', '%s%n', '4111111111111111', '2026-01-31', '{}', 'pl_1', '-1', '9223372036854775808', "\x{202E}", "\x{7F}\x{1}"
	],
	'timestamp with time zone' => [ 'infinity', '-infinity', 'epoch', 'now', '4713-01-01 BC', '294276-12-31', '2025-01-01', 'tomorrow' ],
	date => [ 'infinity', '-infinity', 'epoch', 'today', '4713-01-01 BC', '5874897-12-31', '2025-01-01' ],
	interval => [ '0', '1 s', '-1 s', '1 day', '178000000 years', '-178000000 years', '10 ms' ],
	uuid => [ '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff' ],
	bytea => [ '', '\\x00', '\\x' . 'ff' x 1000 ],
	pg_lsn => [ '0/0', 'FFFFFFFF/FFFFFFFF' ],
	jsonb => [
		'{}', '[]', 'null', '1', '""', '[null]', '[[]]', '[{}]', '{"":{}}', '[1e400]', '[' x 500 . ']' x 500, '{"a":' x 500 . '1' . '}' x 500,
		'[{"seller_id": "SELLER-111", "amount": 1000}]', '[{"seller_id": "SELLER-111", "amount": -1}, {"seller_id": null}]',
		'[{"account": "PLATFORM_CASH.CALLS.EUR", "amount": 1}, {"account": "MERCHANT_PAYABLE.CALLS.EUR", "amount": -1}]',
		'[{"entry_type": "ADJUSTMENT", "postings": [{"account": "PLATFORM_CASH.CALLS.EUR", "amount": 1}, {"account": "MERCHANT_PAYABLE.CALLS.EUR", "amount": -1}]}]',
		'[{"line_no": 1, "line_type": "fee", "currency": "EUR", "gross": 0, "fee": 1, "net": -1}]', '{"timeout_ms": 1000}', '{"timeout_ms": "x", "base_url": "https://[::1]"}',
		'{"Stripe-Signature": "t=1,v1=00"}', '{"x": "\\u00e9\\ud83d\\ude00"}', '[' . join(',', (1) x 2000) . ']', '"' . 'x' x 20000 . '"'
	]);
$edges{json} = $edges{jsonb};
$edges{'character varying'} = $edges{name} = $edges{text};
$edges{$_} = [ '{}', '{NULL}', '{1,NULL,2}' ] for 'bigint[]', 'integer[]', 'numeric[]';
$edges{'text[]'} = [ '{}', '{NULL}', '{""}', '{EUR,NULL,SELLER-111}', '{' . join(',', ('x') x 1000) . '}', '{{a,b},{c,d}}', '[5:6]={a,b}' ];
$edges{'timestamp with time zone[]'} = [ '{}', '{NULL}', '{infinity,-infinity}' ];
$edges{'jsonb[]'} = [ '{}', '{NULL}', '{"{}"}' ];

# enums: their labels; anything else only NULL
for my $enum (rows($node, <<~'SQL'))
	SELECT format_type(enumtypid, NULL) AS type, json_agg(enumlabel) AS labels FROM pg_enum GROUP BY enumtypid
	SQL
{
	$edges{ $enum->{type} } = $enum->{labels};
}

# what is in the tables, by the name of the column: ids, codes, references
my %known;

sub learn
{
	my @columns = rows($node, <<~'SQL');
		SELECT c.relname AS table, a.attname AS column FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		 WHERE c.relnamespace = 'payledger'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		   AND a.atttypid IN ('bigint'::regtype, 'text'::regtype, 'uuid'::regtype)
		 ORDER BY 1, 2
		SQL

	%known = ();
	push @{ $known{ $_->{c} } }, $_->{v} for rows($node, join ' UNION ALL ', map {
		"SELECT * FROM (SELECT '$_->{column}' AS c, v FROM (SELECT DISTINCT $_->{column}::text AS v FROM payledger.$_->{table}"
		  . " WHERE length($_->{column}::text) < 300) d ORDER BY v DESC LIMIT 5) s"
	} @columns);
	$known{account} = $known{account_code};
	return;
}

sub pick { return $_[ int(rand(@_)) ] }

sub quote
{
	my ($value) = @_;

	$value =~ s/(['\\])/$1$1/g;
	return "E'$value'";
}

# A literal for an argument: often of the column of its name, sometimes NULL.
sub literal
{
	my ($name, $type) = @_;
	my $known = $known{ $name // '' };
	my $fits = $type eq 'text' || $type eq 'bigint' && $known && !grep { !/\A-?\d+\z/ } @$known;

	return "NULL::$type" if rand() < 0.08 || !$edges{$type};
	return quote(pick(@$known)) . "::$type" if $fits && $known && @$known && rand() < 0.7;
	return quote(pick(@{ $edges{$type} })) . "::$type";
}

# A call, as one statement.
sub call
{
	my ($function) = @_;
	my @types = @{ $function->{types} };
	my $n = @types - ($function->{kind} eq 'f' && !$function->{is_variadic} ? int(rand($function->{defaults} + 1)) : 0);
	my $arguments = join ', ', map {
		($function->{is_variadic} && $_ == $#types ? 'VARIADIC ' : '') . literal($function->{names}[$_], $types[$_])
	} 0 .. $n - 1;

	return $function->{kind} eq 'p' ? "CALL payledger.$function->{name}($arguments)" : "SELECT * FROM payledger.$function->{name}($arguments)";
}

# ---- calls ----

my (%outcomes, @wrong);
my $made_calls = 0;

# A process of psql that makes these calls; each says its number before.
sub start_calls
{
	my ($role, $made) = @_;
	my $script = join '', "SET statement_timeout = '3s';\n\\set VERBOSITY verbose\n\\o /dev/null\n",
	  map { "\\warn call $_\n$made->[$_]{sql};\n" } 0 .. $#$made;
	my $session = { role => $role, made => $made, out => '', err => '' };

	utf8::encode($script);
	$session->{run} = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('payledger') . " user=$role" ],
		'<', \$script, '>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

sub finish_calls
{
	my ($session) = @_;
	my $role = $session->{role};
	my ($superuser) = grep { $_ ne 'nobody' } $role;

	$session->{run}->finish;
	my ($before, @said) = split /^call (\d+)\n/m, $session->{err}, -1;
	while (my ($i, $text) = splice @said, 0, 2)
	{
		my $call = $session->{made}[$i];
		my ($state) = $text =~ /^ERROR:  (\w{5}):/m;

		$state //= $text =~ /^(FATAL|PANIC)|connection/m ? 'lost' : '00000';
		$outcomes{$role}{$state}++;
		push @wrong, "$role: $call->{sql}: $text" if $state eq 'lost' || $state =~ /^XX/;
		next if $superuser || $state eq '42501' || $function{ $call->{oid} }{is_public};
		# the planner knows that a strict function gives NULL for NULL, and does not call it
		next if $function{ $call->{oid} }{is_strict} && $call->{sql} =~ /\bNULL::/;
		push @wrong, "nobody may call $call->{sql}: $state: $text";
	}
	return;
}

my $superuser = sql($node, 'SELECT current_user');
for (my $made = 0; $made < $calls; $made += $batch)
{
	learn();
	my @sessions = map {
		start_calls($_, [ map { my $function = pick(@functions); { oid => $function->{oid}, sql => call($function) } } 1 .. $batch ])
	} $superuser, 'nobody';

	finish_calls($_) for @sessions;
	$made_calls += $batch;
	last if @wrong;
}

is(join("\n", map { substr($_, 0, 2000) } @wrong[ 0 .. ($#wrong < 4 ? $#wrong : 4) ]), '', "nothing goes wrong in calls of seed $seed");
for my $role (sort keys %outcomes)
{
	my $of = $outcomes{$role};

	note("$role: " . join ', ', map { "$_ $of->{$_}" } sort { $of->{$b} <=> $of->{$a} } keys %$of);
}
cmp_ok($outcomes{$superuser}{'00000'} // 0, '>', $made_calls / 10, 'many calls of the superuser succeed');
cmp_ok($outcomes{nobody}{42501} // 0, '>', $made_calls / 10, 'many calls of nobody are forbidden');

is(join("\n", grep { /PANIC|TRAP:|terminated by signal (?!9\b)/ } split /\n/, slurp_file($node->logfile)), '', 'no process died of it');

# what a superuser does to the payment flow's own holds and entries by hand
my %explained = (
	holds_match_payments => 'release_hold() and commit_hold() of a hold that belongs to a payment',
	clearing_is_explained => 'post_entry() to, and reverse_entry() on, the accounts of authorizations',
	events_follow_entries => 'entries that are posted without an event',
	map { $_ => 'post_entry() and reverse_entry() with types and references of the payment flow' }
	  qw(captures_are_posted refunds_are_posted disputes_are_posted dispute_fees_are_posted payouts_are_posted
	  payout_clearing_is_explained reserves_are_posted open_items_match_receivables settlements_are_posted));
# the first half of close_period() was called without the second
sql($node, 'SELECT payledger.store_closing_balances(ledger, month) FROM payledger.periods WHERE is_closed AND NOT has_balances');
my @broken = grep { !$_->{ok} } rows($node, 'SELECT check_name, ok, detail FROM payledger.verify(true)');

note("$_->{check_name}, explained by $explained{ $_->{check_name} }: $_->{detail}") for grep { $explained{ $_->{check_name} } } @broken;
is(join("\n", map { "$_->{check_name}: $_->{detail}" } grep { !$explained{ $_->{check_name} } } @broken), '', 'verify() finds nothing else');

$node->stop;
done_testing();
