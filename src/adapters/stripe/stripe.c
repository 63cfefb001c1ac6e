/*
 * src/adapters/stripe/stripe.c
 *		Adapter for Stripe: PaymentIntents with manual capture, refunds, and
 *		transfers to sellers' connected accounts.  Here what it sends.
 *
 * One PaymentIntent for each payment intent of ours, captured by one request or
 * by several (multicapture).  Every capture leaves a mark in the
 * PaymentIntent's metadata in the same step, and every refund carries one, so
 * that one of unknown outcome can be looked up.
 */
#include "postgres.h"

#include "adapters/stripe/stripe.h"
#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "http/http.h"

/* the version whose parameters and statuses this file speaks */
#define STRIPE_VERSION "2026-08-26.dahlia"

/*
 * Keys may be removed once they are at least 24 hours old; one hour less, so
 * that clocks and a slow last attempt do not matter.
 */
#define STRIPE_KEY_WINDOW (23 * 3600)

#define FORM "application/x-www-form-urlencoded"

static const PlOption stripe_options[] = {
	{"base_url", PL_OPTION_URL, 0, 0, NULL, "https://api.stripe.com",
	"where Stripe's API is: https, or http to a loopback literal"},
	{"stripe_account", PL_OPTION_TEXT, 0, 0, NULL, NULL,
	"connected account to act for (Stripe-Account header)"},
	{"payment_method_types", PL_OPTION_TEXT, 0, 0, NULL, "card",
	"payment method types to accept, parted by commas"},
	{"return_url", PL_OPTION_TEXT, 0, 0, NULL, NULL,
	"where the shopper comes back to after an action on the bank's page"},
	{"multicapture", PL_OPTION_BOOL, 0, 0, NULL, "true",
	"ask for several captures on one authorization; needed for orders of several sellers"},
	{"backfill_seconds", PL_OPTION_INT, 0, 86400, NULL, "300",
	"seconds between readings of Stripe's list of events, for webhooks that got lost; 0: never"},
	{"rate_per_second", PL_OPTION_NUMBER, 0, 10000, NULL, "100",
	"requests sent in a second, by default what Stripe allows a live account; 0: no limit"},
	{"endpoint_rate_per_second", PL_OPTION_NUMBER, 0, 10000, NULL, "25",
	"requests of one kind of operation sent in a second, by default what Stripe allows an endpoint; 0: no limit"},
	{NULL}
};

static const char *const stripe_secrets[] = {"api_key", NULL};

/* Stripe's digits after the point, where they differ from ISO 4217 */
const PlExponent pl_stripe_exponents[] = {
	{"ISK", 2}, {"UGX", 2}, {"MGA", 0}, {NULL}
};

/* The request's amount in the unit of Stripe's. */
int64
pl_stripe_amount(const PlRequest *request)
{
	return pl_amount_to_psp(request->amount, request->currency, pl_stripe_exponents);
}

/*
 * The request's parameters; they were written by us.  Raises 22P02 if they
 * cannot be read.
 */
PlDocument *
pl_stripe_parameters(const PlRequest *request)
{
	const char *text = request->parameters ? request->parameters : "{}";

	return pl_require_document(psprintf("parameters of psp request " INT64_FORMAT, request->psp_request_id),
							   text, strlen(text));
}

/* Stripe's id of the payment, fit for a path; without one there is nothing to ask for. */
static char *
payment_reference(const PlRequest *request)
{
	if (request->psp_reference == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("payment " INT64_FORMAT " has no id of stripe's", request->payment_id)));
	return pl_url_escape(request->psp_reference);
}

static char *
intent_path(const PlRequest *request, const char *action)
{
	return psprintf("/v1/payment_intents/%s%s", payment_reference(request), action);
}

static void
add_currency(StringInfo form, const PlRequest *request)
{
	char	   *currency = pstrdup(request->currency);

	for (char *p = currency; *p; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	pl_form_add(form, "currency", currency);
}

static void
require_payment_method(const PlRequest *request)
{
	if (request->payment_method == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payment " INT64_FORMAT " has no payment method", request->payment_id)));
}

static char *
build_authorize(const PlGateway *gateway, const PlRequest *request)
{
	PlDocument *parameters = pl_stripe_parameters(request);
	const char *return_url = pl_option_text(gateway, "return_url");
	const char *order_id = pl_document_text(parameters, "order_id");
	char	   *types = pstrdup(pl_option_text(gateway, "payment_method_types"));
	char	   *rest;
	StringInfoData form;

	require_payment_method(request);
	initStringInfo(&form);
	pl_form_add_int64(&form, "amount", pl_stripe_amount(request));
	add_currency(&form, request);
	pl_form_add(&form, "capture_method", "manual");
	pl_form_add(&form, "confirm", "true");
	pl_form_add(&form, "payment_method", request->payment_method);
	for (char *type = strtok_r(types, ", ", &rest); type != NULL; type = strtok_r(NULL, ", ", &rest))
		pl_form_add(&form, "payment_method_types[]", type);
	if (pl_option_bool(gateway, "multicapture"))
		pl_form_add(&form, "payment_method_options[card][request_multicapture]", "if_available");
	if (return_url != NULL)
		pl_form_add(&form, "return_url", return_url);
	pl_form_add_int64(&form, "metadata[" STRIPE_PAYMENT_MARK "]", request->payment_id);
	pl_form_add(&form, "metadata[" STRIPE_REQUEST_MARK "]", request->idempotency_key);
	if (order_id != NULL)
		pl_form_add(&form, "metadata[" STRIPE_ORDER_MARK "]", order_id);
	return form.data;
}

static char *
build_capture(const PlGateway *gateway, const PlRequest *request)
{
	PlDocument *parameters = pl_stripe_parameters(request);
	const char *final = pl_document_text(parameters, "final");
	StringInfoData form;

	initStringInfo(&form);
	pl_form_add_int64(&form, "amount_to_capture", pl_stripe_amount(request));
	if (pl_option_bool(gateway, "multicapture"))
		pl_form_add(&form, "final_capture",
					final != NULL && strcmp(final, "true") == 0 ? "true" : "false");
	pl_form_add_int64(&form, psprintf("metadata[" STRIPE_CAPTURE_MARK INT64_FORMAT "]", request->psp_request_id),
					  request->amount);
	return form.data;
}

/* An intent that the shopper left, or an authorization that is not needed. */
static char *
build_cancel(const PlRequest *request)
{
	StringInfoData form;
	bool		was_left = pl_document_text(pl_stripe_parameters(request), "authorized_by") != NULL;

	initStringInfo(&form);
	pl_form_add(&form, "cancellation_reason", was_left ? "abandoned" : "requested_by_customer");
	return form.data;
}

static char *
build_refund(const PlRequest *request)
{
	StringInfoData form;

	(void) payment_reference(request);
	initStringInfo(&form);
	pl_form_add(&form, "payment_intent", request->psp_reference);
	pl_form_add_int64(&form, "amount", pl_stripe_amount(request));
	pl_form_add_int64(&form, "metadata[" STRIPE_PAYMENT_MARK "]", request->payment_id);
	pl_form_add_int64(&form, "metadata[" STRIPE_REFUND_MARK "]", request->target);
	pl_form_add(&form, "metadata[" STRIPE_REQUEST_MARK "]", request->idempotency_key);
	return form.data;
}

/* A payout is a transfer to the seller's connected account. */
static char *
build_payout(const PlRequest *request)
{
	StringInfoData form;

	require_payment_method(request);
	initStringInfo(&form);
	pl_form_add_int64(&form, "amount", pl_stripe_amount(request));
	add_currency(&form, request);
	pl_form_add(&form, "destination", request->payment_method);
	pl_form_add(&form, "transfer_group", psprintf(STRIPE_PAYOUT_GROUP, request->target));
	pl_form_add_int64(&form, "metadata[" STRIPE_PAYOUT_MARK "]", request->target);
	pl_form_add(&form, "metadata[" STRIPE_REQUEST_MARK "]", request->idempotency_key);
	return form.data;
}

static void
ask(PlHttpRequest *http, char *path)
{
	memset(http, 0, sizeof(PlHttpRequest));
	http->method = PL_HTTP_GET;
	http->path = path;
}

static void
build_retrieve(const PlRequest *request, PlHttpRequest *http)
{
	switch (request->followed)
	{
		case PL_OP_REFUND:
			ask(http, psprintf("/v1/refunds/%s", payment_reference(request)));
			break;
		case PL_OP_PAYOUT:
			ask(http, psprintf("/v1/transfers/%s", payment_reference(request)));
			break;
		default:
			if (pl_stripe_confirms(request))
			{
				http->path = intent_path(request, "/confirm");
				http->body = "";
			}
			else
				ask(http, intent_path(request, ""));
			break;
	}
}

static void
stripe_build(const PlGateway *gateway, const PlRequest *request, PlHttpRequest *http)
{
	http->method = PL_HTTP_POST;
	http->content_type = FORM;
	switch (request->operation)
	{
		case PL_OP_AUTHORIZE:
			http->path = "/v1/payment_intents";
			http->body = build_authorize(gateway, request);
			break;
		case PL_OP_CAPTURE:
			http->path = intent_path(request, "/capture");
			http->body = build_capture(gateway, request);
			break;
		case PL_OP_CANCEL:
			http->path = intent_path(request, "/cancel");
			http->body = build_cancel(request);
			break;
		case PL_OP_REFUND:
			http->path = "/v1/refunds";
			http->body = build_refund(request);
			break;
		case PL_OP_PAYOUT:
			http->path = "/v1/transfers";
			http->body = build_payout(request);
			break;
		case PL_OP_RETRIEVE:
			build_retrieve(request, http);
			break;
		case PL_OP_CONFIRM:
			/* the shopper's action has confirmed it, as a rule; see what came of it */
			ask(http, intent_path(request, ""));
			break;
	}
}

/*
 * Ask for the PaymentIntent, by its id or by our mark on it; for a refund, for
 * those of its PaymentIntent; for a payout, for its group.  A question needs no
 * question.
 */
static bool
stripe_query(const PlGateway *gateway, const PlRequest *request, PlHttpRequest *http)
{
	switch (request->operation)
	{
		case PL_OP_RETRIEVE:
			if (!pl_stripe_confirms(request))
				return false;
			break;
		case PL_OP_REFUND:
			ask(http, psprintf("/v1/refunds?payment_intent=%s&limit=%d", payment_reference(request), STRIPE_LISTED));
			return true;
		case PL_OP_PAYOUT:
			ask(http, psprintf("/v1/transfers?transfer_group=%s&limit=%d",
							   pl_url_escape(psprintf(STRIPE_PAYOUT_GROUP, request->target)), STRIPE_LISTED));
			return true;
		default:
			break;
	}
	if (request->psp_reference != NULL)
		ask(http, intent_path(request, ""));
	else
		ask(http, psprintf("/v1/payment_intents/search?query=%s",
						   pl_url_escape(psprintf("metadata['" STRIPE_PAYMENT_MARK "']:'" INT64_FORMAT
												  "' AND metadata['" STRIPE_REQUEST_MARK "']:'%s'",
												  request->payment_id, request->idempotency_key))));
	return true;
}

static List *
stripe_headers(const PlGateway *gateway, const PlRequest *request, const PlHttpRequest *http)
{
	List	   *headers = NIL;
	const char *account = pl_option_text(gateway, "stripe_account");

	headers = lappend(headers, pl_secret_line(gateway, "Authorization: Bearer ", "api_key"));
	if (http->method == PL_HTTP_POST)
		headers = lappend(headers, psprintf("Idempotency-Key: %s", request->idempotency_key));
	headers = lappend(headers, pstrdup("Stripe-Version: " STRIPE_VERSION));
	if (account != NULL)
		headers = lappend(headers, psprintf("Stripe-Account: %s", account));
	return headers;
}

const PlAdapter pl_stripe_adapter = {
	.name = "stripe",
	.api_version = STRIPE_VERSION,
	.options = stripe_options,
	.secrets = stripe_secrets,
	.error_classes = pl_stripe_error_classes,
	.key_window = STRIPE_KEY_WINDOW,
	.needs_reference = true,
	.pays_out = true,
	.build = stripe_build,
	.query = stripe_query,
	.headers = stripe_headers,
	.interpret = pl_stripe_interpret,
	.verify_webhook = pl_stripe_verify_webhook,
	.split_webhook = pl_stripe_split_webhook,
	.name_event = pl_stripe_name_event,
	.hidden_member = "client_secret",	/* with it and the publishable key one can act on the PaymentIntent */
	.read_event = pl_stripe_read_event,
	.list_events = pl_stripe_list_events,
	.read_events = pl_stripe_read_events
};
