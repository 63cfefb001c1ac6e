/*
 * stop_point.c
 *		A library to preload that kills or stops a Kafka producer at a named
 *		point of its work.
 *
 * The file named by PAYLEDGER_STOP_POINT, while it exists, has lines:
 *
 *		kill|stop before|after POINT N
 *
 * POINT is begin, commit or init (a call of the transactional API that
 * succeeds), key:KEY (a message with that key, only before it is handed over)
 * or the number of a Kafka request, as it is given to the socket: 0
 * Produce, 22 InitProducerId, 24 AddPartitionsToTxn, 26 EndTxn.  At the Nth
 * time that the process gets to the first line's point that line is taken
 * away, with the last one the file, and the process gets SIGKILL or SIGSTOP;
 * the next line is for whoever comes then.  Processes that make no producer
 * are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

static volatile bool is_producer;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ino_t counted_file;
static struct timespec counted_time;
static long times;

#define MAX_REST 1024			/* bytes of lines behind the first */

/* The real function behind one of ours. */
static void *
real(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* Takes the first line away: leaves the rest, or no file. */
static bool
take_line(const char *path, const char *rest)
{
	char		new_path[4096];
	FILE	   *file;

	if (rest[0] == '\0')
		return unlink(path) == 0;
	snprintf(new_path, sizeof(new_path), "%s.rest", path);
	if ((file = fopen(new_path, "w")) == NULL)
		return false;
	fputs(rest, file);
	return fclose(file) == 0 && rename(new_path, path) == 0;
}

/* Counts the arrival at a point, and ends or stops here if it is the one. */
static void
arrive(const char *when, const char *point)
{
	const char *path = getenv("PAYLEDGER_STOP_POINT");
	struct stat status;
	char		action[8];
	char		wanted_when[8];
	char		wanted_point[16];
	char		rest[MAX_REST + 1];
	size_t		length;
	long		n;
	FILE	   *file;
	bool		now;

	if (path == NULL || !is_producer || (file = fopen(path, "r")) == NULL)
		return;
	if (fstat(fileno(file), &status) != 0 ||
		fscanf(file, "%7s %7s %15s %ld\n", action, wanted_when, wanted_point, &n) != 4)
	{
		fclose(file);
		return;
	}
	length = fread(rest, 1, MAX_REST, file);
	rest[length] = '\0';
	fclose(file);
	if (strcmp(when, wanted_when) != 0 || strcmp(point, wanted_point) != 0)
		return;

	pthread_mutex_lock(&lock);
	if (status.st_ino != counted_file || memcmp(&status.st_mtim, &counted_time, sizeof(counted_time)) != 0)
	{
		counted_file = status.st_ino;
		counted_time = status.st_mtim;
		times = 0;
	}
	now = ++times == n && take_line(path, rest);
	pthread_mutex_unlock(&lock);
	if (now)
		kill(getpid(), strcmp(action, "stop") == 0 ? SIGSTOP : SIGKILL);
}

rd_kafka_t *
rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *errstr, size_t errstr_size)
{
	rd_kafka_t *(*next) (rd_kafka_type_t, rd_kafka_conf_t *, char *, size_t) = real("rd_kafka_new");

	if (type == RD_KAFKA_PRODUCER)
		is_producer = true;
	return next(type, conf, errstr, errstr_size);
}

static rd_kafka_error_t *
call(const char *name, const char *point, rd_kafka_t *rk, int timeout_ms)
{
	rd_kafka_error_t *(*next) (rd_kafka_t *, int) = real(name);
	rd_kafka_error_t *error;

	arrive("before", point);
	error = next(rk, timeout_ms);
	if (error == NULL)
		arrive("after", point);
	return error;
}

rd_kafka_error_t *
rd_kafka_init_transactions(rd_kafka_t *rk, int timeout_ms)
{
	return call("rd_kafka_init_transactions", "init", rk, timeout_ms);
}

rd_kafka_error_t *
rd_kafka_commit_transaction(rd_kafka_t *rk, int timeout_ms)
{
	return call("rd_kafka_commit_transaction", "commit", rk, timeout_ms);
}

rd_kafka_error_t *
rd_kafka_begin_transaction(rd_kafka_t *rk)
{
	rd_kafka_error_t *(*next) (rd_kafka_t *) = real("rd_kafka_begin_transaction");
	rd_kafka_error_t *error;

	arrive("before", "begin");
	error = next(rk);
	if (error == NULL)
		arrive("after", "begin");
	return error;
}

rd_kafka_error_t *
rd_kafka_produceva(rd_kafka_t *rk, const rd_kafka_vu_t *vus, size_t n)
{
	rd_kafka_error_t *(*next) (rd_kafka_t *, const rd_kafka_vu_t *, size_t) = real("rd_kafka_produceva");
	char		point[16];

	for (size_t i = 0; i < n; i++)
		if (vus[i].vtype == RD_KAFKA_VTYPE_KEY)
		{
			snprintf(point, sizeof(point), "key:%.*s", (int) vus[i].u.mem.size, (const char *) vus[i].u.mem.ptr);
			arrive("before", point);
		}
	return next(rk, vus, n);
}

/* A request begins with its length, then its number. */
ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t		(*next) (int, const struct msghdr *, int) = real("sendmsg");
	const unsigned char *p = message->msg_iovlen > 0 ? message->msg_iov[0].iov_base : NULL;
	char		point[16] = "";
	ssize_t		result;

	if (is_producer && p != NULL && message->msg_iov[0].iov_len >= 8)
		snprintf(point, sizeof(point), "%d", p[4] << 8 | p[5]);
	arrive("before", point);
	result = next(fd, message, flags);
	arrive("after", point);
	return result;
}
