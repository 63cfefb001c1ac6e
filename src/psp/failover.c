/*
 * src/psp/failover.c
 *		Authorizations that a gateway does not execute: when they go to another.
 *
 * Only a READY request fails over, and one that comes back READY: whatever was
 * sent of it was documented as not executed.  One that is with the PSP, or of
 * unknown outcome, never does, however long it takes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "gateway/gateway.h"
#include "payment/payment.h"
#include "psp/psp_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* in one transaction */
#define FAIL_OVER_AT_ONCE 100

/* The oldest that waits at each of the gateways; null: none. */
static PlQuery find_oldest = {
	"SELECT (SELECT min(psp_request_id) FROM payledger.psp_requests"
	"   WHERE gateway = g.gateway AND status = 'READY' AND alternatives IS NOT NULL)"
	" FROM unnest($1) WITH ORDINALITY AS g(gateway, place) ORDER BY place", 1, {TEXTARRAYOID}
};

/* The intents of those older than $2 that no session holds, now held by this transaction. */
static PlQuery lock_intents = {
	"SELECT i.payment_intent_id FROM payledger.payment_intents i"
	" WHERE i.payment_intent_id = ANY (ARRAY(SELECT payment_id FROM payledger.psp_requests"
	"   WHERE gateway = $1 AND status = 'READY' AND alternatives IS NOT NULL AND psp_request_id < $2"
	"   ORDER BY psp_request_id LIMIT $3))"
	" FOR NO KEY UPDATE SKIP LOCKED", 3, {TEXTOID, INT8OID, INT4OID}
};

static PlQuery give_up = {
	"UPDATE payledger.psp_requests SET status = 'REFUSED', reply_code = 'failed_over',"
	"  reply_message = concat_ws(': ', reply_code, reply_message), updated_at = $4"
	" WHERE payment_id = $1 AND gateway = $2 AND operation = 'AUTHORIZE' AND status = 'READY'"
	"  AND alternatives IS NOT NULL AND psp_request_id < $3"
	" RETURNING psp_request_id, parameters::text, alternatives::text, attempt, reply_message",
	4, {INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};

/*
 * Has a request that is READY again waited for so long that its alternative is
 * asked?
 */
bool
pl_may_fail_over(const PlGateway *gateway, const PlRequest *request, TimestampTz now)
{
	return request->operation == PL_OP_AUTHORIZE && request->alternatives != NULL &&
		TimestampDifferenceExceeds(pl_id_timestamp(request->psp_request_id), now, gateway->failover_after_ms);
}

/* The request of an intent that is locked. */
static void
fail_over(PlWork *work, const PlGateway *gateway, int64 payment_id, int64 before)
{
	PlRequest	request = {.payment_id = payment_id, .gateway = gateway->name, .operation = PL_OP_AUTHORIZE};
	PlArgs		args = {0};
	const char *reason;

	pl_arg_int64(&args, payment_id);
	pl_arg_text(&args, gateway->name);
	pl_arg_int64(&args, before);
	pl_arg_timestamp(&args, work->now);
	if (pl_execute(&give_up, &args) == 0)
		return;
	request.psp_request_id = pl_get_int64(0, 1);
	request.parameters = pl_get_text(0, 2);
	request.alternatives = pl_get_text(0, 3);
	reason = pl_get_int32(0, 4) == 0 ? "it could not be sent" : pl_get_text(0, 5);
	pl_fail_over(work, &request, reason);
}

static void
fail_over_gateway(PlWork *work, const PlGateway *gateway)
{
	int64		before = pl_first_id_after(TimestampTzPlusMilliseconds(work->now, -gateway->failover_after_ms));
	PlArgs		args = {0};
	int64	   *intents;
	uint64		n;

	pl_arg_text(&args, gateway->name);
	pl_arg_int64(&args, before);
	pl_arg_int32(&args, FAIL_OVER_AT_ONCE);
	n = pl_execute(&lock_intents, &args);
	intents = palloc(sizeof(int64) * (n + 1));
	for (uint64 i = 0; i < n; i++)
		intents[i] = pl_get_int64(i, 1);
	qsort(intents, n, sizeof(int64), pl_compare_ids);
	for (uint64 i = 0; i < n; i++)
		fail_over(work, gateway, intents[i], before);
}

/*
 * Authorizations that wait for longer than their gateway's failover_after_ms,
 * and have an alternative, go to the next gateway.  *next_due becomes the
 * earlier of itself (0: never) and when more will have waited for as long, or
 * can be leased by now.  Needs a transaction and an open SPI connection.
 */
void
pl_fail_over_waiting(TimestampTz *next_due)
{
	TimestampTz now = pl_transaction_now();
	int			n = list_length(pl_gateways());
	Datum	   *names = palloc(sizeof(Datum) * (n + 1));
	PlArgs		args = {0};
	List	   *late = NIL;
	PlWork	   *work;
	ListCell   *cell;

	foreach(cell, pl_gateways())
		names[foreach_current_index(cell)] = CStringGetTextDatum(((PlGateway *) lfirst(cell))->name);
	pl_arg_array(&args, names, NULL, n, TEXTOID);
	pl_execute(&find_oldest, &args);
	foreach(cell, pl_gateways())
	{
		PlGateway  *gateway = lfirst(cell);
		int			row = foreach_current_index(cell);
		TimestampTz due;

		if (gateway->problem != NULL || pl_isnull(row, 1))
			continue;
		due = TimestampTzPlusMilliseconds(pl_id_timestamp(pl_get_int64(row, 1)), gateway->failover_after_ms);
		if (due <= now)
			late = lappend(late, gateway);
		if (*next_due == 0 || due < *next_due)
			*next_due = due;
	}
	if (late == NIL)
		return;
	work = pl_work_begin("failed over to another gateway");
	foreach(cell, late)
		fail_over_gateway(work, lfirst(cell));
	pl_work_end(work);
}
