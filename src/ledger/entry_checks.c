/*
 * src/ledger/entry_checks.c
 *		May the entries of a batch be posted?
 *
 * An entry that may not is denied: its batch either raises the error or, if it
 * gives verdicts, goes on without the entry.
 */
#include "postgres.h"

#include "common/int.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* A sum over the legs of one entry that belong to one ledger and currency. */
typedef struct Net
{
	const char *ledger;
	const PlCurrency *currency;
	int64		amount;
} Net;

/* ---- denying ---- */

/*
 * An error to deny an entry with, palloc'd; strings are not copied, detail and
 * hint may be NULL.
 */
ErrorData *
pl_denial(int sqlerrcode, const char *message, const char *detail, const char *hint)
{
	ErrorData  *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = sqlerrcode;
	error->message = unconstify(char *, message);
	error->detail = unconstify(char *, detail);
	error->hint = unconstify(char *, hint);
	error->assoc_context = CurrentMemoryContext;
	return error;
}

/*
 * Deny an entry: raise the error, or keep it as the entry's verdict; then it
 * must live as long as the batch.
 */
void
pl_entry_deny(PlEntryBatch *batch, PlEntry *entry, ErrorData *error)
{
	if (!batch->gives_verdicts)
	{
		for (int i = 0; i < batch->nentries && batch->nentries > 1; i++)
			if (batch->entries[i] == entry)
				error->context = psprintf("entry %d of the batch", i + 1);
		ThrowErrorData(error);
	}
	entry->denial = error;
	entry->verdict = PL_VERDICT_DENIED;
}

static bool
is_open(const PlEntry *entry)
{
	return entry->verdict == PL_VERDICT_NONE;
}

/* ---- double entry ---- */

static void
deny_unbalanced(PlEntryBatch *batch, PlEntry *entry, const Net *net)
{
	pl_entry_deny(batch, entry,
				  pl_denial(ERRCODE_PL_UNBALANCED_ENTRY,
							psprintf("journal entry " INT64_FORMAT " does not balance", entry->journal_entry_id),
							psprintf("Debits less credits of entry type %s are %s %s%s%s.", entry->entry_type,
									 pl_format_amount(net->amount, net->currency), net->currency->code,
									 strcmp(net->ledger, "MAIN") == 0 ? "" : " in ledger ",
									 strcmp(net->ledger, "MAIN") == 0 ? "" : net->ledger),
							NULL));
}

/* Deny the entry unless it has two legs and nets to zero in each ledger and currency. */
static void
check_balanced(PlEntryBatch *batch, PlEntry *entry)
{
	Net			few[4];
	Net		   *nets = entry->nlegs <= (int) lengthof(few) ? few : palloc(sizeof(Net) * entry->nlegs);
	int			nnets = 0;

	if (entry->nlegs < 2)
	{
		pl_entry_deny(batch, entry,
					  pl_denial(ERRCODE_PL_UNBALANCED_ENTRY,
								psprintf("journal entry " INT64_FORMAT " has fewer than two legs", entry->journal_entry_id),
								psprintf("Its entry type is %s.", entry->entry_type), NULL));
		return;
	}
	for (int i = entry->first_leg; i < entry->first_leg + entry->nlegs; i++)
	{
		const PlAccount *account = batch->legs[i].account;
		int			c = 0;

		while (c < nnets && (nets[c].currency != account->currency || nets[c].ledger != account->ledger))
			c++;
		if (c == nnets)
		{
			nets[nnets].ledger = account->ledger;
			nets[nnets].currency = account->currency;
			nets[nnets++].amount = 0;
		}
		if (pg_add_s64_overflow(nets[c].amount, batch->legs[i].amount, &nets[c].amount))
		{
			pl_entry_deny(batch, entry,
						  pl_denial(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "amount out of range",
									psprintf("The sum of the legs of journal entry " INT64_FORMAT " passes a bigint.",
											 entry->journal_entry_id), NULL));
			return;
		}
	}
	for (int c = 0; c < nnets; c++)
		if (nets[c].amount != 0)
		{
			deny_unbalanced(batch, entry, &nets[c]);
			return;
		}
	if (nets != few)
		pfree(nets);
}

/*
 * Deny each entry that is no double entry: PL002, 22003.
 */
void
pl_entries_check_balanced(PlEntryBatch *batch)
{
	for (int i = 0; i < batch->nentries; i++)
		if (is_open(batch->entries[i]))
			check_balanced(batch, batch->entries[i]);
}

/* ---- accounts and periods ---- */

/*
 * The distinct accounts of the entries still open that may be restricted,
 * sorted.
 */
static int64 *
doubtful_accounts(const PlEntryBatch *batch, int *n)
{
	int64	   *ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * Max(batch->nlegs, 1));
	int			all = 0;

	*n = 0;
	for (int e = 0; e < batch->nentries; e++)
	{
		const PlEntry *entry = batch->entries[e];

		for (int i = entry->first_leg; is_open(entry) && i < entry->first_leg + entry->nlegs; i++)
			if (!pl_is_unrestricted(batch->legs[i].account))
				ids[all++] = batch->legs[i].account->account_id;
	}
	qsort(ids, all, sizeof(int64), pl_compare_ids);
	for (int i = 0; i < all; i++)
		if (*n == 0 || ids[*n - 1] != ids[i])
			ids[(*n)++] = ids[i];
	return ids;
}

static void
deny_inactive(PlEntryBatch *batch, PlEntry *entry, const PlAccount *account, const char *status)
{
	pl_entry_deny(batch, entry,
				  pl_denial(ERRCODE_PL_NOT_ACTIVE,
							psprintf("account %s is not active", account->code),
							psprintf("Its status is %s.", status),
							"An operator can make it active with payledger.set_account_status()."));
}

static void
deny_closed(PlEntryBatch *batch, PlEntry *entry, const PlClosedLedger *closed)
{
	pl_entry_deny(batch, entry,
				  pl_denial(ERRCODE_PL_PERIOD_CLOSED,
							psprintf("journal entry " INT64_FORMAT " takes effect in a closed period of ledger %s",
									 entry->journal_entry_id, closed->ledger),
							psprintf("It takes effect at %s; the ledger is closed before %s.",
									 pstrdup(timestamptz_to_str(entry->effective_at)),
									 pstrdup(timestamptz_to_str(closed->closed_before))),
							"Date the entry later, or have an operator reopen the period."));
}

/* Does something other than amounts keep the entry from being posted? */
static void
check_restrictions(PlEntryBatch *batch, PlEntry *entry, const PlRestrictions *restrictions)
{
	for (int i = entry->first_leg; is_open(entry) && i < entry->first_leg + entry->nlegs; i++)
	{
		const PlAccount *account = batch->legs[i].account;
		const PlLimits *limits = pl_limits_find(restrictions->accounts, restrictions->naccounts, account->account_id);

		/* what has happened is booked on a suspended account too */
		if (limits != NULL && strcmp(limits->status, "ACTIVE") != 0 &&
			!(batch->states_facts && strcmp(limits->status, "SUSPENDED") == 0))
			deny_inactive(batch, entry, account, limits->status);
		for (int l = 0; is_open(entry) && l < restrictions->nledgers; l++)
			if (entry->effective_at < restrictions->ledgers[l].closed_before &&
				strcmp(account->ledger, restrictions->ledgers[l].ledger) == 0)
				deny_closed(batch, entry, &restrictions->ledgers[l]);
	}
}

/* ---- limits ---- */

/*
 * Does the change, in minor units on the normal side, move the balance towards
 * a limit?
 */
static bool
approaches_limit(const PlLimits *limits, int64 change)
{
	return (change < 0 && limits->has_floor) || (change > 0 && limits->has_ceiling);
}

/*
 * What the legs of an entry change on one account, added to *change.  Returns
 * false if that passes a bigint.
 */
static bool
add_changes(const PlEntryBatch *batch, const PlEntry *entry, int64 account_id, int64 *change)
{
	for (int i = entry->first_leg; i < entry->first_leg + entry->nlegs; i++)
		if (batch->legs[i].account->account_id == account_id &&
			pg_add_s64_overflow(*change, batch->legs[i].amount * batch->legs[i].account->sign, change))
			return false;
	return true;
}

/*
 * Changes of all open entries on n limited accounts: their sums (unless NULL is
 * given), and whether any of the legs moves the account towards a limit.
 */
static void
sum_changes(const PlEntryBatch *batch, PlLimits *limits, int n, int64 *changes, bool *approached)
{
	for (int e = 0; e < batch->nentries; e++)
	{
		const PlEntry *entry = batch->entries[e];

		if (!is_open(entry) || entry->same_as != NULL)
			continue;
		for (int i = entry->first_leg; i < entry->first_leg + entry->nlegs; i++)
		{
			const PlLeg *leg = &batch->legs[i];
			PlLimits   *found = pl_limits_find(limits, n, leg->account->account_id);

			if (found == NULL)
				continue;
			if (changes != NULL)
				changes[found - limits] = pl_add_amount(changes[found - limits], leg->amount * leg->account->sign);
			approached[found - limits] |= approaches_limit(found, leg->amount * leg->account->sign);
		}
	}
}

/*
 * Lock the accounts whose limits the batch approaches, by their ids, so that
 * two batches never wait for each other in a circle.  Where entries are
 * accepted one by one any leg counts, otherwise the net of the batch.
 */
static void
lock_limited_accounts(PlEntryBatch *batch, PlLimits *limits, int n)
{
	int64	   *changes = batch->gives_verdicts ? NULL : palloc0(sizeof(int64) * n);
	bool	   *approached = palloc0(sizeof(bool) * n);
	int64	   *ids = palloc(sizeof(int64) * n);

	sum_changes(batch, limits, n, changes, approached);
	for (int i = 0; i < n; i++)
		if (changes == NULL ? approached[i] : approaches_limit(&limits[i], changes[i]))
			ids[batch->nlimits++] = limits[i].account_id;
	if (batch->nlimits > 0)
		batch->limits = pl_limits_lock(ids, batch->nlimits);
}

/*
 * Deny each entry with an account that is not active (PL008) or a closed
 * period (PL009), and lock the accounts whose limits have to be checked.  The
 * journal is locked, so what is found here holds until the commit.
 */
void
pl_entries_check_restrictions(PlEntryBatch *batch)
{
	int			n;
	int64	   *ids = doubtful_accounts(batch, &n);
	PlRestrictions *restrictions = pl_restrictions(ids, n);

	pfree(ids);
	if (restrictions->naccounts == 0 && restrictions->nledgers == 0)
		return;
	for (int i = 0; i < batch->nentries; i++)
		check_restrictions(batch, batch->entries[i], restrictions);
	if (!batch->states_facts && restrictions->naccounts > 0)
		lock_limited_accounts(batch, restrictions->accounts, restrictions->naccounts);
}

static ErrorData *
out_of_range(const PlAccount *account)
{
	return pl_denial(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "amount out of range",
					 psprintf("The balance of account %s would pass a bigint.", account->code), NULL);
}

/* The error if the change breaks a limit of the locked account, or NULL. */
static ErrorData *
broken_limit(PlLimits *limits, int64 change)
{
	const PlAccount *account = pl_known_account_by_id(limits->account_id);
	int64		after;
	int64		available;
	bool		below;
	bool		above;

	if (pg_add_s64_overflow(limits->balance, change, &after) ||
		pg_sub_s64_overflow(after, limits->held, &available))
		return out_of_range(account);
	below = change < 0 && limits->has_floor && available < limits->floor;
	if (below && limits->held > 0)
	{
		int64		freed = pl_free_overdue_holds(limits->account_id);

		limits->held -= freed;
		below = available + freed < limits->floor;
	}
	above = change > 0 && limits->has_ceiling && after > limits->ceiling;
	if (!below && !above)
		return NULL;
	return pl_denial(ERRCODE_PL_BALANCE_LIMIT,
					 psprintf("account %s would %s", account->code, below ? "fall below its floor" : "rise above its ceiling"),
					 psprintf("Its balance is %s, held %s, the change %s, the %s %s %s.",
							  pl_format_amount(limits->balance, account->currency),
							  pl_format_amount(limits->held, account->currency),
							  pl_format_amount(change, account->currency),
							  below ? "floor" : "ceiling",
							  pl_format_amount(below ? limits->floor : limits->ceiling, account->currency),
							  account->currency->code),
					 NULL);
}

/* All or nothing: the net of the batch counts. */
static void
check_net(PlEntryBatch *batch)
{
	int64	   *changes = palloc0(sizeof(int64) * batch->nlimits);
	bool	   *approached = palloc0(sizeof(bool) * batch->nlimits);

	sum_changes(batch, batch->limits, batch->nlimits, changes, approached);
	for (int i = 0; i < batch->nlimits; i++)
	{
		ErrorData  *error = broken_limit(&batch->limits[i], changes[i]);

		if (error != NULL)
			ThrowErrorData(error);
	}
}

/* Entry by entry, against what the accepted ones before it left. */
static void
check_in_order(PlEntryBatch *batch)
{
	int64	   *changes = palloc(sizeof(int64) * batch->nlimits);

	for (int e = 0; e < batch->nentries; e++)
	{
		PlEntry    *entry = batch->entries[e];

		if (entry->same_as != NULL)
			continue;
		for (int i = 0; is_open(entry) && i < batch->nlimits; i++)
		{
			PlLimits   *limits = &batch->limits[i];
			ErrorData  *error;

			changes[i] = 0;
			error = add_changes(batch, entry, limits->account_id, &changes[i]) ?
				broken_limit(limits, changes[i]) :
				out_of_range(pl_known_account_by_id(limits->account_id));
			if (error != NULL)
				pl_entry_deny(batch, entry, error);
		}
		for (int i = 0; is_open(entry) && i < batch->nlimits; i++)
			batch->limits[i].balance += changes[i];
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Deny what would break a floor or a ceiling: PL004.  The accounts are locked.
 */
void
pl_entries_check_limits(PlEntryBatch *batch)
{
	if (batch->nlimits == 0)
		return;
	pl_limits_balances(batch->limits, batch->nlimits);
	if (batch->gives_verdicts)
		check_in_order(batch);
	else
		check_net(batch);
}
