/*
 * consume.h
 *		Reading topics and what is made of their messages.
 */
#ifndef CONSUME_H
#define CONSUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <librdkafka/rdkafka.h>

/*
 * What becomes of the messages: each is shown once, in the order of arrival,
 * then the end is announced. The end gives the exit code.
 */
typedef struct Format
{
	const char *name;
	void		(*begin) (void);
	void		(*message) (const rd_kafka_message_t *message);
	int			(*finish) (void);
} Format;

extern const Format format_json;
extern const Format format_ids;
extern const Format format_bytes;
extern const Format format_summary;
extern const Format format_latency;
extern const Format format_span;

/* latency.c: measure to the broker's time stamp instead of the arrival here */
extern bool latency_to_append;

/* When the broker appended it, in ms since 1970; dies if the topic does not keep it. */
extern int64_t append_ms(const rd_kafka_message_t *message);

/*
 * Bytes of a message; data is NULL where there are none.
 */
typedef struct Text
{
	const char *data;
	size_t		len;
} Text;

/*
 * The CloudEvents attributes that are checked, from the headers ce_*.
 */
typedef struct Attributes
{
	Text		id;
	Text		subject;
	Text		sequence;
	Text		time;
} Attributes;

extern Attributes get_attributes(const rd_kafka_message_t *message);
extern void print_json_text(Text text);

#endif							/* CONSUME_H */
