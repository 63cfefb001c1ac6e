/*
 * src/relay/delivery.c
 *		At least once or exactly once: where the authoritative cursor is.
 *
 * At least once, the cursor is the row in payledger.relay_cursors, moved after
 * Kafka has acknowledged.  Exactly once, it is a record in the topic
 * <prefix>.cursor, written in the Kafka transaction that publishes the events,
 * and the row follows it: it tells retention and views how far the relay is,
 * and the relay where to begin to read the topic.  Both count the chunks, so
 * the one with more of them is ahead.
 *
 * relay_cursors.delivery says which of the two is authoritative.  It changes
 * only when the row and the newest record agree, so nothing is lost or
 * repeated by changing the setting.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "miscadmin.h"
#include "relay/cursor.h"
#include "utils/pg_lsn.h"
#include "worker/worker.h"

int			pl_delivery;

static bool begun = false;
static PlDelivery mode;			/* of the session that has begun */
static char prefix[256];		/* of its topics */

/* the position in the WAL that is safe for the chunk under way */
static XLogRecPtr safe_lsn = InvalidXLogRecPtr;

static PlQuery load_row = {
	"SELECT delivery, batch, coalesce(record_offset, -1), coalesce(record_hash, ''), cursor_id::text, record_key, epoch"
	" FROM payledger.relay_cursors WHERE shard = $1 AND shards = $2", 2, {INT4OID, INT4OID}
};

static PlQuery store_mode = {
	"UPDATE payledger.relay_cursors"
	" SET delivery = $1, batch = $2, record_offset = nullif($3, -1), record_hash = nullif($4, ''), record_key = $5"
	" WHERE shard = $6", 6, {TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID, INT4OID}
};

static const char *
mode_name(PlDelivery delivery)
{
	return delivery == PL_DELIVERY_EXACTLY_ONCE ? "exactly_once" : "at_least_once";
}

/*
 * The names by which Kafka knows this shard, for a server with that node.  They
 * begin with what no other has: the node, for clusters that were copied from
 * one image, and the system identifier, for those with the same node.  The
 * transactional id of node 0 does not say so.
 */
static void
set_names(int node_id, const char *cursor_id)
{
	pl_cursor.node_id = node_id;
	snprintf(pl_cursor.transactional_id, sizeof(pl_cursor.transactional_id), "payledger." UINT64_FORMAT ".%u.%d",
			 GetSystemIdentifier(), MyDatabaseId, pl_shard);
	if (node_id != 0)
		snprintf(pl_cursor.transactional_id + strlen(pl_cursor.transactional_id),
				 sizeof(pl_cursor.transactional_id) - strlen(pl_cursor.transactional_id), ".%d", node_id);
	/* data that was set up anew in the same database is not the old one's heir */
	snprintf(pl_cursor.record_key, sizeof(pl_cursor.record_key), "%d." UINT64_FORMAT ".%u.%d.%s",
			 node_id, GetSystemIdentifier(), MyDatabaseId, pl_shard, cursor_id);
}

/* Is that the key of records of this shard, written as another node? */
static bool
is_key_of_other_node(const char *key)
{
	const char *rest = strchr(key, '.');
	const char *own_rest = strchr(pl_cursor.record_key, '.');

	return rest != NULL && own_rest != NULL && strcmp(rest, own_rest) == 0;
}

/* Read the row; false if there is no database to read it from. */
static bool
load(void)
{
	PlArgs		args = {0};
	const char *key;

	if (!pl_worker_begin())
		return false;
	pl_arg_int32(&args, pl_shard);
	pl_arg_int32(&args, pl_shards);
	if (pl_select(&load_row, &args) != 1)
		elog(ERROR, "payledger.relay_cursors has no row for shard %d of %d", pl_shard, pl_shards);
	pl_cursor.delivery = strcmp(pl_get_text(0, 1), "exactly_once") == 0 ? PL_DELIVERY_EXACTLY_ONCE : PL_DELIVERY_AT_LEAST_ONCE;
	pl_cursor.batch = pl_get_int64(0, 2);
	pl_cursor.record_offset = pl_get_int64(0, 3);
	strlcpy(pl_cursor.record_hash, pl_get_text(0, 4), sizeof(pl_cursor.record_hash));
	pl_cursor.epoch = pl_get_int32(0, 7);
	set_names(pl_node_id, pl_get_text(0, 5));
	key = pl_isnull(0, 6) ? "" : pl_get_text(0, 6);

	/* first it has to be known what was published under the former name */
	if (pl_cursor.delivery == PL_DELIVERY_EXACTLY_ONCE && strcmp(key, pl_cursor.record_key) != 0 && is_key_of_other_node(key))
		set_names(atoi(key), pl_get_text(0, 5));

	/* a copy of a database, restored from a dump, has only the row to go by */
	if (strcmp(key, pl_cursor.record_key) != 0)
	{
		pl_cursor.delivery = PL_DELIVERY_AT_LEAST_ONCE;
		pl_cursor.record_offset = -1;
		pl_cursor.record_hash[0] = '\0';
	}
	pl_cursor.has_claim = pl_cursor.record_offset >= 0 && pl_cursor.node_id == pl_node_id;
	pl_node_load();
	pl_worker_commit();
	return true;
}

/* ---- sessions ---- */

/* From now on the other cursor is authoritative; both agree. */
static bool
change_mode(PlDelivery wanted)
{
	PlArgs		args = {0};

	if (wanted == PL_DELIVERY_EXACTLY_ONCE)
	{
		PlChunk		nothing = {0};

		/* a record that is ahead of whatever the row may fall back to */
		if (!pl_worker_begin())
			return false;
		pl_window_load();
		pl_worker_commit();
		nothing.kind = PL_CHUNK_POSITION;
		mode = wanted;
		if (!pl_positions_at_end())
			return false;
		if (pl_delivery_send(&nothing) != PL_PUBLISHED)
			return false;
	}
	if (!pl_worker_begin())
		return false;
	pl_arg_text(&args, mode_name(wanted));
	pl_arg_int64(&args, pl_cursor.batch);
	pl_arg_int64(&args, pl_cursor.record_offset);
	pl_arg_text(&args, pl_cursor.record_hash);
	pl_arg_text(&args, pl_cursor.record_key);
	pl_arg_int32(&args, pl_shard);
	if (pl_execute(&store_mode, &args) != 1)
		elog(ERROR, "payledger.relay_cursors has no row for shard %d", pl_shard);
	pl_worker_commit();
	(void) pl_make_durable();
	pl_cursor.delivery = wanted;
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("payledger relay: delivery is %s from here on", mode_name(wanted))));
	return true;
}

/* Tell a new producer where events may go. */
static void
expect_topics(void)
{
	static PlQuery aggregate_types = {
		"SELECT DISTINCT aggregatetype FROM payledger.event_catalogue()", 0
	};
	int			n;

	if (!pl_worker_begin())
		return;
	n = (int) pl_select(&aggregate_types, NULL);
	for (int i = 0; i < n; i++)
		pl_kafka_expect_topic(psprintf("%s.%s", pl_topic_prefix, pl_get_text(i, 1)));
	pl_routes_load();
	pl_routes_expect(pl_kafka_expect_topic);
	pl_worker_commit();
}

/* Forget the session: the next begins from what is stored. */
void
pl_delivery_forget(void)
{
	begun = false;
}

/*
 * Have a producer that delivers as payledger.delivery says, behind everything
 * that was published before.  Sets *is_new if the window has to be read from
 * the row again.  Outside of turns only.
 */
PlReadiness
pl_delivery_begin(bool *is_new)
{
	PlDelivery	wanted = pl_delivery;

	*is_new = false;
	if (begun && mode == wanted && strcmp(prefix, pl_topic_prefix) == 0)
	{
		if (pl_kafka_is_open())
			return PL_READY;
		if (mode == PL_DELIVERY_AT_LEAST_ONCE)
		{
			pl_kafka_open(NULL);
			expect_topics();
			return pl_kafka_connect() ? PL_READY : PL_NOT_READY;
		}
	}

	begun = false;
	*is_new = true;
	pl_window_forget();
	if (!load())
		return PL_NO_DATABASE;
	if ((wanted == PL_DELIVERY_EXACTLY_ONCE || pl_cursor.delivery == PL_DELIVERY_EXACTLY_ONCE) && !pl_cursor_recover())
		return PL_NOT_READY;
	if (pl_cursor.node_id != pl_node_id)
	{
		/* all that was published under the former name is known: now under the new one */
		if (!change_mode(PL_DELIVERY_AT_LEAST_ONCE) || !load())
			return PL_NOT_READY;
		if (wanted == PL_DELIVERY_EXACTLY_ONCE && !pl_cursor_recover())
			return PL_NOT_READY;
	}
	if (pl_cursor.delivery != wanted && !change_mode(wanted))
		return PL_NOT_READY;
	begun = false;
	if (wanted == PL_DELIVERY_AT_LEAST_ONCE)
		pl_kafka_open(NULL);
	expect_topics();
	pl_window_forget();
	if (!pl_kafka_connect() || (wanted == PL_DELIVERY_AT_LEAST_ONCE && !pl_node_claim()))
		return PL_NOT_READY;
	mode = wanted;
	strlcpy(prefix, pl_topic_prefix, sizeof(prefix));
	begun = true;
	return PL_READY;
}

/* ---- publishing ---- */

/* What the next events need is on disk, and with the standbys. */
void
pl_delivery_secure(void)
{
	safe_lsn = pl_make_durable();
}

/* The record that says how far the relay is once the chunk is published. */
static char *
describe(const PlChunk *chunk, int64 next_batch)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "{\"batch\":" INT64_FORMAT ",\"epoch\":%d,\"timeline\":%d,\"lsn\":\"%X/%X\",\"previous\":",
					 next_batch, pl_cursor.epoch, pl_timeline(), LSN_FORMAT_ARGS(safe_lsn));
	appendStringInfo(&out, pl_cursor.record_hash[0] ? "\"%s\"" : "null", pl_cursor.record_hash);
	appendStringInfo(&out, ",\"events\":%d", pl_chunk_events(chunk));
	pl_window_describe(&out, chunk);
	pl_positions_describe(&out, chunk);
	if (chunk->kind == PL_CHUNK_REPLAY)
		appendStringInfo(&out, ",\"replay_id\":" INT64_FORMAT ",\"replay_position\":" INT64_FORMAT ",\"replayed\":%d",
						 chunk->replay_id, chunk->last_seq, chunk->n);
	if (chunk->kind == PL_CHUNK_DEAD_LETTERS || chunk->kind == PL_CHUNK_RETRACTIONS)
	{
		bool		dead = chunk->kind == PL_CHUNK_DEAD_LETTERS;

		appendStringInfo(&out, ",\"%s\":", dead ? "dead_letters" : "retractions");
		for (int i = 0; i < chunk->n; i++)
			appendStringInfo(&out, "%c" INT64_FORMAT, i > 0 ? ',' : '[',
							 dead ? chunk->messages[i].dead_letter_id : chunk->messages[i].phantom_id);
		appendStringInfoChar(&out, ']');
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * Publish the chunk, those of its events that are not parked, and exactly once
 * the cursor with it.  Sets what pl_window_advance() needs.  Anything but
 * PL_PUBLISHED ends an exactly-once session, of which nothing can be seen, or,
 * if its commit was not answered, all; see also pl_kafka_publish().
 */
PlPublished
pl_delivery_send(PlChunk *chunk)
{
	MemoryContext oldcontext;
	PlMessage	record;
	PlPublished result;

	chunk->batch = pl_cursor.batch + 1;
	chunk->record_hash[0] = '\0';
	if (mode == PL_DELIVERY_AT_LEAST_ONCE)
	{
		result = pl_kafka_publish(chunk->messages, chunk->n, NULL, pl_deaths_sent);
		if (result == PL_PUBLISHED)
			pl_cursor.batch++;
		return result;
	}

	/* an event that was acknowledged was so in a transaction that failed */
	for (int i = 0; i < chunk->n; i++)
		chunk->messages[i].acknowledged = false;
	if (safe_lsn == InvalidXLogRecPtr)
		safe_lsn = pl_make_durable();
	oldcontext = MemoryContextSwitchTo(chunk->context ? chunk->context : CurrentMemoryContext);
	pl_cursor_message(&record, pl_cursor.record_key, describe(chunk, pl_cursor.batch + 1));
	MemoryContextSwitchTo(oldcontext);
	begun = false;
	if (!pl_kafka_begin())
		return PL_PUBLISH_FAILED;
	result = pl_kafka_publish(chunk->messages, chunk->n, &record, pl_deaths_sent);
	if (result != PL_PUBLISHED)
		return result;
	if (!pl_kafka_commit())
		return PL_PUBLISH_FAILED;

	pl_cursor.batch++;
	pl_positions_take(chunk);
	pl_cursor.record_offset = chunk->record_offset = record.offset;
	pl_cursor_hash(record.value, pl_cursor.record_hash);
	strlcpy(chunk->record_hash, pl_cursor.record_hash, sizeof(chunk->record_hash));
	begun = true;
	return PL_PUBLISHED;
}
