/*
 * print_json.c
 *		One JSON object a line for each message.
 */
#include <inttypes.h>
#include <string.h>

#include "consume.h"

/*
 * How many of the bytes stand for themselves in a JSON string.
 */
static size_t
plain_length(const unsigned char *p, size_t len)
{
	size_t		n = 0;

	while (n < len && p[n] >= 0x20 && p[n] < 0x80 && p[n] != '"' && p[n] != '\\')
		n++;
	return n;
}

/*
 * The length of the UTF-8 sequence beyond ASCII at p, 0 if it is not one.
 */
static size_t
utf8_length(const unsigned char *p, size_t len)
{
	size_t		n;

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
	{
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}

	/* overlong forms, surrogates, beyond U+10FFFF */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/*
 * A JSON string, or null. Bytes that are not UTF-8 become U+FFFD.
 */
void
print_json_text(Text text)
{
	const unsigned char *p = (const unsigned char *) text.data;
	size_t		len = text.len;

	if (p == NULL)
	{
		fputs("null", stdout);
		return;
	}
	putchar_unlocked('"');
	while (len > 0)
	{
		size_t		n = plain_length(p, len);

		if (n > 0)
			fwrite_unlocked(p, 1, n, stdout);
		else if (*p < 0x20)
		{
			printf("\\u%04x", *p);
			n = 1;
		}
		else if (*p == '"' || *p == '\\')
		{
			putchar_unlocked('\\');
			putchar_unlocked(*p);
			n = 1;
		}
		else if ((n = utf8_length(p, len)) > 0)
			fwrite_unlocked(p, 1, n, stdout);
		else
		{
			fputs("\\ufffd", stdout);
			n = 1;
		}
		p += n;
		len -= n;
	}
	putchar_unlocked('"');
}

static void
print_headers(const rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers;
	const char *name;
	const void *data;
	size_t		len;

	putchar_unlocked('{');
	if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &data, &len) == 0; i++)
		{
			if (i > 0)
				putchar_unlocked(',');
			print_json_text((Text) {name, strlen(name)});
			putchar_unlocked(':');
			print_json_text((Text) {data, len});
		}
	}
	putchar_unlocked('}');
}

static void
begin(void)
{
}

static void
print_message(const rd_kafka_message_t *message)
{
	const char *topic = rd_kafka_topic_name(message->rkt);

	fputs("{\"topic\":", stdout);
	print_json_text((Text) {topic, strlen(topic)});
	printf(",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 ",\"key\":",
		   message->partition, message->offset, rd_kafka_message_timestamp(message, NULL));
	print_json_text((Text) {message->key, message->key_len});
	fputs(",\"headers\":", stdout);
	print_headers(message);
	fputs(",\"value\":", stdout);
	print_json_text((Text) {message->payload, message->len});
	fputs("}\n", stdout);
}

static int
finish(void)
{
	return 0;
}

const Format format_json = {"json", begin, print_message, finish};
