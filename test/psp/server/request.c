/*-------------------------------------------------------------------------
 *
 * request.c
 *		The life of one HTTP request, as libmicrohttpd calls it: request line,
 *		headers, pieces of the body, the end of the body, completion.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

#define MAX_BODY (1024 * 1024)
#define CONTROL_PREFIX "/_test/"

/* The request line has been read: makes the request. */
void *
request_begin(void *cls, const char *uri, struct MHD_Connection *connection)
{
	Request    *req = xcalloc(1, sizeof(Request));

	(void) cls;
	req->connection = connection;
	req->uri = xstrdup(uri);
	req->fault.ms = -1;
	req->fault.bytes = -1;
	return req;
}

/* Returns a header of the request, or NULL. */
const char *
request_header(Request *req, const char *name)
{
	return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

/* Returns a parameter of the query string, or NULL. */
const char *
request_query(Request *req, const char *name)
{
	return MHD_lookup_connection_value(req->connection,
									   MHD_GET_ARGUMENT_KIND, name);
}

/* Is this a request to the control API? */
static bool
is_control(const Request *req)
{
	return strncmp(req->path, CONTROL_PREFIX, strlen(CONTROL_PREFIX)) == 0;
}

/* The headers have been read: fills in what they say. */
static void
read_headers(Request *req, const char *url, const char *method)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(req->connection,
								MHD_CONNECTION_INFO_CONNECTION_FD);

	req->fd = info->connect_fd;
	snprintf(req->path, sizeof(req->path), "%s", url);
	snprintf(req->method, sizeof(req->method), "%s", method);
	make_id(req->id, "req_", 14);
	req->arrived = wall_ms();
	req->key = request_header(req, "Idempotency-Key");
	if (req->key != NULL && req->key[0] == '\0')
		req->key = NULL;
	req->phase = PHASE_BODY;
}

/* Keeps a piece of the body. */
static void
read_piece(Request *req, const char *data, size_t len)
{
	if (req->body.len + len > MAX_BODY)
		req->too_large = true;
	else
		buf_append(&req->body, data, len);
}

/* Goes on with a request whose body is there, or that was resumed. */
static enum MHD_Result
go_on(Request *req)
{
	if (is_control(req))
	{
		server.stats.control_requests++;
		return control_handle(req);
	}
	if (req->phase == PHASE_BODY)
	{
		server.stats.requests++;
		api_begin(req);
	}
	if (req->phase == PHASE_CLOSE)
		return MHD_NO;
	if (req->suspended)
		return MHD_YES;
	return wire_send(req);
}

/* libmicrohttpd's access handler. */
enum MHD_Result
request_handle(void *cls, struct MHD_Connection *connection, const char *url,
			   const char *method, const char *version,
			   const char *upload_data, size_t *upload_data_size,
			   void **con_cls)
{
	Request    *req = *con_cls;

	(void) cls;
	(void) connection;
	(void) version;
	if (req->phase == PHASE_HEADERS)
	{
		read_headers(req, url, method);
		return MHD_YES;
	}
	if (*upload_data_size > 0)
	{
		read_piece(req, upload_data, *upload_data_size);
		*upload_data_size = 0;
		return MHD_YES;
	}
	return go_on(req);
}

/* The request is over: notes it and frees it. */
void
request_end(void *cls, struct MHD_Connection *connection, void **con_cls,
			enum MHD_RequestTerminationCode code)
{
	Request    *req = *con_cls;

	(void) cls;
	(void) connection;
	(void) code;
	if (req == NULL)
		return;
	*con_cls = NULL;
	if (req->phase != PHASE_HEADERS && !is_control(req))
	{
		unsigned	status = req->phase == PHASE_ANSWERED ?
			req->reply.status : 0;

		server.stats.statuses[status]++;
		log_request(req);
	}
	timer_cancel(&req->timer);
	body_release(req->reply.body);
	form_free(&req->params);
	json_decref(req->json);
	buf_free(&req->body);
	free(req->uri);
	free(req);
}
