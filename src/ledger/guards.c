/*
 * src/ledger/guards.c
 *		The trigger that holds every INSERT into postings, by whatever path, to
 *		double entry: each entry touched is new, whole and nets to zero in every
 *		currency within this very statement.
 *
 * It runs once a statement over the transition table.  What the posting
 * function has just checked itself (the headers, the status of the accounts) is
 * looked up only for statements that somebody else wrote.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/core.h"
#include "executor/tuptable.h"
#include "ledger/ledger.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

/* Columns of payledger.postings, which only ever grows at the end. */
#define POSTING_ENTRY			1
#define POSTING_LEG				2
#define POSTING_ACCOUNT			3
#define POSTING_AMOUNT			4
#define POSTING_TRANSACTION		5

typedef struct Posting
{
	int64		journal_entry_id;
	int64		account_id;
	const char *currency;
	int64		amount;
	int16		leg;
} Posting;

/*
 * Of the entries that a foreign statement touched, one that was not inserted
 * by this transaction, has legs beyond those of the statement, or gaps.
 */
static PlQuery select_wrong_entry = {
	"SELECT i, j.journal_entry_id IS NULL, j.transaction_no IS DISTINCT FROM $3"
	" FROM (SELECT i, count(*) AS n, max(l) AS top"
	"		FROM unnest($1, $2) AS u(i, l) GROUP BY i) AS s"
	" LEFT JOIN payledger.journal_entries j ON j.journal_entry_id = s.i"
	" WHERE j.transaction_no IS DISTINCT FROM $3 OR top <> n"
	"	 OR n <> (SELECT count(*) FROM payledger.postings p WHERE p.journal_entry_id = s.i)"
	" ORDER BY i LIMIT 1", 3, {INT8ARRAYOID, INT2ARRAYOID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_check_postings);

static int
compare_postings(const void *a, const void *b)
{
	const Posting *x = a;
	const Posting *y = b;

	if (x->journal_entry_id != y->journal_entry_id)
		return x->journal_entry_id < y->journal_entry_id ? -1 : 1;
	return strcmp(x->currency, y->currency);
}

/*
 * The rows of the transition table, palloc'd.  Raises PL002 for a row that
 * does not carry this transaction's number, which folding would miss.
 */
static Posting *
read_transition_table(TriggerData *trigger, int *n)
{
	Tuplestorestate *rows = trigger->tg_newtable;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation),
													&TTSOpsMinimalTuple);
	int			allocated = 16;
	Posting    *postings = palloc(sizeof(Posting) * allocated);
	int64		transaction_no = 0;

	/* other triggers read the same store */
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
	*n = 0;
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Posting    *posting;

		if (*n == allocated)
		{
			allocated *= 2;
			postings = repalloc_huge(postings, sizeof(Posting) * allocated);
		}
		if (*n == 0)
			transaction_no = pl_transaction_no();
		slot_getsomeattrs(slot, POSTING_TRANSACTION);
		posting = &postings[(*n)++];
		posting->journal_entry_id = DatumGetInt64(slot->tts_values[POSTING_ENTRY - 1]);
		posting->leg = DatumGetInt16(slot->tts_values[POSTING_LEG - 1]);
		posting->account_id = DatumGetInt64(slot->tts_values[POSTING_ACCOUNT - 1]);
		posting->amount = DatumGetInt64(slot->tts_values[POSTING_AMOUNT - 1]);
		if (DatumGetInt64(slot->tts_values[POSTING_TRANSACTION - 1]) != transaction_no)
			ereport(ERROR,
					(errcode(ERRCODE_PL_UNBALANCED_ENTRY),
					 errmsg("a leg of journal entry " INT64_FORMAT " has a transaction number that is not this transaction's",
							posting->journal_entry_id),
					 errdetail("It has " INT64_FORMAT ", this is " INT64_FORMAT ".",
							   DatumGetInt64(slot->tts_values[POSTING_TRANSACTION - 1]),
							   transaction_no)));
		CHECK_FOR_INTERRUPTS();
	}
	tuplestore_select_read_pointer(rows, 0);
	ExecDropSingleTupleTableSlot(slot);
	return postings;
}

/*
 * For a statement of somebody else: what the posting function would have made
 * sure of.  Raises PL002, PL007 or PL008.
 */
static void
check_foreign_statement(const Posting *postings, int n)
{
	Datum	   *entries = palloc(sizeof(Datum) * n);
	Datum	   *legs = palloc(sizeof(Datum) * n);
	int64	   *accounts = palloc(sizeof(int64) * n);
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
	{
		entries[i] = Int64GetDatum(postings[i].journal_entry_id);
		legs[i] = Int16GetDatum(postings[i].leg);
		accounts[i] = postings[i].account_id;
	}
	pl_arg_array(&args, entries, NULL, n, INT8OID);
	pl_arg_array(&args, legs, NULL, n, INT2OID);
	pl_arg_int64(&args, pl_transaction_no());
	if (pl_execute(&select_wrong_entry, &args) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_UNBALANCED_ENTRY),
				 errmsg("the postings of journal entry " INT64_FORMAT " are not whole", pl_get_int64(0, 1)),
				 pl_get_bool(0, 2) ? errdetail("There is no such entry.") :
				 pl_get_bool(0, 3) ? errdetail("The entry was not inserted by this transaction.") :
				 errdetail("One statement must insert all legs of an entry, numbered from 1.")));
	pl_refuse_inactive_accounts(accounts, n);
}

/*
 * Raise PL002 unless each entry nets to zero in every currency; then it has two
 * legs, because no amount is zero.  Sorts the postings.
 */
static void
check_double_entry(Posting *postings, int n)
{
	bool		sorted = true;
	int64		net = 0;

	for (int i = 0; i < n; i++)
	{
		postings[i].currency = pl_account_currency(postings[i].account_id);
		if (i > 0 && sorted)
			sorted = compare_postings(&postings[i - 1], &postings[i]) <= 0;
	}
	if (!sorted)
		qsort(postings, n, sizeof(Posting), compare_postings);

	for (int i = 0; i < n; i++)
	{
		const Posting *this = &postings[i];

		net = pl_add_amount(net, this->amount);
		if (net != 0 && (i + 1 == n || compare_postings(this, this + 1) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_PL_UNBALANCED_ENTRY),
					 errmsg("journal entry " INT64_FORMAT " does not balance", this->journal_entry_id),
					 errdetail("Debits less credits of its postings are %s %s.",
							   pl_format_amount(net, pl_check_currency(this->currency)),
							   this->currency)));
	}
}

/*
 * check_postings(): AFTER INSERT statement trigger of payledger.postings with
 * its transition table.
 */
Datum
pl_sql_check_postings(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Posting    *postings;
	int64	   *accounts;
	int			n;

	if (!CALLED_AS_TRIGGER(fcinfo) || TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("check_postings must be called as an AFTER INSERT statement trigger with a transition table")));

	pl_require_preload();
	pl_connect();
	postings = read_transition_table(trigger, &n);
	if (n > 0)
	{
		accounts = palloc(sizeof(int64) * n);
		for (int i = 0; i < n; i++)
			accounts[i] = postings[i].account_id;
		pl_load_accounts(accounts, n);

		if (!pl_entries_wrote(postings[0].journal_entry_id, n))
			check_foreign_statement(postings, n);
		check_double_entry(postings, n);
	}
	pl_finish();
	return PointerGetDatum(NULL);
}
