/*-------------------------------------------------------------------------
 *
 * adyen_control.c
 *		What the shopper, the banks and Adyen itself do, as tests want it.
 *
 * {id} in the path is a pspReference, or the merchant's reference of a
 * payment: a payment that waits for the shopper has told nobody its own.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

/* Finds the payment of the path, or replies 404. */
static AdyenPayment *
find_payment(Request *req)
{
	AdyenPayment *payment = adyen_payment(req->object);

	if (payment == NULL)
		payment = adyen_payment_by_reference(req->object);
	if (payment == NULL)
		control_error(req, MHD_HTTP_NOT_FOUND, "no such payment");
	return payment;
}

/* Replies with the truth about a payment. */
static void
reply_truth(Request *req, const AdyenPayment *payment)
{
	StrBuf		buf = {0};

	truth_payment(&buf, payment);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* Replies why a control cannot be, or with the truth about the payment. */
static void
reply_control(Request *req, const AdyenPayment *payment, const char *wrong)
{
	if (wrong != NULL)
		control_error(req, MHD_HTTP_CONFLICT, "%s", wrong);
	else if (payment != NULL)
		reply_truth(req, payment);
	else
		control_ok(req);
}

/* Reads {"outcome": "succeed"|"fail", "reason": ...}; false after a reply. */
static bool
read_outcome(Request *req, json_t **root, bool *succeed, const char **reason)
{
	const char *outcome = "";

	*root = control_body(req);
	if (*root == NULL)
		return false;
	json_unpack(*root, "{s?s, s?s}", "outcome", &outcome, "reason", reason);
	*succeed = strcmp(outcome, "succeed") == 0;
	if (*succeed || strcmp(outcome, "fail") == 0)
		return true;
	json_decref(*root);
	control_error(req, MHD_HTTP_BAD_REQUEST,
				  "the outcome must be \"succeed\" or \"fail\"");
	return false;
}

/* Replies with what the shopper's browser brings back. */
static void
reply_result(Request *req, const AdyenPayment *payment)
{
	StrBuf		buf = {0};

	jw_object(&buf, NULL);
	jw_string(&buf, "redirectResult", payment->token);
	jw_string(&buf, "threeDSResult", payment->token);
	jw_end_object(&buf);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* A payment comes to its result: the shopper acted, or the bank decided. */
static void
complete_payment(Request *req, AdyenPayment *payment, bool succeed,
				 const char *reason)
{
	if (payment->status == PAYMENT_ACTION)
	{
		payment->shopper_failed = !succeed;
		reply_result(req, payment);
	}
	else if (payment->status == PAYMENT_PENDING)
	{
		adyen_decide(NULL, payment, succeed ? ADYEN_AUTHORISED :
					 ADYEN_REFUSED, reason);
		reply_truth(req, payment);
	}
	else
		control_error(req, MHD_HTTP_CONFLICT,
					  "the payment already has its result");
}

/* POST /_test/adyen/{id}/complete */
void
control_adyen_complete(Request *req)
{
	Modification *modification = adyen_modification(req->object);
	AdyenPayment *payment = modification == NULL ? find_payment(req) : NULL;
	const char *reason = "Refused";
	json_t	   *root;
	bool		succeed;

	if ((modification == NULL && payment == NULL) ||
		!read_outcome(req, &root, &succeed, &reason))
		return;
	if (modification != NULL)
		reply_control(req, modification->payment,
					  modification_decide(modification, succeed, reason));
	else
		complete_payment(req, payment, succeed, reason);
	json_decref(root);
}

/* POST /_test/adyen/{id}/fail: a capture or refund does not last. */
void
control_adyen_fail(Request *req)
{
	Modification *modification = adyen_modification(req->object);
	const char *reason = "Rejected by the card scheme";
	int			reversed = 0;
	json_t	   *root;

	if (modification == NULL)
	{
		control_error(req, MHD_HTTP_NOT_FOUND, "no such modification");
		return;
	}
	root = control_body(req);
	if (root == NULL)
		return;
	json_unpack(root, "{s?b, s?s}", "reversed", &reversed, "reason", &reason);
	reply_control(req, modification->payment,
				  modification_undo(modification, reversed, reason));
	json_decref(root);
}

/* POST /_test/adyen/{id}/expire: the authorization ends by itself. */
void
control_adyen_expire(Request *req)
{
	AdyenPayment *payment = find_payment(req);
	Notice		notice = {.code = "EXPIRE", .success = true};
	char		psp[ID_SIZE];

	if (payment == NULL)
		return;
	if (payment->status != PAYMENT_AUTHORISED ||
		payment->captured == payment->amount)
	{
		control_error(req, MHD_HTTP_CONFLICT, "nothing is left to expire");
		return;
	}
	adyen_make_reference(psp);
	notice.psp = psp;
	notice.original = payment->psp;
	notice.reference = payment->reference;
	notice.merchant = payment->merchant;
	notice.currency = payment->currency;
	notice.value = payment->amount - payment->captured;
	payment->status = PAYMENT_EXPIRED;
	history_add(&payment->history, "expire", notice.value, NULL, "");
	notice_send(&notice, payment->reference);
	reply_truth(req, payment);
}

/* Notes a step of a dispute and tells it. */
static void
dispute_step(AdyenPayment *payment, const char *kind, const char *code,
			 const char *reason, const char *status)
{
	history_add(&payment->history, kind, payment->disputed, NULL, "");
	notice_dispute(payment, code, payment->disputed, reason, status);
}

/*
 * POST /_test/adyen/{id}/chargeback: {"amount", "reason", "notification",
 * "chargeback"}; either of the last two can be switched off.
 */
void
control_adyen_chargeback(Request *req)
{
	AdyenPayment *payment = find_payment(req);
	json_t	   *root = payment == NULL ? NULL : control_body(req);
	const char *reason = "Other Fraud - Card Absent Environment";
	json_int_t	amount;
	int			notification = 1;
	int			chargeback = 1;

	if (root == NULL)
		return;
	amount = payment->disputed > 0 ? payment->disputed :
		payment->captured - payment->refunded;
	json_unpack(root, "{s?I, s?s, s?b, s?b}", "amount", &amount, "reason",
				&reason, "notification", &notification, "chargeback",
				&chargeback);
	if (amount < 1 || amount > payment->captured || payment->charged_back > 0)
		control_error(req, MHD_HTTP_CONFLICT,
					  "there is no such amount to charge back");
	else
	{
		if (payment->dispute[0] == '\0')
			adyen_make_reference(payment->dispute);
		payment->disputed = amount;
		if (notification)
			dispute_step(payment, "dispute_opened",
						 "NOTIFICATION_OF_CHARGEBACK", reason, "Undefended");
		if (chargeback)
		{
			payment->charged_back = amount;
			dispute_step(payment, "chargeback", "CHARGEBACK", reason,
						 "Undefended");
		}
		reply_truth(req, payment);
	}
	json_decref(root);
}

/* POST /_test/adyen/{id}/reverse: the chargeback was defended. */
void
control_adyen_reverse(Request *req)
{
	AdyenPayment *payment = find_payment(req);

	if (payment == NULL)
		return;
	if (payment->charged_back == 0)
	{
		control_error(req, MHD_HTTP_CONFLICT, "nothing is charged back");
		return;
	}
	payment->charged_back = 0;
	dispute_step(payment, "chargeback_reversed", "CHARGEBACK_REVERSED",
				 "Chargeback defended", "Pending");
	reply_truth(req, payment);
}

/* POST /_test/adyen/{id}/second: the bank did not take the defence. */
void
control_adyen_second(Request *req)
{
	AdyenPayment *payment = find_payment(req);

	if (payment == NULL)
		return;
	if (payment->disputed == 0 || payment->charged_back > 0)
	{
		control_error(req, MHD_HTTP_CONFLICT, "no chargeback was reversed");
		return;
	}
	payment->charged_back = payment->disputed;
	dispute_step(payment, "second_chargeback", "SECOND_CHARGEBACK",
				 "Defence declined", "Lost");
	reply_truth(req, payment);
}

/* POST /_test/adyen/report: {"merchant", "name", "url"} */
void
control_adyen_report(Request *req)
{
	json_t	   *root = control_body(req);
	Notice		notice = {
		.code = "REPORT_AVAILABLE",
		.psp = "settlement_detail_report_batch_1.csv",
		.reference = "",
		.merchant = "Marketplace",
		.currency = "EUR",
		.success = true,
		.reason = "https://ca-test.adyen.com/reports/download/MerchantAccount"
			"/Marketplace/settlement_detail_report_batch_1.csv",
	};

	if (root == NULL)
		return;
	json_unpack(root, "{s?s, s?s, s?s}", "merchant", &notice.merchant,
				"name", &notice.psp, "url", &notice.reason);
	notice_send(&notice, NULL);
	json_decref(root);
	control_ok(req);
}
