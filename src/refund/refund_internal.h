/*
 * src/refund/refund_internal.h
 *		What the files of this room share.
 */
#ifndef PL_REFUND_INTERNAL_H
#define PL_REFUND_INTERNAL_H

#include "refund/refund.h"

/* outcomes.c */
extern void pl_refund_failed(PlWork *work, PlPayment *payment, PlOrder *order, int64 refund_id, const char *code);
extern void pl_refund_event(PlWork *work, PlPayment *payment, const char *type, int64 refund_id,
							const PlOrder *order, int64 amount, const char *status, const char *code);

#endif							/* PL_REFUND_INTERNAL_H */
