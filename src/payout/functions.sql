/* src/payout/functions.sql: part of the install script */

CREATE FUNCTION request_payout(seller_id text, currency text, amount bigint DEFAULT NULL, idempotency_key text DEFAULT NULL)
	RETURNS TABLE (payout_id bigint, seller_id text, currency text, amount bigint, status text, gateway text,
				   scheduled_for timestamptz, created_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_request_payout'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION request_payout(text, text, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION request_payout(text, text, bigint, text) IS
'Pays a seller out: amount minor units, null for all that is available (payledger.seller_balances). The funds leave the seller''s account at once; the gateway worker asks the PSP after this transaction commits. They come back only if the PSP says that nothing was sent or that it was returned; while that is unknown they stay locked. Locks the seller''s account until the commit, so that two payouts see each other. The same idempotency_key with the same request returns the first reply. Errors: 22004 null seller or currency, 22023 amount not greater than zero or unknown currency, 55000 no beneficiary or the gateway cannot pay out, PL004 more than is available, PL006 key reused with another request, PL007 no such seller or gateway, PL008 seller or account not active, PL010 not set up. Example: SELECT payout_id, amount FROM payledger.request_payout(''SELLER-111'', ''EUR'', 9600, ''payout-42'');';

CREATE FUNCTION run_payouts(at timestamptz DEFAULT payledger.trusted_now())
	RETURNS TABLE (payout_id bigint, seller_id text, currency text, amount bigint, status text, gateway text,
				   scheduled_for timestamptz, created_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_run_payouts'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION run_payouts(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION run_payouts(timestamptz) IS
'Pays out every seller whose next_payout_at (payledger.payout_terms) is at or before at: all that is available now, unless that is less than the minimum; amounts in minor units. Returns the payouts made. The keeper does this every second for cut-offs that have come. However late it is, a cut-off is paid out once, and the next one is after at. A seller who cannot be paid out (not active, no beneficiary, a gateway that does not pay out) is skipped with a warning; payout_terms.problem keeps the reason. Terms that another run has locked are left to it. Locks the accounts of the sellers until the commit. Errors: 22004 null, 22023 infinite, 22003 a balance passes a bigint, PL010 not set up. Example: SELECT * FROM payledger.run_payouts();';

CREATE FUNCTION cover_negative_balances() RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_cover_negative_balances'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION cover_negative_balances() FROM PUBLIC;
COMMENT ON FUNCTION cover_negative_balances() IS
'Covers the negative balances of sellers whose terms (payledger.reserve_terms.negative_balance) say reserve or write_off, at most 100, and returns their number. The keeper does this every few seconds. Locks their accounts until the commit. Errors: 22003 a balance passes a bigint, PL010 not set up. Example: SELECT payledger.cover_negative_balances();';

CREATE FUNCTION cover_negative_balance(seller_id text, currency text, note text, write_off boolean DEFAULT false)
	RETURNS TABLE (seller_id text, currency text, balance_before bigint, released bigint, written_off bigint, balance bigint)
	AS 'MODULE_PATHNAME', 'pl_sql_cover_negative_balance'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION cover_negative_balance(text, text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION cover_negative_balance(text, text, text, boolean) IS
'Covers the negative balance of a seller now, whatever its terms say: from its reserve, the oldest first, and with write_off what is left from WRITE_OFF_EXPENSE. The entries carry the note. Returns the balance before and after and what made up for it, in minor units; nothing happens where the balance is not negative. Locks the seller''s account until the commit. Errors: 22003 the balance passes a bigint, 22004 null argument, 22023 unknown currency or a note of more than 500 characters, PL007 no such seller, PL010 not set up, PL011 card data in the note. Example: SELECT * FROM payledger.cover_negative_balance(''SELLER-111'', ''EUR'', ''gone out of business'', write_off => true);';
