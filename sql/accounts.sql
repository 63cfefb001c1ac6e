-- What operators do to accounts: chart, ledgers, limits, status, metadata.
-- outcome() comes from 010_setup.
\set VERBOSITY terse
SET timezone = 'UTC';

CREATE FUNCTION acc_post(debit text, credit text, amount bigint, effective_at timestamptz DEFAULT NULL) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.post_entry(''ADJUSTMENT'', %L, effective_at => %L)', jsonb_build_array(
	jsonb_build_object('account', debit, 'amount', amount), jsonb_build_object('account', credit, 'amount', -amount)), effective_at)) $$;
CREATE FUNCTION acc_show(code text) RETURNS TABLE (status text, floor bigint, ceiling bigint, held bigint, balance bigint) LANGUAGE sql AS
$$ SELECT status::text, floor, ceiling, held, payledger.balance(code) FROM payledger.accounts WHERE account_code = code $$;

-- ---- the chart ----
SELECT * FROM payledger.add_account_type('ACC_WALLET', 'LIABILITY', 'CREDIT', 'prepaid');
SELECT * FROM payledger.add_account_type('ACC_WALLET', 'LIABILITY', 'CREDIT', 'prepaid by a buyer');
SELECT outcome($$SELECT payledger.add_account_type('ACC_WALLET', 'ASSET', 'CREDIT', 'x')$$);
SELECT outcome($$SELECT payledger.add_account_type('ACC_WALLET', 'LIABILITY', 'DEBIT', 'x')$$);
SELECT outcome($$SELECT payledger.add_account_type('wallet', 'LIABILITY', 'CREDIT', 'x')$$);
SELECT outcome($$SELECT payledger.add_account_type('', 'LIABILITY', 'CREDIT', 'x')$$);
SELECT outcome(format('SELECT payledger.add_account_type(%L, ''LIABILITY'', ''CREDIT'', ''x'')', repeat('X', 64)));
SELECT outcome($$SELECT payledger.add_account_type('ACC_X', 'liability', 'CREDIT', 'x')$$);
SELECT outcome($$SELECT payledger.add_account_type('ACC_X', 'LIABILITY', 'LEFT', 'x')$$);
SELECT outcome($$SELECT payledger.add_account_type('ACC_X', 'LIABILITY', 'CREDIT', '')$$);
SELECT outcome($$SELECT payledger.add_account_type('ACC_X', NULL, 'CREDIT', 'x')$$);
-- a contra account
SELECT * FROM payledger.add_account_type('ACC_ALLOWANCE', 'ASSET', 'CREDIT', 'receivables that will not be paid');
-- a type stays what it is
SELECT outcome($$UPDATE payledger.account_types SET normal_side = 'DEBIT' WHERE account_type = 'ACC_WALLET'$$);
SELECT outcome($$UPDATE payledger.account_types SET category = 'ASSET' WHERE account_type = 'ACC_WALLET'$$);
SELECT outcome($$UPDATE payledger.account_types SET description = 'prepaid' WHERE account_type = 'ACC_WALLET'$$);
SELECT outcome($$DELETE FROM payledger.account_types WHERE account_type = 'ACC_WALLET'$$);
SET session_replication_role = replica;
SELECT outcome($$UPDATE payledger.account_types SET normal_side = 'DEBIT' WHERE account_type = 'ACC_WALLET'$$);
SELECT outcome($$DELETE FROM payledger.account_types WHERE account_type = 'ACC_WALLET'$$);
RESET session_replication_role;

-- ---- ledgers ----
SELECT * FROM payledger.add_ledger('ACC_US', 'the company in the United States', 'America/New_York');
SELECT * FROM payledger.add_ledger('ACC_US', 'the American company', 'America/New_York');
SELECT outcome($$SELECT payledger.add_ledger('ACC_US', 'the American company')$$);
SELECT * FROM payledger.set_ledger_time_zone('ACC_US', 'America/Chicago');
SELECT outcome($$SELECT payledger.set_ledger_time_zone('ACC_US', 'UTC+1')$$);
SELECT outcome($$SELECT payledger.set_ledger_time_zone('ACC_NONE', 'UTC')$$);
SELECT outcome($$SELECT payledger.add_ledger('ACC_X', 'x', 'Europe/Berlni')$$);
SELECT outcome($$SELECT payledger.add_ledger('acc', 'x')$$);
SELECT outcome($$SELECT payledger.add_ledger('GLOBAL', 'x')$$);
SELECT outcome($$UPDATE payledger.ledgers SET ledger = 'ACC_Y' WHERE ledger = 'ACC_US'$$);
SELECT outcome($$DELETE FROM payledger.ledgers WHERE ledger = 'ACC_US'$$);

-- ---- opening ----
SELECT account_code, ledger, status, floor, ceiling, held, metadata
  FROM payledger.open_account('ACC_WALLET', 'BUYER-1', 'PLN', floor => 0, ceiling => 10000, metadata => '{"tier": "gold"}');
-- again, as it is
SELECT account_code, ledger, status, floor, ceiling, held, metadata
  FROM payledger.open_account('ACC_WALLET', 'BUYER-1', 'PLN', ceiling => 10000, metadata => '{"tier": "other"}');
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-1', 'PLN', floor => 1)$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-1', 'PLN', ceiling => 1)$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-1', 'PLN', 'ACC_US')$$);
SELECT ledger FROM payledger.open_account('PLATFORM_CASH', 'ACC', 'CZK', 'ACC_US');
SELECT outcome($$SELECT payledger.open_account('PLATFORM_CASH', 'ACC', 'CZK')$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-X', 'PLN', 'ACC_NONE')$$);
SELECT outcome($$SELECT payledger.open_account('ACC_NONE', 'BUYER-X', 'PLN', 'ACC_US')$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-X', 'PLN', NULL)$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET.BUYER', 'X', 'PLN')$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER', 'X.PLN')$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-X', 'PLN', floor => 1)$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-X', 'PLN', ceiling => -1)$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-X', 'PLN', floor => 0, ceiling => -1)$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-X', 'PLN', metadata => '[1]')$$);
SELECT outcome($$SELECT payledger.open_account('ACC_WALLET', 'BUYER-X', 'PLN', metadata => '{"note": "4111 1111 1111 1111"}')$$);
SELECT count(*) FROM payledger.accounts WHERE entity_id LIKE 'BUYER-X%';
SELECT count(*) FROM (VALUES ('PLATFORM_CASH', 'ACC'), ('ACC_WALLET', 'BUYER-2')) AS v(t, e), payledger.open_account(t, e, 'PLN');
SELECT outcome($$UPDATE payledger.accounts SET ledger = 'ACC_US' WHERE account_code = 'PLATFORM_CASH.ACC.PLN'$$);

-- an entry nets to zero in each ledger
SELECT count(*) FROM payledger.open_account('ACC_WALLET', 'BUYER-1', 'CZK');
SELECT acc_post('PLATFORM_CASH.ACC.CZK', 'ACC_WALLET.BUYER-1.CZK', 100);

-- ---- limits ----
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-1.PLN', 10000);
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-1.PLN', 1);
SELECT acc_post('ACC_WALLET.BUYER-1.PLN', 'PLATFORM_CASH.ACC.PLN', 10001);
SELECT acc_post('ACC_WALLET.BUYER-1.PLN', 'PLATFORM_CASH.ACC.PLN', 4000);
SELECT * FROM acc_show('ACC_WALLET.BUYER-1.PLN');
-- the balance is 60.00 of 0 to 100.00
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-1.PLN', 6001, 10000)$$);
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-1.PLN', 0, 5999)$$);
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-1.PLN', 2, 1)$$);
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-NONE.PLN', 0, NULL)$$);
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-1.PLN', 6000, 6000);
SELECT acc_post('ACC_WALLET.BUYER-1.PLN', 'PLATFORM_CASH.ACC.PLN', 1);
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-1.PLN', 1);
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-1.PLN', 0, NULL);
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-1.PLN', 5000);
-- holds count: 110.00, of which 50.00 are held
SELECT hold_id AS hold FROM payledger.place_hold('ACC_WALLET.BUYER-1.PLN', 5000) \gset
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-1.PLN', 6001, NULL)$$);
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-1.PLN', 6000, NULL);
SELECT acc_post('ACC_WALLET.BUYER-1.PLN', 'PLATFORM_CASH.ACC.PLN', 1);
-- an account without limits; a debit account
SELECT outcome($$SELECT payledger.set_account_limits('PLATFORM_CASH.ACC.PLN', 11001, NULL)$$);
SELECT floor, ceiling FROM payledger.set_account_limits('PLATFORM_CASH.ACC.PLN', 0, 11000);
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-2.PLN', 1);
-- no limit can be set that is already broken; one that is broken can be loosened
SELECT acc_post('ACC_WALLET.BUYER-2.PLN', 'PLATFORM_CASH.ACC.PLN', 300);
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', 0, NULL)$$);
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', -300, NULL);
BEGIN;
UPDATE payledger.accounts SET floor = 100 WHERE account_code = 'ACC_WALLET.BUYER-2.PLN';
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', -200, NULL);
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', -200, 0);
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', -200, -301)$$);
SELECT outcome($$SELECT payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', -199, NULL)$$);
ROLLBACK;
-- the extremes
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', -9223372036854775808, 9223372036854775807);
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', NULL, NULL);
-- in one transaction with a post, in every isolation level
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-2.PLN', 300);
SELECT floor, ceiling FROM payledger.set_account_limits('ACC_WALLET.BUYER-2.PLN', 0, 0);
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-2.PLN', 1);
COMMIT;
SELECT * FROM acc_show('ACC_WALLET.BUYER-2.PLN');

-- ---- status ----
SELECT account_code, status FROM payledger.set_account_status('ACC_WALLET.BUYER-2.PLN', 'SUSPENDED');
SELECT account_code, status FROM payledger.set_account_status('ACC_WALLET.BUYER-2.PLN', 'SUSPENDED');
SELECT acc_post('ACC_WALLET.BUYER-1.PLN', 'ACC_WALLET.BUYER-2.PLN', 0);
SELECT acc_post('ACC_WALLET.BUYER-1.PLN', 'ACC_WALLET.BUYER-2.PLN', 1);
SELECT outcome($$SELECT payledger.place_hold('ACC_WALLET.BUYER-2.PLN', 1)$$);
SELECT status FROM payledger.set_account_status('ACC_WALLET.BUYER-2.PLN', 'ACTIVE');
-- only an empty account can be closed
SELECT outcome($$SELECT payledger.set_account_status('ACC_WALLET.BUYER-1.PLN', 'CLOSED')$$);
SELECT count(*) FROM payledger.open_account('ACC_WALLET', 'BUYER-3', 'PLN');
SELECT hold_id AS hold3 FROM payledger.place_hold('ACC_WALLET.BUYER-3.PLN', 5) \gset
SELECT outcome($$SELECT payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', 'CLOSED')$$);
SELECT status FROM payledger.release_hold(:hold3);
SELECT status FROM payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', 'CLOSED');
SELECT acc_post('PLATFORM_CASH.ACC.PLN', 'ACC_WALLET.BUYER-3.PLN', 1);
SELECT status FROM payledger.open_account('ACC_WALLET', 'BUYER-3', 'PLN');
SELECT outcome($$SELECT payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', 'SUSPENDED')$$);
SELECT status FROM payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', 'ACTIVE');
SELECT status FROM payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', 'SUSPENDED');
SELECT status FROM payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', 'CLOSED');
SELECT outcome($$SELECT payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', 'FROZEN')$$);
SELECT outcome($$SELECT payledger.set_account_status('ACC_WALLET.BUYER-3.PLN', NULL)$$);
SELECT outcome($$SELECT payledger.set_account_status('ACC_WALLET.NOBODY.PLN', 'ACTIVE')$$);
SELECT payledger.state_diagram('account');

-- ---- metadata ----
SELECT account_code, metadata FROM payledger.set_account_metadata('ACC_WALLET.BUYER-1.PLN', '{"tier": "silver"}');
SELECT outcome($$SELECT payledger.set_account_metadata('ACC_WALLET.BUYER-1.PLN', '"silver"')$$);
SELECT outcome($$SELECT payledger.set_account_metadata('ACC_WALLET.BUYER-1.PLN', '{"cvv": "123"}')$$);
SELECT outcome($$SELECT payledger.set_account_metadata('ACC_WALLET.NOBODY.PLN', '{}')$$);
SELECT metadata IS NULL AS is_null FROM payledger.set_account_metadata('ACC_WALLET.BUYER-1.PLN', NULL);

-- what the account holds is left as it is found
SELECT status FROM payledger.release_hold(:hold);
SELECT check_name, detail FROM payledger.verify() WHERE NOT ok;
DROP FUNCTION acc_post(text, text, bigint, timestamptz);
DROP FUNCTION acc_show(text);
-- what the very transaction that folds posts afterwards counts against a limit, too
SELECT account_code FROM payledger.open_account('PLATFORM_CASH', 'FOLDED', 'EUR');
SELECT account_code FROM payledger.open_account('MERCHANT_PAYABLE', 'FOLDED', 'EUR', floor => 0);
SELECT FROM payledger.post_entry('TEST', '[{"account":"PLATFORM_CASH.FOLDED.EUR","amount":1},{"account":"MERCHANT_PAYABLE.FOLDED.EUR","amount":-1}]');
BEGIN;
SELECT payledger.fold_postings() > 0 AS folded;
SELECT FROM payledger.post_entry('TEST', '[{"account":"PLATFORM_CASH.FOLDED.EUR","amount":1000},{"account":"MERCHANT_PAYABLE.FOLDED.EUR","amount":-1000}]');
COMMIT;
SELECT f.snapshot_xmax = p.transaction_no AS at_the_bound
  FROM (SELECT snapshot_xmax FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f, payledger.postings p WHERE p.amount = -1000 ORDER BY p.journal_entry_id DESC LIMIT 1;
SELECT FROM payledger.post_entry('TEST', '[{"account":"PLATFORM_CASH.FOLDED.EUR","amount":-1001},{"account":"MERCHANT_PAYABLE.FOLDED.EUR","amount":1001}]');
SELECT payledger.balance('MERCHANT_PAYABLE.FOLDED.EUR');
