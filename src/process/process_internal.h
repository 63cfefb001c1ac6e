/*
 * src/process/process_internal.h
 *		What the files of this room share.
 */
#ifndef PL_PROCESS_INTERNAL_H
#define PL_PROCESS_INTERNAL_H

#include "process/process.h"

pg_noreturn extern void pl_gateway_main(void);	/* gateway.c */
pg_noreturn extern void pl_keeper_main(void);	/* keeper.c */

#endif							/* PL_PROCESS_INTERNAL_H */
