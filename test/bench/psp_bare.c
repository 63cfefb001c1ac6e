/*
 * test/bench/psp_bare.c
 *		The same requests as the gateway worker's, from a bare libcurl loop with
 *		an epoll descriptor, and nothing stored: what the worker is measured by.
 *
 *		psp_bare URL API_KEY IN_FLIGHT PAYMENTS
 *
 * Authorizes PAYMENTS payments, then captures them.  Prints operations a
 * second, the median and the 99th percentile of their time in ms, and ms of CPU
 * an operation.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 256

typedef struct Transfer
{
	CURL	   *easy;
	struct curl_slist *headers;
	int			payment;
	double		began;
	char		form[1024];
	char		reply[16384];
	size_t		length;
} Transfer;

static const char *base_url;
static const char *api_key;
static int	payments;
static char (*references)[64];
static double *times;
static int	done = 0;

static CURLM *multi;
static int	epoll_fd;
static double deadline = -1;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
die(const char *what)
{
	fprintf(stderr, "psp_bare: %s\n", what);
	exit(1);
}

static int
watch_socket(CURL *easy, curl_socket_t s, int what, void *unused, void *known)
{
	struct epoll_event event = {.data.fd = s};

	if (what == CURL_POLL_REMOVE)
		return epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s, &event), 0;
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	epoll_ctl(epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s, &event);
	curl_multi_assign(multi, s, &epoll_fd);
	return 0;
}

static int
set_timer(CURLM *m, long ms, void *data)
{
	deadline = ms < 0 ? -1 : now() + ms / 1000.0;
	return 0;
}

static size_t
take_body(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *transfer = arg;

	if (transfer->length + size * n >= sizeof(transfer->reply))
		return 0;
	memcpy(transfer->reply + transfer->length, data, size * n);
	transfer->length += size * n;
	transfer->reply[transfer->length] = '\0';
	return size * n;
}

/* Operation number n: the first half authorizes, the second captures. */
static void
start(Transfer *transfer, int n)
{
	char		url[256];
	char		line[256];

	transfer->payment = n;
	transfer->length = 0;
	if (n < payments)
	{
		snprintf(url, sizeof(url), "%s/v1/payment_intents", base_url);
		snprintf(transfer->form, sizeof(transfer->form),
				 "amount=1450&currency=eur&capture_method=manual&confirm=true&payment_method=pm_card_visa"
				 "&payment_method_types[]=card&payment_method_options[card][request_multicapture]=if_available"
				 "&metadata[payment_id]=%018d&metadata[order_id]=ORDER-%d", n, n);
	}
	else
	{
		snprintf(url, sizeof(url), "%s/v1/payment_intents/%s/capture", base_url, references[n - payments]);
		snprintf(transfer->form, sizeof(transfer->form), "amount_to_capture=1450&metadata[capture_%018d]=1450", n);
	}
	curl_slist_free_all(transfer->headers);
	snprintf(line, sizeof(line), "Authorization: Bearer %s", api_key);
	transfer->headers = curl_slist_append(NULL, line);
	snprintf(line, sizeof(line), "Idempotency-Key: bare_%d_%d", (int) getpid(), n);
	transfer->headers = curl_slist_append(transfer->headers, line);
	transfer->headers = curl_slist_append(transfer->headers, "Expect:");
	curl_easy_setopt(transfer->easy, CURLOPT_URL, url);
	curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, transfer->form);
	curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
	transfer->began = now();
	curl_multi_add_handle(multi, transfer->easy);
}

static void
finish(Transfer *transfer, CURLcode result)
{
	const char *id = strstr(transfer->reply, "\"id\":\"pi_");
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_multi_remove_handle(multi, transfer->easy);
	if (result != CURLE_OK || status != 200 || id == NULL)
		die(transfer->reply[0] ? transfer->reply : curl_easy_strerror(result));
	if (transfer->payment < payments)
		sscanf(id + 6, "%63[^\"]", references[transfer->payment]);
	times[done++] = now() - transfer->began;
}

static void
collect(int *next, int last)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		Transfer   *transfer;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		finish(transfer, message->data.result);
		if (*next < last)
			start(transfer, (*next)++);
	}
}

/* Operations first to last - 1. */
static void
run(Transfer *transfers, int in_flight, int first, int last)
{
	struct epoll_event events[MAX_EVENTS];
	int			next = first;
	int			running;

	for (int i = 0; i < in_flight && next < last; i++)
		start(&transfers[i], next++);
	while (done < last)
	{
		double		left = deadline < 0 ? 1 : deadline - now();
		int			n = epoll_wait(epoll_fd, events, MAX_EVENTS, left > 0 ? (int) (left * 1000) + 1 : 0);

		if (deadline >= 0 && now() >= deadline)
		{
			deadline = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		for (int i = 0; i < n; i++)
			curl_multi_socket_action(multi, events[i].data.fd,
									 (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
									 (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
									 (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0), &running);
		collect(&next, last);
	}
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

int
main(int argc, char **argv)
{
	int			in_flight = argc == 5 ? atoi(argv[3]) : 0;
	Transfer   *transfers;
	struct rusage usage;
	struct rlimit files;
	double		began;
	double		seconds;

	if (in_flight <= 0)
		die("usage: psp_bare URL API_KEY IN_FLIGHT PAYMENTS");
	base_url = argv[1];
	api_key = argv[2];
	payments = atoi(argv[4]);
	references = calloc(payments, sizeof(*references));
	times = calloc(payments * 2, sizeof(double));
	transfers = calloc(in_flight, sizeof(Transfer));

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) in_flight);
	for (int i = 0; i < in_flight; i++)
	{
		transfers[i].easy = curl_easy_init();
		curl_easy_setopt(transfers[i].easy, CURLOPT_WRITEFUNCTION, take_body);
		curl_easy_setopt(transfers[i].easy, CURLOPT_WRITEDATA, &transfers[i]);
		curl_easy_setopt(transfers[i].easy, CURLOPT_PRIVATE, &transfers[i]);
		curl_easy_setopt(transfers[i].easy, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(transfers[i].easy, CURLOPT_TIMEOUT_MS, 60000L);
		curl_easy_setopt(transfers[i].easy, CURLOPT_BUFFERSIZE, 8192L);
	}

	began = now();
	run(transfers, in_flight, 0, payments);
	run(transfers, in_flight, payments, payments * 2);
	seconds = now() - began;
	getrusage(RUSAGE_SELF, &usage);
	qsort(times, payments * 2, sizeof(double), compare);
	printf("%.0f %.1f %.1f %.3f\n", payments * 2 / seconds, times[payments] * 1000,
		   times[(int) (payments * 2 * 0.99)] * 1000,
		   (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
			(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6) * 1000 / (payments * 2));
	return 0;
}
