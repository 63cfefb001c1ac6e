/*
 * src/command/command_internal.h
 *		What the files of this room share.
 */
#ifndef PL_COMMAND_INTERNAL_H
#define PL_COMMAND_INTERNAL_H

#include "command/command.h"

/* ---- requests.c: asking a gateway for something ---- */

extern struct PlRequestBatch *pl_requests_new(void);
extern void pl_requests_insert(PlWork *work);

/* ---- items.c: open items of PSP_RECEIVABLES ---- */

extern void pl_items_insert(PlWork *work);

#endif							/* PL_COMMAND_INTERNAL_H */
