/*
 * src/gateway/gateway.h
 *		Gateways: what a kind of PSP must know (PlAdapter), the rows of
 *		payledger.gateways, their options, secrets and limits.
 *
 * An adapter turns a request row into bytes and a reply into an outcome;
 * queue, leases, keys, retries, timeouts and TLS are shared.  The README of the
 * adapters says how to write one.
 */
#ifndef PL_GATEWAY_H
#define PL_GATEWAY_H

#include "command/command.h"
#include "http/http.h"

#include "lib/ilist.h"
#include "lib/pairingheap.h"

/* settings, registered in payledger.c */
extern char *pl_gateway_secrets_file;	/* payledger.gateway_secrets_file */
extern int	pl_gateway_concurrency; /* payledger.gateway_concurrency */

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

/* How far a dispute is; each stage presumes what must have been before it. */
typedef enum PlDisputeStage
{
	PL_DISPUTE_OPENED,
	PL_DISPUTE_UNDER_REVIEW,
	PL_DISPUTE_WON,
	PL_DISPUTE_LOST,
	PL_DISPUTE_LOST_AGAIN		/* presumes WON: a second round */
} PlDisputeStage;

/* What a PSP tells of a dispute, in any order. */
typedef struct PlDisputeNotice
{
	const char *psp_reference;	/* the PSP's id of the dispute */
	PlDisputeStage stage;
	int64		amount;			/* minor units of currency */
	const char *currency;
	int64		fee;			/* minor units; 0: none told */
	const char *reason;			/* NULL: none told */
	TimestampTz evidence_due_at;	/* 0: not told */
} PlDisputeNotice;

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

/* ---- adapters.c: the kinds of PSPs there are ---- */

extern const PlAdapter *pl_adapters[];	/* NULL ended */
extern void pl_register_adapter(const PlAdapter *adapter);
extern const PlAdapter *pl_find_adapter(const char *name);
extern char *pl_webhook_header(const PlWebhook *webhook, const char *name);

/* ---- gateways.c: the rows of payledger.gateways, as the worker keeps them ---- */

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
	TimestampTz backfilled_to;	/* of the webhook room: of the last event of the last page */
	int			backfilled_pages;	/* pages before it that ended with that second */
	int			in_flight;		/* calls that point here */
	bool		retired;		/* the row changed: gone with its last call */
	struct PlGatewayLimits *limits; /* of limits.c; NULL: its row has a problem */
	PlHttpPeer	peer;			/* what http.c knows of it; see pl_gateway_peer() */
};

extern bool pl_gateways_load(void);
extern List *pl_gateways(void);
extern char *pl_gateway_problem(const PlGateway *gateway);
extern PlHttpPeer *pl_gateway_peer(PlGateway *gateway);
extern void pl_gateway_release(PlGateway *gateway);

/* ---- options.c ---- */

extern PlOptionValue *pl_options_read(const char *gateway, const PlAdapter *adapter,
									  Jsonb *options, int *noptions);
extern const char *pl_option_text(const PlGateway *gateway, const char *name);
extern int	pl_option_int(const PlGateway *gateway, const char *name);
extern double pl_option_number(const PlGateway *gateway, const char *name);
extern bool pl_option_bool(const PlGateway *gateway, const char *name);

/* ---- secrets.c ---- */

typedef enum PlSecretsLoaded
{
	PL_SECRETS_READ,			/* the file as it is now */
	PL_SECRETS_READ_PARTLY,		/* what is right of it; nothing was known before */
	PL_SECRETS_KEPT				/* nothing of it: what was known before counts */
} PlSecretsLoaded;

extern PlSecretsLoaded pl_secrets_load(const char *database);
extern const char *pl_secrets_problem(void);
extern char *pl_secret_line(const PlGateway *gateway, const char *before, const char *name);
extern bool pl_has_secrets(const char *gateway);
extern void pl_each_webhook_secret(void (*take) (const char *gateway, const char *value, void *arg), void *arg);
extern char *pl_hide_secrets(const char *gateway, const char *text);
extern char *pl_secrets_section(const char *database, const char *gateway);

/* ---- calls: a leased request, from its lease to the commit of its outcome ---- */

typedef struct PlBackfill PlBackfill;

typedef struct PlCall
{
	MemoryContext context;		/* holds this and what it points to */
	PlBackfill *backfill;		/* a page of events; NULL: a request */
	void		(*build) (struct PlCall *call); /* of a page: makes what is sent; NULL: it is made */
	PlGateway  *gateway;
	PlRequest	request;
	PlHttpRequest http;			/* empty for an embedded adapter */
	bool		in_doubt;		/* see PlHttpReply */
	bool		queried;
	bool		postponed;		/* not built: it waits for the clock */
	bool		suspect;		/* a worker may have died of it */
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

extern void pl_limits_begin(List *over);
extern int	pl_limits_of_gateway(PlGateway *gateway, int64 *when);
extern int	pl_limits_of_endpoint(PlGateway *gateway, PlOperation operation, int left, int64 *when);
extern void pl_limits_promise(PlGateway *gateway, int n);
extern void pl_limits_leased(PlCall *call);
extern void pl_limits_over(PlCall *call);
extern void pl_limits_answered(PlCall *call, const PlHttpReply *reply);
extern bool pl_limits_is_silent(const PlGateway *gateway);

/* ---- status.c: what is known of the gateways, in shared memory ---- */

extern Size pl_gateway_status_shmem_size(void);
extern void pl_gateway_status_shmem_init(void);
extern void pl_gateway_status_publish(void);

/* ---- buildable.c: can a request be made at all? ---- */

extern void pl_check_buildable(const PlNewRequest *request);

#endif							/* PL_GATEWAY_H */
