/*
 * src/seller/seller_internal.h
 *		What the files of this room share.
 */
#ifndef PL_SELLER_INTERNAL_H
#define PL_SELLER_INTERNAL_H

#include "seller/seller.h"

/* sellers.c */
extern const char *pl_seller_status(const char *seller_id, const char *currency);

/* commissions.c: what the platform keeps, by dated rules */
extern void pl_add_first_rule(const char *seller_id, const char *currency, int32 bps, int64 fixed);
extern void pl_change_rule(const char *seller_id, const char *currency, bool has_bps, int32 bps,
						   bool has_fixed, int64 fixed);

#endif							/* PL_SELLER_INTERNAL_H */
