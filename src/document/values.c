/*
 * src/document/values.c
 *		Amounts, times and ids as PSPs write them.
 */
#include "postgres.h"

#include "common/int.h"
#include "document/document.h"
#include "utils/datetime.h"

/* seconds since 1970 up to which times are taken: the end of the year 9999 */
#define MAX_UNIX_TIME INT64CONST(253402300799)

/* Digits after the point in the PSP's unit.  Raises 22023 for no currency. */
static int
psp_exponent(const char *currency, const PlExponent *exponents)
{
	for (const PlExponent *entry = exponents; entry && entry->currency; entry++)
		if (strcmp(entry->currency, currency) == 0)
			return entry->exponent;
	return pl_check_currency(currency)->exponent;
}

/* An amount counted in 10^-to of the currency instead of 10^-from. */
static int64
rescale(int64 amount, const char *currency, int from, int to)
{
	const int64 given = amount;

	for (; from < to; from++)
		if (pg_mul_s64_overflow(amount, 10, &amount))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("amount " INT64_FORMAT " %s is too large for a unit of %d digits",
							given, currency, to)));
	for (; from > to; from--)
	{
		if (amount % 10 != 0)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("amount " INT64_FORMAT " %s is no whole number of a unit of %d digits",
							given, currency, to)));
		amount /= 10;
	}
	return amount;
}

/*
 * An amount in minor units, in the unit that the PSP counts the currency in.
 * Raises 22003 if it has no such amount, 22023 for no currency.
 */
int64
pl_amount_to_psp(int64 amount, const char *currency, const PlExponent *exponents)
{
	return rescale(amount, currency, pl_check_currency(currency)->exponent, psp_exponent(currency, exponents));
}

/*
 * An amount of a PSP, in minor units.  Raises as pl_amount_to_psp().
 */
int64
pl_amount_from_psp(int64 amount, const char *currency, const PlExponent *exponents)
{
	return rescale(amount, currency, psp_exponent(currency, exponents), pl_check_currency(currency)->exponent);
}

/*
 * A time in seconds since 1970.  Raises 22003 for one before 1970 or after
 * the year 9999.
 */
TimestampTz
pl_time_from_unix(int64 seconds)
{
	if (seconds < 0 || seconds > MAX_UNIX_TIME)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("time " INT64_FORMAT " is out of range", seconds)));
	return (seconds - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) * USECS_PER_SEC;
}

/* The number of n digits at *p, which moves on; -1 if they are none. */
static int
digits(const char **p, int n)
{
	int			value = 0;

	for (; n > 0; n--, (*p)++)
	{
		if (!isdigit((unsigned char) **p))
			return -1;
		value = value * 10 + (**p - '0');
	}
	return value;
}

static bool
take(const char **p, char wanted)
{
	if (**p != wanted)
		return false;
	(*p)++;
	return true;
}

/* Seconds that a zone is ahead of UTC: Z, +01:00 or +0100; false for anything else. */
static bool
read_zone(const char *p, int *seconds)
{
	int			sign = *p == '-' ? -1 : 1;
	int			hours;
	int			minutes;

	*seconds = 0;
	if (take(&p, 'Z'))
		return *p == '\0';
	if (*p != '+' && *p != '-')
		return false;
	p++;
	hours = digits(&p, 2);
	(void) take(&p, ':');
	minutes = digits(&p, 2);
	*seconds = sign * (hours * SECS_PER_HOUR + minutes * SECS_PER_MINUTE);
	return hours >= 0 && hours <= MAX_TZDISP_HOUR && minutes >= 0 && minutes < MINS_PER_HOUR && *p == '\0';
}

/*
 * A time in the form of ISO 8601, 2026-01-31T10:15:30+01:00; fractions of a
 * second are dropped.  Raises 22P02 for anything else.
 */
TimestampTz
pl_time_from_iso(const char *text)
{
	const char *p = text;
	int			year = digits(&p, 4);
	bool		right = year >= 1970 && take(&p, '-');
	int			month = right ? digits(&p, 2) : -1;
	int			day;
	int			hour;
	int			minute;
	int			second;
	int			ahead = 0;

	right = month >= 1 && month <= MONTHS_PER_YEAR && take(&p, '-');
	day = right ? digits(&p, 2) : -1;
	right = day >= 1 && day <= day_tab[isleap(year)][month - 1] && take(&p, 'T');
	hour = right ? digits(&p, 2) : -1;
	right = hour >= 0 && hour < HOURS_PER_DAY && take(&p, ':');
	minute = right ? digits(&p, 2) : -1;
	right = minute >= 0 && minute < MINS_PER_HOUR && take(&p, ':');
	second = right ? digits(&p, 2) : -1;
	right = second >= 0 && second < SECS_PER_MINUTE;
	if (right && *p == '.')
		p += 1 + strspn(p + 1, "0123456789");
	if (!right || !read_zone(p, &ahead))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("\"%s\" is not a time of the form 2026-01-31T10:15:30+01:00", pl_redact(text))));
	return ((int64) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY +
			hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE + second - ahead) * USECS_PER_SEC;
}

/*
 * An id of ours as a PSP gives it back; 0 for anything that cannot be one.
 */
int64
pl_id_from_text(const char *text)
{
	char	   *end;
	int64		id;

	if (text == NULL || text[0] < '1' || text[0] > '9')
		return 0;
	errno = 0;
	id = strtoll(text, &end, 10);
	return *end != '\0' || errno == ERANGE ? 0 : id;
}
