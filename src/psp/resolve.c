/*
 * src/psp/resolve.c
 *		An operator's word on a request whose outcome nobody knows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "gateway/gateway.h"
#include "psp/psp_internal.h"
#include "utils/builtins.h"

#define MAX_NOTE 500

static PlQuery select_request = {
	"SELECT psp_request_id, payment_id, gateway, operation::text, target, amount, currency,"
	"  payment_method, parameters::text, idempotency_key, attempt, first_sent_at, psp_reference,"
	"  status::text, follows, (SELECT f.operation::text FROM payledger.psp_requests f"
	"   WHERE f.payment_id = q.payment_id AND f.psp_request_id = q.follows)"
	" FROM payledger.psp_requests q"
	" WHERE psp_request_id = $1 AND status IN ('UNKNOWN', 'PENDING', 'PARKED')", 1, {INT8OID}
};

/* One that succeeded may be reported failed later; no index leads to it. */
static PlQuery select_succeeded = {
	"SELECT psp_request_id, payment_id, gateway, operation::text, target, amount, currency,"
	"  payment_method, parameters::text, idempotency_key, attempt, first_sent_at, psp_reference,"
	"  status::text, NULL::bigint, NULL::text"
	" FROM payledger.psp_requests"
	" WHERE psp_request_id = $1 AND status = 'SUCCEEDED' AND operation IN ('CAPTURE', 'REFUND', 'PAYOUT')", 1, {INT8OID}
};

/* Only to say why there is none: no index leads here. */
static PlQuery select_status = {
	"SELECT status::text FROM payledger.psp_requests WHERE psp_request_id = $1", 1, {INT8OID}
};

static PlQuery select_adapter = {
	"SELECT adapter FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

static PlQuery resolve_row = {
	"UPDATE payledger.psp_requests SET status = $3::payledger.psp_request_status,"
	"  psp_reference = coalesce($4, psp_reference), reply_code = 'resolved', reply_message = $5,"
	"  updated_at = $6"
	" WHERE payment_id = $1 AND psp_request_id = $2 AND status IN ('UNKNOWN', 'PENDING', 'PARKED')"
	" RETURNING psp_request_id, status::text",
	6, {INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery lock_intent = {
	"SELECT FROM payledger.payment_intents WHERE payment_intent_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery lock_payment = {
	"SELECT FROM payledger.payments WHERE payment_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery lock_payout = {
	"SELECT FROM payledger.payouts WHERE payout_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery lock_status = {
	"SELECT status::text FROM payledger.psp_requests WHERE payment_id = $1 AND psp_request_id = $2 FOR NO KEY UPDATE",
	2, {INT8OID, INT8OID}
};

static PlQuery select_row = {
	"SELECT psp_request_id, status::text FROM payledger.psp_requests WHERE payment_id = $1 AND psp_request_id = $2",
	2, {INT8OID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_resolve_request);

static PlOutcomeClass
outcome_by_name(int64 id, const char *name)
{
	if (strcmp(name, "SUCCEEDED") == 0)
		return PL_OUTCOME_SUCCEEDED;
	if (strcmp(name, "REVERSED") == 0)
		return PL_OUTCOME_REVERSED;
	if (strcmp(name, "REFUSED") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("outcome of psp_request " INT64_FORMAT " must be SUCCEEDED, REFUSED or REVERSED", id)));
	return PL_OUTCOME_REFUSED;
}

/*
 * The request of that id that waits for an operator, or, if it is reported
 * failed later, that succeeded; PL007 or PL001 if there is none.
 */
static PlRequest *
find_request(int64 id, const char *outcome, bool is_reversed)
{
	PlRequest  *request = palloc0(sizeof(PlRequest));
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_int64(&args, id);
	if (pl_execute(&select_request, &args) == 0 && (!is_reversed || pl_execute(&select_succeeded, &args) == 0))
	{
		if (pl_execute(&select_status, &args) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_PL_NOT_FOUND),
					 errmsg("psp_request " INT64_FORMAT " does not exist", id)));
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("psp_request " INT64_FORMAT " must not go from %s to %s by an operator",
						id, pl_get_text(0, 1), outcome),
				 errdetail("machine psp_request, from %s, to %s", pl_get_text(0, 1), outcome),
				 errhint("Only a request that is UNKNOWN, PENDING or PARKED waits for an operator; a capture, refund or payout that SUCCEEDED may be REVERSED.")));
	}
	request->psp_request_id = id;
	request->payment_id = pl_get_int64(0, 2);
	request->gateway = pl_get_text(0, 3);
	request->operation = pl_operation_by_name(pl_get_text(0, 4));
	request->target = pl_get_int64(0, 5);
	request->follows = pl_isnull(0, 15) ? 0 : pl_get_int64(0, 15);
	request->followed = pl_isnull(0, 16) ? request->operation : pl_operation_by_name(pl_get_text(0, 16));
	request->amount = pl_isnull(0, 6) ? 0 : pl_get_int64(0, 6);
	request->currency = pl_get_text(0, 7);
	request->payment_method = pl_get_text(0, 8);
	request->parameters = pl_get_text(0, 9);
	request->idempotency_key = pl_get_text(0, 10);
	request->attempt = pl_get_int32(0, 11);
	request->first_sent_at = pl_isnull(0, 12) ? 0 : DatumGetTimestampTz(pl_get_datum(0, 12, &isnull));
	request->psp_reference = pl_get_text(0, 13);
	if (strcmp(pl_get_text(0, 14), "SUCCEEDED") == 0)
	{
		request->follows = id;
		request->operation = PL_OP_RETRIEVE;
	}
	return request;
}

/*
 * Store what an operator decided about a request; one that succeeded stays as
 * it is.  Its id and status are the last result.
 */
static void
store_decision(const PlRequest *request, const PlOutcome *outcome, TimestampTz now)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, request->payment_id);
	pl_arg_int64(&args, request->psp_request_id);
	if (request->follows == request->psp_request_id)
	{
		pl_execute(&select_row, &args);
		return;
	}
	pl_arg_text(&args, outcome->class == PL_OUTCOME_REFUSED ? "REFUSED" : "SUCCEEDED");
	pl_arg_text(&args, outcome->psp_reference);
	pl_arg_text(&args, outcome->message);
	pl_arg_timestamp(&args, now);
	if (pl_execute(&resolve_row, &args) == 0)
		elog(ERROR, "psp_request " INT64_FORMAT " is locked and has changed", request->psp_request_id);
}

/* Only what was done can be taken back, and that is asked about. */
static void
check_reversal(const PlRequest *request, PlOutcomeClass class)
{
	if (class == PL_OUTCOME_REVERSED && request->follows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("psp_request " INT64_FORMAT " must not be REVERSED before it SUCCEEDED", request->psp_request_id)));
}

/* Captures name the PSP's payment, so an authorization must bring its id. */
static void
require_reference(const PlRequest *request, const char *reference)
{
	const PlAdapter *adapter;
	PlArgs		args = {0};

	if (reference != NULL || (request->operation != PL_OP_AUTHORIZE && request->operation != PL_OP_CONFIRM))
		return;
	pl_arg_text(&args, request->gateway);
	adapter = pl_execute(&select_adapter, &args) > 0 ? pl_find_adapter(pl_get_text(0, 1)) : NULL;
	if (adapter == NULL || adapter->needs_reference)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp_request " INT64_FORMAT " cannot succeed without the id of the payment at the PSP",
						request->psp_request_id),
				 errhint("Pass it as psp_reference.")));
}

/* As the gateway worker does: what a request is about is locked before the request. */
static void
lock_subject(const PlRequest *request)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, request->payment_id);
	switch (request->followed)
	{
		case PL_OP_AUTHORIZE:
		case PL_OP_CONFIRM:
			pl_execute_latest(&lock_intent, &args);
			break;
		case PL_OP_PAYOUT:
			pl_execute_latest(&lock_payout, &args);
			break;
		default:
			pl_execute_latest(&lock_payment, &args);
	}
}

/*
 * Lock the request, so that nobody else decides it.  Raises PL001 if somebody
 * has since it was found, or has it sent again.
 */
static void
lock_undecided(const PlRequest *request, const char *outcome)
{
	PlArgs		args = {0};
	const char *status;

	lock_subject(request);
	pl_arg_int64(&args, request->payment_id);
	pl_arg_int64(&args, request->psp_request_id);
	if (pl_execute_latest(&lock_status, &args) == 0)
		elog(ERROR, "psp_request " INT64_FORMAT " is gone", request->psp_request_id);
	status = pl_get_text(0, 1);
	if (request->follows == request->psp_request_id ? strcmp(status, "SUCCEEDED") == 0 :
		strcmp(status, "UNKNOWN") == 0 || strcmp(status, "PENDING") == 0 || strcmp(status, "PARKED") == 0)
		return;
	if (strcmp(status, "READY") == 0 || strcmp(status, "IN_FLIGHT") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("psp_request " INT64_FORMAT " is being sent again", request->psp_request_id),
				 errdetail("machine psp_request, from %s, to %s", status, outcome),
				 errhint("Wait for the PSP's answer.")));
	ereport(ERROR,
			(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
			 errmsg("psp_request " INT64_FORMAT " was decided by somebody else meanwhile", request->psp_request_id),
			 errdetail("machine psp_request, from %s, to %s", status, outcome)));
}

/*
 * An operator's word on a question is one on the request that it asks about,
 * which is decided with it: nobody would ask again.
 */
static void
answer_question(PlWork *work, const PlRequest *question, const PlOutcome *outcome)
{
	if (pl_answer_request(work, question->payment_id, question->follows, question, outcome) == PL_ANSWER_TOO_EARLY)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("psp_request " INT64_FORMAT " asks about psp_request " INT64_FORMAT ", which is being sent again",
						question->psp_request_id, question->follows),
				 errhint("Wait for the PSP's answer to that one.")));
}

/*
 * resolve_request(psp_request_id, outcome, note, psp_reference)
 *		RETURNS TABLE (psp_request_id, status)
 */
Datum
pl_sql_resolve_request(PG_FUNCTION_ARGS)
{
	int64		id = pl_int64_arg(fcinfo, 0, "psp_request_id");
	char	   *name = pl_text_arg(fcinfo, 1, "outcome");
	char	   *note = pl_text_arg(fcinfo, 2, "note");
	char	   *reference = pl_optional_text_arg(fcinfo, 3);
	PlRequest  *request;
	PlOutcome	outcome = {0};
	PlWork	   *work;

	pl_connect();
	pl_require_layout();
	outcome.class = outcome_by_name(id, name);
	pl_check_text("note", note, MAX_NOTE);
	if (reference != NULL)
		pl_check_text("psp_reference", reference, 255);
	request = find_request(id, name, outcome.class == PL_OUTCOME_REVERSED);
	check_reversal(request, outcome.class);
	if (reference == NULL)
		reference = unconstify(char *, request->psp_reference);
	if (outcome.class == PL_OUTCOME_SUCCEEDED)
		require_reference(request, reference);
	outcome.psp_reference = reference;
	outcome.code = "resolved";
	outcome.message = note;
	outcome.retry_after_ms = outcome.recheck_ms = -1;

	lock_undecided(request, name);
	work = pl_work_begin("resolve_request");
	if (request->operation == PL_OP_RETRIEVE && request->follows != id)
		answer_question(work, request, &outcome);
	else
		pl_apply_outcome(work, request, &outcome);
	pl_history_cause(psprintf("resolve_request: %s", note));
	store_decision(request, &outcome, work->now);
	pl_return_rows(fcinfo);
	pl_work_end(work);
	pl_finish();
	return (Datum) 0;
}
