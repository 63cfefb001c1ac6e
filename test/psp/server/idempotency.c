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

/* Writes the key as the table knows it: keys belong to one account of one PSP. */
static void
full_key(Request *req, StrBuf *buf)
{
	const char *account = request_header(req, "Stripe-Account");

	buf_printf(buf, "%s|%s|%s", req->psp->name,
			   account == NULL ? "" : account, req->key);
}

/* Reserves a new key for this request. */
static void
reserve(Request *req, const char *key)
{
	StoredReply *stored = xcalloc(1, sizeof(StoredReply));

	stored->key = xstrdup(key);
	stored->reserved = now_ms();
	stored->path = xstrdup(req->path);
	stored->fingerprint = req->psp->fingerprint(req);
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
		req->psp->reply_key_problem(req, KEY_OTHER_ENDPOINT, stored->path);
	}
	else if (stored->fingerprint != req->psp->fingerprint(req))
	{
		server.stats.mismatches++;
		req->psp->reply_key_problem(req, KEY_OTHER_PARAMETERS, stored->path);
	}
	else if (!stored->done)
	{
		server.stats.conflicts++;
		req->psp->reply_key_problem(req, KEY_IN_USE, stored->path);
	}
	else
	{
		server.stats.replays++;
		req->reply = stored->reply;
		req->reply.replayed = true;
		body_share(req->reply.body);
	}
}

/* Finds what is stored under a key; a finished one ends with its window. */
static StoredReply *
live_reply(const char *key)
{
	StoredReply *stored = hash_get(&replies, key);

	if (stored == NULL || !stored->done || server.key_window == 0 ||
		now_ms() - stored->reserved < server.key_window)
		return stored;
	hash_remove(&replies, key);
	free_stored(stored);
	return NULL;
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
	if (strlen(req->key) > req->psp->longest_key)
	{
		req->psp->reply_key_problem(req, KEY_TOO_LONG, NULL);
		return false;
	}
	full_key(req, &key);
	stored = live_reply(key.data);
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
