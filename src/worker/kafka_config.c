/*
 * src/worker/kafka_config.c
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

#include "storage/fd.h"
#include "worker/kafka.h"

#define FILE_LIMIT	65536

static const char *const allowed[] = {
	"batch.num.messages",
	"batch.size",
	"broker.address.family",
	"client.dns.lookup",
	"client.id",
	"compression.codec",
	"compression.level",
	"compression.type",
	"linger.ms",
	"message.max.bytes",
	"metadata.max.age.ms",
	"sasl.mechanism",
	"sasl.mechanisms",
	"sasl.password",
	"sasl.username",
	"security.protocol",
	"socket.connection.setup.timeout.ms",
	"socket.keepalive.enable",
	"socket.timeout.ms",
	"ssl.ca.location",
	"ssl.certificate.location",
	"ssl.key.location",
	"ssl.key.password",
	"topic.metadata.propagation.max.ms",
};

/* The values an operator may override, then those that delivery rests on. */
static const char *const defaults[][2] = {
	{"client.id", "payledger"},
	{"linger.ms", "1"},
	{"compression.codec", "lz4"},
	{"socket.timeout.ms", "10000"},
};

static const char *const fixed[][2] = {
	/* no duplicate by a retry, and nothing after a message that was refused */
	{"enable.idempotence", "true"},
	{"enable.gapless.guarantee", "true"},
	{"acks", "all"},
	/* a message waits for its broker: given up, it would be overtaken */
	{"message.timeout.ms", "0"},
	{"request.timeout.ms", "8000"},
	/* the same key goes where a Java producer would send it */
	{"partitioner", "murmur2_random"},
	{"socket.nagle.disable", "true"},
	{"reconnect.backoff.ms", "100"},
	{"reconnect.backoff.max.ms", "1000"},
	/* more than a chunk of the relay ever holds */
	{"queue.buffering.max.messages", "200000"},
	{"queue.buffering.max.kbytes", "1048576"},
	{"log.queue", "true"},
	{"log.connection.close", "false"},
};

static void
refuse_file(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("payledger.kafka_config_file \"%s\" %s", pl_kafka_config_file, problem),
			 errhint("It must be a regular file of the user that runs the server, with mode 0600.")));
}

/*
 * The text of payledger.kafka_config_file, palloc'd; empty if the setting is.
 * Raises F0000 if the file cannot be read or others could read or change it.
 */
char *
pl_kafka_properties(void)
{
	char	   *text;
	struct stat status;
	int			fd;
	ssize_t		length = 0;

	if (pl_kafka_config_file[0] == '\0')
		return pstrdup("");

	text = palloc0(FILE_LIMIT + 1);
	fd = BasicOpenFile(pl_kafka_config_file, O_RDONLY | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open payledger.kafka_config_file \"%s\": %m", pl_kafka_config_file)));
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
		status.st_uid == geteuid() && (status.st_mode & (S_IRWXG | S_IRWXO)) == 0)
		length = read(fd, text, FILE_LIMIT + 1);
	else
		length = -2;
	close(fd);

	if (length == -2)
		refuse_file("is open to others or is not a regular file");
	if (length < 0)
		refuse_file("could not be read");
	if (length > FILE_LIMIT)
		refuse_file("is longer than 64 kB");
	return text;
}

static bool
is_allowed(const char *name)
{
	for (int i = 0; i < (int) lengthof(allowed); i++)
		if (strcmp(allowed[i], name) == 0)
			return true;
	return false;
}

static char *
allowed_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(allowed); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", allowed[i]);
	return names.data;
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

/* An unusable property: destroys conf.  Values of secrets stay unsaid. */
static void
refuse_property(rd_kafka_conf_t *conf, const char *name, const char *problem)
{
	char		text[512];

	strlcpy(text, strstr(name, "password") ? "" : problem, sizeof(text));
	rd_kafka_conf_destroy(conf);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("invalid Kafka property \"%s\"", name),
			 text[0] ? errdetail_internal("%s", text) : 0));
}

static void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		problem[512];

	if (rd_kafka_conf_set(conf, name, value, problem, sizeof(problem)) != RD_KAFKA_CONF_OK)
		refuse_property(conf, name, problem);
}

/* The lines "name=value" of the operator; comments begin with #. */
static void
set_properties(rd_kafka_conf_t *conf, char *properties)
{
	int			line_no = 0;
	char	   *rest = properties;
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
	{
		char	   *name = trim(line);
		char	   *value = strchr(name, '=');

		line_no++;
		if (name[0] == '\0' || name[0] == '#')
			continue;
		if (value == NULL)
		{
			rd_kafka_conf_destroy(conf);
			ereport(ERROR,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("line %d of payledger.kafka_config_file \"%s\" is not of the form name=value",
							line_no, pl_kafka_config_file)));
		}
		*value++ = '\0';
		name = trim(name);
		if (!is_allowed(name))
		{
			rd_kafka_conf_destroy(conf);
			ereport(ERROR,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("Kafka property \"%s\" may not be set in payledger.kafka_config_file", name),
					 errhint("These may: %s.", allowed_names())));
		}
		set_property(conf, name, trim(value));
	}
}

/*
 * A configuration for a producer, owned by the caller (rd_kafka_new() takes it
 * over).  Writes into properties.  Raises F0000 naming what is wrong, and then
 * leaves nothing allocated in librdkafka.
 */
rd_kafka_conf_t *
pl_kafka_conf(const char *brokers, char *properties)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	for (int i = 0; i < (int) lengthof(defaults); i++)
		set_property(conf, defaults[i][0], defaults[i][1]);
	set_properties(conf, properties);
	for (int i = 0; i < (int) lengthof(fixed); i++)
		set_property(conf, fixed[i][0], fixed[i][1]);
	set_property(conf, "bootstrap.servers", brokers);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
	return conf;
}
