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

#include "nodes/pg_list.h"
#include "storage/latch.h"

/* ---- settings, defined in payledger.c ---- */

typedef enum PlDelivery
{
	PL_DELIVERY_AT_LEAST_ONCE
} PlDelivery;

extern char *pl_databases;
extern char *pl_kafka_brokers;
extern char *pl_kafka_config_file;
extern char *pl_topic_prefix;
extern int	pl_delivery;
extern int	pl_relay_batch;		/* events */
extern int	pl_idempotency_retention;	/* seconds */

/* ---- main.c: registration, start ---- */

extern List *pl_worker_databases(void);
extern void pl_register_workers(void);

extern void pl_gateway_main(void);	/* gateway.c */
extern void pl_relay_main(void);	/* relay.c */
extern void pl_keeper_main(void);	/* keeper.c */

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
extern void pl_worker_started(int slot);
extern void pl_worker_state(const char *state);
extern void pl_worker_turn(void);
extern void pl_worker_count(int64 n);
extern void pl_worker_set_error(const char *message);
extern bool pl_worker_record_error(const char *message);
extern void pl_worker_clear_error(void);

/* ---- kafka.c, kafka_config.c: a producer that keeps the order ---- */

/*
 * ce_id, ce_type, ce_source, ce_specversion, ce_time, ce_subject, ce_sequence,
 * content-type, traceparent
 */
#define PL_MAX_HEADERS 9

typedef struct PlHeader
{
	const char *name;
	const char *value;
} PlHeader;

/* A message to publish, and what became of it. */
typedef struct PlMessage
{
	const char *topic;
	const char *key;
	const char *value;
	int64		time_ms;		/* since 1970, the message's timestamp */
	int64		seq;			/* of the event */
	PlHeader	headers[PL_MAX_HEADERS];
	int			nheaders;
	bool		acknowledged;	/* by all in-sync replicas */
} PlMessage;

typedef enum PlPublished
{
	PL_PUBLISHED,				/* all are acknowledged */
	PL_PUBLISH_REFUSED,			/* one was refused for good */
	PL_PUBLISH_ABANDONED		/* the settings changed */
} PlPublished;

extern bool pl_kafka_configured(void);
extern bool pl_kafka_open(void);
extern void pl_kafka_expect_topic(const char *topic);
extern PlPublished pl_kafka_publish(PlMessage *messages, int n);
extern void pl_kafka_wait(long timeout_ms);
extern void pl_kafka_close(void);

/* ---- relay_window.c: which events come next ---- */

/* A piece of a snapshot window, in the order to publish. */
typedef struct PlChunk
{
	PlMessage  *messages;
	int			n;				/* may be 0 for the last of a window */
	int64		last_seq;		/* of the last message */
	bool		first_read;		/* nothing of this window was read before */
	bool		ends_window;	/* nothing of this window comes after */
} PlChunk;

typedef enum PlRead
{
	PL_READ_NOTHING,
	PL_READ_CHUNK,
	PL_READ_AGAIN
} PlRead;

extern void pl_window_forget(void);
extern PlRead pl_window_read(PlChunk *chunk, MemoryContext context);
extern void pl_window_advance(const PlChunk *chunk);

#endif							/* PL_WORKER_H */
