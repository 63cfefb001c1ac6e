/*
 * src/payment/releases.c
 *		Authorized money that is given back uncaptured: here, and at the PSP.
 */
#include "postgres.h"

#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment_internal.h"

/*
 * Give amount (minor units, 0 is nothing) of an order of a locked payment back
 * to the shopper: AUTH_RELEASE.  What is given back only grows, which tells
 * the releases of one order apart.
 */
void
pl_release_order(PlWork *work, PlPayment *payment, PlOrder *order, int64 amount)
{
	const char *reference;

	if (amount == 0)
		return;
	order->voided_amount = pl_add_amount(order->voided_amount, amount);
	payment->voided_amount = pl_add_amount(payment->voided_amount, amount);
	reference = order->voided_amount == amount ?
		psprintf("AUTH_RELEASE:" INT64_FORMAT, order->payment_order_id) :
		psprintf("AUTH_RELEASE:" INT64_FORMAT ":" INT64_FORMAT, order->payment_order_id, order->voided_amount);
	pl_post_template(work->entries, "AUTH_RELEASE", payment->payment_id, reference, 0, NULL,
					 payment->currency, amount);
}

/*
 * If nothing of the payment can be captured any more, have the PSP free what
 * it still holds of the shopper's limit, unless it does so by itself after a
 * capture.  orders are all of the payment, as they will be stored.
 */
void
pl_release_at_psp(PlWork *work, const PlPayment *payment, List *orders)
{
	PlCapabilities capabilities;
	ListCell   *cell;

	if (payment->voided_amount == 0)
		return;
	foreach(cell, orders)
	{
		const PlOrder *order = lfirst(cell);

		if (order->capture_pending_amount > 0 || pl_capturable(order) > 0)
			return;
	}
	pl_read_capabilities(payment, &capabilities);
	if (payment->captured_amount > 0 && !capabilities.keeps_remainder)
		return;
	pl_request_add(work, &(PlNewRequest) {
		.payment_id = payment->payment_id,
		.gateway = payment->gateway,
		.operation = PL_OP_CANCEL,
		.target = payment->payment_id,
		.currency = payment->currency,
		.psp_reference = payment->psp_reference
	});
}
