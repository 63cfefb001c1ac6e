/*
 * test/garble/replies.c
 *		Replies that are right, and what is done to them.
 *
 * A reply is put together from parts, each of which may be odd: interim
 * replies, a status line, header lines, a framing of the body, trailers.  Then
 * some bytes of the whole may be changed, cut off, doubled or moved.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garble.h"

#define PICK(random, ...) \
	(((const char *const []) {__VA_ARGS__})[random_below((random), sizeof((const char *const []) {__VA_ARGS__}) / sizeof(char *))])

static void
make_room(Reply *reply, size_t length)
{
	while (reply->length + length > reply->allocated)
	{
		reply->allocated = reply->allocated ? 2 * reply->allocated : 65536;
		reply->bytes = realloc(reply->bytes, reply->allocated);
		if (reply->bytes == NULL)
			abort();
	}
}

static void
add_bytes(Reply *reply, const char *bytes, size_t length)
{
	if (length == 0)
		return;
	make_room(reply, length);
	memcpy(reply->bytes + reply->length, bytes, length);
	reply->length += length;
}

static void
add(Reply *reply, const char *format,...)
{
	char		text[4096];
	va_list		args;
	int			n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	add_bytes(reply, text, n < (int) sizeof(text) ? (size_t) n : sizeof(text) - 1);
}

static void
add_run(Reply *reply, char c, size_t n)
{
	if (n == 0)
		return;
	make_room(reply, n);
	memset(reply->bytes + reply->length, c, n);
	reply->length += n;
}

static void
add_line_end(Reply *reply, Random *random)
{
	if (chance(random, 95))
		add(reply, "\r\n");
	else
		add(reply, "%s", PICK(random, "\n", "\r", "\r\r\n", "", "\n\n", "\r\n \r\n"));
}

/* A header line, true or odd. */
static void
add_header(Reply *reply, Random *random)
{
	switch (random_below(random, 16))
	{
		case 0:					/* begins with what continues a line */
			add(reply, "%s%s", PICK(random, " ", "\t", "  ", " \t", "\t "), PICK(random, "x: y", "x", ":", "", "x:", " : z"));
			if (chance(random, 30))
				add_run(reply, 'f', random_below(random, 9000));
			break;
		case 1:					/* a fold */
			add(reply, "X-Folded: a");
			for (uint64_t i = random_below(random, chance(random, 5) ? 3000 : 4); i > 0; i--)
				add(reply, "\r\n%s%s", PICK(random, " ", "\t"), PICK(random, "b", "", "c: d", "  "));
			break;
		case 2:
			add_bytes(reply, "X-Nul: a\0b", 10);
			break;
		case 3:
			add(reply, "X-Long: ");
			add_run(reply, 'l', random_below(random, chance(random, 10) ? 120000 : 2000));
			break;
		case 4:
			add(reply, "Retry-After: %s", PICK(random, "1", "-1", "99999999999999999999", "x", "", "Thu, 01 Jan 1970 00:00:00 GMT",
											  "Fri, 31 Dec 9999 23:59:59 GMT", "1e9", " 5 "));
			break;
		case 5:
			add(reply, "%s", PICK(random, ":", ": x", "x", "x :y", "\x80\xff: x", "X-\x01: y", "=?: x", "Set-Cookie: a=b; Domain=x"));
			break;
		case 6:
			add(reply, "%s: %s", PICK(random, "Connection", "Proxy-Connection", "Keep-Alive"),
				PICK(random, "close", "keep-alive", "upgrade, close", "timeout=0", ""));
			break;
		case 7:
			add(reply, "%s: %s", PICK(random, "Upgrade", "Alt-Svc", "Location", "Trailer", "WWW-Authenticate", "HTTP/1.1 200 X"),
				PICK(random, "h2c", "h2=\":1\"; ma=9", "http://127.0.0.1:1/", "X", "Basic realm=\"x", "Negotiate"));
			break;
		case 8:
			add(reply, "Content-Encoding: %s", PICK(random, "identity", "gzip", "", "x, y"));
			break;
		case 9:
			add(reply, "Content-Range: %s", PICK(random, "bytes 0-1/2", "bytes */*", "bytes -1", "bytes 99999999999999999999-/"));
			break;
		default:
			add(reply, "X-%d: %d", (int) random_below(random, 1000), (int) random_below(random, 1000));
			break;
	}
	add_line_end(reply, random);
}

static void
add_headers(Reply *reply, Random *random)
{
	uint64_t	n = chance(random, 2) ? random_below(random, 6000) : random_below(random, 6);

	while (n-- > 0)
		add_header(reply, random);
}

static void
add_status_line(Reply *reply, Random *random)
{
	if (chance(random, 90))
		add(reply, "HTTP/1.1 %s X", PICK(random, "200", "201", "204", "304", "400", "402", "404", "409", "429", "500", "503"));
	else
		add(reply, "%s", PICK(random, "HTTP/1.0 200 OK", "HTTP/2 200", "HTTP/9.9 200 X", "HTTP/1.1 99999 X", "HTTP/1.1 -1 X", "HTTP/1.1",
							  "HTTP/1.1 000 X", "HTTP/1.1 020 X", "HTTP/1.1 600 X", "HTTP/1.1 999 X", "ICY 200 OK", "HTTP/1.1 200", " HTTP/1.1 200 X", "http/1.1 200 X", "HTTP/1.1  200 X",
							  "HTTP/1.1 2000 X", "HTTP/", "RTSP/1.0 200 OK", "HTTP/1.1 206 X", "HTTP/1.1 416 X", "HTTP/1.1 401 X", ""));
	add_line_end(reply, random);
}

static void
add_interim_replies(Reply *reply, Random *random)
{
	uint64_t	n = chance(random, 80) ? 0 : chance(random, 5) ? random_below(random, 4000) : 1 + random_below(random, 3);

	while (n-- > 0)
	{
		add(reply, "HTTP/1.1 %s X", PICK(random, "100", "102", "103", "199", "101"));
		add_line_end(reply, random);
		if (chance(random, 30))
			add_header(reply, random);
		add(reply, "\r\n");
	}
}

static const char *
odd_length(Random *random)
{
	return PICK(random, "-1", "x", "", "99999999999999999999", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
				"18446744073709551615", "2147483648", "4294967296", "0x10", "1,2", "+5", "00", " 3 ", "3 3", "1e3", "-0");
}

static void
add_body(Reply *reply, Random *random, size_t length)
{
	add(reply, "{\"id\": \"");
	add_run(reply, 'b', length);
	add(reply, "\"}");
}

static void
add_chunked(Reply *reply, Random *random, size_t length)
{
	int			nchunks = (int) random_below(random, 5);

	for (int i = 0; i < nchunks; i++)
	{
		size_t		part = chance(random, 90) ? 1 + random_below(random, length + 1) : 0;

		if (chance(random, 5))
			add(reply, "%s", PICK(random, "7fffffffffffffff", "8000000000000000", "ffffffffffffffff", "-1", "g", "0x5", "", "00000000000000000000000005",
								  "10000000000000000"));
		else
			add(reply, "%zx", part);
		if (chance(random, 20))
		{
			add(reply, ";x=");
			add_run(reply, 'y', random_below(random, chance(random, 5) ? 40000 : 50));
		}
		add_line_end(reply, random);
		add_run(reply, 'c', part);
		add_line_end(reply, random);
	}
	if (chance(random, 90))
		add(reply, "0\r\n");
	if (chance(random, 30))
		add_headers(reply, random);
	if (chance(random, 95))
		add(reply, "\r\n");
}

/* The rest of the head, and the body. */
static void
add_framed_body(Reply *reply, Random *random)
{
	size_t		length = chance(random, 1) ? random_below(random, 300000) : random_below(random, 3000);
	size_t		whole = length + 10;

	switch (random_below(random, 8))
	{
		case 0:
			add(reply, "Transfer-Encoding: chunked\r\n");
			if (chance(random, 10))
				add(reply, "Content-Length: %zu\r\n", (size_t) random_below(random, 2 * whole));
			add_headers(reply, random);
			add(reply, "\r\n");
			add_chunked(reply, random, length);
			return;
		case 1:
			add(reply, "Transfer-Encoding: %s\r\n\r\n", PICK(random, "gzip, chunked", "chunked, chunked", "identity", "x", "", "chunked;x", "Chunked"));
			add_chunked(reply, random, length);
			return;
		case 2:
			reply->close = 1;
			break;
		case 3:
			add(reply, "Content-Length: %s\r\n", odd_length(random));
			break;
		case 4:
			add(reply, "Content-Length: %zu\r\n", (size_t) random_below(random, 2 * whole));
			break;
		case 5:
			add(reply, "Content-Length: %zu\r\nContent-Length: %zu\r\n", whole, (size_t) random_below(random, 2 * whole));
			break;
		default:
			add(reply, "Content-Length: %zu\r\n", whole);
			break;
	}
	if (chance(random, 20))
		add_headers(reply, random);
	add(reply, "\r\n");
	add_body(reply, random, length);
}

/* Change the bytes themselves. */
static void
spoil(Reply *reply, Random *random)
{
	size_t		at = random_below(random, reply->length + 1);
	size_t		head = chance(random, 50) ? random_below(random, reply->length < 200 ? reply->length + 1 : 200) : at;

	if (reply->length == 0)
		return;
	switch (random_below(random, 5))
	{
		case 0:
			for (uint64_t i = 1 + random_below(random, 6); i > 0; i--)
				reply->bytes[random_below(random, chance(random, 50) ? reply->length : (reply->length < 300 ? reply->length : 300))] =
					"\0\xff\r\n: \t01"[random_below(random, 9)];
			break;
		case 1:
			reply->length = at;
			break;
		case 2:
			{
				char		copy[512];
				size_t		n = reply->length - head < sizeof(copy) ? reply->length - head : sizeof(copy);

				memcpy(copy, reply->bytes + head, n);
				add_bytes(reply, copy, n);
				break;
			}
		case 3:					/* something in between */
			{
				const char *more = PICK(random, "\r\n", "\n", " ", "\t", "\r\n ", "\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\t: ", "0\r\n\r\n");
				size_t		n = strlen(more);

				add_bytes(reply, more, n);
				memmove(reply->bytes + head + n, reply->bytes + head, reply->length - n - head);
				memcpy(reply->bytes + head, more, n);
				break;
			}
		case 4:
			add_run(reply, 'z', random_below(random, 5000));
			break;
	}
}

/*
 * The bytes of one reply.
 */
void
reply_garbled(Reply *reply, Random *random)
{
	reply->length = 0;
	reply->close = chance(random, 20);
	add_interim_replies(reply, random);
	add_status_line(reply, random);
	/* the first line behind the status line is the one that libcurl 7.88.1 fell over */
	if (chance(random, 10))
	{
		add(reply, "%s%s", PICK(random, " ", "\t"), PICK(random, "x: ", "", ": ", "Content-Length: 3"));
		add_run(reply, 'f', random_below(random, chance(random, 10) ? 9000 : 60));
		add(reply, "\r\n");
	}
	add_headers(reply, random);
	add_framed_body(reply, random);
	while (chance(random, 30))
		spoil(reply, random);
	if (chance(random, 10))
		reply->close = 1;
}
