/*
 * fuzz.c
 *		libFuzzer within a backend: pl_fuzz(target, argument...).
 *
 * payledger.so is built with libFuzzer's instrumentation and carries its
 * driver; the server around it is the one of make check-sanitize.  So a parser
 * runs with PostgreSQL's own palloc, ereport and SPI, and every byte beyond an
 * input or an allocation is poisoned.
 *
 * A run ends its process: with what libFuzzer's exit status is, and with a
 * file of the input that failed.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "fuzz/fuzz.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/resowner.h"

/* libFuzzer */
extern int	LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback) (const uint8_t *data, size_t size));

/* inputs between looks at what is allocated, and how much it may grow, bytes */
#define MEMORY_PERIOD	20000
#define MEMORY_GROWTH	(64 * 1024 * 1024)

PG_FUNCTION_INFO_V1(pl_fuzz);

static const FuzzTarget *const tables[] = {
	fuzz_psp_targets, fuzz_webhook_targets, fuzz_ledger_targets, fuzz_file_targets, fuzz_cursor_targets
};

static const FuzzTarget *target;
static MemoryContext input_context;

/* An oracle says no: libFuzzer keeps the input. */
void
fuzz_fail(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fputs("FUZZ: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

/* A text that is going to be stored must be one; NULL may pass. */
void
fuzz_expect_text(const char *what, const char *text)
{
	if (text != NULL && !pg_verify_mbstr(GetDatabaseEncoding(), text, strlen(text), true))
		fuzz_fail("%s is no valid text", what);
}

/* A caller's JSON: PostgreSQL lets no text in that is not valid. */
Jsonb *
fuzz_jsonb(const char *text)
{
	(void) pg_verify_mbstr(GetDatabaseEncoding(), text, strlen(text), false);
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/* Exactly these bytes, NULs too, and one NUL behind them, palloc'd. */
char *
fuzz_copy(const char *data, size_t length)
{
	char	   *copy = palloc(length + 1);

	memcpy(copy, data, length);
	copy[length] = '\0';
	return copy;
}

/* The first line, palloc'd; data begins behind it. */
char *
fuzz_line(const char **data, size_t *length)
{
	const char *end = memchr(*data, '\n', *length);
	size_t		n = end ? (size_t) (end - *data) : *length;
	char	   *line = pnstrdup(*data, n);

	*length -= end ? n + 1 : n;
	*data += end ? n + 1 : n;
	return line;
}

/* The path of a file with these bytes, that only this user may read; always the same. */
char *
fuzz_file(const char *data, size_t length)
{
	static int	fd = -1;
	static char path[64];

	if (fd < 0)
	{
		fd = memfd_create("fuzz", 0);
		if (fd < 0 || fchmod(fd, 0600) != 0)
			fuzz_fail("no file in memory: %m");
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (ftruncate(fd, 0) != 0 || pwrite(fd, data, length, 0) != (ssize_t) length)
		fuzz_fail("could not write a file in memory: %m");
	return path;
}

static void
expect_no_growth(void)
{
	static uint64 inputs = 0;
	static Size before = 0;
	Size		now;

	if (++inputs % MEMORY_PERIOD != 0)
		return;
	now = MemoryContextMemAllocated(TopMemoryContext, true);
	if (before == 0)
		before = now;
	if (now > before + MEMORY_GROWTH)
	{
		MemoryContextStats(TopMemoryContext);
		fuzz_fail("memory has grown from %zu to %zu bytes", before, now);
	}
}

static void
run_input(const uint8_t *data, size_t size)
{
	target->run(fuzz_copy((const char *) data, size), size);
}

/* What is left to an error that a target may raise: nothing. */
static void
forget_error(void)
{
	if (geterrcode() == ERRCODE_INTERNAL_ERROR)
	{
		ErrorData  *error;

		MemoryContextSwitchTo(input_context);
		error = CopyErrorData();
		fuzz_fail("internal error: %s (%s, %s:%d)", error->message, error->funcname, error->filename, error->lineno);
	}
	FlushErrorState();
}

static int
one_input(const uint8_t *data, size_t size)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;

	if (target->uses_sql)
		BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(input_context);
	PG_TRY();
	{
		if (target->uses_sql)
			SPI_connect();
		run_input(data, size);
		if (target->uses_sql)
			SPI_finish();
	}
	PG_CATCH();
	{
		forget_error();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
	if (target->uses_sql)
	{
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	/* also checks every chunk, in a build with assertions */
	MemoryContextReset(input_context);
	expect_no_growth();
	return 0;
}

static const FuzzTarget *
find_target(const char *name)
{
	for (size_t t = 0; t < lengthof(tables); t++)
		for (const FuzzTarget *entry = tables[t]; entry->name != NULL; entry++)
			if (strcmp(entry->name, name) == 0)
				return entry;
	return NULL;
}

static void
list_targets(void)
{
	for (size_t t = 0; t < lengthof(tables); t++)
		for (const FuzzTarget *entry = tables[t]; entry->name != NULL; entry++)
			printf("target %s\n", entry->name);
	fflush(stdout);
	_exit(0);
}

/*
 * pl_fuzz(target text, VARIADIC arguments text[]): does not return.  Target
 * "list" lists them.
 */
Datum
pl_fuzz(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum	   *values;
	int			n;
	int			argc;
	char	  **argv;

	if (strcmp(name, "list") == 0)
		list_targets();
	target = find_target(name);
	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no target \"%s\"", name)));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	argc = n + 1;
	argv = palloc0(sizeof(char *) * (argc + 1));
	argv[0] = name;
	for (int i = 0; i < n; i++)
		argv[i + 1] = TextDatumGetCString(values[i]);

	/* libFuzzer takes only signals that nobody handles; it needs these to end a loop, or itself */
	pqsignal(SIGALRM, SIG_IGN);
	pqsignal(SIGINT, SIG_DFL);
	pqsignal(SIGTERM, SIG_DFL);
	input_context = AllocSetContextCreate(TopMemoryContext, "fuzz input", ALLOCSET_DEFAULT_SIZES);

	n = LLVMFuzzerRunDriver(&argc, &argv, one_input);
	fflush(stdout);
	_exit(n);
}
