/*
 * src/dispute/decisions.c
 *		What becomes of an open dispute: it is answered, decided, and decided
 *		otherwise in a later round.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "dispute/dispute_internal.h"
#include "payment/payment.h"
#include "utils/builtins.h"

static PlQuery find_payment = {
	"SELECT payment_id FROM payledger.disputes WHERE dispute_id = $1", 1, {INT8OID}
};

static PlQuery read_dispute = {
	"SELECT payment_order_id, psp_reference, reason, amount, fee, fee_returned, borne_by_seller, status::text,"
	"  round, evidence_due_at"
	" FROM payledger.disputes WHERE payment_id = $1 AND dispute_id = $2", 2, {INT8OID, INT8OID}
};

static PlQuery store_evidence = {
	"UPDATE payledger.disputes SET status = 'UNDER_REVIEW', evidence = $3, updated_at = $4"
	" WHERE payment_id = $1 AND dispute_id = $2", 4, {INT8OID, INT8OID, JSONBOID, TIMESTAMPTZOID}
};

static PlQuery store_decision = {
	"UPDATE payledger.disputes SET status = $3::payledger.dispute_status, round = $4, fee_returned = $5,"
	"  borne_by_seller = $6, updated_at = $7"
	" WHERE payment_id = $1 AND dispute_id = $2",
	7, {INT8OID, INT8OID, TEXTOID, INT4OID, BOOLOID, BOOLOID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_submit_evidence);
PG_FUNCTION_INFO_V1(pl_sql_close_dispute);

/* ---- answering ---- */

/*
 * Read a dispute of the locked payment; returns its order, of orders.
 */
PlOrder *
pl_read_dispute(int64 dispute_id, const PlPayment *payment, List *orders, PlDispute *dispute)
{
	PlArgs		key = {0};
	bool		isnull;

	pl_arg_int64(&key, payment->payment_id);
	pl_arg_int64(&key, dispute_id);
	pl_execute(&read_dispute, &key);
	memset(dispute, 0, sizeof(PlDispute));
	dispute->dispute_id = dispute_id;
	dispute->payment_order_id = pl_get_int64(0, 1);
	dispute->psp_reference = pl_get_text(0, 2);
	dispute->reason = pl_get_text(0, 3);
	dispute->amount = pl_get_int64(0, 4);
	dispute->fee = pl_get_int64(0, 5);
	dispute->fee_returned = pl_get_bool(0, 6);
	dispute->borne_by_seller = pl_get_bool(0, 7);
	dispute->status = pl_get_text(0, 8);
	dispute->round = pl_get_int32(0, 9);
	if (!pl_isnull(0, 10))
		dispute->evidence_due_at = DatumGetTimestampTz(pl_get_datum(0, 10, &isnull));
	return pl_find_order(orders, dispute->payment_order_id);
}

/*
 * Lock the dispute's payment, read both and the order.  PL007 if there is no
 * such dispute.
 */
static PlOrder *
lock_dispute(int64 dispute_id, PlPayment *payment, PlDispute *dispute)
{
	PlArgs		id = {0};

	pl_arg_int64(&id, dispute_id);
	if (pl_execute(&find_payment, &id) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("dispute " INT64_FORMAT " does not exist", dispute_id),
				 errhint("payledger.disputes lists them, payledger.open_dispute() opens one.")));
	pl_lock_payment(pl_get_int64(0, 1), payment);
	return pl_read_dispute(dispute_id, payment, pl_read_orders(payment->payment_id), dispute);
}

static void
require_edge(const PlDispute *dispute, const char *to)
{
	if (!pl_edge_exists(pl_find_machine("dispute"), dispute->status, to))
		pl_illegal_transition("dispute", dispute->dispute_id, dispute->status, to);
}

static Jsonb *
evidence_arg(FunctionCallInfo fcinfo, int argno)
{
	Jsonb	   *evidence;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("evidence must not be null")));
	evidence = PG_GETARG_JSONB_P(argno);
	pl_check_metadata("evidence", evidence);
	if (JB_ROOT_COUNT(evidence) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("evidence must not be empty"),
				 errhint("A chargeback that is accepted is closed as LOST with payledger.close_dispute().")));
	return evidence;
}

/*
 * The dispute of the locked payment is under review; evidence is what was
 * submitted, NULL if that is known to the PSP only.
 */
void
pl_review_dispute(PlWork *work, const PlPayment *payment, PlDispute *dispute, Jsonb *evidence)
{
	PlArgs		args = {0};

	dispute->status = "UNDER_REVIEW";
	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, dispute->dispute_id);
	if (evidence != NULL)
		pl_arg(&args, JsonbPGetDatum(evidence));
	else
		pl_arg_null(&args);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&store_evidence, &args);
}

/*
 * submit_evidence(dispute_id, evidence): from NEEDS_RESPONSE to UNDER_REVIEW.
 * Evidence that is late is recorded all the same: whether it counts is for the
 * PSP to say.
 */
Datum
pl_sql_submit_evidence(PG_FUNCTION_ARGS)
{
	int64		dispute_id = pl_int64_arg(fcinfo, 0, "dispute_id");
	Jsonb	   *evidence = evidence_arg(fcinfo, 1);
	PlPayment	payment;
	PlDispute	dispute;
	PlWork	   *work;

	pl_connect();
	pl_require_layout();
	(void) lock_dispute(dispute_id, &payment, &dispute);
	require_edge(&dispute, "UNDER_REVIEW");

	work = pl_work_begin("submit_evidence");
	if (dispute.evidence_due_at != 0 && dispute.evidence_due_at < pl_due_now())
		ereport(NOTICE,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("the evidence for dispute " INT64_FORMAT " is late", dispute_id),
				 errdetail("It was due at %s.", timestamptz_to_str(dispute.evidence_due_at))));
	pl_review_dispute(work, &payment, &dispute, evidence);
	pl_work_end(work);

	pl_return_disputes(fcinfo, payment.payment_id, list_make1(&dispute.dispute_id));
	pl_finish();
	return (Datum) 0;
}

/* ---- deciding ---- */

static void
check_fee_returned(const PlDispute *dispute, const char *outcome)
{
	const char *reason = NULL;

	if (strcmp(outcome, "WON") != 0)
		reason = "A fee is returned with a dispute that is WON.";
	else if (dispute->fee == 0)
		reason = "It has no fee.";
	else if (dispute->fee_returned)
		reason = "It was returned before.";
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the fee of dispute " INT64_FORMAT " cannot be returned", dispute->dispute_id),
				 errdetail("%s", reason)));
}

static void
store(const PlWork *work, const PlPayment *payment, const PlDispute *dispute)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, dispute->dispute_id);
	pl_arg_text(&args, dispute->status);
	pl_arg_int32(&args, dispute->round);
	pl_arg_bool(&args, dispute->fee_returned);
	pl_arg_bool(&args, dispute->borne_by_seller);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&store_decision, &args);
}

/*
 * The PSP decided, or overturned its decision.  Changes payment and order in
 * memory.  Raises PL001 for an edge that is not legal.
 */
void
pl_decide_dispute(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute, const char *outcome,
				  bool fee_returned)
{
	bool		was_won = strcmp(dispute->status, "WON") == 0;
	bool		was_lost = strcmp(dispute->status, "LOST") == 0;
	int			round_before = dispute->round;

	require_edge(dispute, outcome);
	dispute->status = outcome;
	if (was_won || was_lost)
		dispute->round++;
	if (strcmp(outcome, "WON") == 0)
		pl_dispute_give_back(work, payment, order, dispute, round_before);
	else if (was_won)
		pl_dispute_take(work, payment, order, dispute);
	if (fee_returned)
		pl_dispute_give_back_fee(work, payment, order, dispute);
	store(work, payment, dispute);
	pl_dispute_event(work, payment, "dispute_closed", order, dispute);
}

/*
 * close_dispute(dispute_id, outcome, fee_returned): the PSP's decision, or
 * that an earlier one was overturned.
 */
Datum
pl_sql_close_dispute(PG_FUNCTION_ARGS)
{
	int64		dispute_id = pl_int64_arg(fcinfo, 0, "dispute_id");
	char	   *outcome = pl_text_arg(fcinfo, 1, "outcome");
	bool		fee_returned = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	PlPayment	payment;
	PlOrder    *order;
	PlDispute	dispute;
	PlWork	   *work;

	pl_connect();
	pl_require_layout();
	if (strcmp(outcome, "WON") != 0 && strcmp(outcome, "LOST") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("outcome of dispute " INT64_FORMAT " must be WON or LOST", dispute_id)));
	order = lock_dispute(dispute_id, &payment, &dispute);
	require_edge(&dispute, outcome);
	if (fee_returned)
		check_fee_returned(&dispute, outcome);

	work = pl_work_begin("close_dispute");
	pl_decide_dispute(work, &payment, order, &dispute, outcome, fee_returned);
	pl_store_orders(work, &payment, list_make1(order));
	pl_store_payment(work, &payment);
	pl_work_end(work);
	pl_return_disputes(fcinfo, payment.payment_id, list_make1(&dispute.dispute_id));
	pl_finish();
	return (Datum) 0;
}
