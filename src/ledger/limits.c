/*
 * src/ledger/limits.c
 *		What accounts and ledgers restrict: status, floors and ceilings, closed
 *		periods.
 *
 * An account is locked (its row, FOR NO KEY UPDATE) by what takes it towards a
 * limit and by holds; what takes it away from a limit cannot break it and does
 * not wait.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/account_memory.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* both indexes are all but empty */
static PlQuery select_restrictions = {
	"SELECT a.account_id, a.status::text, a.floor, a.ceiling, a.held, NULL::text, NULL::timestamptz"
	" FROM payledger.accounts a"
	" WHERE a.account_id = ANY ($1)"
	"	AND (a.status <> 'ACTIVE' OR a.floor IS NOT NULL OR a.ceiling IS NOT NULL)"
	" UNION ALL"
	" SELECT NULL, NULL, NULL, NULL, NULL, l.ledger, l.closed_before"
	" FROM payledger.ledgers l WHERE l.closed_before IS NOT NULL", 1, {INT8ARRAYOID}
};

static PlQuery lock_accounts = {
	"SELECT a.account_id, a.status::text, a.floor, a.ceiling, a.held"
	" FROM payledger.accounts a"
	" WHERE a.account_id = ANY ($1) ORDER BY a.account_id FOR NO KEY UPDATE", 1, {INT8ARRAYOID}
};

static PlQuery select_balances = {
	"SELECT a.i,"
	" coalesce((SELECT s.balance FROM payledger.balance_snapshots s WHERE s.account_id = a.i), 0)"
	" + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"			  WHERE p.account_id = a.i AND p.transaction_no >= f.snapshot_xmax), 0)"
	" + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"			  WHERE p.account_id = a.i AND p.transaction_no = ANY (f.snapshot_xip)), 0)"
	" FROM (SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f"
	" CROSS JOIN unnest($1) WITH ORDINALITY AS a(i, n) ORDER BY a.n", 1, {INT8ARRAYOID}
};

/* Row of the last result: account_id, status, floor, ceiling, held. */
static void
read_limits(PlLimits *limits, uint64 row)
{
	limits->account_id = pl_get_int64(row, 1);
	limits->status = pl_get_text(row, 2);
	limits->has_floor = !pl_isnull(row, 3);
	limits->floor = limits->has_floor ? pl_get_int64(row, 3) : 0;
	limits->has_ceiling = !pl_isnull(row, 4);
	limits->ceiling = limits->has_ceiling ? pl_get_int64(row, 4) : 0;
	limits->held = pl_get_int64(row, 5);
	limits->balance = 0;
}

/* The closed periods of the generation, in TopMemoryContext. */
static PlClosedLedger *closed_ledgers = NULL;
static int	nclosed_ledgers = 0;
static uint64 closed_generation = 0;

/* Is the account known to be ACTIVE and without limits? */
bool
pl_is_unrestricted(const PlAccount *account)
{
	return account->unrestricted_in == pl_restrictions_generation();
}

/* Keep the rows of the last result that are about ledgers. */
static void
remember_closed_ledgers(uint64 rows, uint64 generation)
{
	for (int i = 0; i < nclosed_ledgers; i++)
		pfree(unconstify(char *, closed_ledgers[i].ledger));
	if (closed_ledgers != NULL)
		pfree(closed_ledgers);
	nclosed_ledgers = 0;
	closed_generation = 0;

	closed_ledgers = MemoryContextAlloc(TopMemoryContext, sizeof(PlClosedLedger) * Max(rows, 1));
	for (uint64 i = 0; i < rows; i++)
		if (pl_isnull(i, 1))
		{
			PlClosedLedger *closed = &closed_ledgers[nclosed_ledgers];
			bool		isnull;

			closed->ledger = MemoryContextStrdup(TopMemoryContext, pl_get_text(i, 6));
			closed->closed_before = DatumGetTimestampTz(pl_get_datum(i, 7, &isnull));
			nclosed_ledgers++;
		}
	closed_generation = generation;
}

/*
 * Of n accounts, sorted by id, those that are not ACTIVE or have limits, and
 * the ledgers with a closed period; palloc'd.  The caller has locked the
 * journal, so it holds until the commit.  What is known not to be restricted
 * needs no query: give the other accounts only.  Needs an open SPI connection.
 */
PlRestrictions *
pl_restrictions(const int64 *account_ids, int n)
{
	PlRestrictions *restrictions = palloc0(sizeof(PlRestrictions));
	uint64		generation = pl_restrictions_generation();
	PlArgs		args = {0};
	uint64		rows;

	if (n > 0 || closed_generation != generation)
	{
		pl_arg_ids(&args, account_ids, n);
		rows = pl_execute_latest(&select_restrictions, &args);
		remember_closed_ledgers(rows, generation);
		restrictions->accounts = palloc(sizeof(PlLimits) * Max(rows, 1));
		for (uint64 i = 0; i < rows; i++)
			if (!pl_isnull(i, 1))
				read_limits(&restrictions->accounts[restrictions->naccounts++], i);
		qsort(restrictions->accounts, restrictions->naccounts, sizeof(PlLimits), pl_compare_ids);
		for (int i = 0; i < n; i++)
			if (pl_limits_find(restrictions->accounts, restrictions->naccounts, account_ids[i]) == NULL)
				pl_remember_unrestricted(account_ids[i], generation);
	}
	restrictions->ledgers = closed_ledgers;
	restrictions->nledgers = nclosed_ledgers;
	return restrictions;
}

/* That account of n sorted by account_id, or NULL. */
PlLimits *
pl_limits_find(PlLimits *limits, int n, int64 account_id)
{
	/* account_id is the first member */
	return n == 0 ? NULL : bsearch(&account_id, limits, n, sizeof(PlLimits), pl_compare_ids);
}

/*
 * Lock n accounts, in the order of their ids, until the end of the
 * transaction: the latest committed state of each, sorted by account_id,
 * palloc'd.  XX000 if one does not exist.  Needs an open SPI connection.
 */
PlLimits *
pl_limits_lock(const int64 *account_ids, int n)
{
	PlLimits   *limits = palloc(sizeof(PlLimits) * Max(n, 1));
	PlArgs		args = {0};

	pl_arg_ids(&args, account_ids, n);
	if (pl_execute_latest(&lock_accounts, &args) != (uint64) n)
		elog(ERROR, "could not find %d accounts to lock", n);
	for (int i = 0; i < n; i++)
		read_limits(&limits[i], i);
	return limits;
}

/*
 * Fill in the posted balances of n accounts as of this moment, in minor units
 * on the normal side; those that only grow meanwhile may be higher.  The
 * accounts are remembered (pl_load_accounts()) and locked.  22003 if one
 * passes a bigint.  Needs an open SPI connection.
 */
void
pl_limits_balances(PlLimits *limits, int n)
{
	int64	   *ids = palloc(sizeof(int64) * n);
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
		ids[i] = limits[i].account_id;
	pl_load_accounts(ids, n);
	pl_arg_ids(&args, ids, n);
	pl_execute_latest(&select_balances, &args);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		balance = DirectFunctionCall1(numeric_int8, pl_get_datum(i, 2, &isnull));

		limits[i].balance = DatumGetInt64(balance) * pl_known_account_by_id(ids[i])->sign;
	}
}
