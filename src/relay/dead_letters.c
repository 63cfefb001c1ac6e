/*
 * src/relay/dead_letters.c
 *		Events that Kafka refuses for what they are: out of the way of others,
 *		and sent again when an operator says so.
 *
 * An event is in payledger.dead_letters, on disk, before the cursor passes it;
 * one that is there is not sent with its window, however often that is read.
 * payledger.after_dead_letter says whether later events of its key wait behind
 * it, as dead letters HELD, or go on.
 *
 * What is sent again is a chunk of its own, which moves the cursor nowhere but
 * counts; exactly once, the cursor's record names the dead letters, so that
 * after a crash the next session knows that they are published.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "kafka/kafka.h"
#include "outbox/outbox.h"
#include "relay/relay_internal.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define OPEN "status IN ('PARKED', 'HELD', 'READY')"

/* Are there dead letters that may concern events from seq $1 on?  Nearly always not. */
static PlQuery any_since = {
	"SELECT EXISTS (SELECT FROM payledger.dead_letters WHERE " OPEN ")"
	" OR EXISTS (SELECT FROM payledger.dead_letters WHERE seq >= $1)", 1, {INT8OID}
};

static PlQuery any_open = {
	"SELECT EXISTS (SELECT FROM payledger.dead_letters WHERE " OPEN ")", 0
};

/*
 * Of events given by seq, aggregatetype and key, the place of each that is a
 * dead letter (its event is null), or has to wait behind that event.
 */
static PlQuery affected = {
	"SELECT u.i, b.id::text"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4))"
	"  AS u(i, seq, aggregatetype, event_key)"
	" LEFT JOIN payledger.dead_letters d ON d.seq = u.seq"
	" LEFT JOIN LATERAL (SELECT o.id FROM payledger.dead_letters o"
	"   WHERE $5 AND d.seq IS NULL AND o." OPEN " AND o.aggregatetype = u.aggregatetype AND o.event_key = u.event_key"
	"   ORDER BY o.dead_letter_id DESC LIMIT 1) b ON true"
	" WHERE d.seq IS NOT NULL OR b.id IS NOT NULL ORDER BY u.i",
	5, {INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BOOLOID}
};

static PlQuery insert_dead_letters = {
	"INSERT INTO payledger.dead_letters (dead_letter_id, status, reason, attempts, created_at, updated_at,"
	"  seq, id, aggregatetype, aggregateid, type, payload, \"timestamp\", version, event_key,"
	"  ce_specversion, ce_source, ce_time, ce_subject, content_type, traceparent)"
	" SELECT u.d, $4::payledger.dead_letter_status, u.r, $5, $6, $6,"
	"  o.seq, o.id, o.aggregatetype, o.aggregateid, o.type, o.payload, o.\"timestamp\", o.version, o.event_key,"
	"  o.ce_specversion, o.ce_source, o.ce_time, o.ce_subject, o.content_type, o.traceparent"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u(d, seq, r)"
	" JOIN payledger.outbox_events o ON o.seq = u.seq"
	" ON CONFLICT (seq) DO NOTHING",
	6, {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTOID, INT4OID, TIMESTAMPTZOID}
};

/* Those that may be sent: nothing of their key that comes before is PARKED. */
static PlQuery read_due = {
	"SELECT " PL_EVENT_COLUMNS("d") ", d.dead_letter_id FROM payledger.dead_letters d"
	" WHERE d.status IN ('HELD', 'READY') AND NOT EXISTS (SELECT FROM payledger.dead_letters p"
	"  WHERE p.status = 'PARKED' AND p.aggregatetype = d.aggregatetype AND p.event_key = d.event_key"
	"    AND p.dead_letter_id < d.dead_letter_id)"
	"  AND " PL_IN_SHARD("d.event_key", "$2", "$3")
	" ORDER BY d.dead_letter_id LIMIT $1", 3, {INT8OID, INT4OID, INT4OID}
};

/* An operator may skip one that is being sent: what Kafka has was published. */
static PlQuery set_published = {
	"UPDATE payledger.dead_letters SET status = 'PUBLISHED', updated_at = $2"
	" WHERE dead_letter_id = ANY ($1) AND status IN ('HELD', 'READY')", 2, {INT8ARRAYOID, TIMESTAMPTZOID}
};

static PlQuery set_parked = {
	"UPDATE payledger.dead_letters SET status = 'PARKED', reason = $2, attempts = attempts + 1, updated_at = $3"
	" WHERE dead_letter_id = $1 AND status IN ('HELD', 'READY')", 3, {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

/* Does the event wait behind others of its key, if there are any? */
static bool
holds(void)
{
	return pl_after_dead_letter == PL_DEAD_LETTER_HOLDS;
}

static void
insert(Datum *ids, Datum *seqs, Datum *reasons, int n, const char *status, int attempts)
{
	PlArgs		args = {0};

	pl_arg_array(&args, ids, NULL, n, INT8OID);
	pl_arg_array(&args, seqs, NULL, n, INT8OID);
	pl_arg_array(&args, reasons, NULL, n, TEXTOID);
	pl_arg_text(&args, status);
	pl_arg_int32(&args, attempts);
	pl_arg_timestamp(&args, pl_now());
	pl_history_begin("relay");
	pl_execute(&insert_dead_letters, &args);
	pl_history_end();
}

/*
 * Mark the chunk's events that are dead letters as parked, and make dead
 * letters, HELD, of those that have to wait behind one.  Returns whether any
 * were made: they have to be on disk before the cursor passes them.  Needs a
 * turn.
 */
bool
pl_dead_letters_mark(PlChunk *chunk)
{
	PlArgs		args = {0};
	PlArgs		since = {0};
	Datum	   *columns[4];
	Datum	   *ids;
	Datum	   *seqs;
	Datum	   *reasons;
	int			nheld = 0;
	int			n;

	if (chunk->n == 0)
		return false;
	pl_arg_int64(&since, chunk->messages[0].seq);
	pl_select(&any_since, &since);
	if (!pl_get_bool(0, 1))
		return false;

	ids = palloc(sizeof(Datum) * chunk->n);
	seqs = palloc(sizeof(Datum) * chunk->n);
	reasons = palloc(sizeof(Datum) * chunk->n);
	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(Datum) * chunk->n);
	for (int i = 0; i < chunk->n; i++)
	{
		columns[0][i] = Int32GetDatum(i);
		columns[1][i] = Int64GetDatum(chunk->messages[i].seq);
		columns[2][i] = CStringGetTextDatum(chunk->messages[i].aggregatetype);
		columns[3][i] = CStringGetTextDatum(chunk->messages[i].event_key);
	}
	pl_arg_array(&args, columns[0], NULL, chunk->n, INT4OID);
	pl_arg_array(&args, columns[1], NULL, chunk->n, INT8OID);
	pl_arg_array(&args, columns[2], NULL, chunk->n, TEXTOID);
	pl_arg_array(&args, columns[3], NULL, chunk->n, TEXTOID);
	pl_arg_bool(&args, holds());
	n = (int) pl_select(&affected, &args);
	for (int row = 0; row < n; row++)
	{
		PlMessage  *message = &chunk->messages[pl_get_int32(row, 1)];

		if (message->is_ahead)
			continue;
		message->parked = true;
		if (pl_isnull(row, 2))
			continue;
		ids[nheld] = Int64GetDatum(pl_next_id());
		seqs[nheld] = Int64GetDatum(message->seq);
		reasons[nheld++] = PointerGetDatum(cstring_to_text(psprintf("waits behind event %s", pl_get_text(row, 2))));
	}
	if (nheld > 0)
		insert(ids, seqs, reasons, nheld, "HELD", 0);
	return nheld > 0;
}

/*
 * Kafka refuses the first event of the chunk: park it, and hold those of the
 * chunk that have to wait behind it.  In a turn of its own; false if that
 * cannot be.
 */
bool
pl_dead_letters_park(PlChunk *chunk, const char *reason)
{
	PlMessage  *refused = &chunk->messages[0];
	Datum		id;
	Datum		seq = Int64GetDatum(refused->seq);
	Datum		text;

	if (!pl_worker_begin())
		return false;
	id = Int64GetDatum(pl_next_id());
	/* a broker may have said it */
	text = CStringGetTextDatum(pl_valid_text(reason, strlen(reason)));
	insert(&id, &seq, &text, 1, "PARKED", 1);
	pl_worker_commit();
	ereport(WARNING,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("payledger relay: event %s is a dead letter", refused->headers[0].value),
			 errdetail_internal("%s", reason),
			 errhint("See payledger.dead_letters; payledger.retry_dead_letter() sends it again.")));

	/* what waits behind it finds it in the table */
	if (!pl_worker_begin())
		return false;
	(void) pl_dead_letters_mark(chunk);
	pl_worker_commit();
	pl_delivery_secure();
	return true;
}

/*
 * Read the dead letters that are to be sent into *chunk, allocated in context.
 * Returns false if there are none.  Needs a turn.
 */
bool
pl_dead_letters_read(PlChunk *chunk, MemoryContext context)
{
	PlArgs		args = {0};
	int			n;

	pl_select(&any_open, NULL);
	if (!pl_get_bool(0, 1))
		return false;
	pl_arg_int64(&args, pl_relay_batch);
	pl_arg_int32(&args, pl_shards);
	pl_arg_int32(&args, pl_shard);
	n = (int) pl_select(&read_due, &args);
	if (n == 0)
		return false;

	pl_chunk_make(chunk, PL_CHUNK_DEAD_LETTERS, n, context);
	for (int i = 0; i < chunk->n; i++)
		chunk->messages[i].dead_letter_id = pl_get_int64(i, PL_NEVENT_COLUMNS + 1);
	return true;
}

/* The events of the chunk are published.  Needs a turn. */
void
pl_dead_letters_published(const PlChunk *chunk)
{
	PlArgs		args = {0};
	int64	   *ids = palloc(sizeof(int64) * chunk->n);

	for (int i = 0; i < chunk->n; i++)
		ids[i] = chunk->messages[i].dead_letter_id;
	pl_arg_ids(&args, ids, chunk->n);
	pl_arg_timestamp(&args, pl_now());
	pl_history_begin("relay");
	pl_execute(&set_published, &args);
	pl_history_end();
}

/* Kafka refuses the chunk's only event again.  Needs a turn. */
void
pl_dead_letters_refused(const PlChunk *chunk, const char *reason)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, chunk->messages[0].dead_letter_id);
	pl_arg_text(&args, reason);
	pl_arg_timestamp(&args, pl_now());
	pl_history_begin("relay");
	pl_execute(&set_parked, &args);
	pl_history_end();
}
