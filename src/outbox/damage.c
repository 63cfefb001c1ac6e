/*
 * src/outbox/damage.c
 *		Is an event what consumers were promised?  And mending those that a
 *		fault of ours has damaged.
 *
 * What is looked at may be anything, bytes that are no characters included:
 * it is checked before any function of PostgreSQL reads it as text.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define ROWS_AT_ONCE 1000

typedef bool (*MemberCheck) (const char *value, size_t length);

/* A member of the envelope. */
typedef struct EnvelopeMember
{
	const char *name;
	JsonTokenType type;			/* string, number, or object_start for any object */
	bool		may_be_null;
	MemberCheck check;			/* of its text; NULL: any */
	const char *kind;			/* for messages: what it must be */
} EnvelopeMember;

static bool
is_uuid(const char *value, size_t length)
{
	return pl_has_form(value, length, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh");
}

static bool
is_time(const char *value, size_t length)
{
	return pl_has_form(value, length, "dddd-dd-ddTdd:dd:dd.ddddddZ");
}

static bool
is_trace_id(const char *value, size_t length)
{
	return pl_has_form(value, length, "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh");
}

/* 1 to 19 digits */
static bool
is_id(const char *value, size_t length)
{
	return length > 0 && length <= 19 && strspn(value, "0123456789") == length;
}

/* ... and at least 1 */
static bool
is_version(const char *value, size_t length)
{
	return is_id(value, length) && value[0] != '0';
}

static const EnvelopeMember envelope_members[] = {
	{"eventId", JSON_TOKEN_STRING, false, is_uuid, "a UUID"},
	{"eventType", JSON_TOKEN_STRING, false, NULL, "a string"},
	{"aggregateId", JSON_TOKEN_STRING, false, is_id, "a string of digits"},
	{"data", JSON_TOKEN_OBJECT_START, false, NULL, "an object"},
	{"timestamp", JSON_TOKEN_STRING, false, is_time, "a time in UTC"},
	{"traceId", JSON_TOKEN_STRING, true, is_trace_id, "null or 32 hexadecimal digits"},
	{"parentEventId", JSON_TOKEN_STRING, false, is_uuid, "a UUID"},
	{"version", JSON_TOKEN_NUMBER, false, is_version, "a number from 1 on"},
};

/* How far a payload has been read. */
typedef struct Reading
{
	int			depth;
	const EnvelopeMember *member;	/* that the next value at depth 1 is of; NULL: of none known */
	bool		seen[lengthof(envelope_members)];
	char	   *damage;			/* the first; NULL: none yet */
} Reading;

PG_FUNCTION_INFO_V1(pl_sql_event_damage);
PG_FUNCTION_INFO_V1(pl_sql_repair_events);

/* ---- what is wrong with an event ---- */

static void
found(Reading *reading, char *damage)
{
	if (reading->damage == NULL)
		reading->damage = damage;
}

/* A value begins: is it of the right type? */
static void
value_begins(Reading *reading, JsonTokenType type)
{
	const EnvelopeMember *member = reading->member;

	if (reading->depth == 0 && type != JSON_TOKEN_OBJECT_START)
		found(reading, "the payload is not an object");
	if (reading->depth == 1 && member != NULL && type != member->type &&
		!(type == JSON_TOKEN_NULL && member->may_be_null))
		found(reading, psprintf("member \"%s\" is not %s", member->name, member->kind));
}

static PL_JSON_CALLBACK
object_begins(void *state)
{
	Reading    *reading = state;

	value_begins(reading, JSON_TOKEN_OBJECT_START);
	reading->depth++;
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
array_begins(void *state)
{
	Reading    *reading = state;

	value_begins(reading, JSON_TOKEN_ARRAY_START);
	reading->depth++;
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
composite_ends(void *state)
{
	Reading    *reading = state;

	reading->depth--;
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
member_begins(void *state, char *name, bool isnull)
{
	Reading    *reading = state;

	if (reading->depth == 1)
	{
		reading->member = NULL;
		for (int i = 0; i < (int) lengthof(envelope_members); i++)
			if (strcmp(envelope_members[i].name, name) == 0)
			{
				reading->member = &envelope_members[i];
				if (reading->seen[i])
					found(reading, psprintf("member \"%s\" is there twice", name));
				reading->seen[i] = true;
			}
		if (reading->member == NULL)
			found(reading, psprintf("member \"%s\" is none of an event's", name));
	}
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
scalar(void *state, char *value, JsonTokenType type)
{
	Reading    *reading = state;
	const EnvelopeMember *member = reading->member;

	value_begins(reading, type);
	if (reading->depth == 1 && member != NULL && type == member->type &&
		member->check != NULL && !member->check(value, strlen(value)))
		found(reading, psprintf("member \"%s\" is not %s", member->name, member->kind));
	PL_JSON_CALLBACK_DONE;
}

/* The same of a payload alone, not null. */
static char *
payload_damage(const char *payload, int length)
{
	Reading		reading = {0};
	JsonSemAction actions = {0};

	if (!pg_verify_mbstr(GetDatabaseEncoding(), payload, length, true))
		return psprintf("the payload is not valid %s", GetDatabaseEncodingName());

	actions.semstate = &reading;
	actions.object_start = object_begins;
	actions.object_end = composite_ends;
	actions.array_start = array_begins;
	actions.array_end = composite_ends;
	actions.object_field_start = member_begins;
	actions.scalar = scalar;
	if (pg_parse_json(PlMakeJsonLexContext(unconstify(char *, payload), length, GetDatabaseEncoding()), &actions) != JSON_SUCCESS)
		return "the payload is not JSON";
	for (int i = 0; i < (int) lengthof(envelope_members); i++)
		if (!reading.seen[i])
			found(&reading, psprintf("member \"%s\" is missing", envelope_members[i].name));
	return reading.damage;
}

/*
 * What is wrong with an event's payload or traceparent (either may be NULL),
 * palloc'd, or NULL if nothing is.
 */
char *
pl_event_damage(text *payload, text *traceparent)
{
	char	   *damage = NULL;

	if (payload != NULL)
		damage = payload_damage(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload));
	if (damage == NULL && traceparent != NULL &&
		!pl_is_traceparent(VARDATA_ANY(traceparent), VARSIZE_ANY_EXHDR(traceparent)))
		damage = "its traceparent is none";
	return damage;
}

/*
 * event_damage(payload json, traceparent text, headers text) RETURNS text
 */
Datum
pl_sql_event_damage(PG_FUNCTION_ARGS)
{
	char	   *damage = pl_event_damage(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0),
										 PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));

	if (damage == NULL && !PG_ARGISNULL(2))
	{
		text	   *headers = PG_GETARG_TEXT_PP(2);

		if (!pg_verify_mbstr(GetDatabaseEncoding(), VARDATA_ANY(headers), VARSIZE_ANY_EXHDR(headers), true))
			damage = psprintf("a header is not valid %s", GetDatabaseEncodingName());
	}
	if (damage == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(damage));
}

/* ---- mending ---- */

static PlQuery find_damaged_events = {
	"SELECT seq, payload, traceparent FROM payledger.outbox_events"
	" WHERE payledger.event_damage(payload, traceparent, NULL) IS NOT NULL", 0
};

static PlQuery mend_event = {
	"UPDATE payledger.outbox_events SET payload = $2, traceparent = $3 WHERE seq = $1",
	3, {INT8OID, JSONOID, TEXTOID}
};

static PlQuery find_damaged_dead_letters = {
	"SELECT seq, payload, traceparent FROM payledger.dead_letters"
	" WHERE payledger.event_damage(payload, traceparent, NULL) IS NOT NULL", 0
};

static PlQuery mend_dead_letter = {
	"UPDATE payledger.dead_letters SET payload = $2, traceparent = $3 WHERE seq = $1",
	3, {INT8OID, JSONOID, TEXTOID}
};

/* The last place of what in text, before end; NULL: none.  text holds no NUL, but perhaps bytes that are no characters. */
static const char *
last_of(const char *text, const char *end, const char *what)
{
	size_t		length = strlen(what);

	for (const char *p = end - length; p >= text; p--)
		if (memcmp(p, what, length) == 0)
			return p;
	return NULL;
}

/*
 * The payload with the trace id that belongs there, NULL for none, palloc'd;
 * NULL if it is not one of ours.  Members in front of the trace id are left
 * alone: no quotation mark within a value is without a backslash, so what is
 * looked for can't be part of one.
 */
static text *
mended_payload(text *payload, const char *trace_id)
{
	static const char before[] = ",\"traceId\":";
	static const char behind[] = ",\"parentEventId\":";
	const char *begin = VARDATA_ANY(payload);
	const char *end = begin + VARSIZE_ANY_EXHDR(payload);
	const char *rest = last_of(begin, end, behind);
	const char *value = rest ? last_of(begin, rest, before) : NULL;
	StringInfoData out;

	if (value == NULL)
		return NULL;
	initStringInfo(&out);
	appendBinaryStringInfo(&out, begin, value + strlen(before) - begin);
	if (trace_id == NULL)
		appendStringInfoString(&out, "null");
	else
		escape_json(&out, trace_id);
	appendBinaryStringInfo(&out, rest, end - rest);
	return cstring_to_text_with_len(out.data, out.len);
}

/* Mend the event in that row of the last result.  Was that possible? */
static bool
mend_row(int row, PlQuery *mend)
{
	bool		no_payload;
	bool		no_traceparent;
	Datum		payload = pl_get_datum(row, 2, &no_payload);
	Datum		traceparent = pl_get_datum(row, 3, &no_traceparent);
	char	   *context = no_traceparent ? NULL : TextDatumGetCString(traceparent);
	char	   *trace_id = pl_trace_id(context);
	text	   *mended = NULL;
	PlArgs		args = {0};

	if (!no_payload)
		mended = mended_payload(DatumGetTextPP(payload), trace_id);
	if (!no_payload && (mended == NULL || pl_event_damage(mended, NULL) != NULL))
		return false;

	pl_arg_int64(&args, pl_get_int64(row, 1));
	if (mended != NULL)
		pl_arg(&args, PointerGetDatum(mended));
	else
		pl_arg_null(&args);
	pl_arg_text(&args, trace_id ? context : NULL);
	pl_execute(mend, &args);
	return true;
}

/* Mend what the query finds in that table; their number. */
static int64
mend_table(const char *table, PlQuery *find, PlQuery *mend)
{
	volatile int64 mended = 0;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "event to mend", ALLOCSET_DEFAULT_SIZES);

	pl_begin_repair(get_relname_relid(table, get_namespace_oid("payledger", false)));
	PG_TRY();
	{
		Portal		portal = pl_open_cursor(find, NULL);

		for (;;)
		{
			SPITupleTable *rows;
			uint64		n;

			SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
			rows = SPI_tuptable;
			n = SPI_processed;
			if (n == 0)
				break;
			for (uint64 i = 0; i < n; i++)
			{
				CHECK_FOR_INTERRUPTS();
				SPI_tuptable = rows;
				SPI_processed = n;
				MemoryContextSwitchTo(context);
				if (mend_row(i, mend))
					mended++;
				MemoryContextSwitchTo(caller);
				MemoryContextReset(context);
			}
			SPI_freetuptable(rows);
		}
		SPI_cursor_close(portal);
	}
	PG_FINALLY();
	{
		pl_end_repair();
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	return mended;
}

/*
 * repair_events() RETURNS bigint
 */
Datum
pl_sql_repair_events(PG_FUNCTION_ARGS)
{
	int64		mended;

	pl_connect();
	pl_require_layout();
	mended = mend_table("outbox_events", &find_damaged_events, &mend_event);
	(void) mend_table("dead_letters", &find_damaged_dead_letters, &mend_dead_letter);
	pl_finish();
	PG_RETURN_INT64(mended);
}
