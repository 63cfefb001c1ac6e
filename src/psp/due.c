/*
 * src/psp/due.c
 *		Which requests are due, and as many of them as the limits of their
 *		gateways leave room for.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "gateway/gateway.h"
#include "psp/psp_internal.h"
#include "utils/builtins.h"

/* What a call needs, of a row r. */
#define CALL_COLUMNS \
	"SELECT r.psp_request_id, r.payment_id, r.gateway, r.operation::text, r.target, r.amount," \
	"  r.currency, r.payment_method, r.parameters::text, r.idempotency_key, r.attempt," \
	"  r.first_sent_at, r.psp_reference, r.request_bytes, r.status = 'UNKNOWN', r.reply_status, r.follows," \
	"  CASE WHEN r.follows IS NOT NULL THEN (SELECT f.operation::text FROM payledger.psp_requests f" \
	"   WHERE f.payment_id = r.payment_id AND f.psp_request_id = r.follows) END," \
	"  r.alternatives::text, r.worker_deaths > 0"

/*
 * Of each endpoint as many as it may have, and of all of them the oldest that
 * the gateway may have; then that many of each endpoint, less what a session
 * works on, which is left for the next turn.
 */
static PlQuery select_due = {
	CALL_COLUMNS
	" FROM (SELECT p.gateway, p.operation, count(*) AS n"
	"   FROM (SELECT e.gateway, e.operation, e.gateway_left,"
	"      row_number() OVER (PARTITION BY e.gateway ORDER BY q.next_attempt_at) AS place"
	"     FROM (SELECT pg_catalog.unnest($1) AS gateway, pg_catalog.unnest($2)::payledger.psp_operation AS operation,"
	"        pg_catalog.unnest($3) AS endpoint_left, pg_catalog.unnest($4) AS gateway_left) e,"
	"     LATERAL (SELECT next_attempt_at FROM payledger.psp_requests"
	"       WHERE gateway = e.gateway AND operation = e.operation AND status IN ('READY', 'UNKNOWN')"
	"        AND next_attempt_at <= $5 ORDER BY next_attempt_at LIMIT e.endpoint_left) q) p"
	"   WHERE p.place <= p.gateway_left GROUP BY p.gateway, p.operation) d,"
	" LATERAL (SELECT * FROM payledger.psp_requests q"
	"   WHERE q.gateway = d.gateway AND q.operation = d.operation AND q.status IN ('READY', 'UNKNOWN')"
	"    AND q.next_attempt_at <= $5 ORDER BY q.next_attempt_at LIMIT d.n FOR NO KEY UPDATE SKIP LOCKED) r",
	5, {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZOID}
};

static PlQuery select_one = {
	CALL_COLUMNS
	" FROM payledger.psp_requests r WHERE r.payment_id = $1 AND r.psp_request_id = $2"
	"  AND r.status IN ('READY', 'UNKNOWN') FOR NO KEY UPDATE OF r SKIP LOCKED", 2, {INT8OID, INT8OID}
};

/* $3: from when on each endpoint may be asked */
static PlQuery next_due = {
	"SELECT min(greatest(q.next_attempt_at, e.free_at))"
	" FROM (SELECT pg_catalog.unnest($1) AS gateway, pg_catalog.unnest($2)::payledger.psp_operation AS operation,"
	"   pg_catalog.unnest($3) AS free_at) e,"
	" LATERAL (SELECT next_attempt_at FROM payledger.psp_requests"
	"   WHERE gateway = e.gateway AND operation = e.operation AND status IN ('READY', 'UNKNOWN')"
	"   ORDER BY next_attempt_at LIMIT 1) q",
	3, {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
};

/* Endpoints to be looked at, as arrays for a query. */
typedef struct Endpoints
{
	int			n;
	Datum	   *gateways;
	Datum	   *operations;
	Datum	   *left;
	Datum	   *gateway_left;
	Datum	   *free_at;
} Endpoints;

static void
allocate(Endpoints *endpoints)
{
	Size		size = sizeof(Datum) * PL_OPERATION_COUNT * (list_length(pl_gateways()) + 1);

	endpoints->n = 0;
	endpoints->gateways = palloc(size);
	endpoints->operations = palloc(size);
	endpoints->left = palloc(size);
	endpoints->gateway_left = palloc(size);
	endpoints->free_at = palloc(size);
}

static void
add_endpoint(Endpoints *endpoints, const PlGateway *gateway, PlOperation operation, int left, int gateway_left,
			 TimestampTz free_at)
{
	int			i = endpoints->n++;

	endpoints->gateways[i] = CStringGetTextDatum(gateway->name);
	endpoints->operations[i] = CStringGetTextDatum(pl_operation_name(operation));
	endpoints->left[i] = Int32GetDatum(left);
	endpoints->gateway_left[i] = Int32GetDatum(gateway_left);
	endpoints->free_at[i] = TimestampTzGetDatum(free_at);
}

static void
add_room(Endpoints *endpoints, PlGateway *gateway)
{
	int64		when;
	int			left = pl_limits_of_gateway(gateway, &when);

	if (left == 0)
		return;
	for (int i = 0; i < PL_OPERATION_COUNT; i++)
	{
		int			n = pl_limits_of_endpoint(gateway, i, left, &when);

		if (n > 0)
			add_endpoint(endpoints, gateway, i, n, left, 0);
	}
	pl_limits_promise(gateway, left);
}

/*
 * Select the rows that are due and for which there is room, locked, in the
 * order of select_due's columns.  Returns their number.  Needs an open SPI
 * connection.
 */
uint64
pl_due_select(void)
{
	static uint32 turn = 0;
	int			n = list_length(pl_gateways());
	Endpoints	endpoints;
	PlArgs		args = {0};
	uint64		nrows = 0;

	allocate(&endpoints);
	/* another one is first each time: it finds the most descriptors */
	turn++;
	for (int i = 0; i < n; i++)
	{
		PlGateway  *gateway = list_nth(pl_gateways(), (i + turn) % n);

		if (gateway->problem == NULL && pl_gateway_problem(gateway) == NULL)
			add_room(&endpoints, gateway);
	}
	if (endpoints.n > 0)
	{
		pl_arg_array(&args, endpoints.gateways, NULL, endpoints.n, TEXTOID);
		pl_arg_array(&args, endpoints.operations, NULL, endpoints.n, TEXTOID);
		pl_arg_array(&args, endpoints.left, NULL, endpoints.n, INT4OID);
		pl_arg_array(&args, endpoints.gateway_left, NULL, endpoints.n, INT4OID);
		pl_arg_timestamp(&args, pl_transaction_now());
		nrows = pl_execute(&select_due, &args);
	}
	for (int i = 0; i < n; i++)
	{
		PlGateway  *gateway = list_nth(pl_gateways(), i);

		if (gateway->limits != NULL)
			pl_limits_promise(gateway, 0);
	}
	return nrows;
}

/*
 * Select this row whatever the limits say, locked, in the order of
 * select_due's columns.  Returns 0 if it waits for nothing any more or a
 * session holds it.  Needs an open SPI connection.
 */
uint64
pl_due_select_one(int64 payment_id, int64 psp_request_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	pl_arg_int64(&args, psp_request_id);
	return pl_execute(&select_one, &args);
}

/* A time of the monotonic clock by the other one. */
static TimestampTz
clock_time(int64 when)
{
	return TimestampTzPlusMilliseconds(pl_now(), Max(when - pl_monotonic_ms(), 0));
}

/* Endpoints at which more can be leased without that a call of theirs ends. */
static void
add_waiting(Endpoints *endpoints, PlGateway *gateway)
{
	int64		when;
	int			left = pl_limits_of_gateway(gateway, &when);

	if (left == 0 && when < 0)
		return;
	for (int i = 0; i < PL_OPERATION_COUNT; i++)
	{
		int64		endpoint_when;

		if (pl_limits_of_endpoint(gateway, i, INT_MAX, &endpoint_when) == 0)
		{
			if (endpoint_when < 0)
				continue;
			add_endpoint(endpoints, gateway, i, 0, 0, clock_time(Max(when, endpoint_when)));
		}
		else
			add_endpoint(endpoints, gateway, i, 0, 0, left > 0 ? 0 : clock_time(when));
	}
}

/*
 * When the next request can be leased if no call is over before; 0: never.
 * Needs an open SPI connection.
 */
TimestampTz
pl_due_next(void)
{
	Endpoints	endpoints;
	PlArgs		args = {0};
	bool		isnull;
	Datum		due;
	ListCell   *cell;

	allocate(&endpoints);
	foreach(cell, pl_gateways())
	{
		PlGateway  *gateway = lfirst(cell);

		if (gateway->problem == NULL && pl_gateway_problem(gateway) == NULL)
			add_waiting(&endpoints, gateway);
	}
	if (endpoints.n == 0)
		return 0;
	pl_arg_array(&args, endpoints.gateways, NULL, endpoints.n, TEXTOID);
	pl_arg_array(&args, endpoints.operations, NULL, endpoints.n, TEXTOID);
	pl_arg_array(&args, endpoints.free_at, NULL, endpoints.n, TIMESTAMPTZOID);
	pl_execute(&next_due, &args);
	due = pl_get_datum(0, 1, &isnull);
	return isnull ? 0 : DatumGetTimestampTz(due);
}
