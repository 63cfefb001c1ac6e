/*
 * src/core/shared.c
 *		The core's piece of shared memory, and whether this database has the
 *		layout that this library was built for.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "core/shared.h"
#include "executor/spi.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(pl_sql_require_preload);

PlCoreShared *pl_core_shared = NULL;

/* The layout table that was found right: checked once a backend and relation. */
static Oid	checked_layout = InvalidOid;

static PlQuery layout_version = {
	"SELECT pg_catalog.max(version) FROM payledger.layout", 0
};

/*
 * Bytes of shared memory that the core needs.
 */
Size
pl_core_shmem_size(void)
{
	return MAXALIGN(sizeof(PlCoreShared));
}

/*
 * Draw the mark of this start of the server.
 */
static void
draw_mark(char *mark)
{
	uint32		drawn;

	if (!pg_strong_random(&drawn, sizeof(drawn)))
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not draw a random mark for this start of the server"),
				 errdetail("The source of random numbers failed.")));
	snprintf(mark, PL_MARK_DIGITS + 1, "%0*x", PL_MARK_DIGITS, drawn);
}

/*
 * Attach to the core's shared memory, initializing it if this is the first
 * process.  Called by the shmem_startup_hook with AddinShmemInitLock held.
 */
void
pl_core_shmem_init(void)
{
	bool		found;

	pl_core_shared = ShmemInitStruct("payledger core", sizeof(PlCoreShared), &found);
	if (found)
		return;

	memset(pl_core_shared, 0, sizeof(PlCoreShared));
	draw_mark(pl_core_shared->mark);
	pg_atomic_init_u64(&pl_core_shared->id_clock, 0);
	pg_atomic_init_u64(&pl_core_shared->id_limit, 0);
	pg_atomic_init_u64(&pl_core_shared->clock_base, 0);
	pg_atomic_init_u32(&pl_core_shared->clock_confirmations, 0);
	pl_core_shared->lock = &(GetNamedLWLockTranche("payledger"))->lock;
	SpinLockInit(&pl_core_shared->slot_lock);
	for (int i = 0; i < PL_TOPIC_CVS; i++)
		ConditionVariableInit(&pl_core_shared->topics[i]);
	pl_clock_start();
}

/*
 * Raise 55000 unless the library was loaded by shared_preload_libraries.
 */
void
pl_require_preload(void)
{
	if (pl_core_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("payledger is not loaded in shared memory"),
				 errhint("Put shared_preload_libraries = 'payledger' into postgresql.conf, beside the libraries that are there already, and restart the server.")));
}

/*
 * require_preload(): the same, for functions in other languages
 */
Datum
pl_sql_require_preload(PG_FUNCTION_ARGS)
{
	pl_require_preload();
	PG_RETURN_VOID();
}

/*
 * What tells this start of the server from every other server, those with the
 * same ids and copies of this one, too: hexadecimal digits.  Raises as
 * pl_require_preload().
 */
const char *
pl_server_mark(void)
{
	pl_require_preload();
	return pl_core_shared->mark;
}

static Oid
layout_relation(void)
{
	Oid			namespace = get_namespace_oid("payledger", true);

	return OidIsValid(namespace) ? get_relname_relid("layout", namespace) : InvalidOid;
}

/*
 * Has payledger.setup() been run here, for this version?  Needs a transaction
 * and an open SPI connection.  Raises 42501 if what has that name is not the
 * owner's table.
 */
bool
pl_layout_exists(void)
{
	Oid			relation = layout_relation();

	if (!OidIsValid(relation))
		return false;
	if (relation == checked_layout)
		return true;

	pl_require_own_table(relation, "layout");
	pl_select(&layout_version, NULL);
	if (pl_isnull(0, 1) || pl_get_int32(0, 1) != PL_LAYOUT_VERSION)
		return false;
	checked_layout = relation;
	return true;
}

/*
 * Raise PL010 unless setup() has been run here for this version, 55000 unless
 * the library is preloaded.  Needs an open SPI connection.
 */
void
pl_require_layout(void)
{
	pl_require_preload();
	if (pl_layout_exists())
		return;

	if (!OidIsValid(layout_relation()))
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_SET_UP),
				 errmsg("payledger is not set up in this database"),
				 errhint("Run SELECT payledger.setup().")));
	ereport(ERROR,
			(errcode(ERRCODE_PL_NOT_SET_UP),
			 errmsg("the payledger layout of this database is not version %d", PL_LAYOUT_VERSION),
			 errhint("Run SELECT payledger.setup() to bring it up to date.")));
}
