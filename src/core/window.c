/*
 * src/core/window.c
 *		Snapshots as data: which committed rows came between two moments.
 *
 * Every row that a reader follows (postings, events) carries the number of
 * the transaction that wrote it.  The rows between two snapshots are those
 * visible in the second and not in the first, whatever transactions were open
 * meanwhile (the algorithm of PgQ).  A dump restored into another cluster
 * brings numbers that have nothing to do with that cluster's transaction ids;
 * the incarnation in the high bits keeps all numbers of the past below all
 * numbers of the present.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "executor/spi.h"
#include "lib/qunique.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define XID_BITS 48

/* This backend's incarnation, 0 before it is known. */
static int	incarnation = 0;

/* It was allocated by this transaction, so an abort takes it back. */
static bool incarnation_is_new = false;

static PlQuery newest_incarnation = {
	"SELECT incarnation, system_identifier, database_oid"
	" FROM payledger.incarnations ORDER BY incarnation DESC LIMIT 1", 0
};

static PlQuery insert_incarnation = {
	"INSERT INTO payledger.incarnations (incarnation, system_identifier, database_oid)"
	" VALUES ($1, $2, $3)", 3, {INT4OID, TEXTOID, OIDOID}
};

/* every unit of work leaves history or an entry, so this is above or near every id there is */
static PlQuery newest_id = {
	"SELECT greatest((SELECT max(history_id) FROM payledger.state_history),"
	" (SELECT max(journal_entry_id) FROM payledger.journal_entries))", 0
};

PG_FUNCTION_INFO_V1(pl_sql_begin_incarnation);

static void
forget_aborted_incarnation(XactEvent event, void *arg)
{
	if (!incarnation_is_new)
		return;
	if (event == XACT_EVENT_ABORT)
		incarnation = 0;
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		incarnation_is_new = false;
}

static void
forget_aborted_incarnation_sub(SubXactEvent event, SubTransactionId mysubid,
							   SubTransactionId parentsubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && incarnation_is_new)
	{
		incarnation = 0;
		incarnation_is_new = false;
	}
}

/*
 * Is the newest row about this cluster and database?  Sets *newest to its
 * number, 0 if there is none.
 */
static bool
newest_is_ours(const char *system_identifier, int *newest)
{
	if (pl_execute(&newest_incarnation, NULL) == 0)
	{
		*newest = 0;
		return false;
	}
	*newest = pl_get_int32(0, 1);
	return strcmp(pl_get_text(0, 2), system_identifier) == 0 &&
		strtoul(pl_get_text(0, 3), NULL, 10) == MyDatabaseId;
}

/*
 * The incarnation of this database, allocating one when the data came here
 * with a restore or a copy.  Uses an SPI connection of its own, because its
 * callers may be reading a result; the lock is held until the end of the
 * transaction that allocates.
 */
int
pl_incarnation(void)
{
	static bool registered = false;
	char		system_identifier[32];
	int			newest;

	if (incarnation != 0)
		return incarnation;

	if (!registered)
	{
		RegisterXactCallback(forget_aborted_incarnation, NULL);
		RegisterSubXactCallback(forget_aborted_incarnation_sub, NULL);
		registered = true;
	}

	pl_connect();
	snprintf(system_identifier, sizeof(system_identifier), UINT64_FORMAT, GetSystemIdentifier());
	if (!newest_is_ours(system_identifier, &newest))
	{
		pl_lock(PL_LOCK_INCARNATION);
		if (!newest_is_ours(system_identifier, &newest))
		{
			PlArgs		args = {0};

			newest++;
			pl_arg_int32(&args, newest);
			pl_arg_text(&args, system_identifier);
			pl_arg(&args, ObjectIdGetDatum(MyDatabaseId));
			pl_execute(&insert_incarnation, &args);
			incarnation_is_new = true;
			pl_execute(&newest_id, NULL);
			if (!pl_isnull(0, 1))
				pl_exceed_id(pl_get_int64(0, 1));
		}
	}
	pl_finish();
	incarnation = newest;
	return incarnation;
}

static int64
number_of(FullTransactionId fxid)
{
	uint64		value = U64FromFullTransactionId(fxid);

	Assert(value < (UINT64CONST(1) << XID_BITS));
	return ((int64) pl_incarnation() << XID_BITS) | (int64) value;
}

/* A snapshot's 32-bit id with the epoch it must have, given the next id. */
static FullTransactionId
widen(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/*
 * The number of this transaction, assigning its id.  Call it before a
 * sequence is advanced for the same row: readers rely on that order.
 */
int64
pl_transaction_no(void)
{
	return number_of(GetTopFullTransactionId());
}

/*
 * The number that the next transaction to take one will have.
 */
int64
pl_next_transaction_no(void)
{
	return number_of(ReadNextFullTransactionId());
}

/*
 * The active snapshot as data, palloc'd.  Not during recovery.
 */
PlSnapshot *
pl_current_snapshot(void)
{
	Snapshot	active = GetActiveSnapshot();
	FullTransactionId next = ReadNextFullTransactionId();
	PlSnapshot *snapshot = palloc(sizeof(PlSnapshot));

	Assert(!active->takenDuringRecovery);
	snapshot->xmax = number_of(widen(active->xmax, next));
	snapshot->nxip = active->xcnt;
	snapshot->xip = palloc(sizeof(int64) * Max(active->xcnt, 1));
	for (uint32 i = 0; i < active->xcnt; i++)
		snapshot->xip[i] = number_of(widen(active->xip[i], next));
	qsort(snapshot->xip, snapshot->nxip, sizeof(int64), pl_compare_ids);

	/*
	 * While a transaction is being prepared, two processes have its id, and so
	 * has the snapshot: once is enough, and more would be read twice.
	 */
	if (snapshot->nxip > 0)
		snapshot->nxip = (int) qunique(snapshot->xip, snapshot->nxip, sizeof(int64), pl_compare_ids);
	return snapshot;
}

/* Is a row of that transaction visible in the snapshot, if it committed? */
bool
pl_visible(const PlSnapshot *snapshot, int64 transaction_no)
{
	return transaction_no < snapshot->xmax &&
		bsearch(&transaction_no, snapshot->xip, snapshot->nxip, sizeof(int64), pl_compare_ids) == NULL;
}

/* xip as an int8[] Datum, palloc'd. */
Datum
pl_snapshot_xip(const PlSnapshot *snapshot)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(snapshot->nxip, 1));

	for (int i = 0; i < snapshot->nxip; i++)
		values[i] = Int64GetDatum(snapshot->xip[i]);
	return PointerGetDatum(construct_array(values, snapshot->nxip, INT8OID,
										   sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * begin_incarnation() RETURNS int: for setup(), so that no command has to.
 */
Datum
pl_sql_begin_incarnation(PG_FUNCTION_ARGS)
{
	int			result;

	pl_connect();
	incarnation = 0;
	result = pl_incarnation();
	pl_finish();
	PG_RETURN_INT32(result);
}
