/*-------------------------------------------------------------------------
 *
 * transfers.c
 *		Transfers to connected accounts, and their reversals.
 *
 * The platform's balance is never short, except for a destination that
 * begins with acct_short; acct_none does not exist.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

#define ACCOUNT "acct_"
#define NO_ACCOUNT "acct_none"
#define NO_BALANCE "acct_short"

static const char *const transfer_params[] = {
	"amount", "currency", "description", "destination", "expand", "metadata",
	"source_transaction", "source_type", "transfer_group", NULL
};
static const char *const reversal_params[] = {
	"amount", "description", "expand", "metadata", "refund_application_fee",
	NULL
};
static const char *const list_params[] = {
	"created", "destination", "ending_before", "expand", "limit",
	"starting_after", "transfer_group", NULL
};

static List transfers;
static HashTable transfers_by_id;

/* Replies 400 about a transfer. */
#define refuse(req, code, param, ...) \
	reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", code, \
				param, __VA_ARGS__)

/* Returns the transfer with an index below transfer_count(). */
const Transfer *
transfer_at(size_t index)
{
	return transfers.items[index];
}

/* Number of transfers. */
size_t
transfer_count(void)
{
	return transfers.count;
}

/* Frees one transfer. */
static void
free_transfer(void *value)
{
	Transfer   *transfer = value;

	for (size_t i = 0; i < transfer->nreversals; i++)
	{
		form_free(&transfer->reversals[i].metadata);
		free(transfer->reversals[i].key);
	}
	free(transfer->reversals);
	free(transfer->destination);
	free(transfer->description);
	free(transfer->group);
	free(transfer->source);
	free(transfer->key);
	form_free(&transfer->metadata);
	free(transfer);
}

/* Forgets all transfers. */
void
transfers_forget(void)
{
	hash_clear(&transfers_by_id, free_transfer);
	list_free(&transfers);
}

/* Reads an optional amount of at least 1. */
static bool
read_amount(Request *req, bool *given, int64_t *amount)
{
	if (!param_integer(req, "amount", given, amount))
		return false;
	if (!*given || *amount >= 1)
		return true;
	refuse(req, "parameter_invalid_integer", "amount",
		   "This value must be greater than or equal to 1.");
	return false;
}

/* Checks what is needed to make a transfer. */
static bool
read_transfer(Request *req, char *currency, int64_t *amount)
{
	const char *destination = form_get(&req->params, "destination");
	const char *source = form_get(&req->params, "source_transaction");
	bool		given;

	if (!param_currency(req, currency) || !read_amount(req, &given, amount) ||
		!param_metadata(req, NULL))
		return false;
	if (destination == NULL)
		refuse(req, "parameter_missing", "destination",
			   "Missing required param: destination.");
	else if (strncmp(destination, ACCOUNT, strlen(ACCOUNT)) != 0 ||
			 strncmp(destination, NO_ACCOUNT, strlen(NO_ACCOUNT)) == 0)
		refuse(req, "resource_missing", "destination",
			   "No such destination: '%.100s'", destination);
	else if (!given)
		refuse(req, "parameter_missing", "amount",
			   "Missing required param: amount.");
	else if (source != NULL && store_intent_by_charge(source) == NULL)
		refuse(req, "resource_missing", "source_transaction",
			   "No such charge: '%.100s'", source);
	else
		return true;
	return false;
}

/* Copies a parameter, NULL if it was not sent or is empty. */
static char *
copy_param(Request *req, const char *name)
{
	const char *value = form_get(&req->params, name);

	return value == NULL || value[0] == '\0' ? NULL : xstrdup(value);
}

/* Replies with a transfer. */
static void
reply_transfer(Request *req, const Transfer *transfer)
{
	StrBuf		buf = {0};

	render_transfer(&buf, NULL, transfer);
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* POST /v1/transfers */
void
transfer_create(Request *req)
{
	char		currency[4];
	int64_t		amount;
	Transfer   *transfer;

	if (!params_known(req, transfer_params) ||
		!read_transfer(req, currency, &amount))
		return;
	req->executed = true;

	if (strncmp(form_get(&req->params, "destination"), NO_BALANCE,
				strlen(NO_BALANCE)) == 0)
	{
		refuse(req, "balance_insufficient", NULL, "You have insufficient "
			   "available funds in your Stripe account.");
		return;
	}
	transfer = xcalloc(1, sizeof(Transfer));
	make_id(transfer->id, "tr_1", 23);
	make_id(transfer->transaction, "txn_1", 23);
	make_id(transfer->payment, "py_1", 23);
	transfer->amount = amount;
	memcpy(transfer->currency, currency, sizeof(transfer->currency));
	transfer->created = time(NULL);
	transfer->destination = copy_param(req, "destination");
	transfer->description = copy_param(req, "description");
	transfer->group = copy_param(req, "transfer_group");
	transfer->source = copy_param(req, "source_transaction");
	transfer->key = xstrdup(req->key);
	memcpy(transfer->request, req->id, ID_SIZE);
	param_metadata(req, &transfer->metadata);
	transfer->index = list_add(&transfers, transfer);
	hash_put(&transfers_by_id, transfer->id, transfer);
	event_transfer(req, "transfer.created", transfer, NULL);
	reply_transfer(req, transfer);
}

/* Returns the transfer named in the path, or replies that there is none. */
static Transfer *
transfer_required(Request *req)
{
	Transfer   *transfer = hash_get(&transfers_by_id, req->object);

	if (transfer == NULL)
		reply_missing(req, "transfer", "id", req->object);
	return transfer;
}

/* GET /v1/transfers/{id} */
void
transfer_retrieve(Request *req)
{
	static const char *const names[] = {"expand", NULL};
	Transfer   *transfer = transfer_required(req);

	if (transfer != NULL && params_known(req, names))
		reply_transfer(req, transfer);
}

/* Does a transfer belong to the list? */
static bool
transfer_matches(const Listing *listing, size_t index)
{
	const Transfer *transfer = transfer_at(index);

	return created_within(&listing->created, transfer->created) &&
		param_is(listing, "transfer_group", transfer->group) &&
		param_is(listing, "destination", transfer->destination);
}

/* Writes a transfer of a list. */
static void
render_listed_transfer(StrBuf *buf, size_t index)
{
	render_transfer(buf, NULL, transfer_at(index));
}

/* Index of a transfer. */
static size_t
transfer_index(const char *id)
{
	const Transfer *transfer = hash_get(&transfers_by_id, id);

	return transfer == NULL ? NO_INDEX : transfer->index;
}

/* GET /v1/transfers */
void
list_transfers(Request *req)
{
	Listing		listing = {
		.req = req,
		.object = "list",
		.item = "transfer",
		.url = "/v1/transfers",
		.count = transfers.count,
		.matches = transfer_matches,
		.render = render_listed_transfer,
	};

	if (params_known(req, list_params) && param_page(req, &listing.limit) &&
		read_created(req, &listing.created))
		reply_list(&listing, transfer_index);
}

/* Adds a reversal to a transfer. */
static TransferReversal *
add_reversal(Request *req, Transfer *transfer, int64_t amount)
{
	TransferReversal *reversal;

	transfer->reversals = xrealloc(transfer->reversals,
								   (transfer->nreversals + 1) *
								   sizeof(TransferReversal));
	reversal = &transfer->reversals[transfer->nreversals++];
	memset(reversal, 0, sizeof(*reversal));
	make_id(reversal->id, "trr_1", 23);
	make_id(reversal->transaction, "txn_1", 23);
	reversal->amount = amount;
	reversal->created = time(NULL);
	reversal->key = xstrdup(req->key);
	memcpy(reversal->request, req->id, ID_SIZE);
	param_metadata(req, &reversal->metadata);
	transfer->amount_reversed += amount;
	return reversal;
}

/* POST /v1/transfers/{id}/reversals */
void
transfer_reverse(Request *req)
{
	Transfer   *transfer = transfer_required(req);
	TransferReversal *reversal;
	int64_t		amount = 0;
	int64_t		left;
	bool		given;
	char		previous[80];
	StrBuf		buf = {0};

	if (transfer == NULL || !params_known(req, reversal_params) ||
		!read_amount(req, &given, &amount) || !param_metadata(req, NULL))
		return;
	req->executed = true;

	left = transfer->amount - transfer->amount_reversed;
	if (!given)
		amount = left;
	if (amount > left || left == 0)
	{
		refuse(req, NULL, "amount",
			   "The amount of the reversal (%lld) is greater than the "
			   "unreversed amount of the transfer (%lld).",
			   (long long) amount, (long long) left);
		return;
	}
	snprintf(previous, sizeof(previous),
			 "{\"amount_reversed\":%lld,\"reversed\":false}",
			 (long long) transfer->amount_reversed);
	reversal = add_reversal(req, transfer, amount);
	event_transfer(req, "transfer.reversed", transfer, previous);
	render_reversal(&buf, NULL, transfer, reversal);
	reply_json(req, MHD_HTTP_OK, &buf);
}
