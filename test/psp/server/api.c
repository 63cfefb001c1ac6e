/*-------------------------------------------------------------------------
 *
 * api.c
 *		Routing, authorization, and one API request from its parameters to
 *		its reply, with the fault that was injected into it.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "psp.h"

#define FORM_TYPE "application/x-www-form-urlencoded"
#define NO_KEY_TEXT \
	"You did not provide an API key. You need to provide your API key in the " \
	"Authorization header, using Bearer auth (e.g. 'Authorization: Bearer " \
	"YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for " \
	"details, or we can help at https://support.stripe.com/."

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
};

/* Does path fit pattern? The segment for {id} is copied to object. */
static bool
path_fits(const char *pattern, const char *path, char *object, size_t size)
{
	const char *hole = strstr(pattern, "{id}");
	size_t		before = hole == NULL ? 0 : (size_t) (hole - pattern);
	size_t		length;

	if (hole == NULL)
		return strcmp(pattern, path) == 0;
	if (strncmp(pattern, path, before) != 0)
		return false;
	path += before;
	length = strcspn(path, "/");
	if (length == 0 || length >= size ||
		strcmp(path + length, hole + strlen("{id}")) != 0)
		return false;
	memcpy(object, path, length);
	object[length] = '\0';
	return true;
}

/* Finds the endpoint of a request, NULL if there is none. */
const Route *
route_find(const Route *among, size_t count, Request *req)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(among[i].method, req->method) == 0 &&
			path_fits(among[i].path, req->path, req->object,
					  sizeof(req->object)))
			return &among[i];
	return NULL;
}

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
authorized(Request *req)
{
	const char *header = request_header(req, "Authorization");
	const char *key = NULL;
	StrBuf		shown = {0};

	if (header != NULL && strncasecmp(header, "Bearer ", 7) == 0)
		key = header + 7;
	if (key != NULL && key[0] != '\0' &&
		(server.api_key == NULL || strcmp(key, server.api_key) == 0))
		return true;
	server.stats.unauthorized++;
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
read_params(Request *req)
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

/* Is the fault an error that is answered instead of the work? */
static bool
fault_refuses(const FaultShot *fault)
{
	switch (fault->kind)
	{
		case FAULT_CONFLICT_409:
		case FAULT_RATE_LIMIT_429:
			return true;
		case FAULT_ERROR_500:
		case FAULT_ERROR_503:
			return !fault->execute;
		default:
			return false;
	}
}

/* Applies a fault that keeps the request from being looked at. */
static bool
fault_before(Request *req)
{
	if (req->fault.kind == FAULT_DROP_BEFORE)
		wire_suspend(req, req->fault.ms, PHASE_HOLDING);
	else if (req->fault.kind == FAULT_RESET_BEFORE)
		wire_reset(req);
	else if (fault_refuses(&req->fault))
		reply_injected(req);
	else
		return false;
	return true;
}

/* Applies a fault that loses or replaces a reply that is already stored. */
static void
fault_after(Request *req)
{
	if (req->fault.kind == FAULT_DROP_AFTER)
		wire_suspend(req, req->fault.ms, PHASE_HOLDING);
	else if (req->fault.kind == FAULT_RESET_AFTER)
		wire_reset(req);
	else if (req->fault.kind == FAULT_ERROR_500 ||
			 req->fault.kind == FAULT_ERROR_503)
		reply_injected(req);
}

/* Does the work of a request, stores its reply and applies its fault. */
void
api_execute(Request *req)
{
	bool		store_error = req->fault.kind == FAULT_ERROR_500_STORED;

	snprintf(req->reply.original, sizeof(req->reply.original), "%s", req->id);
	if (!store_error || req->fault.execute)
		req->route->handler(req);
	if (store_error)
	{
		reply_injected(req);
		req->executed = true;
	}
	idempotency_finish(req);
	fault_after(req);
}

/*
 * Begins an API request whose body has arrived. Afterwards there is a reply,
 * or the phase says that the request waits or is to be closed. A delayed one
 * has its key reserved while it waits and is executed at the end.
 */
void
api_begin(Request *req)
{
	req->route = route_find(routes, lengthof(routes), req);
	snprintf(req->reply.original, sizeof(req->reply.original), "%s", req->id);
	if (!authorized(req))
		return;
	if (req->route == NULL)
	{
		reply_error(req, MHD_HTTP_NOT_FOUND, "invalid_request_error", NULL,
					NULL, "Unrecognized request URL (%s: %.200s). Please see "
					"https://stripe.com/docs or we can help at "
					"https://support.stripe.com/.", req->method, req->path);
		return;
	}
	server.stats.operations[req->route->operation]++;
	fault_pick(req);
	if (fault_before(req) || !read_params(req))
		return;
	if (!idempotency_begin(req))
		fault_after(req);
	if (req->fault.kind == FAULT_DELAY)
		wire_suspend(req, req->fault.ms, PHASE_DELAYED);
	else if (req->reply.status == 0 && req->phase == PHASE_BODY)
		api_execute(req);
}
