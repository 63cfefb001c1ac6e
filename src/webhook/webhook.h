/*
 * src/webhook/webhook.h
 *		What PSPs tell unasked: received, checked, applied; and their own lists of
 *		events, for those that got lost.
 */
#ifndef PL_WEBHOOK_H
#define PL_WEBHOOK_H

#include "gateway/gateway.h"

/* settings, registered in payledger.c */
extern int	pl_webhook_retention;	/* payledger.webhook_retention, s */

/* ---- keys.c: the keys that webhooks are signed with, in shared memory ---- */

extern Size pl_webhook_keys_shmem_size(void);
extern void pl_webhook_keys_shmem_init(void);
extern char *pl_webhook_keys_publish(bool all);

/* ---- webhooks.c: receiving; notifications.c: applying ---- */

extern PlWebhookEvent *pl_webhook_event(const PlAdapter *adapter, const char *text);
extern List *pl_webhooks_apply(MemoryContext context, TimestampTz *next_due);

/* ---- backfill.c: events whose webhook got lost ---- */

extern void pl_backfills_lease(dlist_head *leased, TimestampTz *next_due);
extern void pl_backfill_take(PlCall *call, const PlHttpReply *reply);
extern void pl_backfill_store(PlCall *call);

extern bool pl_forget_webhooks(uint64 *deleted);	/* admin.c */

#endif							/* PL_WEBHOOK_H */
