/*
 * psp.c
 *		Targets: what PSPs answer, and what is configured of them.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "adapters/adyen/adyen.h"
#include "adapters/stripe/stripe.h"
#include "fuzz/fuzz.h"
#include "http/buffers.h"
#include "psp/psp.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* ---- JSON documents ---- */

static void
run_document(const char *data, size_t length)
{
	static const char *const paths[] = {"", "id", "error.code", "data.0.id", "data.object.metadata", "amount.value"};
	const char *problem;
	PlDocument *document = pl_document(data, length, &problem);
	const char *text;
	int			position = 0;
	int64		number;
	PlDocument *list;
	ListCell   *cell;

	if (document == NULL)
	{
		if (problem == NULL)
			fuzz_fail("neither a document nor a problem");
		return;
	}
	for (size_t i = 0; i < lengthof(paths); i++)
	{
		fuzz_expect_text(paths[i], pl_document_text(document, paths[i]));
		fuzz_expect_text(paths[i], pl_document_raw(document, paths[i]));
		fuzz_expect_text(paths[i], pl_document_json(document, paths[i]));
		position = 0;
		while (pl_document_next(document, paths[i], &position, &text) != NULL)
			fuzz_expect_text("a member", text);
	}
	foreach(cell, pl_require_elements("the list", data, length, "data", &list))
		fuzz_expect_text("an element", lfirst(cell));
	document = pl_require_document("the document", data, length);
	(void) pl_document_int64(document, "amount.value", &number);
	(void) pl_document_string(document, "id");
}

/* ---- replies ---- */

/*
 * First line: operation (A, B, ...), flags (bit 0 in doubt, 1 a question), and
 * the status code; then header lines up to an empty one; then the body.
 */
static void
run_reply(const PlAdapter *adapter, const char *data, size_t length)
{
	static PlGateway gateway;
	PlCall	   *call = palloc0(sizeof(PlCall));
	PlHttpReply reply = {.received = true, .sent = true};
	char	   *first = fuzz_line(&data, &length);
	StringInfoData headers;
	char	   *line;

	if (strlen(first) < 3)
		return;
	gateway.name = "fuzz";
	gateway.adapter = adapter;
	call->context = CurrentMemoryContext;
	call->gateway = &gateway;
	call->request.psp_request_id = 17;
	call->request.payment_id = call->request.target = 42;
	call->request.gateway = gateway.name;
	call->request.operation = call->request.followed = (PlOperation) (((unsigned char) first[0] - 'A') % (PL_OP_PAYOUT + 1));
	call->request.amount = 2900;
	call->request.currency = "EUR";
	call->request.parameters = "{}";
	call->request.idempotency_key = "pl_17";
	call->request.attempt = 1;
	call->in_doubt = (first[1] & 1) != 0;
	call->queried = (first[1] & 2) != 0;
	if ((first[1] & 4) != 0)
		call->request.psp_reference = "pi_1";
	reply.status = atoi(first + 2) % 1000;

	initStringInfo(&headers);
	while (length > 0 && (line = fuzz_line(&data, &length))[0] != '\0')
		appendStringInfo(&headers, "%s\n", line);
	reply.headers = headers.data;
	/* exactly its bytes: what is behind them is poisoned */
	reply.body = fuzz_copy(data, length);
	reply.body_length = length;

	pl_call_interpret(call, &reply);
	fuzz_expect_text("code", call->outcome.code);
	fuzz_expect_text("message", call->outcome.message);
	fuzz_expect_text("reference", call->outcome.psp_reference);
	fuzz_expect_text("next action", call->outcome.next_action);
	if (call->outcome.code != NULL && strlen(call->outcome.code) > 100)
		fuzz_fail("the code is too long");
}

static void
run_stripe_reply(const char *data, size_t length)
{
	run_reply(&pl_stripe_adapter, data, length);
}

static void
run_adyen_reply(const char *data, size_t length)
{
	run_reply(&pl_adyen_adapter, data, length);
}

/* ---- header lines ---- */

static void
run_headers(const char *data, size_t length)
{
	static const char *const names[] = {"Retry-After", "Request-Id", "Stripe-Should-Retry", "transient-error", ""};
	PlHttpReply reply = {.received = true, .headers = data};
	long		ms;

	for (size_t i = 0; i < lengthof(names); i++)
		(void) pl_http_header(&reply, names[i]);
	ms = pl_http_retry_after_ms(&reply);
	if (ms < -1 || ms > 24 * 3600 * 1000L)
		fuzz_fail("to be tried again after %ld ms", ms);
}

/* ---- buffers of replies ---- */

#define BUFFERS 4

/* Each byte: which of the replies, what to do, and how many bytes. */
static void
run_buffers(const char *data, size_t length)
{
	static PlReplyBuffers replies[BUFFERS];
	static bool reading[BUFFERS];
	static char bytes[1 << 15];

	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) data[i];
		int			r = c % BUFFERS;
		PlReplyBuffers *reply = &replies[r];
		size_t		n = (size_t) 1 << (c >> 4);

		switch (reading[r] ? (c >> 2) % 4 : 3)
		{
			case 0:
				(void) pl_reply_append(reply, &reply->head, bytes, n);
				break;
			case 1:
			case 2:
				(void) pl_reply_append(reply, &reply->body, bytes, n);
				break;
			default:
				if (reading[r])
					pl_reply_end(reply);
				else
				{
					/* as with each request: new ones */
					pl_reply_free(reply);
					memset(reply, 0, sizeof(*reply));
					pl_reply_begin(reply);
				}
				reading[r] = !reading[r];
		}
	}
	for (int r = 0; r < BUFFERS; r++)
	{
		if (reading[r])
			pl_reply_end(&replies[r]);
		reading[r] = false;
		pl_reply_free(&replies[r]);
	}
}

/* ---- addresses and URLs ---- */

static void
run_url(const char *data, size_t length)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	PlEndpoint	endpoint;
	char	   *networks = pstrdup(data);

	if (pl_check_networks(&networks, NULL, PGC_S_FILE))
		pl_assign_networks(networks, NULL);
	if (length >= 4)
	{
		memcpy(&v4.sin_addr, data, 4);
		(void) pl_address_allowed((struct sockaddr *) &v4, length % 2 == 0);
	}
	if (length >= 16)
	{
		memcpy(&v6.sin6_addr, data, 16);
		(void) pl_address_allowed((struct sockaddr *) &v6, length % 2 == 0);
	}
	if (pl_parse_host(data, &endpoint) && !pl_same_endpoint(&endpoint, &endpoint))
		fuzz_fail("a host is not itself");
	pl_check_url("fuzz", "base_url", data);
	pl_url_endpoint(data, &endpoint);
	(void) pl_endpoint_refused(&endpoint);
}

/* ---- options ---- */

static void
run_options(const char *data, size_t length)
{
	static const PlAdapter *const adapters[] = {&pl_stripe_adapter, &pl_adyen_adapter, &pl_sandbox_adapter};
	int			n;

	if (length == 0)
		return;
	(void) pl_options_read("fuzz", adapters[(unsigned char) data[0] % lengthof(adapters)], fuzz_jsonb(data + 1), &n);
}

/* ---- what is stored of requests, and texts ---- */

static void
run_wire(const char *data, size_t length)
{
	bytea	   *bytes = palloc(VARHDRSZ + length);
	PlHttpRequest http;
	bytea	   *again;

	SET_VARSIZE(bytes, VARHDRSZ + length);
	memcpy(VARDATA(bytes), data, length);
	pl_wire_decode(bytes, &http);
	again = pl_wire_encode(&http);
	pl_wire_decode(again, &http);
	if (VARSIZE(again) != VARSIZE(pl_wire_encode(&http)))
		fuzz_fail("a request is not what was stored");
}

static void
run_text(const char *data, size_t length)
{
	char	   *text = pl_redact(data);

	fuzz_expect_text("redacted text", text);
	if (strlen(text) > 300)
		fuzz_fail("a message is too long");
	(void) pl_holds_card_number(data);
	pl_mask_card_data(pstrdup(data));
	(void) pl_url_escape(text);
	(void) pl_id_from_text(data);
	(void) pl_time_from_iso(data);
}

const FuzzTarget fuzz_psp_targets[] = {
	{"document", run_document},
	{"stripe_reply", run_stripe_reply},
	{"adyen_reply", run_adyen_reply},
	{"headers", run_headers},
	{"buffers", run_buffers},
	{"url", run_url},
	{"options", run_options},
	{"wire", run_wire},
	{"text", run_text},
	{NULL}
};
