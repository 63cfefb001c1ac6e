/*
 * src/payment/payment.h
 *		Intents, payments and payment orders; what the answers of a PSP mean for
 *		them.
 *
 * Lock order everywhere: payment intent, payment, payment orders by id, PSP
 * request.  An operation that touches several payments takes them by id.
 */
#ifndef PL_PAYMENT_H
#define PL_PAYMENT_H

#include "command/command.h"
#include "ledger/ledger.h"

/* machines.c */
extern void pl_payment_init(void);

/* authorizations.c */
extern void pl_apply_authorization(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* orders.c: payments and their orders, read under lock and stored changed */

/* A payment under lock.  Amounts in minor units of currency. */
typedef struct PlPayment
{
	int64		payment_id;
	char	   *order_id;
	char	   *gateway;
	char	   *psp_reference;
	char	   *currency;
	char	   *status;			/* as it was read; storing derives it from the totals */
	int64		total_amount;
	int64		captured_amount;
	int64		refunded_amount;
	int64		voided_amount;
	int64		event_version;	/* raised with each event */
	char	   *traceparent;
} PlPayment;

/* A payment order; its payment's lock covers it. */
typedef struct PlOrder
{
	int64		payment_order_id;
	char	   *seller_id;
	const char *status;
	int64		amount;
	int64		captured_amount;
	int64		refunded_amount;
	int64		capture_pending_amount;
	int64		voided_amount;
	int64		refund_pending_amount;
	int64		disputed_amount;
	int64		commission_amount;
	int64		commission_refunded_amount;
	int64		commission_rule_id; /* 0: none */
	int			retry_count;
	char	   *failure_code;
} PlOrder;

extern void pl_lock_payment(int64 payment_id, PlPayment *payment);
extern List *pl_read_orders(int64 payment_id);	/* of PlOrder, by id */
extern PlOrder *pl_find_order(List *orders, int64 payment_order_id);
extern PlOrder *pl_lock_order(int64 payment_order_id, PlPayment *payment);
extern int64 pl_refundable(const PlOrder *order);
extern void pl_order_amounts_changed(PlOrder *order);
extern void pl_store_payment(PlWork *work, const PlPayment *payment);
extern void pl_store_orders(PlWork *work, const PlPayment *payment, List *orders);

extern void pl_order_item(PlWork *work, const PlPayment *payment, const PlOrder *order, const char *kind,
						  int64 object_id, int64 amount);

/* mirrors.c */
extern int64 pl_post_mirror(PlWork *work, const char *entry_type, const char *object, int64 payment_id,
							const char *seller_id, const char *currency, int64 most);

/* captures.c */
extern void pl_apply_capture(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* reversals.c */
extern void pl_apply_capture_reversal(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* reserves.c */

/* What is released of a row of reserves, which is locked. */
typedef struct PlReserveRelease
{
	int64		payment_id;
	int64		psp_request_id;
	int64		payment_order_id;
	const char *seller_id;
	const char *currency;
	int64		released_before;	/* minor units */
	int64		amount;			/* now; when it was read, all that is held */
} PlReserveRelease;

extern PlReserveRelease *pl_lock_reserves(const char *seller_id, const char *currency, bool waits, int limit, int *n);
extern void pl_note_entry(PlEntry *entry, const char *note);
extern int	pl_release_due_reserves(void);
extern void pl_release_reserves(PlWork *work, const PlReserveRelease *releases, int n, const char *note);

/* cancels.c */
extern int	pl_expire_authorizations(void);
extern void pl_authorization_ended(PlWork *work, int64 payment_id, bool told);

/* authorizations.c */
extern int64 pl_payment_of_reference(const PlRequest *request, const char *psp_reference);

/* failover.c */
extern void pl_fail_over(PlWork *work, const PlRequest *request, const char *reason);

#endif							/* PL_PAYMENT_H */
