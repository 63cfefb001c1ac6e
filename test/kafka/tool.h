/*
 * tool.h
 *		What the small Kafka programs of the tests share.
 */
#ifndef TOOL_H
#define TOOL_H

#include <librdkafka/rdkafka.h>

#define EXIT_BROKEN		1		/* what was read violates what is checked */
#define EXIT_TROUBLE	2		/* wrong usage, or Kafka refuses */
#define EXIT_TIMED_OUT	3		/* the awaited end was not reached in time */

extern const char *progname;

extern void die(const char *fmt,...) __attribute__((format(printf, 1, 2), noreturn));
extern long parse_count(const char *what, const char *text);
extern void set_property(rd_kafka_conf_t *conf, const char *name, const char *value);
extern void split_property(char *property, char **value);
extern rd_kafka_t *new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf);

/* Metadata of one topic, or NULL while the broker does not know it. */
extern const struct rd_kafka_metadata *known_topic(rd_kafka_t *rk, rd_kafka_topic_t *rkt,
												   int timeout_ms);

#endif							/* TOOL_H */
