/*
 * src/routing/routing.c
 *		Which gateway a payment goes to, by rules.
 *
 * Rules are append-only rows that are retired one day: an intent names the one
 * that chose its gateway.  A rule that names a gateway that is gone is passed
 * over.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "routing/routing.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define MAX_FAILOVERS 10

#define RULE_COLUMNS \
	"routing_rule_id, priority, currency, seller_id, minimum_amount, maximum_amount, gateway, failover_gateways," \
	" created_at, retired_at"

/* The rule that holds, or else the default gateway. */
static PlQuery choose = {
	"SELECT c.gateway, c.routing_rule_id, c.failover_gateways FROM ("
	" (SELECT r.gateway, r.routing_rule_id, r.failover_gateways, false AS is_default"
	"   FROM payledger.routing_rules r JOIN payledger.gateways g ON g.gateway = r.gateway"
	"   WHERE r.retired_at IS NULL AND coalesce(r.currency = $1, true) AND coalesce(r.seller_id = $2, r.seller_id IS NULL)"
	"    AND coalesce(r.minimum_amount <= $3, true) AND coalesce(r.maximum_amount >= $3, true)"
	"   ORDER BY r.priority, r.routing_rule_id LIMIT 1)"
	" UNION ALL"
	" SELECT gateway, NULL, '{}', true FROM payledger.gateways WHERE is_default) c ORDER BY c.is_default LIMIT 1",
	3, {TEXTOID, TEXTOID, INT8OID}
};

static PlQuery find_gateway = {
	"SELECT gateway FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

static PlQuery find_seller = {
	"SELECT FROM payledger.sellers WHERE seller_id = $1 AND currency = coalesce($2, currency) LIMIT 1", 2, {TEXTOID, TEXTOID}
};

static PlQuery insert_rule = {
	"INSERT INTO payledger.routing_rules"
	" (routing_rule_id, gateway, currency, seller_id, minimum_amount, maximum_amount, failover_gateways, priority, created_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING " RULE_COLUMNS,
	9, {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, TEXTARRAYOID, INT4OID, TIMESTAMPTZOID}
};

static PlQuery retire_rule = {
	"UPDATE payledger.routing_rules SET retired_at = coalesce(retired_at, $2) WHERE routing_rule_id = $1"
	" RETURNING " RULE_COLUMNS, 2, {INT8OID, TIMESTAMPTZOID}
};

/* In the order of the rule's failover gateways, those that the caller knows a payment method for. */
static PlQuery find_alternatives = {
	"SELECT jsonb_agg(jsonb_build_object('gateway', f.gateway, 'payment_method', $2 ->> f.gateway) ORDER BY f.place)::text"
	" FROM payledger.routing_rules r, LATERAL unnest(r.failover_gateways) WITH ORDINALITY AS f(gateway, place),"
	"  payledger.gateways g"
	" WHERE r.routing_rule_id = $1 AND g.gateway = f.gateway AND $2 ? f.gateway AND f.gateway <> $3",
	3, {INT8OID, JSONBOID, TEXTOID}
};

PG_FUNCTION_INFO_V1(pl_sql_add_routing_rule);
PG_FUNCTION_INFO_V1(pl_sql_retire_routing_rule);
PG_FUNCTION_INFO_V1(pl_sql_route_payment);

/* ---- choosing ---- */

/* The seller whom all lines belong to, or NULL. */
static const char *
only_seller(List *lines)
{
	const char *seller_id = ((PlLine *) linitial(lines))->seller_id;
	ListCell   *cell;

	foreach(cell, lines)
		if (strcmp(((PlLine *) lfirst(cell))->seller_id, seller_id) != 0)
			return NULL;
	return seller_id;
}

/* The row of choose for the lines; PL007 if no rule holds and there is no default. */
static void
choose_gateway(const char *currency, List *lines)
{
	PlArgs		args = {0};

	pl_arg_text(&args, currency);
	pl_arg_text(&args, only_seller(lines));
	pl_arg_int64(&args, pl_lines_total(lines));
	if (pl_execute(&choose, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("there is no default gateway"),
				 errhint("Use payledger.add_gateway.")));
}

/* The gateway exists; PL007 otherwise. */
static void
require_gateway(const char *gateway)
{
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	if (pl_execute(&find_gateway, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("gateway %s does not exist", gateway),
				 errhint("Use payledger.add_gateway.")));
}

/*
 * The gateway of a payment with these lines: the one that the caller names, or
 * that the rules choose.  *routing_rule_id becomes the rule, 0 if none chose.
 * Raises PL007.  Needs an open SPI connection.
 */
char *
pl_route_payment(const char *gateway, const char *currency, List *lines, int64 *routing_rule_id)
{
	*routing_rule_id = 0;
	if (gateway != NULL)
	{
		require_gateway(gateway);
		return pstrdup(gateway);
	}
	choose_gateway(currency, lines);
	if (!pl_isnull(0, 2))
		*routing_rule_id = pl_get_int64(0, 2);
	return pl_get_text(0, 1);
}

/*
 * route_payment(currency, lines)
 *		RETURNS TABLE (gateway, routing_rule_id, failover_gateways)
 */
Datum
pl_sql_route_payment(PG_FUNCTION_ARGS)
{
	char	   *currency = pl_text_arg(fcinfo, 0, "currency");
	List	   *lines;

	pl_connect();
	pl_require_layout();
	pl_check_currency(currency);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("lines must not be null")));
	lines = pl_parse_lines(PG_GETARG_JSONB_P(1));
	choose_gateway(currency, lines);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/* ---- alternatives ---- */

/* Every member of the object is a payment method of a gateway that exists. */
static void
check_alternatives(Jsonb *alternatives)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(alternatives) || JB_ROOT_COUNT(alternatives) > MAX_FAILOVERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("alternatives must be a JSON object with at most %d members", MAX_FAILOVERS),
				 errhint("Pass payment methods by gateway, such as {\"adyen\": \"8416038790273850\"}.")));
	it = JsonbIteratorInit(&alternatives->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *gateway;
		char	   *method;

		if (token != WJB_KEY)
			continue;
		gateway = pnstrdup(value.val.string.val, value.val.string.len);
		pl_check_text("a gateway of alternatives", gateway, NAMEDATALEN);
		require_gateway(gateway);
		(void) JsonbIteratorNext(&it, &value, true);
		if (value.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("alternatives must give a payment method for gateway %s as a string", gateway)));
		method = pnstrdup(value.val.string.val, value.val.string.len);
		pl_check_text(psprintf("payment method for gateway %s", gateway), method, 255);
		(void) pl_check_payment_method(psprintf("payment method for gateway %s", gateway), method);
	}
}

/*
 * What an authorization at the gateway may fall back on: a JSON array of
 * {"gateway", "payment_method"}, the next one first; NULL: nothing.  The caller
 * gave payment methods by gateway; the rule that chose (0: none did) says which
 * of them may take over, in which order.  Raises 22023, PL007, PL011.
 */
char *
pl_failover_alternatives(Jsonb *alternatives, int64 routing_rule_id, const char *gateway)
{
	PlArgs		args = {0};

	check_alternatives(alternatives);
	if (routing_rule_id == 0)
		return NULL;
	pl_arg_int64(&args, routing_rule_id);
	pl_arg(&args, JsonbPGetDatum(alternatives));
	pl_arg_text(&args, gateway);
	pl_execute(&find_alternatives, &args);
	return pl_get_text(0, 1);
}

/* ---- rules ---- */

static void
check_amounts(FunctionCallInfo fcinfo, const char *currency)
{
	bool		bounded = !PG_ARGISNULL(3) || !PG_ARGISNULL(4);

	if (bounded && currency == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("minimum_amount and maximum_amount need a currency"),
				 errdetail("They are in its minor units.")));
	if (!PG_ARGISNULL(3) && PG_GETARG_INT64(3) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("minimum_amount " INT64_FORMAT " is not greater than zero", PG_GETARG_INT64(3))));
	if (!PG_ARGISNULL(4) && PG_GETARG_INT64(4) < (PG_ARGISNULL(3) ? 1 : PG_GETARG_INT64(3)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 PG_ARGISNULL(3) ? errmsg("maximum_amount " INT64_FORMAT " is not greater than zero", PG_GETARG_INT64(4))
				 : errmsg("maximum_amount " INT64_FORMAT " is below minimum_amount " INT64_FORMAT,
						  PG_GETARG_INT64(4), PG_GETARG_INT64(3))));
}

static void
check_failovers(ArrayType *failovers, const char *gateway)
{
	Datum	   *names;
	bool	   *nulls;
	int			n;

	deconstruct_array(failovers, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	if (ARR_NDIM(failovers) > 1 || n > MAX_FAILOVERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("failover_gateways must be a list of at most %d gateways", MAX_FAILOVERS)));
	for (int i = 0; i < n; i++)
	{
		char	   *name;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("failover_gateways must not hold null")));
		name = TextDatumGetCString(names[i]);
		require_gateway(name);
		for (int j = -1; j < i; j++)
			if (strcmp(name, j < 0 ? gateway : TextDatumGetCString(names[j])) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("failover_gateways names gateway %s, which has been asked by then", name)));
	}
}

static void
check_seller(const char *seller_id, const char *currency)
{
	PlArgs		args = {0};

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	if (pl_execute(&find_seller, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 currency ? errmsg("seller %s is not registered in %s", seller_id, currency)
				 : errmsg("seller %s is not registered", seller_id),
				 errhint("Use payledger.register_seller.")));
}

/*
 * add_routing_rule(gateway, currency, seller_id, minimum_amount,
 *		maximum_amount, failover_gateways, priority)
 */
Datum
pl_sql_add_routing_rule(PG_FUNCTION_ARGS)
{
	char	   *gateway = pl_text_arg(fcinfo, 0, "gateway");
	char	   *currency = pl_optional_text_arg(fcinfo, 1);
	char	   *seller_id = pl_optional_text_arg(fcinfo, 2);
	PlArgs		args = {0};

	if (PG_ARGISNULL(5) || PG_ARGISNULL(6))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(5) ? "failover_gateways" : "priority")));
	pl_connect();
	pl_require_layout();
	require_gateway(gateway);
	if (currency != NULL)
		pl_check_currency(currency);
	if (seller_id != NULL)
		check_seller(seller_id, currency);
	check_amounts(fcinfo, currency);
	check_failovers(PG_GETARG_ARRAYTYPE_P(5), gateway);

	pl_arg_int64(&args, pl_next_id());
	pl_arg_text(&args, gateway);
	pl_arg_text(&args, currency);
	pl_arg_text(&args, seller_id);
	for (int i = 3; i <= 4; i++)
	{
		if (PG_ARGISNULL(i))
			pl_arg_null(&args);
		else
			pl_arg_int64(&args, PG_GETARG_INT64(i));
	}
	pl_arg(&args, PG_GETARG_DATUM(5));
	pl_arg_int32(&args, PG_GETARG_INT32(6));
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_execute(&insert_rule, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * retire_routing_rule(routing_rule_id)
 */
Datum
pl_sql_retire_routing_rule(PG_FUNCTION_ARGS)
{
	int64		routing_rule_id = pl_int64_arg(fcinfo, 0, "routing_rule_id");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_arg_int64(&args, routing_rule_id);
	pl_arg_timestamp(&args, pl_transaction_now());
	if (pl_execute(&retire_rule, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("routing_rule " INT64_FORMAT " does not exist", routing_rule_id)));
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
