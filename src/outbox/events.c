/*
 * src/outbox/events.c
 *		Appending events in the commit that causes them.
 *
 * The id of an event follows from its aggregate and version, so that the same
 * fact has the same id wherever and however often it is read, and the id of
 * its predecessor, the parent, need not be looked up.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

typedef struct Event
{
	const PlEventType *type;
	int64		aggregate_id;
	int64		version;
	const char *key;
	const char *data;
	const char *traceparent;
} Event;

struct PlEventBatch
{
	MemoryContext context;
	List	   *events;
};

static PlQuery insert_events = {
	"INSERT INTO payledger.outbox_events"
	" (id, aggregatetype, aggregateid, type, payload, \"timestamp\", version, event_key,"
	"  ce_source, ce_time, ce_subject, traceparent, transaction_no)"
	" SELECT i, at, ai, ty, p, $9, v, k, $10, $11, ai, tp, $12"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS u(i, at, ai, ty, p, v, k, tp)",
	12, {UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONARRAYOID, INT8ARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPOID, TEXTOID, TEXTOID, INT8OID}
};

/*
 * The id of an event, palloc'd.  UUID version 8: the 64 bits of the aggregate's id, then 58 bits of version,
 * around the version and variant bits.
 */
pg_uuid_t *
pl_event_id(int64 aggregate_id, int64 version)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));
	uint64		id = (uint64) aggregate_id;
	uint64		low = (UINT64CONST(2) << 62) | ((id & 0xF) << 58) |
		((uint64) version & ((UINT64CONST(1) << 58) - 1));

	for (int i = 0; i < 6; i++)
		uuid->data[i] = (unsigned char) (id >> (56 - 8 * i));
	uuid->data[6] = 0x80 | (unsigned char) ((id >> 12) & 0x0F);
	uuid->data[7] = (unsigned char) ((id >> 4) & 0xFF);
	for (int i = 0; i < 8; i++)
		uuid->data[8 + i] = (unsigned char) (low >> (56 - 8 * i));
	return uuid;
}

static char *
uuid_text(const pg_uuid_t *uuid)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid)));
}

/*
 * Where events of this database come from, if the server has that node id: a
 * CloudEvents source, palloc'd.  A promoted standby has its primary's.
 */
char *
pl_event_source(int node_id)
{
	return psprintf("/payledger/%d/%s", node_id, get_database_name(MyDatabaseId));
}

/* The same for what is appended now: neither node nor name changes under a session. */
static const char *
event_source(void)
{
	static char source[NAMEDATALEN + 32] = "";

	if (source[0] == '\0')
		strlcpy(source, pl_event_source(pl_node_id), sizeof(source));
	return source;
}

/* RFC 3339 in UTC with microseconds, palloc'd. */
static char *
rfc3339(TimestampTz at)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year, tm.tm_mon, tm.tm_mday,
					tm.tm_hour, tm.tm_min, tm.tm_sec, (int) fsec);
}

/* The JSON value of the Kafka message. */
static text *
envelope(const Event *event, const char *id, const char *time)
{
	StringInfoData out;
	int64		parent = Max(event->version - 1, 1);

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_text(&out, "eventId", id);
	pl_json_text(&out, "eventType", event->type->type);
	pl_json_id(&out, "aggregateId", event->aggregate_id);
	appendStringInfo(&out, ",\"data\":%s", event->data);
	pl_json_text(&out, "timestamp", time);
	pl_json_text(&out, "traceId", pl_trace_id(event->traceparent));
	/* the first event of an aggregate is its own parent */
	pl_json_text(&out, "parentEventId", uuid_text(pl_event_id(event->aggregate_id, parent)));
	pl_json_amount(&out, "version", event->version);
	appendStringInfoChar(&out, '}');
	return cstring_to_text_with_len(out.data, out.len);
}

/* An empty batch in the current memory context. */
PlEventBatch *
pl_events_new(void)
{
	PlEventBatch *batch = palloc0(sizeof(PlEventBatch));

	batch->context = CurrentMemoryContext;
	return batch;
}

/*
 * Add an event.  version is the aggregate's, contiguous from 1, taken under
 * the lock of its row; key is the Kafka key; data a JSON object, or NULL for a
 * tombstone; traceparent the one of the command that began this, or NULL: one
 * that is not well-formed, in a row that somebody wrote by hand, is left out.
 * Strings must outlive the batch.  An unknown type is a bug, and XX000.
 */
void
pl_event_add(PlEventBatch *batch, const char *type, int64 aggregate_id, int64 version,
			 const char *key, const char *data, const char *traceparent)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(batch->context);
	Event	   *event = palloc(sizeof(Event));

	event->type = pl_event_type(type);
	if (event->type == NULL)
		elog(ERROR, "event type %s is not in the catalogue", type);
	event->aggregate_id = aggregate_id;
	event->version = version;
	event->key = key;
	event->data = data;
	event->traceparent = traceparent != NULL && pl_is_traceparent(traceparent, strlen(traceparent)) ? traceparent : NULL;
	batch->events = lappend(batch->events, event);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Write the events of the batch, in order, with one statement, and wake the
 * relay at commit.  Needs an open SPI connection.  Raises 53400 beyond
 * payledger.outbox_limit.
 */
void
pl_events_append(PlEventBatch *batch)
{
	if (batch->events != NIL)
		pl_outbox_check_limit();
	pl_events_append_always(batch);
}

/* The same, however many events wait: for what they wait for. */
void
pl_events_append_always(PlEventBatch *batch)
{
	int			n = list_length(batch->events);
	TimestampTz now = pl_now();
	char	   *time;
	Datum	   *columns[8];
	bool	   *traceparent_nulls;
	bool	   *payload_nulls;
	PlArgs		args = {0};
	ListCell   *cell;

	if (n == 0)
		return;
	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(Datum) * n);
	traceparent_nulls = palloc(sizeof(bool) * n);
	payload_nulls = palloc(sizeof(bool) * n);
	time = rfc3339(now);

	foreach(cell, batch->events)
	{
		const Event *event = lfirst(cell);
		int			i = foreach_current_index(cell);
		pg_uuid_t  *id = pl_event_id(event->aggregate_id, event->version);

		columns[0][i] = UUIDPGetDatum(id);
		columns[1][i] = CStringGetTextDatum(event->type->aggregatetype);
		columns[2][i] = PointerGetDatum(cstring_to_text(psprintf(INT64_FORMAT, event->aggregate_id)));
		columns[3][i] = CStringGetTextDatum(event->type->type);
		payload_nulls[i] = event->data == NULL;
		columns[4][i] = event->data ? PointerGetDatum(envelope(event, uuid_text(id), time)) : (Datum) 0;
		columns[5][i] = Int64GetDatum(event->version);
		columns[6][i] = CStringGetTextDatum(event->key);
		traceparent_nulls[i] = event->traceparent == NULL;
		columns[7][i] = event->traceparent ? CStringGetTextDatum(event->traceparent) : (Datum) 0;
	}

	pl_arg_array(&args, columns[0], NULL, n, UUIDOID);
	pl_arg_array(&args, columns[1], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[2], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[3], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[4], payload_nulls, n, JSONOID);
	pl_arg_array(&args, columns[5], NULL, n, INT8OID);
	pl_arg_array(&args, columns[6], NULL, n, TEXTOID);
	pl_arg_array(&args, columns[7], traceparent_nulls, n, TEXTOID);
	pl_arg_timestamp(&args, now);	/* a timestamp without time zone counts the same, in UTC */
	pl_arg_text(&args, event_source());
	pl_arg_text(&args, time);
	/* before the sequence advances: the relay relies on that order */
	pl_arg_int64(&args, pl_transaction_no());
	pl_execute(&insert_events, &args);
	pl_wake_at_commit(PL_ROLE_RELAY);
}
