/*-------------------------------------------------------------------------
 *
 * truth.c
 *		What really happened, for tests to compare with what a client
 *		believes: every payment with the operations executed on it, or sums.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "adyen.h"
#include "stripe.h"

#define STREAM_BLOCK (64 * 1024)

/* A number of things and their sum. */
typedef struct Total
{
	int64_t		count;
	int64_t		amount;
} Total;

/* The truth in sums. */
typedef struct Totals
{
	int64_t		statuses[INTENT_STATUSES];
	int64_t		adyen_statuses[PAYMENT_STATUSES];
	Total		intents;
	Total		authorized;
	Total		captures;
	Total		cancelled;
	Total		refunds;
	Total		declines;
	Total		transfers;
	Total		reversals;
} Totals;

/* All payments on their way to a client. */
typedef struct TruthStream
{
	size_t		first;
	size_t		next;			/* index of the next of all payments */
	size_t		intents;		/* how many of them are at Stripe */
	size_t		end;
	unsigned	generation;
	bool		begun;
	bool		finished;
	StrBuf		text;
	size_t		sent;			/* of text */
} TruthStream;

/* Adds one thing to a total. */
static void
add(Total *total, int64_t amount)
{
	total->count++;
	total->amount += amount;
}

/* Adds what was executed on a payment. */
static void
add_history(Totals *totals, const History *history)
{
	for (size_t i = 0; i < history->count; i++)
	{
		const Execution *execution = &history->items[i];
		bool		done = strcmp(execution->outcome, "ok") == 0;

		if (strcmp(execution->kind, "capture") == 0)
		{
			if (done && execution->amount > 0)
				add(&totals->captures, execution->amount);
		}
		else if (strcmp(execution->kind, "cancel") == 0)
		{
			if (done)
				add(&totals->cancelled, execution->amount);
		}
		else if (strcmp(execution->outcome, "declined") == 0 &&
				 strcmp(execution->kind, "action") != 0)
			add(&totals->declines, execution->amount);
	}
}

/* Does a total of one currency, or of all when it is NULL, count this? */
static bool
counts(const char *wanted, const char *currency)
{
	return wanted == NULL || strcasecmp(wanted, currency) == 0;
}

/* Adds everything at Stripe. */
static void
add_stripe(Totals *totals, const char *currency)
{
	for (size_t i = 0; i < store_intent_count(); i++)
	{
		const Intent *intent = store_intent_at(i);

		if (!counts(currency, intent->currency))
			continue;
		totals->statuses[intent->status]++;
		add(&totals->intents, intent->amount);
		if (intent->authorized)
			add(&totals->authorized, intent->amount);
		add_history(totals, &intent->history);
	}
	for (size_t i = 0; i < store_refund_count(); i++)
	{
		const Refund *refund = store_refund_at(i);

		if (strcmp(refund->status, "failed") != 0 &&
			counts(currency, refund->intent->currency))
			add(&totals->refunds, refund->amount);
	}
}

/* Adds the transfers to connected accounts. */
static void
add_transfers(Totals *totals, const char *currency)
{
	for (size_t i = 0; i < transfer_count(); i++)
	{
		const Transfer *transfer = transfer_at(i);

		if (!counts(currency, transfer->currency))
			continue;
		add(&totals->transfers, transfer->amount);
		totals->reversals.count += (int64_t) transfer->nreversals;
		totals->reversals.amount += transfer->amount_reversed;
	}
}

/* Adds everything at Adyen. */
static void
add_adyen(Totals *totals, const char *currency)
{
	for (size_t i = 0; i < adyen_payment_count(); i++)
	{
		const AdyenPayment *payment = adyen_payment_at(i);

		if (!counts(currency, payment->currency))
			continue;
		totals->adyen_statuses[payment->status]++;
		add(&totals->intents, payment->amount);
		if (payment->authorized)
			add(&totals->authorized, payment->amount);
		add_history(totals, &payment->history);
		for (size_t k = 0; k < payment->history.count; k++)
			if (strcmp(payment->history.items[k].kind, "refund") == 0 &&
				strcmp(payment->history.items[k].outcome, "ok") == 0)
				add(&totals->refunds, payment->history.items[k].amount);
	}
}

/* Writes a total. */
static void
put_total(StrBuf *buf, const char *key, const Total *total)
{
	jw_object(buf, key);
	jw_int(buf, "count", total->count);
	jw_int(buf, "amount", total->amount);
	jw_end_object(buf);
}

/* Is the truth about this PSP wanted? NULL means all. */
static bool
wants(const char *psp, const Psp *which)
{
	return psp == NULL || strcmp(psp, which->name) == 0;
}

/* Writes how many payments have each status. */
static void
put_statuses(StrBuf *buf, const Totals *totals, const char *psp)
{
	jw_object(buf, "statuses");
	for (int i = 0; wants(psp, &psp_stripe) && i < INTENT_STATUSES; i++)
		jw_int(buf, intent_status_names[i], totals->statuses[i]);
	for (int i = 0; wants(psp, &psp_adyen) && i < PAYMENT_STATUSES; i++)
		jw_int(buf, adyen_status_names[i], totals->adyen_statuses[i]);
	jw_end_object(buf);
}

/* Writes the truth in sums; psp and currency NULL mean all. */
void
truth_summary(StrBuf *buf, const char *psp, const char *currency)
{
	Totals		totals = {0};

	if (wants(psp, &psp_stripe))
	{
		add_stripe(&totals, currency);
		add_transfers(&totals, currency);
	}
	if (wants(psp, &psp_adyen))
		add_adyen(&totals, currency);
	jw_object(buf, NULL);
	put_total(buf, "intents", &totals.intents);
	put_statuses(buf, &totals, psp);
	put_total(buf, "authorized", &totals.authorized);
	put_total(buf, "captures", &totals.captures);
	put_total(buf, "cancelled", &totals.cancelled);
	put_total(buf, "refunds", &totals.refunds);
	put_total(buf, "declines", &totals.declines);
	put_total(buf, "transfers", &totals.transfers);
	put_total(buf, "reversals", &totals.reversals);
	jw_end_object(buf);
}

/* Writes the truth about one intent. */
void
truth_intent(StrBuf *buf, const Intent *intent)
{
	jw_object(buf, NULL);
	jw_string(buf, "psp", psp_stripe.name);
	jw_string(buf, "id", intent->id);
	jw_string(buf, "status", intent_status_names[intent->status]);
	jw_string(buf, "currency", intent->currency);
	jw_int(buf, "amount", intent->amount);
	jw_int(buf, "amount_capturable", intent->amount_capturable);
	jw_int(buf, "amount_received", intent->amount_received);
	jw_int(buf, "amount_refunded", intent->amount_refunded);
	jw_bool(buf, "authorized", intent->authorized);
	jw_string(buf, "transfer_group", intent->echo[ECHO_TRANSFER_GROUP]);
	jw_object(buf, "metadata");
	for (size_t i = 0; i < intent->metadata.count; i++)
		jw_string(buf, intent->metadata.params[i].name,
				  intent->metadata.params[i].value);
	jw_end_object(buf);
	render_history(buf, &intent->history);
	jw_end_object(buf);
}

/* Writes one of all payments: Stripe's come first. */
static void
put_payment(StrBuf *text, const TruthStream *stream, size_t index)
{
	if (index < stream->intents)
		truth_intent(text, store_intent_at(index));
	else
		truth_payment(text, adyen_payment_at(index - stream->intents));
}

/* Writes the end: all transfers. */
static void
put_transfers(StrBuf *text)
{
	buf_puts(text, "\n],\"transfers\":[");
	for (size_t i = 0; i < transfer_count(); i++)
	{
		buf_puts(text, i == 0 ? "\n" : ",\n");
		truth_transfer(text, transfer_at(i));
	}
	buf_puts(text, "\n]}\n");
}

/* Writes the next payments until a block is full. */
static void
fill(TruthStream *stream)
{
	StrBuf	   *text = &stream->text;

	text->len = 0;
	stream->sent = 0;
	if (!stream->begun)
		buf_puts(text, "{\"intents\":[\n");
	stream->begun = true;
	while (stream->generation == store_generation() &&
		   stream->next < stream->end && text->len < STREAM_BLOCK)
	{
		if (stream->next > stream->first)
			buf_puts(text, ",\n");
		put_payment(text, stream, stream->next++);
	}
	if (text->len < STREAM_BLOCK)
	{
		put_transfers(text);
		stream->finished = true;
	}
}

/* Hands text to libmicrohttpd. */
static ssize_t
read_truth(void *cls, uint64_t pos, char *buf, size_t max)
{
	TruthStream *stream = cls;
	size_t		left;

	(void) pos;
	if (stream->sent == stream->text.len)
	{
		if (stream->finished)
			return MHD_CONTENT_READER_END_OF_STREAM;
		fill(stream);
	}
	left = stream->text.len - stream->sent;
	if (max > left)
		max = left;
	memcpy(buf, stream->text.data + stream->sent, max);
	stream->sent += max;
	return (ssize_t) max;
}

/* Frees the stream with its response. */
static void
free_truth(void *cls)
{
	TruthStream *stream = cls;

	buf_free(&stream->text);
	free(stream);
}

/* Replies with all payments, one a line, written while they are sent. */
enum MHD_Result
truth_stream(Request *req)
{
	const char *psp = request_query(req, "psp");
	TruthStream *stream = xcalloc(1, sizeof(TruthStream));
	struct MHD_Response *response;
	enum MHD_Result result;

	stream->generation = store_generation();
	stream->intents = store_intent_count();
	stream->first = wants(psp, &psp_stripe) ? 0 : stream->intents;
	stream->end = stream->intents +
		(wants(psp, &psp_adyen) ? adyen_payment_count() : 0);
	stream->next = stream->first;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN,
												 STREAM_BLOCK, read_truth,
												 stream, free_truth);
	if (response == NULL)
	{
		free_truth(stream);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", "application/json");
	req->phase = PHASE_ANSWERED;
	result = MHD_queue_response(req->connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return result;
}
