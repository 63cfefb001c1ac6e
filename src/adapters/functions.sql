/* src/adapters/functions.sql: part of the install script */

CREATE FUNCTION psp_error_classes()
	RETURNS TABLE (adapter text, api_version text, http_status int, error_type text, error_code text, outcome text,
				   in_doubt_outcome text, note text)
	AS 'MODULE_PATHNAME', 'pl_sql_psp_error_classes'
	LANGUAGE C STABLE PARALLEL SAFE ROWS 80;
COMMENT ON FUNCTION psp_error_classes() IS
'What the errors of each PSP mean, and the states of objects in its replies and events (http_status null), as documented for api_version; null matches any, the most specific row counts (code before type before status). SUCCEEDED, PENDING (decided later), ACTION_REQUIRED and REVERSED speak for themselves. REFUSED: documented as not executed. RETRY: not executed either, sent again with the same key. UNKNOWN: anything else; it is asked for again, never taken for a failure. in_doubt_outcome holds when an earlier attempt of the same request may have been executed. Example: SELECT * FROM payledger.psp_error_classes() WHERE outcome = ''RETRY'';';
