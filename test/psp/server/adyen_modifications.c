/*-------------------------------------------------------------------------
 *
 * adyen_modifications.c
 *		Captures, cancellations, refunds and reversals as they are asked for.
 *
 * Adyen only says that it received them. Here they are executed at once,
 * unless the payment method says otherwise, and a webhook tells the outcome.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

static const char *const capture_fields[] = {
	"amount", "applicationInfo", "enhancedSchemeData", "lineItems",
	"merchantAccount", "platformChargebackLogic", "reference", "splits",
	"subMerchants", NULL
};
static const char *const refund_fields[] = {
	"amount", "applicationInfo", "capturePspReference", "enhancedSchemeData",
	"lineItems", "merchantAccount", "merchantRefundReason", "reference",
	"splits", "store", NULL
};
static const char *const cancel_fields[] = {
	"applicationInfo", "enhancedSchemeData", "merchantAccount", "reference",
	NULL
};
static const char *const standalone_fields[] = {
	"applicationInfo", "enhancedSchemeData", "merchantAccount",
	"paymentReference", "reference", NULL
};
static const char *const refund_reasons[] = {
	"FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE", "OTHER", NULL
};

/* Finds the payment of the path, or replies that there is none. */
static AdyenPayment *
payment_required(Request *req, const char *merchant)
{
	AdyenPayment *payment = adyen_payment(req->object);

	if (payment != NULL && strcmp(payment->merchant, merchant) == 0)
		return payment;
	adyen_invalid(req, "167", "Original pspReference required for this "
				  "operation");
	return NULL;
}

/* Takes note of a modification; value is what it asks for. */
static Modification *
receive(Request *req, AdyenPayment *payment, ModificationKind kind,
		const char *merchant, const char *reference, int64_t value)
{
	static const char *const names[] = {
		"capture", "cancel", "cancel", "refund", "cancel"
	};
	Modification *modification = adyen_new_modification(payment, kind);
	const char *name = names[kind];
	Execution  *execution;

	if (reference == NULL)
		reference = payment == NULL ? "" : payment->reference;
	modification->reference = xstrdup(reference);
	modification->merchant = xstrdup(merchant);
	modification->amount = value;
	if (payment == NULL)
		return modification;
	if (kind == MODIFY_REVERSAL && payment->captured > 0)
	{
		modification->refunds = true;
		name = "refund";
	}
	modification->execution = payment->history.count;
	execution = history_add(&payment->history, name, value, req->key,
							req->id);
	execution->outcome = "received";
	execution->reference = xstrdup(reference);
	snprintf(execution->object, sizeof(execution->object), "%s",
			 modification->psp);
	return modification;
}

/* Writes a member of the request once more, if it was given. */
static void
repeat_text(StrBuf *buf, const Request *req, const char *name)
{
	const char *text = json_string_value(json_object_get(req->json, name));

	if (text != NULL)
		jw_string(buf, name, text);
}

/* Replies 201: received. */
static void
reply_received(Request *req, const Modification *modification,
			   const AdyenAmount *amount)
{
	StrBuf		buf = {0};

	jw_object(&buf, NULL);
	jw_string(&buf, "merchantAccount", modification->merchant);
	if (req->object[0] != '\0')
		jw_string(&buf, "paymentPspReference", req->object);
	repeat_text(&buf, req, "paymentReference");
	repeat_text(&buf, req, "capturePspReference");
	repeat_text(&buf, req, "merchantRefundReason");
	jw_string(&buf, "pspReference", modification->psp);
	repeat_text(&buf, req, "reference");
	jw_string(&buf, "status", "received");
	if (amount != NULL)
	{
		jw_object(&buf, "amount");
		jw_string(&buf, "currency", amount->currency);
		jw_int(&buf, "value", amount->value);
		jw_end_object(&buf);
	}
	jw_end_object(&buf);
	reply_json(req, MHD_HTTP_CREATED, &buf);
}

/* Captures or refunds part of a payment. */
static void
modify_amount(Request *req, ModificationKind kind)
{
	const char *merchant;
	const char *reference;
	AdyenAmount amount;
	AdyenPayment *payment;
	Modification *modification;

	if (!field_merchant(req, &merchant) || !field_amount(req, 1, &amount) ||
		!field_text(req, "reference", LONGEST_REFERENCE, &reference) ||
		!field_splits(req, &amount))
		return;
	payment = payment_required(req, merchant);
	if (payment == NULL)
		return;
	req->executed = true;

	if (strcmp(payment->currency, amount.currency) != 0)
	{
		adyen_invalid(req, "139", "The currency differs from that of the "
					  "payment");
		return;
	}
	modification = receive(req, payment, kind, merchant, reference,
						   amount.value);
	modification_settle(modification);
	reply_received(req, modification, &amount);
}

/* POST /payments/{id}/captures */
void
adyen_capture(Request *req)
{
	if (field_names(req, "PaymentCaptureRequest", capture_fields))
		modify_amount(req, MODIFY_CAPTURE);
}

/* POST /payments/{id}/refunds */
void
adyen_refund(Request *req)
{
	const char *unused;

	if (field_names(req, "PaymentRefundRequest", refund_fields) &&
		field_choice(req, "merchantRefundReason", refund_reasons) &&
		field_text(req, "capturePspReference", 0, &unused))
		modify_amount(req, MODIFY_REFUND);
}

/* Gives a whole payment back, whatever that takes. */
static void
modify_whole(Request *req, ModificationKind kind)
{
	const char *merchant;
	const char *reference;
	AdyenPayment *payment;
	Modification *modification;
	int64_t		value;

	if (!field_names(req, "PaymentCancelRequest", cancel_fields) ||
		!field_merchant(req, &merchant) ||
		!field_text(req, "reference", LONGEST_REFERENCE, &reference))
		return;
	payment = payment_required(req, merchant);
	if (payment == NULL)
		return;
	req->executed = true;

	value = kind == MODIFY_REVERSAL && payment->captured > 0 ?
		payment->captured - payment->refunded :
		payment->amount - payment->captured;
	modification = receive(req, payment, kind, merchant, reference, value);
	modification_settle(modification);
	reply_received(req, modification, NULL);
}

/* POST /payments/{id}/cancels */
void
adyen_cancel(Request *req)
{
	modify_whole(req, MODIFY_CANCEL);
}

/* POST /payments/{id}/reversals */
void
adyen_reverse(Request *req)
{
	modify_whole(req, MODIFY_REVERSAL);
}

/* POST /cancels: by the merchant's own reference, known to Adyen or not. */
void
adyen_cancel_reference(Request *req)
{
	const char *merchant;
	const char *reference;
	const char *wanted;
	AdyenPayment *payment;
	Modification *modification;

	if (!field_names(req, "StandalonePaymentCancelRequest",
					 standalone_fields) ||
		!field_merchant(req, &merchant) ||
		!field_text(req, "reference", LONGEST_REFERENCE, &reference) ||
		!field_text(req, "paymentReference", LONGEST_REFERENCE, &wanted))
		return;
	if (wanted == NULL || wanted[0] == '\0')
	{
		adyen_invalid(req, "130", "Required field 'paymentReference' is not "
					  "provided.");
		return;
	}
	req->executed = true;

	payment = adyen_payment_by_reference(wanted);
	modification = receive(req, payment, MODIFY_TECHNICAL_CANCEL, merchant,
						   reference == NULL ? wanted : reference,
						   payment == NULL ? 0 :
						   payment->amount - payment->captured);
	modification_settle(modification);
	reply_received(req, modification, NULL);
}
