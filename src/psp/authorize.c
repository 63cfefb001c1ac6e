/*
 * src/psp/authorize.c
 *		CALL payledger.authorize(): ask, commit, and wait for the gateway
 *		worker's answer.
 *
 * The waiting session has nothing open: no snapshot, no lock, no row.  If it
 * goes away the authorization goes on without it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "psp/psp.h"
#include "utils/builtins.h"

int			pl_authorize_timeout;	/* milliseconds */

/* looks that no announcement asks for, in case one was missed, ms */
#define LOOK_AGAIN_MS 1000

/* Both run with the caller's rights, which each execution checks anew. */
static PlQuery request_authorization = {
	"SELECT payledger.request_authorization($1, $2, $3)", 3, {INT8OID, TEXTOID, JSONBOID}
};

static PlQuery look_at_status = {
	"SELECT payledger.payment_intent_status($1)", 1, {INT8OID}
};

static PlQuery intent_status = {
	"SELECT status::text FROM payledger.payment_intents WHERE payment_intent_id = $1",
	1, {INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_authorize);
PG_FUNCTION_INFO_V1(pl_sql_payment_intent_status);

/*
 * Raise 25001 unless the procedure was called so that it may commit.
 */
void
pl_require_nonatomic(FunctionCallInfo fcinfo, const char *procedure, const char *hint)
{
	if (fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("%s cannot run inside a transaction block or a function", procedure),
			 errdetail("It has to commit before it waits."),
			 errhint("%s", hint)));
}

/*
 * Wait until the intent is decided or payledger.authorize_timeout passed.
 * Returns its status.
 */
static char *
wait_for_answer(int64 intent_id)
{
	int64		end = pl_monotonic_ms() + pl_authorize_timeout;
	MemoryContext procedure = CurrentMemoryContext;
	char	   *status;

	pl_prepare_to_wait(intent_id);
	for (;;)
	{
		PlArgs		args = {0};
		int64		left;

		pl_arg_int64(&args, intent_id);
		pl_execute(&look_at_status, &args);
		status = MemoryContextStrdup(procedure, pl_get_text(0, 1));
		SPI_freetuptable(SPI_tuptable);
		SPI_commit();
		left = end - pl_monotonic_ms();
		if (strcmp(status, "PENDING_AUTH") != 0 || left <= 0)
			break;
		pl_wait(intent_id, Min(left, LOOK_AGAIN_MS));
	}
	pl_stop_waiting();
	return status;
}

/*
 * authorize(payment_intent_id bigint, payment_method text, INOUT status text,
 *		alternatives jsonb)
 */
Datum
pl_sql_authorize(PG_FUNCTION_ARGS)
{
	int64		intent_id;
	char	   *payment_method;
	char	   *status;
	TupleDesc	tupdesc;
	MemoryContext caller = CurrentMemoryContext;
	PlArgs		args = {0};
	Datum		value;
	bool		isnull = false;

	pl_require_nonatomic(fcinfo, "payledger.authorize",
						 "Call payledger.request_authorization in the transaction and look at the intent's status later.");
	intent_id = pl_int64_arg(fcinfo, 0, "payment_intent_id");
	payment_method = pl_text_arg(fcinfo, 1, "payment_method");
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "procedure authorize must have one output argument");
	tupdesc = BlessTupleDesc(tupdesc);

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pl_require_preload();
	pl_arg_int64(&args, intent_id);
	pl_arg_text(&args, payment_method);
	if (PG_ARGISNULL(3))
		pl_arg_null(&args);
	else
		pl_arg(&args, PG_GETARG_DATUM(3));
	pl_execute(&request_authorization, &args);
	SPI_commit();
	status = MemoryContextStrdup(caller, wait_for_answer(intent_id));
	pl_finish();

	if (strcmp(status, "PENDING_AUTH") == 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("payment_intent " INT64_FORMAT " has no answer after %d ms",
						intent_id, pl_authorize_timeout),
				 errhint(pl_worker_attached(PL_ROLE_GATEWAY)
						 ? "The gateway worker goes on with it; look at its status again."
						 : "No gateway worker runs in this database now: payledger.databases must list it, and payledger.stat_worker says what keeps the worker.")));

	value = CStringGetTextDatum(status);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, &value, &isnull)));
}

/*
 * payment_intent_status(payment_intent_id bigint) RETURNS text
 */
Datum
pl_sql_payment_intent_status(PG_FUNCTION_ARGS)
{
	int64		intent_id = pl_int64_arg(fcinfo, 0, "payment_intent_id");
	MemoryContext caller = CurrentMemoryContext;
	char	   *status;
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_arg_int64(&args, intent_id);
	if (pl_execute(&intent_status, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("payment_intent " INT64_FORMAT " does not exist", intent_id)));
	status = MemoryContextStrdup(caller, pl_get_text(0, 1));
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text(status));
}
