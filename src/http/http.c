/*
 * src/http/http.c
 *		Many HTTP transfers at once, by libcurl, for the gateway worker.
 *
 * One epoll descriptor holds every socket, so that the worker waits for all of
 * them with a single entry of its wait set.  Nothing of PostgreSQL runs below
 * a libcurl call: the callbacks use malloc, raise nothing, and all signals are
 * blocked, because libcurl's resolver threads inherit the mask and the
 * server's signal handlers must not run on them.
 *
 * What the worker has to know above all is whether a request may have reached
 * the PSP.  libcurl itself repeats a request when a kept connection turns out
 * dead, so an error code alone does not tell; the number of bytes sent does.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http/buffers.h"
#include "http/http_internal.h"
#include "http/tls.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#define MAX_HEADER_BYTES	65536
#define SOCKET_BUFFER		8192
#define DESCRIPTORS_LEFT	16	/* of the server's share for foreign ones */
#define EVENTS_AT_ONCE		64
#define ROUNDS_AT_ONCE		8
#define SOCKETS_WATCHED		8	/* of one transfer: an address each, and retries */

/*
 * One transfer.  Its handle is never used for another one: libcurl 7.88.1 keeps
 * a pointer to the last header of the former reply in it, into memory that it
 * frees.  What is worth keeping is elsewhere: connections and resolved names
 * in the multi handle, TLS sessions in the gateway's share.
 */
typedef struct Transfer
{
	dlist_node	node;			/* in finished */
	CURL	   *easy;
	PlHttpPeer *peer;
	void	   *owner;
	struct curl_slist *lines;
	PlReplyBuffers reply;		/* the head's are those of the newest response */
	size_t		head_total;
	size_t		max_body;
	bool		plain;			/* without TLS, so to this machine only */
	bool		address_refused;
	int			opened[SOCKETS_WATCHED];	/* the last sockets it opened */
	int			nopened;
	CURLcode	result;
	char		error[CURL_ERROR_SIZE];
} Transfer;

/*
 * What the transfers of one gateway share.  A new connection resumes a TLS
 * session of that gateway only, as its row has it now: no session stands in
 * for the certificate checks of another gateway or of former options.
 */
struct PlHttpShare
{
	CURLSH	   *share;
};

static CURLM *multi = NULL;
static int	epoll_fd = -1;
static int64 deadline = -1;		/* pl_monotonic_ms() of curl's timer; -1: none */
static dlist_head finished = DLIST_STATIC_INIT(finished);
static Transfer *handed_out = NULL; /* to whoever called pl_http_next() last */

/* a socket that libcurl holds */
typedef struct Socket
{
	ino_t		inode;			/* 0: it is not one of libcurl's */
	void	   *owner;			/* of the transfer that it works for; NULL: none */
} Socket;

/* by descriptor, and how many of them the server knows of */
static Socket *sockets = NULL;
static int	nsockets = 0;		/* length of the array */
static int	open_sockets = 0;
static int	reported_sockets = 0;

/* told what libcurl is about to work on; NULL: anything, or nothing any more */
static void (*tell_touched) (void *owner) = NULL;

static sigset_t all_signals;
static sigset_t usual_signals;

static void
enter_curl(void)
{
	sigprocmask(SIG_SETMASK, &all_signals, &usual_signals);
}

/* Leave libcurl, and tell the server how many descriptors it does not know. */
static void
leave_curl(void)
{
	sigprocmask(SIG_SETMASK, &usual_signals, NULL);
	for (; reported_sockets < open_sockets; reported_sockets++)
		ReserveExternalFD();
	for (; reported_sockets > open_sockets; reported_sockets--)
		ReleaseExternalFD();
}

/* ---- callbacks: no PostgreSQL below this line ---- */

static int
watch_socket(CURL *easy, curl_socket_t socket, int what, void *unused, void *known)
{
	struct epoll_event event = {0};

	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, socket, &event);
		return 0;
	}
	if (socket < nsockets)
	{
		Transfer   *transfer = NULL;

		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer);
		sockets[socket].owner = transfer ? transfer->owner : NULL;
	}
	event.data.fd = socket;
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) != 0 &&
		epoll_ctl(epoll_fd, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event) != 0)
		return -1;
	curl_multi_assign(multi, socket, &epoll_fd);
	return 0;
}

static int
set_timer(CURLM *unused, long timeout_ms, void *data)
{
	deadline = timeout_ms < 0 ? -1 : pl_monotonic_ms() + timeout_ms;
	return 0;
}

/* What tells a socket from another one that gets its number later; 0: it is none. */
static ino_t
inode_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

/* Note a new socket of libcurl's; false without memory. */
static bool
note_socket(Transfer *transfer, int fd)
{
	if (fd >= nsockets)
	{
		int			n = 2 * fd + 64;
		Socket	   *grown = realloc(sockets, n * sizeof(Socket));

		if (grown == NULL)
			return false;
		memset(grown + nsockets, 0, (n - nsockets) * sizeof(Socket));
		sockets = grown;
		nsockets = n;
	}
	/* one of that number is gone, if nobody said so */
	if (sockets[fd].inode == 0)
		open_sockets++;
	sockets[fd].inode = inode_of(fd);
	sockets[fd].owner = transfer->owner;
	transfer->opened[transfer->nopened++ % SOCKETS_WATCHED] = fd;
	return true;
}

static void
forget_socket(int fd)
{
	if (fd >= nsockets || sockets[fd].inode == 0)
		return;
	memset(&sockets[fd], 0, sizeof(Socket));
	open_sockets--;
}

/*
 * libcurl 7.88.1 closes the socket of a connection that timed out before it
 * was made without a word.  Look at those that the transfer opened.
 */
static void
forget_closed_sockets(const Transfer *transfer)
{
	for (int i = 0; i < Min(transfer->nopened, SOCKETS_WATCHED); i++)
	{
		int			fd = transfer->opened[i];

		if (sockets[fd].inode != 0 && inode_of(fd) != sockets[fd].inode)
			forget_socket(fd);
	}
}

/* The transfer is over: its socket works for nobody. */
static void
leave_sockets(const Transfer *transfer)
{
	for (int fd = 0; fd < nsockets; fd++)
		if (sockets[fd].owner == transfer->owner)
			sockets[fd].owner = NULL;
}

/* May the transfer talk to that address?  Notes a refusal. */
static bool
allows(Transfer *transfer, const struct sockaddr *address)
{
	if (pl_address_allowed(address, transfer->plain))
		return true;
	transfer->address_refused = true;
	return false;
}

/* After name resolution: the only place where the real address is known. */
static curl_socket_t
open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
	curl_socket_t result;

	if (!allows(data, &address->addr))
		return CURL_SOCKET_BAD;
	result = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (result < 0)
		return CURL_SOCKET_BAD;
	if (!note_socket(data, result))
	{
		close(result);
		return CURL_SOCKET_BAD;
	}
	return result;
}

static int
close_socket(void *data, curl_socket_t socket)
{
	forget_socket(socket);
	return close(socket);
}

/*
 * Before a request goes out.  The connection may be a kept one, made while its
 * address was allowed.
 */
static int
use_connection(void *data, char *address, char *local_address, int port, int local_port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr unknown = {.sa_family = AF_UNSPEC};
	struct sockaddr *peer = &unknown;

	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		peer = (struct sockaddr *) &v4;
	else if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1)
		peer = (struct sockaddr *) &v6;
	return allows(data, peer) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t
take_body(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *transfer = arg;

	if (transfer->reply.body.length + size * n > transfer->max_body)
		transfer->reply.too_large = true;
	return pl_reply_append(&transfer->reply, &transfer->reply.body, data, size * n) ? size * n : 0;
}

static size_t
take_header(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *transfer = arg;

	transfer->head_total += size * n;
	if (transfer->head_total > MAX_HEADER_BYTES)
		transfer->reply.too_large = true;
	/* a status line begins a response; an interim one is forgotten */
	if (size * n >= 5 && memcmp(data, "HTTP/", 5) == 0)
		transfer->reply.head.length = 0;
	return pl_reply_append(&transfer->reply, &transfer->reply.head, data, size * n) ? size * n : 0;
}

/* ---- end of the callbacks ---- */

/*
 * Prepare this process for transfers.  Raises 0A000 if libcurl has another TLS
 * library than OpenSSL, and 58000 if it cannot be started.  May be called again.
 */
void
pl_http_init(void)
{
	if (multi != NULL)
		return;

	if (!pl_tls_init())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("libcurl does not use the OpenSSL that payledger was built with"),
				 errhint("Install libcurl's variant for OpenSSL, such as Debian's libcurl4.")));
	sigfillset(&all_signals);
	if (epoll_fd < 0)
	{
		epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		if (epoll_fd < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not create an epoll descriptor: %m")));
		ReserveExternalFD();
	}
	enter_curl();
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		multi = curl_multi_init();
	if (multi != NULL)
	{
		curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) pl_http_max_transfers());
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) pl_http_max_transfers());
	}
	leave_curl();
	if (multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not start libcurl")));
}

/*
 * Have touched called with the owner of a transfer before libcurl works on its
 * socket, and with NULL after.  It must raise nothing.
 */
void
pl_http_tell(void (*touched) (void *owner))
{
	tell_touched = touched;
}

/*
 * Descriptor that becomes readable when pl_http_drive() has something to do.
 */
int
pl_http_epoll_fd(void)
{
	return epoll_fd;
}

/*
 * Transfers that may be under way at once: each may need a descriptor of the
 * third that the server leaves to foreign code.
 */
int
pl_http_max_transfers(void)
{
	return Max(max_safe_fds / 3 - DESCRIPTORS_LEFT, 1);
}

/*
 * What never changes for a gateway.  Returns false if libcurl lacks one of
 * the options that security rests on.
 */
static bool
configure(Transfer *transfer, PlHttpPeer *peer)
{
	CURL	   *easy = transfer->easy;
	const char *ca = peer->ca;
	struct curl_blob blob = {.data = (void *) ca, .len = ca ? strlen(ca) : 0, .flags = CURL_BLOB_COPY};
	CURLcode	failed = CURLE_OK;

#define SET(option, value) \
	(failed = failed != CURLE_OK ? failed : curl_easy_setopt(easy, option, value))

	transfer->plain = peer->plain;
	transfer->max_body = peer->max_reply_bytes;

	SET(CURLOPT_PROTOCOLS_STR, transfer->plain ? "http" : "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_CTX_FUNCTION, pl_tls_bound);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
	SET(CURLOPT_BUFFERSIZE, (long) SOCKET_BUFFER);
	SET(CURLOPT_USERAGENT, "payledger/" PAYLEDGER_VERSION);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) peer->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, (long) peer->timeout_ms);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	SET(CURLOPT_PREREQFUNCTION, use_connection);
	SET(CURLOPT_PREREQDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_SHARE, peer->share->share);
	/* the gateway's own authorities instead of the system's; no file is opened */
	if (ca != NULL)
	{
		SET(CURLOPT_CAINFO_BLOB, &blob);
		SET(CURLOPT_CAPATH, NULL);
	}
#undef SET
	return failed == CURLE_OK;
}

/* The header lines with the secret in them are wiped before they are freed. */
static void
wipe_lines(Transfer *transfer)
{
	for (struct curl_slist *line = transfer->lines; line != NULL; line = line->next)
		explicit_bzero(line->data, strlen(line->data));
	curl_slist_free_all(transfer->lines);
	transfer->lines = NULL;
}

/* Outside of libcurl's calls. */
static void
destroy(Transfer *transfer)
{
	enter_curl();
	wipe_lines(transfer);
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	leave_curl();
	pl_reply_free(&transfer->reply);
	free(transfer);
}

/* The gateway's share, made with its first transfer; false without memory. */
static bool
prepare_share(PlHttpPeer *peer)
{
	struct PlHttpShare *http = peer->share;

	if (http == NULL)
		http = peer->share = MemoryContextAllocZero(peer->context, sizeof(struct PlHttpShare));
	if (http->share != NULL)
		return true;
	http->share = curl_share_init();
	/* without locks: libcurl's threads resolve names and touch no session */
	if (http->share != NULL &&
		curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
	{
		curl_share_cleanup(http->share);
		http->share = NULL;
	}
	return http->share != NULL;
}

/* A transfer that is ready for a request to the gateway; NULL without memory. */
static Transfer *
new_transfer(PlHttpPeer *peer)
{
	Transfer   *transfer;

	if (!prepare_share(peer))
		return NULL;
	transfer = calloc(1, sizeof(Transfer));
	if (transfer == NULL)
		return NULL;
	transfer->peer = peer;
	enter_curl();
	transfer->easy = curl_easy_init();
	leave_curl();
	if (transfer->easy == NULL || !configure(transfer, peer))
	{
		destroy(transfer);
		return NULL;
	}
	return transfer;
}

/* Add a header line; false without memory. */
static bool
add_line(Transfer *transfer, const char *line)
{
	struct curl_slist *lines = curl_slist_append(transfer->lines, line);

	if (lines == NULL)
		return false;
	transfer->lines = lines;
	return true;
}

/* Hand the request to libcurl; allocates nothing of PostgreSQL's.  False without memory. */
static bool
set_request(Transfer *transfer, const char *url, const char *content_type, const PlHttpRequest *request, List *headers)
{
	CURL	   *easy = transfer->easy;
	bool		ready = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
	ListCell   *cell;

	if (request->method == PL_HTTP_POST)
	{
		/* the body stays in the owner's memory until the transfer is over */
		ready = ready && curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
			curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(request->body)) == CURLE_OK &&
			curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body) == CURLE_OK &&
			add_line(transfer, "Expect:") && add_line(transfer, content_type);
	}
	else
		ready = ready && curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
			curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, pl_http_method_name(request->method)) == CURLE_OK;
	foreach(cell, headers)
	{
		ready = ready && add_line(transfer, lfirst(cell));
		explicit_bzero(lfirst(cell), strlen(lfirst(cell)));
	}
	return ready && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->lines) == CURLE_OK;
}

/* base_url and path with one slash between them. */
static char *
url_of(const char *base_url, const char *path)
{
	size_t		length = strlen(base_url);

	if (length > 0 && base_url[length - 1] == '/')
		length--;
	return psprintf("%.*s%s", (int) length, base_url, path);
}

/*
 * Start a transfer to the gateway.  owner comes back from pl_http_next(), also
 * when nothing could be sent; until then the request must stay where it is.
 * The headers are wiped.  Raises 22023 for a request that cannot be sent and
 * 53200 out of memory, having started nothing.
 */
void
pl_http_start(PlHttpPeer *peer, const PlHttpRequest *request, List *headers, void *owner)
{
	Transfer   *transfer;
	CURLMcode	added;
	char	   *url;
	char	   *content_type = NULL;

	/* whatever may raise comes before there is a transfer to be lost */
	pl_check_http_request(request);
	pl_check_http_headers(headers);
	url = url_of(peer->base_url, request->path);
	if (request->content_type != NULL)
		content_type = psprintf("Content-Type: %s", request->content_type);
	transfer = new_transfer(peer);
	if (transfer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not prepare a transfer to gateway \"%s\"", peer->name)));
	transfer->owner = owner;

	if (!set_request(transfer, url, content_type, request, headers))
	{
		destroy(transfer);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not prepare a request to gateway \"%s\"", peer->name)));
	}
	pl_reply_begin(&transfer->reply);
	enter_curl();
	added = curl_multi_add_handle(multi, transfer->easy);
	leave_curl();
	if (added != CURLM_OK)
	{
		pl_reply_end(&transfer->reply);
		destroy(transfer);
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not start a transfer to gateway \"%s\": %s",
						peer->name, curl_multi_strerror(added))));
	}
}

/* Take the transfers that are over out of libcurl. */
static void
collect_finished(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		Transfer   *transfer;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		transfer->result = message->data.result;
		curl_multi_remove_handle(multi, transfer->easy);
		forget_closed_sockets(transfer);
		leave_sockets(transfer);
		wipe_lines(transfer);
		pl_reply_end(&transfer->reply);
		dlist_push_tail(&finished, &transfer->node);
	}
}

/*
 * Move all transfers on as far as they go without waiting.
 */
void
pl_http_drive(void)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int			running;

	enter_curl();
	for (int round = 0; round < ROUNDS_AT_ONCE; round++)
	{
		int			n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, 0);
		bool		timer = deadline >= 0 && pl_monotonic_ms() >= deadline;

		if (n <= 0 && !timer)
			break;
		if (timer)
		{
			deadline = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		for (int i = 0; i < n; i++)
		{
			int			what = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
				(events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
				(events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

			if (tell_touched != NULL && events[i].data.fd < nsockets)
				tell_touched(sockets[events[i].data.fd].owner);
			curl_multi_socket_action(multi, events[i].data.fd, what, &running);
		}
		if (tell_touched != NULL)
			tell_touched(NULL);
	}
	collect_finished();
	leave_curl();
}

/*
 * Milliseconds until pl_http_drive() has to be called even if the descriptor
 * stays quiet; -1: no limit.
 */
long
pl_http_timeout_ms(void)
{
	if (deadline < 0)
		return -1;
	return Max(deadline - pl_monotonic_ms(), 0);
}

/*
 * Is the body compressed, although we accept no encoding?  Then it is given up
 * as it is: what would come out of it has no limit.
 */
static bool
is_encoded(const Transfer *transfer)
{
	const PlHttpReply reply = {.headers = transfer->reply.head.length > 0 ? transfer->reply.head.data : ""};
	char	   *encoding = pl_http_header(&reply, "Content-Encoding");

	return encoding != NULL && pg_strcasecmp(encoding, "identity") != 0;
}

/* Is it the status of a response that is not interim?  libcurl takes any three digits. */
static bool
is_final_status(long status)
{
	return status >= 200 && status <= 599;
}

/* what libcurl says of a line of the header that is too long */
#if LIBCURL_VERSION_NUM >= 0x080600
#define LINE_TOO_LONG CURLE_TOO_LARGE
#else
#define LINE_TOO_LONG CURLE_OUT_OF_MEMORY
#endif

static bool
is_too_large(const Transfer *transfer)
{
	return transfer->reply.too_large || transfer->result == LINE_TOO_LONG;
}

static const char *
fault_of(const Transfer *transfer, bool sent)
{
	if (transfer->address_refused && !sent)
		return "address_refused";
	if (is_too_large(transfer))
		return "reply_too_large";
	if (pl_tls_was_flood(transfer->error))
		return "tls_failed";
	if (is_encoded(transfer))
		return "reply_encoded";
	switch (transfer->result)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
			return "resolve_failed";
		case CURLE_COULDNT_CONNECT:
			return "connect_failed";
		case CURLE_PEER_FAILED_VERIFICATION:
			return "certificate_refused";
		case CURLE_SSL_CACERT_BADFILE:
			return "ca_file_unusable";
		case CURLE_SSL_CONNECT_ERROR:
			return "tls_failed";
		case CURLE_OPERATION_TIMEDOUT:
			return sent ? "timeout" : "connect_timeout";
		case CURLE_GOT_NOTHING:
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
			return "connection_lost";
		case CURLE_PARTIAL_FILE:
			return "reply_truncated";
		case CURLE_OK:			/* with a status that is none */
		case CURLE_WEIRD_SERVER_REPLY:
		case CURLE_UNSUPPORTED_PROTOCOL:
			return "garbage_reply";
		default:
			return "transfer_failed";
	}
}

/*
 * The owner of a transfer that is over, with its reply, or NULL.  The reply is
 * valid until the next call.
 */
void *
pl_http_next(PlHttpReply *reply)
{
	Transfer   *transfer;
	long		status = 0;
	long		request_size = 0;

	if (handed_out != NULL)
		destroy(handed_out);
	handed_out = NULL;
	if (dlist_is_empty(&finished))
		return NULL;

	transfer = dlist_container(Transfer, node, dlist_pop_head_node(&finished));
	handed_out = transfer;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_size);

	memset(reply, 0, sizeof(PlHttpReply));
	reply->received = transfer->result == CURLE_OK && is_final_status(status) &&
		!transfer->reply.too_large && !is_encoded(transfer);
	reply->sent = reply->received || request_size > 0;
	reply->status = status;
	reply->body = transfer->reply.body.length > 0 ? transfer->reply.body.data : "";
	reply->body_length = transfer->reply.body.length;
	reply->headers = transfer->reply.head.length > 0 ? transfer->reply.head.data : "";
	if (!reply->received)
	{
		reply->fault = fault_of(transfer, reply->sent);
		if (transfer->address_refused && !reply->sent)
			reply->fault_detail = "the PSP's address is a private one that payledger.private_gateway_addresses does not list";
		else if (is_too_large(transfer))
			reply->fault_detail = "the reply is larger than max_reply_bytes, its header is too long, or too many replies are large";
		else if (pl_tls_was_flood(transfer->error))
			reply->fault_detail = "the PSP's TLS server sends messages without data, and no end of them";
		else if (is_encoded(transfer))
			reply->fault_detail = "the reply has a Content-Encoding, although none was accepted";
		else if (transfer->result == CURLE_OK)
			reply->fault_detail = "the reply's status is none of 200 to 599";
		else
			reply->fault_detail = transfer->error[0] ? transfer->error
				: curl_easy_strerror(transfer->result);
	}
	return transfer->owner;
}

/*
 * Free what is kept for a peer.  No transfer of it may be under way.
 */
void
pl_http_forget(PlHttpPeer *peer)
{
	if (handed_out != NULL && handed_out->peer == peer)
	{
		destroy(handed_out);
		handed_out = NULL;
	}
	if (peer->share == NULL || peer->share->share == NULL)
		return;
	enter_curl();
	if (curl_share_cleanup(peer->share->share) == CURLSHE_OK)
		peer->share->share = NULL;
	leave_curl();
	Assert(peer->share->share == NULL);
}
