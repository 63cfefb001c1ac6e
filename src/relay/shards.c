/*
 * src/relay/shards.c
 *		Several relays of one database: each serves the keys with its remainder
 *		of their hash, with a cursor, a producer and a lock of its own.
 *
 * relay_cursors.shards says by how many the hash was divided.  Where that is
 * not payledger.relay_shards, the number was changed, and relay 0 makes the
 * change while the others wait: it takes a snapshot, serves one former shard
 * after the other until each has published all that the snapshot sees, and
 * then replaces their rows by new ones, in one transaction, that all begin at
 * that snapshot.  A crash before that leaves the former rows, each further on
 * than it was.  The new rows have new ids, so no record in the cursor's topic
 * is taken for theirs; exactly once, each shard begins with one of its own.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "miscadmin.h"
#include "relay/relay_internal.h"
#include "storage/lock.h"
#include "worker/worker.h"

int			pl_shard = 0;
int			pl_shards = 1;

static bool settled = false;	/* the rows are as the setting says, and the lock is held */
static bool changing = false;	/* pl_shard of pl_shards is brought up to the snapshot */
static bool have_lock[PL_MAX_RELAY_SHARDS];

static PlQuery count_shards = {
	"SELECT pg_catalog.max(shards), pg_catalog.count(*) = pg_catalog.max(shards) FROM payledger.relay_cursors", 0
};

/* published: the sum of all shards tells how many, so one of them goes on with it */
static PlQuery replace_rows = {
	"WITH former AS (DELETE FROM payledger.relay_cursors RETURNING published, epoch, batch, updated_at)"
	" INSERT INTO payledger.relay_cursors (shard, shards, published, epoch, batch, updated_at,"
	"  snapshot_xmax, window_start, snapshot_xip, snapshot_xip_start, published_seq)"
	" SELECT s, $1, CASE WHEN s = 0 THEN f.published ELSE 0 END, f.epoch, f.batch, f.updated_at, $2, $3, $4, $5, 0"
	" FROM (SELECT pg_catalog.sum(published)::bigint, pg_catalog.max(epoch), pg_catalog.max(batch),"
	"        pg_catalog.max(updated_at) FROM former) AS f(published, epoch, batch, updated_at)"
	" CROSS JOIN pg_catalog.generate_series(0, $1 - 1) AS g(s)",
	5, {INT4OID, INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID}
};

/* ---- locks ---- */

/* advisory lock class that SQL cannot take: its own are 1 and 2; "payledger relay" */
#define RELAY_LOCK_KEY1 0x706c6472
#define RELAY_LOCK_CLASS 7

static void
set_tag(LOCKTAG *tag, int shard)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, RELAY_LOCK_KEY1, shard, RELAY_LOCK_CLASS);
}

/*
 * One relay a shard: a second, for whatever reason it runs, would break the
 * order.  The lock lasts until the process ends or gives it back.
 */
static bool
lock_shard(int shard)
{
	LOCKTAG		tag;

	set_tag(&tag, shard);
	if (!have_lock[shard])
		have_lock[shard] = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	if (!have_lock[shard])
		pl_worker_state("waiting for another relay of this database");
	return have_lock[shard];
}

static void
unlock_others(int own)
{
	for (int shard = 0; shard < PL_MAX_RELAY_SHARDS; shard++)
	{
		LOCKTAG		tag;

		if (shard == own || !have_lock[shard])
			continue;
		set_tag(&tag, shard);
		LockRelease(&tag, ExclusiveLock, true);
		have_lock[shard] = false;
	}
}

/* ---- a change of their number ---- */

/* The next shard has another producer and another cursor. */
static void
serve(int shard, int shards)
{
	pl_shard = shard;
	pl_shards = shards;
	pl_delivery_forget();
	pl_kafka_close();
	pl_window_forget();
}

static bool
begin_change(int former)
{
	for (int shard = 0; shard < Max(former, pl_relay_shards); shard++)
		if (!lock_shard(shard))
			return false;
	serve(0, former);

	/* the bound for a snapshot is taken before it, in a transaction of its own */
	if (!pl_worker_begin())
		return false;
	pl_window_renew_bound();
	pl_worker_commit();
	if (!pl_worker_begin())
		return false;
	pl_window_set_target();
	pl_worker_commit();
	changing = true;
	return true;
}

/* All former shards are at the snapshot. */
static bool
finish_change(void)
{
	PlArgs		args = {0};

	if (!pl_worker_begin())
		return false;
	pl_arg_int32(&args, pl_relay_shards);
	pl_window_target_columns(&args);
	if (pl_execute(&replace_rows, &args) != (uint64) pl_relay_shards)
		elog(ERROR, "payledger.relay_cursors has no row");
	pl_worker_commit();
	/* what a crash took back would be published again by shards that begin at the snapshot */
	(void) pl_make_durable();
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("payledger relay: %d shards instead of %d from here on", pl_relay_shards, pl_shards)));
	return true;
}

static PlReadiness
go_on_changing(void)
{
	if (!pl_window_at_target())
		return PL_READY;
	if (pl_shard + 1 < pl_shards)
	{
		serve(pl_shard + 1, pl_shards);
		return PL_READY;
	}
	if (!finish_change())
		return PL_NO_DATABASE;
	pl_shards_forget();
	return PL_NOT_READY;
}

/* ---- what the relay's loop calls ---- */

/* For the beginning, after an error, and when the database was made anew. */
void
pl_shards_forget(void)
{
	settled = changing = false;
	pl_window_forget_target();
}

/*
 * Have the shard that this relay is to serve now.  PL_NOT_READY: look again
 * after a moment.  Outside of turns only.
 */
PlReadiness
pl_shards_begin(void)
{
	int			own = pl_worker_shard();
	int			stored;
	bool		complete;

	if (settled)
		return PL_READY;
	if (changing)
		return go_on_changing();

	if (!pl_worker_begin())
		return PL_NO_DATABASE;
	pl_select(&count_shards, NULL);
	stored = pl_isnull(0, 1) ? 0 : pl_get_int32(0, 1);
	complete = stored > 0 && pl_get_bool(0, 2);
	pl_worker_commit();
	if (!complete)
		elog(ERROR, "payledger.relay_cursors does not have the rows of %d shards", stored);

	if (stored == pl_relay_shards)
	{
		unlock_others(own);
		if (!lock_shard(own))
			return PL_NOT_READY;
		serve(own, stored);
		settled = true;
		return PL_READY;
	}
	if (own == 0)
		return begin_change(stored) ? PL_READY : PL_NOT_READY;
	pl_worker_state("waiting for relay 0 to change the number of shards");
	return PL_NOT_READY;
}
