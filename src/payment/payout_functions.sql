/* src/payment/payout_functions.sql: part of the install script */

CREATE FUNCTION set_payout_terms(seller_id text, currency text, beneficiary text DEFAULT NULL, schedule text DEFAULT NULL,
								 payout_day int DEFAULT NULL, cut_off time DEFAULT NULL, minimum bigint DEFAULT NULL,
								 gateway text DEFAULT NULL, available_from text DEFAULT NULL)
	RETURNS TABLE (seller_id text, currency text, beneficiary text, gateway text, available_from text, schedule text,
				   payout_day int, cut_off time, minimum bigint, next_payout_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_set_payout_terms'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION set_payout_terms(text, text, text, text, int, time, bigint, text, text) FROM PUBLIC;
COMMENT ON FUNCTION set_payout_terms(text, text, text, text, int, time, bigint, text, text) IS
'Says how a seller is paid out; nulls keep what is there. beneficiary: the PSP''s token of the seller''s account, never account data. schedule: manual (on request only), daily, weekly on payout_day (1 is Monday) or monthly on payout_day (the last day of a shorter month), at cut_off in the time zone of ledger MAIN; less than minimum, in minor units, waits for the next time. gateway: which pays out, else the default one. available_from: settlement, or capture if the platform fronts what the PSP has not settled. A changed schedule counts from now. Errors: 22004 null seller or currency, 22023 bad argument or account data as beneficiary, 55000 the gateway cannot pay out or a schedule without beneficiary, PL007 no such seller or gateway, PL010 not set up, PL011 card data. Example: SELECT next_payout_at FROM payledger.set_payout_terms(''SELLER-111'', ''EUR'', beneficiary => ''ba_ok'', schedule => ''weekly'', payout_day => 1, cut_off => ''06:00'', minimum => 1000);';

CREATE FUNCTION next_payout_at(schedule text, payout_day int, cut_off time, after timestamptz, time_zone text)
	RETURNS timestamptz
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT min(c.at)
	  FROM (SELECT (after AT TIME ZONE time_zone)::date AS today) l
	 CROSS JOIN LATERAL (
			SELECT l.today + n AS day FROM generate_series(-1, 8) AS n
			 WHERE schedule = 'daily' OR schedule = 'weekly' AND extract(isodow FROM l.today + n) = payout_day
			 UNION ALL
			SELECT least((m + (payout_day - 1) * interval '1 day')::date, (m + interval '1 month')::date - 1)
			  FROM generate_series(-1, 2) AS n
			 CROSS JOIN LATERAL (SELECT date_trunc('month', l.today::timestamp) + n * interval '1 month' AS m) f
			 WHERE schedule = 'monthly') d
	 CROSS JOIN LATERAL (SELECT (d.day + cut_off) AT TIME ZONE time_zone AS at) c
	 WHERE c.at > after
$$;
COMMENT ON FUNCTION next_payout_at(text, int, time, timestamptz, text) IS
'The first cut-off of a schedule (see payledger.set_payout_terms) after a time; null for manual. A cut-off that a change to summer time skips is as much later; one that comes twice is the second. Example: SELECT payledger.next_payout_at(''monthly'', 31, ''06:00'', now(), ''Europe/Berlin'');';

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

CREATE FUNCTION set_reserve_terms(seller_id text, currency text, reserve_bps int DEFAULT NULL, reserve_days int DEFAULT NULL,
								  negative_balance text DEFAULT NULL)
	RETURNS TABLE (seller_id text, currency text, reserve_bps int, reserve_days int, negative_balance text)
	AS 'MODULE_PATHNAME', 'pl_sql_set_reserve_terms'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION set_reserve_terms(text, text, int, int, text) FROM PUBLIC;
COMMENT ON FUNCTION set_reserve_terms(text, text, int, int, text) IS
'Says what is withheld of a seller''s next captures: reserve_bps hundredths of a per cent, rounded half up, for reserve_days days; and what happens when its balance is negative: recoup (later credits make it up), reserve (the reserve covers it, the oldest first) or write_off (what the reserve does not cover is written off). Nulls keep what is there. Errors: 22004 null seller or currency, 22023 bad argument, PL007 no such seller, PL010 not set up. Example: SELECT payledger.set_reserve_terms(''SELLER-111'', ''EUR'', reserve_bps => 1000, reserve_days => 90, negative_balance => ''reserve'');';

CREATE FUNCTION release_due_reserves() RETURNS int
	AS 'MODULE_PATHNAME', 'pl_sql_release_due_reserves'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION release_due_reserves() FROM PUBLIC;
COMMENT ON FUNCTION release_due_reserves() IS
'Releases the reserves whose release_at has come, at most 500, and returns their number. The keeper does this every few seconds. Rows that another session releases are left to it, as are those of closed accounts. Errors: PL010 not set up. Example: SELECT payledger.release_due_reserves();';

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
