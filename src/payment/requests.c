/*
 * src/payment/requests.c
 *		Asking a gateway for something: the row that the gateway worker leases.
 *
 * It is written in the commit of the transition that causes it, so neither
 * can be there without the other.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "payment/payment.h"
#include "utils/builtins.h"

static const char *const operation_names[] = {"AUTHORIZE", "CONFIRM", "CAPTURE", "CANCEL", "RETRIEVE"};

typedef struct NewRequest
{
	int64		psp_request_id;
	int64		payment_id;
	const char *gateway;
	PlOperation operation;
	int64		target;
	int64		amount;
	const char *currency;
	const char *payment_method;
	const char *psp_reference;
	const char *parameters;
	TimestampTz due;
} NewRequest;

struct PlRequestBatch
{
	MemoryContext context;
	List	   *requests;
};

static PlQuery insert_requests = {
	"INSERT INTO payledger.psp_requests"
	" (psp_request_id, payment_id, gateway, operation, target, amount, currency, payment_method,"
	"  psp_reference, parameters, next_attempt_at, idempotency_key, status, created_at, updated_at)"
	" SELECT i, p, g, o::payledger.psp_operation, t, nullif(a, 0), c, m, r, j::jsonb, d,"
	"  'pl_' || i, 'READY', $12, $12"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
	"  pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11))"
	"  AS u(i, p, g, o, t, a, c, m, r, j, d)",
	12, {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID}
};

static PlQuery authorized_with = {
	"SELECT payment_method FROM payledger.psp_requests"
	" WHERE payment_id = $1 AND operation = 'AUTHORIZE' AND payment_method IS NOT NULL",
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
 * Ask the gateway for an operation on target, due after delay_ms.  amount in
 * minor units, 0 for none; payment_method and psp_reference may be NULL;
 * parameters a JSON object.  Strings must outlive the unit.  Returns the
 * psp_request_id.
 */
int64
pl_request_add(PlWork *work, int64 payment_id, const char *gateway, PlOperation operation,
			   int64 target, int64 amount, const char *currency, const char *payment_method,
			   const char *psp_reference, const char *parameters, long delay_ms)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(work->requests->context);
	NewRequest *request = palloc(sizeof(NewRequest));

	request->psp_request_id = pl_next_id();
	request->payment_id = payment_id;
	request->gateway = gateway;
	request->operation = operation;
	request->target = target;
	request->amount = amount;
	request->currency = currency;
	request->payment_method = payment_method;
	request->psp_reference = psp_reference;
	request->parameters = parameters;
	request->due = TimestampTzPlusMilliseconds(work->now, delay_ms);
	work->requests->requests = lappend(work->requests->requests, request);
	MemoryContextSwitchTo(oldcontext);
	return request->psp_request_id;
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
 * Nothing of the payment can be captured any more and part of it was not: have
 * the PSP free what it still holds of the shopper's limit.
 */
void
pl_request_release(PlWork *work, int64 payment_id, const char *gateway, const char *currency,
				   const char *psp_reference)
{
	pl_request_add(work, payment_id, gateway, PL_OP_CANCEL, payment_id, 0, currency, NULL,
				   psp_reference, "{}", 0);
}

/*
 * Write the requests of the unit with one statement and wake the gateway
 * worker at commit.
 */
void
pl_requests_insert(PlWork *work)
{
	List	   *requests = work->requests->requests;
	int			n = list_length(requests);
	Datum	   *columns[11];
	bool	   *method_nulls;
	bool	   *reference_nulls;
	PlArgs		args = {0};
	ListCell   *cell;

	if (n == 0)
		return;
	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc0(sizeof(Datum) * n);
	method_nulls = palloc(sizeof(bool) * n);
	reference_nulls = palloc(sizeof(bool) * n);

	foreach(cell, requests)
	{
		const NewRequest *request = lfirst(cell);
		int			i = foreach_current_index(cell);

		columns[0][i] = Int64GetDatum(request->psp_request_id);
		columns[1][i] = Int64GetDatum(request->payment_id);
		columns[2][i] = CStringGetTextDatum(request->gateway);
		columns[3][i] = CStringGetTextDatum(pl_operation_name(request->operation));
		columns[4][i] = Int64GetDatum(request->target);
		columns[5][i] = Int64GetDatum(request->amount);
		columns[6][i] = CStringGetTextDatum(request->currency);
		method_nulls[i] = request->payment_method == NULL;
		if (!method_nulls[i])
			columns[7][i] = CStringGetTextDatum(request->payment_method);
		reference_nulls[i] = request->psp_reference == NULL;
		if (!reference_nulls[i])
			columns[8][i] = CStringGetTextDatum(request->psp_reference);
		columns[9][i] = CStringGetTextDatum(request->parameters);
		columns[10][i] = TimestampTzGetDatum(request->due);
	}

	pl_arg_array(&args, columns[0], NULL, n, INT8OID);
	pl_arg_array(&args, columns[1], NULL, n, INT8OID);
	pl_arg_array(&args, columns[2], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[3], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[4], NULL, n, INT8OID);
	pl_arg_array(&args, columns[5], NULL, n, INT8OID);
	pl_arg_array(&args, columns[6], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[7], method_nulls, n, TEXTOID);
	pl_arg_array(&args, columns[8], reference_nulls, n, TEXTOID);
	pl_arg_array(&args, columns[9], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[10], NULL, n, TIMESTAMPTZOID);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&insert_requests, &args);
	pl_wake_at_commit(PL_ROLE_GATEWAY);
}
