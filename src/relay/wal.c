/*
 * src/relay/wal.c
 *		What may be published: only what no crash and no failover can take back.
 */
#include "postgres.h"

#include "access/timeline.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "relay/relay_internal.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/lwlock.h"
#include "worker/worker.h"

/* so long at most between two looks at what the standbys have */
#define MAX_LOOK_MS		16

static bool
standby_has(XLogRecPtr lsn)
{
	bool		result;

	LWLockAcquire(SyncRepLock, LW_SHARED);
	result = lsn <= WalSndCtl->lsn[SYNC_REP_WAIT_FLUSH];
	LWLockRelease(SyncRepLock);
	return result;
}

/*
 * Wait until the synchronous standbys, if there are any, have the WAL up to
 * lsn on disk.  Looks again and again: PostgreSQL's own queue of waiters takes
 * each position once, and a session may wait for the same one.
 */
static void
wait_for_standbys(XLogRecPtr lsn)
{
	long		pause_ms = 1;

	while (SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0' && max_wal_senders > 0 && !standby_has(lsn))
	{
		pl_worker_state("waiting for a synchronous standby");
		pl_worker_sleep(pause_ms);
		pause_ms = Min(2 * pause_ms, MAX_LOOK_MS);
	}
}

/*
 * Put everything that is visible by now beyond a crash, and where synchronous
 * standbys exist, beyond the loss of this server.  Commits with
 * synchronous_commit = off are visible before their WAL is on disk, and after
 * a crash those are visible whose session still waits for a standby.  Returns
 * the position that is safe.  Outside of turns only.
 */
XLogRecPtr
pl_make_durable(void)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();

	/*
	 * At the start of a page that pointer lies after the page header, where
	 * nothing has been written yet and XLogFlush() would complain.
	 */
	if (XLogSegmentOffset(end, wal_segment_size) == SizeOfXLogLongPHD)
		end -= SizeOfXLogLongPHD;
	else if (end % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		end -= SizeOfXLogShortPHD;
	XLogFlush(end);
	wait_for_standbys(end);
	return end;
}

/* The timeline this server writes. */
int
pl_timeline(void)
{
	return (int) GetWALInsertionTimeLine();
}

/*
 * Is all the WAL that ends at that position of that timeline a part of this
 * server's history?  A timeline that begins just there has it.
 */
bool
pl_history_contains(int timeline, XLogRecPtr lsn)
{
	TimeLineID	present = GetWALInsertionTimeLine();

	if ((TimeLineID) timeline == present)
		return lsn <= GetXLogInsertRecPtr();
	if ((TimeLineID) timeline > present)
		return false;
	return lsn > 0 && tliOfPointInHistory(lsn - 1, readTimeLineHistory(present)) == (TimeLineID) timeline;
}
