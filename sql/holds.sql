-- Holds: placed, committed in whole or part, released, expired; and what they
-- leave of an account.  outcome() comes from 010_setup.
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT payledger.state_diagram('hold');

-- SELLER has 1000 and must not go below 0; CASH is a debit account without limits
SELECT count(*) FROM (
	SELECT payledger.open_account('MERCHANT_PAYABLE', 'HOLDS', 'SEK', floor => 0)
	 UNION ALL SELECT payledger.open_account('MERCHANT_PAYABLE', 'HOLDS-2', 'SEK', floor => -500)
	 UNION ALL SELECT payledger.open_account('PLATFORM_CASH', 'HOLDS', 'SEK')
	 UNION ALL SELECT payledger.open_account('BANK_FEES', 'HOLDS', 'SEK')) AS opened;
\set seller '''MERCHANT_PAYABLE.HOLDS.SEK'''
\set other '''MERCHANT_PAYABLE.HOLDS-2.SEK'''
\set cash '''PLATFORM_CASH.HOLDS.SEK'''

-- from the seller to cash: what a payout does
CREATE FUNCTION pays(amount bigint, account text DEFAULT 'MERCHANT_PAYABLE.HOLDS.SEK') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_array(jsonb_build_object('account', account, 'amount', amount),
							jsonb_build_object('account', 'PLATFORM_CASH.HOLDS.SEK', 'amount', -amount)) $$;
CREATE VIEW seller AS SELECT payledger.balance('MERCHANT_PAYABLE.HOLDS.SEK') AS balance,
	payledger.available_balance('MERCHANT_PAYABLE.HOLDS.SEK') AS available;
SELECT replayed FROM payledger.post_entry('TOP_UP', pays(-1000));
SELECT * FROM seller;

-- placed
SELECT hold_id AS h1, account_code, amount, status, expires_at, replayed FROM payledger.place_hold(:seller, 600) \gset h_
\echo :h_account_code :h_amount :h_status :h_replayed
SELECT * FROM seller;
SELECT held FROM payledger.accounts WHERE account_code = :seller;
SELECT outcome(format('SELECT payledger.place_hold(%L, 401)', :seller));
SELECT outcome('SELECT payledger.post_entry(''PAYOUT'', pays(401))');
SELECT outcome('SELECT payledger.post_entry(''PAYOUT'', pays(100))');
SELECT * FROM seller;

-- committed in whole: what is held does not count against the entry itself
SELECT account_code, amount, committed_amount, status, journal_entry_id AS e1, replayed
  FROM payledger.commit_hold(:h_h1, 'PAYOUT', pays(600), 'HOLDS:1', metadata => '{"why": "test"}') \gset c_
\echo :c_account_code :c_amount :c_committed_amount :c_status :c_replayed
SELECT * FROM seller;
SELECT entry_type, reference, metadata - 'hold_id' AS metadata, metadata ->> 'hold_id' = :'h_h1' AS names_its_hold
  FROM payledger.journal_entries WHERE journal_entry_id = :c_e1;
-- again: the same entry, and nothing else
SELECT journal_entry_id = :c_e1 AS same, committed_amount, status, replayed
  FROM payledger.commit_hold(:h_h1, 'PAYOUT', pays(600), 'HOLDS:1', metadata => '{"why": "test"}');
SELECT * FROM seller;
-- with other content; by another hold; without reference
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(599), ''HOLDS:1'', metadata => ''{"why": "test"}'')', :h_h1));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(600))', :h_h1));
SELECT hold_id AS h2 FROM payledger.place_hold(:seller, 200) \gset
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(600), ''HOLDS:1'', metadata => ''{"why": "test"}'')', :h2));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(200), metadata => ''{"hold_id": "1"}'')', :h2));

-- committed in part: the rest is freed
SELECT amount, committed_amount, status FROM payledger.commit_hold(:h2, 'PAYOUT', pays(50));
SELECT * FROM seller;

-- or kept, for further commits
SELECT hold_id AS h3 FROM payledger.place_hold(:seller, 100, reference => 'HOLDS:3') \gset
SELECT committed_amount, status, replayed FROM payledger.commit_hold(:h3, 'PAYOUT', pays(40), 'HOLDS:3a', keep_rest => true);
SELECT * FROM seller;
SELECT committed_amount, status, replayed FROM payledger.commit_hold(:h3, 'PAYOUT', pays(40), 'HOLDS:3a', keep_rest => true);
SELECT * FROM seller;
-- what is committed stays so: its entry has taken the funds
SELECT outcome(format('UPDATE payledger.holds SET committed_amount = 39 WHERE hold_id = %s', :h3));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(61), keep_rest => true)', :h3));
SELECT committed_amount, status, replayed FROM payledger.commit_hold(:h3, 'PAYOUT', pays(60), 'HOLDS:3b', keep_rest => true);
SELECT committed_amount, status, replayed FROM payledger.commit_hold(:h3, 'PAYOUT', pays(40), 'HOLDS:3a', keep_rest => true);
SELECT * FROM seller;

-- an entry that is refused leaves the hold as it was
SELECT hold_id AS h4 FROM payledger.place_hold(:seller, 100) \gset
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(101))', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(-50))', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(50, ''MERCHANT_PAYABLE.HOLDS-2.SEK''))', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', ''[]'')', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', ''{}'')', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', ''[{"account": "MERCHANT_PAYABLE.HOLDS.SEK", "amount": 10}]'')', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(10, ''MERCHANT_PAYABLE.NOBODY.SEK''))', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''payout'', pays(10))', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(10), effective_at => ''infinity'')', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(10), metadata => ''[]'')', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', NULL)', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, NULL, pays(10))', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(10), keep_rest => NULL)', :h4));
SELECT outcome('SELECT payledger.commit_hold(NULL, ''PAYOUT'', pays(10))');
SELECT outcome('SELECT payledger.commit_hold(42, ''PAYOUT'', pays(10))');
-- the floor of another account, and of this one beyond the hold
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(100) || pays(501, %L))', :h4, :other));
SELECT amount, committed_amount, status FROM payledger.holds WHERE hold_id = :h4;
SELECT * FROM seller;
-- several legs on the account: their sum counts
SELECT committed_amount, status FROM payledger.commit_hold(:h4, 'PAYOUT', pays(130) || pays(-40) || pays(500, :other), keep_rest => true);
SELECT * FROM seller;

-- released
SELECT account_code, amount, committed_amount, status FROM payledger.release_hold(:h4);
SELECT * FROM seller;
SELECT outcome(format('SELECT payledger.release_hold(%s)', :h4));
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(10))', :h4));
SELECT outcome('SELECT payledger.release_hold(42)');
SELECT outcome('SELECT payledger.release_hold(NULL)');

-- expired: an overdue hold cannot be committed, and holds the funds until it is expired,
-- by the keeper or by what would be refused because of it
SELECT replayed FROM payledger.post_entry('TOP_UP', pays(-100));
SELECT outcome(format('SELECT payledger.place_hold(%L, 1, ''2025-01-31'')', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, 1, ''-infinity'')', :seller));
SELECT hold_id AS h5, expires_at > now() AS expires FROM payledger.place_hold(:seller, 60, now() + interval '1 hour', 'HOLDS:5') \gset
SELECT hold_id AS h6 FROM payledger.place_hold(:seller, 30, 'infinity') \gset
SELECT payledger.expire_holds();
UPDATE payledger.holds SET expires_at = '2025-01-31' WHERE hold_id = :h5;
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(10))', :h5));
SELECT * FROM seller;
SELECT payledger.expire_holds();
SELECT payledger.expire_holds();
SELECT status FROM payledger.holds WHERE hold_id = :h5;
SELECT * FROM seller;
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(10))', :h5));
SELECT outcome(format('SELECT payledger.release_hold(%s)', :h5));
SELECT status FROM payledger.release_hold(:h6);
-- what a commit left of it
SELECT hold_id AS h7 FROM payledger.place_hold(:seller, 50, now() + interval '1 hour') \gset
SELECT committed_amount FROM payledger.commit_hold(:h7, 'PAYOUT', pays(20), 'HOLDS:7', keep_rest => true);
UPDATE payledger.holds SET expires_at = '2025-01-31' WHERE hold_id = :h7;
SELECT committed_amount, status, replayed FROM payledger.commit_hold(:h7, 'PAYOUT', pays(20), 'HOLDS:7', keep_rest => true);
SELECT payledger.expire_holds();
SELECT amount, committed_amount, status FROM payledger.holds WHERE hold_id = :h7;
SELECT * FROM seller;
-- an overdue one may be released as well
SELECT hold_id AS h8 FROM payledger.place_hold(:seller, 50, now() + interval '1 hour') \gset
UPDATE payledger.holds SET expires_at = '2025-01-31' WHERE hold_id = :h8;
SELECT status FROM payledger.release_hold(:h8);
SELECT payledger.expire_holds();
SELECT hold_id AS bound FROM payledger.place_hold(:seller, payledger.available_balance(:seller), now() + interval '1 hour') \gset
SELECT outcome('SELECT payledger.post_entry(''PAYOUT'', pays(1))');
SELECT outcome(format('SELECT payledger.place_hold(%L, 1)', :seller));
UPDATE payledger.holds SET expires_at = '2025-01-31' WHERE hold_id = :bound;
SELECT verdict, sqlstate FROM payledger.post_entries(jsonb_build_array(
	jsonb_build_object('entry_type', 'PAYOUT', 'postings', pays(1000000)), jsonb_build_object('entry_type', 'PAYOUT', 'postings', pays(1))), atomic => false);
SELECT status, payledger.available_balance(:seller) FROM payledger.holds WHERE hold_id = :bound;
SELECT hold_id AS bound2 FROM payledger.place_hold(:seller, payledger.available_balance(:seller), now() + interval '1 hour') \gset
UPDATE payledger.holds SET expires_at = '2025-01-31' WHERE hold_id = :bound2;
SELECT status FROM payledger.place_hold(:seller, 1, reference => 'HOLDS:11');
SELECT status FROM payledger.holds WHERE hold_id = :bound2;
SELECT machine, from_status, to_status, cause FROM payledger.state_history WHERE object_id IN (:bound, :bound2) AND to_status = 'EXPIRED';
SELECT status FROM payledger.release_hold((SELECT hold_id FROM payledger.holds WHERE reference = 'HOLDS:11'));
-- a thousand at once
SELECT count(*) FROM generate_series(1, 1100) AS n, payledger.place_hold(:cash, 1, now() + n * interval '1 hour');
UPDATE payledger.holds SET expires_at = '2025-01-31' WHERE status = 'ACTIVE' AND amount = 1;
SELECT payledger.expire_holds(), payledger.expire_holds(), payledger.expire_holds();
SELECT held FROM payledger.accounts WHERE account_code = :cash;

-- a request with a reference gets its hold, whatever became of it
SELECT amount, status, expires_at, replayed FROM payledger.place_hold(:seller, 100, reference => 'HOLDS:3');
SELECT outcome(format('SELECT payledger.place_hold(%L, 101, reference => ''HOLDS:3'')', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, 100, now() + interval ''1 hour'', ''HOLDS:3'')', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, 100, NULL, ''HOLDS:3'', ''{"a": 1}'')', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, 100, reference => ''HOLDS:3'')', :other));
SELECT outcome('SELECT payledger.place_hold(''MERCHANT_PAYABLE.NOBODY.SEK'', 100, reference => ''HOLDS:3'')');
-- a refused one has not used up its reference
SELECT outcome(format('SELECT payledger.place_hold(%L, 1000, reference => ''HOLDS:9'')', :seller));
SELECT replayed FROM payledger.place_hold(:seller, 10, reference => 'HOLDS:9');
SELECT expires_at AS later FROM payledger.place_hold(:seller, 10, now() + interval '1 hour', 'HOLDS:10', '{"a": [1]}') \gset
SELECT replayed FROM payledger.place_hold(:seller, 10, :'later', 'HOLDS:10', '{"a": [1]}');

-- bad arguments
SELECT outcome(format('SELECT payledger.place_hold(%L, 0)', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, -5)', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, NULL)', :seller));
SELECT outcome('SELECT payledger.place_hold(NULL, 5)');
SELECT outcome('SELECT payledger.place_hold(''nonsense'', 5)');
SELECT outcome(format('SELECT payledger.place_hold(%L, 5, reference => '''')', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, 5, reference => ''4111111111111111'')', :seller));
SELECT outcome(format('SELECT payledger.place_hold(%L, 5, metadata => ''5'')', :seller));
SELECT outcome('SELECT payledger.available_balance(NULL)');
SELECT outcome('SELECT payledger.available_balance(''MERCHANT_PAYABLE.NOBODY.SEK'')');

-- an account without a floor spares anything; a negative floor is a credit line
SELECT status, payledger.available_balance(:cash) < 0 AS below FROM payledger.place_hold(:cash, 9223372036854775000, reference => 'HOLDS:max');
SELECT outcome(format('SELECT payledger.place_hold(%L, 9223372036854775000)', :cash));
SELECT status FROM payledger.release_hold((SELECT hold_id FROM payledger.holds WHERE reference = 'HOLDS:max'));
SELECT outcome(format('SELECT payledger.place_hold(%L, 1)', :other));
SELECT replayed FROM payledger.post_entry('TOP_UP', pays(-1, :other));
SELECT hold_id AS h11 FROM payledger.place_hold(:other, 1) \gset
SELECT outcome(format('SELECT payledger.place_hold(%L, 9223372036854775807)', :other));
-- a debit account is decreased by a credit
SELECT hold_id AS h12 FROM payledger.place_hold(:cash, 5) \gset
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''TOP_UP'', pays(-5))', :h12));
SELECT committed_amount, status FROM payledger.commit_hold(:h12, 'BANK_FEE',
	'[{"account": "BANK_FEES.HOLDS.SEK", "amount": 5}, {"account": "PLATFORM_CASH.HOLDS.SEK", "amount": -5}]');

-- an account that is not active: no new hold, no commit; but release, and replays
SELECT hold_id AS h13 FROM payledger.place_hold(:seller, 5, reference => 'HOLDS:13') \gset
SELECT status FROM payledger.commit_hold(:h13, 'PAYOUT', pays(1), 'HOLDS:13', keep_rest => true);
SELECT count(*) FROM payledger.set_account_status(:seller, 'SUSPENDED');
SELECT outcome(format('SELECT payledger.place_hold(%L, 5)', :seller));
SELECT replayed FROM payledger.place_hold(:seller, 5, reference => 'HOLDS:13');
SELECT outcome(format('SELECT payledger.commit_hold(%s, ''PAYOUT'', pays(4))', :h13));
SELECT replayed FROM payledger.commit_hold(:h13, 'PAYOUT', pays(1), 'HOLDS:13', keep_rest => true);
SELECT status FROM payledger.release_hold(:h13);
SELECT count(*) FROM payledger.set_account_status(:seller, 'ACTIVE');
SELECT replayed FROM payledger.post_entry('TOP_UP', pays(-100));

-- in one transaction, with one snapshot, and partly rolled back
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM seller;
SELECT hold_id AS h14 FROM payledger.place_hold(:seller, 20) \gset
SELECT * FROM seller;
SAVEPOINT s;
SELECT committed_amount, status FROM payledger.commit_hold(:h14, 'PAYOUT', pays(20));
SELECT * FROM seller;
ROLLBACK TO s;
SELECT committed_amount, status FROM payledger.commit_hold(:h14, 'PAYOUT', pays(7));
COMMIT;
SELECT * FROM seller;

-- each state it entered is on record
SELECT h.reference, s.from_status, s.to_status, s.cause, s.payment_id = h.account_id AS by_account
  FROM payledger.state_history s JOIN payledger.holds h ON h.hold_id = s.object_id
 WHERE s.machine = 'hold' AND h.reference IN ('HOLDS:3', 'HOLDS:5', 'HOLDS:13') ORDER BY s.history_id;

-- a hold stays what was asked for, and is never taken away
SELECT outcome(format('UPDATE payledger.holds SET amount = 2 WHERE hold_id = %s', :h11));
SELECT outcome(format('UPDATE payledger.holds SET hold_id = 1 WHERE hold_id = %s', :h11));
SELECT outcome(format('UPDATE payledger.holds SET account_id = 1 WHERE hold_id = %s', :h11));
SELECT outcome(format('UPDATE payledger.holds SET reference = ''other'' WHERE hold_id = %s', :h11));
SELECT outcome(format('UPDATE payledger.holds SET committed_amount = 1 WHERE hold_id = %s', :h5));
SELECT outcome(format('UPDATE payledger.holds SET committed_amount = 0 WHERE hold_id = %s', :h_h1));
SELECT outcome(format('UPDATE payledger.holds SET status = ''ACTIVE'' WHERE hold_id = %s', :h_h1));
SELECT outcome(format('DELETE FROM payledger.holds WHERE hold_id = %s', :h11));
SELECT outcome('TRUNCATE payledger.holds');

SELECT check_name, detail FROM payledger.verify() WHERE NOT ok AND check_name ~ 'h[eo]ld|limit|balance';
-- it sees one of which less is committed than its entry took
BEGIN;
ALTER TABLE payledger.holds DISABLE TRIGGER ALL;
UPDATE payledger.holds SET committed_amount = committed_amount - 1
 WHERE hold_id = (SELECT min(hold_id) FROM payledger.holds WHERE committed_amount > 1);
SELECT regexp_replace(detail, '\d{15,}', '<id>', 'g') FROM payledger.verify() WHERE check_name = 'holds_match_entries';
ROLLBACK;
DROP VIEW seller;
DROP FUNCTION pays;
