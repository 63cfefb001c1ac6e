/*
 * resend.c
 *		How fast librdkafka sends: reads messages of topics into memory, then
 *		sends them, key, value and headers as they are, to topics with another
 *		prefix, by a loop that does nothing else.
 *
 * resend BROKERS FROM_PREFIX TO_PREFIX MESSAGES TOPIC...
 *
 * The producer is that of the relay (src/kafka/config.c): idempotent,
 * acks=all, lz4, linger.ms=1, the same partitioner.
 */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tool.h"

#define TIMEOUT_MS	60000

const char *progname = "resend";

static rd_kafka_message_t **messages;
static long nmessages = 0;
static long nfailed = 0;

static void
take_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		nfailed++;
}

/* The last messages of a topic's partitions stay; returns how many were read. */
static void
read_topic(rd_kafka_t *rk, const char *name, long limit)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, name, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	const struct rd_kafka_metadata *metadata = known_topic(rk, rkt, TIMEOUT_MS);
	int			open;

	if (metadata == NULL)
		die("there is no topic \"%s\"", name);
	open = metadata->topics[0].partition_cnt;
	for (int i = 0; i < open; i++)
		rd_kafka_consume_start_queue(rkt, metadata->topics[0].partitions[i].id, RD_KAFKA_OFFSET_BEGINNING, queue);
	while (open > 0 && nmessages < limit)
	{
		rd_kafka_message_t *message = rd_kafka_consume_queue(queue, TIMEOUT_MS);

		if (message == NULL)
			die("topic \"%s\" does not end", name);
		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			messages[nmessages++] = message;
			continue;
		}
		open--;
		rd_kafka_message_destroy(message);
	}
	for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
		rd_kafka_consume_stop(rkt, metadata->topics[0].partitions[i].id);
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_queue_destroy(queue);
	/* the messages refer to the topic and the client: both stay */
}

static void
send_message(rd_kafka_t *rk, rd_kafka_topic_t *rkt, rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers = NULL;
	rd_kafka_vu_t vus[6];
	int			n = 0;
	rd_kafka_error_t *error;

	rd_kafka_message_detach_headers(message, &headers);
	vus[n].vtype = RD_KAFKA_VTYPE_RKT;
	vus[n++].u.rkt = rkt;
	vus[n].vtype = RD_KAFKA_VTYPE_KEY;
	vus[n].u.mem.ptr = message->key;
	vus[n++].u.mem.size = message->key_len;
	vus[n].vtype = RD_KAFKA_VTYPE_VALUE;
	vus[n].u.mem.ptr = message->payload;
	vus[n++].u.mem.size = message->len;
	if (headers != NULL)
	{
		vus[n].vtype = RD_KAFKA_VTYPE_HEADERS;
		vus[n++].u.headers = headers;
	}
	vus[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	vus[n++].u.i = RD_KAFKA_MSG_F_COPY;
	while ((error = rd_kafka_produceva(rk, vus, n)) != NULL)
	{
		if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			die("cannot send: %s", rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
		rd_kafka_poll(rk, 10);
	}
	rd_kafka_poll(rk, 0);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The settings of src/kafka/config.c. */
static rd_kafka_t *
new_producer(const char *brokers)
{
	static const char *const settings[][2] = {
		{"linger.ms", "1"}, {"compression.codec", "lz4"}, {"socket.nagle.disable", "true"},
		{"enable.idempotence", "true"}, {"acks", "all"}, {"partitioner", "murmur2_random"},
		{"queue.buffering.max.messages", "200000"}, {"queue.buffering.max.kbytes", "1048576"}
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set_property(conf, "bootstrap.servers", brokers);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		set_property(conf, settings[i][0], settings[i][1]);
	rd_kafka_conf_set_dr_msg_cb(conf, take_report);
	return new_client(RD_KAFKA_PRODUCER, conf);
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *consumer;
	rd_kafka_t *producer;
	rd_kafka_topic_t *rkts[16];
	const char *names[16];
	int			ntopics = argc - 5;
	long		limit;
	double		start;

	if (ntopics < 1 || ntopics > 16)
		die("usage: resend BROKERS FROM_PREFIX TO_PREFIX MESSAGES TOPIC...");
	limit = parse_count("MESSAGES", argv[4]);
	messages = malloc(sizeof(*messages) * limit);
	set_property(conf, "bootstrap.servers", argv[1]);
	set_property(conf, "enable.partition.eof", "true");
	/* everything read stays in memory */
	set_property(conf, "queued.max.messages.kbytes", "2000000");
	consumer = new_client(RD_KAFKA_CONSUMER, conf);
	producer = new_producer(argv[1]);
	for (int i = 0; i < ntopics; i++)
	{
		char		name[256];
		const struct rd_kafka_metadata *metadata;

		snprintf(name, sizeof(name), "%s.%s", argv[2], argv[i + 5]);
		read_topic(consumer, name, limit);
		snprintf(name, sizeof(name), "%s.%s", argv[3], argv[i + 5]);
		names[i] = strdup(argv[i + 5]);
		rkts[i] = rd_kafka_topic_new(producer, name, NULL);
		metadata = known_topic(producer, rkts[i], TIMEOUT_MS);
		if (metadata == NULL)
			die("there is no topic \"%s\"", name);
		rd_kafka_metadata_destroy(metadata);
	}

	start = now();
	for (long m = 0; m < nmessages; m++)
	{
		const char *topic = rd_kafka_topic_name(messages[m]->rkt) + strlen(argv[2]) + 1;
		int			i = 0;

		while (strcmp(topic, names[i]) != 0)
			i++;
		send_message(producer, rkts[i], messages[m]);
	}
	if (rd_kafka_flush(producer, TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR || nfailed > 0)
		die("not everything was taken");
	printf("{\"messages\":%ld,\"ms\":%.0f}\n", nmessages, (now() - start) * 1000);
	/* what was read is not freed: the process ends */
	return 0;
}
