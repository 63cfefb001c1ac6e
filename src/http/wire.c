/*
 * src/http/wire.c
 *		The stored form of a request, and form bodies.
 *
 * The stored form describes itself:
 *
 *		POST /v1/payment_intents
 *		Content-Type: application/x-www-form-urlencoded
 *		(blank line)
 *		amount=2900&currency=eur...
 */
#include "postgres.h"

#include "http/http_internal.h"
#include "utils/builtins.h"

static const char content_type_header[] = "Content-Type: ";

/*
 * A request as it is stored in psp_requests.request_bytes.  Raises 22023 for
 * one that could not be sent.
 */
bytea *
pl_wire_encode(const PlHttpRequest *http)
{
	StringInfoData out;
	bytea	   *bytes;

	pl_check_http_request(http);
	initStringInfo(&out);
	appendStringInfo(&out, "%s %s\n", pl_http_method_name(http->method), http->path);
	if (http->content_type != NULL)
		appendStringInfo(&out, "%s%s\n", content_type_header, http->content_type);
	appendStringInfoChar(&out, '\n');
	if (http->body != NULL)
		appendStringInfoString(&out, http->body);

	bytes = palloc(VARHDRSZ + out.len);
	SET_VARSIZE(bytes, VARHDRSZ + out.len);
	memcpy(VARDATA(bytes), out.data, out.len);
	pfree(out.data);
	return bytes;
}

/* Cut the line off that text begins with: what follows it; NULL if it has no end. */
static char *
cut_line(char *text)
{
	char	   *end = strchr(text, '\n');

	if (end == NULL)
		return NULL;
	*end = '\0';
	return end + 1;
}

/* Cut the stored text up; false if it has another form. */
static bool
parse_stored(char *text, PlHttpRequest *http)
{
	char	   *line = text;
	char	   *rest = cut_line(line);
	char	   *path = strchr(line, ' ');

	if (rest == NULL || path == NULL)
		return false;
	*path++ = '\0';
	http->method = pl_http_method_by_name(line);
	http->path = path;

	line = rest;
	rest = cut_line(line);
	if (rest != NULL && strncmp(line, content_type_header, strlen(content_type_header)) == 0)
	{
		http->content_type = line + strlen(content_type_header);
		line = rest;
		rest = cut_line(line);
	}
	if (rest == NULL || *line != '\0')
		return false;
	if (http->content_type != NULL)
		http->body = rest;
	return http->content_type != NULL || *rest == '\0';
}

/*
 * The request that was stored; strings are palloc'd.  Raises XX001 for bytes
 * that pl_wire_encode() does not write.
 */
void
pl_wire_decode(bytea *bytes, PlHttpRequest *http)
{
	size_t		length = VARSIZE_ANY_EXHDR(bytes);
	char	   *text = palloc(length + 1);
	const char *problem = NULL;

	memcpy(text, VARDATA_ANY(bytes), length);
	text[length] = '\0';
	memset(http, 0, sizeof(PlHttpRequest));
	if (strlen(text) != length || !parse_stored(text, http) ||
		(problem = pl_http_request_problem(http)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stored bytes of a gateway request are damaged: %s", problem ? problem : "they are no request")));
}

static void
append_escaped(StringInfo out, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
	{
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
			strchr("-._~", *p) != NULL)
			appendStringInfoCharMacro(out, (char) *p);
		else
		{
			appendStringInfoCharMacro(out, '%');
			appendStringInfoCharMacro(out, hex[*p >> 4]);
			appendStringInfoCharMacro(out, hex[*p & 15]);
		}
	}
}

/*
 * Add a pair to a form body; brackets in name are left as they are.
 */
void
pl_form_add(StringInfo form, const char *name, const char *value)
{
	if (form->len > 0)
		appendStringInfoChar(form, '&');
	appendStringInfoString(form, name);
	appendStringInfoChar(form, '=');
	append_escaped(form, value);
}

void
pl_form_add_int64(StringInfo form, const char *name, int64 value)
{
	char		digits[MAXINT8LEN + 1];

	pg_lltoa(value, digits);
	pl_form_add(form, name, digits);
}

/*
 * Text as it may stand in a URL's path or query, palloc'd.
 */
char *
pl_url_escape(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	append_escaped(&out, text);
	return out.data;
}
