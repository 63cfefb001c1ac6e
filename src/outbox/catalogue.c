/*
 * src/outbox/catalogue.c
 *		The event catalogue: an event of any other type is an error at append.
 */
#include "postgres.h"

#include "funcapi.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"

/*
 * Members of an event's data: name:kind, by spaces.  "?" after the name: may
 * be absent; after the kind: may be null.  event_schema() knows the kinds.
 */
#define INTENT	"paymentIntentId:id orderId:text buyerId:text currency:currency totalAmount:amount status:text"
#define PAYMENT	"paymentId:id orderId:text buyerId:text currency:currency totalAmount:amount status:text"
#define ORDER	"paymentOrderId:id sellerId:text currency:currency amount:amount status:text"
#define REFUND	"refundId:id paymentOrderId:id sellerId:text currency:currency amount:amount status:text failureCode?:text?"
#define DISPUTE	"disputeId:id paymentOrderId:id sellerId:text currency:currency amount:amount fee:amount borneBy:text" \
				" pspReference:text? reason:text? status:text round:amount"
#define RETRACTION	"retractedEventId:text retractedEventType:text retractedAggregateId:text retractedVersion:amount" \
				" topic:text partition:amount offset:amount note:text"
#define PAYOUT	"payoutId:id sellerId:text currency:currency amount:amount status:text reason?:text?"

static const PlEventType event_types[] = {
	{"payment_intent_created", "payment", "a shopper's intent was created",
	INTENT " lines:lines"},
	{"payment_intent_authorized", "payment", "the PSP authorized the intent",
	PAYMENT},
	{"payment_intent_declined", "payment", "the PSP declined the intent",
	"paymentIntentId:id orderId:text status:text declineCode:text?"},
	{"payment_intent_cancelled", "payment", "the intent was cancelled",
	INTENT},
	{"payment_intent_rerouted", "payment", "the gateway did not execute the authorization, and another one was asked",
	"paymentIntentId:id orderId:text gateway:text formerGateway:text reason:text?"},
	{"payment_authorized", "payment", "the payment of an authorized intent was created",
	PAYMENT},
	{"payment_order_created", "payment", "the part of a payment that belongs to one seller was created",
	ORDER},
	{"payment_order_capture_requested", "payment", "the capture of a payment order was asked for",
	ORDER},
	{"payment_order_psp_result_updated", "payment", "the PSP answered, or failed to answer, about a payment order",
	"paymentOrderId:id sellerId:text currency:currency amount:amount outcome?:text code?:text? attempt?:amount status?:text"},
	{"payment_order_finalized", "payment", "a payment order reached CAPTURED, CAPTURE_FAILED or CANCELLED",
	ORDER},
	{"payment_voided", "payment", "the whole of a payment was given back uncaptured",
	"paymentId:id orderId:text currency:currency totalAmount:amount status:text"},
	{"refund_requested", "payment", "money was asked to be given back to the shopper; its funds are reserved",
	REFUND},
	{"refund_finalized", "payment", "a refund reached SUCCEEDED or FAILED",
	REFUND},
	{"dispute_opened", "payment", "the PSP charged a payment order back",
	DISPUTE},
	{"dispute_closed", "payment", "a dispute reached WON or LOST",
	DISPUTE},
	{"payout_requested", "payout", "money was asked to be sent to a seller; its funds are reserved",
	PAYOUT},
	{"payout_finalized", "payout", "a payout reached PAID, FAILED or RETURNED",
	PAYOUT},
	{"settlement_reconciled", "ledger", "a settlement report was matched and its matched lines were posted",
	"settlementReportId:id gateway:text reportId:text lines:amount matched:object exceptions:object"},
	{"ledger_entries_recorded", "ledger", "a journal entry was recorded",
	"journalEntryId:id entryType:text paymentId?:id reference:text? reverses?:id postings:postings"},
	{"payment_event_retracted", "payment", "an event of this key that was published is void: its transaction was lost",
	RETRACTION},
	{"ledger_event_retracted", "ledger", "an event of this key that was published is void: its transaction was lost",
	RETRACTION},
	{"payout_event_retracted", "payout", "an event of this key that was published is void: its transaction was lost",
	RETRACTION},
	{"payment_tombstone", "payment", "what went before with this key is to be forgotten; it has no value",
	NULL},
	{"ledger_tombstone", "ledger", "what went before with this key is to be forgotten; it has no value",
	NULL},
	{"payout_tombstone", "payout", "what went before with this key is to be forgotten; it has no value",
	NULL},
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
 * event_catalogue() RETURNS TABLE (event_type, aggregatetype, description, members)
 */
Datum
pl_sql_event_catalogue(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int i = 0; i < (int) lengthof(event_types); i++)
	{
		Datum		values[4] = {0};
		bool		nulls[4] = {false, false, false, event_types[i].members == NULL};

		values[0] = CStringGetTextDatum(event_types[i].type);
		values[1] = CStringGetTextDatum(event_types[i].aggregatetype);
		values[2] = CStringGetTextDatum(event_types[i].description);
		if (event_types[i].members != NULL)
			values[3] = CStringGetTextDatum(event_types[i].members);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
