/*-------------------------------------------------------------------------
 *
 * form.c
 *		Parameters of a form-urlencoded body or a query string.
 *
 * Nested names stay flat, as they came: "metadata[order]", "expand[0]".
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

/* Returns the value of a hexadecimal digit, -1 if it is none. */
static int
hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

/* Decodes len bytes; returns NULL for a broken escape or an encoded NUL. */
static char *
decode(const char *data, size_t len)
{
	char	   *text = xrealloc(NULL, len + 1);
	size_t		at = 0;

	for (size_t i = 0; i < len; i++)
	{
		int			high;
		int			low;

		if (data[i] != '%')
		{
			text[at++] = data[i] == '+' ? ' ' : data[i];
			continue;
		}
		high = i + 1 < len ? hex_digit(data[i + 1]) : -1;
		low = i + 2 < len ? hex_digit(data[i + 2]) : -1;
		if (high < 0 || low < 0 || high + low == 0)
		{
			free(text);
			return NULL;
		}
		text[at++] = (char) (high << 4 | low);
		i += 2;
	}
	text[at] = '\0';
	return text;
}

/* Makes room for one more parameter and returns it. */
static Param *
next_param(Form *form)
{
	if (form->count == form->size)
	{
		form->size = form->size == 0 ? 8 : form->size * 2;
		form->params = xrealloc(form->params, form->size * sizeof(Param));
	}
	return &form->params[form->count++];
}

/* Appends a copy of name and value. */
void
form_add(Form *form, const char *name, const char *value)
{
	Param	   *param = next_param(form);

	param->name = xstrdup(name);
	param->value = xstrdup(value);
}

/* Appends the pair that lies in len bytes; false if it cannot be decoded. */
static bool
parse_pair(Form *form, const char *data, size_t len)
{
	const char *equals = memchr(data, '=', len);
	size_t		name_len = equals == NULL ? len : (size_t) (equals - data);
	char	   *name = decode(data, name_len);
	char	   *value = equals == NULL ? xstrdup("") :
		decode(equals + 1, len - name_len - 1);
	Param	   *param;

	if (name == NULL || value == NULL)
	{
		free(name);
		free(value);
		return false;
	}
	param = next_param(form);
	param->name = name;
	param->value = value;
	return true;
}

/* Appends all pairs of an encoded text; false if one cannot be decoded. */
bool
form_parse(Form *form, const char *data, size_t len)
{
	const char *end = data + len;

	while (data < end)
	{
		const char *amp = memchr(data, '&', (size_t) (end - data));
		const char *stop = amp == NULL ? end : amp;

		if (stop > data && !parse_pair(form, data, (size_t) (stop - data)))
			return false;
		data = stop + 1;
	}
	return true;
}

/* Returns the value of a parameter, NULL if it was not sent; the last wins. */
const char *
form_get(const Form *form, const char *name)
{
	for (size_t i = form->count; i > 0; i--)
		if (strcmp(form->params[i - 1].name, name) == 0)
			return form->params[i - 1].value;
	return NULL;
}

/* Was field asked for with expand[]? */
bool
form_expands(const Form *form, const char *field)
{
	for (size_t i = 0; i < form->count; i++)
		if (strncmp(form->params[i].name, "expand[", 7) == 0 &&
			strcmp(form->params[i].value, field) == 0)
			return true;
	return false;
}

/* Returns a copy of "key" of a name "parent[key]", or NULL. */
char *
form_member(const char *name, const char *parent)
{
	size_t		parent_len = strlen(parent);
	size_t		name_len = strlen(name);
	char	   *member;

	if (name_len < parent_len + 3 || strncmp(name, parent, parent_len) != 0 ||
		name[parent_len] != '[' || name[name_len - 1] != ']')
		return NULL;
	member = xstrdup(name + parent_len + 1);
	member[name_len - parent_len - 2] = '\0';
	return member;
}

/* A hash of all parameters that does not depend on their order. */
uint64_t
form_fingerprint(const Form *form)
{
	uint64_t	sum = form->count;

	for (size_t i = 0; i < form->count; i++)
	{
		const Param *param = &form->params[i];
		uint64_t	name = hash_bytes(param->name, strlen(param->name));
		uint64_t	value = hash_bytes(param->value, strlen(param->value));

		sum += mix64(name + mix64(value));
	}
	return sum;
}

/* Frees all parameters. */
void
form_free(Form *form)
{
	for (size_t i = 0; i < form->count; i++)
	{
		free(form->params[i].name);
		free(form->params[i].value);
	}
	free(form->params);
	memset(form, 0, sizeof(*form));
}
