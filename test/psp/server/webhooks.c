/*-------------------------------------------------------------------------
 *
 * webhooks.c
 *		What the PSPs tell, kept until a test fetches it.
 *
 * The server sends nothing: a test decides which webhooks arrive, in what
 * order and how often. They are signed when they are fetched. The list is a
 * ring, so that dropping the oldest costs nothing.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

#define DEFAULT_LIMIT 1000

static Webhook **ring;
static size_t ring_size;		/* a power of two, or 0 */
static size_t first;			/* place of the oldest */
static size_t count;
static int64_t last_seq;
static HashTable by_id;

/* Is anybody going to see a webhook? */
bool
webhooks_wanted(void)
{
	return server.keep_events != 0;
}

/* Frees one webhook. */
static void
free_webhook(Webhook *webhook)
{
	free(webhook->payment);
	free(webhook->signed_text);
	body_release(webhook->body);
	free(webhook);
}

/* Drops the oldest webhook. */
static void
drop_oldest(void)
{
	Webhook    *oldest = webhook_at(0);

	if (hash_get(&by_id, oldest->id) == oldest)
		hash_remove(&by_id, oldest->id);
	free_webhook(oldest);
	first = (first + 1) & (ring_size - 1);
	count--;
}

/* Doubles the ring. */
static void
grow(void)
{
	size_t		size = ring_size == 0 ? 256 : ring_size * 2;
	Webhook   **bigger = xcalloc(size, sizeof(Webhook *));

	for (size_t i = 0; i < count; i++)
		bigger[i] = webhook_at(i);
	free(ring);
	ring = bigger;
	ring_size = size;
	first = 0;
}

/*
 * Adds a webhook; the body is taken, payment may be NULL. Never call it when
 * none are wanted.
 */
Webhook *
webhook_add(const Psp *psp, const char *type, const char *id,
			const char *payment, StrBuf *body)
{
	Webhook    *webhook = xcalloc(1, sizeof(Webhook));

	webhook->seq = ++last_seq;
	webhook->psp = psp;
	webhook->type = type;
	snprintf(webhook->id, sizeof(webhook->id), "%s", id);
	webhook->payment = xstrdup(payment);
	webhook->created = wall_ms() / 1000;
	webhook->body = body_take(body);
	if (server.keep_events > 0 && count == (size_t) server.keep_events)
		drop_oldest();
	if (count == ring_size)
		grow();
	ring[(first + count++) & (ring_size - 1)] = webhook;
	if (hash_get(&by_id, webhook->id) == NULL)
		hash_put(&by_id, webhook->id, webhook);
	return webhook;
}

/* Finds a webhook by the id of its event, or returns NULL. */
Webhook *
webhook_find(const char *id)
{
	return hash_get(&by_id, id);
}

/* Returns the webhook with an index below webhook_count(), 0 the oldest. */
Webhook *
webhook_at(size_t index)
{
	return ring[(first + index) & (ring_size - 1)];
}

/* Index of a webhook that is kept. */
size_t
webhook_index(const Webhook *webhook)
{
	return (size_t) (webhook->seq - webhook_at(0)->seq);
}

/* Number of webhooks that are kept. */
size_t
webhook_count(void)
{
	return count;
}

/* Forgets all webhooks; their numbers go on. */
void
webhooks_forget(void)
{
	while (count > 0)
		drop_oldest();
	hash_clear(&by_id, NULL);
	free(ring);
	ring = NULL;
	ring_size = 0;
}

/* What a test asks for with GET /_test/webhooks. */
typedef struct Wanted
{
	int64_t		after;
	int64_t		limit;
	int64_t		now;			/* seconds since 1970 */
	size_t		adyen_key;
	const char *psp;			/* NULL = both */
} Wanted;

/* Reads a number of the query. */
static int64_t
query_number(Request *req, const char *name, int64_t otherwise)
{
	const char *text = request_query(req, name);

	return text == NULL ? otherwise : strtoll(text, NULL, 10);
}

/* Writes the headers of a delivery. */
static void
put_headers(StrBuf *buf, const Webhook *webhook, const Wanted *wanted)
{
	StrBuf		signature = {0};

	jw_object(buf, "headers");
	jw_string(buf, "Content-Type", "application/json; charset=utf-8");
	if (webhook->signature_at == 0)
	{
		sign_stripe(&signature, wanted->now, webhook->body);
		jw_string(buf, "Stripe-Signature", signature.data);
		buf_free(&signature);
	}
	jw_string(buf, "User-Agent", webhook->signature_at == 0 ?
			  "Stripe/1.0 (+https://stripe.com/docs/webhooks)" :
			  "Adyen HttpClient 1.0");
	jw_end_object(buf);
}

/* Writes one webhook as it would be delivered. */
static void
put_webhook(StrBuf *buf, Webhook *webhook, const Wanted *wanted)
{
	if (webhook->signature_at != 0)
		sign_adyen(webhook->body->data + webhook->signature_at,
				   wanted->adyen_key, webhook->signed_text);
	jw_object(buf, NULL);
	jw_int(buf, "seq", webhook->seq);
	jw_string(buf, "psp", webhook->psp->name);
	jw_string(buf, "type", webhook->type);
	jw_string(buf, "event_id", webhook->id);
	jw_string(buf, "payment", webhook->payment);
	put_headers(buf, webhook, wanted);
	jw_string(buf, "body", webhook->body->data);
	jw_end_object(buf);
}

/* GET /_test/webhooks */
void
webhooks_list(Request *req)
{
	Wanted		wanted = {
		.after = query_number(req, "after", 0),
		.limit = query_number(req, "limit", DEFAULT_LIMIT),
		.now = query_number(req, "now", wall_ms() / 1000),
		.adyen_key = (size_t) query_number(req, "adyen_key", 0),
		.psp = request_query(req, "psp"),
	};
	int64_t		oldest = last_seq - (int64_t) count;
	StrBuf		buf = {0};

	jw_array(&buf, NULL);
	for (size_t i = wanted.after > oldest ? (size_t) (wanted.after - oldest) : 0;
		 i < count && wanted.limit > 0; i++)
	{
		Webhook    *webhook = webhook_at(i);

		if (wanted.psp != NULL && strcmp(wanted.psp, webhook->psp->name) != 0)
			continue;
		put_webhook(&buf, webhook, &wanted);
		wanted.limit--;
	}
	jw_end_array(&buf);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* POST /_test/webhooks/delivered: {"after": N, "upto": M} */
void
webhooks_delivered(Request *req)
{
	json_t	   *root = control_body(req);
	json_int_t	after = 0;
	json_int_t	upto = INT64_MAX;
	int			delivered = 1;

	if (root == NULL)
		return;
	json_unpack(root, "{s?I, s?I, s?b}", "after", &after, "upto", &upto,
				"delivered", &delivered);
	for (size_t i = 0; i < count; i++)
		if (webhook_at(i)->seq > after && webhook_at(i)->seq <= upto)
			webhook_at(i)->delivered = delivered;
	json_decref(root);
	control_ok(req);
}
