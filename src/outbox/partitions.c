/*
 * src/outbox/partitions.c
 *		Partitions of the outbox: made before they are needed, dropped whole
 *		when everything in them is published and old enough.
 *
 * Each holds a million seqs.  Where none is ready, events go to the default
 * partition and no commit fails; a partition for a range of which the default
 * partition has rows cannot be made any more, so the next range is the first
 * that gets one.  The default partition, when all it holds is published and
 * old, is replaced by an empty one: no row is ever deleted.
 *
 * Writers lock the outbox for the rest of their transaction, and a lock that
 * waits for them makes later writers wait as well.  So every lock here that
 * they would notice is given up after LOCK_WAIT_MS and tried again later.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "outbox/outbox.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

int			pl_outbox_retention;	/* seconds */

#define PARTITION_SIZE	INT64CONST(1000000)
#define LOCK_WAIT_MS	"100"
#define RETRY_MS		60000

/* not by SELECT last_value, which may be ahead: see src/relay/window.c */
static PlQuery current_range = {
	"SELECT coalesce(pg_catalog.pg_sequence_last_value('payledger.outbox_seq'::pg_catalog.regclass), 0) / $1 * $1",
	1, {INT8OID}
};

/* Those of the ranges starting at $1 that need a partition and can have one. */
static PlQuery missing_ranges = {
	"SELECT r.start FROM pg_catalog.unnest($1) AS r(start)"
	" WHERE pg_catalog.to_regclass('payledger.outbox_events_p' || r.start) IS NULL"
	"   AND NOT EXISTS (SELECT FROM payledger.outbox_events_default d"
	"                    WHERE d.seq >= r.start AND d.seq < r.start + $2)"
	" ORDER BY r.start", 2, {INT8ARRAYOID, INT8OID}
};

static PlQuery lock_default = {
	"LOCK TABLE ONLY payledger.outbox_events_default IN ACCESS EXCLUSIVE MODE", 0
};

static PlQuery lock_outbox = {
	"LOCK TABLE ONLY payledger.outbox_events IN ACCESS EXCLUSIVE MODE", 0
};

static PlQuery oldest_partition = {
	"SELECT pg_catalog.min(pg_catalog.substring(c.relname, '^outbox_events_p([0-9]+)$')::bigint)"
	" FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
	" WHERE i.inhparent = 'payledger.outbox_events'::pg_catalog.regclass", 0
};

/*
 * May what a table holds between two seqs go: is it all visible in the
 * snapshots up to which everything is published, and the newest older than
 * $3?  Null if there is nothing.  Index look-ups only.
 */
#define EXPENDABLE(table) \
	"SELECT pg_catalog.bool_and(e.newest_no < c.snapshot_xmax" \
	"       AND NOT EXISTS (SELECT FROM " table " o WHERE o.seq >= $1 AND o.seq < $2" \
	"                         AND o.transaction_no = ANY (c.snapshot_xip))" \
	"       AND e.newest_at < $3 AT TIME ZONE 'UTC')" \
	" FROM payledger.relay_cursors c," \
	"  (SELECT (SELECT o.transaction_no FROM " table " o WHERE o.seq >= $1 AND o.seq < $2" \
	"            ORDER BY o.transaction_no DESC LIMIT 1)," \
	"          (SELECT pg_catalog.max(n.\"timestamp\") FROM" \
	"            (SELECT o.\"timestamp\" FROM " table " o WHERE o.seq >= $1 AND o.seq < $2" \
	"              ORDER BY o.seq DESC LIMIT 1000) n)) AS e(newest_no, newest_at)"

static PlQuery partition_expendable = {
	EXPENDABLE("payledger.outbox_events"), 3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery default_expendable = {
	EXPENDABLE("payledger.outbox_events_default"), 3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_maintain_outbox_partitions);

/* Run a utility statement: table names cannot be parameters. */
static void
run_utility(const char *format,...) pg_attribute_printf(1, 2);

static void
run_utility(const char *format,...)
{
	char		sql[1024];
	va_list		args;
	int			result;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	result = SPI_execute(sql, false, 0);
	if (result != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

static int64
current_start(void)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, PARTITION_SIZE);
	pl_select(&current_range, &args);
	return pl_get_int64(0, 1);
}

/*
 * A table for events that nothing uses yet.  It has the outbox's row triggers
 * from being attached; TRUNCATE needs one of its own.
 */
static void
create_table(const char *name, const char *comment, const char *bounds)
{
	run_utility("CREATE TABLE payledger.%s (LIKE payledger.outbox_events"
				" INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION)", name);
	run_utility("COMMENT ON TABLE payledger.%s IS '%s'", name, comment);
	run_utility("CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON payledger.%s FOR EACH STATEMENT"
				" EXECUTE FUNCTION payledger.refuse_change()", name);
	run_utility("ALTER TABLE payledger.%s ENABLE ALWAYS TRIGGER refuse_truncate", name);
	run_utility("ALTER TABLE payledger.outbox_events ATTACH PARTITION payledger.%s %s", name, bounds);
}

/* Attaching locks the default partition, whose writers are there if late. */
static int
create_missing(void)
{
	PlArgs		args = {0};
	Datum		starts[2];
	int64		to_create[2];
	int			n;

	starts[0] = Int64GetDatum(current_start());
	starts[1] = Int64GetDatum(DatumGetInt64(starts[0]) + PARTITION_SIZE);
	pl_arg_array(&args, starts, NULL, 2, INT8OID);
	pl_arg_int64(&args, PARTITION_SIZE);
	if (pl_execute(&missing_ranges, &args) == 0)
		return 0;

	/* again, now that no row can come in between */
	pl_execute(&lock_default, NULL);
	n = (int) pl_execute(&missing_ranges, &args);
	for (int i = 0; i < n; i++)
		to_create[i] = pl_get_int64(i, 1);
	for (int i = 0; i < n; i++)
	{
		int64		start = to_create[i];
		int64		end = start + PARTITION_SIZE;

		create_table(psprintf("outbox_events_p" INT64_FORMAT, start),
					 psprintf("Events with a seq from " INT64_FORMAT " up to " INT64_FORMAT ".", start, end - 1),
					 psprintf("FOR VALUES FROM (" INT64_FORMAT ") TO (" INT64_FORMAT ")", start, end));
	}
	return n;
}

/* Sets *empty if there is nothing at all. */
static bool
expendable(PlQuery *query, int64 start, int64 end, bool *empty)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, start);
	pl_arg_int64(&args, end);
	pl_arg_timestamp(&args, pl_kept_since(pl_outbox_retention));
	if (pl_execute(query, &args) != 1)
		elog(ERROR, "payledger.relay_cursors has no row");
	*empty = pl_isnull(0, 1);
	return *empty || pl_get_bool(0, 1);
}

/*
 * Drop the oldest partition if it may go.  Of a range that is below the
 * sequence's value all seqs are drawn; with the lock on the outbox no
 * statement is left that drew one and has not written it.
 */
static int
drop_oldest(void)
{
	int64		start;
	int64		end;
	bool		empty;

	pl_execute(&oldest_partition, NULL);
	if (pl_isnull(0, 1))
		return 0;
	start = pl_get_int64(0, 1);
	end = start + PARTITION_SIZE;
	if (end > current_start() || !expendable(&partition_expendable, start, end, &empty))
		return 0;

	pl_execute(&lock_outbox, NULL);
	if (!expendable(&partition_expendable, start, end, &empty))
		return 0;
	run_utility("DROP TABLE payledger.outbox_events_p" INT64_FORMAT, start);
	return 1;
}

static int
replace_default(void)
{
	bool		empty;

	if (!expendable(&default_expendable, 0, PG_INT64_MAX, &empty) || empty)
		return 0;

	pl_execute(&lock_outbox, NULL);
	if (!expendable(&default_expendable, 0, PG_INT64_MAX, &empty) || empty)
		return 0;
	run_utility("DROP TABLE payledger.outbox_events_default");
	create_table("outbox_events_default",
				 "Events written while the keeper had not yet made the partition for them.",
				 "DEFAULT");
	return 1;
}

/*
 * Take a step in a subtransaction, waiting for locks no longer than
 * LOCK_WAIT_MS.  Returns -1 if that was not enough.
 */
static int
try_step(int (*step) (void))
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	volatile int result = -1;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		int			save_nestlevel = NewGUCNestLevel();

		(void) set_config_option("lock_timeout", LOCK_WAIT_MS, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		result = step();
		AtEOXact_GUC(true, save_nestlevel);

		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
		FreeErrorData(error);
		result = -1;
	}
	PG_END_TRY();
	return result;
}

/*
 * Make the partitions that are missing.  Returns their number, 0 also when
 * locks could not be had.  Needs an open SPI connection, and the rights of the
 * outbox's owner.
 *
 * Locks the outbox in SHARE UPDATE EXCLUSIVE and its default partition in
 * ACCESS EXCLUSIVE mode, until the end of the transaction.
 */
int
pl_outbox_make_partitions(void)
{
	return Max(0, try_step(create_missing));
}

/*
 * Drop a partition that may go, or replace the default partition.  Returns
 * whether it did; false also when locks could not be had, after which dropping
 * is left alone for a minute.  Raises 2BP01 when something of others depends on
 * the partition, so not in the transaction that makes one.  Needs the same as
 * pl_outbox_make_partitions().
 *
 * Locks the outbox in ACCESS EXCLUSIVE mode, until the end of the transaction.
 */
bool
pl_outbox_drop_partition(void)
{
	static int64 drop_again_at = 0; /* pl_monotonic_ms() */
	int			dropped;

	if (pl_monotonic_ms() < drop_again_at)
		return false;
	dropped = try_step(drop_oldest);
	if (dropped == 0)
		dropped = try_step(replace_default);
	if (dropped < 0)
		drop_again_at = pl_monotonic_ms() + RETRY_MS;
	return dropped > 0;
}

/*
 * maintain_outbox_partitions() RETURNS int: makes the partitions that are
 * missing; dropping is the keeper's, who knows the retention.
 */
Datum
pl_sql_maintain_outbox_partitions(PG_FUNCTION_ARGS)
{
	int			created;

	pl_connect();
	created = pl_outbox_make_partitions();
	pl_finish();
	PG_RETURN_INT32(created);
}
