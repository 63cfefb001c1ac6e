/*
 * src/adapters/stripe/webhook.c
 *		What Stripe tells unasked: signed webhooks, and the list of the same
 *		events for those that got lost.
 *
 * An event carries its object as it was then.  Only what that snapshot proves
 * is passed on, so any order and any number of events ends in the same books.
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "adapters/stripe/stripe.h"
#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "utils/builtins.h"

/* how old and how far ahead a signature's time may be, seconds */
#define TOLERANCE 300

#define SIGNATURE_BYTES 32
#define MAX_SIGNATURES 16

/* of a signature's time */
#define MAX_TIME_DIGITS 12

#define OBJECT "data.object."

/* the events that pl_stripe_read_event() looks at; Stripe filters by 20 at most */
static const char *const event_types[] = {
	"payment_intent.amount_capturable_updated", "payment_intent.canceled", "payment_intent.partially_funded",
	"payment_intent.payment_failed", "payment_intent.processing", "payment_intent.requires_action",
	"payment_intent.succeeded", "charge.refund.updated", "refund.created", "refund.failed", "refund.updated",
	"charge.dispute.closed", "charge.dispute.created", "charge.dispute.funds_reinstated",
	"charge.dispute.funds_withdrawn", "charge.dispute.updated", "transfer.created", "transfer.reversed",
	"transfer.updated"
};

/* ---- signatures ---- */

/* What the Stripe-Signature header says. */
typedef struct Signatures
{
	const char *timestamp;		/* as it was signed */
	int64		signed_at;		/* the same, seconds since 1970 */
	int			n;
	uint8		values[MAX_SIGNATURES][SIGNATURE_BYTES];
} Signatures;

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = pg_ascii_tolower((unsigned char) c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 64 hexadecimal digits; false for anything else. */
static bool
read_signature(const char *text, uint8 *value)
{
	if (strlen(text) != SIGNATURE_BYTES * 2)
		return false;
	for (int i = 0; i < SIGNATURE_BYTES; i++)
	{
		int			high = hex_value(text[2 * i]);
		int			low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		value[i] = (uint8) (high << 4 | low);
	}
	return true;
}

/*
 * Take the header apart: t=1492774577,v1=5257a8...,v1=...,v0=...  Returns why
 * it cannot be read, or NULL.
 */
static const char *
read_signatures(char *header, Signatures *signatures)
{
	char	   *next = header;
	char	   *part;

	memset(signatures, 0, sizeof(Signatures));
	while ((part = strsep(&next, ",")) != NULL)
	{
		char	   *equals = strchr(part, '=');

		if (equals == NULL)
			return "the Stripe-Signature header is malformed";
		*equals = '\0';
		if (strcmp(part, "t") == 0)
		{
			if (signatures->timestamp != NULL || strlen(equals + 1) > MAX_TIME_DIGITS)
				return "the Stripe-Signature header is malformed";
			signatures->timestamp = equals + 1;
			signatures->signed_at = pl_id_from_text(signatures->timestamp);
		}
		else if (strcmp(part, "v1") == 0)
		{
			if (signatures->n == MAX_SIGNATURES)
				return "the Stripe-Signature header has too many signatures";
			if (!read_signature(equals + 1, signatures->values[signatures->n++]))
				return "the Stripe-Signature header is malformed";
		}
	}
	if (signatures->signed_at == 0)
		return "the Stripe-Signature header names no time";
	if (signatures->n == 0)
		return "the Stripe-Signature header has no signature of version 1";
	return NULL;
}

/*
 * Why the webhook is not authentic or not timely; NULL: it is.  Each key is
 * tried with each signature, whatever the others said.
 */
const char *
pl_stripe_verify_webhook(const PlWebhook *webhook, const PlWebhookKey *keys, int nkeys, TimestampTz now)
{
	char	   *header = pl_webhook_header(webhook, "Stripe-Signature");
	Signatures	signatures;
	StringInfoData payload;
	const char *problem;
	bool		authentic = false;
	int64		age;

	if (header == NULL)
		return "there is no Stripe-Signature header";
	problem = read_signatures(header, &signatures);
	if (problem != NULL)
		return problem;

	initStringInfo(&payload);
	appendStringInfo(&payload, "%s.", signatures.timestamp);
	appendBinaryStringInfo(&payload, webhook->body, webhook->length);
	for (int k = 0; k < nkeys; k++)
	{
		uint8		expected[EVP_MAX_MD_SIZE];

		if (HMAC(EVP_sha256(), keys[k].value, (int) strlen(keys[k].value), (const uint8 *) payload.data,
				 payload.len, expected, NULL) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not compute the signature of a webhook")));
		for (int i = 0; i < signatures.n; i++)
			authentic |= CRYPTO_memcmp(expected, signatures.values[i], SIGNATURE_BYTES) == 0;
	}
	pfree(payload.data);
	if (!authentic)
		return "no key of the gateway has made the signature";

	age = (int64) timestamptz_to_time_t(now) - signatures.signed_at;
	if (age > TOLERANCE)
		return "the signature is too old";
	if (age < -TOLERANCE)
		return "the signature is of the future";
	return NULL;
}

/* ---- events ---- */

static bool
starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A member that every event has; 22023 without it. */
static const char *
require_string(const PlDocument *document, const char *path)
{
	const char *value = pl_document_string(document, path);

	if (value == NULL || *value == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a stripe event has no \"%s\"", path)));
	return value;
}

static int64
require_int64(const PlDocument *document, const char *path)
{
	int64		value;

	if (!pl_document_int64(document, path, &value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a stripe event has no \"%s\"", path)));
	return value;
}

static PlDocument *
parse_event(const char *text)
{
	return pl_require_document("a stripe event", text, strlen(text));
}

/*
 * The one event in a webhook.
 */
List *
pl_stripe_split_webhook(const char *body, size_t length)
{
	return list_make1(pl_valid_text(body, length));
}

/*
 * What names an event.
 */
void
pl_stripe_name_event(const char *text, PlWebhookEvent *event)
{
	PlDocument *document = parse_event(text);

	event->event_id = require_string(document, "id");
	event->event_type = require_string(document, "type");
	event->occurred_at = pl_time_from_unix(require_int64(document, "created"));
	event->body = pl_document_raw(document, "");
}

static PlNotification *
new_notification(PlSubject subject)
{
	PlNotification *notification = palloc0(sizeof(PlNotification));

	notification->subject = subject;
	notification->outcome.class = PL_OUTCOME_UNKNOWN;
	notification->outcome.retry_after_ms = notification->outcome.recheck_ms = -1;
	return notification;
}

/* The key of the request that made the object; NULL: not told. */
static const char *
made_by(const PlDocument *document)
{
	return pl_document_text(document, OBJECT "metadata." STRIPE_REQUEST_MARK);
}

/* The ISO code of the object's currency, which Stripe writes in lower case. */
static const char *
read_currency(const PlDocument *document, const char *path)
{
	const char *given = require_string(document, path);
	char	   *currency = pstrdup(given);

	for (char *p = currency; *p; p++)
		*p = pg_ascii_toupper((unsigned char) *p);
	return pl_check_currency(currency)->code;
}

/*
 * An amount of Stripe's in minor units; 22003 for one that there cannot be:
 * nothing is not what was asked for, nor a dispute.
 */
static int64
check_amount(int64 amount, const char *currency)
{
	if (amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount " INT64_FORMAT " of a stripe event is not above zero", amount)));
	return pl_amount_from_psp(amount, currency, pl_stripe_exponents);
}

/* How much the object is about; it stays as asked for if the object does not say. */
static void
read_amount(const PlDocument *document, PlOutcome *outcome)
{
	int64		amount;

	if (!pl_document_int64(document, OBJECT "amount", &amount))
		return;
	outcome->currency = read_currency(document, OBJECT "currency");
	outcome->amount = check_amount(amount, outcome->currency);
}

/*
 * Raise 22003 for an authorization of less or more than the PaymentIntent is
 * about: what can still be captured, with what was.
 */
static void
check_capturable(const PlDocument *document, const char *reference)
{
	int64		amount = require_int64(document, OBJECT "amount");
	int64		capturable = require_int64(document, OBJECT "amount_capturable");
	int64		received = require_int64(document, OBJECT "amount_received");

	if (capturable < 0 || received < 0 || pl_add_amount(capturable, received) != amount)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("payment intent %s is about " INT64_FORMAT ", of which " INT64_FORMAT " can be captured and " INT64_FORMAT " were",
						pl_redact(reference), amount, capturable, received),
				 errdetail("Partial authorizations are not supported."),
				 errhint("Look at it at the PSP, and cancel it there.")));
}

/*
 * What our captures took, by their marks.  A mark is written in the same step
 * as its capture is executed, so the PaymentIntent has received them all.
 */
static List *
read_captures(const PlDocument *document, int64 payment_id, const char *reference)
{
	const char *currency = read_currency(document, OBJECT "currency");
	int64		received = require_int64(document, OBJECT "amount_received");
	int64		marked = 0;
	int			position = 0;
	List	   *captures = NIL;
	const char *name;
	const char *value;

	while ((name = pl_document_next(document, OBJECT "metadata", &position, &value)) != NULL)
	{
		PlNotification *capture;

		CHECK_FOR_INTERRUPTS();
		if (!starts_with(name, STRIPE_CAPTURE_MARK))
			continue;
		capture = new_notification(PL_ABOUT_CAPTURE);
		capture->payment_id = payment_id;
		capture->psp_request_id = pl_id_from_text(name + strlen(STRIPE_CAPTURE_MARK));
		capture->payment_reference = reference;
		capture->outcome.class = PL_OUTCOME_SUCCEEDED;
		capture->outcome.psp_reference = reference;
		capture->outcome.amount = pl_id_from_text(value);
		capture->outcome.currency = currency;
		if (capture->psp_request_id == 0 || capture->outcome.amount == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("payment intent %s has a capture mark that is none of ours", pl_redact(reference)),
					 errdetail("Its name is %s.", pl_redact(name))));
		marked = pl_add_amount(marked, capture->outcome.amount);
		captures = lappend(captures, capture);
	}
	return captures != NIL && pl_amount_to_psp(marked, currency, pl_stripe_exponents) <= received ? captures : NIL;
}

/*
 * A PaymentIntent that was cancelled, or whose authorization expired.  Without
 * a charge that was accepted there never was an authorization to reverse.
 */
static void
read_canceled(const PlDocument *document, PlOutcome *outcome)
{
	bool		was_authorized = pl_document_text(document, OBJECT "latest_charge") != NULL &&
		pl_document_raw(document, OBJECT "last_payment_error") == NULL;

	outcome->class = was_authorized ? PL_OUTCOME_REVERSED : PL_OUTCOME_REFUSED;
	outcome->code = pl_document_text(document, OBJECT "cancellation_reason");
	if (outcome->code == NULL)
		outcome->code = "canceled";
}

static List *
read_payment_intent(const PlDocument *document, const char *type)
{
	int64		payment_id = pl_id_from_text(pl_document_text(document, OBJECT "metadata." STRIPE_PAYMENT_MARK));
	const char *reference = require_string(document, OBJECT "id");
	const char *status = require_string(document, OBJECT "status");
	PlNotification *authorization;

	if (payment_id == 0)
		return NIL;
	authorization = new_notification(PL_ABOUT_AUTHORIZATION);
	authorization->payment_id = payment_id;
	authorization->payment_reference = reference;
	authorization->request_key = made_by(document);
	if (pl_is_text(status, "canceled"))
		read_canceled(document, &authorization->outcome);
	else if (pl_is_text(status, "requires_payment_method") && strcmp(type, "payment_intent.payment_failed") != 0)
		return NIL;				/* no attempt has failed yet */
	else
		pl_stripe_read_authorization(document, OBJECT, &authorization->outcome);
	authorization->outcome.psp_reference = reference;
	authorization->outcome.recheck_ms = -1;
	read_amount(document, &authorization->outcome);
	if (authorization->outcome.class == PL_OUTCOME_UNKNOWN)
		return NIL;
	if (authorization->outcome.class != PL_OUTCOME_SUCCEEDED)
		return list_make1(authorization);
	if (pl_is_text(status, "requires_capture"))
		check_capturable(document, reference);
	return list_concat(list_make1(authorization), read_captures(document, payment_id, reference));
}

static List *
read_refund(const PlDocument *document)
{
	PlNotification *refund = new_notification(PL_ABOUT_REFUND);

	refund->payment_id = pl_id_from_text(pl_document_text(document, OBJECT "metadata." STRIPE_PAYMENT_MARK));
	refund->object_id = pl_id_from_text(pl_document_text(document, OBJECT "metadata." STRIPE_REFUND_MARK));
	refund->payment_reference = pl_document_text(document, OBJECT "payment_intent");
	refund->request_key = made_by(document);
	(void) require_string(document, OBJECT "id");
	if (refund->object_id == 0)
		return NIL;
	pl_stripe_read_refund(document, OBJECT, &refund->outcome);
	read_amount(document, &refund->outcome);
	refund->outcome.recheck_ms = -1;
	refund->names_object = true;
	return refund->outcome.class == PL_OUTCOME_UNKNOWN ? NIL : list_make1(refund);
}

/*
 * The fees of a dispute, minor units: what its balance transactions took in
 * its currency; those in another are left to the settlement report.
 */
static int64
dispute_fee(const PlDocument *document, const char *currency)
{
	int64		sum = 0;

	for (int i = 0;; i++)
	{
		const char *place = psprintf(OBJECT "balance_transactions.%d", i);
		int64		fee;

		CHECK_FOR_INTERRUPTS();
		if (pl_document_raw(document, place) == NULL)
			break;
		if (pl_document_int64(document, psprintf("%s.fee", place), &fee) && fee > 0 &&
			strcmp(read_currency(document, psprintf("%s.currency", place)), currency) == 0)
			sum = pl_add_amount(sum, pl_amount_from_psp(fee, currency, pl_stripe_exponents));
	}
	return sum;
}

static List *
read_dispute(const PlDocument *document)
{
	static const struct
	{
		const char *status;
		PlDisputeStage stage;
	}			stages[] = {
		{"needs_response", PL_DISPUTE_OPENED},
		{"under_review", PL_DISPUTE_UNDER_REVIEW},
		{"won", PL_DISPUTE_WON},
		{"lost", PL_DISPUTE_LOST}
	};
	PlNotification *dispute = new_notification(PL_ABOUT_DISPUTE);
	const char *status = require_string(document, OBJECT "status");
	int64		due_by;
	size_t		i = 0;

	while (i < lengthof(stages) && strcmp(stages[i].status, status) != 0)
		i++;
	dispute->payment_reference = pl_document_text(document, OBJECT "payment_intent");
	/* an inquiry takes no money; a charge without PaymentIntent is none of ours */
	if (i == lengthof(stages) || dispute->payment_reference == NULL)
		return NIL;

	dispute->dispute.stage = stages[i].stage;
	dispute->dispute.psp_reference = require_string(document, OBJECT "id");
	dispute->dispute.currency = read_currency(document, OBJECT "currency");
	dispute->dispute.amount = check_amount(require_int64(document, OBJECT "amount"), dispute->dispute.currency);
	dispute->dispute.fee = dispute_fee(document, dispute->dispute.currency);
	dispute->dispute.reason = pl_document_string(document, OBJECT "reason");
	if (pl_document_int64(document, OBJECT "evidence_details.due_by", &due_by))
		dispute->dispute.evidence_due_at = pl_time_from_unix(due_by);
	return list_make1(dispute);
}

/* A transfer to a seller's account: one of our payouts. */
static List *
read_transfer(const PlDocument *document)
{
	PlNotification *payout = new_notification(PL_ABOUT_PAYOUT);
	const char *reference = require_string(document, OBJECT "id");

	payout->object_id = pl_id_from_text(pl_document_text(document, OBJECT "metadata." STRIPE_PAYOUT_MARK));
	payout->request_key = made_by(document);
	if (payout->object_id == 0)
		return NIL;
	payout->destination = require_string(document, OBJECT "destination");
	payout->names_object = true;
	pl_stripe_read_transfer(document, OBJECT, &payout->outcome);
	read_amount(document, &payout->outcome);
	if (payout->outcome.class == PL_OUTCOME_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("transfer %s was reversed in part", pl_redact(reference)),
				 errdetail("A payout is paid or returned as a whole."),
				 errhint("Post what came back with payledger.post_entry.")));
	return list_make1(payout);
}

/*
 * What an event says of our payments, refunds, disputes and payouts.
 */
List *
pl_stripe_read_event(const PlWebhookEvent *event)
{
	PlDocument *document;

	for (size_t i = 0; i < lengthof(event_types); i++)
	{
		if (strcmp(event->event_type, event_types[i]) != 0)
			continue;
		document = parse_event(event->body);
		if (starts_with(event->event_type, "payment_intent."))
			return read_payment_intent(document, event->event_type);
		if (starts_with(event->event_type, "charge.dispute."))
			return read_dispute(document);
		if (starts_with(event->event_type, "transfer."))
			return read_transfer(document);
		return read_refund(document);
	}
	return NIL;
}

/* ---- the list of events ---- */

/*
 * Ask for the events since a time, newest first; before names the last one of
 * the page before.
 */
void
pl_stripe_list_events(const PlGateway *gateway, TimestampTz since, const char *before, PlHttpRequest *http)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfo(&path, "/v1/events?limit=%d&created%%5Bgte%%5D=" INT64_FORMAT,
					 STRIPE_LISTED, (int64) timestamptz_to_time_t(since));
	for (size_t i = 0; i < lengthof(event_types); i++)
		appendStringInfo(&path, "&types%%5B%%5D=%s", event_types[i]);
	if (before != NULL)
		appendStringInfo(&path, "&starting_after=%s", pl_url_escape(before));
	memset(http, 0, sizeof(PlHttpRequest));
	http->method = PL_HTTP_GET;
	http->path = path.data;
}

/*
 * The texts of the events of a page.  Raises 08P01 for a reply that is no page.
 */
List *
pl_stripe_read_events(const PlHttpReply *reply, bool *more)
{
	PlDocument *list;
	List	   *texts;

	if (reply->status != 200)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("stripe answers the question for events with status %d", reply->status)));
	texts = pl_require_elements("the list of events", reply->body, reply->body_length, "data", &list);
	*more = pl_is_text(pl_document_text(list, "has_more"), "true");
	return texts;
}
