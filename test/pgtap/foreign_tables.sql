-- Whoever may execute a trigger function may put it on a table of his own: one
-- whose columns have other types, or are not there, is refused before any of
-- its values is read.
BEGIN;
SELECT plan(12);

-- A copy of one of our tables, changed, with the trigger on it, gets a row.
CREATE FUNCTION pg_temp.try(our_table regclass, change text, trigger text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	reason text;
BEGIN
	EXECUTE format('CREATE TABLE foreign_table AS TABLE %s WITH NO DATA', our_table);
	EXECUTE format('ALTER TABLE foreign_table %s', change);
	EXECUTE format('CREATE TRIGGER t %s', replace(trigger, '%', 'foreign_table'));
	INSERT INTO foreign_table DEFAULT VALUES;
	DROP TABLE foreign_table;
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, reason);
END $$;

CREATE FUNCTION pg_temp.refused(our_table regclass, change text, trigger text, reason text) RETURNS text LANGUAGE sql AS $$
	SELECT is(pg_temp.try(our_table, change, trigger), '39P01 trigger "t" cannot be on table "foreign_table" ' || reason,
		format('%s: %s', our_table, change)) $$;

\set statement 'AFTER INSERT ON % REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION payledger.'
\set after 'AFTER INSERT ON % FOR EACH ROW EXECUTE FUNCTION payledger.'
\set before 'BEFORE INSERT ON % FOR EACH ROW EXECUTE FUNCTION payledger.'

-- at their places
SELECT pg_temp.refused('payledger.postings', 'ALTER journal_entry_id TYPE text', :'statement' || 'check_postings()',
	'Column 1 of the table is not of type bigint.');
SELECT pg_temp.refused('payledger.postings', 'ALTER amount TYPE numeric', :'statement' || 'check_postings()',
	'Column 3 of the table is not of type bigint.');
SELECT pg_temp.refused('payledger.postings', 'ALTER leg TYPE bigint', :'statement' || 'check_postings()',
	'Column 5 of the table is not of type smallint.');
SELECT pg_temp.refused('payledger.postings', 'DROP leg', :'statement' || 'check_postings()',
	'Column 5 of the table is not of type smallint.');
SELECT pg_temp.refused('payledger.settlement_lines', 'ALTER line_no TYPE bigint', :'statement' || 'register_settlement_lines()',
	'Column 3 of the table is not of type integer.');
SELECT pg_temp.refused('payledger.settlement_lines', 'ALTER occurred_at TYPE text', :'statement' || 'register_settlement_lines()',
	'Column 11 of the table is not of type timestamp with time zone.');
SELECT pg_temp.refused('payledger.settlement_lines', 'DROP line_type', :'statement' || 'register_settlement_lines()',
	'The table has no column 4.');
-- by their names
SELECT pg_temp.refused('payledger.refunds', 'ALTER refund_id TYPE int', :'after' || $$enforce_transition('refund', 'refund_id', 'payment_id')$$,
	'The table has no column "refund_id" of type bigint.');
SELECT pg_temp.refused('payledger.refunds', 'DROP refund_id', :'after' || $$enforce_transition('refund', 'refund_id', 'payment_id')$$,
	'The table has no column "refund_id" of type bigint.');
SELECT pg_temp.refused('payledger.payments', 'ALTER payment_id TYPE text', :'after' || $$check_totals('payment')$$,
	'The table has no column "payment_id" of type bigint.');
SELECT pg_temp.refused('payledger.gateways', 'ALTER options TYPE json', :'before' || 'check_gateway()',
	'The table has no column "options" of type jsonb.');
SELECT pg_temp.refused('payledger.gateways', 'ALTER adapter TYPE varchar', :'before' || 'check_gateway()',
	'The table has no column "adapter" of type text.');
SELECT * FROM finish();
ROLLBACK;
