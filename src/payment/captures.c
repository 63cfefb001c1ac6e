/*
 * src/payment/captures.c
 *		Capturing payment orders: asked for by a command, decided by the PSP.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "payment/payment.h"
#include "utils/builtins.h"

#define ORDER_COLUMNS \
	"payment_order_id, payment_id, seller_id, currency, amount, captured_amount, refunded_amount," \
	" status::text, retry_count"

static PlQuery set_capture_requested = {
	"UPDATE payledger.payment_orders SET status = 'CAPTURE_REQUESTED', updated_at = $3"
	" WHERE payment_id = $1 AND payment_order_id = $2 RETURNING " ORDER_COLUMNS,
	3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery count_orders = {
	"SELECT count(*) FROM payledger.payment_orders WHERE payment_id = $1", 1, {INT8OID}
};

/* What never changes of an order, so it needs no lock, and its seller's terms. */
static PlQuery order_terms = {
	"SELECT o.seller_id, o.amount, s.commission_bps, s.commission_fixed"
	" FROM payledger.payment_orders o"
	" LEFT JOIN payledger.sellers s ON s.seller_id = o.seller_id AND s.currency = o.currency"
	" WHERE o.payment_id = $1 AND o.payment_order_id = $2", 2, {INT8OID, INT8OID}
};

/* The payment after a capture of $2 of an order, whose rest $3 is given back.  Two events follow. */
static PlQuery add_captured = {
	"UPDATE payledger.payments SET captured_amount = captured_amount + $2,"
	" voided_amount = voided_amount + $3,"
	" status = " PL_PAYMENT_STATUS("(captured_amount + $2)", "refunded_amount", "(voided_amount + $3)") ","
	" event_version = event_version + 2, updated_at = $4"
	" WHERE payment_id = $1"
	" RETURNING event_version, traceparent,"
	"  voided_amount > 0 AND captured_amount + voided_amount = total_amount, gateway, psp_reference",
	4, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery set_captured = {
	"UPDATE payledger.payment_orders SET status = 'CAPTURED', captured_amount = $3, updated_at = $4"
	" WHERE payment_id = $1 AND payment_order_id = $2 AND status IN ('CAPTURE_REQUESTED', 'PENDING_CAPTURE')",
	4, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery add_voided = {
	"UPDATE payledger.payments p SET voided_amount = p.voided_amount + o.amount,"
	" status = " PL_PAYMENT_STATUS("p.captured_amount", "p.refunded_amount",
								   "(p.voided_amount + o.amount)") ","
	" event_version = p.event_version + 2, updated_at = $3"
	" FROM payledger.payment_orders o"
	" WHERE p.payment_id = $1 AND o.payment_id = $1 AND o.payment_order_id = $2"
	" RETURNING p.event_version, p.traceparent, o.seller_id, o.amount,"
	"  p.captured_amount + p.voided_amount = p.total_amount, p.gateway, p.psp_reference", 3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery set_capture_failed = {
	"UPDATE payledger.payment_orders SET status = 'CAPTURE_FAILED', failure_code = $3, updated_at = $4"
	" WHERE payment_id = $1 AND payment_order_id = $2 AND status IN ('CAPTURE_REQUESTED', 'PENDING_CAPTURE')",
	4, {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery set_pending_capture = {
	"UPDATE payledger.payment_orders SET status = 'PENDING_CAPTURE',"
	" retry_count = retry_count + $3, updated_at = $4"
	" WHERE payment_id = $1 AND payment_order_id = $2 AND status IN ('CAPTURE_REQUESTED', 'PENDING_CAPTURE')",
	4, {INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_capture);

static void
check_capture_amount(int64 payment_order_id, int64 amount, int64 authorized)
{
	if (amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount " INT64_FORMAT " of payment_order " INT64_FORMAT " is not greater than zero",
						amount, payment_order_id)));
	if (amount > authorized)
		ereport(ERROR,
				(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
				 errmsg("amount " INT64_FORMAT " is above what payment_order " INT64_FORMAT " authorized",
						amount, payment_order_id),
				 errdetail("It authorized " INT64_FORMAT ".", authorized)));
}

static bool
is_only_order(int64 payment_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	pl_execute(&count_orders, &args);
	return pl_get_int64(0, 1) == 1;
}

/*
 * capture(payment_order_id, amount, idempotency_key)
 *		Null amount: the whole order.  Leaves the order CAPTURE_REQUESTED and a
 *		request to the gateway.
 */
Datum
pl_sql_capture(PG_FUNCTION_ARGS)
{
	int64		order_id = pl_int64_arg(fcinfo, 0, "payment_order_id");
	char	   *key = pl_optional_text_arg(fcinfo, 2);
	char	   *request_text;
	PlIdempotency claim;

	pl_connect();
	pl_require_layout();
	request_text = PG_ARGISNULL(1) ? psprintf(INT64_FORMAT " whole", order_id)
		: psprintf(INT64_FORMAT " " INT64_FORMAT, order_id, PG_GETARG_INT64(1));
	if (!pl_idempotency_replay(fcinfo, &claim, "capture", key, request_text))
	{
		PlPayment	payment;
		PlOrder		order;
		PlArgs		args = {0};
		PlWork	   *work;
		SPITupleTable *reply;
		int64		amount;

		pl_lock_order(order_id, &payment, &order);
		amount = PG_ARGISNULL(1) ? order.amount : PG_GETARG_INT64(1);
		if (strcmp(order.status, "INITIATED_PENDING") != 0)
			pl_illegal_transition("payment_order", order_id, order.status, "CAPTURE_REQUESTED");
		check_capture_amount(order_id, amount, order.amount);

		work = pl_work_begin("capture");
		pl_request_add(work, payment.payment_id, payment.gateway, PL_OP_CAPTURE, order_id, amount,
					   payment.currency, pl_payment_method(payment.payment_id), payment.psp_reference,
					   is_only_order(payment.payment_id) ? PL_CAPTURE_FINAL : PL_CAPTURE_PARTIAL, 0);
		pl_payment_event(work, "payment_order_capture_requested", payment.payment_id,
						 ++payment.event_version,
						 pl_order_data(order_id, order.seller_id, payment.currency, amount, "CAPTURE_REQUESTED"),
						 payment.traceparent);
		pl_store_event_version(work, &payment);

		pl_arg_int64(&args, payment.payment_id);
		pl_arg_int64(&args, order_id);
		pl_arg_timestamp(&args, work->now);
		pl_execute(&set_capture_requested, &args);
		reply = SPI_tuptable;
		pl_work_end(work);

		SPI_tuptable = reply;
		SPI_processed = 1;
		pl_idempotency_store(&claim);
		pl_return_rows(fcinfo);
	}
	pl_finish();
	return (Datum) 0;
}

/* The data of payment_order_psp_result_updated. */
static char *
result_data(const PlRequest *request, const char *seller_id, const PlOutcome *outcome)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "paymentOrderId", request->target);
	pl_json_text(&out, "sellerId", seller_id);
	pl_json_text(&out, "currency", request->currency);
	pl_json_amount(&out, "amount", request->amount);
	pl_json_text(&out, "outcome", pl_outcome_name(outcome->class));
	pl_json_text(&out, "code", outcome->code);
	pl_json_amount(&out, "attempt", request->attempt);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* The two events that end a payment order, the last one being version. */
static void
add_final_events(PlWork *work, const PlRequest *request, const PlOutcome *outcome, int64 version,
				 const char *seller_id, const char *status, const char *traceparent)
{
	pl_payment_event(work, "payment_order_psp_result_updated", request->payment_id, version - 1,
					 result_data(request, seller_id, outcome), traceparent);
	pl_payment_event(work, "payment_order_finalized", request->payment_id, version,
					 pl_order_data(request->target, seller_id, request->currency, request->amount, status),
					 traceparent);
}

/*
 * An answer about an order that is no longer waiting for one contradicts what
 * was decided: for an operator, not for a program.
 */
static void
require_one_order(uint64 processed, const PlRequest *request, const PlOutcome *outcome)
{
	if (processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("payment_order " INT64_FORMAT " does not wait for a capture", request->target),
				 errdetail("The PSP's answer is %s.", pl_outcome_name(outcome->class))));
}

static void
capture_succeeded(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	PlArgs		key = {0};
	PlArgs		totals = {0};
	PlArgs		args = {0};
	int64		version;
	int64		rest;
	int64		commission = 0;
	char	   *seller_id;
	char	   *traceparent;

	pl_arg_int64(&key, request->payment_id);
	pl_arg_int64(&key, request->target);
	require_one_order(pl_execute(&order_terms, &key), request, outcome);
	seller_id = pl_get_text(0, 1);
	rest = pl_get_int64(0, 2) - request->amount;
	if (!pl_isnull(0, 3))
		commission = pl_commission(request->amount, pl_get_int32(0, 3), pl_get_int64(0, 4));

	pl_arg_int64(&totals, request->payment_id);
	pl_arg_int64(&totals, request->amount);
	pl_arg_int64(&totals, rest);
	pl_arg_timestamp(&totals, work->now);
	require_one_order(pl_execute(&add_captured, &totals), request, outcome);
	version = pl_get_int64(0, 1);
	traceparent = pl_get_text(0, 2);
	if (pl_get_bool(0, 3) && strcmp(request->parameters, PL_CAPTURE_FINAL) != 0)
		pl_request_release(work, request->payment_id, pl_get_text(0, 4), request->currency, pl_get_text(0, 5));

	pl_arg_int64(&args, request->payment_id);
	pl_arg_int64(&args, request->target);
	pl_arg_int64(&args, request->amount);
	pl_arg_timestamp(&args, work->now);
	require_one_order(pl_execute(&set_captured, &args), request, outcome);

	pl_post_template(work->entries, "CAPTURE", request->payment_id,
					 psprintf("CAPTURE:" INT64_FORMAT, request->target), 0,
					 seller_id, request->currency, request->amount);
	if (commission > 0)
		pl_post_template(work->entries, "COMMISSION_FEE", request->payment_id,
						 psprintf("COMMISSION_FEE:" INT64_FORMAT, request->target), 0,
						 seller_id, request->currency, commission);
	pl_release_hold(work, request->payment_id, request->target, "", request->currency, rest);
	add_final_events(work, request, outcome, version, seller_id, "CAPTURED", traceparent);
}

static void
capture_refused(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	PlArgs		totals = {0};
	PlArgs		args = {0};
	int64		version;
	char	   *seller_id;
	char	   *traceparent;

	pl_arg_int64(&totals, request->payment_id);
	pl_arg_int64(&totals, request->target);
	pl_arg_timestamp(&totals, work->now);
	require_one_order(pl_execute(&add_voided, &totals), request, outcome);
	version = pl_get_int64(0, 1);
	traceparent = pl_get_text(0, 2);
	seller_id = pl_get_text(0, 3);
	pl_release_hold(work, request->payment_id, request->target, "", request->currency, pl_get_int64(0, 4));

	if (pl_get_bool(0, 5))
		pl_request_release(work, request->payment_id, pl_get_text(0, 6), request->currency, pl_get_text(0, 7));

	pl_arg_int64(&args, request->payment_id);
	pl_arg_int64(&args, request->target);
	pl_arg_text(&args, outcome->code);
	pl_arg_timestamp(&args, work->now);
	require_one_order(pl_execute(&set_capture_failed, &args), request, outcome);
	add_final_events(work, request, outcome, version, seller_id, "CAPTURE_FAILED", traceparent);
}

static void
capture_undecided(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	bool		retry = outcome->class == PL_OUTCOME_RETRY;
	PlPayment	payment;
	PlOrder		order;
	PlArgs		args = {0};

	pl_lock_order(request->target, &payment, &order);
	/* still unknown is no news */
	if (!retry && strcmp(order.status, "PENDING_CAPTURE") == 0)
		return;

	pl_arg_int64(&args, request->payment_id);
	pl_arg_int64(&args, request->target);
	pl_arg_int32(&args, retry ? 1 : 0);
	pl_arg_timestamp(&args, work->now);
	require_one_order(pl_execute(&set_pending_capture, &args), request, outcome);
	pl_payment_event(work, "payment_order_psp_result_updated", request->payment_id,
					 ++payment.event_version, result_data(request, order.seller_id, outcome),
					 payment.traceparent);
	pl_store_event_version(work, &payment);
}

/*
 * Apply the outcome of a CAPTURE.  Locks the payment, then the order.  Raises
 * PL001 when the order does not wait for one.
 */
void
pl_apply_capture(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	switch (outcome->class)
	{
		case PL_OUTCOME_SUCCEEDED:
			capture_succeeded(work, request, outcome);
			break;
		case PL_OUTCOME_REFUSED:
			capture_refused(work, request, outcome);
			break;
		case PL_OUTCOME_RETRY:
		case PL_OUTCOME_UNKNOWN:
			capture_undecided(work, request, outcome);
			break;
		case PL_OUTCOME_REVERSED:
		case PL_OUTCOME_ACTION_REQUIRED:
			elog(ERROR, "outcome %s of a capture", pl_outcome_name(outcome->class));
	}
}
