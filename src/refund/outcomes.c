/*
 * src/refund/outcomes.c
 *		What the PSP's answer to a refund means; and the events of refunds.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment.h"
#include "refund/refund_internal.h"
#include "seller/seller.h"
#include "utils/builtins.h"

/* A refund of a locked payment. */
typedef struct Refund
{
	int64		refund_id;
	int64		payment_order_id;
	int64		amount;
	int64		commission;		/* that it gave back */
	char	   *status;
} Refund;

static PlQuery select_refund = {
	"SELECT payment_order_id, amount, commission_amount, status::text FROM payledger.refunds"
	" WHERE payment_id = $1 AND refund_id = $2", 2, {INT8OID, INT8OID}
};

static PlQuery update_refund = {
	"UPDATE payledger.refunds SET status = $3::payledger.refund_status, commission_amount = $4,"
	" failure_code = $5, updated_at = $6 WHERE payment_id = $1 AND refund_id = $2",
	6, {INT8OID, INT8OID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static void
read_refund(int64 payment_id, int64 refund_id, Refund *refund)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	pl_arg_int64(&args, refund_id);
	if (pl_execute(&select_refund, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("refund " INT64_FORMAT " does not exist", refund_id)));
	refund->refund_id = refund_id;
	refund->payment_order_id = pl_get_int64(0, 1);
	refund->amount = pl_get_int64(0, 2);
	refund->commission = pl_get_int64(0, 3);
	refund->status = pl_get_text(0, 4);
}

static void
store_refund(PlWork *work, int64 payment_id, const Refund *refund, const char *status, const char *code)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	pl_arg_int64(&args, refund->refund_id);
	pl_arg_text(&args, status);
	pl_arg_int64(&args, refund->commission);
	pl_arg_text(&args, code);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&update_refund, &args);
}

/*
 * The next event of a locked payment, about a refund; code says why it failed,
 * or is NULL.
 */
void
pl_refund_event(PlWork *work, PlPayment *payment, const char *type, int64 refund_id, const PlOrder *order,
				int64 amount, const char *status, const char *code)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "refundId", refund_id);
	pl_json_id(&out, "paymentOrderId", order->payment_order_id);
	pl_json_text(&out, "sellerId", order->seller_id);
	pl_json_text(&out, "currency", payment->currency);
	pl_json_amount(&out, "amount", amount);
	pl_json_text(&out, "status", status);
	if (code != NULL)
		pl_json_text(&out, "failureCode", code);
	appendStringInfoChar(&out, '}');
	pl_payment_event(work, type, payment->payment_id, ++payment->event_version, out.data, payment->traceparent);
}

static char *
reference_of(const Refund *refund)
{
	return psprintf(INT64_FORMAT, refund->refund_id);
}

static void
refund_succeeded(PlWork *work, PlPayment *payment, PlOrder *order, Refund *refund)
{
	PlCommissionTaken taken = {
		.rule_id = order->commission_rule_id,
		.amount = order->commission_amount,
		.refunded = order->commission_refunded_amount,
		.captured_amount = order->captured_amount,
		.refunded_amount = order->refunded_amount
	};

	refund->commission = pl_commission_of_refund(&taken, refund->amount);
	order->refund_pending_amount -= refund->amount;
	order->refunded_amount += refund->amount;
	order->commission_refunded_amount += refund->commission;
	payment->refunded_amount += refund->amount;
	pl_order_amounts_changed(order);

	pl_post_template(work->entries, "REFUND_DONE", payment->payment_id,
					 psprintf("REFUND_DONE:%s", reference_of(refund)), 0, NULL, payment->currency, refund->amount);
	pl_post_template(work->entries, "COMMISSION_REFUND", payment->payment_id,
					 psprintf("COMMISSION_REFUND:%s", reference_of(refund)), 0,
					 order->seller_id, payment->currency, refund->commission);
	pl_order_item(work, payment, order, "REFUND", refund->refund_id, -refund->amount);
	store_refund(work, payment->payment_id, refund, "SUCCEEDED", NULL);
	pl_refund_event(work, payment, "refund_finalized", refund->refund_id, order, refund->amount, "SUCCEEDED", NULL);
}

/* The funds go back to the seller. */
static void
fail(PlWork *work, PlPayment *payment, PlOrder *order, Refund *refund, const char *code)
{
	pl_post_mirror(work, "REFUND_REQUESTED", reference_of(refund), payment->payment_id, order->seller_id,
				   payment->currency, refund->amount);
	store_refund(work, payment->payment_id, refund, "FAILED", code);
	pl_refund_event(work, payment, "refund_finalized", refund->refund_id, order, refund->amount, "FAILED", code);
}

/* It was never paid. */
static void
refund_failed(PlWork *work, PlPayment *payment, PlOrder *order, Refund *refund, const char *code)
{
	order->refund_pending_amount -= refund->amount;
	fail(work, payment, order, refund, code);
}

/* It was reported paid, and came back. */
static void
refund_reversed(PlWork *work, PlPayment *payment, PlOrder *order, Refund *refund, const char *code)
{
	order->refunded_amount -= refund->amount;
	order->commission_refunded_amount -= refund->commission;
	payment->refunded_amount -= refund->amount;
	pl_order_amounts_changed(order);

	pl_post_mirror(work, "COMMISSION_REFUND", reference_of(refund), payment->payment_id, order->seller_id,
				   payment->currency, refund->commission);
	pl_post_mirror(work, "REFUND_DONE", reference_of(refund), payment->payment_id, NULL, payment->currency,
				   refund->amount);
	pl_order_item(work, payment, order, "REFUND_REVERSAL", refund->refund_id, refund->amount);
	refund->commission = 0;
	fail(work, payment, order, refund, code);
}

/*
 * A refund of an order of a locked payment failed before it was sent; the
 * caller stores payment and order.
 */
void
pl_refund_failed(PlWork *work, PlPayment *payment, PlOrder *order, int64 refund_id, const char *code)
{
	Refund		refund;

	read_refund(payment->payment_id, refund_id, &refund);
	refund_failed(work, payment, order, &refund, code);
}

/*
 * Apply the outcome of a REFUND, or of a question about one.  Locks the
 * payment.  What is known already changes nothing; a success after it failed
 * raises PL001.
 */
void
pl_apply_refund(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	PlPayment	payment;
	PlOrder    *order;
	Refund		refund;
	bool		is_open;
	bool		is_paid;

	pl_lock_payment(request->payment_id, &payment);
	read_refund(request->payment_id, request->target, &refund);
	order = pl_find_order(pl_read_orders(request->payment_id), refund.payment_order_id);
	is_paid = strcmp(refund.status, "SUCCEEDED") == 0;
	is_open = !is_paid && strcmp(refund.status, "FAILED") != 0;

	switch (outcome->class)
	{
		case PL_OUTCOME_SUCCEEDED:
			if (is_paid)
				return;
			if (!is_open)
				pl_illegal_transition("refund", refund.refund_id, refund.status, "SUCCEEDED");
			refund_succeeded(work, &payment, order, &refund);
			break;
		case PL_OUTCOME_REFUSED:
		case PL_OUTCOME_REVERSED:
			if (is_open)
				refund_failed(work, &payment, order, &refund, outcome->code);
			else if (is_paid)
				refund_reversed(work, &payment, order, &refund, outcome->code);
			else
				return;
			break;
		case PL_OUTCOME_PENDING:
		case PL_OUTCOME_RETRY:
		case PL_OUTCOME_UNKNOWN:
			if (strcmp(refund.status, "REQUESTED") == 0)
				store_refund(work, payment.payment_id, &refund, "PENDING", NULL);
			return;
		case PL_OUTCOME_ACTION_REQUIRED:
			elog(ERROR, "outcome %s of a refund", pl_outcome_name(outcome->class));
	}
	pl_store_payment(work, &payment);
	pl_store_orders(work, &payment, list_make1(order));
}
