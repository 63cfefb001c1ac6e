/*
 * src/seller/reserve_terms.c
 *		What is withheld from a seller, and what a negative balance means.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "miscadmin.h"

#define MAX_RESERVE_DAYS 3650

static PlQuery lock_terms = {
	"SELECT t.reserve_bps, t.reserve_days, t.negative_balance::text"
	" FROM payledger.sellers s"
	" LEFT JOIN payledger.reserve_terms t ON t.seller_id = s.seller_id AND t.currency = s.currency"
	" WHERE s.seller_id = $1 AND s.currency = $2 FOR NO KEY UPDATE OF s", 2, {TEXTOID, TEXTOID}
};

static PlQuery store_terms = {
	"INSERT INTO payledger.reserve_terms"
	" (seller_id, currency, reserve_bps, reserve_days, negative_balance, updated_at, updated_by)"
	" VALUES ($1, $2, $3, $4, $5::payledger.negative_balance_policy, $6, $7)"
	" ON CONFLICT (seller_id, currency) DO UPDATE SET reserve_bps = EXCLUDED.reserve_bps,"
	"  reserve_days = EXCLUDED.reserve_days, negative_balance = EXCLUDED.negative_balance,"
	"  updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by"
	" RETURNING seller_id, currency, reserve_bps, reserve_days, negative_balance::text",
	7, {TEXTOID, TEXTOID, INT4OID, INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

PG_FUNCTION_INFO_V1(pl_sql_set_reserve_terms);

static void
check_terms(int32 bps, int32 days, const char *policy)
{
	if (bps < 0 || bps > 10000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reserve_bps %d is not between 0 and 10000", bps),
				 errhint("It is in hundredths of a per cent: 1000 is 10 %%.")));
	if (days < 0 || days > MAX_RESERVE_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reserve_days %d is not between 0 and %d", days, MAX_RESERVE_DAYS)));
	if (bps > 0 && days == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reserve_days is missing"),
				 errhint("Say for how many days the share is withheld.")));
	if (strcmp(policy, "recoup") != 0 && strcmp(policy, "reserve") != 0 && strcmp(policy, "write_off") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("negative_balance \"%s\" does not exist", policy),
				 errhint("It is recoup, reserve or write_off.")));
}

/*
 * set_reserve_terms(seller_id, currency, reserve_bps, reserve_days,
 *		negative_balance): nulls keep what is there.  Locks the seller's row.
 */
Datum
pl_sql_set_reserve_terms(PG_FUNCTION_ARGS)
{
	char	   *seller_id = pl_text_arg(fcinfo, 0, "seller_id");
	char	   *currency = pl_text_arg(fcinfo, 1, "currency");
	char	   *policy = pl_optional_text_arg(fcinfo, 4);
	PlArgs		key = {0};
	PlArgs		args = {0};
	bool		has_terms;
	int32		bps = 0;
	int32		days = 0;

	pl_connect();
	pl_require_layout();
	pl_check_currency(currency);
	pl_arg_text(&key, seller_id);
	pl_arg_text(&key, currency);
	if (pl_execute_latest(&lock_terms, &key) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("seller %s is not registered in %s", seller_id, currency),
				 errhint("Use payledger.register_seller.")));
	has_terms = !pl_isnull(0, 1);
	if (!PG_ARGISNULL(2))
		bps = PG_GETARG_INT32(2);
	else if (has_terms)
		bps = pl_get_int32(0, 1);
	if (!PG_ARGISNULL(3))
		days = PG_GETARG_INT32(3);
	else if (has_terms)
		days = pl_get_int32(0, 2);
	if (policy == NULL)
		policy = has_terms ? pl_get_text(0, 3) : "recoup";
	check_terms(bps, days, policy);

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_int32(&args, bps);
	pl_arg_int32(&args, days);
	pl_arg_text(&args, policy);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pl_execute_latest(&store_terms, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
