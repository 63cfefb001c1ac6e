/*
 * src/core/clock.h
 *		What shared memory knows of the clocks.  Private to src/core.
 */
#ifndef PL_CLOCK_H
#define PL_CLOCK_H

#include "core/core.h"

/* Protected by PlCoreShared.lock; 0 stands for never. */
typedef struct PlClock
{
	TimestampTz since;			/* the wall clock has been found stepped */
	bool		at_start;		/* and was so when the server started */
	int64		steps;			/* found since the server started */
	TimestampTz confirmed_at;	/* the last time; kept in the file */
	int64		forward;		/* steps ahead that were confirmed, in all; kept in the file */
	int64		confirmed_step; /* the last */
	char		confirmed_by[NAMEDATALEN];
} PlClock;

extern void pl_clock_start(void);

#endif							/* PL_CLOCK_H */
