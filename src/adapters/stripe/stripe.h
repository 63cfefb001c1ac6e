/*
 * src/adapters/stripe/stripe.h
 *		Within the Stripe adapter: what its replies and its events have in common.
 */
#ifndef PL_STRIPE_H
#define PL_STRIPE_H

#include "adapters/adapters_internal.h"

/* metadata of the PaymentIntent; of a refund, too */
#define STRIPE_PAYMENT_MARK "payment_id"
#define STRIPE_ORDER_MARK "order_id"
#define STRIPE_CAPTURE_MARK "capture_"

/* metadata of the PaymentIntent, refund and transfer: the key of the request that made it */
#define STRIPE_REQUEST_MARK "request"

/* metadata of the refund */
#define STRIPE_REFUND_MARK "refund_id"

/* metadata of the transfer */
#define STRIPE_PAYOUT_MARK "payout_id"

#define STRIPE_PAYOUT_GROUP "pl_" INT64_FORMAT

/* objects that a list returns, Stripe's maximum */
#define STRIPE_LISTED 100

extern const PlExponent pl_stripe_exponents[];
extern const PlErrorClass pl_stripe_error_classes[];

/* stripe.c */

extern PlDocument *pl_stripe_parameters(const PlRequest *request);
extern int64 pl_stripe_amount(const PlRequest *request);

/* replies.c: what an object says; prefix is its place in the document, "" or "data.object." */

extern bool pl_stripe_confirms(const PlRequest *request);
extern const char *pl_stripe_field(const PlDocument *document, const char *prefix, const char *name);
extern void pl_stripe_read_authorization(const PlDocument *document, const char *prefix, PlOutcome *outcome);
extern void pl_stripe_read_refund(const PlDocument *document, const char *prefix, PlOutcome *outcome);
extern void pl_stripe_read_transfer(const PlDocument *document, const char *prefix, PlOutcome *outcome);
extern void pl_stripe_interpret(const PlRequest *request, const PlHttpReply *reply, PlOutcome *outcome);

/* webhook.c */

extern const char *pl_stripe_verify_webhook(const PlWebhook *webhook, const PlWebhookKey *keys, int nkeys,
											TimestampTz now);
extern List *pl_stripe_split_webhook(const char *body, size_t length);
extern void pl_stripe_name_event(const char *text, PlWebhookEvent *event);
extern List *pl_stripe_read_event(const PlWebhookEvent *event);
extern void pl_stripe_list_events(const PlGateway *gateway, TimestampTz since, const char *before,
								  PlHttpRequest *http);
extern List *pl_stripe_read_events(const PlHttpReply *reply, bool *more);

#endif							/* PL_STRIPE_H */
