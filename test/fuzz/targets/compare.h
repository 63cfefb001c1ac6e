/*
 * compare.h
 *		Included before everything else: tells libFuzzer what texts the code
 *		compares, so that it tries them.
 *
 * The runtime in the server's executable, which sees the calls of strcmp() and
 * the like, does not know libFuzzer in the extension.
 */
#ifndef PL_FUZZ_COMPARE_H
#define PL_FUZZ_COMPARE_H

#include <stddef.h>
#include <string.h>
#include <strings.h>

int			fuzz_strcmp(const char *a, const char *b);
int			fuzz_strncmp(const char *a, const char *b, size_t n);
int			fuzz_memcmp(const void *a, const void *b, size_t n);

#ifndef PL_FUZZ_COMPARE_C
#undef strcmp
#undef strncmp
#undef memcmp
#define strcmp(a, b) fuzz_strcmp(a, b)
#define strncmp(a, b, n) fuzz_strncmp(a, b, n)
#define memcmp(a, b, n) fuzz_memcmp(a, b, n)
#endif

#endif							/* PL_FUZZ_COMPARE_H */
