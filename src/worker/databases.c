/*
 * src/worker/databases.c
 *		Which databases have workers.
 */
#include "postgres.h"

#include "utils/varlena.h"
#include "worker/worker.h"

char	   *pl_databases;

/*
 * The names in payledger.databases, palloc'd, each once.  Raises 22023 for a
 * list that cannot be parsed.
 */
List *
pl_worker_databases(void)
{
	char	   *raw = pstrdup(pl_databases);
	List	   *names;
	List	   *distinct = NIL;
	ListCell   *cell;

	if (!SplitIdentifierString(raw, ',', &names))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid list syntax in parameter \"%s\"", "payledger.databases"),
				 errhint("Separate database names by commas, and quote those with capitals.")));
	foreach(cell, names)
	{
		bool		known = false;
		ListCell   *other;

		foreach(other, distinct)
			known = known || strcmp(lfirst(other), lfirst(cell)) == 0;
		if (!known)
			distinct = lappend(distinct, lfirst(cell));
	}
	return distinct;
}
