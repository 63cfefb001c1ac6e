/*
 * src/ledger/progress.c
 *		What posting shows to other processes while it is under way: how far
 *		each call of post_entries() has come, and how many postings wait to be
 *		folded.
 *
 * A backend has one slot and is the only one to write it.  Every member is an
 * atomic of its own; a reader believes them if the pid before and after is the
 * same.  Nothing here decides about money, so no lock is worth its cost.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "funcapi.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* a fold is worth its transaction for as many postings */
#define POSTINGS_PER_FOLD 1000

/*
 * Databases hash onto these.  Two that meet share a counter: the fold of one
 * resets both, and the other waits for the keeper's interval.
 */
#define FOLD_COUNTERS 64

typedef struct ProgressSlot
{
	pg_atomic_uint32 pid;		/* 0: nothing under way.  Written last, cleared first */
	pg_atomic_uint32 database;
	pg_atomic_uint32 phase;		/* PlPhase */
	pg_atomic_uint32 entries_total;
	pg_atomic_uint32 entries_done;
} ProgressSlot;

typedef struct LedgerShared
{
	pg_atomic_uint64 unfolded[FOLD_COUNTERS];	/* postings written since a fold began */
	int			nslots;
	ProgressSlot slots[FLEXIBLE_ARRAY_MEMBER];
} LedgerShared;

static LedgerShared *ledger_shared = NULL;

/* A call may run within another one, from a trigger; only the outer is shown. */
static int	depth = 0;

PG_FUNCTION_INFO_V1(pl_sql_stat_progress_post_entries);

/*
 * Bytes of shared memory: a slot for each process that may run SQL.
 */
Size
pl_ledger_shmem_size(void)
{
	return add_size(offsetof(LedgerShared, slots), mul_size(sizeof(ProgressSlot), MaxBackends));
}

/*
 * Attach to the shared memory, initializing it if this is the first process.
 * Called by the shmem_startup_hook with AddinShmemInitLock held.
 */
void
pl_ledger_shmem_init(void)
{
	bool		found;

	ledger_shared = ShmemInitStruct("payledger ledger", pl_ledger_shmem_size(), &found);
	if (found)
		return;

	for (int i = 0; i < FOLD_COUNTERS; i++)
		pg_atomic_init_u64(&ledger_shared->unfolded[i], 0);
	ledger_shared->nslots = MaxBackends;
	for (int i = 0; i < ledger_shared->nslots; i++)
	{
		ProgressSlot *slot = &ledger_shared->slots[i];

		pg_atomic_init_u32(&slot->pid, 0);
		pg_atomic_init_u32(&slot->database, InvalidOid);
		pg_atomic_init_u32(&slot->phase, PL_PHASE_PARSING);
		pg_atomic_init_u32(&slot->entries_total, 0);
		pg_atomic_init_u32(&slot->entries_done, 0);
	}
}

/* ---- progress ---- */

static ProgressSlot *
my_slot(void)
{
	pl_require_preload();
	return &ledger_shared->slots[PlMyBackendIndex()];
}

/* A session that is terminated runs no PG_FINALLY(). */
static void
clear_at_exit(int code, Datum arg)
{
	pg_atomic_write_u32(&my_slot()->pid, 0);
}

/*
 * Show this backend as posting so many entries, in its first phase, until
 * pl_progress_end().  The caller ends it after an error, too.
 */
void
pl_progress_begin(int entries_total)
{
	static bool registered = false;
	ProgressSlot *slot = my_slot();

	if (!registered)
	{
		before_shmem_exit(clear_at_exit, (Datum) 0);
		registered = true;
	}
	if (depth++ > 0)
		return;
	pg_atomic_write_u32(&slot->database, MyDatabaseId);
	pg_atomic_write_u32(&slot->phase, PL_PHASE_PARSING);
	pg_atomic_write_u32(&slot->entries_total, entries_total);
	pg_atomic_write_u32(&slot->entries_done, 0);
	pg_write_barrier();
	pg_atomic_write_u32(&slot->pid, MyProcPid);
}

/* Show the phase that the call has entered. */
void
pl_progress_phase(PlPhase phase)
{
	if (depth == 1)
		pg_atomic_write_u32(&my_slot()->phase, phase);
}

/* Show how many entries are written. */
void
pl_progress_update(int entries_done)
{
	if (depth != 1)
		return;
	pg_atomic_write_u32(&my_slot()->entries_done, entries_done);
	pg_atomic_write_u32(&my_slot()->phase, PL_PHASE_WRITING);
}

/* Show nothing any more.  May run in an aborted transaction. */
void
pl_progress_end(void)
{
	if (depth > 0 && --depth == 0)
		pg_atomic_write_u32(&my_slot()->pid, 0);
}

static const char *
phase_name(uint32 phase)
{
	switch ((PlPhase) phase)
	{
		case PL_PHASE_PARSING:
			return "parsing";
		case PL_PHASE_CHECKING:
			return "checking";
		case PL_PHASE_WRITING:
			return "writing";
	}
	return "unknown";
}

/*
 * stat_progress_post_entries() RETURNS TABLE (pid, datid, phase, entries_total,
 *		entries_processed)
 */
Datum
pl_sql_stat_progress_post_entries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	pl_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < ledger_shared->nslots; i++)
	{
		ProgressSlot *slot = &ledger_shared->slots[i];
		uint32		pid = pg_atomic_read_u32(&slot->pid);
		Datum		values[5];
		bool		nulls[5] = {false};

		if (pid == 0)
			continue;
		pg_read_barrier();
		values[0] = Int32GetDatum((int32) pid);
		values[1] = ObjectIdGetDatum(pg_atomic_read_u32(&slot->database));
		values[2] = CStringGetTextDatum(phase_name(pg_atomic_read_u32(&slot->phase)));
		values[3] = Int64GetDatum((int64) pg_atomic_read_u32(&slot->entries_total));
		values[4] = Int64GetDatum((int64) pg_atomic_read_u32(&slot->entries_done));
		pg_read_barrier();
		if (pg_atomic_read_u32(&slot->pid) == pid)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- postings that wait for a fold ---- */

static pg_atomic_uint64 *
unfolded(void)
{
	pl_require_preload();
	return &ledger_shared->unfolded[murmurhash32(MyDatabaseId) % FOLD_COUNTERS];
}

/*
 * Count postings that this transaction has written; the keeper wakes at its
 * commit if a fold is due by then.  Those of an abort stay counted, and only
 * make a fold come early.
 */
void
pl_count_postings(int n)
{
	if (pg_atomic_add_fetch_u64(unfolded(), n) >= POSTINGS_PER_FOLD)
		pl_wake_at_commit(PL_ROLE_KEEPER);
}

/* Were enough postings written in this database that a fold should not wait? */
bool
pl_fold_is_due(void)
{
	return pg_atomic_read_u64(unfolded()) >= POSTINGS_PER_FOLD;
}

/*
 * A fold begins: count from zero.  Postings that are counted but not committed
 * are left to the next fold, which comes by the keeper's interval at the latest.
 */
void
pl_fold_counted(void)
{
	pg_atomic_write_u64(unfolded(), 0);
}
