/*
 * src/psp/answers.c
 *		What became of a request, told by other means than the reply to it: a
 *		question that follows it, or a webhook.
 *
 * It may come before the reply, after it, or twice.  What is decided stays
 * decided, but for what succeeded and is reported reversed later.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "psp/psp_internal.h"
#include "utils/builtins.h"

static PlQuery lock_request = {
	"SELECT gateway, operation::text, target, amount, currency, payment_method, parameters::text,"
	"  idempotency_key, attempt, first_sent_at, psp_reference, status::text, follows,"
	"  (SELECT f.operation::text FROM payledger.psp_requests f"
	"    WHERE f.payment_id = q.payment_id AND f.psp_request_id = q.follows)"
	" FROM payledger.psp_requests q WHERE payment_id = $1 AND psp_request_id = $2 FOR NO KEY UPDATE OF q",
	2, {INT8OID, INT8OID}
};

static PlQuery store_answer = {
	"UPDATE payledger.psp_requests SET status = $3::payledger.psp_request_status,"
	"  psp_reference = coalesce($4, psp_reference), reply_code = $5, reply_message = $6, updated_at = $7"
	" WHERE payment_id = $1 AND psp_request_id = $2",
	7, {INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery lock_intent = {
	"SELECT status::text FROM payledger.payment_intents WHERE payment_intent_id = $1 AND gateway = $2"
	" FOR NO KEY UPDATE", 2, {INT8OID, TEXTOID}
};

static PlQuery action_is_done = {
	"UPDATE payledger.payment_intents SET status = 'PENDING_AUTH', updated_at = $2"
	" WHERE payment_intent_id = $1", 2, {INT8OID, TIMESTAMPTZOID}
};

/*
 * A request, its row locked, and its status; NULL if there is none.  palloc'd.
 */
PlRequest *
pl_read_request(int64 payment_id, int64 psp_request_id, char **status)
{
	PlRequest  *request;
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_int64(&args, payment_id);
	pl_arg_int64(&args, psp_request_id);
	if (pl_execute(&lock_request, &args) == 0)
		return NULL;

	request = palloc0(sizeof(PlRequest));
	request->psp_request_id = psp_request_id;
	request->payment_id = payment_id;
	request->gateway = pl_get_text(0, 1);
	request->operation = pl_operation_by_name(pl_get_text(0, 2));
	request->target = pl_get_int64(0, 3);
	request->amount = pl_isnull(0, 4) ? 0 : pl_get_int64(0, 4);
	request->currency = pl_get_text(0, 5);
	request->payment_method = pl_get_text(0, 6);
	request->parameters = pl_get_text(0, 7);
	request->idempotency_key = pl_get_text(0, 8);
	request->attempt = pl_get_int32(0, 9);
	request->first_sent_at = pl_isnull(0, 10) ? 0 : DatumGetTimestampTz(pl_get_datum(0, 10, &isnull));
	request->psp_reference = pl_get_text(0, 11);
	*status = pl_get_text(0, 12);
	request->follows = pl_isnull(0, 13) ? 0 : pl_get_int64(0, 13);
	request->followed = pl_isnull(0, 14) ? request->operation : pl_operation_by_name(pl_get_text(0, 14));
	return request;
}

static void
store(PlWork *work, const PlRequest *request, const char *status, const PlOutcome *outcome)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, request->payment_id);
	pl_arg_int64(&args, request->psp_request_id);
	pl_arg_text(&args, status);
	pl_arg_text(&args, outcome->psp_reference);
	pl_arg_text(&args, outcome->code);
	pl_arg_text(&args, outcome->message);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&store_answer, &args);
}

/* What succeeded was taken back.  A question that found it out may be asked again. */
static void
reverse(PlWork *work, const PlRequest *request, const PlRequest *question, const PlOutcome *outcome)
{
	PlRequest	unasked = *request;
	PlOutcome	reversed = *outcome;

	unasked.operation = PL_OP_RETRIEVE;
	unasked.follows = request->psp_request_id;
	reversed.class = PL_OUTCOME_REVERSED;
	pl_apply_outcome(work, question ? question : &unasked, &reversed);
}

static bool
is_about_intent(const PlRequest *request)
{
	return request->operation == PL_OP_AUTHORIZE || request->operation == PL_OP_CONFIRM;
}

/*
 * An authorization that waits for the shopper, of which the PSP knows more by
 * now: the shopper acted.  Returns false if the intent waits for nothing.
 */
static bool
shopper_acted(PlWork *work, const PlRequest *request)
{
	PlArgs		args = {0};
	PlArgs		change = {0};

	pl_arg_int64(&args, request->payment_id);
	pl_arg_text(&args, request->gateway);
	if (pl_execute(&lock_intent, &args) == 0 || strcmp(pl_get_text(0, 1), "REQUIRES_ACTION") != 0)
		return false;
	pl_arg_int64(&change, request->payment_id);
	pl_arg_timestamp(&change, work->now);
	pl_execute(&action_is_done, &change);
	return true;
}

/*
 * May an authorization be told otherwise than its request ended?  An attempt
 * that failed before the one that succeeded; and one that succeeded while the
 * intent was cancelled, which the PSP was told too.  But money that is held for
 * an intent that was declined, or went to another gateway, is for a human to
 * look at.
 */
static bool
is_old_news(const PlRequest *request, const PlOutcome *outcome)
{
	PlArgs		args = {0};

	if (outcome->class == PL_OUTCOME_REFUSED)
		return true;
	pl_arg_int64(&args, request->payment_id);
	pl_arg_text(&args, request->gateway);
	return pl_execute(&lock_intent, &args) > 0 && strcmp(pl_get_text(0, 1), "CANCELLED") == 0;
}

/*
 * Raise PL005 if what the PSP did is not what it was asked for.  A capture may
 * be of less; where it is of more, pl_apply_outcome() refuses it.
 */
static void
check_amount(const PlRequest *request, const PlOutcome *outcome)
{
	bool		same = outcome->amount == request->amount || request->operation == PL_OP_CAPTURE;

	if (outcome->class != PL_OUTCOME_SUCCEEDED || outcome->amount == 0 ||
		(same && (outcome->currency == NULL || strcmp(outcome->currency, request->currency) == 0)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
			 errmsg("psp_request " INT64_FORMAT " asked for " INT64_FORMAT " %s and " INT64_FORMAT " %s is reported done",
					request->psp_request_id, request->amount, request->currency, outcome->amount,
					outcome->currency ? outcome->currency : request->currency),
			 is_about_intent(request) ? errhint("Cancel it at the PSP; partial authorizations are not supported.")
			 : errhint("Look at it at the PSP, and correct it there.")));
}

/* The request was sent, and nobody knows yet what came of it. */
static PlAnswered
answer_open(PlWork *work, const PlRequest *request, const char *status, const PlOutcome *outcome)
{
	switch (outcome->class)
	{
		case PL_OUTCOME_SUCCEEDED:
		case PL_OUTCOME_ACTION_REQUIRED:
			pl_apply_outcome(work, request, outcome);
			store(work, request, "SUCCEEDED", outcome);
			return PL_ANSWERED;
		case PL_OUTCOME_REFUSED:
			pl_apply_outcome(work, request, outcome);
			store(work, request, "REFUSED", outcome);
			return PL_ANSWERED;
		case PL_OUTCOME_PENDING:
			if (strcmp(status, "PENDING") == 0)
				return PL_ANSWER_NO_NEWS;
			pl_apply_outcome(work, request, outcome);
			store(work, request, "PENDING", outcome);
			return PL_ANSWERED;
		default:
			return PL_ANSWER_NO_NEWS;
	}
}

/* The request is over. */
static PlAnswered
answer_decided(PlWork *work, const PlRequest *request, const char *status, const PlRequest *question,
			   const PlOutcome *outcome)
{
	bool		succeeded = strcmp(status, "SUCCEEDED") == 0;
	bool		pays = request->operation == PL_OP_REFUND || request->operation == PL_OP_PAYOUT;

	switch (outcome->class)
	{
		case PL_OUTCOME_SUCCEEDED:
		case PL_OUTCOME_REFUSED:
			if (is_about_intent(request) && shopper_acted(work, request))
			{
				pl_apply_outcome(work, request, outcome);
				/* as if nobody had heard of the action */
				if (outcome->class == PL_OUTCOME_REFUSED)
					store(work, request, "REFUSED", outcome);
				return PL_ANSWERED;
			}
			if (succeeded == (outcome->class == PL_OUTCOME_SUCCEEDED) ||
				(is_about_intent(request) && is_old_news(request, outcome)))
				return PL_ANSWER_NO_NEWS;
			/* money that was sent and came back */
			if (succeeded && pays)
			{
				reverse(work, request, question, outcome);
				return PL_ANSWERED;
			}
			break;
		case PL_OUTCOME_REVERSED:
			if (!succeeded)
				break;
			reverse(work, request, question, outcome);
			return PL_ANSWERED;
		default:
			return PL_ANSWER_NO_NEWS;
	}
	ereport(ERROR,
			(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
			 errmsg("psp_request " INT64_FORMAT " is %s and now reported %s", request->psp_request_id, status,
					pl_outcome_name(outcome->class)),
			 errdetail("machine psp_request, from %s, to %s", status, pl_outcome_name(outcome->class)),
			 errhint("Find out at the PSP which of the two is true.")));
}

/*
 * Apply the outcome REVERSED of a request that is not known to have succeeded:
 * both, one after the other, so that any order of news ends in the same books.
 * The caller changes the request's own row.
 */
void
pl_apply_reversed(PlWork *work, const PlRequest *request, const PlRequest *question, const PlOutcome *outcome)
{
	PlOutcome	before = *outcome;

	before.class = PL_OUTCOME_SUCCEEDED;
	pl_apply_outcome(work, request, &before);
	/* the reversal looks for the entries of the success */
	pl_work_flush(work);
	reverse(work, request, question, outcome);
}

/*
 * Apply what became of a request; question is the request that asked, NULL if
 * the PSP told unasked.
 *
 * Locks the request; the caller has locked the intent or payment before.
 * Raises PL001 for what contradicts the known outcome, PL005 for an
 * authorization of another amount.
 */
PlAnswered
pl_answer_request(PlWork *work, int64 payment_id, int64 psp_request_id, const PlRequest *question,
				  const PlOutcome *outcome)
{
	char	   *status;
	PlRequest  *request = pl_read_request(payment_id, psp_request_id, &status);

	if (request == NULL)
		return PL_ANSWER_NO_REQUEST;
	if (strcmp(status, "READY") == 0 || strcmp(status, "IN_FLIGHT") == 0)
		return PL_ANSWER_TOO_EARLY;
	check_amount(request, outcome);
	if (strcmp(status, "SUCCEEDED") == 0 || strcmp(status, "REFUSED") == 0)
		return answer_decided(work, request, status, question, outcome);
	if (outcome->class == PL_OUTCOME_REVERSED)
	{
		pl_apply_reversed(work, request, question, outcome);
		store(work, request, "SUCCEEDED", outcome);
		return PL_ANSWERED;
	}
	return answer_open(work, request, status, outcome);
}
