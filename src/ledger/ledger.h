/*
 * src/ledger/ledger.h
 *		Accounts, entries and their postings, balances, holds, periods.
 *
 * Entries are collected in a batch and written by one statement for the
 * headers and one for all legs; a single entry is a batch of one.
 *
 * Locks are taken in one order, so that no two calls can deadlock: new
 * accounts by code, the journal, reversed entries by id, guarded accounts by
 * id, holds by id, references by name.
 */
#ifndef PL_LEDGER_H
#define PL_LEDGER_H

#include "core/core.h"
#include "outbox/outbox.h"

/* The entity of the accounts that belong to the platform itself. */
#define PL_GLOBAL_ENTITY "GLOBAL"

/* ---- accounts.c, account_memory.c ---- */

/* What of an account never changes; lives until the transaction ends. */
typedef struct PlAccount
{
	int64		account_id;
	const char *code;
	const char *account_type;
	const char *entity_id;
	const char *ledger;			/* equal names are the same pointer */
	const PlCurrency *currency;
	int			sign;			/* 1: normal side is debit, -1: credit */
	uint64		unrestricted_in;	/* the generation in which it was ACTIVE and without limits */
} PlAccount;

extern char *pl_account_code(const char *account_type, const char *entity_id, const char *currency);
extern void pl_check_account_code(const char *code);
extern const PlAccount *pl_known_account(const char *code);
extern const PlAccount *pl_known_account_by_id(int64 account_id);
extern void pl_find_accounts(const char *const *codes, int n);
extern void pl_open_accounts(const char *const *codes, int n);
extern void pl_load_accounts(const int64 *ids, int n);
extern const PlAccount *pl_require_account(const char *code);

/* ---- account_admin.c: what operators do ---- */

extern const PlMachine pl_account_machine;
extern void pl_wait_for_posts(void);
extern const PlAccount *pl_open_account(const char *account_type, const char *entity_id,
										const char *currency, const char *ledger);

/* ---- chart.c ---- */

pg_noreturn extern void pl_no_such_ledger(const char *ledger);

/* ---- limits.c: floors and ceilings ---- */

typedef struct PlLimits
{
	int64		account_id;
	char	   *status;
	bool		has_floor;
	int64		floor;
	bool		has_ceiling;
	int64		ceiling;
	int64		held;
	int64		balance;		/* posted, on the normal side; by pl_limits_balances() */
} PlLimits;

typedef struct PlClosedLedger
{
	const char *ledger;
	TimestampTz closed_before;
} PlClosedLedger;

/* What keeps entries from being posted, as far as it does not depend on amounts. */
typedef struct PlRestrictions
{
	PlLimits   *accounts;		/* not ACTIVE or limited, by account_id */
	int			naccounts;
	PlClosedLedger *ledgers;
	int			nledgers;
} PlRestrictions;

extern bool pl_is_unrestricted(const PlAccount *account);
extern PlRestrictions *pl_restrictions(const int64 *account_ids, int n);
extern PlLimits *pl_limits_find(PlLimits *limits, int n, int64 account_id);
extern PlLimits *pl_limits_lock(const int64 *account_ids, int n);
extern void pl_limits_balances(PlLimits *limits, int n);

/* ---- entries.c: collecting entries ---- */

typedef enum PlVerdict
{
	PL_VERDICT_NONE,			/* not posted yet */
	PL_VERDICT_POSTED,
	PL_VERDICT_REPLAYED,		/* its reference was posted before, with the same content */
	PL_VERDICT_DENIED
} PlVerdict;

/* What one entry of a batch became; input of the events about it. */
typedef struct PlEntry
{
	int64		journal_entry_id;	/* of the first post if replayed */
	TimestampTz recorded_at;
	TimestampTz effective_at;
	bool		is_dated;		/* the caller gave effective_at */
	const char *entry_type;
	int64		payment_id;		/* 0: none */
	const char *reference;		/* NULL: none */
	int64		reverses;		/* 0: none */
	Jsonb	   *metadata;		/* NULL: none */
	const char *seller_id;		/* NULL: no seller's account involved */
	const char *currency;		/* of its first leg; NULL before it is posted */
	int			first_leg;		/* index of its legs in the batch */
	int			nlegs;
	PlVerdict	verdict;
	ErrorData  *denial;			/* if denied, when the batch gives verdicts */
	struct PlEntry *same_as;	/* an earlier one of the batch with its reference and content */
} PlEntry;

typedef struct PlLeg
{
	const char *account_code;
	const PlAccount *account;	/* NULL until it is found or opened */
	int64		amount;			/* minor units, debit positive */
} PlLeg;

typedef struct PlEntryBatch
{
	MemoryContext context;
	/* set by the caller before posting */
	bool		opens_accounts; /* of legs that have none; else PL007 */
	bool		states_facts;	/* what has happened: limits and SUSPENDED do not stop it */
	bool		replays;		/* a reference posted before gives REPLAYED; else 23505 */
	bool		gives_verdicts; /* an entry that cannot be posted is DENIED; else the error is raised */
	void		(*progress) (int done);	/* called before and after each part is written, or NULL */

	/* the accounts whose limits its entries approach, locked; by account_id */
	PlLimits   *limits;
	int			nlimits;

	PlEntry   **entries;
	int			nentries;
	int			entries_allocated;
	PlLeg	   *legs;
	int			nlegs;
	int			legs_allocated;
} PlEntryBatch;

extern PlEntryBatch *pl_entries_new(void);
extern PlEntry *pl_entry_add(PlEntryBatch *batch, const char *entry_type, int64 payment_id,
							 const char *reference, int64 reverses);
extern void pl_entry_leg(PlEntryBatch *batch, const char *account_code, int64 amount);
extern void pl_entries_find_accounts(PlEntryBatch *batch);

/* ---- posting.c: writing them ---- */

/* A row of payledger.postings. */
typedef struct PlPosting
{
	int64		journal_entry_id;
	int64		account_id;
	const PlAccount *account;	/* NULL until it is found */
	int64		amount;
	int16		leg;
} PlPosting;

extern void pl_entries_post(PlEntryBatch *batch);
extern bool pl_entries_writes_headers(void);
extern bool pl_entries_writes_postings(const PlPosting *postings, int n);
extern bool pl_lock_journal(void);

/* ---- entry_checks.c: may these entries be posted? ---- */

extern ErrorData *pl_denial(int sqlerrcode, const char *message, const char *detail, const char *hint);
extern void pl_entry_deny(PlEntryBatch *batch, PlEntry *entry, ErrorData *error);
extern void pl_entries_check_balanced(PlEntryBatch *batch);
extern void pl_entries_check_restrictions(PlEntryBatch *batch);
extern void pl_entries_check_limits(PlEntryBatch *batch);

/* ---- reversals.c ---- */

extern void pl_entries_lock_reversed(PlEntryBatch *batch);
extern void pl_entries_check_reversals(PlEntryBatch *batch);

/* ---- references.c: posts made before ---- */

extern void pl_entries_match_references(PlEntryBatch *batch, PlEntry **entries, int n);

/* ---- entry_events.c ---- */

extern void pl_entries_add_events(const PlEntryBatch *batch, PlEventBatch *events);

/* ---- templates.c: entry types of the payment flow ---- */

/* What part of an amount a leg takes; a template that knows no parts takes the whole. */
typedef enum PlPart
{
	PL_PART_WHOLE,
	PL_PART_NET,
	PL_PART_FEE
} PlPart;

#define PL_PARTS 3

extern bool pl_is_payment_reference(const char *reference);

extern PlEntry *pl_post_template_parts(PlEntryBatch *batch, const char *entry_type,
									   int64 payment_id, const char *reference, int64 reverses,
									   const char *seller_id, const char *currency,
									   const int64 amounts[PL_PARTS]);
extern PlEntry *pl_post_template(PlEntryBatch *batch, const char *entry_type,
								 int64 payment_id, const char *reference, int64 reverses,
								 const char *seller_id, const char *currency, int64 amount);

/* ---- entry_json.c: postings and entries as the caller wrote them ---- */

extern void pl_entry_legs_from_json(PlEntryBatch *batch, Jsonb *postings);
extern void pl_entries_from_json(PlEntryBatch *batch, Jsonb *entries);

/* ---- balances.c ---- */

/* effective_shift_totals sum up blocks of 2^bits microseconds, finest first */
#define PL_SHIFT_LEVELS 3
#define PL_SHIFT_BITS(level) (26 + 7 * (level))

/* ---- fold_window.c: which postings a fold adds ---- */

/* A snapshot with what is known about the ids of the entries it does not see. */
typedef struct PlFold
{
	int64		fold_no;
	PlSnapshot *snapshot;
	int64		xmax_after;		/* see the comments on payledger.folds */
	int64	   *xip_after;
	int64		unseen_after;
	int64		newest_id;
} PlFold;

/* What became visible between two folds: entries with an id above "after". */
typedef struct PlFoldWindow
{
	PlFold	   *last;
	PlFold	   *next;
	PlSnapshot *finished;		/* open in the last, over in the next: its xip */
	int64		after;
} PlFoldWindow;

extern PlFold *pl_newest_fold(void);
extern PlFoldWindow *pl_fold_window(const PlFold *last);
extern void pl_arg_window(PlArgs *args, const PlFoldWindow *window);

/* ---- folding.c ---- */

extern uint64 pl_fold_postings(void);

/* ---- seals.c ---- */

typedef struct PlSealer PlSealer;

extern PlSealer *pl_sealer_begin(int64 fold_no);
extern void pl_sealer_entry(PlSealer *sealer, HeapTuple row, TupleDesc tupdesc);
extern void pl_sealer_leg(PlSealer *sealer, int16 leg, int64 account_id, int64 amount, int64 transaction_no);
extern void pl_sealer_end(PlSealer *sealer);

/* ---- holds.c, hold_commits.c, holds_expire.c ---- */

extern const PlMachine pl_hold_machine;
extern void pl_ledger_init(void);
extern void pl_change_held(const PlAccount *account, int64 amount);
extern int	pl_expire_holds(bool waits);
extern int	pl_expire_left_over_holds(void);
extern int64 pl_free_overdue_holds(int64 account_id);

/* ---- progress.c ---- */

/* What a call of post_entries() is doing, in order. */
typedef enum PlPhase
{
	PL_PHASE_PARSING,
	PL_PHASE_CHECKING,
	PL_PHASE_WRITING
} PlPhase;

extern Size pl_ledger_shmem_size(void);
extern void pl_ledger_shmem_init(void);
extern void pl_progress_begin(int entries_total);
extern void pl_progress_phase(PlPhase phase);
extern void pl_progress_update(int entries_done);
extern void pl_progress_end(void);
extern void pl_count_postings(int n);
extern bool pl_fold_is_due(void);
extern void pl_fold_counted(void);

#endif							/* PL_LEDGER_H */
