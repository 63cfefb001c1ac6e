/*
 * src/http/address.c
 *		Where a gateway may be: URLs when it is configured, addresses when the
 *		worker connects.
 *
 * The name in a URL may resolve to anything at any time, so the second check
 * is the one that keeps the worker out of private networks; the first only
 * tells the operator early.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "http/http_internal.h"

typedef struct Block4
{
	uint32		network;
	int			bits;
} Block4;

#define HTTP_PORT	80
#define HTTPS_PORT	443

#define IP4(a, b, c, d) (((uint32) (a) << 24) | ((b) << 16) | ((c) << 8) | (d))

/* IANA special-purpose registry: what is not globally reachable, and multicast */
static const Block4 private4[] = {
	{IP4(0, 0, 0, 0), 8},
	{IP4(10, 0, 0, 0), 8},
	{IP4(100, 64, 0, 0), 10},
	{IP4(169, 254, 0, 0), 16},
	{IP4(172, 16, 0, 0), 12},
	{IP4(192, 0, 0, 0), 24},
	{IP4(192, 0, 2, 0), 24},
	{IP4(192, 88, 99, 0), 24},
	{IP4(192, 168, 0, 0), 16},
	{IP4(198, 18, 0, 0), 15},
	{IP4(198, 51, 100, 0), 24},
	{IP4(203, 0, 113, 0), 24},
	{IP4(224, 0, 0, 0), 3}
};

static PlAddressClass
class4(uint32 address)
{
	if ((address >> 24) == 127)
		return PL_ADDRESS_LOOPBACK;
	for (size_t i = 0; i < lengthof(private4); i++)
	{
		int			shift = 32 - private4[i].bits;

		if (address >> shift == private4[i].network >> shift)
			return PL_ADDRESS_PRIVATE;
	}
	return PL_ADDRESS_PUBLIC;
}

static uint32
embedded4(const uint8 *bytes)
{
	return IP4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

/*
 * An IPv4 address that a relay elsewhere unpacks: never this machine's own, but
 * private where the inner one is not public.
 */
static PlAddressClass
tunnelled(const uint8 *bytes)
{
	return class4(embedded4(bytes)) == PL_ADDRESS_PUBLIC ? PL_ADDRESS_PUBLIC : PL_ADDRESS_PRIVATE;
}

static PlAddressClass
class6(const uint8 *a)
{
	static const uint8 zeros[16] = {0};

	if (memcmp(a, zeros, 15) == 0)
		return a[15] == 1 ? PL_ADDRESS_LOOPBACK : PL_ADDRESS_PRIVATE;
	/* ::ffff:a.b.c.d is a.b.c.d itself */
	if (memcmp(a, zeros, 10) == 0 && a[10] == 0xff && a[11] == 0xff)
		return class4(embedded4(a + 12));
	/* NAT64's 64:ff9b::a.b.c.d; 64:ff9b:1::/48 is for networks of one's own */
	if (a[0] == 0 && a[1] == 0x64 && a[2] == 0xff && a[3] == 0x9b)
		return memcmp(a + 4, zeros, 8) == 0 ? tunnelled(a + 12) : PL_ADDRESS_PRIVATE;
	/* 6to4's 2002:a.b.c.d:: */
	if (a[0] == 0x20 && a[1] == 0x02)
		return tunnelled(a + 2);

	/*
	 * 2001::/23 protocol assignments, among them Teredo (whose IPv4 addresses,
	 * public or not, nobody serves an API at), 2001:db8::/32 and 3fff::/20
	 * documentation
	 */
	if (a[0] == 0x20 && a[1] == 0x01 && (a[2] < 2 || (a[2] == 0x0d && a[3] == 0xb8)))
		return PL_ADDRESS_PRIVATE;
	if (a[0] == 0x3f && a[1] == 0xff && a[2] < 0x10)
		return PL_ADDRESS_PRIVATE;
	/* only 2000::/3 is given out for the internet */
	return (a[0] & 0xe0) == 0x20 ? PL_ADDRESS_PUBLIC : PL_ADDRESS_PRIVATE;
}

/*
 * May this address be on the internet?  Anything but IPv4 and IPv6 is private.
 * Safe in a libcurl callback: touches nothing of the server.
 */
PlAddressClass
pl_address_class(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return class4(ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return class6(((const struct sockaddr_in6 *) address)->sin6_addr.s6_addr);
	return PL_ADDRESS_PRIVATE;
}

/*
 * One part of a URL, palloc'd; NULL if it has none, or is no URL (*valid).
 */
static char *
url_part(const char *url, CURLUPart part, bool *valid)
{
	CURLU	   *handle = curl_url();
	char	   *value = NULL;
	char	   *result = NULL;

	/* a URL is short, so running out of memory here is a can't-happen */
	*valid = handle != NULL && curl_url_set(handle, CURLUPART_URL, url, 0) == CURLUE_OK;
	if (*valid && curl_url_get(handle, part, &value, 0) == CURLUE_OK)
		result = MemoryContextStrdup(CurrentMemoryContext, value);
	curl_free(value);
	curl_url_cleanup(handle);
	return result;
}

/* The address that a host is spelled as; false for a name. */
static bool
literal_address(const char *host, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *) address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) address;
	size_t		length = strlen(host);

	memset(address, 0, sizeof(*address));
	if (length > 2 && host[0] == '[' && host[length - 1] == ']')
	{
		address->ss_family = AF_INET6;
		return inet_pton(AF_INET6, pnstrdup(host + 1, length - 2), &v6->sin6_addr) == 1;
	}
	/* to libcurl a dot at the end changes nothing */
	if (length > 0 && host[length - 1] == '.')
		host = pnstrdup(host, length - 1);
	address->ss_family = AF_INET;
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

/* libcurl knows this one itself and asks nobody */
static bool
is_localhost(const char *host)
{
	return pg_strcasecmp(host, "localhost") == 0;
}

/* The class of a literal address; a name is public until it is resolved. */
static PlAddressClass
host_class(const char *host)
{
	struct sockaddr_storage address;

	if (is_localhost(host))
		return PL_ADDRESS_LOOPBACK;
	if (literal_address(host, &address))
		return pl_address_class((struct sockaddr *) &address);
	/* a zone id and the like */
	return host[0] == '[' ? PL_ADDRESS_PRIVATE : PL_ADDRESS_PUBLIC;
}

/*
 * May a transfer talk to this address: a public one, or one of a network that
 * payledger.private_gateway_addresses lists, and without TLS to this machine
 * only?  Safe in a libcurl callback.
 */
bool
pl_address_allowed(const struct sockaddr *address, bool plain)
{
	PlAddressClass class = pl_address_class(address);

	if (plain && class != PL_ADDRESS_LOOPBACK)
		return false;
	return class == PL_ADDRESS_PUBLIC || pl_in_own_network(address);
}

/* ---- endpoints: host and port ---- */

/*
 * A host in lower case, an IPv6 address in its usual form; palloc'd, NULL if it
 * is neither a name nor an address.
 */
static char *
usual_host(const char *host)
{
	char	   *result = pstrdup(host);
	struct sockaddr_storage address;
	char		text[INET6_ADDRSTRLEN];

	if (host[0] == '[')
	{
		if (!literal_address(host, &address) ||
			inet_ntop(AF_INET6, &((struct sockaddr_in6 *) &address)->sin6_addr, text, sizeof(text)) == NULL)
			return NULL;
		return psprintf("[%s]", text);
	}
	for (char *p = result; *p; p++)
	{
		if (IS_HIGHBIT_SET(*p) || (!isalnum((unsigned char) *p) && strchr("-._", *p) == NULL))
			return NULL;
		*p = pg_ascii_tolower((unsigned char) *p);
	}
	return *result ? result : NULL;
}

/*
 * The endpoint in "host" or "host:port", an IPv6 address in brackets; without a
 * port that of https.  False if text is none.
 */
bool
pl_parse_host(const char *text, PlEndpoint *endpoint)
{
	const char *colon = strrchr(text, ':');
	char	   *host = pstrdup(text);

	endpoint->port = HTTPS_PORT;
	endpoint->plain = false;
	if (colon != NULL && strchr(colon, ']') == NULL)
	{
		size_t		digits = strspn(colon + 1, "0123456789");

		host[colon - text] = '\0';
		if (digits == 0 || digits > 5 || colon[1 + digits] != '\0')
			return false;
		endpoint->port = atoi(colon + 1);
	}
	endpoint->host = usual_host(host);
	return endpoint->host != NULL && endpoint->port > 0 && endpoint->port <= 65535;
}

/*
 * Where a URL leads that pl_check_url() has let pass; a host of NULL if to
 * nowhere.  palloc'd.
 */
void
pl_url_endpoint(const char *url, PlEndpoint *endpoint)
{
	bool		valid;
	char	   *scheme = url_part(url, CURLUPART_SCHEME, &valid);
	char	   *host = url_part(url, CURLUPART_HOST, &valid);
	char	   *port = url_part(url, CURLUPART_PORT, &valid);

	endpoint->plain = scheme != NULL && strcmp(scheme, "http") == 0;
	endpoint->host = host ? usual_host(host) : NULL;
	endpoint->port = port ? atoi(port) : endpoint->plain ? HTTP_PORT : HTTPS_PORT;
}

bool
pl_same_endpoint(const PlEndpoint *a, const PlEndpoint *b)
{
	return a->host != NULL && b->host != NULL && strcmp(a->host, b->host) == 0 && a->port == b->port;
}

/*
 * What an endpoint is that payledger.private_gateway_addresses would have to
 * list and does not: "a private address", "a loopback address".  NULL if it may
 * be used, as far as its name says.
 */
const char *
pl_endpoint_refused(const PlEndpoint *endpoint)
{
	struct sockaddr_storage address;
	PlAddressClass class;

	if (endpoint->host == NULL)
		return "not a name or an address";
	class = host_class(endpoint->host);
	if (class == PL_ADDRESS_PUBLIC)
		return NULL;
	if (is_localhost(endpoint->host))
	{
		if (literal_address("127.0.0.1", &address) && pl_in_own_network((struct sockaddr *) &address))
			return NULL;
		if (literal_address("[::1]", &address) && pl_in_own_network((struct sockaddr *) &address))
			return NULL;
	}
	else if (literal_address(endpoint->host, &address) && pl_in_own_network((struct sockaddr *) &address))
		return NULL;
	return class == PL_ADDRESS_LOOPBACK ? "a loopback address" : "a private address";
}

/*
 * Raise 42501 if the URL's host is an address of this machine or of a private
 * network that only a superuser may allow.
 */
void
pl_require_public(const char *gateway, const char *option, const char *url)
{
	PlEndpoint	endpoint;
	const char *what;

	pl_url_endpoint(url, &endpoint);
	what = pl_endpoint_refused(&endpoint);
	if (what != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("option \"%s\" of gateway \"%s\" is %s", option, gateway, what),
				 errhint("Only a superuser may allow it, by payledger.private_gateway_addresses.")));
}

/*
 * Raise 22023 unless url is the https URL of a host, or an http URL of a
 * loopback literal, without user, query and fragment; 42501 if its host is an
 * inner address in disguise.
 */
void
pl_check_url(const char *gateway, const char *option, const char *url)
{
	bool		valid;
	char	   *scheme = url_part(url, CURLUPART_SCHEME, &valid);
	char	   *host = url_part(url, CURLUPART_HOST, &valid);
	bool		decorated = false;
	PlAddressClass class;

	/* the value is not shown: it may hold a password */
	if (!valid || scheme == NULL || host == NULL || strstr(url, "://") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" of gateway \"%s\" is not a URL", option, gateway),
				 errhint("It looks like https://api.stripe.com.")));
	class = host_class(host);

	/* libcurl understands 2130706433 and 0x7f.1 as well; nobody needs them */
	if (strcasestr(url, host) == NULL)
		ereport(ERROR,
				(errcode(class == PL_ADDRESS_PUBLIC ? ERRCODE_INVALID_PARAMETER_VALUE
						 : ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("option \"%s\" of gateway \"%s\" spells its host in an unusual way", option, gateway),
				 errhint("Give the name, or the address in its usual form.")));
	if (strcmp(scheme, "https") != 0 &&
		!(strcmp(scheme, "http") == 0 && class == PL_ADDRESS_LOOPBACK))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" of gateway \"%s\" must be an https URL", option, gateway),
				 errhint("Plain http is for test servers at localhost, 127.0.0.1 or [::1] only.")));

	for (CURLUPart part = CURLUPART_USER; part <= CURLUPART_OPTIONS; part++)
		decorated |= url_part(url, part, &valid) != NULL;
	decorated |= strpbrk(url, "?#") != NULL;
	if (decorated)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" of gateway \"%s\" must not have a user, a query or a fragment",
						option, gateway)));
}
