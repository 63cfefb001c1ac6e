/*-------------------------------------------------------------------------
 *
 * adyen.h
 *		Declarations of the part that behaves like Adyen's Checkout API, v71.
 *
 * A payment is authorized while its request runs, or later when the shopper
 * or the bank acts. Everything after that is a modification: the request is
 * only received, what came of it is told by a webhook.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ADYEN_H
#define ADYEN_H

#include "psp.h"

/* ---- adyen_methods.c: what each test payment method does ---- */

/* What an attempt to pay comes to. */
typedef enum AdyenResult
{
	ADYEN_AUTHORISED,
	ADYEN_REFUSED,
	ADYEN_CANCELLED,			/* by the shopper */
	ADYEN_ERROR,
	ADYEN_PENDING,				/* decided later by the bank */
	ADYEN_RECEIVED,				/* the same under another name */
	ADYEN_REDIRECT,				/* the shopper has to go somewhere */
	ADYEN_IDENTIFY,				/* 3D Secure 2: fingerprint of the device */
	ADYEN_CHALLENGE,			/* 3D Secure 2: challenge */
	ADYEN_RESULTS,
} AdyenResult;

/* What comes of a modification. */
typedef enum AdyenFate
{
	FATE_SUCCEEDS,
	FATE_FAILS,					/* webhook with success=false */
	FATE_FAILS_LATER,			/* success first, then CAPTURE_FAILED ... */
	FATE_REVERSED,				/* success first, then REFUNDED_REVERSED */
	FATE_WAITS,					/* until the control API decides */
} AdyenFate;

typedef struct AdyenMethod
{
	const char *name;
	AdyenResult result;			/* of POST /payments */
	AdyenResult then;			/* of POST /payments/details */
	const char *reason;			/* of a refusal or an error */
	const char *reason_code;
	AdyenFate	capture;
	AdyenFate	cancel;
	AdyenFate	refund;
} AdyenMethod;

extern const AdyenMethod *adyen_method_find(const char *name);
extern const char *adyen_result_name(AdyenResult result);

/* ---- adyen_store.c ---- */

typedef enum AdyenStatus
{
	PAYMENT_ACTION,				/* the shopper has to do something */
	PAYMENT_PENDING,
	PAYMENT_AUTHORISED,
	PAYMENT_REFUSED,
	PAYMENT_ERROR,
	PAYMENT_CANCELLED,			/* authorization released */
	PAYMENT_EXPIRED,
	PAYMENT_STATUSES,
} AdyenStatus;

typedef struct AdyenPayment
{
	char		psp[ID_SIZE];	/* pspReference */
	char		token[ID_SIZE]; /* what the shopper brings back */
	char	   *reference;		/* the merchant's */
	char	   *merchant;		/* merchant account */
	char		currency[4];
	int64_t		amount;
	int64_t		captured;
	int64_t		refunded;
	int64_t		charged_back;
	AdyenStatus status;
	AdyenResult result;			/* of the latest request */
	bool		authorized;		/* it was, whatever came later */
	bool		shopper_failed; /* the shopper did not do it */
	const AdyenMethod *method;
	Form		metadata;
	History		history;
	char		dispute[ID_SIZE];	/* pspReference of a chargeback, or empty */
	int64_t		disputed;
} AdyenPayment;

typedef enum ModificationKind
{
	MODIFY_CAPTURE,
	MODIFY_CANCEL,
	MODIFY_TECHNICAL_CANCEL,	/* by the merchant's reference */
	MODIFY_REFUND,
	MODIFY_REVERSAL,			/* cancel or refund */
} ModificationKind;

typedef enum ModificationStatus
{
	MODIFICATION_RECEIVED,
	MODIFICATION_DONE,
	MODIFICATION_FAILED,
	MODIFICATION_UNDONE,		/* was done, failed later */
} ModificationStatus;

typedef struct Modification
{
	char		psp[ID_SIZE];
	AdyenPayment *payment;		/* NULL: cancels a reference nobody knows */
	ModificationKind kind;
	ModificationStatus status;
	char	   *reference;		/* the merchant's, never NULL */
	char	   *merchant;
	int64_t		amount;
	bool		refunds;		/* a reversal that found something captured */
	size_t		execution;		/* place in the history of the payment */
} Modification;

extern AdyenPayment *adyen_new_payment(void);
extern AdyenPayment *adyen_payment(const char *psp);
extern AdyenPayment *adyen_payment_by_token(const char *token);
extern AdyenPayment *adyen_payment_by_reference(const char *reference);
extern void adyen_index_reference(AdyenPayment *payment);
extern AdyenPayment *adyen_payment_at(size_t index);
extern size_t adyen_payment_count(void);
extern Modification *adyen_new_modification(AdyenPayment *payment,
											ModificationKind kind);
extern Modification *adyen_modification(const char *psp);
extern void adyen_make_reference(char *dst);
extern void adyen_reset(void);
extern const char *const adyen_status_names[PAYMENT_STATUSES];

/* ---- adyen_errors.c ---- */

extern void adyen_error(Request *req, unsigned status, const char *code,
						const char *type, const char *format,...)
			__attribute__((format(printf, 5, 6)));
extern void adyen_invalid(Request *req, const char *code, const char *format,...)
			__attribute__((format(printf, 3, 4)));
extern void adyen_unreadable(Request *req, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void adyen_injected(Request *req);
extern void adyen_key_problem(Request *req, KeyProblem problem,
							  const char *first_path);

/* ---- adyen_fields.c: checks; each replies with the error ---- */

#define LONGEST_REFERENCE 80		/* of the merchant */

typedef struct AdyenAmount
{
	char		currency[4];
	int64_t		value;
} AdyenAmount;

extern bool field_names(Request *req, const char *structure,
						const char *const *names);
extern bool field_text(Request *req, const char *name, size_t longest,
					   const char **value);
extern bool field_merchant(Request *req, const char **merchant);
extern bool field_amount(Request *req, int64_t least, AdyenAmount *amount);
extern bool field_choice(Request *req, const char *name,
						 const char *const *choices);
extern bool field_splits(Request *req, const AdyenAmount *amount);

/* ---- adyen_payments.c, adyen_modifications.c: the operations ---- */

extern void adyen_pay(Request *req);
extern void adyen_details(Request *req);
extern void adyen_decide(const Request *req, AdyenPayment *payment,
						 AdyenResult result, const char *reason);
extern void adyen_capture(Request *req);
extern void adyen_cancel(Request *req);
extern void adyen_cancel_reference(Request *req);
extern void adyen_refund(Request *req);
extern void adyen_reverse(Request *req);

/* ---- adyen_outcomes.c: what comes of modifications ---- */

extern void modification_settle(Modification *modification);
extern const char *modification_decide(Modification *modification,
									   bool succeed, const char *reason);
extern const char *modification_undo(Modification *modification,
									 bool reversed, const char *reason);

/* ---- adyen_notices.c: webhooks ---- */

/* Members of a notification that differ from those of the payment. */
typedef struct Notice
{
	const char *code;			/* eventCode */
	const char *psp;			/* pspReference */
	const char *original;		/* originalReference, or NULL */
	const char *reference;		/* merchantReference */
	const char *merchant;		/* merchantAccountCode */
	const char *currency;
	int64_t		value;
	bool		success;
	const char *reason;
	const char *operations;		/* what can be done next, or NULL */
	const Form *more;			/* additionalData, or NULL */
} Notice;

extern void notice_send(const Notice *notice, const char *payment);
extern void notice_authorisation(const AdyenPayment *payment, bool success,
								 const char *reason);
extern void notice_modification(const Modification *modification,
								const char *code, bool success,
								const char *reason);
extern void notice_dispute(const AdyenPayment *payment, const char *code,
						   int64_t amount, const char *reason,
						   const char *status);

/* ---- adyen_control.c, adyen_truth.c ---- */

extern void control_adyen_complete(Request *req);
extern void control_adyen_fail(Request *req);
extern void control_adyen_expire(Request *req);
extern void control_adyen_chargeback(Request *req);
extern void control_adyen_reverse(Request *req);
extern void control_adyen_second(Request *req);
extern void control_adyen_report(Request *req);
extern void truth_payment(StrBuf *buf, const AdyenPayment *payment);

#endif							/* ADYEN_H */
