/*
 * src/core/shared.h
 *		The core's shared memory.  Private to src/core.
 */
#ifndef PL_CORE_SHARED_H
#define PL_CORE_SHARED_H

#include "core/clock.h"
#include "core/core.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

/* waiters hash their topic onto these; a false wake-up only costs a look */
#define PL_TOPIC_CVS 1024

/* workers that may run, of all databases */
#define PL_WORKER_SLOTS 64

/* hexadecimal digits of the mark of a start */
#define PL_MARK_DIGITS 8

/* Where to find the latch of a running worker. */
typedef struct PlWorkerSlot
{
	Oid			database;		/* InvalidOid: free */
	int			role;
	int			shard;			/* of a relay, else 0 */
	Latch	   *latch;			/* of a PGPROC, so in shared memory */
} PlWorkerSlot;

typedef struct PlCoreShared
{
	char		mark[PL_MARK_DIGITS + 1];	/* see pl_server_mark(); does not change */

	pg_atomic_uint64 id_clock;	/* last id given out, without the node */
	pg_atomic_uint64 id_limit;	/* ids below this are covered by the file */
	LWLock	   *lock;			/* protects writing the files, and clock */

	pg_atomic_uint64 clock_base;	/* the trusted time less the counting clock, int64 microseconds */
	pg_atomic_uint32 clock_confirmations;
	PlClock		clock;

	slock_t		slot_lock;		/* protects slots */
	PlWorkerSlot slots[PL_WORKER_SLOTS];

	ConditionVariable topics[PL_TOPIC_CVS];
} PlCoreShared;

extern PlCoreShared *pl_core_shared;

#endif							/* PL_CORE_SHARED_H */
