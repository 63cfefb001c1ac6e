/*-------------------------------------------------------------------------
 *
 * stripe_api.c
 *		What is special about Stripe's API: endpoints, the API key, forms,
 *		idempotency keys, injected errors and headers.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "stripe.h"

#define LONGEST_KEY 255
#define FORM_TYPE "application/x-www-form-urlencoded"
#define NO_KEY_TEXT \
	"You did not provide an API key. You need to provide your API key in the " \
	"Authorization header, using Bearer auth (e.g. 'Authorization: Bearer " \
	"YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for " \
	"details, or we can help at https://support.stripe.com/."
#define IN_USE_TEXT \
	"There is currently another in-progress request using this Stripe " \
	"Idempotency Key (that probably means you submitted twice, and the " \
	"other request is still going through): %s. Please try again later."
#define OTHER_ENDPOINT \
	"Keys for idempotent requests can only be used for the same endpoint " \
	"they were first used for ('%s' vs '%s'). Try using a key other than " \
	"'%s' if you meant to execute a different request."
#define OTHER_PARAMETERS \
	"Keys for idempotent requests can only be used with the same parameters " \
	"they were first used with. Try using a key other than '%s' if you meant " \
	"to execute a different request."

/* A fixed path comes before a path with {id} that would take it as an id. */
static const Route routes[] = {
	{"POST", "/v1/payment_intents", OP_CREATE, intent_create},
	{"GET", "/v1/payment_intents", OP_RETRIEVE, list_intents},
	{"GET", "/v1/payment_intents/search", OP_RETRIEVE, search_intents},
	{"GET", "/v1/payment_intents/{id}", OP_RETRIEVE, intent_retrieve},
	{"POST", "/v1/payment_intents/{id}/confirm", OP_CONFIRM, intent_confirm},
	{"POST", "/v1/payment_intents/{id}/capture", OP_CAPTURE, intent_capture},
	{"POST", "/v1/payment_intents/{id}/cancel", OP_CANCEL, intent_cancel},
	{"POST", "/v1/refunds", OP_REFUND, refund_create},
	{"GET", "/v1/refunds", OP_RETRIEVE, list_refunds},
	{"GET", "/v1/refunds/{id}", OP_RETRIEVE, refund_retrieve},
	{"POST", "/v1/transfers", OP_TRANSFER, transfer_create},
	{"GET", "/v1/transfers", OP_RETRIEVE, list_transfers},
	{"GET", "/v1/transfers/{id}", OP_RETRIEVE, transfer_retrieve},
	{"POST", "/v1/transfers/{id}/reversals", OP_TRANSFER, transfer_reverse},
	{"GET", "/v1/disputes", OP_RETRIEVE, list_disputes},
	{"GET", "/v1/disputes/{id}", OP_RETRIEVE, dispute_retrieve},
	{"GET", "/v1/events", OP_RETRIEVE, list_events},
	{"GET", "/v1/events/{id}", OP_RETRIEVE, event_retrieve},
};

/* Writes an API key as Stripe shows it: most of it hidden. */
static void
mask_key(StrBuf *buf, const char *key)
{
	size_t		len = strlen(key);

	for (size_t i = 0; i < len && i < 60; i++)
		buf_append(buf, i < 8 || i + 4 >= len ? key + i : "*", 1);
}

/* Checks the API key, or replies 401. */
static bool
stripe_authorized(Request *req)
{
	const char *header = request_header(req, "Authorization");
	const char *key = NULL;
	StrBuf		shown = {0};

	if (header != NULL && strncasecmp(header, "Bearer ", 7) == 0)
		key = header + 7;
	if (key != NULL && key[0] != '\0' &&
		(server.api_key == NULL || strcmp(key, server.api_key) == 0))
		return true;
	if (key == NULL || key[0] == '\0')
		reply_error(req, MHD_HTTP_UNAUTHORIZED, "invalid_request_error", NULL,
					NULL, NO_KEY_TEXT);
	else
	{
		mask_key(&shown, key);
		reply_error(req, MHD_HTTP_UNAUTHORIZED, "invalid_request_error", NULL,
					NULL, "Invalid API Key provided: %s", shown.data);
		buf_free(&shown);
	}
	return false;
}

/* Decodes query and body, or replies 400. */
static bool
stripe_read_body(Request *req)
{
	const char *type = request_header(req, "Content-Type");
	const char *query = strchr(req->uri, '?');

	if (req->too_large)
	{
		reply_error(req, MHD_HTTP_CONTENT_TOO_LARGE, "invalid_request_error",
					NULL, NULL, "The request body is too large.");
		return false;
	}
	if (req->body.len > 0 &&
		(type == NULL || strncasecmp(type, FORM_TYPE, strlen(FORM_TYPE)) != 0))
	{
		reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", NULL,
					NULL, "Invalid request. The body must be sent as "
					FORM_TYPE ".");
		return false;
	}
	if ((query == NULL ||
		 form_parse(&req->params, query + 1, strlen(query + 1))) &&
		(req->body.len == 0 ||
		 form_parse(&req->params, req->body.data, req->body.len)))
		return true;
	reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", NULL,
				NULL, "Invalid request: the parameters are not properly "
				"encoded.");
	return false;
}

/* Replies that there is no such endpoint. */
static void
stripe_no_route(Request *req)
{
	reply_error(req, MHD_HTTP_NOT_FOUND, "invalid_request_error", NULL, NULL,
				"Unrecognized request URL (%s: %.200s). Please see "
				"https://stripe.com/docs or we can help at "
				"https://support.stripe.com/.", req->method, req->path);
}

/* A hash of the parameters that does not depend on their order. */
static uint64_t
stripe_fingerprint(const Request *req)
{
	return form_fingerprint(&req->params);
}

/* Replies that the idempotency key cannot be used like this. */
static void
stripe_key_problem(Request *req, KeyProblem problem, const char *first_path)
{
	switch (problem)
	{
		case KEY_TOO_LONG:
			reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error",
						NULL, NULL, "Idempotency keys can be at most %d "
						"characters.", LONGEST_KEY);
			break;
		case KEY_OTHER_ENDPOINT:
			reply_error(req, MHD_HTTP_BAD_REQUEST, "idempotency_error", NULL,
						NULL, OTHER_ENDPOINT, first_path, req->path,
						req->key);
			break;
		case KEY_OTHER_PARAMETERS:
			reply_error(req, MHD_HTTP_BAD_REQUEST, "idempotency_error", NULL,
						NULL, OTHER_PARAMETERS, req->key);
			break;
		case KEY_IN_USE:
			reply_error(req, MHD_HTTP_CONFLICT, "invalid_request_error",
						"idempotency_key_in_use", NULL, IN_USE_TEXT,
						req->key == NULL ? "" : req->key);
			break;
	}
}

/* Replies with the error that a fault asks for. */
static void
stripe_injected(Request *req)
{
	switch (req->fault.kind)
	{
		case FAULT_CONFLICT_409:
			stripe_key_problem(req, KEY_IN_USE, NULL);
			break;
		case FAULT_RATE_LIMIT_429:
			reply_error(req, MHD_HTTP_TOO_MANY_REQUESTS,
						"invalid_request_error", "rate_limit", NULL,
						"Request rate limit exceeded. Learn more about rate "
						"limits here https://stripe.com/docs/rate-limits.");
			break;
		case FAULT_ERROR_503:
			reply_error(req, MHD_HTTP_SERVICE_UNAVAILABLE, "api_error", NULL,
						NULL, "The service is temporarily unavailable. "
						"Please try again later.");
			break;
		default:
			reply_error(req, MHD_HTTP_INTERNAL_SERVER_ERROR, "api_error",
						NULL, NULL, "An unknown error occurred. If this "
						"persists, contact https://support.stripe.com.");
			break;
	}
	if (req->fault.should_retry != NULL)
		req->reply.should_retry = req->fault.should_retry;
	req->reply.retry_after = req->fault.retry_after;
	req->reply.replayed = false;
}

/* Adds the headers about the idempotency key. */
static void
add_key_headers(Request *req, struct MHD_Response *response)
{
	if (req->key == NULL || strcmp(req->method, "POST") != 0)
		return;
	MHD_add_response_header(response, "Idempotency-Key", req->key);
	MHD_add_response_header(response, "Original-Request", req->reply.original);
	if (req->reply.replayed)
		MHD_add_response_header(response, "Idempotent-Replayed", "true");
}

/* Adds the headers that a client should read. */
static void
stripe_headers(Request *req, struct MHD_Response *response)
{
	const Reply *reply = &req->reply;
	const char *version = request_header(req, "Stripe-Version");
	char		seconds[24];

	MHD_add_response_header(response, "Request-Id", req->id);
	if (version != NULL)
		MHD_add_response_header(response, "Stripe-Version", version);
	add_key_headers(req, response);
	if (reply->should_retry != NULL)
		MHD_add_response_header(response, "Stripe-Should-Retry",
								reply->should_retry);
	if (reply->retry_after > 0)
	{
		snprintf(seconds, sizeof(seconds), "%ld", reply->retry_after);
		MHD_add_response_header(response, "Retry-After", seconds);
	}
	if (reply->status == MHD_HTTP_TOO_MANY_REQUESTS)
		MHD_add_response_header(response, "Stripe-Rate-Limited-Reason",
								"global-rate");
	if (reply->status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, "WWW-Authenticate",
								"Bearer realm=\"Stripe\"");
}

const Psp	psp_stripe = {
	.name = "stripe",
	.routes = routes,
	.nroutes = lengthof(routes),
	.longest_key = LONGEST_KEY,
	.authorized = stripe_authorized,
	.reply_no_route = stripe_no_route,
	.read_body = stripe_read_body,
	.fingerprint = stripe_fingerprint,
	.reply_key_problem = stripe_key_problem,
	.reply_injected = stripe_injected,
	.add_headers = stripe_headers,
};
