/*
 * src/psp/adyen.h
 *		Within the Adyen adapter: what its replies and its webhooks have in common.
 */
#ifndef PL_ADYEN_H
#define PL_ADYEN_H

#include "psp/psp.h"

/* our reference for every request: payment_id, psp_request_id */
#define ADYEN_REFERENCE_FORMAT "pl_" INT64_FORMAT "_" INT64_FORMAT

extern const PlExponent pl_adyen_exponents[];
extern const PlErrorClass pl_adyen_error_classes[];

/* adyen_webhook.c */

extern const char *pl_adyen_verify_webhook(const PlWebhook *webhook, const PlWebhookKey *keys, int nkeys,
										   TimestampTz now);
extern List *pl_adyen_split_webhook(const char *body, size_t length);
extern void pl_adyen_name_event(const char *text, PlWebhookEvent *event);
extern List *pl_adyen_read_event(const PlWebhookEvent *event);

#endif							/* PL_ADYEN_H */
