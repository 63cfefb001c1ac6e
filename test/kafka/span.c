/*
 * span.c
 *		How many messages there are and from when to when they were appended.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#include "consume.h"
#include "tool.h"

static int64_t messages = 0;
static int64_t first_ms = INT64_MAX;
static int64_t last_ms = 0;

static void
begin(void)
{
}

static void
add_message(const rd_kafka_message_t *message)
{
	int64_t		appended_ms = append_ms(message);

	messages++;
	if (appended_ms < first_ms)
		first_ms = appended_ms;
	if (appended_ms > last_ms)
		last_ms = appended_ms;
}

static int
finish(void)
{
	printf("{\"messages\":%" PRId64 ",\"ms\":%" PRId64 "}\n", messages, messages > 0 ? last_ms - first_ms : 0);
	return messages > 0 ? 0 : EXIT_BROKEN;
}

const Format format_span = {"span", begin, add_message, finish};
