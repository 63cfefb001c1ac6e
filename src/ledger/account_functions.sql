/* src/ledger/account_functions.sql: part of the install script */

/* ---- accounts ---- */

CREATE FUNCTION open_account(account_type text, entity_id text, currency text, ledger text DEFAULT 'MAIN',
							 floor bigint DEFAULT NULL, ceiling bigint DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS TABLE (account_id bigint, account_code text, account_type text, entity_id text, currency text,
				   ledger text, status text, floor bigint, ceiling bigint, held bigint, metadata jsonb)
	AS 'MODULE_PATHNAME', 'pl_sql_open_account'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION open_account(text, text, text, text, bigint, bigint, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION open_account(text, text, text, text, bigint, bigint, jsonb) IS
'Opens the account TYPE.ENTITY.CURRENCY in a ledger; one that is open already is returned as it is. Accounts of the platform itself have the entity GLOBAL; dots in an entity make sub-accounts. floor and ceiling are limits of the balance in minor units, on the account''s normal side; null: no limit. Errors: 22023 malformed name, unknown currency, metadata that is no object, or the account is open in another ledger or with other limits than those asked for; PL004 limits that exclude a balance of zero; PL007 unknown account type or ledger; PL010 not set up; PL011 card data. Example: SELECT * FROM payledger.open_account(''MERCHANT_PAYABLE'', ''SELLER-111'', ''EUR'', floor => 0);';

CREATE FUNCTION set_account_limits(account_code text, floor bigint, ceiling bigint)
	RETURNS TABLE (account_id bigint, account_code text, account_type text, entity_id text, currency text,
				   ledger text, status text, floor bigint, ceiling bigint, held bigint, metadata jsonb)
	AS 'MODULE_PATHNAME', 'pl_sql_set_account_limits'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION set_account_limits(text, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION set_account_limits(text, bigint, bigint) IS
'Sets both limits of an account, in minor units on its normal side; null is no limit. No post or hold takes the balance less what is held below the floor, no post takes the balance above the ceiling; what the payment flow reports as having happened is booked all the same. A limit where there was none waits for the posts under way and makes later ones wait until the commit; changing one waits for the posts that approach it only. Errors: 22023 floor above ceiling; 40001 changed by another transaction meanwhile; 40P01 deadlock with a transaction that also waits for posts; PL004 the account is already beyond a limit that is new or tighter; PL007 no such account. Example: SELECT * FROM payledger.set_account_limits(''MERCHANT_PAYABLE.SELLER-111.EUR'', 0, NULL);';

CREATE FUNCTION set_account_status(account_code text, status text)
	RETURNS TABLE (account_id bigint, account_code text, account_type text, entity_id text, currency text,
				   ledger text, status text, floor bigint, ceiling bigint, held bigint, metadata jsonb)
	AS 'MODULE_PATHNAME', 'pl_sql_set_account_status'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION set_account_status(text, text) FROM PUBLIC;
COMMENT ON FUNCTION set_account_status(text, text) IS
'Sets the status of an account: ACTIVE; SUSPENDED refuses posts and holds, but books what the payment flow reports as having happened; CLOSED refuses every post. An account to be CLOSED must be empty; a closed one may become ACTIVE again. Waits for the posts under way and makes later ones wait until the commit, unless the account becomes ACTIVE; lock_timeout bounds the wait. Errors: 22023 no such status; 40P01 deadlock with a transaction that also waits for posts; PL001 from CLOSED to SUSPENDED; PL004 to be CLOSED with a balance or with funds held; PL007 no such account. Example: SELECT * FROM payledger.set_account_status(''MERCHANT_PAYABLE.SELLER-111.EUR'', ''SUSPENDED'');';

CREATE FUNCTION set_account_metadata(account_code text, metadata jsonb)
	RETURNS TABLE (account_id bigint, account_code text, account_type text, entity_id text, currency text,
				   ledger text, status text, floor bigint, ceiling bigint, held bigint, metadata jsonb)
	AS 'MODULE_PATHNAME', 'pl_sql_set_account_metadata'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION set_account_metadata(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION set_account_metadata(text, jsonb) IS
'Replaces the metadata of an account, a JSON object; null takes it away. Errors: 22023 no object or too large, PL007 no such account, PL011 card data. Example: SELECT * FROM payledger.set_account_metadata(''PLATFORM_CASH.GLOBAL.EUR'', ''{"bank": "B1"}'');';

/* ---- the chart ---- */

CREATE FUNCTION add_account_type(account_type text, category text, normal_side text, description text)
	RETURNS TABLE (account_type text, category text, normal_side text, description text)
	AS 'MODULE_PATHNAME', 'pl_sql_add_account_type'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION add_account_type(text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION add_account_type(text, text, text, text) IS
'Adds a type of accounts to the chart. category is ASSET, LIABILITY, EQUITY, REVENUE or EXPENSE, normal_side DEBIT or CREDIT: the side on which its balances are shown as positive. Both are for good; adding a type again with the same changes its description. Errors: 22023 bad argument, 42710 the type exists with another category or side. Example: SELECT * FROM payledger.add_account_type(''BUYER_WALLET'', ''LIABILITY'', ''CREDIT'', ''prepaid by a buyer'');';

CREATE FUNCTION add_ledger(ledger text, description text, time_zone text DEFAULT 'UTC')
	RETURNS TABLE (ledger text, description text, time_zone text, closed_before timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_add_ledger'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION add_ledger(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION add_ledger(text, text, text) IS
'Adds a ledger, the books of one legal entity; its accounts are opened with open_account(ledger => ...). time_zone, a name of pg_timezone_names, is where its months begin and end. Adding it again with the same time zone changes its description. Errors: 22023 bad argument, 42710 the ledger exists with another time zone. Example: SELECT * FROM payledger.add_ledger(''US'', ''the company in the United States'', ''America/New_York'');';

CREATE FUNCTION set_ledger_time_zone(ledger text, time_zone text)
	RETURNS TABLE (ledger text, description text, time_zone text, closed_before timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_set_ledger_time_zone'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION set_ledger_time_zone(text, text) FROM PUBLIC;
COMMENT ON FUNCTION set_ledger_time_zone(text, text) IS
'Sets where the months of a ledger begin and end, which MAIN needs if that is not UTC; only while none of them is closed. Errors: 22023 no such time zone, 55000 a month is closed, PL007 no such ledger. Example: SELECT * FROM payledger.set_ledger_time_zone(''MAIN'', ''Europe/Berlin'');';
