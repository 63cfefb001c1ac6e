/*
 * test/garble/stubs.c
 *		What the files under test need of PostgreSQL and of other rooms: memory
 *		that can be reset, errors that can be caught, clocks.
 */
#include "postgres.h"

#include <setjmp.h>
#include <time.h>

#include "core/clock.h"
#include "stubs.h"
#include "storage/fd.h"
#include "utils/memutils.h"

MemoryContext CurrentMemoryContext = NULL;
int			max_safe_fds = 1000;

int			stub_external_fds = 0;
jmp_buf    *stub_catch = NULL;
char		stub_message[1000];

/* ---- memory: one arena, chunks of their own so that each end is seen ---- */

typedef struct Chunk
{
	struct Chunk *next;
	char		data[];
} Chunk;

static Chunk *chunks = NULL;

void *
palloc(Size size)
{
	Chunk	   *chunk = malloc(sizeof(Chunk) + size);

	if (chunk == NULL)
		abort();
	chunk->next = chunks;
	chunks = chunk;
	return chunk->data;
}

void
stub_reset_memory(void)
{
	while (chunks != NULL)
	{
		Chunk	   *next = chunks->next;

		free(chunks);
		chunks = next;
	}
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void
pfree(void *pointer)
{
}

/* lives as long as the gateway: the process */
void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return calloc(1, size);
}

char *
pnstrdup(const char *in, Size length)
{
	char	   *result;

	length = strnlen(in, length);
	result = palloc(length + 1);
	memcpy(result, in, length);
	result[length] = '\0';
	return result;
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

char *
MemoryContextStrdup(MemoryContext context, const char *string)
{
	return pstrdup(string);
}

char *
psprintf(const char *format,...)
{
	char		text[20000];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return pstrdup(text);
}

/* ---- errors ---- */

bool
errstart(int elevel, const char *domain)
{
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return elevel >= ERROR;
}

int
errcode(int sqlerrcode)
{
	return 0;
}

int
errcode_for_file_access(void)
{
	return 0;
}

int
errmsg(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(stub_message, sizeof(stub_message), format, args);
	va_end(args);
	return 0;
}

int
errdetail(const char *format,...)
{
	return 0;
}

int
errhint(const char *format,...)
{
	return 0;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (stub_catch != NULL)
		longjmp(*stub_catch, 1);
	fprintf(stderr, "%s:%d: %s\n", filename, lineno, stub_message);
	abort();
}

/* ---- descriptors ---- */

void
ReserveExternalFD(void)
{
	stub_external_fds++;
}

void
ReleaseExternalFD(void)
{
	stub_external_fds--;
}

/* ---- clocks ---- */

int64
pl_monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

TimestampTz
pl_now(void)
{
	const int64 epoch_difference = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

	return ((int64) time(NULL) - epoch_difference) * USECS_PER_SEC;
}

pg_time_t
timestamptz_to_time_t(TimestampTz t)
{
	return (pg_time_t) (t / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY);
}

/* ---- networks ---- */

/* the server is on this machine */
bool
pl_in_own_network(const struct sockaddr *address)
{
	return true;
}
