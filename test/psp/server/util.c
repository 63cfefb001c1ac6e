/*-------------------------------------------------------------------------
 *
 * util.c
 *		Memory, text buffers, shared bodies, ids, clocks.
 *
 * Running out of memory ends the process: a test server has nothing to save.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "psp.h"

/* Ends the process when an allocation failed. */
static void *
checked(void *ptr)
{
	if (ptr == NULL)
	{
		fputs("psp-server: out of memory\n", stderr);
		abort();
	}
	return ptr;
}

/* calloc that cannot fail. */
void *
xcalloc(size_t count, size_t size)
{
	return checked(calloc(count, size));
}

/* realloc that cannot fail; size is never 0. */
void *
xrealloc(void *ptr, size_t size)
{
	return checked(realloc(ptr, size));
}

/* strdup that cannot fail; NULL stays NULL. */
char *
xstrdup(const char *text)
{
	return text == NULL ? NULL : checked(strdup(text));
}

/* Makes room for len more bytes and a NUL. */
static void
buf_reserve(StrBuf *buf, size_t len)
{
	size_t		needed = buf->len + len + 1;

	if (needed <= buf->size)
		return;
	while (buf->size < needed)
		buf->size = buf->size == 0 ? 256 : buf->size * 2;
	buf->data = xrealloc(buf->data, buf->size);
}

/* Appends bytes; the buffer stays NUL-terminated. */
void
buf_append(StrBuf *buf, const char *data, size_t len)
{
	buf_reserve(buf, len);
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

/* Appends a string. */
void
buf_puts(StrBuf *buf, const char *text)
{
	buf_append(buf, text, strlen(text));
}

/* Appends formatted text. */
void
buf_printf(StrBuf *buf, const char *format,...)
{
	va_list		args;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return;
	buf_reserve(buf, (size_t) len);
	va_start(args, format);
	vsnprintf(buf->data + buf->len, (size_t) len + 1, format, args);
	va_end(args);
	buf->len += (size_t) len;
}

/* Frees what the buffer holds and empties it. */
void
buf_free(StrBuf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}

/* Turns the buffer into a body with one reference; the buffer is emptied. */
Body *
body_take(StrBuf *buf)
{
	Body	   *body = checked(malloc(sizeof(Body) + buf->len + 1));

	body->refs = 1;
	body->len = buf->len;
	if (buf->len > 0)
		memcpy(body->data, buf->data, buf->len);
	body->data[buf->len] = '\0';
	buf_free(buf);
	return body;
}

/* Takes one more reference. */
Body *
body_share(Body *body)
{
	body->refs++;
	return body;
}

/* Gives one reference back; NULL is fine. */
void
body_release(Body *body)
{
	if (body != NULL && --body->refs == 0)
		free(body);
}

/* Scatters the bits of a number (the finalizer of splitmix64). */
uint64_t
mix64(uint64_t value)
{
	value ^= value >> 30;
	value *= UINT64_C(0xbf58476d1ce4e5b9);
	value ^= value >> 27;
	value *= UINT64_C(0x94d049bb133111eb);
	value ^= value >> 31;
	return value;
}

/* FNV-1a, finished with mix64. */
uint64_t
hash_bytes(const char *data, size_t len)
{
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
	{
		hash ^= (unsigned char) data[i];
		hash *= UINT64_C(0x100000001b3);
	}
	return mix64(hash);
}

/* Pseudo-random numbers, seeded by the kernel: ids differ between runs. */
uint64_t
random64(void)
{
	static uint64_t state;

	if (state == 0 && getrandom(&state, sizeof(state), 0) != sizeof(state))
		state = (uint64_t) time(NULL);
	state += UINT64_C(0x9e3779b97f4a7c15);
	return mix64(state);
}

/* Writes prefix and length random letters or digits; dst has ID_SIZE bytes. */
void
make_id(char *dst, const char *prefix, int length)
{
	static const char alphabet[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t		at = strlen(prefix);
	uint64_t	bits = 0;

	memcpy(dst, prefix, at);
	for (int i = 0; i < length; i++)
	{
		if (i % 10 == 0)
			bits = random64();
		dst[at++] = alphabet[bits % 62];
		bits /= 62;
	}
	dst[at] = '\0';
}

/* Milliseconds of a clock. */
static int64_t
read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Milliseconds of a clock that never goes back. */
int64_t
now_ms(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* Milliseconds since 1970. */
int64_t
wall_ms(void)
{
	return read_clock(CLOCK_REALTIME);
}
