/*
 * src/command/work.c
 *		One unit of work: all that a command writes beside the rows it changes.
 *
 * Each kind of row (history, PSP requests, entries, postings, settlement items,
 * events) goes in with one statement, however many payments the unit touched: the gateway
 * applies a whole batch of answers in one unit, a command is a unit of one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "command/command_internal.h"
#include "ledger/ledger.h"
#include "outbox/outbox.h"

/*
 * Begin a unit of work in the current memory context, which is the SPI
 * connection's.  cause is what state_history will say.
 */
PlWork *
pl_work_begin(const char *cause)
{
	PlWork	   *work = palloc(sizeof(PlWork));

	work->cause = cause;
	work->now = pl_transaction_now();
	work->requests = pl_requests_new();
	work->entries = pl_entries_new();
	work->entries->opens_accounts = true;
	work->entries->states_facts = true;
	work->items = NIL;
	work->events = pl_events_new();
	pl_history_begin(cause);
	return work;
}

/*
 * Write what the unit collected so far, so that queries find it; the unit goes on.
 */
void
pl_work_flush(PlWork *work)
{
	const char *cause = work->cause;

	pl_work_end(work);
	*work = *pl_work_begin(cause);
}

/*
 * An event about a payment or a part of it: its aggregate is the payment, so
 * its key is the payment's id.
 */
void
pl_payment_event(PlWork *work, const char *type, int64 payment_id, int64 version,
				 const char *data, const char *traceparent)
{
	pl_event_add(work->events, type, payment_id, version,
				 psprintf(INT64_FORMAT, payment_id), data, traceparent);
}

/*
 * Write what the unit collected.  Needs the SPI connection of its begin.
 */
void
pl_work_end(PlWork *work)
{
	pl_requests_insert(work);
	pl_history_end();
	pl_entries_post(work->entries);
	pl_items_insert(work);
	pl_entries_add_events(work->entries, work->events);
	pl_events_append(work->events);
}
