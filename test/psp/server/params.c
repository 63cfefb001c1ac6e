/*-------------------------------------------------------------------------
 *
 * params.c
 *		Checks of request parameters, worded as Stripe words them.
 *
 * Every check replies with the error itself and returns false; nothing has
 * been executed then, so such a reply is never stored under a key.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

#define MAX_AMOUNT 99999999
#define MAX_METADATA_KEYS 50
#define MAX_METADATA_KEY 40
#define MAX_METADATA_VALUE 500
#define MAX_PAGE 100
#define DEFAULT_PAGE 10

static const char currencies[] =
	" aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd"
	" bob brl bsd bwp byn bzd cad cdf chf clp cny cop crc cve czk djf dkk dop"
	" dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr"
	" ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd"
	" lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok"
	" npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr"
	" sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx"
	" usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw ";

/* Smallest charges; other currencies: anything above zero. */
static const struct
{
	const char *currency;
	int64_t		amount;
	const char *shown;
}			minimums[] = {
	{"aud", 50, "$0.50 aud"},
	{"cad", 50, "$0.50 cad"},
	{"chf", 50, "0.50 chf"},
	{"eur", 50, "€0.50 eur"},
	{"gbp", 30, "£0.30 gbp"},
	{"jpy", 50, "¥50 jpy"},
	{"usd", 50, "$0.50 usd"},
};

/* Replies 400 about one parameter. */
#define refuse(req, code, param, ...) \
	reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", code, \
				param, __VA_ARGS__)

/* Is the part of name before '[' in the list? */
static bool
name_listed(const char *name, const char *const *names)
{
	size_t		len = strcspn(name, "[");

	for (; *names != NULL; names++)
		if (strlen(*names) == len && strncmp(*names, name, len) == 0)
			return true;
	return false;
}

/* Checks that all parameters are known; names ends with NULL. */
bool
params_known(Request *req, const char *const *names)
{
	StrBuf		unknown = {0};
	const char *first = NULL;
	int			count = 0;

	for (size_t i = 0; i < req->params.count; i++)
	{
		const char *name = req->params.params[i].name;

		if (name_listed(name, names))
			continue;
		first = first == NULL ? name : first;
		buf_printf(&unknown, "%s%s", count++ > 0 ? ", " : "", name);
	}
	if (count > 0)
		refuse(req, "parameter_unknown", first,
			   "Received unknown parameter%s: %s", count > 1 ? "s" : "",
			   unknown.data);
	buf_free(&unknown);
	return count == 0;
}

/* Refuses an empty value of a parameter that cannot be unset. */
static bool
not_empty(Request *req, const char *name, const char *value)
{
	if (value[0] != '\0')
		return true;
	refuse(req, "parameter_invalid_empty", name,
		   "You passed an empty string for '%s'. We assume empty values are "
		   "an attempt to unset a parameter; however '%s' cannot be unset. "
		   "You should remove '%s' from your request or supply a non-empty "
		   "value.", name, name, name);
	return false;
}

/* Reads an integer, if it was given. */
bool
param_integer(Request *req, const char *name, bool *given, int64_t *value)
{
	const char *text = form_get(&req->params, name);
	char	   *end;

	*given = text != NULL;
	if (text == NULL)
		return true;
	if (!not_empty(req, name, text))
		return false;
	errno = 0;
	*value = strtoll(text, &end, 10);
	if (errno == 0 && *end == '\0' &&
		(isdigit((unsigned char) text[0]) || text[0] == '-'))
		return true;
	refuse(req, "parameter_invalid_integer", name, "Invalid integer: %.100s",
		   text);
	return false;
}

/* Reads a boolean; value keeps its default when it was not given. */
bool
param_boolean(Request *req, const char *name, bool *value)
{
	const char *text = form_get(&req->params, name);

	if (text == NULL)
		return true;
	if (!not_empty(req, name, text))
		return false;
	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
	{
		*value = text[0] == 't';
		return true;
	}
	refuse(req, NULL, name, "Invalid boolean: %.100s", text);
	return false;
}

/* Reads one of several words; value keeps its default when not given. */
bool
param_choice(Request *req, const char *name, const char *const *choices,
			 const char **value)
{
	const char *text = form_get(&req->params, name);
	StrBuf		list = {0};

	if (text == NULL)
		return true;
	if (!not_empty(req, name, text))
		return false;
	for (size_t i = 0; choices[i] != NULL; i++)
	{
		if (strcmp(text, choices[i]) == 0)
		{
			*value = choices[i];
			buf_free(&list);
			return true;
		}
		buf_printf(&list, "%s%s", i == 0 ? "" :
				   choices[i + 1] == NULL ? ", or " : ", ", choices[i]);
	}
	refuse(req, NULL, name, "Invalid %s: must be one of %s", name, list.data);
	buf_free(&list);
	return false;
}

/* Reads the currency, which is required, in lower case. */
bool
param_currency(Request *req, char *currency)
{
	const char *text = form_get(&req->params, "currency");
	char		spaced[6] = "";

	if (text == NULL)
	{
		refuse(req, "parameter_missing", "currency",
			   "Missing required param: currency.");
		return false;
	}
	if (strlen(text) == 3)
	{
		for (int i = 0; i < 3; i++)
			currency[i] = (char) tolower((unsigned char) text[i]);
		currency[3] = '\0';
		snprintf(spaced, sizeof(spaced), " %s ", currency);
		if (strstr(currencies, spaced) != NULL)
			return true;
	}
	refuse(req, NULL, "currency",
		   "Invalid currency: %.20s. Stripe currently supports these "
		   "currencies:%s", text, currencies);
	return false;
}

/* Reads the amount to charge, which is required. */
bool
param_charge_amount(Request *req, const char *currency, int64_t *amount)
{
	bool		given;

	if (!param_integer(req, "amount", &given, amount))
		return false;
	if (!given)
	{
		refuse(req, "parameter_missing", "amount",
			   "Missing required param: amount.");
		return false;
	}
	if (*amount < 1)
	{
		refuse(req, "parameter_invalid_integer", "amount",
			   "This value must be greater than or equal to 1.");
		return false;
	}
	if (*amount > MAX_AMOUNT)
	{
		refuse(req, "amount_too_large", "amount",
			   "Amount must be no more than %d", MAX_AMOUNT);
		return false;
	}
	for (size_t i = 0; i < lengthof(minimums); i++)
		if (strcmp(minimums[i].currency, currency) == 0 &&
			*amount < minimums[i].amount)
		{
			refuse(req, "amount_too_small", "amount",
				   "Amount must be at least %s", minimums[i].shown);
			return false;
		}
	return true;
}

/* Sets, replaces or (with an empty value) removes one key. */
static void
set_metadata(Form *metadata, const char *key, const char *value)
{
	for (size_t i = 0; i < metadata->count; i++)
	{
		Param	   *param = &metadata->params[i];

		if (strcmp(param->name, key) != 0)
			continue;
		free(param->value);
		param->value = xstrdup(value);
		if (value[0] == '\0')
		{
			free(param->name);
			free(param->value);
			metadata->count--;
			memmove(param, param + 1,
					(metadata->count - i) * sizeof(Param));
		}
		return;
	}
	if (value[0] != '\0')
		form_add(metadata, key, value);
}

/* Checks one key and value of metadata, the nth of the request. */
static bool
metadata_fits(Request *req, const Param *param, const char *key, int nth)
{
	if (nth > MAX_METADATA_KEYS)
	{
		refuse(req, NULL, "metadata", "You can only set %d metadata keys.",
			   MAX_METADATA_KEYS);
		return false;
	}
	if (strlen(key) > MAX_METADATA_KEY)
	{
		refuse(req, NULL, "metadata",
			   "Metadata keys must be under %d characters. You have a key of "
			   "length %zu", MAX_METADATA_KEY, strlen(key));
		return false;
	}
	if (strlen(param->value) > MAX_METADATA_VALUE)
	{
		refuse(req, NULL, param->name,
			   "Metadata values must be under %d characters, but you passed "
			   "in a value that is %zu characters long.", MAX_METADATA_VALUE,
			   strlen(param->value));
		return false;
	}
	return true;
}

/* Checks the metadata of the request and merges it into metadata, if any. */
bool
param_metadata(Request *req, Form *metadata)
{
	const char *all = form_get(&req->params, "metadata");
	int			keys = 0;

	if (all != NULL && all[0] == '\0' && metadata != NULL)
		form_free(metadata);
	for (size_t i = 0; i < req->params.count; i++)
	{
		const Param *param = &req->params.params[i];
		char	   *key = form_member(param->name, "metadata");
		bool		fits;

		if (key == NULL)
			continue;
		fits = metadata_fits(req, param, key, ++keys);
		if (fits && metadata != NULL)
			set_metadata(metadata, key, param->value);
		free(key);
		if (!fits)
			return false;
	}
	return true;
}

/* Reads the length of a page. */
bool
param_page(Request *req, int64_t *limit)
{
	bool		given;

	*limit = DEFAULT_PAGE;
	if (!param_integer(req, "limit", &given, limit))
		return false;
	if (*limit >= 1 && *limit <= MAX_PAGE)
		return true;
	refuse(req, "parameter_invalid_integer", "limit",
		   "This value must be %s %d.", *limit < 1 ?
		   "greater than or equal to" : "less than or equal to",
		   *limit < 1 ? 1 : MAX_PAGE);
	return false;
}
