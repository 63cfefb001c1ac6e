/*
 * src/worker/kafka_reader.c
 *		Reading back what was published: the committed messages of a partition.
 *
 * A consumer without a group, made for one reading and destroyed after it.
 */
#include "postgres.h"

#include "worker/kafka.h"

/* with nothing read for so long, give up */
#define STALL_MS	10000

static rd_kafka_t *consumer = NULL;
static rd_kafka_topic_t *topic_handle = NULL;
static rd_kafka_queue_t *messages = NULL;
static int32 partition_read;
static bool reading = false;

/* Destroy the consumer, if there is one. */
void
pl_kafka_stop_reading(void)
{
	if (reading)
		rd_kafka_consume_stop(topic_handle, partition_read);
	reading = false;
	if (messages != NULL)
	{
		rd_kafka_queue_io_event_enable(messages, -1, NULL, 0);
		rd_kafka_queue_destroy(messages);
	}
	messages = NULL;
	if (topic_handle != NULL)
		rd_kafka_topic_destroy(topic_handle);
	topic_handle = NULL;
	if (consumer != NULL)
		rd_kafka_destroy(consumer);
	consumer = NULL;
}

static bool
fail(const char *topic, const char *reason)
{
	char		text[512];

	snprintf(text, sizeof(text), "topic %s cannot be read: %s", topic, reason);
	pl_kafka_stop_reading();
	pl_worker_set_error(text);
	return false;
}

/* Take the library's logs, which would go to the standard error. */
static void
drop_events(void)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_get_main(consumer);
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(queue, 0)) != NULL)
	{
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
		{
			const char *facility;
			const char *text;
			int			level;

			if (rd_kafka_event_log(event, &facility, &text, &level) == 0)
				ereport(DEBUG1, (errmsg_internal("payledger relay: librdkafka %s: %s", facility, text)));
		}
		rd_kafka_event_destroy(event);
	}
	rd_kafka_queue_destroy(queue);
}

/* Begin to read at that offset; false if it cannot. */
static bool
start_reading(const char *topic, int32 partition, int64 from)
{
	static const uint64 one = 1;
	char	   *properties = pl_kafka_take_settings();
	rd_kafka_conf_t *conf = pl_kafka_consumer_conf(pl_kafka_brokers, properties);
	char		problem[512];

	pfree(properties);
	consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, problem, sizeof(problem));
	if (consumer == NULL)
	{
		rd_kafka_conf_destroy(conf);
		return fail(topic, problem);
	}
	rd_kafka_set_log_queue(consumer, NULL);
	topic_handle = rd_kafka_topic_new(consumer, topic, NULL);
	if (topic_handle == NULL)
		return fail(topic, rd_kafka_err2str(rd_kafka_last_error()));
	messages = rd_kafka_queue_new(consumer);
	rd_kafka_queue_io_event_enable(messages, pl_kafka_event_fd(), &one, sizeof(one));
	if (rd_kafka_consume_start_queue(topic_handle, partition, from < 0 ? RD_KAFKA_OFFSET_BEGINNING : from, messages) != 0)
		return fail(topic, rd_kafka_err2str(rd_kafka_last_error()));
	partition_read = partition;
	reading = true;
	return true;
}

/*
 * Read the committed messages of a partition from an offset on (-1: from the
 * beginning; so too if that offset is gone), up to and with the one at the
 * offset until, or, if that is -1, to the present end; take() gets key (may be
 * NULL) and value of each as strings that last until it returns, and must not
 * raise errors.  Returns false, with the reason in stat_worker, if that was
 * not possible or the settings changed.
 */
bool
pl_kafka_read(const char *topic, int32 partition, int64 from, int64 until,
			  void (*take) (void *arg, const char *key, const char *value, int64 offset), void *arg)
{
	TimestampTz last = GetCurrentTimestamp();

	pl_kafka_stop_reading();
	if (!start_reading(topic, partition, from))
		return false;
	for (;;)
	{
		rd_kafka_message_t *message = rd_kafka_consume_queue(messages, 0);
		rd_kafka_resp_err_t err;
		bool		ends;

		if (message == NULL)
		{
			drop_events();
			(void) pl_kafka_wait(200);
			if (pl_kafka_settings_changed())
			{
				pl_kafka_stop_reading();
				return false;
			}
			if (TimestampDifferenceExceeds(last, GetCurrentTimestamp(), STALL_MS))
				return fail(topic, "no answer from Kafka for 10 s");
			continue;
		}
		err = message->err;
		ends = err == RD_KAFKA_RESP_ERR__PARTITION_EOF ? until < 0 :
			err == RD_KAFKA_RESP_ERR_NO_ERROR && until >= 0 && message->offset >= until;
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			char	   *key = message->key ? pnstrdup(message->key, message->key_len) : NULL;
			char	   *value = message->payload ? pnstrdup(message->payload, message->len) : NULL;

			last = GetCurrentTimestamp();
			take(arg, key, value, message->offset);
			if (key)
				pfree(key);
			if (value)
				pfree(value);
		}
		rd_kafka_message_destroy(message);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR && err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
			return fail(topic, rd_kafka_err2str(err));
		if (ends)
		{
			pl_kafka_stop_reading();
			return true;
		}
	}
}
