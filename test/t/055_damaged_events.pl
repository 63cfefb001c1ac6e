# Events are what consumers were promised, payouts' too, and a dump brings all
# of them back.  verify() names those that are not, whatever bytes they hold,
# and repair_events() mends what an earlier build wrote into their traceId.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PayledgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $payouts = 400;
my $traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
my $node = new_node('damaged');
my $dumps = PostgreSQL::Test::Utils::tempdir('dumps');
my $restores = 0;

sub failed_checks
{
	my ($deep, $database) = @_;

	return $node->safe_psql($database // $PayledgerTest::DATABASE,
		'SELECT check_name, detail FROM payledger.verify(' . ($deep ? 'true' : 'false') . ') WHERE NOT ok ORDER BY 1');
}

sub events_like
{
	my ($condition, $database) = @_;

	return $node->safe_psql($database // $PayledgerTest::DATABASE, "SELECT count(*) FROM payledger.outbox_events WHERE $condition");
}

# Dumps the database and restores it; what pg_restore said, and the name of the copy.
sub dump_and_restore
{
	my $copy = 'copy_' . ++$restores;

	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/$copy", '-d', $node->connstr($PayledgerTest::DATABASE) ], "$copy: pg_dump");
	$node->safe_psql('postgres', "CREATE DATABASE $copy");
	IPC::Run::run([ 'pg_restore', '-d', $node->connstr($copy), "$dumps/$copy" ], '2>', \my $said);
	return ($said, $copy);
}

# ---- payouts, which nothing traces ----

sql($node, <<~"SQL");
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true, options => '{"latency_ms": 0}');
	SELECT payledger.set_payout_terms('SELLER-222', 'EUR', 'ba_ok', available_from => 'capture');
	SQL
create_authorized($node, 'pm_ok', [ 1000, 1_000_000 ]);
settle($node);
sql($node, "SELECT count(*) FROM generate_series(1, $payouts) n, LATERAL payledger.request_payout('SELLER-222', 'EUR', 100 + n)");
settle($node);
is(events_like(q{type = 'payout_finalized' AND payload #>> '{data,status}' = 'PAID'}), $payouts, 'every payout has an event that it was paid');
is(events_like(q{type LIKE 'payout%' AND payload ->> 'traceId' IS NULL AND traceparent IS NULL}), 2 * $payouts, 'and no event of them is of a trace');
sql($node, "SET payledger.traceparent = '$traceparent'; SELECT payledger.request_payout('SELLER-222', 'EUR', 50)");
settle($node);
is(events_like(qq{type LIKE 'payout%' AND payload ->> 'traceId' = substr('$traceparent', 4, 32) AND traceparent = '$traceparent'}),
	2, 'a payout that is traced says so');

# what a row has that somebody wrote by hand
my $intent = create_intent($node, [500]);
sql($node, <<~"SQL");
	UPDATE payledger.payment_intents SET traceparent = '00-' WHERE payment_intent_id = $intent;
	SELECT payledger.request_authorization($intent, 'pm_ok');
	SQL
settle($node);
is(events_like("aggregateid = '$intent' AND type = 'payment_intent_authorized' AND traceparent IS NULL AND payload ->> 'traceId' IS NULL"),
	1, 'a traceparent that is none is left out');
is(failed_checks(1), '', 'verify() finds nothing');

my $events = events_like('true');
my ($said, $copy) = dump_and_restore();
is($said, '', 'pg_restore takes it');
is(events_like('true', $copy), $events, "all $events events are restored");
is(failed_checks(1, $copy), '', 'verify() finds nothing in the copy');
# another database, though of the same cluster
is($node->safe_psql($copy, <<~'SQL'), "1|f\n2|t\n1|0\n2|2", 'what is written in the copy is of an incarnation of its own');
	DO $$ BEGIN
		PERFORM payledger.open_account('PLATFORM_CASH', 'COPY', 'EUR'), payledger.open_account('BANK_FEES', 'COPY', 'EUR');
		PERFORM payledger.post_entry('ADJUSTMENT', '[{"account": "PLATFORM_CASH.COPY.EUR", "amount": 7}, {"account": "BANK_FEES.COPY.EUR", "amount": -7}]');
	END $$;
	SELECT i.incarnation, d.datname = current_database() FROM payledger.incarnations i JOIN pg_database d ON d.oid = i.database_oid ORDER BY 1;
	SELECT transaction_no >> 48, count(*) FILTER (WHERE abs(amount) = 7) FROM payledger.postings GROUP BY 1 ORDER BY 1
	SQL

# ---- damage ----

# Puts bytes in the place of a part of the payload, as no client could.
sub damage
{
	my ($seq, $part, $bytes, $traceparent) = @_;

	return <<~"SQL";
		UPDATE payledger.outbox_events SET traceparent = $traceparent, payload = (
			SELECT overlay(b PLACING decode('$bytes', 'hex') FROM position(p IN b) FOR length(p))
			  FROM (SELECT convert_to(payload::text, 'UTF8') AS b, convert_to('$part', 'UTF8') AS p) o)::json
		 WHERE seq = $seq;
		SQL
}

my @seqs = split /\n/, sql($node, "SELECT seq FROM payledger.outbox_events WHERE type = 'payout_finalized' ORDER BY seq LIMIT 7");
my ($bytes, $empty, $words, $header, $version, $syntax, $member) = @seqs;
my $before = sql($node, "SELECT string_agg(payload::text, ',' ORDER BY seq) FROM payledger.outbox_events WHERE seq IN ($bytes, $empty, $words, $header)");
my $hex = sub { unpack('H*', $_[0]) };
my $guards_off = 'ALTER TABLE payledger.outbox_events DISABLE TRIGGER ALL';
# setup() puts all triggers back
my $guards_on = 'SELECT payledger.setup()';

sql($node, 'CREATE CAST (bytea AS json) WITHOUT FUNCTION');
sql($node, join ";\n", $guards_off,
	damage($bytes, '"traceId":null', $hex->(qq{"traceId":"\xeb\xc3\x55,\\"traceId\\":\\\\"}), q{''}), $guards_on);
($said) = dump_and_restore();
like($said, qr/invalid byte sequence for encoding "UTF8"/, 'a dump with such a row cannot be restored');

sql($node, join ";\n", $guards_off,
	damage($empty, '"traceId":null', $hex->('"traceId":""'), q{''})
	  . damage($words, '"traceId":null', $hex->('"traceId":"_request_2532"'), 'NULL')
	  . damage($header, '"version":2', $hex->('"version":2'), q{'00-12'})
	  . damage($version, '"version":2', $hex->('"version":"2"'), 'NULL')
	  . damage($syntax, '"version":2', $hex->('"version":'), 'NULL')
	  . damage($member, '"amount":1', $hex->('"amount":.1'), 'NULL'),
	$guards_on);
my $deep = failed_checks(1);
for my $found (failed_checks(0), $deep)
{
	like($found, qr/^events_are_well_formed\|7 offences/m, 'verify() sees the rows');
}
is(sql($node, <<~"SQL"), <<~'END' =~ s/\n\z//r, 'and says what is wrong with each');
	SELECT payledger.event_damage(payload, traceparent, NULL) FROM payledger.outbox_events WHERE seq IN (@{[ join ', ', @seqs ]}) ORDER BY seq
	SQL
	the payload is not valid UTF8
	member "traceId" is not null or 32 hexadecimal digits
	member "traceId" is not null or 32 hexadecimal digits
	its traceparent is none
	member "version" is not a number from 1 on
	the payload is not JSON
	the payload is not JSON
	END
unlike($deep, qr/could not check/, 'no check stumbles over them');

# ---- repair ----

sql($node, <<~'SQL');
	CREATE ROLE somebody LOGIN;
	GRANT USAGE ON SCHEMA payledger TO somebody;
	CREATE FUNCTION stop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'stopped'; END $$;
	CREATE TRIGGER stop_it BEFORE UPDATE ON payledger.outbox_events FOR EACH ROW EXECUTE FUNCTION stop_it();
	SQL
sql_fails($node, 'SET ROLE somebody; SELECT payledger.repair_events()', '42501', 'permission denied for function repair_events', 'a role without rights');
sql_fails($node, <<~'SQL', 'PL003', 'table "outbox_events" is immutable: UPDATE refused', 'after a repair that failed');
	DO $$ BEGIN PERFORM payledger.repair_events(); EXCEPTION WHEN raise_exception THEN NULL; END $$;
	DROP TRIGGER stop_it ON payledger.outbox_events;
	UPDATE payledger.outbox_events SET version = 3;
	SQL
is(sql($node, 'SELECT payledger.repair_events()'), 4, 'what can be mended is');
is(sql($node, 'SELECT payledger.repair_events()'), 0, 'nothing is left to mend');
sql_fails($node, 'UPDATE payledger.outbox_events SET version = 3', 'PL003', 'table "outbox_events" is immutable: UPDATE refused', 'after the repair');
is(sql($node, "SELECT string_agg(payload::text, ',' ORDER BY seq) FROM payledger.outbox_events WHERE seq IN ($bytes, $empty, $words, $header)"),
	$before, 'what was mended is what it was before');
like(failed_checks(0), qr/^events_are_well_formed\|(?:event [^;]+(?:; )?){3}$/, 'verify() names the rest');

sql($node, "$guards_off; DELETE FROM payledger.outbox_events WHERE seq IN ($version, $syntax, $member); $guards_on");
($said, $copy) = dump_and_restore();
is($said, '', 'pg_restore takes it again');
is(events_like('true', $copy), $events - 3, 'with all events');

# ---- the data of events ----

my ($wrong) = sql($node, "SELECT seq FROM payledger.outbox_events WHERE type = 'payment_intent_created' ORDER BY seq LIMIT 1");
for my $case (
	[ '"paymentIntentId":"', '"paymentIntentId":"x', 'paymentIntentId is a string and no id' ],
	[ '"currency":"EUR"', '"currency":"eur"', 'currency is a string and no currency' ],
	[ '"totalAmount":', '"totalAmount":0.', 'totalAmount is a number and no amount' ],
	[ '"seller_id":"', '"seller":"', 'lines is a array and no lines' ],
	[ '"buyerId":', '"buyer":', 'buyer is not a member; .*buyerId is missing' ])
{
	my ($part, $instead, $pattern) = @$case;

	like(sql($node, join ";\n", 'BEGIN', $guards_off, damage($wrong, $part, $hex->($instead), 'NULL'),
			q{SELECT detail FROM payledger.verify(true) WHERE check_name = 'event_data_has_its_members'}, 'ROLLBACK'),
		qr/^event [0-9a-f-]{36}, a payment_intent_created: $pattern$/, "verify() sees $instead");
}
like(sql($node, join ";\n", 'BEGIN', $guards_off, "UPDATE payledger.outbox_events SET traceparent = '$traceparent' WHERE seq = $wrong",
		q{SELECT detail FROM payledger.verify(true) WHERE check_name = 'event_traces_agree'}, 'ROLLBACK'),
	qr/^event [0-9a-f-]{36}: traceId is null, traceparent \Q$traceparent\E$/, 'verify() sees a trace that only the header has');

$node->stop;
done_testing();
