/*-------------------------------------------------------------------------
 *
 * adyen_outcomes.c
 *		What comes of modifications: the money moves, or does not, and a
 *		webhook tells.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

#define NO_BALANCE "Insufficient balance on payment"
#define WRONG_STATE "Transaction is not in a state that allows this"
#define NO_PAYMENT "Payment not found"

/* What the payment method says about a modification. */
static AdyenFate
fate_of(const Modification *modification)
{
	const AdyenMethod *method = modification->payment->method;

	switch (modification->kind)
	{
		case MODIFY_CAPTURE:
			return method->capture;
		case MODIFY_REFUND:
			return method->refund;
		case MODIFY_REVERSAL:
			return modification->refunds ? method->refund : method->cancel;
		default:
			return method->cancel;
	}
}

/* Is it money that goes back to the shopper? */
static bool
is_refund(const Modification *modification)
{
	return modification->kind == MODIFY_REFUND || modification->refunds;
}

/* Returns why the modification is not possible, NULL if it is. */
static const char *
obstacle(const Modification *modification)
{
	const AdyenPayment *payment = modification->payment;

	if (payment == NULL)
		return NO_PAYMENT;
	if (is_refund(modification))
		return modification->amount > payment->captured - payment->refunded ||
			modification->amount == 0 ? NO_BALANCE : NULL;
	if (modification->kind == MODIFY_CAPTURE)
	{
		if (payment->status != PAYMENT_AUTHORISED)
			return WRONG_STATE;
		return modification->amount > payment->amount - payment->captured ?
			NO_BALANCE : NULL;
	}
	if (payment->status > PAYMENT_AUTHORISED ||
		payment->captured == payment->amount)
		return WRONG_STATE;
	return NULL;
}

/* Moves the money. */
static void
execute(const Modification *modification)
{
	AdyenPayment *payment = modification->payment;

	if (is_refund(modification))
		payment->refunded += modification->amount;
	else if (modification->kind == MODIFY_CAPTURE)
		payment->captured += modification->amount;
	else
		payment->status = PAYMENT_CANCELLED;
}

/* Notes the outcome where the payment keeps what was executed on it. */
static void
note(const Modification *modification, const char *outcome)
{
	AdyenPayment *payment = modification->payment;

	if (payment != NULL)
		payment->history.items[modification->execution].outcome = outcome;
}

/* The eventCode that tells the outcome. */
static const char *
event_code(const Modification *modification)
{
	static const char *const codes[] = {
		"CAPTURE", "CANCELLATION", "TECHNICAL_CANCEL", "REFUND",
		"CANCEL_OR_REFUND"
	};

	return codes[modification->kind];
}

/*
 * The bank decides: the modification is executed, or failed for a reason.
 * Returns NULL, or why that cannot be.
 */
const char *
modification_decide(Modification *modification, bool succeed,
					const char *reason)
{
	const char *wrong = obstacle(modification);

	if (modification->status != MODIFICATION_RECEIVED)
		return "the modification already has its outcome";
	if (succeed && wrong == NULL)
	{
		execute(modification);
		modification->status = MODIFICATION_DONE;
		note(modification, "ok");
	}
	else
	{
		modification->status = MODIFICATION_FAILED;
		note(modification, "failed");
	}
	notice_modification(modification, event_code(modification),
						succeed && wrong == NULL, wrong != NULL ? wrong :
						succeed ? "" : reason);
	return NULL;
}

/*
 * What was done does not last: a capture fails, a refund fails or, when
 * reversed, comes back. Returns NULL, or why that cannot be.
 */
const char *
modification_undo(Modification *modification, bool reversed,
				  const char *reason)
{
	AdyenPayment *payment = modification->payment;

	if (modification->status != MODIFICATION_DONE)
		return "the modification was not done";
	if (is_refund(modification))
		payment->refunded -= modification->amount;
	else if (modification->kind == MODIFY_CAPTURE)
		payment->captured -= modification->amount;
	else
		return "a cancellation lasts";
	modification->status = MODIFICATION_UNDONE;
	note(modification, "undone");
	notice_modification(modification, !is_refund(modification) ?
						"CAPTURE_FAILED" : reversed ? "REFUNDED_REVERSED" :
						"REFUND_FAILED", true, reason);
	return NULL;
}

/* A modification was received: what the payment method says comes of it. */
void
modification_settle(Modification *modification)
{
	AdyenFate	fate = modification->payment == NULL ? FATE_SUCCEEDS :
		fate_of(modification);

	if (fate == FATE_WAITS)
		return;
	modification_decide(modification, fate != FATE_FAILS, "Refused");
	if (fate == FATE_FAILS_LATER)
		modification_undo(modification, false, is_refund(modification) ?
						  "Refund Failed" : "Capture Failed");
	else if (fate == FATE_REVERSED)
		modification_undo(modification, true, "Refund reversed");
}
