/*
 * test/garble/random.c
 *		splitmix64: the n-th reply of a seed is the same in every run.
 */
#include "garble.h"

static uint64_t
next(Random *random)
{
	uint64_t	z = (random->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void
random_begin(Random *random, uint64_t seed, uint64_t n)
{
	random->state = seed;
	random->state = next(random) ^ (n * UINT64_C(0xd1342543de82ef95));
}

uint64_t
random_below(Random *random, uint64_t limit)
{
	return limit == 0 ? 0 : next(random) % limit;
}

int
chance(Random *random, int percent)
{
	return random_below(random, 100) < (uint64_t) percent;
}
