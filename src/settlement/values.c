/*
 * src/settlement/values.c
 *		The members of a report's line, as texts, numbers and times.
 *
 * A refusal names the path of the member at fault.
 */
#include "postgres.h"

#include "settlement/settlement_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* lines[3].amount, palloc'd */
char *
pl_line_path(const PlLineReader *reader, const char *name)
{
	return psprintf("lines[%d].%s", reader->index, name);
}

/* Raise 22023: the member of that name is not what is expected. */
void
pl_wrong_member(const PlLineReader *reader, const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be %s", pl_line_path(reader, name), expected),
			 errhint("payledger.settlement_columns says how format %s is read.", reader->format_name)));
}

/*
 * The member of that name: of the object itself, or after a dot of an object in
 * it.  False if there is none.
 */
bool
pl_has_member(JsonbContainer *object, const char *name, JsonbValue *value)
{
	const char *dot;

	if (getKeyJsonValueFromContainer(object, name, strlen(name), value) != NULL)
		return true;
	dot = strchr(name, '.');
	return dot != NULL &&
		getKeyJsonValueFromContainer(object, name, dot - name, value) != NULL &&
		value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data) &&
		pl_has_member(value->val.binary.data, dot + 1, value);
}

/* The same, and it is neither null nor an empty string. */
bool
pl_find_member(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return pl_has_member(object, name, value) && value->type != jbvNull &&
		!(value->type == jbvString && value->val.string.len == 0);
}

/*
 * A string, or a number as text; palloc'd.  Raises 22023 for anything else or
 * what is too long, PL011 for card data.
 */
char *
pl_member_text(const PlLineReader *reader, const char *name, const JsonbValue *value)
{
	char	   *result;

	if (value->type == jbvNumeric)
		result = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	else if (value->type == jbvString)
		result = pnstrdup(value->val.string.val, value->val.string.len);
	else
		pl_wrong_member(reader, name, "a string");
	pl_check_line_text(pl_line_path(reader, name), result);
	return result;
}

static bool
looks_like_number(const char *text)
{
	size_t		whole;
	size_t		fraction = 0;

	if (*text == '-' || *text == '+')
		text++;
	whole = strspn(text, "0123456789");
	text += whole;
	if (*text == '.')
	{
		fraction = strspn(text + 1, "0123456789");
		text += 1 + fraction;
	}
	return *text == '\0' && whole + fraction > 0;
}

/* A number, or a string that is one, as CSV has it. */
static Datum
read_numeric(const PlLineReader *reader, const char *name, const JsonbValue *value)
{
	char	   *text;

	if (value->type == jbvNumeric && !numeric_is_nan(value->val.numeric) && !numeric_is_inf(value->val.numeric))
		return NumericGetDatum(value->val.numeric);
	if (value->type != jbvString)
		pl_wrong_member(reader, name, "a number");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	if (!looks_like_number(text))
		pl_wrong_member(reader, name, "a number");
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static int
compare_numeric(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b));
}

static Datum
numeric_of(int64 value)
{
	return NumericGetDatum(int64_to_numeric(value));
}

/*
 * A number of units 10^-exponent as their number: 22023 if it has a fraction of
 * them, 22003 if it does not fit.
 */
int64
pl_member_units(const PlLineReader *reader, const char *name, const JsonbValue *value, int exponent)
{
	Datum		number = read_numeric(reader, name, value);
	int64		unit = 1;

	for (int i = 0; i < exponent; i++)
		unit *= 10;
	if (unit > 1)
		number = DirectFunctionCall2(numeric_mul, number, numeric_of(unit));
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, number)) > 0 &&
		compare_numeric(number, DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0))) != 0)
		pl_wrong_member(reader, name, exponent == 0 ? "a whole number" :
					 psprintf("a number with at most %d digits after the point", exponent));
	if (compare_numeric(number, numeric_of(PG_INT64_MAX)) > 0 || compare_numeric(number, numeric_of(-PG_INT64_MAX)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s is out of range", pl_line_path(reader, name)),
				 errdetail("Amounts are from " INT64_FORMAT " to " INT64_FORMAT " minor units.",
						   -PG_INT64_MAX, PG_INT64_MAX)));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
}

/*
 * A whole number, written as one: 12.00 may be meant in other units, and is
 * refused with 22023, as are other fractions.
 */
int64
pl_member_whole(const PlLineReader *reader, const char *name, const JsonbValue *value)
{
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, read_numeric(reader, name, value))) > 0)
		pl_wrong_member(reader, name, "a whole number, without a point");
	return pl_member_units(reader, name, value, 0);
}

/* What PostgreSQL makes of a time, in UTC unless it names a zone; false if it is none. */
static bool
try_time(const char *text, TimestampTz *result)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	pg_tz	   *session = session_timezone;
	volatile bool is_time = true;

	session_timezone = pg_tzset("GMT");
	PG_TRY();
	{
		*result = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
														  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		session_timezone = session;
		/* it holds no lock and no resource, so there is nothing to roll back */
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
		is_time = false;
	}
	PG_END_TRY();
	session_timezone = session;
	return is_time;
}

/*
 * A time written year first, in UTC unless it says otherwise: its meaning does
 * not hang on the session's zone.  22023 for anything else.
 */
TimestampTz
pl_member_time(const PlLineReader *reader, const char *name, const char *text)
{
	TimestampTz result;

	if (strlen(text) < 10 || strspn(text, "0123456789") != 4 || text[4] != '-' || !try_time(text, &result) ||
		TIMESTAMP_NOT_FINITE(result))
		pl_wrong_member(reader, name, "a time such as 2025-01-31 10:30:00");
	return result;
}

/* Seconds since 1970; 22023 for anything else. */
TimestampTz
pl_member_seconds(const PlLineReader *reader, const char *name, const JsonbValue *value)
{
	int64		seconds = pl_member_units(reader, name, value, 0);
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

	/* up to the year 9999 */
	if (seconds < 0 || seconds > INT64CONST(253402300799))
		pl_wrong_member(reader, name, "seconds since 1970");
	return (seconds - epoch) * USECS_PER_SEC;
}
