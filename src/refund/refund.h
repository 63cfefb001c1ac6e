/*
 * src/refund/refund.h
 *		Money given back to the shopper after the capture.
 */
#ifndef PL_REFUND_H
#define PL_REFUND_H

#include "payment/payment.h"

/* refunds.c */
extern void pl_refund_init(void);
extern void pl_withdraw_refunds(PlWork *work, PlPayment *payment, PlOrder *order);

/* outcomes.c */
extern void pl_apply_refund(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

#endif							/* PL_REFUND_H */
