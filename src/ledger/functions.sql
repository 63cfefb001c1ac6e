/* src/ledger/functions.sql: part of the install script */

CREATE FUNCTION balance(account_code text, as_of timestamptz DEFAULT NULL, effective_at timestamptz DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_balance'
	LANGUAGE C STABLE PARALLEL UNSAFE COST 1000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION balance(text, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION balance(text, timestamptz, timestamptz) IS
'Balance of an account in minor units of its currency, positive on the account''s normal side, exact in the snapshot of the calling query. as_of: of the entries recorded until then. effective_at: of the entries that took effect until then, whenever they were recorded. Both: what was known at as_of about effective_at. Neither costs with the length of the history; both together cost with the number of entries dated back or ahead. What transactions still open at as_of record by then is added when they commit. Errors: 22003 the balance passes a bigint, PL007 no such account, PL010 not set up. Example: SELECT payledger.balance(''MERCHANT_PAYABLE.SELLER-111.EUR'', effective_at => ''2026-10-31 23:59:59.999999+00'');';

CREATE FUNCTION fold_postings() RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_fold_postings'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET jit = off;
REVOKE ALL ON FUNCTION fold_postings() FROM PUBLIC;
COMMENT ON FUNCTION fold_postings() IS
'Adds the postings committed since the last fold to payledger.balance_snapshots, seals their entries, and returns their number. The keeper does this all the time; balances are exact with or without it, reading them is only faster after it. Waits for a fold under way. Errors: 40001 the transaction''s snapshot is from before the last fold, PL010 not set up. Example: SELECT payledger.fold_postings();';

CREATE FUNCTION posting_templates()
	RETURNS TABLE (entry_type text, leg int, side text, account_type text, entity_id text, mirror_of text, part text)
	AS 'MODULE_PATHNAME', 'pl_sql_posting_templates'
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 90;
COMMENT ON FUNCTION posting_templates() IS
'The legs of each entry type that the payment flow posts: part says which part of the amount, the whole, what is left of it net of a fee, or the fee; entity_id is GLOBAL for an account of the platform, seller for one of the seller concerned; mirror_of names the entry type whose sides are exchanged. Example: SELECT * FROM payledger.posting_templates() WHERE entry_type = ''CAPTURE'';';

CREATE FUNCTION check_postings() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_check_postings'
	LANGUAGE C;
REVOKE ALL ON FUNCTION check_postings() FROM PUBLIC;
COMMENT ON FUNCTION check_postings() IS
'AFTER INSERT statement trigger of payledger.postings: every entry touched nets to zero in every ledger and currency, and is written by a posting function. Errors: PL002 unbalanced entry, PL003 written by hand, PL007 unknown account. Example: an INSERT of a single posting raises PL002.';

CREATE FUNCTION check_journal_entries() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_check_journal_entries'
	LANGUAGE C;
REVOKE ALL ON FUNCTION check_journal_entries() FROM PUBLIC;
COMMENT ON FUNCTION check_journal_entries() IS
'BEFORE INSERT statement trigger of payledger.journal_entries: refuses what is not written by a posting function, which looks after limits, periods, references and holds. Errors: PL003. Example: INSERT INTO payledger.journal_entries SELECT * FROM payledger.journal_entries raises PL003.';

CREATE FUNCTION announce_restriction() RETURNS trigger
	AS 'MODULE_PATHNAME', 'pl_sql_announce_restriction'
	LANGUAGE C;
REVOKE ALL ON FUNCTION announce_restriction() FROM PUBLIC;
COMMENT ON FUNCTION announce_restriction() IS
'AFTER UPDATE row trigger of payledger.accounts and payledger.ledgers: a status that refuses posts, a first limit or a month closed waits for the posts under way, with the argument wait, and is seen by all later ones. Errors: 40P01 the transaction has posted and another one does the same. Example: UPDATE payledger.accounts SET floor = 0 WHERE account_id = 1 waits for posts.';
