/*
 * src/ledger/entries.c
 *		Batches of entries: collecting them and finding their accounts.
 */
#include "postgres.h"

#include "ledger/ledger.h"
#include "utils/builtins.h"

#define MAX_LEGS PG_INT16_MAX	/* postings.leg is a smallint */
#define MAX_ENTRY_TYPE_LENGTH 63
#define MAX_REFERENCE_LENGTH 255

/* ---- collecting ---- */

/*
 * An empty batch in the current memory context, which must live until the
 * batch was posted and read.
 */
PlEntryBatch *
pl_entries_new(void)
{
	PlEntryBatch *batch = palloc0(sizeof(PlEntryBatch));

	batch->context = CurrentMemoryContext;
	return batch;
}

static void
check_entry_type(const char *entry_type)
{
	size_t		length = strlen(entry_type);

	if (entry_type[0] < 'A' || entry_type[0] > 'Z' ||
		strspn(entry_type, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != length ||
		length > MAX_ENTRY_TYPE_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("entry type \"%s\" is malformed", entry_type),
				 errhint("An entry type is upper case letters, digits and underscores.")));
}

/* One that the payment flow will give must not be taken by somebody else. */
static void
check_reference(const PlEntryBatch *batch, const char *reference)
{
	pl_check_text("reference", reference, MAX_REFERENCE_LENGTH);
	if (batch->replays && pl_is_payment_reference(reference))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reference \"%s\" is one of the payment flow", reference),
				 errhint("Choose one that does not begin with an entry type of payledger.posting_templates() and a colon.")));
}

/*
 * Begin an entry, which takes the legs that follow.  reference may be NULL;
 * otherwise it is unique over the ledger.  reverses names the entry of which
 * this takes back the whole or a part, 0 if none.  Raises 22023 for a malformed
 * entry_type or reference, when the entry is in the batch already.  The result
 * lives as long as the batch.  The caller may be reading a result.
 */
PlEntry *
pl_entry_add(PlEntryBatch *batch, const char *entry_type, int64 payment_id,
			 const char *reference, int64 reverses)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(batch->context);
	PlEntry    *entry = palloc0(sizeof(PlEntry));

	if (batch->nentries == batch->entries_allocated)
	{
		batch->entries_allocated = Max(8, batch->entries_allocated * 2);
		batch->entries = batch->entries == NULL ?
			palloc(sizeof(PlEntry *) * batch->entries_allocated) :
			repalloc_huge(batch->entries, sizeof(PlEntry *) * batch->entries_allocated);
	}
	batch->entries[batch->nentries++] = entry;
	entry->first_leg = batch->nlegs;

	/* readers of the past rely on an id that is drawn after the number */
	(void) pl_transaction_no();
	entry->journal_entry_id = pl_next_id();
	entry->recorded_at = entry->effective_at = pl_id_timestamp(entry->journal_entry_id);

	check_entry_type(entry_type);
	if (reference != NULL)
		check_reference(batch, reference);
	entry->entry_type = pstrdup(entry_type);
	entry->payment_id = payment_id;
	entry->reference = reference ? pstrdup(reference) : NULL;
	entry->reverses = reverses;
	MemoryContextSwitchTo(oldcontext);
	return entry;
}

/*
 * Add a leg to the entry begun last: amount in minor units of the account's
 * currency, debit positive, credit negative.  Raises 22023 for amount 0 or a
 * malformed code, 22003 for the one amount that has no opposite.
 */
void
pl_entry_leg(PlEntryBatch *batch, const char *account_code, int64 amount)
{
	PlEntry    *entry = batch->entries[batch->nentries - 1];
	PlLeg	   *leg;

	if (amount == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("leg %d of journal entry " INT64_FORMAT " has amount 0",
						entry->nlegs + 1, entry->journal_entry_id)));
	if (amount == PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount out of range"),
				 errdetail(INT64_FORMAT " cannot be reversed.", amount)));
	if (entry->nlegs == MAX_LEGS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("journal entry " INT64_FORMAT " has more than %d legs",
						entry->journal_entry_id, MAX_LEGS)));

	if (batch->nlegs == batch->legs_allocated)
	{
		batch->legs_allocated = Max(16, batch->legs_allocated * 2);
		batch->legs = batch->legs == NULL ?
			MemoryContextAllocHuge(batch->context, sizeof(PlLeg) * batch->legs_allocated) :
			repalloc_huge(batch->legs, sizeof(PlLeg) * batch->legs_allocated);
	}
	leg = &batch->legs[batch->nlegs];
	leg->account = pl_known_account(account_code);
	leg->amount = amount;
	if (leg->account == NULL)
	{
		pl_check_account_code(account_code);
		leg->account_code = MemoryContextStrdup(batch->context, account_code);
	}
	else
		leg->account_code = leg->account->code;
	batch->nlegs++;
	entry->nlegs++;
}

/* ---- the accounts of the legs ---- */

static void
deny_unknown_account(PlEntryBatch *batch, PlEntry *entry, const char *code)
{
	pl_entry_deny(batch, entry,
				  pl_denial(ERRCODE_PL_NOT_FOUND, psprintf("account \"%s\" does not exist", code), NULL,
							"payledger.accounts lists them, payledger.open_account() opens one."));
}

/* Find, or open, all at once, the accounts that this backend has not met. */
static void
resolve_accounts(PlEntryBatch *batch)
{
	const char **codes = NULL;
	int			n = 0;

	for (int i = 0; i < batch->nlegs; i++)
		if (batch->legs[i].account == NULL)
		{
			if (codes == NULL)
				codes = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(char *) * batch->nlegs);
			codes[n++] = batch->legs[i].account_code;
		}
	if (n == 0)
		return;
	if (batch->opens_accounts)
		pl_open_accounts(codes, n);
	else
		pl_find_accounts(codes, n);
	pfree(codes);
}

/* Point each leg to its account; note the seller and the currency of each entry. */
static void
describe_entries(PlEntryBatch *batch)
{
	for (int e = 0; e < batch->nentries; e++)
	{
		PlEntry    *entry = batch->entries[e];

		for (int i = entry->first_leg;
			 entry->verdict == PL_VERDICT_NONE && i < entry->first_leg + entry->nlegs; i++)
		{
			PlLeg	   *leg = &batch->legs[i];

			if (leg->account == NULL)
				leg->account = pl_known_account(leg->account_code);
			if (leg->account == NULL)
			{
				deny_unknown_account(batch, entry, leg->account_code);
				break;
			}
			if (entry->currency == NULL)
				entry->currency = leg->account->currency->code;
			if (entry->seller_id == NULL && strncmp(leg->account->account_type, "MERCHANT_", 9) == 0)
				entry->seller_id = leg->account->entity_id;
		}
	}
}

/*
 * Find the accounts of all legs, opening them if the batch does.  Denies an
 * entry with an account that does not exist: PL007.  Needs an open SPI
 * connection.
 */
void
pl_entries_find_accounts(PlEntryBatch *batch)
{
	resolve_accounts(batch);
	describe_entries(batch);
}
