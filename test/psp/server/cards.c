/*-------------------------------------------------------------------------
 *
 * cards.c
 *		Stripe's test payment methods and what each of them does.
 *
 * Any other name that begins with pm_card_ is a card that works.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

#define PREFIX "pm_card_"

#define DECLINE(card_code, decline, text) \
	{"card_error", card_code, decline, text, true}

static const char declined_text[] = "Your card was declined.";

const Failure failure_authentication_required = {
	"card_error", "authentication_required", "authentication_required",
	"Your card was declined. This transaction requires authentication.", false
};

const Failure failure_authentication_failed = {
	"invalid_request_error", "payment_intent_authentication_failure", NULL,
	"The provided PaymentMethod has failed authentication. You can provide "
	"payment_method_data or a new PaymentMethod to attempt to fulfill this "
	"PaymentIntent again.", false
};

static const Card cards[] = {
	{"chargeDeclined", CARD_DECLINED, REFUND_SUCCEEDS, "visa", "0002",
	DECLINE("card_declined", "generic_decline", declined_text)},
	{"chargeDeclinedInsufficientFunds", CARD_DECLINED, REFUND_SUCCEEDS,
		"visa", "9995",
	DECLINE("card_declined", "insufficient_funds",
			"Your card has insufficient funds.")},
	{"chargeDeclinedExpiredCard", CARD_DECLINED, REFUND_SUCCEEDS, "visa",
		"0069",
	DECLINE("expired_card", "expired_card", "Your card has expired.")},
	{"chargeDeclinedLostCard", CARD_DECLINED, REFUND_SUCCEEDS, "visa", "9987",
	DECLINE("card_declined", "lost_card", declined_text)},
	{"chargeDeclinedStolenCard", CARD_DECLINED, REFUND_SUCCEEDS, "visa",
		"9979",
	DECLINE("card_declined", "stolen_card", declined_text)},
	{"chargeDeclinedFraudulent", CARD_DECLINED, REFUND_SUCCEEDS, "visa",
		"0019",
	DECLINE("card_declined", "fraudulent", declined_text)},
	{"chargeDeclinedIncorrectCvc", CARD_DECLINED, REFUND_SUCCEEDS, "visa",
		"0127",
	DECLINE("incorrect_cvc", "incorrect_cvc",
			"Your card's security code is incorrect.")},
	{"chargeDeclinedProcessingError", CARD_DECLINED, REFUND_SUCCEEDS, "visa",
		"0119",
	DECLINE("processing_error", "processing_error",
			"An error occurred while processing your card. Try again in a "
			"little bit.")},
	{"chargeDeclinedVelocityLimitExceeded", CARD_DECLINED, REFUND_SUCCEEDS,
		"visa", "6975",
	DECLINE("card_declined", "card_velocity_exceeded", declined_text)},
	{"threeDSecure2Required", CARD_AUTHENTICATE, REFUND_SUCCEEDS, "visa",
	"3220", {NULL}},
	{"threeDSecureRequired", CARD_AUTHENTICATE, REFUND_SUCCEEDS, "visa",
	"3063", {NULL}},
	{"authenticationRequired", CARD_AUTHENTICATE, REFUND_SUCCEEDS, "visa",
	"3184", {NULL}},
	{"processing", CARD_PROCESSES, REFUND_SUCCEEDS, "visa", "0077", {NULL}},
	{"pendingRefund", CARD_OK, REFUND_PENDS, "visa", "7726", {NULL}},
	{"mastercard", CARD_OK, REFUND_SUCCEEDS, "mastercard", "4444", {NULL}},
	{"amex", CARD_OK, REFUND_SUCCEEDS, "amex", "8431", {NULL}},
};

static const Card any_card = {
	"visa", CARD_OK, REFUND_SUCCEEDS, "visa", "4242", {NULL}
};

/*
 * Returns what a payment method does, NULL if there is no such method. The
 * declining cards have a second name at Stripe: pm_card_visa_chargeDeclined.
 */
const Card *
card_find(const char *payment_method)
{
	const char *name;

	if (strncmp(payment_method, PREFIX, strlen(PREFIX)) != 0)
		return NULL;
	name = payment_method + strlen(PREFIX);
	if (strncmp(name, "visa_charge", strlen("visa_charge")) == 0)
		name += strlen("visa_");
	for (size_t i = 0; i < lengthof(cards); i++)
		if (strcmp(name, cards[i].name) == 0)
			return &cards[i];
	return &any_card;
}
