/*-------------------------------------------------------------------------
 *
 * psp.h
 *		Declarations of the PSP test server: a stateful, idempotent imitation
 *		of Stripe's and Adyen's payment APIs with injectable faults. This is
 *		what both have in common; stripe.h and adyen.h have the rest.
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

#include <jansson.h>
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

/* ---- list.c: growing array of pointers ---- */

typedef struct List
{
	void	  **items;
	size_t		count;
	size_t		size;
} List;

extern size_t list_add(List *list, void *item);
extern void list_free(List *list);

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

/* ---- history.c: what was really executed on an object ---- */

/* One thing that was really executed on an intent. */
typedef struct Execution
{
	const char *kind;			/* create, confirm, action, capture, ... */
	const char *outcome;		/* ok, declined, requires_action, pending */
	int64_t		amount;
	bool		final;			/* of a capture */
	char	   *key;			/* idempotency key or NULL */
	char		request[ID_SIZE];
	char		object[ID_SIZE];	/* PSP's id of what it made, or empty */
	char	   *reference;		/* the merchant's reference of it, or NULL */
} Execution;

/* Everything that was executed on an object, oldest first. */
typedef struct History
{
	Execution  *items;
	size_t		count;
} History;

extern Execution *history_add(History *history, const char *kind,
							  int64_t amount, const char *key,
							  const char *request);
extern void history_free(History *history);
extern void render_history(StrBuf *buf, const History *history);

/* ---- requests ---- */

typedef enum Operation
{
	OP_CREATE,
	OP_CONFIRM,
	OP_CAPTURE,
	OP_CANCEL,
	OP_RETRIEVE,
	OP_REFUND,
	OP_TRANSFER,
	OP_AUTHORIZE,
	OP_DETAILS,
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
typedef struct Psp Psp;

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
	Form		params;			/* of the query and a form */
	json_t	   *json;			/* body, if it is JSON */
	const char *key;			/* Idempotency-Key, or NULL */
	const Psp  *psp;			/* whose API it speaks to */
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

/* ---- api.c: routing, one API request from start to reply ---- */

/* What is wrong with an idempotency key. */
typedef enum KeyProblem
{
	KEY_TOO_LONG,
	KEY_OTHER_ENDPOINT,
	KEY_OTHER_PARAMETERS,
	KEY_IN_USE,
} KeyProblem;

/* What is special about the API of one PSP. */
struct Psp
{
	const char *name;
	const Route *routes;
	size_t		nroutes;
	size_t		longest_key;	/* idempotency key, in bytes */
	bool		(*authorized) (Request *req);	/* or replies */
	void		(*reply_no_route) (Request *req);
	bool		(*read_body) (Request *req);	/* or replies */
	uint64_t	(*fingerprint) (const Request *req);
	void		(*reply_key_problem) (Request *req, KeyProblem problem,
									  const char *first_path);
	void		(*reply_injected) (Request *req);
	void		(*add_headers) (Request *req, struct MHD_Response *response);
};

extern const Psp psp_stripe;
extern const Psp psp_adyen;

extern const Route *route_find(const Route *among, size_t count,
							   Request *req);
extern void reply_json(Request *req, unsigned status, StrBuf *buf);
extern void api_begin(Request *req);
extern void api_execute(Request *req);

/* ---- idempotency.c ---- */

struct StoredReply
{
	char	   *key;			/* PSP, account, then key */
	int64_t		reserved;		/* when, in now_ms() */
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

/* ---- webhooks.c: what the PSPs tell, until a test fetches it ---- */

typedef struct Webhook
{
	int64_t		seq;			/* 1, 2, ... in the order of creation */
	const Psp  *psp;
	const char *type;			/* the PSP's word */
	char		id[64];			/* tells it from every other */
	char	   *payment;		/* our payment_id or reference, or NULL */
	int64_t		created;		/* seconds since 1970 */
	bool		delivered;
	Body	   *body;
	size_t		signature_at;	/* in the body, 0 = signed in a header */
	char	   *signed_text;	/* what is signed when not the body */
} Webhook;

extern bool webhooks_wanted(void);
extern Webhook *webhook_add(const Psp *psp, const char *type, const char *id,
							const char *payment, StrBuf *body);
extern Webhook *webhook_find(const char *id);
extern Webhook *webhook_at(size_t index);
extern size_t webhook_index(const Webhook *webhook);
extern size_t webhook_count(void);
extern void webhooks_list(Request *req);
extern void webhooks_delivered(Request *req);
extern void webhooks_forget(void);

/* ---- signatures.c ---- */

#define ADYEN_SIGNATURE_SIZE 44	/* base64 of a SHA-256 */

extern void add_stripe_secret(const char *secret);
extern bool add_adyen_key(const char *hex);
extern void sign_stripe(StrBuf *header, int64_t when, const Body *body);
extern void sign_adyen(char *signature, size_t key, const char *text);

/* ---- control.c, truth.c: the endpoints below /_test/ ---- */

extern enum MHD_Result control_handle(Request *req);
extern void control_ok(Request *req);
extern json_t *control_body(Request *req);
extern void control_error(Request *req, unsigned status, const char *format,...)
			__attribute__((format(printf, 3, 4)));
extern void truth_summary(StrBuf *buf, const char *psp, const char *currency);
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
	int64_t		key_window;		/* how long keys are kept, ms; 0 = for ever */
	int64_t		keep_events;	/* webhooks kept; -1 = all */
	Stats		stats;
} Server;

extern Server server;

#endif							/* PSP_H */
