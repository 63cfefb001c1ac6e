/*
 * src/settlement/recharges.c
 *		PSP fees that a commission rule charges on to the seller, once they are
 *		settled.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "settlement/settlement_internal.h"
#include "utils/array.h"
#include "utils/datum.h"

static PlQuery select_payers = {
	"SELECT array_agg(DISTINCT seller_id), array_agg(commission_rule_id) FROM payledger.commission_rules"
	" WHERE seller_pays_psp_fee"
};

/* Who pays the PSP's fee, in the current memory context. */
void
pl_find_fee_payers(PlFeePayers *payers)
{
	bool		isnull;
	Datum		sellers;

	pl_execute_latest(&select_payers, NULL);
	sellers = pl_get_datum(0, 1, &isnull);
	payers->exist = !isnull;
	if (isnull)
	{
		payers->sellers = PointerGetDatum(construct_empty_array(TEXTOID));
		payers->rules = PointerGetDatum(construct_empty_array(INT8OID));
		return;
	}
	payers->sellers = datumCopy(sellers, false, -1);
	payers->rules = datumCopy(pl_get_datum(0, 2, &isnull), false, -1);
}

/* Add a fee to what the seller is charged.  The strings must outlive the list. */
List *
pl_add_recharge(List *recharges, const char *seller_id, const char *currency, int64 fee)
{
	PlRecharge *recharge;
	ListCell   *cell;

	if (fee == 0)
		return recharges;
	foreach(cell, recharges)
	{
		recharge = lfirst(cell);
		if (strcmp(recharge->seller_id, seller_id) == 0 && strcmp(recharge->currency, currency) == 0)
		{
			recharge->fee = pl_add_amount(recharge->fee, fee);
			return recharges;
		}
	}
	recharge = palloc(sizeof(PlRecharge));
	recharge->seller_id = seller_id;
	recharge->currency = currency;
	recharge->fee = fee;
	return lappend(recharges, recharge);
}

/*
 * Share the fee of one line out over the items that it settled, by their
 * amounts, and charge those who pay with their shares.
 */
List *
pl_share_fee(List *recharges, const char *currency, int64 fee, const PlFeeShare *shares, int n)
{
	int64	   *weights = palloc(sizeof(int64) * n);
	int64	   *parts = palloc(sizeof(int64) * n);

	for (int i = 0; i < n; i++)
		weights[i] = shares[i].amount;
	/* a fee may be given back */
	pl_allocate(fee < 0 ? -fee : fee, weights, n, parts);
	for (int i = 0; i < n; i++)
		if (shares[i].pays)
			recharges = pl_add_recharge(recharges, shares[i].seller_id, currency, fee < 0 ? -parts[i] : parts[i]);
	pfree(weights);
	pfree(parts);
	return recharges;
}
