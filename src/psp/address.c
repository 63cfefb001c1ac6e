/*
 * src/psp/address.c
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

#include "psp/psp.h"

typedef struct Block4
{
	uint32		network;
	int			bits;
} Block4;

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

static PlAddressClass
class6(const uint8 *a)
{
	static const uint8 zeros[16] = {0};

	if (memcmp(a, zeros, 15) == 0)
		return a[15] == 1 ? PL_ADDRESS_LOOPBACK : PL_ADDRESS_PRIVATE;
	/* ::ffff:a.b.c.d and ::a.b.c.d */
	if (memcmp(a, zeros, 10) == 0 &&
		((a[10] == 0xff && a[11] == 0xff) || (a[10] == 0 && a[11] == 0)))
		return class4(embedded4(a + 12));
	/* 64:ff9b::a.b.c.d */
	if (a[0] == 0 && a[1] == 0x64 && a[2] == 0xff && a[3] == 0x9b)
		return memcmp(a + 4, zeros, 8) == 0 ? class4(embedded4(a + 12)) : PL_ADDRESS_PRIVATE;
	/* 2002:a.b.c.d:: */
	if (a[0] == 0x20 && a[1] == 0x02)
		return class4(embedded4(a + 2));
	/* 2001::/23 protocol assignments with Teredo, 2001:db8::/32 and 3fff::/20 documentation */
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

/* The class of a literal address; a name is public until it is resolved. */
static PlAddressClass
host_class(const char *host)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	size_t		length = strlen(host);

	if (pg_strcasecmp(host, "localhost") == 0)
		return PL_ADDRESS_LOOPBACK;
	/* to libcurl a dot at the end changes nothing */
	if (length > 0 && host[length - 1] == '.' &&
		inet_pton(AF_INET, pnstrdup(host, length - 1), &v4.sin_addr) == 1)
		return pl_address_class((struct sockaddr *) &v4);
	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
		return pl_address_class((struct sockaddr *) &v4);
	if (length > 2 && host[0] == '[' && host[length - 1] == ']')
	{
		char	   *literal = pnstrdup(host + 1, length - 2);

		if (inet_pton(AF_INET6, literal, &v6.sin6_addr) == 1)
			return pl_address_class((struct sockaddr *) &v6);
		return PL_ADDRESS_PRIVATE;
	}
	return PL_ADDRESS_PUBLIC;
}

/*
 * Does the URL name a loopback address itself, so that the operator meant it?
 */
bool
pl_url_is_loopback(const char *url)
{
	bool		valid;
	char	   *host = url_part(url, CURLUPART_HOST, &valid);

	return host != NULL && host_class(host) == PL_ADDRESS_LOOPBACK;
}

/*
 * Raise 22023 unless url is the https URL of a host, or an http URL of a
 * loopback literal, without user, query and fragment; 42501 if its host is a
 * private address and those are not allowed, or an inner one in disguise.
 */
void
pl_check_url(const char *gateway, const char *option, const char *url, bool allow_private)
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
	if (class == PL_ADDRESS_PRIVATE && !allow_private)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("option \"%s\" of gateway \"%s\" is a private address", option, gateway),
				 errhint("Set allow_private_addresses if the PSP really is in your own network.")));
}
