/*
 * src/ledger/entry_json.c
 *		Entries and their legs as callers write them, in JSON.
 *
 * The binary form of jsonb is read where it lies: strings and numbers are not
 * copied before the batch takes them.  Nothing here reads a table or takes a
 * lock; whether accounts exist is asked for all of the batch at once when it is
 * posted.  A refusal names the path of the member at fault.
 */
#include "postgres.h"

#include "ledger/ledger.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

/* no text that an entry is made of may be as long; each has its own limit too */
#define STRING_BUFFER_SIZE 1024

/* what errors of an entry's own members give as leg */
#define NO_LEG -1

/* entry type of an entry whose own could not be read: it is denied and never written */
#define UNREADABLE_ENTRY_TYPE "UNREADABLE"

enum
{
	LEG_ACCOUNT,
	LEG_AMOUNT,
	LEG_MEMBERS
};

static const char *const leg_members[LEG_MEMBERS] = {"account", "amount"};

enum
{
	ENTRY_TYPE,
	ENTRY_POSTINGS,
	ENTRY_REFERENCE,
	ENTRY_EFFECTIVE_AT,
	ENTRY_METADATA,
	ENTRY_MEMBERS
};

static const char *const entry_members[ENTRY_MEMBERS] = {
	"entry_type", "postings", "reference", "effective_at", "metadata"
};

/* ---- members of objects ---- */

/* postings[1].amount, palloc'd; key may be empty. */
static char *
path_of(int leg, const char *key)
{
	if (leg == NO_LEG)
		return pstrdup(key);
	return psprintf("postings[%d]%s%s", leg, key[0] != '\0' ? "." : "", key);
}

static int
hint_form(int leg)
{
	return leg == NO_LEG ?
		errhint("An entry is {\"entry_type\":\"TRANSFER\",\"postings\":[...]} with optional reference, effective_at and metadata.") :
		errhint("A posting is {\"account\":\"MERCHANT_PAYABLE.SELLER-111.EUR\",\"amount\":-1450}: minor units, debit positive.");
}

pg_noreturn static void wrong_member(int leg, const char *key, const char *expected);

static void
wrong_member(int leg, const char *key, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be %s", path_of(leg, key), expected),
			 hint_form(leg)));
}

/* The object has a member that is none of keys: it would silently mean nothing. */
static void
refuse_unknown_member(JsonbContainer *object, int leg, const char *const *keys, int nkeys)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	key;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		bool		known = token != WJB_KEY;

		for (int i = 0; i < nkeys && !known; i++)
			known = key.val.string.len == (int) strlen(keys[i]) &&
				memcmp(key.val.string.val, keys[i], key.val.string.len) == 0;
		if (!known)
		{
			size_t		length = pl_clip_length(key.val.string.val, key.val.string.len, NAMEDATALEN);

			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" is not a member of %s",
							path_of(leg, pnstrdup(key.val.string.val, length)),
							leg == NO_LEG ? "an entry" : "a posting"),
					 hint_form(leg)));
		}
	}
}

/*
 * The values of an object's members, in the order of keys; jbvNull for those
 * that it does not have.  Raises 22023 if it has any other.
 */
static void
read_members(JsonbContainer *object, int leg, const char *const *keys, int nkeys, JsonbValue *values)
{
	uint32		found = 0;

	for (int i = 0; i < nkeys; i++)
		if (getKeyJsonValueFromContainer(object, keys[i], strlen(keys[i]), &values[i]) != NULL)
			found++;
		else
			values[i].type = jbvNull;
	if (found != JsonContainerSize(object))
		refuse_unknown_member(object, leg, keys, nkeys);
}

/* A string in buffer, which has STRING_BUFFER_SIZE bytes. */
static const char *
read_string(const JsonbValue *value, int leg, const char *key, char *buffer)
{
	if (value->type != jbvString)
		wrong_member(leg, key, "a string");
	if (value->val.string.len >= STRING_BUFFER_SIZE)
		wrong_member(leg, key, psprintf("shorter than %d bytes", STRING_BUFFER_SIZE));
	memcpy(buffer, value->val.string.val, value->val.string.len);
	buffer[value->val.string.len] = '\0';
	return buffer;
}

/* ---- legs ---- */

/* The largest amount there is, of either sign; lives as long as the backend. */
static Numeric
largest_amount(bool negative)
{
	static Numeric largest[2] = {NULL, NULL};

	if (largest[negative] == NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);

		largest[negative] = int64_to_numeric(negative ? -PG_INT64_MAX : PG_INT64_MAX);
		MemoryContextSwitchTo(oldcontext);
	}
	return largest[negative];
}

static bool
is_whole(Datum number, int leg)
{
	/* what has no digits after the point needs no arithmetic */
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, number)) == 0)
		return true;
	pl_check_number(path_of(leg, leg_members[LEG_AMOUNT]), DatumGetNumeric(number));
	return DatumGetBool(DirectFunctionCall2(numeric_eq, number,
											DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0))));
}

/* A number as minor units, exactly; zero is left to pl_entry_leg(). */
static int64
read_amount(const JsonbValue *value, int leg)
{
	Datum		number;

	if (value->type != jbvNumeric || numeric_is_nan(value->val.numeric) || numeric_is_inf(value->val.numeric))
		wrong_member(leg, leg_members[LEG_AMOUNT], "a number");
	number = NumericGetDatum(value->val.numeric);
	if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, number, NumericGetDatum(largest_amount(false)))) > 0 ||
		DatumGetInt32(DirectFunctionCall2(numeric_cmp, number, NumericGetDatum(largest_amount(true)))) < 0)
	{
		pl_check_number(path_of(leg, leg_members[LEG_AMOUNT]), value->val.numeric);
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s is out of range", path_of(leg, leg_members[LEG_AMOUNT])),
				 errdetail("Amounts are from " INT64_FORMAT " to " INT64_FORMAT ".", -PG_INT64_MAX, PG_INT64_MAX)));
	}
	if (!is_whole(number, leg))
		wrong_member(leg, leg_members[LEG_AMOUNT], "a whole number of minor units");
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
}

static void
add_leg(PlEntryBatch *batch, const JsonbValue *element, int leg)
{
	JsonbValue	values[LEG_MEMBERS];
	char		account[STRING_BUFFER_SIZE];
	const char *code;
	int64		amount;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		wrong_member(leg, "", "an object");
	read_members(element->val.binary.data, leg, leg_members, LEG_MEMBERS, values);
	/* one after the other: which is refused is not up to the compiler */
	code = read_string(&values[LEG_ACCOUNT], leg, leg_members[LEG_ACCOUNT], account);
	amount = read_amount(&values[LEG_AMOUNT], leg);
	pl_entry_leg(batch, code, amount);
}

/* The legs of an array, to the entry begun last. */
static void
add_legs(PlEntryBatch *batch, JsonbContainer *postings)
{
	JsonbIterator *iterator = JsonbIteratorInit(postings);
	JsonbIteratorToken token;
	JsonbValue	element;
	int			leg = 0;

	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			add_leg(batch, &element, leg++);
}

static bool
is_array(JsonbContainer *container)
{
	return JsonContainerIsArray(container) && !JsonContainerIsScalar(container);
}

/*
 * Add legs to the entry begun last: postings is an array of
 * {"account": code, "amount": minor units, debit positive}.  Raises 22023 for
 * anything else, for a fraction and for zero, 22003 for an amount that does not
 * fit a bigint, each with the path of the member.
 */
void
pl_entry_legs_from_json(PlEntryBatch *batch, Jsonb *postings)
{
	if (!is_array(&postings->root))
		wrong_member(NO_LEG, entry_members[ENTRY_POSTINGS], "an array");
	add_legs(batch, &postings->root);
}

/* ---- entries ---- */

/* A copy of the object, which lives as long as the batch; NULL for null. */
static Jsonb *
read_metadata(const PlEntryBatch *batch, JsonbValue *value)
{
	MemoryContext oldcontext;
	Jsonb	   *metadata;

	if (value->type == jbvNull)
		return NULL;
	if (value->type != jbvBinary)
		wrong_member(NO_LEG, entry_members[ENTRY_METADATA], "a JSON object");
	oldcontext = MemoryContextSwitchTo(batch->context);
	metadata = JsonbValueToJsonb(value);
	MemoryContextSwitchTo(oldcontext);
	pl_check_metadata(entry_members[ENTRY_METADATA], metadata);
	return metadata;
}

/*
 * A time as ISO 8601 writes it, year first and with the distance from UTC, so
 * that its meaning hangs on no setting of the session.
 */
static TimestampTz
read_timestamp(const char *text)
{
	const char *time = strpbrk(text, "T ");

	if (strspn(text, "0123456789") < 4 ||
		strspn(text, "0123456789-+:.TZ ") != strlen(text) ||
		time == NULL || strpbrk(time + 1, "Z+-") == NULL)
		wrong_member(NO_LEG, entry_members[ENTRY_EFFECTIVE_AT],
					 "a time with its time zone, such as 2025-01-31T10:30:00+01:00");
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
add_entry(PlEntryBatch *batch, const JsonbValue *element)
{
	JsonbValue	values[ENTRY_MEMBERS];
	char		entry_type[STRING_BUFFER_SIZE];
	char		buffer[STRING_BUFFER_SIZE];
	const char *reference = NULL;
	PlEntry    *entry;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an entry must be an object"),
				 hint_form(NO_LEG)));
	read_members(element->val.binary.data, NO_LEG, entry_members, ENTRY_MEMBERS, values);

	if (values[ENTRY_REFERENCE].type != jbvNull)
		reference = read_string(&values[ENTRY_REFERENCE], NO_LEG, entry_members[ENTRY_REFERENCE], buffer);
	entry = pl_entry_add(batch, read_string(&values[ENTRY_TYPE], NO_LEG, entry_members[ENTRY_TYPE], entry_type),
						 0, reference, 0);
	entry->metadata = read_metadata(batch, &values[ENTRY_METADATA]);
	if (values[ENTRY_EFFECTIVE_AT].type != jbvNull)
	{
		entry->effective_at = read_timestamp(read_string(&values[ENTRY_EFFECTIVE_AT], NO_LEG,
														 entry_members[ENTRY_EFFECTIVE_AT], buffer));
		entry->is_dated = true;
	}

	if (values[ENTRY_POSTINGS].type != jbvBinary || !is_array(values[ENTRY_POSTINGS].val.binary.data))
		wrong_member(NO_LEG, entry_members[ENTRY_POSTINGS], "an array");
	add_legs(batch, values[ENTRY_POSTINGS].val.binary.data);
}

/* An error about what the caller wrote, rather than about this server. */
static bool
is_callers_error(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION ||
		category == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_PL_CARD_DATA);
}

/* What was read of the last entry is not to be posted. */
static void
deny_last_entry(PlEntryBatch *batch, int nentries_before, ErrorData *error)
{
	PlEntry    *entry;

	if (batch->nentries == nentries_before)
		entry = pl_entry_add(batch, UNREADABLE_ENTRY_TYPE, 0, NULL, 0);
	else
		entry = batch->entries[batch->nentries - 1];
	batch->nlegs = entry->first_leg;
	entry->nlegs = 0;
	pl_entry_deny(batch, entry, error);
}

/*
 * Add an entry, or one that is denied if it cannot be read.  Reading it only
 * allocates memory in the batch's context: there is no lock, snapshot, buffer
 * or row to be given back, and what was written of the entry is undone by
 * deny_last_entry().  So the error needs no subtransaction to recover from.
 */
static void
add_entry_or_deny(PlEntryBatch *batch, const JsonbValue *element)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	int			nentries_before = batch->nentries;

	PG_TRY();
	{
		add_entry(batch, element);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		if (!is_callers_error(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(batch->context);
		error = CopyErrorData();
		FlushErrorState();
		deny_last_entry(batch, nentries_before, error);
		MemoryContextSwitchTo(oldcontext);
	}
	PG_END_TRY();
}

static void
name_entry(void *arg)
{
	errcontext("entry %d of the batch", *(const int *) arg);
}

/*
 * Add the entries of an array of {"entry_type", "postings", "reference",
 * "effective_at", "metadata"}, of which the last three may be missing or null.
 * An entry that cannot be read is denied if the batch gives verdicts, otherwise
 * raised: 22023, 22003, PL011 for card data, 54000 for too many legs, for its
 * time also 22007, 22008 or 22009.  entries must live as long as the batch.
 */
void
pl_entries_from_json(PlEntryBatch *batch, Jsonb *entries)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	element;
	int			n = 0;
	ErrorContextCallback context = {error_context_stack, name_entry, &n};

	if (!is_array(&entries->root))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("entries must be an array"),
				 hint_form(NO_LEG)));

	/* so that no entry has to be the one that asks for it, with SQL */
	(void) pl_transaction_no();

	iterator = JsonbIteratorInit(&entries->root);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		n++;
		if (batch->gives_verdicts)
			add_entry_or_deny(batch, &element);
		else
		{
			error_context_stack = &context;
			add_entry(batch, &element);
			error_context_stack = context.previous;
		}
	}
}
