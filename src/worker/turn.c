/*
 * src/worker/turn.c
 *		Transactions, waits and errors of a worker.
 *
 * A worker outlives what it meets: without the extension, before setup() and
 * during a restore it waits; an error ends the turn, is logged once and shown
 * in stat_worker, and after a growing pause the role is entered again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "worker/worker_internal.h"

#define FIRST_PAUSE_MS	1000L
#define LONGEST_PAUSE_MS	60000L

PL_DEFINE_WAIT_EVENT(wait_event_worker, "PayledgerWorker")

MemoryContext pl_worker_context = NULL;
int			pl_worker_reloads = 0;

static long pause_ms = FIRST_PAUSE_MS;

/* The user of the process, to whom the end of a turn goes back. */
static Oid	process_user = InvalidOid;
static int	turn_guc_level = 0;

/* The extension whose layout was found complete: checked once a process. */
static Oid	ready_extension = InvalidOid;

/*
 * pg_restore makes primary keys and triggers of a table after its data, so a
 * table without one of them is still being filled, and a relay that took a
 * snapshot now would take what comes later for published.  DROP EXTENSION
 * CASCADE takes the triggers away as well, until setup() brings them back.
 * The tables named here are those the workers write or publish.  Tables of
 * others in the schema are not looked at.
 */
static PlQuery incomplete_table = {
	"SELECT n.name, CASE WHEN c.oid IS NULL THEN 'does not exist' WHEN p.indrelid IS NULL THEN 'has no primary key' ELSE 'has no trigger' END"
	" FROM (SELECT pg_catalog.unnest(payledger.layout_tables())) AS n(name)"
	" LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = 'payledger'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')"
	"	AND c.relname = n.name"
	" LEFT JOIN pg_catalog.pg_index p ON p.indrelid = c.oid AND p.indisprimary AND p.indisvalid"
	" WHERE p.indrelid IS NULL"
	"    OR n.name IN ('journal_entries', 'postings', 'holds', 'outbox_events', 'payment_intents',"
	"                  'payments', 'payment_orders', 'psp_requests', 'payouts', 'reserves', 'dead_letters', 'replays', 'phantoms')"
	"       AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)"
	" ORDER BY n.name LIMIT 1", 0
};

/* A restore takes its time; what is incomplete for longer is for somebody to know. */
#define INCOMPLETE_FOR_S	15.0

/* When a table was found incomplete first, on the monotonic clock; zero: none was. */
static instr_time incomplete_since;

/* Show the worker as failing, and log it now and then, when a table stays incomplete. */
static void
report_incomplete(const char *table, const char *problem)
{
	instr_time	waited;

	INSTR_TIME_SET_CURRENT(waited);
	if (INSTR_TIME_IS_ZERO(incomplete_since))
		incomplete_since = waited;
	INSTR_TIME_SUBTRACT(waited, incomplete_since);
	if (INSTR_TIME_GET_DOUBLE(waited) >= INCOMPLETE_FOR_S)
		pl_worker_report(psprintf("table payledger.%s %s", table, problem),
						 "The workers wait until a restore has ended.",
						 "If none is under way, payledger.setup() brings triggers back; a table or its primary key comes from the dump.");
}

/* Is the data layout whole?  If not, shows why in stat_worker. */
static bool
layout_is_complete(Oid extension)
{
	if (!pl_layout_exists())
	{
		pl_worker_state("waiting for payledger.setup()");
		return false;
	}
	if (extension == ready_extension)
		return true;
	if (OidIsValid(ready_extension))
	{
		/* dropped and made again, perhaps with other data: nothing learnt holds */
		ereport(LOG,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("%s restarts for the new extension", MyBgworkerEntry->bgw_name)));
		proc_exit(1);
	}
	if (pl_select(&incomplete_table, NULL) > 0)
	{
		char		state[2 * NAMEDATALEN];

		snprintf(state, sizeof(state), "waiting for restore or setup(): %s", pl_get_text(0, 1));
		pl_worker_state(state);
		report_incomplete(pl_get_text(0, 1), pl_get_text(0, 2));
		return false;
	}
	if (!INSTR_TIME_IS_ZERO(incomplete_since))
		pl_worker_clear_error();
	ready_extension = extension;
	return true;
}

/*
 * Act as the owner of the tables, who is no superuser, until the transaction
 * has ended: whatever somebody has hung on the tables runs in this process.
 * The restricted operation keeps that from becoming somebody else, from temporary
 * objects, and from putting anything off to a time after the transaction's
 * statements.  Settings that it leaves behind are taken back by
 * commit_as_owner().
 */
static void
act_as_owner(void)
{
	int			sec_context;

	GetUserIdAndSecContext(&process_user, &sec_context);
	Assert(sec_context == 0);
	SetUserIdAndSecContext(pl_owner(), SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	turn_guc_level = NewGUCNestLevel();
}

/*
 * Commit, still as the owner: deferred triggers and the like run in there.
 * PostgreSQL resets the user at the end of an aborted transaction only.
 */
static void
commit_as_owner(void)
{
	AtEOXact_GUC(false, turn_guc_level);
	CommitTransactionCommand();
	SetUserIdAndSecContext(process_user, 0);
	MemoryContextSwitchTo(pl_worker_context);
}

/*
 * The extension, held until the end of the transaction; InvalidOid if there is
 * none.  Any role can lock the extension object itself against us, with a
 * function of its own that DEPENDS ON EXTENSION.  So the lock is on one of its
 * members, all of which DROP EXTENSION locks before it goes to any table.
 */
static Oid
lock_extension(void)
{
	Oid			extension = get_extension_oid("payledger", true);
	Oid			namespace = get_namespace_oid("payledger", true);
	Oid			member;

	if (!OidIsValid(extension) || !OidIsValid(namespace))
		return InvalidOid;
	member = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("setup"),
							 PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(namespace));
	if (!OidIsValid(member))
		return InvalidOid;
	LockDatabaseObject(ProcedureRelationId, member, 0, AccessShareLock);
	if (get_extension_oid("payledger", true) != extension)
		return InvalidOid;
	return extension;
}

/*
 * Begin a turn: a transaction with an active snapshot and an open SPI
 * connection.  Returns false, with no transaction, while the extension is
 * absent, setup() has not been run, or a restore is under way.
 *
 * DROP EXTENSION waits for the turn, and the turn never sees half of it.
 */
bool
pl_worker_begin(void)
{
	Oid			extension;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, NULL);
	pl_worker_turn();

	extension = lock_extension();
	if (OidIsValid(extension))
	{
		act_as_owner();
		PushActiveSnapshot(GetTransactionSnapshot());
		pl_connect();
		if (layout_is_complete(extension))
			return true;
		pl_finish();
		PopActiveSnapshot();
		commit_as_owner();
	}
	else
	{
		pl_worker_state("waiting for CREATE EXTENSION payledger");
		CommitTransactionCommand();
		MemoryContextSwitchTo(pl_worker_context);
	}
	pgstat_report_activity(STATE_IDLE, NULL);
	return false;
}

/*
 * End a turn that pl_worker_begin() began.
 */
void
pl_worker_commit(void)
{
	pl_finish();
	PopActiveSnapshot();
	commit_as_owner();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Do what signals asked for.  Outside of turns and of any call of a foreign
 * library only: SIGTERM ends the process here.
 */
void
pl_worker_interrupts(void)
{
	/* pg_cancel_backend() cancels a statement; between turns there is none */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		pl_worker_reloads++;
	}
}

/*
 * A set to wait for the latch, the postmaster's death and fd, which becomes
 * readable.  Lives as long as the process.
 */
WaitEventSet *
pl_worker_wait_set(int fd)
{
	WaitEventSet *set = PlCreateWaitEventSet(3);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, fd, NULL, NULL);
	return set;
}

/*
 * Wait until something happens or timeout_ms passed (-1: never), and serve
 * signals.  The latch is reset before the return, so the caller looks for work
 * afterwards.  Returns whether the fd of the set is readable; set may be NULL.
 */
bool
pl_worker_wait(WaitEventSet *set, long timeout_ms)
{
	WaitEvent	events[3];
	bool		readable = false;

	/* counters that a busy worker holds back must not stay there */
	if (timeout_ms < 0 || timeout_ms >= 1000)
		pgstat_report_stat(true);

	if (set != NULL)
	{
		int			n = WaitEventSetWait(set, timeout_ms, events, lengthof(events), wait_event_worker());

		for (int i = 0; i < n; i++)
			readable = readable || (events[i].events & WL_SOCKET_READABLE) != 0;
	}
	else
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms < 0 ? 0 : WL_TIMEOUT),
						 timeout_ms, wait_event_worker());
	ResetLatch(MyLatch);
	pl_worker_interrupts();
	return readable;
}

/*
 * Pause for that long, whatever the latch says, but serve signals; a reload of
 * the configuration ends the pause.
 */
void
pl_worker_sleep(long ms)
{
	int64		end = pl_monotonic_ms() + ms;
	int			reloads = pl_worker_reloads;

	while (ms > 0 && reloads == pl_worker_reloads)
	{
		pl_worker_wait(NULL, ms);
		ms = end - pl_monotonic_ms();
	}
}

/*
 * Pause after a failure: 1 s, doubling up to a minute until
 * pl_worker_clear_error() is called.
 */
void
pl_worker_back_off(void)
{
	long		ms = pause_ms;

	pause_ms = Min(2 * pause_ms, LONGEST_PAUSE_MS);
	pl_worker_pausing(ms);
	pl_worker_sleep(ms);
}

void
pl_worker_reset_back_off(void)
{
	pause_ms = FIRST_PAUSE_MS;
}

/*
 * In PG_CATCH(): end whatever the error left open, log it unless it is the
 * same as before, and show it in stat_worker.  The process goes on.
 */
void
pl_worker_recover(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(pl_worker_context);
	error = CopyErrorData();
	if (pl_worker_record_error(error->message))
		EmitErrorReport();
	FlushErrorState();

	AbortOutOfAnyTransaction();
	/* which has gone back to the user by itself, unless the error came after the commit */
	if (OidIsValid(process_user))
		SetUserIdAndSecContext(process_user, 0);
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(pl_worker_context);
	FreeErrorData(error);
	RESUME_INTERRUPTS();
}

static void
name_the_worker(void *arg)
{
	errcontext("%s", MyBgworkerEntry->bgw_name);
}

/*
 * Run a role for the life of the process: again and again, with growing
 * pauses, after each error.
 */
void
pl_worker_run(void (*role_main) (void))
{
	ErrorContextCallback context;

	pl_worker_context = AllocSetContextCreate(TopMemoryContext, "payledger worker",
											  ALLOCSET_DEFAULT_SIZES);
	context.callback = name_the_worker;
	context.arg = NULL;
	context.previous = error_context_stack;
	error_context_stack = &context;

	for (;;)
	{
		PG_TRY();
		{
			MemoryContextReset(pl_worker_context);
			MemoryContextSwitchTo(pl_worker_context);
			role_main();
		}
		PG_CATCH();
		{
			pl_worker_recover();
		}
		PG_END_TRY();
		pl_worker_state("pausing after an error");
		pl_worker_back_off();
	}
}
