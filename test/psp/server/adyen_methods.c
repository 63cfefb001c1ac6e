/*-------------------------------------------------------------------------
 *
 * adyen_methods.c
 *		Test payment methods and what each of them does.
 *
 * A request names one as storedPaymentMethodId, or in place of the encrypted
 * card (encryptedCardNumber, encryptedCard). Any other name that begins with
 * "authorised_" is a card that works.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

#define WORKS "authorised"

static const char *const result_names[ADYEN_RESULTS] = {
	"Authorised", "Refused", "Cancelled", "Error", "Pending", "Received",
	"RedirectShopper", "IdentifyShopper", "ChallengeShopper",
};

static const AdyenMethod methods[] = {
	{.name = WORKS, .result = ADYEN_AUTHORISED},
	{.name = "refused", .result = ADYEN_REFUSED,
	.reason = "Refused", .reason_code = "2"},
	{.name = "refused_balance", .result = ADYEN_REFUSED,
	.reason = "Not enough balance", .reason_code = "12"},
	{.name = "refused_expired", .result = ADYEN_REFUSED,
	.reason = "Expired Card", .reason_code = "6"},
	{.name = "refused_fraud", .result = ADYEN_REFUSED,
	.reason = "FRAUD", .reason_code = "20"},
	{.name = "error", .result = ADYEN_ERROR,
	.reason = "Acquirer Error", .reason_code = "4"},
	{.name = "redirect", .result = ADYEN_REDIRECT, .then = ADYEN_AUTHORISED},
	{.name = "redirect_refused", .result = ADYEN_REDIRECT,
		.then = ADYEN_REFUSED,
	.reason = "3D Not Authenticated", .reason_code = "11"},
	{.name = "redirect_cancelled", .result = ADYEN_REDIRECT,
		.then = ADYEN_CANCELLED,
	.reason = "Shopper Cancelled", .reason_code = "16"},
	{.name = "redirect_pending", .result = ADYEN_REDIRECT,
	.then = ADYEN_PENDING},
	{.name = "identify", .result = ADYEN_IDENTIFY, .then = ADYEN_CHALLENGE},
	{.name = "challenge", .result = ADYEN_CHALLENGE,
	.then = ADYEN_AUTHORISED},
	{.name = "pending", .result = ADYEN_PENDING},
	{.name = "received", .result = ADYEN_RECEIVED},
	{.name = "capture_fails", .capture = FATE_FAILS},
	{.name = "capture_fails_later", .capture = FATE_FAILS_LATER},
	{.name = "capture_waits", .capture = FATE_WAITS},
	{.name = "cancel_fails", .cancel = FATE_FAILS},
	{.name = "cancel_waits", .cancel = FATE_WAITS},
	{.name = "refund_fails", .refund = FATE_FAILS},
	{.name = "refund_fails_later", .refund = FATE_FAILS_LATER},
	{.name = "refund_reversed", .refund = FATE_REVERSED},
	{.name = "refund_waits", .refund = FATE_WAITS},
	{.name = "waits", .capture = FATE_WAITS, .cancel = FATE_WAITS,
	.refund = FATE_WAITS},
};

/* Returns what a payment method does, NULL if there is no such method. */
const AdyenMethod *
adyen_method_find(const char *name)
{
	for (size_t i = 0; i < lengthof(methods); i++)
		if (strcmp(name, methods[i].name) == 0)
			return &methods[i];
	if (strncmp(name, WORKS "_", strlen(WORKS "_")) == 0)
		return &methods[0];
	return NULL;
}

/* The resultCode. */
const char *
adyen_result_name(AdyenResult result)
{
	return result_names[result];
}
