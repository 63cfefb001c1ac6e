/*
 * src/command/shares.c
 *		Shares of an amount that add up to it exactly: largest remainder.
 */
#include "postgres.h"

#include "command/command.h"
#include "common/int.h"

/* What the division left over for one share. */
typedef struct Remainder
{
	int			index;
	uint128		rest;
} Remainder;

/* Largest rest first; of equal ones the first. */
static int
by_rest(const void *a, const void *b)
{
	const Remainder *x = a;
	const Remainder *y = b;

	if (x->rest != y->rest)
		return x->rest > y->rest ? -1 : 1;
	return x->index - y->index;
}

/*
 * Share amount (>= 0) out in proportion to the weights (>= 0, not all zero),
 * all in minor units: each share is the exact proportion rounded down, and the
 * units that are left go to those who lost most by it, one each.  The shares
 * add up to amount, and no share is above its weight if amount is not above
 * their sum.  Raises 22003 if the weights add up beyond a bigint.
 */
void
pl_allocate(int64 amount, const int64 *weights, int n, int64 *shares)
{
	Remainder  *remainders = palloc(sizeof(Remainder) * n);
	int64		total = 0;
	int64		left = amount;

	for (int i = 0; i < n; i++)
		total = pl_add_amount(total, weights[i]);
	if (amount < 0 || total <= 0)
		elog(ERROR, "cannot share " INT64_FORMAT " out by weights of " INT64_FORMAT, amount, total);

	for (int i = 0; i < n; i++)
	{
		uint128		product = (uint128) amount * (uint128) weights[i];

		shares[i] = (int64) (product / total);
		remainders[i].index = i;
		remainders[i].rest = product % total;
		left -= shares[i];
	}
	qsort(remainders, n, sizeof(Remainder), by_rest);
	for (int i = 0; i < left; i++)
		shares[remainders[i].index]++;
	pfree(remainders);
}
