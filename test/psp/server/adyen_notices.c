/*-------------------------------------------------------------------------
 *
 * adyen_notices.c
 *		Adyen's webhooks: one notification item each.
 *
 * The signature is a member of the item. Its place is filled when a test
 * fetches the webhook, because the test says with which key.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

#define NO_SIGNATURE "............................................"
#define PAYMENT_METHOD "visa"
#define DISPUTE_DAYS 14

/* Writes a time as Adyen does. */
static void
format_time(char *text, size_t size, time_t when)
{
	struct tm	tm;

	gmtime_r(&when, &tm);
	strftime(text, size, "%Y-%m-%dT%H:%M:%S+00:00", &tm);
}

/* Writes additionalData with room for the signature; returns its place. */
static size_t
put_additional_data(StrBuf *buf, const Form *more)
{
	size_t		at;

	jw_object(buf, "additionalData");
	jw_string(buf, "hmacSignature", NO_SIGNATURE);
	at = buf->len - 1 - ADYEN_SIGNATURE_SIZE;
	for (size_t i = 0; more != NULL && i < more->count; i++)
		jw_string(buf, more->params[i].name, more->params[i].value);
	jw_end_object(buf);
	return at;
}

/* Writes what can be done next: words parted by commas. */
static void
put_operations(StrBuf *buf, const char *operations)
{
	char		words[64];
	char	   *next = words;
	char	   *word;

	snprintf(words, sizeof(words), "%s", operations);
	jw_array(buf, "operations");
	while ((word = strsep(&next, ",")) != NULL)
		jw_string(buf, NULL, word);
	jw_end_array(buf);
}

/* Writes the members of an item that come after additionalData. */
static void
put_item(StrBuf *buf, const Notice *notice)
{
	char		now[40];

	format_time(now, sizeof(now), time(NULL));
	jw_object(buf, "amount");
	jw_string(buf, "currency", notice->currency);
	jw_int(buf, "value", notice->value);
	jw_end_object(buf);
	jw_string(buf, "eventCode", notice->code);
	jw_string(buf, "eventDate", now);
	jw_string(buf, "merchantAccountCode", notice->merchant);
	jw_string(buf, "merchantReference", notice->reference);
	if (notice->operations != NULL)
		put_operations(buf, notice->operations);
	if (notice->original != NULL)
		jw_string(buf, "originalReference", notice->original);
	if (strcmp(notice->code, "REPORT_AVAILABLE") != 0)
		jw_string(buf, "paymentMethod", PAYMENT_METHOD);
	jw_string(buf, "pspReference", notice->psp);
	jw_string(buf, "reason", notice->reason == NULL ? "" : notice->reason);
	jw_string(buf, "success", notice->success ? "true" : "false");
}

/* What is signed: eight fields, parted by colons. */
static char *
signed_text(const Notice *notice)
{
	StrBuf		text = {0};

	buf_printf(&text, "%s:%s:%s:%s:%lld:%s:%s:%s", notice->psp,
			   notice->original == NULL ? "" : notice->original,
			   notice->merchant, notice->reference,
			   (long long) notice->value, notice->currency, notice->code,
			   notice->success ? "true" : "false");
	return text.data;
}

/* Sends a notification; payment is the reference of the payment, or NULL. */
void
notice_send(const Notice *notice, const char *payment)
{
	char		id[64];
	Webhook    *webhook;
	size_t		signature_at;
	StrBuf		buf = {0};

	if (!webhooks_wanted())
		return;
	jw_object(&buf, NULL);
	jw_string(&buf, "live", "false");
	jw_array(&buf, "notificationItems");
	jw_object(&buf, NULL);
	jw_object(&buf, "NotificationRequestItem");
	signature_at = put_additional_data(&buf, notice->more);
	put_item(&buf, notice);
	jw_end_object(&buf);
	jw_end_object(&buf);
	jw_end_array(&buf);
	jw_end_object(&buf);
	snprintf(id, sizeof(id), "%s:%s:%s", notice->code, notice->psp,
			 notice->success ? "true" : "false");
	webhook = webhook_add(&psp_adyen, notice->code, id, payment, &buf);
	webhook->signature_at = signature_at;
	webhook->signed_text = signed_text(notice);
}

/* Fills in what every notification about a payment has. */
static Notice
about_payment(const AdyenPayment *payment, const char *code)
{
	return (Notice) {
		.code = code,
		.psp = payment->psp,
		.reference = payment->reference,
		.merchant = payment->merchant,
		.currency = payment->currency,
		.value = payment->amount,
		.success = true,
	};
}

/* AUTHORISATION */
void
notice_authorisation(const AdyenPayment *payment, bool success,
					 const char *reason)
{
	Notice		notice = about_payment(payment, "AUTHORISATION");

	notice.success = success;
	notice.reason = success ? "033899:1111:03/2030" : reason;
	notice.operations = success ? "CANCEL,CAPTURE,REFUND" : NULL;
	notice_send(&notice, payment->reference);
}

/* What came of a modification. */
void
notice_modification(const Modification *modification, const char *code,
					bool success, const char *reason)
{
	const AdyenPayment *payment = modification->payment;
	Form		more = {0};
	Notice		notice = {
		.code = code,
		.psp = modification->psp,
		.original = payment == NULL ? NULL : payment->psp,
		.reference = modification->reference,
		.merchant = modification->merchant,
		.currency = payment == NULL ? "EUR" : payment->currency,
		.value = modification->amount,
		.success = success,
		.reason = reason,
	};

	if (modification->kind == MODIFY_REVERSAL)
		form_add(&more, "modification.action", modification->refunds ?
				 "refund" : "cancel");
	notice.more = &more;
	notice_send(&notice, payment == NULL ? modification->reference :
				payment->reference);
	form_free(&more);
}

/* How far a dispute is; code is the reason of the card scheme. */
void
notice_dispute(const AdyenPayment *payment, const char *code, int64_t amount,
			   const char *reason, const char *status)
{
	Notice		notice = about_payment(payment, code);
	Form		more = {0};
	char		due[40];

	format_time(due, sizeof(due), time(NULL) + DISPUTE_DAYS * 24 * 3600);
	form_add(&more, "chargebackReasonCode", "10.4");
	form_add(&more, "chargebackSchemeCode", "visa");
	form_add(&more, "defendable", "true");
	form_add(&more, "defensePeriodEndsAt", due);
	form_add(&more, "disputeStatus", status);
	notice.psp = payment->dispute;
	notice.original = payment->psp;
	notice.value = amount;
	notice.reason = reason;
	notice.more = &more;
	notice_send(&notice, payment->reference);
	form_free(&more);
}
