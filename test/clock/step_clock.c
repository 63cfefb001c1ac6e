/*
 * test/clock/step_clock.c
 *		A library to preload into a server: its wall clock is what the file that
 *		CLOCK_OFFSET_FILE names says, looked at with each call.  No other clock is
 *		touched.
 *
 * The file is an int64 in native byte order, by how many seconds the clock is
 * ahead; if another follows that is not 0, the clock stands still at that second
 * since 1970.  It is mapped, so it must be written in place.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef struct
{
	int64_t		ahead;
	int64_t		stands_at;
} Clock;

static Clock
clock_to_show(void)
{
	static volatile Clock *shared;
	Clock		shown = {0, 0};
	const char *name = getenv("CLOCK_OFFSET_FILE");

	if (shared == NULL && name != NULL)
	{
		int			fd = open(name, O_RDONLY);
		void	   *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(Clock), PROT_READ, MAP_SHARED, fd, 0);

		if (fd >= 0)
			close(fd);
		if (map != MAP_FAILED)
			shared = map;
	}
	if (shared != NULL)
		shown = (Clock) {shared->ahead, shared->stands_at};
	return shown;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
	{
		Clock		shown = clock_to_show();

		if (shown.stands_at != 0)
			*now = (struct timespec) {.tv_sec = shown.stands_at};
		else
			now->tv_sec += shown.ahead;
	}
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
		return -1;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *now)
{
	struct timespec precise;

	if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
		return -1;
	if (now != NULL)
		*now = precise.tv_sec;
	return precise.tv_sec;
}
