/*
 * src/kafka/kafka_internal.h
 *		What the files of this room share.
 */
#ifndef PL_KAFKA_INTERNAL_H
#define PL_KAFKA_INTERNAL_H

#include "kafka/kafka.h"

#include <librdkafka/rdkafka.h>

/* ---- kafka.c ---- */

extern rd_kafka_t *pl_kafka_producer(void);
extern int	pl_kafka_event_fd(void);
extern char *pl_kafka_take_settings(void);
extern bool pl_kafka_settings_changed(void);
extern void pl_kafka_serve(bool waiting);
extern void pl_kafka_give_up(rd_kafka_resp_err_t err, const char *text);

/* ---- errors.c: words for an operator ---- */

typedef struct PlKafkaTrouble
{
	char		message[512];	/* of stat_worker and the log, always the same */
	char		hint[512];		/* may be empty */
} PlKafkaTrouble;

extern void pl_kafka_word_topic(PlKafkaTrouble *trouble, const char *topic, rd_kafka_resp_err_t err);
extern void pl_kafka_word_partitions(PlKafkaTrouble *trouble, const char *topic, int partitions);
extern void pl_kafka_word_producer(PlKafkaTrouble *trouble, rd_kafka_resp_err_t err, const char *text);
extern void pl_kafka_copy_text(char *to, const char *from, size_t size);
extern void pl_kafka_report(const PlKafkaTrouble *trouble, const char *detail);

/* ---- connection.c: does Kafka talk to us? ---- */

extern void pl_kafka_forget_trouble(void);
extern bool pl_kafka_is_refused(void);
extern void pl_kafka_report_silence(const char *message);
extern void pl_kafka_note_trouble(rd_kafka_resp_err_t err, const char *text, bool waiting);
extern bool pl_kafka_ask(rd_kafka_t *handle, rd_kafka_topic_t *topic, void (*serve) (void),
						 void (*take) (void *arg, const rd_kafka_metadata_topic_t *topic), void *arg);

/* ---- transactions.c ---- */

extern void pl_kafka_note_fencing(void);

/* ---- reader.c ---- */

extern void pl_kafka_stop_reading(void);

/* ---- config.c ---- */

extern char *pl_kafka_properties(void);
extern rd_kafka_conf_t *pl_kafka_producer_conf(const char *brokers, char *properties,
											   const char *transactional_id);
extern rd_kafka_conf_t *pl_kafka_consumer_conf(const char *brokers, char *properties);
pg_noreturn extern void pl_kafka_refuse_conf(rd_kafka_conf_t *conf, const char *what, const char *problem);

#endif							/* PL_KAFKA_INTERNAL_H */
