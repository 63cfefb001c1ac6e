/*
 * src/ledger/posting.c
 *		Batches of entries: collected, checked, written with one statement for
 *		the headers and one for all legs.
 *
 * Nothing of another payment is locked and nothing is updated: an account that
 * every entry touches costs no more than one that is touched once.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "ledger/ledger.h"
#include "utils/builtins.h"

#define MAX_LEGS PG_INT16_MAX	/* postings.leg is a smallint */
#define MAX_ENTRY_TYPE_LENGTH 63
#define MAX_REFERENCE_LENGTH 255

struct PlEntryBatch
{
	MemoryContext context;
	PlEntry   **entries;
	int			nentries;
	int			entries_allocated;
	PlLeg	   *legs;
	int			nlegs;
	int			legs_allocated;
};

/* A currency's sum over the legs of one entry. */
typedef struct Net
{
	const char *currency;
	int64		amount;
} Net;

/* The batch whose legs are being inserted now, for the statement trigger. */
static const PlEntryBatch *being_written = NULL;

static PlQuery insert_entries = {
	"INSERT INTO payledger.journal_entries"
	" (journal_entry_id, entry_type, payment_id, reference, reverses,"
	"  recorded_at, effective_at, transaction_no)"
	" SELECT i, t, p, r, v, $6, $6, $7"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5)) AS e(i, t, p, r, v)",
	7, {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID,
		TIMESTAMPTZOID, INT8OID}
};

/*
 * A leg on an account that is not active is not inserted, and missed.  The
 * index of those accounts is all but empty, so that asking it costs next to
 * nothing, and no row of an account is locked or even read.
 */
static PlQuery insert_postings = {
	"INSERT INTO payledger.postings (journal_entry_id, leg, account_id, amount, transaction_no)"
	" SELECT e, l, a, m, $5"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS p(e, l, a, m)"
	" WHERE NOT EXISTS (SELECT FROM payledger.accounts c"
	"					WHERE c.account_id = a AND c.status <> 'ACTIVE')",
	5, {INT8ARRAYOID, INT2ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8OID}
};

static PlQuery select_inactive = {
	"SELECT i, c.account_code, c.status::text"
	" FROM pg_catalog.unnest($1) AS p(i)"
	" LEFT JOIN payledger.accounts c ON c.account_id = p.i"
	" WHERE c.status IS DISTINCT FROM 'ACTIVE'"
	" ORDER BY c.account_code, i LIMIT 1", 1, {INT8ARRAYOID}
};

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

/*
 * Begin an entry, which takes the legs that follow.  reference may be NULL;
 * otherwise it is unique over the ledger.  reverses names the entry of which
 * this is the mirror, 0 if none.  Raises 22023 for a malformed entry_type or
 * reference.  The result lives as long as the batch.
 */
PlEntry *
pl_entry_add(PlEntryBatch *batch, const char *entry_type, int64 payment_id,
			 const char *reference, int64 reverses)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(batch->context);
	PlEntry    *entry;

	if (entry_type[0] < 'A' || entry_type[0] > 'Z' ||
		strspn(entry_type, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(entry_type) ||
		strlen(entry_type) > MAX_ENTRY_TYPE_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("entry type \"%s\" is malformed", entry_type),
				 errhint("An entry type is upper case letters, digits and underscores.")));
	if (reference != NULL)
		pl_check_text("reference", reference, MAX_REFERENCE_LENGTH);

	entry = palloc0(sizeof(PlEntry));
	entry->journal_entry_id = pl_next_id();
	entry->entry_type = pstrdup(entry_type);
	entry->payment_id = payment_id;
	entry->reference = reference ? pstrdup(reference) : NULL;
	entry->reverses = reverses;
	entry->first_leg = batch->nlegs;

	if (batch->nentries == batch->entries_allocated)
	{
		batch->entries_allocated = Max(8, batch->entries_allocated * 2);
		batch->entries = batch->entries == NULL ?
			palloc(sizeof(PlEntry *) * batch->entries_allocated) :
			repalloc(batch->entries, sizeof(PlEntry *) * batch->entries_allocated);
	}
	batch->entries[batch->nentries++] = entry;
	MemoryContextSwitchTo(oldcontext);
	return entry;
}

/*
 * Add a leg to the entry begun last: amount in minor units of currency, debit
 * positive, credit negative.  The account is opened when the batch is posted,
 * which also checks its name.  Raises 22023 for amount 0, 22003 for the one
 * amount that has no opposite.
 */
void
pl_entry_leg(PlEntryBatch *batch, const char *account_type, const char *entity_id,
			 const char *currency, int64 amount)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(batch->context);
	PlEntry    *entry;
	PlLeg	   *leg;

	Assert(batch->nentries > 0);
	entry = batch->entries[batch->nentries - 1];
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
			palloc(sizeof(PlLeg) * batch->legs_allocated) :
			repalloc(batch->legs, sizeof(PlLeg) * batch->legs_allocated);
	}
	leg = &batch->legs[batch->nlegs++];
	leg->account_code = pl_account_code(account_type, entity_id, currency);
	leg->account_id = pl_known_account(leg->account_code);
	leg->amount = amount;

	if (entry->nlegs++ == 0)
		entry->currency = pstrdup(currency);
	if (entry->seller_id == NULL && strncmp(account_type, "MERCHANT_", 9) == 0)
		entry->seller_id = pstrdup(entity_id);
	MemoryContextSwitchTo(oldcontext);
}

/* ---- checking ---- */

/*
 * Open the accounts of the batch that this backend has not met, all at once.
 */
static void
resolve_accounts(PlEntryBatch *batch)
{
	const char **codes = NULL;
	int64	   *ids;
	int			n = 0;

	for (int i = 0; i < batch->nlegs; i++)
		if (batch->legs[i].account_id == 0)
		{
			if (codes == NULL)
				codes = palloc(sizeof(char *) * batch->nlegs);
			codes[n++] = batch->legs[i].account_code;
		}
	if (n == 0)
		return;
	ids = palloc(sizeof(int64) * n);
	pl_open_accounts(codes, ids, n);
	n = 0;
	for (int i = 0; i < batch->nlegs; i++)
		if (batch->legs[i].account_id == 0)
			batch->legs[i].account_id = ids[n++];
	pfree(codes);
	pfree(ids);
}

/*
 * Raise PL002 unless the entry has two legs and nets to zero in each currency.
 */
static void
check_entry(const PlEntryBatch *batch, const PlEntry *entry)
{
	Net		   *nets;
	int			nnets = 0;

	if (entry->nlegs < 2)
		ereport(ERROR,
				(errcode(ERRCODE_PL_UNBALANCED_ENTRY),
				 errmsg("journal entry " INT64_FORMAT " has fewer than two legs", entry->journal_entry_id),
				 errdetail("Its entry type is %s.", entry->entry_type)));

	nets = palloc(sizeof(Net) * entry->nlegs);
	for (int i = entry->first_leg; i < entry->first_leg + entry->nlegs; i++)
	{
		const char *currency = pl_account_currency(batch->legs[i].account_id);
		int			c = 0;

		while (c < nnets && nets[c].currency != currency)
			c++;
		if (c == nnets)
		{
			nets[nnets].currency = currency;
			nets[nnets++].amount = 0;
		}
		nets[c].amount = pl_add_amount(nets[c].amount, batch->legs[i].amount);
	}
	for (int c = 0; c < nnets; c++)
		if (nets[c].amount != 0)
			ereport(ERROR,
					(errcode(ERRCODE_PL_UNBALANCED_ENTRY),
					 errmsg("journal entry " INT64_FORMAT " does not balance", entry->journal_entry_id),
					 errdetail("Debits less credits of entry type %s are %s %s.", entry->entry_type,
							   pl_format_amount(nets[c].amount, pl_check_currency(nets[c].currency)),
							   nets[c].currency)));
	pfree(nets);
}

/*
 * Raise PL007 or PL008 for the first of the accounts that does not exist or is
 * not active; return if there is none.  Needs an open SPI connection.
 */
void
pl_refuse_inactive_accounts(const int64 *account_ids, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * n);
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(account_ids[i]);
	pl_arg_array(&args, values, NULL, n, INT8OID);
	if (pl_execute(&select_inactive, &args) == 0)
		return;
	if (pl_isnull(0, 2))
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("account " INT64_FORMAT " does not exist", pl_get_int64(0, 1))));
	ereport(ERROR,
			(errcode(ERRCODE_PL_NOT_ACTIVE),
			 errmsg("account %s is not active", pl_get_text(0, 2)),
			 errdetail("Its status is %s.", pl_get_text(0, 3)),
			 errhint("An operator can set the status of payledger.accounts to ACTIVE.")));
}

/* ---- writing ---- */

static void
write_entries(const PlEntryBatch *batch, int64 transaction_no)
{
	int			n = batch->nentries;
	Datum	   *columns[5];
	bool	   *nulls[5];
	PlArgs		args = {0};
	static const Oid types[5] = {INT8OID, TEXTOID, INT8OID, TEXTOID, INT8OID};

	for (int c = 0; c < (int) lengthof(columns); c++)
	{
		columns[c] = palloc(sizeof(Datum) * n);
		nulls[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		const PlEntry *entry = batch->entries[i];

		columns[0][i] = Int64GetDatum(entry->journal_entry_id);
		columns[1][i] = CStringGetTextDatum(entry->entry_type);
		columns[2][i] = Int64GetDatum(entry->payment_id);
		nulls[2][i] = entry->payment_id == 0;
		columns[3][i] = entry->reference ? CStringGetTextDatum(entry->reference) : (Datum) 0;
		nulls[3][i] = entry->reference == NULL;
		columns[4][i] = Int64GetDatum(entry->reverses);
		nulls[4][i] = entry->reverses == 0;
	}
	for (int c = 0; c < (int) lengthof(columns); c++)
		pl_arg_array(&args, columns[c], nulls[c], n, types[c]);
	pl_arg_timestamp(&args, GetCurrentTransactionStartTimestamp());
	pl_arg_int64(&args, transaction_no);
	pl_execute(&insert_entries, &args);
}

/* Not every leg was inserted: raise why. */
static void
refuse_incomplete(const PlEntryBatch *batch)
{
	int64	   *ids = palloc(sizeof(int64) * batch->nlegs);

	for (int i = 0; i < batch->nlegs; i++)
		ids[i] = batch->legs[i].account_id;
	pl_refuse_inactive_accounts(ids, batch->nlegs);

	/* each statement has its own snapshot */
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("an account changed its status while journal entry " INT64_FORMAT " was posted",
					batch->entries[0]->journal_entry_id),
			 errhint("Run the transaction again.")));
}

static void
write_postings(const PlEntryBatch *batch, int64 transaction_no)
{
	int			n = batch->nlegs;
	Datum	   *columns[4];
	PlArgs		args = {0};

	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(Datum) * n);
	for (int e = 0; e < batch->nentries; e++)
	{
		const PlEntry *entry = batch->entries[e];

		for (int l = 0; l < entry->nlegs; l++)
		{
			int			i = entry->first_leg + l;

			columns[0][i] = Int64GetDatum(entry->journal_entry_id);
			columns[1][i] = Int16GetDatum(l + 1);
			columns[2][i] = Int64GetDatum(batch->legs[i].account_id);
			columns[3][i] = Int64GetDatum(batch->legs[i].amount);
		}
	}
	pl_arg_array(&args, columns[0], NULL, n, INT8OID);
	pl_arg_array(&args, columns[1], NULL, n, INT2OID);
	pl_arg_array(&args, columns[2], NULL, n, INT8OID);
	pl_arg_array(&args, columns[3], NULL, n, INT8OID);
	pl_arg_int64(&args, transaction_no);

	if (pl_execute(&insert_postings, &args) != (uint64) n)
		refuse_incomplete(batch);
}

/*
 * Is the statement that inserted nlegs postings, among them one of that entry,
 * the one that writes the batch?  Then its headers were inserted just before,
 * with the same transaction number, and its accounts are active; if they are
 * not, raises PL008.  For the statement trigger.
 */
bool
pl_entries_wrote(int64 journal_entry_id, int nlegs)
{
	const PlEntryBatch *batch = being_written;

	/* the ids of a batch ascend, and nobody else is given one of them */
	if (batch == NULL ||
		journal_entry_id < batch->entries[0]->journal_entry_id ||
		journal_entry_id > batch->entries[batch->nentries - 1]->journal_entry_id)
		return false;
	if (batch->nlegs != nlegs)
		refuse_incomplete(batch);
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

	if (end == NULL)
		return;
	value = pnstrdup(value + 3, end - value - 3);
	if (strcmp(error->constraint_name, "journal_entries_reference") == 0)
		error->message = psprintf("an entry with reference \"%s\" is already posted", value);
	else if (strcmp(error->constraint_name, "journal_entries_reverses") == 0)
		error->message = psprintf("journal entry %s is already reversed", value);
}

/*
 * Check and write all entries of the batch and fill in the accounts of its
 * legs.  Takes no lock but those of its own new rows; waits for another
 * transaction that is posting the same reference.  Raises PL002 for an entry
 * that does not balance, PL007 for an unknown account type, PL008 for an
 * account that is not active, 22003 for a sum that overflows, 23505 for a
 * reference that is already posted or an entry that is already reversed.
 * Needs an open SPI connection.
 */
void
pl_entries_post(PlEntryBatch *batch)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	int64		transaction_no;

	if (batch->nentries == 0)
		return;
	resolve_accounts(batch);
	for (int i = 0; i < batch->nentries; i++)
		check_entry(batch, batch->entries[i]);

	transaction_no = pl_transaction_no();
	PG_TRY();
	{
		write_entries(batch, transaction_no);
		being_written = batch;
		write_postings(batch, transaction_no);
		being_written = NULL;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		being_written = NULL;
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
}

/* ---- reading a batch ---- */

int
pl_entries_count(const PlEntryBatch *batch)
{
	return batch->nentries;
}

const PlEntry *
pl_entries_get(const PlEntryBatch *batch, int i)
{
	Assert(i >= 0 && i < batch->nentries);
	return batch->entries[i];
}

/* Leg i of the batch; those of an entry begin at its first_leg. */
const PlLeg *
pl_entries_leg(const PlEntryBatch *batch, int i)
{
	Assert(i >= 0 && i < batch->nlegs);
	return &batch->legs[i];
}
