/* src/gateway/views.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE VIEW payledger.stat_gateway AS
	WITH waiting AS (
		/* two branches, for the two partial indexes */
		SELECT gateway, status, next_attempt_at, attempt, updated_at, reply_status, reply_code, reply_message
		  FROM payledger.psp_requests WHERE status IN ('READY', 'UNKNOWN')
		UNION ALL
		SELECT gateway, status, next_attempt_at, attempt, updated_at, reply_status, reply_code, reply_message
		  FROM payledger.psp_requests WHERE status IN ('IN_FLIGHT', 'PENDING', 'PARKED')
	), counts AS (
		SELECT gateway,
			   count(*) FILTER (WHERE status = 'READY') AS ready,
			   count(*) FILTER (WHERE status IN ('READY', 'UNKNOWN') AND next_attempt_at <= (SELECT payledger.trusted_now())) AS due,
			   count(*) FILTER (WHERE status = 'IN_FLIGHT') AS in_flight,
			   count(*) FILTER (WHERE status = 'UNKNOWN') AS unknown,
			   count(*) FILTER (WHERE status = 'PENDING') AS pending,
			   count(*) FILTER (WHERE status = 'PARKED') AS parked,
			   min(next_attempt_at) FILTER (WHERE status IN ('READY', 'UNKNOWN')) AS oldest_due_at
		  FROM waiting GROUP BY gateway
	), failing AS (
		SELECT DISTINCT ON (gateway) gateway, reply_status, reply_code, reply_message, updated_at, attempt
		  FROM waiting WHERE reply_code IS NOT NULL
		 ORDER BY gateway, updated_at DESC
	)
	SELECT coalesce(g.gateway, c.gateway) AS gateway,
		   g.adapter,
		   coalesce(g.is_default, false) AS is_default,
		   coalesce(c.ready, 0) AS ready,
		   coalesce(c.due, 0) AS due,
		   coalesce(c.in_flight, 0) AS in_flight,
		   coalesce(c.unknown, 0) AS unknown,
		   coalesce(c.pending, 0) AS pending,
		   coalesce(c.parked, 0) AS parked,
		   c.oldest_due_at,
		   f.reply_status AS last_fault_http_status,
		   f.reply_code AS last_fault_code,
		   f.reply_message AS last_fault_message,
		   f.attempt AS last_fault_attempt,
		   f.updated_at AS last_fault_at,
		   s.circuit,
		   s.circuit_since,
		   s.next_probe_at,
		   CASE WHEN s.throttled_until > (SELECT payledger.trusted_now()) THEN s.throttled_until END AS throttled_until,
		   s.replies,
		   s.faults,
		   s.problem
	  FROM payledger.gateways g
	  FULL JOIN counts c ON c.gateway = g.gateway
	  LEFT JOIN failing f ON f.gateway = coalesce(g.gateway, c.gateway)
	  LEFT JOIN payledger.gateway_statistics() s ON s.gateway = coalesce(g.gateway, c.gateway)
	 ORDER BY 1;
COMMENT ON VIEW payledger.stat_gateway IS
'What waits at each gateway and why: requests ready, due now, in flight, of unknown outcome, accepted and pending at the PSP, and parked for an operator (payledger.resolve_request), when the oldest is due, and the last fault of those that are waiting. adapter is null for requests to a gateway that is gone. circuit is CLOSED, OPEN while the PSP does not answer and nothing is sent until next_probe_at, or HALF_OPEN while one request finds out whether it answers again; throttled_until is how long the PSP wants no more requests of some kind; replies and faults (no reply, or status 5xx) count since the gateway worker started; problem is why the gateway is not asked at all: no key in its section of the secrets file, a base_url that is none of its hosts, an option that makes no sense; or, while requests go on, why the last reload of the secrets file changed nothing. These are null where no gateway worker runs. payledger.stat_worker tells if the gateway worker itself is in trouble.';
