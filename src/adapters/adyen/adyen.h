/*
 * src/adapters/adyen/adyen.h
 *		Within the Adyen adapter: what its replies and its webhooks have in common.
 */
#ifndef PL_ADYEN_H
#define PL_ADYEN_H

#include "adapters/adapters_internal.h"

/*
 * Our reference for every request, pl_<payment_id>_<rest>: the rest is what
 * follows "pl_" in the request's idempotency key, <psp_request_id>_<mark>.
 */
#define ADYEN_REFERENCE_FORMAT "pl_" INT64_FORMAT "_%s"

extern const PlExponent pl_adyen_exponents[];
extern const PlErrorClass pl_adyen_error_classes[];

/* webhook.c */

extern const char *pl_adyen_verify_webhook(const PlWebhook *webhook, const PlWebhookKey *keys, int nkeys,
										   TimestampTz now);
extern List *pl_adyen_split_webhook(const char *body, size_t length);
extern void pl_adyen_name_event(const char *text, PlWebhookEvent *event);
extern List *pl_adyen_read_event(const PlWebhookEvent *event);

#endif							/* PL_ADYEN_H */
