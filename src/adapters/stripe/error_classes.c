/*
 * src/adapters/stripe/error_classes.c
 *		What Stripe's errors and states mean, of the version that the adapter
 *		speaks.
 *
 * Sources: the descriptions of errors, error codes and idempotent requests in
 * Stripe's API reference.  An error that is not documented as not executed is
 * UNKNOWN.
 */
#include "postgres.h"

#include "adapters/stripe/stripe.h"
#include "command/command.h"
#include "gateway/gateway.h"

#define SUCCEEDED PL_OUTCOME_SUCCEEDED
#define PENDING PL_OUTCOME_PENDING
#define REFUSED PL_OUTCOME_REFUSED
#define REVERSED PL_OUTCOME_REVERSED
#define ACTION_REQUIRED PL_OUTCOME_ACTION_REQUIRED
#define RETRY PL_OUTCOME_RETRY
#define UNKNOWN PL_OUTCOME_UNKNOWN

const PlErrorClass pl_stripe_error_classes[] = {
	{0, NULL, NULL, UNKNOWN, UNKNOWN,
	"not documented as not executed"},

	{400, "invalid_request_error", NULL, REFUSED, REFUSED,
	"refused before execution; an execution under the same key would have been replayed"},
	{400, "card_error", NULL, REFUSED, REFUSED,
	"declined; no money moved"},
	{402, "card_error", NULL, REFUSED, REFUSED,
	"declined; no money moved"},
	{402, "invalid_request_error", NULL, REFUSED, REFUSED,
	"valid parameters, but the request failed; no money moved"},
	{404, "invalid_request_error", NULL, REFUSED, REFUSED,
	"no such object; nothing was executed"},

	{401, NULL, NULL, RETRY, UNKNOWN,
	"API key refused before the idempotency key was looked at"},
	{403, NULL, NULL, RETRY, UNKNOWN,
	"API key lacks a permission; refused before the idempotency key was looked at"},
	{429, NULL, NULL, RETRY, UNKNOWN,
	"rate limit; refused before the idempotency key was looked at"},
	{429, NULL, "lock_timeout", RETRY, UNKNOWN,
	"another request holds the object; not executed"},
	{400, NULL, "lock_timeout", RETRY, UNKNOWN,
	"another request holds the object; not executed"},

	{400, "idempotency_error", NULL, UNKNOWN, UNKNOWN,
	"an earlier request with this key had other parameters and may have been executed"},
	{409, NULL, NULL, UNKNOWN, UNKNOWN,
	"conflicts with a request under way"},
	{409, "idempotency_error", "idempotency_key_in_use", UNKNOWN, UNKNOWN,
	"an earlier attempt with this key is still being executed"},
	{424, NULL, NULL, UNKNOWN, UNKNOWN,
	"a party behind the PSP failed"},
	{500, NULL, NULL, UNKNOWN, UNKNOWN,
	"indeterminate; the reply may be stored under the key"},
	{502, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},
	{503, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},
	{504, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},

	{400, NULL, "charge_already_captured", UNKNOWN, UNKNOWN,
	"somebody captured it: the payment intent is asked"},
	{400, NULL, "charge_expired_for_capture", REFUSED, REFUSED,
	"the authorization expired; no money moved"},
	{400, NULL, "capture_charge_authorization_expired", REFUSED, REFUSED,
	"the authorization expired; no money moved"},
	{400, NULL, "payment_intent_unexpected_state", REFUSED, REFUSED,
	"the payment intent's status does not allow it; the adapter looks at that status first"},

	/* states of objects in replies and events */
	{0, "payment_intent.status", "requires_capture", SUCCEEDED, SUCCEEDED,
	"authorized; the whole of it or what is left may be captured"},
	{0, "payment_intent.status", "succeeded", SUCCEEDED, SUCCEEDED,
	"captured, or captured in part and the rest released"},
	{0, "payment_intent.status", "processing", PENDING, PENDING,
	"the payment method takes its time"},
	{0, "payment_intent.status", "requires_action", ACTION_REQUIRED, ACTION_REQUIRED,
	"the shopper has to authenticate"},
	{0, "payment_intent.status", "requires_confirmation", PENDING, PENDING,
	"the shopper acted, the server has to confirm; the adapter does"},
	{0, "payment_intent.status", "requires_payment_method", REFUSED, REFUSED,
	"the attempt to pay failed; before any attempt it says nothing, which the adapter looks at"},
	{0, "payment_intent.status", "canceled", REFUSED, REFUSED,
	"never authorized; REVERSED in an event if a charge had been authorized"},
	{0, "refund.status", "succeeded", SUCCEEDED, SUCCEEDED,
	"on its way to the shopper"},
	{0, "refund.status", "pending", PENDING, PENDING,
	"not decided yet"},
	{0, "refund.status", "requires_action", PENDING, PENDING,
	"the shopper has to tell where to"},
	{0, "refund.status", "failed", REFUSED, REFUSED,
	"REVERSED if a balance transaction has given the money back"},
	{0, "refund.status", "canceled", REFUSED, REFUSED,
	"REVERSED if a balance transaction has given the money back"},
	{0, NULL}
};
