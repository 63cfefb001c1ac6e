/*
 * src/adapters/adyen/webhook.c
 *		What Adyen tells unasked: standard webhooks, of one or several items.
 *
 * Each item is signed by itself, over eight of its fields; whatever else it
 * holds is not protected, and decides nothing about money.  Webhooks about
 * accounts, balances and transfers have another form and are not read.
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "adapters/adyen/adyen.h"
#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"

/* base64 of 32 bytes */
#define SIGNATURE_LENGTH 44

/* bytes of a key, which is written in hexadecimal digits */
#define MAX_KEY_BYTES 64

/* Adyen sends one, or a few */
#define MAX_ITEMS 1000

#define ITEMS "notificationItems"
#define ITEM "NotificationRequestItem"

/* ---- signatures ---- */

/* The bytes of a hexadecimal key; their number, 0 if it is none. */
static int
read_key(const PlWebhookKey *key, uint8 *bytes)
{
	size_t		length = strlen(key->value);

	if (length == 0 || length % 2 != 0 || length > MAX_KEY_BYTES * 2 ||
		strspn(key->value, "0123456789ABCDEFabcdef") != length)
		return 0;
	for (size_t i = 0; i < length; i += 2)
	{
		const char	digits[] = {key->value[i], key->value[i + 1], '\0'};

		bytes[i / 2] = (uint8) strtoul(digits, NULL, 16);
	}
	return (int) (length / 2);
}

/* What an item's signature is over: eight fields, null as nothing. */
static char *
signed_text(const PlDocument *document, const char *item)
{
	static const char *const fields[] = {
		"pspReference", "originalReference", "merchantAccountCode", "merchantReference", "amount.value",
		"amount.currency", "eventCode", "success"
	};
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < (int) lengthof(fields); i++)
	{
		const char *value = pl_document_text(document, psprintf("%s.%s", item, fields[i]));

		appendStringInfo(&text, "%s%s", i > 0 ? ":" : "", value ? value : "");
	}
	return text.data;
}

/*
 * Has one of the keys made the signature?  Each is tried, whatever the others
 * said.
 */
static bool
is_authentic(const char *text, const char *signature, const PlWebhookKey *keys, int nkeys)
{
	bool		authentic = false;

	for (int k = 0; k < nkeys; k++)
	{
		uint8		key[MAX_KEY_BYTES];
		uint8		digest[EVP_MAX_MD_SIZE];
		uint8		expected[SIGNATURE_LENGTH + 1];
		int			length = read_key(&keys[k], key);

		if (length == 0)
			continue;
		if (HMAC(EVP_sha256(), key, length, (const uint8 *) text, strlen(text), digest, NULL) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not compute the signature of a webhook")));
		explicit_bzero(key, sizeof(key));
		EVP_EncodeBlock(expected, digest, SIGNATURE_LENGTH / 4 * 3 - 1);
		authentic |= CRYPTO_memcmp(expected, signature, SIGNATURE_LENGTH) == 0;
	}
	return authentic;
}

/* The place of the i-th item in the document; NULL if there is none. */
static char *
item_path(const PlDocument *document, int i)
{
	char	   *path = psprintf(ITEMS ".%d." ITEM, i);

	if (pl_document_raw(document, psprintf(ITEMS ".%d", i)) == NULL)
		return NULL;
	if (pl_document_raw(document, path) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("item %d of the webhook has no \"" ITEM "\"", i)));
	return path;
}

/*
 * Why the webhook is not authentic; NULL: each of its items is.  They carry no
 * time that is signed.  Raises as pl_require_document(), and 54000 for too many
 * items.
 */
const char *
pl_adyen_verify_webhook(const PlWebhook *webhook, const PlWebhookKey *keys, int nkeys, TimestampTz now)
{
	PlDocument *document = pl_require_document("the webhook", webhook->body, webhook->length);
	char	   *path;
	int			n = 0;

	for (; (path = item_path(document, n)) != NULL; n++)
	{
		const char *signature = pl_document_text(document, psprintf("%s.additionalData.hmacSignature", path));

		CHECK_FOR_INTERRUPTS();
		if (n == MAX_ITEMS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the webhook has more than %d items", MAX_ITEMS)));
		if (signature == NULL || strlen(signature) != SIGNATURE_LENGTH)
			return "an item has no HMAC signature";
		/* one forged item makes the others worth nothing */
		if (!is_authentic(signed_text(document, path), signature, keys, nkeys))
			return "no key of the gateway has made the signature of an item";
	}
	return n == 0 ? "there are no notification items" : NULL;
}

/* ---- events ---- */

/* A member that every item has; 22023 without it. */
static const char *
require_string(const PlDocument *document, const char *name)
{
	const char *value = pl_document_string(document, name);

	if (value == NULL || *value == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an adyen notification has no \"%s\"", name)));
	return value;
}

/* "true" or "false", which Adyen writes as strings; 22023 for anything else. */
static bool
read_success(const PlDocument *document)
{
	const char *success = pl_document_text(document, "success");

	if (success != NULL && strcmp(success, "true") == 0)
		return true;
	if (success == NULL || strcmp(success, "false") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an adyen notification has no \"success\"")));
	return false;
}

static PlDocument *
parse_item(const char *text)
{
	return pl_require_document("an adyen notification", text, strlen(text));
}

/*
 * The items of a webhook.
 */
List *
pl_adyen_split_webhook(const char *body, size_t length)
{
	PlDocument *document = pl_require_document("the webhook", body, length);
	List	   *texts = NIL;
	char	   *path;

	for (int i = 0; (path = item_path(document, i)) != NULL; i++)
	{
		CHECK_FOR_INTERRUPTS();
		texts = lappend(texts, pl_document_raw(document, path));
	}
	return texts;
}

/*
 * What names an item.  It is sent again until it is accepted; those of one
 * event agree in code, reference and success.
 */
void
pl_adyen_name_event(const char *text, PlWebhookEvent *event)
{
	PlDocument *item = parse_item(text);
	const char *date = pl_document_string(item, "eventDate");

	event->event_type = require_string(item, "eventCode");
	event->event_id = psprintf("%s:%s:%s", event->event_type, require_string(item, "pspReference"),
							   read_success(item) ? "true" : "false");
	event->occurred_at = date ? pl_time_from_iso(date) : 0;
	event->body = text;
}

/* An item, and what all of its notifications have in common. */
typedef struct NotificationItem
{
	PlDocument *document;
	const char *code;
	const char *reference;		/* Adyen's, of what the item is about */
	const char *payment_reference;	/* Adyen's, of the payment; NULL: not told */
	bool		success;
	int64		payment_id;		/* ours; 0: not told */
	int64		psp_request_id; /* ours; 0: not told */
	const char *request_key;	/* of the same request; NULL: not told */
} NotificationItem;

/*
 * Our two ids in the reference, and the request's key if it has a mark; leaves
 * the item without them if it is none of ours.
 */
static void
read_reference(NotificationItem *item, const char *reference)
{
	char	   *first;
	char	   *second;
	char	   *mark;
	char	   *key;
	int64		payment_id;
	int64		psp_request_id;

	if (reference == NULL || strncmp(reference, PL_KEY_PREFIX, strlen(PL_KEY_PREFIX)) != 0)
		return;
	first = pstrdup(reference + strlen(PL_KEY_PREFIX));
	second = strchr(first, '_');
	if (second == NULL)
		return;
	*second++ = '\0';
	key = psprintf(PL_KEY_PREFIX "%s", second);
	mark = strchr(second, '_');
	if (mark != NULL)
		*mark = '\0';
	payment_id = pl_id_from_text(first);
	psp_request_id = pl_id_from_text(second);
	if (payment_id == 0 || psp_request_id == 0)
		return;
	item->payment_id = payment_id;
	item->psp_request_id = psp_request_id;
	item->request_key = mark != NULL ? key : NULL;
}

static const char *
read_currency(const PlDocument *document)
{
	return pl_check_currency(require_string(document, "amount.currency"))->code;
}

/*
 * The item's amount in minor units; 22023 without one, 22003 for one that there
 * cannot be: nothing is not what was asked for, nor a dispute.
 */
static int64
read_amount(const PlDocument *document)
{
	const char *currency = read_currency(document);
	int64		value;

	if (!pl_document_int64(document, "amount.value", &value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an adyen notification has no \"amount.value\"")));
	if (value <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount " INT64_FORMAT " of an adyen notification is not above zero", value)));
	return pl_amount_from_psp(value, currency, pl_adyen_exponents);
}

static PlNotification *
new_notification(const NotificationItem *item, PlSubject subject, PlOutcomeClass class)
{
	PlNotification *notification = palloc0(sizeof(PlNotification));

	notification->subject = subject;
	notification->payment_id = item->payment_id;
	notification->psp_request_id = item->psp_request_id;
	notification->payment_reference = item->payment_reference;
	notification->request_key = item->request_key;
	notification->outcome.class = class;
	notification->outcome.psp_reference = item->reference;
	notification->outcome.retry_after_ms = notification->outcome.recheck_ms = -1;
	if (class == PL_OUTCOME_REFUSED || class == PL_OUTCOME_REVERSED)
	{
		notification->outcome.code = item->code;
		notification->outcome.message = pl_document_string(item->document, "reason");
	}
	return notification;
}

/* The authorization that Adyen holds no longer, or what is left of it. */
static List *
authorization_ended(const NotificationItem *item)
{
	PlNotification *notification = new_notification(item, PL_ABOUT_AUTHORIZATION, PL_OUTCOME_REVERSED);

	notification->psp_request_id = 0;
	notification->outcome.psp_reference = item->payment_reference;
	return list_make1(notification);
}

/* The result of one of our requests. */
static List *
result(const NotificationItem *item, PlSubject subject)
{
	return list_make1(new_notification(item, subject, item->success ? PL_OUTCOME_SUCCEEDED : PL_OUTCOME_REFUSED));
}

/* The same, of which the amount may be another than was asked for. */
static List *
result_with_amount(const NotificationItem *item, PlSubject subject)
{
	List	   *notifications = result(item, subject);
	PlNotification *notification = linitial(notifications);

	/* the reply to a modification told the reference that its result has */
	notification->names_object = subject != PL_ABOUT_AUTHORIZATION;
	if (item->success)
	{
		notification->outcome.amount = read_amount(item->document);
		notification->outcome.currency = read_currency(item->document);
	}
	return notifications;
}

static List *
read_authorisation(NotificationItem *item)
{
	item->payment_reference = item->reference;	/* it is about the payment itself */
	return result_with_amount(item, PL_ABOUT_AUTHORIZATION);
}

static List *
read_capture(NotificationItem *item)
{
	return result_with_amount(item, PL_ABOUT_CAPTURE);
}

static List *
read_refund(NotificationItem *item)
{
	return result_with_amount(item, PL_ABOUT_REFUND);
}

static List *
read_cancellation(NotificationItem *item)
{
	List	   *notifications = result(item, PL_ABOUT_CANCEL);

	/* whoever asked for it: what it tells is about the payment */
	((PlNotification *) linitial(notifications))->outcome.psp_reference = item->payment_reference;
	return notifications;
}

static List *
read_cancel_or_refund(NotificationItem *item)
{
	const char *action = pl_document_text(item->document, "additionalData.modification\\.action");

	/* a refund that we did not ask for is found by the settlement report */
	return item->success && action != NULL && strcmp(action, "cancel") == 0 ? authorization_ended(item) : NIL;
}

/* What was captured or refunded came back: it had succeeded. */
static List *
read_capture_failed(NotificationItem *item)
{
	return item->success ? list_make1(new_notification(item, PL_ABOUT_CAPTURE, PL_OUTCOME_REVERSED)) : NIL;
}

static List *
read_refund_failed(NotificationItem *item)
{
	return item->success ? list_make1(new_notification(item, PL_ABOUT_REFUND, PL_OUTCOME_REVERSED)) : NIL;
}

static List *
read_end(NotificationItem *item)
{
	if (item->payment_reference == NULL)
		item->payment_reference = item->reference;
	return item->success ? authorization_ended(item) : NIL;
}

/* The shopper never came back from the bank's page. */
static List *
read_offer_closed(NotificationItem *item)
{
	item->payment_reference = item->reference;
	return item->success ? list_make1(new_notification(item, PL_ABOUT_AUTHORIZATION, PL_OUTCOME_REFUSED)) : NIL;
}

/* Items about payments, by their code. */
static const struct
{
	const char *code;
	List	   *(*read) (NotificationItem *item);
}			readers[] = {
	{"AUTHORISATION", read_authorisation},
	{"CANCELLATION", read_cancellation},
	{"CANCEL_OR_REFUND", read_cancel_or_refund},
	{"CAPTURE", read_capture},
	{"CAPTURE_FAILED", read_capture_failed},
	{"EXPIRE", read_end},
	{"OFFER_CLOSED", read_offer_closed},
	{"REFUND", read_refund},
	{"REFUNDED_REVERSED", read_refund_failed},
	{"REFUND_FAILED", read_refund_failed},
	{"TECHNICAL_CANCEL", read_cancellation}
};

/*
 * Items about disputes that tell what becomes of the money; status is what
 * disputeStatus has to be, where the code alone does not tell.  Inquiries and
 * announcements move none.
 */
static const struct
{
	const char *code;
	const char *status;
	PlDisputeStage stage;
}			stages[] = {
	{"CHARGEBACK", NULL, PL_DISPUTE_OPENED},
	{"CHARGEBACK_REVERSED", NULL, PL_DISPUTE_WON},
	{"DISPUTE_DEFENSE_PERIOD_ENDED", "Lost", PL_DISPUTE_LOST},
	{"ISSUER_RESPONSE_TIMEFRAME_EXPIRED", "Won", PL_DISPUTE_WON},
	{"PREARBITRATION_ISSUER_WITHDRAWN", NULL, PL_DISPUTE_WON},
	{"PREARBITRATION_LOST", NULL, PL_DISPUTE_LOST_AGAIN},
	{"PREARBITRATION_WON", NULL, PL_DISPUTE_WON},
	{"SCHEME_ARBITRATION_LOST", NULL, PL_DISPUTE_LOST_AGAIN},
	{"SCHEME_ARBITRATION_WON", NULL, PL_DISPUTE_WON},
	{"SECOND_CHARGEBACK", NULL, PL_DISPUTE_LOST_AGAIN}
};

static List *
read_dispute(const NotificationItem *item, PlDisputeStage stage)
{
	PlNotification *notification = new_notification(item, PL_ABOUT_DISPUTE, PL_OUTCOME_UNKNOWN);
	const char *due = pl_document_string(item->document, "additionalData.defensePeriodEndsAt");

	notification->psp_request_id = 0;
	notification->dispute.stage = stage;
	notification->dispute.psp_reference = item->reference;
	notification->dispute.currency = read_currency(item->document);
	notification->dispute.amount = read_amount(item->document);
	notification->dispute.reason = pl_document_string(item->document, "reason");
	notification->dispute.evidence_due_at = due ? pl_time_from_iso(due) : 0;
	return list_make1(notification);
}

/*
 * What an item says of our payments, captures, refunds and disputes.  Items
 * about what we did not ask for carry no reference of ours; only disputes are
 * known by the payment's, too.
 */
List *
pl_adyen_read_event(const PlWebhookEvent *event)
{
	NotificationItem item = {.document = parse_item(event->body)};
	const char *status = pl_document_text(item.document, "additionalData.disputeStatus");

	item.code = require_string(item.document, "eventCode");
	item.reference = require_string(item.document, "pspReference");
	item.payment_reference = pl_document_string(item.document, "originalReference");
	item.success = read_success(item.document);
	read_reference(&item, pl_document_string(item.document, "merchantReference"));

	for (size_t i = 0; i < lengthof(readers); i++)
		if (strcmp(readers[i].code, item.code) == 0)
			return item.payment_id == 0 ? NIL : readers[i].read(&item);
	for (size_t i = 0; i < lengthof(stages); i++)
		if (strcmp(stages[i].code, item.code) == 0 && item.success &&
			(stages[i].status == NULL || (status != NULL && strcmp(stages[i].status, status) == 0)))
			return item.payment_id == 0 && item.payment_reference == NULL ? NIL
				: read_dispute(&item, stages[i].stage);
	return NIL;
}
