/*
 * src/ledger/ledger.h
 *		Accounts, entries and their postings.
 *
 * Entries are collected in a batch and written by one statement for the
 * headers and one for all legs; a single entry is a batch of one.
 */
#ifndef PL_LEDGER_H
#define PL_LEDGER_H

#include "core/core.h"

/* The entity of the accounts that belong to the platform itself. */
#define PL_GLOBAL_ENTITY "GLOBAL"

/* ---- accounts.c ---- */

extern char *pl_account_code(const char *account_type, const char *entity_id, const char *currency);
extern int64 pl_account_id(const char *account_type, const char *entity_id, const char *currency);
extern int64 pl_known_account(const char *account_code);
extern void pl_open_accounts(const char *const *codes, int64 *ids, int n);
extern void pl_load_accounts(const int64 *ids, int n);
extern const char *pl_account_currency(int64 account_id);

/* ---- posting.c ---- */

typedef struct PlEntryBatch PlEntryBatch;

/* What one entry of a batch became; input of the events about it. */
typedef struct PlEntry
{
	int64		journal_entry_id;
	const char *entry_type;
	int64		payment_id;		/* 0: none */
	const char *reference;		/* NULL: none */
	int64		reverses;		/* 0: none */
	const char *seller_id;		/* NULL: no seller's account involved */
	const char *currency;		/* of its first leg */
	int			first_leg;		/* index of its legs in the batch */
	int			nlegs;
} PlEntry;

typedef struct PlLeg
{
	int64		account_id;		/* 0 until posted if the account is new here */
	const char *account_code;
	int64		amount;			/* minor units, debit positive */
} PlLeg;

extern PlEntryBatch *pl_entries_new(void);
extern PlEntry *pl_entry_add(PlEntryBatch *batch, const char *entry_type, int64 payment_id,
							 const char *reference, int64 reverses);
extern void pl_entry_leg(PlEntryBatch *batch, const char *account_type,
						 const char *entity_id, const char *currency, int64 amount);
extern void pl_entries_post(PlEntryBatch *batch);
extern int	pl_entries_count(const PlEntryBatch *batch);
extern const PlEntry *pl_entries_get(const PlEntryBatch *batch, int i);
extern const PlLeg *pl_entries_leg(const PlEntryBatch *batch, int i);
extern bool pl_entries_wrote(int64 journal_entry_id, int nlegs);
extern void pl_refuse_inactive_accounts(const int64 *account_ids, int n);

/* ---- templates.c: entry types of the payment flow ---- */

extern PlEntry *pl_post_template(PlEntryBatch *batch, const char *entry_type,
								 int64 payment_id, const char *reference, int64 reverses,
								 const char *seller_id, const char *currency, int64 amount);

/* ---- balances.c ---- */

extern uint64 pl_fold_postings(void);

#endif							/* PL_LEDGER_H */
