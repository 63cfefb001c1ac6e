/*
 * src/kafka/kafka.h
 *		A librdkafka producer that keeps the order, its transactions, and reading
 *		a partition back.  What is published, and when, is the caller's business.
 */
#ifndef PL_KAFKA_H
#define PL_KAFKA_H

#include "core/core.h"

/* ---- settings, registered in payledger.c ---- */

extern char *pl_kafka_brokers;
extern char *pl_kafka_config_file;
extern char *pl_topic_prefix;

/* ---- kafka.c, config.c: a producer that keeps the order ---- */

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
	int32		partition;		/* of a cursor where it goes; else, with the offset, if acknowledged or read */
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
extern PlPublished pl_kafka_publish(PlMessage *messages, int n, PlMessage *last, void (*waits) (void));
extern const char *pl_kafka_failure(void);
extern bool pl_kafka_wait(long timeout_ms);
extern void pl_kafka_close(void);

/* ---- transactions.c ---- */

extern bool pl_kafka_init_transactions(void);
extern bool pl_kafka_begin(void);
extern bool pl_kafka_commit(void);
extern bool pl_kafka_was_fenced(void);

/* ---- reader.c: reading a partition back ---- */

/* of a topic; what says that there are more is wrong */
#define PL_MAX_PARTITIONS 1000000

extern bool pl_kafka_read(const char *topic, int32 partition, int64 from, int64 until,
						  void (*take) (void *arg, const PlMessage *message), void *arg);
extern bool pl_kafka_read_if_allowed(const char *topic, int32 partition, int64 from, int64 until,
									 void (*take) (void *arg, const PlMessage *message), void *arg, bool *forbidden);
extern int	pl_kafka_partitions(const char *topic);
extern int	pl_kafka_look_for(const char *topic);
extern int64 pl_kafka_end(const char *topic, int32 partition);

#endif							/* PL_KAFKA_H */
