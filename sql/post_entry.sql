-- post_entry() and reverse_entry(): what they post, and what they refuse with
-- which SQLSTATE.  outcome() comes from 010_setup.
\set VERBOSITY terse
SET timezone = 'UTC';

SELECT count(*) FROM (VALUES ('PLATFORM_CASH'), ('BANK_FEES'), ('WRITE_OFF_EXPENSE'), ('MERCHANT_PAYABLE')) AS t(account_type),
	(VALUES ('GBP'), ('USD')) AS c(currency), LATERAL payledger.open_account(account_type, 'POST', currency);
-- two legs of an amount from one account to another
CREATE FUNCTION legs(debit text, credit text, amount numeric DEFAULT 100) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_array(jsonb_build_object('account', debit, 'amount', amount),
							jsonb_build_object('account', credit, 'amount', -amount)) $$;
CREATE VIEW post_journal AS
	SELECT entry_type, reference, leg, account_code, debit, credit FROM payledger.journal
	 WHERE account_code LIKE '%.POST.%' ORDER BY journal_entry_id, leg;

-- an entry of any type, of many legs, of several currencies
SELECT recorded_at = effective_at AS now, replayed
  FROM payledger.post_entry('RENT', '[{"account": "BANK_FEES.POST.GBP", "amount": 900},
									  {"account": "WRITE_OFF_EXPENSE.POST.GBP", "amount": 1.00e2},
									  {"account": "PLATFORM_CASH.POST.GBP", "amount": -1000.0},
									  {"account": "PLATFORM_CASH.POST.USD", "amount": -7},
									  {"account": "BANK_FEES.POST.USD", "amount": 7}]', 'POST:1', metadata => '{"invoice": 1}');
SELECT entry_type, recorded_at = effective_at AS now, recorded_at = payledger.id_timestamp(journal_entry_id) AS time_of_id, metadata
  FROM payledger.journal_entries WHERE reference = 'POST:1';
SELECT * FROM post_journal;
-- one that took effect at another time
SELECT effective_at, replayed FROM payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 12:00+02');
SELECT effective_at FROM payledger.journal_entries WHERE reference = 'POST:2';
-- the extremes
BEGIN;
SELECT replayed FROM payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 9223372036854775807));
SELECT replayed FROM payledger.post_entry('T' || repeat('_', 62), legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 1), repeat('é', 255),
	effective_at => '4713-01-01 BC', metadata => jsonb_build_object('text', repeat('x', 16000)));
SELECT replayed FROM payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 1), effective_at => '294276-12-31');
SELECT count(*) FROM payledger.post_entry('MANY', (SELECT jsonb_agg(jsonb_build_object('account', 'BANK_FEES.POST.GBP', 'amount', 1 - n % 2 * 2))
													 FROM generate_series(1, 32766) n));
ROLLBACK;
-- inside the caller's transaction
BEGIN;
SELECT replayed FROM payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:UNDONE');
ROLLBACK;
SELECT count(*) FROM payledger.journal_entries WHERE reference = 'POST:UNDONE';

-- an event only if asked for, and once
SELECT count(*) FROM payledger.outbox_events e JOIN payledger.journal_entries j ON e.aggregateid = j.journal_entry_id::text WHERE j.reference LIKE 'POST:%';
SELECT (payledger.post_entry('RENT', legs('MERCHANT_PAYABLE.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:3', publish => true)).replayed
  FROM generate_series(1, 2);
SELECT e.type, e.event_key, e.version, e.payload #> '{data,entryType}' AS entry_type, e.payload #> '{data,postings}' AS postings
  FROM payledger.outbox_events e JOIN payledger.journal_entries j ON e.aggregateid = j.journal_entry_id::text WHERE j.reference LIKE 'POST:%';

-- ---- reference ----

-- the same again is the first one
SELECT p.replayed, p.journal_entry_id = j.journal_entry_id AS same, p.recorded_at = j.recorded_at AND p.effective_at = j.effective_at AS times
  FROM payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 10:00+00') p
  JOIN payledger.journal_entries j ON j.reference = 'POST:2';
-- anything else is another entry
SELECT outcome($$SELECT payledger.post_entry('RENT_2', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 10:00+00')$$);
SELECT difference, substr(outcome, 1, 5) AS sqlstate FROM (VALUES
	('amount', $$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 101), 'POST:2', '2025-06-30 10:00+00')$$),
	('account', $$SELECT payledger.post_entry('RENT', legs('WRITE_OFF_EXPENSE.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 10:00+00')$$),
	('side', $$SELECT payledger.post_entry('RENT', legs('PLATFORM_CASH.POST.GBP', 'BANK_FEES.POST.GBP'), 'POST:2', '2025-06-30 10:00+00')$$),
	('currency', $$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.USD', 'PLATFORM_CASH.POST.USD'), 'POST:2', '2025-06-30 10:00+00')$$),
	('legs', $$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP') || legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 10:00+00')$$),
	('time', $$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 10:01+00')$$),
	('no time', $$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2')$$),
	('metadata', $$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 10:00+00', '{}')$$),
	('nothing', $$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:2', '2025-06-30 10:00+00')$$)
	) AS v(difference, statement), outcome(statement) WHERE outcome NOT LIKE ' %';
-- a denied entry has not used it up
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.NOBODY.GBP'), 'POST:4')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:4')$$);

-- ---- bad input ----

CREATE FUNCTION post(postings jsonb) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.post_entry(''RENT'', %L)', postings)) $$;

-- PL002: not double entry
SELECT post('[]');
SELECT post('[{"account": "BANK_FEES.POST.GBP", "amount": 100}]');
SELECT post('[{"account": "BANK_FEES.POST.GBP", "amount": 100}, {"account": "PLATFORM_CASH.POST.GBP", "amount": -99}]');
SELECT post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.USD'));
-- PL007, 22023: accounts that are not there, codes that are none
SELECT post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.NOBODY.GBP'));
SELECT post(legs('BANK_FEES.POST.GBP', 'NO_SUCH_TYPE.POST.GBP'));
SELECT code, outcome FROM (VALUES ('BANK_FEES'), ('BANK_FEES.GBP'), ('bank_fees.POST.GBP'), ('BANK_FEES.POST.XXQ'), ('BANK_FEES..GBP'),
	(''), ('.'), ('BANK_FEES.PÖST.GBP')) AS v(code), post(legs('BANK_FEES.POST.GBP', code)) AS outcome WHERE outcome NOT LIKE '  hint%';
SELECT post(legs('BANK_FEES.POST.GBP', repeat('X', 2000)));
-- PL011: card data
SELECT post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.4111111111111111.GBP'));
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), '4111 1111 1111 1111')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), metadata => '{"note": ["paid with 4111111111111111"]}')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), metadata => '{"cvv": "123"}')$$);
-- 22003: out of range
SELECT post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 9223372036854775808));
SELECT post('[{"account": "BANK_FEES.POST.GBP", "amount": -9223372036854775808}, {"account": "PLATFORM_CASH.POST.GBP", "amount": 1}]');
SELECT substr(post, 1, 50) FROM post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 1e300));
BEGIN;
SELECT post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 9223372036854775807)
			|| legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 1) || legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 1));
SELECT outcome($$SELECT payledger.balance('BANK_FEES.POST.GBP')$$);
ROLLBACK;
SELECT post('[{"account": "BANK_FEES.POST.GBP", "amount": 9223372036854775807}, {"account": "BANK_FEES.POST.GBP", "amount": 1},
			  {"account": "PLATFORM_CASH.POST.GBP", "amount": -9223372036854775807}, {"account": "PLATFORM_CASH.POST.GBP", "amount": -1}]');
-- 22023: not an amount
SELECT post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 0));
SELECT post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 14.5));
SELECT amount, outcome FROM (VALUES ('0.1'), ('1e-1000'), ('9223372036854775806.5'), ('"100"'), ('null'), ('true'), ('[100]'), ('{"minor": 1}')) AS v(amount),
	post(format('[{"account": "BANK_FEES.POST.GBP", "amount": %s}]', amount)::jsonb) AS outcome WHERE outcome NOT LIKE '  hint%';
SELECT outcome FROM (VALUES ('NaN'::numeric), ('Infinity')) AS v(amount), post(legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', amount)) AS outcome
 WHERE outcome NOT LIKE '  hint%';
-- 22023: not postings
SELECT postings, outcome FROM (VALUES ('null'), ('{}'), ('"x"'), ('1'), ('[1]'), ('[null]'), ('[[]]'), ('[{}]'), ('[{"account": 1, "amount": 1}]'),
	('[{"account": "BANK_FEES.POST.GBP"}]'), ('[{"amount": 1}]'), ('[{"account": null, "amount": 1}]'),
	('[{"account": "BANK_FEES.POST.GBP", "amount": 1, "currency": "GBP"}]'), ('[{"Account": "BANK_FEES.POST.GBP", "amount": 1}]')) AS v(postings),
	post(postings::jsonb) AS outcome WHERE outcome NOT LIKE '  hint%';
SELECT post('[{"account": "BANK_FEES.POST.GBP", "amount": 1, "currency": "GBP"}]');
-- what is cut off ends with a whole character (psql would not show a part of one)
SELECT payledger.is_valid_text(post), post FROM post(jsonb_build_array(jsonb_build_object('a' || repeat('😀', 300), 1))) LIMIT 1;
-- 22023: not an entry type, reference, time or metadata
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'CAPTURE:1')$$);
SELECT outcome($$SELECT payledger.post_entry('rent', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'))$$);
SELECT outcome($$SELECT payledger.post_entry('', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'))$$);
SELECT substr(outcome, 1, 5) FROM outcome($$SELECT payledger.post_entry(repeat('T', 64), legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'))$$) LIMIT 1;
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), '')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), repeat('r', 256))$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), E'two\nlines')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), effective_at => 'infinity')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), metadata => '[]')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), metadata => 'null')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), metadata => jsonb_build_object('x', repeat('x', 70000)))$$);
-- 22004: null arguments
SELECT outcome($$SELECT payledger.post_entry(NULL, legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'))$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', NULL)$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), publish => NULL)$$);
-- 54000: too many legs
SELECT outcome($$SELECT payledger.post_entry('MANY', (SELECT jsonb_agg(jsonb_build_object('account', 'BANK_FEES.POST.GBP', 'amount', 1 - n % 2 * 2))
														FROM generate_series(1, 32768) n))$$);
-- 25006: read only
BEGIN READ ONLY;
SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'));
ROLLBACK;

-- PL008: an account that is not active
SELECT status FROM payledger.set_account_status('WRITE_OFF_EXPENSE.POST.USD', 'SUSPENDED');
SELECT post(legs('WRITE_OFF_EXPENSE.POST.USD', 'PLATFORM_CASH.POST.USD'));
SELECT status FROM payledger.set_account_status('WRITE_OFF_EXPENSE.POST.USD', 'CLOSED');
SELECT post(legs('WRITE_OFF_EXPENSE.POST.USD', 'PLATFORM_CASH.POST.USD'));
SELECT status FROM payledger.set_account_status('WRITE_OFF_EXPENSE.POST.USD', 'ACTIVE');
SELECT post(legs('WRITE_OFF_EXPENSE.POST.USD', 'PLATFORM_CASH.POST.USD'));
-- PL004: a floor, a ceiling; the net of an entry counts
SELECT floor, ceiling FROM payledger.set_account_limits('PLATFORM_CASH.POST.USD', -200, 50);
SELECT post(legs('BANK_FEES.POST.USD', 'PLATFORM_CASH.POST.USD', 94));
SELECT post(legs('PLATFORM_CASH.POST.USD', 'BANK_FEES.POST.USD', 158));
SELECT post(legs('BANK_FEES.POST.USD', 'PLATFORM_CASH.POST.USD', 1000) || legs('PLATFORM_CASH.POST.USD', 'BANK_FEES.POST.USD', 907));
SELECT payledger.balance('PLATFORM_CASH.POST.USD');
SELECT floor, ceiling FROM payledger.set_account_limits('PLATFORM_CASH.POST.USD', NULL, NULL);
-- PL009: a closed period, of the one ledger; an entry nets to zero in each
SELECT ledger FROM payledger.add_ledger('POST_BOOKS', 'another company');
SELECT count(*) FROM (VALUES ('PLATFORM_CASH'), ('BANK_FEES')) AS t(account_type), LATERAL payledger.open_account(account_type, 'POST.BOOKS', 'GBP', 'POST_BOOKS');
CALL payledger.close_period('POST_BOOKS', '2025-06-01');
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.BOOKS.GBP', 'PLATFORM_CASH.POST.BOOKS.GBP'), effective_at => '2025-06-30 23:59:59.999999')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.BOOKS.GBP', 'PLATFORM_CASH.POST.BOOKS.GBP'), effective_at => '2025-07-01')$$);
SELECT outcome($$SELECT payledger.post_entry('RENT', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), effective_at => '2025-06-30')$$);
SELECT post(legs('BANK_FEES.POST.BOOKS.GBP', 'PLATFORM_CASH.POST.GBP'));
SELECT post(legs('BANK_FEES.POST.BOOKS.GBP', 'PLATFORM_CASH.POST.BOOKS.GBP') || legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'));

-- ---- reversals ----

CREATE FUNCTION entry(wanted text) RETURNS bigint LANGUAGE sql AS $$ SELECT journal_entry_id FROM payledger.journal_entries WHERE reference = wanted $$;
CREATE VIEW reversals AS
	SELECT o.reference AS reverses, j.entry_type, j.metadata, j.effective_at = j.recorded_at AS now, a.account_code, p.amount
	  FROM payledger.journal_entries j JOIN payledger.journal_entries o ON o.journal_entry_id = j.reverses
	  JOIN payledger.postings p ON p.journal_entry_id = j.journal_entry_id JOIN payledger.accounts a USING (account_id)
	 WHERE o.reference LIKE 'POST:%' ORDER BY j.journal_entry_id, p.leg;
-- the whole, once
SELECT r.journal_entry_id > entry('POST:1') AS later, r.recorded_at = r.effective_at AS now FROM payledger.reverse_entry(entry('POST:1'), 'never rented "it"') r;
SELECT * FROM reversals;
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:1'), 'again')$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:1'), 'again', legs('PLATFORM_CASH.POST.GBP', 'BANK_FEES.POST.GBP', 1))$$);
-- parts, up to the whole
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:2'), 'part', legs('PLATFORM_CASH.POST.GBP', 'BANK_FEES.POST.GBP', 60), '2025-07-31 12:00+00')$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:2'), 'more than is left', legs('PLATFORM_CASH.POST.GBP', 'BANK_FEES.POST.GBP', 41))$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:2'), 'wrong side', legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP', 1))$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:2'), 'other account', legs('PLATFORM_CASH.POST.GBP', 'WRITE_OFF_EXPENSE.POST.GBP', 1))$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:2'), 'unbalanced', '[{"account": "PLATFORM_CASH.POST.GBP", "amount": 1}]')$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:2'), 'the rest')$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:2'), 'nothing is left')$$);
SELECT * FROM reversals WHERE reverses = 'POST:2';
-- no more of one account than it has, where another of that side makes up for it
SELECT replayed FROM payledger.post_entry('RENT', '[{"account": "BANK_FEES.POST.GBP", "amount": 70}, {"account": "WRITE_OFF_EXPENSE.POST.GBP", "amount": 30},
	{"account": "PLATFORM_CASH.POST.GBP", "amount": -60}, {"account": "MERCHANT_PAYABLE.POST.GBP", "amount": -40}]', 'POST:7');
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:7'), 'more than was debited', legs('PLATFORM_CASH.POST.GBP', 'WRITE_OFF_EXPENSE.POST.GBP', 31))$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:7'), 'more than was credited', legs('MERCHANT_PAYABLE.POST.GBP', 'BANK_FEES.POST.GBP', 41))$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:7'), 'all that was debited', legs('PLATFORM_CASH.POST.GBP', 'WRITE_OFF_EXPENSE.POST.GBP', 30))$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:7'), 'all that was credited', legs('MERCHANT_PAYABLE.POST.GBP', 'BANK_FEES.POST.GBP', 40))$$);
SELECT account_code, amount FROM reversals WHERE reverses = 'POST:7';
-- a name that would be too long
BEGIN;
SELECT journal_entry_id AS long FROM payledger.post_entry(repeat('T', 63), legs('BANK_FEES.POST.GBP', 'PLATFORM_CASH.POST.GBP'), 'POST:5') \gset
SELECT outcome(format($$SELECT payledger.reverse_entry(%s, 'long', publish => true)$$, :long));
SELECT entry_type, length(entry_type), (SELECT count(*) FROM payledger.outbox_events e WHERE e.aggregateid = j.journal_entry_id::text) AS events
  FROM payledger.journal_entries j WHERE reverses = :long;
-- refused
SELECT outcome(format($$SELECT payledger.reverse_entry(journal_entry_id, 'a reversal') FROM payledger.journal_entries WHERE reverses = %s$$, :long));
ROLLBACK;
SELECT outcome($$SELECT payledger.reverse_entry(42, 'no such entry')$$);
SELECT outcome($$SELECT payledger.reverse_entry(NULL, 'null')$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:3'), NULL)$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:3'), '')$$);
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:3'), 'refund of 4111111111111111')$$);
SELECT outcome FROM outcome($$SELECT payledger.reverse_entry(entry('POST:3'), 'not postings', '{}')$$) WHERE outcome NOT LIKE '  hint%';
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:3'), 'time', effective_at => '-infinity')$$);
-- in a closed period, on an account that is not active
SELECT journal_entry_id AS booked FROM payledger.post_entry('RENT', legs('BANK_FEES.POST.BOOKS.GBP', 'PLATFORM_CASH.POST.BOOKS.GBP'), 'POST:6') \gset
SELECT outcome(format($$SELECT payledger.reverse_entry(%s, 'closed', effective_at => '2025-06-01')$$, :booked));
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.POST.GBP', 'SUSPENDED');
SELECT outcome($$SELECT payledger.reverse_entry(entry('POST:3'), 'suspended')$$);
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.POST.GBP', 'ACTIVE');

SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
DROP VIEW reversals, post_journal;
DROP FUNCTION legs, post, entry;
