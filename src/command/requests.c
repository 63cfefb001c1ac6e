/*
 * src/command/requests.c
 *		Asking a gateway for something: the row that the gateway worker leases.
 *
 * It is written in the commit of the transition that causes it, so neither
 * can be there without the other.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command_internal.h"
#include "utils/builtins.h"

static const char *const request_states[] = {
	"READY", "IN_FLIGHT", "PENDING", "UNKNOWN", "SUCCEEDED", "REFUSED", "PARKED"
};

static const PlEdge request_edges[] = {
	{NULL, "READY"},
	{"READY", "IN_FLIGHT"},
	{"READY", "PARKED"},		/* no bytes could be built for it */
	{"READY", "REFUSED"},		/* withdrawn before it was sent */
	{"IN_FLIGHT", "SUCCEEDED"},
	{"IN_FLIGHT", "REFUSED"},
	{"IN_FLIGHT", "PENDING"},	/* accepted: the PSP reports later what came of it */
	{"IN_FLIGHT", "UNKNOWN"},
	{"IN_FLIGHT", "READY"},		/* documented as not executed: again */
	{"IN_FLIGHT", "PARKED"},	/* the answer could not be applied */
	{"UNKNOWN", "IN_FLIGHT"},	/* replay or query */
	{"UNKNOWN", "SUCCEEDED"},
	{"UNKNOWN", "REFUSED"},
	{"UNKNOWN", "PARKED"},
	{"UNKNOWN", "PENDING"},		/* from here on: by a webhook, too */
	{"PENDING", "SUCCEEDED"},
	{"PENDING", "REFUSED"},
	{"SUCCEEDED", "REFUSED"},	/* an authorization that waited for the shopper, who failed */
	{"PARKED", "PENDING"},
	{"PARKED", "READY"},		/* an operator has it sent, which it never was */
	{"PARKED", "UNKNOWN"},		/* or asked for again */
	{"PARKED", "SUCCEEDED"},	/* an operator decided */
	{"PARKED", "REFUSED"},
};

static const PlMachine machine = PL_MACHINE("psp_request", request_states, request_edges);

/*
 * Make the room's machine known.  Called from _PG_init.
 */
void
pl_command_init(void)
{
	pl_register_machine(&machine);
}

static const char *const operation_names[] = {
	"AUTHORIZE", "CONFIRM", "CAPTURE", "CANCEL", "RETRIEVE", "REFUND", "PAYOUT"
};

typedef struct CollectedRequest
{
	int64		psp_request_id;
	PlNewRequest asked;
} CollectedRequest;

#define REQUEST_COLUMNS 13

struct PlRequestBatch
{
	MemoryContext context;
	List	   *requests;
};

/*
 * Another server at the same PSP account may draw the same ids, so the key has
 * the server's mark, too.  It is stored here, once for all repetitions.
 */
static PlQuery insert_requests = {
	"INSERT INTO payledger.psp_requests"
	" (psp_request_id, payment_id, gateway, operation, target, follows, amount, currency, payment_method,"
	"  psp_reference, parameters, next_attempt_at, alternatives, idempotency_key, status, created_at, updated_at)"
	" SELECT i, p, g, o::payledger.psp_operation, t, nullif(f, 0), nullif(a, 0), c, m, r, j::jsonb, d, l::jsonb,"
	"  'pl_' || i || '_' || $15, 'READY', $14, $14"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
	"  pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12),"
	"  pg_catalog.unnest($13)) AS u(i, p, g, o, t, f, a, c, m, r, j, d, l)",
	15, {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, TEXTOID}
};

/* the newest one: it may have failed over to another gateway */
static PlQuery authorized_with = {
	"SELECT payment_method FROM payledger.psp_requests"
	" WHERE payment_id = $1 AND operation = 'AUTHORIZE' AND payment_method IS NOT NULL"
	" ORDER BY psp_request_id DESC LIMIT 1",
	1, {INT8OID}
};

const char *
pl_operation_name(PlOperation operation)
{
	return operation_names[operation];
}

/* The operation of that name; the enum of the column allows no other. */
PlOperation
pl_operation_by_name(const char *name)
{
	for (int i = 0; i < (int) lengthof(operation_names); i++)
		if (strcmp(operation_names[i], name) == 0)
			return (PlOperation) i;
	elog(ERROR, "unknown operation %s", name);
}

struct PlRequestBatch *
pl_requests_new(void)
{
	struct PlRequestBatch *batch = palloc0(sizeof(struct PlRequestBatch));

	batch->context = CurrentMemoryContext;
	return batch;
}

/*
 * Ask a gateway for something.  Returns the psp_request_id.
 */
int64
pl_request_add(PlWork *work, const PlNewRequest *request)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(work->requests->context);
	CollectedRequest *collected = palloc(sizeof(CollectedRequest));

	collected->psp_request_id = pl_next_id();
	collected->asked = *request;
	work->requests->requests = lappend(work->requests->requests, collected);
	MemoryContextSwitchTo(oldcontext);
	return collected->psp_request_id;
}

/*
 * The PSP's token that the payment was authorized with, palloc'd; NULL if it is
 * not known.
 */
char *
pl_payment_method(int64 payment_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payment_id);
	return pl_execute(&authorized_with, &args) > 0 ? pl_get_text(0, 1) : NULL;
}

/*
 * Is the payment method kept with the request?  The encrypted card data that a
 * front end brings serve the authorization only.
 */
static bool
has_method(const PlNewRequest *asked)
{
	return asked->payment_method != NULL &&
		(asked->payment_method[0] != '{' || asked->operation == PL_OP_AUTHORIZE);
}

/*
 * Write the requests of the unit with one statement and wake the gateway
 * worker at commit.
 */
void
pl_requests_insert(PlWork *work)
{
	static const Oid types[REQUEST_COLUMNS] = {
		INT8OID, INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID,
		TEXTOID, TIMESTAMPTZOID, TEXTOID
	};
	List	   *requests = work->requests->requests;
	int			n = list_length(requests);
	Datum	   *columns[REQUEST_COLUMNS];
	bool	   *method_nulls;
	bool	   *reference_nulls;
	bool	   *alternatives_nulls;
	PlArgs		args = {0};
	ListCell   *cell;

	if (n == 0)
		return;
	for (int c = 0; c < REQUEST_COLUMNS; c++)
		columns[c] = palloc0(sizeof(Datum) * n);
	method_nulls = palloc(sizeof(bool) * n);
	reference_nulls = palloc(sizeof(bool) * n);
	alternatives_nulls = palloc(sizeof(bool) * n);

	foreach(cell, requests)
	{
		const CollectedRequest *request = lfirst(cell);
		const PlNewRequest *asked = &request->asked;
		int			i = foreach_current_index(cell);

		columns[0][i] = Int64GetDatum(request->psp_request_id);
		columns[1][i] = Int64GetDatum(asked->payment_id);
		columns[2][i] = CStringGetTextDatum(asked->gateway);
		columns[3][i] = CStringGetTextDatum(pl_operation_name(asked->operation));
		columns[4][i] = Int64GetDatum(asked->target);
		columns[5][i] = Int64GetDatum(asked->follows);
		columns[6][i] = Int64GetDatum(asked->amount);
		columns[7][i] = CStringGetTextDatum(asked->currency);
		method_nulls[i] = !has_method(asked);
		if (!method_nulls[i])
			columns[8][i] = CStringGetTextDatum(asked->payment_method);
		reference_nulls[i] = asked->psp_reference == NULL;
		if (!reference_nulls[i])
			columns[9][i] = CStringGetTextDatum(asked->psp_reference);
		columns[10][i] = CStringGetTextDatum(asked->parameters ? asked->parameters : "{}");
		columns[11][i] = TimestampTzGetDatum(TimestampTzPlusMilliseconds(work->now, asked->delay_ms));
		alternatives_nulls[i] = asked->alternatives == NULL;
		if (!alternatives_nulls[i])
			columns[12][i] = CStringGetTextDatum(asked->alternatives);
	}

	for (int c = 0; c < REQUEST_COLUMNS; c++)
		pl_arg_array(&args, columns[c], c == 8 ? method_nulls : c == 9 ? reference_nulls :
					 c == 12 ? alternatives_nulls : NULL, n, types[c]);
	pl_arg_timestamp(&args, work->now);
	pl_arg_text(&args, pl_server_mark());
	pl_execute(&insert_requests, &args);
	pl_wake_at_commit(PL_ROLE_GATEWAY);
}

/*
 * A payment method as it is kept: the PSP's token, or the object that its
 * component made in the front end, with card data encrypted.  Raises 22P02,
 * 22023 or PL011 for anything else; NULL stays NULL.
 */
char *
pl_check_payment_method(const char *what, char *method)
{
	Jsonb	   *object;

	if (method == NULL || method[0] != '{')
	{
		if (method != NULL)
			pl_check_text(what, method, 255);
		return method;
	}
	object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(method)));
	pl_check_metadata(what, object);
	return JsonbToCString(NULL, &object->root, VARSIZE(object));
}
