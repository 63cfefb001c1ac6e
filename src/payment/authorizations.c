/*
 * src/payment/authorizations.c
 *		What the PSP's answer to an authorization means: the payment and one
 *		payment order for each seller, or a decline, or an action of the
 *		shopper.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment_internal.h"
#include "utils/builtins.h"

/* Two events of the intent and the payment, and one or two for each order. */
static PlQuery set_authorized = {
	"UPDATE payledger.payment_intents SET status = 'AUTHORIZED', psp_reference = $2, next_action = NULL,"
	" event_version = event_version + 2"
	"  + jsonb_array_length(lines) * CASE capture_method WHEN 'automatic' THEN 2 ELSE 1 END,"
	" updated_at = $3"
	" WHERE payment_intent_id = $1 AND status = 'PENDING_AUTH' AND gateway = $4"
	" RETURNING order_id, buyer_id, currency, total_amount, lines, capture_method = 'automatic',"
	"  gateway, event_version, traceparent,"
	"  (SELECT g.multicapture FROM payledger.gateways g WHERE g.gateway = payment_intents.gateway),"
	"  (SELECT g.authorization_days FROM payledger.gateways g WHERE g.gateway = payment_intents.gateway)",
	4, {INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

static PlQuery set_declined = {
	"UPDATE payledger.payment_intents SET status = 'DECLINED', decline_code = $2, next_action = NULL,"
	" psp_reference = coalesce($3, psp_reference), event_version = event_version + 1, updated_at = $4"
	" WHERE payment_intent_id = $1 AND status = 'PENDING_AUTH' AND gateway = $5"
	" RETURNING order_id, event_version, traceparent", 5, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

static PlQuery set_requires_action = {
	"UPDATE payledger.payment_intents SET status = 'REQUIRES_ACTION', next_action = coalesce($2::jsonb, next_action),"
	" psp_reference = coalesce($3, psp_reference), updated_at = $4"
	" WHERE payment_intent_id = $1 AND status = 'PENDING_AUTH' AND gateway = $5",
	5, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

static PlQuery insert_payment = {
	"INSERT INTO payledger.payments"
	" (payment_id, order_id, buyer_id, currency, total_amount, gateway, psp_reference, event_version,"
	"  traceparent, authorization_expires_at, created_at, updated_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $12 + make_interval(days => $11), $10, $10)",
	12, {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID, INT4OID,
	TIMESTAMPTZOID}
};

static PlQuery insert_orders = {
	"INSERT INTO payledger.payment_orders"
	" (payment_order_id, payment_id, seller_id, currency, amount, status, created_at, updated_at)"
	" SELECT i, $4, s, $5, a, 'INITIATED_PENDING', $6, $6"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u(i, s, a)",
	6, {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery request_captures = {
	"UPDATE payledger.payment_orders SET status = 'CAPTURE_REQUESTED', capture_pending_amount = amount,"
	" updated_at = $2"
	" WHERE payment_id = $1", 2, {INT8OID, TIMESTAMPTZOID}
};

/* by the hash index of the references */
static PlQuery find_named = {
	"SELECT payment_id FROM payledger.payments WHERE psp_reference = $1 AND gateway = $2 AND payment_id <> $3 LIMIT 1",
	3, {TEXTOID, TEXTOID, INT8OID}
};

/* The intent as the authorization found it. */
typedef struct Authorized
{
	int64		payment_id;
	char	   *order_id;
	char	   *buyer_id;
	char	   *currency;
	int64		total;
	List	   *lines;
	int64	   *order_ids;		/* one for each line */
	bool		automatic;
	bool		multicapture;	/* of the gateway */
	int			lifetime_days;	/* of the authorization */
	char	   *gateway;
	char	   *psp_reference;
	int64		last_version;	/* of the events this authorization causes */
	char	   *traceparent;
} Authorized;

/*
 * The other payment at the gateway that has this reference, 0 if there is none.
 * A PSP gives each payment an id of its own: captures and refunds of both
 * would go to one object.
 */
int64
pl_payment_of_reference(const PlRequest *request, const char *psp_reference)
{
	PlArgs		args = {0};

	pl_arg_text(&args, psp_reference);
	pl_arg_text(&args, request->gateway);
	pl_arg_int64(&args, request->payment_id);
	return pl_execute(&find_named, &args) == 0 ? 0 : pl_get_int64(0, 1);
}

/* PL006 if what succeeded has the reference of another payment. */
static void
check_reference(const PlRequest *request, const PlOutcome *outcome)
{
	int64		other = outcome->psp_reference == NULL ? 0 : pl_payment_of_reference(request, outcome->psp_reference);

	if (other != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
				 errmsg("psp_reference \"%s\" of gateway %s belongs to payment " INT64_FORMAT ", not to " INT64_FORMAT,
						outcome->psp_reference, request->gateway, other, request->payment_id),
				 errhint("Find out at the PSP which object is whose.")));
}

static void
add_payment_and_orders(PlWork *work, Authorized *authorized)
{
	int			n = list_length(authorized->lines);
	Datum	   *ids = palloc(sizeof(Datum) * n);
	Datum	   *sellers = palloc(sizeof(Datum) * n);
	Datum	   *amounts = palloc(sizeof(Datum) * n);
	PlArgs		payment = {0};
	PlArgs		orders = {0};
	ListCell   *cell;

	authorized->order_ids = palloc(sizeof(int64) * n);
	foreach(cell, authorized->lines)
	{
		const PlLine *line = lfirst(cell);
		int			i = foreach_current_index(cell);

		authorized->order_ids[i] = pl_next_id();
		ids[i] = Int64GetDatum(authorized->order_ids[i]);
		sellers[i] = CStringGetTextDatum(line->seller_id);
		amounts[i] = Int64GetDatum(line->amount);
	}

	pl_arg_int64(&payment, authorized->payment_id);
	pl_arg_text(&payment, authorized->order_id);
	pl_arg_text(&payment, authorized->buyer_id);
	pl_arg_text(&payment, authorized->currency);
	pl_arg_int64(&payment, authorized->total);
	pl_arg_text(&payment, authorized->gateway);
	pl_arg_text(&payment, authorized->psp_reference);
	pl_arg_int64(&payment, authorized->last_version);
	pl_arg_text(&payment, authorized->traceparent);
	pl_arg_timestamp(&payment, work->now);
	/* what is captured at once has no time to expire */
	if (authorized->automatic)
		pl_arg_null(&payment);
	else
		pl_arg_int32(&payment, authorized->lifetime_days);
	pl_arg_timestamp(&payment, pl_grace_from(work->now));
	pl_execute(&insert_payment, &payment);

	pl_arg_array(&orders, ids, NULL, n, INT8OID);
	pl_arg_array(&orders, sellers, NULL, n, TEXTOID);
	pl_arg_array(&orders, amounts, NULL, n, INT8OID);
	pl_arg_int64(&orders, authorized->payment_id);
	pl_arg_text(&orders, authorized->currency);
	pl_arg_timestamp(&orders, work->now);
	pl_execute(&insert_orders, &orders);
}

static void
add_capture(PlWork *work, const Authorized *authorized, const char *payment_method, int64 target, int64 amount,
			bool is_final)
{
	pl_request_add(work, &(PlNewRequest) {
		.payment_id = authorized->payment_id,
		.gateway = authorized->gateway,
		.operation = PL_OP_CAPTURE,
		.target = target,
		.amount = amount,
		.currency = authorized->currency,
		.payment_method = payment_method,
		.psp_reference = authorized->psp_reference,
		.parameters = is_final ? PL_CAPTURE_FINAL : PL_CAPTURE_PARTIAL
	});
}

/*
 * capture_method automatic: every order is asked to be captured at once, by
 * one request where the gateway captures once.
 */
static void
add_captures(PlWork *work, const Authorized *authorized, const char *payment_method)
{
	PlArgs		args = {0};
	ListCell   *cell;

	pl_arg_int64(&args, authorized->payment_id);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&request_captures, &args);

	if (!authorized->multicapture)
	{
		add_capture(work, authorized, payment_method, authorized->payment_id, authorized->total, true);
		return;
	}
	/* of several captures none is known to be the last, so none is final */
	foreach(cell, authorized->lines)
		add_capture(work, authorized, payment_method, authorized->order_ids[foreach_current_index(cell)],
					((PlLine *) lfirst(cell))->amount, list_length(authorized->lines) == 1);
}

static char *
payment_data(const Authorized *authorized, const char *status)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "paymentId", authorized->payment_id);
	pl_json_text(&out, "orderId", authorized->order_id);
	pl_json_text(&out, "buyerId", authorized->buyer_id);
	pl_json_text(&out, "currency", authorized->currency);
	pl_json_amount(&out, "totalAmount", authorized->total);
	pl_json_text(&out, "status", status);
	appendStringInfoChar(&out, '}');
	return out.data;
}

static void
add_events(PlWork *work, const Authorized *authorized)
{
	int			n = list_length(authorized->lines);
	int64		version = authorized->last_version - 2 - n * (authorized->automatic ? 2 : 1);
	ListCell   *cell;

	pl_payment_event(work, "payment_intent_authorized", authorized->payment_id, ++version,
					 payment_data(authorized, "AUTHORIZED"), authorized->traceparent);
	pl_payment_event(work, "payment_authorized", authorized->payment_id, ++version,
					 payment_data(authorized, "NOT_CAPTURED"), authorized->traceparent);
	for (int round = 0; round < (authorized->automatic ? 2 : 1); round++)
		foreach(cell, authorized->lines)
		{
			const PlLine *line = lfirst(cell);

			pl_payment_event(work, round == 0 ? "payment_order_created" : "payment_order_capture_requested",
							 authorized->payment_id, ++version,
							 pl_order_data(authorized->order_ids[foreach_current_index(cell)],
										   line->seller_id, authorized->currency, line->amount,
										   round == 0 ? "INITIATED_PENDING" : "CAPTURE_REQUESTED"),
							 authorized->traceparent);
		}
	if (version != authorized->last_version)
		elog(ERROR, "payment_intent " INT64_FORMAT " has " INT64_FORMAT " events and not " INT64_FORMAT,
			 authorized->payment_id, version, authorized->last_version);
}

static void
authorize(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	Authorized	authorized;
	PlArgs		args = {0};

	pl_arg_int64(&args, request->payment_id);
	pl_arg_text(&args, outcome->psp_reference);
	pl_arg_timestamp(&args, work->now);
	pl_arg_text(&args, request->gateway);
	if (pl_execute(&set_authorized, &args) == 0)
		return;

	authorized.payment_id = request->payment_id;
	authorized.psp_reference = outcome->psp_reference ? pstrdup(outcome->psp_reference) : NULL;
	authorized.order_id = pl_get_text(0, 1);
	authorized.buyer_id = pl_get_text(0, 2);
	authorized.currency = pl_get_text(0, 3);
	authorized.total = pl_get_int64(0, 4);
	authorized.lines = pl_parse_lines(DatumGetJsonbP(pl_get_value(0, 5)));
	authorized.automatic = pl_get_bool(0, 6);
	authorized.gateway = pl_get_text(0, 7);
	authorized.last_version = pl_get_int64(0, 8);
	authorized.traceparent = pl_get_text(0, 9);
	authorized.multicapture = pl_get_bool(0, 10);
	authorized.lifetime_days = pl_get_int32(0, 11);

	add_payment_and_orders(work, &authorized);
	pl_post_template(work->entries, "AUTH_HOLD", authorized.payment_id,
					 psprintf("AUTH_HOLD:" INT64_FORMAT, authorized.payment_id), 0,
					 NULL, authorized.currency, authorized.total);
	if (authorized.automatic)
		add_captures(work, &authorized, request->payment_method ? request->payment_method
					 : pl_payment_method(authorized.payment_id));
	add_events(work, &authorized);
}

static void
decline(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	StringInfoData data;
	PlArgs		args = {0};

	pl_arg_int64(&args, request->payment_id);
	pl_arg_text(&args, outcome->code);
	pl_arg_text(&args, outcome->psp_reference);
	pl_arg_timestamp(&args, work->now);
	pl_arg_text(&args, request->gateway);
	if (pl_execute(&set_declined, &args) == 0)
		return;

	initStringInfo(&data);
	appendStringInfoChar(&data, '{');
	pl_json_id(&data, "paymentIntentId", request->payment_id);
	pl_json_text(&data, "orderId", pl_get_text(0, 1));
	pl_json_text(&data, "status", "DECLINED");
	pl_json_text(&data, "declineCode", outcome->code);
	appendStringInfoChar(&data, '}');
	pl_payment_event(work, "payment_intent_declined", request->payment_id, pl_get_int64(0, 2),
					 data.data, pl_get_text(0, 3));
}

static void
require_action(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, request->payment_id);
	pl_arg_text(&args, outcome->next_action);
	pl_arg_text(&args, outcome->psp_reference);
	pl_arg_timestamp(&args, work->now);
	pl_arg_text(&args, request->gateway);
	pl_execute(&set_requires_action, &args);
}

/*
 * Apply the outcome of AUTHORIZE, CONFIRM or an authorization's RETRIEVE.  An
 * intent that was decided meanwhile, or went to another gateway, stays as it is.  Locks the intent.
 * Raises PL006 for the reference of another payment.
 */
void
pl_apply_authorization(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	switch (outcome->class)
	{
		case PL_OUTCOME_SUCCEEDED:
			check_reference(request, outcome);
			authorize(work, request, outcome);
			break;
		case PL_OUTCOME_REFUSED:
			decline(work, request, outcome);
			break;
		case PL_OUTCOME_ACTION_REQUIRED:
			check_reference(request, outcome);
			require_action(work, request, outcome);
			break;
		case PL_OUTCOME_REVERSED:
		case PL_OUTCOME_RETRY:
		case PL_OUTCOME_PENDING:
		case PL_OUTCOME_UNKNOWN:
			/* PENDING_AUTH is what is known */
			break;
	}
}
