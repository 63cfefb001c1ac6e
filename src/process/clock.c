/*
 * src/process/clock.c
 *		The clock worker: one for the server, which looks at the clocks.
 *
 * It runs from the start of the server on, on a standby as well, so that the
 * file in which core keeps the time is fresh when a standby is promoted.  It is
 * connected to no database.
 */
#include "postgres.h"

#include "core/core.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"

#define LOOK_EVERY_MS	1000L

PL_DEFINE_WAIT_EVENT(wait_event_clock, "PayledgerClock")

pg_noreturn PGDLLEXPORT void payledger_clock_main(Datum arg);

/*
 * Entry point of the process.
 */
void
payledger_clock_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		/* without a word at each stop of the server; the code has the postmaster start it again */
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		pl_clock_watch();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_EVERY_MS,
						 wait_event_clock());
		ResetLatch(MyLatch);
	}
}
