/*
 * test/garble/garble.c
 *		The gateway's HTTP transport against a PSP that answers garbled.
 *
 *		garble REPLIES [SEED [SLOTS]]
 *
 * Ends with 1 if a transfer is lost or comes back twice, if a reply is larger
 * than it may be, if a request came another way than it was meant, or if the
 * memory grows; and as the sanitizer says if that finds anything.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "garble.h"
#include "stubs.h"

#define REPORTS			10		/* lines about memory */
/* of what is allocated; resident memory goes with it but for what the allocator keeps back */
#define MAX_GROWTH_KB	(8 * 1024)
#define MAX_KEPT_BACK_KB	(32 * 1024)

/* by then all that is kept for good is there: sessions, buffers, the sanitizer's quarantine */
#define WARM_REPLIES	2000
#define MAX_HEAD		65536
#define MAX_FAULTS		30

typedef struct Owner
{
	bool		under_way;
	PlHttpRequest request;
	List	   *headers;
	uint64		n;
} Owner;

static PlHttpPeer peer = {
	.name = "garbled",
	.plain = true,
	.max_reply_bytes = 65536,
	.connect_timeout_ms = 100,
	.timeout_ms = 100
};
static uint64 received = 0;
static struct
{
	const char *name;
	uint64		n;
}			faults[MAX_FAULTS];

static void
fail(const char *what)
{
	fprintf(stderr, "garble: %s\n", what);
	exit(1);
}

/* ---- requests that must not be sent ---- */

static bool
is_refused(PlHttpRequest request, const char *header)
{
	jmp_buf		catch;
	List	   *volatile headers = NIL;
	ListCell	cell = {.ptr_value = unconstify(char *, header)};
	List		list = {.type = T_List,.length = 1,.max_length = 1,.elements = &cell};

	if (header != NULL)
		headers = &list;
	stub_catch = &catch;
	if (setjmp(catch) == 0)
	{
		pl_check_http_request(&request);
		pl_check_http_headers(headers);
		stub_catch = NULL;
		return false;
	}
	stub_catch = NULL;
	return true;
}

static void
check_requests(void)
{
	const PlHttpRequest bad[] = {
		{.path = "/"},
		{.method = (PlHttpMethod) 77,.path = "/"},
		{.method = (PlHttpMethod) -1,.path = "/"},
		{.method = PL_HTTP_GET},
		{.method = PL_HTTP_GET,.path = ""},
		{.method = PL_HTTP_GET,.path = "x"},
		{.method = PL_HTTP_GET,.path = ".evil.example/"},
		{.method = PL_HTTP_GET,.path = "/a b"},
		{.method = PL_HTTP_GET,.path = "/a\r\nX: y"},
		{.method = PL_HTTP_GET,.path = "/a\xc3\xa9"},
		{.method = PL_HTTP_GET,.path = "/a#b"},
		{.method = PL_HTTP_GET,.path = "/a/../b"},
		{.method = PL_HTTP_GET,.path = "/.."},
		{.method = PL_HTTP_GET,.path = "/./b"},
		{.method = PL_HTTP_GET,.path = "/a/..?x"},
		{.method = PL_HTTP_GET,.path = "/",.body = ""},
		{.method = PL_HTTP_GET,.path = "/",.content_type = "text/plain"},
		{.method = PL_HTTP_DELETE,.path = "/",.body = "x",.content_type = "text/plain"},
		{.method = PL_HTTP_POST,.path = "/"},
		{.method = PL_HTTP_POST,.path = "/",.body = "x"},
		{.method = PL_HTTP_POST,.path = "/",.content_type = "text/plain"},
		{.method = PL_HTTP_POST,.path = "/",.body = "x",.content_type = ""},
		{.method = PL_HTTP_POST,.path = "/",.body = "x",.content_type = "a\nb"}
	};
	const char *const bad_headers[] = {
		"", "x", ": y", "X Y: z", "X: a\r\nY: b", "X: a\nb", "Host: evil", "content-length: 5", "Transfer-Encoding: chunked", "X: \x7f"
	};
	const PlHttpRequest good = {.method = PL_HTTP_GET,.path = "/a/..b/...?q=..%20/.."};
	const PlHttpRequest empty = {.method = PL_HTTP_POST,.path = "/",.body = "",.content_type = "text/plain"};

	for (size_t i = 0; i < lengthof(bad); i++)
		if (!is_refused(bad[i], NULL))
			fail(psprintf("request %zu of check_requests() is not refused", i));
	for (size_t i = 0; i < lengthof(bad_headers); i++)
		if (!is_refused(good, bad_headers[i]))
			fail(psprintf("header \"%s\" is not refused", bad_headers[i]));
	if (is_refused(good, "Authorization: Bearer x") || is_refused(empty, NULL))
		fail("a good request is refused");
	printf("%zu requests and %zu headers refused\n", lengthof(bad), lengthof(bad_headers));
}

/* ---- transfers ---- */

/* A request that says in its headers what it is; everything is malloc'ed, so that its end is seen. */
static void
begin(Owner *owner, uint64 n)
{
	static const PlHttpMethod methods[] = {PL_HTTP_POST, PL_HTTP_GET, PL_HTTP_DELETE, PL_HTTP_POST};
	PlHttpMethod method = methods[n % lengthof(methods)];
	size_t		length = method == PL_HTTP_POST ? n % 700 : 0;
	char		text[100];
	ListCell	cells[3];
	List		list = {.type = T_List,.length = 3,.max_length = 3,.elements = cells};
	char	   *body = NULL;

	if (method == PL_HTTP_POST)
	{
		body = malloc(length + 1);
		memset(body, 'q', length);
		body[length] = '\0';
	}
	owner->under_way = true;
	owner->n = n;
	owner->request.method = method;
	snprintf(text, sizeof(text), "/v1/" UINT64_FORMAT, n);
	owner->request.path = strdup(text);
	owner->request.body = body;
	owner->request.content_type = body ? "application/x-www-form-urlencoded" : NULL;
	cells[0].ptr_value = psprintf("X-Method: %s", pl_http_method_name(method));
	cells[1].ptr_value = psprintf("X-Body: %zu", length);
	cells[2].ptr_value = pstrdup("Authorization: Bearer sk_test_garbled");
	pl_http_start(&peer, &owner->request, &list, owner);
	for (int i = 0; i < 3; i++)
		if (*(char *) cells[i].ptr_value != '\0')
			fail("a header with a secret is not wiped");
	stub_reset_memory();
}

static void
count_fault(const char *name)
{
	for (int i = 0; i < MAX_FAULTS; i++)
	{
		if (faults[i].name == NULL)
			faults[i].name = name;
		if (strcmp(faults[i].name, name) == 0)
		{
			faults[i].n++;
			return;
		}
	}
	fail("too many kinds of faults");
}

/* Look at all of the reply, as adapters do. */
static void
end(Owner *owner, const PlHttpReply *reply)
{
	size_t		nuls = 0;
	char	   *encoding;

	if (!owner->under_way)
		fail("a transfer came back twice");
	owner->under_way = false;
	if (reply->body_length > (size_t) peer.max_reply_bytes || strlen(reply->headers) > MAX_HEAD)
		fail("a reply is larger than it may be");
	for (size_t i = 0; i < reply->body_length; i++)
		nuls += reply->body[i] == '\0';
	if (reply->body[reply->body_length] != '\0' || (nuls == 0 && strlen(reply->body) != reply->body_length))
		fail("a body does not end where it says");
	(void) pl_http_retry_after_ms(reply);
	encoding = pl_http_header(reply, "Content-Encoding");
	if (reply->received)
	{
		if (reply->status < 200 || reply->status > 599)
			fail("a reply was taken whose status is none");
		if (encoding != NULL && pg_strcasecmp(encoding, "identity") != 0)
			fail("a compressed reply was taken");
		if (reply->fault != NULL)
			fail("a reply and a fault");
		received++;
	}
	else
	{
		if (reply->fault == NULL || reply->fault_detail == NULL)
			fail("no reply, and no fault");
		count_fault(reply->fault);
	}
	free(unconstify(char *, owner->request.path));
	free(unconstify(char *, owner->request.body));
	stub_reset_memory();
}

/* Sockets that this process has, as the system counts them. */
static int
sockets(void)
{
	DIR		   *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int			n = 0;

	while ((entry = readdir(dir)) != NULL)
	{
		char		target[100];
		ssize_t		length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (length > 0 && strncmp(target, "socket:", 7) == 0)
			n++;
	}
	closedir(dir);
	return n;
}

/* of the sanitizer's runtime */
extern size_t __sanitizer_get_current_allocated_bytes(void);

/* Memory that is allocated now, in kB. */
static long
allocated(void)
{
	return (long) (__sanitizer_get_current_allocated_bytes() / 1024);
}

/* Resident memory in kB. */
static long
resident(void)
{
	FILE	   *file = fopen("/proc/self/statm", "r");
	long		size;
	long		pages;

	if (file == NULL || fscanf(file, "%ld %ld", &size, &pages) != 2)
		fail("no /proc/self/statm");
	fclose(file);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void
wait_for_sockets(void)
{
	struct pollfd wait = {.fd = pl_http_epoll_fd(),.events = POLLIN};
	long		ms = pl_http_timeout_ms();

	poll(&wait, 1, ms < 0 || ms > 1000 ? 1000 : (int) ms);
}

static void
run(uint64 total, int slots)
{
	Owner	   *owners = calloc(slots, sizeof(Owner));
	uint64		begun = 0;
	uint64		ended = 0;
	uint64		every = Max(total / REPORTS, 1);
	long		first = 0;
	long		first_resident = 0;
	PlHttpReply reply;
	Owner	   *owner;

	for (int i = 0; i < slots && begun < total; i++)
		begin(&owners[i], begun++);
	while (ended < total)
	{
		pl_http_drive();
		while ((owner = pl_http_next(&reply)) != NULL)
		{
			end(owner, &reply);
			ended++;
			if (ended % every == 0)
			{
				long		now = allocated();

				printf(UINT64_FORMAT " replies, %ld kB allocated, %ld kB resident, %d sockets, %d descriptors known\n",
					   ended, now, resident(), sockets(), stub_external_fds);
				fflush(stdout);
				if (first == 0 && ended >= WARM_REPLIES)
				{
					first = now;
					first_resident = resident();
				}
				if (first != 0 && (now > first + MAX_GROWTH_KB || resident() > first_resident + MAX_KEPT_BACK_KB))
					fail("memory grows");
				if (stub_external_fds > sockets() + 1)
					fail("the server counts descriptors that are closed");
			}
			if (begun < total)
				begin(owner, begun++);
		}
		if (ended < total)
			wait_for_sockets();
	}
	free(owners);
}

int
main(int argc, char **argv)
{
	uint64		total = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	uint64		seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64) time(NULL) * 1000003 + getpid();
	int			slots = argc > 3 ? atoi(argv[3]) : 32;
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM, 0);
	char		url[100];
	time_t		started = time(NULL);
	pid_t		server;

	if (total == 0 || slots < 1)
		fail("usage: garble REPLIES [SEED [SLOTS]]");
	check_requests();
	if (listener < 0 || bind(listener, (struct sockaddr *) &address, length) != 0 || listen(listener, 512) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &length) != 0)
		fail("could not listen");
	printf("SEED=" UINT64_FORMAT " REPLIES=" UINT64_FORMAT "\n", seed, total);
	fflush(stdout);
	server = fork();
	if (server == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* more than ask at once: some wait for a request on a kept connection */
		serve(listener, 3 * slots, seed);
	}
	close(listener);

	snprintf(url, sizeof(url), "http://127.0.0.1:%d", ntohs(address.sin_port));
	peer.base_url = url;
	pl_http_init();
	run(total, slots);
	pl_http_forget(&peer);
	free(peer.share);

	printf("whole replies " UINT64_FORMAT, received);
	for (int i = 0; i < MAX_FAULTS && faults[i].name != NULL; i++)
		printf(", %s " UINT64_FORMAT, faults[i].name, faults[i].n);
	printf("; %ld s\n", (long) (time(NULL) - started));
	kill(server, SIGKILL);
	if (received < total / 100)
		fail("hardly a reply was whole");
	return 0;
}
