/*
 * src/ledger/guards.c
 *		The triggers that hold every INSERT into the journal, by whatever path,
 *		to double entry and to the posting functions.
 *
 * They run once a statement.  Entries are written by posting.c alone, because
 * only there limits, periods, references and holds are looked after; what it
 * writes is added up once more over the transition table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

/* Columns of payledger.postings, which only ever grows at the end. */
#define POSTING_ENTRY			1
#define POSTING_ACCOUNT			2
#define POSTING_AMOUNT			3
#define POSTING_TRANSACTION		4
#define POSTING_LEG				5

static const Oid posting_types[] = {INT8OID, INT8OID, INT8OID, INT8OID, INT2OID};

PG_FUNCTION_INFO_V1(pl_sql_check_postings);
PG_FUNCTION_INFO_V1(pl_sql_check_journal_entries);
PG_FUNCTION_INFO_V1(pl_sql_announce_restriction);

static int
compare_postings(const void *a, const void *b)
{
	const PlPosting *x = a;
	const PlPosting *y = b;

	if (x->journal_entry_id != y->journal_entry_id)
		return x->journal_entry_id < y->journal_entry_id ? -1 : 1;
	if (x->account->ledger != y->account->ledger)
		return x->account->ledger < y->account->ledger ? -1 : 1;
	if (x->account->currency != y->account->currency)
		return x->account->currency < y->account->currency ? -1 : 1;
	return 0;
}

/*
 * The rows of the transition table, palloc'd.  Raises PL002 for a row that
 * does not carry this transaction's number, which folding would miss.
 */
static PlPosting *
read_transition_table(TriggerData *trigger, int *n)
{
	Tuplestorestate *rows = trigger->tg_newtable;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation),
													&TTSOpsMinimalTuple);
	int			allocated = 16;
	PlPosting  *postings = palloc(sizeof(PlPosting) * allocated);
	int64		transaction_no = 0;

	/* other triggers read the same store */
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
	*n = 0;
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		PlPosting  *posting;

		if (*n == allocated)
		{
			allocated *= 2;
			postings = repalloc_huge(postings, sizeof(PlPosting) * allocated);
		}
		if (*n == 0)
			transaction_no = pl_transaction_no();
		slot_getsomeattrs(slot, POSTING_LEG);
		posting = &postings[(*n)++];
		posting->journal_entry_id = DatumGetInt64(slot->tts_values[POSTING_ENTRY - 1]);
		posting->account_id = DatumGetInt64(slot->tts_values[POSTING_ACCOUNT - 1]);
		posting->amount = DatumGetInt64(slot->tts_values[POSTING_AMOUNT - 1]);
		posting->leg = DatumGetInt16(slot->tts_values[POSTING_LEG - 1]);
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

/* Find the account of each posting; PL007 if there is none. */
static void
find_accounts(PlPosting *postings, int n)
{
	int64	   *ids = NULL;
	int			nids = 0;

	for (int i = 0; i < n; i++)
	{
		postings[i].account = pl_known_account_by_id(postings[i].account_id);
		if (postings[i].account == NULL)
		{
			if (ids == NULL)
				ids = palloc(sizeof(int64) * n);
			ids[nids++] = postings[i].account_id;
		}
	}
	if (nids == 0)
		return;
	pl_load_accounts(ids, nids);
	for (int i = 0; i < n; i++)
	{
		postings[i].account = pl_known_account_by_id(postings[i].account_id);
		if (postings[i].account == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_PL_NOT_FOUND),
					 errmsg("account " INT64_FORMAT " does not exist", postings[i].account_id)));
	}
}

/*
 * Raise PL002 unless each entry nets to zero in every ledger and currency; then
 * it has two legs, because no amount is zero.  Sorts the postings.
 */
static void
check_double_entry(PlPosting *postings, int n)
{
	bool		sorted = true;
	int64		net = 0;

	for (int i = 1; i < n && sorted; i++)
		sorted = compare_postings(&postings[i - 1], &postings[i]) <= 0;
	if (!sorted)
		qsort(postings, n, sizeof(PlPosting), compare_postings);

	for (int i = 0; i < n; i++)
	{
		const PlPosting *this = &postings[i];

		if (this->amount == 0)
			ereport(ERROR,
					(errcode(ERRCODE_PL_UNBALANCED_ENTRY),
					 errmsg("a leg of journal entry " INT64_FORMAT " has amount 0", this->journal_entry_id)));
		net = pl_add_amount(net, this->amount);
		if (net != 0 && (i + 1 == n || compare_postings(this, this + 1) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_PL_UNBALANCED_ENTRY),
					 errmsg("journal entry " INT64_FORMAT " does not balance", this->journal_entry_id),
					 errdetail("Debits less credits of its postings are %s %s.",
							   pl_format_amount(net, this->account->currency),
							   this->account->currency->code)));
	}
}

pg_noreturn static void
refuse_by_hand(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_IMMUTABLE_RECORD),
			 errmsg("the journal is written by the posting functions only"),
			 errhint("Use payledger.post_entry() or payledger.post_entries().")));
}

/*
 * check_postings(): AFTER INSERT statement trigger of payledger.postings with
 * its transition table.
 */
Datum
pl_sql_check_postings(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	PlPosting  *postings;
	int			n;

	if (!CALLED_AS_TRIGGER(fcinfo) || TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("check_postings must be called as an AFTER INSERT statement trigger with a transition table")));
	pl_require_preload();
	pl_trigger_places(trigger, posting_types, lengthof(posting_types));
	pl_connect();
	postings = read_transition_table(trigger, &n);
	if (n > 0)
	{
		bool		is_batch = pl_entries_writes_postings(postings, n);

		find_accounts(postings, n);
		check_double_entry(postings, n);
		if (!is_batch)
			refuse_by_hand();
	}
	pl_finish();
	return PointerGetDatum(NULL);
}

/*
 * check_journal_entries(): BEFORE INSERT statement trigger of
 * payledger.journal_entries.
 */
Datum
pl_sql_check_journal_entries(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("check_journal_entries must be called as a BEFORE INSERT statement trigger")));
	if (!pl_entries_writes_headers())
		refuse_by_hand();
	return PointerGetDatum(NULL);
}

/*
 * announce_restriction('wait'): AFTER UPDATE row trigger of payledger.accounts
 * and payledger.ledgers, for a change that no post may miss.  The invalidation
 * reaches a backend at the latest when it locks the journal, which waits for
 * this transaction.  Without the argument, for a change that only lifts a
 * restriction, posts need not wait.
 */
Datum
pl_sql_announce_restriction(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("announce_restriction must be called as an AFTER UPDATE row trigger")));
	if (trigger->tg_trigger->tgnargs == 1 && strcmp(trigger->tg_trigger->tgargs[0], "wait") == 0)
		pl_wait_for_posts();
	CacheInvalidateRelcache(trigger->tg_relation);
	return PointerGetDatum(NULL);
}
