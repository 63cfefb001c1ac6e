/*
 * src/psp/adapters.c
 *		The adapters there are.
 */
#include "postgres.h"

#include "funcapi.h"
#include "psp/psp.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

const PlAdapter *const pl_adapters[] = {
	&pl_sandbox_adapter,
	&pl_stripe_adapter,
	&pl_adyen_adapter,
	NULL
};

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
