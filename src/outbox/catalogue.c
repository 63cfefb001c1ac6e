/*
 * src/outbox/catalogue.c
 *		The event catalogue: an event of any other type is an error at append.
 */
#include "postgres.h"

#include "funcapi.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"

static const PlEventType event_types[] = {
	{"payment_intent_created", "payment", "a shopper's intent was created"},
	{"payment_intent_authorized", "payment", "the PSP authorized the intent"},
	{"payment_intent_declined", "payment", "the PSP declined the intent"},
	{"payment_intent_cancelled", "payment", "the intent was cancelled"},
	{"payment_intent_rerouted", "payment", "the gateway did not execute the authorization, and another one was asked"},
	{"payment_authorized", "payment", "the payment of an authorized intent was created"},
	{"payment_order_created", "payment", "the part of a payment that belongs to one seller was created"},
	{"payment_order_capture_requested", "payment", "the capture of a payment order was asked for"},
	{"payment_order_psp_result_updated", "payment", "the PSP answered, or failed to answer, about a payment order"},
	{"payment_order_finalized", "payment", "a payment order reached CAPTURED, CAPTURE_FAILED or CANCELLED"},
	{"payment_voided", "payment", "the whole of a payment was given back uncaptured"},
	{"refund_requested", "payment", "money was asked to be given back to the shopper; its funds are reserved"},
	{"refund_finalized", "payment", "a refund reached SUCCEEDED or FAILED"},
	{"dispute_opened", "payment", "the PSP charged a payment order back"},
	{"dispute_closed", "payment", "a dispute reached WON or LOST"},
	{"payout_requested", "payout", "money was asked to be sent to a seller; its funds are reserved"},
	{"payout_finalized", "payout", "a payout reached PAID, FAILED or RETURNED"},
	{"settlement_reconciled", "ledger", "a settlement report was matched and its matched lines were posted"},
	{"ledger_entries_recorded", "ledger", "a journal entry was recorded"},
};

PG_FUNCTION_INFO_V1(pl_sql_event_catalogue);

/* The event type of that name, or NULL. */
const PlEventType *
pl_event_type(const char *type)
{
	for (int i = 0; i < (int) lengthof(event_types); i++)
		if (strcmp(event_types[i].type, type) == 0)
			return &event_types[i];
	return NULL;
}

/*
 * event_catalogue() RETURNS TABLE (event_type, aggregatetype, description)
 */
Datum
pl_sql_event_catalogue(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int i = 0; i < (int) lengthof(event_types); i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(event_types[i].type);
		values[1] = CStringGetTextDatum(event_types[i].aggregatetype);
		values[2] = CStringGetTextDatum(event_types[i].description);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
