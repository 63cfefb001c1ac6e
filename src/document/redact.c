/*
 * src/document/redact.c
 *		What PSPs say, made fit for rows, events and logs.
 */
#include "postgres.h"

#include "document/document.h"

/* longest message that is kept, bytes */
#define MAX_MESSAGE 300

/* digits of a card number, and how many of them may be shown */
#define PAN_MIN_DIGITS 13
#define PAN_MAX_DIGITS 19
#define PAN_SHOWN_DIGITS 4

/* digits of our ids, but those of the first months */
#define ID_MIN_DIGITS 18
#define ID_MAX_DIGITS 19

/* how far ahead of the clock an id may be, ms */
#define ID_AHEAD_MS INT64CONST(864000000)

/*
 * May the number be an id of ours?  They carry the time when they were given
 * out; card numbers of that length would be of a year to come.
 */
static bool
may_be_id(const char *digits, size_t length)
{
	uint64		id;

	if (length < ID_MIN_DIGITS || length > ID_MAX_DIGITS)
		return false;
	id = strtoull(digits, NULL, 10);
	return id <= PG_INT64_MAX &&
		pl_id_timestamp((int64) id) <= TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ID_AHEAD_MS);
}

/*
 * Hide all but the last digits of every run that is as long as a card number,
 * whoever may have issued it, but for our own ids.
 */
static void
mask_card_numbers(char *text)
{
	for (char *p = text; *p;)
	{
		char	   *start = p;
		int			digits = 0;
		int			hidden = 0;

		if (!isdigit((unsigned char) *p))
		{
			p++;
			continue;
		}
		while (isdigit((unsigned char) *p) ||
			   ((*p == ' ' || *p == '-') && isdigit((unsigned char) p[1])))
			digits += isdigit((unsigned char) *p++) ? 1 : 0;
		if (digits < PAN_MIN_DIGITS || digits > PAN_MAX_DIGITS || (p - start == digits && may_be_id(start, digits)))
			continue;
		for (char *q = start; q < p && hidden < digits - PAN_SHOWN_DIGITS; q++)
			if (isdigit((unsigned char) *q))
			{
				*q = '*';
				hidden++;
			}
	}
	/* within longer runs */
	pl_mask_card_data(text);
}

/*
 * A PSP's words as they may be stored and logged: one line of at most 300
 * bytes, valid, without card numbers.  palloc'd; NULL stays NULL.
 */
char *
pl_redact(const char *text)
{
	char	   *result;
	char	   *to;

	if (text == NULL)
		return NULL;
	to = result = pl_valid_text(text, strlen(text));
	for (const char *from = result; *from;)
	{
		int			hidden = pl_hidden_character(from);

		*to++ = hidden > 0 ? ' ' : *from;
		from += Max(hidden, 1);
	}
	*to = '\0';
	/* what is cut off in the middle of a number would not be found */
	mask_card_numbers(result);
	pl_clip(result, MAX_MESSAGE);
	return result;
}

/*
 * In JSON, write the characters that are escaped without need as themselves, so
 * that who looks for a key or a card number in it finds what the text means.
 * It becomes shorter, in place, and means the same; what is no JSON may change.
 */
void
pl_undo_escapes(char *json)
{
	char	   *to = json;

	for (const char *from = json; *from;)
	{
		unsigned long code = 0;

		if (from[0] == '\\' && from[1] == '/')
			from++;
		else if (from[0] == '\\' && from[1] == 'u' && strspn(from + 2, "0123456789ABCDEFabcdef") >= 4)
		{
			const char	digits[] = {from[2], from[3], from[4], from[5], '\0'};

			code = strtoul(digits, NULL, 16);
		}
		else if (from[0] == '\\' && from[1] != '\0')
			*to++ = *from++;
		if (code >= 0x20 && code < 0x7f)
		{
			if (code == '"' || code == '\\')
				*to++ = '\\';
			*to++ = (char) code;
			from += 6;
		}
		else
			*to++ = *from++;
	}
	*to = '\0';
}

/* Is the JSON string between begin and end the text?  Escapes are read. */
static bool
string_is(const char *begin, const char *end, const char *text)
{
	for (const char *p = begin; p < end; text++)
	{
		unsigned char c = *p++;

		if (c == '\\' && p < end)
		{
			c = *p++;
			if (c == 'u' && end - p >= 4)
			{
				const char	digits[] = {p[0], p[1], p[2], p[3], '\0'};
				unsigned long code = strtoul(digits, NULL, 16);

				c = code < 0x80 ? code : 0;
				p += 4;
			}
		}
		if (*text == '\0' || c != (unsigned char) *text)
			return false;
	}
	return *text == '\0';
}

/* The end of the JSON string that begins at p: its quote, or the end of the text. */
static char *
string_end(char *p)
{
	while (*p && *p != '"')
		p += *p == '\\' && p[1] != '\0' ? 2 : 1;
	return p;
}

/*
 * Hide the values of all members of that name, wherever they are and whatever
 * is in them: texts become asterisks, digits nines.  The text is JSON, and stays
 * JSON of that length; if it is not, what looks like such members is hidden.
 */
void
pl_hide_members(char *json, const char *name)
{
	int			depth = 0;
	int			hidden = 0;		/* depth within the value that is hidden; 0: not in one */
	bool		hide_next = false;	/* the next value is the member's */

	for (char *p = json; *p; p++)
	{
		if (*p == '"')
		{
			char	   *begin = p + 1;
			char	   *end = string_end(begin);
			char	   *next = end + (*end == '"');

			next += strspn(next, " \t\n\r");
			if (*next == ':')
			{
				hide_next = string_is(begin, end, name);
				p = next;
				continue;
			}
			if (hidden > 0 || hide_next)
				memset(begin, '*', end - begin);
			hide_next = false;
			if (*end == '\0')
				break;
			p = end;
		}
		else if (*p == '{' || *p == '[')
		{
			depth++;
			if (hide_next && hidden == 0)
				hidden = depth;
			hide_next = false;
		}
		else if (*p == '}' || *p == ']')
		{
			if (hidden == depth)
				hidden = 0;
			depth--;
			hide_next = false;
		}
		else if (*p == ',')
			hide_next = false;
		else if (isdigit((unsigned char) *p) && (hidden > 0 || hide_next))
			*p = '9';
	}
}
