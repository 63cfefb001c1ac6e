/*
 * src/core/ids.c
 *		Snowflake ids: 41 bits of milliseconds since 2025-01-01, 10 bits of
 *		node, 12 bits of sequence.
 *
 * One atomic counter in shared memory holds the milliseconds and the sequence
 * of the last id; the next is the larger of "last + 1" and pl_now(), so ids are
 * unique over all backends, never go back when the clock does, and do not run
 * ahead with a clock that was stepped.  Shared
 * memory does not survive a restart, so the counter may only pass the limit
 * that a small file promises: after a restart it goes on from that limit.
 *
 * 41 bits end in September 2094.  An id beyond would be negative and below all
 * others, so none is drawn, and the file never promises more.  By a clock that
 * shows a time before 2025 or after 2089 none is drawn either: the counter
 * would keep for good what a wrong clock gave it.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"
#include "core/shared.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#define SEQUENCE_BITS	12
#define NODE_BITS		10

/* 2025-01-01 00:00:00 UTC in milliseconds since the Unix epoch */
#define ID_EPOCH_MS		INT64CONST(1735689600000)

/* 2090-01-01 00:00:00 UTC: counters that ran ahead have four years left */
#define CLOCK_END_MS	INT64CONST(3786912000000)

/* the first value that the counter cannot have */
#define COUNTER_END		(UINT64CONST(1) << (63 - NODE_BITS))

/* how far ahead of the last id the file promises, and thus how often it is written */
#define LIMIT_AHEAD_MS	10000

/* ten days */
#define MAX_CLOCK_ERROR_MS	864000000

#define LIMIT_FILE		"payledger.id_limit"
#define LIMIT_FILE_TMP	"payledger.id_limit.tmp"

int			pl_node_id = 0;

PG_FUNCTION_INFO_V1(pl_sql_next_id);
PG_FUNCTION_INFO_V1(pl_sql_id_timestamp);

/* Milliseconds since the Unix epoch. */
static int64
unix_ms(TimestampTz at)
{
	return at / 1000 - (at % 1000 < 0 ? 1 : 0) +
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
}

/*
 * Are ids drawn at that time?  A clock that shows another one is wrong.
 */
bool
pl_ids_hold(TimestampTz at)
{
	int64		ms = unix_ms(at);

	return ms >= ID_EPOCH_MS && ms < CLOCK_END_MS;
}

/* The present as a counter value: milliseconds, sequence 0; 55000 if ids do not hold it. */
static uint64
clock_now(void)
{
	TimestampTz now = pl_now();

	if (unlikely(!pl_ids_hold(now)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no id can be drawn while the clock shows %s", timestamptz_to_str(now)),
				 errdetail("Ids hold times from 2025 to 2089."),
				 errhint("Set the clock right.")));
	return (uint64) (unix_ms(now) - ID_EPOCH_MS) << SEQUENCE_BITS;
}

/* The limit that the last server on this data directory promised, or 0. */
static uint64
read_limit(void)
{
	FILE	   *file = AllocateFile(LIMIT_FILE, "r");
	uint64		limit = 0;
	int			fields;

	if (file == NULL)
	{
		if (errno == ENOENT)
			return 0;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", LIMIT_FILE)));
	}
	fields = fscanf(file, UINT64_FORMAT, &limit);
	FreeFile(file);
	if (fields != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" does not hold a number", LIMIT_FILE),
				 errhint("Remove it if the clock is known to be right.")));
	if (limit > COUNTER_END)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" holds a number beyond all ids", LIMIT_FILE),
				 errhint("Remove it if the clock is known to be right.")));
	return limit;
}

static void
write_limit(uint64 limit)
{
	FILE	   *file = AllocateFile(LIMIT_FILE_TMP, "w");

	if (file == NULL ||
		fprintf(file, UINT64_FORMAT "\n", limit) < 0 ||
		FreeFile(file) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", LIMIT_FILE_TMP)));
	/* syncs the file, renames it and syncs the directory */
	durable_rename(LIMIT_FILE_TMP, LIMIT_FILE, ERROR);
}

static uint64
limit_above(uint64 value)
{
	return Min(value + ((uint64) LIMIT_AHEAD_MS << SEQUENCE_BITS), COUNTER_END);
}

/*
 * Make the file promise a limit above value, and on the first call after a
 * restart lift the counter to what the file promised.  Raises 55000 for a value
 * beyond all ids.
 */
static void
extend_limit(uint64 value)
{
	PlCoreShared *shared = pl_core_shared;

	if (value >= COUNTER_END)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("all ids have been drawn"),
				 errdetail("The counter that file \"%s\" carries over restarts is at its end, in September 2094.", LIMIT_FILE),
				 errhint("If the clock was wrong once and is right now, stop the server, remove the file and start it.")));

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (value >= pg_atomic_read_u64(&shared->id_limit))
	{
		uint64		limit = limit_above(value);

		if (pg_atomic_read_u64(&shared->id_limit) == 0)
		{
			uint64		promised = read_limit();

			if (pg_atomic_read_u64(&shared->id_clock) < promised)
				pg_atomic_write_u64(&shared->id_clock, promised);
			limit = limit_above(Max(value, promised));
		}
		write_limit(limit);
		pg_atomic_write_u64(&shared->id_limit, limit);
	}
	LWLockRelease(shared->lock);
}

/*
 * The next id of this server.  Raises 55000 when the library is not preloaded
 * and where there is no id, and a file error when the limit cannot be stored.
 */
int64
pl_next_id(void)
{
	uint64		now;
	uint64		last;
	uint64		next;

	pl_require_preload();
	now = clock_now();
	last = pg_atomic_read_u64(&pl_core_shared->id_clock);
	for (;;)
	{
		next = Max(last + 1, now);
		if (unlikely(next >= pg_atomic_read_u64(&pl_core_shared->id_limit)))
		{
			extend_limit(next);
			last = pg_atomic_read_u64(&pl_core_shared->id_clock);
		}
		else if (pg_atomic_compare_exchange_u64(&pl_core_shared->id_clock, &last, next))
			break;
	}

	return (int64) (((next >> SEQUENCE_BITS) << (NODE_BITS + SEQUENCE_BITS)) |
					((uint64) pl_node_id << SEQUENCE_BITS) |
					(next & ((1 << SEQUENCE_BITS) - 1)));
}

/* For qsort() and bsearch() of int64s. */
int
pl_compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/*
 * When an id was given out: the milliseconds within it.  Also right for an id
 * of another node.  22008 for what cannot be an id of ours.
 */
TimestampTz
pl_id_timestamp(int64 id)
{
	int64		ms = (id >> (NODE_BITS + SEQUENCE_BITS)) + ID_EPOCH_MS -
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
	TimestampTz at = ms * 1000;

	if (id < 0 || !IS_VALID_TIMESTAMP(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("id " INT64_FORMAT " holds no time", id)));
	return at;
}

/*
 * The lowest id whose time is after at; the ids recorded until then are those
 * below it.
 */
int64
pl_first_id_after(TimestampTz at)
{
	int64		ms;

	if (TIMESTAMP_IS_NOEND(at))
		return PG_INT64_MAX;
	if (TIMESTAMP_IS_NOBEGIN(at))
		return 0;
	ms = unix_ms(at) - ID_EPOCH_MS + 1;
	if (ms <= 0)
		return 0;
	if (ms >= (INT64CONST(1) << (63 - NODE_BITS - SEQUENCE_BITS)))
		return PG_INT64_MAX;
	return ms << (NODE_BITS + SEQUENCE_BITS);
}

/*
 * Let later ids exceed an id that came from elsewhere: data restored here may
 * have been written by a server whose clock was ahead.  An id further ahead
 * than any clock is wrong was not made from one, and is left alone.
 */
void
pl_exceed_id(int64 id)
{
	uint64		floor = (((uint64) id >> (NODE_BITS + SEQUENCE_BITS)) + LIMIT_AHEAD_MS) << SEQUENCE_BITS;
	uint64		last;

	if (floor > clock_now() + ((uint64) MAX_CLOCK_ERROR_MS << SEQUENCE_BITS))
		return;
	(void) pl_next_id();		/* the counter has its own floor from here on */
	last = pg_atomic_read_u64(&pl_core_shared->id_clock);
	while (last < floor &&
		   !pg_atomic_compare_exchange_u64(&pl_core_shared->id_clock, &last, floor))
		;
}

/*
 * next_id() RETURNS bigint
 */
Datum
pl_sql_next_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(pl_next_id());
}

/*
 * id_timestamp(id bigint) RETURNS timestamptz
 */
Datum
pl_sql_id_timestamp(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(pl_id_timestamp(PG_GETARG_INT64(0)));
}
