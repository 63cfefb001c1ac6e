/* src/ledger/hold_functions.sql: part of the install script */

CREATE FUNCTION place_hold(account_code text, amount bigint, expires_at timestamptz DEFAULT NULL,
						   reference text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS TABLE (hold_id bigint, account_code text, amount bigint, status text, expires_at timestamptz,
				   replayed boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_place_hold'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION place_hold(text, bigint, timestamptz, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION place_hold(text, bigint, timestamptz, text, jsonb) IS
'Reserves funds of an account for a later entry: amount in minor units of its currency. On an account with a floor, the balance less what is held must stay at or above the floor; other posts and holds cannot use what is held. After expires_at (null: never) the hold cannot be committed any more, and the keeper frees it within seconds. With a reference, repeating the request (all arguments, expires_at too) returns the first hold, whatever became of it. Locks the account until the commit. Errors: 22003 what is held would pass a bigint, 22023 amount not positive, expires_at not in the future or metadata no object, 22004 null argument, 40001 in REPEATABLE READ what is held changed meanwhile, PL004 not enough available, PL006 reference used for another hold, PL007 no such account, PL008 account not active, PL010 not set up, PL011 card data. Example: SELECT hold_id FROM payledger.place_hold(''MERCHANT_PAYABLE.SELLER-111.EUR'', 1450, now() + interval ''7 days'', ''payout-42'');';

CREATE FUNCTION commit_hold(hold_id bigint, entry_type text, postings jsonb, reference text DEFAULT NULL,
							effective_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT NULL,
							keep_rest boolean DEFAULT false)
	RETURNS TABLE (hold_id bigint, account_code text, amount bigint, committed_amount bigint, status text,
				   journal_entry_id bigint, recorded_at timestamptz, effective_at timestamptz, replayed boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_commit_hold'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION commit_hold(bigint, text, jsonb, text, timestamptz, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION commit_hold(bigint, text, jsonb, text, timestamptz, jsonb, boolean) IS
'Posts an entry with funds of an ACTIVE hold: the postings, as for payledger.post_entry(), must decrease the account of the hold by what is left of it or by a part. What the entry does not take is freed, unless keep_rest: then the hold stays ACTIVE with it for further commits. The entry names the hold in its metadata as hold_id. With a reference, repeating the request returns the same entry and changes nothing, whatever became of the hold. Amounts in minor units. Locks the account, and others whose limits the entry approaches, until the commit. Errors: 22023 the postings take nothing from the account or are malformed, 22004 null argument, 40001 as place_hold(), PL001 the hold is not ACTIVE or its expires_at has passed, PL002 unbalanced entry, PL004 balance limit of another account, PL005 more than is left of the hold, PL006 reference used for another entry, PL007 no such hold or account, PL008 account not active, PL009 period closed, PL010 not set up, PL011 card data. Example: SELECT journal_entry_id FROM payledger.commit_hold(7345678901234567890, ''PAYOUT'', ''[{"account":"MERCHANT_PAYABLE.SELLER-111.EUR","amount":1450},{"account":"PLATFORM_CASH.GLOBAL.EUR","amount":-1450}]'', ''payout-42'');';

CREATE FUNCTION release_hold(hold_id bigint)
	RETURNS TABLE (hold_id bigint, account_code text, amount bigint, committed_amount bigint, status text)
	AS 'MODULE_PATHNAME', 'pl_sql_release_hold'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION release_hold(bigint) FROM PUBLIC;
COMMENT ON FUNCTION release_hold(bigint) IS
'Frees what an ACTIVE hold still reserves: amount less committed_amount, in minor units. Locks the account until the commit. Errors: 22004 null argument, 40001 as place_hold(), PL001 the hold is not ACTIVE, PL007 no such hold, PL010 not set up. Example: SELECT status FROM payledger.release_hold(7345678901234567890);';

CREATE FUNCTION expire_holds() RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_expire_holds'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION expire_holds() FROM PUBLIC;
COMMENT ON FUNCTION expire_holds() IS
'Expires the ACTIVE holds whose expires_at has passed, frees what they still reserve and returns their number, at most 1000. The keeper does this every second. Locks their accounts until the commit, waiting for those that others have locked. Errors: 40001 in REPEATABLE READ a hold changed meanwhile, PL010 not set up. Example: SELECT payledger.expire_holds();';

CREATE FUNCTION available_balance(account_code text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'pl_sql_available_balance'
	LANGUAGE C STABLE PARALLEL UNSAFE COST 1000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION available_balance(text) FROM PUBLIC;
COMMENT ON FUNCTION available_balance(text) IS
'The posted balance of an account less what its holds reserve, in minor units on the account''s normal side; exact as of the snapshot of the calling query. An overdue hold counts until it is expired: by the keeper, or by a post or a hold that needs its funds. Errors: 22004 null argument, PL007 no such account, PL010 not set up. Example: SELECT payledger.available_balance(''MERCHANT_PAYABLE.SELLER-111.EUR'');';
