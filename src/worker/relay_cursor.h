/*
 * src/worker/relay_cursor.h
 *		What relay_delivery.c and relay_cursor.c share.  Private to src/worker.
 */
#ifndef PL_RELAY_CURSOR_H
#define PL_RELAY_CURSOR_H

#include "worker/worker.h"

/* The row in relay_cursors, as far as it concerns delivery; it is loaded when a session begins. */
typedef struct PlCursor
{
	PlDelivery	delivery;		/* which of row and record is authoritative */
	int			epoch;			/* grows with each exactly-once session */
	int64		batch;			/* chunks since setup */
	int64		record_offset;	/* of the newest record in the cursor topic, -1: none */
	char		record_hash[PL_HASH_LENGTH + 1];	/* of its value, or empty */
	char		record_key[128];
	char		transactional_id[128];
} PlCursor;

extern PlCursor pl_cursor;

extern const char *pl_cursor_topic(void);
extern void pl_cursor_hash(const char *text, char *hash);
extern void pl_cursor_message(PlMessage *message, const char *key, const char *value);
extern bool pl_cursor_recover(void);

#endif							/* PL_RELAY_CURSOR_H */
