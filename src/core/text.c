/*
 * src/core/text.c
 *		Text from outside: whole characters, valid, and none that hides what a
 *		line says.
 *
 * Databases are UTF8 (CREATE EXTENSION refuses any other), so nothing here
 * converts, and all of it may be called outside of transactions.
 */
#include "postgres.h"

#include "core/core.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* U+FFFD, which stands for what is no character */
#define REPLACEMENT "\xef\xbf\xbd"

PG_FUNCTION_INFO_V1(pl_sql_is_valid_text);

/* Bytes of the character at p, of which there are left; 0 if it is none. */
static int
character_length(const char *p, size_t left)
{
	int			length = pg_utf_mblen((const unsigned char *) p);

	if (*p == '\0' || (size_t) length > left || !pg_utf8_islegal((const unsigned char *) p, length))
		return 0;
	return length;
}

/*
 * How many of the bytes are whole characters and at most max.  Any bytes will
 * do: what lies behind them is never looked at.
 */
size_t
pl_clip_length(const char *bytes, size_t length, size_t max)
{
	if (length <= max)
		return length;
	while (max > 0 && ((unsigned char) bytes[max] & 0xc0) == 0x80)
		max--;
	return max;
}

/* Cut the text to at most max bytes, not within a character. */
void
pl_clip(char *text, size_t max)
{
	text[pl_clip_length(text, strlen(text), max)] = '\0';
}

/*
 * Copy text into a buffer of that size, such as one in shared memory: clipped,
 * and valid whatever it was.
 */
void
pl_fill_text(char *to, const char *from, size_t size)
{
	size_t		length = pl_clip_length(from, strlen(from), size - 1);
	size_t		i = 0;

	memcpy(to, from, length);
	to[length] = '\0';
	while (i < length)
	{
		int			n = character_length(to + i, length - i);

		if (n == 0)
			to[i] = '?';
		i += Max(n, 1);
	}
}

/*
 * Bytes as valid text, palloc'd: what is no character, a zero byte too, becomes
 * U+FFFD.
 */
char *
pl_valid_text(const char *bytes, size_t length)
{
	StringInfoData out;

	if (pg_verify_mbstr(PG_UTF8, bytes, length, true))
		return pnstrdup(bytes, length);
	initStringInfo(&out);
	for (size_t i = 0; i < length;)
	{
		int			n = character_length(bytes + i, length - i);

		if (n == 0)
			appendStringInfoString(&out, REPLACEMENT);
		else
			appendBinaryStringInfo(&out, bytes + i, n);
		i += Max(n, 1);
	}
	return out.data;
}

static bool
is_between(const unsigned char *p, const char *first, const char *last)
{
	size_t		length = strlen(first);

	return memcmp(p, first, length - 1) == 0 &&
		p[length - 1] >= (unsigned char) first[length - 1] && p[length - 1] <= (unsigned char) last[length - 1];
}

/*
 * Is there a character at p that changes how the others are shown, in a
 * terminal, a log or a page?  Controls (C0, DEL, C1), the separators of lines
 * and paragraphs, what turns the direction of writing, and the byte order
 * mark.  Its bytes; 0 if not.  Joiners are not among them: names and emoji
 * need them.
 */
int
pl_hidden_character(const char *text)
{
	const unsigned char *p = (const unsigned char *) text;

	if (*p < 0x80)
		return *p < 0x20 || *p == 0x7f ? 1 : 0;
	if (p[1] == '\0')
		return 0;
	if (is_between(p, "\xc2\x80", "\xc2\x9f") || is_between(p, "\xd8\x9c", "\xd8\x9c"))
		return 2;
	if (p[2] == '\0')
		return 0;
	if (is_between(p, "\xe2\x80\x8e", "\xe2\x80\x8f") || is_between(p, "\xe2\x80\xa8", "\xe2\x80\xae") ||
		is_between(p, "\xe2\x81\xa6", "\xe2\x81\xa9") || is_between(p, "\xef\xbb\xbf", "\xef\xbb\xbf"))
		return 3;
	return 0;
}

/*
 * is_valid_text(text) RETURNS boolean
 */
Datum
pl_sql_is_valid_text(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(0);

	PG_RETURN_BOOL(pg_verify_mbstr(PG_UTF8, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), true));
}
