/* src/ledger/conversion_functions.sql: part of the install script */

CREATE FUNCTION convert_currency(debit_account text, debit_amount bigint, credit_account text, credit_amount bigint,
								 rate numeric DEFAULT NULL, reference text DEFAULT NULL,
								 effective_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS TABLE (journal_entry_id bigint, recorded_at timestamptz, effective_at timestamptz,
				   debit_currency text, debit_amount bigint, credit_currency text, credit_amount bigint,
				   rate numeric, replayed boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_convert_currency'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION convert_currency(text, bigint, text, bigint, numeric, text, timestamptz, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION convert_currency(text, bigint, text, bigint, numeric, text, timestamptz, jsonb) IS
'Exchanges credit_amount of the credited account''s currency for debit_amount of the debited account''s, both in minor units: one entry FX_CONVERSION whose four legs go through the FX_CLEARING accounts of the ledger (entity GLOBAL in MAIN, the ledger''s name in another), opened at need. rate is the price of one unit of the debited currency in units of the credited one, 1.0833 for EUR against USD; given, it must agree with the amounts to half a minor unit of the credited currency, otherwise it is computed. It stays in payledger.conversions. The same reference with the same content returns the first entry; nothing is published. Errors: 22023 bad argument, same currency, accounts of two ledgers, or a rate that does not agree; PL006 reference used with other content; PL007 no such account; those of post_entry. Example: SELECT * FROM payledger.convert_currency(''PLATFORM_CASH.GLOBAL.EUR'', 10000, ''PLATFORM_CASH.GLOBAL.USD'', 10833, 1.0833, ''DEAL-1'');';

CREATE FUNCTION fx_residue(base_currency text, ledger text DEFAULT 'MAIN')
	RETURNS TABLE (currency text, balance numeric, formatted text, rate numeric, rate_recorded_at timestamptz,
				   value numeric, value_formatted text, residue numeric, residue_formatted text)
	AS 'MODULE_PATHNAME', 'pl_sql_fx_residue'
	LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 10
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION fx_residue(text, text) FROM PUBLIC;
COMMENT ON FUNCTION fx_residue(text, text) IS
'What currency conversions have left on the FX_CLEARING accounts of a ledger: one row for each currency with a balance, in its minor units, debit positive; the rate is the last one recorded between it and base_currency, as the price of one unit in base_currency; value is the balance at that rate in minor units of base_currency. residue, the same in each row, is the sum of the values: conversions that cancel out at the rates of today leave none. Both are null where a rate is missing. A residue below zero is a gain: debit FX_CLEARING and credit FX_GAIN_LOSS with it, both in base_currency; above zero a loss: debit FX_GAIN_LOSS and credit FX_CLEARING. Open them first with open_account(). Errors: 22023 unknown currency, PL007 no such ledger, PL010 not set up. Example: SELECT payledger.post_entry(''FX_RESIDUE'', jsonb_build_array(jsonb_build_object(''account'', ''FX_CLEARING.GLOBAL.EUR'', ''amount'', -residue), jsonb_build_object(''account'', ''FX_GAIN_LOSS.GLOBAL.EUR'', ''amount'', residue))) FROM payledger.fx_residue(''EUR'') WHERE residue <> 0 LIMIT 1;';
