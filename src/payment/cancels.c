/*
 * src/payment/cancels.c
 *		Giving authorized money back uncaptured: one order, or all of a payment.
 *
 * A capture under way cannot be taken back, so only orders that nobody asked
 * to capture are cancelled.  The PSP is told once nothing of the payment can
 * be captured any more.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "payment/payment.h"
#include "utils/builtins.h"

static PlQuery add_voided = {
	"UPDATE payledger.payments SET voided_amount = voided_amount + $2,"
	" status = " PL_PAYMENT_STATUS("captured_amount", "refunded_amount", "(voided_amount + $2)") ","
	" event_version = $3, updated_at = $4 WHERE payment_id = $1"
	" RETURNING captured_amount + voided_amount = total_amount",
	4, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery cancel_orders = {
	"UPDATE payledger.payment_orders SET status = 'CANCELLED', updated_at = $3"
	" WHERE payment_id = $1 AND payment_order_id = ANY($2)",
	3, {INT8OID, INT8ARRAYOID, TIMESTAMPTZOID}
};

static PlQuery lock_orders = {
	"SELECT payment_order_id, seller_id, amount, status::text FROM payledger.payment_orders"
	" WHERE payment_id = $1 ORDER BY payment_order_id FOR NO KEY UPDATE", 1, {INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_cancel_payment_order);
PG_FUNCTION_INFO_V1(pl_sql_void_payment);

static char *
voided_data(const PlPayment *payment)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "paymentId", payment->payment_id);
	pl_json_text(&out, "orderId", payment->order_id);
	pl_json_text(&out, "currency", payment->currency);
	pl_json_amount(&out, "totalAmount", payment->total_amount);
	pl_json_text(&out, "status", "VOIDED");
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * Cancel these locked orders of the locked payment.
 */
static void
cancel(PlWork *work, PlPayment *payment, List *orders, bool voids_payment)
{
	Datum	   *ids = palloc(sizeof(Datum) * list_length(orders));
	int64		amount = 0;
	PlArgs		totals = {0};
	PlArgs		args = {0};
	ListCell   *cell;

	foreach(cell, orders)
	{
		const PlOrder *order = lfirst(cell);

		ids[foreach_current_index(cell)] = Int64GetDatum(order->payment_order_id);
		amount = pl_add_amount(amount, order->amount);
		pl_release_hold(work, payment->payment_id, order->payment_order_id, "", payment->currency,
						order->amount);
		pl_payment_event(work, "payment_order_finalized", payment->payment_id, ++payment->event_version,
						 pl_order_data(order->payment_order_id, order->seller_id, payment->currency,
									   order->amount, "CANCELLED"), payment->traceparent);
	}
	if (voids_payment)
		pl_payment_event(work, "payment_voided", payment->payment_id, ++payment->event_version,
						 voided_data(payment), payment->traceparent);

	pl_arg_int64(&totals, payment->payment_id);
	pl_arg_int64(&totals, amount);
	pl_arg_int64(&totals, payment->event_version);
	pl_arg_timestamp(&totals, work->now);
	pl_execute(&add_voided, &totals);
	if (pl_get_bool(0, 1))
		pl_request_release(work, payment->payment_id, payment->gateway, payment->currency,
						   payment->psp_reference);

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_array(&args, ids, NULL, list_length(orders), INT8OID);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&cancel_orders, &args);
}

/* The orders of a locked payment, locked, by id. */
static List *
lock_all_orders(int64 payment_id)
{
	List	   *orders = NIL;
	PlArgs		args = {0};
	uint64		n;

	pl_arg_int64(&args, payment_id);
	n = pl_execute(&lock_orders, &args);
	for (uint64 i = 0; i < n; i++)
	{
		PlOrder    *order = palloc(sizeof(PlOrder));

		order->payment_order_id = pl_get_int64(i, 1);
		order->seller_id = pl_get_text(i, 2);
		order->amount = pl_get_int64(i, 3);
		order->status = pl_get_text(i, 4);
		orders = lappend(orders, order);
	}
	return orders;
}

/* Is every other order of the payment given back, so that this was the last? */
static bool
others_given_back(List *orders, int64 payment_order_id)
{
	ListCell   *cell;

	foreach(cell, orders)
	{
		const PlOrder *order = lfirst(cell);

		if (order->payment_order_id != payment_order_id &&
			strcmp(order->status, "CANCELLED") != 0 && strcmp(order->status, "CAPTURE_FAILED") != 0)
			return false;
	}
	return true;
}

/*
 * cancel_payment_order(payment_order_id) RETURNS text
 */
Datum
pl_sql_cancel_payment_order(PG_FUNCTION_ARGS)
{
	int64		order_id = pl_int64_arg(fcinfo, 0, "payment_order_id");
	PlPayment	payment;
	PlOrder		order;
	PlWork	   *work;

	pl_connect();
	pl_require_layout();
	pl_lock_order(order_id, &payment, &order);
	if (strcmp(order.status, "INITIATED_PENDING") != 0)
		pl_illegal_transition("payment_order", order_id, order.status, "CANCELLED");

	work = pl_work_begin("cancel_payment_order");
	cancel(work, &payment, list_make1(&order),
		   others_given_back(lock_all_orders(payment.payment_id), order_id));
	pl_work_end(work);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("CANCELLED"));
}

/*
 * void_payment(payment_id) RETURNS text
 *		All that is not yet asked to be captured; refused when something is.
 */
Datum
pl_sql_void_payment(PG_FUNCTION_ARGS)
{
	int64		payment_id = pl_int64_arg(fcinfo, 0, "payment_id");
	PlPayment	payment;
	PlWork	   *work;
	List	   *open = NIL;
	ListCell   *cell;

	pl_connect();
	pl_require_layout();
	pl_lock_payment(payment_id, &payment);
	if (strcmp(payment.status, "NOT_CAPTURED") != 0)
		pl_illegal_transition("payment", payment_id, payment.status, "VOIDED");
	foreach(cell, lock_all_orders(payment_id))
	{
		PlOrder    *order = lfirst(cell);

		if (strcmp(order->status, "INITIATED_PENDING") == 0)
			open = lappend(open, order);
		else if (strcmp(order->status, "CANCELLED") != 0 && strcmp(order->status, "CAPTURE_FAILED") != 0)
			pl_illegal_transition("payment_order", order->payment_order_id, order->status, "CANCELLED");
	}

	work = pl_work_begin("void_payment");
	cancel(work, &payment, open, true);
	pl_work_end(work);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("VOIDED"));
}
