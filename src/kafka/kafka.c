/*
 * src/kafka/kafka.c
 *		A Kafka producer inside a worker.
 *
 * librdkafka's own threads do the network; this process meets them only in the
 * event queue, which writes to an eventfd the worker waits on.  No callback of
 * ours ever runs on a foreign thread, and no error is raised while a handle of
 * the library is held by nobody.
 *
 * Order per key: a key has one partition, the producer is idempotent, never
 * gives a message up, and turns fatal when the broker refuses one, so what a
 * partition has acknowledged is always a prefix of what it was sent.
 */
#include "postgres.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "kafka/kafka_internal.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "worker/worker.h"

char	   *pl_kafka_brokers;
char	   *pl_topic_prefix;

/* after a failure, how long to wait for reports about the other messages */
#define SETTLE_MS	5000
#define SETTLE_TRANSACTION_MS	200
/* how long a question may block the process */
#define ASK_MS		1000
/* after so long nothing is sent any more, but waited for */
#define WAITING_MS	1000
/* with no acknowledgement for so long, say so */
#define STALL_MS	10000
#define SILENCE		"Kafka has not acknowledged events for 10 s"

static rd_kafka_t *producer = NULL;
static rd_kafka_queue_t *queue = NULL;
static int	event_fd = -1;
static WaitEventSet *wait_set = NULL;

/* topics whose metadata has been asked for */
#define MAX_TOPICS	32

static rd_kafka_topic_t *topics[MAX_TOPICS];
static int	ntopics = 0;

/* what the last client was made from */
static char *used_brokers = NULL;
static char *used_properties = NULL;
static bool transactional = false;
static int	seen_reloads = 0;

/* the messages under way; reports of another batch are of no interest */
static bool sending = false;
static PlMessage *batch = NULL;
static PlMessage *batch_last = NULL;	/* follows those of batch */
static int	batch_size = 0;
static uint32 batch_no = 0;
static int	outstanding = 0;

/* Why the batch cannot be completed; the more telling reason wins. */
typedef enum FailureRank
{
	FAILURE_NONE,
	FAILURE_PURGED,				/* a consequence */
	FAILURE_FATAL,				/* the producer as a whole */
	FAILURE_TIMEOUT,			/* a message was not acknowledged in time */
	FAILURE_DELIVERY,			/* a message, which is not to blame */
	FAILURE_TOPIC,				/* a message, for the topic it is for */
	FAILURE_MESSAGE				/* this very message */
} FailureRank;

static FailureRank failure_rank = FAILURE_NONE;
static PlKafkaTrouble failure;

/* Has payledger.kafka_brokers been set? */
bool
pl_kafka_configured(void)
{
	return pl_kafka_brokers[0] != '\0';
}

static void
fail(FailureRank rank, const PlKafkaTrouble *trouble)
{
	if (rank <= failure_rank)
		return;
	failure_rank = rank;
	failure = *trouble;
}

/*
 * Whose fault is it?  A message is to blame only for what any broker would say
 * of it at any time: its size, its form, a policy it violates.
 */
static FailureRank
rank_error(rd_kafka_resp_err_t err)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
		case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
		case RD_KAFKA_RESP_ERR__FATAL:
			return FAILURE_PURGED;
		case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
			return FAILURE_TIMEOUT;
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
		case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
		case RD_KAFKA_RESP_ERR_INVALID_RECORD:
		case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
		case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
			return FAILURE_MESSAGE;
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			return FAILURE_TOPIC;
		default:
			return FAILURE_DELIVERY;
	}
}

static PlMessage *
batch_message(uint32 index)
{
	return index < (uint32) batch_size ? &batch[index] : batch_last;
}

static void
fail_message(const PlMessage *message, rd_kafka_resp_err_t err)
{
	/* what is wrong with the cursor is no event's fault */
	FailureRank rank = message == batch_last ? Min(rank_error(err), FAILURE_TOPIC) : rank_error(err);
	PlKafkaTrouble trouble = {0};

	if (rank == FAILURE_TOPIC)
		pl_kafka_word_topic(&trouble, message->topic, err);
	else if (rank == FAILURE_PURGED)
		strlcpy(trouble.message, "events could not be sent: the Kafka transaction failed", sizeof(trouble.message));
	else if (rank == FAILURE_MESSAGE)
		snprintf(trouble.message, sizeof(trouble.message), "event %s was not taken by topic %s: %s",
				 message->headers[0].value, message->topic, rd_kafka_err2str(err));
	else
	{
		char		text[512];

		/* the same for all of them, so that it is logged once */
		snprintf(text, sizeof(text), "topic %s takes no events: %s", message->topic, rd_kafka_err2str(err));
		pl_kafka_word_producer(&trouble, err, text);
	}
	fail(rank, &trouble);
}

/*
 * In a transaction what fails may be the transaction, as when its topic was
 * deleted, and its messages are purged without a word about the topic: ask.
 */
static void
blame_topic(void)
{
	const char *asked = NULL;

	for (int i = 0; i <= batch_size && failure_rank == FAILURE_PURGED; i++)
	{
		const PlMessage *message = i < batch_size ? &batch[i] : batch_last;
		rd_kafka_topic_t *topic;
		const struct rd_kafka_metadata *metadata;
		rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

		if (message == NULL || message->acknowledged || message->parked || message->is_ahead ||
			(asked != NULL && strcmp(asked, message->topic) == 0))
			continue;
		asked = message->topic;
		topic = rd_kafka_topic_new(producer, asked, NULL);
		if (topic == NULL)
			continue;
		if (rd_kafka_metadata(producer, 0, topic, &metadata, ASK_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			if (metadata->topic_cnt == 1)
				err = metadata->topics[0].err;
			rd_kafka_metadata_destroy(metadata);
		}
		rd_kafka_topic_destroy(topic);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR && rank_error(err) == FAILURE_TOPIC)
			fail_message(message, err);
		pl_worker_interrupts();
	}
}

/* A report about one message; the opaque is batch number and index. */
static void
take_report(const rd_kafka_message_t *report)
{
	uint64		opaque = (uint64) (uintptr_t) report->_private;
	PlMessage  *message;

	if (!sending || (uint32) (opaque >> 32) != batch_no)
		return;
	outstanding--;
	message = batch_message((uint32) opaque);
	if (report->err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		message->acknowledged = true;
		message->partition = report->partition;
		message->offset = report->offset;
	}
	else
		fail_message(message, report->err);
}

/* Trouble with a connection, or of the producer as a whole. */
static void
take_error(rd_kafka_resp_err_t err, const char *text, bool waiting)
{
	char		fatal[512];

	if (err == RD_KAFKA_RESP_ERR__FATAL ||
		rd_kafka_fatal_error(producer, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		PlKafkaTrouble trouble;

		err = rd_kafka_fatal_error(producer, fatal, sizeof(fatal));
		pl_kafka_word_producer(&trouble, err, fatal);
		fail(FAILURE_FATAL, &trouble);
	}
	else
	{
		pl_kafka_note_trouble(err, text, waiting);
		/* a broker may well close a connection that nothing uses */
		if (!waiting)
			ereport(DEBUG1, (errcode(ERRCODE_SUCCESSFUL_COMPLETION), errmsg_internal("payledger relay: %s", text)));
	}
}

static void
take_log(int level, const char *facility, const char *text)
{
	/* what matters comes as an error, too; syslog's 2 is "critical" */
	ereport(level <= 2 ? LOG : DEBUG1,
			(errcode(level <= 2 ? ERRCODE_CONNECTION_FAILURE : ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg_internal("payledger relay: librdkafka %s: %s", facility, text)));
}

/*
 * Serve all events that wait in the queue.  Each is destroyed before we log.
 * Trouble with a connection is shown if somebody waits for an answer.
 */
void
pl_kafka_serve(bool waiting)
{
	rd_kafka_event_t *event;
	uint64		count;

	/* the value does not matter: the queue is read until it is empty */
	(void) !read(event_fd, &count, sizeof(count));

	while (producer != NULL && (event = rd_kafka_queue_poll(queue, 0)) != NULL)
	{
		rd_kafka_event_type_t type = rd_kafka_event_type(event);
		rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
		char		text[512] = "";
		char		facility[64] = "";
		int			level = 0;

		if (type == RD_KAFKA_EVENT_DR)
		{
			const rd_kafka_message_t *report;

			while ((report = rd_kafka_event_message_next(event)) != NULL)
				take_report(report);
		}
		else if (type == RD_KAFKA_EVENT_ERROR)
		{
			err = rd_kafka_event_error(event);
			pl_kafka_copy_text(text, rd_kafka_event_error_string(event), sizeof(text));
		}
		else if (type == RD_KAFKA_EVENT_LOG)
		{
			const char *fac;
			const char *str;

			if (rd_kafka_event_log(event, &fac, &str, &level) == 0)
			{
				pl_kafka_copy_text(facility, fac, sizeof(facility));
				pl_kafka_copy_text(text, str, sizeof(text));
			}
		}
		rd_kafka_event_destroy(event);

		if (type == RD_KAFKA_EVENT_ERROR)
			take_error(err, text, waiting);
		else if (type == RD_KAFKA_EVENT_LOG)
			take_log(level, facility, text);
	}
}

/*
 * Destroy the producer, if there is one.  Messages under way may or may not
 * arrive.
 */
void
pl_kafka_close(void)
{
	rd_kafka_t *old = producer;

	pl_kafka_stop_reading();
	pl_kafka_forget_trouble();
	sending = false;
	producer = NULL;
	if (old == NULL)
		return;
	while (ntopics > 0)
		rd_kafka_topic_destroy(topics[--ntopics]);
	rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
	rd_kafka_queue_destroy(queue);
	queue = NULL;
	/* without this it would wait for messages that cannot be sent */
	rd_kafka_purge(old, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
	rd_kafka_destroy(old);
}

/* Threads of the library must not outlive what exit() takes down. */
static void
close_at_exit(int code, Datum arg)
{
	pl_kafka_close();
}

/* The eventfd and the set to wait on: made once a process. */
static void
prepare_wait(void)
{
	if (wait_set != NULL)
		return;
	if (event_fd < 0)
	{
		ReserveExternalFD();
		event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (event_fd < 0)
		{
			ReleaseExternalFD();
			ereport(ERROR,
					(errcode_for_socket_access(),
					 errmsg("could not create an event descriptor: %m")));
		}
		on_proc_exit(close_at_exit, (Datum) 0);
	}
	wait_set = pl_worker_wait_set(event_fd);
}

/* Keep a copy of the text in *place. */
static void
remember(char **place, const char *text)
{
	if (*place != NULL)
		pfree(*place);
	*place = MemoryContextStrdup(TopMemoryContext, text);
}

/*
 * The properties to make a client from, palloc'd; from now on a reload is
 * compared with them and with the brokers of now.
 */
char *
pl_kafka_take_settings(void)
{
	char	   *properties = pl_kafka_properties();

	remember(&used_brokers, pl_kafka_brokers);
	remember(&used_properties, properties);
	seen_reloads = pl_worker_reloads;
	return properties;
}

/* After a reload: are brokers or properties other than the last client's? */
bool
pl_kafka_settings_changed(void)
{
	char	   *properties;
	bool		changed;

	if (seen_reloads == pl_worker_reloads)
		return false;
	seen_reloads = pl_worker_reloads;
	if (strcmp(used_brokers, pl_kafka_brokers) != 0)
		return true;
	properties = pl_kafka_properties();
	changed = strcmp(used_properties, properties) != 0;
	pfree(properties);
	return changed;
}

/*
 * Is there a producer that works, with the present settings?  One that does
 * not is destroyed.
 */
bool
pl_kafka_is_open(void)
{
	if (producer != NULL &&
		(pl_kafka_settings_changed() || pl_kafka_is_refused() ||
		 rd_kafka_fatal_error(producer, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR))
		pl_kafka_close();
	return producer != NULL;
}

/* For transactions.c. */
rd_kafka_t *
pl_kafka_producer(void)
{
	return producer;
}

/* The descriptor that the library writes to when a queue has something. */
int
pl_kafka_event_fd(void)
{
	prepare_wait();
	return event_fd;
}

/*
 * Make a producer in place of what there is, for transactions with that id, or
 * without any if it is NULL.  It connects by itself.  Raises F0000 when the
 * settings are not usable.
 */
void
pl_kafka_open(const char *transactional_id)
{
	static const uint64 one = 1;
	char	   *properties;
	rd_kafka_conf_t *conf;
	char		problem[512];

	pl_kafka_close();
	prepare_wait();
	properties = pl_kafka_take_settings();
	transactional = transactional_id != NULL;
	conf = pl_kafka_producer_conf(pl_kafka_brokers, properties, transactional_id);
	pfree(properties);

	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, problem, sizeof(problem));
	if (producer == NULL)
		pl_kafka_refuse_conf(conf, "producer", problem);
	rd_kafka_set_log_queue(producer, NULL);
	queue = rd_kafka_queue_get_main(producer);
	rd_kafka_queue_io_event_enable(queue, event_fd, &one, sizeof(one));
	/* events from before are not signalled */
	pl_kafka_serve(false);
}

/*
 * The handle of a topic, or NULL if there are too many or the name cannot be
 * one.  A topic that gets its first message by name is asked about only when
 * a timer of the library comes by, most of a second later; making its handle
 * asks at once.
 */
static rd_kafka_topic_t *
topic_handle(const char *topic)
{
	rd_kafka_topic_t *handle;

	for (int i = 0; i < ntopics; i++)
		if (strcmp(rd_kafka_topic_name(topics[i]), topic) == 0)
			return topics[i];
	if (ntopics == MAX_TOPICS || (handle = rd_kafka_topic_new(producer, topic, NULL)) == NULL)
		return NULL;
	topics[ntopics++] = handle;
	return handle;
}

/* Learn about a topic before there is a message for it, which then need not wait. */
void
pl_kafka_expect_topic(const char *topic)
{
	(void) topic_handle(topic);
}

/*
 * Hand one message to librdkafka, which copies it.
 *
 * Headers go in as one object of ours: those given one by one it frees twice
 * when the topic turns out not to exist (2.0.2, rd_kafka_produceva).
 */
static bool
produce(int index)
{
	PlMessage  *message = batch_message(index);
	rd_kafka_topic_t *topic = topic_handle(message->topic);
	rd_kafka_headers_t *headers = rd_kafka_headers_new(message->nheaders);
	rd_kafka_vu_t vus[8];
	int			n = 0;
	rd_kafka_error_t *error;

	for (int i = 0; i < message->nheaders; i++)
		rd_kafka_header_add(headers, message->headers[i].name, -1, message->headers[i].value, -1);

	if (topic != NULL)
	{
		vus[n].vtype = RD_KAFKA_VTYPE_RKT;
		vus[n++].u.rkt = topic;
	}
	else
	{
		vus[n].vtype = RD_KAFKA_VTYPE_TOPIC;
		vus[n++].u.cstr = message->topic;
	}
	vus[n].vtype = RD_KAFKA_VTYPE_KEY;
	vus[n].u.mem.ptr = unconstify(char *, message->key);
	vus[n++].u.mem.size = strlen(message->key);
	vus[n].vtype = RD_KAFKA_VTYPE_VALUE;
	/* no value at all is a tombstone */
	vus[n].u.mem.ptr = unconstify(char *, message->value);
	vus[n++].u.mem.size = message->value_length;
	vus[n].vtype = RD_KAFKA_VTYPE_PARTITION;
	vus[n++].u.i32 = message == batch_last ? message->partition : RD_KAFKA_PARTITION_UA;
	vus[n].vtype = RD_KAFKA_VTYPE_HEADERS;
	vus[n++].u.headers = headers;
	vus[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	vus[n++].u.i = RD_KAFKA_MSG_F_COPY;
	vus[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
	vus[n++].u.i64 = message->time_ms;
	vus[n].vtype = RD_KAFKA_VTYPE_OPAQUE;
	vus[n++].u.ptr = (void *) (uintptr_t) (((uint64) batch_no << 32) | (uint32) index);

	error = rd_kafka_produceva(producer, vus, n);
	if (error != NULL)
	{
		rd_kafka_resp_err_t err = rd_kafka_error_code(error);

		rd_kafka_error_destroy(error);
		rd_kafka_headers_destroy(headers);
		fail_message(message, err);
		return false;
	}
	outstanding++;
	return true;
}

/* Wait for the reports of the batch; false if the settings changed meanwhile. */
static bool
wait_for_reports(void (*waits) (void))
{
	int64		start = pl_monotonic_ms();
	int64		failed_at = 0;
	bool		stall_reported = false;

	pl_kafka_serve(true);
	while (outstanding > 0)
	{
		int64		now;

		pl_worker_wait(wait_set, failed_at == 0 ? 1000 : SETTLE_TRANSACTION_MS);
		pl_kafka_serve(true);

		now = pl_monotonic_ms();
		/* who dies from here on died waiting */
		if (now - start >= WAITING_MS)
			waits();
		if (failure_rank != FAILURE_NONE)
		{
			if (failed_at == 0)
				failed_at = now;
			/* what fails in a transaction fails it as a whole */
			if (now - failed_at >= (transactional ? SETTLE_TRANSACTION_MS : SETTLE_MS))
				break;
		}
		else if (pl_kafka_settings_changed())
			return false;
		else if (now - start >= STALL_MS)
		{
			if (!stall_reported)
			{
				pl_worker_state("waiting for Kafka");
				pl_kafka_report_silence(SILENCE);
			}
			stall_reported = true;
			/* only another producer may be let in */
			if (pl_kafka_is_refused())
				break;
		}
	}
	return true;
}

/*
 * Publish those of the n messages that are neither acknowledged yet nor to be
 * left out, in order, then *last, unless it is NULL, to the partition that
 * it names, and wait until all are acknowledged.  waits() is called again and
 * again once Kafka has not answered for a second.
 *
 * PL_PUBLISH_REFUSED: a message was refused for what it is;
 * PL_PUBLISH_NO_TOPIC: for the topic it is for; PL_PUBLISH_FAILED: nothing is
 * wrong with any of them.  After these the producer is closed, of each
 * partition's messages at most a prefix has been acknowledged (in a
 * transaction: written, and not to be seen), and the reason is shown in
 * stat_worker.  PL_PUBLISH_ABANDONED: the settings changed meanwhile; which
 * messages have arrived is not known.
 *
 * Needs a producer.  Call it outside of transactions of the database: without
 * transactions of Kafka it may wait for ever.
 */
PlPublished
pl_kafka_publish(PlMessage *messages, int n, PlMessage *last, void (*waits) (void))
{
	bool		settled;
	bool		produced = true;
	PlPublished result;

	sending = true;
	batch = messages;
	batch_size = n;
	batch_last = last;
	batch_no++;
	outstanding = 0;
	failure_rank = FAILURE_NONE;

	for (int i = 0; i < n && produced; i++)
		if (!messages[i].acknowledged && !messages[i].parked && !messages[i].is_ahead)
			produced = produce(i);
	if (produced && last != NULL)
		(void) produce(n);
	settled = wait_for_reports(waits);
	sending = false;

	if (!settled)
	{
		pl_kafka_close();
		return PL_PUBLISH_ABANDONED;
	}
	if (outstanding == 0 && failure_rank == FAILURE_NONE)
	{
		pl_kafka_forget_trouble();
		return PL_PUBLISHED;
	}

	if (failure_rank == FAILURE_PURGED)
		blame_topic();
	result = failure_rank == FAILURE_MESSAGE ? PL_PUBLISH_REFUSED :
		failure_rank == FAILURE_TOPIC ? PL_PUBLISH_NO_TOPIC : PL_PUBLISH_FAILED;
	pl_kafka_note_fencing();
	if (failure_rank == FAILURE_TIMEOUT)
		pl_kafka_report_silence(SILENCE);
	else if (failure_rank != FAILURE_NONE)
		pl_kafka_report(&failure, NULL);
	pl_kafka_close();
	return result;
}

/*
 * Close a producer that failed: what it may still have under way must not come
 * after what is sent again, and it remembers a topic that was missing or
 * forbidden.  The error, in the library's words text, is shown in stat_worker.
 */
void
pl_kafka_give_up(rd_kafka_resp_err_t err, const char *text)
{
	PlKafkaTrouble trouble;

	pl_kafka_word_producer(&trouble, err, text);
	pl_kafka_note_fencing();
	pl_kafka_close();
	pl_kafka_report(&trouble, NULL);
}

/* Why the last batch failed. */
const char *
pl_kafka_failure(void)
{
	return failure.message;
}

/*
 * Wait for work as pl_worker_wait() does, and meanwhile serve what the
 * producer has to say.  Returns whether some queue of the library had
 * something.
 */
bool
pl_kafka_wait(long timeout_ms)
{
	prepare_wait();
	if (!pl_worker_wait(wait_set, timeout_ms))
		return false;
	pl_kafka_serve(false);
	return true;
}
