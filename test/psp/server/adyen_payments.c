/*-------------------------------------------------------------------------
 *
 * adyen_payments.c
 *		POST /payments and POST /payments/details.
 *
 * A refusal is an answer like any other: 200 with its resultCode. While the
 * shopper has something to do the reply has no pspReference yet.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

#define REDIRECT_URL \
	"https://checkoutshopper-test.adyen.com/checkoutshopper/" \
	"checkoutPaymentRedirect?redirectData=%s"
#define LONGEST_RETURN_URL 8000
#define LONGEST_RESULT 20000
#define MAX_METADATA 20
#define LONGEST_METADATA_KEY 20
#define LONGEST_METADATA_VALUE 80
#define SHORTEST_SHOPPER 3

static const char *const payment_fields[] = {
	"accountInfo", "additionalAmount", "additionalData", "amount",
	"applicationInfo", "authenticationData", "bankAccount", "billingAddress",
	"browserInfo", "captureDelayHours", "channel", "checkoutAttemptId",
	"company", "conversionId", "countryCode", "dateOfBirth", "dccQuote",
	"deliverAt", "deliveryAddress", "deliveryDate", "deviceFingerprint",
	"enableOneClick", "enablePayOut", "enableRecurring", "enhancedSchemeData",
	"entityType", "fraudOffset", "fundOrigin", "fundRecipient",
	"industryUsage", "installments", "lineItems", "localizedShopperStatement",
	"mandate", "mcc", "merchantAccount", "merchantOrderReference",
	"merchantRiskIndicator", "metadata", "mpiData", "order", "orderReference",
	"origin", "paymentMethod", "paymentValidations", "platformChargebackLogic",
	"recurringExpiry", "recurringFrequency", "recurringProcessingModel",
	"redirectFromIssuerMethod", "redirectToIssuerMethod", "reference",
	"returnUrl", "riskData", "sessionValidity", "shopperConversionId",
	"shopperEmail", "shopperIP", "shopperInteraction", "shopperLocale",
	"shopperName", "shopperReference", "shopperStatement", "shopperTaxInfo",
	"socialSecurityNumber", "splits", "store", "storePaymentMethod",
	"subMerchants", "surcharge", "telephoneNumber", "threeDS2RequestData",
	"threeDSAuthenticationOnly", "trustedShopper", NULL
};
static const char *const details_fields[] = {
	"authenticationData", "details", "paymentData",
	"threeDSAuthenticationOnly", NULL
};
static const char *const channels[] = {"iOS", "Android", "Web", NULL};
static const char *const interactions[] = {
	"Ecommerce", "ContAuth", "Moto", "POS", NULL
};
static const char *const processing_models[] = {
	"CardOnFile", "Subscription", "UnscheduledCardOnFile", NULL
};

/* Fields of POST /payments, read and checked. */
typedef struct PaymentWishes
{
	AdyenAmount amount;
	const char *merchant;
	const char *reference;
	const char *return_url;
	const AdyenMethod *method;
} PaymentWishes;

/* Finds the payment method, or replies why there is none. */
static bool
read_method(Request *req, const AdyenMethod **method)
{
	static const char *const places[] = {
		"storedPaymentMethodId", "encryptedCardNumber", "encryptedCard",
		"type"
	};
	json_t	   *field = json_object_get(req->json, "paymentMethod");

	if (field == NULL)
	{
		adyen_invalid(req, "14_004", "Missing payment method details");
		return false;
	}
	if (json_object_get(field, "number") != NULL)
	{
		adyen_invalid(req, "5_002", "Card data has to be encrypted");
		return false;
	}
	for (size_t i = 0; i < lengthof(places); i++)
	{
		const char *name =
			json_string_value(json_object_get(field, places[i]));

		if (name == NULL)
			continue;
		*method = adyen_method_find(name);
		if (*method != NULL)
			return true;
		break;
	}
	adyen_invalid(req, "803", "PaymentDetail not found");
	return false;
}

/* Checks the metadata: texts, not too many and not too long. */
static bool
check_metadata(Request *req)
{
	json_t	   *metadata = json_object_get(req->json, "metadata");
	const char *name;
	json_t	   *value;

	if (metadata != NULL && !json_is_object(metadata))
	{
		adyen_unreadable(req, "Field 'metadata' is not an object");
		return false;
	}
	json_object_foreach(metadata, name, value)
		if (!json_is_string(value))
		{
			adyen_unreadable(req, "Field 'metadata.%.80s' is not a text",
							 name);
			return false;
		}
		else if (strlen(name) > LONGEST_METADATA_KEY ||
				 strlen(json_string_value(value)) > LONGEST_METADATA_VALUE ||
				 json_object_size(metadata) > MAX_METADATA)
		{
			adyen_invalid(req, "177", "Metadata size exceeds limit");
			return false;
		}
	return true;
}

/* Checks the shopper's reference, if it was given. */
static bool
check_shopper(Request *req)
{
	const char *shopper;

	if (!field_text(req, "shopperReference", 256, &shopper))
		return false;
	if (shopper == NULL || strlen(shopper) >= SHORTEST_SHOPPER)
		return true;
	adyen_invalid(req, "702", "Field 'shopperReference' is shorter than %d "
				  "characters", SHORTEST_SHOPPER);
	return false;
}

/* Reads POST /payments. */
static bool
read_payment(Request *req, PaymentWishes *wishes)
{
	if (!field_names(req, "PaymentRequest", payment_fields) ||
		!field_merchant(req, &wishes->merchant) ||
		!field_amount(req, 0, &wishes->amount) ||
		!field_text(req, "reference", LONGEST_REFERENCE, &wishes->reference) ||
		!field_text(req, "returnUrl", LONGEST_RETURN_URL,
					&wishes->return_url) ||
		!check_shopper(req) ||
		!field_choice(req, "channel", channels) ||
		!field_choice(req, "shopperInteraction", interactions) ||
		!field_choice(req, "recurringProcessingModel", processing_models) ||
		!check_metadata(req) || !field_splits(req, &wishes->amount))
		return false;
	if (wishes->reference == NULL || wishes->reference[0] == '\0')
	{
		adyen_invalid(req, "130", "Required field 'reference' is not "
					  "provided.");
		return false;
	}
	if (wishes->return_url == NULL)
	{
		adyen_invalid(req, "14_030", "Return URL is missing.");
		return false;
	}
	return read_method(req, &wishes->method);
}

/* Writes the amount of a payment. */
static void
put_amount(StrBuf *buf, const AdyenPayment *payment)
{
	jw_object(buf, "amount");
	jw_string(buf, "currency", payment->currency);
	jw_int(buf, "value", payment->amount);
	jw_end_object(buf);
}

/* Writes what the shopper has to do. */
static void
put_action(StrBuf *buf, const AdyenPayment *payment)
{
	char		url[256];

	jw_object(buf, "action");
	jw_string(buf, "paymentMethodType", "scheme");
	if (payment->result == ADYEN_REDIRECT)
	{
		snprintf(url, sizeof(url), REDIRECT_URL, payment->token);
		jw_string(buf, "method", "GET");
		jw_string(buf, "type", "redirect");
		jw_string(buf, "url", url);
	}
	else
	{
		jw_string(buf, "authorisationToken", payment->token);
		jw_string(buf, "paymentData", payment->token);
		jw_string(buf, "subtype", payment->result == ADYEN_IDENTIFY ?
				  "fingerprint" : "challenge");
		jw_string(buf, "token", payment->token);
		jw_string(buf, "type", "threeDS2");
	}
	jw_end_object(buf);
}

/* Replies with what the payment has come to. */
static void
reply_payment(Request *req, const AdyenPayment *payment, const char *reason,
			  const char *reason_code)
{
	StrBuf		buf = {0};

	jw_object(&buf, NULL);
	if (payment->status == PAYMENT_ACTION)
		put_action(&buf, payment);
	else
	{
		jw_string(&buf, "pspReference", payment->psp);
		put_amount(&buf, payment);
		jw_string(&buf, "merchantReference", payment->reference);
		jw_object(&buf, "paymentMethod");
		jw_string(&buf, "brand", "visa");
		jw_string(&buf, "type", "scheme");
		jw_end_object(&buf);
	}
	jw_string(&buf, "resultCode", adyen_result_name(payment->result));
	if (reason != NULL)
	{
		jw_string(&buf, "refusalReason", reason);
		jw_string(&buf, "refusalReasonCode", reason_code);
	}
	jw_end_object(&buf);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/*
 * The payment comes to a result, by a request or, with req NULL, because the
 * bank decided. What is final is told by a webhook as well.
 */
void
adyen_decide(const Request *req, AdyenPayment *payment, AdyenResult result,
			 const char *reason)
{
	bool		details = req != NULL && req->route->operation == OP_DETAILS;
	Execution  *execution =
		history_add(&payment->history, req == NULL ? "decision" :
					details ? "details" : "authorize", payment->amount,
					req == NULL ? NULL : req->key, req == NULL ? "" : req->id);

	execution->reference = xstrdup(payment->reference);
	snprintf(execution->object, sizeof(execution->object), "%s",
			 payment->psp);
	payment->result = result;
	switch (result)
	{
		case ADYEN_AUTHORISED:
			payment->status = PAYMENT_AUTHORISED;
			payment->authorized = true;
			notice_authorisation(payment, true, NULL);
			break;
		case ADYEN_PENDING:
		case ADYEN_RECEIVED:
			payment->status = PAYMENT_PENDING;
			execution->outcome = "pending";
			break;
		case ADYEN_REDIRECT:
		case ADYEN_IDENTIFY:
		case ADYEN_CHALLENGE:
			payment->status = PAYMENT_ACTION;
			execution->outcome = "requires_action";
			break;
		default:
			payment->status = result == ADYEN_ERROR ? PAYMENT_ERROR :
				PAYMENT_REFUSED;
			execution->outcome = result == ADYEN_ERROR ? "error" : "declined";
			notice_authorisation(payment, false, reason);
			break;
	}
}

/* Is it a result that has a reason? */
static bool
has_reason(AdyenResult result)
{
	return result == ADYEN_REFUSED || result == ADYEN_CANCELLED ||
		result == ADYEN_ERROR;
}

/* POST /payments */
void
adyen_pay(Request *req)
{
	PaymentWishes wishes = {0};
	const AdyenMethod *method;
	AdyenPayment *payment;
	const char *name;
	json_t	   *value;

	if (!read_payment(req, &wishes))
		return;
	req->executed = true;

	method = wishes.method;
	payment = adyen_new_payment();
	payment->method = method;
	payment->amount = wishes.amount.value;
	memcpy(payment->currency, wishes.amount.currency,
		   sizeof(payment->currency));
	payment->merchant = xstrdup(wishes.merchant);
	payment->reference = xstrdup(wishes.reference);
	adyen_index_reference(payment);
	json_object_foreach(json_object_get(req->json, "metadata"), name, value)
		form_add(&payment->metadata, name, json_string_value(value));
	adyen_decide(req, payment, method->result, method->reason);
	if (has_reason(method->result))
		reply_payment(req, payment, method->reason, method->reason_code);
	else
		reply_payment(req, payment, NULL, NULL);
}

/* Finds the payment that the shopper brings back, or replies. */
static AdyenPayment *
find_details(Request *req)
{
	static const char *const places[] = {
		"redirectResult", "threeDSResult", "threeds2.fingerprint",
		"threeds2.challengeResult", "payload"
	};
	json_t	   *details = json_object_get(req->json, "details");
	AdyenPayment *payment = NULL;

	if (!json_is_object(details))
	{
		adyen_invalid(req, "14_006", "Required object 'details' is not "
					  "provided.");
		return NULL;
	}
	for (size_t i = 0; i < lengthof(places) && payment == NULL; i++)
	{
		const char *token =
			json_string_value(json_object_get(details, places[i]));

		if (token != NULL && strlen(token) <= LONGEST_RESULT)
			payment = adyen_payment_by_token(token);
	}
	if (payment == NULL)
		adyen_invalid(req, "14_018", "Invalid payload provided");
	return payment;
}

/*
 * POST /payments/details: goes one step on. A payment that has its result
 * already answers with that again.
 */
void
adyen_details(Request *req)
{
	const char *reason = NULL;
	const char *reason_code = NULL;
	const AdyenMethod *method;
	AdyenPayment *payment;
	AdyenResult result;

	if (!field_names(req, "PaymentDetailsRequest", details_fields))
		return;
	payment = find_details(req);
	if (payment == NULL)
		return;
	req->executed = true;

	method = payment->method;
	result = payment->result == method->then ? ADYEN_AUTHORISED :
		method->then;
	if (has_reason(result))
	{
		reason = method->reason;
		reason_code = method->reason_code;
	}
	if (payment->shopper_failed)
	{
		result = ADYEN_REFUSED;
		reason = "3D Not Authenticated";
		reason_code = "11";
	}
	if (payment->status == PAYMENT_ACTION)
		adyen_decide(req, payment, result, reason);
	reply_payment(req, payment, has_reason(payment->result) ? reason : NULL,
				  reason_code);
}
