/*-------------------------------------------------------------------------
 *
 * errors.c
 *		Error replies in Stripe's shape.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

/*
 * What Stripe-Should-Retry says about a status: no to what would fail again,
 * yes to a key in use, nothing where the client has to decide by itself.
 */
static const char *
retry_advice(unsigned status)
{
	if (status == MHD_HTTP_CONFLICT)
		return "true";
	if (status >= 500 || status == MHD_HTTP_TOO_MANY_REQUESTS)
		return NULL;
	return "false";
}

/* Opens {"error":{... up to the object an error may carry. */
static void
open_error(StrBuf *buf, const char *type, const char *code,
		   const char *param, const char *message)
{
	jw_object(buf, NULL);
	jw_object(buf, "error");
	if (code != NULL)
	{
		jw_string(buf, "code", code);
		render_doc_url(buf, code);
	}
	jw_string(buf, "message", message);
	if (param != NULL)
		jw_string(buf, "param", param);
	jw_string(buf, "type", type);
}

/* Closes what open_error opened and makes it the reply. */
static void
close_error(Request *req, unsigned status, StrBuf *buf)
{
	jw_end_object(buf);
	jw_end_object(buf);
	reply_json(req, status, buf);
	req->reply.should_retry = retry_advice(status);
}

/* Formats a message into a buffer of its own. */
static void
format_message(StrBuf *message, const char *format, va_list args)
{
	char		text[1024];

	vsnprintf(text, sizeof(text), format, args);
	buf_puts(message, text);
}

/* Replies with an error; code and param may be NULL. */
void
reply_error(Request *req, unsigned status, const char *type,
			const char *code, const char *param, const char *format,...)
{
	StrBuf		buf = {0};
	StrBuf		message = {0};
	va_list		args;

	va_start(args, format);
	format_message(&message, format, args);
	va_end(args);
	open_error(&buf, type, code, param, message.data);
	close_error(req, status, &buf);
	buf_free(&message);
}

/* Replies 400 with the intent inside, as Stripe does when its state is wrong. */
void
reply_intent_error(Request *req, const Intent *intent, const char *code,
				   const char *param, const char *format,...)
{
	StrBuf		buf = {0};
	StrBuf		message = {0};
	va_list		args;

	va_start(args, format);
	format_message(&message, format, args);
	va_end(args);
	open_error(&buf, "invalid_request_error", code, param, message.data);
	render_intent(&buf, "payment_intent", intent, false);
	close_error(req, MHD_HTTP_BAD_REQUEST, &buf);
	buf_free(&message);
}

/* Replies 402 with the failure of the intent's last attempt. */
void
reply_card_error(Request *req, const Intent *intent)
{
	const Failure *failure = intent->failure;
	StrBuf		buf = {0};

	open_error(&buf, failure->type, failure->code, NULL, failure->message);
	if (intent->failed_charge[0] != '\0')
		jw_string(&buf, "charge", intent->failed_charge);
	if (failure->decline_code != NULL)
		jw_string(&buf, "decline_code", failure->decline_code);
	render_intent(&buf, "payment_intent", intent, false);
	render_payment_method(&buf, "payment_method", intent->failed_method,
						  intent->failed_card, intent->created);
	close_error(req, MHD_HTTP_PAYMENT_REQUIRED, &buf);
}

/* Replies that an object does not exist. */
void
reply_missing(Request *req, const char *object, const char *param,
			  const char *id)
{
	reply_error(req, MHD_HTTP_NOT_FOUND, "invalid_request_error",
				"resource_missing", param, "No such %s: '%s'", object, id);
}
