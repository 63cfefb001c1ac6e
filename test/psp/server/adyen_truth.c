/*-------------------------------------------------------------------------
 *
 * adyen_truth.c
 *		What really happened to a payment at Adyen, in the words of truth.c.
 *
 *-------------------------------------------------------------------------
 */
#include "adyen.h"

/* Writes the truth about one payment. */
void
truth_payment(StrBuf *buf, const AdyenPayment *payment)
{
	bool		open = payment->status == PAYMENT_AUTHORISED;

	jw_object(buf, NULL);
	jw_string(buf, "psp", psp_adyen.name);
	jw_string(buf, "id", payment->psp);
	jw_string(buf, "reference", payment->reference);
	jw_string(buf, "merchant_account", payment->merchant);
	jw_string(buf, "status", adyen_status_names[payment->status]);
	jw_string(buf, "currency", payment->currency);
	jw_int(buf, "amount", payment->amount);
	jw_int(buf, "amount_capturable",
		   open ? payment->amount - payment->captured : 0);
	jw_int(buf, "amount_received", payment->captured);
	jw_int(buf, "amount_refunded", payment->refunded);
	jw_int(buf, "amount_charged_back", payment->charged_back);
	jw_bool(buf, "authorized", payment->authorized);
	jw_object(buf, "metadata");
	for (size_t i = 0; i < payment->metadata.count; i++)
		jw_string(buf, payment->metadata.params[i].name,
				  payment->metadata.params[i].value);
	jw_end_object(buf);
	render_history(buf, &payment->history);
	jw_end_object(buf);
}
