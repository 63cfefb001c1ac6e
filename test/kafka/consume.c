/*
 * consume.c
 *		Reads topics and prints or checks what it reads.
 *
 * It joins no group and commits nothing, so that it leaves no trace at the
 * broker and may read the same log as often as a test likes.
 */
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "consume.h"
#include "tool.h"

#define MAX_TOPICS		64
#define MAX_PARTITIONS	4096
#define WAIT_MS			20		/* between two looks at the clock */
#define QUERY_MS		5000

typedef struct Partition
{
	rd_kafka_topic_t *rkt;
	int32_t		partition;
	bool		at_end;
} Partition;

const char *progname = "consume";

static const char usage[] =
"usage: consume --brokers B --topics T1,T2 [--from-beginning]\n"
"               [--until N | --idle-ms MS | --to-end] [--timeout S]\n"
"               [--properties NAME=VALUE,...] --format json|ids|bytes|summary|latency|span\n"
"               [--clock receive|append]\n"
"Without an end it reads until --timeout or a signal. Exit code: 0 good, 1 the\n"
"log is not, 2 wrong usage or refused by Kafka, 3 the end was not reached in time.";

/* what to read, and when it is enough */
static char *topics;
static bool from_beginning;
static long until;
static long idle_ms;
static bool to_end;
static long timeout_s;
static const Format *format;

static rd_kafka_t *rk;
static rd_kafka_queue_t *queue;
static rd_kafka_topic_t *rkts[MAX_TOPICS];
static int	nrkts;
static Partition partitions[MAX_PARTITIONS];
static int	npartitions;
static int	nat_end;
static int64_t deadline_ms = INT64_MAX;

static volatile sig_atomic_t interrupted;

static void
interrupt(int signo)
{
	(void) signo;
	interrupted = 1;
}

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
set_properties(rd_kafka_conf_t *conf, char *properties)
{
	for (char *property = strtok(properties, ","); property; property = strtok(NULL, ","))
	{
		char	   *value;

		split_property(property, &value);
		set_property(conf, property, value);
	}
}

static const Format *
find_format(const char *name)
{
	static const Format *const formats[] = {&format_json, &format_ids, &format_bytes, &format_summary, &format_latency, &format_span};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
	{
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	}
	die("unknown format \"%s\"", name);
}

static void
parse_options(int argc, char **argv, rd_kafka_conf_t *conf)
{
	static const struct option options[] = {
		{"brokers", required_argument, NULL, 'b'},
		{"topics", required_argument, NULL, 't'},
		{"from-beginning", no_argument, NULL, 'B'},
		{"until", required_argument, NULL, 'n'},
		{"idle-ms", required_argument, NULL, 'i'},
		{"to-end", no_argument, NULL, 'e'},
		{"timeout", required_argument, NULL, 's'},
		{"properties", required_argument, NULL, 'X'},
		{"format", required_argument, NULL, 'f'},
		{"clock", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0}
	};
	const char *brokers = NULL;
	int			c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (c)
		{
			case 'b':
				brokers = optarg;
				break;
			case 't':
				topics = optarg;
				break;
			case 'B':
				from_beginning = true;
				break;
			case 'n':
				until = parse_count("--until", optarg);
				break;
			case 'i':
				idle_ms = parse_count("--idle-ms", optarg);
				break;
			case 'e':
				to_end = true;
				break;
			case 's':
				timeout_s = parse_count("--timeout", optarg);
				break;
			case 'X':
				set_properties(conf, optarg);
				break;
			case 'f':
				format = find_format(optarg);
				break;
			case 'c':
				if (strcmp(optarg, "append") == 0)
					latency_to_append = true;
				else if (strcmp(optarg, "receive") != 0)
					die("unknown clock \"%s\"", optarg);
				break;
			default:
				die("%s", usage);
		}
	}
	if (optind != argc || brokers == NULL || topics == NULL || format == NULL ||
		(until > 0) + (idle_ms > 0) + to_end > 1)
		die("%s", usage);
	set_property(conf, "bootstrap.servers", brokers);
}

/*
 * Adds the partitions of a topic, which may not exist yet.
 */
static void
find_partitions(rd_kafka_topic_t *rkt)
{
	const struct rd_kafka_metadata *metadata;

	while ((metadata = known_topic(rk, rkt, QUERY_MS)) == NULL)
	{
		if (interrupted || now_ms() >= deadline_ms)
		{
			fprintf(stderr, "%s: there is no topic \"%s\"\n", progname, rd_kafka_topic_name(rkt));
			exit(EXIT_TIMED_OUT);
		}
		usleep(WAIT_MS * 1000);
	}
	for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
	{
		if (npartitions == MAX_PARTITIONS)
			die("more than %d partitions", MAX_PARTITIONS);
		partitions[npartitions++] = (Partition) {rkt, metadata->topics[0].partitions[i].id, false};
	}
	rd_kafka_metadata_destroy(metadata);
}

static void
start_partition(const Partition *partition)
{
	int64_t		offset = RD_KAFKA_OFFSET_BEGINNING;
	int64_t		low;

	if (!from_beginning)
	{
		rd_kafka_resp_err_t err;

		err = rd_kafka_query_watermark_offsets(rk, rd_kafka_topic_name(partition->rkt),
											   partition->partition, &low, &offset, QUERY_MS);
		if (err)
			die("cannot find the end of topic \"%s\": %s",
				rd_kafka_topic_name(partition->rkt), rd_kafka_err2str(err));
	}
	if (rd_kafka_consume_start_queue(partition->rkt, partition->partition, offset, queue) != 0)
		die("cannot read topic \"%s\": %s",
			rd_kafka_topic_name(partition->rkt), rd_kafka_err2str(rd_kafka_last_error()));
}

static void
start_reading(void)
{
	for (char *topic = strtok(topics, ","); topic; topic = strtok(NULL, ","))
	{
		if (nrkts == MAX_TOPICS)
			die("more than %d topics", MAX_TOPICS);
		rkts[nrkts] = rd_kafka_topic_new(rk, topic, NULL);
		if (rkts[nrkts] == NULL)
			die("topic \"%s\": %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
		find_partitions(rkts[nrkts++]);
	}
	for (int i = 0; i < npartitions; i++)
		start_partition(&partitions[i]);

	/* whoever waits for this line can rely on reading what is sent after it */
	fprintf(stderr, "reading %d partitions\n", npartitions);
}

static void
stop_reading(void)
{
	for (int i = 0; i < npartitions; i++)
		rd_kafka_consume_stop(partitions[i].rkt, partitions[i].partition);
	for (int i = 0; i < nrkts; i++)
		rd_kafka_topic_destroy(rkts[i]);
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy(rk);
}

static void
note_end(const rd_kafka_message_t *message)
{
	for (int i = 0; i < npartitions; i++)
	{
		if (partitions[i].rkt == message->rkt && partitions[i].partition == message->partition &&
			!partitions[i].at_end)
		{
			partitions[i].at_end = true;
			nat_end++;
		}
	}
}

/*
 * Reads to the end asked for; false if the time was up before.
 */
static bool
read_messages(void)
{
	int64_t		last_ms = now_ms();
	long		nread = 0;

	while (!interrupted)
	{
		rd_kafka_message_t *message = rd_kafka_consume_queue(queue, 0);

		if (message == NULL)
		{
			fflush(stdout);
			message = rd_kafka_consume_queue(queue, WAIT_MS);
		}
		if (message == NULL)
		{
			int64_t		now = now_ms();

			if (idle_ms > 0 && now - last_ms >= idle_ms)
				return true;
			if (now >= deadline_ms)
				return until == 0 && idle_ms == 0 && !to_end;
			continue;
		}

		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			format->message(message);
			nread++;
			if (idle_ms > 0)
				last_ms = now_ms();
		}
		else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			note_end(message);
		else
			die("%s", rd_kafka_message_errstr(message));
		rd_kafka_message_destroy(message);

		if ((until > 0 && nread >= until) || (to_end && nat_end == npartitions))
			return true;
		if (nread % 1024 == 0 && now_ms() >= deadline_ms)
			return until == 0 && idle_ms == 0 && !to_end;
	}
	return true;
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	struct sigaction action = {.sa_handler = interrupt};
	bool		complete;
	int			code;

	/* an offset that is gone must be an error, not a silent jump */
	set_property(conf, "auto.offset.reset", "error");
	set_property(conf, "enable.partition.eof", "true");
	/* the end of a log is known by an empty answer */
	set_property(conf, "fetch.wait.max.ms", "50");
	set_property(conf, "socket.nagle.disable", "true");
	set_property(conf, "reconnect.backoff.max.ms", "1000");
	parse_options(argc, argv, conf);
	if (timeout_s > 0)
		deadline_ms = now_ms() + timeout_s * 1000;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	rk = new_client(RD_KAFKA_CONSUMER, conf);
	queue = rd_kafka_queue_new(rk);
	start_reading();
	format->begin();
	complete = read_messages();
	code = format->finish();
	if (fflush(stdout) != 0)
		die("cannot write: %m");
	stop_reading();
	return complete ? code : EXIT_TIMED_OUT;
}
