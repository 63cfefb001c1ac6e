/*-------------------------------------------------------------------------
 *
 * adyen_errors.c
 *		Error replies in Adyen's shape.
 *
 * The header transient-error says whether the same request with the same key
 * may be sent again; Reply.should_retry holds it.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"

/* Makes an error the reply; the message is taken. */
static void
reply_service_error(Request *req, unsigned status, const char *code,
					const char *type, const char *message)
{
	StrBuf		buf = {0};
	char		reference[ID_SIZE];

	adyen_make_reference(reference);
	jw_object(&buf, NULL);
	jw_int(&buf, "status", status);
	jw_string(&buf, "errorCode", code);
	jw_string(&buf, "message", message);
	jw_string(&buf, "errorType", type);
	jw_string(&buf, "pspReference", reference);
	jw_end_object(&buf);
	reply_json(req, status, &buf);
}

/* Replies with an error. */
void
adyen_error(Request *req, unsigned status, const char *code,
			const char *type, const char *format,...)
{
	char		message[512];
	va_list		args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	reply_service_error(req, status, code, type, message);
}

/* Replies 422: what was asked for is not possible. */
void
adyen_invalid(Request *req, const char *code, const char *format,...)
{
	char		message[512];
	va_list		args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	reply_service_error(req, MHD_HTTP_UNPROCESSABLE_CONTENT, code,
						"validation", message);
}

/* Replies 400: the body is not what the API describes. */
void
adyen_unreadable(Request *req, const char *format,...)
{
	char		message[512];
	va_list		args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	reply_service_error(req, MHD_HTTP_BAD_REQUEST, "702", "validation",
						message);
}

/*
 * Replies that the idempotency key cannot be used like this. What Adyen says
 * to a known key with another request is not documented: the same as to one
 * that is in use, but not as something that passes.
 */
void
adyen_key_problem(Request *req, KeyProblem problem, const char *first_path)
{
	(void) first_path;
	if (problem == KEY_TOO_LONG)
	{
		adyen_unreadable(req, "The idempotency key is longer than %zu "
						 "characters", req->psp->longest_key);
		return;
	}
	adyen_invalid(req, "704", "request already processed or in progress");
	req->reply.should_retry = problem == KEY_IN_USE ? "true" : "false";
}

/* Replies with the error that a fault asks for. */
void
adyen_injected(Request *req)
{
	const char *transient = "true";

	switch (req->fault.kind)
	{
		case FAULT_CONFLICT_409:
			adyen_error(req, MHD_HTTP_CONFLICT, "704", "validation",
						"request already processed or in progress");
			break;
		case FAULT_RATE_LIMIT_429:
			adyen_error(req, MHD_HTTP_TOO_MANY_REQUESTS, "00_500", "security",
						"too many requests");
			break;
		case FAULT_ERROR_503:
			adyen_error(req, MHD_HTTP_SERVICE_UNAVAILABLE, "703", "internal",
						"required resource temporarily unavailable");
			break;
		default:
			if (req->fault.kind == FAULT_ERROR_500_STORED)
				transient = "false";
			adyen_error(req, MHD_HTTP_INTERNAL_SERVER_ERROR, "905",
						"internal", "An unknown error occurred");
			break;
	}
	req->reply.should_retry = req->fault.should_retry != NULL ?
		req->fault.should_retry : transient;
	req->reply.retry_after = req->fault.retry_after;
	req->reply.replayed = false;
}
