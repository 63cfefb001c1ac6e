/*
 * src/core/wakeup.c
 *		Waking the workers at commit, and backends that wait for a worker.
 *
 * A command that leaves work for a worker raises a flag; the worker's latch is
 * set once the commit is visible, its invalidations are sent and its locks are
 * gone: a worker that looked before would miss a changed gateway, or find the
 * rows locked, and sleep on.  COMMIT
 * PREPARED runs no callback of the preparing session, and nothing says what is
 * in the transaction, so it wakes all workers of its database.  In the other
 * direction workers announce topics; a topic is hashed onto a condition
 * variable.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "core/core.h"
#include "core/shared.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/resowner.h"

PL_DEFINE_WAIT_EVENT(wait_event_progress, "PayledgerProgress")

static bool wake_flags[PL_ROLE_COUNT];
static bool wake_after_locks[PL_ROLE_COUNT];	/* those of the transaction that commits */
static PlWorkerSlot *my_slot = NULL;
static ProcessUtility_hook_type previous_process_utility = NULL;

/*
 * Set the latches of the workers with that role in this database that run.
 */
void
pl_wake_worker(PlRole role)
{
	Latch	   *latches[PL_MAX_RELAY_SHARDS];
	int			n = 0;

	SpinLockAcquire(&pl_core_shared->slot_lock);
	for (int i = 0; i < PL_WORKER_SLOTS && n < PL_MAX_RELAY_SHARDS; i++)
	{
		PlWorkerSlot *slot = &pl_core_shared->slots[i];

		if (slot->database == MyDatabaseId && slot->role == (int) role)
			latches[n++] = slot->latch;
	}
	SpinLockRelease(&pl_core_shared->slot_lock);

	/* if a worker has just gone, another process wakes once for nothing */
	for (int i = 0; i < n; i++)
		SetLatch(latches[i]);
}

/* May not raise an error: the transaction has committed. */
static void
note_commit(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	for (int role = 0; role < PL_ROLE_COUNT; role++)
	{
		wake_after_locks[role] = wake_flags[role] && event == XACT_EVENT_COMMIT;
		wake_flags[role] = false;
	}
}

/* The same: may not raise an error. */
static void
wake_after_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit || !is_top_level)
		return;
	for (int role = 0; role < PL_ROLE_COUNT; role++)
	{
		if (wake_after_locks[role])
			pl_wake_worker(role);
		wake_after_locks[role] = false;
	}
}

/*
 * Wake that worker of this database when the current transaction commits.
 */
void
pl_wake_at_commit(PlRole role)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(note_commit, NULL);
		RegisterResourceReleaseCallback(wake_after_release, NULL);
		registered = true;
	}
	wake_flags[role] = true;
}

/* Like any other commit, that of a prepared transaction wakes the workers. */
static void
wake_after_prepared(PlannedStmt *pstmt, const char *query_string, bool read_only_tree, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	/* the statement itself may be freed by what it does */
	bool		is_commit_prepared = IsA(pstmt->utilityStmt, TransactionStmt) &&
		castNode(TransactionStmt, pstmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;

	if (previous_process_utility != NULL)
		previous_process_utility(pstmt, query_string, read_only_tree, context, params, query_env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context, params, query_env, dest, qc);

	/* it is visible and its locks are gone; it can only have been prepared in this database */
	for (int role = 0; is_commit_prepared && role < PL_ROLE_COUNT; role++)
		pl_wake_worker(role);
}

/*
 * For _PG_init, while libraries are preloaded.
 */
void
pl_wakeup_init(void)
{
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = wake_after_prepared;
}

static void
detach_worker(int code, Datum arg)
{
	SpinLockAcquire(&pl_core_shared->slot_lock);
	if (my_slot != NULL && my_slot->latch == MyLatch)
		memset(my_slot, 0, sizeof(PlWorkerSlot));
	SpinLockRelease(&pl_core_shared->slot_lock);
	my_slot = NULL;
}

/*
 * Register this process as the worker of its database with that role and
 * shard, until it exits.  Raises 53400 when all slots are taken.
 */
void
pl_attach_worker(PlRole role, int shard)
{
	PlWorkerSlot *chosen = NULL;

	SpinLockAcquire(&pl_core_shared->slot_lock);
	for (int i = 0; i < PL_WORKER_SLOTS; i++)
	{
		PlWorkerSlot *slot = &pl_core_shared->slots[i];

		if (slot->database == MyDatabaseId && slot->role == (int) role && slot->shard == shard)
		{
			chosen = slot;
			break;
		}
		if (chosen == NULL && !OidIsValid(slot->database))
			chosen = slot;
	}
	if (chosen != NULL)
	{
		chosen->database = MyDatabaseId;
		chosen->role = role;
		chosen->shard = shard;
		chosen->latch = MyLatch;
	}
	SpinLockRelease(&pl_core_shared->slot_lock);

	if (chosen == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many payledger workers"),
				 errhint("List fewer databases in payledger.databases.")));
	my_slot = chosen;
	before_shmem_exit(detach_worker, (Datum) 0);
}

/* Does that worker of this database run? */
bool
pl_worker_attached(PlRole role)
{
	bool		attached = false;

	SpinLockAcquire(&pl_core_shared->slot_lock);
	for (int i = 0; i < PL_WORKER_SLOTS && !attached; i++)
		attached = pl_core_shared->slots[i].database == MyDatabaseId &&
			pl_core_shared->slots[i].role == (int) role;
	SpinLockRelease(&pl_core_shared->slot_lock);
	return attached;
}

static ConditionVariable *
topic_variable(int64 topic)
{
	return &pl_core_shared->topics[murmurhash32((uint32) topic ^ (uint32) (topic >> 32)) % PL_TOPIC_CVS];
}

/*
 * Wake every backend that waits for the topic.  Call it after the commit that
 * made the news visible.
 */
void
pl_announce(int64 topic)
{
	ConditionVariableBroadcast(topic_variable(topic));
}

/*
 * Begin to wait for a topic: an announcement after this call is not missed.
 */
void
pl_prepare_to_wait(int64 topic)
{
	ConditionVariablePrepareToSleep(topic_variable(topic));
}

/*
 * Sleep until the topic may have news or timeout_ms passed (true).  The caller
 * looks again either way.  Interruptible.
 */
bool
pl_wait(int64 topic, long timeout_ms)
{
	return ConditionVariableTimedSleep(topic_variable(topic), timeout_ms, wait_event_progress());
}

void
pl_stop_waiting(void)
{
	ConditionVariableCancelSleep();
}
