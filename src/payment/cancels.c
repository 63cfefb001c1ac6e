/*
 * src/payment/cancels.c
 *		Giving authorized money back uncaptured: one order, all of a payment,
 *		or what an authorization that expires leaves.
 *
 * A capture under way cannot be taken back, so only what nobody asked to
 * capture is cancelled.  The PSP is told once nothing of the payment can be
 * captured any more.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "payment/payment_internal.h"
#include "utils/builtins.h"

/* what is planned onto an authorization has to be sent before it expires */
#define EXPIRY_MARGIN_MS (3600 * 1000)

/* payments dealt with in one transaction */
#define EXPIRE_AT_ONCE 100

static PlQuery lock_expiring = {
	"SELECT payment_id FROM payledger.payments WHERE authorization_expires_at <= $1"
	" ORDER BY authorization_expires_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED", 2, {TIMESTAMPTZOID, INT8OID}
};

static PlQuery forget_expiry = {
	"UPDATE payledger.payments SET authorization_expires_at = NULL WHERE payment_id = $1", 1, {INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_cancel_payment_order);
PG_FUNCTION_INFO_V1(pl_sql_void_payment);
PG_FUNCTION_INFO_V1(pl_sql_expire_authorizations);

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
 * Give what is open of these orders of the locked payment back, with all that
 * follows; orders are all of the payment.  told: the PSP knows already.
 */
static void
give_back(PlWork *work, PlPayment *payment, List *orders, List *open, bool told)
{
	ListCell   *cell;

	foreach(cell, open)
	{
		PlOrder    *order = lfirst(cell);
		int64		amount = pl_capturable(order);

		pl_release_order(work, payment, order, amount);
		if (strcmp(order->status, "INITIATED_PENDING") == 0)
			order->status = "CANCELLED";
		pl_order_event(work, payment, "payment_order_finalized", order, amount, order->status);
	}
	if (payment->voided_amount == payment->total_amount)
		pl_payment_event(work, "payment_voided", payment->payment_id, ++payment->event_version,
						 voided_data(payment), payment->traceparent);
	pl_send_planned_captures(work, payment, orders);
	if (!told)
		pl_release_at_psp(work, payment, orders);
	pl_store_payment(work, payment);
	pl_store_orders(work, payment, open);
}

/*
 * cancel_payment_order(payment_order_id) RETURNS text
 *		What is neither captured nor asked to be captured of the order.
 */
Datum
pl_sql_cancel_payment_order(PG_FUNCTION_ARGS)
{
	int64		order_id = pl_int64_arg(fcinfo, 0, "payment_order_id");
	PlPayment	payment;
	List	   *orders;
	PlOrder    *order;
	PlWork	   *work;
	MemoryContext caller = CurrentMemoryContext;
	char	   *status;

	pl_connect();
	pl_require_layout();
	pl_lock_payment_of(order_id, &payment);
	orders = pl_read_orders(payment.payment_id);
	order = pl_find_order(orders, order_id);
	if (pl_capturable(order) == 0)
		pl_illegal_transition("payment_order", order_id, order->status, "CANCELLED");

	work = pl_work_begin("cancel_payment_order");
	give_back(work, &payment, orders, list_make1(order), false);
	pl_work_end(work);
	status = MemoryContextStrdup(caller, order->status);	/* the order ends with the connection */
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text(status));
}

/*
 * void_payment(payment_id) RETURNS text
 *		All of it; refused when something is captured or asked to be.
 */
Datum
pl_sql_void_payment(PG_FUNCTION_ARGS)
{
	int64		payment_id = pl_int64_arg(fcinfo, 0, "payment_id");
	PlPayment	payment;
	PlWork	   *work;
	List	   *orders;
	List	   *open = NIL;
	ListCell   *cell;

	pl_connect();
	pl_require_layout();
	pl_lock_payment(payment_id, &payment);
	if (strcmp(payment.status, "NOT_CAPTURED") != 0)
		pl_illegal_transition("payment", payment_id, payment.status, "VOIDED");
	orders = pl_read_orders(payment_id);
	foreach(cell, orders)
	{
		PlOrder    *order = lfirst(cell);

		if (order->capture_pending_amount > 0)
			pl_illegal_transition("payment_order", order->payment_order_id, order->status, "CANCELLED");
		if (pl_capturable(order) > 0)
			open = lappend(open, order);
	}

	work = pl_work_begin("void_payment");
	give_back(work, &payment, orders, open, false);
	pl_work_end(work);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("VOIDED"));
}

/* ---- expiry ---- */

/*
 * The authorization ends, or has ended by the PSP's word (told): give back what
 * nobody captured of it; what is planned onto it is sent.  Locks the payment.
 */
void
pl_authorization_ended(PlWork *work, int64 payment_id, bool told)
{
	PlPayment	payment;
	PlArgs		args = {0};
	List	   *orders;
	List	   *open = NIL;
	ListCell   *cell;

	pl_lock_payment(payment_id, &payment);
	orders = pl_read_orders(payment_id);
	foreach(cell, orders)
		if (pl_capturable(lfirst(cell)) > 0)
			open = lappend(open, lfirst(cell));
	if (open != NIL)
		give_back(work, &payment, orders, open, told);
	pl_arg_int64(&args, payment_id);
	pl_execute(&forget_expiry, &args);
}

/*
 * Give back what nobody captured of authorizations that expire within the
 * hour; what is planned onto them is sent.  Those that a session holds are
 * left for the next time.  Returns their number.  Needs a transaction and an
 * open SPI connection.
 */
int
pl_expire_authorizations(void)
{
	PlArgs		args = {0};
	int64	   *ids;
	PlWork	   *work;
	int			n;

	pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(pl_due_now(), EXPIRY_MARGIN_MS));
	pl_arg_int64(&args, EXPIRE_AT_ONCE);
	n = (int) pl_execute(&lock_expiring, &args);
	if (n == 0)
		return 0;
	ids = palloc(sizeof(int64) * n);
	for (int i = 0; i < n; i++)
		ids[i] = pl_get_int64(i, 1);

	work = pl_work_begin("authorization expires");
	for (int i = 0; i < n; i++)
		pl_authorization_ended(work, ids[i], false);
	pl_work_end(work);
	return n;
}

/*
 * expire_authorizations() RETURNS int
 */
Datum
pl_sql_expire_authorizations(PG_FUNCTION_ARGS)
{
	int			n;

	pl_connect();
	pl_require_layout();
	n = pl_expire_authorizations();
	pl_finish();
	PG_RETURN_INT32(n);
}
