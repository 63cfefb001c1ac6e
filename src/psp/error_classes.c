/*
 * src/psp/error_classes.c
 *		What the errors of the PSPs mean.
 *
 * A request is REFUSED or sent again (RETRY) only where the PSP documents that
 * the error means "not executed".  Everything else is UNKNOWN.  When an
 * earlier attempt of the same request may have been executed, an error that
 * speaks for its own attempt only settles nothing: in_doubt.
 */
#include "postgres.h"

#include "funcapi.h"
#include "psp/psp.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define REFUSED PL_OUTCOME_REFUSED
#define RETRY PL_OUTCOME_RETRY
#define UNKNOWN PL_OUTCOME_UNKNOWN

static const PlErrorClass error_classes[] = {
	{"stripe", 0, NULL, NULL, UNKNOWN, UNKNOWN,
	"not documented as not executed"},

	{"stripe", 400, "invalid_request_error", NULL, REFUSED, REFUSED,
	"refused before execution; an execution under the same key would have been replayed"},
	{"stripe", 400, "card_error", NULL, REFUSED, REFUSED,
	"declined; no money moved"},
	{"stripe", 402, "card_error", NULL, REFUSED, REFUSED,
	"declined; no money moved"},
	{"stripe", 402, "invalid_request_error", NULL, REFUSED, REFUSED,
	"valid parameters, but the request failed; no money moved"},
	{"stripe", 404, "invalid_request_error", NULL, REFUSED, REFUSED,
	"no such object; nothing was executed"},

	{"stripe", 401, NULL, NULL, RETRY, UNKNOWN,
	"API key refused before the idempotency key was looked at"},
	{"stripe", 403, NULL, NULL, RETRY, UNKNOWN,
	"API key lacks a permission; refused before the idempotency key was looked at"},
	{"stripe", 429, NULL, NULL, RETRY, UNKNOWN,
	"rate limit; refused before the idempotency key was looked at"},
	{"stripe", 429, NULL, "lock_timeout", RETRY, UNKNOWN,
	"another request holds the object; not executed"},
	{"stripe", 400, NULL, "lock_timeout", RETRY, UNKNOWN,
	"another request holds the object; not executed"},

	{"stripe", 400, "idempotency_error", NULL, UNKNOWN, UNKNOWN,
	"an earlier request with this key had other parameters and may have been executed"},
	{"stripe", 409, NULL, NULL, UNKNOWN, UNKNOWN,
	"conflicts with a request under way"},
	{"stripe", 409, "idempotency_error", "idempotency_key_in_use", UNKNOWN, UNKNOWN,
	"an earlier attempt with this key is still being executed"},
	{"stripe", 424, NULL, NULL, UNKNOWN, UNKNOWN,
	"a party behind the PSP failed"},
	{"stripe", 500, NULL, NULL, UNKNOWN, UNKNOWN,
	"indeterminate; the reply may be stored under the key"},
	{"stripe", 502, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},
	{"stripe", 503, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},
	{"stripe", 504, NULL, NULL, UNKNOWN, UNKNOWN, "indeterminate"},

	{"stripe", 400, NULL, "charge_already_captured", UNKNOWN, UNKNOWN,
	"somebody captured it: the payment intent is asked"},
	{"stripe", 400, NULL, "charge_expired_for_capture", REFUSED, REFUSED,
	"the authorization expired; no money moved"},
	{"stripe", 400, NULL, "capture_charge_authorization_expired", REFUSED, REFUSED,
	"the authorization expired; no money moved"},
	{"stripe", 400, NULL, "payment_intent_unexpected_state", REFUSED, REFUSED,
	"the payment intent's status does not allow it; the adapter looks at that status first"}
};

/* How many of its conditions the class names; -1 if one does not hold. */
static int
match(const PlErrorClass *class, const char *adapter, int http_status,
	  const char *type, const char *code)
{
	int			score = 0;

	if (strcmp(class->adapter, adapter) != 0)
		return -1;
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

/*
 * What an error reply means, by the most specific class that matches; UNKNOWN
 * if none does.  type and code are the PSP's, NULL for none.
 */
PlOutcomeClass
pl_classify_error(const PlAdapter *adapter, const PlHttpReply *reply,
				  const char *type, const char *code)
{
	const PlErrorClass *best = NULL;
	int			best_score = -1;

	for (size_t i = 0; i < lengthof(error_classes); i++)
	{
		int			score = match(&error_classes[i], adapter->name, reply->status, type, code);

		if (score > best_score)
		{
			best_score = score;
			best = &error_classes[i];
		}
	}
	if (best == NULL)
		return PL_OUTCOME_UNKNOWN;
	return reply->in_doubt ? best->in_doubt : best->outcome;
}

PG_FUNCTION_INFO_V1(pl_sql_psp_error_classes);

/*
 * psp_error_classes() RETURNS TABLE (adapter, http_status, error_type,
 * error_code, outcome, in_doubt_outcome, note)
 */
Datum
pl_sql_psp_error_classes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (size_t i = 0; i < lengthof(error_classes); i++)
	{
		const PlErrorClass *class = &error_classes[i];
		bool		nulls[7] = {false, class->http_status == 0, class->type == NULL,
		class->code == NULL, false, false, false};
		Datum		values[7] = {0};

		values[0] = CStringGetTextDatum(class->adapter);
		values[1] = Int32GetDatum(class->http_status);
		if (class->type)
			values[2] = CStringGetTextDatum(class->type);
		if (class->code)
			values[3] = CStringGetTextDatum(class->code);
		values[4] = CStringGetTextDatum(pl_outcome_name(class->outcome));
		values[5] = CStringGetTextDatum(pl_outcome_name(class->in_doubt));
		values[6] = CStringGetTextDatum(class->note);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
