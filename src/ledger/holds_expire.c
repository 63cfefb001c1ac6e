/*
 * src/ledger/holds_expire.c
 *		Holds that are overdue: their funds are freed.
 *
 * An overdue hold can no longer be committed, whether or not it was expired
 * here; what it reserves is available again when it was.  The keeper does so,
 * and, so that no funds are bound while there is none, whoever has locked the
 * account and would be refused because of what is held.
 *
 * The keeper must not stand in the queue of an account that some session keeps
 * locked, and no account may stay behind because it is locked whenever the
 * keeper looks.  So it expires the holds of all accounts that it can lock at
 * once, and then waits a little for one of those left over after the other.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "utils/guc.h"

/* accounts, and holds, at once */
#define EXPIRE_AT_ONCE	1000

/* overdue for so long, holds were left over */
#define LEFT_OVER_MS	5000
#define LOCK_WAIT_MS	"1000"

#define LOCK_OVERDUE_ACCOUNTS \
	"SELECT a.account_id FROM payledger.accounts a" \
	" WHERE a.account_id = ANY (ARRAY(SELECT DISTINCT h.account_id FROM payledger.holds h" \
	"		WHERE h.status = 'ACTIVE' AND h.expires_at <= $1))" \
	" ORDER BY a.account_id LIMIT $2 FOR NO KEY UPDATE"

static PlQuery lock_overdue_accounts = {
	LOCK_OVERDUE_ACCOUNTS, 2, {TIMESTAMPTZOID, INT8OID}
};

static PlQuery lock_free_accounts = {
	LOCK_OVERDUE_ACCOUNTS " SKIP LOCKED", 2, {TIMESTAMPTZOID, INT8OID}
};

/* OFFSET keeps the planner from walking all holds in the order of accounts. */
static PlQuery select_left_over_account = {
	"SELECT o.account_id FROM (SELECT DISTINCT h.account_id FROM payledger.holds h"
	"	WHERE h.status = 'ACTIVE' AND h.expires_at <= $1 OFFSET 0) AS o"
	" WHERE o.account_id > $2 ORDER BY o.account_id LIMIT 1", 2, {TIMESTAMPTZOID, INT8OID}
};

/* Once more whether they are, now that nobody else can change them. */
static PlQuery lock_overdue_holds = {
	"SELECT h.hold_id FROM payledger.holds h"
	" WHERE h.hold_id = ANY (ARRAY(SELECT o.hold_id FROM payledger.holds o"
	"		WHERE o.account_id = ANY ($1) AND o.status = 'ACTIVE' AND o.expires_at <= $2"
	"		ORDER BY o.expires_at LIMIT $3))"
	"	AND h.status = 'ACTIVE' AND h.expires_at <= $2"
	" ORDER BY h.hold_id FOR NO KEY UPDATE", 3, {INT8ARRAYOID, TIMESTAMPTZOID, INT8OID}
};

static PlQuery expire_holds = {
	"WITH expired AS ("
	" UPDATE payledger.holds SET status = 'EXPIRED', updated_at = $2"
	" WHERE hold_id = ANY ($1) RETURNING account_id, amount - committed_amount AS rest)"
	" UPDATE payledger.accounts a SET held = a.held - e.rest"
	" FROM (SELECT account_id, sum(rest)::bigint AS rest FROM expired GROUP BY account_id) AS e"
	" WHERE a.account_id = e.account_id RETURNING e.rest", 2, {INT8ARRAYOID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_expire_holds);

/* The ids in the n rows of the last result. */
static Datum *
result_ids(uint64 n)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
		ids[i] = Int64GetDatum(pl_get_int64(i, 1));
	return ids;
}

/*
 * Expire the holds, up to EXPIRE_AT_ONCE, that are overdue at now of the n
 * accounts, which are locked.  Returns their number, and in *freed what that
 * frees of the first account.
 */
static int
expire_of_locked(Datum *accounts, int naccounts, TimestampTz now, int64 *freed)
{
	uint64		n;
	PlArgs		overdue = {0};
	PlArgs		expired = {0};

	*freed = 0;
	if (naccounts == 0)
		return 0;
	pl_arg_array(&overdue, accounts, NULL, naccounts, INT8OID);
	pl_arg_timestamp(&overdue, now);
	pl_arg_int64(&overdue, EXPIRE_AT_ONCE);
	n = pl_execute(&lock_overdue_holds, &overdue);
	if (n == 0)
		return 0;

	pl_history_begin("expire_holds");
	pl_arg_array(&expired, result_ids(n), NULL, n, INT8OID);
	pl_arg_timestamp(&expired, now);
	pl_execute(&expire_holds, &expired);
	*freed = pl_get_int64(0, 1);
	pl_history_end();
	return n;
}

/*
 * Expire what is overdue of an account that the caller has locked.  Returns
 * what that frees, minor units.  Needs an open SPI connection, whose last
 * result it takes.
 */
int64
pl_free_overdue_holds(int64 account_id)
{
	Datum		account = Int64GetDatum(account_id);
	TimestampTz now = pl_due_now();
	int64		freed = 0;
	int64		part;
	int			expired;

	do
	{
		expired = expire_of_locked(&account, 1, now, &part);
		freed += part;
		CHECK_FOR_INTERRUPTS();
	} while (expired == EXPIRE_AT_ONCE);
	return freed;
}

/*
 * Expire overdue holds, up to EXPIRE_AT_ONCE in one call, and free their
 * funds.  Returns their number.  Locks the accounts by their ids; those that
 * somebody else has locked are waited for or, if not waits, left for another
 * call.  Opens its own SPI connection.
 */
int
pl_expire_holds(bool waits)
{
	TimestampTz now = pl_due_now();
	PlArgs		args = {0};
	uint64		naccounts;
	int64		freed;
	int			expired;

	pl_connect();
	pl_arg_timestamp(&args, now);
	pl_arg_int64(&args, EXPIRE_AT_ONCE);
	naccounts = pl_execute(waits ? &lock_overdue_accounts : &lock_free_accounts, &args);
	expired = expire_of_locked(result_ids(naccounts), naccounts, now, &freed);
	pl_finish();
	return expired;
}

/* Wait for the account, but not long: 55P03 names it. */
static void
lock_left_over(int64 account_id)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	int			nestlevel = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LOCK_WAIT_MS, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		(void) pl_limits_lock(&account_id, 1);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("account " INT64_FORMAT " is locked, its overdue holds cannot expire", account_id),
				 errhint("pg_locks and pg_stat_activity show the session that keeps it locked.")));
	}
	PG_END_TRY();
	AtEOXact_GUC(true, nestlevel);
}

/*
 * Expire the holds of one account that pl_expire_holds() left over for some
 * seconds: at each call of another one.  Waits for its lock, then raises
 * 55P03.  Returns the number of holds.  Opens its own SPI connection.
 */
int
pl_expire_left_over_holds(void)
{
	static int64 last_account = 0;
	TimestampTz now = pl_due_now();
	PlArgs		args = {0};
	int64		freed;
	int			expired = 0;

	pl_connect();
	pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, -LEFT_OVER_MS));
	pl_arg_int64(&args, last_account);
	if (pl_select(&select_left_over_account, &args) == 0)
		last_account = 0;
	else
	{
		Datum		account = Int64GetDatum(last_account = pl_get_int64(0, 1));

		lock_left_over(last_account);
		expired = expire_of_locked(&account, 1, now, &freed);
	}
	pl_finish();
	return expired;
}

/*
 * expire_holds() RETURNS int
 */
Datum
pl_sql_expire_holds(PG_FUNCTION_ARGS)
{
	pl_connect();
	pl_require_layout();
	pl_finish();
	PG_RETURN_INT32(pl_expire_holds(true));
}
