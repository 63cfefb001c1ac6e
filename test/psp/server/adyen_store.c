/*-------------------------------------------------------------------------
 *
 * adyen_store.c
 *		Payments and their modifications at Adyen.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "adyen.h"

/* Payments with one reference of the merchant, which need not be unique. */
typedef struct Referenced
{
	AdyenPayment *payment;		/* the newest */
} Referenced;

const char *const adyen_status_names[PAYMENT_STATUSES] = {
	"action", "pending", "authorised", "refused", "error", "cancelled",
	"expired",
};

static List payments;
static HashTable payments_by_psp;
static HashTable payments_by_token;
static HashTable payments_by_reference;
static HashTable modifications_by_psp;

/* Writes a pspReference: 16 capital letters and digits. */
void
adyen_make_reference(char *dst)
{
	static const char alphabet[] = "23456789BCDFGHJKLMNPQRSTVWXZ";
	uint64_t	bits = 0;

	for (int i = 0; i < 16; i++)
	{
		if (i % 12 == 0)
			bits = random64();
		dst[i] = alphabet[bits % 28];
		bits /= 28;
	}
	dst[16] = '\0';
}

/* Creates a payment with its pspReference. */
AdyenPayment *
adyen_new_payment(void)
{
	AdyenPayment *payment = xcalloc(1, sizeof(AdyenPayment));

	list_add(&payments, payment);
	adyen_make_reference(payment->psp);
	hash_put(&payments_by_psp, payment->psp, payment);
	return payment;
}

/* Makes the payment known by its reference and its token. */
void
adyen_index_reference(AdyenPayment *payment)
{
	Referenced *known = hash_get(&payments_by_reference, payment->reference);

	make_id(payment->token, "", 24);
	hash_put(&payments_by_token, payment->token, payment);
	if (known == NULL)
	{
		known = xcalloc(1, sizeof(Referenced));
		hash_put(&payments_by_reference, payment->reference, known);
	}
	known->payment = payment;
}

/* Finds a payment by its pspReference, or returns NULL. */
AdyenPayment *
adyen_payment(const char *psp)
{
	return hash_get(&payments_by_psp, psp);
}

/* Finds the payment that a shopper comes back to, or returns NULL. */
AdyenPayment *
adyen_payment_by_token(const char *token)
{
	return hash_get(&payments_by_token, token);
}

/* Finds the newest payment with a reference, or returns NULL. */
AdyenPayment *
adyen_payment_by_reference(const char *reference)
{
	Referenced *known = hash_get(&payments_by_reference, reference);

	return known == NULL ? NULL : known->payment;
}

/* Returns the payment with an index below adyen_payment_count(). */
AdyenPayment *
adyen_payment_at(size_t index)
{
	return payments.items[index];
}

/* Number of payments. */
size_t
adyen_payment_count(void)
{
	return payments.count;
}

/* Creates a modification with its pspReference; payment may be NULL. */
Modification *
adyen_new_modification(AdyenPayment *payment, ModificationKind kind)
{
	Modification *modification = xcalloc(1, sizeof(Modification));

	adyen_make_reference(modification->psp);
	modification->payment = payment;
	modification->kind = kind;
	hash_put(&modifications_by_psp, modification->psp, modification);
	return modification;
}

/* Finds a modification, or returns NULL. */
Modification *
adyen_modification(const char *psp)
{
	return hash_get(&modifications_by_psp, psp);
}

/* Frees one payment. */
static void
free_payment(void *value)
{
	AdyenPayment *payment = value;

	free(payment->reference);
	free(payment->merchant);
	form_free(&payment->metadata);
	history_free(&payment->history);
	free(payment);
}

/* Frees one modification. */
static void
free_modification(void *value)
{
	Modification *modification = value;

	free(modification->reference);
	free(modification->merchant);
	free(modification);
}

/* Forgets every object. */
void
adyen_reset(void)
{
	hash_clear(&modifications_by_psp, free_modification);
	hash_clear(&payments_by_reference, free);
	hash_clear(&payments_by_token, NULL);
	hash_clear(&payments_by_psp, free_payment);
	list_free(&payments);
}
