/*
 * src/core/checks.c
 *		Arguments of SQL functions: presence, length, and nothing that looks
 *		like card data.
 */
#include "postgres.h"

#include "core/core.h"
#include "mb/pg_wchar.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* ISO/IEC 7812: a primary account number has 13 to 19 digits */
#define PAN_MIN_DIGITS 13
#define PAN_MAX_DIGITS 19
#define PAN_SHOWN_DIGITS 4

#define MAX_METADATA_BYTES 16384

/* what a double precision number may have before and behind the point, written out */
#define MAX_NUMBER_DIGITS 400

static bool
luhn_valid(const char *digits, int n)
{
	int			sum = 0;

	for (int i = 0; i < n; i++)
	{
		int			digit = digits[n - 1 - i] - '0';

		if (i % 2 == 1)
		{
			digit *= 2;
			if (digit > 9)
				digit -= 9;
		}
		sum += digit;
	}
	return sum % 10 == 0;
}

/*
 * Issuer ranges by the first four digits, with the lengths they are issued in.
 * Without them one in ten numeric order ids would pass for a card.
 */
typedef struct IssuerRange
{
	int			first;
	int			last;
	int			min_length;
	int			max_length;
} IssuerRange;

static const IssuerRange issuers[] = {
	{2221, 2720, 16, 16},		/* Mastercard */
	{3000, 3059, 14, 16},		/* Diners Club */
	{3400, 3499, 15, 15},		/* American Express */
	{3528, 3589, 16, 16},		/* JCB; 17 to 19 digits were never issued, and our ids have 18 */
	{3600, 3699, 14, 16},		/* Diners Club */
	{3700, 3799, 15, 15},		/* American Express */
	{3800, 3999, 14, 16},		/* Diners Club */
	{4000, 4999, 13, 13},		/* Visa, old */
	{4000, 4999, 16, 16},		/* Visa */
	{4000, 4999, 19, 19},		/* Visa */
	{5000, 5099, 16, 16},		/* Maestro */
	{5100, 5599, 16, 16},		/* Mastercard */
	{5600, 5899, 16, 16},		/* Maestro */
	{6011, 6011, 16, 19},		/* Discover */
	{6200, 6299, 16, 19},		/* UnionPay */
	{6304, 6304, 16, 19},		/* Maestro */
	{6440, 6599, 16, 19},		/* Discover */
	{6759, 6763, 16, 19},		/* Maestro */
};

static bool
is_card_number(const char *digits, int n)
{
	int			prefix = 0;

	/*
	 * What our own ids have, and nobody's cards in practice.  With 19 digits,
	 * from 2032 to 2055, they begin with what no issuer of such cards has.
	 */
	if (n == 18)
		return false;
	for (int i = 0; i < 4; i++)
		prefix = prefix * 10 + (digits[i] - '0');
	for (int i = 0; i < (int) lengthof(issuers); i++)
		if (prefix >= issuers[i].first && prefix <= issuers[i].last &&
			n >= issuers[i].min_length && n <= issuers[i].max_length)
			return luhn_valid(digits, n);
	return false;
}

/* Does q go on with a run of digits, parted by single spaces or hyphens? */
static bool
in_run(const char *q)
{
	return isdigit((unsigned char) *q) ||
		((*q == ' ' || *q == '-') && isdigit((unsigned char) q[1]));
}

/*
 * Does a card number begin at begin, a group of digits in a run?  Its number
 * of digits, with *end behind it; 0 if not.
 */
static int
card_number_at(const char *begin, const char **end)
{
	char		digits[PAN_MAX_DIGITS];
	int			n = 0;

	for (const char *q = begin; in_run(q); q++)
	{
		if (!isdigit((unsigned char) *q))
			continue;
		if (n == PAN_MAX_DIGITS)
			break;
		digits[n++] = *q;
		if (n >= PAN_MIN_DIGITS && !isdigit((unsigned char) q[1]) && is_card_number(digits, n))
		{
			*end = q + 1;
			return n;
		}
	}
	return 0;
}

/*
 * Find the next card number from *p on: digits, groups of which may be parted
 * by single spaces or hyphens, that an issuer could have given.  Other numbers
 * may stand before and behind it; a run that begins or ends within a word, an
 * IBAN say, is something else.  Returns its number of digits, with *begin at
 * it and *p behind it; 0: there is none.
 */
static int
next_card_number(const char *text, const char **p, const char **begin)
{
	const char *q = *p;

	while (*q)
	{
		const char *run = q;

		if (!isdigit((unsigned char) *q))
		{
			q++;
			continue;
		}
		while (in_run(q))
			q++;
		if ((run > text && isalpha((unsigned char) run[-1])) || isalpha((unsigned char) *q))
			continue;
		for (const char *group = run; group < q; group++)
		{
			int			n = 0;

			if (isdigit((unsigned char) *group) && (group == run || !isdigit((unsigned char) group[-1])))
				n = card_number_at(group, p);
			if (n > 0)
			{
				*begin = group;
				return n;
			}
		}
	}
	return 0;
}

/*
 * Does text hold a card number?
 */
bool
pl_holds_card_number(const char *text)
{
	const char *begin;
	const char *p = text;

	return next_card_number(text, &p, &begin) > 0;
}

/*
 * Hide all but the last four digits of every card number in text.
 */
void
pl_mask_card_data(char *text)
{
	const char *begin;
	const char *p = text;
	int			n;

	while ((n = next_card_number(text, &p, &begin)) > 0)
	{
		int			hidden = 0;

		for (char *q = text + (begin - text); hidden < n - PAN_SHOWN_DIGITS; q++)
			if (isdigit((unsigned char) *q))
			{
				*q = '*';
				hidden++;
			}
	}
}

/*
 * The same in JSON, which stays JSON: an asterisk is no digit of a number, and
 * the letters and digits of an escape, "\n" say, are none of the text's.
 */
void
pl_mask_card_data_in_json(char *json)
{
	char	   *masked;
	bool		in_string = false;

	pl_mask_card_data(json);
	masked = pstrdup(json);
	for (char *p = masked; *p; p++)
	{
		int			length = p[1] == 'u' ? 6 : 2;

		for (int i = 0; *p == '\\' && i < length - 1 && p[1] != '\0'; i++)
			*++p = '\\';
	}
	pl_mask_card_data(masked);
	for (char *p = json; *p; p++)
	{
		if (in_string && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			in_string = !in_string;
		else if (masked[p - json] == '*')
			*p = in_string ? '*' : '9';
	}
	pfree(masked);
}

/*
 * The statement that is refused has the card data in its text, which must not
 * stay in pg_stat_activity; nor go to the log, if nothing masks that.
 */
static int
conceal_statement(void)
{
	pgstat_report_activity(STATE_RUNNING, "(a statement with card data)");
	errhidecontext(true);
	return errhidestmt(true);
}

pg_noreturn static void
refuse_card_data(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_CARD_DATA),
			 errmsg("%s holds what looks like a card number", what),
			 errhint("Pass the token that the payment service provider gave for the card."),
			 conceal_statement()));
}

/*
 * Raise PL011 if value holds what looks like a card number.  what names the
 * argument; the value itself is never shown.
 */
void
pl_refuse_card_data(const char *what, const char *value)
{
	if (value != NULL && pl_holds_card_number(value))
		refuse_card_data(what);
}

/*
 * Raise 22023 unless value is 1 to max_length characters without such as hide
 * what it says, and PL011 if it holds a card number.
 */
void
pl_check_text(const char *what, const char *value, int max_length)
{
	int			length = pg_mbstrlen(value);

	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
	if (length > max_length)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be longer than %d characters", what, max_length),
				 errdetail("It has %d.", length)));
	for (const char *p = value; *p; p++)
		if (pl_hidden_character(p) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not hold control characters", what),
					 errdetail("Those that separate lines or turn the direction of writing count, too.")));
	pl_refuse_card_data(what, value);
}

/* Raise PL011 for a member of a name that only card data has. */
static void
refuse_card_key(const char *what, const char *name)
{
	static const char *const card_keys[] = {
		"pan", "card_number", "cardnumber", "cvv", "cvv2", "cvc", "cvc2", "card_verification_value",
		"security_code", "securitycode", "track_data", "track1", "track2", "pin_block"
	};

	for (size_t i = 0; i < lengthof(card_keys); i++)
		if (pg_strcasecmp(name, card_keys[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_PL_CARD_DATA),
					 errmsg("%s has a member \"%s\"", what, card_keys[i]),
					 errhint("Card data never belongs here; pass the PSP's token as payment method."),
					 conceal_statement()));
}

/*
 * May the number be printed?  One such as 1e131071 takes a few bytes, and prints
 * with all its digits.
 */
static bool
is_printable(Numeric number)
{
	Datum		value = NumericGetDatum(number);
	Datum		most = DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf("1e%d", MAX_NUMBER_DIGITS)),
										   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	return DatumGetInt32(DirectFunctionCall1(numeric_scale, value)) <= MAX_NUMBER_DIGITS &&
		DatumGetInt32(DirectFunctionCall2(numeric_cmp, DirectFunctionCall1(numeric_abs, value), most)) < 0;
}

pg_noreturn static void
refuse_long_number(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must not hold a number of more than %d digits", what, MAX_NUMBER_DIGITS)));
}

/*
 * Raise 22023 for a number that must not be printed or kept.
 */
void
pl_check_number(const char *what, Numeric number)
{
	if (!is_printable(number))
		refuse_long_number(what);
}

/*
 * Does jsonb of bounded size print as text of bounded size?
 */
bool
pl_jsonb_is_printable(Jsonb *json)
{
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type == jbvNumeric && !is_printable(value.val.numeric))
			return false;
	return true;
}

/*
 * Does it hold a card number, in a text, a name or a number?  It has to be
 * printable.
 */
bool
pl_jsonb_holds_card_number(Jsonb *json)
{
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		char	   *text = NULL;

		if (token != WJB_KEY && token != WJB_VALUE && token != WJB_ELEM)
			continue;
		if (value.type == jbvString)
			text = pnstrdup(value.val.string.val, value.val.string.len);
		else if (value.type == jbvNumeric)
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
		if (text != NULL && pl_holds_card_number(text))
			return true;
	}
	return false;
}

/*
 * Raise 22023 unless metadata is an object of bounded size, PL011 if it holds
 * card data.
 */
void
pl_check_metadata(const char *what, Jsonb *metadata)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", what)));
	if (VARSIZE(metadata) > MAX_METADATA_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be larger than %d bytes", what, MAX_METADATA_BYTES)));
	if (!pl_jsonb_is_printable(metadata))
		refuse_long_number(what);
	iterator = JsonbIteratorInit(&metadata->root);
	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
		if (token == WJB_KEY)
			refuse_card_key(what, pnstrdup(value.val.string.val, value.val.string.len));
	if (pl_jsonb_holds_card_number(metadata))
		refuse_card_data(what);
}

static void
require_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/*
 * Argument argno as a C string; 22004 naming it if null.
 */
char *
pl_text_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	require_arg(fcinfo, argno, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/* Argument argno as a C string, or NULL. */
char *
pl_optional_text_arg(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/* Argument argno as a bigint; 22004 naming it if null. */
int64
pl_int64_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	require_arg(fcinfo, argno, name);
	return PG_GETARG_INT64(argno);
}
