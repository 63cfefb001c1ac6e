-- Closing and reopening months, closing balances.  outcome() comes from 010_setup.
\set VERBOSITY terse
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- a ledger of its own, in a time zone with summer time
SELECT ledger FROM payledger.add_ledger('PER', 'periods', 'Europe/Berlin');
SELECT count(*) FROM unnest(ARRAY['PLATFORM_CASH', 'MERCHANT_PAYABLE', 'BANK_FEES']) AS t, payledger.open_account(t, 'PER', 'EUR', 'PER');

CREATE FUNCTION per_post(amount bigint, effective_at timestamptz, debit text DEFAULT 'PLATFORM_CASH.PER.EUR',
						 credit text DEFAULT 'MERCHANT_PAYABLE.PER.EUR') RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.post_entry(''ADJUSTMENT'', %L, effective_at => %L)', jsonb_build_array(
	jsonb_build_object('account', debit, 'amount', amount), jsonb_build_object('account', credit, 'amount', -amount)), effective_at)) $$;
CREATE VIEW per_state AS
	SELECT l.closed_before, p.month, p.starts_at, p.ends_at, p.is_closed, p.has_balances,
		   (SELECT string_agg(a.account_code || ' ' || c.balance, ', ' ORDER BY a.account_code)
			  FROM payledger.closing_balances c JOIN payledger.accounts a USING (account_id)
			 WHERE c.ledger = p.ledger AND c.month = p.month) AS balances
	  FROM payledger.ledgers l LEFT JOIN payledger.periods p USING (ledger)
	 WHERE l.ledger = 'PER' ORDER BY p.month;

-- two entries in January as Berlin sees it, two in February
SELECT per_post(1000, '2025-01-01 00:00 Europe/Berlin');
SELECT per_post(200, '2025-01-31 23:59:59.999999 Europe/Berlin');
SELECT per_post(30, '2025-02-01 00:00 Europe/Berlin');
SELECT per_post(-30, '2025-02-28 12:00', 'BANK_FEES.PER.EUR', 'PLATFORM_CASH.PER.EUR');
-- one in May
SELECT per_post(5, '2025-05-05 12:00');

-- what cannot be closed
SELECT outcome($$CALL payledger.close_period('PER', '2025-01-31')$$);
SELECT outcome($$CALL payledger.close_period('PER', 'infinity')$$);
SELECT outcome($$CALL payledger.close_period('PER', NULL)$$);
SELECT outcome($$CALL payledger.close_period(NULL, '2025-01-01')$$);
SELECT outcome($$CALL payledger.close_period('NONE', '2025-01-01')$$);
SELECT outcome($$CALL payledger.close_period('PER', '2200-01-01')$$);
SELECT outcome(format('CALL payledger.close_period(''PER'', %L)', date_trunc('month', now() AT TIME ZONE 'Europe/Berlin')::date)) ~ '^55000 month \d{4}-\d\d of ledger PER is not over' AS refused LIMIT 1;
SELECT outcome($$CALL payledger.close_period('PER', '2025-02-01')$$);
SELECT outcome($$CALL payledger.close_period('PER', '2025-05-01')$$);
SELECT * FROM per_state;

-- January
CALL payledger.close_period('PER', '2025-01-01');
\x on
SELECT * FROM per_state;
\x off
SELECT per_post(1, '2025-01-31 23:59:59.999999 Europe/Berlin');
SELECT per_post(1, '2024-12-31');
SELECT per_post(1, '2025-02-01 00:00 Europe/Berlin');
SELECT per_post(-1, '2025-02-01 00:00 Europe/Berlin');
-- only this ledger: MAIN takes what it took
SELECT closed_before IS NULL AS main_is_open FROM payledger.ledgers WHERE ledger = 'MAIN';
BEGIN;
SELECT count(*) FROM unnest(ARRAY['PLATFORM_CASH', 'MERCHANT_PAYABLE']) AS t, payledger.open_account(t, 'PER-MAIN', 'EUR');
SELECT per_post(9, '2025-01-31', 'PLATFORM_CASH.PER-MAIN.EUR', 'MERCHANT_PAYABLE.PER-MAIN.EUR');
SELECT payledger.balance('PLATFORM_CASH.PER-MAIN.EUR', NULL, '2025-01-31');
ROLLBACK;
-- entries from now on are not concerned
SELECT outcome($$SELECT payledger.post_entry('ADJUSTMENT', '[{"account":"BANK_FEES.PER.EUR","amount":7},{"account":"PLATFORM_CASH.PER.EUR","amount":-7}]')$$);
-- again: nothing
CALL payledger.close_period('PER', '2025-01-01');
CALL payledger.close_period('PER', '2024-01-01');
SELECT month, event, actor = session_user AS by_me, reason FROM payledger.period_events WHERE ledger = 'PER' ORDER BY period_event_id;
-- the balance of an account in a closed month cannot change, so the stored one stays right
SELECT outcome($$SELECT payledger.set_ledger_time_zone('PER', 'UTC')$$);
SELECT outcome($$UPDATE payledger.ledgers SET time_zone = 'UTC' WHERE ledger = 'PER'$$);

-- in a transaction block; April is skipped, because nothing took effect in March and April
BEGIN;
CALL payledger.close_period('PER', '2025-02-01');
SELECT mode FROM pg_locks WHERE relation = 'payledger.journal_entries'::regclass AND pid = pg_backend_pid();
ROLLBACK;
SELECT closed_before, count(*) FROM per_state GROUP BY 1;
DO $$ BEGIN CALL payledger.close_period('PER', '2025-02-01'); END $$;
CALL payledger.close_period('PER', '2025-04-01');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM payledger.accounts WHERE ledger = 'PER';
CALL payledger.close_period('PER', '2025-05-01');
COMMIT;
\x on
SELECT * FROM per_state;
\x off
SELECT per_post(1, '2025-03-15');

-- a close that stopped half way is completed
SELECT payledger.mark_period_closed('PER', '2025-06-01');
SELECT month, is_closed, has_balances, balances FROM per_state WHERE month = '2025-06-01';
SELECT per_post(1, '2025-06-15');
CALL payledger.close_period('PER', '2025-06-01');
SELECT month, is_closed, has_balances, balances FROM per_state WHERE month = '2025-06-01';
SELECT payledger.mark_period_closed('PER', '2025-06-01'), payledger.store_closing_balances('PER', '2025-06-01'),
	   payledger.store_closing_balances('PER', '2025-07-01');

-- ---- what is stored stays ----
SELECT statement, outcome
  FROM unnest(ARRAY['DELETE FROM payledger.closing_balances WHERE ledger = ''PER'' AND month = ''2025-01-01''',
					'UPDATE payledger.closing_balances SET balance = 0 WHERE ledger = ''PER''',
					'TRUNCATE payledger.closing_balances',
					'INSERT INTO payledger.closing_balances VALUES (''PER'', ''2025-01-01'', 1, 1)',
					'DELETE FROM payledger.periods WHERE ledger = ''PER''',
					'TRUNCATE payledger.periods CASCADE',
					'UPDATE payledger.period_events SET actor = ''nobody''',
					'DELETE FROM payledger.period_events',
					'TRUNCATE payledger.period_events']) AS statement, outcome(statement);
SET session_replication_role = replica;
SELECT outcome('DELETE FROM payledger.closing_balances WHERE ledger = ''PER'' AND month = ''2025-01-01''');
SELECT outcome('INSERT INTO payledger.closing_balances VALUES (''PER'', ''2025-01-01'', 1, 1)');
SELECT outcome('DELETE FROM payledger.period_events');
SELECT outcome('DELETE FROM payledger.periods');
RESET session_replication_role;

-- ---- reopening ----
SELECT outcome($$SELECT payledger.reopen_period('PER', '2025-05-01', 'x')$$);
SELECT outcome($$SELECT payledger.reopen_period('PER', '2025-07-01', 'x')$$);
SELECT outcome($$SELECT payledger.reopen_period('PER', '2025-06-02', 'x')$$);
SELECT outcome($$SELECT payledger.reopen_period('PER', '2025-06-01', '')$$);
SELECT outcome($$SELECT payledger.reopen_period('PER', '2025-06-01', NULL)$$);
SELECT outcome($$SELECT payledger.reopen_period('NONE', '2025-06-01', 'x')$$);
SELECT outcome($$SELECT payledger.reopen_period('MAIN', '2025-06-01', 'x')$$);
SELECT * FROM payledger.reopen_period('PER', '2025-06-01', 'invoice 4711 came late');
SELECT per_post(11, '2025-06-15');
SELECT per_post(11, '2025-05-15');
SELECT outcome($$CALL payledger.close_period('PER', '2025-07-01')$$);
SELECT * FROM payledger.reopen_period('PER', '2025-05-01', 'and another');
SELECT per_post(100, '2025-05-15');
CALL payledger.close_period('PER', '2025-05-01');
CALL payledger.close_period('PER', '2025-06-01');
\x on
SELECT * FROM per_state WHERE month >= '2025-05-01';
\x off
SELECT month, event, reason FROM payledger.period_events WHERE ledger = 'PER' ORDER BY period_event_id;

-- before the first close, and after the last reopening, a ledger is open
SELECT ledger FROM payledger.add_ledger('PER2', 'periods');
CALL payledger.close_period('PER2', '2025-03-01');
SELECT * FROM payledger.reopen_period('PER2', '2025-03-01', 'too early');
SELECT time_zone FROM payledger.set_ledger_time_zone('PER2', 'Asia/Tokyo');
CALL payledger.close_period('PER2', '2025-03-01');
SELECT starts_at, ends_at FROM payledger.periods WHERE ledger = 'PER2';

-- ---- who may ----
CREATE ROLE per_operator;
GRANT USAGE ON SCHEMA payledger TO per_operator;
SET ROLE per_operator;
SELECT outcome($$CALL payledger.close_period('PER2', '2025-04-01')$$);
SELECT outcome($$SELECT payledger.reopen_period('PER2', '2025-03-01', 'x')$$);
RESET ROLE;
GRANT EXECUTE ON PROCEDURE payledger.close_period(text, date) TO per_operator;
SET ROLE per_operator;
SELECT outcome($$CALL payledger.close_period('PER2', '2025-04-01')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION payledger.mark_period_closed(text, date), payledger.store_closing_balances(text, date) TO per_operator;
SET ROLE per_operator;
CALL payledger.close_period('PER2', '2025-04-01');
RESET ROLE;
SELECT month, event, actor FROM payledger.period_events WHERE ledger = 'PER2' ORDER BY period_event_id DESC LIMIT 1;
DROP OWNED BY per_operator;
REVOKE USAGE ON SCHEMA payledger FROM per_operator;
DROP ROLE per_operator;

SELECT check_name, detail FROM payledger.verify() WHERE NOT ok;
-- it sees a shift of another amount alone
BEGIN;
ALTER TABLE payledger.effective_shifts DISABLE TRIGGER ALL;
UPDATE payledger.effective_shifts s SET amount = s.amount + 1
  FROM (SELECT j.journal_entry_id, j.effective_at, f.leg FROM payledger.effective_shifts f
		  JOIN payledger.accounts a USING (account_id) JOIN payledger.journal_entries j USING (journal_entry_id)
		 WHERE a.account_code = 'PLATFORM_CASH.PER.EUR' AND f.at = j.effective_at ORDER BY j.journal_entry_id LIMIT 1) e
 WHERE (s.journal_entry_id, s.leg, s.at) = (e.journal_entry_id, e.leg, e.effective_at);
SELECT check_name, regexp_replace(detail, '\d{15,}', '<id>', 'g') FROM payledger.verify() WHERE NOT ok AND check_name <> 'ledger_is_guarded';
ROLLBACK;
DROP VIEW per_state;
DROP FUNCTION per_post(bigint, timestamptz, text, text);
