/*
 * src/payment/failover.c
 *		An authorization that a gateway did not execute goes to another one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "payment/payment.h"
#include "utils/builtins.h"

/* $2: the alternatives that are left, the next one first */
static PlQuery change_gateway = {
	"UPDATE payledger.payment_intents SET gateway = $2::jsonb #>> '{0,gateway}', psp_reference = NULL,"
	" event_version = event_version + 1, updated_at = $4"
	" WHERE payment_intent_id = $1 AND status = 'PENDING_AUTH' AND gateway = $3"
	" RETURNING order_id, event_version, traceparent, gateway, total_amount, currency,"
	"  $2::jsonb #>> '{0,payment_method}',"
	"  CASE WHEN jsonb_array_length($2::jsonb) > 1 THEN ($2::jsonb - 0)::text END",
	4, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

/*
 * The AUTHORIZE request was not executed, as its PSP documents or because it
 * was never sent, and has alternatives: its intent goes to the next gateway,
 * with a request of its own.  The caller holds the intent's lock and makes the
 * request REFUSED.  reason is a word for people.
 */
void
pl_fail_over(PlWork *work, const PlRequest *request, const char *reason)
{
	StringInfoData data;
	PlArgs		args = {0};
	const char *gateway;

	pl_arg_int64(&args, request->payment_id);
	pl_arg_text(&args, request->alternatives);
	pl_arg_text(&args, request->gateway);
	pl_arg_timestamp(&args, work->now);
	/* an intent that was decided meanwhile stays as it is */
	if (pl_execute(&change_gateway, &args) == 0)
		return;

	gateway = pl_get_text(0, 4);
	pl_request_add(work, &(PlNewRequest) {
		.payment_id = request->payment_id,
		.gateway = gateway,
		.operation = PL_OP_AUTHORIZE,
		.target = request->payment_id,
		.amount = pl_get_int64(0, 5),
		.currency = pl_get_text(0, 6),
		.payment_method = pl_get_text(0, 7),
		.parameters = request->parameters,
		.alternatives = pl_get_text(0, 8)
	});

	initStringInfo(&data);
	appendStringInfoChar(&data, '{');
	pl_json_id(&data, "paymentIntentId", request->payment_id);
	pl_json_text(&data, "orderId", pl_get_text(0, 1));
	pl_json_text(&data, "gateway", gateway);
	pl_json_text(&data, "formerGateway", request->gateway);
	pl_json_text(&data, "reason", reason);
	appendStringInfoChar(&data, '}');
	pl_payment_event(work, "payment_intent_rerouted", request->payment_id, pl_get_int64(0, 2), data.data,
					 pl_get_text(0, 3));
}
