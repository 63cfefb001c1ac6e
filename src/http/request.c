/*
 * src/http/request.c
 *		What a request to a PSP must look like, whoever made it: an adapter, or
 *		the bytes that a row holds.
 *
 * http.c sends what passes here as it is, so nothing may be missing, and
 * nothing may slip in a further header, another path or another host.
 */
#include "postgres.h"

#include "http/http_internal.h"

#define MAX_PATH			8000	/* bytes; servers take no longer lines */
#define MAX_CONTENT_TYPE	200

static const char *const methods[] = {
	[PL_HTTP_GET] = "GET",
	[PL_HTTP_POST] = "POST",
	[PL_HTTP_DELETE] = "DELETE"
};

/* Headers that http.c writes itself. */
static const char *const own_headers[] = {
	"Host", "Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding", "Connection", "Expect", "TE",
	"Trailer", "Upgrade"
};

/*
 * The method's name; NULL for what is none.
 */
const char *
pl_http_method_name(PlHttpMethod method)
{
	return (size_t) method < lengthof(methods) ? methods[method] : NULL;
}

/*
 * The method of this name; PL_HTTP_UNSET if there is none.
 */
PlHttpMethod
pl_http_method_by_name(const char *name)
{
	for (size_t i = 0; i < lengthof(methods); i++)
		if (methods[i] != NULL && strcmp(methods[i], name) == 0)
			return (PlHttpMethod) i;
	return PL_HTTP_UNSET;
}

/* Does every byte lie between these two? */
static bool
consists_of(const char *text, unsigned char first, unsigned char last)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char) *p < first || (unsigned char) *p > last)
			return false;
	return true;
}

/* Does the path hold a segment "." or "..", which leads elsewhere? */
static bool
has_dots(const char *path)
{
	for (const char *p = path; *p == '/';)
	{
		size_t		length = strcspn(++p, "/?");

		if ((length == 1 && p[0] == '.') || (length == 2 && p[0] == '.' && p[1] == '.'))
			return true;
		p += length;
	}
	return false;
}

static const char *
problem_of_path(const char *path)
{
	if (path == NULL || path[0] != '/')
		return "its path does not begin with a slash";
	if (strlen(path) > MAX_PATH)
		return "its path is too long";
	if (!consists_of(path, 0x21, 0x7e) || strchr(path, '#') != NULL)
		return "its path holds what has to be escaped";
	if (has_dots(path))
		return "its path leads to another directory";
	return NULL;
}

/*
 * Why the request cannot be sent; NULL: it can.
 */
const char *
pl_http_request_problem(const PlHttpRequest *request)
{
	const char *problem;

	if (pl_http_method_name(request->method) == NULL)
		return "it has no method";
	problem = problem_of_path(request->path);
	if (problem != NULL)
		return problem;
	if (request->method != PL_HTTP_POST)
		return request->body == NULL && request->content_type == NULL ? NULL : "only a POST has a body";
	if (request->body == NULL)
		return "it is a POST without a body";
	if (request->content_type == NULL || request->content_type[0] == '\0')
		return "it has a body without a content type";
	if (strlen(request->content_type) > MAX_CONTENT_TYPE || !consists_of(request->content_type, 0x20, 0x7e))
		return "its content type is none";
	return NULL;
}

/*
 * Raise 22023 for a request that cannot be sent.
 */
void
pl_check_http_request(const PlHttpRequest *request)
{
	const char *problem = pl_http_request_problem(request);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an adapter built a request that cannot be sent: %s", problem)));
}

/* Is the line "Name: value", and one header only? */
static bool
is_header(const char *line)
{
	size_t		name = line == NULL ? 0 : strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	if (name == 0 || line[name] != ':')
		return false;
	for (const char *p = line; *p; p++)
		if ((unsigned char) *p < 0x20 || *p == 0x7f)
			return false;
	for (size_t i = 0; i < lengthof(own_headers); i++)
		if (strlen(own_headers[i]) == name && pg_strncasecmp(own_headers[i], line, name) == 0)
			return false;
	return true;
}

/*
 * Raise 22023 unless all lines are headers that an adapter may add.  Says
 * nothing of their values, which are secrets.
 */
void
pl_check_http_headers(const List *headers)
{
	ListCell   *cell;

	foreach(cell, headers)
		if (!is_header(lfirst(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("an adapter built a request that cannot be sent: header %d is none, or not its own",
							foreach_current_index(cell) + 1)));
}
