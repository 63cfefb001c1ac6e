/*
 * src/relay/messages.c
 *		From rows of events to a chunk of Kafka messages.
 */
#include "postgres.h"

#include "kafka/kafka.h"
#include "relay/relay_internal.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

/* a chunk ends when its messages have this many bytes */
#define CHUNK_BYTES		(8 * 1024 * 1024)

/* A text column of the last result, palloc'd. */
static char *
text_column(int row, int column)
{
	bool		isnull;
	Datum		value = pl_get_datum(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Add a header; both strings must outlive the message.  A null column is damage, and XX001. */
void
pl_add_header(PlMessage *message, const char *name, const char *value)
{
	if (message->nheaders >= PL_MAX_HEADERS)
		elog(ERROR, "event of seq " INT64_FORMAT " has more than %d headers", message->seq, PL_MAX_HEADERS);
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("event of seq " INT64_FORMAT " has no %s", message->seq, name)));
	message->headers[message->nheaders].name = name;
	message->headers[message->nheaders++].value = value;
}

/* Milliseconds since 1970, in UTC. */
int64
pl_unix_ms(Timestamp at)
{
	return at / 1000 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400000);
}

/*
 * Make the message of an event, as CloudEvents' Kafka binding wants it, in
 * binary mode, from a row of the last result whose first columns are
 * PL_EVENT_COLUMNS; in the current memory context.
 */
static void
event_message(PlMessage *message, int row)
{
	bool		isnull;
	Datum		value;
	char	   *traceparent = text_column(row, 14);

	memset(message, 0, sizeof(PlMessage));
	message->seq = pl_get_int64(row, 1);
	message->time_ms = pl_unix_ms(DatumGetTimestamp(pl_get_datum(row, 2, &isnull)));
	value = pl_get_datum(row, 3, &isnull);
	if (!isnull)
	{
		text	   *payload = DatumGetTextPP(value);

		message->value = text_to_cstring(payload);
		message->value_length = VARSIZE_ANY_EXHDR(payload);
	}
	message->event_key = text_column(row, 4);
	message->aggregatetype = text_column(row, 5);
	pl_route(message, text_column(row, 7), text_column(row, 15));
	pl_add_header(message, "ce_id", pl_get_text(row, 6));
	pl_add_header(message, "ce_type", text_column(row, 7));
	pl_add_header(message, "ce_source", text_column(row, 8));
	pl_add_header(message, "ce_specversion", text_column(row, 9));
	pl_add_header(message, "ce_time", text_column(row, 10));
	pl_add_header(message, "ce_subject", text_column(row, 11));
	pl_add_header(message, "ce_sequence", psprintf(INT64_FORMAT, pl_get_int64(row, 12)));
	pl_add_header(message, "content-type", text_column(row, 13));
	if (traceparent != NULL)
		pl_add_header(message, "traceparent", traceparent);
}

/*
 * Make a chunk of the rows of the last result, n of them, whose first columns
 * are PL_EVENT_COLUMNS; allocated in context.  It ends early when its messages
 * have CHUNK_BYTES: its n says with how many.
 */
void
pl_chunk_make(PlChunk *chunk, PlChunkKind kind, int n, MemoryContext context)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	size_t		bytes = 0;

	memset(chunk, 0, sizeof(PlChunk));
	chunk->context = context;
	chunk->kind = kind;
	chunk->messages = palloc(sizeof(PlMessage) * Max(n, 1));
	while (chunk->n < n && bytes < CHUNK_BYTES)
	{
		PlMessage  *message = &chunk->messages[chunk->n];

		event_message(message, chunk->n);
		bytes += message->value_length;
		chunk->last_seq = message->seq;
		chunk->n++;
	}
	MemoryContextSwitchTo(oldcontext);
}

/* Of the chunk's events those that Kafka gets for the first time. */
int
pl_chunk_events(const PlChunk *chunk)
{
	int			n = 0;

	for (int i = 0; i < chunk->n && chunk->kind != PL_CHUNK_REPLAY; i++)
		n += !chunk->messages[i].parked;
	return n;
}
