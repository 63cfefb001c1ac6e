/*
 * tool.c
 *		What the small Kafka programs of the tests share.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

void
die(const char *fmt,...)
{
	va_list		ap;

	fprintf(stderr, "%s: ", progname);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(EXIT_TROUBLE);
}

long
parse_count(const char *what, const char *text)
{
	char	   *end;
	long		value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value <= 0 || value > INT_MAX)
		die("%s must be a positive integer, not \"%s\"", what, text);
	return value;
}

/*
 * Cuts "name=value" in two.
 */
void
split_property(char *property, char **value)
{
	char	   *equals = strchr(property, '=');

	if (equals == NULL)
		die("\"%s\" is not name=value", property);
	*equals = '\0';
	*value = equals + 1;
}

void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		reason[512];

	if (rd_kafka_conf_set(conf, name, value, reason, sizeof(reason)) != RD_KAFKA_CONF_OK)
		die("%s", reason);
}

rd_kafka_t *
new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char		reason[512];
	rd_kafka_t *rk = rd_kafka_new(type, conf, reason, sizeof(reason));

	if (rk == NULL)
		die("%s", reason);
	return rk;
}

const struct rd_kafka_metadata *
known_topic(rd_kafka_t *rk, rd_kafka_topic_t *rkt, int timeout_ms)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err;

	err = rd_kafka_metadata(rk, 0, rkt, &metadata, timeout_ms);
	if (err)
		die("no metadata for topic \"%s\": %s", rd_kafka_topic_name(rkt), rd_kafka_err2str(err));
	if (metadata->topic_cnt == 1 && metadata->topics[0].err == 0 &&
		metadata->topics[0].partition_cnt > 0)
		return metadata;
	rd_kafka_metadata_destroy(metadata);
	return NULL;
}
