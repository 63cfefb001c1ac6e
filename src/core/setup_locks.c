/*
 * src/core/setup_locks.c
 *		Locks of what setup() makes, beside payments that go on.
 *
 * A payment that waits for a table which setup() has, while setup() waits for
 * one which the payment has, is a deadlock, and whoever waits for the longest
 * looks for it after deadlock_timeout.  So setup() has all its locks before
 * anybody can have waited for one of them as long as that, or gives up.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(pl_sql_lock_for_setup);

/* As replacing a view, or making a trigger on a table, will lock it. */
static void
lock_relation(Oid relation, int64 wait_ms)
{
	int			save_nestlevel = NewGUCNestLevel();
	char		value[32];

	if (LockTimeout > 0)
		wait_ms = Min(wait_ms, LockTimeout);
	snprintf(value, sizeof(value), INT64_FORMAT "ms", Max(wait_ms, 1));
	(void) set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	LockRelationOid(relation, get_rel_relkind(relation) == RELKIND_VIEW ? AccessExclusiveLock : ShareRowExclusiveLock);
	AtEOXact_GUC(true, save_nestlevel);
}

/* The same, and say in our own words that it was not to be had. */
static void
lock_or_give_way(Oid relation, const char *name, int64 wait_ms)
{
	MemoryContext oldcontext = CurrentMemoryContext;

	PG_TRY();
	{
		lock_relation(relation, wait_ms);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("payledger.setup() gives way to transactions that use payledger.%s", name),
				 errdetail("Triggers or views have to be made, and the locks for that were not to be had within half of deadlock_timeout."),
				 errhint("Nothing has been changed. Run it again when no long transaction is open; pg_locks shows whose they are.")));
	}
	PG_END_TRY();
}

/*
 * lock_for_setup(names text[]) RETURNS void: those that exist of these tables
 * and views, one after the other.
 */
Datum
pl_sql_lock_for_setup(PG_FUNCTION_ARGS)
{
	int64		end;
	Oid			namespace;
	Datum	   *names;
	bool	   *nulls;
	int			n;

	pl_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	namespace = get_namespace_oid("payledger", false);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	end = pl_monotonic_ms() + DeadlockTimeout / 2;
	for (int i = 0; i < n; i++)
	{
		char	   *name = nulls[i] ? NULL : TextDatumGetCString(names[i]);
		Oid			relation = name ? get_relname_relid(name, namespace) : InvalidOid;

		if (OidIsValid(relation))
			lock_or_give_way(relation, name, end - pl_monotonic_ms());
	}
	PG_RETURN_VOID();
}
