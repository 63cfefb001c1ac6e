/*
 * src/seller/commissions.c
 *		What the platform keeps of a capture, by dated rules.
 *
 * Rules are append-only rows: a capture uses the one in force when it is
 * applied, and its COMMISSION_FEE entry names it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "seller/seller_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#define MAX_TIERS 100

#define RULE_COLUMNS \
	"commission_rule_id, commission_bps, commission_fixed, minimum, maximum, tiers, refund_policy::text," \
	" seller_pays_psp_fee"

static PlQuery find_rule = {
	"SELECT " RULE_COLUMNS " FROM payledger.commission_rules"
	" WHERE seller_id = $1 AND currency = $2 AND valid_from <= $3 ORDER BY valid_from DESC LIMIT 1",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

/* one change of a seller's terms at a time */
static PlQuery lock_seller = {
	"SELECT FROM payledger.sellers WHERE seller_id = $1 AND currency = $2 FOR NO KEY UPDATE", 2, {TEXTOID, TEXTOID}
};

static PlQuery insert_rule = {
	"INSERT INTO payledger.commission_rules"
	" (commission_rule_id, seller_id, currency, valid_from, commission_bps, commission_fixed, minimum, maximum,"
	"  tiers, refund_policy, seller_pays_psp_fee)"
	" VALUES ($1, $2, $3, coalesce($4, payledger.trusted_now()), $5, $6, $7, $8, $9, $10::payledger.commission_refund, $11)"
	" RETURNING commission_rule_id, seller_id, currency, valid_from, commission_bps, commission_fixed, minimum,"
	"  maximum, tiers, refund_policy::text, seller_pays_psp_fee",
	11, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID, INT8OID, INT8OID, INT8OID, JSONBOID, TEXTOID, BOOLOID}
};

static PlQuery policy_of_rule = {
	"SELECT refund_policy::text FROM payledger.commission_rules WHERE commission_rule_id = $1", 1, {INT8OID}
};

/* Ids tell when an order was made, so the month is a range of the index. */
static PlQuery month_volume = {
	"SELECT coalesce(sum(o.captured_amount), 0)::bigint FROM payledger.payment_orders o"
	" WHERE o.seller_id = $1 AND o.currency = $2 AND o.payment_order_id >= $3",
	3, {TEXTOID, TEXTOID, INT8OID}
};

static PlQuery month_beginning = {
	"SELECT date_trunc('month', $1 AT TIME ZONE l.time_zone) AT TIME ZONE l.time_zone"
	" FROM payledger.ledgers l WHERE l.ledger = 'MAIN'", 1, {TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_add_commission_rule);

/* ---- tiers ---- */

pg_noreturn static void
wrong_tiers(int i, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 i < 0 ? errmsg("tiers must be %s", expected) : errmsg("tiers[%d] must be %s", i, expected),
			 errhint("Pass tiers such as [{\"from_volume\": 1000000, \"bps\": 800}], ascending, volumes in minor units.")));
}

static JsonbContainer *
tier_at(Jsonb *tiers, int i)
{
	JsonbValue *element = getIthJsonbValueFromContainer(&tiers->root, i);

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		wrong_tiers(i, "an object");
	return element->val.binary.data;
}

/* A member that is a whole number from 0 to most. */
static int64
tier_number(JsonbContainer *tier, int i, const char *name, int64 most)
{
	JsonbValue *value = getKeyJsonValueFromContainer(tier, name, strlen(name), NULL);
	Datum		number;

	if (value == NULL || value->type != jbvNumeric)
		wrong_tiers(i, psprintf("an object whose %s is a number", name));
	pl_check_number(psprintf("tiers[%d].%s", i, name), value->val.numeric);
	number = NumericGetDatum(value->val.numeric);
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, number, DirectFunctionCall1(int8_numeric, Int64GetDatum(0)))) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, number, DirectFunctionCall1(int8_numeric, Int64GetDatum(most)))) ||
		!DatumGetBool(DirectFunctionCall2(numeric_eq, number,
										  DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0)))))
		wrong_tiers(i, psprintf("an object whose %s is a whole number from 0 to " INT64_FORMAT, name, most));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
}

static void
check_tiers(Jsonb *tiers)
{
	int64		last = -1;

	if (!JB_ROOT_IS_ARRAY(tiers) || JB_ROOT_IS_SCALAR(tiers) || JB_ROOT_COUNT(tiers) == 0 ||
		JB_ROOT_COUNT(tiers) > MAX_TIERS)
		wrong_tiers(-1, psprintf("an array of 1 to %d elements", MAX_TIERS));
	for (int i = 0; i < (int) JB_ROOT_COUNT(tiers); i++)
	{
		int64		from = tier_number(tier_at(tiers, i), i, "from_volume", PG_INT64_MAX);

		(void) tier_number(tier_at(tiers, i), i, "bps", 10000);
		if (from <= last)
			wrong_tiers(i, "above the tier before");
		last = from;
	}
}

/* The share, in hundredths of a per cent, at that volume of the month. */
static int32
bps_at(Jsonb *tiers, int64 volume, int32 bps)
{
	for (int i = 0; i < (int) JB_ROOT_COUNT(tiers); i++)
		if (tier_number(tier_at(tiers, i), i, "from_volume", PG_INT64_MAX) <= volume)
			bps = (int32) tier_number(tier_at(tiers, i), i, "bps", 10000);
	return bps;
}

/* What was captured of the seller's orders that were made in the month of at. */
static int64
volume_of_month(const char *seller_id, const char *currency, TimestampTz at)
{
	PlArgs		month = {0};
	PlArgs		args = {0};
	bool		isnull;
	TimestampTz beginning;

	pl_arg_timestamp(&month, at);
	pl_execute(&month_beginning, &month);
	beginning = DatumGetTimestampTz(pl_get_datum(0, 1, &isnull));
	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_int64(&args, pl_first_id_after(beginning - 1));
	pl_execute(&month_volume, &args);
	return pl_get_int64(0, 1);
}

/* ---- using a rule ---- */

/*
 * What the platform keeps of a capture of amount (minor units) for the seller,
 * by the rule in force at that time; nothing if there is none.  Needs an open
 * SPI connection.
 */
void
pl_commission_of_capture(const char *seller_id, const char *currency, int64 amount,
						 TimestampTz at, PlCommission *commission)
{
	PlArgs		args = {0};
	int32		bps;
	int64		fixed;
	int64		minimum;
	int64		maximum;
	bool		no_tiers;
	Datum		tiers;

	memset(commission, 0, sizeof(PlCommission));
	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_timestamp(&args, at);
	if (pl_execute(&find_rule, &args) == 0)
		return;

	commission->rule_id = pl_get_int64(0, 1);
	bps = pl_get_int32(0, 2);
	fixed = pl_get_int64(0, 3);
	minimum = pl_get_int64(0, 4);
	maximum = pl_isnull(0, 5) ? PG_INT64_MAX : pl_get_int64(0, 5);
	tiers = pl_get_datum(0, 6, &no_tiers);
	if (!no_tiers)
	{
		Jsonb	   *table = DatumGetJsonbPCopy(tiers);

		bps = bps_at(table, volume_of_month(seller_id, currency, at), bps);
	}
	commission->amount = Min(amount, Min(maximum, Max(minimum, pl_commission(amount, bps, fixed))));
}

/*
 * What a refund of amount gives back of the commission of a captured order
 * whose refunded_amount does not count it yet, by the policy of the rule that
 * its newest capture used; minor units.  Shares are taken of the whole
 * refunded so far, so that they add up to the commission in the end.
 */
int64
pl_commission_of_refund(const PlCommissionTaken *taken, int64 amount)
{
	int64		left = taken->amount - taken->refunded;
	PlArgs		args = {0};
	const char *policy;
	int128		due;

	if (left == 0 || taken->rule_id == 0)
		return 0;
	pl_arg_int64(&args, taken->rule_id);
	if (pl_execute(&policy_of_rule, &args) == 0)
		elog(ERROR, "commission rule " INT64_FORMAT " does not exist", taken->rule_id);
	policy = pl_get_text(0, 1);
	if (strcmp(policy, "none") == 0)
		return 0;
	if (strcmp(policy, "all") == 0)
		return left;
	due = (int128) taken->amount * (taken->refunded_amount + amount) / taken->captured_amount;
	return Max(0, Min(left, (int64) due - taken->refunded));
}

/* ---- adding rules ---- */

static void
check_rule(int32 bps, int64 fixed, int64 minimum, bool has_maximum, int64 maximum, const char *refund_policy)
{
	if (bps < 0 || bps > 10000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("commission_bps %d is not between 0 and 10000", bps),
				 errhint("It is in hundredths of a per cent: 1000 is 10 %%.")));
	if (fixed < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("commission_fixed " INT64_FORMAT " is negative", fixed)));
	if (minimum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("minimum " INT64_FORMAT " is negative", minimum)));
	if (has_maximum && maximum < minimum)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("maximum " INT64_FORMAT " is below minimum " INT64_FORMAT, maximum, minimum)));
	if (strcmp(refund_policy, "none") != 0 && strcmp(refund_policy, "pro_rata") != 0 &&
		strcmp(refund_policy, "all") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("refund_policy \"%s\" does not exist", refund_policy),
				 errhint("It is none, pro_rata or all.")));
}

/*
 * The terms that a seller is registered with: a rule that has no beginning.
 * Raises 22023.
 */
void
pl_add_first_rule(const char *seller_id, const char *currency, int32 bps, int64 fixed)
{
	PlArgs		args = {0};

	check_rule(bps, fixed, 0, false, 0, "pro_rata");
	pl_arg_int64(&args, pl_next_id());
	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_timestamp(&args, DT_NOBEGIN);
	pl_arg_int32(&args, bps);
	pl_arg_int64(&args, fixed);
	pl_arg_int64(&args, 0);
	pl_arg_null(&args);
	pl_arg_null(&args);
	pl_arg_text(&args, "pro_rata");
	pl_arg_bool(&args, false);
	pl_execute(&insert_rule, &args);
}

/* Wait for who else changes the seller's terms. */
static void
lock_terms(const char *seller_id, const char *currency)
{
	PlArgs		args = {0};

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_execute(&lock_seller, &args);
}

/*
 * Add a rule from this moment on that differs from the one in force in its
 * percentage and fixed part only; what is not given stays.  Locks the seller.
 * Raises 22023.
 */
void
pl_change_rule(const char *seller_id, const char *currency, bool has_bps, int32 bps,
			   bool has_fixed, int64 fixed)
{
	PlArgs		key = {0};
	PlArgs		args = {0};
	bool		isnull;
	Datum		tiers;

	lock_terms(seller_id, currency);
	pl_arg_text(&key, seller_id);
	pl_arg_text(&key, currency);
	pl_arg_timestamp(&key, pl_now());
	if (pl_execute_latest(&find_rule, &key) == 0)
		elog(ERROR, "seller %s has no commission rule in %s", seller_id, currency);
	if (!has_bps)
		bps = pl_get_int32(0, 2);
	if (!has_fixed)
		fixed = pl_get_int64(0, 3);
	check_rule(bps, fixed, pl_get_int64(0, 4), false, 0, pl_get_text(0, 7));

	pl_arg_int64(&args, pl_next_id());
	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_null(&args);
	pl_arg_int32(&args, bps);
	pl_arg_int64(&args, fixed);
	pl_arg_int64(&args, pl_get_int64(0, 4));
	if (pl_isnull(0, 5))
		pl_arg_null(&args);
	else
		pl_arg_int64(&args, pl_get_int64(0, 5));
	tiers = pl_get_datum(0, 6, &isnull);
	if (isnull)
		pl_arg_null(&args);
	else
		pl_arg(&args, tiers);
	pl_arg_text(&args, pl_get_text(0, 7));
	pl_arg_bool(&args, pl_get_bool(0, 8));
	pl_execute(&insert_rule, &args);
}

/* A rule for the past would contradict what is posted. */
static void
check_valid_from(FunctionCallInfo fcinfo, int argno)
{
	if (!PG_ARGISNULL(argno) && PG_GETARG_TIMESTAMPTZ(argno) < pl_transaction_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("valid_from %s is in the past", timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(argno))),
				 errhint("What was captured was posted by the rules of its time; post an adjustment instead.")));
}

/*
 * add_commission_rule(seller_id, currency, commission_bps, commission_fixed,
 * minimum, maximum, tiers, refund_policy, seller_pays_psp_fee, valid_from)
 */
Datum
pl_sql_add_commission_rule(PG_FUNCTION_ARGS)
{
	char	   *seller_id = pl_text_arg(fcinfo, 0, "seller_id");
	char	   *currency = pl_text_arg(fcinfo, 1, "currency");
	int32		bps = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	int64		fixed = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	int64		minimum = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4);
	char	   *refund_policy = pl_text_arg(fcinfo, 7, "refund_policy");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	check_rule(bps, fixed, minimum, !PG_ARGISNULL(5), PG_ARGISNULL(5) ? 0 : PG_GETARG_INT64(5), refund_policy);
	if (!PG_ARGISNULL(6))
		check_tiers(PG_GETARG_JSONB_P(6));
	check_valid_from(fcinfo, 9);
	(void) pl_seller_status(seller_id, currency);
	lock_terms(seller_id, currency);

	pl_arg_int64(&args, pl_next_id());
	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	if (PG_ARGISNULL(9))
		pl_arg_null(&args);
	else
		pl_arg_timestamp(&args, PG_GETARG_TIMESTAMPTZ(9));
	pl_arg_int32(&args, bps);
	pl_arg_int64(&args, fixed);
	pl_arg_int64(&args, minimum);
	if (PG_ARGISNULL(5))
		pl_arg_null(&args);
	else
		pl_arg_int64(&args, PG_GETARG_INT64(5));
	if (PG_ARGISNULL(6))
		pl_arg_null(&args);
	else
		pl_arg(&args, PG_GETARG_DATUM(6));
	pl_arg_text(&args, refund_policy);
	pl_arg_bool(&args, !PG_ARGISNULL(8) && PG_GETARG_BOOL(8));
	pl_execute(&insert_rule, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
