/*-------------------------------------------------------------------------
 *
 * stripe_control.c
 *		What the customer, the banks and Stripe itself do, as tests want it.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

/* Reads {"outcome":"succeed|fail"}, or replies 400. */
static bool
read_outcome(Request *req, bool *succeed)
{
	json_t	   *root = control_body(req);
	const char *outcome = "";
	bool		known;

	if (root == NULL)
		return false;
	json_unpack(root, "{s?s}", "outcome", &outcome);
	*succeed = strcmp(outcome, "succeed") == 0;
	known = *succeed || strcmp(outcome, "fail") == 0;
	json_decref(root);
	if (!known)
		control_error(req, MHD_HTTP_BAD_REQUEST,
					  "the body must be {\"outcome\":\"succeed\"} or "
					  "{\"outcome\":\"fail\"}");
	return known;
}

/* POST /_test/intents/{id}/complete_action */
void
control_complete_action(Request *req)
{
	Intent	   *intent = store_intent(req->object);
	const char *wrong;
	bool		succeed;

	if (intent == NULL)
		control_error(req, MHD_HTTP_NOT_FOUND, "no such payment intent");
	else if (read_outcome(req, &succeed))
	{
		wrong = intent_complete_action(intent, succeed);
		if (wrong != NULL)
			control_error(req, MHD_HTTP_CONFLICT, "%s", wrong);
		else
			intent_reply(req, intent);
	}
}

/* POST /_test/refunds/{id}/complete */
void
control_complete_refund(Request *req)
{
	Refund	   *refund = store_refund(req->object);
	const char *wrong;
	bool		succeed;
	StrBuf		buf = {0};

	if (refund == NULL)
		control_error(req, MHD_HTTP_NOT_FOUND, "no such refund");
	else if (read_outcome(req, &succeed))
	{
		wrong = refund_complete(refund, succeed);
		if (wrong != NULL)
			control_error(req, MHD_HTTP_CONFLICT, "%s", wrong);
		else
		{
			render_refund(&buf, NULL, refund);
			reply_json(req, MHD_HTTP_OK, &buf);
		}
	}
}

/* Finds the intent of the path, or replies 404. */
static Intent *
find_intent(Request *req)
{
	Intent	   *intent = store_intent(req->object);

	if (intent == NULL)
		control_error(req, MHD_HTTP_NOT_FOUND, "no such payment intent");
	return intent;
}

/* POST /_test/intents/{id}/expire */
void
control_expire(Request *req)
{
	Intent	   *intent = find_intent(req);
	const char *wrong;

	if (intent == NULL)
		return;
	wrong = intent_expire(intent);
	if (wrong != NULL)
		control_error(req, MHD_HTTP_CONFLICT, "%s", wrong);
	else
		intent_reply(req, intent);
}

/* Replies with a dispute. */
static void
reply_dispute(Request *req, const Dispute *dispute)
{
	StrBuf		buf = {0};

	render_dispute(&buf, NULL, dispute);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* POST /_test/intents/{id}/dispute: {"amount", "fee", "reason"} */
void
control_dispute(Request *req)
{
	Intent	   *intent = find_intent(req);
	json_t	   *root = intent == NULL ? NULL : control_body(req);
	const char *reason = "fraudulent";
	const char *wrong;
	json_int_t	amount;
	json_int_t	fee = -1;
	Dispute    *dispute;

	if (root == NULL)
		return;
	amount = intent->amount_received;
	json_unpack(root, "{s?I, s?I, s?s}", "amount", &amount, "fee", &fee,
				"reason", &reason);
	reason = dispute_reason(reason);
	json_decref(root);
	if (reason == NULL)
	{
		control_error(req, MHD_HTTP_BAD_REQUEST, "no such reason");
		return;
	}
	dispute = dispute_open(intent, amount, fee, reason, &wrong);
	if (dispute == NULL)
		control_error(req, MHD_HTTP_CONFLICT, "%s", wrong);
	else
		reply_dispute(req, dispute);
}

/* POST /_test/disputes/{id}/complete: {"status"} */
void
control_complete_dispute(Request *req)
{
	Dispute    *dispute = dispute_find(req->object);
	json_t	   *root = dispute == NULL ? NULL : control_body(req);
	const char *status = "";
	const char *wrong;

	if (dispute == NULL)
		control_error(req, MHD_HTTP_NOT_FOUND, "no such dispute");
	if (root == NULL)
		return;
	json_unpack(root, "{s?s}", "status", &status);
	wrong = dispute_complete(dispute, status);
	json_decref(root);
	if (wrong != NULL)
		control_error(req, MHD_HTTP_CONFLICT, "%s", wrong);
	else
		reply_dispute(req, dispute);
}
