/*
 * src/settlement/sandbox.c
 *		The report that a sandbox's PSP would send: for demos and tests.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "settlement/matching_sql.h"
#include "utils/builtins.h"

/* agreed with nobody: 2 % */
#define DEFAULT_FEE_BPS 200

static PlQuery select_gateway = {
	"SELECT adapter, fee_bps, fee_fixed FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

/* A line for each open operation of gateway $1, and the payout of each currency; fees of captures by $2 and $3. */
static PlQuery build_lines = {
	"WITH operations AS ("
	" SELECT lower(i.kind::text) AS line_type, coalesce(i.psp_reference, 'sbx_' || i.payment_id) AS psp_reference,"
	"  min(" ITEM_REFERENCE ") AS reference, i.currency, sum(i.amount)::bigint AS gross, i.occurred_at, i.object_id"
	" FROM payledger.settlement_items i WHERE i.gateway = $1 AND i.settlement_report_id IS NULL"
	" GROUP BY i.payment_id, i.kind, i.object_id, i.occurred_at, i.currency, i.psp_reference),"
	" lines AS ("
	" SELECT o.*, CASE WHEN o.line_type <> 'capture' THEN 0"
	"  ELSE o.gross / 10000 * $2 + (o.gross % 10000 * $2 + 5000) / 10000 + $3 END AS fee FROM operations o)"
	" SELECT coalesce(jsonb_agg(line ORDER BY is_payout, occurred_at, object_id, line_type), '[]') FROM ("
	"  SELECT false AS is_payout, occurred_at, object_id, line_type, jsonb_strip_nulls(jsonb_build_object("
	"   'line_type', line_type, 'psp_reference', psp_reference, 'reference', reference, 'currency', currency,"
	"   'gross', gross, 'fee', fee, 'net', gross - fee,"
	"   'occurred_at', to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))) AS line"
	"  FROM lines"
	"  UNION ALL"
	"  SELECT true, NULL, NULL, currency, jsonb_build_object("
	"   'line_type', 'payout', 'currency', currency, 'gross', -sum(gross - fee), 'fee', 0, 'net', -sum(gross - fee))"
	"  FROM lines GROUP BY currency) l",
	3, {TEXTOID, INT8OID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_sandbox_settlement);

static int64
fee_arg(FunctionCallInfo fcinfo, int argno, const char *name, int agreed_column, int64 otherwise)
{
	int64		fee;

	if (!PG_ARGISNULL(argno))
		fee = PG_GETARG_INT64(argno);
	else
		return pl_isnull(0, 2) && pl_isnull(0, 3) ? otherwise :
			pl_isnull(0, agreed_column) ? 0 : agreed_column == 2 ? pl_get_int32(0, 2) : pl_get_int64(0, 3);
	if (fee < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", name)));
	return fee;
}

/*
 * sandbox_settlement(gateway text, fee_bps bigint, fee_fixed bigint) RETURNS
 * jsonb: lines of format generic.  Null fees are the agreed ones.
 */
Datum
pl_sql_sandbox_settlement(PG_FUNCTION_ARGS)
{
	char	   *gateway = pl_text_arg(fcinfo, 0, "gateway");
	PlArgs		args = {0};
	PlArgs		fees = {0};
	int64		bps;
	int64		fixed;
	Jsonb	   *lines;
	Datum		result;

	pl_connect();
	pl_require_layout();
	pl_require_gateway(gateway);
	pl_arg_text(&args, gateway);
	pl_execute_latest(&select_gateway, &args);
	if (strcmp(pl_get_text(0, 1), "sandbox") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("gateway \"%s\" is no sandbox", gateway),
				 errdetail("Its adapter is %s.", pl_get_text(0, 1)),
				 errhint("Import the reports that its PSP sends.")));
	bps = fee_arg(fcinfo, 1, "fee_bps", 2, DEFAULT_FEE_BPS);
	fixed = fee_arg(fcinfo, 2, "fee_fixed", 3, 0);

	pl_arg_text(&fees, gateway);
	pl_arg_int64(&fees, bps);
	pl_arg_int64(&fees, fixed);
	pl_run_matching(&build_lines, &fees, true);
	lines = DatumGetJsonbP(pl_get_value(0, 1));
	/* out of the memory of the SPI connection */
	result = SPI_datumTransfer(JsonbPGetDatum(lines), false, -1);
	pl_finish();
	return result;
}
