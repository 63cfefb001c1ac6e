/*
 * src/payment/capture_requests.c
 *		Asking for captures: one order, or a whole payment.
 *
 * A gateway without multicapture captures an authorization once, so what is
 * asked for its orders is planned (CAPTURE_REQUESTED without a request) until
 * no order is open any more; then one request captures the sum.
 */
#include "postgres.h"

#include "command/command.h"
#include "payment/payment_internal.h"

PG_FUNCTION_INFO_V1(pl_sql_capture);
PG_FUNCTION_INFO_V1(pl_sql_capture_payment);

/* What a caller asks for. */
typedef struct CaptureRequest
{
	bool		is_whole;		/* no amount given: all that is left */
	int64		amount;			/* minor units */
	bool		is_final;		/* the rest is given back */
} CaptureRequest;

/* ---- checks ---- */

static void
check_positive(const char *object, int64 id, int64 amount)
{
	if (amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount " INT64_FORMAT " of %s " INT64_FORMAT " is not greater than zero",
						amount, object, id)));
}

/* The order can be captured, and by that much.  Raises 22023, PL001, PL005, 0A000. */
static void
check_order(const PlPayment *payment, bool multicapture, const PlOrder *order, const CaptureRequest *asked,
			int64 amount)
{
	if (pl_capturable(order) == 0 ||
		(!multicapture && strcmp(order->status, "INITIATED_PENDING") != 0))
		pl_illegal_transition("payment_order", order->payment_order_id, order->status, "CAPTURE_REQUESTED");
	check_positive("payment_order", order->payment_order_id, amount);
	if (amount > pl_capturable(order))
		ereport(ERROR,
				(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
				 errmsg("amount " INT64_FORMAT " is above what payment_order " INT64_FORMAT " authorized",
						amount, order->payment_order_id),
				 errdetail("It authorized " INT64_FORMAT ", of which " INT64_FORMAT " can still be captured.",
						   order->amount, pl_capturable(order))));
	if (!multicapture && !asked->is_final)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("gateway %s captures an authorization once", payment->gateway),
				 errhint("Capture payment_order " INT64_FORMAT " finally, or set the gateway's option multicapture.",
						 order->payment_order_id)));
}

/* ---- requests ---- */

/* Can anything else of the payment be captured, or is it being captured? */
static bool
is_last_capture(List *orders, int64 amount)
{
	int64		pending = 0;
	ListCell   *cell;

	foreach(cell, orders)
	{
		const PlOrder *order = lfirst(cell);

		if (pl_capturable(order) > 0)
			return false;
		pending += order->capture_pending_amount;
	}
	return pending == amount;
}

static void
add_request(PlWork *work, const PlPayment *payment, int64 target, int64 amount, bool is_final)
{
	pl_request_add(work, &(PlNewRequest) {
		.payment_id = payment->payment_id,
		.gateway = payment->gateway,
		.operation = PL_OP_CAPTURE,
		.target = target,
		.amount = amount,
		.currency = payment->currency,
		.payment_method = pl_payment_method(payment->payment_id),
		.psp_reference = payment->psp_reference,
		.parameters = is_final ? PL_CAPTURE_FINAL : PL_CAPTURE_PARTIAL
	});
}

/*
 * The gateway captures once: if no order of the payment is open any more, ask
 * for what is planned.  Called by whatever decides an order that was open.
 */
void
pl_send_planned_captures(PlWork *work, const PlPayment *payment, List *orders)
{
	int64		planned = 0;
	PlCapabilities capabilities;
	ListCell   *cell;

	pl_read_capabilities(payment, &capabilities);
	if (capabilities.multicapture)
		return;
	foreach(cell, orders)
	{
		const PlOrder *order = lfirst(cell);

		if (pl_capturable(order) > 0)
			return;
		planned = pl_add_amount(planned, order->capture_pending_amount);
	}
	if (planned > 0)
		add_request(work, payment, payment->payment_id, planned, true);
}

/*
 * Ask for amount of an order of a locked payment, checked.  A capture that is
 * final gives the rest of the order back at once: of a refused one nothing is
 * kept either.
 */
static void
ask_for_order(PlWork *work, PlPayment *payment, bool multicapture, List *orders, PlOrder *order, int64 amount,
			  bool is_final)
{
	order->capture_pending_amount = pl_add_amount(order->capture_pending_amount, amount);
	if (strcmp(order->status, "INITIATED_PENDING") == 0)
		order->status = "CAPTURE_REQUESTED";
	if (is_final)
		pl_release_order(work, payment, order, pl_capturable(order));
	pl_order_event(work, payment, "payment_order_capture_requested", order, amount, "CAPTURE_REQUESTED");
	if (multicapture)
		add_request(work, payment, order->payment_order_id, amount, is_last_capture(orders, amount));
}

/* ---- commands ---- */

/*
 * capture(payment_order_id, amount, idempotency_key, final)
 *		Null amount: all that is left of the order.
 */
Datum
pl_sql_capture(PG_FUNCTION_ARGS)
{
	int64		order_id = pl_int64_arg(fcinfo, 0, "payment_order_id");
	char	   *key = pl_optional_text_arg(fcinfo, 2);
	CaptureRequest asked = {PG_ARGISNULL(1), PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1),
	PG_ARGISNULL(3) || PG_GETARG_BOOL(3)};
	char	   *request_text;
	PlIdempotency claim;

	pl_connect();
	pl_require_layout();
	request_text = psprintf(INT64_FORMAT " %s%s", order_id,
							asked.is_whole ? "whole" : psprintf(INT64_FORMAT, asked.amount),
							asked.is_final ? "" : " not final");
	if (!pl_idempotency_replay(fcinfo, &claim, "capture", key, request_text))
	{
		PlPayment	payment;
		PlCapabilities capabilities;
		PlOrder    *order;
		List	   *orders;
		PlWork	   *work;
		int64		amount;

		pl_lock_payment_of(order_id, &payment);
		orders = pl_read_orders(payment.payment_id);
		order = pl_find_order(orders, order_id);
		pl_read_capabilities(&payment, &capabilities);
		amount = asked.is_whole ? pl_capturable(order) : asked.amount;
		check_order(&payment, capabilities.multicapture, order, &asked, amount);

		work = pl_work_begin("capture");
		ask_for_order(work, &payment, capabilities.multicapture, orders, order, amount, asked.is_final);
		pl_send_planned_captures(work, &payment, orders);
		pl_store_payment(work, &payment);
		pl_store_orders(work, &payment, list_make1(order));
		pl_work_end(work);

		pl_return_order(payment.payment_id, order_id);
		pl_idempotency_store(&claim);
		pl_return_rows(fcinfo);
	}
	pl_finish();
	return (Datum) 0;
}

/* The orders that can still be captured. */
static List *
open_orders(List *orders)
{
	List	   *open = NIL;
	ListCell   *cell;

	foreach(cell, orders)
		if (pl_capturable(lfirst(cell)) > 0)
			open = lappend(open, lfirst(cell));
	return open;
}

/* Ask for amount of the payment, shared out over its open orders. */
static void
ask_for_payment(PlWork *work, PlPayment *payment, List *orders, List *open, int64 amount)
{
	int			n = list_length(open);
	int64	   *weights = palloc(sizeof(int64) * n);
	int64	   *shares = palloc(sizeof(int64) * n);
	PlCapabilities capabilities;
	ListCell   *cell;

	pl_read_capabilities(payment, &capabilities);
	foreach(cell, open)
		weights[foreach_current_index(cell)] = pl_capturable(lfirst(cell));
	pl_allocate(amount, weights, n, shares);
	/* what is not asked for goes first, so that the last request is known to be the last */
	foreach(cell, open)
	{
		PlOrder    *order = lfirst(cell);
		int64		share = shares[foreach_current_index(cell)];

		pl_release_order(work, payment, order, pl_capturable(order) - share);
		if (share > 0)
			continue;
		if (strcmp(order->status, "INITIATED_PENDING") == 0)
			order->status = "CANCELLED";
		pl_order_event(work, payment, "payment_order_finalized", order, 0, order->status);
	}
	foreach(cell, open)
		if (shares[foreach_current_index(cell)] > 0)
			ask_for_order(work, payment, capabilities.multicapture, orders, lfirst(cell),
						  shares[foreach_current_index(cell)], true);
}

static uint64
return_payment(int64 payment_id, int64 amount)
{
	static PlQuery query = {
		"SELECT payment_id, currency, $2 AS requested_amount, captured_amount, voided_amount, status::text"
		" FROM payledger.payments WHERE payment_id = $1", 2, {INT8OID, INT8OID}
	};
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	pl_arg_int64(&args, amount);
	return pl_execute(&query, &args);
}

/*
 * capture_payment(payment_id, amount, idempotency_key)
 *		Null amount: all that is left.  The rest of every order is given back.
 */
Datum
pl_sql_capture_payment(PG_FUNCTION_ARGS)
{
	int64		payment_id = pl_int64_arg(fcinfo, 0, "payment_id");
	bool		is_whole = PG_ARGISNULL(1);
	char	   *key = pl_optional_text_arg(fcinfo, 2);
	char	   *request_text;
	PlIdempotency claim;

	pl_connect();
	pl_require_layout();
	request_text = psprintf(INT64_FORMAT " %s", payment_id,
							is_whole ? "whole" : psprintf(INT64_FORMAT, PG_GETARG_INT64(1)));
	if (!pl_idempotency_replay(fcinfo, &claim, "capture_payment", key, request_text))
	{
		PlPayment	payment;
		List	   *orders;
		List	   *open;
		PlWork	   *work;
		int64		left;
		int64		amount;

		pl_lock_payment(payment_id, &payment);
		orders = pl_read_orders(payment_id);
		open = open_orders(orders);
		left = 0;
		for (int i = 0; i < list_length(open); i++)
			left = pl_add_amount(left, pl_capturable(list_nth(open, i)));
		if (left == 0)
			pl_illegal_transition("payment", payment_id, payment.status, "CAPTURED");
		amount = is_whole ? left : PG_GETARG_INT64(1);
		check_positive("payment", payment_id, amount);
		if (amount > left)
			ereport(ERROR,
					(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
					 errmsg("amount " INT64_FORMAT " is above what can be captured of payment " INT64_FORMAT,
							amount, payment_id),
					 errdetail("It authorized " INT64_FORMAT ", of which " INT64_FORMAT " can still be captured.",
							   payment.total_amount, left)));

		work = pl_work_begin("capture_payment");
		ask_for_payment(work, &payment, orders, open, amount);
		pl_send_planned_captures(work, &payment, orders);
		pl_store_payment(work, &payment);
		pl_store_orders(work, &payment, open);
		pl_work_end(work);

		return_payment(payment_id, amount);
		pl_idempotency_store(&claim);
		pl_return_rows(fcinfo);
	}
	pl_finish();
	return (Datum) 0;
}
