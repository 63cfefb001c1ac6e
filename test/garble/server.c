/*
 * test/garble/server.c
 *		Answers each request on loopback with a garbled reply, in pieces.
 *
 * A request with X-Method and X-Body must come as it says, or it is answered
 * with nothing but a mark that the other side looks for.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "garble.h"

#define MAX_REQUEST 16384
#define IDLE_MS		30

static atomic_ullong count;
static uint64_t base_seed;
static int	listening;

/* Read until the request in buffer is whole; its length, or 0 if there is none. */
static size_t
read_request(int socket, char *buffer, size_t *have)
{
	for (;;)
	{
		struct pollfd wait = {.fd = socket,.events = POLLIN};
		char	   *end;
		ssize_t		n;

		buffer[*have] = '\0';
		end = strstr(buffer, "\r\n\r\n");
		if (end != NULL)
		{
			const char *length = strcasestr(buffer, "\r\nContent-Length: ");
			size_t		whole = (size_t) (end + 4 - buffer) + (length != NULL && length < end ? strtoul(length + 18, NULL, 10) : 0);

			if (*have >= whole)
				return whole;
		}
		if (*have == MAX_REQUEST || poll(&wait, 1, IDLE_MS) <= 0)
			return 0;
		n = read(socket, buffer + *have, MAX_REQUEST - *have);
		if (n <= 0)
			return 0;
		*have += n;
	}
}

/* The value of a header of the request, up to its line's end, in out. */
static void
header(const char *request, const char *name, char *out, size_t size)
{
	const char *found = strcasestr(request, name);

	snprintf(out, size, "%.*s", found ? (int) strcspn(found + strlen(name), "\r") : 0, found ? found + strlen(name) : "");
}

/* Did the request come as it was meant? */
static int
is_as_meant(const char *request, size_t length)
{
	char		method[16];
	char		body[16];
	char		sent[16];
	char		line[32];
	const char *end = strstr(request, "\r\n\r\n") + 4;

	header(request, "\r\nX-Method: ", method, sizeof(method));
	header(request, "\r\nX-Body: ", body, sizeof(body));
	header(request, "\r\nContent-Length: ", sent, sizeof(sent));
	snprintf(line, sizeof(line), "%s /", method);
	return strncmp(request, line, strlen(line)) == 0 && (size_t) atoi(body) == length - (size_t) (end - request) &&
		(strcmp(method, "POST") == 0 ? strcmp(sent, body) == 0 : sent[0] == '\0');
}

static void
send_in_pieces(int socket, const Reply *reply, Random *random)
{
	int			pieces = chance(random, 50);
	size_t		most = pieces ? 1 + random_below(random, chance(random, 50) ? 8 : 2000) : reply->length;
	int			left = 100;		/* not for ever */

	for (size_t at = 0; at < reply->length;)
	{
		size_t		n = reply->length - at;

		if (left > 0 && n > most)
			n = most, left--;
		ssize_t		sent = send(socket, reply->bytes + at, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		at += sent;
	}
}

static void
serve_connection(int socket)
{
	char		request[MAX_REQUEST + 1];
	size_t		have = 0;
	size_t		length;
	Reply		reply = {0};
	int			on = 1;
	struct linger reset = {.l_onoff = 1,.l_linger = 0};

	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while ((length = read_request(socket, request, &have)) > 0)
	{
		Random		random;

		random_begin(&random, base_seed, atomic_fetch_add(&count, 1));
		if (!is_as_meant(request, length))
		{
			fprintf(stderr, "another request than was meant: %.*s\n", (int) length, request);
			_exit(EXIT_FAILURE);
		}
		reply_garbled(&reply, &random);
		send_in_pieces(socket, &reply, &random);
		memmove(request, request + length, have - length);
		have -= length;
		if (reply.close || chance(&random, 85))
		{
			if (chance(&random, 20))
				setsockopt(socket, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			break;
		}
	}
	free(reply.bytes);
	close(socket);
}

static void *
slot_main(void *unused)
{
	for (;;)
	{
		int			socket = accept(listening, NULL, NULL);

		if (socket >= 0)
			serve_connection(socket);
		else if (errno != EINTR && errno != ECONNABORTED)
			usleep(1000);
	}
	return NULL;
}

void
serve(int listener, int slots, uint64_t seed)
{
	pthread_t	thread;

	listening = listener;
	base_seed = seed;
	for (int i = 1; i < slots; i++)
		if (pthread_create(&thread, NULL, slot_main, NULL) != 0)
			abort();
	slot_main(NULL);
	abort();
}
