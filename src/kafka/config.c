/*
 * src/kafka/config.c
 *		Settings of the Kafka producer: ours, and those an operator may add in
 *		the file payledger.kafka_config_file.
 *
 * The file holds passwords, so only the server's user may read it.  It may set
 * what concerns the connection and the wire; what delivery depends on is not
 * up to it, nor are properties that load code or run commands.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "kafka/kafka_internal.h"

char	   *pl_kafka_config_file;

#define FILE_LIMIT	65536
#define LOCATION_LIMIT	(1024 * 1024)

static const struct
{
	const char *name;
	bool		for_producers;	/* means nothing to a consumer */
}			allowed[] = {
	{"batch.num.messages", true},
	{"batch.size", true},
	{"broker.address.family", false},
	{"client.dns.lookup", false},
	{"client.id", false},
	{"compression.codec", true},
	{"compression.level", true},
	{"compression.type", true},
	{"linger.ms", true},
	{"message.max.bytes", false},
	{"metadata.max.age.ms", false},
	{"sasl.mechanism", false},
	{"sasl.mechanisms", false},
	{"sasl.password", false},
	{"sasl.username", false},
	{"security.protocol", false},
	{"socket.connection.setup.timeout.ms", false},
	{"socket.keepalive.enable", false},
	{"socket.timeout.ms", false},
	{"ssl.ca.location", false},
	{"ssl.certificate.location", false},
	{"ssl.key.location", false},
	{"ssl.key.password", false},
	{"topic.metadata.propagation.max.ms", false},
};

typedef struct Property
{
	const char *name;
	const char *value;
} Property;

/* The values an operator may override, then those that delivery rests on. */
static const Property defaults[] = {
	{"client.id", "payledger"},
	{"socket.timeout.ms", "10000"},
	/* how long a topic may be missing before it is an error */
	{"topic.metadata.propagation.max.ms", "5000"},
	{NULL, NULL}
};

static const Property producer_defaults[] = {
	{"linger.ms", "1"},
	{"compression.codec", "lz4"},
	{NULL, NULL}
};

static const Property fixed[] = {
	{"socket.nagle.disable", "true"},
	{"reconnect.backoff.ms", "100"},
	{"reconnect.backoff.max.ms", "1000"},
	{"log.queue", "true"},
	/* only so it says that a listener may want TLS or SASL */
	{"log.connection.close", "true"},
	{NULL, NULL}
};

static const Property producer_fixed[] = {
	/* no duplicate by a retry */
	{"enable.idempotence", "true"},
	{"acks", "all"},
	{"request.timeout.ms", "8000"},
	/* the same key goes where a Java producer would send it */
	{"partitioner", "murmur2_random"},
	/* more than a chunk of the relay ever holds */
	{"queue.buffering.max.messages", "200000"},
	{"queue.buffering.max.kbytes", "1048576"},
	{NULL, NULL}
};

static const Property fixed_without_transactions[] = {
	/* nothing after a message that was refused */
	{"enable.gapless.guarantee", "true"},
	/* a message waits for its broker: given up, it would be overtaken */
	{"message.timeout.ms", "0"},
	{NULL, NULL}
};

static const Property fixed_with_transactions[] = {
	/* so long a relay that was killed holds up readers of what is committed */
	{"transaction.timeout.ms", "15000"},
	/* a message given up takes its whole transaction with it */
	{"message.timeout.ms", "12000"},
	{NULL, NULL}
};

static const Property consumer_fixed[] = {
	{"isolation.level", "read_committed"},
	{"enable.partition.eof", "true"},
	{"enable.auto.commit", "false"},
	/* an offset that is gone: the log begins later, or anew */
	{"auto.offset.reset", "earliest"},
	/* the end of a log is known by an empty answer */
	{"fetch.wait.max.ms", "50"},
	{NULL, NULL}
};

pg_noreturn static void
refuse_file(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("payledger.kafka_config_file \"%s\" %s", pl_kafka_config_file, problem),
			 errhint("It must be a regular file of the user that runs the server, with mode 0600.")));
}

/* Why an open file may not hold secrets; NULL if it may.  A link counts as what it points to. */
static const char *
untrusted(int fd)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return "cannot be examined";
	if (!S_ISREG(status.st_mode))
		return "is not a regular file";
	if (status.st_uid != geteuid())
		return "is not owned by the user that runs the server";
	if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "is open to others";
	if (status.st_size > FILE_LIMIT)
		return "is longer than 64 kB";
	return NULL;
}

/* s without white space at either end; changes it. */
static char *
trim(char *s)
{
	char	   *end = s + strlen(s);

	while (*s == ' ' || *s == '\t')
		s++;
	while (end > s && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		end--;
	*end = '\0';
	return s;
}

/*
 * Add a comment for each file that the properties name, other whenever the file
 * is another: certificates are replaced more often than their names.
 */
static void
add_fingerprints(StringInfo text)
{
	char	   *lines = pstrdup(text->data);
	char	   *rest = lines;
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
	{
		char	   *path = strstr(line, ".location");
		struct stat status;

		if (path == NULL || (path = strchr(path, '=')) == NULL || stat(trim(path + 1), &status) != 0)
			continue;
		appendStringInfo(text, "\n# " UINT64_FORMAT ":" INT64_FORMAT ":" INT64_FORMAT ".%09ld",
						 (uint64) status.st_ino, (int64) status.st_size,
						 (int64) status.st_mtim.tv_sec, (long) status.st_mtim.tv_nsec);
	}
	pfree(lines);
}

/*
 * The text of payledger.kafka_config_file, palloc'd; empty if the setting is.
 * It ends with comments that change when a file that it names does.  Raises
 * F0000 if others could read or change the file, or an error of file access.
 */
char *
pl_kafka_properties(void)
{
	StringInfoData text;
	int			fd;
	const char *problem;
	ssize_t		n = 0;

	initStringInfo(&text);
	if (pl_kafka_config_file[0] == '\0')
		return text.data;

	/* not blocking: a FIFO is refused instead of waited for */
	fd = BasicOpenFile(pl_kafka_config_file, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open payledger.kafka_config_file \"%s\": %m", pl_kafka_config_file),
				 errhint("It must be a regular file of the user that runs the server, with mode 0600.")));
	problem = untrusted(fd);
	if (problem == NULL)
	{
		enlargeStringInfo(&text, FILE_LIMIT);
		while (text.len < FILE_LIMIT && (n = read(fd, text.data + text.len, FILE_LIMIT - text.len)) > 0)
			text.len += n;
		text.data[text.len] = '\0';
	}
	close(fd);

	/* what a message or a view quotes of it has to be text */
	if (problem == NULL &&
		(n < 0 || strlen(text.data) != (size_t) text.len || !pg_verifymbstr(text.data, text.len, true)))
		problem = "could not be read as text";
	if (problem != NULL)
		refuse_file(problem);
	add_fingerprints(&text);
	return text.data;
}

/* The place of a property in the list of those allowed, or -1. */
static int
find_allowed(const char *name)
{
	for (int i = 0; i < (int) lengthof(allowed); i++)
		if (strcmp(allowed[i].name, name) == 0)
			return i;
	return -1;
}

static char *
allowed_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(allowed); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", allowed[i].name);
	return names.data;
}

/* An unusable property: destroys conf.  Values of secrets stay unsaid. */
pg_noreturn static void
refuse_property(rd_kafka_conf_t *conf, const char *name, const char *problem)
{
	char		text[512];

	pl_kafka_copy_text(text, strstr(name, "password") ? "" : problem, sizeof(text));
	rd_kafka_conf_destroy(conf);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("invalid Kafka property \"%s\"", name),
			 text[0] ? errdetail_internal("%s", text) : 0,
			 errhint("Correct it in payledger.kafka_config_file \"%s\"; it takes effect with the next attempt or reload.",
					 pl_kafka_config_file)));
}

static void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		problem[512];

	if (rd_kafka_conf_set(conf, name, value, problem, sizeof(problem)) != RD_KAFKA_CONF_OK)
		refuse_property(conf, name, problem);
}

static void
set_all(rd_kafka_conf_t *conf, const Property *properties)
{
	for (const Property *property = properties; property->name != NULL; property++)
		set_property(conf, property->name, property->value);
}

/* A line that is no property: destroys conf.  What it says may be a secret. */
pg_noreturn static void
refuse_line(rd_kafka_conf_t *conf, int line_no)
{
	rd_kafka_conf_destroy(conf);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("line %d of payledger.kafka_config_file \"%s\" is not of the form name=value",
					line_no, pl_kafka_config_file),
			 errhint("A comment begins with #.")));
}

/*
 * The library says of such a file only that something failed, and reads what it
 * is given: from a FIFO for ever, from a device without end.  Only authorities
 * may be a folder.
 */
static void
check_location(rd_kafka_conf_t *conf, const char *name, const char *path)
{
	struct stat status;
	int			save_errno;

	if (stat(path, &status) == 0)
	{
		if (!S_ISREG(status.st_mode) && !(S_ISDIR(status.st_mode) && strcmp(name, "ssl.ca.location") == 0))
			refuse_property(conf, name, "The file is not a regular one.");
		if (S_ISREG(status.st_mode) && status.st_size > LOCATION_LIMIT)
			refuse_property(conf, name, "The file is larger than 1 MB.");
		if (access(path, R_OK) == 0)
			return;
	}
	save_errno = errno;
	rd_kafka_conf_destroy(conf);
	errno = save_errno;
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not read file \"%s\" of Kafka property \"%s\": %m", path, name),
			 errhint("It must be readable for the user that runs the server.")));
}

/* The lines "name=value" of the operator; comments begin with #. */
static void
set_lines(rd_kafka_conf_t *conf, char *properties, bool is_producer)
{
	int			line_no = 0;
	char	   *rest = properties;
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
	{
		char	   *name = trim(line);
		char	   *value = strchr(name, '=');
		int			place;

		line_no++;
		if (name[0] == '\0' || name[0] == '#')
			continue;
		if (value == NULL)
			refuse_line(conf, line_no);
		*value++ = '\0';
		name = trim(name);
		value = trim(value);
		if (name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] != '\0')
			refuse_line(conf, line_no);
		place = find_allowed(name);
		if (place < 0)
		{
			rd_kafka_conf_destroy(conf);
			ereport(ERROR,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("Kafka property \"%s\" may not be set in payledger.kafka_config_file", name),
					 errdetail("Line %d of \"%s\".", line_no, pl_kafka_config_file),
					 errhint("These may: %s.", allowed_names())));
		}
		if (strstr(name, ".location") != NULL)
			check_location(conf, name, value);
		if (is_producer || !allowed[place].for_producers)
			set_property(conf, name, value);
	}
}

/*
 * Raise F0000 for a configuration of which no producer or consumer (what) could
 * be made: problem is what the library says.  Destroys conf.
 */
void
pl_kafka_refuse_conf(rd_kafka_conf_t *conf, const char *what, const char *problem)
{
	char		text[512];

	pl_kafka_copy_text(text, problem, sizeof(text));
	rd_kafka_conf_destroy(conf);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not create a Kafka %s: %s", what, text),
			 errhint("Correct payledger.kafka_config_file \"%s\", or the files that it names.", pl_kafka_config_file)));
}

/*
 * A configuration for a producer, owned by the caller (rd_kafka_new() takes it
 * over); transactional_id is NULL for one without transactions.  Writes into
 * properties.  Raises F0000 naming what is wrong, and then leaves nothing
 * allocated in librdkafka.
 */
rd_kafka_conf_t *
pl_kafka_producer_conf(const char *brokers, char *properties, const char *transactional_id)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set_all(conf, defaults);
	set_all(conf, producer_defaults);
	set_lines(conf, properties, true);
	set_all(conf, fixed);
	set_all(conf, producer_fixed);
	if (transactional_id != NULL)
	{
		set_all(conf, fixed_with_transactions);
		set_property(conf, "transactional.id", transactional_id);
	}
	else
		set_all(conf, fixed_without_transactions);
	set_property(conf, "bootstrap.servers", brokers);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
	return conf;
}

/* The like for a consumer that joins no group and sees committed messages only. */
rd_kafka_conf_t *
pl_kafka_consumer_conf(const char *brokers, char *properties)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set_all(conf, defaults);
	set_lines(conf, properties, false);
	set_all(conf, fixed);
	set_all(conf, consumer_fixed);
	set_property(conf, "bootstrap.servers", brokers);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
	return conf;
}
