/*
 * src/worker/relay_cursor.c
 *		The cursor's record in Kafka: finding it when a session begins.
 *
 * Look whether a server on a later timeline has taken over; fence every older
 * relay, which also decides its last transaction; commit a claim; read the
 * topic up to that claim.  What was committed before is before it, so the
 * newest record found is the cursor.
 *
 * Where this server's history does not contain that record (an asynchronous
 * standby was promoted), the cursor is the newest record that it does contain,
 * and relay_phantoms.c finds what the later ones have published.
 */
#include "postgres.h"

#include <openssl/sha.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "worker/relay_cursor.h"

PlCursor	pl_cursor;

static PlQuery next_epoch = {
	"UPDATE payledger.relay_cursors SET epoch = greatest(epoch, $2) + 1 WHERE shard = $1 RETURNING epoch", 2, {INT4OID, INT4OID}
};

static PlQuery read_record = {
	"SELECT (r ->> 'batch')::bigint, (r ->> 'timeline')::int, (r ->> 'lsn')::pg_catalog.pg_lsn,"
	" r ->> 'last_event_id',"
	" r ->> 'last_event_id' IS NULL"
	" OR EXISTS (SELECT FROM payledger.outbox_events WHERE id = (r ->> 'last_event_id')::uuid)"
	/* its partition may be gone */
	" OR EXISTS (SELECT FROM payledger.relay_cursors WHERE shard = $2 AND last_event_id = (r ->> 'last_event_id')::uuid)"
	" FROM (SELECT $1::json) AS t(r)", 2, {TEXTOID, INT4OID}
};

static PlQuery adopt_record = {
	"UPDATE payledger.relay_cursors c"
	" SET snapshot_xmax = r.snapshot_xmax, window_start = r.window_start,"
	"     snapshot_xip = r.snapshot_xip, snapshot_xip_start = r.snapshot_xip_start,"
	"     next_xmax = r.next_xmax, next_window_start = r.next_window_start,"
	"     next_xip = r.next_xip, next_xip_start = r.next_xip_start, published_seq = r.published_seq,"
	"     published = r.published, batch = $5, last_event_id = r.last_event_id,"
	"     record_offset = $2, record_hash = $3, updated_at = pg_catalog.clock_timestamp()"
	" FROM pg_catalog.json_to_record($1::json) AS r(snapshot_xmax bigint, window_start bigint,"
	"  snapshot_xip bigint[], snapshot_xip_start bigint[], next_xmax bigint, next_window_start bigint,"
	"  next_xip bigint[], next_xip_start bigint[], published_seq bigint, published bigint,"
	"  last_event_id uuid)"
	" WHERE c.shard = $4", 5, {TEXTOID, INT8OID, TEXTOID, INT4OID, INT8OID}
};

static PlQuery adopt_dead_letters = {
	"UPDATE payledger.dead_letters SET status = 'PUBLISHED', updated_at = pg_catalog.clock_timestamp()"
	" WHERE dead_letter_id = ANY (SELECT pg_catalog.json_array_elements_text($1::json -> 'dead_letters')::bigint)"
	"   AND status IN ('HELD', 'READY')", 1, {TEXTOID}
};

static PlQuery adopt_retractions = {
	"UPDATE payledger.phantoms SET status = 'RETRACTED', updated_at = pg_catalog.clock_timestamp()"
	" WHERE phantom_id = ANY (SELECT pg_catalog.json_array_elements_text($1::json -> 'retractions')::bigint)"
	"   AND status = 'READY'", 1, {TEXTOID}
};

static PlQuery adopt_replay = {
	"UPDATE payledger.replays"
	" SET position = (r ->> 'replay_position')::bigint, events = events + (r ->> 'replayed')::bigint,"
	"     updated_at = pg_catalog.clock_timestamp()"
	" FROM (SELECT $1::json) AS t(r)"
	" WHERE replay_id = (r ->> 'replay_id')::bigint AND position < (r ->> 'replay_position')::bigint", 1, {TEXTOID}
};

/* The topic of the record; good until the prefix changes. */
const char *
pl_cursor_topic(void)
{
	static char topic[256];

	snprintf(topic, sizeof(topic), "%s.cursor", pl_topic_prefix);
	return topic;
}

/* SHA-256 of a text in PL_HASH_LENGTH hexadecimal digits; hash has room for a terminator, too. */
void
pl_cursor_hash(const char *text, char *hash)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *) text, strlen(text), digest);
	hex_encode((const char *) digest, sizeof(digest), hash);
	hash[PL_HASH_LENGTH] = '\0';
}

/* A message for the cursor's topic, with key and value of the caller's. */
void
pl_cursor_message(PlMessage *message, const char *key, const char *value)
{
	memset(message, 0, sizeof(PlMessage));
	message->topic = pl_cursor_topic();
	message->key = key;
	message->value = value;
	message->value_length = strlen(value);
	message->time_ms = pl_unix_ms(GetCurrentTimestamp());
}

/* ---- reading the cursor topic ---- */

typedef struct Found
{
	char	   *value;			/* of the newest record; NULL: none */
	int64		offset;
	int			timeline;		/* the latest that claimed the cursor */
	int			epoch;			/* the highest */
	int64		next_offset;	/* behind what was read */
} Found;

static void
take_record(void *arg, const PlMessage *message)
{
	Found	   *found = arg;
	const char *key = message->key;
	const char *epoch_member;
	size_t		length = strlen(pl_cursor.record_key);

	found->next_offset = message->offset + 1;
	if (key == NULL || message->value == NULL || strncmp(key, pl_cursor.record_key, length) != 0)
		return;
	epoch_member = strstr(message->value, "\"epoch\":");
	if (epoch_member != NULL)
		found->epoch = Max(found->epoch, atoi(epoch_member + strlen("\"epoch\":")));
	if (strncmp(key + length, "/claim/", 7) == 0)
		found->timeline = Max(found->timeline, atoi(key + length + 7));
	else if (key[length] == '\0')
	{
		if (found->value != NULL)
			pfree(found->value);
		found->value = MemoryContextStrdup(pl_worker_context, message->value);
		found->offset = message->offset;
	}
}

/* Keep each record in a list. */
static void
take_candidate(void *arg, const PlMessage *message)
{
	List	  **candidates = arg;

	if (message->key != NULL && message->value != NULL && strcmp(message->key, pl_cursor.record_key) == 0)
		*candidates = lappend(*candidates, pstrdup(message->value));
}

/* Is this server one that was replaced by another?  Shows it if so. */
static bool
is_demoted(int latest_timeline)
{
	char		text[256];

	if (latest_timeline <= pl_timeline())
		return false;
	pl_worker_state("demoted");
	snprintf(text, sizeof(text), "a server on timeline %d publishes this database's events, this one is on timeline %d",
			 latest_timeline, pl_timeline());
	pl_worker_set_error(text);
	pl_kafka_close();
	return true;
}

/* Commit a message that says who has the cursor now; sets *offset to its place. */
static bool
claim(int64 *offset)
{
	PlMessage	message;
	char		key[sizeof(pl_cursor.record_key) + 32];
	char		value[64];

	snprintf(key, sizeof(key), "%s/claim/%d", pl_cursor.record_key, pl_timeline());
	snprintf(value, sizeof(value), "{\"timeline\":%d,\"epoch\":%d}", pl_timeline(), pl_cursor.epoch);
	pl_cursor_message(&message, key, value);
	if (!pl_kafka_begin() || pl_kafka_publish(NULL, 0, &message) != PL_PUBLISHED || !pl_kafka_commit())
		return false;
	*offset = message.offset;
	return true;
}

/* The newest record is not what it should be; the setting is the way out. */
static bool
refuse_record(const char *text)
{
	if (pl_delivery == PL_DELIVERY_EXACTLY_ONCE)
	{
		pl_worker_state("stopped");
		pl_worker_set_error(text);
		return false;
	}
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("payledger relay: %s", text),
			 errdetail("The cursor in payledger.relay_cursors is used instead; events may be published again.")));
	return true;
}

/* What a record says, as far as it tells whether it is to be believed. */
typedef struct Claims
{
	int64		batch;
	int			timeline;
	const char *last_event_id;	/* may be NULL */
	bool		is_ours;		/* this server's history contains it */
} Claims;

/* Needs a turn. */
static Claims
read_claims(const char *value)
{
	PlArgs		args = {0};
	Claims		claims;
	bool		isnull;

	pl_arg_text(&args, value);
	pl_arg_int32(&args, pl_shard);
	pl_select(&read_record, &args);
	claims.batch = pl_get_int64(0, 1);
	claims.timeline = pl_get_int32(0, 2);
	claims.last_event_id = pl_get_text(0, 4);
	claims.is_ours = pl_get_bool(0, 5) && pl_history_contains(claims.timeline, DatumGetLSN(pl_get_datum(0, 3, &isnull)));
	return claims;
}

/*
 * Bring the row up to the record.  It will say that the newest record is
 * found, which is another after a loss.  Needs a turn.
 */
static void
adopt(const char *value, const Found *found, int64 found_batch)
{
	PlArgs		args = {0};

	pl_arg_text(&args, value);
	pl_arg_int64(&args, found->offset);
	pl_arg_text(&args, pl_cursor.record_hash);
	pl_arg_int32(&args, pl_shard);
	pl_arg_int64(&args, found_batch);
	if (pl_execute(&adopt_record, &args) != 1)
		elog(ERROR, "payledger.relay_cursors has no row for shard %d", pl_shard);
	args.n = 1;
	pl_execute(&adopt_dead_letters, &args);
	pl_execute(&adopt_retractions, &args);
	pl_execute(&adopt_replay, &args);
}

/*
 * The newest of the records from the row's own on that this server's history
 * contains, in the current memory context.  NULL: the topic does not have the
 * row's any more.  Needs a turn.
 */
static const char *
newest_of_ours(List *candidates)
{
	if (candidates == NIL || read_claims(linitial(candidates)).batch != pl_cursor.batch)
		return NULL;
	for (int i = list_length(candidates) - 1; i >= 0; i--)
		if (read_claims(list_nth(candidates, i)).is_ours)
			return list_nth(candidates, i);
	return NULL;
}

/*
 * The newest record is of a history that this server has lost: go back to the
 * newest one that is not, and find out what was published after it.  The next
 * record follows the newest all the same: the chain does not break.  Returns
 * false, with the reason in stat_worker, if that was not possible.
 */
static bool
leave_lost_history(const Found *found, int64 row_offset, const char *loss)
{
	MemoryContext context = AllocSetContextCreate(pl_worker_context, "payledger relay records", ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	List	   *candidates = NIL;
	const char *ours = NULL;
	bool		result;

	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("payledger relay: %s", loss)));
	result = row_offset >= 0 &&
		pl_kafka_read(pl_cursor_topic(), pl_shard, row_offset, found->offset, take_candidate, &candidates);
	if (result && pl_worker_begin())
	{
		ours = newest_of_ours(candidates);
		if (ours != NULL)
			pl_positions_load(ours);
		pl_worker_commit();
	}
	if (ours == NULL)
		result = refuse_record(loss);
	else if ((result = pl_phantoms_find() && pl_worker_begin()))
	{
		int64		found_batch = read_claims(found->value).batch;

		adopt(ours, found, found_batch);
		pl_phantoms_store();
		pl_positions_load(found->value);
		pl_worker_commit();
		(void) pl_make_durable();
		pl_cursor.batch = found_batch;
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(context);
	return result;
}

/*
 * Bring the row up to the newest record of the topic.  Returns false if they
 * do not fit together.
 */
static bool
take_cursor(const Found *found)
{
	Claims		claims;
	int64		row_offset = pl_cursor.record_offset;
	char		text[256];

	if (found->value == NULL)
	{
		pl_cursor.record_offset = -1;
		pl_cursor.record_hash[0] = '\0';
		pl_positions_forget();
		if (pl_cursor.delivery != PL_DELIVERY_EXACTLY_ONCE)
			return true;
		snprintf(text, sizeof(text), "topic %s has lost the cursor of this database", pl_cursor_topic());
		return refuse_record(text);
	}

	if (!pl_worker_begin())
		return false;
	claims = read_claims(found->value);
	pl_positions_load(found->value);
	pl_cursor_hash(found->value, pl_cursor.record_hash);
	pl_cursor.record_offset = found->offset;

	if (claims.batch > pl_cursor.batch && !claims.is_ours)
	{
		snprintf(text, sizeof(text), "Kafka has events up to %s of timeline %d that this server has lost",
				 claims.last_event_id ? claims.last_event_id : "none", claims.timeline);
		pl_worker_commit();
		return leave_lost_history(found, row_offset, text);
	}
	if (claims.batch > pl_cursor.batch)
		adopt(found->value, found, claims.batch);
	pl_worker_commit();
	(void) pl_make_durable();

	if (claims.batch < pl_cursor.batch && pl_cursor.delivery == PL_DELIVERY_EXACTLY_ONCE)
	{
		snprintf(text, sizeof(text), "the cursor in topic %s is older than what Kafka has acknowledged", pl_cursor_topic());
		return refuse_record(text);
	}
	pl_cursor.batch = Max(pl_cursor.batch, claims.batch);
	return true;
}

/*
 * Become the only relay that can publish for this database, and find out how
 * far the last one came: pl_cursor and the row are as the newest record says.
 * Returns false, with the reason in stat_worker, if that was not possible.
 * Outside of turns only.
 */
bool
pl_cursor_recover(void)
{
	Found		found = {0};
	PlArgs		args = {0};
	int64		claimed_at = -1;
	const char *topic = pl_cursor_topic();
	bool		result;

	pl_worker_state("recovering the cursor");
	if (pl_kafka_was_fenced())
		pl_worker_set_error("another relay with the same identity took over");

	/* before fencing anybody, who may well be our heir */
	if (!pl_kafka_read(topic, pl_shard, pl_cursor.record_offset, -1, take_record, &found) ||
		is_demoted(found.timeline))
		return false;

	if (!pl_worker_begin())
		return false;
	pl_arg_int32(&args, pl_shard);
	/* a lost history may have had later ones */
	pl_arg_int32(&args, found.epoch);
	pl_execute(&next_epoch, &args);
	pl_cursor.epoch = pl_get_int32(0, 1);
	pl_worker_commit();
	(void) pl_make_durable();

	pl_kafka_open(pl_cursor.transactional_id);
	pl_kafka_expect_topic(topic);
	if (!pl_kafka_init_transactions() || !claim(&claimed_at))
		return false;
	if (!pl_kafka_read(topic, pl_shard, found.next_offset > claimed_at ? -1 : found.next_offset,
					   claimed_at, take_record, &found) ||
		is_demoted(found.timeline))
		return false;

	/* the row said where to begin, and there was nothing */
	if (found.value == NULL && pl_cursor.record_offset > 0 &&
		!pl_kafka_read(topic, pl_shard, -1, claimed_at, take_record, &found))
		return false;
	result = take_cursor(&found);
	if (found.value != NULL)
		pfree(found.value);
	return result;
}
