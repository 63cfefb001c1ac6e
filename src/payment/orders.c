/*
 * src/payment/orders.c
 *		Payments and their orders: read under the payment's lock, changed in
 *		memory by a command, stored; and the events about an order.
 *
 * The payment's row lock covers its orders: whoever changes an order holds it,
 * so what was read stays true until it is stored.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "payment/payment_internal.h"
#include "utils/builtins.h"

static PlQuery find_payment = {
	"SELECT payment_id FROM payledger.payment_orders WHERE payment_order_id = $1", 1, {INT8OID}
};

static PlQuery lock_payment = {
	"SELECT p.gateway, p.psp_reference, p.event_version, p.traceparent, p.currency, p.status::text,"
	" p.total_amount, p.order_id, p.captured_amount, p.refunded_amount, p.voided_amount"
	" FROM payledger.payments p WHERE p.payment_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery find_gateway = {
	"SELECT multicapture, keeps_remainder FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

static PlQuery select_orders = {
	"SELECT payment_order_id, seller_id, status::text, amount, captured_amount, refunded_amount,"
	" capture_pending_amount, voided_amount, refund_pending_amount, disputed_amount, commission_amount,"
	" commission_refunded_amount, commission_rule_id, retry_count, failure_code"
	" FROM payledger.payment_orders WHERE payment_id = $1 ORDER BY payment_order_id", 1, {INT8OID}
};

static PlQuery update_payment = {
	"UPDATE payledger.payments SET captured_amount = $2, refunded_amount = $3, voided_amount = $4,"
	" status = $5::payledger.payment_status, event_version = $6, updated_at = $7 WHERE payment_id = $1",
	7, {INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};

/* the columns of PlOrder that change */
#define ORDER_COLUMNS 13

static PlQuery update_orders = {
	"UPDATE payledger.payment_orders o SET status = u.st::payledger.payment_order_status,"
	" captured_amount = u.c, refunded_amount = u.r, capture_pending_amount = u.cp, voided_amount = u.v,"
	" refund_pending_amount = u.rp, disputed_amount = u.d, commission_amount = u.cm,"
	" commission_refunded_amount = u.cr, commission_rule_id = nullif(u.cu, 0), retry_count = u.n,"
	" failure_code = u.f, updated_at = $15"
	" FROM (SELECT pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
	"  pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9),"
	"  pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13),"
	"  pg_catalog.unnest($14)) AS u(i, st, c, r, cp, v, rp, d, cm, cr, cu, n, f)"
	" WHERE o.payment_id = $1 AND o.payment_order_id = u.i",
	15, {INT8OID, INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
		INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID,
	TIMESTAMPTZOID}
};

/* All orders but a few are changed alone, and arrays of one are dear. */
static PlQuery update_order = {
	"UPDATE payledger.payment_orders SET status = $3::payledger.payment_order_status,"
	" captured_amount = $4, refunded_amount = $5, capture_pending_amount = $6, voided_amount = $7,"
	" refund_pending_amount = $8, disputed_amount = $9, commission_amount = $10,"
	" commission_refunded_amount = $11, commission_rule_id = nullif($12, 0), retry_count = $13,"
	" failure_code = $14, updated_at = $15 WHERE payment_id = $1 AND payment_order_id = $2",
	15, {INT8OID, INT8OID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
		INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery return_order = {
	"SELECT payment_order_id, payment_id, seller_id, currency, amount, captured_amount, refunded_amount,"
	" status::text, retry_count"
	" FROM payledger.payment_orders WHERE payment_id = $1 AND payment_order_id = $2", 2, {INT8OID, INT8OID}
};

/* ---- reading under lock ---- */

/*
 * Lock a payment and read it.  PL007 if there is none: before the PSP's
 * authorization there is only an intent.
 */
void
pl_lock_payment(int64 payment_id, PlPayment *payment)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	if (pl_execute(&lock_payment, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("payment " INT64_FORMAT " does not exist", payment_id),
				 errhint("A payment exists once its intent is AUTHORIZED.")));
	payment->payment_id = payment_id;
	payment->gateway = pl_get_text(0, 1);
	payment->psp_reference = pl_get_text(0, 2);
	payment->event_version = pl_get_int64(0, 3);
	payment->traceparent = pl_get_text(0, 4);
	payment->currency = pl_get_text(0, 5);
	payment->status = pl_get_text(0, 6);
	payment->total_amount = pl_get_int64(0, 7);
	payment->order_id = pl_get_text(0, 8);
	payment->captured_amount = pl_get_int64(0, 9);
	payment->refunded_amount = pl_get_int64(0, 10);
	payment->voided_amount = pl_get_int64(0, 11);
}

/*
 * What the gateway of a payment can do.
 */
void
pl_read_capabilities(const PlPayment *payment, PlCapabilities *capabilities)
{
	PlArgs		args = {0};

	pl_arg_text(&args, payment->gateway);
	if (pl_execute(&find_gateway, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("gateway %s of payment " INT64_FORMAT " does not exist", payment->gateway, payment->payment_id)));
	capabilities->multicapture = pl_get_bool(0, 1);
	capabilities->keeps_remainder = pl_get_bool(0, 2);
}

/*
 * The orders of a locked payment, by id: a List of PlOrder in the current
 * memory context.
 */
List *
pl_read_orders(int64 payment_id)
{
	List	   *orders = NIL;
	PlArgs		args = {0};
	uint64		n;

	pl_arg_int64(&args, payment_id);
	n = pl_execute(&select_orders, &args);
	for (uint64 i = 0; i < n; i++)
	{
		PlOrder    *order = palloc(sizeof(PlOrder));

		order->payment_order_id = pl_get_int64(i, 1);
		order->seller_id = pl_get_text(i, 2);
		order->status = pl_get_text(i, 3);
		order->amount = pl_get_int64(i, 4);
		order->captured_amount = pl_get_int64(i, 5);
		order->refunded_amount = pl_get_int64(i, 6);
		order->capture_pending_amount = pl_get_int64(i, 7);
		order->voided_amount = pl_get_int64(i, 8);
		order->refund_pending_amount = pl_get_int64(i, 9);
		order->disputed_amount = pl_get_int64(i, 10);
		order->commission_amount = pl_get_int64(i, 11);
		order->commission_refunded_amount = pl_get_int64(i, 12);
		order->commission_rule_id = pl_isnull(i, 13) ? 0 : pl_get_int64(i, 13);
		order->retry_count = pl_get_int32(i, 14);
		order->failure_code = pl_get_text(i, 15);
		orders = lappend(orders, order);
	}
	return orders;
}

/* The order of that id among those, or NULL. */
PlOrder *
pl_find_order(List *orders, int64 payment_order_id)
{
	ListCell   *cell;

	foreach(cell, orders)
		if (((PlOrder *) lfirst(cell))->payment_order_id == payment_order_id)
			return lfirst(cell);
	return NULL;
}

/*
 * Lock the payment of an order, and read it.  PL007 if there is no such order.
 */
void
pl_lock_payment_of(int64 payment_order_id, PlPayment *payment)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_order_id);
	if (pl_execute(&find_payment, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("payment_order " INT64_FORMAT " does not exist", payment_order_id),
				 errhint("Payment orders exist once their intent is AUTHORIZED.")));
	pl_lock_payment(pl_get_int64(0, 1), payment);
}

/*
 * The same with the order, palloc'd.
 */
PlOrder *
pl_lock_order(int64 payment_order_id, PlPayment *payment)
{
	pl_lock_payment_of(payment_order_id, payment);
	return pl_find_order(pl_read_orders(payment->payment_id), payment_order_id);
}

/* ---- amounts ---- */

/* What can still be asked to be captured, minor units. */
int64
pl_capturable(const PlOrder *order)
{
	return order->amount - order->captured_amount - order->capture_pending_amount - order->voided_amount;
}

/*
 * What can still be asked to be refunded, minor units: what a dispute took is
 * with the shopper already.
 */
int64
pl_refundable(const PlOrder *order)
{
	int64		left = order->captured_amount - order->refunded_amount - order->refund_pending_amount;

	return Max(left - Min(left, order->disputed_amount), 0);
}

/*
 * Bring the status of an order in line with what is captured and refunded of
 * it, after a change of these.  Of an order without anything captured the
 * amounts do not tell the status.
 */
void
pl_order_amounts_changed(PlOrder *order)
{
	if (order->captured_amount == 0)
		return;
	order->status = order->refunded_amount == 0 ? "CAPTURED" :
		order->refunded_amount == order->captured_amount ? "REFUNDED" : "PARTIALLY_REFUNDED";
}

/* ---- storing ---- */

/*
 * Store the totals of a locked payment with the status that they say, and the
 * version of its newest event.
 */
void
pl_store_payment(PlWork *work, const PlPayment *payment)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, payment->captured_amount);
	pl_arg_int64(&args, payment->refunded_amount);
	pl_arg_int64(&args, payment->voided_amount);
	pl_arg_text(&args, pl_payment_status(payment->total_amount, payment->captured_amount,
										 payment->refunded_amount, payment->voided_amount));
	pl_arg_int64(&args, payment->event_version);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&update_payment, &args);
}

static void
store_order(PlWork *work, const PlPayment *payment, const PlOrder *order)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, order->payment_order_id);
	pl_arg_text(&args, order->status);
	pl_arg_int64(&args, order->captured_amount);
	pl_arg_int64(&args, order->refunded_amount);
	pl_arg_int64(&args, order->capture_pending_amount);
	pl_arg_int64(&args, order->voided_amount);
	pl_arg_int64(&args, order->refund_pending_amount);
	pl_arg_int64(&args, order->disputed_amount);
	pl_arg_int64(&args, order->commission_amount);
	pl_arg_int64(&args, order->commission_refunded_amount);
	pl_arg_int64(&args, order->commission_rule_id);
	pl_arg_int32(&args, order->retry_count);
	pl_arg_text(&args, order->failure_code);
	pl_arg_timestamp(&args, work->now);
	if (pl_execute(&update_order, &args) != 1)
		elog(ERROR, "could not find order " INT64_FORMAT " of payment " INT64_FORMAT,
			 order->payment_order_id, payment->payment_id);
}

/*
 * Store these orders of a locked payment.
 */
void
pl_store_orders(PlWork *work, const PlPayment *payment, List *orders)
{
	static const Oid types[ORDER_COLUMNS] = {
		INT8OID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
		INT8OID, INT4OID, TEXTOID
	};
	int			n = list_length(orders);
	Datum	   *columns[ORDER_COLUMNS];
	bool	   *failure_nulls = palloc(sizeof(bool) * n);
	PlArgs		args = {0};
	ListCell   *cell;

	if (n == 1)
	{
		store_order(work, payment, linitial(orders));
		return;
	}
	for (int c = 0; c < ORDER_COLUMNS; c++)
		columns[c] = palloc0(sizeof(Datum) * n);
	foreach(cell, orders)
	{
		const PlOrder *order = lfirst(cell);
		int			i = foreach_current_index(cell);

		columns[0][i] = Int64GetDatum(order->payment_order_id);
		columns[1][i] = CStringGetTextDatum(order->status);
		columns[2][i] = Int64GetDatum(order->captured_amount);
		columns[3][i] = Int64GetDatum(order->refunded_amount);
		columns[4][i] = Int64GetDatum(order->capture_pending_amount);
		columns[5][i] = Int64GetDatum(order->voided_amount);
		columns[6][i] = Int64GetDatum(order->refund_pending_amount);
		columns[7][i] = Int64GetDatum(order->disputed_amount);
		columns[8][i] = Int64GetDatum(order->commission_amount);
		columns[9][i] = Int64GetDatum(order->commission_refunded_amount);
		columns[10][i] = Int64GetDatum(order->commission_rule_id);
		columns[11][i] = Int32GetDatum(order->retry_count);
		failure_nulls[i] = order->failure_code == NULL;
		if (!failure_nulls[i])
			columns[12][i] = CStringGetTextDatum(order->failure_code);
	}

	pl_arg_int64(&args, payment->payment_id);
	for (int c = 0; c < ORDER_COLUMNS; c++)
		pl_arg_array(&args, columns[c], c == ORDER_COLUMNS - 1 ? failure_nulls : NULL, n, types[c]);
	pl_arg_timestamp(&args, work->now);
	if (pl_execute(&update_orders, &args) != (uint64) n)
		elog(ERROR, "could not find %d orders of payment " INT64_FORMAT, n, payment->payment_id);
}

/*
 * Make an order, as it is stored, the last result: the columns that capture()
 * returns.
 */
uint64
pl_return_order(int64 payment_id, int64 payment_order_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	pl_arg_int64(&args, payment_order_id);
	return pl_execute(&return_order, &args);
}

/* ---- events ---- */

/* The "data" of an event about a payment order, palloc'd. */
char *
pl_order_data(int64 payment_order_id, const char *seller_id, const char *currency,
			  int64 amount, const char *status)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "paymentOrderId", payment_order_id);
	pl_json_text(&out, "sellerId", seller_id);
	pl_json_text(&out, "currency", currency);
	pl_json_amount(&out, "amount", amount);
	pl_json_text(&out, "status", status);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * Note what the PSP owes for an order of the payment (amount > 0) or takes
 * back (< 0), minor units; zero is nothing.  kind and object_id as in PlItem.
 */
void
pl_order_item(PlWork *work, const PlPayment *payment, const PlOrder *order, const char *kind, int64 object_id,
			  int64 amount)
{
	PlItem		item = {
		.payment_id = payment->payment_id,
		.payment_order_id = order->payment_order_id,
		.object_id = object_id,
		.kind = kind,
		.gateway = payment->gateway,
		.psp_reference = payment->psp_reference,
		.seller_id = order->seller_id,
		.currency = payment->currency,
		.amount = amount
	};

	pl_item_add(work, &item);
}

/*
 * The next event of a locked payment, about one of its orders: amount minor
 * units, and a status.
 */
void
pl_order_event(PlWork *work, PlPayment *payment, const char *type, const PlOrder *order,
			   int64 amount, const char *status)
{
	pl_payment_event(work, type, payment->payment_id, ++payment->event_version,
					 pl_order_data(order->payment_order_id, order->seller_id, payment->currency,
								   amount, status), payment->traceparent);
}
