/*
 * src/http/reply.c
 *		Reading the headers of a reply.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <time.h>

#include "http/http.h"

/*
 * Value of a reply's header, palloc'd; NULL if it has none.
 */
char *
pl_http_header(const PlHttpReply *reply, const char *name)
{
	size_t		length = strlen(name);

	for (const char *line = reply->headers; *line;)
	{
		const char *end = strchr(line, '\n');

		if (end == NULL)
			end = line + strlen(line);
		if (pg_strncasecmp(line, name, length) == 0 && line[length] == ':')
		{
			const char *value = line + length + 1;
			const char *value_end = end;

			while (value < value_end && (*value == ' ' || *value == '\t'))
				value++;
			while (value_end > value && strchr(" \t\r", value_end[-1]) != NULL)
				value_end--;
			return pnstrdup(value, value_end - value);
		}
		line = *end ? end + 1 : end;
	}
	return NULL;
}

/*
 * What the Retry-After header asks for, in ms: seconds or a date; -1 without
 * a usable one.
 */
long
pl_http_retry_after_ms(const PlHttpReply *reply)
{
	char	   *value = pl_http_header(reply, "Retry-After");
	char	   *end;
	long		seconds;

	if (value == NULL || *value == '\0')
		return -1;
	seconds = strtol(value, &end, 10);
	if (*end != '\0')
	{
		time_t		at = curl_getdate(value, NULL);

		if (at == (time_t) -1)
			return -1;
		seconds = (long) (at - timestamptz_to_time_t(pl_now()));
	}
	/* nobody asks for more than a day in earnest */
	return Min(Max(seconds, 0), 24 * 3600) * 1000;
}
