/*
 * src/payment/intents.c
 *		Payment intents: created, sent for authorization, cancelled.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "gateway/gateway.h"
#include "outbox/outbox.h"
#include "routing/routing.h"
#include "seller/seller.h"
#include "utils/builtins.h"

static PlQuery insert_intent = {
	"INSERT INTO payledger.payment_intents"
	" (payment_intent_id, order_id, buyer_id, currency, total_amount, lines, status, capture_method,"
	"  gateway, metadata, event_version, traceparent, created_at, updated_at, routing_rule_id)"
	" VALUES ($1, $2, $3, $4, $5, $6::jsonb, 'CREATED', $7::payledger.capture_method, $8, $9, 1, $10, $11, $11,"
	"  nullif($12, 0))"
	" RETURNING payment_intent_id, order_id, buyer_id, currency, total_amount, status::text,"
	"  capture_method::text, gateway, next_action, metadata, created_at, updated_at",
	12, {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID,
	TIMESTAMPTZOID, INT8OID}
};

static PlQuery lock_intent = {
	"SELECT status::text, currency, total_amount, gateway, psp_reference, event_version,"
	" order_id, traceparent, buyer_id, routing_rule_id"
	" FROM payledger.payment_intents WHERE payment_intent_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery set_pending_auth = {
	"UPDATE payledger.payment_intents SET status = 'PENDING_AUTH', updated_at = $2"
	" WHERE payment_intent_id = $1", 2, {INT8OID, TIMESTAMPTZOID}
};

static PlQuery find_authorization = {
	"SELECT idempotency_key FROM payledger.psp_requests WHERE payment_id = $1 AND operation = 'AUTHORIZE'"
	" ORDER BY psp_request_id DESC LIMIT 1", 1, {INT8OID}
};

static PlQuery set_cancelled = {
	"UPDATE payledger.payment_intents SET status = 'CANCELLED', next_action = NULL,"
	" event_version = event_version + 1, updated_at = $2"
	" WHERE payment_intent_id = $1", 2, {INT8OID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_create_payment_intent);
PG_FUNCTION_INFO_V1(pl_sql_request_authorization);
PG_FUNCTION_INFO_V1(pl_sql_confirm_authorization);
PG_FUNCTION_INFO_V1(pl_sql_cancel_payment_intent);

/* What a caller may ask for, checked and in C. */
typedef struct IntentRequest
{
	char	   *order_id;
	char	   *buyer_id;
	char	   *currency;
	List	   *lines;
	int64		total;
	char	   *capture_method;
	char	   *gateway;		/* NULL: the rules choose */
	char	   *idempotency_key;
	Jsonb	   *metadata;
} IntentRequest;

static void
read_request(FunctionCallInfo fcinfo, IntentRequest *request)
{
	request->order_id = pl_text_arg(fcinfo, 0, "order_id");
	request->buyer_id = pl_text_arg(fcinfo, 1, "buyer_id");
	request->currency = pl_text_arg(fcinfo, 2, "currency");
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("lines must not be null")));
	request->capture_method = pl_text_arg(fcinfo, 4, "capture_method");
	request->gateway = pl_optional_text_arg(fcinfo, 5);
	request->idempotency_key = pl_optional_text_arg(fcinfo, 6);
	request->metadata = PG_ARGISNULL(7) ?
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))) : PG_GETARG_JSONB_P(7);

	pl_check_text("order_id", request->order_id, 255);
	pl_check_text("buyer_id", request->buyer_id, 255);
	pl_check_currency(request->currency);
	if (request->gateway != NULL)
		pl_check_text("gateway", request->gateway, 63);
	if (strcmp(request->capture_method, "automatic") != 0 &&
		strcmp(request->capture_method, "manual") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capture_method \"%s\" does not exist", request->capture_method),
				 errhint("It is automatic or manual.")));
	pl_check_metadata("metadata", request->metadata);
	request->lines = pl_parse_lines(PG_GETARG_JSONB_P(3));
	request->total = pl_lines_total(request->lines);
}

/* One canonical text of the request, for the idempotency key's fingerprint. */
static char *
canonical_request(const IntentRequest *request)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_text(&out, "order_id", request->order_id);
	pl_json_text(&out, "buyer_id", request->buyer_id);
	pl_json_text(&out, "currency", request->currency);
	pl_json_text(&out, "capture_method", request->capture_method);
	pl_json_text(&out, "gateway", request->gateway);
	appendStringInfo(&out, ",\"lines\":%s,\"metadata\":%s}", pl_lines_json(request->lines),
					 JsonbToCString(NULL, &request->metadata->root, VARSIZE(request->metadata)));
	return out.data;
}

static char *
intent_data(int64 intent_id, const char *order_id, const char *buyer_id, const char *currency,
			int64 total, const char *status)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "paymentIntentId", intent_id);
	pl_json_text(&out, "orderId", order_id);
	pl_json_text(&out, "buyerId", buyer_id);
	pl_json_text(&out, "currency", currency);
	pl_json_amount(&out, "totalAmount", total);
	pl_json_text(&out, "status", status);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* intent_data() with the lines. */
static char *
created_data(int64 intent_id, const IntentRequest *request)
{
	char	   *data = intent_data(intent_id, request->order_id, request->buyer_id,
								   request->currency, request->total, "CREATED");

	data[strlen(data) - 1] = '\0';
	return psprintf("%s,\"lines\":%s}", data, pl_lines_json(request->lines));
}

/*
 * create_payment_intent(order_id, buyer_id, currency, lines, capture_method,
 *		gateway, idempotency_key, metadata)
 */
Datum
pl_sql_create_payment_intent(PG_FUNCTION_ARGS)
{
	IntentRequest request;
	PlIdempotency claim;
	PlWork	   *work;
	PlArgs		args = {0};
	int64		intent_id;
	int64		routing_rule_id;
	const char *traceparent = pl_traceparent();

	pl_connect();
	pl_require_layout();
	read_request(fcinfo, &request);
	if (!pl_idempotency_replay(fcinfo, &claim, "create_payment_intent", request.idempotency_key,
							   request.idempotency_key ? canonical_request(&request) : NULL))
	{
		SPITupleTable *reply;

		request.gateway = pl_route_payment(request.gateway, request.currency, request.lines, &routing_rule_id);
		pl_check_sellers(request.lines, request.currency);

		work = pl_work_begin("create_payment_intent");
		intent_id = pl_next_id();
		pl_arg_int64(&args, intent_id);
		pl_arg_text(&args, request.order_id);
		pl_arg_text(&args, request.buyer_id);
		pl_arg_text(&args, request.currency);
		pl_arg_int64(&args, request.total);
		pl_arg_text(&args, pl_lines_json(request.lines));
		pl_arg_text(&args, request.capture_method);
		pl_arg_text(&args, request.gateway);
		pl_arg(&args, JsonbPGetDatum(request.metadata));
		pl_arg_text(&args, traceparent);
		pl_arg_timestamp(&args, work->now);
		pl_arg_int64(&args, routing_rule_id);
		pl_execute(&insert_intent, &args);
		reply = SPI_tuptable;

		pl_payment_event(work, "payment_intent_created", intent_id, 1,
						 created_data(intent_id, &request), traceparent);
		pl_work_end(work);

		SPI_tuptable = reply;
		SPI_processed = 1;
		pl_idempotency_store(&claim);
		pl_return_rows(fcinfo);
	}
	pl_finish();
	return (Datum) 0;
}

/* Lock the intent and leave its row as the last result; PL007 if none. */
static void
find_and_lock_intent(int64 intent_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, intent_id);
	if (pl_execute(&lock_intent, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("payment_intent " INT64_FORMAT " does not exist", intent_id)));
}

/*
 * Send the intent, which is the last result, to its gateway: PENDING_AUTH.
 * alternatives are payment methods for other gateways, details what the front
 * end brought back from the shopper's action; NULL for none.
 */
static void
send_intent(int64 intent_id, PlOperation operation, const char *method, Jsonb *alternatives, Jsonb *details)
{
	PlWork	   *work = pl_work_begin(operation == PL_OP_CONFIRM && details != NULL ?
									 "confirm_authorization" : "request_authorization");
	StringInfoData parameters;
	PlArgs		args = {0};
	PlNewRequest request;

	initStringInfo(&parameters);
	appendStringInfoChar(&parameters, '{');
	pl_json_text(&parameters, "order_id", pl_get_text(0, 7));
	pl_json_text(&parameters, "buyer_id", pl_get_text(0, 9));
	if (details != NULL)
		pl_json_raw(&parameters, "details", JsonbToCString(NULL, &details->root, VARSIZE(details)));
	appendStringInfoChar(&parameters, '}');
	request = (PlNewRequest) {
		.payment_id = intent_id,
		.gateway = pl_get_text(0, 4),
		.operation = operation,
		.target = intent_id,
		.amount = pl_get_int64(0, 3),
		.currency = pl_get_text(0, 2),
		.payment_method = method,
		.psp_reference = pl_get_text(0, 5),
		.parameters = parameters.data
	};
	/* once the shopper has acted for a PSP, no other one can take over */
	if (alternatives != NULL && operation == PL_OP_AUTHORIZE)
		request.alternatives = pl_failover_alternatives(alternatives, pl_isnull(0, 10) ? 0 : pl_get_int64(0, 10),
														request.gateway);
	pl_check_buildable(&request);
	pl_request_add(work, &request);
	pl_arg_int64(&args, intent_id);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&set_pending_auth, &args);
	pl_work_end(work);
}

/*
 * request_authorization(payment_intent_id, payment_method, alternatives)
 *		RETURNS text
 *		CREATED -> PENDING_AUTH and a request to the gateway; after the
 *		shopper's action REQUIRES_ACTION -> PENDING_AUTH.
 */
Datum
pl_sql_request_authorization(PG_FUNCTION_ARGS)
{
	int64		intent_id = pl_int64_arg(fcinfo, 0, "payment_intent_id");
	char	   *method = pl_optional_text_arg(fcinfo, 1);
	char	   *status;
	bool		goes_on;

	pl_connect();
	pl_require_layout();
	method = pl_check_payment_method("payment_method", method);
	find_and_lock_intent(intent_id);
	status = pl_get_text(0, 1);
	goes_on = strcmp(status, "REQUIRES_ACTION") == 0;
	if (!goes_on && strcmp(status, "CREATED") != 0)
		pl_illegal_transition("payment_intent", intent_id, status, "PENDING_AUTH");
	if (!goes_on && method == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("payment_method must not be null")));
	send_intent(intent_id, goes_on ? PL_OP_CONFIRM : PL_OP_AUTHORIZE, method,
				PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2), NULL);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("PENDING_AUTH"));
}

/*
 * confirm_authorization(payment_intent_id, details) RETURNS text
 *		REQUIRES_ACTION -> PENDING_AUTH: go on with what the front end brought
 *		back from the shopper's action.
 */
Datum
pl_sql_confirm_authorization(PG_FUNCTION_ARGS)
{
	int64		intent_id = pl_int64_arg(fcinfo, 0, "payment_intent_id");
	Jsonb	   *details;
	char	   *status;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("details must not be null")));
	details = PG_GETARG_JSONB_P(1);
	pl_connect();
	pl_require_layout();
	pl_check_metadata("details", details);
	find_and_lock_intent(intent_id);
	status = pl_get_text(0, 1);
	if (strcmp(status, "REQUIRES_ACTION") != 0)
		pl_illegal_transition("payment_intent", intent_id, status, "PENDING_AUTH");
	send_intent(intent_id, PL_OP_CONFIRM, NULL, NULL, JB_ROOT_COUNT(details) > 0 ? details : NULL);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("PENDING_AUTH"));
}

/*
 * Parameters of a CANCEL of an intent that waits for the shopper: the key of the
 * request that made it, for PSPs that have not named it yet.  Leaves another
 * last result.
 */
static char *
abandoned_parameters(int64 intent_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, intent_id);
	if (pl_execute(&find_authorization, &args) == 0)
		elog(ERROR, "payment intent " INT64_FORMAT " was never authorized", intent_id);
	return psprintf("{\"authorized_by\": \"%s\"}", pl_get_text(0, 1));
}

/*
 * cancel_payment_intent(payment_intent_id) RETURNS text
 *		Not while the PSP is asked: then only its word counts.  An intent that
 *		waits for the shopper is also cancelled at the PSP.
 */
Datum
pl_sql_cancel_payment_intent(PG_FUNCTION_ARGS)
{
	int64		intent_id = pl_int64_arg(fcinfo, 0, "payment_intent_id");
	PlArgs		args = {0};
	PlWork	   *work;
	char	   *status;
	SPITupleTable *intent;

	pl_connect();
	pl_require_layout();
	find_and_lock_intent(intent_id);
	intent = SPI_tuptable;
	status = pl_get_text(0, 1);
	if (strcmp(status, "PENDING_AUTH") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("payment_intent " INT64_FORMAT " is being authorized", intent_id),
				 errdetail("machine payment_intent, from PENDING_AUTH, to CANCELLED"),
				 errhint("Wait for the PSP's answer; an authorized payment can be voided with payledger.void_payment.")));
	if (!pl_edge_exists(pl_find_machine("payment_intent"), status, "CANCELLED"))
		pl_illegal_transition("payment_intent", intent_id, status, "CANCELLED");

	work = pl_work_begin("cancel_payment_intent");
	if (strcmp(status, "REQUIRES_ACTION") == 0)
	{
		char	   *parameters = abandoned_parameters(intent_id);

		SPI_tuptable = intent;
		pl_request_add(work, &(PlNewRequest) {
			.payment_id = intent_id,
			.gateway = pl_get_text(0, 4),
			.operation = PL_OP_CANCEL,
			.target = intent_id,
			.currency = pl_get_text(0, 2),
			.psp_reference = pl_get_text(0, 5),
			.parameters = parameters
		});
	}
	pl_payment_event(work, "payment_intent_cancelled", intent_id, pl_get_int64(0, 6) + 1,
					 intent_data(intent_id, pl_get_text(0, 7), pl_get_text(0, 9), pl_get_text(0, 2),
								 pl_get_int64(0, 3), "CANCELLED"), pl_get_text(0, 8));
	pl_arg_int64(&args, intent_id);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&set_cancelled, &args);
	pl_work_end(work);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("CANCELLED"));
}
