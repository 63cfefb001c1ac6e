/*
 * src/outbox/shards.c
 *		Which relay publishes an event: event_shard().
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "outbox/outbox.h"

PG_FUNCTION_INFO_V1(pl_sql_event_shard);

/*
 * event_shard(event_key text, shards int) RETURNS int: by the key's bytes, so
 * that no collation has a say.  Raises 22023 for fewer shards than one.
 */
Datum
pl_sql_event_shard(PG_FUNCTION_ARGS)
{
	text	   *key = PG_GETARG_TEXT_PP(0);
	int32		shards = PG_GETARG_INT32(1);
	uint64		hash;

	if (shards < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("shards must be 1 or more")));
	hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), 0);
	PG_RETURN_INT32((int32) ((hash & PG_INT32_MAX) % shards));
}
