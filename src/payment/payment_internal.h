/*
 * src/payment/payment_internal.h
 *		What the files of this room share.
 */
#ifndef PL_PAYMENT_INTERNAL_H
#define PL_PAYMENT_INTERNAL_H

#include "payment/payment.h"

/* orders.c: payments and their orders, read under lock and stored changed */

/* What its gateway can do: the columns of payledger.gateways. */
typedef struct PlCapabilities
{
	bool		multicapture;
	bool		keeps_remainder;
} PlCapabilities;

extern void pl_read_capabilities(const PlPayment *payment, PlCapabilities *capabilities);
extern void pl_lock_payment_of(int64 payment_order_id, PlPayment *payment);
extern int64 pl_capturable(const PlOrder *order);
extern uint64 pl_return_order(int64 payment_id, int64 payment_order_id);
extern char *pl_order_data(int64 payment_order_id, const char *seller_id, const char *currency,
						   int64 amount, const char *status);
extern void pl_order_event(PlWork *work, PlPayment *payment, const char *type, const PlOrder *order,
						   int64 amount, const char *status);

/* releases.c: giving authorized money back */
extern void pl_release_order(PlWork *work, PlPayment *payment, PlOrder *order, int64 amount);
extern void pl_release_at_psp(PlWork *work, const PlPayment *payment, List *orders);

/* mirrors.c */
extern int64 pl_post_part_mirror(PlWork *work, const char *entry_type, const char *object, const char *part,
								 int64 payment_id, const char *seller_id, const char *currency, int64 most);

/* capture_requests.c */
extern void pl_send_planned_captures(PlWork *work, const PlPayment *payment, List *orders);

/* reserves.c */
extern void pl_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order,
								  int64 psp_request_id, int64 amount);
extern void pl_release_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order,
										  int64 psp_request_id);

/* totals.c */
extern const char *pl_payment_status(int64 total, int64 captured, int64 refunded, int64 voided);

#endif							/* PL_PAYMENT_INTERNAL_H */
