/*
 * src/payment/reversals.c
 *		A capture that succeeded and is later reported failed: the mirror
 *		entries, and the money no longer counted as captured.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "payment/payment_internal.h"
#include "utils/builtins.h"

/* when to look again at a reversal that something under way stands in the way of */
#define ASK_AGAIN_MS 2000

static PlQuery captured_by = {
	"SELECT p.amount FROM payledger.journal_entries e"
	" JOIN payledger.postings p ON p.journal_entry_id = e.journal_entry_id AND p.leg = 1"
	" WHERE e.reference = $1", 1, {TEXTOID}
};

static PlQuery is_reversed = {
	"SELECT 1 FROM payledger.journal_entries WHERE reference = $1", 1, {TEXTOID}
};

/* Refunds of an order that gave commission back, the newest first. */
static PlQuery find_given_back = {
	"SELECT refund_id, commission_amount FROM payledger.refunds"
	" WHERE payment_id = $1 AND payment_order_id = $2 AND commission_amount > 0 ORDER BY refund_id DESC",
	2, {INT8OID, INT8OID}
};

static PlQuery reduce_given_back = {
	"UPDATE payledger.refunds SET commission_amount = commission_amount - $3, updated_at = $4"
	" WHERE payment_id = $1 AND refund_id = $2", 4, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
};

/* What tells the entries of a capture for an order. */
static char *
reference_of(const PlRequest *request, const PlOrder *order)
{
	return psprintf(INT64_FORMAT ":" INT64_FORMAT, request->follows, order->payment_order_id);
}

/* What of the order that capture took and still has, minor units. */
static int64
captured_amount_of(const PlRequest *request, const PlOrder *order)
{
	PlArgs		args = {0};
	PlArgs		reversal = {0};

	pl_arg_text(&reversal, psprintf("CAPTURE_REVERSAL:%s", reference_of(request, order)));
	if (pl_execute(&is_reversed, &reversal) > 0)
		return 0;
	pl_arg_text(&args, psprintf("CAPTURE:%s", reference_of(request, order)));
	return pl_execute(&captured_by, &args) > 0 ? pl_get_int64(0, 1) : 0;
}

/* Take part (minor units) of the commission back that a refund gave. */
static void
take_back(PlWork *work, const PlPayment *payment, const PlRequest *request, PlOrder *order, int64 refund_id, int64 part)
{
	PlArgs		args = {0};

	pl_post_part_mirror(work, "COMMISSION_REFUND", psprintf(INT64_FORMAT, refund_id),
						psprintf(INT64_FORMAT, request->follows), payment->payment_id, order->seller_id,
						payment->currency, part);
	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, refund_id);
	pl_arg_int64(&args, part);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&reduce_given_back, &args);
	order->commission_refunded_amount -= part;
}

/*
 * The commission of the capture goes back to the seller; what refunds gave
 * back of it before must not go back twice.
 */
static void
reverse_commission(PlWork *work, const PlPayment *payment, const PlRequest *request, PlOrder *order,
				   const char *reference)
{
	PlArgs		args = {0};
	int64	   *ids;
	int64	   *given;
	int			n;

	order->commission_amount -=
		pl_post_mirror(work, "COMMISSION_FEE", reference, payment->payment_id, order->seller_id, payment->currency,
					   order->commission_amount);
	if (order->commission_refunded_amount <= order->commission_amount)
		return;

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, order->payment_order_id);
	n = (int) pl_execute(&find_given_back, &args);
	ids = palloc(sizeof(int64) * Max(n, 1));
	given = palloc(sizeof(int64) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		ids[i] = pl_get_int64(i, 1);
		given[i] = pl_get_int64(i, 2);
	}
	for (int i = 0; i < n && order->commission_refunded_amount > order->commission_amount; i++)
		take_back(work, payment, request, order, ids[i],
				  Min(given[i], order->commission_refunded_amount - order->commission_amount));
}

static void
reverse_order(PlWork *work, PlPayment *payment, const PlRequest *request, PlOrder *order, int64 amount,
			  const char *code)
{
	char	   *reference = reference_of(request, order);

	order->captured_amount -= amount;
	payment->captured_amount -= amount;
	order->failure_code = code ? pstrdup(code) : NULL;
	pl_order_amounts_changed(order);

	pl_post_mirror(work, "CAPTURE", reference, payment->payment_id, order->seller_id, payment->currency, amount);
	pl_order_item(work, payment, order, "CAPTURE_REVERSAL", request->follows, -amount);
	reverse_commission(work, payment, request, order, reference);
	pl_release_reserve_of_capture(work, payment, order, request->follows);
	/* the mirror brought the hold back, and the PSP no longer has it */
	pl_release_order(work, payment, order, amount);
	if (order->captured_amount == 0)
	{
		/* as after a refused capture, nothing of the order is kept open */
		order->status = "CAPTURE_FAILED";
		pl_release_order(work, payment, order, pl_capturable(order));
	}

	pl_order_event(work, payment, "payment_order_psp_result_updated", order, amount, "REVERSED");
	pl_order_event(work, payment, "payment_order_finalized", order, amount, order->status);
}

/*
 * May that much of the order be taken back?  Not while a capture or refund of
 * it is under way: then false.  Raises PL001 when it was refunded: the PSP must
 * report that refund failed first.
 */
static bool
can_be_reversed(const PlOrder *order, int64 amount)
{
	if (order->captured_amount - amount >= order->refunded_amount + order->refund_pending_amount &&
		(order->captured_amount > amount || order->capture_pending_amount == 0))
		return true;
	if (order->captured_amount - amount < order->refunded_amount)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("capture of payment_order " INT64_FORMAT " cannot be reversed", order->payment_order_id),
				 errdetail("Captured are " INT64_FORMAT ", of which " INT64_FORMAT " were refunded; the reversal is of " INT64_FORMAT ".",
						   order->captured_amount, order->refunded_amount, amount),
				 errhint("Find out at the PSP which of the two is true.")));
	return false;
}

/*
 * Ask the PSP again when what is under way may be decided.  An operator, whose
 * word is about the capture's own request, has to come back.
 */
static void
put_off(PlWork *work, const PlRequest *request, const PlOrder *order)
{
	if (request->follows == request->psp_request_id)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("capture of payment_order " INT64_FORMAT " cannot be reversed yet", order->payment_order_id),
				 errdetail("A capture or refund of it is under way."),
				 errhint("Try again when that is decided.")));
	pl_request_add(work, &(PlNewRequest) {
		.payment_id = request->payment_id,
		.gateway = request->gateway,
		.operation = PL_OP_RETRIEVE,
		.target = request->target,
		.follows = request->follows,
		.amount = request->amount,
		.currency = request->currency,
		.payment_method = request->payment_method,
		.psp_reference = request->psp_reference,
		.parameters = request->parameters,
		.delay_ms = ASK_AGAIN_MS
	});
}

/*
 * Apply REVERSED to the capture that the request follows.  Locks the payment.
 * Reported again, it changes nothing.  Raises PL001 if what was captured is
 * refunded already.
 */
void
pl_apply_capture_reversal(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	PlPayment	payment;
	List	   *orders;
	List	   *reversed = NIL;
	bool		was_open = false;
	ListCell   *cell;

	pl_lock_payment(request->payment_id, &payment);
	orders = pl_read_orders(request->payment_id);
	foreach(cell, orders)
	{
		PlOrder    *order = lfirst(cell);
		int64		amount;

		if (request->target != request->payment_id && order->payment_order_id != request->target)
			continue;
		amount = captured_amount_of(request, order);
		if (amount == 0)
			continue;
		if (!can_be_reversed(order, amount))
		{
			put_off(work, request, order);
			return;
		}
		reversed = lappend(reversed, order);
	}
	if (reversed == NIL)
		return;

	foreach(cell, reversed)
	{
		was_open = was_open || pl_capturable(lfirst(cell)) > 0;
		reverse_order(work, &payment, request, lfirst(cell), captured_amount_of(request, lfirst(cell)), outcome->code);
	}
	if (was_open)
		pl_release_at_psp(work, &payment, orders);
	pl_store_payment(work, &payment);
	pl_store_orders(work, &payment, reversed);
}
