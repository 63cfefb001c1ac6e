/*
 * src/payout/negative_balances.c
 *		Sellers who owe the platform: a refund or a chargeback took more than
 *		they had.
 *
 * Nothing is paid out meanwhile, and what they are credited next makes it up:
 * the policy recoup.  With the others, reserve and write_off, what is withheld
 * from the seller covers it first, and what that does not cover is written off.
 *
 * The account is locked, then the reserve, and only then the balance read: who
 * released a part of the reserve has credited the account with it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment.h"
#include "payout/payout_internal.h"

/* sellers, and rows of reserves, at once */
#define COVER_AT_ONCE	100
#define RELEASE_AT_ONCE 100

#define MAX_NOTE 500

/* Of the sellers with such a policy, those for whom it can do something. */
static PlQuery select_negative = {
	"SELECT t.seller_id, t.currency, t.negative_balance = 'write_off'"
	" FROM payledger.reserve_terms t"
	" CROSS JOIN LATERAL (SELECT b.balance FROM payledger.account_balances b"
	"	WHERE b.account_code = 'MERCHANT_PAYABLE.' || t.seller_id || '.' || t.currency OFFSET 0) AS b"
	" WHERE t.negative_balance <> 'recoup' AND b.balance < 0"
	"	AND (t.negative_balance = 'write_off' OR EXISTS (SELECT FROM payledger.reserves r"
	"		WHERE r.seller_id = t.seller_id AND r.currency = t.currency AND r.released_amount < r.amount))"
	" ORDER BY t.seller_id, t.currency LIMIT $1", 1, {INT8OID}
};

static PlQuery has_reserve = {
	"SELECT FROM payledger.reserves r"
	" WHERE r.seller_id = $1 AND r.currency = $2 AND r.released_amount < r.amount LIMIT 1", 2, {TEXTOID, TEXTOID}
};

static PlQuery seller_exists = {
	"SELECT FROM payledger.sellers WHERE seller_id = $1 AND currency = $2", 2, {TEXTOID, TEXTOID}
};

static PlQuery show_covered = {
	"SELECT $1, $2, $3, $4, $5, $3 + $4 + $5", 5, {TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID}
};

/* What made up for a negative balance, minor units. */
typedef struct Cover
{
	int64		balance;		/* before */
	int64		released;		/* from the reserve */
	int64		written_off;
} Cover;

PG_FUNCTION_INFO_V1(pl_sql_cover_negative_balance);
PG_FUNCTION_INFO_V1(pl_sql_cover_negative_balances);

/* The balance of a locked account as of this moment; entries of the unit are not in it yet. */
static int64
balance_of(const PlAccount *account)
{
	PlLimits	limits = {.account_id = account->account_id};

	pl_limits_balances(&limits, 1);
	return limits.balance;
}

/*
 * Release the seller's reserve, the oldest first, as far as its balance is
 * negative.  Sets the balance, as of after the last lock, and what was released.
 */
static void
release_reserve(PlWork *work, const PlSellerFunds *funds, bool waits, const char *note, Cover *result)
{
	int			n;
	int			used;

	do
	{
		PlReserveRelease *reserves = pl_lock_reserves(funds->seller_id, funds->currency, waits, RELEASE_AT_ONCE, &n);

		result->balance = balance_of(funds->payable);
		for (used = 0; used < n && result->balance + result->released < 0; used++)
		{
			reserves[used].amount = Min(reserves[used].amount, -result->balance - result->released);
			result->released += reserves[used].amount;
		}
		pl_release_reserves(work, reserves, used, note);
	} while (used == RELEASE_AT_ONCE);
}

/* Is there a part of the reserve left, which then somebody else releases? */
static bool
reserve_is_left(const PlSellerFunds *funds)
{
	PlArgs		args = {0};

	pl_arg_text(&args, funds->seller_id);
	pl_arg_text(&args, funds->currency);
	return pl_execute_latest(&has_reserve, &args) > 0;
}

/*
 * Bring a negative balance to zero, as far as is allowed; the account is locked.
 * If not waits, nothing is written off while somebody else releases a part of
 * the reserve.
 */
static Cover
cover(PlWork *work, const PlSellerFunds *funds, bool writes_off, bool waits, const char *note)
{
	Cover		result = {0};
	int64		rest;

	release_reserve(work, funds, waits, note, &result);
	rest = -result.balance - result.released;
	if (rest > 0 && writes_off && (waits || !reserve_is_left(funds)))
	{
		pl_note_entry(pl_post_template(work->entries, "WRITE_OFF", 0,
									   psprintf("WRITE_OFF:" INT64_FORMAT, pl_next_id()), 0,
									   funds->seller_id, funds->currency, rest), note);
		result.written_off = rest;
	}
	return result;
}

/*
 * For the keeper: cover the negative balances of sellers whose policy is not
 * recoup, up to COVER_AT_ONCE of them.  Returns how many were covered, in whole
 * or in part.  Locks their accounts by id, then their reserves, without waiting
 * for those that somebody else has locked.  Opens its own SPI connection.
 */
int
pl_cover_negative_balances(void)
{
	PlSellerFunds *funds;
	bool	   *writes_off;
	PlWork	   *work;
	int			covered = 0;
	PlArgs		args = {0};
	int			n;

	pl_connect();
	pl_arg_int64(&args, COVER_AT_ONCE);
	n = pl_execute_latest(&select_negative, &args);
	funds = palloc0(sizeof(PlSellerFunds) * Max(n, 1));
	writes_off = palloc(sizeof(bool) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		funds[i].seller_id = pl_get_text(i, 1);
		funds[i].currency = pl_get_text(i, 2);
		writes_off[i] = pl_get_bool(i, 3);
	}
	pl_lock_sellers(funds, n, false);
	work = pl_work_begin("cover_negative_balances");
	for (int i = 0; i < n; i++)
	{
		Cover		done = {0};

		if (funds[i].account_status != NULL)
			done = cover(work, &funds[i], writes_off[i], false,
						 writes_off[i] ? "policy write_off" : "policy reserve");
		covered += done.released > 0 || done.written_off > 0 ? 1 : 0;
	}
	pl_work_end(work);
	pl_finish();
	return covered;
}

/*
 * cover_negative_balances() RETURNS int
 */
Datum
pl_sql_cover_negative_balances(PG_FUNCTION_ARGS)
{
	pl_connect();
	pl_require_layout();
	pl_finish();
	PG_RETURN_INT32(pl_cover_negative_balances());
}

/*
 * cover_negative_balance(seller_id, currency, note, write_off)
 *		RETURNS TABLE (seller_id, currency, balance_before, released, written_off, balance)
 */
Datum
pl_sql_cover_negative_balance(PG_FUNCTION_ARGS)
{
	char	   *seller_id = pl_text_arg(fcinfo, 0, "seller_id");
	char	   *currency = pl_text_arg(fcinfo, 1, "currency");
	char	   *note = pl_text_arg(fcinfo, 2, "note");
	bool		writes_off = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	PlSellerFunds funds = {seller_id, currency};
	PlArgs		key = {0};
	PlArgs		args = {0};
	PlWork	   *work;
	Cover		done;

	pl_connect();
	pl_require_layout();
	pl_check_currency(currency);
	pl_check_text("note", note, MAX_NOTE);
	pl_arg_text(&key, seller_id);
	pl_arg_text(&key, currency);
	if (pl_execute_latest(&seller_exists, &key) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("seller %s is not registered in %s", seller_id, currency),
				 errhint("Use payledger.register_seller.")));

	pl_lock_sellers(&funds, 1, true);
	work = pl_work_begin("cover_negative_balance");
	done = cover(work, &funds, writes_off, true, note);
	pl_work_end(work);

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_int64(&args, done.balance);
	pl_arg_int64(&args, done.released);
	pl_arg_int64(&args, done.written_off);
	pl_execute(&show_covered, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
