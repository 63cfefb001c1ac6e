/*-------------------------------------------------------------------------
 *
 * history.c
 *		What was really executed on an object, in order.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

/*
 * Notes that something was executed; key may be NULL, request may be empty.
 * What it returns is valid until the next one is added.
 */
Execution *
history_add(History *history, const char *kind, int64_t amount,
			const char *key, const char *request)
{
	Execution  *execution;

	history->items = xrealloc(history->items,
							  (history->count + 1) * sizeof(Execution));
	execution = &history->items[history->count++];
	memset(execution, 0, sizeof(*execution));
	execution->kind = kind;
	execution->outcome = "ok";
	execution->amount = amount;
	execution->key = xstrdup(key);
	snprintf(execution->request, sizeof(execution->request), "%s", request);
	return execution;
}

/* Frees what the history holds and empties it. */
void
history_free(History *history)
{
	for (size_t i = 0; i < history->count; i++)
	{
		free(history->items[i].key);
		free(history->items[i].reference);
	}
	free(history->items);
	memset(history, 0, sizeof(*history));
}

/* Writes one execution. */
static void
put_execution(StrBuf *buf, const Execution *execution)
{
	jw_object(buf, NULL);
	jw_string(buf, "operation", execution->kind);
	jw_string(buf, "outcome", execution->outcome);
	jw_int(buf, "amount", execution->amount);
	if (strcmp(execution->kind, "capture") == 0)
		jw_bool(buf, "final", execution->final);
	if (execution->object[0] != '\0')
		jw_string(buf, strncmp(execution->kind, "refund", 6) == 0 ?
				  "refund" : "object", execution->object);
	if (execution->reference != NULL)
		jw_string(buf, "reference", execution->reference);
	jw_string(buf, "idempotency_key", execution->key);
	jw_string(buf, "request", execution->request[0] == '\0' ? NULL :
			  execution->request);
	jw_end_object(buf);
}

/* Writes the member "operations". */
void
render_history(StrBuf *buf, const History *history)
{
	jw_array(buf, "operations");
	for (size_t i = 0; i < history->count; i++)
		put_execution(buf, &history->items[i]);
	jw_end_array(buf);
}
