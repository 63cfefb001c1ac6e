/*
 * src/worker/status.c
 *		What each worker is doing, in shared memory, for stat_worker.
 *
 * A slot belongs to one worker process and only that process writes it; the
 * spinlock keeps readers from seeing half a text.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "worker/worker_internal.h"

int			pl_relay_shards;

#define STATE_LENGTH	64
#define ERROR_LENGTH	512

/* over so many seconds before the present one a rate is taken */
#define RATE_SECONDS	10

/* the same message is not logged again within this time, which doubles up to the other */
#define LOG_AGAIN_MS	INT64CONST(600000)
#define LOG_RARELY_MS	INT64CONST(86400000)

/* Plain data only: shared memory outlives the process. */
typedef struct StatusSlot
{
	char		database[NAMEDATALEN];
	PlRole		role;
	int			shard;			/* of a relay, else 0 */
	int			pid;			/* 0: not running */
	int64		starts;			/* since the server started */
	bool		is_connecting;	/* to its database; it may end there */
	int			connect_failures;	/* since it last was connected */
	TimestampTz started_at;
	TimestampTz last_activity;
	int64		processed;
	int64		batches;		/* in which they were */
	int64		last_batch;
	int64		seconds[RATE_SECONDS];	/* processed lately, by the second ... */
	int64		second[RATE_SECONDS];	/* ... it was, modulo their number */
	bool		failing;		/* nothing has succeeded since last_error */
	int64		failed_attempts;	/* pauses since something succeeded */
	TimestampTz next_attempt_at;	/* the end of the last of them */
	int64		errors;			/* since the server started */
	TimestampTz last_error_at;	/* 0: never */
	char		state[STATE_LENGTH];
	char		last_error[ERROR_LENGTH];
} StatusSlot;

typedef struct StatusShared
{
	slock_t		lock;
	int			nslots;
	StatusSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} StatusShared;

static StatusShared *status_shared = NULL;
static StatusSlot *my_status = NULL;

/* What this process logged of late: trouble tends to come in pairs. */
#define LOGGED_ERRORS	32

static struct
{
	char		text[ERROR_LENGTH];
	int64		at;				/* pl_monotonic_ms() */
	int64		again_ms;		/* not logged again within that time */
}			logged_errors[LOGGED_ERRORS];
static int	oldest_logged_error = 0;

PG_FUNCTION_INFO_V1(pl_sql_worker_statistics);

/* Name of a role in names of processes, views and messages. */
const char *
pl_role_name(PlRole role)
{
	switch (role)
	{
		case PL_ROLE_GATEWAY:
			return "gateway";
		case PL_ROLE_RELAY:
			return "relay";
		case PL_ROLE_KEEPER:
			return "keeper";
	}
	elog(ERROR, "unknown worker role %d", (int) role);
}

/* How many workers with that role a database has. */
int
pl_role_shards(PlRole role)
{
	return role == PL_ROLE_RELAY ? pl_relay_shards : 1;
}

static int
slots_of_database(void)
{
	int			n = 0;

	for (int role = 0; role < PL_ROLE_COUNT; role++)
		n += pl_role_shards(role);
	return n;
}

/*
 * Bytes of shared memory for the workers of payledger.databases.
 */
Size
pl_worker_shmem_size(void)
{
	return add_size(offsetof(StatusShared, slots),
					mul_size(sizeof(StatusSlot), list_length(pl_worker_databases()) * slots_of_database()));
}

/*
 * Attach to the workers' shared memory, initializing it if this is the first
 * process.  Called by the shmem_startup_hook with AddinShmemInitLock held.
 */
void
pl_worker_shmem_init(void)
{
	bool		found;
	ListCell   *cell;

	status_shared = ShmemInitStruct("payledger workers", pl_worker_shmem_size(), &found);
	if (found)
		return;

	memset(status_shared, 0, pl_worker_shmem_size());
	SpinLockInit(&status_shared->lock);
	foreach(cell, pl_worker_databases())
	{
		for (int role = 0; role < PL_ROLE_COUNT; role++)
			for (int shard = 0; shard < pl_role_shards(role); shard++)
			{
				StatusSlot *slot = &status_shared->slots[status_shared->nslots++];

				strlcpy(slot->database, lfirst(cell), NAMEDATALEN);
				slot->role = role;
				slot->shard = shard;
			}
	}
}

static void
stopped(int code, Datum arg)
{
	SpinLockAcquire(&status_shared->lock);
	my_status->pid = 0;
	my_status->state[0] = '\0';
	SpinLockRelease(&status_shared->lock);
	my_status = NULL;
}

/*
 * The process of that slot begins: it has no database yet, and ends if there is
 * none.  If its predecessor has, that is shown, and the result is how often in
 * a row it has been so: connecting is not to be tried at once.  Otherwise 0.
 */
int
pl_worker_starting(int slot)
{
	int			failures = 0;

	if (slot < 0 || slot >= status_shared->nslots)
		elog(ERROR, "payledger has no worker slot %d", slot);
	my_status = &status_shared->slots[slot];

	SpinLockAcquire(&status_shared->lock);
	my_status->starts++;
	if (my_status->is_connecting)
	{
		failures = ++my_status->connect_failures;
		my_status->errors++;
		my_status->failing = true;
		my_status->last_error_at = pl_now();
		strlcpy(my_status->last_error, "the worker could not connect to its database, the server's log says why",
				ERROR_LENGTH);
	}
	my_status->is_connecting = failures == 0;
	SpinLockRelease(&status_shared->lock);
	return failures;
}

/*
 * Take the slot as this worker's, until the process exits.  Errors of a
 * predecessor stay visible.
 */
void
pl_worker_started(int slot)
{
	if (slot < 0 || slot >= status_shared->nslots)
		elog(ERROR, "payledger has no worker slot %d", slot);
	my_status = &status_shared->slots[slot];

	SpinLockAcquire(&status_shared->lock);
	my_status->pid = MyProcPid;
	my_status->is_connecting = false;
	/* that trouble is over; what else there is, this process will meet itself */
	if (my_status->connect_failures > 0)
		my_status->failing = false;
	my_status->connect_failures = 0;
	my_status->started_at = my_status->last_activity = pl_now();
	my_status->processed = my_status->batches = my_status->last_batch = 0;
	memset(my_status->second, 0, sizeof(my_status->second));
	my_status->failed_attempts = 0;
	strlcpy(my_status->state, "starting", STATE_LENGTH);
	SpinLockRelease(&status_shared->lock);
	before_shmem_exit(stopped, (Datum) 0);
}

/* Which of the relays of its database this worker is; 0 for other roles. */
int
pl_worker_shard(void)
{
	return my_status->shard;
}

/* Show what the worker is doing, in a few words. */
void
pl_worker_state(const char *state)
{
	char		text[STATE_LENGTH] = "";

	pl_fill_text(text, state, STATE_LENGTH);
	SpinLockAcquire(&status_shared->lock);
	memcpy(my_status->state, text, STATE_LENGTH);
	SpinLockRelease(&status_shared->lock);
}

/* Show that the worker is alive: a transaction begins. */
void
pl_worker_turn(void)
{
	TimestampTz now = pl_now();

	SpinLockAcquire(&status_shared->lock);
	my_status->last_activity = now;
	SpinLockRelease(&status_shared->lock);
}

/* Count n more things (requests, events) as processed, in one batch. */
void
pl_worker_count(int64 n)
{
	int64		now = pl_monotonic_ms() / 1000;
	int			i = now % RATE_SECONDS;

	if (n == 0)
		return;
	SpinLockAcquire(&status_shared->lock);
	my_status->processed += n;
	my_status->batches++;
	my_status->last_batch = n;
	if (my_status->second[i] != now)
	{
		my_status->second[i] = now;
		my_status->seconds[i] = 0;
	}
	my_status->seconds[i] += n;
	SpinLockRelease(&status_shared->lock);
}

/* Things a second, over the last full seconds. */
static double
rate(const StatusSlot *slot)
{
	int64		now = pl_monotonic_ms() / 1000;
	int64		n = 0;

	for (int i = 0; i < RATE_SECONDS; i++)
		if (slot->second[i] < now && slot->second[i] >= now - (RATE_SECONDS - 1))
			n += slot->seconds[i];
	return (double) n / (RATE_SECONDS - 1);
}

/*
 * Should that be logged, or has it been of late?  What lasts is logged more and
 * more rarely; after a day without it, it is news.
 */
static bool
worth_logging(const char *text)
{
	int64		now = pl_monotonic_ms();
	int			i = 0;

	while (i < LOGGED_ERRORS && strcmp(logged_errors[i].text, text) != 0)
		i++;
	if (i < LOGGED_ERRORS && now - logged_errors[i].at < logged_errors[i].again_ms)
		return false;
	if (i < LOGGED_ERRORS && now - logged_errors[i].at < LOG_RARELY_MS + LOG_AGAIN_MS)
		logged_errors[i].again_ms = Min(2 * logged_errors[i].again_ms, LOG_RARELY_MS);
	else
	{
		if (i == LOGGED_ERRORS)
		{
			i = oldest_logged_error;
			oldest_logged_error = (oldest_logged_error + 1) % LOGGED_ERRORS;
			strlcpy(logged_errors[i].text, text, ERROR_LENGTH);
		}
		logged_errors[i].again_ms = LOG_AGAIN_MS;
	}
	logged_errors[i].at = now;
	return true;
}

/*
 * Show the message as the worker's last error.  Returns whether the caller
 * should log it: not if this process logged the same minutes ago.
 */
bool
pl_worker_record_error(const char *message)
{
	TimestampTz now = pl_now();
	char		text[ERROR_LENGTH] = "";

	pl_fill_text(text, message, ERROR_LENGTH);
	for (char *p = text; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';

	SpinLockAcquire(&status_shared->lock);
	my_status->failing = true;
	my_status->errors++;
	my_status->last_error_at = now;
	memcpy(my_status->last_error, text, ERROR_LENGTH);
	SpinLockRelease(&status_shared->lock);
	return worth_logging(text);
}

static void
log_warning(const char *message, const char *detail, const char *hint)
{
	ereport(WARNING,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("payledger %s: %s", pl_role_name(my_status->role), message),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

/*
 * Show the message as the worker's last error, and log it, with detail and
 * hint, unless it is old; both may be NULL.  For trouble that is no SQL error:
 * a broker that is down.
 */
void
pl_worker_report(const char *message, const char *detail, const char *hint)
{
	if (pl_worker_record_error(message))
		log_warning(message, detail, hint);
}

/*
 * The same, logged however old it is: for what somebody who just reloaded the
 * configuration has to learn.
 */
void
pl_worker_insist(const char *message)
{
	(void) pl_worker_record_error(message);
	log_warning(message, NULL, NULL);
}

/* The same with neither. */
void
pl_worker_set_error(const char *message)
{
	pl_worker_report(message, NULL, NULL);
}

/* Log what is no error yet, unless it has been logged minutes ago. */
void
pl_worker_warn(const char *message, const char *hint)
{
	if (worth_logging(message))
		log_warning(message, NULL, hint);
}

/* Show that the worker pauses for that long after another failure. */
void
pl_worker_pausing(long ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(pl_now(), ms);

	SpinLockAcquire(&status_shared->lock);
	my_status->failed_attempts++;
	my_status->next_attempt_at = end;
	SpinLockRelease(&status_shared->lock);
}

/*
 * Something succeeded: the last error is past.  It stays visible, with its
 * time.
 */
void
pl_worker_clear_error(void)
{
	SpinLockAcquire(&status_shared->lock);
	my_status->failing = false;
	my_status->failed_attempts = 0;
	SpinLockRelease(&status_shared->lock);
	pl_worker_reset_back_off();
}

/*
 * worker_statistics() RETURNS TABLE (database text, role text, shard int,
 * pid int, state text, started_at timestamptz, last_activity timestamptz,
 * processed bigint, batches bigint, last_batch bigint, per_second float8,
 * errors bigint, failing boolean, last_error text, last_error_at timestamptz,
 * failed_attempts bigint, next_attempt_at timestamptz, restarts bigint)
 */
Datum
pl_sql_worker_statistics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	pl_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int i = 0; i < status_shared->nslots; i++)
	{
		StatusSlot	slot;
		Datum		values[18] = {0};
		bool		nulls[18] = {false};
		bool		missing;

		SpinLockAcquire(&status_shared->lock);
		slot = status_shared->slots[i];
		SpinLockRelease(&status_shared->lock);

		/* on a standby no worker is to run */
		missing = slot.pid == 0 && !RecoveryInProgress();
		if (missing && slot.last_error_at == 0)
			strlcpy(slot.last_error, slot.starts == 0 ?
					"the worker was never started: is max_worker_processes large enough?" :
					"the worker has ended, the server's log says why", ERROR_LENGTH);

		values[0] = CStringGetTextDatum(slot.database);
		values[1] = CStringGetTextDatum(pl_role_name(slot.role));
		values[2] = Int32GetDatum(slot.shard);
		values[3] = Int32GetDatum(slot.pid);
		values[4] = CStringGetTextDatum(slot.pid != 0 ? slot.state :
										missing ? "not running" : "waiting for the end of recovery");
		values[5] = TimestampTzGetDatum(slot.started_at);
		values[6] = TimestampTzGetDatum(slot.last_activity);
		values[7] = Int64GetDatum(slot.processed);
		values[8] = Int64GetDatum(slot.batches);
		values[9] = Int64GetDatum(slot.last_batch);
		values[10] = Float8GetDatum(rate(&slot));
		values[11] = Int64GetDatum(slot.errors);
		values[12] = BoolGetDatum(slot.failing || missing);
		values[13] = CStringGetTextDatum(slot.last_error);
		values[14] = TimestampTzGetDatum(slot.last_error_at);
		values[15] = Int64GetDatum(slot.failed_attempts);
		values[16] = TimestampTzGetDatum(slot.next_attempt_at);
		nulls[3] = slot.pid == 0;
		nulls[5] = nulls[6] = slot.started_at == 0;
		values[17] = Int64GetDatum(Max(slot.starts - 1, 0));
		nulls[13] = slot.last_error[0] == '\0';
		nulls[14] = slot.last_error_at == 0;
		nulls[16] = slot.failed_attempts == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
