/*-------------------------------------------------------------------------
 *
 * log.c
 *		One line of JSON per API request.
 *
 * The members method, path, headers and body make a line something that
 * conformance.py can check against the official description of the API.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "psp.h"

static FILE *log_file;

/* Opens the log; false with a message if that cannot be. */
bool
log_open(const char *path)
{
	log_file = fopen(path, "a");
	if (log_file == NULL)
		fprintf(stderr, "psp-server: could not open \"%s\": %s\n", path,
				strerror(errno));
	return log_file != NULL;
}

/* Closes the log. */
void
log_close(void)
{
	if (log_file != NULL)
		fclose(log_file);
	log_file = NULL;
}

/* Writes one header; secrets stay out of the log. */
static enum MHD_Result
put_header(void *cls, enum MHD_ValueKind kind, const char *name,
		   const char *value)
{
	StrBuf	   *buf = cls;

	(void) kind;
	if (strcasecmp(name, "X-API-Key") == 0)
		value = "***";
	else if (strcasecmp(name, "Authorization") == 0 && value != NULL)
		value = strncasecmp(value, "Bearer ", 7) == 0 ? "Bearer ***" : "***";
	jw_string(buf, name, value);
	return MHD_YES;
}

/* Notes a request that is over; status 0 means that no reply was begun. */
void
log_request(Request *req)
{
	StrBuf		line = {0};

	if (log_file == NULL)
		return;
	jw_object(&line, NULL);
	jw_int(&line, "arrived_ms", req->arrived);
	jw_int(&line, "ended_ms", wall_ms());
	jw_string(&line, "request", req->id);
	jw_string(&line, "method", req->method);
	jw_string(&line, "path", req->uri);
	jw_object(&line, "headers");
	MHD_get_connection_values(req->connection, MHD_HEADER_KIND, put_header,
							  &line);
	jw_end_object(&line);
	jw_string(&line, "body", req->body.len > 0 ? req->body.data : "");
	jw_string(&line, "operation", req->route == NULL ? NULL :
			  operation_name(req->route->operation));
	jw_int(&line, "status", req->phase == PHASE_ANSWERED ?
		   req->reply.status : 0);
	jw_bool(&line, "replayed", req->reply.replayed);
	jw_string(&line, "fault", req->fault.kind == FAULT_NONE ? NULL :
			  fault_name(req->fault.kind));
	jw_end_object(&line);
	buf_puts(&line, "\n");
	fwrite(line.data, 1, line.len, log_file);
	fflush(log_file);
	buf_free(&line);
}
