/*
 * src/psp/psp.h
 *		Gateways: the request queue, HTTP, and one adapter for each PSP.
 *
 * An adapter turns a request row into bytes and a reply into an outcome;
 * queue, leases, keys, retries, timeouts and TLS are shared.  README.md says
 * how to write one.
 */
#ifndef PL_PSP_H
#define PL_PSP_H

#include "core/core.h"
#include "payment/payment.h"

#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "nodes/pg_list.h"
#include "utils/guc.h"

/* settings, registered in payledger.c */
extern char *pl_gateway_secrets_file;	/* payledger.gateway_secrets_file */
extern char *pl_private_gateway_addresses;	/* payledger.private_gateway_addresses */
extern int	pl_gateway_concurrency; /* payledger.gateway_concurrency */
extern int	pl_webhook_retention;	/* payledger.webhook_retention, s */
extern int	pl_authorize_timeout;	/* payledger.authorize_timeout, ms */

/* ---- adapters ---- */

typedef struct PlGateway PlGateway;

typedef enum PlOptionType
{
	PL_OPTION_INT,				/* JSON number without fraction, min..max */
	PL_OPTION_NUMBER,			/* JSON number, min..max */
	PL_OPTION_BOOL,
	PL_OPTION_TEXT,				/* up to 200 printable characters */
	PL_OPTION_CHOICE,			/* one of the words in choices */
	PL_OPTION_URL				/* https, or http to a loopback literal */
} PlOptionType;

/* One legal option of a gateway. */
typedef struct PlOption
{
	const char *name;
	PlOptionType type;
	double		min;
	double		max;
	const char *choices;		/* words parted by | */
	const char *fallback;		/* value when it is not given; NULL: none */
	const char *description;	/* with the unit */
	bool		required;		/* must be given */
} PlOption;

typedef enum PlHttpMethod
{
	PL_HTTP_UNSET,				/* refused */
	PL_HTTP_GET,
	PL_HTTP_POST,
	PL_HTTP_DELETE
} PlHttpMethod;

/*
 * What goes to the PSP.  Strings in the caller's memory.  A POST has a body,
 * which may be empty, and its content type; others have neither.
 */
typedef struct PlHttpRequest
{
	PlHttpMethod method;
	const char *path;			/* below the gateway's base_url, with query,
								 * escaped */
	const char *body;			/* NULL: none */
	const char *content_type;	/* NULL without body */
} PlHttpRequest;

/* What came back, or why nothing did. */
typedef struct PlHttpReply
{
	bool		received;		/* a whole reply was read */
	bool		sent;			/* the request may have reached the PSP */
	int			status;
	const char *body;			/* NUL terminated, never larger than
								 * max_reply_bytes */
	size_t		body_length;
	const char *headers;		/* the header lines, use pl_http_header() */
	const char *fault;			/* not received: why, one word */
	const char *fault_detail;

	/* set by the queue, for the adapter */
	bool		in_doubt;		/* an earlier attempt may have been executed */
	bool		queried;		/* the reply to query(), not to the request */
} PlHttpReply;

/* ---- webhooks: what PSPs tell unasked ---- */

/* An event as a PSP sends it: a row of payledger.webhooks. */
typedef struct PlWebhookEvent
{
	const char *event_id;		/* tells it from every other of the gateway */
	const char *event_type;		/* the PSP's word */
	TimestampTz occurred_at;	/* 0: not told */
	const char *body;			/* JSON object; what read_event() takes */

	/* set by pl_webhook_event() */
	const char *problem;		/* why it cannot be read; NULL: it can */
	bool		is_named;		/* the id is the PSP's */
} PlWebhookEvent;

/* type and id, with a digest behind it, of an event that does not name itself */
#define PL_UNREADABLE_EVENT "unreadable"

/* What a notification is about. */
typedef enum PlSubject
{
	PL_ABOUT_AUTHORIZATION,		/* of the payment; REVERSED: cancelled or expired at the PSP */
	PL_ABOUT_CAPTURE,
	PL_ABOUT_CANCEL,
	PL_ABOUT_REFUND,
	PL_ABOUT_PAYOUT,
	PL_ABOUT_DISPUTE
} PlSubject;

/*
 * What an event says about one of our objects.  Either payment_id or
 * payment_reference is given (for a payout object_id), and of a capture,
 * cancel or refund psp_request_id or, for a refund, object_id.  An outcome
 * presumes what must have happened before it: REVERSED that it SUCCEEDED.
 */
typedef struct PlNotification
{
	PlSubject	subject;
	int64		payment_id;		/* ours; 0: not told */
	int64		psp_request_id;	/* ours; 0: not told */
	int64		object_id;		/* our refund or payout; 0: not told */
	const char *payment_reference;	/* the PSP's id of the payment; NULL: not told */
	const char *request_key;	/* idempotency key of the request of ours, as the PSP was told it; NULL: not told */
	const char *destination;	/* of a payout, where the money went; NULL: not told */
	bool		names_object;	/* outcome.psp_reference is the PSP's id of what the request made, of which there is one */
	PlOutcome	outcome;		/* not for disputes */

	PlDisputeNotice dispute;	/* PL_ABOUT_DISPUTE only */
} PlNotification;

/* A webhook before anybody believes it. */
typedef struct PlWebhook
{
	Jsonb	   *headers;		/* object; see pl_webhook_header() */
	const char *body;			/* raw, NUL terminated */
	size_t		length;
} PlWebhook;

/* A key that may have signed it, as the secrets file has it. */
typedef struct PlWebhookKey
{
	char		value[128];		/* NUL terminated */
} PlWebhookKey;

/* What an error of a PSP means, or the state of an object in its replies. */
typedef struct PlErrorClass
{
	int			http_status;	/* 0: any */
	const char *type;			/* NULL: any */
	const char *code;			/* NULL: any */
	PlOutcomeClass outcome;
	PlOutcomeClass in_doubt;	/* outcome if an earlier attempt may have been
								 * executed */
	const char *note;			/* why; NULL ends the table */
} PlErrorClass;

/*
 * A kind of PSP.  Either build and interpret are given (HTTP), or perform
 * (embedded).  All run in the gateway worker; they must not touch the
 * database; they may raise errors, which park the request.
 */
typedef struct PlAdapter
{
	const char *name;
	const char *api_version;	/* that error_classes are of; NULL without them */
	const PlOption *options;	/* own options, ended by a NULL name; one of
								 * the same name hides a shared one */
	const char *const *secrets; /* names it needs in the secrets file, NULL
								 * ended */
	const PlErrorClass *error_classes;	/* what errors and states mean */
	int			key_window;		/* how long the PSP keeps an idempotency key,
								 * seconds */
	bool		needs_reference;	/* captures need the PSP's id of the payment */
	bool		pays_out;		/* it knows PL_OP_PAYOUT */

	/* the bytes of a request, built once, committed, then sent as they are */
	void		(*build) (const PlGateway *gateway, const PlRequest *request,
						  PlHttpRequest *http);

	/*
	 * a question about a request of unknown outcome that itself changes
	 * nothing; false: there is none.  NULL: there never is.
	 */
	bool		(*query) (const PlGateway *gateway, const PlRequest *request,
						  PlHttpRequest *http);

	/* headers that are not part of the stored bytes: "Name: value" strings */
	List	   *(*headers) (const PlGateway *gateway, const PlRequest *request,
							const PlHttpRequest *http);

	/* what a whole reply means */
	void		(*interpret) (const PlRequest *request, const PlHttpReply *reply,
							  PlOutcome *outcome);

	/*
	 * Why the webhook is not authentic by any of the keys or not timely; NULL:
	 * it is.  Runs in the caller's backend, compares in constant time.  NULL:
	 * the PSP sends no webhooks.
	 */
	const char *(*verify_webhook) (const PlWebhook *webhook, const PlWebhookKey *keys, int nkeys,
								   TimestampTz now);

	/*
	 * The events in the body of an authentic webhook, each a text of its own
	 * (char *, palloc'd, valid), whatever is in it.
	 */
	List	   *(*split_webhook) (const char *body, size_t length);

	/*
	 * Id, type and time of an event of that text.  Raises 22P02, 22023, 22003, 54000 or 54001 for what
	 * makes no sense.
	 */
	void		(*name_event) (const char *text, PlWebhookEvent *event);

	/* not to be kept of any event, readable or not: members of that name */
	const char *hidden_member;

	/*
	 * What an event says (PlNotification); NIL: nothing that concerns us.
	 * Raises as name_event.  Also called by the worker, with stored bodies.
	 */
	List	   *(*read_event) (const PlWebhookEvent *event);

	/*
	 * A request for the events after the newest one that is known, and the
	 * texts of the events in its reply, as split_webhook returns them, newest
	 * first as the PSP gives them; *more: there are older ones, to be asked for
	 * with before.  NULL: the PSP keeps none.
	 */
	void		(*list_events) (const PlGateway *gateway, TimestampTz since, const char *before,
								PlHttpRequest *http);
	List	   *(*read_events) (const PlHttpReply *reply, bool *more);

	/* embedded adapters: the outcome, and after how many ms it is known */
	long		(*perform) (const PlGateway *gateway, const PlRequest *request,
							PlOutcome *outcome);
} PlAdapter;

extern const PlAdapter pl_sandbox_adapter;
extern const PlAdapter pl_stripe_adapter;
extern const PlAdapter pl_adyen_adapter;

extern const PlAdapter *const pl_adapters[];	/* NULL ended */
extern const PlAdapter *pl_find_adapter(const char *name);

/* ---- gateways.c: the rows of payledger.gateways, as the worker keeps them ---- */

/* Where requests go to. */
typedef struct PlEndpoint
{
	char	   *host;			/* in lower case, IPv6 in brackets; NULL: nowhere */
	int			port;
	bool		plain;			/* without TLS */
} PlEndpoint;

typedef struct PlOptionValue
{
	const PlOption *option;
	char	   *value;			/* as text; NULL: none */
} PlOptionValue;

struct PlGateway
{
	char	   *name;
	const PlAdapter *adapter;
	char	   *definition;		/* adapter and options as the row has them */
	char	   *problem;		/* why the row cannot be used; NULL: it can */
	int			noptions;
	PlOptionValue *options;

	/* the shared options every call needs */
	int			max_attempts;
	int			retry_base_ms;
	int			retry_max_ms;
	int			unknown_max_ms;
	int			unknown_days;
	int			failover_after_ms;
	int			lease_seconds;
	int			timeout_ms;
	int			key_window;		/* the adapter's, or less; seconds */
	PlEndpoint	endpoint;		/* its base_url's; of no host for an embedded one */
	PlEndpoint	home;			/* that of the adapter's own base_url */

	MemoryContext context;
	TimestampTz backfilled_to;	/* of backfill.c: of the last event of the last page */
	int			backfilled_pages;	/* pages before it that ended with that second */
	int			in_flight;		/* calls that point here */
	bool		retired;		/* the row changed: gone with its last call */
	struct PlGatewayLimits *limits; /* of limits.c; NULL: its row has a problem */
	struct PlHttpShare *http;	/* its TLS sessions, of http.c; NULL: none yet */
};

extern bool pl_gateways_load(void);
extern List *pl_gateways(void);
extern char *pl_gateway_problem(const PlGateway *gateway);
extern void pl_gateway_release(PlGateway *gateway);

/* ---- options.c ---- */

extern PlOptionValue *pl_options_read(const char *gateway, const PlAdapter *adapter,
									  Jsonb *options, int *noptions);
extern const char *pl_option_text(const PlGateway *gateway, const char *name);
extern int	pl_option_int(const PlGateway *gateway, const char *name);
extern double pl_option_number(const PlGateway *gateway, const char *name);
extern bool pl_option_bool(const PlGateway *gateway, const char *name);
extern const char *pl_default_base_url(const PlAdapter *adapter);

/* ---- address.c: where a gateway may be ---- */

typedef enum PlAddressClass
{
	PL_ADDRESS_PUBLIC,
	PL_ADDRESS_LOOPBACK,
	PL_ADDRESS_PRIVATE			/* any other that is not for the internet */
} PlAddressClass;

struct sockaddr;
extern PlAddressClass pl_address_class(const struct sockaddr *address);
extern bool pl_address_allowed(const struct sockaddr *address, bool plain);
extern void pl_check_url(const char *gateway, const char *option, const char *url);
extern void pl_require_public(const char *gateway, const char *option, const char *url);
extern bool pl_parse_host(const char *text, PlEndpoint *endpoint);
extern void pl_url_endpoint(const char *url, PlEndpoint *endpoint);
extern bool pl_same_endpoint(const PlEndpoint *a, const PlEndpoint *b);
extern const char *pl_endpoint_refused(const PlEndpoint *endpoint);

/* ---- networks.c: addresses of one's own ---- */

extern bool pl_check_networks(char **newval, void **extra, GucSource source);
extern void pl_assign_networks(const char *newval, void *extra);
extern bool pl_in_own_network(const struct sockaddr *address);

/* ---- secrets.c ---- */

typedef enum PlSecretsLoaded
{
	PL_SECRETS_READ,			/* the file as it is now */
	PL_SECRETS_READ_PARTLY,		/* what is right of it; nothing was known before */
	PL_SECRETS_KEPT				/* nothing of it: what was known before counts */
} PlSecretsLoaded;

extern PlSecretsLoaded pl_secrets_load(const char *database);
extern const char *pl_secrets_problem(void);
extern char *pl_secrets_missing(const PlGateway *gateway);
extern char *pl_secret_line(const PlGateway *gateway, const char *before, const char *name);
extern const char *pl_secrets_ca(const PlGateway *gateway);
extern bool pl_has_secrets(const char *gateway);
extern void pl_each_webhook_secret(void (*take) (const char *gateway, const char *value, void *arg), void *arg);
extern char *pl_hide_secrets(const char *gateway, const char *text);
extern char *pl_secrets_section(const char *database, const char *gateway);

/* ---- http.c: many transfers at once, for the gateway worker ---- */

/* bytes that the buffers of all replies may take together, beyond 16 kB each */
#define PL_HTTP_REPLY_BUDGET (4 * 1024 * 1024)

extern void pl_http_init(void);
extern void pl_http_tell(void (*touched) (void *owner));
extern int	pl_http_epoll_fd(void);
extern int	pl_http_max_transfers(void);
extern void pl_http_start(PlGateway *gateway, const PlHttpRequest *request,
						  List *headers, void *owner);
extern void pl_http_drive(void);
extern long pl_http_timeout_ms(void);
extern void *pl_http_next(PlHttpReply *reply);
extern void pl_http_forget(PlGateway *gateway);
extern char *pl_http_header(const PlHttpReply *reply, const char *name);
extern long pl_http_retry_after_ms(const PlHttpReply *reply);

/* ---- http_request.c: what a request must look like ---- */

extern const char *pl_http_method_name(PlHttpMethod method);
extern PlHttpMethod pl_http_method_by_name(const char *name);
extern const char *pl_http_request_problem(const PlHttpRequest *request);
extern void pl_check_http_request(const PlHttpRequest *request);
extern void pl_check_http_headers(const List *headers);

/* ---- wire.c: the stored form of a request, and forms ---- */

extern bytea *pl_wire_encode(const PlHttpRequest *http);
extern void pl_wire_decode(bytea *bytes, PlHttpRequest *http);
extern void pl_form_add(StringInfo form, const char *name, const char *value);
extern void pl_form_add_int64(StringInfo form, const char *name, int64 value);
extern char *pl_url_escape(const char *text);

/* ---- redact.c ---- */

extern char *pl_redact(const char *text);
extern void pl_undo_escapes(char *json);
extern void pl_hide_members(char *json, const char *name);

/* ---- document.c: reading JSON that nobody vouches for ---- */

typedef struct PlDocument PlDocument;

extern PlDocument *pl_document(const char *body, size_t length, const char **problem);
extern bool pl_is_text(const char *value, const char *expected);
extern const char *pl_document_text(const PlDocument *document, const char *path);
extern char *pl_document_raw(const PlDocument *document, const char *path);
extern char *pl_document_json(const PlDocument *document, const char *path);
extern PlDocument *pl_require_document(const char *what, const char *body, size_t length);
extern List *pl_require_elements(const char *what, const char *body, size_t length, const char *path,
								 PlDocument **list);
extern const char *pl_document_string(const PlDocument *document, const char *path);
extern bool pl_document_int64(const PlDocument *document, const char *path, int64 *value);
extern const char *pl_document_next(const PlDocument *document, const char *path, int *position,
									const char **text);

/* ---- values.c: amounts, times and ids as PSPs write them ---- */

/* A currency that a PSP counts in other units than ISO 4217. */
typedef struct PlExponent
{
	const char *currency;		/* NULL ends the table */
	int			exponent;		/* digits after the point */
} PlExponent;

extern int64 pl_amount_to_psp(int64 amount, const char *currency, const PlExponent *exponents);
extern int64 pl_amount_from_psp(int64 amount, const char *currency, const PlExponent *exponents);
extern TimestampTz pl_time_from_unix(int64 seconds);
extern TimestampTz pl_time_from_iso(const char *text);
extern int64 pl_id_from_text(const char *text);

/* ---- error_classes.c ---- */

extern PlOutcomeClass pl_classify_error(const PlAdapter *adapter, const PlHttpReply *reply,
										const char *type, const char *code);
extern PlOutcomeClass pl_classify_state(const PlAdapter *adapter, const char *type, const char *state);

/* ---- calls: a leased request, from its lease to the commit of its outcome ---- */

typedef struct PlBackfill PlBackfill;

typedef struct PlCall
{
	MemoryContext context;		/* holds this and what it points to */
	PlBackfill *backfill;		/* a page of events; NULL: a request */
	PlGateway  *gateway;
	PlRequest	request;
	PlHttpRequest http;			/* empty for an embedded adapter */
	bool		in_doubt;		/* see PlHttpReply */
	bool		queried;
	bool		postponed;		/* not built: it waits for the clock */
	bool		unreached;		/* nothing was sent: no answer, not even a no */
	bool		failed_before;	/* the attempt before was answered with a 5xx */
	int			circuit_round;	/* of the circuit breaker, when it was leased */
	PlOutcome	outcome;
	int64		ready_at;		/* embedded adapter: pl_monotonic_ms() when the
								 * outcome is known */
	pairingheap_node timer;
	dlist_node	node;			/* in one of the worker's lists */
	bool		lost;			/* somebody else has the lease now */
	int			store_failures; /* how often its outcome could not be stored */
	int64		store_after;	/* pl_monotonic_ms() of the next attempt */
} PlCall;

/* ---- limits.c: how much a gateway is asked at once and in a second ---- */

typedef struct PlGatewayLimits PlGatewayLimits;

#define PL_MAX_PROBLEM	512		/* bytes that are kept of it */

/* What stat_gateway shows; plain data, for shared memory. */
typedef struct PlGatewayStatus
{
	char		gateway[NAMEDATALEN];
	int			circuit;		/* PlCircuitState */
	TimestampTz circuit_since;	/* 0: it never changed */
	TimestampTz next_probe_at;	/* 0: none */
	TimestampTz throttled_until;	/* 0: the PSP asked for no pause */
	int64		replies;		/* to calls, or their lack */
	int64		faults;			/* of them, no answer or status 5xx */
	char		problem[PL_MAX_PROBLEM];	/* why it is not asked; empty: it is */
} PlGatewayStatus;

extern void pl_limits_configure(PlGateway *gateway);
extern void pl_limits_begin(List *over);
extern int	pl_limits_of_gateway(PlGateway *gateway, int64 *when);
extern int	pl_limits_of_endpoint(PlGateway *gateway, PlOperation operation, int left, int64 *when);
extern void pl_limits_promise(PlGateway *gateway, int n);
extern void pl_limits_leased(PlCall *call);
extern void pl_limits_over(PlCall *call);
extern void pl_limits_answered(PlCall *call, const PlHttpReply *reply);
extern bool pl_limits_is_silent(const PlGateway *gateway);
extern void pl_limits_status(const PlGateway *gateway, PlGatewayStatus *status);

/* ---- gateway_status.c: what is known of the gateways, in shared memory ---- */

extern Size pl_gateway_status_shmem_size(void);
extern void pl_gateway_status_shmem_init(void);
extern void pl_gateway_status_publish(void);

/* ---- trouble.c: what somebody has to be woken for ---- */

typedef struct PlTrouble
{
	const char *message;		/* the same as long as it lasts */
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
} PlTrouble;

extern List *pl_troubles_of_gateways(void);
extern List *pl_troubles_of_requests(bool *looked);

/* ---- due.c: which requests are due ---- */

extern uint64 pl_due_select(void);
extern uint64 pl_due_select_one(int64 payment_id, int64 psp_request_id);
extern TimestampTz pl_due_next(void);

/* ---- in_hand.c: what the worker does, told to the next one if it dies ---- */

typedef enum PlInHandKind
{
	PL_IN_HAND_NOTHING,
	PL_IN_HAND_REQUEST,
	PL_IN_HAND_WEBHOOK,
	PL_IN_HAND_PAGE				/* of a list of events */
} PlInHandKind;

typedef struct PlInHand
{
	PlInHandKind kind;
	int64		payment_id;		/* of a request */
	int64		id;				/* of a request or a webhook */
	char		gateway[NAMEDATALEN];
} PlInHand;

/* What a worker that died has left. */
typedef struct PlLeftInHand
{
	int64		lease_token;	/* of what it had in flight */
	PlInHand	in_hand;		/* what it did just then */
	PlInHand	alone;			/* the only thing that was under way */
} PlLeftInHand;

extern bool pl_in_hand_left(PlLeftInHand *left);
extern void pl_in_hand_begin(void);
extern void pl_in_hand_call(const PlCall *call);
extern void pl_in_hand_webhook(const char *gateway, int64 webhook_id);
extern void pl_in_hand_nothing(void);
extern void pl_in_hand_alone(int64 payment_id, int64 psp_request_id);

/* ---- suspects.c: what a worker may have died of ---- */

extern void pl_suspects_blame(const PlLeftInHand *left);
extern void pl_suspects_judge(const PlLeftInHand *left);
extern void pl_suspects_begin(void);
extern bool pl_suspects_wait(void);
extern bool pl_suspects_next(int64 *payment_id, int64 *psp_request_id);

/* ---- queue.c: from row to call ---- */

extern bool pl_queue_attach(void);
extern int64 pl_queue_lease_token(void);
extern void pl_queue_take_over(void);
extern bool pl_queue_lease_alone(int64 payment_id, int64 psp_request_id, dlist_head *leased);
extern void pl_queue_clock_confirmed(void);
extern uint64 pl_queue_expire_leases(void);
extern void pl_queue_lease(List *over, dlist_head *leased, TimestampTz *next_due);
extern void pl_queue_drop(PlCall *call);

/* ---- call.c: from call to outcome ---- */

#define PL_MAX_NEXT_ACTION 16384	/* bytes that are kept of it */

extern bool pl_is_reference(const char *gateway, const char *reference);
extern void pl_clean_outcome(const char *gateway, PlOutcome *outcome);
extern void pl_call_send(PlCall *call);
extern void pl_call_interpret(PlCall *call, PlHttpReply *reply);
extern void pl_call_perform(PlCall *call);
extern void pl_call_set_outcome(PlCall *call, PlOutcomeClass class, const char *code,
								const char *message);

/* ---- failover.c: authorizations that wait for too long ---- */

extern bool pl_may_fail_over(const PlGateway *gateway, const PlRequest *request, TimestampTz now);
extern void pl_fail_over_waiting(TimestampTz *next_due);

/* ---- finish.c: from outcome to row ---- */

extern TimestampTz pl_key_forgotten_at(const PlCall *call);
extern List *pl_queue_finish(List *calls);
extern void pl_queue_park(PlCall *call, const char *code, const char *message);

/* ---- answers.c: what became of a request, told by other means than its reply ---- */

typedef enum PlAnswered
{
	PL_ANSWERED,
	PL_ANSWER_NO_NEWS,			/* known already */
	PL_ANSWER_TOO_EARLY,		/* the request is with the PSP, or not sent yet */
	PL_ANSWER_NO_REQUEST
} PlAnswered;

extern PlRequest *pl_read_request(int64 payment_id, int64 psp_request_id, char **status);
extern void pl_apply_reversed(PlWork *work, const PlRequest *request, const PlRequest *question,
							  const PlOutcome *outcome);
extern PlAnswered pl_answer_request(PlWork *work, int64 payment_id, int64 psp_request_id,
									const PlRequest *question, const PlOutcome *outcome);

/* ---- webhook_keys.c: the keys that webhooks are signed with, in shared memory ---- */

extern Size pl_webhook_keys_shmem_size(void);
extern void pl_webhook_keys_shmem_init(void);
extern char *pl_webhook_keys_publish(bool all);
extern PlWebhookKey *pl_webhook_keys(const char *gateway, int *nkeys);
extern void pl_webhook_keys_wipe(PlWebhookKey *keys);

/* ---- webhooks.c: receiving; notifications.c: applying ---- */

extern char *pl_webhook_header(const PlWebhook *webhook, const char *name);
extern void pl_webhooks_store(const char *gateway, List *events, bool backfilled);
extern PlWebhookEvent *pl_webhook_event(const PlAdapter *adapter, const char *text);
extern List *pl_webhooks_apply(MemoryContext context, TimestampTz *next_due);

/* ---- backfill.c: events whose webhook got lost ---- */

/* next_at of a list that is not read before an operator says so */
#define PL_BACKFILL_NEVER "'9999-01-01 00:00+00'"

extern void pl_backfills_lease(dlist_head *leased, TimestampTz *next_due);
extern void pl_backfill_build(PlCall *call);
extern void pl_backfill_take(PlCall *call, const PlHttpReply *reply);
extern void pl_backfill_store(PlCall *call);

extern bool pl_forget_webhooks(uint64 *deleted);	/* webhook_admin.c */

/* ---- authorize.c ---- */

extern void pl_require_nonatomic(FunctionCallInfo fcinfo, const char *procedure,
								 const char *hint);

#endif							/* PL_PSP_H */
