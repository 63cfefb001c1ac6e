/*
 * src/ledger/reversals.c
 *		An entry may be taken back in whole or in parts, but no more of it than
 *		there is.
 *
 * Of each account, what the original posted and what its reversals posted must
 * not add up to the other side.  The original is locked (its row, FOR NO KEY
 * UPDATE) by what reverses it, so that two reversals see each other.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "ledger/ledger.h"
#include "utils/builtins.h"

/* An entry that the batch reverses. */
typedef struct Reversed
{
	int64		journal_entry_id;
	bool		is_reversal;
} Reversed;

/* What is left of one account of it: the net of all that was posted so far. */
typedef struct Rest
{
	int64		journal_entry_id;
	int64		account_id;
	int64		original;
	int64		left;
} Rest;

static PlQuery lock_entries = {
	"SELECT j.journal_entry_id, j.reverses IS NOT NULL FROM payledger.journal_entries j"
	" WHERE j.journal_entry_id = ANY ($1) ORDER BY j.journal_entry_id FOR NO KEY UPDATE",
	1, {INT8ARRAYOID}
};

static PlQuery select_rests = {
	"SELECT o.i, p.account_id,"
	" coalesce(sum(p.amount) FILTER (WHERE p.journal_entry_id = o.i), 0)::bigint, sum(p.amount)::bigint"
	" FROM unnest($1) AS o(i)"
	" CROSS JOIN LATERAL (SELECT o.i AS e UNION ALL"
	"	SELECT j.journal_entry_id FROM payledger.journal_entries j WHERE j.reverses = o.i) AS r"
	" JOIN payledger.postings p ON p.journal_entry_id = r.e"
	" GROUP BY o.i, p.account_id ORDER BY o.i, p.account_id", 1, {INT8ARRAYOID}
};

static int
compare_rests(const void *a, const void *b)
{
	const Rest *x = a;
	const Rest *y = b;

	if (x->journal_entry_id != y->journal_entry_id)
		return x->journal_entry_id < y->journal_entry_id ? -1 : 1;
	return (x->account_id > y->account_id) - (x->account_id < y->account_id);
}

/* The distinct entries that open entries of the batch reverse, as an argument. */
static int64 *
reversed_ids(const PlEntryBatch *batch, int *n)
{
	int64	   *ids = NULL;
	int			all = 0;

	*n = 0;
	for (int i = 0; i < batch->nentries; i++)
		if (batch->entries[i]->reverses != 0 && batch->entries[i]->verdict == PL_VERDICT_NONE)
		{
			if (ids == NULL)
				ids = palloc(sizeof(int64) * batch->nentries);
			ids[all++] = batch->entries[i]->reverses;
		}
	if (all > 1)
		qsort(ids, all, sizeof(int64), pl_compare_ids);
	for (int i = 0; i < all; i++)
		if (*n == 0 || ids[*n - 1] != ids[i])
			ids[(*n)++] = ids[i];
	return ids;
}

static void
deny_unless_reversible(PlEntryBatch *batch, PlEntry *entry, const Reversed *found)
{
	if (found == NULL)
		pl_entry_deny(batch, entry,
					  pl_denial(ERRCODE_PL_NOT_FOUND,
								psprintf("journal entry " INT64_FORMAT " does not exist", entry->reverses), NULL, NULL));
	else if (found->is_reversal)
		pl_entry_deny(batch, entry,
					  pl_denial(ERRCODE_INVALID_PARAMETER_VALUE,
								psprintf("journal entry " INT64_FORMAT " is a reversal itself", entry->reverses), NULL,
								"Post what it took back as a new entry."));
}

/*
 * Lock the entries that the batch reverses, in the order of their ids, until
 * the end of the transaction.  Denies an entry that reverses one that does not
 * exist (PL007) or that is a reversal itself (22023).  Needs an open SPI
 * connection.
 */
void
pl_entries_lock_reversed(PlEntryBatch *batch)
{
	int			n;
	int64	   *ids = reversed_ids(batch, &n);
	Reversed   *found;
	int			nfound;
	PlArgs		args = {0};

	if (n == 0)
		return;
	pl_arg_ids(&args, ids, n);
	nfound = pl_execute_latest(&lock_entries, &args);
	found = palloc(sizeof(Reversed) * Max(nfound, 1));
	for (int i = 0; i < nfound; i++)
	{
		found[i].journal_entry_id = pl_get_int64(i, 1);
		found[i].is_reversal = pl_get_bool(i, 2);
	}
	for (int i = 0; i < batch->nentries; i++)
	{
		PlEntry    *entry = batch->entries[i];

		if (entry->reverses != 0 && entry->verdict == PL_VERDICT_NONE)
			deny_unless_reversible(batch, entry,
								   bsearch(&entry->reverses, found, nfound, sizeof(Reversed), pl_compare_ids));
	}
}

static void
deny_excess(PlEntryBatch *batch, PlEntry *entry, const PlAccount *account, const Rest *rest)
{
	pl_entry_deny(batch, entry,
				  pl_denial(ERRCODE_PL_AMOUNT_EXCEEDED,
							psprintf("a reversal takes back more of journal entry " INT64_FORMAT " than is left of it",
									 entry->reverses),
							rest == NULL ?
							psprintf("The entry has no posting on account %s.", account->code) :
							psprintf("Of its posting of %s on account %s, %s is left.",
									 pl_format_amount(rest->original, account->currency), account->code,
									 pl_format_amount(rest->left, account->currency)),
							NULL));
}

/*
 * Take the legs of a reversal from what is left.  A leg on the side of the
 * original, or beyond what is left, denies the entry and takes nothing.
 */
static void
take_back(PlEntryBatch *batch, PlEntry *entry, Rest *rests, int n)
{
	int64	   *taken = palloc(sizeof(int64) * entry->nlegs);
	Rest	  **from = palloc(sizeof(Rest *) * entry->nlegs);
	int			nlegs = 0;

	while (nlegs < entry->nlegs && entry->verdict == PL_VERDICT_NONE)
	{
		const PlLeg *leg = &batch->legs[entry->first_leg + nlegs];
		Rest		key = {entry->reverses, leg->account->account_id, 0, 0};
		Rest	   *rest = bsearch(&key, rests, n, sizeof(Rest), compare_rests);
		int64		left;

		if (rest == NULL || pg_add_s64_overflow(rest->left, leg->amount, &left) ||
			(rest->left > 0 && left < 0) || (rest->left < 0 && left > 0) || rest->left == 0 ||
			(leg->amount > 0) == (rest->left > 0))
		{
			deny_excess(batch, entry, leg->account, rest);
			break;
		}
		rest->left = left;
		from[nlegs] = rest;
		taken[nlegs++] = leg->amount;
	}
	while (entry->verdict == PL_VERDICT_DENIED && nlegs > 0)
	{
		nlegs--;
		from[nlegs]->left -= taken[nlegs];
	}
	pfree(taken);
	pfree(from);
}

/*
 * Deny what takes back more of an entry than is left of it: PL005.  The
 * entries are locked.  Needs an open SPI connection.
 */
void
pl_entries_check_reversals(PlEntryBatch *batch)
{
	int			n;
	int64	   *ids = reversed_ids(batch, &n);
	Rest	   *rests;
	PlArgs		args = {0};

	if (n == 0)
		return;
	pl_arg_ids(&args, ids, n);
	n = pl_execute_latest(&select_rests, &args);
	rests = palloc(sizeof(Rest) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		rests[i].journal_entry_id = pl_get_int64(i, 1);
		rests[i].account_id = pl_get_int64(i, 2);
		rests[i].original = pl_get_int64(i, 3);
		rests[i].left = pl_get_int64(i, 4);
	}
	for (int i = 0; i < batch->nentries; i++)
	{
		PlEntry    *entry = batch->entries[i];

		if (entry->reverses != 0 && entry->verdict == PL_VERDICT_NONE && entry->same_as == NULL)
			take_back(batch, entry, rests, n);
	}
}
