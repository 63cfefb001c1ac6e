/*-------------------------------------------------------------------------
 *
 * wire.c
 *		How a reply reaches the client, or does not.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "psp.h"

#define DEFAULT_OVERSIZED (100 * 1024 * 1024)
#define DEFAULT_GARBAGE 256
#define DEFAULT_SLOW_MS 100
#define MAX_HOLD_MS (24 * 3600 * 1000)
#define STREAM_BLOCK (64 * 1024)

static const char oversized_head[] =
	"{\"object\":\"payment_intent\",\"description\":\"";
static const char oversized_tail[] = "\"}";

/* A body that is produced while it is sent. */
typedef struct Stream
{
	struct MHD_Connection *connection;
	Body	   *body;			/* NULL when oversized */
	uint64_t	length;
	int64_t		ms;				/* pause before each byte */
	bool		rested;
	Timer		timer;
} Stream;

/*
 * Lets a suspended request go on; a held one is to be closed. A delayed one
 * is executed here: should its client be gone, libmicrohttpd would close the
 * connection without asking us again.
 */
static void
resume(Request *req)
{
	if (!req->suspended)
		return;
	req->suspended = false;
	timer_cancel(&req->timer);
	if (req->phase == PHASE_HOLDING)
	{
		epoll_ctl(server.epoll, EPOLL_CTL_DEL, req->fd, NULL);
		req->phase = PHASE_CLOSE;
	}
	else
	{
		if (req->reply.status == 0)
			api_execute(req);
		req->phase = PHASE_READY;
	}
	MHD_resume_connection(req->connection);
}

/* The time of a suspended request is over. */
static void
resume_timer(Timer *timer)
{
	resume(timer->arg);
}

/* The client of a held request closed its side. */
void
request_peer_gone(Request *req)
{
	resume(req);
}

/*
 * Suspends a request: delayed for ms, or held without answer until the
 * client gives up, or until ms are over if they are above zero.
 */
void
wire_suspend(Request *req, int64_t ms, Phase phase)
{
	struct epoll_event event = {
		.events = EPOLLRDHUP | EPOLLHUP | EPOLLERR,
		.data.ptr = req,
	};

	if (phase == PHASE_HOLDING)
	{
		if (ms <= 0)
			ms = MAX_HOLD_MS;
		epoll_ctl(server.epoll, EPOLL_CTL_ADD, req->fd, &event);
	}
	req->phase = phase;
	req->suspended = true;
	req->timer.fire = resume_timer;
	req->timer.arg = req;
	MHD_suspend_connection(req->connection);
	timer_arm(&req->timer, ms);
}

/*
 * Resets the TCP connection. Dissolving the association makes Linux send RST
 * at once; closing the socket is then up to libmicrohttpd.
 */
void
wire_reset(Request *req)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	if (connect(req->fd, &nobody, sizeof(nobody)) != 0)
		perror("psp-server: could not reset a connection");
	req->phase = PHASE_CLOSE;
}

/* Frees a stream with its response. */
static void
free_stream(void *cls)
{
	Stream	   *stream = cls;

	timer_cancel(&stream->timer);
	body_release(stream->body);
	free(stream);
}

/* Sends the first part of a body, then breaks off. */
static ssize_t
read_truncated(void *cls, uint64_t pos, char *buf, size_t max)
{
	Stream	   *stream = cls;
	uint64_t	left = stream->length - pos;

	if (left == 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (left < max)
		max = left;
	memcpy(buf, stream->body->data + pos, max);
	return (ssize_t) max;
}

/* Sends valid JSON with one very long string, made up on the way. */
static ssize_t
read_oversized(void *cls, uint64_t pos, char *buf, size_t max)
{
	const Stream *stream = cls;
	uint64_t	head = strlen(oversized_head);
	uint64_t	tail = stream->length - strlen(oversized_tail);

	if (pos >= stream->length)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (pos < head)
	{
		if (max > head - pos)
			max = head - pos;
		memcpy(buf, oversized_head + pos, max);
	}
	else if (pos < tail)
	{
		if (max > tail - pos)
			max = tail - pos;
		memset(buf, 'A', max);
	}
	else
	{
		if (max > stream->length - pos)
			max = stream->length - pos;
		memcpy(buf, oversized_tail + (pos - tail), max);
	}
	return (ssize_t) max;
}

/* The pause before the next byte is over. */
static void
rested(Timer *timer)
{
	Stream	   *stream = timer->arg;

	stream->rested = true;
	MHD_resume_connection(stream->connection);
}

/* Sends one byte after a pause. */
static ssize_t
read_slowly(void *cls, uint64_t pos, char *buf, size_t max)
{
	Stream	   *stream = cls;

	if (pos >= stream->length || max == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (!stream->rested)
	{
		MHD_suspend_connection(stream->connection);
		timer_arm(&stream->timer, stream->ms);
		return 0;
	}
	stream->rested = false;
	buf[0] = stream->body->data[pos];
	return 1;
}

/* Makes a stream for a request. */
static Stream *
new_stream(Request *req, Body *body, uint64_t length)
{
	Stream	   *stream = xcalloc(1, sizeof(Stream));

	stream->connection = req->connection;
	stream->body = body;
	stream->length = length;
	stream->timer.fire = rested;
	stream->timer.arg = stream;
	return stream;
}

/* A response that ends too early. */
static struct MHD_Response *
truncated_response(Request *req)
{
	Body	   *body = body_share(req->reply.body);
	uint64_t	length = body->len / 2;

	if (req->fault.bytes >= 0 && (uint64_t) req->fault.bytes < body->len)
		length = (uint64_t) req->fault.bytes;
	return MHD_create_response_from_callback(body->len, STREAM_BLOCK,
											 read_truncated,
											 new_stream(req, body, length),
											 free_stream);
}

/* A response of any size, sent in chunks so that no header gives it away. */
static struct MHD_Response *
oversized_response(Request *req)
{
	uint64_t	least = strlen(oversized_head) + strlen(oversized_tail);
	uint64_t	length = req->fault.bytes >= 0 ?
		(uint64_t) req->fault.bytes : DEFAULT_OVERSIZED;

	if (length < least)
		length = least;
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
											 read_oversized,
											 new_stream(req, NULL, length),
											 free_stream);
}

/* A response that dribbles. */
static struct MHD_Response *
slow_response(Request *req)
{
	Body	   *body = body_share(req->reply.body);
	Stream	   *stream = new_stream(req, body, body->len);

	stream->ms = req->fault.ms >= 0 ? req->fault.ms : DEFAULT_SLOW_MS;
	return MHD_create_response_from_callback(body->len, 1, read_slowly,
											 stream, free_stream);
}

/* Gives a body back with its response. */
static void
release_shared(void *cls)
{
	body_release(cls);
}

/* A response that is a body. */
static struct MHD_Response *
plain_response(Body *body)
{
	return MHD_create_response_from_buffer_with_free_callback_cls(
		body->len, body->data, release_shared, body);
}

/* A response of bytes that are no JSON and no UTF-8, always the same. */
static struct MHD_Response *
garbage_response(const Request *req)
{
	size_t		length = req->fault.bytes >= 0 ?
		(size_t) req->fault.bytes : DEFAULT_GARBAGE;
	StrBuf		buf = {0};

	while (buf.len < length)
	{
		char		byte = (char) mix64(buf.len + 1);

		buf_append(&buf, &byte, 1);
	}
	return plain_response(body_take(&buf));
}

/* Makes the response that the fault of the request asks for. */
static struct MHD_Response *
make_response(Request *req)
{
	switch (req->fault.kind)
	{
		case FAULT_GARBAGE:
			return garbage_response(req);
		case FAULT_TRUNCATED:
			return truncated_response(req);
		case FAULT_OVERSIZED:
			return oversized_response(req);
		case FAULT_SLOW_LORIS:
			return slow_response(req);
		default:
			return plain_response(body_share(req->reply.body));
	}
}

/* Queues the reply of a request. */
enum MHD_Result
wire_send(Request *req)
{
	struct MHD_Response *response = make_response(req);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", "application/json");
	if (req->psp != NULL)
		req->psp->add_headers(req, response);
	req->phase = PHASE_ANSWERED;
	result = MHD_queue_response(req->connection, req->reply.status, response);
	MHD_destroy_response(response);
	return result;
}
