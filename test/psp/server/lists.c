/*-------------------------------------------------------------------------
 *
 * lists.c
 *		Listing and searching, newest object first.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

#define NO_INDEX SIZE_MAX

static const char *const intent_list_params[] = {
	"created", "customer", "customer_account", "ending_before", "expand",
	"limit", "starting_after", NULL
};
static const char *const refund_list_params[] = {
	"charge", "created", "ending_before", "expand", "limit",
	"payment_intent", "starting_after", NULL
};
static const char *const search_params[] = {
	"expand", "limit", "page", "query", NULL
};

/* Bounds on the time of creation. */
typedef struct Created
{
	int64_t		least;
	int64_t		most;
} Created;

/* What one list is made of. */
typedef struct Listing
{
	Request    *req;
	const char *object;			/* list or search_result */
	const char *item;			/* what is listed */
	const char *url;
	int64_t		limit;
	Created		created;
	size_t		count;
	bool		(*matches) (const struct Listing *listing, size_t index);
	void		(*render) (StrBuf *buf, size_t index);
	Form		wanted;			/* metadata that a search wants */
} Listing;

/* Reads created and created[gt|gte|lt|lte]. */
static bool
read_created(Request *req, Created *created)
{
	static const struct
	{
		const char *name;
		bool		lower;
		bool		upper;
		int			offset;		/* makes the bound inclusive */
	}			bounds[] = {
		{"created", true, true, 0},
		{"created[gt]", true, false, 1},
		{"created[gte]", true, false, 0},
		{"created[lt]", false, true, -1},
		{"created[lte]", false, true, 0},
	};

	created->least = 0;
	created->most = INT64_MAX;
	for (size_t i = 0; i < lengthof(bounds); i++)
	{
		bool		given;
		int64_t		value;

		if (!param_integer(req, bounds[i].name, &given, &value))
			return false;
		if (given && bounds[i].lower)
			created->least = value + bounds[i].offset;
		if (given && bounds[i].upper)
			created->most = value + bounds[i].offset;
	}
	return true;
}

/* Is a time within the bounds? */
static bool
created_within(const Created *created, time_t when)
{
	return (int64_t) when >= created->least && (int64_t) when <= created->most;
}

/* Was the parameter not sent, or sent with this value? */
static bool
param_is(const Listing *listing, const char *name, const char *value)
{
	const char *sent = form_get(&listing->req->params, name);

	return sent == NULL || (value != NULL && strcmp(sent, value) == 0);
}

/* Does an intent belong to the list or the search? */
static bool
intent_matches(const Listing *listing, size_t index)
{
	const Intent *intent = store_intent_at(index);

	if (!created_within(&listing->created, intent->created) ||
		!param_is(listing, "customer", intent->echo[ECHO_CUSTOMER]))
		return false;
	for (size_t i = 0; i < listing->wanted.count; i++)
	{
		const Param *wanted = &listing->wanted.params[i];
		const char *value = form_get(&intent->metadata, wanted->name);

		if (value == NULL || strcmp(value, wanted->value) != 0)
			return false;
	}
	return true;
}

/* Does a refund belong to the list? */
static bool
refund_matches(const Listing *listing, size_t index)
{
	const Refund *refund = store_refund_at(index);

	return created_within(&listing->created, refund->created) &&
		param_is(listing, "payment_intent", refund->intent->id) &&
		param_is(listing, "charge", refund->intent->charge);
}

/* Writes an intent of a list. */
static void
render_listed_intent(StrBuf *buf, size_t index)
{
	render_intent(buf, NULL, store_intent_at(index), false);
}

/* Writes a refund of a list. */
static void
render_listed_refund(StrBuf *buf, size_t index)
{
	render_refund(buf, NULL, store_refund_at(index));
}

/* Collects up to limit + 1 indexes, from start towards older or newer. */
static size_t
collect(const Listing *listing, size_t start, bool newer, size_t *found)
{
	size_t		count = 0;

	for (size_t at = start; at < listing->count &&
		 count <= (size_t) listing->limit; newer ? at++ : at--)
		if (listing->matches(listing, at))
			found[count++] = at;
	return count;
}

/* Replies with a page; newer pages are collected backwards. */
static void
reply_page(Listing *listing, size_t start, bool newer)
{
	size_t	   *found = xcalloc((size_t) listing->limit + 1, sizeof(size_t));
	size_t		count = collect(listing, start, newer, found);
	bool		has_more = count > (size_t) listing->limit;
	StrBuf		buf = {0};

	if (has_more)
		count--;
	jw_object(&buf, NULL);
	jw_string(&buf, "object", listing->object);
	jw_array(&buf, "data");
	for (size_t i = 0; i < count; i++)
		listing->render(&buf, found[newer ? count - 1 - i : i]);
	jw_end_array(&buf);
	jw_bool(&buf, "has_more", has_more);
	if (strcmp(listing->object, "search_result") == 0)
		jw_null(&buf, "next_page");
	jw_string(&buf, "url", listing->url);
	jw_end_object(&buf);
	reply_json(listing->req, MHD_HTTP_OK, &buf);
	free(found);
}

/* Replies with the page that the cursors and the limit ask for. */
static void
reply_list(Listing *listing, size_t (*find_index) (const char *id))
{
	const char *after = form_get(&listing->req->params, "starting_after");
	const char *before = form_get(&listing->req->params, "ending_before");
	const char *cursor = after != NULL ? after : before;
	size_t		index;

	if (cursor == NULL)
	{
		reply_page(listing, listing->count - 1, false);
		return;
	}
	index = find_index(cursor);
	if (index == NO_INDEX)
		reply_missing(listing->req, listing->item,
					  after != NULL ? "starting_after" : "ending_before",
					  cursor);
	else if (after != NULL)
		reply_page(listing, index - 1, false);
	else
		reply_page(listing, index + 1, true);
}

/* Index of an intent. */
static size_t
intent_index(const char *id)
{
	const Intent *intent = store_intent(id);

	return intent == NULL ? NO_INDEX : intent->index;
}

/* Index of a refund. */
static size_t
refund_index(const char *id)
{
	const Refund *refund = store_refund(id);

	return refund == NULL ? NO_INDEX : refund->index;
}

/* GET /v1/payment_intents */
void
list_intents(Request *req)
{
	Listing		listing = {
		.req = req,
		.object = "list",
		.item = "payment_intent",
		.url = "/v1/payment_intents",
		.count = store_intent_count(),
		.matches = intent_matches,
		.render = render_listed_intent,
	};

	if (params_known(req, intent_list_params) &&
		param_page(req, &listing.limit) &&
		read_created(req, &listing.created))
		reply_list(&listing, intent_index);
}

/* GET /v1/refunds */
void
list_refunds(Request *req)
{
	Listing		listing = {
		.req = req,
		.object = "list",
		.item = "refund",
		.url = "/v1/refunds",
		.count = store_refund_count(),
		.matches = refund_matches,
		.render = render_listed_refund,
	};

	if (params_known(req, refund_list_params) &&
		param_page(req, &listing.limit) &&
		read_created(req, &listing.created))
		reply_list(&listing, refund_index);
}

/* Reads a quoted text at *at; returns a copy and moves *at past it. */
static char *
read_quoted(const char **at)
{
	char		quote = **at;
	const char *end;
	char	   *text;

	if (quote != '\'' && quote != '"')
		return NULL;
	end = strchr(*at + 1, quote);
	if (end == NULL)
		return NULL;
	text = xstrdup(*at + 1);
	text[end - *at - 1] = '\0';
	*at = end + 1;
	return text;
}

/* Reads metadata['key']:'value' at *at into wanted. */
static bool
read_clause(const char **at, Form *wanted)
{
	static const char head[] = "metadata[";
	char	   *key;
	char	   *value = NULL;

	if (strncmp(*at, head, strlen(head)) != 0)
		return false;
	*at += strlen(head);
	key = read_quoted(at);
	if (key != NULL && strncmp(*at, "]:", 2) == 0)
	{
		*at += 2;
		value = read_quoted(at);
	}
	if (value != NULL)
		form_add(wanted, key, value);
	free(key);
	free(value);
	return value != NULL;
}

/* Reads clauses joined by AND. */
static bool
read_query(const char *at, Form *wanted)
{
	static const char and[] = " AND ";

	while (read_clause(&at, wanted))
	{
		if (*at == '\0')
			return true;
		if (strncmp(at, and, strlen(and)) != 0)
			return false;
		at += strlen(and);
	}
	return false;
}

/* GET /v1/payment_intents/search, by metadata */
void
search_intents(Request *req)
{
	const char *query = form_get(&req->params, "query");
	Listing		listing = {
		.req = req,
		.object = "search_result",
		.item = "payment_intent",
		.url = "/v1/payment_intents/search",
		.created = {0, INT64_MAX},
		.count = store_intent_count(),
		.matches = intent_matches,
		.render = render_listed_intent,
	};

	if (!params_known(req, search_params) || !param_page(req, &listing.limit))
		return;
	if (query == NULL)
		reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error",
					"parameter_missing", "query",
					"Missing required param: query.");
	else if (!read_query(query, &listing.wanted))
		reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", NULL,
					"query", "We were unable to parse your search query.");
	else
		reply_page(&listing, listing.count - 1, false);
	form_free(&listing.wanted);
}
