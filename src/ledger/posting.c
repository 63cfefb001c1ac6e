/*
 * src/ledger/posting.c
 *		Writing batches of entries: one statement for the headers and one for
 *		all legs.
 *
 * An account that every entry touches costs no more than one that is touched
 * once: nothing is updated, and no row is locked but those of accounts whose
 * limits are approached and of entries that are reversed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "ledger/bulk.h"
#include "ledger/ledger.h"
#include "nodes/makefuncs.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Entries written by one statement: bounds memory and makes progress visible. */
#define PART_ENTRIES 5000

/*
 * From here on rows go in through COPY, which takes longer to start; see
 * docs/performance.md.
 */
#define BULK_ENTRIES 100

/* The entries of one part, in the order in which their headers are written. */
typedef struct Part
{
	PlEntryBatch *batch;
	PlEntry   **entries;
	int			n;
	int			nlegs;
	bool		begun;			/* the statement that inserts the headers has come */
	struct Part *outer;			/* being written when a user's trigger posted this one */
} Part;

/* What is being inserted now, for the statement triggers. */
static Part *being_written = NULL;

#define INSERT_ENTRIES \
	"INSERT INTO payledger.journal_entries" \
	" (journal_entry_id, recorded_at, effective_at, payment_id, reverses, entry_type, reference, metadata)" \
	" SELECT i, r, f, p, v, t, n, m" \
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)," \
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS e(i, r, f, p, v, t, n, m)"

#define ENTRY_COLUMNS 8
#define ENTRY_TYPES \
	{INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, \
		INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID}

static PlQuery insert_entries = {INSERT_ENTRIES, ENTRY_COLUMNS, ENTRY_TYPES};

/* Leaves out, and does not return, what another session has posted meanwhile. */
static PlQuery insert_new_entries = {
	INSERT_ENTRIES
	" ON CONFLICT (reference) WHERE reference IS NOT NULL DO NOTHING RETURNING journal_entry_id",
	ENTRY_COLUMNS, ENTRY_TYPES
};

static PlQuery insert_postings = {
	"INSERT INTO payledger.postings (journal_entry_id, account_id, amount, transaction_no, leg)"
	" SELECT e, a, m, $5, l"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS p(e, a, m, l)",
	5, {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT2ARRAYOID, INT8OID}
};

static PlQuery insert_shifts = {
	"INSERT INTO payledger.effective_shifts (account_id, at, amount, transaction_no, journal_entry_id, leg)"
	" SELECT a, t, m, $6, e, l"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5)) AS s(a, t, m, e, l)",
	6, {INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT2ARRAYOID, INT8OID}
};

/* ---- writing ---- */

/* A trigger or rule of others on the table may not leave out rows. */
static void
require_rows(const char *table, uint64 written, int n)
{
	if (written != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_PL_IMMUTABLE_RECORD),
				 errmsg("table \"%s\" did not take all rows", table),
				 errdetail("There were %d, and " UINT64_FORMAT " were inserted.", n, written),
				 errhint("Drop the trigger or rule that leaves them out; payledger.verify() names it.")));
}

/* A list of column names. */
static List *
columns_of(const char *const *names, int n)
{
	List	   *columns = NIL;

	for (int i = 0; i < n; i++)
		columns = lappend(columns, makeString(pstrdup(names[i])));
	return columns;
}

static void
copy_header(void *arg, int i)
{
	const PlEntry *entry = ((const Part *) arg)->entries[i];

	pl_copy_row(6);
	pl_copy_int64(entry->journal_entry_id);
	pl_copy_int64(entry->recorded_at);
	pl_copy_int64(entry->effective_at);
	if (entry->payment_id == 0)
		pl_copy_null();
	else
		pl_copy_int64(entry->payment_id);
	if (entry->reverses == 0)
		pl_copy_null();
	else
		pl_copy_int64(entry->reverses);
	pl_copy_text(entry->entry_type);
}

static void
copy_headers(Part *part)
{
	static const char *const names[] = {"journal_entry_id", "recorded_at", "effective_at", "payment_id",
	"reverses", "entry_type"};

	require_rows("journal_entries",
				 pl_copy_rows("journal_entries", columns_of(names, lengthof(names)), part->n, copy_header, part),
				 part->n);
}

static void
write_headers(const Part *part, bool skips_posted)
{
	static const Oid types[ENTRY_COLUMNS] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID,
	INT8OID, TEXTOID, TEXTOID, JSONBOID};
	Datum	   *columns[ENTRY_COLUMNS];
	bool	   *nulls[ENTRY_COLUMNS];
	PlArgs		args = {0};

	for (int c = 0; c < ENTRY_COLUMNS; c++)
	{
		columns[c] = palloc(sizeof(Datum) * part->n);
		nulls[c] = palloc0(sizeof(bool) * part->n);
	}
	for (int i = 0; i < part->n; i++)
	{
		const PlEntry *entry = part->entries[i];

		columns[0][i] = Int64GetDatum(entry->journal_entry_id);
		columns[1][i] = TimestampTzGetDatum(entry->recorded_at);
		columns[2][i] = TimestampTzGetDatum(entry->effective_at);
		columns[3][i] = Int64GetDatum(entry->payment_id);
		nulls[3][i] = entry->payment_id == 0;
		columns[4][i] = Int64GetDatum(entry->reverses);
		nulls[4][i] = entry->reverses == 0;
		columns[5][i] = CStringGetTextDatum(entry->entry_type);
		columns[6][i] = entry->reference ? CStringGetTextDatum(entry->reference) : (Datum) 0;
		nulls[6][i] = entry->reference == NULL;
		columns[7][i] = JsonbPGetDatum(entry->metadata);
		nulls[7][i] = entry->metadata == NULL;
	}
	for (int c = 0; c < ENTRY_COLUMNS; c++)
		pl_arg_array(&args, columns[c], nulls[c], part->n, types[c]);
	if (skips_posted)
		pl_execute(&insert_new_entries, &args);
	else
		require_rows("journal_entries", pl_execute(&insert_entries, &args), part->n);
}

/*
 * Of the last statement's result: drop from the part the entries whose
 * reference another session has posted while we were waiting for it.
 */
static void
drop_posted_elsewhere(Part *part)
{
	int			nwritten = SPI_processed;
	int64	   *written;
	PlEntry   **missing;
	int			nmissing = 0;
	int			kept = 0;

	if (nwritten == part->n)
		return;
	written = palloc(sizeof(int64) * Max(nwritten, 1));
	missing = palloc(sizeof(PlEntry *) * part->n);
	for (int i = 0; i < nwritten; i++)
		written[i] = pl_get_int64(i, 1);
	qsort(written, nwritten, sizeof(int64), pl_compare_ids);
	for (int i = 0; i < part->n; i++)
		if (bsearch(&part->entries[i]->journal_entry_id, written, nwritten, sizeof(int64), pl_compare_ids))
			part->entries[kept++] = part->entries[i];
		else
			missing[nmissing++] = part->entries[i];
	part->n = kept;

	pl_entries_match_references(part->batch, missing, nmissing);
	for (int i = 0; i < nmissing; i++)
		if (missing[i]->verdict == PL_VERDICT_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("an entry with reference \"%s\" was posted and is not visible", missing[i]->reference),
					 errhint("Run the transaction again.")));
}

/* The next leg of a part to be copied. */
typedef struct LegCursor
{
	const Part *part;
	int64		transaction_no;
	int			entry;
	int			leg;
} LegCursor;

static void
copy_posting(void *arg, int i)
{
	LegCursor  *cursor = arg;
	const PlEntry *entry = cursor->part->entries[cursor->entry];
	const PlLeg *leg = &cursor->part->batch->legs[entry->first_leg + cursor->leg];

	pl_copy_row(5);
	pl_copy_int64(entry->journal_entry_id);
	pl_copy_int64(leg->account->account_id);
	pl_copy_int64(leg->amount);
	pl_copy_int64(cursor->transaction_no);
	pl_copy_int16(++cursor->leg);
	if (cursor->leg == entry->nlegs)
	{
		cursor->entry++;
		cursor->leg = 0;
	}
}

static void
copy_postings(const Part *part, int64 transaction_no)
{
	static const char *const names[] = {"journal_entry_id", "account_id", "amount", "transaction_no", "leg"};
	LegCursor	cursor = {part, transaction_no, 0, 0};

	require_rows("postings",
				 pl_copy_rows("postings", columns_of(names, lengthof(names)), part->nlegs, copy_posting, &cursor),
				 part->nlegs);
}

static void
write_postings(const Part *part, int64 transaction_no)
{
	Datum	   *columns[4];
	int			n = 0;
	PlArgs		args = {0};

	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * part->nlegs);
	for (int e = 0; e < part->n; e++)
	{
		const PlEntry *entry = part->entries[e];

		for (int l = 0; l < entry->nlegs; l++, n++)
		{
			const PlLeg *leg = &part->batch->legs[entry->first_leg + l];

			columns[0][n] = Int64GetDatum(entry->journal_entry_id);
			columns[1][n] = Int64GetDatum(leg->account->account_id);
			columns[2][n] = Int64GetDatum(leg->amount);
			columns[3][n] = Int16GetDatum(l + 1);
		}
	}
	for (int c = 0; c < 3; c++)
		pl_arg_array(&args, columns[c], NULL, n, INT8OID);
	pl_arg_array(&args, columns[3], NULL, n, INT2OID);
	pl_arg_int64(&args, transaction_no);
	require_rows("postings", pl_execute(&insert_postings, &args), n);
}

/* For entries that took effect at another time than they are recorded. */
static void
write_shifts(const Part *part, int64 transaction_no)
{
	Datum	   *columns[5] = {NULL};
	int			n = 0;
	PlArgs		args = {0};

	for (int e = 0; e < part->n; e++)
	{
		const PlEntry *entry = part->entries[e];

		if (entry->effective_at == entry->recorded_at)
			continue;
		for (int c = 0; c < (int) lengthof(columns) && n == 0; c++)
			columns[c] = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * part->nlegs * 2);
		for (int i = entry->first_leg; i < entry->first_leg + entry->nlegs; i++)
		{
			const PlLeg *leg = &part->batch->legs[i];

			for (int side = 0; side < 2; side++, n++)
			{
				columns[0][n] = Int64GetDatum(leg->account->account_id);
				columns[1][n] = TimestampTzGetDatum(side == 0 ? entry->effective_at : entry->recorded_at);
				columns[2][n] = Int64GetDatum(side == 0 ? leg->amount : -leg->amount);
				columns[3][n] = Int64GetDatum(entry->journal_entry_id);
				columns[4][n] = Int16GetDatum(i - entry->first_leg + 1);
			}
		}
	}
	if (n == 0)
		return;
	pl_arg_array(&args, columns[0], NULL, n, INT8OID);
	pl_arg_array(&args, columns[1], NULL, n, TIMESTAMPTZOID);
	pl_arg_array(&args, columns[2], NULL, n, INT8OID);
	pl_arg_array(&args, columns[3], NULL, n, INT8OID);
	pl_arg_array(&args, columns[4], NULL, n, INT2OID);
	pl_arg_int64(&args, transaction_no);
	require_rows("effective_shifts", pl_execute(&insert_shifts, &args), n);
}

static int
compare_references(const void *a, const void *b)
{
	const PlEntry *x = *(PlEntry *const *) a;
	const PlEntry *y = *(PlEntry *const *) b;

	if (x->reference != NULL && y->reference != NULL)
		return strcmp(x->reference, y->reference);
	return (x->reference != NULL) - (y->reference != NULL);
}

static int
compare_entries(const void *a, const void *b)
{
	return pl_compare_ids(&(*(PlEntry *const *) a)->journal_entry_id, &(*(PlEntry *const *) b)->journal_entry_id);
}

/*
 * Write one part.  Headers that have a reference go in by its order: two
 * batches with the same references wait for each other, but never in a circle.
 */
static void
write_part(Part *part, int64 transaction_no)
{
	bool		has_references = false;
	bool		has_texts = false;
	bool		skips_posted;

	for (int i = 0; i < part->n; i++)
	{
		has_references |= part->entries[i]->reference != NULL;
		has_texts |= part->entries[i]->reference != NULL || part->entries[i]->metadata != NULL;
	}
	skips_posted = has_references && part->batch->replays;
	if (has_references)
		qsort(part->entries, part->n, sizeof(PlEntry *), compare_references);

	part->outer = being_written;
	being_written = part;
	if (part->n >= BULK_ENTRIES && !has_texts)
		copy_headers(part);
	else
		write_headers(part, skips_posted);
	if (skips_posted)
		drop_posted_elsewhere(part);
	if (has_references)
		qsort(part->entries, part->n, sizeof(PlEntry *), compare_entries);

	part->nlegs = 0;
	for (int i = 0; i < part->n; i++)
		part->nlegs += part->entries[i]->nlegs;
	if (part->n > 0)
	{
		if (part->n >= BULK_ENTRIES)
			copy_postings(part, transaction_no);
		else
			write_postings(part, transaction_no);
		write_shifts(part, transaction_no);
	}
	being_written = part->outer;

	for (int i = 0; i < part->n; i++)
		part->entries[i]->verdict = PL_VERDICT_POSTED;
	pl_count_postings(part->nlegs);
}

/* All references of a batch go through one sort, so its parts do too. */
static void
write_entries(PlEntryBatch *batch)
{
	PlEntry   **entries = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(PlEntry *) * batch->nentries);
	int64		transaction_no = pl_transaction_no();
	MemoryContext part_context;
	int			n = 0;
	bool		has_references = false;

	for (int i = 0; i < batch->nentries; i++)
		if (batch->entries[i]->verdict == PL_VERDICT_NONE && batch->entries[i]->same_as == NULL)
		{
			entries[n++] = batch->entries[i];
			has_references |= batch->entries[i]->reference != NULL;
		}
	if (has_references && n > PART_ENTRIES)
		qsort(entries, n, sizeof(PlEntry *), compare_references);

	part_context = AllocSetContextCreate(CurrentMemoryContext, "payledger entries", ALLOCSET_DEFAULT_SIZES);
	if (batch->progress != NULL)
		batch->progress(0);
	for (int done = 0; done < n;)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(part_context);
		Part		part = {batch, entries + done, Min(n - done, PART_ENTRIES)};

		done += part.n;
		if (has_references && n > PART_ENTRIES)
			qsort(part.entries, part.n, sizeof(PlEntry *), compare_entries);
		write_part(&part, transaction_no);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(part_context);
		if (batch->progress != NULL)
			batch->progress(done);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(part_context);
	pfree(entries);
}

/*
 * Is the statement that is about to insert headers the one that writes a part
 * of a batch?  True once a part: a trigger may run another meanwhile.  For the
 * statement triggers.
 */
bool
pl_entries_writes_headers(void)
{
	if (being_written == NULL || being_written->begun)
		return false;
	being_written->begun = true;
	return true;
}

/*
 * Are these n rows, in the order in which they were inserted, the legs of the
 * part that is being written?  Nobody can insert them a second time, because
 * an entry has each leg once.  For the statement triggers.
 */
bool
pl_entries_writes_postings(const PlPosting *postings, int n)
{
	const Part *part = being_written;

	if (part == NULL || n != part->nlegs)
		return false;
	for (int e = 0; e < part->n; e++)
	{
		const PlEntry *entry = part->entries[e];

		for (int l = 0; l < entry->nlegs; l++, postings++)
		{
			const PlLeg *leg = &part->batch->legs[entry->first_leg + l];

			if (postings->journal_entry_id != entry->journal_entry_id || postings->leg != l + 1 ||
				postings->account_id != leg->account->account_id || postings->amount != leg->amount)
				return false;
		}
	}
	return true;
}

/* An entry given twice in the batch became what the first one became. */
static void
settle_duplicates(PlEntryBatch *batch)
{
	for (int i = 0; i < batch->nentries; i++)
	{
		PlEntry    *entry = batch->entries[i];
		const PlEntry *first = entry->same_as;

		if (entry->verdict != PL_VERDICT_NONE || first == NULL)
			continue;
		entry->verdict = first->verdict == PL_VERDICT_DENIED ? PL_VERDICT_DENIED : PL_VERDICT_REPLAYED;
		entry->denial = first->denial;
		entry->journal_entry_id = first->journal_entry_id;
		entry->recorded_at = first->recorded_at;
		entry->effective_at = first->effective_at;
	}
}

/*
 * Operators change limits, states and periods under a lock that waits for the
 * posts under way; taken here, what is read next stays true until the commit.
 * Returns whether it had to wait.
 */
bool
pl_lock_journal(void)
{
	Oid			journal = get_relname_relid("journal_entries", get_namespace_oid("payledger", false));

	if (ConditionalLockRelationOid(journal, RowExclusiveLock))
		return false;
	LockRelationOid(journal, RowExclusiveLock);
	return true;
}

/*
 * Say what a violated unique index of journal_entries means.  The values are
 * in the detail, "Key (column)=(value) already exists." in the server's
 * language.
 */
static void
explain_duplicate(ErrorData *error)
{
	char	   *value = error->detail ? strstr(error->detail, ")=(") : NULL;
	char	   *end = value ? strrchr(value, ')') : NULL;

	if (end == NULL || strcmp(error->constraint_name, "journal_entries_reference") != 0)
		return;
	value = pnstrdup(value + 3, end - value - 3);
	error->message = psprintf("an entry with reference \"%s\" is already posted", value);
}

/*
 * Record the entries as of now: what waited for a lock was allowed by entries
 * that were recorded meanwhile, and must not come before them, or the past
 * would show limits broken that never were.
 */
static void
record_now(PlEntryBatch *batch)
{
	for (int i = 0; i < batch->nentries; i++)
	{
		PlEntry    *entry = batch->entries[i];

		if (entry->verdict != PL_VERDICT_NONE)
			continue;
		entry->journal_entry_id = pl_next_id();
		entry->recorded_at = pl_id_timestamp(entry->journal_entry_id);
		if (!entry->is_dated)
			entry->effective_at = entry->recorded_at;
	}
}

/*
 * Check and write all entries of the batch.  Each gets a verdict; unless the
 * batch gives verdicts the first that cannot be posted raises its error:
 * PL002 not balanced, PL004 limit, PL005 reversal of more than there is, PL006
 * reference with another content, PL007 unknown account or type, PL008 account
 * not active, PL009 period closed, 22003 overflow, 23505 reference posted
 * before when the batch does not replay.  Locks: see ledger.h; the journal ROW
 * EXCLUSIVE.  Needs an open SPI connection.
 */
void
pl_entries_post(PlEntryBatch *batch)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	Part	   *outer = being_written;

	if (batch->nentries == 0)
		return;
	pl_entries_find_accounts(batch);
	pl_entries_check_balanced(batch);
	/* a month that was closed meanwhile is over, so now is not in it */
	if (pl_lock_journal())
		record_now(batch);
	/* first of all: what is repeated gets its entry, whatever became of the account or the month */
	if (batch->replays)
		pl_entries_match_references(batch, batch->entries, batch->nentries);
	pl_entries_lock_reversed(batch);
	pl_entries_check_restrictions(batch);
	/* and what was posted while we waited for the locks must not count twice against a limit */
	if (batch->replays && batch->nlimits > 0)
		pl_entries_match_references(batch, batch->entries, batch->nentries);
	pl_entries_check_reversals(batch);
	pl_entries_check_limits(batch);
	if (batch->nlimits > 0)
		record_now(batch);

	PG_TRY();
	{
		write_entries(batch);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		being_written = outer;
		if (geterrcode() != ERRCODE_UNIQUE_VIOLATION)
			PG_RE_THROW();
		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		if (error->constraint_name != NULL)
			explain_duplicate(error);
		ReThrowError(error);
	}
	PG_END_TRY();
	settle_duplicates(batch);
}
