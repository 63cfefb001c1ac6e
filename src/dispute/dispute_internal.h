/*
 * src/dispute/dispute_internal.h
 *		What the files of this room share.
 */
#ifndef PL_DISPUTE_INTERNAL_H
#define PL_DISPUTE_INTERNAL_H

#include "dispute/dispute.h"

/* disputes.c */

/* A dispute; its payment's lock covers it.  Amounts in minor units. */
typedef struct PlDispute
{
	int64		dispute_id;
	int64		payment_order_id;
	const char *psp_reference;
	const char *reason;			/* NULL: none given */
	int64		amount;
	int64		fee;
	bool		fee_returned;
	bool		borne_by_seller;
	const char *status;
	int			round;
	TimestampTz evidence_due_at;	/* 0: not known */
} PlDispute;

extern void pl_return_disputes(FunctionCallInfo fcinfo, int64 payment_id, List *ids);
extern void pl_dispute_event(PlWork *work, PlPayment *payment, const char *type, const PlOrder *order,
							 const PlDispute *dispute);

/* rounds.c */
extern void pl_dispute_take(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute);
extern void pl_dispute_give_back(PlWork *work, const PlPayment *payment, PlOrder *order,
								 const PlDispute *dispute, int taken_round);
extern void pl_dispute_take_fee(PlWork *work, const PlPayment *payment, const PlOrder *order,
								const PlDispute *dispute);
extern void pl_dispute_give_back_fee(PlWork *work, const PlPayment *payment, const PlOrder *order,
									 PlDispute *dispute);

/* disputes.c */

/* What opens disputes; the same for every order that it concerns. */
typedef struct PlDisputeOpening
{
	int64		amount;			/* minor units of the payment's currency, > 0 */
	const char *psp_reference;
	const char *reason;			/* NULL: none given */
	int64		fee;			/* minor units, >= 0 */
	TimestampTz evidence_due_at;	/* 0: not known */
	bool		borne_by_seller;
} PlDisputeOpening;

extern List *pl_open_payment_disputes(PlWork *work, PlPayment *payment, List *orders,
									  const PlDisputeOpening *opening);

/* decisions.c */
extern PlOrder *pl_read_dispute(int64 dispute_id, const PlPayment *payment, List *orders, PlDispute *dispute);
extern void pl_review_dispute(PlWork *work, const PlPayment *payment, PlDispute *dispute, Jsonb *evidence);
extern void pl_decide_dispute(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute,
							  const char *outcome, bool fee_returned);

#endif							/* PL_DISPUTE_INTERNAL_H */
