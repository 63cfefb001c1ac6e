/*
 * src/http/tls.c
 *		An end to what a TLS server may cost.
 *
 * A call of OpenSSL that wants data, or the end of the handshake, deals with
 * everything that comes before it: session tickets, changes of keys, requests
 * for another handshake.  It returns when the socket is empty.  A server that
 * keeps it full keeps the caller for as long as it likes, and no timeout of
 * libcurl's is looked at meanwhile.  So what is no data is counted for each
 * connection, and too much of it ends the connection.
 *
 * The server also chooses the group that keys are agreed in.  In one of finite
 * fields, whose size TLS 1.2 leaves to the server, a handshake may cost half a
 * second of the worker's time; elliptic curves cost a millisecond at most.
 *
 * Nothing of PostgreSQL in here: all of it runs below libcurl's calls.
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "http/tls.h"

/*
 * Records and messages that are no data, in the life of a connection.  A
 * handshake and its tickets take about 20; the longest chain of certificates
 * that OpenSSL accepts, 100 kB, takes 100 more if its records have 1 kB.
 */
#define MAX_BESIDE_DATA 500

/* of TLS 1.2; those of 1.3 differ in nothing that matters here */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"
#define GROUPS "X25519:P-256:P-384:P-521"

#define FLOODED 1				/* reason of our only error */
#define FLOOD "too many TLS messages without data"

static ERR_STRING_DATA errors[] = {{ERR_PACK(0, 0, FLOODED), FLOOD}, {0, NULL}};
static int	library = 0;		/* OpenSSL's number for the errors */
static int	counter = -1;		/* index of the count in what belongs to a connection */

/*
 * Is libcurl's TLS the OpenSSL that we know?  May be called again.
 */
bool
pl_tls_init(void)
{
	const char *expected = "OpenSSL/" CppAsString2(OPENSSL_VERSION_MAJOR) ".";
	const char *found = curl_version_info(CURLVERSION_NOW)->ssl_version;

	if (found == NULL || strncmp(found, expected, strlen(expected)) != 0)
		return false;
	if (library == 0)
	{
		library = ERR_get_next_error_library();
		ERR_load_strings(library, errors);
	}
	if (counter < 0)
		counter = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return counter >= 0;
}

/*
 * For each record and message that is read or written.  Once the other side is
 * said to have ended the connection OpenSSL throws away what it reads, and
 * returns; the error tells libcurl that this is no regular end.
 */
static void
count(int written, int version, int type, const void *data, size_t length, SSL *ssl, void *unused)
{
	uintptr_t	seen = (uintptr_t) SSL_get_ex_data(ssl, counter);

	if (written || length == 0)
		return;
	/* TLS 1.3 says that all records are data, and what they are within */
	if ((type == SSL3_RT_HEADER || type == SSL3_RT_INNER_CONTENT_TYPE) &&
		*(const unsigned char *) data == SSL3_RT_APPLICATION_DATA)
		return;
	SSL_set_ex_data(ssl, counter, (void *) (seen + 1));
	if (seen < MAX_BESIDE_DATA)
		return;
	SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
	ERR_raise(library, FLOODED);
}

/*
 * libcurl's CURLOPT_SSL_CTX_FUNCTION, before each connection.
 */
CURLcode
pl_tls_bound(CURL *easy, void *context, void *unused)
{
	if (!SSL_CTX_set_cipher_list(context, CIPHERS) || !SSL_CTX_set1_groups_list(context, GROUPS))
		return CURLE_SSL_CIPHER;
	SSL_CTX_set_msg_callback(context, count);
	/* libcurl compares the host's name with the certificate of the first handshake only */
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
	return CURLE_OK;
}

/*
 * Is libcurl's text about an error the end of such a connection?
 */
bool
pl_tls_was_flood(const char *error)
{
	return strstr(error, FLOOD) != NULL;
}
