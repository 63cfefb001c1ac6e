/*
 * src/payment/disputes.c
 *		Chargebacks: a dispute opened, for one order or for a whole payment,
 *		answered, and decided once or more.
 *
 * The PSP has taken the money back when it tells, so opening states a fact:
 * nothing that the seller has or has not stops it.  What is charged back is
 * not refundable as long as the dispute is not WON, and refunds that were not
 * sent yet are withdrawn, so that the shopper is not paid twice.  The PSP's id
 * of the dispute makes the report idempotent.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "payment/payment.h"
#include "utils/builtins.h"

#define MAX_REFERENCE 255
#define MAX_REASON 255

/* What is reported; the same for every order that it concerns. */
typedef struct Opening
{
	int64		amount;			/* minor units of the payment's currency, > 0 */
	const char *psp_reference;
	const char *reason;			/* NULL: none given */
	int64		fee;			/* minor units, >= 0 */
	TimestampTz evidence_due_at;	/* 0: not known */
	bool		borne_by_seller;
} Opening;

static PlQuery find_opened = {
	"SELECT dispute_id, payment_id, payment_order_id, amount, fee FROM payledger.disputes"
	" WHERE gateway = $1 AND psp_reference = $2 ORDER BY dispute_id", 2, {TEXTOID, TEXTOID}
};

static PlQuery find_payment = {
	"SELECT payment_id FROM payledger.disputes WHERE dispute_id = $1", 1, {INT8OID}
};

static PlQuery read_dispute = {
	"SELECT payment_order_id, psp_reference, reason, amount, fee, fee_returned, borne_by_seller, status::text,"
	"  round, evidence_due_at"
	" FROM payledger.disputes WHERE payment_id = $1 AND dispute_id = $2", 2, {INT8OID, INT8OID}
};

static PlQuery insert_dispute = {
	"INSERT INTO payledger.disputes"
	" (dispute_id, payment_id, payment_order_id, seller_id, gateway, psp_reference, amount, currency, fee,"
	"  borne_by_seller, reason, status, round, evidence_due_at, created_at, updated_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::payledger.dispute_status, $13, $14, $15, $15)",
	15, {INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, INT8OID,
		BOOLOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery store_evidence = {
	"UPDATE payledger.disputes SET status = 'UNDER_REVIEW', evidence = $3, updated_at = $4"
	" WHERE payment_id = $1 AND dispute_id = $2", 4, {INT8OID, INT8OID, JSONBOID, TIMESTAMPTZOID}
};

static PlQuery store_decision = {
	"UPDATE payledger.disputes SET status = $3::payledger.dispute_status, round = $4, fee_returned = $5,"
	"  borne_by_seller = $6, updated_at = $7"
	" WHERE payment_id = $1 AND dispute_id = $2",
	7, {INT8OID, INT8OID, TEXTOID, INT4OID, BOOLOID, BOOLOID, TIMESTAMPTZOID}
};

static PlQuery select_disputes = {
	"SELECT dispute_id, payment_id, payment_order_id, seller_id, amount, currency, fee, status::text, round,"
	"  borne_by_seller, reason, gateway, psp_reference, evidence_due_at, created_at, updated_at"
	" FROM payledger.disputes WHERE payment_id = $1 AND dispute_id = ANY($2) ORDER BY dispute_id",
	2, {INT8OID, INT8ARRAYOID}
};

PG_FUNCTION_INFO_V1(pl_sql_open_dispute);
PG_FUNCTION_INFO_V1(pl_sql_open_payment_dispute);
PG_FUNCTION_INFO_V1(pl_sql_submit_evidence);
PG_FUNCTION_INFO_V1(pl_sql_close_dispute);

/* ---- what the functions return and the events say ---- */

/*
 * Make the disputes of these ids the result of the set-returning function
 * fcinfo.  ids is a list of pointers to int64.
 */
static void
return_disputes(FunctionCallInfo fcinfo, int64 payment_id, List *ids)
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

static void
add_event(PlWork *work, PlPayment *payment, const char *type, const PlOrder *order, const PlDispute *dispute)
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
static Opening
opening_args(FunctionCallInfo fcinfo)
{
	Opening		opening = {0};

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

static void
refuse_other_payment(const PlPayment *payment, const Opening *opening, int64 other)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
			 errmsg("dispute \"%s\" of gateway %s belongs to another payment than " INT64_FORMAT,
					opening->psp_reference, payment->gateway, payment->payment_id),
			 errdetail("It was opened for payment " INT64_FORMAT ".", other)));
}

static void
refuse_other_amounts(const PlPayment *payment, const Opening *opening, int64 amount, int64 fee)
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
opened_before(const PlPayment *payment, const PlOrder *order, const Opening *opening)
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

static void
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
open_one(PlWork *work, PlPayment *payment, PlOrder *order, const Opening *opening, int64 amount, int64 fee)
{
	PlDispute	dispute = {0};
	int64	   *id = palloc(sizeof(int64));

	pl_withdraw_refunds(work, payment, order);

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
	add_event(work, payment, "dispute_opened", order, &dispute);
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
	Opening		opening = opening_args(fcinfo);
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
	return_disputes(fcinfo, payment.payment_id, ids);
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

static List *
open_shares(PlWork *work, PlPayment *payment, List *orders, const Opening *opening)
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
	Opening		opening = opening_args(fcinfo);
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
		ids = open_shares(work, &payment, orders, &opening);
		pl_store_orders(work, &payment, orders);
		pl_store_payment(work, &payment);
		pl_work_end(work);
	}
	return_disputes(fcinfo, payment_id, ids);
	pl_finish();
	return (Datum) 0;
}

/* ---- answering ---- */

/*
 * Lock the dispute's payment, read both and the order.  PL007 if there is no
 * such dispute.
 */
static PlOrder *
lock_dispute(int64 dispute_id, PlPayment *payment, PlDispute *dispute)
{
	PlArgs		id = {0};
	PlArgs		key = {0};
	bool		isnull;

	pl_arg_int64(&id, dispute_id);
	if (pl_execute(&find_payment, &id) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("dispute " INT64_FORMAT " does not exist", dispute_id),
				 errhint("payledger.disputes lists them, payledger.open_dispute() opens one.")));
	pl_lock_payment(pl_get_int64(0, 1), payment);

	pl_arg_int64(&key, payment->payment_id);
	pl_arg_int64(&key, dispute_id);
	pl_execute(&read_dispute, &key);
	memset(dispute, 0, sizeof(PlDispute));
	dispute->dispute_id = dispute_id;
	dispute->payment_order_id = pl_get_int64(0, 1);
	dispute->psp_reference = pl_get_text(0, 2);
	dispute->reason = pl_get_text(0, 3);
	dispute->amount = pl_get_int64(0, 4);
	dispute->fee = pl_get_int64(0, 5);
	dispute->fee_returned = pl_get_bool(0, 6);
	dispute->borne_by_seller = pl_get_bool(0, 7);
	dispute->status = pl_get_text(0, 8);
	dispute->round = pl_get_int32(0, 9);
	if (!pl_isnull(0, 10))
		dispute->evidence_due_at = DatumGetTimestampTz(pl_get_datum(0, 10, &isnull));
	return pl_find_order(pl_read_orders(payment->payment_id), dispute->payment_order_id);
}

static void
require_edge(const PlDispute *dispute, const char *to)
{
	if (!pl_edge_exists(pl_find_machine("dispute"), dispute->status, to))
		pl_illegal_transition("dispute", dispute->dispute_id, dispute->status, to);
}

static Jsonb *
evidence_arg(FunctionCallInfo fcinfo, int argno)
{
	Jsonb	   *evidence;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("evidence must not be null")));
	evidence = PG_GETARG_JSONB_P(argno);
	pl_check_metadata("evidence", evidence);
	if (JB_ROOT_COUNT(evidence) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("evidence must not be empty"),
				 errhint("A chargeback that is accepted is closed as LOST with payledger.close_dispute().")));
	return evidence;
}

/*
 * submit_evidence(dispute_id, evidence): from NEEDS_RESPONSE to UNDER_REVIEW.
 * Evidence that is late is recorded all the same: whether it counts is for the
 * PSP to say.
 */
Datum
pl_sql_submit_evidence(PG_FUNCTION_ARGS)
{
	int64		dispute_id = pl_int64_arg(fcinfo, 0, "dispute_id");
	Jsonb	   *evidence = evidence_arg(fcinfo, 1);
	PlPayment	payment;
	PlDispute	dispute;
	PlWork	   *work;
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	(void) lock_dispute(dispute_id, &payment, &dispute);
	require_edge(&dispute, "UNDER_REVIEW");

	work = pl_work_begin("submit_evidence");
	if (dispute.evidence_due_at != 0 && dispute.evidence_due_at < work->now)
		ereport(NOTICE,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("the evidence for dispute " INT64_FORMAT " is late", dispute_id),
				 errdetail("It was due at %s.", timestamptz_to_str(dispute.evidence_due_at))));
	pl_arg_int64(&args, payment.payment_id);
	pl_arg_int64(&args, dispute_id);
	pl_arg(&args, JsonbPGetDatum(evidence));
	pl_arg_timestamp(&args, work->now);
	pl_execute(&store_evidence, &args);
	pl_work_end(work);

	return_disputes(fcinfo, payment.payment_id, list_make1(&dispute.dispute_id));
	pl_finish();
	return (Datum) 0;
}

/* ---- deciding ---- */

static void
check_fee_returned(const PlDispute *dispute, const char *outcome)
{
	const char *reason = NULL;

	if (strcmp(outcome, "WON") != 0)
		reason = "A fee is returned with a dispute that is WON.";
	else if (dispute->fee == 0)
		reason = "It has no fee.";
	else if (dispute->fee_returned)
		reason = "It was returned before.";
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the fee of dispute " INT64_FORMAT " cannot be returned", dispute->dispute_id),
				 errdetail("%s", reason)));
}

static void
store(const PlWork *work, const PlPayment *payment, const PlDispute *dispute)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, dispute->dispute_id);
	pl_arg_text(&args, dispute->status);
	pl_arg_int32(&args, dispute->round);
	pl_arg_bool(&args, dispute->fee_returned);
	pl_arg_bool(&args, dispute->borne_by_seller);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&store_decision, &args);
}

/* The edge is legal.  Changes payment, order and dispute in memory. */
static void
decide(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute, const char *outcome,
	   bool fee_returned)
{
	bool		was_won = strcmp(dispute->status, "WON") == 0;
	bool		was_lost = strcmp(dispute->status, "LOST") == 0;
	int			round_before = dispute->round;

	dispute->status = outcome;
	if (was_won || was_lost)
		dispute->round++;
	if (strcmp(outcome, "WON") == 0)
		pl_dispute_give_back(work, payment, order, dispute, round_before);
	else if (was_won)
		pl_dispute_take(work, payment, order, dispute);
	if (fee_returned)
		pl_dispute_give_back_fee(work, payment, order, dispute);
	store(work, payment, dispute);
	add_event(work, payment, "dispute_closed", order, dispute);
}

/*
 * close_dispute(dispute_id, outcome, fee_returned): the PSP's decision, or
 * that an earlier one was overturned.
 */
Datum
pl_sql_close_dispute(PG_FUNCTION_ARGS)
{
	int64		dispute_id = pl_int64_arg(fcinfo, 0, "dispute_id");
	char	   *outcome = pl_text_arg(fcinfo, 1, "outcome");
	bool		fee_returned = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	PlPayment	payment;
	PlOrder    *order;
	PlDispute	dispute;
	PlWork	   *work;

	pl_connect();
	pl_require_layout();
	if (strcmp(outcome, "WON") != 0 && strcmp(outcome, "LOST") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("outcome of dispute " INT64_FORMAT " must be WON or LOST", dispute_id)));
	order = lock_dispute(dispute_id, &payment, &dispute);
	require_edge(&dispute, outcome);
	if (fee_returned)
		check_fee_returned(&dispute, outcome);

	work = pl_work_begin("close_dispute");
	decide(work, &payment, order, &dispute, outcome, fee_returned);
	pl_store_orders(work, &payment, list_make1(order));
	pl_store_payment(work, &payment);
	pl_work_end(work);
	return_disputes(fcinfo, payment.payment_id, list_make1(&dispute.dispute_id));
	pl_finish();
	return (Datum) 0;
}
