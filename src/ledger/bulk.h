/*
 * src/ledger/bulk.h
 *		Inserting many rows through COPY's machinery.  Private to src/ledger.
 */
#ifndef PL_BULK_H
#define PL_BULK_H

#include "nodes/pg_list.h"

/* Gives row i with one pl_copy_row() and as many columns. */
typedef void (*PlRowWriter) (void *arg, int i);

extern uint64 pl_copy_rows(const char *table, List *columns, int n, PlRowWriter write_row, void *arg);
extern void pl_copy_row(int ncolumns);
extern void pl_copy_null(void);
extern void pl_copy_int64(int64 value);
extern void pl_copy_int16(int16 value);
extern void pl_copy_text(const char *value);

#endif							/* PL_BULK_H */
