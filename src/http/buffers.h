/*
 * src/http/buffers.h
 *		What is read of replies, within a budget for all of them.
 */
#ifndef PL_HTTP_BUFFERS_H
#define PL_HTTP_BUFFERS_H

#include "lib/ilist.h"

typedef struct PlBytes
{
	char	   *data;			/* malloc'ed */
	size_t		length;
	size_t		allocated;
} PlBytes;

/* Of one transfer; zeroed before first use. */
typedef struct PlReplyBuffers
{
	dlist_node	node;			/* while the reply is read */
	PlBytes		head;
	PlBytes		body;
	bool		too_large;		/* this reply, or all of them together */
} PlReplyBuffers;

extern void pl_reply_begin(PlReplyBuffers *reply);
extern bool pl_reply_append(PlReplyBuffers *reply, PlBytes *buffer, const char *data, size_t length);
extern void pl_reply_end(PlReplyBuffers *reply);
extern void pl_reply_free(PlReplyBuffers *reply);

#endif							/* PL_HTTP_BUFFERS_H */
