/*
 * src/ledger/digests.h
 *		Between the digests of entries and what seals them.  Private to
 *		src/ledger.
 */
#ifndef PL_DIGESTS_H
#define PL_DIGESTS_H

#include "ledger/ledger.h"

#define PL_DIGEST_LENGTH	16
#define PL_ID_LENGTH		8
#define PL_SEALED_LENGTH	(PL_ID_LENGTH + PL_DIGEST_LENGTH)	/* of one in seals.digests */

typedef struct PlEntryForm PlEntryForm;

extern PlEntryForm *pl_form_new(void);
extern int64 pl_form_begin(PlEntryForm *form, HeapTuple row, TupleDesc tupdesc);
extern void pl_form_leg(PlEntryForm *form, int16 leg, int64 account_id, int64 amount, int64 transaction_no);
extern void pl_form_digest(const PlEntryForm *form, uint8 *digest);

#endif							/* PL_DIGESTS_H */
