/*
 * src/webhook/webhooks.c
 *		Receiving webhooks: who sent it, and each event stored once.
 *
 * Runs in the backend of whoever serves the PSP's HTTP requests.  What an
 * event means is the gateway worker's business: the caller answers the PSP as
 * soon as its transaction is committed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "webhook/webhook_internal.h"

#define MAX_WEBHOOK_BYTES	(1024 * 1024)
#define MAX_EVENT_ID		255
#define MAX_EVENT_TYPE		100

static PlQuery select_adapter = {
	"SELECT adapter FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

static PlQuery insert_events = {
	"INSERT INTO payledger.webhooks"
	" (gateway, event_id, webhook_id, event_type, occurred_at, body, backfilled, status, next_attempt_at,"
	"  problem, created_at, updated_at)"
	" SELECT $1, e, w, t, o, b, $7,"
	"  CASE WHEN p IS NULL THEN 'RECEIVED' ELSE 'PARKED' END::payledger.webhook_status, CASE WHEN p IS NULL THEN $8 END,"
	"  p, $8, $8"
	" FROM (SELECT pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
	"  pg_catalog.unnest($6), pg_catalog.unnest($9)) AS u(e, w, t, o, b, p)"
	" ON CONFLICT (gateway, event_id) DO NOTHING"
	" RETURNING webhook_id",
	9, {TEXTOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, BOOLOID,
	TIMESTAMPTZOID, TEXTARRAYOID}
};

static PlQuery select_events = {
	"SELECT w.webhook_id, w.event_id, w.event_type, w.webhook_id = ANY($3)"
	" FROM payledger.webhooks w WHERE w.gateway = $1 AND w.event_id = ANY($2) ORDER BY w.webhook_id",
	3, {TEXTOID, TEXTARRAYOID, INT8ARRAYOID}
};

PG_FUNCTION_INFO_V1(pl_sql_receive_webhook);
PG_FUNCTION_INFO_V1(pl_sql_receive_webhook_bytes);

/* The adapter of a gateway that may get webhooks. */
static const PlAdapter *
find_receiver(const char *gateway)
{
	const PlAdapter *adapter;
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	if (pl_execute(&select_adapter, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("gateway \"%s\" does not exist", gateway),
				 errhint("payledger.add_gateway() adds one.")));
	adapter = pl_find_adapter(pl_get_text(0, 1));
	if (adapter == NULL || adapter->verify_webhook == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("gateway \"%s\" gets no webhooks", gateway)));
	return adapter;
}

/* Raise PL012 unless one of the gateway's keys signed the webhook, of late. */
static void
check_authentic(const char *gateway, const PlAdapter *adapter, const PlWebhook *webhook)
{
	int			nkeys;
	PlWebhookKey *keys = pl_webhook_keys(gateway, &nkeys);
	const char *volatile problem = NULL;

	if (nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key for the webhooks of gateway \"%s\" is known", gateway),
				 errhint("Put webhook_secret into section [%s] of the file that payledger.gateway_secrets_file names; the gateway worker reads it.",
						 pl_secrets_section(NULL, gateway))));
	PG_TRY();
	{
		problem = adapter->verify_webhook(webhook, keys, nkeys, pl_now());
		/* while the clocks disagree, the PSP's time may be either */
		if (problem != NULL && pl_clock_step() != 0)
			problem = adapter->verify_webhook(webhook, keys, nkeys, GetCurrentTimestamp());
	}
	PG_FINALLY();
	{
		pl_webhook_keys_wipe(keys);
	}
	PG_END_TRY();
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PL_WEBHOOK_REFUSED),
				 errmsg("webhook of gateway \"%s\" refused", gateway),
				 errdetail("%s", problem)));
}

/* What names an event goes into a key and into views. */
static void
check_names(const PlWebhookEvent *event)
{
	pl_check_text("event id of a webhook", event->event_id, MAX_EVENT_ID);
	pl_check_text("event type of a webhook", event->event_type, MAX_EVENT_TYPE);
	/* two that differ only there would be taken for one */
	if (strstr(event->event_id, "\xef\xbf\xbd") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event id of a webhook holds what is no character")));
}

/* The event does not name itself: what is the same text is the same event. */
static void
name_by_digest(PlWebhookEvent *event, const char *text)
{
	uint8		digest[PL_SHA256_LENGTH];
	char		hex[2 * PL_SHA256_LENGTH + 1] = "";

	pl_sha256(text, strlen(text), digest);
	hex_encode((const char *) digest, PL_SHA256_LENGTH, hex);
	event->event_id = psprintf(PL_UNREADABLE_EVENT ":%s", hex);
	event->event_type = PL_UNREADABLE_EVENT;
	event->occurred_at = 0;
}

/*
 * The body without card data, which may be written with escapes.  Those are undone
 * only where it is found, so that others stay as they were sent.
 */
static char *
mask_card_data(char *body)
{
	char	   *plain = pstrdup(body);
	char	   *masked;

	pl_undo_escapes(plain);
	masked = pstrdup(plain);
	pl_mask_card_data_in_json(masked);
	return strcmp(masked, plain) == 0 ? body : masked;
}

/*
 * The event of a text that an authentic webhook, or the PSP's list of events,
 * holds, palloc'd.  One that cannot be read is stored all the same, with its
 * problem: what nobody keeps nobody can look at.
 */
PlWebhookEvent *
pl_webhook_event(const PlAdapter *adapter, const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	PlWebhookEvent *event = palloc0(sizeof(PlWebhookEvent));
	char	   *body;

	PG_TRY();
	{
		adapter->name_event(text, event);
		check_names(event);
		event->is_named = true;
		(void) adapter->read_event(event);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		/* adapters hold no lock and no resource, so there is nothing to roll back */
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_PL_CARD_DATA))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		event->problem = pl_redact(error->message);
	}
	PG_END_TRY();

	if (!event->is_named)
		name_by_digest(event, text);
	body = pstrdup(event->body ? event->body : text);
	if (adapter->hidden_member != NULL)
		pl_hide_members(body, adapter->hidden_member);
	event->body = mask_card_data(body);
	return event;
}

/* An array of the events' ids. */
static void
arg_event_ids(PlArgs *args, List *events)
{
	Datum	   *ids = palloc(sizeof(Datum) * list_length(events));
	ListCell   *cell;

	foreach(cell, events)
		ids[foreach_current_index(cell)] = CStringGetTextDatum(((PlWebhookEvent *) lfirst(cell))->event_id);
	pl_arg_array(args, ids, NULL, list_length(events), TEXTOID);
}

/*
 * Store the events that are not known yet, and wake the gateway worker at
 * commit.  The webhook_ids of the new ones are the last result.  Needs an open
 * SPI connection.
 */
void
pl_webhooks_store(const char *gateway, List *events, bool backfilled)
{
	int			n = list_length(events);
	Datum	   *ids = palloc(sizeof(Datum) * n);
	Datum	   *types = palloc(sizeof(Datum) * n);
	Datum	   *times = palloc(sizeof(Datum) * n);
	bool	   *time_nulls = palloc(sizeof(bool) * n);
	Datum	   *bodies = palloc(sizeof(Datum) * n);
	Datum	   *problems = palloc0(sizeof(Datum) * n);
	bool	   *problem_nulls = palloc(sizeof(bool) * n);
	PlArgs		args = {0};
	ListCell   *cell;

	foreach(cell, events)
	{
		const PlWebhookEvent *event = lfirst(cell);
		int			i = foreach_current_index(cell);

		CHECK_FOR_INTERRUPTS();
		ids[i] = Int64GetDatum(pl_next_id());
		types[i] = CStringGetTextDatum(event->event_type);
		times[i] = TimestampTzGetDatum(event->occurred_at);
		time_nulls[i] = event->occurred_at == 0;
		bodies[i] = CStringGetTextDatum(event->body);
		problem_nulls[i] = event->problem == NULL;
		if (event->problem != NULL)
			problems[i] = CStringGetTextDatum(event->problem);
	}
	pl_arg_text(&args, gateway);
	arg_event_ids(&args, events);
	pl_arg_array(&args, ids, NULL, n, INT8OID);
	pl_arg_array(&args, types, NULL, n, TEXTOID);
	pl_arg_array(&args, times, time_nulls, n, TIMESTAMPTZOID);
	pl_arg_array(&args, bodies, NULL, n, TEXTOID);
	pl_arg_bool(&args, backfilled);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_array(&args, problems, problem_nulls, n, TEXTOID);
	pl_history_begin("webhook");
	pl_execute(&insert_events, &args);
	pl_history_end();
	pl_wake_at_commit(PL_ROLE_GATEWAY);
}

/* The rows of the events, those stored by the last statement as new. */
static void
select_stored(const char *gateway, List *events)
{
	int			nstored = (int) SPI_processed;
	int64	   *stored = palloc(sizeof(int64) * Max(nstored, 1));
	PlArgs		args = {0};

	for (int i = 0; i < nstored; i++)
		stored[i] = pl_get_int64(i, 1);
	pl_arg_text(&args, gateway);
	arg_event_ids(&args, events);
	pl_arg_ids(&args, stored, nstored);
	pl_execute_latest(&select_events, &args);
}

static Jsonb *
headers_arg(FunctionCallInfo fcinfo, int argno)
{
	Jsonb	   *headers;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("headers must not be null")));
	headers = PG_GETARG_JSONB_P(argno);
	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be a JSON object of header names and values")));
	return headers;
}

/* Check, store and return the events of a webhook with this body. */
static void
receive(FunctionCallInfo fcinfo, const char *body, size_t length)
{
	char	   *gateway = pl_text_arg(fcinfo, 0, "gateway");
	PlWebhook	webhook = {.body = body, .length = length};
	const PlAdapter *adapter;
	List	   *texts;
	List	   *events = NIL;
	ListCell   *cell;

	pl_connect();
	pl_require_layout();
	webhook.headers = headers_arg(fcinfo, 1);
	if (webhook.length > MAX_WEBHOOK_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("body of a webhook of gateway \"%s\" is larger than %d bytes", gateway, MAX_WEBHOOK_BYTES)));
	adapter = find_receiver(gateway);
	check_authentic(gateway, adapter, &webhook);
	texts = adapter->split_webhook(webhook.body, webhook.length);
	foreach(cell, texts)
	{
		CHECK_FOR_INTERRUPTS();
		events = lappend(events, pl_webhook_event(adapter, lfirst(cell)));
	}
	if (events != NIL)
	{
		pl_webhooks_store(gateway, events, false);
		select_stored(gateway, events);
		pl_return_rows(fcinfo);
	}
	pl_finish();
}

/*
 * receive_webhook(gateway text, headers jsonb, body text)
 *		RETURNS TABLE (webhook_id, event_id, event_type, is_new)
 */
Datum
pl_sql_receive_webhook(PG_FUNCTION_ARGS)
{
	char	   *body = pl_text_arg(fcinfo, 2, "body");

	receive(fcinfo, body, strlen(body));
	return (Datum) 0;
}

/*
 * receive_webhook_bytes(gateway text, headers jsonb, body bytea)
 *		RETURNS TABLE (webhook_id, event_id, event_type, is_new)
 */
Datum
pl_sql_receive_webhook_bytes(PG_FUNCTION_ARGS)
{
	bytea	   *bytes;
	size_t		length;
	char	   *body;

	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("body must not be null")));
	bytes = PG_GETARG_BYTEA_PP(2);
	length = VARSIZE_ANY_EXHDR(bytes);
	body = palloc(length + 1);
	memcpy(body, VARDATA_ANY(bytes), length);
	body[length] = '\0';
	receive(fcinfo, body, length);
	return (Datum) 0;
}
