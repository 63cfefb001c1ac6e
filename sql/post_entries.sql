-- post_entries(): all or none, or a verdict for each.  outcome() comes from
-- 010_setup.
\set VERBOSITY terse
SET timezone = 'UTC';

SELECT count(*) FROM (VALUES ('PLATFORM_CASH'), ('BANK_FEES'), ('MERCHANT_PAYABLE')) AS t(account_type), LATERAL payledger.open_account(account_type, 'BATCH', 'GBP');
CREATE FUNCTION entry(amount numeric, reference text DEFAULT NULL, debit text DEFAULT 'BANK_FEES.BATCH.GBP', credit text DEFAULT 'PLATFORM_CASH.BATCH.GBP')
RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('entry_type', 'BATCHED', 'reference', reference, 'postings', jsonb_build_array(
	jsonb_build_object('account', debit, 'amount', amount), jsonb_build_object('account', credit, 'amount', -amount))) $$;
-- what a batch became, without ids
CREATE FUNCTION verdicts(entries jsonb, atomic boolean DEFAULT false) RETURNS TABLE (n int, verdict text, sqlstate text, message text) LANGUAGE sql AS
$$ SELECT n, verdict, sqlstate, regexp_replace(message, '\d{15,}', '<id>', 'g') FROM payledger.post_entries(entries, atomic)
	WHERE (journal_entry_id IS NULL) = (verdict = 'DENIED') $$;

-- ---- all or none ----

SELECT n, verdict, sqlstate, message FROM payledger.post_entries(jsonb_build_array(entry(100), entry(200, 'BATCH:1'),
	entry(300) || '{"metadata": {"a": [1]}}', entry(400) || '{"effective_at": "2025-03-31T23:59:59.5+00:00", "metadata": null}'));
SELECT j.entry_type, j.reference, nullif(j.effective_at, j.recorded_at) AS effective_at, j.metadata, p.amount
  FROM payledger.journal_entries j JOIN payledger.postings p USING (journal_entry_id)
 WHERE j.entry_type = 'BATCHED' AND p.leg = 1 ORDER BY journal_entry_id;
SELECT journal_entry_id - lag(journal_entry_id) OVER (ORDER BY n) > 0 AS ascending FROM payledger.post_entries(jsonb_build_array(entry(1), entry(2))) OFFSET 1;
SELECT * FROM payledger.post_entries('[]');
SELECT n, verdict FROM payledger.post_entries(jsonb_build_array(entry(200, 'BATCH:1'), entry(5)));
SELECT payledger.balance('BANK_FEES.BATCH.GBP');
-- the first that cannot be read raises, and says which it is
\set VERBOSITY default
SELECT * FROM payledger.post_entries(jsonb_build_array(entry(1), entry(2), entry(1.5), entry(1)));
SELECT * FROM payledger.post_entries(jsonb_build_array(entry(1), '[]'::jsonb));
\set VERBOSITY terse
SELECT outcome($$SELECT payledger.post_entries(jsonb_build_array(entry(1), entry(2, credit => 'PLATFORM_CASH.NOBODY.GBP')))$$);
SELECT outcome($$SELECT payledger.post_entries(jsonb_build_array(entry(1), entry(2, 'BATCH:1')))$$);
SELECT payledger.balance('BANK_FEES.BATCH.GBP');
-- limits hold for the net of all
SELECT floor FROM payledger.open_account('MERCHANT_PAYABLE', 'BATCH.FLOOR', 'GBP', floor => 0);
SELECT outcome($$SELECT payledger.post_entries(jsonb_build_array(
	entry(70, NULL, 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP'), entry(70, NULL, 'PLATFORM_CASH.BATCH.GBP', 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP')))$$);
SELECT outcome($$SELECT payledger.post_entries(jsonb_build_array(
	entry(71, NULL, 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP'), entry(70, NULL, 'PLATFORM_CASH.BATCH.GBP', 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP')))$$);

-- ---- a verdict for each ----

SELECT * FROM verdicts(jsonb_build_array(
	entry(1, 'BATCH:2'), entry(1, 'BATCH:2'), entry(2, 'BATCH:2'),				-- given twice, and with another content
	entry(200, 'BATCH:1'), entry(201, 'BATCH:1'),								-- posted before
	entry(1) || '{"postings": []}', entry(1) #- '{postings,1}', jsonb_set(entry(5), '{postings,1,amount}', '-4'),
	entry(1, credit => 'PLATFORM_CASH.NOBODY.GBP'), entry(1, credit => 'nonsense'), entry(1, credit => 'PLATFORM_CASH.4111111111111111.GBP'),
	entry(0), entry(0.5), entry(9223372036854775808), jsonb_set(entry(1), '{postings,1,amount}', '"-1"'),
	entry(1) || jsonb_build_object('postings', jsonb_build_array(
		entry(9223372036854775807) #> '{postings,0}', entry(1) #> '{postings,0}', entry(9223372036854775807) #> '{postings,1}', entry(1) #> '{postings,1}')),
	entry(3, 'BATCH:3')));
-- given twice, both are the one that was posted
SELECT min(journal_entry_id) AS one, max(journal_entry_id) AS other, string_agg(verdict, ', ' ORDER BY n) AS verdicts
  FROM payledger.post_entries(jsonb_build_array(entry(4, 'BATCH:7'), entry(4, 'BATCH:7')), false) \gset
SELECT :'verdicts' AS verdicts, (SELECT reference FROM payledger.journal_entries WHERE journal_entry_id = :one) AS one,
	   (SELECT reference FROM payledger.journal_entries WHERE journal_entry_id = :other) AS other;
-- with other metadata, or for another time, it is another content; what comes after that is judged by the first one all the same
SELECT * FROM verdicts(jsonb_build_array(
	entry(5, 'BATCH:8') || '{"metadata": {"order": 1}}', entry(5, 'BATCH:8') || '{"metadata": {"order": 2}}', entry(5, 'BATCH:8'),
	entry(5, 'BATCH:8') || '{"metadata": {"order": 1}}',
	entry(5, 'BATCH:9') || '{"effective_at": "2025-04-01T00:00:00Z"}', entry(5, 'BATCH:9') || '{"effective_at": "2025-04-02T00:00:00Z"}',
	entry(5, 'BATCH:9'), entry(5, 'BATCH:9') || '{"effective_at": "2025-04-01T02:00:00+02:00"}'));
-- each is judged by what the accepted ones before it left
SELECT * FROM verdicts(jsonb_build_array(
	entry(1, NULL, 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP'), entry(70, NULL, 'PLATFORM_CASH.BATCH.GBP', 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP'),
	entry(50, NULL, 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP'), entry(21, NULL, 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP'),
	entry(20, NULL, 'MERCHANT_PAYABLE.BATCH.FLOOR.GBP')));
SELECT payledger.balance('MERCHANT_PAYABLE.BATCH.FLOOR.GBP');
-- a denied entry has not used up its reference, not even within the batch
SELECT * FROM verdicts(jsonb_build_array(entry(1, 'BATCH:4', credit => 'PLATFORM_CASH.NOBODY.GBP'), entry(2, 'BATCH:4')));
SELECT * FROM verdicts(jsonb_build_array(entry(1, 'BATCH:5') || '{"entry_type": 1}', entry(2, 'BATCH:5'), entry(2, 'BATCH:5')));
-- accounts and periods
SELECT ledger FROM payledger.add_ledger('BATCH_BOOKS', 'another company');
SELECT count(*) FROM (VALUES ('PLATFORM_CASH'), ('BANK_FEES')) AS t(account_type), LATERAL payledger.open_account(account_type, 'BATCH.BOOKS', 'GBP', 'BATCH_BOOKS');
CALL payledger.close_period('BATCH_BOOKS', '2025-06-01');
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.BATCH.GBP', 'SUSPENDED');
SELECT * FROM verdicts(jsonb_build_array(
	entry(1, NULL, 'MERCHANT_PAYABLE.BATCH.GBP'), entry(1, NULL, 'BANK_FEES.BATCH.BOOKS.GBP', 'PLATFORM_CASH.BATCH.BOOKS.GBP') || '{"effective_at": "2025-06-30T00:00Z"}',
	entry(1, NULL, 'BANK_FEES.BATCH.BOOKS.GBP', 'PLATFORM_CASH.BATCH.BOOKS.GBP') || '{"effective_at": "2025-07-01T00:00Z"}',
	entry(1, NULL, 'BANK_FEES.BATCH.BOOKS.GBP', 'PLATFORM_CASH.BATCH.GBP')));
-- what is not an entry
SELECT e AS entry, message FROM verdicts('[null, 1, "x", [], {}]') v JOIN jsonb_array_elements('[null, 1, "x", [], {}]') WITH ORDINALITY AS e(e, n) USING (n);
SELECT change, verdict, sqlstate, substr(message, 1, 90) AS message FROM (VALUES
	('{"entry_type": null}'), ('{"entry_type": "lower"}'), ('{"entry_type": ["A"]}'), ('{"postings": null}'), ('{"postings": {}}'), ('{"postings": "[]"}'),
	('{"postings": [1, 2]}'), ('{"postings": [{"account": "BANK_FEES.BATCH.GBP", "amount": 1, "side": "debit"}]}'),
	('{"reference": 1}'), ('{"reference": ""}'), ('{"reference": "4111-1111-1111-1111"}'), ('{"reference": "a\tb"}'),
	('{"metadata": []}'), ('{"metadata": "{}"}'), ('{"metadata": 1}'), ('{"metadata": {"card": 4111111111111111}}'), ('{"metadata": {"pan": "x"}}'),
	('{"effective_at": 1}'), ('{"effective_at": ""}'), ('{"effective_at": "now"}'), ('{"effective_at": "infinity"}'), ('{"effective_at": "2025-01-01"}'),
	('{"effective_at": "2025-01-01T00:00:00"}'), ('{"effective_at": "01/02/2025 10:00Z"}'), ('{"effective_at": "2025-01-01T00:00:00 Europe/Berlin"}'),
	('{"effective_at": "2025-13-01T00:00:00Z"}'), ('{"effective_at": "2025-01-01T25:00:00Z"}'), ('{"effective_at": "999999-01-01T00:00:00Z"}'),
	('{"effective_at": "2025 - - TZ"}'), ('{"effective_at": "2025-02-28T23:59:59.999999+14:00"}'), ('{"effective_at": "2025-01-31 10:00-0530"}'),
	('{"amount": 1}'), ('{"Reference": "x"}'), ('{"": 1}'), ('{"reversed": 1, "entry": 2}')) AS v(change),
	verdicts(jsonb_build_array(entry(1) || change::jsonb));
SELECT verdict, sqlstate, message FROM verdicts(jsonb_build_array(entry(1) || jsonb_build_object(repeat('ä', 300), 1),
	entry(1) || jsonb_build_object('reference', repeat('r', 1024)), entry(1) || jsonb_build_object('metadata', jsonb_build_object('x', repeat('x', 70000)))));
-- every setting of the session means the same
SET datestyle = 'German'; SET timezone = 'Asia/Tokyo';
SELECT verdict FROM verdicts(jsonb_build_array(entry(1, 'BATCH:6') || '{"effective_at": "2025-04-05T06:07:08+02:00"}'));
RESET datestyle; SET timezone = 'UTC';
SELECT effective_at FROM payledger.journal_entries WHERE reference = 'BATCH:6';
-- and one that PostgreSQL wrote itself
SELECT verdict FROM verdicts(jsonb_build_array(entry(1) || jsonb_build_object('effective_at', now())));

-- ---- arguments ----

SELECT entries, outcome FROM (VALUES ('null'), ('{}'), ('1'), ('"[]"')) AS v(entries),
	outcome(format('SELECT payledger.post_entries(%L, false)', entries)) WHERE outcome NOT LIKE '  hint%';
SELECT outcome('SELECT payledger.post_entries(NULL)');
SELECT outcome($$SELECT payledger.post_entries('[]', NULL)$$);
SELECT outcome($$SELECT payledger.post_entries('[]', publish => NULL)$$);
BEGIN READ ONLY;
SELECT payledger.post_entries('[]');
ROLLBACK;

-- an event for each entry that was posted, if asked for
SELECT verdict FROM payledger.post_entries(jsonb_build_array(entry(1), entry(2), entry(200, 'BATCH:1'), '1'::jsonb), false, true);
SELECT count(*), count(DISTINCT aggregateid) FROM payledger.outbox_events e JOIN payledger.journal_entries j ON e.aggregateid = j.journal_entry_id::text WHERE j.entry_type = 'BATCHED';

-- more than one part
BEGIN;
SELECT count(*), count(DISTINCT journal_entry_id), string_agg(DISTINCT verdict, ' '), min(n), max(n)
  FROM payledger.post_entries((SELECT jsonb_agg(entry(n, CASE WHEN n % 3 > 0 THEN 'BATCH:' || 100000 - n / 2 END) || '{"entry_type": "PARTS"}') FROM generate_series(1, 12000) n), false);
SELECT count(*), count(reference), min(reference), max(reference) FROM payledger.journal_entries WHERE entry_type = 'PARTS';
SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
ROLLBACK;

-- nothing is under way
SELECT * FROM payledger.stat_progress_post_entries;
SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
DROP FUNCTION entry, verdicts;
