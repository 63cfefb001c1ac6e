/*
 * src/relay/relay_internal.h
 *		What the files of this room share.
 */
#ifndef PL_RELAY_INTERNAL_H
#define PL_RELAY_INTERNAL_H

#include "kafka/kafka.h"
#include "relay/relay.h"

#include "access/xlogdefs.h"

/* ---- shards.c: which events are this relay's ---- */

typedef enum PlReadiness
{
	PL_READY,
	PL_NOT_READY,				/* the reason is in stat_worker */
	PL_NO_DATABASE				/* no extension, no setup(), a restore */
} PlReadiness;

/*
 * The shard that this relay serves at present, of how many: the keys with that
 * remainder of their hash.  It is also the partition of the cursor's topic.
 */
extern int	pl_shard;
extern int	pl_shards;

/* Is the event with that key this shard's?  Parameters: shards, shard. */
#define PL_IN_SHARD(key, shards, shard) \
	"(" shards " = 1 OR payledger.event_shard(" key ", " shards ") = " shard ")"

extern void pl_shards_forget(void);
extern PlReadiness pl_shards_begin(void);

/* ---- messages.c: events as chunks of messages ---- */

/* What pl_chunk_make() needs, in this order, as the first columns of a result. */
#define PL_EVENT_COLUMNS(o) \
	o ".seq, " o ".\"timestamp\", " o ".payload, " o ".event_key, " o ".aggregatetype, " \
	o ".id, " o ".type, " o ".ce_source, " o ".ce_specversion, " o ".ce_time, " \
	o ".ce_subject, " o ".version, " o ".content_type, " o ".traceparent, " o ".aggregateid"
#define PL_NEVENT_COLUMNS 15

/* What a chunk is; only the first kind moves the cursor, all of them count. */
typedef enum PlChunkKind
{
	PL_CHUNK_WINDOW,			/* the next events of the window */
	PL_CHUNK_POSITION,			/* no events: tells where the cursor is */
	PL_CHUNK_DEAD_LETTERS,		/* dead letters that are sent again */
	PL_CHUNK_RETRACTIONS,		/* retractions of phantoms */
	PL_CHUNK_REPLAY				/* published again on request */
} PlChunkKind;

#define PL_HASH_LENGTH	64		/* SHA-256 in hexadecimal digits */

/* A piece of a snapshot window, or of something else, in the order to publish. */
typedef struct PlChunk
{
	MemoryContext context;		/* of the messages */
	PlMessage  *messages;
	int			n;				/* may be 0 for the last of a window */
	int64		last_seq;		/* of the last message */
	bool		first_read;		/* nothing of this window was read before */
	bool		ends_window;	/* nothing of this window comes after */
	PlChunkKind kind;
	int64		replay_id;		/* of a PL_CHUNK_REPLAY */

	/* set by pl_delivery_send() */
	int64		batch;			/* counts the chunks sent; 0: nothing was sent */
	int64		record_offset;	/* of the cursor's record */
	char		record_hash[PL_HASH_LENGTH + 1];	/* of its value; empty: there is none */
} PlChunk;

extern int64 pl_unix_ms(Timestamp at);
extern void pl_add_header(PlMessage *message, const char *name, const char *value);
extern void pl_chunk_make(PlChunk *chunk, PlChunkKind kind, int n, MemoryContext context);
extern int	pl_chunk_events(const PlChunk *chunk);

/* ---- window.c: which events come next ---- */

typedef enum PlRead
{
	PL_READ_NOTHING,
	PL_READ_CHUNK,
	PL_READ_AGAIN,
	PL_READ_STOPPED				/* nothing may be published at present */
} PlRead;

extern void pl_window_forget(void);
extern void pl_window_load(void);
extern PlRead pl_window_read(PlChunk *chunk, MemoryContext context);
extern void pl_window_describe(StringInfo out, const PlChunk *chunk);
extern void pl_window_advance(const PlChunk *chunk);
extern void pl_window_renew_bound(void);
extern void pl_window_set_target(void);
extern void pl_window_forget_target(void);
extern bool pl_window_at_target(void);
extern void pl_window_target_columns(PlArgs *args);

/* ---- wal.c: what may be published ---- */

extern XLogRecPtr pl_make_durable(void);
extern int	pl_timeline(void);
extern bool pl_history_contains(int timeline, XLogRecPtr lsn);

/* ---- delivery.c: at least once, exactly once ---- */

extern PlReadiness pl_delivery_begin(bool *is_new);
extern void pl_delivery_forget(void);
extern void pl_delivery_secure(void);
extern PlPublished pl_delivery_send(PlChunk *chunk);

/* ---- positions.c: how far each partition was written ---- */

extern void pl_positions_forget(void);
extern void pl_positions_load(const char *record);
extern bool pl_positions_at_end(void);
extern void pl_positions_take(const PlChunk *chunk);
extern void pl_positions_describe(StringInfo out, const PlChunk *chunk);
extern bool pl_positions_read(void (*take) (void *arg, const PlMessage *message), void *arg);

/* ---- phantoms.c: events of a history that was lost ---- */

extern bool pl_phantoms_find(void);
extern void pl_phantoms_store(void);
extern void pl_phantoms_mark_ahead(PlChunk *chunk);
extern PlRead pl_phantoms_read(PlChunk *chunk, MemoryContext context);
extern void pl_phantoms_retracted(const PlChunk *chunk);

/* ---- dead_letters.c: events that Kafka refuses ---- */

extern bool pl_dead_letters_mark(PlChunk *chunk);
extern bool pl_dead_letters_park(PlChunk *chunk, const char *reason);
extern bool pl_dead_letters_read(PlChunk *chunk, MemoryContext context);
extern void pl_dead_letters_published(const PlChunk *chunk);
extern void pl_dead_letters_refused(const PlChunk *chunk, const char *reason);

/* ---- deaths.c: what the relay was sending when it died ---- */

extern void pl_deaths_begin(int shard);
extern int	pl_deaths_limit(const PlChunk *chunk, int n);
extern bool pl_deaths_is_killer(const PlChunk *part);
extern void pl_deaths_sending(const PlChunk *part);
extern void pl_deaths_sent(void);

/* ---- replays.c: events published again ---- */

extern PlRead pl_replays_read(PlChunk *chunk, MemoryContext context);
extern void pl_replays_published(const PlChunk *chunk);
extern void pl_replays_cancel(const PlChunk *chunk, const char *reason);
extern void pl_replays_refused(const PlChunk *chunk, const char *reason);

/* ---- routes.c: topics and keys ---- */

extern void pl_routes_load(void);
extern void pl_routes_expect(void (*expect) (const char *topic));
extern void pl_route(PlMessage *message, const char *event_type, const char *aggregateid);

#endif							/* PL_RELAY_INTERNAL_H */
