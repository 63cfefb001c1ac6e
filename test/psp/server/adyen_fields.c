/*-------------------------------------------------------------------------
 *
 * adyen_fields.c
 *		Checks of the fields of a request.
 *
 * Every check replies with the error itself and returns false; nothing has
 * been executed then, so such a reply is never stored under a key.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

#define UNKNOWN_ACCOUNT "Unknown"	/* no such merchant account */

static const char currencies[] =
	" AED ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BMD BND BOB BRL"
	" BSD BWP BYN BZD CAD CHF CLP CNH CNY COP CRC CUP CVE CZK DJF DKK DOP DZD"
	" EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR"
	" ILS INR IQD ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR"
	" LYD MAD MDL MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK"
	" NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR"
	" SEK SGD SHP SLE SOS SRD STN SVC SZL THB TND TOP TRY TTD TWD TZS UAH UGX"
	" USD UYU UZS VEF VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ";

static const char *const split_types[] = {
	"AcquiringFees", "AdyenCommission", "AdyenFees", "AdyenMarkup",
	"BalanceAccount", "Commission", "Default", "Interchange", "MarketPlace",
	"PaymentFee", "Remainder", "SchemeFee", "Surcharge", "Tip", "TopUp",
	"VAT", NULL
};

/* Is a name in a list that ends with NULL? */
static bool
listed(const char *name, const char *const *names)
{
	for (; *names != NULL; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

/* Checks that all fields are known; structure is the name of the request. */
bool
field_names(Request *req, const char *structure, const char *const *names)
{
	const char *name;
	json_t	   *value;

	json_object_foreach(req->json, name, value)
	{
		if (listed(name, names))
			continue;
		adyen_unreadable(req, "Structure of %s contains the following "
						 "unknown fields: [%.100s]", structure, name);
		return false;
	}
	return true;
}

/* Reads a text, NULL if it was not given; longest is 0 for any length. */
bool
field_text(Request *req, const char *name, size_t longest, const char **value)
{
	json_t	   *field = json_object_get(req->json, name);

	*value = NULL;
	if (field == NULL)
		return true;
	if (!json_is_string(field))
	{
		adyen_unreadable(req, "Field '%s' is not a text", name);
		return false;
	}
	*value = json_string_value(field);
	if (longest == 0 || strlen(*value) <= longest)
		return true;
	adyen_invalid(req, "702", "Field '%s' is longer than %zu characters",
				  name, longest);
	return false;
}

/* Reads the merchant account, which has to be one of ours. */
bool
field_merchant(Request *req, const char **merchant)
{
	if (!field_text(req, "merchantAccount", 0, merchant))
		return false;
	if (*merchant != NULL && (*merchant)[0] != '\0' &&
		strncmp(*merchant, UNKNOWN_ACCOUNT, strlen(UNKNOWN_ACCOUNT)) != 0)
		return true;
	adyen_error(req, MHD_HTTP_FORBIDDEN, "901", "security",
				"Invalid Merchant Account");
	return false;
}

/* Checks a currency and copies it. */
static bool
read_currency(Request *req, const json_t *object, char *currency)
{
	json_t	   *field = json_object_get(object, "currency");
	const char *text = json_string_value(field);
	char		spaced[6];

	if (field != NULL && text == NULL)
	{
		adyen_unreadable(req, "Field 'amount.currency' is not a text");
		return false;
	}
	if (text != NULL && strlen(text) == 3)
	{
		snprintf(spaced, sizeof(spaced), " %s ", text);
		memcpy(currency, text, 4);
		if (strstr(currencies, spaced) != NULL)
			return true;
	}
	adyen_invalid(req, "138", "Unsupported currency specified");
	return false;
}

/* Reads the amount, which is required, of at least so many minor units. */
bool
field_amount(Request *req, int64_t least, AdyenAmount *amount)
{
	static const char *const names[] = {"currency", "value", NULL};
	json_t	   *object = json_object_get(req->json, "amount");
	json_t	   *value = json_object_get(object, "value");
	const char *name;
	json_t	   *unused;

	if (object == NULL)
	{
		adyen_invalid(req, "100", "No amount specified");
		return false;
	}
	json_object_foreach(object, name, unused)
		if (!listed(name, names))
		{
			adyen_unreadable(req, "Structure of Amount contains the "
							 "following unknown fields: [%.100s]", name);
			return false;
		}
	if (!json_is_object(object) || (value != NULL && !json_is_integer(value)))
	{
		adyen_unreadable(req, "Field 'amount%s",
						 json_is_object(object) ? ".value' is not a number" :
						 "' is not an object");
		return false;
	}
	if (!read_currency(req, object, amount->currency))
		return false;
	amount->value = json_integer_value(value);
	if (value != NULL && amount->value >= least)
		return true;
	adyen_invalid(req, "137", "Invalid amount specified");
	return false;
}

/* Checks a word, if it was given. */
bool
field_choice(Request *req, const char *name, const char *const *choices)
{
	const char *text;

	if (!field_text(req, name, 0, &text))
		return false;
	if (text == NULL || listed(text, choices))
		return true;
	adyen_unreadable(req, "Field '%s' has the unknown value '%.100s'", name,
					 text);
	return false;
}

/* Checks one part of a split and adds its value to the sum. */
static bool
check_split(Request *req, const json_t *split, const char *currency,
			int64_t *sum)
{
	const char *type = json_string_value(json_object_get(split, "type"));
	const json_t *amount = json_object_get(split, "amount");
	const json_t *value = json_object_get(amount, "value");
	const json_t *other = json_object_get(amount, "currency");

	if (type == NULL || !listed(type, split_types))
	{
		adyen_unreadable(req, "Field 'splits.type' has the unknown value "
						 "'%.100s'", type == NULL ? "null" : type);
		return false;
	}
	if (amount != NULL && !json_is_integer(value))
	{
		adyen_unreadable(req, "Field 'splits.amount.value' is not a number");
		return false;
	}
	if (other != NULL && (!json_is_string(other) ||
						  strcmp(json_string_value(other), currency) != 0))
	{
		adyen_invalid(req, "138", "Unsupported currency specified");
		return false;
	}
	*sum += json_integer_value(value);
	return true;
}

/* Checks the splits, if there are any: they add up to the amount. */
bool
field_splits(Request *req, const AdyenAmount *amount)
{
	json_t	   *splits = json_object_get(req->json, "splits");
	int64_t		sum = 0;
	size_t		index;
	json_t	   *split;

	if (splits == NULL)
		return true;
	if (!json_is_array(splits))
	{
		adyen_unreadable(req, "Field 'splits' is not a list");
		return false;
	}
	json_array_foreach(splits, index, split)
		if (!check_split(req, split, amount->currency, &sum))
			return false;
	if (sum == amount->value)
		return true;
	adyen_invalid(req, "14_025", "The sum of split amounts should be equal to "
				  "the total amount");
	return false;
}
