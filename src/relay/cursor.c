/*
 * src/relay/cursor.c
 *		The cursor's record in Kafka: finding it when a session begins.
 *
 * Look whether a server on a later timeline has taken over; fence every older
 * relay, which also decides its last transaction; commit a claim; read the
 * topic up to that claim.  What was committed before is before it, so the
 * newest record found is the cursor.
 *
 * Where this server's history does not contain that record (an asynchronous
 * standby was promoted), the cursor is the newest record that it does contain,
 * and phantoms.c finds what the later ones have published.
 */
#include "postgres.h"

#include <openssl/sha.h>

#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "relay/cursor.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "worker/worker.h"

PlCursor	pl_cursor;

static PlQuery next_epoch = {
	"UPDATE payledger.relay_cursors SET epoch = greatest(epoch, $2) + 1 WHERE shard = $1 RETURNING epoch", 2, {INT4OID, INT4OID}
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
	message->partition = pl_shard;
	message->key = key;
	message->value = value;
	message->value_length = strlen(value);
	message->time_ms = pl_unix_ms(pl_now());
}

/* ---- reading the cursor topic ---- */

/* no relay begins so many sessions */
#define MAX_EPOCH		1000000000

typedef struct Found
{
	char	   *value;			/* of the newest record; NULL: none */
	int64		offset;
	List	   *timelines;		/* that claimed the cursor */
	int			epoch;			/* the highest */
	int64		next_offset;	/* behind what was read */
	int64		damaged_offset; /* of the newest one with a key of ours that is damaged; -1: none */
} Found;

/* The number behind that member of an object, of at most that size; -1 if there is none. */
static int
number_member(const char *value, const char *member, int max)
{
	const char *p = strstr(value, member);
	int64		number = 0;

	if (p == NULL)
		return -1;
	p += strlen(member);
	if (*p < '0' || *p > '9')
		return -1;
	for (; *p >= '0' && *p <= '9'; p++)
	{
		number = number * 10 + (*p - '0');
		if (number > max)
			return -1;
	}
	return (int) number;
}

/* The timeline of a claim's key, from behind "/claim/" on; 0 if there is none. */
static int
claimed_timeline(const char *text)
{
	int64		timeline = 0;

	for (; *text >= '0' && *text <= '9' && timeline <= INT_MAX; text++)
		timeline = timeline * 10 + (*text - '0');
	return *text == '\0' && timeline <= INT_MAX ? (int) timeline : 0;
}

static int
latest_timeline(const Found *found)
{
	int			latest = 0;
	ListCell   *cell;

	foreach(cell, found->timelines)
		latest = Max(latest, lfirst_int(cell));
	return latest;
}

/* A claim of this database's; without a value it is taken back. */
static void
take_claim(Found *found, int timeline, bool has_value)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(pl_worker_context);

	if (!has_value)
		found->timelines = list_delete_int(found->timelines, timeline);
	else if (!list_member_int(found->timelines, timeline))
		found->timelines = lappend_int(found->timelines, timeline);
	MemoryContextSwitchTo(oldcontext);
}

static void
forget_record(Found *found)
{
	if (found->value != NULL)
		pfree(found->value);
	found->value = NULL;
}

static void
take_record(void *arg, const PlMessage *message)
{
	Found	   *found = arg;
	const char *key = message->key;
	size_t		length = strlen(pl_cursor.record_key);
	bool		is_claim;
	int			timeline = 0;
	int			epoch = 0;

	found->next_offset = message->offset + 1;
	pl_node_take_record(message);
	if (key == NULL || strlen(key) != message->key_length || strncmp(key, pl_cursor.record_key, length) != 0)
		return;
	is_claim = strncmp(key + length, "/claim/", 7) == 0;
	if (!is_claim && key[length] != '\0')
		return;
	if (is_claim)
		timeline = claimed_timeline(key + length + 7);
	if (message->value == NULL)
	{
		/* an operator's word: what has that key is void */
		if (is_claim)
			take_claim(found, timeline, false);
		else
			forget_record(found);
		return;
	}
	if (pl_record_is_text(message->value, message->value_length))
		epoch = number_member(message->value, "\"epoch\":", Max(MAX_EPOCH, pl_cursor.epoch) + MAX_EPOCH / 1000);
	else
		epoch = -1;
	if (epoch < 0 || (is_claim && timeline == 0))
	{
		found->damaged_offset = message->offset;
		return;
	}
	found->epoch = Max(found->epoch, epoch);
	if (is_claim)
	{
		take_claim(found, timeline, true);
		return;
	}
	forget_record(found);
	found->damaged_offset = -1;
	found->value = MemoryContextStrdup(pl_worker_context, message->value);
	found->offset = message->offset;
}

/* Keep each record in a list. */
static void
take_candidate(void *arg, const PlMessage *message)
{
	List	  **candidates = arg;

	if (message->key != NULL && message->value != NULL && strcmp(message->key, pl_cursor.record_key) == 0 &&
		pl_record_is_text(message->value, message->value_length))
		*candidates = lappend(*candidates, pstrdup(message->value));
}

/* Is this server one that was replaced by another?  Shows it if so. */
static bool
is_demoted(int latest_timeline)
{
	char		text[256];
	char		hint[768];

	if (latest_timeline <= pl_timeline())
		return false;
	pl_worker_state("demoted");
	snprintf(text, sizeof(text), "a server on timeline %d publishes this database's events, this one is on timeline %d",
			 latest_timeline, pl_timeline());
	snprintf(hint, sizeof(hint), "If there is no such server, take its claim back: send a message without a value with the key %s/claim/%d to partition %d of topic %s.",
			 pl_cursor.record_key, latest_timeline, pl_shard, pl_cursor_topic());
	pl_worker_report(text, NULL, hint);
	pl_kafka_close();
	return true;
}

/* A message that says who has the cursor, and this node, now; key is the caller's. */
void
pl_cursor_claim(PlMessage *message, char *key)
{
	snprintf(key, PL_CLAIM_KEY_LENGTH, "%s/claim/%d", pl_cursor.record_key, pl_timeline());
	pl_cursor_message(message, key, psprintf("{\"timeline\":%d,\"epoch\":%d,\"predecessors\":[%s]}",
											 pl_timeline(), pl_cursor.epoch, pl_node_predecessors()));
}

/* Commit that message; sets *offset to its place. */
static bool
claim(int64 *offset)
{
	PlMessage	message;
	char		key[PL_CLAIM_KEY_LENGTH];

	pl_cursor_claim(&message, key);
	if (!pl_kafka_begin() || pl_kafka_publish(NULL, 0, &message, pl_deaths_sent) != PL_PUBLISHED || !pl_kafka_commit())
		return false;
	*offset = message.offset;
	return true;
}

static void
use_row_instead(const char *text)
{
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("payledger relay: %s", text),
			 errdetail("The cursor in payledger.relay_cursors is used instead; events may be published again.")));
}

#define WAY_OUT \
	"Set payledger.delivery = at_least_once: the relay goes on from payledger.relay_cursors, and may publish again what that does not know."

/* The newest record is not what it should be; the setting is the way out. */
static bool
refuse_record(const char *text)
{
	if (pl_delivery == PL_DELIVERY_EXACTLY_ONCE)
	{
		pl_worker_state("stopped");
		pl_worker_report(text, NULL, WAY_OUT);
		return false;
	}
	use_row_instead(text);
	return true;
}

/* There is no record to go by. */
static void
begin_without_record(void)
{
	pl_cursor.record_offset = -1;
	pl_cursor.record_hash[0] = '\0';
	pl_positions_forget();
}

/* A record that no relay has written. */
static bool
refuse_damaged(int64 offset)
{
	char		text[512];

	begin_without_record();
	snprintf(text, sizeof(text), "the record at offset " INT64_FORMAT " of partition %d of topic %s is damaged",
			 offset, pl_shard, pl_cursor_topic());
	if (pl_cursor.delivery == PL_DELIVERY_EXACTLY_ONCE)
		return refuse_record(text);
	/* the way back from the way out: the row was authoritative, the next record will be */
	use_row_instead(text);
	return true;
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
	PlRecord	record;

	if (candidates == NIL || !pl_record_read(linitial(candidates), &record) || record.batch != pl_cursor.batch)
		return NULL;
	for (int i = list_length(candidates) - 1; i >= 0; i--)
	{
		CHECK_FOR_INTERRUPTS();
		if (pl_record_read(list_nth(candidates, i), &record) && record.is_ours)
			return list_nth(candidates, i);
	}
	return NULL;
}

/*
 * The newest record is of a history that this server has lost: go back to the
 * newest one that is not, and find out what was published after it.  The next
 * record follows the newest all the same: the chain does not break.  Returns
 * false, with the reason in stat_worker, if that was not possible.
 */
static bool
leave_lost_history(const Found *found, int64 found_batch, int64 row_offset, const char *loss)
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
 * What is wrong with a record of this history, given the row and its hash; NULL
 * if nothing is.
 */
static const char *
problem_with(const PlRecord *record, const char *row_hash)
{
	if (pl_cursor.delivery != PL_DELIVERY_EXACTLY_ONCE)
		return NULL;
	if (record->batch < pl_cursor.batch)
		return "the cursor in topic %s is older than what Kafka has acknowledged";
	if (record->batch == pl_cursor.batch && strcmp(pl_cursor.record_hash, row_hash) != 0)
		return "the cursor in topic %s is not the one that Kafka has acknowledged";
	if (record->batch == pl_cursor.batch + 1 && record->is_ours && strcmp(record->previous ? record->previous : "", row_hash) != 0)
		return "the cursor in topic %s does not follow the one that Kafka has acknowledged";
	return NULL;
}

/*
 * Bring the row up to the newest record of the topic.  Returns false if they
 * do not fit together.
 */
static bool
take_cursor(const Found *found)
{
	PlRecord	record;
	int64		row_offset = pl_cursor.record_offset;
	char		row_hash[sizeof(pl_cursor.record_hash)];
	const char *problem;
	char		text[512];

	if (found->damaged_offset >= 0)
		return refuse_damaged(found->damaged_offset);
	if (found->value == NULL)
	{
		begin_without_record();
		if (pl_cursor.delivery != PL_DELIVERY_EXACTLY_ONCE)
			return true;
		snprintf(text, sizeof(text), "topic %s has lost the cursor of this database", pl_cursor_topic());
		return refuse_record(text);
	}

	if (!pl_worker_begin())
		return false;
	if (!pl_record_read(found->value, &record))
	{
		pl_worker_commit();
		return refuse_damaged(found->offset);
	}
	strlcpy(row_hash, pl_cursor.record_hash, sizeof(row_hash));
	pl_positions_load(found->value);
	pl_cursor_hash(found->value, pl_cursor.record_hash);
	pl_cursor.record_offset = found->offset;

	if (record.batch > pl_cursor.batch && !record.is_ours)
	{
		snprintf(text, sizeof(text), "Kafka has events up to %s of timeline %d that this server has lost",
				 record.last_event_id ? record.last_event_id : "none", record.timeline);
		pl_worker_commit();
		return leave_lost_history(found, record.batch, row_offset, text);
	}
	problem = problem_with(&record, row_hash);
	if (problem == NULL && record.batch > pl_cursor.batch)
		adopt(found->value, found, record.batch);
	pl_worker_commit();
	(void) pl_make_durable();

	if (problem != NULL)
	{
		snprintf(text, sizeof(text), problem, pl_cursor_topic());
		return refuse_record(text);
	}
	pl_cursor.batch = Max(pl_cursor.batch, record.batch);
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
	Found		found = {.damaged_offset = -1};
	PlArgs		args = {0};
	int64		claimed_at = -1;
	const char *topic = pl_cursor_topic();
	bool		result;

	pl_worker_state("recovering the cursor");
	if (pl_kafka_was_fenced())
		pl_worker_set_error("another relay with the same identity took over");

	/* before fencing anybody, who may well be our heir */
	pl_node_forget(pl_cursor.has_claim);
	if (!pl_kafka_read(topic, pl_shard, pl_cursor.record_offset, -1, take_record, &found) ||
		is_demoted(latest_timeline(&found)) || !pl_node_is_ours())
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
		is_demoted(latest_timeline(&found)) || !pl_node_is_ours())
		return false;

	/* the row said where to begin, and there was nothing */
	if (found.value == NULL && pl_cursor.record_offset > 0 &&
		!pl_kafka_read(topic, pl_shard, -1, claimed_at, take_record, &found))
		return false;
	result = take_cursor(&found);
	forget_record(&found);
	list_free(found.timelines);
	return result;
}
