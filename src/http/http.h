/*
 * src/http/http.h
 *		Requests over the network: many transfers at once, where they may go, what
 *		they must look like.  Nothing here knows what a gateway is.
 */
#ifndef PL_HTTP_H
#define PL_HTTP_H

#include "core/core.h"

#include "nodes/pg_list.h"
#include "utils/guc.h"

/* settings, registered in payledger.c */
extern char *pl_private_gateway_addresses;	/* payledger.private_gateway_addresses */

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

/*
 * Whom transfers go to, and within what limits.  In zeroed memory at first; it
 * stays where it is until pl_http_forget().
 */
typedef struct PlHttpPeer
{
	const char *name;			/* of the gateway, for errors */
	const char *base_url;
	const char *ca;				/* authorities in place of the system's, PEM; NULL: none */
	bool		plain;			/* without TLS */
	int			max_reply_bytes;
	int			connect_timeout_ms;
	int			timeout_ms;
	MemoryContext context;		/* of what is kept for it */
	struct PlHttpShare *share;	/* its TLS sessions, of http.c; NULL: none yet */
} PlHttpPeer;

/* ---- address.c: where a gateway may be ---- */

/* Where requests go to. */
typedef struct PlEndpoint
{
	char	   *host;			/* in lower case, IPv6 in brackets; NULL: nowhere */
	int			port;
	bool		plain;			/* without TLS */
} PlEndpoint;

struct sockaddr;
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

/* ---- http.c: many transfers at once, for the gateway worker ---- */

/* bytes that the buffers of all replies may take together, beyond 16 kB each */
#define PL_HTTP_REPLY_BUDGET (4 * 1024 * 1024)

extern void pl_http_init(void);
extern void pl_http_tell(void (*touched) (void *owner));
extern int	pl_http_epoll_fd(void);
extern int	pl_http_max_transfers(void);
extern void pl_http_start(PlHttpPeer *peer, const PlHttpRequest *request, List *headers, void *owner);
extern void pl_http_drive(void);
extern long pl_http_timeout_ms(void);
extern void *pl_http_next(PlHttpReply *reply);
extern void pl_http_forget(PlHttpPeer *peer);
extern char *pl_http_header(const PlHttpReply *reply, const char *name);
extern long pl_http_retry_after_ms(const PlHttpReply *reply);

/* ---- request.c: what a request must look like ---- */

extern void pl_check_http_request(const PlHttpRequest *request);

/* ---- wire.c: the stored form of a request, and forms ---- */

extern bytea *pl_wire_encode(const PlHttpRequest *http);
extern void pl_wire_decode(bytea *bytes, PlHttpRequest *http);
extern void pl_form_add(StringInfo form, const char *name, const char *value);
extern void pl_form_add_int64(StringInfo form, const char *name, int64 value);
extern char *pl_url_escape(const char *text);

#endif							/* PL_HTTP_H */
