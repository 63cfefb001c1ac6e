/*
 * src/payout/payout_internal.h
 *		What the files of this room share.
 */
#ifndef PL_PAYOUT_INTERNAL_H
#define PL_PAYOUT_INTERNAL_H

#include "payout/payout.h"

/* seller_balances.c: what sellers may be paid, under lock */

/* A seller's balances; minor units of currency. */
typedef struct PlSellerFunds
{
	const char *seller_id;		/* given */
	const char *currency;		/* given */
	const PlAccount *payable;
	const char *account_status; /* of it; NULL: locked by somebody else */
	int64		balance;		/* of it; negative: the seller owes the platform */
	int64		pending;		/* captured, not settled */
	int64		held;
	int64		available;		/* may be below zero */
} PlSellerFunds;

extern void pl_lock_sellers(PlSellerFunds *funds, int n, bool waits);
extern void pl_lock_seller_funds(PlSellerFunds *funds, int n, bool waits);

/* payouts.c */

/* How a seller is paid out; from the row of a query with PL_ROUTE_COLUMNS. */
typedef struct PlPayoutRoute
{
	const char *seller_id;
	const char *currency;
	const char *seller_status;	/* NULL: not registered in the currency */
	const char *beneficiary;	/* NULL: none */
	const char *wanted_gateway; /* of the terms; NULL: the default one */
	const char *gateway;		/* NULL: does not exist */
	bool		pays_out;		/* that gateway */
} PlPayoutRoute;

/* key and t are the aliases of what names the seller, and of its payout_terms */
#define PL_ROUTE_COLUMNS(key) \
	key ".seller_id, " key ".currency, s.status::text, t.beneficiary, t.gateway, g.gateway, coalesce(g.pays_out, false)"

#define PL_ROUTE_JOINS(key) \
	" LEFT JOIN payledger.sellers s ON s.seller_id = " key ".seller_id AND s.currency = " key ".currency" \
	" LEFT JOIN payledger.gateways g ON CASE WHEN t.gateway IS NULL THEN g.is_default ELSE g.gateway = t.gateway END"

/* A payout to be made. */
typedef struct PlNewPayout
{
	int64		payout_id;		/* set by pl_make_payouts() */
	const PlPayoutRoute *route;
	int64		amount;			/* minor units */
	TimestampTz scheduled_for;	/* 0: on request */
} PlNewPayout;

extern void pl_read_route(int row, PlPayoutRoute *route);
extern ErrorData *pl_payout_obstacle(const PlPayoutRoute *route);
extern ErrorData *pl_account_obstacle(const PlSellerFunds *funds);
extern void pl_make_payouts(PlWork *work, PlNewPayout *payouts, int n);
extern void pl_select_payouts(const PlNewPayout *payouts, int n);

#endif							/* PL_PAYOUT_INTERNAL_H */
