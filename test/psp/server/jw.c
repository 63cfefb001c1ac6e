/*-------------------------------------------------------------------------
 *
 * jw.c
 *		A JSON writer that appends to a text buffer.
 *
 * Whether a comma is due is read from the last byte written, so the writer
 * keeps no state. Strings come from the network: bytes that are not UTF-8
 * become U+FFFD.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "psp.h"

/* Returns the length of the UTF-8 sequence at text, 0 if it is none. */
static size_t
utf8_length(const unsigned char *text)
{
	size_t		length;
	uint32_t	point;

	if (text[0] < 0x80)
		return 1;
	if (text[0] >= 0xc2 && text[0] < 0xe0)
	{
		length = 2;
		point = text[0] & 0x1f;
	}
	else if (text[0] >= 0xe0 && text[0] < 0xf0)
	{
		length = 3;
		point = text[0] & 0x0f;
	}
	else if (text[0] >= 0xf0 && text[0] < 0xf5)
	{
		length = 4;
		point = text[0] & 0x07;
	}
	else
		return 0;
	for (size_t i = 1; i < length; i++)
	{
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3f);
	}
	if ((length == 3 && point < 0x800) || (length == 4 && point < 0x10000) ||
		point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
		return 0;
	return length;
}

/* Appends one byte as an escape if JSON wants one; says whether it did. */
static bool
put_escape(StrBuf *buf, unsigned char byte)
{
	if (byte == '"' || byte == '\\')
		buf_printf(buf, "\\%c", byte);
	else if (byte == '\n')
		buf_puts(buf, "\\n");
	else if (byte < 0x20 || byte == 0x7f)
		buf_printf(buf, "\\u%04x", byte);
	else
		return false;
	return true;
}

/* Appends a quoted string. */
static void
put_quoted(StrBuf *buf, const char *text)
{
	const unsigned char *at = (const unsigned char *) text;
	const unsigned char *plain = at;

	buf_append(buf, "\"", 1);
	while (*at != '\0')
	{
		size_t		length = utf8_length(at);
		bool		special = length == 0 || *at == '"' || *at == '\\' ||
			*at < 0x20 || *at == 0x7f;

		if (!special)
		{
			at += length;
			continue;
		}
		buf_append(buf, (const char *) plain, (size_t) (at - plain));
		if (length == 0)
			buf_puts(buf, "\\ufffd");
		else
			put_escape(buf, *at);
		plain = ++at;
	}
	buf_append(buf, (const char *) plain, (size_t) (at - plain));
	buf_append(buf, "\"", 1);
}

/* Begins a member or an element: the comma and the key. */
static void
begin_value(StrBuf *buf, const char *key)
{
	if (buf->len > 0)
	{
		char		last = buf->data[buf->len - 1];

		if (last != '{' && last != '[' && last != ':' && last != '\n')
			buf_append(buf, ",", 1);
	}
	if (key != NULL)
	{
		put_quoted(buf, key);
		buf_append(buf, ":", 1);
	}
}

/* Opens an object. */
void
jw_object(StrBuf *buf, const char *key)
{
	begin_value(buf, key);
	buf_append(buf, "{", 1);
}

/* Closes an object. */
void
jw_end_object(StrBuf *buf)
{
	buf_append(buf, "}", 1);
}

/* Opens an array. */
void
jw_array(StrBuf *buf, const char *key)
{
	begin_value(buf, key);
	buf_append(buf, "[", 1);
}

/* Closes an array. */
void
jw_end_array(StrBuf *buf)
{
	buf_append(buf, "]", 1);
}

/* Writes a string, or null for NULL. */
void
jw_string(StrBuf *buf, const char *key, const char *value)
{
	begin_value(buf, key);
	if (value == NULL)
		buf_puts(buf, "null");
	else
		put_quoted(buf, value);
}

/* Writes an integer. */
void
jw_int(StrBuf *buf, const char *key, int64_t value)
{
	char		digits[24];
	int			len = snprintf(digits, sizeof(digits), "%lld", (long long) value);

	begin_value(buf, key);
	buf_append(buf, digits, (size_t) len);
}

/* Writes true or false. */
void
jw_bool(StrBuf *buf, const char *key, bool value)
{
	begin_value(buf, key);
	buf_puts(buf, value ? "true" : "false");
}

/* Writes null. */
void
jw_null(StrBuf *buf, const char *key)
{
	begin_value(buf, key);
	buf_puts(buf, "null");
}
