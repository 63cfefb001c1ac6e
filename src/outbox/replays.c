/*
 * src/outbox/replays.c
 *		Asking for events to be published again.  The relay does it:
 *		src/relay/replays.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

static const char *const states[] = {"RUNNING", "DONE", "CANCELLED"};

static const PlEdge edges[] = {
	{NULL, "RUNNING"},
	{"RUNNING", "DONE"},
	{"RUNNING", "CANCELLED"},
};

const PlMachine pl_replay_machine = {
	"replay", states, lengthof(states), edges, lengthof(edges)
};

/* The whole of what there is: partitions that are gone are passed quickly. */
static PlQuery seq_range = {
	"SELECT coalesce((SELECT e.seq FROM payledger.outbox_events e ORDER BY e.seq LIMIT 1), 1), s.last_value"
	" FROM payledger.outbox_seq s", 0
};

static PlQuery find_event = {
	"SELECT seq FROM payledger.outbox_events WHERE id = $1", 1, {UUIDOID}
};

static PlQuery insert_replay = {
	"INSERT INTO payledger.replays (replay_id, status, from_seq, to_seq, from_time, to_time, topic, position,"
	"  requested_by, created_at, updated_at)"
	" VALUES ($1, 'RUNNING', $2, $3, $4, $5, $6, $2 - 1, $7, $8, $8)",
	8, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery lock_replay = {
	"SELECT status::text FROM payledger.replays WHERE replay_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery cancel = {
	"UPDATE payledger.replays SET status = 'CANCELLED', updated_at = $2 WHERE replay_id = $1",
	2, {INT8OID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_replay_events);
PG_FUNCTION_INFO_V1(pl_sql_replay_events_by_id);
PG_FUNCTION_INFO_V1(pl_sql_cancel_replay);

/* NULL times are open ends.  Needs an open SPI connection; returns the id. */
static int64
begin_replay(int64 from_seq, int64 to_seq, const TimestampTz *from, const TimestampTz *to, const char *topic)
{
	PlArgs		args = {0};
	int64		id = pl_next_id();

	if (topic != NULL)
		pl_check_topic(topic);
	pl_arg_int64(&args, id);
	pl_arg_int64(&args, from_seq);
	pl_arg_int64(&args, to_seq);
	if (from != NULL)
		pl_arg_timestamp(&args, *from);
	else
		pl_arg_null(&args);
	if (to != NULL)
		pl_arg_timestamp(&args, *to);
	else
		pl_arg_null(&args);
	pl_arg_text(&args, topic);
	pl_arg_text(&args, GetUserNameFromId(GetSessionUserId(), false));
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_history_begin("replay_events");
	pl_execute(&insert_replay, &args);
	pl_history_end();
	pl_wake_at_commit(PL_ROLE_RELAY);
	return id;
}

pg_noreturn static void
refuse_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the end of a replay must come after its beginning")));
}

static void
require_from(FunctionCallInfo fcinfo, const char *name)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/*
 * replay_events(from timestamptz, to timestamptz, topic text) RETURNS bigint
 */
Datum
pl_sql_replay_events(PG_FUNCTION_ARGS)
{
	char	   *topic = pl_optional_text_arg(fcinfo, 2);
	TimestampTz from;
	TimestampTz to = 0;
	int64		id;

	require_from(fcinfo, "from");
	from = PG_GETARG_TIMESTAMPTZ(0);
	if (!PG_ARGISNULL(1) && (to = PG_GETARG_TIMESTAMPTZ(1)) <= from)
		refuse_range();
	pl_connect();
	pl_require_layout();
	pl_execute(&seq_range, NULL);
	id = begin_replay(pl_get_int64(0, 1), pl_get_int64(0, 2), &from, PG_ARGISNULL(1) ? NULL : &to, topic);
	pl_finish();
	PG_RETURN_INT64(id);
}

/* The seq of an event; PL007 if the outbox does not have it. */
static int64
seq_of(pg_uuid_t *event_id)
{
	PlArgs		args = {0};

	pl_arg(&args, UUIDPGetDatum(event_id));
	if (pl_execute(&find_event, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("event %s is not in the outbox", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(event_id)))),
				 errhint("Published events are kept for payledger.outbox_retention.")));
	return pl_get_int64(0, 1);
}

/*
 * replay_events_by_id(from_id uuid, to_id uuid, topic text) RETURNS bigint
 */
Datum
pl_sql_replay_events_by_id(PG_FUNCTION_ARGS)
{
	char	   *topic = pl_optional_text_arg(fcinfo, 2);
	int64		from_seq;
	int64		to_seq;
	int64		id;

	require_from(fcinfo, "from_id");
	pl_connect();
	pl_require_layout();
	from_seq = seq_of(PG_GETARG_UUID_P(0));
	if (PG_ARGISNULL(1))
	{
		pl_execute(&seq_range, NULL);
		to_seq = pl_get_int64(0, 2);
	}
	else
		to_seq = seq_of(PG_GETARG_UUID_P(1));
	if (to_seq < from_seq)
		refuse_range();
	id = begin_replay(from_seq, to_seq, NULL, NULL, topic);
	pl_finish();
	PG_RETURN_INT64(id);
}

/*
 * cancel_replay(replay_id bigint) RETURNS text
 */
Datum
pl_sql_cancel_replay(PG_FUNCTION_ARGS)
{
	int64		id = pl_int64_arg(fcinfo, 0, "replay_id");
	PlArgs		args = {0};
	const char *from;

	pl_connect();
	pl_require_layout();
	pl_arg_int64(&args, id);
	if (pl_execute(&lock_replay, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("replay " INT64_FORMAT " does not exist", id)));
	from = pl_get_text(0, 1);
	if (!pl_edge_exists(&pl_replay_machine, from, "CANCELLED"))
		pl_illegal_transition(pl_replay_machine.name, id, from, "CANCELLED");
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_history_begin("cancel_replay");
	pl_execute(&cancel, &args);
	pl_history_end();
	pl_finish();
	PG_RETURN_TEXT_P(cstring_to_text("CANCELLED"));
}
