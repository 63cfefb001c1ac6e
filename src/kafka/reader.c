/*
 * src/kafka/reader.c
 *		Reading back what was published: the committed messages of a partition.
 *
 * A consumer without a group, made for one reading and destroyed after it.
 */
#include "postgres.h"

#include "kafka/kafka_internal.h"
#include "worker/worker.h"

/* with nothing read for so long, give up */
#define STALL_MS	10000
/* how long a single question may block the process */
#define ANSWER_MS	2000
/* the same, if it can be asked again; signals are served in between */
#define STEP_MS		200
/* bytes of a key or value; brokers take 1 MB unless they are told otherwise */
#define MAX_LENGTH	(256 * 1024 * 1024)

static rd_kafka_t *consumer = NULL;
static rd_kafka_topic_t *topic_handle = NULL;
static rd_kafka_queue_t *messages = NULL;
static int32 partition_read;
static bool reading = false;

/* of the reading under way: that it is forbidden is no trouble; it is */
static bool may_be_forbidden = false;
static bool is_forbidden = false;

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

/* Take the library's errors, and its logs, which would go to the standard error. */
static void
serve(void)
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
			{
				char		line[512];

				pl_kafka_copy_text(line, text, sizeof(line));
				ereport(DEBUG1, (errcode(ERRCODE_SUCCESSFUL_COMPLETION), errmsg_internal("payledger relay: librdkafka %s: %s", facility, line)));
			}
		}
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			pl_kafka_note_trouble(rd_kafka_event_error(event), rd_kafka_event_error_string(event), true);
		rd_kafka_event_destroy(event);
	}
	rd_kafka_queue_destroy(queue);
}

static bool
fail(const PlKafkaTrouble *trouble)
{
	pl_kafka_stop_reading();
	pl_kafka_report(trouble, NULL);
	return false;
}

static bool
fail_topic(const char *topic, rd_kafka_resp_err_t err)
{
	PlKafkaTrouble trouble;

	if (err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED && may_be_forbidden)
	{
		is_forbidden = true;
		pl_kafka_stop_reading();
		return false;
	}
	pl_kafka_word_topic(&trouble, topic, err);
	return fail(&trouble);
}

/* What is known of the topic. */
typedef struct Topic
{
	rd_kafka_resp_err_t err;
	int			partitions;
} Topic;

static void
take_topic(void *arg, const rd_kafka_metadata_topic_t *metadata)
{
	Topic	   *topic = arg;

	topic->err = metadata->err;
	topic->partitions = Min(metadata->partition_cnt, PL_MAX_PARTITIONS);
}

/*
 * Ask whether there is that partition of the topic, which a consumer would
 * learn after minutes only; false if there is not, or nobody answers.
 */
static bool
find_partition(const char *topic, int32 partition)
{
	Topic		known = {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART};
	PlKafkaTrouble trouble;

	if (!pl_kafka_ask(consumer, topic_handle, serve, take_topic, &known))
	{
		pl_kafka_stop_reading();
		return false;
	}
	/* a new topic has no leader for a moment, which reading waits for */
	if (known.err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
		return true;
	if (known.err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return fail_topic(topic, known.err);
	if (partition < known.partitions)
		return true;
	pl_kafka_word_partitions(&trouble, topic, known.partitions);
	return fail(&trouble);
}

/* Make a consumer, which no broker makes a topic for; false if there cannot be such a topic. */
static bool
make_consumer(const char *topic)
{
	char	   *properties = pl_kafka_take_settings();
	rd_kafka_conf_t *conf = pl_kafka_consumer_conf(pl_kafka_brokers, properties);
	char		problem[512];

	pfree(properties);
	pl_kafka_forget_trouble();
	consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, problem, sizeof(problem));
	if (consumer == NULL)
		pl_kafka_refuse_conf(conf, "consumer", problem);
	rd_kafka_set_log_queue(consumer, NULL);
	topic_handle = rd_kafka_topic_new(consumer, topic, NULL);
	return topic_handle != NULL || fail_topic(topic, rd_kafka_last_error());
}

/* Begin to read at that offset; false if it cannot. */
static bool
start_reading(const char *topic, int32 partition, int64 from)
{
	static const uint64 one = 1;

	if (!make_consumer(topic) || !find_partition(topic, partition))
		return false;
	messages = rd_kafka_queue_new(consumer);
	rd_kafka_queue_io_event_enable(messages, pl_kafka_event_fd(), &one, sizeof(one));
	if (rd_kafka_consume_start_queue(topic_handle, partition, from < 0 ? RD_KAFKA_OFFSET_BEGINNING : from, messages) != 0)
		return fail_topic(topic, rd_kafka_last_error());
	partition_read = partition;
	reading = true;
	return true;
}

/* Bytes with a zero byte behind them, palloc'd; NULL for none, and for more than any of ours has. */
static char *
copy_bytes(const void *bytes, size_t length)
{
	char	   *copy;

	if (bytes == NULL || length > MAX_LENGTH)
		return NULL;
	copy = palloc(length + 1);
	memcpy(copy, bytes, length);
	copy[length] = '\0';
	return copy;
}

/* What was read, as one of ours; its strings last as long as the message. */
static void
describe(PlMessage *message, const char *topic, rd_kafka_message_t *from)
{
	rd_kafka_headers_t *headers;
	const void *value;
	size_t		size;

	memset(message, 0, sizeof(PlMessage));
	message->topic = topic;
	message->partition = from->partition;
	message->offset = from->offset;
	message->key = copy_bytes(from->key, from->key_len);
	message->key_length = from->key_len;
	message->value = copy_bytes(from->payload, from->len);
	message->value_length = from->len;
	if (rd_kafka_message_headers(from, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	/* the library ends each value with a zero byte */
	while (message->nheaders < PL_MAX_HEADERS &&
		   rd_kafka_header_get_all(headers, message->nheaders, &message->headers[message->nheaders].name,
								   &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR)
		message->headers[message->nheaders++].value = value ? value : "";
}

/*
 * Where the partition ends now, so that who goes on writing does not keep us
 * reading: the offset behind its newest message, committed or not.  False, with
 * the reason in stat_worker, if nobody says so.
 */
static bool
find_end(const char *topic, int32 partition, int64 *end)
{
	int64		start = pl_monotonic_ms();
	rd_kafka_resp_err_t err;

	for (;;)
	{
		int64_t		low;
		int64_t		high;

		err = rd_kafka_query_watermark_offsets(consumer, topic, partition, &low, &high, STEP_MS);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			*end = high;
			return true;
		}
		serve();
		pl_worker_interrupts();
		if (pl_kafka_settings_changed() || pl_kafka_is_refused() ||
			pl_monotonic_ms() - start >= STALL_MS)
			return fail_topic(topic, err);
	}
}

static bool
read_partition(const char *topic, int32 partition, int64 from, int64 until,
			   void (*take) (void *arg, const PlMessage *message), void *arg)
{
	int64		last = pl_monotonic_ms();
	bool		to_end = until < 0;

	pl_kafka_stop_reading();
	if (!start_reading(topic, partition, from))
		return false;
	if (to_end)
	{
		if (!find_end(topic, partition, &until))
			return false;
		until--;
	}
	for (;;)
	{
		rd_kafka_message_t *message = rd_kafka_consume_queue(messages, 0);
		rd_kafka_resp_err_t err;
		bool		ends;

		if (message == NULL)
		{
			serve();
			(void) pl_kafka_wait(200);
			if (pl_kafka_settings_changed())
			{
				pl_kafka_stop_reading();
				return false;
			}
			if (pl_monotonic_ms() - last >= STALL_MS)
			{
				pl_kafka_stop_reading();
				pl_kafka_report_silence("Kafka has not answered for 10 s");
				return false;
			}
			continue;
		}
		err = message->err;
		/* the newest may be in a transaction that is open: then the end comes before them */
		ends = err == RD_KAFKA_RESP_ERR__PARTITION_EOF ? to_end :
			err == RD_KAFKA_RESP_ERR_NO_ERROR && message->offset >= until;
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			PlMessage	taken;

			last = pl_monotonic_ms();
			describe(&taken, topic, message);
			take(arg, &taken);
			if (taken.key)
				pfree(unconstify(char *, taken.key));
			if (taken.value)
				pfree(unconstify(char *, taken.value));
		}
		rd_kafka_message_destroy(message);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR && err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
			return fail_topic(topic, err);
		if (ends)
		{
			pl_kafka_stop_reading();
			return true;
		}
		/* the wait above is not come to while messages are there */
		pl_worker_interrupts();
	}
}

/* How many partitions a topic has; -1, with the error in *err, if that is not to be found out. */
static int
count_partitions(const char *topic, rd_kafka_resp_err_t *err)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(pl_kafka_producer(), topic, NULL);
	const struct rd_kafka_metadata *metadata;
	int			result = -1;

	if (handle == NULL)
	{
		*err = rd_kafka_last_error();
		return -1;
	}
	*err = rd_kafka_metadata(pl_kafka_producer(), 0, handle, &metadata, ANSWER_MS);
	rd_kafka_topic_destroy(handle);
	if (*err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (metadata->topic_cnt == 1)
			*err = metadata->topics[0].err;
		if (*err == RD_KAFKA_RESP_ERR_NO_ERROR && metadata->topic_cnt == 1)
			result = metadata->topics[0].partition_cnt;
		rd_kafka_metadata_destroy(metadata);
	}
	if (result > PL_MAX_PARTITIONS)
	{
		*err = RD_KAFKA_RESP_ERR__BAD_MSG;
		result = -1;
	}
	return result;
}

/*
 * Read the committed messages of a partition from an offset on (-1: from the
 * beginning; so too if that offset is gone), up to and with the one at the
 * offset until, or, if that is -1, to the present end; take() gets each with
 * strings that last until it returns, key and value may be NULL, of headers
 * the first ten, and must not raise errors.  Returns false, with the reason in stat_worker, if that was
 * not possible or the settings changed.
 */
bool
pl_kafka_read(const char *topic, int32 partition, int64 from, int64 until,
			  void (*take) (void *arg, const PlMessage *message), void *arg)
{
	may_be_forbidden = false;
	return read_partition(topic, partition, from, until, take, arg);
}

/*
 * The same where we may not be allowed to: then it returns true, having read
 * nothing, and sets *forbidden.
 */
bool
pl_kafka_read_if_allowed(const char *topic, int32 partition, int64 from, int64 until,
						 void (*take) (void *arg, const PlMessage *message), void *arg, bool *forbidden)
{
	bool		result;

	may_be_forbidden = true;
	is_forbidden = false;
	result = read_partition(topic, partition, from, until, take, arg);
	*forbidden = is_forbidden;
	return result || is_forbidden;
}

/*
 * How many partitions a topic has, 0 if it does not exist; -1, with the reason
 * in stat_worker, if that is not to be found out.  Needs a producer.
 */
int
pl_kafka_partitions(const char *topic)
{
	rd_kafka_resp_err_t err;
	int			result = count_partitions(topic, &err);

	if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return 0;
	may_be_forbidden = false;
	if (result < 0)
		(void) fail_topic(topic, err);
	return result;
}

/*
 * The same, for a topic that may be missing or forbidden, when it is 0, too;
 * it is not made by asking.
 */
int
pl_kafka_look_for(const char *topic)
{
	Topic		known = {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART};
	bool		answered;

	may_be_forbidden = false;
	pl_kafka_stop_reading();
	if (!make_consumer(topic))
		return -1;
	answered = pl_kafka_ask(consumer, topic_handle, serve, take_topic, &known);
	pl_kafka_stop_reading();
	if (!answered)
		return -1;
	if (known.err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return known.partitions;
	if (known.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || known.err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		known.err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
		return 0;
	(void) fail_topic(topic, known.err);
	return -1;
}

/*
 * Where the next message of a partition will be; -1, with the reason in
 * stat_worker, if that is not to be found out.  Needs a producer.
 */
int64
pl_kafka_end(const char *topic, int32 partition)
{
	int64_t		low;
	int64_t		high;
	rd_kafka_resp_err_t err = rd_kafka_query_watermark_offsets(pl_kafka_producer(), topic, partition, &low, &high, ANSWER_MS);

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return high;
	may_be_forbidden = false;
	(void) fail_topic(topic, err);
	return -1;
}
