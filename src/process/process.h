/*
 * src/process/process.h
 *		The processes: what runs in each, and their registration.
 */
#ifndef PL_PROCESS_H
#define PL_PROCESS_H

#include "core/core.h"

/* ---- settings, registered in payledger.c ---- */

extern int	pl_idempotency_retention;	/* seconds */

/* ---- main.c: registration, start ---- */

extern void pl_register_workers(void);

#endif							/* PL_PROCESS_H */
