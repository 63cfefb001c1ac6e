/*
 * src/psp/stripe.c
 *		Adapter for Stripe: PaymentIntents with manual capture.
 *
 * One PaymentIntent for each payment intent of ours, captured by one request or
 * by several (multicapture).  Every capture leaves a mark in the
 * PaymentIntent's metadata in the same step, and every refund carries one, so
 * that one of unknown outcome can be looked up.
 */
#include "postgres.h"

#include "psp/stripe.h"
#include "utils/builtins.h"

/* the version whose parameters and statuses this file speaks */
#define STRIPE_VERSION "2026-08-26.dahlia"

/*
 * Keys may be removed once they are at least 24 hours old; one hour less, so
 * that clocks and a slow last attempt do not matter.
 */
#define STRIPE_KEY_WINDOW (23 * 3600)

#define FORM "application/x-www-form-urlencoded"

/* refunds of one PaymentIntent that a question returns, Stripe's maximum */
#define LISTED_REFUNDS 100

/* pause before something that is still being processed is asked for */
#define RECHECK_MS (60 * 1000)

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

static int64
stripe_amount(const PlRequest *request)
{
	return pl_amount_to_psp(request->amount, request->currency, pl_stripe_exponents);
}

/* The request's parameters; they were written by us. */
static PlDocument *
parameters_of(const PlRequest *request)
{
	const char *text = request->parameters ? request->parameters : "{}";
	const char *problem;
	PlDocument *document = pl_document(text, strlen(text), &problem);

	if (document == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("parameters of psp request " INT64_FORMAT " cannot be read: %s",
						request->psp_request_id, problem)));
	return document;
}

/* Path of the PaymentIntent; without a reference there is none. */
static char *
intent_path(const PlRequest *request, const char *action)
{
	if (request->psp_reference == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("psp request " INT64_FORMAT " needs stripe's id of the payment",
						request->psp_request_id)));
	return psprintf("/v1/payment_intents/%s%s", pl_url_escape(request->psp_reference), action);
}

static char *
build_authorize(const PlGateway *gateway, const PlRequest *request)
{
	PlDocument *parameters = parameters_of(request);
	const char *return_url = pl_option_text(gateway, "return_url");
	const char *order_id = pl_document_text(parameters, "order_id");
	char	   *types = pstrdup(pl_option_text(gateway, "payment_method_types"));
	char	   *currency = pstrdup(request->currency);
	StringInfoData form;

	if (request->payment_method == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp request " INT64_FORMAT " has no payment method",
						request->psp_request_id)));
	for (char *p = currency; *p; p++)
		*p = pg_ascii_tolower((unsigned char) *p);

	initStringInfo(&form);
	pl_form_add_int64(&form, "amount", stripe_amount(request));
	pl_form_add(&form, "currency", currency);
	pl_form_add(&form, "capture_method", "manual");
	pl_form_add(&form, "confirm", "true");
	pl_form_add(&form, "payment_method", request->payment_method);
	for (char *type = strtok(types, ", "); type != NULL; type = strtok(NULL, ", "))
		pl_form_add(&form, "payment_method_types[]", type);
	if (pl_option_bool(gateway, "multicapture"))
		pl_form_add(&form, "payment_method_options[card][request_multicapture]", "if_available");
	if (return_url != NULL)
		pl_form_add(&form, "return_url", return_url);
	pl_form_add_int64(&form, "metadata[" STRIPE_PAYMENT_MARK "]", request->payment_id);
	if (order_id != NULL)
		pl_form_add(&form, "metadata[" STRIPE_ORDER_MARK "]", order_id);
	return form.data;
}

static char *
build_capture(const PlGateway *gateway, const PlRequest *request)
{
	PlDocument *parameters = parameters_of(request);
	const char *final = pl_document_text(parameters, "final");
	StringInfoData form;

	initStringInfo(&form);
	pl_form_add_int64(&form, "amount_to_capture", stripe_amount(request));
	if (pl_option_bool(gateway, "multicapture"))
		pl_form_add(&form, "final_capture",
					final != NULL && strcmp(final, "true") == 0 ? "true" : "false");
	pl_form_add_int64(&form, psprintf("metadata[" STRIPE_CAPTURE_MARK INT64_FORMAT "]", request->psp_request_id),
					  request->amount);
	return form.data;
}

static char *
build_refund(const PlRequest *request)
{
	StringInfoData form;

	if (request->psp_reference == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("psp request " INT64_FORMAT " needs stripe's id of the payment",
						request->psp_request_id)));
	initStringInfo(&form);
	pl_form_add(&form, "payment_intent", request->psp_reference);
	pl_form_add_int64(&form, "amount", stripe_amount(request));
	pl_form_add_int64(&form, "metadata[" STRIPE_REFUND_MARK "]", request->target);
	return form.data;
}

static void
stripe_build(const PlGateway *gateway, const PlRequest *request, PlHttpRequest *http)
{
	http->method = "POST";
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
			http->body = "";
			break;
		case PL_OP_REFUND:
			http->path = "/v1/refunds";
			http->body = build_refund(request);
			break;
		case PL_OP_PAYOUT:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("adapter stripe makes no payouts")));
		case PL_OP_RETRIEVE:
			if (request->followed == PL_OP_REFUND)
			{
				http->method = "GET";
				http->path = psprintf("/v1/refunds/%s", pl_url_escape(request->psp_reference));
				http->body = http->content_type = NULL;
				break;
			}
			/* FALLTHROUGH */
		case PL_OP_CONFIRM:
			/* the shopper's action has confirmed it; see what came of it */
			http->method = "GET";
			http->path = intent_path(request, "");
			http->body = http->content_type = NULL;
			break;
	}
}

/*
 * Ask for the PaymentIntent, by its id or by our mark on it; for a refund, for
 * those of its PaymentIntent.  A question needs no question.
 */
static bool
stripe_query(const PlGateway *gateway, const PlRequest *request, PlHttpRequest *http)
{
	memset(http, 0, sizeof(PlHttpRequest));
	http->method = "GET";
	if (request->operation == PL_OP_REFUND)
		http->path = psprintf("/v1/refunds?payment_intent=%s&limit=%d", pl_url_escape(request->psp_reference),
							  LISTED_REFUNDS);
	else if (request->operation == PL_OP_RETRIEVE)
		return false;
	else if (request->psp_reference != NULL)
		http->path = intent_path(request, "");
	else
		http->path = psprintf("/v1/payment_intents/search?query=%s",
							  pl_url_escape(psprintf("metadata['" STRIPE_PAYMENT_MARK "']:'" INT64_FORMAT "'",
													 request->payment_id)));
	return true;
}

static List *
stripe_headers(const PlGateway *gateway, const PlRequest *request, const PlHttpRequest *http)
{
	List	   *headers = NIL;
	const char *account = pl_option_text(gateway, "stripe_account");

	headers = lappend(headers, psprintf("Authorization: Bearer %s", pl_secret(gateway->name, "api_key")));
	if (strcmp(http->method, "POST") == 0)
		headers = lappend(headers, psprintf("Idempotency-Key: %s", request->idempotency_key));
	headers = lappend(headers, pstrdup("Stripe-Version: " STRIPE_VERSION));
	if (account != NULL)
		headers = lappend(headers, psprintf("Stripe-Account: %s", account));
	return headers;
}

/*
 * The scalar of that name in the object at a place in the document: prefix is
 * "" or "error.payment_intent.", say.
 */
const char *
pl_stripe_field(const PlDocument *document, const char *prefix, const char *name)
{
	return pl_document_text(document, psprintf("%s%s", prefix, name));
}

static bool
is_text(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

/* Has the PaymentIntent the mark that our capture leaves? */
static bool
has_capture_mark(const PlRequest *request, const PlDocument *document, const char *prefix)
{
	return pl_stripe_field(document, prefix,
				 psprintf("metadata." STRIPE_CAPTURE_MARK INT64_FORMAT, request->psp_request_id)) != NULL;
}

/* Why the last attempt to pay failed. */
static void
failed_payment(const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *decline_code = pl_stripe_field(document, prefix, "last_payment_error.decline_code");

	outcome->class = PL_OUTCOME_REFUSED;
	outcome->code = decline_code ? decline_code
		: pl_stripe_field(document, prefix, "last_payment_error.code");
	if (outcome->code == NULL)
		outcome->code = "payment_failed";
	outcome->message = pl_stripe_field(document, prefix, "last_payment_error.message");
}

/*
 * What a PaymentIntent's status says about the authorization; UNKNOWN stays as
 * it is.
 */
void
pl_stripe_read_authorization(const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *status = pl_stripe_field(document, prefix, "status");

	if (is_text(status, "requires_capture") || is_text(status, "succeeded"))
		outcome->class = PL_OUTCOME_SUCCEEDED;
	else if (is_text(status, "requires_action"))
	{
		outcome->class = PL_OUTCOME_ACTION_REQUIRED;
		outcome->next_action = pl_document_raw(document, psprintf("%snext_action", prefix));
	}
	else if (is_text(status, "processing"))
	{
		outcome->class = PL_OUTCOME_PENDING;
		outcome->recheck_ms = RECHECK_MS;
	}
	else if (is_text(status, "requires_payment_method"))
		failed_payment(document, prefix, outcome);
	else if (is_text(status, "canceled"))
	{
		outcome->class = PL_OUTCOME_REFUSED;
		outcome->code = "canceled";
	}
}

/*
 * A PaymentIntent, as the reply to the request or to a question about it.
 * What it does not say for certain stays UNKNOWN with its status as code.
 */
static void
interpret_intent(const PlRequest *request, const PlHttpReply *reply,
				 const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *status = pl_stripe_field(document, prefix, "status");

	outcome->psp_reference = pl_stripe_field(document, prefix, "id");
	outcome->code = status;
	if (status == NULL || outcome->psp_reference == NULL)
	{
		outcome->code = "unexpected_reply";
		return;
	}
	switch (request->operation)
	{
		case PL_OP_AUTHORIZE:
		case PL_OP_CONFIRM:
			pl_stripe_read_authorization(document, prefix, outcome);
			break;
		case PL_OP_CAPTURE:
			if (reply->queried ? has_capture_mark(request, document, prefix)
				: is_text(status, "succeeded") || is_text(status, "requires_capture"))
				outcome->class = PL_OUTCOME_SUCCEEDED;
			else if (is_text(status, "canceled"))
				outcome->class = PL_OUTCOME_REFUSED;
			break;
		case PL_OP_CANCEL:
			/* after a partial capture the rest is released and it succeeded */
			if (is_text(status, "canceled") || (!reply->queried && is_text(status, "succeeded")))
				outcome->class = PL_OUTCOME_SUCCEEDED;
			break;
		case PL_OP_RETRIEVE:
			if (request->followed == PL_OP_AUTHORIZE || request->followed == PL_OP_CONFIRM)
				pl_stripe_read_authorization(document, prefix, outcome);
			else
				outcome->class = PL_OUTCOME_SUCCEEDED;
			break;
		case PL_OP_REFUND:
		case PL_OP_PAYOUT:
			outcome->code = "unexpected_reply";
			break;
	}
}

/*
 * What a refund says.  A pending one is asked for later; one that failed after
 * it was taken from our balance came back with a balance transaction of its
 * own.
 */
void
pl_stripe_read_refund(const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *status = pl_stripe_field(document, prefix, "status");

	outcome->psp_reference = pl_stripe_field(document, prefix, "id");
	outcome->code = status;
	if (status == NULL || outcome->psp_reference == NULL)
		outcome->code = "unexpected_reply";
	else if (is_text(status, "succeeded"))
		outcome->class = PL_OUTCOME_SUCCEEDED;
	else if (is_text(status, "pending") || is_text(status, "requires_action"))
	{
		outcome->class = PL_OUTCOME_PENDING;
		outcome->recheck_ms = RECHECK_MS;
	}
	else if (is_text(status, "failed") || is_text(status, "canceled"))
	{
		outcome->class = pl_stripe_field(document, prefix, "failure_balance_transaction") != NULL
			? PL_OUTCOME_REVERSED : PL_OUTCOME_REFUSED;
		outcome->code = pl_stripe_field(document, prefix, "failure_reason");
		if (outcome->code == NULL)
			outcome->code = status;
	}
}

/*
 * The refunds of a PaymentIntent: ours has our mark.  None proves nothing: it
 * may come yet.
 */
static void
interpret_refunds(const PlRequest *request, const PlDocument *document, PlOutcome *outcome)
{
	char	   *mark = psprintf(INT64_FORMAT, request->target);

	outcome->code = "not_found_yet";
	for (int i = 0; i < LISTED_REFUNDS; i++)
	{
		char	   *prefix = psprintf("data.%d.", i);

		if (pl_stripe_field(document, prefix, "id") == NULL)
			break;
		if (!is_text(pl_stripe_field(document, prefix, "metadata." STRIPE_REFUND_MARK), mark))
			continue;
		pl_stripe_read_refund(document, prefix, outcome);
		break;
	}
}

/*
 * "unexpected state": what the intent's status says about this request.
 * Returns false if it says no more than the error itself.
 */
static bool
interpret_unexpected_state(const PlRequest *request, const PlDocument *document, PlOutcome *outcome)
{
	const char *prefix = "error.payment_intent.";
	const char *status = pl_stripe_field(document, prefix, "status");

	if (request->operation == PL_OP_CAPTURE && has_capture_mark(request, document, prefix))
		outcome->class = PL_OUTCOME_SUCCEEDED;
	else if (request->operation == PL_OP_CAPTURE && is_text(status, "succeeded"))
		outcome->class = PL_OUTCOME_UNKNOWN;	/* captured, but not by us */
	else if (request->operation == PL_OP_CANCEL && is_text(status, "canceled"))
		outcome->class = PL_OUTCOME_SUCCEEDED;
	else
		return false;
	return true;
}

static void
interpret_error(const PlRequest *request, const PlHttpReply *reply,
				const PlDocument *document, PlOutcome *outcome)
{
	const char *type = pl_document_text(document, "error.type");
	const char *code = pl_document_text(document, "error.code");
	const char *decline_code = pl_document_text(document, "error.decline_code");
	char	   *should_retry = pl_http_header(reply, "Stripe-Should-Retry");

	outcome->code = decline_code ? decline_code : code ? code : type;
	if (outcome->code == NULL)
		outcome->code = psprintf("http_%d", reply->status);
	outcome->message = pl_document_text(document, "error.message");
	outcome->psp_reference = pl_document_text(document, "error.payment_intent.id");

	if (is_text(code, "payment_intent_unexpected_state") &&
		interpret_unexpected_state(request, document, outcome))
		return;
	outcome->class = pl_classify_error(&pl_stripe_adapter, reply, type, code);

	/*
	 * Stripe's own word on whether another attempt can help wins, but for a
	 * refused API key: it cannot know that an operator will put in another.
	 */
	if (outcome->class == PL_OUTCOME_RETRY && is_text(should_retry, "false") &&
		reply->status != 401 && reply->status != 403)
		outcome->class = PL_OUTCOME_REFUSED;
	else if (outcome->class == PL_OUTCOME_REFUSED && is_text(should_retry, "true"))
		outcome->class = reply->in_doubt ? PL_OUTCOME_UNKNOWN : PL_OUTCOME_RETRY;
}

/*
 * The answer to a search by our mark.  Search lags behind, so finding nothing
 * proves nothing.
 */
static void
interpret_search(const PlRequest *request, const PlHttpReply *reply,
				 const PlDocument *document, PlOutcome *outcome)
{
	if (pl_document_text(document, "data.0.id") == NULL)
		outcome->code = "not_found_yet";
	else
		interpret_intent(request, reply, document, "data.0.", outcome);
}

static void
stripe_interpret(const PlRequest *request, const PlHttpReply *reply, PlOutcome *outcome)
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
	else if (reply->status >= 200 && reply->status < 300)
	{
		const char *object = pl_document_text(document, "object");

		if (is_text(object, "search_result"))
			interpret_search(request, reply, document, outcome);
		else if (is_text(object, "list"))
			interpret_refunds(request, document, outcome);
		else if (is_text(object, "refund"))
			pl_stripe_read_refund(document, "", outcome);
		else
			interpret_intent(request, reply, document, "", outcome);
	}
	else
	{
		interpret_error(request, reply, document, outcome);
		/* an error about the question says nothing about the request */
		if (reply->queried)
			outcome->class = PL_OUTCOME_UNKNOWN;
	}
}

const PlAdapter pl_stripe_adapter = {
	.name = "stripe",
	.options = stripe_options,
	.secrets = stripe_secrets,
	.key_window = STRIPE_KEY_WINDOW,
	.needs_reference = true,
	.build = stripe_build,
	.query = stripe_query,
	.headers = stripe_headers,
	.interpret = stripe_interpret,
	.verify_webhook = pl_stripe_verify_webhook,
	.split_webhook = pl_stripe_split_webhook,
	.read_event = pl_stripe_read_event,
	.list_events = pl_stripe_list_events,
	.read_events = pl_stripe_read_events
};
