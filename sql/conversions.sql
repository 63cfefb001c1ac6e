-- Currency conversions and their residue.  outcome() comes from 010_setup.
\set VERBOSITY terse
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- a ledger of its own, so that MAIN's clearing accounts stay out of it
SELECT ledger FROM payledger.add_ledger('FXL', 'conversions');
SELECT count(*) FROM unnest(ARRAY['EUR', 'USD', 'JPY', 'BHD', 'CLF']) AS c, payledger.open_account('PLATFORM_CASH', 'FXL', c, 'FXL');
SELECT count(*) FROM unnest(ARRAY['HUF', 'RON']) AS c, payledger.open_account('PLATFORM_CASH', 'FXM', c);

CREATE FUNCTION fx(debit_currency text, debit_amount bigint, credit_currency text, credit_amount bigint,
				   rate numeric DEFAULT NULL, reference text DEFAULT NULL, effective_at timestamptz DEFAULT NULL, entity text DEFAULT 'FXL')
	RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	SELECT * INTO r FROM payledger.convert_currency('PLATFORM_CASH.' || entity || '.' || debit_currency, debit_amount,
		'PLATFORM_CASH.' || entity || '.' || credit_currency, credit_amount, rate, reference, effective_at);
	RETURN NEXT format('%s for %s at %s%s%s',
		payledger.format_amount(r.debit_amount, r.debit_currency) || ' ' || r.debit_currency,
		payledger.format_amount(r.credit_amount, r.credit_currency) || ' ' || r.credit_currency, r.rate,
		CASE WHEN r.effective_at <> r.recorded_at THEN ' on ' || r.effective_at::date END,
		CASE WHEN r.replayed THEN ', replayed' END);
END
$$;

-- ---- one conversion ----
SELECT debit_currency, debit_amount, credit_currency, credit_amount, rate, replayed, effective_at = recorded_at AS dated_now
  FROM payledger.convert_currency('PLATFORM_CASH.FXL.EUR', 10000, 'PLATFORM_CASH.FXL.USD', 10833, 1.0833, 'FX-1');
SELECT p.leg, a.account_code, a.ledger, p.amount
  FROM payledger.journal_entries j JOIN payledger.postings p USING (journal_entry_id) JOIN payledger.accounts a USING (account_id)
 WHERE j.reference = 'FX-1' ORDER BY p.leg;
SELECT j.entry_type, c.debit_currency, c.debit_amount, c.credit_currency, c.credit_amount, c.rate
  FROM payledger.conversions c JOIN payledger.journal_entries j USING (journal_entry_id) WHERE j.reference = 'FX-1';
-- in MAIN the clearing accounts are the platform's
SELECT fx('HUF', 10000, 'RON', 128, entity => 'FXM', reference => 'FX-MAIN');
SELECT account_code, ledger FROM payledger.accounts WHERE account_type = 'FX_CLEARING' AND ledger IN ('MAIN', 'FXL') ORDER BY account_code COLLATE "C";

-- ---- repeated ----
SELECT fx('EUR', 10000, 'USD', 10833, 1.0833, 'FX-1');
SELECT fx('EUR', 10000, 'USD', 10833, NULL, 'FX-1');
SELECT outcome($$SELECT fx('EUR', 10000, 'USD', 10834, NULL, 'FX-1')$$);
SELECT outcome($$SELECT fx('USD', 10833, 'EUR', 10000, NULL, 'FX-1')$$);
SELECT outcome($$SELECT fx('EUR', 10000, 'USD', 10833, 1.08331, 'FX-1')$$);
-- its legs, posted otherwise
SELECT replayed FROM payledger.post_entry('FX_CONVERSION', '[{"account":"PLATFORM_CASH.FXL.EUR","amount":1},{"account":"FX_CLEARING.FXL.EUR","amount":-1},
	{"account":"FX_CLEARING.FXL.USD","amount":1},{"account":"PLATFORM_CASH.FXL.USD","amount":-1}]', 'FX-HAND');
SELECT outcome($$SELECT fx('EUR', 1, 'USD', 1, NULL, 'FX-HAND')$$);
SELECT count(*) FROM payledger.reverse_entry((SELECT journal_entry_id FROM payledger.journal_entries WHERE reference = 'FX-HAND'), 'test');
SELECT count(*) FROM payledger.conversions c JOIN payledger.journal_entries j USING (journal_entry_id) WHERE j.reference LIKE 'FX-%';

-- ---- the rate ----
BEGIN;
-- half a cent either way agrees, more does not
SELECT fx('EUR', 10000, 'USD', 10833, 1.08335);
SELECT outcome($$SELECT fx('EUR', 10000, 'USD', 10833, 1.083351)$$);
SELECT fx('EUR', 10000, 'USD', 10833, 1.08325);
SELECT outcome($$SELECT fx('EUR', 10000, 'USD', 10833, 1.083249)$$);
-- upside down
SELECT outcome($$SELECT fx('EUR', 10000, 'USD', 10833, 0.92310533)$$);
-- of currencies with other exponents: 100.00 EUR are 16234 JPY, 40.123 BHD, 2.5432 CLF
SELECT fx('EUR', 10000, 'JPY', 16234, 162.34);
SELECT fx('EUR', 10000, 'JPY', 16234, 162.345);
SELECT outcome($$SELECT fx('EUR', 10000, 'JPY', 16234, 162.3451)$$);
SELECT fx('JPY', 16234, 'EUR', 10000, 0.0061599);
SELECT fx('EUR', 10000, 'BHD', 40123, 0.40123);
SELECT fx('BHD', 40123, 'CLF', 25432);
SELECT fx('CLF', 25432, 'JPY', 16234);
-- computed
SELECT fx('EUR', 10000, 'USD', 10833);
SELECT fx('EUR', 3, 'USD', 1);
SELECT fx('EUR', 1, 'JPY', 9000000000000000000);
ROLLBACK;
SELECT outcome(format('SELECT fx(''EUR'', 10000, ''USD'', 10833, %L)', r)) FROM unnest(ARRAY['0', '-1.0833', 'NaN', 'Infinity', '-Infinity']) AS r;
-- a large one has as many digits as it needs
BEGIN;
SELECT fx('USD', 7000000000000000003, 'EUR', 9000000000000000001);
SELECT fx('CLF', 9000000000000000000, 'JPY', 1);
SELECT fx('JPY', 9000000000000000000, 'CLF', 1);
SELECT count(*), count(*) FILTER (WHERE abs(c.debit_amount * c.rate * power(10::numeric, k.exponent - d.exponent) - c.credit_amount) > 0.5) AS off
  FROM payledger.conversions c
  JOIN payledger.currencies() d ON d.currency = c.debit_currency JOIN payledger.currencies() k ON k.currency = c.credit_currency;
ROLLBACK;

-- ---- refused ----
SELECT outcome($$SELECT fx('EUR', 0, 'USD', 1)$$);
SELECT outcome($$SELECT fx('EUR', 1, 'USD', -1)$$);
SELECT outcome($$SELECT fx(NULL, 1, 'USD', 1)$$);
SELECT outcome($$SELECT fx('EUR', NULL, 'USD', 1)$$);
SELECT outcome($$SELECT fx('EUR', 1, 'GBP', 1)$$);
SELECT outcome($$SELECT fx('EUR', 1, 'USD', 1, effective_at => 'infinity')$$);
SELECT outcome($$SELECT payledger.convert_currency('PLATFORM_CASH.FXL.EUR', 1, 'PLATFORM_CASH.FXL.EUR', 1)$$);
SELECT outcome($$SELECT payledger.convert_currency('PLATFORM_CASH.FXL.EUR', 1, 'PLATFORM_CASH.FXM.RON', 1)$$);
SELECT outcome($$SELECT payledger.convert_currency('PLATFORM_CASH.FXL.EUR', 1, 'PLATFORM_CASH.FXL.USD', 1, metadata => '[]')$$);
SELECT outcome($$UPDATE payledger.conversions SET rate = 1$$);
SELECT outcome($$DELETE FROM payledger.conversions WHERE false$$);
SELECT outcome($$TRUNCATE payledger.conversions$$);
SET session_replication_role = replica;
SELECT outcome($$DELETE FROM payledger.conversions$$);
RESET session_replication_role;
-- limits and closed months hold here too
SELECT floor FROM payledger.set_account_limits('PLATFORM_CASH.FXL.BHD', 0, NULL);
SELECT outcome($$SELECT fx('EUR', 10000, 'BHD', 40123)$$);
CALL payledger.close_period('FXL', '2025-01-01');
SELECT outcome($$SELECT fx('EUR', 10000, 'USD', 10833, effective_at => '2025-01-31')$$);
SELECT fx('EUR', 10000, 'USD', 10833, NULL, 'FX-2', '2025-02-01');
SELECT fx('EUR', 10000, 'USD', 10833, NULL, 'FX-2', '2025-02-01');

-- ---- the residue ----
-- 200.00 EUR bought at 1.0833: worth at that rate what they cost
SELECT currency, balance, formatted, rate, value, value_formatted, residue, residue_formatted FROM payledger.fx_residue('EUR', 'FXL');
SELECT currency, balance, formatted, rate, value, value_formatted, residue, residue_formatted FROM payledger.fx_residue('USD', 'FXL');
SELECT bool_and(rate_recorded_at = j.recorded_at) FROM payledger.fx_residue('USD', 'FXL') r, payledger.journal_entries j
 WHERE r.currency = 'EUR' AND j.reference = 'FX-2';
-- no rate is known against the yen
SELECT currency, balance, rate, value, residue FROM payledger.fx_residue('JPY', 'FXL');
-- 205.00 EUR given for the same dollars: 5.00 EUR lost
SELECT fx('USD', 21666, 'EUR', 20500);
SELECT currency, balance, formatted, rate, value, residue, residue_formatted FROM payledger.fx_residue('EUR', 'FXL');
-- yen bought, and sold in part; the rate has moved
SELECT fx('JPY', 16000, 'EUR', 10000);
SELECT fx('EUR', 6400, 'JPY', 10000);
SELECT currency, formatted, rate, value_formatted, residue, residue_formatted FROM payledger.fx_residue('EUR', 'FXL');
-- booked, as the comment says; then nothing is left to book
SELECT account_code FROM payledger.open_account('FX_GAIN_LOSS', 'FXL', 'EUR', 'FXL');
SELECT count(*) FROM payledger.fx_residue('EUR', 'FXL') r, payledger.post_entry('FX_RESIDUE', jsonb_build_array(
	jsonb_build_object('account', 'FX_CLEARING.FXL.EUR', 'amount', -r.residue),
	jsonb_build_object('account', 'FX_GAIN_LOSS.FXL.EUR', 'amount', r.residue))) WHERE r.currency = 'EUR';
SELECT currency, formatted, value_formatted, residue_formatted FROM payledger.fx_residue('EUR', 'FXL');
SELECT payledger.balance('FX_GAIN_LOSS.FXL.EUR');
SELECT outcome($$SELECT payledger.fx_residue('EURO', 'FXL')$$);
SELECT outcome($$SELECT payledger.fx_residue('EUR', 'NONE')$$);
SELECT outcome($$SELECT payledger.fx_residue(NULL)$$);

SELECT check_name, detail FROM payledger.verify() WHERE NOT ok;
DROP FUNCTION fx(text, bigint, text, bigint, numeric, text, timestamptz, text);
