/*
 * Files of 1000 entries each, and the tables that COPY fills: those of the
 * journal with their indexes, without triggers and constraints.
 */
CREATE TABLE bench.chunks AS
	SELECT (i - 1) / 1000 AS chunk, min(journal_entry_id) AS first, max(journal_entry_id) AS last
	  FROM (SELECT row_number() OVER (ORDER BY journal_entry_id) AS i, journal_entry_id
			  FROM payledger.journal_entries WHERE entry_type = 'TRANSFER') e
	 GROUP BY 1;

CREATE SCHEMA plain;
CREATE TABLE plain.journal_entries (LIKE payledger.journal_entries INCLUDING INDEXES INCLUDING STORAGE);
CREATE TABLE plain.postings (LIKE payledger.postings INCLUDING INDEXES INCLUDING STORAGE);
SET bench.dir = :'dir';

DO $$
DECLARE
	c record;
	name text;
BEGIN
	FOR c IN SELECT * FROM bench.chunks LOOP
		FOREACH name IN ARRAY '{journal_entries,postings}'::text[] LOOP
			EXECUTE format('COPY (SELECT * FROM payledger.%I WHERE journal_entry_id BETWEEN %s AND %s ORDER BY journal_entry_id) TO %L',
						   name, c.first, c.last,
						   format('%s/%s.%s', current_setting('bench.dir'), replace(name, 'journal_', ''), c.chunk));
		END LOOP;
	END LOOP;
END
$$;

/* the first n chunks, in the order in which they were written, for COPY to go on from there */
CREATE PROCEDURE bench.fill_plain(n int) LANGUAGE plpgsql AS $$
DECLARE
	last_id bigint := (SELECT last FROM bench.chunks WHERE chunk = n - 1);
BEGIN
	TRUNCATE plain.journal_entries, plain.postings;
	INSERT INTO plain.journal_entries
		SELECT * FROM payledger.journal_entries
		 WHERE journal_entry_id <= last_id AND entry_type = 'TRANSFER' ORDER BY journal_entry_id;
	INSERT INTO plain.postings
		SELECT * FROM payledger.postings
		 WHERE journal_entry_id <= last_id AND journal_entry_id >= (SELECT first FROM bench.chunks WHERE chunk = 0)
		 ORDER BY journal_entry_id, leg;
END
$$;
