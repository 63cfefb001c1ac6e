/*-------------------------------------------------------------------------
 *
 * pages.c
 *		Pages of a list, newest object first, as all of Stripe's lists are.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

/* Reads created and created[gt|gte|lt|lte]. */
bool
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
bool
created_within(const Created *created, time_t when)
{
	return (int64_t) when >= created->least && (int64_t) when <= created->most;
}

/* Was the parameter not sent, or sent with this value? */
bool
param_is(const Listing *listing, const char *name, const char *value)
{
	const char *sent = form_get(&listing->req->params, name);

	return sent == NULL || (value != NULL && strcmp(sent, value) == 0);
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
void
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
void
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
