/*
 * src/gateway/status.c
 *		What the gateway worker knows of the gateways, in shared memory, for
 *		stat_gateway.
 *
 * Entries of a database are written by its one gateway worker alone; the
 * spinlock keeps readers from seeing half of one.
 */
#include "postgres.h"

#include "funcapi.h"
#include "gateway/circuit.h"
#include "gateway/gateway_internal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* of all databases; more are not shown */
#define MAX_ENTRIES 256

/* Plain data only: shared memory outlives the process. */
typedef struct StatusEntry
{
	Oid			database;		/* InvalidOid: free */
	PlGatewayStatus status;
} StatusEntry;

typedef struct StatusShared
{
	slock_t		lock;
	StatusEntry entries[MAX_ENTRIES];
} StatusShared;

static StatusShared *status_shared = NULL;

PG_FUNCTION_INFO_V1(pl_sql_gateway_statistics);

/*
 * Bytes of shared memory for the entries.
 */
Size
pl_gateway_status_shmem_size(void)
{
	return sizeof(StatusShared);
}

/*
 * Attach to the entries, emptying them if this is the first process.  Called by
 * the shmem_startup_hook with AddinShmemInitLock held.
 */
void
pl_gateway_status_shmem_init(void)
{
	bool		found;

	status_shared = ShmemInitStruct("payledger gateways", sizeof(StatusShared), &found);
	if (found)
		return;
	memset(status_shared, 0, sizeof(StatusShared));
	SpinLockInit(&status_shared->lock);
}

static bool
is_ours(const StatusEntry *entry)
{
	return entry->database == MyDatabaseId;
}

/* This database's gateways into the first of its entries and of the free ones; the rest of its entries become free. */
static void
write_entries(const PlGatewayStatus *statuses, int n)
{
	int			written = 0;

	for (int i = 0; i < MAX_ENTRIES; i++)
	{
		StatusEntry *entry = &status_shared->entries[i];

		if (!is_ours(entry) && (entry->database != InvalidOid || written == n))
			continue;
		SpinLockAcquire(&status_shared->lock);
		/* a worker of another database may have been faster */
		if (is_ours(entry) || entry->database == InvalidOid)
		{
			entry->database = written < n ? MyDatabaseId : InvalidOid;
			if (written < n)
				entry->status = statuses[written++];
		}
		SpinLockRelease(&status_shared->lock);
	}
}

static void
clear(int code, Datum arg)
{
	write_entries(NULL, 0);
}

/*
 * Why the gateway is not asked, or the trouble with the file that its keys are
 * from: into status, cut off at the end of a character.
 */
static void
note_problem(const PlGateway *gateway, PlGatewayStatus *status)
{
	char	   *problem = pl_gateway_problem(gateway);
	const char *text = problem;

	if (text == NULL && gateway->adapter->secrets != NULL)
		text = pl_secrets_problem();
	if (text == NULL)
		return;
	memcpy(status->problem, text, pg_mbcliplen(text, strlen(text), PL_MAX_PROBLEM - 1));
	if (problem != NULL)
		pfree(problem);
}

/*
 * Show what is known now, until the process exits.  For the gateway worker.
 */
void
pl_gateway_status_publish(void)
{
	static bool registered = false;
	static PlGatewayStatus statuses[MAX_ENTRIES];
	int			n = 0;
	ListCell   *cell;

	if (!registered)
	{
		before_shmem_exit(clear, (Datum) 0);
		registered = true;
	}

	foreach(cell, pl_gateways())
	{
		const PlGateway *gateway = lfirst(cell);

		if (n == MAX_ENTRIES)
			break;
		memset(&statuses[n], 0, sizeof(PlGatewayStatus));
		strlcpy(statuses[n].gateway, gateway->name, NAMEDATALEN);
		/* a row that cannot be used has no limits */
		if (gateway->limits != NULL)
			pl_limits_status(gateway, &statuses[n]);
		note_problem(gateway, &statuses[n++]);
	}
	write_entries(statuses, n);
}

static Datum
time_or_null(TimestampTz at, bool *isnull)
{
	*isnull = at == 0;
	return TimestampTzGetDatum(at);
}

/*
 * gateway_statistics() RETURNS TABLE (gateway text, circuit text, circuit_since
 * timestamptz, next_probe_at timestamptz, throttled_until timestamptz,
 * replies bigint, faults bigint, problem text)
 */
Datum
pl_sql_gateway_statistics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	pl_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int i = 0; i < MAX_ENTRIES; i++)
	{
		StatusEntry entry;
		Datum		values[8];
		bool		nulls[8] = {false};

		SpinLockAcquire(&status_shared->lock);
		entry = status_shared->entries[i];
		SpinLockRelease(&status_shared->lock);
		if (!is_ours(&entry))
			continue;

		values[0] = CStringGetTextDatum(entry.status.gateway);
		values[1] = CStringGetTextDatum(pl_circuit_name(entry.status.circuit));
		values[2] = time_or_null(entry.status.circuit_since, &nulls[2]);
		values[3] = time_or_null(entry.status.next_probe_at, &nulls[3]);
		values[4] = time_or_null(entry.status.throttled_until, &nulls[4]);
		values[5] = Int64GetDatum(entry.status.replies);
		values[6] = Int64GetDatum(entry.status.faults);
		values[7] = CStringGetTextDatum(entry.status.problem);
		nulls[7] = entry.status.problem[0] == '\0';
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
