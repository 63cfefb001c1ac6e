/*
 * src/payment/orders.c
 *		Payment orders: found and locked for a command, and their events.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "payment/payment.h"

static PlQuery find_payment = {
	"SELECT payment_id FROM payledger.payment_orders WHERE payment_order_id = $1", 1, {INT8OID}
};

static PlQuery lock_payment = {
	"SELECT gateway, psp_reference, event_version, traceparent, currency, status::text, total_amount,"
	" order_id"
	" FROM payledger.payments WHERE payment_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery lock_order = {
	"SELECT seller_id, amount, status::text"
	" FROM payledger.payment_orders WHERE payment_id = $1 AND payment_order_id = $2 FOR NO KEY UPDATE",
	2, {INT8OID, INT8OID}
};

static PlQuery set_event_version = {
	"UPDATE payledger.payments SET event_version = $2, updated_at = $3 WHERE payment_id = $1",
	3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

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
}

/*
 * Lock a payment order, after its payment, and read both.  PL007 if none.
 */
void
pl_lock_order(int64 payment_order_id, PlPayment *payment, PlOrder *order)
{
	PlArgs		args = {0};
	PlArgs		key = {0};
	int64		payment_id;

	pl_arg_int64(&args, payment_order_id);
	if (pl_execute(&find_payment, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("payment_order " INT64_FORMAT " does not exist", payment_order_id),
				 errhint("Payment orders exist once their intent is AUTHORIZED.")));
	payment_id = pl_get_int64(0, 1);
	pl_lock_payment(payment_id, payment);

	pl_arg_int64(&key, payment_id);
	pl_arg_int64(&key, payment_order_id);
	pl_execute(&lock_order, &key);
	order->payment_order_id = payment_order_id;
	order->seller_id = pl_get_text(0, 1);
	order->amount = pl_get_int64(0, 2);
	order->status = pl_get_text(0, 3);
}

/*
 * Store the version of the payment's newest event.  The payment is locked.
 */
void
pl_store_event_version(PlWork *work, const PlPayment *payment)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, payment->event_version);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&set_event_version, &args);
}

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
 * Give a part of the authorization back: AUTH_RELEASE for an order.  suffix
 * tells several releases of one order apart, and is empty for the first.
 */
void
pl_release_hold(PlWork *work, int64 payment_id, int64 payment_order_id, const char *suffix,
				const char *currency, int64 amount)
{
	if (amount > 0)
		pl_post_template(work->entries, "AUTH_RELEASE", payment_id,
						 psprintf("AUTH_RELEASE:" INT64_FORMAT "%s", payment_order_id, suffix),
						 0, NULL, currency, amount);
}
