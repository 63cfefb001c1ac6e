/*
 * src/outbox/limit.c
 *		payledger.outbox_limit: how many events may wait for Kafka.
 *
 * Commands of clients are refused beyond it.  Workers are not: what a PSP has
 * done is a fact, whatever the outbox holds.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "outbox/outbox.h"
#include "utils/timestamp.h"

int			pl_outbox_limit;	/* events; 0: none */

/* how long a session relies on what it saw below the limit */
#define LOOK_AGAIN_MS	1000

/* shares of the limit, in percent, at which an alert is given and taken back */
#define ALERT_ABOVE		80
#define ALERT_BELOW		60

/* By seqs, so what aborted transactions drew counts as well. */
static PlQuery count_waiting = {
	"SELECT s.last_value - (SELECT pg_catalog.min(greatest(window_start, published_seq)) FROM payledger.relay_cursors)"
	" FROM payledger.outbox_seq s", 0
};

static int64
waiting_events(void)
{
	if (pl_execute(&count_waiting, NULL) != 1 || pl_isnull(0, 1))
		elog(ERROR, "payledger.relay_cursors has no row");
	return pl_get_int64(0, 1);
}

/*
 * Raise 53400 if the outbox is full and this is a client's session.  Needs an
 * open SPI connection.
 */
void
pl_outbox_check_limit(void)
{
	static int64 good_until = 0; /* pl_monotonic_ms() */
	int64		now;
	int64		waiting;

	if (pl_outbox_limit == 0 || MyBackendType != B_BACKEND)
		return;
	now = pl_monotonic_ms();
	if (now < good_until)
		return;
	waiting = waiting_events();
	if (waiting >= pl_outbox_limit)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the outbox is full"),
				 errdetail("About " INT64_FORMAT " events wait for Kafka; payledger.outbox_limit is %d.",
						   waiting, pl_outbox_limit),
				 errhint("payledger.stat_outbox shows why they wait.")));
	good_until = now + LOOK_AGAIN_MS;
}

/*
 * Log that the outbox is filling up, and later that it is not any more.  For
 * the keeper; needs an open SPI connection.
 */
void
pl_outbox_alert(void)
{
	static bool alerted = false;
	int64		percent;

	if (pl_outbox_limit == 0)
		return;
	percent = waiting_events() * 100 / pl_outbox_limit;
	if (!alerted && percent >= ALERT_ABOVE)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the outbox is " INT64_FORMAT " %% full", percent),
				 errdetail("Commands are refused when %d events wait for Kafka.", pl_outbox_limit),
				 errhint("payledger.stat_outbox shows why they wait.")));
	if (alerted && percent < ALERT_BELOW)
		ereport(LOG,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("the outbox is " INT64_FORMAT " %% full again", percent)));
	alerted = percent >= (alerted ? ALERT_BELOW : ALERT_ABOVE);
}
