/*
 * src/webhook/notifications.c
 *		Applying what webhooks tell, by the gateway worker.
 *
 * Each event is applied in a subtransaction, so that one which makes no sense
 * stops no other: it is PARKED with its error and tried again after growing
 * pauses, as is one that comes before what it is about.  What is told twice or
 * late changes nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "command/command.h"
#include "dispute/dispute.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "payment/payment.h"
#include "psp/psp.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "webhook/webhook.h"

#define APPLY_AT_ONCE		64

/* bytes of a dispute's reason that are kept */
#define MAX_REASON			255

/* pauses of a parked event double up to the longest; after that time an operator has to look */
#define FIRST_PAUSE_MS		100
#define LONGEST_PAUSE_MS	3600000
#define GIVE_UP_AFTER_MS	(INT64CONST(3) * 24 * 3600 * 1000)

/* a session holds what the event is about */
#define HELD_PAUSE_MS		50

static PlQuery select_due = {
	"SELECT w.gateway, w.event_id, w.event_type, w.occurred_at, w.attempt, w.created_at, g.adapter, w.webhook_id"
	" FROM payledger.webhooks w LEFT JOIN payledger.gateways g ON g.gateway = w.gateway"
	" WHERE w.status IN ('RECEIVED', 'PARKED') AND w.next_attempt_at <= $1"
	" ORDER BY w.next_attempt_at LIMIT $2 FOR NO KEY UPDATE OF w SKIP LOCKED", 2, {TIMESTAMPTZOID, INT8OID}
};

static PlQuery select_body = {
	"SELECT body FROM payledger.webhooks WHERE gateway = $1 AND event_id = $2", 2, {TEXTOID, TEXTOID}
};

static PlQuery find_next_due = {
	"SELECT next_attempt_at FROM payledger.webhooks WHERE status IN ('RECEIVED', 'PARKED')"
	" AND next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT 1", 0, {0}
};

static PlQuery store_verdict = {
	"UPDATE payledger.webhooks SET status = $3::payledger.webhook_status, attempt = $4, next_attempt_at = $5,"
	"  payment_id = coalesce($6, payment_id), problem = $7, updated_at = $8"
	" WHERE gateway = $1 AND event_id = $2",
	8, {TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery find_payment = {
	"SELECT payment_id FROM payledger.payments WHERE psp_reference = $1 AND gateway = $2", 2, {TEXTOID, TEXTOID}
};

/* A row if the key is that of none of the payment's requests, of which there are some. */
static PlQuery has_other_requests = {
	"SELECT 1 FROM payledger.psp_requests WHERE payment_id = $1"
	" HAVING pg_catalog.count(*) > 0 AND NOT pg_catalog.bool_or(idempotency_key = $2)", 2, {INT8OID, TEXTOID}
};

/* The PSP's id of our payment, if that is another one. */
static PlQuery find_other_reference = {
	"SELECT psp_reference FROM payledger.payments WHERE payment_id = $1 AND gateway = $2 AND psp_reference <> $3",
	3, {INT8OID, TEXTOID, TEXTOID}
};

/*
 * The PSP's id of what a request made, if that is another one.  Until it is
 * known, the request has that of its payment.
 */
static PlQuery find_other_object = {
	"SELECT q.psp_reference FROM payledger.psp_requests q WHERE q.payment_id = $1 AND q.psp_request_id = $2"
	"  AND q.psp_reference <> $3 AND NOT EXISTS (SELECT 1 FROM payledger.payments p"
	"   WHERE p.payment_id = $1 AND p.psp_reference = q.psp_reference)",
	3, {INT8OID, INT8OID, TEXTOID}
};

/* Where a payout was to go, if that is elsewhere. */
static PlQuery find_other_destination = {
	"SELECT payment_method FROM payledger.psp_requests WHERE payment_id = $1 AND psp_request_id = $2"
	"  AND payment_method <> $3", 3, {INT8OID, INT8OID, TEXTOID}
};

/* The gateway of a payment, if that is another one. */
static PlQuery find_other_gateway = {
	"SELECT gateway FROM payledger.payments WHERE payment_id = $1 AND gateway <> $2", 2, {INT8OID, TEXTOID}
};

static PlQuery find_authorization = {
	"SELECT psp_request_id FROM payledger.psp_requests WHERE payment_id = $1 AND gateway = $2"
	"  AND operation IN ('AUTHORIZE', 'CONFIRM') ORDER BY psp_request_id DESC LIMIT 1", 2, {INT8OID, TEXTOID}
};

static PlQuery find_by_id = {
	"SELECT psp_request_id FROM payledger.psp_requests WHERE payment_id = $1 AND gateway = $2"
	"  AND operation = $3::payledger.psp_operation AND psp_request_id = $4", 4, {INT8OID, TEXTOID, TEXTOID, INT8OID}
};

static PlQuery find_by_target = {
	"SELECT psp_request_id FROM payledger.psp_requests WHERE payment_id = $1 AND gateway = $2"
	"  AND operation = $3::payledger.psp_operation AND target = $4", 4, {INT8OID, TEXTOID, TEXTOID, INT8OID}
};

/* Some PSPs name a modification only by what they called it themselves. */
static PlQuery find_by_reference = {
	"SELECT psp_request_id FROM payledger.psp_requests WHERE payment_id = $1 AND gateway = $2"
	"  AND operation = $3::payledger.psp_operation AND psp_reference = $4", 4, {INT8OID, TEXTOID, TEXTOID, TEXTOID}
};

/* A table whose rows are locked without waiting. */
typedef struct Lockable
{
	PlQuery		lock;
	PlQuery		find;
} Lockable;

#define LOCKABLE(table, key) { \
	{"SELECT 1 FROM payledger." table " WHERE " key " = $1 FOR NO KEY UPDATE SKIP LOCKED", 1, {INT8OID}}, \
	{"SELECT 1 FROM payledger." table " WHERE " key " = $1", 1, {INT8OID}}}

static Lockable intents = LOCKABLE("payment_intents", "payment_intent_id");
static Lockable payments = LOCKABLE("payments", "payment_id");
static Lockable payouts = LOCKABLE("payouts", "payout_id");

/* What became of an attempt at an event, the worse of its notifications. */
typedef enum Verdict
{
	VERDICT_IGNORED,			/* none of it concerns us */
	VERDICT_APPLIED,
	VERDICT_EARLY,				/* what it is about is not there yet */
	VERDICT_HELD				/* a session holds it */
} Verdict;

typedef struct Event
{
	const char *gateway;
	PlWebhookEvent event;
	int64		webhook_id;
	int			attempt;
	TimestampTz created_at;
	const PlAdapter *adapter;
	int64		payment_id;		/* 0: not known */
	char	   *problem;		/* NULL: none */
	bool		failed;			/* by an error */
	bool		is_hopeless;	/* about another payment: that will not change */
	Verdict		verdict;
} Event;

/* ---- what a notification is about ---- */

/* Lock the row, if nobody holds it. */
static Verdict
lock(Lockable *lockable, int64 id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, id);
	if (pl_execute(&lockable->lock, &args) > 0)
		return VERDICT_APPLIED;
	return pl_execute(&lockable->find, &args) > 0 ? VERDICT_HELD : VERDICT_EARLY;
}

/* Our payment that the notification is about; 0: not known yet. */
static int64
payment_of(const Event *event, const PlNotification *news)
{
	PlArgs		args = {0};

	if (news->subject == PL_ABOUT_PAYOUT)
		return news->object_id;
	if (news->payment_id != 0)
		return news->payment_id;
	if (news->payment_reference == NULL)
		return 0;
	pl_arg_text(&args, news->payment_reference);
	pl_arg_text(&args, event->gateway);
	return pl_execute(&find_payment, &args) > 0 ? pl_get_int64(0, 1) : 0;
}

/* The request of this gateway that a notification is about; 0: none. */
static int64
request_of(const Event *event, const PlNotification *news, PlOperation operation)
{
	PlArgs		args = {0};
	PlArgs		by_reference;

	pl_arg_int64(&args, event->payment_id);
	pl_arg_text(&args, event->gateway);
	if (operation == PL_OP_AUTHORIZE)
		return pl_execute(&find_authorization, &args) > 0 ? pl_get_int64(0, 1) : 0;
	pl_arg_text(&args, pl_operation_name(operation));
	by_reference = args;
	pl_arg_int64(&args, news->psp_request_id != 0 ? news->psp_request_id : news->object_id);
	if (pl_execute(news->psp_request_id != 0 ? &find_by_id : &find_by_target, &args) > 0)
		return pl_get_int64(0, 1);
	if (news->outcome.psp_reference == NULL)
		return 0;
	pl_arg_text(&by_reference, news->outcome.psp_reference);
	return pl_execute(&find_by_reference, &by_reference) > 0 ? pl_get_int64(0, 1) : 0;
}

/*
 * The PSP's id of the event's payment, palloc'd, if the notification tells
 * another one; NULL: it does not.
 */
static char *
other_reference(const Event *event, const PlNotification *news)
{
	PlArgs		args = {0};

	if (news->payment_reference == NULL)
		return NULL;
	pl_arg_int64(&args, event->payment_id);
	pl_arg_text(&args, event->gateway);
	pl_arg_text(&args, news->payment_reference);
	return pl_execute(&find_other_reference, &args) > 0 ? pl_get_text(0, 1) : NULL;
}

/* Is the key of a request told, and none of the event's payment's? */
static bool
has_other_key(const Event *event, const PlNotification *news)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, event->payment_id);
	pl_arg_text(&args, news->request_key);
	return news->request_key != NULL && pl_execute(&has_other_requests, &args) > 0;
}

/*
 * Raise 55000 for news of another payment than ours.
 *
 * Another server at the same account may have the same ids: then the key of the
 * request is not ours or, where none is told, the PSP's id of the payment.  With
 * our key and another id the PSP did twice what we asked for once: what becomes
 * of the second says nothing about the first, and somebody has to give the
 * shopper's money back.  A second that came to nothing is no news.
 */
static void
check_whose(Event *event, const PlNotification *news)
{
	char	   *known = other_reference(event, news);
	bool		is_foreign = news->request_key != NULL ? has_other_key(event, news) : known != NULL;
	bool		failed = news->subject == PL_ABOUT_AUTHORIZATION && news->outcome.class == PL_OUTCOME_REFUSED;

	event->is_hopeless = is_foreign || (known != NULL && !failed);
	if (is_foreign)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("event \"%s\" of gateway \"%s\" is not about " INT64_FORMAT " of this server but of another one with payledger.node_id %d",
						event->event.event_id, event->gateway, event->payment_id, pl_node_id)));
	if (event->is_hopeless)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("event \"%s\" of gateway \"%s\" is about \"%s\", while payment " INT64_FORMAT " is \"%s\" there",
						event->event.event_id, event->gateway, news->payment_reference, event->payment_id, known),
				 errhint("Find out at the PSP which of the two holds money, and give it back there if both do.")));
}

/* What a query knows of the request, if it is not what the event says; NULL: it is, or one of them is not known. */
static char *
find_other(PlQuery *query, const Event *event, int64 request, const char *told)
{
	PlArgs		args = {0};

	if (told == NULL)
		return NULL;
	pl_arg_int64(&args, event->payment_id);
	pl_arg_int64(&args, request);
	pl_arg_text(&args, told);
	return pl_execute(query, &args) > 0 ? pl_get_text(0, 1) : NULL;
}

/*
 * Raise 55000 for news of another refund, capture or transfer than the one that
 * our request is known to have made, or of a transfer to another account.
 */
static void
check_object(Event *event, const PlNotification *news, int64 request)
{
	const char *reference = news->names_object ? news->outcome.psp_reference : NULL;
	char	   *known = find_other(&find_other_object, event, request, reference);
	char	   *destination = find_other(&find_other_destination, event, request, news->destination);

	event->is_hopeless = known != NULL || destination != NULL;
	if (known != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("event \"%s\" of gateway \"%s\" is about \"%s\", while psp_request " INT64_FORMAT " made \"%s\" there",
						event->event.event_id, event->gateway, reference, request, known),
				 errhint("Find out at the PSP which of the two moved money, and take it back there if both did.")));
	if (destination != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("event \"%s\" of gateway \"%s\" is about money for \"%s\", while psp_request " INT64_FORMAT " was to pay \"%s\"",
						event->event.event_id, event->gateway, news->destination, request, destination),
				 errhint("Find out at the PSP who got it.")));
}

/*
 * Raise 55000 for a dispute that another gateway than the payment's tells of:
 * one that was asked before the payment failed over, or did not ask at all.
 */
static void
check_gateway(Event *event)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, event->payment_id);
	pl_arg_text(&args, event->gateway);
	event->is_hopeless = pl_execute(&find_other_gateway, &args) > 0;
	if (event->is_hopeless)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("event \"%s\" of gateway \"%s\" is about a dispute of payment " INT64_FORMAT ", which is at gateway \"%s\"",
						event->event.event_id, event->gateway, event->payment_id, pl_get_text(0, 1)),
				 errhint("Find out at the PSP which payment there is disputed, and who got its money.")));
}

/* ---- applying a notification; its payment is known ---- */

static Verdict
answer(PlWork *work, Event *event, const PlNotification *news, PlOperation operation,
	   const PlOutcome *outcome)
{
	int64		request = request_of(event, news, operation);
	PlAnswered	answered;

	if (request == 0)
		return VERDICT_EARLY;
	check_object(event, news, request);
	answered = pl_answer_request(work, event->payment_id, request, NULL, outcome);
	return answered == PL_ANSWER_TOO_EARLY ? VERDICT_EARLY : VERDICT_APPLIED;
}

static Verdict
apply_authorization(PlWork *work, Event *event, const PlNotification *news)
{
	PlOutcome	outcome = news->outcome;
	bool		ended = outcome.class == PL_OUTCOME_REVERSED;
	Verdict		verdict = lock(&intents, event->payment_id);

	if (verdict == VERDICT_APPLIED && ended && lock(&payments, event->payment_id) == VERDICT_HELD)
		verdict = VERDICT_HELD;
	if (verdict != VERDICT_APPLIED)
		return verdict;

	/* what ended was authorized before */
	if (ended)
		outcome.class = PL_OUTCOME_SUCCEEDED;
	if (outcome.psp_reference == NULL)
		outcome.psp_reference = news->payment_reference;
	verdict = answer(work, event, news, PL_OP_AUTHORIZE, &outcome);
	if (verdict != VERDICT_APPLIED || !ended)
		return verdict;
	pl_work_flush(work);
	if (lock(&payments, event->payment_id) == VERDICT_APPLIED)
		pl_authorization_ended(work, event->payment_id, true);
	return verdict;
}

/* Somebody cancelled the authorization at the PSP: our request did, or it just ended. */
static Verdict
apply_cancel(PlWork *work, Event *event, const PlNotification *news)
{
	if (request_of(event, news, PL_OP_CANCEL) != 0)
		return answer(work, event, news, PL_OP_CANCEL, &news->outcome);
	if (news->outcome.class == PL_OUTCOME_SUCCEEDED)
	{
		PlNotification ended = *news;

		ended.outcome.class = PL_OUTCOME_REVERSED;
		return apply_authorization(work, event, &ended);
	}
	return VERDICT_IGNORED;
}

static Verdict
apply_locked(PlWork *work, Event *event, const PlNotification *news, Lockable *lockable,
			 PlOperation operation)
{
	Verdict		verdict = lock(lockable, event->payment_id);

	return verdict == VERDICT_APPLIED ? answer(work, event, news, operation, &news->outcome) : verdict;
}

static Verdict
apply_dispute(PlWork *work, Event *event, const PlNotification *news)
{
	Verdict		verdict = lock(&payments, event->payment_id);

	if (verdict == VERDICT_APPLIED)
		check_gateway(event);
	if (verdict == VERDICT_APPLIED && !pl_apply_dispute_notice(work, event->payment_id, &news->dispute))
		verdict = VERDICT_EARLY;
	return verdict;
}

static Verdict
apply_notification(PlWork *work, Event *event, const PlNotification *news)
{
	event->payment_id = payment_of(event, news);
	if (event->payment_id == 0)
		return VERDICT_EARLY;
	check_whose(event, news);
	switch (news->subject)
	{
		case PL_ABOUT_AUTHORIZATION:
			return apply_authorization(work, event, news);
		case PL_ABOUT_CAPTURE:
			return apply_locked(work, event, news, &payments, PL_OP_CAPTURE);
		case PL_ABOUT_CANCEL:
			return apply_cancel(work, event, news);
		case PL_ABOUT_REFUND:
			return apply_locked(work, event, news, &payments, PL_OP_REFUND);
		case PL_ABOUT_PAYOUT:
			return apply_locked(work, event, news, &payouts, PL_OP_PAYOUT);
		case PL_ABOUT_DISPUTE:
			return apply_dispute(work, event, news);
	}
	return VERDICT_IGNORED;		/* keep compiler quiet */
}

/* ---- events ---- */

/* Raise 22023 unless the PSP's identifier, which may be missing, can be kept. */
static void
check_reference(const Event *event, const char *reference)
{
	if (reference != NULL && !pl_is_reference(event->gateway, reference))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event \"%s\" of gateway \"%s\" has an identifier that cannot be kept", event->event.event_id,
						event->gateway),
				 errdetail("It is not one word, or holds card data or a secret.")));
}

/* What the event says, as it may go into rows and events. */
static void
check_news(const Event *event, PlNotification *news)
{
	check_reference(event, news->payment_reference);
	check_reference(event, news->outcome.psp_reference);
	check_reference(event, news->dispute.psp_reference);
	check_reference(event, news->destination);
	pl_clean_outcome(event->gateway, &news->outcome);
	if (news->dispute.reason != NULL)
	{
		char	   *reason = pl_redact(pl_hide_secrets(event->gateway, news->dispute.reason));

		pl_clip(reason, MAX_REASON);
		news->dispute.reason = reason;
	}
}

static void
apply_event(Event *event)
{
	PlArgs		args = {0};
	List	   *notifications;
	const char *source;
	ListCell   *cell;

	if (event->adapter == NULL || event->adapter->read_event == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("gateway \"%s\" is gone or gets no webhooks", event->gateway)));
	pl_arg_text(&args, event->gateway);
	pl_arg_text(&args, event->event.event_id);
	pl_execute(&select_body, &args);
	event->event.body = pl_get_text(0, 1);
	if (strcmp(event->event.event_type, PL_UNREADABLE_EVENT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("event \"%s\" of gateway \"%s\" does not say what it is", event->event.event_id, event->gateway),
				 errhint("Look at its body, and use payledger.ignore_webhook.")));

	source = psprintf("webhook %s", event->event.event_id);
	event->verdict = VERDICT_IGNORED;
	notifications = event->adapter->read_event(&event->event);
	foreach(cell, notifications)
	{
		PlNotification *news = lfirst(cell);
		PlWork	   *work = pl_work_begin(source);
		Verdict		verdict;

		CHECK_FOR_INTERRUPTS();
		check_news(event, news);
		news->outcome.source = source;
		verdict = apply_notification(work, event, news);
		pl_work_end(work);
		event->verdict = Max(event->verdict, verdict);
	}
}

/* An error undoes what the event did and is its problem. */
static void
apply_safely(Event *event)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	pl_in_hand_webhook(event->gateway, event->webhook_id);
	PG_TRY();
	{
		apply_event(event);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		event->failed = true;
		event->problem = pl_redact(error->message);
	}
	PG_END_TRY();
	pl_in_hand_nothing();
	MemoryContextSwitchTo(oldcontext);
	CurrentResourceOwner = owner;
}

static int64
pause_after(int attempt)
{
	return Min((int64) FIRST_PAUSE_MS << Min(attempt, 20), LONGEST_PAUSE_MS);
}

/*
 * Store what became of it; an event that was not applied is due again.  In the
 * end an operator has to look at it, but for one about a payment that never was
 * ours; at once at one about another payment with our ids.
 */
static void
store(const Event *event)
{
	TimestampTz now = pl_transaction_now();
	bool		parked = event->failed || event->verdict == VERDICT_EARLY;
	bool		held = !parked && event->verdict == VERDICT_HELD;
	bool		over = event->is_hopeless || pl_due_now() >= TimestampTzPlusMilliseconds(event->created_at, GIVE_UP_AFTER_MS);
	bool		foreign = parked && over && !event->failed && event->payment_id == 0;
	const char *problem = event->problem;
	PlArgs		args = {0};

	if (problem == NULL && parked)
		problem = "what it is about is not there yet, or is with the PSP";
	pl_arg_text(&args, event->gateway);
	pl_arg_text(&args, event->event.event_id);
	pl_arg_text(&args, held ? event->attempt > 0 ? "PARKED" : "RECEIVED" : parked && !foreign ? "PARKED"
				: event->verdict == VERDICT_APPLIED ? "APPLIED" : "IGNORED");
	pl_arg_int32(&args, held ? event->attempt : event->attempt + 1);
	if (held)
		pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, HELD_PAUSE_MS));
	else if (parked && !over)
		pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, pause_after(event->attempt)));
	else
		pl_arg_null(&args);
	if (event->payment_id != 0)
		pl_arg_int64(&args, event->payment_id);
	else
		pl_arg_null(&args);
	pl_arg_text(&args, problem);
	pl_arg_timestamp(&args, now);
	pl_execute(&store_verdict, &args);
}

/* The events that are due, locked; one that a session holds is left for the next turn. */
static List *
due_events(void)
{
	List	   *events = NIL;
	PlArgs		args = {0};
	uint64		n;

	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_int64(&args, APPLY_AT_ONCE);
	n = pl_execute(&select_due, &args);
	for (uint64 row = 0; row < n; row++)
	{
		Event	   *event = palloc0(sizeof(Event));
		bool		isnull;

		event->gateway = pl_get_text(row, 1);
		event->event.event_id = pl_get_text(row, 2);
		event->event.event_type = pl_get_text(row, 3);
		event->event.occurred_at = pl_isnull(row, 4) ? 0 : DatumGetTimestampTz(pl_get_datum(row, 4, &isnull));
		event->attempt = pl_get_int32(row, 5);
		event->created_at = DatumGetTimestampTz(pl_get_datum(row, 6, &isnull));
		event->adapter = pl_isnull(row, 7) ? NULL : pl_find_adapter(pl_get_text(row, 7));
		event->webhook_id = pl_get_int64(row, 8);
		events = lappend(events, event);
	}
	return events;
}

/* When an event is due; 0: none is waiting. */
static TimestampTz
next_due_at(void)
{
	PlArgs		none = {0};
	bool		isnull;

	return pl_execute(&find_next_due, &none) > 0 ? DatumGetTimestampTz(pl_get_datum(0, 1, &isnull)) : 0;
}

/*
 * Apply the events that are due.  Returns the payments that changed, as
 * pointers to int64 in context, to be announced after the commit; *next_due
 * becomes when more will be due, 0 for never.  Needs a transaction and an open
 * SPI connection.
 */
List *
pl_webhooks_apply(MemoryContext context, TimestampTz *next_due)
{
	List	   *changed = NIL;
	List	   *events;
	ListCell   *cell;

	*next_due = next_due_at();
	if (*next_due == 0 || *next_due > pl_transaction_now())
		return NIL;
	events = due_events();
	foreach(cell, events)
	{
		Event	   *event = lfirst(cell);
		MemoryContext oldcontext;
		int64	   *id;

		CHECK_FOR_INTERRUPTS();
		apply_safely(event);
		store(event);
		if (event->failed || event->verdict != VERDICT_APPLIED)
			continue;
		oldcontext = MemoryContextSwitchTo(context);
		id = palloc(sizeof(int64));
		*id = event->payment_id;
		changed = lappend(changed, id);
		MemoryContextSwitchTo(oldcontext);
	}
	*next_due = next_due_at();
	return changed;
}
