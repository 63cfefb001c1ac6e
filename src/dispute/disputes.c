/*
 * src/dispute/disputes.c
 *		Chargebacks: opening a dispute, for one order or for a whole payment.
 *
 * The PSP has taken the money back when it tells, so opening states a fact:
 * nothing that the seller has or has not stops it.  What is charged back is
 * not refundable as long as the dispute is not WON, and refunds that were not
 * sent yet are withdrawn, so that the shopper is not paid twice.  The PSP's id
 * of the dispute makes the report idempotent.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "dispute/dispute_internal.h"
#include "payment/payment.h"
#include "utils/builtins.h"

#define MAX_REFERENCE 255
#define MAX_REASON 255

static const char *const dispute_states[] = {"NEEDS_RESPONSE", "UNDER_REVIEW", "WON", "LOST"};

static const PlEdge dispute_edges[] = {
	{NULL, "NEEDS_RESPONSE"},
	{"NEEDS_RESPONSE", "UNDER_REVIEW"},
	{"NEEDS_RESPONSE", "WON"},
	{"NEEDS_RESPONSE", "LOST"},
	{"UNDER_REVIEW", "WON"},
	{"UNDER_REVIEW", "LOST"},
	{"WON", "LOST"},			/* second round */
	{"LOST", "WON"},
};

static const PlMachine machine = PL_MACHINE("dispute", dispute_states, dispute_edges);

/*
 * Make the room's machine known.  Called from _PG_init.
 */
void
pl_dispute_init(void)
{
	pl_register_machine(&machine);
}

static PlQuery find_opened = {
	"SELECT dispute_id, payment_id, payment_order_id, amount, fee FROM payledger.disputes"
	" WHERE gateway = $1 AND psp_reference = $2 ORDER BY dispute_id", 2, {TEXTOID, TEXTOID}
};

static PlQuery insert_dispute = {
	"INSERT INTO payledger.disputes"
	" (dispute_id, payment_id, payment_order_id, seller_id, gateway, psp_reference, amount, currency, fee,"
	"  borne_by_seller, reason, status, round, evidence_due_at, created_at, updated_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::payledger.dispute_status, $13, $14, $15, $15)",
	15, {INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, INT8OID,
		BOOLOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery select_disputes = {
	"SELECT dispute_id, payment_id, payment_order_id, seller_id, amount, currency, fee, status::text, round,"
	"  borne_by_seller, reason, gateway, psp_reference, evidence_due_at, created_at, updated_at"
	" FROM payledger.disputes WHERE payment_id = $1 AND dispute_id = ANY($2) ORDER BY dispute_id",
	2, {INT8OID, INT8ARRAYOID}
};

PG_FUNCTION_INFO_V1(pl_sql_open_dispute);
PG_FUNCTION_INFO_V1(pl_sql_open_payment_dispute);

/* ---- what the functions return and the events say, also of decisions ---- */

/*
 * Make the disputes of these ids the result of the set-returning function
 * fcinfo.  ids is a list of pointers to int64.
 */
void
pl_return_disputes(FunctionCallInfo fcinfo, int64 payment_id, List *ids)
{
	int64	   *array = palloc(sizeof(int64) * list_length(ids));
	PlArgs		args = {0};
	ListCell   *cell;

	foreach(cell, ids)
		array[foreach_current_index(cell)] = *(int64 *) lfirst(cell);
	pl_arg_int64(&args, payment_id);
	pl_arg_ids(&args, array, list_length(ids));
	pl_execute(&select_disputes, &args);
	pl_return_rows(fcinfo);
}

/*
 * The next event of the locked payment: what the dispute is now.
 */
void
pl_dispute_event(PlWork *work, PlPayment *payment, const char *type, const PlOrder *order,
				 const PlDispute *dispute)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "disputeId", dispute->dispute_id);
	pl_json_id(&out, "paymentOrderId", order->payment_order_id);
	pl_json_text(&out, "sellerId", order->seller_id);
	pl_json_text(&out, "currency", payment->currency);
	pl_json_amount(&out, "amount", dispute->amount);
	pl_json_amount(&out, "fee", dispute->fee);
	pl_json_text(&out, "borneBy", dispute->borne_by_seller ? "seller" : "platform");
	pl_json_text(&out, "pspReference", dispute->psp_reference);
	pl_json_text(&out, "reason", dispute->reason);
	pl_json_text(&out, "status", dispute->status);
	pl_json_amount(&out, "round", dispute->round);
	appendStringInfoChar(&out, '}');
	pl_payment_event(work, type, payment->payment_id, ++payment->event_version, out.data,
					 payment->traceparent);
}

/* ---- opening: what is asked for ---- */

static int64
amount_arg(FunctionCallInfo fcinfo, int argno, const char *name, int64 least)
{
	int64		amount = pl_int64_arg(fcinfo, argno, name);

	if (amount < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a dispute must %s", name, least > 0 ? "be greater than zero" : "not be negative"),
				 errdetail("It is " INT64_FORMAT ".", amount)));
	return amount;
}

/* Arguments 1 and up of both functions that open. */
static PlDisputeOpening
opening_args(FunctionCallInfo fcinfo)
{
	PlDisputeOpening opening = {0};

	opening.amount = amount_arg(fcinfo, 1, "amount", 1);
	opening.psp_reference = pl_text_arg(fcinfo, 2, "psp_reference");
	pl_check_text("psp_reference", opening.psp_reference, MAX_REFERENCE);
	opening.reason = pl_optional_text_arg(fcinfo, 3);
	if (opening.reason != NULL)
		pl_check_text("reason", opening.reason, MAX_REASON);
	opening.fee = amount_arg(fcinfo, 4, "fee", 0);
	opening.evidence_due_at = PG_ARGISNULL(5) ? 0 : PG_GETARG_TIMESTAMPTZ(5);
	if (PG_ARGISNULL(6))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("borne_by_seller must not be null")));
	opening.borne_by_seller = PG_GETARG_BOOL(6);
	return opening;
}

/* ---- opening: reported before? ---- */

pg_noreturn static void
refuse_other_payment(const PlPayment *payment, const PlDisputeOpening *opening, int64 other)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
			 errmsg("dispute \"%s\" of gateway %s belongs to another payment than " INT64_FORMAT,
					opening->psp_reference, payment->gateway, payment->payment_id),
			 errdetail("It was opened for payment " INT64_FORMAT ".", other)));
}

pg_noreturn static void
refuse_other_amounts(const PlPayment *payment, const PlDisputeOpening *opening, int64 amount, int64 fee)
{
	const PlCurrency *currency = pl_check_currency(payment->currency);

	ereport(ERROR,
			(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
			 errmsg("dispute \"%s\" of payment " INT64_FORMAT " was opened with another amount or fee",
					opening->psp_reference, payment->payment_id),
			 errdetail("It is %s with a fee of %s, not %s with %s %s.",
					   pl_format_amount(amount, currency), pl_format_amount(fee, currency),
					   pl_format_amount(opening->amount, currency), pl_format_amount(opening->fee, currency),
					   payment->currency),
			 errhint("Open what the PSP took beside it under the reference that the PSP gives for that.")));
}

/*
 * The ids of the disputes that the same report opened before, for that order or
 * (NULL) for all of the locked payment; NIL if it is new.  PL006 if the
 * reference came with other amounts or for another payment.
 */
static List *
opened_before(const PlPayment *payment, const PlOrder *order, const PlDisputeOpening *opening)
{
	List	   *ids = NIL;
	int64		amount = 0;
	int64		fee = 0;
	PlArgs		args = {0};
	uint64		n;

	pl_arg_text(&args, payment->gateway);
	pl_arg_text(&args, opening->psp_reference);
	n = pl_execute(&find_opened, &args);
	for (uint64 i = 0; i < n; i++)
	{
		int64	   *id = palloc(sizeof(int64));

		if (pl_get_int64(i, 2) != payment->payment_id)
			refuse_other_payment(payment, opening, pl_get_int64(i, 2));
		if (order != NULL && pl_get_int64(i, 3) != order->payment_order_id)
			continue;
		*id = pl_get_int64(i, 1);
		ids = lappend(ids, id);
		amount = pl_add_amount(amount, pl_get_int64(i, 4));
		fee = pl_add_amount(fee, pl_get_int64(i, 5));
	}
	if (ids != NIL && (amount != opening->amount || fee != opening->fee))
		refuse_other_amounts(payment, opening, amount, fee);
	return ids;
}

/* ---- opening ---- */

pg_noreturn static void
refuse_uncaptured(const char *what, int64 id, const char *status)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
			 errmsg("%s " INT64_FORMAT " has nothing captured that could be disputed", what, id),
			 errdetail("Its status is %s.", status)));
}

static void
insert(const PlWork *work, const PlPayment *payment, const PlOrder *order, const PlDispute *dispute)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, dispute->dispute_id);
	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, order->payment_order_id);
	pl_arg_text(&args, order->seller_id);
	pl_arg_text(&args, payment->gateway);
	pl_arg_text(&args, dispute->psp_reference);
	pl_arg_int64(&args, dispute->amount);
	pl_arg_text(&args, payment->currency);
	pl_arg_int64(&args, dispute->fee);
	pl_arg_bool(&args, dispute->borne_by_seller);
	pl_arg_text(&args, dispute->reason);
	pl_arg_text(&args, dispute->status);
	pl_arg_int32(&args, dispute->round);
	if (dispute->evidence_due_at != 0)
		pl_arg_timestamp(&args, dispute->evidence_due_at);
	else
		pl_arg_null(&args);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&insert_dispute, &args);
}

/*
 * Open a dispute of one order of the locked payment; changes both in memory.
 * Returns its id, palloc'd.
 */
static int64 *
open_one(PlWork *work, PlPayment *payment, PlOrder *order, const PlDisputeOpening *opening, int64 amount, int64 fee)
{
	PlDispute	dispute = {0};
	int64	   *id = palloc(sizeof(int64));

	dispute.dispute_id = *id = pl_next_id();
	dispute.psp_reference = opening->psp_reference;
	dispute.reason = opening->reason;
	dispute.amount = amount;
	dispute.fee = fee;
	dispute.evidence_due_at = opening->evidence_due_at;
	dispute.borne_by_seller = opening->borne_by_seller;
	dispute.status = "NEEDS_RESPONSE";
	dispute.round = 1;
	pl_dispute_take(work, payment, order, &dispute);
	pl_dispute_take_fee(work, payment, order, &dispute);
	insert(work, payment, order, &dispute);
	pl_dispute_event(work, payment, "dispute_opened", order, &dispute);
	return id;
}

/*
 * open_dispute(payment_order_id, amount, psp_reference, reason, fee,
 *		evidence_due_at, borne_by_seller)
 *
 * The amount may be above what was captured: the issuer converts at its own
 * rate.
 */
Datum
pl_sql_open_dispute(PG_FUNCTION_ARGS)
{
	int64		order_id = pl_int64_arg(fcinfo, 0, "payment_order_id");
	PlDisputeOpening opening = opening_args(fcinfo);
	PlPayment	payment;
	PlOrder    *order;
	List	   *ids;

	pl_connect();
	pl_require_layout();
	order = pl_lock_order(order_id, &payment);
	ids = opened_before(&payment, order, &opening);
	if (ids == NIL)
	{
		PlWork	   *work;

		if (order->captured_amount == 0)
			refuse_uncaptured("payment_order", order_id, order->status);
		work = pl_work_begin("open_dispute");
		ids = list_make1(open_one(work, &payment, order, &opening, opening.amount, opening.fee));
		pl_store_orders(work, &payment, list_make1(order));
		pl_store_payment(work, &payment);
		pl_work_end(work);
	}
	pl_return_disputes(fcinfo, payment.payment_id, ids);
	pl_finish();
	return (Datum) 0;
}

/*
 * What each order answers for in a chargeback of the whole payment: by what
 * the shopper has paid for it and not got back, by what it captured if nothing
 * is left of any.
 */
static int64 *
share_out(List *orders, int64 amount)
{
	int			n = list_length(orders);
	int64	   *weights = palloc(sizeof(int64) * n);
	int64	   *shares = palloc0(sizeof(int64) * n);
	int64		left = 0;
	ListCell   *cell;

	foreach(cell, orders)
	{
		const PlOrder *order = lfirst(cell);

		weights[foreach_current_index(cell)] = order->captured_amount - order->refunded_amount;
		left = pl_add_amount(left, order->captured_amount - order->refunded_amount);
	}
	if (left == 0)
		foreach(cell, orders)
			weights[foreach_current_index(cell)] = ((const PlOrder *) lfirst(cell))->captured_amount;
	pl_allocate(amount, weights, n, shares);
	return shares;
}

/*
 * Open a dispute of the locked payment, one for each order that answers for a
 * share of it; changes payment and orders in memory.  Returns the ids, as
 * pointers to int64.
 */
List *
pl_open_payment_disputes(PlWork *work, PlPayment *payment, List *orders, const PlDisputeOpening *opening)
{
	int64	   *shares = share_out(orders, opening->amount);
	int64		fee = opening->fee;
	List	   *ids = NIL;
	ListCell   *cell;

	foreach(cell, orders)
	{
		int64		share = shares[foreach_current_index(cell)];

		if (share == 0)
			continue;
		ids = lappend(ids, open_one(work, payment, lfirst(cell), opening, share, fee));
		/* the PSP took it once */
		fee = 0;
	}
	return ids;
}

/*
 * open_payment_dispute(payment_id, amount, psp_reference, reason, fee,
 *		evidence_due_at, borne_by_seller)
 */
Datum
pl_sql_open_payment_dispute(PG_FUNCTION_ARGS)
{
	int64		payment_id = pl_int64_arg(fcinfo, 0, "payment_id");
	PlDisputeOpening opening = opening_args(fcinfo);
	PlPayment	payment;
	List	   *ids;

	pl_connect();
	pl_require_layout();
	pl_lock_payment(payment_id, &payment);
	ids = opened_before(&payment, NULL, &opening);
	if (ids == NIL)
	{
		List	   *orders = pl_read_orders(payment_id);
		PlWork	   *work;

		if (payment.captured_amount == 0)
			refuse_uncaptured("payment", payment_id, payment.status);
		work = pl_work_begin("open_payment_dispute");
		ids = pl_open_payment_disputes(work, &payment, orders, &opening);
		pl_store_orders(work, &payment, orders);
		pl_store_payment(work, &payment);
		pl_work_end(work);
	}
	pl_return_disputes(fcinfo, payment_id, ids);
	pl_finish();
	return (Datum) 0;
}
