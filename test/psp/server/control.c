/*-------------------------------------------------------------------------
 *
 * control.c
 *		The control API below /_test/: it needs no API key and gets no fault.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "adyen.h"
#include "stripe.h"

/* Replies with an error of the control API. */
void
control_error(Request *req, unsigned status, const char *format,...)
{
	char		text[256];
	StrBuf		buf = {0};
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	jw_object(&buf, NULL);
	jw_string(&buf, "error", text);
	jw_end_object(&buf);
	reply_json(req, status, &buf);
}

/* Replies that all went well. */
void
control_ok(Request *req)
{
	StrBuf		buf = {0};

	jw_object(&buf, NULL);
	jw_bool(&buf, "ok", true);
	jw_end_object(&buf);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* Returns the body, an object, empty without one; NULL after a reply. */
json_t *
control_body(Request *req)
{
	json_error_t error;
	json_t	   *root = req->body.len == 0 ? json_object() :
		json_loadb(req->body.data, req->body.len, 0, &error);

	if (json_is_object(root))
		return root;
	control_error(req, MHD_HTTP_BAD_REQUEST, "the body must be an object: %s",
				  root == NULL ? error.text : "it is none");
	json_decref(root);
	return NULL;
}

/* DELETE /_test/faults */
static void
handle_clear_faults(Request *req)
{
	faults_clear();
	control_ok(req);
}

/* DELETE /_test/keys */
static void
handle_forget_keys(Request *req)
{
	idempotency_forget();
	control_ok(req);
}

/* DELETE /_test/state */
static void
handle_reset(Request *req)
{
	store_reset();
	adyen_reset();
	webhooks_forget();
	idempotency_forget();
	memset(&server.stats, 0, sizeof(server.stats));
	control_ok(req);
}

/* Writes the counters of operations, statuses and faults. */
static void
put_counters(StrBuf *buf)
{
	const Stats *stats = &server.stats;
	char		status[8];

	jw_object(buf, "operations");
	for (int i = 0; i < OP_ANY; i++)
		jw_int(buf, operation_name(i), stats->operations[i]);
	jw_end_object(buf);
	jw_object(buf, "statuses");
	for (size_t i = 0; i < lengthof(stats->statuses); i++)
		if (stats->statuses[i] > 0)
		{
			snprintf(status, sizeof(status), "%zu", i);
			jw_int(buf, i == 0 ? "none" : status, stats->statuses[i]);
		}
	jw_end_object(buf);
	jw_object(buf, "faults");
	for (int i = FAULT_NONE + 1; i < FAULT_KINDS; i++)
		if (stats->faults[i] > 0)
			jw_int(buf, fault_name(i), stats->faults[i]);
	jw_end_object(buf);
}

/* GET /_test/stats */
static void
handle_stats(Request *req)
{
	const Stats *stats = &server.stats;
	StrBuf		buf = {0};

	jw_object(&buf, NULL);
	jw_int(&buf, "requests", stats->requests);
	jw_int(&buf, "control_requests", stats->control_requests);
	jw_int(&buf, "replays", stats->replays);
	jw_int(&buf, "conflicts", stats->conflicts);
	jw_int(&buf, "mismatches", stats->mismatches);
	jw_int(&buf, "unauthorized", stats->unauthorized);
	put_counters(&buf);
	jw_end_object(&buf);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* GET /_test/truth, with ?summary=1 or ?intent=; a stream answers the rest. */
static void
handle_truth(Request *req)
{
	const char *id = request_query(req, "intent");
	const char *summary = request_query(req, "summary");
	const Intent *intent = id == NULL ? NULL : store_intent(id);
	const AdyenPayment *payment = id == NULL ? NULL : adyen_payment(id);
	StrBuf		buf = {0};

	if (id != NULL && payment == NULL)
		payment = adyen_payment_by_reference(id);
	if (summary != NULL && strcmp(summary, "1") == 0)
		truth_summary(&buf, request_query(req, "psp"),
					  request_query(req, "currency"));
	else if (intent != NULL)
		truth_intent(&buf, intent);
	else if (payment != NULL)
		truth_payment(&buf, payment);
	else if (id != NULL)
	{
		control_error(req, MHD_HTTP_NOT_FOUND, "no such payment");
		return;
	}
	else
		return;
	reply_json(req, MHD_HTTP_OK, &buf);
}

static const Route routes[] = {
	{"POST", "/_test/faults", OP_ANY, faults_add},
	{"GET", "/_test/faults", OP_ANY, faults_list},
	{"DELETE", "/_test/faults", OP_ANY, handle_clear_faults},
	{"DELETE", "/_test/keys", OP_ANY, handle_forget_keys},
	{"DELETE", "/_test/state", OP_ANY, handle_reset},
	{"GET", "/_test/stats", OP_ANY, handle_stats},
	{"GET", "/_test/truth", OP_ANY, handle_truth},
	{"GET", "/_test/webhooks", OP_ANY, webhooks_list},
	{"POST", "/_test/webhooks/delivered", OP_ANY, webhooks_delivered},
	{"POST", "/_test/adyen/report", OP_ANY, control_adyen_report},
	{"POST", "/_test/adyen/{id}/complete", OP_ANY, control_adyen_complete},
	{"POST", "/_test/adyen/{id}/fail", OP_ANY, control_adyen_fail},
	{"POST", "/_test/adyen/{id}/expire", OP_ANY, control_adyen_expire},
	{"POST", "/_test/adyen/{id}/chargeback", OP_ANY, control_adyen_chargeback},
	{"POST", "/_test/adyen/{id}/reverse", OP_ANY, control_adyen_reverse},
	{"POST", "/_test/adyen/{id}/second", OP_ANY, control_adyen_second},
	{"POST", "/_test/intents/{id}/complete_action", OP_ANY,
	control_complete_action},
	{"POST", "/_test/intents/{id}/expire", OP_ANY, control_expire},
	{"POST", "/_test/intents/{id}/dispute", OP_ANY, control_dispute},
	{"POST", "/_test/refunds/{id}/complete", OP_ANY, control_complete_refund},
	{"POST", "/_test/disputes/{id}/complete", OP_ANY,
	control_complete_dispute},
};

/* Answers a request to the control API. */
enum MHD_Result
control_handle(Request *req)
{
	const Route *route = route_find(routes, lengthof(routes), req);

	if (route == NULL)
		control_error(req, MHD_HTTP_NOT_FOUND, "no such control: %s %.100s",
					  req->method, req->path);
	else
	{
		route->handler(req);
		if (req->reply.status == 0)
			return truth_stream(req);
	}
	return wire_send(req);
}
