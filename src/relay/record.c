/*
 * src/relay/record.c
 *		Is a record of the cursor's topic what a relay writes?
 *
 * Whoever may write to the topic can put anything there, and so can a tool
 * that goes wrong.  Nothing of a record is used before it is checked here: its
 * form and types, what would overflow, and, of a record that this server's
 * history contains, that it does not point to what has not happened yet.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/resowner.h"
#include "relay/cursor.h"

/* more than arrays of all transactions, partitions and dead letters ever take */
#define MAX_RECORD	(8 * 1024 * 1024)
/* of objects and arrays in each other; ours have two */
#define MAX_DEPTH	8

/*
 * Raises an error for some of what is wrong, returns a row with false or null
 * for the rest.  A partition has six digits at most, so what is kept of a topic
 * is bounded; numbers of 18 digits do not overflow when they grow.
 */
static PlQuery read_record = {
	"SELECT r.batch, r.epoch, r.timeline, r.lsn, r.previous, r.last_event_id::text,"
	" r.last_event_id IS NULL"
	" OR EXISTS (SELECT FROM payledger.outbox_events WHERE id = r.last_event_id)"
	/* its partition may be gone */
	" OR EXISTS (SELECT FROM payledger.relay_cursors WHERE shard = $2 AND last_event_id = r.last_event_id),"
	" greatest(r.snapshot_xmax, r.next_xmax),"
	" (SELECT pg_catalog.max(b) FROM pg_catalog.unnest(r.snapshot_xip_start || coalesce(r.next_xip_start, '{}')"
	"   || r.window_start || coalesce(r.next_window_start, 0) || r.published_seq) AS b),"
	" pg_catalog.num_nulls(r.batch, r.epoch, r.timeline, r.lsn, r.published, r.snapshot_xmax, r.window_start,"
	"   r.snapshot_xip, r.snapshot_xip_start, r.published_seq, r.positions) = 0"
	" AND r.batch BETWEEN 1 AND 999999999999999999 AND r.epoch BETWEEN 0 AND 2147483646"
	" AND r.timeline >= 1 AND r.lsn > '0/0'"
	" AND (r.previous IS NULL OR r.previous ~ '^[0-9a-f]{64}$')"
	" AND r.published BETWEEN 0 AND 999999999999999999 AND r.published_seq >= 0"
	" AND pg_catalog.num_nulls(r.next_xmax, r.next_window_start, r.next_xip, r.next_xip_start) IN (0, 4)"
	" AND r.snapshot_xmax >= 0 AND r.window_start >= 0 AND coalesce(r.next_xmax >= r.snapshot_xmax AND r.next_window_start >= 0, true)"
	" AND pg_catalog.cardinality(r.snapshot_xip) = pg_catalog.cardinality(r.snapshot_xip_start)"
	" AND coalesce(pg_catalog.cardinality(r.next_xip) = pg_catalog.cardinality(r.next_xip_start), true)"
	/* sorted, each once, and below its xmax */
	" AND r.snapshot_xip = ARRAY(SELECT DISTINCT x FROM pg_catalog.unnest(r.snapshot_xip) AS x WHERE x BETWEEN 0 AND r.snapshot_xmax - 1 ORDER BY x)"
	" AND coalesce(r.next_xip = ARRAY(SELECT DISTINCT x FROM pg_catalog.unnest(r.next_xip) AS x WHERE x BETWEEN 0 AND r.next_xmax - 1 ORDER BY x), true)"
	" AND NOT EXISTS (SELECT FROM pg_catalog.unnest(r.snapshot_xip_start || coalesce(r.next_xip_start, '{}')) AS b WHERE b IS NULL OR b < 0)"
	" AND coalesce(pg_catalog.array_ndims(r.snapshot_xip_start), 1) = 1 AND coalesce(pg_catalog.array_ndims(r.next_xip_start), 1) = 1"
	" AND pg_catalog.num_nulls(r.replay_id, r.replay_position, r.replayed) IN (0, 3)"
	" AND coalesce(r.replay_position BETWEEN 0 AND 999999999999999999 AND r.replayed BETWEEN 0 AND 999999999, true)"
	" AND pg_catalog.array_position(r.dead_letters, NULL) IS NULL AND pg_catalog.array_position(r.retractions, NULL) IS NULL"
	" AND pg_catalog.json_typeof(r.positions) = 'object'"
	" AND (SELECT pg_catalog.count(*) <= " PL_TEXT_OF(PL_MAX_TOPICS) " AND coalesce(pg_catalog.bool_and("
	"        t.key ~ '^[A-Za-z0-9._-]{1,249}$'"
	"        AND coalesce((SELECT pg_catalog.bool_and(p.key ~ '^(0|[1-9][0-9]{0,5})$'"
	"                                                AND p.value ~ '^[0-9]{1,18}$')"
	"                        FROM pg_catalog.json_each_text(t.value) p), true)), true)"
	"        FROM pg_catalog.json_each(r.positions) t)"
	" FROM pg_catalog.json_to_record($1::json) AS r(batch bigint, epoch int, timeline int, lsn pg_catalog.pg_lsn,"
	"  previous text, last_event_id uuid, published bigint,"
	"  snapshot_xmax bigint, window_start bigint, snapshot_xip bigint[], snapshot_xip_start bigint[],"
	"  next_xmax bigint, next_window_start bigint, next_xip bigint[], next_xip_start bigint[], published_seq bigint,"
	"  positions json, replay_id bigint, replay_position bigint, replayed bigint, dead_letters bigint[], retractions bigint[])",
	2, {TEXTOID, INT4OID}
};

static PlQuery sequence_value = {
	"SELECT coalesce(pg_catalog.pg_sequence_last_value('payledger.outbox_seq'::pg_catalog.regclass), 0)", 0
};

/* Brackets in each other, whether or not they pair; those within strings do not count. */
static int
depth_of(const char *value)
{
	int			depth = 0;
	int			deepest = 0;
	bool		in_string = false;

	for (const char *p = value; *p; p++)
	{
		if (in_string && *p == '\\' && p[1])
			p++;
		else if (*p == '"')
			in_string = !in_string;
		else if (!in_string && (*p == '{' || *p == '['))
		{
			depth++;
			deepest = Max(deepest, depth);
		}
		else if (!in_string && (*p == '}' || *p == ']'))
			depth--;
	}
	return deepest;
}

/*
 * May the bytes of a key or value be used as text?  The length is that which
 * Kafka says: a zero byte ends a text before.
 */
bool
pl_record_is_text(const char *value, size_t length)
{
	return length <= MAX_RECORD && strlen(value) == length &&
		pg_verify_mbstr(GetDatabaseEncoding(), value, (int) length, true);
}

/* Run the query; false if the record makes it fail. */
static bool
run(PlArgs *args)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	volatile bool result = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		result = pl_select(&read_record, args) == 1;
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		/* what the record is to blame for: its data, or that they are too many */
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
		ereport(DEBUG1,
				(errcode(error->sqlerrcode),
				 errmsg_internal("payledger relay: a record of the cursor is damaged: %s", error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	return result;
}

/*
 * Read what a record says, as far as it tells whether it is to be believed;
 * strings are palloc'd.  Returns false if it is damaged.  Needs a turn.
 */
bool
pl_record_read(const char *value, PlRecord *record)
{
	PlArgs		args = {0};
	bool		isnull;

	memset(record, 0, sizeof(PlRecord));
	if (!pl_record_is_text(value, strlen(value)) || depth_of(value) > MAX_DEPTH)
		return false;
	pl_arg_text(&args, value);
	pl_arg_int32(&args, pl_shard);
	if (!run(&args) || pl_isnull(0, 10) || !pl_get_bool(0, 10))
		return false;
	record->batch = pl_get_int64(0, 1);
	record->epoch = pl_get_int32(0, 2);
	record->timeline = pl_get_int32(0, 3);
	record->previous = pl_get_text(0, 5);
	record->last_event_id = pl_get_text(0, 6);
	record->xmax = pl_get_int64(0, 8);
	record->bound = pl_get_int64(0, 9);
	record->is_ours = pl_get_bool(0, 7) &&
		pl_history_contains(record->timeline, DatumGetLSN(pl_get_datum(0, 4, &isnull)));

	/* what this history contains cannot know of transactions and events to come */
	if (record->is_ours)
	{
		pl_select(&sequence_value, NULL);
		if (record->bound > pl_get_int64(0, 1) || record->xmax > pl_next_transaction_no())
			return false;
	}
	return true;
}
