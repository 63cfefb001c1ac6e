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

static const PlMachine machines[] = {
	PL_MACHINE("payment_intent", intent_states, intent_edges),
	PL_MACHINE("payment", payment_states, payment_edges),
	PL_MACHINE("payment_order", order_states, order_edges),
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
