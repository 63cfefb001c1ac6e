/*
 * src/dispute/dispute.h
 *		Disputes: opened, decided, their entries round by round; what a PSP tells
 *		of them, in any order.
 */
#ifndef PL_DISPUTE_H
#define PL_DISPUTE_H

#include "gateway/gateway.h"
#include "payment/payment.h"

extern void pl_dispute_init(void);

/* notices.c */

extern bool pl_apply_dispute_notice(PlWork *work, int64 payment_id, const PlDisputeNotice *notice);

#endif							/* PL_DISPUTE_H */
