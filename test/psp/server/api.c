/*-------------------------------------------------------------------------
 *
 * api.c
 *		Routing, and one API request from its parameters to its reply, with
 *		the fault that was injected into it.
 *
 * What differs between the PSPs is in their Psp.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "psp.h"

#define ADYEN_PREFIX "/v71/"

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

/* Makes the buffer the body of the reply. */
void
reply_json(Request *req, unsigned status, StrBuf *buf)
{
	body_release(req->reply.body);
	req->reply.body = body_take(buf);
	req->reply.status = status;
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
		req->psp->reply_injected(req);
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
		req->psp->reply_injected(req);
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
		req->psp->reply_injected(req);
		req->executed = true;
	}
	idempotency_finish(req);
	fault_after(req);
}

/* Whose API is it? Adyen's paths begin with the version of its API. */
static const Psp *
psp_of(const Request *req)
{
	if (strncmp(req->path, ADYEN_PREFIX, strlen(ADYEN_PREFIX)) == 0)
		return &psp_adyen;
	return &psp_stripe;
}

/*
 * Begins an API request whose body has arrived. Afterwards there is a reply,
 * or the phase says that the request waits or is to be closed. A delayed one
 * has its key reserved while it waits and is executed at the end.
 */
void
api_begin(Request *req)
{
	const Psp  *psp = psp_of(req);

	req->psp = psp;
	req->route = route_find(psp->routes, psp->nroutes, req);
	snprintf(req->reply.original, sizeof(req->reply.original), "%s", req->id);
	if (!psp->authorized(req))
	{
		server.stats.unauthorized++;
		return;
	}
	if (req->route == NULL)
	{
		psp->reply_no_route(req);
		return;
	}
	server.stats.operations[req->route->operation]++;
	fault_pick(req);
	if (fault_before(req) || !psp->read_body(req))
		return;
	if (!idempotency_begin(req))
		fault_after(req);
	if (req->fault.kind == FAULT_DELAY)
		wire_suspend(req, req->fault.ms, PHASE_DELAYED);
	else if (req->reply.status == 0 && req->phase == PHASE_BODY)
		api_execute(req);
}
