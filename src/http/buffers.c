/*
 * src/http/buffers.c
 *		What is read of replies, within a budget for all of them.
 *
 * Called below libcurl: malloc instead of palloc, and no errors.
 */
#include "postgres.h"

#include "http/buffers.h"
#include "http/http.h"

#define FIRST_BYTES 2048
#define KEPT_BYTES	16384		/* of each buffer, outside of the budget */

static dlist_head being_read = DLIST_STATIC_INIT(being_read);
static size_t large_bytes = 0;	/* of all buffers, beyond KEPT_BYTES each */

static size_t
beyond_kept(size_t allocated)
{
	return allocated > KEPT_BYTES ? allocated - KEPT_BYTES : 0;
}

static void
free_bytes(PlBytes *buffer)
{
	large_bytes -= beyond_kept(buffer->allocated);
	free(buffer->data);
	memset(buffer, 0, sizeof(PlBytes));
}

static size_t
large_bytes_of(const PlReplyBuffers *reply)
{
	return beyond_kept(reply->head.allocated) + beyond_kept(reply->body.allocated);
}

/* The largest reply that is being read; NULL if none is large. */
static PlReplyBuffers *
largest_reply(void)
{
	PlReplyBuffers *largest = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &being_read)
	{
		PlReplyBuffers *reply = dlist_container(PlReplyBuffers, node, iter.cur);

		if (large_bytes_of(reply) > (largest ? large_bytes_of(largest) : 0))
			largest = reply;
	}
	return largest;
}

/*
 * Make room in the budget: the largest reply is given up, whosoever it is, so
 * that large ones do not crowd out the small.
 */
static void
make_room(size_t more)
{
	while (large_bytes + more > PL_HTTP_REPLY_BUDGET)
	{
		PlReplyBuffers *largest = largest_reply();

		if (largest == NULL)
			return;
		pl_reply_free(largest);
		largest->too_large = true;
	}
}

/*
 * A reply is going to be read.
 */
void
pl_reply_begin(PlReplyBuffers *reply)
{
	reply->head.length = reply->body.length = 0;
	reply->too_large = false;
	dlist_push_tail(&being_read, &reply->node);
}

/*
 * Append to one of the reply's buffers, keeping a NUL behind.  Returns false
 * without memory, or if the reply is too large by now.
 */
bool
pl_reply_append(PlReplyBuffers *reply, PlBytes *buffer, const char *data, size_t length)
{
	if (!reply->too_large && buffer->length + length + 1 > buffer->allocated)
	{
		size_t		size = buffer->allocated ? buffer->allocated : FIRST_BYTES;
		size_t		more;
		char	   *grown;

		while (size < buffer->length + length + 1)
			size *= 2;
		more = beyond_kept(size) - beyond_kept(buffer->allocated);
		make_room(more);
		grown = reply->too_large ? NULL : realloc(buffer->data, size);
		if (grown == NULL)
			return false;
		large_bytes += more;
		buffer->data = grown;
		buffer->allocated = size;
	}
	if (reply->too_large)
		return false;
	memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	buffer->data[buffer->length] = '\0';
	return true;
}

/*
 * Nothing more is read of it; what was read stays.
 */
void
pl_reply_end(PlReplyBuffers *reply)
{
	dlist_delete(&reply->node);
}

/*
 * Free the buffers.
 */
void
pl_reply_free(PlReplyBuffers *reply)
{
	free_bytes(&reply->head);
	free_bytes(&reply->body);
}
