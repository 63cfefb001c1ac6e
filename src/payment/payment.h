/*
 * src/payment/payment.h
 *		Sellers, intents, payments and payment orders; what the answers of a
 *		PSP mean for them.
 *
 * Lock order everywhere: payment intent, payment, payment orders by id, PSP
 * request.  An operation that touches several payments takes them by id.
 */
#ifndef PL_PAYMENT_H
#define PL_PAYMENT_H

#include "core/core.h"
#include "ledger/ledger.h"
#include "outbox/outbox.h"

extern void pl_payment_init(void);

/* ---- work.c: one unit of work, one commit ---- */

/*
 * Collects everything a command writes beside the rows it changes: history,
 * PSP requests, entries, events.  pl_work_end() writes each kind with one
 * statement.  Needs an open SPI connection.  Any error in between leaves
 * nothing, because the transaction is gone.
 */
typedef struct PlWork
{
	TimestampTz now;			/* transaction start: the time of every row */
	struct PlRequestBatch *requests;
	PlEntryBatch *entries;
	PlEventBatch *events;
} PlWork;

extern PlWork *pl_work_begin(const char *cause);
extern void pl_work_end(PlWork *work);

/* ---- requests.c: asking a gateway for something ---- */

typedef enum PlOperation
{
	PL_OP_AUTHORIZE,
	PL_OP_CONFIRM,				/* go on after the shopper's action */
	PL_OP_CAPTURE,
	PL_OP_CANCEL,
	PL_OP_RETRIEVE
} PlOperation;

extern const char *pl_operation_name(PlOperation operation);
extern PlOperation pl_operation_by_name(const char *name);

/* One row of psp_requests as the gateway worker sees it. */
typedef struct PlRequest
{
	int64		psp_request_id;
	int64		payment_id;
	const char *gateway;
	PlOperation operation;
	int64		target;			/* intent or payment order */
	int64		amount;			/* minor units; 0: none */
	const char *currency;
	const char *payment_method; /* NULL: none */
	const char *parameters;		/* JSON object */
	const char *idempotency_key;
	int			attempt;		/* counts this one, from 1 */
	TimestampTz first_sent_at;	/* 0: never sent before */
	const char *psp_reference;	/* NULL: not known */
	bytea	   *request_bytes;	/* NULL: not built yet */
} PlRequest;

extern int64 pl_request_add(PlWork *work, int64 payment_id, const char *gateway,
							PlOperation operation, int64 target, int64 amount,
							const char *currency, const char *payment_method,
							const char *psp_reference, const char *parameters, long delay_ms);

/* ---- outcomes.c: what the PSP's answer means ---- */

typedef enum PlOutcomeClass
{
	PL_OUTCOME_SUCCEEDED,		/* done, documented */
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
	const char *next_action;	/* JSON, ACTION_REQUIRED only */
	int			http_status;	/* 0: no reply */
	long		retry_after_ms; /* -1: none given */
	long		recheck_ms;		/* -1: none; else ask again (RETRIEVE) after this */
} PlOutcome;

/* ---- within the room ---- */

/* lines.c */

typedef struct PlLine
{
	const char *seller_id;
	int64		amount;			/* minor units, > 0 */
} PlLine;

extern List *pl_parse_lines(Jsonb *lines);
extern int64 pl_lines_total(List *lines);
extern char *pl_lines_json(List *lines);

/* idempotency.c */

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

/* sellers.c */

extern void pl_check_sellers(List *lines, const char *currency);

/* requests.c */

extern struct PlRequestBatch *pl_requests_new(void);
extern void pl_requests_insert(PlWork *work);
extern char *pl_payment_method(int64 payment_id);
extern void pl_request_release(PlWork *work, int64 payment_id, const char *gateway,
							   const char *currency, const char *psp_reference);

/* parameters of a CAPTURE; the final one gives the rest back at the PSP, too */
#define PL_CAPTURE_FINAL "{\"final\": true}"
#define PL_CAPTURE_PARTIAL "{\"final\": false}"

/* events about a payment and its parts; version is that of the event */
extern void pl_payment_event(PlWork *work, const char *type, int64 payment_id, int64 version,
							 const char *data, const char *traceparent);

/* authorizations.c */
extern void pl_apply_authorization(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* orders.c */

/* A payment under lock. */
typedef struct PlPayment
{
	int64		payment_id;
	char	   *order_id;
	char	   *gateway;
	char	   *psp_reference;
	char	   *currency;
	char	   *status;
	int64		total_amount;
	int64		event_version;	/* raised with each event, then stored */
	char	   *traceparent;
} PlPayment;

/* A payment order under lock. */
typedef struct PlOrder
{
	int64		payment_order_id;
	char	   *seller_id;
	int64		amount;
	char	   *status;
} PlOrder;

extern void pl_lock_payment(int64 payment_id, PlPayment *payment);
extern void pl_lock_order(int64 payment_order_id, PlPayment *payment, PlOrder *order);
extern void pl_store_event_version(PlWork *work, const PlPayment *payment);
extern char *pl_order_data(int64 payment_order_id, const char *seller_id, const char *currency,
						   int64 amount, const char *status);
extern void pl_release_hold(PlWork *work, int64 payment_id, int64 payment_order_id,
							const char *suffix, const char *currency, int64 amount);

/* captures.c */
extern void pl_apply_capture(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* reversals.c */
extern void pl_apply_reversal(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/*
 * The status that a payment's totals say, as SQL over its columns.  The trigger
 * check_totals says the same in C.
 */
#define PL_PAYMENT_STATUS(captured, refunded, voided) \
	"(CASE WHEN " refunded " > 0 AND " refunded " = " captured " THEN 'REFUNDED'" \
	" WHEN " refunded " > 0 THEN 'PARTIALLY_REFUNDED'" \
	" WHEN " captured " = total_amount THEN 'CAPTURED'" \
	" WHEN " captured " > 0 THEN 'PARTIALLY_CAPTURED'" \
	" WHEN " voided " = total_amount THEN 'VOIDED'" \
	" ELSE 'NOT_CAPTURED' END)::payledger.payment_status"

/* ---- for the gateway ---- */

extern const char *pl_outcome_name(PlOutcomeClass class);
extern void pl_apply_outcome(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

#endif							/* PL_PAYMENT_H */
