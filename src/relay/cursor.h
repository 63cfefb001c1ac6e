/*
 * src/relay/cursor.h
 *		What delivery.c, cursor.c, record.c and nodes.c share.
 */
#ifndef PL_CURSOR_H
#define PL_CURSOR_H

#include "relay/relay_internal.h"

/* topics of which a record says how far they are written */
#define PL_MAX_TOPICS	1000

#define PL_TEXT_OF(number)	PL_TEXT_OF_TOKEN(number)
#define PL_TEXT_OF_TOKEN(token)	#token

/* The row in relay_cursors, as far as it concerns delivery; it is loaded when a session begins. */
typedef struct PlCursor
{
	PlDelivery	delivery;		/* which of row and record is authoritative */
	int			epoch;			/* grows with each exactly-once session */
	int64		batch;			/* chunks since setup */
	int64		record_offset;	/* of the newest record in the cursor topic, -1: none */
	char		record_hash[PL_HASH_LENGTH + 1];	/* of its value, or empty */
	int			node_id;		/* in the names below: that of now, or of the row's records */
	char		record_key[128];
	char		transactional_id[128];
	bool		has_claim;		/* the topic has a claim to this node from here */
} PlCursor;

extern PlCursor pl_cursor;

extern const char *pl_cursor_topic(void);
extern void pl_cursor_hash(const char *text, char *hash);
extern void pl_cursor_message(PlMessage *message, const char *key, const char *value);
extern bool pl_cursor_recover(void);

/* bytes of a claim's key */
#define PL_CLAIM_KEY_LENGTH	(sizeof(pl_cursor.record_key) + 32)

extern void pl_cursor_claim(PlMessage *message, char *key);

/* ---- record.c ---- */

/* What a record says, as far as it tells whether it is to be believed. */
typedef struct PlRecord
{
	int64		batch;
	int			epoch;
	int			timeline;
	const char *previous;		/* hash of the record before; may be NULL */
	const char *last_event_id;	/* may be NULL */
	int64		xmax;			/* no transaction from this number on is known to it */
	int64		bound;			/* the highest seq in it */
	bool		is_ours;		/* this server's history contains it */
} PlRecord;

extern bool pl_record_is_text(const char *value, size_t length);
extern bool pl_record_read(const char *value, PlRecord *record);

/* ---- nodes.c: which server has which payledger.node_id ---- */

extern void pl_node_load(void);
extern void pl_node_forget(bool has_claim);
extern void pl_node_take_record(const PlMessage *message);
extern bool pl_node_is_ours(void);
extern const char *pl_node_predecessors(void);
extern bool pl_node_claim(void);

#endif							/* PL_CURSOR_H */
