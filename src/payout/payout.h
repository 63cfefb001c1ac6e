/*
 * src/payout/payout.h
 *		What sellers have, get and when; what becomes of debts.
 */
#ifndef PL_PAYOUT_H
#define PL_PAYOUT_H

#include "command/command.h"

extern void pl_payout_init(void);

/* payouts.c */

extern void pl_apply_payout(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* ---- for the keeper ---- */

extern int	pl_cover_negative_balances(void);
extern int	pl_run_due_payouts(void);

#endif							/* PL_PAYOUT_H */
