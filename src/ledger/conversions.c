/*
 * src/ledger/conversions.c
 *		Currency conversions through FX_CLEARING, and what they leave there.
 *
 * An entry nets to zero in each currency, so a conversion has four legs:
 *
 *		debit the account that gets		credit FX_CLEARING in its currency
 *		debit FX_CLEARING in the other	credit the account that gives
 *
 * FX_CLEARING then holds the position in each currency that the conversions
 * have opened; valued at one moment's rates, its sum is the gain or loss that
 * is not booked yet.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "utils/builtins.h"

/*
 * The rate to record for $1 minor units of a currency with exponent $2 against
 * $3 of one with exponent $4: $5, or if that is null the quotient, with at
 * least 12 digits after the point, and with 24 where so few would be off by
 * more than half a minor unit.  Then, whether it agrees with the amounts.  A
 * dividend of scale 40 makes division give that many digits.
 */
static PlQuery settle_rate = {
	"SELECT r.rate, r.rate > 0 AND r.rate < 'Infinity' AND abs(u.debited * r.rate - $3) <= 0.5"
	" FROM (SELECT trim_scale(round($1 * power(10::numeric, $4 - $2), 10))) AS u(debited)"
	" CROSS JOIN LATERAL (SELECT coalesce($5, trim_scale(round(round($3::numeric, 40) / u.debited,"
	"	CASE WHEN u.debited <= 1000000000000 THEN 12 ELSE 24 END)))) AS r(rate)",
	5, {INT8OID, INT4OID, INT8OID, INT4OID, NUMERICOID}
};

static PlQuery insert_conversion = {
	"INSERT INTO payledger.conversions"
	" (journal_entry_id, debit_currency, debit_amount, credit_currency, credit_amount, rate)"
	" VALUES ($1, $2, $3, $4, $5, $6)",
	6, {INT8OID, TEXTOID, INT8OID, TEXTOID, INT8OID, NUMERICOID}
};

/* $2 whether it is replayed; then, whether the rate asked for, $3 or null, is the one recorded */
static PlQuery select_conversion = {
	"SELECT c.journal_entry_id, j.recorded_at, j.effective_at, c.debit_currency, c.debit_amount,"
	" c.credit_currency, c.credit_amount, c.rate, $2"
	" FROM payledger.conversions c"
	" JOIN payledger.journal_entries j ON j.journal_entry_id = c.journal_entry_id"
	" WHERE c.journal_entry_id = $1 AND c.rate = coalesce($3, c.rate)",
	3, {INT8OID, BOOLOID, NUMERICOID}
};

static PlQuery select_recorded_rate = {
	"SELECT rate FROM payledger.conversions WHERE journal_entry_id = $1", 1, {INT8OID}
};

static PlQuery ledger_exists = {
	"SELECT FROM payledger.ledgers WHERE ledger = $1", 1, {TEXTOID}
};

/*
 * The rate of a currency is that of the newest conversion between it and the
 * base, whichever was debited; of the base itself, 1.
 */
static PlQuery select_residue = {
	"WITH positions AS ("
	"	SELECT a.currency, sum(payledger.balance(a.account_code)::numeric) AS balance"
	"	FROM payledger.accounts a"
	"	WHERE a.account_type = 'FX_CLEARING' AND a.ledger = $2"
	"	GROUP BY a.currency),"
	" valued AS ("
	"	SELECT p.currency, p.balance, r.rate, r.recorded_at,"
	"		round(p.balance * r.rate * power(10::numeric, b.exponent - e.exponent)) AS value"
	"	FROM positions p"
	"	JOIN payledger.currencies() e ON e.currency = p.currency"
	"	JOIN payledger.currencies() b ON b.currency = $1"
	"	LEFT JOIN LATERAL ("
	"		SELECT 1::numeric AS rate, NULL::timestamptz AS recorded_at WHERE p.currency = $1"
	"		UNION ALL"
	"		(SELECT CASE WHEN c.debit_currency = $1 THEN round(1::numeric, 40) / c.rate ELSE c.rate END,"
	"			payledger.id_timestamp(c.journal_entry_id)"
	"		 FROM payledger.conversions c"
	"		 WHERE (c.debit_currency, c.credit_currency) IN (($1, p.currency), (p.currency, $1))"
	"		 ORDER BY c.journal_entry_id DESC LIMIT 1)) r ON true"
	"	WHERE p.balance <> 0),"
	" summed AS ("
	"	SELECT v.*, CASE WHEN bool_and(v.value IS NOT NULL) OVER () THEN sum(v.value) OVER () END AS residue"
	"	FROM valued v)"
	" SELECT s.currency, s.balance, payledger.format_total(s.balance, s.currency),"
	"	trim_scale(round(s.rate, 12)), s.recorded_at, s.value, payledger.format_total(s.value, $1),"
	"	s.residue, payledger.format_total(s.residue, $1)"
	" FROM summed s ORDER BY s.currency", 2, {TEXTOID, TEXTOID}
};

/* What is asked for. */
typedef struct Conversion
{
	const PlAccount *debit;
	const PlAccount *credit;
	int64		debit_amount;	/* minor units, > 0 */
	int64		credit_amount;
	bool		is_rated;		/* the caller gave the rate */
	Datum		rate;			/* numeric */
} Conversion;

PG_FUNCTION_INFO_V1(pl_sql_convert_currency);
PG_FUNCTION_INFO_V1(pl_sql_fx_residue);

static void
check_amount(const char *name, int64 amount)
{
	if (amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than zero", name),
				 errdetail("It is " INT64_FORMAT ".", amount)));
}

static void
check_accounts(const Conversion *conversion)
{
	if (conversion->debit->currency == conversion->credit->currency)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("accounts %s and %s have the same currency",
						conversion->debit->code, conversion->credit->code),
				 errhint("Use payledger.post_entry().")));
	if (conversion->debit->ledger != conversion->credit->ledger)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("accounts %s and %s are in different ledgers",
						conversion->debit->code, conversion->credit->code),
				 errdetail("They are in %s and %s.", conversion->debit->ledger, conversion->credit->ledger),
				 errhint("Convert within one ledger, and post what it owes the other.")));
}

/* Compute the rate, or raise 22023 if the one given does not agree with the amounts. */
static void
check_rate(Conversion *conversion)
{
	const PlCurrency *debit = conversion->debit->currency;
	const PlCurrency *credit = conversion->credit->currency;
	bool		isnull;
	PlArgs		args = {0};

	pl_arg_int64(&args, conversion->debit_amount);
	pl_arg_int32(&args, debit->exponent);
	pl_arg_int64(&args, conversion->credit_amount);
	pl_arg_int32(&args, credit->exponent);
	if (conversion->is_rated)
		pl_arg(&args, conversion->rate);
	else
		pl_arg_null(&args);
	pl_execute(&settle_rate, &args);
	if (!pl_get_bool(0, 2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rate %s does not agree with the amounts", pl_get_text(0, 1)),
				 errdetail("%s %s are not %s %s at that rate.",
						   pl_format_amount(conversion->debit_amount, debit), debit->code,
						   pl_format_amount(conversion->credit_amount, credit), credit->code),
				 errhint("The rate is the price of one %s in %s; leave it out to have it computed.",
						 debit->code, credit->code)));
	conversion->rate = pl_get_datum(0, 1, &isnull);
}

/* Open both clearing accounts, by code, as all new accounts are. */
static void
open_clearing(const Conversion *conversion, const char **debit_code, const char **credit_code)
{
	const char *ledger = conversion->debit->ledger;
	const char *entity = strcmp(ledger, "MAIN") == 0 ? PL_GLOBAL_ENTITY : ledger;
	const char *debit = conversion->debit->currency->code;
	const char *credit = conversion->credit->currency->code;
	bool		in_order = strcmp(debit, credit) < 0;

	(void) pl_open_account("FX_CLEARING", entity, in_order ? debit : credit, ledger);
	(void) pl_open_account("FX_CLEARING", entity, in_order ? credit : debit, ledger);
	*debit_code = pl_account_code("FX_CLEARING", entity, debit);
	*credit_code = pl_account_code("FX_CLEARING", entity, credit);
}

static void
add_legs(PlEntryBatch *batch, const Conversion *conversion)
{
	const char *debit_clearing;
	const char *credit_clearing;

	open_clearing(conversion, &debit_clearing, &credit_clearing);
	pl_entry_leg(batch, conversion->debit->code, conversion->debit_amount);
	pl_entry_leg(batch, debit_clearing, -conversion->debit_amount);
	pl_entry_leg(batch, credit_clearing, conversion->credit_amount);
	pl_entry_leg(batch, conversion->credit->code, -conversion->credit_amount);
}

static void
record_conversion(const Conversion *conversion, int64 journal_entry_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, journal_entry_id);
	pl_arg_text(&args, conversion->debit->currency->code);
	pl_arg_int64(&args, conversion->debit_amount);
	pl_arg_text(&args, conversion->credit->currency->code);
	pl_arg_int64(&args, conversion->credit_amount);
	pl_arg(&args, conversion->rate);
	pl_execute(&insert_conversion, &args);
}

/* The reference was used for these legs, but not for this conversion. */
pg_noreturn static void
refuse_reference(const PlEntry *entry)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, entry->journal_entry_id);
	if (pl_execute_latest(&select_recorded_rate, &args) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
				 errmsg("reference \"%s\" was used with another rate", entry->reference),
				 errdetail("Journal entry " INT64_FORMAT " has the rate %s.",
						   entry->journal_entry_id, pl_get_text(0, 1))));
	ereport(ERROR,
			(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
			 errmsg("reference \"%s\" was used for another entry", entry->reference),
			 errdetail("Journal entry " INT64_FORMAT " was not posted by convert_currency.",
					   entry->journal_entry_id)));
}

/* Leaves the row to return as the last result. */
static void
select_result(const Conversion *conversion, const PlEntry *entry)
{
	bool		is_replay = entry->verdict == PL_VERDICT_REPLAYED;
	PlArgs		args = {0};

	pl_arg_int64(&args, entry->journal_entry_id);
	pl_arg_bool(&args, is_replay);
	if (conversion->is_rated)
		pl_arg(&args, conversion->rate);
	else
		pl_arg_null(&args);
	if (pl_execute_latest(&select_conversion, &args) == 0)
		refuse_reference(entry);
}

/*
 * convert_currency(debit_account text, debit_amount bigint, credit_account text,
 *		credit_amount bigint, rate numeric, reference text,
 *		effective_at timestamptz, metadata jsonb)
 */
Datum
pl_sql_convert_currency(PG_FUNCTION_ARGS)
{
	char	   *debit_account = pl_text_arg(fcinfo, 0, "debit_account");
	char	   *credit_account = pl_text_arg(fcinfo, 2, "credit_account");
	char	   *reference = pl_optional_text_arg(fcinfo, 5);
	Conversion	conversion = {0};
	PlEntryBatch *batch;
	PlEntry    *entry;

	conversion.debit_amount = pl_int64_arg(fcinfo, 1, "debit_amount");
	conversion.credit_amount = pl_int64_arg(fcinfo, 3, "credit_amount");
	conversion.is_rated = !PG_ARGISNULL(4);
	conversion.rate = conversion.is_rated ? PG_GETARG_DATUM(4) : (Datum) 0;
	check_amount("debit_amount", conversion.debit_amount);
	check_amount("credit_amount", conversion.credit_amount);
	if (!PG_ARGISNULL(6) && TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(6)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("effective_at must be finite")));
	if (!PG_ARGISNULL(7))
		pl_check_metadata("metadata", PG_GETARG_JSONB_P(7));

	pl_connect();
	pl_require_layout();
	conversion.debit = pl_require_account(debit_account);
	conversion.credit = pl_require_account(credit_account);
	check_accounts(&conversion);
	check_rate(&conversion);

	batch = pl_entries_new();
	batch->replays = true;
	entry = pl_entry_add(batch, "FX_CONVERSION", 0, reference, 0);
	entry->metadata = PG_ARGISNULL(7) ? NULL : PG_GETARG_JSONB_P(7);
	if (!PG_ARGISNULL(6))
	{
		entry->is_dated = true;
		entry->effective_at = PG_GETARG_TIMESTAMPTZ(6);
	}
	add_legs(batch, &conversion);
	pl_entries_post(batch);
	if (entry->verdict == PL_VERDICT_POSTED)
		record_conversion(&conversion, entry->journal_entry_id);
	select_result(&conversion, entry);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * fx_residue(base_currency text, ledger text)
 */
Datum
pl_sql_fx_residue(PG_FUNCTION_ARGS)
{
	char	   *base = pl_text_arg(fcinfo, 0, "base_currency");
	char	   *ledger = pl_text_arg(fcinfo, 1, "ledger");
	PlArgs		key = {0};
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_check_currency(base);
	pl_arg_text(&key, ledger);
	if (pl_select(&ledger_exists, &key) == 0)
		pl_no_such_ledger(ledger);
	pl_arg_text(&args, base);
	pl_arg_text(&args, ledger);
	pl_select(&select_residue, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
