/*
 * src/kafka/errors.c
 *		What an error of Kafka says to an operator: in words that are the same
 *		whenever the trouble is, so that the log has them once, and with a hint.
 */
#include "postgres.h"

#include "kafka/kafka_internal.h"
#include "mb/pg_wchar.h"
#include "worker/worker.h"

/*
 * Copy what the library says, which may hold what a broker or a file said: as
 * many whole characters as there is room for, with ? for bytes that are none
 * and for control characters.
 */
void
pl_kafka_copy_text(char *to, const char *from, size_t size)
{
	size_t		left = strlen(from);
	size_t		n = 0;

	while (left > 0)
	{
		int			length = pg_encoding_mblen(GetDatabaseEncoding(), from);
		bool		valid = (size_t) length <= left && pg_verify_mbstr(GetDatabaseEncoding(), from, length, true);

		if (!valid)
			length = 1;
		if (n + length >= size)
			break;
		if (valid && (length > 1 || ((unsigned char) *from >= ' ' && *from != 0x7f)))
			memcpy(to + n, from, length);
		else
			to[n] = '?';
		n += length;
		from += length;
		left -= length;
	}
	to[n] = '\0';
}

static bool
is_cursor_topic(const char *topic)
{
	size_t		length = strlen(pl_topic_prefix);

	return strncmp(topic, pl_topic_prefix, length) == 0 && strcmp(topic + length, ".cursor") == 0;
}

static void
word_missing_topic(PlKafkaTrouble *trouble, const char *topic)
{
	snprintf(trouble->message, sizeof(trouble->message), "topic %s does not exist", topic);
	if (is_cursor_topic(topic))
		snprintf(trouble->hint, sizeof(trouble->hint),
				 "Create it with a partition for each relay and cleanup.policy=compact:"
				 " kafka-topics.sh --create --topic %s --partitions %d --config cleanup.policy=compact",
				 topic, pl_relay_shards);
	else
		snprintf(trouble->hint, sizeof(trouble->hint),
				 "Create it with as many partitions as it is to have consumers: kafka-topics.sh --create --topic %s --partitions 12",
				 topic);
}

static void
word_forbidden_topic(PlKafkaTrouble *trouble, const char *topic)
{
	snprintf(trouble->message, sizeof(trouble->message), "no permission for topic %s", topic);
	snprintf(trouble->hint, sizeof(trouble->hint), "Allow the relay's user %s on it: kafka-acls.sh --add --topic %s ...",
			 is_cursor_topic(topic) ? "READ, WRITE and DESCRIBE" : "WRITE and DESCRIBE", topic);
}

/*
 * Word an error about a topic: that it is missing or forbidden, or else that it
 * takes no events.
 */
void
pl_kafka_word_topic(PlKafkaTrouble *trouble, const char *topic, rd_kafka_resp_err_t err)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
			word_missing_topic(trouble, topic);
			break;
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			word_forbidden_topic(trouble, topic);
			break;
		default:
			snprintf(trouble->message, sizeof(trouble->message), "topic %s cannot be used: %s",
					 topic, rd_kafka_err2str(err));
			trouble->hint[0] = '\0';
	}
}

/*
 * Word that a topic has so few partitions that it lacks this relay's.
 */
void
pl_kafka_word_partitions(PlKafkaTrouble *trouble, const char *topic, int partitions)
{
	snprintf(trouble->message, sizeof(trouble->message), "topic %s has fewer partitions (%d) than there are relays (%d)",
			 topic, partitions, pl_relay_shards);
	snprintf(trouble->hint, sizeof(trouble->hint), "Give it a partition for each relay: kafka-topics.sh --alter --topic %s --partitions %d",
			 topic, pl_relay_shards);
}

/*
 * Word an error of the producer as a whole; text is what the library says.
 */
void
pl_kafka_word_producer(PlKafkaTrouble *trouble, rd_kafka_resp_err_t err, const char *text)
{
	const char *message = text;
	const char *hint = "";

	switch (err)
	{
		case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
			message = "no permission for the relay's transactional id";
			hint = "Allow the relay's user WRITE and DESCRIBE on transactional ids that begin with payledger.:"
				" kafka-acls.sh --add --transactional-id payledger. --resource-pattern-type prefixed ...";
			break;
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
			message = "no permission to publish with an idempotent producer";
			hint = "Allow the relay's user WRITE on the topics it publishes to, or IDEMPOTENT_WRITE on the cluster.";
			break;
		case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
			hint = "The brokers' transaction.max.timeout.ms must be 15000 or more.";
			break;
		default:
			break;
	}
	pl_kafka_copy_text(trouble->message, message, sizeof(trouble->message));
	strlcpy(trouble->hint, hint, sizeof(trouble->hint));
}

/* Show the trouble as the worker's last error, and log it unless it is old. */
void
pl_kafka_report(const PlKafkaTrouble *trouble, const char *detail)
{
	pl_worker_report(trouble->message, detail, trouble->hint[0] ? trouble->hint : NULL);
}
