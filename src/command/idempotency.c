/*
 * src/command/idempotency.c
 *		Idempotency keys: the same request with the same key has one effect and
 *		one reply.
 *
 * The key's row is written with the reply at the end of the command, in its
 * transaction: an abort, whatever its reason, leaves no trace, so no key can
 * get stuck.  Until then an advisory lock makes concurrent calls with the key
 * wait for the commit or abort.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "common/cryptohash.h"
#include "common/hashfn.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

/* the fourth field of SQL's own advisory locks is 1 or 2 */
#define LOCK_SPACE 0x5049

static PlQuery find_key = {
	"SELECT command, request_hash, reply FROM payledger.idempotency_keys"
	" WHERE caller = $1 AND idempotency_key = $2", 2, {TEXTOID, TEXTOID}
};

static PlQuery insert_key = {
	"INSERT INTO payledger.idempotency_keys (caller, idempotency_key, command, request_hash, reply, created_at)"
	" VALUES ($1, $2, $3, $4, $5::jsonb, $6) ON CONFLICT DO NOTHING",
	6, {TEXTOID, TEXTOID, TEXTOID, BYTEAOID, TEXTOID, TIMESTAMPTZOID}
};

static bytea *
sha256(const char *text)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	bytea	   *digest = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);

	SET_VARSIZE(digest, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	if (pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) text, strlen(text)) < 0 ||
		pg_cryptohash_final(hash, (uint8 *) VARDATA(digest), PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256");
	pg_cryptohash_free(hash);
	return digest;
}

/* Held to the end of the transaction. */
static void
lock_key(const PlIdempotency *claim)
{
	LOCKTAG		tag;
	uint64		hash = hash_combine64(hash_bytes_extended((const unsigned char *) claim->caller,
														  strlen(claim->caller), 0),
									  hash_bytes_extended((const unsigned char *) claim->key,
														  strlen(claim->key), 0));

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_SPACE);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * Make the stored reply the result of fcinfo: its members become the columns
 * of the same name.
 */
static void
return_reply(FunctionCallInfo fcinfo, Datum reply)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TupleDesc	tupdesc = rsinfo->expectedDesc;
	StringInfoData sql;
	Oid			argtype = JSONBOID;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT * FROM pg_catalog.jsonb_to_record($1) AS r(");
	for (int i = 0; i < tupdesc->natts; i++)
		appendStringInfo(&sql, "%s%s %s", i > 0 ? ", " : "",
						 quote_identifier(NameStr(TupleDescAttr(tupdesc, i)->attname)),
						 format_type_be_qualified(TupleDescAttr(tupdesc, i)->atttypid));
	appendStringInfoChar(&sql, ')');
	if (SPI_execute_with_args(sql.data, 1, &argtype, &reply, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read a stored reply");
	pl_return_rows(fcinfo);
}

/*
 * Claim the key for a command with that request (its arguments in one
 * canonical text).  True: the command was done before, and its reply is now
 * the result of the set-returning function fcinfo.  False: do it, and call
 * pl_idempotency_store() with the reply as last result.  Without a key always
 * false.  Raises PL006 when the key came with another request before.
 */
bool
pl_idempotency_replay(FunctionCallInfo fcinfo, PlIdempotency *claim, const char *command,
					  const char *key, const char *request)
{
	PlArgs		args = {0};
	bytea	   *stored;

	memset(claim, 0, sizeof(PlIdempotency));
	if (key == NULL)
		return false;
	pl_check_text("idempotency_key", key, 255);

	claim->key = key;
	claim->caller = GetUserNameFromId(GetOuterUserId(), false);
	claim->command = command;
	claim->request_hash = sha256(psprintf("%s %s", command, request));
	lock_key(claim);

	pl_arg_text(&args, claim->caller);
	pl_arg_text(&args, claim->key);
	if (pl_execute(&find_key, &args) == 0)
		return false;

	stored = DatumGetByteaPP(pl_get_value(0, 2));
	if (VARSIZE_ANY_EXHDR(stored) != PG_SHA256_DIGEST_LENGTH ||
		memcmp(VARDATA_ANY(stored), VARDATA(claim->request_hash), PG_SHA256_DIGEST_LENGTH) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
				 errmsg("idempotency key \"%s\" was used with a different request", key),
				 errdetail("It was used for %s.", pl_get_text(0, 1)),
				 errhint("Use a new key for a new request.")));
	return_reply(fcinfo, pl_get_value(0, 3));
	return true;
}

/*
 * Store the only row of the last result as the reply of the claimed key.
 */
void
pl_idempotency_store(const PlIdempotency *claim)
{
	PlArgs		args = {0};
	SPITupleTable *result = SPI_tuptable;
	uint64		processed = SPI_processed;
	TupleDesc	tupdesc;
	Datum		row;

	if (claim->key == NULL)
		return;
	if (processed != 1)
		elog(ERROR, "the reply of %s has " UINT64_FORMAT " rows", claim->command, processed);
	tupdesc = BlessTupleDesc(CreateTupleDescCopy(result->tupdesc));
	row = heap_copy_tuple_as_datum(result->vals[0], tupdesc);

	pl_arg_text(&args, claim->caller);
	pl_arg_text(&args, claim->key);
	pl_arg_text(&args, claim->command);
	pl_arg(&args, PointerGetDatum(claim->request_hash));
	pl_arg(&args, DirectFunctionCall1(row_to_json, row));
	pl_arg_timestamp(&args, pl_transaction_now());

	/*
	 * Under the lock only a snapshot older than the other's commit can have
	 * hidden the key; the statement raises 40001 for it by itself.
	 */
	if (pl_execute(&insert_key, &args) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("idempotency key \"%s\" was used by a concurrent transaction", claim->key),
				 errhint("Run the transaction again to get the reply.")));

	/* the reply is the result still */
	SPI_tuptable = result;
	SPI_processed = processed;
}
