/* pgledger, whose own SQL has been run: the accounts, and a row with the array of each batch */
INSERT INTO bench.accounts
	SELECT n, (pgledger_create_account('account ' || n, 'EUR', allow_negative_balance => n <> 1002)).id
	  FROM generate_series(1, 1002) n;
SELECT count(*)
  FROM pgledger_create_transfer((SELECT id FROM bench.accounts WHERE n = 1001),
								(SELECT id FROM bench.accounts WHERE n = 1002), 1000000000000000);

CREATE TABLE bench.batches (
	workload int,
	size	int,
	batch	int,
	requests transfer_request[] NOT NULL,
	PRIMARY KEY (workload, size, batch)
);
ALTER TABLE bench.batches ALTER requests SET STORAGE EXTERNAL;
INSERT INTO bench.batches
	SELECT t.workload, t.size, t.batch, array_agg((f.id, o.id, t.amount)::transfer_request ORDER BY t.i)
	  FROM bench.transfers t
	  JOIN bench.accounts f ON f.n = t.from_n
	  JOIN bench.accounts o ON o.n = t.to_n
	 GROUP BY t.workload, t.size, t.batch;
DROP TABLE bench.transfers;
