/*
 * compare.c
 *		Comparisons that libFuzzer learns from; see compare.h.
 */
#define PL_FUZZ_COMPARE_C
#include "fuzz/compare.h"

#undef strcmp
#undef strncmp
#undef memcmp

/* libFuzzer; pc tells the places apart */
extern void __sanitizer_weak_hook_strcmp(void *pc, const char *a, const char *b, int result);
extern void __sanitizer_weak_hook_strncmp(void *pc, const char *a, const char *b, size_t n, int result);
extern void __sanitizer_weak_hook_memcmp(void *pc, const void *a, const void *b, size_t n, int result);

int
fuzz_strcmp(const char *a, const char *b)
{
	int			result = strcmp(a, b);

	__sanitizer_weak_hook_strcmp(__builtin_return_address(0), a, b, result);
	return result;
}

int
fuzz_strncmp(const char *a, const char *b, size_t n)
{
	int			result = strncmp(a, b, n);

	__sanitizer_weak_hook_strncmp(__builtin_return_address(0), a, b, n, result);
	return result;
}

int
fuzz_memcmp(const void *a, const void *b, size_t n)
{
	int			result = memcmp(a, b, n);

	__sanitizer_weak_hook_memcmp(__builtin_return_address(0), a, b, n, result);
	return result;
}
