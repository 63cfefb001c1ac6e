/*
 * test/lint/cppcheck.h: PostgreSQL's macros, as far as cppcheck has to know
 * them: which of them do not return, and which are loops.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ereport(elevel, ...) REPORT_##elevel
#define elog(elevel, ...) REPORT_##elevel
#define REPORT_ERROR abort()
#define REPORT_FATAL abort()
#define REPORT_PANIC abort()
#define REPORT_WARNING ((void) 0)
#define REPORT_NOTICE ((void) 0)
#define REPORT_INFO ((void) 0)
#define REPORT_LOG ((void) 0)
#define REPORT_DEBUG1 ((void) 0)
#define REPORT_DEBUG2 ((void) 0)

#define pg_attribute_noreturn() __attribute__((noreturn))
#define pg_attribute_printf(f, a)
#define PGDLLEXPORT
#define PGDLLIMPORT
#define FLEXIBLE_ARRAY_MEMBER
#define CppAsString2(x) #x
#define lengthof(array) (sizeof(array) / sizeof((array)[0]))
#define Min(x, y) ((x) < (y) ? (x) : (y))
#define Max(x, y) ((x) > (y) ? (x) : (y))
#define Assert(condition) ((void) 0)
#define StaticAssertDecl(condition, text) extern void static_assert_(void)
#define StaticAssertStmt(condition, text) ((void) 0)
#define PG_FUNCTION_ARGS FunctionCallInfo fcinfo
#define PG_FUNCTION_INFO_V1(function) extern Datum function(PG_FUNCTION_ARGS)
#define PG_MODULE_MAGIC extern int magic_

#define PG_RETURN_NULL() return 0
#define PG_RETURN_VOID() return 0
#define PG_RETURN_DATUM(x) return (x)
#define PG_RETURN_BOOL(x) return BoolGetDatum(x)
#define PG_RETURN_INT32(x) return Int32GetDatum(x)
#define PG_RETURN_INT64(x) return Int64GetDatum(x)
#define PG_RETURN_TEXT_P(x) return PointerGetDatum(x)
#define PG_RETURN_BYTEA_P(x) return PointerGetDatum(x)
#define PG_RETURN_ARRAYTYPE_P(x) return PointerGetDatum(x)
#define PG_RETURN_POINTER(x) return PointerGetDatum(x)
#define PG_RETURN_TIMESTAMPTZ(x) return TimestampTzGetDatum(x)

#define foreach(cell, list) for (cell = list_head(list); cell != NULL; cell = lnext(list, cell))
#define forboth(cell1, list1, cell2, list2) \
	for (cell1 = list_head(list1), cell2 = list_head(list2); cell1 != NULL && cell2 != NULL; \
		 cell1 = lnext(list1, cell1), cell2 = lnext(list2, cell2))
#define foreach_delete_current(list, cell) list_delete_cell(list, cell)
#define dlist_foreach(iter, list) for (iter.cur = dlist_head_node_(list); iter.cur != NULL; iter.cur = dlist_next_node_(iter.cur))
#define dlist_foreach_modify(iter, list) dlist_foreach(iter, list)
#define slist_foreach(iter, list) dlist_foreach(iter, list)

#define PG_TRY() do { if (could_fail_()) { ((void) 0)
#define PG_CATCH() } else { ((void) 0)
#define PG_FINALLY() } { ((void) 0)
#define PG_END_TRY() } } while (0)
#define PG_RE_THROW() abort()
#define PG_ENSURE_ERROR_CLEANUP(function, arg) { ((void) 0)
#define PG_END_ENSURE_ERROR_CLEANUP(function, arg) } ((void) 0)
