/*
 * src/adapters/error_classes.c
 *		What the errors and states of the PSPs mean: the tables of the adapters,
 *		looked up and shown.
 *
 * A request is REFUSED or sent again (RETRY) only where the PSP documents that
 * the error means "not executed".  Everything else is UNKNOWN.  When an
 * earlier attempt of the same request may have been executed, an error that
 * speaks for its own attempt only settles nothing: in_doubt.
 */
#include "postgres.h"

#include "adapters/adapters_internal.h"
#include "command/command.h"
#include "funcapi.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* How many of its conditions the class names; -1 if one does not hold. */
static int
match(const PlErrorClass *class, int http_status, const char *type, const char *code)
{
	int			score = 0;

	if (class->http_status != 0)
	{
		if (class->http_status != http_status)
			return -1;
		score += 1;
	}
	if (class->type != NULL)
	{
		if (type == NULL || strcmp(class->type, type) != 0)
			return -1;
		score += 2;
	}
	if (class->code != NULL)
	{
		if (code == NULL || strcmp(class->code, code) != 0)
			return -1;
		score += 4;
	}
	return score;
}

/* The most specific class that matches; NULL if none does. */
static const PlErrorClass *
find_class(const PlAdapter *adapter, int http_status, const char *type, const char *code)
{
	const PlErrorClass *best = NULL;
	int			best_score = -1;

	for (const PlErrorClass *class = adapter->error_classes; class && class->note; class++)
	{
		int			score = match(class, http_status, type, code);

		if (score > best_score)
		{
			best_score = score;
			best = class;
		}
	}
	return best;
}

/*
 * What an error reply means, by the most specific class that matches; UNKNOWN
 * if none does.  type and code are the PSP's, NULL for none.
 */
PlOutcomeClass
pl_classify_error(const PlAdapter *adapter, const PlHttpReply *reply,
				  const char *type, const char *code)
{
	const PlErrorClass *class = find_class(adapter, reply->status, type, code);

	if (class == NULL)
		return PL_OUTCOME_UNKNOWN;
	return reply->in_doubt ? class->in_doubt : class->outcome;
}

/*
 * What a state in a good reply or in an event means: the class of that type,
 * "refund.status" say, and code; UNKNOWN if there is none.
 */
PlOutcomeClass
pl_classify_state(const PlAdapter *adapter, const char *type, const char *state)
{
	const PlErrorClass *class = find_class(adapter, 0, type, state);

	return class ? class->outcome : PL_OUTCOME_UNKNOWN;
}

PG_FUNCTION_INFO_V1(pl_sql_psp_error_classes);

static void
put_class(ReturnSetInfo *rsinfo, const PlAdapter *adapter, const PlErrorClass *class)
{
	bool		nulls[8] = {false, false, class->http_status == 0, class->type == NULL, class->code == NULL};
	Datum		values[8] = {0};

	values[0] = CStringGetTextDatum(adapter->name);
	values[1] = CStringGetTextDatum(adapter->api_version);
	values[2] = Int32GetDatum(class->http_status);
	if (class->type)
		values[3] = CStringGetTextDatum(class->type);
	if (class->code)
		values[4] = CStringGetTextDatum(class->code);
	values[5] = CStringGetTextDatum(pl_outcome_name(class->outcome));
	values[6] = CStringGetTextDatum(pl_outcome_name(class->in_doubt));
	values[7] = CStringGetTextDatum(class->note);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * psp_error_classes() RETURNS TABLE (adapter, api_version, http_status,
 * error_type, error_code, outcome, in_doubt_outcome, note)
 */
Datum
pl_sql_psp_error_classes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int a = 0; pl_adapters[a] != NULL; a++)
		for (const PlErrorClass *class = pl_adapters[a]->error_classes; class && class->note; class++)
			put_class(rsinfo, pl_adapters[a], class);
	return (Datum) 0;
}
