/*
 * src/core/money.c
 *		Amounts: int8 minor units of an ISO 4217 currency, checked arithmetic.
 */
#include "postgres.h"

#include "common/int.h"
#include "core/core.h"
#include "funcapi.h"
#include "utils/builtins.h"

static const PlCurrency currencies[] = {
#include "core/currencies.h"
};

PG_FUNCTION_INFO_V1(pl_sql_currencies);
PG_FUNCTION_INFO_V1(pl_sql_format_amount);
PG_FUNCTION_INFO_V1(pl_sql_format_total);

static int
compare_code(const void *code, const void *currency)
{
	return strcmp(code, ((const PlCurrency *) currency)->code);
}

/* The currency of that code, or NULL. */
const PlCurrency *
pl_find_currency(const char *code)
{
	return bsearch(code, currencies, lengthof(currencies), sizeof(PlCurrency), compare_code);
}

/*
 * The currency of that code; 22023 if ISO 4217 has none.
 */
const PlCurrency *
pl_check_currency(const char *code)
{
	const PlCurrency *currency = pl_find_currency(code);

	if (currency == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("currency \"%s\" does not exist", code),
				 errhint("Pass the ISO 4217 code in upper case, for example EUR; payledger.currencies() lists them.")));
	return currency;
}

/* a + b in minor units; 22003 when it overflows. */
int64
pl_add_amount(int64 a, int64 b)
{
	int64		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount out of range"),
				 errdetail(INT64_FORMAT " plus " INT64_FORMAT " does not fit a bigint.", a, b)));
	return sum;
}

/*
 * bps hundredths of a per cent of amount (>= 0), rounded half up, plus fixed;
 * minor units.  It may be more than the amount.
 */
int64
pl_commission(int64 amount, int32 bps, int64 fixed)
{
	/* amount * bps may pass 63 bits, so the whole units go apart */
	int64		share = amount / 10000 * bps + (amount % 10000 * bps + 5000) / 10000;

	return pl_add_amount(share, fixed);
}

/*
 * Amount with the currency's decimal point, palloc'd: -1450 EUR is "-14.50".
 */
char *
pl_format_amount(int64 amount, const PlCurrency *currency)
{
	uint64		magnitude = amount < 0 ? -(uint64) amount : (uint64) amount;
	uint64		unit = 1;

	if (currency->exponent == 0)
		return psprintf(INT64_FORMAT, amount);
	for (int i = 0; i < currency->exponent; i++)
		unit *= 10;
	return psprintf("%s%llu.%0*llu", amount < 0 ? "-" : "", (unsigned long long) (magnitude / unit),
					currency->exponent, (unsigned long long) (magnitude % unit));
}

/*
 * format_amount(amount bigint, currency text) RETURNS text
 */
Datum
pl_sql_format_amount(PG_FUNCTION_ARGS)
{
	const PlCurrency *currency = pl_check_currency(text_to_cstring(PG_GETARG_TEXT_PP(1)));

	PG_RETURN_TEXT_P(cstring_to_text(pl_format_amount(PG_GETARG_INT64(0), currency)));
}

/*
 * currencies() RETURNS TABLE (currency, exponent, name)
 */
Datum
pl_sql_currencies(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int i = 0; i < (int) lengthof(currencies); i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(currencies[i].code);
		values[1] = Int32GetDatum(currencies[i].exponent);
		values[2] = CStringGetTextDatum(currencies[i].name);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * format_total(total numeric, currency text) RETURNS text: like format_amount()
 * for sums, which may pass a bigint.
 */
Datum
pl_sql_format_total(PG_FUNCTION_ARGS)
{
	const PlCurrency *currency = pl_check_currency(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Datum		whole = DirectFunctionCall2(numeric_round, PG_GETARG_DATUM(0), Int32GetDatum(0));
	const char *digits = DatumGetCString(DirectFunctionCall1(numeric_out, whole));
	bool		is_negative = digits[0] == '-';
	StringInfoData out;
	int			length;

	digits += is_negative;
	length = strlen(digits);
	initStringInfo(&out);
	if (is_negative)
		appendStringInfoChar(&out, '-');
	if (currency->exponent == 0 || !isdigit((unsigned char) digits[0]))
		appendStringInfoString(&out, digits);
	else if (length > currency->exponent)
		appendStringInfo(&out, "%.*s.%s", length - currency->exponent, digits,
						 digits + length - currency->exponent);
	else
		/* no currency has more than four digits there */
		appendStringInfo(&out, "0.%.*s%s", currency->exponent - length, "0000", digits);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
