/*
 * src/webhook/admin.c
 *		An operator's word on an event that could not be applied, and on a list of
 *		events that is not read any more; and the end of those that were
 *		applied, for the keeper.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "psp/psp.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "webhook/webhook.h"

int			pl_webhook_retention;	/* seconds */

#define MAX_NOTE 500
#define DELETE_AT_ONCE 1000

static PlQuery lock_event = {
	"SELECT status::text FROM payledger.webhooks WHERE gateway = $1 AND event_id = $2 FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}
};

static PlQuery make_due = {
	"UPDATE payledger.webhooks SET next_attempt_at = $3, updated_at = $3 WHERE gateway = $1 AND event_id = $2"
	" RETURNING status::text", 3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery set_ignored = {
	"UPDATE payledger.webhooks SET status = 'IGNORED', next_attempt_at = NULL, problem = $4, updated_at = $3"
	" WHERE gateway = $1 AND event_id = $2 RETURNING status::text", 4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

static PlQuery lock_backfill = {
	"SELECT next_at >= " PL_BACKFILL_NEVER " FROM payledger.webhook_backfills WHERE gateway = $1 FOR NO KEY UPDATE",
	1, {TEXTOID}
};

/* the deaths still count: one more is enough */
static PlQuery make_backfill_due = {
	"UPDATE payledger.webhook_backfills SET next_at = $2, updated_at = $2 WHERE gateway = $1 RETURNING complete_until",
	2, {TEXTOID, TIMESTAMPTZOID}
};

static PlQuery delete_old = {
	"DELETE FROM payledger.webhooks WHERE (gateway, event_id) IN"
	" (SELECT w.gateway, w.event_id FROM payledger.webhooks w"
	"   WHERE w.created_at < $1 AND w.status IN ('APPLIED', 'IGNORED') LIMIT $2)", 2, {TIMESTAMPTZOID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_retry_webhook);
PG_FUNCTION_INFO_V1(pl_sql_ignore_webhook);
PG_FUNCTION_INFO_V1(pl_sql_retry_backfill);

/* Lock the event; PL007 if it was never received, PL001 if it is not PARKED. */
static void
lock_parked(const char *gateway, const char *event_id)
{
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	pl_arg_text(&args, event_id);
	if (pl_execute(&lock_event, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("event \"%s\" of gateway \"%s\" was never received", event_id, gateway)));
	if (strcmp(pl_get_text(0, 1), "PARKED") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("event \"%s\" of gateway \"%s\" is %s", event_id, gateway, pl_get_text(0, 1)),
				 errhint("Only an event that is PARKED waits for an operator.")));
}

/*
 * retry_webhook(gateway, event_id) RETURNS text
 */
Datum
pl_sql_retry_webhook(PG_FUNCTION_ARGS)
{
	char	   *gateway = pl_text_arg(fcinfo, 0, "gateway");
	char	   *event_id = pl_text_arg(fcinfo, 1, "event_id");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	lock_parked(gateway, event_id);
	pl_arg_text(&args, gateway);
	pl_arg_text(&args, event_id);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_execute(&make_due, &args);
	pl_wake_at_commit(PL_ROLE_GATEWAY);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("PARKED"));
}

/*
 * ignore_webhook(gateway, event_id, note) RETURNS text
 */
Datum
pl_sql_ignore_webhook(PG_FUNCTION_ARGS)
{
	char	   *gateway = pl_text_arg(fcinfo, 0, "gateway");
	char	   *event_id = pl_text_arg(fcinfo, 1, "event_id");
	char	   *note = pl_text_arg(fcinfo, 2, "note");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_check_text("note", note, MAX_NOTE);
	lock_parked(gateway, event_id);
	pl_arg_text(&args, gateway);
	pl_arg_text(&args, event_id);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_text(&args, psprintf("ignored by %s: %s", GetUserNameFromId(GetSessionUserId(), false), note));
	pl_execute(&set_ignored, &args);
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("IGNORED"));
}

/*
 * retry_backfill(gateway) RETURNS timestamptz
 */
Datum
pl_sql_retry_backfill(PG_FUNCTION_ARGS)
{
	char	   *gateway = pl_text_arg(fcinfo, 0, "gateway");
	PlArgs		args = {0};
	TimestampTz complete_until;
	bool		isnull;

	pl_connect();
	pl_require_layout();
	pl_arg_text(&args, gateway);
	if (pl_execute(&lock_backfill, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("no list of events of gateway \"%s\" was ever read", gateway)));
	if (!pl_get_bool(0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("the list of events of gateway \"%s\" is not given up", gateway),
				 errhint("It is read every backfill_seconds, and again soon after a problem.")));
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_execute(&make_backfill_due, &args);
	complete_until = DatumGetTimestampTz(pl_get_datum(0, 1, &isnull));
	pl_wake_at_commit(PL_ROLE_GATEWAY);
	pl_finish();
	PG_RETURN_TIMESTAMPTZ(complete_until);
}

/*
 * Forget events that were decided longer than payledger.webhook_retention
 * ago.  Returns whether there are more.  Needs a transaction and an open SPI
 * connection.
 */
bool
pl_forget_webhooks(uint64 *deleted)
{
	PlArgs		args = {0};

	pl_arg_timestamp(&args, pl_kept_since(pl_webhook_retention));
	pl_arg_int64(&args, DELETE_AT_ONCE);
	*deleted = pl_execute(&delete_old, &args);
	return *deleted == DELETE_AT_ONCE;
}
