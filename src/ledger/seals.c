/*
 * src/ledger/seals.c
 *		Seals: a digest of every folded entry, chained by SHA-256.
 *
 * A seal has the whole SHA-256 over its digests, because it vouches for all
 * seals before it.
 *
 * An entry says what it says only as long as its accounts are those that they
 * were, so the fold that adds the first posting to an account seals it as well:
 * payledger.account_digests().
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/digests.h"
#include "libpq/pqformat.h"
#include "utils/hsearch.h"

#define MAX_SEALED		10000	/* entries of a seal */

struct PlSealer
{
	int64		fold_no;
	int64		seal_no;		/* of the newest seal, 0 if none */
	uint8		sha256[PL_SHA256_LENGTH];	/* of the newest seal */
	PlEntryForm *form;
	bool		in_entry;		/* the form of an entry was begun */
	int64		entry_id;		/* of the entry begun last */
	StringInfoData digests;		/* of the seal to be written next */
	HTAB	   *accounts;		/* ids of all accounts that were posted to */
};

static PlQuery select_newest_seal = {
	"SELECT seal_no, sha256 FROM payledger.seals ORDER BY seal_no DESC LIMIT 1", 0
};

static PlQuery insert_seal = {
	"INSERT INTO payledger.seals (seal_no, fold_no, sealed_at, entries, digests, accounts, sha256)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7)",
	7, {INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, BYTEAOID, BYTEAOID, BYTEAOID}
};

/* The balances are written after the seals. */
static PlQuery select_new_accounts = {
	"SELECT coalesce(pg_catalog.string_agg(pg_catalog.int8send(d.account_id) || d.digest, '' ORDER BY d.account_id), '')"
	" FROM payledger.account_digests($1) d"
	" WHERE NOT EXISTS (SELECT FROM payledger.balance_snapshots b WHERE b.account_id = d.account_id)",
	1, {INT8ARRAYOID}
};

static Datum
bytea_datum(const void *bytes, int n)
{
	bytea	   *result = palloc(VARHDRSZ + n);

	SET_VARSIZE(result, VARHDRSZ + n);
	memcpy(VARDATA(result), bytes, n);
	return PointerGetDatum(result);
}

/*
 * Write the seal of the digests collected and of these accounts, and begin the
 * next.  Needs an open SPI connection.
 */
static void
write_seal(PlSealer *sealer, Datum accounts)
{
	TimestampTz sealed_at = pl_now();
	int			entries = sealer->digests.len / PL_SEALED_LENGTH;
	StringInfoData sealed;
	PlArgs		args = {0};

	initStringInfo(&sealed);
	if (sealer->seal_no > 0)
		appendBinaryStringInfo(&sealed, (char *) sealer->sha256, PL_SHA256_LENGTH);
	pq_sendint64(&sealed, ++sealer->seal_no);
	pq_sendint64(&sealed, sealer->fold_no);
	pq_sendint64(&sealed, sealed_at);
	pq_sendint32(&sealed, entries);
	appendBinaryStringInfo(&sealed, sealer->digests.data, sealer->digests.len);
	appendBinaryStringInfo(&sealed, VARDATA_ANY(DatumGetPointer(accounts)),
						   VARSIZE_ANY_EXHDR(DatumGetPointer(accounts)));
	pl_sha256(sealed.data, sealed.len, sealer->sha256);

	pl_arg_int64(&args, sealer->seal_no);
	pl_arg_int64(&args, sealer->fold_no);
	pl_arg_timestamp(&args, sealed_at);
	pl_arg_int32(&args, entries);
	pl_arg(&args, bytea_datum(sealer->digests.data, sealer->digests.len));
	pl_arg(&args, accounts);
	pl_arg(&args, bytea_datum(sealer->sha256, PL_SHA256_LENGTH));
	pl_execute(&insert_seal, &args);
	resetStringInfo(&sealer->digests);
}

/*
 * The accounts that got their first posting, as seals.accounts has them.
 * Needs an open SPI connection.
 */
static Datum
new_accounts(const PlSealer *sealer)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(hash_get_num_entries(sealer->accounts), 1));
	int			n = 0;
	HASH_SEQ_STATUS scan;
	int64	   *id;
	PlArgs		args = {0};

	hash_seq_init(&scan, sealer->accounts);
	while ((id = hash_seq_search(&scan)) != NULL)
		ids[n++] = Int64GetDatum(*id);
	pl_arg_array(&args, ids, NULL, n, INT8OID);
	pl_execute(&select_new_accounts, &args);
	return PointerGetDatum(PG_DETOAST_DATUM_PACKED(pl_get_value(0, 1)));
}

/*
 * All legs of the entry begun last are there: keep its digest.  The caller may
 * be reading a result of its own, so this opens an SPI connection of its own.
 */
static void
finish_entry(PlSealer *sealer)
{
	uint8		digest[PL_DIGEST_LENGTH];

	if (!sealer->in_entry)
		return;
	if (sealer->digests.len == MAX_SEALED * PL_SEALED_LENGTH)
	{
		pl_connect();
		write_seal(sealer, bytea_datum("", 0));
		pl_finish();
	}
	pl_form_digest(sealer->form, digest);
	pq_sendint64(&sealer->digests, sealer->entry_id);
	appendBinaryStringInfo(&sealer->digests, (char *) digest, PL_DIGEST_LENGTH);
	sealer->in_entry = false;
}

static HTAB *
new_id_set(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(int64);
	control.entrysize = sizeof(int64);
	control.hcxt = CurrentMemoryContext;
	return hash_create("payledger sealed accounts", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Begin to seal the entries of a fold.  The caller holds the lock that keeps
 * out other folds until its transaction ends, and gives the entries in the
 * order of their ids, each with pl_sealer_entry() and then pl_sealer_leg() for
 * its postings in the order of leg.  The sealer lives in the current memory
 * context, until pl_sealer_end().  A fold that gives no entry writes no seal.
 */
PlSealer *
pl_sealer_begin(int64 fold_no)
{
	PlSealer   *sealer = palloc0(sizeof(PlSealer));

	sealer->fold_no = fold_no;
	sealer->entry_id = PG_INT64_MIN;
	sealer->form = pl_form_new();
	initStringInfo(&sealer->digests);
	sealer->accounts = new_id_set();

	pl_connect();
	if (pl_execute(&select_newest_seal, NULL) > 0)
	{
		bytea	   *newest = DatumGetByteaPP(pl_get_value(0, 2));

		if (VARSIZE_ANY_EXHDR(newest) != PL_SHA256_LENGTH)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("seal " INT64_FORMAT " has no SHA-256", pl_get_int64(0, 1)),
					 errhint("payledger.verify(deep => true) tells what else was changed.")));
		sealer->seal_no = pl_get_int64(0, 1);
		memcpy(sealer->sha256, VARDATA_ANY(newest), PL_SHA256_LENGTH);
	}
	pl_finish();
	return sealer;
}

/*
 * The next entry: a row with the columns of journal_entries by name, in any
 * order and among others; all rows of one sealer have the same columns.
 * Writes a seal when 10,000 entries have come; SPI results of the caller stay.
 */
void
pl_sealer_entry(PlSealer *sealer, HeapTuple row, TupleDesc tupdesc)
{
	int64		previous = sealer->entry_id;

	finish_entry(sealer);
	sealer->entry_id = pl_form_begin(sealer->form, row, tupdesc);
	sealer->in_entry = true;
	if (sealer->entry_id <= previous)
		elog(ERROR, "journal entry " INT64_FORMAT " is sealed after " INT64_FORMAT,
			 sealer->entry_id, previous);
}

/*
 * The next posting of the entry begun last; amount in minor units, debit
 * positive.
 */
void
pl_sealer_leg(PlSealer *sealer, int16 leg, int64 account_id, int64 amount, int64 transaction_no)
{
	if (!sealer->in_entry)
		elog(ERROR, "a posting is sealed before its entry");
	pl_form_leg(sealer->form, leg, account_id, amount, transaction_no);
	(void) hash_search(sealer->accounts, &account_id, HASH_ENTER, NULL);
}

/*
 * Write what is left, with the accounts that have no row in balance_snapshots
 * yet: the caller writes the balances after this.
 */
void
pl_sealer_end(PlSealer *sealer)
{
	finish_entry(sealer);
	if (sealer->digests.len > 0)
	{
		pl_connect();
		write_seal(sealer, new_accounts(sealer));
		pl_finish();
	}
	hash_destroy(sealer->accounts);
}
