/* src/ledger/functions.sql: part of the install script */

CREATE FUNCTION open_account(account_type text, entity_id text, currency text)
	RETURNS TABLE (account_id bigint, account_code text, account_type text, entity_id text, currency text, status text)
	AS 'MODULE_PATHNAME', 'pl_sql_open_account'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, payledger, pg_temp;
REVOKE ALL ON FUNCTION open_account(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION open_account(text, text, text) IS
'Opens the account TYPE.ENTITY.CURRENCY, or returns it if it is open already. Accounts of the platform itself have the entity GLOBAL; dots in an entity make sub-accounts. Errors: 22023 malformed name or unknown currency, PL007 unknown account type, PL010 not set up, PL011 card data. Example: SELECT * FROM payledger.open_account(''MERCHANT_PAYABLE'', ''SELLER-111'', ''EUR'');';

CREATE FUNCTION balance(account_code text, as_of timestamptz DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_balance'
	LANGUAGE C STABLE PARALLEL UNSAFE COST 1000
	SECURITY DEFINER SET search_path = pg_catalog, payledger, pg_temp;
REVOKE ALL ON FUNCTION balance(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION balance(text, timestamptz) IS
'Balance of an account in minor units of its currency, positive on the account''s normal side, exact in the snapshot of the calling query. as_of: of the entries recorded until then (a transaction records at the time it began). Errors: 22003 the balance passes a bigint, PL007 no such account, PL010 not set up. Example: SELECT payledger.balance(''MERCHANT_PAYABLE.SELLER-111.EUR'');';

CREATE FUNCTION fold_postings() RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_fold_postings'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, payledger, pg_temp
	SET jit = off;
REVOKE ALL ON FUNCTION fold_postings() FROM PUBLIC;
COMMENT ON FUNCTION fold_postings() IS
'Adds the postings committed since the last fold to payledger.balance_snapshots and returns their number. The keeper does this all the time; balances are exact with or without it, reading them is only faster after it. Waits for a fold under way. Errors: 40001 the transaction''s snapshot is from before the last fold, PL010 not set up. Example: SELECT payledger.fold_postings();';

CREATE FUNCTION format_total(total numeric, currency text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_format_total'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION format_total(numeric, text) IS
'A sum of amounts in minor units with the decimal point of its currency; payledger.format_amount for sums that may pass a bigint. Errors: 22023 unknown currency. Example: SELECT payledger.format_total(sum(amount), ''EUR'') FROM payledger.payment_orders WHERE currency = ''EUR'';';

CREATE FUNCTION posting_templates()
	RETURNS TABLE (entry_type text, leg int, side text, account_type text, entity_id text, mirror_of text)
	AS 'MODULE_PATHNAME', 'pl_sql_posting_templates'
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 60;
COMMENT ON FUNCTION posting_templates() IS
'The legs of each entry type that the payment flow posts, all of the same amount: entity_id is GLOBAL for an account of the platform, seller for one of the seller concerned; mirror_of names the entry type whose sides are exchanged. Example: SELECT * FROM payledger.posting_templates() WHERE entry_type = ''CAPTURE'';';

CREATE FUNCTION check_postings() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_check_postings'
	LANGUAGE C;
REVOKE ALL ON FUNCTION check_postings() FROM PUBLIC;
COMMENT ON FUNCTION check_postings() IS
'AFTER INSERT statement trigger of payledger.postings: every entry touched was inserted by the same transaction, gets all of its legs (two or more, numbered from 1) in this statement, and nets to zero in every currency. Errors: PL002 unbalanced or incomplete entry, PL007 unknown account, PL008 account not active. Example: an INSERT of a single posting raises PL002.';
