# A superuser with the guards disabled edits the journal, and verify() names
# each entry.  Then the seals themselves, and at last the whole chain, which a
# copy kept elsewhere tells.
#
# Which entries are edited, and how, follows from PAYLEDGER_SEED.

use strict;
use warnings FATAL => 'all';

use List::Util qw(first shuffle);
use PayledgerTest;
use Test::More;

my $edits = 100;
my $seed = $ENV{PAYLEDGER_SEED} // int(rand(1_000_000_000));
my $node = new_node('tamper', 'payledger.databases' => '', 'fsync' => 'off');

srand($seed);
note("PAYLEDGER_SEED=$seed");

# ---- a ledger ----

sql($node, <<~'SQL');
	SELECT payledger.open_account(t, e, c)
	  FROM unnest(ARRAY['EUR', 'USD', 'JPY']) AS c,
		   (VALUES ('PLATFORM_CASH', 'GLOBAL'), ('BANK_FEES', 'GLOBAL'), ('MERCHANT_PAYABLE', 'A'), ('MERCHANT_PAYABLE', 'B'),
				   ('MERCHANT_PAYABLE', 'C'), ('MERCHANT_PAYABLE', 'D.1'), ('MERCHANT_PAYABLE', 'D.2')) AS a(t, e);

	-- n entries: two or four legs, one or two currencies, some dated, some with a reference, some with metadata
	CREATE FUNCTION entries(tag text, n int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
		'entry_type', 'KIND_' || i % 5,
		'reference', CASE WHEN i % 3 = 0 THEN tag || ':' || i END,
		'effective_at', CASE WHEN i % 7 = 0 THEN to_char(now() - i % 400 * interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SSOF') END,
		'metadata', CASE WHEN i % 4 = 0 THEN jsonb_build_object('order', i, 'rate', round(1.0 / (i + 1), 9), 'tags', jsonb_build_array(tag, NULL, true)) END,
		'postings', CASE WHEN i % 6 = 0 THEN jsonb_build_array(
				jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.EUR', 'amount', i),
				jsonb_build_object('account', 'MERCHANT_PAYABLE.' || m || '.EUR', 'amount', -i),
				jsonb_build_object('account', 'BANK_FEES.GLOBAL.JPY', 'amount', 5),
				jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.JPY', 'amount', -5))
			ELSE jsonb_build_array(
				jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.' || c, 'amount', 100 + i),
				jsonb_build_object('account', 'MERCHANT_PAYABLE.' || m || '.' || c, 'amount', -100 - i)) END)))
	  FROM generate_series(1, n) i,
		   LATERAL (SELECT (ARRAY['A', 'B', 'C', 'D.1', 'D.2'])[1 + i % 5] AS m, (ARRAY['EUR', 'USD', 'JPY'])[1 + i % 3] AS c) x $$;

	SELECT count(*) FROM payledger.post_entries(entries('FIRST', 400));
	SELECT payledger.fold_postings();
	SELECT payledger.convert_currency('PLATFORM_CASH.GLOBAL.USD', 1000 + i, 'PLATFORM_CASH.GLOBAL.EUR', 900 + i) FROM generate_series(1, 20) i;
	SELECT payledger.reverse_entry(journal_entry_id, 'whole')
	  FROM payledger.journal_entries WHERE entry_type = 'KIND_1' ORDER BY journal_entry_id LIMIT 40;
	SELECT payledger.reverse_entry(journal_entry_id, 'a part',
			jsonb_build_array(jsonb_build_object('account', 'MERCHANT_PAYABLE.D.1.USD', 'amount', i),
							  jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.USD', 'amount', -i)),
			effective_at => now() - interval '1 day')
	  FROM (SELECT journal_entry_id, row_number() OVER (ORDER BY journal_entry_id) AS i FROM payledger.journal
			 WHERE account_code = 'MERCHANT_PAYABLE.D.1.USD' AND credit > 0 LIMIT 20) j;
	SELECT hold_id AS hold FROM payledger.place_hold('PLATFORM_CASH.GLOBAL.EUR', 500, reference => 'HOLD') \gset
	SELECT payledger.commit_hold(:hold, 'OUT', '[{"account":"PLATFORM_CASH.GLOBAL.EUR","amount":-300},{"account":"MERCHANT_PAYABLE.A.EUR","amount":300}]');
	SELECT payledger.fold_postings();
	SQL

# two transactions stay open over the folds of later ones, and one of them longer
sql($node, <<~"SQL") for 'LATE', 'LATER';
	BEGIN;
	SELECT count(*) FROM payledger.post_entries(entries('$_', 30));
	PREPARE TRANSACTION '$_';
	SQL
sql($node, <<~'SQL');
	SELECT count(*) FROM payledger.post_entries(entries('SECOND', 200));
	SELECT payledger.fold_postings();
	COMMIT PREPARED 'LATE';
	SELECT payledger.fold_postings();
	-- more than a seal holds
	SELECT count(*) FROM payledger.post_entries(entries('THIRD', 10500));
	SELECT payledger.fold_postings();
	COMMIT PREPARED 'LATER';
	SELECT count(*) FROM payledger.post_entries(entries('FOURTH', 200));
	SELECT payledger.fold_postings();
	SQL
my $first_unsealed = sql($node, q{SELECT min(journal_entry_id) FROM payledger.post_entries(entries('UNSEALED', 50))});

sub verify
{
	my ($what) = @_;

	return sql($node, "SELECT string_agg(check_name || ': ' || detail, E'\\n') FROM payledger.verify(true) WHERE NOT ok")
	  if !$what;
	return sql($node, "SELECT detail FROM payledger.verify(true) WHERE NOT ok AND check_name = '$what'");
}

is(verify(), '', 'verify() finds nothing');
my ($sealed) = rows($node, <<~'SQL');
	SELECT count(*) AS seals, count(DISTINCT fold_no) AS folds, sum(entries) AS entries,
		   (SELECT count(*) FROM payledger.journal_entries) AS all FROM payledger.seals
	SQL
is($sealed->{seals}, 7, 'a seal for each fold and another one for ten thousand entries');
is($sealed->{folds}, 6, 'of six folds');
is($sealed->{entries}, $sealed->{all} - 50, 'of all entries that were folded');

# the form of src/ledger/digests.c, written once more
is(sql($node, <<~'SQL'), 0, 'the digests are those of the documented form');
	CREATE FUNCTION field(bytes bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce('\x01' || bytes, '\x00') $$;
	CREATE FUNCTION field(string text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$ SELECT field(int4send(octet_length(string)) || convert_to(string, 'UTF8')) $$;
	SELECT count(*)
	  FROM payledger.entry_digests() d
	  FULL JOIN payledger.journal_entries j USING (journal_entry_id)
	 WHERE d.digest IS DISTINCT FROM substr(sha256(
			'\x01' || int8send(journal_entry_id) || timestamptz_send(recorded_at) || timestamptz_send(effective_at)
			|| field(int8send(payment_id)) || field(int8send(reverses)) || field(entry_type) || field(reference) || field(metadata::text)
			|| (SELECT string_agg(int2send(leg) || int8send(account_id) || int8send(amount) || int8send(transaction_no), '' ORDER BY leg)
				  FROM payledger.postings p WHERE p.journal_entry_id = j.journal_entry_id)), 1, 16);
	SQL

is(sql($node, <<~"SQL"), 'f|0|t', 'seal_of() finds an entry');
	SELECT seal_no IS NULL, (SELECT count(*) FROM payledger.seal_of($first_unsealed)), is_unchanged
	  FROM payledger.seal_of((SELECT journal_entry_id FROM payledger.journal_entries WHERE reference = 'LATER:3'))
	SQL

# ---- immutable, but for whoever disables the triggers ----

for my $table (qw(seals folds balance_checkpoints effective_shifts))
{
	my $column = $table eq 'effective_shifts' ? 'amount' : 'fold_no';

	for my $statement ("UPDATE payledger.$table SET $column = 1", "DELETE FROM payledger.$table", "TRUNCATE payledger.$table")
	{
		sql_fails($node, "SET session_replication_role = replica; $statement", 'PL003', "table \"$table\" is immutable", $statement);
	}
}

# ---- seals are edited ----

my ($seals, $newest) = split /\|/, sql($node, 'SELECT seal_no, sha256 FROM payledger.seals ORDER BY seal_no DESC LIMIT 1');

# What broken_seals() says of edits that are undone again.
sub broken
{
	my ($edit, $query) = @_;

	$query //= 'SELECT offence FROM payledger.broken_seals()';
	return sql($node, "BEGIN; ALTER TABLE payledger.seals DISABLE TRIGGER refuse_change; $edit; $query; ROLLBACK");
}

# an expression that flips one bit of the digest at place i
my $flip = 'set_byte(digests, 24 * %1$d + 8, get_byte(digests, 24 * %1$d + 8) # 1)';

is(broken('DELETE FROM payledger.seals WHERE seal_no = 3'), 'seal 3 is missing', 'a deleted seal is named');
is(broken('DELETE FROM payledger.seals WHERE seal_no IN (2, 3, 4)'), 'seals 2 to 4 are missing', 'three deleted seals are named');
is(broken('DELETE FROM payledger.seals WHERE seal_no = 1'), 'seal 1 is missing', 'the first, deleted, is named');
is(broken("DELETE FROM payledger.seals WHERE seal_no = $seals"), '', 'a chain may end anywhere');
like(broken("DELETE FROM payledger.seals WHERE seal_no = $seals", 'SELECT detail FROM payledger.verify(true) WHERE NOT ok'),
	qr/^230 offences, the first: entry \d+ was inserted behind fold \d+, which should have sealed it.*^fold 6 folded \d+ postings, its sealed entries have 0$/ms,
	'but not before the folds');
for my $edit (
	[ 'a digest' => 'digests = ' . sprintf($flip, 7) ],
	[ 'the number of entries' => 'entries = entries - 1, digests = substr(digests, 25), accounts = substr(digests, 1, 24) || accounts' ],
	[ 'the accounts' => q{accounts = decode(repeat('00', 24), 'hex')} ],
	[ 'the fold' => 'fold_no = fold_no - 1' ],
	[ 'the time' => q{sealed_at = sealed_at - interval '1 microsecond'} ])
{
	like(broken("UPDATE payledger.seals SET $edit->[1] WHERE seal_no = 3"),
		qr/^seal 3 was changed, or the one before it: its SHA-256 does not match$/, "a seal of which $edit->[0] was edited is named");
}
like(broken(q{UPDATE payledger.seals SET sha256 = sha256('') WHERE seal_no = 3}), qr/^seal 3 was changed.*\nseal 4 was changed/,
	'a seal of which the SHA-256 was edited is named, and the next');

# ---- an entry is edited together with its seal ----

my ($victim) = rows($node, <<~'SQL');
	SELECT x.journal_entry_id AS id, s.seal_no, x.n - 1 AS place
	  FROM payledger.seals s, payledger.sealed_digests(s.digests) WITH ORDINALITY AS x(journal_entry_id, digest, n)
	  JOIN payledger.journal_entries j USING (journal_entry_id) WHERE j.reference = 'SECOND:99'
	SQL
my $forge = <<~"SQL";
	ALTER TABLE payledger.journal_entries DISABLE TRIGGER ALL;
	UPDATE payledger.journal_entries SET entry_type = 'FORGED' WHERE journal_entry_id = $victim->{id};
	UPDATE payledger.seals SET digests = overlay(digests PLACING
			(SELECT digest FROM payledger.entry_digests($victim->{id}, $victim->{id})) FROM 24 * $victim->{place} + 9 FOR 16)
	 WHERE seal_no = $victim->{seal_no};
	SQL
my $recompute = <<~'SQL';
	UPDATE payledger.seals s
	   SET sha256 = sha256((SELECT p.sha256 FROM payledger.seals p WHERE p.seal_no = s.seal_no - 1)
						   || int8send(seal_no) || int8send(fold_no) || timestamptz_send(sealed_at) || int4send(entries) || digests || accounts)
	 WHERE seal_no =
	SQL

is(broken($forge, "SELECT count(*) FROM payledger.tampered_entries()"), 0, 'an entry whose digest was recomputed agrees with its seal');
like(broken($forge), qr/^seal $victim->{seal_no} was changed.*does not match$/, 'but the seal does not agree with itself');
like(broken("$forge $recompute $victim->{seal_no}"), qr/^seal @{[ $victim->{seal_no} + 1 ]} was changed, or the one before it.*$/,
	'a seal that was recomputed too does not agree with the next');
my $whole = join '; ', $forge, map { "$recompute $_" } $victim->{seal_no} .. $seals;
is(broken($whole, 'SELECT count(*) FROM payledger.verify(true) WHERE NOT ok'), 1, 'the whole chain recomputed: the guards alone are missed');
is(broken($whole, "SELECT payledger.check_seal($seals, '$newest')"), 'f', 'but a copy of the newest SHA-256 tells');
is(sql($node, "SELECT payledger.check_seal($seals, '$newest')"), 't', 'it is still the newest without that');
is(broken(sprintf("UPDATE payledger.seals SET digests = $flip WHERE seal_no = 2", 0), "SELECT payledger.check_seal($seals, '$newest')"),
	'f', 'a copy does not help a chain that is broken before it');

# ---- entries are edited ----

# from an id to one that is free: another node's, of the millisecond before
my $apart = -(1 << 12);

# Each kind of edit: given an entry and another one, the statements, and what
# becomes of which entries.
my %kinds = (
	'both amounts' => sub {
		my ($e) = @_;
		my $by = 1 + int(rand(1000));
		return ("UPDATE payledger.postings SET amount = amount + sign(amount)::int * $by " . of($e) . ' AND leg <= 2', changed => $e->{id});
	},
	'account' => sub {
		my ($e) = @_;
		return (<<~"SQL" . of($e) . ' AND leg = 2', changed => $e->{id});
			UPDATE payledger.postings p SET account_id = (
				SELECT o.account_id FROM payledger.accounts a JOIN payledger.accounts o ON o.currency = a.currency
				 WHERE a.account_id = p.account_id AND o.account_id <> a.account_id ORDER BY o.account_id LIMIT 1)
			SQL
	},
	'legs exchanged' => sub {
		my ($e) = @_;
		return (join('; ', map { "UPDATE payledger.postings SET leg = $_->[1] " . of($e) . " AND leg = $_->[0]" }
				[ 1, 99 ], [ 2, 1 ], [ 99, 2 ]), changed => $e->{id});
	},
	'legs added' => sub {
		my ($e) = @_;
		return ('INSERT INTO payledger.postings SELECT journal_entry_id, account_id, amount, transaction_no,'
			  . " leg + $e->{legs} FROM payledger.postings " . of($e), changed => $e->{id});
	},
	'leg deleted' => sub { ('DELETE FROM payledger.postings ' . leg_of($_[0]), changed => $_[0]->{id}) },
	'legs deleted' => sub { ('DELETE FROM payledger.postings ' . of($_[0]), stripped => $_[0]->{id}) },
	'header deleted' => sub { ('DELETE FROM payledger.journal_entries ' . of($_[0]), beheaded => $_[0]->{id}) },
	'entry deleted' => sub { (in_both('DELETE FROM %s', $_[0]), deleted => $_[0]->{id}) },
	'entry renumbered' => sub {
		my ($e) = @_;
		return (in_both('UPDATE %s SET journal_entry_id = ' . ($e->{id} + $apart), $e), deleted => $e->{id}, inserted => $e->{id} + $apart);
	},
	'entry inserted' => sub {
		my ($e) = @_;
		return (copy($e, 'transaction_no'), inserted => $e->{id} + $apart);
	},
	'entry inserted with a number not folded yet' => sub {
		my ($e) = @_;
		return (copy($e, "(SELECT max(transaction_no) FROM payledger.postings WHERE journal_entry_id = $first_unsealed)"),
			backdated => $e->{id} + $apart);
	},
	'entry inserted with a number to come' => sub {
		my ($e) = @_;
		return (copy($e, 'transaction_no + (1::bigint << 40)'), unborn => $e->{id} + $apart);
	},
	'ids of postings swapped' => sub { (swap('postings', @_), map { (changed => $_->{id}) } @_) },
	'ids of headers swapped' => sub { (swap('journal_entries', @_), map { (changed => $_->{id}) } @_) });

# the simple ones: table, which rows, what is set
for my $simple (
	[ 'one amount' => 'postings', \&leg_of, 'amount = amount + sign(amount)::int' ],
	[ 'sides' => 'postings', \&of, 'amount = -amount' ],
	[ 'one transaction number' => 'postings', \&leg_of, 'transaction_no = transaction_no + 1' ],
	[ 'all transaction numbers' => 'postings', \&of, 'transaction_no = transaction_no - 1' ],
	[ 'entry type' => 'journal_entries', \&of, q{entry_type = entry_type || '_'} ],
	[ 'reference' => 'journal_entries', \&of, q{reference = coalesce(reference, '') || ':' || journal_entry_id} ],
	[ 'reference removed' => 'journal_entries', \&of, q{reference = CASE WHEN reference IS NULL THEN 'R:' || journal_entry_id END} ],
	[ 'metadata' => 'journal_entries', \&of, q[metadata = coalesce(metadata, '{}') || '{"note": "x"}'] ],
	[ 'metadata removed' => 'journal_entries', \&of, q[metadata = CASE WHEN metadata IS NULL THEN '{}'::jsonb END] ],
	[ 'recorded_at' => 'journal_entries', \&of, q{recorded_at = recorded_at - interval '1 microsecond'} ],
	[ 'effective_at' => 'journal_entries', \&of, q{effective_at = effective_at + interval '1 day'} ],
	[ 'payment_id' => 'journal_entries', \&of, 'payment_id = journal_entry_id' ],
	[ 'reverses' => 'journal_entries', \&of, 'reverses = coalesce(reverses, 0) + 1' ],
	[ 'reverses removed' => 'journal_entries', \&of, 'reverses = CASE WHEN reverses IS NULL THEN journal_entry_id - 1 END' ])
{
	my ($kind, $table, $rows, $set) = @$simple;

	$kinds{$kind} = sub { ("UPDATE payledger.$table SET $set " . $rows->($_[0]), changed => $_[0]->{id}) };
}

sub of { return "WHERE journal_entry_id = $_[0]->{id}" }
sub leg_of { return of($_[0]) . ' AND leg = ' . (1 + int(rand($_[0]->{legs}))) }

sub in_both
{
	my ($statement, $e) = @_;

	return join '; ', map { sprintf($statement, "payledger.$_") . ' ' . of($e) } qw(postings journal_entries);
}

sub swap
{
	my ($table, $e, $other) = @_;

	return join '; ', map { "UPDATE payledger.$table SET journal_entry_id = $_->[1] WHERE journal_entry_id = $_->[0]" }
	  [ $e->{id}, -1 ], [ $other->{id}, $e->{id} ], [ -1, $other->{id} ];
}

# A copy of the entry with another id and transaction number.
sub copy
{
	my ($e, $transaction_no) = @_;

	return <<~"SQL" . of($e);
		INSERT INTO payledger.journal_entries (journal_entry_id, recorded_at, effective_at, entry_type)
		SELECT journal_entry_id + $apart, recorded_at, recorded_at, entry_type FROM payledger.journal_entries @{[ of($e) ]};
		INSERT INTO payledger.postings (journal_entry_id, account_id, amount, transaction_no, leg)
		SELECT journal_entry_id + $apart, account_id, amount, $transaction_no, leg FROM payledger.postings
		SQL
}

my %says = (
	changed => 'entry %d was changed since seal \d+',
	deleted => 'entry %d was deleted since seal \d+',
	beheaded => 'entry %d was deleted since seal \d+, its postings are still there',
	stripped => 'the postings of entry %d were deleted since seal \d+',
	inserted => 'entry %d was inserted behind fold \d+, which should have sealed it',
	backdated => 'entry %d was inserted with an id from before fold \d+',
	unborn => 'entry %d was inserted with a transaction number that was never given out');

my @entries = shuffle(rows($node, <<~"SQL"));
	SELECT j.journal_entry_id AS id, j.entry_type AS type,
		   (SELECT count(*) FROM payledger.postings p WHERE p.journal_entry_id = j.journal_entry_id) AS legs
	  FROM payledger.journal_entries j WHERE j.journal_entry_id < $first_unsealed
	SQL
my @kinds = (sort keys %kinds) x (1 + $edits / keys %kinds);
my %expected;
my @statements;
for my $kind (shuffle(@kinds[ 0 .. $edits - 1 ]))
{
	my $entry = shift @entries;

	# of another type, or nothing would change where they are swapped
	my $other = splice @entries, first(sub { $entries[$_]->{type} ne $entry->{type} }, 0 .. $#entries), 1;
	my ($statement, @becomes) = $kinds{$kind}->($entry, $other);

	push @statements, $statement;
	while (my ($what, $id) = splice @becomes, 0, 2)
	{
		$expected{$id} = "$kind: $what";
	}
}
is(scalar @statements, $edits, "$edits edits (seed $seed)");

sql($node, join ";\n", (map { "ALTER TABLE payledger.$_ DISABLE TRIGGER ALL" } qw(journal_entries postings)), @statements,
	(map { "ALTER TABLE payledger.$_ ENABLE ALWAYS TRIGGER refuse_change" } qw(journal_entries postings)),
	'ALTER TABLE payledger.journal_entries ENABLE ALWAYS TRIGGER check_journal_entries',
	'ALTER TABLE payledger.postings ENABLE ALWAYS TRIGGER check_postings');

my %found = map { $_->{journal_entry_id} => $_->{offence} }
  rows($node, 'SELECT journal_entry_id, offence FROM payledger.tampered_entries()');
for my $id (sort { $a <=> $b } keys %expected)
{
	my ($what) = $expected{$id} =~ /: (\w+)$/;
	my $pattern = $says{$what} =~ s/%d/$id/r;

	like(delete $found{$id} // 'not found', qr/^$pattern$/, "$expected{$id} (seed $seed)");
}
is(join(', ', sort values %found), '', "no other entry is named (seed $seed)");

my $count = keys %expected;
my ($lowest) = sort { $a <=> $b } keys %expected;
like(verify('entries_match_seals'), qr/^$count offences, the first: [a-z ]*entry $lowest /, 'verify() names the first');
is(verify('seals_are_chained'), '', 'the seals are what they were');
is(verify('ledger_is_guarded'), '', 'the guards are in force again');

$node->stop;
done_testing();
