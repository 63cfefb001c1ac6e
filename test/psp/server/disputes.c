/*-------------------------------------------------------------------------
 *
 * disputes.c
 *		Disputes of charges: what the customer's bank does.
 *
 * A dispute takes the amount and a fee from the balance at once; one that is
 * won brings the amount back.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

#define DEFAULT_FEE 1500

static const char *const list_params[] = {
	"charge", "created", "ending_before", "expand", "limit",
	"payment_intent", "starting_after", NULL
};

static const char *const reasons[] = {
	"bank_cannot_process", "check_returned", "credit_not_processed",
	"customer_initiated", "debit_not_authorized", "duplicate", "fraudulent",
	"general", "incorrect_account_details", "insufficient_funds",
	"product_not_received", "product_unacceptable",
	"subscription_canceled", "unrecognized", NULL
};

static List disputes;
static HashTable disputes_by_id;

/* Forgets all disputes. */
void
disputes_forget(void)
{
	hash_clear(&disputes_by_id, free);
	list_free(&disputes);
}

/* Finds a dispute, or returns NULL. */
Dispute *
dispute_find(const char *id)
{
	return hash_get(&disputes_by_id, id);
}

/* Notes that the balance changed. */
static void
move_balance(Dispute *dispute, int64_t amount, int64_t fee)
{
	BalanceTransaction *transaction =
		&dispute->transactions[dispute->ntransactions++];

	make_id(transaction->id, "txn_1", 23);
	transaction->amount = amount;
	transaction->fee = fee;
	transaction->created = time(NULL);
}

/* One of the reasons that Stripe knows, NULL if it is none. */
const char *
dispute_reason(const char *text)
{
	for (size_t i = 0; reasons[i] != NULL; i++)
		if (strcmp(reasons[i], text) == 0)
			return reasons[i];
	return NULL;
}

/*
 * The customer's bank takes an amount back; fee -1 is Stripe's usual one.
 * Returns NULL with the reason in *wrong if that cannot be.
 */
Dispute *
dispute_open(Intent *intent, int64_t amount, int64_t fee, const char *reason,
			 const char **wrong)
{
	Dispute    *dispute;

	*wrong = intent->disputed ? "the payment is disputed already" :
		amount < 1 || amount > intent->amount_received ?
		"there is no such amount to dispute" : NULL;
	if (*wrong != NULL)
		return NULL;
	dispute = xcalloc(1, sizeof(Dispute));
	make_id(dispute->id, "du_1", 23);
	dispute->intent = intent;
	dispute->amount = amount;
	dispute->reason = reason;
	dispute->status = "needs_response";
	dispute->created = time(NULL);
	dispute->index = list_add(&disputes, dispute);
	hash_put(&disputes_by_id, dispute->id, dispute);
	intent->disputed = true;
	event_charge(NULL, "charge.updated", intent, "{\"disputed\":false}");
	event_dispute("charge.dispute.created", dispute, NULL);
	move_balance(dispute, -amount, fee < 0 ? DEFAULT_FEE : fee);
	event_dispute("charge.dispute.funds_withdrawn", dispute, NULL);
	memcpy(history_add(&intent->history, "dispute", amount, NULL, "")->object,
		   dispute->id, ID_SIZE);
	return dispute;
}

/*
 * The dispute goes on to under_review, won or lost. Returns NULL, or why that
 * cannot be.
 */
const char *
dispute_complete(Dispute *dispute, const char *status)
{
	static const char *const next[] = {"under_review", "won", "lost"};
	char		previous[48];
	size_t		i = 0;

	while (i < lengthof(next) && strcmp(next[i], status) != 0)
		i++;
	if (i == lengthof(next))
		return "the status must be under_review, won or lost";
	if (strcmp(dispute->status, "won") == 0 ||
		strcmp(dispute->status, "lost") == 0 ||
		strcmp(dispute->status, next[i]) == 0)
		return "the dispute already has its status";
	snprintf(previous, sizeof(previous), "{\"status\":\"%s\"}",
			 dispute->status);
	dispute->status = next[i];
	event_dispute(i == 0 ? "charge.dispute.updated" : "charge.dispute.closed",
				  dispute, i == 0 ? previous : NULL);
	if (strcmp(status, "won") == 0)
	{
		move_balance(dispute, dispute->amount, 0);
		event_dispute("charge.dispute.funds_reinstated", dispute, NULL);
	}
	if (i > 0)
		memcpy(history_add(&dispute->intent->history, i == 1 ? "dispute_won" :
						   "dispute_lost", dispute->amount, NULL, "")->object,
			   dispute->id, ID_SIZE);
	return NULL;
}

/* GET /v1/disputes/{id} */
void
dispute_retrieve(Request *req)
{
	const Dispute *dispute = dispute_find(req->object);
	StrBuf		buf = {0};

	if (dispute == NULL)
	{
		reply_missing(req, "dispute", "dispute", req->object);
		return;
	}
	render_dispute(&buf, NULL, dispute);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* Does a dispute belong to the list? */
static bool
dispute_matches(const Listing *listing, size_t index)
{
	const Dispute *dispute = disputes.items[index];

	return created_within(&listing->created, dispute->created) &&
		param_is(listing, "payment_intent", dispute->intent->id) &&
		param_is(listing, "charge", dispute->intent->charge);
}

/* Writes a dispute of a list. */
static void
render_listed_dispute(StrBuf *buf, size_t index)
{
	render_dispute(buf, NULL, disputes.items[index]);
}

/* Index of a dispute. */
static size_t
dispute_index(const char *id)
{
	const Dispute *dispute = dispute_find(id);

	return dispute == NULL ? NO_INDEX : dispute->index;
}

/* GET /v1/disputes */
void
list_disputes(Request *req)
{
	Listing		listing = {
		.req = req,
		.object = "list",
		.item = "dispute",
		.url = "/v1/disputes",
		.count = disputes.count,
		.matches = dispute_matches,
		.render = render_listed_dispute,
	};

	if (params_known(req, list_params) && param_page(req, &listing.limit) &&
		read_created(req, &listing.created))
		reply_list(&listing, dispute_index);
}
