/*-------------------------------------------------------------------------
 *
 * timers.c
 *		Deadlines in a binary heap.
 *
 * A timer knows its place in the heap, so that cancelling is as cheap as
 * firing; thousands of delayed requests cost nothing while they wait.
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>

#include "psp.h"

static Timer **heap;			/* 1-based */
static size_t count;
static size_t size;

/* Puts a timer into a slot. */
static void
place(Timer *timer, size_t slot)
{
	heap[slot] = timer;
	timer->slot = slot;
}

/* Moves the timer in slot to where its deadline belongs. */
static void
settle(size_t slot)
{
	Timer	   *timer = heap[slot];

	while (slot > 1 && heap[slot / 2]->deadline > timer->deadline)
	{
		place(heap[slot / 2], slot);
		slot /= 2;
	}
	for (;;)
	{
		size_t		child = slot * 2;

		if (child < count && heap[child + 1]->deadline < heap[child]->deadline)
			child++;
		if (child > count || heap[child]->deadline >= timer->deadline)
			break;
		place(heap[child], slot);
		slot = child;
	}
	place(timer, slot);
}

/*
 * Lets the timer fire delay_ms from now, never earlier; it must not be armed.
 * The clock cuts off parts of a millisecond, which has to be made up for.
 */
void
timer_arm(Timer *timer, int64_t delay_ms)
{
	if (count + 2 > size)
	{
		size = size == 0 ? 64 : size * 2;
		heap = xrealloc(heap, size * sizeof(Timer *));
	}
	timer->deadline = now_ms() + delay_ms + (delay_ms > 0);
	count++;
	place(timer, count);
	settle(count);
}

/* Takes a timer out of the heap, if it is there. */
void
timer_cancel(Timer *timer)
{
	size_t		slot = timer->slot;
	Timer	   *last;

	if (slot == 0)
		return;
	timer->slot = 0;
	last = heap[count--];
	if (last == timer)
		return;
	place(last, slot);
	settle(slot);
}

/* Milliseconds until the first deadline, -1 when there is none. */
int
timers_wait_ms(void)
{
	int64_t		left;

	if (count == 0)
		return -1;
	left = heap[1]->deadline - now_ms();
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int) left;
}

/* Fires the first timer. */
static void
fire_first(void)
{
	Timer	   *timer = heap[1];

	timer_cancel(timer);
	timer->fire(timer);
}

/* Fires every timer whose deadline has passed. */
void
timers_run(void)
{
	int64_t		now = now_ms();

	while (count > 0 && heap[1]->deadline <= now)
		fire_first();
}

/* Fires every timer, due or not, and frees the heap. */
void
timers_fire_all(void)
{
	while (count > 0)
		fire_first();
	free(heap);
	heap = NULL;
	size = 0;
}
