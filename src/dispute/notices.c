/*
 * src/dispute/notices.c
 *		What a PSP tells of a dispute, in any order and any number of times.
 *
 * Each stage presumes those before it: a win that is heard of first opens the
 * dispute and decides it, and what is told late changes nothing any more.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "dispute/dispute_internal.h"
#include "gateway/gateway.h"
#include "payment/payment.h"

/* minor units: fees up to so much are believed, whatever was captured */
#define MAX_DISPUTE_FEE 100000

static PlQuery find_disputes = {
	"SELECT dispute_id, payment_id FROM payledger.disputes WHERE gateway = $1 AND psp_reference = $2"
	" ORDER BY dispute_id", 2, {TEXTOID, TEXTOID}
};

/* Captures and refunds whose end decides who answers for how much. */
static PlQuery find_undecided = {
	"SELECT 1 FROM payledger.psp_requests WHERE payment_id = $1 AND operation IN ('CAPTURE', 'REFUND')"
	"  AND status IN ('READY', 'IN_FLIGHT', 'PENDING', 'UNKNOWN') LIMIT 1", 1, {INT8OID}
};

static PlQuery set_fee = {
	"UPDATE payledger.disputes SET fee = $3, updated_at = $4 WHERE payment_id = $1 AND dispute_id = $2",
	4, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
};

/* The disputes of the notice, ids by value; PL006 if they are another payment's. */
static List *
known_disputes(const PlPayment *payment, const PlDisputeNotice *notice)
{
	PlArgs		args = {0};
	List	   *ids = NIL;
	uint64		n;

	pl_arg_text(&args, payment->gateway);
	pl_arg_text(&args, notice->psp_reference);
	n = pl_execute(&find_disputes, &args);
	for (uint64 i = 0; i < n; i++)
	{
		int64	   *id = palloc(sizeof(int64));

		*id = pl_get_int64(i, 1);
		if (pl_get_int64(i, 2) != payment->payment_id)
			ereport(ERROR,
					(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
					 errmsg("dispute \"%s\" of gateway %s is of payment " INT64_FORMAT ", not of " INT64_FORMAT,
							notice->psp_reference, payment->gateway, pl_get_int64(i, 2), payment->payment_id)));
		ids = lappend(ids, id);
	}
	return ids;
}

/* 22023 if the notice's fee is above all that was captured, and more than any PSP takes. */
static void
check_fee(const PlPayment *payment, const PlDisputeNotice *notice)
{
	const PlCurrency *currency = pl_check_currency(payment->currency);

	if (notice->fee > Max(payment->captured_amount, MAX_DISPUTE_FEE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dispute \"%s\" of payment " INT64_FORMAT " has a fee of %s %s, while %s were captured",
						notice->psp_reference, payment->payment_id, pl_format_amount(notice->fee, currency),
						payment->currency, pl_format_amount(payment->captured_amount, currency)),
				 errhint("If the PSP took that much, record it with payledger.open_payment_dispute(), or with payledger.post_entry() for a dispute that is open.")));
}

/*
 * The PSP's word about money is a fact, and what it took is charged back below
 * zero if need be.  But beyond twice what was captured (issuers convert, and a
 * payment may be disputed twice) it is rather a mistake in units, or not the
 * PSP's word: somebody has to look before sellers are charged.  22023.
 */
static void
check_amount(const PlPayment *payment, List *orders, const PlDisputeNotice *notice)
{
	const PlCurrency *currency = pl_check_currency(payment->currency);
	int64		disputed = 0;
	ListCell   *cell;

	foreach(cell, orders)
		disputed = pl_add_amount(disputed, ((const PlOrder *) lfirst(cell))->disputed_amount);
	/* amount + disputed > 2 * captured, without an overflow */
	if (notice->amount - payment->captured_amount > payment->captured_amount - disputed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dispute \"%s\" of payment " INT64_FORMAT " is about %s %s, while %s were captured and %s are disputed already",
						notice->psp_reference, payment->payment_id, pl_format_amount(notice->amount, currency),
						payment->currency, pl_format_amount(payment->captured_amount, currency),
						pl_format_amount(disputed, currency)),
				 errdetail("Together that is more than twice what was captured."),
				 errhint("If the PSP took that much, open it with payledger.open_payment_dispute().")));
}

/*
 * Open what the notice speaks of.  Returns NIL if it is too early: nothing is
 * known to be captured, or which of several sellers has what is not.
 */
static List *
open_disputes(PlWork *work, PlPayment *payment, List *orders, const PlDisputeNotice *notice)
{
	PlDisputeOpening opening = {0};
	PlArgs		args = {0};
	List	   *ids;

	if (strcmp(notice->currency, payment->currency) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dispute \"%s\" of payment " INT64_FORMAT " is in %s, the payment in %s",
						notice->psp_reference, payment->payment_id, notice->currency, payment->currency),
				 errhint("Open it with payledger.open_payment_dispute() and the amount that the PSP took in %s.",
						 payment->currency)));
	pl_arg_int64(&args, payment->payment_id);
	if (payment->captured_amount == 0 || (list_length(orders) > 1 && pl_execute(&find_undecided, &args) > 0))
		return NIL;
	check_amount(payment, orders, notice);
	check_fee(payment, notice);

	opening.amount = notice->amount;
	opening.psp_reference = notice->psp_reference;
	opening.reason = notice->reason;
	opening.fee = notice->fee;
	opening.evidence_due_at = notice->evidence_due_at;
	opening.borne_by_seller = true;
	ids = pl_open_payment_disputes(work, payment, orders, &opening);

	/* decisions look for the entries of the opening */
	pl_store_orders(work, payment, orders);
	pl_store_payment(work, payment);
	pl_work_flush(work);
	return ids;
}

/* The PSP's fee was not told when the dispute was opened. */
static void
take_fee(PlWork *work, const PlPayment *payment, const PlOrder *order, PlDispute *dispute, int64 fee)
{
	PlArgs		args = {0};

	dispute->fee = fee;
	pl_dispute_take_fee(work, payment, order, dispute);
	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, dispute->dispute_id);
	pl_arg_int64(&args, fee);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&set_fee, &args);
}

static bool
is_open(const PlDispute *dispute)
{
	return strcmp(dispute->status, "NEEDS_RESPONSE") == 0 || strcmp(dispute->status, "UNDER_REVIEW") == 0;
}

/* Decide the dispute if that is news; PL001 if it was decided otherwise. */
static void
decide(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute, const char *outcome)
{
	if (strcmp(dispute->status, outcome) == 0)
		return;
	if (!is_open(dispute))
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("dispute " INT64_FORMAT " is %s and now reported %s", dispute->dispute_id, dispute->status, outcome),
				 errdetail("machine dispute, from %s, to %s", dispute->status, outcome),
				 errhint("If the PSP overturned its decision, say so with payledger.close_dispute().")));
	pl_decide_dispute(work, payment, order, dispute, outcome, false);
}

/* Take one dispute as far as the notice says; a later stage stays. */
static void
advance(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute, PlDisputeStage stage)
{
	if (dispute->round > 1)
		return;
	switch (stage)
	{
		case PL_DISPUTE_OPENED:
			break;
		case PL_DISPUTE_UNDER_REVIEW:
			if (strcmp(dispute->status, "NEEDS_RESPONSE") == 0)
				pl_review_dispute(work, payment, dispute, NULL);
			break;
		case PL_DISPUTE_WON:
			decide(work, payment, order, dispute, "WON");
			break;
		case PL_DISPUTE_LOST:
			decide(work, payment, order, dispute, "LOST");
			break;
		case PL_DISPUTE_LOST_AGAIN:
			decide(work, payment, order, dispute, "WON");
			/* the second round looks for the entries of the first */
			pl_store_orders(work, payment, list_make1(order));
			pl_store_payment(work, payment);
			pl_work_flush(work);
			pl_decide_dispute(work, payment, order, dispute, "LOST", false);
			break;
	}
}

/*
 * Apply what the PSP tells of a dispute of the payment.  Returns false if it
 * is too early to.  Locks the payment.  Raises PL001 if it contradicts what is
 * decided, PL006 if the dispute is another payment's, 22023 for one in another
 * currency or of an amount that cannot be right.
 */
bool
pl_apply_dispute_notice(PlWork *work, int64 payment_id, const PlDisputeNotice *notice)
{
	PlPayment	payment;
	List	   *orders;
	List	   *ids;
	ListCell   *cell;

	pl_lock_payment(payment_id, &payment);
	orders = pl_read_orders(payment_id);
	ids = known_disputes(&payment, notice);
	if (ids == NIL)
		ids = open_disputes(work, &payment, orders, notice);
	if (ids == NIL)
		return false;

	foreach(cell, ids)
	{
		PlDispute	dispute;
		PlOrder    *order = pl_read_dispute(*(int64 *) lfirst(cell), &payment, orders, &dispute);

		/* the fee is the first one's: the PSP took it once */
		if (foreach_current_index(cell) == 0 && dispute.fee == 0 && notice->fee > 0)
		{
			check_fee(&payment, notice);
			take_fee(work, &payment, order, &dispute, notice->fee);
		}
		advance(work, &payment, order, &dispute, notice->stage);
	}
	pl_store_orders(work, &payment, orders);
	pl_store_payment(work, &payment);
	return true;
}
