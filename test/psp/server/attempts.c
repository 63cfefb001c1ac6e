/*-------------------------------------------------------------------------
 *
 * attempts.c
 *		Attempts to pay: by a request, or because the customer or the bank
 *		acted.
 *
 * Where a request is asked for, NULL means that none caused it.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

static const Failure failure_not_processed = {
	"card_error", "card_declined", "generic_decline",
	"Your card was declined.", true
};

/* Makes the payment: the money is reserved, or captured at once. */
static void
authorize(const Request *req, Intent *intent)
{
	store_new_charge(intent, intent->card);
	intent->authorized = true;
	intent->failure = NULL;
	intent->failed_charge[0] = '\0';
	if (strcmp(intent->capture_method, "manual") == 0)
	{
		intent->status = REQUIRES_CAPTURE;
		intent->amount_capturable = intent->amount;
		event_charge(req, "charge.succeeded", intent, NULL);
		event_intent(req, "payment_intent.amount_capturable_updated", intent);
		return;
	}
	intent->status = SUCCEEDED;
	intent->amount_received = intent->amount;
	intent->captures = 1;
	history_add(&intent->history, "capture", intent->amount,
				req == NULL ? NULL : req->key,
				req == NULL ? "" : req->id)->final = true;
	event_charge(req, "charge.succeeded", intent, NULL);
	event_intent(req, "payment_intent.succeeded", intent);
}

/* Notes that the attempt failed; the payment method is gone afterwards. */
static void
fail_attempt(const Request *req, Intent *intent, const Failure *failure)
{
	intent->status = REQUIRES_PAYMENT_METHOD;
	intent->failure = failure;
	intent->failed_card = intent->card;
	intent->failed_charge[0] = '\0';
	memcpy(intent->failed_method, intent->payment_method, ID_SIZE);
	if (failure->charged)
	{
		store_new_charge(intent, intent->card);
		memcpy(intent->failed_charge, intent->charge, ID_SIZE);
		event_charge(req, "charge.failed", intent, NULL);
	}
	intent->card = NULL;
	intent->payment_method[0] = '\0';
	intent->authenticated = false;
	event_intent(req, "payment_intent.payment_failed", intent);
}

/* The payment has to wait: for the customer, or for the bank. */
static void
wait_for_outcome(Request *req, Intent *intent, IntentStatus status)
{
	intent->status = status;
	event_intent(req, status == PROCESSING ? "payment_intent.processing" :
				 "payment_intent.requires_action", intent);
	intent_reply(req, intent);
}

/*
 * Attempts the payment with the attached method and replies; alone: there is
 * no customer who could do something.
 */
void
intent_attempt(Request *req, Intent *intent, bool alone)
{
	const Card *card = intent->card;
	bool		authenticate = card->outcome == CARD_AUTHENTICATE &&
		!intent->authenticated;
	Execution  *execution = history_add(&intent->history, "confirm",
										intent->amount, req->key, req->id);

	if (authenticate && !alone)
	{
		execution->outcome = "requires_action";
		wait_for_outcome(req, intent, REQUIRES_ACTION);
	}
	else if (card->outcome == CARD_PROCESSES)
	{
		execution->outcome = "processing";
		wait_for_outcome(req, intent, PROCESSING);
	}
	else if (authenticate || card->outcome == CARD_DECLINED)
	{
		execution->outcome = "declined";
		fail_attempt(req, intent, authenticate ?
					 &failure_authentication_required : &card->failure);
		reply_card_error(req, intent);
	}
	else
	{
		authorize(req, intent);
		intent_reply(req, intent);
	}
}

/*
 * The customer did, or failed, what next_action asked for, or the bank
 * decided on what was processing. Returns NULL, or why that cannot be. With
 * confirmation_method=manual the shop has to confirm once more.
 */
const char *
intent_complete_action(Intent *intent, bool succeed)
{
	bool		processing = intent->status == PROCESSING;
	Execution  *execution;

	if (intent->status != REQUIRES_ACTION && !processing)
		return "the payment intent does not require an action";
	execution = history_add(&intent->history,
							processing ? "processed" : "action",
							intent->amount, NULL, "");
	if (!succeed)
	{
		execution->outcome = "declined";
		fail_attempt(NULL, intent, processing ? &failure_not_processed :
					 &failure_authentication_failed);
	}
	else if (!processing &&
			 strcmp(intent->confirmation_method, "manual") == 0)
	{
		intent->authenticated = true;
		intent->status = REQUIRES_CONFIRMATION;
	}
	else
		authorize(NULL, intent);
	return NULL;
}

/*
 * The authorization was not captured in time and ends by itself. Returns
 * NULL, or why that cannot be.
 */
const char *
intent_expire(Intent *intent)
{
	if (intent->status != REQUIRES_CAPTURE)
		return "the payment intent has no authorization that could expire";
	history_add(&intent->history, "expire", intent->amount_capturable, NULL,
				"");
	intent->amount_capturable = 0;
	intent->status = CANCELED;
	intent->canceled_at = time(NULL);
	intent->cancellation_reason = "automatic";
	event_charge(NULL, "charge.expired", intent, NULL);
	event_intent(NULL, "payment_intent.canceled", intent);
	return NULL;
}
