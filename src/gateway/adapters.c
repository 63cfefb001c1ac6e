/*
 * src/gateway/adapters.c
 *		The adapters there are: each kind of PSP is registered when the library is
 *		loaded.
 */
#include "postgres.h"

#include "funcapi.h"
#include "gateway/gateway.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#define MAX_ADAPTERS	16
#define MAX_HEADER_VALUE	8192

/* as they were registered; the last is NULL */
const PlAdapter *pl_adapters[MAX_ADAPTERS + 1];

/*
 * Make an adapter known.  Only from _PG_init.
 */
void
pl_register_adapter(const PlAdapter *adapter)
{
	int			n = 0;

	while (pl_adapters[n] != NULL)
		n++;
	if (n == MAX_ADAPTERS)
		elog(ERROR, "more than %d adapters", MAX_ADAPTERS);
	pl_adapters[n] = adapter;
}

/*
 * The adapter of that name, or NULL.
 */
const PlAdapter *
pl_find_adapter(const char *name)
{
	for (int i = 0; pl_adapters[i] != NULL; i++)
		if (strcmp(pl_adapters[i]->name, name) == 0)
			return pl_adapters[i];
	return NULL;
}

/*
 * The value of a header of a webhook, its name in any case; NULL if there is
 * none.  palloc'd.
 */
char *
pl_webhook_header(const PlWebhook *webhook, const char *name)
{
	JsonbIterator *iterator = JsonbIteratorInit(&webhook->headers->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		found = false;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
			found = strlen(name) == (size_t) value.val.string.len &&
				pg_strncasecmp(value.val.string.val, name, value.val.string.len) == 0;
		else if (token == WJB_VALUE && found && value.type == jbvString &&
				 value.val.string.len <= MAX_HEADER_VALUE)
			return pnstrdup(value.val.string.val, value.val.string.len);
	}
	return NULL;
}

PG_FUNCTION_INFO_V1(pl_sql_psp_adapters);

/*
 * psp_adapters() RETURNS TABLE (adapter, api_version, key_window, can_be_asked,
 * pays_out, sends_webhooks, lists_events)
 */
Datum
pl_sql_psp_adapters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int i = 0; pl_adapters[i] != NULL; i++)
	{
		const PlAdapter *adapter = pl_adapters[i];
		bool		nulls[7] = {false, adapter->api_version == NULL};
		Datum		values[7] = {0};
		Interval	key_window = {0};

		key_window.time = (int64) adapter->key_window * USECS_PER_SEC;
		values[0] = CStringGetTextDatum(adapter->name);
		if (adapter->api_version != NULL)
			values[1] = CStringGetTextDatum(adapter->api_version);
		values[2] = IntervalPGetDatum(&key_window);
		values[3] = BoolGetDatum(adapter->query != NULL);
		values[4] = BoolGetDatum(adapter->pays_out);
		values[5] = BoolGetDatum(adapter->verify_webhook != NULL);
		values[6] = BoolGetDatum(adapter->list_events != NULL);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
