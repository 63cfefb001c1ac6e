/*
 * src/relay/phantoms.c
 *		Events that Kafka has and this server does not: phantoms.
 *
 * Where an asynchronous standby is promoted, or a backup restored, the last
 * transactions are lost, though their events may have been published.  The
 * relay then goes back to the newest record of the cursor that this server's
 * history contains (cursor.c) and reads what was published after it.
 * An event that is in the outbox is not sent again when its turn comes: its
 * seq is in payledger.published_ahead.  The others are listed in
 * payledger.phantoms.  Nothing is published until an operator has called
 * payledger.retract_phantoms(), and then the retractions first, each to the
 * topic and with the key of what it retracts: a consumer learns of it before
 * it meets the version of that aggregate again.
 *
 * The id of an event follows from its aggregate and version, so the lost one
 * and the one that came instead may have the same: ce_time tells them apart.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "outbox/outbox.h"
#include "relay/cursor.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"
#include "worker/worker.h"

/* what the columns of an event take, in characters */
#define MAX_TEXT	255
#define MAX_TIME	64

/* What was read back, of this database; strings are the list's own. */
typedef struct ReadEvent
{
	char	   *topic;
	int32		partition;
	int64		offset;
	char	   *key;
	char	   *id;
	char	   *type;
	char	   *time;
	char	   *subject;
	int64		version;
	bool		is_replay;
} ReadEvent;

static MemoryContext read_context = NULL;
static List *read_events = NIL;
static int	ndamaged = 0;		/* said to be of this database, and not read */
static char source[NAMEDATALEN + 32];

#define READ_EVENTS \
	"(SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u(id, ce_time, is_replay)"
#define READ_EVENTS_ARGS UUIDARRAYOID, TEXTARRAYOID, BOOLARRAYOID

static PlQuery insert_ahead = {
	"INSERT INTO payledger.published_ahead (seq)"
	" SELECT DISTINCT o.seq FROM " READ_EVENTS
	" JOIN payledger.outbox_events o ON o.id = u.id AND o.ce_time = u.ce_time"
	" WHERE NOT u.is_replay ON CONFLICT DO NOTHING", 3, {READ_EVENTS_ARGS}
};

static PlQuery publish_dead_letters = {
	"UPDATE payledger.dead_letters d SET status = 'PUBLISHED', updated_at = pg_catalog.clock_timestamp()"
	" FROM " READ_EVENTS
	" WHERE d.id = u.id AND d.ce_time = u.ce_time AND NOT u.is_replay AND d.status IN ('HELD', 'READY')",
	3, {READ_EVENTS_ARGS}
};

static PlQuery insert_phantoms = {
	"INSERT INTO payledger.phantoms (phantom_id, status, event_id, ce_time, event_type, aggregateid, version,"
	"  topic, partition, record_offset, message_key, created_at, updated_at)"
	" SELECT v.phantom_id, 'FOUND', v.id, v.ce_time, v.type, v.subject, v.version, v.topic, v.partition, v.record_offset, v.key,"
	"  $11, $11"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9),"
	"  pg_catalog.unnest($10))"
	"  AS v(phantom_id, id, ce_time, type, subject, version, topic, partition, record_offset, key)"
	" WHERE NOT EXISTS (SELECT FROM payledger.outbox_events o WHERE o.id = v.id AND o.ce_time = v.ce_time)"
	"   AND NOT EXISTS (SELECT FROM payledger.dead_letters d WHERE d.id = v.id AND d.ce_time = v.ce_time)"
	" ON CONFLICT (topic, partition, record_offset) DO NOTHING",
	11, {INT8ARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID,
		INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};

static PlQuery ahead_between = {
	"SELECT seq FROM payledger.published_ahead WHERE seq >= $1 AND seq <= $2 ORDER BY seq", 2, {INT8OID, INT8OID}
};

static PlQuery count_open = {
	"SELECT pg_catalog.count(*) FILTER (WHERE status = 'FOUND'), pg_catalog.count(*)"
	" FROM payledger.phantoms WHERE status IN ('FOUND', 'READY')", 0
};

static PlQuery read_retractions = {
	"SELECT " PL_EVENT_COLUMNS("o") ", p.phantom_id, p.topic, p.message_key"
	" FROM payledger.phantoms p JOIN payledger.outbox_events o ON o.seq = p.retraction_seq"
	" WHERE p.status = 'READY' AND " PL_IN_SHARD("o.event_key", "$2", "$3")
	" ORDER BY p.phantom_id LIMIT $1", 3, {INT8OID, INT4OID, INT4OID}
};

static PlQuery set_retracted = {
	"UPDATE payledger.phantoms SET status = 'RETRACTED', updated_at = $2"
	" WHERE phantom_id = ANY ($1) AND status = 'READY'", 2, {INT8ARRAYOID, TIMESTAMPTZOID}
};

/* ---- after a loss: what Kafka has ---- */

static const char *
header(const PlMessage *message, const char *name)
{
	for (int i = 0; i < message->nheaders; i++)
		if (strcmp(message->headers[i].name, name) == 0)
			return message->headers[i].value;
	return NULL;
}

/* Is that a UUID as PostgreSQL writes it? */
static bool
is_uuid(const char *text)
{
	static const char pattern[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != strlen(pattern))
		return false;
	for (int i = 0; pattern[i]; i++)
		if (pattern[i] == '-' ? text[i] != '-' : strchr(digits, text[i]) == NULL)
			return false;
	return true;
}

/* Is that a header that may be stored: there, and not longer than ours are? */
static bool
is_sound(const char *value, size_t max_length)
{
	return value != NULL && value[0] != '\0' && pl_record_is_text(value, strlen(value)) &&
		(size_t) pg_mbstrlen(value) <= max_length;
}

/* The version in a header; 0 if it is none. */
static int64
version_of(const char *text)
{
	if (text == NULL || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text))
		return 0;
	return strtoll(text, NULL, 10);
}

/*
 * Keep a message if it is an event of this database.  One that says so and is
 * not of the form that the relay gives to all of its own is not: whoever may
 * write to the topic may have written it.
 */
static void
take_event(void *arg, const PlMessage *message)
{
	const char *id = header(message, "ce_id");
	const char *type = header(message, "ce_type");
	const char *time = header(message, "ce_time");
	const char *subject = header(message, "ce_subject");
	const char *from = header(message, "ce_source");
	int64		version = version_of(header(message, "ce_sequence"));
	MemoryContext oldcontext;
	ReadEvent  *event;

	if (from == NULL || strcmp(from, source) != 0)
		return;
	if (id == NULL || !is_uuid(id) || !is_sound(type, MAX_TEXT) || !is_sound(time, MAX_TIME) ||
		!is_sound(subject, MAX_TEXT) || !is_sound(message->key, MAX_TEXT) ||
		strlen(message->key) != message->key_length || version <= 0)
	{
		ndamaged++;
		return;
	}
	oldcontext = MemoryContextSwitchTo(read_context);
	event = palloc(sizeof(ReadEvent));
	event->topic = pstrdup(message->topic);
	event->partition = message->partition;
	event->offset = message->offset;
	event->key = pl_valid_text(message->key, strlen(message->key));
	event->id = pstrdup(id);
	event->type = pl_valid_text(type, strlen(type));
	event->time = pl_valid_text(time, strlen(time));
	event->subject = pl_valid_text(subject, strlen(subject));
	event->version = version;
	event->is_replay = header(message, "ce_replayid") != NULL;
	read_events = lappend(read_events, event);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Read what was published after the positions, for pl_phantoms_store().  Needs
 * a producer; outside of turns.  Returns false, with the reason in
 * stat_worker, if that was not possible.
 */
bool
pl_phantoms_find(void)
{
	if (read_context == NULL)
		read_context = AllocSetContextCreate(TopMemoryContext, "payledger relay phantoms", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(read_context);
	read_events = NIL;
	ndamaged = 0;
	if (!pl_worker_begin())
		return false;
	/* of the node as which the lost events were published */
	strlcpy(source, pl_event_source(pl_cursor.node_id), sizeof(source));
	pl_worker_commit();
	if (!pl_positions_read(take_event, NULL))
		return false;
	if (ndamaged > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("payledger relay: %d messages in Kafka say that they are from %s and are damaged", ndamaged, source),
				 errdetail("They are not taken for events of lost transactions."),
				 errhint("See who else may write to the topics.")));
	return true;
}

/*
 * Tell apart what pl_phantoms_find() has read: what the outbox has too, and
 * phantoms.  Needs a turn.
 */
void
pl_phantoms_store(void)
{
	int			n = list_length(read_events);
	Datum	   *columns[11];
	PlArgs		known = {0};
	PlArgs		args = {0};
	uint64		nphantoms;
	ListCell   *cell;

	if (n == 0)
		return;
	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(Datum) * n);
	foreach(cell, read_events)
	{
		const ReadEvent *event = lfirst(cell);
		int			i = foreach_current_index(cell);

		CHECK_FOR_INTERRUPTS();
		columns[0][i] = Int64GetDatum(pl_next_id());
		columns[1][i] = DirectFunctionCall1(uuid_in, CStringGetDatum(event->id));
		columns[2][i] = CStringGetTextDatum(event->time);
		columns[3][i] = CStringGetTextDatum(event->type);
		columns[4][i] = CStringGetTextDatum(event->subject);
		columns[5][i] = Int64GetDatum(event->version);
		columns[6][i] = CStringGetTextDatum(event->topic);
		columns[7][i] = Int32GetDatum(event->partition);
		columns[8][i] = Int64GetDatum(event->offset);
		columns[9][i] = CStringGetTextDatum(event->key);
		columns[10][i] = BoolGetDatum(event->is_replay);
	}
	pl_arg_array(&known, columns[1], NULL, n, UUIDOID);
	pl_arg_array(&known, columns[2], NULL, n, TEXTOID);
	pl_arg_array(&known, columns[10], NULL, n, BOOLOID);
	pl_arg_array(&args, columns[0], NULL, n, INT8OID);
	pl_arg_array(&args, columns[1], NULL, n, UUIDOID);
	pl_arg_array(&args, columns[2], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[3], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[4], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[5], NULL, n, INT8OID);
	pl_arg_array(&args, columns[6], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[7], NULL, n, INT4OID);
	pl_arg_array(&args, columns[8], NULL, n, INT8OID);
	pl_arg_array(&args, columns[9], NULL, n, TEXTOID);
	pl_arg_timestamp(&args, pl_now());

	pl_history_begin("relay");
	pl_execute(&insert_ahead, &known);
	pl_execute(&publish_dead_letters, &known);
	nphantoms = pl_execute(&insert_phantoms, &args);
	pl_history_end();
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("payledger relay: of %d events in Kafka behind the newest cursor of this server's history, %llu are phantoms",
					n, (unsigned long long) nphantoms)));
	MemoryContextReset(read_context);
	read_events = NIL;
}

/* ---- what follows from it ---- */

/*
 * Mark the chunk's events that Kafka has already.  Needs a turn.
 */
void
pl_phantoms_mark_ahead(PlChunk *chunk)
{
	PlArgs		args = {0};
	int			n;
	int			i = 0;

	if (chunk->n == 0)
		return;
	pl_arg_int64(&args, chunk->messages[0].seq);
	pl_arg_int64(&args, chunk->last_seq);
	n = (int) pl_select(&ahead_between, &args);
	for (int row = 0; row < n; row++)
	{
		int64		seq = pl_get_int64(row, 1);

		while (i < chunk->n && chunk->messages[i].seq < seq)
			i++;
		if (i < chunk->n && chunk->messages[i].seq == seq)
			chunk->messages[i].is_ahead = true;
	}
}

/*
 * PL_READ_STOPPED: there are phantoms that nobody has decided about, which
 * stat_worker shows.  PL_READ_CHUNK: retractions that go first, in *chunk,
 * allocated in context.  Needs a turn.
 */
PlRead
pl_phantoms_read(PlChunk *chunk, MemoryContext context)
{
	PlArgs		args = {0};
	MemoryContext oldcontext;
	int64		nfound;
	int			n;

	pl_select(&count_open, NULL);
	nfound = pl_get_int64(0, 1);
	if (nfound > 0)
	{
		pl_worker_state("stopped at phantoms");
		pl_worker_set_error(psprintf("Kafka has " INT64_FORMAT " events of transactions that this server has lost:"
									 " see payledger.phantoms and call payledger.retract_phantoms()", nfound));
		return PL_READ_STOPPED;
	}
	if (pl_get_int64(0, 2) == 0)
		return PL_READ_NOTHING;
	pl_arg_int64(&args, pl_relay_batch);
	pl_arg_int32(&args, pl_shards);
	pl_arg_int32(&args, pl_shard);
	n = (int) pl_select(&read_retractions, &args);
	if (n == 0)
		return PL_READ_NOTHING;

	pl_chunk_make(chunk, PL_CHUNK_RETRACTIONS, n, context);
	/* they were appended a moment ago */
	chunk->first_read = true;
	oldcontext = MemoryContextSwitchTo(context);
	for (int i = 0; i < chunk->n; i++)
	{
		PlMessage  *message = &chunk->messages[i];

		message->phantom_id = pl_get_int64(i, PL_NEVENT_COLUMNS + 1);
		message->topic = pl_get_text(i, PL_NEVENT_COLUMNS + 2);
		message->key = pl_get_text(i, PL_NEVENT_COLUMNS + 3);
	}
	MemoryContextSwitchTo(oldcontext);
	return PL_READ_CHUNK;
}

/* The retractions of the chunk are published.  Needs a turn. */
void
pl_phantoms_retracted(const PlChunk *chunk)
{
	PlArgs		args = {0};
	int64	   *ids = palloc(sizeof(int64) * chunk->n);

	for (int i = 0; i < chunk->n; i++)
		ids[i] = chunk->messages[i].phantom_id;
	pl_arg_ids(&args, ids, chunk->n);
	pl_arg_timestamp(&args, pl_now());
	pl_history_begin("relay");
	pl_execute(&set_retracted, &args);
	pl_history_end();
}
