/*
 * src/payment/captures.c
 *		What the PSP's answer to a capture means for the orders it is for: one,
 *		or all that were planned onto it.
 */
#include "postgres.h"

#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment_internal.h"
#include "seller/seller.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* An order that a capture is for, and what of it was asked for, minor units. */
typedef struct Captured
{
	PlOrder    *order;
	int64		asked;
} Captured;

/* The data of payment_order_psp_result_updated. */
static char *
result_data(const PlRequest *request, const PlOrder *order, int64 amount, const PlOutcome *outcome)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "paymentOrderId", order->payment_order_id);
	pl_json_text(&out, "sellerId", order->seller_id);
	pl_json_text(&out, "currency", request->currency);
	pl_json_amount(&out, "amount", amount);
	pl_json_text(&out, "outcome", pl_outcome_name(outcome->class));
	pl_json_text(&out, "code", outcome->code);
	pl_json_amount(&out, "attempt", request->attempt);
	appendStringInfoChar(&out, '}');
	return out.data;
}

static void
add_result_event(PlWork *work, PlPayment *payment, const PlRequest *request, const Captured *captured,
				 const PlOutcome *outcome)
{
	pl_payment_event(work, "payment_order_psp_result_updated", payment->payment_id, ++payment->event_version,
					 result_data(request, captured->order, captured->asked, outcome), payment->traceparent);
}

/*
 * The orders that the request is for, in a List of Captured.  An answer about
 * an order that does not wait for one contradicts what was decided: for an
 * operator, not for a program.  Raises PL001.
 */
static List *
orders_of_capture(const PlRequest *request, const PlOutcome *outcome, List *orders)
{
	List	   *result = NIL;
	int64		asked = 0;
	ListCell   *cell;

	foreach(cell, orders)
	{
		PlOrder    *order = lfirst(cell);
		Captured   *captured;

		if (order->capture_pending_amount == 0 ||
			(request->target != request->payment_id && order->payment_order_id != request->target))
			continue;
		captured = palloc(sizeof(Captured));
		captured->order = order;
		captured->asked = request->target == request->payment_id ? order->capture_pending_amount :
			Min(request->amount, order->capture_pending_amount);
		asked += captured->asked;
		result = lappend(result, captured);
	}
	if (result == NIL || asked != request->amount)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("payment_order " INT64_FORMAT " does not wait for a capture", request->target),
				 errdetail("The PSP's answer is %s, " INT64_FORMAT " were asked for and " INT64_FORMAT " are waited for.",
						   pl_outcome_name(outcome->class), request->amount, asked)));
	return result;
}

/* ---- captured ---- */

static void
post_commission(PlWork *work, const PlPayment *payment, PlOrder *order, const char *reference, int64 amount)
{
	PlCommission commission;
	PlEntry    *entry;

	pl_commission_of_capture(order->seller_id, payment->currency, amount, work->now, &commission);
	order->commission_rule_id = commission.rule_id;
	order->commission_amount = pl_add_amount(order->commission_amount, commission.amount);
	entry = pl_post_template(work->entries, "COMMISSION_FEE", payment->payment_id,
							 psprintf("COMMISSION_FEE:%s", reference), 0,
							 order->seller_id, payment->currency, commission.amount);
	if (entry != NULL)
		entry->metadata = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(
								psprintf("{\"commission_rule_id\": \"" INT64_FORMAT "\"}", commission.rule_id))));
}

/* The PSP captured amount of what was asked of the order; the rest of it is given back. */
static void
capture_order(PlWork *work, PlPayment *payment, const PlRequest *request, const Captured *captured, int64 amount)
{
	PlOrder    *order = captured->order;
	char	   *reference = psprintf(INT64_FORMAT ":" INT64_FORMAT, request->psp_request_id, order->payment_order_id);

	order->capture_pending_amount -= captured->asked;
	order->captured_amount = pl_add_amount(order->captured_amount, amount);
	payment->captured_amount = pl_add_amount(payment->captured_amount, amount);
	pl_order_amounts_changed(order);
	if (order->captured_amount == 0 && order->capture_pending_amount == 0)
		order->status = "CAPTURE_FAILED";

	pl_post_template(work->entries, "CAPTURE", payment->payment_id, psprintf("CAPTURE:%s", reference), 0,
					 order->seller_id, payment->currency, amount);
	if (amount > 0)
	{
		pl_order_item(work, payment, order, "CAPTURE", request->psp_request_id, amount);
		post_commission(work, payment, order, reference, amount);
		pl_reserve_of_capture(work, payment, order, request->psp_request_id, amount);
	}
	pl_release_order(work, payment, order, captured->asked - amount);
}

/* What the PSP captured, shared out over what was asked for. */
static int64 *
shares_of_capture(const PlRequest *request, const PlOutcome *outcome, List *captured)
{
	int			n = list_length(captured);
	int64		amount = outcome->amount > 0 ? outcome->amount : request->amount;
	int64	   *weights = palloc(sizeof(int64) * n);
	int64	   *shares = palloc(sizeof(int64) * n);
	ListCell   *cell;

	if (amount > request->amount)
		ereport(ERROR,
				(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
				 errmsg("psp_request " INT64_FORMAT " captured " INT64_FORMAT ", more than the " INT64_FORMAT " it asked for",
						request->psp_request_id, amount, request->amount)));
	foreach(cell, captured)
		weights[foreach_current_index(cell)] = ((Captured *) lfirst(cell))->asked;
	pl_allocate(amount, weights, n, shares);
	return shares;
}

static void
capture_succeeded(PlWork *work, PlPayment *payment, const PlRequest *request, const PlOutcome *outcome,
				  List *captured)
{
	int64	   *shares = shares_of_capture(request, outcome, captured);
	ListCell   *cell;

	foreach(cell, captured)
	{
		const Captured *one = lfirst(cell);
		int64		share = shares[foreach_current_index(cell)];

		capture_order(work, payment, request, one, share);
		add_result_event(work, payment, request, one, outcome);
		pl_order_event(work, payment, "payment_order_finalized", one->order, share, one->order->status);
	}
}

/* ---- not captured ---- */

/* A refused capture ends its order: what is not captured or pending otherwise is given back. */
static void
capture_refused(PlWork *work, PlPayment *payment, const PlRequest *request, const PlOutcome *outcome,
				List *captured)
{
	ListCell   *cell;

	foreach(cell, captured)
	{
		const Captured *one = lfirst(cell);
		PlOrder    *order = one->order;

		order->capture_pending_amount -= one->asked;
		order->failure_code = outcome->code ? pstrdup(outcome->code) : NULL;
		if (order->captured_amount == 0 && order->capture_pending_amount == 0)
			order->status = "CAPTURE_FAILED";
		pl_release_order(work, payment, order, pl_capturable(order));
		add_result_event(work, payment, request, one, outcome);
		pl_order_event(work, payment, "payment_order_finalized", order, one->asked, order->status);
	}
}

/* Still unknown is no news. */
static void
capture_undecided(PlWork *work, PlPayment *payment, const PlRequest *request, const PlOutcome *outcome,
				  List *captured)
{
	bool		is_retry = outcome->class == PL_OUTCOME_RETRY;
	ListCell   *cell;

	foreach(cell, captured)
	{
		const Captured *one = lfirst(cell);
		bool		is_news = strcmp(one->order->status, "CAPTURE_REQUESTED") == 0;

		if (is_news)
			one->order->status = "PENDING_CAPTURE";
		if (is_retry)
			one->order->retry_count++;
		if (is_news || is_retry)
			add_result_event(work, payment, request, one, outcome);
	}
}

static List *
orders_in(List *captured)
{
	List	   *orders = NIL;
	ListCell   *cell;

	foreach(cell, captured)
		orders = lappend(orders, ((Captured *) lfirst(cell))->order);
	return orders;
}

/*
 * Apply the outcome of a CAPTURE.  Locks the payment.  Raises PL001 when what
 * it is for does not wait for one, PL005 when more was captured than asked.
 */
void
pl_apply_capture(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	PlPayment	payment;
	List	   *orders;
	List	   *captured;
	bool		is_over = false;

	pl_lock_payment(request->payment_id, &payment);
	orders = pl_read_orders(request->payment_id);
	captured = orders_of_capture(request, outcome, orders);
	switch (outcome->class)
	{
		case PL_OUTCOME_SUCCEEDED:
			capture_succeeded(work, &payment, request, outcome, captured);
			/* the final one freed the rest at the PSP, too */
			is_over = strcmp(request->parameters, PL_CAPTURE_FINAL) != 0;
			break;
		case PL_OUTCOME_REFUSED:
			capture_refused(work, &payment, request, outcome, captured);
			is_over = true;
			break;
		case PL_OUTCOME_RETRY:
		case PL_OUTCOME_UNKNOWN:
		case PL_OUTCOME_PENDING:
			capture_undecided(work, &payment, request, outcome, captured);
			break;
		case PL_OUTCOME_REVERSED:
		case PL_OUTCOME_ACTION_REQUIRED:
			elog(ERROR, "outcome %s of a capture", pl_outcome_name(outcome->class));
	}
	if (is_over)
		pl_release_at_psp(work, &payment, orders);
	pl_store_payment(work, &payment);
	pl_store_orders(work, &payment, orders_in(captured));
}
