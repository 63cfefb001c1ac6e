/*
 * src/payment/reversals.c
 *		A capture that succeeded and is later reported failed: the mirror
 *		entries, and the money no longer counted as captured.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "payment/payment.h"

static PlQuery take_back_captured = {
	"UPDATE payledger.payments SET captured_amount = captured_amount - $2,"
	" voided_amount = voided_amount + $2,"
	" status = " PL_PAYMENT_STATUS("(captured_amount - $2)", "refunded_amount", "(voided_amount + $2)") ","
	" event_version = event_version + 2, updated_at = $3"
	" WHERE payment_id = $1 RETURNING event_version",
	3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery set_capture_failed = {
	"UPDATE payledger.payment_orders SET status = 'CAPTURE_FAILED', captured_amount = 0,"
	" failure_code = $3, updated_at = $4"
	" WHERE payment_id = $1 AND payment_order_id = $2",
	4, {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery find_entry = {
	"SELECT e.journal_entry_id, abs(p.amount) FROM payledger.journal_entries e"
	" JOIN payledger.postings p ON p.journal_entry_id = e.journal_entry_id AND p.leg = 1"
	" WHERE e.reference = $1", 1, {TEXTOID}
};

static PlQuery captured_amount = {
	"SELECT captured_amount FROM payledger.payment_orders WHERE payment_id = $1 AND payment_order_id = $2",
	2, {INT8OID, INT8OID}
};

/* The mirror of an entry of that type of the order, if it was posted. */
static void
post_mirror(PlWork *work, const char *entry_type, int64 payment_id, const PlOrder *order,
			const char *currency)
{
	PlArgs		args = {0};

	pl_arg_text(&args, psprintf("%s:" INT64_FORMAT, entry_type, order->payment_order_id));
	if (pl_execute(&find_entry, &args) == 0)
		return;
	pl_post_template(work->entries, psprintf("%s_REVERSAL", entry_type), payment_id,
					 psprintf("%s_REVERSAL:" INT64_FORMAT, entry_type, order->payment_order_id),
					 pl_get_int64(0, 1), order->seller_id, currency, pl_get_int64(0, 2));
}

/*
 * Apply REVERSED to the order that the request is for.  Locks the payment,
 * then the order.  Raises PL001 unless the order is CAPTURED.
 */
void
pl_apply_reversal(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	PlPayment	payment;
	PlOrder		order;
	PlArgs		key = {0};
	PlArgs		totals = {0};
	PlArgs		args = {0};
	int64		amount;
	int64		version;

	pl_lock_order(request->target, &payment, &order);
	if (strcmp(order.status, "CAPTURED") != 0)
		pl_illegal_transition("payment_order", request->target, order.status, "CAPTURE_FAILED");

	pl_arg_int64(&key, payment.payment_id);
	pl_arg_int64(&key, request->target);
	pl_execute(&captured_amount, &key);
	amount = pl_get_int64(0, 1);

	pl_arg_int64(&totals, payment.payment_id);
	pl_arg_int64(&totals, amount);
	pl_arg_timestamp(&totals, work->now);
	pl_execute(&take_back_captured, &totals);
	version = pl_get_int64(0, 1);

	pl_arg_int64(&args, payment.payment_id);
	pl_arg_int64(&args, request->target);
	pl_arg_text(&args, outcome->code);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&set_capture_failed, &args);

	post_mirror(work, "CAPTURE", payment.payment_id, &order, payment.currency);
	post_mirror(work, "COMMISSION_FEE", payment.payment_id, &order, payment.currency);
	/* the mirror brought the hold back, and the PSP no longer has it */
	pl_release_hold(work, payment.payment_id, request->target, ":REVERSAL", payment.currency, amount);

	pl_payment_event(work, "payment_order_psp_result_updated", payment.payment_id, version - 1,
					 pl_order_data(request->target, order.seller_id, payment.currency, amount, "REVERSED"),
					 payment.traceparent);
	pl_payment_event(work, "payment_order_finalized", payment.payment_id, version,
					 pl_order_data(request->target, order.seller_id, payment.currency, amount,
								   "CAPTURE_FAILED"), payment.traceparent);
}
