/* src/seller/functions.sql: part of the install script */

CREATE FUNCTION register_seller(seller_id text, currency text,
								commission_bps int DEFAULT 0, commission_fixed bigint DEFAULT 0)
	RETURNS TABLE (seller_id text, currency text, status text, commission_bps int, commission_fixed bigint)
	AS 'MODULE_PATHNAME', 'pl_sql_register_seller'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION register_seller(text, text, int, bigint) FROM PUBLIC;
COMMENT ON FUNCTION register_seller(text, text, int, bigint) IS
'Registers a seller in a currency with its payable account. The platform keeps of each capture commission_bps hundredths of a per cent, rounded half up, plus commission_fixed minor units; more in payledger.add_commission_rule(). The same terms again change nothing. Errors: 22023 bad argument, 42710 registered with other terms. Example: SELECT payledger.register_seller(''SELLER-111'', ''EUR'', commission_bps => 1000);';

CREATE FUNCTION update_seller(seller_id text, currency text, commission_bps int DEFAULT NULL,
							  commission_fixed bigint DEFAULT NULL, status text DEFAULT NULL)
	RETURNS TABLE (seller_id text, currency text, status text, commission_bps int, commission_fixed bigint)
	AS 'MODULE_PATHNAME', 'pl_sql_update_seller'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION update_seller(text, text, int, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION update_seller(text, text, int, bigint, text) IS
'Changes a seller''s terms or status (ACTIVE, SUSPENDED, CLOSED); nulls keep what is there. New terms are a new row of payledger.commission_rules and count from the next capture on. Errors: 22023 bad argument, PL007 no such seller. Example: SELECT payledger.update_seller(''SELLER-111'', ''EUR'', status => ''SUSPENDED'');';

CREATE FUNCTION add_commission_rule(seller_id text, currency text, commission_bps int DEFAULT 0,
									commission_fixed bigint DEFAULT 0, minimum bigint DEFAULT 0, maximum bigint DEFAULT NULL,
									tiers jsonb DEFAULT NULL, refund_policy text DEFAULT 'pro_rata',
									seller_pays_psp_fee boolean DEFAULT false, valid_from timestamptz DEFAULT NULL)
	RETURNS TABLE (commission_rule_id bigint, seller_id text, currency text, valid_from timestamptz, commission_bps int,
				   commission_fixed bigint, minimum bigint, maximum bigint, tiers jsonb, refund_policy text,
				   seller_pays_psp_fee boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_add_commission_rule'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION add_commission_rule(text, text, int, bigint, bigint, bigint, jsonb, text, boolean, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION add_commission_rule(text, text, int, bigint, bigint, bigint, jsonb, text, boolean, timestamptz) IS
'What the platform keeps of a seller''s captures from valid_from on (null: now; never in the past): of each capture commission_bps hundredths of a per cent, rounded half up, plus commission_fixed, at least minimum, at most maximum, never more than the capture; minor units. tiers replace commission_bps by the volume captured in the month before, such as [{"from_volume": 1000000, "bps": 800}]. refund_policy says what a refund gives back: none, pro_rata, or all with the first one. seller_pays_psp_fee charges the PSP''s fee to the seller when a settlement reports it. Errors: 22023 bad argument or a time in the past, 23505 a rule from that moment exists, PL007 seller not registered in the currency. Example: SELECT * FROM payledger.add_commission_rule(''SELLER-111'', ''EUR'', 1000, minimum => 50, tiers => ''[{"from_volume": 1000000, "bps": 800}]'');';

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

CREATE FUNCTION set_reserve_terms(seller_id text, currency text, reserve_bps int DEFAULT NULL, reserve_days int DEFAULT NULL,
								  negative_balance text DEFAULT NULL)
	RETURNS TABLE (seller_id text, currency text, reserve_bps int, reserve_days int, negative_balance text)
	AS 'MODULE_PATHNAME', 'pl_sql_set_reserve_terms'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION set_reserve_terms(text, text, int, int, text) FROM PUBLIC;
COMMENT ON FUNCTION set_reserve_terms(text, text, int, int, text) IS
'Says what is withheld of a seller''s next captures: reserve_bps hundredths of a per cent, rounded half up, for reserve_days days; and what happens when its balance is negative: recoup (later credits make it up), reserve (the reserve covers it, the oldest first) or write_off (what the reserve does not cover is written off). Nulls keep what is there. Errors: 22004 null seller or currency, 22023 bad argument, PL007 no such seller, PL010 not set up. Example: SELECT payledger.set_reserve_terms(''SELLER-111'', ''EUR'', reserve_bps => 1000, reserve_days => 90, negative_balance => ''reserve'');';
