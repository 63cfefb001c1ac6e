/*
 * src/worker/relay.c
 *		The relay: publishes the outbox to Kafka.
 *
 * One chunk after the other: read it in a transaction that ends at once, send
 * it with no transaction open, wait until Kafka has acknowledged all of it,
 * move the cursor.  A crash in between sends the chunk again, with the same
 * ids and in the same order: at least once.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "worker/worker.h"

/* COMMIT PREPARED wakes nobody, so look from time to time */
#define LOOK_MS			1000
/* how long to leave alone what is not there or not wanted */
#define REST_MS			2000

/*
 * A window for every commit would cost each a flush, a round trip to Kafka and
 * an update of the cursor; those that come within this time share them.
 */
#define WINDOW_MS		5

static bool have_lock = false;

/*
 * What a relay may publish no crash may take back.  Commits with
 * synchronous_commit = off are visible before their WAL is on disk.
 */
static void
flush_wal(void)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();

	/*
	 * At the start of a page that pointer lies after the page header, where
	 * nothing has been written yet and XLogFlush() would complain.
	 */
	if (XLogSegmentOffset(end, wal_segment_size) == SizeOfXLogLongPHD)
		end -= SizeOfXLogLongPHD;
	else if (end % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		end -= SizeOfXLogShortPHD;
	XLogFlush(end);
}

/*
 * One relay a database: a second, for whatever reason it runs, would break the
 * order.  The lock lasts until the process ends.
 */
static bool
lock_relay(void)
{
	if (!have_lock)
	{
		static const char name[] = "payledger.relay";
		uint64		key = hash_bytes_extended((const unsigned char *) name, strlen(name), 0);
		LOCKTAG		tag;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, 1);
		have_lock = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	}
	return have_lock;
}

/* Move the cursor behind the chunk, in a turn of its own. */
static bool
advance(const PlChunk *chunk)
{
	if (!pl_worker_begin())
		return false;
	pl_window_advance(chunk);
	pl_worker_commit();
	pl_worker_count(chunk->n);
	return true;
}

/* The first n messages of the chunk are published: make it the others. */
static bool
advance_partly(PlChunk *chunk, int n)
{
	PlChunk		published = *chunk;

	if (n == 0)
		return true;
	published.n = n;
	published.last_seq = chunk->messages[n - 1].seq;
	published.ends_window = false;
	chunk->messages += n;
	chunk->n -= n;
	return advance(&published);
}

/*
 * Publish the chunk and move the cursor behind it.  Returns false if it has to
 * be read again.
 *
 * When Kafka refuses a message, publish in smaller and smaller groups: a batch
 * may be too large where its messages are not, and in the end it is known
 * which one is refused.  At that one the relay stops and tries again, for as
 * long as it takes; dead letters do not exist yet.
 */
static bool
publish(PlChunk *chunk)
{
	int			group = chunk->n;
	int			sent = 0;

	while (sent < chunk->n)
	{
		int			n = Min(group, chunk->n - sent);
		int			reloads = pl_worker_reloads;

		switch (pl_kafka_publish(&chunk->messages[sent], n))
		{
			case PL_PUBLISHED:
				sent += n;
				break;
			case PL_PUBLISH_ABANDONED:
				return false;
			case PL_PUBLISH_REFUSED:
				group = Max(1, n / 16);
				if (n > 1)
					break;
				if (!advance_partly(chunk, sent))
					return false;
				sent = 0;
				pl_worker_state("stopped at an event Kafka refuses");
				pl_worker_back_off();
				if (reloads != pl_worker_reloads)
					return false;
				break;
		}
	}
	return advance(chunk);
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
	pl_worker_commit();
}

/*
 * Publish one chunk.  Returns false when there was nothing to do: then
 * *rest_ms says how long to wait for news.
 */
static bool
relay_once(MemoryContext context, long *rest_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	PlChunk		chunk;
	PlRead		read;

	*rest_ms = REST_MS;
	if (!pl_worker_begin())
	{
		pl_window_forget();
		return false;
	}
	read = pl_window_read(&chunk, context);
	pl_worker_commit();

	if (read == PL_READ_AGAIN)
		return true;
	if (read == PL_READ_NOTHING)
	{
		pl_worker_state("idle");
		*rest_ms = LOOK_MS;
		return false;
	}

	pl_worker_state("publishing");
	if (chunk.n > 0 && chunk.first_read)
		flush_wal();
	if (!publish(&chunk))
	{
		pl_window_forget();
		return true;
	}
	pl_worker_clear_error();
	if (chunk.ends_window)
	{
		pl_announce(PL_TOPIC_PROGRESS);
		pl_worker_sleep(WINDOW_MS - TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()));
	}
	return true;
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

	pl_kafka_close();
	pl_window_forget();

	for (;;)
	{
		long		rest_ms = REST_MS;

		pl_worker_interrupts();
		if (!lock_relay())
		{
			pl_worker_state("waiting for another relay of this database");
			pl_worker_sleep(1000);
		}
		else if (!pl_kafka_configured())
		{
			pl_worker_state("no brokers in payledger.kafka_brokers");
			pl_kafka_close();
			pl_window_forget();
			pl_worker_wait(NULL, rest_ms);
		}
		else
		{
			MemoryContextReset(context);
			if (pl_kafka_open())
				expect_topics();
			if (!relay_once(context, &rest_ms))
				pl_kafka_wait(rest_ms);
		}
	}
}
