/*
 * src/webhook/backfill.c
 *		Reading a PSP's own list of events, for those whose webhook got lost.
 *
 * A scan goes page by page from the newest event back to the time until which
 * all are known; only when it is through does that time move.  Events that are
 * known already are known by their id.  A page is a call like any other, but
 * belongs to no request.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "psp/psp.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "webhook/webhook_internal.h"

/* events may show up in the list a little late */
#define OVERLAP_MS		(5 * 60 * 1000)

/* a page that was asked for and never stored is asked for again */
#define PAGE_LEASE_MS	(5 * 60 * 1000)

/* pause after a page that could not be read, unless scans follow each other sooner */
#define AFTER_FAULT_MS	(30 * 1000)

/* pause before a gateway is looked at again that cannot be asked for now, or an operator may want read */
#define LOOK_AGAIN_MS	5000

/* how long a page waits for sessions that store one of its events right now */
#define LOCK_WAIT_MS	"50"

/* a scan that takes longer, or finds no end of one second, is given up: the list goes on for ever */
#define LONGEST_SCAN_MS	(24 * 3600 * 1000)
#define MAX_SECOND_PAGES 1000

/* PSPs keep events for 30 days; an hour less */
#define OLDEST_MS		(INT64CONST(30) * 24 * 3600 * 1000 - 3600 * 1000)

struct PlBackfill
{
	TimestampTz since;			/* of which events are asked for */
	char	   *before;			/* the last event of the page before; NULL: none */
	List	   *events;			/* PlWebhookEvent */
	bool		more;
	const char *problem;		/* NULL: the page was read */
	bool		endless;		/* the problem: the scan has no end */
	TimestampTz started_at;		/* of the scan */
};

/* when to look into the table again */
static TimestampTz next_look = 0;

static PlQuery add_missing = {
	"INSERT INTO payledger.webhook_backfills (gateway, complete_until, next_at, updated_at)"
	" SELECT g.gateway, greatest(g.created_at, $2), $3, $3 FROM payledger.gateways g WHERE g.gateway = ANY($1)"
	" ON CONFLICT (gateway) DO NOTHING", 3, {TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery take_due = {
	"UPDATE payledger.webhook_backfills SET scan_started_at = coalesce(scan_started_at, $2), next_at = $3"
	" WHERE gateway = ANY($1) AND next_at <= $2 RETURNING gateway, complete_until, page_before, scan_started_at",
	3, {TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery find_next = {
	"SELECT min(next_at), bool_or(true) FILTER (WHERE next_at >= " PL_BACKFILL_NEVER ")"
	" FROM payledger.webhook_backfills WHERE gateway = ANY($1)", 1, {TEXTARRAYOID}
};

static PlQuery store_page = {
	"UPDATE payledger.webhook_backfills SET page_before = $2, next_at = $3, problem = NULL, worker_deaths = 0, updated_at = $4,"
	"  complete_until = CASE WHEN $2 IS NULL THEN coalesce(scan_started_at, complete_until) ELSE complete_until END,"
	"  scan_started_at = CASE WHEN $2 IS NULL THEN NULL ELSE scan_started_at END"
	" WHERE gateway = $1", 4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery store_fault = {
	"UPDATE payledger.webhook_backfills SET next_at = $2, problem = $3, updated_at = $4 WHERE gateway = $1",
	4, {TEXTOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID}
};

/* The next scan begins with the newest page, and goes as far back. */
static PlQuery give_up_scan = {
	"UPDATE payledger.webhook_backfills SET next_at = $2, problem = $3, updated_at = $4, page_before = NULL,"
	"  scan_started_at = NULL WHERE gateway = $1",
	4, {TEXTOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID}
};

static bool
is_backfilled(PlGateway *gateway)
{
	return pl_gateway_problem(gateway) == NULL && gateway->adapter->list_events != NULL &&
		pl_option_int(gateway, "backfill_seconds") > 0;
}

/* Do the limits of the gateway leave room for a page? */
static bool
has_room(PlGateway *gateway)
{
	int64		when;

	return pl_limits_of_gateway(gateway, &when) > 0 &&
		pl_limits_of_endpoint(gateway, PL_OP_RETRIEVE, 1, &when) > 0;
}

static PlGateway *
find_gateway(const char *name)
{
	ListCell   *cell;

	foreach(cell, pl_gateways())
		if (strcmp(((PlGateway *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	elog(ERROR, "gateway %s is not loaded", name);
}

/*
 * Build the request for a page.  Outside of transactions: an error in the
 * adapter keeps this page from being asked for, and nothing else.
 */
static void
build_page(PlCall *call)
{
	call->gateway->adapter->list_events(call->gateway, call->backfill->since, call->backfill->before, &call->http);
}

/* The call for the next page; row is one of take_due. */
static PlCall *
new_call(int row)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "payledger backfill", ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	PlCall	   *call = palloc0(sizeof(PlCall));
	bool		isnull;
	PlBackfill *backfill = palloc0(sizeof(PlBackfill));

	call->context = context;
	call->gateway = find_gateway(pl_get_text(row, 1));
	call->gateway->in_flight++;
	call->backfill = backfill;
	call->build = build_page;
	backfill->problem = "the page could not be asked for";
	backfill->since = TimestampTzPlusMilliseconds(DatumGetTimestampTz(pl_get_datum(row, 2, &isnull)), -OVERLAP_MS);
	backfill->before = pl_get_text(row, 3);
	backfill->started_at = DatumGetTimestampTz(pl_get_datum(row, 4, &isnull));
	call->request.gateway = call->gateway->name;
	call->request.operation = PL_OP_RETRIEVE;
	pl_limits_leased(call);
	MemoryContextSwitchTo(oldcontext);
	return call;
}

/*
 * The pages that are due become calls, added to leased.  *next_due becomes the
 * earlier of itself (0: never) and when a page is due again.  Needs a
 * transaction and an open SPI connection.
 */
void
pl_backfills_lease(dlist_head *leased, TimestampTz *next_due)
{
	TimestampTz now = pl_transaction_now();
	Datum	   *names = palloc(sizeof(Datum) * (list_length(pl_gateways()) + 1));
	int			n = 0;
	bool		some_wait = false;
	PlArgs		missing = {0};
	PlArgs		due = {0};
	PlArgs		next = {0};
	ListCell   *cell;
	bool		isnull;
	uint64		npages;
	Datum		at;

	foreach(cell, pl_gateways())
	{
		if (!is_backfilled(lfirst(cell)))
			continue;
		if (has_room(lfirst(cell)))
			names[n++] = CStringGetTextDatum(((PlGateway *) lfirst(cell))->name);
		else
			some_wait = true;
	}
	if (n == 0)
		return;
	if (now >= next_look)
	{
		pl_arg_array(&missing, names, NULL, n, TEXTOID);
		pl_arg_timestamp(&missing, TimestampTzPlusMilliseconds(now, -OLDEST_MS));
		pl_arg_timestamp(&missing, now);
		pl_execute(&add_missing, &missing);

		pl_arg_array(&due, names, NULL, n, TEXTOID);
		pl_arg_timestamp(&due, now);
		pl_arg_timestamp(&due, TimestampTzPlusMilliseconds(now, PAGE_LEASE_MS));
		npages = pl_execute(&take_due, &due);
		for (uint64 row = 0; row < npages; row++)
			dlist_push_tail(leased, &new_call(row)->node);

		pl_arg_array(&next, names, NULL, n, TEXTOID);
		pl_execute(&find_next, &next);
		at = pl_get_datum(0, 1, &isnull);
		next_look = isnull ? now : DatumGetTimestampTz(at);
		if (some_wait || !pl_isnull(0, 2))
			next_look = Min(next_look, TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS));
	}
	if (*next_due == 0 || next_look < *next_due)
		*next_due = next_look;
}

/* The oldest event of the page that the next one can end before; NULL: none. */
static const PlWebhookEvent *
last_named(const PlBackfill *backfill)
{
	for (int i = list_length(backfill->events) - 1; i >= 0; i--)
	{
		const PlWebhookEvent *event = list_nth(backfill->events, i);

		if (event->is_named)
			return event;
	}
	return NULL;
}

/*
 * The list goes back in time, page by page, to what was asked for.  Whether
 * there is more the PSP says; that it comes to an end we see to ourselves.
 */
static void
check_progress(PlGateway *gateway, PlBackfill *backfill)
{
	const PlWebhookEvent *last = last_named(backfill);
	TimestampTz until = backfill->before != NULL ? gateway->backfilled_to : 0;

	if (!backfill->more || backfill->events == NIL)
		return;
	if (last != NULL && last->occurred_at < backfill->since)
	{
		/* the PSP does not keep to what was asked for */
		backfill->more = false;
		return;
	}
	if (last == NULL)
		backfill->problem = "no event of the page names itself, so there is no next page";
	else if (pl_is_text(backfill->before, last->event_id))
		backfill->problem = "the page ends with the event that it was to end before";
	else if (until != 0 && last->occurred_at > until)
		backfill->problem = "the page is newer than the one before it";
	else if (pl_now() > TimestampTzPlusMilliseconds(backfill->started_at, LONGEST_SCAN_MS))
		backfill->problem = "the list of events does not end within a day";
	else
	{
		gateway->backfilled_pages = last->occurred_at == until ? gateway->backfilled_pages + 1 : 0;
		gateway->backfilled_to = last->occurred_at;
		if (gateway->backfilled_pages > MAX_SECOND_PAGES)
			backfill->problem = "the list of events does not end within a second";
	}
	backfill->endless = backfill->problem != NULL;
}

/* Read the events of a page; raises what the adapter does. */
static void
read_page(PlCall *call, const PlHttpReply *reply)
{
	PlBackfill *backfill = call->backfill;
	List	   *texts = call->gateway->adapter->read_events(reply, &backfill->more);
	ListCell   *cell;

	foreach(cell, texts)
	{
		CHECK_FOR_INTERRUPTS();
		backfill->events = lappend(backfill->events, pl_webhook_event(call->gateway->adapter, lfirst(cell)));
	}
	check_progress(call->gateway, backfill);
}

/*
 * Look at the reply to a page's call.  Outside of transactions; an error in
 * the adapter is the page's problem.
 */
void
pl_backfill_take(PlCall *call, const PlHttpReply *reply)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(call->context);
	PlBackfill *backfill = call->backfill;

	backfill->problem = NULL;
	PG_TRY();
	{
		if (!reply->received)
			backfill->problem = pl_redact(reply->fault_detail);
		else if (reply->status != 200)
			backfill->problem = psprintf("the PSP answered with status %d", reply->status);
		else
			read_page(call, reply);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(call->context);
		error = CopyErrorData();
		FlushErrorState();
		backfill->events = NIL;
		backfill->problem = pl_redact(error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Store the events of a page, unless a session that stores one of them does not
 * end: nobody's open transaction stops the worker.  That is the page's problem
 * then.
 */
static void
store_events(PlCall *call)
{
	PlBackfill *backfill = call->backfill;
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		int			nest_level = NewGUCNestLevel();

		(void) set_config_option("lock_timeout", LOCK_WAIT_MS, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		pl_webhooks_store(call->gateway->name, backfill->events, true);
		AtEOXact_GUC(true, nest_level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(call->context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
		backfill->problem = "a session is storing one of its events";
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
	CurrentResourceOwner = owner;
}

/*
 * Store the events of a page, and when the next one is due.  Needs a
 * transaction and an open SPI connection.
 */
void
pl_backfill_store(PlCall *call)
{
	const PlBackfill *backfill = call->backfill;
	const PlWebhookEvent *last = last_named(backfill);
	TimestampTz now = pl_transaction_now();
	int64		pause = (int64) pl_option_int(call->gateway, "backfill_seconds") * 1000;
	PlArgs		args = {0};

	next_look = 0;
	if (backfill->events != NIL)
		store_events(call);
	pl_arg_text(&args, call->gateway->name);
	if (backfill->problem != NULL)
	{
		pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, Min(pause, AFTER_FAULT_MS)));
		pl_arg_text(&args, backfill->problem);
		pl_arg_timestamp(&args, now);
		pl_execute(backfill->endless ? &give_up_scan : &store_fault, &args);
		return;
	}
	if (backfill->more && last != NULL)
	{
		pl_arg_text(&args, last->event_id);
		pl_arg_timestamp(&args, now);
	}
	else
	{
		pl_arg_null(&args);
		pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, pause));
	}
	pl_arg_timestamp(&args, now);
	pl_execute(&store_page, &args);
}
