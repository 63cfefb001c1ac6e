/*
 * src/payout/seller_balances.c
 *		What sellers have, under lock: so that two payouts see each other.
 *
 * Whatever pays a seller's funds out or gives up a debt locks the row of its
 * MERCHANT_PAYABLE account, as holds and guarded posts do, and only then reads
 * the balances, all in one snapshot: a capture that commits meanwhile must
 * count in the balance and in what is pending, or in neither.  Facts (refunds,
 * chargebacks) take no lock; one that comes later may leave a seller in debt.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "payout/payout_internal.h"
#include "utils/builtins.h"

/* Those that nobody else has locked. */
static PlQuery lock_free_accounts = {
	"SELECT a.account_id FROM payledger.accounts a"
	" WHERE a.account_id = ANY ($1) ORDER BY a.account_id FOR NO KEY UPDATE SKIP LOCKED", 1, {INT8ARRAYOID}
};

/* OFFSET keeps the planner from joining all sellers first. */
static PlQuery select_funds = {
	"SELECT b.balance, b.pending, b.held, b.available"
	" FROM unnest($1, $2) WITH ORDINALITY AS u(seller_id, currency, n)"
	" CROSS JOIN LATERAL (SELECT v.balance::bigint AS balance, v.pending::bigint AS pending, v.held,"
	"		v.available::bigint AS available FROM payledger.seller_balances v"
	"		WHERE v.seller_id = u.seller_id AND v.currency = u.currency OFFSET 0) AS b"
	" ORDER BY u.n", 2, {TEXTARRAYOID, TEXTARRAYOID}
};

/* Of n accounts, sorted, keep those that could be locked.  Returns their number. */
static int
lock_free(int64 *ids, int n)
{
	PlArgs		args = {0};

	pl_arg_ids(&args, ids, n);
	n = pl_execute_latest(&lock_free_accounts, &args);
	for (int i = 0; i < n; i++)
		ids[i] = pl_get_int64(i, 1);
	return n;
}

/*
 * Lock the payable accounts of n distinct sellers, in the order of their ids,
 * until the end of the transaction, and note their states.  An account that
 * somebody else has locked is waited for or, if not waits, left: its
 * account_status is NULL.  Locks: the journal ROW EXCLUSIVE, the accounts' rows.
 * Needs an open SPI connection.
 */
void
pl_lock_sellers(PlSellerFunds *funds, int n, bool waits)
{
	const char **codes = palloc(sizeof(char *) * Max(n, 1));
	int64	   *ids = palloc(sizeof(int64) * Max(n, 1));
	PlLimits   *limits;
	int			nlocked = n;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		codes[i] = pl_account_code("MERCHANT_PAYABLE", funds[i].seller_id, funds[i].currency);
	pl_open_accounts(codes, n);
	for (int i = 0; i < n; i++)
	{
		funds[i].payable = pl_known_account(codes[i]);
		ids[i] = funds[i].payable->account_id;
	}
	qsort(ids, n, sizeof(int64), pl_compare_ids);

	/* an operator who suspends an account waits for those who post to it */
	(void) pl_lock_journal();
	if (!waits)
		nlocked = lock_free(ids, n);
	limits = pl_limits_lock(ids, nlocked);
	for (int i = 0; i < n; i++)
	{
		PlLimits   *found = pl_limits_find(limits, nlocked, funds[i].payable->account_id);

		funds[i].account_status = found ? found->status : NULL;
	}
}

/*
 * The same, and read what they have as of this moment.  22003 if a balance
 * passes a bigint.
 */
void
pl_lock_seller_funds(PlSellerFunds *funds, int n, bool waits)
{
	Datum	   *sellers = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *currencies = palloc(sizeof(Datum) * Max(n, 1));
	PlArgs		args = {0};

	if (n == 0)
		return;
	pl_lock_sellers(funds, n, waits);
	for (int i = 0; i < n; i++)
	{
		sellers[i] = CStringGetTextDatum(funds[i].seller_id);
		currencies[i] = CStringGetTextDatum(funds[i].currency);
	}
	pl_arg_array(&args, sellers, NULL, n, TEXTOID);
	pl_arg_array(&args, currencies, NULL, n, TEXTOID);
	if (pl_execute_latest(&select_funds, &args) != (uint64) n)
		elog(ERROR, "could not read the balances of %d sellers", n);
	for (int i = 0; i < n; i++)
	{
		funds[i].balance = pl_get_int64(i, 1);
		funds[i].pending = pl_get_int64(i, 2);
		funds[i].held = pl_get_int64(i, 3);
		funds[i].available = pl_get_int64(i, 4);
	}
}
