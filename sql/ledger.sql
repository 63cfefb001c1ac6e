-- The ledger: accounts, the guards on its tables, balances, verify().
-- outcome() comes from 010_setup.
\set VERBOSITY terse
SET timezone = 'UTC';
-- after a restart ids are ahead of the clock for some seconds, and what they stand for is not there "as of now"
DO $$
BEGIN
	WHILE payledger.id_timestamp(payledger.next_id()) > clock_timestamp() LOOP
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;

-- accounts are opened once
SELECT account_code, account_type, entity_id, currency, status
  FROM payledger.open_account('MERCHANT_PAYABLE', 'LEDGER-1', 'CHF');
SELECT (SELECT account_id FROM payledger.open_account('MERCHANT_PAYABLE', 'LEDGER-1', 'CHF'))
	 = (SELECT account_id FROM payledger.open_account('MERCHANT_PAYABLE', 'LEDGER-1', 'CHF')) AS same;
SELECT count(*) FROM (VALUES ('PLATFORM_CASH', 'LEDGER', 'CHF'), ('PLATFORM_CASH', 'LEDGER', 'JPY'),
							 ('WRITE_OFF_EXPENSE', 'LEDGER.SUB:1', 'CHF'), ('WRITE_OFF_EXPENSE', 'LEDGER', 'JPY')) AS v(t, e, c)
 CROSS JOIN LATERAL payledger.open_account(t, e, c);
SELECT outcome('SELECT payledger.open_account(''NO_SUCH_TYPE'', ''LEDGER-1'', ''CHF'')');
SELECT outcome('SELECT payledger.open_account(''lower'', ''LEDGER-1'', ''CHF'')');
SELECT outcome('SELECT payledger.open_account(''PLATFORM_CASH'', ''LEDGER-1'', ''XXQ'')');
SELECT outcome('SELECT payledger.open_account(''PLATFORM_CASH'', ''LEDGER..1'', ''CHF'')');
SELECT outcome('SELECT payledger.open_account(''PLATFORM_CASH'', '''', ''CHF'')');
SELECT outcome('SELECT payledger.open_account(''PLATFORM_CASH'', ''a b'', ''CHF'')');
SELECT outcome(format('SELECT payledger.open_account(''PLATFORM_CASH'', %L, ''CHF'')', repeat('x', 129)));
SELECT outcome('SELECT payledger.open_account(''PLATFORM_CASH'', ''4111111111111111'', ''CHF'')');
SELECT outcome('SELECT payledger.open_account(NULL, ''LEDGER-1'', ''CHF'')');

-- what an aborted subtransaction opened is forgotten with it
BEGIN;
SAVEPOINT s;
SELECT account_id AS gone FROM payledger.open_account('MERCHANT_PAYABLE', 'LEDGER-GONE', 'CHF') \gset
ROLLBACK TO s;
SELECT account_id <> :gone AS another
  FROM payledger.open_account('MERCHANT_PAYABLE', 'LEDGER-GONE', 'CHF');
ROLLBACK;
SELECT count(*) AS reopened FROM payledger.open_account('MERCHANT_PAYABLE', 'LEDGER-GONE', 'CHF');
SELECT count(*) FROM payledger.accounts WHERE entity_id = 'LEDGER-GONE';

-- an account keeps its identity
SELECT outcome('UPDATE payledger.accounts SET entity_id = ''OTHER'', account_code = ''PLATFORM_CASH.OTHER.CHF''
				 WHERE account_code = ''PLATFORM_CASH.LEDGER.CHF''');
SELECT outcome('UPDATE payledger.accounts SET account_id = 1 WHERE account_code = ''PLATFORM_CASH.LEDGER.CHF''');
SELECT outcome('DELETE FROM payledger.accounts WHERE account_code = ''PLATFORM_CASH.LEDGER.CHF''');
SELECT outcome('DELETE FROM payledger.accounts WHERE false');
SELECT outcome('TRUNCATE payledger.accounts');
SELECT outcome('TRUNCATE payledger.account_types CASCADE');

-- entries are written by the posting functions
CREATE FUNCTION book(codes text[], amounts bigint[], reference text DEFAULT NULL) RETURNS boolean LANGUAGE sql AS
$$ SELECT replayed FROM payledger.post_entry('ADJUSTMENT',
	(SELECT jsonb_agg(jsonb_build_object('account', c, 'amount', a) ORDER BY n) FROM unnest(codes, amounts) WITH ORDINALITY AS l(c, a, n)), reference) $$;
SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1500, -1500}', 'LEDGER:1');
SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1500, -1500}', 'LEDGER:1');
SELECT book('{PLATFORM_CASH.LEDGER.CHF, WRITE_OFF_EXPENSE.LEDGER.SUB:1.CHF, PLATFORM_CASH.LEDGER.JPY, WRITE_OFF_EXPENSE.LEDGER.JPY}',
			'{-7, 7, 100, -100}', 'LEDGER:2');

-- and by nobody else: not a header
CREATE FUNCTION this_transaction() RETURNS bigint LANGUAGE sql AS
$$ SELECT (max(incarnation)::bigint << 48) + pg_current_xact_id()::text::bigint FROM payledger.incarnations $$;
CREATE VIEW ledger_1 AS SELECT p.* FROM payledger.postings p JOIN payledger.journal_entries j USING (journal_entry_id) WHERE j.reference = 'LEDGER:1';
SELECT outcome($$INSERT INTO payledger.journal_entries (journal_entry_id, entry_type, recorded_at, effective_at)
				 VALUES (payledger.next_id(), 'ADJUSTMENT', now(), now())$$);
SELECT outcome($$INSERT INTO payledger.journal_entries SELECT * FROM payledger.journal_entries WHERE false$$);
-- nor legs, be they double entry or not
CREATE FUNCTION book_legs(codes text[], amounts bigint[], entry bigint DEFAULT payledger.next_id(), number bigint DEFAULT this_transaction())
RETURNS SETOF text LANGUAGE sql AS
$$ SELECT regexp_replace(outcome, '\d{6,}', '<number>', 'g') FROM outcome(format('INSERT INTO payledger.postings (journal_entry_id, leg, account_id, amount, transaction_no)
	SELECT %s, 2 + n, coalesce((SELECT account_id FROM payledger.accounts WHERE account_code = c), 42), a, %s
	  FROM unnest(%L::text[], %L::bigint[]) WITH ORDINALITY AS l(c, a, n)', entry, number, codes, amounts)) $$;
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1500, -1500}');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1500, -1499}');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF}', '{1500}');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, WRITE_OFF_EXPENSE.LEDGER.JPY}', '{100, -100}');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{0, 0}');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, PLATFORM_CASH.LEDGER.CHF, PLATFORM_CASH.LEDGER.CHF}', '{9223372036854775807, 9223372036854775807, 2}');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, NO_SUCH_TYPE.LEDGER.CHF}', '{1, -1}');
-- an entry cannot grow afterwards, not even in the transaction that posted it
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}', (SELECT min(journal_entry_id) FROM ledger_1));
BEGIN;
SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}', 'LEDGER:GROWS');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}', journal_entry_id)
  FROM payledger.journal_entries WHERE reference = 'LEDGER:GROWS';
ROLLBACK;
-- nor hide from the fold
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}', number => 1);
-- nor come with COPY
COPY payledger.journal_entries (journal_entry_id, recorded_at, effective_at, entry_type) FROM STDIN;
42	2025-01-01	2025-01-01	ADJUSTMENT
\.
COPY payledger.postings (journal_entry_id, leg, account_id, amount, transaction_no) FROM STDIN;
42	1	42	1	1
\.
-- nor from a trigger that runs while an entry is written
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		INSERT INTO payledger.postings (journal_entry_id, leg, account_id, amount, transaction_no)
		SELECT journal_entry_id, leg + 10, account_id, amount, transaction_no FROM inserted LIMIT 1;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER INSERT ON payledger.postings REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION meddle();
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
DROP TRIGGER meddle ON payledger.postings;
-- not even legs that balance and are as many, whichever trigger runs first
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		INSERT INTO payledger.postings (journal_entry_id, leg, account_id, amount, transaction_no)
		SELECT journal_entry_id, leg + 10, account_id, amount, transaction_no FROM inserted;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER INSERT ON payledger.postings REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION meddle();
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
ALTER TRIGGER meddle ON payledger.postings RENAME TO a_meddle;
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
DROP TRIGGER a_meddle ON payledger.postings;
-- nor legs left out, some or all
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN NEW.leg <= TG_ARGV[0]::int THEN NEW END;
END $$;
CREATE TRIGGER meddle BEFORE INSERT ON payledger.postings FOR EACH ROW EXECUTE FUNCTION meddle(2);
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, WRITE_OFF_EXPENSE.LEDGER.SUB:1.CHF, PLATFORM_CASH.LEDGER.JPY, WRITE_OFF_EXPENSE.LEDGER.JPY}', '{-7, 7, 100, -100}')$$);
CREATE OR REPLACE TRIGGER meddle BEFORE INSERT ON payledger.postings FOR EACH ROW EXECUTE FUNCTION meddle(0);
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
CREATE VIEW hundred AS SELECT jsonb_agg('{"entry_type": "ADJUSTMENT", "postings": [{"account": "PLATFORM_CASH.LEDGER.CHF", "amount": 1}, {"account": "MERCHANT_PAYABLE.LEDGER-1.CHF", "amount": -1}]}'::jsonb) AS entries
  FROM generate_series(1, 100);
SELECT outcome('SELECT payledger.post_entries(entries) FROM hundred');
-- nor other amounts
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.amount := 2 * NEW.amount;
	RETURN NEW;
END $$;
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
DROP TRIGGER meddle ON payledger.postings;
-- nor a header without legs
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		INSERT INTO payledger.journal_entries (journal_entry_id, recorded_at, effective_at, entry_type) VALUES (42, now(), now(), 'ADJUSTMENT');
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER INSERT ON payledger.journal_entries FOR EACH STATEMENT EXECUTE FUNCTION meddle();
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
DROP TRIGGER meddle ON payledger.journal_entries;
-- nor one left out, whose legs would belong to nothing
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER meddle BEFORE INSERT ON payledger.journal_entries FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
SELECT outcome('SELECT payledger.post_entries(entries) FROM hundred');
DROP VIEW hundred;
DROP TRIGGER meddle ON payledger.journal_entries;
-- a trigger may post, though
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		PERFORM public.book('{WRITE_OFF_EXPENSE.LEDGER.SUB:1.CHF, PLATFORM_CASH.LEDGER.CHF}', '{1, -1}', 'LEDGER:INNER');
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER INSERT ON payledger.journal_entries FOR EACH STATEMENT EXECUTE FUNCTION meddle();
BEGIN;
SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}', 'LEDGER:OUTER');
SELECT entry_type, reference, leg, account_code, debit, credit FROM payledger.journal WHERE reference IN ('LEDGER:INNER', 'LEDGER:OUTER') ORDER BY reference, leg;
ROLLBACK;
DROP TRIGGER meddle ON payledger.journal_entries;
DROP FUNCTION meddle;
-- an account that is not active
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.LEDGER-1.CHF', 'SUSPENDED');
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}')$$);
SELECT status FROM payledger.open_account('MERCHANT_PAYABLE', 'LEDGER-1', 'CHF');
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.LEDGER-1.CHF', 'ACTIVE');

-- the payment flow posts under the same rules
BEGIN;
SELECT seller_id FROM payledger.register_seller('LEDGER-2', 'CHF', commission_fixed => 1);
SELECT payment_intent_id AS intent FROM payledger.create_payment_intent('LEDGER', 'BUYER-1', 'CHF', '[{"seller_id":"LEDGER-2","amount":500}]') \gset
SELECT payledger.request_authorization(:intent, 'pm_ok'), answer(:intent, 'SUCCEEDED');
SELECT payment_order_id AS ordr FROM payledger.payment_orders WHERE payment_id = :intent \gset
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.LEDGER-2.CHF', 'CLOSED');
SELECT outcome(format('SELECT answer(%s, ''SUCCEEDED'')', :ordr));
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.LEDGER-2.CHF', 'ACTIVE');
-- nobody else can take the reference that its entry will have
SELECT regexp_replace(outcome, '\d{6,}', '<number>', 'g')
  FROM outcome(format('SELECT book(''{PLATFORM_CASH.LEDGER.CHF, WRITE_OFF_EXPENSE.LEDGER.SUB:1.CHF}'', ''{1, -1}'', ''CAPTURE:%s'')', :ordr));
-- nor those of what takes it back; what only begins alike is free
SELECT reference, split_part(outcome, ' ', 1) AS outcome
  FROM unnest(ARRAY['CAPTURE_REVERSAL:1', 'AUTH_RELEASE:1', 'RESERVE_RELEASE:1:2', 'SETTLEMENT_REVERSAL:1', 'CAPTURE_REVERSALS:1', 'REVERSAL:1', '_REVERSAL:1']) AS reference,
	   outcome(format('SELECT book(''{PLATFORM_CASH.LEDGER.CHF, WRITE_OFF_EXPENSE.LEDGER.SUB:1.CHF}'', ''{1, -1}'', %L)', reference))
 WHERE outcome NOT LIKE '  %';
ROLLBACK;

-- append-only, for every kind of statement, for the owner, whether rows match or not
SELECT statement, outcome
  FROM (VALUES ('postings', 'amount = 1'), ('journal_entries', 'recorded_at = now()'), ('state_history', 'at = now()'), ('outbox_events', 'version = 1'))
	   AS t(relation, change),
	   unnest(ARRAY['UPDATE payledger.%1$s SET %2$s', 'UPDATE payledger.%1$s SET %2$s WHERE false',
					'DELETE FROM payledger.%1$s', 'DELETE FROM payledger.%1$s WHERE false', 'TRUNCATE payledger.%1$s']) AS form,
	   format(form, relation, change) AS statement, outcome(statement);
SELECT outcome($$INSERT INTO payledger.postings SELECT * FROM payledger.postings WHERE false
				 ON CONFLICT (journal_entry_id, leg) DO UPDATE SET amount = 1$$);
SELECT outcome($$MERGE INTO payledger.postings p USING (VALUES (1)) v(x) ON p.leg = v.x WHEN MATCHED THEN DELETE$$);
SELECT outcome($$INSERT INTO payledger.journal_entries SELECT * FROM payledger.journal_entries WHERE reference = 'LEDGER:1'
				 ON CONFLICT (journal_entry_id) DO UPDATE SET entry_type = 'OTHER'$$);

-- also when triggers are off
SET session_replication_role = replica;
SELECT outcome('UPDATE payledger.postings SET amount = 1');
SELECT outcome('DELETE FROM payledger.journal_entries');
SELECT outcome('TRUNCATE payledger.outbox_events');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, 1}');
SELECT book_legs('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, -1}');
SELECT outcome($$INSERT INTO payledger.journal_entries SELECT * FROM payledger.journal_entries WHERE false$$);
SELECT outcome($$UPDATE payledger.accounts SET account_id = 1 WHERE account_code = 'PLATFORM_CASH.LEDGER.CHF'$$);
SELECT outcome('DELETE FROM payledger.accounts');
SELECT outcome($$SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1, 1}')$$);
RESET session_replication_role;

-- also on a partition of the outbox; a whole partition can be dropped
CREATE TABLE payledger.outbox_events_test (LIKE payledger.outbox_events INCLUDING DEFAULTS);
INSERT INTO payledger.outbox_events_test (seq, id, aggregatetype, aggregateid, type, payload, "timestamp", version,
		event_key, ce_source, ce_time, ce_subject, transaction_no)
VALUES (1000000000000001, 'aaaaaaaa-0000-4000-8000-000000000001', 'ledger', '1', 'ledger_entries_recorded', '{}', now(), 1,
		'GLOBAL', 's', 't', '1', 1);
ALTER TABLE payledger.outbox_events ATTACH PARTITION payledger.outbox_events_test
	FOR VALUES FROM (1000000000000000) TO (1000001000000000);
SELECT ok, detail FROM payledger.verify() WHERE check_name = 'outbox_is_guarded';
SELECT outcome('SELECT payledger.setup()');
SELECT payledger.adopt_tables();
DO $$ BEGIN PERFORM payledger.setup(); END $$;
SELECT ok, detail FROM payledger.verify() WHERE check_name = 'outbox_is_guarded';
SELECT outcome('UPDATE payledger.outbox_events_test SET version = 2');
SELECT outcome('DELETE FROM payledger.outbox_events_test');
SELECT outcome('TRUNCATE payledger.outbox_events_test');
SET session_replication_role = replica;
SELECT outcome('DELETE FROM payledger.outbox_events_test');
SELECT outcome('TRUNCATE payledger.outbox_events_test');
RESET session_replication_role;
ALTER TABLE payledger.outbox_events DETACH PARTITION payledger.outbox_events_test;
DROP TABLE payledger.outbox_events_test;

-- balances before and after folding
CREATE VIEW ledger_test_balances AS
	SELECT account_code, balance, formatted, payledger.balance(account_code) AS alone, payledger.balance(account_code, now()) AS as_of
	  FROM payledger.account_balances WHERE entity_id LIKE 'LEDGER%' ORDER BY account_code COLLATE "C";
SELECT * FROM ledger_test_balances;
SELECT payledger.fold_postings() > 0 AS folded, payledger.fold_postings() AS again;
SELECT * FROM ledger_test_balances;
SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{250, -250}', 'LEDGER:3');
SELECT * FROM ledger_test_balances;
-- a transaction sees its own postings, however it folds in between
BEGIN;
SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1000, -1000}');
SELECT payledger.balance('MERCHANT_PAYABLE.LEDGER-1.CHF');
SELECT payledger.fold_postings() AS of_others;
SELECT book('{PLATFORM_CASH.LEDGER.CHF, MERCHANT_PAYABLE.LEDGER-1.CHF}', '{1000, -1000}');
SELECT payledger.balance('MERCHANT_PAYABLE.LEDGER-1.CHF');
ROLLBACK;
SELECT payledger.balance('MERCHANT_PAYABLE.LEDGER-1.CHF');
SELECT payledger.balance('MERCHANT_PAYABLE.LEDGER-1.CHF', (SELECT recorded_at FROM payledger.journal_entries WHERE reference = 'LEDGER:1')) AS as_of,
	   payledger.balance('MERCHANT_PAYABLE.LEDGER-1.CHF', '2025-01-01') AS before;
SELECT outcome('SELECT payledger.balance(''MERCHANT_PAYABLE.NOBODY.CHF'')');
SELECT outcome('SELECT payledger.balance(NULL)');

-- a sum beyond bigint stops nobody but who asks for it
BEGIN;
SELECT book('{PLATFORM_CASH.LEDGER.JPY, WRITE_OFF_EXPENSE.LEDGER.JPY}', '{9223372036854775807, -9223372036854775807}'),
	   book('{PLATFORM_CASH.LEDGER.JPY, WRITE_OFF_EXPENSE.LEDGER.JPY}', '{9223372036854775807, -9223372036854775807}');
SELECT balance, formatted FROM payledger.account_balances WHERE account_code = 'PLATFORM_CASH.LEDGER.JPY';
SELECT outcome('SELECT payledger.balance(''PLATFORM_CASH.LEDGER.JPY'')');
ROLLBACK;

-- the views of finance
SELECT entry_type, reference, leg, account_code, currency, debit, credit FROM payledger.journal
 WHERE reference LIKE 'LEDGER:%' ORDER BY journal_entry_id, leg;
SELECT * FROM payledger.trial_balance WHERE account_code LIKE '%.LEDGER%' ORDER BY account_code COLLATE "C";
SELECT * FROM payledger.seller_balances WHERE seller_id LIKE 'LEDGER%' ORDER BY seller_id;
SELECT payledger.format_total(-123456789012345678901234567890, 'EUR'), payledger.format_total(5, 'EUR'),
	   payledger.format_total(-5, 'EUR'), payledger.format_total(50, 'EUR'), payledger.format_total(500, 'BHD'), payledger.format_total(0, 'BHD'), payledger.format_total(1500, 'JPY');
SELECT * FROM payledger.posting_templates() WHERE mirror_of IS NULL OR entry_type NOT LIKE '%REVERSAL';
SELECT entry_type, string_agg(side || ' ' || account_type, ', ' ORDER BY leg) FROM payledger.posting_templates()
 WHERE entry_type LIKE 'CAPTURE%' GROUP BY entry_type ORDER BY entry_type COLLATE "C";

-- all is well
SELECT check_name, ok, detail FROM payledger.verify(deep => true) WHERE NOT ok;
SELECT room, bool_and(check_name <> '' AND description <> '' AND query LIKE '%SELECT%') AS complete
  FROM (SELECT 'core' AS room, c.* FROM payledger.core_checks() c UNION ALL SELECT 'ledger', c.* FROM payledger.ledger_checks() c
		UNION ALL SELECT 'outbox', c.* FROM payledger.outbox_checks() c UNION ALL SELECT 'payment', c.* FROM payledger.payment_checks() c) c
 GROUP BY room ORDER BY room;

-- and what is not is named
CREATE FUNCTION tampered(statement text) RETURNS TABLE (check_name text, detail text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'ALTER TABLE payledger.postings DISABLE TRIGGER ALL';
	EXECUTE 'ALTER TABLE payledger.journal_entries DISABLE TRIGGER ALL';
	EXECUTE statement;
	RETURN QUERY SELECT v.check_name, regexp_replace(v.detail, '\d{15,}', '<id>', 'g') FROM payledger.verify() v
	 WHERE NOT v.ok AND (v.check_name <> 'ledger_is_guarded' OR statement = 'SELECT');
	RAISE EXCEPTION 'undo' USING ERRCODE = 'PT000';
EXCEPTION WHEN SQLSTATE 'PT000' THEN
	RETURN;
END
$$;
SELECT * FROM tampered('SELECT');
SELECT * FROM tampered('UPDATE payledger.postings SET amount = amount + 1 WHERE (journal_entry_id, leg) IN (SELECT journal_entry_id, 1 FROM ledger_1)');
SELECT * FROM tampered('DELETE FROM payledger.postings WHERE (journal_entry_id, leg) IN (SELECT journal_entry_id, 1 FROM ledger_1)');
SELECT * FROM tampered('DELETE FROM payledger.journal_entries WHERE reference = ''LEDGER:1''');
SELECT * FROM tampered('UPDATE payledger.postings SET account_id = 42 WHERE (journal_entry_id, leg) IN (SELECT journal_entry_id, 1 FROM ledger_1)');
SELECT * FROM tampered('UPDATE payledger.postings SET transaction_no = transaction_no + 1 WHERE (journal_entry_id, leg) IN (SELECT journal_entry_id, 1 FROM ledger_1)');
SELECT * FROM tampered('UPDATE payledger.balance_snapshots s SET balance = balance + 1 FROM payledger.accounts a WHERE a.account_id = s.account_id AND a.account_code = ''PLATFORM_CASH.LEDGER.CHF''');
DROP FUNCTION tampered(text);

-- what a fold adds to an account may be beyond bigint: nothing of it is lost
SELECT account_code FROM unnest('{PLATFORM_CASH, WRITE_OFF_EXPENSE}'::text[]) t, payledger.open_account(t, 'VAST', 'JPY');
SELECT book('{PLATFORM_CASH.VAST.JPY, WRITE_OFF_EXPENSE.VAST.JPY}', '{9223372036854775807, -9223372036854775807}') FROM generate_series(1, 3);
SELECT payledger.fold_postings() > 0 AS folded;
SELECT account_code, balance FROM payledger.account_balances WHERE entity_id = 'VAST' ORDER BY account_code COLLATE "C";
SELECT book('{PLATFORM_CASH.VAST.JPY, WRITE_OFF_EXPENSE.VAST.JPY}', '{-9223372036854775807, 9223372036854775807}') FROM generate_series(1, 3);
SELECT payledger.fold_postings() > 0 AS folded;
SELECT account_code, balance FROM payledger.account_balances WHERE entity_id = 'VAST' ORDER BY account_code COLLATE "C";
