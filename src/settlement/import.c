/*
 * src/settlement/import.c
 *		import_settlement(): a report's lines as JSON, in any format that has a
 *		column map.
 *
 * A report is imported once.  Repeated with the same content it changes
 * nothing, with another content it is refused.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "settlement/settlement_internal.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

/* Lines written or compared by one statement: bounds memory. */
#define PART_LINES 10000

#define LINE_COLUMNS 9

#define UNNEST_LINES \
	"(SELECT pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)," \
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10)," \
	" pg_catalog.unnest($11)) AS u(n, t, p, r, c, g, f, e, o)"

#define LINE_ARGS \
	{TEXTOID, TEXTOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, \
		INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID}

static PlQuery insert_lines = {
	"INSERT INTO payledger.settlement_lines"
	" (gateway, report_id, line_no, line_type, psp_reference, reference, currency, gross, fee, net, occurred_at)"
	" SELECT $1, $2, n, t::payledger.settlement_line_type, p, r, c, g, f, e, o FROM " UNNEST_LINES,
	11, LINE_ARGS
};

/* the first line that is not what was imported before */
static PlQuery find_other_line = {
	"SELECT u.n FROM " UNNEST_LINES
	" LEFT JOIN payledger.settlement_lines l ON l.gateway = $1 AND l.report_id = $2 AND l.line_no = u.n"
	" WHERE (l.line_type::text, l.psp_reference, l.reference, l.currency, l.gross, l.fee, l.net, l.occurred_at)"
	"  IS DISTINCT FROM (u.t, u.p, u.r, u.c, u.g, u.f, u.e, u.o)"
	" ORDER BY u.n LIMIT 1",
	11, LINE_ARGS
};

static PlQuery count_lines = {
	"SELECT count(*) FROM payledger.settlement_lines WHERE gateway = $1 AND report_id = $2", 2, {TEXTOID, TEXTOID}
};

static PlQuery set_lines = {
	"UPDATE payledger.settlement_reports SET lines = $2 WHERE settlement_report_id = $1", 2, {INT8OID, INT4OID}
};

/* The lines of an import, in the order in which they were given. */
typedef struct Import
{
	const char *gateway;
	const char *report_id;
	PlSettlementLine *lines;
	int			n;
} Import;

PG_FUNCTION_INFO_V1(pl_sql_import_settlement);

/* ---- reading ---- */

/* Which line the parts of a payment's operation are added to. */
typedef struct WholeKey
{
	char		line_type[NAMEDATALEN];
	char		currency[4];
	char		psp_reference[256 * 4];	/* 255 characters */
} WholeKey;

typedef struct Whole
{
	WholeKey	key;
	PlSettlementLine *line;
} Whole;

static Whole *
find_whole(HTAB *wholes, const PlSettlementLine *line, HASHACTION action)
{
	WholeKey	key;

	memset(&key, 0, sizeof(key));
	strlcpy(key.line_type, line->line_type, sizeof(key.line_type));
	strlcpy(key.currency, line->currency->code, sizeof(key.currency));
	strlcpy(key.psp_reference, line->psp_reference, sizeof(key.psp_reference));
	return hash_search(wholes, &key, action, NULL);
}

/*
 * Add each part to the first line of its type for its payment; one that has
 * none stays a line.
 */
static void
add_parts(Import *import)
{
	HASHCTL		control = {.keysize = sizeof(WholeKey), .entrysize = sizeof(Whole), .hcxt = CurrentMemoryContext};
	HTAB	   *wholes = NULL;
	int			kept = 0;

	for (int i = 0; i < import->n; i++)
		if (import->lines[i].is_part && import->lines[i].psp_reference != NULL)
		{
			if (wholes == NULL)
				wholes = hash_create("payledger parts of lines", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
			find_whole(wholes, &import->lines[i], HASH_ENTER)->line = NULL;
		}
	if (wholes == NULL)
		return;
	for (int i = import->n - 1; i >= 0; i--)
	{
		Whole	   *whole = import->lines[i].is_part || import->lines[i].psp_reference == NULL ? NULL :
		find_whole(wholes, &import->lines[i], HASH_FIND);

		if (whole != NULL)
			whole->line = &import->lines[i];
	}
	for (int i = 0; i < import->n; i++)
	{
		PlSettlementLine *part = &import->lines[i];
		Whole	   *whole = part->is_part && part->psp_reference != NULL ? find_whole(wholes, part, HASH_FIND) : NULL;

		if (whole == NULL || whole->line == NULL)
			continue;
		whole->line->gross = pl_add_amount(whole->line->gross, part->gross);
		whole->line->fee = pl_add_amount(whole->line->fee, part->fee);
		whole->line->net = pl_add_amount(whole->line->net, part->net);
		part->line_type = NULL;
	}
	for (int i = 0; i < import->n; i++)
		if (import->lines[i].line_type != NULL)
			import->lines[kept++] = import->lines[i];
	import->n = kept;
}

static int
compare_line_numbers(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return (x > y) - (x < y);
}

static void
refuse_repeated_numbers(const Import *import)
{
	int32	   *numbers = palloc(sizeof(int32) * Max(import->n, 1));
	bool		ascending = true;

	for (int i = 0; i < import->n; i++)
	{
		numbers[i] = import->lines[i].line_no;
		ascending &= i == 0 || numbers[i] > numbers[i - 1];
	}
	if (!ascending)
		qsort(numbers, import->n, sizeof(int32), compare_line_numbers);
	for (int i = 1; i < import->n; i++)
		if (numbers[i] == numbers[i - 1])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("lines has line_no %d twice", numbers[i])));
	pfree(numbers);
}

/* Read the array; 22023 naming the path at fault. */
static void
read_lines(Import *import, Jsonb *lines, PlFormat *format)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	element;
	int			index = 0;

	if (!JB_ROOT_IS_ARRAY(lines) || JB_ROOT_IS_SCALAR(lines))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lines must be an array"),
				 errhint("Pass the lines of the report as an array of objects; payledger.settlement_columns lists their members.")));
	import->n = 0;
	import->lines = MemoryContextAllocHuge(CurrentMemoryContext,
										   sizeof(PlSettlementLine) * Max(JB_ROOT_COUNT(lines), 1));
	iterator = JsonbIteratorInit(&lines->root);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
		if (token == WJB_ELEM)
		{
			if (pl_read_settlement_line(format, &element, index++, &import->lines[import->n]))
				import->n++;
			CHECK_FOR_INTERRUPTS();
		}
	pl_warn_of_absent_columns(format);
	add_parts(import);
	refuse_repeated_numbers(import);
}

/* ---- writing and comparing ---- */

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value == NULL;
	return value ? CStringGetTextDatum(value) : (Datum) 0;
}

/* The arguments of a query over n lines from first on. */
static void
arg_lines(PlArgs *args, const Import *import, int first, int n)
{
	static const Oid types[LINE_COLUMNS] = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID,
	TIMESTAMPTZOID};
	Datum	   *columns[LINE_COLUMNS];
	bool	   *nulls[LINE_COLUMNS];

	for (int c = 0; c < LINE_COLUMNS; c++)
	{
		columns[c] = palloc(sizeof(Datum) * n);
		nulls[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		const PlSettlementLine *line = &import->lines[first + i];

		columns[0][i] = Int32GetDatum(line->line_no);
		columns[1][i] = CStringGetTextDatum(line->line_type);
		columns[2][i] = text_or_null(line->psp_reference, &nulls[2][i]);
		columns[3][i] = text_or_null(line->reference, &nulls[3][i]);
		columns[4][i] = CStringGetTextDatum(line->currency->code);
		columns[5][i] = Int64GetDatum(line->gross);
		columns[6][i] = Int64GetDatum(line->fee);
		columns[7][i] = Int64GetDatum(line->net);
		columns[8][i] = TimestampTzGetDatum(line->occurred_at);
		nulls[8][i] = !line->has_time;
	}
	pl_arg_text(args, import->gateway);
	pl_arg_text(args, import->report_id);
	for (int c = 0; c < LINE_COLUMNS; c++)
		pl_arg_array(args, columns[c], nulls[c], n, types[c]);
}

/*
 * Run the query over the lines, part by part, until it returns a row.  Returns
 * the line number in it, or 0.
 */
static int32
run_over_lines(PlQuery *query, const Import *import)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "payledger settlement lines",
												  ALLOCSET_DEFAULT_SIZES);
	int32		result = 0;

	for (int done = 0; done < import->n && result == 0; done += PART_LINES)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(context);
		PlArgs		args = {0};

		arg_lines(&args, import, done, Min(PART_LINES, import->n - done));
		if (pl_execute_latest(query, &args) > 0 && SPI_tuptable != NULL)
			result = pl_get_int32(0, 1);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(context);
	return result;
}

pg_noreturn static void
refuse_other_content(const Import *import, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
			 errmsg("settlement report \"%s\" of gateway \"%s\" was imported with other lines",
					import->report_id, import->gateway),
			 errdetail_internal("%s", detail),
			 errhint("A report is imported once; give a corrected one another report_id.")));
}

/* Raise PL006 unless the report has exactly these lines. */
static void
compare_lines(const Import *import)
{
	PlArgs		args = {0};
	int64		present;
	int32		other = run_over_lines(&find_other_line, import);

	if (other != 0)
		refuse_other_content(import, psprintf("Line %d is another one.", other));
	pl_arg_text(&args, import->gateway);
	pl_arg_text(&args, import->report_id);
	pl_execute_latest(&count_lines, &args);
	present = pl_get_int64(0, 1);
	if (present != import->n)
		refuse_other_content(import, psprintf("It has " INT64_FORMAT " lines, here are %d.", present, import->n));
}

/* A repeated import states neither more nor less about the report than the first. */
static void
compare_header(const PlReport *report, const PlReportHeader *header)
{
	bool		same_payout = report->has_payout == header->has_payout && report->payout_amount == header->payout_amount;

	if (same_payout && report->has_cutoff == header->has_cutoff &&
		(!header->has_cutoff || report->settled_through == header->settled_through))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
			 errmsg("settlement report \"%s\" of gateway \"%s\" has another %s", report->report_id, report->gateway,
					same_payout ? "settled_through" : "payout_amount"),
			 errhint("A report is imported once; give a corrected one another report_id.")));
}

static void
write_report(const Import *import, PlReport *report, const PlReportHeader *header)
{
	PlArgs		args = {0};

	(void) run_over_lines(&insert_lines, import);
	pl_state_header(report, header);
	pl_arg_int64(&args, report->settlement_report_id);
	pl_arg_int32(&args, import->n);
	pl_execute_latest(&set_lines, &args);
}

/*
 * import_settlement(gateway text, report_id text, lines jsonb, format text,
 *		payout_amount bigint, settled_through timestamptz)
 */
Datum
pl_sql_import_settlement(PG_FUNCTION_ARGS)
{
	Import		import = {0};
	char	   *format;
	Jsonb	   *lines;
	PlReportHeader header;
	PlReport	report;
	bool		is_new;

	import.gateway = pl_text_arg(fcinfo, 0, "gateway");
	import.report_id = pl_text_arg(fcinfo, 1, "report_id");
	format = pl_text_arg(fcinfo, 3, "format");
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("lines must not be null")));
	lines = PG_GETARG_JSONB_P(2);
	pl_report_header_args(fcinfo, 4, &header);
	pl_check_report_id(import.report_id);

	pl_connect();
	pl_require_layout();
	pl_require_gateway(import.gateway);
	read_lines(&import, lines, pl_read_format(format));
	is_new = pl_insert_report(import.gateway, import.report_id);
	if (!pl_lock_report(import.gateway, import.report_id, &report))
		elog(ERROR, "settlement report \"%s\" vanished", import.report_id);
	if (is_new)
		write_report(&import, &report, &header);
	else
	{
		compare_lines(&import);
		compare_header(&report, &header);
	}
	pl_return_report(fcinfo, report.settlement_report_id);
	pl_finish();
	return (Datum) 0;
}
