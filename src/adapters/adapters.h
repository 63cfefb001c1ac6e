/*
 * src/adapters/adapters.h
 *		The adapters that payledger comes with.
 */
#ifndef PL_ADAPTERS_H
#define PL_ADAPTERS_H

extern void pl_adapters_init(void);

#endif							/* PL_ADAPTERS_H */
