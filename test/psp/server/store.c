/*-------------------------------------------------------------------------
 *
 * store.c
 *		Payment intents, their charges and refunds, and the list of what was
 *		really executed on each.
 *
 * Objects are found by id through hash tables and listed through arrays in
 * order of creation, so that hundreds of thousands of them are no burden.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

const char *const intent_status_names[INTENT_STATUSES] = {
	"requires_payment_method",
	"requires_confirmation",
	"requires_action",
	"processing",
	"requires_capture",
	"canceled",
	"succeeded",
};

/* A charge that can be refunded. */
typedef struct Charge
{
	char		id[ID_SIZE];
	Intent	   *intent;
} Charge;

static HashTable intents_by_id;
static HashTable charges_by_id;
static HashTable refunds_by_id;
static List intents;
static List refunds;
static unsigned generation;

/* Creates an intent with an id and a client secret. */
Intent *
store_new_intent(void)
{
	Intent	   *intent = xcalloc(1, sizeof(Intent));
	char		suffix[ID_SIZE];

	make_id(intent->id, "pi_3", 23);
	make_id(suffix, "_secret_", 23);
	snprintf(intent->secret, sizeof(intent->secret), "%s%s", intent->id,
			 suffix);
	intent->application_fee = -1;
	intent->transfer_amount = -1;
	intent->created = time(NULL);
	intent->index = list_add(&intents, intent);
	hash_put(&intents_by_id, intent->id, intent);
	return intent;
}

/* Finds an intent, or returns NULL. */
Intent *
store_intent(const char *id)
{
	return hash_get(&intents_by_id, id);
}

/* Returns the intent with an index below store_intent_count(). */
Intent *
store_intent_at(size_t index)
{
	return intents.items[index];
}

/* Number of intents. */
size_t
store_intent_count(void)
{
	return intents.count;
}

/* Gives the intent a new latest charge, made with card. */
void
store_new_charge(Intent *intent, const Card *card)
{
	Charge	   *charge = xcalloc(1, sizeof(Charge));

	make_id(charge->id, "ch_3", 23);
	charge->intent = intent;
	hash_put(&charges_by_id, charge->id, charge);
	memcpy(intent->charge, charge->id, sizeof(intent->charge));
	intent->charge_card = card;
	intent->charged_at = time(NULL);
}

/* Finds the intent whose latest charge this is, or returns NULL. */
Intent *
store_intent_by_charge(const char *id)
{
	Charge	   *charge = hash_get(&charges_by_id, id);

	if (charge == NULL || strcmp(charge->intent->charge, id) != 0)
		return NULL;
	return charge->intent;
}

/* Creates a refund of part of an intent. */
Refund *
store_new_refund(Intent *intent, int64_t amount)
{
	Refund	   *refund = xcalloc(1, sizeof(Refund));

	make_id(refund->id, "re_3", 23);
	make_id(refund->transaction, "txn_3", 23);
	refund->intent = intent;
	refund->amount = amount;
	refund->created = time(NULL);
	refund->index = list_add(&refunds, refund);
	hash_put(&refunds_by_id, refund->id, refund);
	return refund;
}

/* Finds a refund, or returns NULL. */
Refund *
store_refund(const char *id)
{
	return hash_get(&refunds_by_id, id);
}

/* Returns the refund with an index below store_refund_count(). */
Refund *
store_refund_at(size_t index)
{
	return refunds.items[index];
}

/* Number of refunds. */
size_t
store_refund_count(void)
{
	return refunds.count;
}

/* Frees one intent. */
static void
free_intent(void *value)
{
	Intent	   *intent = value;

	for (size_t i = 0; i < ECHO_FIELDS; i++)
		free(intent->echo[i]);
	form_free(&intent->metadata);
	history_free(&intent->history);
	free(intent);
}

/* Frees one refund. */
static void
free_refund(void *value)
{
	Refund	   *refund = value;

	form_free(&refund->metadata);
	free(refund);
}

/* Changes with every reset: pointers from before are not valid after it. */
unsigned
store_generation(void)
{
	return generation;
}

/* Forgets every object. */
void
store_reset(void)
{
	transfers_forget();
	disputes_forget();
	hash_clear(&charges_by_id, free);
	hash_clear(&refunds_by_id, free_refund);
	hash_clear(&intents_by_id, free_intent);
	list_free(&refunds);
	list_free(&intents);
	generation++;
}
