/*
 * src/payment/work.c
 *		One unit of work: all that a command writes beside the rows it changes.
 *
 * Each kind of row (history, PSP requests, entries, postings, events) goes in
 * with one statement, however many payments the unit touched: the gateway
 * applies a whole batch of answers in one unit, a command is a unit of one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "payment/payment.h"

/*
 * Begin a unit of work in the current memory context, which is the SPI
 * connection's.  cause is what state_history will say.
 */
PlWork *
pl_work_begin(const char *cause)
{
	PlWork	   *work = palloc(sizeof(PlWork));

	work->now = GetCurrentTransactionStartTimestamp();
	work->requests = pl_requests_new();
	work->entries = pl_entries_new();
	work->events = pl_events_new();
	pl_history_begin(cause);
	return work;
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

/* ledger_entries_recorded of one entry; an entry never changes, so version 1. */
static void
add_entry_event(PlWork *work, const PlEntry *entry)
{
	StringInfoData data;

	initStringInfo(&data);
	appendStringInfoChar(&data, '{');
	pl_json_id(&data, "journalEntryId", entry->journal_entry_id);
	pl_json_text(&data, "entryType", entry->entry_type);
	if (entry->payment_id != 0)
		pl_json_id(&data, "paymentId", entry->payment_id);
	pl_json_text(&data, "reference", entry->reference);
	if (entry->reverses != 0)
		pl_json_id(&data, "reverses", entry->reverses);
	appendStringInfoString(&data, ",\"postings\":[");
	for (int i = 0; i < entry->nlegs; i++)
	{
		const PlLeg *leg = pl_entries_leg(work->entries, entry->first_leg + i);

		if (i > 0)
			appendStringInfoChar(&data, ',');
		appendStringInfoChar(&data, '{');
		pl_json_text(&data, "account", leg->account_code);
		pl_json_amount(&data, "amount", leg->amount);
		appendStringInfoChar(&data, '}');
	}
	appendStringInfoString(&data, "]}");

	pl_event_add(work->events, "ledger_entries_recorded", entry->journal_entry_id, 1,
				 entry->seller_id ? entry->seller_id : "GLOBAL", data.data, NULL);
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
	for (int i = 0; i < pl_entries_count(work->entries); i++)
		add_entry_event(work, pl_entries_get(work->entries, i));
	pl_events_append(work->events);
}
