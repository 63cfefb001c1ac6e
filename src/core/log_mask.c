/*
 * src/core/log_mask.c
 *		No card number gets into the server's log, whoever writes it there.
 *
 * A statement that is refused for the card number in it would be logged with
 * its error, and every statement where log_statement asks for it.  The hook
 * masks what is about to be written: all but the last four digits.
 */
#include "postgres.h"

#include "core/core.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

static emit_log_hook_type previous_emit_log_hook = NULL;

static void
mask(ErrorData *edata, char **text)
{
	if (*text == NULL || !pl_holds_card_number(*text))
		return;
	*text = MemoryContextStrdup(edata->assoc_context, *text);
	pl_mask_card_data(*text);
}

/* In ErrorContext, while an error is being reported: must not raise one. */
static void
mask_log(ErrorData *edata)
{
	if (previous_emit_log_hook)
		previous_emit_log_hook(edata);

	mask(edata, &edata->message);
	mask(edata, &edata->detail);
	mask(edata, &edata->detail_log);
	mask(edata, &edata->hint);
	mask(edata, &edata->context);
	mask(edata, &edata->internalquery);
	if (debug_query_string != NULL && pl_holds_card_number(debug_query_string))
		edata->hide_stmt = true;
}

/*
 * For _PG_init, while libraries are preloaded.
 */
void
pl_log_mask_init(void)
{
	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = mask_log;
}
