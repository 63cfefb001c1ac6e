/* src/core/functions.sql: part of the install script */

CREATE FUNCTION require_preload() RETURNS void
	AS 'MODULE_PATHNAME', 'pl_sql_require_preload'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION require_preload() IS
'Does nothing where the library was loaded by shared_preload_libraries, and raises 55000 with the line to add where it was not, as every function of payledger that is written in C does. Example: SELECT payledger.require_preload();';

CREATE FUNCTION next_id() RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_next_id'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION next_id() FROM PUBLIC;
COMMENT ON FUNCTION next_id() IS
'The next Snowflake id of this server: milliseconds since 2025-01-01 in 41 bits, payledger.node_id in 10, a sequence in 12. Unique over all sessions, never going back. Errors: 55000 if the library is not in shared_preload_libraries, the clock shows a time before 2025 or after 2089, or all ids have been drawn; XX001 if the file payledger.id_limit holds no such number. Example: SELECT payledger.next_id();';

CREATE FUNCTION id_timestamp(id bigint) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'pl_sql_id_timestamp'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION id_timestamp(bigint) IS
'When an id was given out, in milliseconds. After a crash ids may be up to 10 seconds ahead of the clock. Errors: 22008 not an id. Example: SELECT payledger.id_timestamp(journal_entry_id) FROM payledger.journal_entries;';

CREATE FUNCTION currencies() RETURNS TABLE (currency text, exponent int, name text)
	AS 'MODULE_PATHNAME', 'pl_sql_currencies'
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 160;
COMMENT ON FUNCTION currencies() IS
'The currencies of ISO 4217 with their exponent, the number of digits after the decimal point: amounts are in units of 10^-exponent. Example: SELECT * FROM payledger.currencies() WHERE exponent <> 2;';

CREATE FUNCTION format_amount(amount bigint, currency text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_format_amount'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION format_amount(bigint, text) IS
'An amount in minor units with the decimal point of its currency. Errors: 22023 unknown currency. Example: SELECT payledger.format_amount(1450, ''EUR''); gives 14.50';

CREATE FUNCTION format_total(total numeric, currency text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_format_total'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION format_total(numeric, text) IS
'A sum of amounts in minor units with the decimal point of its currency; payledger.format_amount for sums that may pass a bigint. Errors: 22023 unknown currency. Example: SELECT payledger.format_total(sum(amount), ''EUR'') FROM payledger.payment_orders WHERE currency = ''EUR'';';

CREATE FUNCTION enforce_transition() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_enforce_transition'
	LANGUAGE C;
REVOKE ALL ON FUNCTION enforce_transition() FROM PUBLIC;
COMMENT ON FUNCTION enforce_transition() IS
'AFTER INSERT OR UPDATE row trigger of the tables with a status: refuses an edge that payledger.transitions does not list and records payledger.state_history. Arguments: machine, id column, payment column. Errors: PL001 illegal transition, PL003 changed id. Example: UPDATE payledger.payments SET status = ''VOIDED'' on a captured payment raises PL001.';

CREATE FUNCTION refuse_change() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_refuse_change'
	LANGUAGE C;
REVOKE ALL ON FUNCTION refuse_change() FROM PUBLIC;
COMMENT ON FUNCTION refuse_change() IS
'Trigger of append-only tables: refuses UPDATE, DELETE and TRUNCATE, by the owner too. Argument: a hint. Errors: PL003. Example: DELETE FROM payledger.postings raises PL003.';

CREATE FUNCTION transition_table() RETURNS TABLE (machine text, from_status text, to_status text)
	AS 'MODULE_PATHNAME', 'pl_sql_transition_table'
	LANGUAGE C STABLE PARALLEL SAFE ROWS 80;
COMMENT ON FUNCTION transition_table() IS
'Every edge of every state machine; from_status is null where an object begins. payledger.transitions shows the same. Example: SELECT * FROM payledger.transition_table() WHERE machine = ''payment'';';

CREATE FUNCTION state_diagram(machine text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_state_diagram'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION state_diagram(text) IS
'A state machine as a Mermaid state diagram. Errors: 22023 no such machine. Example: SELECT payledger.state_diagram(''payment_order'');';

CREATE FUNCTION begin_incarnation() RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_begin_incarnation'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION begin_incarnation() FROM PUBLIC;
COMMENT ON FUNCTION begin_incarnation() IS
'The incarnation of this database, beginning a new one if the data was restored or copied here. setup() and every writer do this by themselves. Example: SELECT payledger.begin_incarnation();';

CREATE FUNCTION trusted_now() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'pl_sql_trusted_now'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION trusted_now() IS
'The time that payledger goes by: the wall clock, or, if that was stepped by more than payledger.max_clock_step, the time as counted since before the step. Example: SELECT payledger.trusted_now() - clock_timestamp();';

CREATE FUNCTION clock_status() RETURNS TABLE (agrees boolean, wall_clock timestamptz, trusted_clock timestamptz,
		step interval, since timestamptz, at_start boolean, steps bigint, confirmed_at timestamptz,
		confirmed_by text, confirmed_step interval)
	AS 'MODULE_PATHNAME', 'pl_sql_clock_status'
	LANGUAGE C VOLATILE PARALLEL SAFE ROWS 1;
REVOKE ALL ON FUNCTION clock_status() FROM PUBLIC;
COMMENT ON FUNCTION clock_status() IS
'What payledger thinks of the wall clock, one row, described at the view payledger.stat_clock. Errors: 55000 if the library is not in shared_preload_libraries. Example: SELECT step FROM payledger.clock_status() WHERE NOT agrees;';

CREATE FUNCTION confirm_clock() RETURNS boolean
	AS 'MODULE_PATHNAME', 'pl_sql_confirm_clock'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION confirm_clock() FROM PUBLIC;
COMMENT ON FUNCTION confirm_clock() IS
'Takes the wall clock as it is now for right, for all databases of the server, at once and whatever becomes of the transaction: what was held back because the clock had been stepped goes on. Returns whether there was a step; who confirmed which step is logged and shown by payledger.stat_clock. Compare clock_timestamp() with a clock that you know to be right first: authorizations expire, payouts are made and old rows are deleted by it. Also on a standby, for that server. Errors: 22008 if the wall clock shows a time that ids cannot hold, before 2025 or after 2089; 55000 if the library is not in shared_preload_libraries. Example: SELECT payledger.confirm_clock();';

CREATE FUNCTION is_valid_text(value text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'pl_sql_is_valid_text'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION is_valid_text(text) IS
'Whether a stored text is valid UTF-8, as every one should be: one that is not breaks functions of text, and a dump that holds it does not restore. Null for null. Example: SELECT gateway, event_id FROM payledger.webhooks WHERE NOT payledger.is_valid_text(body);';
