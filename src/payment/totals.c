/*
 * src/payment/totals.c
 *		What must hold within a row of payments, payment orders and PSP
 *		requests, whoever wrote it.
 *
 * These are CHECK constraints in all but form.  PostgreSQL parses the stored
 * text of a table's CHECK constraints anew for each statement, which took 13 %
 * of the gateway worker's time; a C trigger takes a microsecond.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "payment/payment_internal.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(pl_sql_check_totals);

/* The row under check. */
typedef struct Row
{
	const TriggerData *trigger;
	HeapTuple	tuple;
} Row;

static int64
amount_of(const Row *row, const char *column)
{
	return pl_trigger_int64(row->trigger, row->tuple, column);
}

static bool
is_null(const Row *row, const char *column)
{
	bool		isnull;

	(void) SPI_getbinval(row->tuple, RelationGetDescr(row->trigger->tg_relation),
						 pl_trigger_column(row->trigger, column, InvalidOid), &isnull);
	return isnull;
}

static char *
status_of(const Row *row)
{
	return pl_trigger_text(row->trigger, row->tuple, "status");
}

static void
require(bool holds, const char *machine, int64 id, const char *rule)
{
	if (!holds)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("%s " INT64_FORMAT " would break a rule", machine, id),
				 errdetail("%s", rule)));
}

/* The status that a payment's totals say, minor units. */
const char *
pl_payment_status(int64 total, int64 captured, int64 refunded, int64 voided)
{
	if (refunded > 0)
		return refunded == captured ? "REFUNDED" : "PARTIALLY_REFUNDED";
	if (captured > 0)
		return captured == total ? "CAPTURED" : "PARTIALLY_CAPTURED";
	return voided == total ? "VOIDED" : "NOT_CAPTURED";
}

static void
check_payment(const Row *row)
{
	int64		id = amount_of(row, "payment_id");
	int64		total = amount_of(row, "total_amount");
	int64		captured = amount_of(row, "captured_amount");
	int64		refunded = amount_of(row, "refunded_amount");
	int64		voided = amount_of(row, "voided_amount");

	require(total > 0, "payment", id, "total_amount is greater than zero");
	require(captured >= 0 && voided >= 0 && captured <= total && voided <= total - captured, "payment", id,
			"captured_amount and voided_amount are not negative and together at most total_amount");
	require(refunded >= 0 && refunded <= captured, "payment", id,
			"refunded_amount is between 0 and captured_amount");
	require(strcmp(status_of(row), pl_payment_status(total, captured, refunded, voided)) == 0, "payment", id,
			"status is what the totals say");
}

static void
check_order(const Row *row)
{
	int64		id = amount_of(row, "payment_order_id");
	int64		amount = amount_of(row, "amount");
	int64		captured = amount_of(row, "captured_amount");
	int64		pending = amount_of(row, "capture_pending_amount");
	int64		voided = amount_of(row, "voided_amount");
	int64		refunded = amount_of(row, "refunded_amount");
	int64		refund_pending = amount_of(row, "refund_pending_amount");
	int64		commission = amount_of(row, "commission_amount");
	int64		given_back = amount_of(row, "commission_refunded_amount");
	const char *status = status_of(row);
	bool		is_captured = strcmp(status, "CAPTURED") == 0 ||
		strcmp(status, "PARTIALLY_REFUNDED") == 0 || strcmp(status, "REFUNDED") == 0;
	bool		is_asked = strcmp(status, "CAPTURE_REQUESTED") == 0 || strcmp(status, "PENDING_CAPTURE") == 0;

	require(amount > 0, "payment_order", id, "amount is greater than zero");
	require(captured >= 0 && pending >= 0 && voided >= 0 && captured <= amount &&
			pending <= amount - captured && voided <= amount - captured - pending, "payment_order", id,
			"captured_amount, capture_pending_amount and voided_amount are not negative and together at most amount");
	require(refunded >= 0 && refund_pending >= 0 && refunded <= captured && refund_pending <= captured - refunded,
			"payment_order", id,
			"refunded_amount and refund_pending_amount are not negative and together at most captured_amount");
	require(amount_of(row, "disputed_amount") >= 0, "payment_order", id, "disputed_amount is not negative");
	require(commission >= 0 && commission <= captured && given_back >= 0 && given_back <= commission,
			"payment_order", id,
			"commission_amount is at most captured_amount, and commission_refunded_amount at most commission_amount");
	require(is_captured == (captured > 0), "payment_order", id,
			"captured_amount is greater than zero exactly when the order is captured");
	if (is_captured)
		require(strcmp(status, refunded == 0 ? "CAPTURED" :
					   refunded == captured ? "REFUNDED" : "PARTIALLY_REFUNDED") == 0, "payment_order", id,
				"the status of a captured order is what refunded_amount says");
	else
		require(is_asked == (pending > 0), "payment_order", id,
				"an order that nothing is captured of is asked to be captured exactly when capture_pending_amount says so");
}

static void
check_request(const Row *row)
{
	require((strcmp(status_of(row), "IN_FLIGHT") == 0) == !is_null(row, "lease_token"),
			"psp_request", amount_of(row, "psp_request_id"), "it has a lease exactly when it is IN_FLIGHT");
}

/* An order stays one of its seller, for its amount. */
static void
check_order_identity(const Row *old, const Row *new)
{
	static const char *const columns[] = {"seller_id", "currency", "amount"};

	for (int i = 0; i < (int) lengthof(columns); i++)
		if (strcmp(pl_trigger_text(old->trigger, old->tuple, columns[i]),
				   pl_trigger_text(new->trigger, new->tuple, columns[i])) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_PL_IMMUTABLE_RECORD),
					 errmsg("%s of payment_order " INT64_FORMAT " must not change",
							columns[i], amount_of(new, "payment_order_id"))));
}

/*
 * check_totals(machine): AFTER INSERT OR UPDATE row trigger of payments,
 * payment_orders and psp_requests.  Raises 23514 naming the object and the
 * rule, PL003 for an order that became another.
 */
Datum
pl_sql_check_totals(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *machine;
	Row			row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("check_totals must be called as an INSERT OR UPDATE row trigger with one argument")));

	machine = trigger->tg_trigger->tgargs[0];
	row.trigger = trigger;
	row.tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	if (strcmp(machine, "payment") == 0)
		check_payment(&row);
	else if (strcmp(machine, "payment_order") == 0)
	{
		check_order(&row);
		if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		{
			Row			old = {trigger, trigger->tg_trigtuple};

			check_order_identity(&old, &row);
		}
	}
	else
		check_request(&row);
	return PointerGetDatum(NULL);
}
