/*
 * src/ledger/balances.c
 *		Balances: now, as of a recorded time, as of an effective time.
 *
 * Now: the folded balance and the postings that the fold's snapshot did not
 * see, both from one snapshot of the reader, so exact at every moment and in
 * every isolation level.
 *
 * As of a recorded time: the newest checkpoint of the account from a fold all
 * of whose entries were recorded by then, and the postings that this fold did
 * not see and that were recorded by then.  Recorded by a time means an entry id
 * below a limit.  A fold that was taken after that time bounds the search: the
 * transactions that it did not see draw their ids later.
 *
 * As of an effective time: the balance as of that time recorded, and the
 * shifts (see payledger.effective_shifts) up to it, summed up by blocks.
 *
 * None of them costs with the length of the account's history.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define NEWEST_FOLD \
	"(SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f"

static PlQuery select_balance = {
	"SELECT coalesce((SELECT s.balance FROM payledger.balance_snapshots s WHERE s.account_id = $1), 0)"
	" + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"			  WHERE p.account_id = $1 AND p.transaction_no >= f.snapshot_xmax), 0)"
	" + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"			  WHERE p.account_id = $1 AND p.transaction_no = ANY (f.snapshot_xip)), 0)"
	" FROM " NEWEST_FOLD, 1, {INT8OID}
};

/* $2: the ids recorded by the time are below it */
static PlQuery select_recorded = {
	"SELECT b.balance"
	" + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"			  WHERE p.account_id = $1 AND p.transaction_no >= b.snapshot_xmax"
	"				AND p.transaction_no < b.before AND p.journal_entry_id < $2), 0)"
	" + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"			  WHERE p.account_id = $1 AND p.transaction_no = ANY (b.snapshot_xip)"
	"				AND p.journal_entry_id < $2), 0)"
	" FROM (SELECT coalesce(c.balance, 0), coalesce(c.snapshot_xmax, 0), coalesce(c.snapshot_xip, '{}'),"
	"		coalesce((SELECT o.snapshot_xmax FROM payledger.folds o WHERE o.xmax_after >= $2 - 1"
	"				  ORDER BY o.xmax_after, o.fold_no LIMIT 1), 9223372036854775807)"
	"		FROM (VALUES (1)) one LEFT JOIN LATERAL ("
	"			SELECT k.balance, o.snapshot_xmax, o.snapshot_xip"
	"			FROM payledger.balance_checkpoints k JOIN payledger.folds o ON o.fold_no = k.fold_no"
	"			WHERE k.account_id = $1 AND k.fold_no <="
	"				(SELECT n.fold_no FROM payledger.folds n WHERE n.newest_id < $2"
	"				 ORDER BY n.newest_id DESC, n.fold_no DESC LIMIT 1)"
	"			ORDER BY k.fold_no DESC LIMIT 1) c ON true) AS b(balance, snapshot_xmax, snapshot_xip, before)",
	2, {INT8OID, INT8OID}
};

/*
 * $2 the effective time, $3 the beginning of its block of level 0, $4 to $6 the
 * blocks in which it is.  The coarse blocks before it, the finer ones before it
 * within the coarse one, the shifts in its own finest block; and what is not
 * folded yet into those blocks.
 */
static PlQuery select_shifts = {
	"SELECT"
	" coalesce((SELECT sum(t.amount) FROM payledger.effective_shift_totals t"
	"			WHERE t.account_id = $1 AND t.level = 2 AND t.block < $6), 0)"
	" + coalesce((SELECT sum(t.amount) FROM payledger.effective_shift_totals t"
	"			  WHERE t.account_id = $1 AND t.level = 1 AND t.block >= $6 << 7 AND t.block < $5), 0)"
	" + coalesce((SELECT sum(t.amount) FROM payledger.effective_shift_totals t"
	"			  WHERE t.account_id = $1 AND t.level = 0 AND t.block >= $5 << 7 AND t.block < $4), 0)"
	" + coalesce((SELECT sum(s.amount) FROM payledger.effective_shifts s"
	"			  WHERE s.account_id = $1 AND s.at >= $3 AND s.at <= $2), 0)"
	" + coalesce((SELECT sum(s.amount) FROM payledger.effective_shifts s"
	"			  WHERE s.account_id = $1 AND s.at < $3 AND s.transaction_no >= f.snapshot_xmax), 0)"
	" + coalesce((SELECT sum(s.amount) FROM payledger.effective_shifts s"
	"			  WHERE s.account_id = $1 AND s.at < $3 AND s.transaction_no = ANY (f.snapshot_xip)), 0)"
	" FROM " NEWEST_FOLD,
	6, {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID}
};

/* Of the shifts those of entries recorded by a time, too: $3 as $2 above. */
static PlQuery select_recorded_shifts = {
	"SELECT coalesce(sum(s.amount), 0) FROM payledger.effective_shifts s"
	" WHERE s.account_id = $1 AND s.at <= $2 AND s.journal_entry_id < $3",
	3, {INT8OID, TIMESTAMPTZOID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_balance);

/* The numeric that a query of one row and column gives. */
static Datum
numeric_result(PlQuery *query, PlArgs *args)
{
	bool		isnull;

	pl_select(query, args);
	return pl_get_datum(0, 1, &isnull);
}

static Datum
present_balance(int64 account_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, account_id);
	return numeric_result(&select_balance, &args);
}

static Datum
recorded_balance(int64 account_id, TimestampTz as_of)
{
	PlArgs		args = {0};

	/* an id may be ahead of the clock, but nothing was recorded after now */
	if (as_of >= pl_now())
		return present_balance(account_id);
	pl_arg_int64(&args, account_id);
	pl_arg_int64(&args, pl_first_id_after(as_of));
	return numeric_result(&select_recorded, &args);
}

/* What the shifts up to an effective time add. */
static Datum
shifts(int64 account_id, TimestampTz effective_at)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, account_id);
	pl_arg_timestamp(&args, effective_at);
	if (TIMESTAMP_NOT_FINITE(effective_at))
		pl_arg_timestamp(&args, effective_at);
	else
		pl_arg_timestamp(&args, (effective_at >> PL_SHIFT_BITS(0)) * (INT64CONST(1) << PL_SHIFT_BITS(0)));
	for (int level = 0; level < PL_SHIFT_LEVELS; level++)
		pl_arg_int64(&args, effective_at >> PL_SHIFT_BITS(level));
	return numeric_result(&select_shifts, &args);
}

static Datum
recorded_shifts(int64 account_id, TimestampTz effective_at, TimestampTz as_of)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, account_id);
	pl_arg_timestamp(&args, effective_at);
	pl_arg_int64(&args, pl_first_id_after(as_of));
	return numeric_result(&select_recorded_shifts, &args);
}

static Datum
balance_of(int64 account_id, const TimestampTz *as_of, const TimestampTz *effective_at)
{
	Datum		recorded;
	Datum		shifted;

	if (effective_at == NULL)
		return as_of == NULL ? present_balance(account_id) : recorded_balance(account_id, *as_of);

	if (as_of == NULL || *as_of >= pl_now())
	{
		recorded = recorded_balance(account_id, *effective_at);
		shifted = shifts(account_id, *effective_at);
	}
	else
	{
		recorded = recorded_balance(account_id, Min(*as_of, *effective_at));
		shifted = recorded_shifts(account_id, *effective_at, *as_of);
	}
	return DirectFunctionCall2(numeric_add, recorded, shifted);
}

/*
 * balance(account_code text, as_of timestamptz, effective_at timestamptz)
 * RETURNS bigint: minor units on the account's normal side, in the caller's
 * snapshot.  PL007 if there is no such account, 22003 beyond a bigint.
 */
Datum
pl_sql_balance(PG_FUNCTION_ARGS)
{
	char	   *account_code = pl_text_arg(fcinfo, 0, "account_code");
	TimestampTz as_of = PG_ARGISNULL(1) ? 0 : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz effective_at = PG_ARGISNULL(2) ? 0 : PG_GETARG_TIMESTAMPTZ(2);
	const PlAccount *account;
	Datum		balance;
	int64		result;

	pl_connect();
	pl_require_layout();
	account = pl_require_account(account_code);
	balance = balance_of(account->account_id, PG_ARGISNULL(1) ? NULL : &as_of,
						 PG_ARGISNULL(2) ? NULL : &effective_at);
	if (account->sign < 0)
		balance = DirectFunctionCall1(numeric_uminus, balance);
	result = DatumGetInt64(DirectFunctionCall1(numeric_int8, balance));
	pl_finish();
	PG_RETURN_INT64(result);
}
