/*
 * src/relay/relay.c
 *		The relay: publishes the outbox to Kafka.
 *
 * One chunk after the other: read it in a transaction that ends at once, send
 * it with no transaction open, wait until Kafka has all of it, move the
 * cursor.  After a crash in between, delivery.c tells where to go on:
 * exactly once behind the chunk if Kafka has it, else at its beginning.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "kafka/kafka.h"
#include "miscadmin.h"
#include "relay/relay_internal.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "worker/worker.h"

/* no event hangs on a wakeup alone, so look from time to time */
#define LOOK_MS			1000
/* how long to leave alone what is not there or not wanted */
#define REST_MS			2000
/* how long until another look at who serves which shard */
#define SHARDS_MS		200

/*
 * A window for every commit would cost each a flush, a round trip to Kafka and
 * an update of the cursor; those that come within this time share them.
 *
 * Exactly once the time is counted from the end of the Kafka transaction.  The
 * broker answers the commit before its markers are in all partitions, and
 * until they are it refuses the next transaction, which librdkafka then tries
 * again only after 20 ms.
 */
#define WINDOW_MS		5

/* memory that the process keeps when it is free: what a chunk takes, and its copy in librdkafka */
#define KEPT_BYTES		(32 * 1024 * 1024)

/* more than any chunk has */
#define LARGEST_PART	(1 << 20)

/* events sent at once: fewer after Kafka refused some or was too slow, then growing again */
static int	part_size = LARGEST_PART;

/* Move the cursor behind the chunk, in a turn of its own. */
static bool
advance(const PlChunk *chunk)
{
	if (!pl_worker_begin())
		return false;
	pl_window_advance(chunk);
	if (chunk->kind == PL_CHUNK_RETRACTIONS)
		pl_phantoms_retracted(chunk);
	if (chunk->kind == PL_CHUNK_DEAD_LETTERS)
		pl_dead_letters_published(chunk);
	if (chunk->kind == PL_CHUNK_REPLAY)
		pl_replays_published(chunk);
	pl_worker_commit();
	/* the next record of the cursor will not say it any more */
	if (chunk->kind != PL_CHUNK_WINDOW)
		pl_delivery_secure();
	pl_worker_count(pl_chunk_events(chunk));
	return true;
}

/* Kafka refuses the first event of the chunk for good, or it kills: go on without it. */
static bool
set_aside(PlChunk *chunk, PlPublished result, const char *failure)
{
	char	   *reason = MemoryContextStrdup(chunk->context, failure);

	if (chunk->kind == PL_CHUNK_WINDOW)
		return pl_dead_letters_park(chunk, reason);
	if (!pl_worker_begin())
		return false;
	if (chunk->kind == PL_CHUNK_DEAD_LETTERS)
		pl_dead_letters_refused(chunk, reason);
	else if (result == PL_PUBLISH_NO_TOPIC)
		pl_replays_cancel(chunk, reason);
	else
		pl_replays_refused(chunk, reason);
	pl_worker_commit();
	return false;
}

/* The first n messages of the chunk as one of its own. */
static PlChunk
first_part(const PlChunk *chunk, int n)
{
	PlChunk		part = *chunk;

	part.n = n;
	if (n < chunk->n)
	{
		part.last_seq = chunk->messages[n - 1].seq;
		part.ends_window = false;
	}
	return part;
}

/*
 * Publish the chunk and move the cursor behind it.  Returns false if it has to
 * be read again.
 *
 * When Kafka refuses a message, publish in smaller and smaller parts: a batch
 * may be too large where its messages are not, and in the end it is known
 * which one is refused.  That one becomes a dead letter.  At one whose topic
 * is missing or forbidden the relay stops and tries again, for as long as it
 * takes.
 */
static bool
publish(PlChunk *chunk)
{
	while (chunk->n > 0)
	{
		PlChunk		part = first_part(chunk, pl_deaths_limit(chunk, Min(part_size, chunk->n)));
		int			reloads = pl_worker_reloads;
		bool		is_new;
		PlReadiness readiness;
		PlPublished result;

		if (pl_deaths_is_killer(&part))
		{
			if (chunk->kind == PL_CHUNK_RETRACTIONS)
			{
				pl_worker_state("stopped");
				pl_worker_back_off();
				return false;
			}
			if (!set_aside(chunk, PL_PUBLISH_REFUSED, "the relay died twice while it sent this event alone"))
				return false;
			continue;
		}
		pl_deaths_sending(&part);
		result = pl_delivery_send(&part);
		pl_deaths_sent();
		if (result == PL_PUBLISHED)
		{
			if (!advance(&part))
				return false;
			pl_worker_clear_error();
			chunk->messages += part.n;
			chunk->n -= part.n;
			part_size = Min(2 * part_size, LARGEST_PART);
			continue;
		}
		if (result == PL_PUBLISH_ABANDONED)
			return false;

		if (part.n == 1 && chunk->kind != PL_CHUNK_RETRACTIONS &&
			(result == PL_PUBLISH_REFUSED || (result == PL_PUBLISH_NO_TOPIC && chunk->kind == PL_CHUNK_REPLAY)))
		{
			if (!set_aside(chunk, result, pl_kafka_failure()))
				return false;
		}
		else if (result == PL_PUBLISH_FAILED || part.n == 1)
		{
			if (result == PL_PUBLISH_NO_TOPIC)
				pl_worker_state("stopped at a topic that is missing or forbidden");
			/* perhaps more than the broker takes in the time of a transaction */
			part_size = Max(1, part.n / 2);
			pl_worker_back_off();
			if (reloads != pl_worker_reloads)
				return false;
		}
		else
			part_size = Max(1, part.n / 16);
		/* at least once the window goes on, and what was acknowledged is not sent again */
		while ((readiness = pl_delivery_begin(&is_new)) == PL_NOT_READY && !is_new && reloads == pl_worker_reloads)
			pl_worker_back_off();
		if (readiness != PL_READY || is_new)
			return false;
	}
	return true;
}

/*
 * Read what is to be published next: retractions of phantoms first, then dead
 * letters, then by turns new events and what is published again.  Sets
 * *holds_some if new dead letters were made.  Needs a turn.
 */
static PlRead
read_chunk(PlChunk *chunk, MemoryContext context, bool *holds_some)
{
	static bool replayed_last = false;
	bool		window_first = replayed_last;
	PlRead		read = PL_READ_NOTHING;

	pl_window_load();
	pl_routes_load();
	read = pl_phantoms_read(chunk, context);
	if (read != PL_READ_NOTHING)
		return read;
	if (pl_dead_letters_read(chunk, context))
		return PL_READ_CHUNK;

	replayed_last = false;
	if (window_first)
		read = pl_window_read(chunk, context);
	if (read == PL_READ_NOTHING)
	{
		read = pl_replays_read(chunk, context);
		replayed_last = read != PL_READ_NOTHING;
	}
	if (read == PL_READ_NOTHING && !window_first)
		read = pl_window_read(chunk, context);
	if (read == PL_READ_CHUNK && chunk->kind == PL_CHUNK_WINDOW)
	{
		pl_phantoms_mark_ahead(chunk);
		*holds_some = pl_dead_letters_mark(chunk);
	}
	return read;
}

/*
 * Publish one chunk.  Returns false when there was nothing to do: then
 * *rest_ms says how long to wait for news.
 */
static bool
relay_once(MemoryContext context, long *rest_ms)
{
	int64		start = pl_monotonic_ms();
	PlChunk		chunk;
	PlRead		read;
	bool		holds_some = false;

	*rest_ms = REST_MS;
	if (!pl_worker_begin())
	{
		/* whatever comes back may have another cursor */
		pl_delivery_forget();
		pl_shards_forget();
		return false;
	}
	read = read_chunk(&chunk, context, &holds_some);
	pl_worker_commit();

	if (read == PL_READ_AGAIN)
		return true;
	if (read == PL_READ_NOTHING || read == PL_READ_STOPPED)
	{
		if (read == PL_READ_NOTHING)
			pl_worker_state("idle");
		*rest_ms = LOOK_MS;
		return false;
	}

	pl_worker_state("publishing");
	if (chunk.n > 0 && (chunk.first_read || holds_some))
	{
		pl_delivery_secure();
		pl_worker_state("publishing");
	}
	if (chunk.n > 0 ? !publish(&chunk) : !advance(&chunk))
	{
		pl_window_forget();
		return true;
	}
	if (chunk.ends_window)
	{
		pl_announce(PL_TOPIC_PROGRESS);
		if (pl_delivery == PL_DELIVERY_EXACTLY_ONCE)
			start = pl_monotonic_ms();
		pl_worker_sleep(WINDOW_MS - (pl_monotonic_ms() - start));
	}
	return true;
}

/*
 * Have a session; when one begins after trouble with that, the trouble is over,
 * whether or not there is something to publish.
 */
static PlReadiness
begin_session(void)
{
	static bool in_trouble = false;
	bool		was_in_trouble = in_trouble;
	bool		is_new;
	PlReadiness readiness;

	/* if this raises an error */
	in_trouble = true;
	readiness = pl_delivery_begin(&is_new);
	in_trouble = readiness == PL_NOT_READY;
	if (was_in_trouble && readiness == PL_READY)
		pl_worker_clear_error();
	return readiness;
}

/* Publish a chunk of this relay's shard, or wait for one. */
static void
serve(MemoryContext context)
{
	long		rest_ms = REST_MS;
	int			reloads = pl_worker_reloads;

	MemoryContextReset(context);
	switch (begin_session())
	{
		case PL_READY:
			if (!relay_once(context, &rest_ms) && !pl_window_at_target())
				(void) pl_kafka_wait(rest_ms);
			break;
		case PL_NOT_READY:
			if (reloads == pl_worker_reloads)
				pl_worker_back_off();
			break;
		case PL_NO_DATABASE:
			pl_shards_forget();
			pl_worker_wait(NULL, rest_ms);
			break;
	}
}

/*
 * Chunk after chunk takes the same memory and frees it.  Keep it, as far as
 * one of them needs: given back to the kernel each time it would have to be
 * cleared again, page by page.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
	(void) mallopt(M_MMAP_THRESHOLD, KEPT_BYTES);
#endif
}

/*
 * The relay's life.
 */
void
pl_relay_main(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "payledger relay chunk",
												  ALLOCSET_DEFAULT_SIZES);

	/* a cursor that a crash takes back only means to publish again */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);

	/*
	 * The right plan is known: by the indexes, whatever statistics say about
	 * partitions that were empty a minute ago.  Planning every small chunk
	 * anew would take longer than reading it.
	 */
	SetConfigOption("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_seqscan", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_bitmapscan", "off", PGC_USERSET, PGC_S_OVERRIDE);

	keep_memory();
	pl_deaths_begin(pl_worker_shard());
	pl_kafka_close();
	pl_delivery_forget();
	pl_shards_forget();

	for (;;)
	{
		pl_worker_interrupts();
		if (!pl_kafka_configured())
		{
			pl_worker_state("no brokers in payledger.kafka_brokers");
			pl_kafka_close();
			pl_delivery_forget();
			pl_worker_wait(NULL, REST_MS);
			continue;
		}
		switch (pl_shards_begin())
		{
			case PL_READY:
				serve(context);
				break;
			case PL_NOT_READY:
				pl_worker_sleep(SHARDS_MS);
				break;
			case PL_NO_DATABASE:
				pl_worker_wait(NULL, REST_MS);
				break;
		}
	}
}
