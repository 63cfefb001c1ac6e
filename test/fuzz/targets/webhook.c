/*
 * webhook.c
 *		Targets: what PSPs tell unasked.
 *
 * First line: the signature header, and for Adyen nothing; then the body.
 * Whether or not it is authentic, the body is also read as if it were.
 */
#include "postgres.h"

#include "adapters/adyen/adyen.h"
#include "adapters/stripe/stripe.h"
#include "fuzz/fuzz.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "webhook/webhook.h"

/* 2026-01-01, in whose first minutes the seeds were signed */
#define SIGNED_AT 1767225600

static PlWebhookKey keys[] = {
	{"whsec_fuzz"},
	{"00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"},
	{"not hexadecimal"}
};

static const char *
verify(const PlAdapter *adapter, const char *signature, const char *body, size_t length)
{
	StringInfoData headers;
	PlWebhook	webhook = {.body = body, .length = length};

	initStringInfo(&headers);
	appendStringInfoString(&headers, "{\"X\": 1, \"stripe-signature\": ");
	escape_json(&headers, signature);
	appendStringInfoChar(&headers, '}');
	webhook.headers = fuzz_jsonb(headers.data);
	return adapter->verify_webhook(&webhook, keys, lengthof(keys), pl_time_from_unix(SIGNED_AT));
}

/* A client secret is worth money: none is kept, however it was written. */
static void
expect_no_secret(const char *body)
{
	const char *problem;
	PlDocument *document = pl_document(body, strlen(body), &problem);
	const char *secret = document ? pl_document_text(document, "data.object.client_secret") : NULL;

	if (secret != NULL && strspn(secret, "*") != strlen(secret))
		fuzz_fail("an event is kept with its client secret");
}

static void
read_events(const PlAdapter *adapter, List *texts)
{
	ListCell   *cell;

	foreach(cell, texts)
	{
		const PlWebhookEvent *event = pl_webhook_event(adapter, lfirst(cell));
		ListCell   *inner;

		fuzz_expect_text("event id", event->event_id);
		fuzz_expect_text("event type", event->event_type);
		fuzz_expect_text("event", event->body);
		if (adapter == &pl_stripe_adapter)
			expect_no_secret(event->body);
		fuzz_expect_text("problem", event->problem);
		if (event->problem != NULL)
			continue;
		foreach(inner, adapter->read_event(event))
		{
			const PlNotification *notification = lfirst(inner);

			fuzz_expect_text("payment reference", notification->payment_reference);
			fuzz_expect_text("code", notification->outcome.code);
			fuzz_expect_text("dispute", notification->dispute.psp_reference);
			if (notification->outcome.amount < 0 || notification->dispute.fee < 0)
				fuzz_fail("a notification with a negative amount");
		}
	}
}

static void
run_webhook(const PlAdapter *adapter, const char *data, size_t length)
{
	char	   *signature = fuzz_line(&data, &length);
	char	   *body = pnstrdup(data, length);

	/* it comes as an argument of type text, which holds no NUL */
	length = strlen(body);
	fuzz_expect_text("the reason", verify(adapter, signature, body, length));
	read_events(adapter, adapter->split_webhook(body, length));
}

static void
run_stripe_webhook(const char *data, size_t length)
{
	run_webhook(&pl_stripe_adapter, data, length);
}

static void
run_adyen_webhook(const char *data, size_t length)
{
	run_webhook(&pl_adyen_adapter, data, length);
}

/* The list of events that makes up for lost webhooks. */
static void
run_stripe_events(const char *data, size_t length)
{
	PlHttpReply reply = {.received = true, .sent = true, .status = 200, .headers = "", .body = data, .body_length = length};
	bool		more;

	read_events(&pl_stripe_adapter, pl_stripe_adapter.read_events(&reply, &more));
}

const FuzzTarget fuzz_webhook_targets[] = {
	{"stripe_webhook", run_stripe_webhook},
	{"adyen_webhook", run_adyen_webhook},
	{"stripe_events", run_stripe_events},
	{NULL}
};
