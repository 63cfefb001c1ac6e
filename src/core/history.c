/*
 * src/core/history.c
 *		Writing state_history in the commit of the change.
 *
 * A command brackets its changes with pl_history_begin() and pl_history_end();
 * the rows that the trigger hands over in between are written with one
 * statement.  Outside of a bracket, a hand-written statement say, each row is
 * written at once.  Brackets nest, because a user's own trigger may call
 * another command.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

typedef struct HistoryBatch
{
	struct HistoryBatch *outer;
	SubTransactionId subxact;	/* that opened it */
	MemoryContext context;
	const char *cause;
	int			n;
	int			allocated;
	Datum	   *history_ids;
	Datum	   *payment_ids;
	Datum	   *machines;
	Datum	   *object_ids;
	Datum	   *from;
	bool	   *from_nulls;
	Datum	   *to;
	Datum	   *causes;
} HistoryBatch;

static HistoryBatch *current = NULL;

static PlQuery insert_history = {
	"INSERT INTO payledger.state_history"
	" (history_id, payment_id, machine, object_id, from_status, to_status, at, actor, cause)"
	" SELECT h, p, m, o, f, t, $8, $9, c"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) AS u(h, p, m, o, f, t, c)",
	9, {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, TIMESTAMPTZOID, TEXTOID}
};

/* An aborted transaction takes its brackets with it. */
static void
drop_aborted_batches(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		current = NULL;
}

static void
drop_aborted_batches_sub(SubXactEvent event, SubTransactionId mysubid,
						 SubTransactionId parentsubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (current != NULL && current->subxact >= mysubid)
			current = current->outer;
}

static HistoryBatch *
new_batch(const char *cause)
{
	HistoryBatch *batch = palloc0(sizeof(HistoryBatch));

	batch->subxact = GetCurrentSubTransactionId();
	batch->context = CurrentMemoryContext;
	batch->cause = pstrdup(cause);
	return batch;
}

static void
add_row(HistoryBatch *batch, int64 payment_id, const char *machine, int64 object_id,
		const char *from, const char *to)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(batch->context);
	int			i = batch->n++;

	if (batch->n > batch->allocated)
	{
		int			size = batch->allocated = Max(8, batch->allocated * 2);

#define GROW(array, type) \
		((array) = (array) ? repalloc((array), size * sizeof(type)) : palloc(size * sizeof(type)))
		GROW(batch->history_ids, Datum);
		GROW(batch->payment_ids, Datum);
		GROW(batch->machines, Datum);
		GROW(batch->object_ids, Datum);
		GROW(batch->from, Datum);
		GROW(batch->from_nulls, bool);
		GROW(batch->to, Datum);
		GROW(batch->causes, Datum);
#undef GROW
	}
	batch->history_ids[i] = Int64GetDatum(pl_next_id());
	batch->payment_ids[i] = Int64GetDatum(payment_id);
	batch->machines[i] = CStringGetTextDatum(machine);
	batch->object_ids[i] = Int64GetDatum(object_id);
	batch->from_nulls[i] = from == NULL;
	batch->from[i] = from ? CStringGetTextDatum(from) : (Datum) 0;
	batch->to[i] = CStringGetTextDatum(to);
	batch->causes[i] = CStringGetTextDatum(batch->cause);
	MemoryContextSwitchTo(oldcontext);
}

static void
write_batch(HistoryBatch *batch)
{
	PlArgs		args = {0};

	if (batch->n == 0)
		return;
	pl_arg_array(&args, batch->history_ids, NULL, batch->n, INT8OID);
	pl_arg_array(&args, batch->payment_ids, NULL, batch->n, INT8OID);
	pl_arg_array(&args, batch->machines, NULL, batch->n, TEXTOID);
	pl_arg_array(&args, batch->object_ids, NULL, batch->n, INT8OID);
	pl_arg_array(&args, batch->from, batch->from_nulls, batch->n, TEXTOID);
	pl_arg_array(&args, batch->to, NULL, batch->n, TEXTOID);
	pl_arg_array(&args, batch->causes, NULL, batch->n, TEXTOID);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pl_execute(&insert_history, &args);
}

/*
 * Collect the history of a command from here on.  cause says what it is; the
 * batch lives in the current memory context, which must outlive the bracket.
 */
void
pl_history_begin(const char *cause)
{
	static bool registered = false;
	HistoryBatch *batch;

	if (!registered)
	{
		RegisterXactCallback(drop_aborted_batches, NULL);
		RegisterSubXactCallback(drop_aborted_batches_sub, NULL);
		registered = true;
	}
	batch = new_batch(cause);
	batch->outer = current;
	current = batch;
}

/*
 * What follows within the bracket has another cause.  The string must outlive
 * the bracket.
 */
void
pl_history_cause(const char *cause)
{
	if (current == NULL)
		elog(ERROR, "no history is collected");
	current->cause = cause;
}

/*
 * Write what was collected since pl_history_begin().  Needs an open SPI
 * connection.
 */
void
pl_history_end(void)
{
	HistoryBatch *batch = current;

	if (batch == NULL)
		elog(ERROR, "no history is collected");
	current = batch->outer;
	write_batch(batch);
}

/*
 * A row entered a state.  Called by the trigger.
 */
void
pl_history_record(int64 payment_id, const char *machine, int64 object_id,
				  const char *from, const char *to)
{
	HistoryBatch *alone;

	if (current != NULL)
	{
		add_row(current, payment_id, machine, object_id, from, to);
		return;
	}
	alone = new_batch("sql");
	add_row(alone, payment_id, machine, object_id, from, to);
	pl_connect();
	write_batch(alone);
	pl_finish();
}
