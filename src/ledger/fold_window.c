/*
 * src/ledger/fold_window.c
 *		Which postings a fold adds: those that became visible since the last
 *		one, found by the ids of their entries.
 *
 * A posting is visible in a snapshot if its transaction number is below xmax
 * and not in xip.  No index leads from a transaction number to its postings:
 * it would cost every posting an entry.  They are found by the primary key,
 * because a transaction takes its number before it draws the ids of its
 * entries.
 *
 * So where an id is drawn first, and the next transaction number is read after
 * that, all entries of transactions with that number or above have a higher
 * id.  The snapshot's own xmax may be lower: it is one above the newest
 * transaction that has ended.  Those between are running, so they go into xip,
 * and xmax becomes the number read.  A transaction in xip has the bound of the
 * first fold that did not see it.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/snapmgr.h"

/* Transactions that are put into xip at most, to move the bound. */
#define MAX_BETWEEN 10000

static PlQuery select_newest_fold = {
	"SELECT fold_no, snapshot_xmax, snapshot_xip, xip_after, xmax_after, unseen_after, newest_id"
	" FROM payledger.folds ORDER BY fold_no DESC LIMIT 1", 0
};

/* Elements of an int8[] column of the last result's first row, copied. */
static int64 *
array_column(int column, int *n)
{
	ArrayType  *array = DatumGetArrayTypeP(pl_get_value(0, column));
	int64	   *values;

	if (ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column %d of the newest row of payledger.folds has a null element", column),
				 errhint("payledger.verify(deep => true) tells what else was changed.")));
	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	values = palloc(sizeof(int64) * Max(*n, 1));
	memcpy(values, ARR_DATA_PTR(array), sizeof(int64) * *n);
	return values;
}

/*
 * The newest committed fold, palloc'd.  Raises 40001 if the transaction's
 * snapshot is from before it.  Needs an open SPI connection.
 */
PlFold *
pl_newest_fold(void)
{
	PlFold	   *fold = palloc0(sizeof(PlFold));
	int			nafter;

	if (pl_execute_latest(&select_newest_fold, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table payledger.folds is empty")));
	fold->fold_no = pl_get_int64(0, 1);
	fold->snapshot = palloc(sizeof(PlSnapshot));
	fold->snapshot->xmax = pl_get_int64(0, 2);
	fold->snapshot->xip = array_column(3, &fold->snapshot->nxip);
	fold->xip_after = array_column(4, &nafter);
	fold->xmax_after = pl_get_int64(0, 5);
	fold->unseen_after = pl_get_int64(0, 6);
	fold->newest_id = pl_get_int64(0, 7);
	if (nafter != fold->snapshot->nxip)
		elog(ERROR, "fold " INT64_FORMAT " has %d bounds for %d transactions", fold->fold_no,
			 nafter, fold->snapshot->nxip);

	if (IsolationUsesXactSnapshot())
	{
		pl_execute(&select_newest_fold, NULL);
		if (pl_get_int64(0, 1) != fold->fold_no)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("postings were folded after the transaction's snapshot"),
					 errhint("Run the transaction again.")));
	}
	return fold;
}

static int64 *
find_xip(const PlSnapshot *snapshot, int64 transaction_no)
{
	int			low = 0;
	int			high = snapshot->nxip;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (snapshot->xip[middle] < transaction_no)
			low = middle + 1;
		else
			high = middle;
	}
	return low < snapshot->nxip && snapshot->xip[low] == transaction_no ? &snapshot->xip[low] : NULL;
}

/* Put a number into xip at its place. */
static void
add_xip(PlSnapshot *snapshot, int64 transaction_no)
{
	int			i = snapshot->nxip++;

	snapshot->xip = repalloc(snapshot->xip, sizeof(int64) * snapshot->nxip);
	for (; i > 0 && snapshot->xip[i - 1] > transaction_no; i--)
		snapshot->xip[i] = snapshot->xip[i - 1];
	snapshot->xip[i] = transaction_no;
}

/*
 * The present as a snapshot, without this transaction: it may go on posting
 * under the same number.  Sets *after to a bound of what it does not see, or
 * leaves it.
 */
static PlSnapshot *
present(int64 *after)
{
	int64		drawn = pl_next_id();
	int64		next = pl_next_transaction_no();
	PlSnapshot *snapshot = pl_current_snapshot();

	if (snapshot->xmax >= next)
		*after = drawn;
	else if (next - snapshot->xmax <= MAX_BETWEEN)
	{
		int			nbetween = next - snapshot->xmax;

		snapshot->xip = repalloc(snapshot->xip, sizeof(int64) * (snapshot->nxip + nbetween));
		while (snapshot->xmax < next)
			snapshot->xip[snapshot->nxip++] = snapshot->xmax++;
		*after = drawn;
	}
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()) && pl_visible(snapshot, pl_transaction_no()))
		add_xip(snapshot, pl_transaction_no());
	return snapshot;
}

/*
 * Is the transaction one of another database, which cannot post here?  A
 * process stays in its database, so it is if the process runs it both before
 * and after we look.
 */
static bool
runs_elsewhere(int64 transaction_no)
{
	TransactionId xid = (TransactionId) (transaction_no & PG_UINT32_MAX);
	int			pid = BackendXidGetPid(xid);
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	return proc != NULL && OidIsValid(proc->databaseId) && proc->databaseId != MyDatabaseId &&
		BackendXidGetPid(xid) == pid;
}

/*
 * What the ids of a transaction exceed that the next fold does not see: one
 * that runs since before the last fold, or has begun since.
 */
static int64
drawn_before(const PlFold *last, int64 transaction_no)
{
	int64	   *running = find_xip(last->snapshot, transaction_no);

	if (running != NULL)
		return last->xip_after[running - last->snapshot->xip];
	return runs_elsewhere(transaction_no) ? PG_INT64_MAX : last->xmax_after;
}

/* The next fold's view of the present. */
static PlFold *
next_fold(const PlFold *last)
{
	PlFold	   *next = palloc0(sizeof(PlFold));

	next->fold_no = last->fold_no + 1;
	next->newest_id = last->newest_id;
	next->xmax_after = last->xmax_after;
	next->snapshot = present(&next->xmax_after);
	next->xip_after = palloc(sizeof(int64) * Max(next->snapshot->nxip, 1));
	next->unseen_after = next->xmax_after;
	for (int i = 0; i < next->snapshot->nxip; i++)
	{
		next->xip_after[i] = drawn_before(last, next->snapshot->xip[i]);
		next->unseen_after = Min(next->unseen_after, next->xip_after[i]);
	}
	return next;
}

static void
require_progress(const PlSnapshot *last, const PlSnapshot *next)
{
	bool		is_newer = last->xmax <= next->xmax;

	for (int i = 0; i < next->nxip && is_newer; i++)
		is_newer = !pl_visible(last, next->xip[i]);
	if (!is_newer)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("transaction numbers went back since the last fold of postings"),
				 errdetail("The fold saw all below " INT64_FORMAT ", the next is " INT64_FORMAT ".",
						   last->xmax, next->xmax)));
}

/*
 * What became visible between the last fold and the active snapshot, palloc'd.
 */
PlFoldWindow *
pl_fold_window(const PlFold *last)
{
	PlFoldWindow *window = palloc0(sizeof(PlFoldWindow));

	window->last = unconstify(PlFold *, last);
	window->next = next_fold(last);
	require_progress(last->snapshot, window->next->snapshot);

	window->after = last->xmax_after;
	window->finished = palloc0(sizeof(PlSnapshot));
	window->finished->xip = palloc(sizeof(int64) * Max(last->snapshot->nxip, 1));
	for (int i = 0; i < last->snapshot->nxip; i++)
		if (pl_visible(window->next->snapshot, last->snapshot->xip[i]))
		{
			window->finished->xip[window->finished->nxip++] = last->snapshot->xip[i];
			window->after = Min(window->after, last->xip_after[i]);
		}
	return window;
}

/*
 * Five arguments that select the rows of a window: journal_entry_id > $1 AND
 * transaction_no < $2 AND transaction_no <> ALL ($3) AND (transaction_no >= $4
 * OR transaction_no = ANY ($5)).
 */
void
pl_arg_window(PlArgs *args, const PlFoldWindow *window)
{
	pl_arg_int64(args, window->after);
	pl_arg_int64(args, window->next->snapshot->xmax);
	pl_arg(args, pl_snapshot_xip(window->next->snapshot));
	pl_arg_int64(args, window->last->snapshot->xmax);
	pl_arg(args, pl_snapshot_xip(window->finished));
}
