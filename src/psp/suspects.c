/*
 * src/psp/suspects.c
 *		After the gateway worker died: which request or event it may have died
 *		of, and finding out without a third death.
 *
 * README.md, "A worker that dies", says why it is done so.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "gateway/gateway.h"
#include "psp/psp_internal.h"
#include "utils/builtins.h"

#define QUARANTINE_MS	60000	/* trials end; what was not tried is sent with the others */
#define LOOK_AT			50		/* suspects at a time, some of gateways that cannot be used */

/* before those in flight become UNKNOWN, which counts for them: one that was still being built */
static PlQuery blame_request = {
	"UPDATE payledger.psp_requests SET worker_deaths = worker_deaths + 1, updated_at = $3"
	" WHERE payment_id = $1 AND psp_request_id = $2 AND status IN ('READY', 'UNKNOWN')",
	3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery park_request = {
	"UPDATE payledger.psp_requests SET status = 'PARKED', reply_status = NULL, reply_code = 'worker_died',"
	"  reply_message = 'the gateway worker died ' || worker_deaths || ' times with this request in hand', updated_at = $4"
	" WHERE payment_id = $1 AND psp_request_id = $2 AND status IN ('READY', 'UNKNOWN') AND worker_deaths >= $3"
	" RETURNING gateway",
	4, {INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID}
};

static PlQuery clear_all = {
	"UPDATE payledger.psp_requests SET worker_deaths = 0, updated_at = $1"
	" WHERE worker_deaths > 0 AND status IN ('READY', 'UNKNOWN')", 1, {TIMESTAMPTZOID}
};

/* if it was sent at all: a session may have held it */
static PlQuery clear_one = {
	"UPDATE payledger.psp_requests SET worker_deaths = 0, updated_at = $3"
	" WHERE payment_id = $1 AND psp_request_id = $2 AND worker_deaths > 0 AND attempt > $4",
	4, {INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID}
};

/* twice is enough; an operator's retry_webhook() makes it due again */
static PlQuery blame_webhook = {
	"UPDATE payledger.webhooks SET worker_deaths = worker_deaths + 1, status = 'PARKED', updated_at = $2,"
	"  next_attempt_at = CASE WHEN worker_deaths = 0 THEN $2 END, attempt = attempt + 1,"
	"  problem = 'the gateway worker died while it was applied'"
	" WHERE webhook_id = $1 AND status IN ('RECEIVED', 'PARKED')"
	" RETURNING worker_deaths, event_id", 2, {INT8OID, TIMESTAMPTZOID}
};

static PlQuery blame_page = {
	"UPDATE payledger.webhook_backfills SET worker_deaths = worker_deaths + 1, updated_at = $2,"
	"  next_at = CASE WHEN worker_deaths = 0 THEN $2 ELSE " PL_BACKFILL_NEVER " END,"
	"  problem = 'the gateway worker died while it read this page'"
	" WHERE gateway = $1 RETURNING worker_deaths", 2, {TEXTOID, TIMESTAMPTZOID}
};

/* $1: the one that was in hand, if it is known */
static PlQuery find_suspects = {
	"SELECT payment_id, psp_request_id, gateway, attempt FROM payledger.psp_requests"
	" WHERE worker_deaths > 0 AND status IN ('READY', 'UNKNOWN') AND next_attempt_at <= $2"
	" ORDER BY psp_request_id = $1 DESC, worker_deaths DESC, psp_request_id LIMIT $3",
	3, {INT8OID, TIMESTAMPTZOID, INT8OID}
};

static int64 quarantined_until = 0; /* pl_monotonic_ms(); 0: it is over */
static int64 in_hand_id = 0;	/* what the dead worker had in hand */

/* the request whose trial is under way or over, and not cleared yet */
static int64 tried_payment = 0;
static int64 tried_id = 0;
static int	tried_attempt = 0;	/* before it */

/* ---- after a death ---- */

/* Park the request if that many workers died of it; returns whether it was. */
static bool
park(const PlInHand *what, int deaths)
{
	PlArgs		args = {0};

	if (what->kind != PL_IN_HAND_REQUEST)
		return false;
	pl_arg_int64(&args, what->payment_id);
	pl_arg_int64(&args, what->id);
	pl_arg_int32(&args, deaths);
	pl_arg_timestamp(&args, pl_transaction_now());
	if (pl_execute(&park_request, &args) == 0)
		return false;
	ereport(LOG,
			(errmsg("psp_request " INT64_FORMAT " of gateway \"%s\" is parked: the gateway worker died twice with it in hand",
					what->id, pl_get_text(0, 1)),
			 errhint("payledger.undecided_requests shows it; payledger.retry_request() sends it again.")));
	return true;
}

/* Returns whether it is given up. */
static bool
blame_event(const PlInHand *what)
{
	PlArgs		args = {0};

	if (what->kind == PL_IN_HAND_WEBHOOK)
		pl_arg_int64(&args, what->id);
	else
		pl_arg_text(&args, what->gateway);
	pl_arg_timestamp(&args, pl_transaction_now());
	if (pl_execute(what->kind == PL_IN_HAND_WEBHOOK ? &blame_webhook : &blame_page, &args) == 0 ||
		pl_get_int32(0, 1) < 2)
		return false;
	if (what->kind == PL_IN_HAND_WEBHOOK)
		ereport(LOG,
				(errmsg("event \"%s\" of gateway \"%s\" is given up: the gateway worker died twice while it was applied",
						pl_get_text(0, 2), what->gateway),
				 errhint("payledger.stat_webhooks counts it; payledger.retry_webhook() has it applied again.")));
	else
		ereport(LOG,
				(errmsg("the list of events of gateway \"%s\" is not read any more: the gateway worker died twice while it read a page",
						what->gateway),
				 errhint("payledger.stat_webhooks shows it; payledger.retry_backfill() has it read again.")));
	return true;
}

/*
 * Before pl_queue_take_over(): note what was in hand and not in flight.
 */
void
pl_suspects_blame(const PlLeftInHand *left)
{
	PlArgs		args = {0};

	if (left->in_hand.kind != PL_IN_HAND_REQUEST)
		return;
	pl_arg_int64(&args, left->in_hand.payment_id);
	pl_arg_int64(&args, left->in_hand.id);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_execute(&blame_request, &args);
}

/*
 * After it: what was in flight is noted.  What the worker died of a second time
 * is set aside, and clears all others; otherwise they are tried.
 */
void
pl_suspects_judge(const PlLeftInHand *left)
{
	bool		found = park(&left->alone, 1) || park(&left->in_hand, 2);

	if (left->in_hand.kind == PL_IN_HAND_WEBHOOK || left->in_hand.kind == PL_IN_HAND_PAGE)
		found = blame_event(&left->in_hand) || found;
	if (found)
	{
		PlArgs		args = {0};

		pl_arg_timestamp(&args, pl_transaction_now());
		pl_execute(&clear_all, &args);
	}
	else
		ereport(LOG,
				(errmsg("the former gateway worker died; what it had in hand is tried one by one")));
	in_hand_id = left->in_hand.kind == PL_IN_HAND_REQUEST ? left->in_hand.id : 0;
}

/* ---- trials ---- */

/*
 * The worker begins: with trials, if there is something to be tried, also what
 * an earlier worker did not get to.
 */
void
pl_suspects_begin(void)
{
	quarantined_until = pl_monotonic_ms() + QUARANTINE_MS;
	tried_id = 0;
}

static void
end_quarantine(void)
{
	quarantined_until = 0;
	tried_id = 0;
	pl_in_hand_alone(0, 0);
}

/*
 * Is nothing to be done but trials?  A PSP that does not answer one stops the
 * others no longer than the quarantine lasts.
 */
bool
pl_suspects_wait(void)
{
	if (quarantined_until != 0 && pl_monotonic_ms() >= quarantined_until)
		end_quarantine();
	return quarantined_until != 0;
}

static void
clear_tried(void)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, tried_payment);
	pl_arg_int64(&args, tried_id);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_int32(&args, tried_attempt);
	pl_execute(&clear_one, &args);
	tried_id = 0;
}

static bool
is_usable(const char *gateway)
{
	ListCell   *cell;

	foreach(cell, pl_gateways())
	{
		PlGateway  *candidate = lfirst(cell);

		if (strcmp(candidate->name, gateway) == 0)
			return candidate->problem == NULL && pl_gateway_problem(candidate) == NULL;
	}
	return false;
}

/*
 * The next request to be tried alone, when nothing is under way: the one
 * before did no harm.  Returns false when there is none: the quarantine is
 * over.  Needs a transaction and an open SPI connection.
 */
bool
pl_suspects_next(int64 *payment_id, int64 *psp_request_id)
{
	PlArgs		args = {0};
	uint64		n;

	if (tried_id != 0)
		clear_tried();
	pl_in_hand_alone(0, 0);
	pl_arg_int64(&args, in_hand_id);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_int64(&args, LOOK_AT);
	n = pl_execute(&find_suspects, &args);
	for (uint64 row = 0; row < n; row++)
	{
		if (!is_usable(pl_get_text(row, 3)))
			continue;
		tried_payment = *payment_id = pl_get_int64(row, 1);
		tried_id = *psp_request_id = pl_get_int64(row, 2);
		tried_attempt = pl_get_int32(row, 4);
		/* before its bytes are built: that may be what kills */
		pl_in_hand_alone(tried_payment, tried_id);
		return true;
	}
	end_quarantine();
	return false;
}
