/*-------------------------------------------------------------------------
 *
 * adyen_api.c
 *		What is special about Adyen's API: endpoints, the API key, JSON,
 *		headers.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "adyen.h"

#define LONGEST_KEY 64
#define JSON_TYPE "application/json"

static const Route routes[] = {
	{"POST", "/v71/payments", OP_AUTHORIZE, adyen_pay},
	{"POST", "/v71/payments/details", OP_DETAILS, adyen_details},
	{"POST", "/v71/payments/{id}/captures", OP_CAPTURE, adyen_capture},
	{"POST", "/v71/payments/{id}/cancels", OP_CANCEL, adyen_cancel},
	{"POST", "/v71/payments/{id}/refunds", OP_REFUND, adyen_refund},
	{"POST", "/v71/payments/{id}/reversals", OP_CANCEL, adyen_reverse},
	{"POST", "/v71/cancels", OP_CANCEL, adyen_cancel_reference},
};

/* Checks the API key, or replies 401. */
static bool
adyen_authorized(Request *req)
{
	const char *key = request_header(req, "X-API-Key");

	if (key != NULL && key[0] != '\0' &&
		(server.api_key == NULL || strcmp(key, server.api_key) == 0))
		return true;
	adyen_error(req, MHD_HTTP_UNAUTHORIZED, "000", "security",
				"HTTP Status Response - Unauthorized");
	return false;
}

/* Replies that there is no such endpoint. */
static void
adyen_no_route(Request *req)
{
	adyen_error(req, MHD_HTTP_NOT_FOUND, "000", "internal",
				"No such endpoint: %s %.200s", req->method, req->path);
}

/* Decodes the body, which is an object, or replies 400. */
static bool
adyen_read_body(Request *req)
{
	const char *type = request_header(req, "Content-Type");
	json_error_t error;

	if (req->too_large)
	{
		adyen_error(req, MHD_HTTP_CONTENT_TOO_LARGE, "702", "validation",
					"The request body is too large");
		return false;
	}
	if (type == NULL || strncasecmp(type, JSON_TYPE, strlen(JSON_TYPE)) != 0)
	{
		adyen_error(req, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "702",
					"validation", "The body must be sent as " JSON_TYPE);
		return false;
	}
	req->json = json_loadb(req->body.data != NULL ? req->body.data : "",
						   req->body.len, JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(req->json))
		return true;
	adyen_unreadable(req, "The body cannot be read: %.100s",
					 req->json == NULL ? error.text : "it is no object");
	return false;
}

/* A hash of the body as it came. */
static uint64_t
adyen_fingerprint(const Request *req)
{
	return hash_bytes(req->body.data, req->body.len);
}

/* Adds the headers that a client should read. */
static void
adyen_headers(Request *req, struct MHD_Response *response)
{
	const Reply *reply = &req->reply;
	char		seconds[24];

	MHD_add_response_header(response, "pspReference", req->id);
	if (req->key != NULL)
		MHD_add_response_header(response, "Idempotency-Key", req->key);
	if (reply->should_retry != NULL)
		MHD_add_response_header(response, "transient-error",
								reply->should_retry);
	if (reply->retry_after > 0)
	{
		snprintf(seconds, sizeof(seconds), "%ld", reply->retry_after);
		MHD_add_response_header(response, "Retry-After", seconds);
	}
}

const Psp	psp_adyen = {
	.name = "adyen",
	.routes = routes,
	.nroutes = lengthof(routes),
	.longest_key = LONGEST_KEY,
	.authorized = adyen_authorized,
	.reply_no_route = adyen_no_route,
	.read_body = adyen_read_body,
	.fingerprint = adyen_fingerprint,
	.reply_key_problem = adyen_key_problem,
	.reply_injected = adyen_injected,
	.add_headers = adyen_headers,
};
