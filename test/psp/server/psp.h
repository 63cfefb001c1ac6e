/*-------------------------------------------------------------------------
 *
 * psp.h
 *		Declarations of the PSP test server: a stateful, idempotent imitation
 *		of Stripe's PaymentIntents API with injectable faults.
 *
 * One thread, one epoll loop. Nothing here takes a lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PSP_H
#define PSP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <microhttpd.h>

#define ID_SIZE 32				/* room for any object id we mint */
#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/* ---- util.c: memory, text buffers, ids, clocks ---- */

typedef struct StrBuf
{
	char	   *data;			/* NUL-terminated once anything was appended */
	size_t		len;
	size_t		size;
} StrBuf;

/* An immutable reply body, shared by a response and a stored reply. */
typedef struct Body
{
	unsigned	refs;
	size_t		len;
	char		data[];
} Body;

extern void *xcalloc(size_t count, size_t size);
extern void *xrealloc(void *ptr, size_t size);
extern char *xstrdup(const char *text);
extern void buf_append(StrBuf *buf, const char *data, size_t len);
extern void buf_puts(StrBuf *buf, const char *text);
extern void buf_printf(StrBuf *buf, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void buf_free(StrBuf *buf);
extern Body *body_take(StrBuf *buf);
extern Body *body_share(Body *body);
extern void body_release(Body *body);
extern uint64_t mix64(uint64_t value);
extern uint64_t hash_bytes(const char *data, size_t len);
extern uint64_t random64(void);
extern void make_id(char *dst, const char *prefix, int length);
extern int64_t now_ms(void);
extern int64_t wall_ms(void);

/* ---- jw.c: JSON writer; key is NULL inside an array ---- */

extern void jw_object(StrBuf *buf, const char *key);
extern void jw_end_object(StrBuf *buf);
extern void jw_array(StrBuf *buf, const char *key);
extern void jw_end_array(StrBuf *buf);
extern void jw_string(StrBuf *buf, const char *key, const char *value);
extern void jw_int(StrBuf *buf, const char *key, int64_t value);
extern void jw_bool(StrBuf *buf, const char *key, bool value);
extern void jw_null(StrBuf *buf, const char *key);

/* ---- hashtab.c: string-keyed hash table; keys are owned by the values ---- */

typedef struct HashSlot
{
	const char *key;
	uint64_t	hash;
	void	   *value;
} HashSlot;

typedef struct HashTable
{
	HashSlot   *slots;
	size_t		nslots;			/* a power of two, or 0 */
	size_t		used;
} HashTable;

extern void *hash_get(const HashTable *table, const char *key);
extern void hash_put(HashTable *table, const char *key, void *value);
extern void hash_remove(HashTable *table, const char *key);
extern void hash_clear(HashTable *table, void (*free_value) (void *));

/* ---- timers.c: binary heap of deadlines ---- */

typedef struct Timer
{
	int64_t		deadline;		/* in now_ms() time */
	size_t		slot;			/* 1-based place in the heap, 0 = not armed */
	void		(*fire) (struct Timer *timer);
	void	   *arg;
} Timer;

extern void timer_arm(Timer *timer, int64_t delay_ms);
extern void timer_cancel(Timer *timer);
extern int timers_wait_ms(void);
extern void timers_run(void);
extern void timers_fire_all(void);

/* ---- form.c: decoded parameters, in order, names like "card[number]" ---- */

typedef struct Param
{
	char	   *name;
	char	   *value;
} Param;

typedef struct Form
{
	Param	   *params;
	size_t		count;
	size_t		size;
} Form;

extern void form_add(Form *form, const char *name, const char *value);
extern bool form_parse(Form *form, const char *data, size_t len);
extern const char *form_get(const Form *form, const char *name);
extern bool form_expands(const Form *form, const char *field);
extern char *form_member(const char *name, const char *parent);
extern uint64_t form_fingerprint(const Form *form);
extern void form_free(Form *form);

/* ---- cards.c: what each test payment method does ---- */

typedef enum CardOutcome
{
	CARD_OK,
	CARD_DECLINED,
	CARD_AUTHENTICATE,
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

/* One thing that was really executed on an intent. */
typedef struct Event
{
	const char *kind;			/* create, confirm, action, capture, ... */
	const char *outcome;		/* ok, declined, requires_action, pending */
	int64_t		amount;
	bool		final;			/* of a capture */
	char	   *key;			/* idempotency key or NULL */
	char		request[ID_SIZE];
	char		refund[ID_SIZE];
} Event;

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
	Event	   *events;
	size_t		nevents;
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
	Form		metadata;
} Refund;

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
extern Event *store_event(Intent *intent, const char *kind, int64_t amount,
						  const char *key, const char *request);
extern unsigned store_generation(void);
extern void store_reset(void);

/* ---- requests ---- */

typedef enum Operation
{
	OP_CREATE,
	OP_CONFIRM,
	OP_CAPTURE,
	OP_CANCEL,
	OP_RETRIEVE,
	OP_REFUND,
	OP_ANY,						/* only in the match of a fault */
} Operation;

typedef struct Request Request;

/* An API endpoint: {id} in the path stands for one segment. */
typedef struct Route
{
	const char *method;
	const char *path;
	Operation	operation;
	void		(*handler) (Request *req);
} Route;

typedef struct Reply
{
	unsigned	status;			/* 0 = nothing decided yet */
	Body	   *body;
	const char *should_retry;	/* Stripe-Should-Retry, or NULL */
	long		retry_after;	/* seconds, 0 = no header */
	bool		replayed;
	char		original[ID_SIZE];	/* request that was executed */
} Reply;

typedef enum FaultKind
{
	FAULT_NONE,
	FAULT_DELAY,
	FAULT_DROP_BEFORE,
	FAULT_DROP_AFTER,
	FAULT_RESET_BEFORE,
	FAULT_RESET_AFTER,
	FAULT_ERROR_500,
	FAULT_ERROR_500_STORED,
	FAULT_ERROR_503,
	FAULT_CONFLICT_409,
	FAULT_RATE_LIMIT_429,
	FAULT_GARBAGE,
	FAULT_TRUNCATED,
	FAULT_OVERSIZED,
	FAULT_SLOW_LORIS,
	FAULT_KINDS,
} FaultKind;

/* The fault one request got, copied from its rule. */
typedef struct FaultShot
{
	FaultKind	kind;
	int64_t		ms;				/* -1 = not given */
	int64_t		bytes;			/* -1 = not given */
	long		retry_after;
	bool		execute;		/* of an error: do the work all the same */
	const char *should_retry;	/* overrides the header */
} FaultShot;

typedef enum Phase
{
	PHASE_HEADERS,				/* nothing but the request line seen */
	PHASE_BODY,
	PHASE_DELAYED,				/* suspended, to be executed */
	PHASE_READY,				/* was delayed, the reply is there */
	PHASE_HOLDING,				/* suspended, never to be answered */
	PHASE_CLOSE,				/* close without answer at the next call */
	PHASE_ANSWERED,
} Phase;

typedef struct StoredReply StoredReply;

struct Request
{
	struct MHD_Connection *connection;
	char	   *uri;			/* raw path and query */
	char		path[512];
	char		method[16];
	char		id[ID_SIZE];
	int64_t		arrived;		/* when the headers were read, in wall_ms() */
	StrBuf		body;
	bool		too_large;
	Form		params;			/* of the query and the body */
	const char *key;			/* Idempotency-Key, or NULL */
	const Route *route;
	char		object[128];	/* id in the path */
	Phase		phase;
	bool		executed;		/* past validation: the reply is stored */
	StoredReply *stored;		/* key reserved by this request */
	unsigned	keys_generation;	/* of the keys when it was reserved */
	FaultShot	fault;
	Reply		reply;
	Timer		timer;
	bool		suspended;
	int			fd;
};

extern void *request_begin(void *cls, const char *uri,
						   struct MHD_Connection *connection);
extern enum MHD_Result request_handle(void *cls,
									  struct MHD_Connection *connection,
									  const char *url, const char *method,
									  const char *version,
									  const char *upload_data,
									  size_t *upload_data_size,
									  void **con_cls);
extern void request_end(void *cls, struct MHD_Connection *connection,
						void **con_cls,
						enum MHD_RequestTerminationCode code);
extern void request_peer_gone(Request *req);
extern const char *request_header(Request *req, const char *name);
extern const char *request_query(Request *req, const char *name);

/* ---- api.c: routing, authorization, one API request from start to reply ---- */

extern const Route *route_find(const Route *among, size_t count,
							   Request *req);
extern void api_begin(Request *req);
extern void api_execute(Request *req);

/* ---- errors.c: error replies in Stripe's shape ---- */

extern void reply_json(Request *req, unsigned status, StrBuf *buf);
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
extern void reply_key_in_use(Request *req);
extern void reply_injected(Request *req);

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

/* ---- intents.c, capture.c, refunds.c, lists.c: the operations ---- */

extern void intent_create(Request *req);
extern void intent_confirm(Request *req);
extern void intent_retrieve(Request *req);
extern const char *intent_complete_action(Intent *intent, bool succeed);
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
extern void render_refund(StrBuf *buf, const char *key, const Refund *refund);
extern void render_failure(StrBuf *buf, const char *key,
						   const Intent *intent);
extern void render_payment_method(StrBuf *buf, const char *key,
								  const char *id, const Card *card,
								  time_t created);
extern void render_doc_url(StrBuf *buf, const char *code);

/* ---- idempotency.c ---- */

struct StoredReply
{
	char	   *key;			/* account, then key */
	uint64_t	fingerprint;	/* of the parameters */
	char	   *path;
	bool		done;			/* false while the first request runs */
	Reply		reply;
};

extern bool idempotency_begin(Request *req);
extern void idempotency_finish(Request *req);
extern void idempotency_forget(void);

/* ---- faults.c ---- */

extern void fault_pick(Request *req);
extern const char *fault_name(FaultKind kind);
extern const char *operation_name(Operation operation);
extern void faults_add(Request *req);
extern void faults_list(Request *req);
extern void faults_clear(void);

/* ---- wire.c: how a reply reaches the client, or does not ---- */

extern enum MHD_Result wire_send(Request *req);
extern void wire_suspend(Request *req, int64_t ms, Phase phase);
extern void wire_reset(Request *req);

/* ---- control.c, truth.c: the endpoints below /_test/ ---- */

extern enum MHD_Result control_handle(Request *req);
extern void control_error(Request *req, unsigned status, const char *format,...)
			__attribute__((format(printf, 3, 4)));
extern void truth_summary(StrBuf *buf, const char *currency);
extern void truth_intent(StrBuf *buf, const Intent *intent);
extern enum MHD_Result truth_stream(Request *req);

/* ---- log.c ---- */

extern bool log_open(const char *path);
extern void log_request(Request *req);
extern void log_close(void);

/* ---- main.c: the process ---- */

typedef struct Stats
{
	int64_t		requests;
	int64_t		control_requests;
	int64_t		replays;
	int64_t		conflicts;		/* key in use */
	int64_t		mismatches;		/* key with other parameters */
	int64_t		unauthorized;
	int64_t		operations[OP_ANY];
	int64_t		faults[FAULT_KINDS];
	int64_t		statuses[600];
} Stats;

typedef struct Server
{
	struct MHD_Daemon *daemon;
	int			epoll;
	const char *api_key;		/* NULL = any */
	Stats		stats;
} Server;

extern Server server;

#endif							/* PSP_H */
