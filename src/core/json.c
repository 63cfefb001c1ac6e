/*
 * src/core/json.c
 *		Members of a JSON object, appended to a StringInfo that the caller has
 *		begun with '{'.
 */
#include "postgres.h"

#include "core/core.h"
#include "utils/json.h"

static void
member(StringInfo out, const char *key)
{
	if (out->len > 0 && out->data[out->len - 1] != '{')
		appendStringInfoChar(out, ',');
	escape_json(out, key);
	appendStringInfoChar(out, ':');
}

/* "key":"value", or null for NULL. */
void
pl_json_text(StringInfo out, const char *key, const char *value)
{
	member(out, key);
	if (value == NULL)
		appendStringInfoString(out, "null");
	else
		escape_json(out, value);
}

/*
 * Ids are strings in JSON: they pass 2^53, above which many readers round.
 */
void
pl_json_id(StringInfo out, const char *key, int64 id)
{
	member(out, key);
	appendStringInfo(out, "\"" INT64_FORMAT "\"", id);
}

/* Minor units as a number. */
void
pl_json_amount(StringInfo out, const char *key, int64 amount)
{
	member(out, key);
	appendStringInfo(out, INT64_FORMAT, amount);
}

/* A value that is JSON already. */
void
pl_json_raw(StringInfo out, const char *key, const char *json)
{
	member(out, key);
	appendStringInfoString(out, json);
}
