/*-------------------------------------------------------------------------
 *
 * stripe_events.c
 *		Stripe's events: a snapshot of an object each time it changes. They
 *		are what webhooks carry and what /v1/events lists.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

#define API_VERSION "2026-08-26.dahlia"

/* Writes an object as a member. */
typedef void (*EventRenderer) (StrBuf *buf, const char *key,
							   const void *object);

/* Opens an event up to the object that data holds. */
static void
open_event(StrBuf *buf, const char *id)
{
	jw_object(buf, NULL);
	jw_string(buf, "id", id);
	jw_string(buf, "object", "event");
	jw_string(buf, "api_version", API_VERSION);
	jw_int(buf, "created", time(NULL));
	jw_object(buf, "data");
}

/* Closes an event; previous is JSON or NULL. */
static void
close_event(StrBuf *buf, const Request *req, const char *type,
			const char *previous)
{
	if (previous != NULL)
		buf_printf(buf, ",\"previous_attributes\":%s", previous);
	jw_end_object(buf);
	jw_bool(buf, "livemode", false);
	jw_int(buf, "pending_webhooks", 1);
	jw_object(buf, "request");
	jw_string(buf, "id", req == NULL ? NULL : req->id);
	jw_string(buf, "idempotency_key", req == NULL ? NULL : req->key);
	jw_end_object(buf);
	jw_string(buf, "type", type);
	jw_end_object(buf);
}

/* Makes an event of any object. */
static void
send_event(const Request *req, const char *type, EventRenderer render,
		   const void *object, const char *previous, const char *payment)
{
	char		id[ID_SIZE];
	StrBuf		buf = {0};

	if (!webhooks_wanted())
		return;
	make_id(id, "evt_1", 23);
	open_event(&buf, id);
	render(&buf, "object", object);
	close_event(&buf, req, type, previous);
	webhook_add(&psp_stripe, type, id, payment, &buf);
}

/* How our tests know the payment: by our id, or else by Stripe's. */
static const char *
payment_of(const Intent *intent)
{
	const char *ours = form_get(&intent->metadata, "payment_id");

	return ours != NULL ? ours : intent->id;
}

/* Writes an intent as it is in an event: nothing expanded. */
static void
put_intent(StrBuf *buf, const char *key, const void *object)
{
	render_intent(buf, key, object, false);
}

/* Writes a charge. */
static void
put_charge(StrBuf *buf, const char *key, const void *object)
{
	render_charge(buf, key, object);
}

/* Writes a refund. */
static void
put_refund(StrBuf *buf, const char *key, const void *object)
{
	render_refund(buf, key, object);
}

/* A payment intent changed. */
void
event_intent(const Request *req, const char *type, const Intent *intent)
{
	send_event(req, type, put_intent, intent, NULL, payment_of(intent));
}

/* The latest charge of an intent changed. */
void
event_charge(const Request *req, const char *type, const Intent *intent,
			 const char *previous)
{
	send_event(req, type, put_charge, intent, previous, payment_of(intent));
}

/* A refund changed. */
void
event_refund(const Request *req, const char *type, const Refund *refund,
			 const char *previous)
{
	send_event(req, type, put_refund, refund, previous,
			   payment_of(refund->intent));
}

/* Writes a transfer. */
static void
put_transfer(StrBuf *buf, const char *key, const void *object)
{
	render_transfer(buf, key, object);
}

/* Writes a dispute. */
static void
put_dispute(StrBuf *buf, const char *key, const void *object)
{
	render_dispute(buf, key, object);
}

/* A transfer changed. */
void
event_transfer(const Request *req, const char *type, const Transfer *transfer,
			   const char *previous)
{
	send_event(req, type, put_transfer, transfer, previous, transfer->group);
}

/* A dispute changed: its bank did that. */
void
event_dispute(const char *type, const Dispute *dispute, const char *previous)
{
	send_event(NULL, type, put_dispute, dispute, previous,
			   payment_of(dispute->intent));
}
