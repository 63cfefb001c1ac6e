/*-------------------------------------------------------------------------
 *
 * truth.c
 *		What really happened, for tests to compare with what a client
 *		believes: every intent with the operations executed on it, or sums.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

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
	Total		intents;
	Total		authorized;
	Total		captures;
	Total		cancelled;
	Total		refunds;
	Total		declines;
} Totals;

/* All intents on their way to a client. */
typedef struct TruthStream
{
	size_t		next;			/* index of the next intent */
	unsigned	generation;
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

/* Adds what was executed on an intent. */
static void
add_intent(Totals *totals, const Intent *intent)
{
	totals->statuses[intent->status]++;
	add(&totals->intents, intent->amount);
	if (intent->authorized)
		add(&totals->authorized, intent->amount);
	for (size_t i = 0; i < intent->history.count; i++)
	{
		const Execution *event = &intent->history.items[i];

		if (strcmp(event->kind, "capture") == 0 && event->amount > 0)
			add(&totals->captures, event->amount);
		else if (strcmp(event->kind, "cancel") == 0)
			add(&totals->cancelled, event->amount);
		else if (strcmp(event->kind, "confirm") == 0 &&
				 strcmp(event->outcome, "declined") == 0)
			add(&totals->declines, event->amount);
	}
}

/* Adds everything in one currency, or in all when it is NULL. */
static void
add_all(Totals *totals, const char *currency)
{
	for (size_t i = 0; i < store_intent_count(); i++)
	{
		const Intent *intent = store_intent_at(i);

		if (currency == NULL || strcmp(currency, intent->currency) == 0)
			add_intent(totals, intent);
	}
	for (size_t i = 0; i < store_refund_count(); i++)
	{
		const Refund *refund = store_refund_at(i);

		if (strcmp(refund->status, "failed") != 0 &&
			(currency == NULL ||
			 strcmp(currency, refund->intent->currency) == 0))
			add(&totals->refunds, refund->amount);
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

/* Writes the truth in sums; currency NULL means all. */
void
truth_summary(StrBuf *buf, const char *currency)
{
	Totals		totals = {0};

	add_all(&totals, currency);
	jw_object(buf, NULL);
	put_total(buf, "intents", &totals.intents);
	jw_object(buf, "statuses");
	for (int i = 0; i < INTENT_STATUSES; i++)
		jw_int(buf, intent_status_names[i], totals.statuses[i]);
	jw_end_object(buf);
	put_total(buf, "authorized", &totals.authorized);
	put_total(buf, "captures", &totals.captures);
	put_total(buf, "cancelled", &totals.cancelled);
	put_total(buf, "refunds", &totals.refunds);
	put_total(buf, "declines", &totals.declines);
	jw_end_object(buf);
}

/* Writes the truth about one intent. */
void
truth_intent(StrBuf *buf, const Intent *intent)
{
	jw_object(buf, NULL);
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

/* Writes the next intents until a block is full. */
static void
fill(TruthStream *stream)
{
	StrBuf	   *text = &stream->text;

	text->len = 0;
	stream->sent = 0;
	if (stream->next == 0)
		buf_puts(text, "{\"intents\":[\n");
	while (stream->generation == store_generation() &&
		   stream->next < store_intent_count() && text->len < STREAM_BLOCK)
	{
		if (stream->next > 0)
			buf_puts(text, ",\n");
		truth_intent(text, store_intent_at(stream->next++));
	}
	if (text->len < STREAM_BLOCK)
	{
		buf_puts(text, "\n]}\n");
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

/* Replies with all intents, one a line, written while they are sent. */
enum MHD_Result
truth_stream(Request *req)
{
	TruthStream *stream = xcalloc(1, sizeof(TruthStream));
	struct MHD_Response *response;
	enum MHD_Result result;

	stream->generation = store_generation();
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
