/*
 * tls_flood.c
 *		A TLS server that keeps its clients busy with what is no data, for as
 *		long as they take it.
 *
 *		tls-flood hello|tickets|updates CERT KEY
 *
 * hello: requests for a handshake while there is one.  They need no key.
 * tickets: TLS 1.3, and session tickets behind the first request.  OpenSSL
 * makes them too slowly, so the records are put together here.
 * updates: TLS 1.3, and changes of the keys behind the first request, each of
 * which asks for one of the client's.
 *
 * Prints its port, and "flooding" for each connection where it begins.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>

#define RECORD		16384		/* the most that one may hold */
#define TAG			16
#define KEY			16
#define NONCE		12
#define HASH		32
#define HANDSHAKE	22
#define DATA		23
#define LABEL		"SERVER_TRAFFIC_SECRET_0 "

/* of the connection: what its keys follow from */
static unsigned char secret[HASH];

static void
check(int right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "tls-flood: %s\n", what);
	exit(1);
}

/* A line of what Wireshark decrypts by: a label, the client's random, the secret. */
static void
take_secret(const SSL *ssl, const char *line)
{
	const char *hex = strrchr(line, ' ') + 1;

	(void) ssl;
	if (strncmp(line, LABEL, strlen(LABEL)) != 0)
		return;
	for (int i = 0; i < HASH; i++)
		check(sscanf(hex + 2 * i, "%2hhx", &secret[i]) == 1, "no secret");
}

/* HKDF-Expand-Label of TLS 1.3, without context. */
static void
derive(const char *name, unsigned char *key, size_t length)
{
	unsigned char info[64];
	int			n = snprintf((char *) info, sizeof(info), "%c%c%ctls13 %s", 0, (int) length, (int) (6 + strlen(name)), name);
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);

	/* behind it the length of the context */
	check(EVP_PKEY_derive_init(context) > 0 &&
		  EVP_PKEY_CTX_set_hkdf_mode(context, EVP_PKEY_HKDEF_MODE_EXPAND_ONLY) > 0 &&
		  EVP_PKEY_CTX_set_hkdf_md(context, EVP_sha256()) > 0 &&
		  EVP_PKEY_CTX_set1_hkdf_key(context, secret, HASH) > 0 &&
		  EVP_PKEY_CTX_add1_hkdf_info(context, info, n + 1) > 0 &&
		  EVP_PKEY_derive(context, key, &length) > 0, "no key");
	EVP_PKEY_CTX_free(context);
}

static int
send_all(int fd, const unsigned char *bytes, size_t length)
{
	while (length > 0)
	{
		ssize_t		n = write(fd, bytes, length);

		if (n <= 0)
			return 0;
		bytes += n;
		length -= n;
	}
	return 1;
}

static void
say_flooding(void)
{
	/* one write, so that lines of several connections are not mixed */
	check(write(STDOUT_FILENO, "flooding\n", 9) == 9, "nobody listens");
}

static void
flood_hello(int fd)
{
	/* a message of that kind is four zeros */
	static const unsigned char record[5 + RECORD] = {HANDSHAKE, 3, 3, RECORD >> 8, RECORD & 255};
	char		hello[8192];

	if (read(fd, hello, sizeof(hello)) <= 0)
		return;
	say_flooding();
	while (send_all(fd, record, sizeof(record)))
		;
}

/* A record full of tickets; returns its length. */
static int
fill(unsigned char *plain)
{
	/* kind, length; lifetime, age, nonce, ticket, no extensions */
	static const unsigned char ticket[] = {4, 0, 0, 15, 0, 0, 14, 16, 0, 0, 0, 1, 1, 0, 0, 1, 'x', 0, 0};
	int			n = 0;

	for (; n + (int) sizeof(ticket) <= RECORD; n += sizeof(ticket))
		memcpy(plain + n, ticket, sizeof(ticket));
	plain[n++] = HANDSHAKE;
	return n;
}

static void
flood_tickets(int fd, SSL_CTX *context)
{
	static unsigned char plain[RECORD + 1];
	static unsigned char record[5 + RECORD + 1 + TAG];
	unsigned char key[KEY];
	unsigned char iv[NONCE];
	char		request[8192];
	int			length = fill(plain);
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	SSL		   *ssl = SSL_new(context);

	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) <= 0 || SSL_read(ssl, request, sizeof(request)) <= 0)
		return;
	derive("key", key, KEY);
	derive("iv", iv, NONCE);
	say_flooding();
	for (unsigned long long number = 0;; number++)
	{
		const unsigned char head[5] = {DATA, 3, 3, (length + TAG) >> 8, (length + TAG) & 255};
		unsigned char nonce[NONCE];
		int			n;

		memcpy(nonce, iv, NONCE);
		for (int i = 0; i < 8; i++)
			nonce[NONCE - 1 - i] ^= number >> (8 * i) & 255;
		memcpy(record, head, 5);
		check(EVP_EncryptInit_ex(cipher, EVP_aes_128_gcm(), NULL, key, nonce) &&
			  EVP_EncryptUpdate(cipher, NULL, &n, head, 5) &&
			  EVP_EncryptUpdate(cipher, record + 5, &n, plain, length) &&
			  EVP_EncryptFinal_ex(cipher, record + 5 + n, &n) &&
			  EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG, record + 5 + length), "no record");
		if (!send_all(fd, record, 5 + length + TAG))
			return;
	}
}

static void
flood_updates(int fd, SSL_CTX *context)
{
	char		request[8192];
	SSL		   *ssl = SSL_new(context);

	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) <= 0 || SSL_read(ssl, request, sizeof(request)) <= 0)
		return;
	say_flooding();
	/* a handshake of TLS 1.3 that is over has nothing but the message to write */
	while (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) > 0 && SSL_do_handshake(ssl) > 0)
		;
}

static SSL_CTX *
prepare(const char *cert, const char *key)
{
	SSL_CTX    *context = SSL_CTX_new(TLS_server_method());

	check(context != NULL &&
		  SSL_CTX_use_certificate_file(context, cert, SSL_FILETYPE_PEM) > 0 &&
		  SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) > 0 &&
		  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) > 0 &&
		  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") > 0 &&
		  SSL_CTX_set_num_tickets(context, 0) > 0, "no TLS");
	SSL_CTX_set_keylog_callback(context, take_secret);
	return context;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM, 0);
	SSL_CTX    *context;
	const char *kind = argc == 4 ? argv[1] : "";

	check(strcmp(kind, "hello") == 0 || strcmp(kind, "tickets") == 0 || strcmp(kind, "updates") == 0,
		  "usage: tls-flood hello|tickets|updates CERT KEY");
	context = prepare(argv[2], argv[3]);
	check(listener >= 0 && bind(listener, (struct sockaddr *) &address, length) == 0 && listen(listener, 128) == 0 &&
		  getsockname(listener, (struct sockaddr *) &address, &length) == 0, "could not listen");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;)
	{
		int			fd = accept(listener, NULL, NULL);

		if (fd >= 0 && fork() == 0)
		{
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (strcmp(kind, "hello") == 0)
				flood_hello(fd);
			else if (strcmp(kind, "tickets") == 0)
				flood_tickets(fd, context);
			else
				flood_updates(fd, context);
			_exit(0);
		}
		close(fd);
	}
}
