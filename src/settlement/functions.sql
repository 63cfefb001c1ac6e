/* src/settlement/functions.sql: part of the install script */

CREATE FUNCTION register_settlement_lines() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_register_settlement_lines'
	LANGUAGE C
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION register_settlement_lines() FROM PUBLIC;
COMMENT ON FUNCTION register_settlement_lines() IS
'AFTER INSERT statement trigger of payledger.settlement_lines: registers the report of the lines in payledger.settlement_reports. Errors: 22003 an amount that cannot be, 22023 unknown currency, a text that is too long or a time that cannot be, PL003 the report is reconciled, PL007 unknown gateway, PL011 card data. Example: COPY payledger.settlement_lines FROM STDIN CSV.';

CREATE FUNCTION import_settlement(gateway text, report_id text, lines jsonb, format text DEFAULT 'generic',
								  payout_amount bigint DEFAULT NULL, settled_through timestamptz DEFAULT NULL)
	RETURNS TABLE (settlement_report_id bigint, gateway text, report_id text, status text, lines int, matched int,
				   exceptions int, totals jsonb)
	AS 'MODULE_PATHNAME', 'pl_sql_import_settlement'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION import_settlement(text, text, jsonb, text, bigint, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION import_settlement(text, text, jsonb, text, bigint, timestamptz) IS
'Imports a PSP''s settlement report, an array of objects, in a format of payledger.settlement_formats (generic, stripe, stripe_report, adyen or an own one). payout_amount: what the PSP says it paid out, minor units of the lines'' only currency. settled_through: what happened until then should be in it. The same report again changes nothing. For very many lines COPY them into payledger.settlement_lines. Errors: 22023 unknown format or a line that cannot be read (naming its path) or lies before 2000 or more than a year ahead, 22003 an amount that does not fit or is above 10^16 minor units, PL006 imported before with another content, PL007 unknown gateway, PL011 card data. Example: SELECT lines FROM payledger.import_settlement(''sandbox'', ''2025-01-31'', payledger.sandbox_settlement(''sandbox''));';

CREATE FUNCTION reconcile_settlement(report_id text, gateway text DEFAULT NULL,
									 payout_amount bigint DEFAULT NULL, settled_through timestamptz DEFAULT NULL)
	RETURNS TABLE (settlement_report_id bigint, gateway text, report_id text, status text, lines int, matched int,
				   exceptions int, totals jsonb)
	AS 'MODULE_PATHNAME', 'pl_sql_reconcile_settlement'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION reconcile_settlement(text, text, bigint, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION reconcile_settlement(text, text, bigint, timestamptz) IS
'Matches the lines of a report with the open items of its gateway, posts what agrees (SETTLEMENT, one entry for each currency; PSP_FEE_RECHARGE for sellers who pay fees) and writes an exception for everything else: see payledger.reconciliation_exceptions. gateway may be null if only one has a report of that name; payout_amount and settled_through state what import_settlement() was not told, for a report that was copied in. A reconciled report stays as it is. Sorts take 32 MB each, or work_mem if that is more. Errors: 22023 several gateways have such a report, PL006 it has another payout_amount or settled_through, PL007 unknown report or gateway. Example: SELECT matched, exceptions, totals FROM payledger.reconcile_settlement(''2025-01-31'');';

CREATE FUNCTION resolve_exception(settlement_exception_id bigint, resolution text, note text)
	RETURNS TABLE (settlement_exception_id bigint, category text, status text, note text, resolved_by text,
				   resolved_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_resolve_exception'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION resolve_exception(bigint, text, text) FROM PUBLIC;
COMMENT ON FUNCTION resolve_exception(bigint, text, text) IS
'Closes an exception of a reconciliation. ACCEPTED posts what the PSP said: for OVER, UNDER and FEE_DIFFERENCE (also a fee that cannot be right) cash and fee of the line, and the difference in gross to WRITE_OFF_EXPENSE; for MISSING_HERE, DUPLICATE and CURRENCY cash and fee against SETTLEMENT_SUSPENSE, for somebody to explain; for MISSING_AT_PSP the amount to WRITE_OFF_EXPENSE. DISMISSED posts nothing and leaves what is open open. Errors: 22023 no such resolution, or CASH_DIFFERENCE cannot be accepted; PL001 resolved before, or its operation was settled meanwhile; PL007 no such exception. Example: SELECT payledger.resolve_exception(settlement_exception_id, ''ACCEPTED'', ''the PSP charged more'') FROM payledger.reconciliation_exceptions WHERE category = ''FEE_DIFFERENCE'' AND status = ''OPEN'';';

CREATE FUNCTION sandbox_settlement(gateway text, fee_bps bigint DEFAULT NULL, fee_fixed bigint DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME', 'pl_sql_sandbox_settlement'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION sandbox_settlement(text, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION sandbox_settlement(text, bigint, bigint) IS
'The settlement report that a sandbox gateway''s PSP would send now: a line of format generic for each open operation, and the payout. Captures cost fee_bps hundredths of a per cent, rounded half up, plus fee_fixed minor units; null: what is agreed with the gateway, or 200. Errors: 22023 the gateway is no sandbox, PL007 unknown gateway. Example: SELECT payledger.import_settlement(''sandbox'', ''2025-01-31'', payledger.sandbox_settlement(''sandbox''));';
