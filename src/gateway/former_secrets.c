/*
 * src/gateway/former_secrets.c
 *		Secrets that the file no longer holds, told by their fingerprints.
 *
 * A PSP takes a former key for a while, and what it says may repeat it even
 * later.  So what this worker knew is still hidden in a PSP's words.  The secret
 * itself is gone: what is kept is its length and a number that follows from its
 * bytes and from one drawn by this process; the same of how it stands in JSON.
 */
#include "postgres.h"

#include "gateway/secrets.h"

#define MAX_FORMER	256			/* of all gateways; the oldest make room */
#define MAX_FORMER_OF_GATEWAY 8

/* A text that is gone. */
typedef struct Print
{
	uint64		fingerprint;
	size_t		length;
} Print;

typedef struct Former
{
	uint64		age;			/* counted up; 0: the entry is free */
	uint64		gateway;		/* fingerprint of its name */
	Print		secret;
	Print		escaped;		/* the secret as JSON has it */
} Former;

static Former former[MAX_FORMER];
static uint64 newest = 0;
static uint64 base = 0;			/* 0: not drawn yet */

/* A polynomial in base, so that it can be rolled over a text. */
static void
add_byte(Print *print, char byte)
{
	print->fingerprint = print->fingerprint * base + (unsigned char) byte;
	print->length++;
}

/* That of a text or, with escapes where JSON has to have them, of what stands for it there. */
static Print
print_of(const char *text, bool escaped)
{
	Print		print = {0};

	for (const char *p = text; *p; p++)
	{
		if (escaped && (*p == '"' || *p == '\\'))
			add_byte(&print, '\\');
		add_byte(&print, *p);
	}
	return print;
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
	Former		entry = {0};
	Former	   *to;

	draw_base();
	entry.gateway = print_of(gateway, false).fingerprint;
	entry.secret = print_of(secret, false);
	entry.escaped = print_of(secret, true);
	for (to = former; to < former + MAX_FORMER; to++)
		if (to->age != 0 && to->gateway == entry.gateway && to->secret.fingerprint == entry.secret.fingerprint &&
			to->secret.length == entry.secret.length)
			break;
	if (to == former + MAX_FORMER)
		to = place(entry.gateway);
	entry.age = ++newest;
	*to = entry;
}

/* Put asterisks where the text has what the fingerprint is of. */
static void
hide(char *text, const Print *print)
{
	size_t		start = 0;		/* of the bytes whose fingerprint is rolled */
	uint64		rolled = 0;
	uint64		factor = 1;		/* of the byte that leaves */

	for (size_t i = 1; i < print->length; i++)
		factor *= base;
	for (size_t end = 0; text[end] != '\0'; end++)
	{
		if (end - start == print->length)
			rolled -= (unsigned char) text[start++] * factor;
		rolled = rolled * base + (unsigned char) text[end];
		if (end + 1 - start == print->length && rolled == print->fingerprint)
		{
			memset(text + start, '*', print->length);
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
	uint64		name = print_of(gateway, false).fingerprint;

	for (const Former *entry = former; entry < former + MAX_FORMER; entry++)
		if (entry->age != 0 && entry->gateway == name)
		{
			hide(text, &entry->secret);
			if (entry->escaped.length > entry->secret.length)
				hide(text, &entry->escaped);
		}
}
