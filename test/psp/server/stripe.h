/*-------------------------------------------------------------------------
 *
 * stripe.h
 *		Declarations of the part that behaves like Stripe.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STRIPE_H
#define STRIPE_H

#include "psp.h"

/* ---- cards.c: what each test payment method does ---- */

typedef enum CardOutcome
{
	CARD_OK,
	CARD_DECLINED,
	CARD_AUTHENTICATE,
	CARD_PROCESSES,				/* the bank decides later */
} CardOutcome;

typedef enum RefundOutcome
{
	REFUND_SUCCEEDS,
	REFUND_PENDS,
} RefundOutcome;

/* Why a payment attempt failed, as Stripe words it. */
typedef struct Failure
{
	const char *type;
	const char *code;
	const char *decline_code;
	const char *message;
	bool		charged;		/* a failed charge exists */
} Failure;

typedef struct Card
{
	const char *name;			/* without the prefix pm_card_ */
	CardOutcome outcome;
	RefundOutcome refund;
	const char *brand;
	const char *last4;
	Failure		failure;		/* when declined */
} Card;

extern const Failure failure_authentication_required;
extern const Failure failure_authentication_failed;
extern const Card *card_find(const char *payment_method);

/* ---- store.c: payment intents, refunds and what happened to them ---- */

typedef enum IntentStatus
{
	REQUIRES_PAYMENT_METHOD,
	REQUIRES_CONFIRMATION,
	REQUIRES_ACTION,
	PROCESSING,
	REQUIRES_CAPTURE,
	CANCELED,
	SUCCEEDED,
	INTENT_STATUSES,
} IntentStatus;

/* Text parameters that a reply only repeats. */
typedef enum EchoField
{
	ECHO_CUSTOMER,
	ECHO_DESCRIPTION,
	ECHO_ON_BEHALF_OF,
	ECHO_RECEIPT_EMAIL,
	ECHO_RETURN_URL,
	ECHO_SETUP_FUTURE_USAGE,
	ECHO_STATEMENT_DESCRIPTOR,
	ECHO_STATEMENT_DESCRIPTOR_SUFFIX,
	ECHO_TRANSFER_DESTINATION,
	ECHO_TRANSFER_GROUP,
	ECHO_ALLOW_REDIRECTS,
	ECHO_FIELDS,
} EchoField;

typedef struct Intent
{
	size_t		index;			/* place in the list, oldest first */
	char		id[ID_SIZE];
	char		secret[2 * ID_SIZE];
	int64_t		amount;
	int64_t		amount_capturable;
	int64_t		amount_received;
	int64_t		amount_refunded;
	int64_t		application_fee;	/* -1 = none */
	int64_t		transfer_amount;	/* -1 = none */
	time_t		created;
	time_t		canceled_at;
	char		currency[4];
	const char *capture_method;
	const char *confirmation_method;
	const char *cancellation_reason;
	const char *request_multicapture;	/* NULL, if_available, never */
	IntentStatus status;
	int			captures;
	bool		authenticated;	/* customer action done, not yet confirmed */
	bool		authorized;		/* the latest charge succeeded */
	bool		disputed;
	const Card *card;			/* NULL without payment method */
	char		payment_method[ID_SIZE];
	const Card *charge_card;	/* card of the latest charge */
	char		charge[ID_SIZE];	/* latest charge, also a failed one */
	time_t		charged_at;
	const Failure *failure;		/* last_payment_error */
	char		failed_method[ID_SIZE];
	char		failed_charge[ID_SIZE];
	const Card *failed_card;
	char	   *echo[ECHO_FIELDS];
	Form		metadata;
	History		history;
} Intent;

typedef struct Refund
{
	size_t		index;
	char		id[ID_SIZE];
	char		transaction[ID_SIZE];
	Intent	   *intent;
	int64_t		amount;
	time_t		created;
	const char *reason;
	const char *status;			/* pending, succeeded, failed */
	char		failure_transaction[ID_SIZE];	/* the money came back, or empty */
	Form		metadata;
} Refund;

/* Part or all of a transfer that came back. */
typedef struct TransferReversal
{
	char		id[ID_SIZE];
	char		transaction[ID_SIZE];
	int64_t		amount;
	time_t		created;
	Form		metadata;
	char	   *key;
	char		request[ID_SIZE];
} TransferReversal;

/* Money that went to a connected account. */
typedef struct Transfer
{
	size_t		index;
	char		id[ID_SIZE];
	char		transaction[ID_SIZE];
	char		payment[ID_SIZE];	/* what the destination got */
	int64_t		amount;
	int64_t		amount_reversed;
	char		currency[4];
	time_t		created;
	char	   *destination;
	char	   *description;
	char	   *group;
	char	   *source;
	char	   *key;
	char		request[ID_SIZE];
	Form		metadata;
	TransferReversal *reversals;
	size_t		nreversals;
} Transfer;

/* A change of our balance at Stripe. */
typedef struct BalanceTransaction
{
	char		id[ID_SIZE];
	int64_t		amount;
	int64_t		fee;
	time_t		created;
} BalanceTransaction;

typedef struct Dispute
{
	size_t		index;
	char		id[ID_SIZE];
	Intent	   *intent;
	int64_t		amount;
	const char *reason;
	const char *status;
	time_t		created;
	BalanceTransaction transactions[2]; /* withdrawn, given back */
	size_t		ntransactions;
} Dispute;

extern const char *const intent_status_names[INTENT_STATUSES];
extern Intent *store_new_intent(void);
extern Intent *store_intent(const char *id);
extern Intent *store_intent_at(size_t index);
extern size_t store_intent_count(void);
extern void store_new_charge(Intent *intent, const Card *card);
extern Intent *store_intent_by_charge(const char *charge);
extern Refund *store_new_refund(Intent *intent, int64_t amount);
extern Refund *store_refund(const char *id);
extern Refund *store_refund_at(size_t index);
extern size_t store_refund_count(void);
extern unsigned store_generation(void);
extern void store_reset(void);

/* ---- errors.c: error replies in Stripe's shape ---- */

extern void reply_error(Request *req, unsigned status, const char *type,
						const char *code, const char *param,
						const char *format,...)
			__attribute__((format(printf, 6, 7)));
extern void reply_intent_error(Request *req, const Intent *intent,
							   const char *code, const char *param,
							   const char *format,...)
			__attribute__((format(printf, 5, 6)));
extern void reply_card_error(Request *req, const Intent *intent);
extern void reply_missing(Request *req, const char *object, const char *param,
						  const char *id);

/* ---- params.c: checks; each replies with the error and returns false ---- */

extern bool params_known(Request *req, const char *const *names);
extern bool param_integer(Request *req, const char *name, bool *given,
						  int64_t *value);
extern bool param_boolean(Request *req, const char *name, bool *value);
extern bool param_choice(Request *req, const char *name,
						 const char *const *choices, const char **value);
extern bool param_currency(Request *req, char *currency);
extern bool param_charge_amount(Request *req, const char *currency,
								int64_t *amount);
extern bool param_metadata(Request *req, Form *metadata);
extern bool param_page(Request *req, int64_t *limit);

/* ---- attempts.c ---- */

extern void intent_attempt(Request *req, Intent *intent, bool alone);
extern const char *intent_complete_action(Intent *intent, bool succeed);
extern const char *intent_expire(Intent *intent);

/* ---- stripe_events.c: what webhooks tell; req NULL: no request caused it ---- */

extern void event_intent(const Request *req, const char *type,
						 const Intent *intent);
extern void event_charge(const Request *req, const char *type,
						 const Intent *intent, const char *previous);
extern void event_refund(const Request *req, const char *type,
						 const Refund *refund, const char *previous);
extern void event_transfer(const Request *req, const char *type,
						   const Transfer *transfer, const char *previous);
extern void event_dispute(const char *type, const Dispute *dispute,
						  const char *previous);

/* ---- pages.c: lists, newest object first ---- */

#define NO_INDEX SIZE_MAX

/* Bounds on the time of creation. */
typedef struct Created
{
	int64_t		least;
	int64_t		most;
} Created;

/* What one list is made of. */
typedef struct Listing
{
	Request    *req;
	const char *object;			/* list or search_result */
	const char *item;			/* what is listed */
	const char *url;
	int64_t		limit;
	Created		created;
	size_t		count;
	bool		(*matches) (const struct Listing *listing, size_t index);
	void		(*render) (StrBuf *buf, size_t index);
	Form		wanted;			/* metadata that a search wants */
} Listing;

extern bool read_created(Request *req, Created *created);
extern bool created_within(const Created *created, time_t when);
extern bool param_is(const Listing *listing, const char *name,
					 const char *value);
extern void reply_page(Listing *listing, size_t start, bool newer);
extern void reply_list(Listing *listing, size_t (*find_index) (const char *id));

/* ---- transfers.c, disputes.c, event_list.c ---- */

extern void transfer_create(Request *req);
extern void transfer_retrieve(Request *req);
extern void transfer_reverse(Request *req);
extern void list_transfers(Request *req);
extern const Transfer *transfer_at(size_t index);
extern size_t transfer_count(void);
extern void transfers_forget(void);
extern const char *dispute_reason(const char *text);
extern Dispute *dispute_find(const char *id);
extern Dispute *dispute_open(Intent *intent, int64_t amount, int64_t fee,
							 const char *reason, const char **wrong);
extern const char *dispute_complete(Dispute *dispute, const char *status);
extern void dispute_retrieve(Request *req);
extern void list_disputes(Request *req);
extern void disputes_forget(void);
extern void list_events(Request *req);
extern void event_retrieve(Request *req);

/* ---- intents.c, capture.c, refunds.c, lists.c: the operations ---- */

extern void intent_create(Request *req);
extern void intent_confirm(Request *req);
extern void intent_retrieve(Request *req);
extern void intent_reply(Request *req, const Intent *intent);
extern Intent *intent_required(Request *req);
extern void intent_capture(Request *req);
extern void intent_cancel(Request *req);
extern void refund_create(Request *req);
extern void refund_retrieve(Request *req);
extern const char *refund_complete(Refund *refund, bool succeed);
extern void list_intents(Request *req);
extern void list_refunds(Request *req);
extern void search_intents(Request *req);

/* ---- render.c: objects as Stripe shows them ---- */

extern void render_intent(StrBuf *buf, const char *key, const Intent *intent,
						  bool expand_charge);
extern void render_charge(StrBuf *buf, const char *key, const Intent *intent);
extern void render_refund(StrBuf *buf, const char *key, const Refund *refund);
extern void render_failure(StrBuf *buf, const char *key,
						   const Intent *intent);
extern void render_payment_method(StrBuf *buf, const char *key,
								  const char *id, const Card *card,
								  time_t created);
extern void render_doc_url(StrBuf *buf, const char *code);

/* ---- render_money.c ---- */

extern void render_metadata(StrBuf *buf, const Form *metadata);
extern void render_transfer(StrBuf *buf, const char *key,
							const Transfer *transfer);
extern void render_reversal(StrBuf *buf, const char *key,
							const Transfer *transfer,
							const TransferReversal *reversal);
extern void render_dispute(StrBuf *buf, const char *key,
						   const Dispute *dispute);
extern void truth_transfer(StrBuf *buf, const Transfer *transfer);

/* ---- stripe_control.c ---- */

extern void control_complete_action(Request *req);
extern void control_complete_refund(Request *req);
extern void control_expire(Request *req);
extern void control_dispute(Request *req);
extern void control_complete_dispute(Request *req);

/* ---- truth.c ---- */

extern void truth_intent(StrBuf *buf, const Intent *intent);

#endif							/* STRIPE_H */
