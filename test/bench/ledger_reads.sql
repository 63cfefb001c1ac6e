/*
 * The accounts and the input of the posts: bench.batches has the JSON of
 * batches of 1000 transfers from one of a thousand ordinary accounts to
 * LARGE-1 (kind large), or to MILLION-1 and ten of them to THOUSAND-1 to
 * THOUSAND-10 (kind million); backdated is the same, each entry at a random
 * time of the last year.
 */
CREATE SCHEMA bench;
SELECT count(a.account_id)
  FROM generate_series(1, 1000) n, LATERAL payledger.open_account('MERCHANT_PAYABLE', 'SELLER-' || n, 'EUR') a;
SELECT count(a.account_id)
  FROM unnest(ARRAY['LARGE-1', 'MILLION-1'] || ARRAY(SELECT 'THOUSAND-' || n FROM generate_series(1, 10) n)) entity,
LATERAL payledger.open_account('MERCHANT_PAYABLE', entity, 'EUR') a;

CREATE TABLE bench.batches (
	kind	text,
	batch	int,
	entries	text NOT NULL,
	PRIMARY KEY (kind, batch)
);
ALTER TABLE bench.batches ALTER entries SET STORAGE EXTERNAL;

SELECT setseed(0.25);
INSERT INTO bench.batches
	SELECT kind, batch,
		   '[' || string_agg(format('{"entry_type":"TRANSFER",%s"postings":[{"account":"MERCHANT_PAYABLE.SELLER-%s.EUR","amount":%s},{"account":"MERCHANT_PAYABLE.%s.EUR","amount":%s}]}',
									CASE kind WHEN 'backdated' THEN format('"effective_at":"%s",', now() - make_interval(secs => age)) END,
									seller, amount,
									CASE WHEN kind = 'large' THEN 'LARGE-1' WHEN i <= 10 THEN 'THOUSAND-' || i ELSE 'MILLION-1' END,
									-amount), ',' ORDER BY i) || ']'
	  FROM (SELECT kind, batch, i, 1 + (random() * 1000)::int % 1000 AS seller, 1 + (random() * 9999)::int AS amount,
				   random() * 365 * 86400 AS age
			  FROM (VALUES ('large', 200), ('million', 200), ('backdated', :backdated)) k(kind, batches),
				   generate_series(1, batches) batch, generate_series(1, 1000) i) t
	 GROUP BY kind, batch;

/* does balance() at twenty times of an account agree with its postings? */
CREATE FUNCTION bench.wrong_balances(code text, first timestamptz, last timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	wrong bigint;
BEGIN
	CREATE TEMP TABLE history ON COMMIT DROP AS
		SELECT e.recorded_at, e.effective_at, -p.amount AS amount
		  FROM payledger.postings p JOIN payledger.journal_entries e USING (journal_entry_id)
		 WHERE p.account_id = (SELECT account_id FROM payledger.accounts WHERE account_code = code);
	SELECT count(*) INTO wrong
	  FROM (SELECT first + (last - first) * random() AS t FROM generate_series(1, 20)) times
	 WHERE payledger.balance(code, as_of => t) <> (SELECT coalesce(sum(amount), 0) FROM history WHERE recorded_at <= t)
		OR payledger.balance(code, effective_at => t) <> (SELECT coalesce(sum(amount), 0) FROM history WHERE effective_at <= t);
	RETURN wrong;
END
$$;
