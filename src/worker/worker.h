/*
 * src/worker/worker.h
 *		The background workers: one process for each role and database named in
 *		payledger.databases.
 *
 * A role is a function that never returns by itself.  It is entered again
 * after an error: whatever it holds outside PostgreSQL's memory (sockets, the
 * handles of a library) must be in static variables that its beginning puts
 * in order.
 */
#ifndef PL_WORKER_H
#define PL_WORKER_H

#include "core/core.h"

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"

/* ---- settings, defined in payledger.c ---- */

typedef enum PlDelivery
{
	PL_DELIVERY_AT_LEAST_ONCE,
	PL_DELIVERY_EXACTLY_ONCE
} PlDelivery;

extern char *pl_databases;
extern char *pl_kafka_brokers;
extern char *pl_kafka_config_file;
extern char *pl_topic_prefix;
extern int	pl_delivery;
extern int	pl_relay_batch;		/* events */
extern int	pl_relay_shards;	/* relays of each database */
extern int	pl_idempotency_retention;	/* seconds */

/* ---- main.c: registration, start ---- */

extern List *pl_worker_databases(void);
extern void pl_register_workers(void);

pg_noreturn extern void pl_gateway_main(void);	/* gateway.c */
pg_noreturn extern void pl_relay_main(void);	/* relay.c */
pg_noreturn extern void pl_keeper_main(void);	/* keeper.c */

/* ---- turn.c: transactions, waits and errors of a worker ---- */

/*
 * One turn:
 *
 *	if (pl_worker_begin())
 *	{
 *		... queries through core's pl_execute() and pl_select() ...
 *		pl_worker_commit();
 *	}
 *	else
 *		pl_worker_sleep(...);	-- nothing to do in this database at present
 *
 * Between turns the current memory context is pl_worker_context, which lives
 * until the role is entered again.
 */
extern MemoryContext pl_worker_context;

extern bool pl_worker_begin(void);
extern void pl_worker_commit(void);

/* grows with every reload of the configuration files */
extern int	pl_worker_reloads;

extern void pl_worker_interrupts(void);
extern WaitEventSet *pl_worker_wait_set(int fd);
extern bool pl_worker_wait(WaitEventSet *set, long timeout_ms);
extern void pl_worker_sleep(long ms);
extern void pl_worker_back_off(void);
extern void pl_worker_reset_back_off(void);
extern void pl_worker_recover(void);
pg_noreturn extern void pl_worker_run(void (*role_main) (void));

/* ---- status.c: what stat_worker shows ---- */

extern Size pl_worker_shmem_size(void);
extern void pl_worker_shmem_init(void);
extern const char *pl_role_name(PlRole role);
extern int	pl_role_shards(PlRole role);
extern int	pl_worker_shard(void);
extern int	pl_worker_starting(int slot);
extern void pl_worker_started(int slot);
extern void pl_worker_state(const char *state);
extern void pl_worker_turn(void);
extern void pl_worker_count(int64 n);
extern void pl_worker_insist(const char *message);
extern void pl_worker_set_error(const char *message);
extern void pl_worker_report(const char *message, const char *detail, const char *hint);
extern void pl_worker_warn(const char *message, const char *hint);
extern bool pl_worker_record_error(const char *message);
extern void pl_worker_pausing(long ms);
extern void pl_worker_clear_error(void);

/* ---- kafka.c, kafka_config.c: a producer that keeps the order ---- */

/*
 * ce_id, ce_type, ce_source, ce_specversion, ce_time, ce_subject, ce_sequence,
 * content-type, traceparent, ce_replayid
 */
#define PL_MAX_HEADERS 10

typedef struct PlHeader
{
	const char *name;
	const char *value;
} PlHeader;

/* A message to publish, and what became of it. */
typedef struct PlMessage
{
	const char *aggregatetype;	/* these two say behind which others it waits */
	const char *event_key;
	int64		dead_letter_id; /* if it is one that is sent again */
	int64		phantom_id;		/* if it retracts one */
	const char *topic;
	const char *key;
	size_t		key_length;		/* if it was read: a key may have a zero byte in it */
	const char *value;			/* NULL: a tombstone */
	size_t		value_length;
	int64		time_ms;		/* since 1970, the message's timestamp */
	int64		seq;			/* of the event */
	PlHeader	headers[PL_MAX_HEADERS];
	int			nheaders;		/* 0: not an event, but a cursor */
	bool		parked;			/* not to be sent */
	bool		is_ahead;		/* not to be sent: Kafka has it from a former history */
	bool		acknowledged;	/* by all in-sync replicas */
	int32		partition;		/* these two if acknowledged, or read */
	int64		offset;
} PlMessage;

typedef enum PlPublished
{
	PL_PUBLISHED,				/* all are acknowledged */
	PL_PUBLISH_REFUSED,			/* a message was refused for what it is */
	PL_PUBLISH_NO_TOPIC,		/* a topic is missing or forbidden */
	PL_PUBLISH_FAILED,			/* no message is to blame */
	PL_PUBLISH_ABANDONED		/* the settings changed */
} PlPublished;

extern bool pl_kafka_configured(void);
extern bool pl_kafka_is_open(void);
extern void pl_kafka_open(const char *transactional_id);
extern void pl_kafka_expect_topic(const char *topic);
extern bool pl_kafka_connect(void);
extern PlPublished pl_kafka_publish(PlMessage *messages, int n, PlMessage *last);
extern const char *pl_kafka_failure(void);
extern bool pl_kafka_wait(long timeout_ms);
extern void pl_kafka_close(void);

/* ---- kafka_transactions.c ---- */

extern bool pl_kafka_init_transactions(void);
extern bool pl_kafka_begin(void);
extern bool pl_kafka_commit(void);
extern bool pl_kafka_was_fenced(void);

/* ---- kafka_reader.c: reading a partition back ---- */

/* of a topic; what says that there are more is wrong */
#define PL_MAX_PARTITIONS 1000000

extern bool pl_kafka_read(const char *topic, int32 partition, int64 from, int64 until,
						  void (*take) (void *arg, const PlMessage *message), void *arg);
extern bool pl_kafka_read_if_allowed(const char *topic, int32 partition, int64 from, int64 until,
									 void (*take) (void *arg, const PlMessage *message), void *arg, bool *forbidden);
extern int	pl_kafka_partitions(const char *topic);
extern int	pl_kafka_look_for(const char *topic);
extern int64 pl_kafka_end(const char *topic, int32 partition);

/* ---- relay_shards.c: which events are this relay's ---- */

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

/* ---- relay_messages.c: events as chunks of messages ---- */

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

/* ---- relay_window.c: which events come next ---- */

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

/* ---- relay_wal.c: what may be published ---- */

extern XLogRecPtr pl_make_durable(void);
extern int	pl_timeline(void);
extern bool pl_history_contains(int timeline, XLogRecPtr lsn);

/* ---- relay_delivery.c: at least once, exactly once ---- */

extern PlReadiness pl_delivery_begin(bool *is_new);
extern void pl_delivery_forget(void);
extern void pl_delivery_secure(void);
extern PlPublished pl_delivery_send(PlChunk *chunk);

/* ---- relay_positions.c: how far each partition was written ---- */

extern void pl_positions_forget(void);
extern void pl_positions_load(const char *record);
extern bool pl_positions_at_end(void);
extern void pl_positions_take(const PlChunk *chunk);
extern void pl_positions_describe(StringInfo out, const PlChunk *chunk);
extern bool pl_positions_read(void (*take) (void *arg, const PlMessage *message), void *arg);

/* ---- relay_phantoms.c: events of a history that was lost ---- */

extern bool pl_phantoms_find(void);
extern void pl_phantoms_store(void);
extern void pl_phantoms_mark_ahead(PlChunk *chunk);
extern PlRead pl_phantoms_read(PlChunk *chunk, MemoryContext context);
extern void pl_phantoms_retracted(const PlChunk *chunk);

/* ---- relay_dead_letters.c: events that Kafka refuses ---- */

extern bool pl_dead_letters_mark(PlChunk *chunk);
extern bool pl_dead_letters_park(PlChunk *chunk, const char *reason);
extern bool pl_dead_letters_read(PlChunk *chunk, MemoryContext context);
extern void pl_dead_letters_published(const PlChunk *chunk);
extern void pl_dead_letters_refused(const PlChunk *chunk, const char *reason);

/* ---- relay_deaths.c: what the relay was sending when it died ---- */

extern void pl_deaths_begin(int shard);
extern int	pl_deaths_limit(const PlChunk *chunk, int n);
extern bool pl_deaths_is_killer(const PlChunk *part);
extern void pl_deaths_sending(const PlChunk *part);
extern void pl_deaths_sent(void);

/* ---- relay_replays.c: events published again ---- */

extern PlRead pl_replays_read(PlChunk *chunk, MemoryContext context);
extern void pl_replays_published(const PlChunk *chunk);
extern void pl_replays_cancel(const PlChunk *chunk, const char *reason);
extern void pl_replays_refused(const PlChunk *chunk, const char *reason);

/* ---- relay_routes.c: topics and keys ---- */

extern void pl_routes_load(void);
extern void pl_routes_expect(void (*expect) (const char *topic));
extern void pl_route(PlMessage *message, const char *event_type, const char *aggregateid);

#endif							/* PL_WORKER_H */
