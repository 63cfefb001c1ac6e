/*
 * print_bytes.c
 *		One line for each message with all that a reader can see of it: topic,
 *		partition, timestamp, key, value, and each header as name=value, in
 *		their order.  Key and values are in hexadecimal digits, "-" if null.
 */
#include <inttypes.h>
#include <stdio.h>

#include "consume.h"

static void
begin(void)
{
}

static void
print_hex(const void *data, size_t len)
{
	const unsigned char *p = data;

	if (p == NULL)
		putchar_unlocked('-');
	for (size_t i = 0; p != NULL && i < len; i++)
	{
		putchar_unlocked("0123456789abcdef"[p[i] >> 4]);
		putchar_unlocked("0123456789abcdef"[p[i] & 15]);
	}
}

static void
print_message(const rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers;
	const char *name;
	const void *data;
	size_t		len;

	printf("%s %" PRId32 " %" PRId64 " ", rd_kafka_topic_name(message->rkt), message->partition,
		   rd_kafka_message_timestamp(message, NULL));
	print_hex(message->key, message->key_len);
	putchar_unlocked(' ');
	print_hex(message->payload, message->len);
	if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
		for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &data, &len) == 0; i++)
		{
			printf(" %s=", name);
			print_hex(data, len);
		}
	putchar_unlocked('\n');
}

static int
finish(void)
{
	return 0;
}

const Format format_bytes = {"bytes", begin, print_message, finish};
