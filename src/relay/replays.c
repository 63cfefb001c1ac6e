/*
 * src/relay/replays.c
 *		Publishing events again that somebody asked for: payledger.replays.
 *
 * By seq, which for the events of one aggregate is their order, and only what
 * the cursor of their shard has passed; all of it by the relay of shard 0.  Each chunk is one of its own: it moves the cursor
 * nowhere but counts; exactly once, the cursor's record says how far the
 * replay is, so that after a crash the next session knows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "relay/relay_internal.h"
#include "utils/builtins.h"

/* a read looks at this many seqs at most */
#define SLICE	INT64CONST(100000)

static PlQuery running = {
	"SELECT replay_id, position, to_seq, topic FROM payledger.replays WHERE status = 'RUNNING'"
	" ORDER BY replay_id LIMIT 1", 0
};

/* What comes after $2 and not after $3, and is published. */
static PlQuery read_events = {
	"SELECT " PL_EVENT_COLUMNS("o") " FROM payledger.replays r, payledger.relay_cursors c, payledger.outbox_events o"
	" WHERE r.replay_id = $1 AND o.seq > $2 AND o.seq <= $3 AND " PL_IN_SHARD("o.event_key", "c.shards", "c.shard")
	"   AND o.transaction_no + 0 < c.snapshot_xmax AND o.transaction_no + 0 <> ALL (c.snapshot_xip)"
	"   AND (r.from_time IS NULL OR o.\"timestamp\" >= r.from_time AT TIME ZONE 'UTC')"
	"   AND (r.to_time IS NULL OR o.\"timestamp\" < r.to_time AT TIME ZONE 'UTC')"
	" ORDER BY o.seq LIMIT $4", 4, {INT8OID, INT8OID, INT8OID, INT8OID}
};

static PlQuery move = {
	"UPDATE payledger.replays"
	" SET position = greatest(position, $2), events = events + $3, updated_at = $4,"
	"     status = CASE WHEN status = 'RUNNING' AND greatest(position, $2) >= to_seq THEN 'DONE' ELSE status END"
	" WHERE replay_id = $1", 4, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
};

static PlQuery leave_out = {
	"UPDATE payledger.replays SET position = $2, refused = refused + 1, last_refusal = $3, updated_at = $4"
	" WHERE replay_id = $1 AND position < $2", 4, {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery give_up = {
	"UPDATE payledger.replays SET status = 'CANCELLED', last_refusal = $2, updated_at = $3"
	" WHERE replay_id = $1 AND status = 'RUNNING'", 3, {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static void
move_to(int64 replay_id, int64 position, int64 events)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, replay_id);
	pl_arg_int64(&args, position);
	pl_arg_int64(&args, events);
	pl_arg_timestamp(&args, pl_now());
	pl_history_begin("relay");
	pl_execute(&move, &args);
	pl_history_end();
}

/*
 * Read what is to be published again next into *chunk, allocated in context.
 * Returns PL_READ_AGAIN if it has only passed over a stretch without any.
 * Needs a turn that has written nothing yet.
 */
PlRead
pl_replays_read(PlChunk *chunk, MemoryContext context)
{
	PlArgs		args = {0};
	MemoryContext oldcontext;
	int64		replay_id;
	int64		to_seq;
	int64		end;
	char	   *topic;
	int			n;

	if (pl_shard != 0 || pl_select(&running, NULL) == 0)
		return PL_READ_NOTHING;
	replay_id = pl_get_int64(0, 1);
	to_seq = pl_get_int64(0, 3);
	end = Min(pl_get_int64(0, 2) + SLICE, to_seq);
	oldcontext = MemoryContextSwitchTo(context);
	topic = pl_get_text(0, 4);
	MemoryContextSwitchTo(oldcontext);

	pl_arg_int64(&args, replay_id);
	pl_arg_int64(&args, pl_get_int64(0, 2));
	pl_arg_int64(&args, end);
	pl_arg_int64(&args, pl_relay_batch);
	n = (int) pl_select(&read_events, &args);
	if (n == 0)
	{
		move_to(replay_id, end, 0);
		return PL_READ_AGAIN;
	}

	pl_chunk_make(chunk, PL_CHUNK_REPLAY, n, context);
	chunk->replay_id = replay_id;
	oldcontext = MemoryContextSwitchTo(context);
	for (int i = 0; i < chunk->n; i++)
	{
		PlMessage  *message = &chunk->messages[i];

		if (topic != NULL)
			message->topic = topic;
		pl_add_header(message, "ce_replayid", psprintf(INT64_FORMAT, replay_id));
	}
	MemoryContextSwitchTo(oldcontext);
	return PL_READ_CHUNK;
}

/* There is no topic to replay the chunk to: nothing else waits for that.  Needs a turn. */
void
pl_replays_cancel(const PlChunk *chunk, const char *reason)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, chunk->replay_id);
	pl_arg_text(&args, reason);
	pl_arg_timestamp(&args, pl_now());
	pl_history_begin("relay");
	pl_execute(&give_up, &args);
	pl_history_end();
}

/* The events of the chunk are published again.  Needs a turn. */
void
pl_replays_published(const PlChunk *chunk)
{
	move_to(chunk->replay_id, chunk->last_seq, chunk->n);
}

/* Kafka refuses the chunk's first event: leave it out.  Needs a turn. */
void
pl_replays_refused(const PlChunk *chunk, const char *reason)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, chunk->replay_id);
	pl_arg_int64(&args, chunk->messages[0].seq);
	pl_arg_text(&args, reason);
	pl_arg_timestamp(&args, pl_now());
	pl_execute(&leave_out, &args);
}
