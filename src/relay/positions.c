/*
 * src/relay/positions.c
 *		How far the relay has written each partition of its topics.
 *
 * The cursor's record says so for what was acknowledged before it, so that
 * whatever was published after the record can be read back: see
 * phantoms.c.  A position is a lower bound: a session begins with those
 * of the record it found.  Of a partition without one nothing is known, and it
 * is read from its beginning.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "miscadmin.h"
#include "relay/relay_internal.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define MAX_TOPIC	249

typedef struct Topic
{
	char		name[MAX_TOPIC + 1];
	int			npartitions;	/* as many as have been seen */
	int64	   *next;			/* of each, the next offset; -1: not known */
} Topic;

static MemoryContext positions_context = NULL;
static List *topics = NIL;

static PlQuery read_positions = {
	"SELECT t.key, p.key::int, p.value::bigint"
	" FROM pg_catalog.json_each($1::json -> 'positions') t"
	" LEFT JOIN LATERAL pg_catalog.json_each_text(t.value) p ON true", 1, {TEXTOID}
};

static PlQuery aggregate_types = {
	"SELECT DISTINCT aggregatetype FROM payledger.event_catalogue()", 0
};

/* The topic of that name, which is made known if it is not. */
static Topic *
find_topic(const char *name)
{
	MemoryContext oldcontext;
	Topic	   *topic;
	ListCell   *cell;

	foreach(cell, topics)
	{
		topic = lfirst(cell);
		if (strcmp(topic->name, name) == 0)
			return topic;
	}
	oldcontext = MemoryContextSwitchTo(positions_context);
	topic = palloc0(sizeof(Topic));
	strlcpy(topic->name, name, sizeof(topic->name));
	topics = lappend(topics, topic);
	MemoryContextSwitchTo(oldcontext);
	return topic;
}

static void
expect_topic(const char *name)
{
	(void) find_topic(name);
}

static void
set_position(Topic *topic, int32 partition, int64 next)
{
	if (partition < 0 || partition >= PL_MAX_PARTITIONS)
		elog(ERROR, "topic %s has no partition %d", topic->name, partition);
	if (partition >= topic->npartitions)
	{
		int			n = partition + 1;

		topic->next = topic->next ? repalloc(topic->next, sizeof(int64) * n) :
			MemoryContextAlloc(positions_context, sizeof(int64) * n);
		for (int i = topic->npartitions; i < n; i++)
			topic->next[i] = -1;
		topic->npartitions = n;
	}
	topic->next[partition] = Max(topic->next[partition], next);
}

/* Forget all positions. */
void
pl_positions_forget(void)
{
	if (positions_context == NULL)
		positions_context = AllocSetContextCreate(TopMemoryContext, "payledger relay positions",
												  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(positions_context);
	topics = NIL;
}

/* Have the positions of a record that pl_record_read() has found right, and no others.  Needs a turn. */
void
pl_positions_load(const char *record)
{
	PlArgs		args = {0};
	int			n;

	pl_positions_forget();
	pl_arg_text(&args, record);
	n = (int) pl_select(&read_positions, &args);
	for (int row = 0; row < n; row++)
	{
		Topic	   *topic = find_topic(pl_get_text(row, 1));

		CHECK_FOR_INTERRUPTS();
		if (!pl_isnull(row, 2))
			set_position(topic, pl_get_int32(row, 2), pl_get_int64(row, 3));
	}
}

/* Make the topics known that events may go to.  False: there is no database. */
static bool
expect_topics(void)
{
	int			n;

	if (!pl_worker_begin())
		return false;
	n = (int) pl_select(&aggregate_types, NULL);
	for (int i = 0; i < n; i++)
		expect_topic(psprintf("%s.%s", pl_topic_prefix, pl_get_text(i, 1)));
	pl_routes_load();
	pl_routes_expect(expect_topic);
	pl_worker_commit();
	return true;
}

/*
 * Have the present end of all topics as positions: for the first of a chain of
 * records.  Needs a producer; outside of turns.  Returns false, with the
 * reason in stat_worker, if that was not possible.
 */
bool
pl_positions_at_end(void)
{
	ListCell   *cell;

	pl_positions_forget();
	if (!expect_topics())
		return false;
	foreach(cell, topics)
	{
		Topic	   *topic = lfirst(cell);
		int			n = pl_kafka_partitions(topic->name);

		if (n < 0)
			return false;
		for (int partition = 0; partition < n; partition++)
		{
			int64		end = pl_kafka_end(topic->name, partition);

			if (end < 0)
				return false;
			set_position(topic, partition, end);
			pl_worker_interrupts();
		}
	}
	return true;
}

/* The messages of the chunk are published: move the positions. */
void
pl_positions_take(const PlChunk *chunk)
{
	Topic	   *topic = NULL;

	for (int i = 0; i < chunk->n; i++)
	{
		const PlMessage *message = &chunk->messages[i];

		if (!message->acknowledged)
			continue;
		if (topic == NULL || strcmp(topic->name, message->topic) != 0)
			topic = find_topic(message->topic);
		set_position(topic, message->partition, message->offset + 1);
	}
}

/*
 * Append the positions as a member of a JSON object: topics, those of the
 * chunk too, each with the next offset by partition.
 */
void
pl_positions_describe(StringInfo out, const PlChunk *chunk)
{
	const char *name = "";
	ListCell   *cell;

	for (int i = 0; i < chunk->n; i++)
	{
		if (strcmp(name, chunk->messages[i].topic) != 0)
			expect_topic(chunk->messages[i].topic);
		name = chunk->messages[i].topic;
	}
	appendStringInfoString(out, ",\"positions\":{");
	foreach(cell, topics)
	{
		const Topic *topic = lfirst(cell);
		const char *comma = "";

		appendStringInfo(out, "%s\"%s\":{", foreach_current_index(cell) > 0 ? "," : "", topic->name);
		for (int partition = 0; partition < topic->npartitions; partition++)
		{
			if (topic->next[partition] < 0)
				continue;
			appendStringInfo(out, "%s\"%d\":" INT64_FORMAT, comma, partition, topic->next[partition]);
			comma = ",";
		}
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, '}');
}

/*
 * Read what was published after the positions, in all topics that are known or
 * may have been written: take() is called as by pl_kafka_read().  Needs a
 * producer; outside of turns.  Returns false, with the reason in stat_worker,
 * if that was not possible.
 */
bool
pl_positions_read(void (*take) (void *arg, const PlMessage *message), void *arg)
{
	ListCell   *cell;

	if (!expect_topics())
		return false;
	foreach(cell, topics)
	{
		const Topic *topic = lfirst(cell);
		int			n = pl_kafka_partitions(topic->name);

		if (n < 0)
			return false;
		for (int partition = 0; partition < n; partition++)
			if (!pl_kafka_read(topic->name, partition, partition < topic->npartitions ? topic->next[partition] : -1, -1, take, arg))
				return false;
	}
	return true;
}
