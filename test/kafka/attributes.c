/*
 * attributes.c
 *		The CloudEvents attributes of a message.
 */
#include <string.h>

#include "consume.h"

Attributes
get_attributes(const rd_kafka_message_t *message)
{
	Attributes	attributes = {0};
	rd_kafka_headers_t *headers;
	const char *name;
	const void *data;
	size_t		len;

	if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return attributes;
	for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &data, &len) == 0; i++)
	{
		Text		value = {data, len};

		if (strncmp(name, "ce_", 3) != 0)
			continue;
		if (strcmp(name, "ce_id") == 0)
			attributes.id = value;
		else if (strcmp(name, "ce_subject") == 0)
			attributes.subject = value;
		else if (strcmp(name, "ce_sequence") == 0)
			attributes.sequence = value;
		else if (strcmp(name, "ce_time") == 0)
			attributes.time = value;
	}
	return attributes;
}
