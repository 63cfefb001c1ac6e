/*
 * src/settlement/posting.c
 *		The entries of a reconciled report: one for all matched lines of a
 *		currency, one for the fees that each seller is charged.
 */
#include "postgres.h"

#include "command/command.h"
#include "ledger/ledger.h"
#include "settlement/settlement_internal.h"
#include "utils/fmgrprotos.h"

static Jsonb *
settlement_metadata(const PlReport *report, int64 lines)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_text(&out, "gateway", report->gateway);
	pl_json_text(&out, "report_id", report->report_id);
	pl_json_amount(&out, "lines", lines);
	appendStringInfoChar(&out, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/*
 * Add the SETTLEMENT entries of the matched lines to the unit: cash and fees
 * against what the PSP owed.
 */
void
pl_post_settlement(PlWork *work, const PlMatching *matching)
{
	ListCell   *cell;

	foreach(cell, matching->totals)
	{
		const PlCurrencyTotal *total = lfirst(cell);
		const int64 amounts[PL_PARTS] = {
			[PL_PART_WHOLE] = total->gross,
			[PL_PART_NET] = total->net,
			[PL_PART_FEE] = pl_add_amount(total->gross, -total->net)
		};
		PlEntry    *entry = pl_post_template_parts(work->entries, "SETTLEMENT", 0,
												   psprintf("SETTLEMENT:" INT64_FORMAT ":%s",
															matching->report->settlement_report_id, total->currency),
												   0, NULL, total->currency, amounts);

		if (entry != NULL)
			entry->metadata = settlement_metadata(matching->report, total->matched);
	}
}

/*
 * Add the PSP_FEE_RECHARGE entries to the unit; cause_id is the report or
 * exception that settled the captures.
 */
void
pl_post_recharges(PlWork *work, List *recharges, int64 cause_id)
{
	ListCell   *cell;

	foreach(cell, recharges)
	{
		const PlRecharge *recharge = lfirst(cell);
		const int64 amounts[PL_PARTS] = {recharge->fee, recharge->fee, recharge->fee};

		(void) pl_post_template_parts(work->entries, "PSP_FEE_RECHARGE", 0,
									  psprintf("PSP_FEE_RECHARGE:" INT64_FORMAT ":%s:%s", cause_id,
											   recharge->currency, recharge->seller_id),
									  0, recharge->seller_id, recharge->currency, amounts);
	}
}
