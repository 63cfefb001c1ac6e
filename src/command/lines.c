/*
 * src/command/lines.c
 *		The JSON that callers pass as the lines of an intent.  A refusal names
 *		the path of the element at fault.
 */
#include "postgres.h"

#include "command/command.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

/* a checkout with more sellers than this is a mistake */
#define MAX_LINES 1000

pg_noreturn static void
wrong_json(const char *path, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be %s", path, expected),
			 errhint("Pass lines such as [{\"seller_id\":\"SELLER-111\",\"amount\":1450}], amounts in minor units.")));
}

/* A JSON number as whole minor units greater than zero. */
static int64
line_amount(JsonbValue *value, const char *path)
{
	Datum		number;

	if (value == NULL || value->type != jbvNumeric)
		wrong_json(path, "a number");
	pl_check_number(path, value->val.numeric);
	number = NumericGetDatum(value->val.numeric);
	if (numeric_is_nan(value->val.numeric) ||
		!DatumGetBool(DirectFunctionCall2(numeric_eq, number,
										  DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0)))))
		wrong_json(path, "a whole number of minor units");
	if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, number,
										  DirectFunctionCall1(int8_numeric, Int64GetDatum(0)))) <= 0)
		wrong_json(path, "greater than zero");
	if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, number,
										  DirectFunctionCall1(int8_numeric, Int64GetDatum(PG_INT64_MAX)))) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s is out of range", path),
				 errdetail("An amount fits a bigint.")));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
}

static JsonbValue *
member(JsonbContainer *object, const char *key)
{
	return getKeyJsonValueFromContainer(object, key, strlen(key), NULL);
}

/* Refuse members that would silently mean nothing. */
static void
check_line_keys(JsonbContainer *object, const char *path)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
		{
			char	   *key = pnstrdup(value.val.string.val, value.val.string.len);

			if (strcmp(key, "seller_id") != 0 && strcmp(key, "amount") != 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("%s.%s is not a member of a line", path, key),
						 errhint("A line has seller_id and amount.")));
		}
}

static PlLine *
parse_line(JsonbValue *element, int index)
{
	PlLine	   *line = palloc(sizeof(PlLine));
	char	   *path = psprintf("lines[%d]", index);
	JsonbContainer *object;
	JsonbValue *seller;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		wrong_json(path, "an object");
	object = element->val.binary.data;
	check_line_keys(object, path);

	seller = member(object, "seller_id");
	if (seller == NULL || seller->type != jbvString)
		wrong_json(psprintf("%s.seller_id", path), "a string");
	line->seller_id = pnstrdup(seller->val.string.val, seller->val.string.len);
	pl_check_text(psprintf("%s.seller_id", path), line->seller_id, 255);
	line->amount = line_amount(member(object, "amount"), psprintf("%s.amount", path));
	return line;
}

/*
 * The lines of an intent as a List of PlLine, in the current memory context.
 * Raises 22023 naming the path, 22003 for an amount that does not fit.
 */
List *
pl_parse_lines(Jsonb *lines)
{
	List	   *result = NIL;
	int			n;

	if (!JB_ROOT_IS_ARRAY(lines) || JB_ROOT_IS_SCALAR(lines))
		wrong_json("lines", "an array");
	n = JB_ROOT_COUNT(lines);
	if (n == 0)
		wrong_json("lines", "an array with at least one element");
	if (n > MAX_LINES)
		wrong_json("lines", psprintf("an array with at most %d elements", MAX_LINES));

	for (int i = 0; i < n; i++)
	{
		PlLine	   *line = parse_line(getIthJsonbValueFromContainer(&lines->root, i), i);
		ListCell   *cell;

		foreach(cell, result)
			if (strcmp(((PlLine *) lfirst(cell))->seller_id, line->seller_id) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("lines[%d].seller_id repeats seller %s of lines[%d]",
								i, line->seller_id, foreach_current_index(cell)),
						 errhint("Add the amounts of one seller up into one line.")));
		result = lappend(result, line);
	}
	return result;
}

/*
 * Sum of the lines in minor units; 22003 when it is more than one payment may be.
 * Beyond that, the sums of all payments could not be posted any more.
 */
int64
pl_lines_total(List *lines)
{
	int64		total = 0;
	ListCell   *cell;

	foreach(cell, lines)
		total = pl_add_amount(total, ((PlLine *) lfirst(cell))->amount);
	if (total > PL_MAX_PAYMENT)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the lines come to " INT64_FORMAT ", more than a payment may be", total),
				 errhint("Amounts are minor units, at most 10^15 in all.")));
	return total;
}

/* The lines as JSON text, palloc'd. */
char *
pl_lines_json(List *lines)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	foreach(cell, lines)
	{
		const PlLine *line = lfirst(cell);

		if (foreach_current_index(cell) > 0)
			appendStringInfoChar(&out, ',');
		appendStringInfoChar(&out, '{');
		pl_json_text(&out, "seller_id", line->seller_id);
		pl_json_amount(&out, "amount", line->amount);
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}
