/*
 * src/adapters/adyen/error_classes.c
 *		What Adyen's errors and results mean, Checkout API v71.
 *
 * Sources: Adyen's descriptions of HTTP status codes, error codes, API
 * idempotency and payment result codes.  Whether an error comes before or after
 * the key is looked up is not documented, so that one that follows an attempt of
 * unknown end proves nothing.
 */
#include "postgres.h"

#include "adapters/adyen/adyen.h"
#include "command/command.h"
#include "gateway/gateway.h"

#define SUCCEEDED PL_OUTCOME_SUCCEEDED
#define PENDING PL_OUTCOME_PENDING
#define REFUSED PL_OUTCOME_REFUSED
#define ACTION_REQUIRED PL_OUTCOME_ACTION_REQUIRED
#define RETRY PL_OUTCOME_RETRY
#define UNKNOWN PL_OUTCOME_UNKNOWN

const PlErrorClass pl_adyen_error_classes[] = {
	{0, NULL, NULL, UNKNOWN, UNKNOWN,
	"not documented as not executed"},

	{400, NULL, NULL, REFUSED, UNKNOWN,
	"cannot be read or lacks a field; not executed"},
	{400, NULL, "702", REFUSED, UNKNOWN,
	"required field missing or of the wrong form; not executed"},
	{422, NULL, NULL, REFUSED, UNKNOWN,
	"fields that make no sense together; not executed"},
	{422, NULL, "14_030", REFUSED, UNKNOWN,
	"no return URL; not executed"},

	{401, NULL, NULL, RETRY, UNKNOWN,
	"API key refused before the request was looked at"},
	{401, NULL, "000", RETRY, UNKNOWN,
	"API key refused before the request was looked at"},
	{403, NULL, NULL, RETRY, UNKNOWN,
	"API key lacks a permission; refused before the request was looked at"},
	{403, NULL, "901", RETRY, UNKNOWN,
	"no permission for the merchant account; refused before the request was looked at"},
	{429, NULL, NULL, RETRY, UNKNOWN,
	"rate limit; refused before the request was looked at"},

	{0, NULL, "703", UNKNOWN, UNKNOWN,
	"what keeps the idempotency keys is not available; the same key is sent again"},
	{0, NULL, "704", UNKNOWN, UNKNOWN,
	"an earlier attempt with this key is being processed or was; the same key is sent again"},
	{0, NULL, "00_500", UNKNOWN, UNKNOWN,
	"internal error or too many requests; indeterminate"},
	{500, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},
	{500, NULL, "905", UNKNOWN, UNKNOWN, "indeterminate"},
	{502, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},
	{503, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},
	{504, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},

	/* results of payments */
	{0, "resultCode", "Authorised", SUCCEEDED, SUCCEEDED,
	"authorized"},
	{0, "resultCode", "Refused", REFUSED, REFUSED,
	"refused by the issuer; no money moved"},
	{0, "resultCode", "Cancelled", REFUSED, REFUSED,
	"cancelled by the shopper; no money moved"},
	{0, "resultCode", "RedirectShopper", ACTION_REQUIRED, ACTION_REQUIRED,
	"the shopper has to go to the bank's page"},
	{0, "resultCode", "IdentifyShopper", ACTION_REQUIRED, ACTION_REQUIRED,
	"the front end has to take the device's fingerprint"},
	{0, "resultCode", "ChallengeShopper", ACTION_REQUIRED, ACTION_REQUIRED,
	"the shopper has to authenticate"},
	{0, "resultCode", "PresentToShopper", ACTION_REQUIRED, ACTION_REQUIRED,
	"the shopper has to pay by a voucher"},
	{0, "resultCode", "Pending", PENDING, PENDING,
	"decided by a webhook"},
	{0, "resultCode", "Received", PENDING, PENDING,
	"decided by a webhook"},
	{0, "resultCode", "Error", UNKNOWN, UNKNOWN,
	"failed on the way; a webhook tells whether the issuer authorized it"},
	{0, "resultCode", "PartiallyAuthorised", UNKNOWN, UNKNOWN,
	"for less than was asked for; never asked for, an operator decides"},
	{0, "resultCode", "AuthenticationFinished", UNKNOWN, UNKNOWN,
	"authentication without payment; never asked for"},
	{0, "resultCode", "AuthenticationNotRequired", UNKNOWN, UNKNOWN,
	"authentication without payment; never asked for"},
	{0, "resultCode", "Success", UNKNOWN, UNKNOWN,
	"not of a payment; never asked for"},

	/* of captures, cancellations and refunds */
	{0, "status", "received", PENDING, PENDING,
	"accepted; decided by a webhook"},
	{0, NULL}
};
