/* src/webhook/views.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE VIEW payledger.stat_webhooks AS
	WITH waiting AS (
		SELECT gateway,
			   count(*) FILTER (WHERE status = 'RECEIVED') AS received,
			   count(*) FILTER (WHERE status = 'PARKED') AS parked,
			   count(*) FILTER (WHERE next_attempt_at IS NULL) AS given_up,
			   min(created_at) AS oldest_at
		  FROM payledger.webhooks WHERE status IN ('RECEIVED', 'PARKED') GROUP BY gateway
	), recent AS (
		SELECT gateway, count(*) AS last_day, count(*) FILTER (WHERE backfilled) AS backfilled_last_day,
			   max(created_at) AS newest_at
		  FROM payledger.webhooks WHERE created_at > pg_catalog.now() - interval '1 day' GROUP BY gateway
	)
	SELECT g.gateway, coalesce(w.received, 0) AS received, coalesce(w.parked, 0) AS parked,
		   coalesce(w.given_up, 0) AS given_up, w.oldest_at AS oldest_waiting_at,
		   coalesce(r.last_day, 0) AS last_day, coalesce(r.backfilled_last_day, 0) AS backfilled_last_day,
		   r.newest_at AS newest_at, b.complete_until, b.problem AS backfill_problem,
		   coalesce(b.next_at >= '9999-01-01 00:00+00', false) AS backfill_suspended
	  FROM payledger.gateways g
	  LEFT JOIN waiting w ON w.gateway = g.gateway
	  LEFT JOIN recent r ON r.gateway = g.gateway
	  LEFT JOIN payledger.webhook_backfills b ON b.gateway = g.gateway
	 ORDER BY 1;
COMMENT ON VIEW payledger.stat_webhooks IS
'Events of each gateway: received and not applied yet, parked, given up to an operator (payledger.retry_webhook, payledger.ignore_webhook), since when the oldest waits, how many came within a day, how many of those had got lost and were fetched (backfilled), until when the PSP''s own list of events was read, what kept its next page from being read, and whether that is not tried any more, because two gateway workers died of it (payledger.retry_backfill).';
