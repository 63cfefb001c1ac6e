/*
 * src/settlement/settlement.h
 *		Settlement reports.  Nobody calls this room but _PG_init.
 */
#ifndef PL_SETTLEMENT_H
#define PL_SETTLEMENT_H

extern void pl_settlement_init(void);

#endif							/* PL_SETTLEMENT_H */
