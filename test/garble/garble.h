/*
 * test/garble/garble.h
 *		A PSP that answers garbled, and what reads it.  No PostgreSQL in here.
 */
#ifndef GARBLE_H
#define GARBLE_H

#include <stddef.h>
#include <stdint.h>

/* ---- random.c: numbers that follow from a seed ---- */

typedef struct Random
{
	uint64_t	state;
} Random;

extern void random_begin(Random *random, uint64_t seed, uint64_t n);
extern uint64_t random_below(Random *random, uint64_t limit);
extern int	chance(Random *random, int percent);

/* ---- replies.c: the bytes of a reply ---- */

typedef struct Reply
{
	char	   *bytes;
	size_t		length;
	size_t		allocated;
	int			close;			/* the connection ends behind it */
} Reply;

extern void reply_garbled(Reply *reply, Random *random);

/* ---- server.c ---- */

/* Serves on the listening socket, as many connections at once as slots; never returns. */
extern void serve(int listener, int slots, uint64_t seed) __attribute__((noreturn));

#endif
