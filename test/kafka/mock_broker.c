/*
 * mock_broker.c
 *		librdkafka's mock cluster as a process of its own, for "make demo".
 *
 * It needs no Java and starts at once, but keeps its messages in memory (5 MB
 * a partition, the oldest go first) and only acknowledges transactions: what
 * a test proves about delivery it must prove on a real broker.
 */
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tool.h"

#include <librdkafka/rdkafka_mock.h>

const char *progname = "mock-broker";

static const char usage[] =
"usage: mock-broker [--topics T1,T2] [--partitions N] [--brokers N]\n"
"                   [--port-file FILE] [--exit-with-parent]\n"
"Topics named here get N partitions (12); others are created when first used,\n"
"with 4. FILE receives the address. Ends on SIGTERM or SIGINT.";

/*
 * The mock cluster leaves Nagle's algorithm on, and a batch over several
 * partitions then waits 40 ms for a delayed acknowledgement. librdkafka calls
 * this function instead of libc's.
 */
int
accept(int listener, struct sockaddr *addr, socklen_t *addrlen)
{
	int			on = 1;
	int			fd = syscall(SYS_accept4, listener, addr, addrlen, 0);

	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void
create_topics(rd_kafka_mock_cluster_t *cluster, char *topics, int partitions)
{
	for (char *topic = strtok(topics, ","); topic; topic = strtok(NULL, ","))
	{
		rd_kafka_resp_err_t err = rd_kafka_mock_topic_create(cluster, topic, partitions, 1);

		if (err)
			die("cannot create topic \"%s\": %s", topic, rd_kafka_err2str(err));
	}
}

/*
 * Whoever sees the file sees the whole address in it.
 */
static void
write_port_file(const char *path, const char *address)
{
	char		scratch[4096];
	FILE	   *file;

	if (snprintf(scratch, sizeof(scratch), "%s.new", path) >= (int) sizeof(scratch))
		die("path too long: %s", path);
	file = fopen(scratch, "w");
	if (file == NULL || fprintf(file, "%s\n", address) < 0 || fclose(file) != 0 ||
		rename(scratch, path) != 0)
		die("cannot write %s: %m", path);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"topics", required_argument, NULL, 't'},
		{"partitions", required_argument, NULL, 'p'},
		{"brokers", required_argument, NULL, 'b'},
		{"port-file", required_argument, NULL, 'f'},
		{"exit-with-parent", no_argument, NULL, 'e'},
		{NULL, 0, NULL, 0}
	};
	char	   *topics = NULL;
	const char *port_file = NULL;
	int			partitions = 12;
	int			brokers = 1;
	int			c;
	int			received;
	sigset_t	ends;
	pid_t		parent = getppid();
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_mock_cluster_t *cluster;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (c)
		{
			case 't':
				topics = optarg;
				break;
			case 'p':
				partitions = parse_count("--partitions", optarg);
				break;
			case 'b':
				brokers = parse_count("--brokers", optarg);
				break;
			case 'f':
				port_file = optarg;
				break;
			case 'e':
				/* the parent may have ended before it was asked for */
				prctl(PR_SET_PDEATHSIG, SIGTERM);
				if (getppid() != parent)
					return 0;
				break;
			default:
				die("%s", usage);
		}
	}
	if (optind != argc)
		die("%s", usage);

	/* before librdkafka starts its threads, which inherit the mask */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);

	/* this handle is no client of any broker, which is no news */
	set_property(conf, "log_level", "4");
	rk = new_client(RD_KAFKA_PRODUCER, conf);
	cluster = rd_kafka_mock_cluster_new(rk, brokers);
	if (cluster == NULL)
		die("cannot create the mock cluster");
	if (topics)
		create_topics(cluster, topics, partitions);
	if (port_file)
		write_port_file(port_file, rd_kafka_mock_cluster_bootstraps(cluster));
	printf("listening on %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);

	sigwait(&ends, &received);
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(rk);
	return 0;
}
