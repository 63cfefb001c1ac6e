/*
 * memcheck.h
 *	  Valgrind's client requests, as far as PostgreSQL uses them, for
 *	  AddressSanitizer.
 *
 * PostgreSQL built with -DUSE_VALGRIND marks what of its memory contexts and
 * of its shared buffers may be touched.  With this folder in front of the
 * include path those marks go to AddressSanitizer: a chunk of palloc(10) can
 * be read and written for 10 bytes and no more, and not at all after pfree().
 *
 * AddressSanitizer does not know "addressable, but undefined": undefined
 * memory counts as defined.  make check-valgrind sees the difference.
 */
#ifndef PAYLEDGER_SANITIZE_MEMCHECK_H
#define PAYLEDGER_SANITIZE_MEMCHECK_H

#include <sanitizer/asan_interface.h>

#define VALGRIND_MAKE_MEM_NOACCESS(start, size)		__asan_poison_memory_region((start), (size))
#define VALGRIND_MAKE_MEM_ACCESSIBLE(start, size)	__asan_unpoison_memory_region((start), (size))
#define VALGRIND_MAKE_MEM_DEFINED(start, size)		VALGRIND_MAKE_MEM_ACCESSIBLE(start, size)
#define VALGRIND_MAKE_MEM_UNDEFINED(start, size)	VALGRIND_MAKE_MEM_ACCESSIBLE(start, size)
#define VALGRIND_CHECK_MEM_IS_DEFINED(start, size)	((void) 0)

/* A pool is what its context has marked, chunk by chunk. */
#define VALGRIND_CREATE_MEMPOOL(context, redzones, zeroed)	((void) 0)
#define VALGRIND_DESTROY_MEMPOOL(context)					((void) 0)
#define VALGRIND_MEMPOOL_ALLOC(context, start, size)		VALGRIND_MAKE_MEM_ACCESSIBLE(start, size)
#define VALGRIND_MEMPOOL_FREE(context, start)				((void) 0)
#define VALGRIND_MEMPOOL_CHANGE(context, old, start, size)	VALGRIND_MAKE_MEM_ACCESSIBLE(start, size)

#endif							/* PAYLEDGER_SANITIZE_MEMCHECK_H */
