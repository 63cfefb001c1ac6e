/*
 * src/seller/seller.h
 *		Sellers and their terms: what the platform keeps, by dated rules.
 */
#ifndef PL_SELLER_H
#define PL_SELLER_H

#include "command/command.h"

/* sellers.c */

extern void pl_check_sellers(List *lines, const char *currency);

/* commissions.c: what the platform keeps, by dated rules */

typedef struct PlCommission
{
	int64		rule_id;		/* 0: the seller has no rule */
	int64		amount;			/* minor units */
} PlCommission;

/* What of an order and its commission there is so far; minor units. */
typedef struct PlCommissionTaken
{
	int64		rule_id;		/* that its newest capture used; 0: none */
	int64		amount;
	int64		refunded;		/* of amount */
	int64		captured_amount;
	int64		refunded_amount;
} PlCommissionTaken;

extern void pl_commission_of_capture(const char *seller_id, const char *currency, int64 amount,
									 TimestampTz at, PlCommission *commission);
extern int64 pl_commission_of_refund(const PlCommissionTaken *taken, int64 amount);

#endif							/* PL_SELLER_H */
