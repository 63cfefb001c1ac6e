/*
 * src/settlement/matching.c
 *		A report's lines matched with open items, by sets.
 *
 * One operation at the PSP may be several items (a capture that serves several
 * sellers): those of one payment, kind, object and moment are a group, which a
 * line settles as a whole.
 *
 * First nearly all lines find their group by their key, currency and amount,
 * the n-th line the n-th group: two sorted passes over lines and items and one
 * update, whatever their number.  What is left is looked at more closely, in
 * one statement: leftovers.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "settlement/matching_sql.h"
#include "utils/builtins.h"

/*
 * Each line with the group that its key, currency and amount find, and whether
 * they may be settled: not if the fee is not the agreed one or cannot be right,
 * nor a chargeback that comes with a fee, which may be an item of its own.
 *
 * Sorted as bytes: the collation of the database would take several times as
 * long, and the order means nothing.
 */
#define SETTLE_EXACT(line_key, line_condition, item_key) \
	"WITH lines AS (" \
	" SELECT l.line_no, " LINE_KIND " AS kind, " line_key " COLLATE \"C\" AS key, l.currency COLLATE \"C\" AS currency," \
	"  l.line_type, l.gross, l.fee, l.net," \
	"  row_number() OVER (PARTITION BY " line_key " COLLATE \"C\", " LINE_KIND ", l.currency COLLATE \"C\", l.gross" \
	"   ORDER BY l.line_no) AS n" \
	" FROM payledger.settlement_lines l" \
	" WHERE l.gateway = $1 AND l.report_id = $2 AND l.line_type NOT IN ('fee', 'payout') AND " line_condition ")," \
	" groups AS (" \
	" SELECT g.*, row_number() OVER (PARTITION BY g.key, g.kind, g.currency, g.amount" \
	"  ORDER BY g.occurred_at, g.object_id) AS n" \
	" FROM (SELECT i.key, i.kind, i.currency, i.payment_id, i.object_id, i.occurred_at," \
	"   sum(i.amount)::bigint AS amount, count(*) AS items" \
	"  FROM (SELECT " item_key " COLLATE \"C\" AS key, i.kind, i.currency COLLATE \"C\" AS currency, i.payment_id," \
	"    i.object_id, i.occurred_at, i.amount" \
	"   FROM payledger.settlement_items i WHERE i.gateway = $1 AND i.settlement_report_id IS NULL) i" \
	"  GROUP BY i.key, i.kind, i.currency, i.payment_id, i.object_id, i.occurred_at) g)," \
	" pairs AS MATERIALIZED (" \
	" SELECT l.line_no, l.kind, l.currency, l.gross AS amount, l.fee, l.net, 1 AS lines, g.items AS line_items," \
	"  g.payment_id, g.object_id, g.occurred_at," \
	"  g.payment_id IS NOT NULL" \
	"  AND CASE WHEN l.kind = 'CAPTURE' AND $6 THEN l.fee = " AGREED_FEE \
	"   ELSE " IS_PLAUSIBLE_FEE("g.amount") " END" \
	"  AND NOT (l.kind IN ('CHARGEBACK', 'CHARGEBACK_REVERSAL') AND l.fee <> 0) AS matches" \
	" FROM lines l LEFT JOIN groups g" \
	"  ON g.key = l.key AND g.kind = l.kind AND g.currency = l.currency AND g.amount = l.gross AND g.n = l.n)," \
	SETTLE_PAIRS \
	" SELECT * FROM (" \
	SETTLED_ROWS \
	" UNION ALL SELECT 'left', NULL, NULL, NULL, NULL, NULL, NULL, NULL, array_agg(p.line_no)" \
	"  FROM pairs p WHERE NOT p.matches) AS r ORDER BY 1, 4, 3"

static PlQuery settle_by_reference = {
	SETTLE_EXACT("l.reference", "left(l.reference, 3) = 'pl_'", ITEM_REFERENCE),
	MATCHING_ARGS, MATCHING_ARG_TYPES
};

static PlQuery settle_by_payment = {
	SETTLE_EXACT("l.psp_reference", "left(l.reference, 3) IS DISTINCT FROM 'pl_'", "i.psp_reference"),
	MATCHING_ARGS, MATCHING_ARG_TYPES
};

static PlQuery survey_lines = {
	"SELECT line_type::text, currency, count(*), count(*) FILTER (WHERE left(reference, 3) = 'pl_'), sum(net)::bigint"
	" FROM payledger.settlement_lines WHERE gateway = $1 AND report_id = $2 GROUP BY 1, 2 ORDER BY 2, 1",
	2, {TEXTOID, TEXTOID}
};

static PlQuery agreed_fee = {
	"SELECT fee_bps IS NOT NULL OR fee_fixed IS NOT NULL, coalesce(fee_bps, 0), coalesce(fee_fixed, 0)"
	" FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

/* ---- totals ---- */

/* The total of a currency, made if there is none yet. */
PlCurrencyTotal *
pl_total_of(PlMatching *matching, const char *currency)
{
	PlCurrencyTotal *total;
	ListCell   *cell;

	foreach(cell, matching->totals)
		if (strcmp(((PlCurrencyTotal *) lfirst(cell))->currency, currency) == 0)
			return lfirst(cell);
	total = palloc0(sizeof(PlCurrencyTotal));
	total->currency = pstrdup(currency);
	matching->totals = lappend(matching->totals, total);
	return total;
}

/*
 * Count the lines and their cash.  Fees of the PSP are matched as they are,
 * they have no items.  Returns how many lines are to be matched, and of those
 * how many name our reference.
 */
static void
survey(PlMatching *matching, int64 *operations, int64 *with_reference)
{
	PlArgs		args = {0};
	int			n;

	*operations = *with_reference = 0;
	pl_arg_text(&args, matching->report->gateway);
	pl_arg_text(&args, matching->report->report_id);
	n = pl_run_matching(&survey_lines, &args, true);
	for (int i = 0; i < n; i++)
	{
		char	   *line_type = pl_get_text(i, 1);
		PlCurrencyTotal *total = pl_total_of(matching, pl_get_text(i, 2));
		int64		lines = pl_get_int64(i, 3);
		int64		net = pl_get_int64(i, 5);

		matching->lines += lines;
		if (strcmp(line_type, "payout") == 0)
		{
			total->payouts += lines;
			total->payout_net = pl_add_amount(total->payout_net, net);
			continue;
		}
		total->all_net = pl_add_amount(total->all_net, net);
		if (strcmp(line_type, "fee") == 0)
		{
			total->matched += lines;
			total->net = pl_add_amount(total->net, net);
			continue;
		}
		*operations += lines;
		*with_reference += pl_get_int64(i, 4);
	}
}

/* ---- results of the matching statements ---- */

static void
read_total(PlMatching *matching, int row)
{
	PlCurrencyTotal *total = pl_total_of(matching, pl_get_text(row, 2));

	total->matched += pl_get_int64(row, 5);
	total->gross = pl_add_amount(total->gross, pl_get_int64(row, 6));
	total->net = pl_add_amount(total->net, pl_get_int64(row, 7));
}

/* The rows of one line from row on, which share its fee.  Returns their number. */
static int
read_shares(PlMatching *matching, int row, int nrows)
{
	int64		line_no = pl_get_int64(row, 4);
	PlFeeShare *shares;
	int			n = 1;

	while (row + n < nrows && strcmp(pl_get_text(row + n, 1), "shared") == 0 && pl_get_int64(row + n, 4) == line_no)
		n++;
	shares = palloc(sizeof(PlFeeShare) * n);
	for (int i = 0; i < n; i++)
	{
		shares[i].seller_id = pl_get_text(row + i, 3);
		shares[i].amount = pl_get_int64(row + i, 5);
		shares[i].pays = pl_get_bool(row + i, 8);
	}
	matching->recharges = pl_share_fee(matching->recharges, pl_get_text(row, 2), pl_get_int64(row, 6), shares, n);
	pfree(shares);
	return n;
}

/*
 * Take the result of a matching statement (SETTLED_ROWS) in.  Lines that are
 * left are appended to left.
 */
void
pl_read_matching(PlMatching *matching, ArrayBuildState **left)
{
	int			nrows = SPI_processed;

	for (int i = 0; i < nrows;)
	{
		char	   *what = pl_get_text(i, 1);

		if (strcmp(what, "shared") == 0)
		{
			i += read_shares(matching, i, nrows);
			continue;
		}
		if (strcmp(what, "matched") == 0)
			read_total(matching, i);
		else if (strcmp(what, "charged") == 0)
			matching->recharges = pl_add_recharge(matching->recharges, pl_get_text(i, 3), pl_get_text(i, 2),
												  pl_get_int64(i, 6));
		else if (!pl_isnull(i, 9))
		{
			ArrayType  *lines = DatumGetArrayTypeP(pl_get_value(i, 9));
			Datum	   *numbers;
			int			n;

			deconstruct_array(lines, INT4OID, sizeof(int32), true, TYPALIGN_INT, &numbers, NULL, &n);
			for (int l = 0; l < n; l++)
				*left = accumArrayResult(*left, numbers[l], false, INT4OID, CurrentMemoryContext);
			pfree(numbers);
		}
		i++;
	}
}

/* ---- matching ---- */

/* The arguments that the matching statements share. */
static void
arg_matching(PlArgs *args, const PlMatching *matching, const PlFeePayers *payers)
{
	PlArgs		gateway = {0};
	bool		checks_fees;
	int32		bps;
	int64		fixed;

	pl_arg_text(&gateway, matching->report->gateway);
	pl_execute_latest(&agreed_fee, &gateway);
	checks_fees = pl_get_bool(0, 1);
	bps = pl_get_int32(0, 2);
	fixed = pl_get_int64(0, 3);

	pl_arg_text(args, matching->report->gateway);
	pl_arg_text(args, matching->report->report_id);
	pl_arg_int64(args, matching->report->settlement_report_id);
	pl_arg_int64(args, bps);
	pl_arg_int64(args, fixed);
	pl_arg_bool(args, checks_fees);
	pl_arg_bool(args, payers->exist);
	pl_arg(args, payers->sellers);
	pl_arg(args, payers->rules);
}

/*
 * Match the lines of a report, whose gateway and row are locked: settles the
 * items of those that agree and writes an exception for each line that does
 * not.  Fills lines, totals and recharges.  Needs an open SPI connection within
 * a bracket of pl_history_begin().
 */
void
pl_match_report(PlMatching *matching)
{
	PlFeePayers payers;
	PlArgs		args = {0};
	ArrayBuildState *left = NULL;
	int64		operations;
	int64		with_reference;

	survey(matching, &operations, &with_reference);
	pl_find_fee_payers(&payers);
	arg_matching(&args, matching, &payers);
	if (with_reference > 0)
	{
		pl_run_matching(&settle_by_reference, &args, false);
		pl_read_matching(matching, &left);
		SPI_freetuptable(SPI_tuptable);
	}
	if (with_reference < operations)
	{
		pl_run_matching(&settle_by_payment, &args, false);
		pl_read_matching(matching, &left);
		SPI_freetuptable(SPI_tuptable);
	}
	if (left != NULL)
		pl_judge_leftovers(matching, &args, makeArrayResult(left, CurrentMemoryContext));
}
