/*
 * src/adapters/adyen/adyen.c
 *		Adapter for Adyen: Checkout API v71, payments with manual capture.
 *
 * Adyen answers an authorization at once or asks for the shopper, and only
 * accepts captures, cancellations and refunds: their results come as webhooks.
 * It has no way to ask for a payment.  What a lost reply said is found out by
 * the same request with the same key, and by the webhooks, which carry our
 * reference.
 */
#include "postgres.h"

#include "adapters/adyen/adyen.h"
#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "utils/json.h"

/*
 * Keys are kept for at least 7 days; one hour less, so that clocks and a slow
 * last attempt do not matter.
 */
#define ADYEN_KEY_WINDOW (7 * 24 * 3600 - 3600)

#define MIN_SHOPPER_REFERENCE 3

static const PlOption adyen_options[] = {
	{"base_url", PL_OPTION_URL, 0, 0, NULL, "https://checkout-test.adyen.com/v71",
	"where Adyen's Checkout API v71 is: https, or http to a loopback literal; a live account has a prefix of its own"},
	{"merchant_account", PL_OPTION_TEXT, 0, 0, NULL, NULL,
	"merchant account that the payments are made with; required", true},
	{"return_url", PL_OPTION_TEXT, 0, 0, NULL, NULL,
	"where the shopper comes back to after an action on the bank's page; required", true},
	{"shopper_interaction", PL_OPTION_CHOICE, 0, 0, "Ecommerce|ContAuth|Moto", NULL,
	"how the shopper's details came; none: ContAuth for a stored token, Ecommerce for details of the front end"},
	{"recurring_processing_model", PL_OPTION_CHOICE, 0, 0, "CardOnFile|Subscription|UnscheduledCardOnFile", "CardOnFile",
	"what stored payment details are used for"},
	{"multicapture", PL_OPTION_BOOL, 0, 0, NULL, "false",
	"whether Adyen has enabled multiple partial captures for the merchant account; else the captures of all sellers are planned onto one"},
	{"keeps_remainder", PL_OPTION_BOOL, 0, 0, NULL, "false",
	"whether Adyen goes on holding what captures leave of an authorization, as it does with multiple partial captures"},
	{NULL}
};

static const char *const adyen_secrets[] = {"api_key", NULL};

/* Adyen's digits after the point, where they differ from ISO 4217 */
const PlExponent pl_adyen_exponents[] = {
	{"CLP", 2}, {"CVE", 0}, {"IDR", 0}, {"ISK", 2}, {NULL}
};

/*
 * What the front end may bring beside the payment method; whatever else it
 * sends is left out.
 */
static const char *const shopper_members[] = {
	"billingAddress", "browserInfo", "channel", "countryCode", "deliveryAddress", "installments", "origin",
	"riskData", "shopperEmail", "shopperIP", "shopperLocale", "shopperName", "storePaymentMethod",
	"telephoneNumber"
};

/* ---- requests ---- */

/* For messages: what of which request, if there is one already. */
static char *
part_of(const PlRequest *request, const char *what)
{
	return request->psp_request_id == 0 ? pstrdup(what)
		: psprintf("%s of psp request " INT64_FORMAT, what, request->psp_request_id);
}

static PlDocument *
parse(const PlRequest *request, const char *what, const char *text)
{
	return pl_require_document(part_of(request, what), text, strlen(text));
}

/* Append what the document has at a path as a member of that name; nothing if it has none. */
static bool
copy_member(StringInfo out, const PlDocument *document, const char *path, const char *name)
{
	char	   *json = pl_document_json(document, path);

	if (json != NULL)
		pl_json_raw(out, name, json);
	return json != NULL;
}

/* Raises 55000: without the payment's reference nothing can be asked for. */
static char *
payment_path(const PlRequest *request, const char *action)
{
	if (request->psp_reference == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("payment " INT64_FORMAT " has no reference of adyen's", request->payment_id)));
	return psprintf("/payments/%s/%s", pl_url_escape(request->psp_reference), action);
}

/* Our reference of the payment's request that has this key. */
static char *
reference_of(const PlRequest *request, const char *idempotency_key)
{
	return psprintf(ADYEN_REFERENCE_FORMAT, request->payment_id, idempotency_key + strlen(PL_KEY_PREFIX));
}

/* What all requests about money begin with. */
static void
begin_body(StringInfo body, const PlGateway *gateway, const PlRequest *request)
{
	initStringInfo(body);
	appendStringInfoChar(body, '{');
	pl_json_text(body, "merchantAccount", pl_option_text(gateway, "merchant_account"));
	pl_json_text(body, "reference", reference_of(request, request->idempotency_key));
	if (request->amount == 0)
		return;
	pl_json_raw(body, "amount", psprintf("{\"currency\":\"%s\",\"value\":" INT64_FORMAT "}", request->currency,
										 pl_amount_to_psp(request->amount, request->currency, pl_adyen_exponents)));
}

static char *
end_body(StringInfo body)
{
	appendStringInfoChar(body, '}');
	return body->data;
}

/*
 * The payment method that the front end's component made, alone or within all
 * that it knows of the shopper.  True if it is a stored one.
 */
static bool
add_front_end_method(StringInfo body, const PlRequest *request)
{
	PlDocument *given = parse(request, "payment method", request->payment_method);
	bool		is_state = copy_member(body, given, "paymentMethod", "paymentMethod");

	if (!is_state)
		copy_member(body, given, "", "paymentMethod");
	for (size_t i = 0; is_state && i < lengthof(shopper_members); i++)
		copy_member(body, given, shopper_members[i], shopper_members[i]);
	return pl_document_text(given, is_state ? "paymentMethod.storedPaymentMethodId" : "storedPaymentMethodId") != NULL ||
		(is_state && pl_document_text(given, "storePaymentMethod") != NULL);
}

static void
add_stored_method(StringInfo body, const PlRequest *request)
{
	StringInfoData method;

	initStringInfo(&method);
	appendStringInfoChar(&method, '{');
	pl_json_text(&method, "type", "scheme");
	pl_json_text(&method, "storedPaymentMethodId", request->payment_method);
	appendStringInfoChar(&method, '}');
	pl_json_raw(body, "paymentMethod", method.data);
}

static char *
build_authorize(const PlGateway *gateway, const PlRequest *request)
{
	PlDocument *parameters = parse(request, "parameters", request->parameters);
	const char *buyer = pl_document_text(parameters, "buyer_id");
	const char *order_id = pl_document_text(parameters, "order_id");
	const char *interaction = pl_option_text(gateway, "shopper_interaction");
	bool		from_front_end = request->payment_method && request->payment_method[0] == '{';
	bool		is_stored = true;
	StringInfoData body;

	if (request->payment_method == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payment " INT64_FORMAT " has no payment method", request->payment_id)));
	begin_body(&body, gateway, request);
	if (from_front_end)
		is_stored = add_front_end_method(&body, request);
	else
		add_stored_method(&body, request);
	pl_json_text(&body, "returnUrl", pl_option_text(gateway, "return_url"));
	pl_json_raw(&body, "additionalData", "{\"manualCapture\":\"true\"}");
	pl_json_text(&body, "shopperInteraction", interaction ? interaction : from_front_end ? "Ecommerce" : "ContAuth");
	if (is_stored)
		pl_json_text(&body, "recurringProcessingModel", pl_option_text(gateway, "recurring_processing_model"));
	if (buyer != NULL && strlen(buyer) >= MIN_SHOPPER_REFERENCE)
		pl_json_text(&body, "shopperReference", buyer);
	if (order_id != NULL)
		pl_json_text(&body, "merchantOrderReference", order_id);
	return end_body(&body);
}

/*
 * What the front end brought back: the details alone, or together with the
 * payment data that some actions hand out.
 */
static char *
build_confirm(const PlRequest *request)
{
	PlDocument *parameters = parse(request, "parameters", request->parameters);
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	if (copy_member(&body, parameters, "details.details", "details"))
		copy_member(&body, parameters, "details.paymentData", "paymentData");
	else if (!copy_member(&body, parameters, "details", "details"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payment " INT64_FORMAT " has no details of the shopper's action", request->payment_id),
				 errhint("Pass them to payledger.confirm_authorization, or wait for the webhook.")));
	return end_body(&body);
}

static char *
build_modification(const PlGateway *gateway, const PlRequest *request)
{
	StringInfoData body;

	begin_body(&body, gateway, request);
	return end_body(&body);
}

/* A payment whose reference no reply has told is cancelled by our own. */
static char *
build_cancel(const PlGateway *gateway, const PlRequest *request, const char **path)
{
	const char *authorized_by = pl_document_text(parse(request, "parameters", request->parameters), "authorized_by");
	StringInfoData body;

	begin_body(&body, gateway, request);
	if (request->psp_reference == NULL && authorized_by != NULL)
	{
		*path = "/cancels";
		pl_json_text(&body, "paymentReference", reference_of(request, authorized_by));
	}
	else
		*path = payment_path(request, "cancels");
	return end_body(&body);
}

static void
adyen_build(const PlGateway *gateway, const PlRequest *request, PlHttpRequest *http)
{
	http->method = PL_HTTP_POST;
	http->content_type = "application/json";
	switch (request->operation)
	{
		case PL_OP_AUTHORIZE:
			http->path = "/payments";
			http->body = build_authorize(gateway, request);
			break;
		case PL_OP_CONFIRM:
			http->path = "/payments/details";
			http->body = build_confirm(request);
			break;
		case PL_OP_CAPTURE:
			http->path = payment_path(request, "captures");
			http->body = build_modification(gateway, request);
			break;
		case PL_OP_CANCEL:
			http->body = build_cancel(gateway, request, &http->path);
			break;
		case PL_OP_REFUND:
			http->path = payment_path(request, "refunds");
			http->body = build_modification(gateway, request);
			break;
		case PL_OP_RETRIEVE:
		case PL_OP_PAYOUT:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("adapter adyen knows no operation %s", pl_operation_name(request->operation))));
	}
}

static List *
adyen_headers(const PlGateway *gateway, const PlRequest *request, const PlHttpRequest *http)
{
	return list_make2(pl_secret_line(gateway, "X-API-Key: ", "api_key"),
					  psprintf("Idempotency-Key: %s", request->idempotency_key));
}

/* ---- replies ---- */

/*
 * An authorization of another amount than was asked for is none that we know
 * what to do with, nor is one of an amount that is no whole one.  A reply need
 * not have any.
 */
static bool
amount_differs(const PlRequest *request, const PlDocument *document)
{
	int64		value;

	if (pl_document_json(document, "amount") == NULL)
		return false;
	return !pl_is_text(pl_document_text(document, "amount.currency"), request->currency) ||
		!pl_document_int64(document, "amount.value", &value) ||
		value != pl_amount_to_psp(request->amount, request->currency, pl_adyen_exponents);
}

/*
 * An authorization, or what came of the shopper's action.  What it does not
 * say for certain stays UNKNOWN with the result as code.
 */
static void
interpret_payment(const PlRequest *request, const PlDocument *document, PlOutcome *outcome)
{
	const char *result = pl_document_text(document, "resultCode");

	outcome->psp_reference = pl_document_text(document, "pspReference");
	outcome->code = result ? result : "unexpected_reply";
	if (result == NULL)
		return;
	outcome->class = pl_classify_state(&pl_adyen_adapter, "resultCode", result);
	switch (outcome->class)
	{
		case PL_OUTCOME_SUCCEEDED:
			if (outcome->psp_reference == NULL || amount_differs(request, document))
			{
				outcome->class = PL_OUTCOME_UNKNOWN;
				outcome->code = "unexpected_reply";
			}
			break;
		case PL_OUTCOME_ACTION_REQUIRED:
			outcome->next_action = pl_document_raw(document, "action");
			if (outcome->next_action == NULL)
			{
				outcome->class = PL_OUTCOME_UNKNOWN;
				outcome->code = "unexpected_reply";
			}
			break;
		case PL_OUTCOME_REFUSED:
			outcome->message = pl_document_text(document, "refusalReason");
			if (pl_document_text(document, "refusalReasonCode") != NULL)
				outcome->code = pl_document_text(document, "refusalReasonCode");
			break;
		default:
			outcome->message = pl_document_text(document, "refusalReason");
			break;
	}
}

/*
 * Does the reply name another payment, or request, than this one?  Replies can
 * be mixed up on their way to us, and another's says nothing about this one.
 */
static bool
names_another(const PlRequest *request, const char *reference, PlOutcome *outcome)
{
	char	   *ours = reference_of(request, request->idempotency_key);
	size_t		compared = strlen(ours) + 1;

	/* the reply to a confirmation names the request that authorized */
	if (request->operation == PL_OP_CONFIRM)
		compared = strlen(psprintf(ADYEN_REFERENCE_FORMAT, request->payment_id, ""));
	if (reference == NULL || strncmp(reference, ours, compared) == 0)
		return false;
	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->code = "another_object";
	outcome->message = "the reply names another request";
	outcome->psp_reference = NULL;
	return true;
}

/* A capture, cancellation or refund: what becomes of it is told by a webhook. */
static void
interpret_modification(const PlRequest *request, const PlDocument *document, PlOutcome *outcome)
{
	const char *status = pl_document_text(document, "status");

	if (names_another(request, pl_document_text(document, "reference"), outcome))
		return;

	outcome->psp_reference = pl_document_text(document, "pspReference");
	outcome->code = status ? status : "unexpected_reply";
	if (status != NULL && outcome->psp_reference != NULL)
		outcome->class = pl_classify_state(&pl_adyen_adapter, "status", status);
}

/*
 * The header tells that the same request may succeed later: whether something
 * was executed it does not tell.
 */
static void
interpret_error(const PlRequest *request, const PlHttpReply *reply, const PlDocument *document, PlOutcome *outcome)
{
	const char *code = pl_document_text(document, "errorCode");
	char	   *transient = pl_http_header(reply, "transient-error");

	outcome->code = code ? code : psprintf("http_%d", reply->status);
	outcome->message = pl_document_text(document, "message");
	outcome->class = pl_classify_error(&pl_adyen_adapter, reply, pl_document_text(document, "errorType"), code);
	if (outcome->class == PL_OUTCOME_REFUSED && transient != NULL && pg_strcasecmp(transient, "true") == 0)
		outcome->class = PL_OUTCOME_UNKNOWN;

	/* details that are not understood decide nothing: the shopper may act again */
	if (outcome->class == PL_OUTCOME_REFUSED && request->operation == PL_OP_CONFIRM)
		outcome->class = PL_OUTCOME_ACTION_REQUIRED;
}

static void
adyen_interpret(const PlRequest *request, const PlHttpReply *reply, PlOutcome *outcome)
{
	const char *problem;
	PlDocument *document = pl_document(reply->body, reply->body_length, &problem);

	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->retry_after_ms = pl_http_retry_after_ms(reply);
	if (document == NULL)
	{
		outcome->code = reply->status >= 400 ? psprintf("http_%d", reply->status) : "garbage_reply";
		outcome->message = psprintf("reply of status %d is %s", reply->status, problem);
	}
	else if (reply->status < 200 || reply->status >= 300)
		interpret_error(request, reply, document, outcome);
	else if (request->operation == PL_OP_AUTHORIZE || request->operation == PL_OP_CONFIRM)
	{
		if (!names_another(request, pl_document_text(document, "merchantReference"), outcome))
			interpret_payment(request, document, outcome);
	}
	else
		interpret_modification(request, document, outcome);
}

const PlAdapter pl_adyen_adapter = {
	.name = "adyen",
	.api_version = "v71",
	.options = adyen_options,
	.secrets = adyen_secrets,
	.error_classes = pl_adyen_error_classes,
	.key_window = ADYEN_KEY_WINDOW,
	.needs_reference = true,
	.build = adyen_build,
	.headers = adyen_headers,
	.interpret = adyen_interpret,
	.verify_webhook = pl_adyen_verify_webhook,
	.split_webhook = pl_adyen_split_webhook,
	.name_event = pl_adyen_name_event,
	.read_event = pl_adyen_read_event
};
