/*
 * src/core/clock.c
 *		The time that payledger goes by: the wall clock as long as it agrees with
 *		the clock that nobody sets.
 *
 * The wall clock may be stepped: by a hypervisor, a wrong time server, a
 * receiver whose week counter rolls over, a hand.  What is done by such a time
 * (an authorization voided, a key forgotten, an id drawn years ahead) cannot be
 * undone.  So shared memory holds what the wall clock was ahead of
 * CLOCK_BOOTTIME, which counts on through a suspend and is never set; a wall
 * clock that is farther from it than payledger.max_clock_step has been stepped,
 * and the time goes on as counted until the two agree again or an operator
 * calls confirm_clock().
 *
 * A file carries that over restarts.  While the machine stays up CLOCK_BOOTTIME
 * does as well, and nothing is lost.  After a reboot, or on another machine, the
 * time in the file is only the earliest that it can be: the wall clock is
 * believed if it is later by no more than payledger.max_clock_gap, and if no
 * step was open when the file was written.
 *
 * Where there is no file, the wall clock is all there is.  If it shows a time
 * that ids cannot hold, no id is drawn and nothing is due until it is right;
 * then it is believed without anybody's word.
 *
 * Reading the time takes two clock_gettime() calls and no lock.
 */
#include "postgres.h"

#include <limits.h>
#include <time.h>
#include <unistd.h>

#include "access/xact.h"
#include "core/clock.h"
#include "core/core.h"
#include "core/shared.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#ifdef CLOCK_BOOTTIME
#define COUNTING_CLOCK	CLOCK_BOOTTIME
#else
#define COUNTING_CLOCK	CLOCK_MONOTONIC
#endif

#define CLOCK_FILE		"payledger.clock"
#define CLOCK_FILE_TMP	"payledger.clock.tmp"

/* Linux: another one after each boot */
#define BOOT_ID_FILE	"/proc/sys/kernel/random/boot_id"

/* how often the file is written, and what was seen logged again at first */
#define WRITE_EVERY_MS	(30 * 1000)
#define LOG_AGAIN_MS	INT64CONST(600000)
#define LOG_RARELY_MS	INT64CONST(86400000)

/* how often the small steps that were let pass are taken for the truth */
#define REBASE_EVERY_MS	(3600 * 1000)

/* rows are kept longer by steps that were confirmed, for as long as any retention; and by no more */
#define FORGET_FORWARD	(INT64CONST(3660) * USECS_PER_DAY)
#define MOST_FORWARD	(INT64CONST(365) * 1000 * USECS_PER_DAY)

/* a transaction's own time is used up to that age */
#define OLD_TRANSACTION_MS	(10 * 60 * 1000)

int			pl_max_clock_step = 60;
int			pl_max_clock_gap = 24 * 3600;

PG_FUNCTION_INFO_V1(pl_sql_trusted_now);
PG_FUNCTION_INFO_V1(pl_sql_clock_status);
PG_FUNCTION_INFO_V1(pl_sql_confirm_clock);

/* ---- reading ---- */

static int64
read_clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/*
 * Milliseconds of a clock that nobody sets: what waiting is measured with.
 */
int64
pl_monotonic_ms(void)
{
	return read_clock_us(CLOCK_MONOTONIC) / 1000;
}

/* The time as counted since it was last believed.  Needs shared memory. */
static TimestampTz
counted_now(void)
{
	return read_clock_us(COUNTING_CLOCK) + (int64) pg_atomic_read_u64(&pl_core_shared->clock_base);
}

static bool
is_step(int64 difference)
{
	int64		most = (int64) pl_max_clock_step * USECS_PER_SEC;

	return difference > most || difference < -most;
}

/*
 * Both clocks at once.  Returns by how many microseconds the wall clock has
 * been stepped, 0 if the two agree: then both are the wall clock.  A counted
 * time that ids cannot hold began with a wrong clock, so one that they can is
 * right.
 */
static int64
read_clocks(TimestampTz *wall, TimestampTz *trusted)
{
	*wall = *trusted = GetCurrentTimestamp();
	if (pl_core_shared == NULL)
		return 0;
	*trusted = counted_now();
	if (is_step(*wall - *trusted) && (pl_ids_hold(*trusted) || !pl_ids_hold(*wall)))
		return *wall - *trusted;
	*trusted = *wall;
	return 0;
}

/*
 * The present, for ids, times that are stored, and work that is to be done
 * again: the wall clock, or the time as counted since before it was stepped.
 */
TimestampTz
pl_now(void)
{
	TimestampTz wall;
	TimestampTz trusted;

	(void) read_clocks(&wall, &trusted);
	return trusted;
}

/*
 * The earlier of the wall clock and pl_now(): for what must not be done too
 * early, whichever of the two is right.  2025 if neither can be.
 */
TimestampTz
pl_due_now(void)
{
	TimestampTz wall;
	TimestampTz trusted;

	(void) read_clocks(&wall, &trusted);
	if (!pl_ids_hold(trusted))
		trusted = pl_id_timestamp(0);
	return Min(wall, trusted);
}

/*
 * The later of the two: for what must not be relied on for too long.
 */
TimestampTz
pl_grace_now(void)
{
	TimestampTz wall;
	TimestampTz trusted;

	(void) read_clocks(&wall, &trusted);
	return Max(wall, trusted);
}

/*
 * From where a time allowed begins to run that begins at, by pl_now(): later by
 * what the wall clock is ahead, in case it is right.
 */
TimestampTz
pl_grace_from(TimestampTz at)
{
	return at + Max(pl_clock_step(), 0);
}

/*
 * The start of this transaction, or the present if that start is too long ago,
 * or ahead, to have been read from the clock that is trusted now.
 */
TimestampTz
pl_transaction_now(void)
{
	TimestampTz start = GetCurrentTransactionStartTimestamp();
	TimestampTz wall;
	TimestampTz trusted;

	if (read_clocks(&wall, &trusted) != 0 || start > trusted ||
		trusted - start > OLD_TRANSACTION_MS * INT64CONST(1000))
		return trusted;
	return start;
}

/*
 * What was stored before that time has been kept for so many seconds, whatever
 * clock dated it: rows from before a step that was confirmed lately look older
 * than they are by as much.
 */
TimestampTz
pl_kept_since(int seconds)
{
	TimestampTz since = pl_due_now() - (int64) seconds * USECS_PER_SEC;

	if (pl_core_shared != NULL)
	{
		LWLockAcquire(pl_core_shared->lock, LW_SHARED);
		if (pl_core_shared->clock.confirmed_at > since)
			since -= pl_core_shared->clock.forward;
		LWLockRelease(pl_core_shared->lock);
	}
	return since;
}

/*
 * By how many microseconds the wall clock is ahead of the time that is trusted,
 * if it was stepped; 0: they agree.
 */
int64
pl_clock_step(void)
{
	TimestampTz wall;
	TimestampTz trusted;

	return read_clocks(&wall, &trusted);
}

/*
 * How often an operator has confirmed the clock since the server started.
 */
uint32
pl_clock_confirmations(void)
{
	return pg_atomic_read_u32(&pl_core_shared->clock_confirmations);
}

/*
 * A step in words: "1 d 02:03:04 ahead of".  palloc'd.
 */
char *
pl_describe_step(int64 step)
{
	int64		seconds = ((step < 0 ? -step : step) + USECS_PER_SEC / 2) / USECS_PER_SEC;

	return psprintf(INT64_FORMAT " d %02d:%02d:%02d %s",
					seconds / SECS_PER_DAY,
					(int) (seconds / SECS_PER_HOUR % 24),
					(int) (seconds / SECS_PER_MINUTE % 60),
					(int) (seconds % SECS_PER_MINUTE),
					step < 0 ? "behind" : "ahead of");
}

/* ---- the file ---- */

typedef struct ClockFile
{
	char		boot_id[64];	/* empty: not known */
	int64		counter;		/* COUNTING_CLOCK then */
	TimestampTz time;			/* pl_now() then */
	int			open_step;		/* had the wall clock been stepped? */
	TimestampTz confirmed_at;
	int64		forward;
} ClockFile;

/* What tells this boot of this machine from all others; empty if nothing does. */
static void
read_boot_id(char *boot_id, size_t size)
{
	FILE	   *file = AllocateFile(BOOT_ID_FILE, "r");

	boot_id[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(boot_id, (int) size, file) == NULL)
		boot_id[0] = '\0';
	boot_id[strcspn(boot_id, "\r\n \t")] = '\0';
	FreeFile(file);
}

/* Returns false if there is no file that can be used; says so if it is spoilt. */
static bool
read_file(ClockFile *content)
{
	FILE	   *file = AllocateFile(CLOCK_FILE, "r");
	int			fields;

	memset(content, 0, sizeof(ClockFile));
	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", CLOCK_FILE)));
		return false;
	}
	fields = fscanf(file, "boot %63s\ncounter " INT64_FORMAT "\ntime " INT64_FORMAT
					"\nstepped %d\nconfirmed " INT64_FORMAT "\nforward " INT64_FORMAT "\n",
					content->boot_id, &content->counter, &content->time, &content->open_step,
					&content->confirmed_at, &content->forward);
	FreeFile(file);
	if (fields == 6 && IS_VALID_TIMESTAMP(content->time) && content->counter >= 0 &&
		IS_VALID_TIMESTAMP(content->confirmed_at) && content->forward >= 0 &&
		content->forward <= MOST_FORWARD)
		return true;
	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("file \"%s\" cannot be read, the wall clock is believed", CLOCK_FILE)));
	return false;
}

/* Write the file, or log why it cannot be. */
static void
write_file(void)
{
	PlClock    *clock = &pl_core_shared->clock;
	char		boot_id[64];
	TimestampTz wall;
	TimestampTz trusted;
	int64		step = read_clocks(&wall, &trusted);
	FILE	   *file;
	bool		written;

	read_boot_id(boot_id, sizeof(boot_id));
	file = AllocateFile(CLOCK_FILE_TMP, "w");
	written = file != NULL &&
		fprintf(file, "boot %s\ncounter " INT64_FORMAT "\ntime " INT64_FORMAT
				"\nstepped %d\nconfirmed " INT64_FORMAT "\nforward " INT64_FORMAT "\n",
				boot_id[0] == '\0' ? "-" : boot_id, read_clock_us(COUNTING_CLOCK), trusted, step != 0,
				clock->confirmed_at, clock->forward) > 0;
	if (file != NULL && FreeFile(file) != 0)
		written = false;
	if (!written)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", CLOCK_FILE_TMP)));
	else
		(void) durable_rename(CLOCK_FILE_TMP, CLOCK_FILE, LOG);
}

/* ---- watching ---- */

static void
set_base(TimestampTz time)
{
	pg_atomic_write_u64(&pl_core_shared->clock_base, (uint64) (time - read_clock_us(COUNTING_CLOCK)));
}

/*
 * Decide at the start of the server which time to go by.  Called once, with
 * shared memory just initialized; raises nothing.
 */
void
pl_clock_start(void)
{
	ClockFile	last;
	char		boot_id[64];
	TimestampTz wall = GetCurrentTimestamp();
	int64		counter = read_clock_us(COUNTING_CLOCK);
	TimestampTz time = wall;

	if (read_file(&last))
	{
		pl_core_shared->clock.confirmed_at = last.confirmed_at;
		pl_core_shared->clock.forward = last.forward;
		read_boot_id(boot_id, sizeof(boot_id));
		if (boot_id[0] != '\0' && strcmp(boot_id, last.boot_id) == 0 && counter >= last.counter)
			time = last.time + (counter - last.counter);
		else if (last.open_step || wall < last.time ||
				 wall - last.time > (int64) pl_max_clock_gap * USECS_PER_SEC)
			time = last.time;
		if (!is_step(wall - time))
			time = wall;
	}
	set_base(time);
	pl_core_shared->clock.at_start = is_step(wall - time);
}

/* The wall clock has just been found wrong, or is so still. */
static void
log_wrong_clock(int64 step, TimestampTz trusted, bool at_start)
{
	if (!pl_ids_hold(trusted))
		ereport(WARNING,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the clock shows %s, a time that ids cannot hold", timestamptz_to_str(trusted)),
				 errdetail("Nothing can be written, expires, is paid out or is deleted until it shows a time from 2025 to 2089."),
				 errhint("Set the clock right.")));
	else
		ereport(WARNING,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 at_start ?
				 errmsg("the wall clock is %s the time that payledger expected at the start", pl_describe_step(step)) :
				 errmsg("the wall clock has been stepped, it is %s the time that payledger counts", pl_describe_step(step)),
				 errdetail("Ids and stored times go by the counted time; nothing expires, is paid out or is deleted before both clocks say so."),
				 errhint("Set the clock right, or if it is right call payledger.confirm_clock().")));
}

/*
 * Look at the clocks: log what is new, keep the file, take small steps for the
 * truth.  For the clock worker, about once a second; needs no transaction.
 */
void
pl_clock_watch(void)
{
	static int64 written_at = 0;
	static int64 rebased_at = 0;
	static int64 logged_at = 0;
	static int64 log_again_ms = LOG_AGAIN_MS;
	PlClock    *clock = &pl_core_shared->clock;
	int64		now = pl_monotonic_ms();
	TimestampTz wall;
	TimestampTz trusted;
	int64		step;
	bool		wrong;
	bool		changed;

	LWLockAcquire(pl_core_shared->lock, LW_EXCLUSIVE);
	step = read_clocks(&wall, &trusted);
	wrong = step != 0 || !pl_ids_hold(trusted);
	changed = wrong != (clock->since != 0);
	if (changed && wrong)
	{
		clock->since = trusted;
		clock->steps++;
		log_wrong_clock(step, trusted, clock->at_start);
		logged_at = now;
		log_again_ms = LOG_AGAIN_MS;
	}
	else if (changed)
	{
		clock->since = 0;
		clock->at_start = false;
		ereport(LOG,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("the wall clock and the time that payledger counts agree again")));
	}
	else if (wrong && now - logged_at >= log_again_ms)
	{
		log_wrong_clock(step, trusted, clock->at_start);
		logged_at = now;
		log_again_ms = Min(2 * log_again_ms, LOG_RARELY_MS);
	}
	/* a time that cannot be is left as soon as there is one that can */
	if (!pl_ids_hold(counted_now()))
		rebased_at = 0;
	if (step == 0 && (rebased_at == 0 || now - rebased_at >= REBASE_EVERY_MS))
	{
		set_base(wall);
		rebased_at = now;
	}
	if (changed || written_at == 0 || now - written_at >= WRITE_EVERY_MS)
	{
		write_file();
		written_at = now;
	}
	LWLockRelease(pl_core_shared->lock);
}

/* ---- operators ---- */

/*
 * trusted_now() RETURNS timestamptz
 */
Datum
pl_sql_trusted_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(pl_now());
}

/*
 * confirm_clock() RETURNS boolean: take the wall clock for right.  22008 if it
 * shows a time that ids cannot hold: they would never get over it.
 */
Datum
pl_sql_confirm_clock(PG_FUNCTION_ARGS)
{
	PlClock    *clock;
	TimestampTz wall;
	TimestampTz trusted;
	int64		step;
	char	   *actor = GetUserNameFromId(GetSessionUserId(), false);

	pl_require_preload();
	clock = &pl_core_shared->clock;
	LWLockAcquire(pl_core_shared->lock, LW_EXCLUSIVE);
	step = read_clocks(&wall, &trusted);
	if (!pl_ids_hold(wall))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("the wall clock shows %s, a time that ids cannot hold", timestamptz_to_str(wall)),
				 errdetail("Ids hold times from 2025 to 2089."),
				 errhint("Set the clock right.")));
	if (step != 0)
	{
		set_base(wall);
		if (wall - clock->confirmed_at > FORGET_FORWARD)
			clock->forward = 0;
		clock->confirmed_at = wall;
		clock->confirmed_step = step;
		strlcpy(clock->confirmed_by, actor, NAMEDATALEN);
		if (step > 0)
			clock->forward = Min(clock->forward + step, MOST_FORWARD);
		clock->since = 0;
		clock->at_start = false;
		pg_atomic_fetch_add_u32(&pl_core_shared->clock_confirmations, 1);
		write_file();
	}
	LWLockRelease(pl_core_shared->lock);

	if (step == 0)
		PG_RETURN_BOOL(false);
	for (int role = 0; role < PL_ROLE_COUNT; role++)
		pl_wake_worker(role);
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("the wall clock was confirmed by \"%s\"", actor),
			 errdetail("It was %s the time that payledger counted.", pl_describe_step(step))));
	PG_RETURN_BOOL(true);
}

static Datum
interval_of(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->day = (int32) (us / USECS_PER_DAY);
	interval->time = us % USECS_PER_DAY;
	return IntervalPGetDatum(interval);
}

/*
 * clock_status() RETURNS TABLE (agrees boolean, wall_clock timestamptz,
 * trusted_clock timestamptz, step interval, since timestamptz, at_start boolean,
 * steps bigint, confirmed_at timestamptz, confirmed_by text, confirmed_step interval)
 */
Datum
pl_sql_clock_status(PG_FUNCTION_ARGS)
{
	PlClock		clock;
	TimestampTz wall;
	TimestampTz trusted;
	int64		step;
	Datum		values[10] = {0};
	bool		nulls[10] = {false};

	pl_require_preload();
	LWLockAcquire(pl_core_shared->lock, LW_SHARED);
	clock = pl_core_shared->clock;
	LWLockRelease(pl_core_shared->lock);
	step = read_clocks(&wall, &trusted);

	InitMaterializedSRF(fcinfo, 0);
	values[0] = BoolGetDatum(step == 0 && pl_ids_hold(trusted));
	values[1] = TimestampTzGetDatum(wall);
	values[2] = TimestampTzGetDatum(trusted);
	values[3] = interval_of(step);
	values[4] = TimestampTzGetDatum(clock.since);
	nulls[4] = clock.since == 0;
	values[5] = BoolGetDatum(step != 0 && clock.at_start);
	values[6] = Int64GetDatum(clock.steps);
	values[7] = TimestampTzGetDatum(clock.confirmed_at);
	values[8] = CStringGetTextDatum(clock.confirmed_by);
	values[9] = interval_of(clock.confirmed_step);
	nulls[7] = clock.confirmed_at == 0;
	/* the file keeps no more than when it was */
	nulls[8] = nulls[9] = clock.confirmed_by[0] == '\0';
	tuplestore_putvalues(((ReturnSetInfo *) fcinfo->resultinfo)->setResult,
						 ((ReturnSetInfo *) fcinfo->resultinfo)->setDesc, values, nulls);
	return (Datum) 0;
}
