/*
 * src/http/networks.c
 *		payledger.private_gateway_addresses: the networks of one's own where
 *		gateways may be.
 *
 * Gateways are SQL users', so whatever else they may set, that a worker talks to
 * this machine or its neighbours is up to the server's administrator.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "http/http_internal.h"
#include "utils/guc.h"

char	   *pl_private_gateway_addresses;

#define MAX_NETWORKS	64

typedef struct Network
{
	int			bytes;			/* of an address: 4 or 16 */
	int			bits;
	uint8		address[16];
} Network;

/* What the setting says; plain data, for libcurl's callbacks. */
static Network networks[MAX_NETWORKS];
static int	nnetworks = 0;

/* An IPv4 address in IPv6's clothes is one: ::ffff:a.b.c.d reaches a.b.c.d. */
static void
unmap(Network *network)
{
	static const uint8 mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (network->bytes != 16 || network->bits < 96 || memcmp(network->address, mapped, 12) != 0)
		return;
	memmove(network->address, network->address + 12, 4);
	network->bytes = 4;
	network->bits -= 96;
}

static bool
bit(const uint8 *address, int i)
{
	return (address[i / 8] >> (7 - i % 8)) & 1;
}

/* A network in CIDR notation, or an address; false if text is neither. */
static bool
parse_network(char *text, Network *network)
{
	char	   *slash = strchr(text, '/');

	if (slash != NULL)
		*slash = '\0';
	if (inet_pton(AF_INET, text, network->address) == 1)
		network->bytes = 4;
	else if (inet_pton(AF_INET6, text, network->address) == 1)
		network->bytes = 16;
	else
		return false;
	network->bits = network->bytes * 8;
	if (slash != NULL)
	{
		size_t		digits = strspn(slash + 1, "0123456789");

		if (digits == 0 || digits > 3 || slash[1 + digits] != '\0' || atoi(slash + 1) > network->bits)
			return false;
		network->bits = atoi(slash + 1);
	}
	/* 10.1.2.3/8 is one or the other */
	for (int i = network->bits; i < network->bytes * 8; i++)
		if (bit(network->address, i))
			return false;
	unmap(network);
	return true;
}

/* The networks in a list; -1 if one of them is none, or they are too many. */
static int
parse_networks(const char *list, Network *result)
{
	char	   *copy = pstrdup(list);
	char	   *rest = copy;
	char	   *word;
	int			n = 0;

	while (n >= 0 && (word = strsep(&rest, ", \t\r\n")) != NULL)
	{
		if (*word == '\0')
			continue;
		n = n < MAX_NETWORKS && parse_network(word, &result[n]) ? n + 1 : -1;
	}
	pfree(copy);
	return n;
}

/*
 * Check and assign hooks of the setting.
 */
bool
pl_check_networks(char **newval, void **extra, GucSource source)
{
	Network		ignored[MAX_NETWORKS];

	if (parse_networks(*newval, ignored) >= 0)
		return true;
	GUC_check_errdetail("It is a list of up to %d networks such as 10.1.2.0/24, 127.0.0.1/32 and ::1/128, without bits set behind the prefix.",
						MAX_NETWORKS);
	return false;
}

void
pl_assign_networks(const char *newval, void *extra)
{
	nnetworks = Max(parse_networks(newval, networks), 0);
}

/*
 * Does the setting name a network with this address?  Safe in a libcurl
 * callback: touches nothing of the server.
 */
bool
pl_in_own_network(const struct sockaddr *address)
{
	Network		wanted = {0};

	if (address->sa_family == AF_INET)
	{
		wanted.bytes = 4;
		memcpy(wanted.address, &((const struct sockaddr_in *) address)->sin_addr, 4);
	}
	else if (address->sa_family == AF_INET6)
	{
		wanted.bytes = 16;
		memcpy(wanted.address, &((const struct sockaddr_in6 *) address)->sin6_addr, 16);
	}
	else
		return false;
	wanted.bits = wanted.bytes * 8;
	unmap(&wanted);
	for (int i = 0; i < nnetworks; i++)
	{
		bool		inside = networks[i].bytes == wanted.bytes;

		for (int b = 0; inside && b < networks[i].bits; b++)
			inside = bit(networks[i].address, b) == bit(wanted.address, b);
		if (inside)
			return true;
	}
	return false;
}
