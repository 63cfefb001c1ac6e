/*
 * src/psp/retry.c
 *		A request that was set aside, sent or asked for again on an operator's
 *		word: only where nothing can be executed a second time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "gateway/gateway.h"
#include "utils/builtins.h"

static PlQuery lock_request = {
	"SELECT q.payment_id, q.status::text, q.first_sent_at, g.adapter, q.operation::text,"
	"  (g.options->>'key_window_seconds')::int"
	" FROM payledger.psp_requests q LEFT JOIN payledger.gateways g ON g.gateway = q.gateway"
	" WHERE q.psp_request_id = $1 AND q.status IN ('IN_FLIGHT', 'PENDING', 'UNKNOWN', 'PARKED')"
	" FOR NO KEY UPDATE OF q", 1, {INT8OID}
};

/* Only to say why there is none: no index leads here. */
static PlQuery select_status = {
	"SELECT status::text FROM payledger.psp_requests WHERE psp_request_id = $1", 1, {INT8OID}
};

static PlQuery release_request = {
	"UPDATE payledger.psp_requests SET status = CASE WHEN first_sent_at IS NULL THEN 'READY' ELSE 'UNKNOWN' END"
	"  ::payledger.psp_request_status, next_attempt_at = $3, updated_at = $3"
	" WHERE payment_id = $1 AND psp_request_id = $2 RETURNING psp_request_id, status::text",
	3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_retry_request);

pg_noreturn static void
refuse_status(int64 id, const char *status)
{
	if (status == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("psp_request " INT64_FORMAT " does not exist", id)));
	ereport(ERROR,
			(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
			 errmsg("psp_request " INT64_FORMAT " is %s, not PARKED", id, status),
			 errdetail("machine psp_request, from %s, to UNKNOWN", status),
			 errhint("What is not PARKED is decided, or the gateway worker goes on with it.")));
}

/*
 * Raise 55000 unless the request, the last result, can be sent or asked for
 * again.
 */
static void
check_safe(int64 id, TimestampTz now)
{
	const PlAdapter *adapter = pl_isnull(0, 4) ? NULL : pl_find_adapter(pl_get_text(0, 4));
	bool		was_sent = !pl_isnull(0, 3);
	bool		isnull;
	int			key_window = !pl_isnull(0, 6) ? pl_get_int32(0, 6) : adapter ? adapter->key_window : 0;
	TimestampTz first_sent_at = was_sent ? DatumGetTimestampTz(pl_get_datum(0, 3, &isnull)) : now;

	if (adapter == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("psp_request " INT64_FORMAT " has no gateway any more", id)));
	if (was_sent && adapter->query == NULL && strcmp(pl_get_text(0, 5), "RETRIEVE") != 0 &&
		pl_grace_now() >= TimestampTzPlusMilliseconds(first_sent_at, (int64) key_window * 1000))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("psp_request " INT64_FORMAT " must not be sent again", id),
				 errdetail("The PSP has forgotten its idempotency key and might execute it a second time."),
				 errhint("Find out at the PSP what became of it, then use payledger.resolve_request.")));
}

/*
 * retry_request(psp_request_id bigint) RETURNS TABLE (psp_request_id, status)
 */
Datum
pl_sql_retry_request(PG_FUNCTION_ARGS)
{
	int64		id = pl_int64_arg(fcinfo, 0, "psp_request_id");
	TimestampTz now = pl_transaction_now();
	PlArgs		args = {0};
	PlArgs		release = {0};

	pl_connect();
	pl_require_layout();
	pl_arg_int64(&args, id);
	if (pl_execute(&lock_request, &args) == 0)
		refuse_status(id, pl_execute(&select_status, &args) > 0 ? pl_get_text(0, 1) : NULL);
	if (strcmp(pl_get_text(0, 2), "PARKED") != 0)
		refuse_status(id, pl_get_text(0, 2));
	check_safe(id, now);

	pl_arg_int64(&release, pl_get_int64(0, 1));
	pl_arg_int64(&release, id);
	pl_arg_timestamp(&release, now);
	pl_history_begin("retry_request");
	pl_execute(&release_request, &release);
	pl_return_rows(fcinfo);
	pl_history_end();
	pl_wake_at_commit(PL_ROLE_GATEWAY);
	pl_finish();
	return (Datum) 0;
}
