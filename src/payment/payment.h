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
	const char *alternatives;	/* AUTHORIZE: see failover.c; NULL: none */
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
	const char *alternatives;	/* JSON array, see failover.c */
	long		delay_ms;		/* due after */
} PlNewRequest;

extern int64 pl_request_add(PlWork *work, const PlNewRequest *request);

/* ---- outcomes.c: what the PSP's answer means ---- */

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

/* ---- within the room ---- */

/* lines.c */

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
extern const char *pl_seller_status(const char *seller_id, const char *currency);

/* commissions.c: what the platform keeps, by dated rules */

typedef struct PlCommission
{
	int64		rule_id;		/* 0: the seller has no rule */
	int64		amount;			/* minor units */
} PlCommission;

struct PlOrder;
extern void pl_commission_of_capture(const char *seller_id, const char *currency, int64 amount,
									 TimestampTz at, PlCommission *commission);
extern int64 pl_commission_of_refund(const struct PlOrder *order, int64 amount);
extern void pl_add_first_rule(const char *seller_id, const char *currency, int32 bps, int64 fixed);
extern void pl_change_rule(const char *seller_id, const char *currency, bool has_bps, int32 bps,
						   bool has_fixed, int64 fixed);

/* shares.c */
extern void pl_allocate(int64 amount, const int64 *weights, int n, int64 *shares);

/* requests.c */

extern struct PlRequestBatch *pl_requests_new(void);
extern void pl_requests_insert(PlWork *work);
extern char *pl_payment_method(int64 payment_id);
extern char *pl_check_payment_method(const char *what, char *method);

/* parameters of a CAPTURE; the final one gives the rest back at the PSP, too */
#define PL_CAPTURE_FINAL "{\"final\": true}"
#define PL_CAPTURE_PARTIAL "{\"final\": false}"

/* events about a payment and its parts; version is that of the event */
extern void pl_payment_event(PlWork *work, const char *type, int64 payment_id, int64 version,
							 const char *data, const char *traceparent);

/* routing.c: which gateway a payment goes to */
extern char *pl_route_payment(const char *gateway, const char *currency, List *lines, int64 *routing_rule_id);
extern char *pl_failover_alternatives(Jsonb *alternatives, int64 routing_rule_id, const char *gateway);

/* authorizations.c */
extern void pl_apply_authorization(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* orders.c: payments and their orders, read under lock and stored changed */

/* A payment under lock.  Amounts in minor units of currency. */
typedef struct PlPayment
{
	int64		payment_id;
	char	   *order_id;
	char	   *gateway;
	char	   *psp_reference;
	char	   *currency;
	char	   *status;			/* as it was read; storing derives it from the totals */
	int64		total_amount;
	int64		captured_amount;
	int64		refunded_amount;
	int64		voided_amount;
	int64		event_version;	/* raised with each event */
	char	   *traceparent;
} PlPayment;

/* What its gateway can do: the columns of payledger.gateways. */
typedef struct PlCapabilities
{
	bool		multicapture;
	bool		keeps_remainder;
} PlCapabilities;

/* A payment order; its payment's lock covers it. */
typedef struct PlOrder
{
	int64		payment_order_id;
	char	   *seller_id;
	const char *status;
	int64		amount;
	int64		captured_amount;
	int64		refunded_amount;
	int64		capture_pending_amount;
	int64		voided_amount;
	int64		refund_pending_amount;
	int64		disputed_amount;
	int64		commission_amount;
	int64		commission_refunded_amount;
	int64		commission_rule_id; /* 0: none */
	int			retry_count;
	char	   *failure_code;
} PlOrder;

extern void pl_lock_payment(int64 payment_id, PlPayment *payment);
extern void pl_read_capabilities(const PlPayment *payment, PlCapabilities *capabilities);
extern List *pl_read_orders(int64 payment_id);	/* of PlOrder, by id */
extern PlOrder *pl_find_order(List *orders, int64 payment_order_id);
extern void pl_lock_payment_of(int64 payment_order_id, PlPayment *payment);
extern PlOrder *pl_lock_order(int64 payment_order_id, PlPayment *payment);
extern int64 pl_capturable(const PlOrder *order);
extern int64 pl_refundable(const PlOrder *order);
extern void pl_order_amounts_changed(PlOrder *order);
extern void pl_store_payment(PlWork *work, const PlPayment *payment);
extern void pl_store_orders(PlWork *work, const PlPayment *payment, List *orders);
extern uint64 pl_return_order(int64 payment_id, int64 payment_order_id);

extern char *pl_order_data(int64 payment_order_id, const char *seller_id, const char *currency,
						   int64 amount, const char *status);
extern void pl_order_event(PlWork *work, PlPayment *payment, const char *type, const PlOrder *order,
						   int64 amount, const char *status);

/* releases.c: giving authorized money back */
extern void pl_release_order(PlWork *work, PlPayment *payment, PlOrder *order, int64 amount);
extern void pl_release_at_psp(PlWork *work, const PlPayment *payment, List *orders);

/* items.c: open items of PSP_RECEIVABLES */

/* kind is a label of settlement_item_kind; amount > 0: the PSP owes it, < 0: it takes it back */
extern void pl_item_add(PlWork *work, const PlPayment *payment, const PlOrder *order,
						const char *kind, int64 object_id, int64 amount);
extern void pl_items_insert(PlWork *work);

/* mirrors.c */
extern int64 pl_post_mirror(PlWork *work, const char *entry_type, const char *object, int64 payment_id,
							const char *seller_id, const char *currency, int64 most);
extern int64 pl_post_part_mirror(PlWork *work, const char *entry_type, const char *object, const char *part,
								 int64 payment_id, const char *seller_id, const char *currency, int64 most);

/* capture_requests.c */
extern void pl_send_planned_captures(PlWork *work, const PlPayment *payment, List *orders);

/* captures.c */
extern void pl_apply_capture(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* reversals.c */
extern void pl_apply_capture_reversal(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* refunds.c */
extern void pl_withdraw_refunds(PlWork *work, PlPayment *payment, PlOrder *order);

/* refund_outcomes.c */
extern void pl_apply_refund(PlWork *work, const PlRequest *request, const PlOutcome *outcome);
extern void pl_refund_failed(PlWork *work, PlPayment *payment, PlOrder *order, int64 refund_id, const char *code);
extern void pl_refund_event(PlWork *work, PlPayment *payment, const char *type, int64 refund_id,
							const PlOrder *order, int64 amount, const char *status, const char *code);

/* disputes.c */

/* A dispute; its payment's lock covers it.  Amounts in minor units. */
typedef struct PlDispute
{
	int64		dispute_id;
	int64		payment_order_id;
	const char *psp_reference;
	const char *reason;			/* NULL: none given */
	int64		amount;
	int64		fee;
	bool		fee_returned;
	bool		borne_by_seller;
	const char *status;
	int			round;
	TimestampTz evidence_due_at;	/* 0: not known */
} PlDispute;

extern void pl_return_disputes(FunctionCallInfo fcinfo, int64 payment_id, List *ids);
extern void pl_dispute_event(PlWork *work, PlPayment *payment, const char *type, const PlOrder *order,
							 const PlDispute *dispute);

/* dispute_rounds.c */
extern void pl_dispute_take(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute);
extern void pl_dispute_give_back(PlWork *work, const PlPayment *payment, PlOrder *order,
								 const PlDispute *dispute, int taken_round);
extern void pl_dispute_take_fee(PlWork *work, const PlPayment *payment, const PlOrder *order,
								const PlDispute *dispute);
extern void pl_dispute_give_back_fee(PlWork *work, const PlPayment *payment, const PlOrder *order,
									 PlDispute *dispute);

/* disputes.c */

/* What opens disputes; the same for every order that it concerns. */
typedef struct PlDisputeOpening
{
	int64		amount;			/* minor units of the payment's currency, > 0 */
	const char *psp_reference;
	const char *reason;			/* NULL: none given */
	int64		fee;			/* minor units, >= 0 */
	TimestampTz evidence_due_at;	/* 0: not known */
	bool		borne_by_seller;
} PlDisputeOpening;

extern List *pl_open_payment_disputes(PlWork *work, PlPayment *payment, List *orders,
									  const PlDisputeOpening *opening);

/* dispute_decisions.c */
extern PlOrder *pl_read_dispute(int64 dispute_id, const PlPayment *payment, List *orders, PlDispute *dispute);
extern void pl_review_dispute(PlWork *work, const PlPayment *payment, PlDispute *dispute, Jsonb *evidence);
extern void pl_decide_dispute(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute,
							  const char *outcome, bool fee_returned);

/* seller_balances.c: what sellers may be paid, under lock */

/* A seller's balances; minor units of currency. */
typedef struct PlSellerFunds
{
	const char *seller_id;		/* given */
	const char *currency;		/* given */
	const PlAccount *payable;
	const char *account_status; /* of it; NULL: locked by somebody else */
	int64		balance;		/* of it; negative: the seller owes the platform */
	int64		pending;		/* captured, not settled */
	int64		held;
	int64		available;		/* may be below zero */
} PlSellerFunds;

extern void pl_lock_sellers(PlSellerFunds *funds, int n, bool waits);
extern void pl_lock_seller_funds(PlSellerFunds *funds, int n, bool waits);

/* payouts.c */

/* How a seller is paid out; from the row of a query with PL_ROUTE_COLUMNS. */
typedef struct PlPayoutRoute
{
	const char *seller_id;
	const char *currency;
	const char *seller_status;	/* NULL: not registered in the currency */
	const char *beneficiary;	/* NULL: none */
	const char *wanted_gateway; /* of the terms; NULL: the default one */
	const char *gateway;		/* NULL: does not exist */
	bool		pays_out;		/* that gateway */
} PlPayoutRoute;

/* key and t are the aliases of what names the seller, and of its payout_terms */
#define PL_ROUTE_COLUMNS(key) \
	key ".seller_id, " key ".currency, s.status::text, t.beneficiary, t.gateway, g.gateway, coalesce(g.pays_out, false)"
#define PL_ROUTE_JOINS(key) \
	" LEFT JOIN payledger.sellers s ON s.seller_id = " key ".seller_id AND s.currency = " key ".currency" \
	" LEFT JOIN payledger.gateways g ON CASE WHEN t.gateway IS NULL THEN g.is_default ELSE g.gateway = t.gateway END"

/* A payout to be made. */
typedef struct PlNewPayout
{
	int64		payout_id;		/* set by pl_make_payouts() */
	const PlPayoutRoute *route;
	int64		amount;			/* minor units */
	TimestampTz scheduled_for;	/* 0: on request */
} PlNewPayout;

extern void pl_read_route(int row, PlPayoutRoute *route);
extern ErrorData *pl_payout_obstacle(const PlPayoutRoute *route);
extern ErrorData *pl_account_obstacle(const PlSellerFunds *funds);
extern void pl_make_payouts(PlWork *work, PlNewPayout *payouts, int n);
extern void pl_select_payouts(const PlNewPayout *payouts, int n);
extern void pl_apply_payout(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* reserves.c */

/* What is released of a row of reserves, which is locked. */
typedef struct PlReserveRelease
{
	int64		payment_id;
	int64		psp_request_id;
	int64		payment_order_id;
	const char *seller_id;
	const char *currency;
	int64		released_before;	/* minor units */
	int64		amount;			/* now; when it was read, all that is held */
} PlReserveRelease;

extern PlReserveRelease *pl_lock_reserves(const char *seller_id, const char *currency, bool waits, int limit, int *n);
extern void pl_note_entry(PlEntry *entry, const char *note);
extern void pl_release_reserves(PlWork *work, const PlReserveRelease *releases, int n, const char *note);
extern void pl_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order,
								  int64 psp_request_id, int64 amount);
extern void pl_release_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order,
										  int64 psp_request_id);

/* totals.c */
extern const char *pl_payment_status(int64 total, int64 captured, int64 refunded, int64 voided);

/* ---- for the keeper ---- */

extern int	pl_expire_authorizations(void);
extern int	pl_release_due_reserves(void);
extern int	pl_cover_negative_balances(void);
extern int	pl_run_due_payouts(void);

/* ---- for the gateway ---- */

/* dispute_notices.c */

struct PlDisputeNotice;
extern bool pl_apply_dispute_notice(PlWork *work, int64 payment_id, const struct PlDisputeNotice *notice);

extern void pl_authorization_ended(PlWork *work, int64 payment_id, bool told);
extern const char *pl_outcome_name(PlOutcomeClass class);
extern void pl_apply_outcome(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* authorizations.c */
extern int64 pl_payment_of_reference(const PlRequest *request, const char *psp_reference);

/* failover.c */
extern void pl_fail_over(PlWork *work, const PlRequest *request, const char *reason);

#endif							/* PL_PAYMENT_H */
