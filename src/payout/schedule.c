/*
 * src/payout/schedule.c
 *		Payouts by schedule: whose cut-off has come gets what is available.
 *
 * The payouts, their entries and requests, and the next cut-offs are one
 * commit: a crash leaves all or nothing of it.  A seller whose terms another
 * run has locked is left to that run.  One who cannot be paid out does not
 * keep the others from it: the reason is noted in its terms, and its next
 * cut-off comes as any other.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "payout/payout_internal.h"
#include "utils/builtins.h"

/* sellers whom the keeper pays out in one transaction */
#define PAY_OUT_AT_ONCE 200

static PlQuery lock_due_terms = {
	"SELECT " PL_ROUTE_COLUMNS("t") ", t.next_payout_at, t.minimum"
	" FROM payledger.payout_terms t" PL_ROUTE_JOINS("t")
	" WHERE t.next_payout_at <= $1 ORDER BY t.next_payout_at, t.seller_id, t.currency LIMIT $2"
	" FOR NO KEY UPDATE OF t SKIP LOCKED", 2, {TIMESTAMPTZOID, INT8OID}
};

/* However many cut-offs have passed, the next one is to come. */
static PlQuery advance_terms = {
	"UPDATE payledger.payout_terms t SET problem = u.p,"
	" next_payout_at = payledger.next_payout_at(t.schedule::text, t.payout_day, t.cut_off,"
	"	greatest(t.next_payout_at, $4), l.time_zone)"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u(s, c, p),"
	" payledger.ledgers l"
	" WHERE t.seller_id = u.s AND t.currency = u.c AND l.ledger = 'MAIN'",
	4, {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};

/* A seller whose cut-off has come. */
typedef struct Due
{
	PlPayoutRoute route;
	TimestampTz cut_off;
	int64		minimum;		/* minor units */
	const char *problem;		/* NULL: none */
	bool		is_left;		/* its account is locked: for the next run */
} Due;

PG_FUNCTION_INFO_V1(pl_sql_run_payouts);

/* Lock the terms of up to limit sellers, and read them; *n is their number. */
static Due *
lock_due(TimestampTz at, int64 limit, int *n)
{
	Due		   *due;
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_timestamp(&args, at);
	pl_arg_int64(&args, limit);
	*n = pl_execute_latest(&lock_due_terms, &args);
	due = palloc0(sizeof(Due) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		pl_read_route(i, &due[i].route);
		due[i].cut_off = DatumGetTimestampTz(pl_get_datum(i, 8, &isnull));
		due[i].minimum = pl_get_int64(i, 9);
	}
	return due;
}

/* Note what keeps a seller from being paid out. */
static void
note_problem(Due *due, const ErrorData *obstacle)
{
	due->problem = obstacle->message;
	ereport(WARNING,
			(errcode(obstacle->sqlerrcode),
			 errmsg("seller %s was not paid out in %s: %s", due->route.seller_id, due->route.currency,
					obstacle->message),
			 obstacle->hint ? errhint("%s", obstacle->hint) : 0));
}

/*
 * Of n sellers, the payouts to those who have something available, at least
 * their minimum.  Locks their accounts; if not waits, sellers whose account
 * somebody else has locked are left.  *npayouts is their number.
 */
static PlNewPayout *
choose_payouts(Due *due, int n, bool waits, int *npayouts)
{
	PlNewPayout *payouts = palloc0(sizeof(PlNewPayout) * Max(n, 1));
	PlSellerFunds *funds = palloc0(sizeof(PlSellerFunds) * Max(n, 1));
	Due		  **payable = palloc(sizeof(Due *) * Max(n, 1));
	int			npayable = 0;

	for (int i = 0; i < n; i++)
	{
		ErrorData  *obstacle = pl_payout_obstacle(&due[i].route);

		if (obstacle != NULL)
		{
			note_problem(&due[i], obstacle);
			continue;
		}
		funds[npayable].seller_id = due[i].route.seller_id;
		funds[npayable].currency = due[i].route.currency;
		payable[npayable++] = &due[i];
	}
	pl_lock_seller_funds(funds, npayable, waits);

	*npayouts = 0;
	for (int i = 0; i < npayable; i++)
	{
		ErrorData  *obstacle;

		payable[i]->is_left = funds[i].account_status == NULL;
		if (payable[i]->is_left)
			continue;
		obstacle = pl_account_obstacle(&funds[i]);
		if (obstacle != NULL)
			note_problem(payable[i], obstacle);
		else if (funds[i].available > 0 && funds[i].available >= payable[i]->minimum)
		{
			payouts[*npayouts].route = &payable[i]->route;
			payouts[*npayouts].amount = funds[i].available;
			payouts[(*npayouts)++].scheduled_for = payable[i]->cut_off;
		}
	}
	return payouts;
}

/* The next cut-offs of those of n sellers that were dealt with.  Returns their number. */
static int
advance(const Due *due, int n, TimestampTz at)
{
	Datum	   *sellers = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *currencies = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *problems = palloc0(sizeof(Datum) * Max(n, 1));
	bool	   *is_fine = palloc(sizeof(bool) * Max(n, 1));
	int			done = 0;
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
	{
		if (due[i].is_left)
			continue;
		sellers[done] = CStringGetTextDatum(due[i].route.seller_id);
		currencies[done] = CStringGetTextDatum(due[i].route.currency);
		is_fine[done] = due[i].problem == NULL;
		if (!is_fine[done])
			problems[done] = CStringGetTextDatum(due[i].problem);
		done++;
	}
	if (done == 0)
		return 0;
	pl_arg_array(&args, sellers, NULL, done, TEXTOID);
	pl_arg_array(&args, currencies, NULL, done, TEXTOID);
	pl_arg_array(&args, problems, is_fine, done, TEXTOID);
	pl_arg_timestamp(&args, at);
	pl_execute_latest(&advance_terms, &args);
	return done;
}

/*
 * Pay out up to limit sellers whose cut-off is at or before at.  Leaves the
 * payouts as the last result.  Returns how many cut-offs were dealt with.
 * Locks the terms, skipping locked ones, then the sellers' accounts by id,
 * those that somebody else has locked only if waits.  Needs an open SPI
 * connection.
 */
static int
run(TimestampTz at, int64 limit, bool waits)
{
	PlWork	   *work;
	Due		   *due;
	PlNewPayout *payouts;
	int			n;
	int			npayouts;
	int			done;

	due = lock_due(at, limit, &n);
	payouts = choose_payouts(due, n, waits, &npayouts);
	work = pl_work_begin("run_payouts");
	pl_make_payouts(work, payouts, npayouts);
	done = advance(due, n, at);
	pl_work_end(work);
	pl_select_payouts(payouts, npayouts);
	return done;
}

/*
 * For the keeper: pay out whose cut-off has come, a bounded number at once.
 * Returns how many were dealt with.  Waits for nobody who keeps a seller's
 * account locked.  Opens its own SPI connection.
 */
int
pl_run_due_payouts(void)
{
	int			n;

	pl_connect();
	n = run(pl_due_now(), PAY_OUT_AT_ONCE, false);
	pl_finish();
	return n;
}

/*
 * run_payouts(at timestamptz): all of them, in the caller's transaction.
 */
Datum
pl_sql_run_payouts(PG_FUNCTION_ARGS)
{
	TimestampTz at;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("at must not be null")));
	at = PG_GETARG_TIMESTAMPTZ(0);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at must be a finite time")));
	pl_connect();
	pl_require_layout();
	(void) run(at, PG_INT64_MAX, true);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
