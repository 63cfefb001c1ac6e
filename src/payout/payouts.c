/*
 * src/payout/payouts.c
 *		Payouts: asked for by a command or a schedule, decided by the PSP.
 *
 * The funds leave the seller's account with the request and wait in
 * PAYOUT_CLEARING.  They come back only on the PSP's word that nothing was
 * sent: while an outcome is unknown they stay there, so that no second payout
 * can be made of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "outbox/outbox.h"
#include "payment/payment.h"
#include "payout/payout_internal.h"
#include "utils/builtins.h"

static const char *const payout_states[] = {"REQUESTED", "IN_TRANSIT", "PAID", "FAILED", "RETURNED"};

static const PlEdge payout_edges[] = {
	{NULL, "REQUESTED"},
	{"REQUESTED", "IN_TRANSIT"},
	{"REQUESTED", "PAID"},
	{"REQUESTED", "FAILED"},
	{"IN_TRANSIT", "PAID"},
	{"IN_TRANSIT", "FAILED"},
	{"PAID", "RETURNED"},
};

static const PlMachine machine = PL_MACHINE("payout", payout_states, payout_edges);

/*
 * Make the room's machine known.  Called from _PG_init.
 */
void
pl_payout_init(void)
{
	pl_register_machine(&machine);
}

static PlQuery select_route = {
	"SELECT " PL_ROUTE_COLUMNS("u") " FROM (SELECT $1, $2) AS u(seller_id, currency)"
	" LEFT JOIN payledger.payout_terms t ON t.seller_id = u.seller_id AND t.currency = u.currency"
	PL_ROUTE_JOINS("u"), 2, {TEXTOID, TEXTOID}
};

static PlQuery insert_payouts = {
	"INSERT INTO payledger.payouts"
	" (payout_id, seller_id, currency, amount, gateway, beneficiary, status, scheduled_for, event_version,"
	"  traceparent, created_at, updated_at)"
	" SELECT i, s, c, a, g, b, 'REQUESTED', f, 1, $8, $9, $9"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) AS u(i, s, c, a, g, b, f)",
	9, {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery select_payouts = {
	"SELECT payout_id, seller_id, currency, amount, status::text, gateway, scheduled_for, created_at"
	" FROM payledger.payouts WHERE payout_id = ANY ($1) ORDER BY payout_id", 1, {INT8ARRAYOID}
};

static PlQuery lock_payout = {
	"SELECT seller_id, currency, amount, status::text, event_version, traceparent"
	" FROM payledger.payouts WHERE payout_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery store_payout = {
	"UPDATE payledger.payouts SET status = $2::payledger.payout_status, reason = coalesce($3, reason),"
	" psp_reference = coalesce($4, psp_reference), event_version = $5, updated_at = $6"
	" WHERE payout_id = $1",
	6, {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};

/* A payout under lock. */
typedef struct Payout
{
	int64		payout_id;
	char	   *seller_id;
	char	   *currency;
	int64		amount;			/* minor units */
	char	   *status;
	int64		event_version;
	char	   *traceparent;
} Payout;

PG_FUNCTION_INFO_V1(pl_sql_request_payout);

/* ---- what may be in the way ---- */

/* The row of a query with PL_ROUTE_COLUMNS as its first columns. */
void
pl_read_route(int row, PlPayoutRoute *route)
{
	route->seller_id = pl_get_text(row, 1);
	route->currency = pl_get_text(row, 2);
	route->seller_status = pl_get_text(row, 3);
	route->beneficiary = pl_get_text(row, 4);
	route->wanted_gateway = pl_get_text(row, 5);
	route->gateway = pl_get_text(row, 6);
	route->pays_out = pl_get_bool(row, 7);
}

/*
 * Why the seller cannot be paid out at all, palloc'd, or NULL: PL007 not
 * registered, or no such gateway; PL008 not ACTIVE; 55000 no beneficiary, or a
 * gateway that does not pay out.
 */
ErrorData *
pl_payout_obstacle(const PlPayoutRoute *route)
{
	if (route->seller_status == NULL)
		return pl_denial(ERRCODE_PL_NOT_FOUND,
						 psprintf("seller %s is not registered in %s", route->seller_id, route->currency), NULL,
						 "Use payledger.register_seller.");
	if (strcmp(route->seller_status, "ACTIVE") != 0)
		return pl_denial(ERRCODE_PL_NOT_ACTIVE,
						 psprintf("seller %s is %s in %s", route->seller_id, route->seller_status, route->currency), NULL,
						 "Use payledger.update_seller to activate it.");
	if (route->beneficiary == NULL)
		return pl_denial(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 psprintf("seller %s has no beneficiary in %s", route->seller_id, route->currency), NULL,
						 "Pass the PSP's token of the seller's account to payledger.set_payout_terms.");
	if (route->gateway == NULL && route->wanted_gateway == NULL)
		return pl_denial(ERRCODE_PL_NOT_FOUND, "there is no default gateway", NULL,
						 "Use payledger.add_gateway with is_default, or name a gateway in payledger.set_payout_terms.");
	if (route->gateway == NULL)
		return pl_denial(ERRCODE_PL_NOT_FOUND, psprintf("gateway %s does not exist", route->wanted_gateway), NULL,
						 "Use payledger.add_gateway.");
	if (!route->pays_out)
		return pl_denial(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 psprintf("gateway %s cannot pay out", route->gateway), NULL,
						 "Name one that can (payledger.gateways.pays_out) in payledger.set_payout_terms.");
	return NULL;
}

/* Why nothing may leave the seller's account, palloc'd, or NULL: PL008. */
ErrorData *
pl_account_obstacle(const PlSellerFunds *funds)
{
	if (strcmp(funds->account_status, "ACTIVE") == 0)
		return NULL;
	return pl_denial(ERRCODE_PL_NOT_ACTIVE, psprintf("account %s is not active", funds->payable->code),
					 psprintf("Its status is %s.", funds->account_status),
					 "An operator can make it active with payledger.set_account_status().");
}

/* ---- making payouts ---- */

/* The "data" of an event about a payout, palloc'd. */
static char *
payout_data(int64 payout_id, const char *seller_id, const char *currency, int64 amount, const char *status,
			const char *reason)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_id(&out, "payoutId", payout_id);
	pl_json_text(&out, "sellerId", seller_id);
	pl_json_text(&out, "currency", currency);
	pl_json_amount(&out, "amount", amount);
	pl_json_text(&out, "status", status);
	if (reason != NULL)
		pl_json_text(&out, "reason", reason);
	appendStringInfoChar(&out, '}');
	return out.data;
}

static char *
reference(const char *entry_type, int64 payout_id)
{
	return psprintf("%s:" INT64_FORMAT, entry_type, payout_id);
}

static void
insert_rows(PlWork *work, const PlNewPayout *payouts, int n, const char *traceparent)
{
	Datum	   *columns[7];
	bool	   *on_request = palloc(sizeof(bool) * n);
	static const Oid types[7] = {INT8OID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
	PlArgs		args = {0};

	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		const PlPayoutRoute *route = payouts[i].route;

		columns[0][i] = Int64GetDatum(payouts[i].payout_id);
		columns[1][i] = CStringGetTextDatum(route->seller_id);
		columns[2][i] = CStringGetTextDatum(route->currency);
		columns[3][i] = Int64GetDatum(payouts[i].amount);
		columns[4][i] = CStringGetTextDatum(route->gateway);
		columns[5][i] = CStringGetTextDatum(route->beneficiary);
		columns[6][i] = TimestampTzGetDatum(payouts[i].scheduled_for);
		on_request[i] = payouts[i].scheduled_for == 0;
	}
	for (int c = 0; c < (int) lengthof(columns); c++)
		pl_arg_array(&args, columns[c], c == 6 ? on_request : NULL, n, types[c]);
	pl_arg_text(&args, traceparent);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&insert_payouts, &args);
}

/*
 * Make n payouts within the unit of work: rows, entries that take the funds
 * from the sellers, requests to the gateways, events.  The sellers' accounts
 * are locked and have the amounts available; routes have no obstacle.
 */
void
pl_make_payouts(PlWork *work, PlNewPayout *payouts, int n)
{
	const char *traceparent = pl_traceparent();

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		const PlPayoutRoute *route = payouts[i].route;
		PlNewRequest request = {0};

		payouts[i].payout_id = pl_next_id();
		pl_post_template(work->entries, "PAYOUT_REQUESTED", 0, reference("PAYOUT_REQUESTED", payouts[i].payout_id), 0,
						 route->seller_id, route->currency, payouts[i].amount);
		request.payment_id = request.target = payouts[i].payout_id;
		request.gateway = route->gateway;
		request.operation = PL_OP_PAYOUT;
		request.amount = payouts[i].amount;
		request.currency = route->currency;
		request.payment_method = route->beneficiary;
		pl_request_add(work, &request);
		pl_event_add(work->events, "payout_requested", payouts[i].payout_id, 1, route->seller_id,
					 payout_data(payouts[i].payout_id, route->seller_id, route->currency, payouts[i].amount,
								 "REQUESTED", NULL), traceparent);
	}
	insert_rows(work, payouts, n, traceparent);
}

/*
 * Leave the rows of n payouts, as request_payout() returns them, as the last
 * result, by their ids.
 */
void
pl_select_payouts(const PlNewPayout *payouts, int n)
{
	int64	   *ids = palloc(sizeof(int64) * Max(n, 1));
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
		ids[i] = payouts[i].payout_id;
	pl_arg_ids(&args, ids, n);
	pl_execute_latest(&select_payouts, &args);
}

/* Raise PL004 unless the seller has the amount, in minor units, available. */
static void
check_available(const PlSellerFunds *funds, int64 amount)
{
	const PlCurrency *currency = funds->payable->currency;

	if (amount <= funds->available && funds->available > 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PL_BALANCE_LIMIT),
			 amount > 0 ?
			 errmsg("seller %s does not have %s %s available", funds->seller_id,
					pl_format_amount(amount, currency), currency->code) :
			 errmsg("seller %s has nothing available in %s", funds->seller_id, currency->code),
			 errdetail("Its balance is %s, of which %s is pending and %s held; available is %s %s.",
					   pl_format_amount(funds->balance, currency), pl_format_amount(funds->pending, currency),
					   pl_format_amount(funds->held, currency), pl_format_amount(funds->available, currency),
					   currency->code),
			 funds->pending > 0 ? errhint("What is pending becomes available when a settlement report clears it.") : 0));
}

/* Pay out amount, or all that is available if 0; leaves its row as the last result. */
static void
request_payout(const char *seller_id, const char *currency, int64 amount)
{
	PlPayoutRoute route;
	PlSellerFunds funds = {seller_id, currency};
	PlNewPayout payout = {0};
	ErrorData  *obstacle;
	PlWork	   *work;
	PlArgs		args = {0};

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_execute_latest(&select_route, &args);
	pl_read_route(0, &route);
	obstacle = pl_payout_obstacle(&route);
	if (obstacle == NULL)
	{
		pl_lock_seller_funds(&funds, 1, true);
		obstacle = pl_account_obstacle(&funds);
	}
	if (obstacle != NULL)
		ThrowErrorData(obstacle);
	check_available(&funds, amount);

	work = pl_work_begin("request_payout");
	payout.route = &route;
	payout.amount = amount > 0 ? amount : funds.available;
	pl_make_payouts(work, &payout, 1);
	pl_work_end(work);
	pl_select_payouts(&payout, 1);
}

/*
 * request_payout(seller_id, currency, amount, idempotency_key)
 *		Null amount: all that is available.
 */
Datum
pl_sql_request_payout(PG_FUNCTION_ARGS)
{
	char	   *seller_id = pl_text_arg(fcinfo, 0, "seller_id");
	char	   *currency = pl_text_arg(fcinfo, 1, "currency");
	int64		amount = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	char	   *key = pl_optional_text_arg(fcinfo, 3);
	PlIdempotency claim;

	if (!PG_ARGISNULL(2) && amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount " INT64_FORMAT " of a payout to seller %s is not greater than zero", amount, seller_id),
				 errhint("Leave it out to pay out all that is available.")));
	pl_connect();
	pl_require_layout();
	pl_check_currency(currency);
	if (!pl_idempotency_replay(fcinfo, &claim, "request_payout", key,
							   psprintf("%s %s " INT64_FORMAT, seller_id, currency, amount)))
	{
		request_payout(seller_id, currency, amount);
		pl_idempotency_store(&claim);
		pl_return_rows(fcinfo);
	}
	pl_finish();
	return (Datum) 0;
}

/* ---- what became of them ---- */

static void
lock(int64 payout_id, Payout *payout)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, payout_id);
	if (pl_execute_latest(&lock_payout, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("payout " INT64_FORMAT " does not exist", payout_id)));
	payout->payout_id = payout_id;
	payout->seller_id = pl_get_text(0, 1);
	payout->currency = pl_get_text(0, 2);
	payout->amount = pl_get_int64(0, 3);
	payout->status = pl_get_text(0, 4);
	payout->event_version = pl_get_int64(0, 5);
	payout->traceparent = pl_get_text(0, 6);
}

/* Take an entry of the payout back. */
static void
post_mirror(PlWork *work, const Payout *payout, const char *entry_type)
{
	if (pl_post_mirror(work, entry_type, psprintf(INT64_FORMAT, payout->payout_id), 0, payout->seller_id,
					   payout->currency, payout->amount) != payout->amount)
		elog(ERROR, "payout " INT64_FORMAT " has no entry %s", payout->payout_id, entry_type);
}

/* Bring a locked payout to a state, with the event if it is a decision. */
static void
set_status(PlWork *work, Payout *payout, const char *status, const PlOutcome *outcome)
{
	bool		is_decided = strcmp(status, "IN_TRANSIT") != 0;
	const char *reason = is_decided && strcmp(status, "PAID") != 0 ? outcome->code : NULL;
	PlArgs		args = {0};

	if (is_decided)
		pl_event_add(work->events, "payout_finalized", payout->payout_id, ++payout->event_version, payout->seller_id,
					 payout_data(payout->payout_id, payout->seller_id, payout->currency, payout->amount, status,
								 reason), payout->traceparent);
	pl_arg_int64(&args, payout->payout_id);
	pl_arg_text(&args, status);
	pl_arg_text(&args, reason);
	pl_arg_text(&args, outcome->psp_reference);
	pl_arg_int64(&args, payout->event_version);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&store_payout, &args);
}

static void
payout_paid(PlWork *work, Payout *payout, const PlOutcome *outcome)
{
	set_status(work, payout, "PAID", outcome);
	pl_post_template(work->entries, "PAYOUT_PAID", 0, reference("PAYOUT_PAID", payout->payout_id), 0,
					 payout->seller_id, payout->currency, payout->amount);
}

static void
payout_failed(PlWork *work, Payout *payout, const PlOutcome *outcome)
{
	set_status(work, payout, "FAILED", outcome);
	post_mirror(work, payout, "PAYOUT_REQUESTED");
}

static void
payout_returned(PlWork *work, Payout *payout, const PlOutcome *outcome)
{
	set_status(work, payout, "RETURNED", outcome);
	post_mirror(work, payout, "PAYOUT_PAID");
	post_mirror(work, payout, "PAYOUT_REQUESTED");
}

static bool
is_any_of(const char *status, const char *a, const char *b)
{
	return strcmp(status, a) == 0 || strcmp(status, b) == 0;
}

/*
 * Apply the outcome of a PAYOUT, or of a RETRIEVE that follows one; what is
 * known already changes nothing.  Locks the payout.  Raises PL001 when the
 * outcome contradicts what was decided.
 */
void
pl_apply_payout(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	Payout		payout;
	bool		is_open;

	lock(request->target, &payout);
	is_open = is_any_of(payout.status, "REQUESTED", "IN_TRANSIT");
	switch (outcome->class)
	{
		case PL_OUTCOME_PENDING:
			if (strcmp(payout.status, "REQUESTED") == 0)
				set_status(work, &payout, "IN_TRANSIT", outcome);
			break;
		case PL_OUTCOME_SUCCEEDED:
			if (is_open)
				payout_paid(work, &payout, outcome);
			else if (strcmp(payout.status, "FAILED") == 0)
				pl_illegal_transition("payout", payout.payout_id, payout.status, "PAID");
			break;
		case PL_OUTCOME_REFUSED:
			if (is_open)
				payout_failed(work, &payout, outcome);
			else if (strcmp(payout.status, "FAILED") != 0)
				pl_illegal_transition("payout", payout.payout_id, payout.status, "FAILED");
			break;
		case PL_OUTCOME_REVERSED:
			/* that it was paid was never heard of: the funds are back all the same */
			if (is_open)
				payout_failed(work, &payout, outcome);
			else if (strcmp(payout.status, "PAID") == 0)
				payout_returned(work, &payout, outcome);
			break;
		case PL_OUTCOME_RETRY:
		case PL_OUTCOME_UNKNOWN:
			/* the funds stay where no other payout can have them */
			break;
		case PL_OUTCOME_ACTION_REQUIRED:
			elog(ERROR, "outcome %s of a payout", pl_outcome_name(outcome->class));
	}
}
