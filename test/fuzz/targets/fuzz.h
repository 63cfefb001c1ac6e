/*
 * fuzz.h
 *		A target for each parser of foreign bytes, within a backend.
 */
#ifndef PL_FUZZ_H
#define PL_FUZZ_H

#include "postgres.h"

#include "core/core.h"
#include "utils/jsonb.h"

/*
 * Take one input: length bytes with a NUL behind them, alone in their chunk, in
 * a memory context that is reset afterwards.  May raise any error but XX000.
 */
typedef void (*FuzzRun) (const char *data, size_t length);

typedef struct FuzzTarget
{
	const char *name;
	FuzzRun		run;
	bool		uses_sql;		/* runs in a subtransaction that is rolled back */
} FuzzTarget;

/* each ended by a NULL name */
extern const FuzzTarget fuzz_psp_targets[];
extern const FuzzTarget fuzz_webhook_targets[];
extern const FuzzTarget fuzz_ledger_targets[];
extern const FuzzTarget fuzz_file_targets[];
extern const FuzzTarget fuzz_cursor_targets[];

pg_noreturn extern void fuzz_fail(const char *format,...) pg_attribute_printf(1, 2);
extern void fuzz_expect_text(const char *what, const char *text);
extern Jsonb *fuzz_jsonb(const char *text);
extern char *fuzz_copy(const char *data, size_t length);
extern char *fuzz_line(const char **data, size_t *length);
extern char *fuzz_file(const char *data, size_t length);

#endif							/* PL_FUZZ_H */
