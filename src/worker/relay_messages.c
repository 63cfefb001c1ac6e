/*
 * src/worker/relay_messages.c
 *		From an event's row to its Kafka message.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "worker/worker.h"

/* A text column of the last result, palloc'd. */
static char *
text_column(int row, int column)
{
	bool		isnull;
	Datum		value = pl_get_datum(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static void
add_header(PlMessage *message, const char *name, const char *value)
{
	Assert(message->nheaders < PL_MAX_HEADERS);
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
void
pl_event_message(PlMessage *message, int row)
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
	add_header(message, "ce_id", pl_get_text(row, 6));
	add_header(message, "ce_type", text_column(row, 7));
	add_header(message, "ce_source", text_column(row, 8));
	add_header(message, "ce_specversion", text_column(row, 9));
	add_header(message, "ce_time", text_column(row, 10));
	add_header(message, "ce_subject", text_column(row, 11));
	add_header(message, "ce_sequence", psprintf(INT64_FORMAT, pl_get_int64(row, 12)));
	add_header(message, "content-type", text_column(row, 13));
	if (traceparent != NULL)
		add_header(message, "traceparent", traceparent);
}
