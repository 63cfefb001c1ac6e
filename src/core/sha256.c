/*
 * src/core/sha256.c
 *		SHA-256.
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "core/core.h"

/*
 * SHA-256 over n bytes: PL_SHA256_LENGTH bytes.  The context lives as long as
 * the backend: looking the algorithm up again for each entry would take longer
 * than hashing it.
 */
void
pl_sha256(const void *bytes, size_t n, uint8 *result)
{
	static EVP_MD_CTX *context = NULL;
	bool		is_new = context == NULL;
	unsigned int length;

	if (is_new && (context = EVP_MD_CTX_new()) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (!EVP_DigestInit_ex(context, is_new ? EVP_sha256() : NULL, NULL) ||
		!EVP_DigestUpdate(context, bytes, n) ||
		!EVP_DigestFinal_ex(context, result, &length) ||
		length != PL_SHA256_LENGTH)
	{
		EVP_MD_CTX_free(context);
		context = NULL;
		elog(ERROR, "could not compute a SHA-256");
	}
}
