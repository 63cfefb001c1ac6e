/*
 * src/worker/worker_internal.h
 *		What the files of this room share.
 */
#ifndef PL_WORKER_INTERNAL_H
#define PL_WORKER_INTERNAL_H

#include "worker/worker.h"

/* ---- turn.c: transactions, waits and errors of a worker ---- */

extern void pl_worker_reset_back_off(void);

/* ---- status.c: what stat_worker shows ---- */

extern void pl_worker_turn(void);
extern void pl_worker_pausing(long ms);

#endif							/* PL_WORKER_INTERNAL_H */
