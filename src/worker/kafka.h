/*
 * src/worker/kafka.h
 *		What the files kafka*.c share.  Private to src/worker.
 */
#ifndef PL_KAFKA_H
#define PL_KAFKA_H

#include "worker/worker.h"

#include <librdkafka/rdkafka.h>

/* ---- kafka.c ---- */

extern rd_kafka_t *pl_kafka_producer(void);
extern int	pl_kafka_event_fd(void);
extern char *pl_kafka_take_settings(void);
extern bool pl_kafka_settings_changed(void);
extern void pl_kafka_serve(void);
extern void pl_kafka_give_up(const char *text);

/* ---- kafka_transactions.c ---- */

extern void pl_kafka_note_fencing(void);

/* ---- kafka_reader.c ---- */

extern void pl_kafka_stop_reading(void);

/* ---- kafka_config.c ---- */

extern char *pl_kafka_properties(void);
extern rd_kafka_conf_t *pl_kafka_producer_conf(const char *brokers, char *properties,
											   const char *transactional_id);
extern rd_kafka_conf_t *pl_kafka_consumer_conf(const char *brokers, char *properties);

#endif							/* PL_KAFKA_H */
