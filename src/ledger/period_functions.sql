/* src/ledger/period_functions.sql: part of the install script */

CREATE PROCEDURE close_period(ledger text, month date)
	AS 'MODULE_PATHNAME', 'pl_sql_close_period'
	LANGUAGE C;
REVOKE ALL ON PROCEDURE close_period(text, date) FROM PUBLIC;
COMMENT ON PROCEDURE close_period(text, date) IS
'Closes a month of a ledger, named by its first day: from then on no entry takes effect in it or before it (PL009), and the balance of each account at its end is stored in payledger.closing_balances. The month must be over, and earlier months closed or without entries. Waits for the posts under way (lock_timeout bounds the wait), holds up later ones for a moment, commits, and then computes the balances; inside a transaction block or a function it does all of it in that transaction, and posts wait until it ends. Closing a month again does nothing, or stores the balances if that was interrupted. Needs EXECUTE on mark_period_closed and store_closing_balances. Errors: 22023 not the first day of a month, 40P01 deadlock with a transaction that also waits for posts, 55000 the month is not over or an earlier one is open, PL007 no such ledger, PL010 not set up. Example: CALL payledger.close_period(''MAIN'', ''2025-01-01'');';

CREATE FUNCTION mark_period_closed(ledger text, month date) RETURNS boolean
	AS 'MODULE_PATHNAME', 'pl_sql_mark_period_closed'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION mark_period_closed(text, date) FROM PUBLIC;
COMMENT ON FUNCTION mark_period_closed(text, date) IS
'The first half of close_period(): no post takes effect in the month any more; posts wait until this transaction ends. Returns false if it was closed already. Errors: see close_period. Example: SELECT payledger.mark_period_closed(''MAIN'', ''2025-01-01'');';

CREATE FUNCTION store_closing_balances(ledger text, month date) RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_store_closing_balances'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION store_closing_balances(text, date) FROM PUBLIC;
COMMENT ON FUNCTION store_closing_balances(text, date) IS
'The second half of close_period(): stores the balances of the ledger''s accounts at the end of the month, by effective time, and returns their number; 0 if it is not closed or they are there already. Blocks no post. Errors: 22003 a balance passes a bigint, PL010 not set up. Example: SELECT payledger.store_closing_balances(''MAIN'', ''2025-01-01'');';

CREATE FUNCTION reopen_period(ledger text, month date, reason text)
	RETURNS TABLE (ledger text, month date, closed_before timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_reopen_period'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION reopen_period(text, date, text) FROM PUBLIC;
COMMENT ON FUNCTION reopen_period(text, date, text) IS
'Opens the newest closed month of a ledger again, so that entries may take effect in it, and drops its closing balances; months between it and the closed one before it, which had no entries, open as well. Who did it and why stays in payledger.period_events. Returns what the ledger is closed before now; null if no month is closed. Errors: 22023 no reason or not the first day of a month, 55000 not the newest closed month, PL007 no such ledger, PL010 not set up. Example: SELECT * FROM payledger.reopen_period(''MAIN'', ''2025-01-01'', ''invoice 4711 came late'');';

/* plpgsql, because the transition table is best read with SQL */
CREATE FUNCTION check_closing_balances() RETURNS trigger
	LANGUAGE plpgsql
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wrong record;
BEGIN
	SELECT p.ledger, p.month INTO wrong
	  FROM (SELECT DISTINCT c.ledger, c.month FROM changed c) c
	  JOIN payledger.periods p ON p.ledger = c.ledger AND p.month = c.month
	 WHERE CASE TG_OP WHEN 'INSERT' THEN p.has_balances OR NOT p.is_closed ELSE p.is_closed END
	 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'closing balances of month % of ledger % are immutable: % refused', wrong.month, wrong.ledger, TG_OP
			USING ERRCODE = 'PL003', HINT = 'Reopen the month with payledger.reopen_period() and close it again.';
	END IF;
	RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION check_closing_balances() FROM PUBLIC;
COMMENT ON FUNCTION check_closing_balances() IS
'AFTER INSERT and AFTER DELETE statement trigger of payledger.closing_balances with the transition table "changed": rows come once, when the month has been closed, and go when it was reopened. Errors: PL003. Example: DELETE FROM payledger.closing_balances raises PL003 if a closed month has balances.';
