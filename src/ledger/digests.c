/*
 * src/ledger/digests.c
 *		The digest of an entry, and the digests of the journal as it is now.
 *
 * The digest of an entry is the first 16 bytes of the SHA-256 over this form;
 * integers are big-endian, times are microseconds since 2000-01-01 UTC:
 *
 *		1 byte		version of the form, 1
 *		8 + 8 + 8	journal_entry_id, recorded_at, effective_at
 *		payment_id, reverses: 1 byte 0 if null, else 1 byte 1 and 8 bytes
 *		entry_type, reference, metadata: 1 byte 0 if null, else 1 byte 1, the
 *					length in 4 bytes and the text in the database's encoding
 *		2 + 8 + 8 + 8	leg, account_id, amount, transaction_no of each posting
 *
 * No two entries have the same form: each field says where it ends, and what
 * follows the last is a number of postings of one size.
 *
 * 16 bytes keep 128 bits against finding another entry for a digest.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "ledger/digests.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define FORM_VERSION	1
#define FETCH_ROWS		10000

/* Columns of journal_entries that the digest covers, in the order of the form. */
typedef enum HeaderColumn
{
	JOURNAL_ENTRY_ID,
	RECORDED_AT,
	EFFECTIVE_AT,
	PAYMENT_ID,
	REVERSES,
	ENTRY_TYPE,
	REFERENCE,
	METADATA,
	NUM_HEADER_COLUMNS
} HeaderColumn;

static const struct
{
	const char *name;
	Oid			type;
}			header_columns[NUM_HEADER_COLUMNS] = {
	[JOURNAL_ENTRY_ID] = {"journal_entry_id", INT8OID},
	[RECORDED_AT] = {"recorded_at", TIMESTAMPTZOID},
	[EFFECTIVE_AT] = {"effective_at", TIMESTAMPTZOID},
	[PAYMENT_ID] = {"payment_id", INT8OID},
	[REVERSES] = {"reverses", INT8OID},
	[ENTRY_TYPE] = {"entry_type", TEXTOID},
	[REFERENCE] = {"reference", TEXTOID},
	[METADATA] = {"metadata", JSONBOID},
};

/* The form of one entry at a time; its memory is used again for the next. */
struct PlEntryForm
{
	MemoryContext context;		/* in which it lives */
	MemoryContext scratch;		/* for detoasted values, reset after each header */
	StringInfoData bytes;
	int			columns[NUM_HEADER_COLUMNS];	/* attribute numbers, 0 before the first header */
	int			natts;
	Datum	   *values;
	bool	   *nulls;
};

/* One of the two tables of the journal, read in the order of its primary key. */
typedef struct Reader
{
	Portal		portal;
	SPITupleTable *rows;
	uint64		nrows;
	uint64		row;			/* on which it stands; nrows: after the last */
	bool		at_end;
} Reader;

/* The digest of an entry as entry_digests() returns it. */
typedef struct EntryDigest
{
	int64		journal_entry_id;
	bool		has_header;
	uint8		digest[PL_DIGEST_LENGTH];
	int32		postings;
	int64		transaction_no; /* the lowest of its postings */
} EntryDigest;

static const char *const read_headers =
"SELECT journal_entry_id, recorded_at, effective_at, payment_id, reverses, entry_type, reference, metadata"
" FROM payledger.journal_entries WHERE journal_entry_id BETWEEN $1 AND $2 ORDER BY journal_entry_id";

static const char *const read_legs =
"SELECT journal_entry_id, leg, account_id, amount, transaction_no"
" FROM payledger.postings WHERE journal_entry_id BETWEEN $1 AND $2 ORDER BY journal_entry_id, leg";

PG_FUNCTION_INFO_V1(pl_sql_entry_digests);
PG_FUNCTION_INFO_V1(pl_sql_sealed_digests);

/* ---- the form of an entry ---- */

/*
 * A form for one entry after the other, in the current memory context, which
 * must live as long.
 */
PlEntryForm *
pl_form_new(void)
{
	PlEntryForm *form = palloc0(sizeof(PlEntryForm));

	form->context = CurrentMemoryContext;
	form->scratch = AllocSetContextCreate(form->context, "payledger entry form",
										  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&form->bytes);
	return form;
}

static void
find_columns(PlEntryForm *form, TupleDesc tupdesc)
{
	for (int i = 0; i < NUM_HEADER_COLUMNS; i++)
	{
		int			column = SPI_fnumber(tupdesc, header_columns[i].name);

		if (column <= 0 || SPI_gettypeid(tupdesc, column) != header_columns[i].type)
			elog(ERROR, "entry to be sealed has no proper column \"%s\"", header_columns[i].name);
		form->columns[i] = column;
	}
	form->natts = tupdesc->natts;
	form->values = MemoryContextAlloc(form->context, sizeof(Datum) * form->natts);
	form->nulls = MemoryContextAlloc(form->context, sizeof(bool) * form->natts);
}

static void
put_length(StringInfo out, int at, int length)
{
	uint32		value = pg_hton32((uint32) length);

	memcpy(out->data + at, &value, sizeof(value));
}

static void
put_header_column(PlEntryForm *form, HeaderColumn i)
{
	StringInfo	out = &form->bytes;
	Datum		value = form->values[form->columns[i] - 1];
	int			start;

	/* id and times are never null and have no mark */
	if (i > EFFECTIVE_AT)
	{
		bool		isnull = form->nulls[form->columns[i] - 1];

		pq_sendbyte(out, isnull ? 0 : 1);
		if (isnull)
			return;
	}
	if (header_columns[i].type == INT8OID || header_columns[i].type == TIMESTAMPTZOID)
	{
		pq_sendint64(out, DatumGetInt64(value));
		return;
	}

	pq_sendint32(out, 0);
	start = out->len;
	if (header_columns[i].type == JSONBOID)
	{
		Jsonb	   *json = DatumGetJsonbP(value);

		(void) JsonbToCString(out, &json->root, VARSIZE(json));
	}
	else
	{
		text	   *string = DatumGetTextPP(value);

		appendBinaryStringInfo(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
	}
	put_length(out, start - sizeof(uint32), out->len - start);
}

/*
 * Begin the form of an entry with its header: a row with the columns of
 * journal_entries by name, in any order and among others, the same for all rows
 * of one form.  Returns the entry's id.
 */
int64
pl_form_begin(PlEntryForm *form, HeapTuple row, TupleDesc tupdesc)
{
	MemoryContext oldcontext;

	if (form->natts == 0)
		find_columns(form, tupdesc);
	if (form->natts != tupdesc->natts)
		elog(ERROR, "rows of journal_entries have %d columns, and %d", form->natts, tupdesc->natts);
	heap_deform_tuple(row, tupdesc, form->values, form->nulls);

	resetStringInfo(&form->bytes);
	pq_sendbyte(&form->bytes, FORM_VERSION);
	oldcontext = MemoryContextSwitchTo(form->scratch);
	for (int i = 0; i < NUM_HEADER_COLUMNS; i++)
		put_header_column(form, i);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(form->scratch);
	return DatumGetInt64(form->values[form->columns[JOURNAL_ENTRY_ID] - 1]);
}

/*
 * The next posting of the entry; amount in minor units, debit positive.
 */
void
pl_form_leg(PlEntryForm *form, int16 leg, int64 account_id, int64 amount, int64 transaction_no)
{
	pq_sendint16(&form->bytes, leg);
	pq_sendint64(&form->bytes, account_id);
	pq_sendint64(&form->bytes, amount);
	pq_sendint64(&form->bytes, transaction_no);
}

/*
 * The digest of the entry as far as it was given: PL_DIGEST_LENGTH bytes.
 */
void
pl_form_digest(const PlEntryForm *form, uint8 *digest)
{
	uint8		whole[PL_SHA256_LENGTH];

	pl_sha256(form->bytes.data, form->bytes.len, whole);
	memcpy(digest, whole, PL_DIGEST_LENGTH);
}

/* ---- the journal's digests as they are now ---- */

static Reader *
reader_open(const char *sql, int64 first_id, int64 last_id)
{
	Reader	   *reader = palloc0(sizeof(Reader));
	Oid			types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(first_id), Int64GetDatum(last_id)};

	reader->portal = SPI_cursor_open_with_args(NULL, sql, lengthof(types), types, values, NULL,
											   true, CURSOR_OPT_NO_SCROLL);
	if (reader->portal == NULL)
		elog(ERROR, "could not open a cursor: %s", SPI_result_code_string(SPI_result));
	return reader;
}

/* The row that the reader stands on, NULL after the last. */
static HeapTuple
reader_row(Reader *reader)
{
	if (reader->row == reader->nrows && !reader->at_end)
	{
		SPI_freetuptable(reader->rows);
		SPI_cursor_fetch(reader->portal, true, FETCH_ROWS);
		reader->rows = SPI_tuptable;
		reader->nrows = SPI_processed;
		reader->row = 0;
		reader->at_end = reader->nrows == 0;
		CHECK_FOR_INTERRUPTS();
	}
	return reader->at_end ? NULL : reader->rows->vals[reader->row];
}

/* A column of the row that the reader stands on; none of them is null. */
static int64
reader_int64(Reader *reader, int column)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(reader->rows->vals[reader->row], reader->rows->tupdesc,
									   column, &isnull));
}

static void
reader_close(Reader *reader)
{
	SPI_freetuptable(reader->rows);
	SPI_cursor_close(reader->portal);
}

/* The id of the row that the reader stands on, above all ids after the last. */
static int64
reader_entry_id(Reader *reader)
{
	return reader_row(reader) ? reader_int64(reader, 1) : PG_INT64_MAX;
}

/*
 * The next entry of which there is a header or a posting.  Returns false after
 * the last.
 */
static bool
next_digest(PlEntryForm *form, Reader *headers, Reader *legs, EntryDigest *entry)
{
	int64		of_header = reader_entry_id(headers);
	int64		id = Min(of_header, reader_entry_id(legs));

	if (reader_row(headers) == NULL && reader_row(legs) == NULL)
		return false;
	memset(entry, 0, sizeof(EntryDigest));
	entry->journal_entry_id = id;
	entry->has_header = reader_row(headers) != NULL && of_header == id;
	if (entry->has_header)
	{
		pl_form_begin(form, reader_row(headers), headers->rows->tupdesc);
		headers->row++;
	}
	else
		resetStringInfo(&form->bytes);

	while (reader_row(legs) != NULL && reader_entry_id(legs) == id)
	{
		bool		isnull;
		int16		leg = DatumGetInt16(SPI_getbinval(reader_row(legs), legs->rows->tupdesc, 2, &isnull));
		int64		transaction_no = reader_int64(legs, 5);

		pl_form_leg(form, leg, reader_int64(legs, 3), reader_int64(legs, 4), transaction_no);
		if (entry->postings++ == 0 || transaction_no < entry->transaction_no)
			entry->transaction_no = transaction_no;
		legs->row++;
	}
	pl_form_digest(form, entry->digest);
	return true;
}

static void
put_digest(ReturnSetInfo *rsinfo, const EntryDigest *entry)
{
	struct
	{
		char		header[VARHDRSZ];
		uint8		bytes[PL_DIGEST_LENGTH];
	}			digest;
	Datum		values[4];
	bool		nulls[4] = {false, !entry->has_header, false, entry->postings == 0};

	SET_VARSIZE(&digest, sizeof(digest));
	memcpy(digest.bytes, entry->digest, PL_DIGEST_LENGTH);
	values[0] = Int64GetDatum(entry->journal_entry_id);
	values[1] = PointerGetDatum(&digest);
	values[2] = Int32GetDatum(entry->postings);
	values[3] = Int64GetDatum(entry->transaction_no);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * entry_digests(first_id bigint, last_id bigint) RETURNS TABLE
 * (journal_entry_id bigint, digest bytea, postings int, transaction_no bigint):
 * in the order of the ids, in the caller's snapshot.
 */
Datum
pl_sql_entry_digests(PG_FUNCTION_ARGS)
{
	int64		first_id = PG_GETARG_INT64(0);
	int64		last_id = PG_GETARG_INT64(1);
	PlEntryForm *form;
	EntryDigest entry;
	Reader	   *headers;
	Reader	   *legs;

	InitMaterializedSRF(fcinfo, 0);
	pl_connect();
	pl_require_layout();
	form = pl_form_new();
	headers = reader_open(read_headers, first_id, last_id);
	legs = reader_open(read_legs, first_id, last_id);
	while (next_digest(form, headers, legs, &entry))
		put_digest((ReturnSetInfo *) fcinfo->resultinfo, &entry);
	reader_close(headers);
	reader_close(legs);
	pl_finish();
	return (Datum) 0;
}

/*
 * sealed_digests(digests bytea) RETURNS TABLE (id bigint, digest bytea): what a
 * seal has of entries or accounts, one row for each.  What is left over because
 * the seal was tampered with is nothing.
 */
Datum
pl_sql_sealed_digests(PG_FUNCTION_ARGS)
{
	bytea	   *digests = PG_GETARG_BYTEA_PP(0);
	const char *sealed = VARDATA_ANY(digests);
	int			n = VARSIZE_ANY_EXHDR(digests) / PL_SEALED_LENGTH;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++, sealed += PL_SEALED_LENGTH)
	{
		EntryDigest row = {.has_header = true};
		uint64		id;

		memcpy(&id, sealed, PL_ID_LENGTH);
		row.journal_entry_id = (int64) pg_ntoh64(id);
		memcpy(row.digest, sealed + PL_ID_LENGTH, PL_DIGEST_LENGTH);
		put_digest((ReturnSetInfo *) fcinfo->resultinfo, &row);
	}
	return (Datum) 0;
}
