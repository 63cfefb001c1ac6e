/*
 * src/worker/kafka.h
 *		What kafka.c and kafka_config.c share.  Private to src/worker.
 */
#ifndef PL_KAFKA_H
#define PL_KAFKA_H

#include "worker/worker.h"

#include <librdkafka/rdkafka.h>

/* ---- kafka_config.c ---- */

extern char *pl_kafka_properties(void);
extern rd_kafka_conf_t *pl_kafka_conf(const char *brokers, char *properties);

#endif							/* PL_KAFKA_H */
