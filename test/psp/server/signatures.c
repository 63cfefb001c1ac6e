/*-------------------------------------------------------------------------
 *
 * signatures.c
 *		How the PSPs sign their webhooks.
 *
 * While keys are rotated Stripe signs with every secret; Adyen signs with
 * one key at a time, and a test says with which.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "psp.h"

#define MAX_KEYS 8
#define DIGEST_SIZE 32			/* SHA-256 */

static const char default_secret[] = "whsec_payledger";
static const char *stripe_secrets[MAX_KEYS];
static size_t nstripe_secrets;

typedef struct BinaryKey
{
	unsigned char data[64];
	long		length;
} BinaryKey;

/* The key of Adyen's published example, until others are given. */
static const char default_key[] =
	"44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";
static BinaryKey adyen_keys[MAX_KEYS];
static size_t nadyen_keys;

/* Adds a secret that Stripe's webhooks are signed with. */
void
add_stripe_secret(const char *secret)
{
	if (nstripe_secrets < MAX_KEYS)
		stripe_secrets[nstripe_secrets++] = secret;
}

/* Adds a hexadecimal key of Adyen; false if it is none. */
bool
add_adyen_key(const char *hex)
{
	BinaryKey  *key = &adyen_keys[nadyen_keys];
	size_t		length;

	if (nadyen_keys == MAX_KEYS ||
		OPENSSL_hexstr2buf_ex(key->data, sizeof(key->data), &length, hex,
							  '\0') != 1)
		return false;
	key->length = (long) length;
	nadyen_keys++;
	return true;
}

/* HMAC-SHA256. */
static void
hmac(unsigned char *digest, const void *key, size_t key_length,
	 const void *data, size_t length)
{
	HMAC(EVP_sha256(), key, (int) key_length, data, length, digest, NULL);
}

/* Appends ",v1=" and the signature by one secret. */
static void
append_v1(StrBuf *header, const char *secret, const StrBuf *text)
{
	unsigned char digest[DIGEST_SIZE];

	hmac(digest, secret, strlen(secret), text->data, text->len);
	buf_puts(header, ",v1=");
	for (int i = 0; i < DIGEST_SIZE; i++)
		buf_printf(header, "%02x", digest[i]);
}

/* Writes the header Stripe-Signature; when in seconds since 1970. */
void
sign_stripe(StrBuf *header, int64_t when, const Body *body)
{
	StrBuf		text = {0};

	buf_printf(&text, "%lld.", (long long) when);
	buf_append(&text, body->data, body->len);
	buf_printf(header, "t=%lld", (long long) when);
	if (nstripe_secrets == 0)
		append_v1(header, default_secret, &text);
	for (size_t i = 0; i < nstripe_secrets; i++)
		append_v1(header, stripe_secrets[i], &text);
	buf_free(&text);
}

/*
 * Writes ADYEN_SIGNATURE_SIZE characters, by the key of that place on the
 * command line; the last one stands in for any beyond it.
 */
void
sign_adyen(char *signature, size_t key, const char *text)
{
	unsigned char digest[DIGEST_SIZE];
	char		encoded[ADYEN_SIGNATURE_SIZE + 1];

	if (nadyen_keys == 0)
		add_adyen_key(default_key);
	if (key >= nadyen_keys)
		key = nadyen_keys - 1;
	hmac(digest, adyen_keys[key].data, (size_t) adyen_keys[key].length,
		 text, strlen(text));
	EVP_EncodeBlock((unsigned char *) encoded, digest, DIGEST_SIZE);
	memcpy(signature, encoded, ADYEN_SIGNATURE_SIZE);
}
