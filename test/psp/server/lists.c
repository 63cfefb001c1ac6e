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
