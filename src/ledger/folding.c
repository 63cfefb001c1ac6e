/*
 * src/ledger/folding.c
 *		Folding: adding the postings since the last fold to the balances, and
 *		sealing their entries.
 *
 * Done by the keeper all the time.  Balances are exact with or without it;
 * reading them is only faster after it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

/* Rows read at once. */
#define FETCH_ROWS 5000

/* A checkpoint is kept each time an account has got that many postings. */
#define CHECKPOINT_POSTINGS "1000"

/* What the window adds to one account. */
typedef struct Sum
{
	int64		account_id;		/* hash key */
	int64		amount;
	Datum		carried;		/* numeric: what did not fit, 0 if nothing */
	int64		postings;
} Sum;

typedef struct Fold
{
	PlFoldWindow *window;
	HTAB	   *sums;
	PlSealer   *sealer;
	int64		postings;
	int64		entry;			/* the one being read */
} Fold;

#define IN_WINDOW(r) \
	r ".transaction_no < $2 AND " r ".transaction_no <> ALL ($3)" \
	" AND (" r ".transaction_no >= $4 OR " r ".transaction_no = ANY ($5))"

static PlQuery select_window = {
	"SELECT p.leg, p.account_id, p.amount, p.transaction_no,"
	" j.journal_entry_id, j.recorded_at, j.effective_at, j.payment_id, j.reverses,"
	" j.entry_type, j.reference, j.metadata"
	" FROM payledger.postings p"
	" JOIN payledger.journal_entries j ON j.journal_entry_id = p.journal_entry_id"
	" WHERE p.journal_entry_id > $1 AND j.journal_entry_id > $1 AND " IN_WINDOW("p")
	" ORDER BY p.journal_entry_id, p.leg",
	5, {INT8OID, INT8OID, INT8ARRAYOID, INT8OID, INT8ARRAYOID}
};

/* In the order of the ids, as all who lock several accounts. */
static PlQuery add_balances = {
	"WITH written AS ("
	" INSERT INTO payledger.balance_snapshots AS s (account_id, balance, postings, checkpointed)"
	" SELECT i, m, n, CASE WHEN n >= " CHECKPOINT_POSTINGS " THEN n ELSE 0 END"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS d(i, m, n)"
	" ON CONFLICT (account_id) DO UPDATE SET balance = s.balance + EXCLUDED.balance,"
	"  postings = s.postings + EXCLUDED.postings,"
	"  checkpointed = CASE WHEN s.postings + EXCLUDED.postings - s.checkpointed >= " CHECKPOINT_POSTINGS
	"   THEN s.postings + EXCLUDED.postings ELSE s.checkpointed END"
	" RETURNING account_id, balance, checkpointed = postings)"
	" INSERT INTO payledger.balance_checkpoints (account_id, fold_no, balance)"
	" SELECT account_id, $4, balance FROM written AS w(account_id, balance, is_due) WHERE is_due",
	4, {INT8ARRAYOID, NUMERICARRAYOID, INT8ARRAYOID, INT8OID}
};

/* microseconds since 2000-01-01 UTC, shifted: the same as of a timestamptz in C */
static PlQuery add_shifts = {
	"INSERT INTO payledger.effective_shift_totals AS t (account_id, level, block, amount)"
	" SELECT s.account_id, l.level, ((extract(epoch FROM s.at) - 946684800) * 1000000)::bigint >> l.bits AS block,"
	"  sum(s.amount)"
	" FROM payledger.effective_shifts s"
	" CROSS JOIN (SELECT pg_catalog.unnest($6), pg_catalog.unnest($7)) AS l(level, bits)"
	" WHERE s.journal_entry_id > $1 AND " IN_WINDOW("s")
	" GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
	" ON CONFLICT (account_id, level, block) DO UPDATE SET amount = t.amount + EXCLUDED.amount",
	7, {INT8OID, INT8OID, INT8ARRAYOID, INT8OID, INT8ARRAYOID, INT2ARRAYOID, INT4ARRAYOID}
};

static PlQuery insert_fold = {
	"INSERT INTO payledger.folds (fold_no, folded_at, snapshot_xmax, snapshot_xip, xip_after,"
	" xmax_after, unseen_after, newest_id, postings)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	9, {INT8OID, TIMESTAMPTZOID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8OID, INT8OID, INT8OID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_fold_postings);

/* ---- adding up ---- */

static HTAB *
new_sums(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(int64);
	control.entrysize = sizeof(Sum);
	control.hcxt = CurrentMemoryContext;
	return hash_create("payledger folded accounts", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static Datum
to_numeric(int64 amount)
{
	return DirectFunctionCall1(int8_numeric, Int64GetDatum(amount));
}

static Datum
total(const Sum *sum)
{
	Datum		amount = to_numeric(sum->amount);

	return sum->carried == (Datum) 0 ? amount : DirectFunctionCall2(numeric_add, sum->carried, amount);
}

static void
add_posting(HTAB *sums, int64 account_id, int64 amount)
{
	bool		found;
	Sum		   *sum = hash_search(sums, &account_id, HASH_ENTER, &found);
	int64		result;

	if (!found)
	{
		sum->amount = 0;
		sum->carried = (Datum) 0;
		sum->postings = 0;
	}
	if (pg_add_s64_overflow(sum->amount, amount, &result))
	{
		sum->carried = total(sum);
		result = amount;
	}
	sum->amount = result;
	sum->postings++;
}

/* The rows of one fetch. */
static void
add_rows(Fold *fold, const SPITupleTable *table, uint64 n)
{
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = table->vals[i];
		Datum		values[5];
		bool		isnull;
		int64		entry;

		/* the others are the sealer's */
		for (int c = 0; c < (int) lengthof(values); c++)
			values[c] = heap_getattr(row, c + 1, table->tupdesc, &isnull);
		entry = DatumGetInt64(values[4]);
		if (entry != fold->entry)
			pl_sealer_entry(fold->sealer, row, table->tupdesc);
		fold->entry = entry;
		pl_sealer_leg(fold->sealer, DatumGetInt16(values[0]), DatumGetInt64(values[1]),
					  DatumGetInt64(values[2]), DatumGetInt64(values[3]));
		add_posting(fold->sums, DatumGetInt64(values[1]), DatumGetInt64(values[2]));
	}
	fold->postings += n;
}

/* Read the window under the active snapshot, adding up and sealing. */
static void
read_window(Fold *fold)
{
	MemoryContext fold_context = CurrentMemoryContext;
	PlArgs		args = {0};
	Portal		cursor;

	pl_arg_window(&args, fold->window);
	cursor = pl_open_cursor(&select_window, &args);
	for (;;)
	{
		SPI_cursor_fetch(cursor, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		MemoryContextSwitchTo(fold_context);
		if (fold->sealer == NULL)
			fold->sealer = pl_sealer_begin(fold->window->next->fold_no);
		add_rows(fold, SPI_tuptable, SPI_processed);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(cursor);
	MemoryContextSwitchTo(fold_context);
	fold->window->next->newest_id = Max(fold->window->next->newest_id, fold->entry);
}

/* ---- writing ---- */

static int
compare_sums(const void *a, const void *b)
{
	int64		x = (*(Sum *const *) a)->account_id;
	int64		y = (*(Sum *const *) b)->account_id;

	return (x > y) - (x < y);
}

static void
write_balances(const Fold *fold)
{
	int			n = hash_get_num_entries(fold->sums);
	Sum		  **sums = palloc(sizeof(Sum *) * n);
	Datum	   *columns[3];
	HASH_SEQ_STATUS scan;
	Sum		   *sum;
	PlArgs		args = {0};

	hash_seq_init(&scan, fold->sums);
	for (int i = 0; (sum = hash_seq_search(&scan)) != NULL; i++)
		sums[i] = sum;
	qsort(sums, n, sizeof(Sum *), compare_sums);

	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		columns[0][i] = Int64GetDatum(sums[i]->account_id);
		columns[1][i] = total(sums[i]);
		columns[2][i] = Int64GetDatum(sums[i]->postings);
	}
	pl_arg_array(&args, columns[0], NULL, n, INT8OID);
	pl_arg_array(&args, columns[1], NULL, n, NUMERICOID);
	pl_arg_array(&args, columns[2], NULL, n, INT8OID);
	pl_arg_int64(&args, fold->window->next->fold_no);
	pl_execute(&add_balances, &args);
}

static void
write_shift_totals(const Fold *fold)
{
	Datum		levels[PL_SHIFT_LEVELS];
	Datum		bits[PL_SHIFT_LEVELS];
	PlArgs		args = {0};

	for (int level = 0; level < PL_SHIFT_LEVELS; level++)
	{
		levels[level] = Int16GetDatum(level);
		bits[level] = Int32GetDatum(PL_SHIFT_BITS(level));
	}
	pl_arg_window(&args, fold->window);
	pl_arg_array(&args, levels, NULL, PL_SHIFT_LEVELS, INT2OID);
	pl_arg_array(&args, bits, NULL, PL_SHIFT_LEVELS, INT4OID);
	pl_execute(&add_shifts, &args);
}

static void
write_fold(const Fold *fold)
{
	const PlFold *next = fold->window->next;
	PlSnapshot	bounds = {.nxip = next->snapshot->nxip, .xip = next->xip_after};
	PlArgs		args = {0};

	pl_arg_int64(&args, next->fold_no);
	pl_arg_timestamp(&args, pl_now());
	pl_arg_int64(&args, next->snapshot->xmax);
	pl_arg(&args, pl_snapshot_xip(next->snapshot));
	pl_arg(&args, pl_snapshot_xip(&bounds));
	pl_arg_int64(&args, next->xmax_after);
	pl_arg_int64(&args, next->unseen_after);
	pl_arg_int64(&args, next->newest_id);
	pl_arg_int64(&args, fold->postings);
	pl_execute(&insert_fold, &args);
}

/*
 * Add the postings that became visible since the last fold to
 * balance_snapshots and seal their entries.  Returns their number; writes
 * nothing if there are none.  Opens its own SPI connection.  Holds a lock until
 * the end of the transaction, so that two folds never run at once; readers and
 * posters never wait for it.  Raises 40001 if the
 * transaction's snapshot is from before the last fold.
 */
uint64
pl_fold_postings(void)
{
	Fold		fold = {0};
	PlFold	   *last;

	pl_connect();
	pl_lock(PL_LOCK_FOLD);
	pl_fold_counted();
	last = pl_newest_fold();

	/* the active snapshot may be older than the wait for the lock */
	PushActiveSnapshot(GetTransactionSnapshot());
	fold.window = pl_fold_window(last);
	fold.sums = new_sums();
	read_window(&fold);
	PopActiveSnapshot();

	if (fold.postings > 0)
	{
		pl_sealer_end(fold.sealer);
		write_balances(&fold);
		write_shift_totals(&fold);
		write_fold(&fold);
	}
	pl_finish();
	return fold.postings;
}

/*
 * fold_postings() RETURNS bigint
 */
Datum
pl_sql_fold_postings(PG_FUNCTION_ARGS)
{
	pl_connect();
	pl_require_layout();
	pl_finish();
	PG_RETURN_INT64(pl_fold_postings());
}
