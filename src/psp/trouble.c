/*
 * src/psp/trouble.c
 *		What is wrong with the gateways, for whoever is to be woken: no key, a PSP
 *		that does not answer, requests and webhooks that wait for a hand.
 *
 * A message stays the same as long as the trouble does, so that the log has it
 * once and then rarely; numbers are in the detail.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "gateway/gateway.h"
#include "psp/psp.h"
#include "utils/builtins.h"

/* how often the tables are looked at */
#define LOOK_EVERY_MS	10000

/* what has been due, or in doubt, for longer than that is trouble */
#define DUE_FOR_MS		120000
#define IN_DOUBT_FOR_MS	600000

/* By partial indexes: what is decided is not looked at. */
static PlQuery select_waiting = {
	"SELECT gateway, 1, pg_catalog.count(*) FROM payledger.psp_requests WHERE status = 'PARKED' GROUP BY gateway"
	" UNION ALL"
	" SELECT gateway, 2, pg_catalog.count(*) FROM payledger.psp_requests"
	"  WHERE status IN ('READY', 'UNKNOWN') AND next_attempt_at < $1 GROUP BY gateway"
	" UNION ALL"
	" SELECT gateway, 3, pg_catalog.count(*) FROM payledger.psp_requests"
	"  WHERE status IN ('READY', 'UNKNOWN') AND status = 'UNKNOWN' AND first_sent_at < $2 GROUP BY gateway"
	" UNION ALL"
	" SELECT gateway, 4, pg_catalog.count(*) FROM payledger.webhooks"
	"  WHERE status IN ('RECEIVED', 'PARKED') AND next_attempt_at IS NULL GROUP BY gateway"
	" UNION ALL"
	" SELECT gateway, 5, 1 FROM payledger.webhook_backfills WHERE next_at >= " PL_BACKFILL_NEVER
	" ORDER BY 1, 2", 2, {TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static void
add(List **troubles, char *message, char *detail, const char *hint)
{
	PlTrouble  *trouble = palloc(sizeof(PlTrouble));

	trouble->message = message;
	trouble->detail = detail;
	trouble->hint = hint;
	*troubles = lappend(*troubles, trouble);
}

/*
 * What keeps each gateway from being asked, as a list of PlTrouble, palloc'd.
 * Needs no transaction.
 */
List *
pl_troubles_of_gateways(void)
{
	List	   *troubles = NIL;
	ListCell   *cell;

	/* what was read before may still count, so that no gateway is in trouble yet */
	if (pl_secrets_problem() != NULL)
		add(&troubles, pstrdup(pl_secrets_problem()), NULL, NULL);
	foreach(cell, pl_gateways())
	{
		const PlGateway *gateway = lfirst(cell);
		char	   *problem = pl_gateway_problem(gateway);

		if (problem != NULL)
			add(&troubles, problem, NULL, NULL);
		else if (gateway->limits != NULL && pl_limits_is_silent(gateway))
			add(&troubles, psprintf("gateway \"%s\" does not answer", gateway->name), NULL,
				"payledger.stat_gateway shows the last fault, what waits and when it is tried again.");
	}
	return troubles;
}

static void
add_waiting(List **troubles, int row)
{
	char	   *gateway = pl_get_text(row, 1);
	char	   *detail = psprintf("There are " INT64_FORMAT ".", pl_get_int64(row, 3));
	static const char undecided[] = "payledger.undecided_requests shows them; payledger.resolve_request() and payledger.retry_request() decide.";

	switch (pl_get_int32(row, 2))
	{
		case 1:
			add(troubles, psprintf("requests to gateway \"%s\" are PARKED, they wait for an operator", gateway), detail, undecided);
			break;
		case 2:
			add(troubles, psprintf("requests to gateway \"%s\" have been due for longer than two minutes", gateway), detail,
				"payledger.stat_gateway shows what waits and why.");
			break;
		case 3:
			add(troubles, psprintf("requests to gateway \"%s\" have been without a known outcome for longer than ten minutes", gateway),
				detail, undecided);
			break;
		case 4:
			add(troubles, psprintf("webhooks of gateway \"%s\" were given up", gateway), detail,
				"payledger.webhooks shows the problem; payledger.retry_webhook() and payledger.ignore_webhook() decide.");
			break;
		case 5:
			add(troubles, psprintf("the list of events of gateway \"%s\" is not read any more", gateway), NULL,
				"payledger.stat_webhooks shows the problem; payledger.retry_backfill() has it read again.");
			break;
	}
}

/*
 * What waits in the tables for too long or for an operator, in the same form.
 * *looked becomes whether the tables were looked at: they are every so often,
 * else NIL is returned.  Needs a transaction and an open SPI connection.
 */
List *
pl_troubles_of_requests(bool *looked)
{
	static int64 next_look = 0;
	List	   *troubles = NIL;
	PlArgs		args = {0};
	TimestampTz now = pl_due_now();
	uint64		n;

	*looked = pl_monotonic_ms() >= next_look;
	if (!*looked)
		return NIL;
	next_look = pl_monotonic_ms() + LOOK_EVERY_MS;
	pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, -DUE_FOR_MS));
	pl_arg_timestamp(&args, TimestampTzPlusMilliseconds(now, -IN_DOUBT_FOR_MS));
	n = pl_execute(&select_waiting, &args);
	for (uint64 row = 0; row < n; row++)
		add_waiting(&troubles, (int) row);
	return troubles;
}
