/*
 * src/core/locks.c
 *		Locks that keep payledger out of its own way, until the transaction ends.
 *
 * A lock on a table would not do: to prepare a DELETE locks its table ROW
 * EXCLUSIVE before any privilege is looked at, so that whoever may use the
 * schema could make a worker wait for as long as he likes.
 */
#include "postgres.h"

#include "core/core.h"
#include "miscadmin.h"
#include "storage/lock.h"

/* "pldg", in a class of advisory locks that SQL functions cannot take */
#define LOCK_KEY1 0x706c6467
#define LOCK_CLASS 7

/*
 * Wait until no other transaction of this database has the lock, and take it
 * until this transaction ends; an abort of the subtransaction gives it back.
 */
void
pl_lock(PlLock lock)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_KEY1, lock, LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
