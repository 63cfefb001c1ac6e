/*
 * latency.c
 *		The time from ce_time to the broker's append or to the arrival here.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consume.h"
#include "tool.h"

bool		latency_to_append = false;

static int64_t *samples;		/* microseconds */
static size_t nsamples;
static size_t capacity;
static int64_t without_time;

/*
 * Reads exactly the given number of digits and the character behind them.
 */
static bool
read_number(const char **p, const char *end, int digits, char delimiter, int *number)
{
	*number = 0;
	for (int i = 0; i < digits; i++, (*p)++)
	{
		if (*p == end || **p < '0' || **p > '9')
			return false;
		*number = *number * 10 + (**p - '0');
	}
	if (delimiter == '\0')
		return true;
	return *p < end && *(*p)++ == delimiter;
}

/*
 * RFC 3339 to microseconds since 1970, in UTC.
 */
static bool
parse_time(Text text, int64_t *result)
{
	const char *p = text.data;
	const char *end = p + text.len;
	struct tm	tm = {0};
	int			micros = 0;
	int			offset = 0;

	if (!read_number(&p, end, 4, '-', &tm.tm_year) || !read_number(&p, end, 2, '-', &tm.tm_mon) ||
		!read_number(&p, end, 2, 'T', &tm.tm_mday) || !read_number(&p, end, 2, ':', &tm.tm_hour) ||
		!read_number(&p, end, 2, ':', &tm.tm_min) || !read_number(&p, end, 2, '\0', &tm.tm_sec))
		return false;
	if (p < end && *p == '.')
	{
		int			unit = 100000;

		for (p++; p < end && *p >= '0' && *p <= '9'; p++, unit /= 10)
			micros += (*p - '0') * unit;
	}
	if (p < end && (*p == '+' || *p == '-'))
	{
		int			sign = *p++ == '-' ? -1 : 1;
		int			hours;
		int			minutes;

		if (!read_number(&p, end, 2, ':', &hours) || !read_number(&p, end, 2, '\0', &minutes))
			return false;
		offset = sign * (hours * 3600 + minutes * 60);
	}
	else if (p == end || *p++ != 'Z')
		return false;
	if (p != end)
		return false;

	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*result = ((int64_t) timegm(&tm) - offset) * 1000000 + micros;
	return true;
}

int64_t
append_ms(const rd_kafka_message_t *message)
{
	rd_kafka_timestamp_type_t type;
	int64_t		appended = rd_kafka_message_timestamp(message, &type);

	if (type != RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME)
		die("topic \"%s\" keeps no append time, create it with message.timestamp.type=LogAppendTime",
			rd_kafka_topic_name(message->rkt));
	return appended;
}

static int64_t
arrival(const rd_kafka_message_t *message)
{
	struct timespec now;

	if (!latency_to_append)
	{
		clock_gettime(CLOCK_REALTIME, &now);
		return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
	}
	return append_ms(message) * 1000;
}

static void
begin(void)
{
}

static void
add_sample(const rd_kafka_message_t *message)
{
	Attributes	attributes = get_attributes(message);
	int64_t		created;

	if (attributes.time.data == NULL || !parse_time(attributes.time, &created))
	{
		without_time++;
		return;
	}
	if (nsamples == capacity)
	{
		capacity = capacity ? capacity * 2 : 65536;
		samples = realloc(samples, capacity * sizeof(*samples));
		if (samples == NULL)
			die("out of memory");
	}
	samples[nsamples++] = arrival(message) - created;
}

static int
compare(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

/*
 * The smallest sample that at least this many percent do not exceed.
 */
static int64_t
percentile(double percent)
{
	size_t		rank = (size_t) (percent / 100 * nsamples);

	if (rank * 100 < percent * nsamples)
		rank++;
	return samples[rank > 0 ? rank - 1 : 0];
}

static int
finish(void)
{
	printf("{\"clock\":\"%s\",\"samples\":%zu,\"without_time\":%" PRId64,
		   latency_to_append ? "append" : "receive", nsamples, without_time);
	if (nsamples > 0)
	{
		qsort(samples, nsamples, sizeof(*samples), compare);
		printf(",\"min_us\":%" PRId64 ",\"p50_us\":%" PRId64 ",\"p90_us\":%" PRId64
			   ",\"p99_us\":%" PRId64 ",\"max_us\":%" PRId64,
			   samples[0], percentile(50), percentile(90), percentile(99), samples[nsamples - 1]);
	}
	puts("}");
	return nsamples > 0 && without_time == 0 ? 0 : EXIT_BROKEN;
}

const Format format_latency = {"latency", begin, add_sample, finish};
