/*
 * src/outbox/outbox.h
 *		Appending events in the commit that causes them; partitions.
 */
#ifndef PL_OUTBOX_H
#define PL_OUTBOX_H

#include "core/core.h"
#include "utils/uuid.h"

/* ---- catalogue.c ---- */

typedef struct PlEventType
{
	const char *type;
	const char *aggregatetype;	/* payment, ledger, payout */
	const char *description;
	const char *members;		/* of its data, see catalogue.c; NULL: no value at all */
} PlEventType;

extern const PlEventType *pl_event_type(const char *type);

/* ---- events.c ---- */

typedef struct PlEventBatch PlEventBatch;

extern PlEventBatch *pl_events_new(void);

/*
 * data is the JSON object of the envelope's "data"; a traceparent that is not
 * well-formed counts as none, which is NULL.
 * key is the Kafka key.  version is the aggregate's, taken under its row lock.
 */
extern void pl_event_add(PlEventBatch *batch, const char *type, int64 aggregate_id,
						 int64 version, const char *key, const char *data,
						 const char *traceparent);
extern void pl_events_append(PlEventBatch *batch);
extern void pl_events_append_always(PlEventBatch *batch);

extern pg_uuid_t *pl_event_id(int64 aggregate_id, int64 version);
extern char *pl_event_source(int node_id);

/* ---- traceparent.c ---- */

/* where the trace id is within a traceparent, and its hexadecimal digits */
#define PL_TRACE_ID_START	3
#define PL_TRACE_ID_LENGTH	32

extern bool pl_has_form(const char *text, size_t length, const char *form);

extern char *pl_traceparent_setting;	/* for its definition only: pl_traceparent() reads it */

extern bool pl_is_traceparent(const char *text, size_t length);
extern char *pl_trace_id(const char *text);
extern char *pl_traceparent(void);

/* ---- damage.c ---- */

extern char *pl_event_damage(text *payload, text *traceparent);

/* ---- routes.c, replays.c ---- */

extern void pl_check_topic(const char *topic);
extern const PlMachine pl_replay_machine;

/* ---- phantoms.c ---- */

extern const PlMachine pl_phantom_machine;

/* ---- partitions.c ---- */

extern int	pl_outbox_make_partitions(void);
extern bool pl_outbox_drop_partition(void);

/* ---- dead_letters.c ---- */

/* What becomes of later events with the key of one that Kafka refused. */
typedef enum PlAfterDeadLetter
{
	PL_DEAD_LETTER_HOLDS,		/* they wait behind it */
	PL_DEAD_LETTER_PASSED		/* they go on */
} PlAfterDeadLetter;

extern void pl_outbox_init(void);

extern int	pl_after_dead_letter;	/* payledger.after_dead_letter */
extern int	pl_outbox_retention;	/* seconds */
extern int	pl_outbox_limit;	/* events; 0: none */

/* ---- limit.c ---- */

extern void pl_outbox_check_limit(void);
extern void pl_outbox_alert(void);

#endif							/* PL_OUTBOX_H */
