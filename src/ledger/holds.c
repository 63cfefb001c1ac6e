/*
 * src/ledger/holds.c
 *		Holds: funds of an account reserved for a later entry.
 *
 * accounts.held is the sum of what the ACTIVE holds of the account still
 * reserve.  It changes with them, under the lock of the account's row, which
 * every entry that approaches the floor takes as well.  So holds cost nothing
 * on accounts that have none, and none to entries that add to an account.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "ledger/ledger.h"

#define MAX_REFERENCE_LENGTH 255

static const char *const hold_states[] = {"ACTIVE", "COMMITTED", "RELEASED", "EXPIRED"};

static const PlEdge hold_edges[] = {
	{NULL, "ACTIVE"},
	{"ACTIVE", "COMMITTED"},
	{"ACTIVE", "RELEASED"},
	{"ACTIVE", "EXPIRED"},
};

const PlMachine pl_hold_machine = {
	"hold", hold_states, lengthof(hold_states), hold_edges, lengthof(hold_edges)
};

/* What place_hold() was asked for. */
typedef struct HoldRequest
{
	const PlAccount *account;
	int64		amount;			/* minor units */
	bool		expires;
	TimestampTz expires_at;
	const char *reference;		/* NULL: none */
	Jsonb	   *metadata;		/* NULL: none */
} HoldRequest;

static PlQuery select_reference = {
	"SELECT h.hold_id, a.account_code, h.amount, a.currency,"
	" h.account_id = $2 AND h.amount = $3 AND h.expires_at IS NOT DISTINCT FROM $4"
	" AND h.metadata IS NOT DISTINCT FROM $5"
	" FROM payledger.holds h JOIN payledger.accounts a ON a.account_id = h.account_id"
	" WHERE h.reference = $1",
	5, {TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID, JSONBOID}
};

static PlQuery insert_hold = {
	"INSERT INTO payledger.holds"
	" (hold_id, account_id, amount, expires_at, reference, metadata, created_at, updated_at)"
	" VALUES ($1, $3, $4, $5, $2, $6, $7, $7) ON CONFLICT (reference) DO NOTHING",
	7, {INT8OID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID, JSONBOID, TIMESTAMPTZOID}
};

/* The same row in every isolation level, or 40001: held must not be guessed. */
static PlQuery add_held = {
	"UPDATE payledger.accounts SET held = held + $2 WHERE account_id = $1", 2, {INT8OID, INT8OID}
};

static PlQuery select_placed = {
	"SELECT h.hold_id, a.account_code, h.amount, h.status::text, h.expires_at, $2"
	" FROM payledger.holds h JOIN payledger.accounts a ON a.account_id = h.account_id"
	" WHERE h.hold_id = $1", 2, {INT8OID, BOOLOID}
};

/* balance() raises PL007 for an account that does not exist. */
static PlQuery select_available = {
	"SELECT payledger.balance($1)"
	" - coalesce((SELECT a.held FROM payledger.accounts a WHERE a.account_code = $1), 0)", 1, {TEXTOID}
};

PG_FUNCTION_INFO_V1(pl_sql_place_hold);
PG_FUNCTION_INFO_V1(pl_sql_available_balance);

/*
 * Make the room's machine known.  Called from _PG_init.
 */
void
pl_ledger_init(void)
{
	pl_register_machine(&pl_account_machine);
	pl_register_machine(&pl_hold_machine);
}

/*
 * Reserve or, with a negative amount, free funds of a locked account.  Needs an
 * open SPI connection.
 */
void
pl_change_held(const PlAccount *account, int64 amount)
{
	PlArgs		args = {0};

	if (amount == 0)
		return;
	pl_arg_int64(&args, account->account_id);
	pl_arg_int64(&args, amount);
	pl_execute(&add_held, &args);
}

/* ---- placing ---- */

static void
arg_optional(PlArgs *args, bool given, Datum value)
{
	if (given)
		pl_arg(args, value);
	else
		pl_arg_null(args);
}

/*
 * The hold that was placed with this reference, or 0.  PL006 if it was another
 * one.
 */
static int64
placed_before(const HoldRequest *request)
{
	PlArgs		args = {0};

	if (request->reference == NULL)
		return 0;
	pl_arg_text(&args, request->reference);
	pl_arg_int64(&args, request->account->account_id);
	pl_arg_int64(&args, request->amount);
	arg_optional(&args, request->expires, TimestampTzGetDatum(request->expires_at));
	arg_optional(&args, request->metadata != NULL, JsonbPGetDatum(request->metadata));
	if (pl_execute_latest(&select_reference, &args) == 0)
		return 0;
	if (!pl_get_bool(0, 5))
		ereport(ERROR,
				(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
				 errmsg("reference \"%s\" was used for another hold", request->reference),
				 errdetail("Hold " INT64_FORMAT " is %s %s of account %s.", pl_get_int64(0, 1),
						   pl_format_amount(pl_get_int64(0, 3), pl_check_currency(pl_get_text(0, 4))),
						   pl_get_text(0, 4), pl_get_text(0, 2)),
				 errhint("Repeat a request with the same arguments, expires_at among them; use a new reference for a new hold.")));
	return pl_get_int64(0, 1);
}

/* What passes a bigint on its way down is below every floor. */
static bool
spares(const PlLimits *limits, int64 amount)
{
	int64		left;

	return !pg_sub_s64_overflow(limits->balance, limits->held, &left) &&
		!pg_sub_s64_overflow(left, amount, &left) && left >= limits->floor;
}

/* Raise PL004 unless the locked account, which has a floor, can spare the amount. */
static void
check_floor(const PlAccount *account, PlLimits *limits, int64 amount)
{
	pl_limits_balances(limits, 1);
	if (!spares(limits, amount) && limits->held > 0)
		limits->held -= pl_free_overdue_holds(limits->account_id);
	if (!spares(limits, amount))
		ereport(ERROR,
				(errcode(ERRCODE_PL_BALANCE_LIMIT),
				 errmsg("account %s cannot spare %s %s", account->code,
						pl_format_amount(amount, account->currency), account->currency->code),
				 errdetail("Its balance is %s, held %s, the floor %s %s.",
						   pl_format_amount(limits->balance, account->currency),
						   pl_format_amount(limits->held, account->currency),
						   pl_format_amount(limits->floor, account->currency), account->currency->code)));
}

/* Raise PL008, 22003 or PL004 unless the locked account can spare the amount. */
static void
check_available(const HoldRequest *request, PlLimits *limits)
{
	const PlAccount *account = request->account;
	int64		held;

	if (strcmp(limits->status, "ACTIVE") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_ACTIVE),
				 errmsg("account %s is not active", account->code),
				 errdetail("Its status is %s.", limits->status),
				 errhint("An operator can make it active with payledger.set_account_status().")));
	if (limits->has_floor)
		check_floor(account, limits, request->amount);
	if (pg_add_s64_overflow(limits->held, request->amount, &held))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("held amount of account %s is out of range", account->code),
				 errdetail("Held are " INT64_FORMAT " minor units, and " INT64_FORMAT " more were asked for.",
						   limits->held, request->amount),
				 errhint("release_hold() frees what is not needed any more.")));
}

/* Write the hold of a locked account that can spare it. */
static int64
place(const HoldRequest *request)
{
	int64		hold_id = pl_next_id();
	PlArgs		args = {0};

	pl_history_begin("place_hold");
	pl_arg_int64(&args, hold_id);
	pl_arg_text(&args, request->reference);
	pl_arg_int64(&args, request->account->account_id);
	pl_arg_int64(&args, request->amount);
	arg_optional(&args, request->expires, TimestampTzGetDatum(request->expires_at));
	arg_optional(&args, request->metadata != NULL, JsonbPGetDatum(request->metadata));
	pl_arg_timestamp(&args, pl_transaction_now());
	if (pl_execute(&insert_hold, &args) == 0)
	{
		/* used meanwhile; for another account, because ours is locked */
		(void) placed_before(request);
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("reference \"%s\" was used by a concurrent transaction", request->reference),
				 errhint("Run the transaction again.")));
	}
	pl_change_held(request->account, request->amount);
	pl_history_end();
	return hold_id;
}

/*
 * place_hold(account_code text, amount bigint, expires_at timestamptz,
 *		reference text, metadata jsonb)
 *
 * A request repeated gets its hold, whatever became of it or of the account,
 * so that is looked up before anything may be refused.
 */
Datum
pl_sql_place_hold(PG_FUNCTION_ARGS)
{
	char	   *account_code = pl_text_arg(fcinfo, 0, "account_code");
	HoldRequest request = {0};
	PlLimits   *limits;
	int64		hold_id;
	bool		is_replay;
	PlArgs		args = {0};

	request.amount = pl_int64_arg(fcinfo, 1, "amount");
	request.expires = !PG_ARGISNULL(2);
	request.expires_at = request.expires ? PG_GETARG_TIMESTAMPTZ(2) : 0;
	request.reference = pl_optional_text_arg(fcinfo, 3);
	request.metadata = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	if (request.amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount of a hold must be positive"),
				 errdetail("It is " INT64_FORMAT ".", request.amount)));
	if (request.reference != NULL)
		pl_check_text("reference", request.reference, MAX_REFERENCE_LENGTH);
	if (request.metadata != NULL)
		pl_check_metadata("metadata", request.metadata);

	pl_connect();
	pl_require_layout();
	request.account = pl_require_account(account_code);
	(void) pl_lock_journal();
	limits = pl_limits_lock(&request.account->account_id, 1);
	hold_id = placed_before(&request);
	is_replay = hold_id != 0;
	if (!is_replay)
	{
		if (request.expires && request.expires_at <= pl_due_now())
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("expires_at of a hold must be in the future"),
					 errdetail("It is %s.", timestamptz_to_str(request.expires_at))));
		check_available(&request, limits);
		hold_id = place(&request);
	}
	pl_arg_int64(&args, hold_id);
	pl_arg_bool(&args, is_replay);
	pl_execute_latest(&select_placed, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * available_balance(account_code text) RETURNS bigint: in the caller's
 * snapshot.
 */
Datum
pl_sql_available_balance(PG_FUNCTION_ARGS)
{
	char	   *account_code = pl_text_arg(fcinfo, 0, "account_code");
	int64		available;
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_arg_text(&args, account_code);
	pl_select(&select_available, &args);
	available = pl_get_int64(0, 1);
	pl_finish();
	PG_RETURN_INT64(available);
}
