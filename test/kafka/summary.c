/*
 * summary.c
 *		Is the log of each aggregate whole and in order?
 *
 * An aggregate is a topic and a ce_subject; its events carry the versions
 * 1, 2, 3 ... in ce_sequence. Delivery at least once allows any event again,
 * known by its ce_id, but a version that was never seen must be the next one.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "consume.h"
#include "hash.h"
#include "tool.h"

#define LISTED			10
#define HOLES_PER_GAP	100000

typedef enum Kind
{
	DUPLICATE,					/* an event seen before; not a fault */
	GAP,						/* a version above the next one */
	REORDER,					/* a version that an earlier gap skipped */
	CONFLICT,					/* a version that another event already had */
	MOVE,						/* an aggregate in a second partition */
	INCOMPLETE,					/* no ce_id, ce_subject or valid ce_sequence */
	NKINDS
} Kind;

static const char *const kind_names[NKINDS] =
{"duplicates", "gaps", "reorders", "conflicts", "moves", "incomplete"};

typedef struct Finding
{
	const char *topic;
	int32_t		partition;
	int64_t		offset;
	Text		subject;
	Text		id;
	Text		sequence;
	int64_t		expected;		/* the next version; 0 if there is none */
} Finding;

typedef struct Aggregate
{
	int64_t		highest;		/* version */
	int32_t		partition;
} Aggregate;

static Table aggregates;		/* topic and subject -> Aggregate */
static Table ids;				/* a set */
static Table holes;				/* aggregate and version -> bool filled */
static int64_t messages;
static int64_t missing;
static int64_t counts[NKINDS];
static Finding findings[NKINDS][LISTED];

static Text
copy_text(Text text)
{
	char	   *copy;

	if (text.data == NULL)
		return text;
	copy = malloc(text.len + 1);
	if (copy == NULL)
		die("out of memory");
	memcpy(copy, text.data, text.len);
	return (Text) {copy, text.len};
}

static void
report(Kind kind, const rd_kafka_message_t *message, const Attributes *attributes, int64_t expected)
{
	int64_t		n = counts[kind]++;

	if (n >= LISTED)
		return;
	findings[kind][n] = (Finding) {
		.topic = rd_kafka_topic_name(message->rkt),
		.partition = message->partition,
		.offset = message->offset,
		.subject = copy_text(attributes->subject),
		.id = copy_text(attributes->id),
		.sequence = copy_text(attributes->sequence),
		.expected = expected
	};
}

/*
 * A version is written in digits only; 0 stands for anything else.
 */
static int64_t
parse_version(Text text)
{
	int64_t		version = 0;

	if (text.len > 18)
		return 0;
	for (size_t i = 0; i < text.len; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9')
			return 0;
		version = version * 10 + (text.data[i] - '0');
	}
	return version;
}

static Hash
hash_version(Hash aggregate, int64_t version)
{
	return hash_bytes(aggregate, &version, sizeof(version));
}

/*
 * Remembers the skipped versions, so that a late one can be told from one
 * that comes twice under different ids. A gap beyond all reason is only
 * counted.
 */
static void
add_holes(Hash key, int64_t from, int64_t to)
{
	bool		found;

	missing += to - from;
	if (to - from > HOLES_PER_GAP)
		return;
	for (int64_t version = from; version < to; version++)
		table_enter(&holes, hash_version(key, version), &found);
}

static bool
fill_hole(Hash key, int64_t version)
{
	bool	   *filled = table_lookup(&holes, hash_version(key, version));

	if (filled == NULL || *filled)
		return false;
	*filled = true;
	missing--;
	return true;
}

static void
check_message(const rd_kafka_message_t *message)
{
	Attributes	attributes = get_attributes(message);
	const char *topic = rd_kafka_topic_name(message->rkt);
	int64_t		version = parse_version(attributes.sequence);
	Hash		key = {0, 0};
	Aggregate  *aggregate;
	bool		found;

	messages++;
	if (attributes.id.data == NULL || attributes.subject.data == NULL || version == 0)
	{
		report(INCOMPLETE, message, &attributes, 0);
		return;
	}

	key = hash_bytes(key, topic, strlen(topic));
	key = hash_bytes(key, attributes.subject.data, attributes.subject.len);
	aggregate = table_enter(&aggregates, key, &found);
	if (!found)
		aggregate->partition = message->partition;
	else if (aggregate->partition != message->partition)
		report(MOVE, message, &attributes, aggregate->highest + 1);

	table_enter(&ids, hash_bytes((Hash) {0, 0}, attributes.id.data, attributes.id.len), &found);
	if (found)
	{
		report(DUPLICATE, message, &attributes, aggregate->highest + 1);
		return;
	}

	if (version > aggregate->highest)
	{
		if (version > aggregate->highest + 1)
		{
			report(GAP, message, &attributes, aggregate->highest + 1);
			add_holes(key, aggregate->highest + 1, version);
		}
		aggregate->highest = version;
	}
	else if (fill_hole(key, version))
		report(REORDER, message, &attributes, aggregate->highest + 1);
	else
		report(CONFLICT, message, &attributes, aggregate->highest + 1);
}

static void
print_finding(const Finding *finding)
{
	fputs("{\"topic\":", stdout);
	print_json_text((Text) {finding->topic, strlen(finding->topic)});
	printf(",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"subject\":",
		   finding->partition, finding->offset);
	print_json_text(finding->subject);
	fputs(",\"id\":", stdout);
	print_json_text(finding->id);
	fputs(",\"sequence\":", stdout);
	print_json_text(finding->sequence);
	if (finding->expected > 0)
		printf(",\"expected\":%" PRId64 "}", finding->expected);
	else
		fputs(",\"expected\":null}", stdout);
}

static void
begin(void)
{
	table_init(&aggregates, sizeof(Aggregate));
	table_init(&ids, 0);
	table_init(&holes, sizeof(bool));
}

static int
finish(void)
{
	int64_t		faults = 0;

	printf("{\"messages\":%" PRId64 ",\"distinct\":%zu,\"aggregates\":%zu,\"missing\":%" PRId64,
		   messages, ids.used, aggregates.used, missing);
	for (int kind = 0; kind < NKINDS; kind++)
	{
		printf(",\"%s\":%" PRId64, kind_names[kind], counts[kind]);
		if (kind != DUPLICATE)
			faults += counts[kind];
	}
	fputs(",\"first\":{", stdout);
	for (int kind = 0; kind < NKINDS; kind++)
	{
		printf("%s\"%s\":[", kind > 0 ? "," : "", kind_names[kind]);
		for (int i = 0; i < LISTED && i < counts[kind]; i++)
		{
			if (i > 0)
				putchar(',');
			print_finding(&findings[kind][i]);
		}
		putchar(']');
	}
	fputs("}}\n", stdout);
	return faults > 0 ? EXIT_BROKEN : 0;
}

const Format format_summary = {"summary", begin, check_message, finish};
