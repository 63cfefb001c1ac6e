/*
 * src/settlement/formats.c
 *		How the lines of PSPs' reports are read: column maps that are rows of
 *		settlement_formats, settlement_columns and settlement_line_types.
 *
 * A refusal names the path of the member at fault.
 */
#include "postgres.h"

#include "settlement/settlement_internal.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

/* Columns of settlement_lines, in the order of settlement_line_column. */
enum
{
	COLUMN_LINE_NO,
	COLUMN_LINE_TYPE,
	COLUMN_PSP_REFERENCE,
	COLUMN_REFERENCE,
	COLUMN_CURRENCY,
	COLUMN_GROSS,
	COLUMN_FEE,
	COLUMN_NET,
	COLUMN_OCCURRED_AT,
	COLUMNS
};

static const char *const column_names[COLUMNS] = {
	"line_no", "line_type", "psp_reference", "reference", "currency", "gross", "fee", "net", "occurred_at"
};

static const char *const readings[] = {"text", "whole", "decimal", "seconds", "time"};

typedef enum Reading
{
	READ_TEXT,
	READ_WHOLE,
	READ_DECIMAL,
	READ_SECONDS,
	READ_TIME
} Reading;

/* One row of settlement_columns; those of a column are sorted by choice and part. */
typedef struct Source
{
	int32		choice;
	const char *name;
	Reading		reading;
	bool		is_subtracted;
} Source;

/* One row of settlement_line_types. */
typedef struct LineType
{
	const char *source_type;
	const char *line_type;		/* NULL: left out */
	bool		is_part;
} LineType;

struct PlFormat
{
	const char *name;
	bool		reads_all;
	List	   *columns[COLUMNS];	/* of Source */
	List	   *types;			/* of LineType */
	bool		found[COLUMNS];	/* some line had a member of it, perhaps an empty one */
	bool		has_lines;
};

static PlQuery select_format = {
	"SELECT reads_all FROM payledger.settlement_formats WHERE format = $1", 1, {TEXTOID}
};

static PlQuery list_formats = {
	"SELECT string_agg(format, ', ' ORDER BY format) FROM payledger.settlement_formats"
};

static PlQuery select_columns = {
	"SELECT line_column::text, choice, source, reading::text, is_subtracted FROM payledger.settlement_columns"
	" WHERE format = $1 ORDER BY line_column, choice, part", 1, {TEXTOID}
};

static PlQuery select_types = {
	"SELECT source_type, line_type::text, is_part FROM payledger.settlement_line_types WHERE format = $1",
	1, {TEXTOID}
};

/* ---- the map ---- */

static int
index_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	elog(ERROR, "unknown label \"%s\"", name);
}

pg_noreturn static void
no_such_format(const char *name)
{
	pl_execute_latest(&list_formats, NULL);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("settlement format \"%s\" does not exist", name),
			 errhint("Formats are %s; rows in payledger.settlement_formats add others.", pl_get_text(0, 1))));
}

/* The table's constraint says the same; what reads amounts relies on it. */
static bool
reading_fits(int column, Reading reading)
{
	switch (column)
	{
		case COLUMN_GROSS:
		case COLUMN_FEE:
		case COLUMN_NET:
			return reading == READ_WHOLE || reading == READ_DECIMAL;
		case COLUMN_LINE_NO:
			return reading == READ_WHOLE;
		case COLUMN_OCCURRED_AT:
			return reading == READ_SECONDS || reading == READ_TIME;
		default:
			return reading == READ_TEXT;
	}
}

/* One row of settlement_columns, the one in that row of the last result; 22023 if it makes no sense. */
static Source *
read_source(int row, const char *format, int *column)
{
	Source	   *source = palloc(sizeof(Source));

	*column = index_of(pl_get_text(row, 1), column_names, COLUMNS);
	source->choice = pl_get_int32(row, 2);
	source->name = pl_get_text(row, 3);
	source->reading = (Reading) index_of(pl_get_text(row, 4), readings, lengthof(readings));
	source->is_subtracted = pl_get_bool(row, 5);
	if (!reading_fits(*column, source->reading))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("settlement format \"%s\" reads %s as %s", format, column_names[*column], readings[source->reading]),
				 errdetail("It is the row of payledger.settlement_columns with the source \"%s\".", source->name),
				 errhint("Amounts are read as whole or decimal, line_no as whole, occurred_at as seconds or time, the others as text.")));
	return source;
}

/* The map of a format, in the current memory context; 22023 if there is none. */
PlFormat *
pl_read_format(const char *name)
{
	PlFormat   *format = palloc0(sizeof(PlFormat));
	PlArgs		args = {0};
	int			n;

	pl_arg_text(&args, name);
	if (pl_execute_latest(&select_format, &args) == 0)
		no_such_format(name);
	format->name = name;
	format->reads_all = pl_get_bool(0, 1);

	n = pl_execute_latest(&select_columns, &args);
	for (int i = 0; i < n; i++)
	{
		int			column;
		Source	   *source = read_source(i, name, &column);

		format->columns[column] = lappend(format->columns[column], source);
	}
	n = pl_execute_latest(&select_types, &args);
	for (int i = 0; i < n; i++)
	{
		LineType   *type = palloc(sizeof(LineType));

		type->source_type = pl_get_text(i, 1);
		type->line_type = pl_get_text(i, 2);
		type->is_part = pl_get_bool(i, 3);
		format->types = lappend(format->types, type);
	}
	return format;
}

/* ---- columns ---- */

/*
 * The sources of the first choice that has one present, and which of them are;
 * NIL if there is none.
 */
static List *
chosen_sources(const PlLineReader *reader, int column)
{
	List	   *chosen = NIL;
	ListCell   *cell;

	foreach(cell, reader->format->columns[column])
	{
		Source	   *source = lfirst(cell);
		JsonbValue	value;

		if (chosen != NIL && ((Source *) linitial(chosen))->choice != source->choice)
			break;
		if (pl_find_member(reader->object, source->name, &value))
			chosen = lappend(chosen, source);
	}
	return chosen;
}

/* A text, its parts joined by spaces; NULL if there is none.  Sets *name to the first source. */
static char *
column_text(const PlLineReader *reader, int column, const char **name)
{
	StringInfoData out;
	List	   *sources = chosen_sources(reader, column);
	ListCell   *cell;

	*name = NULL;
	if (sources == NIL)
		return NULL;
	initStringInfo(&out);
	foreach(cell, sources)
	{
		const Source *source = lfirst(cell);
		JsonbValue	value;

		if (out.len == 0)
			*name = source->name;
		else
			appendStringInfoChar(&out, ' ');
		(void) pl_find_member(reader->object, source->name, &value);
		appendStringInfoString(&out, pl_member_text(reader, source->name, &value));
	}
	return out.data;
}

/* A number, its parts added up; false if there is none. */
static bool
column_number(const PlLineReader *reader, int column, int64 *result)
{
	List	   *sources = chosen_sources(reader, column);
	ListCell   *cell;

	*result = 0;
	foreach(cell, sources)
	{
		const Source *source = lfirst(cell);
		JsonbValue	value;
		int64		units;

		(void) pl_find_member(reader->object, source->name, &value);
		/* what is read as decimal is an amount, and read when the currency is known */
		units = source->reading == READ_DECIMAL ?
			pl_member_units(reader, source->name, &value, reader->currency->exponent) :
			pl_member_whole(reader, source->name, &value);
		*result = pl_add_amount(*result, source->is_subtracted ? -units : units);
		/* amounts are negated, and this one has no opposite */
		if (*result == PG_INT64_MIN)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("%s is out of range", pl_line_path(reader, source->name))));
	}
	return sources != NIL;
}

/* Has the line a member of that column, perhaps an empty one? */
static bool
column_exists(const PlLineReader *reader, int column)
{
	ListCell   *cell;

	foreach(cell, reader->format->columns[column])
	{
		JsonbValue	value;

		if (pl_has_member(reader->object, ((Source *) lfirst(cell))->name, &value))
			return true;
	}
	return false;
}

static bool
column_time(const PlLineReader *reader, int column, TimestampTz *result)
{
	List	   *sources = chosen_sources(reader, column);
	const char *name;
	const Source *first;

	if (sources == NIL)
		return false;
	first = linitial(sources);
	if (first->reading == READ_SECONDS)
	{
		JsonbValue	value;

		(void) pl_find_member(reader->object, first->name, &value);
		*result = pl_member_seconds(reader, first->name, &value);
	}
	else
	{
		char	   *text = column_text(reader, column, &name);

		*result = pl_member_time(reader, name, text);
	}
	return true;
}

/* Where a column may come from, for a message: "payment_intent or source.payment_intent". */
static char *
names_of(const PlFormat *format, int column)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, format->columns[column])
	{
		if (out.len > 0)
			appendStringInfoString(&out, " or ");
		appendStringInfoString(&out, ((Source *) lfirst(cell))->name);
	}
	return out.len > 0 ? out.data : pstrdup("(nothing)");
}

pg_noreturn static void missing_column(const PlLineReader *reader, int column);

static void
missing_column(const PlLineReader *reader, int column)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("lines[%d] has no %s", reader->index, names_of(reader->format, column)),
			 errdetail("It is the %s of a settlement line.", column_names[column]),
			 errhint("payledger.settlement_columns says how format %s is read.", reader->format_name)));
}

/* Note which columns the line has a member of. */
static void
note_columns(PlFormat *format, const PlLineReader *reader)
{
	format->has_lines = true;
	for (int c = 0; c < COLUMNS; c++)
		if (!format->found[c])
			format->found[c] = column_exists(reader, c);
}

/*
 * Warn of what no line of the report had, though the format reads it and other
 * columns do not tell it: the row of settlement_columns may be misspelt.
 */
void
pl_warn_of_absent_columns(const PlFormat *format)
{
	static const int columns[] = {COLUMN_REFERENCE, COLUMN_OCCURRED_AT};

	for (int i = 0; i < (int) lengthof(columns); i++)
		if (format->has_lines && !format->reads_all && format->columns[columns[i]] != NIL && !format->found[columns[i]])
			ereport(WARNING,
					(errcode(ERRCODE_WARNING),
					 errmsg("no line of the report has %s", names_of(format, columns[i])),
					 errdetail("Format %s reads it as the %s of a settlement line.", format->name, column_names[columns[i]]),
					 errhint("Look for a misspelt source in payledger.settlement_columns.")));
}

/* Refuse members that would silently mean nothing. */
static void
refuse_unread_members(const PlLineReader *reader)
{
	JsonbIterator *iterator = JsonbIteratorInit(reader->object);
	JsonbIteratorToken token;
	JsonbValue	key;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		bool		is_read = token != WJB_KEY;
		ListCell   *cell;

		for (int c = 0; c < COLUMNS && !is_read; c++)
			foreach(cell, reader->format->columns[c])
			{
				const char *name = ((Source *) lfirst(cell))->name;

				is_read |= (int) strlen(name) == key.val.string.len &&
					memcmp(name, key.val.string.val, key.val.string.len) == 0;
			}
		if (!is_read)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("lines[%d] has a member that format %s does not read", reader->index, reader->format_name),
					 errdetail("It is \"%s\".", pnstrdup(key.val.string.val,
														   pl_clip_length(key.val.string.val, key.val.string.len, NAMEDATALEN))),
					 errhint("payledger.settlement_columns lists those that it reads.")));
	}
}

static const LineType *
read_line_type(const PlLineReader *reader)
{
	const char *name;
	char	   *source_type = column_text(reader, COLUMN_LINE_TYPE, &name);
	ListCell   *cell;

	if (source_type == NULL)
		missing_column(reader, COLUMN_LINE_TYPE);
	foreach(cell, reader->format->types)
		if (strcmp(((LineType *) lfirst(cell))->source_type, source_type) == 0)
			return lfirst(cell);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is \"%s\", which format %s does not know", pl_line_path(reader, name), source_type,
					reader->format_name),
			 errhint("A row in payledger.settlement_line_types says what it means, or that such lines are left out.")));
}

/*
 * Of gross, fee and net one may be missing, and one that is there and empty, as
 * CSV has it, is then zero.
 */
static void
read_amounts(const PlLineReader *reader, PlSettlementLine *line)
{
	static const int columns[] = {COLUMN_GROSS, COLUMN_NET, COLUMN_FEE};
	int64	   *amounts[] = {&line->gross, &line->net, &line->fee};
	bool		present[lengthof(columns)];
	int			npresent = 0;

	for (int i = 0; i < (int) lengthof(columns); i++)
		npresent += present[i] = column_number(reader, columns[i], amounts[i]);
	for (int i = 0; i < (int) lengthof(columns) && npresent < 2; i++)
		if (!present[i] && column_exists(reader, columns[i]))
			npresent += present[i] = true;
	for (int i = 0; i < (int) lengthof(columns) && npresent < 2; i++)
		if (!present[i] && (reader->format->columns[columns[i]] != NIL || columns[i] == COLUMN_FEE))
			missing_column(reader, columns[i]);

	if (!present[0])
		line->gross = pl_add_amount(line->net, line->fee);
	else if (!present[1])
		line->net = pl_add_amount(line->gross, -line->fee);
	else if (!present[2])
		line->fee = pl_add_amount(line->gross, -line->net);
	else if (pl_add_amount(line->gross, -line->fee) != line->net)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lines[%d] does not add up", reader->index),
				 errdetail("Gross %s less fee %s is not net %s.", pl_format_amount(line->gross, reader->currency),
						   pl_format_amount(line->fee, reader->currency),
						   pl_format_amount(line->net, reader->currency))));
}

/*
 * Read element number index, from 0, of a report's lines.  False: its type is
 * one that is left out.  Raises 22023 naming the path at fault, 22003 for an
 * amount that does not fit, PL011 for card data.
 */
bool
pl_read_settlement_line(PlFormat *format, const JsonbValue *element, int index, PlSettlementLine *line)
{
	PlLineReader reader = {format, format->name, NULL, index, NULL};
	const LineType *type;
	const char *name;
	char	   *currency;
	int64		line_no;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lines[%d] must be an object", index)));
	reader.object = element->val.binary.data;
	if (format->reads_all)
		refuse_unread_members(&reader);
	note_columns(format, &reader);

	type = read_line_type(&reader);
	if (type->line_type == NULL)
		return false;
	line->line_type = type->line_type;
	line->is_part = type->is_part;

	if (!column_number(&reader, COLUMN_LINE_NO, &line_no))
		line_no = (int64) index + 1;
	if (line_no < 1 || line_no > PG_INT32_MAX)
		pl_wrong_member(&reader, names_of(format, COLUMN_LINE_NO), "a number from 1 on");
	line->line_no = (int32) line_no;

	currency = column_text(&reader, COLUMN_CURRENCY, &name);
	if (currency == NULL)
		missing_column(&reader, COLUMN_CURRENCY);
	reader.currency = line->currency = pl_find_currency(asc_toupper(currency, strlen(currency)));
	if (line->currency == NULL)
		pl_wrong_member(&reader, name, "the ISO 4217 code of a currency");
	read_amounts(&reader, line);

	line->psp_reference = column_text(&reader, COLUMN_PSP_REFERENCE, &name);
	if (line->psp_reference == NULL && strcmp(line->line_type, "fee") != 0 && strcmp(line->line_type, "payout") != 0)
		missing_column(&reader, COLUMN_PSP_REFERENCE);
	line->reference = column_text(&reader, COLUMN_REFERENCE, &name);
	line->has_time = column_time(&reader, COLUMN_OCCURRED_AT, &line->occurred_at);
	return true;
}
