/*
 * src/ledger/references.c
 *		A reference makes a post idempotent: the same content again gives the
 *		first entry, other content is refused.
 *
 * Nothing about an attempt is stored but the entry it became, so an entry that
 * was denied has not used up its reference.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "utils/builtins.h"

static PlQuery select_posted = {
	"SELECT j.reference, j.journal_entry_id, j.entry_type, j.payment_id, j.reverses,"
	" j.recorded_at, j.effective_at, j.metadata"
	" FROM payledger.journal_entries j WHERE j.reference = ANY ($1)", 1, {TEXTARRAYOID}
};

static PlQuery select_legs = {
	"SELECT p.journal_entry_id, p.account_id, p.amount"
	" FROM payledger.postings p WHERE p.journal_entry_id = ANY ($1)"
	" ORDER BY p.journal_entry_id, p.leg", 1, {INT8ARRAYOID}
};

/* An entry that was posted under a reference of the batch. */
typedef struct Posted
{
	const char *reference;
	int64		journal_entry_id;
	const char *entry_type;
	int64		payment_id;
	int64		reverses;
	TimestampTz recorded_at;
	TimestampTz effective_at;
	Jsonb	   *metadata;
	int			nlegs;
	int64	   *account_ids;
	int64	   *amounts;
} Posted;

static int
compare_references(const void *a, const void *b)
{
	return strcmp((*(PlEntry *const *) a)->reference, (*(PlEntry *const *) b)->reference);
}

static bool
same_metadata(Jsonb *a, Jsonb *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

/* Two entries of the batch. */
static bool
same_content(const PlEntryBatch *batch, const PlEntry *a, const PlEntry *b)
{
	if (strcmp(a->entry_type, b->entry_type) != 0 || a->nlegs != b->nlegs ||
		a->reverses != b->reverses || a->payment_id != b->payment_id ||
		a->is_dated != b->is_dated || (a->is_dated && a->effective_at != b->effective_at) ||
		!same_metadata(a->metadata, b->metadata))
		return false;
	for (int i = 0; i < a->nlegs; i++)
		if (batch->legs[a->first_leg + i].account != batch->legs[b->first_leg + i].account ||
			batch->legs[a->first_leg + i].amount != batch->legs[b->first_leg + i].amount)
			return false;
	return true;
}

/* An entry of the batch and one that was posted. */
static bool
is_what_was_posted(const PlEntryBatch *batch, const PlEntry *entry, const Posted *posted)
{
	if (strcmp(entry->entry_type, posted->entry_type) != 0 || entry->nlegs != posted->nlegs ||
		entry->reverses != posted->reverses || entry->payment_id != posted->payment_id ||
		posted->effective_at != (entry->is_dated ? entry->effective_at : posted->recorded_at) ||
		!same_metadata(entry->metadata, posted->metadata))
		return false;
	for (int i = 0; i < entry->nlegs; i++)
		if (batch->legs[entry->first_leg + i].account->account_id != posted->account_ids[i] ||
			batch->legs[entry->first_leg + i].amount != posted->amounts[i])
			return false;
	return true;
}

static void
deny_reuse(PlEntryBatch *batch, PlEntry *entry, const char *detail)
{
	pl_entry_deny(batch, entry,
				  pl_denial(ERRCODE_PL_IDEMPOTENCY_REUSE,
							psprintf("reference \"%s\" was used for another entry", entry->reference),
							detail,
							"Repeat a post with exactly the same content, or give a new one a reference of its own."));
}

/* ---- what was posted ---- */

static int
compare_posted_ids(const void *a, const void *b)
{
	int64		x = ((const Posted *) a)->journal_entry_id;
	int64		y = ((const Posted *) b)->journal_entry_id;

	return (x > y) - (x < y);
}

static int
compare_posted_references(const void *a, const void *b)
{
	return strcmp(((const Posted *) a)->reference, ((const Posted *) b)->reference);
}

static void
read_legs(Posted *posted, int n)
{
	int64	   *ids = palloc(sizeof(int64) * n);
	PlArgs		args = {0};
	uint64		rows;

	qsort(posted, n, sizeof(Posted), compare_posted_ids);
	for (int i = 0; i < n; i++)
		ids[i] = posted[i].journal_entry_id;
	pl_arg_ids(&args, ids, n);
	rows = pl_execute_latest(&select_legs, &args);
	for (uint64 row = 0, i = 0; row < rows && i < (uint64) n; i++)
	{
		uint64		first = row;

		while (row < rows && pl_get_int64(row, 1) == posted[i].journal_entry_id)
			row++;
		posted[i].nlegs = row - first;
		posted[i].account_ids = palloc(sizeof(int64) * Max(posted[i].nlegs, 1));
		posted[i].amounts = palloc(sizeof(int64) * Max(posted[i].nlegs, 1));
		for (int l = 0; l < posted[i].nlegs; l++)
		{
			posted[i].account_ids[l] = pl_get_int64(first + l, 2);
			posted[i].amounts[l] = pl_get_int64(first + l, 3);
		}
	}
}

/* The entries posted under the references of n entries, sorted by reference. */
static Posted *
find_posted(PlEntry *const *entries, int n, int *nposted)
{
	Datum	   *references = palloc(sizeof(Datum) * n);
	Posted	   *posted;
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
		references[i] = CStringGetTextDatum(entries[i]->reference);
	pl_arg_array(&args, references, NULL, n, TEXTOID);
	*nposted = pl_execute_latest(&select_posted, &args);
	if (*nposted == 0)
		return NULL;
	posted = palloc0(sizeof(Posted) * *nposted);
	for (int i = 0; i < *nposted; i++)
	{
		bool		isnull;
		Datum		value;

		posted[i].reference = pl_get_text(i, 1);
		posted[i].journal_entry_id = pl_get_int64(i, 2);
		posted[i].entry_type = pl_get_text(i, 3);
		posted[i].payment_id = pl_isnull(i, 4) ? 0 : pl_get_int64(i, 4);
		posted[i].reverses = pl_isnull(i, 5) ? 0 : pl_get_int64(i, 5);
		posted[i].recorded_at = DatumGetTimestampTz(pl_get_datum(i, 6, &isnull));
		posted[i].effective_at = DatumGetTimestampTz(pl_get_datum(i, 7, &isnull));
		value = pl_get_datum(i, 8, &isnull);
		posted[i].metadata = isnull ? NULL : DatumGetJsonbPCopy(value);
	}
	read_legs(posted, *nposted);
	qsort(posted, *nposted, sizeof(Posted), compare_posted_references);
	return posted;
}

/* ---- matching ---- */

/* An entry whose reference was posted becomes a replay, or is denied. */
static void
match_posted(PlEntryBatch *batch, PlEntry **entries, int n)
{
	int			nposted;
	Posted	   *posted = find_posted(entries, n, &nposted);

	for (int i = 0; i < n && nposted > 0; i++)
	{
		PlEntry    *entry = entries[i];
		Posted		key = {.reference = entry->reference};
		const Posted *found = bsearch(&key, posted, nposted, sizeof(Posted), compare_posted_references);

		if (found == NULL)
			continue;
		if (!is_what_was_posted(batch, entry, found))
		{
			deny_reuse(batch, entry, psprintf("It is journal entry " INT64_FORMAT ".", found->journal_entry_id));
			continue;
		}
		entry->verdict = PL_VERDICT_REPLAYED;
		entry->journal_entry_id = found->journal_entry_id;
		entry->recorded_at = found->recorded_at;
		entry->effective_at = found->effective_at;
	}
}

/* Of entries with one reference the first is posted, for the others too. */
static void
match_within_batch(PlEntryBatch *batch, PlEntry **entries, int n)
{
	PlEntry    *first = NULL;

	for (int i = 0; i < n; i++)
	{
		PlEntry    *entry = entries[i];

		if (entry->verdict != PL_VERDICT_NONE)
			continue;
		if (first == NULL || strcmp(entry->reference, first->reference) != 0)
			first = entry->same_as ? entry->same_as : entry;
		else if (!same_content(batch, entry, first))
			deny_reuse(batch, entry, "It is given twice in the batch.");
		else
			entry->same_as = first;
	}
}

static int
compare_references_then_order(const void *a, const void *b)
{
	const PlEntry *x = *(PlEntry *const *) a;
	const PlEntry *y = *(PlEntry *const *) b;
	int			order = compare_references(a, b);

	return order != 0 ? order : x->journal_entry_id < y->journal_entry_id ? -1 : 1;
}

/*
 * Of n entries of the batch that are still open: one whose reference was
 * posted before, as of this moment, becomes REPLAYED with the first one's id
 * and times if the content is the same, and is denied with PL006 if not; one
 * whose reference an earlier one of the batch has gets it as same_as.  Needs an
 * open SPI connection.
 */
void
pl_entries_match_references(PlEntryBatch *batch, PlEntry **entries, int n)
{
	PlEntry   **with_reference = NULL;
	int			nreferences = 0;

	for (int i = 0; i < n; i++)
		if (entries[i]->reference != NULL && entries[i]->verdict == PL_VERDICT_NONE)
		{
			if (with_reference == NULL)
				with_reference = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(PlEntry *) * n);
			with_reference[nreferences++] = entries[i];
		}
	if (nreferences == 0)
		return;
	qsort(with_reference, nreferences, sizeof(PlEntry *), compare_references_then_order);
	match_posted(batch, with_reference, nreferences);
	match_within_batch(batch, with_reference, nreferences);
	pfree(with_reference);
}
