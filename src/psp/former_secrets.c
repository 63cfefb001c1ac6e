/*
 * src/psp/former_secrets.c
 *		Secrets that the file no longer holds, told by their fingerprints.
 *
 * A PSP takes a former key for a while, and what it says may repeat it even
 * later.  So what this worker knew is still hidden in a PSP's words.  The secret
 * itself is gone: what is kept is its length and a number that follows from its
 * bytes and from one drawn by this process.
 */
#include "postgres.h"

#include "psp/secrets.h"

#define MAX_FORMER	256			/* of all gateways; the oldest make room */
#define MAX_FORMER_OF_GATEWAY 8

typedef struct Former
{
	uint64		age;			/* counted up; 0: the entry is free */
	uint64		gateway;		/* fingerprint of its name */
	uint64		secret;
	size_t		length;
} Former;

static Former former[MAX_FORMER];
static uint64 newest = 0;
static uint64 base = 0;			/* 0: not drawn yet */

/* A polynomial in base, so that it can be rolled over a text. */
static uint64
fingerprint(const char *text, size_t length)
{
	uint64		result = 0;

	for (size_t i = 0; i < length; i++)
		result = result * base + (unsigned char) text[i];
	return result;
}

static void
draw_base(void)
{
	if (base != 0)
		return;
	if (!pg_strong_random(&base, sizeof(base)))
		base = UINT64CONST(0x9E3779B97F4A7C15);
	base |= 1;
}

/* Where the next one of the gateway goes: what it replaces is the oldest. */
static Former *
place(uint64 gateway)
{
	Former	   *oldest = former;
	Former	   *own = NULL;
	int			nown = 0;

	for (Former *entry = former; entry < former + MAX_FORMER; entry++)
	{
		if (entry->age < oldest->age)
			oldest = entry;
		if (entry->age == 0 || entry->gateway != gateway)
			continue;
		nown++;
		if (own == NULL || entry->age < own->age)
			own = entry;
	}
	return nown < MAX_FORMER_OF_GATEWAY ? oldest : own;
}

/*
 * Keep what tells a secret of the gateway, before the secret is wiped.
 */
void
pl_former_secret_note(const char *gateway, const char *secret)
{
	Former		entry = {.length = strlen(secret)};
	Former	   *to;

	draw_base();
	entry.gateway = fingerprint(gateway, strlen(gateway));
	entry.secret = fingerprint(secret, entry.length);
	for (to = former; to < former + MAX_FORMER; to++)
		if (to->age != 0 && to->gateway == entry.gateway && to->secret == entry.secret && to->length == entry.length)
			break;
	if (to == former + MAX_FORMER)
		to = place(entry.gateway);
	entry.age = ++newest;
	*to = entry;
}

/* Put asterisks where the text has what the entry tells. */
static void
hide(char *text, const Former *entry)
{
	size_t		start = 0;		/* of the bytes whose fingerprint is rolled */
	uint64		rolled = 0;
	uint64		factor = 1;		/* of the byte that leaves */

	for (size_t i = 1; i < entry->length; i++)
		factor *= base;
	for (size_t end = 0; text[end] != '\0'; end++)
	{
		if (end - start == entry->length)
			rolled -= (unsigned char) text[start++] * factor;
		rolled = rolled * base + (unsigned char) text[end];
		if (end + 1 - start == entry->length && rolled == entry->secret)
		{
			memset(text + start, '*', entry->length);
			start = end + 1;
			rolled = 0;
		}
	}
}

/*
 * Put asterisks where the text repeats a former secret of the gateway.
 */
void
pl_former_secrets_hide(const char *gateway, char *text)
{
	uint64		name = fingerprint(gateway, strlen(gateway));

	for (const Former *entry = former; entry < former + MAX_FORMER; entry++)
		if (entry->age != 0 && entry->gateway == name)
			hide(text, entry);
}
