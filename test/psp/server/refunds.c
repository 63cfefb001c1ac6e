/*-------------------------------------------------------------------------
 *
 * refunds.c
 *		Creating and retrieving refunds.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

static const char *const refund_params[] = {
	"amount", "charge", "currency", "customer", "expand",
	"instructions_email", "metadata", "origin", "payment_intent", "reason",
	"refund_application_fee", "reverse_transfer", NULL
};

static const char *const reasons[] = {
	"duplicate", "fraudulent", "requested_by_customer", NULL
};

/* Replies 400 about a refund. */
#define refuse(req, code, param, ...) \
	reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", code, \
				param, __VA_ARGS__)

/* Replies with a refund. */
static void
refund_reply(Request *req, const Refund *refund)
{
	StrBuf		buf = {0};

	render_refund(&buf, NULL, refund);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* Finds what is to be refunded, or replies why that cannot be found. */
static Intent *
find_refunded(Request *req)
{
	const char *id = form_get(&req->params, "payment_intent");
	const char *charge = form_get(&req->params, "charge");
	Intent	   *intent;

	if (id == NULL && charge == NULL)
	{
		refuse(req, "parameter_missing", "charge", "One of the following "
			   "params should be provided for this request: payment_intent "
			   "or charge.");
		return NULL;
	}
	intent = id != NULL ? store_intent(id) : store_intent_by_charge(charge);
	if (intent == NULL)
		reply_missing(req, id != NULL ? "payment_intent" : "charge",
					  id != NULL ? "payment_intent" : "charge",
					  id != NULL ? id : charge);
	else if (charge != NULL && strcmp(intent->charge, charge) != 0)
	{
		refuse(req, NULL, "charge", "Charge %.100s does not belong to "
			   "PaymentIntent %s.", charge, intent->id);
		return NULL;
	}
	return intent;
}

/* Refuses a refund that the intent has no money for. */
static bool
check_refundable(Request *req, const Intent *intent, int64_t amount)
{
	int64_t		left = intent->amount_received - intent->amount_refunded;

	if (intent->amount_received == 0)
		refuse(req, NULL, "payment_intent", "This PaymentIntent (%s) does not "
			   "have a successful charge to refund.", intent->id);
	else if (left == 0)
		refuse(req, "charge_already_refunded", NULL,
			   "Charge %s has already been refunded.", intent->charge);
	else if (amount > left)
		refuse(req, NULL, "amount", "Refund amount (%lld) is greater than "
			   "unrefunded amount on charge (%lld)", (long long) amount,
			   (long long) left);
	else
		return true;
	return false;
}

/* The charge of an intent was refunded by so much more. */
static void
tell_refunded(const Request *req, const Intent *intent, int64_t amount)
{
	char		previous[80];

	snprintf(previous, sizeof(previous),
			 "{\"amount_refunded\":%lld,\"refunded\":false}",
			 (long long) (intent->amount_refunded - amount));
	event_charge(req, "charge.refunded", intent, previous);
}

/* POST /v1/refunds */
void
refund_create(Request *req)
{
	const char *reason = NULL;
	bool		unused = false;
	bool		given;
	int64_t		amount = 0;
	Intent	   *intent;
	Refund	   *refund;
	Execution  *execution;

	if (!params_known(req, refund_params) ||
		!param_integer(req, "amount", &given, &amount) ||
		!param_choice(req, "reason", reasons, &reason) ||
		!param_boolean(req, "refund_application_fee", &unused) ||
		!param_boolean(req, "reverse_transfer", &unused) ||
		!param_metadata(req, NULL))
		return;
	if (given && amount < 1)
	{
		refuse(req, "parameter_invalid_integer", "amount",
			   "This value must be greater than or equal to 1.");
		return;
	}
	intent = find_refunded(req);
	if (intent == NULL)
		return;
	req->executed = true;

	if (!given)
		amount = intent->amount_received - intent->amount_refunded;
	if (!check_refundable(req, intent, amount))
		return;
	refund = store_new_refund(intent, amount);
	refund->reason = reason;
	refund->status = intent->charge_card->refund == REFUND_PENDS ?
		"pending" : "succeeded";
	param_metadata(req, &refund->metadata);
	intent->amount_refunded += amount;
	execution = history_add(&intent->history, "refund", amount, req->key,
							req->id);
	execution->outcome = refund->status;
	memcpy(execution->object, refund->id, ID_SIZE);
	event_refund(req, "refund.created", refund, NULL);
	tell_refunded(req, intent, amount);
	refund_reply(req, refund);
}

/* GET /v1/refunds/{id} */
void
refund_retrieve(Request *req)
{
	static const char *const names[] = {"expand", NULL};
	Refund	   *refund = store_refund(req->object);

	if (refund == NULL)
		reply_missing(req, "refund", "id", req->object);
	else if (params_known(req, names))
		refund_reply(req, refund);
}

/*
 * The bank answered: a pending refund succeeds or fails, and one that
 * succeeded may still fail later. Returns NULL, or why that cannot be.
 */
const char *
refund_complete(Refund *refund, bool succeed)
{
	char		previous[40];
	Execution  *execution;

	if (strcmp(refund->status, "failed") == 0 ||
		(succeed && strcmp(refund->status, "pending") != 0))
		return "the refund already has its final status";
	snprintf(previous, sizeof(previous), "{\"status\":\"%s\"}",
			 refund->status);
	if (!succeed)
	{
		if (strcmp(refund->status, "succeeded") == 0)
			make_id(refund->failure_transaction, "txn_3", 23);
		refund->intent->amount_refunded -= refund->amount;
	}
	refund->status = succeed ? "succeeded" : "failed";
	execution = history_add(&refund->intent->history, "refund_completed",
							refund->amount, NULL, "");
	execution->outcome = refund->status;
	memcpy(execution->object, refund->id, ID_SIZE);
	event_refund(NULL, "charge.refund.updated", refund, previous);
	event_refund(NULL, "refund.updated", refund, previous);
	if (!succeed)
		event_refund(NULL, "refund.failed", refund, NULL);
	return NULL;
}
