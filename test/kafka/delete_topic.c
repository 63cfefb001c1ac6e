/*
 * delete_topic.c
 *		Deletes a topic.
 *
 * delete-topic BROKERS NAME
 */
#include <stdio.h>

#include "tool.h"

#define TIMEOUT_MS 30000

const char *progname = "delete-topic";

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_DeleteTopic_t *topic;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	rd_kafka_t *rk;
	size_t		nresults;
	char		reason[512];

	if (argc != 3)
		die("usage: delete-topic BROKERS NAME");
	set_property(conf, "bootstrap.servers", argv[1]);
	rk = new_client(RD_KAFKA_PRODUCER, conf);
	topic = rd_kafka_DeleteTopic_new(argv[2]);
	queue = rd_kafka_queue_new(rk);
	options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DELETETOPICS);
	if (rd_kafka_AdminOptions_set_operation_timeout(options, TIMEOUT_MS, reason, sizeof(reason)) ||
		rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, reason, sizeof(reason)))
		die("%s", reason);
	rd_kafka_DeleteTopics(rk, &topic, 1, options, queue);
	event = rd_kafka_queue_poll(queue, -1);
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));
	results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &nresults);
	for (size_t i = 0; i < nresults; i++)
		if (rd_kafka_topic_result_error(results[i]))
			die("%s", rd_kafka_topic_result_error_string(results[i]));
	rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	rd_kafka_DeleteTopic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
