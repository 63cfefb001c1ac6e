/*-------------------------------------------------------------------------
 *
 * idempotency.c
 *		Replies stored under idempotency keys.
 *
 * As Stripe documents it: the first status and body are stored once the
 * execution has begun, errors included. What failed validation, had no valid
 * API key, was rate limited or collided with a request under way is not.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

#define MAX_KEY 255
#define OTHER_ENDPOINT \
	"Keys for idempotent requests can only be used for the same endpoint " \
	"they were first used for ('%s' vs '%s'). Try using a key other than " \
	"'%s' if you meant to execute a different request."
#define OTHER_PARAMETERS \
	"Keys for idempotent requests can only be used with the same parameters " \
	"they were first used with. Try using a key other than '%s' if you meant " \
	"to execute a different request."

static HashTable replies;
static unsigned generation;

/* Frees a stored reply. */
static void
free_stored(void *value)
{
	StoredReply *stored = value;

	body_release(stored->reply.body);
	free(stored->key);
	free(stored->path);
	free(stored);
}

/* Writes the key as the table knows it: keys belong to one account. */
static void
full_key(Request *req, StrBuf *buf)
{
	const char *account = request_header(req, "Stripe-Account");

	buf_printf(buf, "%s|%s", account == NULL ? "" : account, req->key);
}

/* Reserves a new key for this request. */
static void
reserve(Request *req, const char *key)
{
	StoredReply *stored = xcalloc(1, sizeof(StoredReply));

	stored->key = xstrdup(key);
	stored->path = xstrdup(req->path);
	stored->fingerprint = form_fingerprint(&req->params);
	hash_put(&replies, stored->key, stored);
	req->stored = stored;
	req->keys_generation = generation;
}

/* Answers a request whose key is known. */
static void
answer_known(Request *req, const StoredReply *stored)
{
	if (strcmp(stored->path, req->path) != 0)
	{
		server.stats.mismatches++;
		reply_error(req, MHD_HTTP_BAD_REQUEST, "idempotency_error", NULL,
					NULL, OTHER_ENDPOINT, stored->path, req->path, req->key);
	}
	else if (stored->fingerprint != form_fingerprint(&req->params))
	{
		server.stats.mismatches++;
		reply_error(req, MHD_HTTP_BAD_REQUEST, "idempotency_error", NULL,
					NULL, OTHER_PARAMETERS, req->key);
	}
	else if (!stored->done)
	{
		server.stats.conflicts++;
		reply_key_in_use(req);
	}
	else
	{
		server.stats.replays++;
		req->reply = stored->reply;
		req->reply.replayed = true;
		body_share(req->reply.body);
	}
}

/*
 * Returns true when the request is to be executed; its key is reserved then.
 * Otherwise the reply is there.
 */
bool
idempotency_begin(Request *req)
{
	StrBuf		key = {0};
	StoredReply *stored;

	if (req->key == NULL || strcmp(req->method, "POST") != 0)
		return true;
	if (strlen(req->key) > MAX_KEY)
	{
		reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", NULL,
					NULL, "Idempotency keys can be at most %d characters.",
					MAX_KEY);
		return false;
	}
	full_key(req, &key);
	stored = hash_get(&replies, key.data);
	if (stored == NULL)
		reserve(req, key.data);
	else
		answer_known(req, stored);
	buf_free(&key);
	return stored == NULL;
}

/* Stores the reply under the reserved key, or frees the key. */
void
idempotency_finish(Request *req)
{
	StoredReply *stored = req->stored;

	req->stored = NULL;
	if (stored == NULL || req->keys_generation != generation)
		return;
	if (!req->executed)
	{
		hash_remove(&replies, stored->key);
		free_stored(stored);
		return;
	}
	stored->done = true;
	stored->reply = req->reply;
	body_share(stored->reply.body);
}

/* Forgets all keys, as Stripe may after 24 hours. */
void
idempotency_forget(void)
{
	hash_clear(&replies, free_stored);
	generation++;
}
