/*
 * src/ledger/periods.c
 *		Closing the months of a ledger, and reopening them.
 *
 * A ledger is closed before one moment, the end of its newest closed month:
 * closed months have no gap between them but months without entries.  Posting
 * compares the effective time of an entry with ledgers.closed_before.
 *
 * Closing has two halves.  The first waits for the posts under way and moves
 * closed_before.  Nothing takes effect before it after that, so the balances at
 * the end of the month are what they will always be, and the second half
 * computes them in a transaction of its own, beside posts that go on.  If it
 * does not happen, periods.has_balances says so and closing again does it.
 *
 * Locks, in this order: journal_entries (pl_wait_for_posts(), closing only),
 * the ledger's row, the period's row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"

#define MAX_REASON_LENGTH 1000

/* $1 the ledger, $2 the first day of the month */
#define SELECT_MONTH \
	"SELECT b.starts_at, b.ends_at, l.closed_before, l.time_zone" \
	" FROM payledger.ledgers l" \
	" CROSS JOIN LATERAL (SELECT $2::timestamp AT TIME ZONE l.time_zone," \
	"	($2 + interval '1 month') AT TIME ZONE l.time_zone) AS b(starts_at, ends_at)" \
	" WHERE l.ledger = $1"

static PlQuery select_month = {SELECT_MONTH, 2, {TEXTOID, DATEOID}};

static PlQuery lock_month = {SELECT_MONTH " FOR NO KEY UPDATE OF l", 2, {TEXTOID, DATEOID}};

/*
 * An entry of the ledger that took effect from $2 up to but not including $3.
 * Those whose effective time is the recorded one have an id from $4 up to but
 * not including $5; the others have shifts.  $6 is a time zone.
 */
static PlQuery select_entry_between = {
	"(SELECT j.journal_entry_id, to_char(j.effective_at AT TIME ZONE $6, 'YYYY-MM')"
	" FROM payledger.journal_entries j"
	" WHERE j.journal_entry_id >= $4 AND j.journal_entry_id < $5"
	"	AND j.effective_at >= $2 AND j.effective_at < $3"
	"	AND EXISTS (SELECT FROM payledger.postings p"
	"				JOIN payledger.accounts a ON a.account_id = p.account_id"
	"				WHERE p.journal_entry_id = j.journal_entry_id AND a.ledger = $1)"
	" ORDER BY j.journal_entry_id LIMIT 1)"
	" UNION ALL"
	" (SELECT j.journal_entry_id, to_char(j.effective_at AT TIME ZONE $6, 'YYYY-MM')"
	" FROM payledger.accounts a"
	" JOIN payledger.effective_shifts s ON s.account_id = a.account_id AND s.at >= $2 AND s.at < $3"
	" JOIN payledger.journal_entries j ON j.journal_entry_id = s.journal_entry_id AND j.effective_at = s.at"
	" WHERE a.ledger = $1 ORDER BY s.at LIMIT 1)"
	" ORDER BY 2 LIMIT 1",
	6, {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID, TEXTOID}
};

static PlQuery upsert_period = {
	"INSERT INTO payledger.periods (ledger, month, starts_at, ends_at, is_closed) VALUES ($1, $2, $3, $4, true)"
	" ON CONFLICT (ledger, month) DO UPDATE"
	" SET starts_at = EXCLUDED.starts_at, ends_at = EXCLUDED.ends_at, is_closed = true, has_balances = false",
	4, {TEXTOID, DATEOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery move_closed_before = {
	"UPDATE payledger.ledgers SET closed_before = $2 WHERE ledger = $1", 2, {TEXTOID, TIMESTAMPTZOID}
};

static PlQuery insert_event = {
	"INSERT INTO payledger.period_events (period_event_id, ledger, month, event, at, actor, reason)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7)",
	7, {INT8OID, TEXTOID, DATEOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
};

static PlQuery lock_period_to_balance = {
	"SELECT p.ends_at FROM payledger.periods p"
	" WHERE p.ledger = $1 AND p.month = $2 AND p.is_closed AND NOT p.has_balances"
	" FOR NO KEY UPDATE", 2, {TEXTOID, DATEOID}
};

/* OFFSET 0: the balance is computed once an account, not once more to filter */
static PlQuery insert_balances = {
	"INSERT INTO payledger.closing_balances (ledger, month, account_id, balance)"
	" SELECT $1, $2, b.account_id, b.balance"
	" FROM (SELECT a.account_id, payledger.balance(a.account_code, NULL, $3)::numeric"
	"		* CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END AS balance"
	"		FROM payledger.accounts a"
	"		JOIN payledger.account_types t ON t.account_type = a.account_type"
	"		WHERE a.ledger = $1 OFFSET 0) b"
	" WHERE b.balance <> 0",
	3, {TEXTOID, DATEOID, TIMESTAMPTZOID}
};

static PlQuery set_has_balances = {
	"UPDATE payledger.periods SET has_balances = true WHERE ledger = $1 AND month = $2",
	2, {TEXTOID, DATEOID}
};

static PlQuery lock_ledger = {
	"SELECT FROM payledger.ledgers WHERE ledger = $1 FOR NO KEY UPDATE", 1, {TEXTOID}
};

static PlQuery select_closed_months = {
	"SELECT month FROM payledger.periods WHERE ledger = $1 AND is_closed ORDER BY month DESC LIMIT 1",
	1, {TEXTOID}
};

static PlQuery open_period = {
	"UPDATE payledger.periods SET is_closed = false, has_balances = false WHERE ledger = $1 AND month = $2",
	2, {TEXTOID, DATEOID}
};

static PlQuery delete_balances = {
	"DELETE FROM payledger.closing_balances WHERE ledger = $1 AND month = $2", 2, {TEXTOID, DATEOID}
};

static PlQuery move_closed_before_back = {
	"UPDATE payledger.ledgers l SET closed_before ="
	" (SELECT max(p.ends_at) FROM payledger.periods p WHERE p.ledger = l.ledger AND p.is_closed)"
	" WHERE l.ledger = $1 RETURNING l.ledger, $2, l.closed_before", 2, {TEXTOID, DATEOID}
};

/* The halves of close_period(): run with the caller's rights, checked each time. */
static PlQuery call_mark_period_closed = {
	"SELECT payledger.mark_period_closed($1, $2)", 2, {TEXTOID, DATEOID}
};

static PlQuery call_store_closing_balances = {
	"SELECT payledger.store_closing_balances($1, $2)", 2, {TEXTOID, DATEOID}
};

/* A month of a ledger, and as of when the ledger is closed. */
typedef struct Month
{
	const char *ledger;
	DateADT		first_day;
	TimestampTz starts_at;
	TimestampTz ends_at;		/* exclusive */
	bool		has_closed;		/* is closed_before set? */
	TimestampTz closed_before;
	const char *time_zone;
} Month;

PG_FUNCTION_INFO_V1(pl_sql_close_period);
PG_FUNCTION_INFO_V1(pl_sql_mark_period_closed);
PG_FUNCTION_INFO_V1(pl_sql_store_closing_balances);
PG_FUNCTION_INFO_V1(pl_sql_reopen_period);

/* ---- arguments and rows ---- */

/* Argument argno, the first day of a month; 22004, 22023. */
static DateADT
month_arg(FunctionCallInfo fcinfo, int argno)
{
	DateADT		date;
	int			year;
	int			month;
	int			day = 0;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("month must not be null")));
	date = PG_GETARG_DATEADT(argno);
	if (!DATE_NOT_FINITE(date))
		j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (day != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not the first day of a month",
						DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(date)))),
				 errhint("A month is named by its first day, for example 2025-01-01.")));
	return date;
}

/* 2025-01, palloc'd; of a first day of a month. */
static char *
month_name(DateADT first_day)
{
	int			year;
	int			month;
	int			day;

	j2date(first_day + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%04d-%02d", year, month);
}

static void
arg_month(PlArgs *args, const char *ledger, DateADT first_day)
{
	pl_arg_text(args, ledger);
	pl_arg(args, DateADTGetDatum(first_day));
}

/* The month by select_month or lock_month. */
static Month
read_month(PlQuery *query, const char *ledger, DateADT first_day)
{
	Month		month = {0};
	bool		is_open;
	bool		isnull;
	PlArgs		args = {0};

	arg_month(&args, ledger, first_day);
	if (pl_execute_latest(query, &args) == 0)
		pl_no_such_ledger(ledger);
	month.ledger = ledger;
	month.first_day = first_day;
	month.starts_at = DatumGetTimestampTz(pl_get_datum(0, 1, &isnull));
	month.ends_at = DatumGetTimestampTz(pl_get_datum(0, 2, &isnull));
	month.closed_before = DatumGetTimestampTz(pl_get_datum(0, 3, &is_open));
	month.has_closed = !is_open;
	month.time_zone = pl_get_text(0, 4);
	return month;
}

/* An id, which is also the time: later entries have higher ones. */
static void
record_event(const char *ledger, DateADT first_day, const char *event, const char *reason)
{
	int64		event_id = pl_next_id();
	PlArgs		args = {0};

	pl_arg_int64(&args, event_id);
	arg_month(&args, ledger, first_day);
	pl_arg_text(&args, event);
	pl_arg_timestamp(&args, pl_id_timestamp(event_id));
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pl_arg_text(&args, reason);
	pl_execute(&insert_event, &args);
}

/* ---- closing ---- */

static bool
is_closed(const Month *month)
{
	return month->has_closed && month->ends_at <= month->closed_before;
}

static void
check_over(const Month *month)
{
	if (month->ends_at > pl_due_now())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("month %s of ledger %s is not over", month_name(month->first_day), month->ledger),
				 errdetail("It ends at %s.", timestamptz_to_str(month->ends_at))));
}

/*
 * Raise 55000 if something took effect in an open month before this one.
 */
static void
check_earlier_months(const Month *month)
{
	TimestampTz open_since = month->has_closed ? month->closed_before : DT_NOBEGIN;
	PlArgs		args = {0};

	if (open_since >= month->starts_at)
		return;
	pl_arg_text(&args, month->ledger);
	pl_arg_timestamp(&args, open_since);
	pl_arg_timestamp(&args, month->starts_at);
	pl_arg_int64(&args, month->has_closed ? pl_first_id_after(open_since - 1) : 0);
	pl_arg_int64(&args, pl_first_id_after(month->starts_at - 1));
	pl_arg_text(&args, month->time_zone);
	if (pl_execute_latest(&select_entry_between, &args) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("month %s of ledger %s cannot be closed before month %s",
						month_name(month->first_day), month->ledger, pl_get_text(0, 2)),
				 errdetail("Journal entry " INT64_FORMAT " took effect in %s.",
						   pl_get_int64(0, 1), pl_get_text(0, 2)),
				 errhint("Close the months one after another, beginning with the oldest: CALL payledger.close_period('%s', '%s-01').",
						 month->ledger, pl_get_text(0, 2))));
}

/* Posts are locked out, and the ledger's row is locked. */
static void
mark_closed(const Month *month)
{
	PlArgs		period = {0};
	PlArgs		ledger = {0};

	arg_month(&period, month->ledger, month->first_day);
	pl_arg_timestamp(&period, month->starts_at);
	pl_arg_timestamp(&period, month->ends_at);
	pl_execute_latest(&upsert_period, &period);
	pl_arg_text(&ledger, month->ledger);
	pl_arg_timestamp(&ledger, month->ends_at);
	pl_execute_latest(&move_closed_before, &ledger);
	record_event(month->ledger, month->first_day, "CLOSED", NULL);
}

/*
 * mark_period_closed(ledger text, month date) RETURNS boolean
 *
 * What can be refused is refused before posts are held up.  An entry that comes
 * into an earlier month after that does no harm: no later one does, and the
 * closing balances have it.
 */
Datum
pl_sql_mark_period_closed(PG_FUNCTION_ARGS)
{
	char	   *ledger = pl_text_arg(fcinfo, 0, "ledger");
	DateADT		first_day = month_arg(fcinfo, 1);
	Month		before;
	bool		closes;

	pl_connect();
	pl_require_layout();
	before = read_month(&select_month, ledger, first_day);
	closes = !is_closed(&before);
	if (closes)
	{
		Month		now;

		check_over(&before);
		check_earlier_months(&before);
		pl_wait_for_posts();
		now = read_month(&lock_month, ledger, first_day);
		closes = !is_closed(&now);
		if (closes && (now.has_closed != before.has_closed || now.closed_before != before.closed_before ||
					   now.ends_at != before.ends_at))
		{
			check_over(&now);
			check_earlier_months(&now);
		}
		if (closes)
			mark_closed(&now);
	}
	pl_finish();
	PG_RETURN_BOOL(closes);
}

/*
 * store_closing_balances(ledger text, month date) RETURNS bigint
 */
Datum
pl_sql_store_closing_balances(PG_FUNCTION_ARGS)
{
	char	   *ledger = pl_text_arg(fcinfo, 0, "ledger");
	DateADT		first_day = month_arg(fcinfo, 1);
	uint64		stored = 0;
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	arg_month(&args, ledger, first_day);
	if (pl_execute_latest(&lock_period_to_balance, &args) > 0)
	{
		bool		isnull;
		TimestampTz ends_at = DatumGetTimestampTz(pl_get_datum(0, 1, &isnull));
		PlArgs		balances = args;

		pl_arg_timestamp(&balances, ends_at - 1);
		stored = pl_execute_latest(&insert_balances, &balances);
		pl_execute_latest(&set_has_balances, &args);
	}
	pl_finish();
	PG_RETURN_INT64(stored);
}

/*
 * close_period(ledger text, month date): procedure.  Commits between its halves
 * if it was called so that it may.
 */
Datum
pl_sql_close_period(PG_FUNCTION_ARGS)
{
	char	   *ledger = pl_text_arg(fcinfo, 0, "ledger");
	DateADT		first_day = month_arg(fcinfo, 1);
	bool		may_commit = fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic;
	PlArgs		mark = {0};
	PlArgs		store = {0};

	if (SPI_connect_ext(may_commit ? SPI_OPT_NONATOMIC : 0) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pl_require_preload();
	arg_month(&mark, ledger, first_day);
	pl_execute(&call_mark_period_closed, &mark);
	if (may_commit)
		SPI_commit();
	arg_month(&store, ledger, first_day);
	pl_execute(&call_store_closing_balances, &store);
	pl_finish();
	PG_RETURN_VOID();
}

/* ---- reopening ---- */

/* Raise 55000 unless that month is the newest closed one. */
static void
check_newest_closed(const char *ledger, DateADT first_day)
{
	bool		isnull;
	DateADT		newest;
	PlArgs		args = {0};

	pl_arg_text(&args, ledger);
	if (pl_execute_latest(&select_closed_months, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ledger %s has no closed month", ledger)));
	newest = DatumGetDateADT(pl_get_datum(0, 1, &isnull));
	if (newest == first_day)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("month %s of ledger %s is not its newest closed month", month_name(first_day), ledger),
			 errdetail("That is %s.", month_name(newest)),
			 newest > first_day ? errhint("Reopen the months after it first, the newest first.") : 0));
}

/*
 * reopen_period(ledger text, month date, reason text)
 *
 * Posts that have not seen it yet are refused a little longer; nobody waits.
 */
Datum
pl_sql_reopen_period(PG_FUNCTION_ARGS)
{
	char	   *ledger = pl_text_arg(fcinfo, 0, "ledger");
	DateADT		first_day = month_arg(fcinfo, 1);
	char	   *reason = pl_text_arg(fcinfo, 2, "reason");
	PlArgs		key = {0};
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_check_text("reason", reason, MAX_REASON_LENGTH);
	pl_arg_text(&key, ledger);
	if (pl_execute_latest(&lock_ledger, &key) == 0)
		pl_no_such_ledger(ledger);
	check_newest_closed(ledger, first_day);

	arg_month(&args, ledger, first_day);
	pl_execute_latest(&open_period, &args);
	pl_execute_latest(&delete_balances, &args);
	record_event(ledger, first_day, "REOPENED", reason);
	pl_execute_latest(&move_closed_before_back, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
