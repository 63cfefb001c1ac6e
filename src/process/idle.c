/*
 * src/process/idle.c
 *		CALL payledger.wait_until_idle(): until the workers have nothing left
 *		to do.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "kafka/kafka.h"
#include "psp/psp.h"
#include "utils/builtins.h"

/* looks that no announcement asks for: the relay may publish without one, ms */
#define LOOK_AGAIN_MS 200

/* Runs with the caller's rights, so it is not a kept plan of ours. */
static const char unfinished_sql[] = "SELECT requests, events FROM payledger.unfinished_work($1)";

/*
 * Requests that are with a PSP or due before $1, webhooks that are due, and events that Kafka has not
 * acknowledged, of a long backlog the first 10,000; a replay counts as one.
 */
static PlQuery count_unfinished = {
	"SELECT"
	" (SELECT count(*) FROM payledger.psp_requests"
	"   WHERE status IN ('READY', 'UNKNOWN') AND next_attempt_at < $1) +"
	" (SELECT count(*) FROM payledger.webhooks"
	"   WHERE status IN ('RECEIVED', 'PARKED') AND next_attempt_at < $1) +"
	" (SELECT count(*) FROM payledger.psp_requests WHERE status IN ('IN_FLIGHT')),"
	" CASE WHEN $2 THEN"
	" (SELECT count(*) FROM (SELECT FROM payledger.unpublished_events LIMIT 10000) e) +"
	" (SELECT count(*) FROM payledger.replays WHERE status = 'RUNNING') +"
	" (SELECT count(*) FROM payledger.dead_letters WHERE status = 'READY')"
	" ELSE 0 END",
	2, {TIMESTAMPTZOID, BOOLOID}
};

PG_FUNCTION_INFO_V1(pl_sql_unfinished_work);
PG_FUNCTION_INFO_V1(pl_sql_wait_until_idle);

/*
 * unfinished_work(before timestamptz) RETURNS TABLE (requests bigint, events bigint)
 */
Datum
pl_sql_unfinished_work(PG_FUNCTION_ARGS)
{
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_arg_timestamp(&args, PG_ARGISNULL(0) ? pl_now() : PG_GETARG_TIMESTAMPTZ(0));
	pl_arg_bool(&args, pl_kafka_brokers[0] != '\0');
	pl_execute(&count_unfinished, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/* The counts of unfinished_sql, in a transaction that ends with it. */
static void
look(TimestampTz before, int64 *requests, int64 *events)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(before);
	int			result = SPI_execute_with_args(unfinished_sql, 1, &type, &value, NULL, false, 0);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", unfinished_sql, SPI_result_code_string(result));
	*requests = pl_get_int64(0, 1);
	*events = pl_get_int64(0, 2);
	SPI_commit();
}

/*
 * wait_until_idle(timeout interval)
 */
Datum
pl_sql_wait_until_idle(PG_FUNCTION_ARGS)
{
	TimestampTz start = pl_now();
	TimestampTz end;
	int64		end_ms;
	int64		requests;
	int64		events;

	pl_require_nonatomic(fcinfo, "payledger.wait_until_idle",
						 "Call it on its own, after the transaction.");
	pl_require_preload();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("timeout must not be null")));
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(start),
												  PG_GETARG_DATUM(0)));
	end_ms = pl_monotonic_ms() + TimestampDifferenceMilliseconds(start, end);

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pl_prepare_to_wait(PL_TOPIC_PROGRESS);
	for (;;)
	{
		int64		left;

		look(end, &requests, &events);
		left = end_ms - pl_monotonic_ms();
		if ((requests == 0 && events == 0) || left <= 0)
			break;
		pl_wait(PL_TOPIC_PROGRESS, Min(left, LOOK_AGAIN_MS));
	}
	pl_stop_waiting();
	pl_finish();

	if (requests > 0 || events > 0)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("payledger is not idle in time"),
				 errdetail(INT64_FORMAT " requests to gateways and " INT64_FORMAT " events are still waiting.",
						   requests, events),
				 errhint("payledger.stat_gateway, payledger.stat_outbox and payledger.stat_worker show what waits and why.")));
	return (Datum) 0;
}
