/*
 * src/command/command.h
 *		What every command is made of: a unit of work, requests to gateways and
 *		what their outcomes are called, open items, idempotency keys, lines of JSON.
 *
 * Lock order everywhere: payment intent, payment, payment orders by id, PSP
 * request.  An operation that touches several payments takes them by id.
 */
#ifndef PL_COMMAND_H
#define PL_COMMAND_H

#include "ledger/ledger.h"
#include "outbox/outbox.h"

/* ---- work.c: one unit of work, one commit ---- */

/*
 * Collects everything a command writes beside the rows it changes: history,
 * PSP requests, entries, settlement items, events.  pl_work_end() writes each
 * kind with one statement.  Needs an open SPI connection.  Any error in between leaves
 * nothing, because the transaction is gone.
 */
typedef struct PlWork
{
	const char *cause;			/* as begun */
	TimestampTz now;			/* transaction start: the time of every row */
	struct PlRequestBatch *requests;
	PlEntryBatch *entries;
	List	   *items;			/* of items.c */
	PlEventBatch *events;
} PlWork;

extern PlWork *pl_work_begin(const char *cause);
extern void pl_work_flush(PlWork *work);
extern void pl_work_end(PlWork *work);

/* events about a payment and its parts; version is that of the event */
extern void pl_payment_event(PlWork *work, const char *type, int64 payment_id, int64 version,
							 const char *data, const char *traceparent);

/* ---- requests.c: asking a gateway for something ---- */

typedef enum PlOperation
{
	PL_OP_AUTHORIZE,
	PL_OP_CONFIRM,				/* go on after the shopper's action */
	PL_OP_CAPTURE,
	PL_OP_CANCEL,
	PL_OP_RETRIEVE,				/* what became of the request that it follows */
	PL_OP_REFUND,
	PL_OP_PAYOUT
} PlOperation;

#define PL_OPERATION_COUNT (PL_OP_PAYOUT + 1)

extern const char *pl_operation_name(PlOperation operation);
extern PlOperation pl_operation_by_name(const char *name);

/* idempotency keys are "pl_<psp_request_id>_<mark of the server's start>" */
#define PL_KEY_PREFIX "pl_"

/* One row of psp_requests as the gateway worker sees it. */
typedef struct PlRequest
{
	int64		psp_request_id;
	int64		payment_id;
	const char *gateway;
	PlOperation operation;
	int64		target;			/* intent, payment, payment order, refund or payout */
	int64		follows;		/* RETRIEVE: the request it asks about; else 0 */
	PlOperation followed;		/* and what that was; else operation */
	int64		amount;			/* minor units; 0: none */
	const char *currency;
	const char *payment_method; /* token; of the beneficiary for a PAYOUT; NULL: none */
	const char *parameters;		/* JSON object */
	const char *idempotency_key;
	int			attempt;		/* counts this one, from 1 */
	TimestampTz first_sent_at;	/* 0: never sent before */
	const char *psp_reference;	/* NULL: not known */
	bytea	   *request_bytes;	/* NULL: not built yet */
	const char *alternatives;	/* AUTHORIZE: see payment/failover.c; NULL: none */
} PlRequest;

/* What is asked for.  Zeros and NULLs mean none; strings must outlive the unit. */
typedef struct PlNewRequest
{
	int64		payment_id;		/* or payout */
	const char *gateway;
	PlOperation operation;
	int64		target;
	int64		follows;
	int64		amount;			/* minor units */
	const char *currency;
	const char *payment_method;
	const char *psp_reference;
	const char *parameters;		/* JSON object; NULL: {} */
	const char *alternatives;	/* JSON array, see payment/failover.c */
	long		delay_ms;		/* due after */
} PlNewRequest;

extern int64 pl_request_add(PlWork *work, const PlNewRequest *request);

extern char *pl_payment_method(int64 payment_id);
extern char *pl_check_payment_method(const char *what, char *method);

/* parameters of a CAPTURE; the final one gives the rest back at the PSP, too */
#define PL_CAPTURE_FINAL "{\"final\": true}"
#define PL_CAPTURE_PARTIAL "{\"final\": false}"

extern void pl_command_init(void);

/* ---- outcome.c: what the PSP's answer means ---- */

typedef enum PlOutcomeClass
{
	PL_OUTCOME_SUCCEEDED,		/* done, documented */
	PL_OUTCOME_PENDING,			/* accepted; what becomes of it is known later */
	PL_OUTCOME_REFUSED,			/* documented as not executed, final */
	PL_OUTCOME_ACTION_REQUIRED, /* authorization waits for the shopper */
	PL_OUTCOME_REVERSED,		/* succeeded before, now reported failed */
	PL_OUTCOME_RETRY,			/* documented as not executed, may be sent again */
	PL_OUTCOME_UNKNOWN			/* anything else */
} PlOutcomeClass;

typedef struct PlOutcome
{
	PlOutcomeClass class;
	const char *psp_reference;	/* NULL: none given */
	const char *code;			/* PSP's code or a short word for the fault */
	const char *message;		/* redacted, one line */
	const char *source;			/* who told it; NULL: the reply to the request */
	const char *next_action;	/* JSON, ACTION_REQUIRED only */
	int64		amount;			/* what it was done with, minor units; 0: what was asked for */
	const char *currency;		/* of amount; NULL: what was asked for */
	int			http_status;	/* 0: no reply */
	long		retry_after_ms; /* -1: none given */
	long		recheck_ms;		/* -1: none; else ask again (RETRIEVE) after this */
} PlOutcome;

extern const char *pl_outcome_name(PlOutcomeClass class);

/* ---- items.c: open items of PSP_RECEIVABLES ---- */

/* What the PSP owes (amount > 0) or takes back (< 0); strings must outlive the unit. */
typedef struct PlItem
{
	int64		payment_id;
	int64		payment_order_id;
	int64		object_id;		/* of that kind: the request of a capture, a refund, a dispute */
	const char *kind;			/* a label of settlement_item_kind */
	const char *gateway;
	const char *psp_reference;
	const char *seller_id;
	const char *currency;
	int64		amount;			/* minor units */
} PlItem;

extern void pl_item_add(PlWork *work, const PlItem *item);

/* ---- lines.c ---- */

typedef struct PlLine
{
	const char *seller_id;
	int64		amount;			/* minor units, > 0 */
} PlLine;

extern List *pl_parse_lines(Jsonb *lines);

/*
 * The most that one payment may be, in minor units: ten million millions of the
 * main unit where that has two digits behind the point.  A card network carries
 * twelve digits, a double every whole number up to nine times as much, and
 * thousands of such payments still add up to a bigint.
 */
#define PL_MAX_PAYMENT	INT64CONST(1000000000000000)

extern int64 pl_lines_total(List *lines);
extern char *pl_lines_json(List *lines);

/* ---- idempotency.c ---- */

typedef struct PlIdempotency
{
	const char *key;			/* NULL: the caller gave none */
	const char *caller;
	const char *command;
	bytea	   *request_hash;
} PlIdempotency;

extern bool pl_idempotency_replay(FunctionCallInfo fcinfo, PlIdempotency *claim,
								  const char *command, const char *key, const char *request);
extern void pl_idempotency_store(const PlIdempotency *claim);

/* ---- shares.c ---- */

extern void pl_allocate(int64 amount, const int64 *weights, int n, int64 *shares);

#endif							/* PL_COMMAND_H */
