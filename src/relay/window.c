/*
 * src/relay/window.c
 *		Which events the relay publishes next, and how far it has come.
 *
 * Events are read by snapshot windows (the algorithm of PgQ): a window is what
 * is visible in snapshot S2 and not in S1, in the order of seq; then S2 takes
 * the place of S1.  Every committed event is in exactly one window, whatever
 * transactions stay open meanwhile.  Two events of one aggregate are in order,
 * because the second is appended after the first has committed (the writer
 * holds the aggregate's row lock): it is in the same window with a higher seq,
 * or in a later one.
 *
 * Where to look.  A transaction that S1 does not see either has begun when S1
 * was taken, and then is in its xip, or has an id of S1.xmax or above.
 *
 * For the latter the mark of S1 has a bound: a seq that all their events
 * exceed.  It is the sequence's value, read before some other transaction took
 * an id and ended, all before S1 was taken.  That transaction's end puts
 * S1.xmax above its id, so a transaction with an id of S1.xmax or above took
 * its id after the sequence was read; and a writer takes its id before it
 * draws from the sequence.  The transaction in the middle is the relay's own
 * last update of its cursor: pl_window_advance() reads the sequence before.
 * Where that was long ago, pl_window_read() asks for one that does nothing.
 * (Without it the bound is wrong: xmax is one above the newest id that has
 * ended, and a writer may have drawn long ago with an id above that.)
 *
 * For each transaction in S1.xip there is the bound that held when it first
 * showed up in a snapshot.
 *
 * With these bounds both kinds are found through indexes, in pieces of a
 * limited range of seq and a limited number of rows, and a long transaction
 * costs nothing but its own rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "relay/relay_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

int			pl_relay_batch;

/* a read looks at this many seqs at most, so at few partitions */
#define SLICE			INT64CONST(1000000)

/*
 * A bound this far behind the sequence would have published events read again;
 * in the row it would keep partitions whose events are other shards', or that
 * were aborted.
 */
#define STALE_BOUND		1000

#define UUID_LENGTH		36

/* A snapshot with what is known about the seqs of what it does not see. */
typedef struct Mark
{
	int64		xmax;
	int64		bound;			/* exceeded by all events with an id of xmax or above */
	int			nxip;
	int64	   *xip;			/* sorted */
	int64	   *xip_bound;		/* exceeded by all events of xip[i] */
} Mark;

static bool loaded = false;
static MemoryContext window_context = NULL;

static Mark *done;				/* S1: everything it sees is published */
static Mark *open_mark;			/* S2, NULL between windows */
static int64 position;			/* of the open window, up to here is published */
static int64 window_end;		/* no event of the window has a higher seq */
static bool window_read;		/* something of the window was read */
static Datum finished;			/* int8[]: in S1.xip, not in S2.xip */
static int64 next_bound;		/* a bound for snapshots taken from now on */
static int64 stored_bound;		/* of the snapshot in the cursor's row */
static ItemPointerData cursor_tid;	/* the cursor's row */
static int64 published;			/* events since setup */
static char last_event_id[UUID_LENGTH + 1];	/* published last; empty: none */

static PlQuery load_cursor = {
	"SELECT snapshot_xmax, window_start, snapshot_xip, snapshot_xip_start,"
	"       next_xmax, next_window_start, next_xip, next_xip_start, published_seq, ctid,"
	"       published, last_event_id::text"
	" FROM payledger.relay_cursors WHERE shard = $1", 1, {INT4OID}
};

/*
 * Not by SELECT last_value: that reads the row without a lock, and while
 * nextval() logs 32 values ahead the row says so, though they are not drawn.
 * As a bound it would be too high, and the events below it would be lost.
 * Null before the first is drawn.
 */
static PlQuery sequence_value = {
	"SELECT coalesce(pg_catalog.pg_sequence_last_value('payledger.outbox_seq'::pg_catalog.regclass), 0)", 0
};

/*
 * By ctid: while some session holds an old snapshot, each update leaves a
 * version that cannot be removed, and a look-up by key would visit them all.
 */
#define MOVED \
	"published = published + $1, batch = greatest(batch, $2), last_event_id = $3," \
	" record_offset = coalesce($4, record_offset), record_hash = coalesce($5, record_hash)," \
	" updated_at = CASE WHEN $1 > 0 THEN pg_catalog.clock_timestamp() ELSE updated_at END" \
	" WHERE ctid = $6 AND shard = $7 RETURNING ctid"
#define MOVED_ARGS INT8OID, INT8OID, UUIDOID, INT8OID, TEXTOID, TIDOID, INT4OID

static PlQuery end_window = {
	"UPDATE payledger.relay_cursors"
	" SET snapshot_xmax = $8, window_start = $9, snapshot_xip = $10, snapshot_xip_start = $11,"
	"     next_xmax = NULL, next_window_start = NULL, next_xip = NULL, next_xip_start = NULL,"
	"     published_seq = 0, " MOVED,
	11, {MOVED_ARGS, INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID}
};

static PlQuery move_in_window = {
	"UPDATE payledger.relay_cursors"
	" SET next_xmax = $8, next_window_start = $9, next_xip = $10, next_xip_start = $11,"
	"     published_seq = $12, " MOVED,
	12, {MOVED_ARGS, INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8OID}
};

static PlQuery stay = {
	"UPDATE payledger.relay_cursors SET " MOVED, 7, {MOVED_ARGS}
};

/*
 * Transactions that had not begun in S1 (their ids are S1.xmax or above) and
 * those that were running in S1 and have ended in S2.
 *
 * "+ 0" keeps the planner from the index on transaction_no for the former: it
 * would have to sort the whole backlog for each chunk.
 *
 * $1 position, $2 end of the slice, $3 position or S1's bound, $4 S1.xmax,
 * $5 S2.xmax, $6 S2.xip, $7 finished, $8 rows, $9 shards, $10 shard
 */
static PlQuery read_events = {
	"SELECT " PL_EVENT_COLUMNS("w") " FROM ("
	" (SELECT " PL_EVENT_COLUMNS("o") " FROM payledger.outbox_events o"
	"   WHERE o.seq > $3 AND o.seq <= $2 AND o.transaction_no + 0 >= $4"
	"     AND o.transaction_no + 0 < $5 AND o.transaction_no + 0 <> ALL ($6)"
	"     AND " PL_IN_SHARD("o.event_key", "$9", "$10")
	"   ORDER BY o.seq LIMIT $8)"
	" UNION ALL"
	" (SELECT " PL_EVENT_COLUMNS("b") " FROM pg_catalog.unnest($7) AS f(transaction_no)"
	"  CROSS JOIN LATERAL (SELECT " PL_EVENT_COLUMNS("o") " FROM payledger.outbox_events o"
	"   WHERE o.transaction_no = f.transaction_no AND o.seq > $1 AND o.seq <= $2"
	"     AND " PL_IN_SHARD("o.event_key", "$9", "$10")
	"   ORDER BY o.seq LIMIT $8) b)"
	") w ORDER BY w.seq LIMIT $8",
	10, {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8OID, INT4OID, INT4OID}
};

/*
 * Where the number of shards is changed: the snapshot at which a window has to
 * end; no window begins after it.  Its bounds hold for every shard that came
 * to it.  In memory of its own, NULL: none.
 */
static Mark *target;

static int64
read_sequence(void)
{
	pl_select(&sequence_value, NULL);
	return pl_get_int64(0, 1);
}

static Mark *
new_mark(MemoryContext context, int64 xmax, int64 bound, int nxip)
{
	Mark	   *mark = MemoryContextAlloc(context, sizeof(Mark));

	mark->xmax = xmax;
	mark->bound = bound;
	mark->nxip = nxip;
	mark->xip = MemoryContextAlloc(context, sizeof(int64) * Max(nxip, 1));
	mark->xip_bound = MemoryContextAlloc(context, sizeof(int64) * Max(nxip, 1));
	return mark;
}

static void
free_mark(Mark *mark)
{
	pfree(mark->xip);
	pfree(mark->xip_bound);
	pfree(mark);
}

/* Elements of an int8[] column of the last result's first row. */
static int64 *
array_column(int column, int *n)
{
	bool		isnull;
	Datum		value = pl_get_datum(0, column, &isnull);
	ArrayType  *array = isnull ? NULL : DatumGetArrayTypeP(value);

	if (array == NULL || ARR_HASNULL(array))
		elog(ERROR, "unexpected null in column %d of the relay cursor", column);
	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return (int64 *) ARR_DATA_PTR(array);
}

/* A mark from four columns of the cursor, from that one on. */
static Mark *
load_mark(int column)
{
	int			nxip;
	int			nbounds;
	int64	   *xip = array_column(column + 2, &nxip);
	int64	   *bounds = array_column(column + 3, &nbounds);
	Mark	   *mark = new_mark(window_context, pl_get_int64(0, column), pl_get_int64(0, column + 1), nxip);

	if (nxip != nbounds)
		elog(ERROR, "relay cursor has %d bounds for %d transactions", nbounds, nxip);
	memcpy(mark->xip, xip, sizeof(int64) * nxip);
	memcpy(mark->xip_bound, bounds, sizeof(int64) * nxip);
	return mark;
}

static int64 *
find_xip(const Mark *mark, int64 transaction_no)
{
	int			low = 0;
	int			high = mark->nxip;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (mark->xip[middle] < transaction_no)
			low = middle + 1;
		else
			high = middle;
	}
	return low < mark->nxip && mark->xip[low] == transaction_no ? &mark->xip[low] : NULL;
}

/* A bound for a transaction that a snapshot after S1 does not see. */
static int64
bound_of(int64 transaction_no)
{
	int64	   *running = find_xip(done, transaction_no);

	/* running in S1 already, or not begun then */
	return running ? done->xip_bound[running - done->xip] : done->bound;
}

/* The present snapshot as a mark, or the target. */
static Mark *
take_mark(void)
{
	PlSnapshot *snapshot = pl_current_snapshot();
	Mark	   *mark = target ? new_mark(window_context, target->xmax, target->bound, target->nxip) :
		new_mark(window_context, snapshot->xmax, next_bound, snapshot->nxip);

	memcpy(mark->xip, target ? target->xip : snapshot->xip, sizeof(int64) * mark->nxip);
	for (int i = 0; i < mark->nxip; i++)
	{
		mark->xip_bound[i] = bound_of(mark->xip[i]);
		if (target != NULL)
			target->xip_bound[i] = Min(target->xip_bound[i], mark->xip_bound[i]);
	}
	return mark;
}

static Datum
int64_array(const int64 *values, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));
	Datum		array;

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(values[i]);
	array = PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64),
											FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	pfree(elements);
	return array;
}

/* From open_mark: what ended between S1 and S2, and where the window begins. */
static void
begin_window(int64 published_seq)
{
	int64	   *ended = palloc(sizeof(int64) * Max(done->nxip, 1));
	int			nended = 0;
	MemoryContext oldcontext;

	position = done->bound;
	for (int i = 0; i < done->nxip; i++)
	{
		if (find_xip(open_mark, done->xip[i]) != NULL)
			continue;
		ended[nended++] = done->xip[i];
		position = Min(position, done->xip_bound[i]);
	}
	position = Max(position, published_seq);
	window_read = false;
	/* read after the snapshot was taken: every seq it can see was drawn */
	window_end = read_sequence();

	if (finished != (Datum) 0)
		pfree(DatumGetPointer(finished));
	oldcontext = MemoryContextSwitchTo(window_context);
	finished = int64_array(ended, nended);
	MemoryContextSwitchTo(oldcontext);
}

/* Everything the open mark sees is published. */
static void
finish_window(void)
{
	free_mark(done);
	done = open_mark;
	open_mark = NULL;
}

/*
 * Forget all that is known about the cursor: the next read takes it from the
 * table.  For the beginning and whenever the table may be ahead or behind.
 */
void
pl_window_forget(void)
{
	if (window_context == NULL)
		window_context = AllocSetContextCreate(TopMemoryContext, "payledger relay window",
											   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(window_context);
	done = open_mark = NULL;
	finished = (Datum) 0;
	loaded = false;
}

/* Where the cursor's row is now: a column of the last result. */
static void
remember_tid(int column)
{
	bool		isnull;

	ItemPointerCopy((ItemPointer) DatumGetPointer(pl_get_datum(0, column, &isnull)), &cursor_tid);
}

/*
 * Take the cursor from its row, unless it is known.  Needs a turn.
 */
void
pl_window_load(void)
{
	PlArgs		args = {0};
	int64		published_seq;
	char	   *last_id;

	if (loaded)
		return;
	pl_arg_int32(&args, pl_shard);
	if (pl_select(&load_cursor, &args) != 1)
		elog(ERROR, "payledger.relay_cursors has no row for shard %d", pl_shard);
	done = load_mark(1);
	stored_bound = done->bound;
	published_seq = pl_get_int64(0, 9);
	remember_tid(10);
	published = pl_get_int64(0, 11);
	last_id = pl_get_text(0, 12);
	strlcpy(last_event_id, last_id ? last_id : "", sizeof(last_event_id));
	/* a bound of the past is one of the present */
	next_bound = done->bound;
	if (!pl_isnull(0, 5))
	{
		open_mark = load_mark(5);
		next_bound = open_mark->bound;
		begin_window(published_seq);
	}
	loaded = true;
}

/* Run the query for what comes after position and not after end. */
static uint64
read_slice(int64 end)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, position);
	pl_arg_int64(&args, end);
	pl_arg_int64(&args, Max(position, done->bound));
	pl_arg_int64(&args, done->xmax);
	pl_arg_int64(&args, open_mark->xmax);
	pl_arg(&args, int64_array(open_mark->xip, open_mark->nxip));
	pl_arg(&args, finished);
	pl_arg_int64(&args, pl_relay_batch);
	pl_arg_int32(&args, pl_shards);
	pl_arg_int32(&args, pl_shard);
	return pl_select(&read_events, &args);
}

/*
 * Move next_bound up to the present: like pl_window_advance(), with nothing to
 * write.  The transaction that takes an id here has to end before the snapshot
 * the bound is for is taken.
 */
static void
renew_bound(int64 sequence)
{
	next_bound = sequence;
	(void) GetTopTransactionId();
}

/*
 * Read the next events into *chunk, allocated in context.  Needs a turn.
 *
 * PL_READ_AGAIN: nothing was read; commit the turn and call again.
 * PL_READ_CHUNK: publish it and call pl_window_advance() in another turn.
 */
PlRead
pl_window_read(PlChunk *chunk, MemoryContext context)
{
	bool		opened_now = false;
	int64		end;
	uint64		found;

	pl_window_load();
	if (open_mark == NULL)
	{
		int64		sequence = read_sequence();

		if (pl_window_at_target())
			return PL_READ_NOTHING;
		if (sequence - next_bound > STALE_BOUND)
		{
			renew_bound(sequence);
			return PL_READ_AGAIN;
		}
		open_mark = take_mark();
		begin_window(0);
		opened_now = true;
	}

	for (;;)
	{
		end = Min(position + SLICE, window_end);
		found = position < end ? read_slice(end) : 0;
		if (found > 0 || end >= window_end)
			break;
		position = end;
	}

	if (found == 0 && opened_now && open_mark->bound - stored_bound <= STALE_BOUND)
	{
		/* nothing between S1 and S2: as good as S1, and it need not be written */
		finish_window();
		return PL_READ_NOTHING;
	}

	pl_chunk_make(chunk, PL_CHUNK_WINDOW, (int) found, context);
	chunk->first_read = !window_read;
	window_read = true;
	chunk->ends_window = end >= window_end && chunk->n == (int) found && found < (uint64) pl_relay_batch;
	return PL_READ_CHUNK;
}

/* The id of the last event of a window once the chunk is published; empty: there is none. */
static const char *
last_id_after(const PlChunk *chunk)
{
	for (int i = chunk->n - 1; i >= 0 && chunk->kind == PL_CHUNK_WINDOW; i--)
		if (!chunk->messages[i].parked)
			return chunk->messages[i].headers[0].value;
	return last_event_id;
}

static void
describe_array(StringInfo out, const char *name, const int64 *values, int n)
{
	appendStringInfo(out, ",\"%s\":[", name);
	for (int i = 0; i < n; i++)
		appendStringInfo(out, "%s" INT64_FORMAT, i > 0 ? "," : "", values[i]);
	appendStringInfoChar(out, ']');
}

static void
describe_mark(StringInfo out, const Mark *mark, const char *xmax, const char *bound, const char *xip, const char *xip_bound)
{
	appendStringInfo(out, ",\"%s\":" INT64_FORMAT ",\"%s\":" INT64_FORMAT, xmax, mark->xmax, bound, mark->bound);
	describe_array(out, xip, mark->xip, mark->nxip);
	describe_array(out, xip_bound, mark->xip_bound, mark->nxip);
}

/*
 * Append, as members of a JSON object, what the columns of the cursor will be
 * when pl_window_advance() has been called for the chunk.
 */
void
pl_window_describe(StringInfo out, const PlChunk *chunk)
{
	const char *last_id = last_id_after(chunk);
	bool		closed = open_mark == NULL || chunk->ends_window;

	pl_json_text(out, "last_event_id", last_id[0] ? last_id : NULL);
	appendStringInfo(out, ",\"published\":" INT64_FORMAT, published + pl_chunk_events(chunk));
	describe_mark(out, chunk->ends_window ? open_mark : done,
				  "snapshot_xmax", "window_start", "snapshot_xip", "snapshot_xip_start");
	if (!closed)
		describe_mark(out, open_mark, "next_xmax", "next_window_start", "next_xip", "next_xip_start");
	appendStringInfo(out, ",\"published_seq\":" INT64_FORMAT,
					 closed ? 0 : chunk->kind != PL_CHUNK_WINDOW ? position : chunk->last_seq);
}

static void
add_mark(PlArgs *args, const Mark *mark)
{
	pl_arg_int64(args, mark->xmax);
	pl_arg_int64(args, mark->bound);
	pl_arg(args, int64_array(mark->xip, mark->nxip));
	pl_arg(args, int64_array(mark->xip_bound, mark->nxip));
}

/*
 * The events of the chunk are published: move the cursor.  Needs a turn of its
 * own that has written nothing yet; if it does not commit, call
 * pl_window_forget().
 */
void
pl_window_advance(const PlChunk *chunk)
{
	PlArgs		args = {0};
	PlQuery    *query = chunk->kind != PL_CHUNK_WINDOW ? &stay : chunk->ends_window ? &end_window : &move_in_window;
	const char *last_id = last_id_after(chunk);
	int			events = pl_chunk_events(chunk);

	/* before this transaction takes an id: see at the top */
	Assert(!TransactionIdIsValid(GetTopTransactionIdIfAny()));
	next_bound = read_sequence();

	pl_arg_int64(&args, events);
	pl_arg_int64(&args, chunk->batch);
	if (last_id[0])
		pl_arg(&args, DirectFunctionCall1(uuid_in, CStringGetDatum(last_id)));
	else
		pl_arg_null(&args);
	if (chunk->record_hash[0])
	{
		pl_arg_int64(&args, chunk->record_offset);
		pl_arg_text(&args, chunk->record_hash);
	}
	else
	{
		pl_arg_null(&args);
		pl_arg_null(&args);
	}
	pl_arg(&args, PointerGetDatum(&cursor_tid));
	pl_arg_int32(&args, pl_shard);
	if (query != &stay)
		add_mark(&args, open_mark);
	if (query == &move_in_window)
		pl_arg_int64(&args, chunk->last_seq);
	if (pl_execute(query, &args) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row of shard %d in payledger.relay_cursors was changed by another session", pl_shard)));
	remember_tid(1);

	published += events;
	memmove(last_event_id, last_id, strlen(last_id) + 1);
	if (query == &end_window)
	{
		finish_window();
		stored_bound = done->bound;
	}
	else if (query == &move_in_window)
		position = chunk->last_seq;
}

/* ---- a change of the number of shards ---- */

/* Before pl_window_set_target(), in a turn of its own. */
void
pl_window_renew_bound(void)
{
	pl_window_load();
	renew_bound(read_sequence());
}

/* From now on windows end at the present snapshot, for every shard.  Needs a turn. */
void
pl_window_set_target(void)
{
	PlSnapshot *snapshot = pl_current_snapshot();

	pl_window_load();
	pl_window_forget_target();
	target = new_mark(TopMemoryContext, snapshot->xmax, next_bound, snapshot->nxip);
	for (int i = 0; i < target->nxip; i++)
	{
		target->xip[i] = snapshot->xip[i];
		target->xip_bound[i] = PG_INT64_MAX;
	}
}

void
pl_window_forget_target(void)
{
	if (target != NULL)
		free_mark(target);
	target = NULL;
}

/* Is everything that the target sees published, by this shard? */
bool
pl_window_at_target(void)
{
	return target != NULL && loaded && open_mark == NULL && done->xmax == target->xmax && done->nxip == target->nxip &&
		memcmp(done->xip, target->xip, sizeof(int64) * done->nxip) == 0;
}

/* The target as four parameters: snapshot_xmax, window_start, snapshot_xip, snapshot_xip_start. */
void
pl_window_target_columns(PlArgs *args)
{
	add_mark(args, target);
}
