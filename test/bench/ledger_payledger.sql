/* payledger: the accounts, and a row with the JSON of each batch */
INSERT INTO bench.accounts SELECT n, 'MERCHANT_PAYABLE.SELLER-' || n || '.EUR' FROM generate_series(1, 1002) n;
SELECT count(a.account_id)
  FROM generate_series(1, 1001) n, LATERAL payledger.open_account('MERCHANT_PAYABLE', 'SELLER-' || n, 'EUR') a;
SELECT account_code FROM payledger.open_account('MERCHANT_PAYABLE', 'SELLER-1002', 'EUR', floor => 0);
SELECT journal_entry_id
  FROM payledger.post_entry('DEPOSIT', '[{"account": "MERCHANT_PAYABLE.SELLER-1001.EUR", "amount":  1000000000000000},
										 {"account": "MERCHANT_PAYABLE.SELLER-1002.EUR", "amount": -1000000000000000}]');

/* text, so that parsing it is part of the call */
CREATE TABLE bench.batches (
	workload int,
	size	int,
	batch	int,
	entries	text NOT NULL,
	PRIMARY KEY (workload, size, batch)
);
ALTER TABLE bench.batches ALTER entries SET STORAGE EXTERNAL;
INSERT INTO bench.batches
	SELECT t.workload, t.size, t.batch,
		   '[' || string_agg(format('{"entry_type":"TRANSFER","postings":[{"account":"%s","amount":%s},{"account":"%s","amount":%s}]}',
									f.id, t.amount, o.id, -t.amount), ',' ORDER BY t.i) || ']'
	  FROM bench.transfers t
	  JOIN bench.accounts f ON f.n = t.from_n
	  JOIN bench.accounts o ON o.n = t.to_n
	 GROUP BY t.workload, t.size, t.batch;
DROP TABLE bench.transfers;
