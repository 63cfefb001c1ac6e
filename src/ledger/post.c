/*
 * src/ledger/post.c
 *		The SQL functions that post entries: one, many, and the reversal of one.
 *
 * All that a call allocates lives in the memory of its SPI connection, which
 * pl_finish() gives back.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/tuplestore.h"

#define MAX_REASON_LENGTH 1000

#define REVERSAL_SUFFIX "_REVERSAL"
#define MAX_ENTRY_TYPE_LENGTH 63

/* An entry never changes; the lock keeps others from reversing it meanwhile. */
static PlQuery lock_entry = {
	"SELECT entry_type, payment_id FROM payledger.journal_entries"
	" WHERE journal_entry_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

/* Legs that would take back all that is left, in the order of the entry's own. */
static PlQuery select_opposite = {
	"SELECT p.account_id, (- sum(p.amount))::bigint"
	" FROM payledger.postings p"
	" WHERE p.journal_entry_id IN (SELECT $1 UNION ALL"
	"		SELECT j.journal_entry_id FROM payledger.journal_entries j WHERE j.reverses = $1)"
	" GROUP BY p.account_id HAVING sum(p.amount) <> 0"
	" ORDER BY min(p.journal_entry_id), min(p.leg), p.account_id", 1, {INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_post_entry);
PG_FUNCTION_INFO_V1(pl_sql_post_entries);
PG_FUNCTION_INFO_V1(pl_sql_reverse_entry);

/* What every function here begins with; pl_finish() ends it. */
static void
begin(const char *function)
{
	PreventCommandIfReadOnly(function);
	pl_connect();
	pl_require_layout();
}

/* ---- arguments ---- */

static void
require_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

static bool
bool_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	require_arg(fcinfo, argno, name);
	return PG_GETARG_BOOL(argno);
}

static Jsonb *
jsonb_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	require_arg(fcinfo, argno, name);
	return PG_GETARG_JSONB_P(argno);
}

/* Let the entry take effect when the argument says, if it says. */
static void
date_entry(PlEntry *entry, FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return;
	entry->effective_at = PG_GETARG_TIMESTAMPTZ(argno);
	entry->is_dated = true;
	if (TIMESTAMP_NOT_FINITE(entry->effective_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("effective_at must be finite")));
}

/* ---- results ---- */

/* Append an event for each entry that was posted now. */
static void
publish_entries(const PlEntryBatch *batch)
{
	PlEventBatch *events = pl_events_new();

	pl_entries_add_events(batch, events);
	pl_events_append(events);
}

static TupleDesc
result_descriptor(FunctionCallInfo fcinfo)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return tupdesc;
}

/*
 * The end of a function that posted a single entry: its row, as far as tupdesc
 * has columns.  All of it is copied before the entry goes with the SPI
 * connection.
 */
static Datum
finish_with_entry(TupleDesc tupdesc, const PlEntry *entry)
{
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = Int64GetDatum(entry->journal_entry_id);
	values[1] = TimestampTzGetDatum(entry->recorded_at);
	values[2] = TimestampTzGetDatum(entry->effective_at);
	values[3] = BoolGetDatum(entry->verdict == PL_VERDICT_REPLAYED);
	pl_finish();
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

/* The name of a verdict as a text Datum. */
static Datum
verdict_datum(PlVerdict verdict)
{
	switch (verdict)
	{
		case PL_VERDICT_POSTED:
			return CStringGetTextDatum("POSTED");
		case PL_VERDICT_REPLAYED:
			return CStringGetTextDatum("REPLAYED");
		case PL_VERDICT_DENIED:
			return CStringGetTextDatum("DENIED");
		case PL_VERDICT_NONE:
			break;
	}
	elog(ERROR, "an entry has no verdict");
}

/* One row for each entry, in the order they were given. */
static void
return_verdicts(FunctionCallInfo fcinfo, const PlEntryBatch *batch)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "payledger verdict",
													  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(row_context);

	for (int i = 0; i < batch->nentries; i++)
	{
		const PlEntry *entry = batch->entries[i];
		bool		denied = entry->verdict == PL_VERDICT_DENIED;
		Datum		values[5] = {0};
		bool		nulls[5] = {false, denied, false, !denied, !denied};

		CHECK_FOR_INTERRUPTS();
		values[0] = Int32GetDatum(i + 1);
		values[1] = Int64GetDatum(entry->journal_entry_id);
		values[2] = verdict_datum(entry->verdict);
		if (denied)
		{
			values[3] = CStringGetTextDatum(unpack_sql_state(entry->denial->sqlerrcode));
			values[4] = CStringGetTextDatum(entry->denial->message);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(row_context);
}

/* ---- posting ---- */

/*
 * post_entry(entry_type, postings, reference, effective_at, metadata, publish)
 *		A batch of one.
 */
Datum
pl_sql_post_entry(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_descriptor(fcinfo);
	PlEntryBatch *batch;
	PlEntry    *entry;
	bool		publish;

	begin("payledger.post_entry()");
	publish = bool_arg(fcinfo, 5, "publish");
	batch = pl_entries_new();
	batch->replays = true;
	entry = pl_entry_add(batch, pl_text_arg(fcinfo, 0, "entry_type"), 0, pl_optional_text_arg(fcinfo, 2), 0);
	date_entry(entry, fcinfo, 3);
	if (!PG_ARGISNULL(4))
	{
		entry->metadata = PG_GETARG_JSONB_P(4);
		pl_check_metadata("metadata", entry->metadata);
	}
	pl_entry_legs_from_json(batch, jsonb_arg(fcinfo, 1, "postings"));

	pl_entries_post(batch);
	if (publish)
		publish_entries(batch);
	return finish_with_entry(tupdesc, entry);
}

/*
 * post_entries(entries, atomic, publish)
 *		The entries of a JSON array.  atomic: all or none.
 */
Datum
pl_sql_post_entries(PG_FUNCTION_ARGS)
{
	PlEntryBatch *batch;
	Jsonb	   *entries;
	bool		publish;

	begin("payledger.post_entries()");
	batch = pl_entries_new();
	batch->replays = true;
	batch->progress = pl_progress_update;
	entries = jsonb_arg(fcinfo, 0, "entries");
	batch->gives_verdicts = !bool_arg(fcinfo, 1, "atomic");
	publish = bool_arg(fcinfo, 2, "publish");
	InitMaterializedSRF(fcinfo, 0);

	pl_progress_begin(JB_ROOT_COUNT(entries));
	PG_TRY();
	{
		pl_entries_from_json(batch, entries);
		pl_progress_phase(PL_PHASE_CHECKING);
		pl_entries_post(batch);
		if (publish)
			publish_entries(batch);
	}
	PG_FINALLY();
	{
		pl_progress_end();
	}
	PG_END_TRY();

	return_verdicts(fcinfo, batch);
	pl_finish();
	return (Datum) 0;
}

/* ---- reversing ---- */

/* The entry to reverse, as it was found under its lock. */
typedef struct Original
{
	int64		journal_entry_id;
	const char *entry_type;
	int64		payment_id;		/* 0: none */
} Original;

/*
 * Lock the entry; PL007 if there is none.  It is taken before the locks of the
 * accounts.  Nothing takes these two the other way round: what the payment flow
 * reverses states facts, and locks no account.
 */
static Original
lock_original(int64 journal_entry_id)
{
	Original	original = {journal_entry_id};
	PlArgs		args = {0};

	pl_arg_int64(&args, journal_entry_id);
	if (pl_execute_latest(&lock_entry, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("journal entry " INT64_FORMAT " does not exist", journal_entry_id)));
	original.entry_type = pl_get_text(0, 1);
	if (!pl_isnull(0, 2))
		original.payment_id = pl_get_int64(0, 2);
	return original;
}

/*
 * Add legs that take back all that is left of the entry; PL005 if nothing is.
 */
static void
add_opposite_legs(PlEntryBatch *batch, int64 journal_entry_id)
{
	PlArgs		args = {0};
	int			n;
	int64	   *accounts;
	int64	   *amounts;

	pl_arg_int64(&args, journal_entry_id);
	n = (int) pl_execute_latest(&select_opposite, &args);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
				 errmsg("nothing is left of journal entry " INT64_FORMAT " to reverse", journal_entry_id)));
	accounts = palloc(sizeof(int64) * n);
	amounts = palloc(sizeof(int64) * n);
	for (int i = 0; i < n; i++)
	{
		accounts[i] = pl_get_int64(i, 1);
		amounts[i] = pl_get_int64(i, 2);
	}
	pl_load_accounts(accounts, n);
	for (int i = 0; i < n; i++)
	{
		const PlAccount *account = pl_known_account_by_id(accounts[i]);

		if (account == NULL)
			elog(ERROR, "account " INT64_FORMAT " of journal entry " INT64_FORMAT " does not exist",
				 accounts[i], journal_entry_id);
		pl_entry_leg(batch, account->code, amounts[i]);
	}
}

/* {"reason": reason} */
static Jsonb *
reason_metadata(const char *reason)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	pl_json_text(&text, "reason", reason);
	appendStringInfoChar(&text, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data)));
}

/* <entry_type>_REVERSAL, the type cut where the name would be too long; palloc'd. */
static char *
reversal_type(const char *entry_type)
{
	return psprintf("%.*s" REVERSAL_SUFFIX,
					MAX_ENTRY_TYPE_LENGTH - (int) strlen(REVERSAL_SUFFIX), entry_type);
}

/*
 * reverse_entry(journal_entry_id, reason, postings, effective_at, publish)
 *		The mirror of what is left of an entry, or of the part that postings
 *		take back, which is checked as it is posted.
 */
Datum
pl_sql_reverse_entry(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_descriptor(fcinfo);
	char	   *reason;
	Original	original;
	PlEntryBatch *batch;
	PlEntry    *entry;
	bool		publish;

	begin("payledger.reverse_entry()");
	publish = bool_arg(fcinfo, 4, "publish");
	reason = pl_text_arg(fcinfo, 1, "reason");
	pl_check_text("reason", reason, MAX_REASON_LENGTH);
	original = lock_original(pl_int64_arg(fcinfo, 0, "journal_entry_id"));

	batch = pl_entries_new();
	entry = pl_entry_add(batch, reversal_type(original.entry_type), original.payment_id, NULL,
						 original.journal_entry_id);
	date_entry(entry, fcinfo, 3);
	entry->metadata = reason_metadata(reason);
	if (PG_ARGISNULL(2))
		add_opposite_legs(batch, original.journal_entry_id);
	else
		pl_entry_legs_from_json(batch, PG_GETARG_JSONB_P(2));

	pl_entries_post(batch);
	if (publish)
		publish_entries(batch);
	return finish_with_entry(tupdesc, entry);
}
