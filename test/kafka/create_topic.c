/*
 * create_topic.c
 *		Creates a topic and returns when every partition of it has a leader.
 *
 * create-topic BROKERS NAME PARTITIONS [setting=value ...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tool.h"

#define TIMEOUT_MS 30000

const char *progname = "create-topic";

static void
create(rd_kafka_t *rk, rd_kafka_NewTopic_t *topic)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t		nresults;
	char		reason[512];

	if (rd_kafka_AdminOptions_set_operation_timeout(options, TIMEOUT_MS, reason, sizeof(reason)) ||
		rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, reason, sizeof(reason)))
		die("%s", reason);
	rd_kafka_CreateTopics(rk, &topic, 1, options, queue);
	event = rd_kafka_queue_poll(queue, -1);
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));
	results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event),
												  &nresults);
	for (size_t i = 0; i < nresults; i++)
	{
		if (rd_kafka_topic_result_error(results[i]))
			die("%s", rd_kafka_topic_result_error_string(results[i]));
	}
	rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
}

/*
 * The controller has decided; whoever produces next asks the broker, which
 * learns of it a moment later.
 */
static int
has_leaders(rd_kafka_t *rk, rd_kafka_topic_t *rkt, int partitions)
{
	const struct rd_kafka_metadata *metadata = known_topic(rk, rkt, TIMEOUT_MS);
	int			leaders = 0;

	if (metadata == NULL)
		return 0;
	for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
	{
		if (metadata->topics[0].partitions[i].leader >= 0)
			leaders++;
	}
	rd_kafka_metadata_destroy(metadata);
	return leaders == partitions;
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_NewTopic_t *topic;
	rd_kafka_topic_t *rkt;
	rd_kafka_t *rk;
	int			partitions;
	char		reason[512];

	if (argc < 4)
		die("usage: create-topic BROKERS NAME PARTITIONS [setting=value ...]");
	partitions = parse_count("PARTITIONS", argv[3]);

	topic = rd_kafka_NewTopic_new(argv[2], partitions, 1, reason, sizeof(reason));
	if (topic == NULL)
		die("%s", reason);
	for (int i = 4; i < argc; i++)
	{
		char	   *value;

		split_property(argv[i], &value);
		rd_kafka_NewTopic_set_config(topic, argv[i], value);
	}

	set_property(conf, "bootstrap.servers", argv[1]);
	rk = new_client(RD_KAFKA_PRODUCER, conf);
	create(rk, topic);
	rd_kafka_NewTopic_destroy(topic);

	rkt = rd_kafka_topic_new(rk, argv[2], NULL);
	for (int waited_ms = 0; !has_leaders(rk, rkt, partitions); waited_ms += 10)
	{
		if (waited_ms >= TIMEOUT_MS)
			die("topic \"%s\" has partitions without a leader", argv[2]);
		usleep(10000);
	}
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
	return 0;
}
