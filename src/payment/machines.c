/*
 * src/payment/machines.c
 *		The state machines of the payment flow, edge by edge.
 */
#include "postgres.h"

#include "payment/payment.h"

static const char *const intent_states[] = {
	"CREATED_PENDING", "CREATED", "PENDING_AUTH", "REQUIRES_ACTION",
	"AUTHORIZED", "DECLINED", "CANCELLED"
};

static const PlEdge intent_edges[] = {
	{NULL, "CREATED_PENDING"},
	{NULL, "CREATED"},
	{"CREATED_PENDING", "CREATED"},
	{"CREATED_PENDING", "CANCELLED"},
	{"CREATED", "PENDING_AUTH"},
	{"CREATED", "CANCELLED"},
	{"PENDING_AUTH", "AUTHORIZED"},
	{"PENDING_AUTH", "DECLINED"},
	{"PENDING_AUTH", "REQUIRES_ACTION"},
	{"PENDING_AUTH", "CANCELLED"},	/* only on the PSP's word */
	{"REQUIRES_ACTION", "PENDING_AUTH"},
	{"REQUIRES_ACTION", "CANCELLED"},
};

static const char *const payment_states[] = {
	"NOT_CAPTURED", "PARTIALLY_CAPTURED", "CAPTURED", "PARTIALLY_REFUNDED", "REFUNDED", "VOIDED"
};

static const PlEdge payment_edges[] = {
	{NULL, "NOT_CAPTURED"},
	{"NOT_CAPTURED", "PARTIALLY_CAPTURED"},
	{"NOT_CAPTURED", "CAPTURED"},
	{"NOT_CAPTURED", "VOIDED"},
	{"PARTIALLY_CAPTURED", "CAPTURED"},
	{"PARTIALLY_CAPTURED", "PARTIALLY_REFUNDED"},
	{"PARTIALLY_CAPTURED", "REFUNDED"},
	{"CAPTURED", "PARTIALLY_REFUNDED"},
	{"CAPTURED", "REFUNDED"},
	{"PARTIALLY_REFUNDED", "REFUNDED"},
	/* the way back: a capture or refund reported failed after it succeeded */
	{"CAPTURED", "PARTIALLY_CAPTURED"},
	{"CAPTURED", "VOIDED"},
	{"PARTIALLY_CAPTURED", "NOT_CAPTURED"},
	{"PARTIALLY_CAPTURED", "VOIDED"},
	{"REFUNDED", "PARTIALLY_REFUNDED"},
	{"REFUNDED", "CAPTURED"},
	{"REFUNDED", "PARTIALLY_CAPTURED"},
	{"PARTIALLY_REFUNDED", "CAPTURED"},
	{"PARTIALLY_REFUNDED", "PARTIALLY_CAPTURED"},
};

static const char *const order_states[] = {
	"INITIATED_PENDING", "CAPTURE_REQUESTED", "PENDING_CAPTURE", "CAPTURED", "CAPTURE_FAILED",
	"PARTIALLY_REFUNDED", "REFUNDED", "CANCELLED"
};

static const PlEdge order_edges[] = {
	{NULL, "INITIATED_PENDING"},
	{"INITIATED_PENDING", "CAPTURE_REQUESTED"},
	{"INITIATED_PENDING", "CANCELLED"},
	{"CAPTURE_REQUESTED", "CAPTURED"},
	{"CAPTURE_REQUESTED", "CAPTURE_FAILED"},
	{"CAPTURE_REQUESTED", "PENDING_CAPTURE"},
	{"PENDING_CAPTURE", "CAPTURE_REQUESTED"},
	{"PENDING_CAPTURE", "CAPTURED"},
	{"PENDING_CAPTURE", "CAPTURE_FAILED"},
	{"CAPTURED", "PARTIALLY_REFUNDED"},
	{"CAPTURED", "REFUNDED"},
	{"CAPTURED", "CAPTURE_FAILED"},	/* late reversal */
	{"PARTIALLY_REFUNDED", "REFUNDED"},
	/* the way back: a refund reported failed after it succeeded, or more captured of a refunded order */
	{"PARTIALLY_REFUNDED", "CAPTURED"},
	{"REFUNDED", "PARTIALLY_REFUNDED"},
	{"REFUNDED", "CAPTURED"},
};

static const char *const refund_states[] = {"REQUESTED", "PENDING", "SUCCEEDED", "FAILED"};

static const PlEdge refund_edges[] = {
	{NULL, "REQUESTED"},
	{"REQUESTED", "PENDING"},
	{"REQUESTED", "SUCCEEDED"},
	{"REQUESTED", "FAILED"},
	{"PENDING", "SUCCEEDED"},
	{"PENDING", "FAILED"},
	{"SUCCEEDED", "FAILED"},	/* late reversal */
};

static const char *const dispute_states[] = {"NEEDS_RESPONSE", "UNDER_REVIEW", "WON", "LOST"};

static const PlEdge dispute_edges[] = {
	{NULL, "NEEDS_RESPONSE"},
	{"NEEDS_RESPONSE", "UNDER_REVIEW"},
	{"NEEDS_RESPONSE", "WON"},
	{"NEEDS_RESPONSE", "LOST"},
	{"UNDER_REVIEW", "WON"},
	{"UNDER_REVIEW", "LOST"},
	{"WON", "LOST"},			/* second round */
	{"LOST", "WON"},
};

static const char *const payout_states[] = {"REQUESTED", "IN_TRANSIT", "PAID", "FAILED", "RETURNED"};

static const PlEdge payout_edges[] = {
	{NULL, "REQUESTED"},
	{"REQUESTED", "IN_TRANSIT"},
	{"REQUESTED", "PAID"},
	{"REQUESTED", "FAILED"},
	{"IN_TRANSIT", "PAID"},
	{"IN_TRANSIT", "FAILED"},
	{"PAID", "RETURNED"},
};

static const char *const request_states[] = {
	"READY", "IN_FLIGHT", "PENDING", "UNKNOWN", "SUCCEEDED", "REFUSED", "PARKED"
};

static const PlEdge request_edges[] = {
	{NULL, "READY"},
	{"READY", "IN_FLIGHT"},
	{"READY", "PARKED"},		/* no bytes could be built for it */
	{"READY", "REFUSED"},		/* withdrawn before it was sent */
	{"IN_FLIGHT", "SUCCEEDED"},
	{"IN_FLIGHT", "REFUSED"},
	{"IN_FLIGHT", "PENDING"},	/* accepted: the PSP reports later what came of it */
	{"IN_FLIGHT", "UNKNOWN"},
	{"IN_FLIGHT", "READY"},		/* documented as not executed: again */
	{"IN_FLIGHT", "PARKED"},	/* the answer could not be applied */
	{"UNKNOWN", "IN_FLIGHT"},	/* replay or query */
	{"UNKNOWN", "SUCCEEDED"},
	{"UNKNOWN", "REFUSED"},
	{"UNKNOWN", "PARKED"},
	{"UNKNOWN", "PENDING"},		/* from here on: by a webhook, too */
	{"PENDING", "SUCCEEDED"},
	{"PENDING", "REFUSED"},
	{"SUCCEEDED", "REFUSED"},	/* an authorization that waited for the shopper, who failed */
	{"PARKED", "PENDING"},
	{"PARKED", "READY"},		/* an operator has it sent, which it never was */
	{"PARKED", "UNKNOWN"},		/* or asked for again */
	{"PARKED", "SUCCEEDED"},	/* an operator decided */
	{"PARKED", "REFUSED"},
};

static const char *const report_states[] = {"IMPORTED", "RECONCILED"};

static const PlEdge report_edges[] = {
	{NULL, "IMPORTED"},
	{"IMPORTED", "RECONCILED"},
};

static const char *const exception_states[] = {"OPEN", "ACCEPTED", "DISMISSED"};

static const PlEdge exception_edges[] = {
	{NULL, "OPEN"},
	{"OPEN", "ACCEPTED"},
	{"OPEN", "DISMISSED"},
};

#define MACHINE(name, states, edges) {name, states, lengthof(states), edges, lengthof(edges)}

static const PlMachine machines[] = {
	MACHINE("payment_intent", intent_states, intent_edges),
	MACHINE("payment", payment_states, payment_edges),
	MACHINE("payment_order", order_states, order_edges),
	MACHINE("refund", refund_states, refund_edges),
	MACHINE("dispute", dispute_states, dispute_edges),
	MACHINE("payout", payout_states, payout_edges),
	MACHINE("psp_request", request_states, request_edges),
	MACHINE("settlement_report", report_states, report_edges),
	MACHINE("settlement_exception", exception_states, exception_edges),
};

/*
 * Make the room's machines known.  Called from _PG_init.
 */
void
pl_payment_init(void)
{
	for (int i = 0; i < (int) lengthof(machines); i++)
		pl_register_machine(&machines[i]);
}
