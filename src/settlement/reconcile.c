/*
 * src/settlement/reconcile.c
 *		reconcile_settlement(): a report's lines matched, its cash tied out, what
 *		agrees posted, in one transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "outbox/outbox.h"
#include "settlement/matching_sql.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

static PlQuery select_gateways = {
	"SELECT gateway FROM payledger.settlement_reports WHERE report_id = $1 ORDER BY gateway LIMIT 2", 1, {TEXTOID}
};

/*
 * Operations until $4 in the report's currencies that no report has had a line
 * for, unless an exception is open for them.  What was reversed before it was
 * settled nets out.  $1 gateway, $2 settlement_report_id, $3 currencies, $5 now.
 */
static PlQuery note_missing = {
	"INSERT INTO payledger.settlement_exceptions"
	" (settlement_exception_id, settlement_report_id, category, line_type, payment_id, object_id, occurred_at,"
	"  expected_amount, expected_currency, status, created_at)"
	" SELECT payledger.next_id(), $2, 'MISSING_AT_PSP', g.line_type, g.payment_id, g.object_id, g.occurred_at, g.amount,"
	"  g.currency, 'OPEN', $5"
	" FROM (SELECT i.payment_id, i.object_id, i.occurred_at, i.currency, sum(i.amount)::bigint AS amount,"
	"   lower(i.kind::text)::payledger.settlement_line_type AS line_type,"
	"   sum(sum(i.amount)) OVER (PARTITION BY i.payment_id, i.object_id, i.currency, replace(i.kind::text, '_REVERSAL', '')) AS rest"
	"  FROM payledger.settlement_items i"
	"  WHERE i.gateway = $1 AND i.settlement_report_id IS NULL AND i.currency = ANY ($3)"
	"  GROUP BY i.payment_id, i.kind, i.object_id, i.occurred_at, i.currency) g"
	" WHERE g.occurred_at <= $4 AND g.rest <> 0 AND NOT EXISTS ("
	"  SELECT FROM payledger.settlement_exceptions e"
	"  WHERE e.status = 'OPEN' AND e.payment_id = g.payment_id"
	"   AND replace(e.line_type::text, '_fee', '') = replace(g.line_type::text, '_fee', '')"
	"   AND (e.object_id = g.object_id AND e.occurred_at = g.occurred_at"
	"    OR e.object_id IS NULL AND e.category = 'FEE_DIFFERENCE'))"
	" ORDER BY g.occurred_at, g.payment_id, g.object_id",
	5, {TEXTOID, INT8OID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* Late, but here: what an earlier report missed and this one settled. */
static PlQuery dismiss_late = {
	"UPDATE payledger.settlement_exceptions e SET status = 'DISMISSED', note = $2, resolved_at = $3, resolved_by = $4"
	" WHERE e.status = 'OPEN' AND e.category = 'MISSING_AT_PSP' AND e.settlement_report_id <> $1 AND EXISTS ("
	"  SELECT FROM payledger.settlement_items i"
	"  WHERE i.payment_id = e.payment_id AND i.object_id = e.object_id AND i.occurred_at = e.occurred_at"
	"   AND i.kind::text = upper(e.line_type::text) AND i.settlement_report_id = $1)",
	4, {INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

static PlQuery note_cash_difference = {
	"INSERT INTO payledger.settlement_exceptions"
	" (settlement_exception_id, settlement_report_id, category, expected_amount, expected_currency, actual_amount,"
	"  actual_currency, status, created_at) VALUES ($1, $2, 'CASH_DIFFERENCE', $3, $4, $5, $4, 'OPEN', $6)",
	6, {INT8OID, INT8OID, INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery count_exceptions = {
	"SELECT category::text, count(*) FROM payledger.settlement_exceptions WHERE settlement_report_id = $1"
	" GROUP BY category ORDER BY category", 1, {INT8OID}
};

static PlQuery set_reconciled = {
	"UPDATE payledger.settlement_reports SET status = 'RECONCILED', lines = $2, matched = $3, exceptions = $4,"
	" totals = $5, reconciled_at = $6 WHERE settlement_report_id = $1",
	6, {INT8OID, INT4OID, INT4OID, INT4OID, JSONBOID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_reconcile_settlement);

pg_noreturn static void
no_such_report(const char *report_id, const char *gateway)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_NOT_FOUND),
			 gateway == NULL ? errmsg("settlement report \"%s\" does not exist", report_id)
			 : errmsg("settlement report \"%s\" of gateway \"%s\" does not exist", report_id, gateway),
			 errhint("Import it with payledger.import_settlement(), or COPY its lines into payledger.settlement_lines.")));
}

/* The gateway that has a report of that name. */
static char *
gateway_of(const char *report_id)
{
	PlArgs		args = {0};
	uint64		n;

	pl_arg_text(&args, report_id);
	n = pl_execute_latest(&select_gateways, &args);
	if (n == 0)
		no_such_report(report_id, NULL);
	if (n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("several gateways have a settlement report \"%s\"", report_id),
				 errdetail("Among them are %s and %s.", pl_get_text(0, 1), pl_get_text(1, 1)),
				 errhint("Pass the gateway.")));
	return pl_get_text(0, 1);
}

/* ---- what no line tells ---- */

static void
find_missing(const PlMatching *matching)
{
	int			n = list_length(matching->totals);
	Datum	   *currencies = palloc(sizeof(Datum) * Max(n, 1));
	PlArgs		args = {0};
	ListCell   *cell;

	if (!matching->report->has_cutoff)
		return;
	foreach(cell, matching->totals)
		currencies[foreach_current_index(cell)] =
			CStringGetTextDatum(((PlCurrencyTotal *) lfirst(cell))->currency);
	pl_arg_text(&args, matching->report->gateway);
	pl_arg_int64(&args, matching->report->settlement_report_id);
	pl_arg_array(&args, currencies, NULL, n, TEXTOID);
	pl_arg_timestamp(&args, matching->report->settled_through);
	pl_arg_timestamp(&args, matching->now);
	pl_run_matching(&note_missing, &args, true);
}

static void
dismiss_late_ones(const PlMatching *matching)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, matching->report->settlement_report_id);
	pl_arg_text(&args, psprintf("settled by report %s", matching->report->report_id));
	pl_arg_timestamp(&args, matching->now);
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pl_execute_latest(&dismiss_late, &args);
}

/* ---- cash ---- */

static void
add_cash_difference(const PlMatching *matching, const char *currency, int64 lines, int64 payout)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, pl_next_id());
	pl_arg_int64(&args, matching->report->settlement_report_id);
	pl_arg_int64(&args, lines);
	pl_arg_text(&args, currency);
	pl_arg_int64(&args, payout);
	pl_arg_timestamp(&args, matching->now);
	pl_execute_latest(&note_cash_difference, &args);
}

/*
 * The lines of a currency must add up to what the PSP says it paid out: by the
 * report's payout_amount, by lines of type payout, or both.  Without either
 * there is nothing to compare.
 */
static void
tie_out(const PlMatching *matching)
{
	const PlReport *report = matching->report;
	ListCell   *cell;

	foreach(cell, matching->totals)
	{
		const PlCurrencyTotal *total = lfirst(cell);

		if (report->has_payout && strcmp(report->currency, total->currency) == 0 &&
			report->payout_amount != total->all_net)
			add_cash_difference(matching, total->currency, total->all_net, report->payout_amount);
		else if (total->payouts > 0 && -total->payout_net != total->all_net)
			add_cash_difference(matching, total->currency, total->all_net, -total->payout_net);
	}
}

/* ---- the result ---- */

static void
begin_object(StringInfo out, const char *key)
{
	if (out->data[out->len - 1] != '{')
		appendStringInfoChar(out, ',');
	escape_json(out, key);
	appendStringInfoString(out, ":{");
}

/* Members matched and exceptions; returns the number of exceptions. */
static int64
append_totals(StringInfo out, const PlMatching *matching)
{
	PlArgs		args = {0};
	int64		exceptions = 0;
	ListCell   *cell;
	int			n;

	begin_object(out, "matched");
	foreach(cell, matching->totals)
	{
		const PlCurrencyTotal *total = lfirst(cell);

		if (total->matched == 0)
			continue;
		begin_object(out, total->currency);
		pl_json_amount(out, "lines", total->matched);
		pl_json_amount(out, "gross", total->gross);
		pl_json_amount(out, "fee", total->gross - total->net);
		pl_json_amount(out, "net", total->net);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, '}');

	begin_object(out, "exceptions");
	pl_arg_int64(&args, matching->report->settlement_report_id);
	n = pl_execute_latest(&count_exceptions, &args);
	for (int i = 0; i < n; i++)
	{
		pl_json_amount(out, pl_get_text(i, 1), pl_get_int64(i, 2));
		exceptions += pl_get_int64(i, 2);
	}
	appendStringInfoChar(out, '}');
	return exceptions;
}

static int64
matched_lines(const PlMatching *matching)
{
	int64		matched = 0;
	ListCell   *cell;

	foreach(cell, matching->totals)
	{
		const PlCurrencyTotal *total = lfirst(cell);

		matched += total->matched + total->payouts;
	}
	return matched;
}

/* Store what came out and tell of it. */
static void
conclude(PlWork *work, const PlMatching *matching)
{
	const PlReport *report = matching->report;
	StringInfoData totals;
	StringInfoData data;
	PlArgs		args = {0};
	int64		exceptions;

	initStringInfo(&totals);
	appendStringInfoChar(&totals, '{');
	exceptions = append_totals(&totals, matching);
	appendStringInfoChar(&totals, '}');

	pl_arg_int64(&args, report->settlement_report_id);
	pl_arg_int32(&args, (int32) matching->lines);
	pl_arg_int32(&args, (int32) matched_lines(matching));
	pl_arg_int32(&args, (int32) exceptions);
	pl_arg(&args, DirectFunctionCall1(jsonb_in, CStringGetDatum(totals.data)));
	pl_arg_timestamp(&args, work->now);
	pl_execute_latest(&set_reconciled, &args);

	initStringInfo(&data);
	appendStringInfoChar(&data, '{');
	pl_json_id(&data, "settlementReportId", report->settlement_report_id);
	pl_json_text(&data, "gateway", report->gateway);
	pl_json_text(&data, "reportId", report->report_id);
	pl_json_amount(&data, "lines", matching->lines);
	/* the members of totals, without their braces */
	appendStringInfo(&data, ",%.*s}", totals.len - 2, totals.data + 1);
	pl_event_add(work->events, "settlement_reconciled", report->settlement_report_id, 1, report->gateway,
				 data.data, NULL);
}

static void
reconcile(const PlReport *report)
{
	PlWork	   *work = pl_work_begin("reconcile_settlement");
	PlMatching	matching = {.report = report, .now = work->now};

	pl_match_report(&matching);
	find_missing(&matching);
	dismiss_late_ones(&matching);
	tie_out(&matching);
	pl_post_settlement(work, &matching);
	pl_post_recharges(work, matching.recharges, report->settlement_report_id);
	conclude(work, &matching);
	pl_work_end(work);
}

/*
 * reconcile_settlement(report_id text, gateway text, payout_amount bigint,
 *		settled_through timestamptz)
 *		A report that is reconciled stays as it is.  Locks the gateway and the
 *		report.
 */
Datum
pl_sql_reconcile_settlement(PG_FUNCTION_ARGS)
{
	char	   *report_id = pl_text_arg(fcinfo, 0, "report_id");
	char	   *gateway = pl_optional_text_arg(fcinfo, 1);
	PlReportHeader header;
	PlReport	report;

	pl_report_header_args(fcinfo, 2, &header);
	pl_connect();
	pl_require_layout();
	if (gateway == NULL)
		gateway = gateway_of(report_id);
	pl_lock_gateway(gateway);
	if (!pl_lock_report(gateway, report_id, &report))
		no_such_report(report_id, gateway);
	pl_state_header(&report, &header);
	if (!report.is_reconciled)
		reconcile(&report);
	pl_return_report(fcinfo, report.settlement_report_id);
	pl_finish();
	return (Datum) 0;
}
