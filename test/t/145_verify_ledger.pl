# Each of the ledger's checks finds what it is for: an edit with all triggers
# disabled, what the check says, and the edit is undone.

use strict;
use warnings FATAL => 'all';

use List::Util qw(first);
use PayledgerTest;
use Test::More;

my $node = new_node('verify_ledger', 'payledger.databases' => '', 'fsync' => 'off');

sql($node, <<~'SQL');
	SELECT payledger.add_ledger('BRANCH', 'a ledger with closed months');
	SELECT payledger.open_account('PLATFORM_CASH', 'GLOBAL', c), payledger.open_account('BANK_FEES', 'GLOBAL', c)
	  FROM unnest(ARRAY['EUR', 'USD']) AS c;
	SELECT payledger.open_account('MERCHANT_PAYABLE', 'GUARDED', 'EUR', floor => 0, ceiling => 10000);
	SELECT payledger.open_account(t, 'BRANCH', 'EUR', 'BRANCH') FROM unnest(ARRAY['PLATFORM_CASH', 'BANK_FEES']) AS t;

	CREATE FUNCTION post(reference text, debit text, credit text, amount bigint, at timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT journal_entry_id FROM payledger.post_entry('TEST', jsonb_build_array(
		jsonb_build_object('account', debit, 'amount', amount), jsonb_build_object('account', credit, 'amount', -amount)), reference, at) $$;
	CREATE FUNCTION entry(reference text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT journal_entry_id FROM payledger.journal_entries j WHERE j.reference = entry.reference $$;
	CREATE FUNCTION account(code text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT account_id FROM payledger.accounts WHERE account_code = code $$;

	SELECT post('PLAIN', 'PLATFORM_CASH.GLOBAL.EUR', 'MERCHANT_PAYABLE.GUARDED.EUR', 5000);
	SELECT post('DATED', 'PLATFORM_CASH.GLOBAL.EUR', 'BANK_FEES.GLOBAL.EUR', 70, '2025-02-01');
	SELECT post('REVERSED', 'PLATFORM_CASH.GLOBAL.USD', 'BANK_FEES.GLOBAL.USD', 800);
	SELECT payledger.reverse_entry(entry('REVERSED'), 'a part', '[{"account":"PLATFORM_CASH.GLOBAL.USD","amount":-300},{"account":"BANK_FEES.GLOBAL.USD","amount":300}]');
	SELECT payledger.convert_currency('PLATFORM_CASH.GLOBAL.USD', 110, 'PLATFORM_CASH.GLOBAL.EUR', 100, reference => 'FX');
	SELECT payledger.place_hold('MERCHANT_PAYABLE.GUARDED.EUR', 100, reference => 'ACTIVE');
	SELECT payledger.commit_hold(hold_id, 'OUT', '[{"account":"MERCHANT_PAYABLE.GUARDED.EUR","amount":200},{"account":"PLATFORM_CASH.GLOBAL.EUR","amount":-200}]')
	  FROM payledger.place_hold('MERCHANT_PAYABLE.GUARDED.EUR', 300, reference => 'COMMITTED');
	SELECT payledger.fold_postings();
	SELECT count(*) FROM payledger.post_entries((SELECT jsonb_agg(jsonb_build_object('entry_type', 'MANY', 'postings', jsonb_build_array(
			jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.EUR', 'amount', i), jsonb_build_object('account', 'BANK_FEES.GLOBAL.EUR', 'amount', -i))))
		FROM generate_series(1, 1200) i));
	SELECT post('JANUARY', 'PLATFORM_CASH.BRANCH.EUR', 'BANK_FEES.BRANCH.EUR', 10, '2025-01-10');
	SELECT post('MARCH', 'PLATFORM_CASH.BRANCH.EUR', 'BANK_FEES.BRANCH.EUR', 300, '2025-03-10');
	SELECT payledger.fold_postings();
	SQL
sql($node, "CALL payledger.close_period('BRANCH', '2025-0$_-01')") for 1, 2, 3;
sql($node, "SELECT payledger.reopen_period('BRANCH', '2025-03-01', 'a test')");

is(sql($node, 'SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok'), '', 'verify() finds nothing');

my %seen;

# What one check says after an edit: offences like these, in any order.
sub finds
{
	my ($check, $edit, @patterns) = @_;
	my @found = split /\n/, sql($node, <<~"SQL");
		BEGIN;
		SELECT format('ALTER TABLE %s DISABLE TRIGGER ALL', oid::regclass) FROM pg_class
		 WHERE relnamespace = 'payledger'::regnamespace AND relkind = 'r' ORDER BY relname \\gexec
		$edit;
		SELECT query FROM payledger.ledger_checks() WHERE check_name = '$check' \\gexec
		ROLLBACK;
		SQL

	$seen{$check}++;
	for my $pattern (@patterns)
	{
		my $i = first { $found[$_] =~ /^$pattern$/ } 0 .. $#found;

		if (!defined $i)
		{
			fail("$check: $edit");
			diag("no offence is like: $pattern\n", map { "$_\n" } @found);
			return;
		}
		splice @found, $i, 1;
	}
	is(join("\n", @found), '', "$check: $edit");
	return;
}

my $id = '\d{15,}';

# the journal
finds('entries_are_whole', q{DELETE FROM payledger.postings WHERE journal_entry_id = entry('PLAIN') AND leg = 2}, "entry $id has 1 postings, the highest leg is 1");
finds('entries_are_whole', q{DELETE FROM payledger.postings WHERE journal_entry_id = entry('PLAIN')}, "entry $id has 0 postings, the highest leg is ");
finds('entries_are_whole', q{UPDATE payledger.postings SET leg = 3 WHERE journal_entry_id = entry('PLAIN') AND leg = 2}, "entry $id has 2 postings, the highest leg is 3");
finds('entries_are_whole', q{UPDATE payledger.postings SET transaction_no = 1 WHERE journal_entry_id = entry('PLAIN') AND leg = 2}, "the postings of entry $id are of several transactions");
finds('entries_balance', q{UPDATE payledger.postings SET amount = 5001 WHERE journal_entry_id = entry('PLAIN') AND leg = 1}, "entry $id is off by 0.01 EUR in ledger MAIN");
finds('entries_balance', q{UPDATE payledger.postings SET account_id = account('PLATFORM_CASH.BRANCH.EUR') WHERE journal_entry_id = entry('PLAIN') AND leg = 1},
	"entry $id is off by 50.00 EUR in ledger BRANCH", "entry $id is off by -50.00 EUR in ledger MAIN");
finds('postings_have_entries', q{DELETE FROM payledger.journal_entries WHERE reference = 'PLAIN'}, "posting $id/1 has no entry", "posting $id/2 has no entry");
finds('postings_have_accounts', q{UPDATE payledger.postings SET account_id = 42 WHERE journal_entry_id = entry('PLAIN') AND leg = 1}, "posting $id/1 is on account 42, which does not exist");
finds('recorded_at_is_in_the_id', q{UPDATE payledger.journal_entries SET recorded_at = '2025-01-01' WHERE reference = 'PLAIN'}, "entry $id was recorded at 2025-01-01 00:00:00\\+00");
finds('recorded_at_is_in_the_id', q{UPDATE payledger.journal_entries SET journal_entry_id = -5 WHERE reference = 'PLAIN'}, 'entry -5 was recorded at .*');
my $reversal = q{(SELECT journal_entry_id FROM payledger.journal_entries WHERE reverses = entry('REVERSED'))};
finds('reversals_mirror', qq{UPDATE payledger.postings SET amount = 3 * amount WHERE journal_entry_id = $reversal},
	"entry $id posted 800 on account PLATFORM_CASH.GLOBAL.USD, its reversals debited 0 and credited 900",
	"entry $id posted -800 on account BANK_FEES.GLOBAL.USD, its reversals debited 900 and credited 0");
finds('reversals_mirror', qq{UPDATE payledger.postings SET amount = -amount WHERE journal_entry_id = $reversal},
	"entry $id posted 800 on account PLATFORM_CASH.GLOBAL.USD, its reversals debited 300 and credited 0", "entry $id posted -800 on account BANK_FEES.GLOBAL.USD, its reversals debited 0 and credited 300");
finds('reversals_mirror', qq{UPDATE payledger.journal_entries SET reverses = 42 WHERE journal_entry_id = $reversal},
	"entry 42 posted 0 on .*", "entry 42 posted 0 on .*", "entry $id reverses entry 42, which does not exist");
finds('reversals_mirror', q{UPDATE payledger.journal_entries SET reverses = entry('PLAIN') WHERE reference = 'REVERSED'},
	"entry $id posted .*", "entry $id posted .*", "entry $id reverses entry $id, which is a reversal itself");
my $shift = q{WHERE journal_entry_id = entry('DATED') AND leg = 1 AND at = '2025-02-01'};
finds('effective_shifts_match', "DELETE FROM payledger.effective_shifts $shift", "posting $id/1 has no shift of 70 at 2025-02-01 00:00:00\\+00");
finds('effective_shifts_match', "UPDATE payledger.effective_shifts SET leg = 3 $shift",
	"posting $id/1 has no shift of 70 at .*", "the shift of 70 at 2025-02-01 00:00:00\\+00 does not follow from posting $id/3");
finds('effective_shifts_match', "UPDATE payledger.effective_shifts SET amount = 71, account_id = 42, transaction_no = 43 $shift",
	"posting $id/1 is 70 on account $id in transaction $id, its shift at 2025-02-01 00:00:00\\+00 is 71 on account 42 in 43");
finds('effective_shifts_match', q{UPDATE payledger.journal_entries SET effective_at = recorded_at WHERE reference = 'DATED'},
	("the shift of -?70 at .* does not follow from posting $id/[12]") x 4);

# balances
my $cash = q{WHERE account_id = account('PLATFORM_CASH.GLOBAL.EUR')};
finds('balances_match_postings', "UPDATE payledger.balance_snapshots SET balance = balance + 1 $cash",
	'account PLATFORM_CASH.GLOBAL.EUR: the folded balance is 725371 of 1204 postings, its postings are 725370 in 1204');
finds('balances_match_postings', "UPDATE payledger.balance_snapshots SET postings = postings + 1 $cash", 'account .* of 1205 postings, .* in 1204');
finds('balances_match_postings', "DELETE FROM payledger.balance_snapshots $cash", 'account .*: the folded balance is 0 of 0 postings, .*');
finds('trial_balance_nets_to_zero', "UPDATE payledger.balance_snapshots SET balance = balance + 1 $cash", 'EUR in ledger MAIN: debits are \d+, credits \d+');
finds('folds_follow_each_other', 'DELETE FROM payledger.folds WHERE fold_no = 1', 'fold 2 does not follow fold 0');
finds('folds_follow_each_other', 'DELETE FROM payledger.folds WHERE fold_no = 0', 'fold 1 does not follow fold at the beginning');
finds('folds_follow_each_other', 'UPDATE payledger.folds SET snapshot_xmax = 1 WHERE fold_no = 2', 'fold 2 does not follow fold 1');
finds('folds_follow_each_other', 'UPDATE payledger.folds SET xip_after = xip_after || 1::bigint WHERE fold_no = 1', 'fold 1 does not follow fold 0');
finds('folds_follow_each_other', 'UPDATE payledger.folds SET unseen_after = 1 WHERE fold_no = 1', 'fold 1 does not follow fold 0');
finds('limits_hold', q{UPDATE payledger.accounts SET floor = 4701 WHERE account_code = 'MERCHANT_PAYABLE.GUARDED.EUR'},
	'account MERCHANT_PAYABLE.GUARDED.EUR: the balance is 4800, held 100, the floor 4701, the ceiling 10000');
finds('limits_hold', q{UPDATE payledger.accounts SET ceiling = 4799, floor = NULL WHERE account_code = 'MERCHANT_PAYABLE.GUARDED.EUR'},
	'account MERCHANT_PAYABLE.GUARDED.EUR: the balance is 4800, held 100, the floor none, the ceiling 4799');
finds('limits_hold', q{UPDATE payledger.journal_entries SET payment_id = 1 WHERE reference = 'PLAIN'; UPDATE payledger.accounts SET floor = 4701 WHERE account_code = 'MERCHANT_PAYABLE.GUARDED.EUR'});
finds('checkpoints_match_postings', "UPDATE payledger.balance_checkpoints SET balance = balance + 1 $cash",
	'account \d+: the checkpoint of fold 2 is 725371, its postings are 725370');
finds('checkpoints_match_postings', "UPDATE payledger.balance_snapshots SET checkpointed = checkpointed + 1 $cash",
	'account \d+: the newest checkpoint counts 1205 postings, they are 1204');
finds('checkpoints_match_postings', "DELETE FROM payledger.balance_checkpoints $cash", 'account \d+: the newest checkpoint counts 1204 postings, they are 0');
finds('effective_shift_totals_match', "UPDATE payledger.effective_shift_totals SET amount = amount + 1 $cash AND level = 2 AND amount = 70", 'account \d+, level 2, block 720: the total is 71, its shifts are 70');
finds('effective_shift_totals_match', "DELETE FROM payledger.effective_shift_totals $cash AND level = 0 AND amount = 70", 'account \d+, level 0, block \d+: the total is 0, its shifts are 70');

# seals: test/t/140_tamper.pl has more
finds('seals_are_chained', 'DELETE FROM payledger.seals WHERE seal_no = 1', 'seal 1 is missing');
finds('entries_match_seals', q{UPDATE payledger.journal_entries SET metadata = '{}' WHERE reference = 'PLAIN'}, "entry $id was changed since seal 1");
finds('accounts_match_seals', q{UPDATE payledger.accounts SET entity_id = 'X', account_code = 'BANK_FEES.X.USD' WHERE account_code = 'BANK_FEES.GLOBAL.USD'},
	"account $id was changed since seal 1: it is BANK_FEES.X.USD in ledger MAIN now");
finds('accounts_match_seals', q{UPDATE payledger.accounts SET ledger = 'MAIN' WHERE account_code = 'PLATFORM_CASH.BRANCH.EUR'},
	"account $id was changed since seal 2: it is PLATFORM_CASH.BRANCH.EUR in ledger MAIN now");
finds('accounts_match_seals', q{UPDATE payledger.account_types SET normal_side = 'CREDIT' WHERE account_type = 'FX_CLEARING'},
	map { "account $id was changed since seal 1: it is FX_CLEARING.GLOBAL.$_ in ledger MAIN now" } 'EUR', 'USD');
finds('accounts_match_seals', q{DELETE FROM payledger.accounts WHERE account_code = 'MERCHANT_PAYABLE.GUARDED.EUR'}, "account $id was deleted since seal 1");
finds('accounts_match_seals', q{UPDATE payledger.accounts SET account_id = 42 WHERE account_code = 'MERCHANT_PAYABLE.GUARDED.EUR'}, "account $id was deleted since seal 1");
finds('entries_are_sealed_once', q{INSERT INTO payledger.seals SELECT 3, 2, sealed_at, 1, substr(digests, 1, 24), '', sha256 FROM payledger.seals WHERE seal_no = 1}, "entry $id is in seals 1 and 3");
finds('seals_match_folds', 'DELETE FROM payledger.seals WHERE seal_no = 2', 'fold 2 folded 2404 postings, its sealed entries have 0');
finds('seals_match_folds', 'UPDATE payledger.folds SET postings = 2405 WHERE fold_no = 2', 'fold 2 folded 2405 postings, its sealed entries have 2404');

# holds
finds('accounts_held_match', q{UPDATE payledger.accounts SET held = 101 WHERE account_code = 'MERCHANT_PAYABLE.GUARDED.EUR'},
	'account MERCHANT_PAYABLE.GUARDED.EUR: 101 are held, its active holds reserve 100');
finds('accounts_held_match', q{UPDATE payledger.holds SET account_id = 42 WHERE reference = 'COMMITTED'}, "hold $id is on account 42, which does not exist");
finds('hold_status_matches_amounts', q{UPDATE payledger.holds SET committed_amount = 0 WHERE reference = 'COMMITTED'}, "hold $id is COMMITTED with 0 of 300 committed");
finds('hold_status_matches_amounts', q{UPDATE payledger.holds SET committed_amount = 100 WHERE reference = 'ACTIVE'}, "hold $id is ACTIVE with 100 of 100 committed");
finds('hold_status_matches_history', q{UPDATE payledger.holds SET status = 'EXPIRED' WHERE reference = 'COMMITTED'}, "hold $id is EXPIRED, its history says COMMITTED");
finds('hold_status_matches_history', q{DELETE FROM payledger.state_history WHERE machine = 'hold' AND to_status = 'COMMITTED'}, "hold $id is COMMITTED, its history says ACTIVE");

finds('holds_match_entries', q{UPDATE payledger.holds SET amount = 199, committed_amount = 199 WHERE reference = 'COMMITTED'}, "hold $id has 199 committed, its entries took 200");
finds('holds_match_entries', q{UPDATE payledger.holds SET amount = 400, committed_amount = 400 WHERE reference = 'COMMITTED'}, "hold $id has 400 committed, its entries took 200");

# periods
finds('ledgers_match_periods', q{UPDATE payledger.ledgers SET closed_before = NULL WHERE ledger = 'BRANCH'},
	'ledger BRANCH is closed before nothing, its last closed month ends at 2025-03-01 00:00:00\+00');
finds('ledgers_match_periods', q{UPDATE payledger.ledgers SET closed_before = '2025-05-01' WHERE ledger = 'MAIN'},
	'ledger MAIN is closed before 2025-05-01 00:00:00\+00, its last closed month ends at nothing');
finds('ledgers_match_periods', q{DELETE FROM payledger.period_events WHERE event = 'REOPENED'}, 'month 2025-03-01 of ledger BRANCH is open, its newest event is CLOSED');
finds('ledgers_match_periods', q{DELETE FROM payledger.period_events WHERE month = '2025-01-01'}, 'month 2025-01-01 of ledger BRANCH is closed, its newest event is missing');
my $later = q{UPDATE payledger.journal_entries SET journal_entry_id = payledger.next_id() WHERE reference = '%1$s'; UPDATE payledger.postings SET journal_entry_id = entry('%1$s') WHERE account_id IN (account('PLATFORM_CASH.BRANCH.EUR'), account('BANK_FEES.BRANCH.EUR')) AND amount IN (10, -10)};
finds('closed_months_are_left_alone', sprintf($later, 'JANUARY'), "entry $id was recorded after ledger BRANCH was closed for 2025-01-10 00:00:00\\+00");
finds('closed_months_are_left_alone', sprintf($later, 'JANUARY') . q{; UPDATE payledger.journal_entries SET effective_at = '2024-05-01' WHERE reference = 'JANUARY'},
	"entry $id was recorded after ledger BRANCH was closed for 2024-05-01 00:00:00\\+00");
finds('closed_months_are_left_alone', sprintf($later, 'JANUARY') . q{; UPDATE payledger.journal_entries SET effective_at = '2025-03-01' WHERE reference = 'JANUARY'});
finds('closing_balances_match', q{UPDATE payledger.closing_balances SET balance = balance + 1 WHERE month = '2025-01-01' AND balance > 0},
	'account PLATFORM_CASH.BRANCH.EUR: the closing balance of 2025-01 is off by 1');
finds('closing_balances_match', q{DELETE FROM payledger.closing_balances WHERE month = '2025-02-01' AND balance < 0},
	'account BANK_FEES.BRANCH.EUR: the closing balance of 2025-02 is off by 10');
finds('closing_balances_match', q{UPDATE payledger.journal_entries SET effective_at = '2025-02-10' WHERE reference = 'MARCH'},
	'account PLATFORM_CASH.BRANCH.EUR: the closing balance of 2025-02 is off by -300', 'account BANK_FEES.BRANCH.EUR: the closing balance of 2025-02 is off by 300');
finds('closing_balances_match', q{UPDATE payledger.periods SET has_balances = false WHERE month = '2025-02-01'}, 'month 2025-02-01 of ledger BRANCH has no closing balances');

# conversions
finds('conversions_match_entries', 'UPDATE payledger.conversions SET credit_amount = 101, rate = rate * 1.01', "conversion $id of 110 USD to 101 EUR: its entry debited 110 and credited 100");
finds('conversions_match_entries', 'UPDATE payledger.conversions SET rate = 0.92', "conversion $id of 1.10 USD to 1.00 EUR has the rate 0.92");
finds('conversions_match_entries', 'UPDATE payledger.conversions SET journal_entry_id = 42', 'conversion 42 of 110 USD to 100 EUR: its entry debited nothing and credited nothing');

# all guards of all tables that hold money or what happened to it
my @guards = rows($node, <<~'SQL');
	SELECT c.relname AS table, t.tgname AS name FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	 WHERE c.relnamespace = 'payledger'::regnamespace AND t.tgenabled = 'A' AND c.relname <> 'gateways' ORDER BY 1, 2
	SQL
cmp_ok(scalar @guards, '>=', 40, 'there are guards');
for my $guard (@guards)
{
	is(sql($node, <<~"SQL"), 't', "verify() says that trigger $guard->{name} of $guard->{table} is disabled");
		BEGIN;
		ALTER TABLE payledger.$guard->{table} DISABLE TRIGGER $guard->{name};
		SELECT bool_or(detail LIKE '%trigger $guard->{name} of $guard->{table} is not ENABLE ALWAYS%') FROM payledger.verify() WHERE NOT ok;
		ROLLBACK;
		SQL
}

is(sql($node, 'SELECT check_name FROM payledger.ledger_checks()') =~ s/^(\w+)\n?/$seen{$1} ? '' : "$1 "/gemr, 'ledger_is_guarded ', 'every check was tried');

$node->stop;
done_testing();
