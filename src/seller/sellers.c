/*
 * src/seller/sellers.c
 *		Sellers: registration, terms, and whether an intent may name them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "seller/seller_internal.h"
#include "utils/builtins.h"

/* a seller with the terms in force */
#define SELLER_WITH_TERMS \
	"SELECT s.seller_id, s.currency, s.status::text, r.commission_bps, r.commission_fixed" \
	" FROM payledger.sellers s JOIN LATERAL (SELECT c.commission_bps, c.commission_fixed" \
	"  FROM payledger.commission_rules c WHERE c.seller_id = s.seller_id AND c.currency = s.currency" \
	"   AND c.valid_from <= payledger.trusted_now() ORDER BY c.valid_from DESC LIMIT 1) r ON true" \
	" WHERE s.seller_id = $1 AND s.currency = $2"

static PlQuery insert_seller = {
	"INSERT INTO payledger.sellers (seller_id, currency)"
	" VALUES ($1, $2) ON CONFLICT (seller_id, currency) DO NOTHING", 2, {TEXTOID, TEXTOID}
};

static PlQuery find_seller = {SELLER_WITH_TERMS, 2, {TEXTOID, TEXTOID}};

static PlQuery update_status = {
	"UPDATE payledger.sellers SET status = coalesce($3::payledger.seller_status, status)"
	" WHERE seller_id = $1 AND currency = $2", 3, {TEXTOID, TEXTOID, TEXTOID}
};

/* the sellers among those that are active in the currency */
static PlQuery count_active_sellers = {
	"SELECT count(*) FROM payledger.sellers"
	" WHERE seller_id = ANY ($1) AND currency = $2 AND status = 'ACTIVE'", 2, {TEXTARRAYOID, TEXTOID}
};

static PlQuery seller_currencies = {
	"SELECT string_agg(currency, ', ' ORDER BY currency) FROM payledger.sellers WHERE seller_id = $1",
	1, {TEXTOID}
};

PG_FUNCTION_INFO_V1(pl_sql_register_seller);
PG_FUNCTION_INFO_V1(pl_sql_update_seller);

static void
check_seller_id(const char *seller_id)
{
	static const char legal[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:-";

	pl_check_text("seller_id", seller_id, 64);
	if (strspn(seller_id, legal) != strlen(seller_id) || strchr("_:-", seller_id[0]) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("seller_id \"%s\" is not allowed", seller_id),
				 errhint("Use letters, digits, underscores, colons and hyphens, beginning with a letter or digit.")));
}

/* The seller with its terms as the last result; PL007 if there is none. */
static void
read_seller(const char *seller_id, const char *currency)
{
	PlArgs		args = {0};

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	if (pl_execute(&find_seller, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("seller %s is not registered in %s", seller_id, currency),
				 errhint("Use payledger.register_seller.")));
}

/*
 * The status of a seller, palloc'd; PL007 if it is not registered in the
 * currency.  Needs an open SPI connection.
 */
const char *
pl_seller_status(const char *seller_id, const char *currency)
{
	read_seller(seller_id, currency);
	return pl_get_text(0, 3);
}

/*
 * register_seller(seller_id, currency, commission_bps, commission_fixed)
 *		Registers the seller and opens its payable account; the same terms
 *		again change nothing, others are 42710.
 */
Datum
pl_sql_register_seller(PG_FUNCTION_ARGS)
{
	char	   *seller_id = pl_text_arg(fcinfo, 0, "seller_id");
	char	   *currency = pl_text_arg(fcinfo, 1, "currency");
	int32		bps = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	int64		fixed = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	const char *payable;
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	check_seller_id(seller_id);
	pl_check_currency(currency);
	payable = pl_account_code("MERCHANT_PAYABLE", seller_id, currency);
	pl_open_accounts(&payable, 1);

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	if (pl_execute(&insert_seller, &args) == 1)
		pl_add_first_rule(seller_id, currency, bps, fixed);
	read_seller(seller_id, currency);
	if (pl_get_int32(0, 4) != bps || pl_get_int64(0, 5) != fixed)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("seller %s is registered in %s with other terms", seller_id, currency),
				 errdetail("commission_bps is %d, commission_fixed " INT64_FORMAT ".",
						   pl_get_int32(0, 4), pl_get_int64(0, 5)),
				 errhint("Use payledger.update_seller to change them.")));
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * update_seller(seller_id, currency, commission_bps, commission_fixed, status)
 *		Nulls keep what is there.
 */
Datum
pl_sql_update_seller(PG_FUNCTION_ARGS)
{
	char	   *seller_id = pl_text_arg(fcinfo, 0, "seller_id");
	char	   *currency = pl_text_arg(fcinfo, 1, "currency");
	char	   *status = pl_optional_text_arg(fcinfo, 4);
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	if (status != NULL && strcmp(status, "ACTIVE") != 0 &&
		strcmp(status, "SUSPENDED") != 0 && strcmp(status, "CLOSED") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("seller status \"%s\" does not exist", status),
				 errhint("It is ACTIVE, SUSPENDED or CLOSED.")));

	read_seller(seller_id, currency);
	if (!PG_ARGISNULL(2) || !PG_ARGISNULL(3))
		pl_change_rule(seller_id, currency, !PG_ARGISNULL(2), PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2),
					   !PG_ARGISNULL(3), PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3));
	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_text(&args, status);
	pl_execute(&update_status, &args);
	read_seller(seller_id, currency);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * Raise PL007 or PL008 for the seller of a line if it is not registered in the
 * currency or not active.
 */
static void
check_seller(int line, const char *seller_id, const char *currency)
{
	PlArgs		key = {0};
	PlArgs		args = {0};
	const char *others;

	pl_arg_text(&key, seller_id);
	pl_arg_text(&key, currency);
	if (pl_execute(&find_seller, &key) > 0)
	{
		if (strcmp(pl_get_text(0, 3), "ACTIVE") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_PL_NOT_ACTIVE),
					 errmsg("seller %s of lines[%d] is %s", seller_id, line, pl_get_text(0, 3)),
					 errhint("Use payledger.update_seller to activate it.")));
		return;
	}

	pl_arg_text(&args, seller_id);
	pl_execute(&seller_currencies, &args);
	others = pl_get_text(0, 1);
	ereport(ERROR,
			(errcode(ERRCODE_PL_NOT_FOUND),
			 others ? errmsg("seller %s of lines[%d] is not registered in %s", seller_id, line, currency)
			 : errmsg("seller %s of lines[%d] does not exist", seller_id, line),
			 others ? errdetail("It is registered in %s.", others) : 0,
			 errhint("Use payledger.register_seller.")));
}

/*
 * Raise PL007 unless every line's seller is registered in the currency, PL008
 * unless it is active.  Sellers of lines are distinct.
 */
void
pl_check_sellers(List *lines, const char *currency)
{
	int			n = list_length(lines);
	Datum	   *ids = palloc(sizeof(Datum) * n);
	PlArgs		args = {0};
	ListCell   *cell;

	foreach(cell, lines)
		ids[foreach_current_index(cell)] = CStringGetTextDatum(((PlLine *) lfirst(cell))->seller_id);
	pl_arg_array(&args, ids, NULL, n, TEXTOID);
	pl_arg_text(&args, currency);
	pl_execute(&count_active_sellers, &args);
	if (pl_get_int64(0, 1) == n)
		return;

	foreach(cell, lines)
		check_seller(foreach_current_index(cell), ((PlLine *) lfirst(cell))->seller_id, currency);
}
