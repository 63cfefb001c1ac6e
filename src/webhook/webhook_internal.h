/*
 * src/webhook/webhook_internal.h
 *		What the files of this room share.
 */
#ifndef PL_WEBHOOK_INTERNAL_H
#define PL_WEBHOOK_INTERNAL_H

#include "webhook/webhook.h"

/* ---- keys.c: the keys that webhooks are signed with, in shared memory ---- */

extern PlWebhookKey *pl_webhook_keys(const char *gateway, int *nkeys);
extern void pl_webhook_keys_wipe(PlWebhookKey *keys);

/* ---- webhooks.c: receiving; notifications.c: applying ---- */

extern void pl_webhooks_store(const char *gateway, List *events, bool backfilled);

#endif							/* PL_WEBHOOK_INTERNAL_H */
