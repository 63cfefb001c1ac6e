/*
 * src/psp/queue.c
 *		From rows of psp_requests to calls: leasing, building, taking over.
 *
 * A lease is one UPDATE for a whole batch, committed before anything is sent:
 * the exact bytes, the idempotency key, who has the request and until when.
 * There is one gateway worker for each database, so rows that another one left
 * IN_FLIGHT belong to a dead one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "miscadmin.h"
#include "psp/psp_internal.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* advisory lock class that SQL cannot take; "payledger gateway" */
#define GATEWAY_LOCK_KEY1 0x706c6467
#define GATEWAY_LOCK_CLASS 7

/* a request that waits for the clocks to agree is looked at again */
#define POSTPONE_MS 60000

/* after the clock was confirmed, what is due within that time is left alone */
#define SOON_MS 60000

static PlQuery lease_rows = {
	"UPDATE payledger.psp_requests r SET status = 'IN_FLIGHT', attempt = u.attempt,"
	"  lease_token = $6, lease_expires_at = u.expires_at,"
	"  first_sent_at = coalesce(r.first_sent_at, $7),"
	"  request_bytes = coalesce(r.request_bytes, u.bytes), updated_at = $7"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5)) AS u(payment_id, psp_request_id, attempt, expires_at, bytes)"
	" WHERE r.payment_id = u.payment_id AND r.psp_request_id = u.psp_request_id",
	7, {INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, BYTEAARRAYOID, INT8OID,
	TIMESTAMPTZOID}
};

static PlQuery park_row = {
	"UPDATE payledger.psp_requests SET status = 'PARKED', reply_status = NULL,"
	"  reply_code = 'build_failed', reply_message = $3, updated_at = $4"
	" WHERE payment_id = $1 AND psp_request_id = $2",
	4, {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery postpone_row = {
	"UPDATE payledger.psp_requests SET next_attempt_at = $3"
	" WHERE payment_id = $1 AND psp_request_id = $2", 3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery hurry_requests = {
	"UPDATE payledger.psp_requests SET next_attempt_at = $1"
	" WHERE status IN ('READY', 'UNKNOWN') AND next_attempt_at > $2", 2, {TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery hurry_webhooks = {
	"UPDATE payledger.webhooks SET next_attempt_at = $1"
	" WHERE status IN ('RECEIVED', 'PARKED') AND next_attempt_at > $2", 2, {TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery take_over_rows = {
	"UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL, lease_expires_at = NULL,"
	"  next_attempt_at = $2, reply_status = NULL, reply_code = 'worker_lost',"
	"  reply_message = 'the gateway worker ended before the outcome was stored', updated_at = $2,"
	"  worker_deaths = worker_deaths + (lease_token = $3)::int"
	" WHERE status = 'IN_FLIGHT' AND lease_token <> $1", 3, {INT8OID, TIMESTAMPTZOID, INT8OID}
};

static PlQuery expire_rows = {
	"UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL, lease_expires_at = NULL,"
	"  next_attempt_at = $1, reply_status = NULL, reply_code = 'lease_expired',"
	"  reply_message = 'the gateway worker did not store an outcome in time', updated_at = $1"
	" WHERE status = 'IN_FLIGHT' AND lease_expires_at < $1", 1, {TIMESTAMPTZOID}
};

/*
 * For the gateway worker: what waits for a time that was read from a clock
 * since set back waits for it no longer.  Needs a transaction and an open SPI
 * connection.
 */
void
pl_queue_clock_confirmed(void)
{
	PlArgs		args = {0};
	TimestampTz now = pl_now();

	pl_arg_timestamp(&args, now);
	pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, SOON_MS));
	pl_execute(&hurry_requests, &args);
	pl_execute(&hurry_webhooks, &args);
}

/*
 * Become the one gateway worker of this database, until the process ends.
 * Returns false if there is another one.
 */
bool
pl_queue_attach(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, GATEWAY_LOCK_KEY1, PL_ROLE_GATEWAY, GATEWAY_LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * What marks this process' leases.
 */
int64
pl_queue_lease_token(void)
{
	static int64 token = 0;

	if (token == 0)
		token = pl_next_id();
	return token;
}

/*
 * Rows that a former worker left IN_FLIGHT: what became of them is unknown,
 * and they are due now.  Of those of a worker that died it is noted that it
 * may have died of them.  Needs the lock of pl_queue_attach().
 */
void
pl_queue_take_over(void)
{
	PlLeftInHand left;
	bool		died = pl_in_hand_left(&left);
	PlArgs		args = {0};

	pl_history_begin("gateway worker started");
	if (died)
		pl_suspects_blame(&left);
	pl_arg_int64(&args, pl_queue_lease_token());
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_int64(&args, left.lease_token);
	pl_execute(&take_over_rows, &args);
	if (died)
		pl_suspects_judge(&left);
	pl_history_end();
}

/*
 * For the keeper: rows whose lease ran out become UNKNOWN and due.  Returns
 * their number.  Needs a transaction and an open SPI connection.
 */
uint64
pl_queue_expire_leases(void)
{
	PlArgs		args = {0};
	uint64		n;

	pl_history_begin("lease expired");
	pl_arg_timestamp(&args, pl_transaction_now());
	n = pl_execute(&expire_rows, &args);
	pl_history_end();
	if (n > 0)
		pl_wake_at_commit(PL_ROLE_GATEWAY);
	return n;
}

/*
 * A call for a row of pl_due_select(), in a context of its own.
 */
static PlCall *
new_call(int row, PlGateway *gateway, TimestampTz now)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "payledger call",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	PlCall	   *call = palloc0(sizeof(PlCall));
	PlRequest  *request = &call->request;
	bool		isnull;
	Datum		bytes = pl_get_datum(row, 14, &isnull);
	bool		answered = !pl_isnull(row, 16);

	call->context = context;
	call->gateway = gateway;
	gateway->in_flight++;

	request->psp_request_id = pl_get_int64(row, 1);
	request->payment_id = pl_get_int64(row, 2);
	request->gateway = gateway->name;
	request->operation = pl_operation_by_name(pl_get_text(row, 4));
	request->target = pl_get_int64(row, 5);
	request->follows = pl_isnull(row, 17) ? 0 : pl_get_int64(row, 17);
	request->followed = pl_isnull(row, 18) ? request->operation : pl_operation_by_name(pl_get_text(row, 18));
	request->amount = pl_isnull(row, 6) ? 0 : pl_get_int64(row, 6);
	request->currency = pl_get_text(row, 7);
	request->payment_method = pl_get_text(row, 8);
	request->parameters = pl_get_text(row, 9);
	request->idempotency_key = pl_get_text(row, 10);
	request->attempt = pl_get_int32(row, 11) + 1;
	request->first_sent_at = pl_isnull(row, 12) ? now
		: DatumGetTimestampTz(pl_get_datum(row, 12, &isnull));
	request->psp_reference = pl_get_text(row, 13);
	request->alternatives = pl_get_text(row, 19);
	if (DatumGetPointer(bytes) != NULL)
		request->request_bytes = DatumGetByteaPCopy(bytes);
	call->suspect = pl_get_bool(row, 20);
	call->failed_before = answered && pl_get_int32(row, 16) >= 500;

	/*
	 * A request in doubt is replayed; where that can only bring back the same
	 * reply, the PSP is asked what it did instead: an authorization whose
	 * reply named a payment that was still pending, and every other time one
	 * that was answered by an error.
	 */
	call->in_doubt = pl_get_bool(row, 15);
	if (call->in_doubt && gateway->adapter->query != NULL)
		call->queried =
			(request->operation == PL_OP_AUTHORIZE && request->psp_reference != NULL) ||
			(answered && request->attempt % 2 == 1);
	pl_limits_leased(call);
	MemoryContextSwitchTo(oldcontext);
	return call;
}

/*
 * Forget a call.
 */
void
pl_queue_drop(PlCall *call)
{
	pl_limits_over(call);
	pl_gateway_release(call->gateway);
	MemoryContextDelete(call->context);
}

/*
 * Raises 55000 for a request that must not be sent again.  While the clocks
 * disagree about that, and the PSP cannot be asked, it is postponed.
 */
static void
build(PlCall *call)
{
	const PlAdapter *adapter = call->gateway->adapter;
	bool		repeats = call->in_doubt && call->request.operation != PL_OP_RETRIEVE;
	bool		may_be_forgotten = call->in_doubt && pl_grace_now() >= pl_key_forgotten_at(call);

	call->queried = (call->queried || may_be_forgotten) && adapter->query != NULL &&
		adapter->query(call->gateway, &call->request, &call->http);
	if (call->queried)
	{
		pl_check_http_request(&call->http);
		return;
	}
	call->postponed = repeats && may_be_forgotten && pl_due_now() < pl_key_forgotten_at(call);
	if (call->postponed)
		return;
	if (repeats && may_be_forgotten)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("psp_request " INT64_FORMAT " may have been executed, and its idempotency key is forgotten by now",
						call->request.psp_request_id)));
	if (call->request.request_bytes == NULL)
	{
		adapter->build(call->gateway, &call->request, &call->http);
		call->request.request_bytes = pl_wire_encode(&call->http);
	}
	else
		pl_wire_decode(call->request.request_bytes, &call->http);
}

/*
 * Build the bytes of a call.  Returns NULL, or why they cannot be built.
 */
static char *
build_safely(PlCall *call)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile problem = NULL;

	if (call->gateway->adapter->perform != NULL)
		return NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(call->context);
	pl_in_hand_call(call);
	PG_TRY();
	{
		build(call);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		problem = pl_redact(error->message);
	}
	PG_END_TRY();
	pl_in_hand_nothing();
	MemoryContextSwitchTo(oldcontext);
	CurrentResourceOwner = owner;
	return problem;
}

static void
park(const PlCall *call, const char *problem)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, call->request.payment_id);
	pl_arg_int64(&args, call->request.psp_request_id);
	pl_arg_text(&args, problem);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_execute(&park_row, &args);
}

/* Nothing is known of it that was not known before. */
static void
postpone(const PlCall *call)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, call->request.payment_id);
	pl_arg_int64(&args, call->request.psp_request_id);
	pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(pl_now(), POSTPONE_MS));
	pl_execute(&postpone_row, &args);
}

static void
lease(dlist_head *leased, int n)
{
	TimestampTz now = pl_transaction_now();
	Datum	   *payments = palloc(sizeof(Datum) * n);
	Datum	   *ids = palloc(sizeof(Datum) * n);
	Datum	   *attempts = palloc(sizeof(Datum) * n);
	Datum	   *expires = palloc(sizeof(Datum) * n);
	Datum	   *bytes = palloc0(sizeof(Datum) * n);
	bool	   *bytes_null = palloc(sizeof(bool) * n);
	PlArgs		args = {0};
	dlist_iter	iter;
	int			i = 0;

	dlist_foreach(iter, leased)
	{
		PlCall	   *call = dlist_container(PlCall, node, iter.cur);

		payments[i] = Int64GetDatum(call->request.payment_id);
		ids[i] = Int64GetDatum(call->request.psp_request_id);
		attempts[i] = Int32GetDatum(call->request.attempt);
		expires[i] = TimestampTzGetDatum(TimestampTzPlusMilliseconds(now,
																	(int64) call->gateway->lease_seconds * 1000));
		bytes_null[i] = call->request.request_bytes == NULL;
		if (!bytes_null[i])
			bytes[i] = PointerGetDatum(call->request.request_bytes);
		i++;
	}
	Assert(i == n);
	pl_arg_array(&args, payments, NULL, n, INT8OID);
	pl_arg_array(&args, ids, NULL, n, INT8OID);
	pl_arg_array(&args, attempts, NULL, n, INT4OID);
	pl_arg_array(&args, expires, NULL, n, TIMESTAMPTZOID);
	pl_arg_array(&args, bytes, bytes_null, n, BYTEAOID);
	pl_arg_int64(&args, pl_queue_lease_token());
	pl_arg_timestamp(&args, now);
	if (pl_execute(&lease_rows, &args) != (uint64) n)
		elog(ERROR, "leased another number of psp requests than %d", n);
}

static PlGateway *
find_gateway(const char *name)
{
	ListCell   *cell;

	foreach(cell, pl_gateways())
		if (strcmp(((PlGateway *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	elog(ERROR, "a request to gateway \"%s\" was selected, which is not known", name);
}

/*
 * Calls for the rows that were selected last: built, and leased or parked.
 * Those that are leased are added to leased.
 */
static void
lease_selected(uint64 nrows, dlist_head *leased)
{
	TimestampTz now = pl_transaction_now();
	int			ncalls = (int) nrows;
	dlist_mutable_iter iter;

	for (uint64 row = 0; row < nrows; row++)
		dlist_push_tail(leased, &new_call(row, find_gateway(pl_get_text(row, 3)), now)->node);

	pl_history_begin("gateway worker");
	dlist_foreach_modify(iter, leased)
	{
		PlCall	   *call = dlist_container(PlCall, node, iter.cur);
		char	   *problem = build_safely(call);

		if (problem == NULL && !call->postponed)
			continue;
		if (problem != NULL)
			park(call, problem);
		else
			postpone(call);
		dlist_delete(&call->node);
		pl_queue_drop(call);
		ncalls--;
	}
	if (ncalls > 0)
		lease(leased, ncalls);
	pl_history_end();
}

/*
 * Lease this request, which is tried alone.  Returns false if it cannot be
 * leased now, or was parked.  Needs a transaction and an open SPI connection.
 */
bool
pl_queue_lease_alone(int64 payment_id, int64 psp_request_id, dlist_head *leased)
{
	lease_selected(pl_due_select_one(payment_id, psp_request_id), leased);
	return !dlist_is_empty(leased);
}

/*
 * Lease the requests that are due, as many as the limits of their gateways
 * leave room for: their calls are added to leased, in contexts of their own.
 * The calls in over end with this transaction and make room.  A request whose
 * bytes cannot be built is parked and stands in nobody's way.  *next_due
 * becomes when more can be leased if no call is over before, 0 for never.
 * Needs a transaction and an open SPI connection.
 */
void
pl_queue_lease(List *over, dlist_head *leased, TimestampTz *next_due)
{
	pl_limits_begin(over);
	lease_selected(pl_due_select(), leased);
	*next_due = pl_due_next();
}
