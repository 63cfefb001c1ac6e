/*-------------------------------------------------------------------------
 *
 * capture.c
 *		Capturing and cancelling payment intents.
 *
 * With multicapture, final_capture=false leaves the rest capturable; without
 * it one capture ends the payment and releases what it did not take.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

#define MAX_CAPTURES 50
#define UNEXPECTED "payment_intent_unexpected_state"

static const char *const capture_params[] = {
	"amount_details", "amount_to_capture", "application_fee_amount", "expand",
	"final_capture", "hooks", "metadata", "payment_details",
	"statement_descriptor", "statement_descriptor_suffix", "transfer_data",
	NULL
};

static const char *const cancel_params[] = {
	"cancellation_reason", "expand", NULL
};

static const char *const cancellation_reasons[] = {
	"duplicate", "fraudulent", "requested_by_customer", "abandoned", NULL
};

/* Parameters of capture, read and checked. */
typedef struct CaptureWishes
{
	bool		amount_given;
	int64_t		amount;
	bool		final;
	bool		fee_given;
	int64_t		fee;
} CaptureWishes;

/* Reads the parameters of capture. */
static bool
read_capture(Request *req, CaptureWishes *wishes)
{
	if (!param_integer(req, "amount_to_capture", &wishes->amount_given,
					   &wishes->amount) ||
		!param_boolean(req, "final_capture", &wishes->final) ||
		!param_integer(req, "application_fee_amount", &wishes->fee_given,
					   &wishes->fee) ||
		!param_metadata(req, NULL))
		return false;
	if (wishes->amount_given && wishes->amount < 0)
	{
		reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", NULL,
					"amount_to_capture", "Invalid non-negative integer");
		return false;
	}
	return true;
}

/* Was multicapture asked for? Test cards always offer it then. */
static bool
has_multicapture(const Intent *intent)
{
	return intent->request_multicapture != NULL &&
		strcmp(intent->request_multicapture, "if_available") == 0;
}

/* Refuses to capture an intent that has nothing to capture. */
static bool
check_capturable(Request *req, const Intent *intent)
{
	if (intent->status == REQUIRES_CAPTURE)
		return true;
	if (intent->status == SUCCEEDED)
		reply_intent_error(req, intent, UNEXPECTED, NULL, "The remaining "
						   "amount on this PaymentIntent could not be "
						   "captured because the remainder of the authorized "
						   "amount has been released.");
	else
		reply_intent_error(req, intent, UNEXPECTED, NULL, "This PaymentIntent "
						   "could not be captured because it has a status of "
						   "%s. Only a PaymentIntent with one of the following "
						   "statuses may be captured: requires_capture.",
						   intent_status_names[intent->status]);
	return false;
}

/* Refuses an amount or a kind of capture that the intent does not allow. */
static bool
check_capture(Request *req, const Intent *intent, const CaptureWishes *wishes)
{
	/* only the release of the rest, after a capture, has no amount */
	bool		may_be_zero = intent->captures > 0 && wishes->final;

	if (!wishes->final && !has_multicapture(intent))
		reply_intent_error(req, intent, NULL, "final_capture", "You cannot "
						   "set `final_capture` to false because multicapture "
						   "is not available for this PaymentIntent.");
	else if (intent->captures == MAX_CAPTURES)
		reply_intent_error(req, intent, UNEXPECTED, NULL, "This PaymentIntent "
						   "has already been captured %d times.",
						   MAX_CAPTURES);
	else if (wishes->amount == 0 && !may_be_zero)
		reply_intent_error(req, intent, "parameter_invalid_integer", "amount",
						   "This value must be greater than or equal to 1.");
	else if (wishes->amount > intent->amount_capturable)
		reply_intent_error(req, intent, "amount_too_large",
						   "amount_to_capture", "The payment could not be "
						   "captured because the requested capture amount is "
						   "greater than the amount you can capture for this "
						   "charge.");
	else
		return true;
	return false;
}

/* POST /v1/payment_intents/{id}/capture */
void
intent_capture(Request *req)
{
	CaptureWishes wishes = {.final = true};
	Intent	   *intent = intent_required(req);
	Execution  *execution;

	if (intent == NULL || !params_known(req, capture_params) ||
		!read_capture(req, &wishes))
		return;
	req->executed = true;

	if (!wishes.amount_given)
		wishes.amount = intent->amount_capturable;
	if (!check_capturable(req, intent) ||
		!check_capture(req, intent, &wishes))
		return;
	intent->captures++;
	intent->amount_received += wishes.amount;
	intent->amount_capturable -= wishes.amount;
	if (wishes.final || intent->amount_capturable == 0)
	{
		intent->amount_capturable = 0;
		intent->status = SUCCEEDED;
	}
	if (wishes.fee_given)
		intent->application_fee = wishes.fee;
	param_metadata(req, &intent->metadata);
	execution = history_add(&intent->history, "capture", wishes.amount,
							req->key, req->id);
	execution->final = intent->status == SUCCEEDED;
	event_charge(req, "charge.captured", intent, NULL);
	event_intent(req, execution->final ? "payment_intent.succeeded" :
				 "payment_intent.amount_capturable_updated", intent);
	intent_reply(req, intent);
}

/* POST /v1/payment_intents/{id}/cancel */
void
intent_cancel(Request *req)
{
	const char *reason = NULL;
	Intent	   *intent = intent_required(req);

	if (intent == NULL || !params_known(req, cancel_params) ||
		!param_choice(req, "cancellation_reason", cancellation_reasons,
					  &reason))
		return;
	req->executed = true;

	if (intent->status == SUCCEEDED || intent->status == CANCELED)
	{
		reply_intent_error(req, intent, UNEXPECTED, NULL, "You cannot cancel "
						   "this PaymentIntent because it has a status of %s. "
						   "Only a PaymentIntent with one of the following "
						   "statuses may be canceled: requires_payment_method, "
						   "requires_capture, requires_confirmation, "
						   "requires_action, processing.",
						   intent_status_names[intent->status]);
		return;
	}
	history_add(&intent->history, "cancel", intent->amount_capturable, req->key,
				req->id);
	intent->amount_capturable = 0;
	intent->status = CANCELED;
	intent->canceled_at = time(NULL);
	intent->cancellation_reason = reason;
	if (intent->authorized && intent->amount_received == 0)
		event_charge(req, "charge.refunded", intent,
					 "{\"amount_refunded\":0,\"refunded\":false}");
	event_intent(req, "payment_intent.canceled", intent);
	intent_reply(req, intent);
}
