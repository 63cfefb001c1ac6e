/*
 * sanitize_selftest.c
 *	  Faults, each of which make check-sanitize or make check-valgrind must
 *	  notice.
 *
 * sanitize_selftest(fault) does what its argument names.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(sanitize_selftest);

/* where the compiler cannot follow it */
static volatile int ten = 10;
static volatile int result;

static char *
context_is_gone(void)
{
	MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "selftest", ALLOCSET_SMALL_SIZES);
	char	   *text = MemoryContextStrdup(mine, "gone");

	MemoryContextDelete(mine);
	return text;
}

Datum
sanitize_selftest(PG_FUNCTION_ARGS)
{
	char	   *fault = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *chunk = palloc0(ten);
	int			limit = PG_INT32_MAX;

	if (strcmp(fault, "read 1 byte over palloc(10)") == 0)
		result = chunk[ten];
	else if (strcmp(fault, "write 1 byte before palloc(10)") == 0)
		chunk[ten - 11] = 1;
	else if (strcmp(fault, "read after pfree()") == 0)
	{
		pfree(chunk);
		result = chunk[ten - 1];
	}
	else if (strcmp(fault, "read after MemoryContextDelete()") == 0)
		result = strlen(context_is_gone());
	else if (strcmp(fault, "PostgreSQL reads 1 byte over palloc(10)") == 0)
	{
		memset(chunk, 'x', ten);
		PG_RETURN_TEXT_P(cstring_to_text(chunk));
	}
	else if (strcmp(fault, "read over malloc(10)") == 0)
	{
		char	   *block = malloc(ten);

		result = block[ten];
		free(block);
	}
	else if (strcmp(fault, "undefined byte decides") == 0)
	{
		char	   *undefined = palloc(ten);

		if (undefined[ten - 1] == 'x')
			elog(NOTICE, "by chance");
	}
	else if (strcmp(fault, "int overflow") == 0)
		result = limit + ten;
	else if (strcmp(fault, "shift by 64") == 0)
		result = limit << (ten + 54);
	else if (strcmp(fault, "failed assertion") == 0)
		Assert(ten == 11);
	else if (strcmp(fault, "relation left open") == 0)
		table_open(RelationRelationId, AccessShareLock);
	else if (strcmp(fault, "snapshot left registered") == 0)
		RegisterSnapshot(GetLatestSnapshot());
	else
		elog(ERROR, "no fault is named \"%s\"", fault);
	PG_RETURN_TEXT_P(cstring_to_text("nobody noticed"));
}
