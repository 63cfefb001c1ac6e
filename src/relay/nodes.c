/*
 * src/relay/nodes.c
 *		Which server has this payledger.node_id?
 *
 * Two servers with one node id draw the same ids, and their events say the same
 * source, so consumers take those of one for repetitions of the other's.  A
 * server says in the topic of the cursor which node it is, before it sends
 * anything: the keys of its claims and records begin with the node and the
 * cluster's system identifier.  A promoted standby has both from its primary.
 *
 * Who finds another cluster's key with its own node before its own stops.  Of
 * two that begin at once the later claim loses: each reads up to its own.  A
 * dump that was restored brings the identifiers of where it was, in
 * payledger.incarnations: such a server is an heir, whose claim names those, and
 * where one of them still runs it is that one which stops.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "relay/cursor.h"
#include "utils/memutils.h"
#include "worker/worker.h"

/* a claim names so many of them, the latest */
#define MAX_PREDECESSORS 16

/* the clusters where this data has been before, as numbers */
static uint64 predecessors[MAX_PREDECESSORS];
static int	npredecessors = 0;

/* what was read of the topic */
static bool has_own;			/* a key of this server */
static int64 own_offset;		/* of the first that was read, -1: none */
static uint64 rival;			/* another cluster with this node; 0: none */
static int64 rival_offset;
static bool rival_is_heir;

static PlQuery read_predecessors = {
	"SELECT system_identifier FROM payledger.incarnations WHERE system_identifier <> $1"
	" GROUP BY system_identifier ORDER BY pg_catalog.max(incarnation) DESC LIMIT $2", 2, {TEXTOID, INT4OID}
};

static PlQuery store_claim = {
	"UPDATE payledger.relay_cursors SET record_key = $1, record_offset = $2 WHERE shard = $3", 3, {TEXTOID, INT8OID, INT4OID}
};

/* Learn where this data comes from.  Needs a turn. */
void
pl_node_load(void)
{
	PlArgs		args = {0};

	pl_arg_text(&args, psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	pl_arg_int32(&args, MAX_PREDECESSORS);
	npredecessors = (int) pl_select(&read_predecessors, &args);
	for (int i = 0; i < npredecessors; i++)
		predecessors[i] = strtoull(pl_get_text(i, 1), NULL, 10);
}

/* The list of them for a claim, palloc'd. */
const char *
pl_node_predecessors(void)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < npredecessors; i++)
		appendStringInfo(&out, "%s\"" UINT64_FORMAT "\"", i > 0 ? "," : "", predecessors[i]);
	return out.data;
}

/*
 * Before reading: nothing is known but whether a claim of ours comes before
 * what will be read.
 */
void
pl_node_forget(bool has_claim)
{
	has_own = has_claim;
	own_offset = -1;
	rival = 0;
	rival_is_heir = false;
}

/* A number and a dot at *text, which is moved behind them; false if there is none. */
static bool
take_number(const char **text, uint64 *number)
{
	char	   *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*number = strtoull(*text, &end, 10);
	if (errno != 0 || *end != '.')
		return false;
	*text = end + 1;
	return true;
}

/* Does the other server's claim say that it has this one's data? */
static bool
is_heir(const PlMessage *message)
{
	char		own[32];

	snprintf(own, sizeof(own), "\"" UINT64_FORMAT "\"", GetSystemIdentifier());
	return strstr(message->key, "/claim/") != NULL && pl_record_is_text(message->value, message->value_length) &&
		strstr(message->value, own) != NULL;
}

static bool
is_predecessor(uint64 identifier)
{
	for (int i = 0; i < npredecessors; i++)
		if (predecessors[i] == identifier)
			return true;
	return false;
}

/*
 * Look at a message of the cursor's topic, of whatever key.  Raises no errors.
 */
void
pl_node_take_record(const PlMessage *message)
{
	const char *rest = message->key;
	uint64		node;
	uint64		identifier;

	if (message->key == NULL || message->value == NULL || strlen(message->key) != message->key_length ||
		!take_number(&rest, &node) || !take_number(&rest, &identifier) || node != (uint64) pl_node_id)
		return;
	if (identifier == GetSystemIdentifier())
	{
		if (own_offset < 0)
			own_offset = message->offset;
		has_own = true;
		return;
	}
	if (rival_is_heir || is_predecessor(identifier))
		return;
	rival_is_heir = is_heir(message);
	if (rival_is_heir || (!has_own && rival == 0))
	{
		rival = identifier;
		rival_offset = message->offset;
	}
}

/*
 * Does no other server have this node, as far as was read?  Shows it otherwise,
 * and closes the producer.
 */
bool
pl_node_is_ours(void)
{
	char		text[256];
	char		detail[512];

	if (rival == 0)
		return true;
	pl_worker_state("stopped: another server has this node id");
	if (rival_is_heir)
		snprintf(text, sizeof(text), "another server has taken over this one's data with payledger.node_id %d", pl_node_id);
	else
		snprintf(text, sizeof(text), "another server publishes with payledger.node_id %d", pl_node_id);
	snprintf(detail, sizeof(detail), "Its system identifier is " UINT64_FORMAT ", by the record at offset " INT64_FORMAT " of partition %d of topic %s; this server's is " UINT64_FORMAT ".",
			 rival, rival_offset, pl_shard, pl_cursor_topic(), GetSystemIdentifier());
	pl_worker_report(text, detail,
					 "Set payledger.node_id to a number that no other server with these topics has, and restart.");
	pl_kafka_close();
	return false;
}

static void
take_message(void *arg, const PlMessage *message)
{
	pl_node_take_record(message);
}

/* Sets *forbidden if the topic is not to be read by us. */
static bool
read_claims(int64 from, int64 until, bool *forbidden)
{
	return pl_kafka_read_if_allowed(pl_cursor_topic(), pl_shard, from, until, take_message, NULL, forbidden);
}

/* Nobody can tell: that is so at least once, where the topic is not needed. */
static bool
go_without_claim(const char *why)
{
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("payledger relay: nobody would notice another server with payledger.node_id %d: %s", pl_node_id, why),
			 errhint("If several servers share these topics, create %s with a partition for each relay and cleanup.policy=compact, and let the relay's user READ and WRITE it.",
					 pl_cursor_topic())));
	return true;
}

/* Publish a claim and keep its place; sets *offset to that. */
static bool
publish_claim(int64 *offset)
{
	PlMessage	message;
	char		key[PL_CLAIM_KEY_LENGTH];
	PlArgs		args = {0};

	pl_cursor_claim(&message, key);
	if (pl_kafka_publish(NULL, 0, &message, pl_deaths_sent) != PL_PUBLISHED)
		return false;
	*offset = message.offset;
	if (!pl_worker_begin())
		return false;
	pl_arg_text(&args, pl_cursor.record_key);
	pl_arg_int64(&args, *offset);
	pl_arg_int32(&args, pl_shard);
	pl_execute(&store_claim, &args);
	pl_worker_commit();
	pl_cursor.record_offset = *offset;
	return true;
}

/*
 * For a session that delivers at least once, with its producer: is this node
 * ours?  Where the topic of the cursor is missing nobody can tell, which is
 * logged.  Returns false, with the reason in stat_worker, if it is not, or that
 * is not to be found out.  Outside of turns only.
 */
bool
pl_node_claim(void)
{
	const char *topic = pl_cursor_topic();
	int			partitions = pl_kafka_look_for(topic);
	int64		offset;
	bool		forbidden = false;

	if (partitions < 0)
		return false;
	if (partitions <= pl_shard)
		return go_without_claim(psprintf("topic %s has no partition %d", topic, pl_shard));

	/* that claim has to be there: the topic may be another one */
	pl_node_forget(false);
	if (pl_cursor.has_claim && !read_claims(pl_cursor.record_offset, -1, &forbidden))
		return false;
	if (!forbidden && (own_offset < 0 || own_offset != pl_cursor.record_offset))
	{
		pl_node_forget(false);
		if (!read_claims(-1, -1, &forbidden))
			return false;
	}
	if (forbidden)
		return go_without_claim(psprintf("there is no permission to read topic %s", topic));
	if (!pl_node_is_ours())
		return false;
	if (has_own && pl_cursor.has_claim)
		return true;
	if (!publish_claim(&offset))
		return false;
	pl_node_forget(false);
	return read_claims(-1, offset, &forbidden) && pl_node_is_ours();
}
