/*
 * src/ledger/account_memory.h
 *		Between accounts.c and what a backend remembers.  Private to src/ledger.
 */
#ifndef PL_ACCOUNT_MEMORY_H
#define PL_ACCOUNT_MEMORY_H

#include "ledger/ledger.h"

extern void pl_remember_account(const PlAccount *account);
extern uint64 pl_restrictions_generation(void);
extern void pl_remember_unrestricted(int64 account_id, uint64 generation);

#endif							/* PL_ACCOUNT_MEMORY_H */
