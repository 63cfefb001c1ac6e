/*
 * src/ledger/entry_events.c
 *		ledger_entries_recorded: the event of an entry.
 */
#include "postgres.h"

#include "ledger/ledger.h"

/* The data of the event, palloc'd; an entry never changes, so version 1. */
static char *
entry_data(const PlEntryBatch *batch, const PlEntry *entry)
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
		const PlLeg *leg = &batch->legs[entry->first_leg + i];

		if (i > 0)
			appendStringInfoChar(&data, ',');
		appendStringInfoChar(&data, '{');
		pl_json_text(&data, "account", leg->account_code);
		pl_json_amount(&data, "amount", leg->amount);
		appendStringInfoChar(&data, '}');
	}
	appendStringInfoString(&data, "]}");
	return data.data;
}

/*
 * Add an event for each entry that the batch posted, keyed by the seller if
 * one of its accounts is a seller's.  The data lives in the current memory
 * context.
 */
void
pl_entries_add_events(const PlEntryBatch *batch, PlEventBatch *events)
{
	for (int i = 0; i < batch->nentries; i++)
	{
		const PlEntry *entry = batch->entries[i];

		if (entry->verdict == PL_VERDICT_POSTED)
			pl_event_add(events, "ledger_entries_recorded", entry->journal_entry_id, 1,
						 entry->seller_id ? entry->seller_id : PL_GLOBAL_ENTITY,
						 entry_data(batch, entry), NULL);
	}
}
