/*
 * src/process/gateway.c
 *		The gateway worker: leases requests, sends them to the PSPs, and stores
 *		what came of them.
 *
 * One turn is one transaction: it stores the outcomes that have come in and
 * leases the requests that are due, among them those the outcomes caused.
 * What is leased is sent after the commit.  While requests are with a PSP
 * there is no transaction; the process waits for its latch, the sockets of
 * libcurl and the next timer at one place.
 *
 * Calls live in contexts of their own and in the lists below, so that an
 * error in a turn loses none of them.
 */
#include "postgres.h"

#include "command/command.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "process/process_internal.h"
#include "psp/psp.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "webhook/webhook.h"
#include "worker/worker.h"

#define STORE_AT_ONCE	256		/* outcomes in one transaction */
#define LOOK_ANYWAY_MS	30000	/* no work hangs on a wakeup alone */
#define LOCKED_ROWS_MS	50		/* requests that a session works on are due */
#define LONGEST_PAUSE_MS 30000
#define REPORT_AGAIN_MS	600000	/* trouble that lasts */

PL_DEFINE_WAIT_EVENT(wait_event_gateway, "PayledgerGateway")

/* calls of embedded adapters whose outcome is not known yet */
static pairingheap *timers = NULL;

/* calls with an outcome that is not stored yet */
static dlist_head finished = DLIST_STATIC_INIT(finished);

static WaitEventSet *wait_set = NULL;
static MemoryContext turn_context = NULL;
static bool attached = false;	/* the one gateway worker of this database */
static int64 next_look = 0;		/* pl_monotonic_ms() when to lease again */
static int	failed_turns = 0;	/* in a row, for no reason of one call */
static int	known_reloads = -1;
static bool gateways_in_trouble = false;
static bool error_shown = false;
static uint32 confirmations = 0;	/* of the clock, that are dealt with */

/* First the one that is ready first: the heap gives the largest. */
static int
compare_timers(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	int64		left = pairingheap_const_container(PlCall, timer, a)->ready_at;
	int64		right = pairingheap_const_container(PlCall, timer, b)->ready_at;

	return left < right ? 1 : left > right ? -1 : 0;
}

/* libcurl is about to work on the socket of this call; NULL: of none. */
static void
libcurl_touches(void *owner)
{
	if (owner != NULL)
		pl_in_hand_call(owner);
	else
		pl_in_hand_nothing();
}

/* Once in the life of the process. */
static void
prepare(void)
{
	pl_http_init();
	if (wait_set != NULL)
		return;
	pl_http_tell(libcurl_touches);
	turn_context = AllocSetContextCreate(TopMemoryContext, "payledger gateway turn",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(TopMemoryContext);
	timers = pairingheap_allocate(compare_timers, NULL);
	MemoryContextSwitchTo(pl_worker_context);
	wait_set = pl_worker_wait_set(pl_http_epoll_fd());

	/*
	 * All statements go by key, with arrays of keys: planning them again for
	 * each batch finds nothing better.  A plan made while a table is new and
	 * empty is kept and must not be a scan of what it becomes.
	 */
	SetConfigOption("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_seqscan", "off", PGC_USERSET, PGC_S_OVERRIDE);
}

/* 1 s, doubling */
static int64
pause_after(int failures)
{
	return Min((int64) 1000 << Min(failures, 10), LONGEST_PAUSE_MS);
}

static void
report(List *troubles)
{
	ListCell   *cell;

	foreach(cell, troubles)
	{
		const PlTrouble *trouble = lfirst(cell);

		pl_worker_report(trouble->message, trouble->detail, trouble->hint);
	}
}

/* Does it name other trouble than *known?  Then that becomes *known. */
static bool
is_news(List *troubles, char **known)
{
	StringInfoData all;
	ListCell   *cell;
	bool		news;

	initStringInfo(&all);
	foreach(cell, troubles)
		appendStringInfo(&all, "%s\n", ((const PlTrouble *) lfirst(cell))->message);
	news = *known == NULL ? all.len > 0 : strcmp(*known, all.data) != 0;
	if (news)
	{
		if (*known != NULL)
			pfree(*known);
		*known = MemoryContextStrdup(TopMemoryContext, all.data);
	}
	return news;
}

/*
 * Say in stat_worker, and once and then rarely in the log, what somebody has to
 * be woken for.  With a turn, the tables are looked at as well, every so often.
 */
static void
report_trouble(bool in_turn)
{
	static char *known_of_gateways = NULL;
	static char *known_of_requests = NULL;
	static bool requests_in_trouble = false;
	static int64 report_again = 0;
	MemoryContext oldcontext = MemoryContextSwitchTo(turn_context);
	List	   *of_gateways = pl_troubles_of_gateways();
	bool		were_in_trouble = gateways_in_trouble;
	bool		again = pl_monotonic_ms() >= report_again;
	bool		looked = false;

	if (is_news(of_gateways, &known_of_gateways) || (again && of_gateways != NIL))
		report(of_gateways);
	if (in_turn)
	{
		List	   *of_requests;

		MemoryContextSwitchTo(oldcontext);
		of_requests = pl_troubles_of_requests(&looked);
		MemoryContextSwitchTo(turn_context);
		if (looked)
		{
			requests_in_trouble = of_requests != NIL;
			if (is_news(of_requests, &known_of_requests) || (again && of_requests != NIL))
				report(of_requests);
		}
	}
	if (looked && again)
		report_again = pl_monotonic_ms() + REPORT_AGAIN_MS;
	gateways_in_trouble = of_gateways != NIL || requests_in_trouble;
	if (gateways_in_trouble)
		error_shown = true;
	else if (were_in_trouble)
	{
		pl_worker_clear_error();
		error_shown = false;
	}
	MemoryContextSwitchTo(oldcontext);
}

/* After SIGHUP: the secrets may have changed, or what file holds them. */
static void
reload(void)
{
	PlSecretsLoaded loaded;
	char	   *refused = NULL;

	if (known_reloads == pl_worker_reloads)
		return;
	known_reloads = pl_worker_reloads;
	loaded = pl_secrets_load(MyBgworkerEntry->bgw_extra);
	if (loaded != PL_SECRETS_KEPT)
		refused = pl_webhook_keys_publish(loaded == PL_SECRETS_READ);
	if (pl_secrets_problem() != NULL)
		pl_worker_insist(pl_secrets_problem());
	report_trouble(false);
	if (refused != NULL)
		pl_worker_set_error(psprintf("a webhook_secret of gateway \"%s\" is too long, or there are too many", refused));
	next_look = 0;
}

/* ---- calls under way ---- */

static void
finish_call(PlCall *call)
{
	dlist_push_tail(&finished, &call->node);
}

/* Send a request; what keeps it from being sent is its outcome. */
static void
send_request(PlCall *call)
{
	pl_in_hand_call(call);
	PG_TRY();
	{
		pl_call_send(call);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(call->context);
		error = CopyErrorData();
		FlushErrorState();
		pl_call_set_outcome(call, PL_OUTCOME_RETRY, "not_sent", error->message);
		call->unreached = true;
		finish_call(call);
	}
	PG_END_TRY();
	pl_in_hand_nothing();
	MemoryContextSwitchTo(pl_worker_context);
}

static void
start_calls(dlist_head *leased)
{
	while (!dlist_is_empty(leased))
	{
		PlCall	   *call = dlist_container(PlCall, node, dlist_pop_head_node(leased));

		if (call->gateway->adapter->perform == NULL)
		{
			send_request(call);
			continue;
		}
		pl_in_hand_call(call);
		pl_call_perform(call);
		pl_in_hand_nothing();
		if (call->ready_at <= pl_monotonic_ms())
			finish_call(call);
		else
			pairingheap_add(timers, &call->timer);
	}
}

/* The call whose timer ends first, or NULL. */
static PlCall *
first_timer(void)
{
	return pairingheap_is_empty(timers) ? NULL
		: pairingheap_container(PlCall, timer, pairingheap_first(timers));
}

/* Take in every outcome that is known by now. */
static void
collect_outcomes(void)
{
	PlHttpReply reply;
	PlCall	   *call;
	int64		now;

	pl_http_drive();
	while ((call = pl_http_next(&reply)) != NULL)
	{
		pl_limits_answered(call, &reply);
		pl_in_hand_call(call);
		if (call->backfill != NULL)
			pl_backfill_take(call, &reply);
		else
			pl_call_interpret(call, &reply);
		pl_in_hand_nothing();
		finish_call(call);
	}
	now = pl_monotonic_ms();
	while ((call = first_timer()) != NULL && call->ready_at <= now)
	{
		pairingheap_remove_first(timers);
		finish_call(call);
	}
}

/* ---- storing ---- */

/* Calls whose outcome may be stored now, oldest first: of suspects, or of all others. */
static List *
storable_calls(bool suspect)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(turn_context);
	int64		now = pl_monotonic_ms();
	List	   *calls = NIL;
	dlist_iter	iter;

	dlist_foreach(iter, &finished)
	{
		PlCall	   *call = dlist_container(PlCall, node, iter.cur);

		if (call->suspect != suspect || call->store_after > now)
			continue;
		calls = lappend(calls, call);
		if (list_length(calls) == STORE_AT_ONCE)
			break;
	}
	MemoryContextSwitchTo(oldcontext);
	return calls;
}

static void
put_off(PlCall *call, int64 pause_ms)
{
	call->store_failures++;
	call->store_after = pl_monotonic_ms() + pause_ms;
}

/* The call's outcome is committed. */
static void
call_is_done(PlCall *call)
{
	int64		payment_id = call->request.payment_id;

	dlist_delete(&call->node);
	pl_queue_drop(call);
	pl_announce(payment_id);
}

/*
 * After a commit: the calls are done, but for those whose payment a session
 * holds, which come soon again.
 */
static void
calls_are_stored(List *calls, List *held)
{
	ListCell   *cell;
	int			done = 0;

	foreach(cell, calls)
	{
		PlCall	   *call = lfirst(cell);

		if (list_member_ptr(held, call))
			put_off(call, Min(10 << Min(call->store_failures, 7), 1000));
		else
		{
			call_is_done(call);
			done++;
		}
	}
	if (done == 0)
		return;
	pl_announce(PL_TOPIC_PROGRESS);
	pl_worker_count(done);
	if (error_shown && !gateways_in_trouble)
	{
		pl_worker_clear_error();
		error_shown = false;
	}
}

/* After a commit: whoever waits for one of the payments may look again. */
static void
webhooks_are_applied(List *changed)
{
	ListCell   *cell;

	foreach(cell, changed)
		pl_announce(*(int64 *) lfirst(cell));
	if (changed != NIL)
		pl_announce(PL_TOPIC_PROGRESS);
}

/* Errors that may be gone at the next attempt. */
static bool
is_passing(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR) ||
		sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
		sqlstate == ERRCODE_READ_ONLY_SQL_TRANSACTION;
}

/* Set the request of a call that cannot be applied aside, in its own turn. */
static void
park(PlCall *call, const char *message)
{
	volatile bool parked = false;

	PG_TRY();
	{
		if (pl_worker_begin())
		{
			pl_queue_park(call, "not_applied", message);
			pl_worker_commit();
			parked = true;
		}
	}
	PG_CATCH();
	{
		pl_worker_recover();
	}
	PG_END_TRY();

	if (!parked)
	{
		put_off(call, pause_after(call->store_failures));
		return;
	}
	call_is_done(call);
	pl_announce(PL_TOPIC_PROGRESS);
}

/*
 * Within a turn: store the outcomes of requests and the pages of events.
 * Returns the calls that a session holds.
 */
static List *
store_calls(List *calls)
{
	List	   *requests = NIL;
	ListCell   *cell;

	foreach(cell, calls)
	{
		PlCall	   *call = lfirst(cell);

		if (call->backfill == NULL)
		{
			requests = lappend(requests, call);
			continue;
		}
		/* an error leaves it in hand until store_alone() has it */
		pl_in_hand_call(call);
		pl_backfill_store(call);
		pl_in_hand_nothing();
	}
	return pl_queue_finish(requests);
}

/*
 * Store one outcome in a turn of its own, after its batch failed, or because
 * it is suspect.  The one that spoilt the batch ends here: parked with its
 * error, or, where that may pass, tried again later.
 */
static void
store_alone(PlCall *call)
{
	volatile bool stored = false;
	volatile bool held = false;
	ErrorData  *volatile error = NULL;

	pl_in_hand_call(call);
	PG_TRY();
	{
		if (pl_worker_begin())
		{
			held = store_calls(list_make1(call)) != NIL;
			pl_worker_commit();
			stored = true;
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(turn_context);
		error = CopyErrorData();
		pl_worker_recover();
		error_shown = true;
	}
	PG_END_TRY();
	pl_in_hand_nothing();

	if (stored)
	{
		MemoryContextSwitchTo(turn_context);
		calls_are_stored(list_make1(call), held ? list_make1(call) : NIL);
		MemoryContextSwitchTo(pl_worker_context);
	}
	else if (call->lost)
		call_is_done(call);
	else if (error != NULL && call->backfill == NULL && !is_passing(error->sqlerrcode))
		park(call, error->message);
	else
		put_off(call, pause_after(call->store_failures));
}

/*
 * Store the outcomes of requests of which a worker may have died, each in a
 * turn of its own: in a batch nobody would know which of them it was.
 */
static void
store_suspects(void)
{
	ListCell   *cell;

	foreach(cell, storable_calls(true))
	{
		pl_worker_interrupts();
		store_alone(lfirst(cell));
		/* the next trial may begin, or what this one caused */
		next_look = 0;
	}
}

/* ---- turns ---- */

/*
 * The first turn: take the place of the former worker.  Returns false if it
 * still runs.  A turn of its own, so that what the former one may have died of
 * is on disk before anything is touched again.
 */
static bool
attach(void)
{
	if (!pl_queue_attach())
	{
		pl_worker_state("waiting for another gateway worker to end");
		return false;
	}
	pl_queue_take_over();
	return true;
}

/*
 * When to look next if nothing happens before.  What is due and was left is
 * locked by a session, unless this turn's share of the limits was used up.
 */
static void
schedule_look(TimestampTz next_due, bool leased_some)
{
	long		ms = LOOK_ANYWAY_MS;

	if (next_due != 0)
	{
		ms = Min(ms, TimestampDifferenceMilliseconds(pl_now(), next_due));
		ms = Max(ms, pl_now() >= next_due && !leased_some ? LOCKED_ROWS_MS : 1);
	}
	next_look = pl_monotonic_ms() + ms;
}

/* Requests that are under way or not stored yet. */
static int
calls_in_flight(void)
{
	int			n = 0;
	ListCell   *cell;

	foreach(cell, pl_gateways())
		n += ((PlGateway *) lfirst(cell))->in_flight;
	return n;
}

/*
 * The work of a turn while suspects are tried: one, when nothing is under way.
 */
static void
try_suspect(dlist_head *leased, TimestampTz *next_due)
{
	int64		payment_id;
	int64		psp_request_id;

	if (calls_in_flight() > 0)
		return;
	/* one that a session holds is looked for again soon */
	if (pl_suspects_next(&payment_id, &psp_request_id) &&
		!pl_queue_lease_alone(payment_id, psp_request_id, leased))
		*next_due = pl_transaction_now();
}

/*
 * The work of a turn within its transaction.  Returns the calls whose outcome
 * a session keeps from being stored, and in *changed the payments that webhooks
 * changed, in turn_context.
 */
static List *
work(List *calls, dlist_head *leased, List *volatile *changed, TimestampTz *next_due)
{
	List	   *held = NIL;
	TimestampTz webhooks_due;

	(void) pl_gateways_load();
	if (confirmations != pl_clock_confirmations())
	{
		pl_queue_clock_confirmed();
		confirmations = pl_clock_confirmations();
	}
	if (calls != NIL)
	{
		List	   *found = store_calls(calls);
		MemoryContext oldcontext = MemoryContextSwitchTo(turn_context);

		held = list_copy(found);
		MemoryContextSwitchTo(oldcontext);
	}
	if (pl_suspects_wait())
	{
		try_suspect(leased, next_due);
		if (pl_suspects_wait())
			return held;
	}
	*changed = pl_webhooks_apply(turn_context, &webhooks_due);
	pl_queue_lease(list_difference_ptr(calls, held), leased, next_due);
	/* only what could not be leased goes elsewhere */
	pl_fail_over_waiting(next_due);
	pl_backfills_lease(leased, next_due);
	if (webhooks_due != 0 && (*next_due == 0 || webhooks_due < *next_due))
		*next_due = webhooks_due;
	report_trouble(true);
	return held;
}

static void
turn_failed(List *calls, dlist_head *leased)
{
	ListCell   *cell;

	error_shown = true;
	while (!dlist_is_empty(leased))
		pl_queue_drop(dlist_container(PlCall, node, dlist_pop_head_node(leased)));
	if (calls == NIL)
		next_look = pl_monotonic_ms() + pause_after(failed_turns++);
	foreach(cell, calls)
	{
		pl_worker_interrupts();
		store_alone(lfirst(cell));
	}
}

static void
turn(void)
{
	dlist_head	leased = DLIST_STATIC_INIT(leased);
	TimestampTz next_due = 0;
	List	   *calls;
	List	   *volatile held = NIL;
	List	   *volatile changed = NIL;
	volatile bool begun = false;
	volatile bool failed = false;
	volatile bool ready = false;

	MemoryContextReset(turn_context);
	calls = storable_calls(false);
	PG_TRY();
	{
		begun = pl_worker_begin();
		if (begun)
		{
			ready = attached || attach();
			if (attached)
				held = work(calls, &leased, &changed, &next_due);
			pl_worker_commit();
		}
	}
	PG_CATCH();
	{
		pl_worker_recover();
		failed = true;
	}
	PG_END_TRY();

	if (failed)
	{
		turn_failed(calls, &leased);
		return;
	}
	if (!ready)
	{
		ListCell   *cell;

		/* no extension, no layout, or not our turn yet: outcomes wait too */
		foreach(cell, calls)
			put_off(lfirst(cell), 1000);
		next_look = pl_monotonic_ms() + 1000;
		return;
	}
	failed_turns = 0;
	if (!attached)
	{
		attached = true;
		pl_in_hand_begin();
		pl_suspects_begin();
		next_look = 0;
		return;
	}
	schedule_look(next_due, !dlist_is_empty(&leased));
	calls_are_stored(calls, held);
	webhooks_are_applied(changed);
	start_calls(&leased);
	pl_gateway_status_publish();
}

/* ---- waiting ---- */

static void
show_state(void)
{
	char		state[64];
	int			in_flight;

	if (!attached)
		return;
	in_flight = calls_in_flight();
	if (in_flight == 0)
		pl_worker_state("idle");
	else
	{
		snprintf(state, sizeof(state), "%d requests in flight", in_flight);
		pl_worker_state(state);
	}
}

/* Milliseconds until there is something to do even if nothing happens. */
static long
time_to_wait(void)
{
	int64		now = pl_monotonic_ms();
	int64		until = next_look;
	long		http_ms = pl_http_timeout_ms();
	const PlCall *call = first_timer();
	dlist_iter	iter;

	dlist_foreach(iter, &finished)
		until = Min(until, dlist_container(PlCall, node, iter.cur)->store_after);
	if (call != NULL)
		until = Min(until, call->ready_at);
	if (http_ms >= 0)
		until = Min(until, now + http_ms);
	return Max(until - now, 0);
}

static void
wait_for_work(void)
{
	WaitEvent	events[3];
	long		timeout_ms = time_to_wait();
	int			n;

	if (timeout_ms == 0)
		return;
	show_state();
	if (attached)
		pl_gateway_status_publish();
	if (timeout_ms >= 1000)
		pgstat_report_stat(true);
	n = WaitEventSetWait(wait_set, timeout_ms, events, lengthof(events), wait_event_gateway());
	for (int i = 0; i < n; i++)
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			next_look = 0;
		}
}

/*
 * The gateway worker's life.
 */
void
pl_gateway_main(void)
{
	prepare();
	for (;;)
	{
		pl_worker_interrupts();
		reload();
		collect_outcomes();

		MemoryContextReset(turn_context);
		store_suspects();
		if (pl_monotonic_ms() >= next_look || storable_calls(false) != NIL)
			turn();
		else
			wait_for_work();
	}
}
