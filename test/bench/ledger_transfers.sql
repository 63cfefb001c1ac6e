/*
 * The transfers of the batches, the same for each system: bench.transfers has
 * one row each, bench.accounts will translate its numbers.  1 to 1000 are
 * ordinary accounts, 1001 is the hot one, 1002 has a floor.  :sizes are the
 * sizes of batches; workload 0: between ordinary accounts at random, 1: from
 * one of them to the hot account, 2: from the account with a floor to one of
 * them.
 */
CREATE SCHEMA bench;
CREATE TABLE bench.accounts (
	n		int PRIMARY KEY,
	id		text NOT NULL
);

SELECT setseed(0.25);
CREATE UNLOGGED TABLE bench.transfers AS
	SELECT workload, size, batch, i,
		   CASE workload WHEN 2 THEN 1002 ELSE a END AS from_n,
		   CASE workload WHEN 1 THEN 1001 ELSE 1 + (a + step) % 1000 END AS to_n,
		   amount
	  FROM (SELECT workload, size, batch, i, 1 + (random() * 1000)::int % 1000 AS a,
				   (random() * 998)::int AS step, 1 + (random() * 9999)::int AS amount
			  FROM unnest(string_to_array(:'sizes', ' ')::int[]) size,
				   generate_series(0, 2) workload,
				   generate_series(1, least(400, greatest(40, 200000 / size))) batch,
				   generate_series(1, size) i
			 WHERE size > 1 AND (workload < 2 OR size = 1000)) t;
