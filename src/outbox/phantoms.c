/*
 * src/outbox/phantoms.c
 *		What an operator decides about events that Kafka has and this server has
 *		lost.  The relay finds them and publishes the retractions:
 *		src/relay/phantoms.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"

#define MAX_NOTE 500

static const char *const states[] = {"FOUND", "READY", "RETRACTED"};

static const PlEdge edges[] = {
	{NULL, "FOUND"},
	{"FOUND", "READY"},
	{"READY", "RETRACTED"},
};

const PlMachine pl_phantom_machine = {
	"phantom", states, lengthof(states), edges, lengthof(edges)
};

static PlQuery lock_phantoms = {
	"SELECT phantom_id, event_id::text, event_type, aggregateid, version, topic, partition, record_offset, message_key"
	" FROM payledger.phantoms WHERE status = 'FOUND' ORDER BY phantom_id FOR NO KEY UPDATE", 0
};

static PlQuery set_ready = {
	"UPDATE payledger.phantoms p"
	" SET status = 'READY', retraction_id = u.id, retraction_seq = o.seq, note = $3, updated_at = $4"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u(phantom_id, id)"
	" JOIN payledger.outbox_events o ON o.id = u.id"
	" WHERE p.phantom_id = u.phantom_id AND p.status = 'FOUND'", 4, {INT8ARRAYOID, UUIDARRAYOID, TEXTOID, TIMESTAMPTZOID}
};

/* they are published by way of payledger.phantoms, not when their turn comes */
static PlQuery insert_ahead = {
	"INSERT INTO payledger.published_ahead (seq)"
	" SELECT retraction_seq FROM payledger.phantoms WHERE phantom_id = ANY ($1)", 1, {INT8ARRAYOID}
};

PG_FUNCTION_INFO_V1(pl_sql_retract_phantoms);

/* What the event says that retracts the phantom in that row of the result. */
static char *
retraction_data(int row, const char *note)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	pl_json_text(&out, "retractedEventId", pl_get_text(row, 2));
	pl_json_text(&out, "retractedEventType", pl_get_text(row, 3));
	pl_json_text(&out, "retractedAggregateId", pl_get_text(row, 4));
	pl_json_amount(&out, "retractedVersion", pl_get_int64(row, 5));
	pl_json_text(&out, "topic", pl_get_text(row, 6));
	pl_json_amount(&out, "partition", pl_get_int32(row, 7));
	pl_json_amount(&out, "offset", pl_get_int64(row, 8));
	pl_json_text(&out, "note", note);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * retract_phantoms(note text) RETURNS bigint
 */
Datum
pl_sql_retract_phantoms(PG_FUNCTION_ARGS)
{
	char	   *note = pl_text_arg(fcinfo, 0, "note");
	PlEventBatch *batch = pl_events_new();
	PlArgs		args = {0};
	Datum	   *phantoms;
	Datum	   *retractions;
	int			n;

	pl_connect();
	pl_require_layout();
	pl_check_text("note", note, MAX_NOTE);
	n = (int) pl_execute(&lock_phantoms, NULL);
	phantoms = palloc(sizeof(Datum) * Max(n, 1));
	retractions = palloc(sizeof(Datum) * Max(n, 1));
	for (int row = 0; row < n; row++)
	{
		const PlEventType *type = pl_event_type(pl_get_text(row, 3));
		int64		id = pl_next_id();

		phantoms[row] = Int64GetDatum(pl_get_int64(row, 1));
		retractions[row] = UUIDPGetDatum(pl_event_id(id, 1));
		pl_event_add(batch, psprintf("%s_event_retracted", type ? type->aggregatetype : "ledger"), id, 1,
					 pl_get_text(row, 9), retraction_data(row, note), NULL);
	}
	if (n > 0)
	{
		pl_events_append_always(batch);
		pl_arg_array(&args, phantoms, NULL, n, INT8OID);
		pl_arg_array(&args, retractions, NULL, n, UUIDOID);
		pl_arg_text(&args, note);
		pl_arg_timestamp(&args, pl_transaction_now());
		pl_history_begin("retract_phantoms");
		if (pl_execute(&set_ready, &args) != (uint64) n)
			elog(ERROR, "not all of %d phantoms could be made ready", n);
		pl_history_end();
		args.n = 1;
		pl_execute(&insert_ahead, &args);
	}
	pl_finish();
	PG_RETURN_INT64(n);
}
