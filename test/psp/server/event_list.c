/*-------------------------------------------------------------------------
 *
 * event_list.c
 *		/v1/events: the events that webhooks carry, for those who missed them.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

#define MAX_TYPES 20

static const char *const list_params[] = {
	"created", "delivery_success", "ending_before", "expand", "limit",
	"starting_after", "type", "types", NULL
};

/* Does a type fit what was asked for? "charge.*" fits all of a kind. */
static bool
type_fits(const char *type, const char *wanted)
{
	size_t		length = strlen(wanted);

	if (length > 0 && wanted[length - 1] == '*')
		return strncmp(type, wanted, length - 1) == 0;
	return strcmp(type, wanted) == 0;
}

/* Is it one of types[], if any were sent? */
static bool
type_listed(const Form *params, const char *type)
{
	bool		sent = false;

	for (size_t i = 0; i < params->count; i++)
	{
		if (strncmp(params->params[i].name, "types[", 6) != 0)
			continue;
		if (strcmp(params->params[i].value, type) == 0)
			return true;
		sent = true;
	}
	return !sent;
}

/* Does an event belong to the list? */
static bool
event_matches(const Listing *listing, size_t index)
{
	const Form *params = &listing->req->params;
	const Webhook *webhook = webhook_at(index);
	const char *type = form_get(params, "type");
	const char *delivered = form_get(params, "delivery_success");

	return webhook->psp == &psp_stripe &&
		created_within(&listing->created, webhook->created) &&
		(type == NULL || type_fits(webhook->type, type)) &&
		type_listed(params, webhook->type) &&
		(delivered == NULL ||
		 (strcmp(delivered, "true") == 0) == webhook->delivered);
}

/* Writes an event of a list, as it was sent. */
static void
render_listed_event(StrBuf *buf, size_t index)
{
	const Body *body = webhook_at(index)->body;

	if (buf->data[buf->len - 1] != '[')
		buf_append(buf, ",", 1);
	buf_append(buf, body->data, body->len);
}

/* Index of an event. */
static size_t
event_index(const char *id)
{
	const Webhook *webhook = webhook_find(id);

	return webhook == NULL ? NO_INDEX : webhook_index(webhook);
}

/* Checks how many types were sent. */
static bool
check_types(Request *req)
{
	size_t		types = 0;

	for (size_t i = 0; i < req->params.count; i++)
		if (strncmp(req->params.params[i].name, "types[", 6) == 0)
			types++;
	if (types <= MAX_TYPES &&
		(types == 0 || form_get(&req->params, "type") == NULL))
		return true;
	reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", NULL,
				"types", "You may pass either `type` or up to %d `types`.",
				MAX_TYPES);
	return false;
}

/* GET /v1/events */
void
list_events(Request *req)
{
	bool		unused;
	Listing		listing = {
		.req = req,
		.object = "list",
		.item = "event",
		.url = "/v1/events",
		.count = webhook_count(),
		.matches = event_matches,
		.render = render_listed_event,
	};

	if (params_known(req, list_params) && param_page(req, &listing.limit) &&
		read_created(req, &listing.created) &&
		param_boolean(req, "delivery_success", &unused) && check_types(req))
		reply_list(&listing, event_index);
}

/* GET /v1/events/{id} */
void
event_retrieve(Request *req)
{
	const Webhook *webhook = webhook_find(req->object);
	StrBuf		buf = {0};

	if (webhook == NULL || webhook->psp != &psp_stripe)
	{
		reply_missing(req, "event", "id", req->object);
		return;
	}
	buf_append(&buf, webhook->body->data, webhook->body->len);
	reply_json(req, MHD_HTTP_OK, &buf);
}
