/*
 * print_ids.c
 *		One line for each message: its ce_id, or nothing where it has none.
 */
#include <stdio.h>

#include "consume.h"

static void
begin(void)
{
}

static void
print_message(const rd_kafka_message_t *message)
{
	Attributes	attributes = get_attributes(message);

	if (attributes.id.data != NULL)
		fwrite_unlocked(attributes.id.data, 1, attributes.id.len, stdout);
	putchar_unlocked('\n');
}

static int
finish(void)
{
	return 0;
}

const Format format_ids = {"ids", begin, print_message, finish};
