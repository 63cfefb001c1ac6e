/*
 * src/psp/finish.c
 *		From outcomes to rows: what they mean for the payments and when a
 *		request is tried again, for a batch of calls in one transaction.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "common/pg_prng.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "payment/payment.h"
#include "psp/psp_internal.h"
#include "utils/builtins.h"

/* Intents and payments that no session holds, now held by this transaction. */
static PlQuery lock_intents = {
	"SELECT payment_intent_id FROM payledger.payment_intents"
	" WHERE payment_intent_id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED", 1, {INT8ARRAYOID}
};

static PlQuery lock_payments = {
	"SELECT payment_id FROM payledger.payments"
	" WHERE payment_id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED", 1, {INT8ARRAYOID}
};

static PlQuery lock_payouts = {
	"SELECT payout_id FROM payledger.payouts"
	" WHERE payout_id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED", 1, {INT8ARRAYOID}
};

static PlQuery find_intents = {
	"SELECT payment_intent_id FROM payledger.payment_intents WHERE payment_intent_id = ANY($1)",
	1, {INT8ARRAYOID}
};

static PlQuery find_payments = {
	"SELECT payment_id FROM payledger.payments WHERE payment_id = ANY($1)", 1, {INT8ARRAYOID}
};

static PlQuery find_payouts = {
	"SELECT payout_id FROM payledger.payouts WHERE payout_id = ANY($1)", 1, {INT8ARRAYOID}
};

/* the cast keeps the planner from the partial index on status, where the dead rows of this very queue are */
static PlQuery store_outcomes = {
	"UPDATE payledger.psp_requests r SET status = u.status::payledger.psp_request_status,"
	"  next_attempt_at = coalesce(u.next_attempt_at, r.next_attempt_at),"
	"  psp_reference = coalesce(u.psp_reference, r.psp_reference), reply_status = u.reply_status,"
	"  reply_code = u.reply_code, reply_message = u.reply_message,"
	"  lease_token = NULL, lease_expires_at = NULL, updated_at = $11"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
	"  pg_catalog.unnest($9)) AS u(payment_id, psp_request_id, attempt, status,"
	"  next_attempt_at, psp_reference, reply_status, reply_code, reply_message)"
	" WHERE r.payment_id = u.payment_id AND r.psp_request_id = u.psp_request_id"
	"  AND r.status::text = 'IN_FLIGHT' AND r.lease_token = $10 AND r.attempt = u.attempt"
	" RETURNING r.psp_request_id",
	11, {INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID,
		INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery park_leased = {
	"UPDATE payledger.psp_requests SET status = 'PARKED', lease_token = NULL, lease_expires_at = NULL,"
	"  psp_reference = coalesce($5, psp_reference), reply_status = $6, reply_code = $7,"
	"  reply_message = $8, updated_at = $9"
	" WHERE payment_id = $1 AND psp_request_id = $2 AND status = 'IN_FLIGHT' AND lease_token = $3"
	"  AND attempt = $4",
	9, {INT8OID, INT8OID, INT8OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

/* What becomes of a request row, and what the room of its object is told. */
typedef struct Decision
{
	PlCall	   *call;
	PlOutcome	told;
	const char *status;
	TimestampTz next_attempt_at;	/* 0: none */
	const char *fails_over;		/* to another gateway, why; NULL: it does not */
} Decision;

/* ---- deciding ---- */

/*
 * Equal jitter: half of base * 2^(attempt-1), bounded by most, plus a random
 * part of the other half.  At least what the PSP asked for.
 */
static TimestampTz
next_attempt(const PlCall *call, TimestampTz now, double most)
{
	double		whole = Min(most, call->gateway->retry_base_ms * pow(2, Min(call->request.attempt, 64) - 1));
	double		pause = whole / 2 + pg_prng_double(&pg_global_prng_state) * whole / 2;

	pause = Max(pause, (double) call->outcome.retry_after_ms);
	return TimestampTzPlusMilliseconds(now, (int64) pause);
}

/*
 * From then on the PSP might execute the request a second time: what became of
 * it can only be asked for.
 */
TimestampTz
pl_key_forgotten_at(const PlCall *call)
{
	return TimestampTzPlusMilliseconds(call->request.first_sent_at,
									   (int64) call->gateway->key_window * 1000);
}

/* From then on an operator has to find out, or a webhook tells. */
static TimestampTz
given_up_at(const PlCall *call)
{
	TimestampTz asked_until;

	if (call->gateway->adapter->query == NULL && call->request.operation != PL_OP_RETRIEVE)
		return pl_key_forgotten_at(call);
	asked_until = TimestampTzPlusMilliseconds(call->request.first_sent_at,
											  (int64) call->gateway->unknown_days * 24 * 3600 * 1000);
	return Max(asked_until, pl_key_forgotten_at(call));
}

static void
decide_unknown(Decision *decision, TimestampTz now)
{
	const PlCall *call = decision->call;

	decision->told.class = PL_OUTCOME_UNKNOWN;
	decision->status = "UNKNOWN";
	decision->next_attempt_at = next_attempt(call, now, Max(call->gateway->unknown_max_ms, call->gateway->retry_max_ms));
	/* not by a clock that was stepped */
	if (decision->next_attempt_at - now + pl_due_now() >= given_up_at(call))
	{
		decision->status = "PARKED";
		decision->next_attempt_at = 0;
	}
}

/*
 * Was the request itself not looked at: nothing could be sent, or the PSP
 * refused our credentials?
 */
static bool
was_not_looked_at(const PlCall *call)
{
	return call->unreached || call->outcome.http_status == 401 || call->outcome.http_status == 403;
}

static void
decide_failover(Decision *decision, const char *reason)
{
	decision->fails_over = reason;
	decision->status = "REFUSED";
	decision->told.message = reason;
	decision->told.code = "failed_over";
}

/* Nothing of it was executed, ever. */
static void
decide_retry(Decision *decision, TimestampTz now)
{
	const PlCall *call = decision->call;
	bool		exhausted;

	/* says nothing about the earlier attempt whose end is unknown */
	if (call->in_doubt)
	{
		decide_unknown(decision, now);
		return;
	}

	/*
	 * A PSP that cannot be asked has not answered: what waits for it goes on
	 * waiting.  Nor does a question that is not answered decide anything, and a
	 * CONFIRM is one about what the shopper did.
	 */
	exhausted = call->request.attempt >= call->gateway->max_attempts && !was_not_looked_at(call) &&
		call->request.operation != PL_OP_RETRIEVE && call->request.operation != PL_OP_CONFIRM;
	if (call->request.alternatives != NULL &&
		(exhausted || pl_may_fail_over(call->gateway, &call->request, now)))
	{
		decide_failover(decision, call->outcome.code ? call->outcome.code : "it was not executed");
		return;
	}
	if (exhausted)
	{
		decision->told.class = PL_OUTCOME_REFUSED;
		decision->told.code = "attempts_exhausted";
		decision->status = "REFUSED";
		return;
	}
	decision->status = "READY";
	decision->next_attempt_at = next_attempt(call, now, call->gateway->retry_max_ms);
}

/* Does the outcome change the intent? */
static bool
is_about_intent(const PlRequest *request)
{
	return request->followed == PL_OP_AUTHORIZE || request->followed == PL_OP_CONFIRM;
}

/*
 * A reply about a payment whose reference another payment has is about that
 * one, or mixed up: it decides nothing.
 */
static void
doubt_reference(PlCall *call)
{
	const PlRequest *request = &call->request;
	PlOutcome  *outcome = &call->outcome;

	if (outcome->psp_reference == NULL || !is_about_intent(request) ||
		outcome->class == PL_OUTCOME_RETRY || outcome->class == PL_OUTCOME_UNKNOWN ||
		pl_payment_of_reference(request, outcome->psp_reference) == 0)
		return;
	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->code = "another_object";
	outcome->message = "the reply has the reference of another payment";
	outcome->psp_reference = NULL;
	outcome->next_action = NULL;
	outcome->recheck_ms = -1;
}

static void
decide(Decision *decision, PlCall *call, TimestampTz now)
{
	doubt_reference(call);
	decision->call = call;
	decision->fails_over = NULL;
	decision->told = call->outcome;
	decision->next_attempt_at = 0;
	if (decision->told.psp_reference == NULL)
		decision->told.psp_reference = call->request.psp_reference;

	switch (call->outcome.class)
	{
		case PL_OUTCOME_SUCCEEDED:
		case PL_OUTCOME_ACTION_REQUIRED:
		case PL_OUTCOME_REVERSED:
			decision->status = "SUCCEEDED";
			break;
		case PL_OUTCOME_PENDING:
			/* a question that was answered is over */
			decision->status = call->request.follows != 0 ? "SUCCEEDED" : "PENDING";
			break;
		case PL_OUTCOME_REFUSED:
			decision->status = "REFUSED";
			break;
		case PL_OUTCOME_RETRY:
			decide_retry(decision, now);
			break;
		case PL_OUTCOME_UNKNOWN:
			decide_unknown(decision, now);
			break;
	}
}

/* ---- locks ---- */

static List *
query_ids(PlQuery *query, List *calls)
{
	int			n = list_length(calls);
	Datum	   *ids = palloc(sizeof(Datum) * n);
	PlArgs		args = {0};
	List	   *found = NIL;
	ListCell   *cell;
	uint64		rows;

	foreach(cell, calls)
		ids[foreach_current_index(cell)] = Int64GetDatum(((PlCall *) lfirst(cell))->request.payment_id);
	pl_arg_array(&args, ids, NULL, n, INT8OID);
	rows = pl_execute(query, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		int64	   *id = palloc(sizeof(int64));

		*id = pl_get_int64(row, 1);
		found = lappend(found, id);
	}
	return found;
}

static bool
contains(List *ids, int64 id)
{
	ListCell   *cell;

	foreach(cell, ids)
		if (*(int64 *) lfirst(cell) == id)
			return true;
	return false;
}

/*
 * Lock what the calls are about; those that a session holds go to *held.  A
 * row that is not there at all is left to the payment room to complain about.
 */
static List *
lock_rows(List *calls, PlQuery *lock, PlQuery *find, List **held)
{
	List	   *locked;
	List	   *missing = NIL;
	List	   *result = NIL;
	List	   *present;
	ListCell   *cell;

	if (calls == NIL)
		return NIL;
	locked = query_ids(lock, calls);
	foreach(cell, calls)
	{
		PlCall	   *call = lfirst(cell);

		if (contains(locked, call->request.payment_id))
			result = lappend(result, call);
		else
			missing = lappend(missing, call);
	}
	if (missing == NIL)
		return result;

	present = query_ids(find, missing);
	foreach(cell, missing)
	{
		PlCall	   *call = lfirst(cell);

		if (contains(present, call->request.payment_id))
			*held = lappend(*held, call);
		else
			result = lappend(result, call);
	}
	return result;
}

/* ---- storing ---- */

static int
by_payment(const ListCell *a, const ListCell *b)
{
	const PlRequest *left = &((const PlCall *) lfirst(a))->request;
	const PlRequest *right = &((const PlCall *) lfirst(b))->request;

	if (left->payment_id != right->payment_id)
		return left->payment_id < right->payment_id ? -1 : 1;
	if (left->psp_request_id != right->psp_request_id)
		return left->psp_request_id < right->psp_request_id ? -1 : 1;
	return 0;
}

/* Mark the calls whose rows were not ours any more, and give up. */
pg_noreturn static void
lease_lost(const Decision *decisions, int n)
{
	int64		first = 0;

	for (int i = 0; i < n; i++)
	{
		PlCall	   *call = decisions[i].call;

		call->lost = true;
		for (uint64 row = 0; call->lost && row < SPI_processed; row++)
			call->lost = pl_get_int64(row, 1) != call->request.psp_request_id;
		if (call->lost && first == 0)
			first = call->request.psp_request_id;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("psp_request " INT64_FORMAT " is no longer leased to this gateway worker", first),
			 errdetail("It took longer than its lease; its outcome will be asked for again.")));
}

/* Put those that fail over behind the others, for a cause of their own.  Returns how many the others are. */
static int
failovers_last(Decision *decisions, int n)
{
	Decision   *failing = palloc(sizeof(Decision) * n);
	int			nfailing = 0;

	for (int i = 0; i < n; i++)
	{
		if (decisions[i].fails_over != NULL)
			failing[nfailing++] = decisions[i];
		else
			decisions[i - nfailing] = decisions[i];
	}
	memcpy(decisions + n - nfailing, failing, sizeof(Decision) * nfailing);
	return n - nfailing;
}

static void
store(const Decision *decisions, int n, TimestampTz now)
{
	Datum	   *columns[9];
	bool	   *nulls[9];
	static const Oid types[9] = {INT8OID, INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID,
	INT4OID, TEXTOID, TEXTOID};
	PlArgs		args = {0};

	if (n == 0)
		return;
	for (int c = 0; c < 9; c++)
	{
		columns[c] = palloc0(sizeof(Datum) * n);
		nulls[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		const PlRequest *request = &decisions[i].call->request;
		const PlOutcome *told = &decisions[i].told;

		columns[0][i] = Int64GetDatum(request->payment_id);
		columns[1][i] = Int64GetDatum(request->psp_request_id);
		columns[2][i] = Int32GetDatum(request->attempt);
		columns[3][i] = CStringGetTextDatum(decisions[i].status);
		columns[4][i] = TimestampTzGetDatum(decisions[i].next_attempt_at);
		nulls[4][i] = decisions[i].next_attempt_at == 0;
		nulls[5][i] = told->psp_reference == NULL;
		if (!nulls[5][i])
			columns[5][i] = CStringGetTextDatum(told->psp_reference);
		columns[6][i] = Int32GetDatum(told->http_status);
		nulls[6][i] = told->http_status == 0;
		nulls[7][i] = told->code == NULL;
		if (!nulls[7][i])
			columns[7][i] = CStringGetTextDatum(told->code);
		nulls[8][i] = told->message == NULL;
		if (!nulls[8][i])
			columns[8][i] = CStringGetTextDatum(told->message);
	}
	for (int c = 0; c < 9; c++)
		pl_arg_array(&args, columns[c], nulls[c], n, types[c]);
	pl_arg_int64(&args, pl_queue_lease_token());
	pl_arg_timestamp(&args, now);
	if (pl_execute(&store_outcomes, &args) != (uint64) n)
		lease_lost(decisions, n);
}

/*
 * Ask again what became of a request, or of the one it asked about.  Questions
 * are counted, for adapters whose PSP changes its mind, and told what the
 * answer before was.
 */
static void
ask_later(PlWork *work, const Decision *decision)
{
	const PlRequest *request = &decision->call->request;
	const char *asked = strstr(request->parameters, "\"questions\": ");
	int			questions = request->follows != 0 && asked != NULL ? atoi(asked + strlen("\"questions\": ")) : 0;
	StringInfoData parameters;

	initStringInfo(&parameters);
	appendStringInfo(&parameters, "{\"questions\": %d", questions + 1);
	if (decision->told.code != NULL)
		pl_json_text(&parameters, "code", decision->told.code);
	appendStringInfoChar(&parameters, '}');
	pl_request_add(work, &(PlNewRequest) {
		.payment_id = request->payment_id,
		.gateway = request->gateway,
		.operation = PL_OP_RETRIEVE,
		.target = request->target,
		.follows = request->follows != 0 ? request->follows : request->psp_request_id,
		.amount = request->amount,
		.currency = request->currency,
		.payment_method = request->payment_method,
		.psp_reference = decision->told.psp_reference,
		.parameters = parameters.data,
		.delay_ms = decision->told.recheck_ms
	});
}

/*
 * Store the outcomes of calls with all that follows from them.  Returns those
 * that were left out because a session holds their payment: to be tried again
 * soon, so that nobody's open transaction stops the others.
 *
 * Needs a transaction and an open SPI connection.  An error leaves nothing;
 * calls that are marked lost then are somebody else's.
 */
List *
pl_queue_finish(List *calls)
{
	List	   *intents = NIL;
	List	   *payments = NIL;
	List	   *payouts = NIL;
	List	   *held = NIL;
	Decision   *decisions;
	PlWork	   *work;
	ListCell   *cell;
	int			n;
	int			nstay;

	foreach(cell, calls)
	{
		PlCall	   *call = lfirst(cell);

		if (is_about_intent(&call->request))
			intents = lappend(intents, call);
		else if (call->request.followed == PL_OP_PAYOUT)
			payouts = lappend(payouts, call);
		else
			payments = lappend(payments, call);
	}
	calls = list_concat(lock_rows(intents, &lock_intents, &find_intents, &held),
						lock_rows(payments, &lock_payments, &find_payments, &held));
	calls = list_concat(calls, lock_rows(payouts, &lock_payouts, &find_payouts, &held));
	n = list_length(calls);
	if (n == 0)
		return held;

	list_sort(calls, by_payment);
	decisions = palloc(sizeof(Decision) * n);
	work = pl_work_begin("gateway worker");
	foreach(cell, calls)
	{
		Decision   *decision = &decisions[foreach_current_index(cell)];
		const PlRequest *request;

		decide(decision, lfirst(cell), work->now);
		request = &decision->call->request;
		if (decision->fails_over != NULL)
			pl_fail_over(work, request, decision->fails_over);
		else if (request->follows != 0)
			pl_answer_request(work, request->payment_id, request->follows, request, &decision->told);
		else if (decision->told.class == PL_OUTCOME_REVERSED)
			pl_apply_reversed(work, request, NULL, &decision->told);
		else
			pl_apply_outcome(work, request, &decision->told);
		if (decision->told.recheck_ms >= 0)
			ask_later(work, decision);
	}
	pl_history_cause("gateway worker");
	nstay = failovers_last(decisions, n);
	store(decisions, nstay, work->now);
	pl_history_cause("failed over to another gateway");
	store(decisions + nstay, n - nstay, work->now);
	pl_history_cause("gateway worker");
	pl_work_end(work);
	return held;
}

/*
 * Set a call's request aside for an operator, with what is known.  Needs a
 * transaction and an open SPI connection.
 */
void
pl_queue_park(PlCall *call, const char *code, const char *message)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, call->request.payment_id);
	pl_arg_int64(&args, call->request.psp_request_id);
	pl_arg_int64(&args, pl_queue_lease_token());
	pl_arg_int32(&args, call->request.attempt);
	pl_arg_text(&args, call->outcome.psp_reference);
	if (call->outcome.http_status != 0)
		pl_arg_int32(&args, call->outcome.http_status);
	else
		pl_arg_null(&args);
	pl_arg_text(&args, code);
	pl_arg_text(&args, pl_redact(message));
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_history_begin("gateway worker");
	pl_execute(&park_leased, &args);
	pl_history_end();
}
