/*
 * src/process/main.c
 *		Registration and start of the workers.
 *
 * Static workers, one for each role and database, relays as many as
 * payledger.relay_shards says, and one for the clock: the postmaster restarts
 * them, and there is no launcher that could lose one.  A worker whose database
 * does not exist ends with FATAL once, and then waits for it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "process/process_internal.h"
#include "relay/relay.h"
#include "replication/logicallauncher.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define RESTART_SECONDS 5
#define LOOK_AGAIN_MS	5000L
#define LONGEST_PAUSE_MS	60000L

pg_noreturn PGDLLEXPORT void payledger_gateway_main(Datum arg);
pg_noreturn PGDLLEXPORT void payledger_relay_main(Datum arg);
pg_noreturn PGDLLEXPORT void payledger_keeper_main(Datum arg);

static void
register_worker(PlRole role, int shard, const char *database, int slot)
{
	BackgroundWorker worker;
	const char *name = pl_role_name(role);

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_SECONDS;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "payledger");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "payledger_%s_main", name);
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "payledger %s", name);
	if (pl_role_shards(role) > 1)
		snprintf(worker.bgw_name, sizeof(worker.bgw_name), "payledger %s %d of database %s", name, shard, database);
	else
		snprintf(worker.bgw_name, sizeof(worker.bgw_name), "payledger %s of database %s", name, database);
	worker.bgw_main_arg = Int32GetDatum(slot);
	strlcpy(worker.bgw_extra, database, BGW_EXTRALEN);
	RegisterBackgroundWorker(&worker);
}

/*
 * The postmaster leaves workers out for which there is no place, the last ones,
 * and does not say whose they are.
 */
static void
check_places(void)
{
	int			ndatabases = list_length(pl_worker_databases());
	int			per_database = 0;
	int			others = max_logical_replication_workers > 0 ? 1 : 0;
	int			needed;

	for (int role = 0; role < PL_ROLE_COUNT; role++)
		per_database += pl_role_shards(role);
	needed = 1 + ndatabases * per_database + others;
	if (needed > max_worker_processes)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("max_worker_processes is %d, too small for the workers of payledger.databases",
						max_worker_processes),
				 errdetail("There is one for the server and %d for each of %d databases; %d is taken by others.",
						   per_database, ndatabases, others),
				 errhint("Set max_worker_processes to %d and what else needs some, and restart.", needed)));
}

/* First of all: it must get a place whatever max_worker_processes is. */
static void
register_clock_worker(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "payledger");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "payledger_clock_main");
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "payledger clock");
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "payledger clock");
	RegisterBackgroundWorker(&worker);
}

/*
 * Ask the postmaster for the workers of every database in payledger.databases.
 * Only while shared_preload_libraries is processed.
 */
void
pl_register_workers(void)
{
	int			slot = 0;
	ListCell   *cell;

	/* pg_upgrade starts servers only to look at and fill their catalogs */
	if (IsBinaryUpgrade)
		return;

	check_places();
	register_clock_worker();
	foreach(cell, pl_worker_databases())
	{
		for (int role = 0; role < PL_ROLE_COUNT; role++)
			for (int shard = 0; shard < pl_role_shards(role); shard++)
				register_worker(role, shard, lfirst(cell), slot++);
	}
}

/*
 * What a database, its owner or a role may have set for ordinary sessions, and
 * what would break the workers or change the meaning of their statements.
 * What only makes them slower is theirs to choose.
 */
static void
pin_settings(const char *role)
{
	static const char *const pinned[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"exit_on_error", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		{"default_tablespace", ""},
		{"temp_tablespaces", ""},
		{"default_table_access_method", "heap"},
		{"row_security", "on"},
		{"check_function_bodies", "on"},
		{"array_nulls", "on"},
		{"transform_null_equals", "off"},
		{"standard_conforming_strings", "on"},
		{"escape_string_warning", "on"},
		{"backslash_quote", "safe_encoding"},
		{"quote_all_identifiers", "off"},
		{"xmloption", "content"},
		{"bytea_output", "hex"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"client_min_messages", "notice"},
		{"jit", "off"},
	};

	SetConfigOption("role", "none", PGC_SUSET, PGC_S_OVERRIDE);
	for (int i = 0; i < (int) lengthof(pinned); i++)
		SetConfigOption(pinned[i][0], pinned[i][1], PGC_SUSET, PGC_S_OVERRIDE);

	/* what a worker has committed, it acts on: a PSP is called then */
	if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		SetConfigOption("synchronous_commit", "on", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", role, PGC_USERSET, PGC_S_OVERRIDE);
}

/*
 * Be the superuser that the connection was made as, whatever the database's
 * session_authorization says.
 */
static void
pin_user(void)
{
	StartTransactionCommand();
	SetConfigOption("session_authorization", GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false), PGC_SUSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
}

/*
 * Is there such a database, and does it take connections?  Without a database
 * of one's own neither indexes nor the catalogue caches can be relied on.
 */
static bool
database_is_open(const char *name)
{
	Relation	relation;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		result = false;

	StartTransactionCommand();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		/* -2: DROP DATABASE was interrupted */
		result = form->datallowconn && form->datconnlimit >= -1;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	return result;
}

/*
 * The database could not be connected to.  Wait for it, connected to none: each
 * further attempt would leave lines in the log, and DROP, RENAME and TEMPLATE
 * find nobody there.  Then end, for a process can connect only once.
 */
pg_noreturn static void
wait_for_database(const char *name, int failures)
{
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	/* it may be there and broken */
	if (failures > 1)
		pl_worker_sleep(Min(LOOK_AGAIN_MS << Min(failures - 2, 4), LONGEST_PAUSE_MS));
	while (!database_is_open(name))
		pl_worker_wait(NULL, LOOK_AGAIN_MS);
	proc_exit(1);
}

pg_noreturn static void
start_worker(PlRole role, Datum slot, void (*role_main) (void))
{
	char		name[NAMEDATALEN];
	int			failures;

	/* lock_timeout needs it; pl_worker_interrupts() ignores it between turns */
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	failures = pl_worker_starting(DatumGetInt32(slot));
	if (failures > 0)
		wait_for_database(MyBgworkerEntry->bgw_extra, failures);
	BackgroundWorkerInitializeConnection(MyBgworkerEntry->bgw_extra, NULL, 0);
	snprintf(name, sizeof(name), "payledger %s", pl_role_name(role));
	pin_user();
	pin_settings(name);

	pl_worker_started(DatumGetInt32(slot));
	pl_attach_worker(role, pl_worker_shard());
	pl_worker_run(role_main);
}

/*
 * Entry points of the processes; the argument is the worker's slot.
 */
void
payledger_gateway_main(Datum arg)
{
	start_worker(PL_ROLE_GATEWAY, arg, pl_gateway_main);
}

void
payledger_relay_main(Datum arg)
{
	start_worker(PL_ROLE_RELAY, arg, pl_relay_main);
}

void
payledger_keeper_main(Datum arg)
{
	start_worker(PL_ROLE_KEEPER, arg, pl_keeper_main);
}
