/*
 * src/outbox/traceparent.c
 *		The W3C trace context that events carry.
 *
 * https://www.w3.org/TR/trace-context/: version-traceid-parentid-flags in
 * lower-case hexadecimal digits.
 */
#include "postgres.h"

#include "outbox/outbox.h"

/* The setting's value: NULL if the library was not preloaded. */
char	   *pl_traceparent_setting = NULL;

/*
 * Has text, of so many bytes, that form?  In a form, h is a hexadecimal digit
 * in lower case, d a decimal one, and everything else itself.
 */
bool
pl_has_form(const char *text, size_t length, const char *form)
{
	if (length != strlen(form))
		return false;
	for (size_t i = 0; i < length; i++)
	{
		bool		is_decimal = text[i] >= '0' && text[i] <= '9';
		bool		fits = text[i] == form[i];

		if (form[i] == 'h')
			fits = is_decimal || (text[i] >= 'a' && text[i] <= 'f');
		else if (form[i] == 'd')
			fits = is_decimal;
		if (!fits)
			return false;
	}
	return true;
}

/*
 * Is text, of so many bytes, a traceparent?
 */
bool
pl_is_traceparent(const char *text, size_t length)
{
	return pl_has_form(text, length, "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh");
}

/*
 * The trace id of a traceparent, palloc'd; NULL if text is NULL or not one.
 */
char *
pl_trace_id(const char *text)
{
	if (text == NULL || !pl_is_traceparent(text, strlen(text)))
		return NULL;
	return pnstrdup(text + PL_TRACE_ID_START, PL_TRACE_ID_LENGTH);
}

/*
 * What payledger.traceparent is in this session, palloc'd, because a trigger
 * may set another; NULL if it is empty.
 */
char *
pl_traceparent(void)
{
	if (pl_traceparent_setting == NULL || pl_traceparent_setting[0] == '\0')
		return NULL;
	return pstrdup(pl_traceparent_setting);
}
