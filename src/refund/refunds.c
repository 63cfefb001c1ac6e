/*
 * src/refund/refunds.c
 *		Asking for refunds: one order, or a whole payment; and withdrawing
 *		those that were not sent yet.
 *
 * What is asked for counts against the order from the request on, under the
 * payment's lock, so that no number of concurrent refunds can pass what was
 * captured; its funds wait in REFUND_CLEARING.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment.h"
#include "refund/refund_internal.h"
#include "utils/builtins.h"

#define MAX_REASON 255

static const char *const refund_states[] = {"REQUESTED", "PENDING", "SUCCEEDED", "FAILED"};

static const PlEdge refund_edges[] = {
	{NULL, "REQUESTED"},
	{"REQUESTED", "PENDING"},
	{"REQUESTED", "SUCCEEDED"},
	{"REQUESTED", "FAILED"},
	{"PENDING", "SUCCEEDED"},
	{"PENDING", "FAILED"},
	{"SUCCEEDED", "FAILED"},	/* late reversal */
};

static const PlMachine machine = PL_MACHINE("refund", refund_states, refund_edges);

/*
 * Make the room's machine known.  Called from _PG_init.
 */
void
pl_refund_init(void)
{
	pl_register_machine(&machine);
}

static PlQuery insert_refund = {
	"INSERT INTO payledger.refunds (refund_id, payment_id, payment_order_id, seller_id, amount, currency, reason,"
	" status, created_at, updated_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, 'REQUESTED', $8, $8)",
	8, {INT8OID, INT8OID, INT8OID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery return_refund = {
	"SELECT refund_id, payment_order_id, payment_id, seller_id, amount, currency, status::text, reason, created_at"
	" FROM payledger.refunds WHERE payment_id = $1 AND refund_id = $2", 2, {INT8OID, INT8OID}
};

static PlQuery return_refunds = {
	"SELECT $1 AS payment_id, min(currency) AS currency, sum(amount)::bigint AS amount,"
	" array_agg(refund_id ORDER BY refund_id) AS refund_ids"
	" FROM payledger.refunds WHERE payment_id = $1 AND refund_id = ANY($2)", 2, {INT8OID, INT8ARRAYOID}
};

/* A request that was never leased was never sent; one that is being leased is waited for. */
static PlQuery withdraw_requests = {
	"UPDATE payledger.psp_requests SET status = 'REFUSED', reply_code = 'disputed',"
	" reply_message = 'withdrawn before it was sent', updated_at = $2"
	" WHERE payment_id = $1 AND operation = 'REFUND' AND status = 'READY' AND first_sent_at IS NULL"
	" AND target = ANY (SELECT r.refund_id FROM payledger.refunds r"
	"  WHERE r.payment_id = $1 AND r.payment_order_id = $3 AND r.status IN ('REQUESTED', 'PENDING'))"
	" RETURNING target", 3, {INT8OID, TIMESTAMPTZOID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_refund);
PG_FUNCTION_INFO_V1(pl_sql_refund_payment);

static void
check_amount(const char *object, int64 id, int64 amount, int64 refundable, int64 captured, int64 disputed)
{
	if (amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount " INT64_FORMAT " of %s " INT64_FORMAT " is not greater than zero",
						amount, object, id)));
	if (amount > refundable)
		ereport(ERROR,
				(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
				 refundable == 0 ? errmsg("nothing is left to refund of %s " INT64_FORMAT, object, id) :
				 errmsg("amount " INT64_FORMAT " is above what is left to refund of %s " INT64_FORMAT,
						amount, object, id),
				 errdetail("Of " INT64_FORMAT " captured, " INT64_FORMAT " are left; disputes took " INT64_FORMAT ".",
						   captured, refundable, disputed),
				 disputed > 0 ? errhint("What a dispute took is with the shopper already.") : 0));
}

/*
 * The next refund of an order of a locked payment, of an amount that was
 * checked.  Returns its id.
 */
static int64
add_refund(PlWork *work, PlPayment *payment, PlOrder *order, int64 amount, const char *reason)
{
	int64		refund_id = pl_next_id();
	PlArgs		args = {0};

	order->refund_pending_amount = pl_add_amount(order->refund_pending_amount, amount);
	pl_arg_int64(&args, refund_id);
	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, order->payment_order_id);
	pl_arg_text(&args, order->seller_id);
	pl_arg_int64(&args, amount);
	pl_arg_text(&args, payment->currency);
	pl_arg_text(&args, reason);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&insert_refund, &args);

	pl_post_template(work->entries, "REFUND_REQUESTED", payment->payment_id,
					 psprintf("REFUND_REQUESTED:" INT64_FORMAT, refund_id), 0,
					 order->seller_id, payment->currency, amount);
	pl_request_add(work, &(PlNewRequest) {
		.payment_id = payment->payment_id,
		.gateway = payment->gateway,
		.operation = PL_OP_REFUND,
		.target = refund_id,
		.amount = amount,
		.currency = payment->currency,
		.payment_method = pl_payment_method(payment->payment_id),
		.psp_reference = payment->psp_reference
	});
	pl_refund_event(work, payment, "refund_requested", refund_id, order, amount, "REQUESTED", NULL);
	return refund_id;
}

/* ---- commands ---- */

/*
 * Both commands have the arguments id, amount, reason and idempotency_key:
 * checks the reason and claims the key.  True: done before, and replayed.
 */
static bool
claim_or_replay(FunctionCallInfo fcinfo, PlIdempotency *claim, const char *command, int64 id)
{
	char	   *reason = pl_optional_text_arg(fcinfo, 2);

	if (reason != NULL)
		pl_check_text("reason", reason, MAX_REASON);
	return pl_idempotency_replay(fcinfo, claim, command, pl_optional_text_arg(fcinfo, 3),
								 psprintf(INT64_FORMAT " %s %s", id,
										  PG_ARGISNULL(1) ? "whole" : psprintf(INT64_FORMAT, PG_GETARG_INT64(1)),
										  reason ? reason : ""));
}

/*
 * refund(payment_order_id, amount, reason, idempotency_key)
 *		Null amount: all that is left of the order.
 */
Datum
pl_sql_refund(PG_FUNCTION_ARGS)
{
	int64		order_id = pl_int64_arg(fcinfo, 0, "payment_order_id");
	bool		is_whole = PG_ARGISNULL(1);
	char	   *reason = pl_optional_text_arg(fcinfo, 2);
	PlIdempotency claim;

	pl_connect();
	pl_require_layout();
	if (!claim_or_replay(fcinfo, &claim, "refund", order_id))
	{
		PlPayment	payment;
		PlOrder    *order = pl_lock_order(order_id, &payment);
		PlArgs		args = {0};
		PlWork	   *work;
		int64		amount;
		int64		refund_id;

		if (order->captured_amount == 0)
			pl_illegal_transition("payment_order", order_id, order->status, "PARTIALLY_REFUNDED");
		amount = is_whole ? Max(pl_refundable(order), 1) : PG_GETARG_INT64(1);
		check_amount("payment_order", order_id, amount, pl_refundable(order), order->captured_amount,
					 order->disputed_amount);

		work = pl_work_begin("refund");
		refund_id = add_refund(work, &payment, order, amount, reason);
		pl_store_payment(work, &payment);
		pl_store_orders(work, &payment, list_make1(order));
		pl_work_end(work);

		pl_arg_int64(&args, payment.payment_id);
		pl_arg_int64(&args, refund_id);
		pl_execute(&return_refund, &args);
		pl_idempotency_store(&claim);
		pl_return_rows(fcinfo);
	}
	pl_finish();
	return (Datum) 0;
}

/* Refunds of the orders of a payment that add up to amount.  Returns their ids as an array. */
static Datum *
add_refunds(PlWork *work, PlPayment *payment, List *orders, int64 amount, const char *reason, int *nrefunds)
{
	int			n = list_length(orders);
	int64	   *weights = palloc(sizeof(int64) * n);
	int64	   *shares = palloc(sizeof(int64) * n);
	Datum	   *ids = palloc(sizeof(Datum) * n);
	ListCell   *cell;

	foreach(cell, orders)
		weights[foreach_current_index(cell)] = pl_refundable(lfirst(cell));
	pl_allocate(amount, weights, n, shares);
	*nrefunds = 0;
	foreach(cell, orders)
	{
		int64		share = shares[foreach_current_index(cell)];

		if (share > 0)
			ids[(*nrefunds)++] = Int64GetDatum(add_refund(work, payment, lfirst(cell), share, reason));
	}
	return ids;
}

/*
 * refund_payment(payment_id, amount, reason, idempotency_key)
 *		Null amount: all that is left.  Shared out over the orders in
 *		proportion to what is left of each.
 */
Datum
pl_sql_refund_payment(PG_FUNCTION_ARGS)
{
	int64		payment_id = pl_int64_arg(fcinfo, 0, "payment_id");
	bool		is_whole = PG_ARGISNULL(1);
	char	   *reason = pl_optional_text_arg(fcinfo, 2);
	PlIdempotency claim;

	pl_connect();
	pl_require_layout();
	if (!claim_or_replay(fcinfo, &claim, "refund_payment", payment_id))
	{
		PlPayment	payment;
		PlArgs		args = {0};
		PlWork	   *work;
		List	   *orders;
		ListCell   *cell;
		Datum	   *ids;
		int			nids;
		int64		refundable = 0;
		int64		disputed = 0;
		int64		amount;

		pl_lock_payment(payment_id, &payment);
		orders = pl_read_orders(payment_id);
		if (payment.captured_amount == 0)
			pl_illegal_transition("payment", payment_id, payment.status, "PARTIALLY_REFUNDED");
		foreach(cell, orders)
		{
			refundable = pl_add_amount(refundable, pl_refundable(lfirst(cell)));
			disputed = pl_add_amount(disputed, ((PlOrder *) lfirst(cell))->disputed_amount);
		}
		amount = is_whole ? Max(refundable, 1) : PG_GETARG_INT64(1);
		check_amount("payment", payment_id, amount, refundable, payment.captured_amount, disputed);

		work = pl_work_begin("refund_payment");
		ids = add_refunds(work, &payment, orders, amount, reason, &nids);
		pl_store_payment(work, &payment);
		pl_store_orders(work, &payment, orders);
		pl_work_end(work);

		pl_arg_int64(&args, payment_id);
		pl_arg_array(&args, ids, NULL, nids, INT8OID);
		pl_execute(&return_refunds, &args);
		pl_idempotency_store(&claim);
		pl_return_rows(fcinfo);
	}
	pl_finish();
	return (Datum) 0;
}

/*
 * A dispute takes the money of an order back: refunds of it that were not sent
 * yet must not pay a second time.  They fail with code "disputed" and give
 * their funds back; those in flight the PSP decides.  payment is locked; the
 * caller stores payment and order.
 */
void
pl_withdraw_refunds(PlWork *work, PlPayment *payment, PlOrder *order)
{
	PlArgs		args = {0};
	int64	   *ids;
	int			n;

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_timestamp(&args, work->now);
	pl_arg_int64(&args, order->payment_order_id);
	n = (int) pl_execute(&withdraw_requests, &args);
	ids = palloc(sizeof(int64) * Max(n, 1));
	for (int i = 0; i < n; i++)
		ids[i] = pl_get_int64(i, 1);
	for (int i = 0; i < n; i++)
		pl_refund_failed(work, payment, order, ids[i], "disputed");
}
