/*
 * src/ledger/bulk.c
 *		Writing many rows at once, through the machinery of COPY.
 *
 * COPY inserts a page's worth of rows with one WAL record and one visit of the
 * page, which a statement does not, and runs triggers and indexes as a
 * statement does.  Rows go in as COPY's binary format.  Texts would go through
 * the conversion from the client's encoding, so only ASCII may be among them.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "ledger/bulk.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "port/pg_bswap.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define SIGNATURE "PGCOPY\n\377\r\n\0"	/* the literal's own NUL is not part of it */
#define SIGNATURE_LENGTH 11

/* what COPY is reading; its callback has no argument of ours */
typedef struct Source
{
	PlRowWriter write_row;
	void	   *arg;
	int			next;
	int			n;
	StringInfoData buffer;
} Source;

static Source *source = NULL;

/* ---- COPY's binary format ---- */

static void
append(const void *data, int length)
{
	appendBinaryStringInfo(&source->buffer, data, length);
}

static void
append_int16(int16 value)
{
	uint16		big = pg_hton16((uint16) value);

	append(&big, sizeof(big));
}

static void
append_int32(int32 value)
{
	uint32		big = pg_hton32((uint32) value);

	append(&big, sizeof(big));
}

/* Begin a row of n columns, which the pl_copy_*() calls then give in order. */
void
pl_copy_row(int ncolumns)
{
	append_int16(ncolumns);
}

void
pl_copy_null(void)
{
	append_int32(-1);
}

void
pl_copy_int64(int64 value)
{
	uint64		big = pg_hton64((uint64) value);

	append_int32(sizeof(big));
	append(&big, sizeof(big));
}

void
pl_copy_int16(int16 value)
{
	append_int32(sizeof(value));
	append_int16(value);
}

/* ASCII only */
void
pl_copy_text(const char *value)
{
	int			length = strlen(value);

	append_int32(length);
	append(value, length);
}

/* ---- reading ---- */

/* COPY asks for minread to maxread bytes; fewer than minread are the end. */
static int
read_source(void *outbuf, int minread, int maxread)
{
	StringInfo	buffer = &source->buffer;
	int			length;

	while (buffer->len - buffer->cursor < minread && source->next <= source->n)
	{
		if (buffer->cursor > 0)
		{
			memmove(buffer->data, buffer->data + buffer->cursor, buffer->len - buffer->cursor);
			buffer->len -= buffer->cursor;
			buffer->cursor = 0;
		}
		if (source->next < source->n)
			source->write_row(source->arg, source->next);
		else
			append_int16(-1);	/* the trailer */
		source->next++;
	}
	length = Min(buffer->len - buffer->cursor, maxread);
	memcpy(outbuf, buffer->data + buffer->cursor, length);
	buffer->cursor += length;
	return length;
}

/*
 * Insert n rows into columns (a list of names) of table payledger.table:
 * write_row(arg, i) is called for each and gives its columns with the calls
 * above.  Runs the table's constraints and triggers, which may copy rows
 * themselves.  Returns the number of rows that were inserted.
 */
uint64
pl_copy_rows(const char *table, List *columns, int n, PlRowWriter write_row, void *arg)
{
	Relation	relation = table_open(get_relname_relid(table, get_namespace_oid("payledger", false)),
									  RowExclusiveLock);
	ParseState *pstate = make_parsestate(NULL);
	Source		rows = {write_row, arg, 0, n};
	Source	   *outer = source;
	CopyFromState copy;
	uint64		inserted = 0;

	initStringInfo(&rows.buffer);
	source = &rows;
	PG_TRY();
	{
		append(SIGNATURE, SIGNATURE_LENGTH);
		append_int32(0);		/* flags */
		append_int32(0);		/* header extension */

		PushActiveSnapshot(GetTransactionSnapshot());
		UpdateActiveSnapshotCommandId();
		(void) addRangeTableEntryForRelation(pstate, relation, RowExclusiveLock, NULL, false, false);
		copy = BeginCopyFrom(pstate, relation, NULL, NULL, false, read_source, columns,
							 list_make1(makeDefElem("format", (Node *) makeString("binary"), -1)));
		inserted = CopyFrom(copy);
		EndCopyFrom(copy);
		PopActiveSnapshot();
	}
	PG_FINALLY();
	{
		source = outer;
	}
	PG_END_TRY();
	pfree(rows.buffer.data);
	free_parsestate(pstate);
	table_close(relation, NoLock);
	CommandCounterIncrement();
	return inserted;
}
